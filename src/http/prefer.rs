//! The `Prefer` header: what a success carries, and how strictly parameters are read.
//!
//! Unknown preferences are ignored (RFC 7240); a failure carries its OperationOutcome whatever
//! was preferred.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#ops>, RFC 7240, rest 1.62 to 1.70

use axum::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::engine::{Level, Wish};

/// `Prefer`
pub const PREFER: HeaderName = HeaderName::from_static("prefer");
/// `Preference-Applied`
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a successful write answers with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Return {
    /// Headers only.
    Minimal,
    /// An OperationOutcome.
    OperationOutcome,
    /// The resource as stored.
    #[default]
    Representation,
}

/// What the client prefers; each `None` is not stated or not understood.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Preferences {
    /// `return=..`
    pub returned: Option<Return>,
    /// `handling=strict` is `Some(true)`, `handling=lenient` is `Some(false)`.
    pub is_strict: Option<bool>,
    /// `validation=..`: how much of what is written is checked, a preference of this server.
    pub level: Option<Level>,
}

/// Whether the client is content to hear later what came of it.
pub fn is_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).into_iter();
    let mut items = values.flat_map(|value| value.to_str().unwrap_or_default().split([',', ';']));
    items.any(|item| item.trim().eq_ignore_ascii_case("respond-async"))
}

impl Preferences {
    /// Reads all `Prefer` headers; the first statement of a preference counts (RFC 7240 section 2).
    ///
    /// Semicolons separate like commas, because clients write `return=minimal; handling=strict`.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for value in headers.get_all(PREFER) {
            for item in value.to_str().unwrap_or_default().split([',', ';']) {
                let (name, value) = item.split_once('=').unwrap_or((item, ""));
                found.note(name.trim(), value.trim().trim_matches('"'));
            }
        }
        found
    }

    fn note(&mut self, name: &str, value: &str) {
        if name.eq_ignore_ascii_case("return") && self.returned.is_none() {
            self.returned = match value {
                "minimal" => Some(Return::Minimal),
                "representation" => Some(Return::Representation),
                "OperationOutcome" => Some(Return::OperationOutcome),
                _ => None,
            };
        } else if name.eq_ignore_ascii_case("handling") && self.is_strict.is_none() {
            self.is_strict = match value {
                "lenient" => Some(false),
                "strict" => Some(true),
                _ => None,
            };
        } else if name.eq_ignore_ascii_case("validation") && self.level.is_none() {
            self.level = value.parse().ok();
        }
    }

    /// What the checks of a write are to find: warnings only where the answer has a place for them.
    pub fn wish(self) -> Wish {
        Wish { level: self.level, notices: self.returned == Some(Return::OperationOutcome) }
    }

    /// What a write answers with.
    pub fn to_return(self) -> Return {
        self.returned.unwrap_or_default()
    }

    /// The `Preference-Applied` of an answer that honoured `return` (where `with_return` says so)
    /// and `handling`; `None` when nothing was preferred.
    pub fn applied(self, with_return: bool) -> Option<HeaderValue> {
        let returned = self.returned.filter(|_| with_return).map(|returned| match returned {
            Return::Minimal => "return=minimal",
            Return::OperationOutcome => "return=OperationOutcome",
            Return::Representation => "return=representation",
        });
        let name = |is_strict| if is_strict { "handling=strict" } else { "handling=lenient" };
        let handling = self.is_strict.map(name);
        match (returned, handling) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(HeaderValue::from_static(one)),
            (Some(one), Some(other)) => HeaderValue::try_from(format!("{one}, {other}")).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_from_every_header_and_separator() {
        let minimal = Some(Return::Minimal);
        for (values, returned, is_strict, applied) in [
            (&[][..], None, None, None),
            (&["return=minimal"], minimal, None, Some("return=minimal")),
            (
                &["return=minimal; handling=strict"],
                minimal,
                Some(true),
                Some("return=minimal, handling=strict"),
            ),
            (
                &["return=minimal, handling=strict"],
                minimal,
                Some(true),
                Some("return=minimal, handling=strict"),
            ),
            (
                &["handling=lenient", "return=\"minimal\""],
                minimal,
                Some(false),
                Some("return=minimal, handling=lenient"),
            ),
            (&["return=bogus"], None, None, None),
            (&["handling=bogus"], None, None, None),
            (
                &["return=representation, return=minimal"],
                Some(Return::Representation),
                None,
                Some("return=representation"),
            ),
            (
                &["respond-async, return=OperationOutcome"],
                Some(Return::OperationOutcome),
                None,
                Some("return=OperationOutcome"),
            ),
        ] {
            let headers: HeaderMap =
                values.iter().map(|value| (PREFER, HeaderValue::from_static(value))).collect();
            let found = Preferences::read(&headers);
            assert_eq!(found, Preferences { returned, is_strict, level: None }, "{values:?}");
            let header = found.applied(true);
            assert_eq!(header.as_ref().map(|value| value.to_str().expect("text")), applied);
        }
    }

    #[test]
    fn the_checks_of_a_write_are_wished_for_by_level() {
        for (value, level, notices) in [
            ("validation=profiles", Some(Level::Profiles), false),
            ("return=OperationOutcome; validation=base", Some(Level::Base), true),
            ("Validation=\"off\"", Some(Level::Off), false),
            ("validation=all", None, false),
            ("return=minimal", None, false),
        ] {
            let headers = HeaderMap::from_iter([(PREFER, HeaderValue::from_static(value))]);
            assert_eq!(Preferences::read(&headers).wish(), Wish { level, notices }, "{value}");
        }
    }

    #[test]
    fn nothing_is_said_of_return_where_it_did_not_apply() {
        let returned = Some(Return::Minimal);
        let preferences = Preferences { returned, ..Preferences::default() };
        assert_eq!(preferences.applied(false), None);
        assert_eq!(preferences.to_return(), Return::Minimal);
        assert_eq!(Preferences::default().to_return(), Return::Representation);
    }
}
