//! What every request needs: the engine, the table of routes, and how the endpoint is set up.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::clock::IdSource;
use crate::config::Network;
use crate::engine::Engine;
use crate::fhir::json::Limits;
use crate::fhir::schema::Schema;
use crate::hl7v2::receive::Receiver;
use crate::oauth::Authority;

use super::caller::Authenticator;
use super::capability::{Capability, Options};
use super::cors::Cors;
use super::meters::Meters;
use super::table::{Route, RouteError, Table};

/// How the endpoint is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The base that clients see, when it is configured (`http.base_url`).
    pub base_url: Option<String>,
    /// The base by the listener's own address: what is left when a request names no host.
    pub listener_base: String,
    /// Web origins that browsers may call from; `*` for all.
    pub cors_origins: Vec<String>,
    /// Proxies whose word on what a client asked counts, beside those of this machine.
    pub trusted_proxies: Vec<Network>,
    /// Largest body in bytes, also after decompression.
    pub max_body_bytes: usize,
    /// The same of a Binary.
    pub max_binary_bytes: usize,
    /// The same of a message of HL7 version 2, or a batch of them.
    pub max_message_bytes: usize,
    /// Deepest nesting of a body.
    pub max_depth: usize,
    /// Longest path and query, in bytes.
    pub max_url_bytes: usize,
    /// Longest time that a request may take.
    pub timeout: Duration,
    /// Whether health is on this listener.
    pub with_admin: bool,
    /// Whether metrics are there too.
    pub with_metrics: bool,
}

/// Bytes of a body for each value that it may hold: real ones take twenty or more.
const BYTES_A_VALUE: usize = 10;

impl Settings {
    /// What a body may hold.
    pub(super) fn parsed(&self) -> Limits {
        let values = Limits::default().values.min(self.max_body_bytes / BYTES_A_VALUE);
        Limits { depth: self.max_depth, values }
    }
}

/// How the process does, as `/health` and `/metrics` tell.
pub trait Probe: Send + Sync {
    /// Whether requests can be served; the reason when not.
    fn ready(&self) -> BoxFuture<'_, Result<(), String>>;

    /// All metrics in the text form of Prometheus.
    fn metrics(&self) -> String;
}

/// One HTTP endpoint, shared by all its requests.
pub struct Server {
    /// The FHIR interactions.
    pub engine: Arc<Engine>,
    /// Takes messages of HL7 version 2 in.
    pub messages: Arc<Receiver>,
    /// How the endpoint is set up.
    pub settings: Settings,
    /// Who asks.
    pub authenticator: Arc<dyn Authenticator>,
    /// Makes request ids.
    pub ids: Arc<dyn IdSource>,
    /// How the process does.
    pub probe: Arc<dyn Probe>,
    /// The authorization server, where tokens are asked for.
    pub oauth: Option<Arc<Authority>>,
    /// Whether it is for administration: no FHIR, and nothing for pages of other origins.
    pub(super) is_plain: bool,
    pub(super) capability: Capability,
    pub(super) cors: Cors,
    pub(super) meters: Meters,
    pub(super) table: Table,
}

/// What `app` puts together for an endpoint.
#[derive(Clone)]
pub struct Parts {
    /// The FHIR interactions.
    pub engine: Arc<Engine>,
    /// Takes messages of HL7 version 2 in.
    pub messages: Arc<Receiver>,
    /// How the endpoint is set up.
    pub settings: Settings,
    /// Who asks.
    pub authenticator: Arc<dyn Authenticator>,
    /// Makes request ids.
    pub ids: Arc<dyn IdSource>,
    /// How the process does.
    pub probe: Arc<dyn Probe>,
    /// The authorization server, where tokens are asked for.
    pub oauth: Option<Arc<Authority>>,
}

impl Server {
    /// An endpoint with `routes`.
    ///
    /// # Errors
    /// [`RouteError`] when a route is not declared as it must be: the server must not start then.
    pub fn new(parts: Parts, routes: Vec<Route>) -> Result<Self, RouteError> {
        let Parts { engine, messages, settings, authenticator, ids, probe, oauth } = parts;
        let table = Table::new(routes)?;
        let options = Options {
            has_cors: !settings.cors_origins.is_empty(),
            deletes_many: engine.max_conditional_delete() > 1,
            has_words: engine.has_words(),
            enforces_references: engine.enforces_references(),
            has_subscriptions: engine.serves_subscriptions(),
            endpoints: oauth.as_ref().map(|it| it.settings.endpoints()).unwrap_or_default(),
        };
        let capability = Capability::new(&table, options);
        Ok(Self {
            cors: Cors::new(&settings.cors_origins),
            meters: Meters::new(&table),
            is_plain: false,
            capability,
            table,
            engine,
            messages,
            settings,
            authenticator,
            ids,
            probe,
            oauth,
        })
    }

    /// The same for administration: it says what is wrong without FHIR, and lets no page of another
    /// origin read anything.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { is_plain: true, ..self }
    }

    /// The element table.
    pub fn schema(&self) -> &Schema {
        &self.engine.spec().schema
    }
}
