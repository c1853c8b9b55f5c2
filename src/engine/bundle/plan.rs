//! Reads a batch or transaction Bundle into entries that can be run. Pure.
//!
//! Spec: <https://hl7.org/fhir/R4/bundle.html>, checklist rest 3.4, 3.34 to 3.40

use crate::access::interaction::Kind;
use crate::access::{Attempted, Disclosed};
use crate::engine::condition::{Condition, EntityTag};
use crate::engine::history::HISTORY_PARAMETERS;
use crate::engine::{MetaChange, MetaOf};
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::query::{InvalidQuery, Query};
use crate::fhir::reference::strip_base;
use crate::fhir::{Identity, Instant, Issue, IssueCode, LogicalId, ResourceType, VersionId};
use crate::store::HistoryScope;

/// The parameters that mean something to `GET metadata`.
pub const METADATA_PARAMETERS: [&str; 1] = ["mode"];

/// One entry, understood.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its place in the Bundle.
    pub index: usize,
    /// `entry.fullUrl`
    pub full_url: Option<String>,
    /// What it asks for.
    pub action: Action<'a>,
    /// ifMatch and ifNoneMatch.
    pub condition: Condition,
    /// ifModifiedSince.
    pub modified_since: Option<Instant>,
}

/// What an entry asks for.
#[derive(Debug)]
pub enum Action<'a> {
    /// `POST [type]`
    Create(ResourceType, Value<'a>),
    /// `DELETE [type]/[id]`
    Delete(Identity),
    /// `GET` or `HEAD` of something.
    Get(Get),
    /// `POST [type]/[id]/$meta-add` or `$meta-delete`, of the current or an old version.
    Meta(Identity, Option<VersionId>, Value<'a>, MetaChange),
    /// `PATCH [type]/[id]`
    Patch(Identity, Value<'a>),
    /// `PUT [type]/[id]`
    Update(Identity, Value<'a>),
}

/// What a GET entry asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Get {
    /// `metadata` and its query.
    CapabilityStatement(Query),
    /// A history and its query.
    History(HistoryScope, Query),
    /// `$meta` of something.
    Meta(MetaOf),
    /// `[type]/[id]`
    Read(Identity),
    /// `[type]/[id]/_history/[vid]`
    Vread(Identity, VersionId),
}

impl Action<'_> {
    /// Where the entry stands in the order of processing (rest 3.6).
    pub fn rank(&self) -> u8 {
        match self {
            Self::Delete(_) => 0,
            Self::Create(..) => 1,
            Self::Meta(..) | Self::Patch(..) | Self::Update(..) => 2,
            Self::Get(_) => 3,
        }
    }

    /// The resource that the entry writes, when its URL names it.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Delete(identity)
            | Self::Meta(identity, ..)
            | Self::Patch(identity, _)
            | Self::Update(identity, _) => Some(identity),
            Self::Create(..) | Self::Get(_) => None,
        }
    }
}

impl Action<'_> {
    /// What goes on record of an entry that did not run.
    pub(super) fn attempted(&self) -> Attempted {
        match self {
            Self::Create(resource_type, _) => {
                (Kind::Create.of(*resource_type), Disclosed::default())
            }
            Self::Delete(identity) => attempted(Kind::Delete, identity),
            Self::Get(get) => get.attempted(),
            Self::Meta(identity, _, _, change) => attempted(change.kind(), identity),
            Self::Patch(identity, _) => attempted(Kind::Patch, identity),
            Self::Update(identity, _) => attempted(Kind::Update, identity),
        }
    }
}

impl Get {
    /// What goes on record of it when it did not run.
    pub(super) fn attempted(&self) -> Attempted {
        let of_system = |kind: Kind| (kind.of_system(), Disclosed::default());
        match self {
            Self::CapabilityStatement(_) => of_system(Kind::Capabilities),
            Self::History(HistoryScope::Instance(identity), _) => {
                attempted(Kind::HistoryInstance, identity)
            }
            Self::History(scope, _) => {
                (crate::engine::history::interaction(scope), Disclosed::default())
            }
            Self::Meta(MetaOf::Instance(identity, _)) => attempted(Kind::Meta, identity),
            Self::Meta(MetaOf::System) => of_system(Kind::Meta),
            Self::Meta(MetaOf::Type(resource_type)) => {
                (Kind::Meta.of(*resource_type), Disclosed::default())
            }
            Self::Read(identity) => attempted(Kind::Read, identity),
            Self::Vread(identity, _) => attempted(Kind::Vread, identity),
        }
    }
}

/// An interaction with one resource of which no more is known than its name.
pub(super) fn attempted(kind: Kind, identity: &Identity) -> Attempted {
    let Identity { resource_type, id } = identity.clone();
    let subject = Some((resource_type, id, None));
    (kind.of(resource_type), Disclosed { subject, ..Disclosed::default() })
}

/// Reads every entry; each may fail by itself, as the entries of a batch do.
///
/// `base` is the server's public base; with `is_strict`, parameters that mean nothing are refused.
/// The entries are taken out of `bundle`.
pub fn entries<'a>(
    bundle: &mut Value<'a>,
    base: &str,
    is_strict: bool,
) -> Vec<Result<Entry<'a>, Error>> {
    let taken = bundle.as_object_mut().and_then(|bundle| bundle.remove("entry"));
    let Some(Value::Array(entries)) = taken else { return Vec::new() };
    let read = |(index, entry)| self::entry(index, entry, base, is_strict);
    entries.into_iter().enumerate().map(read).collect()
}

fn entry<'a>(
    index: usize,
    entry: Value<'a>,
    base: &str,
    is_strict: bool,
) -> Result<Entry<'a>, Error> {
    let place = |element: &str| format!("Bundle.entry[{index}]{element}");
    let Value::Object(mut entry) = entry else {
        let text = "an entry is an object";
        return Err(Error::invalid_at(IssueCode::Structure, text, place("")));
    };
    let resource = entry.remove("resource");
    let full_url = entry.get("fullUrl").and_then(Value::as_str).map(str::to_owned);
    let Some(request) = entry.get("request") else {
        let text = "every entry of a batch or transaction needs a request";
        return Err(Error::invalid_at(IssueCode::Required, text, place(".request")));
    };
    let required = |name: &'static str| {
        request.str_at(name).ok_or_else(|| {
            let text = format!("the request of an entry needs {name}");
            Error::invalid_at(IssueCode::Required, text, place(&format!(".request.{name}")))
        })
    };
    let (method, url) = (required("method")?, required("url")?);
    let target = Target { index, url, base };
    let action = target.action(method, resource)?;
    if is_strict {
        target.check_known(&action)?;
    }
    if request.str_at("ifNoneExist").is_some() {
        let text = "conditional creates need search, which this server does not offer yet";
        let place = place(".request.ifNoneExist");
        return Err(Error::invalid_at(IssueCode::NotSupported, text, place));
    }
    let tags = |name: &str| -> Result<Vec<EntityTag>, Error> {
        request.str_at(name).map_or(Ok(Vec::new()), |text| {
            EntityTag::parse_list(text).map_err(|text| {
                Error::invalid_at(IssueCode::Invalid, text, place(&format!(".request.{name}")))
            })
        })
    };
    let condition = Condition { if_match: tags("ifMatch")?, if_none_match: tags("ifNoneMatch")? };
    let modified_since = request.str_at("ifModifiedSince").and_then(Instant::parse);
    Ok(Entry { index, full_url, action, condition, modified_since })
}

/// The URL of an entry and where it stands.
struct Target<'u> {
    index: usize,
    url: &'u str,
    base: &'u str,
}

impl Target<'_> {
    fn action<'a>(&self, method: &str, resource: Option<Value<'a>>) -> Result<Action<'a>, Error> {
        let (path, query) = self.path()?;
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match method {
            "GET" | "HEAD" => self.get(&segments, query).map(Action::Get),
            "POST" => self.post(&segments, query, resource),
            "PUT" => {
                let identity = self.identity(&segments, query, "PUT")?;
                Ok(Action::Update(identity, self.resource(resource)?))
            }
            "PATCH" => {
                let identity = self.identity(&segments, query, "PATCH")?;
                Ok(Action::Patch(identity, self.resource(resource)?))
            }
            "DELETE" => Ok(Action::Delete(self.identity(&segments, query, "DELETE")?)),
            other => {
                let text = format!("{other:?} is not a method of FHIR");
                Err(self.fault(IssueCode::Value, text, "method"))
            }
        }
    }

    /// Refuses parameters that the route of `action` does not know.
    fn check_known(&self, action: &Action<'_>) -> Result<(), Error> {
        let known: &[&str] = match action {
            Action::Get(Get::CapabilityStatement(_)) => &METADATA_PARAMETERS,
            Action::Get(Get::History(..)) => &HISTORY_PARAMETERS,
            _ => &[],
        };
        let (_, query) = self.path()?;
        self.query(query)?.check_known(known).map_err(|fault| self.query_fault(&fault))
    }

    /// Path and query below the base; another server's URL is refused.
    fn path(&self) -> Result<(&str, &str), Error> {
        let local = match strip_base(self.url, self.base) {
            Some(local) => local,
            None if self.url.contains("://") => {
                let text = format!("{:?} is not under this server's base", self.url);
                return Err(self.fault(IssueCode::Invalid, text, "url"));
            }
            None => self.url.strip_prefix('/').unwrap_or(self.url),
        };
        Ok(local.split_once('?').unwrap_or((local, "")))
    }

    fn get(&self, segments: &[&str], query: &str) -> Result<Get, Error> {
        use crate::engine::{HistoryScope, MetaOf};
        Ok(match segments {
            ["metadata"] => Get::CapabilityStatement(self.query(query)?),
            ["_history"] => Get::History(HistoryScope::System, self.query(query)?),
            ["$meta"] => Get::Meta(MetaOf::System),
            [name, "_history"] => {
                Get::History(HistoryScope::Type(self.name(name)?), self.query(query)?)
            }
            [name, "$meta"] => Get::Meta(MetaOf::Type(self.name(name)?)),
            [_] => return Err(self.no_search()),
            [name, id] => Get::Read(self.identified(name, id)?),
            [name, id, "_history"] => {
                let scope = HistoryScope::Instance(self.identified(name, id)?);
                Get::History(scope, self.query(query)?)
            }
            [name, id, "$meta"] => Get::Meta(MetaOf::Instance(self.identified(name, id)?, None)),
            [name, id, "_history", version] => {
                Get::Vread(self.identified(name, id)?, self.version(version)?)
            }
            [name, id, "_history", version, "$meta"] => {
                let version = Some(self.version(version)?);
                Get::Meta(MetaOf::Instance(self.identified(name, id)?, version))
            }
            _ => return Err(self.unknown()),
        })
    }

    fn post<'a>(
        &self,
        segments: &[&str],
        query: &str,
        resource: Option<Value<'a>>,
    ) -> Result<Action<'a>, Error> {
        let change = |operation: &str| match operation {
            "$meta-add" => MetaChange::Add,
            _ => MetaChange::Delete,
        };
        match segments {
            [] => {
                let text = "a batch or transaction cannot be an entry of another";
                Err(self.fault(IssueCode::Invalid, text, "url"))
            }
            [name] if !name.starts_with('$') && !name.starts_with('_') => {
                let resource_type = self.name(name)?;
                Ok(Action::Create(resource_type, self.resource(resource)?))
            }
            [name, id, operation @ ("$meta-add" | "$meta-delete")] => {
                let identity = self.identified(name, id)?;
                Ok(Action::Meta(identity, None, self.resource(resource)?, change(operation)))
            }
            [name, id, "_history", version, operation @ ("$meta-add" | "$meta-delete")] => {
                let identity = self.identified(name, id)?;
                let version = Some(self.version(version)?);
                Ok(Action::Meta(identity, version, self.resource(resource)?, change(operation)))
            }
            [.., "$meta"] => self.get(segments, query).map(Action::Get),
            [_, "_search"] | ["_search"] => Err(self.no_search()),
            [name, id] if name.parse::<ResourceType>().is_ok() && !id.starts_with('$') => {
                let text = format!("POST goes to a type, not to an instance: {:?}", self.url);
                Err(self.fault(IssueCode::Invalid, text, "url"))
            }
            _ => Err(self.unknown()),
        }
    }

    /// `[type]/[id]` and nothing else.
    fn identity(&self, segments: &[&str], query: &str, method: &str) -> Result<Identity, Error> {
        match segments {
            [name, id] => self.identified(name, id),
            [name] if !query.is_empty() => {
                self.name(name)?;
                let text =
                    "conditional interactions need search, which this server does not offer yet";
                Err(self.fault(IssueCode::NotSupported, text, "url"))
            }
            _ => {
                let text =
                    format!("{method} needs a URL of the form [type]/[id], not {:?}", self.url);
                Err(self.fault(IssueCode::Invalid, text, "url"))
            }
        }
    }

    fn identified(&self, name: &str, id: &str) -> Result<Identity, Error> {
        let resource_type = self.name(name)?;
        let id: LogicalId = id.parse().map_err(|fault: crate::fhir::id::InvalidId| {
            self.fault(IssueCode::Invalid, fault.to_string(), "url")
        })?;
        Ok(Identity { resource_type, id })
    }

    fn name(&self, name: &str) -> Result<ResourceType, Error> {
        name.parse().map_err(|_| self.unknown())
    }

    fn query(&self, query: &str) -> Result<Query, Error> {
        Query::parse(query).map_err(|fault| self.query_fault(&fault))
    }

    fn query_fault(&self, fault: &InvalidQuery) -> Error {
        self.fault(fault.code(), fault.to_string(), "url")
    }

    fn version(&self, version: &str) -> Result<VersionId, Error> {
        version.parse().map_err(|_| self.unknown())
    }

    fn resource<'a>(&self, resource: Option<Value<'a>>) -> Result<Value<'a>, Error> {
        resource.ok_or_else(|| {
            let text = "this entry needs a resource";
            let place = format!("Bundle.entry[{}].resource", self.index);
            Error::Invalid(vec![Issue::error_at(IssueCode::Required, text, place)])
        })
    }

    fn no_search(&self) -> Error {
        let text = "this server does not offer search yet";
        self.fault(IssueCode::NotSupported, text, "url")
    }

    fn unknown(&self) -> Error {
        let cause = Box::new(Error::NotFound(format!("{:?}", self.url)));
        Error::Entry { index: self.index, cause }
    }

    fn fault(&self, code: IssueCode, text: impl Into<String>, element: &str) -> Error {
        let place = format!("Bundle.entry[{}].request.{element}", self.index);
        Error::invalid_at(code, text, place)
    }
}

#[cfg(test)]
mod tests;
