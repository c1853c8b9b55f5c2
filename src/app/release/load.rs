//! Brings releases into the database.

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::store::Store;
use crate::store::maintenance::{self, BegunLoad};
use crate::terminology::release::{self, Files as _, Kind, Options, Release};

use super::super::audit::note_command;
use super::super::database::Database;
use super::super::progress::Progress;
use super::LoadArgs;
use super::files::Folder;
use super::rows::{header, rows};

/// Concepts that are stored together.
const BATCH: u32 = 10_000;
/// Time between two looks at how far reading is.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Reads the files first, all of them, then stores what they hold.
///
/// # Errors
/// What cannot be read, or what keeps it from being stored; then what was in force stays so.
pub(super) async fn run(args: LoadArgs, config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let folder = Folder::new(&args.paths)?;
    let kind = args.kind.map_or_else(|| Kind::of(&folder.names()), |kind| Some(kind.into()));
    let kind = kind.ok_or(release::Fault::UnknownKind)?;
    let options = Options { version: args.version, language_refset: args.language_refset };
    let releases = read(folder.only(kind), kind, options).await?;
    let database = Database::open(config, true).await?;
    let mut outcome = Ok(());
    for release in &releases {
        outcome = store(&database.store, release).await;
        if outcome.is_err() {
            break;
        }
    }
    database.close().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Reads beside the task that shows how far that is.
async fn read(
    folder: Folder,
    kind: Kind,
    options: Options,
) -> Result<Vec<Release>, Box<dyn Error>> {
    let mut progress = Progress::new("read", folder.total(kind), false);
    let counter = folder.counter();
    let mut reading = tokio::task::spawn_blocking(move || release::read(&folder, kind, &options));
    let mut looks = tokio::time::interval(BETWEEN_LOOKS);
    let read = loop {
        tokio::select! {
            read = &mut reading => break read?,
            _ = looks.tick() => show(&mut progress, &counter),
        }
    };
    let releases = match read {
        Ok(releases) => releases,
        Err(fault) => {
            progress.finish("nothing was loaded");
            return Err(fault.into());
        }
    };
    let concepts: usize = releases.iter().map(|it| it.concepts.len()).sum();
    let seconds = progress.elapsed().as_secs_f64();
    progress.finish(&format!("read {concepts} concepts in {seconds:.1} s"));
    Ok(releases)
}

fn show(progress: &mut Progress, counter: &AtomicU64) {
    let read = counter.load(Ordering::Relaxed);
    progress.show(read, &format!("{} MB", read / 1_000_000));
}

async fn store(store: &Store, release: &Release) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let row = header(release);
    let count = release.concepts.len() as u32;
    let name = named(release);
    let text = format!("{} {}: {count} concepts", release.url, release.version);
    note_command(store, "kiln terminology load", &text).await?;
    let (id, before) = match maintenance::begin_code_system(store, &row).await? {
        BegunLoad::Loaded => {
            println!("{name} is loaded already: {count} concepts");
            return Ok(());
        }
        BegunLoad::At { id, done } => (id, done),
    };
    let mut progress = Progress::new("load", u64::from(count), false);
    let mut done = before;
    while (done as u32) < count {
        let next = (done as u32 + BATCH).min(count);
        let batch = rows(&release.concepts, done as u32..next);
        maintenance::add_concepts(store, id, done, &batch).await?;
        done = next as i32;
        progress.show(u64::from(next), &format!("{next} concepts"));
    }
    maintenance::complete_code_system(store, id).await?;
    let before = match before {
        0 => String::new(),
        count => format!(", {count} of them by an earlier run"),
    };
    let seconds = started.elapsed().as_secs_f64();
    progress.finish(&format!("stored in {seconds:.1} s{before}"));
    println!("{name}: {count} concepts");
    Ok(())
}

fn named(release: &Release) -> String {
    let name = if release.name.is_empty() { &release.url } else { &release.name };
    match &*release.version {
        "" => name.to_string(),
        version => format!("{name} {version}"),
    }
}
