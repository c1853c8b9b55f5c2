//! Release 2 of MLLP, our side as a sender: answers that the other side has not confirmed.
//!
//! Spec: v2 M3

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// How long an answer may be unconfirmed before it is sent again.
const CONFIRM: Duration = Duration::from_secs(10);
/// How often it is sent again.
const MOST: u32 = 3;

/// Answers on their way, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    answers: VecDeque<Bytes>,
    /// How often the oldest was sent again, and since when it waits.
    tries: u32,
    since: Option<Instant>,
}

impl Unconfirmed {
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
        *self = Self::default();
    }

    /// How long until the oldest is sent again; `None`: nothing is to be sent.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.since.map(|since| CONFIRM.saturating_sub(since.elapsed()))
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

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_sent_again_until_it_is_confirmed_or_given_up() {
        let mut unconfirmed = Unconfirmed::default();
        assert_eq!(unconfirmed.wait(), None);
        assert_eq!(unconfirmed.again(true), None, "there is none");
        assert_eq!(unconfirmed.wait(), None);
        unconfirmed.sent(Bytes::from_static(b"1"));
        unconfirmed.sent(Bytes::from_static(b"2"));
        assert_eq!(unconfirmed.wait(), Some(CONFIRM));
        assert_eq!(unconfirmed.again(false), None, "it is not time");
        assert_eq!(unconfirmed.again(true).unwrap(), "1");
        tokio::time::advance(CONFIRM).await;
        assert_eq!(unconfirmed.again(false).unwrap(), "1");
        unconfirmed.confirmed();
        for _ in 0..MOST {
            tokio::time::advance(CONFIRM).await;
            assert_eq!(unconfirmed.again(false).unwrap(), "2");
        }
        tokio::time::advance(CONFIRM).await;
        assert_eq!(unconfirmed.again(false), None);
        assert_eq!(unconfirmed.wait(), None, "it is given up");
    }
}
