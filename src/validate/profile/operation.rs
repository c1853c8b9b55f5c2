//! What an OperationDefinition asks beside its invariants: the operation can be called, and its
//! parameters can be told apart and be given.
//!
//! Spec: <https://hl7.org/fhir/R4/operationdefinition.html>, rest 7.74

use std::collections::HashSet;

use crate::fhir::json::{Limits, Value};
use crate::fhir::{IssueCode, Severity};
use crate::validate::place::Place;

use super::findings::By;
use super::walk::Walk;

impl<'w> Walk<'w> {
    /// Checks a definition of an operation.
    pub(super) fn operation_definition(&mut self, definition: &'w Value<'w>, place: &Place<'_>) {
        let is = |name| definition.get(name).and_then(Value::as_bool) == Some(true);
        let (at_system, at_type, at_instance) = (is("system"), is("type"), is("instance"));
        let code = definition.str_at("code").unwrap_or_default();
        let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
        if !code.chars().all(is_plain) {
            let rule = "the name of an operation is letters, digits, and - _ . without the $";
            self.wrong(IssueCode::Value, &place.child("code"), rule);
        }
        if !(at_system || at_type || at_instance) {
            let rule = "the operation is called nowhere: system, type and instance are all false";
            self.wrong(IssueCode::BusinessRule, place, rule);
        }
        if (at_type || at_instance) && definition.items_at("resource").is_empty() {
            // R4 lets it say nothing, and published guides have such ones.
            let rule = format_args!("an operation on types or instances should name these types");
            let at = place.child("resource");
            self.findings.add(Severity::Warning, IssueCode::Required, &at, rule, By::default());
        }
        let parameters = definition.items_at("parameter");
        self.parameters(parameters, &place.child("parameter"));
        let known: HashSet<&str> = parameters.iter().filter_map(|it| it.str_at("name")).collect();
        let overloads = place.child("overload");
        for (index, overload) in definition.items_at("overload").iter().enumerate() {
            let at = overloads.at(index);
            let names = at.child("parameterName");
            for (index, name) in overload.items_at("parameterName").iter().enumerate() {
                if !name.as_str().is_none_or(|name| known.contains(name)) {
                    let rule = "the operation has no parameter of this name";
                    self.wrong(IssueCode::NotFound, &names.at(index), rule);
                }
            }
        }
    }

    /// Checks the parameters of one level, and their parts.
    fn parameters(&mut self, parameters: &'w [Value<'w>], place: &Place<'_>) {
        if place.depth() > Limits::default().depth {
            return;
        }
        let mut seen = HashSet::new();
        for (index, parameter) in parameters.iter().enumerate() {
            let at = place.at(index);
            if self.is_over() || !self.pay(1, &at) {
                return;
            }
            let (name, of) = (parameter.str_at("name"), parameter.str_at("use"));
            if name.is_some() && !seen.insert((name, of)) {
                let rule = "another parameter has this name and use";
                self.wrong(IssueCode::Duplicate, &at.child("name"), rule);
            }
            self.occurrences(parameter, &at);
            self.parameters(parameter.items_at("part"), &at.child("part"));
        }
    }

    /// Checks how often a parameter stands.
    fn occurrences(&mut self, parameter: &'w Value<'w>, place: &Place<'_>) {
        let min = parameter.get("min").and_then(Value::as_number);
        let min = min.and_then(|min| min.parse::<i64>().ok()).unwrap_or_default();
        let max = match parameter.str_at("max") {
            None | Some("*") => Some(i64::MAX),
            Some(max) => max.parse::<u32>().ok().map(i64::from),
        };
        let Some(max) = max else {
            let rule = "the greatest number of times is a number or *";
            return self.wrong(IssueCode::Value, &place.child("max"), rule);
        };
        if min < 0 {
            let rule = "the least number of times is not less than 0";
            self.wrong(IssueCode::Value, &place.child("min"), rule);
        } else if min > max {
            let rule = "the least number of times is above the greatest";
            self.wrong(IssueCode::BusinessRule, place, rule);
        }
    }

    fn wrong(&mut self, code: IssueCode, place: &Place<'_>, rule: &str) {
        self.findings.add(Severity::Error, code, place, format_args!("{rule}"), By::default());
    }
}
