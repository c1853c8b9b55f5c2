//! StructureDefinitions of a pack to the [`Schema`] that codecs and validation ask.
//!
//! Types only: profiles constrain types and are not part of it.
//!
//! Layer: 1. Imports `fhir`.
//!
//! Spec: <https://hl7.org/fhir/R4/structuredefinition.html>

use std::collections::HashMap;

use thiserror::Error;

use crate::fhir::json::Value;
use crate::fhir::schema::{Field, FieldType, Primitive, Schema, TypeDef, TypeId, TypeKind};

use super::package::{Pack, PackError, Section};

/// The start of the canonical url of every type of FHIR's own.
const TYPE_URL: &str = "http://hl7.org/fhir/StructureDefinition/";

/// Why definitions do not make a schema.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// A definition lacks what every definition has.
    #[error("{place} has no {what}")]
    Incomplete {
        /// Name of the type or path of the element.
        place: String,
        /// What is missing.
        what: &'static str,
    },
    /// The pack cannot be read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// More types than a [`TypeId`] can number.
    #[error("more than {} types", u16::MAX)]
    TooMany,
    /// A definition names a type that no definition makes.
    #[error("{place} names the unknown type {name}")]
    UnknownType {
        /// Name of the type or path of the element.
        place: String,
        /// The unknown name.
        name: String,
    },
}

/// The types that the pack defines.
///
/// Content references become the group they refer to, choices are spread out to one
/// [`FieldType`] a type, and `Resource.id` is of type `id` (the definition of R4 says string,
/// its text says id).
///
/// # Errors
/// [`SchemaError`] when the pack cannot be read or its definitions do not fit together.
pub fn load(pack: &Pack<'_>) -> Result<Schema, SchemaError> {
    let mut drafts = Drafts::default();
    for structure in pack.records(Section::Types)?.iter() {
        // One definition at a time: all of them as documents would be much of the start's memory.
        drafts.add(&structure?)?;
    }
    drafts.finish()
}

/// A type that was named; `def` follows when its definition comes.
struct Draft {
    name: Box<str>,
    /// Where it was named first.
    place: Box<str>,
    def: Option<Def>,
}

struct Def {
    kind: TypeKind,
    is_abstract: bool,
    base: Option<TypeId>,
    fields: Vec<Field>,
}

#[derive(Default)]
struct Drafts {
    types: Vec<Draft>,
    ids: HashMap<Box<str>, TypeId>,
}

impl Drafts {
    /// Adds the type that `structure` defines and the groups of elements in it.
    fn add(&mut self, structure: &Value<'_>) -> Result<(), SchemaError> {
        let name = structure.str_at("type").ok_or_else(|| SchemaError::Incomplete {
            place: structure.str_at("url").unwrap_or("a definition").to_owned(),
            what: "type",
        })?;
        let kind = match (structure.str_at("kind"), Primitive::from_name(name)) {
            (Some("resource"), _) => TypeKind::Resource,
            (Some("primitive-type"), Some(primitive)) => TypeKind::Primitive(primitive),
            (Some("primitive-type"), None) => TypeKind::Xhtml,
            _ => TypeKind::Complex,
        };
        let base = structure.str_at("baseDefinition").and_then(|url| url.strip_prefix(TYPE_URL));
        let is_abstract = structure.get("abstract").and_then(Value::as_bool) == Some(true);
        self.define(name, kind, is_abstract, base)?;
        let elements = structure.items_at("snapshot");
        for (at, element) in elements.iter().enumerate() {
            let path = element.str_at("path").unwrap_or_default();
            let Some((parent, last)) = path.rsplit_once('.') else { continue };
            let is_text = matches!(kind, TypeKind::Primitive(_) | TypeKind::Xhtml);
            if is_text && last == "value" {
                // The value is the JSON value itself.
                continue;
            }
            let next = elements.get(at + 1).and_then(|next| next.str_at("path"));
            let first_child = next.and_then(|next| next.strip_prefix(path));
            if first_child.is_some_and(|rest| rest.starts_with('.')) {
                let base = element.items_at("type").first().and_then(|first| first.str_at("code"));
                self.define(path, TypeKind::Backbone, false, base)?;
            }
            let mut field = self.field(path, last, element)?;
            if kind == TypeKind::Resource && parent == name && last == "id" {
                field.types = vec![single(self.id("id", path)?, last)];
            }
            self.fields(parent, path)?.push(field);
        }
        Ok(())
    }

    fn define(
        &mut self,
        name: &str,
        kind: TypeKind,
        is_abstract: bool,
        base: Option<&str>,
    ) -> Result<(), SchemaError> {
        let base = base.map(|base| self.id(base, name)).transpose()?;
        let id = self.id(name, name)?;
        let def = Def { kind, is_abstract, base, fields: Vec::new() };
        self.types[usize::from(id.0)].def = Some(def);
        Ok(())
    }

    /// The fields of the type or group `name`, which must be defined before its elements.
    fn fields(&mut self, name: &str, place: &str) -> Result<&mut Vec<Field>, SchemaError> {
        let at = self.ids.get(name).map(|id| usize::from(id.0));
        let def = at.and_then(|at| self.types.get_mut(at)?.def.as_mut());
        def.map(|def| &mut def.fields).ok_or_else(|| unknown(name, place))
    }

    fn field(&mut self, path: &str, name: &str, element: &Value<'_>) -> Result<Field, SchemaError> {
        let missing = |what| SchemaError::Incomplete { place: path.to_owned(), what };
        let stem = name.strip_suffix("[x]");
        let is_group = self.ids.get(path).is_some_and(|id| {
            self.types.get(usize::from(id.0)).is_some_and(|draft| draft.def.is_some())
        });
        let types = match element.str_at("contentReference") {
            _ if is_group => vec![single(self.id(path, path)?, name)],
            Some(reference) => {
                let group = reference.rsplit_once('#').map_or(reference, |(_, path)| path);
                vec![single(self.id(group, path)?, name)]
            }
            None => self.types_of(path, name, element)?,
        };
        if types.is_empty() {
            return Err(missing("type"));
        }
        let number = |name| -> Option<&str> { element.get(name)?.as_number() };
        let min = number("min").and_then(|digits| digits.parse().ok());
        let max = element.str_at("max").ok_or_else(|| missing("max"))?;
        let is = |name| element.get(name).and_then(Value::as_bool) == Some(true);
        let representation = element.items_at("representation");
        Ok(Field {
            name: stem.unwrap_or(name).into(),
            types,
            is_choice: stem.is_some(),
            min: min.ok_or_else(|| missing("min"))?,
            max: max.parse().ok(),
            is_summary: is("isSummary"),
            is_modifier: is("isModifier"),
            is_xml_attribute: representation.iter().any(|form| form.as_str() == Some("xmlAttr")),
        })
    }

    fn types_of(
        &mut self,
        path: &str,
        name: &str,
        element: &Value<'_>,
    ) -> Result<Vec<FieldType>, SchemaError> {
        let listed = element.items_at("type");
        let mut types: Vec<FieldType> = Vec::with_capacity(listed.len());
        for named in listed {
            let code = named.str_at("code").unwrap_or_default();
            let type_id = self.id(code, path)?;
            let key = match name.strip_suffix("[x]") {
                Some(stem) => choice_key(stem, code),
                None => name.into(),
            };
            types.push(FieldType { type_id, key, targets: targets(named) });
        }
        Ok(types)
    }

    /// The id of the type `name`; its definition may come later.
    fn id(&mut self, name: &str, place: &str) -> Result<TypeId, SchemaError> {
        if let Some(&id) = self.ids.get(name) {
            return Ok(id);
        }
        let id = TypeId(u16::try_from(self.types.len()).map_err(|_| SchemaError::TooMany)?);
        self.ids.insert(name.into(), id);
        self.types.push(Draft { name: name.into(), place: place.into(), def: None });
        Ok(id)
    }

    fn finish(self) -> Result<Schema, SchemaError> {
        let types = self.types.into_iter().map(|Draft { name, place, def }| {
            let def = def.ok_or_else(|| unknown(&name, &place))?;
            let mut fields = def.fields;
            fields.shrink_to_fit();
            Ok(TypeDef::new(name, def.kind, def.is_abstract, def.base, fields))
        });
        Ok(Schema::new(types.collect::<Result<_, SchemaError>>()?))
    }
}

fn unknown(name: &str, place: &str) -> SchemaError {
    SchemaError::UnknownType { place: place.to_owned(), name: name.to_owned() }
}

fn single(type_id: TypeId, key: &str) -> FieldType {
    FieldType { type_id, key: key.into(), targets: Vec::new() }
}

/// `value` and `dateTime` make `valueDateTime`.
fn choice_key(stem: &str, code: &str) -> Box<str> {
    let mut key = String::with_capacity(stem.len() + code.len());
    key.push_str(stem);
    let mut letters = code.chars();
    key.extend(letters.next().map(|first| first.to_ascii_uppercase()));
    key.push_str(letters.as_str());
    key.into_boxed_str()
}

/// The resource types that a Reference or canonical may point to; `Resource` is any.
fn targets(named: &Value<'_>) -> Vec<Box<str>> {
    let profiles = named.items_at("targetProfile").iter().filter_map(Value::as_str);
    let types: Vec<&str> = profiles.filter_map(|url| url.strip_prefix(TYPE_URL)).collect();
    if types.contains(&"Resource") {
        return Vec::new();
    }
    types.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fhir::ResourceType;
    use crate::spec::Spec;

    fn r4() -> Arc<Spec> {
        Spec::r4().expect("the embedded pack loads")
    }

    /// `Type.element` -> the field's type names with their JSON keys.
    fn described(schema: &Schema, path: &str) -> String {
        let (owner, name) = path.rsplit_once('.').expect("a path");
        let field = schema.type_named(owner).and_then(|def| def.field(name)).expect(path);
        let types = field.types.iter().take(3).map(|variant| {
            let targets = match &variant.targets[..] {
                [] => String::new(),
                some => format!("({})", some.join(",")),
            };
            format!("{}:{}{targets}", variant.key, schema.get(variant.type_id).name)
        });
        let max = field.max.map_or("*".to_owned(), |max| max.to_string());
        format!("{}..{max} {}", field.min, types.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn concrete_resources_are_the_resource_types() {
        let spec = r4();
        let schema = &spec.schema;
        let concrete = |def: &&TypeDef| def.kind == TypeKind::Resource && !def.is_abstract;
        let mut names: Vec<&str> =
            schema.types().iter().filter(concrete).map(|def| &*def.name).collect();
        names.sort_unstable();
        assert_eq!(names, ResourceType::all().map(ResourceType::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn elements_have_the_types_and_bounds_of_their_definitions() {
        let spec = r4();
        let schema = &spec.schema;
        for (path, expected) in [
            ("Patient.name", "0..* name:HumanName"),
            ("Patient.contact", "0..* contact:Patient.contact"),
            ("Patient.contact.id", "0..1 id:string"),
            ("Patient.contact.modifierExtension", "0..* modifierExtension:Extension"),
            ("Patient.id", "0..1 id:id"),
            ("Bundle.id", "0..1 id:id"),
            ("Element.id", "0..1 id:string"),
            ("HumanName.id", "0..1 id:string"),
            ("code.id", "0..1 id:string"),
            ("code.extension", "0..* extension:Extension"),
            ("Extension.url", "1..1 url:uri"),
            ("Patient.deceased", "0..1 deceasedBoolean:boolean deceasedDateTime:dateTime"),
            ("Patient.contained", "0..* contained:Resource"),
            ("Bundle.entry.resource", "0..1 resource:Resource"),
            ("Parameters.parameter.resource", "0..1 resource:Resource"),
            ("Parameters.parameter.part", "0..* part:Parameters.parameter"),
            ("Bundle.entry.link", "0..* link:Bundle.link"),
            ("ValueSet.compose.exclude", "0..* exclude:ValueSet.compose.include"),
            ("Narrative.div", "1..1 div:xhtml"),
            ("Patient.managingOrganization", "0..1 managingOrganization:Reference(Organization)"),
            ("Linkage.item.resource", "1..1 resource:Reference"),
            ("Timing.repeat", "0..1 repeat:Timing.repeat"),
            ("Observation.referenceRange.low", "0..1 low:Quantity"),
            ("Questionnaire.derivedFrom", "0..* derivedFrom:canonical(Questionnaire)"),
        ] {
            assert_eq!(described(schema, path), expected, "{path}");
        }
    }

    #[test]
    fn kinds_bases_and_flags_follow_the_definitions() {
        let spec = r4();
        let schema = &spec.schema;
        let def = |name| schema.type_named(name).expect(name);
        assert_eq!(def("code").kind, TypeKind::Primitive(Primitive::Code));
        assert_eq!(def("xhtml").kind, TypeKind::Xhtml);
        assert_eq!(def("HumanName").kind, TypeKind::Complex);
        assert_eq!(def("Patient.contact").kind, TypeKind::Backbone);
        for (name, is_abstract) in
            [("Resource", true), ("DomainResource", true), ("Element", true), ("Patient", false)]
        {
            assert_eq!(def(name).is_abstract, is_abstract, "{name}");
        }
        for (name, ancestor) in [
            ("Patient", "Resource"),
            ("Age", "Quantity"),
            ("code", "string"),
            ("code", "Element"),
            ("Patient.contact", "BackboneElement"),
            ("Timing.repeat", "Element"),
        ] {
            let id = |name| schema.by_name(name).expect("known");
            assert!(schema.is_a(id(name), id(ancestor)), "{name} is a {ancestor}");
        }
        assert!(def("Extension").field("url").expect("url").is_xml_attribute);
        assert!(def("HumanName").field("id").expect("id").is_xml_attribute);
        assert!(!def("Patient").field("id").expect("id").is_xml_attribute);
        assert!(def("Patient").field("active").expect("active").is_modifier);
        assert!(def("Patient").field("active").expect("active").is_summary);
        assert!(!def("Patient").field("photo").expect("photo").is_summary);
        assert!(def("code").field("value").is_none(), "the value is the JSON value itself");
        assert!(def("Extension").key("valueReference").is_some());
    }

    #[test]
    fn every_type_but_the_roots_has_a_base_and_every_target_is_a_type() {
        let spec = r4();
        let schema = &spec.schema;
        for def in schema.types() {
            let is_root = matches!(&*def.name, "Element" | "Resource");
            assert_eq!(def.base.is_none(), is_root, "{}", def.name);
            assert!(!def.fields.is_empty(), "{} has elements", def.name);
            for (field, variant) in
                def.fields.iter().flat_map(|field| field.types.iter().map(move |v| (field, v)))
            {
                for target in &variant.targets {
                    let known = schema.type_named(target).map(|target| target.kind);
                    let place = format!("{}.{} -> {target}", def.name, field.name);
                    assert_eq!(known, Some(TypeKind::Resource), "{place}");
                }
            }
        }
    }
}
