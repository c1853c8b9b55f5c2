//! Lists of all there is: what a sender no longer tells of has ended.
//!
//! Spec: v2 S11, B37

use super::find::Found;
use super::plan::Plan;
use super::stale::is_of_visit;
use super::{Applier, Case, Halt};
use crate::engine::SearchTarget;
use crate::fhir::ResourceType;
use crate::fhir::json::Value;
use crate::hl7v2::effect::amend;
use crate::hl7v2::map::site::Mode;
use crate::hl7v2::map::{DraftResource, ResourceRule, list};

/// Types that a list can end.
const ENDED: &[&str] =
    &["AllergyIntolerance", "Condition", "Coverage", "Procedure", "RelatedPerson"];

/// What a message tells of one patient.
struct Lists<'a> {
    patient: &'a Found,
    own: Vec<(&'a DraftResource, &'a Found)>,
    /// Whether it tells of no other.
    is_alone: bool,
}

impl Applier {
    /// Ends what the sender has told of in a list before, and does not in this one.
    pub(super) async fn end_missing(
        &self,
        case: &Case<'_>,
        found: &[Found],
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        let all = || case.draft.resources.iter().zip(found);
        let patients: Vec<_> = all().filter(|(draft, _)| draft.rule == "patient").collect();
        let is_alone = patients.len() == 1;
        for (patient, one) in patients.into_iter().filter(|(_, one)| one.stored.is_some()) {
            // Of several patients each has lists of its own.
            let own = all().filter(|(draft, _)| is_alone || names(draft, &patient.url));
            let lists = Lists { patient: one, own: own.collect(), is_alone };
            self.end_missing_of(&lists, case, found, plan).await?;
        }
        Ok(())
    }

    async fn end_missing_of(
        &self,
        lists: &Lists<'_>,
        case: &Case<'_>,
        found: &[Found],
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        let visit = lists.own.iter().find(|(draft, _)| draft.rule == "encounter");
        let visit = visit.map(|(_, found)| *found);
        let here = visit.map(|visit| visit.identity.to_string());
        for (segment, is_there) in &case.draft.snapshots {
            // That a segment is missing says nothing.
            let of_list =
                |draft: &DraftResource| draft.segment == *segment && draft.mode == Mode::Snapshot;
            let is_told = lists.own.iter().any(|(draft, _)| of_list(draft))
                || (lists.is_alone && deletes_all(case, segment));
            let mut rules = case.maps.resources().iter();
            let name = |rule: &ResourceRule| rule.segment().map(|name| name.to_string());
            let rule = rules.find(|rule| name(rule).as_deref() == Some(segment.as_str()));
            // A list that is older than the stored one ends nothing.
            let owner = visit.filter(|_| is_of_visit(segment)).unwrap_or(lists.patient);
            let is_new = plan.marks.iter().any(|mark| {
                let list = mark.aspect.strip_prefix("list ");
                mark.id == owner.identity.id.as_str()
                    && list.is_some_and(|rest| rest.split(' ').next() == Some(segment.as_str()))
            });
            let is_due = *is_there && is_told && is_new;
            let Some(rule) = rule.filter(|_| is_due) else { continue };
            let own = list(&case.maps.site().base, &case.sender(), rule.segment().as_ref());
            let Ok(of) = rule.resource_type.parse::<ResourceType>() else { continue };
            if !ENDED.contains(&rule.resource_type.as_str()) {
                continue;
            }
            for known in self.listed(of, lists.patient, case).await? {
                if found.iter().any(|told| told.identity == known.identity) {
                    continue;
                }
                let Some((stored, _)) = &known.stored else { continue };
                let identifiers = stored.get("identifier").and_then(Value::as_array);
                let mut identifiers = identifiers.unwrap_or_default().iter();
                let is_own = identifiers.any(|it| it.str_at("system") == Some(own.as_str()));
                // The diagnoses of another visit are another list.
                let of_visit = stored.get("encounter").and_then(|it| it.str_at("reference"));
                let is_here = of_visit.is_none() || of_visit == here.as_deref();
                let ended = amend::ended(stored, &rule.resource_type);
                let ended = ended.filter(|_| is_own && is_here);
                let Some(ended) = ended else { continue };
                plan.put(&known, &ended, "end", &rule.name);
            }
        }
        Ok(())
    }

    /// All resources of a type that a patient has.
    async fn listed(
        &self,
        of: ResourceType,
        patient: &Found,
        case: &Case<'_>,
    ) -> Result<Vec<Found>, Halt> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let query = format!("patient={}", patient.identity.id);
            let (of, cursor_of) = (SearchTarget::Type(of), cursor.as_deref());
            let (page, next) = self.leading(&of, &query, cursor_of, ("", ""), case.caller).await?;
            all.extend(page);
            cursor = next;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }
}

/// Whether a draft is of the patient whose draft has this url.
pub(super) fn names(draft: &DraftResource, url: &str) -> bool {
    let of = |name| draft.body.get(name).and_then(|of| of.str_at("reference"));
    ["subject", "patient", "beneficiary"].into_iter().any(|name| of(name) == Some(url))
}

/// Whether a list is one segment that says that there is nothing: a null for its number or its key.
fn deletes_all(case: &Case<'_>, segment: &str) -> bool {
    let mut all = case.message.named(segment);
    let (Some(only), None) = (all.next(), all.next()) else { return false };
    let nulls = (1..=3).filter(|field| only.field(*field).is_null()).count();
    nulls > 0 && (1..=3).all(|field| only.field(field).is_null() || !only.field(field).is_valued())
}
