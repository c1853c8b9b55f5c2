//! PL: where somebody is, as Locations that are part of each other.

use crate::fhir::json::Object;

use super::id::local;
use super::{Args, Context, Json, Rep, coding, list, object, text};

const PHYSICAL: &str = "http://terminology.hl7.org/CodeSystem/location-physical-type";
const BED_STATUS: &str = "http://terminology.hl7.org/CodeSystem/v2-0116";

/// The parts of a PL from the largest to the smallest, with the physical type of each.
const LEVELS: [(usize, &str); 6] =
    [(4, "si"), (7, "bu"), (8, "lvl"), (1, "wa"), (2, "ro"), (3, "bd")];

/// The parts of a PL that have a value, from the largest to the smallest.
fn levels(rep: &Rep<'_>) -> Vec<(usize, &'static str)> {
    LEVELS.into_iter().filter(|(at, _)| rep.some(*at).is_some()).collect()
}

/// A path to a Location as its identifier.
fn known_by(path: &[&str], context: &Context<'_>) -> Object<'static> {
    let system = local(context, "location", "");
    object([("system", text(&system)), ("value", text(&path.join("/")))])
}

/// What sort of place it is.
fn physical(kind: &'static str) -> Object<'static> {
    Object::new().with("coding", vec![coding(PHYSICAL, kind, "")])
}

/// The Identifier of the smallest Location of a PL.
pub fn pl_id(rep: &Rep<'_>, _: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let path: Vec<_> = levels(rep).into_iter().map(|(at, _)| rep.c(at)).collect();
    let path = if path.is_empty() { vec![rep.some(9)?] } else { path };
    Some(known_by(&path, context).into())
}

/// What the smallest Location of a PL is called.
pub fn pl_name(rep: &Rep<'_>, _: &Args<'_>, _: &Context<'_>) -> Option<Json> {
    text(levels(rep).last().map_or(rep.c(9), |(at, _)| rep.c(*at)))
}

/// What sort of place the smallest Location of a PL is.
pub fn pl_kind(rep: &Rep<'_>, _: &Args<'_>, _: &Context<'_>) -> Option<Json> {
    levels(rep).last().map(|(_, kind)| physical(kind).into())
}

/// The Location that the smallest one of a PL is part of.
pub fn pl_around(rep: &Rep<'_>, context: &Context<'_>) -> Option<Object<'static>> {
    let mut around = levels(rep);
    around.pop()?;
    let is_there = |at: usize| around.iter().any(|(own, _)| *own == at);
    let part = |at: usize| if is_there(at) { rep.c(at).to_owned() } else { String::new() };
    pl(&Rep::new((1..=8).map(|at| vec![part(at).into()]).collect()), context)
}

/// A PL as its smallest Location; the larger ones are made with it, and each is part of the next.
///
/// A Location's identifier is the path to it, which only its sender gives a meaning.
pub fn pl(rep: &Rep<'_>, context: &Context<'_>) -> Option<Object<'static>> {
    let mut path = Vec::new();
    let mut above: Option<Json> = None;
    let mut found = None;
    for (at, kind) in levels(rep) {
        if let Some(larger) = found.take() {
            above = context.refer("Location", larger);
        }
        path.push(rep.c(at));
        found = Some(object([
            ("identifier", list(vec![known_by(&path, context).into()])),
            ("name", text(rep.c(at))),
            ("mode", text("instance")),
            ("physicalType", Some(physical(kind).into())),
            ("partOf", above.take()),
        ]));
    }
    let mut found = found.or_else(|| {
        let name = rep.some(9)?;
        let id = known_by(&[name], context).into();
        Some(object([("identifier", list(vec![id])), ("name", text(name))]))
    })?;
    if let Some(description) = text(rep.c(9)) {
        found.set("description", description);
    }
    if let Some(status) = context.tables.target("BedStatus", rep.c(5)) {
        found.set("operationalStatus", coding(BED_STATUS, &status.code, ""));
    }
    if let Some(id) = super::id::ei(&rep.component(10), &super::Args::default(), context)
        && let Some(ids) = found.get_mut("identifier").and_then(|ids| ids.as_array_mut())
    {
        ids.push(id);
    }
    Some(found)
}
