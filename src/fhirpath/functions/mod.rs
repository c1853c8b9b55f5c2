//! The function library: a table of functions by name, in files by chapter.
//!
//! To add one: write it over a [`Call`] and put its row in the table of its file.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#functions>, <https://hl7.org/fhir/R4/fhirpath.html#functions>

use std::borrow::Cow;

use super::ast::{Kind, Literal, Node as Tree};
use super::eval::{Evaluator, Frame, Outcome, operand};
use super::item::{Item, System};
use super::operators::BYTES_A_STEP;
use crate::fhir::schema::Schema;

mod boundaries;
mod combining;
mod conversion;
mod encoding;
mod existence;
mod fhir;
mod filtering;
mod knowledge;
mod math;
mod order;
mod pattern;
mod strings;
mod subsetting;
mod utility;

pub(super) use pattern::Pattern;

/// One function of the library.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    /// Fewest arguments.
    pub(super) least: usize,
    /// Most arguments.
    pub(super) most: usize,
    pub(super) run: Run,
}

type Run = for<'c, 'e, 'v> fn(&mut Call<'c, 'e, 'v>) -> Outcome<Vec<Item<'v>>>;

const fn function(name: &'static str, least: usize, most: usize, run: Run) -> Function {
    Function { name, least, most, run }
}

static TABLES: [&[Function]; 14] = [
    boundaries::TABLE,
    combining::TABLE,
    conversion::TABLE,
    encoding::TABLE,
    existence::TABLE,
    fhir::TABLE,
    filtering::TABLE,
    knowledge::TABLE,
    math::TABLE,
    order::TABLE,
    pattern::TABLE,
    strings::TABLE,
    subsetting::TABLE,
    utility::TABLE,
];

/// The function called `name`.
pub(super) fn named(name: &str) -> Option<&'static Function> {
    TABLES.iter().flat_map(|table| table.iter()).find(|function| function.name == name)
}

/// The regular expression of a call, made when it is first used and kept with the expression.
pub(super) fn pattern(
    function: Option<&'static Function>,
    arguments: &[Tree],
) -> Option<Box<Pattern>> {
    let takes_one = |function: &Function| pattern::TABLE.iter().any(|it| it.name == function.name);
    let is_constant = matches!(arguments.first()?.kind, Kind::Literal(Literal::String(_)));
    (is_constant && function.is_some_and(takes_one)).then(Box::default)
}

/// A function at work: its input, its arguments not yet evaluated, and the evaluator.
pub(super) struct Call<'c, 'e, 'v> {
    pub(super) evaluator: &'c mut Evaluator<'e, 'v>,
    pub(super) name: &'v str,
    pub(super) input: Vec<Item<'v>>,
    pub(super) arguments: &'v [Tree],
    pub(super) pattern: Option<&'v Pattern>,
    /// The frame outside the call: in it arguments that are no criteria are evaluated.
    pub(super) frame: Frame<'c, 'v>,
    pub(super) start: u32,
}

impl<'v> Call<'_, '_, 'v> {
    fn schema(&self) -> &'v Schema {
        self.evaluator.schema()
    }

    fn fail<T>(&self, reason: impl Into<Cow<'static, str>>) -> Outcome<T> {
        operand(self.start, reason)
    }

    fn take_input(&mut self) -> Vec<Item<'v>> {
        std::mem::take(&mut self.input)
    }

    /// The collection that argument `at` gives.
    fn argument(&mut self, at: usize) -> Outcome<Vec<Item<'v>>> {
        match self.arguments.get(at) {
            Some(tree) => self.evaluator.items(tree, self.frame),
            None => Ok(Vec::new()),
        }
    }

    /// The one value that argument `at` gives; `None` when it is empty or absent.
    fn value_argument(&mut self, at: usize) -> Outcome<Option<System<'v>>> {
        let mut items = self.argument(at)?;
        if items.len() > 1 {
            return self.fail("an argument has several items where one is expected");
        }
        let value = items.pop().and_then(|item| item.system(self.schema()));
        self.charged(value)
    }

    /// The value, once its text is paid for: what a function does with one is linear in it.
    fn charged(&mut self, value: Option<System<'v>>) -> Outcome<Option<System<'v>>> {
        if let Some(System::String(text)) = &value {
            self.spend_bytes(text.len())?;
        }
        Ok(value)
    }

    fn text_argument(&mut self, at: usize) -> Outcome<Option<Cow<'v, str>>> {
        match self.value_argument(at)? {
            None => Ok(None),
            Some(System::String(text)) => Ok(Some(text)),
            Some(_) => self.fail("an argument is no text"),
        }
    }

    fn integer_argument(&mut self, at: usize) -> Outcome<Option<i64>> {
        match self.value_argument(at)? {
            None => Ok(None),
            Some(System::Integer(value)) => Ok(Some(value)),
            Some(_) => self.fail("an argument is no whole number"),
        }
    }

    /// The one item of the input; `None` when it is empty.
    fn single_input(&mut self) -> Outcome<Option<Item<'v>>> {
        if self.input.len() > 1 {
            return self.fail("the function works on one item, not several");
        }
        Ok(self.input.pop())
    }

    /// The one value of the input; `None` when it is empty or no value.
    fn value_input(&mut self) -> Outcome<Option<System<'v>>> {
        let value = self.single_input()?.and_then(|item| item.system(self.schema()));
        self.charged(value)
    }

    /// Charges for a text of this many bytes.
    fn spend_bytes(&mut self, bytes: usize) -> Outcome<()> {
        self.evaluator.spend(bytes / BYTES_A_STEP, self.start)
    }

    /// The one text of the input; `None` when it is empty.
    fn text_input(&mut self) -> Outcome<Option<Cow<'v, str>>> {
        let Some(item) = self.single_input()? else { return Ok(None) };
        let value = item.system(self.schema());
        match self.charged(value)? {
            Some(System::String(text)) => Ok(Some(text)),
            _ => self.fail("the function works on texts"),
        }
    }

    /// What criteria `at` say of `item`, which stands at `index`; empty counts as false.
    fn holds(&mut self, at: usize, item: &Item<'v>, index: usize) -> Outcome<bool> {
        let arguments = self.arguments;
        let Some(tree) = arguments.get(at) else { return Ok(true) };
        let focus = std::slice::from_ref(item);
        let frame = Frame { focus, index: Some(index), ..self.frame };
        Ok(self.evaluator.condition(tree, frame)?.unwrap_or(false))
    }

    /// What argument `at` gives for `item`, which stands at `index`.
    fn project(&mut self, at: usize, item: &Item<'v>, index: usize) -> Outcome<Vec<Item<'v>>> {
        let arguments = self.arguments;
        let Some(tree) = arguments.get(at) else { return Ok(Vec::new()) };
        let focus = std::slice::from_ref(item);
        self.evaluator.items(tree, Frame { focus, index: Some(index), ..self.frame })
    }
}

fn optional<'v>(item: Option<impl Into<Item<'v>>>) -> Vec<Item<'v>> {
    item.into_iter().map(Into::into).collect()
}

fn one<'v>(item: impl Into<Item<'v>>) -> Vec<Item<'v>> {
    vec![item.into()]
}
