//! Whether a resource may claim a profile, and be stored, for who makes resources itself.

use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::Severity;
use crate::fhir::json::Value;
use crate::validate::profile::{Claim, Options};

use super::{Engine, Wish};

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

    /// Holds a resource against what a write of it would be held to, and stores nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Unprocessable`], as the write would.
    pub fn would_take(&self, resource: &Value<'_>) -> Result<(), Error> {
        self.check_all(resource, Kind::Create, Wish::default())?;
        self.judge(resource, Kind::Create, Wish::default()).map(drop)
    }
}
