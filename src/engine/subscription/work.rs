//! One subscription from being asked for to its end: a turn of a node with it, under a lease.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::access::interaction::Kind;
use crate::access::{Caller, Permit, Principal, RequestContext, Unaudited};
use crate::engine::Engine;
use crate::error::{Error, root_cause};
use crate::fhir::codec::Format;
use crate::fhir::json::{self, Value};
use crate::fhir::{Identity, Operation, ResourceType};
use crate::search::request::{Filter, Keys};
use crate::store::{FeedChange, ServedSubscription, SubscriptionState};

use super::Desk;
use super::notify::Told;

/// How long a subscription is this node's from one word to the next, beside the time of a delivery, in milliseconds.
const LEASE: i64 = 10_000;
/// After how long in one turn others come first.
const TURN: Duration = Duration::from_secs(10);
/// How old what is known of a party may be when something is delivered to it.
const FRESH: Duration = Duration::from_millis(500);
/// Changes that are weighed at once.
const BATCH: i64 = 200;
/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_mins(5);
/// The pause after which one is looked at again that another version or turn came between, should it still be due.
const AFTER_CONFLICT: Duration = Duration::from_secs(1);
/// The pause after what is wrong here, and not at the other side.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// How far behind what has ended a subscription may be that has nothing to tell, in transactions.
const BEHIND: i64 = 1_000;

/// Why a subscription ends whose party may do nothing any more.
const NOBODY: &str = "whoever asked for it may do so no more";

impl Engine {
    /// Waits until there may be something to do for subscriptions, at most so long.
    pub async fn subscriptions_are_due(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.subscription_work.notified()).await;
    }

    /// Moves subscriptions of which nothing is to be told on in the feed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn skip_for_subscriptions(&self) -> Result<(), Error> {
        while self.store.skip_for_subscriptions(BEHIND).await? {}
        Ok(())
    }

    /// Works on the subscription that has waited longest; whether there was one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn work_on_subscription(&self, desk: &Desk) -> Result<bool, Error> {
        // Each turn has a name of its own: one whose lease has ended must not be taken for the next one, though both
        // be of this node.
        let claimed = self.store.claim_subscription(self.ids.ordered(), self.subscription_lease());
        let Some(mut served) = claimed.await? else { return Ok(false) };
        // There may be another one for a worker that waits.
        self.subscription_work.notify_one();
        let wait = match Box::pin(self.turn(&mut served, desk)).await {
            Ok(()) => Duration::ZERO,
            // Another version of it is there, or another turn has it: then it is not let go here.
            Err(Error::Conflict(_)) => AFTER_CONFLICT,
            // It may be this one that takes too long: others come first then.
            Err(error @ (Error::Busy(_) | Error::Unavailable(_) | Error::Unconfirmed(_))) => {
                let _ = self.store.release_subscription(&served.own, millis(AFTER_FAILURE)).await;
                return Err(error);
            }
            Err(error) => {
                tracing::warn!(error = root_cause(&error), "a subscription is worked on later");
                AFTER_FAILURE
            }
        };
        self.store.release_subscription(&served.own, millis(wait)).await?;
        Ok(true)
    }

    /// How long a subscription is held, in milliseconds.
    pub(super) fn subscription_lease(&self) -> i64 {
        LEASE + millis(self.settings.subscriptions.patience)
    }

    async fn turn(&self, served: &mut ServedSubscription, desk: &Desk) -> Result<(), Error> {
        if served.is_over {
            return self.end(served, SubscriptionState::Off, None, desk).await;
        }
        let Some(caller) = self.standing(served, desk).await? else { return Ok(()) };
        if !served.is_active {
            if let Some(why) = self.why_not(served, &caller, desk).await? {
                return self.end(served, SubscriptionState::Error, Some(&why), desk).await;
            }
            self.advance(served, SubscriptionState::Active, None, desk).await?;
            served.is_active = true;
        }
        self.tell(served, caller, desk).await
    }

    /// Whoever asked for it, as that party stands now; `None`: it may do nothing any more, and the subscription
    /// is off.
    async fn standing(
        &self,
        served: &mut ServedSubscription,
        desk: &Desk,
    ) -> Result<Option<Caller>, Error> {
        if let Some(principal) = desk.owners.principal(&served.owner).await? {
            return Ok(Some(self.subscriber(principal, served)));
        }
        self.end(served, SubscriptionState::Off, Some(NOBODY), desk).await?;
        Ok(None)
    }

    /// A caller for whom a subscription is worked on.
    fn subscriber(&self, principal: Principal, served: &ServedSubscription) -> Caller {
        let request = RequestContext {
            id: self.ids.ordered().to_string(),
            method: "POST",
            path_and_query: format!("/fhir/Subscription/{}", served.own.id),
            source: None,
        };
        Caller::new(principal, request)
    }

    /// Why a subscription cannot be served, if so.
    async fn why_not(
        &self,
        served: &ServedSubscription,
        caller: &Caller,
        desk: &Desk,
    ) -> Result<Option<String>, Error> {
        if served.channel != "rest-hook" {
            return Ok(Some(format!("the channel {:?} is not served", served.channel)));
        }
        let refusal = self.settings.subscriptions.endpoints.refusal(&served.endpoint);
        if let Some(refusal) = refusal {
            return Ok(Some(refusal));
        }
        if let Some(payload) = served.payload.as_deref().filter(|it| format_of(it).is_none()) {
            return Ok(Some(format!("nothing can be sent as {payload:?}")));
        }
        if let Err(error) = desk.outbound.find(&served.endpoint).await {
            return Ok(Some(error.to_string()));
        }
        match self.waited_for(served, caller).await {
            Ok(_) => Ok(None),
            Err(error @ (Error::Forbidden | Error::Invalid(_) | Error::NotSupported(_))) => {
                Ok(Some(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// What is waited for, as its party may ask for it.
    async fn waited_for(
        &self,
        served: &ServedSubscription,
        caller: &Caller,
    ) -> Result<(ResourceType, Vec<Filter>), Error> {
        let criteria = &served.criteria;
        let not_served = || Error::NotSupported(format!("{criteria:?} cannot be waited for"));
        let of = served.of.ok_or_else(not_served)?;
        let query = criteria.split_once('?').map_or("", |(_, query)| query);
        let read = async |permit: &Permit<'_>| self.export_filter(of, query, permit).await;
        let filter = self.gate.consider(Kind::SearchType.of(of), caller, read).await;
        let filter = filter.map_err(|error| match error {
            Error::NotSupported(_) => not_served(),
            other => other,
        })?;
        if filter.asks_for_words() {
            return Err(not_served());
        }
        match filter {
            Filter::All(all) => Ok((of, all)),
            other => Ok((of, vec![other])),
        }
    }

    /// Tells what there is to be told.
    async fn tell(
        &self,
        served: &mut ServedSubscription,
        caller: Caller,
        desk: &Desk,
    ) -> Result<(), Error> {
        let (mut caller, mut known, began) = (caller, Instant::now(), Instant::now());
        let (of, filters) = match self.waited_for(served, &caller).await {
            Ok(found) => found,
            Err(Error::Forbidden) => {
                return self.end(served, SubscriptionState::Off, Some(NOBODY), desk).await;
            }
            Err(error @ (Error::Invalid(_) | Error::NotSupported(_))) => {
                let why = error.to_string();
                return self.end(served, SubscriptionState::Error, Some(&why), desk).await;
            }
            Err(error) => return Err(error),
        };
        loop {
            let changes = self.store.subscription_changes(&served.own, BATCH).await?;
            let Some(last) = changes.last() else { return Ok(()) };
            let fitting = self.fitting(of, &filters, &changes, &caller).await?;
            for change in &changes {
                let Some(identity) = fitting.get(&(change.key, change.version.0)) else { continue };
                if known.elapsed() > FRESH {
                    let Some(again) = self.standing(served, desk).await? else { return Ok(()) };
                    (caller, known) = (again, Instant::now());
                }
                match self.notify(served, (identity, change.version), &caller, desk).await? {
                    Told::Delivered | Told::Withheld => self.reached(served, change).await?,
                    Told::Denied => {
                        return self.end(served, SubscriptionState::Off, Some(NOBODY), desk).await;
                    }
                    Told::Failed(why) => return self.failed(served, &why, desk).await,
                }
                if began.elapsed() > TURN {
                    return Ok(());
                }
            }
            self.reached(served, last).await?;
            if began.elapsed() > TURN {
                return Ok(());
            }
        }
    }

    /// Which changes are to be told, as their party may see them now: those that match by the version that they
    /// made.
    async fn fitting(
        &self,
        of: ResourceType,
        filters: &[Filter],
        changes: &[FeedChange],
        caller: &Caller,
    ) -> Result<HashMap<(i64, i32), Identity>, Error> {
        let weigh = async |permit: &Permit<'_>| {
            let rids: HashSet<i64> = changes.iter().map(|change| change.key).collect();
            let limit = rids.len() as u32;
            let keys = Keys { rids: rids.into_iter().collect(), scores: Vec::new() };
            let these = Filter::Keys(keys);
            let matching: Vec<Filter> =
                filters.iter().cloned().chain(std::iter::once(these.clone())).collect();
            let found =
                self.store.find_matches(&[of], &matching, limit, &self.definitions, permit).await?;
            let matching: HashMap<i64, _> =
                found.into_iter().map(|found| (found.rid, found)).collect();
            let is_current = |change: &FeedChange| {
                matching.get(&change.key).is_some_and(|found| found.version == change.version)
            };
            let mut fitting = HashMap::new();
            for change in changes.iter().filter(|change| is_current(change)) {
                let identity = matching[&change.key].identity.clone();
                fitting.insert((change.key, change.version.0), identity);
            }
            if fitting.len() == changes.len() {
                return Ok(fitting);
            }
            // What was followed by another version is judged by its own.
            let visible =
                self.store.find_matches(&[of], &[these], limit, &self.definitions, permit).await?;
            for found in visible {
                let before = |it: &&FeedChange| it.key == found.rid && it.version < found.version;
                for change in changes.iter().filter(before) {
                    let id = &found.identity.id;
                    let fits =
                        self.store.version_fulfils(id, change.version, filters, permit).await?;
                    if fits.unwrap_or_else(|| matching.contains_key(&found.rid)) {
                        let at = (change.key, change.version.0);
                        fitting.insert(at, found.identity.clone());
                    }
                }
            }
            Ok(fitting)
        };
        self.gate.consider(Kind::SearchType.of(of), caller, weigh).await
    }

    /// Notes that all up to a change is dealt with.
    async fn reached(
        &self,
        served: &mut ServedSubscription,
        change: &FeedChange,
    ) -> Result<(), Error> {
        served.tries = 0;
        let lease = self.subscription_lease();
        if self.store.advance_subscription(&served.own, change.spot, lease).await? {
            return Ok(());
        }
        Err(Error::Conflict("the subscription is held no more".to_owned()))
    }

    /// Has a subscription wait after a delivery that failed, or ends it when that was so too often.
    async fn failed(
        &self,
        served: &mut ServedSubscription,
        why: &str,
        desk: &Desk,
    ) -> Result<(), Error> {
        let rules = &self.settings.subscriptions;
        if served.tries.saturating_add(1) >= rules.most_tries {
            return self.end(served, SubscriptionState::Error, Some(why), desk).await;
        }
        let wait = pause(rules.retry, served.tries);
        self.store.fail_subscription(&served.own, millis(wait)).await.map(drop)
    }

    /// Ends a subscription.
    async fn end(
        &self,
        served: &mut ServedSubscription,
        state: SubscriptionState,
        why: Option<&str>,
        desk: &Desk,
    ) -> Result<(), Error> {
        self.advance(served, state, why, desk).await?;
        metrics::counter!("kiln_subscriptions_ended_total", "status" => state.as_str())
            .increment(1);
        tracing::warn!(id = %served.own.id, status = state.as_str(), "a subscription has ended");
        Ok(())
    }

    /// Makes the version by which the server moves a Subscription on.
    async fn advance(
        &self,
        served: &mut ServedSubscription,
        state: SubscriptionState,
        why: Option<&str>,
        desk: &Desk,
    ) -> Result<(), Error> {
        let (of, id) = (ResourceType::SUBSCRIPTION, served.own.id.clone());
        let identity = Identity { resource_type: of, id };
        let caller = self.subscriber(desk.service.clone(), served);
        let before = served.own.version;
        let _turn = self.turns.of(&identity).await;
        let mut attempts = self.gate.attempts(Kind::Update.of(of), &caller);
        loop {
            let attempt = attempts.write(async |permit, tx| {
                let current = tx.current(&identity.id, permit).await?;
                let current = current.filter(|current| {
                    !current.version.is_deleted() && current.version.version == before
                });
                let gone = || Error::Conflict("the Subscription has another version".to_owned());
                let current = current.ok_or_else(gone)?;
                let text = current.version.to_json();
                let value = json::parse(&text).map_err(Error::internal)?.into_owned();
                let prepared = self.split(&identity, moved(value, state, why))?;
                let patients = prepared.patients.clone();
                let change = Operation::Updated;
                let written =
                    self.stage_put(&identity, Some(current), prepared, change, permit, tx).await?;
                let disclosed = written.disclosed(patients);
                Ok(Unaudited::new(written, disclosed))
            });
            if let Some(written) = attempt.await? {
                served.own.version = written.version.version;
                return Ok(());
            }
        }
    }
}

/// A Subscription in another state.
fn moved(
    subscription: Value<'static>,
    state: SubscriptionState,
    why: Option<&str>,
) -> Value<'static> {
    let mut subscription = subscription;
    if let Some(object) = subscription.as_object_mut() {
        object.set("status", state.as_str());
        object.remove("_error");
        match why {
            Some(why) => object.set("error", why.to_owned()),
            None => drop(object.remove("error")),
        }
    }
    subscription
}

/// The form in which a payload is sent.
pub(super) fn format_of(payload: &str) -> Option<Format> {
    Format::from_media_type(payload.split(';').next().unwrap_or_default().trim())
}

/// The pause after a failure that came after so many others in a row.
fn pause(first: Duration, before: u32) -> Duration {
    first.saturating_mul(1 << before.min(16)).min(LONGEST)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: rest 8.10.
    #[test]
    fn pauses_grow_up_to_the_longest() {
        let first = Duration::from_secs(1);
        for (before, expected) in [(0, 1), (1, 2), (5, 32), (8, 256), (9, 300), (100, 300)] {
            assert_eq!(pause(first, before), Duration::from_secs(expected), "{before}");
        }
    }

    #[test]
    fn the_server_says_in_which_state_it_is_and_why() {
        let sent = r#"{"status":"active","criteria":"Patient","error":"old"}"#;
        for (state, why, expected) in [
            (SubscriptionState::Active, None, r#"{"status":"active","criteria":"Patient"}"#),
            (
                SubscriptionState::Error,
                Some("it answered 500"),
                r#"{"status":"error","criteria":"Patient","error":"it answered 500"}"#,
            ),
            (SubscriptionState::Off, None, r#"{"status":"off","criteria":"Patient"}"#),
        ] {
            let value = json::parse(sent.as_bytes()).expect("JSON").into_owned();
            assert_eq!(moved(value, state, why).to_text(), expected);
        }
    }

    #[test]
    fn a_payload_is_sent_in_a_form_of_resources() {
        for (payload, expected) in [
            ("application/fhir+json", Some(Format::Json)),
            ("application/fhir+xml; fhirVersion=4.0", Some(Format::Xml)),
            ("text/xml", Some(Format::Xml)),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(format_of(payload), expected, "{payload}");
        }
    }
}
