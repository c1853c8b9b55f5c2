//! Dates and times as FHIR writes them: partial, with the text and the precision kept.
//!
//! A [`DateTime`] is the span of time that its text names: `2015` is a year, `2015-02-07T13:28:17Z`
//! a second. [`DateTime::lower`] and [`DateTime::upper`] are the ends of that span. The calendar is
//! the proleptic Gregorian one, years 1 to 9999; a second 60 is the first of the next minute.
//!
//! Spec: <https://hl7.org/fhir/R4/datatypes.html#dateTime>,
//! <https://hl7.org/fhir/R4/search.html#date>

use super::civil::{days_from_civil, days_in_month};
use super::instant::Instant;

/// How far a text goes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Precision {
    /// `2015`
    Year,
    /// `2015-02`
    Month,
    /// `2015-02-07`
    Day,
    /// `2015-02-07T13:28`: searches only.
    Minute,
    /// `2015-02-07T13:28:17`
    Second,
    /// `2015-02-07T13:28:17.239`: a point, not a span.
    Fraction,
}

/// A distance from UTC.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Zone {
    /// Minutes east of Greenwich: -840 to 840.
    minutes: i16,
}

impl Zone {
    /// UTC itself.
    pub const UTC: Self = Self { minutes: 0 };

    /// Reads `Z`, `+hh:mm` or `-hh:mm`, at most 14 hours either way.
    pub fn parse(text: &str) -> Option<Self> {
        let sign = match text.as_bytes() {
            [b'Z'] => return Some(Self::UTC),
            [b'+', ..] => 1,
            [b'-', ..] => -1,
            _ => return None,
        };
        let mut rest = Cursor(&text.as_bytes()[1..]);
        let hours = rest.number(2)?;
        rest.expect(b':')?;
        let minutes = rest.number(2)?;
        let fits =
            rest.0.is_empty() && minutes < 60 && (hours < 14 || (hours == 14 && minutes == 0));
        fits.then_some(Self { minutes: sign * (hours * 60 + minutes) as i16 })
    }

    /// Minutes east of Greenwich.
    pub fn minutes(self) -> i16 {
        self.minutes
    }
}

/// A date or a date with a time, as precise as its text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DateTime<'a> {
    text: &'a str,
    precision: Precision,
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    micros: u32,
    zone: Option<Zone>,
}

impl<'a> DateTime<'a> {
    /// Reads a `date`: `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
    pub fn parse_date(text: &'a str) -> Option<Self> {
        let mut rest = Cursor(text.as_bytes());
        let date = Self::date(text, &mut rest)?;
        rest.0.is_empty().then_some(date)
    }

    /// Reads a `dateTime`: a date, or a date with seconds and a zone.
    pub fn parse(text: &'a str) -> Option<Self> {
        let moment = Self::lenient(text)?;
        let whole = moment.precision >= Precision::Second && moment.zone.is_some();
        (moment.precision <= Precision::Day || whole).then_some(moment)
    }

    /// Reads an `instant`: a date with seconds and a zone.
    pub fn parse_instant(text: &'a str) -> Option<Self> {
        Self::parse(text).filter(|moment| moment.precision >= Precision::Second)
    }

    /// Reads the date of a search or of `_at`: a `dateTime` whose seconds and zone may be missing
    /// and whose fraction has at most nine digits (rest 4.44, 4.64, 4.65).
    pub fn parse_search(text: &'a str) -> Option<Self> {
        let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 9 { None } else { Self::lenient(text) }
    }

    /// Whether the text is a `time`: `hh:mm:ss` with or without a fraction, no zone.
    pub fn is_time(text: &str) -> bool {
        let mut rest = Cursor(text.as_bytes());
        let mut moment = DateTime::at_year(text, 1);
        let time = moment.time(&mut rest);
        time.is_some() && rest.0.is_empty() && moment.precision >= Precision::Second
    }

    /// The text it was read from.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// How precise the text is.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The zone, where the text names one.
    pub fn zone(&self) -> Option<Zone> {
        self.zone
    }

    /// The first moment of the span; `zone` is for a text that names none.
    pub fn lower(&self, zone: Zone) -> Instant {
        self.instant(self.days(), zone)
    }

    /// The first moment after the span; for a [`Precision::Fraction`] the moment itself.
    pub fn upper(&self, zone: Zone) -> Instant {
        let second = 1_000_000;
        let lower = self.instant(self.days(), zone);
        let plus = |micros: i64| Instant::from_micros(lower.as_micros() + micros);
        match self.precision {
            Precision::Year => self.instant(days_from_civil(self.year + 1, 1, 1), zone),
            Precision::Month if self.month == 12 => {
                self.instant(days_from_civil(self.year + 1, 1, 1), zone)
            }
            Precision::Month => self.instant(days_from_civil(self.year, self.month + 1, 1), zone),
            Precision::Day => plus(24 * 3_600 * second),
            Precision::Minute => plus(60 * second),
            Precision::Second => plus(second),
            Precision::Fraction => lower,
        }
    }

    fn days(&self) -> i64 {
        days_from_civil(self.year, self.month, self.day)
    }

    fn instant(&self, days: i64, zone: Zone) -> Instant {
        let zone = i64::from(self.zone.unwrap_or(zone).minutes);
        let minutes = i64::from(self.hour) * 60 + i64::from(self.minute) - zone;
        let seconds = days * 86_400 + minutes * 60 + i64::from(self.second);
        Instant::from_micros(seconds * 1_000_000 + i64::from(self.micros))
    }

    fn at_year(text: &'a str, year: u16) -> Self {
        Self {
            text,
            precision: Precision::Year,
            year,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            micros: 0,
            zone: None,
        }
    }

    /// A date and, where there is one, a time: seconds and zone may be missing.
    fn lenient(text: &'a str) -> Option<Self> {
        let mut rest = Cursor(text.as_bytes());
        let mut moment = Self::date(text, &mut rest)?;
        if rest.0.is_empty() {
            return Some(moment);
        }
        if moment.precision != Precision::Day {
            return None;
        }
        rest.expect(b'T')?;
        moment.time(&mut rest)?;
        if !rest.0.is_empty() {
            // What was read so far is ASCII, so this is a boundary of characters.
            moment.zone = Some(Zone::parse(text.get(text.len() - rest.0.len()..)?)?);
        }
        Some(moment)
    }

    fn date(text: &'a str, rest: &mut Cursor<'_>) -> Option<Self> {
        let year = rest.number(4)?;
        if year == 0 {
            return None;
        }
        let mut moment = Self::at_year(text, year);
        if rest.expect(b'-').is_none() {
            return Some(moment);
        }
        moment.month = rest.number(2)? as u8;
        moment.precision = Precision::Month;
        if !(1..=12).contains(&moment.month) {
            return None;
        }
        if rest.expect(b'-').is_none() {
            return Some(moment);
        }
        moment.day = rest.number(2)? as u8;
        moment.precision = Precision::Day;
        let last = days_in_month(moment.year, moment.month);
        (1..=last).contains(&moment.day.into()).then_some(moment)
    }

    fn time(&mut self, rest: &mut Cursor<'_>) -> Option<()> {
        self.hour = rest.number(2).filter(|&hour| hour < 24)? as u8;
        rest.expect(b':')?;
        self.minute = rest.number(2).filter(|&minute| minute < 60)? as u8;
        self.precision = Precision::Minute;
        if rest.expect(b':').is_none() {
            return Some(());
        }
        self.second = rest.number(2).filter(|&second| second <= 60)? as u8;
        self.precision = Precision::Second;
        if rest.expect(b'.').is_none() {
            return Some(());
        }
        self.precision = Precision::Fraction;
        self.micros = rest.fraction()?;
        Some(())
    }
}

/// What is left to read of a text.
struct Cursor<'t>(&'t [u8]);

impl Cursor<'_> {
    /// Exactly `count` digits, at most four.
    fn number(&mut self, count: usize) -> Option<u16> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let add = |sum: u16, digit: &u8| {
            digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0'))
        };
        let number = digits.iter().try_fold(0, add)?;
        self.0 = rest;
        Some(number)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// At least one digit after the point, as microseconds; finer digits are cut off.
    fn fraction(&mut self) -> Option<u32> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        let micros = (0..6).fold(0, |sum, at| {
            sum * 10 + u32::from(digits.get(at).map_or(0, |digit| digit - b'0'))
        });
        (count > 0).then_some(micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_in_the_calendar() {
        for (text, valid) in [
            ("2015", true),
            ("0001", true),
            ("9999-12-31", true),
            ("2024-02-29", true),
            ("2000-02-29", true),
            ("1900-02-29", false),
            ("2023-02-29", false),
            ("2023-02-30", false),
            ("2023-04-31", false),
            ("2023-13", false),
            ("2023-00", false),
            ("2023-01-00", false),
            ("0000", false),
            ("15", false),
            ("20155", false),
            ("2015-2", false),
            ("2015-02-7", false),
            ("2015-02-07T00:00:00Z", false),
            (" 2015", false),
            ("2015 ", false),
            ("-2015", false),
            ("2015/02", false),
            ("２０１５", false),
            ("", false),
        ] {
            assert_eq!(DateTime::parse_date(text).is_some(), valid, "{text:?}");
        }
    }

    #[test]
    fn each_type_takes_its_own_forms() {
        // Text, then whether it is a dateTime, an instant, a search value.
        for (text, date_time, instant, search) in [
            ("2015-02", true, false, true),
            ("2015-02-07T13:28:17Z", true, true, true),
            ("2015-02-07T13:28:17.239+02:00", true, true, true),
            ("2015-02-07T13:28:17.2391234567-14:00", true, true, false),
            ("2015-02-07T13:28:17.123456789Z", true, true, true),
            ("2015-02-07T23:59:60Z", true, true, true),
            ("2015-02-07T13:28:17", false, false, true),
            ("2015-02-07T13:28", false, false, true),
            ("2015-02-07T13:28Z", false, false, true),
            ("2015-02-07T13", false, false, false),
            ("2015-02-07T", false, false, false),
            ("2015-02T13:28:17Z", false, false, false),
            ("2015-02-07t13:28:17Z", false, false, false),
            ("2015-02-07T13:28:17z", false, false, false),
            ("2015-02-07T24:00:00Z", false, false, false),
            ("2015-02-07T13:60:00Z", false, false, false),
            ("2015-02-07T13:28:61Z", false, false, false),
            ("2015-02-07T13:28:17.Z", false, false, false),
            ("2015-02-07T13:28:17+14:01", false, false, false),
            ("2015-02-07T13:28:17+0200", false, false, false),
            ("2015-02-07T13:28:17 02:00", false, false, false),
            ("2015-02-07T13:28:17é", false, false, false),
            ("2015-02-30T13:28:17Z", false, false, false),
        ] {
            assert_eq!(DateTime::parse(text).is_some(), date_time, "dateTime {text:?}");
            assert_eq!(DateTime::parse_instant(text).is_some(), instant, "instant {text:?}");
            assert_eq!(DateTime::parse_search(text).is_some(), search, "search {text:?}");
        }
    }

    #[test]
    fn a_text_names_the_span_of_its_precision() {
        let cet = Zone::parse("+01:00").expect("zone");
        for (text, lower, upper) in [
            ("2015", "2014-12-31T23:00:00Z", "2015-12-31T23:00:00Z"),
            ("2015-12", "2015-11-30T23:00:00Z", "2015-12-31T23:00:00Z"),
            ("2024-02", "2024-01-31T23:00:00Z", "2024-02-29T23:00:00Z"),
            ("2024-02-29", "2024-02-28T23:00:00Z", "2024-02-29T23:00:00Z"),
            ("2015-02-07T13:28", "2015-02-07T12:28:00Z", "2015-02-07T12:29:00Z"),
            ("2015-02-07T13:28:17Z", "2015-02-07T13:28:17Z", "2015-02-07T13:28:18Z"),
            ("2015-02-07T23:59:60Z", "2015-02-08T00:00:00Z", "2015-02-08T00:00:01Z"),
            ("2015-02-07T13:28:17.5-04:00", "2015-02-07T17:28:17.5Z", "2015-02-07T17:28:17.5Z"),
        ] {
            let moment = DateTime::parse_search(text).expect(text);
            assert_eq!(Some(moment.lower(cet)), Instant::parse(lower), "{text}");
            assert_eq!(Some(moment.upper(cet)), Instant::parse(upper), "{text}");
            assert_eq!(moment.text(), text);
        }
    }

    #[test]
    fn days_agree_with_the_time_library_over_all_years() {
        for year in 1..=9999_i16 {
            for (month, day) in [(1, 1), (2, 28), (3, 1), (12, 31)] {
                let date = jiff::civil::date(year, month, day);
                let days = date.since(jiff::civil::date(1970, 1, 1)).expect("days").get_days();
                let ours = days_from_civil(year as u16, month as u8, day as u8);
                assert_eq!(ours, i64::from(days), "{date}");
            }
        }
    }
}
