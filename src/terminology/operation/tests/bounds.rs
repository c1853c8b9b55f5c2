//! What a request may cost.

use super::*;

#[test]
fn a_page_is_no_larger_than_what_is_told_at_once() {
    let concepts: Vec<String> = (0..300).map(|at| format!(r#"{{"code":"c{at}"}}"#)).collect();
    let system = format!(
        r#"{{"resourceType":"CodeSystem","url":"urn:big","content":"complete","concept":[{}]}}"#,
        concepts.join(",")
    );
    let query = [("url", "urn:big?fhir_vs"), ("count", "5000")];
    let page = ask(&image(&[&system]), Operation::Expand, &query).expect("a page");
    assert!(page.contains(r#""total":300"#), "{page}");
    assert_eq!(page.matches(r#""code":""#).count(), 100, "{page}");
}

/// A Parameters resource of one inline value set with these includes, and other parameters.
fn inline(includes: &str, others: Vec<Value<'static>>) -> Value<'static> {
    let text = format!(
        r#"{{"resourceType":"ValueSet","url":"urn:inline","compose":{{"include":[{includes}]}}}}"#
    );
    let resource = parse(text.as_bytes()).expect("a value set").into_owned();
    let set = Object::new().with("name", "valueSet").with("resource", resource);
    parameters(std::iter::once(set.into()).chain(others).collect())
}

fn text(name: &str, text: &str) -> Value<'static> {
    parameter(name, "valueString", text.to_owned())
}

/// A CodeableConcept of so many codings.
fn concept(system: &str, count: usize) -> Value<'static> {
    let codings = vec![format!(r#"{{"system":"{system}","code":"a"}}"#); count].join(",");
    let concept = format!(r#"{{"coding":[{codings}]}}"#);
    let concept = parse(concept.as_bytes()).expect("a concept").into_owned();
    parameter("codeableConcept", "valueCodeableConcept", concept)
}

#[test]
fn one_request_has_one_budget() {
    let concepts = r#"{"code":"a"},{"code":"b"}"#;
    let system = format!(
        r#"{{"resourceType":"CodeSystem","url":"urn:c","content":"complete","concept":[{concepts}]}}"#
    );
    let image = image(&[&system]);
    let filter = r#"{"property":"code","op":"regex","value":"b"}"#;
    let all = |count: usize, one: &str| vec![one; count].join(",");
    let filtered = |count| format!(r#"{{"system":"urn:c","filter":[{}]}}"#, all(count, filter));
    // Expressions cost by being read, however few codes there are.
    let few = ask_with(&image, Operation::Expand, &inline(&filtered(10), vec![]));
    assert!(few.expect("a code").contains(r#""code":"b""#));
    let many = ask_with(&image, Operation::Expand, &inline(&filtered(2_000), vec![]));
    assert!(many.expect_err("costly").contains("takes too much"));
    let one = filtered(1);
    let includes = all(2_000, &one);
    let code = vec![text("system", "urn:c"), text("code", "a")];
    let many = ask_with(&image, Operation::ValidateInSet, &inline(&includes, code));
    assert!(many.expect_err("costly").contains("takes too much"));
    // Each coding of a concept takes from the same.
    let asked = inline(&all(30, &one), vec![concept("urn:c", 50)]);
    let many = ask_with(&image, Operation::ValidateInSet, &asked);
    assert!(many.expect_err("costly").contains("takes too much"));
}

#[test]
fn includes_of_one_code_each_are_united_in_time_by_their_number() {
    let includes: Vec<String> = (0..50_000)
        .map(|at| format!(r#"{{"system":"urn:none","concept":[{{"code":"{at}"}}]}}"#))
        .collect();
    let asked = inline(&includes.join(","), vec![text("offset", "49999"), text("count", "1")]);
    let began = std::time::Instant::now();
    let found = ask_with(&image(&[]), Operation::Expand, &asked).expect("all");
    assert!(found.contains(r#""total":50000"#), "{found}");
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
}

#[test]
fn lists_of_a_request_have_their_bounds() {
    let image = image(&[]);
    let languages = ["de"; 17].join(",");
    let query = [("system", GENDER), ("code", "male"), ("displayLanguage", &languages[3..])];
    ask(&image, Operation::Lookup, &query).expect("sixteen");
    let query = [("system", GENDER), ("code", "male"), ("displayLanguage", &languages)];
    assert!(ask(&image, Operation::Lookup, &query).expect_err("many").starts_with("400"));
    for (count, is_refused) in [(100, false), (101, true)] {
        let mut query = vec![("system", GENDER), ("code", "male")];
        query.resize(2 + count, ("property", "x"));
        let found = ask(&image, Operation::Lookup, &query);
        assert_eq!(found.is_err_and(|it| it.starts_with("400")), is_refused, "{count}");
        let asked = parameters(vec![concept("urn:a", count)]);
        let found = ask_with(&image, Operation::Translate, &asked);
        assert_eq!(found.is_err_and(|it| it.starts_with("400")), is_refused, "{count}");
    }
}

#[test]
fn a_closure_with_too_much_to_tell_is_refused() {
    let concept = |at: usize| {
        let parent = at.saturating_sub(1);
        format!(r#"{{"code":"{at}","property":[{{"code":"parent","valueCode":"{parent}"}}]}}"#)
    };
    let concepts: Vec<String> = (0..5_000).map(concept).collect();
    let system = format!(
        r#"{{"resourceType":"CodeSystem","url":"urn:c","content":"complete","concept":[{}]}}"#,
        concepts.join(",")
    );
    let image = image(&[&system]);
    let closed = |at: usize| Closed { system: "urn:c".to_owned(), code: at.to_string() };
    // 400 * 399 / 2 pairs are told, those of 500 are not, and no way may be too long.
    for (all, told) in [
        ((0..400).collect::<Vec<_>>(), Some(79_800)),
        ((0..500).collect(), None),
        ((3_000..5_000).step_by(10).collect(), Some(19_900)),
        ((1..5_000).step_by(2).collect(), None),
    ] {
        let new: Vec<Closed> = all.into_iter().map(closed).collect();
        let found = closure(&image, &[], &new).ok().map(|it| it.len());
        assert_eq!(found, told, "{} concepts", new.len());
    }
}

#[test]
fn an_expansion_is_never_deeper_than_what_can_be_read() {
    let concept = |at: usize| {
        let parent = at.saturating_sub(1);
        format!(r#"{{"code":"c{at}","property":[{{"code":"parent","valueCode":"c{parent}"}}]}}"#)
    };
    for is_upside_down in [false, true] {
        let mut concepts: Vec<String> = (0..100).map(concept).collect();
        if is_upside_down {
            concepts.reverse();
        }
        let system = format!(
            r#"{{"resourceType":"CodeSystem","url":"urn:chain","content":"complete","concept":[{}]}}"#,
            concepts.join(",")
        );
        let query = [("url", "urn:chain?fhir_vs"), ("excludeNested", "false")];
        let found = ask(&image(&[&system]), Operation::Expand, &query).expect("a hundred");
        let read = parse(found.as_bytes()).expect("not too deep");
        assert_eq!(found.matches(r#""code":""#).count(), 100, "{found}");
        let roots = read.get("expansion").expect("there").items_at("contains");
        let roots: Vec<_> = roots.iter().filter_map(|it| it.str_at("code")).collect();
        let expected = if is_upside_down { ["c80", "c40", "c0"] } else { ["c0", "c40", "c80"] };
        assert_eq!(roots, expected);
    }
}
