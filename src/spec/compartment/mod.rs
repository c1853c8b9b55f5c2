//! Compartments: which resources belong to which patient, encounter, device or practitioner.
//!
//! The parameters that a CompartmentDefinition lists are compiled at load to plain element
//! paths (`path`), because every write walks them. A parameter that does not compile fails
//! the load: to drop one silently would hide resources from, or show them to, the wrong people.
//!
//! Layer: 1. Imports `fhir`.
//!
//! Spec: <https://hl7.org/fhir/R4/compartmentdefinition.html>

mod path;

use thiserror::Error;

use crate::fhir::json::Value;
use crate::fhir::reference::Target;
use crate::fhir::schema::Schema;
use crate::fhir::{LogicalId, ResourceType};

use super::package::{Pack, PackError, Section};
use super::search_parameter::SearchParameters;

use path::Path;
pub use path::PathError;

/// The parameter that means the resource itself.
const SELF: &str = "{def}";

/// Why a compartment cannot be loaded.
#[derive(Debug, Error)]
pub enum CompartmentError {
    /// The definition names a resource type that R4 does not have.
    #[error("compartment definition names the unknown type {0:?}")]
    ResourceType(String),
    /// The pack cannot be read.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The definition names a parameter that the type does not have.
    #[error(
        "compartment {compartment}: {resource_type} has no parameter {code:?} with an expression"
    )]
    Parameter {
        /// The compartment.
        compartment: ResourceType,
        /// The type in it.
        resource_type: ResourceType,
        /// The unknown parameter.
        code: String,
    },
    /// A parameter's expression is no plain path to a reference.
    #[error("compartment {compartment}: parameter {resource_type}.{code}")]
    Path {
        /// The compartment.
        compartment: ResourceType,
        /// The type in it.
        resource_type: ResourceType,
        /// The parameter.
        code: String,
        /// What does not fit.
        source: PathError,
    },
}

/// The membership of one type of resource.
#[derive(Debug, Default)]
struct Membership {
    is_listed: bool,
    parameters: Vec<Box<str>>,
    paths: Vec<Path>,
}

/// One compartment definition.
#[derive(Debug)]
pub struct Compartment {
    /// The type that a compartment of this kind is built around.
    pub code: ResourceType,
    /// The definition's canonical url.
    pub url: Box<str>,
    /// By the place of the type in [`ResourceType::all`].
    members: Vec<Membership>,
}

impl Compartment {
    /// The search parameters of `resource_type` that put it into the compartment; empty when the
    /// type is never in one (or only the resource at its centre is).
    pub fn parameters(&self, resource_type: ResourceType) -> &[Box<str>] {
        self.member(resource_type).map_or(&[], |member| &member.parameters)
    }

    /// The types that can be in the compartment, in the order of their names.
    pub fn resource_types(&self) -> impl Iterator<Item = ResourceType> {
        ResourceType::all()
            .filter(|&of| of == self.code || self.member(of).is_some_and(|member| member.is_listed))
    }

    /// Ids of the compartments of this kind that the resource is in: sorted, each once.
    ///
    /// A resource of the compartment's own type is in its own, by the `id` it has. `base` is
    /// the server's public FHIR base without a trailing slash: absolute references under it
    /// count, and so does what names a version or a place in the resource. References by identifier
    /// alone, to contained resources and to other servers do not.
    pub fn ids(
        &self,
        resource_type: ResourceType,
        value: &Value<'_>,
        base: &str,
    ) -> Vec<LogicalId> {
        let mut ids = Vec::new();
        if resource_type == self.code {
            ids.extend(value.str_at("id").and_then(|id| id.parse().ok()));
        }
        let paths = self.member(resource_type).map_or(&[][..], |member| &member.paths);
        for path in paths {
            path.walk(value, &mut |reference| {
                let text = reference.str_at("reference").unwrap_or_default();
                if let Target::Local { resource_type, id, .. } = Target::parse(text, base)
                    && resource_type == self.code
                {
                    ids.push(id);
                }
            });
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The properties of a resource of the type that membership is read from, beside its id.
    pub fn properties(&self, resource_type: ResourceType) -> impl Iterator<Item = &str> {
        let paths = self.member(resource_type).map_or(&[][..], |member| &member.paths);
        paths.iter().filter_map(Path::first)
    }

    fn member(&self, resource_type: ResourceType) -> Option<&Membership> {
        self.members.get(usize::try_from(resource_type.code() - 1).ok()?)
    }
}

/// The compartments that the pack defines, in the order of their codes.
///
/// FHIR's own package has an example beside the real Device compartment; of two definitions
/// with one code the one called like its code is taken.
///
/// # Errors
/// [`CompartmentError`] when a definition names what is not there or cannot be compiled.
pub fn load(
    pack: &Pack<'_>,
    schema: &Schema,
    search_parameters: &SearchParameters,
) -> Result<Vec<Compartment>, CompartmentError> {
    let mut found: Vec<Compartment> = Vec::new();
    let records = pack.records(Section::Compartments)?;
    for record in records.iter() {
        let record = record?;
        let url = record.str_at("url").unwrap_or_default();
        let code = resource_type(record.str_at("code").unwrap_or_default())?;
        let is_namesake = url.rsplit('/').next() == Some(&code.as_str().to_lowercase());
        let earlier = found.iter().position(|compartment| compartment.code == code);
        if let (Some(_), false) = (earlier, is_namesake) {
            continue;
        }
        let members = members(code, &record, schema, search_parameters)?;
        found.retain(|compartment| compartment.code != code);
        found.push(Compartment { code, url: url.into(), members });
    }
    found.sort_by_key(|compartment| compartment.code);
    Ok(found)
}

fn members(
    compartment: ResourceType,
    record: &Value<'_>,
    schema: &Schema,
    search_parameters: &SearchParameters,
) -> Result<Vec<Membership>, CompartmentError> {
    let mut members: Vec<Membership> = ResourceType::all().map(|_| Membership::default()).collect();
    for listed in record.items_at("resource") {
        let of = resource_type(listed.str_at("code").unwrap_or_default())?;
        let codes = listed.items_at("param").iter().filter_map(Value::as_str);
        let Some(member) = usize::try_from(of.code() - 1).ok().and_then(|at| members.get_mut(at))
        else {
            continue;
        };
        for code in codes {
            member.is_listed = true;
            if code != SELF {
                let paths = compile(compartment, of, code, schema, search_parameters)?;
                member.parameters.push(code.into());
                member.paths.extend(paths);
            }
        }
        path::merge(&mut member.paths);
    }
    Ok(members)
}

fn compile(
    compartment: ResourceType,
    resource_type: ResourceType,
    code: &str,
    schema: &Schema,
    search_parameters: &SearchParameters,
) -> Result<Vec<Path>, CompartmentError> {
    let parameter = search_parameters.find(resource_type, code);
    let expression = parameter.and_then(|parameter| parameter.expression.as_deref());
    let expression = expression.ok_or_else(|| CompartmentError::Parameter {
        compartment,
        resource_type,
        code: code.to_owned(),
    })?;
    path::compile(expression, resource_type, compartment, schema).map_err(|source| {
        CompartmentError::Path { compartment, resource_type, code: code.to_owned(), source }
    })
}

fn resource_type(name: &str) -> Result<ResourceType, CompartmentError> {
    name.parse().map_err(|_| CompartmentError::ResourceType(name.to_owned()))
}

#[cfg(test)]
mod tests;
