//! The routes of the authorization server. They exist where tokens are asked for only.

use crate::http::table::Route;

/// Every route of this module.
pub fn all() -> Vec<Route> {
    Vec::new()
}
