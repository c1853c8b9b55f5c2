//! A search parameter of one type, compiled.

use std::sync::Arc;

use thiserror::Error;

use crate::fhir::ResourceType;
use crate::fhir::schema::TypeId;
use crate::fhirpath::{Expression, ParseError};
use crate::spec::Spec;
use crate::spec::codes::Codes;
use crate::spec::search_parameter::{Custom, SearchParameter, SearchParameters, SearchType};

use super::emit::Comparison;
use super::path::{self, Definitions, Path};
use super::{Type, view};

/// Date parameters by what a reader would sort the type by, best first.
const PRIMARY: [&str; 20] = [
    "authoredon",
    "date",
    "onset-date",
    "started",
    "effective-time",
    "effective",
    "whenhandedover",
    "collected",
    "sent",
    "authored",
    "authored-on",
    "recorded",
    "created",
    "start-date",
    "start",
    "identified",
    "datewritten",
    "datetime",
    "occurrence",
    "period",
];

/// Why a search parameter cannot be extracted.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PlanError {
    /// A part of a composite is of a parameter that nobody defines.
    #[error("{parameter}: the component {definition} is not defined")]
    Component {
        /// Canonical url of the composite.
        parameter: String,
        /// Canonical url of the part's parameter.
        definition: String,
    },
    /// The expression is no FHIRPath.
    #[error("{parameter}: {source}")]
    Expression {
        /// Canonical url of the parameter.
        parameter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The expression calls a function that there is not.
    #[error("{parameter}: the function {function}() is not supported")]
    Function {
        /// Canonical url of the parameter.
        parameter: String,
        /// The function.
        function: String,
    },
}

/// A search parameter of one type, ready to be extracted.
#[derive(Debug)]
pub struct Parameter {
    /// Its name in a query.
    pub code: Box<str>,
    /// Its canonical url.
    pub url: Box<str>,
    /// How its values compare.
    pub search_type: SearchType,
    /// What it has when it is not FHIR's own.
    pub custom: Option<Custom>,
    pub(super) plan: Plan,
}

#[derive(Debug)]
pub(super) enum Plan {
    /// Each arm with what its parts look at.
    Composite(Vec<Composite>),
    Values(Source, Comparison),
}

#[derive(Debug)]
pub(super) struct Composite {
    pub(super) focus: Source,
    pub(super) parts: Vec<(Source, Comparison)>,
}

/// Where values come from.
#[derive(Debug)]
pub(super) enum Source {
    General(Expression),
    Paths(Vec<Path>),
}

/// Makes the parameters of a type.
pub(super) struct Planner<'d> {
    pub(super) spec: &'d Spec,
    pub(super) codes: &'d Codes,
    /// FHIR's parameters, and what came beside them.
    pub(super) parameters: &'d SearchParameters,
    /// Whether plain paths are compiled; else all is left to the evaluator.
    pub(super) with_paths: bool,
}

impl Planner<'_> {
    /// All parameters of a type.
    pub(super) fn of_type(&self, of: ResourceType) -> Result<Arc<Type>, PlanError> {
        let mut parameters = Vec::new();
        if let Some(root) = self.spec.schema.by_name(of.as_str()) {
            for definition in self.parameters.of(of).filter(|it| !it.is_experimental) {
                parameters.extend(self.parameter(definition, root)?);
            }
        }
        let (primary, views) = (primary(&parameters), view::views(&parameters));
        Ok(Arc::new(Type { parameters, primary, views }))
    }

    /// The parameter for resources of the type `root`; `None` when it has no expression.
    fn parameter(
        &self,
        definition: &SearchParameter,
        root: TypeId,
    ) -> Result<Option<Parameter>, PlanError> {
        let Some(expression) = definition.expression.as_deref() else { return Ok(None) };
        let plan = if definition.search_type == SearchType::Composite {
            Plan::Composite(self.composite(definition, expression, root)?)
        } else {
            let source = self.source(definition, expression, Some(root))?;
            Plan::Values(source, comparison(definition))
        };
        Ok(Some(Parameter {
            code: definition.code.clone(),
            url: definition.url.clone(),
            search_type: definition.search_type,
            custom: definition.custom.clone(),
            plan,
        }))
    }

    /// One entry for each arm: the parts are compiled against the type that the arm ends at.
    fn composite(
        &self,
        definition: &SearchParameter,
        expression: &str,
        root: TypeId,
    ) -> Result<Vec<Composite>, PlanError> {
        let arms = match self.source(definition, expression, Some(root))? {
            Source::Paths(paths) => {
                paths.into_iter().map(|path| Source::Paths(vec![path])).collect()
            }
            general @ Source::General(_) => vec![general],
        };
        let composite = |focus: Source| {
            let focus_type = focus.only_type();
            let part = |component: &crate::spec::search_parameter::Component| {
                let of = self.parameters.by_url(&component.definition);
                let of = of.ok_or_else(|| PlanError::Component {
                    parameter: definition.url.to_string(),
                    definition: component.definition.to_string(),
                })?;
                let source = self.source(definition, &component.expression, focus_type)?;
                Ok((source, comparison(of)))
            };
            let parts = definition.components.iter().map(part).collect::<Result<_, _>>()?;
            Ok(Composite { focus, parts })
        };
        arms.into_iter().map(composite).collect()
    }

    fn source(
        &self,
        definition: &SearchParameter,
        expression: &str,
        root: Option<TypeId>,
    ) -> Result<Source, PlanError> {
        let definitions = Definitions { schema: &self.spec.schema, codes: self.codes };
        let root = root.filter(|_| self.with_paths);
        if let Some(paths) = root.and_then(|root| path::compile(expression, root, definitions)) {
            return Ok(Source::Paths(paths));
        }
        general(&definition.url, expression).map(Source::General)
    }
}

impl Composite {
    /// Whether it can be told from others: nothing in it is left to the evaluator.
    pub(super) fn is_comparable(&self) -> bool {
        let is_paths = |source: &Source| matches!(source, Source::Paths(_));
        is_paths(&self.focus) && self.parts.iter().all(|(source, _)| is_paths(source))
    }
}

impl PartialEq for Composite {
    fn eq(&self, other: &Self) -> bool {
        self.focus == other.focus && self.parts == other.parts
    }
}

/// What is left to the evaluator equals nothing.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Paths(one), Self::Paths(other)) => one == other,
            _ => false,
        }
    }
}

impl Source {
    /// Whether it may give more than one value.
    fn repeats(&self) -> bool {
        match self {
            Self::General(_) => true,
            Self::Paths(paths) => paths.len() != 1 || paths[0].repeats,
        }
    }

    /// The type of the elements, when they are all of one.
    fn only_type(&self) -> Option<TypeId> {
        let Self::Paths(paths) = self else { return None };
        let mut types = paths.iter().flat_map(Path::leaves).map(|leaf| leaf.type_id);
        let first = types.next()?;
        types.all(|other| other == first).then_some(first)
    }
}

fn general(url: &str, expression: &str) -> Result<Expression, PlanError> {
    let parameter = || url.to_owned();
    let parsed = Expression::parse(expression)
        .map_err(|source| PlanError::Expression { parameter: parameter(), source })?;
    if let Some(function) = parsed.unsupported().first() {
        let function = (*function).to_owned();
        return Err(PlanError::Function { parameter: parameter(), function });
    }
    Ok(parsed)
}

fn comparison(definition: &SearchParameter) -> Comparison {
    let is_own = |code: &str| definition.is_core() && &*definition.code == code;
    // Some of R4's expressions called so also look at a Group (rest 4.112).
    let targets =
        if is_own("patient") { vec![ResourceType::PATIENT] } else { definition.targets.clone() };
    Comparison { search_type: definition.search_type, targets, is_phonetic: is_own("phonetic") }
}

/// The place of the date that resources of the type sort by, unless asked otherwise; one that cannot
/// repeat, so that its span says all of it.
fn primary(parameters: &[Parameter]) -> Option<u16> {
    let is_date = |parameter: &Parameter| {
        parameter.search_type == SearchType::Date
            && parameter.custom.is_none()
            && matches!(&parameter.plan, Plan::Values(source, _) if !source.repeats())
    };
    let place = |code: &str| {
        parameters.iter().position(|parameter| &*parameter.code == code && is_date(parameter))
    };
    PRIMARY.iter().find_map(|code| place(code)).and_then(|at| u16::try_from(at).ok())
}
