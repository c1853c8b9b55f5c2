//! How soon answers come at a pace that is given: each message has its time, and goes whether those before it are
//! answered or not.
//!
//! What counts is the time from when a message was due. A server that stops for a while thus delays all that were due
//! meanwhile, as it would for senders that know nothing of each other.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep_until};

use super::super::figures::{Bound, Figure};
use super::super::load::{Measured, Notes, measure};
use super::super::{Bench, BenchError};
use super::{Kind, Line, Numbers, answered, drained, message, note};
use crate::hl7v2::frame::framed;

/// Messages a second.
const PACE: u64 = 100;
/// How long 99 of a hundred answers may take, in milliseconds.
const P99_MS: f64 = 100.0;
/// Patients of each connection, who are there beforehand.
const PATIENTS: u64 = 5;
/// What is answered: the receipt alone, and the whole work.
const ANSWERS: [(&str, &str, &str); 2] =
    [("store and accept", "AL|NE", "CA"), ("the whole work", "|", "AA")];

/// Tells how soon both kinds of answers come.
pub(super) async fn run(
    bench: &mut Bench,
    count: usize,
    numbers: &Numbers,
) -> Result<(), BenchError> {
    let mut lines = Line::all(bench.args.feed, count).await?;
    for line in &mut lines {
        for patient in 0..PATIENTS {
            let text = message(Kind::Visit, "|", "p", line.at * PATIENTS + patient, numbers);
            let code = line.send(&text).await;
            let code = code.map_err(BenchError::io(bench.args.feed.to_string()))?;
            if code != "AA" {
                return Err(BenchError::Refused(format!("a message is answered with {code:?}")));
            }
        }
    }
    let seconds = bench.args.seconds.max(1);
    for (what, mode, wanted) in ANSWERS {
        let (measured, after) = paced(bench, lines, (mode, wanted), seconds, numbers).await;
        lines = after;
        let what = format!("{}, {what} at {PACE} a second", Kind::Visit.what());
        bench.report.add(count, &what, None, &measured, None);
        let [p50, _, p99] = measured.notes.percentiles(None);
        // What was not answered has no time: nothing is said of those that were.
        let is_whole = measured.notes.count(None) == PACE * seconds;
        let p99 = if is_whole { p99 } else { f64::NAN };
        let name = format!("p99 of {what}, by the schedule");
        bench.report.figure(Figure::new(name, p99, "ms", Bound::AtMost(P99_MS)));
        bench.report.note(format!("{count} clients, {what}: p50 {p50:.1} ms, p99 {p99:.1} ms"));
        if drained(bench).await? {
            bench.report.note("not all of the work has ended");
        }
    }
    Ok(())
}

async fn paced(
    bench: &Bench,
    lines: Vec<Line>,
    (mode, wanted): (&str, &str),
    seconds: u64,
    numbers: &Numbers,
) -> (Measured, Vec<Line>) {
    let (step, began) = (lines.len().max(1), Instant::now());
    measure(&bench.meter, lines, async |mut line| {
        let own = (line.at..PACE * seconds).step_by(step);
        let messages = own.map(|number| {
            let patient = line.at * PATIENTS + number / step as u64 % PATIENTS;
            (due(began, number), message(Kind::Visit, mode, "p", patient, numbers))
        });
        let messages = messages.collect();
        let notes = line.on_time(messages, wanted).await;
        (line, notes)
    })
    .await
}

fn due(began: Instant, number: u64) -> Instant {
    began + Duration::from_micros(number * 1_000_000 / PACE)
}

impl Line {
    /// Sends messages when they are due, and hears their answers in that order.
    async fn on_time(&mut self, messages: Vec<(Instant, Vec<u8>)>, wanted: &str) -> Notes {
        let Self { stream, frames, received, .. } = self;
        let (mut reader, mut writer) = stream.split();
        let dues: Vec<Instant> = messages.iter().map(|(due, _)| *due).collect();
        let send = async {
            for (due, message) in messages {
                sleep_until(due).await;
                writer.write_all(&framed(&message)).await?;
            }
            Ok::<_, io::Error>(())
        };
        let hear = async {
            let mut notes = Notes::default();
            for due in dues {
                sleep_until(due).await;
                let answer = answered(&mut reader, frames, received).await;
                if !note(&mut notes, due.into_std(), answer, wanted) {
                    break;
                }
            }
            notes
        };
        let (written, mut notes) = tokio::join!(send, hear);
        if let Err(fault) = written {
            notes.failure(fault.to_string());
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bytes::BytesMut;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::codec::Decoder as _;

    use super::super::super::load::Interaction;
    use super::*;
    use crate::hl7v2::frame::{Frame, Frames};

    const ANSWER: &[u8] = b"MSH|^~\\&|A\rMSA|CA|1\r";

    /// A listener that answers nothing for a time, then everything.
    async fn slow(stream: TcpStream, silence: Duration) {
        let (mut stream, mut frames) = (stream, Frames::new(1_000_000));
        let mut received = BytesMut::new();
        tokio::time::sleep(silence).await;
        loop {
            while let Some(Frame::Whole(_)) = frames.decode(&mut received).unwrap() {
                stream.write_all(&framed(ANSWER)).await.unwrap();
            }
            if stream.read_buf(&mut received).await.unwrap() == 0 {
                return;
            }
        }
    }

    async fn connected(address: SocketAddr) -> Line {
        Line::open(address, 0).await.unwrap()
    }

    /// A server that stops delays what is due meanwhile: each answer counts from when its message was due, and none
    /// waits for the one before it to be answered.
    #[tokio::test]
    async fn what_is_due_does_not_wait_for_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silence = Duration::from_millis(400);
        let server = async { slow(listener.accept().await.unwrap().0, silence).await };
        let client = async {
            let mut line = connected(address).await;
            let began = Instant::now();
            let messages = (0..20).map(|number| (due(began, number), b"MSH|^~\\&|A\r".to_vec()));
            line.on_time(messages.collect(), "CA").await
        };
        let ((), notes) = tokio::join!(server, client);
        assert_eq!((notes.count(Some(Interaction::Operation)), notes.failures), (20, 0));
        // The last is due 190 ms after the first, so that even it has waited for more than 200 ms. One that is sent
        // when the one before it is answered would have been answered at once.
        let [p50, _, p99] = notes.percentiles(None);
        assert!(p50 >= 290.0 && p99 >= 390.0, "{p50} {p99}");
    }
}
