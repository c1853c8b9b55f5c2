//! Types and profiles as lists of elements: what a StructureDefinition says, ready to be applied.
//!
//! A [`Structure`] is a whole view of its type (the snapshot): every element with all the rules that
//! hold for it. [`Library`] finds the structure of a canonical url and makes its snapshot where the
//! definition tells only what differs from its base.
//!
//! | file | holds |
//! |---|---|
//! | `element` | an element and the rules on it |
//! | `library` | all definitions of one moment, by canonical url; whether one more could take part |
//! | `read` | from the JSON of a definition to elements |
//! | `snapshot` | from what differs from a base to a snapshot |
//!
//! It never judges a document; `validate` does. Layer: 1. Imports `error`, `fhir`. No I/O.
//!
//! Spec: <https://hl7.org/fhir/R4/structuredefinition.html>, <https://hl7.org/fhir/R4/profiling.html>

mod element;
mod library;
mod read;
mod snapshot;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use thiserror::Error;

use crate::error::Error;

pub use element::{
    Aggregation, Binding, Discriminator, DiscriminatorKind, Element, ElementType, Invariant,
    Representation, Severity, Slicing, SlicingRules, Strength, Versioning,
};
pub use library::Library;

/// The start of the canonical url of every type of FHIR's own.
const TYPE_URL: &str = "http://hl7.org/fhir/StructureDefinition/";

/// Keeps the current library: stored definitions change, packages are installed.
pub trait Source: Send + Sync {
    /// The library of what is defined now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    fn current(&self) -> BoxFuture<'_, Result<Arc<Library>, Error>>;
}

/// A type, a profile or a logical model, with its snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Structure {
    /// Its canonical url.
    pub url: Box<str>,
    /// Its business version.
    pub version: Option<Box<str>>,
    /// Its computer-friendly name.
    pub name: Box<str>,
    /// The type that it defines or constrains: `Patient`, for logical models perhaps a url.
    pub type_name: Box<str>,
    /// What kind of type that is.
    pub kind: Kind,
    /// Whether it makes a type or constrains one.
    pub derivation: Derivation,
    /// The canonical of the structure that it is built on; the roots have none.
    pub base: Option<Box<str>>,
    /// Whether nothing can be of this type itself.
    pub is_abstract: bool,
    /// Where an extension may be used; empty is nowhere told.
    pub context: Vec<Context>,
    /// FHIRPath conditions on where an extension is used.
    pub context_invariants: Vec<Box<str>>,
    /// The snapshot: the root first, children after their parent, slices after what they slice.
    pub elements: Vec<Element>,
}

/// The kind of a type.
///
/// <https://hl7.org/fhir/R4/valueset-structure-definition-kind.html>
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A data type with elements.
    Complex,
    /// A model that no resource is of.
    Logical,
    /// A data type with one value.
    Primitive,
    /// A resource.
    Resource,
}

/// How a structure follows from its base.
///
/// <https://hl7.org/fhir/R4/valueset-type-derivation-rule.html>
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Derivation {
    /// It allows less.
    Constraint,
    /// It is a type of its own.
    Specialization,
}

/// Where an extension may be used.
///
/// <https://hl7.org/fhir/R4/defining-extensions.html#context>
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Context {
    /// On elements of this id (`Patient.contact`, `Element`, `http://x/profile#Patient.name:a`).
    Element(Box<str>),
    /// Inside the extension of this url.
    Extension(Box<str>),
    /// Where this FHIRPath expression selects.
    FhirPath(Box<str>),
}

/// Why there is no structure.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum StructureFault {
    /// The structure builds on itself, directly or through others.
    #[error("the definition {0} builds on itself")]
    Circular(String),
    /// The definition breaks a rule of StructureDefinitions.
    #[error("the definition {url} cannot be used: {reason}")]
    Malformed {
        /// The definition.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No definition has this canonical.
    #[error("the definition {0} is not known")]
    Unknown(String),
    /// What the structure builds on is not defined.
    #[error("the definition {url} builds on {base}, which is not known")]
    UnknownBase {
        /// The definition.
        url: String,
        /// The missing base.
        base: String,
    },
    /// The definition says something of an element that there is not.
    #[error("the definition {url} speaks of {path}, which is no element of its base")]
    UnknownPath {
        /// The definition.
        url: String,
        /// The id of the element.
        path: String,
    },
    /// A pack that has definitions is damaged.
    #[error("the definition packs cannot be read: {0}")]
    Unreadable(String),
}

impl Structure {
    /// The root element; `None` only for a structure without elements.
    pub fn root(&self) -> Option<&Element> {
        self.elements.first()
    }

    /// Its canonical with its version.
    pub fn canonical(&self) -> String {
        match &self.version {
            Some(version) => format!("{}|{version}", self.url),
            None => self.url.clone().into(),
        }
    }
}
