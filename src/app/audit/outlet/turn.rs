//! The turn of a node to tell a destination what comes next, and what that is.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::audit::alert::Alert;
use crate::audit::balp::Entry;
use crate::error::Error;
use crate::store::Store;
use crate::store::maintenance::{self, Place, Reached};

use super::OutletError;

/// How long a node has its turn when it says nothing more.
const TURN: Duration = Duration::from_mins(1);
/// Longest time for what goes out before the turn is taken anew: somebody else's must not begin meanwhile.
const LONGEST: Duration = Duration::from_secs(50);
/// A turn that is older is taken anew before anything goes out.
const FRESH: Duration = Duration::from_secs(5);

/// The turn of this node.
pub(super) struct Turn<'t> {
    store: &'t Store,
    name: &'static str,
    node: Uuid,
    /// How much the destination has.
    at: Reached,
    /// When it was last taken, at the latest.
    taken: Instant,
}

impl<'t> Turn<'t> {
    /// Takes the turn where the destination has still as much; `None` when it is another node's, or
    /// another node was there.
    pub(super) async fn take(
        store: &'t Store,
        name: &'static str,
        node: Uuid,
        at: Reached,
    ) -> Result<Option<Self>, Error> {
        let mut turn = Self { store, name, node, at, taken: Instant::now() };
        Ok(turn.again().await?.then_some(turn))
    }

    async fn again(&mut self) -> Result<bool, Error> {
        let taken = Instant::now();
        let Self { store, name, node, at, .. } = self;
        let is_ours = maintenance::take_outlet(store, name, *node, *at, TURN.as_secs_f64()).await?;
        self.taken = taken;
        Ok(is_ours)
    }

    /// Has one request done within the turn, and gives what comes of it; `None` when the turn has gone to
    /// another node.
    ///
    /// # Errors
    /// What `sent` says; [`OutletError::Refused`] when it takes longer than a turn.
    pub(super) async fn send<T>(
        &mut self,
        sent: impl Future<Output = Result<T, OutletError>>,
    ) -> Result<Option<T>, OutletError> {
        if self.taken.elapsed() > FRESH && !self.again().await? {
            return Ok(None);
        }
        match tokio::time::timeout(LONGEST, sent).await {
            Ok(sent) => sent.map(Some),
            Err(_) => Err(OutletError::Refused("it takes longer than a turn".to_owned())),
        }
    }

    /// Notes how much the destination has, which begins the turn anew; whether it was still this node's.
    /// Where it was not, another node has told the same.
    pub(super) async fn advance(&mut self, to: Reached) -> Result<bool, Error> {
        if to == self.at {
            return Ok(true);
        }
        let taken = Instant::now();
        let Self { store, name, node, .. } = self;
        let is_ours = maintenance::move_outlet(store, name, *node, to, TURN.as_secs_f64()).await?;
        (self.at, self.taken) = (to, taken);
        Ok(is_ours)
    }

    /// The same of rules that were applied up to `through`, with what they found.
    pub(super) async fn found(
        &mut self,
        through: Place,
        found: &[(Place, Alert)],
    ) -> Result<bool, Error> {
        let taken = Instant::now();
        let (whose, seconds) = ((self.name, self.node), TURN.as_secs_f64());
        let is_ours = maintenance::add_alerts(self.store, whose, through, found, seconds).await?;
        (self.at, self.taken) = (Reached::through(through), taken);
        Ok(is_ours)
    }
}

/// The events of rows that a destination does not have yet, in their order. A row may be thousands, so that a
/// request may end within one.
pub(super) struct Events<'r> {
    rows: &'r [(Place, Entry)],
    /// How many of the first row it has.
    taken: usize,
    through: Place,
}

impl<'r> Events<'r> {
    /// Those of `rows` that come after what it has.
    pub(super) fn new(rows: &'r [(Place, Entry)], at: Reached) -> Self {
        let first = rows.first().map(|(_, entry)| entry.id);
        let part = at.part.filter(|(row, _)| Some(*row) == first);
        let taken = part.map_or(0, |(_, taken)| usize::try_from(taken).unwrap_or(0));
        Self { rows, taken, through: at.place }
    }

    /// Whether it has all.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows it does not have whole.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The first of them, at most so many: rows, and the numbers of their events.
    pub(super) fn first(&self, most: usize) -> impl Iterator<Item = (&'r Entry, usize)> {
        let taken = self.taken;
        let rows = self.rows.iter().enumerate();
        let events = rows.flat_map(move |(at, (_, entry))| {
            let from = if at == 0 { taken } else { 0 };
            (from..entry.count()).map(move |number| (entry, number))
        });
        events.take(most)
    }

    /// The first `count` are there.
    pub(super) fn take(&mut self, mut count: usize) {
        while let Some(((place, entry), later)) = self.rows.split_first() {
            let left = entry.count().saturating_sub(self.taken);
            if count < left {
                self.taken += count;
                return;
            }
            count -= left;
            (self.rows, self.taken, self.through) = (later, 0, *place);
        }
    }

    /// How much the destination has.
    pub(super) fn reached(&self) -> Reached {
        let first = self.rows.first().filter(|_| self.taken > 0);
        let taken = i32::try_from(self.taken).unwrap_or(i32::MAX);
        Reached { place: self.through, part: first.map(|(_, entry)| (entry.id, taken)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::interaction::Kind;
    use crate::audit::balp::PatientOf;

    fn row(number: u128, patients: i64) -> (Place, Entry) {
        let patients = (0..patients).map(|hash| PatientOf { hash, id: None }).collect();
        let id = Uuid::from_u128(number);
        let entry = Entry {
            id,
            kind: Kind::Read,
            outcome: 0,
            resource_type: None,
            subject: None,
            actor: String::new(),
            client: None,
            token: None,
            person: None,
            purpose: None,
            source: None,
            request_id: String::new(),
            method: String::new(),
            query: String::new(),
            failure: None,
            patients,
            entities: Vec::new(),
        };
        (Place { xid: 1, id }, entry)
    }

    /// Row by row and event by event, whatever fits into a request.
    #[test]
    fn every_event_goes_out_once_however_many_a_request_takes() {
        let rows = [row(1, 0), row(2, 5), row(3, 1), row(4, 12), row(5, 0)];
        let all: Vec<(u128, usize)> = rows
            .iter()
            .flat_map(|(_, row)| (0..row.count()).map(|number| (row.id.as_u128(), number)))
            .collect();
        assert_eq!(all.len(), 20);
        for most in 1..=21 {
            let (mut at, mut sent) = (Reached::START, Vec::new());
            loop {
                // As a pass that begins at what was noted: with the rows behind the place.
                let behind = rows.iter().position(|(place, _)| *place > at.place);
                let mut events = Events::new(&rows[behind.unwrap_or(rows.len())..], at);
                if events.is_empty() {
                    break;
                }
                let now: Vec<_> =
                    events.first(most).map(|(row, number)| (row.id.as_u128(), number)).collect();
                assert!((1..=most).contains(&now.len()));
                events.take(now.len());
                sent.extend(now);
                at = events.reached();
            }
            assert_eq!(sent, all, "{most} at once");
            assert_eq!(at, Reached::through(rows[4].0), "{most} at once");
        }
    }

    /// What is noted of a row says nothing of another one.
    #[test]
    fn a_part_of_another_row_does_not_count() {
        let rows = [row(7, 3)];
        for (part, expected) in [(None, 3), (Some((7, 2)), 1), (Some((8, 2)), 3)] {
            let part = part.map(|(row, taken)| (Uuid::from_u128(row), taken));
            let events = Events::new(&rows, Reached { part, ..Reached::START });
            assert_eq!(events.first(10).count(), expected, "{part:?}");
        }
    }
}
