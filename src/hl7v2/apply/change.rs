//! Accounts and visits that become one, things that belong to another patient, numbers that change,
//! documents that others replace.
//!
//! | event | what MRG says |
//! |---|---|
//! | A35, A41 | the account that ends: all of it goes to that of PID-18 |
//! | A42 | the visit that ends: all of it goes to that of PV1-19 |
//! | A43 | the patient whose record was another's |
//! | A44 | the patient whose account it was |
//! | A45 | the patient whose visit it was |
//! | A46 to A51 | the number of before, which stays known as an old one |
//!
//! Spec: v2 merge family, S40

use super::find::Found;
use super::keys::{keyed, keys_of};
use super::merge::{given, key, nameless};
use super::pairs::pairs;
use super::plan::{Plan, told};
use super::{Applier, Case, Halt, internal};
use crate::engine::SearchTarget;
use crate::fhir::json::Value;
use crate::fhir::{Identity, ResourceType};
use crate::hl7v2::effect::{Json, person};
use crate::hl7v2::er7::{Part, Segment};
use crate::hl7v2::map::DraftResource;
use crate::hl7v2::types::{Context, Rep, id};
use crate::store::hl7v2::Keyed;

/// Event, the rule of what has a new number, and the field of MRG with that of before.
const CHANGES: &[(&str, &str, u16)] = &[
    ("A46", "patient", 4),
    ("A47", "patient", 1),
    ("A48", "patient", 2),
    ("A49", "account", 3),
    ("A50", "encounter", 5),
    ("A51", "encounter", 6),
];

/// The number of before of a draft, by which it is found when its own is not known.
pub(super) fn prior(case: &Case<'_>, draft: &DraftResource) -> Vec<Keyed> {
    let event = case.draft.event.1.as_str();
    let change = CHANGES.iter().find(|(name, rule, _)| *name == event && *rule == draft.rule);
    let Some((_, _, field)) = change else { return Vec::new() };
    let of_rule = case.draft.resources.iter().filter(|one| one.rule == draft.rule);
    let is_alone = of_rule.count() == 1;
    let all = pairs(case.message);
    let pair = all.iter().find(|pair| is_alone || pair.names(draft, case));
    let Some(pair) = pair else { return Vec::new() };
    let parts = pair.merge.field(*field).repetitions();
    parts.filter_map(|part| key(part, case, &draft.resource_type)).collect()
}

/// What is stored, with the numbers that end as old ones.
pub(super) fn outdated(stored: &Json, ending: &[Keyed]) -> Json {
    let mut stored = stored.clone();
    if let Some(Value::Array(identifiers)) = stored.get_mut("identifier") {
        for identifier in identifiers.iter_mut().filter_map(Value::as_object_mut) {
            let is_it = |key: &Keyed| {
                let text = |name| identifier.get(name).and_then(Value::as_str);
                text("system") == Some(&*key.system) && text("value") == Some(&*key.value)
            };
            if ending.iter().any(is_it) {
                identifier.set("use", "old");
            }
        }
    }
    stored
}

impl Applier {
    /// Accounts and visits that become one, and what belongs to another patient.
    pub(super) async fn rearrange(
        &self,
        case: &Case<'_>,
        found: &[Found],
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        let event = case.draft.event.1.as_str();
        let rule = match event {
            "A35" | "A41" | "A44" => "account",
            "A42" | "A45" => "encounter",
            "A43" => "patient",
            _ => return Ok(()),
        };
        for pair in pairs(case.message) {
            let of = |rule| pair.target(rule, case, found).ok_or_else(|| nameless(&pair));
            let (merge, target) = (pair.merge, of(rule)?);
            match event {
                "A35" | "A41" => self.end_one(case, (merge, 3), target, plan).await?,
                "A42" => self.end_one(case, (merge, 5), target, plan).await?,
                _ => self.move_one(case, merge, (target, of("patient")?), plan).await?,
            }
        }
        Ok(())
    }

    /// Has another account or visit end: what belonged to it belongs to `target`.
    async fn end_one(
        &self,
        case: &Case<'_>,
        (merge, field): (Segment<'_>, u16),
        target: &Found,
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        let of = target.identity.resource_type;
        let Some(source) = self.known(case, merge, field, of).await? else {
            plan.told.push(told("nothing-to-merge"));
            return Ok(());
        };
        let Some((stored, _)) =
            source.stored.as_ref().filter(|_| source.identity != target.identity)
        else {
            return Ok(());
        };
        let own = plan.body_of(&source);
        let mut gone = own.clone();
        gone.set(
            "status",
            if of.to_string() == "Account" { "inactive" } else { "entered-in-error" },
        );
        plan.put(&source, &gone, "merge", "effect merge");
        let before = plan.body_of(target);
        let kept = person::with_old_identifiers(&own, &before);
        let action = if target.stored.is_some() { "merge" } else { "create" };
        plan.put(target, &kept, action, "effect merge");
        let was = stored.get("status").and_then(Value::as_str).unwrap_or("unknown");
        let moves = given((&source, &format!("status:{was}")), (target, &before, &kept));
        self.join(case, &source, target, (moves, Vec::new()), plan).await
    }

    /// What belonged to the patient of MRG-1 belongs to `patient`: all, or an account, or a visit.
    async fn move_one(
        &self,
        case: &Case<'_>,
        merge: Segment<'_>,
        (what, patient): (&Found, &Found),
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        let Some(source) = self.known(case, merge, 1, ResourceType::PATIENT).await? else {
            plan.told.push(told("nothing-to-move"));
            return Ok(());
        };
        if source.identity == patient.identity {
            return Ok(());
        }
        let (from, to) = (source.identity.to_string(), patient.identity.to_string());
        let whose = if what.identity == patient.identity { &source } else { what };
        let mut all = belongings(&whose.identity);
        if whose.identity.resource_type.to_string() == "Account" {
            for (of, query) in all.clone() {
                all.extend(self.visits(&of, &query, case).await?);
            }
        }
        // It is done whole or not at all: nothing is kept of it by which it could go on.
        let most = self.most_moved.saturating_add(1);
        for (of, query) in all {
            self.repoint(case, &of, &query, (&from, &to, most), plan).await?;
        }
        if plan.entries.len() > self.most_moved {
            return Err(Halt::Failed(internal("too-much-to-move").at(merge.field(1).place())));
        }
        Ok(())
    }

    /// Where what belongs to the visits of an account is found: it goes with them.
    async fn visits(
        &self,
        of: &SearchTarget,
        query: &str,
        case: &Case<'_>,
    ) -> Result<Vec<(SearchTarget, String)>, Halt> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let (page, next) =
                self.leading(of, query, cursor.as_deref(), ("", ""), case.caller).await?;
            let visits = page.into_iter().map(|found| found.identity);
            let visits = visits.filter(|it| it.resource_type.to_string() == "Encounter");
            all.extend(visits.map(|visit| (within(visit), String::new())));
            cursor = next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Has a document that another one replaces say so (T09, T10).
    pub(super) async fn supersede(&self, case: &Case<'_>, plan: &mut Plan) -> Result<(), Halt> {
        if !matches!(case.draft.event.1.as_str(), "T09" | "T10") {
            return Ok(());
        }
        let parents = case.message.named("TXA").map(|segment| segment.field(13));
        let keys: Vec<_> = parents.filter_map(|part| entity_key(part, case)).collect();
        for known in self.store.message_keys(&keys).await? {
            let (Ok(of), Ok(id)) = (known.resource_type.parse(), known.id.parse()) else {
                continue;
            };
            let identity = Identity { resource_type: of, id };
            if let Some(found) = self.current(identity, case).await? {
                let mut body = plan.body_of(&found);
                body.set("status", "superseded");
                plan.put(&found, &body, "update", "effect document");
            }
        }
        Ok(())
    }

    /// The stored resource that a field of MRG names.
    pub(super) async fn known(
        &self,
        case: &Case<'_>,
        merge: Segment<'_>,
        field: u16,
        of: ResourceType,
    ) -> Result<Option<Found>, Halt> {
        let parts = merge.field(field).repetitions();
        let name = of.to_string();
        let keys: Vec<_> = parts.filter_map(|part| key(part, case, &name)).collect();
        Ok(self.known_by(of, &keys, case).await?.into_iter().next())
    }
}

/// Where what belongs to a patient, a visit or an account is found.
pub(super) fn belongings(whose: &Identity) -> Vec<(SearchTarget, String)> {
    if whose.resource_type.to_string() == "Account" {
        let id = &whose.id;
        let types = ["Encounter", "ChargeItem"].into_iter().filter_map(|name| name.parse().ok());
        let query = format!("account=Account/{id}");
        return types.map(|of| (SearchTarget::Type(of), query.clone())).collect();
    }
    vec![(within(whose.clone()), String::new())]
}

fn within(Identity { resource_type, id }: Identity) -> SearchTarget {
    SearchTarget::Compartment { code: resource_type, id, resource_type: None }
}

impl Plan {
    /// What is planned for a resource, else what is stored of it.
    pub(super) fn body_of(&self, found: &Found) -> Json {
        let planned = self.entries.iter().find(|entry| entry.identity == found.identity);
        let planned = planned.map(|entry| entry.body.clone());
        let stored = || found.stored.as_ref().map(|(stored, _)| stored.clone());
        planned.or_else(stored).unwrap_or_default()
    }
}

/// The keys of a draft with those of before.
pub(super) fn all_keys(case: &Case<'_>, draft: &DraftResource) -> Vec<Keyed> {
    keys_of(draft).chain(prior(case, draft)).collect()
}

/// The key of a document by its EI.
fn entity_key(part: Part<'_>, case: &Case<'_>) -> Option<Keyed> {
    let rep = Rep::of_part(part);
    let value = rep.some(1)?.to_owned();
    let authority = Rep::new((2..5).map(|at| vec![rep.c(at).to_owned().into()]).collect());
    let maps = case.maps;
    let context = Context::new(maps.site(), maps.tables(), &case.sender(), "");
    let system = id::authority(&authority, &context).system;
    Some(keyed("DocumentReference", system, value))
}
