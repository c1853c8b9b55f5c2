//! Numbers: what is stored is exact, what is asked for has the range of its digits.
//!
//! `100` asks for everything that rounds to it, [99.5, 100.5); `100.00` for [99.995, 100.005). With
//! an exponent at least two digits count: `1e2` is [95, 105) as R4 prints it, `1.00e2` is [99.5, 100.5).
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#number> (rest 4.34 to 4.43)

use crate::fhir::json::Value;
use crate::fhirpath::Decimal;

/// From the smallest to the largest number; `None` is open.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NumberRange {
    /// The lower end, inside.
    pub low: Option<Decimal>,
    /// The upper end; inside when it equals the lower one or was stored so.
    pub high: Option<Decimal>,
}

impl NumberRange {
    /// The range of one exact number.
    pub fn exact(value: Decimal) -> Self {
        Self { low: Some(value), high: Some(value) }
    }

    /// The range of a stored JSON number; `None` when it needs more than 38 digits.
    pub fn stored(value: &Value<'_>) -> Option<Self> {
        Decimal::parse(value.as_number()?).map(Self::exact)
    }

    /// The range of a stored number with `Quantity.comparator`: `<5` ends just below 5, so that no
    /// number of a query lies between (rest 4.138).
    #[must_use]
    pub fn compared(self, comparator: Option<&str>) -> Self {
        match comparator {
            Some("<") => Self { low: None, high: self.high.map(Decimal::just_below) },
            Some("<=") => Self { low: None, ..self },
            Some(">") => Self { low: self.low.map(Decimal::just_above), high: None },
            Some(">=") => Self { high: None, ..self },
            _ => self,
        }
    }

    /// Both ends through `change`; `None` when it fails for one.
    pub fn map(self, mut change: impl FnMut(Decimal) -> Option<Decimal>) -> Option<Self> {
        let mut end = |value: Option<Decimal>| match value {
            Some(value) => change(value).map(Some),
            None => Some(None),
        };
        Some(Self { low: end(self.low)?, high: end(self.high)? })
    }
}

/// A number of a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Asked {
    /// The number itself, which comparisons (`gt`, `le`, ..) go by.
    pub value: Decimal,
    /// Everything that rounds to it: from `low` up to and without `high`.
    pub low: Decimal,
    /// See `low`.
    pub high: Decimal,
    /// What `ap` accepts: from a tenth below the number to a tenth above it, both ends inside (rest
    /// 4.37).
    pub about: (Decimal, Decimal),
}

impl Asked {
    /// Reads a number of a query: `100`, `-0.5`, `+5`, `5e-1`; not `.5`, not `1_000` (rest 4.41).
    pub fn parse(text: &str) -> Option<Self> {
        let text = match text.strip_prefix('+') {
            Some(rest) if rest.starts_with(|first: char| first.is_ascii_digit()) => rest,
            Some(_) => return None,
            None => text,
        };
        let value = Decimal::parse(text)?;
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent.parse::<i32>().ok()?)),
            None => (text, None),
        };
        let fraction = mantissa.split_once('.').map_or("", |(_, fraction)| fraction);
        let mut last_place = -i32::try_from(fraction.len()).ok()?;
        if let Some(exponent) = exponent {
            last_place += exponent;
            let digits = mantissa.bytes().filter(u8::is_ascii_digit);
            if digits.skip_while(|&digit| digit == b'0').count() < 2 {
                last_place -= 1;
            }
        }
        let half = Decimal::parse(&format!("5e{}", last_place - 1))?;
        let (low, high) = (value.minus(half)?, value.plus(half)?);
        let tenth = value.times(Decimal::parse("0.1")?)?;
        let about = ordered(value.minus(tenth)?, value.plus(tenth)?);
        Some(Self { value, low, high, about })
    }

    /// The number and its ranges through `change`, which may turn them around; `None` when it fails
    /// for one of them.
    pub fn map(self, change: impl Fn(Decimal) -> Option<Decimal>) -> Option<Self> {
        let both = |one, other| Some(ordered(change(one)?, change(other)?));
        let (low, high) = both(self.low, self.high)?;
        let about = both(self.about.0, self.about.1)?;
        Some(Self { value: change(self.value)?, low, high, about })
    }
}

fn ordered(one: Decimal, other: Decimal) -> (Decimal, Decimal) {
    (one.min(other), one.max(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).expect(text)
    }

    #[test]
    fn the_digits_of_a_question_make_its_range() {
        for (text, expected) in [
            ("100", Some(("100", "99.5", "100.5"))),
            ("100.00", Some(("100", "99.995", "100.005"))),
            ("1e2", Some(("100", "95", "105"))),
            ("1E2", Some(("100", "95", "105"))),
            ("1.0e2", Some(("100", "95", "105"))),
            ("1.00e2", Some(("100", "99.5", "100.5"))),
            ("5", Some(("5", "4.5", "5.5"))),
            ("5.000", Some(("5", "4.9995", "5.0005"))),
            ("+5", Some(("5", "4.5", "5.5"))),
            ("-0.5", Some(("-0.5", "-0.55", "-0.45"))),
            ("0.002", Some(("0.002", "0.0015", "0.0025"))),
            ("2e-3", Some(("0.002", "0.00195", "0.00205"))),
            ("0", Some(("0", "-0.5", "0.5"))),
            ("2.0", Some(("2", "1.95", "2.05"))),
            (".5", None),
            ("5.", None),
            ("1_000", None),
            ("+-5", None),
            ("+", None),
            ("e5", None),
            ("1e", None),
            ("gt5", None),
            (" 5", None),
            ("1e999999999999", None),
            ("1e-2147483648", None),
            ("", None),
        ] {
            let found = Asked::parse(text).map(|it| (it.value, it.low, it.high));
            let expected =
                expected.map(|(value, low, high)| (decimal(value), decimal(low), decimal(high)));
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn approximately_is_a_tenth_either_way() {
        for (text, low, high) in [("100", "90", "110"), ("-10", "-11", "-9"), ("0", "0", "0")] {
            let asked = Asked::parse(text).expect(text);
            assert_eq!(asked.about, (decimal(low), decimal(high)), "{text}");
        }
    }

    #[test]
    fn a_stored_number_is_exact_and_a_comparator_opens_it() {
        let five = Some(decimal("5"));
        for (comparator, low, high) in [
            (None, five, five),
            (Some("<"), None, Some(decimal("4.9999999999999999999999999999999999999"))),
            (Some("<="), None, five),
            (Some(">"), Some(decimal("5.0000000000000000000000000000000000001")), None),
            (Some(">="), five, None),
            (Some("ad"), five, five),
        ] {
            let stored = NumberRange::stored(&Value::Number("5.00".into())).expect("number");
            assert_eq!(stored.compared(comparator), NumberRange { low, high }, "{comparator:?}");
        }
        assert_eq!(NumberRange::stored(&Value::from("5")), None);
        assert_eq!(NumberRange::stored(&Value::Number("1e-245".into())), None);
    }
}
