//! Dates: the span of time that a text, a Period or a Timing names.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#date> (rest 4.44 to 4.60)

use crate::fhir::Instant;
use crate::fhir::datetime::{DateTime, Zone};
use crate::fhir::json::Value;

/// From its first moment up to and without its last; `None` is open.
///
/// A point in time (an instant, or a text with a fraction of a second) has two equal ends.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct DateRange {
    /// The first moment; `None`: since ever.
    pub low: Option<Instant>,
    /// The first moment after it; `None`: for ever.
    pub high: Option<Instant>,
}

impl DateRange {
    /// The span of a `date` or `dateTime`; `zone` is for a text that names none.
    ///
    /// A `dateTime` may lack its seconds or zone here: what was stored before it was checked is
    /// found all the same.
    pub fn of_date_time(text: &str, zone: Zone) -> Option<Self> {
        let moment = DateTime::parse(text).or_else(|| DateTime::parse_search(text))?;
        Some(Self { low: Some(moment.lower(zone)), high: Some(moment.upper(zone)) })
    }

    /// The point of an `instant` (rest 4.60).
    pub fn of_instant(text: &str) -> Option<Self> {
        let moment = DateTime::parse_instant(text)?.lower(Zone::UTC);
        Some(Self { low: Some(moment), high: Some(moment) })
    }

    /// From the start of a Period to the end of its end; an end that is missing is open (rest 4.52,
    /// 4.53). `None` for a Period with neither.
    pub fn of_period(period: &Value<'_>, zone: Zone) -> Option<Self> {
        let end = |name| Self::of_date_time(period.str_at(name)?, zone);
        let (start, end) = (end("start"), end("end"));
        (start.is_some() || end.is_some()).then_some(())?;
        Some(Self { low: start.and_then(|it| it.low), high: end.and_then(|it| it.high) })
    }

    /// From the first event of a Timing to the last, and its bounds where they are a Period; how
    /// often it repeats does not count (rest 4.59).
    pub fn of_timing(timing: &Value<'_>, zone: Zone) -> Option<Self> {
        let events = timing.items_at("event").iter().filter_map(Value::as_str);
        let spans = events.filter_map(|text| Self::of_date_time(text, zone));
        let bounds = timing.get("repeat").and_then(|repeat| repeat.get("boundsPeriod"));
        let bounds = bounds.and_then(|period| Self::of_period(period, zone));
        spans.chain(bounds).reduce(Self::around)
    }

    /// Whether a moment lies in it.
    pub fn has(self, moment: Instant) -> bool {
        self.low.is_none_or(|low| low <= moment) && self.high.is_none_or(|high| moment < high)
    }

    /// The shortest span that has both in it.
    #[must_use]
    pub fn around(self, other: Self) -> Self {
        Self {
            low: self.low.zip(other.low).map(|(a, b)| a.min(b)),
            high: self.high.zip(other.high).map(|(a, b)| a.max(b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    fn shown(range: Option<DateRange>) -> Option<(String, String)> {
        let end = |end: Option<Instant>| end.map_or("-".to_owned(), |it| it.to_string());
        range.map(|range| (end(range.low), end(range.high)))
    }

    fn check(found: Option<DateRange>, expected: Option<(&str, &str)>, message: &str) {
        let expected = expected.map(|(low, high)| (low.to_owned(), high.to_owned()));
        assert_eq!(shown(found), expected, "{message}");
    }

    #[test]
    fn a_text_is_the_span_of_its_precision() {
        let cet = Zone::parse("+01:00").expect("zone");
        for (text, expected) in [
            ("1980", Some(("1979-12-31T23:00:00.000Z", "1980-12-31T23:00:00.000Z"))),
            ("1980-05", Some(("1980-04-30T23:00:00.000Z", "1980-05-31T23:00:00.000Z"))),
            ("1980-05-11", Some(("1980-05-10T23:00:00.000Z", "1980-05-11T23:00:00.000Z"))),
            (
                "2015-04-13T23:30:00-04:00",
                Some(("2015-04-14T03:30:00.000Z", "2015-04-14T03:30:01.000Z")),
            ),
            (
                "1980-05-11T16:32:15.500Z",
                Some(("1980-05-11T16:32:15.500Z", "1980-05-11T16:32:15.500Z")),
            ),
            ("1980-05-11T16:32", Some(("1980-05-11T15:32:00.000Z", "1980-05-11T15:33:00.000Z"))),
            ("1980-13", None),
            ("soon", None),
        ] {
            check(DateRange::of_date_time(text, cet), expected, text);
        }
        let point = Some(("2015-02-07T13:28:17.000Z", "2015-02-07T13:28:17.000Z"));
        check(DateRange::of_instant("2015-02-07T13:28:17Z"), point, "an instant is a point");
        check(DateRange::of_instant("2015-02-07"), None, "a day is no instant");
    }

    #[test]
    fn a_period_is_open_where_it_has_no_end() {
        for (json, expected) in [
            (
                r#"{"start":"1980-05-16","end":"1980-05-17"}"#,
                Some(("1980-05-16T00:00:00.000Z", "1980-05-18T00:00:00.000Z")),
            ),
            (r#"{"start":"2013-01-21"}"#, Some(("2013-01-21T00:00:00.000Z", "-"))),
            (r#"{"end":"2013-01-21"}"#, Some(("-", "2013-01-22T00:00:00.000Z"))),
            (r#"{"end":"2013"}"#, Some(("-", "2014-01-01T00:00:00.000Z"))),
            (r#"{"start":"x"}"#, None),
            ("{}", None),
            ("[]", None),
        ] {
            let period = parse(json.as_bytes()).expect(json);
            check(DateRange::of_period(&period, Zone::UTC), expected, json);
        }
    }

    #[test]
    fn a_timing_spans_its_events_and_bounds() {
        for (json, expected) in [
            (
                r#"{"event":["2012-03-01","2012-01","2012-02-02T10:00:00Z"]}"#,
                Some(("2012-01-01T00:00:00.000Z", "2012-03-02T00:00:00.000Z")),
            ),
            (
                r#"{"event":["2012"],"repeat":{"boundsPeriod":{"start":"2012-06-01"}}}"#,
                Some(("2012-01-01T00:00:00.000Z", "-")),
            ),
            (r#"{"repeat":{"frequency":2,"boundsDuration":{"value":3}}}"#, None),
            (r#"{"event":[null]}"#, None),
        ] {
            let timing = parse(json.as_bytes()).expect(json);
            check(DateRange::of_timing(&timing, Zone::UTC), expected, json);
        }
    }
}
