//! Parameters about the answer: its order, its pages, its total.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#return> (rest 4.176 to 4.191)

use crate::spec::search_parameter::SearchType;

use super::criterion::Refusal;
use super::fault::{Reason, clip};
use super::parameter::Parameter;
use super::parse::Draft;
use super::{ParameterKey, SortBy, SortKey, Total};

/// Parameters that may stand once.
const ONCE: [&str; 7] =
    ["_contained", "_containedType", "_count", "_elements", "_explain", "_summary", "_total"];

/// An order has so many keys at most.
const MAX_SORT: usize = 16;

impl Draft<'_> {
    pub(super) fn is_result(code: &str) -> bool {
        code == "_sort" || ONCE.contains(&code)
    }

    /// Takes a parameter about the result, which has no modifier.
    pub(super) fn result(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return self.ignore_empty(name);
        }
        if name == "_sort" {
            return self.sort(name, value);
        }
        match self.once.iter().find(|(known, _)| **known == *name) {
            Some((_, before)) if **before == *value => return,
            Some(_) => return self.fault(name, Reason::name("may stand once only")),
            None => self.once.push((name.into(), value.into())),
        }
        match self.set(name, value) {
            Ok(()) => self.show(name, value),
            Err(expected) => self.fault(name, Reason::value(value, 1, expected)),
        }
    }

    /// What is wrong is told by what is expected.
    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        let request = &mut self.request;
        match (name, value) {
            ("_count", _) => {
                if !value.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err("a number of entries, 0 or more");
                }
                let count = value.parse().unwrap_or(u32::MAX);
                request.count = Some(count);
                request.counts_only |= count == 0;
            }
            ("_total", "accurate") => request.total = Total::Accurate,
            ("_total", "estimate") => request.total = Total::Estimate,
            ("_total", "none") => request.total = Total::None,
            ("_total", _) => return Err("accurate, estimate or none"),
            ("_summary", "count") => request.counts_only = true,
            ("_contained", "both" | "false" | "true")
            | ("_containedType", "contained" | "container")
            | ("_elements", _)
            | ("_summary", "data" | "false" | "text" | "true") => {}
            ("_summary", _) => return Err("count, data, false, text or true"),
            ("_explain", "true") => request.explain = true,
            ("_explain", "false") => request.explain = false,
            ("_explain", _) => return Err("true or false"),
            ("_contained", _) => return Err("both, false or true"),
            _ => return Err("contained or container"),
        }
        Ok(())
    }

    /// Adds keys to the order; those that mean nothing are passed over (rest 4.177, 4.182).
    fn sort(&mut self, name: &str, value: &str) {
        let mut kept = Vec::new();
        let (count, limit) = (self.request.sort.len() + value.split(',').count(), MAX_SORT);
        if count > limit {
            return self.fault(name, Reason::TooMany { what: "keys", count, limit });
        }
        for text in value.split(',').filter(|text| !text.is_empty()) {
            match self.sort_keys(text) {
                Ok(keys) if !keys.iter().all(|it| self.request.contained.has_order(&it.by)) => {
                    let reason = format!("{} is no order of contained resources", clip(text));
                    self.fault(name, Reason::NotSupported(reason.into()));
                }
                Ok(keys) => {
                    kept.push(text);
                    self.request.sort.extend(keys);
                }
                Err(reason) => self.ignore(name, reason),
            }
        }
        if !kept.is_empty() {
            self.show(name, &kept.join(","));
        }
    }

    fn sort_keys(&self, text: &str) -> Result<Vec<SortKey>, String> {
        let (code, is_descending) = text.strip_prefix('-').map_or((text, false), |it| (it, true));
        let all = match code {
            "_id" => vec![SortBy::Id],
            "_lastUpdated" => vec![SortBy::LastUpdated],
            "_score" => vec![SortBy::Score],
            _ => self.sort_parameter(code)?,
        };
        Ok(all.into_iter().map(|by| SortKey { by, is_descending }).collect())
    }

    fn sort_parameter(&self, code: &str) -> Result<Vec<SortBy>, String> {
        let found = Parameter::find(self.context().extractor, &self.scope.types, code);
        let parameter = found.map_err(|refusal| match refusal {
            Refusal::Partial(reason) | Refusal::Unknown(reason) => {
                format!("{}: {reason}", clip(code))
            }
            Refusal::Empty | Refusal::Faulty(_) => {
                format!("{} is not the same for all the types", clip(code))
            }
        })?;
        match parameter.search_type {
            SearchType::Special if self.has_place => Ok(vec![SortBy::Distance]),
            SearchType::Special => Err(format!("{code} sorts only what is searched by it")),
            SearchType::Composite => self.sort_composite(&parameter),
            other => Ok(vec![SortBy::Parameter(parameter.keys, other)]),
        }
    }

    /// What has a value of a composite comes first, in the order of the parameter that its first part is
    /// one of, then of the next part's. Each part of what has several values goes by its own smallest or largest.
    fn sort_composite(&self, composite: &Parameter<'_>) -> Result<Vec<SortBy>, String> {
        let code = &composite.code;
        let mut all = vec![SortBy::Present(composite.keys.clone())];
        for (place, shape) in composite.shapes().iter().enumerate() {
            let parts = composite.keys.iter().map(|key| self.part(key, place));
            let keys: Option<Vec<_>> = parts.collect();
            let kind = shape.search_type;
            let has_order = !matches!(kind, SearchType::Composite | SearchType::Special);
            let Some(keys) = keys.filter(|_| has_order) else {
                return Err(format!("part {} of {code} has no order", place + 1));
            };
            all.push(SortBy::Parameter(keys, kind));
        }
        Ok(all)
    }

    /// The parameter of the same type that a part of a composite is one of.
    fn part(&self, composite: &ParameterKey, place: usize) -> Option<ParameterKey> {
        let extractor = self.context().extractor;
        let all = extractor.search_parameters();
        let ParameterKey { resource_type, code } = composite;
        let component = all.find(*resource_type, code)?.components.get(place)?;
        let code = &all.by_url(&component.definition)?.code;
        extractor.parameter(*resource_type, code)?;
        Some(ParameterKey { resource_type: *resource_type, code: code.clone() })
    }
}
