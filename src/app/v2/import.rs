//! `kiln v2 import`: the messages of files and folders, taken in as if they came over a feed.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::app::progress::Progress;
use crate::app::{cli, hl7v2};
use crate::config::Config;
use crate::hl7v2::charset::Charset;
use crate::hl7v2::er7::{Message, Reading};
use crate::hl7v2::receive::{Application, Origin, Receiver};

use super::{ImportArgs, messages};

/// Most failures that are shown.
const SHOWN: usize = 20;

/// Takes them in, in the order of their names, and tells how each was answered.
///
/// # Errors
/// What keeps them from being taken in, as a sentence.
pub(super) async fn run(args: &ImportArgs, config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let mut files = Vec::new();
    for path in &args.paths {
        find(path, &mut files)?;
    }
    files.sort();
    let (database, engine, mut parameters) = cli::open_engine(config).await?;
    let receiver = Arc::new(hl7v2::receiver(config, engine, database.store.clone()).await?);
    let (stop, stopped) = watch::channel(false);
    let work = async {
        let taken = take_all(&files, &receiver).await;
        // Without receivers there is nobody left to tell.
        let _ = stop.send(true);
        taken
    };
    let both = async { tokio::join!(work, receiver.clone().work(stopped)).0 };
    let taken = Box::pin(parameters.during(both)).await;
    drop(receiver);
    database.close().await;
    let answers = taken?;
    let told: Vec<_> = answers.iter().map(|(code, count)| format!("{count} {code}")).collect();
    println!("{} files: {}", files.len(), told.join(", "));
    let is_well = answers.keys().all(|code| matches!(code.as_str(), "AA" | "CA" | ""));
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The files below a path.
///
/// # Errors
/// What cannot be read, as a sentence.
pub(super) fn find(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let fault = |error: std::io::Error| format!("{}: {error}", path.display());
    if !std::fs::metadata(path).map_err(fault)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(fault)? {
        find(&entry.map_err(fault)?.path(), files)?;
    }
    Ok(())
}

async fn take_all(
    files: &[PathBuf],
    receiver: &Arc<Receiver>,
) -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
    let origin = Origin {
        listener: "import",
        peer: None,
        names: Vec::new(),
        is_framed: false,
        caller: None,
    };
    let mut answers = BTreeMap::new();
    let (mut progress, mut shown) = (Progress::new("v2 import", files.len() as u64, false), 0);
    for (at, file) in files.iter().enumerate() {
        for message in messages(file)? {
            let answered = receiver.receive(&Bytes::from(message), &origin).await?;
            let answer = match answered.application {
                Application::Silent => None,
                Application::Now(answer) => Some(answer),
                Application::Later(pending) => pending.answer(receiver).await?,
            };
            let answer = answer.or(answered.accept).unwrap_or_default();
            let (code, why) = code(&answer);
            if !matches!(code.as_str(), "AA" | "CA" | "") && shown < SHOWN {
                shown += 1;
                eprintln!("{}: {code} {why}", file.display());
            }
            *answers.entry(code).or_default() += 1;
        }
        progress.show(at as u64 + 1, &format!("{} files", at + 1));
    }
    Ok(answers)
}

/// What an answer says, and why.
fn code(answer: &[u8]) -> (String, String) {
    let Ok(read) = Charset::read(answer, Charset::UTF_8) else { return Default::default() };
    let Ok(message) = Message::parse(&read.text, read.charset, Reading::Lenient) else {
        return Default::default();
    };
    let first = |name: &str, field: u16| {
        let segment = message.named(name).next();
        segment.map(|segment| segment.field(field).text().into_owned()).unwrap_or_default()
    };
    (first("MSA", 1), format!("{}{}", first("ERR", 8), first("MSA", 3)))
}
