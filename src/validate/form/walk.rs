//! The state of one walk over a document.

use crate::fhir::json::{Limits, Object, Value, number};
use crate::fhir::schema::{Schema, TypeDef, TypeId, TypeKind};
use crate::fhir::{Issue, IssueCode};

use super::contained::Scope;
use super::findings::Findings;
use super::place::Place;

/// Types that have rules of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ruled {
    pub(super) attachment: Option<TypeId>,
    /// The translations of a code system's and of a value set's codes.
    pub(super) designations: [Option<TypeId>; 2],
    pub(super) element: Option<TypeId>,
    pub(super) extension: Option<TypeId>,
    pub(super) narrative: Option<TypeId>,
    pub(super) parameter: Option<TypeId>,
    pub(super) reference: Option<TypeId>,
}

/// What is said of a value that lies deeper than a document may go.
const TOO_DEEP: &str = "nested too deep";

/// Whether an issue says that a document is nested too deep.
pub fn is_of_depth(issue: &Issue) -> bool {
    issue.diagnostics.ends_with(TOO_DEEP)
}

/// One walk: what it goes by, where it is, what it found.
pub(super) struct Walk<'s, 'd> {
    pub(super) schema: &'s Schema,
    pub(super) ruled: Ruled,
    pub(super) findings: Findings,
    /// The resource that `#` refers into at this point.
    pub(super) scope: Scope<'d>,
    /// Whether the resources of a Bundle's entries are left out.
    pub(super) is_shell: bool,
    /// The `fullUrl`s of the innermost Bundle with the types of their resources, in order.
    pub(super) full_urls: Vec<(&'d str, &'d str)>,
    /// Zeros that large exponents add when they are written out.
    zeros: usize,
}

/// An exponent up to this one is as short as many a decimal that is written without one.
const FREE_ZEROS: usize = 64;
/// Most zeros that the larger exponents of one document may add, so that a small body does not
/// become a large one.
const MAX_ZEROS: usize = 16 * 1024;

impl<'s, 'd> Walk<'s, 'd> {
    pub(super) fn new(schema: &'s Schema) -> Self {
        let ruled = Ruled {
            attachment: schema.by_name("Attachment"),
            designations: [
                schema.by_name("CodeSystem.concept.designation"),
                schema.by_name("ValueSet.compose.include.concept.designation"),
            ],
            element: schema.by_name("Element"),
            extension: schema.by_name("Extension"),
            narrative: schema.by_name("Narrative"),
            parameter: schema.by_name("Parameters.parameter"),
            reference: schema.by_name("Reference"),
        };
        Self {
            schema,
            ruled,
            findings: Findings::default(),
            scope: Scope::default(),
            is_shell: false,
            full_urls: Vec::new(),
            zeros: 0,
        }
    }

    /// Counts what the decimal `digits` grows by when its exponent is written out; says so when
    /// that is too much.
    pub(super) fn count_zeros(&mut self, digits: &str, place: &Place<'_>) {
        let zeros = number::zeros(digits);
        if zeros <= FREE_ZEROS {
            return;
        }
        let before = self.zeros;
        self.zeros = before.saturating_add(zeros);
        if before <= MAX_ZEROS && self.zeros > MAX_ZEROS {
            self.findings.add(IssueCode::TooLong, place, "too many large exponents");
        }
    }

    /// Checks the whole document: a resource that is to be kept.
    pub(super) fn document(&mut self, value: &'d Value<'d>) {
        let named = value.str_at("resourceType").unwrap_or("Resource");
        // A name that is no type would make a strange expression.
        let name = if self.schema.by_name(named).is_some() { named } else { "Resource" };
        let place = Place::root(name);
        if let Some((def, object)) = self.resource_of(value, &place) {
            self.refuse_subsetted(object, &place);
            self.resource(def, object, &place);
        }
    }

    /// The object and its type, when the value is a resource of a known, concrete type.
    pub(super) fn resource_of(
        &mut self,
        value: &'d Value<'d>,
        place: &Place<'_>,
    ) -> Option<(TypeId, &'d Object<'d>)> {
        let Value::Object(object) = value else {
            let rule = format!("a resource is a JSON object, not {}", with_article(value));
            self.findings.structure(place, &rule);
            return None;
        };
        let name = match object.get("resourceType") {
            Some(Value::String(name)) => name,
            Some(_) => {
                self.findings.structure(place, "resourceType is a string");
                return None;
            }
            None => {
                self.findings.structure(place, "a resource needs a resourceType");
                return None;
            }
        };
        let known = self.schema.by_name(name).filter(|&id| is_concrete(self.schema.get(id)));
        if known.is_none() {
            let shown: String = name.chars().take(64).collect();
            let rule = format!("{shown:?} is not a resource type of R4");
            self.findings.add(IssueCode::Structure, place, &rule);
        }
        Some((known?, object))
    }

    /// Whether the value lies deeper than a document may go; says so.
    pub(super) fn is_too_deep(&mut self, place: &Place<'_>) -> bool {
        let is_too_deep = place.depth() > Limits::default().depth;
        if is_too_deep {
            self.findings.structure(place, TOO_DEEP);
        }
        is_too_deep
    }
}

fn is_concrete(def: &TypeDef) -> bool {
    def.kind == TypeKind::Resource && !def.is_abstract
}

/// `an array`, `a string`: the kind of a value in a sentence.
pub(super) fn with_article(value: &Value<'_>) -> String {
    let kind = value.kind();
    match kind {
        "null" => kind.to_owned(),
        "array" | "object" => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}
