//! From what a definition says of elements, and the structure it builds on, to all of its elements.
//!
//! The base's elements are a tree. Each difference walks it by its id: where it goes into a data type,
//! the children of the type (or of its profile) come in; where it names a new slice, that begins as a
//! copy of what is sliced. No document makes it do more than a bounded multiple of its size: a
//! snapshot has at most [`MAX_ELEMENTS`].
//!
//! | file | holds |
//! |---|---|
//! | `refine` | an element and what is said of it |
//! | `tree` | elements as a tree and back |
//!
//! Spec: <https://hl7.org/fhir/R4/profiling.html#snapshot>,
//! <https://hl7.org/fhir/R4/elementdefinition.html#id>

mod refine;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;

use super::element::{
    Discriminator, DiscriminatorKind, Element, ElementType, Slicing, SlicingRules,
};
use super::read::{Definition, Difference, MAX_ELEMENTS};
use super::{Derivation, Structure, StructureFault, TYPE_URL};

use tree::Node;

/// Finds the structure of a canonical.
pub(super) type Find<'f> = dyn FnMut(&str) -> Result<Arc<Structure>, StructureFault> + 'f;

/// The elements of the structure that `definition` makes of `base`.
///
/// # Errors
/// [`StructureFault`] when a difference names what is not there, or `find` finds nothing.
pub(super) fn generate(
    definition: &Definition,
    base: &Structure,
    find: &mut Find<'_>,
) -> Result<Vec<Element>, StructureFault> {
    let structure = &definition.structure;
    let malformed = |reason: String| fault(&structure.url, reason);
    let root = Node::of(&base.elements);
    let mut root = root.ok_or_else(|| malformed("its base has no elements".to_owned()))?;
    let is_open = structure.derivation == Derivation::Specialization;
    let spare = MAX_ELEMENTS.saturating_sub(root.size());
    let mut work = Work { url: &structure.url, is_open, spare, find };
    for difference in &definition.differential {
        work.apply(&mut root, difference)?;
    }
    root.settle();
    let name = match structure.derivation {
        Derivation::Constraint => root.element.path.to_string(),
        // A logical model's type may be a url, of which its paths have the last part.
        Derivation::Specialization => match definition.differential.first() {
            Some(first) => first.element.path.split('.').next().unwrap_or_default().to_owned(),
            None => structure.type_name.to_string(),
        },
    };
    Ok(root.into_elements(&name))
}

fn fault(url: &str, reason: String) -> StructureFault {
    StructureFault::Malformed { url: url.to_owned(), reason }
}

struct Work<'w, 'f> {
    url: &'w str,
    /// Whether there may be elements that the base does not have.
    is_open: bool,
    /// How many elements may still be added.
    spare: usize,
    find: &'w mut Find<'f>,
}

/// One part of an element's id.
struct Step<'s> {
    name: &'s str,
    slice: Option<&'s str>,
}

impl Work<'_, '_> {
    fn apply(&mut self, root: &mut Node, difference: &Difference) -> Result<(), StructureFault> {
        let said = &difference.element;
        let steps = Self::steps(said);
        let mut node = root;
        for (at, step) in steps.iter().enumerate() {
            self.open(node, &said.id)?;
            node = self.enter(node, step, said, at + 1 == steps.len())?;
        }
        refine::refine(&mut node.element, difference);
        if node.element.max.is_some_and(|max| max < node.element.min) {
            let Element { min, max, .. } = node.element;
            let reason = format!("{} has min {min} and max {}", said.id, max.unwrap_or_default());
            return Err(fault(self.url, reason));
        }
        Ok(())
    }

    /// The way from the root to an element.
    fn steps(said: &Element) -> Vec<Step<'_>> {
        let names: Vec<&str> = said.path.split('.').collect();
        let parts: Vec<&str> = said.id.split('.').collect();
        if names.len() != parts.len() {
            // An id that does not fit tells nothing: the path counts, with the slice that it names.
            let last = names.len() - 1;
            let slice = |at: usize| said.slice_name.as_deref().filter(|_| at == last);
            let steps = names.into_iter().enumerate().skip(1);
            return steps.map(|(at, name)| Step { name, slice: slice(at) }).collect();
        }
        let steps = names.into_iter().zip(parts).skip(1);
        steps
            .map(|(name, part)| Step { name, slice: part.split_once(':').map(|(_, slice)| slice) })
            .collect()
    }

    /// Lets the children of the node's type in, where it has none yet.
    fn open(&mut self, node: &mut Node, id: &str) -> Result<(), StructureFault> {
        if !node.children.is_empty() {
            return Ok(());
        }
        let element = &node.element;
        let opened = match (&element.content_reference, &element.types[..]) {
            (Some(reference), _) => self.referenced(reference)?,
            (None, [one]) => self.of_type(one)?,
            // All that several types have in common is what each element has.
            (None, [_, ..]) => self.tree(&format!("{TYPE_URL}Element"))?,
            (None, []) if self.is_open => return Ok(()),
            (None, []) => return Err(self.unknown_path(id)),
        };
        self.spend(opened.size())?;
        if node.element.content_reference.take().is_some() {
            node.element.types = opened.element.types;
        }
        node.children = opened.children;
        Ok(())
    }

    fn of_type(&mut self, one: &ElementType) -> Result<Node, StructureFault> {
        match &one.profiles[..] {
            [profile] => self.tree(profile),
            _ if one.code.contains(':') => self.tree(&one.code),
            _ => self.tree(&format!("{TYPE_URL}{}", one.code)),
        }
    }

    fn tree(&mut self, canonical: &str) -> Result<Node, StructureFault> {
        let structure = (self.find)(canonical)?;
        let tree = Node::of(&structure.elements);
        tree.ok_or_else(|| fault(&structure.url, "it has no elements".to_owned()))
    }

    /// The element of a content reference: `#Bundle.link`, perhaps after the url of a type.
    fn referenced(&mut self, reference: &str) -> Result<Node, StructureFault> {
        let (url, id) = reference.rsplit_once('#').unwrap_or(("", reference));
        let type_name = id.split('.').next().unwrap_or_default();
        let of_type = format!("{TYPE_URL}{type_name}");
        let structure = (self.find)(if url.is_empty() { &of_type } else { url })?;
        let at = structure.elements.iter().position(|element| &*element.id == id);
        let found = at.and_then(|at| Node::of(&structure.elements[at..]));
        found.ok_or_else(|| self.unknown_path(reference))
    }

    /// The child or slice that a step leads to, which is made where the definition may make it.
    fn enter<'n>(
        &mut self,
        node: &'n mut Node,
        step: &Step<'_>,
        said: &Element,
        is_last: bool,
    ) -> Result<&'n mut Node, StructureFault> {
        let named = node.children.iter().position(|child| child.element.name() == step.name);
        if let Some(at) = named {
            let child = &mut node.children[at];
            return match step.slice {
                Some(slice) => self.slice(child, slice, said, is_last),
                None => Ok(child),
            };
        }
        // `valueQuantity` is `value[x]` where it is a Quantity.
        let of_choice = |child: &Node| type_in_name(&child.element, step.name).is_some();
        if let Some(at) = node.children.iter().position(of_choice) {
            let child = &mut node.children[at];
            if child.element.types.len() == 1 && child.slices.is_empty() {
                return Ok(child);
            }
            return self.slice(child, step.slice.unwrap_or(step.name), said, is_last);
        }
        if !self.is_open || !is_last {
            return Err(self.unknown_path(&said.id));
        }
        self.spend(1)?;
        let mut element = Element::new(said.id.clone(), said.path.clone());
        element.slice_name.clone_from(&said.slice_name);
        node.children.push(Node::new(element));
        let at = node.children.len() - 1;
        Ok(&mut node.children[at])
    }

    /// The slice of `sliced` that is called `name`.
    fn slice<'n>(
        &mut self,
        sliced: &'n mut Node,
        name: &str,
        said: &Element,
        is_last: bool,
    ) -> Result<&'n mut Node, StructureFault> {
        if let Some(at) = sliced.slice(name) {
            return Ok(&mut sliced.slices[at]);
        }
        let is_choice = sliced.element.is_choice();
        if (!is_last && !is_choice) || said.slice_is_constraining {
            let reason = format!("{} says more of the slice {name}, which is not there", said.id);
            return Err(fault(self.url, reason));
        }
        if sliced.element.slicing.is_none() {
            let slicing = implied_slicing(&sliced.element);
            let none = || fault(self.url, format!("{} is a slice of what is not sliced", said.id));
            sliced.element.slicing = Some(slicing.ok_or_else(none)?);
            sliced.is_implied = true;
        }
        let resliced = name.rsplit_once('/').and_then(|(outer, _)| sliced.slice(outer));
        let mut slice = resliced.map_or(&*sliced, |at| &sliced.slices[at]).as_slice(name);
        if let Some(of) = type_in_name(&sliced.element, name) {
            slice.element.types = vec![of.clone()];
        }
        self.spend(slice.size())?;
        // Behind the slices of the same slice.
        let family = |node: &Node| {
            let other = node.element.slice_name.as_deref().unwrap_or_default();
            let outer = name.rsplit_once('/').map(|(outer, _)| outer);
            outer.is_some_and(|outer| {
                other
                    .strip_prefix(outer)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let at = sliced.slices.iter().rposition(family).map_or(sliced.slices.len(), |at| at + 1);
        sliced.slices.insert(at, slice);
        Ok(&mut sliced.slices[at])
    }

    fn spend(&mut self, elements: usize) -> Result<(), StructureFault> {
        let left = self.spare.checked_sub(elements);
        let reason = || format!("its snapshot has more than {MAX_ELEMENTS} elements");
        self.spare = left.ok_or_else(|| fault(self.url, reason()))?;
        Ok(())
    }

    fn unknown_path(&self, path: &str) -> StructureFault {
        StructureFault::UnknownPath { url: self.url.to_owned(), path: path.to_owned() }
    }
}

/// The type that a name such as `valueQuantity` gives to the choice `value[x]`.
fn type_in_name<'e>(choice: &'e Element, name: &str) -> Option<&'e ElementType> {
    let rest = name.strip_prefix(choice.name().strip_suffix("[x]")?)?;
    let head = rest.chars().next()?;
    choice.types.iter().find(|one| {
        let Some(first) = one.code.chars().next() else { return false };
        head == first.to_ascii_uppercase()
            && one.code.get(first.len_utf8()..) == rest.get(head.len_utf8()..)
    })
}

/// How extensions and choices are told apart where nobody says it.
fn implied_slicing(element: &Element) -> Option<Slicing> {
    let (kind, path) = match element.name() {
        "extension" | "modifierExtension" => (DiscriminatorKind::Value, "url"),
        _ if element.is_choice() => (DiscriminatorKind::Type, "$this"),
        _ => return None,
    };
    let discriminators = vec![Discriminator { kind, path: path.into() }];
    Some(Slicing { discriminators, is_ordered: false, rules: SlicingRules::Open })
}
