//! The walk over a whole document by the base definitions.
//!
//! Each element is looked at once; where the base definitions ask nothing beside the form, looking
//! is all it costs.
//!
//! Spec: <https://hl7.org/fhir/R4/validation.html>

use std::sync::Arc;

use crate::fhir::json::{Limits, Object, Value};
use crate::fhir::schema::{Field, FieldType, TypeId, TypeKind};
use crate::fhir::{Entries, IssueCode, Severity};
use crate::fhirpath::Node;
use crate::validate::place::Place;

use super::Claim;
use super::conform::NOTHING;
use super::extension::Holder;
use super::findings::By;
use super::rules::Checks;
use super::walk::Walk;

/// One element of an object: its definition and its JSON.
#[derive(Clone, Copy)]
struct Part<'w> {
    field: &'w Field,
    variant: &'w FieldType,
    checks: Option<&'w Checks>,
    value: Option<&'w Value<'w>>,
    sibling: Option<&'w Value<'w>>,
}

impl<'w> Walk<'w> {
    /// Judges a document, which is a resource, by the base definitions, `profiles`, and its claims.
    pub(super) fn document(&mut self, document: &'w Value<'w>, profiles: &[&str]) {
        let named = document.str_at("resourceType").and_then(|name| self.schema.by_name(name));
        // Form says what is wrong with another.
        let Some(type_id) = named.filter(|&id| self.schema.get(id).kind == TypeKind::Resource)
        else {
            return;
        };
        let node = Node { value: document, sibling: None, type_id };
        let place = Place::root(self.name(type_id));
        self.resource(&node, profiles, &place);
    }

    fn resource(&mut self, node: &Node<'w>, profiles: &[&str], place: &Place<'_>) {
        let scope = self.enter(node);
        let entries = self.entries.clone();
        if self.name(node.type_id) == "Bundle" {
            self.entries = Some(Arc::new(Entries::new(node.value)));
            self.bundle(node.value, place);
        }
        match self.name(node.type_id) {
            "OperationDefinition" => self.operation_definition(node.value, place),
            "Questionnaire" => self.conditions(node.value, place),
            "QuestionnaireResponse" => self.response(node.value, place),
            "StructureDefinition" => self.structure_definition(node.value, place),
            _ => {}
        }
        let ids = std::mem::take(&mut self.ids);
        let holder = Holder { node: *node, parent: None, field: "", key: "", owner: node.type_id };
        self.element(&holder, place);
        self.narrative_links(node.value, place);
        for canonical in profiles {
            match self.validator.profile(canonical) {
                Ok(profile) => self.apply(&profile, node, place),
                Err(fault) => {
                    let rule = format_args!("the profile cannot be used: {fault}");
                    let by = By::default();
                    self.findings.add(Severity::Error, IssueCode::NotFound, place, rule, by);
                }
            }
        }
        self.claims(node, place);
        self.ids = ids;
        self.entries = entries;
        self.scope = scope;
    }

    /// Judges a resource by the profiles that it claims.
    fn claims(&mut self, node: &Node<'w>, place: &Place<'_>) {
        let meta = place.child("meta");
        let profiles = meta.child("profile");
        let claimed = node.value.get("meta").map_or(&[][..], |meta| meta.items_at("profile"));
        let claimed = claimed.iter().enumerate();
        let claimed = claimed.filter_map(|(index, it)| Some((it.as_str()?, profiles.at(index))));
        // What a guide asks of all resources of a type is as good as claimed.
        let globals = self.validator.library.globals(self.name(node.type_id)).iter();
        let globals = globals.map(|canonical| (&**canonical, *place));
        for (canonical, at) in claimed.chain(globals) {
            let worst = match (self.options.claims)(canonical) {
                Claim::Enforce => Severity::Fatal,
                Claim::Ignore => continue,
                Claim::Warn => Severity::Warning,
            };
            if self.is_over() || !self.pay(1, place) {
                return;
            }
            let unknown = self.options.unknown_claim;
            if !self.findings.wants(worst.max(Severity::Error)) && !self.findings.wants(unknown) {
                continue;
            }
            match self.validator.profile(canonical) {
                Ok(profile) => {
                    let outer = std::mem::replace(&mut self.findings.worst, worst);
                    if self.findings.wants(Severity::Error) {
                        self.apply(&profile, node, place);
                    }
                    self.findings.worst = outer;
                }
                Err(fault) => {
                    let rule = format_args!("the profile is not checked: {fault}");
                    let (code, by) = (IssueCode::NotFound, By::default());
                    self.findings.add(unknown, code, &at, rule, by);
                }
            }
        }
    }

    /// Judges an element with elements: its own rules, then theirs.
    fn element(&mut self, holder: &Holder<'_, 'w>, place: &Place<'_>) {
        if self.is_over() || place.depth() > Limits::default().depth {
            return;
        }
        let node = &holder.node;
        let Some(base) = self.validator.base(node.type_id) else { return };
        for constraint in &base.own {
            self.constraint(constraint, node, place, By::default());
        }
        let object = node.value.as_object().or_else(|| node.sibling?.as_object());
        let Some(object) = object else { return };
        let type_id = match self.schema.get(node.type_id).kind {
            TypeKind::Primitive(_) => self.schema.by_name("Element").unwrap_or(node.type_id),
            _ => node.type_id,
        };
        self.parts(type_id, object, holder, place);
    }

    fn parts(
        &mut self,
        type_id: TypeId,
        object: &'w Object<'w>,
        holder: &Holder<'_, 'w>,
        place: &Place<'_>,
    ) {
        let def = self.schema.get(type_id);
        let base = self.validator.base(type_id);
        let is_strict = self.is_strict();
        let has_siblings = object.iter().any(|(key, _)| key.starts_with('_'));
        for (key, value) in object.iter() {
            let plain = key.strip_prefix('_').unwrap_or(key);
            let is_sibling = plain.len() < key.len();
            if is_sibling && object.contains(plain) {
                continue;
            }
            let Some((at, which)) = def.position(plain) else { continue };
            let (Some(field), checks) =
                (def.fields.get(at), base.and_then(|base| base.fields.get(at)))
            else {
                continue;
            };
            let Some(variant) = field.types.get(which) else { continue };
            // Those of element definitions name elements: once in each view, of which there are two.
            if plain == "id" && def.kind != TypeKind::Resource && &*def.name != "ElementDefinition"
            {
                self.id(value, place);
            }
            let beside = (has_siblings && !is_sibling).then(|| object.get(&format!("_{plain}")));
            let part = Part {
                field,
                variant,
                checks: checks.filter(|checks| !checks.is_empty()),
                value: (!is_sibling).then_some(value),
                sibling: if is_sibling { Some(value) } else { beside.flatten() },
            };
            let is_leaf = !matches!(
                self.schema.get(variant.type_id).kind,
                TypeKind::Backbone | TypeKind::Complex | TypeKind::Resource
            );
            if is_leaf && part.checks.is_none() && part.sibling.is_none() && !is_strict {
                continue;
            }
            if self.is_over() {
                return;
            }
            self.part(part, type_id, holder, &place.child(&field.name));
        }
    }

    /// Checks that the id of an element stands once in its resource.
    ///
    /// <https://hl7.org/fhir/R4/element-definitions.html#Element.id>
    fn id(&mut self, value: &'w Value<'w>, place: &Place<'_>) {
        let Some(id) = value.as_str() else { return };
        if !self.ids.insert(id) {
            let rule = format_args!("another element of the resource has this id");
            let (severity, code) = (Severity::Error, IssueCode::Duplicate);
            self.findings.add(severity, code, &place.child("id"), rule, By::default());
        }
    }

    fn part(&mut self, part: Part<'w>, owner: TypeId, holder: &Holder<'_, 'w>, place: &Place<'_>) {
        let values = part.value.and_then(Value::as_array);
        let siblings = part.sibling.and_then(Value::as_array);
        if values.is_none() && siblings.is_none() {
            self.one(part, owner, holder, place);
            return;
        }
        let (values, siblings) = (values.unwrap_or(&[]), siblings.unwrap_or(&[]));
        for index in 0..values.len().max(siblings.len()) {
            let (value, sibling) = (values.get(index), siblings.get(index));
            self.one(Part { value, sibling, ..part }, owner, holder, &place.at(index));
        }
    }

    /// Judges one value of an element.
    fn one(&mut self, part: Part<'w>, owner: TypeId, holder: &Holder<'_, 'w>, place: &Place<'_>) {
        let value = part.value.filter(|value| **value != Value::Null);
        let sibling = part.sibling.filter(|sibling| sibling.as_object().is_some());
        if (value.is_none() && sibling.is_none()) || !self.pay(1, place) {
            return;
        }
        let value = value.unwrap_or(&NOTHING);
        let node = Node { value, sibling, type_id: part.variant.type_id };
        if let Some(checks) = part.checks {
            self.checks(checks, &node, place, By::default());
        }
        let own = Holder {
            node,
            parent: Some(holder),
            field: &part.field.name,
            key: &part.variant.key,
            owner,
        };
        let kind = self.schema.get(node.type_id).kind;
        if matches!(kind, TypeKind::Primitive(_)) && self.is_strict() {
            self.text_or_url(value, node.type_id, place);
        }
        match kind {
            TypeKind::Resource => {
                let node = Node::new(value, node.type_id, self.schema);
                if !self.schema.get(node.type_id).is_abstract {
                    self.resource(&node, &[], place);
                }
            }
            TypeKind::Backbone | TypeKind::Complex => {
                if let name @ ("extension" | "modifierExtension") = &*part.field.name {
                    self.extension(&node, holder, name == "modifierExtension", place);
                }
                match self.name(node.type_id) {
                    "Attachment" => self.attachment(value, place),
                    "Reference" if self.entries.is_some() => self.entry_type(value, place),
                    _ => {}
                }
                self.element(&own, place);
            }
            TypeKind::Primitive(_) if sibling.is_some() => self.element(&own, place),
            TypeKind::Primitive(_) | TypeKind::Xhtml => {}
        }
    }
}
