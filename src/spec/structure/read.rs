//! From the JSON of a definition, in the form of a pack, to elements.

use std::sync::Arc;

use crate::fhir::json::Value;

use super::element::{
    Aggregation, Binding, Discriminator, DiscriminatorKind, Element, ElementType, Invariant,
    Representation, Slicing, SlicingRules, Strength, Versioning,
};
use super::{Context, Derivation, Kind, Structure, StructureFault};

/// The most elements of one definition: many times what anybody defined.
pub(super) const MAX_ELEMENTS: usize = 10_000;
/// The most parts of a path.
const MAX_DEPTH: usize = 64;

/// A definition as it was read.
#[derive(Debug)]
pub(super) struct Definition {
    /// The structure, without elements where the definition has no snapshot.
    pub(super) structure: Structure,
    /// What it says of elements, where it has no snapshot.
    pub(super) differential: Vec<Difference>,
}

/// What a differential says of an element.
#[derive(Clone, Debug)]
pub(super) struct Difference {
    /// All but what is below; what is not said is empty.
    pub(super) element: Element,
    pub(super) min: Option<u32>,
    pub(super) max: Option<Max>,
}

/// The greatest number of an element.
#[derive(Clone, Copy, Debug)]
pub(super) enum Max {
    Bound(u32),
    Unbounded,
}

impl Max {
    /// The number, where there is one.
    pub(super) fn bound(self) -> Option<u32> {
        match self {
            Self::Bound(max) => Some(max),
            Self::Unbounded => None,
        }
    }
}

/// Reads a record of a pack; `invariants` are those that its numbers mean.
pub(super) fn definition(
    record: &Value<'_>,
    invariants: &[Arc<Invariant>],
) -> Result<Definition, StructureFault> {
    let url = record.str_at("url").unwrap_or_default();
    let reader = Reader { url, invariants };
    let is_snapshot = !record.items_at("snapshot").is_empty();
    let listed = record.items_at(if is_snapshot { "snapshot" } else { "differential" });
    if listed.len() > MAX_ELEMENTS {
        return Err(reader.malformed(format!("it has more than {MAX_ELEMENTS} elements")));
    }
    let mut differential = Vec::with_capacity(listed.len());
    for element in listed {
        differential.push(reader.difference(element)?);
    }
    let mut structure = reader.head(record)?;
    if is_snapshot {
        structure.elements =
            differential.drain(..).map(|it| reader.whole(it)).collect::<Result<_, _>>()?;
        reader.check_order(&structure)?;
    }
    Ok(Definition { structure, differential })
}

struct Reader<'r> {
    url: &'r str,
    invariants: &'r [Arc<Invariant>],
}

impl Reader<'_> {
    fn malformed(&self, reason: String) -> StructureFault {
        StructureFault::Malformed { url: self.url.to_owned(), reason }
    }

    fn head(&self, record: &Value<'_>) -> Result<Structure, StructureFault> {
        let missing = |what: &str| self.malformed(format!("it has no {what}"));
        let text = |name| record.str_at(name).map(Into::into);
        let kind = match record.str_at("kind").ok_or_else(|| missing("kind"))? {
            "complex-type" => Kind::Complex,
            "logical" => Kind::Logical,
            "primitive-type" => Kind::Primitive,
            "resource" => Kind::Resource,
            other => return Err(self.malformed(format!("the kind {other:?} is not known"))),
        };
        let derivation = match record.str_at("derivation") {
            Some("constraint") => Derivation::Constraint,
            _ => Derivation::Specialization,
        };
        let invariants = record.items_at("contextInvariant").iter().filter_map(Value::as_str);
        Ok(Structure {
            url: self.url.into(),
            version: text("version"),
            name: text("name").unwrap_or_default(),
            type_name: text("type").ok_or_else(|| missing("type"))?,
            kind,
            derivation,
            base: text("baseDefinition"),
            is_abstract: is(record, "abstract"),
            context: record.items_at("context").iter().filter_map(context).collect(),
            context_invariants: invariants.map(Into::into).collect(),
            elements: Vec::new(),
        })
    }

    fn difference(&self, value: &Value<'_>) -> Result<Difference, StructureFault> {
        let path = value
            .str_at("path")
            .ok_or_else(|| self.malformed("it has an element without a path".to_owned()))?;
        if path.split('.').count() > MAX_DEPTH {
            let reason = format!("a path of its elements has more than {MAX_DEPTH} parts");
            return Err(self.malformed(reason));
        }
        let id = value.str_at("id").unwrap_or(path);
        let mut element = Element::new(id.into(), path.into());
        element.representation = each(value, "representation", representation);
        element.slice_name = value.str_at("sliceName").map(Into::into);
        element.slice_is_constraining = is(value, "sliceIsConstraining");
        element.slicing = value.get("slicing").map(slicing);
        element.types = value.items_at("type").iter().map(element_type).collect();
        element.content_reference = value.str_at("contentReference").map(Into::into);
        element.fixed = typed(value, "fixed");
        element.pattern = typed(value, "pattern");
        element.min_value = typed(value, "minValue");
        element.max_value = typed(value, "maxValue");
        element.max_length = self.number(value, path, "maxLength")?;
        element.binding = value.get("binding").map(binding);
        element.narrative_languages = value.str_at("narrativeLanguages").map(Into::into);
        element.invariants = self.invariants_of(value, path)?;
        element.must_support = is(value, "mustSupport");
        element.is_modifier = is(value, "isModifier");
        element.is_summary = is(value, "isSummary");
        let max = match value.str_at("max") {
            None => None,
            Some("*") => Some(Max::Unbounded),
            Some(digits) => Some(Max::Bound(
                digits
                    .parse()
                    .map_err(|_| self.malformed(format!("max of {path} is {digits:?}")))?,
            )),
        };
        Ok(Difference { element, min: self.number(value, path, "min")?, max })
    }

    /// An element of a snapshot, which says both of its bounds.
    fn whole(&self, difference: Difference) -> Result<Element, StructureFault> {
        let Difference { mut element, min, max } = difference;
        let (Some(min), Some(max)) = (min, max) else {
            return Err(self.malformed(format!("its snapshot has no bounds for {}", element.id)));
        };
        (element.min, element.max) = (min, max.bound());
        Ok(element)
    }

    /// A snapshot begins with its root, and each other element has its parent before it.
    fn check_order(&self, structure: &Structure) -> Result<(), StructureFault> {
        let mut open: Vec<&str> = Vec::new();
        for (at, element) in structure.elements.iter().enumerate() {
            let parent = element.path.rsplit_once('.').map(|(parent, _)| parent);
            while open.last().is_some_and(|last| Some(*last) != parent) {
                open.pop();
            }
            if open.is_empty() && at > 0 {
                let reason = format!("its snapshot has {} without its parent", element.id);
                return Err(self.malformed(reason));
            }
            open.push(&element.path);
        }
        Ok(())
    }

    fn number(
        &self,
        value: &Value<'_>,
        path: &str,
        name: &str,
    ) -> Result<Option<u32>, StructureFault> {
        let Some(given) = value.get(name) else { return Ok(None) };
        let number = given.as_number().and_then(|digits| digits.parse().ok());
        let fault = || self.malformed(format!("{name} of {path} is {}", given.to_text()));
        number.ok_or_else(fault).map(Some)
    }

    fn invariants_of(
        &self,
        value: &Value<'_>,
        path: &str,
    ) -> Result<Vec<Arc<Invariant>>, StructureFault> {
        let listed = value.items_at("constraint").iter();
        let read = listed.map(|constraint| match constraint.as_number() {
            Some(digits) => {
                let number = digits.parse::<usize>().ok();
                number.and_then(|number| self.invariants.get(number)).cloned()
            }
            None => Invariant::read(constraint).map(Arc::new),
        });
        let fault = || self.malformed(format!("an invariant of {path} has no key or severity"));
        read.map(|invariant| invariant.ok_or_else(fault)).collect()
    }
}

fn is(value: &Value<'_>, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool) == Some(true)
}

/// The items of `name` that `read` knows.
fn each<T>(value: &Value<'_>, name: &str, read: fn(&str) -> Option<T>) -> Vec<T> {
    value.items_at(name).iter().filter_map(Value::as_str).filter_map(read).collect()
}

fn texts(value: &Value<'_>, name: &str) -> Vec<Box<str>> {
    each(value, name, |text| Some(text.into()))
}

/// The value of `stem[x]`.
fn typed(value: &Value<'_>, stem: &str) -> Option<Value<'static>> {
    let mut properties = value.as_object()?.iter();
    let is_form = |key: &str| {
        let form = key.strip_prefix(stem).and_then(|form| form.chars().next());
        form.is_some_and(char::is_uppercase)
    };
    properties.find(|(key, _)| is_form(key)).map(|(_, value)| value.clone().into_owned())
}

fn context(value: &Value<'_>) -> Option<Context> {
    let expression = value.str_at("expression")?.into();
    Some(match value.str_at("type")? {
        "extension" => Context::Extension(expression),
        "fhirpath" => Context::FhirPath(expression),
        _ => Context::Element(expression),
    })
}

fn representation(code: &str) -> Option<Representation> {
    Some(match code {
        "cdaText" => Representation::CdaText,
        "typeAttr" => Representation::TypeAttribute,
        "xhtml" => Representation::Xhtml,
        "xmlAttr" => Representation::XmlAttribute,
        "xmlText" => Representation::XmlText,
        _ => return None,
    })
}

fn slicing(value: &Value<'_>) -> Slicing {
    let discriminator = |value: &Value<'_>| {
        let kind = match value.str_at("type")? {
            "exists" => DiscriminatorKind::Exists,
            "pattern" => DiscriminatorKind::Pattern,
            "profile" => DiscriminatorKind::Profile,
            "type" => DiscriminatorKind::Type,
            _ => DiscriminatorKind::Value,
        };
        Some(Discriminator { kind, path: value.str_at("path")?.into() })
    };
    Slicing {
        discriminators: value.items_at("discriminator").iter().filter_map(discriminator).collect(),
        is_ordered: is(value, "ordered"),
        rules: match value.str_at("rules") {
            Some("closed") => SlicingRules::Closed,
            Some("openAtEnd") => SlicingRules::OpenAtEnd,
            _ => SlicingRules::Open,
        },
    }
}

fn element_type(value: &Value<'_>) -> ElementType {
    let aggregation = |code: &str| {
        Some(match code {
            "bundled" => Aggregation::Bundled,
            "contained" => Aggregation::Contained,
            "referenced" => Aggregation::Referenced,
            _ => return None,
        })
    };
    ElementType {
        code: value.str_at("code").unwrap_or_default().into(),
        profiles: texts(value, "profile"),
        target_profiles: texts(value, "targetProfile"),
        aggregation: each(value, "aggregation", aggregation),
        versioning: match value.str_at("versioning") {
            Some("independent") => Some(Versioning::Independent),
            Some("specific") => Some(Versioning::Specific),
            Some(_) => Some(Versioning::Either),
            None => None,
        },
        regex: value.str_at("regex").map(Into::into),
    }
}

fn binding(value: &Value<'_>) -> Binding {
    Binding {
        strength: match value.str_at("strength") {
            Some("required") => Strength::Required,
            Some("extensible") => Strength::Extensible,
            Some("preferred") => Strength::Preferred,
            _ => Strength::Example,
        },
        value_set: value.str_at("valueSet").map(Into::into),
        max_value_set: value.str_at("maxValueSet").map(Into::into),
    }
}
