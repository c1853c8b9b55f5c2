//! The folder that holds a private PostgreSQL: who may use it, where its parts are, who runs it.
//!
//! ```text
//! data_dir/kiln.lock      held by the living Kiln that owns the folder
//! data_dir/postgres/      the data; a link when `data_dir` is out of the server's reach
//! data_dir/postgres.log   what PostgreSQL says
//! data_dir/run/           the socket, when its path is short enough
//! ```
//!
//! Layer: 8.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

use super::PostgresError;

/// Name of the data folder inside `data_dir`.
pub(super) const CLUSTER: &str = "postgres";

/// Longest path of a socket on every system (macOS has 104 bytes with the final NUL).
const SOCKET_PATH_MAX: usize = 103;

/// Where the data goes when we are root and the server's user cannot reach `data_dir`.
const REACHABLE: &str = "/var/lib/kiln";

/// Size from which the log is put aside at start.
const LOG_MAX_BYTES: u64 = 10 * 1024 * 1024;

/// Proof that we are the one living Kiln of a folder; the system lets go of it when we die.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A program that is just being started has a copy of every open file for a moment: without a
        // word from us, the folder would be taken until that copy is closed.
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Locks `data_dir`, making it when there is none.
    pub(super) fn take(data_dir: &Path) -> Result<Self, PostgresError> {
        // The server's user must be able to pass through when we are root.
        let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(data_dir)
            .map_err(PostgresError::io("create", data_dir))?;
        let path = data_dir.join("kiln.lock");
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(PostgresError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                let pid = text.trim().parse().ok();
                return Err(PostgresError::InUse { data_dir: data_dir.to_owned(), pid });
            }
            Err(TryLockError::Error(cause)) => {
                return Err(PostgresError::Io { action: "lock", path, cause });
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(PostgresError::io("write", &path))?;
        Ok(Self { file })
    }
}

/// The user that PostgreSQL runs as when we are root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// `postgres`, else `nobody`.
    fn unprivileged() -> Result<Self, PostgresError> {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Self::named(name, &users))
            .ok_or(PostgresError::NoAccount)
    }

    fn named(name: &str, users: &str) -> Option<Self> {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        let uid = fields.next()?.parse().ok().filter(|&uid| uid != 0)?;
        Some(Self { uid, gid: fields.next()?.parse().ok()? })
    }

    /// Whether this user can pass through every folder on the way to `path`.
    fn reaches(self, path: &Path) -> bool {
        path.ancestors().all(|folder| {
            std::fs::metadata(folder).is_ok_and(|it| {
                let bit = match (it.uid() == self.uid, it.gid() == self.gid) {
                    (true, _) => 0o100,
                    (false, true) => 0o010,
                    (false, false) => 0o001,
                };
                it.mode() & bit != 0
            })
        })
    }
}

/// Where the parts of a private PostgreSQL are.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// The data, without links in the path.
    pub(super) cluster: PathBuf,
    /// Where the socket goes.
    pub(super) socket_dir: PathBuf,
    account: Option<Account>,
    log: PathBuf,
}

impl Folder {
    /// Looks at `data_dir`, which must exist, and makes the folder of the socket.
    pub(super) fn open(data_dir: &Path) -> Result<Self, PostgresError> {
        let data_dir = data_dir.canonicalize().map_err(PostgresError::io("find", data_dir))?;
        let root = rustix::process::geteuid().is_root();
        let link = data_dir.join(CLUSTER);
        let existing = link.canonicalize().ok().filter(|path| path.join("PG_VERSION").is_file());
        let (cluster, account) = match existing {
            Some(cluster) => {
                let account = owner(&cluster)?;
                (cluster, account)
            }
            None if root => {
                let account = Account::unprivileged()?;
                (reachable(&data_dir, &link, account)?, Some(account))
            }
            None => (link, None),
        };
        let home = cluster.parent().unwrap_or(&data_dir).to_owned();
        let mut folder = Self {
            cluster,
            socket_dir: home.join("run"),
            account,
            log: data_dir.join("postgres.log"),
        };
        if folder.socket().as_os_str().len() > SOCKET_PATH_MAX {
            folder.socket_dir = std::env::temp_dir().join(format!("kiln-{}", hash(&data_dir)));
        }
        folder.make_private(&folder.socket_dir)?;
        Ok(folder)
    }

    fn socket(&self) -> PathBuf {
        self.socket_dir.join(format!(".s.PGSQL.{}", super::PORT))
    }

    /// The file by which PostgreSQL claims its socket.
    pub(super) fn socket_lock(&self) -> PathBuf {
        self.socket().with_added_extension("lock")
    }

    /// The major version that wrote the data; none when there is no data yet.
    pub(super) fn version(&self) -> Result<Option<u32>, PostgresError> {
        let path = self.cluster.join("PG_VERSION");
        match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| PostgresError::Io {
                action: "understand",
                path,
                cause: std::io::Error::other(format!("{:?} is no version", text.trim())),
            }),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(PostgresError::Io { action: "read", path, cause }),
        }
    }

    /// The folder of the program that ran here last.
    pub(super) fn last_program(&self) -> Option<PathBuf> {
        let options = std::fs::read_to_string(self.cluster.join("postmaster.opts")).ok()?;
        let program = Path::new(options.split_once(" \"")?.0);
        Some(program.parent()?.to_owned())
    }

    /// A command that runs as the server's user and hears nothing of our surroundings.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        // A folder of ours may be closed to the server's user.
        command.current_dir("/").stdin(std::process::Stdio::null()).env("LC_ALL", "C");
        for name in ["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGDATABASE", "PGOPTIONS", "PGTZ"] {
            command.env_remove(name);
        }
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    /// Makes a folder that only the server's user can enter, or checks that it is one.
    pub(super) fn make_private(&self, path: &Path) -> Result<(), PostgresError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {
                if let Some(Account { uid, gid }) = self.account {
                    std::os::unix::fs::chown(path, Some(uid), Some(gid))
                        .map_err(PostgresError::io("hand over", path))?;
                }
                return Ok(());
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(PostgresError::io("create", path)(cause)),
        }
        // In the shared temporary folder anyone may have made it before us.
        let it = std::fs::symlink_metadata(path).map_err(PostgresError::io("look at", path))?;
        let ours = self.account.map_or(rustix::process::geteuid().as_raw(), |account| account.uid);
        if it.is_dir() && it.uid() == ours && it.mode() & 0o777 == 0o700 {
            return Ok(());
        }
        Err(PostgresError::Io {
            action: "use",
            path: path.to_owned(),
            cause: std::io::Error::other("it exists and is not ours alone; remove it"),
        })
    }

    /// Opens the log to write at its end; one that has grown large is put aside first.
    pub(super) fn open_log(&self) -> Result<File, PostgresError> {
        if std::fs::metadata(&self.log).is_ok_and(|it| it.len() > LOG_MAX_BYTES) {
            let _ = std::fs::rename(&self.log, self.log.with_extension("log.1"));
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.log)
            .map_err(PostgresError::io("open", &self.log))
    }

    /// What the log says from byte `start` on.
    pub(super) fn log_since(&self, start: u64) -> String {
        let mut text = Vec::new();
        let _ = File::open(&self.log).and_then(|mut file| {
            file.seek(std::io::SeekFrom::Start(start))?;
            file.take(64 * 1024).read_to_end(&mut text)
        });
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Where new data goes: into `link`, or to a place that `account` reaches, with a link to it.
fn reachable(data_dir: &Path, link: &Path, account: Account) -> Result<PathBuf, PostgresError> {
    if account.reaches(data_dir) {
        return Ok(link.to_owned());
    }
    let cluster = match std::fs::read_link(link) {
        // An earlier start came this far and no further.
        Ok(cluster) => cluster,
        Err(_) => new_home(Path::new(REACHABLE), &hash(data_dir))?.join(CLUSTER),
    };
    if std::fs::read_link(link).is_err() {
        std::os::unix::fs::symlink(&cluster, link).map_err(PostgresError::io("link", link))?;
    }
    tracing::warn!(
        data = %cluster.display(),
        link = %link.display(),
        "PostgreSQL does not run as root, and the user it runs as cannot reach data_dir"
    );
    Ok(cluster)
}

/// Makes a folder in `parent` that was never there: who removed the link to an older one wants to
/// begin anew, and data is not ours to remove.
fn new_home(parent: &Path, name: &str) -> Result<PathBuf, PostgresError> {
    let mut builder = DirBuilder::new();
    builder.mode(0o711).recursive(true);
    builder.create(parent).map_err(PostgresError::io("create", parent))?;
    builder.recursive(false);
    let mut number = 1_u32;
    loop {
        let home = parent.join(format!("{name}-{number}"));
        match builder.create(&home) {
            Ok(()) => return Ok(home),
            Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(cause) => return Err(PostgresError::io("create", &home)(cause)),
        }
    }
}

/// Checks that we may run the data of another start, and as whom.
fn owner(cluster: &Path) -> Result<Option<Account>, PostgresError> {
    let it = std::fs::metadata(cluster).map_err(PostgresError::io("look at", cluster))?;
    let ours = rustix::process::geteuid();
    let same = it.uid() == ours.as_raw();
    match (ours.is_root(), same) {
        (true, false) => Ok(Some(Account { uid: it.uid(), gid: it.gid() })),
        (true, true) => {
            // A copy that root made, from a backup for instance.
            let account = Account::unprivileged()?;
            hand_over(cluster, account)?;
            Ok(Some(account))
        }
        (false, true) => Ok(None),
        (false, false) => Err(PostgresError::Ownership {
            folder: cluster.to_owned(),
            owner: it.uid(),
            ours: ours.as_raw(),
        }),
    }
}

/// Gives a folder and all in it to `account`.
fn hand_over(path: &Path, account: Account) -> Result<(), PostgresError> {
    std::os::unix::fs::lchown(path, Some(account.uid), Some(account.gid))
        .map_err(PostgresError::io("hand over", path))?;
    if std::fs::symlink_metadata(path).is_ok_and(|it| it.is_dir()) {
        let entries = std::fs::read_dir(path).map_err(PostgresError::io("list", path))?;
        for entry in entries.flatten() {
            hand_over(&entry.path(), account)?;
        }
    }
    Ok(())
}

/// A short name for a path.
fn hash(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let digest = Sha256::digest(path.as_os_str().as_bytes());
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_free_at_once_though_a_program_that_starts_has_its_files_open() {
        let folder = std::env::temp_dir().join(format!("kiln-lock-{}", std::process::id()));
        let lock = Lock::take(&folder).expect("is free");
        let copy = lock.file.try_clone().expect("a copy");
        drop(lock);
        Lock::take(&folder).expect("is free again");
        drop(copy);
        std::fs::remove_dir_all(&folder).expect("is there");
    }

    #[test]
    fn an_account_is_read_from_passwd_and_is_never_root() {
        let users = "root:x:0:0::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\nbad:x:y:1\nzero:x:0:5";
        for (name, expected) in [
            ("postgres", Some(Account { uid: 101, gid: 104 })),
            ("root", None),
            ("zero", None),
            ("bad", None),
            ("post", None),
        ] {
            assert_eq!(Account::named(name, users), expected, "{name}");
        }
    }

    #[test]
    fn a_home_is_new_each_time_and_reachable() {
        let parent = std::env::temp_dir().join(format!("kiln-home-{}", std::process::id()));
        let homes = [new_home(&parent, "a").unwrap(), new_home(&parent, "a").unwrap()];
        assert_ne!(homes[0], homes[1]);
        let stranger = Account { uid: 65_533, gid: 65_533 };
        assert!(stranger.reaches(&homes[0]));
        let closed = parent.join("closed");
        DirBuilder::new().mode(0o700).create(&closed).unwrap();
        assert!(!stranger.reaches(&closed));
        std::fs::remove_dir_all(parent).unwrap();
    }

    #[test]
    fn paths_have_short_names_of_their_own() {
        let [one, other] = [hash(Path::new("/a")), hash(Path::new("/b"))];
        assert_eq!(one.len(), 16);
        assert_ne!(one, other);
    }
}
