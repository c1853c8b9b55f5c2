//! Messages of which a part may fail: what is not valid is left out and told, where the sender's profile
//! says so, and so is what cannot be without it. Without its patient nothing of a message is stored.
//!
//! Spec: v2 F3

use std::collections::BTreeSet;

use super::find::Found;
use super::plan::{Entry, Plan};
use super::{Applier, Case, Halt, PAUSE, TRIES};
use crate::error::Error;
use crate::fhir::json::{Object, Value};
use crate::fhir::schema::{Schema, TypeDef};
use crate::fhir::{Identity, ResourceType};
use crate::hl7v2::ack::{Condition, Issue};
use crate::hl7v2::map::site::Mode;
use crate::hl7v2::map::{Draft, DraftResource, Maps, bundle};
use crate::hl7v2::queue::{Done, Task};

impl Applier {
    /// Tries to do what a message asks for: anew where others changed what it is about, and without what is
    /// not valid where that may be left out. Only the first of the two is tried so many times.
    pub(super) async fn attempts(
        &self,
        case: &Case<'_>,
        task: &Task<'_>,
        mut issues: Vec<Issue>,
    ) -> Done {
        let mut tries = 0;
        loop {
            case.lines().clear();
            case.lapsed().clear();
            let attempt = self.attempt(case, task, &issues).await;
            task.is_about(case.lines().keys().cloned());
            match attempt {
                Ok(done) => return done,
                Err(Halt::Failed(issue)) => return Done::Failed([issues, vec![issue]].concat()),
                Err(Halt::Invalid(parts, issue)) => {
                    let is_partial = case.maps.site().wishes.is_partial == Some(true);
                    let mut skipped = case.skipped();
                    if !is_partial || parts.iter().all(|part| skipped.contains(part)) {
                        return Done::Failed([issues, vec![issue]].concat());
                    }
                    skipped.extend(parts);
                    issues.push(told(&issue));
                }
                Err(Halt::Later(why)) => return Done::Later(why),
                Err(Halt::Again(why)) if tries + 1 == TRIES => return Done::Later(why),
                Err(Halt::Again(_)) => {
                    tries += 1;
                    tokio::time::sleep(PAUSE * 2_u32.pow(tries)).await;
                }
            }
        }
    }

    /// What a write would refuse of what a message makes where nothing of it is stored. What only amends or
    /// ends something is not looked at: what that becomes depends on what there is.
    pub(super) fn invalid(&self, draft: &Draft, maps: &Maps) -> Vec<Issue> {
        let is_partial = maps.site().wishes.is_partial == Some(true);
        let is_made = |one: &&DraftResource| {
            let is_by_code = one.mode == Mode::ActionCode;
            let action = one.action.as_deref().filter(|_| is_by_code);
            one.rule != "losing-account" && !matches!(action, Some("D" | "U" | "X"))
        };
        let made = draft.resources.iter().filter(is_made);
        let issues = made.filter_map(|one| {
            let fault = self.engine.would_take(&bundle::resource(one)).err()?;
            let Halt::Failed(issue) = Halt::from(fault) else { return None };
            let may_lack = is_partial && one.resource_type != "Patient";
            Some(if may_lack { told(&issue) } else { issue })
        });
        issues.collect()
    }
}

/// What stopped the entries of a message, as far as they are to blame.
pub(super) fn halted(
    error: Error,
    entries: &[Entry],
    drafts: &[DraftResource],
    found: &[Found],
) -> Halt {
    let places = match &error {
        Error::Unprocessable(issues) | Error::Invalid(issues) => {
            issues.iter().map(|issue| place(&issue.expression)).collect::<Option<BTreeSet<usize>>>()
        }
        _ => None,
    };
    let faulty: Option<Vec<&Entry>> =
        places.and_then(|places| places.into_iter().map(|place| entries.get(place)).collect());
    let halt = Halt::from(error);
    match (halt, faulty) {
        (Halt::Failed(issue), Some(faulty))
            if !faulty.is_empty()
                && faulty.iter().all(|it| it.identity.resource_type != ResourceType::PATIENT)
                // A merge or a move is done whole or not at all.
                && faulty.iter().all(|it| !it.rule.starts_with("effect ")) =>
        {
            let parts = faulty.iter().flat_map(|entry| parts(&entry.identity, drafts, found));
            Halt::Invalid(parts.collect(), issue)
        }
        (halt, _) => halt,
    }
}

/// What a resource is known by through all tries: the drafts that are about it, which have their names for
/// good, while what is new has another id each time; else its own name.
fn parts(identity: &Identity, drafts: &[DraftResource], found: &[Found]) -> Vec<String> {
    let about = drafts.iter().zip(found).filter(|(_, found)| found.identity == *identity);
    let urls: Vec<_> = about.map(|(draft, _)| draft.url.clone()).collect();
    if urls.is_empty() { vec![identity.to_string()] } else { urls }
}

/// The entry that an expression is about.
fn place(expression: &str) -> Option<usize> {
    let rest = expression.strip_prefix("Bundle.entry[")?;
    rest.split(']').next()?.parse().ok()
}

/// That rules made something that is not valid, and what of it.
fn told(issue: &Issue) -> Issue {
    let detail = issue.detail.clone();
    Issue::warning(Condition::ApplicationError).named("skipped-invalid").detailed(detail)
}

impl Plan {
    /// Leaves out what is `skipped`, what leads there or to what is not made, and what cannot be without it.
    pub(super) fn leave_out(
        &mut self,
        skipped: &BTreeSet<String>,
        (drafts, found): (&[DraftResource], &[Found]),
        schema: &Schema,
    ) {
        let is_skipped = |entry: &Entry| {
            parts(&entry.identity, drafts, found).iter().any(|part| skipped.contains(part))
        };
        let mut out: Vec<Entry> = Vec::new();
        let mut going = self.take_out(is_skipped);
        let unmade: Vec<_> = self.unmade.iter().map(ToString::to_string).collect();
        let mut is_begin = !unmade.is_empty();
        while is_begin || !going.is_empty() {
            is_begin = false;
            out.append(&mut going);
            let gone = |reference: &str| {
                let is_it = |entry: &Entry| {
                    entry.prior.is_none() && entry.identity.to_string() == reference
                };
                unmade.iter().any(|unmade| unmade == reference) || out.iter().any(is_it)
            };
            let mut lost = BTreeSet::new();
            for entry in &mut self.entries {
                let of = schema.type_named(entry.identity.resource_type.as_str());
                if let Kept::No = forget(&mut entry.body, of, schema, &gone) {
                    lost.insert(entry.identity.to_string());
                }
            }
            going = self.take_out(|entry| lost.contains(&entry.identity.to_string()));
            for entry in &going {
                let detail = format!("{} cannot be without what is left out", entry.rule);
                let issue = Issue::warning(Condition::ApplicationError).named("skipped-invalid");
                self.told.push(issue.detailed(detail));
            }
        }
        self.without(&out);
    }

    fn take_out(&mut self, is_out: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let all = std::mem::take(&mut self.entries);
        let (out, left) = all.into_iter().partition(is_out);
        self.entries = left;
        out
    }

    /// Forgets what goes with entries that are left out. What is stored stays known, and what is told of it
    /// is not news by this message.
    fn without(&mut self, out: &[Entry]) {
        let is_out = |of: &str, id: &str, is_new: bool| {
            let is_it = |entry: &Entry| {
                (entry.prior.is_none() || !is_new)
                    && entry.identity.resource_type.as_str() == of
                    && entry.identity.id.as_str() == id
            };
            out.iter().any(is_it)
        };
        self.keys.retain(|key| !is_out(&key.resource_type, &key.id, true));
        self.merges
            .retain(|one| !is_out(one.target.resource_type.as_str(), one.target.id.as_str(), true));
        self.marks.retain(|mark| !is_out(&mark.resource_type, &mark.id, false));
        let leads_out = |reference: &str| {
            reference.split_once('/').is_some_and(|(of, id)| is_out(of, id, true))
        };
        self.waiting.retain(|one| !leads_out(&one.member));
    }
}

/// Whether something can stay after references were taken from it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kept {
    /// Nothing of it was touched.
    Whole,
    /// It lost something that it can be without.
    InPart,
    /// Nothing is left, or it lost what it must have.
    No,
}

/// Takes references that are `gone` from an object of a type. Of a reference that says more than where it
/// leads, the rest stays.
fn forget(
    object: &mut Object<'static>,
    of: Option<&TypeDef>,
    schema: &Schema,
    gone: &impl Fn(&str) -> bool,
) -> Kept {
    if object.get("reference").and_then(Value::as_str).is_some_and(gone) {
        object.remove("reference");
        let says_more = object.contains("identifier") || object.contains("display");
        return if says_more { Kept::InPart } else { Kept::No };
    }
    let mut out = Vec::new();
    let mut kept = Kept::Whole;
    for (name, value) in object.iter_mut() {
        let of = of.and_then(|of| of.key(name)).map(|(_, of)| schema.get(of.type_id));
        match forget_in(value, of, schema, gone) {
            Kept::Whole => {}
            Kept::InPart => kept = Kept::InPart,
            Kept::No => out.push(name.to_owned()),
        }
    }
    if out.is_empty() {
        return kept;
    }
    for name in &out {
        object.remove(name);
    }
    let lacks = |of: &TypeDef| {
        of.required().any(|field| !field.types.iter().any(|choice| object.contains(&choice.key)))
    };
    if object.is_empty() || of.is_some_and(lacks) { Kept::No } else { Kept::InPart }
}

fn forget_in(
    value: &mut Value<'static>,
    of: Option<&TypeDef>,
    schema: &Schema,
    gone: &impl Fn(&str) -> bool,
) -> Kept {
    match value {
        Value::Object(object) => forget(object, of, schema, gone),
        Value::Array(items) => {
            let mut is_touched = false;
            items.retain_mut(|item| {
                let kept = forget_in(item, of, schema, gone);
                is_touched |= kept != Kept::Whole;
                kept != Kept::No
            });
            match is_touched {
                true if items.is_empty() => Kept::No,
                true => Kept::InPart,
                false => Kept::Whole,
            }
        }
        _ => Kept::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;
    use crate::spec::Spec;

    #[test]
    fn what_is_left_out_takes_along_what_cannot_be_without_it() {
        let spec = Spec::r4().unwrap();
        let gone = |reference: &str| reference == "Condition/a";
        for (of, body, kept, left) in [
            (
                "DiagnosticReport",
                r#"{"result":[{"reference":"Condition/a"},{"reference":"Observation/b"}],
                    "status":"final","code":{"text":"x"},"basedOn":[{"reference":"Condition/a"}]}"#,
                Kept::InPart,
                r#"{"result":[{"reference":"Observation/b"}],"status":"final","code":{"text":"x"}}"#,
            ),
            // The diagnosis goes with its condition, the visit stays.
            (
                "Encounter",
                r#"{"status":"finished","class":{"code":"IMP"},"diagnosis":[
                    {"condition":{"reference":"Condition/a"},"rank":1},
                    {"condition":{"reference":"Condition/b"},"rank":2}]}"#,
                Kept::InPart,
                r#"{"status":"finished","class":{"code":"IMP"},"diagnosis":[{"condition":{"reference":"Condition/b"},"rank":2}]}"#,
            ),
            // A participant without a person is none.
            (
                "Encounter",
                r#"{"status":"finished","class":{"code":"IMP"},"participant":[{"individual":{"reference":"Condition/a"}}]}"#,
                Kept::InPart,
                r#"{"status":"finished","class":{"code":"IMP"}}"#,
            ),
            // What is said beside the reference stays.
            (
                "Encounter",
                r#"{"status":"finished","class":{"code":"IMP"},"serviceProvider":{"reference":"Condition/a","display":"W1"}}"#,
                Kept::InPart,
                r#"{"status":"finished","class":{"code":"IMP"},"serviceProvider":{"display":"W1"}}"#,
            ),
            // It must be somebody's.
            (
                "Immunization",
                r#"{"status":"completed","vaccineCode":{"text":"x"},"patient":{"reference":"Condition/a"},"occurrenceString":"x"}"#,
                Kept::No,
                r#"{"status":"completed","vaccineCode":{"text":"x"},"occurrenceString":"x"}"#,
            ),
            (
                "Encounter",
                r#"{"status":"finished","subject":{"reference":"Patient/a"},"location":[{}]}"#,
                Kept::Whole,
                r#"{"status":"finished","subject":{"reference":"Patient/a"},"location":[{}]}"#,
            ),
        ] {
            let Value::Object(mut object) = parse(body.as_bytes()).unwrap().into_owned() else {
                panic!("{body}")
            };
            let found = forget(&mut object, spec.schema.type_named(of), &spec.schema, &gone);
            assert_eq!((found, Value::Object(object).to_text().as_str()), (kept, left), "{body}");
        }
    }

    #[test]
    fn the_entry_is_read_from_the_place_of_an_issue() {
        for (expression, expected) in [
            ("Bundle.entry[12].resource.status", Some(12)),
            ("Bundle.entry[0].resource", Some(0)),
            ("Bundle.type", None),
            ("Patient.name", None),
        ] {
            assert_eq!(place(expression), expected, "{expression}");
        }
    }
}
