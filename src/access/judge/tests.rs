use std::sync::Arc;

use super::*;
use crate::access::consent::Expression;
use crate::access::restriction::Restriction;
use crate::fhir::datetime::Zone;
use crate::fhir::{Instant, Operation, Version, VersionId, json};
use crate::search::extract::Settings;
use crate::search::request::ParameterKey;
use crate::search::values::quantity::Ucum;
use crate::spec::Spec;
use crate::spec::codes::Codes;
use crate::spec::search_parameter::SearchType;

/// The number of a patient `a`, `b`, ..: its letter.
fn hash(id: &LogicalId) -> i64 {
    id.as_str().bytes().next().map_or(0, i64::from)
}

/// Whose resources, a document, and whether it is shown and may be written.
type Case = ((fn(Arc<[i64]>) -> Members, &'static str), &'static str, bool, bool);

const CASES: &[Case] = &[
    (
        (Members::Patients, "a"),
        r#"{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/a"}}"#,
        true,
        true,
    ),
    (
        (Members::Patients, "a"),
        r#"{"resourceType":"Observation","id":"o","subject":{"reference":"http://x/fhir/Patient/a"}}"#,
        true,
        true,
    ),
    (
        (Members::Patients, "a"),
        r#"{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/b"},"focus":[{"reference":"Patient/a"}]}"#,
        false,
        false,
    ),
    (
        (Members::Patients, "a"),
        r#"{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/a"},"performer":[{"reference":"Patient/b"}]}"#,
        false,
        false,
    ),
    (
        (Members::Patients, "a"),
        r#"{"resourceType":"Observation","id":"o","subject":{"reference":"http://other/fhir/Patient/a"}}"#,
        false,
        false,
    ),
    ((Members::Patients, "a"), r#"{"resourceType":"Observation","id":"o"}"#, false, false),
    ((Members::Patients, ""), r#"{"resourceType":"Observation","id":"o"}"#, false, false),
    (
        (Members::Themselves, "a"),
        r#"{"resourceType":"Patient","id":"a","link":[{"other":{"reference":"Patient/b"}}]}"#,
        true,
        true,
    ),
    (
        (Members::Themselves, "a"),
        r#"{"resourceType":"Patient","id":"b","link":[{"other":{"reference":"Patient/a"}}]}"#,
        false,
        false,
    ),
    ((Members::OwnOrNobodys, "a"), r#"{"resourceType":"Device","id":"d"}"#, true, true),
    (
        (Members::OwnOrNobodys, "a"),
        r#"{"resourceType":"Device","id":"d","patient":{"reference":"Patient/b"}}"#,
        false,
        false,
    ),
    (
        (Members::OwnOrNobodys, "a"),
        r#"{"resourceType":"Device","id":"d","patient":{"display":"somebody"}}"#,
        false,
        false,
    ),
    // Where a reference leads to something else than a patient, only the store can tell.
    (
        (Members::Targets, "a"),
        r#"{"resourceType":"Provenance","id":"p","target":[{"reference":"Observation/o"}]}"#,
        true,
        false,
    ),
    (
        (Members::Targets, "a"),
        r#"{"resourceType":"Provenance","id":"p","target":[{"reference":"Observation/o"},{"reference":"Patient/b"}]}"#,
        false,
        false,
    ),
    (
        (Members::Context, "a"),
        r#"{"resourceType":"Binary","id":"b","securityContext":{"reference":"Patient/a"}}"#,
        true,
        true,
    ),
    (
        (Members::Context, "a"),
        r#"{"resourceType":"Binary","id":"b","securityContext":{"reference":"Patient/b"}}"#,
        false,
        false,
    ),
    (
        (Members::Collections, "a"),
        r#"{"resourceType":"List","id":"l","subject":{"reference":"Patient/a"},"entry":[{"item":{"reference":"Observation/o"}}]}"#,
        true,
        true,
    ),
    (
        (Members::Collections, "a"),
        r#"{"resourceType":"List","id":"l","subject":{"reference":"Patient/a"},"entry":[{"item":{"reference":"Patient/b"}}]}"#,
        false,
        false,
    ),
    (
        (Members::Collections, "a"),
        r#"{"resourceType":"List","id":"l","entry":[{"item":{"reference":"Patient/a"}}]}"#,
        false,
        false,
    ),
    (
        (Members::Documents, "a"),
        r#"{"resourceType":"Bundle","id":"b","type":"collection","entry":[{"resource":{"resourceType":"Composition","subject":{"reference":"Patient/a"}}}]}"#,
        false,
        false,
    ),
];

/// The document as it is stored.
fn version(identity: &Identity, value: &Value<'_>) -> Version {
    let mut body = value.as_object().expect("an object").clone();
    let meta = body.remove("meta").map(|meta| meta.to_text().into());
    body.remove("resourceType");
    body.remove("id");
    Version {
        identity: identity.clone(),
        version: VersionId(1),
        last_updated: Instant::from_micros(0),
        operation: Operation::Created,
        is_relabeled: false,
        meta,
        body: Some(Value::Object(body).to_text().into()),
    }
}

fn extractor() -> Extractor {
    let spec = Spec::r4().expect("the embedded pack");
    let codes = Codes::r4().expect("the embedded pack");
    let settings =
        Settings { base: "http://x/fhir".into(), units: Box::new(Ucum), zone: Zone::UTC };
    Extractor::new(spec, codes, settings).expect("all of R4 compiles")
}

#[test]
fn a_document_is_judged_by_what_it_says() {
    let extractor = extractor();
    let spec = extractor.spec();
    for ((members, whose), text, shown, written) in CASES {
        let mine: Arc<[i64]> = whose.bytes().map(i64::from).collect();
        let value = json::parse(text.as_bytes()).expect(text);
        let of: ResourceType = value.str_at("resourceType").expect(text).parse().expect(text);
        let id = value.str_at("id").expect(text).parse().expect(text);
        let identity = Identity { resource_type: of, id };
        let found = spec.patient_compartment(of, &value, extractor.base());
        let patients: Vec<i64> = found.iter().map(hash).collect();
        let subject = Subject {
            identity: &identity,
            value: &value,
            patients: &patients,
            about: &[],
            hash: &hash,
            extractor: &extractor,
        };
        let clause = Clause { members: members(mine), criteria: Arc::default() };
        let restriction =
            Restriction::Limited(Arc::new(Limits { clauses: vec![clause], withheld: Vec::new() }));
        assert_eq!(restriction.admits(&subject, Purpose::Shown), *shown, "{text}");
        assert_eq!(restriction.admits(&subject, Purpose::Written), *written, "{text}");
        let version = version(&identity, &value);
        let seen = restriction.glimpse(of, &extractor).of(&version);
        assert_eq!(seen.is_none(), of == ResourceType::BUNDLE, "{text}");
        if let Some(seen) = &seen {
            assert_eq!(spec.patient_compartment(of, seen, extractor.base()), found, "{text}");
            let subject = Subject { value: seen, ..subject };
            assert_eq!(restriction.admits(&subject, Purpose::Shown), *shown, "{text}");
            assert_eq!(restriction.admits(&subject, Purpose::Written), *written, "{text}");
        }
        assert!(!Restriction::nothing().admits(&subject, Purpose::Shown), "{text}");
        assert!(Restriction::Everything.admits(&subject, Purpose::Written), "{text}");
    }
}

#[test]
fn of_what_is_cut_the_whole_tells_what_is_withheld() {
    let extractor = extractor();
    let id = |text: &str| -> LogicalId { text.parse().expect(text) };
    let target: (ResourceType, LogicalId) = ("Encounter".parse().expect("a type"), id("e"));
    let mentions = |is_certain| Filter::Mentions { target: target.clone(), under: &[], is_certain };
    let (denied, permitted) = (mentions(false), Filter::Not(Box::new(mentions(true))));
    let mine: Arc<[i64]> = [i64::from(b'a')].into();
    let identity =
        Identity { resource_type: "Communication".parse().expect("a type"), id: id("c") };
    let tag = r#""meta":{"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]},"#;
    let (visit, to) = (
        r#","encounter":{"reference":"Encounter/e"}"#,
        r#","recipient":[{"reference":"Patient/b"}]"#,
    );
    for (filter, whose, meta, content, is_kept_back, is_shown) in [
        (&denied, b'a', "", format!("{visit}{to}"), true, false),
        (&denied, b'b', "", format!("{visit}{to}"), true, false),
        (&denied, b'a', "", to.to_owned(), false, false),
        (&denied, b'a', "", String::new(), false, true),
        (&denied, b'a', "", visit.to_owned(), true, false),
        (&denied, b'b', "", visit.to_owned(), false, true),
        (&denied, b'a', tag, String::new(), false, true),
        (&permitted, b'a', "", String::new(), true, false),
        (&permitted, b'a', "", visit.to_owned(), false, true),
        // What the exception is for was taken out.
        (&permitted, b'a', tag, String::new(), true, true),
    ] {
        let text = format!(r#"{{{meta}"subject":{{"reference":"Patient/a"}}{content}}}"#);
        let value = json::parse(text.as_bytes()).expect(&text);
        let of = identity.resource_type;
        let found = extractor.spec().patient_compartment(of, &value, extractor.base());
        let patients: Vec<i64> = found.iter().map(hash).collect();
        let subject = Subject {
            identity: &identity,
            value: &value,
            patients: &patients,
            about: &[],
            hash: &hash,
            extractor: &extractor,
        };
        let clause = Clause { members: Members::InPart(mine.clone()), criteria: Arc::default() };
        let denied: Arc<[i64]> = [i64::from(whose)].into();
        let withheld = Withheld {
            patients: Some(denied),
            ids: Arc::default(),
            told_by: Belonging::Compartment,
            filter: Arc::new(filter.clone()),
            within: None,
        };
        let limits = Limits { clauses: vec![clause], withheld: vec![withheld] };
        let restriction = Restriction::Limited(Arc::new(limits));
        assert_eq!(restriction.keeps_back(&subject), is_kept_back, "{filter:?} {text}");
        assert_eq!(restriction.admits(&subject, Purpose::Shown), is_shown, "{filter:?} {text}");
    }
}

#[test]
fn a_property_is_looked_at_once_and_all_of_them_where_much_is_withheld() {
    let extractor = extractor();
    let of: ResourceType = "Observation".parse().expect("a type");
    let code = || {
        Filter::Test(Test {
            parameters: vec![ParameterKey { resource_type: of, code: "code".into() }],
            search_type: SearchType::Token,
            any: vec![Comparison::Present],
        })
    };
    let decisive = |count: usize| {
        let withheld = |_| {
            let (patients, told_by, within) = (None, Belonging::Compartment, None);
            Withheld { patients, ids: Arc::default(), told_by, filter: Arc::new(code()), within }
        };
        let withheld = (0..count).map(withheld).collect();
        let limits = Limits { clauses: Vec::new(), withheld };
        glimpse::decisive(&limits, of, &extractor).map(|names| names.join(" "))
    };
    let once = decisive(1).expect("a part");
    assert_eq!(once.split(' ').filter(|name| *name == "code").count(), 1, "{once}");
    assert_eq!(decisive(32), Some(once));
    assert_eq!(decisive(33), None);
}

#[test]
fn spans_overlap_where_they_have_a_moment_in_common() {
    let at = |micros: Option<i64>| micros.map(crate::fhir::Instant::from_micros);
    let range = |low, high| DateRange { low: at(low), high: at(high) };
    let year = range(Some(10), Some(20));
    for (other, expected) in [
        (range(Some(10), Some(20)), true),
        (range(Some(12), Some(12)), true),
        (range(Some(10), Some(10)), true),
        (range(Some(20), Some(20)), false),
        (range(Some(0), Some(10)), false),
        (range(Some(0), Some(11)), true),
        (range(Some(20), Some(30)), false),
        (range(Some(19), None), true),
        (range(None, Some(10)), false),
        (range(None, None), true),
    ] {
        assert_eq!(overlap(year, other), expected, "{other:?}");
        assert_eq!(overlap(other, year), expected, "{other:?}");
    }
}

#[test]
fn each_type_has_something_that_tells_whose_it_is() {
    let extractor = extractor();
    for (name, expected) in [
        ("Binary", Belonging::Attachment),
        ("Bundle", Belonging::Parts),
        ("Device", Belonging::Patient),
        ("Group", Belonging::Compartment),
        ("GuidanceResponse", Belonging::References),
        ("Location", Belonging::Compartment),
        ("Observation", Belonging::Compartment),
        ("Parameters", Belonging::Parts),
        ("Patient", Belonging::Compartment),
        ("Provenance", Belonging::Targets),
        ("Slot", Belonging::References),
        ("Task", Belonging::References),
    ] {
        let of: ResourceType = name.parse().expect(name);
        assert_eq!(Belonging::of(of, &extractor), expected, "{name}");
    }
}

#[test]
fn what_is_named_is_of_whom_the_store_says() {
    let extractor = extractor();
    let of_a = Belonging::of("Task".parse().expect("a type"), &extractor);
    let [a, b] = [b'a', b'b'].map(i64::from);
    let within = Some(Arc::new(Expression::Types(vec![ResourceType::OBSERVATION])));
    let entry = r#"{"resourceType":"Bundle","id":"x","entry":[{"resource":{"resourceType":"Observation","subject":{"reference":"Patient/a"}}}]}"#;
    let task = r#"{"resourceType":"Task","id":"x","focus":{"reference":"Goal/g"}}"#;
    for (text, told_by, within, about, is_kept_back) in [
        (task, of_a, None, &[][..], false),
        (task, of_a, None, &[a], true),
        (task, of_a, None, &[b], false),
        (entry, Belonging::Parts, within.clone(), &[], true),
        (&*entry.replace("Patient/a", "Patient/b"), Belonging::Parts, within.clone(), &[], false),
        (
            &*entry.replace("\"Observation\"", "\"Goal\""),
            Belonging::Parts,
            within.clone(),
            &[a],
            false,
        ),
    ] {
        let value = json::parse(text.as_bytes()).expect(text);
        let of: ResourceType = value.str_at("resourceType").expect(text).parse().expect(text);
        let identity = Identity { resource_type: of, id: "x".parse().expect("an id") };
        let subject = Subject {
            identity: &identity,
            value: &value,
            patients: &[],
            about,
            hash: &hash,
            extractor: &extractor,
        };
        let always =
            if within.is_none() { Filter::All(Vec::new()) } else { Filter::Any(Vec::new()) };
        let (patients, filter) = (Some(Arc::from([a])), Arc::new(always));
        let withheld = vec![Withheld { patients, ids: Arc::default(), told_by, filter, within }];
        let clause = Clause { members: Members::Everyone, criteria: Arc::default() };
        let limits = Limits { clauses: vec![clause], withheld };
        let restriction = Restriction::Limited(Arc::new(limits));
        assert_eq!(restriction.keeps_back(&subject), is_kept_back, "{text} {about:?}");
        assert_eq!(restriction.admits(&subject, Purpose::Shown), !is_kept_back, "{text} {about:?}");
    }
}
