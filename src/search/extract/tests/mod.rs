use std::fmt::Write as _;

use super::*;
use crate::fhir::json::parse;
use crate::fhirpath::Decimal;
use crate::search::values::date::DateRange;
use crate::search::values::number::NumberRange;
use crate::search::values::quantity::UCUM;
use crate::search::values::token::{Case, Code};

mod rows;
mod whole;

/// Grams and what is made of them.
#[derive(Debug)]
struct Masses;

impl Units for Masses {
    fn to_base(&self, value: Decimal, code: &str) -> Option<(Decimal, Box<str>)> {
        let factor = if code == "mg" { "0.001" } else { "1" };
        let is_mass = matches!(code, "g" | "mg");
        is_mass.then(|| Some((value.times(Decimal::parse(factor)?)?, "g".into())))?
    }
}

fn extractor() -> Extractor {
    let spec = Spec::r4().expect("the embedded pack");
    let codes = Codes::r4().expect("the embedded pack");
    let base = "http://example.org/fhir".into();
    let settings = Settings { base, units: Box::new(Masses), zone: Zone::UTC };
    Extractor::new(spec, codes, settings).expect("all parameters of R4 compile")
}

fn number(range: NumberRange) -> String {
    let end = |end: Option<Decimal>| end.map_or("..".to_owned(), |value| value.to_string());
    if range.low == range.high { end(range.low) } else { end(range.low) + "~" + &end(range.high) }
}

fn date(range: DateRange) -> String {
    let end = |end: Option<crate::fhir::Instant>| {
        let text = end.map_or("..".to_owned(), |it| it.to_string());
        text.trim_end_matches("T00:00:00.000Z").to_owned()
    };
    format!("{}~{}", end(range.low), end(range.high))
}

/// A row as a short text: what to compare with, `^` behind a code whose case does not count.
fn show(value: &IndexValue<'_>) -> String {
    let code = |system: Option<&str>, code: &Code<'_>| {
        let mark = if code.case == Case::Insensitive { "^" } else { "" };
        format!("{}|{}{mark}", system.unwrap_or_default(), code.text)
    };
    match value {
        IndexValue::Composite(parts) => parts.iter().map(show).collect::<Vec<_>>().join(" $ "),
        IndexValue::Date(range) => date(*range),
        IndexValue::Number(range) => number(*range),
        IndexValue::OfType { system, code: of, value } => {
            format!("of-type {}|{value}", code(*system, of))
        }
        IndexValue::Position { latitude, longitude } => format!("{latitude},{longitude}"),
        IndexValue::Quantity(quantity) => {
            let mut out = number(quantity.range);
            let (system, code) = (quantity.system.unwrap_or_default(), quantity.code);
            let _ = write!(out, "|{system}|{}", code.unwrap_or_default());
            if let Some(unit) = quantity.unit {
                let _ = write!(out, " ({unit})");
            }
            if let Some(base) = &quantity.base {
                let _ = write!(out, " = {} {}", number(base.range), base.unit);
            }
            out
        }
        IndexValue::Reference(reference) => match reference {
            ReferenceValue::Canonical(it) => {
                format!("canonical {} {:?} {:?}", it.url, it.version, it.fragment)
            }
            ReferenceValue::Contained(id) => format!("#{id}"),
            ReferenceValue::Identifier { system, value } => {
                format!("identifier {}|{value}", system.unwrap_or_default())
            }
            ReferenceValue::Local { resource_type, id, version } => {
                let version = version.map_or(String::new(), |it| format!("/{}", it.0));
                format!("{resource_type}/{}{version}", id.as_str())
            }
            ReferenceValue::Url(url) => format!("url {url}"),
        },
        IndexValue::String { folded, exact } => match exact {
            Some(exact) => format!("{folded} ({exact})"),
            None => format!("{folded} (word)"),
        },
        IndexValue::Text(text) => format!("text {text}"),
        IndexValue::Token { system, code: of } => code(*system, of),
        IndexValue::Uri(it) => format!("{} {:?}", it.url, it.version),
    }
}

/// Checks the rows of parameters, in their order.
fn check(json: &str, table: &[(&str, &[&str])]) {
    let extractor = extractor();
    let value = parse(json.as_bytes()).unwrap_or_else(|fault| panic!("{fault}: {json}"));
    let of = value.str_at("resourceType").and_then(|name| name.parse().ok()).expect("a type");
    let found = extractor.extract(of, &value);
    assert_eq!(found.skipped, [], "{json}");
    for (code, expected) in table {
        let place = extractor.place(of, code).unwrap_or_else(|| panic!("{of} has no {code}"));
        let rows: Vec<String> = found.of(place).iter().map(|row| show(&row.value)).collect();
        assert_eq!(rows, *expected, "{of} {code}");
        let is_present = found.present().any(|present| present == place);
        assert_eq!(is_present, !expected.is_empty(), "{of} {code}:missing");
    }
}
