//! A point in time as FHIR's `instant`, kept in UTC to the microsecond.
//!
//! Spec: <https://hl7.org/fhir/R4/datatypes.html#instant>

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::datetime::{self, Zone};

/// Microseconds since 1970 in UTC. Printed with milliseconds and `Z`.
///
/// The server stamps versions at whole milliseconds, so that what a client reads is all there is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Instant(i64);

impl Instant {
    /// From microseconds since 1970.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// The same moment without its fraction of a millisecond.
    #[must_use]
    pub fn floor_to_millis(self) -> Self {
        Self(self.0.div_euclid(1_000) * 1_000)
    }

    /// Later by `millis`.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis.saturating_mul(1_000)))
    }

    /// Reads a full date and time with zone; `None` when the text is no instant, or lies outside
    /// the years that print as one (1 to 9999 in UTC, but for the last day).
    pub fn parse(text: &str) -> Option<Self> {
        let instant = datetime::DateTime::parse_instant(text)?.lower(Zone::UTC);
        (Self::YEAR_1..=Timestamp::MAX.as_microsecond()).contains(&instant.0).then_some(instant)
    }

    /// 0001-01-01T00:00:00Z
    const YEAR_1: i64 = -62_135_596_800_000_000;

    /// The HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT`: whole seconds (RFC 9110 section 5.6.7).
    pub fn to_http_date(self) -> String {
        const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let time = self.civil();
        let day = time.weekday().to_monday_zero_offset() as usize;
        let mut text = *b"Day, 00 Mon 0000 00:00:00 GMT";
        text[..3].copy_from_slice(DAYS[day].as_bytes());
        put_digits(&mut text[5..7], time.day() as u32);
        text[8..11].copy_from_slice(MONTHS[(time.month() - 1) as usize].as_bytes());
        put_digits(&mut text[12..16], time.year().unsigned_abs().into());
        put_clock(&mut text[17..25], time);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Reads an HTTP date in any of its three forms, from 1970 on; `None` for anything else.
    pub fn from_http_date(text: &str) -> Option<Self> {
        let time = httpdate::parse_http_date(text.trim()).ok()?;
        Some(Self(Timestamp::try_from(time).ok()?.as_microsecond()))
    }

    /// The calendar's view in UTC.
    fn civil(self) -> DateTime {
        let stamp = Timestamp::from_microsecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH);
        Offset::UTC.to_datetime(stamp)
    }
}

// Every answer prints instants: digits by hand take a tenth of the time of a format string.

/// Puts a time of day into the digits of `00:00:00`.
fn put_clock(room: &mut [u8], time: DateTime) {
    put_digits(&mut room[..2], time.hour() as u32);
    put_digits(&mut room[3..5], time.minute() as u32);
    put_digits(&mut room[6..], time.second() as u32);
}

/// Fills `room` with the last digits of a number.
fn put_digits(room: &mut [u8], number: u32) {
    let mut rest = number;
    for digit in room.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.civil();
        let mut text = *b"-0000-00-00T00:00:00.000Z";
        put_digits(&mut text[1..5], time.year().unsigned_abs().into());
        put_digits(&mut text[6..8], time.month() as u32);
        put_digits(&mut text[9..11], time.day() as u32);
        put_clock(&mut text[12..20], time);
        put_digits(&mut text[21..24], time.millisecond() as u32);
        let sign = usize::from(time.year() >= 0);
        f.write_str(std::str::from_utf8(&text[sign..]).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_prints_milliseconds_in_utc() {
        for (text, printed) in [
            ("2024-02-29T23:30:00-04:00", "2024-03-01T03:30:00.000Z"),
            ("1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"),
            ("2015-02-07T13:28:17.239+02:00", "2015-02-07T11:28:17.239Z"),
            ("2001-02-03T04:05:06.0079Z", "2001-02-03T04:05:06.007Z"),
            ("0987-12-31T20:10:00.1Z", "0987-12-31T20:10:00.100Z"),
        ] {
            let instant = Instant::parse(text).expect(text);
            assert_eq!(instant.floor_to_millis().to_string(), printed);
        }
        assert_eq!(Instant::parse("2024-02-30T00:00:00Z"), None);
        for text in [
            "2024-02-01",
            "2024-02-01 00:00:00Z",
            "2024-02-01t00:00:00z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-14:00",
        ] {
            assert_eq!(Instant::parse(text), None, "{text}");
        }
        let first = Instant::parse("0001-01-01T00:00:00Z").map(|first| first.to_string());
        assert_eq!(first.as_deref(), Some("0001-01-01T00:00:00.000Z"));
    }

    #[test]
    fn an_http_date_is_the_instant_in_whole_seconds() {
        let instant = Instant::parse("1994-11-06T08:49:37.700Z").expect("instant");
        let text = instant.to_http_date();
        assert_eq!(text, "Sun, 06 Nov 1994 08:49:37 GMT");
        let back = Instant::from_http_date(&text).expect("date");
        assert_eq!(back.to_string(), "1994-11-06T08:49:37.000Z");
        // RFC 9110 section 5.6.7: the two older forms are understood too.
        for old in ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(Instant::from_http_date(old), Some(back), "{old}");
        }
        for bad in ["yesterday", "Sun, 06 Nov -1994 08:49:37 GMT", "Sun, 06 Nov- 1994 08:49:37 GMT"]
        {
            assert_eq!(Instant::from_http_date(bad), None, "{bad}");
        }
    }
}
