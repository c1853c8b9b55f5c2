//! Quantities: units of UCUM and of the calendar, compared and computed exactly.
//!
//! Calendar units from the week down are UCUM's of the same length. A calendar year or month is
//! none of UCUM's: it equals other calendar durations only, with 365 and 30 days.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#quantity>, <https://hl7.org/fhirpath/N1/#time-valued-quantities>

use std::borrow::Cow;
use std::cmp::Ordering;

use super::ast::Binary;
use super::decimal::Decimal;
use super::temporal::Step;
use crate::ucum::{Ratio, Unit};

/// Longest unit that a product may have, in bytes.
const MAX_UNIT: usize = 200;

/// Pi to as many digits as can be multiplied.
const PI: (u128, i32) = (3_141_592_653_589_793_238, -18);

/// A number with a unit.
#[derive(Clone, Debug)]
pub struct Quantity<'v> {
    /// The number.
    pub value: Decimal,
    /// A UCUM code or a calendar unit; `1` when there is none.
    pub unit: Cow<'v, str>,
}

/// What the unit of a quantity stands for.
enum Measure {
    /// Calendar months: 12 for a year.
    Months(i64),
    Unit(Unit),
}

/// The words for durations, each with its UCUM code; the years and months among them are not the
/// same as their codes.
const CALENDAR: [(&str, &str); 16] = [
    ("day", "d"),
    ("days", "d"),
    ("hour", "h"),
    ("hours", "h"),
    ("millisecond", "ms"),
    ("milliseconds", "ms"),
    ("minute", "min"),
    ("minutes", "min"),
    ("month", "mo"),
    ("months", "mo"),
    ("second", "s"),
    ("seconds", "s"),
    ("week", "wk"),
    ("weeks", "wk"),
    ("year", "a"),
    ("years", "a"),
];

/// Whether `unit` is one of the calendar's, singular or plural.
pub(super) fn is_calendar_unit(unit: &str) -> bool {
    calendar_code(unit).is_some()
}

fn calendar_code(unit: &str) -> Option<&'static str> {
    CALENDAR.iter().find(|(word, _)| *word == unit).map(|(_, code)| *code)
}

fn months_in(unit: &str) -> Option<i64> {
    match unit {
        "month" | "months" => Some(1),
        "year" | "years" => Some(12),
        _ => None,
    }
}

fn measure(unit: &str) -> Option<Measure> {
    if let Some(months) = months_in(unit) {
        return Some(Measure::Months(months));
    }
    Unit::parse(calendar_code(unit).unwrap_or(unit)).ok().map(Measure::Unit)
}

impl<'v> Quantity<'v> {
    /// A quantity without a unit.
    pub(super) fn plain(value: Decimal) -> Self {
        Self { value, unit: Cow::Borrowed("1") }
    }

    /// The value in base units and their code: `2 'mg/dL'` gives 20 and `g.m-3`. The same for all
    /// quantities that are equal.
    ///
    /// `None` for a unit that UCUM does not know, for calendar years and months, and where the
    /// value needs more digits than are kept.
    pub fn canonical(&self) -> Option<(Decimal, String)> {
        let Some(Measure::Unit(unit)) = measure(&self.unit) else { return None };
        let value = scaled(shifted(self.value, &unit, 1)?, unit.factor())?;
        Some((value.trimmed(), unit.base_code()))
    }

    /// The value in a unit that all have which are sorted together: the base unit or, of calendar
    /// years and months, the month; one that does not convert stands for itself.
    pub(super) fn sort_key(&self) -> (Decimal, Cow<'v, str>) {
        let months = months_in(&self.unit).and_then(|months| self.value.times(months.into()));
        match (months, self.canonical()) {
            (Some(months), _) => (months, Cow::Borrowed("month")),
            (None, Some((value, unit))) => (value, Cow::Owned(unit)),
            (None, None) => (self.value, self.unit.clone()),
        }
    }

    /// Whether one can be converted into the other.
    pub(super) fn is_comparable(&self, other: &Self) -> bool {
        match (measure(&self.unit), measure(&other.unit)) {
            (Some(Measure::Unit(left)), Some(Measure::Unit(right))) => left.is_comparable(&right),
            (Some(_), Some(_)) => self.order(other).is_some(),
            _ => self.unit == other.unit,
        }
    }

    /// The order of the two; `None` when they are not comparable.
    pub fn order(&self, other: &Self) -> Option<Ordering> {
        if self.unit == other.unit {
            return Some(self.value.cmp(&other.value));
        }
        match (measure(&self.unit)?, measure(&other.unit)?) {
            (Measure::Months(left), Measure::Months(right)) => {
                let (left, right) = (Decimal::from(left), Decimal::from(right));
                Some(self.value.times(left)?.cmp(&other.value.times(right)?))
            }
            (Measure::Months(months), Measure::Unit(unit)) => {
                in_days(self.value, months)?.order_of_words(&unit, other)
            }
            (Measure::Unit(unit), Measure::Months(months)) => {
                let order = in_days(other.value, months)?.order_of_words(&unit, self)?;
                Some(order.reverse())
            }
            (Measure::Unit(left), Measure::Unit(right)) => {
                compare(self.value, &left, other.value, &right)
            }
        }
    }

    /// The order of days and `other` in `unit`, when it is written as a word of the calendar.
    fn order_of_words(&self, unit: &Unit, other: &Self) -> Option<Ordering> {
        let days = Unit::parse("d").ok()?;
        is_calendar_unit(&other.unit).then(|| compare(self.value, &days, other.value, unit))?
    }

    /// `~`: equal to the digits of the one that is written less precisely, in the larger unit.
    pub(super) fn is_equivalent(&self, other: &Self) -> bool {
        // A year is UCUM's year here, and a month its month.
        let unit = |unit: &str| Unit::parse(calendar_code(unit).unwrap_or(unit)).ok();
        let (Some(left), Some(right)) = (unit(&self.unit), unit(&other.unit)) else {
            return self.unit == other.unit && self.value.is_equivalent(other.value);
        };
        let Some(ratio) = left.in_terms_of(&right) else { return false };
        let converted = if ratio.approximate() >= 1.0 {
            convert(other.value, &right, &left).map(|there| (self.value, there))
        } else {
            convert(self.value, &left, &right).map(|here| (here, other.value))
        };
        converted.is_some_and(|(left, right)| left.is_equivalent(right))
    }

    /// The value in another unit; `None` when that cannot be.
    pub(super) fn converted(&self, unit: &str) -> Option<Decimal> {
        if self.unit == unit {
            return Some(self.value);
        }
        match (measure(&self.unit)?, measure(unit)?) {
            (Measure::Months(from), Measure::Months(to)) => {
                self.value.times(Decimal::from(from))?.over(Decimal::from(to))
            }
            (Measure::Unit(from), Measure::Unit(to)) => convert(self.value, &from, &to),
            _ => None,
        }
    }

    /// What `self operator other` gives: nothing where there is no such number, an error where the
    /// units do not allow it.
    pub(super) fn computed(&self, operator: Binary, other: &Self) -> Result<Option<Self>, ()> {
        let (value, unit) = match operator {
            Binary::Add | Binary::Subtract => {
                return self.sum(operator == Binary::Subtract, other);
            }
            Binary::Multiply => {
                (self.value.times(other.value), product(&self.unit, &other.unit, '.').ok_or(())?)
            }
            Binary::Divide if self.unit == other.unit => {
                (self.value.over(other.value), Cow::Borrowed("1"))
            }
            Binary::Divide => {
                (self.value.over(other.value), product(&self.unit, &other.unit, '/').ok_or(())?)
            }
            _ => return Err(()),
        };
        Ok(value.map(|value| Self { value, unit }))
    }

    /// The sum or difference, in the smaller of both units.
    fn sum(&self, is_difference: bool, other: &Self) -> Result<Option<Self>, ()> {
        let is_finer = |one: &Self, other: &Self| {
            one.converted(&other.unit)
                .zip(Some(one.value))
                .is_some_and(|(there, here)| here.approximate().abs() > there.approximate().abs())
        };
        let unit = if is_finer(other, self) { other.unit.clone() } else { self.unit.clone() };
        let left = self.converted(&unit).ok_or(())?;
        let right = other.converted(&unit).ok_or(())?;
        let value = if is_difference { left.minus(right) } else { left.plus(right) };
        Ok(value.map(|value| Self { value, unit }))
    }

    /// The duration as what a date can be moved by; `None` for what is no duration of the
    /// calendar, UCUM's years and months among them.
    ///
    /// Fractions are cut off, as FHIRPath asks.
    pub(super) fn step(&self) -> Option<Step> {
        if let Some(months) = months_in(&self.unit) {
            return Some(Step::Months(self.whole()?.checked_mul(months)?));
        }
        let millis = match calendar_code(&self.unit).unwrap_or(&self.unit) {
            "wk" => 604_800_000,
            "d" => 86_400_000,
            "h" => 3_600_000,
            "min" => 60_000,
            "s" => 1000,
            "ms" => 1,
            _ => return None,
        };
        Some(Step::Millis(self.whole()?.checked_mul(millis)?))
    }

    fn whole(&self) -> Option<i64> {
        self.value.truncated().to_integer()
    }
}

/// A unit made of two, and parentheses where the second needs them.
fn product<'v>(left: &str, right: &str, sign: char) -> Option<Cow<'v, str>> {
    let is_one = |unit: &str| unit == "1";
    let code = |unit: &str| {
        let is_long = months_in(unit).is_some();
        (!is_long).then(|| calendar_code(unit).unwrap_or(unit).to_owned())
    };
    let (left, right) = (code(left)?, code(right)?);
    let text = match sign {
        _ if is_one(&right) => left,
        '.' if is_one(&left) => right,
        _ if right.contains(['.', '/']) => format!("{left}{sign}({right})"),
        _ => format!("{left}{sign}{right}"),
    };
    let fits = text.len() <= MAX_UNIT && Unit::parse(&text).is_ok();
    fits.then_some(Cow::Owned(text))
}

fn in_days<'v>(value: Decimal, months: i64) -> Option<Quantity<'v>> {
    let days = if months == 12 { 365 } else { 30 };
    Some(Quantity { value: value.times(Decimal::from(days))?, unit: Cow::Borrowed("day") })
}

/// The value with the zero of its unit moved, forth (1) or back (-1).
fn shifted(value: Decimal, unit: &Unit, direction: i128) -> Option<Decimal> {
    let Some(shift) = unit.shift() else { return Some(value) };
    value.plus(Decimal::of(i128::from(shift.digits) * direction, shift.exponent)?)
}

/// The order of two values, exactly where the digits suffice.
fn compare(left: Decimal, from: &Unit, right: Decimal, to: &Unit) -> Option<Ordering> {
    let ratio = from.in_terms_of(to)?;
    let (left, right) = (shifted(left, from, 1)?, shifted(right, to, 1)?);
    let exact = || {
        let (up, down) = (ratio.exponent().max(0), (-ratio.exponent()).max(0));
        let up = Decimal::of(i128::try_from(ratio.numerator()).ok()?, up)?;
        let down = Decimal::of(i128::try_from(ratio.denominator()).ok()?, down)?;
        Some(left.times(up)?.cmp(&right.times(down)?))
    };
    let near = || {
        let left = left.approximate() * ratio.approximate();
        left.total_cmp(&right.approximate())
    };
    let exact = if ratio.pi() == 0 { exact() } else { None };
    Some(exact.unwrap_or_else(near))
}

/// `value` of `from` in `to`; `None` when they are not comparable or digits do not suffice.
fn convert(value: Decimal, from: &Unit, to: &Unit) -> Option<Decimal> {
    let ratio = from.in_terms_of(to)?;
    shifted(scaled(shifted(value, from, 1)?, ratio)?, to, -1)
}

/// The product of a value and a factor, with the digits of a quotient where it is not exact. The
/// same for values and factors that have the same product.
fn scaled(value: Decimal, ratio: Ratio) -> Option<Decimal> {
    let exact = || {
        let value = value.trimmed();
        let mut digits = value.digits().checked_mul(i128::try_from(ratio.numerator()).ok()?)?;
        let mut denominator = i128::try_from(ratio.denominator()).ok()?;
        let mut exponent = ratio.exponent() - value.scale() as i32;
        // By twos and fives a number can be divided without end in sight, and yet exactly.
        for (factor, other) in [(2, 5), (5, 2)] {
            while denominator % factor == 0 {
                denominator /= factor;
                digits = digits.checked_mul(other)?;
                exponent -= 1;
            }
        }
        let mut product = Decimal::quotient(digits, denominator, exponent)?;
        for _ in 0..ratio.pi().unsigned_abs().min(8) {
            let pi = Decimal::of(PI.0 as i128, PI.1)?;
            product = if ratio.pi() > 0 { product.times(pi)? } else { product.over(pi)? };
        }
        Some(product)
    };
    exact().or_else(|| Decimal::nearest(value.approximate() * ratio.approximate()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity<'v>(value: &str, unit: &'v str) -> Quantity<'v> {
        Quantity { value: Decimal::parse(value).expect(value), unit: Cow::Borrowed(unit) }
    }

    #[test]
    fn order_is_that_of_the_amounts() {
        use Ordering::{Equal, Greater, Less};
        for (one, unit, other, there, expected) in [
            ("4", "g", "4000.0", "mg", Some(Equal)),
            ("4", "g", "4040", "mg", Some(Less)),
            ("1", "[in_i]", "2.54", "cm", Some(Equal)),
            ("100", "Cel", "212", "[degF]", Some(Equal)),
            ("37", "Cel", "98.6", "[degF]", Some(Equal)),
            ("0", "K", "-273.15", "Cel", Some(Equal)),
            ("180", "deg", "3.14", "rad", Some(Greater)),
            ("7", "days", "1", "wk", Some(Equal)),
            ("1", "year", "12", "months", Some(Equal)),
            ("1", "year", "365", "days", Some(Equal)),
            ("31", "days", "1", "month", Some(Greater)),
            ("1", "year", "1", "a", None),
            ("1", "month", "30", "d", None),
            ("1", "m", "1", "s", None),
            ("1", "lbs", "1", "lbs", Some(Equal)),
            ("1", "lbs", "1", "kg", None),
            ("1000000", "u", "1.6605390666e-18", "g", Some(Equal)),
        ] {
            let found = quantity(one, unit).order(&quantity(other, there));
            assert_eq!(found, expected, "{one} {unit} {other} {there}");
        }
    }

    #[test]
    fn equal_quantities_have_one_canonical_form() {
        for (value, unit, expected) in [
            ("2", "mg/dL", Some(("20", "g.m-3"))),
            ("20", "g/m3", Some(("20", "g.m-3"))),
            ("37", "Cel", Some(("310.15", "K"))),
            ("1.0", "[in_i]", Some(("0.0254", "m"))),
            ("50", "%", Some(("0.5", "1"))),
            ("5.4", "mmol/L", Some(("3251956010400000000000000", "m-3"))),
            ("1", "week", Some(("604800", "s"))),
            ("1", "g/mol", Some(("0.000000000000000000000001660539067173847", "g"))),
            ("1", "mg/mmol", Some(("0.000000000000000000000001660539067173847", "g"))),
            ("1000", "mg/mol", Some(("0.000000000000000000000001660539067173847", "g"))),
            ("5", "ng/kg/min", Some(("0.00000000000008333333333333333", "s-1"))),
            ("300", "ng/kg/h", Some(("0.00000000000008333333333333333", "s-1"))),
            ("2", "pL/min", Some(("0.00000000000000003333333333333333", "m3.s-1"))),
            ("120", "pL/h", Some(("0.00000000000000003333333333333333", "m3.s-1"))),
            ("6", "g/h", Some(("0.001666666666666667", "g.s-1"))),
            ("3.6", "g/h", Some(("0.001", "g.s-1"))),
            ("1", "/Kibit", Some(("0.0009765625", "1"))),
            ("1", "year", None),
            ("1", "lbs", None),
        ] {
            let found = quantity(value, unit).canonical();
            let Some((number, code)) = expected else {
                assert!(found.is_none(), "{value} {unit}");
                continue;
            };
            let (value, unit) = found.unwrap_or_else(|| panic!("{value} {unit}"));
            assert_eq!((value.to_string().as_str(), unit.as_str()), (number, code));
        }
    }

    #[test]
    fn sums_take_the_smaller_unit_and_products_make_new_ones() {
        for (one, unit, operator, other, there, expected) in [
            ("3", "m", Binary::Add, "3", "cm", Some("303 cm")),
            ("3", "cm", Binary::Subtract, "3", "m", Some("-297 cm")),
            ("1", "m", Binary::Add, "1", "s", None),
            ("2.0", "cm", Binary::Multiply, "2.0", "m", Some("4.00 cm.m")),
            ("4.0", "g", Binary::Divide, "2.0", "m", Some("2 g/m")),
            ("1.0", "m", Binary::Divide, "1.0", "m", Some("1 1")),
            ("6", "m/s", Binary::Divide, "2", "m/s2", Some("3 m/s/(m/s2)")),
            ("1", "m", Binary::Divide, "0", "s", Some("")),
            ("1", "Cel", Binary::Multiply, "2", "m", None),
        ] {
            let found = quantity(one, unit).computed(operator, &quantity(other, there));
            let show = |found: Quantity<'_>| format!("{} {}", found.value, found.unit);
            let found = found.ok().map(|found| found.map(show).unwrap_or_default());
            assert_eq!(found.as_deref(), expected, "{one} {unit} {operator:?} {other} {there}");
        }
    }

    #[test]
    fn equivalence_goes_by_the_digits_of_the_larger_unit() {
        for (one, unit, other, there, expected) in [
            ("4", "g", "4040", "mg", true),
            ("4.0", "g", "4600", "mg", false),
            ("1", "year", "1", "a", true),
            ("1", "m", "1", "s", false),
            ("1", "foo", "1.0", "foo", true),
        ] {
            let (left, right) = (quantity(one, unit), quantity(other, there));
            assert_eq!(left.is_equivalent(&right), expected, "{one} {unit} {other} {there}");
            assert_eq!(right.is_equivalent(&left), expected, "{other} {there} {one} {unit}");
        }
    }
}
