//! Invariants: FHIRPath on an element, within the walk's budget.
//!
//! Spec: <https://hl7.org/fhir/R4/conformance-rules.html#constraints>

use crate::fhir::{IssueCode, Severity};
use crate::fhirpath::{Environment, Item, Node, System};
use crate::validate::place::Place;

use super::findings::By;
use super::rules::Constraint;
use super::walk::Walk;

impl<'w> Walk<'w> {
    /// Checks an invariant on an element.
    ///
    /// It holds when its expression is true. One that gives nothing does not hold: it asks for
    /// something that is not there. One that cannot be evaluated is told, not failed.
    pub(super) fn constraint(
        &mut self,
        constraint: &Constraint,
        node: &Node<'w>,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        let severity = if constraint.is_error { Severity::Error } else { Severity::Warning };
        if !self.findings.wants(severity) {
            return;
        }
        let Constraint { key, human, .. } = constraint;
        match self.is_true(constraint, node, None, place) {
            Ok(true) => {}
            Ok(false) => {
                let rule = format_args!("{human} ({key})");
                self.findings.add(severity, IssueCode::Invariant, place, rule, by);
            }
            Err(reason) => {
                let rule = format_args!("the rule {key} cannot be checked: {reason}");
                let code = IssueCode::NotSupported;
                self.findings.add(Severity::Warning, code, place, rule, by);
            }
        }
    }

    /// What an expression says of an element, which may have an `%extension` in mind; a walk that
    /// has nothing left to spend says yes, and tells so itself.
    pub(super) fn is_true(
        &mut self,
        constraint: &Constraint,
        node: &Node<'w>,
        extension: Option<&Node<'w>>,
        place: &Place<'_>,
    ) -> Result<bool, String> {
        let expression = constraint.expression.as_ref().map_err(Clone::clone)?;
        let (asked, entries) = (self.asked(), self.entries.clone());
        let mut environment = Environment::new(self.scope.resource, self.schema)
            .with_root(self.scope.root)
            .with_time(self.options.expression_time)
            .with_knowledge(&asked);
        if let Some(entries) = &entries {
            environment = environment.with_entries(entries, self.scope.full_url);
        }
        if let Some(extension) = extension {
            environment = environment.with_variable("extension", vec![Item::Node(*extension)]);
        }
        let mut steps = self.steps;
        let found = expression.evaluate_within(Item::Node(*node), &environment, &mut steps);
        let before = std::mem::replace(&mut self.steps, steps);
        self.pay_for(&asked, before, place);
        match found {
            Ok(items) => Ok(match items.as_slice() {
                [] => false,
                [item] => !matches!(item.system(self.schema), Some(System::Boolean(false))),
                _ => true,
            }),
            Err(fault) if self.is_ended(&fault, place) => Ok(true),
            Err(fault) => Err(fault.to_string()),
        }
    }
}
