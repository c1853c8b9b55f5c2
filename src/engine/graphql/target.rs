//! What lies beyond a resource: what references lead to, and searches that begin at it.
//!
//! Spec: <https://hl7.org/fhir/R4/graphql.html#fields>

use crate::fhir::reference::Target;
use crate::fhir::{Identity, ResourceType};

use super::fault::Step;
use super::output::Entry;
use super::plan::Node;
use super::walk::{At, Fetch, Manner, Merged, Walk, Wanted, Within};

/// Bytes that something to be read takes, beside its names.
const FETCH: usize = 48;

impl<'w> Walk<'w> {
    /// Something that must be read first. It takes room of the answer, as it stands there even if nothing is found.
    pub(super) fn fetch(
        &mut self,
        wanted: Wanted,
        (node, children): Merged<'w>,
        manner: &Manner,
        is_optional: bool,
        out: &mut Vec<Entry>,
    ) {
        let search: usize = match &wanted {
            Wanted::Read(..) => 0,
            Wanted::Search(_, pairs) => {
                pairs.iter().map(|(name, text)| name.len() + text.len()).sum()
            }
        };
        let path: usize = self.path.iter().map(Step::bytes).sum();
        let bytes = FETCH + path + manner.suffix.len() + 8 * children.len() + search;
        if !self.takes(bytes, node.place) {
            return;
        }
        let (slot, manner, path) = (self.slots, manner.clone(), self.path.clone());
        self.slots += 1;
        self.fetches.push(Fetch { slot, wanted, node, children, manner, path, is_optional });
        out.push(Entry::Later(slot));
    }

    /// What a reference leads to.
    pub(super) fn target<'v>(
        &mut self,
        at: At<'v, '_>,
        (node, children): Merged<'w>,
        (of, is_optional): (&'w [ResourceType], bool),
        manner: &Manner,
        out: &mut Vec<Entry>,
    ) where
        'w: 'v,
    {
        let text = at.value.str_at("reference").unwrap_or_default();
        let is_of = |found: &str| of.is_empty() || of.iter().any(|of| of.as_str() == found);
        match Target::parse(text, self.base) {
            Target::Contained(id) => {
                let container = at.within.container;
                let inside = container.items_at("contained");
                let found = if id.is_empty() {
                    Some(container)
                } else if self.looks_at(inside.len(), node.place) {
                    inside.iter().find(|it| it.str_at("id") == Some(id))
                } else {
                    return;
                };
                let name = found.and_then(|it| it.str_at("resourceType"));
                let type_id = name.and_then(|name| self.schema.by_name(name));
                let (Some(value), Some(name), Some(type_id)) = (found, name, type_id) else {
                    return self.unresolved(node, is_optional, manner, out);
                };
                if !is_of(name) {
                    return;
                }
                let identity = at.within.identity.clone().filter(|_| id.is_empty());
                let inside = at.within.inside(value, true, (self.schema, self.now));
                let within = Within { identity, ..inside };
                let at = At { value, type_id, within: &within };
                self.value(at, (node, &children), (false, 0), manner, out);
            }
            Target::Local { resource_type, id, version, .. } => {
                if !is_of(resource_type.as_str()) {
                    return;
                }
                let wanted = Wanted::Read(Identity { resource_type, id }, version);
                self.fetch(wanted, (node, children), manner, is_optional, out);
            }
            Target::Absolute(_)
            | Target::Conditional { .. }
            | Target::Malformed
            | Target::Urn(_) => self.unresolved(node, is_optional, manner, out),
        }
    }

    fn unresolved(
        &mut self,
        node: &Node<'_>,
        is_optional: bool,
        manner: &Manner,
        out: &mut Vec<Entry>,
    ) {
        if !is_optional {
            let text = "this reference leads to no resource of this server";
            self.failed(text, node, manner, out);
        }
    }

    /// A field that cannot be told: it is null, beside the fault.
    pub(super) fn failed(
        &mut self,
        text: &str,
        node: &Node<'_>,
        manner: &Manner,
        out: &mut Vec<Entry>,
    ) {
        self.fault(text, node.place);
        let key = format!("{}{}", node.key, manner.suffix);
        if !node.form.is_flat && self.takes(key.len() + 4, node.place) {
            out.push(Entry::Null(key));
        }
    }
}
