//! One item of a collection: a node of the document, or a value that was computed.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#data-types>, <https://hl7.org/fhir/R4/fhirpath.html#types>

use std::borrow::Cow;

use super::decimal::Decimal;
use super::navigate;
use super::quantity::{Quantity, is_calendar_unit};
use super::temporal::Temporal;
use crate::fhir::json::Value;
use crate::fhir::schema::{Primitive, Schema, TypeId, TypeKind};

/// Stands for a primitive that has only an `id` or extensions.
pub(super) static NOTHING: Value<'static> = Value::Null;

/// One item of a collection. Nothing of the document is copied into it.
#[derive(Clone, Debug)]
pub enum Item<'v> {
    /// An element or resource of the document.
    Node(Node<'v>),
    /// What a reference points to, as far as the reference itself tells.
    Target(Target<'v>),
    /// What `type()` tells of an item.
    Type(TypeInfo<'v>),
    /// A computed value.
    Value(System<'v>),
}

/// An element or resource of the document.
#[derive(Clone, Copy, Debug)]
pub struct Node<'v> {
    /// Its JSON; `null` for a primitive that has only an `id` or extensions.
    pub value: &'v Value<'v>,
    /// A primitive's `id` and extensions: the JSON property with the underscore.
    pub sibling: Option<&'v Value<'v>>,
    /// Its type; for a resource the concrete one where the schema knows it.
    pub type_id: TypeId,
}

/// A resource that is known only from the reference to it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'v> {
    /// The text of the reference.
    pub reference: &'v str,
    /// The type that the reference names; `None` when it does not tell.
    pub type_id: Option<TypeId>,
}

/// The type of an item: `System.String`, `FHIR.Patient`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TypeInfo<'v> {
    /// `System` or `FHIR`.
    pub namespace: &'static str,
    /// The name in it.
    pub name: &'v str,
}

/// A value of one of FHIRPath's own types.
#[derive(Clone, Debug)]
pub enum System<'v> {
    /// `true`
    Boolean(bool),
    /// `1.50`
    Decimal(Decimal),
    /// `1`
    Integer(i64),
    /// `4 'mg'`
    Quantity(Quantity<'v>),
    /// `'text'`
    String(Cow<'v, str>),
    /// `@2015-02-04`, `@2015-02-04T14:30`, `@T14:30`
    Temporal(Temporal<'v>),
}

impl<'v> Item<'v> {
    /// The item's value as one of FHIRPath's own types.
    ///
    /// `None` for what is no primitive or Quantity, and for one whose text is not of its type.
    pub fn system(&self, schema: &Schema) -> Option<System<'v>> {
        match self {
            Self::Node(node) => node.system(schema),
            Self::Target(_) | Self::Type(_) => None,
            Self::Value(value) => Some(value.clone()),
        }
    }

    /// The name of the item's type: FHIR's for a node, FHIRPath's for a computed value.
    pub fn type_name<'s>(&self, schema: &'s Schema) -> &'s str {
        match self {
            Self::Node(node) => &schema.get(node.type_id).name,
            Self::Target(target) => target.type_id.map_or("Resource", |id| &schema.get(id).name),
            Self::Type(_) => "SimpleTypeInfo",
            Self::Value(value) => value.type_name(),
        }
    }

    /// The node; `None` for other kinds.
    pub fn node(&self) -> Option<&Node<'v>> {
        match self {
            Self::Node(node) => Some(node),
            _ => None,
        }
    }
}

impl<'v> Node<'v> {
    /// The root of a document: `value` is a resource, or an element when `type_id` says so.
    ///
    /// A resource takes the type that it names where the schema has it.
    pub fn new(value: &'v Value<'v>, type_id: TypeId, schema: &Schema) -> Self {
        Self::with_sibling(value, None, type_id, schema)
    }

    /// Appends the elements called `name`; a choice answers to its plain name.
    pub fn named(&self, name: &str, schema: &Schema, out: &mut Vec<Item<'v>>) {
        navigate::named(schema, self, name, out);
    }

    pub(super) fn with_sibling(
        value: &'v Value<'v>,
        sibling: Option<&'v Value<'v>>,
        type_id: TypeId,
        schema: &Schema,
    ) -> Self {
        let type_id = match schema.get(type_id).kind {
            TypeKind::Resource => {
                let named = value.str_at("resourceType").and_then(|name| schema.by_name(name));
                named.unwrap_or(type_id)
            }
            _ => type_id,
        };
        Self { value, sibling, type_id }
    }

    fn system(&self, schema: &Schema) -> Option<System<'v>> {
        let def = schema.get(self.type_id);
        match def.kind {
            TypeKind::Primitive(primitive) => primitive_value(self.value, primitive),
            TypeKind::Xhtml => self.value.as_str().map(|text| System::String(Cow::Borrowed(text))),
            TypeKind::Complex if is_quantity(schema, self.type_id) => self.quantity(),
            TypeKind::Backbone | TypeKind::Complex | TypeKind::Resource => None,
        }
    }

    fn quantity(&self) -> Option<System<'v>> {
        let value = Decimal::parse(self.value.get("value")?.as_number()?)?;
        let coded = self.value.str_at("code").filter(|_| {
            self.value.str_at("system").is_none_or(|system| system == "http://unitsofmeasure.org")
        });
        let unit = coded.or_else(|| self.value.str_at("unit")).unwrap_or("1");
        Some(System::Quantity(Quantity { value, unit: Cow::Borrowed(unit) }))
    }
}

pub(super) fn is_quantity(schema: &Schema, type_id: TypeId) -> bool {
    schema.by_name("Quantity").is_some_and(|quantity| schema.is_a(type_id, quantity))
}

fn primitive_value<'v>(value: &'v Value<'v>, primitive: Primitive) -> Option<System<'v>> {
    match (value, primitive) {
        (Value::Bool(value), _) => Some(System::Boolean(*value)),
        (Value::Number(digits), Primitive::Decimal) => Decimal::parse(digits).map(System::Decimal),
        (Value::Number(digits), _) => {
            let whole = digits.parse().ok().map(System::Integer);
            whole.or_else(|| Decimal::parse(digits).map(System::Decimal))
        }
        (
            Value::String(text),
            Primitive::Date | Primitive::DateTime | Primitive::Instant | Primitive::Time,
        ) => {
            let read = Temporal::parse(text)?;
            let timed = matches!(primitive, Primitive::DateTime | Primitive::Instant);
            Some(System::Temporal(if timed { read.to_date_time() } else { read }))
        }
        (Value::String(text), _) => Some(System::String(Cow::Borrowed(text))),
        (Value::Array(_) | Value::Null | Value::Object(_), _) => None,
    }
}

impl System<'_> {
    /// The name of the type, without its namespace `System`.
    pub fn type_name(&self) -> &'static str {
        use super::temporal::TemporalKind;
        match self {
            Self::Boolean(_) => "Boolean",
            Self::Decimal(_) => "Decimal",
            Self::Integer(_) => "Integer",
            Self::Quantity(_) => "Quantity",
            Self::String(_) => "String",
            Self::Temporal(value) => match value.kind() {
                TemporalKind::Date => "Date",
                TemporalKind::DateTime => "DateTime",
                TemporalKind::Time => "Time",
            },
        }
    }

    /// The value as text, as `toString()` gives it.
    pub fn to_text(&self) -> String {
        match self {
            Self::Boolean(value) => value.to_string(),
            Self::Decimal(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Quantity(Quantity { value, unit }) => {
                if is_calendar_unit(unit) {
                    format!("{value} {unit}")
                } else {
                    format!("{value} '{unit}'")
                }
            }
            Self::String(text) => text.to_string(),
            Self::Temporal(value) => value.text().into_owned(),
        }
    }

    /// The number; an integer counts as a decimal.
    pub fn to_decimal(&self) -> Option<Decimal> {
        match self {
            Self::Decimal(value) => Some(*value),
            Self::Integer(value) => Some(Decimal::from(*value)),
            _ => None,
        }
    }

    /// The value as a quantity; a number is one without a unit.
    pub(super) fn to_quantity(&self) -> Option<Quantity<'_>> {
        match self {
            Self::Quantity(Quantity { value, unit }) => {
                Some(Quantity { value: *value, unit: Cow::Borrowed(unit) })
            }
            _ => self.to_decimal().map(Quantity::plain),
        }
    }
}

impl From<bool> for Item<'_> {
    fn from(value: bool) -> Self {
        Self::Value(System::Boolean(value))
    }
}

impl From<i64> for Item<'_> {
    fn from(value: i64) -> Self {
        Self::Value(System::Integer(value))
    }
}

impl<'v> From<&'v str> for Item<'v> {
    fn from(text: &'v str) -> Self {
        Self::Value(System::String(Cow::Borrowed(text)))
    }
}

impl From<String> for Item<'_> {
    fn from(text: String) -> Self {
        Self::Value(System::String(Cow::Owned(text)))
    }
}

impl<'v> From<System<'v>> for Item<'v> {
    fn from(value: System<'v>) -> Self {
        Self::Value(value)
    }
}

impl From<Decimal> for Item<'_> {
    fn from(value: Decimal) -> Self {
        Self::Value(System::Decimal(value))
    }
}
