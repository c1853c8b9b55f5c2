//! Places in a document as FHIRPath finds them, and the objects they stand in.
//!
//! A place's steps name elements; where a primitive's extension is meant, the step leads through
//! the property with the underscore.

use super::list::{self, sibling_key};
use super::{Step, invalid};
use crate::fhir::json::{Object, Value};
use crate::fhir::schema::{Field, Schema, TypeId, TypeKind};
use crate::fhirpath::{Environment, Expression, Item, Step as Stride, locate};

/// One item that an expression found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) strides: Vec<Stride>,
    pub(super) type_id: TypeId,
}

/// Where the element of a place is: the way to the object, the key, and the index in a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Slot<'p> {
    pub(super) holder: &'p [Stride],
    pub(super) key: &'p str,
    pub(super) index: Option<usize>,
}

impl Place {
    /// The element's slot; the root has none.
    pub(super) fn slot(&self) -> Step<Slot<'_>> {
        match self.strides.as_slice() {
            [holder @ .., Stride::Key(key), Stride::Index(index)] => {
                Ok(Slot { holder, key, index: Some(*index) })
            }
            [holder @ .., Stride::Key(key)] => Ok(Slot { holder, key, index: None }),
            _ => invalid("the whole resource cannot be replaced or removed"),
        }
    }

    /// The names of the steps, without indexes.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.strides.iter().filter_map(|stride| match stride {
            Stride::Key(key) => Some(key.as_str()),
            Stride::Index(_) => None,
        })
    }
}

/// What one operation's path may cost, in steps of evaluation.
const BUDGET: u64 = 100_000;

/// What `path` finds in `document`.
fn items<'v>(
    path: &'v Expression,
    document: &'v Value<'v>,
    schema: &'v Schema,
) -> Step<Vec<Item<'v>>> {
    let environment = Environment::new(document, schema).with_budget(BUDGET);
    let items = path.evaluate(&environment);
    items.or_else(|fault| invalid(format!("the path cannot be evaluated: {fault}")))
}

/// The place of an item; costs a walk through the document.
fn place(item: &Item<'_>, document: &Value<'_>) -> Step<Place> {
    match (locate(document, item), item.node()) {
        (Some(strides), Some(node)) => Ok(Place { strides, type_id: node.type_id }),
        _ => invalid("the path gives a computed value, not an element"),
    }
}

/// The place that `path` finds; `None` when it finds nothing.
pub(super) fn optional(
    path: &Expression,
    document: &Value<'_>,
    schema: &Schema,
) -> Step<Option<Place>> {
    match items(path, document, schema)?.as_slice() {
        [] => Ok(None),
        [item] => place(item, document).map(Some),
        _ => invalid(format!("several elements are found at {}", path.text())),
    }
}

/// The one place that `path` finds.
pub(super) fn single(path: &Expression, document: &Value<'_>, schema: &Schema) -> Step<Place> {
    match optional(path, document, schema)? {
        Some(place) => Ok(place),
        None => invalid(format!("nothing is found at {}", path.text())),
    }
}

/// The first item of the list that `path` finds, all of it; `None` when it finds nothing.
pub(super) fn list(
    path: &Expression,
    document: &Value<'_>,
    schema: &Schema,
) -> Step<Option<Place>> {
    let items = items(path, document, schema)?;
    let Some(first) = items.first() else { return Ok(None) };
    let first = place(first, document)?;
    let is_whole = || {
        let slot = first.slot().ok().filter(|slot| slot.index.is_some())?;
        let object = object_in(document, slot.holder)?;
        let column = |key: &str| object.get(key).and_then(Value::as_array).unwrap_or(&[]);
        let under = sibling_key(slot.key);
        let (values, siblings) = (column(slot.key), column(&under));
        let stands_at = |(at, item): (usize, &Item<'_>)| {
            let Some(node) = item.node() else { return false };
            let sibling = node.sibling.zip(siblings.get(at));
            values.get(at).is_some_and(|value| std::ptr::eq(node.value, value))
                || sibling.is_some_and(|(found, there)| std::ptr::eq(found, there))
        };
        let is_long = items.len() == values.len().max(siblings.len());
        Some(is_long && items.iter().enumerate().all(stands_at))
    };
    if is_whole() == Some(true) {
        return Ok(Some(first));
    }
    invalid(format!("{} is not the whole of one list", path.text()))
}

/// The definition of the element in `slot`.
pub(super) fn definition<'s>(
    slot: Slot<'_>,
    document: &Value<'_>,
    schema: &'s Schema,
) -> Step<&'s Field> {
    let found = || {
        let mut value = Some(document);
        let mut type_id = schema.by_name(document.str_at("resourceType")?)?;
        let mut strides = slot.holder.iter().peekable();
        while let Some(stride) = strides.next() {
            let Stride::Key(key) = stride else { continue };
            let index = strides.peek().and_then(|next| match next {
                Stride::Index(index) => Some(*index),
                Stride::Key(_) => None,
            });
            type_id = element_type(schema, type_id, key)?;
            value = value.and_then(|value| child(value, key, index));
            if schema.get(type_id).kind == TypeKind::Resource {
                type_id = schema.by_name(value?.str_at("resourceType")?)?;
            }
        }
        let def = match schema.get(type_id).kind {
            TypeKind::Primitive(_) => schema.type_named("Element")?,
            _ => schema.get(type_id),
        };
        Some(def.key(slot.key)?.0)
    };
    match found() {
        Some(field) => Ok(field),
        None => invalid(format!("{} is no element", slot.key)),
    }
}

fn element_type(schema: &Schema, type_id: TypeId, key: &str) -> Option<TypeId> {
    let def = match schema.get(type_id).kind {
        TypeKind::Primitive(_) => schema.type_named("Element")?,
        _ => schema.get(type_id),
    };
    Some(def.key(key)?.1.type_id)
}

fn child<'t, 'v>(value: &'t Value<'v>, key: &str, index: Option<usize>) -> Option<&'t Value<'v>> {
    let under = sibling_key(key);
    let at = |name: &str| match index {
        Some(index) => value.get(name)?.as_array()?.get(index),
        None => value.get(name),
    };
    at(key).filter(|found| found.as_object().is_some()).or_else(|| at(&under))
}

/// The object at `strides`: for a primitive the one that has its `id` and extensions.
pub(super) fn object_in<'t, 'v>(
    document: &'t Value<'v>,
    strides: &[Stride],
) -> Option<&'t Object<'v>> {
    let mut value = document;
    let mut rest = strides;
    loop {
        (value, rest) = match rest {
            [] => return value.as_object(),
            [Stride::Key(key), Stride::Index(index), rest @ ..] => {
                (child(value, key, Some(*index))?, rest)
            }
            [Stride::Key(key), rest @ ..] => (child(value, key, None)?, rest),
            [Stride::Index(_), ..] => return None,
        };
    }
}

/// The object at `strides`: for a primitive the one that has its `id` and extensions, made
/// where it is missing.
pub(super) fn object_at<'t>(
    document: &'t mut Value<'static>,
    strides: &[Stride],
) -> Step<&'t mut Object<'static>> {
    let mut value = document;
    let mut rest = strides.iter().peekable();
    while let Some(stride) = rest.next() {
        let Stride::Key(key) = stride else { return invalid("the path leads nowhere") };
        let index = match rest.peek() {
            Some(Stride::Index(index)) => Some(*index),
            _ => None,
        };
        if index.is_some() {
            rest.next();
        }
        let Some(holder) = value.as_object_mut() else {
            return invalid("the path leads nowhere");
        };
        value = enter(holder, key, index)?;
    }
    match value {
        Value::Object(object) => Ok(object),
        _ => invalid("the path leads to no object"),
    }
}

fn enter<'t>(
    holder: &'t mut Object<'static>,
    key: &str,
    index: Option<usize>,
) -> Step<&'t mut Value<'static>> {
    let is_group = match (holder.get(key), index) {
        (Some(Value::Array(items)), Some(index)) => {
            items.get(index).is_some_and(|item| item.as_object().is_some())
        }
        (Some(value), None) => value.as_object().is_some(),
        _ => false,
    };
    let name = if is_group { key.to_owned() } else { sibling_key(key) };
    if !is_group && !holder.contains(&name) {
        let empty = || Value::Object(Object::new());
        let made = match index {
            Some(_) => Value::Array(vec![Value::Null; list::len(holder, key)]),
            None => empty(),
        };
        holder.set(name.clone(), made);
    }
    let found = match (holder.get_mut(&name), index) {
        (Some(Value::Array(items)), Some(index)) => items.get_mut(index),
        (found, None) => found,
        _ => None,
    };
    match found {
        Some(slot) => {
            if *slot == Value::Null {
                *slot = Value::Object(Object::new());
            }
            Ok(slot)
        }
        None => invalid("the path leads nowhere"),
    }
}

/// Takes the element in `slot` out, and every object around it that is left empty.
pub(super) fn remove(document: &mut Value<'static>, slot: Slot<'_>) -> Step<()> {
    let mut slot = slot;
    loop {
        let object = object_at(document, slot.holder)?;
        match slot.index {
            Some(index) => list::remove(object, slot.key, index),
            None => list::unset(object, slot.key),
        }
        if !object.is_empty() {
            return Ok(());
        }
        slot = match slot.holder {
            [holder @ .., Stride::Key(key), Stride::Index(index)] => {
                Slot { holder, key, index: Some(*index) }
            }
            [holder @ .., Stride::Key(key)] => Slot { holder, key, index: None },
            _ => return Ok(()),
        };
    }
}
