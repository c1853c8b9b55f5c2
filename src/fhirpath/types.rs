//! Is an item of a type?
//!
//! Spec: <https://hl7.org/fhirpath/N1/#types>, <https://hl7.org/fhir/R4/fhirpath.html#types>

use super::ast::TypeSpecifier;
use super::item::Item;
use crate::fhir::schema::{Schema, TypeKind};

/// FHIRPath's own types.
const SYSTEM: [&str; 8] =
    ["Boolean", "Date", "DateTime", "Decimal", "Integer", "Quantity", "String", "Time"];

/// Whether there is such a type.
pub(super) fn exists(specifier: &TypeSpecifier, schema: &Schema) -> bool {
    let namespace = specifier.namespace.as_deref();
    let is_system =
        namespace.is_none_or(|name| name == "System") && SYSTEM.contains(&&*specifier.name);
    is_system
        || (namespace.is_none_or(|name| name == "FHIR")
            && schema.by_name(&specifier.name).is_some())
}

/// Whether `as` and `ofType` keep `item`: primitives only of the very type, as the published suite
/// has it (a code is a string, but `gender.as(string)` is empty).
pub(super) fn keeps(item: &Item<'_>, specifier: &TypeSpecifier, schema: &Schema) -> bool {
    let exact = item.node().is_none_or(|node| {
        let def = schema.get(node.type_id);
        !matches!(def.kind, TypeKind::Primitive(_)) || def.name == specifier.name
    });
    exact && matches(item, specifier, schema)
}

/// Whether a primitive converts to the type of FHIRPath's own that is named without a namespace:
/// definitions of R4 are written so (`value as String`), and have always been understood.
///
/// <https://hl7.org/fhir/R4/fhirpath.html#types>
pub(super) fn converts(item: &Item<'_>, specifier: &TypeSpecifier, schema: &Schema) -> bool {
    let is_primitive = item
        .node()
        .is_some_and(|node| matches!(schema.get(node.type_id).kind, TypeKind::Primitive(_)));
    specifier.namespace.is_none()
        && is_primitive
        && item.system(schema).is_some_and(|value| value.type_name() == &*specifier.name)
}

/// Whether `item` is of the type, or of one that specialises it.
pub(super) fn matches(item: &Item<'_>, specifier: &TypeSpecifier, schema: &Schema) -> bool {
    let namespace = specifier.namespace.as_deref();
    match item {
        Item::Type(_) => false,
        Item::Value(value) => {
            namespace.is_none_or(|name| name == "System") && value.type_name() == &*specifier.name
        }
        Item::Node(_) | Item::Target(_) => {
            namespace.is_none_or(|name| name == "FHIR") && named(item, &specifier.name, schema)
        }
    }
}

/// Whether `item` is of FHIR's type `name`, or of one that specialises it.
pub(super) fn named(item: &Item<'_>, name: &str, schema: &Schema) -> bool {
    let type_id = match item {
        Item::Node(node) => Some(node.type_id),
        Item::Target(target) => target.type_id,
        Item::Type(_) | Item::Value(_) => return false,
    };
    match (type_id, schema.by_name(name)) {
        (Some(type_id), Some(wanted)) => schema.is_a(type_id, wanted),
        // What a reference points to is a resource, of whatever type.
        (None, Some(_)) => name == "Resource",
        (_, None) => false,
    }
}
