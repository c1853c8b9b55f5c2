//! Processor time and memory of the server, the database and this process, from `/proc`.
//!
//! The kernel counts processor time in ticks of 10 ms: exact enough over seconds.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Length of a tick: Linux shows user space 100 a second on every machine.
const TICK: Duration = Duration::from_millis(10);

/// Whom to measure.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    /// The server's process.
    pub(super) server: Option<u32>,
    /// The process that all PostgreSQL backends are children of.
    pub(super) postmaster: Option<u32>,
}

/// Processor time used up to a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) own: Duration,
    pub(super) server: Option<Duration>,
    pub(super) postgres: Option<Duration>,
}

/// The fields of `/proc/<pid>/stat` that matter.
#[derive(Debug, Eq, PartialEq)]
struct Stat<'t> {
    name: &'t str,
    parent: u32,
    ticks: u64,
    /// Ticks of children that have ended and were waited for.
    ended_ticks: u64,
}

impl Meter {
    /// Measures the process `server`, and PostgreSQL by the pid file in `data_directory`; without
    /// one by the only postmaster there is, or the one that the server started.
    pub(super) fn new(server: Option<u32>, data_directory: Option<&Path>) -> Self {
        let by_file = data_directory.and_then(|folder| {
            let text = fs::read_to_string(folder.join("postmaster.pid")).ok()?;
            text.lines().next()?.trim().parse().ok()
        });
        Self { server, postmaster: by_file.or_else(|| only_postmaster(server)) }
    }

    /// Measures what listens on a port and the PostgreSQL that it started; what is not found as `otherwise`.
    pub(super) fn of(port: u16, otherwise: &Self) -> Self {
        let server = listener(port).or(otherwise.server);
        if server == otherwise.server {
            return otherwise.clone();
        }
        Self { server, postmaster: only_postmaster(server) }
    }

    /// Processor time so far.
    pub(super) fn used(&self) -> Used {
        Used {
            own: of_process(std::process::id()).unwrap_or_default(),
            server: self.server.and_then(of_process),
            postgres: self.postmaster.map(of_family),
        }
    }

    /// The server's resident memory in MiB: now, and its highest.
    pub(super) fn memory(&self) -> Option<(u64, u64)> {
        Some((self.status("VmRSS:")?, self.status("VmHWM:")?))
    }

    /// What of it is the server's own now, in MiB: without the files of the full text index, of which the
    /// kernel keeps in memory what it has room for.
    pub(super) fn own_memory(&self) -> Option<u64> {
        self.status("RssAnon:")
    }

    /// A line of the server's status, in MiB.
    fn status(&self, name: &str) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.server?)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? >> 10)
    }
}

impl Used {
    /// What was used since `before`.
    pub(super) fn since(self, before: Self) -> Self {
        let difference = |now: Option<Duration>, then: Option<Duration>| {
            now.zip(then).map(|(now, then)| now.saturating_sub(then))
        };
        Self {
            own: self.own.saturating_sub(before.own),
            server: difference(self.server, before.server),
            postgres: difference(self.postgres, before.postgres),
        }
    }
}

fn of_process(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    read_stat(&text).map(|stat| ticks(stat.ticks))
}

fn ticks(count: u64) -> Duration {
    TICK * u32::try_from(count).unwrap_or(u32::MAX)
}

/// A process and its children, ended ones included.
fn of_family(parent: u32) -> Duration {
    let mut sum = 0;
    each_process(|pid, stat| {
        if pid == parent {
            sum += stat.ticks + stat.ended_ticks;
        } else if stat.parent == parent {
            sum += stat.ticks;
        }
    });
    ticks(sum)
}

fn only_postmaster(server: Option<u32>) -> Option<u32> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    let mut all = HashSet::new();
    each_process(|pid, stat| {
        if stat.name == "postgres" {
            all.insert(pid);
            found.push((pid, stat.parent));
        }
    });
    found.retain(|(_, parent)| !all.contains(parent));
    let of_server = found.iter().find(|(_, parent)| Some(*parent) == server);
    match found.as_slice() {
        [(pid, _)] => Some(*pid),
        _ => of_server.map(|(pid, _)| *pid),
    }
}

fn each_process(mut with: impl FnMut(u32, &Stat<'_>)) {
    let Ok(folder) = fs::read_dir("/proc") else { return };
    for item in folder.flatten() {
        let Some(pid) = item.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(text) = fs::read_to_string(item.path().join("stat")) else { continue };
        if let Some(stat) = read_stat(&text) {
            with(pid, &stat);
        }
    }
}

/// Reads `pid (name) state parent .. utime stime cutime cstime ..` (proc_pid_stat(5)).
fn read_stat(text: &str) -> Option<Stat<'_>> {
    let (before, after) = text.rsplit_once(')')?;
    let name = before.split_once('(')?.1;
    let mut fields = after.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let mut next = |skip: usize| fields.nth(skip)?.parse::<u64>().ok();
    let ticks = next(9)? + next(0)?;
    let ended_ticks = next(0)? + next(0)?;
    Some(Stat { name, parent, ticks, ended_ticks })
}

/// The process on this machine that listens on TCP `port`.
pub(super) fn listener(port: u16) -> Option<u32> {
    let mut sockets = HashSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        sockets.extend(text.lines().filter_map(|line| listening_inode(line, port)));
    }
    let folder = fs::read_dir("/proc").ok()?;
    folder.flatten().find_map(|item| {
        let pid: u32 = item.file_name().to_str()?.parse().ok()?;
        let open = fs::read_dir(item.path().join("fd")).ok()?;
        let holds = open.flatten().any(|file| {
            let link = fs::read_link(file.path()).unwrap_or_default();
            let link = link.to_string_lossy();
            let inode = link.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
            inode.is_some_and(|inode| sockets.contains(inode))
        });
        holds.then_some(pid)
    })
}

/// The inode of a line of `/proc/net/tcp` when it listens on `port`.
fn listening_inode(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, found) = fields.get(1)?.rsplit_once(':')?;
    let is_it = u16::from_str_radix(found, 16) == Ok(port) && *fields.get(3)? == "0A";
    is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_a_strange_name() {
        let text = "12 (a) (b) S 7 12 12 0 -1 4194304 100 0 0 0 30 4 2 1 20 0 3 0 1 1 1\n";
        let expected = Stat { name: "a) (b", parent: 7, ticks: 34, ended_ticks: 3 };
        assert_eq!(read_stat(text), Some(expected));
        assert_eq!(read_stat("12 (a"), None);
    }

    #[test]
    fn this_process_is_found_by_its_port_and_uses_time() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listener(port), Some(std::process::id()));
        let meter = Meter { server: Some(std::process::id()), postmaster: None };
        let before = meter.used();
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_millis(60) {
            std::hint::spin_loop();
        }
        let used = meter.used().since(before);
        assert!(used.own >= Duration::from_millis(20), "{used:?}");
        assert!(used.server >= Some(Duration::from_millis(20)), "{used:?}");
        let (now, highest) = meter.memory().unwrap();
        assert!(now > 0 && highest >= now);
        assert!(meter.own_memory().is_some_and(|own| own > 0 && own <= highest));
    }
}
