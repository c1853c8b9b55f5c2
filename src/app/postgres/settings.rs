//! `postgresql.conf` for the private PostgreSQL, fit to the machine it is on.
//!
//! Written anew at each start; `ALTER SYSTEM` still wins, for it writes another file. The choices
//! are those of storage.md section 0b to 4: an OLTP load whose indexes are keyed by hashes.
//!
//! Layer: 8.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::Config;

use super::PORT;

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// Assumed where the system does not tell.
const UNKNOWN_MEMORY: u64 = 4 * GIB;

/// Connections where there are tenants: about twenty of them can be busy at a time.
const WITH_TENANTS: u32 = 400;

/// Connections beside those of Kiln: migrations, tests, an operator's psql.
const SPARE_CONNECTIONS: u32 = 60;

/// What the settings depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// Free bytes where the data lies.
    pub(super) disk_free: u64,
    /// Whether the server was built with lz4.
    pub(super) lz4: bool,
    /// Major version of the server.
    pub(super) major: u32,
    /// Bytes of memory that we may count on.
    pub(super) memory: u64,
}

impl Machine {
    /// Looks at the memory and the disk that `cluster` is on.
    pub(super) fn around(cluster: &Path, major: u32, lz4: bool) -> Self {
        let disk_free = rustix::fs::statvfs(cluster)
            .map_or(GIB, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        Self { disk_free, lz4, major, memory: memory() }
    }
}

/// The memory of the machine, or of the container when that is less.
fn memory() -> u64 {
    let read = |path| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| total_memory(&text));
    let container = read("/sys/fs/cgroup/memory.max")
        .or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
        .and_then(|text| text.trim().parse::<u64>().ok());
    let machine = machine.unwrap_or(UNKNOWN_MEMORY);
    container.map_or(machine, |limit| limit.min(machine))
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The text of `postgresql.conf`.
pub(super) fn text(config: &Config, machine: Machine, socket_dir: &Path) -> String {
    let mut text = String::from(
        "# Written by Kiln at each start: changes here are lost. Use ALTER SYSTEM instead.\n",
    );
    for (name, value) in settings(config, machine, socket_dir) {
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    }
    text
}

fn settings(config: &Config, machine: Machine, socket_dir: &Path) -> Vec<(&'static str, String)> {
    // A server, and a command beside it.
    let pools = config.database.connections().saturating_mul(2);
    let fewest = if config.has_tenants() { WITH_TENANTS } else { 100 };
    let mut all = vec![
        // Only over the socket, whose folder is closed to other users.
        ("listen_addresses", String::new()),
        ("port", PORT.to_string()),
        ("unix_socket_directories", quoted(socket_dir)),
        ("unix_socket_permissions", "0700".to_owned()),
        ("max_connections", (pools.saturating_add(SPARE_CONNECTIONS)).max(fewest).to_string()),
    ];
    all.extend(memory_settings(machine.memory));
    all.extend(log_settings(machine));
    all.extend(load_settings(machine));
    all
}

/// A quarter of the memory for the buffers; the rest of it is the system's cache.
fn memory_settings(memory: u64) -> Vec<(&'static str, String)> {
    vec![
        ("shared_buffers", megabytes((memory / 4).clamp(64 * MIB, 8 * GIB))),
        ("huge_pages", "try".to_owned()),
        ("effective_cache_size", megabytes((memory / 4 * 3).max(256 * MIB))),
        ("work_mem", megabytes((memory / 1024).clamp(4 * MIB, 32 * MIB))),
        ("maintenance_work_mem", megabytes((memory / 32).clamp(64 * MIB, GIB))),
    ]
}

/// Durable, with rare checkpoints: after each one the first touch of every page is logged whole,
/// which is the real limit of hash-keyed indexes.
fn log_settings(machine: Machine) -> Vec<(&'static str, String)> {
    let wal = (machine.disk_free / 10).clamp(GIB, 8 * GIB);
    let compression = if machine.lz4 { "lz4" } else { "on" };
    let toast = if machine.lz4 { "lz4" } else { "pglz" };
    vec![
        ("fsync", "on".to_owned()),
        ("synchronous_commit", "on".to_owned()),
        ("full_page_writes", "on".to_owned()),
        ("wal_compression", compression.to_owned()),
        ("default_toast_compression", toast.to_owned()),
        ("checkpoint_timeout", "30min".to_owned()),
        ("max_wal_size", megabytes(wal)),
        ("min_wal_size", megabytes(wal / 4)),
    ]
}

/// Many short statements on solid state disks, and no patient data in the log: statements and
/// details can hold it, errors go to the client alone.
fn load_settings(machine: Machine) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("jit", "off"),
        ("max_parallel_workers_per_gather", "0"),
        ("random_page_cost", "1.1"),
        // Index-only scans need pages that vacuum marked all-visible, also where rows only grow.
        ("autovacuum_vacuum_insert_scale_factor", "0.02"),
        ("autovacuum_vacuum_scale_factor", "0.05"),
        // Sizes of tables are seen without it; shares of values change little in a tenth more rows.
        ("autovacuum_analyze_scale_factor", "0.1"),
        // Soon, for what has just begun to grow is planned as if it were empty, and the queue is swept.
        ("autovacuum_naptime", "15s"),
        ("autovacuum_vacuum_cost_limit", "1000"),
        // A long transaction holds back the horizon of the change feed.
        ("idle_in_transaction_session_timeout", "60s"),
        ("lc_messages", "C"),
        ("lc_monetary", "C"),
        ("lc_numeric", "C"),
        ("lc_time", "C"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("log_line_prefix", "%m [%p] "),
        ("log_min_messages", "log"),
        ("log_min_error_statement", "panic"),
        ("log_error_verbosity", "terse"),
        ("log_checkpoints", "off"),
        ("log_autovacuum_min_duration", "-1"),
    ];
    if cfg!(target_os = "linux") {
        // After a crash one call writes out the file system, not one for each file.
        all.push(("recovery_init_sync_method", "syncfs"));
        all.push(("effective_io_concurrency", "200"));
        all.push(("maintenance_io_concurrency", "200"));
    }
    if machine.major >= 18 {
        all.push(("io_method", "worker"));
    }
    all.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

fn megabytes(bytes: u64) -> String {
    format!("{}MB", bytes / MIB)
}

/// A path in a list of names: PostgreSQL splits at commas that are not within double quotes.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Machine = Machine { disk_free: 0, lz4: false, major: 15, memory: 512 * MIB };

    fn value(machine: Machine, name: &str) -> Option<String> {
        let config = Config::load(None, &[]).unwrap();
        let all = settings(&config, machine, Path::new("/run,x"));
        all.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    #[test]
    fn settings_follow_the_machine() {
        let large = Machine { disk_free: 500 * GIB, lz4: true, major: 18, memory: 64 * GIB };
        for (machine, name, expected) in [
            (SMALL, "shared_buffers", Some("128MB")),
            (large, "shared_buffers", Some("8192MB")),
            (SMALL, "max_wal_size", Some("1024MB")),
            (large, "max_wal_size", Some("8192MB")),
            (SMALL, "wal_compression", Some("on")),
            (large, "wal_compression", Some("lz4")),
            (SMALL, "io_method", None),
            (large, "io_method", Some("worker")),
            (SMALL, "listen_addresses", Some("")),
            (SMALL, "unix_socket_directories", Some("\"/run,x\"")),
            (SMALL, "synchronous_commit", Some("on")),
        ] {
            assert_eq!(value(machine, name).as_deref(), expected, "{name} on {machine:?}");
        }
    }

    #[test]
    fn every_connection_that_can_be_set_is_let_in() {
        for key in ["read_connections", "write_connections", "search_connections"] {
            let flags = [(format!("database.{key}"), "200".to_owned())];
            let config = Config::load(None, &flags).unwrap();
            let all = settings(&config, SMALL, Path::new("/"));
            let most = all.into_iter().find(|(name, _)| *name == "max_connections").unwrap().1;
            assert!(most.parse::<u32>().unwrap() >= 200 + SPARE_CONNECTIONS, "{key}: {most}");
        }
    }

    #[test]
    fn every_setting_is_written_once() {
        let config = Config::load(None, &[]).unwrap();
        let mut names: Vec<_> =
            settings(&config, SMALL, Path::new("/")).into_iter().map(|(name, _)| name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn the_memory_is_read_from_the_kernels_table() {
        for (text, expected) in [
            ("MemTotal:       2048 kB\nMemFree: 1 kB\n", Some(2 * MIB)),
            ("MemFree: 1 kB\n", None),
            ("MemTotal: much\n", None),
        ] {
            assert_eq!(total_memory(text), expected, "{text:?}");
        }
    }
}
