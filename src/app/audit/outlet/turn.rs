//! The turn of a node to tell a destination what comes next, and how much goes out at once.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::audit::balp::Entry;
use crate::error::Error;
use crate::store::Store;
use crate::store::maintenance::{self, Place};

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
    /// Up to where the destination has all.
    at: Place,
    /// When it was last taken, at the latest.
    taken: Instant,
}

impl<'t> Turn<'t> {
    /// Takes the turn where the destination is still at a place; `None` when it is another node's, or
    /// another node was there.
    pub(super) async fn take(
        store: &'t Store,
        name: &'static str,
        node: Uuid,
        at: Place,
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

    /// Has `sent` done within the turn; whether it was: not when the turn has gone to another node.
    ///
    /// # Errors
    /// What `sent` says; [`OutletError::Refused`] when it takes longer than a turn.
    pub(super) async fn send(
        &mut self,
        sent: impl Future<Output = Result<(), OutletError>>,
    ) -> Result<bool, OutletError> {
        if self.taken.elapsed() > FRESH && !self.again().await? {
            return Ok(false);
        }
        match tokio::time::timeout(LONGEST, sent).await {
            Ok(sent) => sent.map(|()| true),
            Err(_) => Err(OutletError::Refused("it takes longer than a turn".to_owned())),
        }
    }

    /// Notes that the destination has all up to `place`, which begins the turn anew; whether it was still
    /// this node's. Where it was not, another node has told the same.
    pub(super) async fn advance(&mut self, place: Place) -> Result<bool, Error> {
        if place == self.at {
            return Ok(true);
        }
        let taken = Instant::now();
        let Self { store, name, node, .. } = self;
        let is_ours =
            maintenance::move_outlet(store, name, *node, place, TURN.as_secs_f64()).await?;
        (self.at, self.taken) = (place, taken);
        Ok(is_ours)
    }
}

/// How many of `rows` go out at once: as many as make `events` events, and at least one.
pub(super) fn portion(rows: &[(Place, Entry)], events: usize) -> usize {
    let mut count = 0;
    let fits = rows.iter().take_while(|(_, entry)| {
        let is_room = count < events;
        count += entry.count();
        is_room
    });
    fits.count().max(1).min(rows.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::interaction::Kind;
    use crate::audit::balp::PatientOf;

    fn row(patients: i64) -> (Place, Entry) {
        let patients = (0..patients).map(|hash| PatientOf { hash, id: None }).collect();
        let entry = Entry {
            id: Uuid::nil(),
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
        (Place::START, entry)
    }

    #[test]
    fn a_portion_is_as_many_rows_as_make_a_request() {
        for (rows, events, expected) in [
            (&[][..], 5, 0),
            (&[1], 5, 1),
            (&[0, 1, 1, 0, 1, 1], 5, 5),
            (&[3, 3, 3], 5, 2),
            (&[900, 1], 5, 1),
            (&[1, 1], 0, 1),
        ] {
            let made: Vec<_> = rows.iter().map(|patients| row(*patients)).collect();
            assert_eq!(portion(&made, events), expected, "{rows:?} {events}");
        }
    }
}
