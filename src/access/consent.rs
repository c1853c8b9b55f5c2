//! What patients deny: the consents in force, as conditions over resources.
//!
//! A denial is an expression. It is held against resources of one type at a time, where it becomes a
//! [`Filter`] that the store compiles and [`super::judge`] evaluates. What cannot be told of a type
//! is told the safe way: a denial that it is in holds, an exception that it is in does not.
//!
//! Spec: R4 Consent (<https://hl7.org/fhir/R4/consent.html>)

mod directive;

use crate::fhir::{LogicalId, ResourceType};
use crate::search::extract::Extractor;
use crate::search::request::compare::{AskedToken, Comparison};
use crate::search::request::{Filter, ParameterKey, Test};
use crate::search::values::token::{Case, Code};
use crate::spec::search_parameter::SearchType;

pub use directive::{Asker, Directive, EMERGENCIES};

/// Parameters whose tokens say what a resource is about.
const CODES: &[&str] = &["code", "vaccine-code", "combo-code", "type", "class", "category"];

/// What one patient denies.
#[derive(Clone, Debug, PartialEq)]
pub struct Denial {
    /// The patient, as a hash of the store.
    pub patient: i64,
    /// Which of the patient's resources.
    pub of: Expression,
    /// Whether it counts in an emergency too.
    pub is_binding: bool,
}

/// A condition over resources.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// All hold; true when empty.
    All(Vec<Expression>),
    /// One holds; false when empty.
    Any(Vec<Expression>),
    /// The resource is about this code.
    Code {
        /// The code's system; `None`: any.
        system: Option<Box<str>>,
        /// The code.
        code: Box<str>,
    },
    /// The resource has this label.
    Label {
        /// The label's system; `None`: any.
        system: Option<Box<str>>,
        /// The code.
        code: Box<str>,
    },
    /// It does not hold.
    Not(Box<Expression>),
    /// The resource is this one.
    Resource(ResourceType, LogicalId),
    /// The resource is of one of these types.
    Types(Vec<ResourceType>),
    /// Nobody can tell.
    Unknown,
}

impl Denial {
    /// Whether it keeps all of the patient back.
    pub fn is_of_everything(&self) -> bool {
        self.of == Expression::All(Vec::new())
    }
}

impl Expression {
    /// The condition over resources of `of`, where `otherwise` is what counts for what cannot be told.
    pub(super) fn filter(&self, of: ResourceType, known: &Extractor, otherwise: bool) -> Filter {
        match self {
            Self::All(all) => {
                Filter::All(all.iter().map(|it| it.filter(of, known, otherwise)).collect())
            }
            Self::Any(any) => {
                Filter::Any(any.iter().map(|it| it.filter(of, known, otherwise)).collect())
            }
            Self::Code { system, code } => {
                let places = CODES.iter().filter(|name| is_token(of, name, known));
                let tests: Vec<Filter> =
                    places.map(|name| token(&[of], name, system.as_deref(), code)).collect();
                if tests.is_empty() { constant(otherwise) } else { Filter::Any(tests) }
            }
            Self::Label { system, code } => token(&[of], "_security", system.as_deref(), code),
            Self::Not(inner) => Filter::Not(Box::new(inner.filter(of, known, !otherwise))),
            Self::Resource(resource_type, id) if *resource_type == of => {
                Filter::Id(vec![id.as_str().into()])
            }
            Self::Resource(..) => constant(false),
            Self::Types(types) => constant(types.contains(&of)),
            Self::Unknown => constant(otherwise),
        }
    }
}

/// A filter that holds always, or never.
pub(super) fn constant(holds: bool) -> Filter {
    if holds { Filter::All(Vec::new()) } else { Filter::Any(Vec::new()) }
}

fn is_token(of: ResourceType, name: &str, known: &Extractor) -> bool {
    let parameter = known.search_parameters().find(of, name);
    parameter
        .is_some_and(|found| found.search_type == SearchType::Token && found.expression.is_some())
}

/// A resource of one of the types has the token, however its case is written.
pub(super) fn token(of: &[ResourceType], name: &str, system: Option<&str>, code: &str) -> Filter {
    let either = [Case::Sensitive, Case::Insensitive].map(|case| own(Code::new(code, case)));
    let any = match system {
        Some(system) => either
            .into_iter()
            .map(|code| Comparison::Token(AskedToken::Coded { system: system.into(), code }))
            .collect(),
        None => vec![Comparison::Token(AskedToken::Code(either.into()))],
    };
    let key = |of: &ResourceType| ParameterKey { resource_type: *of, code: name.into() };
    let parameters = of.iter().map(key).collect();
    Filter::Test(Test { parameters, search_type: SearchType::Token, any })
}

fn own(code: Code<'_>) -> Code<'static> {
    Code { text: code.text.into_owned().into(), case: code.case }
}
