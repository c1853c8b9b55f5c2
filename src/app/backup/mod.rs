//! `kiln backup` and `kiln restore`: the whole database in one encrypted file, and out of it into an empty one.
//!
//! `pg_dump` writes one moment of all schemas into a pipe, and what comes out of it is encrypted before it is on a disk. Keys are no part
//! of a backup: those in `auth.keys_dir`, that of checkpoints and that of backups itself.
//!
//! Layer: 8. Imports `clock`, `config`, `store`.
//!
//! Spec: security K9

mod restore;

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use clap::Args;

use crate::clock::{Clock as _, IdSource as _, SystemClock, SystemIds};
use crate::config::Config;
use crate::oauth::login::seal::{self, KEY};
use crate::store::backup::{BackupKey, Head, Sealing, client_environment};
use crate::store::maintenance::Eraser;
use crate::store::{Address, Tenant};

use super::audit::folder::Folder;
use super::audit::{note_command, sealer};
use super::database::{Home, StartError};
use super::erasure::list;
use super::postgres;

pub(super) use restore::RestoreArgs;
pub(super) use restore::run as restore;

type Done = Result<(), Box<dyn Error>>;

/// The name of the key where none is named.
const KEY_FILE: &str = "backup.key";

/// `kiln backup`: to where, by which key.
#[derive(Args, Debug)]
pub(super) struct BackupArgs {
    /// The file. One that is there is not overwritten.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// The key (32 bytes). Default: backup.key beside the other keys, made when there is none.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Make the key that --key names.
    #[arg(long, requires = "key")]
    make_key: bool,
}

/// A tenant, or all there is, with the settings for it.
struct Part {
    config: Config,
    tenant: Tenant,
}

/// All data of a database: those of each tenant, where there are some.
async fn parts(config: &Config, home: &Home) -> Result<Vec<Part>, Box<dyn Error>> {
    let mut parts = vec![Part { config: config.clone(), tenant: Tenant::ONLY }];
    if config.has_tenants() {
        let directory = home.directory()?;
        let listed = directory.list().await;
        directory.close().await;
        let ready = listed?.into_iter().filter(|it| it.is_ready);
        parts
            .extend(ready.map(|it| Part { config: config.of_tenant(&it.name), tenant: it.tenant }));
    }
    Ok(parts)
}

/// Writes a backup.
///
/// # Errors
/// Why there is none, as a sentence; then nothing is left of the file.
pub(super) async fn run(args: BackupArgs, config: &Config) -> Done {
    if config.tenancy.tenant.is_some() {
        return Err("a backup has all tenants: run it without --tenant".into());
    }
    let (key, path) = key(args.key.as_deref(), args.make_key, config)?;
    let home = Home::open(config, true).await?;
    let done = back_up(&args.to, &key, (config, &home)).await;
    home.close().await;
    let bytes = done?;
    println!(
        "{} has {bytes} bytes, encrypted by {} ({})",
        args.to.display(),
        path.display(),
        key.name()
    );
    println!(
        "keep that key, the other keys and the folder of checkpoints elsewhere: no backup has them"
    );
    Ok(())
}

/// The key of a file, and where it is.
fn key(
    named: Option<&Path>,
    makes: bool,
    config: &Config,
) -> Result<(BackupKey, PathBuf), Box<dyn Error>> {
    let path = named.map_or_else(|| config.keys_dir().join(KEY_FILE), Path::to_owned);
    let (Some(folder), Some(file)) = (path.parent(), path.file_name().and_then(|it| it.to_str()))
    else {
        return Err(format!("{} is no file for a key", path.display()).into());
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let fresh: Option<[u8; KEY]> =
        (named.is_none() || makes).then(|| SystemIds::default().secret());
    let bytes = seal::key_in(folder, file, fresh)?;
    Ok((BackupKey::new(bytes), path))
}

async fn back_up(
    to: &Path,
    key: &BackupKey,
    (config, home): (&Config, &Home),
) -> Result<u64, Box<dyn Error>> {
    home.bring_up(Tenant::ONLY).await?;
    let parts = parts(config, home).await?;
    for part in &parts {
        let store = home.store(&part.config, part.tenant).await?;
        note_command(&store, "kiln backup", "a backup of the whole database").await?;
        // What is restored needs the list, be it empty.
        if let Some(owner) = home.owner(part.tenant) {
            let eraser = Eraser::connect(&owner, store.hasher()).await?;
            let log = sealer::log_name(&store);
            list::complete_from(&eraser, &Folder::of(&part.config), &log).await?;
        }
    }
    let address = home.whole(config).ok_or(StartError::NoOwner)?;
    let dump = program(config, "pg_dump", &address)?;
    let head = Head {
        made_at: SystemClock.now().floor_to_millis().to_string(),
        kiln: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let (to, salt) = (to.to_owned(), SystemIds::default().secret());
    let file = new_file(&to)?;
    let key = key.clone();
    let writing = tokio::task::spawn_blocking({
        let to = to.clone();
        move || {
            let written = dumped(dump, Sealing::begin(BufWriter::new(file), &head, &key, salt));
            if written.is_err() {
                // Half a backup is none.
                let _ = std::fs::remove_file(&to);
            }
            written
        }
    });
    Ok(writing.await??)
}

/// A file that only its owner may read, where there is none.
fn new_file(path: &Path) -> Result<File, Box<dyn Error>> {
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o600).open(path);
    made.map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

/// A program of PostgreSQL that is told where to connect.
fn program(config: &Config, name: &str, address: &Address) -> Result<Command, Box<dyn Error>> {
    let mut command = Command::new(postgres::program(config, name)?);
    for name in ["PGOPTIONS", "PGSERVICE", "PGPASSFILE", "PGSSLROOTCERT", "PGHOSTADDR"] {
        command.env_remove(name);
    }
    command.envs(client_environment(address)?).env("LC_ALL", "C").arg("--no-password");
    Ok(command)
}

/// Has `pg_dump` write through a pipe into what is encrypted; how many bytes the file has.
fn dumped(mut dump: Command, sealing: io::Result<Sealing<BufWriter<File>>>) -> io::Result<u64> {
    let mut sealing = sealing?;
    // What is dropped by others meanwhile is waited for, and they for this: not for ever.
    dump.args(["--format=custom", "--lock-wait-timeout=60s"]);
    let child = dump.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Running(child.map_err(|error| unstarted(&dump, &error))?);
    let mut said = child.0.stderr.take();
    // It must not wait for who reads what it says.
    let complaint = std::thread::spawn(move || heard(said.as_mut()));
    if let Some(out) = &mut child.0.stdout {
        io::copy(out, &mut sealing)?;
    }
    let status = child.0.wait()?;
    let complaint = complaint.join().unwrap_or_default();
    if !status.success() {
        return Err(ended("pg_dump", status, &complaint));
    }
    let out = sealing.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    out.sync_all()?;
    Ok(out.metadata()?.len())
}

/// The end of what a program says.
fn heard(said: Option<&mut impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(said) = said {
        // What cannot be read is not told.
        let _ = said.read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}

fn unstarted(command: &Command, cause: &io::Error) -> io::Error {
    let program = Path::new(command.get_program()).display();
    io::Error::other(format!("cannot run {program}: {cause}"))
}

fn ended(program: &str, status: ExitStatus, complaint: &str) -> io::Error {
    io::Error::other(format!("{program} failed ({status}): {complaint}"))
}

/// A program that ends with this at the latest.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is not there to be ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
