//! What single parameters do to an answer: languages, versions, what an expansion tells again.

use super::*;

#[test]
fn a_display_is_in_the_language_that_is_wanted_or_else_in_that_of_the_system() {
    let designation =
        |language: &str, value: &str| format!(r#"{{"language":"{language}","value":"{value}"}}"#);
    let both = format!("{},{}", designation("de", "Hund"), designation("fr-CA", "chien"));
    let system = format!(
        r#"{{"resourceType":"CodeSystem","url":"urn:pets","language":"en","content":"complete","concept":[
        {{"code":"dog","display":"Dog","designation":[{both}]}},
        {{"code":"cat","designation":[{}]}},{{"code":"cow"}}]}}"#,
        designation("de", "Katze")
    );
    let silent = r#"{"resourceType":"CodeSystem","url":"urn:silent","content":"complete","concept":[
        {"code":"dog","display":"Dog"}]}"#;
    let image = image(&[&system, silent]);
    for (system, code, language, expected) in [
        ("urn:pets", "dog", None, "Dog"),
        ("urn:pets", "dog", Some("de"), "Hund"),
        ("urn:pets", "dog", Some("fr"), "chien"),
        ("urn:pets", "dog", Some("en"), "Dog"),
        // Nobody designated it in these.
        ("urn:pets", "dog", Some("it"), "Dog"),
        ("urn:pets", "dog", Some("fr-FR"), "Dog"),
        ("urn:pets", "dog", Some("it, de;q=0.5"), "Hund"),
        ("urn:pets", "dog", Some("it, *;q=0"), "dog"),
        // Nobody named it but in one language, or at all: there is always a display.
        ("urn:pets", "cat", None, "cat"),
        ("urn:pets", "cat", Some("de"), "Katze"),
        ("urn:pets", "cat", Some("it"), "cat"),
        ("urn:pets", "cow", None, "cow"),
        ("urn:pets", "cow", Some("de"), "cow"),
        // The display of a system that tells no language is in any.
        ("urn:silent", "dog", Some("de"), "Dog"),
    ] {
        let mut query = vec![("system", system), ("code", code)];
        query.extend(language.map(|it| ("displayLanguage", it)));
        let found = ask(&image, Operation::Lookup, &query).expect(code);
        let expected = format!(r#"{{"name":"display","valueString":"{expected}"}}"#);
        assert!(found.contains(&expected), "{code} {language:?}: {found}");
    }
    // Of what is a display in another language the own one is told as a designation.
    let query = [("system", "urn:pets"), ("code", "dog"), ("displayLanguage", "de")];
    let found = ask(&image, Operation::Lookup, &query).expect("known");
    let own = r#"{"name":"value","valueString":"Dog"}"#;
    assert!(found.contains(own) && found.contains("preferredForLanguage"), "{found}");
}

/// Asks with these parameters as JSON.
fn asked(image: &Image, operation: Operation, list: &str) -> Result<String, String> {
    let text = format!(r#"{{"resourceType":"Parameters","parameter":[{list}]}}"#);
    ask_with(image, operation, &parse(text.as_bytes()).expect(list))
}

#[test]
fn the_versions_that_a_question_of_subsumption_names_are_one() {
    let system = |url: &str, version: &str, inner: &str| {
        format!(
            r#"{{"resourceType":"CodeSystem","url":"{url}","version":"{version}","content":"complete",
            "concept":[{{"code":"1","concept":[{{"code":"{inner}"}}]}},{{"code":"2"}},{{"code":"3"}}]}}"#
        )
    };
    let edition = "http://snomed.info/sct/900000000000207008";
    let of_day = format!("{edition}/version/20240101");
    let snomed = "http://snomed.info/sct";
    let image = image(&[
        &system("urn:v", "1", "2"),
        &system("urn:v", "22", "3"),
        &system(snomed, &of_day, "2"),
    ]);
    let coding = |name: &str, url: &str, code: &str, version: Option<&str>| {
        let version = version.map(|it| format!(r#""version":"{it}","#)).unwrap_or_default();
        format!(
            r#"{{"name":"{name}","valueCoding":{{"system":"{url}",{version}"code":"{code}"}}}}"#
        )
    };
    let of = |url: &str, code: &str, [version, one, other]: [Option<&str>; 3]| {
        let version = version
            .map(|it| format!(r#"{{"name":"version","valueString":"{it}"}},"#))
            .unwrap_or_default();
        let (one, other) = (coding("codingA", url, "1", one), coding("codingB", url, code, other));
        asked(&image, Operation::Subsumes, &format!("{version}{one},{other}"))
    };
    let (first, second) = (Some("1"), Some("22"));
    for (code, versions, expected) in [
        ("2", [None, None, None], "not-subsumed"),
        ("2", [first, None, None], "subsumes"),
        ("2", [None, first, None], "subsumes"),
        ("2", [None, None, first], "subsumes"),
        ("2", [first, first, first], "subsumes"),
        ("3", [second, None, second], "subsumes"),
        ("3", [None, first, None], "not-subsumed"),
    ] {
        let found = of("urn:v", code, versions).expect("known");
        assert!(found.contains(&format!(r#""valueCode":"{expected}""#)), "{versions:?}: {found}");
    }
    for (versions, [one, other]) in [
        ([first, second, None], [r#"version is "1""#, r#"codingA.version is "22""#]),
        ([first, None, second], [r#"version is "1""#, r#"codingB.version is "22""#]),
        ([None, first, second], [r#"codingA.version is "1""#, r#"codingB.version is "22""#]),
        ([first, first, second], [r#"version is "1""#, r#"codingB.version is "22""#]),
    ] {
        let refused = of("urn:v", "2", versions).expect_err("they contradict");
        let names_both = refused.contains(one) && refused.contains(other);
        assert!(refused.starts_with("400") && names_both, "{versions:?}: {refused}");
    }
    // An edition and one of its versions are no contradiction.
    for versions in [[Some(edition), Some(&*of_day), None], [Some(&*of_day), None, Some(edition)]] {
        let found = of(snomed, "2", versions).expect("known");
        assert!(found.contains(r#""valueCode":"subsumes""#), "{versions:?}: {found}");
    }
    let unknown = of("urn:v", "2", [Some("7"), None, None]).expect_err("no such version");
    assert!(unknown.starts_with("422"), "{unknown}");
}

#[test]
fn the_version_of_a_resource_whose_address_is_asked_is_that_of_the_codes() {
    let image = image(&[
        r#"{"resourceType":"CodeSystem","id":"c1","url":"urn:v","version":"1","content":"complete",
        "concept":[{"code":"1"},{"code":"2"}]}"#,
    ]);
    let text = r#"{"resourceType":"Parameters","parameter":[
        {"name":"codingA","valueCoding":{"system":"urn:v","version":"22","code":"1"}},
        {"name":"codingB","valueCoding":{"system":"urn:v","code":"2"}}]}"#;
    let parameters = parse(text.as_bytes()).expect("JSON");
    let request = Request { subject: Subject::Stored("c1"), ..request(&parameters) };
    let refused = answer(&image, Operation::Subsumes, &request).expect_err("another version");
    let Refusal::Malformed(issues) = refused else { panic!("{refused:?}") };
    let expected = r#"of version "1" and codingA.version is "22""#;
    assert!(issues[0].diagnostics.contains(expected), "{issues:?}");
}

#[test]
fn an_expansion_tells_again_what_it_was_asked_with() {
    let system = r#"{"resourceType":"CodeSystem","url":"urn:c","version":"2","date":"2024-05-01",
        "content":"complete","concept":[{"code":"a","display":"Alpha"},{"code":"b"}]}"#;
    let image = image(&[system]);
    // Each with a value as a query has it, what is told of it, and whether it may be there again.
    let cases = [
        ("activeOnly", "true", "valueBoolean", "true", false),
        ("check-system-version", "urn:c|2", "valueUri", r#""urn:c|2""#, true),
        ("count", "5", "valueInteger", "5", false),
        ("date", "2025-01-01", "valueDateTime", r#""2025-01-01""#, false),
        ("designation", "de", "valueString", r#""de""#, true),
        ("exclude-system", "urn:other", "valueUri", r#""urn:other""#, true),
        ("excludeNested", "true", "valueBoolean", "true", false),
        ("excludeNotForUI", "false", "valueBoolean", "false", false),
        ("excludePostCoordinated", "true", "valueBoolean", "true", false),
        ("filter", "al", "valueString", r#""al""#, false),
        ("force-system-version", "urn:c|2", "valueUri", r#""urn:c|2""#, true),
        ("includeDefinition", "true", "valueBoolean", "true", false),
        ("includeDesignations", "true", "valueBoolean", "true", false),
        ("offset", "0", "valueInteger", "0", false),
        ("system-version", "urn:c|2", "valueUri", r#""urn:c|2""#, true),
    ];
    let all: Vec<&str> = cases.iter().map(|(name, ..)| *name).collect();
    let told = super::super::expand::REPEATED.map(|(name, _)| name);
    assert_eq!(all, told, "each has a case");
    for (name, value, kind, shown, may_repeat) in cases {
        let url = ("url", "urn:c?fhir_vs");
        let found = ask(&image, Operation::Expand, &[url, (name, value)]).expect(name);
        let expected = format!(r#"{{"name":"{name}","{kind}":{shown}}}"#);
        assert_eq!(found.matches(&expected).count(), 1, "{expected}: {found}");
        let twice = ask(&image, Operation::Expand, &[url, (name, value), (name, value)]);
        match twice {
            Ok(found) => {
                assert!(may_repeat, "{name} may be there once");
                assert_eq!(found.matches(&expected).count(), 2, "{expected}: {found}");
            }
            Err(refused) => {
                assert!(!may_repeat, "{name}: {refused}");
                let text = format!("400 the parameter {name} is there twice");
                assert!(refused.starts_with(&text), "{refused}");
            }
        }
        // As its type is written in a resource.
        let typed = format!(
            r#"{{"name":"url","valueUri":"urn:c?fhir_vs"}},{{"name":"{name}","{kind}":{shown}}}"#
        );
        let again = asked(&image, Operation::Expand, &typed).expect(name);
        assert_eq!(again.matches(&expected).count(), 1, "{expected}: {again}");
    }
    let plain = ask(&image, Operation::Expand, &[("url", "urn:c?fhir_vs")]).expect("known");
    for name in all {
        assert!(!plain.contains(&format!(r#""name":"{name}""#)), "{name}: {plain}");
    }
}

const SNOMED: &str = "http://snomed.info/sct";

/// Three systems, of which `urn:made` has a grammar, and three value sets of each.
fn with_grammars() -> Image {
    let below = r#","filter":[{"property":"concept","op":"is-a","value":"1"}]"#;
    let named = r#","concept":[{"code":"2"},{"code":"1+2"},{"code":"1+2"}]"#;
    let mut texts = Vec::new();
    for (url, is_compositional) in [("urn:made", true), ("urn:plain", false), (SNOMED, false)] {
        texts.push(format!(
            r#"{{"resourceType":"CodeSystem","url":"{url}","version":"1","content":"complete","caseSensitive":true,
            "compositional":{is_compositional},"concept":[{{"code":"1","concept":[{{"code":"2"}}]}},
            {{"code":"3","property":[{{"code":"inactive","valueBoolean":true}}]}}]}}"#
        ));
        for (name, part) in [("all", ""), ("below", below), ("named", named)] {
            texts.push(format!(
                r#"{{"resourceType":"ValueSet","url":"{url}/{name}","compose":{{"inactive":false,
                "include":[{{"system":"{url}"{part}}}]}}}}"#
            ));
        }
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    image(&texts)
}

#[test]
fn a_code_that_a_grammar_may_have_made_is_not_refused_outright() {
    let image = with_grammars();
    let untold = |url: &str| Contains::Untold(url.into());
    for (url, set, code, expected) in [
        ("urn:made", "all", "2", Contains::Yes),
        ("urn:made", "all", "3", Contains::No),
        ("urn:made", "all", "1+2", Contains::Yes),
        ("urn:made", "below", "2", Contains::Yes),
        ("urn:made", "below", "1+2", untold("urn:made")),
        ("urn:made", "named", "1+2", Contains::Yes),
        ("urn:made", "named", "2+1", Contains::No),
        ("urn:plain", "all", "1+2", Contains::No),
        ("urn:plain", "below", "1+2", Contains::No),
        (SNOMED, "all", "1+2", Contains::Yes),
        (SNOMED, "below", "1+2", untold(SNOMED)),
        // A plain number is no expression.
        (SNOMED, "all", "12", Contains::No),
        (SNOMED, "below", "12", Contains::No),
    ] {
        let found = image.contains(&format!("{url}/{set}"), Some(url), code);
        assert_eq!(found, Ok(expected), "{url}/{set} {code}");
    }
    for (url, code, is_valid, note) in [
        ("urn:made", "2", true, ""),
        ("urn:made", "1+2", true, "the code may be an expression"),
        ("urn:plain", "1+2", false, "Unknown code"),
        (SNOMED, "1+2", true, "the code may be an expression"),
        (SNOMED, "12", false, "Unknown code"),
    ] {
        let in_system = [("url", url), ("code", code)];
        let all = format!("{url}/all");
        let in_set = [("url", &*all), ("system", url), ("code", code)];
        for (operation, query) in
            [(Operation::ValidateInSystem, &in_system[..]), (Operation::ValidateInSet, &in_set[..])]
        {
            let found = ask(&image, operation, query).expect(code);
            let result = format!(r#""name":"result","valueBoolean":{is_valid}"#);
            assert!(found.contains(&result) && found.contains(note), "{query:?}: {found}");
        }
    }
    for (set, expected) in
        [("urn:made/named", 2), ("urn:plain/named", 1), ("urn:made/all", 2), ("urn:made/below", 2)]
    {
        let found = ask(&image, Operation::Expand, &[("url", set)]).expect(set);
        assert_eq!(found.matches(r#""code":""#).count(), expected, "{set}: {found}");
    }
    // Who searches by it takes any code of the system.
    let members = image.members("urn:made/all", 10).expect("known");
    assert_eq!((members.systems, members.codes), (vec!["urn:made".into()], vec![]));
}
