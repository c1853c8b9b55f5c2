//! The walk along a profile: cardinalities, slices, and the rules on each value.
//!
//! Spec: <https://hl7.org/fhir/R4/profiling.html#resources>

use crate::fhir::json::{Object, Value};
use crate::fhir::schema::TypeKind;
use crate::fhir::{IssueCode, Severity};
use crate::fhirpath::Node;
use crate::validate::place::Place;

use super::findings::By;
use super::rules::{Child, Key, Rules};
use super::walk::Walk;

/// Stands for a primitive that has only an `id` or extensions.
pub(super) static NOTHING: Value<'static> = Value::Null;

/// One repetition of an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repetition<'w> {
    pub(super) node: Node<'w>,
    /// Which one of its element, where that is an array.
    pub(super) index: Option<usize>,
}

impl Repetition<'_> {
    /// Its place, when its element is at `place`.
    pub(super) fn place<'p>(&self, place: &Place<'p>) -> Place<'p> {
        self.index.map_or(*place, |index| place.at(index))
    }
}

impl<'w> Walk<'w> {
    /// Judges a value, and what is in it, by the rules of a profile.
    pub(super) fn conform(
        &mut self,
        rules: &Rules,
        node: &Node<'w>,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        if self.is_over() || !self.pay(1, place) {
            return;
        }
        // What a profile says of an element is said of one in the resource that holds it.
        self.checks(&rules.checks, node, place, by);
        let outer = self.enter(node);
        let object = node.value.as_object().or_else(|| node.sibling?.as_object());
        for child in &rules.children {
            if self.is_over() {
                break;
            }
            if !child.is_silent || self.options.must_support {
                self.child(child, object, place, by);
            }
        }
        self.scope = outer;
    }

    fn child(
        &mut self,
        child: &Child,
        object: Option<&'w Object<'w>>,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        let mut found = Vec::new();
        if let Some(object) = object {
            self.found(child, object, &mut found);
        }
        let at = place.child(&child.name);
        self.amount(found.len(), (child.min, child.max), "", &at, by);
        if found.is_empty() && child.is_must_support {
            self.unsupported("", &at, by);
        }
        for repetition in &found {
            if self.is_over() {
                return;
            }
            self.conform(&child.rules, &repetition.node, &repetition.place(&at), by);
        }
        if let Some(slicing) = &child.slicing {
            self.slices(slicing, &found, &at, by);
        }
    }

    /// Appends the values of an element.
    fn found(&self, child: &Child, object: &'w Object<'w>, out: &mut Vec<Repetition<'w>>) {
        if let [key] = child.keys.as_slice() {
            self.repetitions(object, key, out);
            return;
        }
        // A choice has up to fifty properties, of which one is there.
        for (name, _) in object.iter() {
            let plain = name.strip_prefix('_').unwrap_or(name);
            if plain.starts_with(&*child.name)
                && let Some(key) = child.keys.iter().find(|key| *key.plain == *plain)
                && (plain.len() == name.len() || !object.contains(plain))
            {
                self.repetitions(object, key, out);
            }
        }
    }

    /// Checks how many there are of an element or of a slice of it.
    pub(super) fn amount(
        &mut self,
        count: usize,
        (min, max): (u32, Option<u32>),
        slice: &str,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        if count >= min as usize && max.is_none_or(|most| count <= most as usize) {
            return;
        }
        let of = if slice.is_empty() { String::new() } else { format!(" of slice {slice}") };
        if count < min as usize {
            let rule = match (slice, min) {
                ("", 1) => "required, but missing".to_owned(),
                _ => format!("at least {min}{of} are required, found are {count}"),
            };
            let code = IssueCode::Required;
            self.findings.add(Severity::Error, code, place, format_args!("{rule}"), by);
        }
        if let Some(most) = max.filter(|&most| count > most as usize) {
            let rule = match (slice, most) {
                ("", 0) => "not allowed".to_owned(),
                _ => format!("at most {most}{of} are allowed, found are {count}"),
            };
            let code = IssueCode::Structure;
            self.findings.add(Severity::Error, code, place, format_args!("{rule}"), by);
        }
    }

    /// Says, where it is asked for, that an element is absent that must be supported.
    pub(super) fn unsupported(&mut self, slice: &str, place: &Place<'_>, by: By<'_>) {
        if self.options.must_support {
            let of = if slice.is_empty() { String::new() } else { format!("slice {slice} ") };
            let rule = format_args!("{of}must be supported, and is absent");
            let code = IssueCode::Informational;
            self.findings.add(Severity::Information, code, place, rule, by);
        }
    }

    /// Appends the values of a property.
    fn repetitions(&self, object: &'w Object<'w>, key: &Key, out: &mut Vec<Repetition<'w>>) {
        let value = object.get(&key.plain);
        let sibling = if key.sibling.is_empty() { None } else { object.get(&key.sibling) };
        if value.is_none() && sibling.is_none() {
            return;
        }
        let mut one = |value: Option<&'w Value<'w>>, sibling: Option<&'w Value<'w>>, index| {
            let value = value.filter(|value| **value != Value::Null);
            let sibling = sibling.filter(|sibling| sibling.as_object().is_some());
            if value.is_some() || sibling.is_some() {
                let node = self.node(value.unwrap_or(&NOTHING), sibling, key);
                out.push(Repetition { node, index });
            }
        };
        let values = value.and_then(Value::as_array);
        let siblings = sibling.and_then(Value::as_array);
        if values.is_none() && siblings.is_none() {
            one(value, sibling, None);
            return;
        }
        let (values, siblings) = (values.unwrap_or(&[]), siblings.unwrap_or(&[]));
        for at in 0..values.len().max(siblings.len()) {
            one(values.get(at), siblings.get(at), Some(at));
        }
    }

    fn node(&self, value: &'w Value<'w>, sibling: Option<&'w Value<'w>>, key: &Key) -> Node<'w> {
        match self.schema.get(key.type_id).kind {
            TypeKind::Resource => Node::new(value, key.type_id, self.schema),
            _ => Node { value, sibling, type_id: key.type_id },
        }
    }
}
