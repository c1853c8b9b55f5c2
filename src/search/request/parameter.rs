//! A parameter of the types that are searched.

use crate::fhir::ResourceType;
use crate::search::extract::{Extractor, Shape};
use crate::spec::search_parameter::{Progress, SearchType};

use super::ParameterKey;
use super::criterion::Refusal;
use super::fault::{Reason, clip};

/// A parameter that each of several types has, with what it looks at in all of them.
#[derive(Debug)]
pub(super) struct Parameter<'e> {
    pub(super) code: Box<str>,
    /// In the order of the types.
    pub(super) keys: Vec<ParameterKey>,
    pub(super) search_type: SearchType,
    /// Whether FHIR itself defines it for all of the types.
    pub(super) is_core: bool,
    first: Shape<'e>,
    /// One, or one for each part of a composite.
    shapes: Vec<Shape<'e>>,
}

impl<'e> Parameter<'e> {
    /// The parameter `code` of all these types.
    pub(super) fn find(
        extractor: &'e Extractor,
        types: &[ResourceType],
        code: &str,
    ) -> Result<Self, Refusal> {
        let mut found: Option<Self> = None;
        let mut lacking = None;
        for &resource_type in types {
            let Some(parameter) = extractor.parameter(resource_type, code) else {
                lacking = lacking.or(Some(resource_type));
                continue;
            };
            if let Some(progress) = parameter.progress() {
                return Err(Refusal::Unknown(being_built(resource_type, code, progress).into()));
            }
            let key = ParameterKey { resource_type, code: code.into() };
            let shapes = parameter.shapes();
            match &mut found {
                None => {
                    let Some(first) = shapes.first().cloned() else { continue };
                    let search_type = parameter.search_type;
                    let (code, keys) = (code.into(), vec![key]);
                    let is_core = parameter.custom.is_none();
                    found = Some(Self { code, keys, search_type, is_core, first, shapes });
                }
                Some(found) => {
                    found.is_core &= parameter.custom.is_none();
                    found.add(key, parameter.search_type, &shapes)?;
                }
            }
        }
        match (found, lacking) {
            (Some(found), None) => Ok(found),
            (Some(_), Some(lacking)) => {
                Err(Refusal::Partial(format!("{lacking} has no such parameter").into()))
            }
            (None, _) => Err(Refusal::Unknown(unknown(types, code).into())),
        }
    }

    fn add(
        &mut self,
        key: ParameterKey,
        search_type: SearchType,
        shapes: &[Shape<'e>],
    ) -> Result<(), Refusal> {
        let parts = |shapes: &[Shape<'_>]| -> Vec<SearchType> {
            shapes.iter().map(|shape| shape.search_type).collect()
        };
        if self.search_type != search_type || parts(&self.shapes) != parts(shapes) {
            let (one, other) = (self.search_type.as_str(), search_type.as_str());
            let text = match self.keys.first() {
                Some(first) => format!(
                    "is a {one} for {} and a {other} for {}: search them one by one",
                    first.resource_type, key.resource_type
                ),
                None => format!("is no {other}"),
            };
            return Err(Reason::name(text).into());
        }
        for (shape, more) in self.shapes.iter_mut().zip(shapes) {
            shape.add(more);
        }
        self.first.add(&shapes[0]);
        self.keys.push(key);
        Ok(())
    }

    /// What it looks at; of a composite, its first part.
    pub(super) fn shape(&self) -> &Shape<'e> {
        &self.first
    }

    /// What it looks at: one, or one for each part of a composite.
    pub(super) fn shapes(&self) -> &[Shape<'e>] {
        &self.shapes
    }

    /// The types that a reference may lead to.
    pub(super) fn targets(&self) -> Vec<ResourceType> {
        let targets = &self.first.targets;
        if targets.is_empty() { ResourceType::all().collect() } else { targets.clone() }
    }

    /// Whether a reference may lead to this type.
    pub(super) fn may_lead_to(&self, target: ResourceType) -> bool {
        self.first.targets.is_empty() || self.first.targets.contains(&target)
    }
}

fn being_built(of: ResourceType, code: &str, progress: &Progress) -> String {
    match progress.get() {
        (_, 0) => format!("{of}.{code} is being built: its resources are not counted yet"),
        (done, total) => {
            format!("{of}.{code} is being built: {done} of {total} resources are done")
        }
    }
}

fn unknown(types: &[ResourceType], code: &str) -> String {
    match types {
        [only] => format!("{only} has no search parameter {:?}", clip(code)),
        _ => format!("the types that are searched have no parameter {:?}", clip(code)),
    }
}
