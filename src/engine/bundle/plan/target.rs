//! The URL of an entry: what it means with the entry's method.
//!
//! Spec: checklist rest 3.35, 3.38

use crate::access::interaction::Kind;
use crate::engine::history::HISTORY_PARAMETERS;
use crate::engine::{MetaChange, MetaOf, SearchTarget};
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::query::{InvalidQuery, MAX_URL_BYTES, Query};
use crate::fhir::reference::strip_base;
use crate::fhir::{Identity, Issue, IssueCode, LogicalId, ResourceType, VersionId};
use crate::store::HistoryScope;

use super::{Action, Get, METADATA_PARAMETERS};
use crate::engine::bundle::call::{Call, Called};

/// The URL of an entry and where it stands.
pub(super) struct Target<'u> {
    pub(super) index: usize,
    pub(super) url: &'u str,
    pub(super) base: &'u str,
}

impl Target<'_> {
    pub(super) fn action<'a>(
        &self,
        method: &str,
        resource: Option<Value<'a>>,
    ) -> Result<Action<'a>, Error> {
        let (path, query) = self.path()?;
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let is_get = matches!(method, "GET" | "HEAD");
        if (is_get || method == "POST")
            && let Some(called) = Called::by(&segments, is_get)
        {
            let given = resource.filter(|_| !is_get);
            let query = self.query(query)?;
            return Ok(Action::Call(Call { called, query, given, is_of_new: false }));
        }
        if let ("DELETE", ["$export", _]) = (method, &*segments) {
            let called = Called::Alone(Kind::ExportCancel.of_system());
            let query = self.query(query)?;
            return Ok(Action::Call(Call { called, query, given: None, is_of_new: false }));
        }
        match method {
            "GET" | "HEAD" => self.get(&segments, query).map(Action::Get),
            "POST" => self.post(&segments, query, resource),
            "PUT" => Ok(match self.written(&segments, query, "PUT")? {
                Written::Known(identity) => Action::Update(identity, self.resource(resource)?),
                Written::Sought(of, criteria) => {
                    Action::UpdateBy(of, criteria, self.resource(resource)?)
                }
            }),
            "PATCH" => Ok(match self.written(&segments, query, "PATCH")? {
                Written::Known(identity) => Action::Patch(identity, self.resource(resource)?),
                Written::Sought(of, criteria) => {
                    Action::PatchBy(of, criteria, self.resource(resource)?)
                }
            }),
            "DELETE" => Ok(match self.written(&segments, query, "DELETE")? {
                Written::Known(identity) => Action::Delete(identity),
                Written::Sought(of, criteria) => Action::DeleteBy(of, criteria),
            }),
            other => {
                let text = format!("{other:?} is not a method of FHIR");
                Err(self.fault(IssueCode::Value, text, "method"))
            }
        }
    }

    /// Refuses parameters that the route of `action` does not know; searches and criteria tell
    /// theirs themselves.
    pub(super) fn check_known(&self, action: &Action<'_>) -> Result<(), Error> {
        let known = match action {
            Action::DeleteBy(..)
            | Action::Get(Get::Search(..))
            | Action::PatchBy(..)
            | Action::UpdateBy(..) => return Ok(()),
            Action::Call(call) => call.called.parameters(),
            Action::Get(Get::CapabilityStatement(_)) => METADATA_PARAMETERS.to_vec(),
            Action::Get(Get::History(..)) => HISTORY_PARAMETERS.to_vec(),
            _ => Vec::new(),
        };
        let (_, query) = self.path()?;
        self.query(query)?.check_known(&known).map_err(|fault| self.query_fault(&fault))
    }

    /// Path and query below the base; another server's URL and one that is too long are refused.
    fn path(&self) -> Result<(&str, &str), Error> {
        if self.url.len() > MAX_URL_BYTES {
            let text = format!("the URL is longer than {MAX_URL_BYTES} bytes");
            return Err(self.fault(IssueCode::TooLong, text, "url"));
        }
        let (path, query) = self.url.split_once('?').unwrap_or((self.url, ""));
        let local = match strip_base(path, self.base) {
            Some(local) => local,
            None if path == self.base => "",
            None if path.contains("://") => {
                let text = format!("{:?} is not under this server's base", self.url);
                return Err(self.fault(IssueCode::Invalid, text, "url"));
            }
            None => path.strip_prefix('/').unwrap_or(path),
        };
        Ok((local, query))
    }

    fn get(&self, segments: &[&str], query: &str) -> Result<Get, Error> {
        let search = |target| Ok(Get::Search(target, self.query(query)?));
        Ok(match segments {
            [] | ["_search"] => return search(SearchTarget::System),
            ["metadata"] => Get::CapabilityStatement(self.query(query)?),
            ["_history"] => Get::History(HistoryScope::System, self.query(query)?),
            ["$meta"] => Get::Meta(MetaOf::System),
            [name, "_history"] => {
                Get::History(HistoryScope::Type(self.name(name)?), self.query(query)?)
            }
            [name, "$meta"] => Get::Meta(MetaOf::Type(self.name(name)?)),
            [name] | [name, "_search"] => return search(SearchTarget::Type(self.name(name)?)),
            [name, id] => Get::Read(self.identified(name, id)?),
            [name, id, "_history"] => {
                let scope = HistoryScope::Instance(self.identified(name, id)?);
                Get::History(scope, self.query(query)?)
            }
            [name, id, "$meta"] => Get::Meta(MetaOf::Instance(self.identified(name, id)?, None)),
            [name, id, member] | [name, id, member, "_search"]
                if !member.starts_with(['$', '_']) =>
            {
                let Identity { resource_type, id } = self.identified(name, id)?;
                let member = if *member == "*" { None } else { Some(self.name(member)?) };
                return search(SearchTarget::Compartment {
                    code: resource_type,
                    id,
                    resource_type: member,
                });
            }
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
            [.., "$meta" | "_search"] => self.get(segments, query).map(Action::Get),
            [name, id] if name.parse::<ResourceType>().is_ok() && !id.starts_with('$') => {
                let text = format!("POST goes to a type, not to an instance: {:?}", self.url);
                Err(self.fault(IssueCode::Invalid, text, "url"))
            }
            _ => Err(self.unknown()),
        }
    }

    /// `[type]/[id]`, or `[type]?criteria`, and nothing else.
    fn written(&self, segments: &[&str], query: &str, method: &str) -> Result<Written, Error> {
        match segments {
            [name, id] => Ok(Written::Known(self.identified(name, id)?)),
            [name] if !query.is_empty() => {
                Ok(Written::Sought(self.name(name)?, self.query(query)?))
            }
            _ => {
                let forms = "[type]/[id] or [type]?criteria";
                let text = format!("{method} needs a URL of the form {forms}, not {:?}", self.url);
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

    fn unknown(&self) -> Error {
        let cause = Box::new(Error::NotFound(format!("{:?}", self.url)));
        Error::Entry { index: self.index, cause }
    }

    pub(super) fn fault(&self, code: IssueCode, text: impl Into<String>, element: &str) -> Error {
        let place = format!("Bundle.entry[{}].request.{element}", self.index);
        Error::invalid_at(code, text, place)
    }
}

/// What a URL names for a write.
enum Written {
    Known(Identity),
    Sought(ResourceType, Query),
}
