//! Keeps one PostgreSQL server alive until it is told to stop.
//!
//! A thread of its own waits for the server's process. When that ends without being asked to, it
//! is started again, at once and then ever more slowly, until it stands.
//!
//! Layer: 8.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::config::Config;

use super::binaries::Binaries;
use super::cluster::{complaint, last_lines};
use super::folder::Folder;
use super::pidfile::{self, PidFile};
use super::settings::{self, Machine};
use super::{PORT, PostgresError};

/// Between two looks at a server that is starting.
const LOOK: Duration = Duration::from_millis(3);

/// Between two looks at a server that is not our child.
const WATCH: Duration = Duration::from_millis(100);

/// First and longest pause between two tries to start.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How long the processes of a killed server may still hold its memory.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(10);

/// How long a clean stop may take before it becomes a quick one.
const STOP_PATIENCE: Duration = Duration::from_mins(1);

/// What a server says whose predecessor's processes still live.
const LEFTOVER: &str = "pre-existing shared memory block";

/// A server, and the thread that looks after it.
#[derive(Debug)]
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    socket_dir: PathBuf,
    port: u16,
}

/// What the thread and the owner both see.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    pid: Option<u32>,
    stopping: bool,
    ended: bool,
    /// Why it does not start again, since it ended.
    fault: Option<String>,
}

/// The server's process: our child, or one that another Kiln left behind.
enum Process {
    Adopted(u32),
    Child(Child),
}

/// How to start a server.
struct Launcher {
    folder: Folder,
    binaries: Binaries,
    shared: Arc<Shared>,
}

impl Supervisor {
    /// Starts a server and waits until it accepts connections.
    pub(super) fn launch(
        folder: Folder,
        binaries: Binaries,
        config: &Config,
    ) -> Result<Self, PostgresError> {
        write_settings(&folder, &binaries, config)?;
        let socket_dir = folder.socket_dir.clone();
        let launcher = Launcher { folder, binaries, shared: Arc::default() };
        let child = launcher.start_past_leftovers()?;
        // ALTER SYSTEM may have chosen another port.
        let port = PidFile::read(&launcher.folder.cluster).map_or(PORT, |file| file.port);
        Ok(Self::watch(launcher, Process::Child(child), socket_dir, port))
    }

    /// Takes over a server that runs already and waits until it accepts connections.
    pub(super) fn adopt(
        folder: Folder,
        binaries: Binaries,
        config: &Config,
        mut running: PidFile,
    ) -> Result<Self, PostgresError> {
        while !running.is_ready() {
            if !pidfile::is_server(running.pid, &folder.cluster) {
                return Self::launch(folder, binaries, config);
            }
            std::thread::sleep(LOOK);
            running = PidFile::read(&folder.cluster).unwrap_or(running);
        }
        let PidFile { pid, port, socket_dir, .. } = running;
        let launcher = Launcher { folder, binaries, shared: Arc::default() };
        launcher.shared.lock().pid = Some(pid);
        Ok(Self::watch(launcher, Process::Adopted(pid), socket_dir, port))
    }

    fn watch(launcher: Launcher, process: Process, socket_dir: PathBuf, port: u16) -> Self {
        let shared = Arc::clone(&launcher.shared);
        let thread = std::thread::spawn(move || launcher.keep_alive(process));
        Self { shared, thread: Some(thread), socket_dir, port }
    }

    pub(super) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The server's process, while it lives.
    pub(super) fn pid(&self) -> Option<u32> {
        self.shared.lock().pid
    }

    /// What the thread tells of the server.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Stops the server and waits until it is gone.
    pub(super) fn stop(mut self) {
        let signals = [
            (Signal::INT, STOP_PATIENCE),
            (Signal::QUIT, Duration::from_secs(5)),
            (Signal::KILL, STOP_PATIENCE),
        ];
        self.shared.lock().stopping = true;
        for (signal, patience) in signals {
            self.shared.signal(signal);
            self.shared.changed.notify_all();
            let state = self.shared.lock();
            let waited =
                self.shared.changed.wait_timeout_while(state, patience, |state| !state.ended);
            if waited.unwrap_or_else(PoisonError::into_inner).0.ended {
                break;
            }
            tracing::warn!(?signal, "PostgreSQL did not stop in time");
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The state; a thread that panicked left it whole, since every change is one assignment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the server does not start again; none while it runs, or nothing is known yet.
    pub(super) fn fault(&self) -> Option<String> {
        self.lock().fault.clone()
    }

    fn signal(&self, signal: Signal) {
        // Held while signalling: the thread cannot take the process id away meanwhile.
        let state = self.lock();
        if let Some(pid) = state.pid.and_then(pidfile::raw) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Waits for `pause`, or until the server is to stop; tells whether it is.
    fn stopping_within(&self, pause: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, pause, |state| !state.stopping);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopping
    }
}

impl Launcher {
    /// The life of the thread.
    fn keep_alive(self, mut process: Process) {
        loop {
            let status = wait(&mut process, &self.folder.cluster);
            self.shared.lock().pid = None;
            if self.shared.lock().stopping {
                break;
            }
            tracing::error!(status, "PostgreSQL ended by itself; starting it again");
            metrics::counter!("kiln_postgres_restarts_total").increment(1);
            match self.start_again() {
                Some(child) => process = Process::Child(child),
                None => break,
            }
        }
        let mut state = self.shared.lock();
        state.pid = None;
        state.ended = true;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Tries until the server stands; none when it is to stop.
    fn start_again(&self) -> Option<Child> {
        let began = Instant::now();
        let (mut pause, longest) = BACK_OFF;
        loop {
            if self.shared.lock().stopping {
                return None;
            }
            match self.start() {
                Ok(child) => {
                    let duration_ms = began.elapsed().as_millis() as u64;
                    tracing::info!(duration_ms, "PostgreSQL is back");
                    self.shared.lock().fault = None;
                    return Some(child);
                }
                Err(error) => {
                    tracing::warn!(%error, "PostgreSQL does not start; trying again");
                    self.shared.lock().fault = Some(in_a_line(&error));
                }
            }
            if self.shared.stopping_within(pause) {
                return None;
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Starts a server; one whose killed predecessor is not quite gone is given time.
    fn start_past_leftovers(&self) -> Result<Child, PostgresError> {
        let deadline = Instant::now() + LEFTOVER_PATIENCE;
        loop {
            match self.start() {
                Err(PostgresError::Failed { output, .. })
                    if output.contains(LEFTOVER) && Instant::now() < deadline =>
                {
                    std::thread::sleep(BACK_OFF.0);
                }
                other => return other,
            }
        }
    }

    /// Starts a server and waits until it accepts connections.
    fn start(&self) -> Result<Child, PostgresError> {
        let log = self.folder.open_log()?;
        let start_of_log = log.metadata().map_or(0, |it| it.len());
        // Makes the file of a dead server harmless, our own one's too.
        let _ = pidfile::running(&self.folder);
        let mut child = self.spawn(log)?;
        {
            let mut state = self.shared.lock();
            state.pid = Some(child.id());
            // Told to stop in between: the signal found no process, so it is sent here.
            if state.stopping
                && let Some(pid) = pidfile::raw(child.id())
            {
                let _ = rustix::process::kill_process(pid, Signal::INT);
            }
        }
        let began = Instant::now();
        let mut told = Duration::from_secs(5);
        loop {
            let ended = child.try_wait();
            if let Some(status) = ended.map_err(PostgresError::io("watch", &self.folder.cluster))? {
                self.shared.lock().pid = None;
                let output = last_lines(&self.folder.log_since(start_of_log), 12);
                return Err(PostgresError::Failed { program: "postgres", status, output });
            }
            let file = PidFile::read(&self.folder.cluster);
            if file.is_some_and(|file| file.pid == child.id() && file.is_ready()) {
                return Ok(child);
            }
            if began.elapsed() > told {
                tracing::info!(waited_s = told.as_secs(), "PostgreSQL recovers from a crash");
                told *= 2;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn spawn(&self, log: File) -> Result<Child, PostgresError> {
        use std::os::unix::process::CommandExt as _;
        let program = self.binaries.program("postgres");
        let errors = log.try_clone().map_err(PostgresError::io("share", &program))?;
        let mut command = self.folder.command(&program);
        command.arg("-D").arg(&self.folder.cluster).stdout(log).stderr(errors);
        // Its own group: ^C on our terminal must reach us alone, so that requests can end first.
        command.process_group(0);
        command.spawn().map_err(PostgresError::io("run", &program))
    }
}

/// Why a server does not start, for those who ask how it does.
fn in_a_line(error: &PostgresError) -> String {
    match error {
        PostgresError::Failed { output, status, .. } => {
            complaint(output).map_or_else(|| status.to_string(), str::to_owned)
        }
        other => other.to_string(),
    }
}

/// Waits for the end of the process and tells how it ended.
fn wait(process: &mut Process, cluster: &Path) -> String {
    match process {
        Process::Adopted(pid) => {
            while pidfile::is_server(*pid, cluster) {
                std::thread::sleep(WATCH);
            }
            "unknown, not our child".to_owned()
        }
        Process::Child(child) => match child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        },
    }
}

/// Writes `postgresql.conf` for the machine as it is now.
fn write_settings(
    folder: &Folder,
    binaries: &Binaries,
    config: &Config,
) -> Result<(), PostgresError> {
    let path = folder.cluster.join("postgresql.conf");
    let lz4 = folder
        .command(&binaries.program("postgres"))
        .args(["-C", "wal_compression", "-c", "wal_compression=lz4", "-D"])
        .arg(&folder.cluster)
        .output()
        .is_ok_and(|output| output.stdout.starts_with(b"lz4"));
    let machine = Machine::around(&folder.cluster, binaries.major, lz4);
    std::fs::write(&path, settings::text(config, machine, &folder.socket_dir))
        .map_err(PostgresError::io("write", &path))
}
