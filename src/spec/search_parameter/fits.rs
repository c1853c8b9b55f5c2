//! Which elements a parameter of a type can compare.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#ptypes>

use super::SearchType;
use crate::fhir::schema::{Schema, TypeId, TypeKind};

const DATES: [&str; 5] = ["Period", "Timing", "date", "dateTime", "instant"];

const NUMBERS: [&str; 5] = ["Range", "decimal", "integer", "positiveInt", "unsignedInt"];

const QUANTITIES: [&str; 2] = ["Money", "Range"];

const REFERENCES: [&str; 6] = ["Reference", "canonical", "oid", "uri", "url", "uuid"];

const STRINGS: [&str; 11] = [
    "Address",
    "CodeableConcept",
    "HumanName",
    "code",
    "id",
    "markdown",
    "oid",
    "string",
    "uri",
    "url",
    "uuid",
];

const TOKENS: [&str; 14] = [
    "CodeableConcept",
    "Coding",
    "ContactPoint",
    "Identifier",
    "boolean",
    "canonical",
    "code",
    "id",
    "markdown",
    "oid",
    "string",
    "uri",
    "url",
    "uuid",
];

const URIS: [&str; 5] = ["canonical", "oid", "uri", "url", "uuid"];

impl SearchType {
    /// Whether elements of a type give values to a parameter of this one; what is abstract may be of
    /// a type that does, and a composite looks at whatever its parts are in.
    pub fn compares(self, element: TypeId, schema: &Schema) -> bool {
        let def = schema.get(element);
        let is_one_of = |names: &[&str]| names.contains(&&*def.name);
        let is_quantity =
            || schema.by_name("Quantity").is_some_and(|quantity| schema.is_a(element, quantity));
        def.is_abstract
            || match self {
                Self::Composite => true,
                Self::Date => is_one_of(&DATES),
                Self::Number => is_one_of(&NUMBERS),
                Self::Quantity => is_one_of(&QUANTITIES) || is_quantity(),
                Self::Reference => is_one_of(&REFERENCES) || def.kind == TypeKind::Resource,
                Self::Special => is_one_of(&["Location.position"]),
                Self::String => is_one_of(&STRINGS),
                Self::Token => is_one_of(&TOKENS),
                Self::Uri => is_one_of(&URIS),
            }
    }
}
