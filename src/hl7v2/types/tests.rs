//! The data types: tables of what a value becomes, and what holds for any text.

use proptest::prelude::*;

use crate::hl7v2::map::site::Site;
use crate::hl7v2::tables::Tables;

use super::*;

fn with<T>(work: impl FnOnce(&Context<'_>) -> T) -> T {
    let tables = Tables::standard().unwrap();
    let site = Site::default();
    work(&Context::new(&site, &tables, "LAB.STM", "seed"))
}

fn shown(value: Option<Json>) -> String {
    value.map_or_else(String::new, |value| value.to_text())
}

/// Covers: v2 B23.
#[test]
fn numbers_keep_their_digits_and_what_is_none_is_none() {
    for (text, expected) in [
        ("1.0", Some("1.0")),
        ("007", Some("7")),
        ("-0.50", Some("-0.50")),
        (".5", Some("0.5")),
        ("5.", Some("5")),
        ("+3", Some("3")),
        ("1e3", Some("1e3")),
        ("1,5", None),
        ("abc", None),
        ("", None),
        (".", None),
        ("1e999", None),
    ] {
        assert_eq!(number::decimal(text, false).as_deref(), expected, "{text:?}");
    }
    assert_eq!(number::decimal("1,5", true).as_deref(), Some("1.5"));
}

/// Covers: v2 B23, B24, B26.
#[test]
fn an_observation_has_a_value_of_the_type_that_is_said() {
    for (kind, text, unit, expected) in [
        (
            "NM",
            "1.0",
            "mg/dl",
            r#"Quantity {"value":1.0,"unit":"mg/dl","system":"http://unitsofmeasure.org","code":"mg/dL"}"#,
        ),
        ("NM", "<0.5", "", r#"Quantity {"value":0.5,"comparator":"<"}"#),
        ("NM", "abc", "", r#"string "abc""#),
        ("NM", "1", "widgets", r#"Quantity {"value":1,"unit":"widgets"}"#),
        (
            "NM",
            "5",
            "K/uL",
            r#"Quantity {"value":5,"unit":"K/uL","system":"http://unitsofmeasure.org","code":"10*3/uL"}"#,
        ),
        ("SN", ">^100", "", r#"Quantity {"value":100,"comparator":">"}"#),
        ("SN", "^1^:^128", "", r#"Ratio {"numerator":{"value":1},"denominator":{"value":128}}"#),
        ("SN", "^10^-^20", "", r#"Range {"low":{"value":10},"high":{"value":20}}"#),
        ("SN", "^1^+", "", r#"string "1 +""#),
        ("SN", "<>^5", "", r#"string "<> 5""#),
        (
            "CWE",
            "A^Alpha^LN",
            "",
            r#"CodeableConcept {"coding":[{"system":"http://loinc.org","code":"A","display":"Alpha"}],"text":"Alpha"}"#,
        ),
        ("ST", "a text", "", r#"string "a text""#),
        ("ST", "Smith & Jones", "", r#"string "Smith & Jones""#),
        ("ST", "1^^2", "", r#"string "1^^2""#),
        ("ST", " a ", "", r#"string "a""#),
        ("TX", "  a^ b &", "", r#"string "  a^ b &""#),
        ("FT", "  ", "", ""),
        ("", "a & b^c", "", r#"string "a & b^c""#),
        ("NM", "5 or 6 & 7", "", r#"string "5 or 6 & 7""#),
        ("TM", "1430", "", r#"time "14:30:00""#),
        ("DT", "202607", "", r#"dateTime "2026-07""#),
        ("XPN", "Doe^Ann", "", r#"string "Doe Ann""#),
        ("NR", "1^5", "", r#"Range {"low":{"value":1},"high":{"value":5}}"#),
    ] {
        let found = with(|context| {
            let (rep, unit) = (Rep::read(text), Rep::read(unit));
            let unit = Some(&unit).filter(|unit| unit.is_valued());
            let found = obx::values(&[&rep], kind, unit, context);
            let lines = found.iter().map(|(kind, value)| format!("{kind} {}", value.to_text()));
            lines.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found, expected, "{kind} {text:?}");
    }
}

/// Covers: v2 S35.
#[test]
fn lines_of_a_text_are_those_that_were_sent() {
    for (lines, expected) in [
        (&["a", "", "b"][..], "a\n\nb"),
        (&["", "  a", ""], "\n  a\n"),
        (&["a & b", "c^d"], "a & b\nc^d"),
        (&["", " "], ""),
    ] {
        let reps: Vec<_> = lines.iter().map(|line| Rep::read(line)).collect();
        let reps: Vec<_> = reps.iter().collect();
        let found = with(|context| obx::values(&reps, "TX", None, context));
        let found = found.first().map(|(_, value)| value.as_str().unwrap().to_owned());
        assert_eq!(found.unwrap_or_default(), expected, "{lines:?}");
        let data = attach::plain(&reps).map(|plain| plain.str_at("data").unwrap().to_owned());
        let data = data.map(|data| crate::fhir::primitive::base64_content(&data).unwrap());
        assert_eq!(data.unwrap_or_default(), expected.as_bytes(), "{lines:?}");
    }
}

/// Covers: v2 B25.
#[test]
fn a_reference_range_has_its_ends_and_its_text() {
    for (text, low, high) in [
        ("3.5-5.0", Some("3.5"), Some("5.0")),
        ("3.5 - 5.0", Some("3.5"), Some("5.0")),
        ("<10", None, Some("10")),
        ("<=10", None, Some("10")),
        (">60", Some("60"), None),
        ("5-", Some("5"), None),
        ("-2-4", Some("-2"), Some("4")),
        ("-5--2", Some("-5"), Some("-2")),
        ("negative", None, None),
        ("< 1:10", None, None),
    ] {
        let range =
            with(|context| number::ref_range(&Rep::read(text), &Args::default(), context).unwrap());
        let end = |name: &str| {
            range.get(name).and_then(|end| end.get("value")?.as_number().map(str::to_owned))
        };
        assert_eq!((end("low").as_deref(), end("high").as_deref()), (low, high), "{text:?}");
        assert_eq!(range.str_at("text"), Some(text));
    }
}

/// Covers: v2 S1.
#[test]
fn an_identifier_always_has_a_system() {
    for (text, system) in [
        ("1^^^X&1.2.3&ISO^MR", "urn:oid:1.2.3"),
        (
            "1^^^&550E8400-E29B-41D4-A716-446655440000&UUID",
            "urn:uuid:550e8400-e29b-41d4-a716-446655440000",
        ),
        ("1^^^&http://a.test/ids&URI", "http://a.test/ids"),
        ("1^^^STM", "urn:kiln/v2/aa/LAB.STM/STM"),
        ("1^^^&a.test&DNS", "urn:kiln/v2/aa/LAB.STM/a.test"),
        ("1", "urn:kiln/v2/aa/LAB.STM"),
    ] {
        let found = with(|context| id::cx(&Rep::read(text), &Args::default(), context).unwrap());
        assert_eq!(found.str_at("system"), Some(system), "{text:?}");
    }
    assert!(with(|context| id::cx(&Rep::read("^^^STM"), &Args::default(), context)).is_none());
}

#[test]
fn documents_are_what_they_say() {
    let of = |text: &str| {
        with(|context| {
            (
                shown(attach::ed(&Rep::read(text), &Args::default(), context)),
                context.notes.borrow().len(),
            )
        })
    };
    let (pdf, notes) = of("^AP^PDF^Base64^JVBERi0xLjQ=");
    assert!(pdf.contains("application/pdf") && pdf.contains("JVBERi0xLjQ="), "{pdf}");
    assert_eq!(notes, 0);
    for broken in
        ["^AP^PDF^Base64^JVBERi0xLj", "^AP^PDF^Base64^!!!", "^AP^PDF^Base64^QUJD", "^AP^PDF^Hex^0"]
    {
        assert_eq!(of(broken), (String::new(), 1), "{broken:?}");
    }
}

#[test]
fn names_addresses_and_telephones_have_their_parts() {
    let name = with(|context| {
        name::xpn(&Rep::read("Doe&van^Ann^B^Jr^Dr^MD^L"), &Args::default(), context)
    });
    assert!(
        name[0]
            .to_text()
            .contains(r#""family":"Doe","given":["Ann","B"],"prefix":["Dr"],"suffix":["Jr","MD"]"#)
    );
    let address = with(|context| {
        shown(address::xad(
            &Rep::read("1 Main St^Flat 2^Town^MI^48103^USA^H"),
            &Args::default(),
            context,
        ))
    });
    assert_eq!(
        address,
        r#"{"use":"home","line":["1 Main St","Flat 2"],"city":"Town","state":"MI","postalCode":"48103","country":"USA"}"#
    );
    for (text, expected) in [
        ("(734)555-1212", r#"{"system":"phone","value":"(734)555-1212"}"#),
        ("^PRN^PH^^1^734^5551212", r#""value":"+1 734 5551212","use":"home""#),
        ("^NET^Internet^a@b.test", r#"{"system":"email","value":"a@b.test"}"#),
        ("^PRN^CP^^^734^5551212", r#""use":"mobile""#),
        ("^WPN^FX^^^734^5551212", r#""system":"fax""#),
    ] {
        let found =
            with(|context| shown(address::xtn(&Rep::read(text), &Args::default(), context)));
        assert!(found.contains(expected), "{text:?} {found}");
    }
}

#[test]
fn patterns_of_repetition_are_timings() {
    for (text, expected) in [
        ("BID", r#""frequency":2,"period":1,"periodUnit":"d""#),
        ("Q6H", r#""frequency":1,"period":6,"periodUnit":"h""#),
        ("QJ135", r#""dayOfWeek":["mon","wed","fri"]"#),
        ("QHS", r#""when":["HS"]"#),
    ] {
        let found = with(|context| shown(timing::rpt(&Rep::read(text), &Args::default(), context)));
        assert!(found.contains(expected), "{text:?} {found}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_function_panic(text in "[\\PC^&~|\\\\\"]{0,60}") {
        with(|context| {
            let (rep, args) = (Rep::read(&text), Args::default());
            for func in crate::hl7v2::map::functions() {
                func(&rep, &args, context);
            }
            for kind in ["NM", "SN", "CWE", "ED", "RP", "DR", "NR", "NA", "TM", "TS", "XCN", "", "ZZ"] {
                obx::values(&[&rep], kind, Some(&rep), context);
            }
        });
    }

    #[test]
    fn a_decimal_is_read_as_it_is_written(whole in 0u32..1_000_000, fraction in "[0-9]{1,8}") {
        let text = format!("{whole}.{fraction}");
        prop_assert_eq!(number::decimal(&text, false), Some(text));
    }
}
