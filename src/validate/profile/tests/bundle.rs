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

#[test]
fn what_is_on_a_server_has_an_id() {
    let bundle = |kind: &str, url: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{{"fullUrl":"{url}","resource":{{"resourceType":"Patient"}}}}]}}"#
        )
    };
    let lost = "error business-rule Bundle.entry[0].fullUrl: the url is one of a server, and its \
                resource has no id";
    let result = "error required Bundle.entry[0].resource: the results of a search have ids";
    for (kind, url, expected) in [
        ("collection", "http://a.org/Patient/1", &[lost][..]),
        ("collection", "urn:uuid:c757873d-ec9a-4326-a141-556f43239520", &[]),
        ("transaction", "http://a.org/Patient/1", &[]),
        ("searchset", "http://a.org/x", &[result]),
        ("searchset", "urn:uuid:c757873d-ec9a-4326-a141-556f43239520", &[]),
    ] {
        assert_lines(&found(&bundle(kind, url)), expected, &format!("{kind} {url}"));
    }
    let told = r#"{"resourceType":"Bundle","type":"searchset","entry":[{"fullUrl":"http://a.org/x","resource":
        {"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"processing"}]}}]}"#;
    assert_lines(&found(told), &[], "outcome");
}

#[test]
fn a_reference_names_the_type_of_its_entry() {
    const ID: &str = "5d9588d8-3cd6-4b32-8fb7-ad13694e069d";
    let bundle = |name: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"fullUrl":"urn:uuid:54fc3e09-e279-4b74-a8ff-2649ec968642",
            "resource":{{"resourceType":"Patient","generalPractitioner":[{{"reference":"{name}/{ID}"}}]}}}},
            {{"fullUrl":"urn:uuid:{ID}","resource":{{"resourceType":"Organization","name":"o"}}}}]}}"#
        )
    };
    let other = "error business-rule Bundle.entry[0].resource.generalPractitioner[0]: the entry of \
                 this uuid is of the type Organization, not Practitioner";
    assert_lines(&found(&bundle("Practitioner")), &[other], "another type");
    assert_lines(&found(&bundle("Organization")), &[], "its type");
}

#[test]
fn a_document_says_which_of_several_versions_it_means() {
    let document = |reference: &str| {
        let version = |id: &str| {
            format!(
                r#"{{"fullUrl":"http://a.org/Patient/1","resource":{{"resourceType":"Patient","id":"1","meta":{{"versionId":"{id}"}}}}}}"#
            )
        };
        format!(
            r#"{{"resourceType":"Bundle","type":"document","entry":[{{"fullUrl":"http://a.org/Composition/1","resource":
            {{"resourceType":"Composition","id":"1","status":"final","type":{{"text":"t"}},"date":"2020","title":"t",
            "author":[{{"reference":"{reference}"}}]}}}},{},{}]}}"#,
            version("1"),
            version("2")
        )
    };
    let several = "error multiple-matches Bundle.entry[0].resource.author[0]: the target is in the \
                   Bundle in several versions, and none is named";
    let none =
        "error not-found Bundle.entry[0].resource.author[0]: the target is not in the Bundle";
    for (reference, expected) in [
        ("Patient/1", &[several][..]),
        ("Patient/1/_history/2", &[]),
        ("Patient/1/_history/3", &[none]),
    ] {
        assert_lines(&found(&document(reference)), expected, reference);
    }
}
