//! What expressions may ask: profiles, value sets, hierarchies, narratives.
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpath.html#functions>

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::fhir::json::Value;
use crate::fhir::{Entries, Severity};
use crate::fhirpath::{Answer, Ignorance, Item, Knowledge};
use crate::spec::terminology::{Contains, TerminologyFault};
use crate::validate::form;
use crate::validate::place::Place;

use super::walk::{Scope, Walk};
use super::{Claim, Options, Validator};

/// How often `conformsTo()` may lead to `conformsTo()`.
const MAX_ASKED: u8 = 3;
/// Codes below or above one that are looked through.
const MAX_SUBSUMED: usize = 100_000;

/// Answers from the definitions that a validator goes by.
pub(super) struct Asked<'a> {
    validator: &'a Validator,
    depth: u8,
    /// Steps that answers may still take.
    steps: AtomicU64,
    scope: Scope<'a>,
    entries: Option<Arc<Entries<'a>>>,
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
        }
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
        let claims = |_: &str| Claim::Ignore;
        let options = Options { claims: &claims, least: Severity::Error, ..Options::default() };
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
        let schema = &self.validator.spec.schema;
        let text;
        let codings: Vec<(Option<&str>, &str)> = match item {
            Item::Node(node) if node.value.as_object().is_some() => {
                let listed = node.value.items_at("coding");
                match node.value.get("coding") {
                    Some(_) => listed.iter().filter_map(Self::coding).collect(),
                    None => Self::coding(node.value).into_iter().collect(),
                }
            }
            other => {
                let Some(value) = other.system(schema) else { return Ok(None) };
                text = value.to_text();
                vec![(None, text.as_str())]
            }
        };
        let mut untold = None;
        for (system, code) in codings {
            match self.validator.terminology.contains(value_set, system, code) {
                Ok(Contains::Yes) => return Ok(Some(true)),
                Ok(Contains::No) => {}
                Ok(Contains::Untold(system)) => untold = Some(system.into_string()),
                Err(fault) => untold = Some(fault.to_string()),
            }
        }
        match untold {
            Some(what) => Err(Ignorance::Unknown(what)),
            None => Ok(Some(false)),
        }
    }

    fn subsumes(&self, ancestor: &Item<'_>, code: &Item<'_>) -> Answer {
        let of = |item: &Item<'_>| item.node().and_then(|node| Self::coding(node.value)).map(owned);
        let (Some((system, ancestor)), Some((other, code))) = (of(ancestor), of(code)) else {
            return Ok(None);
        };
        if system != other {
            return Ok(Some(false));
        }
        let system = system.unwrap_or_default();
        let above = self.validator.terminology.subsumed(&system, &code, false, MAX_SUBSUMED);
        match above {
            Ok(above) => Ok(Some(above.iter().any(|it| **it == *ancestor))),
            Err(fault) => Err(Ignorance::Unknown(fault.to_string())),
        }
    }
}

impl Asked<'_> {
    fn coding<'v>(value: &'v Value<'_>) -> Option<(Option<&'v str>, &'v str)> {
        Some((value.str_at("system"), value.str_at("code")?))
    }
}

fn owned((system, code): (Option<&str>, &str)) -> (Option<String>, String) {
    (system.map(str::to_owned), code.to_owned())
}

impl Validator {
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
