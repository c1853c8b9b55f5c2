//! The moment whose definitions are asked for.
//!
//! What definitions were before their last change is not kept. An answer about the past is therefore
//! given as far as nothing that it takes has changed since, and refused otherwise.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset-operation-expand.html>

use crate::fhir::Instant;
use crate::fhir::datetime::{DateTime, Precision, Zone};
use crate::spec::terminology::TerminologyFault;

/// A moment in the past.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// As it was written.
    text: Box<str>,
    /// The last moment of the span that the text names.
    last: Instant,
}

impl Moment {
    /// Reads a dateTime; `None` within for one that is not over: what is defined now holds then.
    ///
    /// # Errors
    /// When the text is no dateTime, or `now` no instant.
    pub(super) fn read(text: &str, now: &str) -> Result<Option<Self>, ()> {
        let last = DateTime::parse(text).map(|it| last(&it)).ok_or(())?;
        let now = Instant::parse(now).ok_or(())?;
        Ok((last < now).then(|| Self { text: text.into(), last }))
    }

    /// Refuses a definition that may have been another one then.
    ///
    /// # Errors
    /// [`TerminologyFault::OtherDate`].
    pub(super) fn check(
        &self,
        what: impl FnOnce() -> String,
        since: Option<&str>,
    ) -> Result<(), TerminologyFault> {
        let begun = since.and_then(DateTime::parse).map(|it| it.lower(Zone::UTC));
        if begun.is_some_and(|begun| begun <= self.last) {
            return Ok(());
        }
        let (date, since) = (self.text.clone().into(), since.map(str::to_owned));
        Err(TerminologyFault::OtherDate { what: what(), date, since })
    }
}

/// The last moment of the span that a text names.
fn last(time: &DateTime<'_>) -> Instant {
    let end = time.upper(Zone::UTC);
    match time.precision() {
        Precision::Fraction => end,
        _ => Instant::from_micros(end.as_micros() - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_since_is_not_known_as_it_was() {
        let now = "2026-03-14T15:09:26Z";
        for (asked, since, expected) in [
            ("2020", Some("2019-11-01"), Ok(true)),
            ("2020", Some("2020-12-31T23:59:59Z"), Ok(true)),
            ("2020", Some("2021"), Ok(false)),
            ("2020-02", Some("2020-02-29"), Ok(true)),
            ("2020-02-28", Some("2020-02-29"), Ok(false)),
            ("2020-02-28T12:00:00.5Z", Some("2020-02-28T12:00:00.500Z"), Ok(true)),
            ("2020-02-28T12:00:00.5Z", Some("2020-02-28T12:00:00.501Z"), Ok(false)),
            // Nobody tells since when.
            ("2020", None, Ok(false)),
            ("2020", Some("long ago"), Ok(false)),
            // Not over yet.
            ("2026", Some("2027"), Ok(true)),
            ("2026-03-14", None, Ok(true)),
            ("2026-03-13", None, Ok(false)),
            ("yesterday", None, Err(())),
        ] {
            let found = Moment::read(asked, now)
                .map(|moment| moment.is_none_or(|it| it.check(|| "it".to_owned(), since).is_ok()));
            assert_eq!(found, expected, "{asked} {since:?}");
        }
    }
}
