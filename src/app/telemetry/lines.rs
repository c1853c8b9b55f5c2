//! Log lines on their way out: a queue, and a thread that empties it.
//!
//! Whoever logs does not wait for the terminal, file or pipe behind standard error. Lines that come
//! together are written together, each whole. No line is lost: who finds the queue full waits, and
//! what comes after its end is written at once. It never looks into a line.
//!
//! Layer: 8. Imports nothing.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Most lines that wait: some megabytes.
const MAX_WAITING: usize = 8 * 1024;
/// How long the thread lets lines gather: to wake it for each costs a request more than to write.
const GATHERING: Duration = Duration::from_millis(5);
/// About as much as is written at a time.
const BATCH_BYTES: usize = 64 * 1024;

enum Message {
    End,
    Line(Vec<u8>),
}

/// Where lines go in; a writer for the subscriber.
#[derive(Clone, Debug)]
pub(super) struct Lines(SyncSender<Message>);

/// The thread that writes; dropping it waits until what was logged before is written.
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
    let (sender, receiver) = sync_channel(MAX_WAITING);
    let thread = Builder::new().name("log".to_owned()).spawn(move || write(&receiver, out))?;
    let lines = Lines(sender);
    Ok((lines.clone(), Outlet { lines, thread: Some(thread) }))
}

fn write(messages: &Receiver<Message>, mut out: impl Write) {
    let mut batch = Vec::new();
    let mut has_ended = false;
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
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        // Without a receiver the thread has ended already.
        let _ = self.lines.0.send(Message::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Entrance<'l>;

    fn make_writer(&'l self) -> Entrance<'l> {
        Entrance(&self.0)
    }
}

/// Takes one line, which the subscriber writes in one piece.
pub(super) struct Entrance<'l>(&'l SyncSender<Message>);

impl Write for Entrance<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.send(Message::Line(line.to_owned())).is_err() {
            io::stderr().lock().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

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
    fn who_finds_the_queue_full_waits() {
        let slow = Slow { pause: Duration::from_millis(20), ..Slow::default() };
        let (lines, outlet) = to(slow.clone()).unwrap();
        let count = 4 * MAX_WAITING;
        for _ in 0..count {
            lines.make_writer().write_all(&[b'x'; 63]).unwrap();
        }
        drop(outlet);
        assert_eq!(slow.written.lock().unwrap().len(), count * 63);
    }
}
