//! What is checked of a resource beyond its form: on every write as the operator wants it, and by
//! `$validate`, which finds the same and stores nothing.
//!
//! | file | holds |
//! |---|---|
//! | `channel` | the channel of a Subscription |
//! | `claims` | whether a profile may be claimed |
//! | `operation`, `parameters` | `$validate` |
//! | `searches` | definitions that speak of searches |
//!
//! Spec: <https://hl7.org/fhir/R4/validation.html>, rest 7a

mod channel;
mod claims;
mod operation;
mod parameters;
mod searches;

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::{Issue, IssueCode, ResourceType, Severity};
use crate::spec::structure::Library;
use crate::validate::form;
use crate::validate::profile::{Options, Validator};

use super::Engine;
use super::bundle::EntryResult;
use super::provenance::Provenance;

pub use crate::validate::profile::Claim;
pub(super) use channel::header_fault;
pub use operation::{Validate, ValidateAt, ValidationMode};
pub use parameters::VALIDATE_PARAMETERS;

/// How much is checked beyond the form, which always is; each level includes those before it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// Nothing.
    Off,
    /// What FHIR itself defines: bindings, invariants, extensions.
    Base,
    /// The profiles that a resource claims in `meta.profile`.
    Profiles,
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "off" => Ok(Self::Off),
            "base" => Ok(Self::Base),
            "profiles" => Ok(Self::Profiles),
            _ => Err(()),
        }
    }
}

/// What writes are held to.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Creates.
    pub create: Level,
    /// Updates.
    pub update: Level,
    /// What results of a patch.
    pub patch: Level,
    /// Whether a client may ask for less than that; more it may always.
    pub clients_may_lower: bool,
    /// What becomes of a claimed profile.
    pub claims: Claim,
    /// Profiles, by canonical with or without version, that are treated otherwise.
    pub exceptions: HashMap<String, Claim>,
    /// How bad it is to claim a profile that is not known.
    pub unknown_claim: Severity,
    /// How bad it is to ask for rules that are not known.
    pub implicit_rules: Severity,
    /// How bad an extension is that is not known; [`Severity::Information`] allows it.
    pub unknown_extension: Severity,
    /// How bad it is that a required code is of a system whose codes are not known.
    pub unknown_system: Severity,
    /// How bad markup in a plain text is, likewise.
    pub markup: Severity,
    /// How bad a url of an example is, likewise.
    pub example_urls: Severity,
}

/// What a client wants of the checks of its write (`Prefer`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Wish {
    /// How much is to be checked.
    pub level: Option<Level>,
    /// Whether what only warns is to be found too.
    pub notices: bool,
}

/// What comes beside the resource of a write.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions<'a> {
    /// Stored with the version that the write makes.
    pub provenance: Option<&'a Provenance>,
    /// What the client wants of the checks.
    pub wish: Wish,
}

/// Keeps a validator by what is defined now.
pub trait Validators: Send + Sync {
    /// The one that was made last.
    fn loaded(&self) -> Arc<Validator>;

    /// One by what is stored at this moment.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    fn current(&self) -> BoxFuture<'_, Result<Arc<Validator>, Error>>;
}

/// The validators of an engine; none: only the form is checked.
#[derive(Default)]
pub(super) struct Validation {
    validators: Option<Arc<dyn Validators>>,
    /// Whether writes wait for definitions that were just stored.
    is_eager: bool,
    /// How many writes of definitions this node has seen, and how many of them count already.
    written: AtomicU64,
    loaded: AtomicU64,
}

impl Rules {
    fn level(&self, kind: Kind, asked: Option<Level>) -> Level {
        let own = match kind {
            Kind::Create => self.create,
            Kind::Patch => self.patch,
            _ => self.update,
        };
        let counts = |asked: &Level| *asked > own || self.clients_may_lower;
        asked.filter(counts).unwrap_or(own)
    }

    fn claim(&self, canonical: &str) -> Claim {
        let url = canonical.split_once('|').map_or(canonical, |(url, _)| url);
        let found = self.exceptions.get(canonical).or_else(|| self.exceptions.get(url));
        found.copied().unwrap_or(self.claims)
    }
}

impl Validation {
    /// The validators of `validators`, for writes by `rules`.
    pub(super) fn new(validators: Arc<dyn Validators>, rules: &Rules) -> Self {
        // Where nothing is judged, loading definitions after each of them would be for nothing.
        let is_eager = [rules.create, rules.update, rules.patch].iter().any(|it| *it > Level::Off);
        Self { validators: Some(validators), is_eager, ..Self::default() }
    }

    /// What is validated by.
    pub(super) fn library(&self) -> Option<Arc<Library>> {
        Some(self.validators.as_ref()?.loaded().library().clone())
    }

    /// The definitions of structures of this moment.
    pub(super) async fn library_now(&self) -> Result<Option<Arc<Library>>, Error> {
        let Some(validators) = &self.validators else { return Ok(None) };
        Ok(Some(validators.current().await?.library().clone()))
    }

    /// Waits until what this node has stored of definitions counts.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        let Some(validators) = self.validators.as_ref().filter(|_| self.is_eager) else {
            return Ok(());
        };
        let written = self.written.load(Ordering::Acquire);
        if self.loaded.load(Ordering::Acquire) < written {
            validators.current().await?;
            self.loaded.fetch_max(written, Ordering::AcqRel);
        }
        Ok(())
    }

    /// The same before this resource is judged. Definitions do not wait for each other, so that many in
    /// a row are loaded once, by the first other resource after them; but one that builds on another that is
    /// not FHIR's does.
    pub(super) async fn ready_to_judge(&self, resource: &Value<'_>) -> Result<(), Error> {
        if waits(resource) { self.ready().await } else { Ok(()) }
    }

    /// The same before a Bundle is.
    pub(super) async fn ready_for_bundle(&self, bundle: &Value<'_>) -> Result<(), Error> {
        let mut resources = bundle.items_at("entry").iter().filter_map(|it| it.get("resource"));
        if resources.any(waits) { self.ready().await } else { Ok(()) }
    }

    /// Takes note that a resource of this type was stored or deleted.
    pub(super) fn note(&self, resource_type: ResourceType) {
        if is_definition(resource_type) {
            self.written.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The same of what a Bundle did.
    pub(super) fn note_all(&self, results: &[EntryResult]) {
        for result in results {
            match result {
                EntryResult::Written(written) => {
                    self.note(written.version.identity.resource_type);
                }
                // It does not tell of what type.
                EntryResult::Deleted(_) => {
                    self.written.fetch_add(1, Ordering::AcqRel);
                }
                _ => {}
            }
        }
    }
}

fn waits(resource: &Value<'_>) -> bool {
    let of = resource.str_at("resourceType").map(str::parse);
    if !of.is_some_and(|of| of.is_ok_and(is_definition)) {
        return true;
    }
    // What FHIR defines is always there; another base may have been written a moment ago.
    let is_fhirs = |base: &str| base.starts_with("http://hl7.org/fhir/StructureDefinition/");
    resource.str_at("baseDefinition").is_some_and(|base| !is_fhirs(base))
}

impl Engine {
    /// Checks the form of what is to be stored. Where it is wrong, everything else that is wrong is told
    /// with it; that costs no more than a document of sound form and this size does.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is malformed, [`Error::Unprocessable`] for a broken invariant.
    pub(super) fn check_all(&self, value: &Value<'_>, kind: Kind, wish: Wish) -> Result<(), Error> {
        let more = |mut issues: Vec<Issue>| {
            let wish = Wish { notices: false, ..wish };
            if issues.len() < form::MAX_ISSUES
                && !issues.iter().any(form::is_of_depth)
                && let Err(Error::Unprocessable(found)) = self.judge(value, kind, wish)
            {
                issues.extend(found);
                issues.truncate(form::MAX_ISSUES);
            }
            issues
        };
        self.check(value).map_err(|error| match error {
            Error::Invalid(issues) => Error::Invalid(more(issues)),
            Error::Unprocessable(issues) => Error::Unprocessable(more(issues)),
            other => other,
        })
    }

    /// Judges the content of what is to be stored, and gives what only warns.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] with everything that is wrong.
    pub(super) fn judge(
        &self,
        value: &Value<'_>,
        kind: Kind,
        wish: Wish,
    ) -> Result<Vec<Issue>, Error> {
        let rules = &self.settings.validation;
        let level = rules.level(kind, wish.level);
        let Some(validators) = self.validation.validators.as_ref().filter(|_| level > Level::Off)
        else {
            return Ok(Vec::new());
        };
        let claims = |canonical: &str| match level {
            Level::Profiles => rules.claim(canonical),
            Level::Base | Level::Off => Claim::Ignore,
        };
        let least = if wish.notices { Severity::Information } else { Severity::Error };
        let options = Options {
            claims: &claims,
            least,
            unknown_claim: rules.unknown_claim,
            unknown_extension: &|_| rules.unknown_extension,
            unknown_system: rules.unknown_system,
            markup: rules.markup,
            example_urls: rules.example_urls,
            ..Options::default()
        };
        let validator = validators.loaded();
        let mut issues =
            aside(nodes(value, MANY_NODES), || validator.validate(value, &[], &options));
        let of_searches = self.findings_of_searches(value);
        issues.extend(of_searches.into_iter().filter(|issue| issue.severity <= least));
        let implicit = implicit_rules(value, rules.implicit_rules);
        issues.extend(implicit.filter(|issue| issue.severity <= least));
        if !issues.iter().any(|issue| issue.severity <= Severity::Error) {
            return Ok(issues);
        }
        issues.sort_by_key(|issue| issue.severity);
        Err(Error::Unprocessable(issues))
    }
}

/// Whether resources of this type have a say in what others must be.
pub fn is_definition(resource_type: ResourceType) -> bool {
    matches!(
        resource_type.as_str(),
        "CodeSystem" | "ImplementationGuide" | "StructureDefinition" | "ValueSet"
    )
}

/// Rules that are to be known before anything is understood: this server knows none.
fn implicit_rules(value: &Value<'_>, severity: Severity) -> Option<Issue> {
    let (rules, resource_type) = (value.str_at("implicitRules")?, value.str_at("resourceType")?);
    let text = format!("the rules {rules:?} are not known: what they change is not understood");
    let place = format!("{resource_type}.implicitRules");
    Some(Issue { severity, ..Issue::error_at(IssueCode::NotSupported, text, place) })
}

/// From here on, documents are judged where others need not wait for it: what is judged at once may
/// take a few milliseconds, and at worst some tens of them.
const MANY_NODES: usize = 500;

/// How many values `value` consists of, counted up to `most`.
fn nodes(value: &Value<'_>, most: usize) -> usize {
    let mut count = 0;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        count += 1;
        match value {
            _ if count >= most => return most,
            Value::Array(items) => open.extend(items),
            Value::Object(object) => open.extend(object.iter().map(|(_, inner)| inner)),
            _ => {}
        }
    }
    count
}

/// Runs `work` of this many nodes; where it takes long, other tasks go on without this thread.
pub(super) fn aside<T>(nodes: usize, work: impl FnOnce() -> T) -> T {
    let has_others =
        || Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
    if nodes >= MANY_NODES && has_others() { tokio::task::block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    fn rules(clients_may_lower: bool) -> Rules {
        let exceptions = [("http://p", Claim::Warn), ("http://p|2", Claim::Ignore)];
        Rules {
            create: Level::Base,
            update: Level::Profiles,
            patch: Level::Off,
            clients_may_lower,
            claims: Claim::Enforce,
            exceptions: exceptions.map(|(url, claim)| (url.to_owned(), claim)).into(),
            unknown_claim: Severity::Warning,
            implicit_rules: Severity::Warning,
            unknown_extension: Severity::Information,
            unknown_system: Severity::Warning,
            markup: Severity::Information,
            example_urls: Severity::Information,
        }
    }

    #[test]
    fn a_client_may_ask_for_more_and_for_less_where_it_is_let() {
        for (kind, asked, own, lowered) in [
            (Kind::Create, None, Level::Base, Level::Base),
            (Kind::Update, None, Level::Profiles, Level::Profiles),
            (Kind::Patch, None, Level::Off, Level::Off),
            (Kind::Create, Some(Level::Profiles), Level::Profiles, Level::Profiles),
            (Kind::Create, Some(Level::Off), Level::Base, Level::Off),
            (Kind::Update, Some(Level::Base), Level::Profiles, Level::Base),
        ] {
            assert_eq!(rules(false).level(kind, asked), own, "{kind:?} {asked:?}");
            assert_eq!(rules(true).level(kind, asked), lowered, "{kind:?} {asked:?}");
        }
    }

    #[test]
    fn a_profile_may_have_a_rule_of_its_own_for_all_versions_or_for_one() {
        for (canonical, expected) in [
            ("http://o", Claim::Enforce),
            ("http://p", Claim::Warn),
            ("http://p|1", Claim::Warn),
            ("http://p|2", Claim::Ignore),
        ] {
            assert_eq!(rules(false).claim(canonical), expected, "{canonical}");
        }
    }

    #[test]
    fn nodes_are_counted_as_far_as_it_matters() {
        let value = parse(br#"{"a":[1,2,{"b":true}],"c":"x"}"#).expect("JSON");
        assert_eq!(nodes(&value, 100), 7);
        assert_eq!(nodes(&value, 3), 3);
    }
}
