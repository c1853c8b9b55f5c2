//! How refusals of parties that ask too often go on record, so that a flood of them does not fill it.
//!
//! They are counted, not recorded one by one. Within a minute the first of a party has a row, and then the
//! tenth, the hundredth and so on, which say how many there were until then; when the minute is over, or the
//! server ends, one row more says how many there were in all. Of more parties than are told apart the others
//! count together, in rows that say so.
//!
//! Spec: security A3, H11

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::Instrument as _;

use crate::error::Error;

use super::caller::{Actor, Caller, RequestContext, party_of};
use super::gate::{Gate, span_of_ledger};
use super::interaction::Interaction;
use super::ledger::{LedgerRow, Outcome, Units};
use super::principal::Principal;

/// How long they are counted together.
const WITHIN: Duration = Duration::from_mins(1);
/// Most parties that are told apart at a time, and most counts that wait for the record.
const MAX_PARTIES: usize = 10_000;
/// Most counts that go on record in one go.
const AT_ONCE: usize = 256;
/// Characters of a path in a row that is of many requests.
const LONGEST_PATH: usize = 200;
/// What parties that are not told apart are counted under: no party is called so.
const OTHERS: &str = "";

/// Refusals of which one row tells.
#[derive(Clone, Debug)]
struct Held {
    interaction: Interaction,
    caller: Caller,
    /// What each of them was told.
    why: String,
    /// When they began to be counted.
    since: Instant,
    /// How many there were until then.
    count: u32,
    /// Whether they are of one party, or of all that are not told apart.
    is_of_party: bool,
    /// Whether there were no more within that minute.
    is_all: bool,
}

impl Held {
    /// What the row says.
    fn failure(&self) -> String {
        let whose = if self.is_of_party { "the party" } else { "parties that are not told apart" };
        let all = if self.is_all { ", in all" } else { "" };
        format!("{} ({} of {whose} within a minute{all})", self.why, self.count)
    }

    /// The same of parties that are not told apart: of none by its name.
    fn of_others(self) -> Self {
        let request = RequestContext { source: None, ..(*self.caller.request).clone() };
        let caller = Caller::new(Principal::named("anonymous"), request);
        Self { caller, is_of_party: false, ..self }
    }
}

/// The refusals of a party since a moment.
#[derive(Debug)]
struct Counted {
    count: u32,
    /// How many of them the record tells.
    told: u32,
    /// What the row of them all is to be like.
    like: Held,
}

impl Counted {
    /// How many there were in all, where the record does not tell it.
    fn rest(&self) -> Option<Held> {
        let all = || Held { count: self.count, is_all: true, ..self.like.clone() };
        (self.count > self.told).then(all)
    }
}

#[derive(Debug, Default)]
struct Table {
    parties: HashMap<String, Counted>,
    /// Before this moment nothing of it is over.
    over_from: Option<Instant>,
    /// Counts of minutes that are over, which are to go on record.
    over: Vec<Held>,
}

impl Table {
    /// Forgets what was counted for so long, and keeps what the record does not tell of it.
    fn sweep(&mut self, now: Instant, within: Duration) {
        let mut rest = Vec::new();
        self.parties.retain(|_, counted| {
            let goes_on = now.duration_since(counted.like.since) < within;
            if !goes_on {
                rest.extend(counted.rest());
            }
            goes_on
        });
        self.over_from = self.parties.values().map(|counted| counted.like.since + WITHIN).min();
        for held in rest {
            self.keep(held);
        }
    }

    /// Keeps a count for the record. What is too much, because the record is away for long, is added up.
    fn keep(&mut self, held: Held) {
        let is_full = self.over.len() >= MAX_PARTIES;
        let others = self.over.last_mut().filter(|last| is_full && !last.is_of_party);
        match others {
            Some(others) => others.count = others.count.saturating_add(held.count),
            None if is_full => self.over.push(held.of_others()),
            None => self.over.push(held),
        }
    }

    /// Whether there is no place for a party.
    fn is_full_for(&self, party: &str) -> bool {
        let parties = self.parties.len() - usize::from(self.parties.contains_key(OTHERS));
        parties >= MAX_PARTIES && !self.parties.contains_key(party)
    }

    /// What a party is counted under.
    fn key(&mut self, party: String, now: Instant) -> String {
        if self.is_full_for(&party) && self.over_from.is_none_or(|from| now >= from) {
            self.sweep(now, WITHIN);
        }
        if self.is_full_for(&party) { OTHERS.to_owned() } else { party }
    }

    /// Hears that the record tells of what was counted.
    fn note(&mut self, held: &Held) {
        let key = if held.is_of_party { party(&held.caller) } else { OTHERS.to_owned() };
        let counted = self.parties.get_mut(&key).filter(|it| it.like.since == held.since);
        if let Some(counted) = counted {
            counted.told = counted.told.max(held.count);
        }
    }
}

/// What is counted.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Table>);

impl Refusals {
    /// Counts one; gives what is to go on record by now, which is nothing mostly.
    fn add(
        &self,
        interaction: Interaction,
        caller: &Caller,
        error: &Error,
        now: Instant,
    ) -> Vec<Held> {
        let mut table = self.table();
        let key = table.key(party(caller), now);
        let is_of_party = key != OTHERS;
        let begin = || {
            let (caller, why) = (of_many(caller), error.to_string().replace('\0', "\u{fffd}"));
            let (since, is_all, count) = (now, false, 0);
            let like = Held { interaction, caller, why, since, count, is_of_party: true, is_all };
            let like = if is_of_party { like } else { like.of_others() };
            Counted { count: 0, told: 0, like }
        };
        let counted = table.parties.entry(key).or_insert_with(begin);
        let is_over = now.duration_since(counted.like.since) >= WITHIN;
        let rest = is_over.then(|| std::mem::replace(counted, begin()).rest()).flatten();
        let mut held = Vec::new();
        counted.count = counted.count.saturating_add(1);
        let count = counted.count;
        if 10_u32.pow(count.ilog10()) == count {
            held.push(Held { count, caller: caller.clone(), ..counted.like.clone() });
        }
        // Whoever asks now may hang up before it is on record.
        if let Some(rest) = rest {
            table.keep(rest);
        }
        held
    }

    /// Takes some counts of minutes that are over; where the server ends, of those that are not, too.
    fn take(&self, now: Instant, is_end: bool) -> Vec<Held> {
        let mut table = self.table();
        table.sweep(now, if is_end { Duration::ZERO } else { WITHIN });
        let some = table.over.len().min(AT_ONCE);
        table.over.drain(..some).collect()
    }

    /// Hears whether the record has what was to go on it. What it has not of a party is told with the rest.
    fn heard(&self, held: Vec<Held>, is_recorded: bool) {
        let mut table = self.table();
        for held in held {
            match (held.is_all, is_recorded) {
                (true, false) => table.keep(held),
                (false, true) => table.note(&held),
                _ => {}
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is counted.
fn party(caller: &Caller) -> String {
    format!("{} {}", caller.principal.actor(), party_of(caller.request.source))
}

/// The caller of a row that is of many requests: by the id of none, and by the path of the first.
fn of_many(caller: &Caller) -> Caller {
    let RequestContext { method, source, .. } = *caller.request;
    let path = caller.request.path_and_query.split('?').next().unwrap_or_default();
    let path_and_query = path.chars().take(LONGEST_PATH).collect();
    let request = RequestContext { id: String::new(), method, path_and_query, source };
    Caller { principal: caller.principal.clone(), request: Arc::new(request) }
}

impl<U: Units> Gate<U> {
    /// Records that a party asks too often, by a few rows however often it does. Gives what to tell:
    /// `error`, or [`Error::Unavailable`] when the ledger cannot be written.
    pub async fn held_back(
        &self,
        interaction: Interaction,
        caller: &Caller,
        error: Error,
    ) -> Error {
        let held = self.refusals.add(interaction, caller, &error, Instant::now());
        self.tell(held).await.err().unwrap_or(error)
    }

    /// The same of who proved nobody.
    pub async fn held_off(&self, interaction: Interaction, actor: &Actor, error: Error) -> Error {
        self.held_back(interaction, &actor.caller(), error).await
    }

    /// Records how many were held back of each party whose minute is over; where the server ends, of all.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the ledger cannot be written: what it lacks is told the next time.
    pub async fn tell_refusals(&self, is_end: bool) -> Result<(), Error> {
        loop {
            let held = self.refusals.take(Instant::now(), is_end);
            if held.is_empty() {
                return Ok(());
            }
            self.tell(held).await?;
        }
    }

    async fn tell(&self, held: Vec<Held>) -> Result<(), Error> {
        if held.is_empty() {
            return Ok(());
        }
        let row = |held: &Held| {
            let row = self.first(held.interaction, &held.caller, self.ids.ordered());
            LedgerRow { outcome: Outcome::Refused, failure: held.failure(), ..row }
        };
        let rows = held.iter().map(row).collect();
        let recorded = self.units.record(rows).instrument(span_of_ledger()).await;
        self.refusals.heard(held, recorded.is_ok());
        recorded
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::interaction::Kind;
    use super::super::ledger::{Attempted, CommitError, Disclosed, UnitOfWork};
    use super::super::permit::Permit;
    use super::*;
    use crate::clock::{IdOrder, SystemClock, SystemIds};
    use crate::fhir::ResourceType;

    const NONE: [(u32, bool); 0] = [];

    fn read() -> Interaction {
        Kind::Read.of(ResourceType::PATIENT)
    }

    fn caller(actor: &str, address: Option<&str>) -> Caller {
        let request = RequestContext {
            id: "r".to_owned(),
            method: "GET",
            path_and_query: "/fhir/Patient/a?canary".to_owned(),
            source: address.map(|it| it.parse().unwrap()),
        };
        Caller::new(Principal::named(actor), request)
    }

    fn too_often() -> Error {
        Error::Throttled("too often".to_owned())
    }

    /// How many each row tells, and whether that is all; the record is there.
    fn rows(refusals: &Refusals, held: Vec<Held>) -> Vec<(u32, bool)> {
        let told = held.iter().map(|held| (held.count, held.is_all)).collect();
        refusals.heard(held, true);
        told
    }

    fn told(refusals: &Refusals, who: &Caller, count: u32, at: Instant) -> Vec<(u32, bool)> {
        let add = |_| rows(refusals, refusals.add(read(), who, &too_often(), at));
        (0..count).flat_map(add).collect()
    }

    fn over(refusals: &Refusals, at: Instant, is_end: bool) -> Vec<(u32, bool)> {
        let held = refusals.take(at, is_end);
        rows(refusals, held)
    }

    #[test]
    fn the_first_and_each_tenfold_are_told_and_all_when_the_minute_is_over() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let [a, b] = ["a", "b"].map(|actor| caller(actor, None));
        let tenfold = |counts: &[u32]| counts.iter().map(|it| (*it, false)).collect::<Vec<_>>();
        assert_eq!(told(&refusals, &a, 1_234, now), tenfold(&[1, 10, 100, 1_000]));
        assert_eq!(told(&refusals, &b, 10, now), tenfold(&[1, 10]));
        assert_eq!(told(&refusals, &a, 100, now + WITHIN / 2), NONE);
        let late = now + WITHIN.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(over(&refusals, late, false), NONE);
        // Who looks says it; of the other one the record has it.
        assert_eq!(told(&refusals, &a, 99, now + WITHIN), tenfold(&[1, 10]));
        assert_eq!(over(&refusals, now + WITHIN, false), [(1_334, true)]);
        assert_eq!(over(&refusals, now + WITHIN * 2, false), [(99, true)]);
        assert_eq!(over(&refusals, now + WITHIN * 2, true), NONE);
        // The server ends before the minute does.
        assert_eq!(told(&refusals, &b, 2, now + WITHIN * 2), tenfold(&[1]));
        assert_eq!(over(&refusals, now + WITHIN * 2, true), [(2, true)]);
        assert_eq!(over(&refusals, now + WITHIN * 2, true), NONE);
    }

    #[test]
    fn addresses_of_one_line_are_counted_together() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let told = |address: &str| told(&refusals, &caller("x", Some(address)), 1, now);
        assert_eq!(told("2001:db8:1:2::1"), [(1, false)]);
        assert_eq!(told("2001:db8:1:2::2"), NONE);
        assert_eq!(told("2001:db8:1:3::1"), [(1, false)]);
        assert_eq!(told("192.0.2.1"), [(1, false)]);
    }

    #[test]
    fn more_parties_than_are_told_apart_count_together() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        for number in 0..MAX_PARTIES {
            let who = caller(&format!("user:{number}"), Some("192.0.2.1"));
            assert_eq!(told(&refusals, &who, 1, now), [(1, false)], "{number}");
        }
        let others = ["x", "y"].map(|actor| caller(actor, Some("192.0.2.1")));
        let held = refusals.add(read(), &others[0], &too_often(), now);
        let failure = "too often (1 of parties that are not told apart within a minute)";
        assert_eq!((held[0].failure().as_str(), held[0].caller.principal.actor()), (failure, "x"));
        refusals.heard(held, true);
        assert_eq!(told(&refusals, &others[1], 49, now), [(10, false)]);
        // Whoever is told apart already still is.
        let known = caller("user:7", Some("192.0.2.1"));
        assert_eq!(told(&refusals, &known, 4, now), NONE);
        let held = refusals.take(now + WITHIN, false);
        let mut all: Vec<_> = held
            .iter()
            .map(|held| (held.count, held.caller.principal.actor(), held.caller.request.source))
            .collect();
        all.sort_unstable();
        let known = known.request.source;
        assert_eq!(all, [(5, "user:7", known), (50, "anonymous", None)]);
        refusals.heard(held, true);
        // There is place again.
        let held = refusals.add(read(), &others[0], &too_often(), now + WITHIN);
        assert_eq!(held[0].failure(), "too often (1 of the party within a minute)");
    }

    #[test]
    fn a_full_table_makes_place_as_soon_as_a_minute_is_over() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        for number in 0..MAX_PARTIES {
            let late = if number == 0 { Duration::ZERO } else { WITHIN / 2 };
            told(&refusals, &caller(&number.to_string(), None), 2, now + late);
        }
        let [x, y, z] = ["x", "y", "z"].map(|actor| caller(actor, None));
        assert!(!refusals.add(read(), &x, &too_often(), now + WITHIN / 2)[0].is_of_party);
        assert!(refusals.add(read(), &y, &too_often(), now + WITHIN)[0].is_of_party);
        assert!(refusals.add(read(), &z, &too_often(), now + WITHIN).is_empty(), "no more place");
        assert_eq!(over(&refusals, now + WITHIN, false), [(2, true)]);
    }

    #[test]
    fn what_waits_for_the_record_for_long_is_added_up() {
        let (mut table, now) = (Table::default(), Instant::now());
        let (interaction, why, who) = (read(), "x".to_owned(), caller("a", Some("192.0.2.1")));
        let (since, count, is_of_party, is_all) = (now, 2, true, true);
        let held = Held { interaction, caller: who, why, since, count, is_of_party, is_all };
        for _ in 0..MAX_PARTIES + 3 {
            table.keep(held.clone());
        }
        assert_eq!(table.over.len(), MAX_PARTIES + 1);
        let last = table.over.last().unwrap();
        assert_eq!(
            last.failure(),
            "x (6 of parties that are not told apart within a minute, in all)"
        );
        assert_eq!(last.caller.request.source, None);
    }

    /// A record that may be away.
    #[derive(Default)]
    struct Record {
        is_away: AtomicBool,
        rows: Mutex<Vec<LedgerRow>>,
    }

    /// Nothing is written here.
    impl UnitOfWork for Infallible {
        async fn commit(self, _: Vec<LedgerRow>) -> Result<(), CommitError> {
            match self {}
        }

        async fn settle(&mut self, _: &Permit<'_>) -> Result<(), Error> {
            match *self {}
        }

        async fn roll_back(self) {
            match self {}
        }

        fn is_raced(&self) -> bool {
            match *self {}
        }

        fn note(&mut self, _: Interaction, _: Disclosed) {
            match *self {}
        }

        fn disclosed(&mut self) -> Vec<Attempted> {
            match *self {}
        }
    }

    impl Units for Record {
        type Unit = Infallible;
        type Memory = ();

        fn begin(&self, _: &Permit<'_>, (): &()) -> Infallible {
            unreachable!("nothing is written here")
        }

        async fn record(&self, rows: Vec<LedgerRow>) -> Result<(), Error> {
            if self.is_away.load(Ordering::SeqCst) {
                return Err(Error::Unavailable("away".into()));
            }
            self.rows.lock().unwrap().extend(rows);
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_could_not_be_recorded_is_told_when_the_record_is_there() {
        let ids = Arc::new(SystemIds(IdOrder::Time));
        let gate = Gate::new(Record::default(), Arc::new(SystemClock), ids);
        let who = caller("user:ada", Some("192.0.2.1"));
        let away = &gate.units.is_away;
        away.store(true, Ordering::SeqCst);
        let error = gate.held_back(read(), &who, too_often()).await;
        assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
        assert!(gate.tell_refusals(true).await.is_err());
        away.store(false, Ordering::SeqCst);
        for _ in 0..3 {
            let error = gate.held_back(read(), &who, too_often()).await;
            assert!(matches!(error, Error::Throttled(_)), "{error:?}");
        }
        gate.tell_refusals(true).await.unwrap();
        let rows = gate.units.rows.lock().unwrap();
        let told: Vec<_> = rows
            .iter()
            .map(|row| {
                assert_eq!((row.outcome, row.interaction), (Outcome::Refused, read()));
                assert_eq!((row.caller.principal.actor(), row.group), ("user:ada", row.id));
                let request = &row.caller.request;
                (row.failure.as_str(), request.id.as_str(), request.path_and_query.as_str())
            })
            .collect();
        let (whole, path) = ("/fhir/Patient/a?canary", "/fhir/Patient/a");
        let expected = [
            ("too often (1 of the party within a minute)", "r", whole),
            ("too often (1 of the party within a minute, in all)", "", path),
            ("too often (3 of the party within a minute, in all)", "", path),
        ];
        assert_eq!(told, expected);
    }
}
