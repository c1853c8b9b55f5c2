//! The part of FHIRPath that compartment parameters use, compiled to element paths.
//!
//! A union of arms; each arm a path from a resource type to a Reference, with
//! `as Reference`, `.as(Reference)`, `.ofType(Reference)` where the element is a choice, and
//! `.where(resolve() is Type)` to say which references count.

use thiserror::Error;

use crate::fhir::ResourceType;
use crate::fhir::json::Value;
use crate::fhir::schema::{Field, Schema, TypeId};

/// The longest arm that is looked at: what is longer is no plain path.
const MAX_ARM_BYTES: usize = 1000;

/// Why an expression is no plain path to references.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum PathError {
    /// The path ends at something other than a Reference.
    #[error("{0:?} does not end at a Reference")]
    NoReference(String),
    /// No arm of the expression is about the type.
    #[error("no arm of {0:?} is about the type")]
    OtherType(String),
    /// A function or an operator that is not known here.
    #[error("{0:?} has more than a plain path")]
    Syntax(String),
    /// The path names an element that its type does not have.
    #[error("{arm:?} names the unknown element {name:?}")]
    UnknownElement {
        /// The arm.
        arm: String,
        /// The element's name.
        name: String,
    },
}

/// A way from a resource to references: JSON property names.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Path(Vec<Box<str>>);

impl Path {
    /// The property of the resource that it begins with.
    pub(super) fn first(&self) -> Option<&str> {
        self.0.first().map(|name| &**name)
    }

    /// Shows each Reference at the end of the path to `visit`.
    pub(super) fn walk<'v, 'a>(&self, value: &'v Value<'a>, visit: &mut impl FnMut(&'v Value<'a>)) {
        descend(&self.0, value, visit);
    }

    /// A resource with one reference, at the end of this path.
    #[cfg(test)]
    pub(super) fn sample(&self, resource_type: &str, reference: &str) -> String {
        let end = format!(r#"{{"reference":"{reference}"}}"#);
        let wrap = |inner: String, name: &str| format!(r#"{{"{name}":[{inner}]}}"#);
        let inner = self.0.iter().rev().map(|name| &**name).fold(end, wrap);
        format!(r#"{{"resourceType":"{resource_type}",{}"#, &inner[1..])
    }
}

fn descend<'v, 'a>(
    names: &[Box<str>],
    value: &'v Value<'a>,
    visit: &mut impl FnMut(&'v Value<'a>),
) {
    match (value, names) {
        (Value::Array(items), _) => {
            for item in items {
                descend(names, item, visit);
            }
        }
        (Value::Object(_), []) => visit(value),
        (Value::Object(object), [name, rest @ ..]) => {
            if let Some(next) = object.get(name) {
                descend(rest, next, visit);
            }
        }
        _ => {}
    }
}

/// Takes out paths that are there twice.
pub(super) fn merge(paths: &mut Vec<Path>) {
    paths.sort_unstable();
    paths.dedup();
}

/// The paths of `expression` from a `resource_type` to references to a `target`.
///
/// Arms about other types are passed over, as are arms whose `where` asks for another target.
///
/// # Errors
/// [`PathError`] when the expression has no arm about the type, or one that is no plain path.
pub(super) fn compile(
    expression: &str,
    resource_type: ResourceType,
    target: ResourceType,
    schema: &Schema,
) -> Result<Vec<Path>, PathError> {
    let mut paths = Vec::new();
    let mut is_about_type = false;
    for arm in arms(expression) {
        let steps = steps(arm)?;
        let Some(Step::Name(root)) = steps.first() else {
            return Err(PathError::Syntax(arm.to_owned()));
        };
        if *root != resource_type.as_str() {
            continue;
        }
        is_about_type = true;
        let mut compiler = Compiler { arm, schema, found: Vec::new() };
        let start = schema.by_name(root).ok_or_else(|| compiler.unknown(root))?;
        if asks_for(&steps, target) {
            compiler.follow(&steps[1..], start, &mut Vec::new())?;
            if compiler.found.is_empty() {
                return Err(PathError::NoReference(arm.to_owned()));
            }
            paths.append(&mut compiler.found);
        }
    }
    is_about_type.then_some(paths).ok_or_else(|| PathError::OtherType(expression.to_owned()))
}

/// Whether the arm's `where` (if any) lets references to `target` pass.
fn asks_for(steps: &[Step<'_>], target: ResourceType) -> bool {
    let other = |step: &Step<'_>| matches!(step, Step::To(name) if *name != target.as_str());
    !steps.iter().any(other)
}

#[derive(Debug, Eq, PartialEq)]
enum Step<'e> {
    /// `.as(Type)`, `.ofType(Type)`, `as Type`
    As(&'e str),
    /// `.name`, or the type at the start
    Name(&'e str),
    /// `.where(resolve() is Type)`
    To(&'e str),
}

/// The arms of a union; `|` within parentheses is not at its level.
fn arms(expression: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    let at_level = move |letter: char| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == '|' && depth == 0
    };
    expression.split(at_level).map(str::trim)
}

/// Takes an arm apart.
fn steps(arm: &str) -> Result<Vec<Step<'_>>, PathError> {
    let wrong = || PathError::Syntax(arm.to_owned());
    if arm.len() > MAX_ARM_BYTES {
        return Err(wrong());
    }
    let (mut steps, mut rest) = match (parenthesised(arm), arm.split_once(" as ")) {
        (Some((inside, after)), _) => (self::steps(inside.trim())?, after),
        (None, Some((path, cast))) => {
            let mut steps = self::steps(path.trim())?;
            steps.push(Step::As(cast.trim()));
            (steps, "")
        }
        (None, None) => {
            let (first, after) = step(arm).ok_or_else(wrong)?;
            (vec![first], after)
        }
    };
    while !rest.is_empty() {
        let next = rest.strip_prefix('.').and_then(step);
        let (step, after) = next.ok_or_else(wrong)?;
        steps.push(step);
        rest = after;
    }
    let is_word = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
    let all_words = steps.iter().all(|step| match step {
        Step::As(name) | Step::Name(name) | Step::To(name) => is_word(name),
    });
    if all_words { Ok(steps) } else { Err(wrong()) }
}

/// What is within the parentheses that `text` starts with, and what follows them.
fn parenthesised(text: &str) -> Option<(&str, &str)> {
    let open = text.strip_prefix('(')?;
    let mut depth = 1_i32;
    let close = open.find(|letter| {
        depth += i32::from(letter == '(') - i32::from(letter == ')');
        depth == 0
    })?;
    Some((&open[..close], &open[close + 1..]))
}

/// The first step of `text` and what follows it.
fn step(text: &str) -> Option<(Step<'_>, &str)> {
    for (call, is_cast) in [("as(", true), ("ofType(", true), ("where(resolve() is ", false)] {
        if let Some(argument) = text.strip_prefix(call) {
            let (name, after) = argument.split_once(')')?;
            let name = name.trim();
            return Some((if is_cast { Step::As(name) } else { Step::To(name) }, after));
        }
    }
    let (name, after) = text.split_at(text.find('.').unwrap_or(text.len()));
    Some((Step::Name(name), after))
}

/// Follows one arm through the element table.
struct Compiler<'s> {
    arm: &'s str,
    schema: &'s Schema,
    found: Vec<Path>,
}

impl Compiler<'_> {
    fn unknown(&self, name: &str) -> PathError {
        PathError::UnknownElement { arm: self.arm.to_owned(), name: name.to_owned() }
    }

    fn follow(
        &mut self,
        steps: &[Step<'_>],
        at: TypeId,
        names: &mut Vec<Box<str>>,
    ) -> Result<(), PathError> {
        let schema = self.schema;
        let (name, rest) = match steps {
            [] => {
                if &*schema.get(at).name == "Reference" {
                    self.found.push(Path(names.clone()));
                }
                return Ok(());
            }
            // A cast to what it is already, or the promise of the reference's target.
            [Step::As(_) | Step::To(_), rest @ ..] => return self.follow(rest, at, names),
            [Step::Name(name), rest @ ..] => (*name, rest),
        };
        let field = schema.get(at).field(name).ok_or_else(|| self.unknown(name))?;
        for (key, type_id) in variants(field, rest, schema) {
            names.push(key.into());
            self.follow(rest, type_id, names)?;
            names.pop();
        }
        Ok(())
    }
}

/// The variants of the field that the step behind it (a cast or not) lets pass.
fn variants<'s>(
    field: &'s Field,
    rest: &[Step<'_>],
    schema: &'s Schema,
) -> impl Iterator<Item = (&'s str, TypeId)> {
    let cast = match rest.first() {
        Some(Step::As(name)) => schema.by_name(name).map_or(Some(None), |id| Some(Some(id))),
        _ => None,
    };
    let passes = move |id: TypeId| cast.is_none_or(|cast| cast == Some(id));
    let each = field.types.iter().map(|variant| (&*variant.key, variant.type_id));
    each.filter(move |&(_, id)| passes(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    fn compiled(expression: &str, of: &str, target: &str) -> Result<Vec<String>, PathError> {
        let spec = Spec::r4().expect("loads");
        let (of, target) = (of.parse().expect("type"), target.parse().expect("type"));
        let paths = compile(expression, of, target, &spec.schema)?;
        Ok(paths.into_iter().map(|path| path.0.join(".")).collect())
    }

    #[test]
    fn each_form_of_an_arm_compiles_to_property_names() {
        for (expression, of, expected) in [
            ("Observation.subject", "Observation", vec!["subject"]),
            ("Appointment.participant.actor", "Appointment", vec!["participant.actor"]),
            ("Condition.subject.where(resolve() is Patient)", "Condition", vec!["subject"]),
            ("Condition.subject.where(resolve() is Device)", "Condition", vec![]),
            (
                "AuditEvent.agent.who.where(resolve() is Patient) | AuditEvent.entity.what.where(resolve() is Patient)",
                "AuditEvent",
                vec!["agent.who", "entity.what"],
            ),
            ("Account.subject | Flag.subject", "Flag", vec!["subject"]),
            (
                "(MedicationRequest.medication as Reference)",
                "MedicationRequest",
                vec!["medicationReference"],
            ),
            (
                "MedicationRequest.medication as Reference",
                "MedicationRequest",
                vec!["medicationReference"],
            ),
            (
                "MedicationRequest.medication.as(Reference)",
                "MedicationRequest",
                vec!["medicationReference"],
            ),
            (
                "MedicationRequest.medication.ofType(Reference)",
                "MedicationRequest",
                vec!["medicationReference"],
            ),
            (
                "(MedicationRequest.medication as Reference).where(resolve() is Patient)",
                "MedicationRequest",
                vec!["medicationReference"],
            ),
            // A choice without a cast: every variant that is a reference.
            ("MedicationRequest.medication", "MedicationRequest", vec!["medicationReference"]),
            ("(Observation.subject)", "Observation", vec!["subject"]),
            (
                "((MedicationRequest.medication.as(Reference)))",
                "MedicationRequest",
                vec!["medicationReference"],
            ),
            // The inner type's elements come from the referenced group.
            ("Provenance.entity.agent.who", "Provenance", vec!["entity.agent.who"]),
        ] {
            let found = compiled(expression, of, "Patient").expect(expression);
            assert_eq!(found, expected, "{expression}");
        }
    }

    #[test]
    fn what_is_no_plain_path_is_an_error_and_never_dropped() {
        let arm = |text: &str| text.to_owned();
        for (expression, expected) in [
            ("Flag.subject", PathError::OtherType(arm("Flag.subject"))),
            ("Observation.code", PathError::NoReference(arm("Observation.code"))),
            (
                "Observation.value.as(Quantity)",
                PathError::NoReference(arm("Observation.value.as(Quantity)")),
            ),
            ("Observation.subject.first()", PathError::Syntax(arm("Observation.subject.first()"))),
            ("Observation.subject[0]", PathError::Syntax(arm("Observation.subject[0]"))),
            (
                "Observation.where(a = b).subject",
                PathError::Syntax(arm("Observation.where(a = b).subject")),
            ),
            ("", PathError::Syntax(arm(""))),
            ("(Observation.subject", PathError::Syntax(arm("(Observation.subject"))),
            (
                "Observation.nothing",
                PathError::UnknownElement { arm: arm("Observation.nothing"), name: arm("nothing") },
            ),
        ] {
            assert_eq!(
                compiled(expression, "Observation", "Patient"),
                Err(expected),
                "{expression}"
            );
        }
    }
}
