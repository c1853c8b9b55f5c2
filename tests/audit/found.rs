//! What a search of the record finds, held against the events as they are shown: each search parameter of R4 finds
//! exactly those whose element says so (A13).

use std::collections::BTreeSet;
use std::time::Duration;

use kiln::access::interaction::Kind;
use kiln::audit::balp::Entry;
use kiln::audit::query::{Condition, Reader};
use kiln::fhir::datetime::Zone;
use kiln::fhir::query::Query;
use kiln::fhir::{Instant, LogicalId, ResourceType};
use kiln::search::extract::{Extractor, Settings};
use kiln::search::request::{Context, Limits, SearchTarget, Strictness, parse};
use kiln::search::values::quantity::Ucum;
use kiln::spec::Spec;
use kiln::spec::codes::Codes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::events::entries;
use crate::harness::client::Answer;
use crate::harness::server::TestServer;
use crate::oauth::browser::{register, store, user};
use crate::oauth::emergency::token;
use crate::oauth::tokens::client::{SECRET, granted, public, send, server, service, text, tokens};

/// How the values of a parameter compare. Codes of a `code` have the system beside it.
#[derive(Clone, Copy)]
enum How {
    Date,
    Reference,
    Text,
    Token(&'static str),
    Uri,
}

/// A search parameter: its name, how it compares, and the elements that it looks at.
type Parameter = (&'static str, How, &'static str);

/// Those that R4 defines for AuditEvent.
const PARAMETERS: &[Parameter] = &[
    ("action", How::Token("http://hl7.org/fhir/audit-event-action"), "action"),
    ("address", How::Text, "agent.network.address"),
    ("agent", How::Reference, "agent.who"),
    ("agent-name", How::Text, "agent.name"),
    ("agent-role", How::Token(""), "agent.role"),
    ("altid", How::Token(""), "agent.altId"),
    ("date", How::Date, "recorded"),
    ("entity", How::Reference, "entity.what"),
    ("entity-name", How::Text, "entity.name"),
    ("entity-role", How::Token(""), "entity.role"),
    ("entity-type", How::Token(""), "entity.type"),
    ("outcome", How::Token("http://hl7.org/fhir/audit-event-outcome"), "outcome"),
    ("patient", How::Reference, "agent.who entity.what"),
    ("policy", How::Uri, "agent.policy"),
    ("site", How::Token(""), "source.site"),
    ("source", How::Reference, "source.observer"),
    ("subtype", How::Token(""), "subtype"),
    ("type", How::Token(""), "type"),
];

/// What no event of the ledger has. `agent.role` would be a role of the user at the moment of the access, which a row
/// does not keep, and `entity.name` a name of a patient, which the ledger must not have.
const NEVER: [&str; 2] = ["agent-role", "entity-name"];

const STORED: &[&str] = &[
    r#"{"resourceType":"Patient","id":"b"}"#,
    r#"{"resourceType":"Organization","id":"g","name":"G"}"#,
    r#"{"resourceType":"Practitioner","id":"ada"}"#,
    r#"{"resourceType":"PractitionerRole","id":"ada-g","active":true,"practitioner":{"reference":"Practitioner/ada"},"organization":{"reference":"Organization/g"}}"#,
    r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/p1"}}"#,
    // Of a patient who is not here.
    r#"{"resourceType":"Observation","id":"far","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/elsewhere"}}"#,
    r#"{"resourceType":"Consent","id":"no-b","status":"active","scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},"category":[{"text":"privacy"}],"patient":{"reference":"Patient/b"},"policyRule":{"text":"ours"},"provision":{"type":"deny"}}"#,
];

const BATCH: &str = r#"{"resourceType":"Bundle","type":"batch","entry":[
    {"request":{"method":"GET","url":"Patient/p1"}},{"request":{"method":"GET","url":"Patient/nobody"}},
    {"request":{"method":"GET","url":"Observation?status=final"}}]}"#;

/// What a user asks, and a piece of it may be refused.
const ASKED: &[(&str, &str, &str)] = &[
    ("GET", "/Patient/p1", ""),
    ("GET", "/Patient/b", ""),
    ("GET", "/Patient/nobody", ""),
    ("GET", "/Patient/p1/_history/1", ""),
    ("GET", "/Patient/p1/_history", ""),
    ("GET", "/Observation?subject=Patient/p1", ""),
    ("GET", "/Observation?code:text=x", ""),
    ("GET", "/Observation/far", ""),
    ("GET", "/Patient?birthdate=never", ""),
    ("PUT", "/Observation/o", OBSERVATION),
    ("POST", "/", BATCH),
];
const OBSERVATION: &str = r#"{"resourceType":"Observation","id":"o","status":"amended","code":{"text":"y"},
    "subject":{"reference":"Patient/p1"}}"#;

async fn ask(server: &TestServer, token: &str, (method, url, body): (&str, &str, &str)) -> Answer {
    let call = server.client.call(method, url);
    let call = call.header("Authorization", &format!("Bearer {token}"));
    let call = if body.is_empty() { call } else { call.json(body.to_owned()) };
    call.send().await
}

/// A server that a practitioner, an app of a patient, a service and a stranger asked this and that; the token of one
/// who may read the record, and what is on record by then.
async fn record() -> (TestServer, String, Vec<Value>) {
    let server = server().await;
    store(&server, STORED).await;
    user(&server, "officer", "privacy", None).await;
    user(&server, "ada", "practitioner", Some("Practitioner/ada")).await;
    let pat = user(&server, "Pat", "patient", Some("Patient/p1")).await;
    let scopes = "openid fhirUser patient/Patient.rs patient/Practitioner.rs";
    register(&server, &public("app", scopes)).await;
    register(&server, &service("job", "system/Patient.rs")).await;
    let officer = token(&server, "officer", "user/*.rs").await;

    let ada = token(&server, "ada", "user/*.cruds").await;
    for asked in ASKED {
        let answer = ask(&server, &ada, *asked).await;
        assert!(answer.status < 500, "{asked:?}: {answer:?}");
    }
    let told = tokens(&server, &granted("app", scopes, Some(pat))).await;
    let own = text(&told, "access_token");
    for url in ["/Patient/p1", "/Practitioner/ada"] {
        ask(&server, &own, ("GET", url, "")).await.expect(200);
    }
    for (secret, status) in [(SECRET, 200), ("wrong", 401)] {
        let fields = [
            ("grant_type", "client_credentials"),
            ("scope", "system/Patient.rs"),
            ("client_id", "job"),
            ("client_secret", secret),
        ];
        let told = send(&server, "/auth/token", &fields).await.expect(status);
        if status == 200 {
            let token = text(&told, "access_token");
            ask(&server, &token, ("GET", "/Patient/p1", "")).await.expect(200);
        }
    }
    server.client.get("/Patient/p1").await.expect(401);

    // What is asked from here on is of a later millisecond than what is looked for.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let all = ask(&server, &officer, ("GET", "/AuditEvent?_count=500", "")).await.expect(200);
    let bundle: Value = serde_json::from_str(&all.text()).unwrap();
    let entries = bundle["entry"].as_array().unwrap();
    assert!(entries.len() < 500);
    let events = entries.iter().map(|entry| entry["resource"].clone()).collect();
    (server, officer, events)
}

fn id(event: &Value) -> &str {
    event["id"].as_str().unwrap()
}

/// The elements of an event that a parameter looks at.
fn elements<'v>(&(code, _, paths): &Parameter, event: &'v Value) -> Vec<&'v Value> {
    let mut all = Vec::new();
    for path in paths.split(' ') {
        let mut found = vec![event];
        for name in path.split('.') {
            let mut inner = Vec::new();
            for value in found {
                match &value[name] {
                    Value::Array(several) => inner.extend(several),
                    Value::Null => {}
                    one => inner.push(one),
                }
            }
            found = inner;
        }
        all.extend(found);
    }
    all.retain(|element| code != "patient" || is_patient(element));
    all
}

/// `resolve() is Patient`: by what the reference says, be its target here or not.
fn is_patient(reference: &Value) -> bool {
    match reference["reference"].as_str() {
        Some(text) => text.starts_with("Patient/"),
        None => reference["type"] == "Patient",
    }
}

/// The system and the code of a code, a Coding or an Identifier; no system is an empty one.
fn coded<'v>(value: &'v Value, implied: &'v str) -> (&'v str, &'v str) {
    if let Some(code) = value.as_str() {
        return (implied, code);
    }
    let code = value["code"].as_str().or_else(|| value["value"].as_str());
    (value["system"].as_str().unwrap_or_default(), code.unwrap())
}

/// The ways to ask for a system and a code.
fn asked_for((system, code): (&str, &str)) -> [String; 2] {
    for text in [system, code] {
        assert!(!text.contains(['|', ',', '$', '\\']), "it would have to be escaped: {text}");
    }
    [code.to_owned(), format!("{system}|{code}")]
}

/// Modifiers and values by which an event must be found, each for a value of its own. The modifiers that ask for
/// what is not there are among them.
fn asked_of(parameter: &Parameter, event: &Value) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for element in elements(parameter, event) {
        match parameter.1 {
            How::Date | How::Uri => all.push(("", element.as_str().unwrap().to_owned())),
            How::Reference => {
                if let Some(text) = element["reference"].as_str() {
                    let current = text.split("/_history/").next().unwrap();
                    all.extend([("", text.to_owned()), ("", current.to_owned())]);
                }
                if element["identifier"].is_object() {
                    let asked = asked_for(coded(&element["identifier"], ""));
                    all.extend(asked.map(|value| ("identifier", value)));
                }
            }
            How::Text => {
                let text = element.as_str().unwrap();
                let all_of_it = ["", "exact"].map(|modifier| (modifier, text.to_owned()));
                all.extend(all_of_it);
                all.push(("contains", text[1..].to_owned()));
            }
            How::Token(implied) => {
                let [code, token] = asked_for(coded(element, implied));
                all.extend([("", code), ("", token.clone()), ("not", token)]);
            }
        }
    }
    all
}

fn is_token(asked: &str, (system, code): (&str, &str)) -> bool {
    match asked.split_once('|') {
        None => code == asked,
        Some((of, wanted)) => system == of && code == wanted,
    }
}

fn query_of(code: &str, modifier: &str, value: &str) -> String {
    let name = if modifier.is_empty() { code.to_owned() } else { format!("{code}:{modifier}") };
    format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
}

/// Whether an event is found by a value of a parameter with a modifier, as R4 has it.
fn is_found(parameter: &Parameter, (modifier, value): (&str, &str), event: &Value) -> bool {
    let elements = elements(parameter, event);
    let mut any = elements.iter();
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    match (parameter.1, modifier) {
        (_, "missing") => elements.is_empty() == (value == "true"),
        (_, "not") => !is_found(parameter, ("", value), event),
        (How::Date | How::Uri, _) | (How::Text, "exact") => any.any(|it| text(it) == value),
        (How::Reference, "identifier") => any.any(|it| {
            it["identifier"].is_object() && is_token(value, coded(&it["identifier"], ""))
        }),
        (How::Reference, _) => any.any(|it| {
            let rest = it["reference"].as_str().and_then(|it| it.strip_prefix(value));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("/_history/"))
        }),
        (How::Text, "contains") => any.any(|it| text(it).contains(value)),
        (How::Text, _) => any.any(|it| text(it).starts_with(value)),
        (How::Token(implied), _) => any.any(|it| is_token(value, coded(it, implied))),
    }
}

/// What is tested is there: each kind of party, of end and of entity.
fn is_of_each_kind(events: &[Value]) {
    let asked = |code: &str| -> BTreeSet<String> {
        let parameter = PARAMETERS.iter().find(|it| it.0 == code).unwrap();
        let all = events.iter().flat_map(|event| asked_of(parameter, event));
        all.map(|(modifier, value)| format!("{modifier} {value}")).collect()
    };
    for (code, needed) in [
        ("agent", &["Organization/g", "Patient/p1", "Practitioner/ada"][..]),
        ("agent", &["Pat", "app", "job"]),
        ("agent-name", &["Pat", "ada"]),
        ("altid", &["client:job", "user:Pat", "user:ada"]),
        ("entity", &["Consent/no-b", "Observation/o", "Patient/nobody", "Patient/p1/_history/1"]),
        ("entity-type", &["1", "2", "Consent", "UserOauthAgent", "XrequestId"]),
        ("outcome", &["0", "4", "8"]),
        ("patient", &["Patient/b", "Patient/nobody", "Patient/p1"]),
        ("subtype", &["AuthZ-Consent", "ITI-71", "history-instance", "read", "search-type"]),
    ] {
        let found = asked(code);
        for value in needed {
            let ways = [format!(" {value}"), format!("identifier {value}")];
            assert!(ways.iter().any(|way| found.contains(way)), "{code}={value}: {found:?}");
        }
    }
    assert!(asked("patient").iter().any(|it| it.contains("urn:kiln:unknown-patient|")));
    // A patient is there as agent alone, too.
    let is_agent_alone = |event: &Value| {
        let named = |list: &str, element: &str| {
            event[list].as_array().unwrap().iter().any(|it| is_patient(&it[element]))
        };
        named("agent", "who") && !named("entity", "what")
    };
    assert!(events.iter().any(is_agent_alone));
}

/// The names of the parameters that the server says it has for AuditEvent, without those of all types.
async fn declared(server: &TestServer) -> BTreeSet<String> {
    let metadata: Value =
        serde_json::from_str(&server.client.get("/metadata").await.expect(200).text()).unwrap();
    let mut resources = metadata["rest"][0]["resource"].as_array().unwrap().iter();
    let record = resources.find(|it| it["type"] == "AuditEvent").unwrap();
    let names = record["searchParam"].as_array().unwrap().iter();
    let names = names.map(|it| it["name"].as_str().unwrap().to_owned());
    names.filter(|name| !name.starts_with('_')).collect()
}

/// Covers: security A13.
#[tokio::test(flavor = "multi_thread")]
async fn each_parameter_finds_exactly_the_events_whose_elements_say_so() {
    let (server, officer, events) = record().await;
    is_of_each_kind(&events);
    let all: BTreeSet<String> = PARAMETERS.iter().map(|it| it.0.to_owned()).collect();
    assert_eq!(declared(&server).await, all);
    let known: BTreeSet<&str> = events.iter().map(id).collect();
    let last = events[0]["recorded"].as_str().unwrap();
    for parameter in PARAMETERS {
        let (code, how, _) = *parameter;
        let asked: BTreeSet<_> =
            events.iter().flat_map(|event| asked_of(parameter, event)).collect();
        assert_eq!(asked.is_empty(), NEVER.contains(&code), "{code}: {asked:?}");
        // Of times a few are enough.
        let step = if matches!(how, How::Date) { 7 } else { 1 };
        let mut asked: Vec<_> = asked.into_iter().step_by(step).collect();
        asked.extend(["true", "false"].map(|value| ("missing", value.to_owned())));
        if NEVER.contains(&code) {
            asked.push(("", "x".to_owned()));
        }
        for (modifier, value) in &asked {
            let query = query_of(code, modifier, value);
            let url = format!("/AuditEvent?_count=500&date=le{last}&{query}");
            let answer = ask(&server, &officer, ("GET", &url, "")).await.expect(200);
            let bundle: Value = serde_json::from_str(&answer.text()).unwrap();
            let entries = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
            // An outcome would say that events are left out.
            let found = entries.iter().map(|entry| &entry["resource"]);
            assert!(found.clone().all(|it| it["resourceType"] == "AuditEvent"), "{query}");
            let found: BTreeSet<&str> = found.map(id).filter(|id| known.contains(id)).collect();
            let is_it = |event: &&Value| is_found(parameter, (modifier, value), event);
            let expected: BTreeSet<&str> = events.iter().filter(is_it).map(id).collect();
            assert_eq!(found, expected, "{query}");
        }
    }
    server.stop().await;
}

/// The server's address in events that no server made.
const BASE: &str = "http://h.example/fhir";

/// Events of every kind: their rows, their numbers in these, and what they show.
fn of_every_kind() -> Vec<(Entry, usize, Value)> {
    let mut all = Vec::new();
    for entry in entries() {
        // Nothing that gives a token is about a patient.
        let is_token = entry.kind == Kind::Token;
        let patients = if is_token { Vec::new() } else { entry.patients.clone() };
        let entry = Entry { patients, ..entry };
        let person = entry.person.as_ref().map(|_| "Patient/p".to_owned());
        let of_patient = Entry { person, request_id: String::new(), ..entry.clone() };
        for entry in [entry, of_patient] {
            let events = entry.events(BASE).enumerate();
            all.extend(events.map(|(number, event)| (entry.clone(), number, event.body)));
        }
    }
    all
}

/// The same of rows in memory, of all kinds, of which no server makes each.
///
/// Covers: security A13.
#[test]
fn events_of_every_kind_are_found_by_what_their_elements_say() {
    let codes = Codes::r4().unwrap();
    let settings = Settings { base: BASE.into(), units: Box::new(Ucum), zone: Zone::UTC };
    let extractor = Extractor::new(Spec::r4().unwrap(), codes, settings).unwrap();
    let context = Context {
        extractor: &extractor,
        now: Instant::from_micros(0),
        strictness: Strictness::Criteria,
        dates_overlap: false,
        limits: Limits::default(),
    };
    // The patient a is the one with the hash 1.
    let hash = |id: &LogicalId| i64::from(id.as_str() == "a");
    let reader = Reader { base: BASE, hash: &hash };
    let target = SearchTarget::Type(ResourceType::AUDIT_EVENT);
    let condition = |query: &str| -> Condition {
        let request = parse(&target, &Query::parse(query).unwrap(), &context);
        let request = request.unwrap_or_else(|fault| panic!("{query}: {fault}"));
        reader.read_all(&request.filters).unwrap_or_else(|fault| panic!("{query}: {fault:?}"))
    };
    let events = of_every_kind();
    for parameter in PARAMETERS {
        let asked: BTreeSet<_> =
            events.iter().flat_map(|(_, _, event)| asked_of(parameter, event)).collect();
        assert_eq!(asked.is_empty(), NEVER.contains(&parameter.0), "{}: {asked:?}", parameter.0);
        let presence = ["true", "false"].map(|value| ("missing", value.to_owned()));
        for (modifier, value) in asked.into_iter().chain(presence) {
            let query = query_of(parameter.0, modifier, &value);
            let condition = condition(&query);
            for (entry, number, event) in &events {
                let expected = is_found(parameter, (modifier, &value), event);
                assert_eq!(condition.holds(entry, *number), expected, "{query}: {event:#}");
            }
        }
    }
}
