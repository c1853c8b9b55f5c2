//! What a query must know of extraction to ask for what the rows hold.

use std::borrow::Cow;
use std::sync::Arc;

use crate::fhir::ResourceType;
use crate::fhir::datetime::Zone;
use crate::search::values::quantity::Units;
use crate::search::values::token::Case;
use crate::spec::Spec;
use crate::spec::search_parameter::{Progress, SearchParameters, SearchType};

use super::Extractor;
use super::emit::Comparison;
use super::kind::Kind;
use super::path::Path;
use super::plan::{Parameter, Plan, Source};

/// What a parameter, or one part of a composite, looks at.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::search) struct Shape<'p> {
    pub(in crate::search) search_type: SearchType,
    /// The types that a reference may point to, sorted; empty = any.
    pub(in crate::search) targets: Vec<ResourceType>,
    pub(in crate::search) is_phonetic: bool,
    /// The kinds of its elements, each with the system that its definition implies; `None` where
    /// only evaluation tells.
    pub(in crate::search) elements: Option<Vec<(Kind, Option<&'p str>)>>,
}

impl Extractor {
    /// The definitions.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// All search parameters, with those beside FHIR's own.
    pub fn search_parameters(&self) -> &SearchParameters {
        &self.search_parameters
    }

    /// The server's public FHIR base without a trailing slash.
    pub fn base(&self) -> &str {
        &self.rules.base
    }

    /// How units convert.
    pub fn units(&self) -> &dyn Units {
        &*self.rules.units
    }

    /// The zone of dates that name none.
    pub fn zone(&self) -> Zone {
        self.rules.zone
    }

    /// Whether the case of the codes of a system counts.
    pub fn case(&self, system: Option<&str>) -> Case {
        self.rules.case(system)
    }

    /// The parameter `code` of a type.
    pub fn parameter(&self, resource_type: ResourceType, code: &str) -> Option<&Parameter> {
        self.parameters(resource_type).get(usize::from(self.place(resource_type, code)?))
    }
}

impl Parameter {
    /// Whether its values are how names sound.
    pub fn is_phonetic(&self) -> bool {
        matches!(&self.plan, Plan::Values(_, comparison) if comparison.is_phonetic)
    }

    /// What it is told apart by from every other parameter of its type, at any time.
    pub fn key(&self) -> Cow<'_, str> {
        match &self.custom {
            None => Cow::Borrowed(&*self.code),
            Some(custom) => format!("{}#{}", self.code, custom.generation).into(),
        }
    }

    /// Whether it is one of FHIR's own.
    pub fn is_core(&self) -> bool {
        self.custom.is_none()
    }

    /// Whether it is a composite of which one row has all parts: one beside FHIR's own, which may have any.
    pub fn is_together(&self) -> bool {
        self.custom.is_some() && self.search_type == SearchType::Composite
    }

    /// How far its index is; `None`: it has all.
    pub fn progress(&self) -> Option<&Progress> {
        self.custom.as_ref()?.progress.as_deref()
    }

    /// What it looks at: one shape, or one for each part of a composite.
    pub(in crate::search) fn shapes(&self) -> Vec<Shape<'_>> {
        match &self.plan {
            Plan::Values(source, comparison) => vec![Shape::of(source, comparison)],
            Plan::Composite(arms) => {
                let mut arms = arms.iter().map(|arm| arm.parts.iter());
                let shapes = arms.next().into_iter().flatten();
                let mut shapes: Vec<_> = shapes.map(|(of, how)| Shape::of(of, how)).collect();
                for arm in arms {
                    for (shape, (source, comparison)) in shapes.iter_mut().zip(arm) {
                        shape.add(&Shape::of(source, comparison));
                    }
                }
                shapes
            }
        }
    }
}

impl<'p> Shape<'p> {
    fn of(source: &'p Source, comparison: &Comparison) -> Self {
        let elements = match source {
            Source::General(_) => None,
            Source::Paths(paths) => {
                let leaves = paths.iter().flat_map(Path::leaves);
                let mut found = Vec::new();
                for element in leaves.map(|leaf| (leaf.kind, leaf.system.as_deref())) {
                    if !found.contains(&element) {
                        found.push(element);
                    }
                }
                Some(found)
            }
        };
        let mut targets = comparison.targets.clone();
        targets.sort_unstable();
        Self {
            search_type: comparison.search_type,
            targets,
            is_phonetic: comparison.is_phonetic,
            elements,
        }
    }

    /// Makes it look at what `other` looks at too.
    pub(in crate::search) fn add(&mut self, other: &Self) {
        if other.targets.is_empty() {
            self.targets.clear();
        } else if !self.targets.is_empty() {
            self.targets.extend_from_slice(&other.targets);
            self.targets.sort_unstable();
            self.targets.dedup();
        }
        match (&mut self.elements, &other.elements) {
            (Some(elements), Some(more)) => {
                for element in more {
                    if !elements.contains(element) {
                        elements.push(*element);
                    }
                }
            }
            _ => self.elements = None,
        }
    }

    /// Whether elements of this kind may be among those that it looks at.
    pub(in crate::search) fn may_be(&self, kind: Kind) -> bool {
        self.elements.as_ref().is_none_or(|known| known.iter().any(|(of, _)| *of == kind))
    }

    /// Whether it looks at nothing but elements of these kinds.
    pub(in crate::search) fn is_only(&self, kinds: &[Kind]) -> bool {
        let known = self.elements.as_ref().filter(|known| !known.is_empty());
        known.is_some_and(|known| known.iter().all(|(of, _)| kinds.contains(of)))
    }
}
