//! Lists of all there is: what a sender no longer tells of has ended.
//!
//! Spec: v2 S11, B37

use super::find::Found;
use super::plan::Plan;
use super::{Applier, Case, Halt};
use crate::engine::SearchTarget;
use crate::fhir::ResourceType;
use crate::fhir::json::{Value, parse};
use crate::fhir::query::Query;
use crate::hl7v2::effect::amend;
use crate::hl7v2::map::site::Mode;

/// Types that a list can end.
const ENDED: &[&str] =
    &["AllergyIntolerance", "Condition", "Coverage", "Procedure", "RelatedPerson"];

impl Applier {
    /// Ends what the sender has told of in a list before, and does not in this one.
    pub(super) async fn end_missing(
        &self,
        case: &Case<'_>,
        found: &[Found],
        plan: &mut Plan,
    ) -> Result<(), Halt> {
        let drafts = &case.draft.resources;
        let patient = drafts.iter().zip(found).find(|(draft, _)| draft.rule == "patient");
        let Some((_, patient)) = patient.filter(|(_, found)| found.stored.is_some()) else {
            return Ok(());
        };
        for (segment, is_there) in &case.draft.snapshots {
            // That a segment is missing says nothing.
            let of_list = |draft: &&crate::hl7v2::map::DraftResource| {
                draft.segment == *segment && draft.mode == Mode::Snapshot
            };
            let Some(first) = drafts.iter().find(of_list).filter(|_| *is_there) else { continue };
            let systems: Vec<_> = drafts
                .iter()
                .filter(of_list)
                .flat_map(|draft| draft.keys.iter().filter(|key| key.is_derived))
                .map(|key| key.system.as_str())
                .collect();
            let Ok(of) = first.resource_type.parse::<ResourceType>() else { continue };
            if !ENDED.contains(&first.resource_type.as_str()) {
                continue;
            }
            let query = format!("patient={}&_count=500", patient.identity.id);
            let Ok(query) = Query::parse(&query) else { continue };
            let searched =
                self.engine.search(&SearchTarget::Type(of), &query, false, case.caller).await?;
            for one in searched.page.matches {
                let version = one.version;
                if found.iter().any(|told| told.identity == version.identity) {
                    continue;
                }
                let text = version.to_json();
                let Ok(Value::Object(stored)) = parse(&text).map(Value::into_owned) else {
                    continue;
                };
                let identifiers = stored.get("identifier").and_then(Value::as_array);
                let is_own = identifiers.unwrap_or_default().iter().any(|identifier| {
                    identifier.str_at("system").is_some_and(|system| systems.contains(&system))
                });
                let ended = amend::ended(&stored, &first.resource_type).filter(|_| is_own);
                let Some(ended) = ended else { continue };
                let known = Found {
                    identity: version.identity.clone(),
                    stored: Some((stored, version.version)),
                };
                plan.put(&known, &ended, "end", &first.rule);
            }
        }
        Ok(())
    }
}
