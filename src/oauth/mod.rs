//! The authorization server: who a client is, what it was granted, and the tokens that prove it.
//!
//! Decisions are pure where they can be; what lasts is in `store::oauth`. Everything that matters goes
//! on record through [`Gate::note`]. Codes, tokens and secrets are random, shown once, and kept as
//! hashes; this module never logs one.
//!
//! Layer: 5. Imports `access`, `clock`, `config`, `error`, `fhir`, `outbound`, `store`.
//!
//! Spec: RFC 6749, 7009, 7591, 7636, 7662; SMART App Launch 2.2; security sections 1, 3, 4.

pub mod secret;

use std::sync::Arc;
use std::time::Duration;

use crate::access::Gate;
use crate::clock::{Clock, IdSource};
use crate::store::Store;

/// How the authorization server is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The FHIR base that clients see, without a slash at its end.
    pub base: String,
    /// The issuer: where the endpoints of this module are.
    pub issuer: String,
    /// How long an access token of an app counts.
    pub access_token: Duration,
    /// The same of a backend service.
    pub backend_token: Duration,
    /// How long a refresh token counts from its last use on.
    pub refresh_token: Duration,
    /// How long a code can be exchanged.
    pub code: Duration,
}

/// The authorization server of one endpoint.
pub struct Authority {
    /// The database.
    pub store: Store,
    /// Where events go on record.
    pub gate: Gate<Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn IdSource>,
    /// How it is set up.
    pub settings: Settings,
}

/// The issuer that belongs to a FHIR base.
pub fn issuer(base: &str) -> String {
    format!("{}/auth", base.strip_suffix("/fhir").unwrap_or(base))
}
