//! The state of one walk: what it goes by, where it is, what it found, what it may still spend.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::fhir::json::Value;
use crate::fhir::schema::{Schema, TypeId, TypeKind};
use crate::fhir::{Entries, Issue, IssueCode, Severity};
use crate::fhirpath::{Cause, EvaluationError, Item, Node};
use crate::validate::place::Place;

use super::findings::{By, Findings};
use super::knowledge::Asked;
use super::rules::{Constraint, Profile};
use super::{Options, Validator};

/// Steps that any document may take.
const FREE_STEPS: u64 = 2_000_000;
/// Steps that each value of a document adds: what honest documents need is a few hundred.
const STEPS_A_VALUE: u64 = 1_000;
/// The most steps of a document, however large: half a minute or less.
const MAX_STEPS: u64 = 500_000_000;
/// Longest time of one expression, as a processor works at it: it may take all steps of its document, which are many
/// where that is large.
pub(super) const EXPRESSION_TIME: Duration = Duration::from_secs(30);
/// How deep profiles may lead to profiles.
const MAX_NESTED: u16 = 24;

/// What `%resource` and references mean at one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'w> {
    /// The resource that the element is in.
    pub(super) resource: &'w Value<'w>,
    /// The resource that contains it, or it itself.
    pub(super) root: &'w Value<'w>,
    /// The `fullUrl` of the entry that it is in.
    pub(super) full_url: Option<&'w str>,
}

impl<'w> Scope<'w> {
    /// That of a document.
    pub(super) fn of(document: &'w Value<'w>) -> Self {
        Self { resource: document, root: document, full_url: None }
    }
}

/// The steps that the judgement of a document may take.
pub(super) fn steps(document: &Value<'_>) -> u64 {
    FREE_STEPS.saturating_add(STEPS_A_VALUE.saturating_mul(count(document))).min(MAX_STEPS)
}

/// One walk.
pub(super) struct Walk<'w> {
    pub(super) validator: &'w Validator,
    pub(super) schema: &'w Schema,
    pub(super) options: &'w Options<'w>,
    pub(super) findings: Findings,
    pub(super) scope: Scope<'w>,
    /// The entries of the innermost Bundle.
    pub(super) entries: Option<Arc<Entries<'w>>>,
    /// The ids of elements seen in the resource.
    pub(super) ids: HashSet<&'w str>,
    /// Steps that are left.
    pub(super) steps: u64,
    /// How often an expression's `conformsTo()` led here.
    pub(super) asked: u8,
    /// Values and profiles that were brought together.
    /// What errors were at most then.
    judged: HashMap<Pair, Severity>,
    /// What trials found.
    trials: HashMap<Pair, bool>,
    /// Those that were tried, in their order.
    tried: Vec<Pair>,
    nested: u16,
    is_explaining: bool,
    /// Where nothing was left to spend, and what was at its end.
    spent_at: Option<(String, Spent)>,
    /// The regular expression of a Questionnaire that was needed last.
    pub(super) regex: Option<(&'w str, Arc<Constraint>)>,
}

/// What a walk came to the end of.
#[derive(Clone, Copy, Debug)]
enum Spent {
    /// Its steps.
    Steps,
    /// The time of an expression.
    Time,
}

/// A value and a profile, by their addresses.
type Pair = (usize, usize);

impl<'w> Walk<'w> {
    pub(super) fn new(
        validator: &'w Validator,
        options: &'w Options<'w>,
        document: &'w Value<'w>,
    ) -> Self {
        Self::within(validator, options, Scope::of(document), steps(document))
    }

    /// A walk in the scope of another, with the steps that are left of it.
    pub(super) fn within(
        validator: &'w Validator,
        options: &'w Options<'w>,
        scope: Scope<'w>,
        steps: u64,
    ) -> Self {
        Self {
            validator,
            schema: &validator.spec.schema,
            options,
            findings: Findings::new(options.least),
            scope,
            entries: None,
            ids: HashSet::new(),
            steps,
            asked: 0,
            judged: HashMap::new(),
            trials: HashMap::new(),
            tried: Vec::new(),
            nested: 0,
            is_explaining: false,
            spent_at: None,
            regex: None,
        }
    }

    /// What was found. That nothing was left to spend is an error wherever it came to that: what was
    /// not looked at may have been asked by the base definitions.
    pub(super) fn into_issues(self) -> Vec<Issue> {
        let mut issues = self.findings.into_issues();
        let longest = self.options.expression_time.as_millis();
        issues.extend(self.spent_at.map(|(place, spent)| {
            let text = match spent {
                Spent::Steps => format!("{place}: the document takes too much work to be judged"),
                Spent::Time => format!("{place}: an expression takes longer than {longest} ms"),
            };
            Issue { expression: place, ..Issue::error(IssueCode::TooCostly, text) }
        }));
        issues
    }

    /// Pays for a piece of work; false when nothing is left, which is said once.
    pub(super) fn pay(&mut self, steps: u64, place: &Place<'_>) -> bool {
        if let Some(left) = self.steps.checked_sub(steps) {
            self.steps = left;
            return true;
        }
        self.steps = 0;
        self.say_spent(place, Spent::Steps);
        false
    }

    /// Takes what the answers to an expression cost off what is left.
    pub(super) fn pay_for(&mut self, asked: &Asked<'_>, before: u64, place: &Place<'_>) {
        self.steps = self.steps.saturating_sub(before.saturating_sub(asked.left()));
        if asked.left() == 0 {
            self.say_spent(place, Spent::Steps);
        }
    }

    /// Whether an expression was ended because it took too much: then there is nothing left to spend, for
    /// who asked for this walk neither.
    pub(super) fn is_ended(&mut self, fault: &EvaluationError, place: &Place<'_>) -> bool {
        let spent = match fault.cause {
            Cause::Budget => Spent::Steps,
            Cause::Time => Spent::Time,
            Cause::Operand | Cause::Unsupported => return false,
        };
        self.steps = 0;
        self.say_spent(place, spent);
        true
    }

    /// Says, once, that the document takes too much work.
    fn say_spent(&mut self, place: &Place<'_>, spent: Spent) {
        self.spent_at.get_or_insert_with(|| (place.to_string(), spent));
    }

    /// Whether the walk may stop.
    pub(super) fn is_over(&self) -> bool {
        self.spent_at.is_some() || self.findings.is_full()
    }

    /// Judges a value by a profile; what was brought together before is passed over.
    pub(super) fn apply(&mut self, profile: &Arc<Profile>, node: &Node<'w>, place: &Place<'_>) {
        if self.findings.is_trial() {
            if !self.fits(profile, node, place) {
                let rule = format_args!("does not conform");
                self.findings.add(
                    Severity::Error,
                    IssueCode::Structure,
                    place,
                    rule,
                    By::default(),
                );
            }
            return;
        }
        let (pair, worst) = (pair(node, profile), self.findings.worst);
        // What was only warned about may be an error now.
        if self.judged.get(&pair).is_none_or(|before| *before > worst) {
            self.judged.insert(pair, worst);
            self.judge(profile, node, place);
        }
    }

    /// Whether a value conforms to a profile. One that is being asked about is taken to.
    pub(super) fn fits(
        &mut self,
        profile: &Arc<Profile>,
        node: &Node<'w>,
        place: &Place<'_>,
    ) -> bool {
        let pair = pair(node, profile);
        if let Some(&known) = self.trials.get(&pair) {
            return known;
        }
        self.trials.insert(pair, true);
        let first = self.tried.len();
        let outer = std::mem::replace(&mut self.findings, Findings::trial());
        self.judge(profile, node, place);
        let fits = !self.findings.has_error();
        self.findings = outer;
        if !fits {
            // What was found to conform may have leaned on this one.
            for other in self.tried.drain(first..) {
                self.trials.remove(&other);
            }
        }
        self.tried.push(pair);
        self.trials.insert(pair, fits);
        fits
    }

    /// The first fault that keeps a value from conforming to a profile; nobody asks for one while
    /// another is looked for, so that looking is not done again at each step.
    pub(super) fn fault(
        &mut self,
        profile: &Arc<Profile>,
        node: &Node<'w>,
        place: &Place<'_>,
    ) -> Option<String> {
        if self.is_explaining || self.findings.is_trial() {
            return None;
        }
        self.is_explaining = true;
        let outer = std::mem::replace(&mut self.findings, Findings::new(Severity::Error));
        self.judge(profile, node, place);
        self.is_explaining = false;
        let inner = std::mem::replace(&mut self.findings, outer);
        inner.into_issues().into_iter().next().map(|issue| issue.diagnostics)
    }

    fn judge(&mut self, profile: &Arc<Profile>, node: &Node<'w>, place: &Place<'_>) {
        let by = By { profile: Some(&profile.canonical), slice: None };
        if !self.schema.is_a(node.type_id, profile.type_id) {
            let (is, wanted) = (self.name(node.type_id), self.name(profile.type_id));
            let rule = format_args!("the profile is for {wanted}, not for {is}");
            self.findings.add(Severity::Error, IssueCode::Structure, place, rule, by);
            return;
        }
        if self.nested >= MAX_NESTED {
            let rule = format_args!("profiles lead to profiles too deep");
            self.findings.add(Severity::Warning, IssueCode::TooCostly, place, rule, by);
            return;
        }
        self.nested += 1;
        let outer = self.enter(node);
        self.conform(&profile.rules, node, place, by);
        self.scope = outer;
        self.nested -= 1;
    }

    /// Takes the scope of a resource, and gives the one before; other elements leave it as it is.
    pub(super) fn enter(&mut self, node: &Node<'w>) -> Scope<'w> {
        let outer = self.scope;
        let value = node.value;
        if self.schema.get(node.type_id).kind != TypeKind::Resource
            || std::ptr::eq(value, outer.resource)
        {
            return outer;
        }
        let entry = self.entries.as_ref().and_then(|entries| entries.full_url(value));
        let contained = outer.root.items_at("contained").as_ptr_range();
        self.scope = if contained.contains(&std::ptr::from_ref(value)) {
            Scope { resource: value, ..outer }
        } else {
            Scope { resource: value, root: value, full_url: entry }
        };
        outer
    }

    /// What expressions may ask.
    pub(super) fn asked(&self) -> Asked<'w> {
        Asked::by(self)
    }

    /// The elements called `name` of a node.
    pub(super) fn named(&self, node: &Node<'w>, name: &str) -> Vec<Node<'w>> {
        let mut items = Vec::new();
        node.named(name, self.schema, &mut items);
        items
            .into_iter()
            .filter_map(|item| if let Item::Node(it) = item { Some(it) } else { None })
            .collect()
    }

    /// Whether a value of the type `id` may stand where `wanted` is allowed: a resource of any type
    /// where a more general one is, but a code is no string there.
    pub(super) fn is_of(&self, id: TypeId, wanted: TypeId) -> bool {
        let is_resource = self.schema.get(wanted).kind == TypeKind::Resource;
        id == wanted || (is_resource && self.schema.is_a(id, wanted))
    }

    /// The name of a type.
    pub(super) fn name(&self, type_id: TypeId) -> &'w str {
        &self.schema.get(type_id).name
    }
}

fn pair(node: &Node<'_>, profile: &Arc<Profile>) -> Pair {
    // A primitive without a value is told apart by what stands beside it.
    let value = match (node.value, node.sibling) {
        (Value::Null, Some(sibling)) => sibling,
        (value, _) => value,
    };
    (std::ptr::from_ref(value).addr(), Arc::as_ptr(profile).addr())
}

/// How many values a document has.
fn count(value: &Value<'_>) -> u64 {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<u64>(),
        Value::Object(object) => 1 + object.iter().map(|(_, value)| count(value)).sum::<u64>(),
        _ => 1,
    }
}
