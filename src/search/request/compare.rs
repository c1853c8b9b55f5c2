//! One comparison of a search with the values of a parameter.
//!
//! Values are brought into the form that the index keeps ([`crate::search::values`]) here, so
//! whoever answers compares and converts nothing.

use crate::fhir::{LogicalId, ResourceType, VersionId};
use crate::fhirpath::Decimal;
use crate::search::values::date::DateRange;
use crate::search::values::number::Asked;
use crate::search::values::token::Code;

use super::prefix::Prefix;

/// A comparison with one value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// The parts of a composite, in its order; all hold for values of one element (rest 4.127).
    Composite(Vec<Comparison>),
    /// A date. With [`Prefix::Ap`] the range is widened already, and what overlaps it matches.
    Date {
        /// How.
        prefix: Prefix,
        /// The span that the text names.
        range: DateRange,
    },
    /// The token is in a value set (`:in`); `:not-in` is this under [`super::Filter::Not`].
    In {
        /// The canonical url, or the address of a ValueSet here.
        value_set: Box<str>,
    },
    /// A number.
    Number {
        /// How.
        prefix: Prefix,
        /// The number with the range of its digits.
        asked: Asked,
    },
    /// A place no further away than this (`near`).
    Position {
        /// North of the equator, in degrees.
        latitude: Decimal,
        /// East of Greenwich, in degrees.
        longitude: Decimal,
        /// The distance in metres.
        metres: f64,
    },
    /// The parameter has a value at all (`:missing=false`).
    Present,
    /// A number with a unit.
    Quantity {
        /// How.
        prefix: Prefix,
        /// The number with the range of its digits, in the unit as given.
        asked: Asked,
        /// The unit.
        unit: AskedUnit,
    },
    /// A reference.
    Reference(AskedReference),
    /// A string.
    String {
        /// Which part of the value must equal the text.
        part: Part,
        /// The text: as it is where case and accents count, else folded.
        text: Box<str>,
        /// Whether case and accents count (`:exact`).
        is_exact: bool,
    },
    /// A code above or below another in its code system; the code itself matches too (rest 4.99).
    Subsumes {
        /// Whether codes below are wanted (`:below`), else those above.
        is_below: bool,
        /// The code system.
        system: Box<str>,
        /// The code.
        code: Box<str>,
    },
    /// The display or text of a token begins so (`:text`); folded.
    Text(Box<str>),
    /// A code, an identifier, a boolean.
    Token(AskedToken),
    /// A uri or a canonical.
    Uri(AskedUri),
}

/// Which part of a string must equal the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// Any part (`:contains`).
    Any,
    /// The end (`ew` in `_filter`).
    End,
    /// The beginning.
    Start,
    /// All of it.
    Whole,
}

/// The unit of a quantity.
#[derive(Clone, Debug, PartialEq)]
pub enum AskedUnit {
    /// Any: the numbers as they were given are compared.
    Any,
    /// A UCUM unit that converts: compared in base units.
    Base {
        /// The number and its range in base units.
        asked: Asked,
        /// The code of the base unit.
        unit: Box<str>,
    },
    /// A code of this system, as given.
    Coded {
        /// The system.
        system: Box<str>,
        /// The code.
        code: Box<str>,
    },
    /// The unit's code or its name for people, whatever the system (`5.4||mg`).
    Named(Box<str>),
    /// Any unit of this system (`5.4|system`).
    OfSystem(Box<str>),
}

/// A reference that is looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AskedReference {
    /// To something with this identifier (`:identifier`).
    Identifier(AskedToken),
    /// To a resource of this server.
    Local {
        /// Its type.
        resource_type: ResourceType,
        /// Its id.
        id: LogicalId,
        /// Only this version of it.
        version: Option<VersionId>,
    },
    /// To a canonical; `:below` compares versions by their beginning (rest 4.121).
    Canonical(AskedUri),
    /// Anything else, by its whole text.
    Url(Box<str>),
}

/// A token that is looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AskedToken {
    /// `code`: of any system or none. Matches when one of the forms does (rest 4.85).
    Code(Vec<Code<'static>>),
    /// `|code`: without a system.
    WithoutSystem(Vec<Code<'static>>),
    /// `system|code`
    Coded {
        /// The system.
        system: Box<str>,
        /// The code.
        code: Code<'static>,
    },
    /// An identifier by the coding of its type (`:of-type`).
    OfType {
        /// The system of the type's coding.
        system: Box<str>,
        /// The code of the type's coding.
        code: Code<'static>,
        /// The identifier's value.
        value: Box<str>,
    },
    /// `system|`: any code of the system.
    System(Box<str>),
    /// A mime type or a language with all that is more special (`:below`, rest 4.100): a code of the
    /// system begins with this one, and ends there or goes on with a separator.
    Begins {
        /// The system.
        system: Box<str>,
        /// How the code begins.
        code: Code<'static>,
    },
}

/// A uri that is looked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AskedUri {
    /// This uri; for a canonical of any version.
    Is {
        /// What comes before `|` and `#`.
        url: Box<str>,
        /// The version, when one is asked for.
        version: Option<Box<str>>,
        /// Whether versions that begin so match too (`:below` with a version).
        is_version_below: bool,
        /// The fragment, when one is asked for; matches with and without one (rest 4.122).
        fragment: Option<Box<str>>,
    },
    /// A uri that begins so (`:below`).
    Below(Box<str>),
    /// A uri that this one begins with (`:above`).
    Above(Box<str>),
}
