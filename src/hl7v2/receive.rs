//! The receiver: from the bytes of a message to its answers.
//!
//! A message is judged, stored and only then answered; work on it is done by [`queue`](super::queue),
//! and whoever sent it waits for the outcome as long as the settings say. The same bytes again get the
//! same answer.
//!
//! Spec: v2 M4, M7 to M9, S20, S21, S55; B2, B6, B7, B10, B35

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, watch};
use uuid::Uuid;

use super::ack::{self, Code, Condition, Issue};
use super::batch::{self, Batch};
use super::dtm::{Moment, Zones};
use super::elsewhere::Endpoint;
use super::heading::{Heading, Mode};
use super::judge::{Judged, Rules, number_used};
use super::line::Line;
use super::map::Maps;
use super::queue::{Job, LEASE_MS, Work};
pub use super::reply::{Answers, Application, Pending};
use super::reply::{Outcome, Waiters, stored};
use super::sites::{Sites, sender};
pub use super::trial::{Converted, Trial};
use crate::access::{Caller, Principal, RequestContext};
use crate::clock::{Clock, IdSource};
use crate::engine::Engine;
use crate::error::Error;
use crate::store::Store;
use crate::store::hl7v2::{MessageIssue, MessageState, NewMessage, Received};

/// Most characters of a field of the header that are kept beside the message.
const LONGEST_TEXT: usize = 200;
/// Most bytes of the names of a certificate that are kept.
const LONGEST_NAMES: usize = 2_000;

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
    /// Where answers go that profiles of senders want elsewhere.
    pub endpoints: Vec<Endpoint>,
    /// Whether a frame of its own confirms each answer there (release 2 of MLLP).
    pub confirms_answers: bool,
    /// Whether senders number their messages (MSH-13).
    pub is_numbered: bool,
    /// How long a message waits for those before it, by their numbers, before it is done; `None`: it is refused.
    pub gap: Option<Duration>,
    /// Whether a control id that was used for another message is refused.
    pub refuses_reuse: bool,
    /// For how many days the text of what is done is kept; `None`: for good.
    pub days_kept: Option<u32>,
    /// For how many months messages are kept; `None`: for good.
    pub months_kept: Option<u32>,
    /// Messages that this node works on at the same time.
    pub workers: usize,
    /// Messages in line beyond which no more are read.
    pub most_waiting: i64,
    /// Most bytes of parts of a sender that wait for the next ones.
    pub most_of_parts: u64,
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

impl Origin {
    /// The names in the client's certificate with a blank between them, as they are kept beside a message; empty
    /// without one. Of more than have room the last are left out.
    pub fn certificate(&self) -> String {
        let mut all = String::new();
        for name in &self.names {
            if all.len() + name.len() >= LONGEST_NAMES {
                break;
            }
            let between = if all.is_empty() { "" } else { " " };
            all.extend([between, name.as_str()]);
        }
        all
    }
}

/// What goes with a message when it is stored.
pub(super) struct Place<'a> {
    pub(super) batch: Option<Uuid>,
    /// The answer, where there is one by now.
    pub(super) ack: Option<&'a Outcome>,
    pub(super) note: Option<Issue>,
    pub(super) may_begin: bool,
}

/// Takes messages in.
pub struct Receiver {
    pub(super) engine: Arc<Engine>,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) settings: Settings,
    pub(super) work: Arc<dyn Work>,
    pub(super) sites: Arc<Sites>,
    pub(super) principal: Principal,
    pub(super) wake: Notify,
    /// Some work has ended.
    pub(super) answered: Notify,
    pub(super) seats: Arc<Semaphore>,
    pub(super) waiting: AtomicI64,
    pub(super) line: Line,
    pub(super) running: Mutex<HashMap<Uuid, i32>>,
    pub(super) waiters: Waiters,
    /// Whether this node begins no more work on what waits.
    pub(super) ended: watch::Sender<bool>,
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
    /// The profiles of senders.
    pub sites: Arc<Sites>,
    /// The service in whose name it is done.
    pub principal: Principal,
    /// How it is set up.
    pub settings: Settings,
}

impl Receiver {
    /// A receiver.
    pub fn new(parts: Parts) -> Self {
        let Parts { engine, store, clock, ids, work, sites, principal, settings } = parts;
        Self {
            seats: Arc::new(Semaphore::new(settings.workers)),
            engine,
            store,
            clock,
            ids,
            settings,
            work,
            sites,
            principal,
            wake: Notify::new(),
            answered: Notify::new(),
            waiting: AtomicI64::new(0),
            line: Line::default(),
            running: Mutex::default(),
            waiters: Waiters::default(),
            ended: watch::Sender::new(false),
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

    /// How a message is taken in: as the settings say, and the profile of its sender.
    pub(super) fn settings_for(&self, raw: &[u8], listener: &str, certificate: &str) -> Settings {
        let mut settings = self.settings.clone();
        let Some(heading) = Heading::salvaged(raw) else { return settings };
        let wishes = self.sites.wishes(&sender(&heading, listener, certificate));
        settings.rules = settings.rules.wished(&wishes);
        settings.refuses_reuse = wishes.refuses_reuse.unwrap_or(settings.refuses_reuse);
        let seconds = wishes.gap_seconds.filter(|seconds| *seconds > 0);
        settings.gap = seconds.map(|seconds| Duration::from_secs(seconds.into())).or(settings.gap);
        settings.waits_for_effect = wishes.waits_for_effect.unwrap_or(settings.waits_for_effect);
        settings.holds_lines = wishes.holds_lines.unwrap_or(settings.holds_lines);
        settings
    }

    /// The maps of a profile, or for who sends a message.
    pub(super) fn maps_for(&self, heading: &Heading, profile: Option<&str>) -> Option<Arc<Maps>> {
        match profile {
            Some(name) => self.sites.named(name),
            None => self.maps_of(heading, "", ""),
        }
    }

    /// The maps that a message is done by which came this way; `None` when they cannot be used.
    pub fn maps_of(
        &self,
        heading: &Heading,
        listener: &str,
        certificate: &str,
    ) -> Option<Arc<Maps>> {
        self.sites.of(&sender(heading, listener, certificate)).ok()
    }

    /// The profiles of senders.
    pub fn sites(&self) -> &Arc<Sites> {
        &self.sites
    }

    /// Takes in the messages of a batch, and waits for all of them.
    async fn receive_batch(
        self: &Arc<Self>,
        raw: &Bytes,
        batch: &Batch<'_>,
        origin: &Origin,
    ) -> Result<Answers, Error> {
        let id = self.ids.ordered();
        if batch.messages.is_empty() {
            // No message passes the gate for it.
            let feed = || self.caller(id, origin.peer, &origin.certificate());
            let caller = origin.caller.clone().unwrap_or_else(feed);
            self.engine.receive_nothing(&caller).await?;
        }
        let mut all = Vec::with_capacity(batch.messages.len());
        for message in &batch.messages {
            all.push(self.receive_one(&raw.slice_ref(message), Some(id), origin).await?);
        }
        let mut answers = Vec::with_capacity(all.len());
        for one in all {
            let answer = match one.application {
                Application::Silent => continue,
                Application::Now(answer) => answer,
                Application::Later(pending) => match pending.answer(self).await? {
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
    pub(super) async fn receive_one(
        self: &Arc<Self>,
        raw: &Bytes,
        batch: Option<Uuid>,
        origin: &Origin,
    ) -> Result<Answers, Error> {
        let settings = self.settings_for(raw, origin.listener, &origin.certificate());
        let mut judged = Judged::new(raw, &origin.names, origin.is_framed, &settings.rules);
        let note = self.look_at(&mut judged, batch.is_some(), &settings).await?;
        let lacks_room = self.judge_part(&mut judged, raw).await?;
        let mut seat = self.seats.clone().try_acquire_owned().ok();
        let mut id = self.ids.ordered();
        let mut waiter = self.register(id);
        let ack = self.first_answer(&judged, settings.waits_for_effect);
        let place = Place { batch, ack: ack.as_ref(), note, may_begin: seat.is_some() };
        let mut received = self.store(&judged, id, raw, &place, origin).await;
        if self.is_mended(&received, &judged).await? {
            id = self.ids.ordered();
            waiter = self.register(id);
            received = self.store(&judged, id, raw, &place, origin).await;
        }
        if lacks_room && matches!(received, Ok(Received::New { .. })) {
            // Later there may be room: what comes again then is no repetition.
            self.store.forget_receipt(&judged.site, &judged.digest, id).await?;
        }
        let is_work = judged.refused.is_none() && judged.goes_on.is_none();
        let is_at_work = is_work && matches!(received, Ok(Received::New { .. }));
        if !is_at_work {
            seat = None;
        }
        metrics::counter!("kiln_v2_received_total").increment(1);
        let heading = judged.heading.clone().filter(|_| !self.settings.endpoints.is_empty());
        let (id, answers) = match (received?, seat) {
            (Received::Repeated(earlier), _) => {
                let id = earlier.id;
                (id, self.repeated(earlier, judged.heading, judged.refused).await?)
            }
            (Received::New { is_leased, is_blocked }, seat) => {
                if is_at_work {
                    self.waiting.fetch_add(1, Ordering::Relaxed);
                }
                match seat.filter(|_| is_leased) {
                    Some(seat) => {
                        self.begin(
                            Job::new(id, raw.clone(), origin, &judged, self.clock.now()),
                            seat,
                        );
                    }
                    None if is_at_work => {
                        self.line.join(id, is_blocked);
                        self.wake.notify_one();
                    }
                    None => {}
                }
                (id, self.answers(judged, ack, waiter))
            }
        };
        match heading {
            Some(heading) => self.elsewhere(answers, id, &heading, origin).await,
            None => Ok(answers),
        }
    }

    /// Judges what the bytes of a message alone do not say; what is worth knowing of its receipt.
    async fn look_at(
        &self,
        judged: &mut Judged,
        is_of_batch: bool,
        settings: &Settings,
    ) -> Result<Option<Issue>, Error> {
        let Some(heading) = &mut judged.heading else { return Ok(None) };
        if is_of_batch {
            // The batch is answered as a whole, so each message has its answer in it.
            heading.mode = Mode::Original;
        }
        let note = self.number(settings, &judged.site, heading, &mut judged.refused).await?;
        let (site, digest) = (&judged.site, &judged.digest);
        if settings.refuses_reuse
            && judged.refused.is_none()
            && self.store.is_number_used(site, &heading.control_id, digest).await?
        {
            judged.refused = Some(number_used());
        }
        if judged.refused.is_none()
            && let Err(condition) = self.work.knows(heading)
        {
            judged.refused = Some((Code::AR, Issue::error(condition)));
        }
        Ok(note)
    }

    pub(super) async fn store(
        &self,
        judged: &Judged,
        id: Uuid,
        raw: &Bytes,
        place: &Place<'_>,
        origin: &Origin,
    ) -> Result<Received, Error> {
        let &Place { batch, ack, ref note, may_begin } = place;
        let (now, heading) = (self.clock.now(), judged.heading.as_ref());
        let text =
            |value: fn(&Heading) -> &str| heading.map_or("", |heading| clipped(value(heading)));
        let lines: Vec<i64> =
            judged.lines.iter().map(|line| self.store.hasher().line(line)).collect();
        let sent = heading.and_then(|heading| {
            Moment::parse(&heading.sent).ok().map(|sent| sent.start(&self.settings.zones))
        });
        let issues: Vec<MessageIssue> =
            judged.refused.iter().map(|(_, issue)| stored(issue)).collect();
        let notes: Vec<MessageIssue> = note.iter().map(stored).collect();
        let reason = judged.refused.as_ref().map(|(_, issue)| issue.text()).unwrap_or_default();
        let patients = self.refused_about(judged, raw, origin).await?;
        let certificate = origin.certificate();
        let state = match &judged.refused {
            None if judged.goes_on.is_some() => MessageState::Fragment,
            None => MessageState::Received,
            Some((Code::AR, _)) => MessageState::Rejected,
            Some(_) => MessageState::Failed,
        };
        let message = NewMessage {
            id,
            listener: origin.listener,
            peer: origin.peer,
            tls_subject: Some(&*certificate).filter(|names| !names.is_empty()),
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
            part_of: text(|heading| &heading.continuation),
            goes_on: judged.goes_on.as_deref().map_or("", clipped),
            sent,
            lines: &lines,
            batch,
            state,
            ack: ack.map(|(code, bytes)| (code.as_str(), &bytes[..])),
            reason: &reason,
            issues: &issues,
            notes: &notes,
            patients: &patients,
            lease: may_begin.then(|| now.plus_millis(LEASE_MS)),
            flush: self.flush_of(judged, ack),
        };
        let caller =
            origin.caller.clone().unwrap_or_else(|| self.caller(id, origin.peer, &certificate));
        self.engine.receive_message(&message, &caller).await
    }

    /// The feed itself, at work on a message.
    pub(super) fn caller(&self, id: Uuid, source: Option<IpAddr>, certificate: &str) -> Caller {
        let request = RequestContext {
            id: id.to_string(),
            method: "MLLP",
            path_and_query: format!("/v2/messages/{id}"),
            source,
        };
        // It goes by its first name.
        let first = certificate.split(' ').next().unwrap_or_default();
        let name: String = first.chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect();
        let principal = if name.is_empty() {
            self.principal.clone()
        } else {
            // Who sends is known by its certificate.
            self.principal.on_behalf_of(&name)
        };
        Caller::new(principal, request)
    }

    /// Has what waits looked at now.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether so many messages wait that no more should be read.
    pub fn is_full(&self) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        waiting >= self.settings.most_waiting
    }
}

/// The beginning of a text, as much of it as lists and indexes take.
fn clipped(text: &str) -> &str {
    let end = text.char_indices().nth(LONGEST_TEXT).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

/// An answer as text.
pub(super) fn shown(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).into_owned()
}
