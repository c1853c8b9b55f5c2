//! Release 2 of MLLP, our side as a sender: one answer at a time, until the other side has it.
//!
//! What confirms a frame names none, but comes in the order of the frames. So each that comes is held against
//! the oldest frame that none has come for, which may be an earlier copy of an answer that is settled.
//!
//! Spec: v2 M3

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// How long an answer may be unconfirmed before it is sent again.
pub(super) const CONFIRM: Duration = Duration::from_secs(10);
/// How often it is sent again.
const MOST_AGAIN: u32 = 3;
/// Most answers, and most frames, that wait.
const MOST: usize = 64;

/// Why a connection ends: the other side does not confirm what it is sent.
pub(super) const GIVEN_UP: &str = "not confirmed";

/// Answers that the other side does not have, the oldest first: that one alone is on its way.
#[derive(Debug)]
pub(super) struct Unconfirmed {
    /// How long one may be unconfirmed.
    patience: Duration,
    answers: VecDeque<Bytes>,
    /// The frames that nothing has come for: whether each has the oldest answer, or one that is settled.
    frames: VecDeque<bool>,
    /// How often the oldest was sent again, and since when it waits.
    again: u32,
    since: Option<Instant>,
}

impl Unconfirmed {
    /// None by now.
    pub(super) fn new(patience: Duration) -> Self {
        let (answers, frames) = (VecDeque::new(), VecDeque::new());
        Self { patience, answers, frames, again: 0, since: None }
    }

    /// Takes an answer: it is to be sent now when none is on its way.
    ///
    /// # Errors
    /// Too many wait: the other side does not do its part.
    pub(super) fn push(&mut self, answer: Bytes) -> Result<Option<Bytes>, &'static str> {
        if self.answers.len() >= MOST || self.frames.len() >= MOST {
            return Err(GIVEN_UP);
        }
        self.answers.push_back(answer);
        Ok(if self.answers.len() == 1 { self.send() } else { None })
    }

    /// The other side has a frame: the answer that is to be sent now.
    pub(super) fn confirmed(&mut self) -> Option<Bytes> {
        if self.frames.pop_front() != Some(true) {
            return None;
        }
        self.answers.pop_front();
        self.frames.iter_mut().for_each(|has_oldest| *has_oldest = false);
        self.again = 0;
        self.send()
    }

    /// The other side could not take a frame: its answer, unless that is settled or comes in another frame.
    ///
    /// # Errors
    /// It was sent too often already.
    pub(super) fn refused(&mut self) -> Result<Option<Bytes>, &'static str> {
        let is_oldest = self.frames.pop_front() == Some(true);
        if !is_oldest || self.frames.contains(&true) {
            return Ok(None);
        }
        self.send_again()
    }

    /// The answer to be sent again when its time is up.
    ///
    /// # Errors
    /// It was sent too often already.
    pub(super) fn overdue(&mut self) -> Result<Option<Bytes>, &'static str> {
        if self.wait().is_none_or(|wait| !wait.is_zero()) { Ok(None) } else { self.send_again() }
    }

    /// How long until the oldest is sent again; `None`: nothing is to be sent.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.since.map(|since| self.patience.saturating_sub(since.elapsed()))
    }

    fn send_again(&mut self) -> Result<Option<Bytes>, &'static str> {
        if self.again == MOST_AGAIN {
            return Err(GIVEN_UP);
        }
        self.again += 1;
        Ok(self.send())
    }

    /// The oldest, which goes out now.
    fn send(&mut self) -> Option<Bytes> {
        let oldest = self.answers.front().cloned();
        self.since = oldest.is_some().then(Instant::now);
        self.frames.extend(oldest.is_some().then_some(true));
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// Covers: v2 M3.
    #[test]
    fn an_answer_waits_until_the_one_before_it_is_confirmed() {
        let mut out = Unconfirmed::new(CONFIRM);
        assert_eq!((out.wait(), out.confirmed()), (None, None), "there is none");
        assert_eq!(out.refused(), Ok(None));
        assert_eq!(out.push(answer("1")), Ok(Some(answer("1"))));
        assert_eq!(out.push(answer("2")), Ok(None));
        assert_eq!(out.push(answer("3")), Ok(None));
        assert_eq!(out.overdue(), Ok(None), "it is not time");
        assert_eq!(out.refused(), Ok(Some(answer("1"))));
        assert_eq!(out.confirmed(), Some(answer("2")));
        assert_eq!(out.confirmed(), Some(answer("3")));
        assert_eq!(out.confirmed(), None);
        assert_eq!(out.wait(), None);
    }

    #[test]
    fn what_confirms_an_earlier_copy_confirms_no_other_answer() {
        let mut out = Unconfirmed::new(Duration::ZERO);
        out.push(answer("1")).unwrap();
        out.push(answer("2")).unwrap();
        assert_eq!(out.overdue(), Ok(Some(answer("1"))), "a second copy");
        assert_eq!(out.confirmed(), Some(answer("2")), "by the first one");
        assert_eq!(out.confirmed(), None, "of the second copy, not of what came after it");
        assert_eq!(out.wait(), Some(Duration::ZERO), "so the other one still waits");
        assert_eq!(out.refused(), Ok(Some(answer("2"))));
        assert_eq!(out.overdue(), Ok(Some(answer("2"))));
        assert_eq!(out.refused(), Ok(None), "the other copy is on its way");
        assert_eq!(out.confirmed(), None);
        assert_eq!(out.wait(), None);
    }

    #[test]
    fn who_confirms_nothing_is_given_up() {
        let mut out = Unconfirmed::new(Duration::ZERO);
        out.push(answer("1")).unwrap();
        for _ in 0..MOST_AGAIN {
            assert_eq!(out.overdue(), Ok(Some(answer("1"))));
        }
        assert_eq!(out.overdue(), Err(GIVEN_UP));
        let mut out = Unconfirmed::new(CONFIRM);
        for _ in 0..MOST {
            out.push(answer("1")).unwrap();
        }
        assert_eq!(out.push(answer("1")), Err(GIVEN_UP));
    }
}
