//! Extensions by their definitions.

use super::{assert_lines, definition, lines, validator, value};
use crate::fhir::Severity;
use crate::validate::profile::Options;

/// The definition of an extension with a string, for use where `context` says.
fn string(name: &str, context: &str) -> String {
    definition(
        name,
        "Extension",
        &format!(r#""context":[{context}],"#),
        &format!(
            r#"{{"id":"Extension.url","path":"Extension.url","min":1,"max":"1","fixedUri":"http://x.org/{name}","type":[{{"code":"uri"}}]}},
            {{"id":"Extension.value[x]","path":"Extension.value[x]","min":1,"max":"1","type":[{{"code":"string"}}]}}"#
        ),
    )
}

fn found(definition: String, document: &str) -> Vec<String> {
    let options = Options { least: Severity::Error, ..Options::default() };
    lines(&validator(&[definition]).validate(&value(document), &[], &options))
}

#[test]
fn a_known_extension_has_the_value_of_its_definition() {
    let anywhere = || string("e", r#"{"type":"element","expression":"Element"}"#);
    let wrong =
        "error structure Patient.extension[0].value: must be string, not code (http://x.org/e|1)";
    let none =
        "error required Patient.extension[0].value: required, but missing (http://x.org/e|1)";
    for (extension, expected) in [
        (r#"{"url":"http://x.org/e","valueString":"x"}"#, &[][..]),
        (r#"{"url":"http://x.org/e","valueCode":"x"}"#, &[wrong]),
        (r#"{"url":"http://x.org/e","extension":[{"url":"a","valueCode":"x"}]}"#, &[none]),
        (r#"{"url":"http://x.org/unknown","valueCode":"x"}"#, &[]),
    ] {
        let document = format!(r#"{{"resourceType":"Patient","extension":[{extension}]}}"#);
        assert_lines(&found(anywhere(), &document), expected, extension);
    }
}

#[test]
fn a_modifier_stands_where_modifiers_stand() {
    let document = r#"{"resourceType":"Patient","modifierExtension":[{"url":"http://x.org/e","valueString":"x"}]}"#;
    let expected = "error extension Patient.modifierExtension[0]: stands in extension, not in \
                    modifierExtension (http://x.org/e|1)";
    let definition = string("e", r#"{"type":"element","expression":"Element"}"#);
    assert_lines(&found(definition, document), &[expected], "no modifier");
}

#[test]
fn an_extension_is_for_use_where_its_definition_says() {
    const VALUE: &str = r#"{"url":"http://x.org/e","valueString":"x"}"#;
    let on_patient = format!(r#"{{"resourceType":"Patient","extension":[{VALUE}]}}"#);
    let on_family = format!(
        r#"{{"resourceType":"Patient","name":[{{"family":"f","_family":{{"extension":[{VALUE}]}}}}]}}"#
    );
    let on_contact = format!(
        r#"{{"resourceType":"Patient","contact":[{{"name":{{"text":"n","extension":[{VALUE}]}}}}]}}"#
    );
    let on_value = format!(
        r#"{{"resourceType":"Observation","status":"final","code":{{"text":"c"}},"valueString":"x","_valueString":{{"extension":[{VALUE}]}}}}"#
    );
    let inside = format!(
        r#"{{"resourceType":"Patient","extension":[{{"url":"http://x.org/o","extension":[{VALUE}]}}]}}"#
    );
    let in_value = format!(
        r#"{{"resourceType":"Patient","extension":[{{"url":"http://x.org/o","valueString":"x","_valueString":{{"extension":[{VALUE}]}}}}]}}"#
    );
    let on_system = format!(
        r#"{{"resourceType":"CodeSystem","status":"active","content":"complete","extension":[{VALUE}]}}"#
    );
    for (kind, expression, document, is_right) in [
        ("element", "Patient", &on_patient, true),
        ("element", "Resource", &on_patient, true),
        ("element", "DomainResource", &on_patient, true),
        ("element", "Observation", &on_patient, false),
        ("element", "HumanName.family", &on_family, true),
        ("element", "Patient.name.family", &on_family, true),
        ("element", "string", &on_family, true),
        ("element", "HumanName.given", &on_family, false),
        ("element", "HumanName", &on_contact, true),
        ("element", "Patient.contact.name", &on_contact, true),
        ("element", "Patient.contact", &on_contact, false),
        ("element", "Observation.value[x]", &on_value, true),
        ("element", "Observation.valueString", &on_value, true),
        ("element", "Observation.code", &on_value, false),
        ("element", "http://x.org/p#Patient.contact:a.name", &on_contact, true),
        ("extension", "http://x.org/o", &inside, true),
        ("extension", "http://x.org/other", &inside, false),
        ("extension", "http://x.org/o", &on_patient, false),
        ("extension", "http://x.org/o", &in_value, true),
        ("extension", "http://x.org/other", &in_value, false),
        ("element", "CanonicalResource", &on_system, true),
        ("element", "CanonicalResource", &on_patient, false),
        ("fhirpath", "Patient.name.family", &on_family, true),
        ("fhirpath", "Patient.name", &on_family, false),
        ("fhirpath", "Patient", &on_patient, true),
    ] {
        let context = format!(r#"{{"type":"{kind}","expression":"{expression}"}}"#);
        let found = found(string("e", &context), document);
        assert_eq!(found.is_empty(), is_right, "{kind} {expression} {document}: {found:?}");
    }
}

#[test]
fn conditions_on_the_context_hold() {
    let document = |active: bool| {
        format!(
            r#"{{"resourceType":"Patient","active":{active},"extension":[{{"url":"http://x.org/e","valueString":"x"}}]}}"#
        )
    };
    let with = || {
        string("e", r#"{"type":"element","expression":"Patient"}"#).replacen(
            r#""context":"#,
            r#""contextInvariant":["active and %extension.value = 'x'"],"context":"#,
            1,
        )
    };
    assert_lines(&found(with(), &document(true)), &[], "active");
    let expected = "error extension Patient.extension[0]: the extension is for use only where \
                    active and %extension.value = 'x' (http://x.org/e|1)";
    assert_lines(&found(with(), &document(false)), &[expected], "not active");
}

#[test]
fn the_extensions_inside_one_are_those_of_its_definition() {
    let animal = |inner: &str| {
        format!(
            r#"{{"resourceType":"Patient","extension":[{{"url":"http://hl7.org/fhir/StructureDefinition/patient-animal",
            "extension":[{{"url":"species","valueCodeableConcept":{{"text":"s"}}}},{{"url":"{inner}","valueCodeableConcept":{{"text":"s"}}}}]}}]}}"#
        )
    };
    let other = "error extension Patient.extension[0].extension[1]: the definition has no inner \
                 extension of this name (http://hl7.org/fhir/StructureDefinition/patient-animal|4.0.1)";
    let anywhere = || string("e", r#"{"type":"element","expression":"Element"}"#);
    assert_lines(&found(anywhere(), &animal("breed")), &[], "breed");
    assert_lines(&found(anywhere(), &animal("species-x")), &[other], "species-x");
    assert_lines(&found(anywhere(), &animal("http://x.org/unknown")), &[], "a url");
}

#[test]
fn who_wants_it_hears_of_unknown_extensions_markup_and_examples() {
    let document = value(
        r#"{"resourceType":"Patient","extension":[{"url":"http://example.org/e","valueString":"<b>x</b>"}]}"#,
    );
    let unknown =
        "extension Patient.extension[0]: the extension http://example.org/e is not known here";
    let example = "business-rule Patient.extension[0].url: the url is one of an example";
    let markup =
        "business-rule Patient.extension[0].value: the text has markup, which is not taken here";
    let (off, warn, bad) = (Severity::Information, Severity::Warning, Severity::Error);
    for (extension, texts, urls, expected) in [
        (off, off, off, vec![]),
        (warn, off, off, vec![format!("warning {unknown}")]),
        (bad, off, off, vec![format!("error {unknown}")]),
        (off, bad, off, vec![format!("error {markup}")]),
        (off, off, warn, vec![format!("warning {example}")]),
    ] {
        let unknown_extension = |_: &str| extension;
        let options = Options {
            unknown_extension: &unknown_extension,
            markup: texts,
            example_urls: urls,
            ..Options::default()
        };
        let mut found = lines(&validator(&[]).validate(&document, &[], &options));
        found.retain(|line| !line.contains("dom-6"));
        assert_eq!(found, expected);
    }
}
