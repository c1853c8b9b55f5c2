//! Who gets all of the ledger: outside destinations, which get its events, and rules, which make alerts.
//!
//! Each has a place in the order of the ledger, noted in the database after what comes before it has
//! been taken, request by request. So a server that is killed between the two sends again what it had
//! sent last, and leaves nothing out. One node sends at a time. What cannot be sent waits in the ledger,
//! and is tried again after ever longer pauses.
//!
//! Checkpoints go out likewise, but each node that seals sends them, and its place is in the folder of the seal.

mod alerts;
mod checkpoints;
mod repository;
mod syslog;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::audit::balp::{Entry, Event, recorded};
use crate::clock::{Clock as _, IdSource as _, SystemClock, SystemIds};
use crate::config::Config;
use crate::engine::Engine;
use crate::error::{Error, root_cause};
use crate::outbound::{Outbound, OutboundError, Trust, TrustError};
use crate::store::Store;
use crate::store::maintenance::{self, Most, Reached};

use super::super::database::StartError;
use alerts::Alerts;
use checkpoints::Checkpoints;
use repository::Repository;
use syslog::Syslog;
use turn::{Events, Turn};

/// What the places of destinations are known by.
const REPOSITORY: &str = "repository";
const SYSLOG: &str = "syslog";
/// Between two looks when there was nothing new.
const PAUSE: Duration = Duration::from_secs(1);
/// How long after a failure the next try is, and at most after many.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);
/// What is read at once, and how many rows, and events of them, while a destination does not take all that may
/// go out.
const MOST: Most = Most { rows: 1_000, patients: 20_000 };
const FEW: usize = 50;
/// Events that a syslog server gets on one connection.
const MESSAGES: usize = 1_000;
/// The status of who does not take so many bytes.
const TOO_LARGE: u16 = 413;
/// Longest time for one request to an outside destination.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
enum OutletError {
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
    /// The other side.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// The other side took it, and not as it should.
    #[error("{0}")]
    Refused(String),
    /// It takes no request with so many events, or with one of them.
    #[error("it answered {0} to many events at once")]
    TooMuch(u16),
}

/// Where events go.
enum Destination {
    Repository(Repository),
    Syslog(Syslog),
}

impl Destination {
    fn name(&self) -> &'static str {
        match self {
            Self::Repository(_) => REPOSITORY,
            Self::Syslog(_) => SYSLOG,
        }
    }

    /// How many events go out at once.
    fn events_at_once(&self) -> usize {
        match self {
            Self::Repository(repository) => repository.batch,
            Self::Syslog(_) => MESSAGES,
        }
    }

    /// Sends events in one request; how many of them, from the first on, have been taken.
    async fn send(&self, events: Vec<Event>, base: &str) -> Result<usize, OutletError> {
        match self {
            Self::Repository(repository) => repository.send(events, base).await,
            Self::Syslog(syslog) => syslog.send(&events).await,
        }
    }
}

/// The destinations that `config` names.
pub(super) fn names(config: &Config) -> impl Iterator<Item = &'static str> {
    let repository = config.atna.repository.is_some().then_some(REPOSITORY);
    repository.into_iter().chain(config.atna.syslog.is_some().then_some(SYSLOG))
}

/// A destination and its place.
struct Feed {
    store: Store,
    destination: Destination,
    base: String,
    node: Uuid,
}

/// All that is to have the ledger's rows, with their places made known.
pub(in crate::app) struct Outlets {
    feeds: Vec<Feed>,
    alerts: Option<Alerts>,
    checkpoints: Vec<Checkpoints>,
}

impl Outlets {
    /// Those that `config` names. From now on no row passes them by.
    ///
    /// # Errors
    /// [`StartError::Outlets`] for files that cannot be used, [`StartError::Store`].
    pub(in crate::app) async fn open(
        config: &Config,
        engine: &Arc<Engine>,
        store: &Store,
        base: &str,
    ) -> Result<Self, StartError> {
        let node = SystemIds::default().ordered();
        let unfit = |error: TrustError| StartError::Outlets(error.to_string());
        let destinations = destinations(config).map_err(unfit)?;
        let checkpoints = Checkpoints::all(config, store).map_err(unfit)?;
        let feed =
            |destination| Feed { store: store.clone(), destination, base: base.to_owned(), node };
        let feeds: Vec<Feed> = destinations.into_iter().map(feed).collect();
        let alerts = Alerts::of(config, engine, store, base, node);
        let names = feeds.iter().map(|feed| feed.destination.name());
        for name in names.chain(alerts.as_ref().map(|_| alerts::NAME)) {
            let added = maintenance::add_outlet(store, name).await;
            added.map_err(|error| StartError::Store(root_cause(&error)))?;
        }
        Ok(Self { feeds, alerts, checkpoints })
    }

    /// Sends as long as the server runs.
    pub(in crate::app) async fn run(self) {
        let feeds = futures_util::future::join_all(self.feeds.iter().map(Feed::run));
        let alerts = async {
            if let Some(alerts) = self.alerts {
                alerts.run().boxed().await;
            }
        };
        let checkpoints = self.checkpoints.into_iter().map(Checkpoints::run);
        tokio::join!(feeds, alerts, futures_util::future::join_all(checkpoints));
    }
}

fn destinations(config: &Config) -> Result<Vec<Destination>, TrustError> {
    let atna = &config.atna;
    if atna.repository.is_none() && atna.syslog.is_none() {
        return Ok(Vec::new());
    }
    let own = atna.certificate.as_deref().zip(atna.key.as_deref());
    let trust = Trust::open(atna.authorities.as_deref(), own)?;
    let repository = atna.repository.as_ref().map(|base| {
        let networks = config.auth.outbound_networks.clone();
        let outbound = Outbound::new(networks).with(&trust, PATIENCE);
        let headers = headers("application/fhir+json", atna.token.as_ref());
        let batch = atna.batch.get() as usize;
        let base = base.trim_end_matches('/').to_owned();
        Destination::Repository(Repository { outbound, base, headers, batch })
    });
    let syslog = atna.syslog.as_ref().map(|place| {
        Destination::Syslog(Syslog { place: place.clone(), trust: trust.clone(), host: host() })
    });
    Ok(repository.into_iter().chain(syslog).collect())
}

/// The name of this machine, where the system tells it.
pub(super) fn host() -> String {
    let files = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let name = files.iter().find_map(|file| std::fs::read_to_string(file).ok());
    name.unwrap_or_default().trim().to_owned()
}

/// What goes with a body of a type, for who wants a token.
fn headers(
    content_type: &'static str,
    token: Option<&SecretString>,
) -> Vec<(HeaderName, HeaderValue)> {
    let token = token.and_then(|token| {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some((AUTHORIZATION, value))
    });
    let content_type = (CONTENT_TYPE, HeaderValue::from_static(content_type));
    std::iter::once(content_type).chain(token).collect()
}

/// What a try came to.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Pass {
    /// There may be more.
    More,
    /// There is nothing, or another node has the turn.
    Nothing,
}

/// When the next try is: after ever longer pauses as long as it fails.
struct Tries {
    name: String,
    failed: u32,
}

impl Tries {
    fn of(name: impl Into<String>) -> Self {
        Self { name: name.into(), failed: 0 }
    }

    /// The pause after a try; none when there may be more to send.
    fn after(&mut self, outcome: Result<Pass, OutletError>) -> Duration {
        let name = self.name.as_str();
        match outcome {
            Ok(pass) => {
                if self.failed > 0 {
                    tracing::info!(outlet = name, "what goes out of the ledger goes out again");
                }
                self.failed = 0;
                if pass == Pass::More { Duration::ZERO } else { PAUSE }
            }
            Err(error) => {
                let label = name.to_owned();
                metrics::counter!("kiln_audit_outlet_failures_total", "outlet" => label)
                    .increment(1);
                let pause = after_failure(self.failed);
                self.failed += 1;
                let seconds = pause.as_secs();
                tracing::warn!(outlet = name, %error, seconds, "what goes out of the ledger waits");
                pause
            }
        }
    }
}

/// Whether a destination has an event. One that finds fault with the event itself would do so each time:
/// that one is passed over, stays in the ledger, and is told of.
fn judge(status: u16, name: &'static str, event: &str) -> Result<(), OutletError> {
    match status {
        200..300 => Ok(()),
        _ if is_for_content(status) => {
            metrics::counter!("kiln_audit_outlet_refused_total", "outlet" => name).increment(1);
            tracing::error!(status, event, outlet = name, "an event is not taken");
            Ok(())
        }
        _ => Err(OutletError::Refused(format!("it answered {status}"))),
    }
}

/// Whether it is what was sent that the other side finds fault with, and would so again.
fn is_for_content(status: u16) -> bool {
    matches!(status, 400 | TOO_LARGE | 422)
}

/// The pause after a failure that came after so many others.
fn after_failure(failed: u32) -> Duration {
    AFTER_FAILURE.saturating_mul(1 << failed.min(16)).min(LONGEST)
}

/// How many events go out at once after a pass with so many: far fewer after a failure, so that what is too
/// much soon fits and little is sent again; then twice as many after each pass, up to `most`.
fn events_after(events: usize, most: usize, is_well: bool) -> usize {
    if is_well { events.saturating_mul(2).min(most) } else { (events / 8).max(1) }
}

/// How far behind a destination is whose next row is this one.
fn tell_lag(store: &Store, name: &'static str, next: Option<&Entry>) {
    let behind = next.map_or(0, |entry| {
        SystemClock.now().as_micros().saturating_sub(recorded(entry.id).as_micros()).max(0)
    });
    let own = [("outlet", name.to_owned())];
    let labels: Vec<_> = own.into_iter().chain(store.labels()).collect();
    metrics::gauge!("kiln_audit_outlet_lag_seconds", &labels).set(behind as f64 / 1_000_000.0);
}

impl Feed {
    async fn run(&self) {
        let most = self.destination.events_at_once();
        let (mut tries, mut events) = (Tries::of(self.destination.name()), most);
        loop {
            let outcome = Box::pin(self.pass(events)).await;
            events = events_after(events, most, outcome.is_ok());
            tokio::time::sleep(tries.after(outcome)).await;
        }
    }

    /// Sends what is there, so many events after the other, each time noted when they have been taken.
    async fn pass(&self, events: usize) -> Result<Pass, OutletError> {
        let Self { store, destination, node, .. } = self;
        let name = destination.name();
        let at = maintenance::outlet_reached(store, name).await?.unwrap_or(Reached::START);
        let below = maintenance::horizon(store).await?.ended;
        let is_slow = events < destination.events_at_once();
        let most = if is_slow { Most { rows: FEW as i64, ..MOST } } else { MOST };
        let (mut rows, last) = maintenance::rows_after(store, at.place, below, most).await?;
        tell_lag(store, name, rows.first().map(|(_, entry)| entry));
        if last == at.place {
            return Ok(Pass::Nothing);
        }
        let Some(mut turn) = Turn::take(store, name, *node, at).await? else {
            return Ok(Pass::Nothing);
        };
        maintenance::name_patients(store, &mut rows).await?;
        let mut left = Events::new(&rows, at);
        let few = if is_slow { FEW } else { usize::MAX };
        let mut is_ours = self.send_some(&mut left, (few, events), &mut turn).await?;
        if is_ours && left.is_empty() {
            // What is no event, and stands behind the last one, has nothing to send.
            is_ours = turn.advance(Reached::through(last)).await?;
        }
        Ok(if is_ours { Pass::More } else { Pass::Nothing })
    }

    /// Sends the first `few` events, at most so many in a request; whether the turn was this node's to the end.
    /// What is too much for the other side is halved until it fits, or until it is one event that it will
    /// not have.
    async fn send_some(
        &self,
        left: &mut Events<'_>,
        (mut few, mut most): (usize, usize),
        turn: &mut Turn<'_>,
    ) -> Result<bool, OutletError> {
        let Self { destination, base, .. } = self;
        // How many come next and at once, and among how many of them one was refused.
        let (mut size, mut suspect) = (most, 0);
        while few > 0 && !left.is_empty() {
            let events: Vec<Event> =
                left.first(size).map(|(row, number)| row.event(number, base)).collect();
            let (count, rows) = (events.len(), left.rows());
            let sent = match turn.send(Box::pin(destination.send(events, base))).await {
                Err(OutletError::TooMuch(TOO_LARGE)) if count > 1 => {
                    (size, most) = (count / 2, count / 2);
                    continue;
                }
                Err(OutletError::TooMuch(_)) if count > 1 => {
                    (size, suspect) = (count / 2, count);
                    continue;
                }
                sent => sent?,
            };
            // Where another node has the turn, it sends the same.
            let Some(taken) = sent else { return Ok(false) };
            left.take(taken);
            if !turn.advance(left.reached()).await? {
                return Ok(false);
            }
            metrics::counter!("kiln_audit_outlet_rows_total", "outlet" => destination.name())
                .increment((rows - left.rows()) as u64);
            (few, suspect) = (few.saturating_sub(taken), suspect.saturating_sub(taken));
            let next = if suspect > 0 { suspect.div_ceil(2) } else { size.saturating_mul(2) };
            size = next.min(most);
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        for (failed, seconds) in [(0, 1), (1, 2), (5, 32), (8, 256), (9, 300), (1_000, 300)] {
            assert_eq!(after_failure(failed), Duration::from_secs(seconds), "{failed}");
        }
    }

    #[test]
    fn what_is_too_much_soon_fits_and_grows_again() {
        let sizes = |passes: &[bool]| {
            let mut events = 100;
            passes
                .iter()
                .map(|&is_well| {
                    events = events_after(events, 100, is_well);
                    events
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[false, false, false, false]), [12, 1, 1, 1]);
        assert_eq!(sizes(&[false, true, true, false, true]), [12, 24, 48, 6, 12]);
        assert_eq!(sizes(&[true, false, true, true, true, true]), [100, 12, 24, 48, 96, 100]);
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = SecretString::from("canary");
        let headers = headers("application/json", Some(&token));
        assert_eq!(headers.len(), 2);
        assert!(!format!("{headers:?}").contains("canary"));
    }
}
