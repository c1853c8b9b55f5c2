//! Work of many callers in one statement: whoever comes first takes along all that wait.
//!
//! While a lane is busy, what arrives waits, and the next statement does it all: the busier the
//! server, the less each caller costs. When a shared statement fails for one of its callers, each
//! gets a statement of its own and its own answer.

use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// Whether a statement lets the other tasks of this moment come first.
    gathers: bool,
    /// The lanes that share evenly, where they do, and the callers in their statements.
    even: Option<usize>,
    running: AtomicUsize,
}

/// How often it does so at most.
const TURNS: usize = 4;

struct Waiting<T: Together> {
    work: T::Work,
    done: Caller<T>,
}

/// Who waits for an answer.
type Caller<T> = oneshot::Sender<Result<<T as Together>::Answer, <T as Together>::Fault>>;

impl<T: Together> Queue<T> {
    /// An empty queue for `lanes` statements at a time of `most` weight each.
    pub(super) fn new(lanes: usize, most: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            lanes: Semaphore::new(lanes),
            most,
            gathers: false,
            even: None,
            running: AtomicUsize::new(0),
        }
    }

    /// The same for statements that cost much whatever is in them: each takes along what other callers
    /// are about to ask for, as far as nothing but their turn is lacking.
    pub(super) fn gathering(self) -> Self {
        Self { gathers: true, ..self }
    }

    /// The same for callers who come again as soon as they are answered: no statement takes more than its
    /// lane's part of all who are there, so that the statements of all lanes stay of one size. Else one takes
    /// nearly all, the next what little came meanwhile, and so on.
    pub(super) fn even(self) -> Self {
        Self { even: Some(self.lanes.available_permits()), ..self }
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
        if self.gathers {
            self.gather().await;
        }
        let (batch, mut callers) = self.take_batch();
        if batch.is_empty() {
            return false;
        }
        let _running = Running(&self.running, batch.len());
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

    /// Lets other tasks run while that adds to what waits.
    async fn gather(&self) {
        let mut known = 0;
        for _ in 0..TURNS {
            let waiting = self.waiting().len();
            if waiting == known {
                return;
            }
            known = waiting;
            tokio::task::yield_now().await;
        }
    }

    /// What comes next, as much as fits into a statement; what is too much for one goes alone.
    fn take_batch(&self) -> (Vec<T::Work>, Vec<Caller<T>>) {
        let mut waiting = self.waiting();
        let mut weight = 0;
        let fits = waiting.iter().take_while(|next| {
            weight += T::weight(&next.work);
            weight <= self.most
        });
        let fits = fits.count();
        let running = self.running.load(Ordering::Acquire);
        let part = self.even.map(|lanes| (waiting.len() + running).div_ceil(lanes));
        let count = fits.min(part.unwrap_or(fits)).max(1).min(waiting.len());
        // While the others cannot look: they count these too.
        self.running.fetch_add(count, Ordering::AcqRel);
        waiting.drain(..count).map(|next| (next.work, next.done)).unzip()
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Callers in a statement, until it is done or given up.
struct Running<'a>(&'a AtomicUsize, usize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use futures_util::future::BoxFuture;
    use futures_util::stream::{FuturesUnordered, StreamExt as _};
    use tokio::task::yield_now;

    use super::*;

    /// Statements that end when their doors are opened.
    struct Doors {
        runs: Mutex<Vec<Vec<usize>>>,
        doors: [Semaphore; 4],
    }

    impl Doors {
        fn runs(&self) -> Vec<Vec<usize>> {
            self.runs.lock().unwrap().clone()
        }

        async fn until_runs(&self, count: usize) {
            while self.runs().len() < count {
                yield_now().await;
            }
        }
    }

    impl Together for Doors {
        type Work = usize;
        type Answer = usize;
        type Fault = Error;

        fn weight(_: &usize) -> usize {
            1
        }

        async fn run(&self, batch: &[usize]) -> Result<Vec<usize>, Error> {
            self.runs.lock().unwrap().push(batch.to_vec());
            let _open = self.doors[batch[0]].acquire().await;
            Ok(batch.to_vec())
        }
    }

    /// Who gets a lane when others have taken the work along waits for the answer, and for nothing else.
    #[tokio::test]
    async fn who_has_nothing_left_to_do_waits_and_does_not_ask_again() {
        let doors = Doors { runs: Mutex::default(), doors: [(); 4].map(|()| Semaphore::new(0)) };
        let queue = Queue::<Doors>::new(2, 8);
        let (doors, queue, polls) = (&doors, &queue, &AtomicUsize::new(0));
        let mut all: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        for work in 0..4 {
            all.push(Box::pin(async move {
                // The first two have the lanes; what comes then waits for one.
                doors.until_runs(work.min(2)).await;
                let mut answer = pin!(queue.submit(doors, work));
                let counted = poll_fn(|context| {
                    polls.fetch_add(usize::from(work > 1), Ordering::SeqCst);
                    answer.as_mut().poll(context)
                });
                assert_eq!(counted.await.unwrap(), work);
            }));
        }
        all.push(Box::pin(async move {
            // So that the last two are in the queue.
            while queue.waiting().len() < 2 {
                yield_now().await;
            }
            doors.doors[0].add_permits(1);
            doors.until_runs(3).await;
            doors.doors[1].add_permits(1);
            for _ in 0..100 {
                yield_now().await;
            }
            assert!(polls.load(Ordering::SeqCst) < 20, "{polls:?} times");
            doors.doors[2].add_permits(1);
            doors.doors[3].add_permits(1);
        }));
        while all.next().await.is_some() {}
        let runs: Vec<usize> = doors.runs().iter().map(Vec::len).collect();
        assert_eq!(runs, [1, 1, 2]);
    }

    /// How many callers each statement had.
    #[derive(Default)]
    struct Statements(Mutex<Vec<usize>>);

    impl Together for Statements {
        type Work = ();
        type Answer = ();
        type Fault = Error;

        fn weight((): &()) -> usize {
            1
        }

        async fn run(&self, batch: &[()]) -> Result<Vec<()>, Error> {
            self.0.lock().unwrap().push(batch.len());
            // Longer than any lane gathers.
            for _ in 0..2 * TURNS {
                tokio::task::yield_now().await;
            }
            Ok(vec![(); batch.len()])
        }
    }

    async fn statements(queue: Queue<Statements>) -> Vec<usize> {
        let statements = Statements::default();
        let all = (0..5).map(|_| queue.submit(&statements, ()));
        for done in join_all(all).await {
            done.unwrap();
        }
        statements.0.into_inner().unwrap()
    }

    #[tokio::test]
    async fn what_is_about_to_be_asked_for_shares_the_first_statement_where_that_is_wanted() {
        assert_eq!(statements(Queue::new(1, 500)).await, [1, 4]);
        assert_eq!(statements(Queue::new(1, 500).gathering()).await, [5]);
        assert_eq!(statements(Queue::new(1, 2).gathering()).await, [2, 2, 1]);
    }

    #[tokio::test]
    async fn statements_of_even_lanes_are_of_one_size() {
        assert_eq!(statements(Queue::new(2, 500).gathering()).await, [5]);
        assert_eq!(statements(Queue::new(2, 500).gathering().even()).await, [3, 2]);
        assert_eq!(statements(Queue::new(2, 2).gathering().even()).await, [2, 2, 1]);
        let (queue, with) = (Queue::<Statements>::new(2, 500).even(), Statements::default());
        join_all((0..5).map(|_| queue.submit(&with, ()))).await;
        assert_eq!(queue.running.load(Ordering::SeqCst), 0, "nobody is counted for good");
    }
}
