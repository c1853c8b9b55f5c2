//! History: the versions of one resource, one type or the system, newest first, page by page.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#history>

mod judged;
mod listed;
mod statements;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::access::{Disclosed, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::{Identity, Instant, LogicalId, ResourceType, Version};

use super::connection::Reader;
use super::cursor::{self, Seal};
use super::frame::Frame;
use super::resource::find_current;
use super::rows::{self, Edge, Timestamptz};
use super::write::WriteTx;
use super::{Store, TENANT, failure};

use judged::JUDGED;
use listed::Members;
pub(super) use statements::STATEMENTS;
use statements::{
    INSTANCE, INSTANCE_BACK, INSTANCE_TOTAL, LISTED, LISTED_BACK, LISTED_TOTAL, SYSTEM,
    SYSTEM_BACK, SYSTEM_TOTAL, TYPE, TYPE_BACK, TYPE_TOTAL,
};

/// Largest number that a total of a type or the system is counted to; beyond, it is left out.
const COUNTED: i64 = 10_000;

/// Beside which the newest version stands.
const NEWEST: (i64, i64) = (i64::MAX / 4, i64::MAX);

/// Whose history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HistoryScope {
    /// One resource.
    Instance(Identity),
    /// Everything.
    System,
    /// All resources of a type.
    Type(ResourceType),
}

/// Which versions, and how many.
#[derive(Clone, Debug)]
pub struct HistoryRequest {
    /// Whose history.
    pub scope: HistoryScope,
    /// Only versions made at or after this.
    pub since: Option<Instant>,
    /// Only versions that were current at some time from the first to before the second.
    pub at: Option<(Instant, Instant)>,
    /// Only versions that this List names, or of resources that it names.
    pub list: Option<LogicalId>,
    /// Most versions on the page; 0 asks for the total only.
    pub count: u32,
    /// Where the page starts: what [`HistoryPage::next`] or [`HistoryPage::previous`] said.
    pub cursor: Option<String>,
}

impl HistoryRequest {
    /// The page of a resource that has this one version, which is current still.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor: there is no other page; [`Error::NotSupported`] for a List.
    pub(crate) fn of_one(&self, version: Version) -> Result<HistoryPage, Error> {
        if self.list.is_some() {
            let text = "the history of a definition of this server goes without _list";
            return Err(Error::NotSupported(text.to_owned()));
        }
        if self.cursor.is_some() {
            return Err(unknown_cursor());
        }
        let made = version.last_updated;
        let is_asked = self.since.is_none_or(|since| since <= made)
            && self.at.is_none_or(|(_, before)| made < before);
        let is_shown = is_asked && self.count > 0;
        Ok(HistoryPage {
            total: Some(is_asked.into()),
            versions: is_shown.then_some(version).into_iter().collect(),
            next: None,
            previous: None,
        })
    }
}

/// One page, newest first.
#[derive(Debug)]
pub struct HistoryPage {
    /// How many versions there are on all pages; `None` when there are too many to count.
    pub total: Option<u64>,
    /// The versions.
    pub versions: Vec<Version>,
    /// Where the next page, of older versions, starts; `None` on the last.
    pub next: Option<String>,
    /// Where the page before, of newer versions, starts; `None` on the first.
    pub previous: Option<String>,
}

impl Store {
    /// A page of history as far as `permit` reaches.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an instance that never existed or is out of reach;
    /// [`Error::Invalid`] for a cursor that this server did not make.
    pub async fn history(
        &self,
        request: &HistoryRequest,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<HistoryPage>, Error> {
        let searcher = self.0.searchers.connection(permit).await?;
        let reader = Reader::Alone(&searcher);
        let (page, disclosed) = Page::new(self, reader, request, permit).read().await?;
        Ok(Unaudited::new(page, disclosed))
    }
}

impl WriteTx {
    /// A page of history as this unit's own writes left it, for an entry that reads.
    ///
    /// # Errors
    /// As [`Store::history`].
    pub async fn history(
        &mut self,
        request: &HistoryRequest,
        permit: &Permit<'_>,
    ) -> Result<(HistoryPage, Disclosed), Error> {
        let store = self.store().clone();
        let connection = self.connection();
        let connection = connection.ok_or_else(|| Error::internal("no transaction is open"))?;
        let reader = Reader::Transaction(connection);
        Page::new(&store, reader, request, permit).read().await
    }
}

/// Where a page begins: beside the version at `at`, which is not on it.
#[derive(Clone, Copy)]
struct Position {
    /// The sort keys of that version.
    at: (i64, i64),
    /// Whether the page has the versions that are newer than it, not those that are older.
    is_back: bool,
}

impl Position {
    fn of(link: &cursor::Position) -> Option<Self> {
        let first = link.keys.first()?.as_ref()?.parse().ok()?;
        Some(Self { at: (first, link.rid), is_back: link.is_back })
    }
}

impl From<Position> for cursor::Position {
    fn from(Position { at, is_back }: Position) -> Self {
        Self { keys: vec![Some(at.0.to_string())], rid: at.1, is_back, total: None }
    }
}

/// One request on one connection.
struct Page<'a, 'gate> {
    store: &'a Store,
    reader: Reader<'a>,
    request: &'a HistoryRequest,
    permit: &'a Permit<'gate>,
    /// What a List names, where one limits it.
    members: Option<Members>,
}

impl<'a, 'gate> Page<'a, 'gate> {
    fn new(
        store: &'a Store,
        reader: Reader<'a>,
        request: &'a HistoryRequest,
        permit: &'a Permit<'gate>,
    ) -> Self {
        Self { store, reader, request, permit, members: None }
    }

    async fn read(mut self) -> Result<(HistoryPage, Disclosed), Error> {
        self.members = self.members().await?;
        match &self.request.scope {
            HistoryScope::Instance(identity) => self.instance(identity).await,
            HistoryScope::Type(resource_type) => self.across(Some(*resource_type)).await,
            HistoryScope::System => self.across(None).await,
        }
    }

    async fn instance(&self, identity: &Identity) -> Result<(HistoryPage, Disclosed), Error> {
        let (since, from, to) = self.times();
        let code = identity.resource_type.code();
        let id = identity.id.as_str();
        let frame = Frame::at(identity, self.permit, self.store.hasher());
        let missing = || Error::NotFound(identity.to_string());
        // Under a restriction, invisible and unknown look alike.
        if self.permit.is_restricted() {
            let current = self.current(identity).await?;
            unless_erased(&current.ok_or_else(missing)?)?;
        }
        let reach = frame.bind();
        let shared: [&(dyn ToSql + Sync); 7] = [&TENANT, &code, &id, &reach, &since, &from, &to];
        let mut total = None;
        if frame.is_exact() {
            let totals = self.reader.query(INSTANCE_TOTAL, &shared).await?;
            let totals = totals.first().ok_or_else(|| Error::internal("a count gives a row"))?;
            let all: i64 = totals.try_get(0).map_err(failure::error)?;
            let exists: i64 = totals.try_get(1).map_err(failure::error)?;
            let narrowed = self.request.since.is_some() || self.request.at.is_some();
            if exists == 0 || (all == 0 && (reach.is_some() || !narrowed)) {
                return Err(missing());
            }
            // What an erasure left is one version.
            if all <= 1
                && let Some(current) = self.current(identity).await?
            {
                unless_erased(&current)?;
            }
            total = Some(all);
        }
        if self.members.is_some() {
            return self.across(Some(identity.resource_type)).await;
        }
        let from = self.from()?;
        let edge = from.map_or(i64::from(i32::MAX), |from| from.at.0);
        let edge = i32::try_from(edge).map_err(|_| unknown_cursor())?;
        let limit = i64::from(self.request.count) + 1;
        let limit = if frame.is_exact() { limit } else { limit.max(JUDGED) };
        let mut parameters = shared.to_vec();
        parameters.extend([&edge as &(dyn ToSql + Sync), &limit]);
        let sql = if is_back(from) { INSTANCE_BACK } else { INSTANCE };
        let mut rows = self.query_page(sql, &parameters).await?;
        if !frame.is_exact() {
            rows = self.admitted(rows).await?;
        }
        self.page(rows, from, total, |row| Ok((i64::from(row.try_get::<_, i32>(0)?), 0)))
    }

    async fn current(&self, identity: &Identity) -> Result<Option<Version>, Error> {
        let found = find_current(self.store, self.reader, &identity.id, self.permit).await?;
        Ok(found.map(|found| found.version))
    }

    async fn across(
        &self,
        resource_type: Option<ResourceType>,
    ) -> Result<(HistoryPage, Disclosed), Error> {
        let frame = match resource_type {
            None if self.permit.is_restricted() => Frame::Beyond,
            _ => Frame::of(self.permit),
        };
        let reach = frame.bind();
        let from = self.from()?;
        let (rows_sql, total_sql) = match (resource_type, is_back(from)) {
            (_, false) if self.members.is_some() => (LISTED, LISTED_TOTAL),
            (_, true) if self.members.is_some() => (LISTED_BACK, LISTED_TOTAL),
            (Some(_), false) => (TYPE, TYPE_TOTAL),
            (Some(_), true) => (TYPE_BACK, TYPE_TOTAL),
            (None, false) => (SYSTEM, SYSTEM_TOTAL),
            (None, true) => (SYSTEM_BACK, SYSTEM_TOTAL),
        };
        if !frame.is_exact() {
            let rows = self.judged(rows_sql, resource_type, from).await?;
            return self.page(rows, from, None, place);
        }
        let (since, begin, to) = self.times();
        let code = resource_type.map_or(0, ResourceType::code);
        let shared: [&(dyn ToSql + Sync); 7] =
            [&TENANT, &code, &0_i16, &reach, &since, &begin, &to];
        // Asked for the total alone, it is counted to the end.
        let counted = if self.request.count == 0 { i64::MAX } else { COUNTED + 1 };
        let mut parameters = shared.to_vec();
        parameters.push(&counted);
        parameters.extend(self.listed());
        let totals = self.reader.query(total_sql, &parameters).await?;
        let total = totals.first().map(|row| row.try_get(0)).transpose().map_err(failure::error)?;
        let total = total.filter(|total: &i64| *total < counted);
        let edge = from.map_or(NEWEST, |from| from.at);
        let limit = i64::from(self.request.count) + 1;
        let rows = self.rows_across(rows_sql, resource_type, (edge, limit), reach).await?;
        self.page(rows, from, total, place)
    }

    /// Rows of a type or the system beside `edge`, newest first or, going back, oldest first.
    async fn rows_across(
        &self,
        sql: &'static str,
        resource_type: Option<ResourceType>,
        (edge, limit): ((i64, i64), i64),
        reach: Option<&[i64]>,
    ) -> Result<Vec<Row>, Error> {
        let (since, begin, to) = self.times();
        let code = resource_type.map_or(0, ResourceType::code);
        let time = Timestamptz(Instant::from_micros(edge.0));
        let parameters: [&(dyn ToSql + Sync); 10] =
            [&TENANT, &code, &0_i16, &reach, &since, &begin, &to, &time, &edge.1, &limit];
        let parameters: Vec<_> = parameters.into_iter().chain(self.listed()).collect();
        self.query_page(sql, &parameters).await
    }

    /// What a List names, for the statements of one.
    fn listed(&self) -> Vec<&(dyn ToSql + Sync)> {
        match &self.members {
            Some(members) => vec![&members.rids, &members.versions],
            None => Vec::new(),
        }
    }

    /// `_since`, and both ends of `_at`.
    fn times(&self) -> (Edge, Edge, Edge) {
        let HistoryRequest { since, at, .. } = self.request;
        (
            since.map_or(Edge::Past, Edge::At),
            at.map_or(Edge::Past, |(from, _)| Edge::At(from)),
            at.map_or(Edge::Future, |(_, to)| Edge::At(to)),
        )
    }

    async fn query_page(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        if self.request.count == 0 {
            Ok(Vec::new())
        } else {
            self.reader.query(sql, parameters).await
        }
    }

    /// Makes the page of rows, of which the one beyond the count only tells that there is more.
    fn page(
        &self,
        rows: Vec<Row>,
        from: Option<Position>,
        total: Option<i64>,
        position: impl Fn(&Row) -> Result<(i64, i64), tokio_postgres::Error>,
    ) -> Result<(HistoryPage, Disclosed), Error> {
        let count = self.request.count as usize;
        let has_more = rows.len() > count;
        let mut shown = rows;
        shown.truncate(count);
        if is_back(from) {
            shown.reverse();
        }
        let beside = |row: Option<&Row>, is_back| -> Result<Option<String>, Error> {
            let Some(row) = row else { return Ok(None) };
            let position = Position { at: position(row).map_err(failure::error)?, is_back };
            Ok(Some(self.seal().close(&position.into())))
        };
        // Where the page's cursor came from, there is something; on the other side the row beyond tells.
        let (is_last, is_first) =
            if is_back(from) { (false, !has_more) } else { (!has_more, from.is_none()) };
        let next = beside(shown.last().filter(|_| !is_last), false)?;
        let previous = beside(shown.first().filter(|_| !is_first), true)?;
        let mut disclosed = Disclosed::default();
        if let HistoryScope::Instance(identity) = &self.request.scope {
            disclosed.subject = Some((identity.resource_type, identity.id.clone(), None));
        }
        let mut versions = Vec::with_capacity(shown.len());
        // Each row is let go when its version is made: a large page does not stand here twice.
        for row in shown {
            let (version, patients) = self.shown(&row)?;
            disclosed.patients.extend(patients);
            disclosed.entities.push(version.versioned_path());
            versions.push(version);
        }
        disclosed.patients.sort_unstable();
        disclosed.patients.dedup();
        let total = total.map(i64::cast_unsigned);
        Ok((HistoryPage { total, versions, next, previous }, disclosed))
    }

    /// Where the page starts; `None` at the newest version.
    fn from(&self) -> Result<Option<Position>, Error> {
        let Some(text) = &self.request.cursor else { return Ok(None) };
        let position = self.seal().open(text).and_then(|link| Position::of(&link));
        position.map(Some).ok_or_else(unknown_cursor)
    }

    fn seal(&self) -> Seal {
        let list = self.request.list.as_ref().map(|list| format!(" {list}")).unwrap_or_default();
        let said = format!("history {:?}{list}", self.request.scope);
        Seal::new(&said, self.permit, self.store.hasher())
    }
}

/// Where a version of a type or the system stands.
fn place(row: &Row) -> Result<(i64, i64), tokio_postgres::Error> {
    Ok((row.try_get::<_, Timestamptz>(1)?.0.as_micros(), row.try_get(6)?))
}

/// What was erased has no history.
fn unless_erased(current: &Version) -> Result<(), Error> {
    if current.is_erased() { Err(Error::gone(current)) } else { Ok(()) }
}

fn is_back(from: Option<Position>) -> bool {
    from.is_some_and(|from| from.is_back)
}

fn unknown_cursor() -> Error {
    cursor::unknown("history")
}

fn read(row: &Row) -> Result<Version, Error> {
    rows::version(row, 0, rows::identity(row, 7)?)
}
