//! One private PostgreSQL for the whole test run, and a fresh database for whoever asks.
//!
//! It is the server's own `app::postgres` in a temporary folder. A test process cannot run code at
//! its end, so a shell that waits for the end of a pipe stops the database and removes the folder,
//! also when the tests are killed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kiln::app::postgres::Private;
use kiln::config::Config;
use kiln::store::{Address, Tenant, migrate};
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;

/// The database that every other one is a copy of.
const TEMPLATE: &str = "kiln_template";

struct Cluster {
    folder: PathBuf,
    postgres: Private,
    _reaper: Child,
}

/// The URLs of one database.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) app: String,
    pub(crate) owner: String,
    pub(crate) superuser: String,
}

impl Database {
    /// A fresh, migrated database.
    pub(crate) async fn migrated() -> Self {
        static MIGRATED: OnceCell<()> = OnceCell::const_new();
        MIGRATED.get_or_init(make_template).await;
        Self::make(Some(TEMPLATE)).await
    }

    /// A database without a schema.
    pub(crate) async fn empty() -> Self {
        Self::make(None).await
    }

    async fn make(template: Option<&str>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kiln_test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let from = template.map(|name| format!(" TEMPLATE {name}")).unwrap_or_default();
        run(
            &cluster().postgres.superuser_url(),
            &format!("CREATE DATABASE {name} OWNER kiln_owner{from}"),
        )
        .await;
        Self::named(&name)
    }

    fn named(name: &str) -> Self {
        let url = |role| cluster().postgres.url(role, name);
        Self { app: url("kiln_app"), owner: url("kiln_owner"), superuser: url("postgres") }
    }

    /// One number that the database answers, asked as its owner.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let client = connect(&self.superuser).await;
        client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error}")).get(0)
    }

    /// Waits until so many connections wait for locks: then what they do is under way.
    pub(crate) async fn until_waiting(&self, count: i64) {
        let sql = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let began = Instant::now();
        while self.number(sql).await < count {
            assert!(began.elapsed() < Duration::from_mins(1), "less than {count} wait");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs statements as the superuser.
    pub(crate) async fn run(&self, statements: &str) {
        run(&self.superuser, statements).await;
    }
}

async fn make_template() {
    run(
        &cluster().postgres.superuser_url(),
        &format!("CREATE DATABASE {TEMPLATE} OWNER kiln_owner"),
    )
    .await;
    migrate(&Address::new(Database::named(TEMPLATE).owner).of(Tenant::ONLY)).await.unwrap();
}

/// Connects, with the connection's own task.
pub(crate) async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn run(url: &str, statements: &str) {
    let client = connect(url).await;
    for statement in statements.split(";\n") {
        let done = client.batch_execute(statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let folder = temporary("database");
        let text = folder.to_str().unwrap().to_owned();
        let flags = [
            ("data_dir".to_owned(), text),
            ("auth.mode".to_owned(), "off".to_owned()),
            // The servers of all tests that run at once have it together; ten of them are one test's.
            ("database.write_connections".to_owned(), "200".to_owned()),
        ];
        let config = Config::load(None, &flags).unwrap();
        let postgres = Private::start(&config).unwrap_or_else(|error| panic!("{error}"));
        let pid = postgres.pid().unwrap_or_default();
        let reaper = reaper(pid, &folder);
        Cluster { folder, postgres, _reaper: reaper }
    })
}

/// A data folder for a server of its own, removed with the database.
pub(crate) fn node_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    cluster().folder.join(format!("node-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// The folder of the keys of all servers: one key takes a second to make.
pub(crate) fn keys_folder() -> PathBuf {
    cluster().folder.join("keys")
}

/// A folder of this run; nothing is in it yet.
pub(crate) fn temporary(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("kiln-test-{}-{name}-{number}", std::process::id()))
}

/// Waits for our end, then stops the database quickly and removes its folder.
fn reaper(pid: u32, folder: &std::path::Path) -> Child {
    let script = r#"trap '' INT TERM HUP
        cat >/dev/null
        kill -QUIT "$1" 2>/dev/null
        for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
        rm -rf "$2""#;
    Command::new("sh")
        .args(["-c", script, "reaper", &pid.to_string()])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
