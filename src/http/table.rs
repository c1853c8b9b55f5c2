//! The table that routes are declared in, and how a request finds its row.
//!
//! A row is the only way to serve a path. Rows that contradict the rules (an interaction without
//! audit, a path said twice) stop the start.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Response, request};
use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::id::InvalidId;
use crate::fhir::query;
use crate::fhir::{IssueCode, LogicalId, ResourceType};

use super::exchange::Exchange;
use super::outcome::Failure;
use super::server::Server;

/// What a handler promises: the answer, or why there is none.
pub type Answer = BoxFuture<'static, Result<Response<Body>, Failure>>;

/// Who puts a request of this route on record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Audit {
    /// The authorization server itself: its pages and endpoints, which know their callers.
    Authority,
    /// The gate, once for each attempt.
    Gate,
    /// Nobody: the answer holds nothing of a resource, and needs no credentials.
    Public,
}

/// What serves a route.
#[derive(Clone, Copy)]
pub enum Handler {
    /// The authorization server: finds out itself who asks.
    Auth(fn(Arc<Server>, request::Parts, Body) -> Answer),
    /// A FHIR interaction: runs in a task of its own, with a caller.
    Fhir(fn(Exchange) -> Answer),
    /// Anything else: has no caller, and so no way to data.
    Plain(fn(Arc<Server>, request::Parts) -> Answer),
}

/// One row.
#[derive(Clone)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path with variables: `{type}`, `{id}`, `{vid}`, `{member}`; `{name}` is any word.
    pub path: &'static str,
    /// The interaction, for what reaches resources.
    pub interaction: Option<Kind>,
    /// Who records it.
    pub audit: Audit,
    /// What serves it.
    pub handler: Handler,
}

/// Why a table cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum RouteError {
    /// A FHIR handler without interaction or audit, another handler with one, or the like.
    #[error("{0} {1}: a handler, its interaction and its audit do not go together")]
    Inconsistent(Method, &'static str),
    /// The method has a meaning for every path already.
    #[error("{0} {1}: HEAD and OPTIONS are answered for every route, not declared")]
    Method(Method, &'static str),
    /// The path does not start with a slash, or has an unknown variable.
    #[error("{0}: not a path with {{type}}, {{id}}, {{vid}}, {{member}} and {{name}}")]
    Path(&'static str),
    /// Two rows for one method and path.
    #[error("{0} {1} is declared twice")]
    Twice(Method, &'static str),
}

/// What the path of a request named.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Target {
    /// `{type}`
    pub resource_type: Option<ResourceType>,
    /// `{id}`, or why it is none.
    pub id: Option<Result<LogicalId, InvalidId>>,
    /// `{vid}` as written.
    pub version: Option<Box<str>>,
    /// `{member}`: a type inside a compartment.
    pub member: Option<ResourceType>,
    /// `{name}` as written.
    pub name: Option<Box<str>>,
}

/// Most segments of a path that any template has, and some more.
const MOST_SEGMENTS: usize = 8;

#[derive(Debug, Eq, PartialEq)]
enum Segment {
    Id,
    Literal(&'static str),
    Member,
    Name,
    Type,
    Version,
}

struct Template {
    path: &'static str,
    segments: Vec<Segment>,
    rows: Vec<(Method, usize)>,
    allow: HeaderValue,
}

/// All rows, ready to be asked.
pub struct Table {
    templates: Vec<Template>,
    routes: Vec<Route>,
}

/// What a request's path and method lead to.
#[derive(Debug)]
pub enum Found {
    /// The path exists, the method does not, or is OPTIONS.
    Path {
        /// The methods that do.
        allow: HeaderValue,
        /// The template of the path.
        path: &'static str,
    },
    /// A row, by its number.
    Row(usize, Target),
}

impl Table {
    /// Checks the rows and puts them in order.
    ///
    /// # Errors
    /// [`RouteError`] naming the first bad row.
    pub fn new(routes: Vec<Route>) -> Result<Self, RouteError> {
        let mut templates: Vec<Template> = Vec::new();
        for (row, route) in routes.iter().enumerate() {
            check(route)?;
            let known = templates.iter().position(|template| template.path == route.path);
            let at = known.unwrap_or(templates.len());
            if known.is_none() {
                let segments = segments(route.path)?;
                if templates.iter().any(|template| template.segments == segments) {
                    return Err(RouteError::Twice(route.method.clone(), route.path));
                }
                let allow = HeaderValue::from_static("");
                templates.push(Template { path: route.path, segments, rows: vec![], allow });
            }
            let template = &mut templates[at];
            if template.rows.iter().any(|(method, _)| *method == route.method) {
                return Err(RouteError::Twice(route.method.clone(), route.path));
            }
            template.rows.push((route.method.clone(), row));
        }
        for template in &mut templates {
            template.allow = allow(&template.rows);
        }
        Ok(Self { templates, routes })
    }

    /// All rows.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The row for `method` and `path`; HEAD finds the row of GET.
    ///
    /// # Errors
    /// [`Failure::UnknownRoute`] telling what about the path is unknown.
    pub fn find(&self, method: &Method, path: &str) -> Result<Found, Failure> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let decoded = decode(path)?;
        let mut parts = [""; MOST_SEGMENTS];
        let mut count = 0;
        let mut add = |part| {
            let slot = parts.get_mut(count).ok_or_else(|| unknown(path, &[]))?;
            *slot = part;
            count += 1;
            Ok::<(), Failure>(())
        };
        match &decoded {
            Some(decoded) => decoded.iter().try_for_each(|part| add(part))?,
            None => path.split('/').skip(1).try_for_each(&mut add)?,
        }
        self.look_up(method, path, &parts[..count])
    }

    fn look_up(&self, method: &Method, path: &str, parts: &[&str]) -> Result<Found, Failure> {
        let resource_type = match parts {
            ["fhir", name, ..] => name.parse().ok(),
            _ => None,
        };
        let fits = |template: &&Template| {
            template.segments.len() == parts.len()
                && template.segments.iter().zip(parts).all(|(segment, part)| match segment {
                    Segment::Id => !part.starts_with(['_', '$']) && !part.is_empty(),
                    Segment::Literal(text) => text == part,
                    Segment::Member => part.parse().is_ok_and(is_endpoint),
                    Segment::Type => resource_type.is_some_and(is_endpoint),
                    Segment::Name | Segment::Version => !part.is_empty(),
                })
        };
        let Some(template) = self.templates.iter().find(fits) else {
            return Err(unknown(path, parts));
        };
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        let row = template.rows.iter().find(|(known, _)| known == method);
        let Some((_, row)) = row else {
            return Ok(Found::Path { allow: template.allow.clone(), path: template.path });
        };
        let mut target = Target::default();
        for (segment, part) in template.segments.iter().zip(parts) {
            match segment {
                Segment::Id => target.id = Some(part.parse()),
                // Operations of one type have it in their path.
                Segment::Literal(text) if *text != "fhir" => {
                    target.resource_type = target.resource_type.or_else(|| text.parse().ok());
                }
                Segment::Literal(_) => {}
                Segment::Member => target.member = part.parse().ok(),
                Segment::Name => target.name = Some((*part).into()),
                Segment::Type => target.resource_type = resource_type,
                Segment::Version => target.version = Some((*part).into()),
            }
        }
        Ok(Found::Row(*row, target))
    }

    /// The methods of the template of row `row`, as `Allow` says them, without the row's own.
    pub fn allow_without(&self, row: usize) -> HeaderValue {
        let path = self.routes[row].path;
        let template = self.templates.iter().find(|template| template.path == path);
        let rows = template.map(|template| template.rows.as_slice()).unwrap_or_default();
        let others: Vec<_> = rows.iter().filter(|(_, other)| *other != row).cloned().collect();
        allow(&others)
    }
}

/// Parameters is a form of messages: it has no endpoint (rest 7.73).
pub(super) fn is_endpoint(resource_type: ResourceType) -> bool {
    resource_type != ResourceType::PARAMETERS
}

/// The decoded segments of a path with percent escapes; `None` when it has none.
fn decode(path: &str) -> Result<Option<Vec<Cow<'_, str>>>, Failure> {
    if !path.contains('%') {
        return Ok(None);
    }
    let parts = path.split('/').skip(1).map(|part| query::decode(part, false));
    Ok(Some(parts.collect::<Result<_, _>>().map_err(Error::from)?))
}

fn check(route: &Route) -> Result<(), RouteError> {
    let (method, path) = (route.method.clone(), route.path);
    if method == Method::HEAD || method == Method::OPTIONS {
        return Err(RouteError::Method(method, path));
    }
    let is_sound = match route.handler {
        Handler::Auth(_) => route.audit == Audit::Authority && route.interaction.is_none(),
        Handler::Fhir(_) => route.interaction.is_some() && route.audit == Audit::Gate,
        Handler::Plain(_) => route.audit == Audit::Public && route.interaction.is_none(),
    };
    if is_sound { Ok(()) } else { Err(RouteError::Inconsistent(method, path)) }
}

fn segments(path: &'static str) -> Result<Vec<Segment>, RouteError> {
    let rest = path.strip_prefix('/').ok_or(RouteError::Path(path))?;
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let parts = rest.split('/').map(|part| match part {
        "{id}" => Ok(Segment::Id),
        "{member}" => Ok(Segment::Member),
        "{name}" => Ok(Segment::Name),
        "{type}" => Ok(Segment::Type),
        "{vid}" => Ok(Segment::Version),
        "" => Err(RouteError::Path(path)),
        part if part.contains(['{', '}']) => Err(RouteError::Path(path)),
        part => Ok(Segment::Literal(part)),
    });
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    if parts.len() > MOST_SEGMENTS { Err(RouteError::Path(path)) } else { Ok(parts) }
}

fn allow(rows: &[(Method, usize)]) -> HeaderValue {
    let mut names: Vec<&str> = rows.iter().map(|(method, _)| method.as_str()).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.sort_unstable();
    HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static("OPTIONS"))
}

/// Tells what about a path is not known.
fn unknown(path: &str, parts: &[&str]) -> Failure {
    let path: String = path.chars().take(200).collect();
    let (code, text) = match parts {
        ["fhir", rest @ ..] if rest.last().is_some_and(|last| last.starts_with('$')) => {
            let name = rest.last().copied().unwrap_or_default();
            (IssueCode::NotSupported, format!("operation {name} is not offered at {path}"))
        }
        ["fhir", "Parameters", ..] => {
            (IssueCode::NotSupported, "Parameters resources are not stored".to_owned())
        }
        ["fhir", name, ..] if name.parse::<ResourceType>().is_err() => {
            let text = format!("{name:?} is not a resource type of R4 (names are case-sensitive)");
            // What looks like a type may be one of another release; anything else is just not there.
            let is_like_one = name.starts_with(|first: char| first.is_ascii_uppercase());
            (if is_like_one { IssueCode::NotSupported } else { IssueCode::NotFound }, text)
        }
        ["fhir", _, _, name] if name.parse::<ResourceType>().is_err() => {
            let text = format!("there is nothing at {path}: {name:?} is not a resource type of R4");
            (IssueCode::NotFound, text)
        }
        _ => (IssueCode::NotFound, format!("there is nothing at {path}")),
    };
    Failure::UnknownRoute(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(method: Method, path: &'static str) -> Route {
        let handler = Handler::Plain(|_, _| Box::pin(async { Err(Failure::Panicked) }));
        Route { method, path, interaction: None, audit: Audit::Public, handler }
    }

    fn table() -> Table {
        let rows = [
            (Method::GET, "/"),
            (Method::POST, "/fhir"),
            (Method::GET, "/fhir/metadata"),
            (Method::GET, "/fhir/_history"),
            (Method::POST, "/fhir/{type}"),
            (Method::GET, "/fhir/{type}/{id}"),
            (Method::PUT, "/fhir/{type}/{id}"),
            (Method::GET, "/fhir/{type}/_history"),
            (Method::GET, "/fhir/{type}/{id}/_history/{vid}"),
            (Method::GET, "/fhir/{type}/$meta"),
            (Method::GET, "/fhir/{type}/{id}/{member}"),
            (Method::GET, "/fhir/{type}/{id}/*"),
            (Method::GET, "/auth/assets/{name}"),
        ];
        Table::new(rows.map(|(method, path)| row(method, path)).into()).expect("table")
    }

    fn found(method: &Method, path: &str) -> String {
        match table().find(method, path) {
            Ok(Found::Row(row, target)) => {
                let name = table().routes()[row].path;
                let id = match target.id {
                    Some(Ok(id)) => id.to_string(),
                    Some(Err(_)) => "bad".to_owned(),
                    None => "-".to_owned(),
                };
                format!("{name} {id} {}", target.version.as_deref().unwrap_or("-"))
            }
            Ok(Found::Path { allow, .. }) => format!("405 {}", allow.to_str().expect("text")),
            Err(Failure::UnknownRoute(code, _)) => format!("404 {}", code.as_str()),
            Err(other) => format!("{}", other.status().as_u16()),
        }
    }

    #[test]
    fn a_path_finds_its_row_or_a_precise_refusal() {
        let (get, put, post, delete) = (Method::GET, Method::PUT, Method::POST, Method::DELETE);
        for (method, path, expected) in [
            (&get, "/", "/ - -"),
            (&post, "/fhir", "/fhir - -"),
            (&post, "/fhir/", "/fhir - -"),
            (&get, "/fhir/metadata", "/fhir/metadata - -"),
            (&Method::HEAD, "/fhir/metadata/", "/fhir/metadata - -"),
            (&delete, "/fhir/metadata", "405 GET, HEAD, OPTIONS"),
            (&post, "/fhir/Patient/", "/fhir/{type} - -"),
            (&get, "/fhir/Patient/1", "/fhir/{type}/{id} 1 -"),
            (&get, "/fhir/%50atient/a%2Eb", "/fhir/{type}/{id} a.b -"),
            (&get, "/fhir/Patient/a%2Fb", "/fhir/{type}/{id} bad -"),
            (&get, "/fhir/Patient/bad_id!", "/fhir/{type}/{id} bad -"),
            (&get, "/fhir/Patient/%zz", "400"),
            (&get, "/fhir/Patient/_history", "/fhir/{type}/_history - -"),
            (&get, "/fhir/Patient/%24meta", "/fhir/{type}/$meta - -"),
            (&get, "/fhir/Patient/1/_history/2", "/fhir/{type}/{id}/_history/{vid} 1 2"),
            (&put, "/fhir/Patient/1/_history/2", "405 GET, HEAD, OPTIONS"),
            (&post, "/fhir/Patient/1", "405 GET, HEAD, OPTIONS, PUT"),
            (&Method::OPTIONS, "/fhir/Patient", "405 OPTIONS, POST"),
            (&get, "/fhir/patient/1", "404 not-found"),
            (&post, "/fhir/nope/x", "404 not-found"),
            (&get, "/fhir/PATIENT", "404 not-supported"),
            (&get, "/fhir/NotAType/1", "404 not-supported"),
            (&post, "/fhir/Parameters", "404 not-supported"),
            (&get, "/fhir/Patient/$nope", "404 not-supported"),
            (&get, "/fhir/Patient/1/nope", "404 not-found"),
            (&get, "/fhir/Patient/1/Observation", "/fhir/{type}/{id}/{member} 1 -"),
            (&get, "/fhir/Patient/1/observation", "404 not-found"),
            (&get, "/fhir/Patient/1/Parameters", "404 not-found"),
            (&get, "/fhir/Patient/1/*", "/fhir/{type}/{id}/* 1 -"),
            (&get, "/fhir//Patient/1", "404 not-found"),
            (&get, "/auth/assets/a_b.css", "/auth/assets/{name} - -"),
            (&get, "/auth/assets/", "404 not-found"),
            (&get, "/nope", "404 not-found"),
            (&get, "/a/b/c/d/e/f/g/h/i/j", "404 not-found"),
        ] {
            assert_eq!(found(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_bad_row_stops_the_start() {
        let fhir = Handler::Fhir(|_| Box::pin(async { Err(Failure::Panicked) }));
        let plain = row(Method::GET, "/x");
        let undeclared = Route { handler: fhir, ..plain.clone() };
        let unaudited = Route { interaction: Some(Kind::Read), ..undeclared.clone() };
        let auth = Handler::Auth(|_, _, _| Box::pin(async { Err(Failure::Panicked) }));
        let unrecorded = Route { handler: auth, ..plain.clone() };
        let disguised = Route { interaction: Some(Kind::Read), ..plain.clone() };
        let get = || Method::GET;
        for (rows, expected) in [
            (vec![undeclared], RouteError::Inconsistent(get(), "/x")),
            (vec![unaudited], RouteError::Inconsistent(get(), "/x")),
            (vec![disguised], RouteError::Inconsistent(get(), "/x")),
            (vec![plain.clone(), plain.clone()], RouteError::Twice(get(), "/x")),
            (vec![row(Method::HEAD, "/x")], RouteError::Method(Method::HEAD, "/x")),
            (vec![row(Method::OPTIONS, "/x")], RouteError::Method(Method::OPTIONS, "/x")),
            (vec![row(get(), "x")], RouteError::Path("x")),
            (vec![unrecorded], RouteError::Inconsistent(get(), "/x")),
            (vec![row(get(), "/{nope}")], RouteError::Path("/{nope}")),
            (vec![row(get(), "/a//b")], RouteError::Path("/a//b")),
        ] {
            assert_eq!(Table::new(rows).err(), Some(expected));
        }
    }
}
