//! Which elements a parameter of a type can compare.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#ptypes>

use super::{SearchType, ancestry};
use crate::fhir::schema::{Schema, TypeId, TypeKind};

// Each stands for what specialises it too: `string` for `code`, `id` and `markdown`, `uri` for `canonical`,
// `oid`, `url` and `uuid`, `integer` for what is positive or not negative, `Quantity` for `Age` and others.

const DATES: [&str; 5] = ["Period", "Timing", "date", "dateTime", "instant"];

const NUMBERS: [&str; 3] = ["Range", "decimal", "integer"];

const QUANTITIES: [&str; 3] = ["Money", "Quantity", "Range"];

const REFERENCES: [&str; 2] = ["Reference", "uri"];

const STRINGS: [&str; 5] = ["Address", "CodeableConcept", "HumanName", "string", "uri"];

const TOKENS: [&str; 7] =
    ["CodeableConcept", "Coding", "ContactPoint", "Identifier", "boolean", "string", "uri"];

impl SearchType {
    /// Whether elements of a type give values to a parameter of this one; what is abstract may be of
    /// a type that does, and a composite looks at whatever its parts are in.
    pub fn compares(self, element: TypeId, schema: &Schema) -> bool {
        let def = schema.get(element);
        let is_one_of =
            |names: &[&str]| ancestry(schema, &def.name).any(|name| names.contains(&name));
        def.is_abstract
            || match self {
                Self::Composite => true,
                Self::Date => is_one_of(&DATES),
                Self::Number => is_one_of(&NUMBERS),
                Self::Quantity => is_one_of(&QUANTITIES),
                Self::Reference => is_one_of(&REFERENCES) || def.kind == TypeKind::Resource,
                Self::Special => is_one_of(&["Location.position"]),
                Self::String => is_one_of(&STRINGS) && &*def.name != "canonical",
                Self::Token => is_one_of(&TOKENS),
                Self::Uri => is_one_of(&["uri"]),
            }
    }
}
