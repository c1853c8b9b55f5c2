//! Which repetition belongs to which slice.
//!
//! Spec: <https://hl7.org/fhir/R4/profiling.html#slicing>

use crate::fhir::json::Value;
use crate::fhir::reference::{named_type, stated_type};
use crate::fhir::schema::TypeId;
use crate::fhir::{IssueCode, Severity};
use crate::fhirpath::{Node, same_tree};
use crate::spec::structure::SlicingRules;
use crate::spec::terminology::Contains;
use crate::validate::place::Place;

use super::checks::has_pattern;
use super::conform::Repetition;
use super::findings::By;
use super::rules::{Slice, Slicing, Step, Test};
use super::walk::Walk;

/// What stands at the path of a discriminator.
#[derive(Clone, Copy)]
enum Found<'w> {
    Node(Node<'w>),
    /// What a reference points to, where only its type can be told.
    Elsewhere(Option<TypeId>),
}

impl<'w> Walk<'w> {
    /// Puts repetitions into slices and judges each slice by its rules.
    pub(super) fn slices(
        &mut self,
        slicing: &Slicing,
        all: &[Repetition<'w>],
        place: &Place<'_>,
        by: By<'_>,
    ) {
        let mut members: Vec<Vec<Repetition<'w>>> = vec![Vec::new(); slicing.slices.len()];
        let mut last = 0;
        let mut is_past = false;
        for repetition in all {
            if self.is_over() || !self.pay(slicing.slices.len() as u64, place) {
                return;
            }
            let at = repetition.place(place);
            let Some(slice) = self.slice_of(slicing, repetition, &at) else {
                is_past = true;
                if slicing.rules == SlicingRules::Closed {
                    let rule =
                        format_args!("belongs to none of the slices, and no other is allowed");
                    self.findings.add(Severity::Error, IssueCode::Structure, &at, rule, by);
                }
                continue;
            };
            if is_past && slicing.rules == SlicingRules::OpenAtEnd {
                let rule = format_args!("what belongs to no slice comes after all slices");
                self.findings.add(Severity::Error, IssueCode::Structure, &at, rule, by);
            }
            if slicing.is_ordered && slice < last {
                let name = &slicing.slices[slice].name;
                let rule = format_args!("slice {name} comes too late: the slices are in order");
                self.findings.add(Severity::Error, IssueCode::Structure, &at, rule, by);
            }
            last = last.max(slice);
            if let Some(members) = members.get_mut(slice) {
                members.push(*repetition);
            }
        }
        for (slice, members) in slicing.slices.iter().zip(&members) {
            self.slice(slice, members, place, By { slice: Some(&slice.name), ..by });
        }
    }

    fn slice(&mut self, slice: &Slice, members: &[Repetition<'w>], place: &Place<'_>, by: By<'_>) {
        self.amount(members.len(), (slice.min, slice.max), &slice.name, place, by);
        if members.is_empty() && slice.is_must_support {
            self.unsupported(&slice.name, place, by);
        }
        for repetition in members {
            if self.is_over() {
                return;
            }
            self.conform(&slice.rules, &repetition.node, &repetition.place(place), by);
        }
        if let Some(slicing) = &slice.slicing {
            self.slices(slicing, members, place, by);
        }
    }

    fn slice_of(
        &mut self,
        slicing: &Slicing,
        repetition: &Repetition<'w>,
        place: &Place<'_>,
    ) -> Option<usize> {
        let named = slicing
            .slices
            .iter()
            .position(|slice| !slice.is_default && self.is_in(slice, slicing, repetition, place));
        named.or_else(|| slicing.slices.iter().position(|slice| slice.is_default))
    }

    fn is_in(
        &mut self,
        slice: &Slice,
        slicing: &Slicing,
        repetition: &Repetition<'w>,
        place: &Place<'_>,
    ) -> bool {
        if slice.tests.iter().all(Test::is_empty) {
            return false;
        }
        let mut tests = slice.tests.iter().zip(&slicing.paths);
        tests.all(|(test, path)| {
            test.is_empty() || self.holds_at(test, path, &repetition.node, place)
        })
    }

    fn holds_at(&mut self, test: &Test, path: &[Step], node: &Node<'w>, place: &Place<'_>) -> bool {
        if let ([Step::Element(name)], Some(Value::String(wanted))) = (path, &test.fixed)
            && &**name == "url"
        {
            return node.value.str_at("url") == Some(wanted);
        }
        let mut found = vec![Found::Node(*node)];
        for step in path {
            found = self.step(step, &found);
        }
        if let Some(exists) = test.exists {
            return exists != found.is_empty();
        }
        found.into_iter().any(|found| self.holds(test, found, place))
    }

    fn holds(&mut self, test: &Test, found: Found<'w>, place: &Place<'_>) -> bool {
        let node = match found {
            Found::Node(node) => node,
            Found::Elsewhere(of) => {
                // Only the type of what is elsewhere can be told.
                let is_type = |wanted: &TypeId| of.is_some_and(|of| self.schema.is_a(of, *wanted));
                return !test.types.is_empty() && test.types.iter().any(is_type);
            }
        };
        let is_kind = |wanted: &TypeId| self.is_of(node.type_id, *wanted);
        if !test.types.is_empty() && !test.types.iter().any(is_kind)
            || test.fixed.as_ref().is_some_and(|fixed| !same_tree(node.value, fixed))
            || test.pattern.as_ref().is_some_and(|pattern| !has_pattern(node.value, pattern))
            || test.value_set.as_ref().is_some_and(|value_set| !self.is_member(&node, value_set))
        {
            return false;
        }
        let profiles = test.profiles.iter();
        let known: Vec<_> = profiles.filter_map(|it| self.validator.profile(it).ok()).collect();
        if !test.profiles.is_empty() && !known.iter().any(|it| self.fits(it, &node, place)) {
            return false;
        }
        test.inner.iter().all(|(name, inner)| {
            let children = self.named(&node, name);
            children.into_iter().any(|child| self.holds(inner, Found::Node(child), place))
        })
    }

    fn is_member(&self, node: &Node<'w>, value_set: &str) -> bool {
        let is_in = |system: Option<&str>, code: &str| {
            self.validator.contains(value_set, system, code) == Ok(Contains::Yes)
        };
        let coding = |coding: &Value<'_>| {
            coding.str_at("code").is_some_and(|code| is_in(coding.str_at("system"), code))
        };
        match node.value {
            Value::String(code) => is_in(None, code),
            value if value.get("coding").is_some() => value.items_at("coding").iter().any(coding),
            value => coding(value),
        }
    }

    fn step(&self, step: &Step, from: &[Found<'w>]) -> Vec<Found<'w>> {
        let nodes = from.iter().filter_map(|found| match found {
            Found::Node(node) => Some(node),
            Found::Elsewhere(_) => None,
        });
        match step {
            Step::Element(name) => {
                nodes.flat_map(|node| self.named(node, name)).map(Found::Node).collect()
            }
            Step::Extension(url) => {
                let all = nodes.flat_map(|node| self.named(node, "extension"));
                let of = all.filter(|node| node.value.str_at("url") == Some(url));
                of.map(Found::Node).collect()
            }
            Step::OfType(of) => {
                let kept = nodes.filter(|node| self.is_of(node.type_id, *of));
                kept.map(|node| Found::Node(*node)).collect()
            }
            Step::Resolve => nodes.map(|node| self.resolved(node)).collect(),
        }
    }

    fn resolved(&self, node: &Node<'w>) -> Found<'w> {
        let text = node.value.as_str().or_else(|| node.value.str_at("reference"));
        if let Some(target) = text.and_then(|text| self.target(text)) {
            return Found::Node(target);
        }
        let named = text.and_then(named_type).and_then(|of| self.schema.by_name(of.as_str()));
        let stated = || self.schema.by_name(stated_type(node.value.str_at("type")?));
        Found::Elsewhere(named.or_else(stated))
    }
}
