//! batch: every entry by itself, in FHIR's order; those of one kind side by side.

use std::collections::HashSet;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::access::interaction::Kind;
use crate::access::{Attempted, Caller, Disclosed, Unaudited};
use crate::engine::patch::Patch;
use crate::engine::search::{Handling, OF_FORM};
use crate::engine::{Deletion, Engine, MetaChange, Written};
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::{Identity, IssueCode, VersionId};

use super::entry::unless_known;
use super::plan::{self, Action, Entry, Get, Unread};
use super::rewrite::{Links, Unresolved, rewrite};
use super::shell::Faults;
use super::transaction::resource;
use super::{BundleOptions, BundleOutcome, EntryResult};

/// Entries that run at the same time: enough to share the waits for the disk.
const SIDE_BY_SIDE: usize = 16;

impl Engine {
    pub(super) async fn batch(
        &self,
        bundle: Value<'_>,
        options: &BundleOptions,
        caller: &Caller,
    ) -> Result<BundleOutcome, Error> {
        let mut bundle = bundle;
        let faults = Faults::of(&bundle, &self.spec.schema);
        let entries = plan::entries(&mut bundle, &self.settings.base, options.is_strict);
        let sound = self.check_size(entries.len()).and_then(|()| check_full_urls(&entries));
        let interaction = Kind::Batch.of_system();
        let mut faults = match sound.and(faults) {
            Ok(faults) => faults,
            Err(error) => {
                let attempted = self.attempted(&entries, interaction);
                return self.gate.denied_with(interaction, attempted, caller, error).await;
            }
        };
        let nothing = async |_: &crate::access::Permit<'_>| Ok(Unaudited::nothing());
        self.gate.run(interaction, caller, nothing).await?;
        let full_urls = full_urls(&entries);
        let mut results: Vec<Option<EntryResult>> = Vec::new();
        results.resize_with(entries.len(), || None);
        let by_rank = self.sorted(entries, &mut faults, &mut results, caller).await;
        for entries in by_rank {
            let mut running = FuturesUnordered::new();
            let mut touched = HashSet::new();
            for entry in entries {
                // What names the same resource comes in the order of the entries.
                let identity = entry.action.identity().cloned();
                let is_next = identity.is_some_and(|identity| !touched.insert(identity));
                let most = if is_next { 1 } else { SIDE_BY_SIDE };
                while running.len() >= most
                    && let Some((index, result)) = running.next().await
                {
                    results[index] = Some(result);
                }
                running.push(self.numbered_entry(entry, &full_urls, options, caller));
            }
            while let Some((index, result)) = running.next().await {
                results[index] = Some(result);
            }
        }
        let entries = results.into_iter().flatten().collect();
        Ok(BundleOutcome { is_transaction: false, entries })
    }

    /// The entries that can run, by their rank. The others have failed, and are on record as what they ask for.
    async fn sorted<'e>(
        &self,
        entries: Vec<Result<Entry<'e>, Unread>>,
        faults: &mut Faults,
        results: &mut [Option<EntryResult>],
        caller: &Caller,
    ) -> [Vec<Entry<'e>>; 4] {
        let mut by_rank: [Vec<Entry<'e>>; 4] = Default::default();
        for (index, (entry, result)) in entries.into_iter().zip(results).enumerate() {
            let (attempted, error) = match (entry, faults.take(index)) {
                (Ok(entry), None) => {
                    by_rank[usize::from(entry.action.rank())].push(entry);
                    continue;
                }
                (Ok(entry), Some(error)) => (entry.action.attempted(), error),
                (Err(unread), _) => (unread.attempted(Kind::Batch.of_system()), unread.error),
            };
            let denied = self.gate.denied_each(vec![attempted], caller, error).await;
            *result = Some(failed(denied));
        }
        by_rank
    }

    async fn numbered_entry(
        &self,
        entry: Entry<'_>,
        full_urls: &Links,
        options: &BundleOptions,
        caller: &Caller,
    ) -> (usize, EntryResult) {
        let index = entry.index;
        (index, failed(Box::pin(self.batch_entry(entry, full_urls, options, caller)).await))
    }

    /// Creates under the id that the sender chose for the entry at `index`, or a new one.
    async fn create_entry(
        &self,
        index: usize,
        resource: crate::fhir::Resource<'_>,
        options: &BundleOptions,
        caller: &Caller,
    ) -> Result<Written, Error> {
        if options.new_ids.is_none() {
            return Box::pin(self.create(resource, options.of_write(), caller)).await;
        }
        let identity = options.new_identity(index, resource.resource_type, &*self.ids);
        Box::pin(self.create_chosen(&identity, resource, options.of_write(), caller)).await
    }

    async fn batch_entry(
        &self,
        entry: Entry<'_>,
        full_urls: &Links,
        options: &BundleOptions,
        caller: &Caller,
    ) -> Result<EntryResult, Error> {
        if let Err(error) = self.stands_alone(&entry, full_urls) {
            let attempted = vec![entry.action.attempted()];
            return self.gate.denied_each(attempted, caller, error).await;
        }
        if entry.action.criteria().is_some() {
            return Box::pin(self.batch_conditional(entry, options, caller)).await;
        }
        let Entry { index, action, condition, modified_since, .. } = entry;
        match action {
            Action::Create(resource_type, value) => {
                let resource = crate::fhir::Resource { resource_type, value };
                let written = Box::pin(self.create_entry(index, resource, options, caller)).await?;
                Ok(EntryResult::Written(written))
            }
            Action::Update(identity, value) => {
                let resource = resource(&identity, value);
                let options = options.of_write();
                let written =
                    Box::pin(self.update(&identity, resource, &condition, options, caller)).await?;
                Ok(EntryResult::Written(written))
            }
            Action::Patch(identity, value) => {
                let attempted = plan::attempted(Kind::Patch, &identity);
                let patch = self.batch_patch(&value, attempted, caller).await?;
                let written =
                    self.patch(&identity, patch, &condition, options.of_write(), caller).await?;
                Ok(EntryResult::Written(written))
            }
            Action::Delete(identity) => {
                let deleted = self.delete(&identity, &condition, caller).await?;
                Ok(EntryResult::Deleted(Deletion::One(identity, deleted.version)))
            }
            Action::Meta(identity, version, value, change) => {
                let meta = self.batch_meta(&identity, version, &value, change, caller).await?;
                Ok(EntryResult::Meta(meta))
            }
            Action::Get(Get::Read(identity)) => {
                let caller = caller.of_entry(&identity.to_string());
                let version = self.read(&identity, &caller).await?;
                Ok(unless_known(version, &condition, modified_since))
            }
            Action::Call(call) => self.call(call, options, caller).await,
            Action::Get(get) => self.batch_get(get, options, caller).await,
            Action::CreateUnless(..)
            | Action::DeleteBy(..)
            | Action::PatchBy(..)
            | Action::UpdateBy(..) => Err(Error::internal("an entry with criteria ran without")),
        }
    }

    /// An entry whose resource is found by criteria.
    async fn batch_conditional(
        &self,
        entry: Entry<'_>,
        options: &BundleOptions,
        caller: &Caller,
    ) -> Result<EntryResult, Error> {
        let Entry { action, condition, .. } = entry;
        let options = options.of_write();
        let written = match action {
            Action::CreateUnless(resource_type, criteria, value) => {
                let resource = crate::fhir::Resource { resource_type, value };
                Box::pin(self.create_unless(resource, &criteria, options, caller)).await?
            }
            Action::UpdateBy(resource_type, criteria, value) => {
                let criteria = criteria.without(&OF_FORM);
                let resource = crate::fhir::Resource { resource_type, value };
                self.update_by(resource, &criteria, &condition, options, caller).await?
            }
            Action::PatchBy(of, criteria, value) => {
                let criteria = criteria.without(&OF_FORM);
                let attempted = (Kind::Patch.of(of), Disclosed::default());
                let patch = self.batch_patch(&value, attempted, caller).await?;
                self.patch_by(of, patch, &criteria, &condition, options, caller).await?
            }
            Action::DeleteBy(of, criteria) => {
                let criteria = criteria.without(&OF_FORM);
                let deleted = self.delete_by(of, &criteria, &condition, caller).await?;
                return Ok(EntryResult::Deleted(Deletion::Matches(deleted)));
            }
            _ => return Err(Error::internal("an entry without criteria ran as one with them")),
        };
        Ok(EntryResult::Written(written))
    }

    async fn batch_patch(
        &self,
        value: &Value<'_>,
        attempted: Attempted,
        caller: &Caller,
    ) -> Result<Patch<'static>, Error> {
        match crate::engine::patching::of_entry(value) {
            Ok(patch) => Ok(patch),
            Err(error) => self.gate.denied_each(vec![attempted], caller, error).await,
        }
    }

    async fn batch_meta(
        &self,
        identity: &Identity,
        version: Option<VersionId>,
        parameters: &Value<'_>,
        change: MetaChange,
        caller: &Caller,
    ) -> Result<Value<'static>, Error> {
        let meta = match self.meta_of_parameters(parameters) {
            Ok(meta) => meta,
            Err(error) => {
                let attempted = vec![plan::attempted(change.kind(), identity)];
                return self.gate.denied_each(attempted, caller, error).await;
            }
        };
        self.change_meta(identity, version, &meta, change, caller).await
    }

    async fn batch_get(
        &self,
        get: Get,
        options: &BundleOptions,
        caller: &Caller,
    ) -> Result<EntryResult, Error> {
        match get {
            Get::Read(identity) => Ok(EntryResult::Read(self.read(&identity, caller).await?)),
            Get::Vread(identity, version) => {
                let caller = caller.of_entry(&format!("{identity}/_history/{version}"));
                Ok(EntryResult::Read(self.vread(&identity, version, &caller).await?))
            }
            Get::History(scope, query) => {
                let request = match self.history_request(scope.clone(), &query, options.is_strict) {
                    Ok(request) => request,
                    Err(error) => {
                        let attempted = vec![Get::History(scope, query).attempted()];
                        return self.gate.denied_each(attempted, caller, error).await;
                    }
                };
                let page = self.history(&request, caller).await?;
                Ok(EntryResult::History(page, scope, query))
            }
            Get::Meta(of) => Ok(EntryResult::Meta(self.meta(&of, caller).await?)),
            Get::Search(target, query) => {
                let caller = caller.of_entry(&crate::engine::search::address(&target, &query));
                let BundleOptions { is_strict, waits_for_words, .. } = *options;
                let handling = Handling { is_strict, waits_for_words };
                let found = self.search_as(&target, &query, handling, &caller).await?;
                Ok(EntryResult::Search(Box::new(found), query))
            }
            Get::CapabilityStatement(query) => {
                let interaction = Kind::Capabilities.of_system();
                match options.statement(&query) {
                    Ok(statement) => {
                        self.noted(interaction, caller).await?;
                        Ok(statement)
                    }
                    Err(error) => self.gate.denied(interaction, caller, error).await,
                }
            }
        }
    }

    /// An entry of a batch may not refer to another one, nor by criteria (rest 3.31, 3.46).
    fn stands_alone(&self, entry: &Entry<'_>, others: &Links) -> Result<(), Error> {
        let (Action::Create(_, before)
        | Action::CreateUnless(_, _, before)
        | Action::Update(_, before)
        | Action::UpdateBy(_, _, before)) = &entry.action
        else {
            return Ok(());
        };
        let mut value = before.clone();
        let full_url = entry.full_url.as_deref();
        rewrite(&mut value, full_url, others, Unresolved::Keep, &self.spec.schema)?;
        if value == *before {
            return Ok(());
        }
        let text = "an entry of a batch cannot refer to another entry: send a transaction";
        Err(Error::invalid(IssueCode::Invalid, text))
    }
}

fn failed(result: Result<EntryResult, Error>) -> EntryResult {
    result.unwrap_or_else(EntryResult::Failed)
}

/// The urns of the entries: what no other entry may refer to.
fn full_urls(entries: &[Result<Entry<'_>, Unread>]) -> Links {
    let mut links = Links::default();
    for entry in entries.iter().flatten() {
        if let (Some(full_url), Some(identity)) = (&entry.full_url, placeholder(entry))
            && full_url.starts_with("urn:")
        {
            links.add(full_url, identity, None);
        }
    }
    links
}

/// Any identity serves: the link only has to be noticed.
fn placeholder(entry: &Entry<'_>) -> Option<crate::fhir::Identity> {
    match &entry.action {
        Action::Create(resource_type, _)
        | Action::CreateUnless(resource_type, ..)
        | Action::UpdateBy(resource_type, ..) => {
            let id = "entry".parse().ok()?;
            Some(crate::fhir::Identity { resource_type: *resource_type, id })
        }
        other => other.identity().cloned(),
    }
}

/// No two entries may have one fullUrl (bdl-7, rest 3.14).
fn check_full_urls(entries: &[Result<Entry<'_>, Unread>]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for entry in entries.iter().flatten() {
        if let Some(full_url) = &entry.full_url
            && !seen.insert(full_url)
        {
            let text = format!("two entries have the fullUrl {full_url}");
            let place = format!("Bundle.entry[{}].fullUrl", entry.index);
            return Err(Error::invalid_at(IssueCode::Invalid, text, place));
        }
    }
    Ok(())
}
