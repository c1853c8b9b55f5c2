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

/// The PostgreSQL that runs on `folder`, which must be locked by us. One that is stopping is
/// waited for.
///
/// A left-over file that names some other process, or one that is dead and that nobody has buried
/// (both are usual in containers), would make PostgreSQL refuse to start: it is made harmless.
pub(super) fn running(folder: &Folder) -> Option<PidFile> {
    loop {
        let Some(file) = PidFile::read(&folder.cluster) else {
            disarm(folder);
            return None;
        };
        if !is_server(file.pid, &folder.cluster) {
            disarm(folder);
            return None;
        }
        if !file.is_stopping() {
            return Some(file);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process is the living PostgreSQL of `cluster`, which always has that as its working
/// folder. Where the system does not tell folders, the name of the program must do.
pub(super) fn is_server(pid: u32, cluster: &Path) -> bool {
    // As PostgreSQL itself asks: a process of another user cannot be the server of our folder.
    if raw(pid).is_none_or(|pid| rustix::process::test_kill_process(pid).is_err()) {
        return false;
    }
    if !Path::new("/proc/self/stat").exists() {
        let name = Command::new("ps").args(["-o", "comm=", "-p", &pid.to_string()]).output();
        return name.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("postgres"));
    }
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    match std::fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(folder) => folder == cluster && !is_dead(&stat),
        // A container's root may not look into processes of other users.
        Err(_) => stat.contains("(postgres)") && !is_dead(&stat),
    }
}

/// Whether the kernel's line about a process, `7 (name) Z ...`, says that it only waits to be
/// buried by its parent.
fn is_dead(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// The process id as the system's calls take it.
pub(super) fn raw(pid: u32) -> Option<rustix::process::Pid> {
    rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)
}

/// Puts our process id in the place of a wrong one, in the file of the data and in that of the
/// socket: PostgreSQL takes a file with the id of its parent for a left-over, yet still looks at
/// the other lines for its own surviving children.
fn disarm(folder: &Folder) {
    for path in [folder.cluster.join(NAME), folder.socket_lock()] {
        if let Ok(text) = std::fs::read_to_string(&path)
            && let Some((_, rest)) = text.split_once('\n')
        {
            let _ = std::fs::write(&path, format!("{}\n{rest}", std::process::id()));
        }
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
    fn neither_a_stranger_nor_a_zombie_is_the_server() {
        assert!(!is_server(std::process::id(), Path::new("/nowhere")));
        assert!(!is_server(u32::MAX, Path::new("/nowhere")), "no such id can exist");
        for (stat, expected) in [
            ("7 (postgres) S 1 7", false),
            ("7 (postgres) Z 1 7", true),
            ("7 (a) Z b) S 1 7", false),
            ("", false),
        ] {
            assert_eq!(is_dead(stat), expected, "{stat:?}");
        }
    }
}
