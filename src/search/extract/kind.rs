//! What an element is to search: the types of FHIR, put into the groups that index alike.

use crate::fhir::schema::{Primitive, Schema, TypeId, TypeKind};

/// How the values of an element are told apart for the index.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(in crate::search) enum Kind {
    Address,
    Boolean,
    Canonical,
    Code,
    CodeableConcept,
    Coding,
    ContactPoint,
    /// `date` and `dateTime`.
    Date,
    HumanName,
    Id,
    Identifier,
    Instant,
    Money,
    Number,
    /// A type that no parameter compares.
    Other,
    Period,
    /// `Location.position`
    Position,
    /// Quantity and what specialises it.
    Quantity,
    Range,
    Reference,
    Resource,
    /// `string` and `markdown`.
    Text,
    Timing,
    /// `uri`, `url`, `oid`, `uuid`.
    Uri,
}

impl Kind {
    /// The kind of a type.
    pub(super) fn of(type_id: TypeId, schema: &Schema) -> Self {
        let def = schema.get(type_id);
        match def.kind {
            TypeKind::Primitive(primitive) => Self::primitive(primitive),
            TypeKind::Resource => Self::Resource,
            TypeKind::Xhtml => Self::Other,
            TypeKind::Backbone | TypeKind::Complex => match &*def.name {
                "Address" => Self::Address,
                "CodeableConcept" => Self::CodeableConcept,
                "Coding" => Self::Coding,
                "ContactPoint" => Self::ContactPoint,
                "HumanName" => Self::HumanName,
                "Identifier" => Self::Identifier,
                "Location.position" => Self::Position,
                "Money" => Self::Money,
                "Period" => Self::Period,
                "Range" => Self::Range,
                "Reference" => Self::Reference,
                "Timing" => Self::Timing,
                _ => match schema.by_name("Quantity") {
                    Some(quantity) if schema.is_a(type_id, quantity) => Self::Quantity,
                    _ => Self::Other,
                },
            },
        }
    }

    fn primitive(primitive: Primitive) -> Self {
        match primitive {
            Primitive::Base64Binary | Primitive::Time => Self::Other,
            Primitive::Boolean => Self::Boolean,
            Primitive::Canonical => Self::Canonical,
            Primitive::Code => Self::Code,
            Primitive::Date | Primitive::DateTime => Self::Date,
            Primitive::Decimal
            | Primitive::Integer
            | Primitive::PositiveInt
            | Primitive::UnsignedInt => Self::Number,
            Primitive::Id => Self::Id,
            Primitive::Instant => Self::Instant,
            Primitive::Markdown | Primitive::String => Self::Text,
            Primitive::Oid | Primitive::Uri | Primitive::Url | Primitive::Uuid => Self::Uri,
        }
    }
}
