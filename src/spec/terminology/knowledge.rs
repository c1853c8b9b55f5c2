//! What FHIRPath's `memberOf()`, `subsumes()` and `subsumedBy()` ask, answered by a [`Terminology`].
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpath.html#functions>

use crate::fhir::json::Value;
use crate::fhirpath::{Answer, Ignorance, Item, System};

use super::{Contains, Terminology, TerminologyFault};

/// Most ancestors of a code that are looked through.
const MOST_ANCESTORS: usize = 10_000;

/// A code as an item has it.
type Code<'i> = (Option<&'i str>, &'i str);

/// Whether the code, Coding or CodeableConcept is in the value set; of a concept one code is
/// enough. Nothing is told of other items, nor where too little of a system is known.
///
/// # Errors
/// [`Ignorance::Unknown`] for a value set that is not known or cannot be understood.
pub fn member_of(terminology: &dyn Terminology, item: &Item<'_>, value_set: &str) -> Answer {
    let codes = codes(item);
    let mut is_told = !codes.is_empty();
    for (system, code) in codes {
        match terminology.contains(value_set, system, code) {
            Ok(Contains::Yes) => return Ok(Some(true)),
            Ok(Contains::No) => {}
            Ok(Contains::Untold(_)) => is_told = false,
            Err(fault) => return Err(unknown(fault)),
        }
    }
    Ok(is_told.then_some(false))
}

/// Whether a code of the first item is one of the second, or above it in the hierarchy of their
/// system. Nothing is told of codes without a system.
///
/// # Errors
/// [`Ignorance::Unknown`] for a code system that is not known.
pub fn subsumes(terminology: &dyn Terminology, ancestor: &Item<'_>, code: &Item<'_>) -> Answer {
    let mut is_told = false;
    for (system, code) in codes(code) {
        let Some(system) = system else { continue };
        for (_, ancestor) in codes(ancestor).into_iter().filter(|it| it.0 == Some(system)) {
            let above = terminology.subsumed(system, code, false, MOST_ANCESTORS);
            if above.map_err(unknown)?.iter().any(|it| **it == *ancestor) {
                return Ok(Some(true));
            }
        }
        is_told = true;
    }
    Ok((is_told && !codes(ancestor).is_empty()).then_some(false))
}

fn unknown(fault: TerminologyFault) -> Ignorance {
    Ignorance::Unknown(match fault {
        TerminologyFault::UnknownSystem(url) | TerminologyFault::UnknownValueSet(url) => url,
        other => other.to_string(),
    })
}

/// The codes of an item: of a `code`, of a Coding, of a CodeableConcept.
fn codes<'i>(item: &'i Item<'_>) -> Vec<Code<'i>> {
    match item {
        Item::Value(System::String(text)) => vec![(None, &**text)],
        Item::Node(node) => match node.value {
            Value::String(text) => vec![(None, &**text)],
            value @ Value::Object(_) => match value.items_at("coding") {
                [] => coding(value).into_iter().collect(),
                codings => codings.iter().filter_map(coding).collect(),
            },
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn coding<'i>(value: &'i Value<'_>) -> Option<Code<'i>> {
    Some((value.str_at("system"), value.str_at("code")?))
}
