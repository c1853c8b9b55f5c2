//! What a caller with limits names in what it writes.
//!
//! A Binary is seen through what it is attached to, so who attaches one that it may not see would claim
//! it, or hide it from whose it is. And where references must lead somewhere, what they may lead to
//! must not tell what is there. So what is named for the first time has to be within reach of who names
//! it, else it is as if it were not there. Whom a token is about may be named whatever the scopes say.
//!
//! Spec: security E8, W8

use std::collections::HashSet;

use crate::access::Permit;
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::reference::Target;
use crate::fhir::{Identity, ResourceType};
use crate::store::{Store, search};

use super::integrity::{dangling, seen_from};
use super::{Staged, WriteTx};

/// What is named, and what came into being meanwhile, which may be named by all of the unit.
#[derive(Debug, Default)]
pub(super) struct Named {
    targets: Vec<(Identity, String)>,
    made: HashSet<Identity>,
}

impl WriteTx {
    /// Remembers what a version names for the first time.
    pub(super) fn note_named(&mut self, staged: &Staged) -> Result<(), Error> {
        if self.sees_all {
            return Ok(());
        }
        self.named.made.insert(staged.identity.clone());
        let of = staged.identity.resource_type;
        let Some(body) = &staged.body else { return Ok(()) };
        let now = names(&self.store, of, body)?;
        if now.is_empty() {
            return Ok(());
        }
        let prior = staged.prior.as_ref().and_then(|prior| prior.version.body.as_ref());
        let before = prior.map_or_else(|| Ok(Vec::new()), |body| names(&self.store, of, body))?;
        let known: HashSet<Identity> = before.into_iter().map(|(target, _)| target).collect();
        let new = now.into_iter().filter(|(target, _)| !known.contains(target));
        let entry = self.at_entry;
        let placed = new.map(|(target, place)| (target, seen_from(entry, &place)));
        self.named.targets.extend(placed);
        Ok(())
    }

    /// Refuses what is named and out of reach.
    pub(super) async fn check_named(&mut self, permit: &Permit<'_>) -> Result<(), Error> {
        let Named { targets, made } = std::mem::take(&mut self.named);
        let hasher = self.store().hasher().clone();
        let is_open = |target: &Identity| {
            made.contains(target)
                || permit.is_about(target)
                || (target.resource_type == ResourceType::PATIENT
                    && permit.is_about_patient(hasher.patient(&target.id)))
        };
        let asked: Vec<_> = targets.into_iter().filter(|(target, _)| !is_open(target)).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let identities: Vec<Identity> = asked.iter().map(|(target, _)| target.clone()).collect();
        let known = Box::pin(search::readable_among(identities, self, permit)).await?;
        let missing = asked.into_iter().filter(|(target, _)| !known.contains(target));
        let issues: Vec<_> = missing.map(|(target, place)| dangling(&target, place)).collect();
        if issues.is_empty() { Ok(()) } else { Err(Error::Unprocessable(issues)) }
    }
}

/// What a body names that must be within reach, each with its place.
fn names(store: &Store, of: ResourceType, body: &[u8]) -> Result<Vec<(Identity, String)>, Error> {
    let is_attaching = search::ATTACHING.contains(&of.as_str())
        && memchr::memmem::find(body, b"Binary/").is_some();
    if !is_attaching && !store.integrity().enforces_references() {
        return Ok(Vec::new());
    }
    let value = json::parse(body).map_err(Error::internal)?;
    let base = store.parameters()?.extractor.base().to_owned();
    let links = store.integrity().links(of, &value, &base).into_iter();
    let mut all: Vec<_> = links.map(|link| (link.target, link.place)).collect();
    if is_attaching {
        let mut found = Vec::new();
        attached(&value, &base, of.as_str(), &mut found);
        // Where references must lead somewhere, those are among the links.
        found.retain(|it| !all.contains(it));
        all.extend(found);
    }
    Ok(all)
}

/// The Binaries that a URL or a reference in the value names.
fn attached(value: &Value<'_>, base: &str, place: &str, found: &mut Vec<(Identity, String)>) {
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                attached(item, base, &format!("{place}[{at}]"), found);
            }
        }
        Value::Object(object) => {
            for (key, value) in object.iter() {
                let is_reference = key == "reference";
                let place = if is_reference { place.to_owned() } else { format!("{place}.{key}") };
                if (is_reference || key == "url")
                    && let Some(text) = value.as_str()
                    && let Target::Local { resource_type: ResourceType::BINARY, id, .. } =
                        Target::parse(text, base)
                {
                    found.push((Identity { resource_type: ResourceType::BINARY, id }, place));
                } else {
                    attached(value, base, &place, found);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_binaries_here_are_found_with_their_places() {
        let text = r#"{"content":[{"attachment":{"url":"Binary/a/_history/2"}},{"attachment":{"url":"http://x/fhir/Binary/b"}},{"attachment":{"url":"http://other/Binary/c"}}],"extension":[{"url":"Binary"}],"entry":[{"item":{"reference":"Binary/d"}},{"item":{"reference":"Media/e"}}]}"#;
        let value = json::parse(text.as_bytes()).expect("JSON");
        let mut found = Vec::new();
        attached(&value, "http://x/fhir", "DocumentReference", &mut found);
        let found: Vec<String> =
            found.iter().map(|(target, place)| format!("{target} at {place}")).collect();
        assert_eq!(
            found,
            [
                "Binary/a at DocumentReference.content[0].attachment.url",
                "Binary/b at DocumentReference.content[1].attachment.url",
                "Binary/d at DocumentReference.entry[0].item",
            ]
        );
    }
}
