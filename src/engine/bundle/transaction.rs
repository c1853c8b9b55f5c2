//! transaction: all entries or none.

use std::collections::{HashMap, HashSet};

use crate::access::interaction::Kind;
use crate::access::{Caller, Permit, Unaudited};
use crate::engine::prepare::Prepared;
use crate::engine::validation::aside;
use crate::engine::{Engine, Wish, refuse_unstorable};
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::{Identity, IssueCode, Resource};
use crate::store::WriteTx;
use crate::validate::form::MAX_ISSUES;

use super::call::lend;
use super::conditional::has_criteria;
use super::entry::{Task, Work};
use super::plan::{self, Action, Entry};
use super::rewrite::{Links, Unresolved, rewrite};
use super::versions::{Settled, word};
use super::{BundleOptions, BundleOutcome, EntryResult, at_entry};

/// About how much of a document an entry is.
pub(super) const NODES_OF_AN_ENTRY: usize = 100;

impl Engine {
    pub(super) async fn transaction(
        &self,
        bundle: Value<'_>,
        options: &BundleOptions,
        caller: &Caller,
    ) -> Result<BundleOutcome, Error> {
        let is_import = options.import.is_some();
        let kind = if is_import { Kind::ApplyMessage } else { Kind::Transaction };
        let interaction = kind.of_system();
        let mut bundle = bundle;
        let sound = self.check_size(entries_of(&mut bundle).len());
        let sound = sound.and_then(|()| self.check_transaction(&mut bundle));
        let entries = plan::entries(&mut bundle, &self.settings.base, options.is_strict);
        let attempted = self.attempted(&entries, interaction);
        let entries = entries.into_iter().map(|entry| entry.map_err(|unread| unread.error));
        let entries = match sound.and_then(|()| entries.collect::<Result<Vec<_>, _>>()) {
            Ok(entries) => entries,
            Err(error) => {
                return self.gate.denied_with(interaction, attempted, caller, error).await;
            }
        };
        let mut entries = entries;
        if let Err(error) = lend(&mut entries) {
            return self.gate.denied_with(interaction, attempted, caller, error).await;
        }
        if entries.iter().any(has_criteria) {
            return self.conditional_transaction(&entries, attempted, options, caller).await;
        }
        let nodes = entries.len() * NODES_OF_AN_ENTRY;
        let plan = match aside(nodes, || self.plan_transaction(entries, options)) {
            Ok(plan) => plan,
            Err(error) => {
                return self.gate.denied_with(interaction, attempted, caller, error).await;
            }
        };
        let written = plan.work.iter().filter_map(Work::written_identity);
        let _turns = self.turns.of_all(written).await;
        let attempted = plan.work.iter().map(Work::attempted).collect();
        let mut attempts = self.gate.attempts(interaction, caller).of_entries(attempted);
        let mut known = options.known.clone();
        loop {
            let attempt = attempts.write(async |permit, tx| {
                tx.expect(std::mem::take(&mut known), permit);
                let results = self.run_transaction(&plan, options, permit, tx).await?;
                let provenance = options.provenance.as_ref();
                self.stage_provenance_of_all(provenance, &results, permit, tx)?;
                if let Some(companion) = &options.companion {
                    tx.accompany(companion(&results));
                }
                let import = options.import.as_ref();
                let told = import.map(|import| tx.imported(import.message, &import.patients));
                Ok(Unaudited::new(results, told.unwrap_or_default()))
            });
            if let Some(done) = attempt.await? {
                return Ok(BundleOutcome { is_transaction: true, entries: done });
            }
        }
    }

    /// Checks the form of a transaction. What `$validate` is given is its question, not part of the
    /// transaction: whatever is wrong with that is its answer (rest 3.52, 6.12).
    fn check_transaction(&self, bundle: &mut Value<'_>) -> Result<(), Error> {
        let mut asked = Vec::new();
        for (at, entry) in entries_of(bundle).iter_mut().enumerate() {
            let Value::Object(entry) = entry else { continue };
            if entry.get("request").is_some_and(is_validate) {
                asked.extend(entry.remove("resource").map(|resource| (at, resource)));
            }
        }
        let checked = self.check(bundle).map_err(malformed_bundle);
        for (at, resource) in asked {
            if let Some(Value::Object(entry)) = entries_of(bundle).get_mut(at) {
                entry.set("resource", resource);
            }
        }
        checked
    }

    /// Everything about a transaction that needs no database: the order of work, new ids, links,
    /// the checked and prepared resources.
    fn plan_transaction(
        &self,
        entries: Vec<Entry<'_>>,
        options: &BundleOptions,
    ) -> Result<Plan, Error> {
        let identities = self.identities(&entries, options)?;
        let secret = self.ids.ordered().simple().to_string();
        let mut links = Links::default();
        for (entry, identity) in entries.iter().zip(&identities) {
            if let (Some(full_url), Some(identity)) = (&entry.full_url, identity) {
                links.add(full_url, identity.clone(), new_version(entry, &secret));
            }
        }
        let mut work = Vec::with_capacity(entries.len());
        let mut broken = Vec::new();
        for (entry, identity) in entries.into_iter().zip(identities) {
            let index = entry.index;
            let ready = self.prepare_entry(entry, identity, &links, options.wish);
            match ready.map_err(|error| at_entry(error, index)) {
                Ok(ready) => work.push(ready),
                // Who has to mend several entries hears of all of them.
                Err(Error::Unprocessable(issues)) => broken.extend(issues),
                Err(error) if broken.is_empty() => return Err(error),
                Err(_) => {}
            }
            if broken.len() >= MAX_ISSUES {
                break;
            }
        }
        if !broken.is_empty() {
            broken.truncate(MAX_ISSUES);
            return Err(Error::Unprocessable(broken));
        }
        let waits = work.iter().any(|one| one.mentions(&secret));
        Ok(Plan { work, secret: waits.then_some(secret) })
    }

    /// The resource that each entry writes, new ids included; no resource twice (rest 3.13).
    fn identities(
        &self,
        entries: &[Entry<'_>],
        options: &BundleOptions,
    ) -> Result<Vec<Option<Identity>>, Error> {
        let mut seen = HashSet::new();
        let mut identities = Vec::with_capacity(entries.len());
        for entry in entries {
            let identity = match &entry.action {
                Action::Create(resource_type, _) => {
                    Some(options.new_identity(entry.index, *resource_type, &*self.ids))
                }
                other => other.identity().cloned(),
            };
            if let Some(identity) = &identity
                && !seen.insert(identity.clone())
            {
                let text = format!("two entries change {identity}");
                let place = format!("Bundle.entry[{}].request.url", entry.index);
                return Err(Error::invalid_at(IssueCode::Invalid, text, place));
            }
            identities.push(identity);
        }
        Ok(identities)
    }

    /// Rewrites, checks and splits the resource of an entry whose URL or ids are settled.
    pub(super) fn prepare_entry(
        &self,
        entry: Entry<'_>,
        identity: Option<Identity>,
        links: &Links,
        wish: Wish,
    ) -> Result<Work, Error> {
        let Entry { index, full_url, action, condition, modified_since } = entry;
        let follow = |resource: &mut Value<'_>| {
            let full_url = full_url.as_deref();
            rewrite(resource, full_url, links, Unresolved::Refuse, &self.spec.schema)
        };
        let missing = || Error::internal("an entry that writes has an identity");
        let rank = action.rank();
        let task = match action {
            Action::Create(resource_type, mut value) => {
                follow(&mut value)?;
                let identity = identity.ok_or_else(missing)?;
                refuse_unstorable(resource_type)?;
                crate::engine::prepare::check_type(resource_type, &value)?;
                let prepared = self.prepare(&identity, value, Kind::Create, wish)?;
                Task::Create(identity, prepared)
            }
            Action::Update(identity, mut value) => {
                follow(&mut value)?;
                refuse_unstorable(identity.resource_type)?;
                crate::engine::prepare::check_identity(&identity, &value)?;
                let prepared = self.prepare(&identity, value, Kind::Update, wish)?;
                Task::Update(identity, prepared)
            }
            Action::Patch(identity, mut value) => {
                follow(&mut value)?;
                Task::Patch(identity, crate::engine::patching::of_entry(&value)?)
            }
            Action::Delete(identity) => Task::Delete(identity),
            Action::Call(mut call) => {
                if let Some(given) = &mut call.given {
                    rewrite(given, None, links, Unresolved::Keep, &self.spec.schema)?;
                }
                Task::Call(Box::new(call.into_owned()?))
            }
            Action::Get(get) => Task::Get(get),
            Action::Meta(identity, version, value, change) => {
                let meta = self.meta_of_parameters(&value)?;
                Task::Meta(identity, version, meta, change)
            }
            Action::CreateUnless(..)
            | Action::DeleteBy(..)
            | Action::PatchBy(..)
            | Action::UpdateBy(..) => return Err(Error::internal("criteria are not settled")),
        };
        Ok(Work { index, rank, task, condition, modified_since })
    }

    /// Runs the entries in FHIR's order and gives the results in the order of the request.
    async fn run_transaction(
        &self,
        plan: &Plan,
        options: &BundleOptions,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Vec<EntryResult>, Error> {
        let written = plan.work.iter().filter_map(Work::written_identity);
        let written: Vec<&Identity> = written.filter(|one| !tx.is_kept(one)).collect();
        if written.len() > 1 {
            tx.prefetch(&written, permit).await?;
        }
        let Some(secret) = &plan.secret else {
            return self.run_in_order(&plan.work, HashMap::new(), options, permit, tx).await;
        };
        let settled = self.settle(&plan.work, secret, options, permit, tx).await?;
        let Settled { work, results, promised } = settled;
        let results = self.run_in_order(&work, results, options, permit, tx).await?;
        promised.check(&results)?;
        Ok(results)
    }

    async fn run_in_order(
        &self,
        work: &[Work],
        done: HashMap<usize, EntryResult>,
        options: &BundleOptions,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Vec<EntryResult>, Error> {
        let mut results = done;
        self.run_by_rank(work, &mut results, options, permit, tx).await?;
        let in_order = work.iter().filter_map(|work| results.remove(&work.index));
        Ok(in_order.collect())
    }

    /// Runs what has no result yet, in FHIR's order.
    pub(super) async fn run_by_rank(
        &self,
        work: &[Work],
        results: &mut HashMap<usize, EntryResult>,
        options: &BundleOptions,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<(), Error> {
        let mut order: Vec<&Work> =
            work.iter().filter(|one| !results.contains_key(&one.index)).collect();
        order.sort_by_key(|work| work.rank);
        let mut is_flushed = false;
        for work in order {
            if work.reads_database() && !is_flushed {
                tx.flush().await?;
                is_flushed = true;
            }
            let result = self.run_entry(work, options, permit, tx).await;
            let index = work.index;
            let result = result.map_err(|error| match work.task {
                // What is wrong with a GET is not in a resource of the entry.
                Task::Call(_) | Task::Get(_) => Error::Entry { index, cause: Box::new(error) },
                _ => at_entry(error, index),
            })?;
            results.insert(index, result);
        }
        Ok(())
    }
}

/// The version that an entry makes: a word of `secret` where only the run will tell.
pub(super) fn new_version(entry: &Entry<'_>, secret: &str) -> Option<String> {
    match &entry.action {
        Action::Create(..) | Action::CreateUnless(..) => Some("1".to_owned()),
        Action::Patch(..) | Action::PatchBy(..) | Action::Update(..) | Action::UpdateBy(..) => {
            Some(word(secret, entry.index))
        }
        Action::Call(_)
        | Action::Delete(_)
        | Action::DeleteBy(..)
        | Action::Get(_)
        | Action::Meta(..) => None,
    }
}

fn entries_of<'b, 'a>(bundle: &'b mut Value<'a>) -> &'b mut [Value<'a>] {
    let Value::Object(bundle) = bundle else { return &mut [] };
    bundle.get_mut("entry").and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// Whether a request calls `$validate`.
fn is_validate(request: &Value<'_>) -> bool {
    let url = request.str_at("url").unwrap_or_default();
    let path = url.split('?').next().unwrap_or_default();
    request.str_at("method") == Some("POST") && path.ends_with("/$validate")
}

/// A Bundle that breaks the rules of Bundles is a malformed request (rest 3.4, 3.14).
fn malformed_bundle(error: Error) -> Error {
    match error {
        Error::Unprocessable(issues)
            if issues.iter().all(|issue| issue.diagnostics.contains("bdl-")) =>
        {
            Error::Invalid(issues)
        }
        other => other,
    }
}

/// A transaction that only the database is missing to.
struct Plan {
    work: Vec<Work>,
    /// What stands for versions that only the run will tell, when there are such.
    secret: Option<String>,
}

/// What stays of a resource until its entry runs.
pub(super) type Ready = Prepared;

/// The resource of an entry as the single interaction takes it.
pub(super) fn resource<'a>(identity: &Identity, value: Value<'a>) -> Resource<'a> {
    Resource { resource_type: identity.resource_type, value }
}
