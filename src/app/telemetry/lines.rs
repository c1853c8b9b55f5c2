//! Log lines on their way out: a queue, and a thread that empties it.
//!
//! Whoever logs does not wait for the terminal, file or pipe behind standard error: a log that
//! nobody reads must not stop the server. Lines that come together are written together, each
//! whole. Who finds the queue full loses the line, warnings and errors only after a short wait;
//! what was lost is counted, and told once there is room. What comes after the end of the queue is
//! written at once. It never looks into a line.
//!
//! Layer: 8. Imports nothing.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Most lines that wait: some megabytes.
const MAX_WAITING: usize = 8 * 1024;
/// How long the thread lets lines gather: to wake it for each costs a request more than to write.
const GATHERING: Duration = Duration::from_millis(5);
/// About as much as is written at a time.
const BATCH_BYTES: usize = 64 * 1024;
/// How long a warning or an error waits for room.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long the end waits for a log of which nothing is taken.
const LAST_PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(1);

enum Message {
    End,
    Line(Vec<u8>),
}

/// How the way out fares.
#[derive(Debug, Default)]
struct Course {
    /// Batches that were written.
    batches: AtomicU64,
    /// Whether someone waited for room in vain, and there was none since: nobody else needs to.
    is_stuck: AtomicBool,
    /// Lines that found no room, since the start.
    lost: AtomicU64,
}

/// Where lines go in; a writer for the subscriber.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: SyncSender<Message>,
    course: Arc<Course>,
}

/// The thread that writes; dropping it waits until what was logged before is written, as long as
/// someone takes it.
#[derive(Debug)]
pub(super) struct Outlet {
    lines: Lines,
    thread: Option<JoinHandle<()>>,
}

/// A queue that ends in `out`.
///
/// # Errors
/// The system's, when it gives no thread.
pub(super) fn to(out: impl Write + Send + 'static) -> io::Result<(Lines, Outlet)> {
    let (lines, receiver) = queue();
    let course = Arc::clone(&lines.course);
    let thread = Builder::new().name("log".to_owned());
    let thread = thread.spawn(move || write(&receiver, &course, out))?;
    Ok((lines.clone(), Outlet { lines, thread: Some(thread) }))
}

fn queue() -> (Lines, Receiver<Message>) {
    let (queue, receiver) = sync_channel(MAX_WAITING);
    (Lines { queue, course: Arc::default() }, receiver)
}

fn write(messages: &Receiver<Message>, course: &Course, mut out: impl Write) {
    let mut batch = Vec::new();
    let mut has_ended = false;
    let mut told = 0;
    while !has_ended {
        let Ok(first) = messages.recv() else { return };
        if matches!(first, Message::Line(_)) {
            std::thread::sleep(GATHERING);
        }
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::End => has_ended = true,
                Message::Line(line) => batch.extend_from_slice(&line),
            }
            let has_room = batch.len() < BATCH_BYTES;
            next = if has_room { messages.try_recv().ok() } else { None };
        }
        // When nobody can read the log there is nobody to tell.
        let _ = out.write_all(&batch).and_then(|()| out.flush());
        batch.clear();
        course.batches.fetch_add(1, Ordering::Relaxed);
        let lost = course.lost.load(Ordering::Relaxed);
        if lost != told && !has_ended {
            told = lost;
            // This thread cannot wait for itself. When this line is lost as well, the count is
            // another one, and it is told after the next batch.
            course.is_stuck.store(true, Ordering::Relaxed);
            tracing::warn!(lost, "lines of the log were lost: nobody took them in time");
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let batches = || self.lines.course.batches.load(Ordering::Relaxed);
        let (mut seen, mut since) = (batches(), Instant::now());
        let mut is_told = false;
        while !thread.is_finished() {
            // Without a receiver the thread is about to end.
            is_told = is_told || self.lines.queue.try_send(Message::End).is_ok();
            if seen != batches() {
                (seen, since) = (batches(), Instant::now());
            }
            if since.elapsed() > LAST_PATIENCE {
                // The thread waits for a reader, and ends with the process.
                return;
            }
            std::thread::sleep(LOOK);
        }
        // A panic of the thread was logged, if anything was.
        let _ = thread.join();
    }
}

impl Lines {
    /// Waits for room at most for `patience`; gives `message` back when there is none.
    fn wait(&self, mut message: Message, patience: Duration) -> Result<(), TrySendError<Message>> {
        let began = Instant::now();
        while !self.course.is_stuck.load(Ordering::Relaxed) && began.elapsed() < patience {
            std::thread::sleep(LOOK);
            match self.queue.try_send(message) {
                Err(TrySendError::Full(back)) => message = back,
                other => return other,
            }
        }
        if !patience.is_zero() {
            self.course.is_stuck.store(true, Ordering::Relaxed);
        }
        Err(TrySendError::Full(message))
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Entrance<'l>;

    fn make_writer(&'l self) -> Entrance<'l> {
        Entrance { lines: self, patience: PATIENCE }
    }

    fn make_writer_for(&'l self, line: &Metadata<'_>) -> Entrance<'l> {
        let patience = if *line.level() <= Level::WARN { PATIENCE } else { Duration::ZERO };
        Entrance { lines: self, patience }
    }
}

/// Takes one line, which the subscriber writes in one piece.
pub(super) struct Entrance<'l> {
    lines: &'l Lines,
    patience: Duration,
}

impl Write for Entrance<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let course = &self.lines.course;
        let sent = match self.lines.queue.try_send(Message::Line(line.to_owned())) {
            Err(TrySendError::Full(message)) => self.lines.wait(message, self.patience),
            other => other,
        };
        match sent {
            Ok(()) if course.is_stuck.load(Ordering::Relaxed) => {
                course.is_stuck.store(false, Ordering::Relaxed);
            }
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => io::stderr().lock().write_all(line)?,
            Err(TrySendError::Full(_)) => {
                course.lost.fetch_add(1, Ordering::Relaxed);
                metrics::counter!("kiln_log_lines_lost_total").increment(1);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, MutexGuard};

    use super::*;

    /// Takes its time, as a terminal does.
    #[derive(Clone, Default)]
    struct Slow {
        written: Arc<Mutex<Vec<u8>>>,
        pause: Duration,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            std::thread::sleep(self.pause);
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_does_not_wait_and_no_line_is_lost() {
        let slow = Slow { pause: Duration::from_millis(200), ..Slow::default() };
        let (lines, outlet) = to(slow.clone()).unwrap();
        let began = Instant::now();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let lines = lines.clone();
                scope.spawn(move || {
                    for number in 0..1_000 {
                        let line = format!("{writer} {number}\n");
                        lines.make_writer().write_all(line.as_bytes()).unwrap();
                    }
                });
            }
        });
        assert!(began.elapsed() < slow.pause, "{:?}", began.elapsed());
        drop(outlet);
        let text = String::from_utf8(slow.written.lock().unwrap().clone()).unwrap();
        for writer in 0..4 {
            let mine = format!("{writer} ");
            let numbers =
                text.lines().filter_map(|line| line.strip_prefix(&mine)?.parse::<i32>().ok());
            assert!(numbers.eq(0..1_000), "{writer}");
        }
        assert_eq!(text.lines().count(), 4_000);
        lines.make_writer().write_all(b"a line after the end goes to standard error\n").unwrap();
    }

    #[test]
    fn a_warning_that_finds_the_queue_full_waits() {
        let slow = Slow { pause: Duration::from_millis(20), ..Slow::default() };
        let (lines, outlet) = to(slow.clone()).unwrap();
        let count = 4 * MAX_WAITING;
        for _ in 0..count {
            lines.make_writer().write_all(&[b'x'; 63]).unwrap();
        }
        drop(outlet);
        assert_eq!(slow.written.lock().unwrap().len(), count * 63);
    }

    /// Takes nothing while someone holds its lock.
    #[derive(Clone, Default)]
    struct Stuck(Arc<Mutex<Vec<u8>>>);

    impl Stuck {
        fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
            self.0.lock().unwrap()
        }
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_holds_nobody_back_and_what_is_lost_is_told() {
        let out = Stuck::default();
        let (lines, receiver) = queue();
        let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false);
        let dispatch = tracing::Dispatch::new(subscriber.finish());
        let thread = {
            let (dispatch, course, out) = (dispatch.clone(), lines.course.clone(), out.clone());
            std::thread::spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || write(&receiver, &course, out));
            })
        };
        let outlet = Outlet { lines: lines.clone(), thread: Some(thread) };
        let held = out.lock();
        let began = Instant::now();
        tracing::dispatcher::with_default(&dispatch, || {
            for number in 0..2 * MAX_WAITING {
                tracing::info!(number, "answered");
            }
            for number in 0..100 {
                tracing::error!(number, "failed");
            }
        });
        // One of the errors waited, and the others knew that it had been in vain.
        assert!(began.elapsed() < 50 * PATIENCE, "{:?}", began.elapsed());
        let lost = lines.course.lost.load(Ordering::Relaxed);
        assert!(lost > 100, "{lost}");
        drop(held);
        // The first try to tell may find no room yet, and is lost as well.
        let told = [format!("lost={lost}"), format!("lost={}", lost + 1)];
        let is_told = |text: &str| told.iter().any(|told| text.contains(told));
        while !is_told(&String::from_utf8_lossy(&out.lock())) {
            assert!(began.elapsed() < Duration::from_secs(30), "{lost} is not told");
            std::thread::sleep(LOOK);
        }
        drop(outlet);
    }

    #[test]
    fn the_end_does_not_wait_for_a_log_that_nobody_reads() {
        let out = Stuck::default();
        let (lines, outlet) = to(out.clone()).unwrap();
        let held = out.lock();
        for _ in 0..10_000 {
            let mut entrance = Entrance { lines: &lines, patience: Duration::ZERO };
            entrance.write_all(b"a line\n").unwrap();
        }
        let began = Instant::now();
        drop(outlet);
        assert!(began.elapsed() < 10 * LAST_PATIENCE, "{:?}", began.elapsed());
        drop(held);
    }
}
