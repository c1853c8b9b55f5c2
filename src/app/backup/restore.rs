//! `kiln restore`: a backup into an empty database, which nobody serves until all that was erased since is erased again.
//!
//! The file is read to its end first, so that nothing of one that was altered or cut off gets into the database. Then
//! `pg_restore` fills it, behind a mark that keeps servers away; the mark goes when the database has this version, its
//! transactions have come as far as those that rows name, and the list of erasures was gone through.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;

use crate::access::interaction::Kind;
use crate::audit::{Erased, SignedErased, erasures_of};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::store::backup::{BackupKey, Opening, Restoring, reach};
use crate::store::maintenance::Eraser;
use crate::store::{Store, Tenant};

use super::super::audit::folder::Folder;
use super::super::audit::{note_act, sealer};
use super::super::database::{Home, StartError};
use super::super::erasure::list;
use super::super::follow;
use super::{Done, Part, Running, ended, heard, key, parts, program, unstarted};

/// `kiln restore`: from what, by which key and list.
#[derive(Args, Debug)]
pub(in crate::app) struct RestoreArgs {
    /// The backup.
    file: PathBuf,
    /// The key that it was made with. Default: backup.key beside the other keys.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The list of what was erased (erasures.jsonl), the newest that there is. Default: that beside the checkpoints, of each
    /// tenant its own.
    #[arg(long, value_name = "FILE", conflicts_with = "without_erasures")]
    erasures: Option<PathBuf>,
    /// Restore although no list says what was erased since: what was comes back.
    #[arg(long)]
    without_erasures: bool,
}

/// Restores a backup.
///
/// # Errors
/// Why it was not done, as a sentence; a database that is not whole then is served by nobody.
pub(in crate::app) async fn run(args: RestoreArgs, config: &Config) -> Done {
    if config.tenancy.tenant.is_some() {
        return Err("a backup has all tenants: run it without --tenant".into());
    }
    if args.erasures.is_some() && config.has_tenants() {
        let text = "each tenant has a list of its own: put them beside their checkpoints, and do without --erasures";
        return Err(text.into());
    }
    let path = args.key.clone().unwrap_or_else(|| config.keys_dir().join(super::KEY_FILE));
    let (key, _) = key(Some(&path), false, config)?;
    let bytes = verified(&args.file, &key).await?;
    let lists = Lists::read(&args, config)?;
    let home = Home::open(config, false).await?;
    let done = restore((&args.file, key), lists, (config, &home)).await;
    home.close().await;
    let erased = done?;
    println!("{bytes} bytes were restored; {erased} records were erased again");
    Ok(())
}

/// Reads a backup to its end; how many bytes it has inside.
async fn verified(path: &Path, key: &BackupKey) -> Result<u64, Box<dyn Error>> {
    let (path, key) = (path.to_owned(), key.clone());
    let reading =
        tokio::task::spawn_blocking(move || -> Result<u64, Box<dyn Error + Send + Sync>> {
            let file = File::open(&path);
            let file = file.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            Ok(Opening::begin(BufReader::with_capacity(1 << 17, file), &key)?.verify()?)
        });
    reading.await?.map_err(|error| -> Box<dyn Error> { error })
}

/// What says what was erased.
enum Lists {
    /// In this file.
    Named(PathBuf, Vec<SignedErased>),
    /// Nobody wants one.
    None,
    /// Of each its own.
    Own,
}

impl Lists {
    /// The list that is named has to be there, before anything is restored; so has that of the folder of checkpoints, and
    /// whom a list is believed. (The folders of tenants are known once their names are restored.)
    fn read(args: &RestoreArgs, config: &Config) -> Result<Self, Box<dyn Error>> {
        if args.without_erasures {
            return Ok(Self::None);
        }
        if let Some(path) = &args.erasures {
            let found = list::read(path)?.ok_or_else(|| missing(path))?;
            has_keys(config, &found)?;
            return Ok(Self::Named(path.clone(), found));
        }
        let path = list::path(&Folder::of(config));
        let found = list::read(&path)?.ok_or_else(|| missing(&path))?;
        has_keys(config, &found)?;
        Ok(Self::Own)
    }

    /// What was erased of a part, with the lines that say so.
    fn of(&self, part: &Part, store: &Store) -> Result<Vec<(Erased, String)>, Box<dyn Error>> {
        let folder = Folder::of(&part.config);
        let (path, lines) = match self {
            Self::None => return Ok(Vec::new()),
            Self::Named(path, lines) => (path.clone(), lines.clone()),
            Self::Own => {
                let path = list::path(&folder);
                let lines = list::read(&path)?.ok_or_else(|| missing(&path))?;
                (path, lines)
            }
        };
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        let log = sealer::log_name(store);
        if !lines.iter().any(|it| it.erased.log == log) {
            // A folder may have the list of several data, of which nothing was erased of these.
            let is_own = matches!(self, Self::Own);
            if is_own && folder.checkpoints()?.iter().any(|it| it.checkpoint.log == log) {
                return Ok(Vec::new());
            }
            let text = "what it says is of other data than the backup";
            return Err(
                format!("{}: {text}: it is not the list that is wanted", path.display()).into()
            );
        }
        let erased = erasures_of(&lines, &log, &folder.trusted()?);
        let erased = erased.map_err(|error| format!("{}: {error}", path.display()))?;
        let line = |it: &Erased| {
            let signed = lines.iter().find(|line| line.erased == *it);
            signed.map(|signed| signed.to_json().to_string()).unwrap_or_default()
        };
        Ok(erased.iter().map(|it| (it.clone(), line(it))).collect())
    }
}

/// Fails where no key says that a list is true.
fn has_keys(config: &Config, lines: &[SignedErased]) -> Result<(), Box<dyn Error>> {
    let folder = Folder::of(config);
    if lines.is_empty() || config.has_tenants() {
        return Ok(());
    }
    if folder.path().is_dir() && !folder.trusted()?.is_empty() {
        return Ok(());
    }
    let text = format!(
        "no key in {} says that the list of what was erased is true: bring the folder of the checkpoints back, with its *.pub",
        folder.path().display()
    );
    Err(text.into())
}

fn missing(path: &Path) -> String {
    format!(
        "there is no list of what was erased, {}: bring it back, or name it by --erasures; --without-erasures does without \
         one, and brings back whoever was erased since",
        path.display()
    )
}

async fn restore(
    (file, key): (&Path, BackupKey),
    lists: Lists,
    (config, home): (&Config, &Home),
) -> Result<u64, Box<dyn Error>> {
    let address = home.whole(config).ok_or(StartError::NoOwner)?;
    let restoring = Restoring::begin(&address).await?;
    let restoring = restoring.ok_or("the database is not empty: restore into a new one")?;
    let command = program(config, "pg_restore", &address)?;
    let file = file.to_owned();
    let filling = tokio::task::spawn_blocking(move || filled(command, &file, &key));
    filling.await??;
    home.migrate_copy(Tenant::ONLY).await?;
    let parts = parts(config, home).await?;
    if config.has_tenants() {
        home.prepare_tenants().await?;
    }
    let mut count = 0;
    for part in &parts {
        home.migrate_copy(part.tenant).await?;
        let owner = home.owner(part.tenant).ok_or(StartError::NoOwner)?;
        reach(&owner).await?;
    }
    for part in &parts {
        count += erased_again(part, &lists, home).await?;
        forget_words(&part.config)?;
    }
    restoring.finish().await?;
    Ok(count)
}

/// Decrypts a backup into `pg_restore`.
fn filled(mut command: Command, path: &Path, key: &BackupKey) -> io::Result<()> {
    command.args(["--exit-on-error", "--dbname"]);
    let database = command
        .get_envs()
        .find_map(|(name, value)| (name == "PGDATABASE").then_some(value?.to_owned()))
        .unwrap_or_default();
    command.arg(database);
    let mut opening = Opening::begin(BufReader::with_capacity(1 << 17, File::open(path)?), key)?;
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = Running(child.map_err(|error| unstarted(&command, &error))?);
    let mut said = child.0.stderr.take();
    let complaint = std::thread::spawn(move || heard(said.as_mut()));
    let mut copied = Ok(0);
    if let Some(mut input) = child.0.stdin.take() {
        copied = io::copy(&mut opening, &mut input).and_then(|count| {
            input.flush()?;
            Ok(count)
        });
        if copied.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            // Before its input ends: what came so far must not be taken for all.
            child.0.kill()?;
        }
    }
    let status = child.0.wait()?;
    let complaint = complaint.join().unwrap_or_default();
    match copied {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ if !status.success() => Err(ended("pg_restore", status, &complaint)),
        // It has all that it wanted to know before the end of its input.
        _ => Ok(()),
    }
}

/// Erases in a part what was erased of it, by the list; how many records.
async fn erased_again(part: &Part, lists: &Lists, home: &Home) -> Result<u64, Box<dyn Error>> {
    let store = home.store_of_copy(&part.config, part.tenant).await?;
    let owner = home.owner(part.tenant).ok_or(StartError::NoOwner)?.restored();
    let eraser = Eraser::connect(&owner, store.hasher()).await?;
    note_act(&store, Kind::Admin, "kiln restore", "the database was restored from a backup")
        .await?;
    if matches!(lists, Lists::None) {
        note_act(&store, Kind::Admin, "kiln restore", "without a list of what was erased").await?;
        // What is erased from now on is counted anew.
        list::put_away(&Folder::of(&part.config), SystemClock.now())?;
        return Ok(0);
    }
    let gone = lists.of(part, &store)?;
    let known = eraser.requests().await?;
    for request in known.iter().filter(|it| it.executed_at.is_some()) {
        if !gone.iter().any(|(it, _)| it.number == request.number) {
            let number = request.number;
            return Err(format!(
                "the list of what was erased is older than the backup: it lacks request {number}"
            )
            .into());
        }
    }
    let base = part.config.base_url(part.config.http.listen);
    for (it, line) in &gone {
        let text = format!("erasure {} of Patient/{} done again", it.number, it.patient);
        note_act(&store, Kind::Erase, "kiln restore", &text).await?;
        let whose = eraser.whose(&it.patient, &base).await?;
        eraser.execute_in_copy(it, line, &whose).await?;
    }
    if !gone.is_empty() {
        eraser.vacuum().await?;
    }
    Ok(gone.len() as u64)
}

/// The words that this node knows are of other data.
fn forget_words(config: &Config) -> io::Result<()> {
    match std::fs::remove_dir_all(follow::folder(config)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
