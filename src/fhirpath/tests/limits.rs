//! What an expression may cost.

use super::*;

#[test]
fn no_expression_outlives_its_budget() {
    let document = parse(PATIENT.as_bytes()).expect("JSON");
    let environment = Environment::new(&document, &SPEC.schema).with_budget(10_000);
    for text in [
        "descendants().select(%resource.descendants().select(%resource.descendants()))",
        "(descendants() | descendants()).where(%resource.descendants() ~ %resource.descendants())",
        "descendants().where(descendants().where(%resource = %resource) = 1 or %resource ~ %resource).where(%resource = %resource).where(%resource ~ %resource)",
        "repeat(%resource | descendants()).repeat(%resource.descendants().children())",
    ] {
        let expression = Expression::parse(text).expect(text);
        let fault = expression.evaluate(&environment).expect_err(text);
        assert_eq!(fault.cause, Cause::Budget, "{text}");
    }
    for doubling in
        [".select($this & $this)", ".select($this.combine($this))", ".select($this + $this)"]
    {
        let text = format!("'0123456789'{}", doubling.repeat(100));
        let expression = Expression::parse(&text).expect(&text);
        let environment = Environment::new(&document, &SPEC.schema);
        let fault = expression.evaluate(&environment).expect_err(&text);
        assert_eq!(fault.cause, Cause::Budget, "{doubling}");
    }
}

#[test]
fn texts_are_paid_for_by_their_length() {
    let long = "a ".repeat(20_000);
    let text = format!(
        r#"{{"resourceType":"Patient","text":{{"status":"generated","div":"{long}"}},
            "name":[{{"family":"{long}","text":"{long}"}}],"gender":"a"}}"#
    );
    let document = parse(text.as_bytes()).expect("JSON");
    // The two texts are 40,000 bytes each: one look costs 2,500 steps.
    let evaluate = |text: &str, budget: u64| {
        let environment = Environment::new(&document, &SPEC.schema).with_budget(budget);
        let expression = Expression::parse(text).expect(text);
        expression.evaluate(&environment).map_err(|fault| fault.cause).map(|items| items.len())
    };
    for text in [
        "text.div.contains('b')",
        "'b'.contains(%resource.text.div)",
        "text.div.indexOf('b')",
        "text.div.lastIndexOf('b')",
        "text.div.startsWith('b')",
        "text.div.lower()",
        "text.div.upper()",
        "text.div.trim()",
        "text.div.length()",
        "text.div.substring(1, 2)",
        "text.div.split('b')",
        "text.div.replace('b', 'c')",
        "text.div.matches('b')",
        "text.div.replaceMatches('b', 'c')",
        "text.div.toInteger()",
        "text.div.convertsToBoolean()",
        "text.div.toQuantity()",
        "text.div.toDate()",
        "text.div = name.family",
        "text.div != name.family",
        "text.div ~ name.family",
        "text.div < name.family",
        "name = %resource.name",
        "name ~ %resource.name",
        "(name.family | name.text).isDistinct()",
        "(name.family.combine(name.text)).sort()",
        "name.family in name.text",
    ] {
        assert_eq!(evaluate(text, 2_000), Err(Cause::Budget), "{text}");
        assert!(evaluate(text, 40_000).is_ok(), "{text}");
    }
    // A pattern that becomes a large program costs more, as do searches that go far for little.
    assert_eq!(evaluate("text.div.matches('(?:[a-z ]{1,50}){1,50}x')", 40_000), Err(Cause::Budget));
    for (pattern, expected) in [("a", Ok(1)), (".*[^a-z ]|[a-z ]", Err(Cause::Budget))] {
        let text = format!("name.family.substring(0, 20000).replaceMatches('{pattern}', 'b')");
        assert_eq!(evaluate(&text, 500_000), expected, "{pattern}");
    }
    // Texts of different length are told apart at once.
    assert_eq!(evaluate("text.div = gender", 100), Ok(1));
}

#[test]
fn many_texts_are_told_apart_in_linear_time() {
    let given: Vec<String> = (0..10_000).map(|at| format!("\"{}\"", at % 5_000)).collect();
    let text =
        format!(r#"{{"resourceType":"Patient","name":[{{"given":[{}]}}]}}"#, given.join(","));
    let document = parse(text.as_bytes()).expect("JSON");
    let environment = Environment::new(&document, &SPEC.schema).with_budget(100_000);
    for (text, expected) in [
        ("name.given.distinct().count()", "5000"),
        ("name.given.isDistinct()", "false"),
        ("name.given.distinct().take(3)", "0 1 2"),
        ("(name.given | name.given).count()", "5000"),
    ] {
        let expression = Expression::parse(text).expect(text);
        let found = expression.evaluate(&environment).expect(text);
        let texts = found.iter().filter_map(|item| item.system(&SPEC.schema));
        let texts: Vec<String> = texts.map(|value| value.to_text()).collect();
        assert_eq!(texts.join(" "), expected, "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn nothing_makes_the_parser_or_evaluator_panic(text in r"([a-z.$%@`'()\[\]{}|=!~<>+*/&, 0-9T:Zé\\-]|is |as |Patient|where\(|name|\.){0,40}") {
        let document = parse(PATIENT.as_bytes()).expect("JSON");
        let environment = Environment::new(&document, &SPEC.schema).with_budget(10_000);
        if let Ok(expression) = Expression::parse(&text) {
            drop(expression.evaluate(&environment));
        }
    }
}
