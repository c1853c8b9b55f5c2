//! Dates, numbers and quantities held against what is asked for, as the index compares them.
//!
//! A span begins inside and ends before its end; a range of numbers has both ends inside. What has no end on
//! a side goes on for ever there.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#prefix>

use crate::fhir::Instant;
use crate::search::extract::QuantityValue;
use crate::search::request::compare::AskedUnit;
use crate::search::request::prefix::Prefix;
use crate::search::values::date::DateRange;
use crate::search::values::number::{Asked, NumberRange};

use super::overlap;

/// Whether a span of time is what is asked for; what is asked about (`ap`) was widened before.
pub(super) fn is_date(prefix: Prefix, asked: DateRange, own: DateRange) -> bool {
    let ends = |range: DateRange| {
        let end = |end: Option<Instant>, open| end.map_or(open, Instant::as_micros);
        (end(range.low, i64::MIN), end(range.high, i64::MAX))
    };
    let ((from, to), (begin, end)) = (ends(asked), ends(own));
    let is_point = from == to;
    // A point at the end is no longer inside.
    let is_inside = if is_point {
        begin == from && end == to
    } else {
        begin >= from && begin < to && end <= to
    };
    let is_later = end > to || !is_point && begin >= to;
    match prefix {
        Prefix::Ap => overlap(asked, own),
        Prefix::Eb => end <= from && begin < from,
        Prefix::Eq => is_inside,
        Prefix::Ge => is_later || is_inside,
        Prefix::Gt => is_later,
        Prefix::Le => begin < from || is_inside,
        Prefix::Lt => begin < from,
        Prefix::Ne => !is_inside,
        Prefix::Sa if is_point => begin > to,
        Prefix::Sa => begin >= to,
    }
}

/// Whether a range of numbers is what is asked for: `eq`, `ne` and `ap` go by the digits of the question, the
/// others by its value.
pub(super) fn is_number(prefix: Prefix, asked: &Asked, own: NumberRange) -> bool {
    let Asked { value, low: from, high: to, about } = *asked;
    let (low, high) = (own.low, own.high);
    match prefix {
        Prefix::Ap => high.is_none_or(|it| it >= about.0) && low.is_none_or(|it| it <= about.1),
        Prefix::Eb => low.is_none_or(|it| it < value) && high.is_some_and(|it| it < value),
        Prefix::Eq => low.is_some_and(|it| it >= from && it < to) && high.is_some_and(|it| it < to),
        Prefix::Ge => high.is_none_or(|it| it >= value),
        Prefix::Gt => high.is_none_or(|it| it > value),
        Prefix::Le => low.is_none_or(|it| it <= value),
        Prefix::Lt => low.is_none_or(|it| it < value),
        Prefix::Ne => low.is_none_or(|it| it < from) || high.is_none_or(|it| it >= to),
        Prefix::Sa => low.is_some_and(|it| it > value),
    }
}

/// Whether a quantity is what is asked for: in base units where the unit of the question has some.
pub(super) fn is_quantity(
    prefix: Prefix,
    asked: &Asked,
    unit: &AskedUnit,
    own: &QuantityValue<'_>,
) -> bool {
    let is_as_given = || is_number(prefix, asked, own.range);
    match unit {
        AskedUnit::Any => is_as_given(),
        AskedUnit::Base { asked, unit } => own
            .base
            .as_ref()
            .is_some_and(|base| base.unit == *unit && is_number(prefix, asked, base.range)),
        AskedUnit::Coded { system, code } => {
            let is_unit = own.system == Some(&**system) && own.code == Some(&**code);
            own.base.is_none() && is_unit && is_as_given()
        }
        AskedUnit::Named(name) => [own.code, own.unit].contains(&Some(&**name)) && is_as_given(),
        AskedUnit::OfSystem(system) => own.system == Some(&**system) && is_as_given(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::values::quantity::{InBase, UCUM};

    /// The prefixes under which something is found, in the order of [`Prefix::ALL`].
    fn found(holds: impl Fn(Prefix) -> bool) -> String {
        let all = Prefix::ALL.into_iter().filter(|prefix| holds(*prefix));
        all.map(Prefix::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_span_is_held_against_a_span_and_against_a_point() {
        let range = |low: Option<i64>, high: Option<i64>| DateRange {
            low: low.map(Instant::from_micros),
            high: high.map(Instant::from_micros),
        };
        let (year, point) = (range(Some(10), Some(20)), range(Some(10), Some(10)));
        for (asked, own, expected) in [
            (year, range(Some(10), Some(20)), "ap eq ge le"),
            (year, range(Some(12), Some(12)), "ap eq ge le"),
            (year, range(Some(5), Some(9)), "eb le lt ne"),
            (year, range(Some(5), Some(10)), "eb le lt ne"),
            (year, range(Some(5), Some(15)), "ap le lt ne"),
            (year, range(Some(5), Some(25)), "ap ge gt le lt ne"),
            (year, range(Some(15), Some(25)), "ap ge gt ne"),
            (year, range(Some(20), Some(20)), "ge gt ne sa"),
            (year, range(Some(20), Some(30)), "ge gt ne sa"),
            (year, range(Some(15), None), "ap ge gt ne"),
            (year, range(None, Some(15)), "ap le lt ne"),
            (year, range(None, None), "ap ge gt le lt ne"),
            (point, range(Some(10), Some(10)), "ap eq ge le"),
            (point, range(Some(9), Some(10)), "eb le lt ne"),
            (point, range(Some(10), Some(11)), "ap ge gt ne"),
            (point, range(Some(11), Some(11)), "ge gt ne sa"),
        ] {
            let all = found(|prefix| is_date(prefix, asked, own));
            assert_eq!(all, expected, "{own:?} against {asked:?}");
        }
    }

    fn range(low: Option<&str>, high: Option<&str>) -> NumberRange {
        let end = |end: Option<&str>| end.map(|text| Asked::parse(text).expect(text).value);
        NumberRange { low: end(low), high: end(high) }
    }

    #[test]
    fn a_number_is_held_against_digits_and_against_a_value() {
        for (asked, low, high, expected) in [
            ("100", Some("100"), Some("100"), "ap eq ge le"),
            ("100", Some("99.5"), Some("99.5"), "ap eb eq le lt"),
            ("100", Some("100.5"), Some("100.5"), "ap ge gt ne sa"),
            ("100", Some("100.49"), Some("100.49"), "ap eq ge gt sa"),
            ("100.0", Some("100.05"), Some("100.05"), "ap ge gt ne sa"),
            ("100", Some("110"), Some("110"), "ap ge gt ne sa"),
            ("100", Some("110.01"), Some("110.01"), "ge gt ne sa"),
            ("100", Some("90"), Some("90"), "ap eb le lt ne"),
            ("100", Some("50"), Some("150"), "ap ge gt le lt ne"),
            ("100", None, Some("50"), "eb le lt ne"),
            ("100", Some("50"), None, "ap ge gt le lt ne"),
            ("100", None, None, "ap ge gt le lt ne"),
        ] {
            let asked = Asked::parse(asked).expect(asked);
            let all = found(|prefix| is_number(prefix, &asked, range(low, high)));
            assert_eq!(all, expected, "{low:?} to {high:?} against {asked:?}");
        }
    }

    #[test]
    fn a_quantity_is_compared_in_the_unit_that_is_asked_for() {
        let exact = |text| range(Some(text), Some(text));
        let base = Some(InBase { range: exact("0.005"), unit: "g".into() });
        let milligrams = QuantityValue {
            range: exact("5"),
            system: Some(UCUM),
            code: Some("mg"),
            unit: Some("milligrams"),
            base,
        };
        let drops = QuantityValue {
            system: Some("urn:u"),
            code: Some("drop"),
            unit: None,
            base: None,
            ..milligrams.clone()
        };
        let asked = Asked::parse("5").expect("a number");
        let grams = |text| AskedUnit::Base {
            asked: Asked::parse(text).expect("a number"),
            unit: "g".into(),
        };
        let coded = |system: &str, code: &str| AskedUnit::Coded {
            system: system.into(),
            code: code.into(),
        };
        for (unit, own, expected) in [
            (AskedUnit::Any, &milligrams, true),
            (AskedUnit::Any, &drops, true),
            (grams("0.005"), &milligrams, true),
            (grams("0.006"), &milligrams, false),
            (grams("0.005"), &drops, false),
            (coded("urn:u", "drop"), &drops, true),
            (coded("urn:v", "drop"), &drops, false),
            (coded("urn:u", "drops"), &drops, false),
            // What converts is kept in base units alone.
            (coded(UCUM, "mg"), &milligrams, false),
            (AskedUnit::Named("mg".into()), &milligrams, true),
            (AskedUnit::Named("milligrams".into()), &milligrams, true),
            (AskedUnit::Named("drop".into()), &milligrams, false),
            (AskedUnit::OfSystem(UCUM.into()), &milligrams, true),
            (AskedUnit::OfSystem(UCUM.into()), &drops, false),
        ] {
            let is_it = is_quantity(Prefix::Eq, &asked, &unit, own);
            assert_eq!(is_it, expected, "{own:?} in {unit:?}");
        }
    }
}
