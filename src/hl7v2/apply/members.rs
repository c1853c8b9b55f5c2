//! Results that belong to another: susceptibilities of an isolate, tests that a test led to.
//!
//! A result is a place in an order: filler number, code and sub-id. An order that names a place as its
//! parent (OBR-29, OBR-26) makes its results members of what stands there, whichever comes first.
//!
//! Spec: v2 S34, B28

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::find::Found;
use super::keys::bounded;
use super::plan::Plan;
use super::{Applier, Case, Halt};
use crate::fhir::json::Value;
use crate::fhir::{Identity, LogicalId, ResourceType};
use crate::hl7v2::effect::Json;
use crate::hl7v2::er7::{Part, Segment};
use crate::store::hl7v2::{Keyed, Member};

/// The system of places, in keys.
const PLACE: &str = "urn:kiln:v2-result";

/// Where a result stands in its order, and whose members the results of an order are.
#[derive(Default)]
struct Places<'f> {
    /// The results that others can belong to.
    parents: BTreeMap<String, &'f Found>,
    /// The place of a parent, and a result that belongs to it.
    members: Vec<(String, &'f Found)>,
}

impl Applier {
    /// Makes results members of those they belong to.
    pub(super) async fn gather(
        &self,
        case: &Case<'_>,
        found: &[Found],
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        let places = places(case, found);
        let looked = case.looked();
        let held = looked.known.iter().filter(|known| known.system == PLACE);
        let held: HashMap<_, _> =
            held.map(|known| (known.value.as_str(), known.id.as_str())).collect();
        let own = places.parents.iter().map(|(place, found)| (place, found.identity.id.as_str()));
        // Another panel of the same number may have a result of the same code: the first stands there.
        let free = own.filter(|(place, id)| held.get(place.as_str()).is_none_or(|held| held == id));
        plan.keys.extend(free.map(|(place, id)| keyed(place, id)));
        let elsewhere: Vec<_> = places
            .members
            .iter()
            .filter(|(place, _)| !places.parents.contains_key(place))
            .map(|(place, _)| keyed(place, ""))
            .collect();
        let known = if elsewhere.is_empty() {
            Vec::new()
        } else {
            self.store.message_keys(&elsewhere).await?
        };
        for (place, member) in &places.members {
            let member = member.identity.to_string();
            if let Some(parent) = places.parents.get(place) {
                plan.add_member(parent, &member);
            } else if let Some(parent) = known.iter().find(|known| known.value == *place) {
                if let Some(parent) = self.observation(&parent.id, case).await? {
                    plan.add_member(&parent, &member);
                }
            } else {
                plan.waiting.push(Member { place: place.clone(), member });
            }
        }
        self.gather_waiting(&places, plan, case).await
    }

    /// Those that came before what they belong to. The look vouches for the patients that it saw; what waits for
    /// results of others is read after their lines were.
    async fn gather_waiting(
        &self,
        places: &Places<'_>,
        plan: &mut Plan,
        case: &Case<'_>,
    ) -> Result<(), Halt> {
        let new = places.parents.iter().filter(|(_, parent)| parent.stored.is_none());
        let new: Vec<_> = new.map(|(place, _)| place.as_str()).collect();
        if new.is_empty() {
            return Ok(());
        }
        let looked = case.looked();
        let is_seen = |id: &String| looked.lines.iter().any(|(seen, _)| seen == id);
        let mut waiting = if case.lines().keys().all(is_seen) {
            looked.waiting.clone()
        } else {
            self.store.waiting_members(&new).await?
        };
        waiting.sort_unstable_by(|one, other| {
            (&one.place, &one.member).cmp(&(&other.place, &other.member))
        });
        for Member { place, member } in waiting {
            let parent = places.parents.get(&place).filter(|parent| parent.stored.is_none());
            if let Some(parent) = parent {
                plan.add_member(parent, &member);
            }
        }
        Ok(())
    }

    async fn observation(&self, id: &str, case: &Case<'_>) -> Result<Option<Found>, Halt> {
        let (Ok(of), Ok(id)) = ("Observation".parse::<ResourceType>(), id.parse::<LogicalId>())
        else {
            return Ok(None);
        };
        self.current(Identity { resource_type: of, id }, case).await
    }
}

impl Plan {
    /// Has a result name a member, once.
    fn add_member(&mut self, parent: &Found, member: &str) {
        let planned = self.entries.iter().find(|entry| entry.identity == parent.identity);
        let body = planned.map(|entry| (entry.body.clone(), entry.action, entry.rule.clone()));
        let stored = || parent.stored.as_ref().map(|(stored, _)| stored.clone());
        let (mut body, action, rule) = body.unwrap_or_else(|| {
            (stored().unwrap_or_default(), "update", "effect members".to_owned())
        });
        let mut members: Vec<Value<'static>> =
            body.get("hasMember").and_then(Value::as_array).map(<[_]>::to_vec).unwrap_or_default();
        if members.iter().any(|one| one.str_at("reference") == Some(member)) {
            return;
        }
        members.push(Value::Object(Json::new().with("reference", member.to_owned())));
        body.set("hasMember", members);
        self.put(parent, &body, action, &rule);
    }
}

/// A place as a key.
pub(super) fn keyed(place: &str, id: &str) -> Keyed {
    Keyed {
        resource_type: "Observation".to_owned(),
        system: PLACE.to_owned(),
        value: place.to_owned(),
        id: id.to_owned(),
    }
}

/// Where the results of a message stand that others may have come before which belong to them.
pub(super) fn places_of_results(case: &Case<'_>) -> Vec<String> {
    if case.draft.effect.as_deref() != Some("results") {
        return Vec::new();
    }
    let sender = case.sender();
    let mut places = BTreeSet::new();
    let mut order: Option<Segment<'_>> = None;
    for segment in case.message.segments() {
        if segment.is("OBR") {
            order = Some(segment);
        }
        let place = order.filter(|_| segment.is("OBX")).and_then(|order| own(order, segment));
        places.extend(place.map(|place| of_sender(&sender, &place)));
    }
    places.into_iter().collect()
}

/// A place in the orders of a sender.
fn of_sender(sender: &str, place: &str) -> String {
    bounded(format!("{sender}\u{1F}{place}"))
}

/// The places of a message's results.
fn places<'f>(case: &Case<'_>, found: &'f [Found]) -> Places<'f> {
    let mut places = Places::default();
    let sender = case.sender();
    let mut order: Option<Segment<'_>> = None;
    for segment in case.message.segments() {
        if segment.is("OBR") {
            order = Some(segment);
        }
        let (true, Some(order)) = (segment.is("OBX"), order) else { continue };
        let is_own = |(draft, _): &(&crate::hl7v2::map::DraftResource, &Found)| {
            draft.rule == "observation" && draft.at == segment.position()
        };
        let mut drafts = case.draft.resources.iter().zip(found);
        let Some((_, found)) = drafts.find(is_own) else { continue };
        if let Some(place) = parent(order) {
            places.members.push((of_sender(&sender, &place), found));
        }
        if let Some(place) = own(order, segment) {
            places.parents.insert(of_sender(&sender, &place), found);
        }
    }
    places
}

/// The place of a result, where something may belong to it: it has a sub-id, or a code for its value.
fn own(order: Segment<'_>, result: Segment<'_>) -> Option<String> {
    let is_coded = matches!(&*result.field(2).text(), "CE" | "CWE" | "CNE" | "CF");
    let sub = result.field(4).text();
    if !is_coded && sub.is_empty() {
        return None;
    }
    let number = order.field(3).component(1).valued().or(order.field(2).component(1).valued())?;
    place(&number, result.field(3).component(1), &sub)
}

/// The place that an order names as its parent.
fn parent(order: Segment<'_>) -> Option<String> {
    let of = order.field(29);
    let part = |number| of.component(number).subcomponent(1).valued();
    let number = part(2).or_else(|| part(1))?;
    let result = order.field(26);
    place(&number, result.component(1).subcomponent(1), &result.component(2).text())
}

fn place(number: &str, code: Part<'_>, sub: &str) -> Option<String> {
    let code = code.valued()?;
    Some(format!("{number}\u{1F}{code}\u{1F}{sub}"))
}
