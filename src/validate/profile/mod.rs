//! Profiles: what the base definitions ask beside the form, and what profiles ask beyond them.
//!
//! A [`Validator`] walks a document twice at most. The first walk covers all of it by the element
//! table: invariants, bindings, extensions, the rules of Bundles. The second one goes along the tree
//! of a profile, which has only what the profile adds, so it touches little of the document. What
//! [`super::form`] says is not said again: callers ask both.
//!
//! | file | holds |
//! |---|---|
//! | `attachment` | sizes of attachments |
//! | `binding` | codes and value sets |
//! | `bundle` | full urls, references inside documents and messages |
//! | `checks` | the rules on one value |
//! | `compile` | from structures to rules |
//! | `conform` | the walk along a profile |
//! | `constraint` | invariants |
//! | `definition` | definitions of profiles |
//! | `document` | the walk over a document |
//! | `extension` | extensions by their definitions |
//! | `findings` | the issues found so far |
//! | `knowledge` | what expressions may ask |
//! | `narrative` | languages and links of narratives |
//! | `operation` | definitions of operations |
//! | `questionnaire` | answers by the Questionnaire that they answer |
//! | `reference` | what references lead to |
//! | `rules` | what a profile asks, compiled |
//! | `slicing` | which repetition belongs to which slice |
//! | `strict` | what an operator may ask for beyond FHIR |
//! | `walk` | the state of a walk, and its budget |
//!
//! Layer: 2, part of [`crate::validate`]. Imports `fhir`, `fhirpath`, `spec`.
//!
//! Spec: <https://hl7.org/fhir/R4/profiling.html>, <https://hl7.org/fhir/R4/validation.html>

mod attachment;
mod binding;
mod bundle;
mod checks;
mod compile;
mod conform;
mod constraint;
mod definition;
mod document;
mod extension;
mod findings;
mod knowledge;
mod narrative;
mod operation;
mod questionnaire;
mod reference;
mod rules;
mod slicing;
mod strict;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use crate::fhir::json::Value;
use crate::fhir::schema::TypeId;
use crate::fhir::{Canonical, Issue, Severity};
use crate::spec::Spec;
use crate::spec::structure::{Library, StructureFault};
use crate::spec::terminology::{Member, Terminology};

use compile::{Compiler, Constraints, TypeChecks};
use rules::Profile;
use walk::{EXPRESSION_TIME, Walk};

/// What to do with a profile that a resource claims in `meta.profile`.
///
/// <https://hl7.org/fhir/R4/resource.html#Meta>
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Claim {
    /// What breaks the profile is an error.
    Enforce,
    /// The claim is passed over.
    Ignore,
    /// What breaks the profile is a warning.
    Warn,
}

/// What a caller wants to know.
#[derive(Clone, Copy)]
pub struct Options<'o> {
    /// What to do with a claimed profile, by its canonical.
    pub claims: &'o (dyn Fn(&str) -> Claim + Sync),
    /// How bad a url of an example domain is; [`Severity::Information`]: it is not looked for.
    pub example_urls: Severity,
    /// Longest time of one expression of an invariant, as a processor works at it; what takes longer is too costly to
    /// be judged.
    pub expression_time: Duration,
    /// The least severe issues wanted: [`Severity::Error`] leaves out all that only warns, and
    /// with it the work.
    pub least: Severity,
    /// How bad markup in a plain text is; [`Severity::Information`]: it is not looked for.
    pub markup: Severity,
    /// Whether elements that must be supported, and are absent, are told.
    pub must_support: bool,
    /// The Questionnaires at hand: the answers of a QuestionnaireResponse are judged by the one it
    /// names.
    pub questionnaires: &'o [Value<'o>],
    /// How bad a claimed profile is that nobody knows here.
    pub unknown_claim: Severity,
    /// How bad an extension is that nobody knows here, by its url; [`Severity::Information`]: it is
    /// allowed. One that is a modifier is at least warned about.
    pub unknown_extension: &'o (dyn Fn(&str) -> Severity + Sync),
    /// How bad it is that a code, which has to be in a value set, is of a system that is in it and whose
    /// codes nobody knows here. One of a system that is not in the value set is outside in any case.
    pub unknown_system: Severity,
}

impl Default for Options<'_> {
    /// Claims are enforced, unknown ones are warnings, everything but must-support is told.
    fn default() -> Self {
        Self {
            claims: &|_| Claim::Enforce,
            example_urls: Severity::Information,
            expression_time: EXPRESSION_TIME,
            least: Severity::Information,
            markup: Severity::Information,
            must_support: false,
            questionnaires: &[],
            unknown_claim: Severity::Warning,
            unknown_extension: &|_| Severity::Information,
            unknown_system: Severity::Warning,
        }
    }
}

/// Judges documents by base definitions and profiles.
///
/// Structures are compiled when they are first needed, and remembered. The definitions it was made
/// with do not change: make another one for others.
#[derive(Debug)]
pub struct Validator {
    spec: Arc<Spec>,
    library: Arc<Library>,
    terminology: Arc<dyn Terminology>,
    compiled: Arc<Compiled>,
    members: RwLock<HashMap<Box<str>, Arc<Members>>>,
}

/// What was compiled so far.
#[derive(Debug)]
struct Compiled {
    base: Vec<OnceLock<TypeChecks>>,
    profiles: RwLock<HashMap<Box<str>, Arc<Profile>>>,
    constraints: Constraints,
}

/// The codes of a value set, each with its systems.
type Members = HashMap<Box<str>, Vec<Box<str>>>;

/// Value sets up to this size are kept to look codes up in.
const MAX_MEMBERS: usize = 1_000;

impl Validator {
    /// A validator by these definitions.
    pub fn new(spec: Arc<Spec>, library: Arc<Library>, terminology: Arc<dyn Terminology>) -> Self {
        let base = spec.schema.types().iter().map(|_| OnceLock::new()).collect();
        let (profiles, constraints) = (RwLock::default(), Constraints::default());
        let compiled = Arc::new(Compiled { base, profiles, constraints });
        Self { spec, library, terminology, compiled, members: RwLock::default() }
    }

    /// The same structures with other code systems and value sets.
    #[must_use]
    pub fn with_terminology(&self, terminology: Arc<dyn Terminology>) -> Self {
        Self {
            spec: Arc::clone(&self.spec),
            library: Arc::clone(&self.library),
            terminology,
            compiled: Arc::clone(&self.compiled),
            members: RwLock::default(),
        }
    }

    /// The types it goes by.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// The structures it goes by.
    pub fn library(&self) -> &Arc<Library> {
        &self.library
    }

    /// The codes and value sets it goes by.
    pub fn terminology(&self) -> &Arc<dyn Terminology> {
        &self.terminology
    }

    /// Judges a resource by its base definition, the profiles it claims, and `profiles`.
    ///
    /// Entries of a Bundle and contained resources are judged by their own. The form is not looked
    /// at: ask [`super::form`] too. The work is bounded by a multiple of the document's size; where
    /// that is not enough, an issue says so. At most [`super::form::MAX_ISSUES`] errors come, and as
    /// many others.
    pub fn validate(
        &self,
        document: &Value<'_>,
        profiles: &[&str],
        options: &Options<'_>,
    ) -> Vec<Issue> {
        let mut walk = Walk::new(self, options, document);
        walk.document(document, profiles);
        walk.into_issues()
    }

    /// Whether a profile can be used.
    ///
    /// # Errors
    /// [`StructureFault`]: it is not known, or its definition is at fault.
    pub fn check_profile(&self, canonical: &str) -> Result<(), StructureFault> {
        self.profile(canonical).map(drop)
    }

    /// The profile of a canonical, compiled.
    fn profile(&self, canonical: &str) -> Result<Arc<Profile>, StructureFault> {
        // However it is written: texts that mean the same have no end, definitions have.
        let Canonical { url, version, .. } = Canonical::parse(canonical);
        let end = version.map_or(url.len(), |version| url.len() + 1 + version.len());
        let canonical = canonical.get(..end).unwrap_or(canonical);
        let profiles = &self.compiled.profiles;
        if let Some(known) = profiles.read().unwrap_or_else(PoisonError::into_inner).get(canonical)
        {
            return Ok(Arc::clone(known));
        }
        let structure = self.library.structure(canonical)?;
        let url = structure.canonical();
        let reason = || format!("{} is no type of FHIR R4", structure.type_name);
        let malformed = || StructureFault::Malformed { url, reason: reason() };
        let profile = self.compiler().profile(Arc::clone(&structure)).ok_or_else(malformed)?;
        let mut all = profiles.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(all.entry(canonical.into()).or_insert_with(|| Arc::new(profile))))
    }

    fn base(&self, type_id: TypeId) -> Option<&TypeChecks> {
        let place = self.compiled.base.get(usize::from(type_id.0))?;
        Some(place.get_or_init(|| self.compiler().type_checks(type_id)))
    }

    fn compiler(&self) -> Compiler<'_> {
        Compiler {
            schema: &self.spec.schema,
            library: &self.library,
            constraints: &self.compiled.constraints,
        }
    }

    /// The codes of a value set, where there are few of them and all are known.
    fn members(&self, value_set: &str) -> Arc<Members> {
        if let Some(known) =
            self.members.read().unwrap_or_else(PoisonError::into_inner).get(value_set)
        {
            return Arc::clone(known);
        }
        let mut members = Members::new();
        if let Ok(found) = self.terminology.members(value_set, MAX_MEMBERS) {
            for Member { system, code } in found.codes {
                members.entry(code).or_default().push(system);
            }
        }
        let mut all = self.members.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(value_set.into()).or_insert_with(|| Arc::new(members)))
    }
}
