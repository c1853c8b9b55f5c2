//! Whether a resource may claim a profile, for who makes resources itself.

use crate::fhir::Severity;
use crate::fhir::json::Value;
use crate::validate::profile::{Claim, Options};

use super::Engine;

impl Engine {
    /// Whether a resource keeps to a profile, whatever it claims; `None` where the profile is not known here.
    pub fn keeps_to(&self, resource: &Value<'_>, profile: &str) -> Option<bool> {
        let validator = self.validation.validators.as_ref()?.loaded();
        validator.library().structure(profile).ok()?;
        let options =
            Options { claims: &|_| Claim::Ignore, least: Severity::Error, ..Options::default() };
        let issues = validator.validate(resource, &[profile], &options);
        Some(issues.iter().all(|issue| issue.severity > Severity::Error))
    }
}
