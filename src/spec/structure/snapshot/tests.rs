//! Small profiles and what becomes of them.

use crate::fhir::json::{self, Value};
use crate::spec::structure::{Library, Structure, StructureFault};

const PROFILE: &str = "http://x/p";

/// A profile of `base` with these elements.
fn definition(url: &str, base: &str, elements: &str) -> String {
    let type_name = base.rsplit('/').next().unwrap_or_default();
    format!(
        r#"{{"resourceType":"StructureDefinition","url":"{url}","name":"p","status":"active",
        "kind":"resource","abstract":false,"type":"{type_name}","baseDefinition":"{base}",
        "derivation":"constraint","differential":{{"element":[{elements}]}}}}"#
    )
}

fn library(definitions: &[String]) -> Library {
    let values: Vec<Value<'_>> =
        definitions.iter().map(|text| json::parse(text.as_bytes()).expect(text)).collect();
    Library::r4().with_resources(values)
}

fn of(type_name: &str, elements: &str) -> Result<Structure, StructureFault> {
    let base = format!("http://hl7.org/fhir/StructureDefinition/{type_name}");
    let made = library(&[definition(PROFILE, &base, elements)]).structure(PROFILE);
    made.map(|made| (*made).clone())
}

/// The elements whose id begins with `prefix`: `id min..max types`.
fn shown(structure: &Structure, prefix: &str) -> Vec<String> {
    let elements = structure.elements.iter().filter(|element| element.id.starts_with(prefix));
    elements
        .map(|element| {
            let max = element.max.map_or("*".to_owned(), |max| max.to_string());
            let types: Vec<&str> = element.types.iter().map(|one| &*one.code).collect();
            format!("{} {}..{max} {}", element.id, element.min, types.join(","))
        })
        .collect()
}

#[test]
fn a_path_into_a_data_type_brings_its_children() {
    let made = of("Patient", r#"{"path":"Patient.name.family","min":1}"#).expect("is sound");
    let names = shown(&made, "Patient.name");
    assert_eq!(names[0], "Patient.name 0..* HumanName");
    assert!(names.contains(&"Patient.name.family 1..1 string".to_owned()), "{names:?}");
    assert!(names.contains(&"Patient.name.given 0..* string".to_owned()), "{names:?}");
}

#[test]
fn a_slice_begins_as_what_it_is_a_slice_of() {
    let made = of(
        "Patient",
        r#"{"path":"Patient.identifier","min":1,"slicing":{"discriminator":[{"type":"value","path":"system"}],"rules":"open"}},
           {"path":"Patient.identifier.value","min":1},
           {"id":"Patient.identifier:a","path":"Patient.identifier","sliceName":"a","max":"1"},
           {"id":"Patient.identifier:b","path":"Patient.identifier","sliceName":"b"},
           {"id":"Patient.identifier:a/c","path":"Patient.identifier","sliceName":"a/c"}"#,
    )
    .expect("is sound");
    let slices: Vec<String> =
        shown(&made, "Patient.identifier").into_iter().filter(|it| !it.contains(".id")).collect();
    let heads: Vec<String> = shown(&made, "Patient.identifier")
        .into_iter()
        .filter(|it| it.ends_with(" Identifier"))
        .collect();
    assert_eq!(
        heads,
        [
            "Patient.identifier 1..* Identifier",
            "Patient.identifier:a 0..1 Identifier",
            "Patient.identifier:a/c 0..1 Identifier",
            "Patient.identifier:b 0..* Identifier",
        ],
        "{slices:?}"
    );
    let values = shown(&made, "Patient.identifier:a.value");
    assert_eq!(values, ["Patient.identifier:a.value 1..1 string"]);
}

#[test]
fn a_type_in_a_name_is_a_slice_of_the_choice_and_closes_it_where_it_has_to_be() {
    let values = |elements: &str| {
        let made = of("Observation", elements).expect(elements);
        let value = made.elements.iter().find(|element| &*element.id == "Observation.value[x]");
        let slicing = value.and_then(|value| value.slicing.as_ref()).expect("is sliced");
        let mut shown = shown(&made, "Observation.value");
        shown[0] = format!("{:?} {}", slicing.rules, shown[0].replace("CodeableConcept,", ".."));
        shown
    };
    let needed = values(r#"{"path":"Observation.valueQuantity","min":1}"#);
    let slice = "Observation.value[x]:valueQuantity 1..1 Quantity";
    assert_eq!(needed, ["Closed Observation.value[x] 1..1 Quantity", slice]);
    let both = values(r#"{"path":"Observation.valueQuantity"},{"path":"Observation.valueString"}"#);
    let slices = [
        "Observation.value[x]:valueQuantity 0..1 Quantity",
        "Observation.value[x]:valueString 0..1 string",
    ];
    assert!(both[0].starts_with("Open Observation.value[x] 0..1 Quantity,..string"), "{both:?}");
    assert_eq!(both[1..], slices);
    let extension = of("Extension", r#"{"path":"Extension.valueCode"}"#).expect("is sound");
    let values = ["Extension.value[x] 0..1 code", "Extension.value[x]:valueCode 0..1 code"];
    assert_eq!(shown(&extension, "Extension.value"), values);
}

#[test]
fn what_is_referred_to_comes_in_where_a_path_goes_into_it() {
    let made = of("Observation", r#"{"path":"Observation.component.referenceRange.low","min":1}"#);
    let made = made.expect("is sound");
    let low = "Observation.component.referenceRange.low";
    assert_eq!(shown(&made, low), [format!("{low} 1..1 Quantity")]);
}

#[test]
fn nothing_is_allowed_that_the_base_forbids() {
    let made = of(
        "Observation",
        r#"{"path":"Observation.code","min":0,"max":"*"},
           {"path":"Observation.status","binding":{"strength":"example","valueSet":"http://x/v"}}"#,
    )
    .expect("is sound");
    assert_eq!(shown(&made, "Observation.code"), ["Observation.code 1..1 CodeableConcept"]);
    let status = made.elements.iter().find(|element| &*element.id == "Observation.status");
    let binding = status.and_then(|status| status.binding.as_ref()).expect("is bound");
    assert_eq!(binding.strength, crate::spec::structure::Strength::Required);
    assert_eq!(binding.value_set.as_deref(), Some("http://x/v"));
}

#[test]
fn where_an_id_does_not_fit_the_path_counts() {
    let made = of("Patient", r#"{"id":"Patient.name:x","path":"Patient.name.given","min":1}"#);
    let made = made.expect("a snapshot");
    let min = |id: &str| made.elements.iter().find(|it| &*it.id == id).map(|it| it.min);
    assert_eq!((min("Patient.name.given"), min("Patient.name")), (Some(1), Some(0)));
}

#[test]
fn each_mistake_of_a_definition_is_told_apart() {
    for (elements, expected) in [
        (r#"{"path":"Patient.nothing"}"#, "speaks of Patient.nothing, which is no element"),
        (r#"{"path":"Patient.active.value.deeper"}"#, "speaks of Patient.active.value.deeper"),
        (
            r#"{"id":"Patient.name:a","path":"Patient.name","sliceName":"a"}"#,
            "Patient.name:a is a slice of what is not sliced",
        ),
        (
            r#"{"id":"Patient.extension:a.url","path":"Patient.extension.url"}"#,
            "says more of the slice a, which is not there",
        ),
        (r#"{"path":"Patient.name","min":2,"max":"1"}"#, "has min 2 and max 1"),
        (r#"{"path":"Patient.name","max":"many"}"#, r#"max of Patient.name is "many""#),
        (r#"{"path":"Patient.name","min":-1}"#, "min of Patient.name is -1"),
        (r#"{"min":1}"#, "an element without a path"),
        (
            r#"{"path":"Patient.name","type":[{"code":"HumanName","profile":["http://x/none"]}]},
               {"path":"Patient.name.given"}"#,
            "the definition http://x/none is not known",
        ),
    ] {
        let fault = of("Patient", elements).expect_err(elements).to_string();
        assert!(fault.contains(expected), "{fault:?} lacks {expected:?}");
    }
}

#[test]
fn definitions_that_build_on_each_other_in_a_circle_are_told_so() {
    let circle = library(&[
        definition("http://x/a", "http://x/b", ""),
        definition("http://x/b", "http://x/c", r#"{"path":"c"}"#),
        definition("http://x/c", "http://x/a", ""),
        definition("http://x/self", "http://x/self", ""),
        definition("http://x/lost", "http://x/none", ""),
    ]);
    for (url, expected) in [
        ("http://x/a", StructureFault::Circular("http://x/a".to_owned())),
        ("http://x/b", StructureFault::Circular("http://x/b".to_owned())),
        ("http://x/self", StructureFault::Circular("http://x/self".to_owned())),
        (
            "http://x/lost",
            StructureFault::UnknownBase {
                url: "http://x/lost".into(),
                base: "http://x/none".into(),
            },
        ),
    ] {
        assert_eq!(circle.structure(url).expect_err(url), expected, "{url}");
    }
}

#[test]
fn no_definition_makes_a_snapshot_without_bound() {
    // Each level goes into an extension twice as wide as the one before.
    let slices = |path: &str| -> String {
        let slice =
            |at: usize| format!(r#"{{"id":"{path}:s{at}","path":"{path}","sliceName":"s{at}"}}"#);
        (0..100).map(slice).collect::<Vec<_>>().join(",")
    };
    let mut elements = slices("Patient.extension");
    for depth in 1..40 {
        let path = format!("Patient{}", ".extension".repeat(depth + 1));
        let id = path.clone();
        let url = format!(r#",{{"id":"{id}.url","path":"{path}.url"}},"#);
        elements.extend([url, slices(&path)]);
    }
    let fault = of("Patient", &elements).expect_err("is too large").to_string();
    assert!(fault.contains("more than 10000 elements"), "{fault}");
    let deep = format!(r#"{{"path":"Patient{}"}}"#, ".extension".repeat(100));
    let fault = of("Patient", &deep).expect_err("is too deep").to_string();
    assert!(fault.contains("more than 64 parts"), "{fault}");
    let chain: Vec<String> = (0..50)
        .map(|at| definition(&format!("http://x/{at}"), &format!("http://x/{}", at + 1), ""))
        .collect();
    let fault = library(&chain).structure("http://x/0").expect_err("is too long").to_string();
    assert!(fault.contains("chain of more than 32"), "{fault}");
}
