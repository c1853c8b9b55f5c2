//! An element of a structure and the rules on it.

use std::sync::Arc;

use crate::fhir::json::Value;

/// One line of a snapshot.
///
/// <https://hl7.org/fhir/R4/elementdefinition.html>
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// The path with the names of slices: `Patient.identifier:mrn.system`.
    pub id: Box<str>,
    /// The path without them: `Patient.identifier.system`, `Observation.value[x]`.
    pub path: Box<str>,
    /// How the element is written in XML; empty is as an element.
    pub representation: Vec<Representation>,
    /// The name of the slice that the element is; a reslice is `slice/reslice`.
    pub slice_name: Option<Box<str>>,
    /// Whether the slice says more about one that the base has.
    pub slice_is_constraining: bool,
    /// How what has this path is told apart.
    pub slicing: Option<Slicing>,
    /// The least number of them.
    pub min: u32,
    /// The greatest number of them; `None` is no bound.
    pub max: Option<u32>,
    /// The types it may have; empty where there is a content reference, and on the root.
    pub types: Vec<ElementType>,
    /// The id of the element (with `#`, perhaps after a url) whose children it has.
    pub content_reference: Option<Box<str>>,
    /// The value that it must have, no more and no less.
    pub fixed: Option<Value<'static>>,
    /// What its value must have at least.
    pub pattern: Option<Value<'static>>,
    /// The least value.
    pub min_value: Option<Value<'static>>,
    /// The greatest value.
    pub max_value: Option<Value<'static>>,
    /// The most characters of its text.
    pub max_length: Option<u32>,
    /// The codes that it may have.
    pub binding: Option<Binding>,
    /// Which languages a narrative has sections for: `_yes` some, `_no` none, `_resource` that of the
    /// resource, else a language.
    pub narrative_languages: Option<Box<str>>,
    /// The invariants that hold where it is.
    pub invariants: Vec<Arc<Invariant>>,
    /// Whether implementations must do something meaningful with it.
    pub must_support: bool,
    /// Whether it may change the meaning of what it is in.
    pub is_modifier: bool,
    /// Whether it is in summaries.
    pub is_summary: bool,
}

/// How an element is written in XML.
///
/// <https://hl7.org/fhir/R4/valueset-property-representation.html>
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Representation {
    /// As text of another specification.
    CdaText,
    /// The type is told by `xsi:type`.
    TypeAttribute,
    /// As xhtml.
    Xhtml,
    /// As an attribute.
    XmlAttribute,
    /// As the text of its parent.
    XmlText,
}

/// How the elements of one path are told apart.
///
/// <https://hl7.org/fhir/R4/profiling.html#slicing>
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Slicing {
    /// By what; none: by a rule for people only.
    pub discriminators: Vec<Discriminator>,
    /// Whether they come in the order of the slices.
    pub is_ordered: bool,
    /// Whether there may be others.
    pub rules: SlicingRules,
}

/// Whether there may be elements beside those of the slices.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SlicingRules {
    /// No.
    Closed,
    /// Anywhere.
    Open,
    /// After all of the slices.
    OpenAtEnd,
}

/// What tells slices apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Discriminator {
    /// What of the element at the path.
    pub kind: DiscriminatorKind,
    /// A simple FHIRPath expression from the sliced element: `$this`, `code.coding`, `resolve()`.
    pub path: Box<str>,
}

/// What of an element tells slices apart.
///
/// <https://hl7.org/fhir/R4/valueset-discriminator-type.html>
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiscriminatorKind {
    /// Whether it is there.
    Exists,
    /// Its pattern; the same as `Value` in later versions.
    Pattern,
    /// The profile that it conforms to.
    Profile,
    /// Its type.
    Type,
    /// Its value: fixed, pattern or required binding.
    Value,
}

/// One of the types that an element may have.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ElementType {
    /// FHIR's name of the type, for logical models perhaps a url.
    pub code: Box<str>,
    /// Canonicals of profiles; the element conforms to one of them.
    pub profiles: Vec<Box<str>>,
    /// Canonicals of profiles; what a Reference or canonical points to conforms to one of them.
    pub target_profiles: Vec<Box<str>>,
    /// Where what is referred to may be; empty is anywhere.
    pub aggregation: Vec<Aggregation>,
    /// Whether a reference names a version.
    pub versioning: Option<Versioning>,
    /// The regular expression that the whole text matches.
    pub regex: Option<Box<str>>,
}

/// Where what is referred to may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Aggregation {
    /// In the same Bundle.
    Bundled,
    /// In the resource itself.
    Contained,
    /// Elsewhere.
    Referenced,
}

/// Whether a reference names a version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Versioning {
    /// Either.
    Either,
    /// It does not.
    Independent,
    /// It does.
    Specific,
}

/// The codes that an element may have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binding {
    /// How strictly.
    pub strength: Strength,
    /// The canonical of the value set.
    pub value_set: Option<Box<str>>,
    /// The canonical of the value set that even an extensible binding does not leave.
    pub max_value_set: Option<Box<str>>,
}

/// How strictly a binding is meant.
///
/// <https://hl7.org/fhir/R4/terminologies.html#strength>
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Strength {
    /// The codes are examples.
    Example,
    /// The codes are recommended.
    Preferred,
    /// A code of the set where one fits.
    Extensible,
    /// A code of the set.
    Required,
}

/// A condition that holds wherever its element is.
///
/// <https://hl7.org/fhir/R4/conformance-rules.html#constraints>
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Invariant {
    /// Its name: `pat-1`.
    pub key: Box<str>,
    /// What it means when it does not hold.
    pub severity: Severity,
    /// The rule in words.
    pub human: Box<str>,
    /// The rule in FHIRPath; without, no program can tell.
    pub expression: Option<Box<str>>,
    /// Whether it is a practice that is recommended.
    pub is_best_practice: bool,
}

/// What a broken invariant means.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// The resource is in doubt.
    #[default]
    Warning,
    /// The resource is wrong.
    Error,
}

impl Element {
    /// An element of which nothing is said.
    pub(super) fn new(id: Box<str>, path: Box<str>) -> Self {
        Self {
            id,
            path,
            representation: Vec::new(),
            slice_name: None,
            slice_is_constraining: false,
            slicing: None,
            min: 0,
            max: None,
            types: Vec::new(),
            content_reference: None,
            fixed: None,
            pattern: None,
            min_value: None,
            max_value: None,
            max_length: None,
            binding: None,
            narrative_languages: None,
            invariants: Vec::new(),
            must_support: false,
            is_modifier: false,
            is_summary: false,
        }
    }

    /// The last part of the path: `system`, `value[x]`.
    pub fn name(&self) -> &str {
        self.path.rsplit_once('.').map_or(&*self.path, |(_, name)| name)
    }

    /// Whether several types share its name: the path ends in `[x]`.
    pub fn is_choice(&self) -> bool {
        self.path.ends_with("[x]")
    }
}

impl Invariant {
    /// An invariant as a pack or a definition has it.
    pub(super) fn read(value: &Value<'_>) -> Option<Self> {
        Some(Self {
            key: value.str_at("key")?.into(),
            severity: match value.str_at("severity")? {
                "warning" => Severity::Warning,
                _ => Severity::Error,
            },
            human: value.str_at("human").unwrap_or_default().into(),
            expression: value.str_at("expression").map(Into::into),
            is_best_practice: value.get("bestPractice").and_then(Value::as_bool) == Some(true),
        })
    }
}
