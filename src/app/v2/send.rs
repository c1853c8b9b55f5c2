//! `kiln v2 send`: messages over MLLP, plain or over TLS, and how they are answered: once, or as MSH-15 and MSH-16 ask
//! for it.
//!
//! Spec: v2 M4

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::codec::Decoder as _;

use crate::app::progress::Progress;
use crate::hl7v2::charset::Charset;
use crate::hl7v2::er7::{Message, Reading};
use crate::hl7v2::frame::{Frame, Frames, framed};
use crate::hl7v2::heading::{Heading, Mode, Wanted};
use crate::outbound::{Trust, secured};

use super::{SendArgs, messages};

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_mins(1);
/// Longest silence after which no answer comes that may come or not.
const LAST: Duration = Duration::from_secs(5);
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
    /// Messages without an answer: none was asked for.
    unanswered: u64,
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
        unanswered: 0,
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
    let mut answers: Vec<_> =
        state.answers.iter().map(|(code, count)| format!("{count} {code}")).collect();
    if state.unanswered > 0 {
        answers.push(format!("{} unanswered", state.unanswered));
    }
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

/// A message, its answers, the next message.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    sending: &Sending,
    args: &SendArgs,
    stream: S,
    began: Instant,
) -> Result<(), Box<dyn Error>> {
    let mut line = Line::new(stream);
    while let Some((at, message)) = sending.next() {
        if let Some(rate) = args.rate.filter(|rate| *rate > 0) {
            let due = Duration::from_secs_f64(at as f64 / f64::from(rate));
            tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        }
        let sent = Instant::now();
        line.stream.write_all(&framed(&message)).await?;
        line.stream.flush().await?;
        let mut open = Open::new(&message);
        while open.is_waiting() {
            let answer = tokio::time::timeout(ANSWER, line.answer()).await;
            let answer = answer.map_err(|_| open.missing())??.ok_or(CLOSED)?;
            if !line.is_late(&answer, sending, &open.control_id) {
                open.take(&answer.code);
                sending.answered(at, &answer);
            }
        }
        sending.sent(open.is_answered, sent.elapsed());
        line.is_unanswered |= !open.is_answered || open.may_go_on();
        if open.may_go_on() {
            line.late.insert(open.control_id, (at, open.is_answered));
            while let Ok(Ok(Some(answer))) =
                tokio::time::timeout(Duration::ZERO, line.answer()).await
            {
                line.late_or_stray(&answer, sending);
            }
        }
    }
    line.end(sending).await;
    Ok(())
}

/// What is said where the other side closes and owes an answer.
const CLOSED: &str = "the connection was closed without an answer";

/// What an answer says.
struct Answer {
    /// MSA-1.
    code: String,
    /// The control id of the message that it answers, MSA-2.
    of: String,
    /// What is wrong with that.
    why: String,
}

impl Answer {
    fn read(answer: &[u8]) -> Self {
        let read = Charset::read(answer, Charset::UTF_8).ok();
        let message = read
            .as_ref()
            .and_then(|read| Message::parse(&read.text, read.charset, Reading::Lenient).ok());
        let first = |name: &str, field: u16| {
            let segment = message.as_ref().and_then(|message| message.named(name).next());
            segment.map(|segment| segment.field(field).text().into_owned()).unwrap_or_default()
        };
        let why = [first("ERR", 8), first("MSA", 3)].into_iter().find(|text| !text.is_empty());
        let of = first("MSA", 2).trim().to_owned();
        Self { code: first("MSA", 1), of, why: why.unwrap_or_default() }
    }
}

/// A message that was sent, and which answers to it must come: by MSH-15 and MSH-16.
struct Open {
    control_id: String,
    is_enhanced: bool,
    awaits_receipt: bool,
    awaits_outcome: bool,
    /// Whether an answer comes by how it goes: only where it fails, or only where it does not.
    may_be_answered: bool,
    is_answered: bool,
}

impl Open {
    fn new(message: &[u8]) -> Self {
        let heading = Heading::salvaged(message);
        let (accept, application, is_enhanced) = match &heading {
            Some(heading) if heading.is_answer() => (Wanted::Never, Wanted::Never, true),
            Some(Heading { mode: Mode::Enhanced { accept, application }, .. }) => {
                (*accept, *application, true)
            }
            _ => (Wanted::Never, Wanted::Always, false),
        };
        let by_outcome = |wanted| matches!(wanted, Wanted::OnFailure | Wanted::OnSuccess);
        Self {
            control_id: heading.map(|heading| heading.control_id).unwrap_or_default(),
            is_enhanced,
            awaits_receipt: accept == Wanted::Always,
            awaits_outcome: application == Wanted::Always,
            may_be_answered: by_outcome(accept) || by_outcome(application),
            is_answered: false,
        }
    }

    /// Notes an answer by its code. What is refused, and what was worked on, is told once.
    fn take(&mut self, code: &str) {
        self.is_answered = true;
        self.awaits_receipt = false;
        if !self.is_enhanced || code != "CA" {
            (self.awaits_outcome, self.may_be_answered) = (false, false);
        }
    }

    /// Whether an answer must still come.
    fn is_waiting(&self) -> bool {
        self.awaits_receipt || self.awaits_outcome
    }

    /// Whether an answer may still come.
    fn may_go_on(&self) -> bool {
        self.may_be_answered
    }

    /// What is said when no answer has come.
    fn missing(&self) -> &'static str {
        if self.is_answered {
            "a receipt, but no answer to the work within a minute: it may go elsewhere"
        } else {
            "no answer within a minute"
        }
    }
}

/// A connection, and which messages on it may still be answered.
struct Line<S> {
    stream: S,
    frames: Frames,
    buffer: BytesMut,
    /// By their control ids: which message it is, and whether it was answered before.
    late: HashMap<String, (usize, bool)>,
    /// Whether something may not have been read by the other side when all is sent.
    is_unanswered: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    fn new(stream: S) -> Self {
        let (frames, buffer) = (Frames::new(LARGEST), BytesMut::new());
        Self { stream, frames, buffer, late: HashMap::new(), is_unanswered: false }
    }

    /// The next answer; `None` when the connection was closed. It can be given up and asked for again.
    async fn answer(&mut self) -> Result<Option<Answer>, Box<dyn Error>> {
        loop {
            match self.frames.decode(&mut self.buffer)? {
                Some(Frame::Whole(answer)) => return Ok(Some(Answer::read(&answer))),
                Some(_) => return Err("an answer that is no frame".into()),
                None => {}
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Whether an answer is one to a message before the one of `control_id`; that is counted.
    fn is_late(&mut self, answer: &Answer, sending: &Sending, control_id: &str) -> bool {
        if answer.of == control_id {
            return false;
        }
        let Some((at, was_answered)) = self.late.remove(&answer.of) else { return false };
        sending.answered(at, answer);
        if !was_answered {
            sending.answered_after_all();
        }
        if answer.code == "CA" {
            self.late.insert(answer.of.clone(), (at, true));
        }
        true
    }

    /// Counts an answer that was not waited for.
    fn late_or_stray(&mut self, answer: &Answer, sending: &Sending) {
        if !self.is_late(answer, sending, "") {
            sending.stray(answer);
        }
    }

    /// Ends the connection: what the other side has not read or answered by now it does, while nothing else is sent.
    async fn end(&mut self, sending: &Sending) {
        if !self.is_unanswered {
            return;
        }
        let _ = self.stream.shutdown().await;
        while let Ok(Ok(Some(answer))) = tokio::time::timeout(LAST, self.answer()).await {
            self.late_or_stray(&answer, sending);
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

    /// Counts an answer to a message.
    fn answered(&self, at: usize, answer: &Answer) {
        self.count(&format!("message {}", at + 1), answer);
    }

    /// Counts an answer to nothing that was sent.
    fn stray(&self, answer: &Answer) {
        self.count("no message that was sent", answer);
    }

    fn count(&self, what: &str, Answer { code, why, .. }: &Answer) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(code.as_str(), "AA" | "CA") && state.complaints.len() < SHOWN {
            state.complaints.push(format!("{what}: {code} {why}"));
        }
        *state.answers.entry(code.clone()).or_default() += 1;
    }

    /// Counts a message all of whose answers have come that must.
    fn sent(&self, is_answered: bool, taken: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if is_answered {
            state.longest = state.longest.max(taken);
        } else {
            state.unanswered += 1;
        }
        state.sent += 1;
        let sent = state.sent;
        let rate = sent as f64 / state.progress.elapsed().as_secs_f64().max(0.001);
        state.progress.show(sent, &format!("{sent} messages, {rate:.0}/s"));
    }

    /// Counts a message as answered that was not by then.
    fn answered_after_all(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).unanswered -= 1;
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
    fn as_many_answers_are_waited_for_as_the_header_asks_for() {
        for (fields, codes, is_waiting, may_go_on) in [
            ("", &[][..], true, false),
            ("", &["AA"], false, false),
            ("", &["CA"], false, false),
            ("|||AL|AL", &["CA"], true, false),
            ("|||AL|AL", &["CA", "AE"], false, false),
            ("|||AL|AL", &["CR"], false, false),
            ("|||AL|AL", &["AA"], false, false),
            ("|||AL|NE", &["CA"], false, false),
            ("|||NE|AL", &[], true, false),
            ("|||NE|NE", &[], false, false),
            ("|||ER|AL", &[], true, true),
            ("|||ER|AL", &["CE"], false, false),
            ("|||AL|ER", &["CA"], false, true),
            ("|||NE|SU", &[], false, true),
        ] {
            let text = format!("MSH|^~\\&|A|B|C|D|2026||ADT^A01|7|P|2.5{fields}\rPID|1");
            let mut open = Open::new(text.as_bytes());
            assert_eq!(open.control_id, "7");
            for code in codes {
                open.take(code);
            }
            let found = (open.is_waiting(), open.may_go_on(), open.is_answered);
            assert_eq!(found, (is_waiting, may_go_on, !codes.is_empty()), "{fields} {codes:?}");
        }
        let answer = Open::new(b"MSH|^~\\&|A|B|C|D|2026||ACK^A01|7|P|2.5");
        assert!(!answer.is_waiting(), "nobody answers an answer");
        assert!(Open::new(b"PID|1").is_waiting());
    }

    #[test]
    fn a_later_round_has_control_ids_of_its_own() {
        let message = b"MSH|^~\\&|A|B|C|D|2026||ADT^A01|77|P|2.5\rPID|1";
        let expected = "MSH|^~\\&|A|B|C|D|2026||ADT^A01|77-3|P|2.5\rPID|1";
        assert_eq!(String::from_utf8(renumbered(message, 3)).unwrap(), expected);
        assert_eq!(renumbered(b"PID|1", 3), b"PID|1");
    }
}
