//! Elements: known names, JSON kinds, cardinality, primitives and their `_` siblings.
//!
//! Spec: <https://hl7.org/fhir/R4/json.html>, rest 7b, 7c

use crate::fhir::IssueCode;
use crate::fhir::json::{Object, Value};
use crate::fhir::primitive;
use crate::fhir::schema::{Field, FieldType, Primitive, TypeDef, TypeId, TypeKind};

use super::narrative;
use super::place::Place;
use super::walk::{Walk, with_article};

impl<'s, 'd> Walk<'s, 'd> {
    /// Checks the properties of an object of the type `id`; `targets` are the resource types it
    /// may point to, if it is a reference.
    pub(super) fn object(
        &mut self,
        id: TypeId,
        object: &'d Object<'d>,
        targets: &'s [Box<str>],
        place: &Place<'_>,
    ) {
        if self.is_too_deep(place) {
            return;
        }
        let schema = self.schema;
        let def = schema.get(id);
        let is_resource = def.kind == TypeKind::Resource;
        for (key, value) in object.iter() {
            if self.findings.is_full() {
                return;
            }
            if is_resource && key == "resourceType" {
                continue;
            }
            let (base, is_sibling) = match key.strip_prefix('_') {
                Some(base) => (base, true),
                None => (key, false),
            };
            let Some((field, variant)) = def.key(base) else {
                self.unknown(key, def, place);
                continue;
            };
            let child = place.child(&field.name);
            if field.is_choice && clashes(def, field, base, object) {
                self.findings.structure(&child, "only one type of value may be given");
                continue;
            }
            if is_sibling {
                self.sibling(field, variant, object.get(base), value, &child);
            } else {
                self.field(field, variant, object, value, &child);
            }
        }
        self.required(def, object, place);
        self.rules(id, object, targets, place);
    }

    fn unknown(&mut self, key: &str, def: &TypeDef, place: &Place<'_>) {
        let rule = format!("unknown element of {}", def.name);
        self.findings.structure(&place.child(key), &rule);
    }

    fn required(&mut self, def: &TypeDef, object: &Object<'_>, place: &Place<'_>) {
        for field in def.required() {
            let count = field.types.iter().map(|variant| count(object, &variant.key)).max();
            if count.unwrap_or(0) < usize::from(field.min) {
                let child = place.child(&field.name);
                let rule = match field.min {
                    1 => "required, but missing".to_owned(),
                    least => format!("at least {least} are required"),
                };
                self.findings.add(IssueCode::Required, &child, &rule);
            }
        }
    }

    /// Checks the value of a property: single or an array, as the definition says.
    fn field(
        &mut self,
        field: &'s Field,
        variant: &'s FieldType,
        object: &'d Object<'d>,
        value: &'d Value<'d>,
        place: &Place<'_>,
    ) {
        match (value, field.is_array()) {
            (Value::Null, _) => {
                self.findings.structure(place, "null is not a value: leave the property out");
            }
            (Value::Array(items), true) => {
                self.length(field, items, place);
                for (index, item) in items.iter().enumerate() {
                    if self.findings.is_full() {
                        return;
                    }
                    let at = place.at(index);
                    match item {
                        Value::Null => self.absent(variant, object, index, &at),
                        _ => self.value(variant, item, &at),
                    }
                }
            }
            (Value::Array(_), false) => {
                self.findings.structure(place, "a single value, not an array");
            }
            (_, true) => {
                let rule = format!("an array, not {}, even for one value", with_article(value));
                self.findings.structure(place, &rule);
            }
            (_, false) => self.value(variant, value, place),
        }
    }

    fn length(&mut self, field: &Field, items: &[Value<'_>], place: &Place<'_>) {
        if items.is_empty() {
            self.findings.structure(place, "an array must not be empty");
        }
        if let Some(most) = field.max.filter(|&most| items.len() > usize::from(most)) {
            self.findings.structure(place, &format!("at most {most} are allowed"));
        }
    }

    /// Checks a null in an array: the value is absent, so its sibling must have something to say.
    fn absent(
        &mut self,
        variant: &FieldType,
        object: &Object<'_>,
        index: usize,
        place: &Place<'_>,
    ) {
        let is_sibling = |key: &str| key.strip_prefix('_') == Some(&*variant.key);
        let sibling = object.iter().find(|(key, _)| is_sibling(key)).map(|(_, value)| value);
        let partner = sibling.and_then(Value::as_array).and_then(|items| items.get(index));
        if !matches!(partner, Some(Value::Object(_))) {
            self.findings.structure(place, "null stands only beside an extension of its value");
        }
    }

    /// Checks one value of a type.
    fn value(&mut self, variant: &'s FieldType, value: &'d Value<'d>, place: &Place<'_>) {
        let id = variant.type_id;
        match self.schema.get(id).kind {
            TypeKind::Primitive(primitive) => self.primitive(primitive, value, place),
            TypeKind::Xhtml => self.narrative(value, place),
            TypeKind::Resource => self.resource_element(value, place),
            TypeKind::Backbone | TypeKind::Complex => match value {
                Value::Object(object) if object.is_empty() => {
                    self.findings.structure(place, "an object must not be empty");
                }
                Value::Object(object) => self.object(id, object, &variant.targets, place),
                _ => {
                    let rule = format!("an object, not {}", with_article(value));
                    self.findings.structure(place, &rule);
                }
            },
        }
    }

    fn primitive(&mut self, primitive: Primitive, value: &'d Value<'d>, place: &Place<'_>) {
        let is_boolean = primitive == Primitive::Boolean;
        let text: &'d str = match value {
            Value::Bool(_) if is_boolean => return,
            Value::Number(digits) if primitive.is_number() => digits,
            Value::String(text) if !is_boolean && !primitive.is_number() => text,
            _ => {
                let kind = match primitive {
                    Primitive::Boolean => "boolean",
                    _ if primitive.is_number() => "number",
                    _ => "string",
                };
                let rule = format!("a {kind}, not {}", with_article(value));
                self.findings.structure(place, &rule);
                return;
            }
        };
        if let Err(rule) = primitive::check(primitive, text) {
            self.findings.add(IssueCode::Value, place, rule);
        } else if primitive == Primitive::Decimal {
            self.count_zeros(text, place);
        }
        if matches!(primitive, Primitive::Canonical | Primitive::Uri | Primitive::Url) {
            self.scope.mention(text);
        }
    }

    fn narrative(&mut self, value: &'d Value<'d>, place: &Place<'_>) {
        let Value::String(text) = value else {
            let rule = format!("a string, not {}", with_article(value));
            self.findings.structure(place, &rule);
            return;
        };
        if let Err(fault) = narrative::check(text) {
            self.findings.add(fault.code, place, &fault.rule);
        }
        // Images and links of a narrative refer to what is contained as well.
        if self.scope.has_contained() {
            narrative::fragments(text).for_each(|target| self.scope.mention(target));
        }
    }

    /// Checks the property `_name`, which holds the id and the extensions of a primitive.
    fn sibling(
        &mut self,
        field: &'s Field,
        variant: &'s FieldType,
        base: Option<&Value<'_>>,
        value: &'d Value<'d>,
        place: &Place<'_>,
    ) {
        let is_primitive = matches!(self.schema.get(variant.type_id).kind, TypeKind::Primitive(_));
        if !is_primitive || field.is_xml_attribute || &*field.name == "id" {
            self.findings.structure(place, "this element has no property that starts with _");
            return;
        }
        match (value, field.is_array()) {
            (Value::Array(items), true) => {
                self.length(field, items, place);
                self.siblings(items, base.and_then(Value::as_array), place);
            }
            (Value::Array(_), false) | (Value::Object(_), true) => {
                self.findings.structure(place, "the property that starts with _ has another shape");
            }
            _ => self.extended(value, base.is_some(), place),
        }
    }

    fn siblings(
        &mut self,
        items: &'d [Value<'d>],
        values: Option<&[Value<'_>]>,
        place: &Place<'_>,
    ) {
        if values.is_some_and(|values| values.len() < items.len()) {
            self.findings.structure(place, "the property that starts with _ has more items");
            return;
        }
        for (index, item) in items.iter().enumerate() {
            let at = place.at(index);
            match item {
                // A null value beside this null is reported by the array of values.
                Value::Null if values.is_some() => {}
                Value::Null => {
                    self.findings.structure(&at, "neither a value nor an extension");
                }
                _ => {
                    let partner = values.and_then(|values| values.get(index));
                    let has_value = partner.is_some_and(|value| *value != Value::Null);
                    self.extended(item, has_value, &at);
                }
            }
        }
    }

    /// Checks what a `_name` says about one primitive value, which may be absent.
    fn extended(&mut self, value: &'d Value<'d>, has_value: bool, place: &Place<'_>) {
        match (value, self.ruled.element) {
            (Value::Object(object), _) if object.is_empty() => {
                self.findings.structure(place, "an object must not be empty");
            }
            (Value::Object(object), Some(element)) => {
                self.object(element, object, &[], place);
                if !has_value {
                    self.more_than_id(object, place);
                }
            }
            _ => self.findings.structure(place, "a property that starts with _ holds an object"),
        }
    }
}

/// Whether an earlier property is another variant of the same choice.
fn clashes(def: &TypeDef, field: &Field, base: &str, object: &Object<'_>) -> bool {
    let mut earlier = object.iter().map(|(key, _)| key.strip_prefix('_').unwrap_or(key));
    let mut others = earlier.by_ref().take_while(|&key| key != base);
    others.any(|key| {
        key.starts_with(&*field.name)
            && def.key(key).is_some_and(|(other, _)| std::ptr::eq(other, field))
    })
}

/// How many values the property `key` or its `_` sibling has.
fn count(object: &Object<'_>, key: &str) -> usize {
    let of = |value: &Value<'_>| value.as_array().map_or(1, <[_]>::len);
    let named = |name: &str| name == key || name.strip_prefix('_') == Some(key);
    object.iter().filter(|(name, _)| named(name)).map(|(_, value)| of(value)).max().unwrap_or(0)
}
