//! Compartments of R4: complete, and right for each form of reference.

use super::*;
use crate::fhir::json;
use crate::spec::Spec;

const BASE: &str = "https://example.org/fhir";

fn patients(spec: &Spec, text: &str) -> Vec<String> {
    let value = json::parse(text.as_bytes()).expect(text);
    let of = value.str_at("resourceType").expect("a resource").parse().expect("a type");
    spec.patient_compartment(of, &value, BASE).iter().map(ToString::to_string).collect()
}

#[test]
fn a_resource_is_in_the_compartments_that_its_references_name() {
    let spec = Spec::r4().expect("loads");
    for (text, expected) in [
        (r#"{"resourceType":"Patient","id":"p1"}"#, vec!["p1"]),
        (
            r#"{"resourceType":"Patient","id":"p2","link":[{"other":{"reference":"Patient/p1"}}]}"#,
            vec!["p1", "p2"],
        ),
        (r#"{"resourceType":"Patient"}"#, vec![]),
        (r#"{"resourceType":"Observation","subject":{"reference":"Patient/p1"}}"#, vec!["p1"]),
        (
            r#"{"resourceType":"Observation","subject":{"reference":"Patient/p1/_history/3"}}"#,
            vec!["p1"],
        ),
        (
            r#"{"resourceType":"Observation","subject":{"reference":"https://example.org/fhir/Patient/p1"}}"#,
            vec!["p1"],
        ),
        (
            r#"{"resourceType":"Observation","subject":{"reference":"https://other.org/fhir/Patient/p1"}}"#,
            vec![],
        ),
        // What follows is a place in the resource that is named.
        (r#"{"resourceType":"Observation","subject":{"reference":"Patient/p1#x"}}"#, vec!["p1"]),
        (
            r#"{"resourceType":"Observation","subject":{"reference":"https://example.org/fhir/Patient/p1/_history/3#x"}}"#,
            vec!["p1"],
        ),
        (
            r#"{"resourceType":"Observation","subject":{"reference":"https://other.org/fhir/Patient/p1#x"}}"#,
            vec![],
        ),
        (r#"{"resourceType":"Observation","subject":{"reference":"Patient/p1#x?y"}}"#, vec![]),
        (r##"{"resourceType":"Observation","subject":{"reference":"#p1"}}"##, vec![]),
        (r#"{"resourceType":"Observation","subject":{"reference":"urn:uuid:p1"}}"#, vec![]),
        (r#"{"resourceType":"Observation","subject":{"reference":"Group/p1"}}"#, vec![]),
        (
            r#"{"resourceType":"Observation","subject":{"type":"Patient","identifier":{"value":"p1"}}}"#,
            vec![],
        ),
        (
            r#"{"resourceType":"Observation","performer":[{"reference":"Patient/p3"},{"reference":"Practitioner/x"},{"reference":"Patient/p1"}],"subject":{"reference":"Patient/p1"}}"#,
            vec!["p1", "p3"],
        ),
        // `focus` and `encounter` are not among the compartment's parameters.
        (r#"{"resourceType":"Observation","focus":[{"reference":"Patient/p1"}]}"#, vec![]),
        (
            r#"{"resourceType":"Appointment","participant":[{"actor":{"reference":"Patient/a"}},{"actor":{"reference":"Patient/b"}}]}"#,
            vec!["a", "b"],
        ),
        (
            r#"{"resourceType":"AuditEvent","agent":[{"who":{"reference":"Patient/a"}}],"entity":[{"what":{"reference":"Patient/b"}},{"what":{"reference":"Device/d"}}]}"#,
            vec!["a", "b"],
        ),
        (r#"{"resourceType":"Organization","id":"p1"}"#, vec![]),
        // Wrong shapes are not a reason to fail here: validation refuses them.
        (
            r#"{"resourceType":"Observation","subject":"Patient/p1","performer":{"reference":"Patient/p2"}}"#,
            vec!["p2"],
        ),
        (r#"{"resourceType":"Observation","subject":{"reference":7}}"#, vec![]),
    ] {
        assert_eq!(patients(&spec, text), expected, "{text}");
    }
}

#[test]
fn every_parameter_of_every_compartment_compiled() {
    let spec = Spec::r4().expect("loads");
    let counts: Vec<_> = spec
        .compartments
        .iter()
        .map(|compartment| {
            let of = |of| compartment.parameters(of).len();
            let parameters: usize = ResourceType::all().map(of).sum();
            let types = compartment.resource_types().count();
            (compartment.code.as_str(), types, parameters)
        })
        .collect();
    // Counted in the published definitions; the parameter {def} is not counted.
    let expected = [
        ("Device", 33, 49),
        ("Encounter", 25, 24),
        ("Patient", 66, 100),
        ("Practitioner", 59, 87),
        ("RelatedPerson", 32, 39),
    ];
    assert_eq!(counts, expected);
    for compartment in &spec.compartments {
        for member in compartment.members.iter().filter(|member| !member.parameters.is_empty()) {
            let place = format!("{}: {:?}", compartment.code, member.parameters);
            assert!(!member.paths.is_empty(), "{place}");
        }
    }
}

#[test]
fn every_patient_parameter_finds_a_reference_at_each_of_its_paths() {
    let spec = Spec::r4().expect("loads");
    let compartment = spec.compartment(ResourceType::PATIENT).expect("the patient's");
    let mut walked = 0;
    for of in ResourceType::all() {
        for code in compartment.parameters(of) {
            let paths = compile(compartment.code, of, code, &spec.schema, &spec.search_parameters)
                .expect("compiles");
            assert!(!paths.is_empty(), "{of}.{code} gives no path");
            for path in paths {
                let text = path.sample(of.as_str(), "Patient/sample");
                assert_eq!(patients(&spec, &text), ["sample"], "{of}.{code}: {text}");
            }
            walked += 1;
        }
    }
    assert_eq!(walked, 100);
}
