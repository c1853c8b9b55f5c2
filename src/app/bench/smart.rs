//! *smart*: what tokens cost: reads and searches under the scopes of a patient beside the same under the
//! open policy, granular scopes with consents, and the token endpoint; and whether time tells what
//! answers do not.
//!
//! The open policy is that of a service with `system/*.cruds`: its permit has no restriction, as every
//! permit has under `auth.mode = "off"`. So one server on the same data answers both, in turn: one that is
//! started for it, without limits ([`own`]), or one that `--base` names, with [`LIMITS`] 0. Tokens, clients
//! and users (`kiln-bench-..`) are made in the server's database, which the settings name: one for trying
//! things out.

mod own;
mod ranks;
mod times;
mod world;

use std::fmt::Display;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;

use super::connection::Connection;
use super::load::{Interaction, Notes, measure, scattered};
use super::target::Target;
use super::{Bench, BenchError, read};
use crate::app::authority;
use crate::config::Config;
use crate::oauth::Authority;
use crate::oauth::client::{AppType, Client, ClientKind, with_secret};
use crate::oauth::secret::{self, Fresh};
use crate::store::oauth::client;

use world::{World, entries};

pub(super) use own::{LIMITS, Own};

pub use own::Origin;

/// How many times as long as under the open policy it may take.
const READ: f64 = 1.15;
const SEARCH: f64 = 1.3;
const GRANULAR: f64 = 1.6;
/// Tokens that there should be in a second.
const TOKENS: f64 = 500.0;
/// Times that each is measured: the order changes, so that what changes meanwhile hits both.
const ROUNDS: usize = 2;
/// The body of a request for a token.
const FORM: &str = "application/x-www-form-urlencoded";

pub(super) async fn run(bench: &mut Bench, config: &Config) -> Result<(), BenchError> {
    let opened = authority::of_command(config).await;
    let (database, authority) = opened.map_err(failed)?;
    let plain = bench.target.clone();
    let outcome = Box::pin(all(bench, &authority, &plain)).await;
    drop(authority);
    database.close().await;
    outcome
}

async fn all(bench: &mut Bench, authority: &Authority, plain: &Target) -> Result<(), BenchError> {
    bench.target = world::loader(authority, plain).await?;
    let (loaded, _) = read::load(bench).await?;
    bench.target = plain.clone();
    let world = World::make(bench, authority).await?;
    bench.report.note("the open policy: a token with system/*.cruds, on the same server");
    for count in bench.clients.clone() {
        let patient = (&world.open, &world.patient);
        let reads = ("read of a patient", READ, Interaction::Read);
        beside(bench, reads, patient, &world.reads, count).await?;
        let searches = ("search of a patient", SEARCH, Interaction::Search);
        beside(bench, searches, patient, &world.searches, count).await?;
        denied(bench, &world, count).await?;
        tokens(bench, authority, plain, count).await?;
    }
    bench.target = world.patient.clone();
    times::reads(bench, &world, &loaded).await?;
    times::logins(bench, authority).await
}

/// Says on standard error what begins: all of it takes minutes.
fn begin(what: impl Display) {
    eprintln!("bench smart: {what}");
}

/// The same under the open policy and under another, in turn.
async fn beside(
    bench: &mut Bench,
    (what, goal, interaction): (&str, f64, Interaction),
    (open, limited): (&Target, &Target),
    paths: &[String],
    count: usize,
) -> Result<(), BenchError> {
    for path in paths.iter().filter(|path| path.contains('?')) {
        let (all, some) = (entries(open, path).await?, entries(limited, path).await?);
        if all != some || all.is_empty() {
            bench.report.note(format!("{path}: {} and {} are found", all.len(), some.len()));
        }
    }
    let mut sums = Sums::default();
    for (round, turn) in turns() {
        let kind = (round + turn) % 2;
        let target = [open, limited][kind];
        sums.measure(bench, (what, kind, interaction), target, paths, count).await?;
    }
    sums.tell(bench, (what, goal), count);
    Ok(())
}

/// Twenty scopes and three consents beside the open policy without consents: they are in force only
/// while the former is measured.
async fn denied(bench: &mut Bench, world: &World, count: usize) -> Result<(), BenchError> {
    let what = "search by 20 scopes and 3 consents";
    let mut sums = Sums::default();
    for (round, turn) in turns() {
        let kind = (round + turn) % 2;
        let target = [&world.open, &world.granular][kind];
        world.deny(kind == 1).await?;
        let of = (what, kind, Interaction::Search);
        sums.measure(bench, of, target, &world.narrow, count).await?;
    }
    world.deny(false).await?;
    sums.tell(bench, (what, GRANULAR), count);
    Ok(())
}

/// Each round has two turns.
fn turns() -> impl Iterator<Item = (usize, usize)> {
    (0..ROUNDS).flat_map(|round| (0..2).map(move |turn| (round, turn)))
}

/// What was done under the open policy and under another, and how long it took.
#[derive(Default)]
struct Sums([(u64, Duration); 2]);

impl Sums {
    /// Measures one of the two.
    async fn measure(
        &mut self,
        bench: &mut Bench,
        (what, kind, interaction): (&str, usize, Interaction),
        target: &Target,
        paths: &[String],
        count: usize,
    ) -> Result<(), BenchError> {
        bench.target = target.clone();
        let policy = ["open", "limited"][kind];
        begin(format!("{count} clients, {what}, {policy}: {} s", bench.args.seconds.max(1)));
        let measured = scattered(bench, paths, count, interaction).await;
        bench.report.add(count, &format!("{what}, {policy}"), None, &measured, None);
        self.0[kind].0 += measured.notes.count(None);
        self.0[kind].1 += measured.elapsed;
        unlimited(&measured.notes)
    }

    fn tell(&self, bench: &mut Bench, (what, goal): (&str, f64), count: usize) {
        let rate = |(count, time): (u64, Duration)| count as f64 / time.as_secs_f64().max(0.001);
        let [open, limited] = self.0.map(rate);
        let times = if limited > 0.0 { open / limited } else { f64::INFINITY };
        let mark = if times > goal { " !" } else { "" };
        let text =
            format!("{count} clients, {what}: {times:.2} times the open policy (at most {goal})");
        bench.report.note(text + mark);
    }
}

/// Tokens by `client_credentials` for as long as the time goes.
async fn tokens(
    bench: &mut Bench,
    authority: &Authority,
    plain: &Target,
    count: usize,
) -> Result<(), BenchError> {
    let fresh = Fresh::new(secret::CLIENT, &*authority.ids);
    let id = format!("kiln-bench-{}", authority.ids.ordered());
    let new = service(authority, &id, &fresh);
    client::insert(&authority.store, &new).await.map_err(failed)?;
    let root = plain.path.strip_suffix("/fhir").unwrap_or(&plain.path).to_owned();
    let target = Target { path: root, content_type: FORM, ..plain.clone() };
    let form = format!(
        "grant_type=client_credentials&scope=system%2FPatient.rs&client_id={id}&client_secret={}",
        fresh.text.expose_secret()
    );
    let seconds = bench.args.seconds.max(1);
    begin(format!("{count} clients, token, client_credentials: {seconds} s"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let clients: Vec<Connection> = (0..count).map(|_| Connection::new(&target)).collect();
    let (measured, _) = measure(&bench.meter, clients, async |mut connection| {
        let mut notes = Notes::default();
        while Instant::now() < end {
            let started = Instant::now();
            let answer = connection.send("POST", "/auth/token", Some(form.as_bytes())).await;
            notes.note(Interaction::Operation, started, &answer);
        }
        (connection, notes)
    })
    .await;
    client::disable(&authority.store, &id, authority.clock.now()).await.map_err(failed)?;
    unlimited(&measured.notes)?;
    let per_second = measured.notes.count(None) as f64 / measured.elapsed.as_secs_f64().max(0.001);
    bench.report.add(count, "token, client_credentials", None, &measured, None);
    let mark = if per_second < TOKENS { " !" } else { "" };
    let text = format!("{count} clients: {per_second:.0} tokens a second (at least {TOKENS})");
    bench.report.note(text + mark);
    Ok(())
}

/// What was refused by limits says nothing of what tokens cost.
fn unlimited(notes: &Notes) -> Result<(), BenchError> {
    if notes.is_limited { Err(BenchError::Limited) } else { Ok(()) }
}

fn service(authority: &Authority, id: &str, fresh: &Fresh) -> Client {
    let now = authority.clock.now();
    Client {
        id: id.to_owned(),
        kind: ClientKind::Secret,
        app_type: AppType::Backend,
        name: "kiln bench smart".to_owned(),
        logo_uri: None,
        redirect_uris: Vec::new(),
        origins: Vec::new(),
        launch_uri: None,
        scopes: "system/Patient.rs".to_owned(),
        jwks: None,
        jwks_uri: None,
        secrets: with_secret("[]", &fresh.hash, now),
        created: now,
        disabled_at: None,
        is_registered: false,
        state_systems: Vec::new(),
        purpose: None,
    }
}

/// Why there are no tokens to measure with.
fn failed(error: impl Display) -> BenchError {
    BenchError::Tokens(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::connection::Answer;
    use super::*;

    #[test]
    fn who_is_refused_by_limits_hears_which() {
        for (status, is_limited) in [(429, true), (403, false), (503, false)] {
            let answer = || Answer { status, location: None, body: b"no" };
            let mut notes = Notes::default();
            assert!(!notes.note(Interaction::Read, Instant::now(), &Ok(answer())));
            assert_eq!(unlimited(&notes).is_err(), is_limited, "{status}");
            let mut merged = Notes::default();
            merged.merge(notes);
            assert_eq!(merged.is_limited, is_limited, "{status}");
            let told = BenchError::refused(&answer()).to_string();
            let names_all = LIMITS.iter().all(|key| told.contains(key));
            assert_eq!(names_all, is_limited, "{status}: {told}");
        }
    }
}
