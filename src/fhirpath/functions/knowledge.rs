//! What the caller's knowledge answers: `memberOf()`, `subsumes()`, `conformsTo()`, `htmlChecks()`.
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpath.html#functions>

use super::{Call, Function, function, optional};
use crate::fhirpath::environment::Cause;
use crate::fhirpath::eval::{Fault, Outcome};
use crate::fhirpath::item::{Item, System};
use crate::fhirpath::knowledge::{Answer, Ignorance, Knowledge};

pub(super) static TABLE: &[Function] = &[
    function("conformsTo", 1, 1, |call| named(call, |it, item, url| it.conforms_to(item, url))),
    function("htmlChecks", 0, 0, html_checks),
    function("memberOf", 1, 1, |call| named(call, |it, item, url| it.member_of(item, url))),
    function("subsumedBy", 1, 1, |call| {
        subsumption(call, |it, item, other| it.subsumes(other, item))
    }),
    function("subsumes", 1, 1, |call| {
        subsumption(call, |it, item, other| it.subsumes(item, other))
    }),
];

type Items<'v> = Outcome<Vec<Item<'v>>>;

fn knowledge<'v>(call: &Call<'_, '_, 'v>) -> Outcome<&'v dyn Knowledge> {
    call.evaluator.environment.knowledge.ok_or_else(|| unsupported(call))
}

fn unsupported(call: &Call<'_, '_, '_>) -> Fault {
    let reason = format!("the function {}() is not supported here", call.name).into();
    Fault { cause: Cause::Unsupported, reason, start: call.start }
}

fn told<'v>(call: &Call<'_, '_, 'v>, answer: Answer) -> Items<'v> {
    match answer {
        Ok(answer) => Ok(optional(answer)),
        Err(Ignorance::Unsupported) => Err(unsupported(call)),
        Err(Ignorance::Unknown(address)) => call.fail(format!("{address} is not known")),
        Err(Ignorance::Untold(reason)) => call.fail(reason),
    }
}

/// A question about the one item of the input and the address in the argument.
fn named<'v>(
    call: &mut Call<'_, '_, 'v>,
    ask: fn(&dyn Knowledge, &Item<'v>, &str) -> Answer,
) -> Items<'v> {
    let knowledge = knowledge(call)?;
    let Some(item) = call.single_input()? else { return Ok(Vec::new()) };
    let Some(address) = call.text_argument(0)? else { return Ok(Vec::new()) };
    told(call, ask(knowledge, &item, &address))
}

fn subsumption<'v>(
    call: &mut Call<'_, '_, 'v>,
    ask: fn(&dyn Knowledge, &Item<'v>, &Item<'v>) -> Answer,
) -> Items<'v> {
    let knowledge = knowledge(call)?;
    let Some(item) = call.single_input()? else { return Ok(Vec::new()) };
    let mut other = call.argument(0)?;
    if other.len() > 1 {
        return call.fail("an argument has several items where one is expected");
    }
    let Some(other) = other.pop() else { return Ok(Vec::new()) };
    told(call, ask(knowledge, &item, &other))
}

fn html_checks<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let knowledge = knowledge(call)?;
    let Some(item) = call.single_input()? else { return Ok(Vec::new()) };
    match item.system(call.schema()) {
        Some(System::String(text)) => told(call, knowledge.html_checks(&text)),
        _ => call.fail("the function works on a narrative"),
    }
}
