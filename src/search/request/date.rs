//! Dates: a prefix and the span that a text names.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#date> (rest 4.44 to 4.67)

use crate::fhir::Instant;
use crate::fhir::datetime::DateTime;
use crate::fhir::query::date_text;
use crate::search::values::date::DateRange;

use super::criterion::{Criteria, Raw};
use super::fault::Reason;
use super::prefix::Prefix;

impl Criteria<'_> {
    /// A date as it counts: where dates may overlap, an equal one is one that does.
    pub(super) fn date(&self, raw: Raw<'_>) -> Result<(Prefix, DateRange), Reason> {
        let (prefix, range) = self.date_as_written(raw)?;
        let overlaps = prefix == Prefix::Eq && self.context.dates_overlap;
        // An overlap is what `ap` asks for once it has widened its range.
        Ok((if overlaps { Prefix::Ap } else { prefix }, range))
    }

    /// The prefix and the span that a text names.
    pub(super) fn date_as_written(&self, raw: Raw<'_>) -> Result<(Prefix, DateRange), Reason> {
        let (prefix, text) = Prefix::split(raw.text);
        let text = date_text(text);
        let moment = DateTime::parse_search(&text).ok_or_else(|| {
            raw.wrong("a date: yyyy, yyyy-mm, yyyy-mm-dd or yyyy-mm-ddThh:mm[:ss[.sss]][zone]")
        })?;
        let zone = self.context.extractor.zone();
        let (low, high) = (moment.lower(zone), moment.upper(zone));
        let range = match prefix {
            Prefix::Ap => about(low, high, self.context.now),
            _ => DateRange { low: Some(low), high: Some(high) },
        };
        Ok((prefix, range))
    }
}

/// Each end moved away by a tenth of its distance from now (rest 4.51).
fn about(low: Instant, high: Instant, now: Instant) -> DateRange {
    let moved = |end: Instant, sign: i64| {
        let tenth = now.as_micros().abs_diff(end.as_micros()) / 10;
        let tenth = i64::try_from(tenth).unwrap_or(i64::MAX);
        Instant::from_micros(end.as_micros().saturating_add(sign.saturating_mul(tenth)))
    };
    DateRange { low: Some(moved(low, -1)), high: Some(moved(high, 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_moves_by_a_tenth_of_its_distance_from_now() {
        let at = |text: &str| Instant::parse(text).expect(text);
        let now = at("2020-01-11T00:00:00Z");
        for (low, high, expected) in [
            // Nothing is far from now: what is left is the overlap alone.
            (now, now, (now, now)),
            (
                at("2020-01-01T00:00:00Z"),
                at("2020-01-21T00:00:00Z"),
                (at("2019-12-31T00:00:00Z"), at("2020-01-22T00:00:00Z")),
            ),
            (
                at("2019-12-22T00:00:00Z"),
                at("2020-01-01T00:00:00Z"),
                (at("2019-12-20T00:00:00Z"), at("2020-01-02T00:00:00Z")),
            ),
            (
                at("2020-01-21T00:00:00Z"),
                at("2020-01-31T00:00:00Z"),
                (at("2020-01-20T00:00:00Z"), at("2020-02-02T00:00:00Z")),
            ),
        ] {
            let found = about(low, high, now);
            assert_eq!((found.low, found.high), (Some(expected.0), Some(expected.1)));
        }
    }
}
