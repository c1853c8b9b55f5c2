//! Conversion, choice and the tree: `toString()`, `iif()`, `children()`, `trace()`.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#conversion>, <https://hl7.org/fhirpath/N1/#tree-navigation>

use super::{Call, Function, function, one};
use crate::fhirpath::eval::{Frame, Outcome};
use crate::fhirpath::item::Item;
use crate::fhirpath::navigate;

pub(super) static TABLE: &[Function] = &[
    function("children", 0, 0, |call| {
        let input = call.take_input();
        children(call, &input)
    }),
    function("descendants", 0, 0, descendants),
    function("iif", 2, 3, iif),
    function("toString", 0, 0, to_string),
    function("trace", 1, 2, |call| Ok(call.take_input())),
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
    let frame = Frame { focus: &input, ..call.frame };
    let Some(criterion) = arguments.first() else { return Ok(Vec::new()) };
    let taken = call.evaluator.condition(criterion, frame)?.unwrap_or(false);
    match arguments.get(if taken { 1 } else { 2 }) {
        Some(branch) => call.evaluator.items(branch, frame),
        None => Ok(Vec::new()),
    }
}

fn to_string<'v>(call: &mut Call<'_, '_, 'v>) -> Items<'v> {
    let Some(item) = call.single_input()? else { return Ok(Vec::new()) };
    Ok(item.system(call.schema()).map(|value| one(value.to_text())).unwrap_or_default())
}
