//! References: what they lead to inside the document, and what their targets have to be.
//!
//! Spec: <https://hl7.org/fhir/R4/references.html>, <https://hl7.org/fhir/R4/bundle.html#references>

use std::sync::Arc;

use crate::fhir::reference::{named_type, stated_type};
use crate::fhir::schema::{TypeId, TypeKind};
use crate::fhir::{IssueCode, Severity};
use crate::fhirpath::Node;
use crate::spec::structure::Aggregation;
use crate::validate::place::Place;

use super::findings::By;
use super::rules::{Profile, TypeRule};
use super::walk::Walk;

impl<'w> Walk<'w> {
    /// The resource of this document that a reference leads to.
    pub(super) fn target(&self, text: &str) -> Option<Node<'w>> {
        let root = self.scope.root;
        let found = match text.strip_prefix('#') {
            Some("") => Some(root),
            Some(id) => root.items_at("contained").iter().find(|it| it.str_at("id") == Some(id)),
            None => self.entries.as_ref()?.find(text, self.scope.full_url),
        };
        let resource = self.schema.by_name("Resource")?;
        let node = Node::new(found?, resource, self.schema);
        (self.schema.get(node.type_id).kind == TypeKind::Resource).then_some(node)
    }

    /// Pays for the look for a target: all that is contained is looked through.
    pub(super) fn pay_for_target(&mut self, text: &str, place: &Place<'_>) -> bool {
        let contained = self.scope.root.items_at("contained").len();
        self.pay(if text.starts_with('#') { 1 + contained as u64 } else { 1 }, place)
    }

    /// Checks where a reference leads.
    pub(super) fn references(
        &mut self,
        types: &[&TypeRule],
        node: &Node<'w>,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        let Some(text) = node.value.str_at("reference") else { return };
        if self.name(node.type_id) != "Reference" {
            return;
        }
        if !self.pay_for_target(text, place) {
            return;
        }
        let target = self.target(text);
        self.aggregation(types, text, target.is_some(), place, by);
        if types.iter().any(|of| of.targets.is_empty()) {
            return;
        }
        let of = target.map(|node| node.type_id).or_else(|| {
            let named = named_type(text).and_then(|of| self.schema.by_name(of.as_str()));
            let stated = || self.schema.by_name(stated_type(node.value.str_at("type")?));
            named.or_else(stated)
        });
        let Some(of) = of else { return };
        let mut known: Vec<Arc<Profile>> = Vec::new();
        for canonical in types.iter().flat_map(|of| &of.targets) {
            match self.validator.profile(canonical) {
                Ok(profile) => known.push(profile),
                Err(fault) => {
                    let rule = format_args!("the target is not judged: {fault}");
                    self.findings.add(Severity::Warning, IssueCode::NotFound, place, rule, by);
                    return;
                }
            }
        }
        let fitting: Vec<&Arc<Profile>> =
            known.iter().filter(|profile| self.schema.is_a(of, profile.type_id)).collect();
        if fitting.is_empty() {
            self.wrong_target(&known, of, place, by);
        } else if let Some(target) = target {
            self.judge_target(&fitting, &target, place, by);
        }
    }

    fn wrong_target(&mut self, known: &[Arc<Profile>], of: TypeId, place: &Place<'_>, by: By<'_>) {
        let mut names: Vec<_> = known.iter().map(|profile| self.name(profile.type_id)).collect();
        names.sort_unstable();
        names.dedup();
        let (names, is) = (names.join(", "), self.name(of));
        let rule = format_args!("may point to {names}, not to {is}");
        self.findings.add(Severity::Error, IssueCode::BusinessRule, place, rule, by);
    }

    fn judge_target(
        &mut self,
        fitting: &[&Arc<Profile>],
        target: &Node<'w>,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        let inside = Place::root("target");
        if fitting.iter().any(|profile| self.fits(profile, target, &inside)) {
            return;
        }
        let names: Vec<_> = fitting.iter().map(|profile| &*profile.canonical).collect();
        let names = names.join(", ");
        let first = fitting.first().and_then(|profile| self.fault(profile, target, &inside));
        let first = first.unwrap_or_default();
        let rule = format_args!("the target conforms to none of {names}: {first}");
        self.findings.add(Severity::Error, IssueCode::Structure, place, rule, by);
    }

    fn aggregation(
        &mut self,
        types: &[&TypeRule],
        text: &str,
        is_here: bool,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        if types.iter().any(|of| of.aggregation.is_empty()) {
            return;
        }
        let is = match (text.starts_with('#'), is_here) {
            (true, _) => Aggregation::Contained,
            (false, true) => Aggregation::Bundled,
            (false, false) => Aggregation::Referenced,
        };
        // What is in the same Bundle is referred to as well.
        let allows = |of: &&TypeRule| {
            of.aggregation.contains(&is)
                || (is == Aggregation::Bundled && of.aggregation.contains(&Aggregation::Referenced))
        };
        if !types.iter().any(allows) {
            let word = match is {
                Aggregation::Bundled => "in the same Bundle",
                Aggregation::Contained => "contained",
                Aggregation::Referenced => "elsewhere",
            };
            let rule = format_args!("the target must not be {word}");
            self.findings.add(Severity::Error, IssueCode::BusinessRule, place, rule, by);
        }
    }
}
