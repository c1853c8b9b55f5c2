//! The element table: which elements each FHIR type has, in a form that is quick to ask.
//!
//! [`Schema`] is data. `spec` fills it from a definition pack; the XML codec, form
//! validation, FHIRPath and patch read it. Nothing here knows where definitions come from.
//!
//! Layer: 0. No I/O.
//!
//! Spec: <https://hl7.org/fhir/R4/elementdefinition.html>

use std::collections::HashMap;

/// A type's place in its [`Schema`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TypeId(pub u16);

/// What a type is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TypeKind {
    /// An anonymous group of elements, named by its path (`Patient.contact`).
    Backbone,
    /// A data type with elements (`HumanName`).
    Complex,
    /// A value with `id` and `extension` beside it.
    Primitive(Primitive),
    /// A resource, concrete or abstract.
    Resource,
    /// The narrative's XHTML.
    Xhtml,
}

/// The primitive types of R4.
///
/// <https://hl7.org/fhir/R4/datatypes.html#primitive>
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the names are FHIR's own")]
pub enum Primitive {
    Base64Binary,
    Boolean,
    Canonical,
    Code,
    Date,
    DateTime,
    Decimal,
    Id,
    Instant,
    Integer,
    Markdown,
    Oid,
    PositiveInt,
    String,
    Time,
    UnsignedInt,
    Uri,
    Url,
    Uuid,
}

impl Primitive {
    /// The primitive called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "base64Binary" => Self::Base64Binary,
            "boolean" => Self::Boolean,
            "canonical" => Self::Canonical,
            "code" => Self::Code,
            "date" => Self::Date,
            "dateTime" => Self::DateTime,
            "decimal" => Self::Decimal,
            "id" => Self::Id,
            "instant" => Self::Instant,
            "integer" => Self::Integer,
            "markdown" => Self::Markdown,
            "oid" => Self::Oid,
            "positiveInt" => Self::PositiveInt,
            "string" => Self::String,
            "time" => Self::Time,
            "unsignedInt" => Self::UnsignedInt,
            "uri" => Self::Uri,
            "url" => Self::Url,
            "uuid" => Self::Uuid,
            _ => return None,
        })
    }

    /// Whether JSON writes the value as a number.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Decimal | Self::Integer | Self::PositiveInt | Self::UnsignedInt)
    }
}

/// One type: a resource, a data type, a primitive, or a backbone group.
#[derive(Debug)]
pub struct TypeDef {
    /// `Patient`, `HumanName`, `code`, or the path of a backbone group (`Patient.contact`).
    pub name: Box<str>,
    /// What it is made of.
    pub kind: TypeKind,
    /// Whether instances must name a more specific type (`Resource`, `DomainResource`, `Element`).
    pub is_abstract: bool,
    /// The type it specialises.
    pub base: Option<TypeId>,
    /// Its elements in definition order, inherited ones included.
    pub fields: Vec<Field>,
    keys: HashMap<Box<str>, (u16, u16)>,
    required: Vec<u16>,
}

impl TypeDef {
    /// A type whose look-up table follows from its fields.
    pub fn new(
        name: Box<str>,
        kind: TypeKind,
        is_abstract: bool,
        base: Option<TypeId>,
        fields: Vec<Field>,
    ) -> Self {
        let mut keys = HashMap::new();
        for (at, field) in fields.iter().enumerate() {
            for (variant, choice) in field.types.iter().enumerate() {
                keys.entry(choice.key.clone()).or_insert((at as u16, variant as u16));
            }
        }
        let is_required = |(_, field): &(usize, &Field)| field.min > 0;
        let required = fields.iter().enumerate().filter(is_required).map(|(at, _)| at as u16);
        let required = required.collect();
        Self { name, kind, is_abstract, base, fields, keys, required }
    }

    /// The elements that every instance has, in definition order.
    pub fn required(&self) -> impl Iterator<Item = &Field> {
        self.required.iter().filter_map(|&at| self.fields.get(usize::from(at)))
    }

    /// The element and type behind a JSON property or XML element `key` (without a leading `_`).
    ///
    /// A choice answers to each of its variants: `valueQuantity` gives the field `value` and
    /// its variant Quantity.
    pub fn key(&self, key: &str) -> Option<(&Field, &FieldType)> {
        let (field, variant) = self.position(key)?;
        let field = self.fields.get(field)?;
        Some((field, field.types.get(variant)?))
    }

    /// Where the element behind `key` stands: its place in `fields`, and that of its type.
    pub fn position(&self, key: &str) -> Option<(usize, usize)> {
        let &(field, variant) = self.keys.get(key)?;
        Some((usize::from(field), usize::from(variant)))
    }

    /// The element called `name`, a choice without its `[x]`.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| &*field.name == name)
    }
}

/// One element of a type.
#[derive(Debug)]
pub struct Field {
    /// The name without `[x]`: `given`, `value`.
    pub name: Box<str>,
    /// The types it may have: one, or several for a choice.
    pub types: Vec<FieldType>,
    /// Whether it is a choice (`value[x]`).
    pub is_choice: bool,
    /// Least number of repetitions.
    pub min: u16,
    /// Most repetitions; `None` is `*`.
    pub max: Option<u16>,
    /// Whether `_summary=true` shows it.
    pub is_summary: bool,
    /// Whether it can change the meaning of what holds it.
    pub is_modifier: bool,
    /// Whether XML writes it as an attribute (`id`, `Extension.url`).
    pub is_xml_attribute: bool,
}

impl Field {
    /// Whether JSON writes it as an array: the base definition allows more than one.
    pub fn is_array(&self) -> bool {
        self.max != Some(1)
    }
}

/// One allowed type of an element.
#[derive(Debug)]
pub struct FieldType {
    /// The type; the backbone group itself for anonymous groups and content references.
    pub type_id: TypeId,
    /// The JSON property and XML element: `given`, `valueQuantity`.
    pub key: Box<str>,
    /// For Reference and canonical: names of the resource types that may be the target; empty = any.
    pub targets: Vec<Box<str>>,
}

/// All types of one FHIR version.
#[derive(Debug, Default)]
pub struct Schema {
    types: Vec<TypeDef>,
    by_name: HashMap<Box<str>, TypeId>,
}

impl Schema {
    /// A schema of these types; a [`TypeId`] is the place in `types`.
    pub fn new(types: Vec<TypeDef>) -> Self {
        let named = |(at, def): (usize, &TypeDef)| (def.name.clone(), TypeId(at as u16));
        let by_name = types.iter().enumerate().map(named).collect();
        Self { types, by_name }
    }

    /// The type called `name` (`Patient`, `HumanName`, `code`, `Patient.contact`).
    pub fn by_name(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// The type with this id.
    ///
    /// # Panics
    /// When the id comes from another schema.
    pub fn get(&self, id: TypeId) -> &TypeDef {
        &self.types[usize::from(id.0)]
    }

    /// The type called `name`.
    pub fn type_named(&self, name: &str) -> Option<&TypeDef> {
        Some(self.get(self.by_name(name)?))
    }

    /// All types.
    pub fn types(&self) -> &[TypeDef] {
        &self.types
    }

    /// Whether `id` is `ancestor` or specialises it.
    pub fn is_a(&self, id: TypeId, ancestor: TypeId) -> bool {
        let mut next = Some(id);
        while let Some(at) = next {
            if at == ancestor {
                return true;
            }
            next = self.get(at).base;
        }
        false
    }
}
