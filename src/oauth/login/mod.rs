//! Persons: their accounts, sessions, passwords and second factors.
//!
//! | file | does |
//! |---|---|
//! | `account` | logging in by a password, one-time links, how often may be tried |
//! | `factor` | setting up and proving second factors, recovery codes |
//! | `session` | sessions of browsers |
//! | `password`, `totp`, `webauthn`, `cbor` | what is proved, by itself |
//! | `seal`, `handle` | what is kept of secrets |

pub mod account;
mod cbor;
pub mod emergency;
pub mod factor;
pub mod handle;
pub mod password;
pub mod seal;
pub mod session;
pub mod step_up;
pub mod totp;
pub mod webauthn;

pub use account::Account;
pub(super) use account::Paces;
pub use session::{Browser, Persons, Stage, Visitor};
