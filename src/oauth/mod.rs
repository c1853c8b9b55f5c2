//! The authorization server: who a client is, what it was granted, and the tokens that prove it.
//!
//! Decisions are pure where they can be; what lasts is in `store::oauth`. Everything that matters goes
//! on record through [`Gate::note`]. Codes, tokens and secrets are random, shown once, and kept as
//! hashes; this module never logs one.
//!
//! Layer: 5. Imports `access`, `clock`, `config`, `error`, `fhir`, `outbound`, `spec`, `store`.
//!
//! Spec: RFC 6749, 7009, 7591, 7636, 7662; SMART App Launch 2.2; security sections 1, 3, 4.

pub mod admin;
pub mod apps;
pub mod authorize;
pub mod bearer;
pub mod brands;
pub mod client;
pub mod consent;
pub mod development;
pub mod discovery;
pub mod flow;
pub mod form;
pub mod introspect;
pub mod keys;
pub mod launch;
pub mod limits;
pub mod login;
pub mod origins;
pub mod person;
pub mod refusal;
pub mod revoke;
pub mod secret;
mod service;
pub mod token;
mod trusted;
mod upkeep;
pub mod upstream;
mod user;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use secrecy::SecretString;

use crate::access::Gate;
use crate::clock::{Clock, IdSource};
use crate::config::{Brand, Config, Registration};
use crate::outbound::Outbound;
use crate::store::Store;

use client::jwks;
use keys::Keys;
use limits::Limits;

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
    /// How long a secret of a client counts; `None`: until it is replaced twice.
    pub client_secret: Option<Duration>,
    /// Who may register a client.
    pub registration: Registration,
    /// What a client shows to register.
    pub registration_token: Option<SecretString>,
    /// Whether anybody may ask what a token is.
    pub introspection_open: bool,
    /// Whether what patients forbid in an emergency too is kept back then.
    pub heeds_bans: bool,
    /// The tenant whose server it is, where there are several.
    pub tenant: Option<String>,
    /// Capabilities that are switched off.
    pub without: Vec<String>,
    /// After how long a new key is made to sign with.
    pub key_age: Duration,
    /// How people find this server.
    pub brand: Brand,
}

impl Settings {
    /// Those of a configuration, for clients that see the FHIR endpoint at `base`.
    pub fn new(config: &Config, base: &str) -> Self {
        let auth = &config.auth;
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        let days = |days: u32| seconds(24 * 60 * 60) * days;
        Self {
            base: base.to_owned(),
            issuer: issuer(base),
            access_token: seconds(auth.access_token_seconds.get()),
            backend_token: seconds(auth.backend_token_seconds.get()),
            refresh_token: days(auth.refresh_token_days.get()),
            code: seconds(auth.code_seconds.get()),
            client_secret: (auth.client_secret_days > 0).then(|| days(auth.client_secret_days)),
            registration: auth.registration,
            registration_token: auth.registration_token.clone(),
            introspection_open: auth.introspection_open,
            heeds_bans: auth.heed_emergency_bans,
            tenant: config.tenant().map(str::to_owned),
            without: auth.without.clone(),
            key_age: days(auth.key_days.get()),
            brand: config.brand.clone(),
        }
    }
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
    /// What is needed to know persons.
    pub persons: login::Persons,
    /// Where else people may log in.
    pub provider: Option<upstream::Provider>,
    /// What this node signs with.
    pub keys: Arc<Keys>,
    /// How often who may call.
    pub limits: Limits,
    /// Calls to others.
    pub outbound: Outbound,
    /// What this node remembers of tokens.
    pub tokens: bearer::Tokens,
    /// When it is told that a login is refused.
    paces: login::Paces,
    origins: origins::Origins,
    client_keys: jwks::Cache,
    /// Whose access tokens count beside our own.
    trusted: Option<trusted::Trusted>,
    /// Changes with every word from other nodes.
    turns: AtomicU64,
}

/// What an authority is made of.
pub struct Parts {
    /// The database.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn IdSource>,
    /// What is needed to know persons.
    pub persons: login::Persons,
    /// What this node signs with.
    pub keys: Arc<Keys>,
}

impl Authority {
    /// The authority of an endpoint whose clients see it at `base`.
    pub fn new(parts: Parts, config: &Config, base: &str) -> Self {
        let Parts { store, clock, ids, persons, keys } = parts;
        Self {
            gate: Gate::new(store.clone(), clock.clone(), ids.clone()),
            settings: Settings::new(config, base),
            provider: upstream::Provider::of(&config.upstream),
            limits: Limits::new(&config.limits),
            outbound: Outbound::new(config.auth.outbound_networks.clone()),
            tokens: bearer::Tokens::default(),
            paces: login::Paces::default(),
            origins: origins::Origins::default(),
            client_keys: jwks::Cache::default(),
            trusted: trusted::Trusted::of(config.trusted.values()),
            turns: AtomicU64::new(0),
            store,
            clock,
            ids,
            persons,
            keys,
        }
    }
}

/// The issuer that belongs to a FHIR base.
pub fn issuer(base: &str) -> String {
    format!("{}/auth", base.strip_suffix("/fhir").unwrap_or(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn settings() -> Settings {
        let config = Config::load(None, &[]).expect("the defaults");
        Settings::new(&config, "https://h.org/fhir")
    }

    #[test]
    fn the_issuer_is_beside_the_fhir_endpoint() {
        for (base, expected) in [
            ("https://h.org/fhir", "https://h.org/auth"),
            ("https://h.org/a/fhir", "https://h.org/a/auth"),
            ("https://h.org/r4", "https://h.org/r4/auth"),
        ] {
            assert_eq!(issuer(base), expected);
        }
    }
}
