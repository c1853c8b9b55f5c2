//! The elements of a snapshot as a tree: children and slices hang on what they belong to.

use super::super::element::{Element, SlicingRules};

/// An element with what is in it and what it is sliced into.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its id and path are those of the snapshot it came from, until it is written out.
    pub(super) element: Element,
    pub(super) children: Vec<Node>,
    pub(super) slices: Vec<Node>,
    /// Whether it is sliced though nobody says how.
    pub(super) is_implied: bool,
}

impl Node {
    pub(super) fn new(element: Element) -> Self {
        Self { element, children: Vec::new(), slices: Vec::new(), is_implied: false }
    }

    /// The tree of a snapshot; `None` where there are no elements.
    pub(super) fn of(elements: &[Element]) -> Option<Self> {
        let mut rest = elements.iter().peekable();
        let root = rest.next()?;
        Some(grow(root, &mut rest))
    }

    /// The number of elements in it.
    pub(super) fn size(&self) -> usize {
        1 + self.children.iter().chain(&self.slices).map(Self::size).sum::<usize>()
    }

    /// The node that another one begins with when it is a slice of this: without bounds of its own.
    pub(super) fn as_slice(&self, name: &str) -> Self {
        let mut element = self.element.clone();
        element.slice_name = Some(name.into());
        element.slicing = None;
        // The least number is that of all slices together.
        element.min = 0;
        Self { children: self.children.clone(), ..Self::new(element) }
    }

    /// Closes each choice of which one type has to be there, or of which an extension names one: then it
    /// can be no other.
    pub(super) fn settle(&mut self) {
        if self.is_implied && self.element.is_choice() && self.element.max == Some(1) {
            let only = match &self.slices[..] {
                [only] if self.is_in_extension() => Some(only),
                slices => slices.iter().find(|slice| slice.element.min > 0),
            };
            if let (Some(only), Some(slicing)) = (only, &mut self.element.slicing) {
                self.element.min = self.element.min.max(only.element.min);
                self.element.types.clone_from(&only.element.types);
                slicing.rules = SlicingRules::Closed;
            }
        }
        self.children.iter_mut().chain(&mut self.slices).for_each(Self::settle);
    }

    fn is_in_extension(&self) -> bool {
        let parent = self.element.path.rsplit('.').nth(1).unwrap_or_default();
        matches!(parent, "Extension" | "extension" | "modifierExtension")
    }

    pub(super) fn slice(&self, name: &str) -> Option<usize> {
        let is_named = |node: &Node| node.element.slice_name.as_deref() == Some(name);
        self.slices.iter().position(is_named)
    }

    /// Writes the elements of the tree in the order of a snapshot, under ids and paths of their own.
    pub(super) fn into_elements(self, name: &str) -> Vec<Element> {
        let mut elements = Vec::new();
        self.write(name.to_owned(), name.to_owned(), &mut elements);
        elements
    }

    fn write(mut self, id: String, path: String, out: &mut Vec<Element>) {
        let within = |node: &Node| {
            let name = node.element.name();
            let path = format!("{path}.{name}");
            match &node.element.slice_name {
                Some(slice) => (format!("{id}.{name}:{slice}"), path),
                None => (format!("{id}.{name}"), path),
            }
        };
        let children = std::mem::take(&mut self.children);
        let places: Vec<_> = children.iter().map(&within).collect();
        let slices: Vec<Vec<_>> =
            children.iter().map(|child| child.slices.iter().map(&within).collect()).collect();
        self.element.id = id.into();
        self.element.path = path.into();
        out.push(self.element);
        for ((mut child, (id, path)), places) in children.into_iter().zip(places).zip(slices) {
            let slices = std::mem::take(&mut child.slices);
            child.write(id, path, out);
            for (slice, (id, path)) in slices.into_iter().zip(places) {
                slice.write(id, path, out);
            }
        }
    }
}

/// Takes what is below `element` from the elements that follow it.
fn grow<'e>(
    element: &Element,
    rest: &mut std::iter::Peekable<impl Iterator<Item = &'e Element>>,
) -> Node {
    let mut node = Node::new(element.clone());
    let is_below =
        |path: &str| path.strip_prefix(&*element.path).is_some_and(|below| below.starts_with('.'));
    while let Some(next) = rest.next_if(|next| is_below(&next.path)) {
        let child = grow(next, rest);
        let sliced = match child.element.slice_name {
            Some(_) => node.children.iter_mut().rfind(|it| it.element.path == next.path),
            None => None,
        };
        match sliced {
            Some(sliced) => sliced.slices.push(child),
            None => node.children.push(child),
        }
    }
    node
}
