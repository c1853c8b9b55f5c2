//! Brackets behind a composite: what each of its parts is, all on one element.
//!
//! `relationship[relation eq replaces].relatesto re DocumentReference/4` asks for what
//! `relationship=replaces$DocumentReference/4` does, with the operators of expressions. A part has the name
//! of the parameter that defines it.
//!
//! Spec: <https://hl7.org/fhir/R4/search_filter.html> (rest 4.127, 4.173)

use std::slice;

use crate::search::extract::Shape;
use crate::spec::search_parameter::SearchType;

use super::super::Filter;
use super::super::compare::Comparison;
use super::super::composite::{UNCLEAR, ways};
use super::super::criterion::{Criteria, Raw};
use super::super::fault::Reason;
use super::super::parameter::Parameter;
use super::syntax::{Expression, Operator, Step, Test};
use super::{is_measure, is_ordering, located, unfit};

impl<'c> Criteria<'c> {
    /// What the parts of a composite are asked for: those within the brackets of `step`, and the last one, which
    /// follows it.
    pub(super) fn parts(
        &mut self,
        composite: &Parameter<'_>,
        (step, rest): (&Step<'_>, &[Step<'_>]),
        test: &Test<'_>,
    ) -> Result<Filter, Vec<Reason>> {
        let names = self.names_of_parts(composite);
        let wrong = |text: String| located(step.column, Reason::name(text).into());
        let not_each = || {
            let parts = names.join(", ");
            wrong(format!("each part of {} is asked for once: {parts}", composite.code))
        };
        let last = match rest {
            [Step { name, filter: None, .. }] => Some((*name, test)),
            _ => None,
        };
        let within: Vec<_> = match &step.filter {
            Some(Expression::All(all)) => all.iter().map(alone).collect(),
            other => vec![other.as_ref().and_then(alone)],
        };
        let asked: Option<Vec<_>> = within.into_iter().chain([last]).collect();
        let asked = asked.filter(|asked| asked.len() == names.len()).ok_or_else(not_each)?;
        let mut parts = Vec::with_capacity(names.len());
        for (name, shape) in names.iter().zip(composite.shapes()) {
            let test = asked.iter().find(|(asked, _)| asked == name).ok_or_else(not_each)?.1;
            parts.push(self.part(shape, test)?);
        }
        let found = ways(&parts).ok_or_else(|| wrong(format!("is not {UNCLEAR}")))?;
        Ok(composite.test(found.into_iter().map(Comparison::Composite).collect()))
    }

    /// The names of the parts of a composite, in its order.
    fn names_of_parts(&self, composite: &Parameter<'_>) -> Vec<&'c str> {
        let known = self.context.extractor.search_parameters();
        let found = composite.keys.first().and_then(|key| known.find(key.resource_type, &key.code));
        let components = found.map_or(&[][..], |found| &found.components);
        let parts = components.iter().filter_map(|part| known.by_url(&part.definition));
        parts.map(|part| &*part.code).collect()
    }

    /// What one part is compared as.
    fn part(&mut self, shape: &Shape<'_>, test: &Test<'_>) -> Result<Vec<Comparison>, Vec<Reason>> {
        let Test { operator, value, .. } = test;
        let has_order = is_measure(shape.search_type);
        let fits = match shape.search_type {
            SearchType::Reference | SearchType::Uri => {
                matches!(operator, Operator::Eq | Operator::Re)
            }
            SearchType::String => *operator == Operator::Sw,
            _ if has_order => is_ordering(*operator),
            _ => *operator == Operator::Eq,
        };
        if !fits {
            let what = format!("a part that is a {}", shape.search_type.as_str());
            return Err(located(test.operator_column, unfit(*operator, &what).into()));
        }
        let asked = if has_order { operator.as_str().to_owned() + value } else { value.clone() };
        let raw = Raw { text: &asked, place: 1 };
        let compared = self.spend(1).and_then(|()| self.plain(slice::from_ref(shape), raw));
        compared.map_err(|reason| located(test.value_column, reason.into()))
    }
}

/// The part that an expression is about, and how it is compared; `None` where it is more than that.
fn alone<'e>(expression: &'e Expression<'_>) -> Option<(&'e str, &'e Test<'e>)> {
    let Expression::Test(test) = expression else { return None };
    match &test.path[..] {
        [Step { name, filter: None, .. }] => Some((*name, test)),
        _ => None,
    }
}
