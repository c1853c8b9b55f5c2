//! history: `GET [type]/[id]/_history`, `GET [type]/_history`, `GET _history`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#history>, rest 2g

use axum::body::Body;
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;

use crate::access::interaction::Kind;
use crate::engine::{CURSOR, HISTORY_PARAMETERS, HistoryPage, HistoryScope};
use crate::fhir::query::Query;
use crate::http::bundle::{BundleWriter, Head};
use crate::http::exchange::Exchange;
use crate::http::headers;
use crate::http::outcome::Failure;
use crate::http::query;

use super::entry::VersionEntries;
use super::{labels, link, tripwire};

/// `GET [type]/[id]/_history`
pub(in crate::http) async fn instance(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let scope = HistoryScope::Instance(exchange.identity()?);
    history(exchange, scope).await
}

/// `GET [type]/_history`
pub(in crate::http) async fn of_type(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let scope = HistoryScope::Type(exchange.resource_type()?);
    history(exchange, scope).await
}

/// `GET _history`
pub(in crate::http) async fn system(exchange: Exchange) -> Result<Response<Body>, Failure> {
    history(exchange, HistoryScope::System).await
}

async fn history(exchange: Exchange, scope: HistoryScope) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    exchange.check_known(&HISTORY_PARAMETERS)?;
    let engine = &exchange.server.engine;
    let request = engine.history_request(scope, &exchange.query, exchange.is_strict())?;
    let shape = query::shape(&exchange.query)?;
    let page = engine.history(&request, &exchange.caller).await;
    let mut page = page.map_err(Failure::Interaction)?;
    let asking = tripwire::Asking::of(&exchange);
    tripwire::check(asking, kind_of(&request.scope), &page.versions).await?;
    tripwire::reveal(asking, &mut page.versions)?;

    let base = exchange.base();
    let links = links(&base, &request.scope, &exchange.query, &page);
    let HistoryPage { total, versions, .. } = page;
    let head =
        Head { bundle_type: "history", label: labels::highest(&versions), total, links: &links };
    let spec = engine.spec();
    let mut entries = VersionEntries::new(&base, shape, spec.clone());
    let writer = BundleWriter::new(form, spec.clone());
    let body =
        writer.into_body(&head, versions, move |version, out| entries.write(&version, out))?;
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, form.media_type.content_type());
    headers::set_caching(headers);
    Ok(response)
}

/// The kind of interaction by which versions of a history are shown.
pub(super) fn kind_of(scope: &HistoryScope) -> Kind {
    match scope {
        HistoryScope::Instance(_) => Kind::HistoryInstance,
        HistoryScope::System | HistoryScope::Type(_) => Kind::HistoryType,
    }
}

/// `self` with what was understood, `previous` and `next` when there is more.
pub(super) fn links(
    base: &str,
    scope: &HistoryScope,
    query: &Query,
    page: &HistoryPage,
) -> Vec<(&'static str, String)> {
    let path = match scope {
        HistoryScope::Instance(identity) => format!("{identity}/_history"),
        HistoryScope::System => "_history".to_owned(),
        HistoryScope::Type(resource_type) => format!("{resource_type}/_history"),
    };
    let kept = [
        "_at",
        "_count",
        "_elements",
        "_format",
        "_list",
        "_pretty",
        "_since",
        "_sort",
        "_summary",
    ];
    let url = |cursor: Option<&str>| {
        let known = query.iter().filter(|(name, value)| kept.contains(name) && !value.is_empty());
        let all = known.chain(cursor.map(|cursor| (CURSOR, cursor)));
        link::url(base, &path, all)
    };
    let mut links = vec![("self", url(query.first(CURSOR)))];
    for (relation, cursor) in [("previous", &page.previous), ("next", &page.next)] {
        links.extend(cursor.as_ref().map(|cursor| (relation, url(Some(cursor)))));
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_what_was_understood() {
        let query = Query::parse("_since=2020-05-04T12:00:00%2B02:00&foo=1&_count=2");
        let query = query.expect("query");
        let (next, previous) = (Some("a b".to_owned()), Some("c".to_owned()));
        let page = HistoryPage { total: None, versions: vec![], next, previous };
        let links = links("http://a/fhir", &HistoryScope::System, &query, &page);
        let own = "http://a/fhir/_history?_since=2020-05-04T12:00:00%2B02:00&_count=2";
        let next = format!("{own}&_cursor=a%20b");
        let previous = format!("{own}&_cursor=c");
        assert_eq!(links, [("self", own.to_owned()), ("previous", previous), ("next", next)]);
    }
}
