//! The routes of the authorization server. They exist where tokens are asked for only.

use axum::http::Method;

use crate::http::table::{Audit, Handler, Route};

use super::{documents, endpoints, pages};

/// A row of the authorization server.
macro_rules! auth {
    ($method:ident $path:literal $handler:path) => {
        Route {
            method: Method::$method,
            path: $path,
            interaction: None,
            audit: Audit::Authority,
            handler: Handler::Auth(|server, parts, body| Box::pin($handler(server, parts, body))),
        }
    };
}

/// A row of what everybody may look up.
macro_rules! public {
    ($path:literal $handler:path) => {
        Route {
            method: Method::GET,
            path: $path,
            interaction: None,
            audit: Audit::Public,
            handler: Handler::Plain(|server, parts| Box::pin($handler(server, parts))),
        }
    };
}

/// Every route of this module.
pub fn all() -> Vec<Route> {
    let mut routes = vec![
        auth!(POST "/auth/token" endpoints::token),
        auth!(POST "/auth/introspect" endpoints::introspect),
        auth!(POST "/auth/revoke" endpoints::revoke),
        auth!(POST "/auth/register" endpoints::register),
        auth!(GET "/auth/register/{name}" endpoints::registration),
        auth!(PUT "/auth/register/{name}" endpoints::change_registration),
        auth!(DELETE "/auth/register/{name}" endpoints::end_registration),
        auth!(POST "/auth/break-glass" endpoints::break_glass),
        public!("/fhir/.well-known/smart-configuration" documents::smart_configuration),
        public!("/auth/.well-known/openid-configuration" documents::openid_configuration),
        public!("/auth/jwks" documents::jwks),
        public!("/auth/brands" documents::brands),
    ];
    routes.extend(pages::all());
    routes
}

#[cfg(test)]
mod tests {
    use crate::http::table::Table;

    use super::*;

    #[test]
    fn the_routes_are_declared_as_they_must_be() {
        let both = crate::http::routes::all(true).into_iter().chain(all());
        let both = both.chain(crate::http::console::all());
        assert!(Table::new(both.collect()).is_ok());
    }
}
