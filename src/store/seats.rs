//! Seats: what there is little of is shared between callers, so that none takes all of it.
//!
//! A caller has at most a share of the seats. Who finds none waits: callers take turns, and what one
//! of them asks for comes in its order. Nobody waits for ever, and the line has an end.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_postgres::Object;
use tokio::sync::oneshot;

use crate::access::Permit;
use crate::error::Error;

use super::connection::{Flush, Pool, Transaction};
use super::failure;
use super::tenant::Realm;

/// Longest wait for a seat.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most that wait of one caller.
const OF_ONE: usize = 256;
/// Most that wait of all.
const OF_ALL: usize = 1_024;

/// Connections for searches and for what takes as long, one at a time each.
pub(super) struct Searchers {
    pool: Pool,
    seats: Seats,
}

/// One of them.
pub(super) struct Searcher {
    // In this order: the connection is back before its seat is.
    connection: Object,
    seat: Seat,
}

/// A transaction of one of them.
pub(super) struct Planning {
    // In this order, too.
    transaction: Transaction,
    _seat: Seat,
}

/// Other statements are planned once, for whatever values.
const PLANNING: &str = "BEGIN; SET LOCAL plan_cache_mode = force_custom_plan";

impl Searchers {
    /// `flush`: what the ledger rows of searches wait for, which are all that is written here.
    pub(super) fn new(
        realm: &Realm,
        size: usize,
        timeout_ms: u32,
        flush: Flush,
    ) -> Result<Self, Error> {
        let pool = Pool::new(realm, size, timeout_ms, flush)?;
        Ok(Self { pool, seats: Seats::new("searches", size, size.div_ceil(2)) })
    }

    /// A connection for whoever holds `permit`.
    pub(super) async fn connection(&self, permit: &Permit<'_>) -> Result<Searcher, Error> {
        let seat = self.seats.seat(permit).await?;
        Ok(Searcher { connection: self.pool.connection().await?, seat })
    }

    /// The same in a transaction, in which each statement is planned for its values.
    pub(super) async fn planning(&self, permit: &Permit<'_>) -> Result<Planning, Error> {
        let seat = self.seats.seat(permit).await?;
        Ok(Planning { transaction: self.pool.begin(PLANNING).await?, _seat: seat })
    }
}

impl Planning {
    /// Ends the transaction, so that the connection can be had for other searches.
    pub(super) async fn end(self) -> Result<(), Error> {
        self.transaction.commit().await.map_err(failure::error)
    }
}

impl Deref for Planning {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.transaction
    }
}

impl Searcher {
    /// Whether nobody else searches here at the moment.
    pub(super) fn is_alone(&self) -> bool {
        self.seat.is_only()
    }
}

impl Deref for Searcher {
    type Target = Object;

    fn deref(&self) -> &Object {
        &self.connection
    }
}

/// Who shares: an actor at an address.
type Party = (String, Option<IpAddr>);

/// A number of seats.
#[derive(Clone)]
pub(super) struct Seats(Arc<Hall>);

struct Hall {
    /// What is done on the seats, for texts.
    of: &'static str,
    /// How many there are.
    count: usize,
    /// How many of them one party may have.
    share: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    parties: HashMap<Party, Place>,
    /// Those who wait, each once, in turn.
    turns: VecDeque<Party>,
    waiting: usize,
}

/// What a party has.
#[derive(Default)]
struct Place {
    seated: usize,
    line: VecDeque<oneshot::Sender<Seat>>,
}

/// The right to one of the seats, until it is dropped.
pub(super) struct Seat {
    seats: Seats,
    party: Party,
}

impl Seat {
    /// Whether all other seats are free.
    fn is_only(&self) -> bool {
        let hall = &self.seats.0;
        self.seats.state().free + 1 == hall.count
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let given = self.seats.leave(&self.party);
        // Outside the lock: what nobody takes any more comes back here.
        for (line, seat) in given {
            drop(line.send(seat));
        }
    }
}

impl Seats {
    /// `count` seats, of which one party may have `share`.
    pub(super) fn new(of: &'static str, count: usize, share: usize) -> Self {
        let (count, share) = (count.max(1), share.max(1));
        let (parties, turns) = (HashMap::new(), VecDeque::new());
        let state = Mutex::new(State { free: count, parties, turns, waiting: 0 });
        Self(Arc::new(Hall { of, count, share, state }))
    }

    /// A seat for whoever holds `permit`.
    ///
    /// # Errors
    /// [`Error::Throttled`] when the caller itself has as many as it may; [`Error::Busy`] when
    /// others have them.
    pub(super) async fn seat(&self, permit: &Permit<'_>) -> Result<Seat, Error> {
        self.seat_of((permit.actor().to_owned(), permit.source())).await
    }

    async fn seat_of(&self, party: Party) -> Result<Seat, Error> {
        let line = match self.enter(&party)? {
            Entered::Seated(seat) => return Ok(seat),
            Entered::Waiting(line) => line,
        };
        match tokio::time::timeout(PATIENCE, line).await {
            Ok(Ok(seat)) => Ok(seat),
            _ => Err(self.refusal(&self.state(), &party)),
        }
    }

    fn enter(&self, party: &Party) -> Result<Entered, Error> {
        let mut state = self.state();
        let (seated, in_line) = state.size(party);
        if seated < self.0.share && in_line == 0 && state.free > 0 {
            state.seat(party);
            return Ok(Entered::Seated(Seat { seats: self.clone(), party: party.clone() }));
        }
        if in_line >= OF_ONE || state.waiting >= OF_ALL {
            state.forget_the_gone();
        }
        if state.size(party).1 >= OF_ONE || state.waiting >= OF_ALL {
            return Err(self.refusal(&state, party));
        }
        let place = state.parties.entry(party.clone()).or_default();
        let (sender, line) = oneshot::channel();
        let is_first = place.line.is_empty();
        place.line.push_back(sender);
        state.waiting += 1;
        if is_first {
            state.turns.push_back(party.clone());
        }
        Ok(Entered::Waiting(line))
    }

    /// Gives a seat back; who gets the seats that are free then.
    fn leave(&self, party: &Party) -> Vec<(oneshot::Sender<Seat>, Seat)> {
        let mut state = self.state();
        state.free += 1;
        if let Some(place) = state.parties.get_mut(party) {
            place.seated -= 1;
        }
        let mut given = Vec::new();
        while state.free > 0 {
            let Some((party, line)) = state.next(self.0.share) else { break };
            state.seat(&party);
            given.push((line, Seat { seats: self.clone(), party }));
        }
        state.forget(party);
        given
    }

    fn refusal(&self, state: &State, party: &Party) -> Error {
        let of = self.0.of;
        let (seated, in_line) = state.size(party);
        if seated >= self.0.share || in_line >= OF_ONE {
            let text = format!(
                "as many {of} of yours are at work and wait as the server takes at a time; try again \
                 when some have ended"
            );
            return Error::Throttled(text);
        }
        Error::Busy(format!("the server is busy with {of} of others; try again"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entered {
    Seated(Seat),
    Waiting(oneshot::Receiver<Seat>),
}

impl State {
    /// How many seats a party has, and how many of it wait.
    fn size(&self, party: &Party) -> (usize, usize) {
        self.parties.get(party).map_or((0, 0), |place| (place.seated, place.line.len()))
    }

    fn seat(&mut self, party: &Party) {
        self.free -= 1;
        self.parties.entry(party.clone()).or_default().seated += 1;
    }

    /// The first who waits, of the party whose turn it is and that has less than its share.
    fn next(&mut self, share: usize) -> Option<(Party, oneshot::Sender<Seat>)> {
        let may = |place: &Place| place.seated < share;
        let mut at = 0;
        while let Some(party) = self.turns.get(at) {
            let Some(place) = self.parties.get_mut(party).filter(|place| may(place)) else {
                at += 1;
                continue;
            };
            let mut first = None;
            while let Some(line) = place.line.pop_front() {
                self.waiting -= 1;
                if !line.is_closed() {
                    first = Some(line);
                    break;
                }
            }
            let is_over = place.line.is_empty();
            let party = self.turns.remove(at)?;
            if is_over {
                self.forget(&party);
            } else {
                self.turns.push_back(party.clone());
            }
            if let Some(first) = first {
                return Some((party, first));
            }
        }
        None
    }

    /// Takes those out of the line who wait no more.
    fn forget_the_gone(&mut self) {
        for place in self.parties.values_mut() {
            place.line.retain(|line| !line.is_closed());
        }
        self.parties.retain(|_, place| place.seated > 0 || !place.line.is_empty());
        self.waiting = self.parties.values().map(|place| place.line.len()).sum();
        let parties = &self.parties;
        self.turns.retain(|party| parties.get(party).is_some_and(|place| !place.line.is_empty()));
    }

    /// Keeps nothing of a party that has nothing.
    fn forget(&mut self, party: &Party) {
        let has_nothing = |place: &Place| place.seated == 0 && place.line.is_empty();
        if self.parties.get(party).is_some_and(has_nothing) {
            self.parties.remove(party);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(name: &str) -> Party {
        (name.to_owned(), None)
    }

    fn seated(seats: &Seats, name: &str) -> Seat {
        match seats.enter(&party(name)) {
            Ok(Entered::Seated(seat)) => seat,
            Ok(Entered::Waiting(_)) => panic!("{name} waits"),
            Err(error) => panic!("{name}: {error}"),
        }
    }

    fn waiting(seats: &Seats, name: &str) -> oneshot::Receiver<Seat> {
        match seats.enter(&party(name)) {
            Ok(Entered::Waiting(line)) => line,
            Ok(Entered::Seated(_)) => panic!("{name} has a seat"),
            Err(error) => panic!("{name}: {error}"),
        }
    }

    #[test]
    fn a_seat_knows_whether_another_is_taken() {
        let seats = Seats::new("searches", 2, 2);
        let first = seated(&seats, "a");
        assert!(first.is_only());
        let second = seated(&seats, "a");
        assert!(!first.is_only() && !second.is_only());
        drop(first);
        assert!(second.is_only());
    }

    #[test]
    fn one_caller_leaves_seats_to_others() {
        let seats = Seats::new("searches", 4, 2);
        let mine = [seated(&seats, "a"), seated(&seats, "a")];
        let mut line = waiting(&seats, "a");
        let others = [seated(&seats, "b"), seated(&seats, "c")];
        // Another's seat is not for who has a share already.
        drop(others);
        assert!(line.try_recv().is_err());
        drop(mine);
        assert!(line.try_recv().is_ok());
    }

    #[test]
    fn callers_take_turns_and_each_ones_own_come_in_their_order() {
        let seats = Seats::new("searches", 1, 1);
        let mut held = seated(&seats, "x");
        let names = ["a", "a", "a", "b", "c", "b"];
        let mut lines: Vec<_> = names.iter().map(|name| waiting(&seats, name)).collect();
        let mut order = Vec::new();
        for _ in names {
            drop(held);
            let next = lines
                .iter_mut()
                .enumerate()
                .find_map(|(at, line)| line.try_recv().ok().map(|seat| (at, seat)));
            let (at, seat) = next.expect("somebody has the seat");
            order.push(at);
            held = seat;
        }
        assert_eq!(order, [0, 3, 4, 1, 5, 2]);
    }

    #[test]
    fn who_waits_no_more_takes_no_seat_and_leaves_nothing() {
        let seats = Seats::new("searches", 1, 1);
        let held = seated(&seats, "x");
        drop(waiting(&seats, "a"));
        let unread = waiting(&seats, "b");
        drop(held);
        // It has the seat, and lets it go unseen.
        drop(unread);
        drop(seated(&seats, "c"));
        let state = seats.state();
        assert_eq!((state.free, state.waiting, state.turns.len()), (1, 0, 0));
        assert!(state.parties.is_empty());
    }

    #[test]
    fn a_line_has_an_end_and_those_who_left_do_not_stand_in_it() {
        let seats = Seats::new("searches", 1, 1);
        let _held = seated(&seats, "x");
        let lines: Vec<_> = (0..OF_ONE).map(|_| waiting(&seats, "a")).collect();
        assert!(matches!(seats.enter(&party("a")), Err(Error::Throttled(_))));
        drop(waiting(&seats, "b"));
        drop(lines);
        drop(waiting(&seats, "a"));
        for name in 0..OF_ALL {
            let name = format!("{}", name / OF_ONE);
            std::mem::forget(waiting(&seats, &name));
        }
        assert!(matches!(seats.enter(&party("y")), Err(Error::Busy(_))));
    }

    #[test]
    fn who_is_refused_hears_whose_seats_are_missing() {
        let seats = Seats::new("searches", 2, 1);
        let _mine = seated(&seats, "a");
        let refusal = |name: &str| seats.refusal(&seats.state(), &party(name));
        assert!(matches!(refusal("a"), Error::Throttled(_)));
        let _others = seated(&seats, "b");
        assert!(matches!(refusal("c"), Error::Busy(_)));
    }
}
