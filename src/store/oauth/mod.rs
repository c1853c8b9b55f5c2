//! What the authorization server keeps: accounts, sessions, clients, grants, tokens.
//!
//! None of it is FHIR data, so none of it takes a permit. What opens a door comes and stays as its
//! SHA-256. Times come from the caller, who has the clock.

pub mod account;
pub mod attempt;
pub mod authorization;
pub mod decision;
pub mod factor;
pub mod launch;
pub mod session;
mod time;

use sha2::{Digest as _, Sha256};

/// Every statement of this module, for the test that prepares them.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    [
        account::STATEMENTS,
        attempt::STATEMENTS,
        authorization::STATEMENTS,
        decision::STATEMENTS,
        factor::STATEMENTS,
        launch::STATEMENTS,
        session::STATEMENTS,
    ]
    .into_iter()
    .flatten()
    .copied()
}
