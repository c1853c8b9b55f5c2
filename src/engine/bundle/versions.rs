//! Version-specific references to what the same transaction updates: they get the version that the
//! update makes, which is known only when it has run.
//!
//! Until then a word that nobody can guess stands in the place of the version: the secret of the
//! transaction and the place of the entry that is meant. What is referred to runs first; where each
//! waits for the other, one is numbered ahead: a resource that names a new version cannot be what
//! it was.
//!
//! Spec: checklist rest 3.25

use std::collections::HashMap;

use bytes::Bytes;

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::engine::Engine;
use crate::engine::patch::Patch;
use crate::error::Error;
use crate::fhir::VersionId;
use crate::fhir::json;
use crate::store::WriteTx;

use super::entry::{Task, Work};
use super::{BundleOptions, EntryResult, at_entry};

/// Entries whose references are settled, what of them has run, and the versions promised for others.
pub(super) struct Settled {
    pub(super) work: Vec<Work>,
    pub(super) results: HashMap<usize, EntryResult>,
    pub(super) promised: Promised,
}

/// Versions that were numbered ahead, by the place of their entry.
#[derive(Default)]
pub(super) struct Promised(Vec<(usize, VersionId)>);

impl Promised {
    /// Refuses results, all of them in order, that are not what was promised: another writer came
    /// between.
    pub(super) fn check(&self, results: &[EntryResult]) -> Result<(), Error> {
        let is_kept = |(index, promised): &(usize, VersionId)| match results.get(*index) {
            Some(EntryResult::Written(written)) => written.version.version == *promised,
            _ => false,
        };
        if self.0.iter().all(is_kept) {
            return Ok(());
        }
        let text = "a resource of the transaction changed meanwhile; try again";
        Err(Error::Conflict(text.to_owned()))
    }
}

impl Engine {
    /// Gives every reference in `work` that has a word of `secret` for its version the version.
    pub(super) async fn settle(
        &self,
        work: &[Work],
        secret: &str,
        options: &BundleOptions,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Settled, Error> {
        let (results, promised) = (HashMap::new(), Promised(Vec::new()));
        let mut settled = Settled { work: work.to_vec(), results, promised };
        let is_meant = |one: &Work| {
            let stand_in = word(secret, one.index);
            work.iter().any(|other| other.mentions(&stand_in))
        };
        let mut open: Vec<usize> =
            (0..work.len()).filter(|&place| is_meant(&work[place])).collect();
        while let Some(&last) = open.last() {
            let ready = open.iter().copied().find(|&place| !settled.work[place].mentions(secret));
            let place = ready.unwrap_or(last);
            open.retain(|&other| other != place);
            let one = &settled.work[place];
            let index = one.index;
            let Some(identity) = one.written_identity().cloned() else { continue };
            let version = if ready.is_some() {
                let result = self.run_entry(one, options, permit, tx).await;
                let result = result.map_err(|error| at_entry(error, index))?;
                let EntryResult::Written(written) = &result else {
                    return Err(Error::internal("an update or a patch gives a version"));
                };
                let version = written.version.version;
                settled.results.insert(index, result);
                version
            } else {
                let permit = permit.derive(Kind::Update, identity.resource_type)?;
                let current = tx.current(&identity.id, &permit).await?;
                let version = VersionId(current.map_or(0, |current| current.version.version.0) + 1);
                settled.promised.0.push((index, version));
                version
            };
            let (stand_in, version) = (word(secret, index), version.to_string());
            for other in &mut settled.work {
                other.replace(&stand_in, &version)?;
            }
        }
        Ok(settled)
    }
}

/// What stands for the version that the entry at `index` will make.
pub(super) fn word(secret: &str, index: usize) -> String {
    // All are equally long, so that none is the beginning of another.
    format!("{secret}-{index:010}")
}

impl Work {
    /// Whether the text, which JSON writes as it is, stands in what the entry writes.
    pub(super) fn mentions(&self, text: &str) -> bool {
        match &self.task {
            Task::Create(_, ready) | Task::Update(_, ready) => {
                let parts = [Some(&ready.body), ready.meta.as_ref()];
                parts.into_iter().flatten().any(|part| contains(part, text))
            }
            Task::Patch(_, Patch::FhirPath(parameters)) => {
                contains(parameters.to_text().as_bytes(), text)
            }
            Task::Call(_)
            | Task::Delete(_)
            | Task::DeleteAll(..)
            | Task::Exists(..)
            | Task::Get(_)
            | Task::Meta(..)
            | Task::Patch(..) => false,
        }
    }

    pub(super) fn replace(&mut self, from: &str, to: &str) -> Result<(), Error> {
        if !self.mentions(from) {
            return Ok(());
        }
        let replaced = |part: &[u8]| -> Result<String, Error> {
            Ok(std::str::from_utf8(part).map_err(Error::internal)?.replace(from, to))
        };
        match &mut self.task {
            Task::Create(_, ready) | Task::Update(_, ready) => {
                ready.body = Bytes::from(replaced(&ready.body)?);
                let meta = ready.meta.as_deref().map(replaced).transpose()?;
                ready.meta = meta.map(Bytes::from);
            }
            Task::Patch(_, Patch::FhirPath(parameters)) => {
                let text = replaced(parameters.to_text().as_bytes())?;
                let value = json::parse(text.as_bytes()).map_err(Error::internal)?;
                *parameters = value.into_owned();
            }
            Task::Call(_)
            | Task::Delete(_)
            | Task::DeleteAll(..)
            | Task::Exists(..)
            | Task::Get(_)
            | Task::Meta(..)
            | Task::Patch(..) => {}
        }
        Ok(())
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|bytes| bytes.contains(text))
}
