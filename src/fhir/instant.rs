//! A point in time as FHIR's `instant`, kept in UTC to the microsecond.
//!
//! Spec: <https://hl7.org/fhir/R4/datatypes.html#instant>

use std::fmt;

use jiff::Timestamp;

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

    /// Reads a full date and time with zone; `None` when the text is no instant.
    pub fn parse(text: &str) -> Option<Self> {
        let stamp: Timestamp = text.parse().ok()?;
        Some(Self(stamp.as_microsecond()))
    }

    /// The HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT`: whole seconds (RFC 9110 section 5.6.7).
    pub fn to_http_date(self) -> String {
        self.timestamp().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Reads an HTTP date in its preferred form; `None` for anything else.
    pub fn from_http_date(text: &str) -> Option<Self> {
        let parsed = jiff::civil::DateTime::strptime("%a, %d %b %Y %H:%M:%S GMT", text.trim());
        let zoned = parsed.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Self(zoned.timestamp().as_microsecond()))
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp().strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
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
        ] {
            let instant = Instant::parse(text).expect(text);
            assert_eq!(instant.floor_to_millis().to_string(), printed);
        }
        assert_eq!(Instant::parse("2024-02-30T00:00:00Z"), None);
        assert_eq!(Instant::parse("2024-02-01"), None);
    }

    #[test]
    fn an_http_date_is_the_instant_in_whole_seconds() {
        let instant = Instant::parse("1994-11-06T08:49:37.700Z").expect("instant");
        let text = instant.to_http_date();
        assert_eq!(text, "Sun, 06 Nov 1994 08:49:37 GMT");
        let back = Instant::from_http_date(&text).expect("date");
        assert_eq!(back.to_string(), "1994-11-06T08:49:37.000Z");
        assert_eq!(Instant::from_http_date("yesterday"), None);
    }
}
