//! The validator on documents: small profiles, each about one rule.

mod answers;
mod base;
mod bundle;
mod costs;
mod definition;
mod extension;
mod form_keys;
mod slices;
mod values;

use std::sync::{Arc, LazyLock};

use crate::fhir::json::{Value, parse};
use crate::fhir::{Issue, Severity};
use crate::spec::Spec;
use crate::spec::structure::Library;
use crate::spec::terminology::{Contains, Members, Terminology, TerminologyFault};

use super::{Claim, Options, Validator};

pub(super) static SPEC: LazyLock<Arc<Spec>> =
    LazyLock::new(|| Spec::r4().expect("the embedded pack"));

/// Knows that the code `wrong` is in no value set, that nothing is known of the system `urn:dark`,
/// and no value set called `urn:none`; that the code `a` of `urn:l` is called `Letter A`, which `urn:shown`
/// shows; and that `urn:set` is a ValueSet.
#[derive(Debug)]
struct Codes;

impl Terminology for Codes {
    fn members(&self, value_set: &str, _: usize) -> Result<Members, TerminologyFault> {
        Err(TerminologyFault::UnknownValueSet(value_set.to_owned()))
    }

    fn contains(
        &self,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<Contains, TerminologyFault> {
        match (value_set, system, code) {
            ("urn:none", _, _) => Err(TerminologyFault::UnknownValueSet(value_set.to_owned())),
            (_, Some("urn:dark"), _) => Ok(Contains::Untold("urn:dark".into())),
            (_, _, "wrong") => Ok(Contains::No),
            _ => Ok(Contains::Yes),
        }
    }

    fn subsumed(
        &self,
        _: &str,
        code: &str,
        _: bool,
        _: usize,
    ) -> Result<Vec<Box<str>>, TerminologyFault> {
        Ok(vec![code.into()])
    }

    fn displays(&self, system: &str, code: &str) -> Vec<Box<str>> {
        if (system, code) == ("urn:l", "a") { vec!["Letter A".into()] } else { Vec::new() }
    }

    fn is_only_shown(&self, value_set: &str, text: &str) -> bool {
        (value_set, text) == ("urn:shown", "Letter A")
    }

    fn kind_of(&self, canonical: &str) -> Option<&'static str> {
        (canonical == "urn:set").then_some("ValueSet")
    }
}

pub(super) fn value(text: &str) -> Value<'_> {
    parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{fault}: {text}"))
}

/// A validator that knows these StructureDefinitions too.
pub(super) fn validator(definitions: &[String]) -> Validator {
    let resources = definitions.iter().map(|text| value(text));
    let library = Library::r4().with_resources(resources);
    Validator::new(Arc::clone(&SPEC), Arc::new(library), Arc::new(Codes))
}

/// The definition `http://x.org/{name}` with a snapshot of these elements after the root.
pub(super) fn profile(name: &str, of: &str, elements: &str) -> String {
    definition(name, of, "", elements)
}

/// [`profile`] with more properties.
pub(super) fn definition(name: &str, of: &str, more: &str, elements: &str) -> String {
    let elements = if elements.is_empty() { String::new() } else { format!(",{elements}") };
    format!(
        r#"{{"resourceType":"StructureDefinition","url":"http://x.org/{name}","version":"1",
        "name":"{name}","status":"active","kind":"resource","abstract":false,"type":"{of}",{more}
        "baseDefinition":"http://hl7.org/fhir/StructureDefinition/{of}","derivation":"constraint",
        "snapshot":{{"element":[{{"id":"{of}","path":"{of}","min":0,"max":"*"}}{elements}]}}}}"#
    )
}

/// Issues in a line each: severity, code, diagnostics.
pub(super) fn lines(issues: &[Issue]) -> Vec<String> {
    let line = |issue: &Issue| {
        format!("{} {} {}", issue.severity.as_str(), issue.code.as_str(), issue.diagnostics)
    };
    issues.iter().map(line).collect()
}

/// The errors that a document has by the profile `http://x.org/p` with these elements.
pub(super) fn errors(of: &str, elements: &str, document: &str) -> Vec<String> {
    let validator = validator(&[profile("p", of, elements)]);
    let options = Options { least: Severity::Error, ..Options::default() };
    lines(&validator.validate(&value(document), &["http://x.org/p"], &options))
}

#[track_caller]
pub(super) fn assert_lines(found: &[String], expected: &[&str], what: &str) {
    assert_eq!(found, expected, "{what}");
}

#[test]
fn claims_are_enforced_warned_about_or_ignored() {
    let validator = validator(&[profile(
        "p",
        "Patient",
        r#"{"id":"Patient.active","path":"Patient.active","min":1,"max":"1","type":[{"code":"boolean"}]}"#,
    )]);
    let document = value(
        r#"{"resourceType":"Patient","meta":{"profile":["http://x.org/p","http://x.org/q"]}}"#,
    );
    let missing = "required Patient.active: required, but missing (http://x.org/p|1)";
    let unknown = "not-found Patient.meta.profile[1]: the profile is not checked: \
                   the definition http://x.org/q is not known";
    for (claim, severity, expected) in [
        (
            Claim::Enforce,
            Severity::Warning,
            vec![format!("error {missing}"), format!("warning {unknown}")],
        ),
        (
            Claim::Enforce,
            Severity::Error,
            vec![format!("error {missing}"), format!("error {unknown}")],
        ),
        (
            Claim::Warn,
            Severity::Warning,
            vec![format!("warning {missing}"), format!("warning {unknown}")],
        ),
        (
            Claim::Warn,
            Severity::Error,
            vec![format!("warning {missing}"), format!("error {unknown}")],
        ),
        (Claim::Ignore, Severity::Error, vec![]),
    ] {
        let claims = move |_: &str| claim;
        let options = Options { claims: &claims, unknown_claim: severity, ..Options::default() };
        let mut found = lines(&validator.validate(&document, &[], &options));
        found.retain(|line| !line.contains("dom-6"));
        assert_eq!(found, expected, "{claim:?}");
    }
}

#[test]
fn a_profile_that_cannot_be_used_is_an_error_where_it_is_asked_for() {
    let validator = validator(&[]);
    let options = Options { least: Severity::Error, ..Options::default() };
    let document = value(r#"{"resourceType":"Patient"}"#);
    let found = validator.validate(&document, &["http://x.org/q"], &options);
    let expected = "error not-found Patient: the profile cannot be used: \
                    the definition http://x.org/q is not known";
    assert_lines(&lines(&found), &[expected], "unknown");
    let other = "http://hl7.org/fhir/StructureDefinition/bp";
    let found = validator.validate(&document, &[other], &options);
    let expected = "error structure Patient: the profile is for Observation, not for Patient \
                    (http://hl7.org/fhir/StructureDefinition/bp|4.0.1)";
    assert_lines(&lines(&found), &[expected], "another type");
}

#[test]
fn what_must_be_supported_is_told_on_request() {
    let element = r#"{"id":"Patient.name","path":"Patient.name","min":0,"max":"*","mustSupport":true,
        "type":[{"code":"HumanName"}]}"#;
    let validator = validator(&[profile("p", "Patient", element)]);
    for (document, must_support, count) in [
        (r#"{"resourceType":"Patient"}"#, true, 1),
        (r#"{"resourceType":"Patient"}"#, false, 0),
        (r#"{"resourceType":"Patient","name":[{"text":"x"}]}"#, true, 0),
    ] {
        let options = Options { must_support, ..Options::default() };
        let found = lines(&validator.validate(&value(document), &["http://x.org/p"], &options));
        let told = found.iter().filter(|line| line.contains("must be supported")).count();
        assert_eq!(told, count, "{document} {found:?}");
    }
}
