//! FHIRPath: parsed once, evaluated over a document without copying it.
//!
//! [`Expression::parse`] reads the whole grammar of FHIRPath 2.0; evaluation goes by the element
//! table, so that choices, primitives with extensions and types behave as FHIR says. A function
//! that is not in `functions` parses and is refused when it is evaluated, by name, so that a
//! caller can pass over it and say so. `resolve()` never loads anything: it answers from the
//! document, else with what the reference itself tells.
//!
//! What it never does: I/O, changing a document, asking what time it is: it reads a stopwatch alone,
//! which ends what keeps a processor too long.
//!
//! Layer: 1. Imports `clock`, `fhir` and `ucum`.
//!
//! Spec: <https://hl7.org/fhirpath/N1/>, <https://hl7.org/fhir/R4/fhirpath.html>

mod ast;
mod check;
mod compare;
mod decimal;
mod environment;
mod eval;
mod functions;
mod item;
mod knowledge;
mod lexer;
mod locate;
mod navigate;
mod operators;
mod parser;
mod quantity;
mod temporal;
mod types;

use ast::{Kind, Node as Tree};
use eval::{Evaluator, Fault};

use crate::fhir::schema::{Schema, TypeId};

pub use compare::same_tree;
pub use decimal::Decimal;
pub use environment::{Cause, Environment, EvaluationError};
pub use item::{Item, Node, System, Target, TypeInfo};
pub use knowledge::{Answer, Ignorance, Knowledge};
pub use locate::{Step, locate};
pub use parser::ParseError;
pub use quantity::Quantity;
pub use temporal::{Temporal, TemporalKind};

/// A parsed expression; cheap to evaluate, small enough to keep.
#[derive(Clone, Debug)]
pub struct Expression {
    text: Box<str>,
    tree: Tree,
}

impl Expression {
    /// Reads a FHIRPath expression.
    ///
    /// # Errors
    /// [`ParseError`] with the column of the first fault; also for an expression that is longer
    /// or deeper than anything reasonable.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let tree = parser::parse(text)?;
        Ok(Self { text: text.into(), tree })
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Evaluates it on `%resource`.
    ///
    /// # Errors
    /// [`EvaluationError`]: wrong operands, an unknown function, too many steps, or too long a time.
    pub fn evaluate<'v>(
        &'v self,
        environment: &Environment<'v>,
    ) -> Result<Vec<Item<'v>>, EvaluationError> {
        self.evaluate_on(environment.resource(), environment)
    }

    /// Evaluates it on `focus`, which is also `%context`.
    ///
    /// # Errors
    /// See [`Expression::evaluate`].
    pub fn evaluate_on<'v>(
        &'v self,
        focus: Item<'v>,
        environment: &Environment<'v>,
    ) -> Result<Vec<Item<'v>>, EvaluationError> {
        let mut steps = environment.budget;
        self.evaluate_within(focus, environment, &mut steps)
    }

    /// [`Expression::evaluate_on`] that takes its steps from `steps`, in place of the environment's
    /// budget: many expressions can share one. The time is that of each.
    ///
    /// # Errors
    /// See [`Expression::evaluate`].
    pub fn evaluate_within<'v>(
        &'v self,
        focus: Item<'v>,
        environment: &Environment<'v>,
        steps: &mut u64,
    ) -> Result<Vec<Item<'v>>, EvaluationError> {
        let mut evaluator = Evaluator::new(environment, focus, *steps);
        let found = evaluator.run(&self.tree);
        *steps = evaluator.steps();
        found.map_err(|fault| self.fault(fault))
    }

    /// Whether it can mean something where it is evaluated on a `context`: names that the element
    /// table does not have, unknown types, and asking for the order of what has none.
    ///
    /// Evaluation does not ask for it: there such a name finds nothing.
    ///
    /// # Errors
    /// [`EvaluationError`] with the first fault.
    pub fn check(&self, context: TypeId, schema: &Schema) -> Result<(), EvaluationError> {
        check::check(&self.tree, context, schema).map_err(|fault| self.fault(fault))
    }

    /// The types of what it may find where it is evaluated on a `context`, as the index of searches
    /// reads it: of a union the arms that mean something there count. `None`: any type.
    ///
    /// # Errors
    /// [`EvaluationError`] with the first fault, where it can find nothing at all.
    pub fn finds(
        &self,
        context: TypeId,
        schema: &Schema,
    ) -> Result<Option<Vec<TypeId>>, EvaluationError> {
        check::finds(&self.tree, context, schema).map_err(|fault| self.fault(fault))
    }

    fn fault(&self, fault: Fault) -> EvaluationError {
        let column = ParseError::new(&self.text, fault.start as usize, "").column;
        EvaluationError { cause: fault.cause, reason: fault.reason.into_owned(), column }
    }

    /// The functions it calls that this server does not have.
    pub fn unsupported(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.tree.visit(&mut |tree| {
            if let Kind::Call { name, function: None, .. } = &tree.kind {
                names.push(&**name);
            }
        });
        names
    }

    /// Where the last step is a plain element name: the expression before it, and the name.
    ///
    /// `Patient.name.given` gives `Patient.name` and `given`; `name` gives `$this` and `name`.
    pub fn parent(&self) -> Option<(Self, &str)> {
        let Kind::Path { of, names } = &self.tree.kind else { return None };
        let (last, before) = names.split_last()?;
        let tree = match (of, before) {
            (Some(of), []) => (**of).clone(),
            (None, []) => Tree { kind: Kind::This, ..self.tree.clone() },
            (of, before) => {
                let kind = Kind::Path { of: of.clone(), names: before.to_vec() };
                Tree { kind, ..self.tree.clone() }
            }
        };
        Some((Self { text: self.text.clone(), tree }, &last.text))
    }
}

#[cfg(test)]
mod tests;
