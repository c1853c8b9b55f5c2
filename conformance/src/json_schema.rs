//! The opinion of the official JSON Schema on the structure of a document.
//!
//! The schema knows names, kinds, patterns, the codes of most required bindings and the required
//! elements that are no primitives, but no invariants: what it refuses, Kiln must refuse; what it
//! accepts says nothing.
//!
//! The published file is wrong in two ways that its own examples show, and is corrected here:
//! it has no `_name` beside elements of type canonical, and its pattern for strings, which means
//! ASCII white space, refuses a no-break space where patterns know Unicode. It also lists the codes of
//! Expression.language, whose binding is extensible.

use std::collections::HashMap;

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

/// The schema, with a validator for each type that was asked for.
pub struct JsonSchema {
    definitions: Value,
    validators: HashMap<String, Validator>,
}

impl JsonSchema {
    /// The schema in the text of `fhir.schema.json`; `None` when it is not one.
    pub fn new(text: &[u8]) -> Option<Self> {
        let mut schema: Value = serde_json::from_slice(text).ok()?;
        let mut definitions = schema.get_mut("definitions")?.take();
        for definition in definitions.as_object_mut()?.values_mut() {
            if let Some(Value::Object(properties)) = definition.get_mut("properties") {
                add_siblings_of_canonicals(properties);
            }
        }
        *definitions.pointer_mut("/string/pattern")? = json!(r"^[^\x0B\x0C]+$");
        let language = definitions.pointer_mut("/Expression/properties/language")?;
        *language = json!({ "$ref": "#/definitions/code" });
        Some(Self { definitions, validators: HashMap::new() })
    }

    /// What the schema refuses about the document as a resource of the type that it names:
    /// the place and the words of the first fault; `None` when it accepts the document.
    ///
    /// # Panics
    /// When the published schema itself is not a valid one.
    pub fn fault(&mut self, document: &Value) -> Option<String> {
        let name = document.get("resourceType").and_then(Value::as_str);
        let Some(name) = name.filter(|name| self.definitions.get(name).is_some()) else {
            return Some("no resourceType that the schema knows".to_owned());
        };
        let definitions = &self.definitions;
        let validator = self.validators.entry(name.to_owned()).or_insert_with(|| {
            // The reference to one type answers faster, and more to the point, than the choice
            // of all types that the published root is.
            let root = json!({
                "$schema": "http://json-schema.org/draft-06/schema#",
                "$ref": format!("#/definitions/{name}"),
                "definitions": definitions,
            });
            let options = jsonschema::options().with_draft(Draft::Draft6);
            options.build(&root).expect("the published schema is a valid one")
        });
        let fault = validator.validate(document).err()?;
        Some(format!("{}: {fault}", fault.instance_path()))
    }
}

/// Allows `_name` beside each property of type canonical, as beside all other primitives.
fn add_siblings_of_canonicals(properties: &mut Map<String, Value>) {
    let canonical = json!("#/definitions/canonical");
    let element = json!({ "$ref": "#/definitions/Element" });
    let mut siblings = Vec::new();
    for (name, property) in properties.iter() {
        let sibling = if property.get("$ref") == Some(&canonical) {
            element.clone()
        } else if property.pointer("/items/$ref") == Some(&canonical) {
            json!({ "type": "array", "items": { "anyOf": [{ "type": "null" }, element] } })
        } else {
            continue;
        };
        siblings.push((format!("_{name}"), sibling));
    }
    properties.extend(siblings);
}

#[cfg(test)]
mod tests;
