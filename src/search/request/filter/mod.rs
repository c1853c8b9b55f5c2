//! `_filter`: expressions over parameters.
//!
//! An operator is done as the prefix or modifier that means the same. `ne` and `ni` say that no
//! value is equal, or in the value set; with dates, numbers and quantities `ne` is the prefix. `_has:` leads
//! to what refers to a resource, as R5 has it.
//!
//! Spec: <https://hl7.org/fhir/R4/search_filter.html> (rest 4.173 to 4.175),
//! <https://hl7.org/fhir/R5/search_filter.html> for `_has`

mod parts;
mod syntax;

use crate::fhir::ResourceType;
use crate::spec::search_parameter::SearchType;

use super::Filter;
use super::compare::{AskedUri, Comparison, Part};
use super::criterion::{Criteria, Raw, Refusal, negated};
use super::escape::Escaped;
use super::fault::Reason;
use super::parameter::Parameter;
use super::prefix::Prefix;
use super::uri::within;

use syntax::{Expression, Operator, Step, Test, fault};

impl Criteria<'_> {
    /// What an expression asks for.
    pub(super) fn expression(
        &mut self,
        types: &[ResourceType],
        text: &str,
    ) -> Result<Filter, Refusal> {
        if text.trim().is_empty() {
            return Err(Refusal::Empty);
        }
        let expression = syntax::parse(text)?;
        self.holds(types, &expression).map_err(Refusal::Faulty)
    }

    /// As deep as the grammar allows.
    fn holds(
        &mut self,
        types: &[ResourceType],
        expression: &Expression<'_>,
    ) -> Result<Filter, Vec<Reason>> {
        match expression {
            Expression::All(all) => self.each(types, all).map(Filter::All),
            Expression::Any(any) => self.each(types, any).map(Filter::Any),
            Expression::Not(inner) => self.holds(types, inner).map(negated),
            Expression::Test(test) => self.along(types, &test.path, test),
        }
    }

    fn each(
        &mut self,
        types: &[ResourceType],
        expressions: &[Expression<'_>],
    ) -> Result<Vec<Filter>, Vec<Reason>> {
        let (mut found, mut faults) = (Vec::new(), Vec::new());
        for expression in expressions {
            match self.holds(types, expression) {
                Ok(filter) => found.push(filter),
                Err(reasons) => faults.extend(reasons),
            }
        }
        if faults.is_empty() { Ok(found) } else { Err(faults) }
    }

    /// Follows the path to what is compared.
    fn along(
        &mut self,
        types: &[ResourceType],
        path: &[Step<'_>],
        test: &Test<'_>,
    ) -> Result<Filter, Vec<Reason>> {
        let Some((step, rest)) = path.split_first() else { return Ok(Filter::All(Vec::new())) };
        self.onward(types, step.name, (step, rest), test)
    }

    /// The same where the name of what comes first is this: what follows the `_has:` of the step's, or that.
    fn onward(
        &mut self,
        types: &[ResourceType],
        name: &str,
        (step, rest): (&Step<'_>, &[Step<'_>]),
        test: &Test<'_>,
    ) -> Result<Filter, Vec<Reason>> {
        let at = |refusal: Refusal| located(step.column, refusal);
        self.spend(1).map_err(|reason| at(reason.into()))?;
        if let Some(key) = name.strip_prefix("_has").filter(|key| key.starts_with(':')) {
            let found = self.referred(types, key, |criteria, source, name| {
                criteria.onward(&[source], name, (step, rest), test).map_err(Refusal::Faulty)
            });
            return found.map_err(at);
        }
        if rest.is_empty() {
            return self.leaf(types, (step, name), test);
        }
        if step.filter.is_some()
            && let Ok(parameter) = Parameter::find(self.context.extractor, types, name)
            && parameter.search_type == SearchType::Composite
        {
            return self.parts(&parameter, (step, rest), test);
        }
        let found = self.follow(types, name, |criteria, target| {
            criteria.both(target, step, rest, test).map_err(Refusal::Faulty)
        });
        found.map_err(at)
    }

    /// What holds for a resource that a step leads to.
    fn both(
        &mut self,
        target: ResourceType,
        step: &Step<'_>,
        rest: &[Step<'_>],
        test: &Test<'_>,
    ) -> Result<Filter, Vec<Reason>> {
        let end = |criteria: &mut Self| criteria.along(&[target], rest, test);
        let Some(filter) = &step.filter else { return end(self) };
        let filter = self.holds(&[target], filter)?;
        Ok(Filter::All(vec![filter, end(self)?]))
    }

    /// The comparison at the end of a path.
    fn leaf(
        &mut self,
        types: &[ResourceType],
        (step, name): (&Step<'_>, &str),
        test: &Test<'_>,
    ) -> Result<Filter, Vec<Reason>> {
        if name.contains(':') {
            let why = "there are no modifiers here; the operator says how is compared";
            return Err(located(step.column, Reason::name(why).into()));
        }
        if let Some(found) = self.common_leaf(types, name, test) {
            return found.map_err(|refusal| located(test.value_column, refusal));
        }
        let parameter = Parameter::find(self.context.extractor, types, name)
            .map_err(|refusal| located(step.column, refusal))?;
        self.compared(&parameter, test)
    }

    /// The parameters without rows.
    fn common_leaf(
        &mut self,
        types: &[ResourceType],
        code: &str,
        test: &Test<'_>,
    ) -> Option<Result<Filter, Refusal>> {
        let operator = test.operator;
        if operator == Operator::Pr && matches!(code, "_id" | "_lastUpdated") {
            let is_missing = match &*test.value {
                "true" => "false",
                "false" => "true",
                other => return Some(Err(Reason::value(other, 1, "true or false").into())),
            };
            return self.common(types, code, Some("missing"), is_missing);
        }
        let is_known = match code {
            "_id" | "_list" | "_type" => matches!(operator, Operator::Eq | Operator::Ne),
            "_lastUpdated" => is_ordering(operator) || operator == Operator::Po,
            "_content" | "_text" => matches!(operator, Operator::Co | Operator::Eq),
            "_filter" | "_query" => false,
            _ => return None,
        };
        if !is_known {
            return Some(Err(unfit(operator, code).into()));
        }
        let value = match code {
            "_content" | "_text" => test.value.clone(),
            // A moment overlaps with what it is in.
            "_lastUpdated" if operator == Operator::Po => "eq".to_owned() + &test.value,
            "_lastUpdated" => operator.as_str().to_owned() + &test.value,
            _ => match (Raw { text: &test.value, place: 1 }.plain()) {
                Ok(plain) => Escaped(&plain).to_string(),
                Err(reason) => return Some(Err(reason.into())),
            },
        };
        let found = self.common(types, code, None, &value)?;
        let is_negated = operator == Operator::Ne && code != "_lastUpdated";
        Some(if is_negated { found.map(negated) } else { found })
    }

    fn compared(
        &mut self,
        parameter: &Parameter<'_>,
        test: &Test<'_>,
    ) -> Result<Filter, Vec<Reason>> {
        let raw = Raw { text: &test.value, place: 1 };
        let operator = test.operator;
        if operator == Operator::Pr && parameter.search_type != SearchType::Composite {
            let present = parameter.test(vec![Comparison::Present]);
            return match raw.text {
                "true" => Ok(present),
                "false" => Ok(negated(present)),
                _ => Err(located(test.value_column, raw.wrong("true or false").into())),
            };
        }
        let is_measure = is_measure(parameter.search_type);
        let prefixed = operator.as_str().to_owned() + raw.text;
        let found = match (parameter.search_type, operator) {
            (_, _) if is_measure && is_ordering(operator) => {
                self.plain(parameter.shapes(), Raw { text: &prefixed, place: 1 })
            }
            (SearchType::Date, Operator::Po) => {
                self.date_as_written(raw).and_then(|(prefix, range)| {
                    // As for dates that may overlap.
                    let overlap = Comparison::Date { prefix: Prefix::Ap, range };
                    let plain = prefix == Prefix::Eq && !raw.text.starts_with("eq");
                    if plain {
                        Ok(vec![overlap])
                    } else {
                        Err(raw.wrong("a date without a prefix"))
                    }
                })
            }
            _ if is_measure => Err(unfit(operator, parameter.search_type.as_str())),
            _ => self.by_operator(parameter, operator, raw),
        };
        let column = match found {
            Err(Reason::Value { .. }) => test.value_column,
            _ => test.operator_column,
        };
        let any = found.map_err(|reason| located(column, reason.into()))?;
        let filter = parameter.test(any);
        let is_negated = matches!(operator, Operator::Ne | Operator::Ni) && !is_measure;
        Ok(if is_negated { negated(filter) } else { filter })
    }

    /// Comparisons of what has no order; `ne` and `ni` as their opposites.
    fn by_operator(
        &mut self,
        parameter: &Parameter<'_>,
        operator: Operator,
        raw: Raw<'_>,
    ) -> Result<Vec<Comparison>, Reason> {
        let part = match operator {
            Operator::Co => Some(Part::Any),
            Operator::Eq | Operator::Ne => Some(Part::Whole),
            Operator::Ew => Some(Part::End),
            Operator::Sw => Some(Part::Start),
            _ => None,
        };
        match (parameter.search_type, operator, part) {
            (SearchType::String, _, Some(part)) if !parameter.shape().is_phonetic => {
                Ok(vec![Self::string(raw, part, false)?])
            }
            (SearchType::Token, Operator::In | Operator::Ni, _) => Self::member(raw),
            (SearchType::Token, Operator::Sb | Operator::Ss, _) => {
                let is_below = operator == Operator::Ss;
                Ok(vec![self.hierarchy(parameter, is_below, raw)?])
            }
            (SearchType::Uri, Operator::Sw, _) => Ok(within(raw.plain()?, AskedUri::Below)),
            (SearchType::String, _, _) => Err(unfit(operator, "string")),
            (_, Operator::Eq | Operator::Ne, _)
            | (SearchType::Reference | SearchType::Uri, Operator::Re, _) => {
                self.plain(parameter.shapes(), raw)
            }
            (other, _, _) => Err(unfit(operator, other.as_str())),
        }
    }
}

/// Whether values of this type have an order.
fn is_measure(of: SearchType) -> bool {
    matches!(of, SearchType::Date | SearchType::Number | SearchType::Quantity)
}

/// Whether the operator is one of the prefixes too.
fn is_ordering(operator: Operator) -> bool {
    Prefix::ALL.iter().any(|prefix| prefix.as_str() == operator.as_str())
}

fn unfit(operator: Operator, what: &str) -> Reason {
    Reason::name(format!("{} does not apply to {what}", operator.as_str()))
}

fn located(column: usize, refusal: Refusal) -> Vec<Reason> {
    refusal.into_reasons().into_iter().map(|reason| fault(column, reason)).collect()
}
