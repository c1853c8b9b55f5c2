//! Patients that become one, or belong together.
//!
//! Spec: v2 merge family, B18 to B20

use super::find::Found;
use super::pairs::{Pair, pairs};
use super::plan::{Plan, told};
use super::{Applier, Case, Halt};
use crate::engine::SearchTarget;
use crate::fhir::json::{Value, parse};
use crate::fhir::query::Query;
use crate::fhir::{LogicalId, ResourceType};
use crate::hl7v2::ack::{Condition, Issue};
use crate::hl7v2::effect::person;
use crate::hl7v2::er7::{Part, Segment};
use crate::hl7v2::map::DraftResource;
use crate::hl7v2::types::{Context, Rep, id};
use crate::store::hl7v2::Keyed;

/// The events by which one patient replaces another.
const MERGES: &[&str] = &["A18", "A30", "A34", "A36", "A39", "A40"];
/// Most pages of what a patient has.
const MOST_PAGES: usize = 50;

impl Applier {
    /// Merges the patients of each MRG into that of the PID before it: all or nothing.
    pub(super) async fn merge(
        &self,
        case: &Case<'_>,
        found: &[Found],
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        if !MERGES.contains(&case.draft.event.1.as_str()) {
            return Ok(());
        }
        for pair in pairs(case.message) {
            let target = pair.target("patient", case, found).ok_or_else(|| nameless(&pair))?;
            self.merge_one(case, pair.merge, target, plan).await?;
        }
        Ok(())
    }

    async fn merge_one(
        &self,
        case: &Case<'_>,
        segment: Segment<'_>,
        target: &Found,
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        let field = segment.field(1);
        let unknown = || Issue::error(Condition::UnknownKey).at(field.place());
        let parts = field.repetitions();
        let keys: Vec<_> = parts.filter_map(|part| key(part, case, "Patient")).collect();
        let ids = self.ids_of(ResourceType::PATIENT, &keys, case).await?;
        let mut sources: Vec<Found> = Vec::new();
        for id in ids {
            let Ok(id) = id.parse::<LogicalId>() else { continue };
            let identity = crate::fhir::Identity { resource_type: ResourceType::PATIENT, id };
            if let Some(source) = self.current(identity, case).await?
                && !sources.iter().any(|other| other.identity == source.identity)
            {
                sources.push(source);
            }
        }
        let source = match sources.as_slice() {
            [] => return Err(Halt::Failed(unknown().named("unknown-patient"))),
            [one] => one,
            _ => return Err(Halt::Failed(unknown().named("identity-conflict"))),
        };
        if source.identity == target.identity {
            // It was merged before.
            return Ok(());
        }
        let ids = (source.identity.id.to_string(), target.identity.id.to_string());
        let Some((stored, _)) = &source.stored else { return Ok(()) };
        let now = plan.body_of(target);
        let (gone, kept) = person::merged(stored, &now, (&ids.0, &ids.1));
        let action = if target.stored.is_some() { "merge" } else { "create" };
        plan.put(source, &gone, "merge", "effect merge");
        plan.put(target, &kept, action, "effect merge");
        let (code, id) = (ResourceType::PATIENT, source.identity.id.clone());
        let of = SearchTarget::Compartment { code, id, resource_type: None };
        let (from, to) = (source.identity.to_string(), target.identity.to_string());
        self.repoint(case, &of, "", (&from, &to), plan).await?;
        plan.moved.push(("Patient".to_owned(), ids.0, ids.1));
        Ok(())
    }

    /// Has all that a search finds refer to another resource where it refers to one.
    pub(super) async fn repoint(
        &self,
        case: &Case<'_>,
        of: &SearchTarget,
        query: &str,
        (from, to): (&str, &str),
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        let first = if query.is_empty() { String::new() } else { format!("{query}&") };
        let mut next = format!("{first}_count=200");
        for _ in 0..MOST_PAGES {
            let Ok(query) = Query::parse(&next) else { break };
            let searched = self.engine.search(of, &query, false, case.caller).await?;
            for one in searched.page.matches {
                let version = one.version;
                let name = version.identity.to_string();
                // A Provenance says what was true then.
                let is_left = version.identity.resource_type.to_string() == "Provenance";
                if is_left || name == from || name == to {
                    continue;
                }
                let text = version.to_json();
                let Ok(value) = parse(&text) else { continue };
                let Value::Object(stored) = value.into_owned() else { continue };
                let identity = version.identity.clone();
                let found = Found { identity, stored: Some((stored, version.version)) };
                let mut value = Value::Object(plan.body_of(&found));
                if person::repointed(&mut value, from, to) > 0
                    && let Value::Object(body) = value
                {
                    plan.put(&found, &body, "repoint", "effect merge");
                }
            }
            match searched.page.next {
                Some(cursor) => next = format!("{first}_count=200&_cursor={}", encoded(&cursor)),
                None => break,
            }
        }
        Ok(())
    }
}

/// Nothing says which patient, account or visit an MRG goes with.
pub(super) fn nameless(pair: &Pair<'_>) -> Halt {
    let place = pair.merge.field(1).place();
    Halt::Failed(Issue::error(Condition::UnknownKey).at(place).named("unknown-patient"))
}

/// The key that an identifier of a resource is kept by.
pub(super) fn key(part: Part<'_>, case: &Case<'_>, of: &str) -> Option<Keyed> {
    let rep = Rep::of_part(part);
    let value = rep.some(1)?.to_owned();
    let context = Context::new(case.maps.site(), case.maps.tables(), &case.sender(), "");
    let system = id::authority(&rep.component(4), &context).system;
    Some(Keyed { resource_type: of.to_owned(), system, value, id: String::new() })
}

/// Links the two patients of A24 both ways, or takes these links away (A37).
pub(super) fn link(case: &Case<'_>, found: &[Found], plan: &mut Plan) {
    let both: Vec<_> = patients(case, found).map(|(_, found)| found).collect();
    let [one, other] = both.as_slice() else {
        plan.told.push(told("nothing-to-link"));
        return;
    };
    let is_link = case.draft.event.1 == "A24";
    for (from, to) in [(one, other), (other, one)] {
        let (body, id) = (plan.body_of(from), to.identity.id.to_string());
        let now = if is_link {
            person::linked(&body, &id, "seealso")
        } else {
            person::unlinked(&body, &id, "seealso")
        };
        let action = if from.stored.is_some() { "update" } else { "create" };
        plan.put(from, &now, action, "effect link");
    }
}

/// The patients that a message is about, with their drafts.
fn patients<'a>(
    case: &'a Case<'_>,
    found: &'a [Found],
) -> impl Iterator<Item = (&'a DraftResource, &'a Found)> {
    case.draft.resources.iter().zip(found).filter(|(draft, _)| draft.rule == "patient")
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
