//! What is done with messages: by whom, with what, and how it went.
//!
//! Spec: v2 M8, M9

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::ack::{Code, Condition, Issue};
use super::er7::Message;
use super::heading::Heading;
use super::map::Maps;
use super::merges::{TakeBack, TakenBack};
use super::receive::Receiver;
use super::reply::stored;
use super::trial::{Drafted, Resolved};
use crate::access::Caller;
use crate::error::Error;
use crate::fhir::Instant;
use crate::store::hl7v2::{Merge, MessageEffect, MessageEnd, MessageState};

/// What is done with messages.
pub trait Work: Send + Sync {
    /// Whether there is something to be done with messages of this type and event.
    ///
    /// # Errors
    /// The condition for which they are rejected: 200 or 201.
    fn knows(&self, heading: &Heading) -> Result<(), Condition>;

    /// What would be done by these maps, as a transaction: without a look at what is stored. `None`:
    /// nothing is known of such messages.
    fn draft(&self, message: &Message<'_>, maps: &Maps) -> Option<Drafted> {
        let _ = (message, maps);
        None
    }

    /// Which stored resources a message is about; an issue where that cannot be told. Nothing is written.
    fn resolve<'a>(
        &'a self,
        message: &'a Message<'a>,
        maps: &'a Maps,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<Result<Vec<Resolved>, Issue>, Error>> {
        let _ = (message, maps, caller);
        async { Ok(Ok(Vec::new())) }.boxed()
    }

    /// The known patients whose numbers a message has, whatever else it is.
    fn patients<'a>(
        &'a self,
        message: &'a Message<'a>,
        maps: &'a Maps,
    ) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        let _ = (message, maps);
        async { Ok(Vec::new()) }.boxed()
    }

    /// Does it.
    fn run<'a>(&'a self, task: Task<'a>) -> BoxFuture<'a, Done>;

    /// Moves what still leads to the one that a merge ended; how many resources that were.
    fn settle<'a>(
        &'a self,
        merge: &'a Merge,
        caller: &'a Caller,
    ) -> BoxFuture<'a, Result<usize, Error>> {
        let _ = (merge, caller);
        async { Ok(0) }.boxed()
    }

    /// Takes a merge back.
    fn take_back<'a>(&'a self, wish: TakeBack<'a>) -> BoxFuture<'a, Result<TakenBack, Error>> {
        let _ = wish;
        async { Err(Error::Conflict("merges are not taken back here".to_owned())) }.boxed()
    }
}

/// How work went.
#[derive(Debug)]
pub enum Done {
    /// Its effect and this end are committed, together.
    Applied(MessageEnd),
    /// It had no effect, and will have none like this.
    Failed(Vec<Issue>),
    /// It had no effect by now. The reason holds nothing of the message.
    Later(String),
}

/// A message that is to be worked on.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The stored message.
    pub id: Uuid,
    /// Its bytes, as they came.
    pub raw: &'a [u8],
    /// The message.
    pub message: &'a Message<'a>,
    /// Its header.
    pub heading: &'a Heading,
    /// Who sent it.
    pub site: &'a str,
    /// The maps for who sent it.
    pub maps: &'a Maps,
    /// When it came.
    pub received_at: Instant,
    /// In whose name the work is done.
    pub caller: &'a Caller,
    pub(super) attempts: i32,
    pub(super) holds_lines: bool,
    /// When it was worked on before: whether what it made then and makes no longer goes.
    pub again: Option<bool>,
    /// What is worth knowing of how it was read.
    pub(super) notes: &'a [Issue],
    /// The patients that it is found to be about.
    pub(super) about: &'a Mutex<BTreeSet<String>>,
    pub(super) receiver: &'a Receiver,
}

impl Task<'_> {
    /// Takes note of patients that the message is about, for the record of what has no effect.
    pub fn is_about(&self, patients: impl IntoIterator<Item = String>) {
        self.about.lock().unwrap_or_else(PoisonError::into_inner).extend(patients);
    }

    /// The end of work that had these `effects` and found these `issues`: its state and its answer.
    pub fn end(
        &self,
        issues: &[Issue],
        effects: Vec<MessageEffect>,
        map_hash: Option<String>,
    ) -> MessageEnd {
        let issues = &[self.notes, issues].concat();
        let code = Code::of(issues);
        let (state, reason) = match issues.iter().find(|issue| issue.severity.is_failure()) {
            Some(issue) if code == Code::AR => (MessageState::Rejected, issue.text()),
            Some(issue) => (MessageState::Failed, issue.text()),
            None if issues.is_empty() => (MessageState::Processed, String::new()),
            None => (MessageState::ProcessedWithIssues, String::new()),
        };
        MessageEnd {
            id: self.id,
            attempts: self.attempts,
            state,
            ack: (code.as_str(), self.receiver.answer(Some(self.heading), code, issues)),
            at: self.receiver.clock.now(),
            map_hash,
            reason,
            issues: issues.iter().map(stored).collect(),
            effects,
            unmapped: Vec::new(),
            holds_its_line: state == MessageState::Failed && self.holds_lines,
        }
    }
}
