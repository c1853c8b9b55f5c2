//! The moments that history's `_since` and `_at` name.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#history>, rest 1.6, 2.94, 2.95

use jiff::ToSpan;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::fhir::Instant;

/// From the first to before the second moment.
pub(super) type Period = (Instant, Instant);

/// The period of a dateTime: `2020`, `2020-05`, `2020-05-04`, or with time, to its precision.
///
/// Without a zone it is UTC. A space in the place of a zone's `+` is what browsers make of a raw
/// one. `None` when the text is no dateTime.
pub(super) fn read(text: &str) -> Option<Period> {
    let text = text.replace(' ', "+");
    let Some((date, _)) = text.split_once('T') else { return days(&text) };
    if date.len() != 10 {
        return None;
    }
    let time = text.split_once('T').map_or("", |(_, time)| time);
    let clock = time.split(['Z', '+', '-']).next().unwrap_or_default();
    let span_us: i64 = match clock.len() {
        5 => 60_000_000,
        8 => 1_000_000,
        _ if clock.len() > 9 && clock.as_bytes()[8] == b'.' => {
            10_i64.pow(6_u32.saturating_sub((clock.len() - 9) as u32))
        }
        _ => return None,
    };
    let start = if clock.len() < time.len() {
        Instant::parse(&with_seconds(&text, clock))?
    } else {
        utc(text.parse().ok()?)?
    };
    Some((start, Instant::from_micros(start.as_micros().checked_add(span_us)?)))
}

/// A time without seconds as one that has them, which is what an instant is.
fn with_seconds(text: &str, clock: &str) -> String {
    match clock.len() {
        5 => text.replacen(clock, &format!("{clock}:00"), 1),
        _ => text.to_owned(),
    }
}

fn days(text: &str) -> Option<Period> {
    let number = |part: &str, digits: usize| -> Option<i16> {
        let is_plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| part.parse().ok()).flatten()
    };
    let mut parts = text.split('-');
    let year = number(parts.next()?, 4)?;
    let month = parts.next().map(|part| number(part, 2));
    let day = parts.next().map(|part| number(part, 2));
    if parts.next().is_some() {
        return None;
    }
    let (start, span) = match (month, day) {
        (None, _) => (Date::new(year, 1, 1).ok()?, 1.year()),
        (Some(month), None) => (Date::new(year, month? as i8, 1).ok()?, 1.month()),
        (Some(month), Some(day)) => (Date::new(year, month? as i8, day? as i8).ok()?, 1.day()),
    };
    let end = start.checked_add(span).ok()?;
    Some((utc(start.to_datetime(jiff::civil::Time::midnight()))?, utc(end.into())?))
}

fn utc(time: DateTime) -> Option<Instant> {
    let zoned = time.to_zoned(TimeZone::UTC).ok()?;
    Some(Instant::from_micros(zoned.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_time_is_a_period_of_its_precision() {
        for (text, expected) in [
            ("2020", Some(("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"))),
            ("2020-02", Some(("2020-02-01T00:00:00Z", "2020-03-01T00:00:00Z"))),
            ("2020-02-29", Some(("2020-02-29T00:00:00Z", "2020-03-01T00:00:00Z"))),
            ("2020-02-29T10:11", Some(("2020-02-29T10:11:00Z", "2020-02-29T10:12:00Z"))),
            ("2020-02-29T10:11Z", Some(("2020-02-29T10:11:00Z", "2020-02-29T10:12:00Z"))),
            ("2020-02-29T10:11:12", Some(("2020-02-29T10:11:12Z", "2020-02-29T10:11:13Z"))),
            ("2020-02-29T10:11:12+02:00", Some(("2020-02-29T08:11:12Z", "2020-02-29T08:11:13Z"))),
            ("2020-02-29T10:11:12 02:00", Some(("2020-02-29T08:11:12Z", "2020-02-29T08:11:13Z"))),
            ("2020-02-29T10:11:12-02:00", Some(("2020-02-29T12:11:12Z", "2020-02-29T12:11:13Z"))),
            ("2020-02-29T10:11:12.5Z", Some(("2020-02-29T10:11:12.5Z", "2020-02-29T10:11:12.6Z"))),
            (
                "2020-02-29T10:11:12.123Z",
                Some(("2020-02-29T10:11:12.123Z", "2020-02-29T10:11:12.124Z")),
            ),
            ("2021-02-29", None),
            ("2020-13", None),
            ("20", None),
            ("2020-1-1", None),
            ("2020-02-29T", None),
            ("2020-02-29T10", None),
            ("2020-02T10:11:12Z", None),
            ("2020-02-29T10:11:12.Z", None),
            ("2020-01-01-01", None),
            ("yesterday", None),
            ("+020", None),
            ("", None),
        ] {
            let expected = expected.map(|(start, end)| {
                let instant = |text| Instant::parse(text).expect("instant");
                (instant(start), instant(end))
            });
            assert_eq!(read(text), expected, "{text:?}");
        }
    }
}
