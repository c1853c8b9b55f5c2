//! Answers that are sent: at once, after the work, and again.
//!
//! Spec: v2 M4, M7, S20; B2, B10

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant as Deadline;
use uuid::Uuid;

use super::ack::{self, Code, Condition, Issue, Stamp};
use super::heading::{Heading, Mode, Wanted};
use super::judge::Judged;
use super::receive::Receiver;
use crate::error::Error;
use crate::fhir::Instant;
use crate::store::Flush;
use crate::store::hl7v2::{Earlier, MessageIssue, MessageState};

/// Between two looks at a message that another node works on.
const LOOK: Duration = Duration::from_millis(500);

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
    heading: Heading,
    waiter: Waiter,
    /// Whether the disk has the message before its effect.
    flush: Flush,
}

/// How work ended: the code and the answer.
pub(super) type Outcome = (Code, Bytes);

/// Those who wait for the end of work, by its message.
pub(super) type Waiters = Arc<Mutex<HashMap<Uuid, Vec<oneshot::Sender<Outcome>>>>>;

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiter {
    id: Uuid,
    outcome: oneshot::Receiver<Outcome>,
    waiters: Waiters,
}

impl Waiter {
    fn new(id: Uuid, waiters: &Waiters) -> Self {
        let (sender, outcome) = oneshot::channel();
        let mut all = waiters.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(id).or_default().push(sender);
        drop(all);
        Self { id, outcome, waiters: waiters.clone() }
    }
}

impl Drop for Waiter {
    /// Whoever waits no longer is not kept: the end may have come before, or elsewhere.
    fn drop(&mut self) {
        self.outcome.close();
        let mut all = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut known) = all.entry(self.id) {
            known.get_mut().retain(|waiter| !waiter.is_closed());
            if known.get().is_empty() {
                known.remove();
            }
        }
    }
}

impl Receiver {
    /// The answer that is given without any work: a refusal, or an accept where receipt is enough.
    pub(super) fn first_answer(&self, judged: &Judged, waits_for_effect: bool) -> Option<Outcome> {
        let heading = judged.heading.as_ref();
        match &judged.refused {
            Some((code, issue)) => {
                Some((*code, self.answer(heading, *code, std::slice::from_ref(issue))))
            }
            None if judged.goes_on.is_some() => {
                Some((Code::AA, self.answer(heading, Code::AA, &[])))
            }
            None if waits_for_effect => None,
            None => {
                let is_original = heading.is_some_and(|heading| heading.mode == Mode::Original);
                is_original.then(|| (Code::AA, self.answer(heading, Code::AA, &[])))
            }
        }
    }

    /// Whether the receipt of a message waits for the disk. It does not where nothing is said before the
    /// effect: the commit of that has the disk take both. Release 2 of MLLP says that it is stored.
    pub(super) fn flush_of(&self, judged: &Judged, ack: Option<&Outcome>) -> Flush {
        let is_original = |heading: &Heading| heading.mode == Mode::Original;
        let is_later = ack.is_none()
            && judged.refused.is_none()
            && judged.goes_on.is_none()
            && judged.heading.as_ref().is_some_and(|it| is_original(it) && waits(it));
        if is_later && !self.settings.confirms_answers { Flush::Soon } else { Flush::Wait }
    }

    /// What a message that is stored is answered with.
    pub(super) fn answers(&self, judged: Judged, ack: Option<Outcome>, waiter: Waiter) -> Answers {
        let (flush, id) = (self.flush_of(&judged, ack.as_ref()), waiter.id);
        let Some(heading) = judged.heading else {
            let application = ack.map_or(Application::Silent, |(_, ack)| Application::Now(ack));
            return Answers { accept: None, application };
        };
        let failed = judged.refused.as_ref().map(|(code, issue)| (*code, issue));
        let (accept, application) =
            ack::wanted(&heading, failed.is_none(), failed.map(|_| false).or(Some(true)));
        let accept = accept.then(|| match failed {
            Some((code, issue)) => {
                self.receipt(&heading, id, code.commit(), std::slice::from_ref(issue))
            }
            None => self.receipt(&heading, id, Code::CA, &[]),
        });
        let application = match ack {
            // What is refused is told once.
            Some(_) if accept.is_some() || !application => Application::Silent,
            Some((_, ack)) => Application::Now(ack),
            None if waits(&heading) => {
                Application::Later(Box::new(Pending { heading, waiter, flush }))
            }
            None => Application::Silent,
        };
        Answers { accept, application }
    }

    /// What the same bytes are answered with that came before: what they were answered with then.
    pub(super) async fn repeated(
        &self,
        earlier: Earlier,
        heading: Option<Heading>,
        refused: Option<(Code, Issue)>,
    ) -> Result<Answers, Error> {
        metrics::counter!("kiln_v2_repeated_total").increment(1);
        let id = earlier.id;
        let waiter = self.register(id);
        // It failed: the sender tries again, and so do we, unless it is refused as it was.
        let again = [MessageState::Failed, MessageState::Held];
        let is_open = match earlier.state {
            state if again.contains(&state) && refused.is_some() => false,
            state if again.contains(&state) => {
                let queued = self.store.requeue_messages(&[id], &again).await?;
                self.wake.notify_one();
                !queued.is_empty()
            }
            state => !state.has_ended(),
        };
        let stored = earlier.ack.filter(|_| !is_open);
        let Some(heading) = heading else {
            let application = stored.map_or(Application::Silent, |(_, ack)| Application::Now(ack));
            return Ok(Answers { accept: None, application });
        };
        let (is_accepted, code) = match &stored {
            Some((code, _)) => (code != "AR", Code::parse(code)),
            None => (true, None),
        };
        let is_applied = code.is_none_or(Code::is_success);
        let refused = refused.filter(|_| !is_applied);
        let is_accepted = is_accepted && refused.is_none();
        let (accept, application) = ack::wanted(&heading, is_accepted, Some(is_applied));
        let accept = accept.then(|| match &refused {
            Some((code, issue)) => {
                self.receipt(&heading, id, code.commit(), std::slice::from_ref(issue))
            }
            None if is_accepted => self.receipt(&heading, id, Code::CA, &[]),
            None => self.receipt(&heading, id, Code::CR, &[]),
        });
        let application = match stored {
            // What is refused is told once.
            Some(_) if refused.is_some() && accept.is_some() => Application::Silent,
            Some((_, ack)) if application => Application::Now(ack),
            None if waits(&heading) => {
                // What repeats another is on the disk, and so is what it repeats.
                Application::Later(Box::new(Pending { heading, waiter, flush: Flush::Wait }))
            }
            Some(_) | None => Application::Silent,
        };
        Ok(Answers { accept, application })
    }

    /// An answer in the character set of what it answers.
    pub(super) fn answer(&self, heading: Option<&Heading>, code: Code, issues: &[Issue]) -> Bytes {
        self.stamped(heading, code, issues, &self.stamp())
    }

    /// What is said of the receipt of a message. Its number and its time are those of the message, so that whoever
    /// sends it again hears the same bytes, though they were kept nowhere.
    fn receipt(&self, heading: &Heading, id: Uuid, code: Code, issues: &[Issue]) -> Bytes {
        let at = received(id).unwrap_or_else(|| self.clock.now());
        let stamp = OwnStamp { now: stamped(at), control_id: control_id(id) };
        self.stamped(Some(heading), code, issues, &stamp)
    }

    fn stamped(
        &self,
        heading: Option<&Heading>,
        code: Code,
        issues: &[Issue],
        stamp: &OwnStamp,
    ) -> Bytes {
        let expected = heading.and_then(|heading| self.expected(heading));
        let stamp = Stamp { expected, ..stamp.borrow() };
        let text = ack::answer(heading, code, issues, &stamp);
        match heading {
            Some(heading) => Bytes::copy_from_slice(&heading.charset.encode(&text)),
            None => text.into(),
        }
    }

    /// The number of the next message, where they are numbered.
    fn expected(&self, heading: &Heading) -> Option<u64> {
        let next = || heading.sequence.parse::<u64>().ok().map(|number| number.saturating_add(1));
        heading.expected.or_else(next).filter(|_| self.settings.is_numbered)
    }

    pub(super) fn stamp(&self) -> OwnStamp {
        OwnStamp { now: stamped(self.clock.now()), control_id: control_id(self.ids.ordered()) }
    }

    /// Waits for the end of a message from now on.
    pub(super) fn register(&self, id: Uuid) -> Waiter {
        Waiter::new(id, &self.waiters)
    }

    /// Tells those who wait how work ended.
    pub(super) fn settle(&self, id: Uuid, outcome: &Outcome) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        for waiter in waiters.remove(&id).unwrap_or_default() {
            // Who waits no longer has left.
            let _ = waiter.send(outcome.clone());
        }
    }
}

impl Pending {
    /// The answer once the work is done, if one is wanted then; AE 206 when it takes too long, or this node
    /// stops before it begins, and the disk has the message.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it may not have it: then nothing may be answered.
    pub async fn answer(self, receiver: &Receiver) -> Result<Option<Bytes>, Error> {
        let Self { heading, mut waiter, flush } = self;
        let id = waiter.id;
        let until = Deadline::now() + receiver.settings.deadline;
        let (mut ended, mut is_last) = (receiver.ended.subscribe(), false);
        let found = loop {
            let stopping = async { ended.wait_for(|is| *is).await.is_ok() };
            tokio::select! {
                told = &mut waiter.outcome => break told.ok(),
                _ = stopping, if !is_last => {
                    if !receiver.is_at_work(id) {
                        break waiter.outcome.try_recv().ok();
                    }
                    is_last = true;
                }
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
        let (code, ack) = if let Some(found) = found {
            found
        } else {
            if flush == Flush::Soon {
                receiver.store.keep_message(id).await?;
            }
            let issue = Issue::error(Condition::Locked).named("retry");
            (Code::AE, receiver.answer(Some(&heading), Code::AE, &[issue]))
        };
        let is_wanted = match heading.mode {
            Mode::Original => true,
            Mode::Enhanced { application, .. } => application.is_for(code.is_success()),
        };
        Ok(is_wanted.then_some(ack))
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

pub(super) struct OwnStamp {
    now: String,
    control_id: String,
}

impl OwnStamp {
    pub(super) fn borrow(&self) -> Stamp<'_> {
        Stamp { now: &self.now, control_id: &self.control_id, expected: None }
    }
}

/// When the message of an id came, which is ordered by that.
fn received(id: Uuid) -> Option<Instant> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let micros = seconds.checked_mul(1_000_000)?.checked_add(u64::from(nanos) / 1_000)?;
    i64::try_from(micros).ok().map(Instant::from_micros)
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
    use crate::hl7v2::dtm::Moment;

    use super::*;

    #[test]
    fn who_waits_no_longer_is_not_kept() {
        let (waiters, id) = (Waiters::default(), Uuid::from_u128(1));
        let count = || waiters.lock().unwrap().get(&id).map_or(0, Vec::len);
        let (first, second) = (Waiter::new(id, &waiters), Waiter::new(id, &waiters));
        let other = Waiter::new(Uuid::from_u128(2), &waiters);
        assert_eq!(count(), 2);
        drop(first);
        assert_eq!(count(), 1, "the other one still waits");
        drop(second);
        drop(other);
        assert!(waiters.lock().unwrap().is_empty());
        // The end takes all that wait along; who leaves after it leaves nothing.
        let third = Waiter::new(id, &waiters);
        waiters.lock().unwrap().remove(&id);
        drop(third);
        assert!(waiters.lock().unwrap().is_empty());
    }

    #[test]
    fn answers_are_stamped_so_that_old_systems_read_them() {
        let now = Instant::parse("2026-07-04T12:00:01.25Z").unwrap();
        assert_eq!(stamped(now), "20260704120001.250+0000");
        assert!(Moment::parse(&stamped(now)).is_ok());
        let id = Uuid::parse_str("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
        assert_eq!(control_id(id), "01890a5dac96099a8057");
        assert_eq!(received(id).map(stamped).as_deref(), Some("20230630033418.518+0000"));
        assert_eq!(received(Uuid::from_u128(1)), None, "an id that is not ordered says nothing");
    }
}
