//! Numbers without exponents: the form in which the database keeps them.

use std::borrow::Cow;

use super::Value;

/// Largest power of ten that is written out.
pub const MAX_EXPONENT: i32 = 308;

impl Value<'_> {
    /// Writes out every exponent (`1.10e-3` becomes `0.00110`) and drops the sign of zero.
    ///
    /// The digits and with them the precision stay; the database would do the same, so that what a
    /// create answers equals what a later read answers.
    pub fn write_out_exponents(&mut self) {
        match self {
            Self::Array(items) => items.iter_mut().for_each(Value::write_out_exponents),
            Self::Number(digits) => {
                if let Cow::Owned(plain) = plain(digits) {
                    *digits = Cow::Owned(plain);
                }
            }
            Self::Object(object) => {
                object.iter_mut().for_each(|(_, value)| value.write_out_exponents());
            }
            Self::Bool(_) | Self::Null | Self::String(_) => {}
        }
    }
}

/// The number without an exponent and without the sign of zero.
///
/// Exponents beyond [`MAX_EXPONENT`] are left as they are: form validation refuses them.
pub fn plain(digits: &str) -> Cow<'_, str> {
    let (sign, rest) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let (mantissa, exponent) = parts(rest);
    let is_zero = mantissa.bytes().all(|byte| byte == b'0' || byte == b'.');
    let has_exponent = mantissa.len() < rest.len();
    if exponent.unsigned_abs() > MAX_EXPONENT as u32 {
        return Cow::Borrowed(digits);
    }
    if !has_exponent {
        return if is_zero && !sign.is_empty() {
            Cow::Owned(rest.to_owned())
        } else {
            Cow::Borrowed(digits)
        };
    }
    let sign = if is_zero { "" } else { sign };
    Cow::Owned(format!("{sign}{}", shift(mantissa, exponent)))
}

/// The mantissa and the exponent, which is 0 where none is written.
fn parts(digits: &str) -> (&str, i32) {
    match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse().unwrap_or(i32::MAX)),
        None => (digits, 0),
    }
}

/// Most zeros that writing out the exponent of `digits` adds.
pub fn zeros(digits: &str) -> usize {
    parts(digits).1.unsigned_abs() as usize
}

/// Moves the point of an unsigned decimal by `exponent` places to the right.
fn shift(mantissa: &str, exponent: i32) -> String {
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = whole.len() as i32 + exponent;
    let text = if point <= 0 {
        format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
    } else if point as usize >= digits.len() {
        format!("{digits}{}", "0".repeat(point as usize - digits.len()))
    } else {
        format!("{}.{}", &digits[..point as usize], &digits[point as usize..])
    };
    let trimmed = text.trim_start_matches('0');
    match trimmed.as_bytes().first() {
        Some(b'.') => format!("0{trimmed}"),
        None => "0".to_owned(),
        Some(_) => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_written_out_with_the_same_precision() {
        for (number, expected) in [
            ("1.00", "1.00"),
            ("1.0E+2", "100"),
            ("1.10e-3", "0.00110"),
            ("1.2345E2", "123.45"),
            ("12e0", "12"),
            ("0.5e1", "5"),
            ("0.05e1", "0.5"),
            ("-0.0", "0.0"),
            ("-0", "0"),
            ("-0e3", "0"),
            ("0.00e1", "0.0"),
            ("-1.5e1", "-15"),
            ("1e-2", "0.01"),
            ("1e309", "1e309"),
            ("1e-309", "1e-309"),
            ("1e99999999999", "1e99999999999"),
        ] {
            assert_eq!(plain(number), expected, "{number}");
        }
    }
}
