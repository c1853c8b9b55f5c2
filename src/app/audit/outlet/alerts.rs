//! Alerts: what the rules find, told to the log, to an outside address and as a resource.
//!
//! Each node counts for itself, and the one whose turn it is tells. The log has no names: the event
//! that it names has them.

use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::app::sink::EngineSink;
use crate::audit::alert::{Alert, Hours, Limit, Rules, Watch};
use crate::config::{Alerts as Settings, Config, WorkingHours};
use crate::engine::Engine;
use crate::fhir::Instant;
use crate::fhir::datetime::Zone;
use crate::outbound::Outbound;
use crate::store::Store;
use crate::store::maintenance::{self, Place};

use super::{OutletError, Pass, ROWS, Tries, Turn, headers, judge, tell_lag};

/// What its place is known by.
pub(super) const NAME: &str = "alerts";
/// Largest answer that is read of an outside address.
const ANSWER_BYTES: usize = 64 << 10;
const MINUTE_MS: i64 = 60_000;

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
    found: Vec<Found>,
}

/// An alert that is not told everywhere yet.
struct Found {
    place: Place,
    alert: Alert,
    is_logged: bool,
    is_stored: bool,
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
        let sink = || EngineSink::new(engine.clone(), store.clone(), NAME);
        let watched = Watched { watch: Watch::new(rules), seen: None, found: Vec::new() };
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
        let mut watched = self.watched.lock().await;
        let told = maintenance::outlet_place(&self.store, NAME).await?.unwrap_or(Place::START);
        let below = maintenance::horizon(&self.store).await?.ended;
        let after = watched.seen.unwrap_or(told);
        let (rows, seen) = maintenance::rows_after(&self.store, after, below, ROWS).await?;
        tell_lag(&self.store, NAME, rows.first().map(|(_, entry)| entry));
        for (place, entry) in &rows {
            let alerts = watched.watch.look(entry).into_iter();
            let found = |alert| Found { place: *place, alert, is_logged: false, is_stored: false };
            watched.found.extend(alerts.map(found).collect::<Vec<_>>());
        }
        watched.seen = Some(seen);
        // What is before that place another node has told.
        watched.found.retain(|found| found.place > told);
        let is_more = if seen > after { Pass::More } else { Pass::Nothing };
        if seen <= told {
            return Ok(is_more);
        }
        if let Some(turn) = Turn::take(&self.store, NAME, self.node, told).await? {
            self.tell(&mut watched.found, seen, turn).await?;
        }
        Ok(is_more)
    }

    /// Tells what was found in the turn of this node, and notes how far that is: what has been told is not
    /// told again when a later one fails, or when another node goes on.
    async fn tell(
        &self,
        found: &mut Vec<Found>,
        seen: Place,
        mut turn: Turn<'_>,
    ) -> Result<(), OutletError> {
        // What cannot be posted keeps nothing out of the log.
        for one in found.iter_mut() {
            if !turn.send(Box::pin(self.keep(one))).await? {
                return Ok(());
            }
        }
        while let Some(first) = found.first() {
            if !turn.send(self.post(&first.alert)).await? {
                return Ok(());
            }
            let place = found.remove(0).place;
            let is_last_there = found.first().is_none_or(|next| next.place > place);
            if is_last_there && !turn.advance(place).await? {
                return Ok(());
            }
        }
        turn.advance(seen).await?;
        Ok(())
    }

    /// Puts an alert into the log, and stores it.
    async fn keep(&self, found: &mut Found) -> Result<(), OutletError> {
        let alert = &found.alert;
        if !found.is_logged {
            let (rule, event, count) = (alert.rule.code(), alert.event, alert.count);
            metrics::counter!("kiln_alerts_total", "rule" => rule).increment(1);
            tracing::warn!(rule, %event, count, "an alert: see the AuditEvent");
            found.is_logged = true;
        }
        if let Some(resources) = self.resources.as_ref().filter(|_| !found.is_stored) {
            let bundle = communication(alert, &self.base).to_string();
            let stored = resources.load_transaction(bundle.into()).await;
            stored.map_err(OutletError::Refused)?;
            found.is_stored = true;
        }
        Ok(())
    }

    /// Tells the outside address of an alert. One that it finds fault with is passed over: it is in the log.
    async fn post(&self, alert: &Alert) -> Result<(), OutletError> {
        let Some(Webhook { outbound, url, headers }) = &self.webhook else { return Ok(()) };
        let body = posted(alert, &self.base).to_string();
        let answer = outbound.post_json(url, headers, body, ANSWER_BYTES).await?;
        judge(answer.status, NAME, &alert.event.to_string())
    }
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
    let id = format!("{}-{rule}", alert.event);
    let resource = json!({
        "resourceType": "Communication",
        "id": id,
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
    let request = json!({ "method": "PUT", "url": format!("Communication/{id}") });
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
