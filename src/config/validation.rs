//! What the settings of validation say: levels, policies, and profiles with a policy of their own.

use serde::Deserialize;

use super::Validation;

/// How much is checked of what is written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ValidationLevel {
    /// The form, and what FHIR itself defines.
    Base,
    /// The form alone.
    Off,
    /// The profiles that a resource claims too.
    Profiles,
}

/// What becomes of a resource that breaks a profile it claims.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ProfilePolicy {
    /// It is refused.
    Enforce,
    /// It is stored.
    Ignore,
    /// It is stored, and told about.
    Warn,
}

impl ValidationLevel {
    /// The level of this name.
    ///
    /// # Errors
    /// Says which names there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "base" => Ok(Self::Base),
            "off" => Ok(Self::Off),
            "profiles" => Ok(Self::Profiles),
            _ => Err("it is off, base or profiles".to_owned()),
        }
    }
}

impl Validation {
    /// The same with one level for all interactions.
    #[must_use]
    pub fn at(self, level: ValidationLevel) -> Self {
        Self { level, create: None, update: None, patch: None, ..self }
    }

    /// The exceptions: canonical and policy of each.
    ///
    /// # Errors
    /// The exception that is none.
    pub fn policies(&self) -> Result<Vec<(&str, ProfilePolicy)>, String> {
        let read = |text| {
            policy(text).ok_or_else(|| {
                format!("{text:?} is not written CANONICAL=enforce, =warn or =ignore")
            })
        };
        self.exceptions.iter().map(String::as_str).map(read).collect()
    }
}

/// `canonical=policy`
fn policy(text: &str) -> Option<(&str, ProfilePolicy)> {
    let (canonical, policy) = text.rsplit_once('=')?;
    let policy = match policy {
        "enforce" => ProfilePolicy::Enforce,
        "ignore" => ProfilePolicy::Ignore,
        "warn" => ProfilePolicy::Warn,
        _ => return None,
    };
    (!canonical.is_empty()).then_some((canonical, policy))
}
