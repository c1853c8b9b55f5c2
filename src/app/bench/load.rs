//! Clients at work for a time, and what they noted.

use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::Bench;
use super::connection::{Answer, Connection};
use super::process::{Meter, Used};

/// What was asked of the server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Interaction {
    Create,
    Read,
    Update,
    Delete,
    Transaction,
    Search,
    Operation,
}

impl Interaction {
    pub(super) const ALL: [Self; 7] = [
        Self::Create,
        Self::Read,
        Self::Update,
        Self::Delete,
        Self::Transaction,
        Self::Search,
        Self::Operation,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Transaction => "transaction",
            Self::Search => "search",
            Self::Operation => "operation",
        }
    }
}

/// What one client noted.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Microseconds of each successful request, by interaction.
    times: [Vec<u32>; 7],
    pub(super) failures: u64,
    pub(super) first_failure: Option<String>,
    /// Whether limits of the server refused one.
    pub(super) is_limited: bool,
    /// Resources stored by transactions.
    pub(super) resources: u64,
}

impl Notes {
    /// Notes a successful request.
    pub(super) fn success(&mut self, interaction: Interaction, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.times[interaction as usize].push(micros);
    }

    /// Notes a request that went wrong.
    pub(super) fn failure(&mut self, reason: String) {
        self.failures += 1;
        self.first_failure.get_or_insert(reason);
    }

    /// Notes the outcome of one request that began at `started`; true when it succeeded.
    pub(super) fn note(
        &mut self,
        interaction: Interaction,
        started: Instant,
        answer: &io::Result<Answer<'_>>,
    ) -> bool {
        match answer {
            Ok(answer) if answer.is_success() => {
                self.success(interaction, started.elapsed());
                true
            }
            Ok(answer) => {
                self.is_limited |= answer.is_limited();
                self.failure(format!("{}: {}", interaction.name(), answer.describe()));
                false
            }
            Err(fault) => {
                self.failure(format!("{}: {fault}", interaction.name()));
                false
            }
        }
    }

    /// Its failures alone.
    pub(super) fn failed(&self) -> Self {
        Self {
            failures: self.failures,
            first_failure: self.first_failure.clone(),
            is_limited: self.is_limited,
            ..Self::default()
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (mine, theirs) in self.times.iter_mut().zip(other.times) {
            mine.extend(theirs);
        }
        self.failures += other.failures;
        self.resources += other.resources;
        self.is_limited |= other.is_limited;
        if self.first_failure.is_none() {
            self.first_failure = other.first_failure;
        }
    }

    /// Successful requests of an interaction, or of all.
    pub(super) fn count(&self, of: Option<Interaction>) -> u64 {
        let count = |interaction: Interaction| self.times[interaction as usize].len() as u64;
        of.map_or_else(|| Interaction::ALL.into_iter().map(count).sum(), count)
    }

    /// Milliseconds that 50, 95 and 99 of a hundred requests took at most.
    pub(super) fn percentiles(&self, of: Option<Interaction>) -> [f64; 3] {
        let mut times: Vec<u32> = match of {
            Some(interaction) => self.times[interaction as usize].clone(),
            None => self.times.iter().flatten().copied().collect(),
        };
        times.sort_unstable();
        [50, 95, 99].map(|percent| {
            let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(rank).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
        })
    }
}

/// What all clients did in one measurement.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) notes: Notes,
    pub(super) elapsed: Duration,
    pub(super) used: Used,
}

impl Measured {
    /// What was given up before it was measured.
    pub(super) fn nothing(notes: Notes) -> Self {
        Self { notes, elapsed: Duration::ZERO, used: Used::default() }
    }
}

/// What as many clients as `count` ask by GET until the time is up: `paths`, in a scattered order.
pub(super) async fn scattered(
    bench: &Bench,
    paths: &[String],
    count: usize,
    interaction: Interaction,
) -> Measured {
    let end = Instant::now() + Duration::from_secs(bench.args.seconds.max(1));
    let clients: Vec<(usize, Connection)> =
        (0..count).map(|at| (at, Connection::new(&bench.target))).collect();
    let (measured, _) = measure(&bench.meter, clients, async |(at, mut connection)| {
        let mut notes = Notes::default();
        // A step that shares no factor with the number of paths walks through all of them.
        let mut place = at * 7_919;
        while Instant::now() < end {
            place = (place + 104_729) % paths.len();
            let started = Instant::now();
            let answer = connection.send("GET", &paths[place], None).await;
            notes.note(interaction, started, &answer);
        }
        ((at, connection), notes)
    })
    .await;
    measured
}

/// Runs `client` for each of `clients` at the same time until all are done, and gives them back.
pub(super) async fn measure<C, R>(
    meter: &Meter,
    clients: Vec<C>,
    client: impl Fn(C) -> R,
) -> (Measured, Vec<C>)
where
    R: Future<Output = (C, Notes)>,
{
    let before = meter.used();
    let started = Instant::now();
    let ended = join_all(clients.into_iter().map(client)).await;
    let elapsed = started.elapsed();
    let used = meter.used().since(before);
    let mut notes = Notes::default();
    let mut clients = Vec::with_capacity(ended.len());
    for (client, noted) in ended {
        clients.push(client);
        notes.merge(noted);
    }
    (Measured { notes, elapsed, used }, clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let mut notes = Notes::default();
        for millis in (1..=200).rev() {
            notes.success(Interaction::Read, Duration::from_millis(millis));
        }
        let micros =
            |of| notes.percentiles(of).map(|millis: f64| (millis * 1_000.0).round() as u64);
        for (of, expected) in [
            (Some(Interaction::Read), [100_000, 190_000, 198_000]),
            (None, [100_000, 190_000, 198_000]),
            (Some(Interaction::Create), [0, 0, 0]),
        ] {
            assert_eq!(micros(of), expected, "{of:?}");
        }
        assert_eq!(notes.count(None), 200);
    }
}
