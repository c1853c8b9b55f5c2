//! Dates, times and date-times with the precision they were written with.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#date>, <https://hl7.org/fhirpath/N1/#comparison>

use std::cmp::Ordering;

/// What a [`Temporal`] is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TemporalKind {
    /// A calendar date, to the year, month or day.
    Date,
    /// A date with a time of day, each perhaps partial.
    DateTime,
    /// A time of day.
    Time,
}

/// A date, date-time or time of day, down to the precision that was written.
#[derive(Clone, Copy, Debug)]
pub struct Temporal<'a> {
    text: &'a str,
    kind: TemporalKind,
    /// Year, month, day, hour, minute, nanoseconds of the minute.
    fields: [i64; 6],
    /// How many of `fields` were written, counted from the year.
    precision: usize,
    offset_minutes: Option<i64>,
}

const HOUR: usize = 3;

impl<'a> Temporal<'a> {
    /// Reads FHIR's and FHIRPath's form without `@`: `2015-02`, `2015-02-04T14:34:28Z`, `14:30`.
    ///
    /// A date with a `T` is a date-time even when nothing follows (`2015T`); a time may have a
    /// leading `T`. `None` when the text is none of these or no such day or hour exists.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(time) = text.strip_prefix('T') {
            return Self::time(text, time);
        }
        if text.as_bytes().get(2) == Some(&b':') || text.len() == 2 {
            return Self::time(text, text);
        }
        let (date, time) = match text.split_once('T') {
            Some((date, time)) => (date, Some(time)),
            None => (text, None),
        };
        let mut fields = [0, 1, 1, 0, 0, 0];
        let mut precision = read_date(date, &mut fields)?;
        let mut offset_minutes = None;
        if let Some(time) = time.filter(|time| !time.is_empty()) {
            let (time, offset) = split_offset(time)?;
            if precision != HOUR && !time.is_empty() {
                return None;
            }
            precision += read_time(time, &mut fields)?;
            offset_minutes = offset;
        }
        let kind = if time.is_some() { TemporalKind::DateTime } else { TemporalKind::Date };
        Some(Self { text, kind, fields, precision, offset_minutes })
    }

    fn time(text: &'a str, time: &str) -> Option<Self> {
        let mut fields = [0, 1, 1, 0, 0, 0];
        let read = read_time(time, &mut fields)?;
        let precision = HOUR + read;
        (read > 0).then_some(Self {
            text,
            kind: TemporalKind::Time,
            fields,
            precision,
            offset_minutes: None,
        })
    }

    /// What it is.
    pub fn kind(&self) -> TemporalKind {
        self.kind
    }

    /// The text it was read from.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The same moment as a date-time; a time of day stays what it is.
    #[must_use]
    pub fn to_date_time(mut self) -> Self {
        if self.kind == TemporalKind::Date {
            self.kind = TemporalKind::DateTime;
        }
        self
    }

    /// The order of two of these; `None` when the precision written does not tell.
    ///
    /// A time of day has no order with a date, nor has a date-time with an offset with one without.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        if (self.kind == TemporalKind::Time) != (other.kind == TemporalKind::Time) {
            return None;
        }
        let timed = self.precision > HOUR && other.precision > HOUR;
        if timed && self.offset_minutes.is_some() != other.offset_minutes.is_some() {
            return None;
        }
        let (left, right) =
            if timed { (self.in_utc(), other.in_utc()) } else { (self.fields, other.fields) };
        let shared = self.precision.min(other.precision);
        match left[..shared].cmp(&right[..shared]) {
            Ordering::Equal if self.precision != other.precision => None,
            order => Some(order),
        }
    }

    /// Whether both were written with the same precision.
    pub fn same_precision(&self, other: &Self) -> bool {
        self.precision == other.precision
    }

    fn in_utc(&self) -> [i64; 6] {
        let Some(offset) = self.offset_minutes else { return self.fields };
        let [year, month, day, hour, minute, nanos] = self.fields;
        let minutes = days_from_civil(year, month, day) * 1440 + hour * 60 + minute - offset;
        let (year, month, day) = civil_from_days(minutes.div_euclid(1440));
        let of_day = minutes.rem_euclid(1440);
        [year, month, day, of_day / 60, of_day % 60, nanos]
    }
}

/// Reads `YYYY`, `YYYY-MM` or `YYYY-MM-DD` into `fields`; the number of fields read.
fn read_date(text: &str, fields: &mut [i64; 6]) -> Option<usize> {
    let mut parts = text.split('-');
    fields[0] = digits(parts.next()?, 4)?;
    let mut read = 1;
    for part in parts {
        *fields.get_mut(read).filter(|_| read < HOUR)? = digits(part, 2)?;
        read += 1;
    }
    let possible = (1..=12).contains(&fields[1])
        && (1..=days_in_month(fields[0], fields[1])).contains(&fields[2]);
    possible.then_some(read)
}

/// Reads `hh`, `hh:mm`, `hh:mm:ss` or `hh:mm:ss.fff` into `fields`; the number of fields read.
fn read_time(text: &str, fields: &mut [i64; 6]) -> Option<usize> {
    if text.is_empty() {
        return Some(0);
    }
    let mut parts = text.split(':');
    fields[3] = digits(parts.next()?, 2).filter(|&hour| hour < 24)?;
    let Some(minute) = parts.next() else { return Some(1) };
    fields[4] = digits(minute, 2).filter(|&minute| minute < 60)?;
    let Some(second) = parts.next() else { return Some(2) };
    let (whole, fraction) = match second.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (second, None),
    };
    // FHIR allows a leap second.
    let seconds = digits(whole, 2).filter(|&second| second <= 60)?;
    fields[5] = seconds * 1_000_000_000 + fraction.map_or(Some(0), nanoseconds)?;
    parts.next().is_none().then_some(3)
}

fn nanoseconds(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = &fraction[..fraction.len().min(9)];
    let value: i64 = kept.parse().ok()?;
    Some(value * 10_i64.pow(9 - kept.len() as u32))
}

fn split_offset(text: &str) -> Option<(&str, Option<i64>)> {
    if let Some(time) = text.strip_suffix('Z') {
        return Some((time, Some(0)));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, None)) };
    let (time, offset) = text.split_at(at);
    let (hours, minutes) = offset[1..].split_once(':')?;
    let total = digits(hours, 2)? * 60 + digits(minutes, 2).filter(|&part| part < 60)?;
    let signed = if offset.starts_with('-') { -total } else { total };
    (total <= 14 * 60).then_some((time, Some(signed)))
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let fits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, counted in years that end in February.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let years = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * years + years / 4 - years / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + years + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_fhir_and_fhirpath_are_read_and_others_are_not() {
        for (text, expected) in [
            ("2015", Some((TemporalKind::Date, 1))),
            ("2015-02-28", Some((TemporalKind::Date, 3))),
            ("2016-02-29", Some((TemporalKind::Date, 3))),
            ("2015T", Some((TemporalKind::DateTime, 1))),
            ("2015-02-04T14", Some((TemporalKind::DateTime, 4))),
            ("2015-02-04T14:34:28.123+09:00", Some((TemporalKind::DateTime, 6))),
            ("14:30", Some((TemporalKind::Time, 5))),
            ("T14:30:00", Some((TemporalKind::Time, 6))),
            ("2015-02-29", None),
            ("2015-13", None),
            ("2015-2", None),
            ("2015T14:00", None),
            ("2015-02-04T24:00", None),
            ("2015-02-04T14:60", None),
            ("2015-02-04T14:00+15:00", None),
            ("2015-02-04T14:00é", None),
            ("2015-02-04-05", None),
            ("", None),
            ("T", None),
            ("é:", None),
        ] {
            let found = Temporal::parse(text).map(|read| (read.kind, read.precision));
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn order_respects_offsets_and_missing_precision() {
        use Ordering::{Equal, Greater, Less};
        for (left, right, expected) in [
            ("2012", "2013", Some(Less)),
            ("2012", "2012-01", None),
            ("2012-05", "2013-01-01", Some(Less)),
            ("2012-01-01T10:00:00Z", "2012-01-01T11:00:00+01:00", Some(Equal)),
            ("2012-01-01T00:30:00+01:00", "2011-12-31T23:30:00Z", Some(Equal)),
            ("2012-01-01T10:00:00Z", "2012-01-01T11:00:00", None),
            ("2012-01-01T10:00:00.1", "2012-01-01T10:00:00.10", Some(Equal)),
            ("2012-01-01T10:00:01", "2012-01-01T10:00:00.9", Some(Greater)),
            ("10:00", "11:00", Some(Less)),
            ("10:00", "2012", None),
        ] {
            let read = |text| Temporal::parse(text).expect(text);
            assert_eq!(read(left).compare(&read(right)), expected, "{left} {right}");
        }
    }

    #[test]
    fn days_and_calendar_dates_are_each_others_inverse() {
        for days in (-800_000..800_000).step_by(997) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
        }
        assert_eq!(days_from_civil(1970, 1, 1), 0);
    }
}
