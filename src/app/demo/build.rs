//! The data types that every demo resource is made of.

use std::borrow::Cow;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, date};

use crate::fhir::json::{Object, Value};

/// A resource or a part of one, borrowing from nothing but constants.
pub(super) type Doc = Object<'static>;
/// Any value of such a document.
pub(super) type Val = Value<'static>;

pub(super) const LOINC: &str = "http://loinc.org";
pub(super) const SNOMED: &str = "http://snomed.info/sct";
pub(super) const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
pub(super) const CVX: &str = "http://hl7.org/fhir/sid/cvx";
pub(super) const ICD10: &str = "http://hl7.org/fhir/sid/icd-10-cm";
pub(super) const UCUM: &str = "http://unitsofmeasure.org";

/// The day on which all demo data ends, so that the output never depends on the calendar.
pub(super) const TODAY: Date = date(2025, 6, 30);

/// A code with its system and display.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code(pub(super) &'static str, pub(super) &'static str, pub(super) &'static str);

pub(super) fn coding(Code(system, code, display): Code) -> Val {
    Doc::new().with("system", system).with("code", code).with("display", display).into()
}

/// A code whose display nobody needs.
pub(super) fn plain_coding(system: &'static str, code: &'static str) -> Val {
    Doc::new().with("system", system).with("code", code).into()
}

/// A CodeableConcept of one code, its display as the text.
pub(super) fn concept(code: Code) -> Val {
    Doc::new().with("coding", list(coding(code))).with("text", code.2).into()
}

/// A CodeableConcept of one code without display and text.
pub(super) fn plain_concept(system: &'static str, code: &'static str) -> Val {
    Doc::new().with("coding", list(plain_coding(system, code))).into()
}

/// An array of one item.
pub(super) fn list(item: impl Into<Val>) -> Vec<Val> {
    vec![item.into()]
}

pub(super) fn reference(target: impl Into<Val>) -> Val {
    Doc::new().with("reference", target).into()
}

/// A Reference with a display.
pub(super) fn labelled(target: impl Into<Val>, display: impl Into<Val>) -> Val {
    Doc::new().with("reference", target).with("display", display).into()
}

/// `scaled` divided by ten to the `places`, with exactly so many digits after the point.
pub(super) fn decimal(scaled: i64, places: u32) -> Val {
    let digits = if places == 0 {
        scaled.to_string()
    } else {
        let unit = 10_i64.pow(places);
        let sign = if scaled < 0 { "-" } else { "" };
        let (whole, rest) = (scaled.abs() / unit, scaled.abs() % unit);
        format!("{sign}{whole}.{rest:0width$}", width = places as usize)
    };
    Value::Number(Cow::Owned(digits))
}

pub(super) fn quantity(scaled: i64, places: u32, unit: &'static str) -> Val {
    Doc::new()
        .with("value", decimal(scaled, places))
        .with("unit", unit)
        .with("system", UCUM)
        .with("code", unit)
        .into()
}

/// Why there is no value.
pub(super) fn absent(code: &'static str) -> Val {
    plain_concept("http://terminology.hl7.org/CodeSystem/data-absent-reason", code)
}

/// The extension that says of an element without a value that nobody knows it.
pub(super) fn unknown() -> Val {
    let extension = Doc::new()
        .with("url", "http://hl7.org/fhir/StructureDefinition/data-absent-reason")
        .with("valueCode", "unknown");
    Doc::new().with("extension", list(extension)).into()
}

/// US dollars from cents.
pub(super) fn money(cents: i64) -> Val {
    Doc::new().with("value", decimal(cents, 2)).with("currency", "USD").into()
}

pub(super) fn period(start: DateTime, end: DateTime) -> Val {
    Doc::new().with("start", moment(start)).with("end", moment(end)).into()
}

/// A dateTime in the demo's one time zone.
pub(super) fn moment(at: DateTime) -> String {
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}-05:00",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// A date.
pub(super) fn day(at: Date) -> String {
    format!("{:04}-{:02}-{:02}", at.year(), at.month(), at.day())
}

/// `at` moved by `minutes`; saturates at the calendar's ends, which demo data never reaches.
pub(super) fn minutes_after(at: DateTime, minutes: i64) -> DateTime {
    at.saturating_add(minutes.minutes())
}

/// `at` moved by `days`.
pub(super) fn days_after(at: Date, days: i64) -> Date {
    at.saturating_add(days.days())
}

/// Days from `from` until `until`; negative when it lies before.
pub(super) fn days_between(from: Date, until: Date) -> i64 {
    from.until(until).map_or(0, |span| i64::from(span.get_days()))
}

/// An entry that PUTs `resource` at its own id.
pub(super) fn put_entry(full_url: String, resource: Doc) -> Val {
    let text = |name| resource.get(name).and_then(Value::as_str).unwrap_or_default();
    let url = format!("{}/{}", text("resourceType"), text("id"));
    Doc::new()
        .with("fullUrl", full_url)
        .with("resource", resource)
        .with("request", Doc::new().with("method", "PUT").with("url", url))
        .into()
}

/// A resource's first two properties.
pub(super) fn resource(resource_type: &'static str, id: impl Into<Val>) -> Doc {
    Doc::new().with("resourceType", resource_type).with("id", id)
}

/// A generated narrative of the resource's one-line `summary`.
pub(super) fn narrative(summary: &str) -> Val {
    let mut div = String::from("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>");
    for letter in summary.chars() {
        match letter {
            '&' => div.push_str("&amp;"),
            '<' => div.push_str("&lt;"),
            '>' => div.push_str("&gt;"),
            other => div.push(other),
        }
    }
    div.push_str("</p></div>");
    Doc::new().with("status", "generated").with("div", div).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_has_exactly_its_places() {
        for (scaled, places, expected) in
            [(1234, 2, "12.34"), (5, 1, "0.5"), (-5, 2, "-0.05"), (70, 0, "70"), (1200, 2, "12.00")]
        {
            assert_eq!(decimal(scaled, places).as_number(), Some(expected), "{scaled} {places}");
        }
    }

    #[test]
    fn a_narrative_escapes_markup() {
        let text = narrative("a < b & c");
        let div = text.str_at("div").unwrap();
        assert!(div.contains("<p>a &lt; b &amp; c</p>"), "{div}");
    }
}
