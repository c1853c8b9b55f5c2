//! The receiver: from the bytes of a message to its answers.
//!
//! A message is judged, stored and only then answered; work on it is done by [`queue`](super::queue),
//! and whoever sent it waits for the outcome as long as the settings say. The same bytes again get the
//! same answer.
//!
//! Spec: v2 M4, M7 to M9, S20, S21, S55; B2, B6, B7, B10, B35

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant as Deadline;
use uuid::Uuid;

use super::ack::{self, Code, Condition, Issue, Stamp};
use super::batch::{self, Batch};
use super::charset::Charset;
use super::dtm::{Moment, Zones};
use super::er7::Message;
use super::heading::{Heading, Mode, Wanted};
use super::judge::{Judged, Rules};
use super::queue::{Drafted, Job, LEASE_MS, Work};
use crate::access::{Caller, Principal, RequestContext};
use crate::clock::{Clock, IdSource};
use crate::engine::Engine;
use crate::error::Error;
use crate::fhir::Instant;
use crate::fhir::json::Value;
use crate::store::Store;
use crate::store::hl7v2::{Earlier, MessageIssue, MessageState, NewMessage, Received};

/// Between two looks at a message that another node works on.
const LOOK: Duration = Duration::from_millis(500);

/// How the receiver is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What messages are read by.
    pub rules: Rules,
    /// The zone of times without one.
    pub zones: Zones,
    /// Whether AA waits for the effect.
    pub waits_for_effect: bool,
    /// How long.
    pub deadline: Duration,
    /// Whether a failed message holds its lines.
    pub holds_lines: bool,
    /// Messages that this node works on at the same time.
    pub workers: usize,
    /// Messages in line beyond which no more are read.
    pub most_waiting: i64,
}

/// Where a message comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The listener, or the way.
    pub listener: &'static str,
    /// The address.
    pub peer: Option<IpAddr>,
    /// The names in the client's certificate.
    pub names: Vec<String>,
    /// Whether it came in a frame.
    pub is_framed: bool,
    /// Who is let in; `None`: the feed itself.
    pub caller: Option<Caller>,
}

/// What a message is answered with.
#[derive(Debug)]
pub struct Answers {
    /// At once: it is stored, or it is not.
    pub accept: Option<Bytes>,
    /// After the work.
    pub application: Application,
}

/// The answer to the work.
#[derive(Debug)]
pub enum Application {
    /// None is wanted.
    Silent,
    /// It is there.
    Now(Bytes),
    /// It is to come.
    Later(Box<Pending>),
}

/// Work that somebody waits for.
#[derive(Debug)]
pub struct Pending {
    id: Uuid,
    heading: Heading,
    outcome: oneshot::Receiver<Outcome>,
}

/// What a message would be stored as and answered with.
#[derive(Debug)]
pub struct Converted {
    /// The transaction; `None`: it is refused.
    pub bundle: Option<Value<'static>>,
    /// What is wrong, or worth knowing.
    pub issues: Vec<Issue>,
    /// Fields with a value that no rule reads.
    pub unmapped: Vec<String>,
    /// The answer.
    pub answer: String,
}

/// How work ended: the code and the answer.
pub(super) type Outcome = (Code, Bytes);

/// Takes messages in.
pub struct Receiver {
    pub(super) engine: Arc<Engine>,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) settings: Settings,
    pub(super) work: Arc<dyn Work>,
    pub(super) principal: Principal,
    pub(super) wake: Notify,
    pub(super) seats: Arc<Semaphore>,
    pub(super) waiting: std::sync::atomic::AtomicI64,
    waiters: Mutex<HashMap<Uuid, Vec<oneshot::Sender<Outcome>>>>,
}

/// What `app` puts together for a receiver.
pub struct Parts {
    /// The interactions.
    pub engine: Arc<Engine>,
    /// The database.
    pub store: Store,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub ids: Arc<dyn IdSource>,
    /// What is done with messages.
    pub work: Arc<dyn Work>,
    /// The service in whose name it is done.
    pub principal: Principal,
    /// How it is set up.
    pub settings: Settings,
}

impl Receiver {
    /// A receiver.
    pub fn new(parts: Parts) -> Self {
        let Parts { engine, store, clock, ids, work, principal, settings } = parts;
        Self {
            seats: Arc::new(Semaphore::new(settings.workers.max(1))),
            engine,
            store,
            clock,
            ids,
            settings,
            work,
            principal,
            wake: Notify::new(),
            waiting: std::sync::atomic::AtomicI64::new(0),
            waiters: Mutex::default(),
        }
    }

    /// Takes in what one frame or body holds: a message or a batch.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and others of the store: nothing is stored, and nothing may be answered.
    pub async fn receive(self: &Arc<Self>, raw: &Bytes, origin: &Origin) -> Result<Answers, Error> {
        match batch::split(raw) {
            Some(batch) => self.receive_batch(raw, &batch, origin).await,
            None => self.receive_one(raw, None, origin).await,
        }
    }

    /// What a message would be stored as and answered with; nothing is stored.
    pub fn convert(&self, raw: &[u8]) -> Converted {
        let rules = Rules { bindings: Vec::new(), ..self.settings.rules.clone() };
        let judged = Judged::new(raw, &[], false, &rules);
        let heading = judged.heading.as_ref();
        let refused = |code, issue: Issue| {
            let answer = self.answer(heading, code, std::slice::from_ref(&issue));
            Converted {
                bundle: None,
                issues: vec![issue],
                unmapped: Vec::new(),
                answer: shown(&answer),
            }
        };
        if let Some((code, issue)) = judged.refused {
            return refused(code, issue);
        }
        let read = Charset::read(raw, rules.charset);
        let message = read
            .as_ref()
            .ok()
            .and_then(|read| Message::parse(&read.text, read.charset, rules.reading).ok());
        let drafted = message.as_ref().and_then(|message| self.work.draft(message));
        let Some(Drafted { bundle, issues, unmapped }) = drafted else {
            let known = heading.map(|heading| self.work.knows(heading));
            let condition = known.and_then(Result::err).unwrap_or(Condition::UnsupportedType);
            return refused(Code::AR, Issue::error(condition));
        };
        let answer = self.answer(heading, Code::of(&issues), &issues);
        Converted { bundle, issues, unmapped, answer: shown(&answer) }
    }

    /// Takes in the messages of a batch, and waits for all of them.
    async fn receive_batch(
        self: &Arc<Self>,
        raw: &[u8],
        batch: &Batch<'_>,
        origin: &Origin,
    ) -> Result<Answers, Error> {
        let id = self.ids.ordered();
        let mut all = Vec::with_capacity(batch.messages.len());
        for message in &batch.messages {
            all.push(self.receive_one(message, Some(id), origin).await?);
        }
        let mut answers = Vec::with_capacity(all.len());
        for one in all {
            let answer = match one.application {
                Application::Silent => continue,
                Application::Now(answer) => answer,
                Application::Later(pending) => match pending.answer(self).await {
                    Some(answer) => answer,
                    None => continue,
                },
            };
            answers.push(String::from_utf8_lossy(&answer).into_owned());
        }
        let fault = Issue::error(Condition::SegmentSequence).named("batch-count");
        let is_faulty = batch.is_miscounted || batch.has_strays || batch.messages.is_empty();
        tracing::debug!(
            bytes = raw.len(),
            messages = answers.len(),
            is_faulty,
            "a batch of messages"
        );
        let stamp = self.stamp();
        let fault = is_faulty.then_some(&fault);
        let text = ack::batch(batch.header.as_ref(), &answers, &stamp.borrow(), fault);
        Ok(Answers { accept: None, application: Application::Now(text.into()) })
    }

    /// Takes in a message.
    async fn receive_one(
        self: &Arc<Self>,
        raw: &[u8],
        batch: Option<Uuid>,
        origin: &Origin,
    ) -> Result<Answers, Error> {
        let mut judged = Judged::new(raw, &origin.names, origin.is_framed, &self.settings.rules);
        if let Some(heading) = &mut judged.heading {
            if batch.is_some() {
                // The batch is answered as a whole, so each message has its answer in it.
                heading.mode = Mode::Original;
            }
            if judged.refused.is_none()
                && let Err(condition) = self.work.knows(heading)
            {
                judged.refused = Some((Code::AR, Issue::error(condition)));
            }
        }
        let mut seat = self.seats.clone().try_acquire_owned().ok();
        let id = self.ids.ordered();
        let outcome = self.register(id);
        let ack = self.first_answer(&judged);
        let received =
            self.store(&judged, id, raw, (batch, ack.as_ref(), seat.is_some()), origin).await;
        let is_at_work = judged.refused.is_none() && matches!(received, Ok(Received::New { .. }));
        if !is_at_work {
            self.forget(id);
            seat = None;
        }
        metrics::counter!("kiln_v2_received_total").increment(1);
        match (received?, seat) {
            (Received::Repeated(earlier), _) => self.repeated(earlier, judged.heading).await,
            (Received::New { is_leased }, seat) => {
                match seat.filter(|_| is_leased) {
                    Some(seat) => {
                        self.begin(Job::new(id, raw, origin, &judged, self.clock.now()), seat)
                    }
                    None if is_at_work => self.wake.notify_one(),
                    None => {}
                }
                Ok(self.answers(id, judged, ack, outcome))
            }
        }
    }

    /// The answer that is given without any work: a refusal, or an accept where receipt is enough.
    fn first_answer(&self, judged: &Judged) -> Option<Outcome> {
        let heading = judged.heading.as_ref();
        match &judged.refused {
            Some((code, issue)) => {
                Some((*code, self.answer(heading, *code, std::slice::from_ref(issue))))
            }
            None if self.settings.waits_for_effect => None,
            None => {
                let is_original = heading.is_some_and(|heading| heading.mode == Mode::Original);
                is_original.then(|| (Code::AA, self.answer(heading, Code::AA, &[])))
            }
        }
    }

    async fn store(
        &self,
        judged: &Judged,
        id: Uuid,
        raw: &[u8],
        (batch, ack, may_begin): (Option<Uuid>, Option<&Outcome>, bool),
        origin: &Origin,
    ) -> Result<Received, Error> {
        let (now, heading) = (self.clock.now(), judged.heading.as_ref());
        let text = |value: fn(&Heading) -> &str| heading.map_or("", value);
        let lines: Vec<i64> =
            judged.lines.iter().map(|line| self.store.hasher().line(line)).collect();
        let sent = heading.and_then(|heading| {
            Moment::parse(&heading.sent).ok().map(|sent| sent.start(&self.settings.zones))
        });
        let issues: Vec<MessageIssue> =
            judged.refused.iter().map(|(_, issue)| stored(issue)).collect();
        let reason = judged.refused.as_ref().map(|(_, issue)| issue.text()).unwrap_or_default();
        let state = match &judged.refused {
            None => MessageState::Received,
            Some((Code::AR, _)) => MessageState::Rejected,
            Some(_) => MessageState::Failed,
        };
        let message = NewMessage {
            id,
            listener: origin.listener,
            peer: origin.peer,
            tls_subject: origin.names.first().map(String::as_str),
            at: now,
            raw,
            digest: judged.digest,
            site: &judged.site,
            charset: judged.charset,
            application: text(|heading| &heading.application),
            facility: text(|heading| &heading.facility),
            control_id: text(|heading| &heading.control_id),
            kind: text(|heading| &heading.kind),
            event: text(|heading| &heading.event),
            structure: text(|heading| &heading.structure),
            version: text(|heading| &heading.version),
            processing: text(|heading| &heading.processing),
            sent,
            lines: &lines,
            batch,
            state,
            ack: ack.map(|(code, bytes)| (code.as_str(), &bytes[..])),
            reason: &reason,
            issues: &issues,
            lease: may_begin.then(|| now.plus_millis(LEASE_MS)),
        };
        let caller = origin.caller.clone().unwrap_or_else(|| self.caller(id, origin.peer));
        self.engine.receive_message(&message, &caller).await
    }

    /// The feed itself, at work on a message.
    pub(super) fn caller(&self, id: Uuid, source: Option<IpAddr>) -> Caller {
        let request = RequestContext {
            id: id.to_string(),
            method: "MLLP",
            path_and_query: format!("/v2/messages/{id}"),
            source,
        };
        Caller::new(self.principal.clone(), request)
    }

    /// What a message that is stored is answered with.
    fn answers(
        &self,
        id: Uuid,
        judged: Judged,
        ack: Option<Outcome>,
        outcome: oneshot::Receiver<Outcome>,
    ) -> Answers {
        let Some(heading) = judged.heading else {
            let application = ack.map_or(Application::Silent, |(_, ack)| Application::Now(ack));
            return Answers { accept: None, application };
        };
        let failed = judged.refused.as_ref().map(|(code, issue)| (*code, issue));
        let (accept, application) =
            ack::wanted(&heading, failed.is_none(), failed.map(|_| false).or(Some(true)));
        let accept = accept.then(|| match failed {
            Some((code, issue)) => {
                self.answer(Some(&heading), code.commit(), std::slice::from_ref(issue))
            }
            None => self.answer(Some(&heading), Code::CA, &[]),
        });
        let application = match ack {
            // What is refused is told once.
            Some(_) if accept.is_some() || !application => Application::Silent,
            Some((_, ack)) => Application::Now(ack),
            None if waits(&heading) => {
                Application::Later(Box::new(Pending { id, heading, outcome }))
            }
            None => Application::Silent,
        };
        Answers { accept, application }
    }

    /// What the same bytes are answered with that came before.
    async fn repeated(&self, earlier: Earlier, heading: Option<Heading>) -> Result<Answers, Error> {
        metrics::counter!("kiln_v2_repeated_total").increment(1);
        let id = earlier.id;
        let outcome = self.register(id);
        // It failed: the sender tries again, and so do we.
        let again = [MessageState::Failed, MessageState::Held];
        let is_open = match earlier.state {
            state if again.contains(&state) => {
                let queued = self.store.requeue_messages(&[id], &again).await?;
                self.wake.notify_one();
                !queued.is_empty()
            }
            state => !state.has_ended(),
        };
        let stored = earlier.ack.filter(|_| !is_open);
        let Some(heading) = heading else {
            self.forget(id);
            let application = stored.map_or(Application::Silent, |(_, ack)| Application::Now(ack));
            return Ok(Answers { accept: None, application });
        };
        let (is_accepted, code) = match &stored {
            Some((code, _)) => (code != "AR", Code::parse(code)),
            None => (true, None),
        };
        let is_applied = code.is_none_or(Code::is_success);
        let (accept, application) = ack::wanted(&heading, is_accepted, Some(is_applied));
        let accept = accept.then(|| {
            let code = if is_accepted { Code::CA } else { Code::CR };
            self.answer(Some(&heading), code, &[])
        });
        let application = match stored {
            Some((_, ack)) if application => Application::Now(ack),
            Some(_) => Application::Silent,
            None if waits(&heading) => {
                Application::Later(Box::new(Pending { id, heading, outcome }))
            }
            None => Application::Silent,
        };
        Ok(Answers { accept, application })
    }

    /// What is said to who sends more than a message may have, or bytes that are none; it is kept.
    ///
    /// # Errors
    /// Those of the store: then nothing may be answered.
    pub async fn refuse(
        self: &Arc<Self>,
        beginning: &[u8],
        issue: Issue,
        origin: &Origin,
    ) -> Result<Bytes, Error> {
        let mut judged = Judged::new(beginning, &[], false, &self.settings.rules);
        // The beginning of something says nothing of a repetition.
        if let Some(heading) = &mut judged.heading {
            heading.mode = Mode::Original;
        }
        judged.refused = Some((Code::AR, issue));
        let ack = self.first_answer(&judged).unwrap_or((Code::AR, Bytes::new()));
        let id = self.ids.ordered();
        let place = (None, Some(&ack), false);
        self.store(&judged, id, beginning, place, origin).await?;
        Ok(ack.1)
    }

    /// An answer in the character set of what it answers.
    pub(super) fn answer(&self, heading: Option<&Heading>, code: Code, issues: &[Issue]) -> Bytes {
        let stamp = self.stamp();
        let text = ack::answer(heading, code, issues, &stamp.borrow());
        match heading {
            Some(heading) => Bytes::copy_from_slice(&heading.charset.encode(&text)),
            None => text.into(),
        }
    }

    fn stamp(&self) -> OwnStamp {
        OwnStamp { now: stamped(self.clock.now()), control_id: control_id(self.ids.ordered()) }
    }

    fn register(&self, id: Uuid) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.entry(id).or_default().push(sender);
        receiver
    }

    fn forget(&self, id: Uuid) {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Tells those who wait how work ended.
    pub(super) fn settle(&self, id: Uuid, outcome: &Outcome) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        for waiter in waiters.remove(&id).unwrap_or_default() {
            // Who waits no longer has left.
            let _ = waiter.send(outcome.clone());
        }
    }

    /// Has what waits looked at now.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether so many messages wait that no more should be read.
    pub fn is_full(&self) -> bool {
        let waiting = self.waiting.load(std::sync::atomic::Ordering::Relaxed);
        waiting >= self.settings.most_waiting
    }
}

impl Pending {
    /// The answer once the work is done, if one is wanted then; AE 206 when it takes too long.
    pub async fn answer(self, receiver: &Receiver) -> Option<Bytes> {
        let Self { id, heading, mut outcome } = self;
        let until = Deadline::now() + receiver.settings.deadline;
        let found = loop {
            tokio::select! {
                told = &mut outcome => break told.ok(),
                () = tokio::time::sleep_until(until) => break None,
                () = tokio::time::sleep(LOOK) => {
                    // Another node may have done it.
                    if let Ok(Earlier { state, ack: Some((code, ack)), .. }) =
                        receiver.store.message_answer(id).await
                        && state.has_ended()
                        && let Some(code) = Code::parse(&code)
                    {
                        break Some((code, ack));
                    }
                }
            }
        };
        let (code, ack) = found.unwrap_or_else(|| {
            let issue = Issue::error(Condition::Locked).named("retry");
            (Code::AE, receiver.answer(Some(&heading), Code::AE, &[issue]))
        });
        let is_wanted = match heading.mode {
            Mode::Original => true,
            Mode::Enhanced { application, .. } => application.is_for(code.is_success()),
        };
        is_wanted.then_some(ack)
    }
}

/// Whether anybody waits for how the work ends.
fn waits(heading: &Heading) -> bool {
    match heading.mode {
        _ if heading.is_answer() => false,
        Mode::Original => true,
        Mode::Enhanced { application, .. } => application != Wanted::Never,
    }
}

/// An answer as text.
fn shown(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).into_owned()
}

struct OwnStamp {
    now: String,
    control_id: String,
}

impl OwnStamp {
    fn borrow(&self) -> Stamp<'_> {
        Stamp { now: &self.now, control_id: &self.control_id, expected: None }
    }
}

/// `20260704120000.123+0000`
fn stamped(now: Instant) -> String {
    let digits: String = now.to_string().chars().filter(char::is_ascii_digit).collect();
    let (seconds, fraction) = digits.split_at(digits.len().min(14));
    format!("{seconds}.{fraction}+0000")
}

/// A control id of 20 characters, the most that old versions take: the time of an id and its end.
fn control_id(id: Uuid) -> String {
    let digits = id.simple().to_string();
    format!("{}{}", &digits[..12], &digits[24..])
}

/// An issue as it is kept.
pub(super) fn stored(issue: &Issue) -> MessageIssue {
    let place = issue.place;
    let numbers = place.map_or([0; 5], |place| {
        [place.sequence, place.field, place.repetition, place.component, place.subcomponent]
            .map(i32::from)
    });
    MessageIssue {
        severity: issue.severity.as_str().to_owned(),
        code: issue.condition.number().into(),
        name: issue.name.to_owned(),
        segment: place.map(|place| place.segment.to_string()).unwrap_or_default(),
        numbers,
        text: issue.detail.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_stamped_so_that_old_systems_read_them() {
        let now = Instant::parse("2026-07-04T12:00:01.25Z").unwrap();
        assert_eq!(stamped(now), "20260704120001.250+0000");
        assert!(Moment::parse(&stamped(now)).is_ok());
        let id = Uuid::parse_str("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
        assert_eq!(control_id(id), "01890a5dac96099a8057");
    }
}
