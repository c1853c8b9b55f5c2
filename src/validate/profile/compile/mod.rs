//! From a structure to what it asks beyond the base definitions.
//!
//! | file | holds |
//! |---|---|
//! | `base` | the checks of the base definitions, by type and element |
//! | `constraint` | invariants, each read once |
//! | `discriminator` | what tells the slices of an element apart |
//! | `outline` | the elements of a snapshot as a tree |

mod base;
mod constraint;
mod discriminator;
mod outline;

use std::sync::Arc;

use crate::fhir::json::Value;
use crate::fhir::schema::{Field, Schema, TypeDef, TypeId, TypeKind};
use crate::spec::structure::{Element, ElementType, Library, SlicingRules, Strength, Structure};

use super::rules::{Binding, Checks, Child, Key, Profile, Rules, Slice, Slicing, Test, TypeRule};

pub(super) use base::TypeChecks;
pub(super) use constraint::{Constraints, matching};
use outline::Outline;

/// The deepest tree of elements that is compiled; deeper ones do not occur.
const MAX_DEPTH: usize = 40;

/// What compilation goes by.
#[derive(Clone, Copy)]
pub(super) struct Compiler<'c> {
    pub(super) schema: &'c Schema,
    pub(super) library: &'c Library,
    pub(super) constraints: &'c Constraints,
}

/// An element and what is said of it elsewhere, so that only the news remain.
struct Known<'k> {
    /// The element of the base definition.
    base: Option<&'k Element>,
    /// For a slice what it is a slice of.
    sliced: Option<&'k Element>,
}

impl Known<'_> {
    fn any(&self, says: impl Fn(&Element) -> bool) -> bool {
        self.base.is_some_and(&says) || self.sliced.is_some_and(says)
    }
}

impl Compiler<'_> {
    /// Compiles a structure; `None` when its type is none of FHIR's.
    pub(super) fn profile(&self, structure: Arc<Structure>) -> Option<Profile> {
        let type_id = self.schema.by_name(&structure.type_name)?;
        let outline = Outline::new(structure);
        let structure = outline.structure();
        let base = self.library.structure_of_type(&structure.type_name).ok();
        let root = structure.root()?;
        let known = Known { base: base.as_ref().and_then(|base| base.root()), sliced: None };
        let invariants = structure.context_invariants.iter();
        Some(Profile {
            canonical: structure.canonical().into(),
            type_id,
            is_modifier: root.is_modifier,
            context: structure.context.clone(),
            context_invariants: invariants.map(|text| self.constraints.plain(text)).collect(),
            rules: Rules {
                checks: self.checks(root, type_id, &known),
                children: self.children(&outline, 0, type_id, 0),
            },
        })
    }

    fn children(&self, outline: &Outline, at: usize, owner: TypeId, depth: usize) -> Vec<Child> {
        if depth > MAX_DEPTH {
            return Vec::new();
        }
        let children = outline.children(at).iter();
        children.filter_map(|&child| self.child(outline, child, owner, depth)).collect()
    }

    fn child(&self, outline: &Outline, at: usize, owner: TypeId, depth: usize) -> Option<Child> {
        let element = outline.element(at)?;
        let def = self.schema.get(owner);
        let (field, keys) = self.keys(def, element.name())?;
        let base = self.base_element(def, field);
        let base = base.as_ref().and_then(|(structure, at)| structure.elements.get(*at));
        let known = Known { base, sliced: None };
        let inner = self.inner_type(element, &keys);
        let rules = Rules {
            checks: self.checks(element, inner, &known),
            children: self.children(outline, at, inner, depth + 1),
        };
        let slicing = self.slicing(outline, at, &keys, base, depth);
        let min = if base.is_some_and(|base| base.min >= element.min) { 0 } else { element.min };
        let max = element.max.filter(|_| base.is_none_or(|base| base.max != element.max));
        let is_silent = min == 0
            && max.is_none()
            && rules.is_silent()
            && slicing.as_ref().is_none_or(Slicing::is_silent);
        let asks_nothing = rules.children.is_empty() && slicing.is_none();
        if is_silent && asks_nothing && !element.must_support {
            return None;
        }
        let (name, is_must_support) = (field.name.clone(), element.must_support);
        Some(Child { name, keys, min, max, is_must_support, is_silent, rules, slicing })
    }

    /// The field behind an element's name and the JSON properties that hold it.
    fn keys<'d>(&self, def: &'d TypeDef, name: &str) -> Option<(&'d Field, Vec<Key>)> {
        let key = |plain: &str, type_id: TypeId| {
            let is_text = matches!(self.schema.get(type_id).kind, TypeKind::Primitive(_));
            let sibling = if is_text { format!("_{plain}") } else { String::new() };
            Key { plain: plain.into(), sibling: sibling.into(), type_id }
        };
        if let Some(field) = def.field(name.strip_suffix("[x]").unwrap_or(name)) {
            let keys = field.types.iter().map(|variant| key(&variant.key, variant.type_id));
            return Some((field, keys.collect()));
        }
        // `valueQuantity` is an old way to speak of one type of a choice.
        let (field, variant) = def.key(name)?;
        Some((field, vec![key(&variant.key, variant.type_id)]))
    }

    /// The base definition's element for a field: its structure and place.
    fn base_element(&self, def: &TypeDef, field: &Field) -> Option<(Arc<Structure>, usize)> {
        let type_name = def.name.split('.').next()?;
        let structure = self.library.structure_of_type(type_name).ok()?;
        let choice = if field.is_choice { "[x]" } else { "" };
        let path = format!("{}.{}{choice}", def.name, field.name);
        let is_it = |element: &Element| *element.path == *path && element.slice_name.is_none();
        let at = structure.elements.iter().position(is_it)?;
        Some((structure, at))
    }

    /// The type whose elements the element's children are.
    fn inner_type(&self, element: &Element, keys: &[Key]) -> TypeId {
        let named = |code: &str| {
            let of = keys.iter().map(|key| key.type_id);
            let mut of = of.filter(|&id| *self.schema.get(id).name == *code);
            of.next().or_else(|| self.schema.by_name(code))
        };
        let any = || self.schema.by_name("Element").unwrap_or(TypeId(0));
        match (keys, element.types.as_slice()) {
            ([key], [only]) if self.schema.get(key.type_id).kind == TypeKind::Resource => {
                named(&only.code).unwrap_or(key.type_id)
            }
            ([key], _) => key.type_id,
            (_, [only]) => named(&only.code).unwrap_or_else(any),
            _ => any(),
        }
    }

    fn checks(&self, element: &Element, inner: TypeId, known: &Known<'_>) -> Checks {
        let news = |same: &dyn Fn(&Element) -> bool| !known.any(same);
        let invariants = element.invariants.iter().filter(|invariant| {
            let is_same = |other: &Element| {
                let mut others = other.invariants.iter();
                others.any(|it| it.key == invariant.key)
            };
            !constraint::is_of_form(invariant) && !known.any(is_same)
        });
        let binding = element.binding.as_ref().filter(|binding| {
            let says = binding.strength != Strength::Example || binding.max_value_set.is_some();
            says && news(&|other| other.binding.as_ref() == Some(binding))
        });
        let types = element.types.as_slice();
        let types = if types.is_empty() || !news(&|other| same_types(types, &other.types)) {
            Vec::new()
        } else {
            types.iter().filter_map(|of| self.type_rule(of, inner)).collect()
        };
        Checks {
            constraints: invariants.map(|it| self.constraints.of(it)).collect(),
            binding: binding.map(|binding| Binding {
                strength: binding.strength,
                value_set: binding.value_set.clone(),
                max_value_set: binding.max_value_set.clone(),
            }),
            fixed: element.fixed.clone().filter(|it| news(&|o| o.fixed.as_ref() == Some(it))),
            pattern: element.pattern.clone().filter(|it| news(&|o| o.pattern.as_ref() == Some(it))),
            min_value: element.min_value.clone(),
            max_value: element.max_value.clone(),
            max_length: element.max_length,
            narrative_languages: element.narrative_languages.clone(),
            types,
        }
    }

    /// `inner` is the type of the values, where it is known to be one.
    fn type_rule(&self, of: &ElementType, inner: TypeId) -> Option<TypeRule> {
        let is_group = matches!(self.schema.get(inner).kind, TypeKind::Backbone);
        let type_id = if is_group { inner } else { self.schema.by_name(&of.code)? };
        Some(TypeRule {
            type_id,
            profiles: of.profiles.clone(),
            targets: of.target_profiles.clone(),
            aggregation: of.aggregation.clone(),
            regex: of.regex.as_ref().map(|regex| self.constraints.regex(regex)),
        })
    }

    fn slicing(
        &self,
        outline: &Outline,
        at: usize,
        keys: &[Key],
        base: Option<&Element>,
        depth: usize,
    ) -> Option<Slicing> {
        let element = outline.element(at)?;
        let slices = outline.slices(at);
        if slices.is_empty() || depth > MAX_DEPTH {
            return None;
        }
        let told = discriminator::told(self, element)?;
        let slices = slices.iter().filter_map(|&slice| {
            let own = outline.element(slice)?;
            let inner = self.inner_type(own, keys);
            let known = Known { base, sliced: Some(element) };
            let name = own.slice_name.as_deref().unwrap_or_default();
            let tests = discriminator::tests(self, &told, outline, slice);
            let mut checks = self.checks(own, inner, &known);
            if is_by_url(&tests, own) {
                checks.types.clear();
            }
            Some(Slice {
                name: name.into(),
                min: own.min,
                max: own.max,
                tests,
                is_default: name == "@default",
                is_must_support: own.must_support,
                rules: Rules { checks, children: self.children(outline, slice, inner, depth + 1) },
                slicing: self.slicing(outline, slice, keys, base, depth + 1).map(Box::new),
            })
        });
        let of = element.slicing.as_ref();
        Some(Slicing {
            rules: of.map_or(SlicingRules::Open, |slicing| slicing.rules),
            is_ordered: of.is_some_and(|slicing| slicing.is_ordered),
            slices: slices.collect(),
            paths: told.into_iter().map(|told| told.path).collect(),
        })
    }
}

/// Whether a slice is of the extensions whose definition its profile is: each extension is judged by
/// its definition wherever it stands, so that need not be done again.
fn is_by_url(tests: &[Test], slice: &Element) -> bool {
    let ([test], [of]) = (tests, slice.types.as_slice()) else { return false };
    let url = test.fixed.as_ref().and_then(Value::as_str);
    &*of.code == "Extension" && matches!(of.profiles.as_slice(), [only] if url == Some(only))
}

fn same_types(left: &[ElementType], right: &[ElementType]) -> bool {
    left.len() == right.len() && left.iter().all(|of| right.contains(of))
}
