//! From a resource to the rows that searches look for.
//!
//! An [`Extractor`] is made once: every search parameter with an expression, for every type, as
//! plain element paths where it is of that form (`path`), else as FHIRPath. [`Extractor::extract`]
//! evaluates those of a resource's type over the parsed document, without copying it, and gives
//! logical rows ([`IndexEntry`]): whoever stores them hashes them.
//!
//! Odd data never stops a write: a value that is none is left out and said in
//! [`Extraction::skipped`].
//!
//! Spec: <https://hl7.org/fhir/R4/search.html> (rest 4c to 4l)

mod coded;
mod emit;
mod entry;
mod full_text;
mod kind;
mod lookup;
mod path;
mod plan;
mod scan;
mod settle;
mod view;

use std::sync::Arc;
use std::time::Duration;

use crate::fhir::ResourceType;
use crate::fhir::datetime::Zone;
use crate::fhir::json::Value;
use crate::fhirpath::{Environment, EvaluationError, Expression, Item, Node};
use crate::search::values::quantity::Units;
use crate::spec::Spec;
use crate::spec::codes::Codes;
use crate::spec::search_parameter::{SearchParameter, SearchParameters};

use emit::{Comparison, Element, Rules, Sink};
use path::{Leaf, Root};
use plan::{Composite, Plan, Planner, Source};
use settle::settle;

pub(in crate::search) use coded::LANGUAGES;
pub use coded::{Coded, CodedForm, Measured};
pub use entry::{
    Contained, Extraction, IndexEntry, IndexValue, QuantityValue, ReferenceValue, SkipReason,
    Skipped,
};
pub use full_text::{FullText, full_text};
pub(in crate::search) use kind::Kind;
pub(in crate::search) use lookup::Shape;
pub use plan::{Parameter, PlanError};
pub use view::View;

/// Most combinations that one element may give a composite.
const MAX_COMBINATIONS: usize = 1_000;

/// Steps that the evaluation of one expression may take; a plain one takes two for each element.
const BUDGET: u64 = 500_000;

/// Steps that all expressions of parameters beside FHIR's own may take together on one resource with
/// what it contains: however many clients define, a write has its bound. Those of FHIR are few.
const SHARED_BUDGET: u64 = 4 * BUDGET;

/// Longest time of one expression, as a processor works at it. Its steps take a hundredth of that. What ends by it is
/// not found, and an update takes the rows of the version before to be what that gives now: so what is extracted
/// must be the same each time, whatever else the machine does.
const TIME: Duration = Duration::from_secs(5);

/// Most combinations that one resource may give a composite.
const MAX_COMPOSITE_ROWS: usize = 20_000;

/// What the rows of a deployment depend on beside the definitions.
#[derive(Debug)]
pub struct Settings {
    /// The server's public FHIR base without a trailing slash: references under it are local.
    pub base: Box<str>,
    /// How units convert.
    pub units: Box<dyn Units>,
    /// The zone of dates that name none.
    pub zone: Zone,
}

/// All search parameters, compiled.
#[derive(Debug)]
pub struct Extractor {
    spec: Arc<Spec>,
    /// FHIR's parameters, and what came beside them.
    search_parameters: Arc<SearchParameters>,
    rules: Arc<Rules>,
    /// By the place of the type in [`ResourceType::all`].
    types: Vec<Arc<Type>>,
    /// Longest time of one expression.
    time: Duration,
}

#[derive(Debug)]
struct Type {
    parameters: Vec<Parameter>,
    primary: Option<u16>,
    /// In the order of the parameters.
    views: Vec<Option<View>>,
}

impl Extractor {
    /// The extractor for the parameters of `spec`; FHIR's examples of parameters are left out.
    ///
    /// # Errors
    /// [`PlanError`] names the first parameter whose expression does not compile.
    pub fn new(spec: Arc<Spec>, codes: Arc<Codes>, settings: Settings) -> Result<Self, PlanError> {
        Self::planned(spec, codes, settings, true)
    }

    /// The same with every expression left to the evaluator: slower, and without the systems that
    /// elements imply. What compiled paths find is compared with it.
    ///
    /// # Errors
    /// See [`Extractor::new`].
    pub fn by_evaluator(
        spec: Arc<Spec>,
        codes: Arc<Codes>,
        settings: Settings,
    ) -> Result<Self, PlanError> {
        Self::planned(spec, codes, settings, false)
    }

    fn planned(
        spec: Arc<Spec>,
        codes: Arc<Codes>,
        settings: Settings,
        with_paths: bool,
    ) -> Result<Self, PlanError> {
        let Settings { base, units, zone } = settings;
        let search_parameters = Arc::new(spec.search_parameters.clone());
        let types = {
            let parameters = &*search_parameters;
            let planner = Planner { spec: &spec, codes: &codes, parameters, with_paths };
            ResourceType::all().map(|of| planner.of_type(of)).collect::<Result<_, _>>()?
        };
        let rules = Arc::new(Rules { base, codes, units, zone });
        Ok(Self { spec, search_parameters, rules, types, time: TIME })
    }

    /// The same with these parameters beside those of FHIR, and no others.
    ///
    /// # Errors
    /// [`PlanError`] names the first parameter whose expression does not compile.
    pub fn with(&self, more: Vec<SearchParameter>) -> Result<Self, PlanError> {
        let (spec, rules) = (self.spec.clone(), self.rules.clone());
        let parameters = spec.search_parameters.with(more, &spec.schema);
        let planner =
            Planner { spec: &spec, codes: &rules.codes, parameters: &parameters, with_paths: true };
        let has_more =
            |parameters: &SearchParameters, of| parameters.of(of).any(|one| !one.is_core());
        let mut types = Vec::with_capacity(self.types.len());
        for (of, known) in ResourceType::all().zip(&self.types) {
            let is_same = !has_more(&parameters, of) && !has_more(&self.search_parameters, of);
            types.push(if is_same { known.clone() } else { planner.of_type(of)? });
        }
        let time = self.time;
        Ok(Self { spec, search_parameters: Arc::new(parameters), rules, types, time })
    }

    /// The same with another limit on the time of one expression.
    #[must_use]
    pub fn with_time(self, longest: Duration) -> Self {
        Self { time: longest, ..self }
    }

    /// The parameters of a type in the order of their codes; rows name them by their place here.
    pub fn parameters(&self, resource_type: ResourceType) -> &[Parameter] {
        self.of(resource_type).map_or(&[], |of| &of.parameters)
    }

    /// The place of the parameter `code` of a type.
    pub fn place(&self, resource_type: ResourceType, code: &str) -> Option<u16> {
        let parameters = self.parameters(resource_type);
        let at = parameters.binary_search_by(|parameter| (*parameter.code).cmp(code)).ok()?;
        u16::try_from(at).ok()
    }

    /// What the parameter at this place is a view of; `None` for one with values of its own.
    pub fn view(&self, resource_type: ResourceType, at: u16) -> Option<&View> {
        self.of(resource_type)?.views.get(usize::from(at))?.as_ref()
    }

    /// The place of the date parameter whose span is [`Extraction::primary`].
    pub fn primary(&self, resource_type: ResourceType) -> Option<u16> {
        self.of(resource_type)?.primary
    }

    /// The rows of a resource, whose `id` and `meta` are in `value`.
    pub fn extract<'v>(
        &'v self,
        resource_type: ResourceType,
        value: &'v Value<'v>,
    ) -> Extraction<'v> {
        let root = Root::of(value);
        let mut steps = SHARED_BUDGET;
        let mut extraction = self.one(resource_type, value, &root, &mut steps);
        for (place, contained) in value.items_at("contained").iter().enumerate() {
            let Some(Ok(of)) = contained.str_at("resourceType").map(str::parse) else { continue };
            let id = contained.str_at("id");
            let own = self.one(of, contained, &root, &mut steps);
            extraction.contained.push(Contained { place, id, extraction: own });
        }
        extraction
    }

    /// The rows of the parameter at this place alone, as [`Extractor::extract`] would give them if no other
    /// took of the steps that they share.
    pub fn extract_one<'v>(
        &'v self,
        resource_type: ResourceType,
        value: &'v Value<'v>,
        at: u16,
    ) -> Vec<IndexEntry<'v>> {
        self.rows_of(resource_type, value, (at, true))
    }

    /// The same without the words beside codes, where nobody asks for them.
    pub fn extract_codes<'v>(
        &'v self,
        resource_type: ResourceType,
        value: &'v Value<'v>,
        at: u16,
    ) -> Vec<IndexEntry<'v>> {
        self.rows_of(resource_type, value, (at, false))
    }

    fn rows_of<'v>(
        &'v self,
        resource_type: ResourceType,
        value: &'v Value<'v>,
        (at, with_texts): (u16, bool),
    ) -> Vec<IndexEntry<'v>> {
        let Some(parameter) = self.parameters(resource_type).get(usize::from(at)) else {
            return Vec::new();
        };
        let root = Root::of(value);
        let mut steps = SHARED_BUDGET;
        let mut run = Run { with_texts, ..Run::new(self, value, &root, &mut steps) };
        // What is found before an expression fails counts, as it does among all rows.
        let _ = run.parameter(parameter);
        settle(&mut run.values);
        run.values.into_iter().map(|value| IndexEntry { parameter: at, value }).collect()
    }

    /// The properties of a resource that the values of the parameter at this place are made of; `None`
    /// where only evaluation tells.
    pub fn properties(&self, resource_type: ResourceType, at: u16) -> Option<Vec<&str>> {
        let parameter = self.parameters(resource_type).get(usize::from(at))?;
        let Plan::Values(Source::Paths(paths), _) = &parameter.plan else { return None };
        let mut all = Vec::new();
        for path in paths {
            all.extend(path.properties()?);
        }
        Some(all)
    }

    fn of(&self, resource_type: ResourceType) -> Option<&Type> {
        self.types.get(usize::try_from(resource_type.code() - 1).ok()?).map(|of| &**of)
    }

    fn one<'v>(
        &'v self,
        resource_type: ResourceType,
        value: &'v Value<'v>,
        root: &Root<'v>,
        steps: &mut u64,
    ) -> Extraction<'v> {
        let mut run = Run::new(self, value, root, steps);
        let (mut rows, mut skipped) = (Vec::with_capacity(48), Vec::new());
        for (parameter, at) in self.parameters(resource_type).iter().zip(0_u16..) {
            let outcome = run.parameter(parameter);
            let odd = std::mem::take(&mut run.odd).then_some(SkipReason::Value);
            let reasons = outcome.err().into_iter().chain(odd);
            skipped.extend(reasons.map(|reason| Skipped { parameter: at, reason }));
            settle(&mut run.values);
            let entry = |value| IndexEntry { parameter: at, value };
            rows.extend(run.values.drain(..).map(entry));
        }
        let mut extraction =
            Extraction { resource_type, rows, primary: None, contained: Vec::new(), skipped };
        if let Some(primary) = self.primary(resource_type) {
            let spans = extraction.of(primary).iter().filter_map(|row| match row.value {
                IndexValue::Date(range) => Some(range),
                _ => None,
            });
            extraction.primary = spans.reduce(crate::search::values::date::DateRange::around);
        }
        extraction
    }
}

/// The extraction of one resource.
struct Run<'r, 'v> {
    extractor: &'v Extractor,
    value: &'v Value<'v>,
    /// What contains the resource; itself when nothing does.
    root: &'r Root<'v>,
    /// The values of the parameter at hand.
    values: Vec<IndexValue<'v>>,
    odd: bool,
    /// What is left of [`SHARED_BUDGET`].
    steps: &'r mut u64,
    /// Whether the parameter at hand takes its steps from there.
    is_shared: bool,
    with_texts: bool,
}

impl<'r, 'v> Run<'r, 'v> {
    fn new(
        extractor: &'v Extractor,
        value: &'v Value<'v>,
        root: &'r Root<'v>,
        steps: &'r mut u64,
    ) -> Self {
        let (is_shared, with_texts) = (false, true);
        Self {
            extractor,
            value,
            root,
            values: Vec::new(),
            odd: false,
            steps,
            is_shared,
            with_texts,
        }
    }

    fn parameter(&mut self, parameter: &'v Parameter) -> Result<(), SkipReason> {
        self.is_shared = parameter.custom.is_some();
        match &parameter.plan {
            Plan::Values(source, comparison) => self.values(source, comparison, self.value, None),
            Plan::Composite(arms) => arms.iter().try_for_each(|arm| self.composite(arm)),
        }
    }

    /// Adds the values of `source` from `focus`, whose type the evaluator is told by `node`.
    fn values(
        &mut self,
        source: &'v Source,
        comparison: &Comparison,
        focus: &'v Value<'v>,
        node: Option<&Item<'v>>,
    ) -> Result<(), SkipReason> {
        let items = match source {
            Source::General(expression) => self.evaluate(expression, node)?,
            Source::Paths(_) => Vec::new(),
        };
        let Extractor { rules, spec, .. } = self.extractor;
        let root = self.root.value;
        let (out, with_texts) = (&mut self.values, self.with_texts);
        let mut sink = Sink { rules, root, out, odd: false, with_texts };
        if let Source::Paths(paths) = source {
            for path in paths {
                path.walk(focus, self.root, &mut |value, leaf| {
                    sink.add(element(value, leaf), comparison);
                });
            }
        }
        for item in items {
            sink.add_item(item, &spec.schema, comparison);
        }
        self.odd |= sink.odd;
        Ok(())
    }

    /// What an expression finds on `focus`; without one on the resource.
    fn evaluate(
        &mut self,
        expression: &'v Expression,
        focus: Option<&Item<'v>>,
    ) -> Result<Vec<Item<'v>>, SkipReason> {
        let schema = &self.extractor.spec.schema;
        let environment = Environment::new(self.value, schema)
            .with_root(self.root.value)
            .with_time(self.extractor.time);
        let focus = focus.cloned().unwrap_or_else(|| environment.resource());
        let given = if self.is_shared { BUDGET.min(*self.steps) } else { BUDGET };
        let mut left = given;
        let found = expression.evaluate_within(focus, &environment, &mut left);
        if self.is_shared {
            *self.steps -= given - left;
        }
        found.map_err(fault)
    }

    fn composite(&mut self, arm: &'v Composite) -> Result<(), SkipReason> {
        let schema = &self.extractor.spec.schema;
        let mut foci: Vec<Item<'v>> = Vec::new();
        match &arm.focus {
            Source::Paths(paths) => {
                for path in paths {
                    path.walk(self.value, self.root, &mut |value, leaf| {
                        foci.push(Item::Node(Node::new(value, leaf.type_id, schema)));
                    });
                }
            }
            Source::General(expression) => foci = self.evaluate(expression, None)?,
        }
        foci.iter().try_for_each(|focus| self.combine(focus, &arm.parts))
    }

    /// Adds every combination of the parts' values at `focus`.
    fn combine(
        &mut self,
        focus: &Item<'v>,
        parts: &'v [(Source, Comparison)],
    ) -> Result<(), SkipReason> {
        let Some(node) = focus.node() else { return Ok(()) };
        let whole = std::mem::take(&mut self.values);
        let mut columns = Vec::with_capacity(parts.len());
        let mut outcome = Ok(());
        for (source, comparison) in parts {
            outcome = outcome.and(self.values(source, comparison, node.value, Some(focus)));
            settle(&mut self.values);
            let is_compared = |value: &IndexValue<'_>| {
                !matches!(value, IndexValue::Text(_) | IndexValue::OfType { .. })
            };
            self.values.retain(is_compared);
            columns.push(std::mem::take(&mut self.values));
            if columns.last().is_none_or(Vec::is_empty) {
                break;
            }
        }
        self.values = whole;
        outcome?;
        let count = columns.iter().try_fold(1_usize, |sum, column| sum.checked_mul(column.len()));
        let room = MAX_COMBINATIONS.min(MAX_COMPOSITE_ROWS.saturating_sub(self.values.len()));
        if count.is_none_or(|count| count > room) {
            return Err(SkipReason::Combinations);
        }
        if columns.len() == parts.len() {
            product(&columns, &mut Vec::new(), &mut self.values);
        }
        Ok(())
    }
}

fn element<'v>(value: &'v Value<'v>, leaf: &'v Leaf) -> Element<'v> {
    let system = leaf.system.as_deref();
    Element { value, kind: leaf.kind, system, is_family: leaf.is_family }
}

fn fault(error: EvaluationError) -> SkipReason {
    SkipReason::Evaluation(error)
}

/// Appends each way to take one value of each column. As deep as a composite has parts.
fn product<'v>(
    columns: &[Vec<IndexValue<'v>>],
    chosen: &mut Vec<IndexValue<'v>>,
    out: &mut Vec<IndexValue<'v>>,
) {
    let Some((first, rest)) = columns.split_first() else {
        out.push(IndexValue::Composite(chosen.as_slice().into()));
        return;
    };
    for value in first {
        chosen.push(value.clone());
        product(rest, chosen, out);
        chosen.pop();
    }
}

#[cfg(test)]
mod tests;
