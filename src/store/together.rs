//! Work of many callers in one statement: whoever comes first takes along all that wait.
//!
//! While a lane is busy, what arrives waits, and the next statement does it all: the busier the
//! server, the less each caller costs. When a shared statement fails for one of its callers, each
//! gets a statement of its own and its own answer.

use std::sync::{Mutex, PoisonError};

use futures_util::future::join_all;
use tokio::sync::{Semaphore, oneshot};

use crate::access::CommitError;
use crate::error::Error;

use super::failure;

/// What can be done for many callers at once.
pub(super) trait Together: Sync {
    /// What one caller asks for.
    type Work: Send + Sync;
    /// What one caller is told.
    type Answer: Send;
    /// Why a statement failed.
    type Fault: Fault;

    /// How much of a statement `work` takes.
    fn weight(work: &Self::Work) -> usize;

    /// One statement; its answers are in the order of `batch`.
    fn run(
        &self,
        batch: &[Self::Work],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, Self::Fault>> + Send;
}

/// Why a statement failed, for each who shared it.
pub(super) trait Fault: Send + Sized {
    /// The database went away: to try at once is no use, and what was asked may have happened.
    fn is_lost(&self) -> bool;

    /// The same for another caller.
    fn again(&self) -> Self;

    /// For a caller whose statement was given up.
    fn lost(cause: oneshot::error::RecvError) -> Self;
}

impl Fault for Error {
    fn is_lost(&self) -> bool {
        match self {
            Self::Unconfirmed(_) => true,
            Self::Unavailable(cause) => !failure::is_timeout(&**cause),
            _ => false,
        }
    }

    fn again(&self) -> Self {
        match self {
            Self::Unavailable(cause) => Self::Unavailable(cause.to_string().into()),
            Self::Unconfirmed(cause) => Self::Unconfirmed(cause.to_string().into()),
            Self::Internal(cause) => Self::internal(cause.to_string()),
            other => Self::internal(other.to_string()),
        }
    }

    fn lost(cause: oneshot::error::RecvError) -> Self {
        Self::Unavailable(cause.into())
    }
}

impl Fault for CommitError {
    fn is_lost(&self) -> bool {
        matches!(self, Self::Failed(error) if error.is_lost())
    }

    fn again(&self) -> Self {
        match self {
            Self::Raced => Self::Raced,
            Self::Failed(error) => Self::Failed(error.again()),
        }
    }

    fn lost(cause: oneshot::error::RecvError) -> Self {
        Self::Failed(Error::Unconfirmed(cause.into()))
    }
}

/// What waits for the next statement, and how many statements may run at once.
pub(super) struct Queue<T: Together> {
    waiting: Mutex<Vec<Waiting<T>>>,
    lanes: Semaphore,
    /// Most weight in one statement.
    most: usize,
}

struct Waiting<T: Together> {
    work: T::Work,
    done: Caller<T>,
}

/// Who waits for an answer.
type Caller<T> = oneshot::Sender<Result<<T as Together>::Answer, <T as Together>::Fault>>;

impl<T: Together> Queue<T> {
    /// An empty queue for `lanes` statements at a time of `most` weight each.
    pub(super) fn new(lanes: usize, most: usize) -> Self {
        Self { waiting: Mutex::default(), lanes: Semaphore::new(lanes), most }
    }

    /// Has `work` done, alone or together with what others want at the same time.
    ///
    /// A caller who hangs up is not told, but what it asked for may happen all the same.
    pub(super) async fn submit(&self, with: &T, work: T::Work) -> Result<T::Answer, T::Fault> {
        let (done, mut answer) = oneshot::channel();
        self.waiting().push(Waiting { work, done });
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer.unwrap_or_else(|lost| Err(Fault::lost(lost))),
                lane = self.lanes.acquire() => {
                    // The semaphore is never closed.
                    let is_idle = {
                        let _lane = lane;
                        // What a statement takes is not part of what every caller carries along.
                        !Box::pin(self.run_waiting(with)).await
                    };
                    // Nothing waits, so somebody has taken this along: to ask for a lane again and again
                    // would only keep a processor busy.
                    if is_idle {
                        return answer.await.unwrap_or_else(|lost| Err(Fault::lost(lost)));
                    }
                }
            }
        }
    }

    /// Does the next of what waits; whether there was something.
    async fn run_waiting(&self, with: &T) -> bool {
        let (batch, mut callers) = self.take_batch();
        if batch.is_empty() {
            return false;
        }
        match with.run(&batch).await {
            Ok(answers) => {
                for (caller, answer) in callers.into_iter().zip(answers) {
                    let _ = caller.send(Ok(answer));
                }
            }
            // One of them is at fault: each finds out for itself.
            Err(fault) if batch.len() > 1 && !fault.is_lost() => {
                tracing::warn!(callers = batch.len(), "a shared statement failed: each goes alone");
                // Side by side, because one may wait for as long as a statement may take.
                let alone = batch.iter().zip(callers).map(async |(work, caller)| {
                    let answers = with.run(std::slice::from_ref(work)).await;
                    if let Some(answer) = answers.map(|mut answers| answers.pop()).transpose() {
                        let _ = caller.send(answer);
                    }
                });
                join_all(alone).await;
            }
            // What is lost may have happened, so none of it is done a second time.
            Err(fault) => {
                let last = callers.pop();
                for caller in callers {
                    let _ = caller.send(Err(fault.again()));
                }
                if let Some(caller) = last {
                    let _ = caller.send(Err(fault));
                }
            }
        }
        true
    }

    /// What comes next, as much as fits into a statement; what is too much for one goes alone.
    fn take_batch(&self) -> (Vec<T::Work>, Vec<Caller<T>>) {
        let mut waiting = self.waiting();
        let mut weight = 0;
        let fits = waiting.iter().take_while(|next| {
            weight += T::weight(&next.work);
            weight <= self.most
        });
        let count = fits.count().max(1).min(waiting.len());
        waiting.drain(..count).map(|next| (next.work, next.done)).unzip()
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
