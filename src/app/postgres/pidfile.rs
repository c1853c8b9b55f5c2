//! `postmaster.pid`: what PostgreSQL writes about itself into its data folder.
//!
//! Layer: 8. <https://www.postgresql.org/docs/current/storage-file-layout.html>

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::folder::Folder;

const NAME: &str = "postmaster.pid";

/// The content of a `postmaster.pid`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PidFile {
    pub(super) pid: u32,
    pub(super) port: u16,
    pub(super) socket_dir: PathBuf,
    status: String,
}

impl PidFile {
    /// Reads the file in `cluster`; none when it is absent or not yet written whole.
    pub(super) fn read(cluster: &Path) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(cluster.join(NAME)).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().collect();
        let [pid, _data, _started, port, socket_dir, ..] = lines[..] else { return None };
        Some(Self {
            pid: pid.trim().parse().ok()?,
            port: port.trim().parse().ok()?,
            socket_dir: PathBuf::from(socket_dir),
            status: lines.get(7).map(|line| line.trim().to_owned()).unwrap_or_default(),
        })
    }

    /// Whether connections are accepted.
    pub(super) fn is_ready(&self) -> bool {
        self.status == "ready"
    }

    fn is_stopping(&self) -> bool {
        self.status == "stopping"
    }
}

/// Whether a PostgreSQL runs on a folder.
#[derive(Debug)]
pub(super) enum Standing {
    /// One does.
    Running(PidFile),
    /// None does; a file of a dead one is no obstacle any more.
    Stopped,
}

/// Tells whether a PostgreSQL runs on `folder`, which must be locked by us.
///
/// One that is stopping is waited for. A left-over file with the process id of some other living
/// process (usual in containers, where ids are small) would make PostgreSQL refuse to start: it
/// is made harmless.
pub(super) fn standing(folder: &Folder) -> Standing {
    loop {
        let Some(file) = PidFile::read(&folder.cluster) else { return Standing::Stopped };
        if !is_alive(file.pid) {
            return Standing::Stopped;
        }
        if runs_elsewhere(file.pid, &folder.cluster) {
            disarm(&folder.cluster);
            return Standing::Stopped;
        }
        if !file.is_stopping() {
            return Standing::Running(file);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the process exists and is within our power, as PostgreSQL itself asks: one of another
/// user cannot be the server of our folder.
pub(super) fn is_alive(pid: u32) -> bool {
    raw(pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// The process id as the system's calls take it.
pub(super) fn raw(pid: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)
}

/// Whether a living process is not the PostgreSQL of `cluster`, which always has that as its
/// working folder. Where the system does not tell folders, the name of the program must do.
fn runs_elsewhere(pid: u32, cluster: &Path) -> bool {
    if Path::new("/proc/self/cwd").exists() {
        return std::fs::read_link(format!("/proc/{pid}/cwd"))
            .is_ok_and(|folder| folder != cluster);
    }
    let name = Command::new("ps").args(["-o", "comm=", "-p", &pid.to_string()]).output();
    name.is_ok_and(|output| !String::from_utf8_lossy(&output.stdout).contains("postgres"))
}

/// Puts our process id in the place of a wrong one: PostgreSQL takes a file with the id of its
/// parent for a left-over, yet still looks at the other lines for its own surviving children.
fn disarm(cluster: &Path) {
    let path = cluster.join(NAME);
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Some((_, rest)) = text.split_once('\n')
    {
        let _ = std::fs::write(&path, format!("{}\n{rest}", std::process::id()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_read_in_every_stage() {
        let head = "4711\n/srv/k/postgres\n1700000000\n5432\n/srv/k/run\n";
        for (text, expected) in [
            (format!("{head}\n  65536 3\nready   \n"), Some("ready")),
            (format!("{head}\n  65536 3\nstarting\n"), Some("starting")),
            (format!("{head}\n"), Some("")),
            ("4711\n/srv/k/postgres\n".to_owned(), None),
            (format!("x{head}"), None),
            (String::new(), None),
        ] {
            let read = PidFile::parse(&text);
            assert_eq!(read.as_ref().map(|file| file.status.as_str()), expected, "{text:?}");
            assert!(read.is_none_or(|file| (file.pid, file.port) == (4711, 5432)), "{text:?}");
        }
    }

    #[test]
    fn our_own_process_is_alive_and_runs_elsewhere() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(u32::MAX), "no such id can exist");
    }
}
