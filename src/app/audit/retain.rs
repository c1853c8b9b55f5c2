//! `kiln audit retain`: drops months of the ledger whose time to be kept is over.
//!
//! A month goes only when all its rows are sealed and in an archive on the disk, when the record was found to be as
//! it was sealed after that, and when it is signed which batches go. The record says so itself, sealed too. The
//! batches stay in the log by their roots. A row of the month that comes in meanwhile keeps it from being dropped.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::access::interaction::Kind;
use crate::audit::{Batches, Hash, Retirement, SignedRetirement, Sum, hex};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::store::maintenance::{self, Place};
use crate::store::{Realm, Store};

use super::folder::Folder;
use super::outlet;
use super::sealer::{Sealer, log_name};
use super::verify::{Outside, verify};

/// Rows that are read at once.
const PAGE: i64 = 5_000;
/// Seals that are read at once.
const SEALS: i64 = 10_000;
/// Longest wait until what is on record is sealed.
const TRIES: u32 = 100;

/// Drops the months that end `years` ago or earlier; what was done, a line each.
///
/// # Errors
/// What keeps a month from being dropped, as a sentence; those before it are gone then.
pub(super) async fn retain(
    config: &Config,
    store: &Store,
    owner: &Realm,
    years: u32,
) -> Result<Vec<String>, Box<dyn Error>> {
    let now = SystemClock.now().to_string();
    let year: u32 = now[..4].parse()?;
    let first_kept = format!("{:04}{}", year.saturating_sub(years), &now[5..7]);
    let folder = Folder::of(config);
    let months = maintenance::months_before(owner, &first_kept).await?;
    let mut parts = Vec::new();
    for month in &months {
        seal(store, &folder, month).await?;
        is_sent(store, config, month).await?;
        parts.push(archive(store, &folder.archive()?, month).await?);
    }
    // After all that is to go was sealed and read: what is verified is what is dropped.
    is_as_sealed(store, &folder, &months).await?;
    let mut lines = Vec::new();
    for part in parts {
        let (month, rows) = (part.month.clone(), part.rows);
        let path = part.keep(&folder.archive()?)?;
        let digest = digest(&path)?;
        let retirement = retirement(store, &month, (rows, digest)).await?;
        let digest = hex(&digest);
        let signed = SignedRetirement::new(&retirement, &folder.signing_key()?);
        maintenance::retire(owner, &signed).await?;
        record(store, &format!("{month} {rows} {digest}")).await?;
        seal_all(store, &folder).await?;
        if !maintenance::drop_month(owner, &month, rows).await? {
            return Err(format!("rows of {month} came in meanwhile: run this again").into());
        }
        lines.push(format!("{month}: {rows} rows are in {} (sha256 {digest})", path.display()));
    }
    Ok(lines)
}

/// Refuses to drop anything of a record that is not as it was sealed: what shows that would be gone.
async fn is_as_sealed(
    store: &Store,
    folder: &Folder,
    months: &[String],
) -> Result<(), Box<dyn Error>> {
    let mut first = None;
    for month in months {
        let batches = maintenance::batches_of(store, month).await?;
        first = [first, batches.first().copied()].into_iter().flatten().min();
    }
    let Some(first) = first else { return Ok(()) };
    let outside = Outside { trusted: folder.trusted()?, checkpoints: folder.checkpoints()? };
    let report = verify(store, &log_name(store), &outside, first, |_| {}).await?;
    match report.finding {
        None => Ok(()),
        Some(finding) => Err(format!(
            "nothing is dropped, because the record is not as it was sealed: {finding}"
        )
        .into()),
    }
}

/// What is signed of a month that is about to be dropped: its batches whose rows are there, which are as many
/// rows as were archived.
async fn retirement(
    store: &Store,
    month: &str,
    (rows, archive): (u64, Hash),
) -> Result<Retirement, Box<dyn Error>> {
    let log = log_name(store);
    let numbers = maintenance::batches_of(store, month).await?;
    let batches = Batches::of(numbers.iter().copied());
    let mut sum = Sum::default();
    let mut next = numbers.first().copied();
    while let Some(from) = next {
        let seals = maintenance::seals(store, &log, from, SEALS).await?;
        for seal in seals.iter().filter(|seal| batches.contains(seal.n)) {
            sum.add(seal.n, (seal.size, &seal.root), (seal.last.xid, seal.last.id));
        }
        let last = seals.last().map_or(u64::MAX, |seal| seal.n);
        next = numbers.iter().copied().find(|number| *number > last);
    }
    if sum.rows() != rows {
        let sealed = sum.rows();
        return Err(format!("{month} has {rows} rows, and {sealed} are sealed of it").into());
    }
    let at = SystemClock.now().floor_to_millis();
    let (month, digest) = (month.to_owned(), sum.digest());
    Ok(Retirement { log, month, at, rows, batches, digest, archive })
}

/// Seals until no row of a month is left out.
async fn seal(store: &Store, folder: &Folder, month: &str) -> Result<(), Box<dyn Error>> {
    let mut sealer = Sealer::new(store.clone(), SystemClock, folder.clone())?;
    sealer.finish().await?;
    let last = maintenance::last_seal(store, &log_name(store)).await?;
    let last = last.map_or(Place::START, |seal| seal.last);
    match maintenance::unsealed_of(store, month, last).await? {
        0 => Ok(()),
        count => {
            Err(format!("{count} rows of {month} cannot be sealed: a transaction is open").into())
        }
    }
}

/// Refuses to drop what outside destinations do not have yet.
async fn is_sent(store: &Store, config: &Config, month: &str) -> Result<(), Box<dyn Error>> {
    for name in outlet::names(config) {
        let Some(reached) = maintenance::outlet_reached(store, name).await? else { continue };
        let count = maintenance::unsealed_of(store, month, reached.place).await?;
        if count > 0 {
            return Err(
                format!("{count} rows of {month} are not sent yet: see `atna.{name}`").into()
            );
        }
    }
    Ok(())
}

/// Seals until everything that is on record now is sealed.
async fn seal_all(store: &Store, folder: &Folder) -> Result<(), Box<dyn Error>> {
    let mut sealer = Sealer::new(store.clone(), SystemClock, folder.clone())?;
    let until = maintenance::horizon(store).await?.next;
    for _ in 0..TRIES {
        let ended = maintenance::horizon(store).await?.ended;
        sealer.finish().await?;
        if ended >= until {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err("the record of this cannot be sealed: a transaction is open".into())
}

/// The rows of a month in a file that has no name of its own yet. As long as this is held nobody else writes it.
struct Part {
    month: String,
    rows: u64,
    path: PathBuf,
    _locked: File,
}

impl Part {
    /// Gives the archive its name in `folder`. No archive that is there is touched: another one of the same month
    /// gets a number, unless it has the very same rows.
    fn keep(self, folder: &Path) -> io::Result<PathBuf> {
        let path = keep(&self.path, folder, &self.month)?;
        File::open(folder)?.sync_all()?;
        Ok(path)
    }
}

/// Writes the rows of a month to a file, on the disk.
async fn archive(store: &Store, folder: &Path, month: &str) -> Result<Part, Box<dyn Error>> {
    // Not whole yet: what is left of it by a run that was cut off is written anew.
    let path = folder.join(format!("ledger_{month}.part"));
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    if file.try_lock().is_err() {
        return Err(format!("another command archives {month} into {}", folder.display()).into());
    }
    file.set_len(0)?;
    let mut out = GzEncoder::new(file, Compression::default());
    let (mut after, mut rows) = (Place::START, 0);
    loop {
        let found = maintenance::rows_of(store, month, after, PAGE).await?;
        let Some((last, _)) = found.last() else { break };
        after = *last;
        rows += found.len() as u64;
        for (_, row) in &found {
            writeln!(out, "{row}")?;
        }
    }
    let file = out.finish()?;
    file.sync_all()?;
    Ok(Part { month: month.to_owned(), rows, path, _locked: file })
}

/// Gives a whole archive its name, which none has; where one has the same bytes, that one counts.
fn keep(part: &Path, folder: &Path, month: &str) -> io::Result<PathBuf> {
    let new = digest(part)?;
    let numbers = std::iter::once(String::new()).chain((2..).map(|number| format!(".{number}")));
    for number in numbers {
        let path = folder.join(format!("ledger_{month}{number}.ndjson.gz"));
        match fs::hard_link(part, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if digest(&path)? != new {
                    continue;
                }
            }
            linked => linked?,
        }
        fs::remove_file(part)?;
        return Ok(path);
    }
    Err(io::Error::other("no name is left"))
}

/// The SHA-256 of a file.
fn digest(path: &Path) -> io::Result<Hash> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 65_536];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

async fn record(store: &Store, text: &str) -> Result<(), Box<dyn Error>> {
    let by = ("service:audit retain", "kiln audit retain");
    Ok(super::note(store, Kind::Retain, by, text).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_archive_is_overwritten() {
        let folder = std::env::temp_dir().join(format!("kiln-archive-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let part = folder.join("ledger_201901.part");
        let names = |text: &str| {
            fs::write(&part, text).unwrap();
            let path = keep(&part, &folder, "201901").unwrap();
            assert!(!part.exists());
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        for (text, name) in [
            ("a", "ledger_201901.ndjson.gz"),
            ("b", "ledger_201901.2.ndjson.gz"),
            ("a", "ledger_201901.ndjson.gz"),
            ("c", "ledger_201901.3.ndjson.gz"),
            ("b", "ledger_201901.2.ndjson.gz"),
        ] {
            assert_eq!(names(text), name, "{text}");
            assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), text);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
        fs::remove_dir_all(&folder).unwrap();
    }
}
