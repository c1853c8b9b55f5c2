//! The import itself: one reader, several workers, one tally.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::journal::{Journal, Known};
use super::progress::{Progress, Seen};
use super::report::{self, KEPT, Reported};
use super::source::{self, Content, Piece, SourceFile, Taker};
use super::unit::prepare;
use super::{Away, Failure, ImportError, Options, Sink, Summary};

/// Input in memory at any time, in KiB; a single document may be larger and then goes alone.
const BUDGET_KIB: u32 = 48 << 10;
/// Time between two looks at the tally.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// A piece with its share of the memory.
type Shared = (Piece, OwnedSemaphorePermit);

/// What all parts of an import write to.
struct Tally {
    journal: Journal,
    summary: Summary,
    journal_fault: Option<std::io::Error>,
}

/// Loads everything under `options.paths` into `sink`.
///
/// Files that others refer to (Synthea's hospitals and practitioners) are loaded to the end before
/// the others begin. Failures of entries are in the summary; they do not stop the import.
///
/// # Errors
/// [`ImportError`] when a path that was named, the journal or the report cannot be used.
pub async fn run<S: Sink>(options: &Options, sink: Arc<S>) -> Result<Summary, ImportError> {
    let started = Instant::now();
    let files = source::discover(&options.paths)?;
    let total = files.iter().map(|file| file.size).sum();
    let journal = open_journal(options)?;
    let file_count = files.len() as u64;
    let summary = Summary { files: file_count, ..Summary::default() };
    let tally = Arc::new(Mutex::new(Tally { journal, summary, journal_fault: None }));
    let position = Arc::new(AtomicU64::new(0));

    let workers = options.workers.max(1);
    let (sender, receiver) = mpsc::channel::<Shared>(workers);
    let reader = {
        let mut feeder = Feeder {
            tally: Arc::clone(&tally),
            budget: Arc::new(Semaphore::new(BUDGET_KIB as usize)),
            sender,
            runtime: Handle::current(),
            again: options.again,
        };
        let position = Arc::clone(&position);
        tokio::task::spawn_blocking(move || feeder.read_all(files, &position))
    };
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (receiver, tally) = (Arc::clone(&receiver), Arc::clone(&tally));
        tasks.spawn(work(receiver, tally, Arc::clone(&sink), options.again));
    }
    drop(receiver);

    let mut progress = Progress::new(total, options.is_quiet);
    let seen = || {
        let tally = lock(&tally);
        Seen {
            position: position.load(Ordering::Relaxed),
            resources: tally.summary.resources,
            failed: tally.summary.failed,
        }
    };
    let mut looks = tokio::time::interval(BETWEEN_LOOKS);
    let worked = loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                None => break Ok(()),
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(Away(reason)))) => break Err(ImportError::Away(reason)),
                Some(Err(fault)) => break Err(ImportError::CutOff(fault.to_string())),
            },
            _ = looks.tick() => progress.show(seen()),
        }
    };
    // Without workers the reader finds nobody to read for, and ends.
    tasks.shutdown().await;
    reader.await.map_err(|fault| ImportError::CutOff(fault.to_string()))?;
    let skipped = lock(&tally).summary.skipped;
    progress.finish(seen(), file_count, skipped);
    let summary = conclude(options, &tally, started)?;
    worked.map(|()| summary)
}

fn open_journal(options: &Options) -> Result<Journal, ImportError> {
    match &options.journal {
        None => Ok(Journal::in_memory()),
        Some(path) => Journal::open(path)
            .map_err(|source| ImportError::Journal { path: path.clone(), source }),
    }
}

fn conclude(
    options: &Options,
    tally: &Mutex<Tally>,
    started: Instant,
) -> Result<Summary, ImportError> {
    let mut tally = lock(tally);
    let fault = tally.journal_fault.take().or_else(|| tally.journal.sync().err());
    if let (Some(source), Some(path)) = (fault, &options.journal) {
        return Err(ImportError::Journal { path: path.clone(), source });
    }
    let mut summary = std::mem::take(&mut tally.summary);
    summary.elapsed = started.elapsed();
    if !options.is_quiet {
        eprint!("{}", report::table(&summary));
    }
    if let Some(path) = &options.report {
        report::write(&summary, path)
            .map_err(|source| ImportError::Report { path: path.clone(), source })?;
    }
    Ok(summary)
}

/// Locks the tally; it is only ever added to, so it is fit for use after a panic too.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands pieces to the workers as memory allows.
struct Feeder {
    tally: Arc<Mutex<Tally>>,
    budget: Arc<Semaphore>,
    sender: mpsc::Sender<Shared>,
    runtime: Handle,
    again: bool,
}

impl Feeder {
    fn read_all(&mut self, files: Vec<SourceFile>, position: &Arc<AtomicU64>) {
        let mut before_went_first = false;
        for file in files {
            let goes_first = file.goes_first();
            if before_went_first && !goes_first {
                // All of the budget is free only when nothing is being loaded any more.
                drop(self.acquire(BUDGET_KIB));
            }
            before_went_first = goes_first;
            if !source::read(&Arc::new(file), position, self) {
                return;
            }
        }
    }

    fn acquire(&self, share: u32) -> Option<OwnedSemaphorePermit> {
        let budget = Arc::clone(&self.budget);
        self.runtime.block_on(budget.acquire_many_owned(share)).ok()
    }
}

impl Taker for Feeder {
    fn is_done(&self, file: &SourceFile, entry: &str) -> bool {
        let mut tally = lock(&self.tally);
        let is_done = !self.again && tally.journal.state(file, entry) == Some(&Known::Done);
        if is_done {
            tally.summary.skipped += 1;
        }
        is_done
    }

    fn take(&mut self, piece: Piece) -> bool {
        let share = (piece.content.len() / 1_024 + 1).min(BUDGET_KIB as usize) as u32;
        match self.acquire(share) {
            Some(permit) => self.sender.blocking_send((piece, permit)).is_ok(),
            None => false,
        }
    }
}

/// Loads pieces until there are no more, or nothing can be loaded.
async fn work<S: Sink>(
    receiver: Arc<tokio::sync::Mutex<mpsc::Receiver<Shared>>>,
    tally: Arc<Mutex<Tally>>,
    sink: Arc<S>,
    again: bool,
) -> Result<(), Away> {
    loop {
        let next = receiver.lock().await.recv().await;
        let Some((piece, _permit)) = next else { return Ok(()) };
        load(piece, &tally, &*sink, again).await?;
    }
}

/// Loads one piece: its units one after the other, then the journal.
async fn load<S: Sink>(
    piece: Piece,
    tally: &Mutex<Tally>,
    sink: &S,
    again: bool,
) -> Result<(), Away> {
    let file = Arc::clone(&piece.file);
    let entry = piece.entry.clone();
    let first_line = match &piece.content {
        Content::Lines { first, .. } => Some(*first),
        _ => None,
    };
    let only = match lock(tally).journal.state(&file, &entry) {
        Some(Known::Failed(places)) if !again => Some(places.clone()),
        _ => None,
    };
    let prepared = prepare(piece, only.as_deref());
    let mut failed = Failed::default();
    for failure in prepared.failures {
        failed.add(failure.entry.map(|at| at as u32), None, failure.message);
    }
    for part in prepared.parts {
        let loaded = sink.load(part.unit.clone()).await?;
        {
            let mut tally = lock(tally);
            tally.summary.units += 1;
            tally.summary.resources += loaded.resources;
        }
        for Failure { entry, message } in loaded.failures {
            let place = part.place(entry);
            failed.add(place, entry.is_none().then(|| part.all_places()).flatten(), message);
        }
    }
    let mut tally = lock(tally);
    if !failed.is_whole {
        let recorded = tally.journal.record(&file, &entry, &failed.places());
        tally.journal_fault = recorded.err().or(tally.journal_fault.take());
    }
    for (place, message) in failed.reasons {
        tally.summary.failed += 1;
        if tally.summary.failures.len() < KEPT {
            let entry = name_of(&entry, first_line, place);
            let file = file.path.to_string_lossy().into_owned();
            tally.summary.failures.push(Reported { file, entry, message });
        }
    }
    Ok(())
}

/// What went wrong in one piece.
#[derive(Default)]
struct Failed {
    reasons: Vec<(Option<u32>, String)>,
    places: Vec<u32>,
    /// Whether nothing of the piece may be called loaded.
    is_whole: bool,
}

impl Failed {
    /// A failure at `place`, or of all of `places`, or of the whole piece.
    fn add(&mut self, place: Option<u32>, places: Option<Vec<u32>>, message: String) {
        match (place, places) {
            (Some(place), _) => self.places.push(place),
            (None, Some(places)) => self.places.extend(places),
            (None, None) => self.is_whole = true,
        }
        self.reasons.push((place, message));
    }

    fn places(&self) -> Vec<u32> {
        let mut places = self.places.clone();
        places.sort_unstable();
        places.dedup();
        places
    }
}

/// How a place within a piece is called in the report.
fn name_of(entry: &str, first_line: Option<u64>, place: Option<u32>) -> String {
    match (first_line, place) {
        (Some(first), Some(place)) => {
            let member = entry.rsplit_once(':').map_or("", |(member, _)| member);
            let line = format!("line {}", first + u64::from(place));
            if member.is_empty() { line } else { format!("{member} {line}") }
        }
        (None, Some(place)) if entry.is_empty() => format!("entry[{place}]"),
        (None, Some(place)) => format!("{entry} entry[{place}]"),
        (_, None) => entry.to_owned(),
    }
}
