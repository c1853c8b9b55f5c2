//! Dates and times: DTM, TS, DT, TM as date, dateTime, instant and time.
//!
//! The precision of what was sent is kept; what had to be assumed is told.

use crate::fhir::json::Object;
use crate::hl7v2::dtm::{self, Moment};

use super::{Context, Json, NoteKind, text};

fn read<'t>(text: &'t str, context: &Context<'_>) -> Option<Moment<'t>> {
    if text.is_empty() {
        return None;
    }
    let found = Moment::parse(text);
    if let Err(fault) = found {
        context.note(NoteKind::DataType, fault.to_string());
    }
    found.ok()
}

fn told(found: (String, dtm::Assumed), context: &Context<'_>) -> Option<Json> {
    let (written, assumed) = found;
    if assumed.any() {
        context.note(NoteKind::Kept, "the time was completed or moved to one that there is");
    }
    text(&written)
}

/// A date: the day of whatever point in time is told.
pub fn date(value: &str, context: &Context<'_>) -> Option<Json> {
    text(&read(value, context)?.date())
}

/// A dateTime with the precision that was told.
pub fn datetime(value: &str, context: &Context<'_>) -> Option<Json> {
    told(read(value, context)?.date_time(&context.zones), context)
}

/// An instant; of a day alone its beginning, and that is told.
pub fn instant(value: &str, context: &Context<'_>) -> Option<Json> {
    told(read(value, context)?.instant(&context.zones), context)
}

/// A TM as a time.
pub fn time(value: &str, context: &Context<'_>) -> Option<Json> {
    match dtm::time(value) {
        Ok(found) => told(found, context),
        Err(_) => None,
    }
}

/// A Period of two points in time; `None` without either.
pub fn period_of(start: &str, end: &str, context: &Context<'_>) -> Option<Json> {
    let both = [("start", start), ("end", end)];
    let both = both.map(|(name, value)| (name, datetime(value, context)));
    super::filled(super::object(both))
}

/// Whether a text has a time of the day.
pub fn has_time(value: &str) -> bool {
    Moment::parse(value).is_ok_and(|moment| moment.has_time())
}

/// A Period with a start and how many minutes it lasts.
pub fn lasting(start: &str, minutes: Option<i64>, context: &Context<'_>) -> Object<'static> {
    let end = minutes.zip(Moment::parse(start).ok().filter(Moment::has_time));
    let end = end.map(|(minutes, moment)| {
        let begin = moment.start(&context.zones);
        begin.plus_millis(minutes.saturating_mul(60_000)).to_string()
    });
    super::object([("start", datetime(start, context)), ("end", end.map(Json::from))])
}
