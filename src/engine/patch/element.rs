//! The value of a FHIRPath Patch operation as JSON of the element it is for.
//!
//! Parameters cannot say every type, and clients say a neighbour of the right one
//! (`valueString` for a code): primitives are converted by the type of the target and then have
//! to be a value of it; groups without a name come as nested parts.
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpatch.html>, rest 2.67

use super::list::{self, Element};
use super::{Step, invalid};
use crate::fhir::json::{Object, Value};
use crate::fhir::primitive;
use crate::fhir::schema::{Field, FieldType, Primitive, Schema, TypeId, TypeKind};

/// The element `name` of a type: by its name, or for a choice by the name of one variant.
pub(super) fn field<'s>(
    schema: &'s Schema,
    type_id: TypeId,
    name: &str,
) -> Step<(&'s Field, Option<&'s FieldType>)> {
    let def = match schema.get(type_id).kind {
        TypeKind::Primitive(_) => schema.type_named("Element"),
        _ => Some(schema.get(type_id)),
    };
    let plain = name.strip_suffix("[x]").unwrap_or(name);
    let found = def.and_then(|def| match def.field(plain) {
        Some(field) => Some((field, None)),
        None => def.key(plain).map(|(field, variant)| (field, Some(variant))),
    });
    match found {
        Some(found) => Ok(found),
        None => invalid(format!("{} has no element {name:?}", schema.get(type_id).name)),
    }
}

/// The JSON key and content of `field` that `part` gives: a parameter part with a `value[x]`, a
/// `resource` or nested parts.
pub(super) fn read<'s>(
    schema: &'s Schema,
    field: &'s Field,
    variant: Option<&'s FieldType>,
    part: &Value<'_>,
) -> Step<(&'s str, Element)> {
    if let Some(resource) = part.get("resource") {
        let variant = only(field, variant)?;
        if schema.get(variant.type_id).kind != TypeKind::Resource {
            return invalid(format!("{} is no resource", field.name));
        }
        let value = Some(resource.clone().into_owned());
        return Ok((&variant.key, Element { value, sibling: None }));
    }
    if let Some((suffix, value, sibling)) = typed_value(part)? {
        let wanted = format!("{}{suffix}", field.name);
        let variant = variant.or_else(|| field.types.iter().find(|one| *one.key == *wanted));
        let variant = only(field, variant)?;
        let element = convert(schema, variant, suffix, value, sibling)?;
        return Ok((&variant.key, element));
    }
    let variant = only(field, variant)?;
    let parts = part.items_at("part");
    let is_group =
        matches!(schema.get(variant.type_id).kind, TypeKind::Backbone | TypeKind::Complex);
    if parts.is_empty() || !is_group {
        return invalid(format!("there is no value for {}", field.name));
    }
    let value = Some(Value::Object(group(schema, variant.type_id, parts)?));
    Ok((&variant.key, Element { value, sibling: None }))
}

/// The variant chosen, or the one type of an element that is no choice.
fn only<'s>(field: &'s Field, variant: Option<&'s FieldType>) -> Step<&'s FieldType> {
    match (variant, field.types.as_slice()) {
        (Some(variant), _) => Ok(variant),
        (None, [one]) => Ok(one),
        _ => {
            let keys: Vec<_> = field.types.iter().map(|one| &*one.key).collect();
            invalid(format!("the value has to make one of {}", keys.join(", ")))
        }
    }
}

type Typed<'p> = (&'p str, Option<&'p Value<'p>>, Option<&'p Value<'p>>);

/// The `value[x]` of a part: the type's suffix, the value, and its sibling.
fn typed_value<'p>(part: &'p Value<'p>) -> Step<Option<Typed<'p>>> {
    let mut found: Option<Typed<'_>> = None;
    let Some(object) = part.as_object() else { return invalid("a part is an object") };
    for (key, value) in object.iter() {
        let (plain, is_sibling) = match key.strip_prefix('_') {
            Some(plain) => (plain, true),
            None => (key, false),
        };
        let Some(suffix) = plain.strip_prefix("value").filter(|suffix| !suffix.is_empty()) else {
            continue;
        };
        let (seen, content, sibling) = found.get_or_insert((suffix, None, None));
        if *seen != suffix {
            return invalid("a part has more than one value");
        }
        *(if is_sibling { sibling } else { content }) = Some(value);
    }
    Ok(found)
}

fn convert(
    schema: &Schema,
    variant: &FieldType,
    suffix: &str,
    value: Option<&Value<'_>>,
    sibling: Option<&Value<'_>>,
) -> Step<Element> {
    let def = schema.get(variant.type_id);
    let sibling = sibling.map(|sibling| sibling.clone().into_owned());
    let value = match (def.kind, value) {
        (TypeKind::Primitive(primitive), Some(value)) => Some(scalar(primitive, value)?),
        (TypeKind::Primitive(_), None) if sibling.is_some() => None,
        (TypeKind::Xhtml, Some(Value::String(text))) => {
            return Ok(Element { value: Some(text.to_string().into()), sibling: None });
        }
        (TypeKind::Complex, Some(value @ Value::Object(_))) => {
            let given = schema.by_name(suffix);
            let fits = given.is_some_and(|given| {
                schema.is_a(given, variant.type_id) || schema.is_a(variant.type_id, given)
            });
            if !fits {
                return invalid(format!("a value{suffix} is no {}", def.name));
            }
            return Ok(Element { value: Some(value.clone().into_owned()), sibling: None });
        }
        _ => return invalid(format!("a value{suffix} is no {}", def.name)),
    };
    Ok(Element { value, sibling })
}

/// A primitive's value in the JSON form of its type.
fn scalar(primitive: Primitive, value: &Value<'_>) -> Step<Value<'static>> {
    let text = match value {
        Value::String(text) | Value::Number(text) => text.clone().into_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Array(_) | Value::Null | Value::Object(_) => {
            return invalid("the value of a primitive is a text, a number or a boolean");
        }
    };
    if let Err(reason) = primitive::check(primitive, &text) {
        return invalid(format!("the value does not fit its element: {reason}"));
    }
    Ok(match primitive {
        Primitive::Boolean => Value::Bool(text == "true"),
        number if number.is_number() => Value::Number(text.into()),
        _ => Value::from(text),
    })
}

/// An object of elements, each a part with the element's name.
fn group(schema: &Schema, type_id: TypeId, parts: &[Value<'_>]) -> Step<Object<'static>> {
    let mut object = Object::new();
    for part in parts {
        let Some(name) = part.str_at("name") else { return invalid("a part has no name") };
        let (field, variant) = field(schema, type_id, name)?;
        let (key, element) = read(schema, field, variant, part)?;
        if field.is_array() {
            let end = list::len(&object, key);
            list::insert(&mut object, key, end, element)?;
        } else if is_present(&object, field) {
            return invalid(format!("{name} may be given once"));
        } else {
            list::set(&mut object, key, element);
        }
    }
    Ok(object)
}

/// Whether the element is there, in whichever variant.
pub(super) fn is_present(object: &Object<'_>, field: &Field) -> bool {
    field
        .types
        .iter()
        .any(|one| object.contains(&one.key) || object.contains(&list::sibling_key(&one.key)))
}
