//! What patients deny: the consents in force, as conditions over resources.
//!
//! A denial is an expression. It is held against resources of one type at a time, where it becomes a
//! [`Filter`] that the store compiles and [`super::judge`] evaluates. What cannot be told of a type
//! is told the safe way: a denial that it is in holds, an exception that it is in does not.
//!
//! Spec: R4 Consent (<https://hl7.org/fhir/R4/consent.html>)

mod directive;
pub mod purpose;

use std::collections::BTreeMap;

use crate::access::interaction::Kind;
use crate::fhir::{LogicalId, ResourceType};
use crate::search::extract::Extractor;
use crate::search::request::compare::{AskedToken, Comparison};
use crate::search::request::prefix::Prefix;
use crate::search::request::{Filter, ParameterKey, Test};
use crate::search::values::date::DateRange;
use crate::search::values::token::{Case, Code};
use crate::spec::search_parameter::{SearchParameter, SearchType};

pub use directive::{Asker, Directive, EMERGENCIES};

/// Parameters whose tokens say what a resource is about.
const CODES: &[&str] = &["code", "vaccine-code", "combo-code", "type", "class", "category"];

/// Dates that are what is said, not when: of a life, a goal, a value.
const SAID: &[&str] = &["birthdate", "death-date", "target-date", "value-date"];
/// Elements by which a resource says who wrote or said it.
const AUTHORS: &[&str] = &[
    "agent",
    "asserter",
    "assessor",
    "author",
    "enterer",
    "expressedBy",
    "informationSource",
    "orderer",
    "performer",
    "prescriber",
    "recorder",
    "reporter",
    "requester",
    "resultsInterpreter",
    "sender",
    "source",
];

/// The same of requests, whose performer and sender are somebody who is asked.
const ASKERS: &[&str] = &["asserter", "author", "enterer", "recorder", "requester"];
/// Requests that name who is asked by one of the others.
const REQUESTS: &[&str] =
    &["CommunicationRequest", "DeviceRequest", "MedicationRequest", "ServiceRequest"];

/// Elements that may say so, of whatever type: what counts in a denial.
const POSSIBLE_AUTHORS: &[&str] = &[
    "agent",
    "asserter",
    "assessor",
    "attester",
    "author",
    "authorReference",
    "contributor",
    "enterer",
    "expressedBy",
    "informationSource",
    "insurer",
    "interpreter",
    "operator",
    "orderer",
    "payor",
    "performer",
    "prescriber",
    "provider",
    "recorder",
    "reportedReference",
    "reporter",
    "requester",
    "requestor",
    "resultsInterpreter",
    "sender",
    "signer",
    "source",
];

/// What resources refer to.
pub type References = BTreeMap<(ResourceType, LogicalId), Vec<(ResourceType, LogicalId)>>;

/// What may be denied: the actions of v3-ConsentAction, as far as interactions tell them apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    /// To take in what was not there of the patient: a create, and whatever else comes down to one.
    Collect,
    /// To change or delete what is there.
    Correct,
    /// To see it. Who may not do that may do nothing else with it either.
    Read,
}

impl Act {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Collect, Self::Correct];

    /// The codes of the actions that come down to it.
    fn codes(self) -> &'static [&'static str] {
        match self {
            Self::Collect => &["collect"],
            Self::Correct => &["correct"],
            Self::Read => &["access", "disclose", "use"],
        }
    }

    /// What an action comes down to.
    fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.codes().contains(&code))
    }

    /// Whether what is denied of it is as if it were not there for an interaction. What is collected is
    /// judged when it is about to be stored.
    pub(super) fn hides_from(self, kind: Kind) -> bool {
        match self {
            Self::Collect => false,
            Self::Correct => kind.is_change(),
            Self::Read => true,
        }
    }
}

/// What one patient denies.
#[derive(Clone, Debug, PartialEq)]
pub struct Denial {
    /// The patient, as a hash of the store.
    pub patient: i64,
    /// The same as references name the patient, who need not be stored.
    pub id: LogicalId,
    /// What must not be done.
    pub act: Act,
    /// With which of the patient's resources.
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
    /// The resource is of this time.
    Dated(DateRange),
    /// The resource has this label.
    Label {
        /// The label's system; `None`: any.
        system: Option<Box<str>>,
        /// The code.
        code: Box<str>,
    },
    /// It does not hold.
    Not(Box<Expression>),
    /// The resource refers to this one, by whatever reference; or, where it says so, this one is its author. In
    /// a denial what may be meant counts, in an exception what is certain: see [`Filter::Mentions`].
    RefersTo {
        /// The one that is referred to.
        target: (ResourceType, LogicalId),
        /// Whether as its author.
        is_author: bool,
    },
    /// The resource is this one, or one that this one refers to: [`Expression::with_related`] says which.
    Related(ResourceType, LogicalId),
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
        self.act == Act::Read && self.of == Expression::All(Vec::new())
    }
}

impl Expression {
    /// How many conditions it is made of.
    pub(super) fn conditions(&self) -> usize {
        match self {
            Self::All(parts) => parts.iter().map(Self::conditions).sum(),
            // Those that are named are asked for together.
            Self::Any(parts) => {
                let (ids, others): (Vec<&Self>, Vec<&Self>) =
                    parts.iter().partition(|it| matches!(it, Self::Resource(..)));
                let others = others.into_iter().map(Self::conditions);
                usize::from(!ids.is_empty()) + others.sum::<usize>()
            }
            Self::Not(inner) => inner.conditions(),
            Self::Code { .. }
            | Self::Dated(_)
            | Self::Label { .. }
            | Self::RefersTo { .. }
            | Self::Related(..)
            | Self::Resource(..)
            | Self::Types(_)
            | Self::Unknown => 1,
        }
    }

    /// The resources of which it has to be said what they refer to.
    pub fn related<'e>(&'e self, all: &mut Vec<(ResourceType, &'e LogicalId)>) {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.related(all)),
            Self::Not(inner) => inner.related(all),
            Self::Related(of, id) => all.push((*of, id)),
            _ => {}
        }
    }

    /// The same with what `referred` says that these resources refer to.
    #[must_use]
    pub fn with_related(self, referred: &References) -> Self {
        let each = |parts: Vec<Self>| parts.into_iter().map(|it| it.with_related(referred));
        match self {
            Self::All(parts) => Self::All(each(parts).collect()),
            Self::Any(parts) => Self::Any(each(parts).collect()),
            Self::Not(inner) => Self::Not(Box::new(inner.with_related(referred))),
            Self::Related(of, id) => {
                let itself = (of, id);
                let Some(others) = referred.get(&itself).cloned() else {
                    return Self::Related(itself.0, itself.1);
                };
                let all = others.into_iter().chain([itself]);
                Self::Any(all.map(|(of, id)| Self::Resource(of, id)).collect())
            }
            other => other,
        }
    }

    /// The condition over resources of `of`, where `otherwise` is what counts for what cannot be told.
    pub(super) fn filter(&self, of: ResourceType, known: &Extractor, otherwise: bool) -> Filter {
        match self {
            Self::All(all) => {
                Filter::All(all.iter().map(|it| it.filter(of, known, otherwise)).collect())
            }
            Self::Any(any) => {
                let (mut ids, mut all) = (Vec::new(), Vec::new());
                for part in any {
                    match part {
                        Self::Resource(named, id) if *named == of => ids.push(id.as_str().into()),
                        Self::Resource(..) => {}
                        other => all.push(other.filter(of, known, otherwise)),
                    }
                }
                if !ids.is_empty() {
                    all.push(Filter::Id(ids));
                }
                Filter::Any(all)
            }
            Self::Code { system, code } => {
                let places = CODES.iter().filter(|name| is_token(of, name, known));
                let tests: Vec<Filter> =
                    places.map(|name| token(&[of], name, system.as_deref(), code)).collect();
                if tests.is_empty() { constant(otherwise) } else { Filter::Any(tests) }
            }
            Self::Dated(range) => dated(of, *range, known, otherwise),
            Self::Label { system, code } => token(&[of], "_security", system.as_deref(), code),
            Self::Not(inner) => Filter::Not(Box::new(inner.filter(of, known, !otherwise))),
            Self::RefersTo { target, is_author } => {
                let under: &'static [&'static str] = match (*is_author, otherwise) {
                    (false, _) => &[],
                    (true, false) => authors(of),
                    (true, true) => POSSIBLE_AUTHORS,
                };
                Filter::Mentions { target: target.clone(), under, is_certain: !otherwise }
            }
            // What it refers to was not said.
            Self::Related(resource_type, id) => {
                let itself = Self::Resource(*resource_type, id.clone());
                Filter::Any(vec![itself.filter(of, known, otherwise), constant(otherwise)])
            }
            Self::Resource(resource_type, id) if *resource_type == of => {
                Filter::Id(vec![id.as_str().into()])
            }
            Self::Resource(..) => constant(false),
            Self::Types(types) => constant(types.contains(&of)),
            Self::Unknown => constant(otherwise),
        }
    }
}

/// A resource of the type has a date in the range; one without a date may have.
fn dated(of: ResourceType, range: DateRange, known: &Extractor, otherwise: bool) -> Filter {
    let is_date = |found: &&SearchParameter| {
        found.search_type == SearchType::Date
            && found.expression.is_some()
            && !found.code.starts_with('_')
            && !SAID.contains(&&*found.code)
    };
    let dates: Vec<&SearchParameter> = known.search_parameters().of(of).filter(is_date).collect();
    if dates.is_empty() {
        return constant(otherwise);
    }
    let test = |found: &&SearchParameter, comparison: Comparison| {
        let key = ParameterKey { resource_type: of, code: found.code.clone() };
        let (parameters, any) = (vec![key], vec![comparison]);
        Filter::Test(Test { parameters, search_type: SearchType::Date, any })
    };
    let overlaps = Comparison::Date { prefix: Prefix::Ap, range };
    let mut any: Vec<Filter> = dates.iter().map(|found| test(found, overlaps.clone())).collect();
    if otherwise {
        let has_none = |found| Filter::Not(Box::new(test(found, Comparison::Present)));
        any.push(Filter::All(dates.iter().map(has_none).collect()));
    }
    Filter::Any(any)
}

/// The elements by which resources of a type name their authors for certain.
fn authors(of: ResourceType) -> &'static [&'static str] {
    if REQUESTS.contains(&of.as_str()) { ASKERS } else { AUTHORS }
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
