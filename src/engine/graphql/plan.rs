//! What a document asks for: fragments and variables put in, each field held against the element table.
//!
//! Nothing is read here. A plan is there only where all of the document means something, so that a mistake
//! is told at its place before anything is looked at.
//!
//! Spec: <https://hl7.org/fhir/R4/graphql.html>, <https://spec.graphql.org/October2021/#sec-Validation>

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::fhir::query::Query;
use crate::fhir::schema::{Schema, TypeId, TypeKind};
use crate::fhir::{Identity, ResourceType};
use crate::fhirpath::Expression;

use super::Limits;
use super::document::{Argument, Directive, Field, Fragment, Selection, too_deep};
use super::fault::{Fault, Faults, Place};
use super::given::{Given, MOST_ARGUMENT_BYTES, Scalar, Variables};
use super::walk::type_name;

/// How a field is shown, by its directives.
#[derive(Debug, Default)]
pub(super) struct Form {
    /// `@first`
    pub(super) is_first: bool,
    /// `@flatten`
    pub(super) is_flat: bool,
    /// `@singleton`
    pub(super) is_single: bool,
    /// `@slice`
    pub(super) slice: Option<Slice>,
}

impl Form {
    pub(super) fn is_plain(&self) -> bool {
        !self.is_first && !self.is_flat && !self.is_single && self.slice.is_none()
    }
}

/// What a name is told apart by.
#[derive(Debug)]
pub(super) enum Slice {
    /// The place in the list, from 0.
    Index,
    /// What an expression finds.
    Path(Expression),
}

/// Which of the values of an element are wanted.
#[derive(Debug, Default)]
pub(super) struct Pick {
    pub(super) fhirpath: Option<Expression>,
    /// Elements of it and the texts they have.
    pub(super) equals: Vec<(String, String)>,
    pub(super) offset: usize,
    pub(super) count: Option<usize>,
}

/// What a field stands for.
#[derive(Debug)]
pub(super) enum What {
    /// The total of a search.
    Count,
    /// Matches with what is said of them.
    Edges,
    /// An element by its JSON property, or what stands beside a primitive.
    Element { pick: Pick, is_companion: bool },
    /// Resources that a search finds; `by`: the parameter that leads to the resource around it.
    Many { of: ResourceType, query: Query, by: Option<String>, is_page: bool },
    /// How a match is one.
    Mode,
    /// Where the next page begins.
    Next,
    /// Nothing that is known here.
    Nothing,
    /// How many matches a page has at most.
    PageSize,
    /// Where the page before begins.
    Previous,
    /// A resource by its id.
    Read(Identity),
    /// The resource of an edge.
    Resource,
    /// `resourceType`
    ResourceType,
    /// How well a match fits.
    Score,
    /// What a reference leads to, if it is of one of these types.
    Target { of: Vec<ResourceType>, is_optional: bool },
    /// `__typename`
    TypeName,
}

/// A field that is wanted.
#[derive(Debug)]
pub(super) struct Node<'d> {
    /// What it is called in the answer.
    pub(super) key: &'d str,
    pub(super) name: &'d str,
    pub(super) what: What,
    /// Types that the value around it must all be of.
    pub(super) on: Vec<TypeId>,
    pub(super) form: Form,
    /// Whether something is selected of it, though directives may leave nothing of that.
    pub(super) is_open: bool,
    pub(super) children: Vec<Node<'d>>,
    pub(super) place: Place,
    /// Name, arguments and directives: fields of one key must say the same.
    pub(super) said: String,
}

/// What fields are selected of.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    /// A page of a search.
    Connection(ResourceType),
    /// A match on it.
    Edge(ResourceType),
    /// The root of a query.
    Query,
    /// A value of one of these types.
    Types(Vec<TypeId>),
}

/// Works out a plan.
pub(super) struct Planner<'p, 'd> {
    pub(super) schema: &'p Schema,
    pub(super) fragments: HashMap<&'d str, &'p Fragment<'d>>,
    pub(super) variables: Variables<'d>,
    pub(super) limits: Limits,
    pub(super) faults: Faults,
    /// Fragments that are being put in.
    pub(super) within: Vec<&'d str>,
    /// Fields and fragments so far, wherever they are put in.
    pub(super) fields: usize,
    /// Bytes of arguments so far.
    pub(super) argument_bytes: usize,
    /// Whether a limit was passed: nothing more is worked out then.
    pub(super) is_over: bool,
}

/// Which selections, and under which conditions.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) scope: &'a Scope,
    pub(super) on: &'a [TypeId],
    pub(super) depth: usize,
}

impl<'p, 'd> Planner<'p, 'd> {
    pub(super) fn fault(&mut self, text: impl Into<String>, place: Place) {
        self.faults.add(Fault::at(text, place));
    }

    fn stop(&mut self, text: String, place: Place) {
        if !self.is_over {
            self.faults.add_first(Fault::at(text, place));
        }
        self.is_over = true;
    }

    /// Adds the fields of a selection to `out`.
    pub(super) fn selection(
        &mut self,
        selection: &'p [Selection<'d>],
        at: At<'_>,
        out: &mut Vec<Node<'d>>,
    ) {
        for selected in selection {
            if self.is_over {
                return;
            }
            self.fields += 1;
            if self.fields > self.limits.fields {
                let most = self.limits.fields;
                let text = format!("more fields than the {most} of the setting graphql.max_fields");
                return self.stop(text, selected.place());
            }
            match selected {
                Selection::Field(field) => self.field(field, at, out),
                Selection::Inline { on, directives, selection, place } => {
                    self.part((*on, directives, selection), *place, at, out);
                }
                Selection::Spread { name, directives, place } => {
                    let Some(fragment) = self.fragments.get(name).copied() else {
                        self.fault(format!("there is no fragment {name}"), *place);
                        continue;
                    };
                    if self.within.contains(name) {
                        self.fault(format!("the fragment {name} has itself in it"), *place);
                        continue;
                    }
                    self.within.push(*name);
                    self.part(
                        (Some(fragment.on), directives, &fragment.selection),
                        *place,
                        at,
                        out,
                    );
                    self.within.pop();
                }
            }
        }
    }

    /// Adds what a fragment selects, under its condition.
    fn part(
        &mut self,
        (on, directives, selection): (Option<&'d str>, &'p [Directive<'d>], &'p [Selection<'d>]),
        place: Place,
        at: At<'_>,
        out: &mut Vec<Node<'d>>,
    ) {
        let Some((is_wanted, form)) = self.directives(directives) else { return };
        if !form.is_plain() {
            self.fault("this directive is one of fields", place);
        }
        let depth = at.depth + 1;
        if depth > self.limits.depth {
            return self.stop(too_deep(self.limits.depth), place);
        }
        // What is not wanted must mean something all the same.
        let mut unwanted = Vec::new();
        let out = if is_wanted { out } else { &mut unwanted };
        let Some(on) = on else { return self.selection(selection, At { depth, ..at }, out) };
        let Some((scope, condition)) = self.narrowed(at.scope, on, place) else { return };
        let on: Vec<TypeId> = at.on.iter().copied().chain(condition).collect();
        self.selection(selection, At { scope: &scope, on: &on, depth }, out);
    }

    /// What of `scope` is of a type, and that type.
    fn narrowed(
        &mut self,
        scope: &Scope,
        on: &str,
        place: Place,
    ) -> Option<(Scope, Option<TypeId>)> {
        let Scope::Types(types) = scope else {
            if scope.name() == on {
                return Some((scope.clone(), None));
            }
            self.fault(format!("this is a {}, and never a {on}", scope.name()), place);
            return None;
        };
        // An element of a resource is called here as __typename has it: PatientContact.
        let is_named = |id: &TypeId| type_name(&self.schema.get(*id).name) == on;
        let named = self.schema.by_name(on).or_else(|| types.iter().copied().find(is_named));
        let Some(of) = named else {
            self.fault(format!("{on} is no type of R4"), place);
            return None;
        };
        let kept: Vec<TypeId> =
            types.iter().copied().filter(|id| self.schema.is_a(*id, of)).collect();
        if kept.is_empty() {
            self.fault(format!("what this is selected of is never a {on}"), place);
            return None;
        }
        Some((Scope::Types(kept), Some(of)))
    }

    fn field(&mut self, field: &'p Field<'d>, at: At<'_>, out: &mut Vec<Node<'d>>) {
        let Some((is_wanted, form)) = self.directives(&field.directives) else { return };
        if form.is_first && form.slice.is_some() {
            return self.fault("@first and @slice exclude each other", field.place);
        }
        let Some((what, inner)) = self.meaning(field, at.scope) else { return };
        let is_shaped = matches!(
            what,
            What::Element { .. }
                | What::Many { is_page: false, .. }
                | What::Read(_)
                | What::Resource
                | What::Target { .. }
        );
        if !form.is_plain() && !is_shaped {
            return self.fault(format!("{} takes no such directive", field.name), field.place);
        }
        if form.is_flat && inner.is_none() {
            return self.fault("@flatten is for what has fields of its own", field.place);
        }
        let mut children = Vec::new();
        if let Some(inner) = inner {
            let depth = at.depth + 1;
            if depth > self.limits.depth {
                return self.stop(too_deep(self.limits.depth), field.place);
            }
            self.selection(&field.selection, At { scope: &inner, on: &[], depth }, &mut children);
        }
        let said = self.said(field);
        let node = Node {
            key: field.key,
            name: field.name,
            what,
            on: at.on.to_vec(),
            form,
            is_open: !field.selection.is_empty(),
            children,
            place: field.place,
            said,
        };
        let is_other = |other: &Node<'_>| {
            other.key == node.key && other.on == node.on && other.said != node.said
        };
        if out.iter().any(is_other) {
            return self.fault(format!("{} stands for two things here", node.key), node.place);
        }
        if is_wanted {
            out.push(node);
        }
    }

    /// Name, arguments and directives of a field, to be compared.
    fn said(&self, field: &Field<'d>) -> String {
        let argument = |argument: &Argument<'d>| {
            let value = Given::of(&argument.value, &self.variables);
            format!("{}: {value:?}", argument.name)
        };
        let all = |arguments: &[Argument<'d>]| {
            let mut all: Vec<String> = arguments.iter().map(argument).collect();
            all.sort_unstable();
            all.join(", ")
        };
        let mut said = format!("{}({})", field.name, all(&field.arguments));
        let shaping = field.directives.iter().filter(|it| !["include", "skip"].contains(&it.name));
        for directive in shaping {
            // Writing to a text cannot fail.
            let _ = write!(said, "@{}({})", directive.name, all(&directive.arguments));
        }
        said
    }

    /// The value of an argument.
    pub(super) fn given(&mut self, argument: &Argument<'d>) -> Option<Given> {
        match Given::of(&argument.value, &self.variables) {
            Ok(given) => {
                self.argument_bytes += given.bytes();
                if self.argument_bytes > MOST_ARGUMENT_BYTES {
                    let text = format!("all arguments have more than {MOST_ARGUMENT_BYTES} bytes");
                    self.stop(text, argument.place);
                    return None;
                }
                Some(given)
            }
            Err(text) => {
                self.fault(format!("{}: {text}", argument.name), argument.place);
                None
            }
        }
    }

    /// Whether an argument stands there without a value, which is as though it were not there.
    pub(super) fn is_nothing(&self, argument: &Argument<'d>) -> bool {
        matches!(Given::of(&argument.value, &self.variables), Ok(Given::Nothing))
    }

    /// The one text of an argument.
    pub(super) fn text(&mut self, argument: &Argument<'d>) -> Option<String> {
        let given = self.given(argument)?;
        let Given::One(scalar) = given else {
            self.fault(format!("{} is one value", argument.name), argument.place);
            return None;
        };
        Some(scalar.to_text())
    }

    /// Whether the directives leave something wanted, and how it is shown.
    fn directives(&mut self, directives: &'p [Directive<'d>]) -> Option<(bool, Form)> {
        let (mut is_wanted, mut form) = (true, Form::default());
        for (at, directive) in directives.iter().enumerate() {
            let Directive { name, arguments, place } = directive;
            if directives.iter().take(at).any(|earlier| earlier.name == *name) {
                self.fault(format!("@{name} stands twice"), *place);
                return None;
            }
            match *name {
                "include" => is_wanted &= self.condition(directive)?,
                "skip" => is_wanted &= !self.condition(directive)?,
                "first" if arguments.is_empty() => form.is_first = true,
                "flatten" if arguments.is_empty() => form.is_flat = true,
                "singleton" if arguments.is_empty() => form.is_single = true,
                "slice" => form.slice = Some(self.slice(directive)?),
                "first" | "flatten" | "singleton" => {
                    self.fault(format!("@{name} takes no argument"), *place);
                    return None;
                }
                _ => {
                    self.fault(format!("@{name} is not known here"), *place);
                    return None;
                }
            }
        }
        Some((is_wanted, form))
    }

    fn condition(&mut self, directive: &'p Directive<'d>) -> Option<bool> {
        if let [argument] = &*directive.arguments
            && argument.name == "if"
            && let Given::One(Scalar::Bool(value)) = self.given(argument)?
        {
            return Some(value);
        }
        let text = format!("@{} takes one argument, if, true or false", directive.name);
        self.fault(text, directive.place);
        None
    }

    fn slice(&mut self, directive: &'p Directive<'d>) -> Option<Slice> {
        let [argument] = &*directive.arguments else {
            self.fault("@slice takes one argument, path", directive.place);
            return None;
        };
        if !["fhirpath", "path"].contains(&argument.name) {
            self.fault("@slice takes one argument, path", directive.place);
            return None;
        }
        let text = self.text(argument)?;
        if text == "$index" {
            return Some(Slice::Index);
        }
        self.expression(&text, argument.place).map(Slice::Path)
    }

    /// A FHIRPath expression.
    pub(super) fn expression(&mut self, text: &str, place: Place) -> Option<Expression> {
        match Expression::parse(text) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.fault(format!("FHIRPath: {error}"), place);
                None
            }
        }
    }
}

impl Scope {
    /// What its type is called.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Connection(of) => format!("{of}Connection"),
            Self::Edge(of) => format!("{of}Edge"),
            Self::Query => "Query".to_owned(),
            Self::Types(_) => "value".to_owned(),
        }
    }

    /// A value of any type of resource.
    pub(super) fn of_any(schema: &Schema) -> Self {
        let ids = (0..schema.types().len()).map(|at| TypeId(at as u16));
        let is_resource = |id: &TypeId| {
            let def = schema.get(*id);
            def.kind == TypeKind::Resource && !def.is_abstract
        };
        Self::Types(ids.filter(is_resource).collect())
    }
}
