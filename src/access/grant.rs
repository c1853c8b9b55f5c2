//! What an access token stands for, as the authorization server knows it.

use std::sync::Arc;

use thiserror::Error;
use uuid::Uuid;

use crate::fhir::{LogicalId, ResourceType};

use super::consent::Denial;
use super::scope::ScopeSet;

/// What the name of a token begins with that nobody has named; 32 digits of a digest of the token follow.
pub const OPAQUE_TOKENS: &str = "urn:kiln:token:";

/// A grant: who may do what through which client.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The row of the access token: the `jti` that AuditEvents name, where it has no other name.
    pub token: Uuid,
    /// How else AuditEvents name it: the `jti` that its issuer gave it, or [`OPAQUE_TOKENS`] with a digest.
    pub token_name: Option<Arc<str>>,
    /// The client.
    pub client: String,
    /// Who uses it; `None`: the client acts by itself.
    pub user: Option<User>,
    /// What was granted.
    pub scopes: ScopeSet,
    /// The patient in context: its id, and its hash as the store keeps it.
    pub patient: Option<(LogicalId, i64)>,
    /// The patient whose record took the place of that one's, where both were merged.
    pub survivor: Option<i64>,
    /// The purpose of use, by what stands behind the token: nobody says it of a request.
    pub purpose: Option<String>,
    /// Why a user to whom everything is open asked for it, as it is on record.
    pub reason: Option<String>,
    /// Whether the glass was broken for the patient in context: then what patients deny does not count.
    pub is_emergency: bool,
    /// Whether the resource that stands for the user may be read whatever the scopes say (`openid`
    /// with `fhirUser`).
    pub is_fhir_user_readable: bool,
    /// What patients deny to whoever is not the patient.
    pub denials: Arc<[Denial]>,
    /// By codes of which systems apps keep state of their own.
    pub state: AppState,
}

/// Code systems by whose codes apps keep state of their own, as Basic resources.
#[derive(Clone, Debug, Default)]
pub struct AppState {
    /// Those of the client.
    pub own: Arc<[Box<str>]>,
    /// Those of all others.
    pub others: Arc<[Box<str>]>,
}

impl Grant {
    /// The client and its user, by which requests are counted.
    pub fn party(&self) -> String {
        match &self.user {
            Some(user) => format!("{} {}", self.client, user.account),
            None => self.client.clone(),
        }
    }
}

/// Who uses a client.
#[derive(Clone, Debug, Default)]
pub struct User {
    /// The account.
    pub account: Uuid,
    /// The name that the account is known by.
    pub name: String,
    /// The resource that stands for the user.
    pub fhir_user: Option<(ResourceType, LogicalId)>,
    /// Names of roles.
    pub roles: Vec<String>,
    /// Whose data roles with a narrower panel may see.
    pub panels: Panels,
}

impl User {
    /// Whether the user is a patient.
    pub fn is_patient(&self) -> bool {
        self.fhir_user.as_ref().is_some_and(|(of, _)| *of == ResourceType::PATIENT)
    }

    /// Whether the user is nobody here but by whom it stands for: which patients these are is in [`Panels::own`].
    pub fn is_proxy(&self) -> bool {
        let is_one = |of: &ResourceType| matches!(of.as_str(), "Person" | "RelatedPerson");
        self.fhir_user.as_ref().is_some_and(|(of, _)| is_one(of))
    }

    /// What the names of users of outside authorization servers have in them, and no other.
    pub const OUTSIDE: &str = "://";

    /// The name here of a user of an outside authorization server: its issuer, and what it calls the user.
    pub fn outside_name(issuer: &str, subject: &str) -> String {
        format!("{issuer}#{subject}")
    }

    /// The issuer and what it calls the user, of the name of an outside one. Accounts have no such names.
    pub fn of_outside(name: &str) -> Option<(&str, &str)> {
        name.split_once('#').filter(|(issuer, _)| issuer.contains(Self::OUTSIDE))
    }
}

/// Patients by what makes them somebody's, as hashes of the store. An empty list is nobody.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Panels {
    /// In whose care team the user is.
    pub care_team: Vec<i64>,
    /// Whom the user's organizations care for.
    pub organization: Vec<i64>,
    /// The user, and whom the user stands for.
    pub own: Vec<i64>,
}

/// Why a grant makes no principal.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum GrantError {
    /// Everything of everybody for a user who has not said why.
    #[error("everything is open to the user, who has stated no reason")]
    NoReason,
    /// Scopes of a patient, but none in context.
    #[error("the grant has scopes of a patient and no patient")]
    NoPatient,
    /// Scopes of a user, but none.
    #[error("the grant has scopes of a user and no user")]
    NoUser,
}
