//! One export from its claim to its end.
//!
//! The work passes the gate once, as the client that asked; what the client may do is looked up when it
//! begins and every few seconds after that, so an export of a client that is turned away stops.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::access::interaction::Kind;
use crate::access::{Actor, Caller, Outcome, Permit, Principal, RequestContext};
use crate::error::{Error, root_cause};
use crate::fhir::json;
use crate::fhir::shape::Shape;
use crate::fhir::{ResourceType, Version};
use crate::search::request::Filter;
use crate::store::{ExportJob, ExportPlan, ExportTry, Exported};

use super::Asked;
use crate::engine::Engine;

/// How long an export is this node's from one word to the next, in milliseconds.
const LEASE: i64 = 30_000;
/// After how long without a word another node may have it.
const GIVE_UP: Duration = Duration::from_secs(25);
/// Between two words.
const BETWEEN: Duration = Duration::from_secs(2);
/// How often an export is begun.
const TRIES: i32 = 5;

/// Who says what a client may do at this moment.
pub trait Standing: Send + Sync {
    /// The principal that stands behind an export; `None`: it may do nothing any more.
    fn principal<'a>(
        &'a self,
        of: &'a ExportJob,
    ) -> BoxFuture<'a, Result<Option<Principal>, Error>>;
}

impl Engine {
    /// Waits until somebody asks this node for an export, or it is time to look what other nodes left.
    pub async fn export_is_asked(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.export_work.notified()).await;
    }

    /// Works on the oldest export that waits; whether there was one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn work_on_export(&self, standing: &dyn Standing) -> Result<bool, Error> {
        let Some(job) = self.store.claim_export(LEASE).await? else {
            return Ok(false);
        };
        let done = if job.own.attempt > TRIES {
            let text = format!("it was begun {TRIES} times and never came to an end");
            self.note_end(&job, &text).await?;
            Err(Error::TooCostly(text))
        } else {
            Box::pin(self.work(&job, standing)).await
        };
        let event = match done {
            Ok(exported) => {
                metrics::counter!("kiln_export_resources_total").increment(exported.lines);
                "completed"
            }
            // Somebody else has it, or nobody wants it any more.
            Err(Error::Conflict(_)) => "given-up",
            Err(error @ (Error::Busy(_) | Error::Unavailable(_) | Error::Unconfirmed(_))) => {
                return Err(error);
            }
            Err(error) => {
                tracing::warn!(error = root_cause(&error), "an export failed");
                let now = self.clock.now();
                let expires = now.plus_millis(self.settings.exports.kept);
                self.store.fail_export(job.own, &error.to_string(), (now, expires)).await?;
                "failed"
            }
        };
        metrics::counter!("kiln_exports_total", "event" => event).increment(1);
        Ok(true)
    }

    /// Removes exports whose time is over; how many.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn sweep_exports(&self) -> Result<u64, Error> {
        self.store.sweep_exports(self.clock.now()).await
    }

    async fn work(&self, job: &ExportJob, standing: &dyn Standing) -> Result<Exported, Error> {
        let Some(principal) = standing.principal(job).await? else {
            let text = "the client may do nothing any more";
            self.note_end(job, text).await?;
            return Err(Error::Forbidden);
        };
        let caller = Caller { principal, request: context(job) };
        let interaction = Kind::ExportEnd.of_system();
        let write = async |permit: &Permit<'_>| {
            let plan = self.plan(job, permit).await?;
            self.store.export(job.own, &plan, permit).await
        };
        let written = self.gate.run(interaction, &caller, write);
        tokio::select! {
            written = written => written,
            ended = self.keep(job, standing) => {
                let Err(error) = ended;
                self.gate.denied(interaction, &caller, error).await
            }
        }
    }

    /// Keeps an export for this node, as long as its client may have it and it does not take too long. A fault that
    /// passes before the lease is over ends nothing.
    async fn keep(&self, job: &ExportJob, standing: &dyn Standing) -> Result<Infallible, Error> {
        let (began, longest) = (Instant::now(), self.settings.exports.longest);
        let mut kept = began;
        loop {
            tokio::time::sleep(pause(began.elapsed(), longest)?).await;
            // An export whose time is over is not kept once more.
            pause(began.elapsed(), longest)?;
            match self.renew(job, standing).await {
                Ok(()) => kept = Instant::now(),
                Err(error @ (Error::Conflict(_) | Error::Forbidden)) => return Err(error),
                Err(error) if kept.elapsed() >= GIVE_UP => return Err(error),
                Err(error) => {
                    tracing::warn!(error = root_cause(&error), "an export is kept later");
                }
            }
        }
    }

    async fn renew(&self, job: &ExportJob, standing: &dyn Standing) -> Result<(), Error> {
        if !self.store.keep_export(job.own, LEASE).await? {
            let text = "the export was cancelled or taken over";
            return Err(Error::Conflict(text.to_owned()));
        }
        let principal = standing.principal(job).await?.ok_or(Error::Forbidden)?;
        let is_granted = |of: &ResourceType| principal.reach(Kind::Export.of(*of)).is_some();
        if job.needs.iter().all(is_granted) { Ok(()) } else { Err(Error::Forbidden) }
    }

    /// Puts on record that an export ended before anything was read.
    async fn note_end(&self, job: &ExportJob, text: &str) -> Result<(), Error> {
        let actor = Actor { name: job.actor.clone(), request: context(job) };
        let text = format!("export {}: {text}", job.own.job);
        self.gate.note(Kind::ExportEnd, &actor, Outcome::Refused, &text).await
    }

    async fn plan(&self, job: &ExportJob, permit: &Permit<'_>) -> Result<ExportPlan, Error> {
        let asked = Asked::from_json(&job.asked)?;
        let mut filters: HashMap<ResourceType, Vec<Filter>> = HashMap::new();
        for (of, text) in &asked.filters {
            let filter = self.export_filter(*of, text, permit).await?;
            filters.entry(*of).or_default().push(filter);
        }
        let level = asked.of.clone().ok_or_else(|| Error::internal("an export of nothing"))?;
        Ok(ExportPlan {
            level,
            types: job.types.clone(),
            looked_at: Asked::looked_at(&self.spec, permit),
            filters,
            since: asked.since,
            patients: asked.patients,
            has_provenance: asked.has_provenance,
            line: self.line(asked.elements),
            notices: asked.notices,
            lines_of_file: self.settings.exports.lines_of_file.into(),
            clock: self.clock.clone(),
            kept: self.settings.exports.kept,
        })
    }

    /// How a version becomes a line.
    fn line(&self, elements: Vec<String>) -> Box<crate::store::Line> {
        if elements.is_empty() {
            return Box::new(|version| Ok(version.to_json()));
        }
        let shape = Shape::Elements(elements.into_iter().map(Into::into).collect());
        let spec = self.spec.clone();
        Box::new(move |version: &Version| {
            let stored = version.to_json();
            let mut value = json::parse(&stored).map_err(Error::internal)?;
            shape.cut(&mut value, &spec.schema);
            Ok(value.to_text().into_bytes())
        })
    }
}

/// How long to wait for the next word of an export that began so long ago; an error where it may take no
/// longer.
fn pause(elapsed: Duration, longest: Duration) -> Result<Duration, Error> {
    let left = longest.saturating_sub(elapsed);
    if left.is_zero() {
        return Err(Error::TooCostly(format!("it took longer than {} s", longest.as_secs())));
    }
    Ok(BETWEEN.min(left))
}

/// The request that goes on.
fn context(job: &ExportJob) -> Arc<RequestContext> {
    let ExportTry { job: id, .. } = job.own;
    Arc::new(RequestContext {
        id: id.to_string(),
        method: "GET",
        path_and_query: job.request.clone(),
        source: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_has_its_time_and_not_a_moment_more() {
        let (millis, longest) = (Duration::from_millis, Duration::from_secs(5));
        for (elapsed, expected) in [
            (0, Some(2_000)),
            (2_000, Some(2_000)),
            // The last pause ends with its time.
            (4_200, Some(800)),
            (4_999, Some(1)),
            (5_000, None),
            (60_000, None),
        ] {
            let found = pause(millis(elapsed), longest);
            match (found, expected) {
                (Ok(found), Some(expected)) => assert_eq!(found, millis(expected), "{elapsed}"),
                (Err(Error::TooCostly(text)), None) => {
                    assert_eq!(text, "it took longer than 5 s", "{elapsed}");
                }
                (found, _) => panic!("{elapsed}: {found:?}"),
            }
        }
        // However late it looks, the pauses come to an end there.
        let (mut elapsed, mut words) = (Duration::ZERO, 0);
        while let Ok(next) = pause(elapsed, longest) {
            (elapsed, words) = (elapsed + next, words + 1);
        }
        assert_eq!((elapsed, words), (longest, 3));
    }
}
