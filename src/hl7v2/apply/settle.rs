//! What a merge has left behind: too much for its own transaction, outside of compartments, or written
//! at the same moment by somebody who knew nothing of it.
//!
//! Spec: v2 S5, B20

use std::sync::Arc;

use super::change::belongings;
use super::find::Found;
use super::merge::moved;
use super::plan::{Entry, bare};
use super::{Applier, MOST_HOPS};
use crate::access::Caller;
use crate::engine::{BundleOptions, EntryResult, SearchTarget};
use crate::error::Error;
use crate::fhir::json::{Object, Value};
use crate::fhir::{Identity, ResourceType};
use crate::hl7v2::effect::person;
use crate::store::hl7v2::{Companion, Merge, Merging, Moved};

/// References to patients of types that are in no compartment by them.
const BEYOND: &[(&str, &str)] = &[
    ("Contract", "signer"),
    ("Contract", "subject"),
    ("Device", "patient"),
    ("GuidanceResponse", "subject"),
    ("Linkage", "item"),
    ("Observation", "focus"),
    ("Task", "owner"),
    ("Task", "requester"),
    ("Task", "subject"),
];

/// The identities of a merge: the one that ended, and the one that stayed.
pub(super) fn both(merge: &Merge) -> Option<(Identity, Identity)> {
    let of: ResourceType = merge.resource_type.parse().ok()?;
    let identity = |id: &str| Some(Identity { resource_type: of, id: id.parse().ok()? });
    Some((identity(&merge.source)?, identity(&merge.target)?))
}

/// Where something that leads to a resource is looked for.
fn places(of: &Identity) -> Vec<(SearchTarget, String)> {
    let mut all = belongings(of);
    if of.resource_type == ResourceType::PATIENT {
        all.extend(BEYOND.iter().filter_map(|(kind, parameter)| {
            Some((SearchTarget::Type(kind.parse().ok()?), format!("{parameter}={of}")))
        }));
    }
    all
}

impl Applier {
    /// Moves what still leads to the one that ended; how many resources that were.
    pub(super) async fn move_what_is_left(
        &self,
        merge: &Merge,
        caller: &Caller,
    ) -> Result<usize, Error> {
        let Some((source, target)) = both(merge) else { return Ok(0) };
        let target = self.survivor(target, caller).await?;
        let (from, to) = (source.to_string(), target.to_string());
        let mut count = 0;
        for (of, query) in places(&source) {
            let mut cursor = None;
            loop {
                let (all, next) =
                    self.leading(&of, &query, cursor.as_deref(), (&from, &to), caller).await?;
                count += self.move_some(merge, all, (&from, &to), caller).await?;
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(count)
    }

    /// The patient that stays in the end: another may have replaced the one that stayed.
    async fn survivor(&self, target: Identity, caller: &Caller) -> Result<Identity, Error> {
        let mut target = target;
        for _ in 0..MOST_HOPS {
            if target.resource_type != ResourceType::PATIENT {
                break;
            }
            let Some(found) = self.stored(&target, caller).await? else { break };
            let next = found.stored.and_then(|(stored, _)| person::replaced_by(&stored));
            match next.and_then(|id| id.parse().ok()) {
                Some(id) => target.id = id,
                None => break,
            }
        }
        Ok(target)
    }

    async fn move_some(
        &self,
        merge: &Merge,
        all: Vec<Found>,
        (from, to): (&str, &str),
        caller: &Caller,
    ) -> Result<usize, Error> {
        let mut all_moved = Vec::new();
        for found in all {
            let Some((stored, _)) = &found.stored else { continue };
            let mut value = Value::Object(stored.clone());
            let paths = person::repointed(&mut value, from, to);
            if let Value::Object(body) = value
                && !paths.is_empty()
            {
                let moves: Vec<_> =
                    paths.into_iter().filter_map(|path| moved(&found, path)).collect();
                all_moved.push((entry(&found, &body, "repoint"), moves));
            }
        }
        let count = all_moved.len();
        match self.move_these(merge, &all_moved, caller).await {
            Ok(()) => return Ok(count),
            Err(error) if !is_of_one(&error) => return Err(error),
            Err(_) => {}
        }
        // One that cannot be moved keeps none of the others where they are.
        let (mut count, mut stuck) = (0, 0);
        for one in &all_moved {
            match self.move_these(merge, std::slice::from_ref(one), caller).await {
                // Somebody else wrote it just now: it is looked at again.
                Ok(()) => count += 1,
                Err(error) if is_raced(&error) => count += 1,
                Err(error) if is_of_one(&error) => stuck += 1,
                Err(error) => return Err(error),
            }
        }
        if stuck > 0 {
            metrics::counter!("kiln_v2_merge_stuck_total").increment(stuck);
            tracing::warn!(message = %merge.message, stuck, "resources that are not valid stay where a merge found them");
        }
        Ok(count)
    }

    async fn move_these(
        &self,
        merge: &Merge,
        all: &[(Entry, Vec<Moved>)],
        caller: &Caller,
    ) -> Result<(), Error> {
        if all.is_empty() {
            return Ok(());
        }
        let source = source_of(merge);
        let entries = all.iter().map(|(entry, _)| entry.value_from(source.clone())).collect();
        let moves = all.iter().flat_map(|(_, moves)| moves.clone()).collect();
        let merging = Merging::GoesOn(merge.clone(), moves);
        let companion = Companion { merges: vec![merging], ..Companion::default() };
        self.write(entries, companion, caller).await
    }

    /// Writes entries in one transaction, with what is committed beside them.
    pub(super) async fn write(
        &self,
        entries: Vec<Value<'static>>,
        companion: Companion,
        caller: &Caller,
    ) -> Result<(), Error> {
        let bundle = Object::new()
            .with("resourceType", "Bundle")
            .with("type", "transaction")
            .with("entry", entries);
        let beside = move |_: &[EntryResult]| companion.clone();
        let options =
            BundleOptions { companion: Some(Arc::new(beside)), ..BundleOptions::default() };
        self.engine.bundle(bundle.into(), &options, caller).await.map(drop)
    }
}

/// Whether somebody else wrote it between.
fn is_raced(error: &Error) -> bool {
    match error {
        Error::Entry { cause, .. } => is_raced(cause),
        Error::Conflict(_) | Error::PreconditionFailed(_) => true,
        _ => false,
    }
}

/// Whether something is wrong with what is written, not with where it is written to.
fn is_of_one(error: &Error) -> bool {
    match error {
        Error::Entry { cause, .. } => is_of_one(cause),
        Error::Conflict(_)
        | Error::Duplicate(_)
        | Error::Invalid(_)
        | Error::PreconditionFailed(_)
        | Error::Unprocessable(_) => true,
        _ => false,
    }
}

/// Another version of what is stored.
pub(super) fn entry(found: &Found, body: &Object<'static>, action: &'static str) -> Entry {
    let stored = found.stored.as_ref();
    let meta = stored.and_then(|(stored, _)| stored.get("meta")).and_then(Value::as_object);
    Entry {
        identity: found.identity.clone(),
        prior: stored.map(|(_, version)| *version),
        meta: meta.cloned(),
        body: bare(body),
        action,
        rule: "effect merge".to_owned(),
    }
}

/// `meta.source` of what a merge changes after its message.
pub(super) fn source_of(merge: &Merge) -> String {
    format!("urn:kiln:v2-merge#{}", merge.message)
}

/// The moves of one resource after the other.
pub(super) fn by_resource(moves: &[Moved]) -> Vec<&[Moved]> {
    moves
        .chunk_by(|one, other| (&one.resource_type, &one.id) == (&other.resource_type, &other.id))
        .collect()
}
