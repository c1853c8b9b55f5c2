//! `kiln v2 listen`: takes messages over MLLP, shows or keeps them, and stores nothing: to see what a
//! sender sends before it is let at a server.

use std::cell::Cell;
use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::BytesMut;
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::codec::Decoder as _;

use crate::app::signals::Signals;
use crate::clock::{Clock as _, IdSource as _, SystemClock, SystemIds};
use crate::hl7v2::ack::{self, Code, Condition, Issue, Stamp};
use crate::hl7v2::frame::{Frame, Frames, framed};
use crate::hl7v2::heading::Heading;

/// Largest message.
const LARGEST: usize = 16 * 1024 * 1024;

/// `kiln v2 listen`
#[derive(Debug, Args)]
pub(in crate::app) struct ListenArgs {
    /// Where it listens.
    #[arg(default_value = "127.0.0.1:2575", value_name = "HOST:PORT")]
    on: String,
    /// Put each message into a file of this folder instead of showing it.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How messages are answered: AA, AE or AR.
    #[arg(long, default_value = "AA", value_parser = code, value_name = "CODE")]
    answer: Code,
    /// End after so many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

fn code(text: &str) -> Result<Code, String> {
    let known = [Code::AA, Code::AE, Code::AR].into_iter().find(|code| code.as_str() == text);
    known.ok_or_else(|| "AA, AE or AR".to_owned())
}

/// Listens until it is interrupted, or has what was asked for.
///
/// # Errors
/// What keeps it from listening, as a sentence.
pub(super) async fn run(args: &ListenArgs) -> Result<ExitCode, Box<dyn Error>> {
    let listener =
        TcpListener::bind(&*args.on).await.map_err(|error| format!("{}: {error}", args.on))?;
    eprintln!("listening on {}; nothing is stored", listener.local_addr()?);
    let mut signals = Signals::new()?;
    let taken = Cell::new(0);
    let mut lines = FuturesUnordered::new();
    while args.count.is_none_or(|count| taken.get() < count) {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, peer) = accepted?;
                lines.push(line(stream, peer, args, &taken));
            }
            Some(ended) = lines.next() => {
                if let Err(fault) = ended {
                    eprintln!("{fault}");
                }
            }
            () = signals.next() => break,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One connection, to its end.
async fn line(
    mut stream: TcpStream,
    peer: SocketAddr,
    args: &ListenArgs,
    taken: &Cell<u64>,
) -> Result<(), Box<dyn Error>> {
    let (mut frames, mut received) = (Frames::new(LARGEST), BytesMut::new());
    loop {
        while let Some(frame) = frames.decode(&mut received)? {
            let Frame::Whole(message) = frame else {
                return Err(format!("{peer}: a frame that has no end, or is too long").into());
            };
            taken.set(taken.get() + 1);
            keep(&message, args, taken.get())?;
            if let Some(answer) = answer(&message, args.answer) {
                stream.write_all(&framed(answer.as_bytes())).await?;
            }
            if args.count.is_some_and(|count| taken.get() >= count) {
                return Ok(());
            }
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

/// Shows a message, a segment a line, or puts it into a file as it came.
fn keep(message: &[u8], args: &ListenArgs, number: u64) -> Result<(), Box<dyn Error>> {
    let Some(folder) = &args.out else {
        println!("{}\n", String::from_utf8_lossy(message).trim_end().replace('\r', "\n"));
        return Ok(());
    };
    let file = folder.join(format!("{number:06}.hl7"));
    Ok(std::fs::write(&file, message).map_err(|error| format!("{}: {error}", file.display()))?)
}

/// What is answered; nothing to what is an answer itself.
fn answer(message: &[u8], code: Code) -> Option<String> {
    let heading = Heading::salvaged(message);
    if heading.as_ref().is_some_and(Heading::is_answer) {
        return None;
    }
    let now: String =
        SystemClock.now().to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    let id = SystemIds::default().ordered().simple().to_string();
    let stamp = Stamp { now: &format!("{now}+0000"), control_id: &id[..20], expected: None };
    let issue = [Issue::error(Condition::ApplicationError).named("listen")];
    let issues = if code.is_success() { &[][..] } else { &issue };
    Some(ack::answer(heading.as_ref(), code, issues, &stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_as_asked_for_and_answers_get_none() {
        let message = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|77|P|2.5\rPID|1";
        for wanted in [Code::AA, Code::AE, Code::AR] {
            let text = answer(message, wanted).unwrap();
            assert!(text.contains(&format!("MSA|{}|77", wanted.as_str())), "{text}");
            assert_eq!(text.contains("\rERR|"), wanted != Code::AA, "{text}");
        }
        assert!(answer(b"no message", Code::AA).is_some());
        let answered = b"MSH|^~\\&|A|B|C|D|2026||ACK|78|P|2.5\rMSA|AA|77";
        assert_eq!(answer(answered, Code::AA), None);
        assert!(code("CA").is_err() && code("AE").is_ok());
    }
}
