//! What an expression can mean, told from the element table alone.
//!
//! Follows the types an expression may have and whether its items are in an order. Where a type
//! is not known (what a reference points to, what a Bundle holds), everything is allowed.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#type-safety-and-strict-evaluation>

use super::ast::{Kind, Literal, Name, Node as Tree, TypeSpecifier, TypeTest};
use super::eval::{Outcome, operand};
use super::types;
use crate::fhir::schema::{Field, Schema, TypeId, TypeKind};

/// The types that items may have; `None`: any.
#[derive(Clone, Debug)]
struct Shape {
    types: Option<Vec<TypeId>>,
    is_ordered: bool,
}

/// Functions that ask for the order of their input.
const ORDERED: [&str; 5] = ["first", "last", "skip", "tail", "take"];

/// Functions that give some or all of their input.
const SAME: [&str; 13] = [
    "checkModifiers",
    "distinct",
    "exclude",
    "first",
    "intersect",
    "last",
    "single",
    "skip",
    "sort",
    "tail",
    "take",
    "trace",
    "where",
];

/// Functions whose arguments are evaluated for each item of their input.
const FOR_EACH: [&str; 9] =
    ["aggregate", "all", "exists", "iif", "repeat", "select", "sort", "trace", "where"];

pub(super) fn check(tree: &Tree, context: TypeId, schema: &Schema) -> Outcome<()> {
    let root = Shape::of(context);
    let checker = Checker { root: root.clone(), schema, is_search: false };
    checker.shape(tree, &root).map(drop)
}

/// The types that items may have, as the index of searches reads the expression; `None`: any.
pub(super) fn finds(tree: &Tree, context: TypeId, schema: &Schema) -> Outcome<Option<Vec<TypeId>>> {
    let root = Shape::of(context);
    let checker = Checker { root: root.clone(), schema, is_search: true };
    checker.shape(tree, &root).map(|shape| shape.types)
}

struct Checker<'s> {
    root: Shape,
    schema: &'s Schema,
    /// Whether it is read as searches do: arms of a union that mean nothing are passed over, as those
    /// about other types are; a choice is also found by its property, a type also with a wrong first
    /// letter; and what has no order may be asked for it.
    is_search: bool,
}

impl Shape {
    const UNKNOWN: Self = Self { types: None, is_ordered: true };

    fn of(context: TypeId) -> Self {
        Self { types: Some(vec![context]), is_ordered: true }
    }

    fn or(self, other: Self) -> Self {
        let types = self.types.zip(other.types).map(|(mut left, right)| {
            left.extend(right);
            distinct(left)
        });
        Self { types, is_ordered: self.is_ordered && other.is_ordered }
    }
}

impl Checker<'_> {
    fn shape(&self, tree: &Tree, focus: &Shape) -> Outcome<Shape> {
        match &tree.kind {
            Kind::Binary(_, left, right) => {
                self.shape(left, focus)?;
                self.shape(right, focus)?;
                Ok(Shape::UNKNOWN)
            }
            Kind::Call { .. } => self.call(tree, focus),
            Kind::External(name) if &**name == "context" => Ok(self.root.clone()),
            Kind::Indexer(of, at) => {
                self.shape(at, focus)?;
                let shape = self.shape(of, focus)?;
                if self.is_search || shape.is_ordered { Ok(shape) } else { unordered(tree.start) }
            }
            Kind::Path { of, names } => {
                let from = match of {
                    Some(of) => self.shape(of, focus)?,
                    None => focus.clone(),
                };
                self.path(from, names, of.is_none())
            }
            Kind::Polarity { of, .. } => self.shape(of, focus),
            Kind::This => Ok(focus.clone()),
            Kind::Type { test, of, specifier } => {
                let from = match of {
                    Some(of) => self.shape(of, focus)?,
                    None => focus.clone(),
                };
                self.typed(*test, &from, specifier, tree.start)
            }
            Kind::Union(arms) => self.union(arms, focus),
            Kind::Empty | Kind::External(_) | Kind::Literal(_) | Kind::Position | Kind::Total => {
                Ok(Shape::UNKNOWN)
            }
        }
    }

    fn union(&self, arms: &[Tree], focus: &Shape) -> Outcome<Shape> {
        let (mut all, mut fault): (Option<Shape>, _) = (None, None);
        for arm in arms {
            match self.shape(arm, focus) {
                Ok(shape) => {
                    all = Some(match all {
                        Some(before) => before.or(shape),
                        None => shape,
                    });
                }
                Err(of_arm) => fault = fault.or(Some(of_arm)),
            }
        }
        match (all, fault) {
            (Some(all), None) => Ok(all),
            (Some(all), Some(_)) if self.is_search => Ok(all),
            (_, Some(fault)) => Err(fault),
            (None, None) => Ok(Shape::UNKNOWN),
        }
    }

    fn call(&self, tree: &Tree, focus: &Shape) -> Outcome<Shape> {
        let Kind::Call { of, name, arguments, .. } = &tree.kind else {
            return Ok(Shape::UNKNOWN);
        };
        let input = match of {
            Some(of) => self.shape(of, focus)?,
            None => focus.clone(),
        };
        if ORDERED.contains(&&**name) && !input.is_ordered && !self.is_search {
            return unordered(tree.start);
        }
        let inner = if FOR_EACH.contains(&&**name) { &input } else { focus };
        let mut given = Shape { types: Some(Vec::new()), is_ordered: true };
        for argument in arguments {
            let shape = self.shape(argument, inner)?;
            if !matches!(argument.kind, Kind::Literal(Literal::Boolean(_))) {
                given = given.or(shape);
            }
        }
        Ok(match &**name {
            "children" | "descendants" => Shape { types: None, is_ordered: false },
            "combine" | "union" => input.or(given),
            "extension" => Shape {
                types: self.schema.by_name("Extension").map(|extension| vec![extension]),
                is_ordered: input.is_ordered,
            },
            "repeat" => Shape { types: None, is_ordered: input.is_ordered },
            "select" => Shape { is_ordered: input.is_ordered, ..given },
            same if SAME.contains(&same) => input,
            _ => Shape::UNKNOWN,
        })
    }

    fn typed(
        &self,
        test: TypeTest,
        from: &Shape,
        specifier: &TypeSpecifier,
        start: u32,
    ) -> Outcome<Shape> {
        if test == TypeTest::Is {
            return Ok(Shape::UNKNOWN);
        }
        let is_system = specifier.namespace.as_deref() == Some("System");
        let mut named = self.schema.by_name(&specifier.name).filter(|_| !is_system);
        if !types::exists(specifier, self.schema) {
            named = self.with_lower_first(&specifier.name).filter(|_| self.is_search);
            if named.is_none() {
                return operand(start, format!("there is no type {}", specifier.name));
            }
        }
        Ok(Shape { types: named.map(|named| vec![named]), is_ordered: from.is_ordered })
    }

    fn with_lower_first(&self, name: &str) -> Option<TypeId> {
        let (first, rest) = (name.get(..1)?, name.get(1..)?);
        self.schema.by_name(&(first.to_ascii_lowercase() + rest))
    }

    fn path(&self, mut shape: Shape, names: &[Name], is_start: bool) -> Outcome<Shape> {
        for (at, Name { text: name, start }) in names.iter().enumerate() {
            let Some(from) = &shape.types else { return Ok(shape) };
            if at == 0 && is_start && name.starts_with(|letter: char| letter.is_ascii_uppercase()) {
                shape.types = self.narrowed(from, name, *start)?;
                continue;
            }
            let mut found = Vec::new();
            let mut is_known = true;
            for &type_id in from {
                if let Some(field) = self.field(type_id, name) {
                    found.extend(field.types.iter().map(|choice| choice.type_id));
                } else if let Some(chosen) = self.chosen(type_id, name) {
                    found.push(chosen);
                } else if self.is_open(type_id, name) {
                    is_known = false;
                }
            }
            if found.is_empty() && is_known && !from.is_empty() {
                let among: Vec<_> = from.iter().map(|&id| &*self.schema.get(id).name).collect();
                return operand(*start, format!("{} has no element {name}", among.join(", ")));
            }
            shape.types = is_known.then(|| distinct(found));
        }
        Ok(shape)
    }

    /// The types that are `name` or may be, for the first name of a path.
    fn narrowed(&self, from: &[TypeId], name: &str, start: u32) -> Outcome<Option<Vec<TypeId>>> {
        let Some(wanted) = self.schema.by_name(name) else {
            return operand(start, format!("there is no type {name}"));
        };
        let fits = |&id: &TypeId| self.schema.is_a(id, wanted) || self.schema.is_a(wanted, id);
        if from.is_empty() || from.iter().any(fits) {
            return Ok(Some(vec![wanted]));
        }
        let among: Vec<_> = from.iter().map(|&id| &*self.schema.get(id).name).collect();
        operand(start, format!("{} is no {name}", among.join(", ")))
    }

    /// The element `name` of a type; primitives have those of Element.
    fn field(&self, type_id: TypeId, name: &str) -> Option<&Field> {
        let def = self.schema.get(type_id);
        def.field(name).or_else(|| {
            let is_primitive = matches!(def.kind, TypeKind::Primitive(_));
            is_primitive.then(|| self.schema.type_named("Element")?.field(name))?
        })
    }

    /// The type of the choice that is found by its property.
    fn chosen(&self, type_id: TypeId, name: &str) -> Option<TypeId> {
        let (_, variant) = self.schema.get(type_id).key(name).filter(|_| self.is_search)?;
        Some(variant.type_id)
    }

    /// Whether something called `name` may be there that the type itself does not tell.
    fn is_open(&self, type_id: TypeId, name: &str) -> bool {
        let def = self.schema.get(type_id);
        def.is_abstract || (name == "value" && matches!(def.kind, TypeKind::Primitive(_)))
    }
}

/// Each type once: else there are more at each step of a path.
fn distinct(mut types: Vec<TypeId>) -> Vec<TypeId> {
    types.sort_unstable();
    types.dedup();
    types
}

fn unordered<T>(start: u32) -> Outcome<T> {
    operand(start, "the items have no order of their own")
}
