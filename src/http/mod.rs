//! FHIR's RESTful API over HTTP: routes, headers, forms, answers.
//!
//! It reads what a request says, asks [`crate::engine`], and says what came of it. It decides
//! nothing about resources and keeps nothing between requests. The only module that knows axum
//! and HTTP statuses.
//!
//! Layer: 7. Imports `access`, `clock`, `engine`, `error`, `fhir`, `hl7v2`, `oauth`, `spec`, `validate`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html>

mod base;
mod body;
mod bundle;
pub mod caller;
mod capability;
mod compression;
pub mod condition;
pub mod console;
mod cors;
mod dispatch;
pub mod exchange;
mod fhir;
pub mod form;
pub mod headers;
mod health;
pub mod listener;
mod meters;
pub mod negotiation;
pub mod oauth;
pub mod outcome;
mod parameters;
pub mod prefer;
pub mod query;
pub mod routes;
pub mod server;
pub mod table;
mod task;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};

pub use crate::fhir::shape;

pub use caller::{Authenticator, Open};
pub use oauth::Bearer;
pub use server::{Parts, Probe, Settings};
pub use table::{Route, RouteError};

use server::Server;

/// The services of one endpoint.
#[derive(Clone)]
pub struct Routers {
    /// FHIR and everything else of the HTTP listener.
    pub fhir: Router,
    /// Health and metrics, for a listener of their own.
    pub admin: Router,
    /// Clients, accounts and keys, for a listener of their own, where tokens are asked for.
    pub administration: Option<Router>,
}

/// The services that `parts` make.
///
/// # Errors
/// [`RouteError`] when a route is not declared as it must be: the server must not start then.
pub fn router(parts: Parts) -> Result<Routers, RouteError> {
    let with_admin = parts.settings.with_admin;
    let admin = Server::new(parts.clone(), routes::admin())?;
    let mut routes = routes::all(with_admin);
    routes.retain(|route| parts.settings.with_metrics || route.path != routes::METRICS);
    routes.extend(console::all());
    let mut administration = None;
    if parts.oauth.is_some() {
        routes.extend(oauth::routes::all());
        let server = Server::new(parts.clone(), oauth::admin::routes())?;
        administration = Some(service(server.plain()));
    }
    let fhir = Server::new(parts, routes)?;
    Ok(Routers { fhir: service(fhir), admin: service(admin), administration })
}

/// One fallback, because the table of routes decides everything.
fn service(server: Server) -> Router {
    let serve =
        |State(server): State<Arc<Server>>, request: Request| dispatch::serve(server, request);
    Router::new().fallback(serve).with_state(Arc::new(server))
}
