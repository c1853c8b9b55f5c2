//! Work on messages: what waits is claimed, done, and ended or tried again.
//!
//! A node works on several messages at a time, on one of a patient at a time. What a node that died
//! had claimed is claimed by another when the lease has run out. Work that panics or fails for good
//! leaves a dead letter with its reason; what may go better later is tried again, ever later, and so is a
//! message around whose work something panics. Neither keeps others waiting.
//!
//! Spec: v2 M8, M9, B6, B39, B43

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as Watch};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, watch};
use uuid::Uuid;

use super::ack::{Code, Condition, Issue};
use super::charset::Charset;
use super::er7::Message;
use super::fragment::Whole;
use super::heading::Heading;
use super::judge::{Judged, check, lines, replaced};
use super::lasting::lasting;
use super::meters::Meters;
use super::receive::{Origin, Receiver};
use super::reply::stored;
use super::sites::sender;
pub use super::trial::{Drafted, Resolved};
pub use super::work::{Done, Task, Work};
use crate::error::{Error, root_cause};
use crate::fhir::Instant;
use crate::store::hl7v2::{Claimed, Ended, MessageEnd, MessageState};

/// How long a node has a message for itself, unless it says again that it works on it.
pub(super) const LEASE_MS: i64 = 10_000;
/// Between two times that it says so.
const RENEW: Duration = Duration::from_secs(3);
/// Between two looks at what waits, when nobody says that something does.
const LOOK: Duration = Duration::from_secs(1);
/// Between two counts of what waits, while something may.
const COUNT_WAITING: Duration = Duration::from_millis(200);
/// How often a message is tried before it is a dead letter.
const MOST_TRIES: i32 = 8;
/// Longest wait for another try.
const LONGEST_WAIT_MS: i64 = 60_000;
/// Longest wait for running work when the server stops.
const LAST_WAIT: Duration = Duration::from_secs(20);

/// A message of this node.
#[derive(Debug)]
pub(super) struct Job {
    id: Uuid,
    pub(super) raw: Bytes,
    peer: Option<std::net::IpAddr>,
    listener: String,
    /// All names in it.
    certificate: String,
    mark: i64,
    pub(super) site: String,
    charset: String,
    attempts: i32,
    pub(super) received_at: Instant,
    /// The number of the next message, where they are numbered.
    expected: Option<u64>,
    again: Option<bool>,
    /// Whether it stands in no line, because it could not be read when it came.
    is_unlined: bool,
}

impl Job {
    pub(super) fn new(id: Uuid, raw: Bytes, origin: &Origin, judged: &Judged, at: Instant) -> Self {
        Self {
            id,
            raw,
            peer: origin.peer,
            listener: origin.listener.to_owned(),
            certificate: origin.certificate(),
            mark: 0,
            site: judged.site.clone(),
            charset: judged.charset.to_owned(),
            attempts: 1,
            received_at: at,
            expected: judged.heading.as_ref().and_then(|heading| heading.expected),
            again: None,
            is_unlined: false,
        }
    }
}

impl From<Claimed> for Job {
    fn from(claimed: Claimed) -> Self {
        Self {
            id: claimed.id,
            raw: claimed.raw,
            peer: claimed.peer.and_then(|peer| peer.parse().ok()),
            listener: claimed.listener,
            certificate: claimed.tls_subject.unwrap_or_default(),
            mark: claimed.mark,
            site: claimed.site,
            charset: claimed.charset,
            attempts: claimed.attempts,
            received_at: claimed.received_at,
            expected: None,
            again: claimed.again,
            is_unlined: claimed.is_unlined,
        }
    }
}

impl Receiver {
    /// Works on what waits until told to stop, then lets running work end.
    pub async fn work(self: Arc<Self>, stop: watch::Receiver<bool>) {
        lasting("work", stop.clone(), || self.work_on(stop.clone())).await;
        // Who waits for a message that is not begun here waits in vain.
        self.ended.send_replace(true);
        let all = self.settings.workers as u32;
        if tokio::time::timeout(LAST_WAIT, self.seats.acquire_many(all)).await.is_err() {
            tracing::warn!("work on some messages did not end in time; it is taken up again");
        }
    }

    async fn work_on(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut is_told = false;
        let (mut meters, mut renewed) = (Meters::default(), Watch::now());
        let (mut counted, mut looked) = (None, None);
        loop {
            meters.refresh(self).await;
            if renewed.elapsed() > RENEW {
                renewed = Watch::now();
                self.renew().await;
            }
            let is_due = |last: Option<Watch>, wait| last.is_none_or(|last| last.elapsed() >= wait);
            let mut done = Ok(());
            if is_due(counted, COUNT_WAITING) {
                counted = Some(Watch::now());
                done = self.count_waiting().await;
            }
            let is_look = is_due(looked, LOOK);
            let is_any = is_look && self.waiting.load(Ordering::Relaxed) > 0;
            if done.is_ok() && (is_any || self.line.is_behind()) {
                if is_look {
                    looked = Some(Watch::now());
                }
                done = self.claim(is_look).await;
            }
            match done {
                Ok(()) => is_told = false,
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!(
                        cause = root_cause(&error),
                        "messages of version 2 have to wait"
                    );
                }
                Err(_) => {}
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(if self.line.is_behind() { COUNT_WAITING } else { LOOK }) => {}
                _ = stop.changed() => return,
            }
        }
    }

    /// How many wait, for who holds senders back, and whether more do than are worked on here.
    async fn count_waiting(&self) -> Result<(), Error> {
        let joined = self.line.joined();
        let waiting = self.store.waiting_messages(self.settings.most_waiting).await?;
        self.waiting.store(waiting, Ordering::Relaxed);
        metrics::gauge!("kiln_v2_waiting", &self.store.labels()).set(waiting as f64);
        let running = self.running().len() as i64;
        self.line.counted(waiting > running, joined);
        Ok(())
    }

    /// Says of all that is worked on that it is.
    async fn renew(&self) {
        let running: Vec<_> = self.running().iter().map(|(id, tries)| (*id, *tries)).collect();
        let lease = self.clock.now().plus_millis(LEASE_MS);
        if !running.is_empty()
            && let Err(error) = self.store.renew_messages(&running, lease).await
        {
            tracing::warn!(cause = root_cause(&error), "leases of messages are not renewed");
        }
    }

    /// Whether this node works on a message.
    pub(super) fn is_at_work(&self, id: Uuid) -> bool {
        self.running().contains_key(&id)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Uuid, i32>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins as many messages as there is room for; `is_look`: those too whose turn nobody has noticed.
    async fn claim(self: &Arc<Self>, is_look: bool) -> Result<(), Error> {
        let mut seats = Vec::new();
        while let Ok(seat) = self.seats.clone().try_acquire_owned() {
            seats.push(seat);
        }
        if seats.is_empty() {
            return Ok(());
        }
        self.free(is_look).await?;
        let now = self.clock.now();
        let most = seats.len() as i64;
        let claimed = self.store.claim_messages(now, now.plus_millis(LEASE_MS), most).await?;
        for (message, seat) in claimed.into_iter().zip(seats) {
            self.line.forget(&[message.id]);
            self.begin(message.into(), seat);
        }
        Ok(())
    }

    /// Works on a message in a task of its own.
    #[expect(
        clippy::disallowed_methods,
        reason = "work goes on when who sent the message has left"
    )]
    pub(super) fn begin(self: &Arc<Self>, job: Job, seat: OwnedSemaphorePermit) {
        let receiver = self.clone();
        self.running().insert(job.id, job.attempts);
        tokio::spawn(async move {
            let began = Watch::now();
            if AssertUnwindSafe(receiver.process(&job)).catch_unwind().await.is_err()
                && AssertUnwindSafe(receiver.broken_off(&job)).catch_unwind().await.is_err()
            {
                // The lease runs out, and it is done again.
                tracing::error!(message = %job.id, "a message keeps its lease: all around it panics");
            }
            // Another try of the same may have begun here.
            receiver.running().retain(|id, tries| *id != job.id || *tries != job.attempts);
            metrics::histogram!("kiln_v2_work_duration_seconds").record(began.elapsed());
            receiver.waiting.fetch_sub(1, Ordering::Relaxed);
            drop(seat);
            if receiver.line.is_behind() {
                receiver.wake.notify_one();
            }
        });
    }

    /// What is around the work on a message has panicked, not the work: it is tried again, as often as others.
    async fn broken_off(&self, job: &Job) {
        metrics::counter!("kiln_v2_panics_total", "task" => "message").increment(1);
        tracing::error!(message = %job.id, attempts = job.attempts, "work on a message is broken off by a panic");
        if job.attempts < MOST_TRIES {
            return self.postpone(job, "panic").await;
        }
        let read = || {
            let settings = self.settings_for(&job.raw, &job.listener, &job.certificate);
            (Heading::salvaged(&job.raw), settings.holds_lines)
        };
        let read = std::panic::catch_unwind(AssertUnwindSafe(read));
        let (heading, holds_lines) = read.unwrap_or((None, self.settings.holds_lines));
        self.give_up(job, heading.as_ref(), "panic", holds_lines).await;
    }

    async fn process(self: &Arc<Self>, job: &Job) {
        if let Err(error) = self.sites.at_least(job.mark).await {
            // The lease runs out, and it is done again.
            return tracing::warn!(cause = root_cause(&error), message = %job.id, "a message has to wait");
        }
        let settings = self.settings_for(&job.raw, &job.listener, &job.certificate);
        let mut rules = settings.rules;
        rules.charset = Charset::named(&job.charset).unwrap_or(rules.charset);
        let caller = self.caller(job.id, job.peer, &job.certificate);
        let Some(raw) = self.gathered(job, settings.holds_lines).await else { return };
        let read = rules.read(&raw, false);
        let notes: Vec<_> = read.iter().filter(|read| read.is_lossy).map(|_| replaced()).collect();
        let message = read
            .as_ref()
            .ok()
            .and_then(|read| Message::parse(&read.text, read.charset, rules.reading).ok());
        let heading = match &message {
            Some(message) => Some(Heading { expected: job.expected, ..Heading::of(message) }),
            None => Heading::salvaged(&raw),
        };
        let (Some(message), Some(heading)) = (message, &heading) else {
            // It was read when it came: the settings have changed since.
            return self.give_up(job, heading.as_ref(), "unreadable", settings.holds_lines).await;
        };
        if job.is_unlined {
            return self.line_up(job, &message).await;
        }
        let Ok(maps) = self.sites.of(&sender(heading, &job.listener, &job.certificate)) else {
            return self.postpone(job, "the profile of the sender cannot be used").await;
        };
        let message = message.with_escapes(&maps.site().escapes);
        let task = Task {
            id: job.id,
            raw: &raw,
            message: &message,
            heading,
            site: &job.site,
            maps: &maps,
            received_at: job.received_at,
            caller: &caller,
            attempts: job.attempts,
            holds_lines: settings.holds_lines,
            again: job.again,
            notes: &notes,
            about: &Mutex::default(),
            receiver: self,
        };
        let done = match check(heading, &rules) {
            // It was rejected when it came and would be now, or the settings have changed since.
            Some((_, issue)) => Ok(Done::Failed(vec![issue])),
            None => AssertUnwindSafe(self.work.run(task)).catch_unwind().await,
        };
        match done.unwrap_or_else(|_| Done::Failed(vec![internal("panic")])) {
            Done::Applied(end) => self.ended(job, &end),
            Done::Failed(issues) => self.fail(job, &task, &issues).await,
            Done::Later(reason) if job.attempts < MOST_TRIES => self.postpone(job, &reason).await,
            Done::Later(reason) => {
                self.fail(job, &task, &[internal("too-many-tries").detailed(reason)]).await;
            }
        }
    }

    /// Has a message that could not be read when it came stand in the lines of its patients: those that came after it
    /// wait for it from now on, and it for those before it.
    async fn line_up(&self, job: &Job, message: &Message<'_>) {
        let lines = lines(message, &job.site);
        let lines: Vec<i64> = lines.iter().map(|line| self.store.hasher().line(line)).collect();
        if let Err(error) = self.store.line_up_message((job.id, job.attempts), &lines).await {
            // The lease runs out, and it is done again.
            tracing::warn!(cause = root_cause(&error), message = %job.id, "a message stands in no line");
        }
        self.line.join(job.id, true);
        self.wake.notify_one();
    }

    /// The bytes of a message with those of its other parts; `None`: it is put off, or given up.
    async fn gathered(&self, job: &Job, holds_its_line: bool) -> Option<Bytes> {
        match self.whole(job).await {
            Ok(Whole::Message(raw)) => return Some(raw),
            Ok(Whole::PartMissing) if job.attempts < MOST_TRIES => {
                self.postpone(job, "a part of the message is missing").await;
            }
            Ok(Whole::PartMissing) => {
                let heading = Heading::salvaged(&job.raw);
                self.give_up(job, heading.as_ref(), "part-missing", holds_its_line).await;
            }
            Ok(Whole::Part) => {
                let heading = Heading::salvaged(&job.raw);
                self.give_up(job, heading.as_ref(), "part", holds_its_line).await;
            }
            Ok(Whole::TooLong) => {
                let heading = Heading::salvaged(&job.raw);
                self.give_up(job, heading.as_ref(), "parts-too-long", holds_its_line).await;
            }
            Err(Error::Conflict(_)) if job.attempts >= MOST_TRIES => {
                let heading = Heading::salvaged(&job.raw);
                self.give_up(job, heading.as_ref(), "part-missing", holds_its_line).await;
            }
            Err(error) => self.postpone(job, &root_cause(&error)).await,
        }
        None
    }

    async fn give_up(
        &self,
        job: &Job,
        heading: Option<&Heading>,
        why: &'static str,
        holds_its_line: bool,
    ) {
        let issue = Issue::error(Condition::Other).named(why);
        let code = Code::AE;
        let end = MessageEnd {
            id: job.id,
            attempts: job.attempts,
            state: MessageState::Failed,
            ack: (code.as_str(), self.answer(heading, code, std::slice::from_ref(&issue))),
            at: self.clock.now(),
            map_hash: None,
            reason: issue.text(),
            issues: vec![stored(&issue)],
            effects: Vec::new(),
            unmapped: Vec::new(),
            holds_its_line,
        };
        self.record(job, &end, &[]).await;
    }

    async fn fail(&self, job: &Job, task: &Task<'_>, issues: &[Issue]) {
        let end = task.end(issues, Vec::new(), None);
        let about = std::mem::take(&mut *task.about.lock().unwrap_or_else(PoisonError::into_inner));
        self.record(job, &end, &about.into_iter().collect::<Vec<_>>()).await;
    }

    /// Ends work that had no effect, when that is on record.
    async fn record(&self, job: &Job, end: &MessageEnd, patients: &[String]) {
        let caller = self.caller(job.id, job.peer, &job.certificate);
        let noted = self.engine.message_failed(job.id, patients, &end.reason, &caller).await;
        let ended = match noted {
            Ok(()) => self.store.end_message(end).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(Ended::Now) => self.ended(job, end),
            Ok(Ended::Before) => {}
            Err(error) => {
                // The lease runs out, and it is done again.
                tracing::warn!(cause = root_cause(&error), message = %job.id, "the end of a message is not stored");
            }
        }
    }

    fn ended(&self, job: &Job, end: &MessageEnd) {
        let (code, ack) = &end.ack;
        metrics::counter!("kiln_v2_ended_total", "state" => end.state.as_str()).increment(1);
        if !end.state.is_processed() {
            tracing::warn!(message = %job.id, state = end.state.as_str(), reason = end.reason, "a message had no effect");
        }
        self.answered.notify_one();
        self.settle(job.id, &(Code::parse(code).unwrap_or(Code::AE), ack.clone()));
    }

    async fn postpone(&self, job: &Job, reason: &str) {
        let wait = (250_i64 << job.attempts.clamp(1, 20)).min(LONGEST_WAIT_MS);
        let until = self.clock.now().plus_millis(wait);
        tracing::info!(message = %job.id, reason, wait, "a message is tried again");
        if let Err(error) = self.store.postpone_message((job.id, job.attempts), until, reason).await
        {
            tracing::warn!(cause = root_cause(&error), message = %job.id, "a message keeps its lease");
        }
    }
}

fn internal(name: &'static str) -> Issue {
    Issue::error(Condition::ApplicationError).named(name)
}
