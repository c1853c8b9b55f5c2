use std::collections::BTreeSet;

use super::*;
use crate::spec::search_parameter::{Custom, SearchParameter, SearchType};

#[test]
fn contained_resources_have_rows_of_their_own() {
    let extractor = extractor();
    let json = r##"{"resourceType":"MedicationRequest","authoredOn":"2020-05-06","contained":[
        {"resourceType":"Medication","id":"m","code":{"coding":[{"code":"abc"}]}},{"resourceType":"Nothing"}],
        "medicationReference":{"reference":"#m"}}"##;
    let value = parse(json.as_bytes()).expect("JSON");
    let of = "MedicationRequest".parse().expect("a type");
    let found = extractor.extract(of, &value);
    let [contained] = &found.contained[..] else { panic!("{:?}", found.contained) };
    let inner = &contained.extraction;
    assert_eq!((contained.id, inner.resource_type.as_str()), (Some("m"), "Medication"));
    let code = extractor.place(inner.resource_type, "code").expect("code");
    assert_eq!(inner.of(code).iter().map(|row| show(&row.value)).collect::<Vec<_>>(), ["|abc^"]);
    let medication = extractor.place(of, "medication").expect("medication");
    assert_eq!(show(&found.of(medication)[0].value), "#m");
    assert_eq!(found.primary.map(date).as_deref(), Some("2020-05-06~2020-05-07"));
}

#[test]
fn the_choice_of_onset_is_the_primary_date_of_a_condition() {
    let extractor = extractor();
    let of: ResourceType = "Condition".parse().expect("a type");
    let primary = extractor.primary(of).map(|at| &*extractor.parameters(of)[usize::from(at)].code);
    assert_eq!(primary, Some("onset-date"));
    for (onset, expected) in [
        (r#""onsetDateTime":"2020-05-06""#, Some("2020-05-06~2020-05-07")),
        (
            r#""onsetPeriod":{"start":"2020-05-06","end":"2020-05-07"}"#,
            Some("2020-05-06~2020-05-08"),
        ),
        (r#""onsetString":"2020-05-06""#, None),
    ] {
        let json = format!(r#"{{"resourceType":"Condition",{onset}}}"#);
        let value = parse(json.as_bytes()).expect("JSON");
        let found = extractor.extract(of, &value);
        assert_eq!(found.primary.map(date).as_deref(), expected, "{onset}");
    }
}

#[test]
fn sort_keys_are_the_ends_of_what_sorts_by_text() {
    let extractor = extractor();
    let long = "z".repeat(400);
    let json = format!(
        r#"{{"resourceType":"Patient","name":[{{"given":["Zoë","Ann","{long}"],"family":"B A"}}],"gender":"male","birthDate":"1980"}}"#
    );
    let value = parse(json.as_bytes()).expect("JSON");
    let found = extractor.extract(ResourceType::PATIENT, &value);
    let parameters = extractor.parameters(ResourceType::PATIENT);
    let keys: Vec<_> = found
        .sort_keys()
        .map(|(at, least, most)| {
            (&*parameters[usize::from(at)].code, least.into_owned(), most.len())
        })
        .collect();
    let key =
        |code| keys.iter().find(|(of, _, _)| *of == code).map(|(_, least, most)| (&**least, *most));
    assert_eq!(key("given"), Some(("ann", 256)));
    assert_eq!(key("family"), Some(("b a", 3)), "the word is no value to sort by");
    assert_eq!(key("gender"), Some(("male", 4)));
    assert_eq!(key("birthdate"), None);
}

#[test]
fn one_parameter_alone_gives_what_it_gives_among_all() {
    let extractor = extractor();
    for json in [
        r##"{"resourceType":"MedicationRequest","authoredOn":"2020-05-06","contained":[
        {"resourceType":"Medication","id":"m","code":{"coding":[{"code":"abc"}]}}],
        "medicationReference":{"reference":"#m"},"subject":{"reference":"Patient/a"}}"##,
        r#"{"resourceType":"Observation","meta":{"tag":[{"code":"t"}]},"status":"final","code":{"coding":[
        {"system":"urn:s","code":"a"},{"code":"b"}],"text":"A b"},"valueQuantity":{"value":1.5,"code":"kg"}}"#,
        r#"{"resourceType":"Patient","birthDate":"May","name":[{"family":"B"}],"deceasedBoolean":"x"}"#,
    ] {
        let value = parse(json.as_bytes()).expect(json);
        let of = value.str_at("resourceType").and_then(|name| name.parse().ok()).expect(json);
        let whole = extractor.extract(of, &value);
        assert!(whole.present().count() > 2, "{json}");
        for (parameter, at) in extractor.parameters(of).iter().zip(0..) {
            let alone = extractor.extract_one(of, &value, at);
            let codes = extractor.extract_codes(of, &value, at);
            let is_code = |it: &&IndexEntry<'_>| !matches!(it.value, IndexValue::Text(_));
            assert!(alone.iter().filter(is_code).eq(&codes), "{of} {at}");
            assert_eq!(alone, whole.of(at), "{json}: {}", parameter.code);
        }
    }
    assert_eq!(extractor.extract_one(ResourceType::PATIENT, &parse(b"{}").unwrap(), u16::MAX), []);
}

#[test]
fn odd_data_is_left_out_and_said() {
    let extractor = extractor();
    for (json, code, reason) in [
        (r#"{"resourceType":"Patient","birthDate":"May"}"#, "birthdate", SkipReason::Value),
        (
            r#"{"resourceType":"Observation","valueQuantity":{"value":1e-300}}"#,
            "value-quantity",
            SkipReason::Value,
        ),
    ] {
        let value = parse(json.as_bytes()).expect(json);
        let of = value.str_at("resourceType").and_then(|name| name.parse().ok()).expect(json);
        let found = extractor.extract(of, &value);
        let place = extractor.place(of, code).expect(code);
        assert!(found.skipped.contains(&Skipped { parameter: place, reason }), "{json}");
        assert_eq!(found.of(place), [], "{json}");
    }
    // Elements of the wrong form give nothing and stop nothing.
    for json in [
        r#"{"name":"x","identifier":{"value":1},"birthDate":[1],"link":[[]],"meta":3,"contained":{"a":1}}"#,
        r#"{"name":[[[{"family":"x"}]],null],"telecom":[{"system":1}],"deceasedBoolean":"x"}"#,
        "{}",
        "[]",
        "null",
    ] {
        let value = parse(json.as_bytes()).expect(json);
        let found = extractor.extract(ResourceType::PATIENT, &value);
        assert!(found.contained.is_empty(), "{json}");
    }
}

#[test]
fn too_many_combinations_are_not_kept() {
    let extractor = extractor();
    let coding = r#"{"code":"a"#;
    let codings: Vec<String> = (0..40).map(|number| format!("{coding}{number}\"}}")).collect();
    let concept = format!(r#"{{"coding":[{}]}}"#, codings.join(","));
    let json = format!(
        r#"{{"resourceType":"Observation","code":{concept},"valueCodeableConcept":{concept}}}"#
    );
    let value = parse(json.as_bytes()).expect("JSON");
    let found = extractor.extract(ResourceType::OBSERVATION, &value);
    let place = extractor.place(ResourceType::OBSERVATION, "code-value-concept").expect("place");
    let expected = Skipped { parameter: place, reason: SkipReason::Combinations };
    assert!(found.skipped.contains(&expected), "{:?}", found.skipped);
    assert_eq!(found.of(place), []);
    let code = extractor.place(ResourceType::OBSERVATION, "code").expect("code");
    assert_eq!(found.of(code).len(), 40);
}

#[test]
fn many_elements_give_a_composite_so_many_rows_at_most() {
    let extractor = extractor();
    let codings: Vec<String> = (0..30).map(|number| format!(r#"{{"code":"a{number}"}}"#)).collect();
    let concept = format!(r#"{{"coding":[{}]}}"#, codings.join(","));
    let component = |number: usize| {
        format!(
            r#"{{"code":{concept},"valueQuantity":{{"value":{number}}},"valueCodeableConcept":{concept}}}"#
        )
    };
    let components: Vec<String> = (0..30).map(component).collect();
    let json =
        format!(r#"{{"resourceType":"Observation","component":[{}]}}"#, components.join(","));
    let value = parse(json.as_bytes()).expect("JSON");
    let found = extractor.extract(ResourceType::OBSERVATION, &value);
    let place = |code| extractor.place(ResourceType::OBSERVATION, code).expect(code);
    let concepts = place("component-code-value-concept");
    let expected = Skipped { parameter: concepts, reason: SkipReason::Combinations };
    assert!(found.skipped.contains(&expected), "{:?}", found.skipped);
    // 900 of each component, all alike: what is kept is one component's.
    assert_eq!(found.of(concepts).len(), 900);
    assert_eq!(found.of(place("component-code-value-quantity")).len(), 900);
}

#[test]
fn every_parameter_of_r4_with_an_expression_compiles() {
    let extractor = extractor();
    let spec = &extractor.spec;
    let is_wanted = |it: &&SearchParameter| it.expression.is_some() && !it.is_experimental;
    let wanted: BTreeSet<&str> =
        spec.search_parameters.all().iter().filter(is_wanted).map(|it| &*it.url).collect();
    let all = || extractor.types.iter().flat_map(|of| &of.parameters);
    let found: BTreeSet<&str> = all().map(|it| &*it.url).collect();
    assert_eq!(found, wanted);
    assert_eq!(found.len(), 1372);
    let general = |source: &Source| matches!(source, Source::General(_));
    let by_evaluator: BTreeSet<&str> = all()
        .filter(|it| match &it.plan {
            Plan::Values(source, _) => general(source),
            Plan::Composite(arms) => arms
                .iter()
                .any(|arm| general(&arm.focus) || arm.parts.iter().any(|(it, _)| general(it))),
        })
        .map(|it| &*it.code)
        .collect();
    let expected =
        ["chromosome-variant-coordinate", "deceased", "referenceseqid-variant-coordinate"];
    assert_eq!(by_evaluator.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn every_parameter_looks_at_something_that_it_compares() {
    let extractor = extractor();
    let mut nothing = BTreeSet::new();
    for of in ResourceType::all() {
        for parameter in extractor.parameters(of) {
            let Plan::Values(Source::Paths(paths), _) = &parameter.plan else { continue };
            let mut kinds = paths.iter().flat_map(path::Path::leaves).map(|leaf| leaf.kind);
            if !kinds.any(|kind| is_compared(&extractor.rules, parameter.search_type, kind)) {
                nothing.insert(format!("{of} {}", parameter.code));
            }
        }
    }
    assert_eq!(nothing, BTreeSet::new());
}

/// Values that have among them what any kind of element is read for.
const EVERY: [&str; 6] = [
    "true",
    "1",
    r#""2020""#,
    r#""2020-05-06T07:08:09Z""#,
    r#"{"resourceType":"Patient","id":"a","reference":"Patient/a","value":1,"currency":"EUR","start":"2020",
        "event":["2020"],"low":{"value":1},"latitude":1.5,"longitude":2.5}"#,
    r#"{"value":"a","code":"a","text":"a","family":"a","city":"a","coding":[{"code":"a"}]}"#,
];

/// Whether a parameter of the type makes rows of elements of the kind.
fn is_compared(rules: &Rules, search_type: SearchType, kind: kind::Kind) -> bool {
    let values = EVERY.map(|json| parse(json.as_bytes()).expect(json));
    let comparison = emit::Comparison { search_type, targets: Vec::new(), is_phonetic: false };
    values.iter().any(|value| {
        let mut out = Vec::new();
        let mut sink =
            emit::Sink { rules, root: value, out: &mut out, odd: false, with_texts: true };
        sink.add(emit::Element { value, kind, system: None, is_family: false }, &comparison);
        !out.is_empty()
    })
}

#[test]
fn what_is_said_to_compare_is_what_rows_are_made_of() {
    let extractor = extractor();
    let schema = &extractor.spec.schema;
    for (def, at) in schema.types().iter().zip(0_u16..) {
        let type_id = crate::fhir::schema::TypeId(at);
        let kind = kind::Kind::of(type_id, schema);
        for search_type in SearchType::ALL {
            // What is abstract may be of a type that gives rows, and a composite has those of its parts.
            let expected = def.is_abstract
                || search_type == SearchType::Composite
                || is_compared(&extractor.rules, search_type, kind);
            let said = search_type.compares(type_id, schema);
            assert_eq!(said, expected, "{} {}", search_type.as_str(), def.name);
        }
    }
}

#[test]
fn a_parameter_that_repeats_others_is_a_view_of_them() {
    let extractor = extractor();
    for (of, code, parts, targets) in [
        ("Observation", "combo-code", &["code", "component-code"][..], &[][..]),
        (
            "Observation",
            "combo-value-quantity",
            &["component-value-quantity", "value-quantity"],
            &[],
        ),
        (
            "Observation",
            "combo-code-value-quantity",
            &["code-value-quantity", "component-code-value-quantity"],
            &[],
        ),
        ("Observation", "patient", &["subject"], &["Patient"]),
        ("Condition", "patient", &["subject"], &["Patient"]),
        ("Observation", "code", &[], &[]),
        ("Observation", "subject", &[], &[]),
        ("Patient", "name", &[], &[]),
        ("Patient", "phonetic", &[], &[]),
        ("AllergyIntolerance", "patient", &[], &[]),
        ("Patient", "email", &[], &[]),
    ] {
        let of: ResourceType = of.parse().expect("a type");
        let place = |code: &str| extractor.place(of, code).expect("a parameter");
        let view = extractor.view(of, place(code));
        let found = view.map_or_else(Vec::new, |view| view.of.clone());
        let mut expected: Vec<u16> = parts.iter().map(|code| place(code)).collect();
        expected.sort_unstable();
        let mut sorted = found;
        sorted.sort_unstable();
        assert_eq!(sorted, expected, "{of} {code}");
        let narrowed = view.map_or_else(Vec::new, |view| view.targets.clone());
        let narrowed: Vec<_> = narrowed.iter().map(|of| of.as_str()).collect();
        assert_eq!(narrowed, targets, "{of} {code}");
    }
}

/// The core's extractor and one more parameter.
fn with(definition: &str) -> Extractor {
    let value = parse(definition.as_bytes()).expect("JSON");
    let custom = Custom { id: "c".into(), generation: 1, progress: None };
    let parameter = SearchParameter::read(&value, custom).expect("complete");
    extractor().with(vec![parameter]).expect("it compiles")
}

fn shown(extractor: &Extractor, code: &str, json: &str) -> Vec<String> {
    let value = parse(json.as_bytes()).expect(json);
    let of = value.str_at("resourceType").and_then(|name| name.parse().ok()).expect(json);
    let found = extractor.extract(of, &value);
    assert_eq!(found.skipped, [], "{json}");
    let place = extractor.place(of, code).expect(code);
    found.of(place).iter().map(|row| show(&row.value)).collect()
}

#[test]
fn a_parameter_of_a_user_means_what_it_says_whatever_its_name() {
    let phonetic = with(
        r#"{"resourceType":"SearchParameter","url":"http://x/1","code":"phonetic","type":"string",
            "base":["Account"],"expression":"Account.name"}"#,
    );
    let account = r#"{"resourceType":"Account","name":"Smith"}"#;
    let own = extractor();
    assert_eq!(shown(&phonetic, "phonetic", account), shown(&own, "name", account));

    let patient = with(
        r#"{"resourceType":"SearchParameter","url":"http://x/2","code":"patient","type":"reference",
            "base":["Schedule"],"expression":"Schedule.actor","target":["Device","Patient"]}"#,
    );
    let of = "Schedule".parse().expect("a type");
    let place = patient.place(of, "patient").expect("a place");
    let shapes = patient.parameters(of)[usize::from(place)].shapes();
    assert_eq!(shapes[0].targets.len(), 2, "{:?}", shapes[0].targets);
}

#[test]
fn parameters_of_users_share_what_a_resource_may_cost() {
    let parameter = |number: usize| {
        let text = format!(
            r#"{{"resourceType":"SearchParameter","url":"http://x/{number}","code":"c{number:03}",
                "type":"number","base":["Patient"],
                "expression":"Patient.name.select(%resource.name.family).count()"}}"#
        );
        let value = parse(text.as_bytes()).expect("JSON");
        let custom = Custom { id: format!("c{number}").into(), generation: 1, progress: None };
        SearchParameter::read(&value, custom).expect("complete")
    };
    let name = r#"{"family":"x"}"#;
    let text = format!(
        r#"{{"resourceType":"Patient","deceasedBoolean":true,"name":[{}]}}"#,
        vec![name; 200].join(",")
    );
    let patient = parse(text.as_bytes()).expect("JSON");
    for (count, are_all) in [(1, true), (100, false)] {
        let extractor = extractor().with((0..count).map(parameter).collect()).expect("it compiles");
        let found = extractor.extract(ResourceType::PATIENT, &patient);
        let place = |code: &str| extractor.place(ResourceType::PATIENT, code).expect(code);
        let (first, last) = (place("c000"), place(&format!("c{:03}", count - 1)));
        assert_eq!(found.of(first).len(), 1, "of {count}");
        assert_eq!(found.of(last).len(), usize::from(are_all), "of {count}");
        let is_skipped =
            |skipped: &Skipped| skipped.parameter == last && skipped.reason.as_str() == "budget";
        assert_eq!(found.skipped.iter().any(is_skipped), !are_all, "of {count}");
        // FHIR's own have what they need, whatever others take.
        assert_eq!(found.of(place("deceased")).len(), 1, "of {count}");
        // By itself each is found.
        let alone = extractor.extract_one(ResourceType::PATIENT, &patient, last);
        assert_eq!(alone.len(), 1, "of {count}");
    }
}

/// Covers: security H9.
#[test]
fn a_parameter_whose_expression_takes_too_long_is_passed_over_and_said() {
    let costly = with(
        r#"{"resourceType":"SearchParameter","url":"http://x/1","code":"costly","type":"number",
            "base":["Patient"],"expression":"Patient.name.select(%resource.name.family).count()"}"#,
    );
    let place = costly.place(ResourceType::PATIENT, "costly").expect("a place");
    let name = vec![r#"{"family":"x"}"#; 100].join(",");
    let text = format!(r#"{{"resourceType":"Patient","deceasedBoolean":true,"name":[{name}]}}"#);
    let patient = parse(text.as_bytes()).expect("JSON");
    let in_time = costly.extract(ResourceType::PATIENT, &patient);
    assert_eq!((in_time.of(place).len(), in_time.skipped.len()), (1, 0));

    let hurried = costly.with_time(Duration::ZERO);
    let found = hurried.extract(ResourceType::PATIENT, &patient);
    let [skipped] = &found.skipped[..] else { panic!("{:?}", found.skipped) };
    assert_eq!((skipped.parameter, skipped.reason.as_str()), (place, "time"));
    let SkipReason::Evaluation(fault) = &skipped.reason else { panic!("{skipped:?}") };
    assert!(fault.to_string().starts_with("the expression takes longer than 0 ms at"), "{fault}");
    assert!(found.of(place).is_empty());
    // What takes hardly any steps is found at any time.
    let deceased = hurried.place(ResourceType::PATIENT, "deceased").expect("of R4");
    assert_eq!(found.of(deceased).len(), 1);
}

#[test]
fn a_condition_on_an_element_that_repeats_is_that_of_fhirpath() {
    let extractor = with(
        r#"{"resourceType":"SearchParameter","url":"http://x/1","code":"anns","type":"string",
            "base":["Patient"],"expression":"Patient.name.where(given='Ann').text"}"#,
    );
    let patient = r#"{"resourceType":"Patient","name":[{"given":["Ann"],"text":"one"},
        {"given":["Ann","Lee"],"text":"two"},{"text":"none"}]}"#;
    assert_eq!(shown(&extractor, "anns", patient), ["one (one)"]);
}
