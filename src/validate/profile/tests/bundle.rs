//! What Bundles ask beside the invariants of their form.

use super::{assert_lines, lines, validator, value};
use crate::fhir::Severity;
use crate::validate::profile::Options;

fn found(document: &str) -> Vec<String> {
    let options = Options { least: Severity::Error, ..Options::default() };
    lines(&validator(&[]).validate(&value(document), &[], &options))
}

#[test]
fn a_full_url_is_absolute_and_fits_its_resource() {
    let odd = "error value Bundle.entry[0].fullUrl: a fullUrl is absolute";
    let other = "error business-rule Bundle.entry[0].fullUrl: a fullUrl ends in the type and the id \
                 of its resource";
    for (kind, url, expected) in [
        ("collection", "http://a.org/Patient/1", &[][..]),
        ("collection", "urn:uuid:c757873d-ec9a-4326-a141-556f43239520", &[]),
        ("collection", "http://a.org/whatever", &[]),
        ("collection", "Patient/1", &[odd]),
        ("collection", "http://a.org/Patient/2", &[other]),
        ("collection", "http://a.org/Group/1", &[other]),
        ("transaction", "http://a.org/Patient/2", &[]),
    ] {
        let document = format!(
            r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{{"fullUrl":"{url}","resource":{{"resourceType":"Patient","id":"1"}}}}]}}"#
        );
        assert_lines(&found(&document), expected, &format!("{kind} {url}"));
    }
}

#[test]
fn what_a_document_or_message_starts_from_is_in_it() {
    let document = |subject: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"document","entry":[{{"fullUrl":"http://a.org/Composition/1","resource":
            {{"resourceType":"Composition","id":"1","status":"final","type":{{"text":"t"}},"date":"2020","title":"t","author":[{{"display":"a"}}],
            "section":[{{"entry":[{{"reference":"{subject}"}}]}}]}}}},
            {{"fullUrl":"http://a.org/Patient/1","resource":{{"resourceType":"Patient","id":"1"}}}}]}}"#
        )
    };
    let outside = "error not-found Bundle.entry[0].resource.section[0].entry[0]: the target is not \
                   in the Bundle";
    for (subject, expected) in [
        ("Patient/1", &[][..]),
        ("http://a.org/Patient/1", &[]),
        ("Patient/2", &[outside]),
        ("http://b.org/Patient/1", &[outside]),
    ] {
        assert_lines(&found(&document(subject)), expected, subject);
    }
    let message = r#"{"resourceType":"Bundle","type":"message","entry":[{"fullUrl":"urn:uuid:1","resource":
        {"resourceType":"MessageHeader","eventUri":"urn:x","source":{"endpoint":"urn:x"},"focus":[{"reference":"urn:uuid:2"}]}}]}"#;
    let outside =
        "error not-found Bundle.entry[0].resource.focus[0]: the target is not in the Bundle";
    assert_lines(&found(message), &[outside], "message");
}

#[test]
fn expressions_follow_references_inside_the_bundle() {
    let document = |active: bool| {
        format!(
            r#"{{"resourceType":"Bundle","type":"collection","entry":[
            {{"fullUrl":"http://a.org/Observation/1","resource":{{"resourceType":"Observation","id":"1","meta":{{"profile":["http://x.org/p"]}},
            "status":"final","code":{{"text":"c"}},"subject":{{"reference":"Patient/1"}}}}}},
            {{"fullUrl":"http://a.org/Patient/1","resource":{{"resourceType":"Patient","id":"1","active":{active}}}}}]}}"#
        )
    };
    let active = r#"{"id":"Observation.subject","path":"Observation.subject","min":1,"max":"1","type":[{"code":"Reference"}],
        "constraint":[{"key":"x-1","severity":"error","human":"active","expression":"resolve().active"}]}"#;
    let validator = validator(&[super::profile("p", "Observation", active)]);
    let options = Options { least: Severity::Error, ..Options::default() };
    for (is_active, expected) in [
        (true, &[][..]),
        (
            false,
            &["error invariant Bundle.entry[0].resource.subject: active (x-1) (http://x.org/p|1)"],
        ),
    ] {
        let found = lines(&validator.validate(&value(&document(is_active)), &[], &options));
        assert_lines(&found, expected, &is_active.to_string());
    }
}

#[test]
fn a_list_of_pages_has_each_link_once() {
    let bundle = |relation: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"searchset","link":[{{"relation":"self","url":"http://a.org"}},
            {{"relation":"{relation}","url":"http://b.org"}}]}}"#
        )
    };
    let twice = "error business-rule Bundle.link[1]: there is one link self";
    assert_lines(&found(&bundle("self")), &[twice], "twice");
    assert_lines(&found(&bundle("next")), &[], "next");
}
