//! What expressions may ask: profiles, value sets, hierarchies, narratives.
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpath.html#functions>

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::fhir::json::Value;
use crate::fhir::{Entries, Severity};
use crate::fhirpath::{Answer, Ignorance, Item, Knowledge};
use crate::spec::terminology::{Contains, TerminologyFault, knowledge};
use crate::validate::form;
use crate::validate::place::Place;

use super::walk::{EXPRESSION_TIME, Scope, Walk, steps};
use super::{Claim, Options, Validator};

/// How often `conformsTo()` may lead to `conformsTo()`.
const MAX_ASKED: u8 = 3;

/// Answers from the definitions that a validator goes by.
pub(super) struct Asked<'a> {
    validator: &'a Validator,
    depth: u8,
    /// Steps that answers may still take.
    steps: AtomicU64,
    scope: Scope<'a>,
    entries: Option<Arc<Entries<'a>>>,
    /// Whether resources are held to their form too; what is validated was held to it before.
    holds_to_form: bool,
    /// Longest time of one expression.
    expression_time: Duration,
}

impl<'a> Asked<'a> {
    /// For what is asked by an expression of `walk`, which pays for the answers.
    pub(super) fn by(walk: &Walk<'a>) -> Self {
        Self {
            validator: walk.validator,
            depth: walk.asked,
            steps: AtomicU64::new(walk.steps),
            scope: walk.scope,
            entries: walk.entries.clone(),
            holds_to_form: false,
            expression_time: walk.options.expression_time,
        }
    }

    /// For what an expression over a document asks.
    fn about(validator: &'a Validator, document: &'a Value<'a>) -> Self {
        let steps = AtomicU64::new(steps(document));
        let scope = Scope::of(document);
        let (holds_to_form, expression_time) = (true, EXPRESSION_TIME);
        Self { validator, depth: 0, steps, scope, entries: None, holds_to_form, expression_time }
    }

    /// Steps that are left of those that there were at first.
    pub(super) fn left(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("depth", &self.depth).finish_non_exhaustive()
    }
}

impl Knowledge for Asked<'_> {
    fn conforms_to(&self, item: &Item<'_>, profile: &str) -> Answer {
        let Some(node) = item.node() else { return Ok(None) };
        let unknown = || Ignorance::Unknown(profile.to_owned());
        if self.depth >= MAX_ASKED {
            return Err(unknown());
        }
        let profile = self.validator.profile(profile).map_err(|_| unknown())?;
        let is_resource = node.value.get("resourceType").is_some();
        let schema = &self.validator.spec.schema;
        if self.holds_to_form && is_resource && !form::check(node.value, schema).is_sound() {
            return Ok(Some(false));
        }
        let claims = |_: &str| Claim::Ignore;
        let (least, expression_time) = (Severity::Error, self.expression_time);
        let options = Options { claims: &claims, least, expression_time, ..Options::default() };
        let mut walk = Walk::within(self.validator, &options, self.scope, self.left());
        walk.entries.clone_from(&self.entries);
        walk.asked = self.depth + 1;
        let fits = walk.fits(&profile, node, &Place::root("%context"));
        self.steps.store(walk.steps, Ordering::Relaxed);
        Ok(Some(fits))
    }

    fn html_checks(&self, text: &str) -> Answer {
        Ok(Some(form::is_narrative(text)))
    }

    fn member_of(&self, item: &Item<'_>, value_set: &str) -> Answer {
        knowledge::member_of(&*self.validator.terminology, item, value_set)
    }

    fn subsumes(&self, ancestor: &Item<'_>, code: &Item<'_>) -> Answer {
        knowledge::subsumes(&*self.validator.terminology, ancestor, code)
    }
}

impl Validator {
    /// What an expression over a document may ask: these definitions answer.
    pub fn knowledge<'a>(&'a self, document: &'a Value<'a>) -> impl Knowledge + 'a {
        Asked::about(self, document)
    }

    /// Whether a code is in a value set that a definition names; its codes are remembered.
    pub(super) fn contains(
        &self,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<Contains, TerminologyFault> {
        let members = self.members(value_set);
        if let Some(systems) = members.get(code)
            && system.is_none_or(|system| systems.iter().any(|known| **known == *system))
        {
            return Ok(Contains::Yes);
        }
        self.terminology.contains(value_set, system, code)
    }
}
