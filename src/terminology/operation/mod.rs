//! FHIR's terminology operations: a Parameters resource in, a resource out.
//!
//! | file | operation |
//! |---|---|
//! | `asked` | reads parameters |
//! | `closure` | `$closure`: what is new between a few concepts |
//! | `context` | the value set that is bound to an element |
//! | `display` | displays and designations by language |
//! | `expand`, `contained` | `ValueSet/$expand` |
//! | `lookup` | `CodeSystem/$lookup` |
//! | `names` | which parameters there are |
//! | `refusal` | why there is no answer |
//! | `subsumes` | `CodeSystem/$subsumes` |
//! | `translate` | `ConceptMap/$translate` |
//! | `validate`, `verdict` | `$validate-code` of both |
//!
//! Spec: <https://hl7.org/fhir/R4/terminology-service.html>

mod asked;
mod closure;
mod contained;
mod context;
mod display;
mod expand;
mod lookup;
mod names;
mod refusal;
mod subsumes;
mod translate;
mod validate;
mod verdict;

use crate::fhir::json::{Object, Value};
use crate::spec::terminology::TerminologyFault;

use super::Image;
use super::code_system::CodeSystem;
use super::moment::Moment;
use super::scope::{Scope, Versions};

pub use closure::{Closed, Closing, Relation, closable, closure};
pub use context::bound;
pub use refusal::Refusal;

use asked::Asked;
use display::{Languages, MAX_LANGUAGES};

/// Which operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// `ValueSet/$expand`
    Expand,
    /// `CodeSystem/$lookup`
    Lookup,
    /// `CodeSystem/$subsumes`
    Subsumes,
    /// `ConceptMap/$translate`
    Translate,
    /// `ValueSet/$validate-code`
    ValidateInSet,
    /// `CodeSystem/$validate-code`
    ValidateInSystem,
}

/// The value set, code system or concept map that is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject<'r> {
    /// The one of this canonical: a definition that the path names, or what a context stands for
    /// ([`Request::context`], [`bound`]).
    Defined(&'r str),
    /// What the parameters name.
    Named,
    /// The stored resource of this id, which the path names.
    Stored(&'r str),
}

/// A request for an operation.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// A Parameters resource.
    pub parameters: &'r Value<'r>,
    /// What is asked.
    pub subject: Subject<'r>,
    /// `Accept-Language`.
    pub languages: Option<&'r str>,
    /// Most codes of an expansion that is not asked for page by page.
    pub limit: usize,
    /// The moment, as an expansion tells it.
    pub now: &'r str,
    /// What an expansion is known by.
    pub identifier: &'r str,
}

/// The answer to an operation.
///
/// # Errors
/// [`Refusal`].
pub fn answer(
    image: &Image,
    operation: Operation,
    request: &Request<'_>,
) -> Result<Value<'static>, Refusal> {
    let asked = Asked::read(request.parameters)?;
    let mut brought = asked.resources().peekable();
    let with_brought;
    let image = if brought.peek().is_some() {
        with_brought = image.with_brought(brought);
        &with_brought
    } else {
        image
    };
    match operation {
        Operation::Expand => expand::expand(image, asked, request),
        Operation::Lookup => lookup::lookup(image, asked, request),
        Operation::Subsumes => subsumes::subsumes(image, asked, request),
        Operation::Translate => translate::translate(image, asked, request),
        Operation::ValidateInSet => validate::in_set(image, asked, request),
        Operation::ValidateInSystem => validate::in_system(image, asked, request),
    }
}

/// What the parameters say of versions, supplements and the date; `needed` are the supplements of a value set.
fn scope<'i>(
    image: &'i Image,
    asked: Asked<'_>,
    request: &Request<'_>,
    needed: &[Box<str>],
) -> Result<Scope<'i>, Refusal> {
    let versions = |names: &[&'static str]| -> Vec<Box<str>> {
        names.iter().flat_map(|name| asked.texts(name)).map(Into::into).collect()
    };
    let versions = Versions {
        forced: versions(&["force-system-version"]),
        preferred: versions(&["system-version", "default-system-version"]),
        checked: versions(&["check-system-version"]),
        excluded: versions(&["exclude-system"]),
    };
    let mut supplements: Vec<&CodeSystem> = Vec::new();
    for name in asked.texts("useSupplement").chain(needed.iter().map(|it| &**it)) {
        let unknown = || TerminologyFault::UnknownSupplement(name.to_owned());
        let found = image.supplement(name).ok_or_else(unknown)?;
        if !supplements.iter().any(|it| std::ptr::eq(*it, found)) {
            supplements.push(found);
        }
    }
    let moment = match asked.text("date")? {
        Some(date) => Moment::read(date, request.now)
            .map_err(|()| Refusal::malformed(format!("date is no dateTime: {date:?}")))?,
        None => None,
    };
    Ok(Scope::strict(image, versions, supplements).at(moment))
}

/// The languages that the parameters, the value set or the request ask for.
fn languages(
    asked: Asked<'_>,
    request: &Request<'_>,
    of_value_set: Option<&str>,
) -> Result<Languages, Refusal> {
    let named = asked.text("displayLanguage")?.or(of_value_set);
    if named.is_some_and(|it| it.split(',').count() > MAX_LANGUAGES) {
        return Err(Refusal::malformed(format!(
            "displayLanguage has at most {MAX_LANGUAGES} tags"
        )));
    }
    Ok(Languages::read(named.or(request.languages)))
}

/// A parameter of an answer.
fn parameter(name: &str, kind: &'static str, value: impl Into<Value<'static>>) -> Value<'static> {
    Object::new().with("name", name.to_owned()).with(kind, value).into()
}

/// A parameter with parts.
fn parts(name: &str, parts: Vec<Value<'static>>) -> Value<'static> {
    Object::new().with("name", name.to_owned()).with("part", parts).into()
}

/// A Parameters resource.
fn parameters(parameters: Vec<Value<'static>>) -> Value<'static> {
    Object::new().with("resourceType", "Parameters").with("parameter", parameters).into()
}

#[cfg(test)]
mod tests;
