//! Dates and times of version 2, and what FHIR makes of them.
//!
//! A [`Moment`] keeps the precision of its text. A date is never moved by a zone. A time of day needs
//! an offset in FHIR: its own, else that of MSH-7, else the one of the site's zone on that day.
//!
//! Spec: v2 S50, B29; <https://hl7.org/fhir/R4/datatypes.html#dateTime>

use std::fmt::Write as _;

use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};
use thiserror::Error;

use crate::fhir::Instant;

/// Why a text is no date or time.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum MomentError {
    /// Zeros, which some systems send for nothing.
    #[error("a date of zeros says nothing")]
    Zeros,
    /// Not digits in the form of the standard, or a day or hour that there is not.
    #[error("no date or time as the standard writes it")]
    Form,
}

/// A date, or a date with a time: `YYYY[MM[DD[HH[MM[SS[.s]]]]]][+ZZZZ]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Moment<'a> {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    time: Option<Time<'a>>,
    /// Minutes east of Greenwich.
    offset: Option<i16>,
}

/// A time of day: `HH[MM[SS[.s]]]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Time<'a> {
    hour: i8,
    minute: Option<i8>,
    second: Option<i8>,
    /// Digits after the point.
    fraction: &'a str,
}

/// What a time without an offset of its own is read by.
#[derive(Clone, Debug)]
pub struct Zones {
    /// The offset of MSH-7 in minutes.
    pub message: Option<i16>,
    /// The zone of the site.
    pub site: TimeZone,
}

/// What was decided to write a moment as FHIR wants it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Assumed {
    /// Minutes or seconds that were not sent became zero.
    pub filled: bool,
    /// The clock was set forward or back at that time.
    pub ambiguous: bool,
    /// 24:00 or a second 60 became the moment after.
    pub carried: bool,
}

impl Assumed {
    /// Whether anything was.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

impl Zones {
    /// The zone of a name of the IANA database, and no offset of a message.
    pub fn named(name: &str) -> Option<Self> {
        Some(Self { message: None, site: TimeZone::get(name).ok()? })
    }

    /// Everything in UTC.
    pub fn utc() -> Self {
        Self { message: None, site: TimeZone::UTC }
    }

    /// The same for a message with this MSH-7.
    #[must_use]
    pub fn of_message(&self, sent: &str) -> Self {
        let message = Moment::parse(sent).ok().and_then(|moment| moment.offset);
        Self { message, site: self.site.clone() }
    }
}

impl<'a> Moment<'a> {
    /// Reads a DTM, DT, or the first component of a TS.
    ///
    /// # Errors
    /// [`MomentError`]: nothing is guessed.
    pub fn parse(text: &'a str) -> Result<Self, MomentError> {
        let text = text.trim();
        let (digits, offset) = with_offset(text)?;
        if !digits.is_ascii() {
            return Err(MomentError::Form);
        }
        if !digits.is_empty() && digits.bytes().all(|byte| byte == b'0') {
            return Err(MomentError::Zeros);
        }
        let (date, time) = digits.split_at(digits.len().min(8));
        let part = |range: std::ops::Range<usize>| date.get(range).map(two).transpose();
        let year = date.get(..4).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let year = year.and_then(|text| text.parse().ok()).filter(|year| *year > 0);
        let year: i16 = year.ok_or(MomentError::Form)?;
        if !matches!(date.len(), 4 | 6 | 8) {
            return Err(MomentError::Form);
        }
        let (month, day) = (part(4..6)?, part(6..8)?);
        // A day that there is: the calendar knows.
        civil::Date::new(year, month.unwrap_or(1), day.unwrap_or(1))
            .map_err(|_| MomentError::Form)?;
        let time = if time.is_empty() { None } else { Some(Time::parse(time)?) };
        Ok(Self { year, month, day, time, offset })
    }

    /// The moment cut to a degree of precision (TS.2: Y, L, D, H, M, S).
    #[must_use]
    pub fn at_precision(self, degree: &str) -> Self {
        let time = |minute: bool| {
            self.time.map(|time| Time {
                minute: time.minute.filter(|_| minute),
                second: None,
                fraction: "",
                ..time
            })
        };
        match degree {
            "Y" => Self { month: None, day: None, time: None, ..self },
            "L" => Self { day: None, time: None, ..self },
            "D" => Self { time: None, ..self },
            "H" => Self { time: time(false), ..self },
            "M" => Self { time: time(true), ..self },
            _ => self,
        }
    }

    /// Whether there is a time of day.
    pub fn has_time(&self) -> bool {
        self.time.is_some()
    }

    /// Its own offset in minutes.
    pub fn offset(&self) -> Option<i16> {
        self.offset
    }

    /// The date alone as FHIR writes it, as precise as it was sent, moved by no zone.
    pub fn date(&self) -> String {
        let mut text = format!("{:04}", self.year);
        for part in [self.month, self.day].into_iter().map_while(|part| part) {
            // Writing to a String does not fail.
            let _ = write!(text, "-{part:02}");
        }
        text
    }

    /// A FHIR `dateTime`.
    pub fn date_time(&self, zones: &Zones) -> (String, Assumed) {
        match self.time {
            None => (self.date(), Assumed::default()),
            Some(time) => self.timed(time, zones),
        }
    }

    /// A FHIR `instant`: what is not said is zero, of a date the first month and day.
    pub fn instant(&self, zones: &Zones) -> (String, Assumed) {
        let midnight = Time { hour: 0, minute: None, second: None, fraction: "" };
        self.timed(self.time.unwrap_or(midnight), zones)
    }

    /// The first moment that is meant, to compare moments by.
    pub fn start(&self, zones: &Zones) -> Instant {
        let (text, _) = self.instant(zones);
        Instant::parse(&text).unwrap_or(Instant::from_micros(0))
    }

    fn timed(&self, time: Time<'_>, zones: &Zones) -> (String, Assumed) {
        let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        let mut assumed = Assumed {
            filled: time.second.is_none(),
            ambiguous: false,
            carried: time.hour == 24 || time.second == Some(60),
        };
        let (second, carry) = match time.second {
            Some(60) => (0, 60),
            second => (second.unwrap_or(0), 0),
        };
        let hour = time.hour % 24;
        let carry = carry + if time.hour == 24 { 86_400 } else { 0 };
        let date = civil::Date::constant(self.year, 1, 1);
        let date = date.with().month(month).day(day).build().unwrap_or(date);
        let local = date.at(hour, time.minute.unwrap_or(0), second, 0);
        let local = local.checked_add(jiff::SignedDuration::from_secs(carry)).unwrap_or(local);
        let (local, minutes) = match self.offset.or(zones.message) {
            Some(minutes) => (local, minutes),
            None => in_zone(local, &zones.site, &mut assumed),
        };
        let mut text = local.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        if !time.fraction.is_empty() {
            // Writing to a String does not fail.
            let _ = write!(text, ".{}", time.fraction);
        }
        let (sign, size) = (if minutes < 0 { '-' } else { '+' }, minutes.unsigned_abs());
        let _ = write!(text, "{sign}{:02}:{:02}", size / 60, size % 60);
        (text, assumed)
    }
}

/// A local time as the clocks of a zone show it, and their offset in minutes.
fn in_zone(
    local: civil::DateTime,
    zone: &TimeZone,
    assumed: &mut Assumed,
) -> (civil::DateTime, i16) {
    let found = zone.to_ambiguous_timestamp(local);
    assumed.ambiguous = !matches!(found.offset(), AmbiguousOffset::Unambiguous { .. });
    match found.compatible() {
        Ok(moment) => {
            let offset = zone.to_offset(moment);
            (offset.to_datetime(moment), (offset.seconds() / 60) as i16)
        }
        Err(_) => (local, 0),
    }
}

/// A TM as a FHIR `time`: seconds that were not sent are zero.
///
/// # Errors
/// [`MomentError::Form`]; an offset cannot be told in FHIR and is let go.
pub fn time(text: &str) -> Result<(String, Assumed), MomentError> {
    let (digits, _) = with_offset(text.trim())?;
    let time = Time::parse(digits)?;
    if time.hour == 24 || time.second == Some(60) {
        return Err(MomentError::Form);
    }
    let (minute, second) = (time.minute.unwrap_or(0), time.second.unwrap_or(0));
    let mut text = format!("{:02}:{minute:02}:{second:02}", time.hour);
    if !time.fraction.is_empty() {
        // Writing to a String does not fail.
        let _ = write!(text, ".{}", time.fraction);
    }
    Ok((text, Assumed { filled: time.second.is_none(), ..Assumed::default() }))
}

impl<'a> Time<'a> {
    fn parse(text: &'a str) -> Result<Self, MomentError> {
        let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_whole = digits.len() == 6;
        let has_point = digits.len() < text.len();
        let is_fraction = fraction.len() <= 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
        if !matches!(digits.len(), 2 | 4 | 6) || (has_point && !is_whole) || !is_fraction {
            return Err(MomentError::Form);
        }
        let part = |range: std::ops::Range<usize>| digits.get(range).map(two).transpose();
        let (hour, minute, second) = (part(0..2)?, part(2..4)?, part(4..6)?);
        let hour = hour.ok_or(MomentError::Form)?;
        let is_end = hour == 24
            && minute.unwrap_or(0) == 0
            && second.unwrap_or(0) == 0
            && fraction.bytes().all(|byte| byte == b'0');
        let fits = (hour < 24 || is_end)
            && minute.is_none_or(|minute| minute < 60)
            && second.is_none_or(|second| second <= 60);
        if fits { Ok(Self { hour, minute, second, fraction }) } else { Err(MomentError::Form) }
    }
}

/// The digits before an offset, and the offset: `+hhmm`, `+hh` or `+hh:mm`.
fn with_offset(text: &str) -> Result<(&str, Option<i16>), MomentError> {
    let Some(at) = text.find(['+', '-']) else { return Ok((text, None)) };
    let (digits, offset) = text.split_at(at);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    let number = &offset[1..];
    let (hours, minutes) = match number.len() {
        2 => (number, "00"),
        4 if number.is_ascii() => number.split_at(2),
        5 => number.split_once(':').ok_or(MomentError::Form)?,
        _ => return Err(MomentError::Form),
    };
    let (hours, minutes) = (i16::from(two(hours)?), i16::from(two(minutes)?));
    let size = hours * 60 + minutes;
    if minutes < 60 && size <= 14 * 60 {
        Ok((digits, Some(sign * size)))
    } else {
        Err(MomentError::Form)
    }
}

/// Two digits.
fn two(text: &str) -> Result<i8, MomentError> {
    let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = if is_number { text.parse().ok() } else { None };
    number.ok_or(MomentError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dublin() -> Zones {
        Zones::named("Europe/Dublin").unwrap()
    }

    /// Covers: v2 B29.
    /// Covers: v2 S50.
    #[test]
    fn each_precision_is_kept() {
        for (text, date_time, instant) in [
            ("2026", "2026", "2026-01-01T00:00:00+00:00"),
            ("202607", "2026-07", "2026-07-01T00:00:00+01:00"),
            ("20260704", "2026-07-04", "2026-07-04T00:00:00+01:00"),
            ("20260704+0500", "2026-07-04", "2026-07-04T00:00:00+05:00"),
            ("2026070409", "2026-07-04T09:00:00+01:00", "2026-07-04T09:00:00+01:00"),
            ("202607040930", "2026-07-04T09:30:00+01:00", "2026-07-04T09:30:00+01:00"),
            ("20260704093015", "2026-07-04T09:30:15+01:00", "2026-07-04T09:30:15+01:00"),
            ("20260104093015", "2026-01-04T09:30:15+00:00", "2026-01-04T09:30:15+00:00"),
            ("20260704093015.5", "2026-07-04T09:30:15.5+01:00", "2026-07-04T09:30:15.5+01:00"),
            (
                "20260704093015.123456-0800",
                "2026-07-04T09:30:15.123456-08:00",
                "2026-07-04T09:30:15.123456-08:00",
            ),
            ("202607040930-0030", "2026-07-04T09:30:00-00:30", "2026-07-04T09:30:00-00:30"),
            ("202607040930-05", "2026-07-04T09:30:00-05:00", "2026-07-04T09:30:00-05:00"),
            ("20260704240000", "2026-07-05T00:00:00+01:00", "2026-07-05T00:00:00+01:00"),
            ("20261231235960", "2027-01-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        ] {
            let moment = Moment::parse(text).unwrap();
            assert_eq!(moment.date_time(&dublin()).0, date_time, "{text}");
            assert_eq!(moment.instant(&dublin()).0, instant, "{text}");
        }
    }

    /// Covers: v2 B29.
    /// Covers: v2 S50.
    #[test]
    fn what_was_assumed_is_told() {
        let assumed = |filled, ambiguous, carried| Assumed { filled, ambiguous, carried };
        for (text, expected) in [
            ("20260704", assumed(false, false, false)),
            ("20260704093015", assumed(false, false, false)),
            ("2026070409", assumed(true, false, false)),
            ("20260704240000", assumed(false, false, true)),
            // The hour that Dublin leaves out, and the one that it has twice.
            ("20260329013000", assumed(false, true, false)),
            ("20261025013000", assumed(false, true, false)),
        ] {
            assert_eq!(Moment::parse(text).unwrap().date_time(&dublin()).1, expected, "{text}");
        }
        let read = |text| Moment::parse(text).unwrap().date_time(&dublin()).0;
        assert_eq!(read("20260329013000"), "2026-03-29T02:30:00+01:00");
        assert_eq!(read("20261025013000"), "2026-10-25T01:30:00+01:00");
    }

    /// Covers: v2 B29.
    /// Covers: v2 S50.
    #[test]
    fn an_offset_is_its_own_then_the_message_s_then_the_site_s() {
        let zones = dublin().of_message("20260704120000-0500");
        let read = |text| Moment::parse(text).unwrap().date_time(&zones).0;
        assert_eq!(read("20260704093015"), "2026-07-04T09:30:15-05:00");
        assert_eq!(read("20260704093015+0200"), "2026-07-04T09:30:15+02:00");
        // A date is never moved.
        assert_eq!(Moment::parse("19560704233000+1400").unwrap().date(), "1956-07-04");
        let start = |text| Moment::parse(text).unwrap().start(&dublin());
        assert!(start("20260704093015") < start("20260704093015.2"));
        assert_eq!(start("20260704093015"), start("20260704083015+0000"));
    }

    /// Covers: v2 S50.
    #[test]
    fn what_is_no_date_is_told() {
        for text in [
            "",
            "2",
            "202",
            "20201",
            "20201399",
            "20200230",
            "202002301",
            "2020010125",
            "202001012401",
            "202001011260",
            "20200101126061",
            "20200101.5",
            "202001011200.5",
            "2020-01-01",
            "20200101120000.",
            "2020O101",
            "٢٠٢٠",
            "20200101+1500",
            "20200101+1",
            "20200101+01000",
            "+0100",
            "2020é1",
            "ඁ΄🢰",
            "2020010é",
            "20200101120000.1234567890",
            "20200101120000+é0",
        ] {
            let read = Moment::parse(text);
            let dotted = text == "20200101120000.";
            assert_eq!(read.err(), (!dotted).then_some(MomentError::Form), "{text}");
        }
        for text in ["0000", "00000000", "00000000000000"] {
            assert_eq!(Moment::parse(text).unwrap_err(), MomentError::Zeros);
        }
    }

    #[test]
    fn a_degree_of_precision_cuts() {
        let moment = Moment::parse("20260704093015.5+0100").unwrap();
        for (degree, expected) in [
            ("Y", "2026"),
            ("L", "2026-07"),
            ("D", "2026-07-04"),
            ("H", "2026-07-04T09:00:00+01:00"),
            ("M", "2026-07-04T09:30:00+01:00"),
            ("S", "2026-07-04T09:30:15.5+01:00"),
            ("", "2026-07-04T09:30:15.5+01:00"),
        ] {
            assert_eq!(moment.at_precision(degree).date_time(&dublin()).0, expected, "{degree}");
        }
    }

    /// Covers: v2 S50.
    #[test]
    fn a_time_without_a_date() {
        for (text, expected) in [
            ("09", Some("09:00:00")),
            ("0930", Some("09:30:00")),
            ("093015", Some("09:30:15")),
            ("093015.25+0100", Some("09:30:15.25")),
            ("240000", None),
            ("0960", None),
            ("9", None),
            ("", None),
        ] {
            assert_eq!(time(text).ok().map(|(text, _)| text).as_deref(), expected, "{text}");
        }
    }
}
