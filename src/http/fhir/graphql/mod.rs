//! `$graphql` of the system and of a resource: a document in, JSON with `data` and `errors` out.
//!
//! Spec: <https://hl7.org/fhir/R4/graphql.html>, rest 6.31

mod asked;

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::access::interaction::Kind;
use crate::access::{Caller, RequestContext};
use crate::engine::graphql::{Answered, Fault, Source, Step, address};
use crate::engine::{Engine, Searched};
use crate::error::Error;
use crate::fhir::json::{Object, Value};
use crate::fhir::query::Query;
use crate::fhir::{Identity, ResourceType, Version, VersionId, operation_outcome};
use crate::http::exchange::Exchange;
use crate::http::outcome::{Failure, issues};
use crate::http::{headers, query};

use super::{search, tripwire};

/// `GET` and `POST` of `$graphql` and of `[type]/[id]/$graphql`
pub(in crate::http) async fn graphql(mut exchange: Exchange) -> Result<Response<Body>, Failure> {
    let of = match exchange.target.id {
        Some(_) => Some(exchange.identity()?),
        None => None,
    };
    let asked = asked::read(&mut exchange).await?;
    let is_pretty = query::is_pretty(&exchange.query, exchange.is_strict())?;
    let engine = &exchange.server.engine;
    let here = Here {
        engine,
        caller: &exchange.caller,
        steps: steps(&exchange.caller, of.is_some()),
        asking: tripwire::Asking::of(&exchange),
    };
    let answered = engine.graphql(of.as_ref(), &asked, &here, &exchange.caller).await;
    let answer = answer(answered.map_err(Failure::Interaction)?);
    let mut text = Vec::new();
    if is_pretty {
        answer.write_pretty(&mut text);
    } else {
        answer.write(&mut text);
    }
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers::set_caching(headers);
    Ok(response)
}

/// The caller as one of requests of their own, each below the base.
fn steps(caller: &Caller, is_of_one: bool) -> Caller {
    let path = caller.request.path_and_query.split('?').next().unwrap_or_default();
    let mut base = path.trim_end_matches('/');
    let own = if is_of_one { 3 } else { 1 };
    for _ in 0..own {
        base = base.rsplit_once('/').map_or("", |(before, _)| before);
    }
    let path_and_query = base.to_owned();
    let request = RequestContext { path_and_query, ..(*caller.request).clone() };
    Caller { request: Arc::new(request), ..caller.clone() }
}

/// Reads and searches as this server does them by themselves.
struct Here<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
    steps: Caller,
    asking: tripwire::Asking<'a>,
}

impl Here<'_> {
    /// A version that is about to be told of.
    async fn told(&self, kind: Kind, mut version: Version) -> Result<Version, Error> {
        tripwire::check(self.asking, kind, [&version]).await.map_err(error)?;
        tripwire::reveal(self.asking, [&mut version]).map_err(error)?;
        Ok(version)
    }
}

impl Source for Here<'_> {
    fn read<'a>(
        &'a self,
        identity: &'a Identity,
        version: Option<VersionId>,
    ) -> BoxFuture<'a, Result<Version, Error>> {
        async move {
            let Some(version) = version else {
                let caller = self.steps.of_entry(&identity.to_string());
                let found = self.engine.read(identity, &caller).await?;
                return self.told(Kind::Read, found).await;
            };
            let caller = self.steps.of_entry(&format!("{identity}/_history/{version}"));
            let found = self.engine.vread(identity, version, &caller).await?;
            self.told(Kind::Vread, found).await
        }
        .boxed()
    }

    fn root<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Version, Error>> {
        async move {
            let found = self.engine.graphql_root(identity, self.caller).await?;
            self.told(Kind::Read, found).await
        }
        .boxed()
    }

    fn search<'a>(
        &'a self,
        of: ResourceType,
        query: &'a Query,
    ) -> BoxFuture<'a, Result<Searched, Error>> {
        async move {
            let caller = self.steps.of_entry(&address(of, query));
            let mut found = self.engine.graphql_search(of, query, &caller).await?;
            let versions = search::versions(&found);
            tripwire::check(self.asking, Kind::SearchType, versions).await.map_err(error)?;
            tripwire::reveal(self.asking, search::versions_mut(&mut found)).map_err(error)?;
            Ok(found)
        }
        .boxed()
    }
}

/// Why something is not shown.
fn error(failure: Failure) -> Error {
    match failure {
        Failure::Interaction(error) | Failure::Request(error) => error,
        other => Error::internal(format!("{:?}", other.status())),
    }
}

fn answer(answered: Answered) -> Value<'static> {
    let Answered { data, faults } = answered;
    let faults: Vec<Value<'static>> = faults.iter().map(fault).collect();
    let faults = (!faults.is_empty()).then_some(faults);
    Object::new().with_some("data", data).with_some("errors", faults).into()
}

/// An error in the words of GraphQL, with the outcome that the same interaction has by itself.
fn fault(fault: &Fault) -> Value<'static> {
    let Fault { message, place, path, cause } = fault;
    let place = place.map(|place| {
        let place = Object::new()
            .with("line", u64::from(place.line))
            .with("column", u64::from(place.column));
        vec![Value::from(place)]
    });
    let step = |step: &Step| match step {
        Step::Index(index) => Value::from(*index as u64),
        Step::Key(key) => Value::from(key.clone()),
    };
    let path: Vec<Value<'static>> = path.iter().map(step).collect();
    let resource = cause.as_ref().map(|cause| operation_outcome(&issues(cause)));
    let extensions = resource.map(|resource| Object::new().with("resource", resource));
    Object::new()
        .with("message", message.clone())
        .with_some("locations", place)
        .with_some("path", (!path.is_empty()).then_some(path))
        .with_some("extensions", extensions)
        .into()
}

#[cfg(test)]
mod tests {
    use crate::access::Principal;
    use crate::fhir::json::parse;

    use super::*;

    #[test]
    fn steps_are_requests_below_the_base() {
        for (path, is_of_one, expected) in [
            ("/fhir/$graphql?query=x", false, "/fhir/Patient/1"),
            ("/fhir/$graphql/", false, "/fhir/Patient/1"),
            ("/fhir/%24graphql", false, "/fhir/Patient/1"),
            ("/fhir/Patient/2/$graphql?query=a/b", true, "/fhir/Patient/1"),
            ("/t/one/fhir/Patient/2/$graphql", true, "/t/one/fhir/Patient/1"),
        ] {
            let request = RequestContext {
                id: "r".to_owned(),
                method: "POST",
                path_and_query: path.to_owned(),
                source: None,
            };
            let caller = Caller::new(Principal::open(), request);
            let step = steps(&caller, is_of_one).of_entry("Patient/1");
            assert_eq!(step.request.path_and_query, expected, "{path}");
        }
    }

    #[test]
    fn an_error_says_where_and_has_an_outcome_where_there_is_one() {
        let found = Fault {
            message: "Patient/1 is not known".to_owned(),
            place: Some(crate::engine::graphql::Place { line: 1, column: 3 }),
            path: vec![Step::Key("a".to_owned()), Step::Index(0)],
            cause: Some(Arc::new(Error::NotFound("Patient/1".to_owned()))),
        };
        let text = answer(Answered { data: None, faults: vec![found] }).to_text();
        let value = parse(text.as_bytes()).expect("JSON");
        let [error] = value.items_at("errors") else { panic!("{text}") };
        let outcome = error.get("extensions").and_then(|it| it.get("resource"));
        assert_eq!(outcome.and_then(|it| it.str_at("resourceType")), Some("OperationOutcome"));
        let expected = r#"{"errors":[{"message":"Patient/1 is not known","locations":[{"line":1,"column":3}],"path":["a",0],"#;
        assert!(text.starts_with(expected), "{text}");
    }
}
