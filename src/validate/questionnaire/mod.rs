//! The answers of a QuestionnaireResponse by its Questionnaire, and the conditions of a Questionnaire.
//!
//! The Questionnaire is looked for in what is contained, in the other entries of a Bundle, and in what
//! the caller knows; a response whose Questionnaire is not found is not judged here.
//!
//! | file | holds |
//! |---|---|
//! | `answer` | the rules on one answer |
//! | `condition` | when an item is enabled |
//!
//! Layer: 2, part of [`crate::validate`]. Imports `fhir`, `fhirpath`, `spec`.
//!
//! Spec: <https://hl7.org/fhir/R4/questionnaire.html>, <https://hl7.org/fhir/R4/questionnaireresponse.html>

mod answer;
mod condition;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::fhir::json::Value;
use crate::fhir::schema::Schema;
use crate::fhir::{Issue, IssueCode};
use crate::spec::terminology::Terminology;

use super::form::MAX_ISSUES;

/// Most steps of FHIRPath for one document.
const STEPS: u64 = 1_000_000;

/// Judges a document that is, or has in its entries, responses and questionnaires; `known` are
/// Questionnaires from elsewhere.
pub fn check<'v>(
    document: &'v Value<'v>,
    known: &[&'v Value<'v>],
    schema: &'v Schema,
    codes: &'v dyn Terminology,
) -> Vec<Issue> {
    let mut issues = Vec::new();
    let mut judge = |value: &'v Value<'v>, known: &[&'v Value<'v>], place: &str| match value
        .str_at("resourceType")
    {
        Some("Questionnaire") => condition::of_questionnaire(value, place, &mut issues),
        Some("QuestionnaireResponse") => {
            if let Some(questionnaire) = questionnaire(value, known) {
                let mut walk = Walk::new(value, schema, codes, place.to_owned());
                walk.response(questionnaire);
                issues.append(&mut walk.issues);
            }
        }
        _ => {}
    };
    if document.str_at("resourceType") != Some("Bundle") {
        let name = document.str_at("resourceType").unwrap_or_default();
        judge(document, known, name);
        return issues;
    }
    let entries = document.items_at("entry");
    let resources = || entries.iter().filter_map(|entry| entry.get("resource"));
    let is_one = |it: &&Value<'_>| it.str_at("resourceType") == Some("Questionnaire");
    let known: Vec<&'v Value<'v>> =
        resources().filter(is_one).chain(known.iter().copied()).collect();
    for (at, entry) in entries.iter().enumerate() {
        if let Some(resource) = entry.get("resource") {
            judge(resource, &known, &format!("Bundle.entry[{at}].resource"));
        }
    }
    issues.truncate(MAX_ISSUES);
    issues
}

/// The Questionnaire that a response names.
fn questionnaire<'v>(response: &'v Value<'v>, known: &[&'v Value<'v>]) -> Option<&'v Value<'v>> {
    let canonical = response.str_at("questionnaire")?;
    if let Some(id) = canonical.strip_prefix('#') {
        let contained = response.items_at("contained").iter();
        return contained.filter(|it| is_questionnaire(it)).find(|it| it.str_at("id") == Some(id));
    }
    let (url, version) = match canonical.split_once('|') {
        Some((url, version)) => (url, Some(version)),
        None => (canonical, None),
    };
    let is_it = |it: &&&Value<'_>| {
        let is_version = version.is_none() || it.str_at("version") == version;
        it.str_at("url") == Some(url) && is_version
    };
    known.iter().find(is_it).copied()
}

fn is_questionnaire(value: &Value<'_>) -> bool {
    value.str_at("resourceType") == Some("Questionnaire")
}

/// A response on its way along its Questionnaire.
struct Walk<'w> {
    response: &'w Value<'w>,
    schema: &'w Schema,
    codes: &'w dyn Terminology,
    /// The expression of the response.
    root: String,
    /// The answers to each question, wherever they stand.
    answers: HashMap<&'w str, Vec<&'w Value<'w>>>,
    /// Whether something may still be missing.
    is_open: bool,
    steps: u64,
    issues: Vec<Issue>,
}

impl<'w> Walk<'w> {
    fn new(
        response: &'w Value<'w>,
        schema: &'w Schema,
        codes: &'w dyn Terminology,
        root: String,
    ) -> Self {
        let mut answers = HashMap::new();
        collect(response.items_at("item"), &mut answers);
        let is_open = response.str_at("status") == Some("in-progress");
        let issues = Vec::new();
        Self { response, schema, codes, root, answers, is_open, steps: STEPS, issues }
    }

    fn response(&mut self, questionnaire: &'w Value<'w>) {
        let root = self.root.clone();
        self.level(questionnaire.items_at("item"), self.response.items_at("item"), &root);
    }

    fn add(&mut self, code: IssueCode, place: &str, rule: &str) {
        if self.issues.len() < MAX_ISSUES {
            self.issues.push(Issue::error_at(code, format!("{place}: {rule}"), place));
        }
    }

    /// The items of one level by the questions of it.
    fn level(&mut self, questions: &'w [Value<'w>], items: &'w [Value<'w>], place: &str) {
        let index: HashMap<&str, usize> = questions
            .iter()
            .enumerate()
            .filter_map(|(at, question)| Some((question.str_at("linkId")?, at)))
            .collect();
        let mut given: Vec<Vec<usize>> = vec![Vec::new(); questions.len()];
        let mut last = 0;
        for (at, item) in items.iter().enumerate() {
            let link = item.str_at("linkId").unwrap_or_default();
            let here = format!("{place}.item[{at}]");
            match index.get(link) {
                None => {
                    let rule = format!("the questionnaire has no item {link:?} here");
                    self.add(IssueCode::Structure, &here, &rule);
                }
                Some(&question) if question < last => {
                    let rule = format!("item {link:?} stands after one that comes behind it");
                    self.add(IssueCode::Structure, &here, &rule);
                    given[question].push(at);
                }
                Some(&question) => {
                    last = question;
                    given[question].push(at);
                }
            }
        }
        for (question, given) in questions.iter().zip(given) {
            if self.issues.len() >= MAX_ISSUES {
                return;
            }
            let is_enabled = self.is_enabled(question, items);
            let here: Vec<(String, &'w Value<'w>)> =
                given.iter().map(|&at| (format!("{place}.item[{at}]"), &items[at])).collect();
            match question.str_at("type") {
                Some("group") => self.group(question, &here, is_enabled, place),
                Some("display") => self.display(&here),
                _ => self.question(question, &here, is_enabled, place),
            }
        }
    }

    fn group(
        &mut self,
        group: &'w Value<'w>,
        given: &[(String, &'w Value<'w>)],
        is_enabled: Option<bool>,
        place: &str,
    ) {
        let link = group.str_at("linkId").unwrap_or_default();
        if given.is_empty() && self.is_missed(group, is_enabled) {
            self.add(IssueCode::Required, place, &format!("the group {link:?} is required"));
        }
        if let Some((second, _)) = given.get(1)
            && !is(group, "repeats")
        {
            self.add(IssueCode::Structure, second, &format!("the group {link:?} does not repeat"));
        }
        for (here, item) in given {
            if !item.items_at("answer").is_empty() {
                self.add(IssueCode::Structure, here, "a group has no answers");
            }
            if is_enabled == Some(false) && has_answers(item) {
                self.add(IssueCode::BusinessRule, here, "has answers, and is not enabled");
            } else if is_enabled != Some(false) {
                self.level(group.items_at("item"), item.items_at("item"), here);
            }
        }
    }

    fn display(&mut self, given: &[(String, &'w Value<'w>)]) {
        for (here, item) in given {
            if has_answers(item) {
                self.add(IssueCode::Structure, here, "what is only displayed has no answers");
            }
        }
    }

    fn question(
        &mut self,
        question: &'w Value<'w>,
        given: &[(String, &'w Value<'w>)],
        is_enabled: Option<bool>,
        place: &str,
    ) {
        let link = question.str_at("linkId").unwrap_or_default();
        if let Some((second, _)) = given.get(1) {
            let rule = format!("all answers to {link:?} stand in one item");
            self.add(IssueCode::Structure, second, &rule);
        }
        let count: usize = given.iter().map(|(_, item)| item.items_at("answer").len()).sum();
        let at = given.first().map_or(place, |(here, _)| here);
        if count > 0 && is_enabled == Some(false) {
            self.add(IssueCode::BusinessRule, at, "has answers, and is not enabled");
            return;
        }
        self.count(question, count, is_enabled, at);
        for (here, item) in given {
            if !item.items_at("item").is_empty() {
                let rule = "what belongs to a question stands inside its answers";
                self.add(IssueCode::Structure, here, rule);
            }
            for (number, answer) in item.items_at("answer").iter().enumerate() {
                let here = format!("{here}.answer[{number}]");
                self.answer(question, answer, &here);
                self.level(question.items_at("item"), answer.items_at("item"), &here);
            }
        }
    }

    /// How many answers there may be.
    fn count(
        &mut self,
        question: &'w Value<'w>,
        count: usize,
        is_enabled: Option<bool>,
        place: &str,
    ) {
        const MIN: &str = "http://hl7.org/fhir/StructureDefinition/questionnaire-minOccurs";
        const MAX: &str = "http://hl7.org/fhir/StructureDefinition/questionnaire-maxOccurs";
        let link = question.str_at("linkId").unwrap_or_default();
        let bound = |url| -> Option<usize> {
            answer::extension(question, url)
                .and_then(|it| it.get("valueInteger")?.as_number()?.parse().ok())
        };
        let (least, most) = (bound(MIN), bound(MAX));
        if count == 0 && self.is_missed(question, is_enabled) {
            self.add(IssueCode::Required, place, &format!("an answer to {link:?} is required"));
        } else if let Some(least) = least.filter(|least| count < *least)
            && is_enabled == Some(true)
            && !self.is_open
        {
            let rule = format!("{link:?} needs at least {least} answers, and has {count}");
            self.add(IssueCode::Required, place, &rule);
        }
        let most = most.unwrap_or(usize::MAX);
        let most = if is(question, "repeats") || most < usize::MAX { most } else { 1 };
        if count > most {
            let rule = format!("{link:?} takes at most {most} answers, and has {count}");
            self.add(IssueCode::Structure, place, &rule);
        }
    }

    /// Whether something is required that is not there.
    fn is_missed(&self, question: &Value<'_>, is_enabled: Option<bool>) -> bool {
        is(question, "required") && is_enabled == Some(true) && !self.is_open
    }
}

fn is(question: &Value<'_>, name: &str) -> bool {
    question.get(name).and_then(Value::as_bool) == Some(true)
}

/// Whether an item, or one inside it, is answered.
fn has_answers(item: &Value<'_>) -> bool {
    !item.items_at("answer").is_empty() || item.items_at("item").iter().any(has_answers)
}

fn collect<'w>(items: &'w [Value<'w>], found: &mut HashMap<&'w str, Vec<&'w Value<'w>>>) {
    for item in items {
        let answers = item.items_at("answer");
        if let Some(link) = item.str_at("linkId") {
            found.entry(link).or_default().extend(answers);
        }
        collect(item.items_at("item"), found);
        for answer in answers {
            collect(answer.items_at("item"), found);
        }
    }
}
