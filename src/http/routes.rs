//! The routes: every path that this server answers, in one table.
//!
//! Method, path, interaction, audit, handler. The CapabilityStatement, the metrics and `Allow` are
//! computed from it; what is not here does not exist.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#summary>

use axum::http::Method;

use crate::access::interaction::Kind;

use super::fhir::{
    codes, convert, create, delete, disclosures, everything, export, graphql, history, messages,
    meta, metadata, patch, read, reindex, search, system, terminology, update, validate,
};
use super::health;
use super::table::{Audit, Handler, Route};

/// A row of a FHIR interaction.
macro_rules! fhir {
    ($method:ident $path:literal $kind:ident $handler:path) => {
        Route {
            method: Method::$method,
            path: $path,
            interaction: Some(Kind::$kind),
            audit: Audit::Gate,
            handler: Handler::Fhir(|exchange| Box::pin($handler(exchange))),
        }
    };
}

/// A row of anything that discloses no resource.
macro_rules! public {
    ($method:ident $path:literal $handler:path) => {
        Route {
            method: Method::$method,
            path: $path,
            interaction: None,
            audit: Audit::Public,
            handler: Handler::Plain(|server, parts| Box::pin($handler(server, parts))),
        }
    };
}

/// Every route of this module, hottest first; health and metrics where `with_admin` says so.
pub fn all(with_admin: bool) -> Vec<Route> {
    let mut routes = vec![
        fhir!(GET "/fhir/{type}/{id}" Read read::read),
        fhir!(PUT "/fhir/{type}/{id}" Update update::update),
        fhir!(PATCH "/fhir/{type}/{id}" Patch patch::patch),
        fhir!(DELETE "/fhir/{type}/{id}" Delete delete::delete),
        fhir!(POST "/fhir/{type}" Create create::create),
        fhir!(GET "/fhir/{type}" SearchType search::of_type),
        fhir!(GET "/fhir/{type}/_search" SearchType search::of_type),
        fhir!(POST "/fhir/{type}/_search" SearchType search::of_type),
        fhir!(POST "/fhir" Batch system::bundle),
        fhir!(GET "/fhir/{type}/{id}/{member}" SearchType search::in_compartment),
        fhir!(GET "/fhir/{type}/{id}/{member}/_search" SearchType search::in_compartment),
        fhir!(POST "/fhir/{type}/{id}/{member}/_search" SearchType search::in_compartment),
        fhir!(GET "/fhir/{type}/{id}/*" SearchSystem search::in_compartment),
        fhir!(GET "/fhir/{type}/{id}/*/_search" SearchSystem search::in_compartment),
        fhir!(POST "/fhir/{type}/{id}/*/_search" SearchSystem search::in_compartment),
        fhir!(GET "/fhir" SearchSystem search::system),
        fhir!(GET "/fhir/_search" SearchSystem search::system),
        fhir!(POST "/fhir/_search" SearchSystem search::system),
        fhir!(PUT "/fhir/{type}" Update update::conditional),
        fhir!(PATCH "/fhir/{type}" Patch patch::conditional),
        fhir!(DELETE "/fhir/{type}" Delete delete::conditional),
        fhir!(GET "/fhir/{type}/{id}/_history" HistoryInstance history::instance),
        fhir!(GET "/fhir/{type}/{id}/_history/{vid}" Vread read::vread),
        fhir!(GET "/fhir/{type}/_history" HistoryType history::of_type),
        fhir!(GET "/fhir/_history" HistorySystem history::system),
        fhir!(GET "/fhir/Patient/{id}/$disclosures" Disclosures disclosures::disclosures),
        fhir!(GET "/fhir/$meta" Meta meta::meta),
        fhir!(GET "/fhir/{type}/$meta" Meta meta::meta),
        fhir!(GET "/fhir/{type}/{id}/$meta" Meta meta::meta),
        fhir!(GET "/fhir/{type}/{id}/_history/{vid}/$meta" Meta meta::meta),
        fhir!(POST "/fhir/$meta" Meta meta::meta),
        fhir!(POST "/fhir/{type}/$meta" Meta meta::meta),
        fhir!(POST "/fhir/{type}/{id}/$meta" Meta meta::meta),
        fhir!(POST "/fhir/{type}/{id}/_history/{vid}/$meta" Meta meta::meta),
        fhir!(POST "/fhir/{type}/{id}/$meta-add" MetaAdd meta::add),
        fhir!(POST "/fhir/{type}/{id}/$meta-delete" MetaDelete meta::delete),
        fhir!(POST "/fhir/{type}/{id}/_history/{vid}/$meta-add" MetaAdd meta::add),
        fhir!(POST "/fhir/{type}/{id}/_history/{vid}/$meta-delete" MetaDelete meta::delete),
        fhir!(POST "/fhir/$reindex" Reindex reindex::ask),
        fhir!(POST "/fhir/{type}/$reindex" Reindex reindex::ask),
        fhir!(POST "/fhir/{type}/{id}/$reindex" Reindex reindex::ask),
        fhir!(GET "/fhir/$reindex" Reindex reindex::status),
        fhir!(GET "/fhir/{type}/$reindex" Reindex reindex::status),
        fhir!(GET "/fhir/{type}/{id}/$reindex" Reindex reindex::status),
        fhir!(POST "/fhir/{type}/$validate" Validate validate::sent),
        fhir!(POST "/fhir/{type}/{id}/$validate" Validate validate::sent),
        fhir!(GET "/fhir/{type}/{id}/$validate" Validate validate::stored),
        public!(GET "/fhir/metadata" metadata::metadata),
        public!(GET "/" health::landing),
    ];
    routes.extend(of_codes());
    routes.extend(of_records());
    routes.extend(of_graphql());
    routes.extend(of_exports());
    routes.extend(of_messages());
    if with_admin {
        routes.extend(admin());
    }
    routes
}

/// Where the metrics are.
pub(super) const METRICS: &str = "/metrics";

/// The terminology operations.
fn of_codes() -> Vec<Route> {
    vec![
        fhir!(GET "/fhir/CodeSystem/$lookup" Lookup terminology::lookup),
        fhir!(POST "/fhir/CodeSystem/$lookup" Lookup terminology::lookup),
        fhir!(GET "/fhir/CodeSystem/$subsumes" Subsumes terminology::subsumes),
        fhir!(POST "/fhir/CodeSystem/$subsumes" Subsumes terminology::subsumes),
        fhir!(GET "/fhir/CodeSystem/{id}/$subsumes" Subsumes terminology::subsumes),
        fhir!(POST "/fhir/CodeSystem/{id}/$subsumes" Subsumes terminology::subsumes),
        fhir!(GET "/fhir/CodeSystem/$validate-code" ValidateCode terminology::in_system),
        fhir!(POST "/fhir/CodeSystem/$validate-code" ValidateCode terminology::in_system),
        fhir!(GET "/fhir/CodeSystem/{id}/$validate-code" ValidateCode terminology::in_system),
        fhir!(POST "/fhir/CodeSystem/{id}/$validate-code" ValidateCode terminology::in_system),
        fhir!(GET "/fhir/ConceptMap/$translate" Translate terminology::translate),
        fhir!(POST "/fhir/ConceptMap/$translate" Translate terminology::translate),
        fhir!(GET "/fhir/ConceptMap/{id}/$translate" Translate terminology::translate),
        fhir!(POST "/fhir/ConceptMap/{id}/$translate" Translate terminology::translate),
        fhir!(GET "/fhir/ValueSet/$expand" Expand terminology::expand),
        fhir!(POST "/fhir/ValueSet/$expand" Expand terminology::expand),
        fhir!(GET "/fhir/ValueSet/{id}/$expand" Expand terminology::expand),
        fhir!(POST "/fhir/ValueSet/{id}/$expand" Expand terminology::expand),
        fhir!(GET "/fhir/ValueSet/$validate-code" ValidateCode terminology::in_set),
        fhir!(POST "/fhir/ValueSet/$validate-code" ValidateCode terminology::in_set),
        fhir!(GET "/fhir/ValueSet/{id}/$validate-code" ValidateCode terminology::in_set),
        fhir!(POST "/fhir/ValueSet/{id}/$validate-code" ValidateCode terminology::in_set),
        fhir!(POST "/fhir/$closure" Closure terminology::closure),
    ]
}

/// Records, whole and in short.
fn of_records() -> Vec<Route> {
    vec![
        fhir!(GET "/fhir/Patient/$everything" Everything everything::everything),
        fhir!(POST "/fhir/Patient/$everything" Everything everything::everything),
        fhir!(GET "/fhir/Patient/{id}/$everything" Everything everything::everything),
        fhir!(POST "/fhir/Patient/{id}/$everything" Everything everything::everything),
        fhir!(GET "/fhir/Group/{id}/$everything" Everything everything::everything),
        fhir!(POST "/fhir/Group/{id}/$everything" Everything everything::everything),
        fhir!(GET "/fhir/Encounter/{id}/$everything" Everything everything::everything),
        fhir!(POST "/fhir/Encounter/{id}/$everything" Everything everything::everything),
        fhir!(GET "/fhir/Patient/$summary" Summary everything::summary),
        fhir!(POST "/fhir/Patient/$summary" Summary everything::summary),
        fhir!(GET "/fhir/Patient/{id}/$summary" Summary everything::summary),
        fhir!(POST "/fhir/Patient/{id}/$summary" Summary everything::summary),
    ]
}

/// Documents of GraphQL.
fn of_graphql() -> Vec<Route> {
    vec![
        fhir!(GET "/fhir/$graphql" GraphQl graphql::graphql),
        fhir!(POST "/fhir/$graphql" GraphQl graphql::graphql),
        fhir!(GET "/fhir/{type}/{id}/$graphql" GraphQl graphql::graphql),
        fhir!(POST "/fhir/{type}/{id}/$graphql" GraphQl graphql::graphql),
    ]
}

/// Exports of many resources.
fn of_exports() -> Vec<Route> {
    vec![
        fhir!(GET "/fhir/$export" Export export::ask),
        fhir!(POST "/fhir/$export" Export export::ask),
        fhir!(GET "/fhir/Patient/$export" Export export::ask),
        fhir!(POST "/fhir/Patient/$export" Export export::ask),
        fhir!(GET "/fhir/Group/{id}/$export" Export export::ask),
        fhir!(POST "/fhir/Group/{id}/$export" Export export::ask),
        fhir!(GET "/fhir/$export/{id}" ExportStatus export::status),
        fhir!(DELETE "/fhir/$export/{id}" ExportCancel export::cancel),
        fhir!(GET "/fhir/$export/{id}/{name}" ExportFile export::file),
    ]
}

/// Messages of HL7 version 2.
fn of_messages() -> Vec<Route> {
    vec![
        fhir!(POST "/fhir/$hl7v2-convert" ConvertMessage convert::convert),
        fhir!(POST "/v2/messages" ReceiveMessage messages::receive),
        fhir!(GET "/v2/messages" SearchMessages messages::list),
        fhir!(POST "/v2/messages/$replay" ReplayMessage messages::replay_failed),
        fhir!(GET "/v2/messages/{id}" ReadMessage messages::read),
        fhir!(POST "/v2/messages/{id}/$replay" ReplayMessage messages::replay),
        fhir!(POST "/v2/messages/{id}/$discard" DiscardMessage messages::discard),
        fhir!(POST "/v2/messages/{id}/$unmerge" UnmergeMessage messages::unmerge),
        fhir!(GET "/v2/codes" SearchMessages codes::list),
        fhir!(POST "/v2/codes" ReplayMessage codes::add),
    ]
}

/// Health and metrics, which may have a listener of their own.
pub fn admin() -> Vec<Route> {
    vec![
        public!(GET "/health/live" health::live),
        public!(GET "/health/ready" health::ready),
        public!(GET "/metrics" health::metrics),
    ]
}

#[cfg(test)]
mod tests {
    use crate::http::table::{RouteError, Table};

    use crate::engine::bundle::plan;
    use crate::fhir::json::parse;

    use super::*;

    #[test]
    fn the_routes_are_declared_as_they_must_be() {
        assert!(Table::new(all(true)).is_ok());
        assert!(Table::new(all(false)).is_ok());
        assert!(Table::new(admin()).is_ok());
    }

    #[test]
    fn what_a_route_serves_an_entry_of_a_bundle_may_ask_for() {
        let base = "http://a/fhir";
        for route in all(false) {
            let (Some(kind), Some(path)) = (route.interaction, route.path.strip_prefix("/fhir"))
            else {
                continue;
            };
            let is_bundle = path.is_empty() && route.method == Method::POST;
            let url = path.trim_start_matches('/').replace("{type}", "Patient");
            let url =
                url.replace("{id}", "a").replace("{vid}", "1").replace("{member}", "Condition");
            let writes = [Method::DELETE, Method::PATCH, Method::PUT].contains(&route.method);
            let criteria = if writes && url == "Patient" { "?_id=a" } else { "" };
            let method = &route.method;
            let text = format!(
                r#"{{"entry":[{{"resource":{{"resourceType":"Parameters"}},
                    "request":{{"method":"{method}","url":"{url}{criteria}"}}}}]}}"#
            );
            let mut bundle = parse(text.as_bytes()).expect("JSON");
            let entry = plan::entries(&mut bundle, base, true).remove(0);
            let found = entry.ok().map(|entry| entry.action.attempted().0.kind);
            assert_eq!(found, (!is_bundle).then_some(kind), "{method} {path}");
        }
    }

    #[test]
    fn an_undeclared_route_stops_the_start() {
        let planted = Route {
            interaction: None,
            audit: Audit::Public,
            ..fhir!(GET "/fhir/{type}/{id}/$planted" Read read::read)
        };
        let mut routes = all(true);
        routes.push(planted);
        let expected = RouteError::Inconsistent(Method::GET, "/fhir/{type}/{id}/$planted");
        assert_eq!(Table::new(routes).err(), Some(expected));
    }
}
