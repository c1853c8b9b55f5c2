//! The ledger as AuditEvents: single ones, and pages of those that match.
//!
//! The database finds rows; what holds for one event of a row and not for the others, the patient, is
//! looked at here. Rows come in the order of their ids, which is that of time.

mod compile;
mod merged;
mod outlet;
mod places;
mod refers;
mod walk;

use std::borrow::BorrowMut;
use std::collections::{BTreeSet, HashMap};

use deadpool_postgres::Object;
use futures_util::future::try_join_all;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::access::interaction::Kind;
use crate::access::restriction::{Clause, Members};
use crate::access::{Disclosed, Permit, Unaudited};
use crate::audit::balp::{Entry, PatientOf};
use crate::audit::query::{Condition, Reader as Asking};
use crate::error::Error;
use crate::fhir::{LogicalId, ResourceType, Version};

use super::connection::Reader;
use super::cursor::{self, Seal};
use super::resource::{find_current, live};
use super::rows::Listed;
use super::{Store, TENANT, failure};
use walk::{Beside, Walk};

pub use merged::InOrder;
pub use outlet::{Most, name_patients, rows_after};

const ROW: &str = "SELECT id, interaction, outcome, rt, logical_id, vid, actor, client, token, \
     person, purpose, source, request_id, method, query, failure, pats, entities FROM ledger \
     WHERE id = $1 AND kiln_time(id) = kiln_time($1) AND tid = $2";

/// $2 is the type Patient.
const NAMES: &str = "SELECT hash, id FROM patient_name WHERE hash = ANY($1::bigint[]) \
     UNION SELECT c.pat, r.id FROM unnest($1::bigint[]) h (hash) \
     JOIN comp c ON c.pat = h.hash AND c.rt = $2 JOIN res r ON r.rid = c.rid AND r.dk = c.dk";

/// Patients that are deleted and not named yet: rows about them have their ids. $2 is the type Patient.
const NAMES_OF_ROWS: &str = "SELECT DISTINCT logical_id FROM ledger \
     WHERE (patient = ANY($1::bigint[]) OR patients && $1::bigint[]) \
     AND rt = $2 AND logical_id IS NOT NULL LIMIT 10000";

/// Every static statement of this file, for the test that prepares them.
const STATIC: &[&str] = &[ROW, NAMES, NAMES_OF_ROWS];

/// The same, with those of the files below.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    [STATIC, outlet::STATEMENTS, walk::STATEMENTS].into_iter().flatten().copied()
}

/// Most resources that come along with a page.
const MOST_ALONG: usize = 200;

/// Which events.
#[derive(Clone, Debug)]
pub struct EventsRequest {
    /// What holds for them.
    pub condition: Condition,
    /// Oldest first.
    pub is_ascending: bool,
    /// Most events of the page; 0 asks for none.
    pub count: usize,
    /// Whether they are counted, whatever it costs.
    pub is_counted: bool,
    /// Where the page begins: what [`EventsPage::next`] said.
    pub cursor: Option<String>,
    /// What was asked, for which links count.
    pub said: String,
    /// What comes along with the events.
    pub along: Vec<Along>,
}

impl EventsRequest {
    /// The same by [`Condition::of_parties`].
    #[must_use]
    pub fn of_parties(self) -> Self {
        Self { condition: self.condition.of_parties(), ..self }
    }
}

/// References of events that are followed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Along {
    /// By which search parameter; `None`: by all.
    pub code: Option<Box<str>>,
    /// To resources of which type; `None`: of any.
    pub target: Option<ResourceType>,
}

/// A page of events.
#[derive(Clone, Debug, Default)]
pub struct EventsPage {
    /// The rows, each with the number of its event.
    pub events: Vec<(Entry, usize)>,
    /// What comes along, each once.
    pub included: Vec<Version>,
    /// Whether more would have come along.
    pub is_included_cut: bool,
    /// For each event, where a page begins that has it first.
    pub links: Vec<String>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<String>,
    /// Where the page before ends; `None` where there is no event before.
    pub previous: Option<String>,
    /// How many there are on all pages, where that was asked for.
    pub total: Option<u64>,
}

impl Store {
    /// An event: its row and its number in it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, or the permit does not reach it.
    pub async fn event(
        &self,
        id: &LogicalId,
        (row, number): (Uuid, usize),
        permit: &Permit<'_>,
    ) -> Result<Unaudited<(Entry, usize)>, Error> {
        let connection = self.0.searchers.connection(permit).await?;
        let statement = connection.prepare_cached(ROW).await.map_err(failure::error)?;
        let found = connection.query_opt(&statement, &[&row, &TENANT]).await;
        let missing = || Error::NotFound(format!("AuditEvent/{id}"));
        let found = found.map_err(failure::error)?.ok_or_else(missing)?;
        let mut entry = entry(&found)?.ok_or_else(missing)?;
        if number >= entry.count() || !reach(self, permit).holds(&entry, number) {
            return Err(missing());
        }
        name(self, &connection, std::slice::from_mut(&mut entry)).await?;
        let patients = entry.patients.get(number).map(|patient| patient.hash);
        let subject = Some((ResourceType::AUDIT_EVENT, id.clone(), None));
        let told =
            Disclosed { subject, patients: patients.into_iter().collect(), ..Disclosed::default() };
        Ok(Unaudited::new((entry, number), told))
    }

    /// A page of events that match, as far as `permit` reaches.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a page link that was not made for this search; [`Error::TooCostly`]
    /// when too much would have to be looked at.
    pub async fn events(
        &self,
        request: &EventsRequest,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<EventsPage>, Error> {
        let condition = Condition::All(vec![reach(self, permit), request.condition.clone()]);
        let mut page = self.events_page(&condition, request, permit).await?;
        let of_included = self.follow(&mut page, &request.along, permit).await?;
        let of = |(entry, number): &(Entry, usize)| entry.patients.get(*number).map(|it| it.hash);
        let mut patients: Vec<i64> = page.events.iter().filter_map(of).chain(of_included).collect();
        patients.sort_unstable();
        patients.dedup();
        Ok(Unaudited::new(page, Disclosed { patients, ..Disclosed::default() }))
    }

    /// The same of the events about the patient with an id, for who may know who had access to it: the
    /// permit must reach the patient, not the record.
    ///
    /// # Errors
    /// As [`Store::events`]; [`Error::NotFound`] and [`Error::Deleted`] of the patient.
    pub async fn events_about(
        &self,
        id: &LogicalId,
        request: &EventsRequest,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<EventsPage>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let missing = || Error::NotFound(format!("Patient/{id}"));
        let patient = find_current(self, Reader::Shared(&pipeline), id, permit).await?;
        let _ = live(patient.ok_or_else(missing)?)?;
        let hash = self.hasher().patient(id);
        let about = Condition::Patients(vec![hash]);
        let condition = Condition::All(vec![about, request.condition.clone()]);
        let page = self.events_page(&condition, request, permit).await?;
        let subject = Some((ResourceType::PATIENT, id.clone(), None));
        Ok(Unaudited::new(
            page,
            Disclosed { subject, patients: vec![hash], ..Disclosed::default() },
        ))
    }

    /// Loads what the events refer to, as far as the caller may search for it. Gives the patients of
    /// whom that tells.
    async fn follow(
        &self,
        page: &mut EventsPage,
        along: &[Along],
        permit: &Permit<'_>,
    ) -> Result<Vec<i64>, Error> {
        let mut wanted = BTreeSet::new();
        for ((entry, number), Along { code, target }) in
            page.events.iter().flat_map(|event| along.iter().map(move |along| (event, along)))
        {
            let named = entry.references(*number, code.as_deref()).into_iter();
            wanted.extend(named.filter(|it| target.is_none_or(|of| of == it.resource_type)));
        }
        page.is_included_cut = wanted.len() > MOST_ALONG;
        let mut patients = Vec::new();
        if wanted.is_empty() {
            return Ok(patients);
        }
        let pipeline = self.0.readers.pipeline().await?;
        let reader = Reader::Shared(&pipeline);
        let found = wanted.into_iter().take(MOST_ALONG).map(|identity| async move {
            match permit.derive(Kind::SearchType, identity.resource_type) {
                Err(Error::Forbidden) => Ok(None),
                Err(error) => Err(error),
                Ok(reach) => find_current(self, reader, &identity.id, &reach).await,
            }
        });
        // They share a connection, so all of them are one turn of the database or two.
        for found in try_join_all(found).await?.into_iter().flatten() {
            if !found.version.is_deleted() {
                patients.extend(found.patients);
                page.included.push(found.version);
            }
        }
        Ok(patients)
    }

    /// The events of a page beside an event, or of the first one.
    async fn fill(
        &self,
        page: &mut EventsPage,
        (condition, request): (&Condition, &EventsRequest),
        from: Option<Beside>,
        seal: &Seal,
        permit: &Permit<'_>,
    ) -> Result<(), Error> {
        let is_back = from.is_some_and(|from| from.is_back);
        let is_ascending = request.is_ascending != is_back;
        let walk = Walk { condition, is_ascending, is_back, is_alone: false };
        let wanted = request.count.saturating_add(1);
        let mut found = walk.run((self, permit), from, Some(wanted)).await?.0;
        let beyond = if found.len() > request.count { found.pop() } else { None };
        if is_back {
            found.reverse();
        }
        let link = |(row, number): &(Entry, usize), is_back, is_first| {
            let beside = Beside { row: row.id, number: *number, is_back, is_first };
            seal.close(&beside.position())
        };
        let is_first = |at: usize| at == 0 && from.is_none();
        page.links =
            found.iter().enumerate().map(|(at, event)| link(event, false, is_first(at))).collect();
        let here = from.map(|from| Beside { is_back: !is_back, ..from });
        (page.previous, page.next) = match here {
            Some(here) if is_back => {
                let before = beyond.and(found.first()).map(|first| link(first, true, false));
                (before, Some(seal.close(&here.position())))
            }
            Some(here) => {
                let before = (!here.is_first).then(|| seal.close(&here.position()));
                (before, beyond.as_ref().map(|next| link(next, false, false)))
            }
            None => (None, beyond.as_ref().map(|next| link(next, false, false))),
        };
        page.events = found;
        Ok(())
    }

    async fn events_page(
        &self,
        condition: &Condition,
        request: &EventsRequest,
        permit: &Permit<'_>,
    ) -> Result<EventsPage, Error> {
        let seal = Seal::new(&format!("events {}", request.said), permit, self.hasher());
        let open = |text: &str| Beside::of(&seal.open(text)?);
        let from = match request.cursor.as_deref().map(open) {
            Some(None) => return Err(unknown_link()),
            Some(from) => from,
            None => None,
        };
        let mut page = EventsPage::default();
        if request.count > 0 {
            self.fill(&mut page, (condition, request), from, &seal, permit).await?;
        }
        if request.is_counted {
            let (is_ascending, is_back, is_alone) = (false, false, false);
            let walk = Walk { condition, is_ascending, is_back, is_alone };
            page.total = Some(walk.run((self, permit), None, None).await?.1);
        }
        let mut entries: Vec<Entry> = page.events.iter().map(|(entry, _)| entry.clone()).collect();
        if entries.iter().any(|entry| !entry.patients.is_empty()) {
            let connection = self.0.searchers.connection(permit).await?;
            name(self, &connection, &mut entries).await?;
        }
        let numbers: Vec<usize> = page.events.iter().map(|(_, number)| *number).collect();
        page.events = entries.into_iter().zip(numbers).collect();
        Ok(page)
    }
}

fn unknown_link() -> Error {
    cursor::unknown("search")
}

/// Says whose the hashes are.
async fn name<E: BorrowMut<Entry> + Send>(
    store: &Store,
    connection: &Object,
    entries: &mut [E],
) -> Result<(), Error> {
    let patients = entries.iter().flat_map(|entry| &entry.borrow().patients);
    let mut hashes: Vec<i64> = patients.map(|patient| patient.hash).collect();
    hashes.sort_unstable();
    hashes.dedup();
    if hashes.is_empty() {
        return Ok(());
    }
    let mut names = HashMap::new();
    for (sql, column) in [(NAMES, 1), (NAMES_OF_ROWS, 0)] {
        let statement = connection.prepare_cached(sql).await.map_err(failure::error)?;
        let rows = connection.query(&statement, &[&hashes, &ResourceType::PATIENT.code()]).await;
        for row in rows.map_err(failure::error)? {
            let id: &str = row.try_get(column).map_err(failure::error)?;
            // Patients that are linked are in each other's compartments.
            if let Ok(id) = id.parse::<LogicalId>() {
                names.insert(store.hasher().patient(&id), id);
            }
        }
        hashes.retain(|hash| !names.contains_key(hash));
        if hashes.is_empty() {
            break;
        }
    }
    for patient in entries.iter_mut().flat_map(|entry| &mut entry.borrow_mut().patients) {
        patient.id = names.get(&patient.hash).cloned();
    }
    Ok(())
}

/// What holds for the events that a permit reaches: all or none, without what is withheld. Events have
/// no labels, so none is beyond a clearance.
fn reach(store: &Store, permit: &Permit<'_>) -> Condition {
    let Some(limits) = permit.limits() else { return Condition::always() };
    // Events are nobody's, and criteria say something of stored resources: no event is known to be
    // within them.
    let is_all = |clause: &Clause| clause.is_plain() && clause.members == Members::Everyone;
    if !limits.clauses.iter().any(is_all) {
        return Condition::never();
    }
    let hash = |id: &LogicalId| store.hasher().patient(id);
    let reader = Asking { base: "", hash: &hash };
    let mut all = Vec::new();
    for withheld in &limits.withheld {
        let Ok(filter) = reader.read_all(std::slice::from_ref(&*withheld.filter)) else {
            return Condition::never();
        };
        let of = withheld.patients.as_deref().map(|of| Condition::Patients(of.to_vec()));
        let withheld = of.into_iter().chain([filter]).collect();
        all.push(Condition::Not(Box::new(Condition::All(withheld))));
    }
    Condition::All(all)
}

/// A row; `None` for a kind of another version of this program.
fn entry(row: &Row) -> Result<Option<Entry>, Error> {
    fn of<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r Row, at: usize) -> Result<T, Error> {
        row.try_get(at).map_err(failure::error)
    }
    let Some(kind) = Kind::from_number(of(row, 1)?) else { return Ok(None) };
    let code: Option<i16> = of(row, 3)?;
    let id: Option<String> = of(row, 4)?;
    let version: Option<i32> = of(row, 5)?;
    let (Listed(hashes), Listed(entities)): (Listed<i64>, Listed<String>) =
        (of(row, 16)?, of(row, 17)?);
    Ok(Some(Entry {
        id: of(row, 0)?,
        kind,
        outcome: of(row, 2)?,
        resource_type: code.and_then(ResourceType::from_code),
        subject: id.map(|id| (id, version)),
        actor: of(row, 6)?,
        client: of(row, 7)?,
        token: of(row, 8)?,
        person: of(row, 9)?,
        purpose: of(row, 10)?,
        source: of(row, 11)?,
        request_id: of(row, 12)?,
        method: of(row, 13)?,
        query: of(row, 14)?,
        failure: of(row, 15)?,
        patients: hashes.into_iter().map(|hash| PatientOf { hash, id: None }).collect(),
        entities,
    }))
}
