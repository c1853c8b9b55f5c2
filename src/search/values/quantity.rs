//! Quantities: the number as it is, its unit as given, and both in base units.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#quantity> (rest 4.132 to 4.139)

use std::borrow::Cow;

use crate::fhirpath::{Decimal, Quantity};
use crate::ucum::Unit;

use super::number::NumberRange;

/// The system whose units convert.
pub const UCUM: &str = "http://unitsofmeasure.org";

/// The system of currencies.
pub const CURRENCY: &str = "urn:iso:std:iso:4217";

/// Unit algebra: brings quantities of one dimension to one unit.
pub trait Units: std::fmt::Debug + Send + Sync {
    /// `value` of the UCUM unit `code` in base units, and their code.
    ///
    /// Two codes of one dimension give the same base. `None` for a code that is not UCUM's, and
    /// for a number that cannot be told in base units.
    fn to_base(&self, value: Decimal, code: &str) -> Option<(Decimal, Box<str>)>;
}

/// The units of UCUM.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ucum;

impl Units for Ucum {
    fn to_base(&self, value: Decimal, code: &str) -> Option<(Decimal, Box<str>)> {
        // A word of the calendar is a unit to FHIRPath, but no code.
        Unit::parse(code).ok()?;
        let (value, unit) = Quantity { value, unit: Cow::Borrowed(code) }.canonical()?;
        Some((value, unit.into()))
    }
}

/// A range of numbers in a base unit.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct InBase {
    /// The numbers.
    pub range: NumberRange,
    /// The code of the base unit.
    pub unit: Box<str>,
}

/// The range in base units; `None` where the unit does not convert.
///
/// A scale that turns the ends around (none of UCUM's common ones does) is put right.
pub fn to_base(
    range: NumberRange,
    system: Option<&str>,
    code: &str,
    units: &dyn Units,
) -> Option<InBase> {
    if system != Some(UCUM) {
        return None;
    }
    let mut unit = None;
    let converted = range.map(|value| {
        let (value, base) = units.to_base(value, code)?;
        unit = Some(base);
        Some(value)
    })?;
    let range = match (converted.low, converted.high) {
        (Some(low), Some(high)) if low > high => NumberRange { low: Some(high), high: Some(low) },
        _ => converted,
    };
    Some(InBase { range, unit: unit? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grams and what is made of them.
    #[derive(Debug)]
    struct Masses;

    impl Units for Masses {
        fn to_base(&self, value: Decimal, code: &str) -> Option<(Decimal, Box<str>)> {
            let factor = match code {
                "kg" => "1000",
                "g" => "1",
                "mg" => "0.001",
                _ => return None,
            };
            Some((value.times(Decimal::parse(factor)?)?, "g".into()))
        }
    }

    #[test]
    fn quantities_of_one_dimension_meet_in_one_unit() {
        let decimal = |text| Decimal::parse(text);
        let range = |low, high| NumberRange { low: decimal(low), high: decimal(high) };
        for (given, system, code, expected) in [
            (range("5000", "5000"), Some(UCUM), "mg", Some(range("5", "5"))),
            (range("5", "6"), Some(UCUM), "g", Some(range("5", "6"))),
            (range("0.005", "0.005"), Some(UCUM), "kg", Some(range("5", "5"))),
            (range("", "5"), Some(UCUM), "mg", Some(range("", "0.005"))),
            (range("5", "5"), Some(UCUM), "mL", None),
            (range("5", "5"), Some("http://other"), "g", None),
            (range("5", "5"), None, "g", None),
            (range("", ""), Some(UCUM), "g", None),
        ] {
            let found = to_base(given, system, code, &Masses);
            let expected = expected.map(|range| InBase { range, unit: "g".into() });
            assert_eq!(found, expected, "{given:?} {code}");
        }
        assert_eq!(to_base(range("5", "5"), Some("urn:other"), "g", &Ucum), None);
        let of_ucum = |given, code| to_base(given, Some(UCUM), code, &Ucum);
        assert_eq!(of_ucum(range("5", "5"), "g"), of_ucum(range("5000", "5000"), "mg"));
        assert_eq!(of_ucum(range("5", "5"), "week"), None);
    }
}
