//! Conditional headers: lists of entity tags, and the two ways to ask "has it changed?".
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#concurrency>, RFC 9110 section 13, rest 1.47 to 1.59

use axum::http::header::{
    HeaderMap, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
};

use crate::engine::condition::{self, Condition, EntityTag};
use crate::error::Error;
use crate::fhir::query::Query;
use crate::fhir::{Instant, IssueCode, ResourceType, Version};

/// `If-None-Exist`
pub const IF_NONE_EXIST: HeaderName = HeaderName::from_static("if-none-exist");

/// The condition that a write states by `If-Match`, `If-None-Match` and `If-Unmodified-Since`.
///
/// # Errors
/// [`Error::Invalid`] for a malformed tag, and for an `If-Match` tag that no version can have.
pub fn of_write(headers: &HeaderMap) -> Result<Condition, Error> {
    let if_match = tags(headers, &IF_MATCH)?;
    if if_match.contains(&EntityTag::Other) {
        let text = "If-Match must name a version as W/\"3\", \"3\" or *";
        return Err(Error::invalid(IssueCode::Invalid, text));
    }
    let since = headers.get(IF_UNMODIFIED_SINCE).and_then(|value| value.to_str().ok());
    // What is no date is as if it was not sent (RFC 9110 13.1.4).
    let unmodified_since = since.and_then(Instant::from_http_date);
    Ok(Condition { if_match, if_none_match: tags(headers, &IF_NONE_MATCH)?, unmodified_since })
}

/// The criteria of a conditional create (rest 2.37).
///
/// # Errors
/// [`Error::Invalid`] when they are no query, for another type, or sent twice.
pub fn if_none_exist(
    headers: &HeaderMap,
    resource_type: ResourceType,
) -> Result<Option<Query>, Error> {
    let mut sent = headers.get_all(IF_NONE_EXIST).iter();
    let Some(value) = sent.next() else { return Ok(None) };
    let invalid =
        |text: &str| Error::invalid(IssueCode::Invalid, format!("{IF_NONE_EXIST}: {text}"));
    if sent.next().is_some() {
        return Err(invalid("may be sent once only"));
    }
    // Bytes beyond ASCII are UTF-8 or nothing.
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| invalid("is not UTF-8"))?;
    condition::criteria(text, resource_type).map(Some).map_err(|text| invalid(&text))
}

/// Whether a read answers 304: the client has `version` already, with the labels that it has now.
///
/// Tags compare weakly, times at whole seconds; `If-None-Match` wins; what cannot be read is
/// as if it was not sent.
pub fn is_unchanged(headers: &HeaderMap, version: &Version) -> bool {
    if headers.contains_key(IF_NONE_MATCH) {
        let tags = tags(headers, &IF_NONE_MATCH).unwrap_or_default();
        let has_it = tags.contains(&EntityTag::Version(version.version)) && !version.is_relabeled;
        return has_it || tags.contains(&EntityTag::Any);
    }
    let since = headers.get(IF_MODIFIED_SINCE).and_then(|value| value.to_str().ok());
    since.and_then(Instant::from_http_date).is_some_and(|since| {
        let second = |instant: Instant| instant.as_micros().div_euclid(1_000_000);
        second(version.last_updated) <= second(since) && !version.is_relabeled
    })
}

/// Whether `If-None-Match` names the tag of a document that has no version (`"abc"`).
pub fn names_tag(headers: &HeaderMap, tag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().any(|value| {
        let items = value.to_str().unwrap_or_default().split(',').map(str::trim);
        items.into_iter().any(|item| {
            item == "*" || item.strip_prefix("W/").unwrap_or(item) == tag.trim_start_matches("W/")
        })
    })
}

/// The entity tags of every header `name`; empty when it was not sent. Empty items of a list are no
/// items (RFC 9110 5.6.1), but a header needs one.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<EntityTag>, Error> {
    let invalid = |item: &str| {
        let text = format!("{name}: {item:?} is not an entity tag such as W/\"3\"");
        Error::invalid(IssueCode::Invalid, text)
    };
    let mut found = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().unwrap_or("\u{fffd}");
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            found.push(tag(item).ok_or_else(|| invalid(item))?);
        }
    }
    if found.is_empty() && headers.contains_key(name) {
        return Err(invalid(""));
    }
    Ok(found)
}

fn tag(item: &str) -> Option<EntityTag> {
    if item == "*" {
        return Some(EntityTag::Any);
    }
    let quoted = item.strip_prefix("W/").unwrap_or(item);
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let is_plain = !inner.is_empty() && !inner.contains('"');
    is_plain.then(|| inner.parse().map_or(EntityTag::Other, EntityTag::Version))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use crate::fhir::{Identity, Operation, VersionId};

    use super::*;

    fn headers(sent: &[(HeaderName, &'static str)]) -> HeaderMap {
        let owned = sent.iter().map(|(name, text)| (name.clone(), HeaderValue::from_static(text)));
        owned.collect()
    }

    #[test]
    fn if_match_is_a_list_of_versions_or_an_error() {
        let version = |number| EntityTag::Version(VersionId(number));
        for (text, expected) in [
            ("W/\"3\"", Some(vec![version(3)])),
            ("\"3\"", Some(vec![version(3)])),
            ("W/\"1\", W/\"2\"", Some(vec![version(1), version(2)])),
            ("*", Some(vec![EntityTag::Any])),
            ("W/\"2\",", Some(vec![version(2)])),
            (", W/\"1\" ,, W/\"2\"", Some(vec![version(1), version(2)])),
            (",", None),
            (" , ", None),
            ("\"abc\"", None),
            ("\"-1\"", None),
            ("3", None),
            ("W/3", None),
            ("", None),
            ("\"", None),
            ("W/\"1\" W/\"2\"", None),
        ] {
            let found = of_write(&headers(&[(IF_MATCH, text)])).ok();
            assert_eq!(found.map(|condition| condition.if_match), expected, "{text:?}");
        }
        assert!(of_write(&HeaderMap::new()).expect("nothing sent").is_empty());
    }

    #[test]
    fn a_foreign_tag_in_if_none_match_is_no_error() {
        let condition = of_write(&headers(&[(IF_NONE_MATCH, "\"abc\"")])).expect("condition");
        assert_eq!(condition.if_none_match, [EntityTag::Other]);
    }

    #[test]
    fn a_read_is_unchanged_by_tag_first_and_by_whole_seconds() {
        let last_updated = Instant::parse("1994-11-06T08:49:37.700Z").expect("instant");
        let (tag, since) = (IF_NONE_MATCH, IF_MODIFIED_SINCE);
        for (sent, unchanged) in [
            (vec![], false),
            (vec![(tag.clone(), "W/\"2\"")], true),
            (vec![(tag.clone(), "\"2\"")], true),
            (vec![(tag.clone(), "W/\"1\", W/\"2\"")], true),
            (vec![(tag.clone(), "*")], true),
            (vec![(tag.clone(), "W/\"1\"")], false),
            (vec![(tag.clone(), "junk")], false),
            (vec![(since.clone(), "Sun, 06 Nov 1994 08:49:37 GMT")], true),
            (vec![(since.clone(), "Sun, 06 Nov 1994 08:49:38 GMT")], true),
            (vec![(since.clone(), "Sun, 06 Nov 1994 08:49:36 GMT")], false),
            (vec![(since.clone(), "yesterday")], false),
            (
                vec![(tag.clone(), "W/\"1\""), (since.clone(), "Sun, 06 Nov 1994 08:49:37 GMT")],
                false,
            ),
        ] {
            let id = "p1".parse().expect("id");
            let mut version = Version {
                identity: Identity { resource_type: ResourceType::PATIENT, id },
                version: VersionId(2),
                last_updated,
                operation: Operation::Updated,
                is_relabeled: false,
                meta: None,
                body: None,
            };
            assert_eq!(is_unchanged(&headers(&sent), &version), unchanged, "{sent:?}");
            // Its tag does not tell the labels of before from those of now; that it exists holds.
            version.is_relabeled = true;
            let exists = sent.iter().any(|(_, text)| *text == "*");
            assert_eq!(is_unchanged(&headers(&sent), &version), exists, "relabeled: {sent:?}");
        }
    }

    #[test]
    fn a_document_without_versions_is_known_by_its_tag() {
        for (text, named) in
            [("W/\"abc\"", true), ("\"abc\"", true), ("\"x\", W/\"abc\"", true), ("\"x\"", false)]
        {
            assert_eq!(names_tag(&headers(&[(IF_NONE_MATCH, text)]), "W/\"abc\""), named, "{text}");
        }
    }
}
