//! `kiln v2 send`: messages over MLLP, plain or over TLS, and how they are answered.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::codec::Decoder as _;

use crate::app::progress::Progress;
use crate::hl7v2::charset::Charset;
use crate::hl7v2::er7::{Message, Reading};
use crate::hl7v2::frame::{Frame, Frames, framed};
use crate::outbound::{Trust, secured};

use super::{SendArgs, messages};

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_mins(1);
/// Largest answer.
const LARGEST: usize = 16 * 1024 * 1024;
/// Most complaints that are shown.
const SHOWN: usize = 20;

/// What is sent, and what came of it.
struct Sending {
    messages: Vec<Vec<u8>>,
    times: u32,
    state: Mutex<State>,
}

struct State {
    next: usize,
    /// By the code of the answer.
    answers: BTreeMap<String, u64>,
    longest: Duration,
    complaints: Vec<String>,
    progress: Progress,
    sent: u64,
}

/// Sends them all.
///
/// # Errors
/// What keeps them from being sent, as a sentence.
pub(super) async fn run(args: &SendArgs) -> Result<ExitCode, Box<dyn Error>> {
    let trust = args.trust()?;
    let mut all = Vec::new();
    for file in &args.files {
        all.extend(messages(file)?);
    }
    let total = all.len() as u64 * u64::from(args.times);
    let state = State {
        next: 0,
        answers: BTreeMap::new(),
        longest: Duration::ZERO,
        complaints: Vec::new(),
        progress: Progress::new("v2 send", total, args.quiet),
        sent: 0,
    };
    let sending = Arc::new(Sending { messages: all, times: args.times, state: Mutex::new(state) });
    let began = Instant::now();
    let lanes = (0..args.connections.max(1)).map(|_| lane(&sending, args, trust.as_ref(), began));
    for lane in join_all(lanes).await {
        lane?;
    }
    let state = sending.state.lock().unwrap_or_else(PoisonError::into_inner);
    let (taken, rate) = (began.elapsed(), state.sent as f64 / began.elapsed().as_secs_f64());
    for complaint in &state.complaints {
        eprintln!("{complaint}");
    }
    let answers: Vec<_> =
        state.answers.iter().map(|(code, count)| format!("{count} {code}")).collect();
    println!(
        "{} messages in {:.1} s ({rate:.0}/s), slowest {} ms: {}",
        state.sent,
        taken.as_secs_f64(),
        state.longest.as_millis(),
        answers.join(", ")
    );
    let is_well = state.answers.keys().all(|code| matches!(code.as_str(), "AA" | "CA"));
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl SendArgs {
    /// Whom it believes, and what it shows, where it speaks TLS.
    fn trust(&self) -> Result<Option<Trust>, Box<dyn Error>> {
        if !self.tls {
            return Ok(None);
        }
        let own = self.cert.as_deref().zip(self.key.as_deref());
        Ok(Some(Trust::open(self.ca.as_deref(), own)?))
    }
}

/// One connection, and what goes over it.
async fn lane(
    sending: &Sending,
    args: &SendArgs,
    trust: Option<&Trust>,
    began: Instant,
) -> Result<(), Box<dyn Error>> {
    if let Some(trust) = trust {
        return exchange(sending, args, secured(&args.to, trust).await?, began).await;
    }
    let connected = TcpStream::connect(&*args.to).await;
    let stream = connected.map_err(|error| format!("{}: {error}", args.to))?;
    stream.set_nodelay(true)?;
    exchange(sending, args, stream, began).await
}

/// A message, its answer, the next message.
async fn exchange(
    sending: &Sending,
    args: &SendArgs,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    began: Instant,
) -> Result<(), Box<dyn Error>> {
    let (mut frames, mut buffer) = (Frames::new(LARGEST), BytesMut::new());
    while let Some((at, message)) = sending.next() {
        if let Some(rate) = args.rate.filter(|rate| *rate > 0) {
            let due = Duration::from_secs_f64(at as f64 / f64::from(rate));
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        }
        let sent = Instant::now();
        stream.write_all(&framed(&message)).await?;
        stream.flush().await?;
        let answer = tokio::time::timeout(ANSWER, answer(&mut stream, &mut frames, &mut buffer));
        let answer = answer.await.map_err(|_| "no answer within a minute")??;
        sending.note(at, &answer, sent.elapsed());
    }
    Ok(())
}

async fn answer(
    stream: &mut (impl AsyncRead + Unpin),
    frames: &mut Frames,
    buffer: &mut BytesMut,
) -> Result<Bytes, Box<dyn Error>> {
    loop {
        match frames.decode(buffer)? {
            Some(Frame::Whole(answer)) => return Ok(answer),
            Some(_) => return Err("an answer that is no frame".into()),
            None => {}
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err("the connection was closed without an answer".into());
        }
    }
}

impl Sending {
    /// The next message and its number.
    fn next(&self) -> Option<(usize, Vec<u8>)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let at = state.next;
        let round = at / self.messages.len().max(1);
        let message = self.messages.get(at % self.messages.len().max(1))?;
        if round >= self.times as usize {
            return None;
        }
        state.next += 1;
        Some((at, if round == 0 { message.clone() } else { renumbered(message, round) }))
    }

    fn note(&self, at: usize, answer: &[u8], taken: Duration) {
        let read = Charset::read(answer, Charset::UTF_8).ok();
        let message = read
            .as_ref()
            .and_then(|read| Message::parse(&read.text, read.charset, Reading::Lenient).ok());
        let first = |name: &str, field: u16| {
            let segment = message.as_ref().and_then(|message| message.named(name).next());
            segment.map(|segment| segment.field(field).text().into_owned()).unwrap_or_default()
        };
        let code = first("MSA", 1);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(code.as_str(), "AA" | "CA") && state.complaints.len() < SHOWN {
            let why = [first("ERR", 8), first("MSA", 3)].into_iter().find(|text| !text.is_empty());
            let why = why.unwrap_or_default();
            state.complaints.push(format!("message {}: {code} {why}", at + 1));
        }
        *state.answers.entry(code).or_default() += 1;
        state.longest = state.longest.max(taken);
        state.sent += 1;
        let sent = state.sent;
        let rate = sent as f64 / state.progress.elapsed().as_secs_f64().max(0.001);
        state.progress.show(sent, &format!("{sent} messages, {rate:.0}/s"));
    }
}

/// The message under a control id that ends in the number of the round.
fn renumbered(message: &[u8], round: usize) -> Vec<u8> {
    let Some(start) = memchr::memmem::find(message, b"MSH") else { return message.to_vec() };
    let Some(field) = message.get(start + 3) else { return message.to_vec() };
    // MSH-1 is the separator itself, so MSH-10 ends at the tenth one.
    let mut separators = memchr::memchr_iter(*field, &message[start..]).map(|at| start + at);
    let Some(end) = separators.nth(9) else { return message.to_vec() };
    let suffix = format!("-{round}");
    [&message[..end], suffix.as_bytes(), &message[end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_round_has_control_ids_of_its_own() {
        let message = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|77|P|2.5\rPID|1";
        let expected = "MSH|^~\\&|A|B|C|D|2026||ADT^A01|77-3|P|2.5\rPID|1";
        assert_eq!(String::from_utf8(renumbered(message, 3)).unwrap(), expected);
        assert_eq!(renumbered(b"PID|1", 3), b"PID|1");
    }
}
