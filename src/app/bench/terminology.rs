//! *terminology*: questions about the codes of a generated SNOMED CT that is loaded.
//!
//! `kiln terminology generate snomed` and `load` come first; the plan of the generator tells which codes
//! there are, so nothing has to be asked for beforehand.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::connection::Connection;
use super::load::{Interaction, scattered};
use super::{Bench, BenchError, Only};
use crate::app::release::generate::snomed::{Plan, code};

const SYSTEM: &str = "http://snomed.info/sct";
/// Codes that are asked about in turn.
const CODES: u32 = 20_000;
/// Members of the value set that is expanded, as nearly as there is one: more are not given at once.
const MEMBERS: usize = 10_000;
/// Concepts among which it is looked for.
const CANDIDATES: u32 = 300;

/// A kind of question, and the paths that ask it.
struct Question {
    name: &'static str,
    paths: Vec<String>,
}

pub(super) async fn run(bench: &mut Bench) -> Result<(), BenchError> {
    let plan = Plan::new(bench.args.concepts, bench.args.seed);
    let (questions, size) = questions(&plan, bench.args.concepts);
    bench.report.note(format!("{} concepts; {size} in the expansion", bench.args.concepts));
    let known: Vec<&str> = questions.iter().map(|it| it.name).collect();
    let only = Only::of(&bench.args.only, &known)?;
    let mut connection = Connection::new(&bench.target);
    let probe = connection.send("GET", &questions[0].paths[0], None).await;
    let probe = probe.map_err(BenchError::io(bench.base.clone()))?;
    if !probe.is_success() {
        let reason = probe.describe();
        let hint = "load what `kiln terminology generate snomed` makes first";
        return Err(BenchError::Arguments(format!("{hint}: {reason}")));
    }
    for question in questions.iter().filter(|it| only.wants(it.name)) {
        for count in bench.clients.clone() {
            ask(bench, question, count).await;
        }
    }
    if let Some((now, highest)) = bench.meter.memory() {
        bench.report.note(format!("server memory: {now} MiB, highest {highest} MiB"));
    }
    Ok(())
}

async fn ask(bench: &mut Bench, question: &Question, count: usize) {
    let measured = scattered(bench, &question.paths, count, Interaction::Operation).await;
    bench.report.add(count, question.name, None, &measured, None);
}

/// What is asked, and how many codes the value set has that is expanded.
fn questions(plan: &Plan, concepts: u32) -> (Vec<Question>, usize) {
    let step = (concepts / CODES).max(1) as usize;
    // What is above these is not so much that a search for all below it is refused.
    let codes: Vec<u32> =
        (CANDIDATES..concepts).step_by(step).filter(|at| plan.is_active(*at)).collect();
    let each = |name, path: &dyn Fn(&str, &str) -> String| Question {
        name,
        paths: codes
            .iter()
            .map(|at| {
                let above = plan.parents(*at).first().copied().unwrap_or_default();
                path(&code(*at), &code(above))
            })
            .collect(),
    };
    let sizes = plan.sizes(CANDIDATES);
    let fitting = (0..).zip(&sizes).filter(|(_, size)| **size <= MEMBERS);
    let nearest = fitting.max_by_key(|(_, size)| **size);
    let (top, size) = nearest.map_or((0, 0), |(at, size)| (at, *size));
    let top = code(top);
    let system = escaped(SYSTEM);
    let below = |code: &str| escaped(&format!("{SYSTEM}?fhir_vs=isa/{code}"));
    let one = |name, path: String| Question { name, paths: vec![path] };
    let questions = vec![
        each("$validate-code", &|code, _| {
            format!("/CodeSystem/$validate-code?url={system}&code={code}")
        }),
        each("$lookup", &|code, _| format!("/CodeSystem/$lookup?system={system}&code={code}")),
        each("$subsumes", &|code, above| {
            format!("/CodeSystem/$subsumes?system={system}&codeA={above}&codeB={code}")
        }),
        each("$validate-code in a value set", &|code, _| {
            let set = below(&top);
            format!("/ValueSet/$validate-code?url={set}&system={system}&code={code}")
        }),
        one("$expand, first page", format!("/ValueSet/$expand?url={}&count=100", below(&top))),
        one(
            "$expand with a filter",
            format!("/ValueSet/$expand?url={}&count=100&filter=ba", below(&top)),
        ),
        one("$expand, all", format!("/ValueSet/$expand?url={}", below(&top))),
        each("search :below", &|_, above| {
            format!("/Observation?code:below={system}%7C{above}&_count=20")
        }),
    ];
    (questions, size)
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_set_to_expand_has_about_so_many_codes() {
        let (questions, size) = questions(&Plan::new(60_000, 1), 60_000);
        assert!((MEMBERS / 2..=MEMBERS).contains(&size), "{size}");
        assert!(questions.iter().all(|it| !it.paths.is_empty()));
        let path = &questions[0].paths[0];
        assert!(path.contains("snomed%2Einfo%2Fsct&code="), "{path}");
    }
}
