//! Choice, the tree, the time and types: `iif()`, `children()`, `now()`, `type()`, `trace()`.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#utility-functions>, <https://hl7.org/fhirpath/N1/#tree-navigation>

use super::{Call, Function, function, one, optional};
use crate::fhirpath::eval::{Frame, Outcome};
use crate::fhirpath::item::{Item, System, TypeInfo};
use crate::fhirpath::navigate;
use crate::fhirpath::temporal::Temporal;

pub(super) static TABLE: &[Function] = &[
    function("children", 0, 0, |call| {
        let input = call.take_input();
        children(call, &input)
    }),
    function("descendants", 0, 0, descendants),
    function("iif", 2, 3, iif),
    function("now", 0, 0, |call| Ok(one(System::Temporal(now(call)?)))),
    function("timeOfDay", 0, 0, time_of_day),
    function("today", 0, 0, today),
    function("trace", 1, 2, trace),
    function("type", 0, 0, |call| Ok(type_infos(call))),
];

type Items<'v> = Outcome<Vec<Item<'v>>>;

fn children<'v>(call: &mut Call<'_, '_, 'v>, of: &[Item<'v>]) -> Items<'v> {
    let mut out = Vec::new();
    for item in of {
        if let Item::Node(node) = item {
            navigate::children(call.schema(), node, &mut out);
        }
    }
    call.evaluator.spend(out.len(), call.start)?;
    Ok(out)
}

/// Level by level: the children, their children, and so on.
fn descendants<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let input = call.take_input();
    let mut level = children(call, &input)?;
    let mut out = Vec::new();
    while !level.is_empty() {
        let next = children(call, &level)?;
        out.append(&mut level);
        level = next;
    }
    Ok(out)
}

/// Evaluates only the branch that is taken; `$this` is the input.
fn iif<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let arguments = call.arguments;
    let input = call.take_input();
    if input.len() > 1 {
        return call.fail("the function works on one item, not several");
    }
    let frame = Frame { focus: &input, ..call.frame };
    let Some(criterion) = arguments.first() else { return Ok(Vec::new()) };
    let criterion = call.evaluator.single(criterion, frame)?;
    let is_met = match criterion.map(|item| item.system(call.schema())) {
        None => false,
        Some(Some(System::Boolean(value))) => value,
        Some(_) => return call.fail("the criterion of iif() is a boolean"),
    };
    match arguments.get(if is_met { 1 } else { 2 }) {
        Some(branch) => call.evaluator.items(branch, frame),
        None => Ok(Vec::new()),
    }
}

fn now(call: &Call<'_, '_, '_>) -> Outcome<Temporal<'static>> {
    match call.evaluator.environment.now {
        Some(now) => Ok(now),
        None => call.fail("the present moment is not known here"),
    }
}

fn today<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    Ok(optional(now(call)?.to_date().map(System::Temporal)))
}

fn time_of_day<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    Ok(optional(now(call)?.to_time().map(System::Temporal)))
}

/// The type of each item, with its namespace.
fn type_infos<'v>(call: &mut Call<'_, '_, 'v>) -> Vec<Item<'v>> {
    let schema = call.schema();
    let info = |item: Item<'v>| {
        let is_system = matches!(item, Item::Type(_) | Item::Value(_));
        let namespace = if is_system { "System" } else { "FHIR" };
        Item::Type(TypeInfo { namespace, name: item.type_name(schema) })
    };
    call.take_input().into_iter().map(info).collect()
}

/// The input; the projection is evaluated, for its faults.
fn trace<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let input = call.take_input();
    if call.arguments.len() > 1 {
        for (index, item) in input.iter().enumerate() {
            call.project(1, item, index)?;
        }
    }
    Ok(input)
}
