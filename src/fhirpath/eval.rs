//! The evaluator: a tree over a document to a collection of items.
//!
//! Items borrow from the document and the expression; nothing is cloned but the few words an
//! item has. Every visited node and every text that is made or looked at is charged to a budget, so no
//! expression runs for long. The time is looked at now and then as well, for a step that takes longer
//! than any should.
//!
//! Spec: <https://hl7.org/fhirpath/N1/#expressions>

use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

use super::ast::{Kind, Literal, Name, Node as Tree, TypeTest};
use super::environment::{Cause, Environment};
use super::functions::Call;
use super::item::{Item, System};
use super::quantity::Quantity;
use super::temporal::Temporal;
use super::{compare, navigate, operators, types};
use crate::fhir::schema::Schema;

/// More texts than these are told apart by their hashes: comparing each with each would be slow.
const FEW: usize = 8;

/// Steps from one look at the time to the next: reading it costs as much as some of them.
const STEPS_A_LOOK: u64 = 4_096;

/// A fault and the byte of the text it belongs to.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) cause: Cause,
    pub(super) reason: Cow<'static, str>,
    pub(super) start: u32,
}

pub(super) type Outcome<T> = Result<T, Fault>;

/// A fault of the operands' types or number.
pub(super) fn operand<T>(start: u32, reason: impl Into<Cow<'static, str>>) -> Outcome<T> {
    Err(Fault { cause: Cause::Operand, reason: reason.into(), start })
}

/// What `$this`, `$index` and `$total` mean at one place.
#[derive(Clone, Copy)]
pub(super) struct Frame<'f, 'v> {
    pub(super) focus: &'f [Item<'v>],
    pub(super) index: Option<usize>,
    pub(super) total: Option<&'f [Item<'v>]>,
}

pub(super) struct Evaluator<'e, 'v> {
    pub(super) environment: &'e Environment<'v>,
    /// The item the expression was asked of: `%context`.
    context: Item<'v>,
    steps: u64,
    /// When fewer steps than these are left, the time is looked at.
    look_below: u64,
    /// What the stopwatch said at the first look.
    began: Option<Duration>,
    /// Children that a path is still walking through; empty between paths.
    pending: Vec<Item<'v>>,
}

impl<'e, 'v> Evaluator<'e, 'v> {
    pub(super) fn new(environment: &'e Environment<'v>, context: Item<'v>, steps: u64) -> Self {
        let look_below = steps.saturating_sub(STEPS_A_LOOK);
        Self { environment, context, steps, look_below, began: None, pending: Vec::new() }
    }

    /// The steps that are left.
    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn run(&mut self, tree: &'v Tree) -> Outcome<Vec<Item<'v>>> {
        let focus = [self.context.clone()];
        self.items(tree, Frame { focus: &focus, index: None, total: None })
    }

    pub(super) fn schema(&self) -> &'v Schema {
        self.environment.schema
    }

    /// Charges `steps` to the budget, and now and then looks at the time.
    pub(super) fn spend(&mut self, steps: usize, start: u32) -> Outcome<()> {
        let Some(left) = self.steps.checked_sub(steps as u64) else {
            let reason = Cow::Borrowed("the expression takes too many steps");
            return Err(Fault { cause: Cause::Budget, reason, start });
        };
        self.steps = left;
        if left < self.look_below { self.look(start) } else { Ok(()) }
    }

    /// Whether there is time left. The first look starts the stopwatch: what went before it was short.
    #[cold]
    fn look(&mut self, start: u32) -> Outcome<()> {
        self.look_below = self.steps.saturating_sub(STEPS_A_LOOK);
        let Environment { stopwatch, time, .. } = self.environment;
        let reading = stopwatch.reading();
        let began = *self.began.get_or_insert(reading);
        if reading.saturating_sub(began) < *time {
            return Ok(());
        }
        let reason = format!("the expression takes longer than {} ms", time.as_millis()).into();
        Err(Fault { cause: Cause::Time, reason, start })
    }

    /// The collection that `tree` gives.
    pub(super) fn items(&mut self, tree: &'v Tree, frame: Frame<'_, 'v>) -> Outcome<Vec<Item<'v>>> {
        let mut out = Vec::new();
        self.eval(tree, frame, &mut out)?;
        Ok(out)
    }

    /// Appends the collection that `tree` gives, and charges for each item of it.
    pub(super) fn eval(
        &mut self,
        tree: &'v Tree,
        frame: Frame<'_, 'v>,
        out: &mut Vec<Item<'v>>,
    ) -> Outcome<()> {
        let before = out.len();
        self.append(tree, frame, out)?;
        self.spend(1 + out.len().saturating_sub(before), tree.start)
    }

    fn append(
        &mut self,
        tree: &'v Tree,
        frame: Frame<'_, 'v>,
        out: &mut Vec<Item<'v>>,
    ) -> Outcome<()> {
        match &tree.kind {
            Kind::Binary(operator, left, right) => {
                let result = operators::binary(self, *operator, left, right, frame, tree.start)?;
                out.extend(result);
            }
            Kind::Call { .. } => self.call(tree, frame, out)?,
            Kind::Empty => {}
            Kind::External(name) => self.external(name, tree.start, out)?,
            Kind::Indexer(of, at) => out.extend(self.indexed(of, at, frame)?),
            Kind::Literal(literal) => out.push(Item::Value(constant(literal))),
            Kind::Path { of, names } => self.path(of.as_deref(), names, frame, tree.start, out)?,
            Kind::Polarity { negative, of } => {
                let items = self.items(of, frame)?;
                out.extend(operators::signed(self, *negative, items, tree.start)?);
            }
            Kind::Position => match frame.index {
                Some(index) => out.push(Item::from(index as i64)),
                None => return operand(tree.start, "$index has no meaning here"),
            },
            Kind::This => out.extend_from_slice(frame.focus),
            Kind::Total => match frame.total {
                Some(total) => out.extend_from_slice(total),
                None => return operand(tree.start, "$total has no meaning here"),
            },
            Kind::Type { .. } => self.typed(tree, frame, out)?,
            Kind::Union(arms) => {
                let mut all = Vec::new();
                for arm in arms {
                    self.eval(arm, frame, &mut all)?;
                }
                self.distinct(all, tree.start, out)?;
            }
        }
        Ok(())
    }

    /// Appends those of `items` that equal none before them.
    pub(super) fn distinct(
        &mut self,
        items: Vec<Item<'v>>,
        start: u32,
        out: &mut Vec<Item<'v>>,
    ) -> Outcome<()> {
        if items.len() > FEW
            && let Some(texts) = self.texts(&items)
        {
            let bytes: usize = texts.iter().map(|text| text.len()).sum();
            self.spend(items.len() + bytes / operators::BYTES_A_STEP, start)?;
            let mut seen = HashSet::with_capacity(texts.len());
            let is_new = texts.into_iter().map(|text| seen.insert(text));
            let kept = items.into_iter().zip(is_new).filter(|(_, is_new)| *is_new);
            out.extend(kept.map(|(item, _)| item));
            return Ok(());
        }
        let from = out.len();
        for item in items {
            if !self.contains(&out[from..], &item, start)? {
                out.push(item);
            }
        }
        Ok(())
    }

    /// The texts of items that are all texts.
    fn texts(&self, items: &[Item<'v>]) -> Option<Vec<Cow<'v, str>>> {
        let text = |item: &Item<'v>| match item.system(self.schema()) {
            Some(System::String(text)) => Some(text),
            _ => None,
        };
        items.iter().map(text).collect()
    }

    /// Whether one of `items` equals `wanted`.
    pub(super) fn contains(
        &mut self,
        items: &[Item<'v>],
        wanted: &Item<'v>,
        start: u32,
    ) -> Outcome<bool> {
        for item in items {
            if self.equal(item, wanted, start)? == Some(true) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `=` of two items, charged by their nodes and the bytes that both have.
    pub(super) fn equal(
        &mut self,
        left: &Item<'v>,
        right: &Item<'v>,
        start: u32,
    ) -> Outcome<Option<bool>> {
        self.spend(1, start)?;
        let schema = self.schema();
        let equal = compare::equal(left, right, schema, &mut self.steps);
        self.spend(1, start)?;
        Ok(equal)
    }

    /// `~` of two items, charged by their nodes and the bytes of their texts.
    pub(super) fn equivalent(
        &mut self,
        left: &Item<'v>,
        right: &Item<'v>,
        start: u32,
    ) -> Outcome<bool> {
        let schema = self.schema();
        let equivalent = compare::equivalent(left, right, schema, &mut self.steps);
        self.spend(1, start)?;
        Ok(equivalent)
    }

    /// A condition: `None` for an empty collection; one item that is no boolean counts as true.
    pub(super) fn condition(
        &mut self,
        tree: &'v Tree,
        frame: Frame<'_, 'v>,
    ) -> Outcome<Option<bool>> {
        let items = self.items(tree, frame)?;
        match items.as_slice() {
            [] => Ok(None),
            [item] => match item.system(self.schema()) {
                Some(System::Boolean(value)) => Ok(Some(value)),
                _ => Ok(Some(true)),
            },
            _ => operand(tree.start, "one boolean is expected, not several items"),
        }
    }

    /// The one item of a collection; `None` when it is empty.
    pub(super) fn single(
        &mut self,
        tree: &'v Tree,
        frame: Frame<'_, 'v>,
    ) -> Outcome<Option<Item<'v>>> {
        let mut items = self.items(tree, frame)?;
        if items.len() > 1 {
            return operand(tree.start, "one item is expected, not several");
        }
        Ok(items.pop())
    }

    fn call(
        &mut self,
        tree: &'v Tree,
        frame: Frame<'_, 'v>,
        out: &mut Vec<Item<'v>>,
    ) -> Outcome<()> {
        let Kind::Call { of, name, function, arguments, pattern } = &tree.kind else {
            return Ok(());
        };
        let Some(function) = function else {
            let reason = format!("the function {name}() is not supported").into();
            return Err(Fault { cause: Cause::Unsupported, reason, start: tree.start });
        };
        if !(function.least..=function.most).contains(&arguments.len()) {
            return operand(tree.start, format!("{name}() has the wrong number of arguments"));
        }
        let input = match of {
            Some(of) => self.items(of, frame)?,
            None => frame.focus.to_vec(),
        };
        let pattern = pattern.as_deref();
        let start = tree.start;
        let mut call = Call { evaluator: self, name, input, arguments, pattern, frame, start };
        let result = (function.run)(&mut call)?;
        if out.is_empty() {
            *out = result;
        } else {
            out.extend(result);
        }
        Ok(())
    }

    fn external(&mut self, name: &'v str, start: u32, out: &mut Vec<Item<'v>>) -> Outcome<()> {
        let environment = self.environment;
        if let Some((_, items)) = environment.variables.iter().find(|(known, _)| **known == *name) {
            out.extend_from_slice(items);
            return Ok(());
        }
        let item = match name {
            "context" => self.context.clone(),
            "resource" => environment.resource(),
            "rootResource" => environment.root_resource(),
            "loinc" => Item::from("http://loinc.org"),
            "sct" => Item::from("http://snomed.info/sct"),
            "ucum" => Item::from("http://unitsofmeasure.org"),
            _ => match (name.strip_prefix("vs-"), name.strip_prefix("ext-")) {
                (Some(rest), _) => Item::from(format!("http://hl7.org/fhir/ValueSet/{rest}")),
                (_, Some(rest)) => {
                    Item::from(format!("http://hl7.org/fhir/StructureDefinition/{rest}"))
                }
                _ => return operand(start, format!("%{name} is not known")),
            },
        };
        out.push(item);
        Ok(())
    }

    fn indexed(
        &mut self,
        of: &'v Tree,
        at: &'v Tree,
        frame: Frame<'_, 'v>,
    ) -> Outcome<Option<Item<'v>>> {
        let mut items = self.items(of, frame)?;
        let Some(index) = self.single(at, frame)? else { return Ok(None) };
        let Some(System::Integer(index)) = index.system(self.schema()) else {
            return operand(at.start, "an index is a whole number");
        };
        let index = usize::try_from(index).ok().filter(|&index| index < items.len());
        Ok(index.map(|index| items.swap_remove(index)))
    }

    fn path(
        &mut self,
        of: Option<&'v Tree>,
        names: &'v [Name],
        frame: Frame<'_, 'v>,
        start: u32,
        out: &mut Vec<Item<'v>>,
    ) -> Outcome<()> {
        if let Some(of) = of {
            for item in self.items(of, frame)? {
                self.walk(&item, names, start, out)?;
            }
            return Ok(());
        }
        let Some((first, rest)) = names.split_first() else { return Ok(()) };
        // A chain may begin with the type of what it starts from: `Patient.name`. No element is called like
        // a type, so what begins with another one leads nowhere: most arms of a search expression do.
        let is_type = first.text.starts_with(|letter: char| letter.is_ascii_uppercase());
        for item in frame.focus {
            if !is_type {
                self.walk(item, names, start, out)?;
            } else if types::named(item, &first.text, self.schema()) {
                self.walk(item, rest, start, out)?;
            }
        }
        Ok(())
    }

    /// Appends what `names` lead to from `item`. No deeper than the document is.
    fn walk(
        &mut self,
        item: &Item<'v>,
        names: &'v [Name],
        start: u32,
        out: &mut Vec<Item<'v>>,
    ) -> Outcome<()> {
        let Some((first, rest)) = names.split_first() else {
            out.push(item.clone());
            return Ok(());
        };
        self.spend(1, start)?;
        let Item::Node(node) = item else {
            if rest.is_empty() {
                out.extend(navigate::part(item, &first.text));
            }
            return Ok(());
        };
        let before = out.len();
        if rest.is_empty() {
            navigate::named(self.schema(), node, &first.text, out);
            return self.spend(out.len() - before, start);
        }
        let from = self.pending.len();
        navigate::named(self.schema(), node, &first.text, &mut self.pending);
        let until = self.pending.len();
        for at in from..until {
            let child = self.pending[at].clone();
            self.walk(&child, rest, start, out)?;
        }
        self.pending.truncate(from);
        Ok(())
    }

    fn typed(
        &mut self,
        tree: &'v Tree,
        frame: Frame<'_, 'v>,
        out: &mut Vec<Item<'v>>,
    ) -> Outcome<()> {
        let Kind::Type { test, of, specifier } = &tree.kind else { return Ok(()) };
        let mut items = match of {
            Some(of) => self.items(of, frame)?,
            None => frame.focus.to_vec(),
        };
        let schema = self.schema();
        match test {
            TypeTest::Is => match items.as_slice() {
                [] => {}
                [item] => out.push(Item::from(types::matches(item, specifier, schema))),
                _ => return operand(tree.start, "is needs one item, not several"),
            },
            TypeTest::As | TypeTest::AsFunction | TypeTest::OfType => {
                if !types::exists(specifier, schema) {
                    return operand(tree.start, format!("there is no type {}", specifier.name));
                }
                // On several items the operator `as` filters, as R4's search expressions need it.
                if *test == TypeTest::AsFunction && items.len() > 1 {
                    return operand(tree.start, "as() needs one item, not several");
                }
                let is_operator = *test == TypeTest::As;
                items.retain(|item| {
                    types::keeps(item, specifier, schema)
                        || (is_operator && types::converts(item, specifier, schema))
                });
                out.append(&mut items);
            }
        }
        Ok(())
    }
}

fn constant(literal: &Literal) -> System<'_> {
    match literal {
        Literal::Boolean(value) => System::Boolean(*value),
        Literal::Decimal(value) => System::Decimal(*value),
        Literal::Integer(value) => System::Integer(*value),
        Literal::Quantity(value, unit) => {
            System::Quantity(Quantity { value: *value, unit: Cow::Borrowed(unit) })
        }
        Literal::String(text) => System::String(Cow::Borrowed(text)),
        Literal::Temporal(text) => match Temporal::parse(text) {
            Some(value) => System::Temporal(value),
            None => System::String(Cow::Borrowed(text)),
        },
    }
}
