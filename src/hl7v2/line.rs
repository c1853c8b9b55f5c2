//! What a node knows of the messages that wait, so that it asks the database for some only when there may
//! be some.
//!
//! Spec: v2 M11, M12

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant as Watch};

use uuid::Uuid;

use super::receive::Receiver;
use crate::error::Error;

/// How many blocked messages are remembered. Others are freed by the end of the one before them, or found
/// among the oldest.
const REMEMBERED: usize = 64;
/// Between two looks at them.
const FREE: Duration = Duration::from_millis(50);
/// How many of the others one statement looks at, and how many statements each longer look has. Where more are
/// blocked, the next look goes on: what is held for days keeps nothing behind it from being found.
const LOOKED_AT: i64 = 1_000;
const STATEMENTS: usize = 8;

/// Messages that this node has stored and does not work on by now.
#[derive(Debug, Default)]
pub(super) struct Line {
    is_behind: AtomicBool,
    joined: AtomicU64,
    blocked: Mutex<VecDeque<Uuid>>,
    freed: Mutex<Option<Watch>>,
    /// How far was looked for others.
    looked: Mutex<Uuid>,
}

impl Line {
    /// A message waits; `is_blocked`: for the end of another one.
    pub(super) fn join(&self, id: Uuid, is_blocked: bool) {
        self.joined.fetch_add(1, Ordering::AcqRel);
        self.is_behind.store(true, Ordering::Release);
        if is_blocked {
            let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
            if blocked.len() == REMEMBERED {
                blocked.pop_front();
            }
            blocked.push_back(id);
        }
    }

    /// Whether something may wait that could be worked on.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Acquire)
    }

    /// How many have joined, for [`Line::counted`].
    pub(super) fn joined(&self) -> u64 {
        self.joined.load(Ordering::Acquire)
    }

    /// Whether something may wait, as it was counted when so many had `joined`.
    pub(super) fn counted(&self, is_behind: bool, joined: u64) {
        self.is_behind.store(is_behind, Ordering::Release);
        if self.joined() != joined {
            self.is_behind.store(true, Ordering::Release);
        }
    }

    /// Whether it is time to look at those that are blocked: mostly the end of the one before frees them.
    pub(super) fn may_free(&self) -> bool {
        let mut freed = self.freed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = freed.is_none_or(|freed| freed.elapsed() >= FREE);
        if is_due {
            *freed = Some(Watch::now());
        }
        is_due
    }

    /// The blocked messages that are remembered.
    pub(super) fn blocked(&self) -> Vec<Uuid> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Forgets messages that are blocked no longer.
    pub(super) fn forget(&self, freed: &[Uuid]) {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        blocked.retain(|id| !freed.contains(id));
    }
}

impl Receiver {
    /// Frees blocked messages that are first in a line by now: those that are remembered and, with a longer
    /// look, others too.
    pub(super) async fn free(&self, is_look: bool) -> Result<(), Error> {
        let line = &self.line;
        let remembered = if is_look || line.may_free() { line.blocked() } else { Vec::new() };
        let is_longer = is_look && line.is_behind();
        if remembered.is_empty() && !is_longer {
            return Ok(());
        }
        let mut after = *line.looked.lock().unwrap_or_else(PoisonError::into_inner);
        for number in 0..STATEMENTS {
            let known: &[Uuid] = if number == 0 { &remembered } else { &[] };
            let most = if is_longer { LOOKED_AT } else { 0 };
            let (freed, last) = self.store.free_messages(known, (most, after)).await?;
            line.forget(&freed);
            if !is_longer {
                return Ok(());
            }
            after = last.unwrap_or_default();
            *line.looked.lock().unwrap_or_else(PoisonError::into_inner) = after;
            if last.is_none() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_number_of_blocked_messages_is_remembered() {
        let line = Line::default();
        assert!(!line.is_behind());
        let ids: Vec<_> = (0..100).map(Uuid::from_u128).collect();
        for id in &ids {
            line.join(*id, true);
        }
        line.join(Uuid::from_u128(200), false);
        assert!(line.is_behind());
        assert_eq!(line.blocked(), &ids[100 - REMEMBERED..]);
        assert!(line.may_free());
        assert!(!line.may_free(), "not again at once");
        line.forget(&ids[..99]);
        assert_eq!(line.blocked(), &ids[99..]);
        line.counted(false, 100);
        assert!(line.is_behind(), "one has joined since it was counted");
        line.counted(false, line.joined());
        assert!(!line.is_behind());
    }
}
