//! State that apps keep here: Basic resources by codes of systems that are the app's own.
//!
//! Of other clients' state a permit reaches nothing; here is what an app must heed with its own. Whoever has no
//! such systems writes Basic resources as any others.
//!
//! Spec: security R9; SMART App Launch 2.2, App State

use crate::access::Permit;
use crate::engine::condition::Condition;
use crate::engine::prepare::Prepared;
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::{Identity, Issue, IssueCode, Operation};
use crate::store::Current;

/// The type that state is kept as.
const TYPE: &str = "Basic";
/// Largest state, in bytes: 256 KB.
const MOST_BYTES: usize = 256 * 1024;
/// What stays as it was first stored.
const FIXED: [&str; 2] = ["code", "subject"];

/// Refuses to change or delete state without saying which version is meant.
pub(super) fn needs_match(
    condition: &Condition,
    current: Option<&Current>,
    permit: &Permit<'_>,
) -> Result<(), Error> {
    let Some(current) = current.filter(|_| condition.if_match.is_empty()) else { return Ok(()) };
    let body = current.version.body.as_ref();
    let is_basic = current.version.identity.resource_type.as_str() == TYPE;
    match body.filter(|_| is_basic && !permit.state_systems().is_empty()) {
        Some(body) if is_own(&parsed(body)?, permit) => Err(unmatched()),
        _ => Ok(()),
    }
}

/// Refuses what is no state as an app may keep it, and state that becomes another's or something else.
pub(super) fn keep(
    operation: Operation,
    prior: Option<&Current>,
    prepared: &Prepared,
    identity: &Identity,
    permit: &Permit<'_>,
) -> Result<(), Error> {
    if identity.resource_type.as_str() != TYPE || permit.state_systems().is_empty() {
        return Ok(());
    }
    let after = parsed(&prepared.body)?;
    let before = prior.and_then(|prior| prior.version.body.as_ref());
    let before = before.map(|body| parsed(body)).transpose()?;
    let was_own = before.as_ref().is_some_and(|before| is_own(before, permit));
    if !is_own(&after, permit) && !was_own {
        return Ok(());
    }
    if !is_told(&after) {
        let text = "the code of an app's state has a system and a code";
        let issue = Issue::error_at(IssueCode::BusinessRule, text, "Basic.code");
        return Err(Error::Unprocessable(vec![issue]));
    }
    if operation == Operation::PutNew {
        return Err(unmatched());
    }
    if let Some(before) = &before
        && FIXED.iter().any(|name| before.get(name) != after.get(name))
    {
        let text = "the code and the subject of an app's state stay what they were";
        return Err(Error::PreconditionFailed(text.to_owned()));
    }
    if prepared.body.len() > MOST_BYTES {
        return Err(Error::TooLarge(format!("the state of an app has {MOST_BYTES} bytes at most")));
    }
    if has_plain_extensions(&after) { Ok(()) } else { Err(too_complex()) }
}

fn parsed(body: &[u8]) -> Result<Value<'_>, Error> {
    json::parse(body).map_err(Error::internal)
}

/// Whether a document has a code of a system that is the app's own.
fn is_own(body: &Value<'_>, permit: &Permit<'_>) -> bool {
    let Some(code) = body.get("code") else { return false };
    let mut systems = code.items_at("coding").iter().filter_map(|coding| coding.str_at("system"));
    systems.any(|system| permit.state_systems().iter().any(|own| **own == *system))
}

/// Whether each coding has what it is found by.
fn is_told(body: &Value<'_>) -> bool {
    let codings = body.get("code").map(|code| code.items_at("coding")).unwrap_or_default();
    codings.iter().all(|it| it.str_at("system").is_none() || it.str_at("code").is_some())
}

/// Whether extensions, if there are any, are texts.
fn has_plain_extensions(body: &Value<'_>) -> bool {
    let is_text = |extension: &Value<'_>| {
        let Value::Object(extension) = extension else { return false };
        extension.iter().all(|(name, _)| matches!(name, "id" | "url" | "valueString"))
            && extension.get("valueString").is_some()
    };
    body.get("modifierExtension").is_none() && body.items_at("extension").iter().all(is_text)
}

fn unmatched() -> Error {
    let text = "the state of an app is changed and deleted with If-Match, and made by POST";
    Error::PreconditionFailed(text.to_owned())
}

fn too_complex() -> Error {
    let text = "extensions of an app's state are texts: valueString and nothing else";
    Error::Unprocessable(vec![Issue::error_at(IssueCode::BusinessRule, text, "Basic.extension")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_of_state_are_texts() {
        for (body, is_plain) in [
            ("{}", true),
            (
                r#"{"extension":[{"url":"u","valueString":"x"},{"id":"a","url":"v","valueString":"y"}]}"#,
                true,
            ),
            (r#"{"extension":[{"url":"u","valueInteger":1}]}"#, false),
            (r#"{"extension":[{"url":"u","valueString":"x"},{"url":"v"}]}"#, false),
            (r#"{"extension":[{"url":"u","extension":[{"url":"v","valueString":"x"}]}]}"#, false),
            (r#"{"extension":[{"url":"u","valueString":"x","_valueString":{"id":"a"}}]}"#, false),
            (r#"{"modifierExtension":[{"url":"u","valueString":"x"}]}"#, false),
        ] {
            let parsed = parsed(body.as_bytes()).expect("JSON");
            assert_eq!(has_plain_extensions(&parsed), is_plain, "{body}");
        }
    }
}
