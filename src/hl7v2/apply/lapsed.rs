//! Keys that lead to a patient who has the number no longer.
//!
//! A number is a patient's as long as the patient has it among the identifiers, old ones too, or one has it whom the
//! patient has replaced: then it leads to who stayed. A number that was taken back, by a message or by hand, leads to
//! nobody, for it may be given to somebody else; its key goes over to whoever is told to have it next. Where a
//! profile keeps numbers out of the resources, keys lead where they did.
//!
//! Spec: v2 S2, S4, merge family

use std::sync::{MutexGuard, PoisonError};

use super::find::Found;
use super::keys::{is_same, keyed, keys_of};
use super::{Applier, Case, Halt};
use crate::fhir::json::Value;
use crate::fhir::{Identity, ResourceType};
use crate::hl7v2::effect::Json;
use crate::store::hl7v2::Keyed;

impl Case<'_> {
    /// Keys that were found to lead to who has the number no longer.
    pub(super) fn lapsed(&self) -> MutexGuard<'_, Vec<Keyed>> {
        self.lapsed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether patients have the numbers by which they are known among their identifiers.
    pub(super) fn shows_numbers(&self) -> bool {
        let drafts = self.draft.resources.iter();
        let mut patients = drafts.filter(|draft| draft.resource_type == "Patient");
        patients.all(|draft| keys_of(draft).all(|key| has_number(&draft.body, &key)))
    }

    /// Those of `keys` that go over to who is told to have them, each with the id of whoever had them.
    pub(super) fn taken(&self, keys: &[Keyed]) -> Vec<(Keyed, String)> {
        let lapsed = self.lapsed();
        let taken = keys.iter().filter_map(|key| {
            let other = lapsed.iter().find(|one| is_same(one, key) && one.id != key.id)?;
            Some((key.clone(), other.id.clone()))
        });
        taken.collect()
    }
}

impl Applier {
    /// What `keys` lead to; of a patient only where that one, or one whom it has replaced, has one of the
    /// numbers still.
    pub(super) async fn held(
        &self,
        identity: Identity,
        keys: &[&Keyed],
        case: &Case<'_>,
    ) -> Result<Option<Found>, Halt> {
        let is_patient = identity.resource_type == ResourceType::PATIENT;
        let mut all = self.followed(identity, case).await?;
        if is_patient && !all.is_empty() && case.shows_numbers() {
            let (left, gone): (Vec<&Keyed>, Vec<&Keyed>) = keys.iter().copied().partition(|key| {
                let mut stored = all.iter().filter_map(|one| one.stored.as_ref());
                stored.any(|(stored, _)| has_number(stored, key))
            });
            case.lapsed().extend(gone.into_iter().cloned());
            if left.is_empty() {
                return Ok(None);
            }
        }
        Ok(all.pop())
    }
}

/// Whether a patient has the number of a key among the identifiers.
pub(super) fn has_number(patient: &Json, key: &Keyed) -> bool {
    let identifiers = patient.get("identifier").and_then(Value::as_array).unwrap_or_default();
    identifiers.iter().any(|one| {
        let both = one.str_at("system").zip(one.str_at("value"));
        both.is_some_and(|(system, value)| {
            is_same(&keyed("Patient", system.to_owned(), value.to_owned()), key)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    /// Covers: v2 S2.
    #[test]
    fn a_number_is_known_by_system_and_value_however_long_and_old_it_is() {
        let long = "9".repeat(1_500);
        let text = format!(
            r#"{{"identifier":[{{"system":"a","value":"1","use":"old"}},{{"system":"a","value":"{long}"}},{{"value":"3"}}]}}"#
        );
        let Value::Object(patient) = parse(text.as_bytes()).unwrap().into_owned() else { panic!() };
        for (system, value, expected) in [
            ("a", "1", true),
            ("b", "1", false),
            ("a", "2", false),
            ("", "3", false),
            ("a", long.as_str(), true),
            ("a", &long[1..], false),
        ] {
            let key = keyed("Patient", system.to_owned(), value.to_owned());
            assert_eq!(has_number(&patient, &key), expected, "{system} {value:.9}");
        }
        assert!(!has_number(&Json::new(), &keyed("Patient", "a".to_owned(), "1".to_owned())));
    }
}
