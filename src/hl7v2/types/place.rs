//! PL: where somebody is, as Locations that are part of each other.

use crate::fhir::json::Object;

use super::id::local;
use super::{Context, Json, Rep, coding, list, object, text};

const PHYSICAL: &str = "http://terminology.hl7.org/CodeSystem/location-physical-type";
const BED_STATUS: &str = "http://terminology.hl7.org/CodeSystem/v2-0116";

/// The parts of a PL from the largest to the smallest, with the physical type of each.
const LEVELS: [(usize, &str); 6] =
    [(4, "si"), (7, "bu"), (8, "lvl"), (1, "wa"), (2, "ro"), (3, "bd")];

/// A PL as its smallest Location; the larger ones are made with it, and each is part of the next.
///
/// A Location's identifier is the path to it, which only its sender gives a meaning.
pub fn pl(rep: &Rep<'_>, context: &Context<'_>) -> Option<Object<'static>> {
    let levels: Vec<_> = LEVELS.into_iter().filter(|(at, _)| rep.some(*at).is_some()).collect();
    let system = local(context, "location", "");
    let mut path = Vec::new();
    let mut above: Option<Json> = None;
    let mut found = None;
    for (at, physical) in levels {
        if let Some(larger) = found.take() {
            above = context.refer("Location", larger);
        }
        path.push(rep.c(at));
        let id = object([("system", text(&system)), ("value", text(&path.join("/")))]);
        let kind = Object::new().with("coding", vec![coding(PHYSICAL, physical, "")]);
        found = Some(object([
            ("identifier", list(vec![id.into()])),
            ("name", text(rep.c(at))),
            ("mode", text("instance")),
            ("physicalType", Some(kind.into())),
            ("partOf", above.take()),
        ]));
    }
    let mut found = found.or_else(|| {
        let id = object([("system", text(&system)), ("value", text(rep.c(9)))]);
        let id = rep.some(9).map(|_| Json::from(id));
        rep.some(9).map(|name| {
            object([("identifier", list(id.into_iter().collect())), ("name", text(name))])
        })
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
