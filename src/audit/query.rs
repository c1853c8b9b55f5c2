//! What a search of AuditEvents asks of the rows of the ledger.
//!
//! Spec: <https://hl7.org/fhir/R4/auditevent.html#search>

use uuid::Uuid;

use crate::access::interaction::Kind;
use crate::fhir::{LogicalId, ResourceType};
use crate::search::request::compare::{AskedReference, AskedToken, AskedUri, Comparison, Part};
use crate::search::request::prefix::Prefix;
use crate::search::request::{Filter, Test};
use crate::search::values::date::DateRange;
use crate::search::values::string::fold;

use super::balp::{Entry, first_id, place_of};
use super::form::Form;
use super::token::name_of;

/// The system of the types of resources.
const RESOURCE_TYPES: &str = "http://hl7.org/fhir/resource-types";

/// What must hold for an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The party is one of these.
    Actor(Vec<String>),
    /// All of them.
    All(Vec<Condition>),
    /// One of them.
    Any(Vec<Condition>),
    /// The client is one of these.
    Client(Vec<String>),
    /// It is one of these events.
    Event(Vec<(Uuid, usize)>),
    /// It came with a token.
    HasToken,
    /// It is about one resource.
    HasSubject,
    /// It is about a patient.
    HasPatient,
    /// Its row's id is from the first on and before the second.
    Ids(Uuid, Uuid),
    /// It is of one of these kinds.
    Kinds(Vec<Kind>),
    /// The name of the user: all of it, or its beginning, any part or its end, folded or not.
    Name {
        /// Which part.
        part: Part,
        /// The text.
        text: String,
        /// Whether case and accents count.
        is_exact: bool,
    },
    /// Beside what it is about, it names this resource.
    Names(ResourceType, String, Option<i32>),
    /// It does not hold.
    Not(Box<Condition>),
    /// It ended so.
    Outcomes(Vec<i16>),
    /// It is about one of these patients.
    Patients(Vec<i64>),
    /// Behind it stands one of these resources.
    Persons(Vec<String>),
    /// It came from an address of which this is all, or the beginning, a part or the end.
    Source(Part, String),
    /// It was for one of these purposes.
    Purposes(Vec<&'static str>),
    /// It is about this resource.
    Subject(ResourceType, String, Option<i32>),
    /// It came with this token.
    Token(String),
}

/// What cannot be told of the ledger's events: the name of what was asked by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Untold(pub String);

/// Who reads a query: the server's address, and the hashes of its patients.
pub struct Reader<'r> {
    /// The server's own address.
    pub base: &'r str,
    /// The hash of a patient.
    pub hash: &'r dyn Fn(&LogicalId) -> i64,
}

impl Condition {
    /// What holds for all.
    pub fn always() -> Self {
        Self::All(Vec::new())
    }

    /// What holds for none.
    pub fn never() -> Self {
        Self::Any(Vec::new())
    }

    /// The same where what names a party by `altid` means the party also in events whose patterns do not let
    /// them name it so.
    #[must_use]
    pub fn of_parties(self) -> Self {
        let each = |parts: Vec<Self>| parts.into_iter().map(Self::of_parties).collect();
        match self {
            Self::All(parts) => match &parts[..] {
                [Self::Actor(names), other] if *other == names_somebody_so() => {
                    Self::Actor(names.clone())
                }
                _ => Self::All(each(parts)),
            },
            Self::Any(parts) => Self::Any(each(parts)),
            Self::Not(part) => Self::Not(Box::new(part.of_parties())),
            other => other,
        }
    }

    fn constant(holds: bool) -> Self {
        if holds { Self::always() } else { Self::never() }
    }

    /// Whether it holds for the event with a number of a row.
    pub fn holds(&self, entry: &Entry, number: usize) -> bool {
        let patient = entry.patients.get(number);
        let is = |value: &Option<String>, wanted: &String| value.as_ref() == Some(wanted);
        match self {
            Self::Actor(names) => names.contains(&entry.actor),
            Self::All(all) => all.iter().all(|it| it.holds(entry, number)),
            Self::Any(any) => any.iter().any(|it| it.holds(entry, number)),
            Self::Client(ids) => ids.iter().any(|id| is(&entry.client, id)),
            Self::Event(events) => events.contains(&(entry.id, number)),
            Self::HasPatient => patient.is_some(),
            Self::HasSubject => entry.subject.is_some() && entry.resource_type.is_some(),
            Self::HasToken => entry.token.is_some(),
            Self::Ids(from, to) => (*from..*to).contains(&entry.id),
            Self::Kinds(kinds) => kinds.contains(&entry.kind),
            Self::Name { part, text, is_exact } => {
                let name = entry.actor.strip_prefix("user:");
                name.is_some_and(|name| is_part(name, *part, text, *is_exact))
            }
            Self::Names(of, id, version) => entry.names_besides().any(|it| {
                let (own, kept) = named(it);
                own == format!("{of}/{id}") && (version.is_none() || kept == *version)
            }),
            Self::Not(part) => !part.holds(entry, number),
            Self::Outcomes(outcomes) => outcomes.contains(&entry.outcome),
            Self::Patients(hashes) => patient.is_some_and(|it| hashes.contains(&it.hash)),
            Self::Persons(persons) => {
                entry.person.as_ref().is_some_and(|person| persons.contains(person))
            }
            Self::Purposes(codes) => entry.purpose.as_deref().is_some_and(|it| codes.contains(&it)),
            Self::Source(part, text) => {
                let source = entry.source.as_deref().unwrap_or("unknown");
                is_part(source, *part, text, false)
            }
            Self::Subject(of, id, version) => {
                let subject = entry.subject.as_ref();
                entry.resource_type == Some(*of)
                    && subject.is_some_and(|(its, current)| {
                        its == id && version.is_none_or(|version| *current == Some(version))
                    })
            }
            Self::Token(token) => is(&entry.token, token),
        }
    }
}

/// The resource that a text of a row names, and its version.
fn named(about: &str) -> (&str, Option<i32>) {
    match about.split_once("/_history/") {
        Some((resource, version)) => (resource, version.parse().ok()),
        None => (about, None),
    }
}

fn is_part(value: &str, part: Part, text: &str, is_exact: bool) -> bool {
    let folded = fold(value);
    let value = if is_exact { value } else { &*folded };
    match part {
        Part::Any => value.contains(text),
        Part::End => value.ends_with(text),
        Part::Start => value.starts_with(text),
        Part::Whole => value == text,
    }
}

impl Reader<'_> {
    /// What `filters` ask, all of which hold.
    ///
    /// # Errors
    /// [`Untold`] names the first that cannot be told.
    pub fn read_all(&self, filters: &[Filter]) -> Result<Condition, Untold> {
        filters.iter().map(|filter| self.read(filter)).collect::<Result<_, _>>().map(Condition::All)
    }

    fn read(&self, filter: &Filter) -> Result<Condition, Untold> {
        let each = |parts: &[Filter]| {
            let parts = parts.iter().map(|part| self.read(part));
            parts.collect::<Result<Vec<_>, _>>()
        };
        Ok(match filter {
            Filter::All(all) => Condition::All(each(all)?),
            Filter::Any(any) => Condition::Any(each(any)?),
            Filter::Not(part) => Condition::Not(Box::new(self.read(part)?)),
            Filter::Id(ids) => Condition::Event(ids.iter().filter_map(|id| place_of(id)).collect()),
            Filter::Type(types) => Condition::constant(types.contains(&ResourceType::AUDIT_EVENT)),
            Filter::LastUpdated(any) => {
                Condition::Any(any.iter().map(|(prefix, range)| at(*prefix, *range)).collect())
            }
            Filter::Compartment { code: ResourceType::PATIENT, id } => self.of_patient(id),
            Filter::Compartment { code, id } => Condition::Persons(vec![format!("{code}/{id}")]),
            Filter::Test(test) => self.test(test)?,
            Filter::Chain { reference, .. } | Filter::Hierarchy { reference, .. } => {
                let name = reference.first().map_or("a chain", |key| &*key.code);
                return Err(Untold(format!("{name} (by what it refers to)")));
            }
            Filter::Has { .. } => return Err(Untold("_has".to_owned())),
            Filter::FullText { .. } => return Err(Untold("words".to_owned())),
            Filter::List(_) => return Err(Untold("_list".to_owned())),
            Filter::Keys(_)
            | Filter::Mentions { .. }
            | Filter::OfPatients(_)
            | Filter::Unshared => {
                return Err(Untold("keys".to_owned()));
            }
        })
    }

    fn of_patient(&self, id: &LogicalId) -> Condition {
        let person = Condition::Persons(vec![format!("Patient/{id}")]);
        Condition::Any(vec![Condition::Patients(vec![(self.hash)(id)]), person])
    }

    fn test(&self, test: &Test) -> Result<Condition, Untold> {
        let of = |key: &&crate::search::request::ParameterKey| {
            key.resource_type == ResourceType::AUDIT_EVENT
        };
        let untold = || Untold("this parameter".to_owned());
        let code = &*test.parameters.iter().find(of).ok_or_else(untold)?.code;
        let any = test.any.iter().map(|asked| {
            let told = match asked {
                Comparison::Present => present(code),
                Comparison::Date { prefix, range } if code == "date" => Some(at(*prefix, *range)),
                Comparison::Token(asked) => self.token(code, asked),
                Comparison::Reference(asked) => self.reference(code, asked),
                Comparison::String { part, text, is_exact } => {
                    self.text(code, *part, text, *is_exact)
                }
                Comparison::Uri(AskedUri::Is { url, .. }) => uri(code, url),
                _ => None,
            };
            told.ok_or_else(|| Untold(code.to_owned()))
        });
        any.collect::<Result<_, _>>().map(joined)
    }

    fn token(&self, code: &str, asked: &AskedToken) -> Option<Condition> {
        let kinds = |is_it: &dyn Fn(&Form) -> bool| {
            let all = Kind::ALL.iter().copied();
            Condition::Kinds(all.filter(|kind| is_it(Form::of(*kind))).collect())
        };
        Some(match code {
            "action" => {
                let system = "http://hl7.org/fhir/audit-event-action";
                let is_it = |kind: &Kind| is_token(asked, system, &kind.action().to_string());
                Condition::Kinds(Kind::ALL.iter().copied().filter(is_it).collect())
            }
            "outcome" => {
                let system = "http://hl7.org/fhir/audit-event-outcome";
                let all = [0, 4, 8, 12].into_iter();
                let is_it = |number: &i16| is_token(asked, system, &number.to_string());
                Condition::Outcomes(all.filter(is_it).collect())
            }
            "type" => kinds(&|form| is_token(asked, form.type_system, form.type_code)),
            "subtype" => kinds(&|form| is_token(asked, form.subtype_system, form.subtype)),
            "altid" => alt_id(asked),
            "entity-type" => {
                let system = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
                Condition::Any(vec![
                    when(is_token(asked, system, "2"), Condition::Not(Box::new(decision()))),
                    when(is_token(asked, system, "1"), Condition::HasPatient),
                    when(is_token(asked, RESOURCE_TYPES, "Consent"), decision()),
                ])
            }
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

    fn reference(&self, code: &str, asked: &AskedReference) -> Option<Condition> {
        let own = "urn:ietf:rfc:3986";
        Some(match (code, asked) {
            ("agent", AskedReference::Local { resource_type, id, version: None }) => {
                Condition::Persons(vec![format!("{resource_type}/{id}")])
            }
            ("agent", AskedReference::Identifier(asked)) => Condition::Any(vec![
                Condition::constant(is_token(asked, own, self.base)),
                self.user(asked),
                client(asked),
            ]),
            ("patient", AskedReference::Local { resource_type, id, version: None })
                if *resource_type == ResourceType::PATIENT =>
            {
                self.of_patient(id)
            }
            ("entity", AskedReference::Local { resource_type, id, version }) => {
                let version = version.map(|version| version.0);
                let subject = Condition::Subject(*resource_type, id.to_string(), version);
                let names = Condition::Names(*resource_type, id.to_string(), version);
                let mut any = vec![Condition::All(vec![about_data(), subject]), names];
                if *resource_type == ResourceType::PATIENT && version.is_none() {
                    any.push(Condition::Patients(vec![(self.hash)(id)]));
                }
                Condition::Any(any)
            }
            ("source", AskedReference::Identifier(asked)) => {
                Condition::constant(is_token(asked, own, self.base))
            }
            ("entity" | "patient", AskedReference::Identifier(_)) => {
                return None;
            }
            ("agent" | "entity" | "patient" | "source", _) => Condition::never(),
            _ => return None,
        })
    }

    fn text(&self, code: &str, part: Part, text: &str, is_exact: bool) -> Option<Condition> {
        Some(match code {
            "agent-name" => Condition::Name { part, text: text.to_owned(), is_exact },
            "address" => Condition::Any(vec![
                when(
                    is_part(self.base, part, text, is_exact),
                    Condition::Not(Box::new(decision())),
                ),
                // Addresses have no letters whose case or accents could count.
                Condition::Source(part, fold(text).into_owned()),
            ]),
            "entity-name" => Condition::never(),
            _ => return None,
        })
    }
}

/// One of them holds: of patients and of persons, who may be many, one condition each.
fn joined(any: Vec<Condition>) -> Condition {
    let (mut patients, mut persons, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut waiting = any;
    while let Some(one) = waiting.pop() {
        match one {
            Condition::Any(parts) => waiting.extend(parts),
            Condition::Patients(hashes) => patients.extend(hashes),
            Condition::Persons(names) => persons.extend(names),
            other => others.push(other),
        }
    }
    others.reverse();
    if !patients.is_empty() {
        others.push(Condition::Patients(patients));
    }
    if !persons.is_empty() {
        others.push(Condition::Persons(persons));
    }
    Condition::Any(others)
}

fn when(is_asked: bool, condition: Condition) -> Condition {
    if is_asked { condition } else { Condition::never() }
}

/// The event shows the resource that it is about.
fn about_data() -> Condition {
    let is_query = |kind: &Kind| Form::of(*kind).pattern == Some("Query") || *kind == Kind::Token;
    let queries = Kind::ALL.iter().copied().filter(is_query).collect();
    let not = Condition::Not(Box::new(Condition::Kinds(queries)));
    Condition::All(vec![Condition::HasSubject, not])
}

/// The event is what consents came down to: it shows these, and neither request nor data.
fn decision() -> Condition {
    Condition::Kinds(vec![Kind::ConsentDecision])
}

/// The event shows the request.
fn shows_request() -> Condition {
    let is_plain = |kind: &Kind| Form::of(*kind).pattern.is_none_or(|it| it == "Query");
    let plain = Kind::ALL.iter().copied().filter(is_plain).collect();
    let no_subject = Condition::Not(Box::new(Condition::HasSubject));
    let any = Condition::Any(vec![Condition::Kinds(plain), no_subject]);
    Condition::All(vec![any, Condition::Not(Box::new(decision()))])
}

fn alt_id(asked: &AskedToken) -> Condition {
    let names = match asked {
        AskedToken::Code(codes) | AskedToken::WithoutSystem(codes) => {
            codes.iter().map(|code| code.text.to_string()).collect()
        }
        _ => Vec::new(),
    };
    Condition::All(vec![Condition::Actor(names), names_somebody_so()])
}

/// A user has no `altId` in the event of a token, and nobody in that of a decision: the patterns do not allow it.
fn names_somebody_so() -> Condition {
    let any_name = Condition::Name { part: Part::Start, text: String::new(), is_exact: true };
    let of_token = Condition::All(vec![Condition::Kinds(vec![Kind::Token]), any_name]);
    Condition::Not(Box::new(Condition::Any(vec![of_token, decision()])))
}

fn client(asked: &AskedToken) -> Condition {
    match asked {
        AskedToken::Code(codes) | AskedToken::WithoutSystem(codes) => {
            Condition::Client(codes.iter().map(|code| code.text.to_string()).collect())
        }
        _ => Condition::never(),
    }
}

fn present(code: &str) -> Option<Condition> {
    Some(match code {
        "action" | "address" | "date" | "entity-role" | "entity-type" | "outcome" | "site"
        | "source" | "subtype" | "type" | "agent" => Condition::always(),
        "patient" => Condition::HasPatient,
        "policy" => Condition::HasToken,
        "agent-name" => Condition::Name { part: Part::Start, text: String::new(), is_exact: true },
        "entity" => Condition::Any(vec![about_data(), Condition::HasPatient, decision()]),
        "agent-role" | "entity-name" | "_tag" | "_security" => Condition::never(),
        _ => return None,
    })
}

fn uri(code: &str, url: &str) -> Option<Condition> {
    match code {
        "policy" => Some(name_of(url).map_or_else(Condition::never, Condition::Token)),
        "_source" => Some(Condition::never()),
        _ => None,
    }
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

/// The ids of a time. An event is a point in time, on a whole millisecond.
fn at(prefix: Prefix, range: DateRange) -> Condition {
    // The first whole millisecond from a moment on.
    let id = |moment: Option<crate::fhir::Instant>, open: Uuid| {
        moment.map_or(open, |moment| {
            let micros = moment.as_micros();
            first_id(crate::fhir::Instant::from_micros(micros.saturating_add(999)))
        })
    };
    let low = id(range.low, Uuid::nil());
    let is_point = range.low == range.high;
    let high = range.high.map(|high| {
        let after = i64::from(is_point);
        crate::fhir::Instant::from_micros(high.as_micros().saturating_add(after))
    });
    let high = id(high, Uuid::max());
    match prefix {
        Prefix::Eq | Prefix::Ap => Condition::Ids(low, high),
        Prefix::Ne => Condition::Not(Box::new(Condition::Ids(low, high))),
        Prefix::Lt | Prefix::Eb => Condition::Ids(Uuid::nil(), low),
        Prefix::Gt | Prefix::Sa => Condition::Ids(high, Uuid::max()),
        Prefix::Ge => Condition::Ids(low, Uuid::max()),
        Prefix::Le => Condition::Ids(Uuid::nil(), high),
    }
}
