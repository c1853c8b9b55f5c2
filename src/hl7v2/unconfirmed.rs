//! Release 2 of MLLP, our side as a sender: answers that the other side has not confirmed.
//!
//! Spec: v2 M3

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// How long an answer may be unconfirmed before it is sent again.
pub(super) const CONFIRM: Duration = Duration::from_secs(10);
/// How often it is sent again.
const MOST: u32 = 3;

/// Answers on their way, the oldest first.
#[derive(Debug)]
pub(super) struct Unconfirmed {
    /// How long one may be unconfirmed.
    patience: Duration,
    answers: VecDeque<Bytes>,
    /// How often the oldest was sent again, and since when it waits.
    tries: u32,
    since: Option<Instant>,
}

impl Unconfirmed {
    /// None by now.
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, answers: VecDeque::new(), tries: 0, since: None }
    }

    /// An answer was sent.
    pub(super) fn sent(&mut self, answer: Bytes) {
        if self.answers.is_empty() {
            self.since = Some(Instant::now());
        }
        self.answers.push_back(answer);
    }

    /// The other side has the oldest.
    pub(super) fn confirmed(&mut self) {
        self.answers.pop_front();
        self.tries = 0;
        self.since = (!self.answers.is_empty()).then(Instant::now);
    }

    /// The other side has all of them.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.patience);
    }

    /// How long until the oldest is sent again; `None`: nothing is to be sent.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.since.map(|since| self.patience.saturating_sub(since.elapsed()))
    }

    /// The answer to be sent again, because it was refused or its time is up. One that was sent too often
    /// already is given up.
    pub(super) fn again(&mut self, is_refused: bool) -> Option<Bytes> {
        if self.answers.is_empty() || !is_refused && self.wait().is_none_or(|wait| !wait.is_zero())
        {
            return None;
        }
        if self.tries == MOST {
            tracing::warn!("an answer was not confirmed and is not sent again");
            self.confirmed();
            return None;
        }
        self.tries += 1;
        self.since = Some(Instant::now());
        self.answers.front().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_sent_again_until_it_is_confirmed_or_given_up() {
        let mut patient = Unconfirmed::new(CONFIRM);
        assert_eq!(patient.wait(), None);
        assert_eq!(patient.again(true), None, "there is none");
        assert_eq!(patient.wait(), None);
        patient.sent(Bytes::from_static(b"1"));
        assert!(patient.wait().is_some_and(|wait| !wait.is_zero()));
        assert_eq!(patient.again(false), None, "it is not time");
        assert_eq!(patient.again(true).unwrap(), "1");
        let mut hasty = Unconfirmed::new(Duration::ZERO);
        hasty.sent(Bytes::from_static(b"1"));
        hasty.sent(Bytes::from_static(b"2"));
        assert_eq!(hasty.again(false).unwrap(), "1");
        hasty.confirmed();
        for _ in 0..MOST {
            assert_eq!(hasty.again(false).unwrap(), "2");
        }
        assert_eq!(hasty.again(false), None);
        assert_eq!(hasty.wait(), None, "it is given up");
    }
}
