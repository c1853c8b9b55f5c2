//! What is written for a message, by what is stored.
//!
//! Spec: v2 S4, S10, S12, S22, S30 to S33, F5

use std::collections::HashMap;

use super::change::{outdated, prior};
use super::find::Found;
use super::keys::{is_same, keys_of, numbers_of};
use super::lapsed::has_number;
use super::stale::{self, Stale, moves};
use super::supply::supply;
use super::{Applier, Case, Halt};
use crate::fhir::json::{Object, Value};
use crate::fhir::{Identity, VersionId};
use crate::hl7v2::ack::{Condition, Issue};
use crate::hl7v2::effect::visit::{self, Event, Habits};
use crate::hl7v2::effect::{Json, amend, late, person, result};
use crate::hl7v2::heading::Heading;
use crate::hl7v2::map::DraftResource;
use crate::hl7v2::map::site::{Habit, Mode};
use crate::store::hl7v2::{Keyed, Mark, Member, Moved};

/// What is written of one resource.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its name.
    pub(super) identity: Identity,
    /// The version it follows; `None`: it is new.
    pub(super) prior: Option<VersionId>,
    /// `meta` of that version.
    pub(super) meta: Option<Json>,
    /// The resource, without id and meta.
    pub(super) body: Json,
    /// create, update, merge, repoint, end
    pub(super) action: &'static str,
    /// The rule that made it.
    pub(super) rule: String,
}

impl Entry {
    /// The entry of the transaction.
    pub(super) fn value(&self, heading: &Heading) -> Value<'static> {
        let encode = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                .to_string()
        };
        let sender = format!("{}|{}", heading.application, heading.facility);
        self.value_from(format!("urn:v2:{}#{}", encode(&sender), encode(&heading.control_id)))
    }

    /// The same for what comes from `source`.
    pub(super) fn value_from(&self, source: String) -> Value<'static> {
        let Identity { resource_type, id } = &self.identity;
        let mut meta = self.meta.clone().unwrap_or_default();
        meta.remove("versionId");
        meta.remove("lastUpdated");
        meta.set("source", source);
        let mut resource = self.body.clone();
        resource.set("meta", meta);
        let mut request = Object::new();
        match self.prior {
            None => {
                request.set("method", "POST");
                request.set("url", resource_type.to_string());
            }
            Some(prior) => {
                resource.set("id", id.to_string());
                request.set("method", "PUT");
                request.set("url", self.identity.to_string());
                request.set("ifMatch", format!("W/\"{prior}\""));
            }
        }
        resource.set_first("resourceType", resource_type.to_string());
        Value::Object(Object::new().with("resource", resource).with("request", request))
    }
}

/// Two resources that become one, and what that changes.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    /// The one that ends.
    pub(super) source: Identity,
    /// The one that stays.
    pub(super) target: Identity,
    /// References, and what of the two themselves.
    pub(super) moves: Vec<Moved>,
    /// By what the message names the one that ends.
    pub(super) keys: Vec<Keyed>,
}

/// What is written for a message.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) entries: Vec<Entry>,
    pub(super) keys: Vec<Keyed>,
    pub(super) merges: Vec<Joined>,
    pub(super) marks: Vec<Mark>,
    pub(super) told: Vec<Issue>,
    /// Results that came before what they belong to.
    pub(super) waiting: Vec<Member>,
    /// What is not made: there is nothing that a code could leave alone or delete.
    pub(super) unmade: Vec<Identity>,
}

impl Plan {
    /// What the drafts alone ask for.
    pub(super) async fn new(
        applier: &Applier,
        case: &Case<'_>,
        found: &[Found],
    ) -> Result<Self, Halt> {
        let drafts = &case.draft.resources;
        let references: HashMap<&str, String> = drafts
            .iter()
            .zip(found)
            .map(|(draft, found)| (draft.url.as_str(), found.identity.to_string()))
            .collect();
        let mut plan = Self::default();
        let late = applier.late_lists(case, found, &mut plan).await?;
        for (draft, found) in drafts.iter().zip(found) {
            let mut said = Value::Object(draft.body.clone());
            lead(&mut said, &references);
            let Value::Object(said) = said else { continue };
            if draft.rule == "losing-account" {
                // It is known or it is none: nothing is made in order to end it.
                continue;
            }
            let stale = applier.stale(found, case).await?;
            let mut found = found.clone();
            let ending = prior(case, draft);
            if let Some((stored, _)) = found.stored.as_mut().filter(|_| !ending.is_empty()) {
                *stored = outdated(stored, &ending);
            }
            let is_late = draft.mode == Mode::Snapshot && late.have(draft);
            if is_late {
                plan.add_late(draft, &found, &said);
                continue;
            }
            let others = applier.numbers_of_others(draft, &found, &said, case).await?;
            plan.add(draft, &found, &said, (stale, others), case);
        }
        plan.tell_numbers(case, found);
        let has_visit = drafts.iter().any(|draft| draft.rule == "encounter");
        // N: there is no visit, the segment must be there all the same.
        let mut visits = case.message.named("PV1");
        let is_told = visits.any(|visit| visit.field(2).component(1).text() != "N");
        if !has_visit && is_told && case.draft.effect.as_deref() == Some("encounter-event") {
            plan.told.push(told("visit-without-number"));
        }
        Ok(plan)
    }

    /// An entry of a list of which a newer one is stored: what that one lacks has ended.
    fn add_late(&mut self, draft: &DraftResource, found: &Found, said: &Json) {
        self.told.push(told("stale"));
        let id = found.identity.id.to_string();
        self.keys.extend(keys_of(draft).map(|key| Keyed { id: id.clone(), ..key }));
        if found.stored.is_none() {
            let ended = amend::ended(said, &draft.resource_type);
            self.put(found, &ended.unwrap_or_else(|| said.clone()), "create", &draft.name);
        }
    }

    /// By what a resource is found again. A number that another one has is that one's, and one that a patient does
    /// not have, because newer news took it back, is nobody's.
    fn know(&mut self, draft: &DraftResource, (found, now): (&Found, &Json), case: &Case<'_>) {
        let id = found.identity.id.as_str();
        let looked = case.looked();
        let is_any = draft.resource_type != "Patient" || !case.shows_numbers();
        let is_free =
            |key: &Keyed| !looked.known.iter().any(|known| is_same(known, key) && known.id != id);
        let own = keys_of(draft).filter(|key| is_any || has_number(now, key));
        let keys = own.chain(numbers_of(draft).filter(is_free));
        self.keys.extend(keys.map(|key| Keyed { id: id.to_owned(), ..key }));
    }

    fn add(
        &mut self,
        draft: &DraftResource,
        found: &Found,
        said: &Json,
        (stale, others): (Stale, Vec<Value<'static>>),
        case: &Case<'_>,
    ) {
        let is_coded = draft.mode == Mode::ActionCode;
        let action = draft.action.as_deref().filter(|_| is_coded);
        if found.stored.is_none() && matches!(action, Some("D" | "X")) {
            self.unmade.push(found.identity.clone());
            return;
        }
        let stored = found.stored.as_ref().map(|(stored, _)| stored);
        let mut now = match stored {
            Some(stored) if stale.data => filled(stored, said),
            Some(stored) => amend::amended(stored, said, &draft.removed, &draft.parts),
            None => amend::begun(said, &draft.parts),
        };
        person::keep_numbers(&mut now, others);
        supply(&mut now, stored, stale, draft, case);
        self.know(draft, (found, &now), case);
        let is_result = matches!(draft.resource_type.as_str(), "Observation" | "DiagnosticReport");
        if let Some(stored) = stored.filter(|_| is_result && stale::tells_results(case)) {
            let status = now.get("status").and_then(Value::as_str).unwrap_or_default();
            if result::may_follow(stored, status) && stale::is_late(stored, &now, stale) {
                self.told.push(told("stale"));
                // A new result that comes late is one of the report's all the same.
                self.put_results(found, stored, &now, draft);
                return;
            }
        }
        self.mark(&found.identity, stale, case);
        if action == Some("X") {
            return;
        }
        if draft.resource_type == "Encounter" && draft.rule == "encounter" {
            now = self.visit(stored, &now, stale, &event(case, said), case);
        }
        if let Some(stored) = stored.filter(|_| is_result) {
            let Some(followed) = self.follow(found, stored, &now, draft) else { return };
            now = followed;
        }
        if action == Some("D") {
            match stored.and_then(|stored| amend::ended(stored, &draft.resource_type)) {
                Some(ended) => now = ended,
                None => return,
            }
        }
        // Others than those that stand for a value are told apart: `observation 3`.
        let rule = if draft.is_spun_off { &draft.rule } else { &draft.name };
        self.put(found, &now, if stored.is_some() { "update" } else { "create" }, rule);
    }

    /// A result after the stored one. `None`: it is older, and has only its results added to a report.
    fn follow(
        &mut self,
        found: &Found,
        stored: &Json,
        now: &Json,
        draft: &DraftResource,
    ) -> Option<Json> {
        let (followed, names) = result::followed(stored, now.clone(), false);
        self.told.extend(names.into_iter().map(told));
        if followed.is_none() {
            self.put_results(found, stored, now, draft);
        }
        // Results that the message does not tell of again are the report's as before.
        let all = stale::results_of(stored, now);
        followed.map(|followed| stale::with_results(followed, all))
    }

    /// Adds the results of a message to a stored report that stays as it is otherwise.
    fn put_results(&mut self, found: &Found, stored: &Json, now: &Json, draft: &DraftResource) {
        let kept = stale::with_results(stored.clone(), stale::results_of(stored, now));
        if kept != *stored {
            self.put(found, &kept, "update", &draft.name);
        }
    }

    /// Notes how new what a message tells of a resource is, or that it is news no longer.
    fn mark(&mut self, identity: &Identity, stale: Stale, case: &Case<'_>) {
        for (aspect, is_stale) in stale.of(identity.resource_type, case) {
            if aspect == "sent" && is_stale {
                // Its own time says that it is new.
            } else if is_stale {
                self.told.push(told("stale"));
            } else {
                let (resource_type, id) =
                    (identity.resource_type.to_string(), identity.id.to_string());
                self.marks.push(Mark { resource_type, id, aspect: aspect.to_owned(), at: case.at });
            }
        }
    }

    /// A visit after an event.
    fn visit(
        &mut self,
        stored: Option<&Json>,
        now: &Json,
        stale: Stale,
        event: &Event<'_>,
        case: &Case<'_>,
    ) -> Json {
        let is_late = if moves(case) { stale.movement.is_some() } else { stale.data };
        if let Some(stored) = stored.filter(|_| is_late) {
            let until = stale.movement.map(|at| at.to_string());
            return visit::with_state(now, Some(&late::placed(stored, event, until.as_deref())));
        }
        let (visit, names) = visit::advanced(stored, now, event);
        self.told.extend(names.into_iter().map(told));
        visit
    }

    /// Stops at a step that cannot follow what a visit is, where the sender's profile wants that.
    pub(super) fn refuse_unexpected(&self, case: &Case<'_>) -> Result<(), Halt> {
        let name = "unexpected-transition";
        let is_told = self.told.iter().any(|issue| issue.name == name);
        if is_told && case.maps.site().has(Habit::RefusesTransitions) {
            return Err(Halt::Failed(Issue::error(Condition::ApplicationError).named(name)));
        }
        Ok(())
    }

    /// Has a resource written as `body` says, unless that is what is stored.
    pub(super) fn put(&mut self, found: &Found, body: &Json, action: &'static str, rule: &str) {
        let stored = found.stored.as_ref();
        let meta = stored.and_then(|(stored, _)| stored.get("meta")).and_then(Value::as_object);
        let body = bare(body);
        self.entries.retain(|other| other.identity != found.identity);
        // A message that says what is known makes no version.
        if stored.is_some_and(|(stored, _)| bare(stored) == body) {
            return;
        }
        self.entries.push(Entry {
            identity: found.identity.clone(),
            prior: stored.map(|(_, version)| *version),
            meta: meta.cloned(),
            body,
            action,
            rule: rule.to_owned(),
        });
    }

    /// Says each thing once.
    pub(super) fn settle(&mut self) {
        let mut seen = Vec::new();
        self.told.retain(|issue| {
            let is_new = !seen.contains(issue);
            seen.push(issue.clone());
            is_new
        });
        let mut keys: Vec<Keyed> = Vec::new();
        for key in self.keys.drain(..) {
            if !keys.iter().any(|known| is_same(known, &key)) {
                keys.push(key);
            }
        }
        self.keys = keys;
        let mut marks: Vec<Mark> = Vec::new();
        for mark in self.marks.drain(..) {
            if !marks.iter().any(|known| known.id == mark.id && known.aspect == mark.aspect) {
                marks.push(mark);
            }
        }
        self.marks = marks;
    }
}

/// A resource without what only the server writes.
pub(super) fn bare(resource: &Json) -> Json {
    let mut body = resource.clone();
    for name in ["resourceType", "id", "meta", "text"] {
        body.remove(name);
    }
    body
}

pub(super) fn told(name: &'static str) -> Issue {
    Issue::warning(Condition::ApplicationError).named(name)
}

/// What is stored, with what it lacks: numbers too of authorities of which it has none.
fn filled(stored: &Json, said: &Json) -> Json {
    let mut now = bare(stored);
    person::add_numbers(&mut now, said);
    for (name, value) in said.iter() {
        if !amend::has_element(&now, name) {
            now.set(name.to_owned(), value.clone());
        }
    }
    now
}

/// Has references to drafts lead to resources.
fn lead(value: &mut Value<'static>, references: &HashMap<&str, String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| lead(item, references)),
        Value::Object(object) => {
            for (name, value) in object.iter_mut() {
                let target = match value.as_str() {
                    Some(url) if name == "reference" => references.get(url),
                    _ => None,
                };
                match target {
                    Some(target) => *value = Value::from(target.clone()),
                    None => lead(value, references),
                }
            }
        }
        _ => {}
    }
}

/// What happened to a visit. Messages about other things tell of no event.
fn event<'a>(case: &'a Case<'_>, said: &'a Json) -> Event<'a> {
    let is_event = case.draft.effect.as_deref() == Some("encounter-event");
    let places = said.get("location").and_then(Value::as_array).unwrap_or_default();
    let place = |statuses: &[&str]| {
        let found =
            places.iter().find(|one| one.str_at("status").is_some_and(|it| statuses.contains(&it)));
        found.and_then(|one| one.get("location")).and_then(Value::as_object).cloned()
    };
    let period = |name: &str| said.get("period").and_then(|period| period.str_at(name));
    Event {
        name: if is_event { case.draft.event.1.as_str() } else { "" },
        at: &case.at_text,
        begun: period("start"),
        ended: period("end"),
        place: place(&["active", "planned"]),
        prior: place(&["completed"]),
        kept: place(&["reserved"]),
        habits: Habits {
            registers_arrivals: case.maps.site().has(Habit::RegistersArrivals),
            ends_by_data: case.maps.site().has(Habit::EndsByData),
        },
    }
}
