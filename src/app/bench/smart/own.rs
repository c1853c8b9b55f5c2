//! A server of the bench's own: with the settings of the command, on a free port, and without limits. Where
//! they say nothing of data, it has a folder that goes with it.
//!
//! With the usual limits a server refuses a client at 1,000 requests a second, which is less than what is to
//! be measured.

use std::fs::DirBuilder;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::super::BenchError;
use super::super::connection::Connection;
use super::super::target::Target;
use super::begin;
use crate::config::Config;

/// What is 0 for it, and has to be for any server that is measured.
pub(in crate::app::bench) const LIMITS: [&str; 5] = [
    "limits.requests_per_minute",
    "limits.requests_at_a_time",
    "limits.total_per_minute",
    "limits.total_at_a_time",
    "limits.tokens_per_minute",
];
/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the settings of the command come from, beside the environment.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The file that was named.
    pub file: Option<PathBuf>,
    /// Settings of the command line.
    pub settings: Vec<(String, String)>,
}

impl Origin {
    /// The arguments of another command with the same settings.
    pub(in crate::app::bench) fn arguments(&self, words: &[&str]) -> Vec<String> {
        let file = self.file.iter().map(|file| format!("--config={}", file.display()));
        let words = words.iter().map(|&word| word.to_owned());
        let settings = self.settings.iter().map(|(key, value)| format!("--set={key}={value}"));
        file.chain(words).chain(settings).collect()
    }

    /// The same, with data that go with what is given back, and the settings for it; as it is where the
    /// settings name a database or a folder.
    pub(in crate::app::bench) fn with_data(
        &self,
        config: &Config,
    ) -> Result<(Self, Config, Option<Folder>), BenchError> {
        let (mut origin, mut config) = (self.clone(), config.clone());
        if !config.has_no_place() {
            return Ok((origin, config, None));
        }
        let folder = Folder::new()?;
        config.data_dir = folder.0.join("data");
        begin(format!("the data are in {} until the end", config.data_dir.display()));
        origin.settings.push(("data_dir".to_owned(), config.data_dir.display().to_string()));
        Ok((origin, config, Some(folder)))
    }
}

/// A folder of what nobody keeps, as long as this is there.
#[derive(Debug)]
pub(in crate::app::bench) struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, BenchError> {
        let path = std::env::temp_dir().join(format!("kiln-bench-smart-{}", std::process::id()));
        // Never one that was there; and where we are root, PostgreSQL has to pass through.
        let made = DirBuilder::new().mode(0o711).create(&path);
        made.map_err(BenchError::io(format!("{}, for data", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "data that nobody keeps are left");
        }
    }
}

/// The server, as long as it is measured.
pub(in crate::app::bench) struct Own {
    child: Child,
    port: u16,
}

impl Own {
    /// Starts it, and waits until it is ready.
    pub(in crate::app::bench) async fn start(origin: &Origin) -> Result<Self, BenchError> {
        let failed = || BenchError::io("a server of its own (--base names another one)");
        let port = free_port().map_err(failed())?;
        let program = std::env::current_exe().map_err(failed())?;
        let mut command = Command::new(program);
        command.args(arguments(origin, port)).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.kill_on_drop(true).spawn().map_err(failed())?;
        let mut own = Self { child, port };
        own.ready().await.map_err(failed())?;
        Ok(own)
    }

    /// Its FHIR base.
    pub(in crate::app::bench) fn base(&self) -> String {
        format!("http://127.0.0.1:{}/fhir", self.port)
    }

    async fn ready(&mut self) -> io::Result<()> {
        let root = format!("http://127.0.0.1:{}", self.port);
        let root = Target::parse(&root, &[]).map_err(io::Error::other)?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it did not start: {status}")));
            }
            let mut connection = Connection::new(&root);
            let answer = connection.send("GET", "/health/ready", None).await;
            if answer.is_ok_and(|answer| answer.is_success()) {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends it, with the PostgreSQL that it may have started.
    pub(in crate::app::bench) async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let is_told = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        if !is_told || timeout(PATIENCE, self.child.wait()).await.is_err() {
            // What is left of it goes with the handle.
            tracing::warn!("the server that was measured did not end when it was told to");
        }
    }
}

/// A port that nothing listens on at this moment.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// What it logs, unless the command says otherwise: a line for each request would bury the figures.
const LOG: &str = "log.filter=info,kiln::request=warn";

/// How it is started: of a setting that is named twice the last one counts.
fn arguments(origin: &Origin, port: u16) -> Vec<String> {
    let file = origin.file.iter().map(|file| format!("--config={}", file.display()));
    let given = origin.settings.iter().map(|(key, value)| format!("{key}={value}"));
    let listen = format!("http.listen=127.0.0.1:{port}");
    let own = LIMITS.iter().map(|key| format!("{key}=0")).chain([listen]);
    let settings = std::iter::once(LOG.to_owned()).chain(given).chain(own);
    let settings = settings.map(|setting| format!("--set={setting}"));
    file.chain(["serve".to_owned()]).chain(settings).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_settings_of_the_command_and_no_limits() {
        let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let origin = Origin {
            file: Some("k.toml".into()),
            settings: vec![
                setting("limits.tokens_per_minute", "7"),
                setting("database.url", "postgres:///x"),
            ],
        };
        let other = origin.arguments(&["audit", "who"]).join(" ");
        let own = "--set=limits.tokens_per_minute=7 --set=database.url=postgres:///x";
        assert_eq!(other, format!("--config=k.toml audit who {own}"));
        let all = arguments(&origin, 9).join(" ");
        assert_eq!(
            all,
            "--config=k.toml serve --set=log.filter=info,kiln::request=warn \
             --set=limits.tokens_per_minute=7 --set=database.url=postgres:///x \
             --set=limits.requests_per_minute=0 --set=limits.requests_at_a_time=0 \
             --set=limits.total_per_minute=0 --set=limits.total_at_a_time=0 \
             --set=limits.tokens_per_minute=0 --set=http.listen=127.0.0.1:9"
        );
        let flags: Vec<(String, String)> = LIMITS.map(|key| setting(key, "0")).into();
        let config = Config::load(None, &flags).expect("settings");
        assert_eq!(config.limits.requests_per_minute, 0);
    }

    #[test]
    fn data_that_have_no_place_are_gone_with_their_folder() {
        let named = Config::load(None, &[("data_dir".to_owned(), "/d".to_owned())]);
        let named = named.expect("settings");
        let mut unnamed = named.clone();
        unnamed.data_dir = "./kiln-data".into();
        unnamed.database.url = None;
        let origin = Origin { file: None, settings: vec![("ids".to_owned(), "time".to_owned())] };
        let (own, config, folder) = origin.with_data(&named).expect("nothing to make");
        assert_eq!((own.settings, config.data_dir), (origin.settings.clone(), "/d".into()));
        assert!(folder.is_none());

        let (own, config, folder) = origin.with_data(&unnamed).expect("a folder");
        let path = folder.as_ref().expect("of its own").0.clone();
        assert_eq!(config.data_dir, path.join("data"));
        let told = own.settings.last().map(|(key, value)| (key.as_str(), PathBuf::from(value)));
        assert_eq!(told, Some(("data_dir", config.data_dir.clone())));
        std::fs::create_dir(&config.data_dir).expect("it can be written to");
        assert!(Folder::new().is_err(), "what is there is nobody's to take");
        drop(folder);
        assert!(!path.exists());
    }
}
