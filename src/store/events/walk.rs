//! A walk along the rows of the ledger in the order of time, and the events of theirs that match.

use std::collections::BTreeMap;

use deadpool_postgres::Object;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::access::Permit;
use crate::audit::balp::Entry;
use crate::audit::query::Condition;
use crate::error::Error;

use super::super::cursor::Position;
use super::super::{Store, failure};
use super::compile::{Bounds, Parties, Where, names_patients, spans};
use super::entry;
use super::places::Places;

/// The first rows for which a condition holds. Their parties are looked up when it is known which rows they are: of a
/// busy minute a hundred thousand are sorted for a page.
fn first_rows(condition: &str, order: &str, limit: usize) -> String {
    format!(
        "SELECT l.id, l.interaction, l.outcome, l.rt, l.logical_id, l.vid, coalesce(l.own_actor, p.actor), \
         coalesce(l.own_client, p.client), l.token, coalesce(l.own_person, p.person), \
         coalesce(l.own_purpose, p.purpose), coalesce(l.own_source, p.source), l.request_id, \
         coalesce(l.own_method, p.method), l.query, l.failure, l.pats, l.entities \
         FROM (SELECT * FROM ledger WHERE {condition} \
         ORDER BY kiln_time(id) {order}, id {order} LIMIT {limit}) l \
         LEFT JOIN ledger_party p ON p.key = l.party ORDER BY l.id {order}"
    )
}

/// The parties behind which persons stand, by the half of their keys that the index of rows has.
const PARTIES: &str = "SELECT DISTINCT person, (key >> 32)::int FROM ledger_party \
     WHERE person = ANY($1::text[])";

/// Every static statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[PARTIES];

/// Fewest and most rows of one statement.
const FEWEST: usize = 50;
const MOST: usize = 5_000;
/// Most rows that are looked at for one page.
const PAGE_ROWS: usize = 2_000_000;

/// Beside which event a page is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside {
    /// Its row.
    pub(super) row: Uuid,
    /// Its number in the row.
    pub(super) number: usize,
    /// Whether the page is what comes before the event, else it begins with it.
    pub(super) is_back: bool,
    /// Whether nothing comes before the event.
    pub(super) is_first: bool,
}

impl Beside {
    /// The place that a page link says.
    pub(super) fn of(position: &Position) -> Option<Self> {
        let (row, marks) = position.keys.split_first()?;
        Some(Self {
            row: row.as_deref()?.parse().ok()?,
            number: usize::try_from(position.rid).ok()?,
            is_back: position.is_back,
            is_first: !marks.is_empty(),
        })
    }

    /// What a page link says.
    pub(super) fn position(self) -> Position {
        let mut keys = vec![Some(self.row.to_string())];
        keys.extend(self.is_first.then_some(None));
        Position { keys, rid: self.number as i64, is_back: self.is_back, total: None }
    }
}

/// A walk along the rows.
pub(super) struct Walk<'a> {
    /// What holds for the events.
    pub(super) condition: &'a Condition,
    /// Oldest first.
    pub(super) is_ascending: bool,
    /// Whether it goes against the order of the page: of a row, the last event comes first.
    pub(super) is_back: bool,
    /// Whether each event is wanted for itself: with its own patient alone, and as the only one of its row.
    pub(super) is_alone: bool,
}

impl Walk<'_> {
    /// The first `wanted` events from an event on, or before it, and how many there are; without `wanted`
    /// they are counted only.
    pub(super) async fn run(
        &self,
        (store, permit): (&Store, &Permit<'_>),
        from: Option<Beside>,
        wanted: Option<usize>,
    ) -> Result<(Vec<(Entry, usize)>, u64), Error> {
        // How rare a patient, a party or a time is decides by which index rows are found.
        let connection = store.0.searchers.planning(permit).await?;
        let parties = parties(&connection, Parties::persons(self.condition)).await?;
        let mut bounds = Bounds::of(self.condition);
        if let Some(from) = from {
            bounds.cut(from.row, self.is_ascending);
        }
        let is_back = self.is_back;
        let is_alone = self.is_alone;
        let mut found = Found { events: Vec::new(), count: 0, from, is_back, is_alone, wanted };
        // Who counts all of them walks them once, by whatever index.
        let is_by_patient = wanted.is_some() && names_patients(self.condition);
        let (mut seen, mut limit) = (0, wanted.map_or(MOST, |wanted| wanted.clamp(FEWEST, MOST)));
        loop {
            let mut condition = Where::of(self.condition, bounds, &parties);
            if is_by_patient {
                let places = Places::of(self.condition, bounds, &parties);
                let place = places.first(&connection, self.order(), limit).await?;
                if let Some(place) = place {
                    condition = Where::of(self.condition, place, &parties);
                    condition.text = format!("{} AND {}", spans("kiln_moment"), condition.text);
                }
            }
            // By spans of time, as the indexes have the rows; within one the ids are the order.
            let (text, order) = (&condition.text, self.order());
            let sql = first_rows(text, order, limit);
            let statement = connection.prepare_cached(&sql).await.map_err(failure::error)?;
            let rows = connection.query(&statement, &condition.parameters()).await;
            let rows = rows.map_err(failure::costly)?;
            for row in &rows {
                bounds.cut(row.try_get(0).map_err(failure::error)?, self.is_ascending);
                if found.add(row, self.condition)? {
                    break;
                }
            }
            if rows.len() < limit || found.is_full() {
                connection.end().await?;
                return Ok((found.events, found.count));
            }
            bounds.leave(self.is_ascending);
            seen += rows.len();
            if seen > PAGE_ROWS {
                let text = "too many events would have to be looked at: narrow it by date";
                return Err(Error::TooCostly(text.to_owned()));
            }
            limit = (limit * 2).min(MOST);
        }
    }
}

/// The parties behind which `persons` stand.
async fn parties(connection: &Object, persons: Vec<&str>) -> Result<Parties, Error> {
    let mut found = BTreeMap::<String, Vec<i32>>::new();
    if !persons.is_empty() {
        let statement = connection.prepare_cached(PARTIES).await.map_err(failure::error)?;
        for row in connection.query(&statement, &[&persons]).await.map_err(failure::error)? {
            let person = row.try_get(0).map_err(failure::error)?;
            found.entry(person).or_default().push(row.try_get(1).map_err(failure::error)?);
        }
    }
    Ok(Parties(found))
}

impl Walk<'_> {
    fn order(&self) -> &'static str {
        if self.is_ascending { "ASC" } else { "DESC" }
    }
}

/// What a walk has found.
struct Found {
    events: Vec<(Entry, usize)>,
    count: u64,
    /// The event at which the walk begins.
    from: Option<Beside>,
    is_back: bool,
    is_alone: bool,
    wanted: Option<usize>,
}

impl Found {
    fn is_full(&self) -> bool {
        self.wanted.is_some_and(|wanted| self.events.len() >= wanted)
    }

    /// Takes the events of a row that match; whether there are enough.
    fn add(&mut self, row: &Row, condition: &Condition) -> Result<bool, Error> {
        let Some(entry) = entry(row)? else { return Ok(false) };
        let from = self.from.filter(|from| from.row == entry.id).map(|from| from.number);
        let count = entry.count();
        let numbers: Box<dyn Iterator<Item = usize> + Send> = match (self.is_back, from) {
            (true, from) => Box::new((0..from.map_or(count, |from| from.min(count))).rev()),
            (false, from) => Box::new(from.unwrap_or(0)..count),
        };
        for number in numbers {
            if !condition.holds(&entry, number) {
                continue;
            }
            self.count += 1;
            if self.wanted.is_some() {
                self.events.push(if self.is_alone {
                    let patients = entry.patients.get(number).cloned().into_iter().collect();
                    (Entry { patients, ..entry.clone() }, 0)
                } else {
                    (entry.clone(), number)
                });
            }
            if self.is_full() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
