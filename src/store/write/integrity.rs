//! Refuses a write that would break a rule between resources ([`Integrity`](crate::store::Integrity)).
//!
//! What is written is held against the rules as it stands inside the transaction, so that the entries
//! of a Bundle count for each other. Locks keep what it depends on as it is until the commit: a resource
//! that goes is locked alone, its referrers lock it together, an identifier is locked alone. The locks
//! come before the snapshot; a unit that reads before it knows what it must lock is run anew with these.
//!
//! Spec: checklist rest 0.8, 2.79, 7.12

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Row;
use uuid::Uuid;

use crate::access::{CommitError, Disclosed, LedgerRow};
use crate::error::Error;
use crate::fhir::{Identity, Issue, IssueCode, LogicalId, Operation, ResourceType};
use crate::search::values::token::{Case, Code};
use crate::store::connection::Transaction;
use crate::store::hl7v2::Companion;
use crate::store::integrity::{Identifier, Link, Ties};
use crate::store::subscription::SubscriptionChange;
use crate::store::{Store, TENANT, failure};

use super::{BEGIN, Staged, WriteTx, write_all};

/// How many locks stand for all identifiers, and for all resources: a transaction of many takes no more.
const LOCKS: i64 = 1024;

/// Most referrers that are named.
const MOST_NAMED: usize = 10;

/// Who carries an identifier beside the resource that is written; $4: whether that may be told.
const CARRIERS: &str = "SELECT w.place, r.rt, r.id, $4::bool \
     FROM unnest($1::bigint[], $2::int[], $3::text[]) WITH ORDINALITY w (h, sysh, id, place) \
     CROSS JOIN LATERAL (SELECT rid, dk FROM tok WHERE h = w.h AND sysh = w.sysh OFFSET 0) t \
     JOIN res r ON r.rid = t.rid AND r.dk = t.dk \
     WHERE r.op <> 'D' AND r.id <> w.id ORDER BY 4 DESC, 1 LIMIT 1";

/// References that lead nowhere; one to a version may lead to one of a resource that was deleted.
const DANGLING: &str = "SELECT w.place FROM unnest($2::smallint[], $3::text[], $4::bool[]) \
     WITH ORDINALITY w (rt, id, is_pinned, place) WHERE NOT EXISTS (SELECT FROM ident i \
     JOIN res r ON r.rid = i.rid AND r.dk = i.dk \
     WHERE i.tid = $1 AND i.rt = w.rt AND i.id = w.id AND (w.is_pinned OR r.op <> 'D') OFFSET 0) ORDER BY 1";

/// Who refers to resources.
const REFERRERS: &str = "SELECT w.place, r.rt, r.id FROM unnest($1::bigint[]) WITH ORDINALITY w (h, place) \
     CROSS JOIN LATERAL (SELECT rid, dk FROM tok WHERE h = w.h OFFSET 0) t JOIN res r ON r.rid = t.rid AND r.dk = t.dk \
     WHERE r.op <> 'D' LIMIT 11";

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[CARRIERS, DANGLING, REFERRERS];

/// Locks by number, and whether each is wanted alone.
pub(in crate::store) type Locks = BTreeMap<i64, bool>;

/// What an attempt at a write found that the next one must lock.
pub type Wanted = Arc<Mutex<Locks>>;

/// A version that rules have a say in.
pub(super) struct Guarded {
    identity: Identity,
    ties: Ties,
    is_deleted: bool,
    entry: Option<usize>,
}

impl Guarded {
    pub(super) fn of(staged: &Staged, entry: Option<usize>, store: &Store) -> Option<Self> {
        let is_deleted =
            staged.operation == Operation::Deleted && store.integrity().enforces_references();
        (is_deleted || !staged.ties.is_empty()).then(|| Self {
            identity: staged.identity.clone(),
            ties: staged.ties.clone(),
            is_deleted,
            entry,
        })
    }

    /// What is wrong with it, as the entry that it came in.
    fn fault(&self, error: Error) -> Error {
        match self.entry {
            Some(index) => Error::Entry { index, cause: Box::new(error) },
            None => error,
        }
    }

    /// The place of an element, seen from the Bundle that it came in.
    fn place(&self, element: &str) -> String {
        seen_from(self.entry, element)
    }
}

/// The place of an element, seen from the entry of a Bundle that it came in.
pub(super) fn seen_from(entry: Option<usize>, element: &str) -> String {
    match (entry, element.split_once('.')) {
        (Some(index), Some((_, rest))) => format!("Bundle.entry[{index}].resource.{rest}"),
        _ => element.to_owned(),
    }
}

/// What is wrong with a reference that leads nowhere, or nowhere that the caller may know of.
pub(super) fn dangling(target: &Identity, place: String) -> Issue {
    let text = format!("the reference to {target} leads to no resource here");
    Issue::error_at(IssueCode::BusinessRule, text, place)
}

impl WriteTx {
    /// From here on, what is staged is of this entry of a Bundle.
    pub fn enter(&mut self, entry: usize) {
        self.at_entry = Some(entry);
    }

    /// Has the end of a message committed together with all else.
    pub fn accompany(&mut self, companion: Companion) {
        self.companion = Some(companion);
    }

    /// What the import of a message tells: the message, and whose data it was about.
    pub fn imported(&self, message: Uuid, patients: &[LogicalId]) -> Disclosed {
        let all = self.entries.iter().flat_map(|(_, disclosed)| disclosed.patients.iter().copied());
        let own = patients.iter().map(|id| self.store.hasher().patient(id));
        let patients: BTreeSet<i64> = all.chain(own).collect();
        Disclosed {
            patients: patients.into_iter().collect(),
            entities: vec![format!("v2/messages/{message}")],
            ..Disclosed::default()
        }
    }

    /// What earlier attempts want locked, with `more` that is wanted alone.
    pub(super) fn wanted(&self, more: &[i64]) -> Locks {
        let mut locks = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        locks.extend(more.iter().map(|key| (*key, true)));
        locks
    }

    /// Commits what rules have a say in, unless it breaks one.
    pub(super) async fn commit_guarded(mut self, rows: Vec<LedgerRow>) -> Result<(), CommitError> {
        let locks = self.locks();
        let connection = match self.connection.take() {
            Some(connection) if connection.holds(&locks) => connection,
            Some(connection) => {
                connection.roll_back().await;
                self.wanted.lock().unwrap_or_else(PoisonError::into_inner).extend(locks);
                return Err(CommitError::Raced);
            }
            None => {
                let begun = self.store.0.writers.begin_locked(&locks, BEGIN).await;
                begun.map_err(CommitError::Failed)?
            }
        };
        let mut done =
            write_all(&self.store, &connection, &self.staged, &self.changes, &rows).await;
        if done.is_ok() {
            done = self.check(&connection).await.map_err(CommitError::Failed);
        }
        let companions: Vec<&Companion> = self.companion.iter().collect();
        let done = Companion::follow(&companions, done, &connection).await;
        match SubscriptionChange::follow(&self.subscribed, done, &connection).await {
            Ok(()) => connection.commit().await.map_err(failure::last_error),
            Err(error) => {
                connection.roll_back().await;
                Err(error)
            }
        }
    }

    fn locks(&self) -> Locks {
        let hasher = self.store.hasher();
        let (identifiers, resources) = (hasher.lock("identifiers"), hasher.lock("resources"));
        let one_of = |all: i64, number: i64| all.wrapping_add(number.rem_euclid(LOCKS));
        let mut locks = Locks::new();
        for guarded in &self.guarded {
            for link in &guarded.ties.links {
                let lock = one_of(resources, self.store.identity(&link.target));
                locks.entry(lock).or_insert(false);
            }
            let (numbers, _) = self.tokens(guarded);
            locks.extend(numbers.iter().map(|number| (one_of(identifiers, *number), true)));
            if guarded.is_deleted {
                locks.insert(one_of(resources, self.store.identity(&guarded.identity)), true);
            }
        }
        locks
    }

    /// Hashes of identifiers and of their systems, as the index has them.
    fn tokens(&self, guarded: &Guarded) -> (Vec<i64>, Vec<i32>) {
        let hasher = self.store.hasher();
        let parameter = hasher.parameter(guarded.identity.resource_type, "identifier");
        let token = |it: &Identifier| {
            let code = Code::new(&it.value, Case::Sensitive);
            (hasher.token(parameter, &code), hasher.token_system(parameter, Some(&it.system)))
        };
        guarded.ties.identifiers.iter().map(token).unzip()
    }

    async fn check(&self, connection: &Transaction) -> Result<(), Error> {
        self.check_identifiers(connection).await?;
        self.check_links(connection).await?;
        self.check_referrers(connection).await
    }

    async fn check_identifiers(&self, connection: &Transaction) -> Result<(), Error> {
        let (mut hashes, mut systems, mut ids, mut asked) = (vec![], vec![], vec![], vec![]);
        for guarded in &self.guarded {
            let (more_hashes, more_systems) = self.tokens(guarded);
            hashes.extend(more_hashes);
            systems.extend(more_systems);
            ids.extend(guarded.ties.identifiers.iter().map(|_| guarded.identity.id.as_str()));
            asked.extend(guarded.ties.identifiers.iter().map(|it| (guarded, it)));
        }
        if asked.is_empty() {
            return Ok(());
        }
        let rows = connection.all(CARRIERS, &[&hashes, &systems, &ids, &self.sees_all]).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (guarded, identifier) = place(row, &asked)?;
        let of = guarded.identity.resource_type;
        let is_visible: bool = row.try_get(3).map_err(failure::error)?;
        let other = if is_visible { named(row)? } else { format!("another {of}") };
        Err(guarded.fault(Error::Duplicate(format!(
            "{other} carries {of}.identifier[{}], of the system {}, already",
            identifier.at, identifier.system
        ))))
    }

    async fn check_links(&self, connection: &Transaction) -> Result<(), Error> {
        let links: Vec<_> = self.guarded.iter().flat_map(links_of).collect();
        if links.is_empty() {
            return Ok(());
        }
        let types: Vec<i16> = links.iter().map(|(_, it)| it.target.resource_type.code()).collect();
        let ids: Vec<&str> = links.iter().map(|(_, it)| it.target.id.as_str()).collect();
        let pinned: Vec<bool> = links.iter().map(|(_, it)| it.is_pinned).collect();
        let rows = connection.all(DANGLING, &[&TENANT, &types, &ids, &pinned]).await?;
        let mut issues = Vec::with_capacity(rows.len());
        for row in &rows {
            let (guarded, link) = place(row, &links)?;
            issues.push(dangling(&link.target, guarded.place(&link.place)));
        }
        if issues.is_empty() { Ok(()) } else { Err(Error::Unprocessable(issues)) }
    }

    async fn check_referrers(&self, connection: &Transaction) -> Result<(), Error> {
        let deleted: Vec<_> = self.guarded.iter().filter(|guarded| guarded.is_deleted).collect();
        if deleted.is_empty() {
            return Ok(());
        }
        let tie = |it: &&Guarded| self.store.hasher().tie(self.store.identity(&it.identity));
        let ties: Vec<i64> = deleted.iter().map(tie).collect();
        let rows = connection.all(REFERRERS, &[&ties]).await?;
        let Some(first) = rows.first() else { return Ok(()) };
        if !self.sees_all {
            // Those beyond the caller's reach hold it too, and must not be told.
            let guarded = place(first, &deleted)?;
            let text = format!("other resources refer to {}", guarded.identity);
            return Err(guarded.fault(Error::Referenced(text)));
        }
        let names = rows.iter().map(named).collect::<Result<BTreeSet<String>, Error>>()?;
        let mut names: Vec<String> = names.into_iter().collect();
        if names.len() > MOST_NAMED {
            names.truncate(MOST_NAMED);
            names.push("others".to_owned());
        }
        let guarded = place(first, &deleted)?;
        let text = format!("{} is referred to by {}", guarded.identity, names.join(", "));
        Err(guarded.fault(Error::Referenced(text)))
    }
}

fn links_of(guarded: &Guarded) -> impl Iterator<Item = (&Guarded, &Link)> {
    guarded.ties.links.iter().map(move |link| (guarded, link))
}

/// What of `asked` a row is about.
fn place<T: Copy>(row: &Row, asked: &[T]) -> Result<T, Error> {
    let place: i64 = row.try_get(0).map_err(failure::error)?;
    let found = usize::try_from(place - 1).ok().and_then(|at| asked.get(at));
    found.copied().ok_or_else(|| Error::internal("a row that was not asked"))
}

/// `Type/id` of a row.
fn named(row: &Row) -> Result<String, Error> {
    let code: i16 = row.try_get(1).map_err(failure::error)?;
    let id: &str = row.try_get(2).map_err(failure::error)?;
    let name = ResourceType::from_code(code).map_or("Resource", ResourceType::as_str);
    Ok(format!("{name}/{id}"))
}
