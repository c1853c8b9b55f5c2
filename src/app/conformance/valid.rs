//! Whether resources are valid, by the definitions that come with this program: R4, and the guides of
//! which it has packs, US Core among them.

use std::borrow::Cow;
use std::sync::Arc;

use crate::fhir::Severity;
use crate::fhir::json::{self, Value};
use crate::spec::structure::Library;
use crate::spec::{GUIDE_PACKS, R4_PACK, Spec};
use crate::terminology::Image;
use crate::validate::form::{self, Verdict};
use crate::validate::profile::{Options, Validator};

use super::report::{Found, ensure};

/// How the canonicals of US Core begin.
pub(super) const US_CORE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/";

/// What judges resources.
pub(super) struct Definitions {
    spec: Arc<Spec>,
    validator: Validator,
}

impl Definitions {
    /// Reads the packs; `base` is that of the server whose resources are judged.
    pub(super) fn read(base: &str) -> Result<Self, String> {
        let spec = Spec::r4().map_err(|error| error.to_string())?;
        let library = Library::with_packs(GUIDE_PACKS.map(Cow::Borrowed));
        let library = library.map_err(|error| error.to_string())?;
        let codes = Image::new(R4_PACK, base).and_then(|it| it.with_guides(&GUIDE_PACKS));
        let codes = codes.map_err(|error| error.to_string())?;
        let validator = Validator::new(spec.clone(), Arc::new(library), Arc::new(codes));
        Ok(Self { spec, validator })
    }

    /// Whether a text is a resource of the type, valid by R4 and by the profiles that it claims.
    pub(super) fn check(&self, text: &str, of: &str) -> Found {
        let fault = |why: String| format!("{why}: {}", text.chars().take(120).collect::<String>());
        let value = json::parse(text.as_bytes()).map_err(|error| fault(error.to_string()))?;
        let found = value.str_at("resourceType");
        ensure(found == Some(of), || fault(format!("{found:?} among {of}")))?;
        match self.first_fault(&value) {
            Some(why) => Err(fault(why)),
            None => Ok(()),
        }
    }

    fn first_fault(&self, value: &Value<'_>) -> Option<String> {
        let verdict = form::check(value, &self.spec.schema);
        let is_malformed = matches!(verdict, Verdict::Malformed(_));
        let by_form = verdict.issues().iter().find(|issue| issue.severity <= Severity::Error);
        if is_malformed || by_form.is_some() {
            return by_form.map(ToString::to_string).or(Some("malformed".to_owned()));
        }
        let options = Options { least: Severity::Error, ..Options::default() };
        let issues = self.validator.validate(value, &[], &options);
        issues.iter().find(|issue| issue.severity <= Severity::Error).map(ToString::to_string)
    }
}

/// Whether a resource claims a profile of US Core.
pub(super) fn claims_us_core(text: &str) -> bool {
    let Ok(value) = json::parse(text.as_bytes()) else { return false };
    let profiles = value.get("meta").map_or(&[][..], |meta| meta.items_at("profile"));
    profiles.iter().any(|it| it.as_str().is_some_and(|url| url.starts_with(US_CORE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_held_to_what_it_claims() {
        let definitions = Definitions::read("http://x/fhir").expect("the packs");
        let patient = |more: &str| {
            format!(
                r#"{{"resourceType":"Patient","meta":{{"profile":["{US_CORE}us-core-patient"]}},"identifier":[{{"system":"urn:n","value":"1"}}],"name":[{{"family":"p1"}}]{more}}}"#
            )
        };
        let whole = patient(r#","gender":"unknown""#);
        assert_eq!(definitions.check(&whole, "Patient"), Ok(()));
        assert!(claims_us_core(&whole) && !claims_us_core(r#"{"resourceType":"Patient"}"#));
        for (text, of) in [
            (patient(""), "Patient"),
            (whole.clone(), "Group"),
            (r#"{"resourceType":"Patient","gender":"x"}"#.to_owned(), "Patient"),
            (r#"{"resourceType":"Patient","x":1}"#.to_owned(), "Patient"),
            ("{".to_owned(), "Patient"),
        ] {
            assert!(definitions.check(&text, of).is_err(), "{of} {text}");
        }
    }
}
