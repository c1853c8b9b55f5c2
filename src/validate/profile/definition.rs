//! What a StructureDefinition asks beside its invariants: it can be used, its rules can be read, profiles
//! are of the types they are named for, and what tells slices apart is there.
//!
//! Spec: <https://hl7.org/fhir/R4/elementdefinition.html>, rest 7.74

use crate::fhir::json::Value;
use crate::fhir::schema::{TypeId, TypeKind};
use crate::fhir::{IssueCode, Severity};
use crate::fhirpath::Expression;
use crate::spec::structure::StructureFault;
use crate::validate::place::Place;

use super::findings::By;
use super::walk::Walk;

/// What it costs to look a profile up, whose snapshot may have to be made.
const LOOKING_UP: u64 = 1_000;
/// What it costs to make a snapshot, and for each element that is told of.
const MAKING: u64 = 50_000;
const AN_ELEMENT: u64 = 1_000;

impl<'w> Walk<'w> {
    /// Checks the elements that a definition speaks of.
    pub(super) fn structure_definition(&mut self, definition: &'w Value<'w>, place: &Place<'_>) {
        self.usable(definition, place);
        for view in ["differential", "snapshot"] {
            let Some(elements) = definition.get(view).map(|it| it.items_at("element")) else {
                continue;
            };
            let view = place.child(view);
            let list = view.child("element");
            for (index, element) in elements.iter().enumerate() {
                if self.is_over() || !self.pay(1, place) {
                    return;
                }
                let at = list.at(index);
                self.types_of(element, &at);
                self.discriminators(element, &at);
                self.expressions(element, &at);
            }
        }
    }

    /// Checks that the definition could take part: nothing else can be told of it before it does. What
    /// it needs and is not here may come later.
    fn usable(&mut self, definition: &'w Value<'w>, place: &Place<'_>) {
        let elements = definition.get("differential").map_or(&[][..], |it| it.items_at("element"));
        let count = u64::try_from(elements.len()).unwrap_or(u64::MAX);
        if !self.pay(MAKING.saturating_add(AN_ELEMENT.saturating_mul(count)), place) {
            return;
        }
        let Some(fault) = self.validator.library.fault(definition) else { return };
        let (severity, code) = match &fault {
            StructureFault::Unreadable(_) => return,
            StructureFault::Unknown(_) | StructureFault::UnknownBase { .. } => {
                (Severity::Warning, IssueCode::NotFound)
            }
            _ => (Severity::Error, IssueCode::BusinessRule),
        };
        let id = if let StructureFault::UnknownPath { path, .. } = &fault { path } else { "" };
        let is_it = |element: &Value<'_>| {
            element.str_at("id").or_else(|| element.str_at("path")) == Some(id)
        };
        let (view, rule) = (place.child("differential"), format_args!("{fault}"));
        match elements.iter().position(is_it) {
            Some(at) => {
                let place = view.child("element");
                self.findings.add(severity, code, &place.at(at), rule, By::default());
            }
            None => self.findings.add(severity, code, place, rule, By::default()),
        }
    }

    /// Checks that the expressions of invariants can be read.
    fn expressions(&mut self, element: &'w Value<'w>, place: &Place<'_>) {
        let list = place.child("constraint");
        for (index, constraint) in element.items_at("constraint").iter().enumerate() {
            let Some(text) = constraint.str_at("expression") else { continue };
            if !self.pay(u64::try_from(text.len()).unwrap_or(u64::MAX), place) {
                return;
            }
            let at = list.at(index);
            let (place, by) = (at.child("expression"), By::default());
            match Expression::parse(text) {
                Err(error) => {
                    let rule = format_args!("the expression cannot be read: {error}");
                    self.findings.add(Severity::Error, IssueCode::Invalid, &place, rule, by);
                }
                Ok(expression) => {
                    for name in expression.unsupported() {
                        let rule =
                            format_args!("{name}() is not supported: nobody checks the rule");
                        let code = IssueCode::NotSupported;
                        self.findings.add(Severity::Warning, code, &place, rule, by);
                    }
                }
            }
        }
    }

    /// Checks that the profiles on the types of an element are of these types.
    fn types_of(&mut self, element: &'w Value<'w>, place: &Place<'_>) {
        let list = place.child("type");
        for (index, of) in element.items_at("type").iter().enumerate() {
            let Some(code) = of.str_at("code").and_then(|code| self.schema.by_name(code)) else {
                continue;
            };
            let at = list.at(index);
            let profiles = at.child("profile");
            for (index, profile) in of.items_at("profile").iter().enumerate() {
                // With a fragment it is an element of the profile that counts.
                let Some(canonical) = profile.as_str().filter(|it| !it.contains('#')) else {
                    continue;
                };
                if !self.pay(LOOKING_UP, place) {
                    return;
                }
                let Ok(structure) = self.validator.library.structure(canonical) else { continue };
                let known = self.schema.by_name(&structure.type_name);
                if known.is_some_and(|known| !self.may_be(known, code)) {
                    let (is, wanted) = (&structure.type_name, self.name(code));
                    let rule = format_args!("the profile is for {is}, and the type is {wanted}");
                    let (severity, code) = (Severity::Error, IssueCode::BusinessRule);
                    let by = By::default();
                    self.findings.add(severity, code, &profiles.at(index), rule, by);
                }
            }
        }
    }

    /// Whether a profile on the type `of` may stand where the type `code` is named.
    fn may_be(&self, of: TypeId, code: TypeId) -> bool {
        let is_resource = self.schema.get(code).kind == TypeKind::Resource;
        of == code || (is_resource && (self.schema.is_a(of, code) || self.schema.is_a(code, of)))
    }

    /// Checks that the paths of discriminators lead to elements.
    fn discriminators(&mut self, element: &'w Value<'w>, place: &Place<'_>) {
        let Some(slicing) = element.get("slicing") else { return };
        let Some(of) = element.str_at("path").and_then(|path| self.type_at(path)) else { return };
        let slicing_place = place.child("slicing");
        let list = slicing_place.child("discriminator");
        for (index, discriminator) in slicing.items_at("discriminator").iter().enumerate() {
            let Some(path) = discriminator.str_at("path") else { continue };
            if !self.leads_somewhere(of, path) {
                let is = self.name(of);
                let rule = format_args!("the path leads to no element of {is}");
                let (severity, code) = (Severity::Error, IssueCode::BusinessRule);
                self.findings.add(severity, code, &list.at(index), rule, By::default());
            }
        }
    }

    /// The type of an element, where there is one alone.
    fn type_at(&self, path: &str) -> Option<TypeId> {
        let mut names = path.split('.');
        let mut at = self.schema.by_name(names.next()?)?;
        for name in names {
            let field = self.schema.get(at).field(name.strip_suffix("[x]").unwrap_or(name))?;
            let [only] = field.types.as_slice() else { return None };
            at = only.type_id;
        }
        Some(at)
    }

    /// Whether a discriminator's path leads to something, as far as that can be told.
    fn leads_somewhere(&self, from: TypeId, path: &str) -> bool {
        let mut at = from;
        for name in path.split('.').filter(|name| *name != "$this" && !name.is_empty()) {
            let def = self.schema.get(at);
            let is_known = matches!(def.kind, TypeKind::Backbone | TypeKind::Complex)
                || (def.kind == TypeKind::Resource && !def.is_abstract);
            // Functions lead to what another definition tells, as do elements of any type.
            if !is_known || def.is_abstract || name.contains('(') {
                return true;
            }
            let plain = name.strip_suffix("[x]").unwrap_or(name);
            match def.field(plain) {
                Some(field) => match field.types.as_slice() {
                    [only] => at = only.type_id,
                    _ => return true,
                },
                None => return def.key(plain).is_some(),
            }
        }
        true
    }
}
