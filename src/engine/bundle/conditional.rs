//! Transactions with criteria: conditional interactions and conditional references.
//!
//! What entries write is found before anything is written; two that find one resource are refused.
//! References are looked for last: entries without any are written first, so that a reference may
//! lead to what the same transaction makes, then those whose references are found, and so on.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#trules>, checklist rest 3.13, 3.15, 3.29 to 3.36

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::access::interaction::Kind;
use crate::access::{Attempted, Caller, Disclosed, Permit, Unaudited};
use crate::engine::conditional::{Goal, nothing_matches};
use crate::engine::search::{Criteria, OF_FORM};
use crate::engine::validation::aside;
use crate::engine::{Engine, Wish};
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::fhir::reference::Target;
use crate::fhir::{Identity, IssueCode};
use crate::store::{Current, WriteTx};

use super::entry::{Task, Work};
use super::plan::{Action, Entry};
use super::rewrite::{Links, conditional_references};
use super::transaction::{NODES_OF_AN_ENTRY, new_version};
use super::versions::{Promised, Settled, word};
use super::{BundleOptions, BundleOutcome, EntryResult, at_entry};

/// Whether an entry asks for a search before it can run.
pub(super) fn has_criteria(entry: &Entry<'_>) -> bool {
    entry.action.criteria().is_some() || !references(entry).is_empty()
}

fn references(entry: &Entry<'_>) -> BTreeSet<String> {
    entry.action.resource().map(conditional_references).unwrap_or_default()
}

/// The criteria of a transaction, read.
struct Sought {
    /// By the place of the entry.
    entries: HashMap<usize, Criteria>,
    /// By the text of the reference.
    references: HashMap<String, Criteria>,
    /// What others who look for the same entries lock too.
    locks: Vec<i64>,
}

/// What an entry writes.
#[derive(Default)]
struct Written {
    identities: Vec<Identity>,
    /// What a conditional create found.
    existing: Option<Current>,
    /// Whether criteria found nothing, so that it is made.
    is_new: bool,
}

/// Entries on their way: those that can run, and those that wait for references.
struct Pending<'e> {
    ready: Vec<Work>,
    waiting: Vec<Waiting<'e>>,
    links: Links,
    secret: String,
    results: HashMap<usize, EntryResult>,
}

struct Waiting<'e> {
    entry: Entry<'e>,
    identity: Option<Identity>,
    references: BTreeSet<String>,
}

impl Engine {
    /// Runs a transaction some of whose entries have criteria.
    pub(super) async fn conditional_transaction(
        &self,
        entries: &[Entry<'_>],
        attempted: Vec<Attempted>,
        options: &BundleOptions,
        caller: &Caller,
    ) -> Result<BundleOutcome, Error> {
        let interaction = Kind::Transaction.of_system();
        let sought = match self.sought(entries).await {
            Ok(sought) => sought,
            Err(error) => {
                return self.gate.denied_with(interaction, attempted, caller, error).await;
            }
        };
        let _criteria = self.criteria_turns.of_numbers(&sought.locks).await;
        let written = entries.iter().filter_map(|entry| entry.action.identity());
        let _turns = self.turns.of_all(written).await;
        let mut attempts = self.gate.attempts(interaction, caller).of_entries(attempted);
        loop {
            let attempt = attempts.write(async |permit, tx| {
                let results = self.run_sought(entries, &sought, options, permit, tx).await?;
                let provenance = options.provenance.as_ref();
                self.stage_provenance_of_all(provenance, &results, permit, tx)?;
                if let Some(companion) = &options.companion {
                    tx.accompany(companion(&results));
                }
                Ok(Unaudited::new(results, Disclosed::default()))
            });
            if let Some(done) = attempt.await? {
                return Ok(BundleOutcome { is_transaction: true, entries: done });
            }
        }
    }

    /// Reads all criteria.
    async fn sought(&self, entries: &[Entry<'_>]) -> Result<Sought, Error> {
        let mut sought =
            Sought { entries: HashMap::new(), references: HashMap::new(), locks: Vec::new() };
        for entry in entries {
            let index = entry.index;
            let at = |cause| Error::Entry { index, cause: Box::new(cause) };
            if let Some((of, query)) = entry.action.criteria() {
                let is_header = matches!(entry.action, Action::CreateUnless(..));
                let query = if is_header { query.clone() } else { query.without(&OF_FORM) };
                let criteria = self.criteria(of, &query).await.map_err(at)?;
                sought.locks.extend(&criteria.locks);
                sought.entries.insert(index, criteria);
            }
            for text in references(entry) {
                let Target::Conditional { resource_type, criteria } = Target::parse(&text, "")
                else {
                    continue;
                };
                let query = Query::parse(criteria).map_err(|fault| at(fault.into()))?;
                let criteria = self.criteria(resource_type, &query).await.map_err(at)?;
                sought.references.insert(text.clone(), criteria);
            }
        }
        Ok(sought)
    }

    async fn run_sought(
        &self,
        entries: &[Entry<'_>],
        sought: &Sought,
        options: &BundleOptions,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Vec<EntryResult>, Error> {
        // Without locks too: it is the way to a share of the connections.
        tx.lock(&sought.locks, permit).await?;
        let mut written = Vec::with_capacity(entries.len());
        for entry in entries {
            let found = self.find_written(entry, sought, options, permit, tx).await;
            written.push(found.map_err(|error| at_entry(error, entry.index))?);
        }
        check_once(entries, &written, sought)?;
        let nodes = entries.len() * NODES_OF_AN_ENTRY;
        let mut pending = aside(nodes, || self.pend(entries, written, options.wish))?;
        let (reads, writes) =
            std::mem::take(&mut pending.ready).into_iter().partition(Work::reads_database);
        let promised = self.run_ready(writes, &mut pending, options, permit, tx).await?;
        while !pending.waiting.is_empty() {
            self.run_waiting(&mut pending, sought, options, permit, tx).await?;
        }
        let mut results = pending.results;
        self.run_by_rank(&reads, &mut results, options, permit, tx).await?;
        let in_order = entries.iter().filter_map(|entry| results.remove(&entry.index));
        let results: Vec<EntryResult> = in_order.collect();
        promised.check(&results)?;
        Ok(results)
    }

    /// Finds what an entry writes.
    async fn find_written(
        &self,
        entry: &Entry<'_>,
        sought: &Sought,
        options: &BundleOptions,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Written, Error> {
        let one = |identity| Written { identities: vec![identity], ..Written::default() };
        let new = |identity| Written { is_new: true, ..one(identity) };
        let Some(criteria) = sought.entries.get(&entry.index) else {
            return Ok(match &entry.action {
                Action::Create(of, _) => one(options.new_identity(entry.index, *of, &*self.ids)),
                other => other.identity().cloned().map(one).unwrap_or_default(),
            });
        };
        match &entry.action {
            Action::CreateUnless(of, ..) => {
                let permit = permit.derive(Kind::Create, *of)?;
                Ok(match self.find_existing(criteria, &permit, tx).await? {
                    Some(found) => {
                        let identities = vec![found.version.identity.clone()];
                        Written { identities, existing: Some(found), is_new: false }
                    }
                    None => new(options.new_identity(entry.index, *of, &*self.ids)),
                })
            }
            Action::UpdateBy(of, _, value) => {
                let permit = permit.derive(Kind::Update, *of)?;
                let id = self.check_update_by(*of, value, Wish::default())?;
                let found = self.find_one(criteria, &permit, tx).await?;
                let goal = self.goal(*of, found, id.as_ref(), &permit, tx).await?;
                let Goal { identity, current } = goal;
                Ok(if current.is_none() { new(identity) } else { one(identity) })
            }
            Action::PatchBy(of, ..) => {
                let permit = permit.derive(Kind::Patch, *of)?;
                let found = self.find_identity(criteria, &permit, tx).await?;
                found.map(one).ok_or_else(|| nothing_matches(*of))
            }
            Action::DeleteBy(of, _) => {
                let permit = permit.derive(Kind::Delete, *of)?;
                let identities = self.find_to_delete(criteria, &permit, tx).await?;
                Ok(Written { identities, ..Written::default() })
            }
            _ => Err(Error::internal("this entry has no criteria")),
        }
    }

    /// Makes work of the entries whose references are known; the others wait.
    fn pend<'e>(
        &self,
        entries: &[Entry<'e>],
        written: Vec<Written>,
        wish: Wish,
    ) -> Result<Pending<'e>, Error> {
        let secret = self.ids.ordered().simple().to_string();
        let mut links = Links::default();
        for (entry, written) in entries.iter().zip(&written) {
            if let (Some(full_url), [identity]) = (&entry.full_url, &written.identities[..]) {
                let version = match &written.existing {
                    Some(existing) => Some(existing.version.version.to_string()),
                    None => new_version(entry, &secret),
                };
                links.add(full_url, identity.clone(), version);
            }
        }
        let (ready, waiting, results) = (Vec::new(), Vec::new(), HashMap::new());
        let mut pending = Pending { ready, waiting, links, secret, results };
        for (entry, written) in entries.iter().zip(written) {
            let references = references(entry);
            let index = entry.index;
            match settled(entry, written) {
                Settle::Work(work) => pending.ready.push(*work),
                Settle::Entry(entry, identity) if references.is_empty() => {
                    let work = self.prepare_entry(*entry, identity, &pending.links, wish);
                    pending.ready.push(work.map_err(|error| at_entry(error, index))?);
                }
                Settle::Entry(entry, identity) => {
                    let entry = *entry;
                    pending.waiting.push(Waiting { entry, identity, references });
                }
            }
        }
        Ok(pending)
    }

    /// Runs the writes that wait for nothing.
    async fn run_ready(
        &self,
        writes: Vec<Work>,
        pending: &mut Pending<'_>,
        options: &BundleOptions,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Promised, Error> {
        let secret = &pending.secret;
        let mut promised = Promised::default();
        let mut writes = writes;
        if writes.iter().any(|work| work.mentions(secret)) {
            let settled = self.settle(&writes, secret, options, permit, tx).await?;
            Settled { work: writes, results: pending.results, promised } = settled;
        }
        writes.iter().try_for_each(|work| refuse_unsettled(work, secret))?;
        self.run_by_rank(&writes, &mut pending.results, options, permit, tx).await?;
        Ok(promised)
    }

    /// Looks for references in what is written by now, and runs the entries that wait for no other.
    async fn run_waiting(
        &self,
        pending: &mut Pending<'_>,
        sought: &Sought,
        options: &BundleOptions,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<(), Error> {
        tx.flush().await?;
        for waiting in &pending.waiting {
            let index = waiting.entry.index;
            for text in &waiting.references {
                let Some(criteria) =
                    sought.references.get(text).filter(|_| !pending.links.is_answered(text))
                else {
                    continue;
                };
                let found = self.find_identity(criteria, permit, tx).await;
                let found = found.map_err(|error| of_reference(error, text, index))?;
                if let Some(identity) = found {
                    pending.links.answer(text, identity);
                }
            }
        }
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut pending.waiting).into_iter().partition(|waiting| {
                waiting.references.iter().all(|text| pending.links.is_answered(text))
            });
        if let ([], Some(stuck)) = (&now[..], later.first()) {
            let is_open = |text: &&String| !pending.links.is_answered(text);
            let text = stuck.references.iter().find(is_open).cloned().unwrap_or_default();
            let cause = Box::new(Error::NotFound(format!("what the reference {text:?} asks for")));
            return Err(Error::Entry { index: stuck.entry.index, cause });
        }
        pending.waiting = later;
        let nodes = now.len() * NODES_OF_AN_ENTRY;
        let writes = aside(nodes, || self.works_of(now, pending, options.wish))?;
        self.run_by_rank(&writes, &mut pending.results, options, permit, tx).await
    }

    /// Makes work of entries that wait for nothing any more.
    fn works_of(
        &self,
        entries: Vec<Waiting<'_>>,
        pending: &Pending<'_>,
        wish: Wish,
    ) -> Result<Vec<Work>, Error> {
        let mut writes = Vec::with_capacity(entries.len());
        for Waiting { entry, identity, .. } in entries {
            let index = entry.index;
            let work = self.prepare_entry(entry, identity, &pending.links, wish);
            let mut work = work.map_err(|error| at_entry(error, index))?;
            for (other, result) in &pending.results {
                if let EntryResult::Written(written) = result {
                    let version = &written.version;
                    work.replace(&word(&pending.secret, *other), &version.version.to_string())?;
                }
            }
            refuse_unsettled(&work, &pending.secret)?;
            writes.push(work);
        }
        Ok(writes)
    }
}

/// An entry whose criteria are settled.
enum Settle<'e> {
    Entry(Box<Entry<'e>>, Option<Identity>),
    Work(Box<Work>),
}

/// Gives an entry what it was found to write.
fn settled<'e>(entry: &Entry<'e>, written: Written) -> Settle<'e> {
    let Entry { index, condition, modified_since, .. } = entry;
    let work = |task| {
        let (index, rank) = (*index, entry.action.rank());
        let (condition, modified_since) = (condition.clone(), *modified_since);
        Settle::Work(Box::new(Work { index, rank, task, condition, modified_since }))
    };
    let Written { identities, existing, .. } = written;
    if let Some(Current { version, patients, .. }) = existing {
        return work(Task::Exists(Box::new(version), patients));
    }
    if let Action::DeleteBy(of, _) = entry.action {
        return work(Task::DeleteAll(of, identities));
    }
    let identity = identities.into_iter().next();
    let mut entry = entry.clone();
    entry.action = match (entry.action, &identity) {
        (Action::CreateUnless(of, _, value), _) => Action::Create(of, value),
        (Action::PatchBy(_, _, value), Some(identity)) => Action::Patch(identity.clone(), value),
        (Action::UpdateBy(_, _, mut value), Some(identity)) => {
            if let Value::Object(resource) = &mut value {
                resource.set("id", identity.id.to_string());
            }
            Action::Update(identity.clone(), value)
        }
        (action, _) => action,
    };
    Settle::Entry(Box::new(entry), identity)
}

/// No resource is written twice, whether it is named or found (rest 3.13), nor made twice by the
/// same criteria or for the same identifier (rest 3.15).
fn check_once(entries: &[Entry<'_>], written: &[Written], sought: &Sought) -> Result<(), Error> {
    let mut seen = HashSet::new();
    let mut made = HashSet::new();
    for (entry, written) in entries.iter().zip(written) {
        let place = || format!("Bundle.entry[{}].request", entry.index);
        if let Some(identity) = written.identities.iter().find(|one| !seen.insert((*one).clone())) {
            let text = format!("two entries change {identity}");
            return Err(Error::invalid_at(IssueCode::Invalid, text, place()));
        }
        let locks = sought.entries.get(&entry.index).map(|criteria| &criteria.locks);
        let locks = locks.filter(|_| written.is_new).into_iter().flatten();
        let known = locks.filter(|lock| !made.insert(**lock)).count();
        if known > 0 {
            let text =
                "two entries would create what the same criteria or the same identifier ask for";
            return Err(Error::invalid_at(IssueCode::Invalid, text, place()));
        }
    }
    Ok(())
}

/// A version that only a later entry makes cannot be referred to.
fn refuse_unsettled(work: &Work, secret: &str) -> Result<(), Error> {
    if !work.mentions(secret) {
        return Ok(());
    }
    let text = "a reference names the version of an entry that waits for conditional references";
    let cause = Box::new(Error::NotSupported(text.to_owned()));
    Err(Error::Entry { index: work.index, cause })
}

fn of_reference(error: Error, text: &str, index: usize) -> Error {
    let cause = match error {
        Error::MultipleMatches(_) => {
            Error::MultipleMatches(format!("the reference {text:?} matches more than one resource"))
        }
        other => other,
    };
    Error::Entry { index, cause: Box::new(cause) }
}
