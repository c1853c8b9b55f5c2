//! The signals that ask this process to end: SIGINT and SIGTERM.
//!
//! Who has made [`Signals`] is responsible: from then on the system ends the process no more.
//!
//! Layer: 8.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Hears what comes after it was made.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over.
    ///
    /// # Errors
    /// The system's, when it does not give them.
    pub fn new() -> io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits until the process is asked to end, again after each call.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
