//! So many messages in one run, and the server's memory on the way: what grows with each message shows over
//! many.
//!
//! Patients come and go: each has ten messages and is not seen again, so that what is kept of a patient
//! shows too.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use super::super::load::{Measured, Notes, measure};
use super::super::{Bench, BenchError};
use super::{Kind, Line, Numbers, WORKING, drained, message, note, rate};

/// How often memory is told, and how often it is looked at in between.
const STEPS: u64 = 20;
const LOOKS: u64 = 10;
/// Fewest messages that say something of memory.
const FEWEST: u64 = STEPS * LOOKS;
/// Messages of a patient.
const OF_PATIENT: u64 = 10;
/// What the last tenth may have beyond the second one, which has all caches full: a part of it, and MiB.
const GROWTH: f64 = 0.10;
const NOISE: u64 = 16;

/// Sends `count` messages of a kind, each as soon as the one before is answered.
pub(super) async fn run(
    bench: &mut Bench,
    (kind, count): (Kind, u64),
    clients: Option<usize>,
    numbers: &Numbers,
) -> Result<(), BenchError> {
    if count < FEWEST {
        return Err(BenchError::Arguments(format!("--messages: at least {FEWEST}")));
    }
    if bench.meter.own_memory().is_none() {
        let text = "--messages: the server's memory is not found: name its process with --pid";
        return Err(BenchError::Arguments(text.to_owned()));
    }
    let clients = clients.unwrap_or(WORKING);
    let what = format!("{}, {count} in one run", kind.what());
    let (measured, course) = sent(bench, (kind, count), clients, numbers).await?;
    bench.report.add(clients, &what, None, &measured, None);
    let took = measured.elapsed.as_secs_f64();
    bench.report.note(format!(
        "{clients} clients, {what}: {:.0} messages a second over {took:.0} s",
        rate(&measured)
    ));
    if drained(bench).await? {
        bench.report.note("not all of the work has ended");
    }
    for step in 1..=STEPS {
        if let Some(highest) = course.highest((step - 1, step)) {
            let sent = count * step / STEPS;
            bench
                .report
                .note(format!("the server's own memory up to message {sent}: {highest} MiB"));
        }
    }
    bench.report.note(course.verdict());
    Ok(())
}

async fn sent(
    bench: &Bench,
    (kind, count): (Kind, u64),
    clients: usize,
    numbers: &Numbers,
) -> Result<(Measured, Course), BenchError> {
    let lines = Line::all(bench.args.feed, clients).await?;
    let (next, course) = (Cell::new(0), RefCell::new(Course::new(count)));
    let (measured, _) = measure(&bench.meter, lines, async |mut line| {
        let (mut notes, mut own) = (Notes::default(), 0);
        while next.get() < count {
            let number = next.replace(next.get() + 1);
            // No other line has messages of the same patient, which would wait for each other.
            let patient = own / OF_PATIENT * clients as u64 + line.at;
            own += 1;
            let text = message(kind, "|", "s", patient, numbers);
            let started = Instant::now();
            let answer = line.send(&text).await;
            if !note(&mut notes, started, answer, "AA") {
                break;
            }
            let is_due = course.borrow_mut().is_due(number);
            let memory = if is_due { bench.meter.own_memory() } else { None };
            if let Some(now) = memory {
                course.borrow_mut().add(number, now);
            }
        }
        (line, notes)
    })
    .await;
    Ok((measured, course.into_inner()))
}

/// The memory at so many messages.
#[derive(Debug)]
struct Course {
    count: u64,
    /// The look that comes next.
    next: u64,
    seen: Vec<(u64, u64)>,
}

impl Course {
    fn new(count: u64) -> Self {
        Self { count, next: 0, seen: Vec::new() }
    }

    /// Whether it is time to look again, after this message.
    fn is_due(&mut self, number: u64) -> bool {
        let look = number * STEPS * LOOKS / self.count;
        let is_due = look >= self.next;
        if is_due {
            self.next = look + 1;
        }
        is_due
    }

    fn add(&mut self, number: u64, mib: u64) {
        self.seen.push((number, mib));
    }

    /// The highest of the steps after one, up to another one.
    fn highest(&self, (after, up_to): (u64, u64)) -> Option<u64> {
        let among = self.count * after / STEPS..self.count * up_to / STEPS;
        let seen = self.seen.iter().filter(|(number, _)| among.contains(number));
        seen.map(|(_, mib)| *mib).max()
    }

    /// Whether it stays as it is once caches are full.
    fn verdict(&self) -> String {
        let tenth = STEPS / 10;
        let second = self.highest((tenth, 2 * tenth));
        let last = self.highest((STEPS - tenth, STEPS));
        let Some((second, last)) = second.zip(last) else {
            return "the server's memory was not seen to the end: nothing is said of it !"
                .to_owned();
        };
        let most = second + ((second as f64 * GROWTH) as u64).max(NOISE);
        let (word, mark) = if last > most { ("grows", " !") } else { ("is flat", "") };
        format!(
            "the server's own memory {word}: highest of the second tenth {second} MiB, of the last tenth {last} MiB \
             (at most {most}){mark}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(mib: impl Fn(u64) -> u64) -> Course {
        let mut course = Course::new(1_000);
        for number in 0..1_000 {
            if course.is_due(number) {
                course.add(number, mib(number));
            }
        }
        course
    }

    #[test]
    fn memory_is_looked_at_evenly_and_judged_by_two_tenths() {
        // The first tenth fills caches, and says nothing.
        let flat = course(|number| if number < 100 { 5 * number } else { 400 + number % 7 });
        assert_eq!(flat.seen.len(), 200);
        assert_eq!((flat.highest((0, 1)), flat.highest((19, 20))), (Some(225), Some(406)));
        let told = flat.verdict();
        assert!(told.contains("is flat") && !told.ends_with('!'), "{told}");
        let told = course(|number| 400 + number / 10).verdict();
        let expected = "the server's own memory grows: highest of the second tenth 419 MiB, of the last tenth 499 MiB \
                        (at most 460) !";
        assert_eq!(told, expected);
        // A connection that broke early leaves nothing to be judged.
        assert!(Course::new(1_000).verdict().ends_with('!'));
    }
}
