//! The private PostgreSQL against real servers in temporary folders.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::*;

/// A temporary folder that goes away with everything in it.
struct Scratch(PathBuf, Option<Arc<Scratch>>);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("kiln-pg-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path, None)
    }

    /// A folder with a copy of a cluster that the running tests share.
    fn initialised(name: &str) -> Self {
        static MADE: Mutex<Weak<Scratch>> = Mutex::new(Weak::new());
        let made = {
            let mut weak = MADE.lock().unwrap_or_else(PoisonError::into_inner);
            weak.upgrade().unwrap_or_else(|| {
                let made = Arc::new(Self::new("template"));
                Private::start(&made.config()).unwrap().stop();
                *weak = Arc::downgrade(&made);
                made
            })
        };
        let mut scratch = Self::new(name);
        let copied = Command::new("cp")
            .arg("-a")
            .arg(made.0.join(folder::CLUSTER))
            .arg(&scratch.0)
            .status()
            .unwrap();
        assert!(copied.success());
        scratch.1 = Some(made);
        scratch
    }

    fn config(&self) -> Config {
        let flags = [("data_dir".to_owned(), self.0.display().to_string())];
        Config::load(None, &flags).unwrap()
    }

    fn cluster(&self) -> PathBuf {
        self.0.join(folder::CLUSTER)
    }

    fn folder(&self) -> Folder {
        Folder::open(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What psql answers to one statement, or its error.
fn query(url: &str, sql: &str) -> Result<String, String> {
    let output = Command::new("psql").args(["-X", "-At", "-d", url, "-c", sql]).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

fn kill(pid: u32, signal: &str) {
    // The shell's own: not every machine has a program for it.
    let text = format!("kill {signal} {pid}");
    assert!(Command::new("sh").args(["-c", &text]).status().unwrap().success());
}

/// Waits until `done`, at most `limit`.
fn eventually(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_new_folder_becomes_a_database_with_two_roles() {
    let scratch = Scratch::new("new");
    let began = Instant::now();
    let private = Private::start(&scratch.config()).unwrap();
    println!("from nothing to ready: {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());

    for (sql, expected) in [
        ("SHOW server_encoding", "UTF8"),
        ("SELECT datcollate FROM pg_database WHERE datname = 'kiln'", "C"),
        ("SHOW data_checksums", "on"),
        ("SHOW listen_addresses", ""),
        ("SHOW jit", "off"),
        ("SHOW synchronous_commit", "on"),
        ("SELECT current_user || ' ' || current_database()", "kiln_app kiln"),
        ("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = 'kiln_owner'", "f"),
        ("SELECT datistemplate FROM pg_database WHERE datname = 'kiln'", "f"),
    ] {
        assert_eq!(query(&private.app_url(), sql).as_deref(), Ok(expected), "{sql}");
    }
    let refused = query(&private.app_url(), "CREATE TABLE t (a int)").unwrap_err();
    assert!(refused.contains("permission denied"), "{refused}");
    assert_eq!(
        query(&private.owner_url(), "CREATE TABLE t (a int)").as_deref(),
        Ok("CREATE TABLE")
    );
    assert_eq!(query(&private.superuser_url(), "SELECT 1").as_deref(), Ok("1"));

    let pid = private.pid().unwrap();
    private.stop();
    assert!(!pidfile::is_server(pid, &scratch.cluster()), "it is gone when stop returns");
    assert!(!scratch.cluster().join("postmaster.pid").exists(), "and was stopped cleanly");
}

#[test]
fn a_made_folder_starts_quickly_and_stops_when_dropped() {
    let scratch = Scratch::initialised("quick");
    let began = Instant::now();
    let private = Private::start(&scratch.config()).unwrap();
    println!("from made to ready: {:?}", began.elapsed());
    let pid = private.pid().unwrap();
    drop(private);
    assert!(!pidfile::is_server(pid, &scratch.cluster()));
}

#[test]
fn a_folder_in_use_is_refused_by_its_owners_id_and_can_be_attached_to() {
    let scratch = Scratch::initialised("inuse");
    let config = scratch.config();
    assert!(matches!(Private::attach(&config), Err(PostgresError::NotRunning { .. })));

    let first = Private::start(&config).unwrap();
    let refused = Private::start(&config).unwrap_err();
    assert!(
        matches!(refused, PostgresError::InUse { pid: Some(pid), .. } if pid == std::process::id())
    );
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");

    // The server would else keep the folder locked after our death. (Linux tells; others do not.)
    let open = std::fs::read_dir(format!("/proc/{}/fd", first.pid().unwrap()));
    for file in open.into_iter().flatten().flatten() {
        let target = std::fs::read_link(file.path()).unwrap_or_default();
        assert!(!target.ends_with("kiln.lock"), "the lock is ours alone");
    }

    let second = Private::attach_or_start(&config).unwrap();
    assert_eq!(second.app_url(), first.app_url());
    assert_eq!(second.pid(), None, "the server is not ours to stop");
    drop(second);
    assert_eq!(query(&first.app_url(), "SELECT 1").as_deref(), Ok("1"), "it goes on");
    drop(first);
    let third = Private::attach_or_start(&config).unwrap();
    assert!(third.pid().is_some(), "nobody ran it, so it was started");
}

/// A server on the folder of `scratch` that no Kiln looks after.
fn orphan(scratch: &Scratch) -> Child {
    let folder = scratch.folder();
    let binaries = Binaries::find(None, Some(&folder), folder.version().unwrap()).unwrap();
    Private::start(&scratch.config()).unwrap().stop(); // for the settings
    let orphan = folder
        .command(&binaries.program("postgres"))
        .arg("-D")
        .arg(&folder.cluster)
        .stderr(folder.open_log().unwrap())
        .spawn()
        .unwrap();
    eventually(Duration::from_secs(10), "the orphan starts", || {
        PidFile::read(&folder.cluster).is_some_and(|file| file.pid == orphan.id())
    });
    orphan
}

#[test]
fn a_server_that_outlived_its_kiln_is_taken_over_and_looked_after() {
    let scratch = Scratch::initialised("orphan");
    let mut orphan = orphan(&scratch);
    let private = Private::start(&scratch.config()).unwrap();
    assert_eq!(private.pid(), Some(orphan.id()));
    assert_eq!(query(&private.app_url(), "SELECT 1").as_deref(), Ok("1"));
    // Dead, but not buried: nobody waited for it yet. Another start is not confused by that.
    let began = Instant::now();
    kill(orphan.id(), "-KILL");
    eventually(Duration::from_secs(10), "another one is started in its place", || {
        private.pid().is_some_and(|pid| pid != orphan.id())
            && query(&private.app_url(), "SELECT 1").as_deref() == Ok("1")
    });
    println!("from killed, taken over, to serving: {:?}", began.elapsed());
    private.stop();
    assert!(!scratch.cluster().join("postmaster.pid").exists());
    orphan.wait().unwrap();
}

#[test]
fn a_server_that_was_taken_over_is_stopped_at_the_end() {
    let scratch = Scratch::initialised("adopted");
    let mut orphan = orphan(&scratch);
    let private = Private::start(&scratch.config()).unwrap();
    assert_eq!(private.pid(), Some(orphan.id()));
    private.stop();
    assert!(orphan.wait().unwrap().success());
}

#[test]
fn a_killed_server_is_started_again_with_its_data() {
    let scratch = Scratch::initialised("killed");
    let private = Private::start(&scratch.config()).unwrap();
    query(&private.owner_url(), "CREATE TABLE kept AS SELECT 7 AS a").unwrap();
    for _ in 0..2 {
        let pid = private.pid().unwrap();
        let began = Instant::now();
        kill(pid, "-KILL");
        eventually(Duration::from_secs(10), "it serves again", || {
            private.pid().is_some_and(|now| now != pid)
                && query(&private.owner_url(), "SELECT a FROM kept").as_deref() == Ok("7")
        });
        println!("from killed to serving: {:?}", began.elapsed());
    }
}

#[test]
fn the_process_id_of_a_stranger_in_a_left_over_file_does_not_hinder() {
    let scratch = Scratch::initialised("stranger");
    let mut stranger = scratch.folder().command(Path::new("sleep")).arg("60").spawn().unwrap();
    let text = format!("{}\n{}\n1\n5432\n/nowhere\n\n", stranger.id(), scratch.cluster().display());
    std::fs::write(scratch.cluster().join("postmaster.pid"), text).unwrap();
    let private = Private::start(&scratch.config()).unwrap();
    assert_eq!(query(&private.app_url(), "SELECT 1").as_deref(), Ok("1"));
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn data_of_another_major_version_is_refused_with_both_versions_named() {
    let scratch = Scratch::initialised("major");
    std::fs::write(scratch.cluster().join("PG_VERSION"), "14\n").unwrap();
    let message = Private::start(&scratch.config()).unwrap_err().to_string();
    assert!(message.contains("PostgreSQL 14") && message.contains("found: "), "{message}");
}

#[test]
fn missing_binaries_are_an_error_that_names_the_packages() {
    let scratch = Scratch::new("nobinaries");
    let mut config = scratch.config();
    config.database.postgres_bin = Some(PathBuf::from("/nowhere"));
    let message = Private::start(&config).unwrap_err().to_string();
    assert!(message.contains("apt-get install postgresql"), "{message}");
}

#[test]
fn a_start_that_fails_tells_what_postgres_said() {
    let scratch = Scratch::initialised("broken");
    std::fs::write(scratch.cluster().join("postgresql.auto.conf"), "nonsense = 1\n").unwrap();
    let message = Private::start(&scratch.config()).unwrap_err().to_string();
    assert!(message.contains("nonsense"), "{message}");
}

#[test]
fn why_a_server_does_not_come_back_is_told_until_it_does() {
    let scratch = Scratch::initialised("fault");
    let private = Private::start(&scratch.config()).unwrap();
    let health = private.health();
    assert_eq!(health.fault(), None);
    let settings = scratch.cluster().join("postgresql.auto.conf");
    std::fs::write(&settings, "nonsense = 1\n").unwrap();
    kill(private.pid().unwrap(), "-KILL");
    eventually(Duration::from_secs(20), "it is told", || {
        health.fault().is_some_and(|fault| fault.contains("contains errors"))
    });
    std::fs::write(&settings, "").unwrap();
    eventually(Duration::from_secs(20), "it is back", || health.fault().is_none());
    assert_eq!(query(&private.app_url(), "SELECT 1").as_deref(), Ok("1"));
}

#[test]
fn a_port_that_the_operator_chose_is_found() {
    let scratch = Scratch::initialised("port");
    std::fs::write(scratch.cluster().join("postgresql.auto.conf"), "port = 5499\n").unwrap();
    let private = Private::start(&scratch.config()).unwrap();
    assert_eq!(query(&private.app_url(), "SHOW port").as_deref(), Ok("5499"));
}

#[test]
fn a_socket_whose_path_would_be_too_long_lies_in_the_temporary_folder() {
    let scratch = Scratch::new("long");
    let deep = scratch.0.join("a".repeat(60)).join("b".repeat(60));
    std::fs::create_dir_all(&deep).unwrap();
    let folder = Folder::open(&deep).unwrap();
    assert!(folder.socket_dir.starts_with(std::env::temp_dir()), "{:?}", folder.socket_dir);
    std::fs::remove_dir(&folder.socket_dir).unwrap();

    let short = scratch.folder();
    assert_eq!(short.socket_dir, scratch.0.canonicalize().unwrap().join("run"));
}

#[test]
fn a_half_made_cluster_is_made_anew() {
    let scratch = Scratch::new("half");
    std::fs::create_dir_all(scratch.0.join("postgres.new/base")).unwrap();
    std::fs::write(scratch.0.join("postgres.new/PG_VERSION"), "15\n").unwrap();
    let private = Private::start(&scratch.config()).unwrap();
    assert_eq!(query(&private.app_url(), "SELECT 1").as_deref(), Ok("1"));
}

#[test]
fn a_path_in_a_url_is_percent_encoded() {
    for (path, expected) in [("/a/b-c", "%2Fa%2Fb-c"), ("/a b/ü", "%2Fa%20b%2F%C3%BC")] {
        assert_eq!(percent_encoded(Path::new(path)), expected);
    }
}
