//! Which pages may read an answer where clients register their origins.
//!
//! A preflight names no client: it is answered for the origins of all. The answer itself is for those
//! of the client whose token or credentials it was asked with.
//!
//! Spec: security R8, D6

use axum::http::{HeaderMap, HeaderValue};

use crate::http::server::Server;
use crate::http::table::Audit;
use crate::oauth::Authority;

use super::{Cors, OfClient, Readers};

/// What a request was, as far as its answer's readers go.
pub(in crate::http) struct Asked<'a> {
    /// Its origin.
    pub(in crate::http) origin: &'a HeaderValue,
    /// Its headers.
    pub(in crate::http) headers: &'a HeaderMap,
    /// Its row of the table.
    pub(in crate::http) row: Option<usize>,
    /// The client that its handler knows.
    pub(in crate::http) client: Option<OfClient>,
}

/// Which pages may read the answer to a request.
pub(in crate::http) async fn readers(
    server: &Server,
    authority: &Authority,
    asked: Asked<'_>,
) -> Readers {
    let Asked { origin, headers, row, client } = asked;
    let is_public = row.is_some_and(|row| server.table.routes()[row].audit == Audit::Public);
    if is_public || matches!(server.cors, Cors::Any) {
        return Readers::All;
    }
    if server.cors.allows(origin) {
        return Readers::Asker;
    }
    let Ok(origin) = origin.to_str() else { return Readers::Nobody };
    let origins = client.map(|client| client.0).or_else(|| server.authenticator.origins(headers));
    let is_registered = match origins {
        Some(origins) => origins.iter().any(|known| known == origin),
        None => authority.has_origin(origin).await.unwrap_or(false),
    };
    if is_registered { Readers::Asker } else { Readers::Nobody }
}
