//! The `kiln` program as its own process, with a private PostgreSQL, to be killed at will.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::NoTls;

use super::client::Client;
use super::database::{node_folder, temporary};

/// How long a server may take for the answer that says whether it is ready.
const PROBE: Duration = Duration::from_secs(10);

/// Where a server listens, and what else is set.
type Place = (SocketAddr, &'static [&'static str]);

/// A `kiln serve` and its data folder.
pub(crate) struct Process {
    pub(crate) client: Client,
    pub(crate) data_dir: PathBuf,
    address: SocketAddr,
    more: &'static [&'static str],
    child: Child,
}

/// Runs `kiln` with `arguments` to its end.
pub(crate) fn kiln(arguments: &[&str]) -> Output {
    kiln_with(arguments, &[])
}

/// The same with these in its environment.
pub(crate) fn kiln_with(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.envs(environment.iter().copied());
    command.args(arguments).stdin(Stdio::null()).output().unwrap()
}

impl Process {
    /// Starts a server on a data folder with an empty database and waits until it is ready.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with `more` settings.
    pub(crate) async fn start_with(more: &'static [&'static str]) -> Self {
        let data_dir = temporary("process");
        std::fs::create_dir_all(&data_dir).unwrap();
        give_database(&data_dir);
        Self::start_on(data_dir, more).await
    }

    /// The same on a data folder with nothing in it: the server makes its database.
    pub(crate) async fn start_on_nothing() -> Self {
        let data_dir = temporary("process");
        std::fs::create_dir_all(&data_dir).unwrap();
        Self::start_on(data_dir, &[]).await
    }

    async fn start_on(data_dir: PathBuf, more: &'static [&'static str]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = spawn(&data_dir, (address, more), None);
        let mut process = Self { client: Client::new(address), data_dir, address, more, child };
        process.ready(Duration::from_mins(1)).await;
        process
    }

    /// Runs another `kiln` on the same settings to its end; those among `arguments` are stronger.
    pub(crate) fn beside(&self, command: &str, arguments: &[&str]) -> Output {
        self.command(command, arguments).output().unwrap()
    }

    /// The same, not waited for.
    pub(crate) fn started_beside(&self, command: &str, arguments: &[&str]) -> Child {
        let mut program = self.command(command, arguments);
        program.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_kiln"));
        program.arg(command);
        for setting in settings(&self.data_dir, (self.address, self.more)) {
            program.arg("--set").arg(setting);
        }
        program.args(arguments).stdin(Stdio::null());
        program
    }

    /// The most memory that the server has held so far, in KiB.
    pub(crate) fn peak_kb(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// How long processors have worked for the server so far: what else the machine does is not in
    /// it.
    pub(crate) fn worked(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Behind the name, which may have anything in it, come the third field and all others.
        let (_, fields) = text.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2).map(|it| it.parse::<u64>().unwrap());
        // Hundredths of a second, on every machine of Linux.
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// Asks the server to end (SIGTERM); whether it ended well, and how long that took.
    pub(crate) fn terminate(&mut self) -> (bool, Duration) {
        let began = Instant::now();
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        (self.child.wait().unwrap().success(), began.elapsed())
    }

    /// Starts the server again after it ended.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.data_dir, (self.address, self.more), None);
    }

    /// The same with other settings.
    pub(crate) fn restart_with(&mut self, more: &'static [&'static str]) {
        self.more = more;
        self.restart();
    }

    /// Ends the server and starts it again, with a log that nobody reads as long as what this
    /// gives is held.
    pub(crate) fn restart_with_unread_log(&mut self) -> std::io::PipeReader {
        assert!(self.terminate().0);
        let (unread, log) = std::io::pipe().unwrap();
        self.child = spawn(&self.data_dir, (self.address, self.more), Some(log.into()));
        unread
    }

    /// Whether its PostgreSQL runs.
    pub(crate) fn has_postgres(&self) -> bool {
        self.postgres_pid().is_some()
    }

    /// Waits until the server serves; fails when that takes longer than `limit`.
    pub(crate) async fn ready(&mut self, limit: Duration) -> Duration {
        let began = Instant::now();
        loop {
            // Once one came to no server at all, whose record had nothing of it: another one is tried then.
            let probe = self.client.call("GET", "/_history?_count=1").try_send();
            let probe = tokio::time::timeout(PROBE, probe).await;
            // Where there are tenants, the server itself has no resources; where tokens are asked for, that there is
            // none is on record before it is told.
            let is_ready = |status| matches!(status, 200 | 401 | 404);
            if probe.is_ok_and(|told| told.is_ok_and(|answer| is_ready(answer.status))) {
                return began.elapsed();
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the server ended ({status}):\n{}", self.log());
            }
            assert!(began.elapsed() < limit, "not ready after {limit:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Kills the server with SIGKILL; its PostgreSQL lives on.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same, and starts it again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// Kills the server's PostgreSQL with SIGKILL and waits until another one takes connections.
    pub(crate) async fn kill_postgres(&self, limit: Duration) {
        let pid = self.postgres_pid();
        kill_process(pid.unwrap(), Signal::KILL).unwrap_or_else(|error| panic!("{pid:?}: {error}"));
        let began = Instant::now();
        while self.postgres_pid() == pid || !reaches(&self.database_url()).await {
            assert!(began.elapsed() < limit, "no PostgreSQL after {limit:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The URL of the database, for its superuser.
    pub(crate) fn database_url(&self) -> String {
        let lines = self.pid_file();
        let line = |at: usize| lines.get(at).cloned().unwrap_or_default();
        let (port, folder) = (line(3), line(4));
        format!("postgres://postgres@{}:{port}/kiln", folder.replace('/', "%2F"))
    }

    fn postgres_pid(&self) -> Option<Pid> {
        self.pid_file().first()?.parse().ok().and_then(Pid::from_raw)
    }

    /// The lines of PostgreSQL's own file; none while it is not running.
    fn pid_file(&self) -> Vec<String> {
        let folders = std::fs::read_dir(&self.data_dir).unwrap();
        let mut files = folders.map(|entry| entry.unwrap().path().join("postmaster.pid"));
        let file = files.find(|path| path.is_file()).unwrap_or_default();
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// All that it logged.
    pub(crate) fn whole_log(&self) -> String {
        std::fs::read_to_string(self.data_dir.join("test.log")).unwrap_or_default()
    }

    fn log(&self) -> String {
        let text = self.whole_log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // It may have ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the log of the server is in {}", self.data_dir.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.data_dir);
        }
    }
}

/// Puts a database with the schema of this version into a new data folder: a copy of one that is made once, in a fraction
/// of the time that a server takes to make its own.
fn give_database(data_dir: &Path) {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = node_folder();
        let made = kiln(&["--set", &format!("data_dir={}", folder.display()), "migrate"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        folder.join("postgres")
    });
    let copied = Command::new("cp").arg("-a").arg(made).arg(data_dir).status().unwrap();
    assert!(copied.success(), "{}", data_dir.display());
}

/// Starts a server that logs to `errors`, else to `test.log`.
fn spawn(data_dir: &Path, place: Place, errors: Option<Stdio>) -> Child {
    let log = File::options().create(true).append(true).open(data_dir.join("test.log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    for setting in settings(data_dir, place) {
        command.arg("--set").arg(setting);
    }
    let errors = errors.unwrap_or_else(|| log.try_clone().unwrap().into());
    command.arg("serve").stdin(Stdio::null()).stdout(log).stderr(errors).spawn().unwrap()
}

fn settings(data_dir: &Path, (address, more): Place) -> Vec<String> {
    let mut settings = vec![
        format!("data_dir={}", data_dir.display()),
        format!("http.listen={address}"),
        "auth.mode=off".to_owned(),
        "log.format=json".to_owned(),
    ];
    settings.extend(more.iter().map(|&setting| setting.to_owned()));
    settings
}

/// Whether a database takes connections.
async fn reaches(url: &str) -> bool {
    let Ok((client, connection)) = tokio_postgres::connect(url, NoTls).await else { return false };
    tokio::spawn(connection);
    client.simple_query("SELECT 1").await.is_ok()
}
