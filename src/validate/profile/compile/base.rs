//! The base definitions: what they ask of a type's values and of its elements, beside their form.
//!
//! By the numbers of the element table, because a walk over a whole document asks for each element.
//!
//! Spec: <https://hl7.org/fhir/R4/elementdefinition.html>

use std::sync::Arc;

use crate::fhir::schema::{Field, TypeDef, TypeId, TypeKind};
use crate::spec::structure::Element;

use super::super::rules::{Checks, Constraint};
use super::{Compiler, Known};

/// What the base definition of one type asks.
#[derive(Debug, Default)]
pub(in super::super) struct TypeChecks {
    /// Of a value of the type.
    pub(in super::super) own: Vec<Arc<Constraint>>,
    /// Of the values of each of its elements, in the order of the element table.
    pub(in super::super) fields: Vec<Checks>,
}

impl Compiler<'_> {
    /// The checks of a type or group of elements.
    pub(in super::super) fn type_checks(&self, type_id: TypeId) -> TypeChecks {
        let def = self.schema.get(type_id);
        let type_name = def.name.split('.').next().unwrap_or_default();
        let Ok(structure) = self.library.structure_of_type(type_name) else {
            return TypeChecks::default();
        };
        let at = |path: &str| {
            let is_it = |it: &&Element| *it.path == *path && it.slice_name.is_none();
            structure.elements.iter().find(is_it)
        };
        let nothing = Known { base: None, sliced: None };
        let own = at(&def.name).map(|element| self.checks(element, type_id, &nothing).constraints);
        let fields = def.fields.iter().map(|field| {
            let choice = if field.is_choice { "[x]" } else { "" };
            let element = at(&format!("{}.{}{choice}", def.name, field.name));
            element.map_or_else(Checks::default, |element| self.field_checks(element, def, field))
        });
        TypeChecks { own: own.unwrap_or_default(), fields: fields.collect() }
    }

    fn field_checks(&self, element: &Element, def: &TypeDef, field: &Field) -> Checks {
        let inner = field.types.first().map_or(TypeId(0), |variant| variant.type_id);
        let mut checks = self.checks(element, inner, &Known { base: None, sliced: None });
        let is_group = self.schema.get(inner).kind == TypeKind::Backbone;
        if is_group {
            // They belong to the group: whoever refers to its content has them too.
            checks.constraints.clear();
        }
        // Form knows the types and their targets; profiles on them are news.
        let has_profile = checks.types.iter().any(|of| !of.profiles.is_empty());
        let is_open = matches!(&*field.name, "extension" | "modifierExtension");
        if !has_profile || is_open || &*def.name == "Element" {
            checks.types.clear();
        }
        for of in &mut checks.types {
            of.targets.clear();
            of.regex = None;
        }
        checks
    }
}
