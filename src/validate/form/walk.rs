//! The state of one walk over a document.

use crate::fhir::IssueCode;
use crate::fhir::json::{Limits, Object, Value};
use crate::fhir::schema::{Schema, TypeDef, TypeId, TypeKind};

use super::contained::Scope;
use super::findings::Findings;
use super::place::Place;

/// Types that have rules of their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ruled {
    pub(super) element: Option<TypeId>,
    pub(super) extension: Option<TypeId>,
    pub(super) parameter: Option<TypeId>,
    pub(super) reference: Option<TypeId>,
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
}

impl<'s, 'd> Walk<'s, 'd> {
    pub(super) fn new(schema: &'s Schema) -> Self {
        let ruled = Ruled {
            element: schema.by_name("Element"),
            extension: schema.by_name("Extension"),
            parameter: schema.by_name("Parameters.parameter"),
            reference: schema.by_name("Reference"),
        };
        Self {
            schema,
            ruled,
            findings: Findings::default(),
            scope: Scope::default(),
            is_shell: false,
        }
    }

    /// Checks the whole document: a resource that is to be kept.
    pub(super) fn document(&mut self, value: &'d Value<'d>, place: Option<Place<'_>>) {
        let named = value.str_at("resourceType").unwrap_or("Resource");
        // A name that is no type would make a strange expression.
        let name = if self.schema.by_name(named).is_some() { named } else { "Resource" };
        let place = place.unwrap_or_else(|| Place::root(name));
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
            self.findings.structure(place, "nested too deep");
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
