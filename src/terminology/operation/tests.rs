use super::*;
use crate::fhir::json::parse;
use crate::spec::R4_PACK;
use crate::spec::terminology::{Contains, Terminology};

mod bounds;
mod parameters;

const GENDER: &str = "http://hl7.org/fhir/administrative-gender";

fn image(resources: &[&str]) -> Image {
    let values = resources.iter().map(|text| parse(text.as_bytes()).expect(text));
    Image::new(R4_PACK, "http://localhost/fhir").expect("the pack opens").with_resources(values)
}

/// `name=value`, all of them texts as in a query.
fn ask(image: &Image, operation: Operation, query: &[(&str, &str)]) -> Result<String, String> {
    let all = query.iter().map(|(name, value)| {
        Value::from(Object::new().with("name", *name).with("valueString", *value))
    });
    let parameters = parameters(all.map(Value::into_owned).collect());
    ask_with(image, operation, &parameters)
}

fn request<'r>(parameters: &'r Value<'r>) -> Request<'r> {
    Request {
        parameters,
        subject: Subject::Named,
        languages: None,
        limit: 100,
        now: "2026-03-14T15:09:26Z",
        identifier: "0",
    }
}

fn ask_with(image: &Image, operation: Operation, parameters: &Value<'_>) -> Result<String, String> {
    match answer(image, operation, &request(parameters)) {
        Ok(answer) => Ok(answer.to_text()),
        Err(Refusal::Malformed(issues)) => Err(format!("400 {}", issues[0])),
        Err(Refusal::Missing(findings)) => Err(format!("404 {}", findings[0])),
        Err(Refusal::Unprocessable(findings)) => Err(format!("422 {}", findings[0])),
    }
}

#[test]
fn each_refusal_says_what_is_wrong() {
    use Operation::{Expand, Lookup, Subsumes, Translate, ValidateInSet, ValidateInSystem};

    let image = image(&[
        r#"{"resourceType":"CodeSystem","url":"urn:v","version":"2","content":"complete","concept":[{"code":"a"}]}"#,
        r#"{"resourceType":"ValueSet","url":"urn:old","compose":{"include":[{"system":"urn:v","version":"1"}]}}"#,
    ]);
    let of =
        |operation, query: &[(&str, &str)]| ask(&image, operation, query).expect_err("refused");
    for (operation, query, expected) in [
        (Expand, &[][..], "400 the value set"),
        (Expand, &[("url", "urn:none")], "404 A definition for the value Set 'urn:none'"),
        (
            Expand,
            &[("url", "urn:old")],
            "422 A definition for CodeSystem 'urn:v' version '1' could not be found. Valid versions: [2]",
        ),
        (
            Expand,
            &[("url", "urn:v?fhir_vs"), ("check-system-version", "urn:v|3")],
            "422 A definition for CodeSystem 'urn:v' version '3'",
        ),
        (
            Expand,
            &[("url", "urn:v?fhir_vs"), ("useSupplement", "urn:s")],
            "422 Required supplement not found: urn:s",
        ),
        (Expand, &[("url", "urn:v?fhir_vs"), ("count", "many")], "400 the parameter count"),
        (Expand, &[("url", "urn:v?fhir_vs"), ("activeOnly", "1")], "400 the parameter activeOnly"),
        (Expand, &[("url", "a"), ("url", "b")], "400 the parameter url is there twice"),
        (
            Expand,
            &[("url", "http://hl7.org/fhir/ValueSet/all-languages")],
            "422 value set urn:ietf:bcp:47 takes too much",
        ),
        (Lookup, &[("code", "a")], "400 the system of the code"),
        (
            Lookup,
            &[("system", "urn:none"), ("code", "a")],
            "404 A definition for CodeSystem 'urn:none'",
        ),
        (
            Lookup,
            &[("system", "urn:v"), ("code", "b")],
            "404 Unknown code 'b' in the CodeSystem 'urn:v' version '2'",
        ),
        (Subsumes, &[("system", "urn:v"), ("codeA", "a")], "400 either codeB or codingB"),
        (
            Translate,
            &[("url", "urn:none"), ("system", "urn:v"), ("code", "a")],
            "404 A definition for ConceptMap 'urn:none'",
        ),
        (Translate, &[("url", "urn:none"), ("code", "a")], "400 a code needs its system"),
        (ValidateInSet, &[("url", "urn:v?fhir_vs"), ("code", "a")], "400 a code needs its system"),
        (ValidateInSystem, &[("code", "a")], "400 the code system"),
    ] {
        let found = of(operation, query);
        assert!(found.starts_with(expected), "{operation:?} {query:?}: {found}");
    }
}

#[test]
fn forced_and_preferred_versions_choose_the_code_system() {
    let system = |version: &str, code: &str| {
        format!(
            r#"{{"resourceType":"CodeSystem","url":"urn:v","version":"{version}","content":"complete","concept":[{{"code":"{code}"}}]}}"#
        )
    };
    let fixed = r#"{"resourceType":"ValueSet","url":"urn:fixed","compose":{"include":[{"system":"urn:v","version":"1"}]}}"#;
    let free = r#"{"resourceType":"ValueSet","url":"urn:free","compose":{"include":[{"system":"urn:v"}]}}"#;
    let image = image(&[&system("1", "one"), &system("2", "two"), fixed, free]);
    for (url, parameter, expected) in [
        ("urn:free", None, "two"),
        ("urn:free", Some("system-version"), "one"),
        ("urn:fixed", None, "one"),
        ("urn:fixed", Some("force-system-version"), "one"),
        ("urn:free", Some("force-system-version"), "one"),
        ("urn:free", Some("check-system-version"), "one"),
    ] {
        let mut query = vec![("url", url)];
        query.extend(parameter.map(|it| (it, "urn:v|1")));
        let found = ask(&image, Operation::Expand, &query).expect(url);
        assert!(found.contains(&format!(r#""code":"{expected}""#)), "{query:?}: {found}");
    }
    let forced = [("url", "urn:fixed"), ("force-system-version", "urn:v|2")];
    let found = ask(&image, Operation::Expand, &forced).expect("two");
    assert!(found.contains(r#""code":"two""#), "{found}");
    let other = [("url", "urn:fixed"), ("check-system-version", "urn:v|2")];
    let refused = ask(&image, Operation::Expand, &other).expect_err("another version");
    assert!(refused.contains("is not the version '2'"), "{refused}");
}

#[test]
fn an_expansion_leaves_out_what_it_is_asked_to() {
    let system = r#"{"resourceType":"CodeSystem","url":"urn:c","version":"2","date":"2024-05-01",
        "content":"complete","property":[{"code":"notSelectable","type":"boolean",
        "uri":"http://hl7.org/fhir/concept-properties#notSelectable"}],"concept":[{"code":"group",
        "property":[{"code":"notSelectable","valueBoolean":true}],"concept":[{"code":"a"}]}]}"#;
    let composed = r#"{"resourceType":"ValueSet","url":"urn:vs","status":"active","date":"2024-06-01",
        "compose":{"include":[{"system":"urn:c"},{"system":"urn:gone"}]}}"#;
    let listed = r#"{"resourceType":"ValueSet","url":"urn:listed","status":"active","expansion":{
        "contains":[{"system":"http://snomed.info/sct","code":"1"},
        {"system":"http://snomed.info/sct","code":"1:2=3"}]}}"#;
    let image = image(&[system, composed, listed]);
    let gone = ("exclude-system", "urn:gone");
    for (url, more, expected) in [
        ("urn:vs", &[][..], None),
        ("urn:vs", &[gone][..], Some(&["group", "a"][..])),
        ("urn:vs", &[gone, ("exclude-system", "urn:c|2")], Some(&[])),
        ("urn:vs", &[gone, ("exclude-system", "urn:c|1")], Some(&["group", "a"])),
        ("urn:vs", &[gone, ("excludeNotForUI", "true")], Some(&["a"])),
        ("urn:vs", &[gone, ("date", "2024-06")], Some(&["group", "a"])),
        ("urn:vs", &[gone, ("date", "2024-05-02")], None),
        ("urn:vs", &[gone, ("date", "soon")], None),
        ("urn:listed", &[], Some(&["1", "1:2=3"])),
        ("urn:listed", &[("excludePostCoordinated", "true")], Some(&["1"])),
        ("urn:listed", &[("exclude-system", "http://snomed.info/sct")], Some(&[])),
    ] {
        let query: Vec<_> = [("url", url)].into_iter().chain(more.iter().copied()).collect();
        let found = ask(&image, Operation::Expand, &query);
        let Some(expected) = expected else {
            found.expect_err(url);
            continue;
        };
        let found = found.unwrap_or_else(|refusal| panic!("{query:?}: {refusal}"));
        for code in ["group", "a", "1", "1:2=3"] {
            let is_there = found.contains(&format!(r#""code":"{code}""#));
            assert_eq!(is_there, expected.contains(&code), "{query:?} {code}: {found}");
        }
    }
}

#[test]
fn what_a_system_was_once_is_not_known() {
    let image = image(&[]);
    let code = [("code", "male"), ("date", "1999")];
    for (operation, name) in [(Operation::Lookup, "system"), (Operation::ValidateInSystem, "url")] {
        let query = [(name, GENDER), code[0], code[1]];
        let refused = ask(&image, operation, &query).expect_err("is not known");
        assert!(refused.starts_with("422 what"), "{operation:?}: {refused}");
        let query = [(name, GENDER), code[0], ("date", "2020")];
        ask(&image, operation, &query).expect("has been the same since");
    }
}

#[test]
fn a_version_is_found_behind_another_one_that_wins_by_itself() {
    let stored = format!(
        r#"{{"resourceType":"CodeSystem","url":"{GENDER}","version":"9","content":"complete",
        "concept":[{{"code":"x"}}]}}"#
    );
    let image = image(&[&stored]);
    for (version, code, is_known) in
        [("4.0.1", "male", true), ("9", "x", true), ("9", "male", false), ("7", "male", false)]
    {
        let query = [("system", GENDER), ("version", version), ("code", code)];
        let found = ask(&image, Operation::Lookup, &query);
        assert_eq!(found.is_ok(), is_known, "{version} {code}: {found:?}");
    }
    let found = ask(&image, Operation::Lookup, &[("system", GENDER), ("code", "x")]);
    found.expect_err("what R4 defines itself stays");
}

#[test]
fn an_instance_without_codes_is_asked_with_those_of_a_release() {
    let stored = r#"{"resourceType":"CodeSystem","id":"c","url":"urn:c","content":"not-present"}"#;
    let loaded = r#"{"resourceType":"CodeSystem","url":"urn:c","content":"complete","concept":[
        {"code":"a","concept":[{"code":"b"}]}]}"#;
    let loaded = CodeSystem::read(&parse(loaded.as_bytes()).expect("json")).expect("a system");
    let image = image(&[stored]).with_loaded([std::sync::Arc::new(loaded)]);
    let query = parameters(vec![
        parameter("codeA", "valueCode", "a"),
        parameter("codeB", "valueCode", "b"),
    ]);
    let request = Request { subject: Subject::Stored("c"), ..request(&query) };
    let found = answer(&image, Operation::Subsumes, &request).expect("known").to_text();
    assert!(found.contains(r#""valueCode":"subsumes""#), "{found}");
}

#[test]
fn a_url_stands_for_one_map() {
    let map = |version: &str, target: &str| {
        format!(
            r#"{{"resourceType":"ConceptMap","url":"urn:m","version":"{version}","group":[
            {{"source":"urn:a","target":"urn:b","element":[{{"code":"x","target":[
            {{"code":"{target}","equivalence":"equal"}}]}}]}}]}}"#
        )
    };
    let image = image(&[&map("2", "new"), &map("1", "old")]);
    let query = [("system", "urn:a"), ("code", "x")];
    let found = ask(&image, Operation::Translate, &query).expect("mapped");
    assert!(found.contains(r#""code":"new""#) && !found.contains("old"), "{found}");
}

#[test]
fn an_edition_stands_for_its_versions() {
    let edition = "http://snomed.info/sct/900000000000207008";
    let system = format!(
        r#"{{"resourceType":"CodeSystem","url":"http://snomed.info/sct","version":"{edition}/version/20240101",
        "content":"complete","concept":[{{"code":"1"}}]}}"#
    );
    let other = r#"{"resourceType":"CodeSystem","url":"http://snomed.info/sct","content":"complete",
        "version":"http://snomed.info/sct/999000011000000103/version/20250101","concept":[{"code":"2"}]}"#;
    let image = image(&[&system, other]);
    for (version, is_known) in [
        (edition.to_owned(), true),
        (format!("{edition}/version/20240101"), true),
        (format!("{edition}/version/2024"), false),
        ("http://snomed.info/sct/731000124108".to_owned(), false),
    ] {
        let query = [("system", "http://snomed.info/sct"), ("version", &*version), ("code", "1")];
        let found = ask(&image, Operation::Lookup, &query);
        assert_eq!(found.is_ok(), is_known, "{version}: {found:?}");
    }
}

#[test]
fn an_expansion_has_its_bounds() {
    let concepts: Vec<String> = (0..300).map(|at| format!(r#"{{"code":"c{at:03}"}}"#)).collect();
    let system = format!(
        r#"{{"resourceType":"CodeSystem","url":"urn:big","content":"complete","concept":[{}]}}"#,
        concepts.join(",")
    );
    let image = image(&[&system]);
    let whole = ask(&image, Operation::Expand, &[("url", "urn:big?fhir_vs")]);
    assert!(whole.expect_err("too many").starts_with("422 urn:big?fhir_vs has more than 100"));
    let page = [("url", "urn:big?fhir_vs"), ("offset", "299"), ("count", "50")];
    let page = ask(&image, Operation::Expand, &page).expect("a page");
    assert!(page.contains(r#""total":300"#) && page.contains("c299") && !page.contains("c298"));
    let few = [("url", "urn:big?fhir_vs"), ("filter", "c00")];
    let few = ask(&image, Operation::Expand, &few).expect("ten");
    assert!(few.contains(r#""total":10"#), "{few}");
    let words = "a ".repeat(100);
    let many = ask(&image, Operation::Expand, &[("url", "urn:big?fhir_vs"), ("filter", &words)]);
    assert!(many.expect_err("too many words").starts_with("400"));
}

#[test]
fn a_hierarchy_in_a_circle_is_shown_once() {
    let circle = r#"{"resourceType":"CodeSystem","url":"urn:c","content":"complete","concept":[
        {"code":"a","property":[{"code":"parent","valueCode":"b"}]},
        {"code":"b","property":[{"code":"parent","valueCode":"a"}]}]}"#;
    let query = [("url", "urn:c?fhir_vs"), ("excludeNested", "false")];
    let found = ask(&image(&[circle]), Operation::Expand, &query).expect("two");
    assert_eq!(found.matches(r#""code":""#).count(), 2, "{found}");
}

#[test]
fn a_code_is_shown_below_a_parent_that_is_listed_behind_it() {
    let system = r#"{"resourceType":"CodeSystem","url":"urn:c","content":"complete","concept":[
        {"code":"100","property":[{"code":"parent","valueCode":"404"}]},
        {"code":"200","property":[{"code":"parent","valueCode":"100"}]},
        {"code":"404"}]}"#;
    let query = [("url", "urn:c?fhir_vs"), ("excludeNested", "false")];
    let found = ask(&image(&[system]), Operation::Expand, &query).expect("three");
    let expected = r#""code":"404","contains":[{"system":"urn:c","code":"100","contains":[{"system":"urn:c","code":"200"}]}]"#;
    assert!(found.contains(expected), "{found}");
}

#[test]
fn a_code_system_that_is_contained_is_for_its_request_alone() {
    let value_set = format!(
        r#"{{"resourceType":"ValueSet","url":"urn:mine","contained":[{{"resourceType":"CodeSystem",
        "id":"g","url":"{GENDER}","content":"complete","concept":[{{"code":"x"}}]}}],
        "compose":{{"include":[{{"system":"{GENDER}"}}]}}}}"#
    );
    let stored = image(&[&value_set]);
    let query = [("system", GENDER), ("code", "male")];
    ask(&stored, Operation::Lookup, &query).expect("the pack's");
    let resource = parse(value_set.as_bytes()).expect("a value set");
    let brought = parameters(vec![
        Object::new().with("name", "valueSet").with("resource", resource.into_owned()).into(),
    ]);
    let found = ask_with(&image(&[]), Operation::Expand, &brought).expect("one code");
    assert!(found.contains(r#""code":"x""#) && !found.contains("male"), "{found}");
}

#[test]
fn codes_of_grammars_are_validated_without_a_list() {
    let image = image(&[]);
    let units = "http://hl7.org/fhir/ValueSet/ucum-units";
    for (code, expected) in [("mg/dL", true), ("[lb_av]", true), ("pounds", false)] {
        let query = [("url", units), ("system", "http://unitsofmeasure.org"), ("code", code)];
        let found = ask(&image, Operation::ValidateInSet, &query).expect(code);
        let result = format!(r#""name":"result","valueBoolean":{expected}"#);
        assert!(found.contains(&result), "{code}: {found}");
    }
    let times = "http://hl7.org/fhir/ValueSet/all-time-units";
    for (code, expected) in [("h", true), ("mg", false)] {
        let found = image_contains(&image, times, code);
        assert_eq!(found, expected, "{code}");
    }
}

fn image_contains(image: &Image, value_set: &str, code: &str) -> bool {
    let found = image.contains(value_set, Some("http://unitsofmeasure.org"), code);
    found.expect(value_set) == Contains::Yes
}

#[test]
fn new_concepts_are_related_to_old_ones_once() {
    let system = r#"{"resourceType":"CodeSystem","url":"urn:c","content":"complete","concept":[
        {"code":"a","concept":[{"code":"b","concept":[{"code":"c"}]},{"code":"d"}]}]}"#;
    let image = image(&[system]);
    let all = |codes: &str| -> Vec<Closed> {
        let closed = |code: &str| Closed { system: "urn:c".to_owned(), code: code.to_owned() };
        codes.split_whitespace().map(closed).collect()
    };
    for (old, new, expected) in [
        ("", "a b c d", "b<a c<a c<b d<a"),
        ("a", "c", "c<a"),
        ("c", "a", "c<a"),
        ("a b c", "d", "d<a"),
        ("a b", "", ""),
        ("c", "d", ""),
        ("", "a unknown", ""),
    ] {
        let found = closure(&image, &all(old), &all(new)).expect("known");
        let found: Vec<String> =
            found.iter().map(|it| format!("{}<{}", it.below, it.above)).collect();
        let mut found = found;
        found.sort_unstable();
        assert_eq!(found.join(" "), expected, "{old} + {new}");
    }
    let unknown = [Closed { system: "urn:none".to_owned(), code: "a".to_owned() }];
    assert!(closure(&image, &[], &unknown).is_err());
}

#[test]
fn a_deep_chain_of_maps_ends() {
    let maps: Vec<String> = (0..40)
        .map(|at| {
            let next = (at + 1) % 40;
            format!(
                r#"{{"resourceType":"ConceptMap","url":"urn:m{at}","group":[
                {{"source":"urn:a","target":"urn:b","unmapped":{{"mode":"other-map","url":"urn:m{next}"}}}},
                {{"source":"urn:a","target":"urn:b","unmapped":{{"mode":"other-map","url":"urn:m{next}"}}}}]}}"#
            )
        })
        .collect();
    let texts: Vec<&str> = maps.iter().map(String::as_str).collect();
    let query = [("url", "urn:m0"), ("system", "urn:a"), ("code", "x")];
    let found = ask(&image(&texts), Operation::Translate, &query).expect("no match");
    assert!(found.contains(r#""result","valueBoolean":false"#), "{found}");
}

#[test]
fn the_gender_of_r4_is_looked_up() {
    let query = [("system", GENDER), ("code", "male")];
    let found = ask(&image(&[]), Operation::Lookup, &query).expect("known");
    assert!(found.contains(r#""name":"display","valueString":"Male""#), "{found}");
    let upper = [("url", GENDER), ("code", "MALE")];
    let found = ask(&image(&[]), Operation::ValidateInSystem, &upper).expect("answered");
    assert!(found.contains(r#""result","valueBoolean":false"#), "{found}");
}

#[test]
fn units_that_were_loaded_have_names_and_the_grammar_decides_about_others() {
    let ucum = r#"{"resourceType":"CodeSystem","url":"http://unitsofmeasure.org","content":"fragment",
        "concept":[{"code":"mg","display":"milligram"}]}"#;
    let image = image(&[ucum]);
    let units = "http://hl7.org/fhir/ValueSet/ucum-units";
    for (code, is_valid, display) in
        [("mg", true, "milligram"), ("mg/dL", true, ""), ("qq", false, "")]
    {
        let in_system = [("url", "http://unitsofmeasure.org"), ("code", code)];
        let in_set = [("url", units), ("system", "http://unitsofmeasure.org"), ("code", code)];
        let asked = [
            ask(&image, Operation::ValidateInSystem, &in_system),
            ask(&image, Operation::ValidateInSet, &in_set),
        ];
        for answer in asked {
            let answer = answer.expect(code);
            let expected = format!(r#""name":"result","valueBoolean":{is_valid}"#);
            assert!(answer.contains(&expected) && answer.contains(display), "{code}: {answer}");
        }
        let query = [("system", "http://unitsofmeasure.org"), ("code", code)];
        let found = ask(&image, Operation::Lookup, &query);
        assert_eq!(found.is_ok(), is_valid, "{code}: {found:?}");
    }
    let times = "http://hl7.org/fhir/ValueSet/all-time-units";
    assert!(image_contains(&image, times, "h") && !image_contains(&image, times, "mg"));
}
