//! How soon `kiln audit who` answers over a ledger that was filled up: by patients who have few rows, by those
//! who have many, and by users, once since the beginning and once since a month ago in turn.
//!
//! The answers are timed in this process, on a connection of the settings; and the command as a whole, with its
//! start.

use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Parser as _;
use tokio::process::Command;

use super::super::figures::{Bound, Figure};
use super::super::load::{Interaction, Notes};
use super::super::{Bench, BenchError, Origin};
use super::held::USERS;
use crate::app::audit::who::{WhoArgs, who};
use crate::app::database::{Database, StartError};
use crate::app::server;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Config;
use crate::engine::Engine;
use crate::error::root_cause;

/// How long an answer may take.
const ANSWER_MS: f64 = 1_000.0;
/// Questions of each kind, and how often the command is run for each.
const QUESTIONS: usize = 100;
const COMMANDS: usize = 5;
const MONTH_MS: i64 = 30 * 86_400_000;

/// `who ..`, as the command line has it.
#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: WhoArgs,
}

/// The words of a question, from `who` on.
type Question = Vec<String>;

pub(super) async fn run(
    bench: &mut Bench,
    paths: &[String],
    (config, origin): (&Config, &Origin),
) -> Result<(), BenchError> {
    let month_ago = SystemClock.now().plus_millis(-MONTH_MS).to_string();
    let kinds = questions(paths, &month_ago[..10]);
    let failed = |error: StartError| BenchError::Who(root_cause(&error));
    let database = Database::open(config, true).await.map_err(failed)?;
    let base = config.base_url(config.http.listen);
    let answered = match server::engine(config, database.store.clone(), base).map_err(failed) {
        Ok(engine) => Box::pin(answers(bench, &engine, &kinds)).await,
        Err(error) => Err(error),
    };
    database.close().await;
    answered?;
    for (kind, questions) in &kinds {
        commands(bench, kind, questions, origin).await?;
    }
    Ok(())
}

/// Questions of each kind, each since the beginning and since a day in turn.
fn questions(paths: &[String], since: &str) -> [(&'static str, Vec<Question>); 3] {
    let patients: Vec<&str> = paths.iter().filter_map(|it| it.strip_prefix("/Patient/")).collect();
    let users: Vec<String> =
        (0..QUESTIONS as u64).map(|at| format!("bench{}", at * 17 % USERS)).collect();
    // Those that were loaded last have the rows that the ledger was filled up with copies of.
    let (few, many) = patients.split_at(patients.len() / 2);
    let last: Vec<&str> = many.iter().rev().copied().take(QUESTIONS / 4).collect();
    let all = |option: &str, names: &[&str]| -> Vec<Question> {
        let asked = names.iter().cycle().take(if names.is_empty() { 0 } else { QUESTIONS });
        asked
            .enumerate()
            .map(|(at, name)| {
                // Each name once so and once so, however many there are.
                let is_since = (at / names.len() + at % names.len()) % 2 == 1;
                let since = is_since.then_some(["--since", since]).into_iter().flatten();
                let words = ["who", option, *name].into_iter().chain(since);
                words.map(str::to_owned).collect()
            })
            .collect()
    };
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    [
        ("a patient of few rows", all("--patient", few)),
        ("a patient of many rows", all("--patient", &last)),
        ("a user", all("--user", &users)),
    ]
}

/// Says how soon the answers are there.
async fn answers(
    bench: &mut Bench,
    engine: &Engine,
    kinds: &[(&'static str, Vec<Question>)],
) -> Result<(), BenchError> {
    for (kind, questions) in kinds {
        let (mut notes, mut longest, mut events) = (Notes::default(), Duration::ZERO, 0);
        for question in questions {
            let line =
                Line::try_parse_from(question).map_err(|it| BenchError::Who(it.to_string()))?;
            let started = Instant::now();
            let mut out = Vec::new();
            let told = who(&line.args, engine, &mut out).await;
            let took = started.elapsed();
            events += told.map_err(|error| BenchError::Who(error.to_string()))?;
            notes.success(Interaction::Search, took);
            longest = longest.max(took);
        }
        if events == 0 {
            return Err(BenchError::Who(format!("there is no event of {kind}")));
        }
        let [p50, _, p99] = notes.percentiles(None);
        let count = questions.len();
        let mut figure = |what: &str, value: f64| {
            let what = format!("{what} of {count} answers who, by {kind}");
            bench.report.bind(Figure::new(what, value, "ms", Bound::AtMost(ANSWER_MS)));
        };
        figure("p50", p50);
        figure("p99", p99);
        figure("longest", longest.as_secs_f64() * 1_000.0);
        let each = events as f64 / count as f64;
        bench.report.note(format!("who, by {kind}: {each:.0} events each, at most 1,000"));
    }
    Ok(())
}

/// Says how long the command takes, from its start to its end.
async fn commands(
    bench: &mut Bench,
    kind: &str,
    questions: &[Question],
    origin: &Origin,
) -> Result<(), BenchError> {
    let program = std::env::current_exe().map_err(BenchError::io("this program"))?;
    let mut longest = Duration::ZERO;
    for question in questions.iter().take(COMMANDS) {
        let words = std::iter::once("audit").chain(question.iter().map(String::as_str));
        let words: Vec<&str> = words.collect();
        let mut command = Command::new(&program);
        command.args(origin.arguments(&words)).stdin(Stdio::null()).kill_on_drop(true);
        let started = Instant::now();
        let output = command.output().await.map_err(BenchError::io("kiln audit who"))?;
        longest = longest.max(started.elapsed());
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(BenchError::Who(said.lines().last().unwrap_or_default().to_owned()));
        }
    }
    let what = format!("longest of {COMMANDS} commands `kiln audit who`, by {kind}");
    let longest = longest.as_secs_f64() * 1_000.0;
    bench.report.bind(Figure::new(what, longest, "ms", Bound::AtMost(ANSWER_MS)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_is_asked_for_since_the_beginning_and_since_a_day() {
        for count in [4, 5, 60] {
            let paths =
                (0..count).flat_map(|at| [format!("/Patient/p{at}"), format!("/Claim/{at}")]);
            let kinds = questions(&paths.collect::<Vec<_>>(), "2026-01-02");
            for (kind, questions) in &kinds {
                assert_eq!(questions.len(), QUESTIONS, "{kind}");
                let said: BTreeSet<_> = questions.iter().map(|it| it.join(" ")).collect();
                for line in &said {
                    Line::try_parse_from(line.split(' ')).expect(line);
                }
                let since = said.iter().filter(|it| it.ends_with(" --since 2026-01-02")).count();
                assert_eq!(since * 2, said.len(), "{kind}: {said:?}");
            }
            let is_of = |kind: usize, name: &str| {
                kinds[kind].1.iter().any(|it| it[1..3] == ["--patient", name])
            };
            let last = format!("p{}", count - 1);
            assert!(is_of(0, "p0") && !is_of(1, "p0"), "{count}");
            assert!(is_of(1, &last) && !is_of(0, &last), "{count}");
            assert_eq!(kinds[2].1[1], ["who", "--user", "bench17", "--since", "2026-01-02"]);
        }
        let none = questions(&[], "2026-01-02");
        assert!(none[0].1.is_empty() && none[1].1.is_empty());
    }
}
