//! Slicing: discriminators of every kind, closed, ordered and default slices, reslicing.

use super::{assert_lines, errors};

/// Slices of `Patient.identifier`, in front of their elements.
fn identifier(discriminator: &str, slicing: &str) -> String {
    format!(
        r#"{{"id":"Patient.identifier","path":"Patient.identifier","min":0,"max":"*","type":[{{"code":"Identifier"}}],
        "slicing":{{"discriminator":[{discriminator}],{slicing}}}}}"#
    )
}

fn slice(name: &str, more: &str) -> String {
    format!(
        r#",{{"id":"Patient.identifier:{name}","path":"Patient.identifier","sliceName":"{name}",
        "type":[{{"code":"Identifier"}}],{more}}}"#
    )
}

fn element(slice: &str, name: &str, of: &str, more: &str) -> String {
    format!(
        r#",{{"id":"Patient.identifier:{slice}.{name}","path":"Patient.identifier.{name}",
        "type":[{{"code":"{of}"}}],{more}}}"#
    )
}

const BY_SYSTEM: &str = r#"{"type":"value","path":"system"}"#;

/// Slices a and b by the systems urn:a and urn:b; a is required.
fn two(slicing: &str) -> String {
    identifier(BY_SYSTEM, slicing)
        + &slice("a", r#""min":1,"max":"1""#)
        + &element("a", "system", "uri", r#""min":1,"max":"1","fixedUri":"urn:a""#)
        + &element("a", "value", "string", r#""min":1,"max":"1""#)
        + &slice("b", r#""min":0,"max":"*""#)
        + &element("b", "system", "uri", r#""min":1,"max":"1","patternUri":"urn:b""#)
}

fn identifiers(elements: &str, identifiers: &str) -> Vec<String> {
    let document = format!(r#"{{"resourceType":"Patient","identifier":[{identifiers}]}}"#);
    errors("Patient", elements, &document)
}

const A: &str = r#"{"system":"urn:a","value":"1"}"#;
const B: &str = r#"{"system":"urn:b"}"#;
const C: &str = r#"{"system":"urn:c"}"#;

#[test]
fn slices_have_their_own_cardinalities_and_rules() {
    let none = "error required Patient.identifier: at least 1 of slice a are required, found are 0 \
                (slice a of http://x.org/p|1)";
    let many = "error structure Patient.identifier: at most 1 of slice a are allowed, found are 2 \
                (slice a of http://x.org/p|1)";
    let value = "error required Patient.identifier[1].value: required, but missing \
                 (slice a of http://x.org/p|1)";
    let open = two(r#""rules":"open""#);
    for (given, expected) in [
        (vec![A, B, C], &[][..]),
        (vec![B, C], &[none]),
        (vec![A, A], &[many]),
        (vec![B, r#"{"system":"urn:a"}"#], &[value]),
    ] {
        assert_lines(&identifiers(&open, &given.join(",")), expected, &given.join(","));
    }
}

#[test]
fn closed_open_at_end_and_ordered_slices_are_so() {
    let stranger = "error structure Patient.identifier[1]: belongs to none of the slices, and no \
                    other is allowed (http://x.org/p|1)";
    let early = "error structure Patient.identifier[1]: what belongs to no slice comes after all \
                 slices (http://x.org/p|1)";
    let late = "error structure Patient.identifier[1]: slice a comes too late: the slices are in \
                order (http://x.org/p|1)";
    for (slicing, given, expected) in [
        (r#""rules":"closed""#, vec![A, B], &[][..]),
        (r#""rules":"closed""#, vec![A, C], &[stranger]),
        (r#""rules":"openAtEnd""#, vec![A, C], &[]),
        (r#""rules":"openAtEnd""#, vec![C, A], &[early]),
        (r#""ordered":true,"rules":"open""#, vec![A, B, C], &[]),
        (r#""ordered":true,"rules":"open""#, vec![B, A], &[late]),
        (r#""ordered":false,"rules":"open""#, vec![B, A], &[]),
    ] {
        let found = identifiers(&two(slicing), &given.join(","));
        assert_lines(&found, expected, &format!("{slicing} {given:?}"));
    }
}

#[test]
fn what_a_pattern_on_the_slice_says_tells_it_too() {
    let coding = r#"{"type":"value","path":"type.coding.code"}"#;
    let elements = identifier(coding, r#""rules":"open""#)
        + &slice("a", r#""min":1,"max":"1""#)
        + &element(
            "a",
            "type",
            "CodeableConcept",
            r#""min":1,"max":"1","patternCodeableConcept":{"coding":[{"code":"MR"}]}"#,
        );
    let none = "error required Patient.identifier: at least 1 of slice a are required, found are 0 \
                (slice a of http://x.org/p|1)";
    for (code, expected) in [("MR", &[][..]), ("DL", &[none])] {
        let given = format!(r#"{{"type":{{"coding":[{{"code":"x"}},{{"code":"{code}"}}]}}}}"#);
        assert_lines(&identifiers(&elements, &given), expected, code);
    }
}

#[test]
fn what_is_there_or_not_tells_slices() {
    let elements = identifier(r#"{"type":"exists","path":"system"}"#, r#""rules":"open""#)
        + &slice("with", r#""min":0,"max":"1""#)
        + &element("with", "system", "uri", r#""min":1,"max":"1""#)
        + &slice("without", r#""min":0,"max":"0""#)
        + &element("without", "system", "uri", r#""min":0,"max":"0""#);
    let many = "error structure Patient.identifier: at most 1 of slice with are allowed, found are \
                2 (slice with of http://x.org/p|1)";
    let bare = "error structure Patient.identifier: at most 0 of slice without are allowed, found \
                are 1 (slice without of http://x.org/p|1)";
    assert_lines(&identifiers(&elements, A), &[], "one");
    assert_lines(&identifiers(&elements, &[A, B].join(",")), &[many], "two");
    assert_lines(&identifiers(&elements, r#"{"value":"1"}"#), &[bare], "bare");
}

#[test]
fn the_default_slice_takes_the_rest() {
    let elements = two(r#""rules":"closed""#)
        + &slice("@default", r#""min":0,"max":"*""#)
        + &element("@default", "value", "string", r#""min":1,"max":"1""#);
    let bare = "error required Patient.identifier[1].value: required, but missing \
                (slice @default of http://x.org/p|1)";
    assert_lines(&identifiers(&elements, &[A, r#"{"value":"1"}"#].join(",")), &[], "value");
    assert_lines(&identifiers(&elements, &[A, C].join(",")), &[bare], "no value");
}

#[test]
fn slices_are_sliced_again() {
    let elements = two(r#""rules":"open""#).replacen(
        r#""sliceName":"b","#,
        r#""sliceName":"b","slicing":{"discriminator":[{"type":"value","path":"use"}],"rules":"closed"},"#,
        1,
    ) + &slice("b/old", r#""min":1,"max":"1""#)
        + &element("b/old", "use", "code", r#""min":1,"max":"1","fixedCode":"old""#);
    let old = r#"{"system":"urn:b","use":"old"}"#;
    let new = r#"{"system":"urn:b","use":"usual"}"#;
    let none = "error required Patient.identifier: at least 1 of slice b/old are required, found are 0 \
                (slice b/old of http://x.org/p|1)";
    let stranger = "error structure Patient.identifier[1]: belongs to none of the slices, and no \
                    other is allowed (slice b of http://x.org/p|1)";
    assert_lines(&identifiers(&elements, &[A, old].join(",")), &[], "old");
    assert_lines(&identifiers(&elements, &[A, new].join(",")), &[stranger, none], "new");
}

#[test]
fn types_tell_the_slices_of_a_choice() {
    let elements = r#"{"id":"Observation.value[x]","path":"Observation.value[x]","min":0,"max":"1",
        "type":[{"code":"Quantity"},{"code":"string"}],
        "slicing":{"discriminator":[{"type":"type","path":"$this"}],"rules":"open"}},
        {"id":"Observation.value[x]:valueQuantity","path":"Observation.value[x]","sliceName":"valueQuantity",
        "min":0,"max":"1","type":[{"code":"Quantity"}]},
        {"id":"Observation.value[x]:valueQuantity.unit","path":"Observation.value[x].unit","min":1,"max":"1",
        "type":[{"code":"string"}]}"#;
    let missing = "error required Observation.value.unit: required, but missing \
                   (slice valueQuantity of http://x.org/p|1)";
    for (value, expected) in [
        (r#""valueQuantity":{"value":1}"#, &[missing][..]),
        (r#""valueQuantity":{"value":1,"unit":"g"}"#, &[]),
        (r#""valueString":"x""#, &[]),
    ] {
        let document = format!(
            r#"{{"resourceType":"Observation","status":"final","code":{{"text":"c"}},{value}}}"#
        );
        assert_lines(&errors("Observation", elements, &document), expected, value);
    }
}

#[test]
fn targets_tell_slices_by_type_and_profile() {
    let elements = |kind: &str| {
        format!(
            r#"{{"id":"Bundle.entry","path":"Bundle.entry","min":0,"max":"*","type":[{{"code":"BackboneElement"}}],
            "slicing":{{"discriminator":[{{"type":"{kind}","path":"resource"}}],"rules":"open"}}}},
            {{"id":"Bundle.entry:o","path":"Bundle.entry","sliceName":"o","min":1,"max":"1"}},
            {{"id":"Bundle.entry:o.resource","path":"Bundle.entry.resource","min":1,"max":"1","type":[{{"code":"Observation",
            "profile":["http://hl7.org/fhir/StructureDefinition/bodyweight"]}}]}}"#
        )
    };
    let observation = |code: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"resource":{{"resourceType":"Observation","status":"final",
            "category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs"}}]}}],
            "code":{{"coding":[{{"system":"http://loinc.org","code":"{code}"}}]}},"subject":{{"reference":"Patient/1"}},
            "effectiveDateTime":"2020-01-01","valueQuantity":{{"value":1,"unit":"kg","system":"http://unitsofmeasure.org","code":"kg"}}}}}}]}}"#
        )
    };
    let count = |kind, code| errors("Bundle", &elements(kind), &observation(code)).len();
    assert_eq!(count("profile", "29463-7"), 0, "a body weight is in the slice");
    assert_eq!(count("profile", "8302-2"), 1, "a body height is not, and the slice is required");
    assert_eq!(count("type", "29463-7"), 0, "an Observation is in the slice");
    assert_eq!(count("type", "8302-2"), 1, "and then it has to be a body weight");
}
