//! `$graphql`: what a document asks for, field by field, over reads and searches.
//!
//! | file | does |
//! |---|---|
//! | `lexer`, `document` | the text of a document, read |
//! | `given` | variables and arguments |
//! | `plan`, `meaning` | what each field means, by the element table |
//! | `walk`, `opened`, `page` | the fields of a resource and of a page |
//! | `target` | what lies beyond a resource |
//! | `run` | reads and searches, level by level |
//! | `output`, `fault` | the answer |
//!
//! Whatever is read is read, and whatever is searched is searched, as REST does it: each passes the gate for itself
//! and has its own row. So a document shows what its caller could have asked for one by one, and tells nothing else.
//! The row of the request has the document in its query; that of a resource's own `$graphql` is its read too.
//! It never writes, and what a document may cost is bounded before anything of it runs.
//!
//! Spec: <https://hl7.org/fhir/R4/graphql.html>, rest 6.31, security A5

mod document;
mod fault;
mod given;
mod lexer;
mod meaning;
mod opened;
mod output;
mod page;
mod plan;
mod run;
mod target;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashMap;
use std::num::NonZeroU32;

use futures_util::future::BoxFuture;

use crate::access::interaction::Kind;
use crate::access::{Caller, Permit};
use crate::config;
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::fhir::schema::Schema;
use crate::fhir::{Identity, IssueCode, ResourceType, Version, VersionId};

use super::Engine;
use super::search::{SearchTarget, Searched, addressed};

pub use fault::{Fault, Place, Step};

use document::{Document, Operation};
use fault::{Faults, clipped};
use given::Variables;
use plan::{At, Node, Planner, Scope};
use run::{Around, Run};

/// What a document may look at: about a second's work, also where nothing of it is told.
const LOOKS: usize = 10_000_000;

/// How much one document may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the document.
    pub document_bytes: usize,
    /// How deep selections are nested, fragments put in.
    pub depth: usize,
    /// Fields, fragments put in.
    pub fields: usize,
    /// Resources that are read or found.
    pub resources: usize,
    /// Bytes of the answer, about.
    pub answer_bytes: usize,
    /// Fields, values and pieces of texts that are looked at, told or not.
    pub looks: usize,
    /// Seconds after which nothing more is read.
    pub seconds: u64,
}

impl From<&config::Graphql> for Limits {
    /// What an operator allows.
    fn from(own: &config::Graphql) -> Self {
        let number = |most: NonZeroU32| most.get() as usize;
        Self {
            document_bytes: number(own.max_document_bytes),
            depth: number(own.max_depth),
            fields: number(own.max_fields),
            resources: number(own.max_resources),
            answer_bytes: number(own.max_answer_bytes),
            looks: LOOKS,
            seconds: own.max_seconds.get().into(),
        }
    }
}

/// What was sent.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The document.
    pub document: String,
    /// Which of its operations.
    pub operation: Option<String>,
    /// An object with the values of variables, or nothing.
    pub variables: Option<Value<'static>>,
}

/// An answer.
#[derive(Debug)]
pub struct Answered {
    /// An object; `None` where nothing ran.
    pub data: Option<Value<'static>>,
    /// What went wrong.
    pub faults: Vec<Fault>,
}

/// Where resources come from: reads and searches in the caller's name.
pub trait Source: Sync {
    /// A resource, in this version or the current one.
    fn read<'a>(
        &'a self,
        identity: &'a Identity,
        version: Option<VersionId>,
    ) -> BoxFuture<'a, Result<Version, Error>>;

    /// The resource whose own `$graphql` is asked.
    fn root<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<Version, Error>>;

    /// A page of the resources of a type.
    fn search<'a>(
        &'a self,
        of: ResourceType,
        query: &'a Query,
    ) -> BoxFuture<'a, Result<Searched, Error>>;
}

/// What a search of a document asks for, as the address of a request.
pub fn address(of: ResourceType, query: &Query) -> String {
    addressed(of.as_str(), query)
}

impl Engine {
    /// Answers a document about the system, or about one resource, with what `source` has.
    ///
    /// # Errors
    /// What keeps the whole from being answered: of one resource that it is not there, or that the database or
    /// the ledger is away.
    pub async fn graphql(
        &self,
        of: Option<&Identity>,
        asked: &Asked,
        source: &dyn Source,
        caller: &Caller,
    ) -> Result<Answered, Error> {
        let limits = self.settings.graphql;
        let schema = &self.spec.schema;
        let root = match of.and_then(|of| schema.by_name(of.resource_type.as_str())) {
            Some(id) => Scope::Types(vec![id]),
            None => Scope::Query,
        };
        let interaction = match of {
            Some(identity) => Kind::GraphQl.of(identity.resource_type),
            None => Kind::GraphQl.of_system(),
        };
        let nodes = match planned(asked, &root, (schema, limits)) {
            Ok(nodes) => nodes,
            Err(faults) => {
                let text = faults.first().map_or("", |fault| &fault.message);
                let error = Error::invalid(IssueCode::Invalid, text);
                let recorded = self.gate.denied::<()>(interaction, caller, error).await;
                return match recorded {
                    Err(error @ Error::Unavailable(_)) => Err(error),
                    _ => Ok(Answered { data: None, faults }),
                };
            }
        };
        let version = if let Some(identity) = of {
            Some(source.root(identity).await?)
        } else {
            self.noted(interaction, caller).await?;
            None
        };
        let (base, now, page) =
            (&*self.settings.base, self.clock.now(), self.settings.page.default);
        let run = Run::new(&Around { schema, base, now, limits, page }, source);
        Box::pin(run.run(&nodes, version.as_ref())).await
    }

    /// A resource as a read shows it, on record as the one that a document is about.
    ///
    /// # Errors
    /// As [`Engine::read`].
    pub async fn graphql_root(
        &self,
        identity: &Identity,
        caller: &Caller,
    ) -> Result<Version, Error> {
        let find = async |permit: &Permit<'_>, draft| {
            let permit = permit.derive(Kind::Read, identity.resource_type)?;
            let stored = self.store.read(&identity.id, &permit, draft).await;
            let stored = self.or_event(stored, (identity, None), &permit).await;
            self.or_defined(stored, (identity, None), &permit)
        };
        self.gate.show(Kind::GraphQl.of(identity.resource_type), caller, find).await
    }

    /// The matches of a search in a document: nothing of it may be passed over.
    ///
    /// # Errors
    /// As [`Engine::search`].
    pub async fn graphql_search(
        &self,
        of: ResourceType,
        query: &Query,
        caller: &Caller,
    ) -> Result<Searched, Error> {
        self.search(&SearchTarget::Type(of), query, true, caller).await
    }
}

/// What a document asks for.
fn planned<'d>(
    asked: &'d Asked,
    root: &Scope,
    (schema, limits): (&Schema, Limits),
) -> Result<Vec<Node<'d>>, Vec<Fault>> {
    let only = |fault| vec![fault];
    let Asked { document: text, operation: name, variables: sent } = asked;
    if text.len() > limits.document_bytes {
        let most = limits.document_bytes;
        let setting = "of the setting graphql.max_document_bytes";
        return Err(only(Fault::new(format!(
            "the document is larger than the {most} bytes {setting}"
        ))));
    }
    let document = Document::parse(text, limits.depth).map_err(only)?;
    let operation = chosen(&document, name.as_deref()).map_err(only)?;
    let mut faults = Faults::default();
    let mut variables = Variables::new();
    for variable in &operation.variables {
        let sent = sent.as_ref().and_then(|sent| sent.get(variable.name));
        match given::variable(variable, sent) {
            Ok(given) if !variables.contains_key(variable.name) => {
                variables.insert(variable.name, given);
            }
            Ok(_) => faults.add(Fault::at("this variable is defined twice", variable.place)),
            Err(text) => faults.add(Fault::at(text, variable.place)),
        }
    }
    let mut fragments = HashMap::new();
    for fragment in &document.fragments {
        if fragments.insert(fragment.name, fragment).is_some() {
            faults.add(Fault::at("this fragment is defined twice", fragment.place));
        }
        if !fragment.directives.is_empty() {
            faults.add(Fault::at("directives are those of fields and spreads", fragment.place));
        }
    }
    let mut planner = Planner {
        schema,
        fragments,
        variables,
        limits,
        faults,
        within: Vec::new(),
        fields: 0,
        argument_bytes: 0,
        is_over: false,
    };
    let mut nodes = Vec::new();
    if planner.faults.is_empty() {
        let at = At { scope: root, on: &[], depth: 1 };
        planner.selection(&operation.selection, at, &mut nodes);
    }
    if planner.faults.is_empty() { Ok(nodes) } else { Err(planner.faults.into_all()) }
}

/// The operation that is asked for.
fn chosen<'a, 'd>(
    document: &'a Document<'d>,
    name: Option<&str>,
) -> Result<&'a Operation<'d>, Fault> {
    let name = name.filter(|name| !name.is_empty());
    let operation = match (name, &*document.operations) {
        (None, [operation]) => operation,
        (None, _) => return Err(Fault::new("operationName says which of several is asked for")),
        (Some(name), all) => {
            let mut named = all.iter().filter(|operation| operation.name == Some(name));
            let missing = || Fault::new(format!("there is no operation {:?}", clipped(name)));
            let found = named.next().ok_or_else(missing)?;
            if let Some(second) = named.next() {
                return Err(Fault::at("two operations have this name", second.place));
            }
            found
        }
    };
    if operation.kind != "query" {
        let text = format!("{} is not offered: documents are for reading", operation.kind);
        return Err(Fault::at(text, operation.place));
    }
    if !operation.directives.is_empty() {
        return Err(Fault::at("directives are those of fields and spreads", operation.place));
    }
    Ok(operation)
}
