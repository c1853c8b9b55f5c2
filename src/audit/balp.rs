//! A row of the ledger as AuditEvent resources: IHE Basic Audit Log Patterns where a pattern fits.
//!
//! A row is one event for each patient that it tells something about, else one. The first has the
//! row's id, the others that id with their number behind; the same row always gives the same events,
//! but for the names of patients, which the ledger has as hashes.
//!
//! What failed has the form of what succeeded, with its outcome, and claims no pattern: the patterns
//! are of success alone, but for that of decisions by consents (`authz`).
//!
//! Spec: <https://profiles.ihe.net/ITI/BALP/>, <https://hl7.org/fhir/R4/auditevent.html>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::access::interaction::Kind;
use crate::fhir::{Identity, Instant, LogicalId, ResourceType};

use super::form::Form;
use super::token::policy_of;

const BALP: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition";
pub(super) const AGENTS: &str = "https://profiles.ihe.net/ITI/BALP/CodeSystem/UserAgentTypes";
/// The types of entities that BALP has beside FHIR's.
pub(super) const ENTITIES: &str =
    "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType";
pub(super) const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
pub(super) const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
/// What identifies a patient whose resource is not here.
pub const UNKNOWN_PATIENTS: &str = "urn:kiln:unknown-patient";

/// A row of the ledger.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id, which tells the time.
    pub id: Uuid,
    /// What was done.
    pub kind: Kind,
    /// How it ended.
    pub outcome: i16,
    /// The type it was about.
    pub resource_type: Option<ResourceType>,
    /// The resource it was about, and its version.
    pub subject: Option<(String, Option<i32>)>,
    /// The party.
    pub actor: String,
    /// The client.
    pub client: Option<String>,
    /// The token.
    pub token: Option<String>,
    /// The resource that stands for the user.
    pub person: Option<String>,
    /// The purpose of use of the token.
    pub purpose: Option<String>,
    /// The address it came from.
    pub source: Option<String>,
    /// The request.
    pub request_id: String,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub query: String,
    /// Why it failed.
    pub failure: Option<String>,
    /// Whose data it was about.
    pub patients: Vec<PatientOf>,
    /// What else it was about.
    pub entities: Vec<String>,
}

/// A patient, as the ledger knows it and as the store does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PatientOf {
    /// The hash.
    pub hash: i64,
    /// The logical id, as far as there is or was such a patient here.
    pub id: Option<LogicalId>,
}

/// An event of a row.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its logical id.
    pub id: LogicalId,
    /// Which of the row's patients it is about.
    pub patient: Option<i64>,
    /// When.
    pub recorded: Instant,
    /// The profiles that it claims.
    pub profiles: Vec<String>,
    /// The resource without `resourceType`, `id` and `meta`.
    pub body: Value,
}

/// The moment that the id of a row tells, in whole milliseconds.
pub fn recorded(id: Uuid) -> Instant {
    let millis = id.as_u128() >> 80;
    Instant::from_micros(i64::try_from(millis).unwrap_or(i64::MAX / 1_000) * 1_000)
}

/// The first id of a moment, in whole milliseconds.
pub fn first_id(at: Instant) -> Uuid {
    let millis = at.as_micros().div_euclid(1_000).clamp(0, (1 << 48) - 1);
    Uuid::from_u128(u128::from(millis.cast_unsigned()) << 80)
}

/// The row and the number of its event that an AuditEvent's id names; `None` for ids of others.
pub fn place_of(id: &str) -> Option<(Uuid, usize)> {
    let (row, number) = (id.get(..36)?, id.get(36..)?);
    let number = match number.strip_prefix('-') {
        None if number.is_empty() => 0,
        None => return None,
        // One way to write each.
        Some(digits) if digits.starts_with('0') => return None,
        Some(digits) => digits.parse().ok()?,
    };
    let row: Uuid = row.parse().ok()?;
    // As the ledger writes it: lower-case, and of version 7.
    (row.get_version_num() == 7 && id.starts_with(&row.to_string())).then_some((row, number))
}

impl Entry {
    /// How many events it is.
    pub fn count(&self) -> usize {
        self.patients.len().max(1)
    }

    /// Its events; `base` is the server's own address.
    pub fn events(&self, base: &str) -> impl Iterator<Item = Event> {
        (0..self.count()).map(move |number| self.event(number, base))
    }

    /// The event with a number below [`Entry::count`].
    ///
    /// # Panics
    /// Never: digits and hyphens are a logical id.
    pub fn event(&self, number: usize, base: &str) -> Event {
        let patient = self.patients.get(number);
        let id = if number == 0 { self.id.to_string() } else { format!("{}-{number}", self.id) };
        let form = Form::of(self.kind);
        let mut body = json!({
            "type": coding(form.type_system, form.type_code),
            "subtype": [coding(form.subtype_system, form.subtype)],
            "action": self.kind.action().to_string(),
            "recorded": recorded(self.id).to_string(),
            "outcome": self.outcome.to_string(),
            "agent": self.agents(form, base),
            "source": {
                "site": base,
                "observer": server(base),
                "type": [coding("http://terminology.hl7.org/CodeSystem/security-source-type", "4")],
            },
            "entity": self.entities(form, patient),
        });
        // Of digits, as the name of a row is.
        let id = id.parse().expect("digits and hyphens are a logical id");
        if let Some(failure) = &self.failure {
            body["outcomeDesc"] = json!(failure);
        }
        if let Some(purpose) = &self.purpose {
            body["purposeOfEvent"] = json!([{ "coding": [reason(purpose)] }]);
        }
        Event {
            id,
            patient: patient.map(|patient| patient.hash),
            recorded: recorded(self.id),
            profiles: self.profiles(form, patient.is_some()),
            body,
        }
    }

    /// What the event with a number refers to by a search parameter; `None`: by any of them.
    pub fn references(&self, number: usize, code: Option<&str>) -> Vec<Identity> {
        // Whoever is a patient is one by the parameter for patients, too, as agent and as entity.
        let is_asked = |own: &str, it: &Identity| {
            let is_patient = it.resource_type == ResourceType::PATIENT;
            code.is_none_or(|code| code == own || (code == "patient" && is_patient))
        };
        let parties = self.person.as_deref().into_iter().chain(self.asks_for());
        let agents = parties.filter_map(|party| {
            let (of, id) = party.split_once('/')?;
            identity(of, id)
        });
        let mut all: Vec<Identity> = agents.filter(|it| is_asked("agent", it)).collect();
        let shows_data = Form::of(self.kind).pattern != Some("Query")
            && !matches!(self.kind, Kind::ConsentDecision | Kind::Token);
        let subject = self.subject.as_ref().zip(self.resource_type).filter(|_| shows_data);
        let subject = subject.and_then(|((id, _), of)| identity(of.as_str(), id));
        let besides = self.names_besides().filter_map(|about| {
            let mut parts = about.split('/');
            identity(parts.next()?, parts.next()?)
        });
        let patient = self.patients.get(number).and_then(|patient| patient.id.clone());
        let patient = patient.map(|id| Identity { resource_type: ResourceType::PATIENT, id });
        let entities = subject.into_iter().chain(besides).chain(patient);
        all.extend(entities.filter(|it| is_asked("entity", it)));
        all
    }

    /// The patterns that the event follows.
    fn profiles(&self, form: &Form, is_of_patient: bool) -> Vec<String> {
        let mut profiles = Vec::new();
        let has_subject = self.subject.is_some() || form.pattern == Some("Query");
        if self.outcome == 0 && has_subject {
            let whose = if is_of_patient { "Patient" } else { "" };
            let pattern = form.pattern.map(|name| format!("{BALP}/IHE.BasicAudit.{whose}{name}"));
            profiles.extend(pattern);
            let tokens = self.token_patterns();
            profiles
                .extend(tokens.map(|it| format!("{BALP}/IHE.BasicAudit.OAUTHaccessTokenUse.{it}")));
        }
        if self.kind == Kind::ConsentDecision && self.is_whole_decision() {
            profiles.push(format!("{BALP}/IHE.BasicAudit.AuthZconsent"));
        }
        if self.outcome == 0 && self.kind == Kind::Token {
            profiles.push(format!("{BALP}/IHE.IUA.71"));
        }
        // A file of nobody's data is no disclosure of somebody's.
        if self.outcome == 0 && self.kind == Kind::ExportFile && is_of_patient {
            profiles.push(format!("{BALP}/IHE.BasicAudit.PrivacyDisclosure.Source"));
        }
        profiles
    }

    fn agents(&self, form: &Form, base: &str) -> Value {
        let policy = self.token.as_ref().map(|token| json!([policy_of(token)]));
        if self.kind == Kind::ConsentDecision {
            return self.decision_agents(policy.as_ref(), base);
        }
        let mut client_types = vec![coding(DICOM, form.client)];
        if self.client.is_some() && form.client != "110150" && self.kind != Kind::Token {
            client_types.push(coding(DICOM, "110150"));
        }
        let address = self.source.as_deref();
        let network = address.map_or_else(
            || json!({ "address": "unknown", "type": "1" }),
            |address| json!({ "address": address, "type": "2" }),
        );
        let mut client = json!({
            "type": { "coding": client_types },
            "who": match &self.client {
                Some(client) => json!({ "identifier": { "value": client } }),
                None => json!({ "display": address.unwrap_or(&self.actor) }),
            },
            "requestor": self.user().is_none(),
            "network": network,
        });
        if self.user().is_none() {
            client["altId"] = json!(self.actor);
            if let Some(policy) = &policy {
                client["policy"] = policy.clone();
            }
        }
        let server = json!({
            "type": { "coding": [coding(form.server.0, form.server.1)] },
            "who": server(base),
            "requestor": false,
            "network": { "address": base, "type": "5" },
        });
        let mut agents = vec![client, server];
        if let Some(name) = self.user() {
            agents.push(self.user_agent(name, form, policy, base));
        }
        Value::Array(agents)
    }

    fn user_agent(&self, name: &str, form: &Form, policy: Option<Value>, base: &str) -> Value {
        let mut types = vec![coding(PARTICIPATION, form.user)];
        if self.kind != Kind::Token {
            if form.user != "IRCP" {
                types.push(coding(PARTICIPATION, "IRCP"));
            }
            if policy.is_some() {
                types.push(coding(AGENTS, "UserOauthAgent"));
            }
        }
        let mut user = json!({
            "type": { "coding": types },
            "who": self.who(name, base),
            "name": name,
            "requestor": true,
        });
        if self.kind != Kind::Token {
            user["altId"] = json!(self.actor);
        }
        if let Some(policy) = policy {
            user["policy"] = policy;
        }
        if let Some(purpose) = &self.purpose {
            user["purposeOfUse"] = json!([{ "coding": [reason(purpose)] }]);
        }
        user
    }

    fn entities(&self, form: &Form, patient: Option<&PatientOf>) -> Vec<Value> {
        let request = STANDARD.encode(format!("{} {}", self.method, self.query));
        let asked = || {
            json!({
                "type": object("2"),
                "role": role("24"),
                "description": format!("{} {}", self.method, path(&self.query)),
                "query": request,
            })
        };
        match self.kind {
            Kind::ConsentDecision => return self.decision_entities(patient),
            Kind::Token => return vec![self.with_issued(asked())],
            _ => {}
        }
        let mut entities = Vec::new();
        match (&self.subject, self.resource_type) {
            (Some((id, version)), Some(of)) if form.pattern != Some("Query") => {
                let version = version.map_or_else(String::new, |it| format!("/_history/{it}"));
                let what = format!("{of}/{id}{version}");
                let data = json!({
                    "type": object("2"), "role": role("4"), "what": { "reference": what },
                });
                entities.push(data);
                if form.pattern.is_none() {
                    entities.push(asked());
                }
            }
            _ => entities.push(asked()),
        }
        entities.extend(patient.map(patient_entity));
        if !self.request_id.is_empty() {
            entities.push(json!({
                "type": coding(ENTITIES, "XrequestId"),
                "what": { "identifier": { "value": self.request_id } },
            }));
        }
        if form.pattern.is_none() {
            entities.extend(self.entities.iter().map(|about| also(about)));
        }
        entities
    }

    /// The resources that the event names beside what it is about, some with their versions.
    pub(super) fn names_besides(&self) -> impl Iterator<Item = &str> {
        let is_shown = move |of: &str| match self.kind {
            Kind::ConsentDecision => of == "Consent",
            Kind::Token => false,
            kind => Form::of(kind).pattern.is_none(),
        };
        let is_resource = move |about: &&str| {
            let (of, _) = about.split_once('/').unwrap_or_default();
            of.parse::<ResourceType>().is_ok() && is_shown(of)
        };
        self.entities.iter().map(String::as_str).filter(is_resource)
    }
}

/// The patient whose data it is about.
pub(super) fn patient_entity(patient: &PatientOf) -> Value {
    let what = match &patient.id {
        Some(id) => json!({ "reference": format!("Patient/{id}") }),
        None => json!({
            "type": "Patient",
            "identifier": {
                "system": UNKNOWN_PATIENTS,
                "value": format!("{:016x}", patient.hash),
            },
        }),
    };
    json!({ "type": object("1"), "role": role("1"), "what": what })
}

fn identity(of: &str, id: &str) -> Option<Identity> {
    Some(Identity { resource_type: of.parse().ok()?, id: id.parse().ok()? })
}

/// What else an event is about: a version, or a text of the authorization server.
fn also(about: &str) -> Value {
    let first = about.split('/').next().unwrap_or_default();
    if about.contains('/') && first.parse::<ResourceType>().is_ok() {
        return json!({ "type": object("2"), "what": { "reference": about } });
    }
    json!({ "type": object("2"), "description": about })
}

/// The path of a request, without what was asked.
fn path(query: &str) -> &str {
    query.split('?').next().unwrap_or_default()
}

pub(super) fn coding(system: &str, code: &str) -> Value {
    json!({ "system": system, "code": code })
}

pub(super) fn reason(code: &str) -> Value {
    coding("http://terminology.hl7.org/CodeSystem/v3-ActReason", code)
}

fn object(code: &str) -> Value {
    coding("http://terminology.hl7.org/CodeSystem/audit-entity-type", code)
}

fn role(code: &str) -> Value {
    coding("http://terminology.hl7.org/CodeSystem/object-role", code)
}

/// The server, as who observes.
pub(super) fn server(base: &str) -> Value {
    json!({ "identifier": { "system": "urn:ietf:rfc:3986", "value": base }, "display": "Kiln" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_a_row_and_the_number_of_its_event_in_one_way() {
        let row: Uuid = "01990000-0000-7000-8000-00000000000a".parse().unwrap();
        for (text, expected) in [
            ("01990000-0000-7000-8000-00000000000a", Some((row, 0))),
            ("01990000-0000-7000-8000-00000000000a-1", Some((row, 1))),
            ("01990000-0000-7000-8000-00000000000a-12", Some((row, 12))),
            ("01990000-0000-7000-8000-00000000000A", None),
            ("01990000-0000-7000-8000-00000000000a-0", None),
            ("01990000-0000-7000-8000-00000000000a-01", None),
            ("01990000-0000-7000-8000-00000000000a-", None),
            ("01990000-0000-7000-8000-00000000000ab", None),
            ("01990000-0000-4000-8000-00000000000a", None),
            ("01990000000070008000000000000000000a", None),
            ("example", None),
        ] {
            assert_eq!(place_of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_file_of_an_export_goes_from_the_server_to_the_client_as_a_disclosure() {
        let patient = PatientOf { hash: 1, id: Some("a".parse().unwrap()) };
        let entry = Entry {
            id: "01990000-0000-7000-8000-00000000000a".parse().unwrap(),
            kind: Kind::ExportFile,
            outcome: 0,
            resource_type: None,
            subject: None,
            actor: "client:app".to_owned(),
            client: Some("app".to_owned()),
            token: None,
            person: None,
            purpose: None,
            source: Some("192.0.2.7".to_owned()),
            request_id: "r-1".to_owned(),
            method: "GET".to_owned(),
            query: "/fhir/$export/x/0".to_owned(),
            failure: None,
            patients: vec![patient],
            entities: vec!["file 0, 12 bytes".to_owned()],
        };
        let event = entry.event(0, "http://h/fhir");
        let codes = |at: usize| event.body["agent"][at]["type"]["coding"][0]["code"].clone();
        assert_eq!(codes(0), "110152", "the client is the destination");
        assert_eq!(event.body["agent"][0]["who"]["identifier"]["value"], "app");
        assert_eq!(codes(1), "110153", "the server is the source");
        assert_eq!(event.body["subtype"][0]["code"], "disclose");
        let pattern = format!("{BALP}/IHE.BasicAudit.PrivacyDisclosure.Source");
        assert_eq!(event.profiles, [pattern]);
        for other in
            [Entry { outcome: 4, ..entry.clone() }, Entry { patients: Vec::new(), ..entry.clone() }]
        {
            assert!(other.event(0, "http://h/fhir").profiles.is_empty(), "{other:?}");
        }
    }

    #[test]
    fn the_time_of_an_id_is_that_of_its_first_digits() {
        let at = Instant::parse("2026-03-04T05:06:07.891Z").unwrap();
        assert_eq!(recorded(first_id(at)), at);
        assert_eq!(first_id(Instant::from_micros(-1)), Uuid::nil());
    }
}
