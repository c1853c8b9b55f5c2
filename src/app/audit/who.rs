//! `kiln audit who`: who saw a patient, and what a user saw.
//!
//! It asks as any caller does, through the gate, so that the question is on record as well.

use std::error::Error;
use std::io::Write;

use serde_json::Value;

use crate::access::{Caller, Principal, RequestContext};
use crate::clock::{IdSource as _, SystemIds};
use crate::engine::{CURSOR, Engine};
use crate::fhir::query::Query;

/// Events that are asked for at once.
const PAGE: usize = 500;

/// `kiln audit who`: which events.
#[derive(Debug, clap::Args)]
pub(in crate::app) struct WhoArgs {
    /// Accesses to the data of the patient with this id.
    #[arg(long, value_name = "ID", required_unless_present = "user")]
    patient: Option<String>,
    /// Accesses by this user, or by a client: `client:ID`.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// From this date on.
    #[arg(long, value_name = "DATE")]
    since: Option<String>,
    /// Up to this date, and on it.
    #[arg(long, value_name = "DATE")]
    until: Option<String>,
    /// Most events, newest first.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    /// Print AuditEvent resources, one on each line.
    #[arg(long)]
    json: bool,
}

impl WhoArgs {
    fn query(&self) -> Query {
        let party = |name: &String| literally(&actor(name));
        [
            self.patient
                .as_ref()
                .map(|id| Query::of("patient", &format!("Patient/{}", literally(id)))),
            self.user.as_ref().map(|name| Query::of("altid", &party(name))),
            // From the beginning on where nothing is said: a server may want to hear of a time.
            Some(Query::of("date", &format!("ge{}", self.since.as_deref().unwrap_or("1970")))),
            self.until.as_ref().map(|date| Query::of("date", &format!("le{date}"))),
            Some(Query::of("_count", &self.limit.min(PAGE).to_string())),
        ]
        .into_iter()
        .flatten()
        .fold(Query::default(), Query::and)
    }
}

/// Writes the events to `out`; how many there are.
///
/// # Errors
/// What keeps them from being found, as a sentence.
pub(in crate::app) async fn who(
    args: &WhoArgs,
    engine: &Engine,
    out: &mut (impl Write + Send),
) -> Result<usize, Box<dyn Error>> {
    let asked = args.query();
    let (mut query, mut count) = (asked.clone(), 0);
    loop {
        let request = RequestContext {
            id: SystemIds::default().ordered().to_string(),
            method: "GET",
            path_and_query: "kiln audit who".to_owned(),
            source: None,
        };
        let caller = Caller::new(Principal::service("audit who"), request);
        let found = engine.search_parties(&query, &caller).await?;
        for found in &found.page.matches {
            if count == args.limit {
                return Ok(count);
            }
            count += 1;
            let body = found.version.body.as_deref().unwrap_or(b"{}");
            let event: Value = serde_json::from_slice(body)?;
            if args.json {
                writeln!(out, "{}", whole(event, found.version.identity.id.as_str()))?;
            } else {
                writeln!(out, "{}", line(&event))?;
            }
        }
        let Some(next) = found.page.next else { return Ok(count) };
        query = asked.clone().and(Query::of(CURSOR, &next));
    }
}

/// What the record has of a user, or of the party that is named as the record does. Names of users have colons, too:
/// those of outside servers begin with the server's address.
fn actor(name: &str) -> String {
    let is_whole = ["user:", "client:", "service:"].iter().any(|kind| name.starts_with(kind));
    if is_whole { name.to_owned() } else { format!("user:{name}") }
}

/// A name as a value that is this name and nothing else.
fn literally(name: &str) -> String {
    let parts = name.chars().flat_map(|it| {
        let escape = matches!(it, '\\' | ',' | '|' | '$').then_some('\\');
        escape.into_iter().chain([it])
    });
    parts.collect()
}

fn whole(mut event: Value, id: &str) -> Value {
    event["resourceType"] = "AuditEvent".into();
    event["id"] = id.into();
    event
}

/// When, who, from where, what, of what, and how it ended.
fn line(event: &Value) -> String {
    let text = |value: Option<&Value>| {
        let text = value.and_then(Value::as_str).unwrap_or("-");
        // The parts of requests come from outside: a line stays a line.
        text.chars().filter(|it| !it.is_control()).collect::<String>()
    };
    let items = |name: &str| event[name].as_array().cloned().unwrap_or_default();
    let agents = items("agent");
    let is_party = |agent: &&Value| agent["requestor"] == true;
    // Of a decision the patterns name nobody but by an identifier.
    let named = |agent: &Value| {
        let ways = ["/altId", "/name", "/who/identifier/value", "/who/display"];
        ways.iter().find_map(|way| agent.pointer(way)).cloned()
    };
    let party = agents.iter().find(is_party).and_then(named).unwrap_or_default();
    let address = agents.first().and_then(|agent| agent.pointer("/network/address"));
    let what: Vec<String> = items("entity")
        .iter()
        .filter_map(|entity| {
            let what = entity.pointer("/what/reference").or_else(|| entity.get("description"));
            what.map(|what| text(Some(what)))
        })
        .collect();
    format!(
        "{}  {}  {}  {}  {}  outcome {}",
        text(event.get("recorded")),
        text(Some(&party)),
        text(address),
        text(event.pointer("/subtype/0/code")),
        what.join(" "),
        text(event.get("outcome")),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_is_no_client_and_no_service_is_a_user() {
        for (name, expected) in [
            ("ada", "user:ada"),
            ("user:ada", "user:ada"),
            ("client:app", "client:app"),
            ("service:audit who", "service:audit who"),
            ("https://idp.example#ada", "user:https://idp.example#ada"),
            ("ward:ada", "user:ward:ada"),
        ] {
            assert_eq!(actor(name), expected);
        }
    }

    #[test]
    fn a_name_is_asked_for_as_it_is() {
        for (name, expected) in
            [("user:ada", "user:ada"), ("a,b|c$d\\e", "a\\,b\\|c\\$d\\\\e"), ("", "")]
        {
            assert_eq!(literally(name), expected, "{name}");
        }
    }

    #[test]
    fn an_event_is_a_line_whatever_is_in_it() {
        let event = json!({
            "recorded": "2026-01-01T00:00:00.000Z",
            "subtype": [{ "code": "read" }],
            "outcome": "0",
            "agent": [
                { "requestor": false, "network": { "address": "192.0.2.1" } },
                { "requestor": true, "altId": "user:a\nb" },
            ],
            "entity": [{ "what": { "reference": "Patient/1" } }, { "what": {} }],
        });
        let expected = "2026-01-01T00:00:00.000Z  user:ab  192.0.2.1  read  Patient/1  outcome 0";
        assert_eq!(line(&event), expected);
        assert_eq!(line(&json!({})), "-  -  -  -    outcome -");
    }
}
