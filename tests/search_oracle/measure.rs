//! Spans of time, ranges of numbers and folded texts, read anew from the specification.
//!
//! Nothing here is shared with the server: moments are counted in half microseconds, so that a point
//! in time has a width of one and every span is half-open; numbers in units of 10^-12.

/// From `low` up to and without `high`; `None` is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) low: Option<i128>,
    pub(crate) high: Option<i128>,
}

/// Ticks of a second.
pub(crate) const SECOND: i128 = 2_000_000;
const DAY: i128 = 86_400 * SECOND;

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a number of days.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days - era * 146_097;
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

/// The span of a date, a dateTime or an instant of the forms that the generator writes; UTC where
/// no zone is named. `is_point`: an instant, which has no width whatever its digits.
pub(crate) fn span(text: &str, is_point: bool) -> Span {
    let (date, time) = text.split_once('T').map_or((text, None), |(date, time)| (date, Some(time)));
    let parts: Vec<i64> = date.split('-').map(|part| part.parse().unwrap()).collect();
    let at = |days: i64| i128::from(days) * DAY;
    let (low, high) = match (parts.as_slice(), time) {
        (&[year], _) => (at(days(year, 1, 1)), at(days(year + 1, 1, 1))),
        (&[year, 12], _) => (at(days(year, 12, 1)), at(days(year + 1, 1, 1))),
        (&[year, month], _) => (at(days(year, month, 1)), at(days(year, month + 1, 1))),
        (&[year, month, day], None) => {
            let low = at(days(year, month, day));
            (low, low + DAY)
        }
        (&[year, month, day], Some(time)) => {
            let (offset, width) = moment(time);
            let low = at(days(year, month, day)) + offset;
            (low, low + width)
        }
        _ => panic!("{text} is no date"),
    };
    Span { low: Some(low), high: Some(if is_point { low + 1 } else { high }) }
}

/// Ticks from midnight UTC, and the width.
fn moment(time: &str) -> (i128, i128) {
    let (clock, zone) = match time.find(['Z', '+', '-']) {
        Some(at) => (&time[..at], &time[at..]),
        None => (time, "Z"),
    };
    let minutes = |text: &str| -> i128 {
        let (hours, minutes) = text.split_once(':').unwrap();
        hours.parse::<i128>().unwrap() * 60 + minutes.parse::<i128>().unwrap()
    };
    let shift = match zone.split_at(1) {
        ("+", zone) => minutes(zone),
        ("-", zone) => -minutes(zone),
        _ => 0,
    };
    let whole = (minutes(&clock[..5]) - shift) * 60 * SECOND;
    let Some(seconds) = clock.get(6..) else { return (whole, 60 * SECOND) };
    match seconds.split_once('.') {
        None => (whole + seconds.parse::<i128>().unwrap() * SECOND, SECOND),
        Some((seconds, fraction)) => {
            let micros: i128 = format!("{fraction:0<6}")[..6].parse().unwrap();
            (whole + seconds.parse::<i128>().unwrap() * SECOND + micros * 2, 1)
        }
    }
}

impl Span {
    /// From the beginning of one to the end of the other.
    pub(super) fn around(self, other: Self) -> Self {
        Self {
            low: self.low.zip(other.low).map(|(a, b)| a.min(b)),
            high: self.high.zip(other.high).map(|(a, b)| a.max(b)),
        }
    }
}

/// Whether what is stored compares so with what is asked (rest 4.46 to 4.52). `ap` wants the asked
/// span widened.
pub(crate) fn compares(prefix: &str, stored: Span, asked: Span) -> bool {
    let low = stored.low.unwrap_or(i128::MIN);
    let high = stored.high.unwrap_or(i128::MAX);
    let (from, to) = (asked.low.unwrap_or(i128::MIN), asked.high.unwrap_or(i128::MAX));
    let contains = from <= low && high <= to;
    match prefix {
        "" | "eq" => contains,
        "ne" => !contains,
        "gt" => high > to,
        "lt" => low < from,
        "ge" => high > to || contains,
        "le" => low < from || contains,
        "sa" => low >= to,
        "eb" => high <= from,
        "ap" => low < to && from < high,
        _ => panic!("no prefix {prefix}"),
    }
}

/// Digits after the point that numbers are kept with.
const PLACES: usize = 12;

/// A decimal without an exponent.
pub(super) fn number(text: &str) -> i128 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(fraction.len() <= PLACES, "{text} has too many digits");
    sign * format!("{whole}{fraction:0<PLACES$}").parse::<i128>().unwrap()
}

/// Half of the last digit's place.
pub(super) fn half(text: &str) -> i128 {
    let places = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    5 * 10_i128.pow((PLACES - places - 1) as u32)
}

/// Both ends inside; `None` is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Numbers {
    pub(super) low: Option<i128>,
    pub(super) high: Option<i128>,
}

impl Numbers {
    pub(super) fn exact(value: i128) -> Self {
        Self { low: Some(value), high: Some(value) }
    }

    /// Whether it compares so with `value`, which stands for everything within `half` (rest 4.34 to
    /// 4.37). Ends of ranges never meet a number that is asked for: the generator sees to that.
    pub(super) fn compares(self, prefix: &str, value: i128, half: i128) -> bool {
        let low = self.low.unwrap_or(i128::MIN);
        let high = self.high.unwrap_or(i128::MAX);
        let contains = value - half <= low && high < value + half;
        let tenth = value.abs() / 10;
        match prefix {
            "" | "eq" => contains,
            "ne" => !contains,
            "gt" => high > value,
            "lt" => low < value,
            "ge" => high >= value,
            "le" => low <= value,
            "sa" => low > value,
            "eb" => high < value,
            "ap" => low <= value + tenth && value - tenth <= high,
            _ => panic!("no prefix {prefix}"),
        }
    }
}

/// A text without case, accents and punctuation, white space as one space (rest 4.69).
///
/// Knows the letters that the generator uses.
pub(super) fn fold(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            'ü' | 'Ü' => out.push('u'),
            'é' | 'É' => out.push('e'),
            'å' | 'Å' => out.push('a'),
            'ø' | 'Ø' => out.push('o'),
            'ß' => out.push_str("ss"),
            '\'' | '-' | '.' | ',' | '(' | ')' | '\u{2019}' | '\u{301}' | '\u{308}' => {}
            letter if letter.is_whitespace() => {
                if !out.is_empty() && !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            letter => {
                assert!(letter.is_ascii(), "the oracle does not know {letter:?}");
                out.push(letter.to_ascii_lowercase());
            }
        }
    }
    out.trim_end().to_owned()
}

/// The base unit of a UCUM code that the generator uses, and how many of it one unit is:
/// numerator and denominator.
pub(super) fn base_unit(code: &str) -> Option<(&'static str, i128, i128)> {
    Some(match code {
        "kg" => ("g", 1_000, 1),
        "g" => ("g", 1, 1),
        "mg" => ("g", 1, 1_000),
        "h" => ("min", 60, 1),
        "min" => ("min", 1, 1),
        "a" => ("min", 525_960, 1),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted() {
        for (date, count) in [((1970, 1, 1), 0), ((2000, 3, 1), 11_017), ((1979, 12, 31), 3_651)] {
            assert_eq!(days(date.0, date.1, date.2), count, "{date:?}");
            assert_eq!(civil(count), date, "{count}");
        }
    }

    #[test]
    fn spans_follow_appendix_a() {
        let stored = ["1979-12-31", "1980", "1980-05", "1980-05-11", "1980-05-11T16:32:15Z"];
        for (asked, prefix, expected) in [
            ("1980-05", "eq", "00111"),
            ("1980-05", "ne", "11000"),
            ("1980-05-11", "lt", "11100"),
            ("1980-05-11", "gt", "01100"),
            ("1980-05-11T16:32:15", "le", "11111"),
            ("1979-12-31", "sa", "01111"),
            ("1980", "eb", "10000"),
        ] {
            let found: String = stored
                .iter()
                .map(|text| {
                    if compares(prefix, span(text, false), span(asked, false)) { '1' } else { '0' }
                })
                .collect();
            assert_eq!(found, expected, "{prefix}{asked}");
        }
    }

    #[test]
    fn numbers_have_the_range_of_their_digits() {
        for (stored, prefix, asked, expected) in [
            ("99.5", "", "100", true),
            ("100.5", "", "100", false),
            ("5.0005", "", "5.000", false),
            ("90", "ap", "100", true),
            ("100.0001", "gt", "100", true),
        ] {
            let found = Numbers::exact(number(stored)).compares(prefix, number(asked), half(asked));
            assert_eq!(found, expected, "{prefix}{asked} of {stored}");
        }
    }
}
