//! Alerts: what the rules find, told to the log, to an outside address and as a resource.
//!
//! Each node counts for itself. The one whose turn it is notes what it found, with how far it is, and tells what
//! is noted and not told yet, whoever found it: once as a resource, at least once to the log and to the
//! outside address. The log has no names: the event that it names has them.

use std::collections::HashSet;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::app::sink::EngineSink;
use crate::audit::alert::{Alert, Hours, Limit, Rule, Rules, Watch};
use crate::config::{Alerts as Settings, Config, WorkingHours};
use crate::engine::Engine;
use crate::fhir::Instant;
use crate::fhir::datetime::Zone;
use crate::outbound::Outbound;
use crate::store::Store;
use crate::store::maintenance::{self, Place, Reached, Untold};

use super::{MOST, OutletError, Pass, Tries, Turn, headers, judge, tell_lag};

/// What its place is known by.
pub(super) const NAME: &str = "alerts";
/// Largest answer that is read of an outside address.
const ANSWER_BYTES: usize = 64 << 10;
const MINUTE_MS: i64 = 60_000;
/// Most alerts that this node has found and not noted: then it looks no further.
const MOST_FOUND: usize = 1_000;
/// Most alerts that are told in one pass.
const MOST_TOLD: i64 = 200;

/// The rules, and where what they find goes.
pub(super) struct Alerts {
    store: Store,
    node: Uuid,
    base: String,
    webhook: Option<Webhook>,
    resources: Option<EngineSink>,
    watched: Mutex<Watched>,
}

struct Webhook {
    outbound: Outbound,
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What this node has seen.
struct Watched {
    watch: Watch,
    /// Up to where; `None` before the first pass.
    seen: Option<Place>,
    /// What it found there and has not noted.
    found: Vec<(Place, Alert)>,
    /// What it has put into the log and not told everywhere.
    logged: HashSet<(Uuid, Rule)>,
}

impl Alerts {
    /// What `config` asks for; `None` without a rule.
    pub(super) fn of(
        config: &Config,
        engine: &Arc<Engine>,
        store: &Store,
        base: &str,
        node: Uuid,
    ) -> Option<Self> {
        let settings = &config.alerts;
        let rules = rules(settings, &config.search.zone);
        if rules.is_empty() {
            return None;
        }
        let webhook = settings.webhook.as_ref().map(|url| Webhook {
            outbound: Outbound::new(config.auth.outbound_networks.clone()),
            url: url.clone(),
            headers: headers("application/json", settings.token.as_ref()),
        });
        // An alert is stored under an id of its own, so that it is recognized when it comes again, also where
        // somebody has changed or deleted it since.
        let sink = || {
            let sink = EngineSink::new(engine.clone(), store.clone(), NAME);
            sink.once(store.hasher().clone(), NAME.to_owned())
        };
        let watched = Watched {
            watch: Watch::new(rules),
            seen: None,
            found: Vec::new(),
            logged: HashSet::new(),
        };
        Some(Self {
            store: store.clone(),
            node,
            base: base.to_owned(),
            webhook,
            resources: settings.communication.then(sink),
            watched: Mutex::new(watched),
        })
    }

    /// Watches as long as the server runs.
    pub(super) async fn run(self) {
        let mut tries = Tries::of(NAME);
        loop {
            // Boxed: what it calls is deeper than the compiler lays out at once.
            let pause = tries.after(Box::pin(self.pass()).await);
            tokio::time::sleep(pause).await;
        }
    }

    async fn pass(&self) -> Result<Pass, OutletError> {
        let Self { store, node, .. } = self;
        let mut watched = self.watched.lock().await;
        let noted = maintenance::outlet_reached(store, NAME).await?.unwrap_or(Reached::START);
        let is_more = self.look(&mut watched, noted.place).await?;
        let seen = watched.seen.unwrap_or(noted.place);
        let is_new = seen > noted.place;
        if !is_new && maintenance::untold_alerts(store, 1).await?.is_empty() {
            return Ok(is_more);
        }
        let Some(mut turn) = Turn::take(store, NAME, *node, noted).await? else {
            return Ok(is_more);
        };
        if is_new {
            if !turn.found(seen, &watched.found).await? {
                return Ok(is_more);
            }
            watched.found.clear();
        }
        self.tell(&mut watched.logged, turn).await?;
        Ok(is_more)
    }

    /// Looks at the next rows; whether there may be more. What is `noted` another node has looked at, too.
    async fn look(&self, watched: &mut Watched, noted: Place) -> Result<Pass, OutletError> {
        watched.found.retain(|(place, _)| *place > noted);
        if watched.found.len() >= MOST_FOUND {
            return Ok(Pass::Nothing);
        }
        let below = maintenance::horizon(&self.store).await?.ended;
        let after = watched.seen.unwrap_or(noted);
        let (rows, seen) = maintenance::rows_after(&self.store, after, below, MOST).await?;
        tell_lag(&self.store, NAME, rows.first().map(|(_, entry)| entry));
        for (place, entry) in &rows {
            let found = watched.watch.look(entry).into_iter().map(|alert| (*place, alert));
            watched.found.extend(found.filter(|(place, _)| *place > noted));
        }
        watched.seen = Some(seen);
        Ok(if seen > after { Pass::More } else { Pass::Nothing })
    }

    /// Tells what is not told yet in the turn of this node. What one of log, resource and address does not
    /// take keeps nothing from the others; and what it has taken it is not told again.
    async fn tell(
        &self,
        logged: &mut HashSet<(Uuid, Rule)>,
        mut turn: Turn<'_>,
    ) -> Result<(), OutletError> {
        let store = &self.store;
        let untold = maintenance::untold_alerts(store, MOST_TOLD).await?;
        logged.retain(|known| untold.iter().any(|it| name_of(&it.alert) == *known));
        for Untold { alert, .. } in untold.iter().filter(|it| logged.insert(name_of(&it.alert))) {
            log(alert);
        }
        let mut kept = Ok(());
        for Untold { alert, .. } in untold.iter().filter(|it| !it.is_stored) {
            match turn.send(Box::pin(self.keep(alert))).await {
                Ok(Some(())) => maintenance::alert_told(store, alert, true, false).await?,
                Ok(None) => return Ok(()),
                // One that is not accepted keeps no other from being stored.
                Err(error @ OutletError::Refused(_)) => kept = Err(error),
                Err(error) => {
                    kept = Err(error);
                    break;
                }
            }
        }
        for Untold { alert, .. } in untold.iter().filter(|it| !it.is_posted) {
            if turn.send(self.post(alert)).await?.is_none() {
                return Ok(());
            }
            maintenance::alert_told(store, alert, false, true).await?;
        }
        maintenance::forget_alerts(store).await?;
        kept
    }

    /// Stores an alert, where the settings say so.
    async fn keep(&self, alert: &Alert) -> Result<(), OutletError> {
        let Some(resources) = &self.resources else { return Ok(()) };
        let bundle = communication(alert, &self.base).to_string();
        let stored = resources.load_transaction(bundle.into()).await;
        stored.map(drop).map_err(OutletError::Refused)
    }

    /// Tells the outside address of an alert. One that it finds fault with is passed over: it is in the log.
    async fn post(&self, alert: &Alert) -> Result<(), OutletError> {
        let Some(Webhook { outbound, url, headers }) = &self.webhook else { return Ok(()) };
        let body = posted(alert, &self.base).to_string();
        let answer = outbound.post_json(url, headers, body, ANSWER_BYTES).await?;
        judge(answer.status, NAME, &alert.event.to_string())
    }
}

/// What an alert is known by.
fn name_of(alert: &Alert) -> (Uuid, Rule) {
    (alert.event, alert.rule)
}

fn log(alert: &Alert) {
    let (rule, event, count) = (alert.rule.code(), alert.event, alert.count);
    metrics::counter!("kiln_alerts_total", "rule" => rule).increment(1);
    tracing::warn!(rule, %event, count, "an alert: see the AuditEvent");
}

fn rules(settings: &Settings, zone: &str) -> Rules {
    let limit = |count: u32, minutes: u32| {
        let window_ms = i64::from(minutes) * MINUTE_MS;
        (count > 0).then_some(Limit { count: count as usize, window_ms })
    };
    let hours = settings.working_hours.as_deref().and_then(WorkingHours::parse);
    let minutes = Zone::parse(zone).map_or(0, |zone| i64::from(zone.minutes()));
    Rules {
        patients: limit(settings.patients, settings.patients_minutes.get()),
        failed_logins: limit(settings.failed_logins, settings.logins_minutes.get()),
        breaks_glass: settings.break_glass,
        hours: hours.map(|hours| -> Hours {
            Box::new(move |at| hours.contain(minute_of_day(at, minutes)))
        }),
    }
}

/// The time of day so many minutes east of Greenwich.
fn minute_of_day(at: Instant, east: i64) -> u32 {
    let minutes = at.as_micros().div_euclid(60_000_000) + east;
    minutes.rem_euclid(24 * 60) as u32
}

/// What an outside address gets.
fn posted(alert: &Alert, base: &str) -> Value {
    json!({
        "rule": alert.rule.code(),
        "at": alert.at().to_string(),
        "party": alert.party,
        "count": alert.count,
        "text": alert.to_string(),
        "event": format!("{base}/AuditEvent/{}", alert.event),
    })
}

/// A transaction that stores the alert: the same one each time.
fn communication(alert: &Alert, base: &str) -> Value {
    let rule = alert.rule.code();
    let name = format!("{}-{rule}", alert.event);
    let resource = json!({
        "resourceType": "Communication",
        "identifier": [{ "system": "urn:kiln:alert", "value": name }],
        "status": "completed",
        "category": [{
            "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/communication-category",
                "code": "alert",
            }],
        }],
        "reasonCode": [{ "coding": [{ "system": "urn:kiln:alert", "code": rule }] }],
        "sent": alert.at().to_string(),
        "about": [{
            "type": "AuditEvent",
            "identifier": {
                "system": "urn:ietf:rfc:3986",
                "value": format!("{base}/AuditEvent/{}", alert.event),
            },
        }],
        "payload": [{ "contentString": alert.to_string() }],
    });
    let request = json!({ "method": "POST", "url": "Communication" });
    let entry = json!([{ "resource": resource, "request": request }]);
    json!({ "resourceType": "Bundle", "type": "transaction", "entry": entry })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_that_of_the_zone() {
        for (text, east, expected) in [
            ("2026-01-02T00:00:00Z", 0, 0),
            ("2026-01-02T23:59:59Z", 0, 1_439),
            ("2026-01-02T23:30:00Z", 60, 30),
            ("2026-01-02T00:30:00Z", -60, 1_410),
        ] {
            let at = Instant::parse(text).unwrap();
            assert_eq!(minute_of_day(at, east), expected, "{text} {east}");
        }
    }

    #[test]
    fn without_settings_there_are_no_rules() {
        let config = Config::load(None, &[]).unwrap();
        assert!(rules(&config.alerts, "Z").is_empty());
    }
}
