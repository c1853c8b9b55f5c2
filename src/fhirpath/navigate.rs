//! From a node to its children, by the element table.
//!
//! Choices answer to their plain name (`value` finds `valueQuantity`), primitives carry
//! their `_name` sibling, and what the element table does not know does not exist.
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpath.html#polymorphism>

use super::item::{Item, NOTHING, Node, System};
use crate::fhir::json::{Object, Value};
use crate::fhir::schema::{Schema, TypeDef, TypeId, TypeKind};

/// Appends the children of `node` called `name`.
pub(super) fn named<'v>(schema: &Schema, node: &Node<'v>, name: &str, out: &mut Vec<Item<'v>>) {
    let Some(object) = elements(node) else {
        own_value(schema, node, name, out);
        return;
    };
    let (mut value, mut sibling, mut choice) = (None, None, None);
    for (key, found) in object.iter() {
        let (plain, is_sibling) = match key.strip_prefix('_') {
            Some(plain) => (plain, true),
            None => (key, false),
        };
        let Some(rest) = plain.strip_prefix(name) else { continue };
        if rest.is_empty() {
            *(if is_sibling { &mut sibling } else { &mut value }) = Some(found);
        } else if rest.starts_with(|next: char| next.is_ascii_uppercase()) {
            choice = choice.or_else(|| choice_key(schema, node.type_id, plain, name));
        }
    }
    if value.is_none() && sibling.is_none() {
        let Some((key, type_id)) = choice else {
            own_value(schema, node, name, out);
            return;
        };
        let under = format!("_{key}");
        push(schema, object.get(key), object.get(&under), type_id, out);
    } else if let Some((field, variant)) = definition(schema, node.type_id).key(name)
        && !field.is_choice
    {
        push(schema, value, sibling, variant.type_id, out);
    }
}

/// Appends all children of `node`, in the order of the document.
pub(super) fn children<'v>(schema: &Schema, node: &Node<'v>, out: &mut Vec<Item<'v>>) {
    let Some(object) = elements(node) else { return };
    let def = definition(schema, node.type_id);
    for (key, found) in object.iter() {
        let (value, sibling) = match key.strip_prefix('_') {
            Some(plain) if object.contains(plain) => continue,
            Some(_) => (None, Some(found)),
            None if matches!(found, Value::Object(_)) => (Some(found), None),
            None => (Some(found), object.get(&format!("_{key}"))),
        };
        if let Some((_, variant)) = def.key(key.strip_prefix('_').unwrap_or(key)) {
            push(schema, value, sibling, variant.type_id, out);
        }
    }
}

/// A part of a computed value: of a quantity or of what `type()` tells.
pub(super) fn part<'v>(item: &Item<'v>, name: &str) -> Option<Item<'v>> {
    match (item, name) {
        (Item::Type(info), "namespace") => Some(Item::from(info.namespace)),
        (Item::Type(info), "name") => Some(Item::from(info.name)),
        (Item::Value(System::Quantity(quantity)), "value") => Some(Item::from(quantity.value)),
        (Item::Value(System::Quantity(quantity)), "unit") => {
            Some(Item::Value(System::String(quantity.unit.clone())))
        }
        _ => None,
    }
}

/// The object that holds the node's elements: for a primitive its sibling.
fn elements<'v>(node: &Node<'v>) -> Option<&'v Object<'v>> {
    node.value.as_object().or_else(|| node.sibling?.as_object())
}

/// A primitive's `value`, which is of FHIRPath's own types.
fn own_value<'v>(schema: &Schema, node: &Node<'v>, name: &str, out: &mut Vec<Item<'v>>) {
    if name == "value" && matches!(schema.get(node.type_id).kind, TypeKind::Primitive(_)) {
        out.extend(Item::Node(*node).system(schema).map(Item::Value));
    }
}

/// The type's definition; where a primitive has no elements of its own, those of Element.
fn definition(schema: &Schema, type_id: TypeId) -> &TypeDef {
    let def = schema.get(type_id);
    match def.kind {
        TypeKind::Primitive(_) if def.fields.is_empty() => {
            schema.type_named("Element").unwrap_or(def)
        }
        _ => def,
    }
}

fn choice_key<'k>(
    schema: &Schema,
    type_id: TypeId,
    key: &'k str,
    name: &str,
) -> Option<(&'k str, TypeId)> {
    let (field, variant) = schema.get(type_id).key(key)?;
    (field.is_choice && &*field.name == name).then_some((key, variant.type_id))
}

fn push<'v>(
    schema: &Schema,
    value: Option<&'v Value<'v>>,
    sibling: Option<&'v Value<'v>>,
    type_id: TypeId,
    out: &mut Vec<Item<'v>>,
) {
    let mut one = |value: Option<&'v Value<'v>>, sibling: Option<&'v Value<'v>>| {
        let value = value.filter(|value| **value != Value::Null);
        let sibling = sibling.filter(|sibling| sibling.as_object().is_some());
        if value.is_some() || sibling.is_some() {
            let value = value.unwrap_or(&NOTHING);
            out.push(Item::Node(Node::with_sibling(value, sibling, type_id, schema)));
        }
    };
    let values = value.and_then(Value::as_array);
    let siblings = sibling.and_then(Value::as_array);
    if values.is_none() && siblings.is_none() {
        one(value, sibling);
        return;
    }
    let (values, siblings) = (values.unwrap_or(&[]), siblings.unwrap_or(&[]));
    for at in 0..values.len().max(siblings.len()) {
        one(values.get(at), siblings.get(at));
    }
}
