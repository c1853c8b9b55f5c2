//! Composites beside FHIR's own: each combination of values is one row of `str`, which has all of them.
//!
//! FHIR's own composites begin with a token or a reference and have few forms, for each of which there are
//! rows that an index serves best. What clients define has any parts in any order, so a row has:
//!
//! | column | has |
//! |---|---|
//! | `v` | the text of the first part that is found by one, then how the lower end of the first date or number sorts: an index leads to few rows |
//! | `whole` | the parts as a JSON array of objects, in the order of the composite |
//!
//! | a part that is a | has |
//! |---|---|
//! | date, number | `l`, `h`: the ends; of a date in microseconds |
//! | quantity | `l`, `h`, `s`, `c`, `n`: system, code and name of the unit; `b`, `bl`, `bh`: the base unit and the ends in it |
//! | reference | `r`: type and id, and `v`: a version; or as a uri |
//! | string | `t`: the folded text |
//! | token | `c`: the code behind the mark of its case, `s`: its system |
//! | uri | `u`, and `v`: a version |
//!
//! Values of one row are of one element (rest 4.127), so whoever asks compares them and nothing else.

use std::borrow::Cow;

use crate::fhir::json::{Object, Value};
use crate::fhir::{Instant, LogicalId, ResourceType};
use crate::fhirpath::Decimal;
use crate::search::extract::{IndexValue, QuantityValue, ReferenceValue};
use crate::search::values::number::NumberRange;
use crate::search::values::token::{Case, Code};
use crate::store::hash::Hasher;
use crate::store::rows::Edge;

use super::rows::{MAX_STRING, StringRow, ends};

/// What stands between a text and the lower end behind it.
pub(in crate::store) const BEFORE_END: char = '\u{1}';

/// What is more than whatever may stand there.
pub(in crate::store) const BEHIND_ENDS: char = '\u{2}';

/// The row of one combination; `None` where a part has what no composite can be asked for: a contained
/// resource, or the identifier of what is referred to.
pub(super) fn row(hasher: &Hasher, h: i64, parts: &[IndexValue<'_>]) -> Option<StringRow> {
    let all: Option<Vec<_>> = parts.iter().map(|part| self::part(hasher, part)).collect();
    let text = parts.iter().find_map(|part| found_by(hasher, part)).unwrap_or_default();
    let value = match parts.iter().find_map(lower_end) {
        Some(end) => format!("{text}{BEFORE_END}{end}"),
        None => text.into_owned(),
    };
    Some(StringRow { h, value, exact: None, whole: Some(Value::Array(all?).to_text()) })
}

/// A code as rows have it: its case is a part of it.
pub(in crate::store) fn code_text(hasher: &Hasher, code: &Code<'_>) -> String {
    let mark = if code.case == Case::Sensitive { '=' } else { '~' };
    format!("{mark}{}", text(hasher, &code.text))
}

/// A resource that is referred to, as rows have it.
pub(in crate::store) fn target_text(resource_type: ResourceType, id: &LogicalId) -> String {
    format!("{resource_type}/{}", id.as_str())
}

/// A text that is compared as a whole, as rows have it: one that is very long as its hash.
pub(in crate::store) fn text<'t>(hasher: &Hasher, text: &'t str) -> Cow<'t, str> {
    if text.len() < MAX_STRING {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("#{:016x}", hasher.url(0, text)))
}

/// A moment as rows have it: those that are open are before and after all others.
pub(in crate::store) fn moment(edge: Edge) -> i64 {
    match edge {
        Edge::Past => i64::MIN,
        Edge::At(instant) => instant.as_micros(),
        Edge::Future => i64::MAX,
    }
}

/// A moment as a text that sorts as it does.
pub(in crate::store) fn sorted_moment(edge: Edge) -> String {
    format!("{:016x}", moment(edge).cast_unsigned() ^ (1 << 63))
}

/// A number as a text that sorts as it does; what differs in more digits than a float has may be the same.
pub(in crate::store) fn sorted_number(number: Option<Decimal>) -> String {
    let float = number.and_then(|number| number.to_string().parse().ok());
    let bits = float.unwrap_or(f64::NEG_INFINITY).to_bits();
    let is_negative = bits >> 63 == 1;
    format!("{:016x}", if is_negative { !bits } else { bits ^ (1 << 63) })
}

/// The lower end of a part that has one.
fn lower_end(value: &IndexValue<'_>) -> Option<String> {
    match value {
        IndexValue::Date(range) => Some(sorted_moment(range.low.map_or(Edge::Past, Edge::At))),
        IndexValue::Number(range) => Some(sorted_number(range.low)),
        _ => None,
    }
}

fn part(hasher: &Hasher, value: &IndexValue<'_>) -> Option<Value<'static>> {
    let kept = |value: &str| text(hasher, value).into_owned();
    let object = match value {
        IndexValue::Date(range) => {
            let at = |end: Option<Instant>, open| moment(end.map_or(open, Edge::At)).to_string();
            let (low, high) = (at(range.low, Edge::Past), at(range.high, Edge::Future));
            Object::new().with("l", low).with("h", high)
        }
        IndexValue::Number(range) => between(Object::new(), ("l", "h"), *range),
        IndexValue::Quantity(quantity) => measured(quantity, kept),
        IndexValue::Reference(reference) => match reference {
            ReferenceValue::Canonical(canonical) => Object::new()
                .with("u", kept(canonical.url))
                .with_some("v", canonical.version.map(kept)),
            ReferenceValue::Contained(_) | ReferenceValue::Identifier { .. } => return None,
            ReferenceValue::Local { resource_type, id, version } => Object::new()
                .with("r", target_text(*resource_type, id))
                .with_some("v", version.map(|version| version.to_string())),
            ReferenceValue::Url(url) => Object::new().with("u", kept(url)),
        },
        IndexValue::String { folded, .. } => Object::new().with("t", cut(folded).to_owned()),
        IndexValue::Token { system, code } => {
            Object::new().with("c", code_text(hasher, code)).with_some("s", system.map(kept))
        }
        IndexValue::Uri(canonical) => {
            Object::new().with("u", kept(canonical.url)).with_some("v", canonical.version.map(kept))
        }
        IndexValue::Composite(_)
        | IndexValue::OfType { .. }
        | IndexValue::Position { .. }
        | IndexValue::Text(_) => return None,
    };
    Some(Value::Object(object))
}

fn measured(quantity: &QuantityValue<'_>, kept: impl Fn(&str) -> String) -> Object<'static> {
    let given = between(Object::new(), ("l", "h"), quantity.range)
        .with_some("s", quantity.system.map(&kept))
        .with_some("c", quantity.code.map(&kept))
        .with_some("n", quantity.unit.map(&kept));
    match &quantity.base {
        Some(base) => between(given, ("bl", "bh"), base.range).with("b", base.unit.to_string()),
        None => given,
    }
}

fn between(
    object: Object<'static>,
    (from, to): (&'static str, &'static str),
    range: NumberRange,
) -> Object<'static> {
    let (low, high) = ends(range);
    object.with(from, low).with(to, high)
}

/// The text that a part is found by.
fn found_by<'v>(hasher: &Hasher, value: &'v IndexValue<'_>) -> Option<Cow<'v, str>> {
    Some(match value {
        IndexValue::Reference(ReferenceValue::Local { resource_type, id, .. }) => {
            Cow::Owned(target_text(*resource_type, id))
        }
        IndexValue::Reference(ReferenceValue::Canonical(canonical))
        | IndexValue::Uri(canonical) => text(hasher, canonical.url),
        IndexValue::Reference(ReferenceValue::Url(url)) => text(hasher, url),
        IndexValue::String { folded, .. } => Cow::Borrowed(cut(folded)),
        IndexValue::Token { code, .. } => Cow::Owned(code_text(hasher, code)),
        _ => return None,
    })
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_STRING)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::Canonical;
    use crate::search::values::date::DateRange;
    use crate::search::values::quantity::InBase;

    fn token(code: &'static str, case: Case) -> IndexValue<'static> {
        IndexValue::Token { system: Some("urn:s"), code: Code { text: code.into(), case } }
    }

    fn string(folded: &str) -> IndexValue<'_> {
        IndexValue::String { folded: folded.into(), exact: None }
    }

    #[test]
    fn a_row_has_all_parts_and_begins_with_the_first_text() {
        let hasher = Hasher::with_key([7; 16]);
        let five = NumberRange::exact(Decimal::parse("5.0").expect("a number"));
        let day = DateRange { low: Some(Instant::from_micros(1_000_001)), high: None };
        let quantity = QuantityValue {
            range: five,
            system: Some("urn:u"),
            code: Some("mg"),
            unit: None,
            base: Some(InBase { range: NumberRange { low: None, ..five }, unit: "g".into() }),
        };
        let local = ReferenceValue::Local {
            resource_type: ResourceType::PATIENT,
            id: "p1".parse().expect("an id"),
            version: None,
        };
        let canonical = IndexValue::Uri(Canonical::parse("http://x|1"));
        for (parts, value, whole) in [
            (
                vec![IndexValue::Date(day), token("A", Case::Sensitive)],
                "=A\u{1}80000000000f4241",
                r#"[{"l":"1000001","h":"9223372036854775807"},{"c":"=A","s":"urn:s"}]"#,
            ),
            (
                vec![IndexValue::Number(five), IndexValue::Quantity(Box::new(quantity))],
                "\u{1}c014000000000000",
                r#"[{"l":"5.0","h":"5.0"},{"l":"5.0","h":"5.0","s":"urn:u","c":"mg","bl":"-Infinity","bh":"5.0","b":"g"}]"#,
            ),
            (
                vec![IndexValue::Reference(local), token("a", Case::Insensitive)],
                "Patient/p1",
                r#"[{"r":"Patient/p1"},{"c":"~a","s":"urn:s"}]"#,
            ),
            (
                vec![string("anna"), canonical, token("a", Case::Insensitive)],
                "anna",
                r#"[{"t":"anna"},{"u":"http://x","v":"1"},{"c":"~a","s":"urn:s"}]"#,
            ),
        ] {
            let found = row(&hasher, 1, &parts).expect("a row");
            let whole = Some(whole.to_owned());
            assert_eq!((found.value.as_str(), found.whole), (value, whole), "{parts:?}");
        }
    }

    #[test]
    fn lower_ends_sort_as_they_are() {
        let moments = [i64::MIN + 1, -62_135_596_800_000_000, -1, 0, 1, i64::MAX];
        let moments = moments.map(|it| sorted_moment(Edge::At(Instant::from_micros(it))));
        assert!(moments.is_sorted() && sorted_moment(Edge::Past) < moments[0], "{moments:?}");
        let numbers = ["-1e30", "-5", "-0.1", "0", "1e-40", "0.1", "5", "5.01", "100", "1e30"];
        let numbers = numbers.map(|it| sorted_number(Decimal::parse(it)));
        assert!(numbers.is_sorted() && sorted_number(None) < numbers[0], "{numbers:?}");
        assert_eq!(sorted_number(Decimal::parse("-0.0")), sorted_number(Decimal::parse("0")));
    }

    #[test]
    fn a_row_is_small_however_long_its_texts_are() {
        let hasher = Hasher::with_key([7; 16]);
        let long = "é".repeat(100_000);
        let code = |text: &str| code_text(&hasher, &Code::new(text, Case::Sensitive));
        assert_eq!(code(&long).len(), 18);
        assert_ne!(code(&long), code(&"é".repeat(100_001)));
        let found = row(&hasher, 1, &[string(&long), string("b")]).expect("a row");
        assert_eq!(found.value.len(), MAX_STRING);
        assert!(found.whole.is_some_and(|whole| whole.len() < MAX_STRING + 50));
    }

    #[test]
    fn what_no_composite_can_be_asked_for_has_no_row() {
        let hasher = Hasher::with_key([7; 16]);
        for odd in [
            ReferenceValue::Contained("a"),
            ReferenceValue::Identifier { system: None, value: "1" },
        ] {
            assert_eq!(row(&hasher, 1, &[string("a"), IndexValue::Reference(odd)]), None);
        }
    }
}
