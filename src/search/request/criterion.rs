//! From one parameter of a query to a filter: what kind of thing its name says.

use std::borrow::Cow;

use crate::fhir::{LogicalId, ResourceType};
use crate::search::extract::Shape;
use crate::spec::search_parameter::SearchType;

use super::compare::Comparison;
use super::context::Context;
use super::escape::{split, unescape};
use super::fault::{Reason, clip};
use super::list::Subject;
use super::parameter::Parameter;
use super::{Filter, Test};

/// So many values cost as much as one more parameter.
const VALUES_A_NODE: usize = 8;

/// Why a parameter gives no filter.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// It has no value (rest 4.13).
    Empty,
    /// It is wrong.
    Faulty(Vec<Reason>),
    /// Only some of the types have it.
    Partial(Cow<'static, str>),
    /// None of the types has it.
    Unknown(Cow<'static, str>),
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Faulty(vec![reason])
    }
}

impl Refusal {
    /// The same where nothing may be passed over: inside chains and expressions.
    pub(super) fn into_reasons(self) -> Vec<Reason> {
        match self {
            Self::Empty => vec![Reason::name("has no value")],
            Self::Faulty(reasons) => reasons,
            Self::Partial(reason) | Self::Unknown(reason) => vec![Reason::Name(reason)],
        }
    }
}

/// One value of a parameter, its escapes not yet resolved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'v> {
    pub(super) text: &'v str,
    /// Which of the values that are separated by commas, from 1.
    pub(super) place: usize,
}

impl Raw<'_> {
    /// The value without its escapes.
    pub(super) fn plain(&self) -> Result<Box<str>, Reason> {
        self.part(self.text)
    }

    /// The parts between `|`, without their escapes.
    pub(super) fn parts(&self) -> Result<Vec<Box<str>>, Reason> {
        split(self.text, '|').map(|part| self.part(part)).collect()
    }

    fn part(&self, part: &str) -> Result<Box<str>, Reason> {
        unescape(part).ok_or_else(|| self.wrong(r"escaped as FHIR does: \ stands before , $ | \"))
    }

    /// The value is not what is expected.
    pub(super) fn wrong(&self, expected: impl Into<Cow<'static, str>>) -> Reason {
        Reason::value(self.text, self.place, expected)
    }
}

/// Reads filters; knows how much was read so far.
pub(super) struct Criteria<'c> {
    pub(super) context: &'c Context<'c>,
    /// What the types of ids were not named of: see `SearchRequest::ambiguous`.
    pub(super) ambiguous: Vec<(LogicalId, Vec<ResourceType>)>,
    /// Whom the search is about: whose lists are the current ones.
    pub(super) subject: Option<Subject>,
    /// How many links lead to where the reading is.
    pub(super) depth: usize,
    nodes: usize,
}

impl<'c> Criteria<'c> {
    pub(super) fn new(context: &'c Context<'c>, subject: Option<Subject>) -> Self {
        Self { context, ambiguous: Vec::new(), subject, depth: 0, nodes: 0 }
    }

    /// The filter that the parameter `key` of these types asks for. Chains lead back to here, as
    /// deep as the limit allows.
    pub(super) fn read(
        &mut self,
        types: &[ResourceType],
        key: &str,
        value: &str,
    ) -> Result<Filter, Refusal> {
        self.spend(1)?;
        if let Some(rest) = key.strip_prefix("_has")
            && (rest.is_empty() || rest.starts_with([':', '.']))
        {
            return self.has(types, rest, value);
        }
        if let Some((link, rest)) = key.split_once('.') {
            return self.chain(types, link, rest, value);
        }
        let (code, modifier) = key.split_once(':').map_or((key, None), |(a, b)| (a, Some(b)));
        if let Some(found) = self.common(types, code, modifier, value) {
            return found;
        }
        let parameter = Parameter::find(self.context.extractor, types, code)?;
        self.test(&parameter, modifier, value)
    }

    /// Takes from what the query may ask for in all.
    pub(super) fn spend(&mut self, nodes: usize) -> Result<(), Reason> {
        self.nodes = self.nodes.saturating_add(nodes);
        let (count, limit) = (self.nodes, self.context.limits.filter_nodes);
        if count > limit {
            Err(Reason::TooMany { what: "comparisons", count, limit })
        } else {
            Ok(())
        }
    }

    /// Whether nothing more may be asked for.
    pub(super) fn is_spent(&self) -> bool {
        self.nodes > self.context.limits.filter_nodes
    }

    /// The values between commas that are not empty.
    pub(super) fn values<'v>(&mut self, value: &'v str) -> Result<Vec<Raw<'v>>, Refusal> {
        let all = split(value, ',').zip(1..).map(|(text, place)| Raw { text, place });
        let values: Vec<_> = all.filter(|raw| !raw.text.is_empty()).collect();
        let (count, limit) = (values.len(), self.context.limits.values);
        if count > limit {
            return Err(Reason::TooMany { what: "values", count, limit }.into());
        }
        self.spend(count / VALUES_A_NODE)?;
        if values.is_empty() { Err(Refusal::Empty) } else { Ok(values) }
    }

    /// What a parameter with values of its own asks for.
    fn test(
        &mut self,
        parameter: &Parameter<'_>,
        modifier: Option<&str>,
        value: &str,
    ) -> Result<Filter, Refusal> {
        match (parameter.search_type, modifier) {
            (SearchType::Composite, Some(modifier)) => Err(unfit(modifier, "none").into()),
            (_, Some("missing")) => {
                let is_missing = self.flag(value)?;
                let present = parameter.test(vec![Comparison::Present]);
                Ok(if is_missing { negated(present) } else { present })
            }
            (SearchType::String, Some(modifier)) => self.string_by(parameter, modifier, value),
            (SearchType::Token, Some(modifier)) => self.token_by(parameter, modifier, value),
            (SearchType::Reference, Some(modifier)) => {
                self.reference_by(parameter, modifier, value)
            }
            (SearchType::Uri, _) => self.uri_by(parameter, modifier, value),
            (_, Some(modifier)) => Err(unfit(modifier, ":missing").into()),
            (SearchType::String, None) if parameter.shape().is_phonetic => {
                self.phonetic(parameter, value)
            }
            (_, None) => self
                .any_of(parameter, value, |criteria, raw| criteria.plain(parameter.shapes(), raw)),
        }
    }

    /// One of the values, each as `read` takes it.
    pub(super) fn any_of(
        &mut self,
        parameter: &Parameter<'_>,
        value: &str,
        mut read: impl FnMut(&mut Self, Raw<'_>) -> Result<Vec<Comparison>, Reason>,
    ) -> Result<Filter, Refusal> {
        let values = self.values(value)?;
        // Those of these types are compared all at once; any other value is a condition of its own.
        let are_one = matches!(
            parameter.search_type,
            SearchType::Reference | SearchType::Token | SearchType::Uri
        );
        self.spend(if are_one { 0 } else { values.len() })?;
        let any = collect(values, |raw| read(self, raw))?;
        Ok(parameter.test(any.into_iter().flatten().collect()))
    }

    /// What a value without a modifier is compared as; several where one form does not tell.
    pub(super) fn plain(
        &mut self,
        shapes: &[Shape<'_>],
        raw: Raw<'_>,
    ) -> Result<Vec<Comparison>, Reason> {
        let [shape] = shapes else { return self.composite(shapes, raw) };
        match shape.search_type {
            SearchType::Composite => Err(raw.wrong("a composite of plain parts")),
            SearchType::Date => {
                self.date(raw).map(|(prefix, range)| vec![Comparison::Date { prefix, range }])
            }
            SearchType::Number => Self::number(raw).map(|found| vec![found]),
            SearchType::Quantity => self.quantity(raw).map(|found| vec![found]),
            SearchType::Reference => self.reference(shape, None, raw),
            SearchType::Special => self.near(raw).map(|found| vec![found]),
            SearchType::String => {
                Self::string(raw, super::compare::Part::Start, false).map(|found| vec![found])
            }
            SearchType::Token => {
                let asked = self.token(shape, raw)?;
                Ok(asked.into_iter().map(Comparison::Token).collect())
            }
            SearchType::Uri => self.uri(shape, raw),
        }
    }

    /// `true` or `false`, once.
    pub(super) fn flag(&mut self, value: &str) -> Result<bool, Refusal> {
        match self.values(value)?[..] {
            [Raw { text: "true", .. }] => Ok(true),
            [Raw { text: "false", .. }] => Ok(false),
            _ => Err(Reason::value(value, 1, "true or false").into()),
        }
    }
}

/// A modifier that does not fit.
pub(super) fn unfit(modifier: &str, allowed: impl Into<Cow<'static, str>>) -> Reason {
    Reason::Modifier { modifier: clip(modifier), allowed: allowed.into() }
}

pub(super) fn negated(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

/// What `read` makes of each value, or everything that is wrong with them.
pub(super) fn collect<'v, T>(
    values: Vec<Raw<'v>>,
    mut read: impl FnMut(Raw<'v>) -> Result<T, Reason>,
) -> Result<Vec<T>, Refusal> {
    let (mut found, mut faults) = (Vec::with_capacity(values.len()), Vec::new());
    for raw in values {
        match read(raw) {
            Ok(read) => found.push(read),
            Err(reason) => faults.push(reason),
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(Refusal::Faulty(faults)) }
}

impl Parameter<'_> {
    /// One of the comparisons holds; without any, nothing does.
    pub(super) fn test(&self, any: Vec<Comparison>) -> Filter {
        if any.is_empty() {
            return Filter::Any(Vec::new());
        }
        Filter::Test(Test { parameters: self.keys.clone(), search_type: self.search_type, any })
    }
}
