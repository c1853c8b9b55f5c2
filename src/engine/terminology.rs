//! The terminology operations: `$expand`, `$lookup`, `$subsumes`, `$translate`, `$validate-code`.
//!
//! Spec: <https://hl7.org/fhir/R4/terminology-service.html>

use std::collections::HashSet;
use std::sync::Arc;

use crate::access::interaction::Kind;
use crate::access::{Caller, Interaction, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::query::Query;
use crate::fhir::{Identity, IssueCode, LogicalId, ResourceType};
use crate::terminology::operation::{self, Closed, Closing, Operation, Request, Subject};
use crate::terminology::{Image, Source};

use super::Engine;
use super::bundle::Seen;
use super::validation::aside;

/// Most codes of an expansion that is not asked for page by page.
const MAX_EXPANSION: usize = 10_000;

/// Most concepts of a closure table.
const MAX_CLOSURE: usize = 10_000;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// By which operation.
    pub operation: Operation,
    /// Of which stored resource, where the path names one.
    pub id: Option<&'q LogicalId>,
    /// A Parameters resource.
    pub parameters: &'q Value<'q>,
    /// `Accept-Language`.
    pub languages: Option<&'q str>,
}

/// Parameters of the query that every request may have.
const GENERAL: [&str; 4] = ["_format", "_pretty", "_summary", "_elements"];

/// The interaction that an operation is, with the type of resource that is asked.
pub(super) fn interaction(operation: Operation) -> Interaction {
    let (kind, of) = match operation {
        Operation::Expand => (Kind::Expand, ResourceType::VALUE_SET),
        Operation::Lookup => (Kind::Lookup, ResourceType::CODE_SYSTEM),
        Operation::Subsumes => (Kind::Subsumes, ResourceType::CODE_SYSTEM),
        Operation::Translate => (Kind::Translate, ResourceType::CONCEPT_MAP),
        Operation::ValidateInSet => (Kind::ValidateCode, ResourceType::VALUE_SET),
        Operation::ValidateInSystem => (Kind::ValidateCode, ResourceType::CODE_SYSTEM),
    };
    kind.of(of)
}

impl Question<'_> {
    /// A Parameters resource of what a request gives as one and, behind it, in its query.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another resource.
    pub fn parameters<'e>(given: Option<Value<'e>>, query: &'e Query) -> Result<Value<'e>, Error> {
        let mut parameters = match given {
            Some(Value::Object(object))
                if object.get("resourceType").and_then(Value::as_str) == Some("Parameters") =>
            {
                object
            }
            Some(_) => {
                let text = "this operation takes a Parameters resource";
                return Err(Error::invalid(IssueCode::Invalid, text));
            }
            None => Object::new().with("resourceType", "Parameters"),
        };
        let asked = query.iter().filter(|(name, _)| !GENERAL.contains(name));
        let asked = asked.map(|(name, value)| {
            Value::from(Object::new().with("name", name).with("valueString", value))
        });
        let asked: Vec<Value<'e>> = asked.collect();
        if !asked.is_empty() {
            match parameters.get_mut("parameter").and_then(Value::as_array_mut) {
                Some(known) => known.extend(asked),
                None => parameters.set("parameter", asked),
            }
        }
        Ok(parameters.into())
    }

    /// How much there may be to do, as a number of values.
    fn size(&self) -> usize {
        match self.operation {
            Operation::Expand | Operation::Translate | Operation::ValidateInSet => usize::MAX,
            Operation::Lookup | Operation::Subsumes | Operation::ValidateInSystem => {
                self.parameters.items_at("parameter").len()
            }
        }
    }
}

impl Engine {
    /// The answer to a question about codes, by the definitions of this moment.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Deleted`] for an instance; [`Error::Invalid`] for a request
    /// that is none; [`Error::Codes`] for what is not known or cannot be answered;
    /// [`Error::NotSupported`] without a terminology.
    pub async fn terminology(
        &self,
        question: &Question<'_>,
        caller: &Caller,
    ) -> Result<Value<'static>, Error> {
        let work = async |permit: &Permit<'_>| {
            self.answer(question, &mut Seen::Committed(&self.store), permit).await
        };
        self.gate.run(interaction(question.operation), caller, work).await
    }

    /// The same under a permit.
    pub(super) async fn answer(
        &self,
        question: &Question<'_>,
        seen: &mut Seen<'_>,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Value<'static>>, Error> {
        let (found, defined) = self.asked_of(question, seen, permit).await?;
        let image = self.definitions_now().await?;
        let (now, identifier) = (self.clock.now().to_string(), self.ids.ordered().to_string());
        let mut request = Request {
            parameters: question.parameters,
            subject: match (&defined, question.id) {
                (Some(canonical), _) => Subject::Defined(canonical),
                (None, Some(id)) => Subject::Stored(id.as_str()),
                (None, None) => Subject::Named,
            },
            languages: question.languages,
            limit: MAX_EXPANSION,
            now: &now,
            identifier: &identifier,
        };
        let bound = match request.context(question.operation)? {
            Some(context) => Some(self.bound(context).await?),
            None => None,
        };
        if let Some(canonical) = &bound {
            request.subject = Subject::Defined(canonical);
        }
        let answer = || operation::answer(&image, question.operation, &request);
        let answer = aside(question.size(), answer)?;
        Ok(found.with(answer).map(|((), answer)| answer))
    }

    /// What the path names, for the ledger; its canonical where it is a definition and not stored.
    async fn asked_of(
        &self,
        question: &Question<'_>,
        seen: &mut Seen<'_>,
        permit: &Permit<'_>,
    ) -> Result<(Unaudited<()>, Option<String>), Error> {
        let Some(id) = question.id else { return Ok((Unaudited::nothing(), None)) };
        match seen.current(id, permit).await {
            Ok(found) => Ok((found.map(drop), None)),
            Err(error) => {
                let identity = Identity { resource_type: permit.resource_type()?, id: id.clone() };
                let (version, told) = self.instead(error, (&identity, None), permit)?;
                let text = version.to_json();
                let resource = json::parse(&text).map_err(Error::internal)?;
                let (url, version) = (resource.str_at("url"), resource.str_at("version"));
                let canonical = [url, version].into_iter().flatten().collect::<Vec<_>>().join("|");
                Ok((Unaudited::new((), told), Some(canonical)))
            }
        }
    }

    /// The value set that is bound to the element which `context` names.
    async fn bound(&self, context: &str) -> Result<String, Error> {
        let missing = || Error::NotSupported("definitions of structures are not here".to_owned());
        let library = self.validation.library_now().await?.ok_or_else(missing)?;
        Ok(aside(usize::MAX, || operation::bound(&library, context))?)
    }

    /// Url and version of the code systems that are here without a resource.
    pub fn published_systems(&self) -> Vec<(String, Option<String>)> {
        self.lookups.definitions.as_ref().map(|it| it.published()).unwrap_or_default()
    }

    /// What is new in a client's closure table; the answer is a ConceptMap.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a table that was not begun; [`Error::Codes`] for a code system that is
    /// not known; [`Error::TooCostly`] for a table that would be too large.
    pub async fn closure(
        &self,
        parameters: &Value<'_>,
        caller: &Caller,
    ) -> Result<Value<'static>, Error> {
        let work = async |permit: &Permit<'_>| {
            self.enclose(parameters, &mut Seen::Committed(&self.store), permit).await
        };
        self.gate.run(Kind::Closure.of_system(), caller, work).await
    }

    /// The same under a permit.
    pub(super) async fn enclose(
        &self,
        parameters: &Value<'_>,
        seen: &mut Seen<'_>,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Value<'static>>, Error> {
        let closing = Closing::read(parameters)?;
        let image = self.definitions_now().await?;
        if closing.concepts.len() > MAX_CLOSURE {
            return Err(too_large());
        }
        // Nothing is added of which nothing is known.
        operation::closable(&image, &closing.concepts)?;
        let answer = self.close(&closing, &image, seen, permit).await?;
        Ok(Unaudited::nothing().with(answer).map(|((), answer)| answer))
    }

    async fn close(
        &self,
        closing: &Closing,
        image: &Image,
        seen: &mut Seen<'_>,
        permit: &Permit<'_>,
    ) -> Result<Value<'static>, Error> {
        let now = self.clock.now().to_string();
        let missing = || Error::NotFound(format!("the closure table {:?}", closing.name));
        let is_beginning = closing.concepts.is_empty() && closing.since.is_none();
        if is_beginning {
            seen.begin_closure(&closing.name, permit).await?;
            return Ok(closing.to_concept_map(0, &[], &now));
        }
        let known = seen.closure_table(&closing.name, permit).await?.ok_or_else(missing)?;
        // What cannot be told is not added; what others add meanwhile is told to them.
        let new = new_to(&known.concepts, &closing.concepts);
        if known.concepts.len() + new.len() > MAX_CLOSURE {
            return Err(too_large());
        }
        let had = closed(known.concepts.clone());
        aside(usize::MAX, || operation::closure(image, &had, &new))?;
        let systems: Vec<&str> = closing.concepts.iter().map(|it| &*it.system).collect();
        let codes: Vec<&str> = closing.concepts.iter().map(|it| &*it.code).collect();
        let table = if closing.concepts.is_empty() {
            known
        } else {
            let given = (&systems[..], &codes[..]);
            let added = seen.add_to_closure(&closing.name, given, permit).await?;
            added.ok_or_else(missing)?
        };
        let since = closing.since.unwrap_or(i64::MAX);
        let (old, since): (Vec<_>, Vec<_>) =
            table.concepts.into_iter().partition(|(.., version)| *version <= since);
        let mut new = new_to(&old, &closing.concepts);
        new.extend(closed(since));
        let old = closed(old);
        let answer = || {
            let relations = operation::closure(image, &old, &new)?;
            Ok(closing.to_concept_map(table.version, &relations, &now))
        };
        aside(usize::MAX, answer)
    }

    /// The code systems, value sets and concept maps of this moment.
    pub(super) async fn definitions_now(&self) -> Result<Arc<Image>, Error> {
        let missing = || Error::NotSupported("a terminology is not offered".to_owned());
        let source: &Arc<dyn Source> = self.lookups.definitions.as_ref().ok_or_else(missing)?;
        source.current().await
    }
}

fn too_large() -> Error {
    Error::TooCostly(format!("a closure table has at most {MAX_CLOSURE} concepts"))
}

/// What of the given concepts is not among those of a table, each once.
fn new_to(known: &[(String, String, i64)], given: &[Closed]) -> Vec<Closed> {
    let mut seen: HashSet<(&str, &str)> = known.iter().map(|it| (&*it.0, &*it.1)).collect();
    given.iter().filter(|it| seen.insert((&*it.system, &*it.code))).cloned().collect()
}

fn closed(all: Vec<(String, String, i64)>) -> Vec<Closed> {
    all.into_iter().map(|(system, code, _)| Closed { system, code }).collect()
}
