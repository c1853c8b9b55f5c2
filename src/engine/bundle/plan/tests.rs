use super::*;
use crate::engine::{HistoryScope, MetaOf};
use crate::fhir::json::parse;

const BASE: &str = "http://example.org/fhir";

fn one(request: &str, resource: &str) -> Result<String, String> {
    planned(request, resource, false)
}

fn planned(request: &str, resource: &str, is_strict: bool) -> Result<String, String> {
    let resource =
        if resource.is_empty() { String::new() } else { format!(",\"resource\":{resource}") };
    let text = format!(r#"{{"entry":[{{"request":{request}{resource}}}]}}"#);
    let mut bundle = parse(text.as_bytes()).expect("JSON");
    let mut entries = entries(&mut bundle, BASE, is_strict);
    let planned = entries.pop().expect("one entry");
    planned.map(|entry| format!("{:?}", entry.action)).map_err(|unread| unread.error.to_string())
}

#[test]
fn every_form_of_a_get_url_is_understood() {
    let patient =
        || Identity { resource_type: ResourceType::PATIENT, id: "1".parse().expect("id") };
    for (url, expected) in [
        ("metadata", Get::CapabilityStatement(Query::default())),
        ("metadata?mode=full", Get::CapabilityStatement(Query::parse("mode=full").expect("query"))),
        ("Patient/1", Get::Read(patient())),
        ("/Patient/1", Get::Read(patient())),
        ("http://example.org/fhir/Patient/1", Get::Read(patient())),
        ("Patient/1/_history/2", Get::Vread(patient(), VersionId(2))),
        (
            "Patient/1/_history?_count=2",
            Get::History(
                HistoryScope::Instance(patient()),
                Query::parse("_count=2").expect("query"),
            ),
        ),
        (
            "Patient/_history",
            Get::History(HistoryScope::Type(ResourceType::PATIENT), Query::default()),
        ),
        ("_history", Get::History(HistoryScope::System, Query::default())),
        ("$meta", Get::Meta(MetaOf::System)),
        ("Patient/1/$meta", Get::Meta(MetaOf::Instance(patient(), None))),
    ] {
        let request = format!(r#"{{"method":"GET","url":"{url}"}}"#);
        assert_eq!(one(&request, ""), Ok(format!("{:?}", Action::Get(expected))), "{url}");
    }
}

#[test]
fn strict_handling_refuses_what_the_route_of_an_entry_does_not_know() {
    let patient = r#"{"resourceType":"Patient","id":"1"}"#;
    for (method, url, unknown) in [
        ("GET", "Patient/1?_summary=true&_pretty=true", None),
        ("GET", "Patient/1?_since=2020", Some("_since")),
        ("HEAD", "Patient/1?nope=1", Some("nope")),
        ("GET", "Patient/1/_history/2?_count=1", Some("_count")),
        ("GET", "_history?_count=1&_since=2020-01-01T00:00:00Z", None),
        ("GET", "Patient/_history?_count=1&nope=1", Some("nope")),
        ("GET", "Patient/1/_history?mode=full", Some("mode")),
        ("GET", "metadata?mode=full", None),
        ("GET", "metadata?_count=1", Some("_count")),
        ("GET", "Patient/1/$meta?nope=1", Some("nope")),
        ("POST", "Patient?nope=1", Some("nope")),
        ("PUT", "Patient/1?nope=1", Some("nope")),
        ("DELETE", "Patient/1?nope=1", Some("nope")),
    ] {
        let request = format!(r#"{{"method":"{method}","url":"{url}"}}"#);
        let resource = if matches!(method, "POST" | "PUT") { patient } else { "" };
        assert!(one(&request, resource).is_ok(), "{request}");
        let expected = unknown.map(|name| {
            format!("parameter {name:?} is not known here (Bundle.entry[0].request.url)")
        });
        assert_eq!(planned(&request, resource, true).err(), expected, "{request}");
    }
}

#[test]
fn what_is_wrong_with_an_entry_is_named_with_its_place() {
    let patient = r#"{"resourceType":"Patient"}"#;
    for (request, resource, expected) in [
        (r#"{"url":"Patient"}"#, patient, "needs method (Bundle.entry[0].request.method)"),
        (r#"{"method":"GET"}"#, "", "needs url (Bundle.entry[0].request.url)"),
        (r#"{"method":"POST","url":"Patient"}"#, "", "needs a resource (Bundle.entry[0].resource)"),
        (r#"{"method":"POST","url":"Patient/1"}"#, patient, "POST goes to a type"),
        (r#"{"method":"POST","url":""}"#, patient, "cannot be an entry of another"),
        (r#"{"method":"PUT","url":"Patient"}"#, patient, "PUT needs a URL of the form"),
        (r#"{"method":"PUT","url":"Patient/a_b"}"#, patient, "is not an id"),
        (r#"{"method":"BREW","url":"Patient/1"}"#, patient, "is not a method of FHIR"),
        (
            r#"{"method":"GET","url":"http://other.org/fhir/Patient/1"}"#,
            "",
            "not under this server",
        ),
        (r#"{"method":"GET","url":"Nope/1"}"#, "", "is not known"),
        (r#"{"method":"PUT","url":"Patient/1","ifMatch":"nonsense"}"#, patient, "ifMatch"),
    ] {
        let fault = one(request, resource).expect_err(request);
        assert!(fault.contains(expected), "{request}: {fault}");
    }
}

#[test]
fn the_url_of_an_entry_is_as_long_as_a_request_may_have_it() {
    use crate::fhir::query::MAX_URL_BYTES;

    let start = "Patient?name=";
    let request = |length: usize| {
        let url = format!("{start}{}", "x".repeat(length - start.len()));
        one(&format!(r#"{{"method":"GET","url":"{url}"}}"#), "")
    };
    assert!(request(MAX_URL_BYTES).is_ok());
    let refused = request(MAX_URL_BYTES + 1).expect_err("too long");
    assert!(refused.contains("longer than") && refused.len() < 200, "{refused}");
}

/// What goes on record of an entry that is not understood, by its request and resource.
fn recorded(request: &str, resource: &str) -> String {
    let resource =
        if resource.is_empty() { String::new() } else { format!(",\"resource\":{resource}") };
    let text = format!(r#"{{"entry":[{{"request":{request}{resource}}}]}}"#);
    let mut bundle = parse(text.as_bytes()).expect("JSON");
    let unread = entries(&mut bundle, BASE, false).remove(0).expect_err(request);
    let (interaction, disclosed) = unread.attempted(Kind::Transaction.of_system());
    let subject = disclosed.subject.map(|(of, id, _)| format!(" {of}/{id}")).unwrap_or_default();
    let asked = disclosed.asked.map(|(method, address)| format!(" {method} {address}"));
    format!("{}{subject}{}", interaction.kind.as_str(), asked.unwrap_or_default())
}

/// Covers: security A4.
#[test]
fn an_entry_that_is_not_understood_goes_on_record_by_what_it_asks_for() {
    let patient = r#"{"resourceType":"Patient","id":"b"}"#;
    let long = format!(r#"{{"method":"BREW","url":"Patient/{}"}}"#, "é".repeat(2 * MAX_ADDRESS));
    let cut = format!("transaction OTHER Patient/{}", "é".repeat(MAX_ADDRESS - "Patient/".len()));
    for (request, resource, expected) in [
        // What is wrong stands beside the URL.
        (r#"{"method":"PUT","url":"Patient/b"}"#, "", "update Patient/b"),
        (r#"{"method":"PUT","url":"Patient/b","ifMatch":"nonsense"}"#, patient, "update Patient/b"),
        (r#"{"method":"POST","url":"Patient","ifNoneMatch":"nonsense"}"#, patient, "create"),
        // Nothing can be meant by it.
        (r#"{"method":"DELETE","url":"Nonsense/b"}"#, "", "transaction DELETE Nonsense/b"),
        (
            r#"{"method":"PUT","url":"http://example.org/fhir/Patient/b_c"}"#,
            patient,
            "transaction PUT Patient/b_c",
        ),
        (r#"{"method":"BREW","url":"/Patient/b"}"#, patient, "transaction OTHER Patient/b"),
        (r#"{"method":"GET"}"#, "", "transaction GET "),
        (r#"{"url":"Patient/b"}"#, patient, "transaction OTHER Patient/b"),
        ("null", patient, "transaction OTHER "),
        (long.as_str(), "", cut.as_str()),
    ] {
        assert_eq!(recorded(request, resource), expected, "{request}");
    }
    assert_eq!(address("/a\0", BASE), "a\u{fffd}", "the database keeps no NUL");
}
