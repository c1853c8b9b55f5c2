//! What an expression may cost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::clock::Stopwatch;

/// Another millisecond has gone whenever it is read.
#[derive(Debug, Default)]
struct Ticking(AtomicU64);

impl Stopwatch for Ticking {
    fn reading(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Covers: security H9.
#[test]
fn an_expression_ends_when_its_time_is_over() {
    let document = parse(PATIENT.as_bytes()).expect("JSON");
    let costly = format!("descendants(){}", ".select(%resource.descendants())".repeat(4));
    let late = |time| format!("the expression takes longer than {time} ms");
    let spent = || "the expression takes too many steps".to_owned();
    // Once in 4,096 steps it is looked at the stopwatch, and what is cheap does not look at all.
    for (text, steps, time, expected, looks) in [
        (&*costly, 5_000_000, 3, Err((Cause::Time, late(3))), 4..=4),
        (&*costly, 5_000_000, 0, Err((Cause::Time, late(0))), 1..=1),
        (&*costly, 40_000, 1_000, Err((Cause::Budget, spent())), 1..=9),
        ("name.given.count()", 5_000_000, 0, Ok(1), 0..=0),
    ] {
        let stopwatch = Ticking::default();
        let environment = Environment::new(&document, &SPEC.schema)
            .with_budget(steps)
            .with_time(Duration::from_millis(time))
            .with_stopwatch(&stopwatch);
        let expression = Expression::parse(text).expect(text);
        let found = expression.evaluate(&environment).map(|items| items.len());
        let found = found.map_err(|fault| (fault.cause, fault.reason));
        assert_eq!(found, expected, "{text} {steps} {time}");
        assert!(looks.contains(&stopwatch.0.load(Ordering::Relaxed)), "{text} {steps} {time}");
    }
}

/// Covers: security H9.
#[test]
fn a_pattern_is_neither_long_nor_large_and_takes_linear_time() {
    let long = format!("'a'.matches('{}')", "a".repeat(4_097));
    // What is no constant has the same limit.
    let joined = format!("'a'.matches('{0}' & '{0}')", "a".repeat(2_049));
    let replaced = format!("'a'.replaceMatches('{}', 'b')", "a".repeat(4_097));
    for (text, expected) in [
        (&*long, "the regular expression is longer than 4096 bytes"),
        (&*joined, "the regular expression is longer than 4096 bytes"),
        (&*replaced, "the regular expression is longer than 4096 bytes"),
        (
            "'a'.matches('(?:a{1000}){1000}')",
            "the regular expression is malformed, too large, or looks around",
        ),
    ] {
        let fault = shown(PATIENT, text).expect_err("refused");
        assert_eq!((fault.cause, &*fault.reason), (Cause::Operand, expected));
    }
    let fits = format!("'{0}'.matches('{0}')", "a".repeat(4_096));
    assert_eq!(shown(PATIENT, &fits).expect("it fits"), ["true"]);
    // Twenty letters more would double the time of a matcher that goes back for each.
    let backtracking = format!("'{}!'.matches('(a+)+$')", "a".repeat(50_000));
    assert_eq!(shown(PATIENT, &backtracking).expect("in linear time"), ["false"]);
}

/// Covers: security H9.
#[test]
fn repetition_and_depth_have_their_ends() {
    let nested = (0..30)
        .fold("[]".to_owned(), |inner, at| format!(r#"[{{"url":"u{at}","extension":{inner}}}]"#));
    let document = format!(r#"{{"resourceType":"Patient","extension":{nested}}}"#);
    for (text, expected) in [
        ("repeat(extension).count()", Ok("30")),
        ("descendants().count()", Ok("60")),
        ("descendants().repeat($this).count()", Ok("60")),
        // What gives something new each time has no end of its own.
        ("1.repeat($this + 1).count()", Err(Cause::Budget)),
        ("'a'.repeat($this & 'a').count()", Err(Cause::Budget)),
    ] {
        let parsed = parse(document.as_bytes()).expect("JSON");
        let environment = Environment::new(&parsed, &SPEC.schema)
            .with_budget(1_000_000)
            .with_time(Duration::from_mins(10));
        let expression = Expression::parse(text).expect(text);
        let found = expression.evaluate(&environment).map_err(|fault| fault.cause);
        let found = found.map(|items| {
            let values = items.iter().filter_map(|item| item.system(&SPEC.schema));
            values.map(|value| value.to_text()).collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found, expected.map(str::to_owned), "{text}");
    }
    for (text, expected) in [
        (format!("{}1{}", "(".repeat(200), ")".repeat(200)), "nested too deeply"),
        (format!("name{}", ".descendants()".repeat(200)), "too deep"),
    ] {
        let fault = Expression::parse(&text).expect_err(expected);
        assert!(fault.reason.ends_with(expected), "{fault}");
    }
}

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
        let time = Duration::from_mins(10);
        let environment = Environment::new(&document, &SPEC.schema).with_time(time);
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
