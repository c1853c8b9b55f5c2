//! What each search parameter of AuditEvents asks of the rows of the ledger.
//!
//! A row has no elements: what a parameter asks for is told by how `balp` and `authz` make an event of a row.
//!
//! Spec: <https://hl7.org/fhir/R4/auditevent.html#search>

use crate::access::interaction::Kind;
use crate::fhir::ResourceType;
use crate::search::request::compare::{AskedReference, AskedToken, Part};

use super::balp::{AGENTS, ENTITIES, UNKNOWN_PATIENTS};
use super::form::Form;
use super::query::{Condition, Reader, is_part};
use super::token::name_of;
use super::{from_hex, hex};

/// The system of the types of resources.
const RESOURCE_TYPES: &str = "http://hl7.org/fhir/resource-types";

impl Reader<'_> {
    /// What a token asks for by a parameter; `None` where that cannot be told.
    pub(super) fn token(&self, code: &str, asked: &AskedToken) -> Option<Condition> {
        let kinds = |is_it: &dyn Fn(&Form) -> bool| of_kinds(|kind| is_it(Form::of(kind)));
        Some(match code {
            "action" => {
                let system = "http://hl7.org/fhir/audit-event-action";
                of_kinds(|kind| is_token(asked, system, &kind.action().to_string()))
            }
            "outcome" => {
                let system = "http://hl7.org/fhir/audit-event-outcome";
                let all = [0, 4, 8, 12].into_iter();
                let is_it = |number: &i16| is_token(asked, system, &number.to_string());
                Condition::Outcomes(all.filter(is_it).collect())
            }
            "type" => kinds(&|form| is_token(asked, form.type_system, form.type_code)),
            "subtype" => kinds(&|form| is_token(asked, form.subtype_system, form.subtype)),
            "altid" => Condition::All(vec![Condition::Actor(bare(asked)), names_somebody_so()]),
            "entity-type" => entity_type(asked),
            "entity-role" => {
                let system = "http://terminology.hl7.org/CodeSystem/object-role";
                Condition::Any(vec![
                    when(is_token(asked, system, "1"), Condition::HasPatient),
                    when(is_token(asked, system, "4"), about_data()),
                    when(is_token(asked, system, "24"), shows_request()),
                ])
            }
            "site" => Condition::constant(is_token(asked, "", self.base)),
            "agent-role" | "_tag" | "_security" => Condition::never(),
            _ => return None,
        })
    }

    /// The same of a reference.
    pub(super) fn reference(&self, code: &str, asked: &AskedReference) -> Option<Condition> {
        Some(match (code, asked) {
            (_, AskedReference::Identifier(asked)) => return self.identifier(code, asked),
            ("agent", AskedReference::Local { resource_type, id, version: None }) => {
                let name = format!("{resource_type}/{id}");
                let asked_for = when(
                    resource_type.as_str() == "Organization",
                    Condition::For(vec![name.clone()]),
                );
                Condition::Any(vec![Condition::Persons(vec![name]), asked_for])
            }
            ("patient", AskedReference::Local { resource_type, id, version: None })
                if *resource_type == ResourceType::PATIENT =>
            {
                self.of_patient(id)
            }
            ("patient", AskedReference::Local { resource_type, .. })
                if *resource_type != ResourceType::PATIENT =>
            {
                Condition::never()
            }
            // No index knows versions: they are found as anything else that an event is about.
            ("entity" | "patient", AskedReference::Local { resource_type, id, version }) => {
                let version = version.map(|version| version.0);
                let subject = Condition::Subject(*resource_type, id.to_string(), version);
                let names = Condition::Names(*resource_type, id.to_string(), version);
                let mut any = vec![Condition::All(vec![about_data(), subject]), names];
                if *resource_type == ResourceType::PATIENT && version.is_none() {
                    any.push(Condition::Patients(vec![(self.hash)(id)]));
                }
                Condition::Any(any)
            }
            ("agent" | "entity" | "patient" | "source", _) => Condition::never(),
            _ => return None,
        })
    }

    /// What is referred to by an identifier, of those that the references of events have.
    fn identifier(&self, code: &str, asked: &AskedToken) -> Option<Condition> {
        let is_server = || Condition::constant(is_token(asked, "urn:ietf:rfc:3986", self.base));
        Some(match code {
            "agent" => Condition::Any(vec![
                is_server(),
                self.user(asked),
                some(bare(asked), Condition::Client),
            ]),
            "entity" => {
                let of_decision = bare(asked).into_iter().map(Condition::Token).collect();
                Condition::Any(vec![
                    Condition::All(vec![
                        some(bare(asked), Condition::Requests),
                        shows_request_id(),
                    ]),
                    Condition::All(vec![decision(), Condition::Any(of_decision)]),
                    unknown_patient(asked)?,
                ])
            }
            "patient" => {
                let person = Condition::PersonOf(ResourceType::PATIENT);
                let user = Condition::All(vec![self.user(asked), person]);
                Condition::Any(vec![user, unknown_patient(asked)?])
            }
            "source" => is_server(),
            _ => return None,
        })
    }

    /// The same of a text.
    pub(super) fn text(
        &self,
        code: &str,
        part: Part,
        text: &str,
        is_exact: bool,
    ) -> Option<Condition> {
        Some(match code {
            "agent-name" => Condition::Name { part, text: text.to_owned(), is_exact },
            "address" => Condition::Any(vec![
                when(
                    is_part(self.base, part, text, is_exact),
                    Condition::Not(Box::new(decision())),
                ),
                Condition::Source { part, text: text.to_owned(), is_exact },
            ]),
            "entity-name" => Condition::never(),
            _ => return None,
        })
    }
}

/// What holds for events that have an element of a parameter; `None` where that cannot be told.
pub(super) fn present(code: &str) -> Option<Condition> {
    let not_decision = || Condition::Not(Box::new(decision()));
    Some(match code {
        "action" | "address" | "agent" | "date" | "outcome" | "site" | "source" | "subtype"
        | "type" => Condition::always(),
        "agent-name" => Condition::Name { part: Part::Start, text: String::new(), is_exact: true },
        "agent-role" | "entity-name" | "_security" | "_source" | "_tag" => Condition::never(),
        "altid" => names_somebody_so(),
        "entity" => Condition::Any(vec![
            about_data(),
            Condition::HasPatient,
            shows_request_id(),
            Condition::All(vec![shows_others(), Condition::NamesOf(None)]),
            Condition::All(vec![decision(), Condition::Any(vec![consents(), Condition::HasToken])]),
        ]),
        "entity-role" => Condition::Any(vec![not_decision(), Condition::HasPatient]),
        "entity-type" => Condition::Any(vec![
            not_decision(),
            Condition::HasPatient,
            Condition::HasToken,
            consents(),
        ]),
        "patient" => {
            let of = ResourceType::PATIENT;
            Condition::Any(vec![
                Condition::HasPatient,
                Condition::PersonOf(of),
                Condition::All(vec![about_data(), Condition::SubjectOf(of)]),
                Condition::All(vec![shows_others(), Condition::NamesOf(Some(of))]),
            ])
        }
        "policy" => Condition::HasToken,
        _ => return None,
    })
}

/// What a uri asks for by a parameter; `None` where that cannot be told.
pub(super) fn uri(code: &str, url: &str) -> Option<Condition> {
    match code {
        "policy" => Some(name_of(url).map_or_else(Condition::never, Condition::Token)),
        "_source" => Some(Condition::never()),
        _ => None,
    }
}

/// A user has no `altId` in the event of a token, and nobody in that of a decision: the patterns do not allow it.
pub(super) fn names_somebody_so() -> Condition {
    let any_name = Condition::Name { part: Part::Start, text: String::new(), is_exact: true };
    let of_token = Condition::All(vec![Condition::Kinds(vec![Kind::Token]), any_name]);
    Condition::Not(Box::new(Condition::Any(vec![of_token, decision()])))
}

fn when(is_asked: bool, condition: Condition) -> Condition {
    if is_asked { condition } else { Condition::never() }
}

/// The events of kinds for which something holds.
fn of_kinds(holds: impl Fn(Kind) -> bool) -> Condition {
    Condition::Kinds(Kind::ALL.iter().copied().filter(|kind| holds(*kind)).collect())
}

/// The event shows the resource that it is about.
fn about_data() -> Condition {
    let shows_none = of_kinds(|kind| {
        Form::of(kind).pattern == Some("Query")
            || matches!(kind, Kind::ConsentDecision | Kind::Token)
    });
    Condition::All(vec![Condition::HasSubject, Condition::Not(Box::new(shows_none))])
}

/// The event is what consents came down to: it shows these, and neither request nor data.
fn decision() -> Condition {
    Condition::Kinds(vec![Kind::ConsentDecision])
}

/// The event shows the request.
fn shows_request() -> Condition {
    let plain = of_kinds(|kind| Form::of(kind).pattern.is_none_or(|it| it == "Query"));
    let no_subject = Condition::Not(Box::new(Condition::HasSubject));
    let any = Condition::Any(vec![plain, no_subject]);
    Condition::All(vec![any, Condition::Not(Box::new(decision()))])
}

/// The event shows the id of the request.
fn shows_request_id() -> Condition {
    let shows_none = Condition::Kinds(vec![Kind::ConsentDecision, Kind::Token]);
    Condition::All(vec![Condition::HasRequest, Condition::Not(Box::new(shows_none))])
}

/// The event shows whatever else it is about.
fn shows_others() -> Condition {
    of_kinds(|kind| {
        Form::of(kind).pattern.is_none() && !matches!(kind, Kind::ConsentDecision | Kind::Token)
    })
}

/// It names consents, which a decision shows.
fn consents() -> Condition {
    Condition::NamesOf(Some(ResourceType::CONSENT))
}

/// What types the entities of an event have.
fn entity_type(asked: &AskedToken) -> Condition {
    let system = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
    Condition::Any(vec![
        when(is_token(asked, system, "2"), Condition::Not(Box::new(decision()))),
        when(is_token(asked, system, "1"), Condition::HasPatient),
        when(
            is_token(asked, RESOURCE_TYPES, "Consent"),
            Condition::All(vec![decision(), consents()]),
        ),
        when(is_token(asked, ENTITIES, "XrequestId"), shows_request_id()),
        when(
            is_token(asked, AGENTS, "UserOauthAgent"),
            Condition::All(vec![decision(), Condition::HasToken]),
        ),
    ])
}

/// A patient whose resource is not here, as events name one. No other patient has that hash: who has come since
/// is the one that was meant.
fn unknown_patient(asked: &AskedToken) -> Option<Condition> {
    let hash = |text: &str| {
        let bytes = from_hex::<8>(text).filter(|bytes| hex(bytes) == text);
        bytes.map(i64::from_be_bytes)
    };
    let hashes: Vec<i64> = match asked {
        AskedToken::Code(codes) => codes.iter().filter_map(|code| hash(&code.text)).collect(),
        AskedToken::Coded { system, code } if **system == *UNKNOWN_PATIENTS => {
            hash(&code.text).into_iter().collect()
        }
        // The ledger does not tell who is unknown.
        AskedToken::System(system) if **system == *UNKNOWN_PATIENTS => return None,
        _ => Vec::new(),
    };
    Some(some(hashes, Condition::Patients))
}

/// The codes that are asked for without a system.
fn bare(asked: &AskedToken) -> Vec<String> {
    match asked {
        AskedToken::Code(codes) | AskedToken::WithoutSystem(codes) => {
            codes.iter().map(|code| code.text.to_string()).collect()
        }
        _ => Vec::new(),
    }
}

/// One of these, where there are any.
pub(super) fn some<T>(values: Vec<T>, condition: fn(Vec<T>) -> Condition) -> Condition {
    if values.is_empty() { Condition::never() } else { condition(values) }
}

/// Whether a token is the one that is looked for. Systems are empty where there is none.
fn is_token(asked: &AskedToken, system: &str, code: &str) -> bool {
    let is_code = |wanted: &crate::search::values::token::Code<'_>| {
        wanted.text == *code || wanted.text == code.to_lowercase()
    };
    match asked {
        AskedToken::Code(codes) => codes.iter().any(is_code),
        AskedToken::Coded { system: wanted, code } => **wanted == *system && is_code(code),
        AskedToken::WithoutSystem(codes) => system.is_empty() && codes.iter().any(is_code),
        AskedToken::System(wanted) => **wanted == *system,
        AskedToken::Begins { .. } | AskedToken::OfType { .. } => false,
    }
}
