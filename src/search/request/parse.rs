//! From the parameters of a query to the request, one after the other.
//!
//! Everything that is wrong is collected. What nobody defines is passed over with a notice, or
//! refused where handling is strict (rest 4.14, 4.15); a wrong modifier or value is always refused
//! (rest 4.17, 4.19).

use std::borrow::Cow;

use crate::fhir::query::Query;

use super::context::{Context, SearchTarget, Strictness};
use super::criterion::{Criteria, Refusal, unfit};
use super::fault::{Fault, InvalidSearch, Notice, Reason, clip};
use super::list;
use super::scope::Scope;
use super::{ContainedMode, SearchRequest, Total};

/// Parameters of paging and form: they mean nothing to the search itself.
const FORM: [&str; 3] = ["_cursor", "_format", "_pretty"];

/// Of what is wrong or passed over so much is told.
const MAX_TOLD: usize = 100;

/// Reads what a query asks for.
///
/// # Errors
/// [`InvalidSearch`] with everything that is wrong.
pub fn parse(
    target: &SearchTarget,
    query: &Query,
    context: &Context<'_>,
) -> Result<SearchRequest, InvalidSearch> {
    let mut draft = Draft::new(target, query, context);
    let limit = context.limits.parameters;
    let count = query.iter().count();
    if count > limit {
        draft.fault("", Reason::TooMany { what: "parameters", count, limit });
    }
    draft.refuse_contained_members();
    for (name, value) in query.iter().take(limit) {
        draft.parameter(name, value);
    }
    draft.finish()
}

/// A request that is being read.
pub(super) struct Draft<'c> {
    pub(super) criteria: Criteria<'c>,
    pub(super) scope: Scope,
    pub(super) request: SearchRequest,
    /// Whether a place is searched for, which the order may go by.
    pub(super) has_place: bool,
    /// The parameters that may stand once, as they were met.
    pub(super) once: Vec<(Box<str>, Box<str>)>,
    faults: Vec<Fault>,
}

impl<'c> Draft<'c> {
    fn new(target: &SearchTarget, query: &Query, context: &'c Context<'c>) -> Self {
        let (scope, filters) = Scope::of(target, query, context);
        let request = SearchRequest {
            types: scope.types.clone(),
            filters,
            sort: Vec::new(),
            count: None,
            total: Total::default(),
            counts_only: false,
            includes: Vec::new(),
            along: context.limits.along,
            contained: ContainedMode::of(query),
            explain: false,
            ambiguous: Vec::new(),
            shown: Vec::new(),
            notices: Vec::new(),
        };
        Self {
            criteria: Criteria::new(context, list::subject(target, query)),
            scope,
            request,
            has_place: query.iter().any(|(name, value)| name == "near" && !value.is_empty()),
            once: Vec::new(),
            faults: Vec::new(),
        }
    }

    pub(super) fn context(&self) -> &'c Context<'c> {
        self.criteria.context
    }

    pub(super) fn fault(&mut self, name: &str, reason: Reason) {
        if self.faults.len() < MAX_TOLD {
            self.faults.push(Fault { parameter: clip(name), reason });
        }
    }

    pub(super) fn show(&mut self, name: &str, value: &str) {
        self.request.shown.push((name.into(), value.into()));
    }

    /// What is passed over, or refused where handling is strict.
    pub(super) fn ignore(&mut self, name: &str, reason: impl Into<Cow<'static, str>>) {
        if self.context().strictness == Strictness::Lenient {
            self.pass_over(name, reason);
        } else {
            self.fault(name, Reason::NotSupported(reason.into()));
        }
    }

    /// What has no value is passed over wherever a client searches (rest 4.13).
    pub(super) fn ignore_empty(&mut self, name: &str) {
        let reason = "has no value";
        if self.context().strictness == Strictness::Criteria {
            self.fault(name, Reason::NotSupported(reason.into()));
        } else {
            self.pass_over(name, reason);
        }
    }

    fn pass_over(&mut self, name: &str, reason: impl Into<Cow<'static, str>>) {
        if self.request.notices.len() < MAX_TOLD {
            self.request.notices.push(Notice::ignored(name, reason));
        }
    }

    fn parameter(&mut self, name: &str, value: &str) {
        let (code, modifier) = name.split_once(':').map_or((name, None), |(a, b)| (a, Some(b)));
        if FORM.contains(&code) {
            return self.no_modifier(name, modifier);
        }
        match code {
            "_type" => self.type_parameter(name, modifier, value),
            "_include" | "_revinclude" => self.include(name, modifier, value),
            _ if Self::is_result(code) && modifier.is_none() => self.result(name, value),
            _ if Self::is_result(code) => self.no_modifier(name, modifier),
            _ => self.criterion(name, value),
        }
    }

    /// Parameters about the result take no modifier (rest 4.18).
    fn no_modifier(&mut self, name: &str, modifier: Option<&str>) {
        if let Some(modifier) = modifier {
            self.fault(name, unfit(modifier, "none"));
        }
    }

    fn criterion(&mut self, name: &str, value: &str) {
        match self.criteria.read(&self.scope.types, name, value) {
            Ok(filter) => {
                self.refuse_of_contained(name, &filter);
                self.request.filters.push(filter);
                self.show(name, value);
            }
            Err(Refusal::Empty) => self.ignore_empty(name),
            Err(Refusal::Partial(reason)) if self.scope.is_listed => {
                self.fault(name, Reason::NotSupported(reason));
            }
            Err(Refusal::Partial(reason) | Refusal::Unknown(reason)) => self.ignore(name, reason),
            Err(Refusal::Faulty(reasons)) => {
                for reason in reasons {
                    self.fault(name, reason);
                }
            }
        }
    }

    fn finish(mut self) -> Result<SearchRequest, InvalidSearch> {
        if !self.faults.is_empty() {
            return Err(InvalidSearch(self.faults));
        }
        self.request.ambiguous = self.criteria.take_ambiguous();
        Ok(self.request)
    }
}
