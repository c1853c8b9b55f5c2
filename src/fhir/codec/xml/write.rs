//! A document tree to FHIR XML: elements in the order of the definitions.

use super::WriteError;
use super::attribute::escape;
use super::narrative;
use super::source::Namespace;
use crate::fhir::json::{Object, Value};
use crate::fhir::schema::{Field, FieldType, Primitive, Schema, TypeDef, TypeId, TypeKind};

/// Writes one resource; see [`super::write`].
pub(super) fn document(
    value: &Value<'_>,
    schema: &Schema,
    out: &mut Vec<u8>,
    pretty: bool,
) -> Result<(), WriteError> {
    let start = out.len();
    let mut writer = Writer { schema, out, pretty, depth: 0, path: Vec::new() };
    writer.out.extend_from_slice(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    writer.line();
    let done = writer.resource(value, true);
    writer.line();
    let expression = writer.path.join(".");
    done.map_err(|reason| {
        out.truncate(start);
        WriteError { reason, path: expression }
    })
}

type Step<T> = Result<T, String>;

struct Writer<'w> {
    schema: &'w Schema,
    out: &'w mut Vec<u8>,
    pretty: bool,
    depth: usize,
    /// The steps from the root to the current element, for messages.
    path: Vec<String>,
}

/// One element of an object, with what stands beside it under `_name`.
struct Part<'v> {
    place: (usize, usize),
    field: &'v Field,
    choice: &'v FieldType,
    value: Option<&'v Value<'v>>,
    sibling: Option<&'v Value<'v>>,
}

impl Writer<'_> {
    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Starts a line of its own when the output is for people.
    fn line(&mut self) {
        if self.pretty {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + 2 * self.depth, b' ');
        }
    }

    fn attribute(&mut self, name: &str, value: &str) {
        self.text(" ");
        self.text(name);
        self.text("=\"");
        escape(value, self.out);
        self.text("\"");
    }

    fn resource(&mut self, value: &Value<'_>, is_root: bool) -> Step<()> {
        let name = value.str_at("resourceType").ok_or("the resource has no resourceType")?;
        if is_root {
            self.path.push(name.chars().take(80).collect());
        }
        let schema = self.schema;
        let def = schema.type_named(name).filter(|def| def.kind == TypeKind::Resource);
        let def = def.filter(|def| !def.is_abstract);
        let def = def.ok_or_else(|| format!("{name:?} is not a resource type"))?;
        let object = value.as_object().ok_or("a resource must be an object")?;
        self.text("<");
        self.text(name);
        if is_root {
            self.attribute("xmlns", Namespace::FHIR);
        }
        self.content(name, def, object)
    }

    /// The attributes, the elements and the end tag of the element `name`, whose start tag is
    /// open.
    fn content(&mut self, name: &str, def: &TypeDef, object: &Object<'_>) -> Step<()> {
        let parts = parts(def, object)?;
        for part in parts.iter().filter(|part| part.field.is_xml_attribute) {
            let value = part.value.filter(|_| part.sibling.is_none()).and_then(Value::as_str);
            let value = value.ok_or_else(|| format!("{} must be a string", part.choice.key))?;
            self.attribute(&part.choice.key, non_empty(value)?);
        }
        let mut elements = parts.iter().filter(|part| !part.field.is_xml_attribute).peekable();
        if elements.peek().is_none() {
            self.text("/>");
            return Ok(());
        }
        self.text(">");
        self.depth += 1;
        for part in elements {
            self.part(part)?;
        }
        self.depth -= 1;
        self.line();
        self.end(name);
        Ok(())
    }

    fn end(&mut self, name: &str) {
        self.text("</");
        self.text(name);
        self.text(">");
    }

    /// All repetitions of one element.
    fn part(&mut self, part: &Part<'_>) -> Step<()> {
        let key = &part.choice.key;
        if !part.field.is_array() {
            return self.item(part, part.value, part.sibling, None);
        }
        let items = |value: Option<&'_ Value<'_>>| match value {
            None => Ok(0),
            Some(Value::Array(items)) => Ok(items.len()),
            Some(_) => Err(format!("{key} must be an array")),
        };
        let count = items(part.value)?.max(items(part.sibling)?);
        for index in 0..count {
            let (value, sibling) = (item_at(part.value, index), item_at(part.sibling, index));
            self.item(part, value, sibling, Some(index))?;
        }
        Ok(())
    }

    fn item(
        &mut self,
        part: &Part<'_>,
        value: Option<&Value<'_>>,
        sibling: Option<&Value<'_>>,
        index: Option<usize>,
    ) -> Step<()> {
        let name = &part.field.name;
        self.path.push(index.map_or_else(|| name.to_string(), |at| format!("{name}[{at}]")));
        let is_there = |value: &&Value<'_>| **value != Value::Null;
        let (value, sibling) = (value.filter(is_there), sibling.filter(is_there));
        self.line();
        let (key, type_id) = (&*part.choice.key, part.choice.type_id);
        match self.schema.get(type_id).kind {
            TypeKind::Primitive(primitive) => self.primitive(key, primitive, value, sibling)?,
            _ if sibling.is_some() => return Err(format!("_{key} may only stand by a primitive")),
            kind => self.compound(key, kind, type_id, value)?,
        }
        self.path.pop();
        Ok(())
    }

    fn compound(
        &mut self,
        key: &str,
        kind: TypeKind,
        type_id: TypeId,
        value: Option<&Value<'_>>,
    ) -> Step<()> {
        let value = value.ok_or_else(|| format!("{key} has no value"))?;
        match kind {
            TypeKind::Xhtml => {
                let div = value.as_str().ok_or_else(|| format!("{key} must be a string"))?;
                let div = narrative::to_xml(div)?;
                self.text(&div);
                Ok(())
            }
            TypeKind::Resource => {
                self.text("<");
                self.text(key);
                self.text(">");
                self.depth += 1;
                self.line();
                self.resource(value, false)?;
                self.depth -= 1;
                self.line();
                self.end(key);
                Ok(())
            }
            TypeKind::Backbone | TypeKind::Complex | TypeKind::Primitive(_) => {
                let object = value.as_object().filter(|object| !object.is_empty());
                let object =
                    object.ok_or_else(|| format!("{key} must be an object with elements"))?;
                self.text("<");
                self.text(key);
                let def = self.schema.get(type_id);
                self.content(key, def, object)
            }
        }
    }

    fn primitive(
        &mut self,
        key: &str,
        primitive: Primitive,
        value: Option<&Value<'_>>,
        sibling: Option<&Value<'_>>,
    ) -> Step<()> {
        if value.is_none() && sibling.is_none() {
            return Err(format!("{key} has neither a value nor an extension"));
        }
        self.text("<");
        self.text(key);
        if let Some(value) = value {
            let text = scalar(value, primitive).ok_or_else(|| wrong_kind(key, value))?;
            self.attribute("value", non_empty(text)?);
        }
        let Some(sibling) = sibling else {
            self.text("/>");
            return Ok(());
        };
        let object = sibling.as_object().ok_or_else(|| format!("_{key} must be an object"))?;
        let element = self.schema.type_named("Element");
        self.content(key, element.ok_or("Element is not defined")?, object)
    }
}

/// The elements of an object in the order of the definition.
fn parts<'v>(def: &'v TypeDef, object: &'v Object<'v>) -> Step<Vec<Part<'v>>> {
    let mut parts: Vec<Part<'v>> = Vec::with_capacity(object.len());
    for (property, value) in object.iter() {
        if property == "resourceType" && def.kind == TypeKind::Resource {
            continue;
        }
        let (key, is_sibling) = match property.strip_prefix('_') {
            Some(key) => (key, true),
            None => (property, false),
        };
        let found = def.position(key).and_then(|place| {
            let field = def.fields.get(place.0)?;
            Some((place, field, field.types.get(place.1)?))
        });
        let (place, field, choice) =
            found.ok_or_else(|| format!("element {property:?} is not known here"))?;
        let (value, sibling) = if is_sibling { (None, Some(value)) } else { (Some(value), None) };
        match parts.iter_mut().find(|part| part.place == place) {
            Some(part) => {
                part.value = part.value.or(value);
                part.sibling = part.sibling.or(sibling);
            }
            None => parts.push(Part { place, field, choice, value, sibling }),
        }
    }
    parts.sort_by_key(|part| part.place);
    Ok(parts)
}

fn item_at<'v>(value: Option<&'v Value<'v>>, index: usize) -> Option<&'v Value<'v>> {
    value?.as_array()?.get(index)
}

fn non_empty(text: &str) -> Step<&str> {
    if text.is_empty() { Err("a value must not be empty".to_owned()) } else { Ok(text) }
}

fn wrong_kind(key: &str, value: &Value<'_>) -> String {
    format!("{key} must not be of kind {}", value.kind())
}

/// The text of a primitive; `None` when JSON gives it another kind.
fn scalar<'v>(value: &'v Value<'_>, primitive: Primitive) -> Option<&'v str> {
    match value {
        Value::Bool(value) if primitive == Primitive::Boolean => {
            Some(if *value { "true" } else { "false" })
        }
        Value::Number(digits) if primitive.is_number() => Some(digits),
        Value::String(text) if primitive != Primitive::Boolean && !primitive.is_number() => {
            Some(text)
        }
        _ => None,
    }
}
