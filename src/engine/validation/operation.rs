//! `$validate`: what a write, or a profile, would find wrong with a resource. Stores nothing.
//!
//! Spec: <https://hl7.org/fhir/R4/resource-operation-validate.html>, rest 6.11 to 6.15

use std::str::FromStr;
use std::sync::Arc;

use crate::access::interaction::Kind;
use crate::access::{Caller, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::{Identity, Issue, IssueCode, ResourceType, Severity, Version};

use crate::engine::bundle::Seen;
use crate::engine::{Engine, prepare, refuse_unstorable};
use crate::spec::structure::StructureFault;
use crate::store::WriteTx;
use crate::validate::form;
use crate::validate::profile::{Options, Validator};

use super::{MANY_NODES, aside, implicit_rules, nodes};

/// What the resource is checked for, beyond its content.
///
/// <https://hl7.org/fhir/R4/valueset-resource-validation-mode.html>
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ValidationMode {
    /// Whether it could be created.
    Create,
    /// Whether what is stored could be deleted.
    Delete,
    /// Whether it fits the profiles that are asked for.
    Profile,
    /// Whether it could take the place of what is stored.
    Update,
}

impl FromStr for ValidationMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "create" => Ok(Self::Create),
            "delete" => Ok(Self::Delete),
            "profile" => Ok(Self::Profile),
            "update" => Ok(Self::Update),
            other => {
                let text = format!("mode is create, update, delete or profile, not {other:?}");
                Err(Error::invalid(IssueCode::Value, text))
            }
        }
    }
}

/// Where `$validate` is called.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ValidateAt {
    /// On a resource.
    Instance(Identity),
    /// On a type.
    Type(ResourceType),
}

/// What `$validate` is asked.
#[derive(Clone, Debug)]
pub struct Validate<'a> {
    /// Where it is called.
    pub at: ValidateAt,
    /// What the resource is checked for.
    pub mode: Option<ValidationMode>,
    /// Canonicals that the resource has to fit, beside the base and what it claims itself.
    pub profiles: Vec<String>,
    /// Whether elements that must be supported, and are absent, are told.
    pub must_support: bool,
    /// The resource; on an instance, what is stored where none is given.
    pub resource: Option<Value<'a>>,
}

impl ValidateAt {
    /// The type that it is called on.
    pub fn resource_type(&self) -> ResourceType {
        match self {
            Self::Instance(identity) => identity.resource_type,
            Self::Type(resource_type) => *resource_type,
        }
    }
}

impl Validate<'_> {
    /// Refuses a question that has no answer.
    fn check(&self) -> Result<(), Error> {
        let missing = |text: &str| Err(Error::invalid(IssueCode::Required, text));
        match (&self.at, self.mode) {
            (ValidateAt::Type(_), Some(ValidationMode::Delete)) => {
                missing("mode delete is about a stored resource: call [type]/[id]/$validate")
            }
            (ValidateAt::Type(_), _) if self.resource.is_none() => {
                missing("the parameter resource is missing")
            }
            (_, Some(ValidationMode::Profile)) if self.profiles.is_empty() => {
                missing("mode profile needs the parameter profile")
            }
            _ => Ok(()),
        }
    }

    /// The stored resource that the answer depends on.
    fn stored(&self) -> Option<&Identity> {
        let ValidateAt::Instance(identity) = &self.at else { return None };
        // What is to be created or replaced need not be there.
        let is_new = matches!(self.mode, Some(ValidationMode::Create | ValidationMode::Update));
        (self.resource.is_none() || !is_new).then_some(identity)
    }
}

impl Engine {
    /// Everything that is wrong with a resource, and what is worth knowing; at least one issue.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it cannot be told what is to be validated against what;
    /// [`Error::NotFound`], [`Error::Deleted`] for a stored resource.
    pub async fn validate(
        &self,
        asked: Validate<'_>,
        caller: &Caller,
    ) -> Result<Vec<Issue>, Error> {
        let interaction = Kind::Validate.of(asked.at.resource_type());
        let validator = match self.validator_for(&asked).await {
            Ok(validator) => validator,
            Err(error) => return self.gate.denied(interaction, caller, error).await,
        };
        let judge = Judge { engine: self, asked: &asked, validator: validator.as_deref() };
        let look = async |permit: &Permit<'_>| {
            judge.stored(&mut Seen::Committed(&self.store), permit).await
        };
        let stored = self.gate.run(interaction, caller, look).await?;
        judge.all_findings(stored)
    }

    /// The same for an entry of a transaction, under its permit.
    pub(in crate::engine) async fn validate_within(
        &self,
        asked: &Validate<'_>,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Vec<Issue>, Error> {
        let validator = self.validator_for(asked).await?;
        let judge = Judge { engine: self, asked, validator: validator.as_deref() };
        let stored = judge.stored(&mut Seen::Within(tx), permit).await?;
        judge.all_findings(stored.within(permit.interaction(), tx))
    }

    /// The validator by what is stored at this moment, once the question is found to have an answer.
    async fn validator_for(&self, asked: &Validate<'_>) -> Result<Option<Arc<Validator>>, Error> {
        asked.check()?;
        let Some(validators) = &self.validation.validators else { return Ok(None) };
        validators.current().await.map(Some)
    }
}

/// Who answers a question.
struct Judge<'e> {
    engine: &'e Engine,
    asked: &'e Validate<'e>,
    validator: Option<&'e Validator>,
}

impl Judge<'_> {
    /// The stored resource that the answer depends on, once the question is found to have one. What is
    /// wrong with it tells what it is: that is for who may read it, not for who may only write.
    async fn stored(
        &self,
        seen: &mut Seen<'_>,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Option<Version>>, Error> {
        let Some(identity) = self.asked.stored() else {
            self.check_profiles()?;
            return Ok(Unaudited::nothing().map(|()| None));
        };
        let reading = permit.derive(Kind::Read, identity.resource_type)?;
        self.check_profiles()?;
        let stored = seen.current(&identity.id, &reading).await;
        Ok(self.engine.or_defined(stored, (identity, None), &reading)?.map(Some))
    }

    /// What there is to tell of what was given, or else of what is stored.
    fn all_findings(&self, stored: Option<Version>) -> Result<Vec<Issue>, Error> {
        let asked = self.asked;
        let mut issues = match (&asked.resource, stored) {
            (_, _) if asked.mode == Some(ValidationMode::Delete) => Vec::new(),
            (Some(value), _) => self.findings(value),
            (None, Some(version)) => {
                let text = version.to_json();
                self.findings(&json::parse(&text).map_err(Error::internal)?)
            }
            (None, None) => return Err(Error::internal("there is nothing to validate")),
        };
        if issues.is_empty() {
            issues.push(all_is_well(asked));
        }
        Ok(issues)
    }

    /// Refuses profiles that cannot be used. They are compiled for it: only who may ask has that done.
    fn check_profiles(&self) -> Result<(), Error> {
        let Some(validator) = self.validator else { return Ok(()) };
        for profile in &self.asked.profiles {
            validator.check_profile(profile).map_err(|fault| {
                let code = match fault {
                    StructureFault::Unknown(_) => IssueCode::NotFound,
                    _ => IssueCode::Invalid,
                };
                Error::invalid(code, format!("the profile cannot be used: {fault}"))
            })?;
        }
        Ok(())
    }

    fn findings(&self, value: &Value<'_>) -> Vec<Issue> {
        if let Err(error) = prepare::check_type(self.asked.at.resource_type(), value) {
            return told(error);
        }
        let (mut issues, has_form) = match self.engine.check(value) {
            Ok(()) => (Vec::new(), true),
            Err(Error::Unprocessable(issues)) => (issues, true),
            // What has no sound form may have content that breaks rules all the same.
            Err(Error::Invalid(issues)) if !issues.iter().any(form::is_of_depth) => (issues, false),
            Err(error) => return told(error),
        };
        if let Some(validator) = self.validator {
            let size = nodes(value, MANY_NODES);
            issues.extend(aside(size, || self.findings_of_content(validator, value)));
        }
        issues.extend(self.engine.findings_of_searches(value));
        let severity = self.engine.settings.validation.implicit_rules;
        issues.extend(implicit_rules(value, severity));
        if has_form {
            issues.extend(self.findings_of_mode(value));
        }
        issues.sort_by_key(|issue| issue.severity);
        issues
    }

    /// What breaks the base definitions and profiles. Of a claimed profile the interaction of the mode
    /// thinks as the operator does; without one, a claim is a claim.
    fn findings_of_content(&self, validator: &Validator, value: &Value<'_>) -> Vec<Issue> {
        let profiles: Vec<&str> = self.asked.profiles.iter().map(String::as_str).collect();
        let rules = &self.engine.settings.validation;
        let claims = |canonical: &str| rules.claim(canonical);
        let unknown_extension = |_: &str| rules.unknown_extension;
        let all = Options {
            must_support: self.asked.must_support,
            unknown_extension: &unknown_extension,
            unknown_system: rules.unknown_system,
            markup: rules.markup,
            example_urls: rules.example_urls,
            ..Options::default()
        };
        let options = match self.asked.mode {
            Some(ValidationMode::Create | ValidationMode::Update) => {
                Options { claims: &claims, unknown_claim: rules.unknown_claim, ..all }
            }
            _ => all,
        };
        validator.validate(value, &profiles, &options)
    }

    /// What stands in the way of the interaction that the mode names.
    fn findings_of_mode(&self, value: &Value<'_>) -> Vec<Issue> {
        let (engine, asked) = (self.engine, self.asked);
        let resource_type = asked.at.resource_type();
        let new = || Identity { resource_type, id: engine.ids.logical_id() };
        let mut issues = Vec::new();
        let identity = match (asked.mode, &asked.at) {
            (Some(ValidationMode::Create), _) => {
                if value.get("id").is_some() {
                    issues.push(id_is_ignored(resource_type));
                }
                new()
            }
            (Some(ValidationMode::Update), ValidateAt::Instance(identity)) => {
                if let Err(error) = prepare::check_identity(identity, value) {
                    issues.extend(told(error));
                }
                identity.clone()
            }
            (Some(ValidationMode::Update), ValidateAt::Type(_)) => {
                match value.str_at("id").and_then(|id| id.parse().ok()) {
                    Some(id) => Identity { resource_type, id },
                    None => new(),
                }
            }
            (Some(ValidationMode::Delete | ValidationMode::Profile) | None, at) => {
                let identity = match at {
                    ValidateAt::Instance(identity) => identity.clone(),
                    ValidateAt::Type(_) => match value.str_at("id").map(str::parse) {
                        Some(Ok(id)) => Identity { resource_type, id },
                        _ => new(),
                    },
                };
                let checked = engine.check_search_parameter(&identity, value);
                return checked.err().map(told).unwrap_or_default();
            }
        };
        let storable = refuse_unstorable(resource_type);
        if let Err(error) = storable.and_then(|()| engine.split(&identity, value.clone())) {
            issues.extend(told(error));
        }
        issues
    }
}

/// The findings of an error that is an answer here.
fn told(error: Error) -> Vec<Issue> {
    match error {
        Error::Invalid(issues) | Error::Unprocessable(issues) => issues,
        Error::MethodNotAllowed(text) => vec![Issue::error(IssueCode::NotSupported, text)],
        other => vec![Issue::error(IssueCode::Processing, other.to_string())],
    }
}

fn id_is_ignored(resource_type: ResourceType) -> Issue {
    let text = "a create gives the resource an id of its own: this one is ignored";
    Issue {
        severity: Severity::Warning,
        ..Issue::error_at(IssueCode::BusinessRule, text, format!("{resource_type}.id"))
    }
}

fn all_is_well(asked: &Validate<'_>) -> Issue {
    let text = match (asked.mode, &asked.at) {
        (Some(ValidationMode::Delete), ValidateAt::Instance(identity)) => {
            format!("nothing in {identity} itself stands against its deletion")
        }
        _ => "valid: there is nothing to report".to_owned(),
    };
    Issue { severity: Severity::Information, ..Issue::error(IssueCode::Informational, text) }
}
