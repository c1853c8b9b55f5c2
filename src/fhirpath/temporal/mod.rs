//! Dates, times and date-times with the precision they were written with.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#date>, <https://hl7.org/fhirpath/N1/#comparison>

mod boundary;
mod shift;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write;

use crate::fhir::civil::{civil_from_days, days_from_civil, days_in_month};

pub(super) use shift::Step;

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
    /// The text it was read from; none for what was computed.
    text: Option<&'a str>,
    nanos: u32,
    year: i16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    /// How many of year, month, day, hour, minute, second were written, counted from the year.
    precision: u8,
    /// Digits of the fraction of the second.
    fraction: u8,
    offset: Offset,
    kind: TemporalKind,
}

/// The distance from UTC, as it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Offset {
    Minutes(i16),
    None,
    /// `Z`
    Utc,
}

/// Year, month, day, hour, minute, second, nanosecond.
pub(super) type Fields = [i64; 7];

const HOUR: u8 = 3;
const SECOND: u8 = 6;

/// Most digits of a fraction that count.
const FRACTION: u8 = 9;

/// Longest text that is read as a moment, in bytes: no clock has a fraction of more digits.
const MAX_TEXT: usize = 100;

impl<'a> Temporal<'a> {
    /// Reads FHIR's and FHIRPath's form without `@`: `2015-02`, `2015-02-04T14:34:28Z`, `14:30`.
    ///
    /// A date with a `T` is a date-time even when nothing follows (`2015T`); a time may have a
    /// leading `T`. `None` when the text is none of these or no such day or hour exists.
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > MAX_TEXT {
            return None;
        }
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
        let kind = if time.is_some() { TemporalKind::DateTime } else { TemporalKind::Date };
        let mut read = Self { text: Some(text), ..Self::nothing(kind) };
        read.read_date(date)?;
        if let Some(time) = time.filter(|time| !time.is_empty()) {
            let (time, offset) = split_offset(time)?;
            if read.precision != HOUR || time.is_empty() {
                return None;
            }
            read.read_time(time)?;
            read.offset = offset;
        }
        Some(read)
    }

    fn time(text: &'a str, time: &str) -> Option<Self> {
        let mut read =
            Self { text: Some(text), precision: HOUR, ..Self::nothing(TemporalKind::Time) };
        read.read_time(time)?;
        Some(read)
    }

    /// The moment that many microseconds after 1970 began in UTC, to the millisecond.
    pub fn from_micros(micros: i64) -> Temporal<'static> {
        let days = micros.div_euclid(86_400_000_000);
        let of_day = micros.rem_euclid(86_400_000_000) / 1000 * 1_000_000;
        let (year, month, day) = civil_from_days(days);
        let nothing = Temporal::nothing(TemporalKind::DateTime);
        let moment = Temporal { precision: SECOND, fraction: 3, offset: Offset::Utc, ..nothing };
        moment.at([year, month, day, 0, 0, 0, 0]).with_nanos_of_day(of_day)
    }

    /// The first of all days, of which nothing was written.
    fn nothing(kind: TemporalKind) -> Temporal<'static> {
        Temporal {
            text: None,
            nanos: 0,
            year: 1,
            month: 1,
            day: 1,
            hour: 0,
            minute: 0,
            second: 0,
            precision: 0,
            fraction: 0,
            offset: Offset::None,
            kind,
        }
    }

    /// What it is.
    pub fn kind(&self) -> TemporalKind {
        self.kind
    }

    /// The text it was read from, or for a computed one its own, in the same form; times have no
    /// leading `T`, nor have partial date-times one at their end.
    pub fn text(&self) -> Cow<'a, str> {
        match self.text {
            Some(text) => Cow::Borrowed(text.trim_matches('T')),
            None => Cow::Owned(self.written()),
        }
    }

    fn written(&self) -> String {
        let mut text = String::new();
        let Self { year, month, day, hour, minute, second, precision, .. } = *self;
        let is_dated = self.kind != TemporalKind::Time;
        let mut part = |least: u8, before: &str, value: i64, width: usize| {
            if precision >= least {
                // Writing to a String does not fail.
                let _ = write!(text, "{before}{value:0width$}");
            }
        };
        if is_dated {
            part(1, "", year.into(), 4);
            part(2, "-", month.into(), 2);
            part(3, "-", day.into(), 2);
        }
        part(4, if is_dated { "T" } else { "" }, hour.into(), 2);
        part(5, ":", minute.into(), 2);
        part(SECOND, ":", second.into(), 2);
        if precision == SECOND && self.fraction > 0 {
            let width = usize::from(self.fraction);
            let scale = 10_u32.pow(u32::from(FRACTION - self.fraction));
            let _ = write!(text, ".{:0width$}", self.nanos / scale);
        }
        match self.offset {
            Offset::None => {}
            Offset::Utc => text.push('Z'),
            Offset::Minutes(minutes) => {
                let sign = if minutes < 0 { '-' } else { '+' };
                let minutes = minutes.abs();
                let _ = write!(text, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
            }
        }
        text
    }

    /// The same, without the text that it was read from.
    pub(super) fn detached(self) -> Temporal<'static> {
        Temporal { text: None, ..self }
    }

    /// The same moment as a date-time; a time of day stays what it is.
    #[must_use]
    pub fn to_date_time(mut self) -> Self {
        if self.kind == TemporalKind::Date {
            self.kind = TemporalKind::DateTime;
        }
        self
    }

    /// The day alone, at most as precise as this; a time of day has none.
    pub fn to_date(self) -> Option<Self> {
        match self.kind {
            TemporalKind::Date => Some(self),
            TemporalKind::DateTime => Some(self.cut(HOUR, TemporalKind::Date)),
            TemporalKind::Time => None,
        }
    }

    /// The time of day alone; none where no hour was written.
    pub fn to_time(self) -> Option<Self> {
        if self.precision <= HOUR {
            return None;
        }
        Some(Self { text: None, kind: TemporalKind::Time, offset: Offset::None, ..self })
    }

    /// With at most `precision` fields.
    fn cut(self, precision: u8, kind: TemporalKind) -> Self {
        if self.precision <= precision {
            return Self { kind, ..self };
        }
        let offset = Offset::None;
        Self { text: None, precision, fraction: 0, offset, kind, ..self }
    }

    /// The order of two of these; `None` when the precision written does not tell.
    ///
    /// A time of day has no order with a date, nor has a date-time with an offset with one without.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        if (self.kind == TemporalKind::Time) != (other.kind == TemporalKind::Time) {
            return None;
        }
        let timed = self.precision > HOUR && other.precision > HOUR;
        if timed && (self.offset == Offset::None) != (other.offset == Offset::None) {
            return None;
        }
        let (left, right) =
            if timed { (self.in_utc(), other.in_utc()) } else { (self.fields(), other.fields()) };
        // A second and its fraction are one precision.
        let shared = match self.precision.min(other.precision) {
            SECOND => 7,
            fewer => usize::from(fewer),
        };
        match left[..shared].cmp(&right[..shared]) {
            Ordering::Equal if self.precision != other.precision => None,
            order => Some(order),
        }
    }

    /// Whether both were written with the same precision.
    pub fn same_precision(&self, other: &Self) -> bool {
        self.precision == other.precision
    }

    fn fields(&self) -> Fields {
        [
            self.year.into(),
            self.month.into(),
            self.day.into(),
            self.hour.into(),
            self.minute.into(),
            self.second.into(),
            self.nanos.into(),
        ]
    }

    /// With other fields, each known to fit.
    fn at(self, fields: Fields) -> Temporal<'static> {
        let [year, month, day, hour, minute, second, nanos] = fields;
        Temporal {
            text: None,
            nanos: nanos as u32,
            year: year as i16,
            month: month as u8,
            day: day as u8,
            hour: hour as u8,
            minute: minute as u8,
            second: second as u8,
            ..Temporal { text: None, ..self }
        }
    }

    /// The same day at this many nanoseconds of it.
    fn with_nanos_of_day(self, nanos: i64) -> Temporal<'static> {
        let [year, month, day, ..] = self.fields();
        let seconds = nanos / 1_000_000_000;
        let (minutes, nanos) = (seconds / 60, nanos % 1_000_000_000);
        self.at([year, month, day, minutes / 60, minutes % 60, seconds % 60, nanos])
    }

    fn offset_minutes(&self) -> i64 {
        match self.offset {
            Offset::Minutes(minutes) => minutes.into(),
            Offset::None | Offset::Utc => 0,
        }
    }

    /// A key in which all of one kind have an order: those of another precision or without an
    /// offset too. The moment in UTC at which it begins, then the less precise first.
    pub(super) fn sort_key(&self) -> (Fields, u8) {
        let mut fields = if self.precision > HOUR { self.in_utc() } else { self.fields() };
        let [year, month, day, time @ ..] = &mut fields;
        if self.kind == TemporalKind::Time {
            (*year, *month, *day) = (0, 0, 0);
        } else {
            // What was cut off is still there.
            let written = usize::from(self.precision);
            [year, month, day].into_iter().skip(written).for_each(|field| *field = 1);
        }
        if self.precision < SECOND {
            time[usize::from(self.precision.saturating_sub(HOUR))..].fill(0);
        }
        (fields, self.precision)
    }

    fn in_utc(&self) -> Fields {
        let offset = self.offset_minutes();
        let [year, month, day, hour, minute, second, nanos] = self.fields();
        if offset == 0 {
            return self.fields();
        }
        let minutes = days_from_civil(year, month, day) * 1440 + hour * 60 + minute - offset;
        let (year, month, day) = civil_from_days(minutes.div_euclid(1440));
        let of_day = minutes.rem_euclid(1440);
        [year, month, day, of_day / 60, of_day % 60, second, nanos]
    }

    /// Reads `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
    fn read_date(&mut self, text: &str) -> Option<()> {
        let mut parts = text.split('-');
        self.year = digits(parts.next()?, 4).filter(|&year| year > 0)?;
        self.precision = 1;
        if let Some(month) = parts.next() {
            self.month = digits(month, 2).filter(|month| (1..=12).contains(month))? as u8;
            self.precision = 2;
        }
        if let Some(day) = parts.next() {
            let last = days_in_month(self.year, self.month);
            let day = digits(day, 2).filter(|&day| (1..=last).contains(&i64::from(day)))?;
            self.day = day as u8;
            self.precision = HOUR;
        }
        parts.next().is_none().then_some(())
    }

    /// Reads `hh`, `hh:mm`, `hh:mm:ss` or `hh:mm:ss.fff`.
    fn read_time(&mut self, text: &str) -> Option<()> {
        let mut parts = text.split(':');
        self.hour = digits(parts.next()?, 2).filter(|&hour| hour < 24)? as u8;
        self.precision = HOUR + 1;
        if let Some(minute) = parts.next() {
            self.minute = digits(minute, 2).filter(|&minute| minute < 60)? as u8;
            self.precision = HOUR + 2;
        }
        if let Some(second) = parts.next() {
            let (whole, fraction) = match second.split_once('.') {
                Some((whole, fraction)) => (whole, Some(fraction)),
                None => (second, None),
            };
            // FHIR allows a leap second.
            self.second = digits(whole, 2).filter(|&second| second <= 60)? as u8;
            if let Some(fraction) = fraction {
                self.nanos = nanoseconds(fraction)?;
                self.fraction = fraction.len().min(usize::from(FRACTION)) as u8;
            }
            self.precision = SECOND;
        }
        parts.next().is_none().then_some(())
    }
}

fn nanoseconds(fraction: &str) -> Option<u32> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = &fraction[..fraction.len().min(usize::from(FRACTION))];
    let value: u32 = kept.parse().ok()?;
    Some(value * 10_u32.pow(u32::from(FRACTION) - kept.len() as u32))
}

fn split_offset(text: &str) -> Option<(&str, Offset)> {
    if let Some(time) = text.strip_suffix('Z') {
        return Some((time, Offset::Utc));
    }
    let Some(at) = text.rfind(['+', '-']) else { return Some((text, Offset::None)) };
    let (time, offset) = text.split_at(at);
    let (hours, minutes) = offset[1..].split_once(':')?;
    let total = digits(hours, 2)? * 60 + digits(minutes, 2).filter(|&part| part < 60)?;
    let signed = if offset.starts_with('-') { -total } else { total };
    (total <= 14 * 60).then_some((time, Offset::Minutes(signed)))
}

fn digits(text: &str, count: usize) -> Option<i16> {
    let fits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if fits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
