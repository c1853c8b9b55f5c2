//! What a patient may not change about who the patient is.
//!
//! Patients and who stands for them may keep addresses, telecoms and languages up to date where scopes let
//! them. By what a record is found and told from others is kept by the registry.
//!
//! Spec: security W3

use crate::access::Permit;
use crate::error::Error;
use crate::fhir::json;
use crate::fhir::{Identity, ResourceType};
use crate::store::Current;

use super::prepare::Prepared;

/// Elements of Patient by which a person is told from others, with the texts beside them.
const KEPT: [&str; 11] = [
    "active",
    "birthDate",
    "deceasedBoolean",
    "deceasedDateTime",
    "gender",
    "identifier",
    "link",
    "managingOrganization",
    "multipleBirthBoolean",
    "multipleBirthInteger",
    "name",
];

/// Refuses to change these on behalf of the patient.
pub(super) fn keep(
    prior: Option<&Current>,
    prepared: &Prepared,
    identity: &Identity,
    permit: &Permit<'_>,
) -> Result<(), Error> {
    if identity.resource_type != ResourceType::PATIENT || !permit.is_of_patients_themselves() {
        return Ok(());
    }
    let before = prior.and_then(|prior| prior.version.body.as_ref());
    let Some(before) = before else { return Ok(()) };
    if is_kept(before, &prepared.body)? { Ok(()) } else { Err(Error::Forbidden) }
}

fn is_kept(before: &[u8], after: &[u8]) -> Result<bool, Error> {
    let before = json::parse(before).map_err(Error::internal)?;
    let after = json::parse(after).map_err(Error::internal)?;
    Ok(KEPT.iter().all(|name| {
        let beside = format!("_{name}");
        before.get(name) == after.get(name) && before.get(&beside) == after.get(&beside)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_one_is_stays_and_where_one_lives_does_not() {
        let before = r#"{"name":[{"family":"Ada"}],"birthDate":"1970","_birthDate":{"id":"a"}}"#;
        for (after, kept) in [
            (before, true),
            (
                r#"{"name":[{"family":"Ada"}],"birthDate":"1970","_birthDate":{"id":"a"},"address":[{"city":"Ulm"}]}"#,
                true,
            ),
            (r#"{"name":[{"family":"Eve"}],"birthDate":"1970","_birthDate":{"id":"a"}}"#, false),
            (r#"{"name":[{"family":"Ada"}],"birthDate":"1970"}"#, false),
            (
                r#"{"name":[{"family":"Ada"}],"birthDate":"1970","_birthDate":{"id":"a"},"link":[]}"#,
                false,
            ),
        ] {
            let found = is_kept(before.as_bytes(), after.as_bytes()).expect("JSON");
            assert_eq!(found, kept, "{after}");
        }
    }
}
