//! *v2*: a feed of HL7 version 2: store and accept, the whole work on visits and results, and the same
//! resources as transactions over REST.
//!
//! Accepts are measured in the enhanced mode (MSH-15 AL, MSH-16 NE): the answer says that the message is
//! on the disk, and the work on it goes on beside. Whole work is measured in the original mode: the answer
//! says that resources, Provenance, index and record are committed. Bundles are made beforehand, by the
//! same maps, of messages about patients of their own; feed and REST take turns. With --database each rate stands
//! beside its floor: bare INSERTs of the same bytes. How soon answers come is told at a pace that is given, by the
//! schedule and not by the answers. With --messages nothing of that is done, but memory is watched over one long run.

mod floor;
mod goal;
mod paced;
mod steady;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::codec::Decoder as _;

use super::connection::Connection;
use super::load::{Interaction, Measured, Notes, measure};
use super::target::Target;
use super::{Bench, BenchError, Only};
use crate::hl7v2::charset::Charset;
use crate::hl7v2::er7::{Message, Reading};
use crate::hl7v2::frame::{Frame, Frames, framed};
use crate::hl7v2::map::{Maps, bundle};
use crate::spec::Spec;
use floor::floor;
use goal::Goal;
pub(super) use goal::quiet_floor;

/// Messages that there should be in a second, and the part of the REST rate that a feed should have.
const STORED: f64 = 2_000.0;
const VISITS: f64 = 700.0;
const RESULTS: f64 = 120.0;
/// Results where there are so many processors.
const MORE_RESULTS: f64 = 300.0;
const PROCESSORS: usize = 4;
const OF_REST: f64 = 0.5;
/// Connections that send to be stored, and for the whole work, unless --clients says.
const STORING: usize = 16;
const WORKING: usize = 8;
/// Patients of each connection.
const PATIENTS: u64 = 50;
/// Turns of feed and REST.
const ROUNDS: u32 = 2;
/// Results of a message.
const VALUES: u64 = 20;
/// Most messages a second that Bundles are made for: visits, results.
const MOST: [u64; 2] = [2_500, 500];
/// Longest wait for an answer, and for the work that is left.
const ANSWER: Duration = Duration::from_mins(1);
const DRAINED: Duration = Duration::from_mins(10);
/// Largest answer.
const LARGEST: usize = 1024 * 1024;

/// Its parts for `--only`, beside the kinds of messages.
const STORE: &str = "store";
const PACED: &str = "paced";

/// What messages are about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Visit,
    Result,
}

impl Kind {
    fn what(self) -> &'static str {
        match self {
            Self::Visit => "ADT A08",
            Self::Result => "ORU R01, 20 OBX",
        }
    }

    /// Its name on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Visit => "visit",
            Self::Result => "result",
        }
    }

    /// How many there should be in a second on so many processors.
    fn least(self, processors: usize) -> f64 {
        match self {
            Self::Visit => VISITS,
            Self::Result if processors >= PROCESSORS => MORE_RESULTS,
            Self::Result => RESULTS,
        }
    }
}

pub(super) async fn run(bench: &mut Bench) -> Result<(), BenchError> {
    let spec = Spec::r4().map_err(|error| BenchError::Arguments(error.to_string()))?;
    let maps = Maps::base(&spec.schema).map_err(|faults| {
        BenchError::Arguments(faults.first().map(ToString::to_string).unwrap_or_default())
    })?;
    let kinds = [Kind::Visit, Kind::Result];
    let known: Vec<&str> = match bench.args.messages {
        Some(_) => kinds.map(Kind::name).into(),
        None => [STORE, PACED].into_iter().chain(kinds.map(Kind::name)).collect(),
    };
    let only = Only::of(&bench.args.only, &known)?;
    let run = Numbers::new(bench.args.seed);
    let counts = |usual: usize, given: &[usize]| {
        if given.is_empty() { vec![usual] } else { given.to_vec() }
    };
    if let Some(count) = bench.args.messages {
        let is_result = only.names(Kind::Result.name());
        let kind = if is_result { Kind::Result } else { Kind::Visit };
        let clients = bench.args.clients.first().copied();
        return steady::run(bench, (kind, count), clients, &run).await;
    }
    if only.wants(STORE) {
        for count in counts(STORING, &bench.args.clients) {
            store(bench, count, &run).await?;
        }
    }
    if only.wants(PACED) {
        for count in counts(STORING, &bench.args.clients) {
            paced::run(bench, count, &run).await?;
        }
    }
    for kind in kinds {
        if only.wants(kind.name()) {
            for count in counts(WORKING, &bench.args.clients) {
                both(bench, kind, count, &maps, &run).await?;
            }
        }
    }
    memory(bench, "at the end");
    Ok(())
}

fn memory(bench: &mut Bench, when: &str) {
    if let Some((now, highest)) = bench.meter.memory() {
        bench.report.note(format!("server memory {when}: {now} MiB, highest {highest} MiB"));
    }
}

/// Numbers that no message of this run, and of few others, has had.
struct Numbers {
    run: u64,
    next: Cell<u64>,
}

impl Numbers {
    fn new(seed: u64) -> Self {
        let process = u64::from(std::process::id());
        Self { run: seed.wrapping_mul(100_000).wrapping_add(process), next: Cell::new(0) }
    }

    fn next(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }
}

/// A message: `mode` is MSH-15 and 16, `whose` says apart whose patients they are.
fn message(kind: Kind, mode: &str, whose: &str, patient: u64, numbers: &Numbers) -> Vec<u8> {
    let (run, number) = (numbers.run, numbers.next());
    // Each is of a moment of its own, later than the one before.
    let (hour, minute, second) = (number / 3600 % 24, number / 60 % 60, number % 60);
    let day = 1 + number / 86_400 % 28;
    let at = format!("202607{day:02}{hour:02}{minute:02}{second:02}");
    let event = match kind {
        Kind::Visit => "ADT^A08^ADT_A01",
        Kind::Result => "ORU^R01^ORU_R01",
    };
    let mut lines = vec![format!(
        "MSH|^~\\&|BENCH|KILN|KILN|KILN|{at}+0000||{event}|{run}-{number}|P|2.5.1|||{mode}"
    )];
    if kind == Kind::Visit {
        lines.push(format!("EVN||{at}+0000"));
    }
    lines.push(format!(
        "PID|1||{run}-{whose}{patient}^^^BENCH^MR||Probe^Person{patient}^Q^^^^L||19700203|F|||\
         {number} Mill Lane^^Cork^^T12^IE||+353{number:09}"
    ));
    match kind {
        Kind::Visit => lines.push(format!(
            "PV1|1|I|W2^204^1^KILN|||||||||||||||1|{run}-V{whose}{patient}^^^BENCH^VN"
        )),
        Kind::Result => {
            lines.push(format!(
                "OBR|1||{run}-F{number}^BENCH|24323-8^Metabolic panel^LN|||{at}+0000|||||||||||||||\
                 {at}+0000|||F"
            ));
            lines.extend((1..=VALUES).map(|at| {
                let (units, tenth) = (130 + at, number % 10);
                format!("OBX|{at}|NM|2951-2^Sodium^LN|{at}|{units}.{tenth}|mmol/L|135-145|N|||F")
            }));
        }
    }
    let mut text = lines.join("\r");
    text.push('\r');
    text.into_bytes()
}

/// One connection of a feed.
struct Line {
    stream: TcpStream,
    frames: Frames,
    received: BytesMut,
    /// Which one it is: its patients are no other's.
    at: u64,
}

impl Line {
    async fn open(feed: SocketAddr, at: usize) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(feed).await.map_err(BenchError::io(feed.to_string()))?;
        stream.set_nodelay(true).map_err(BenchError::io(feed.to_string()))?;
        let (frames, received) = (Frames::new(LARGEST), BytesMut::new());
        Ok(Self { stream, frames, received, at: at as u64 })
    }

    async fn all(feed: SocketAddr, count: usize) -> Result<Vec<Self>, BenchError> {
        let mut lines = Vec::with_capacity(count);
        for at in 0..count {
            lines.push(Self::open(feed, at).await?);
        }
        Ok(lines)
    }

    /// Sends a message and waits for its answer: the code.
    async fn send(&mut self, message: &[u8]) -> io::Result<String> {
        self.stream.write_all(&framed(message)).await?;
        answered(&mut self.stream, &mut self.frames, &mut self.received).await
    }
}

/// The code of the next answer.
async fn answered(
    stream: &mut (impl AsyncRead + Unpin),
    frames: &mut Frames,
    received: &mut BytesMut,
) -> io::Result<String> {
    let answer = tokio::time::timeout(ANSWER, next(stream, frames, received)).await;
    let answer = answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let code = memchr::memmem::find(&answer, b"MSA|").and_then(|at| answer.get(at + 4..at + 6));
    Ok(String::from_utf8_lossy(code.unwrap_or_default()).into_owned())
}

async fn next(
    stream: &mut (impl AsyncRead + Unpin),
    frames: &mut Frames,
    received: &mut BytesMut,
) -> io::Result<Bytes> {
    loop {
        match frames.decode(received)? {
            Some(Frame::Whole(answer)) => return Ok(answer),
            Some(_) => return Err(io::Error::from(io::ErrorKind::InvalidData)),
            None => {}
        }
        if stream.read_buf(received).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
    }
}

/// Notes how a message was answered.
fn note(notes: &mut Notes, started: Instant, answer: io::Result<String>, wanted: &str) -> bool {
    match answer {
        Ok(code) if code == wanted => notes.success(Interaction::Operation, started.elapsed()),
        Ok(code) => notes.failure(format!("answered with {code:?}")),
        Err(fault) => {
            notes.failure(fault.to_string());
            return false;
        }
    }
    true
}

/// Sends messages over all lines until the time is up.
async fn feed(
    bench: &Bench,
    lines: Vec<Line>,
    (kind, mode, wanted): (Kind, &str, &str),
    seconds: u64,
    numbers: &Numbers,
) -> (Measured, Vec<Line>) {
    let end = Instant::now() + Duration::from_secs(seconds);
    measure(&bench.meter, lines, async |mut line| {
        let mut notes = Notes::default();
        let mut patient = 0;
        while Instant::now() < end {
            patient = (patient + 1) % PATIENTS;
            let text = message(kind, mode, "f", line.at * PATIENTS + patient, numbers);
            let started = Instant::now();
            let answer = line.send(&text).await;
            if !note(&mut notes, started, answer, wanted) {
                break;
            }
        }
        (line, notes)
    })
    .await
}

/// Messages that are accepted as soon as they are stored.
async fn store(bench: &mut Bench, count: usize, numbers: &Numbers) -> Result<(), BenchError> {
    let seconds = bench.args.seconds.max(1);
    let lines = Line::all(bench.args.feed, count).await?;
    let enhanced = (Kind::Visit, "AL|NE", "CA");
    let floor = floor(bench, (Kind::Visit, "AL|NE"), count, seconds, numbers).await?;
    let (measured, _) = feed(bench, lines, enhanced, seconds, numbers).await;
    bench.report.add(count, "store and accept", None, &measured, floor);
    let goal = Goal { least: STORED, floor, quiet: quiet(bench, "store") };
    tell(bench, count, "store and accept", rate(&measured), goal);
    let began = Instant::now();
    let left = drained(bench).await?;
    let stored = measured.notes.count(None);
    let note = format!(
        "{count} clients: work on these {stored} messages ended {:.1} s after the last{}",
        began.elapsed().as_secs_f64(),
        if left { ", not all of it" } else { "" }
    );
    bench.report.note(note);
    memory(bench, &format!("after {stored} messages"));
    Ok(())
}

/// Waits until nothing is left to be worked on; whether something is, after all.
async fn drained(bench: &Bench) -> Result<bool, BenchError> {
    let path = bench.target.path.strip_suffix("/fhir").unwrap_or(&bench.target.path).to_owned();
    let mut connection = Connection::new(&Target { path, ..bench.target.clone() });
    let end = Instant::now() + DRAINED;
    while Instant::now() < end {
        let mut is_waiting = false;
        for state in ["received", "processing"] {
            let url = format!("/v2/messages?state={state}&_count=1");
            let answer = connection.send("GET", &url, None).await;
            let answer = answer.map_err(BenchError::io(bench.base.clone()))?;
            if !answer.is_success() {
                return Err(BenchError::refused(&answer));
            }
            is_waiting |= memchr::memmem::find(answer.body, b"\"id\"").is_some();
        }
        if !is_waiting {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(true)
}

/// The whole work on messages, and the same as Bundles.
async fn both(
    bench: &mut Bench,
    kind: Kind,
    count: usize,
    maps: &Maps,
    numbers: &Numbers,
) -> Result<(), BenchError> {
    let what = kind.what();
    let mut lines = Line::all(bench.args.feed, count).await?;
    warm(bench, &mut lines, maps, numbers).await?;
    let seconds = (bench.args.seconds.max(1) / u64::from(ROUNDS)).max(1);
    let floor = floor(bench, (kind, "|"), count, seconds, numbers).await?;
    let mut sums = [(0, Duration::ZERO); 2];
    for _ in 0..ROUNDS {
        let most = MOST[usize::from(kind == Kind::Result)] * seconds;
        let bundles: Vec<_> = (0..most)
            .map(|at| made(kind, at % (count as u64 * PATIENTS), maps, numbers))
            .collect::<Result<_, _>>()?;
        let original = (kind, "|", "AA");
        let (fed, again) = feed(bench, lines, original, seconds, numbers).await;
        lines = again;
        bench.report.add(count, &format!("{what}, feed"), None, &fed, floor);
        let rest = posted(bench, &bundles, count, seconds).await;
        bench.report.add(count, &format!("{what}, REST"), None, &rest, None);
        for (sum, measured) in sums.iter_mut().zip([&fed, &rest]) {
            sum.0 += measured.notes.count(None);
            sum.1 += measured.elapsed;
        }
    }
    let [feed, rest] = sums.map(|(count, time)| count as f64 / time.as_secs_f64().max(0.001));
    let least = kind.least(std::thread::available_parallelism().map_or(1, NonZero::get));
    tell(bench, count, what, feed, Goal { least, floor, quiet: quiet(bench, kind.name()) });
    let part = if rest > 0.0 { feed / rest } else { 0.0 };
    let mark = if part < OF_REST { " !" } else { "" };
    let text = format!(
        "{count} clients, {what}: {part:.2} of what the same takes as Bundles (at least {OF_REST})"
    );
    bench.report.note(text + mark);
    memory(bench, &format!("after {what}"));
    Ok(())
}

/// Makes the patients of both sides, unmeasured.
async fn warm(
    bench: &Bench,
    lines: &mut [Line],
    maps: &Maps,
    numbers: &Numbers,
) -> Result<(), BenchError> {
    let mut connection = Connection::new(&bench.target);
    for line in lines {
        for patient in 0..PATIENTS {
            let patient = line.at * PATIENTS + patient;
            let text = message(Kind::Visit, "|", "f", patient, numbers);
            let code =
                line.send(&text).await.map_err(BenchError::io(bench.args.feed.to_string()))?;
            if code != "AA" {
                return Err(BenchError::Refused(format!("a message is answered with {code:?}")));
            }
            let bundle = made(Kind::Visit, patient, maps, numbers)?;
            let answer = connection.send("POST", "", Some(&bundle)).await;
            let answer = answer.map_err(BenchError::io(bench.base.clone()))?;
            if !answer.is_success() {
                return Err(BenchError::refused(&answer));
            }
        }
    }
    Ok(())
}

/// The Bundle of a message.
fn made(kind: Kind, patient: u64, maps: &Maps, numbers: &Numbers) -> Result<Vec<u8>, BenchError> {
    let text = message(kind, "|", "r", patient, numbers);
    let text = String::from_utf8_lossy(&text);
    let broken = || BenchError::Refused("a message of our own cannot be read".to_owned());
    let message = Message::parse(&text, Charset::UTF_8, Reading::Lenient).map_err(|_| broken())?;
    let draft = maps.draft(&message).ok_or_else(broken)?;
    Ok(bundle::transaction(&draft).to_text().into_bytes())
}

/// Posts Bundles until they are all in or the time is up.
async fn posted(bench: &Bench, bundles: &[Vec<u8>], count: usize, seconds: u64) -> Measured {
    let end = Instant::now() + Duration::from_secs(seconds);
    let next = RefCell::new(bundles.iter());
    let clients: Vec<Connection> = (0..count).map(|_| Connection::new(&bench.target)).collect();
    let (measured, _) = measure(&bench.meter, clients, async |mut connection| {
        let mut notes = Notes::default();
        while Instant::now() < end {
            let bundle = next.borrow_mut().next();
            let Some(bundle) = bundle else { break };
            let started = Instant::now();
            let answer = connection.send("POST", "", Some(bundle)).await;
            notes.note(Interaction::Transaction, started, &answer);
        }
        (connection, notes)
    })
    .await;
    measured
}

fn rate(measured: &Measured) -> f64 {
    measured.notes.count(None) as f64 / measured.elapsed.as_secs_f64().max(0.001)
}

fn tell(bench: &mut Bench, count: usize, what: &str, rate: f64, goal: Goal) {
    bench.report.note(format!("{count} clients, {what}: {}", goal.tell(rate)));
}

/// The floor of this name when the machine is quiet.
fn quiet(bench: &Bench, name: &str) -> Option<f64> {
    bench.args.quiet_floor.iter().find(|(own, _)| own == name).map(|(_, rate)| *rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_make_what_they_are_to_make() {
        let spec = Spec::r4().unwrap();
        let maps = Maps::base(&spec.schema).unwrap();
        let numbers = Numbers::new(1);
        for (kind, resources) in [
            (Kind::Visit, vec![("Encounter", 1), ("Patient", 1)]),
            (Kind::Result, vec![("DiagnosticReport", 1), ("Observation", 20), ("Patient", 1)]),
        ] {
            let bundle = made(kind, 7, &maps, &numbers).unwrap();
            let text = String::from_utf8(bundle).unwrap();
            for (of, count) in resources {
                let found = text.matches(&format!("\"resourceType\":\"{of}\"")).count();
                assert_eq!(found, count, "{of} in {text}");
            }
        }
        let least = [1, 2, 4, 64].map(|it| Kind::Result.least(it).to_string());
        assert_eq!(least, ["120", "120", "300", "300"]);
        let one = message(Kind::Visit, "AL|NE", "f", 1, &numbers);
        let other = message(Kind::Visit, "AL|NE", "f", 1, &numbers);
        assert_ne!(one, other);
    }
}
