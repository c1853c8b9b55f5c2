//! Administration over HTTP, on a listener of its own: clients, accounts and keys as JSON.
//!
//! ```text
//! GET  /admin/clients                 POST /admin/clients
//! GET  /admin/clients/{id}            POST /admin/clients/{id}/disable   POST /admin/clients/{id}/secret
//! GET  /admin/users                   POST /admin/users
//! GET  /admin/users/{name}            POST /admin/users/{name}/disable   POST /admin/users/{name}/enable
//! POST /admin/users/{name}/identity   POST /admin/users/{name}/reset     PUT  /admin/users/{name}/roles
//! GET  /admin/keys                    POST /admin/keys
//! ```
//!
//! Who asks has an access token that administers ([`crate::oauth::admin`]), which does what is asked and
//! puts it on record. Here requests are read and answers written.
//!
//! Spec: security H19, A7

mod clients;
mod desk;
mod keys;
mod users;

use axum::http::Method;

use crate::http::table::{Audit, Handler, Route};

/// A row of administration.
macro_rules! act {
    ($method:ident $path:literal $act:path) => {
        Route {
            method: Method::$method,
            path: $path,
            interaction: None,
            audit: Audit::Authority,
            handler: Handler::Auth(|server, parts, body| {
                Box::pin(desk::answer(server, parts, body, |desk| Box::pin($act(desk))))
            }),
        }
    };
}

/// Every route of this module.
pub fn routes() -> Vec<Route> {
    vec![
        act!(GET "/admin/clients" clients::list),
        act!(POST "/admin/clients" clients::add),
        act!(GET "/admin/clients/{name}" clients::show),
        act!(POST "/admin/clients/{name}/disable" clients::disable),
        act!(POST "/admin/clients/{name}/secret" clients::rotate),
        act!(GET "/admin/users" users::list),
        act!(POST "/admin/users" users::add),
        act!(GET "/admin/users/{name}" users::show),
        act!(POST "/admin/users/{name}/disable" users::disable),
        act!(POST "/admin/users/{name}/enable" users::enable),
        act!(POST "/admin/users/{name}/identity" users::identify),
        act!(POST "/admin/users/{name}/reset" users::reset),
        act!(PUT "/admin/users/{name}/roles" users::give_roles),
        act!(GET "/admin/keys" keys::list),
        act!(POST "/admin/keys" keys::rotate),
    ]
}

#[cfg(test)]
mod tests {
    use crate::http::table::Table;

    use super::*;

    #[test]
    fn the_routes_are_declared_as_they_must_be() {
        assert!(Table::new(routes()).is_ok());
    }
}
