//! The part of FHIRPath that nearly all search expressions use, compiled to element paths.
//!
//! Each arm of a union is a path of element names with `as`, `ofType`, `where(resolve() is T)`,
//! `where(name='text')` and `[n]` in it. Compiled against the element table it is walked by JSON
//! property names alone, many times faster than the evaluator. What is not of this form is
//! not compiled and left to `fhirpath`; a test compares both over the published examples.
//!
//! Three things are done that the evaluator does not: a type's name is also taken with a wrong first
//! letter (R4 writes `as(DateTime)`), `resolve() is T` takes a reference by identifier alone at its
//! word (`Reference.type`), and a choice is also found by its property (US Core writes
//! `valueDateTime`).

use crate::fhir::json::Value;
use crate::fhir::schema::{Field, FieldType, Schema, TypeDef, TypeId, TypeKind};
use crate::fhir::{ResourceType, reference};
use crate::spec::codes::Codes;

use super::kind::Kind;
use super::scan::{Arm, Part, arms};

/// The end of a path: an element.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leaf {
    pub(super) type_id: TypeId,
    pub(super) kind: Kind,
    /// The system of a `code`, which its definition implies.
    pub(super) system: Option<Box<str>>,
    /// Whether it is a family name, of which later words count too.
    pub(super) is_family: bool,
}

/// What paths are compiled against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Definitions<'d> {
    pub(super) schema: &'d Schema,
    pub(super) codes: &'d Codes,
}

/// A way from a node of one type to elements.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    steps: Vec<Step>,
    /// Where the path ends when it has no step: at the node itself.
    own: Leaf,
    /// Whether it may lead to more than one element.
    pub(super) repeats: bool,
}

/// The resource that contains others, and what `#` references find in it.
#[derive(Debug)]
pub(super) struct Root<'v> {
    pub(super) value: &'v Value<'v>,
    /// Id and type of each contained resource, in the order of ids.
    contained: Vec<(&'v str, Option<&'v str>)>,
}

impl<'v> Root<'v> {
    pub(super) fn of(value: &'v Value<'v>) -> Self {
        let named =
            |value: &'v Value<'v>| Some((value.str_at("id")?, value.str_at("resourceType")));
        let mut contained: Vec<_> = value.items_at("contained").iter().filter_map(named).collect();
        // Of two with one id the first stays the first.
        contained.sort_by_key(|(id, _)| *id);
        Self { value, contained }
    }

    /// The type of the contained resource `id`, or without one of the root itself.
    fn type_of(&self, id: &str) -> Option<&'v str> {
        if id.is_empty() {
            return self.value.str_at("resourceType");
        }
        let at = self.contained.partition_point(|(other, _)| *other < id);
        self.contained.get(at).filter(|(found, _)| *found == id)?.1
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// To the children under one of these properties.
    Child(Vec<(Box<str>, Leaf)>),
    /// Only the item with this number.
    Index(usize),
    /// Only those that pass.
    Where(Test),
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    /// The property has this text.
    Equals(Box<str>, Box<str>),
    /// The reference points to a resource of this type.
    Refers(Box<str>),
}

/// The paths of `expression` from a node of type `root`.
///
/// Arms that begin with the name of another type are left out: they give nothing. `None` when an
/// arm is not of the form that compiles here.
pub(super) fn compile(
    expression: &str,
    root: TypeId,
    definitions: Definitions<'_>,
) -> Option<Vec<Path>> {
    let arms = arms(expression)?;
    let mut paths: Vec<(&[Part<'_>], Path)> = Vec::new();
    for arm in &arms {
        let Begin::Here(parts) = begin(arm, root, definitions.schema) else { continue };
        let path = path(parts, root, definitions)?;
        match paths.iter_mut().find(|(other, _)| is_same_choice(parts, other)) {
            Some((_, joined)) => joined.or(path),
            None => paths.push((parts, path)),
        }
    }
    Some(paths.into_iter().map(|(_, path)| path).collect())
}

/// Whether two arms lead to one element, each to another of the types that it may have. A resource has it once, so
/// together they give no more values than one of them.
fn is_same_choice(one: &[Part<'_>], other: &[Part<'_>]) -> bool {
    match (one.split_last(), other.split_last()) {
        (Some((Part::As(_), one)), Some((Part::As(_), other))) => one == other,
        _ => false,
    }
}

enum Begin<'a> {
    /// The arm is about another type.
    Other,
    Here(&'a [Part<'a>]),
}

/// An arm may begin with the name of the node's type or of one that it specialises.
fn begin<'a>(arm: &'a Arm<'a>, root: TypeId, schema: &Schema) -> Begin<'a> {
    let Some((Part::Name(first), rest)) = arm.split_first() else { return Begin::Here(arm) };
    match schema.by_name(first).filter(|_| first.starts_with(char::is_uppercase)) {
        Some(named) if schema.is_a(root, named) => Begin::Here(rest),
        Some(_) => Begin::Other,
        None => Begin::Here(arm),
    }
}

fn path(parts: &[Part<'_>], root: TypeId, definitions: Definitions<'_>) -> Option<Path> {
    let schema = definitions.schema;
    let kind = Kind::of(root, schema);
    let own = Leaf { type_id: root, kind, system: None, is_family: false };
    let mut steps: Vec<Step> = Vec::new();
    let mut owner = Some(root);
    let mut repeats = false;
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Name(name) => {
                let (field, _) = element(schema.get(owner?), name)?;
                repeats |= field.is_array() && !matches!(parts.get(at + 1), Some(Part::Index(_)));
                let children = children(owner?, name, definitions)?;
                owner = only(&children);
                steps.push(Step::Child(children));
            }
            Part::As(name) => {
                let wanted = named(name, schema)?;
                let Some(Step::Child(children)) = steps.last_mut() else { return None };
                children.retain(|(_, leaf)| keeps(leaf.type_id, wanted, schema));
                owner = only(children);
            }
            // Several parents would each have an item of this number: `fhirpath` counts them all.
            Part::Index(at) if steps.len() == 1 => steps.push(Step::Index(*at)),
            Part::Index(_) => return None,
            Part::Equals(name, text) => {
                // Of several values FHIRPath's `=` compares all at once.
                let is_single = !schema.get(owner?).field(name)?.is_array();
                is_single.then_some(())?;
                let [(_, leaf)] = &children(owner?, name, definitions)?[..] else { return None };
                matches!(leaf.kind, Kind::Code | Kind::Text | Kind::Uri).then_some(())?;
                steps.push(Step::Where(Test::Equals((*name).into(), (*text).into())));
            }
            Part::Refers(name) => {
                let is_resource = schema.type_named(name)?.kind == TypeKind::Resource;
                is_resource.then_some(())?;
                steps.push(Step::Where(Test::Refers((*name).into())));
            }
        }
    }
    Some(Path { steps, own, repeats })
}

/// As FHIRPath's `as`: of primitives only the very type, else also what specialises it.
fn keeps(type_id: TypeId, wanted: TypeId, schema: &Schema) -> bool {
    let is_primitive = matches!(schema.get(type_id).kind, TypeKind::Primitive(_));
    type_id == wanted || (!is_primitive && schema.is_a(type_id, wanted))
}

/// The type when there is only one.
fn only(children: &[(Box<str>, Leaf)]) -> Option<TypeId> {
    let [(_, leaf)] = children else { return None };
    Some(leaf.type_id)
}

/// The properties behind the element `name` of `owner`.
fn children(
    owner: TypeId,
    name: &str,
    Definitions { schema, codes }: Definitions<'_>,
) -> Option<Vec<(Box<str>, Leaf)>> {
    let def = schema.get(owner);
    let (field, variants) = element(def, name)?;
    let place = format!("{}.{}", def.name, field.name);
    let leaf = |type_id| Leaf {
        type_id,
        kind: Kind::of(type_id, schema),
        system: codes.implied(&place).map(Into::into),
        is_family: place == "HumanName.family",
    };
    let variants = variants.iter();
    Some(variants.map(|variant| (variant.key.clone(), leaf(variant.type_id))).collect())
}

/// The element called `name`, and the types that it has under this name.
fn element<'d>(def: &'d TypeDef, name: &str) -> Option<(&'d Field, &'d [FieldType])> {
    let whole = def.field(name).map(|field| (field, &field.types[..]));
    whole.or_else(|| def.key(name).map(|(field, variant)| (field, std::slice::from_ref(variant))))
}

/// The type called `name`, also when its first letter has the wrong case.
fn named(name: &str, schema: &Schema) -> Option<TypeId> {
    let lower = || {
        let first = name.get(..1)?.to_ascii_lowercase();
        schema.by_name(&(first + &name[1..]))
    };
    schema.by_name(name).or_else(lower)
}

impl Path {
    /// Adds the properties at the end of a path that differs from this one in those alone.
    fn or(&mut self, other: Self) {
        let mut steps = other.steps;
        if let (Some(Step::Child(own)), Some(Step::Child(more))) =
            (self.steps.last_mut(), steps.pop())
        {
            let more: Vec<_> = more.into_iter().filter(|it| !own.contains(it)).collect();
            own.extend(more);
        }
    }

    /// The element that the path ends at, for each of the properties that it may have.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        let children = self.steps.iter().rev().find_map(|step| match step {
            Step::Child(children) => Some(children),
            Step::Index(_) | Step::Where(_) => None,
        });
        let own = children.is_none().then_some(&self.own);
        children.into_iter().flatten().map(|(_, leaf)| leaf).chain(own)
    }

    /// The properties of its node that it begins with; `None` where it looks at the node itself.
    pub(super) fn properties(&self) -> Option<impl Iterator<Item = &str>> {
        let Some(Step::Child(children)) = self.steps.first() else { return None };
        Some(children.iter().map(|(name, _)| &**name))
    }

    /// The type that the references at its end must point to.
    pub(super) fn refers(&self) -> Option<&str> {
        match self.steps.last() {
            Some(Step::Where(Test::Refers(name))) => Some(name),
            _ => None,
        }
    }

    /// Whether it leads where `other` leads, whatever references there must point to.
    pub(super) fn is_same_way(&self, other: &Self) -> bool {
        let way = |path: &'_ Self| path.steps.len() - usize::from(path.refers().is_some());
        self.own == other.own && self.steps[..way(self)] == other.steps[..way(other)]
    }

    /// The ways to the elements at its end, as PostgreSQL has JSON paths; `None` where what a reference
    /// points to decides.
    pub(super) fn ways(&self) -> Option<Vec<(String, &Leaf)>> {
        let mut found = Vec::new();
        spell(&self.steps, "$".to_owned(), &self.own, &mut found)?;
        Some(found)
    }

    /// Shows each element at the end of the path to `visit`. `root` has what is contained.
    pub(super) fn walk<'v>(
        &'v self,
        node: &'v Value<'v>,
        root: &Root<'v>,
        visit: &mut impl FnMut(&'v Value<'v>, &'v Leaf),
    ) {
        descend(&self.steps, node, &self.own, root, visit);
    }
}

/// No deeper than the path is long.
fn descend<'v>(
    steps: &'v [Step],
    value: &'v Value<'v>,
    leaf: &'v Leaf,
    root: &Root<'v>,
    visit: &mut impl FnMut(&'v Value<'v>, &'v Leaf),
) {
    match steps {
        [] => visit(value, leaf),
        [Step::Child(children), rest @ ..] => {
            let Value::Object(object) = value else { return };
            for (key, leaf) in children {
                match (object.get(key), rest) {
                    (None | Some(Value::Null), _) => {}
                    (Some(Value::Array(items)), [Step::Index(at), rest @ ..]) => {
                        if let Some(item) = items.get(*at) {
                            descend(rest, item, leaf, root, visit);
                        }
                    }
                    (Some(Value::Array(items)), _) => {
                        for item in items.iter().filter(|item| **item != Value::Null) {
                            descend(rest, item, leaf, root, visit);
                        }
                    }
                    (Some(item), _) => descend(rest, item, leaf, root, visit),
                }
            }
        }
        [Step::Index(at), rest @ ..] => {
            if *at == 0 {
                descend(rest, value, leaf, root, visit);
            }
        }
        [Step::Where(test), rest @ ..] => {
            if passes(test, value, root) {
                descend(rest, value, leaf, root, visit);
            }
        }
    }
}

/// Adds the ways that go on from `way` by these steps. No deeper than the path is long.
fn spell<'p>(
    steps: &'p [Step],
    way: String,
    leaf: &'p Leaf,
    out: &mut Vec<(String, &'p Leaf)>,
) -> Option<()> {
    match steps {
        [] => out.push((way, leaf)),
        [Step::Child(children), rest @ ..] => {
            let (item, rest) = match rest {
                [Step::Index(at), rest @ ..] => (at.to_string(), rest),
                _ => ("*".to_owned(), rest),
            };
            for (name, leaf) in children {
                spell(rest, format!("{way}.\"{name}\"[{item}]"), leaf, out)?;
            }
        }
        [Step::Where(Test::Equals(name, text)), rest @ ..] => {
            let text = Value::from(&**text).to_text();
            spell(rest, format!("{way} ? (@.\"{name}\" == {text})"), leaf, out)?;
        }
        [Step::Index(_) | Step::Where(Test::Refers(_)), ..] => return None,
    }
    Some(())
}

fn passes(test: &Test, value: &Value<'_>, root: &Root<'_>) -> bool {
    match test {
        Test::Equals(name, wanted) => value.str_at(name) == Some(wanted),
        Test::Refers(name) => target_type(value, root) == Some(&**name),
    }
}

/// The type of what a Reference points to, as far as it tells; a contained one is looked at.
fn target_type<'v>(from: &'v Value<'v>, root: &Root<'v>) -> Option<&'v str> {
    let stated = || from.str_at("type").map(reference::stated_type);
    let Some(text) = from.as_str().or_else(|| from.str_at("reference")) else {
        return stated();
    };
    if let Some(id) = text.strip_prefix('#') {
        return root.type_of(id).or_else(stated);
    }
    reference::named_type(text).map(ResourceType::as_str).or_else(stated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;
    use crate::spec::Spec;

    #[test]
    fn what_is_contained_is_found_by_its_id_the_first_of_two() {
        let text = r#"{"resourceType":"Patient","contained":[{"id":"b","resourceType":"Group"},
            {"id":"a","resourceType":"Device"},{"id":"b","resourceType":"List"},{"id":"c"},{}]}"#;
        let value = parse(text.as_bytes()).expect("JSON");
        let root = Root::of(&value);
        for (id, expected) in [
            ("a", Some("Device")),
            ("b", Some("Group")),
            ("c", None),
            ("d", None),
            ("", Some("Patient")),
        ] {
            assert_eq!(root.type_of(id), expected, "{id:?}");
        }
    }

    #[test]
    fn a_choice_is_found_by_its_property_too() {
        let spec = Spec::r4().unwrap();
        let codes = Codes::r4().unwrap();
        let definitions = Definitions { schema: &spec.schema, codes: &codes };
        for (of, property, plain) in [
            ("Observation", "Observation.valueQuantity", Some("Observation.value as Quantity")),
            (
                "Condition",
                "Condition.extension.where(url='u').valueDateTime",
                Some("Condition.extension.where(url='u').value.ofType(dateTime)"),
            ),
            ("Patient", "Patient.deceasedBoolean", Some("Patient.deceased.as(boolean)")),
            ("Patient", "Patient.deceasedQuantity", None),
            ("Patient", "Patient.genderCode", None),
        ] {
            let root = spec.schema.by_name(of).unwrap();
            let found = compile(property, root, definitions);
            let expected = plain.map(|plain| compile(plain, root, definitions).unwrap());
            assert_eq!(found, expected, "{property}");
        }
    }

    #[test]
    fn the_types_of_one_choice_are_one_path() {
        let spec = Spec::r4().unwrap();
        let codes = Codes::r4().unwrap();
        let definitions = Definitions { schema: &spec.schema, codes: &codes };
        let condition = spec.schema.by_name("Condition").unwrap();
        for (expression, expected) in [
            ("Condition.onset.as(dateTime) | Condition.onset.as(Period)", 1),
            ("(Condition.onset as dateTime) | Condition.onset.as(dateTime)", 1),
            ("Condition.onset.as(dateTime) | Condition.abatement.as(dateTime)", 2),
            ("Condition.onset.as(dateTime) | Condition.recordedDate", 2),
        ] {
            let paths = compile(expression, condition, definitions).unwrap();
            assert_eq!(paths.len(), expected, "{expression}");
            assert!(paths.iter().all(|path| !path.repeats), "{expression}");
        }
        for (text, expected) in [
            (r#"{"onsetDateTime":"2020"}"#, r#""2020""#),
            (r#"{"onsetPeriod":{"start":"2020"}}"#, r#"{"start":"2020"}"#),
            (r#"{"onsetString":"2020"}"#, ""),
        ] {
            let value = parse(text.as_bytes()).unwrap();
            let paths = compile(
                "Condition.onset.as(dateTime) | Condition.onset.as(Period)",
                condition,
                definitions,
            );
            let mut found = String::new();
            let root = Root::of(&value);
            paths.unwrap()[0].walk(&value, &root, &mut |value, _| found += &value.to_text());
            assert_eq!(found, expected, "{text}");
        }
    }
}
