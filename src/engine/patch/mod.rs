//! The three patch formats as pure functions from one document to the next.
//!
//! A patch succeeds as a whole or changes nothing. What it may not change is the same in all
//! formats: the type, the id, and what the server itself keeps in `meta`. Whether the result is
//! a valid resource is for the caller to check. No patch can make a document grow without
//! bound, nest without bound, or take more operations than [`MAX_OPERATIONS`].
//!
//! Layer: 5. Imports `error`, `fhir`, `fhirpath`. No I/O.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#patch>, rest 2e

mod bounds;
mod element;
mod fhirpath;
mod json_patch;
pub(in crate::engine) mod list;
mod operation;
mod place;
mod xml;
mod xpath;

use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::schema::Schema;
use crate::fhir::{Issue, IssueCode};
use crate::fhirpath::same_tree;

use operation::TEXTS;

/// Most operations of one patch.
pub const MAX_OPERATIONS: usize = 1000;

/// A patch, in the language of its Content-Type.
#[derive(Clone, Debug)]
pub enum Patch<'a> {
    /// FHIRPath Patch: a Parameters resource.
    FhirPath(Value<'a>),
    /// JSON Patch: an array of operations.
    Json(Value<'a>),
    /// XML Patch: the text of a `diff` document.
    Xml(&'a str),
}

/// Applies `patch` to `target`, a resource of a type that `schema` has.
///
/// # Errors
/// [`Error::Unprocessable`] for a JSON Patch `test` that fails; [`Error::TooLarge`] when the
/// result would be; [`Error::Invalid`] for everything else, with the place of the operation in
/// its text.
pub fn apply(
    patch: &Patch<'_>,
    target: Value<'_>,
    schema: &Schema,
) -> Result<Value<'static>, Error> {
    let kept = Kept::of(&target);
    let patched = match patch {
        Patch::FhirPath(parameters) => fhirpath::apply(parameters, target, schema)?,
        Patch::Json(operations) => json_patch::apply(operations, target)?,
        Patch::Xml(diff) => xml::apply(diff, &target, schema)?,
    };
    kept.check(&patched)?;
    Ok(patched)
}

/// Why an operation cannot be applied.
#[derive(Debug)]
enum Fault {
    /// The operation is malformed or does not fit the document.
    Invalid(String),
    /// A test says that the document is not as expected.
    TestFailed(String),
    /// The result is too large.
    TooLarge,
}

impl Patch<'_> {
    /// Whether what it does depends on which values there are, so that its answer tells of them: by a `test`,
    /// by a path that is more than names and places, by predicates.
    pub(super) fn asks(&self) -> bool {
        match self {
            Self::Json(operations) => {
                let all = operations.as_array().unwrap_or_default();
                all.iter().any(|operation| operation.str_at("op") == Some("test"))
            }
            Self::FhirPath(parameters) => {
                let all = parameters.items_at("parameter").iter();
                let mut parts = all.flat_map(|operation| operation.items_at("part"));
                // As `Operation::read` takes it, a path may be a code too.
                parts.any(|part| {
                    let mut paths = TEXTS.into_iter().filter_map(|key| part.str_at(key));
                    part.str_at("name") == Some("path") && paths.any(|path| !is_plain(path))
                })
            }
            // A bracket may be written as a character reference.
            Self::Xml(diff) => diff.contains('[') || diff.contains("&#"),
        }
    }
}

/// Whether a path has names and numbers of places only.
fn is_plain(path: &str) -> bool {
    path.split('.').all(|step| {
        let (name, place) = step.split_once('[').unwrap_or((step, "0]"));
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let place = place.strip_suffix(']');
        is_name && place.is_some_and(|place| place.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

type Step<T> = Result<T, Fault>;

fn invalid<T>(reason: impl Into<String>) -> Step<T> {
    Err(Fault::Invalid(reason.into()))
}

impl Fault {
    fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid(reason.into())
    }

    /// The error of the operation at `index`.
    fn at(self, index: usize) -> Error {
        match self {
            Self::Invalid(reason) => {
                Error::invalid(IssueCode::Invalid, format!("patch operation {index}: {reason}"))
            }
            Self::TestFailed(reason) => {
                let text = format!("patch operation {index}: {reason}");
                Error::Unprocessable(vec![Issue::error(IssueCode::Processing, text)])
            }
            Self::TooLarge => Error::TooLarge(format!(
                "patch operation {index} makes the resource larger or deeper than this server takes"
            )),
        }
    }
}

/// The paths that no operation may write, in names.
const SERVER_OWNED: [&[&str]; 4] =
    [&["id"], &["resourceType"], &["meta", "versionId"], &["meta", "lastUpdated"]];

/// Refuses to write an element that is the server's, or something inside it.
fn check_writable<'n>(names: &(impl Iterator<Item = &'n str> + Clone)) -> Step<()> {
    for owned in SERVER_OWNED {
        if names.clone().take(owned.len()).eq(owned.iter().copied()) {
            return invalid(format!("{} cannot be patched", owned.join(".")));
        }
    }
    Ok(())
}

/// What must be the same before and after a patch.
struct Kept {
    values: [Option<Value<'static>>; 4],
}

impl Kept {
    fn of(resource: &Value<'_>) -> Self {
        Self { values: SERVER_OWNED.map(|names| find(resource, names)) }
    }

    /// Refuses a result with another type, id, version or time. A `meta` that was taken away or
    /// replaced as a whole may leave the last two out: the server writes them anyway.
    fn check(&self, patched: &Value<'_>) -> Result<(), Error> {
        for (names, before) in SERVER_OWNED.iter().zip(&self.values) {
            let after = find(patched, names);
            let same = match (before, &after) {
                (Some(before), Some(after)) => same_tree(before, after),
                (_, None) if names.len() > 1 => true,
                (before, after) => before.is_none() && after.is_none(),
            };
            if !same {
                let text = format!("a patch cannot change {}", names.join("."));
                return Err(Error::invalid(IssueCode::Invalid, text));
            }
        }
        Ok(())
    }
}

fn find(resource: &Value<'_>, names: &[&str]) -> Option<Value<'static>> {
    let found = names.iter().try_fold(resource, |value, name| value.get(name))?;
    Some(found.clone().into_owned())
}

#[cfg(test)]
mod tests;
