//! Roles: what users may do, whoever asks for what.
//!
//! A role is a list of scopes of users, the panel of patients they are about, the confidentiality up
//! to which data are shown, whether a second factor is needed, whether it lets somebody administer the
//! server (`administers = true`), what it uses data for (`purpose`, a code of v3-PurposeOfUse, which
//! consents are told and the record tells), and whether it is for who keeps consents and the record and treats
//! nobody (`keeps = true`): then what patients deny does not count, and their Consents may be written.
//! So such a role has no scopes beside those of consents, the record and who patients are; and a role
//! that is called as one of these says whether it is one. What a token grants a user is what its scopes
//! and one of the user's roles grant both. A user without a role may do nothing. The record of who did what,
//! AuditEvent, is in no wildcard: a role names it.
//!
//! ```toml
//! [roles.nurse]
//! scopes = ["user/*.rs", "user/Observation.cu?category=vital-signs"]
//! panel = "care-team"
//! clearance = "R"
//! second_factor = true
//! purpose = "TREAT"
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;

use crate::fhir::ResourceType;
use crate::search::extract::Extractor;

use super::consent::purpose;
use super::scope::{Actions, Context, ResourceScope, ScopeSet, SmartScope};

/// The fewest characters of a password that opens something by itself, and of one that does not.
const WHOLE_PROOF: usize = 12;
const HALF_A_PROOF: usize = 8;

/// The roles of a server without a file of its own.
const BUILT_IN: &str = r#"
[roles.administrator]
scopes = ["user/*.cruds", "user/AuditEvent.rs"]
panel = "all"
clearance = "V"
second_factor = true
administers = true

[roles.auditor]
scopes = ["user/AuditEvent.rs", "user/Provenance.rs"]
panel = "all"
clearance = "N"
second_factor = true
keeps = true

[roles.btg]
scopes = []
panel = "own"
clearance = "N"
second_factor = true

[roles.patient]
scopes = ["user/*.rs", "user/Consent.cu"]
panel = "own"
clearance = "V"
second_factor = false

[roles.practitioner]
scopes = ["user/*.cruds"]
panel = "all"
clearance = "R"
second_factor = true

[roles.privacy]
scopes = ["user/Consent.cruds", "user/AuditEvent.rs", "user/Patient.rs", "user/Provenance.rs"]
panel = "all"
clearance = "V"
second_factor = true
keeps = true
"#;

/// What who keeps consents and the record needs, and no more: what is not there is of who treats.
const KEPT: [&str; 5] = ["AuditEvent", "Consent", "Patient", "Provenance", "RelatedPerson"];
/// Roles that a reader takes for such ones, so their file says whether they are.
const KEEPERS: [&str; 2] = ["auditor", "privacy"];

/// Who has this role may break the glass for a patient; by itself it lets nobody do anything.
pub const EMERGENCY: &str = "btg";

/// Who has this role may ask for an erasure, or approve one that somebody else asked for.
pub const ERASURE: &str = "privacy";

/// The roles of a server.
#[derive(Clone)]
pub struct Roles {
    all: BTreeMap<String, Role>,
    by_name: Arc<[ResourceType]>,
    extractor: Arc<Extractor>,
}

/// What a role may do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Role {
    /// Scopes of users.
    pub scopes: ScopeSet,
    /// Whose data.
    pub panel: Panel,
    /// The highest confidentiality that is shown.
    pub clearance: Clearance,
    /// Whether who has the role must have proved a second factor.
    pub needs_second_factor: bool,
    /// Whether who has the role may administer clients, accounts and keys.
    pub administers: bool,
    /// Whether it is for who keeps consents and the record, and treats nobody.
    pub keeps: bool,
    /// What who has the role uses data for.
    pub purpose: Option<&'static str>,
}

/// Whose data a role is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Panel {
    /// All patients.
    All,
    /// Patients in whose care teams the user is.
    CareTeam,
    /// Patients whom the user's organizations care for.
    Organization,
    /// The user, and whom the user stands for.
    Own,
}

/// Degrees of confidentiality, lowest first.
///
/// <http://terminology.hl7.org/CodeSystem/v3-Confidentiality>
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "the codes of the code system")]
pub enum Clearance {
    U,
    L,
    M,
    N,
    R,
    V,
}

/// Why a file of roles cannot be used.
#[derive(Debug, Error)]
pub enum RolesError {
    /// It is no such file.
    #[error("the roles cannot be read: {0}")]
    Form(#[from] toml::de::Error),
    /// A role that lets patients' denials not count, and more than keeping be done.
    #[error(
        "role {role}: who keeps consents and the record (`keeps = true`) treats nobody, so {scope:?} is too much"
    )]
    Keeps {
        /// The role.
        role: String,
        /// The scope.
        scope: String,
    },
    /// What a role uses data for is no purpose of use, or that of an emergency, which no role is.
    #[error(
        "role {role}: {code:?} is no purpose of use (v3-PurposeOfUse) that a role has; BTG and ETREAT are of who breaks the glass"
    )]
    Purpose {
        /// The role.
        role: String,
        /// The code.
        code: String,
    },
    /// A role whose name says what its file does not.
    #[error(
        "role {0}: say `keeps = true`, or `keeps = false` where what patients deny counts for it"
    )]
    Unsaid(String),
    /// A scope of a role is none, or not one of users.
    #[error("role {role}: {scope:?} is no scope of a user")]
    Scope {
        /// The role.
        role: String,
        /// The scope.
        scope: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    roles: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    scopes: Vec<String>,
    panel: Panel,
    clearance: Clearance,
    second_factor: bool,
    #[serde(default)]
    administers: bool,
    keeps: Option<bool>,
    purpose: Option<String>,
}

impl Clearance {
    /// Each of them, lowest first.
    pub const ALL: [Self; 6] = [Self::U, Self::L, Self::M, Self::N, Self::R, Self::V];
    /// The code system.
    pub const SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";

    /// The code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::U => "U",
            Self::L => "L",
            Self::M => "M",
            Self::N => "N",
            Self::R => "R",
            Self::V => "V",
        }
    }

    /// Those that are not shown to who has this one.
    pub fn beyond(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |other| *other > self)
    }
}

impl Roles {
    /// Reads roles; without a text those that are built in. `extractor` is of FHIR's own parameters.
    ///
    /// # Errors
    /// [`RolesError`] names what is wrong.
    pub fn load(text: Option<&str>, extractor: Arc<Extractor>) -> Result<Self, RolesError> {
        let File { roles: entries } = toml::from_str(text.unwrap_or(BUILT_IN))?;
        let mut roles = BTreeMap::new();
        for (name, entry) in entries {
            if entry.keeps.is_none() && KEEPERS.contains(&&*name) {
                return Err(RolesError::Unsaid(name));
            }
            let keeps = entry.keeps.unwrap_or_default();
            let mut scopes = ScopeSet::default();
            for text in entry.scopes {
                match SmartScope::parse(&text, extractor.search_parameters()) {
                    Some(SmartScope::Resource(scope)) if scope.context == Context::User => {
                        if keeps && !is_kept(&scope) {
                            return Err(RolesError::Keeps { role: name, scope: text });
                        }
                        scopes.add(SmartScope::Resource(scope));
                    }
                    _ => return Err(RolesError::Scope { role: name, scope: text }),
                }
            }
            let purpose = match entry.purpose {
                Some(code) => match purpose::find(&code) {
                    Some(purpose) => Some(purpose),
                    None => return Err(RolesError::Purpose { role: name, code }),
                },
                None => None,
            };
            let Entry { panel, clearance, administers, second_factor, .. } = entry;
            let needs_second_factor = second_factor;
            let role =
                Role { scopes, panel, clearance, needs_second_factor, administers, keeps, purpose };
            roles.insert(name, role);
        }
        Ok(Self { all: roles, by_name: Arc::default(), extractor })
    }

    /// The same where scopes over all types of a patient do not mean these types either.
    #[must_use]
    pub fn with_by_name(self, types: impl IntoIterator<Item = ResourceType>) -> Self {
        Self { by_name: types.into_iter().collect(), ..self }
    }

    /// Types that scopes over all types of a patient do not mean, as the operator wants it.
    pub(super) fn by_name(&self) -> &Arc<[ResourceType]> {
        &self.by_name
    }

    /// The role of this name.
    pub fn get(&self, name: &str) -> Option<&Role> {
        self.all.get(name)
    }

    /// The names of all roles.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    /// Whether somebody with these roles must have proved a second factor.
    pub fn need_second_factor<'r>(&self, names: impl IntoIterator<Item = &'r str>) -> bool {
        names.into_iter().filter_map(|name| self.get(name)).any(|role| role.needs_second_factor)
    }

    /// How many characters a password has at least: fewer where none opens anything by itself.
    pub fn shortest_password(&self) -> usize {
        let is_half = self.all.values().all(|role| role.needs_second_factor);
        if is_half && !self.all.is_empty() { HALF_A_PROOF } else { WHOLE_PROOF }
    }

    /// Whether somebody with these roles may administer the server.
    pub fn administer<'r>(&self, names: impl IntoIterator<Item = &'r str>) -> bool {
        names.into_iter().filter_map(|name| self.get(name)).any(|role| role.administers)
    }

    /// What somebody with these roles uses data for. `None` where none of them says it, and where they
    /// say different things: then nobody can tell which of them it is.
    pub fn purpose(&self, names: &[String]) -> Option<&'static str> {
        let mut told = names.iter().filter_map(|name| self.get(name)?.purpose);
        let first = told.next()?;
        told.all(|other| other == first).then_some(first)
    }

    /// Whether scopes let a user with these roles do everything with the data of everybody, however
    /// confidential: such a user is an administrator, who says why.
    pub fn are_open(&self, names: &[String], scopes: &ScopeSet) -> bool {
        let held = || names.iter().filter_map(|name| self.get(name));
        let is_all = |scope: &ResourceScope| {
            scope.context == Context::User
                && scope.resource_type.is_none()
                && scope.actions == Actions::ALL
                && scope.criteria.is_empty()
        };
        let is_open = |role: &Role| {
            role.panel == Panel::All && scopes.intersect(&role.scopes).resources().any(is_all)
        };
        let sees_all = |role: &Role| role.panel != Panel::Own && role.clearance == Clearance::V;
        held().any(sees_all) && held().any(is_open)
    }

    /// What scopes are read by.
    pub fn extractor(&self) -> &Arc<Extractor> {
        &self.extractor
    }

    /// Scopes in a text, as far as they are such.
    pub fn scopes(&self, text: &str) -> ScopeSet {
        ScopeSet::parse(text, self.extractor.search_parameters())
    }
}

/// Whether a scope is one of who keeps consents and the record: people are read by it, not written.
fn is_kept(scope: &ResourceScope) -> bool {
    let Some(of) = scope.resource_type else { return false };
    let reading = Actions::R.or(Actions::S);
    let writes = of.as_str() == "Consent";
    KEPT.contains(&of.as_str()) && (writes || scope.actions.without(reading).is_empty())
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roles").field("roles", &self.all).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crate::fhir::datetime::Zone;
    use crate::search::extract::Settings;
    use crate::search::values::quantity::Ucum;
    use crate::spec::Spec;
    use crate::spec::codes::Codes;

    use super::*;

    pub(in crate::access) fn extractor() -> Arc<Extractor> {
        let spec = Spec::r4().expect("the embedded pack");
        let codes = Codes::r4().expect("its codes");
        let settings = Settings { base: "".into(), units: Box::new(Ucum), zone: Zone::UTC };
        Arc::new(Extractor::new(spec, codes, settings).expect("all of R4 compiles"))
    }

    #[test]
    fn the_roles_of_the_readme_are_roles() {
        let readme = include_str!("../../README.md");
        let (_, text) = readme.split_once("```toml\n[roles.").expect("a file of roles");
        let (text, _) = text.split_once("```").expect("its end");
        let roles = Roles::load(Some(&format!("[roles.{text}")), extractor()).expect(text);
        assert_eq!(roles.names().collect::<Vec<_>>(), [EMERGENCY, "nurse"]);
        let built_in = Roles::load(None, extractor()).expect("those that are built in");
        for name in built_in.names() {
            assert!(readme.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn a_password_is_shorter_where_each_role_wants_a_second_factor() {
        let role = |name: &str, second: bool| {
            format!(
                "[roles.{name}]\nscopes = []\npanel = \"all\"\nclearance = \"N\"\n\
                 second_factor = {second}\n"
            )
        };
        let shortest =
            |text: Option<&str>| Roles::load(text, extractor()).expect("roles").shortest_password();
        assert_eq!(shortest(None), 12);
        assert_eq!(shortest(Some(&role("one", true))), 8);
        assert_eq!(shortest(Some(&(role("one", true) + &role("two", false)))), 12);
    }

    #[test]
    fn people_have_the_purpose_that_their_roles_agree_on() {
        let role = |(name, rest): (&str, &str)| {
            format!(
                "[roles.{name}]\nscopes = []\npanel = \"all\"\nclearance = \"N\"\n\
                 second_factor = true\n{rest}\n"
            )
        };
        let extractor = extractor();
        let told = [
            ("doctor", "purpose = \"TREAT\""),
            ("nurse", "purpose = \"TREAT\""),
            ("researcher", "purpose = \"HRESCH\""),
            ("desk", ""),
        ];
        let text: String = told.into_iter().map(role).collect();
        let roles = Roles::load(Some(&text), extractor.clone()).expect("roles");
        for (names, expected) in [
            (&["doctor"][..], Some("TREAT")),
            (&["desk", "nurse", "doctor"], Some("TREAT")),
            (&["doctor", "researcher"], None),
            (&["desk"], None),
            (&["unknown"], None),
            (&[], None),
        ] {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(roles.purpose(&names), expected, "{names:?}");
        }
        for unfit in ["BTG", "ETREAT", "PATOBJ", "treat", ""] {
            let text = role(("doctor", &format!("purpose = {unfit:?}")));
            let error = Roles::load(Some(&text), extractor.clone()).expect_err(unfit);
            assert!(error.to_string().contains("no purpose of use"), "{unfit}: {error}");
        }
    }

    #[test]
    fn who_keeps_the_record_treats_nobody_and_says_so() {
        let extractor = extractor();
        for (name, scope, keeps, expected) in [
            ("privacy", "user/Consent.cruds", "keeps = true", ""),
            ("desk", "user/Patient.rs", "keeps = true", ""),
            ("desk", "user/RelatedPerson.rs", "keeps = true", ""),
            ("desk", "user/*.rs", "", ""),
            ("privacy", "user/*.rs", "keeps = false", ""),
            ("privacy", "user/Consent.rs", "", "keeps = false"),
            ("auditor", "user/AuditEvent.rs", "", "keeps = false"),
            ("desk", "user/*.rs", "keeps = true", "treats nobody"),
            ("desk", "user/Observation.rs", "keeps = true", "treats nobody"),
            ("desk", "user/Patient.cruds", "keeps = true", "treats nobody"),
            ("desk", "system/Consent.rs", "keeps = true", "no scope of a user"),
        ] {
            let text = format!(
                "[roles.{name}]\nscopes = [{scope:?}]\npanel = \"all\"\nclearance = \"N\"\n\
                 second_factor = true\n{keeps}"
            );
            let loaded = Roles::load(Some(&text), extractor.clone());
            let told = loaded.map_or_else(|error| error.to_string(), |_| String::new());
            assert!(
                told.contains(expected) && told.is_empty() == expected.is_empty(),
                "{text}: {told}"
            );
        }
        Roles::load(None, extractor).expect("those that are built in");
    }
}
