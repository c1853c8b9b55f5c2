//! `kiln audit retain`: drops months of the ledger whose time to be kept is over.
//!
//! A month goes only when all of its rows are sealed and are in an archive on the disk, and when the
//! record says so itself, sealed too. Its batches stay in the log by their roots.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::access::interaction::Kind;
use crate::audit::hex;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::store::maintenance::{self, Place};
use crate::store::{Realm, Store};

use super::folder::Folder;
use super::outlet;
use super::sealer::{Sealer, log_name};

/// Rows that are read at once.
const PAGE: i64 = 5_000;
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
    let mut lines = Vec::new();
    for month in maintenance::months_before(store, &first_kept).await? {
        seal(store, &folder, &month).await?;
        is_sent(store, config, &month).await?;
        let (rows, path) = archive(store, &folder.archive()?, &month).await?;
        let digest = hex(&Sha256::digest(fs::read(&path)?));
        let text = format!("{month} {rows} {digest}");
        record(store, &text).await?;
        seal_all(store, &folder).await?;
        maintenance::drop_month(owner, &month).await?;
        lines.push(format!("{month}: {rows} rows are in {} (sha256 {digest})", path.display()));
    }
    Ok(lines)
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

/// Writes the rows of a month to a file; how many, and where.
async fn archive(
    store: &Store,
    folder: &Path,
    month: &str,
) -> Result<(u64, PathBuf), Box<dyn Error>> {
    let path = folder.join(format!("ledger_{month}.ndjson.gz"));
    let mut out = GzEncoder::new(File::create(&path)?, Compression::default());
    let (mut after, mut count) = (Place::START, 0);
    loop {
        let rows = maintenance::rows_of(store, month, after, PAGE).await?;
        let Some((last, _)) = rows.last() else { break };
        after = *last;
        count += rows.len() as u64;
        for (_, row) in &rows {
            writeln!(out, "{row}")?;
        }
    }
    out.finish()?.sync_all()?;
    Ok((count, path))
}

async fn record(store: &Store, text: &str) -> Result<(), Box<dyn Error>> {
    let by = ("service:audit retain", "kiln audit retain");
    Ok(super::note(store, Kind::Retain, by, text).await?)
}
