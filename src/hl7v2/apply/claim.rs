//! Profiles that are claimed where resources keep to them, and only there.
//!
//! Spec: v2 F2

use super::find::Found;
use super::plan::{Entry, Plan};
use super::{Applier, Case};
use crate::fhir::json::{Object, Value};
use crate::hl7v2::ack::{Condition, Issue};

impl Applier {
    /// Has what is written claim the profile of its rule, if it keeps to it. What does not is stored as it is,
    /// claims it no longer, and that is told.
    pub(super) fn claim(&self, case: &Case<'_>, found: &[Found], plan: &mut Plan) {
        if !case.maps.site().is_us {
            return;
        }
        for entry in &mut plan.entries {
            let mut drafts = case.draft.resources.iter().zip(found);
            let draft = drafts.find(|(_, found)| found.identity == entry.identity);
            let Some(profile) = draft.and_then(|(draft, _)| draft.profile.as_deref()) else {
                continue;
            };
            match self.engine.keeps_to(&whole(entry), profile) {
                None => {}
                Some(true) => add(entry, profile),
                Some(false) => {
                    remove(entry, profile);
                    let issue = Issue::information(Condition::Accepted).named("not-us-core");
                    plan.told.push(issue.detailed(entry.rule.clone()));
                }
            }
        }
    }
}

/// The resource as it will be.
fn whole(entry: &Entry) -> Value<'static> {
    let mut resource = entry.body.clone();
    resource.set("id", entry.identity.id.to_string());
    resource.set_first("resourceType", entry.identity.resource_type.to_string());
    Value::Object(resource)
}

fn claimed(entry: &Entry) -> Vec<Value<'static>> {
    let claimed = entry.meta.as_ref().and_then(|meta| meta.get("profile"));
    claimed.and_then(Value::as_array).unwrap_or_default().to_vec()
}

fn add(entry: &mut Entry, profile: &str) {
    let mut all = claimed(entry);
    if !all.iter().any(|one| one.as_str() == Some(profile)) {
        all.push(Value::from(profile.to_owned()));
        entry.meta.get_or_insert_with(Object::new).set("profile", all);
    }
}

fn remove(entry: &mut Entry, profile: &str) {
    let mut all = claimed(entry);
    all.retain(|one| one.as_str() != Some(profile));
    if let Some(meta) = &mut entry.meta {
        if all.is_empty() {
            meta.remove("profile");
        } else {
            meta.set("profile", all);
        }
    }
}
