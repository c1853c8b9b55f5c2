//! Exact decimals: as many digits as were written, never a binary fraction.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#decimal>

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Most digits after the point that are kept; FHIRPath asks for 8, but a few grams shared among the
/// particles of a mole have their first digit behind 20 zeros and more.
const MAX_SCALE: u32 = 60;

/// Longest text that is read as a number, in bytes: all that could be kept is shorter.
const MAX_TEXT: usize = 512;

/// What a division that does not end has at least: so many digits after the point, and so many
/// from the first one that is no zero.
const QUOTIENT_DIGITS: u32 = 16;

/// A decimal number with the digits it was written with: `1.00` is not shortened to `1`.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    mantissa: i128,
    scale: u32,
}

impl Decimal {
    /// Reads `-1.50e3` and the like; `None` when it is no number or needs more than 38 digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        if text.len() > MAX_TEXT {
            return None;
        }
        let (negative, digits) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || (fraction.is_empty() && digits.contains('.')) {
            return None;
        }
        let mut mantissa: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            let digit = byte.is_ascii_digit().then(|| i128::from(byte - b'0'))?;
            mantissa = mantissa.checked_mul(10)?.checked_add(digit)?;
        }
        let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        let mantissa = if negative { -mantissa } else { mantissa };
        if scale < 0 {
            let factor = power_of_ten(scale.unsigned_abs())?;
            return Some(Self { mantissa: mantissa.checked_mul(factor)?, scale: 0 });
        }
        let scale = scale.unsigned_abs();
        (scale <= MAX_SCALE).then_some(Self { mantissa, scale })
    }

    /// `digits * 10^exponent`; `None` when it needs more digits than are kept.
    pub(super) fn of(digits: i128, exponent: i32) -> Option<Self> {
        let decimal = Self { mantissa: digits, scale: 0 };
        if exponent >= 0 {
            let factor = power_of_ten(exponent.unsigned_abs())?;
            return Some(Self { mantissa: digits.checked_mul(factor)?, scale: 0 });
        }
        let scale = exponent.unsigned_abs();
        match scale.checked_sub(MAX_SCALE) {
            None | Some(0) => Some(Self { scale, ..decimal }),
            // Digits too small to be kept are rounded away.
            Some(excess) => {
                let mantissa = power_of_ten(excess).and_then(|by| rounded_quotient(digits, by));
                Some(Self { mantissa: mantissa.unwrap_or(0), scale: MAX_SCALE })
            }
        }
    }

    /// The nearest decimal to 15 digits; `None` for what is no number or too large.
    pub(super) fn nearest(value: f64) -> Option<Self> {
        let text = format!("{value:.14e}");
        value.is_finite().then(|| Self::parse_rounded(&text))?.map(Self::trimmed)
    }

    /// [`Decimal::parse`], with digits too small to be kept rounded away.
    fn parse_rounded(text: &str) -> Option<Self> {
        let (number, exponent) = text.split_once('e')?;
        let number = Self::parse(number)?;
        Self::of(number.mantissa, exponent.parse::<i32>().ok()? - number.scale as i32)
    }

    /// The number as a binary fraction.
    pub(super) fn approximate(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// The digits without the point.
    pub(super) fn digits(self) -> i128 {
        self.mantissa
    }

    /// The largest number less than it, of those that can be kept.
    #[must_use]
    pub fn just_below(self) -> Self {
        self.next(-1)
    }

    /// The smallest number more than it, of those that can be kept.
    #[must_use]
    pub fn just_above(self) -> Self {
        self.next(1)
    }

    fn next(self, step: i128) -> Self {
        let number = self.trimmed();
        let finest = (number.scale..=MAX_SCALE).rev().find_map(|scale| {
            let Self { mantissa, scale } = number.widened(scale)?;
            Some(Self { mantissa: mantissa.checked_add(step)?, scale })
        });
        finest.unwrap_or(self)
    }

    /// The largest number below it with at most `scale` digits after the point.
    pub(super) fn floor(self, scale: u32) -> Self {
        self.cut(scale, |quotient, rest| if rest < 0 { quotient - 1 } else { quotient })
    }

    /// The smallest number above it with at most `scale` digits after the point.
    pub(super) fn ceiling(self, scale: u32) -> Self {
        self.cut(scale, |quotient, rest| if rest > 0 { quotient + 1 } else { quotient })
    }

    /// Without what stands after the point.
    pub(super) fn truncated(self) -> Self {
        self.cut(0, |quotient, _| quotient)
    }

    fn cut(self, scale: u32, settle: fn(i128, i128) -> i128) -> Self {
        let Some(excess) = self.scale.checked_sub(scale) else { return self };
        let (quotient, rest) = parted(self.mantissa, excess);
        Self { mantissa: settle(quotient, rest), scale }
    }

    /// With exactly `scale` digits after the point, if none are lost; zeros are added.
    pub(super) fn widened(self, scale: u32) -> Option<Self> {
        let Some(more) = scale.checked_sub(self.scale) else { return Some(self) };
        let mantissa = self.mantissa.checked_mul(power_of_ten(more)?)?;
        (scale <= MAX_SCALE).then_some(Self { mantissa, scale })
    }

    /// The whole number; `None` when there is a fraction or it exceeds 64 bits.
    pub fn to_integer(self) -> Option<i64> {
        let trimmed = self.trimmed();
        if trimmed.scale == 0 { i64::try_from(trimmed.mantissa).ok() } else { None }
    }

    /// The sum, rounded to the digits that can be kept; `None` on overflow.
    pub fn plus(self, other: Self) -> Option<Self> {
        let sum = |scale| {
            let (left, right, scale) = self.rounded(scale)?.aligned(other.rounded(scale)?)?;
            Some(Self { mantissa: left.checked_add(right)?, scale })
        };
        (0..=self.scale.max(other.scale)).rev().find_map(sum)
    }

    /// The difference; `None` on overflow.
    pub fn minus(self, other: Self) -> Option<Self> {
        self.plus(other.negated())
    }

    /// The product; `None` on overflow.
    pub fn times(self, other: Self) -> Option<Self> {
        let mantissa = self.mantissa.checked_mul(other.mantissa)?;
        let scale = self.scale + other.scale;
        let product = Self { mantissa, scale };
        if scale <= MAX_SCALE { Some(product) } else { product.rounded(MAX_SCALE) }
    }

    /// The quotient: to 16 digits after the point and 16 in all where it does not end before.
    /// `None` for a zero divisor or overflow.
    pub fn over(self, other: Self) -> Option<Self> {
        let (left, right) = (self.trimmed(), other.trimmed());
        Self::quotient(left.mantissa, right.mantissa, right.scale as i32 - left.scale as i32)
    }

    /// `dividend / divisor * 10^exponent`, with the digits of [`Decimal::over`].
    pub(super) fn quotient(dividend: i128, divisor: i128, mut exponent: i32) -> Option<Self> {
        let (above, below) = (dividend.checked_abs()?, divisor.checked_abs()?);
        let mut digits = above.checked_div(below)?;
        let mut rest = above % below;
        while rest != 0 && excess(digits, exponent) < 0 && exponent > -(MAX_SCALE as i32) {
            // What goes beyond 38 digits is rounded away, however few stand after the point.
            let Some(lifted) = rest.checked_mul(10) else { break };
            let more = digits.checked_mul(10).and_then(|it| it.checked_add(lifted / below));
            let Some(more) = more else { break };
            (digits, rest, exponent) = (more, lifted % below, exponent - 1);
        }
        if rest != 0 {
            // Where whole digits are too many, what is left behind the last one decides nothing.
            let places = excess(digits, exponent).max(0);
            digits = match power_of_ten(places.unsigned_abs())? {
                1 if rest >= below - rest => digits.checked_add(1)?,
                by => rounded_quotient(digits, by)?,
            };
            exponent += places;
        }
        let is_negative = (dividend < 0) != (divisor < 0);
        let quotient = Self::of(if is_negative { -digits } else { digits }, exponent)?;
        Some(quotient.trimmed())
    }

    /// The quotient cut to a whole number; `None` for a zero divisor or overflow.
    pub fn whole_quotient(self, other: Self) -> Option<Self> {
        let (left, right, _) = self.aligned(other)?;
        Some(Self { mantissa: left.checked_div(right)?, scale: 0 })
    }

    /// What [`Decimal::whole_quotient`] leaves.
    pub fn remainder(self, other: Self) -> Option<Self> {
        let (left, right, scale) = self.aligned(other)?;
        Some(Self { mantissa: left.checked_rem(right)?, scale })
    }

    /// The number with the other sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { mantissa: self.mantissa.saturating_neg(), scale: self.scale }
    }

    /// Digits after the point as written.
    pub fn scale(self) -> u32 {
        self.scale
    }

    /// The number with at most `scale` digits after the point, halves away from zero.
    pub fn rounded(self, scale: u32) -> Option<Self> {
        if self.scale <= scale {
            return Some(self);
        }
        // Digits that are that many round to nothing.
        let divisor = power_of_ten(self.scale - scale);
        let mantissa = divisor.map_or(Some(0), |by| rounded_quotient(self.mantissa, by))?;
        Some(Self { mantissa, scale })
    }

    /// Without zeros at the end of the fraction.
    pub(super) fn trimmed(mut self) -> Self {
        while self.scale > 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.scale -= 1;
        }
        self
    }

    /// `~`: equal to the digits of the less precise one, zeros at the end aside; halves away from
    /// zero.
    pub(super) fn is_equivalent(self, other: Self) -> bool {
        let scale = self.trimmed().scale.min(other.trimmed().scale);
        match (self.rounded(scale), other.rounded(scale)) {
            (Some(left), Some(right)) => left == right,
            _ => false,
        }
    }

    fn aligned(self, other: Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let lift = |decimal: Self| match decimal.mantissa {
            0 => Some(0),
            mantissa => mantissa.checked_mul(power_of_ten(scale - decimal.scale)?),
        };
        Some((lift(self)?, lift(other)?, scale))
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Self { mantissa: i128::from(value), scale: 0 }
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl Hash for Decimal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { mantissa, scale } = self.trimmed();
        (mantissa, scale).hash(state);
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let (left, right) = (self.trimmed(), other.trimmed());
        if let Some((left, right, _)) = left.aligned(right) {
            return left.cmp(&right);
        }
        // The number that cannot take the other's digits after the point is the larger one.
        if left.scale < right.scale { left.mantissa.cmp(&0) } else { 0.cmp(&right.mantissa) }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = self.mantissa.unsigned_abs().to_string();
        let scale = self.scale as usize;
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

fn power_of_ten(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

/// What stands before the last `places` digits, and these.
fn parted(mantissa: i128, places: u32) -> (i128, i128) {
    power_of_ten(places).map_or((0, mantissa), |by| (mantissa / by, mantissa % by))
}

/// How many digits a quotient has at `10^exponent` beyond those that it should have.
fn excess(digits: i128, exponent: i32) -> i32 {
    let wanted = QUOTIENT_DIGITS as i32;
    let count = digits.checked_ilog10().map_or(0, |log| log as i32 + 1);
    (-exponent - wanted).min(count - wanted)
}

fn rounded_quotient(dividend: i128, divisor: i128) -> Option<i128> {
    let quotient = dividend.checked_div(divisor)?;
    let rest = dividend.checked_rem(divisor)?.unsigned_abs();
    let away = rest >= divisor.unsigned_abs().div_ceil(2);
    let step = if (dividend < 0) == (divisor < 0) { 1 } else { -1 };
    if away && rest != 0 { quotient.checked_add(step) } else { Some(quotient) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).expect(text)
    }

    #[test]
    fn digits_survive_and_malformed_numbers_do_not_parse() {
        for (text, expected) in [
            ("1.00", Some("1.00")),
            ("-0.05", Some("-0.05")),
            ("1e3", Some("1000")),
            ("1.5e-2", Some("0.015")),
            ("0", Some("0")),
            ("", None),
            (".5", None),
            ("5.", None),
            ("1e", None),
            ("1e999999999", None),
            ("1e-999999999", None),
            ("1234567890123456789012345678901234567890", None),
        ] {
            let found = Decimal::parse(text).map(|value| value.to_string());
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_next_number_lies_before_all_that_can_be_written() {
        for (text, below, above) in [
            (
                "5",
                "4.9999999999999999999999999999999999999",
                "5.0000000000000000000000000000000000001",
            ),
            (
                "0.00",
                "-0.00000000000000000000000000000000000001",
                "0.00000000000000000000000000000000000001",
            ),
            (
                "-1.5",
                "-1.50000000000000000000000000000000000001",
                "-1.49999999999999999999999999999999999999",
            ),
            (
                "12345678901234567890.5",
                "12345678901234567890.4999999999999999999",
                "12345678901234567890.5000000000000000001",
            ),
        ] {
            let number = decimal(text);
            let found = (number.just_below().to_string(), number.just_above().to_string());
            assert_eq!(found, (below.to_owned(), above.to_owned()), "{text}");
        }
        let largest = Decimal { mantissa: i128::MAX, scale: 0 };
        assert_eq!(largest.just_above(), largest);
    }

    #[test]
    fn order_is_numeric_whatever_the_digits() {
        for (left, right, expected) in [
            ("1.00", "1", Ordering::Equal),
            ("0.1", "0.10", Ordering::Equal),
            ("-2", "1", Ordering::Less),
            ("12345678901234567890123456789012345678", "0.000000001", Ordering::Greater),
            ("0.000000001", "12345678901234567890123456789012345678", Ordering::Less),
            ("-12345678901234567890123456789012345678", "0.000000001", Ordering::Less),
            ("0", "1e-50", Ordering::Less),
            ("1", "1e-50", Ordering::Greater),
            ("-1e-50", "0", Ordering::Less),
        ] {
            assert_eq!(decimal(left).cmp(&decimal(right)), expected, "{left} {right}");
        }
    }

    #[test]
    fn arithmetic_is_exact_where_it_can_be() {
        let text = |value: Option<Decimal>| value.map(|value| value.to_string());
        for (found, expected) in [
            (decimal("0.1").plus(decimal("0.2")), Some("0.3")),
            (decimal("1").minus(decimal("0.9")), Some("0.1")),
            (decimal("1.5").times(decimal("-2")), Some("-3.0")),
            (decimal("1").over(decimal("3")), Some("0.3333333333333333")),
            (decimal("2").over(decimal("3")), Some("0.6666666666666667")),
            (decimal("10").over(decimal("3")), Some("3.3333333333333333")),
            (decimal("-2").over(decimal("3e6")), Some("-0.0000006666666666666667")),
            (
                decimal("0.0000000001").over(decimal("6e20")),
                Some("0.0000000000000000000000000000001666666666666667"),
            ),
            (decimal("1").over(decimal("8")), Some("0.125")),
            (decimal("2e37").over(decimal("3")), Some("6666666666666666666666666666666666666.7")),
            (decimal("1e-40").plus(decimal("1")), Some("1.00000000000000000000000000000000000000")),
            (decimal("1").over(decimal("0.00")), None),
            (decimal("6").over(decimal("0.0002")), Some("30000")),
            (decimal("5.5").whole_quotient(decimal("0.7")), Some("7")),
            (decimal("5.5").remainder(decimal("0.7")), Some("0.6")),
            (decimal("5").remainder(decimal("0")), None),
        ] {
            assert_eq!(text(found).as_deref(), expected);
        }
    }
}
