use super::super::SWAPPED;
use super::*;
use crate::fhir::json::parse;
use crate::spec::package::{Pack, Section};
use crate::spec::{GUIDE_PACKS, R4_PACK, Spec};

#[test]
fn an_expression_has_a_largest_length() {
    let spec = Spec::r4().expect("the embedded pack");
    for (count, expected) in [(1, 0), (30_000, 0), (40_000, 1)] {
        let text = format!(
            r#"{{"resourceType":"SearchParameter","url":"http://x/1","status":"active",
                "code":"long","type":"string","base":["Patient"],
                "expression":"name.where(text = '{}').text"}}"#,
            "x".repeat(count)
        );
        let resource = parse(text.as_bytes()).expect("JSON");
        let faults = spec.search_parameters.faults(&resource, "x", &spec.schema);
        assert_eq!(faults.len(), expected, "{count}: {faults:?}");
    }
}

#[test]
fn what_is_derived_from_fhirs_own_or_looks_at_the_same_is_answered_by_it() {
    let spec = Spec::r4().expect("the embedded pack");
    let own = "http://hl7.org/fhir/SearchParameter/individual-gender";
    for (base, code, of_type, expression, from, expected) in [
        ("Patient", "gender", "token", "Patient.gender", own, true),
        ("Patient", "gender", "token", "Patient.gender", "", true),
        ("Patient", "gender", "token", "Patient.gender.first()", own, true),
        ("Patient", "gender", "token", "Patient.gender.first()", "", false),
        ("Patient", "gender", "token", "Patient.gender.first()", "http://x/other", false),
        ("Patient", "gender", "string", "Patient.gender", own, false),
        ("Patient", "sex", "token", "Patient.gender", own, false),
        ("Group", "gender", "token", "Group.code", own, false),
        ("Organization", "name", "string", "Organization.alias|Organization.name", "", true),
        ("Organization", "name", "string", "Organization.name", "", false),
        ("Patient", "gender", "token", "Patient.gender | Person.gender", "", true),
        ("Patient", "gender", "token", "Patient.gender | extension('http://x').value", "", false),
    ] {
        let text = format!(
            r#"{{"resourceType":"SearchParameter","url":"http://x/1","status":"active",
                "code":"{code}","type":"{of_type}","base":["{base}"],
                "expression":"{expression}","derivedFrom":"{from}"}}"#
        );
        let resource = parse(text.as_bytes()).expect("JSON");
        let is_own = spec.search_parameters.is_own(&resource);
        assert_eq!(is_own, expected, "{text}");
        let faults = spec.search_parameters.faults(&resource, "x", &spec.schema);
        let is_new = ["sex", "Group"].iter().any(|it| *it == code || *it == base);
        assert_eq!(faults.is_empty(), expected || is_new, "{text}: {faults:?}");
    }
    // Whatever it is derived from, it must be readable.
    let text = format!(
        r#"{{"resourceType":"SearchParameter","url":"http://x/1","status":"active","code":"gender",
            "type":"token","base":["Patient"],"expression":"Patient.gender.where(",
            "derivedFrom":"{own}"}}"#
    );
    let resource = parse(text.as_bytes()).expect("JSON");
    assert_eq!(spec.search_parameters.faults(&resource, "x", &spec.schema).len(), 1);
}

#[test]
fn a_composite_has_as_many_components_as_can_be_combined() {
    let spec = Spec::r4().expect("the embedded pack");
    let component =
        r#"{"definition":"http://hl7.org/fhir/SearchParameter/clinical-code","expression":"code"}"#;
    for (count, expected) in [(1, 1), (2, 0), (8, 0), (9, 1), (5_000, 1)] {
        let text = format!(
            r#"{{"resourceType":"SearchParameter","url":"http://x/1","status":"active",
                "code":"many","type":"composite","base":["Observation"],
                "expression":"Observation","component":[{}]}}"#,
            vec![component; count].join(",")
        );
        let resource = parse(text.as_bytes()).expect("JSON");
        let faults = spec.search_parameters.faults(&resource, "x", &spec.schema);
        assert_eq!(faults.len(), expected, "{count}: {faults:?}");
    }
}

#[test]
fn a_part_is_of_a_parameter_that_one_value_answers() {
    let spec = Spec::r4().expect("the embedded pack");
    for (definition, expected) in [
        ("individual-family", 0),
        ("individual-phonetic", 1),
        ("Location-near", 1),
        ("Observation-code-value-quantity", 1),
        ("none", 1),
    ] {
        let part = |definition: &str| {
            format!(
                r#"{{"definition":"http://hl7.org/fhir/SearchParameter/{definition}","expression":"name"}}"#
            )
        };
        let text = format!(
            r#"{{"resourceType":"SearchParameter","url":"http://x/1","status":"active",
                "code":"x-x","type":"composite","base":["Patient"],
                "expression":"Patient","component":[{},{}]}}"#,
            part("individual-given"),
            part(definition)
        );
        let resource = parse(text.as_bytes()).expect("JSON");
        let faults = spec.search_parameters.faults(&resource, "x", &spec.schema);
        let of_part =
            faults.iter().filter(|it| format!("{it:?}").contains("component[1].definition"));
        assert_eq!(of_part.count(), expected, "{definition}: {faults:?}");
    }
}

/// The faults of a parameter's expressions alone.
fn of_expressions(spec: &Spec, resource: &Value<'_>) -> Vec<Issue> {
    let (known, schema) = (&spec.search_parameters, &spec.schema);
    let mut check = Check { known, resource, id: "x", schema, faults: Vec::new() };
    check.expressions();
    check.faults
}

/// Covers: rest 4.240.
#[test]
fn an_expression_must_find_what_its_parameter_can_compare() {
    let spec = Spec::r4().expect("the embedded pack");
    for (bases, of_type, expression, expected) in [
        ("Patient", "token", "Patient.gender", ""),
        ("Patient", "token", "gender", ""),
        ("Patient", "token", "Patient.gendr", "Patient has no element gendr"),
        ("Patient", "token", "Observation.code", "Patient is no Observation"),
        ("Patient", "token", "Patient.gender | Observation.code", ""),
        ("Patient", "token", "Patient.gendr | Observation.code", "no element gendr"),
        ("Patient", "string", "(Patient.name | Practitioner.name).given", ""),
        ("Patient", "string", "(Patient.names | Practitioner.name).given", "no element names"),
        ("Patient", "string", "Patient.name.where(usee = 'x').family", "no element usee"),
        // Each base counts.
        ("Patient\",\"Observation", "token", "Patient.gender", "Observation is no Patient"),
        ("Patient\",\"Person", "token", "Patient.gender | Person.gender", ""),
        // Of what stands for many types one is enough.
        ("DomainResource", "token", "Patient.gender", ""),
        ("DomainResource", "token", "DomainResource.text.status", ""),
        ("Resource", "token", "Resource.meta.tags", "no element tags"),
        // How values compare.
        ("Patient", "number", "Patient.name", "type number cannot compare HumanName"),
        ("Patient", "quantity", "Patient.birthDate", "type quantity cannot compare date"),
        ("Patient", "date", "Patient.active", "type date cannot compare boolean"),
        ("Patient", "uri", "Patient.generalPractitioner", "type uri cannot compare Reference"),
        ("Patient", "string", "Patient.extension('http://x')", "cannot compare Extension"),
        ("Patient", "number", "Patient.multipleBirth", ""),
        ("Patient", "date", "Patient.deceased as boolean", "cannot compare boolean"),
        ("Patient", "reference", "Patient.contained", ""),
        // As the index reads it.
        ("Patient", "date", "Patient.deceasedDateTime", ""),
        ("Patient", "date", "Patient.deceased.as(DateTime)", ""),
        ("Patient", "date", "Patient.extension.where(url = 'http://x').valueDateTime", ""),
        ("Patient", "token", "Patient.deceased.exists() and Patient.deceased != false", ""),
        ("Patient", "string", "Patient.descendants().first()", ""),
        ("Patient", "string", "Patient.managingOrganization.resolve().name", ""),
    ] {
        let text = format!(
            r#"{{"resourceType":"SearchParameter","url":"http://x/1","status":"active","code":"x-x",
                "type":"{of_type}","base":["{bases}"],"expression":"{expression}"}}"#
        );
        let resource = parse(text.as_bytes()).expect(&text);
        let faults = spec.search_parameters.faults(&resource, "x", &spec.schema);
        let texts: Vec<String> = faults.iter().map(|fault| format!("{fault:?}")).collect();
        assert_eq!(texts.is_empty(), expected.is_empty(), "{text}: {texts:?}");
        assert!(texts.iter().all(|it| it.contains(expected)), "{text}: {texts:?}");
    }
}

#[test]
fn a_part_must_find_what_its_parameter_can_compare() {
    let spec = Spec::r4().expect("the embedded pack");
    for (from, part, expected) in [
        ("Observation", "code", 0),
        ("Observation.component", "code", 0),
        ("Observation | Observation.component", "code", 0),
        ("Observation.component", "codes", 1),
        ("Observation.component", "value as Quantity", 1),
        ("Observation.component", "%resource.code", 0),
        ("Observation.children()", "code", 0),
    ] {
        let definition = "http://hl7.org/fhir/SearchParameter/clinical-code";
        let text = format!(
            r#"{{"resourceType":"SearchParameter","url":"http://x/1","status":"active","code":"x-x",
                "type":"composite","base":["Observation"],"expression":"{from}","component":[
                {{"definition":"{definition}","expression":"{part}"}},
                {{"definition":"{definition}","expression":"code"}}]}}"#
        );
        let resource = parse(text.as_bytes()).expect(&text);
        let faults = spec.search_parameters.faults(&resource, "x", &spec.schema);
        assert_eq!(faults.len(), expected, "{text}: {faults:?}");
    }
}

#[test]
fn what_fhir_and_its_guides_define_can_be_in_force() {
    let spec = Spec::r4().expect("the embedded pack");
    let mut seen = 0;
    for bytes in [R4_PACK].iter().chain(&GUIDE_PACKS) {
        let pack = Pack::open(bytes).expect("an embedded pack");
        for record in pack.records(Section::SearchParameters).expect("readable").iter() {
            let record = record.expect("JSON");
            // FHIR's examples look at whole extensions, which nothing compares.
            let is_example = record.get("experimental").and_then(Value::as_bool) == Some(true);
            let is_read = record.get("expression").is_some() && !record.items_at("base").is_empty();
            let url = record.str_at("url").unwrap_or_default();
            if !is_read || is_example || url == SWAPPED {
                continue;
            }
            let faults = of_expressions(&spec, &record);
            assert!(faults.is_empty(), "{url}: {faults:?}");
            seen += 1;
        }
    }
    assert!(seen > 1_500, "only {seen}");
}
