//! What extraction gives: the rows of one resource, before they are hashed.

use std::borrow::Cow;

use crate::fhir::{Canonical, LogicalId, ResourceType, VersionId};
use crate::fhirpath::{Cause, Decimal, EvaluationError};

use crate::search::values::date::DateRange;
use crate::search::values::number::NumberRange;
use crate::search::values::quantity::InBase;
use crate::search::values::token::Code;

/// All rows of one resource.
#[derive(Clone, Debug)]
pub struct Extraction<'v> {
    /// The type, whose list of parameters the rows speak of.
    pub resource_type: ResourceType,
    /// The rows, sorted by parameter, each once.
    pub rows: Vec<IndexEntry<'v>>,
    /// The span of the type's primary date; `None` when the resource has none: then its
    /// `lastUpdated` stands in.
    pub primary: Option<DateRange>,
    /// The contained resources, for `_contained` and for chains into them.
    pub contained: Vec<Contained<'v>>,
    /// What could not be extracted.
    pub skipped: Vec<Skipped>,
}

/// A contained resource with its own rows.
#[derive(Clone, Debug)]
pub struct Contained<'v> {
    /// Its place in the list of contained resources.
    pub place: usize,
    /// Its id, without `#`; `None` when it has none.
    pub id: Option<&'v str>,
    /// Its rows; `contained` is empty.
    pub extraction: Extraction<'v>,
}

/// One row.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct IndexEntry<'v> {
    /// The parameter: its place in [`Extractor::parameters`](super::Extractor::parameters).
    pub parameter: u16,
    /// What to compare with.
    pub value: IndexValue<'v>,
}

/// What a query compares with.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum IndexValue<'v> {
    /// One combination of the values of a composite's parts, all from one element (rest 4.127).
    Composite(Box<[IndexValue<'v>]>),
    /// A span of time.
    Date(DateRange),
    /// A number.
    Number(NumberRange),
    /// An identifier with its type, for `:of-type` (rest 4.101).
    OfType {
        /// The system of the type's coding.
        system: Option<&'v str>,
        /// The code of the type's coding.
        code: Code<'v>,
        /// The identifier's value; its case counts.
        value: &'v str,
    },
    /// Where something is, in degrees (WGS 84), for `near`.
    Position {
        /// North of the equator.
        latitude: Decimal,
        /// East of Greenwich.
        longitude: Decimal,
    },
    /// A number with a unit.
    Quantity(Box<QuantityValue<'v>>),
    /// A reference.
    Reference(ReferenceValue<'v>),
    /// A string.
    String {
        /// Without case, accents and punctuation.
        folded: Cow<'v, str>,
        /// As it is, for `:exact`; `None` for a later word of a name.
        exact: Option<Cow<'v, str>>,
    },
    /// The folded display or text of a token, for `:text` (rest 4.95).
    Text(Cow<'v, str>),
    /// A code, an identifier, a boolean.
    Token {
        /// Its system; the one implied by the element for a `code`.
        system: Option<&'v str>,
        /// The code.
        code: Code<'v>,
    },
    /// A uri; for a canonical with its version apart.
    Uri(Canonical<'v>),
}

/// A number with a unit.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct QuantityValue<'v> {
    /// The number in the unit as given.
    pub range: NumberRange,
    /// The system of `code`.
    pub system: Option<&'v str>,
    /// The unit's code.
    pub code: Option<&'v str>,
    /// The unit's name for people.
    pub unit: Option<&'v str>,
    /// The same in base units, where the unit is one of UCUM's.
    pub base: Option<InBase>,
}

impl QuantityValue<'_> {
    /// The same with `Quantity.comparator`.
    pub(super) fn compared(self, comparator: Option<&str>) -> Self {
        let range = self.range.compared(comparator);
        let base = self.base.map(|base| InBase { range: base.range.compared(comparator), ..base });
        Self { range, base, ..self }
    }
}

/// What a reference says of its target.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ReferenceValue<'v> {
    /// A canonical: `url|version`.
    Canonical(Canonical<'v>),
    /// A contained resource, by its id without `#`; empty is the container.
    Contained(&'v str),
    /// The target's identifier, for `:identifier` (rest 4.114).
    Identifier {
        /// The identifier's system.
        system: Option<&'v str>,
        /// The identifier's value; its case counts.
        value: &'v str,
    },
    /// A resource of this server, whether it exists or not.
    Local {
        /// Its type.
        resource_type: ResourceType,
        /// Its id.
        id: LogicalId,
        /// The version, when the reference names one.
        version: Option<VersionId>,
    },
    /// Anything else, found by the whole text: a resource elsewhere, `urn:uuid:..` (rest 4.119, 4.120).
    Url(&'v str),
}

/// A parameter that gave less than it should have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Skipped {
    /// The parameter: its place in [`Extractor::parameters`](super::Extractor::parameters).
    pub parameter: u16,
    /// Why.
    pub reason: SkipReason,
}

/// Why a value is not in the index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SkipReason {
    /// The expression does not evaluate on this resource.
    Evaluation(EvaluationError),
    /// A date that is none, or a number of more than 38 digits.
    Value,
    /// A composite with more combinations than anybody could mean.
    Combinations,
}

impl SkipReason {
    /// The reason without anything of the resource in it, for logs and numbers.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Combinations => "combinations",
            Self::Evaluation(error) => match error.cause {
                Cause::Budget => "budget",
                Cause::Operand => "operand",
                Cause::Time => "time",
                Cause::Unsupported => "unsupported",
            },
            Self::Value => "value",
        }
    }
}

impl<'v> Extraction<'v> {
    /// The rows of the parameter at this place.
    pub fn of(&self, parameter: u16) -> &[IndexEntry<'v>] {
        let start = self.rows.partition_point(|row| row.parameter < parameter);
        let length = self.rows[start..].partition_point(|row| row.parameter == parameter);
        &self.rows[start..start + length]
    }

    /// The parameters that have a value, in order: those that `:missing=false` finds (rest 4.149).
    pub fn present(&self) -> impl Iterator<Item = u16> {
        self.rows.chunk_by(|a, b| a.parameter == b.parameter).map(|rows| rows[0].parameter)
    }

    /// Smallest and largest sort value of each parameter that sorts by text (rest 4.178).
    ///
    /// Dates, numbers and quantities sort by their own rows.
    pub fn sort_keys(&self) -> impl Iterator<Item = (u16, Cow<'_, str>, Cow<'_, str>)> {
        let groups = self.rows.chunk_by(|a, b| a.parameter == b.parameter);
        groups.filter_map(|rows| {
            let keys = || rows.iter().filter_map(|row| row.value.sort_text());
            Some((rows[0].parameter, keys().min()?, keys().max()?))
        })
    }
}

impl IndexValue<'_> {
    /// What the value sorts by, at most 256 bytes of it; `None` for kinds that do not sort by text.
    pub fn sort_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::String { folded, exact: Some(_) } => Cow::Borrowed(cut(folded)),
            Self::Token { code, .. } => Cow::Borrowed(cut(&code.text)),
            Self::Uri(canonical) => Cow::Borrowed(cut(canonical.url)),
            Self::Reference(ReferenceValue::Local { resource_type, id, .. }) => {
                Cow::Owned(format!("{resource_type}/{}", id.as_str()))
            }
            Self::Reference(ReferenceValue::Url(text)) => Cow::Borrowed(cut(text)),
            Self::Reference(ReferenceValue::Canonical(canonical)) => {
                Cow::Borrowed(cut(canonical.url))
            }
            _ => return None,
        })
    }
}

/// The longest whole beginning of at most 256 bytes.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(256)]
}
