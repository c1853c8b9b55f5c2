//! Preconditions: If-Match and If-None-Match, held against the current version; If-None-Exist.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#concurrency>, RFC 9110 section 13

use crate::error::Error;
use crate::fhir::query::Query;
use crate::fhir::{Instant, ResourceType, VersionId};

/// One entity tag of a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EntityTag {
    /// `*`: any current version.
    Any,
    /// A well-formed tag that no version of ours can have.
    Other,
    /// `W/"3"` or `"3"`.
    Version(VersionId),
}

impl EntityTag {
    /// Reads the list of a header: `W/"1", "2"` or `*`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let items = || text.split(',').map(str::trim).filter(|item| !item.is_empty());
        // Empty items of a list are no items (RFC 9110 5.6.1), but there must be one.
        if items().next().is_none() {
            return Err(format!("{text:?} has no entity tag"));
        }
        items().map(Self::parse).collect()
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let quoted = text.strip_prefix("W/").unwrap_or(text);
        let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let version = inner.and_then(|inner| inner.parse().ok());
        version.map(Self::Version).ok_or_else(|| {
            let text: String = text.chars().take(80).collect();
            format!("{text:?} is not an entity tag of this server: they look like W/\"1\"")
        })
    }
}

/// What must hold for a write to happen. Empty lists are headers that were not sent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Condition {
    /// One of these must be the current version.
    pub if_match: Vec<EntityTag>,
    /// None of these may be the current version.
    pub if_none_match: Vec<EntityTag>,
    /// The current version may not be of a later second; without `if_match` only (RFC 9110 13.1.4).
    pub unmodified_since: Option<Instant>,
}

impl Condition {
    /// Whether nothing was demanded.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_empty() && self.if_none_match.is_empty() && self.unmodified_since.is_none()
    }

    /// Holds the condition against `current`, the version that is live now, and its time (`None`:
    /// there is none).
    ///
    /// # Errors
    /// [`Error::PreconditionFailed`] naming the current version.
    pub fn check(&self, current: Option<(VersionId, Instant)>) -> Result<(), Error> {
        let (current, updated) = current.unzip();
        let matches = |tag: &EntityTag| match tag {
            EntityTag::Any => current.is_some(),
            EntityTag::Other => false,
            EntityTag::Version(version) => current == Some(*version),
        };
        if !self.if_match.is_empty() && !self.if_match.iter().any(matches) {
            let text = match current {
                Some(version) => {
                    format!("If-Match does not hold: the current version is {version}")
                }
                None => "If-Match does not hold: there is no current version".to_owned(),
            };
            return Err(Error::PreconditionFailed(text));
        }
        let second = |instant: Instant| instant.as_micros().div_euclid(1_000_000);
        let is_later = |since| updated.is_some_and(|updated| second(updated) > second(since));
        if self.if_match.is_empty() && self.unmodified_since.is_some_and(is_later) {
            let text = "If-Unmodified-Since does not hold: the current version is later";
            return Err(Error::PreconditionFailed(text.to_owned()));
        }
        if self.if_none_match.iter().any(matches) {
            let text = "If-None-Match does not hold: the resource exists in that version";
            return Err(Error::PreconditionFailed(text.to_owned()));
        }
        Ok(())
    }
}

/// Reads criteria: `identifier=x`, `?identifier=x` or `Patient?identifier=x` (rest 2.37).
///
/// # Errors
/// What is wrong with the text.
pub fn criteria(text: &str, resource_type: ResourceType) -> Result<Query, String> {
    let query = match text.trim().split_once('?') {
        Some((name, query)) if name.is_empty() || name == resource_type.as_str() => query,
        Some((name, _)) if name.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            return Err(format!("looks for {name:?} where a {resource_type} is created"));
        }
        _ => text.trim(),
    };
    Query::parse(query).map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tags_may_have_empty_items() {
        let version = |number| EntityTag::Version(VersionId(number));
        for (text, expected) in [
            ("W/\"1\", \"2\"", Some(vec![version(1), version(2)])),
            ("W/\"2\",", Some(vec![version(2)])),
            ("*", Some(vec![EntityTag::Any])),
            ("", None),
            (",", None),
            ("2", None),
        ] {
            assert_eq!(EntityTag::parse_list(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn criteria_stand_alone_or_behind_the_type() {
        for (text, expected) in [
            ("identifier=a%7Cb", Some(vec![("identifier", "a|b")])),
            ("?identifier=a|b", Some(vec![("identifier", "a|b")])),
            (
                "Patient?identifier=a|b&active=true",
                Some(vec![("identifier", "a|b"), ("active", "true")]),
            ),
            (" Patient?url=http://x?y=z ", Some(vec![("url", "http://x?y=z")])),
            ("url=http://x?y=z", Some(vec![("url", "http://x?y=z")])),
            ("", Some(vec![])),
            ("Observation?identifier=a|b", None),
            ("identifier=%zz", None),
        ] {
            let found = criteria(text, ResourceType::PATIENT).ok();
            let pairs = found.as_ref().map(|found| found.iter().collect::<Vec<_>>());
            assert_eq!(pairs, expected, "{text:?}");
        }
    }

    #[test]
    fn a_list_of_entity_tags_is_read_weak_or_strong() {
        let tag = |number| EntityTag::Version(VersionId(number));
        for (text, expected) in [
            ("W/\"1\"", Some(vec![tag(1)])),
            ("\"12\"", Some(vec![tag(12)])),
            ("W/\"1\", W/\"2\"", Some(vec![tag(1), tag(2)])),
            ("*", Some(vec![EntityTag::Any])),
            ("1", None),
            ("\"abc\"", None),
            ("\"-1\"", None),
            ("W/\"1", None),
            ("", None),
        ] {
            assert_eq!(EntityTag::parse_list(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn if_match_and_if_none_match_hold_as_rfc_9110_says() {
        let tag = |number| EntityTag::Version(VersionId(number));
        for (if_match, if_none_match, current, holds) in [
            (vec![], vec![], None, true),
            (vec![], vec![], Some(3), true),
            (vec![tag(3)], vec![], Some(3), true),
            (vec![tag(2)], vec![], Some(3), false),
            (vec![tag(2), tag(3)], vec![], Some(3), true),
            (vec![tag(1)], vec![], None, false),
            (vec![EntityTag::Any], vec![], None, false),
            (vec![EntityTag::Any], vec![], Some(1), true),
            (vec![EntityTag::Other], vec![], Some(1), false),
            (vec![], vec![EntityTag::Any], None, true),
            (vec![], vec![EntityTag::Any], Some(1), false),
            (vec![], vec![tag(1)], Some(1), false),
            (vec![], vec![tag(1)], Some(2), true),
        ] {
            let condition = Condition { if_match, if_none_match, unmodified_since: None };
            let result =
                condition.check(current.map(|it| (VersionId(it), Instant::from_micros(0))));
            assert_eq!(result.is_ok(), holds, "{condition:?} against {current:?}");
        }
    }

    #[test]
    fn if_unmodified_since_holds_by_seconds_where_nothing_is_matched() {
        let at = Instant::from_micros;
        for (if_match, since, current, holds) in [
            (vec![], at(5_000_000), Some(at(5_900_000)), true),
            (vec![], at(5_900_000), Some(at(5_000_000)), true),
            (vec![], at(4_000_000), Some(at(5_000_000)), false),
            (vec![], at(4_000_000), None, true),
            (vec![EntityTag::Any], at(4_000_000), Some(at(5_000_000)), true),
        ] {
            let condition =
                Condition { if_match, unmodified_since: Some(since), ..Condition::default() };
            assert!(!condition.is_empty());
            let result = condition.check(current.map(|time| (VersionId(1), time)));
            assert_eq!(result.is_ok(), holds, "{condition:?} against {current:?}");
        }
    }
}
