//! Extensions by their definitions: value and inner extensions, and where they may be used.
//!
//! Spec: <https://hl7.org/fhir/R4/extensibility.html>, <https://hl7.org/fhir/R4/defining-extensions.html#context>

use crate::fhir::schema::{TypeId, TypeKind};
use crate::fhir::{IssueCode, Severity};
use crate::fhirpath::{Environment, Item, Node};
use crate::spec::structure::{Context, StructureFault};
use crate::validate::place::Place;

use super::findings::By;
use super::rules::Profile;
use super::walk::Walk;

/// Where R4's own definitions use extensions that say they are for use elsewhere.
const ERRATA: [(&str, &[&str]); 3] = [
    ("http://hl7.org/fhir/StructureDefinition/regex", &["ElementDefinition.type"]),
    (
        "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type",
        &["ElementDefinition.type"],
    ),
    (
        "http://hl7.org/fhir/StructureDefinition/structuredefinition-normative-version",
        &["DomainResource", "ElementDefinition", "CodeSystem.concept"],
    ),
];

/// An element that may have extensions, and what it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder<'h, 'w> {
    pub(super) node: Node<'w>,
    /// What has it as an element; a resource is in nothing.
    pub(super) parent: Option<&'h Holder<'h, 'w>>,
    /// Its name there, a choice without `[x]`.
    pub(super) field: &'h str,
    /// Its JSON property there.
    pub(super) key: &'h str,
    /// The type that defines that element.
    pub(super) owner: TypeId,
}

impl Holder<'_, '_> {
    /// `Patient.contact.name`: the way from the resource, by names alone.
    fn path(&self, schema_name: &str) -> String {
        match self.parent {
            None => schema_name.to_owned(),
            Some(parent) => format!("{}.{}", parent.path(schema_name), self.field),
        }
    }

    fn root(&self) -> &Self {
        let mut at = self;
        while let Some(parent) = at.parent {
            at = parent;
        }
        at
    }
}

impl<'w> Walk<'w> {
    /// Checks one extension of an element.
    pub(super) fn extension(
        &mut self,
        node: &Node<'w>,
        holder: &Holder<'_, 'w>,
        is_modifier: bool,
        place: &Place<'_>,
    ) {
        // Extensions inside extensions have plain names, which their definition knows.
        let Some(url) = node.value.str_at("url").filter(|url| url.contains(':')) else { return };
        let profile = match self.validator.profile(url) {
            Ok(profile) => profile,
            Err(fault) => return self.undefined(url, &fault, is_modifier, place),
        };
        if profile.type_id != node.type_id {
            let rule = format_args!("{url} is no extension");
            let by = By::default();
            self.findings.add(Severity::Error, IssueCode::Extension, place, rule, by);
            return;
        }
        let by = By { profile: Some(&profile.canonical), slice: None };
        if profile.is_modifier != is_modifier {
            let (right, wrong) = if is_modifier {
                ("extension", "modifierExtension")
            } else {
                ("modifierExtension", "extension")
            };
            let rule = format_args!("stands in {right}, not in {wrong}");
            self.findings.add(Severity::Error, IssueCode::Extension, place, rule, by);
        }
        self.apply(&profile, node, place);
        self.inner_names(&profile, node, place);
        self.context(&profile, node, holder, place);
    }

    fn undefined(
        &mut self,
        url: &str,
        fault: &StructureFault,
        is_modifier: bool,
        place: &Place<'_>,
    ) {
        let code = IssueCode::Extension;
        let StructureFault::Unknown(_) = fault else {
            let rule = format_args!("the extension cannot be judged: {fault}");
            self.findings.add(Severity::Warning, code, place, rule, By::default());
            return;
        };
        let allowed = if is_modifier { Severity::Warning } else { Severity::Information };
        let severity = (self.options.unknown_extension)(url).min(allowed);
        if severity < Severity::Information {
            let shown: String = url.chars().take(200).collect();
            let kind = if is_modifier { "modifier extension" } else { "extension" };
            let rule = format_args!("the {kind} {shown} is not known here");
            self.findings.add(severity, code, place, rule, By::default());
        }
    }

    fn context(
        &mut self,
        profile: &Profile,
        node: &Node<'w>,
        holder: &Holder<'_, 'w>,
        place: &Place<'_>,
    ) {
        let by = By { profile: Some(&profile.canonical), slice: None };
        let url = node.value.str_at("url").unwrap_or_default();
        let also = ERRATA.iter().find(|(of, _)| *of == url).map_or(&[][..], |(_, also)| also);
        if !profile.context.is_empty()
            && !also.iter().any(|id| self.is_element(id, holder))
            && !profile.context.iter().any(|context| self.is_context(context, holder, place))
        {
            let rule = format_args!("the extension is not for use here");
            self.findings.add(Severity::Error, IssueCode::Extension, place, rule, by);
        }
        for invariant in &profile.context_invariants {
            if self.is_true(invariant, &holder.node, Some(node), place) == Ok(false) {
                let text = &invariant.human;
                let rule = format_args!("the extension is for use only where {text}");
                self.findings.add(Severity::Error, IssueCode::Extension, place, rule, by);
            }
        }
    }

    fn is_context(
        &mut self,
        context: &Context,
        holder: &Holder<'_, 'w>,
        place: &Place<'_>,
    ) -> bool {
        match context {
            Context::Element(id) => self.is_element(id, holder),
            Context::Extension(url) => {
                let is_it = |of: &Holder<'_, 'w>| of.node.value.str_at("url") == Some(url);
                // The value of an extension is of its definition as well.
                let around = holder.parent.filter(|_| holder.field == "value");
                is_it(holder) || around.is_some_and(is_it)
            }
            Context::FhirPath(text) => self.is_selected(text, holder, place),
        }
    }

    /// Whether the holder is the element of an id: by its type, by the definition it belongs to,
    /// or by its whole path.
    fn is_element(&self, id: &str, holder: &Holder<'_, 'w>) -> bool {
        // The element of a profile: its path without the names of slices.
        let path = id.rsplit_once('#').map_or(id, |(_, path)| path);
        let parts = path.split('.').map(|part| {
            let part = part.split(':').next().unwrap_or(part);
            part.strip_suffix("[x]").unwrap_or(part)
        });
        let path = parts.collect::<Vec<_>>().join(".");
        if path == "Element" {
            return true;
        }
        if matches!(&*path, "CanonicalResource" | "MetadataResource") {
            return self.is_canonical(holder);
        }
        // A type, or a group of elements, to which content references lead as well.
        if let Some(named) = self.schema.by_name(&path)
            && self.schema.is_a(holder.node.type_id, named)
        {
            return true;
        }
        if holder.parent.is_some() {
            let owner = self.name(holder.owner);
            let is_named = |name: &str| {
                path.strip_prefix(owner).and_then(|rest| rest.strip_prefix('.')) == Some(name)
            };
            if is_named(holder.field) || is_named(holder.key) {
                return true;
            }
        }
        let root = holder.root().node.type_id;
        let is_a =
            |name: &str| self.schema.by_name(name).is_some_and(|of| self.schema.is_a(root, of));
        let (start, rest) = path.split_once('.').unwrap_or((&path, ""));
        let own = holder.path("");
        is_a(start) && own.strip_prefix('.') == Some(rest)
    }

    /// Whether the holder is a resource with a canonical url: later versions have a name for all of
    /// them, and their definitions of extensions use it.
    fn is_canonical(&self, holder: &Holder<'_, 'w>) -> bool {
        let def = self.schema.get(holder.node.type_id);
        holder.parent.is_none() && def.field("url").is_some() && def.field("status").is_some()
    }

    /// Checks that the extensions inside one are those that its definition names: a plain name
    /// means nothing outside of it.
    ///
    /// <https://hl7.org/fhir/R4/defining-extensions.html>
    fn inner_names(&mut self, profile: &Profile, node: &Node<'w>, place: &Place<'_>) {
        let mut children = profile.rules.children.iter();
        let slicing = children.find(|child| &*child.name == "extension");
        let Some(slicing) = slicing.and_then(|child| child.slicing.as_ref()) else { return };
        let tests = slicing.slices.iter().flat_map(|slice| &slice.tests);
        let names: Vec<&str> = tests.filter_map(|test| test.fixed.as_ref()?.as_str()).collect();
        // Slices that are told apart by something else name nothing.
        if names.len() < slicing.slices.len() {
            return;
        }
        let list = place.child("extension");
        for (index, inner) in node.value.items_at("extension").iter().enumerate() {
            let Some(url) = inner.str_at("url").filter(|url| !url.contains(':')) else { continue };
            if !names.contains(&url) {
                let by = By { profile: Some(&profile.canonical), slice: None };
                let rule = format_args!("the definition has no inner extension of this name");
                let code = IssueCode::Extension;
                self.findings.add(Severity::Error, code, &list.at(index), rule, by);
            }
        }
    }

    /// Whether an expression on the resource selects the holder.
    fn is_selected(&mut self, text: &str, holder: &Holder<'_, 'w>, place: &Place<'_>) -> bool {
        let selector = self.validator.compiled.constraints.plain(text);
        let Ok(expression) = &selector.expression else { return true };
        let asked = self.asked();
        let environment = Environment::new(self.scope.resource, self.schema)
            .with_root(self.scope.root)
            .with_time(self.options.expression_time)
            .with_knowledge(&asked);
        let mut steps = self.steps;
        let found = expression.evaluate_within(environment.resource(), &environment, &mut steps);
        let before = std::mem::replace(&mut self.steps, steps);
        self.pay_for(&asked, before, place);
        if let Err(fault) = &found {
            self.is_ended(fault, place);
        }
        if !self.pay(1, place) {
            return true;
        }
        let is_it = |item: &Item<'_>| {
            item.node().is_some_and(|node| {
                let is_primitive =
                    matches!(self.schema.get(node.type_id).kind, TypeKind::Primitive(_));
                std::ptr::eq(node.value, holder.node.value)
                    || (is_primitive && same_sibling(node, &holder.node))
            })
        };
        // What cannot be evaluated forbids nothing.
        found.map_or(true, |items| items.iter().any(is_it))
    }
}

fn same_sibling(left: &Node<'_>, right: &Node<'_>) -> bool {
    match (left.sibling, right.sibling) {
        (Some(left), Some(right)) => std::ptr::eq(left, right),
        _ => false,
    }
}
