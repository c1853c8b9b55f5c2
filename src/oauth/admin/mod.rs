//! What administrators do with clients, accounts and keys: at the command line, and at the listener for
//! administration. Each act is one function here, whoever asks for it.
//!
//! An act goes on record before it is done, and so does one that is refused. Tokens let somebody act by
//! [`Authority::administers`]; whoever can run commands on the database needs none.
//!
//! Spec: security A7, H19, M9

pub mod accounts;
pub mod clients;
pub mod signing;

use thiserror::Error as ThisError;

use crate::access::interaction::Kind;
use crate::access::scope::Special;
use crate::access::{Caller, Outcome, Principal};
use crate::error::Error;

use super::Authority;
use super::login::account::Unset;
use super::refusal::Refusal;

/// Why an act was not done.
#[derive(Debug, ThisError)]
pub enum Fault {
    /// Our fault, or the database's.
    #[error(transparent)]
    Failed(#[from] Error),
    /// It cannot be as it was asked for.
    #[error("{0}")]
    Invalid(String),
    /// What it is about is not there.
    #[error("{0}")]
    Missing(String),
    /// There is one already.
    #[error("{0}")]
    Taken(String),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Fault(error) => Self::Failed(error),
            Refusal::Protocol { text, .. } => Self::Invalid(text.into_owned()),
            other => Self::Invalid(other.told()),
        }
    }
}

impl From<Unset> for Fault {
    fn from(unset: Unset) -> Self {
        match unset {
            Unset::Failed(error) => Self::Failed(error),
            Unset::Taken => Self::Taken(unset.to_string()),
            Unset::Link | Unset::Name | Unset::Weak(_) => Self::Invalid(unset.to_string()),
        }
    }
}

impl Authority {
    /// Whether somebody may administer this server: a service with the scope for it, or a user with
    /// both the scope and a role that lets its holders.
    pub fn administers(&self, principal: &Principal) -> bool {
        let Some(grant) = principal.grant() else { return false };
        match &grant.user {
            None => grant.scopes.has(Special::Administer),
            Some(user) => {
                let has_role = self.persons.roles.administer(user.roles.iter().map(String::as_str));
                has_role && grant.scopes.has(Special::AdministerAsUser)
            }
        }
    }

    /// Puts an act on record that is about to be done.
    async fn act(&self, by: &Caller, about: &str) -> Result<(), Error> {
        self.gate.note_by(Kind::Admin, by, Outcome::Success, about).await
    }

    /// Puts on record that an act was refused, where it was.
    ///
    /// # Errors
    /// That of `done`; [`Fault::Failed`] when the ledger cannot be written.
    pub async fn acted<T>(&self, by: &Caller, done: Result<T, Fault>) -> Result<T, Fault> {
        match done {
            Ok(_) | Err(Fault::Failed(_)) => done,
            Err(fault) => {
                let told = fault.to_string();
                self.gate.note_by(Kind::Admin, by, Outcome::Refused, &told).await?;
                Err(fault)
            }
        }
    }
}
