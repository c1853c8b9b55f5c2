//! `kiln v2 import`: the messages of files and folders, taken in as if they came over a feed.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use crate::app::progress::Progress;
use crate::app::{cli, hl7v2};
use crate::config::Config;
use crate::hl7v2::ack::{Condition, Issue};
use crate::hl7v2::batch::{self, Messages};
use crate::hl7v2::charset::Charset;
use crate::hl7v2::er7::{Message, Reading};
use crate::hl7v2::receive::{Application, Origin, Receiver};

use super::ImportArgs;

/// Most failures that are shown.
const SHOWN: usize = 20;
/// As much is kept of a file that is too long to be a message and has none.
const KEPT: u64 = 64 * 1024;
/// Most messages of a file whose answers are waited for at the same time.
const AT_ONCE: usize = 64;

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
        let taken = take_all(&files, config.hl7v2.max_message_bytes, &receiver).await;
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

/// How messages were answered.
#[derive(Default)]
struct Tally {
    answers: BTreeMap<String, u64>,
    shown: usize,
}

impl Tally {
    /// Counts what was answered to what came from `whence`.
    fn add(&mut self, whence: &str, answer: &[u8]) {
        for (code, why) in codes(answer) {
            self.count(whence, code, &why);
        }
    }

    fn count(&mut self, whence: &str, code: String, why: &str) {
        if !matches!(code.as_str(), "AA" | "CA" | "") && self.shown < SHOWN {
            self.shown += 1;
            eprintln!("{whence}: {code} {why}");
        }
        *self.answers.entry(code).or_default() += 1;
    }
}

async fn take_all(
    files: &[PathBuf],
    most_bytes: usize,
    receiver: &Arc<Receiver>,
) -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
    let origin = Origin {
        listener: "import",
        peer: None,
        names: Vec::new(),
        is_framed: false,
        caller: None,
    };
    let mut progress = Progress::new("v2 import", files.len() as u64, false);
    let mut tally = Tally::default();
    for (at, file) in files.iter().enumerate() {
        let name = file.display().to_string();
        let fault = |error: std::io::Error| format!("{name}: {error}");
        let mut source = File::open(file).map_err(fault)?;
        let (mut beginning, most) = (Vec::new(), (most_bytes as u64).saturating_add(1));
        source.by_ref().take(most).read_to_end(&mut beginning).map_err(fault)?;
        if beginning.len() <= most_bytes {
            tally.add(&name, &answer(&beginning.into(), &origin, receiver).await?);
        } else {
            let source = BufReader::new(Cursor::new(beginning).chain(source));
            let messages = Messages::new(source, most_bytes);
            take_large((file.as_path(), messages), &origin, receiver, &mut tally).await?;
        }
        progress.show(at as u64 + 1, &format!("{} files", at + 1));
    }
    Ok(tally.answers)
}

/// Takes in a file that is longer than a message may be, message by message: one that is too long is refused, by
/// its number and its place, and costs no other.
async fn take_large(
    (file, mut messages): (&Path, Messages<impl BufRead>),
    origin: &Origin,
    receiver: &Arc<Receiver>,
    tally: &mut Tally,
) -> Result<(), Box<dyn Error>> {
    let name = file.display();
    let batch = receiver.batch();
    let too_long = || Issue::error(Condition::ApplicationError).named("too-long");
    let mut waiting = VecDeque::new();
    for piece in messages.by_ref() {
        let piece = piece.map_err(|error| format!("{name}: {error}"))?;
        let whence = format!("{name}: message {} at byte {}", piece.number, piece.offset);
        let bytes = Bytes::from(piece.bytes);
        if piece.is_too_long {
            tally.add(&whence, &receiver.refuse(&bytes, too_long(), origin).await?);
            continue;
        }
        let answered = receiver.receive_piece(&bytes, batch, origin).await?;
        match answered.application {
            Application::Silent => tally.add(&whence, &answered.accept.unwrap_or_default()),
            Application::Now(answer) => tally.add(&whence, &answer),
            Application::Later(pending) => waiting.push_back((whence, pending)),
        }
        if waiting.len() >= AT_ONCE
            && let Some((whence, pending)) = waiting.pop_front()
        {
            tally.add(&whence, &pending.answer(receiver).await?.unwrap_or_default());
        }
    }
    for (whence, pending) in waiting {
        tally.add(&whence, &pending.answer(receiver).await?.unwrap_or_default());
    }
    if messages.number() == 0 {
        // There is nothing in it but what is too long to be a message.
        let mut beginning = Vec::new();
        File::open(file)?.take(KEPT).read_to_end(&mut beginning)?;
        let answer = receiver.refuse(&beginning.into(), too_long(), origin).await?;
        tally.add(&name.to_string(), &answer);
    } else if messages.is_faulty() {
        let why = "its counts are others, or it has lines that belong to no message";
        tally.count(&name.to_string(), "batch".to_owned(), why);
    }
    Ok(())
}

/// How a file is answered: a message of its own, or the batch that it is.
async fn answer(
    bytes: &Bytes,
    origin: &Origin,
    receiver: &Arc<Receiver>,
) -> Result<Bytes, Box<dyn Error>> {
    let answered = receiver.receive(bytes, origin).await?;
    let answer = match answered.application {
        Application::Silent => None,
        Application::Now(answer) => Some(answer),
        Application::Later(pending) => pending.answer(receiver).await?,
    };
    Ok(answer.or(answered.accept).unwrap_or_default())
}

/// What an answer says, and why: of each message of a batch, and of the batch where that is not as it says.
fn codes(answer: &[u8]) -> Vec<(String, String)> {
    let Some(batch) = batch::split(answer) else { return vec![code(answer)] };
    let mut all: Vec<_> = batch.messages.iter().map(|one| code(one)).collect();
    // BHS-10 tells what is wrong with the whole; the separator stands where BHS-1 is.
    let header = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let separator = header.get(3).copied().unwrap_or(b'|');
    let fault = header.split(|byte| *byte == separator).nth(9).unwrap_or_default();
    if !fault.is_empty() {
        all.push(("batch".to_owned(), String::from_utf8_lossy(fault).into_owned()));
    }
    all
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Covers: v2 S55.
    #[test]
    fn a_batch_is_as_well_as_each_of_its_messages_and_its_count() {
        let ack = |code: &str| format!("MSH|^~\\&|K|H|LAB|STM|2026||ACK|1|P|2.5\rMSA|{code}|1\r");
        let batch = |fault: &str, codes: &[&str]| {
            let acks: String = codes.iter().map(|code| ack(code)).collect();
            format!("BHS|^~\\&|K|H|LAB|STM|2026|||{fault}|7|P\r{acks}BTS|{}\r", codes.len())
        };
        for (answer, expected) in [
            (ack("AA"), "AA"),
            (batch("", &["AA", "AE", "AA"]), "AA AE AA"),
            (batch("batch-count", &["AA"]), "AA batch"),
            (batch("batch-count", &[]), "batch"),
            (String::new(), ""),
        ] {
            let found: Vec<_> =
                codes(answer.as_bytes()).into_iter().map(|(code, _)| code).collect();
            assert_eq!(found.join(" "), expected, "{answer}");
        }
    }
}
