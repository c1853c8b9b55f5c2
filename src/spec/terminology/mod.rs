//! What search and validation ask of code systems and value sets.
//!
//! A trait, so that the layers above the definitions need not know who answers: `terminology`
//! implements it, `app` hands it over.
//!
//! Layer: 1. Imports `fhir` and `fhirpath`.
//!
//! Spec: <https://hl7.org/fhir/R4/terminology-module.html>

use std::fmt::Debug;

use thiserror::Error;

pub mod knowledge;

/// Answers about codes, value sets and hierarchies.
pub trait Terminology: Debug + Send + Sync {
    /// What a value set consists of, as far as that is at most `limit` codes.
    ///
    /// `value_set` is a canonical (`url` or `url|version`), the address of a ValueSet here
    /// (`ValueSet/id`, alone or under the server's base), or an implicit value set
    /// (`http://snomed.info/sct?fhir_vs=..`, `[code system]?fhir_vs`, ..).
    ///
    /// # Errors
    /// [`TerminologyFault`].
    fn members(&self, value_set: &str, limit: usize) -> Result<Members, TerminologyFault>;

    /// Whether a code is in a value set (named as for [`members`](Self::members)); without a
    /// `system` whether it is one of the codes of the value set, whatever their system.
    ///
    /// Only this code is looked at: no matter how many codes the value set has.
    ///
    /// # Errors
    /// [`TerminologyFault::UnknownValueSet`] when this value set, or one that it imports, is not
    /// known; [`TerminologyFault::Circular`], [`TerminologyFault::Laborious`],
    /// [`TerminologyFault::Unsupported`]. An unknown system is no error but
    /// [`Contains::Untold`], where the answer depends on it.
    fn contains(
        &self,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<Contains, TerminologyFault>;

    /// The system because of which a code is in a value set although nobody here can tell whether it is
    /// one of its codes; `None` where that is known, or the code is not in it.
    fn on_trust(&self, _value_set: &str, _system: Option<&str>, _code: &str) -> Option<Box<str>> {
        None
    }

    /// The codes below `code`, or above it, with itself: sorted, each once.
    ///
    /// A code that the system does not define is related to nothing but itself.
    ///
    /// # Errors
    /// [`TerminologyFault::UnknownSystem`] when nothing is known of the system's hierarchy;
    /// [`TerminologyFault::TooCostly`] beyond `limit` codes.
    fn subsumed(
        &self,
        system: &str,
        code: &str,
        is_below: bool,
        limit: usize,
    ) -> Result<Vec<Box<str>>, TerminologyFault>;

    /// The displays of a code, in any language; none where the code, or its system, is not known.
    fn displays(&self, _system: &str, _code: &str) -> Vec<Box<str>> {
        Vec::new()
    }

    /// Whether a text is the display of a code in the value set, and no code of the systems in it,
    /// as far as these are known and not large.
    fn is_only_shown(&self, _value_set: &str, _text: &str) -> bool {
        false
    }

    /// The type of the resource that defines this canonical, where one is known: `CodeSystem` or
    /// `ValueSet`.
    fn kind_of(&self, _canonical: &str) -> Option<&'static str> {
        None
    }
}

/// Whether a code is in a value set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Contains {
    /// It is not.
    No,
    /// That depends on a system of which too little is known here: its url.
    Untold(Box<str>),
    /// It is; of a system with all its codes that are not known here, every code is.
    Yes,
}

/// What a value set consists of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Members {
    /// Codes with their systems, sorted by both, each once.
    pub codes: Vec<Member>,
    /// Systems of which every code is a member but whose codes are not known here, sorted: a code
    /// is a member because of its system.
    pub systems: Vec<Box<str>>,
}

/// A code that is in a value set.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Member {
    /// The code system's url.
    pub system: Box<str>,
    /// The code, spelled as its system does.
    pub code: Box<str>,
}

/// Why there is no answer.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum TerminologyFault {
    /// The value set imports itself, directly or through others.
    #[error("value set {0} imports itself")]
    Circular(String),
    /// A filter of a value set has no value.
    #[error("the filter {property} {op} over {system} has no value")]
    FilterLacksValue {
        /// The code system.
        system: String,
        /// What is filtered.
        property: String,
        /// How.
        op: String,
        /// Where it stands, as a FHIRPath expression.
        place: String,
    },
    /// The value set imports or filters more than anybody waits for.
    #[error("value set {0} takes too much work to expand")]
    Laborious(String),
    /// What a definition was on the day that is asked for is not kept.
    #[error("what {what} was on {date} is not known here: it is as it is since {}", since.as_deref().unwrap_or("a day that nobody tells"))]
    OtherDate {
        /// The canonical of the definition.
        what: String,
        /// The date that was asked for.
        date: String,
        /// Since when the definition is as it is, where that is told.
        since: Option<String>,
    },
    /// The version of a code system is not the one that the caller takes.
    #[error("code system {system} is of version {version:?} here, not {expected:?}")]
    OtherVersion {
        /// The code system.
        system: String,
        /// The version that would be used.
        version: String,
        /// The version that was asked for.
        expected: String,
    },
    /// The answer would be larger than was asked for.
    #[error("{what} has more than {limit} codes")]
    TooCostly {
        /// The value set, or the code with its system.
        what: String,
        /// How many were asked for.
        limit: usize,
    },
    /// Nothing is known of the code system.
    #[error("code system {0} is not known")]
    UnknownSystem(String),
    /// A supplement that the value set or the caller needs is not known.
    #[error("the supplement {0} is not known")]
    UnknownSupplement(String),
    /// Nothing is known of the value set.
    #[error("value set {0} is not known")]
    UnknownValueSet(String),
    /// The code system is known, the version is not.
    #[error("version {version:?} of the code system {system} is not known (known: {})", known.join(", "))]
    UnknownVersion {
        /// The code system.
        system: String,
        /// The version that was named.
        version: String,
        /// Those that are known, the newest first.
        known: Vec<String>,
    },
    /// The definition of the value set says something that is not understood.
    #[error("value set {value_set} cannot be expanded: {reason}")]
    Unsupported {
        /// The value set.
        value_set: String,
        /// What it says.
        reason: String,
    },
}
