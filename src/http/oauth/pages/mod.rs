//! The pages of the authorization server: login, second factor, choosing a patient and a visit, consent, apps.
//!
//! Rendered here, without scripts but for one that asks for a security key. Every form carries a token
//! that only our own page knows; every page says that nobody may frame it.
//!
//! | file | does |
//! |---|---|
//! | `html`, `reply`, `visit` | markup, answers, requests |
//! | `authorize` | the app's question, and what comes next |
//! | `login`, `factor`, `enrol`, `setup` | who is there |
//! | `patient`, `picker`, `encounter` | whose record, and which visit, it is about |
//! | `consent`, `apps` | what an app may do |
//! | `upstream` | logging in elsewhere |
//! | `launch` | what an EHR hands to an app |
//! | `assets` | the look |

mod apps;
pub(in crate::http) mod assets;
mod authorize;
mod consent;
mod encounter;
mod enrol;
mod factor;
pub(in crate::http) mod html;
mod launch;
pub(in crate::http) mod login;
mod patient;
mod picker;
pub(in crate::http) mod reply;
mod setup;
mod upstream;
pub(in crate::http) mod visit;

use crate::http::table::Route;

/// A row of a page, of the authorization server or of the console.
macro_rules! page {
    ($method:ident $path:literal $handler:path) => {
        $crate::http::table::Route {
            method: axum::http::Method::$method,
            path: $path,
            interaction: None,
            audit: $crate::http::table::Audit::Authority,
            handler: $crate::http::table::Handler::Auth(|server, parts, body| {
                use $crate::http::oauth::pages::reply;
                let prefix = reply::prefix(server.oauth.as_deref());
                Box::pin(reply::below(prefix, $handler(server, parts, body)))
            }),
        }
    };
}

pub(in crate::http) use page;

/// Every page.
pub(super) fn all() -> Vec<Route> {
    vec![
        page!(GET "/auth/authorize" authorize::ask),
        page!(POST "/auth/authorize" authorize::ask),
        page!(GET "/auth/login" login::show),
        page!(POST "/auth/login" login::send),
        page!(GET "/auth/logout" login::show_out),
        page!(POST "/auth/logout" login::send_out),
        page!(GET "/auth/second-factor" factor::show),
        page!(POST "/auth/second-factor" factor::send),
        page!(GET "/auth/factors" enrol::show),
        page!(POST "/auth/factors" enrol::send),
        page!(GET "/auth/patient" patient::show),
        page!(POST "/auth/patient" patient::send),
        page!(GET "/auth/encounter" encounter::show),
        page!(POST "/auth/encounter" encounter::send),
        page!(GET "/auth/consent" consent::show),
        page!(POST "/auth/consent" consent::send),
        page!(GET "/auth/apps" apps::show),
        page!(POST "/auth/apps" apps::send),
        page!(GET "/auth/setup/{name}" setup::show),
        page!(POST "/auth/setup/{name}" setup::send),
        page!(POST "/auth/launch" launch::make),
        page!(POST "/auth/upstream" upstream::ask),
        page!(GET "/auth/callback" upstream::hear),
        page!(GET "/auth/style" assets::style),
        page!(GET "/auth/assets/{name}" assets::asset),
    ]
}
