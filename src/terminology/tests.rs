use super::*;
use crate::fhir::json::parse;
use crate::spec::{GUIDE_PACKS, R4_PACK};

const BASE: &str = "http://localhost/fhir";

fn packed() -> Image {
    Image::new(R4_PACK, BASE).expect("the embedded pack opens")
}

fn with(texts: &[&str]) -> Image {
    let values = texts.iter().map(|text| parse(text.as_bytes()).expect(text));
    packed().with_resources(values)
}

/// The codes in order, without their systems.
fn codes(image: &Image, value_set: &str) -> Result<Vec<String>, TerminologyFault> {
    let members = image.members(value_set, 10_000)?;
    Ok(members.codes.into_iter().map(|member| member.code.into()).collect())
}

fn below(image: &Image, system: &str, code: &str) -> Vec<String> {
    let found = image.subsumed(system, code, true, 1_000).expect("known");
    found.into_iter().map(Into::into).collect()
}

#[test]
fn the_value_sets_of_r4_have_their_codes() {
    let image = packed();
    let gender = ["female", "male", "other", "unknown"];
    for value_set in [
        "http://hl7.org/fhir/ValueSet/administrative-gender",
        "http://hl7.org/fhir/ValueSet/administrative-gender|4.0.1",
        "http://hl7.org/fhir/administrative-gender?fhir_vs",
    ] {
        assert_eq!(codes(&image, value_set).expect(value_set), gender, "{value_set}");
    }
    let members = image.members("http://hl7.org/fhir/ValueSet/administrative-gender", 4);
    let first = members.expect("four fit").codes[0].clone();
    assert_eq!(&*first.system, "http://hl7.org/fhir/administrative-gender");

    // Filters `is-a` over a hierarchy, and a list of codes beside it.
    let encounter = codes(&image, "http://terminology.hl7.org/ValueSet/v3-ActEncounterCode");
    let encounter = encounter.expect("known");
    assert!(encounter.contains(&"AMB".to_owned()) && encounter.contains(&"ACUTE".to_owned()));
    assert!(!encounter.contains(&"EHCPOL".to_owned()));

    // All of a system that nobody listed here.
    let all = image.members("http://hl7.org/fhir/ValueSet/ucum-units", 10).expect("known");
    assert_eq!(all.codes, []);
    assert_eq!(all.systems, ["http://unitsofmeasure.org".into()]);
}

#[test]
fn every_value_set_of_r4_is_answered_or_says_what_is_missing() {
    let image = packed();
    let pack = Pack::open(R4_PACK).expect("opens");
    let (mut answered, mut missing) = (0, 0);
    for record in pack.records(Section::ValueSets).expect("unpacks").iter() {
        let record = record.expect("JSON");
        let url = record.str_at("url").expect("url");
        match image.members(url, 100_000) {
            Ok(_) => answered += 1,
            Err(fault @ (TerminologyFault::Circular(_) | TerminologyFault::TooCostly { .. })) => {
                panic!("{url}: {fault}")
            }
            Err(_) => missing += 1,
        }
    }
    // Those with filters over SNOMED CT, LOINC and the like, or made of sets that R4 has not.
    assert!(answered > 1_150 && missing < 160, "{answered} {missing}");
}

#[test]
fn codes_subsume_by_the_hierarchy_of_their_system() {
    let image = packed();
    let act = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    let below_encounter = below(&image, act, "_ActEncounterCode");
    for code in ["_ActEncounterCode", "AMB", "IMP", "ACUTE", "NONAC"] {
        assert!(below_encounter.contains(&code.to_owned()), "{code}");
    }
    let above = image.subsumed(act, "ACUTE", false, 100).expect("known");
    for code in ["ACUTE", "IMP", "_ActEncounterCode"] {
        assert!(above.contains(&code.into()), "{code}");
    }
    assert_eq!(below(&image, act, "no-such-code"), ["no-such-code"]);
    assert_eq!(
        image.subsumed(act, "_ActEncounterCode", true, 2),
        Err(TerminologyFault::TooCostly { what: format!("{act}|_ActEncounterCode"), limit: 2 })
    );
    let unknown = image.subsumed("http://snomed.info/sct", "1", true, 10);
    assert_eq!(unknown, Err(TerminologyFault::UnknownSystem("http://snomed.info/sct".into())));
}

const ANIMALS: &str = r#"{"resourceType":"CodeSystem","id":"animals","url":"http://x/animals",
    "version":"2","caseSensitive":true,"content":"complete","valueSet":"http://x/all-animals",
    "property":[{"code":"under","uri":"http://hl7.org/fhir/concept-properties#parent","type":"code"},
        {"code":"legs","type":"integer"}],
    "concept":[{"code":"animal","concept":[
        {"code":"cat","display":"Cat","property":[{"code":"legs","valueInteger":4}],
            "concept":[{"code":"lion"},{"code":"manx","property":[{"code":"status","valueCode":"retired"}]}]},
        {"code":"bird","property":[{"code":"legs","valueInteger":2}]}]},
        {"code":"griffin","property":[{"code":"under","valueCode":"lion"},
            {"code":"subsumedBy","valueCode":"bird"},{"code":"legs","valueInteger":4}]},
        {"code":"egg","property":[{"code":"under","valueCode":"hen"}]},
        {"code":"hen","property":[{"code":"under","valueCode":"egg"}]}]}"#;

fn composed(compose: &str) -> String {
    format!(
        r#"{{"resourceType":"ValueSet","id":"v","url":"http://x/v","version":"1","compose":{compose}}}"#
    )
}

#[test]
fn hierarchies_are_nested_or_linked_and_may_have_cycles() {
    let image = with(&[ANIMALS]);
    let system = "http://x/animals";
    assert_eq!(below(&image, system, "cat"), ["cat", "griffin", "lion", "manx"]);
    assert_eq!(below(&image, system, "egg"), ["egg", "hen"]);
    let above = image.subsumed(system, "griffin", false, 10).expect("known");
    let above: Vec<&str> = above.iter().map(|code| &**code).collect();
    assert_eq!(above, ["animal", "bird", "cat", "griffin", "lion"]);

    let part_of = ANIMALS.replace(r#""version":"2""#, r#""hierarchyMeaning":"part-of""#);
    assert_eq!(below(&with(&[&part_of]), system, "cat"), ["cat"]);
}

#[test]
fn a_composition_is_what_it_includes_without_what_it_excludes() {
    let all = r#"{"system":"http://x/animals"}"#;
    let filter = |op: &str, property: &str, value: &str| {
        format!(
            r#"{{"system":"http://x/animals","filter":[{{"property":"{property}","op":"{op}","value":"{value}"}}]}}"#
        )
    };
    let include = |part: &str| format!(r#"{{"include":[{part}]}}"#);
    for (compose, expected) in [
        (include(all), "animal bird cat egg griffin hen lion manx"),
        (
            r#"{"inactive":false,"include":[{"system":"http://x/animals"}]}"#.to_owned(),
            "animal bird cat egg griffin hen lion",
        ),
        (
            include(r#"{"system":"http://x/animals","concept":[{"code":"cat"},{"code":"dog"}]}"#),
            "cat",
        ),
        (include(r#"{"system":"http://y/unknown","concept":[{"code":"dog"}]}"#), "dog"),
        (include(&filter("is-a", "concept", "cat")), "cat griffin lion manx"),
        (include(&filter("descendent-of", "concept", "cat")), "griffin lion manx"),
        (include(&filter("is-not-a", "concept", "cat")), "animal bird egg hen"),
        (include(&filter("child-of", "concept", "cat")), "lion manx"),
        (include(&filter("generalizes", "concept", "lion")), "animal cat lion"),
        (include(&filter("=", "legs", "4")), "cat griffin"),
        (include(&filter("=", "parent", "cat")), "lion manx"),
        (include(&filter("=", "display", "Cat")), "cat"),
        (include(&filter("in", "code", "cat, bird,dog")), "bird cat"),
        (include(&filter("not-in", "legs", "4")), "animal bird egg hen lion manx"),
        (include(&filter("exists", "legs", "true")), "bird cat griffin"),
        (include(&filter("regex", "code", "[a-c].*")), "animal bird cat"),
        (include(&filter("regex", "code", "a")), ""),
        (
            format!(r#"{{"include":[{all}],"exclude":[{}]}}"#, filter("is-a", "concept", "animal")),
            "egg hen",
        ),
        (
            include(
                r#"{"system":"http://x/animals","concept":[{"code":"cat"},{"code":"egg"}],
            "valueSet":["http://x/all-animals","http://x/animals?fhir_vs=isa/animal"]}"#,
            ),
            "cat",
        ),
        (
            include(
                r#"{"valueSet":["http://x/animals?fhir_vs=isa/cat"]},{"system":"http://x/animals","concept":[{"code":"egg"}]}"#,
            ),
            "cat egg griffin lion manx",
        ),
    ] {
        let image = with(&[ANIMALS, &composed(&compose)]);
        let found =
            codes(&image, "http://x/v").unwrap_or_else(|fault| panic!("{compose}: {fault}"));
        assert_eq!(found.join(" "), expected, "{compose}");
    }
}

#[test]
fn a_value_set_is_found_by_each_of_its_names() {
    let image = with(&[
        ANIMALS,
        &composed(r#"{"include":[{"system":"http://x/animals","concept":[{"code":"cat"}]}]}"#),
    ]);
    for name in ["http://x/v", "http://x/v|1", "ValueSet/v", "http://localhost/fhir/ValueSet/v"] {
        assert_eq!(codes(&image, name).expect(name), ["cat"], "{name}");
    }
    for name in ["http://x/v|2", "ValueSet/w", "http://other/fhir/ValueSet/v", "", "http://x/vv"] {
        let fault = codes(&image, name).expect_err(name);
        assert_eq!(fault, TerminologyFault::UnknownValueSet(name.to_owned()));
    }
    let expanded = r#"{"resourceType":"ValueSet","id":"e","expansion":{"contains":[
        {"system":"s","code":"a","contains":[{"system":"s","code":"b"}]},
        {"system":"s","code":"c","abstract":true}]}}"#;
    assert_eq!(codes(&with(&[expanded]), "ValueSet/e").expect("known"), ["a", "b"]);
}

#[test]
fn a_value_set_that_cannot_be_expanded_says_why() {
    let circle = r#"{"resourceType":"ValueSet","url":"http://x/w","compose":{"include":[{"valueSet":["http://x/v"]}]}}"#;
    let filter = |op: &str, value: &str| {
        format!(
            r#"{{"include":[{{"system":"http://x/animals","filter":[{{"property":"concept","op":"{op}","value":"{value}"}}]}}]}}"#
        )
    };
    for (compose, expected) in [
        (r#"{"include":[{"valueSet":["http://x/v"]}]}"#.to_owned(), "imports itself"),
        (r#"{"include":[{"valueSet":["http://x/w"]}]}"#.to_owned(), "imports itself"),
        (r#"{"include":[{"valueSet":["http://x/none"]}]}"#.to_owned(), "http://x/none is not known"),
        (filter("is-a", ""), "has no value"),
        (filter("sounds-like", "x"), "no filter \"sounds-like\""),
        (filter("regex", "("), "no regular expression"),
        (r#"{"include":[{"system":"http://snomed.info/sct","filter":[{"property":"concept","op":"is-a","value":"1"}]}]}"#.to_owned(),
            "code system http://snomed.info/sct is not known"),
        (r#"{"include":[{"system":"http://y"}],"exclude":[{"system":"http://y","concept":[{"code":"a"}]}]}"#.to_owned(),
            "excludes codes of http://y"),
    ] {
        let fault = codes(&with(&[ANIMALS, circle, &composed(&compose)]), "http://x/v");
        let text = fault.expect_err(&compose).to_string();
        assert!(text.contains(expected), "{compose}: {text}");
    }
    let image = with(&[ANIMALS]);
    let costly = image.members("http://x/all-animals", 7).expect_err("eight");
    assert_eq!(costly.to_string(), "http://x/all-animals has more than 7 codes");
}

#[test]
fn a_stored_fragment_of_snomed_answers_its_implicit_value_sets() {
    let fragment = r#"{"resourceType":"CodeSystem","url":"http://snomed.info/sct","content":"fragment",
        "concept":[{"code":"126851005","concept":[{"code":"126852003"},{"code":"93870000"}]},{"code":"1"}]}"#;
    let image = with(&[fragment]);
    for name in [
        "http://snomed.info/sct?fhir_vs=isa/126851005",
        "http://snomed.info/sct/900000000000207008/version/20230731?fhir_vs=isa/126851005",
    ] {
        assert_eq!(codes(&image, name).expect(name), ["126851005", "126852003", "93870000"]);
    }
    let all = image.members("http://snomed.info/sct?fhir_vs", 10).expect("known");
    assert_eq!(all.systems, ["http://snomed.info/sct".into()]);
    for name in ["http://snomed.info/sct?fhir_vs=refset/1", "http://snomed.info/sct?fhir_vs=isa/"] {
        let fault = image.members(name, 10).expect_err(name);
        assert!(matches!(fault, TerminologyFault::Unsupported { .. }), "{name}: {fault}");
    }
    assert_eq!(below(&image, "http://snomed.info/sct", "126851005").len(), 3);
}

#[test]
fn stored_definitions_win_and_the_newest_counts() {
    let system = |version: &str, code: &str| {
        format!(
            r#"{{"resourceType":"CodeSystem","url":"http://x/s","version":"{version}","content":"complete","concept":[{{"code":"{code}"}}]}}"#
        )
    };
    let set = |url: &str| {
        format!(
            r#"{{"resourceType":"ValueSet","url":"{url}",
            "compose":{{"include":[{{"system":"http://x/s","version":"1.9"}}]}}}}"#
        )
    };
    let (guides, gender) = (
        "http://hl7.org/fhir/us/core/ValueSet/us-core-clinical-result-observation-category",
        "http://hl7.org/fhir/ValueSet/administrative-gender",
    );
    let (of_guide, of_gender) = (set(guides), set(gender));
    let described = r#"{"resourceType":"CodeSystem","url":"http://hl7.org/fhir/administrative-gender","content":"not-present"}"#;
    let packs: Vec<&[u8]> = GUIDE_PACKS.to_vec();
    let stored = [&system("1.10", "new"), &system("1.9", "old"), &of_guide, &of_gender, described];
    let stored = stored.map(|text| parse(text.as_bytes()).expect(text));
    let image = packed().with_guides(&packs).expect("the guides open").with_resources(stored);
    assert_eq!(codes(&image, "http://x/s?fhir_vs").expect("known"), ["new"]);
    assert_eq!(codes(&image, guides).expect("known"), ["old"]);
    // The required bindings of R4 rest on what R4 defines itself.
    assert_eq!(codes(&image, gender).expect("known").len(), 4);
    assert_eq!(below(&image, "http://hl7.org/fhir/administrative-gender", "male"), ["male"]);
    // The next image has what is stored then.
    let none: [Value<'_>; 0] = [];
    assert!(codes(&image.with_resources(none), guides).expect("known").len() > 1);
}

#[test]
fn what_r4_publishes_of_hl7s_terminology_stays_and_other_versions_stand_beside_it() {
    const SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/condition-clinical";
    const CONFIDENTIALITY: &str =
        "http://terminology.hl7.org/ValueSet/v3-ConfidentialityClassification";
    let system = |version: &str| {
        format!(
            r#"{{"resourceType":"CodeSystem","url":"{SYSTEM}","version":"{version}","content":"complete",
            "concept":[{{"code":"active","concept":[{{"code":"odd"}}]}}]}}"#
        )
    };
    let secret = format!(
        r#"{{"resourceType":"ValueSet","url":"{CONFIDENTIALITY}","version":"2014-03-26","compose":{{
        "include":[{{"system":"http://x/s","concept":[{{"code":"odd"}}]}}]}}}}"#
    );
    let bound = "http://hl7.org/fhir/ValueSet/condition-clinical";
    let confidential = format!("{CONFIDENTIALITY}|2014-03-26");
    let of = |image: &Image, value_set: &str| codes(image, value_set).expect("known");
    let (clinical, confidentiality) = (of(&packed(), bound), of(&packed(), &confidential));
    for version in ["4.0.1", "9.0.0", "1.0.0"] {
        let image = with(&[&system(version), &secret]);
        assert_eq!(of(&image, bound), clinical, "{version}");
        assert_eq!(of(&image, &confidential), confidentiality, "{version}");
        let named = |version: &str| below(&image, &format!("{SYSTEM}|{version}"), "active");
        assert!(!below(&image, SYSTEM, "active").contains(&"odd".to_owned()), "{version}");
        assert_eq!(named(version).contains(&"odd".to_owned()), version != "4.0.1", "{version}");
    }
    // What R4 has in part alone is for others to complete.
    let plans = "http://terminology.hl7.org/CodeSystem/insurance-plan-type";
    let whole = format!(
        r#"{{"resourceType":"CodeSystem","url":"{plans}","content":"complete","concept":[{{"code":"odd"}}]}}"#
    );
    assert_eq!(of(&with(&[&whole]), &format!("{plans}?fhir_vs")), ["odd"]);
}

#[test]
fn case_counts_where_the_system_says_so() {
    let loose = ANIMALS.replace(r#""caseSensitive":true"#, r#""caseSensitive":false"#);
    let compose = r#"{"include":[{"system":"http://x/animals","concept":[{"code":"CAT"}]}]}"#;
    for (system, expected) in [(ANIMALS, ""), (&loose, "cat")] {
        let image = with(&[system, &composed(compose)]);
        assert_eq!(codes(&image, "http://x/v").expect("known").join(" "), expected);
    }
}

#[test]
fn an_expansion_that_is_too_much_work_is_refused() {
    let concepts: Vec<String> = (0..1000).map(|at| format!(r#"{{"code":"{at}"}}"#)).collect();
    let system = format!(
        r#"{{"resourceType":"CodeSystem","url":"http://x/s","content":"complete","concept":[{}]}}"#,
        concepts.join(",")
    );
    let none =
        r#"{"system":"http://x/s","filter":[{"property":"code","op":"child-of","value":"1"}]}"#;
    for (times, is_fine) in [(9_000, true), (11_000, false)] {
        let image = with(&[
            &system,
            &composed(&format!(r#"{{"include":[{}]}}"#, vec![none; times].join(","))),
        ]);
        let expected = TerminologyFault::Laborious("http://x/v".to_owned());
        let found = codes(&image, "http://x/v");
        assert_eq!(found, if is_fine { Ok(Vec::new()) } else { Err(expected) }, "{times}");
    }
}

#[test]
fn a_long_list_of_codes_and_a_broad_hierarchy_cost_what_they_are_long() {
    // 60,000 codes under one: looked for in each other's list that would be minutes.
    let concepts: Vec<String> = (0..60_000).map(|at| format!(r#"{{"code":"c{at}"}}"#)).collect();
    let system = format!(
        r#"{{"resourceType":"CodeSystem","url":"http://x/s","content":"complete",
            "concept":[{{"code":"root","concept":[{}]}}]}}"#,
        concepts.join(",")
    );
    let list: Vec<String> = (0..60_000).map(|at| format!("C{at}")).collect();
    let compose = format!(
        r#"{{"include":[{{"system":"http://x/s","filter":[
            {{"property":"code","op":"in","value":"{}"}},
            {{"property":"parent","op":"=","value":"ROOT"}}]}}]}}"#,
        list.join(",")
    );
    let image = with(&[&system, &composed(&compose)]);
    let began = std::time::Instant::now();
    let found = image.members("http://x/v", 60_000).expect("known");
    assert_eq!(found.codes.len(), 60_000);
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    assert_eq!(below(&image, "http://x/s", "c7"), ["c7"]);
}

#[test]
fn a_code_is_in_a_value_set_exactly_when_its_expansion_has_it() {
    let image = packed();
    let pack = Pack::open(R4_PACK).expect("opens");
    let mut asked = 0;
    for record in pack.records(Section::ValueSets).expect("unpacks").iter() {
        let record = record.expect("JSON");
        let url = record.str_at("url").expect("url");
        let Ok(members) = image.members(url, 2_000) else { continue };
        let step = (members.codes.len() / 50).max(1);
        for member in members.codes.iter().step_by(step) {
            let found = image.contains(url, Some(&member.system), &member.code);
            assert_eq!(found, Ok(Contains::Yes), "{url} {member:?}");
            assert_eq!(image.contains(url, None, &member.code), Ok(Contains::Yes), "{url}");
            let other = format!("{}-", member.code);
            let is_open = members.systems.contains(&member.system);
            let expected = if is_open { Contains::Yes } else { Contains::No };
            assert_eq!(image.contains(url, Some(&member.system), &other), Ok(expected), "{url}");
            let elsewhere = image.contains(url, Some("http://nowhere"), &member.code);
            assert_eq!(elsewhere, Ok(Contains::No), "{url} {member:?}");
            asked += 1;
        }
    }
    assert!(asked > 10_000, "only {asked}");
}

#[test]
fn a_code_is_told_in_not_in_or_beyond_what_is_known() {
    let other = r#"{"resourceType":"ValueSet","url":"http://x/cats","compose":{"include":[
        {"system":"http://x/animals","concept":[{"code":"cat"},{"code":"lion"}]}]}}"#;
    let fragment = r#"{"resourceType":"CodeSystem","url":"http://x/part","content":"fragment",
        "concept":[{"code":"a","concept":[{"code":"b"}]}]}"#;
    let untold = |system: &str| Contains::Untold(system.into());
    let snomed = "http://snomed.info/sct";
    let below = format!(
        r#"{{"system":"{snomed}","filter":[{{"property":"concept","op":"is-a","value":"1"}}]}}"#
    );
    let cases = [
        // What another include says cannot be undone by what is not known.
        (format!(r#"{{"include":[{below}]}}"#), snomed, "2", untold(snomed)),
        (format!(r#"{{"include":[{below}]}}"#), "http://x/animals", "cat", Contains::No),
        (format!(r#"{{"include":[{below},{{"system":"{snomed}","concept":[{{"code":"2"}}]}}]}}"#),
            snomed, "2", Contains::Yes),
        (format!(r#"{{"include":[{{"system":"{snomed}"}}],"exclude":[{below}]}}"#), snomed, "2",
            untold(snomed)),
        (format!(r#"{{"include":[{{"system":"{snomed}"}}]}}"#), snomed, "2", Contains::Yes),
        (r#"{"include":[{"system":"http://x/part","filter":[{"property":"concept","op":"is-a","value":"a"}]}]}"#
            .to_owned(), "http://x/part", "c", untold("http://x/part")),
        (r#"{"include":[{"system":"http://x/part","filter":[{"property":"concept","op":"is-a","value":"a"}]}]}"#
            .to_owned(), "http://x/part", "b", Contains::Yes),
        (r#"{"include":[{"system":"http://x/animals","valueSet":["http://x/cats"]}],
            "exclude":[{"system":"http://x/animals","concept":[{"code":"lion"}]}]}"#.to_owned(),
            "http://x/animals", "lion", Contains::No),
        (r#"{"include":[{"valueSet":["http://x/cats"]}]}"#.to_owned(), "http://x/animals", "cat",
            Contains::Yes),
        (r#"{"inactive":false,"include":[{"system":"http://x/animals"}]}"#.to_owned(),
            "http://x/animals", "manx", Contains::No),
    ];
    for (compose, system, code, expected) in cases {
        let image = with(&[ANIMALS, other, fragment, &composed(&compose)]);
        let found = image.contains("http://x/v", Some(system), code);
        assert_eq!(found, Ok(expected), "{compose}: {code}");
    }
    let image = with(&[ANIMALS, &composed(r#"{"include":[{"valueSet":["http://x/v"]}]}"#)]);
    let circle = image.contains("http://x/v", None, "cat");
    assert_eq!(circle, Err(TerminologyFault::Circular("http://x/v".into())));
    let unknown = image.contains("http://x/none", None, "cat");
    assert_eq!(unknown, Err(TerminologyFault::UnknownValueSet("http://x/none".into())));
}

#[test]
fn displays_and_what_defines_a_canonical_are_known() {
    let image = packed();
    let gender = "http://hl7.org/fhir/administrative-gender";
    assert_eq!(image.displays(gender, "male"), ["Male".into()]);
    assert_eq!(image.displays(gender, "nothing"), []);
    assert_eq!(image.displays("http://x.org/unknown", "male"), []);
    for (canonical, expected) in [
        ("http://hl7.org/fhir/ValueSet/administrative-gender", Some("ValueSet")),
        (gender, Some("CodeSystem")),
        ("http://x.org/unknown", None),
    ] {
        assert_eq!(image.kind_of(canonical), expected, "{canonical}");
    }
    let jurisdiction = "http://hl7.org/fhir/ValueSet/jurisdiction";
    let genders = "http://hl7.org/fhir/ValueSet/administrative-gender";
    for (value_set, text, expected) in [
        (jurisdiction, "Australia", true),
        (jurisdiction, "AU", false),
        (jurisdiction, "Utopia", false),
        (genders, "Male", true),
        (genders, "male", false),
        ("http://x.org/unknown", "Male", false),
    ] {
        assert_eq!(image.is_only_shown(value_set, text), expected, "{value_set} {text}");
    }
}
