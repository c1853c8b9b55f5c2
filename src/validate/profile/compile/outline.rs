//! The elements of a snapshot as a tree: children under their parent, slices under what they slice.
//!
//! Spec: <https://hl7.org/fhir/R4/elementdefinition.html#id>

use std::collections::HashMap;
use std::sync::Arc;

use crate::spec::structure::{Element, Structure};

/// A structure with its elements in place.
#[derive(Debug)]
pub(super) struct Outline {
    structure: Arc<Structure>,
    branches: Vec<Branch>,
}

/// What is below an element; both by the element's place in the snapshot.
#[derive(Debug, Default)]
struct Branch {
    children: Vec<usize>,
    slices: Vec<usize>,
}

impl Outline {
    /// The tree of a structure, by the ids of its elements.
    pub(super) fn new(structure: Arc<Structure>) -> Self {
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut branches: Vec<Branch> = Vec::new();
        for (at, element) in structure.elements.iter().enumerate() {
            branches.push(Branch::default());
            places.insert(&element.id, at);
            if at == 0 {
                continue;
            }
            if let Some(&sliced) = sliced_id(&element.id).and_then(|id| places.get(id)) {
                branches[sliced].slices.push(at);
            } else if let Some((parent, _)) = element.id.rsplit_once('.')
                && let Some(&parent) = places.get(parent)
            {
                branches[parent].children.push(at);
            }
        }
        Self { structure, branches }
    }

    /// The structure itself.
    pub(super) fn structure(&self) -> &Structure {
        &self.structure
    }

    /// The element at a place; `None` for one that the structure does not have.
    pub(super) fn element(&self, at: usize) -> Option<&Element> {
        self.structure.elements.get(at)
    }

    /// The places of its children.
    pub(super) fn children(&self, at: usize) -> &[usize] {
        self.branches.get(at).map_or(&[], |branch| &branch.children)
    }

    /// The places of its slices.
    pub(super) fn slices(&self, at: usize) -> &[usize] {
        self.branches.get(at).map_or(&[], |branch| &branch.slices)
    }

    /// The child called `name`, a choice with or without `[x]`.
    pub(super) fn child(&self, at: usize, name: &str) -> Option<usize> {
        let called = |&at: &usize| {
            let own = self.element(at).map_or("", Element::name);
            own == name || own.strip_suffix("[x]") == Some(name)
        };
        self.children(at).iter().copied().find(called)
    }
}

/// The id of what a slice is a slice of: `A.b:c/d` is one of `A.b:c`, which is one of `A.b`.
fn sliced_id(id: &str) -> Option<&str> {
    let start = id.rfind('.').map_or(0, |dot| dot + 1);
    let colon = start + id[start..].find(':')?;
    let end = id[colon..].rfind('/').map_or(colon, |slash| colon + slash);
    Some(&id[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_names_what_it_slices() {
        for (id, expected) in [
            ("A.b:c", Some("A.b")),
            ("A.b:c/d", Some("A.b:c")),
            ("A.b:c/d/e", Some("A.b:c/d")),
            ("A.b:c.d", None),
            ("A.b:c.d:e", Some("A.b:c.d")),
            ("A.value[x]:valueString", Some("A.value[x]")),
            ("A", None),
        ] {
            assert_eq!(sliced_id(id), expected, "{id}");
        }
    }
}
