//! Which items are asked: `enableWhen` and `enableBehavior`.
//!
//! Spec: <https://hl7.org/fhir/R4/questionnaire-definitions.html#Questionnaire.item.enableWhen>

use std::cmp::Ordering;

use crate::fhir::json::Value;
use crate::fhirpath::same_tree;

use super::super::checks::compare;
use super::super::walk::Walk;
use super::Around;

/// How deep an answer is looked for.
const MAX_DEPTH: usize = 32;

impl<'w> Walk<'w> {
    /// Whether an item is asked, given the answers around it.
    pub(super) fn is_enabled(&mut self, asked: &'w Value<'w>, around: &Around<'w, 'w>) -> bool {
        let conditions = asked.items_at("enableWhen");
        if conditions.is_empty() {
            return true;
        }
        let mut holds = |condition: &'w Value<'w>| self.holds_when(condition, around);
        match asked.str_at("enableBehavior") {
            Some("all") => conditions.iter().all(&mut holds),
            _ => conditions.iter().any(&mut holds),
        }
    }

    fn holds_when(&mut self, condition: &'w Value<'w>, around: &Around<'w, 'w>) -> bool {
        let Some(question) = condition.str_at("question") else { return true };
        let mut answers = Vec::new();
        // The nearest items that have the question.
        for items in around.iter().rev() {
            self.answers_to(question, items, MAX_DEPTH, &mut answers);
            if !answers.is_empty() {
                break;
            }
        }
        // To look through all of them is work as well; what nobody can pay for, the walk tells.
        self.steps = self.steps.saturating_sub(answers.len() as u64);
        let Some(wanted) = value_of(condition, "answer") else { return true };
        let order = |answer: &&Value<'_>| compare(answer, wanted);
        match condition.str_at("operator") {
            Some("exists") => Some(!answers.is_empty()) == wanted.as_bool(),
            Some("=") => answers.iter().any(|answer| is_same(answer, wanted)),
            Some("!=") => answers.iter().any(|answer| !is_same(answer, wanted)),
            Some(">") => answers.iter().any(|it| order(it) == Some(Ordering::Greater)),
            Some("<") => answers.iter().any(|it| order(it) == Some(Ordering::Less)),
            Some(">=") => answers.iter().any(|it| order(it).is_some_and(Ordering::is_ge)),
            Some("<=") => answers.iter().any(|it| order(it).is_some_and(Ordering::is_le)),
            _ => true,
        }
    }

    /// Appends the answers to a question in items and in what is in them.
    fn answers_to(
        &mut self,
        question: &str,
        items: &'w [Value<'w>],
        depth: usize,
        out: &mut Vec<&'w Value<'w>>,
    ) {
        let Some(depth) = depth.checked_sub(1) else { return };
        for item in items {
            let Some(left) = self.steps.checked_sub(1) else { return };
            self.steps = left;
            let answers = item.items_at("answer");
            if item.str_at("linkId") == Some(question) {
                out.extend(answers.iter().filter_map(|answer| value_of(answer, "value")));
            }
            self.answers_to(question, item.items_at("item"), depth, out);
            for answer in answers {
                self.answers_to(question, answer.items_at("item"), depth, out);
            }
        }
    }
}

/// The value of the choice `name` of an object.
pub(super) fn value_of<'w>(object: &'w Value<'w>, name: &str) -> Option<&'w Value<'w>> {
    let mut parts = object.as_object()?.iter();
    let is_it = |key: &str| {
        key.strip_prefix(name).is_some_and(|rest| rest.starts_with(|it: char| it.is_uppercase()))
    };
    parts.find(|(key, _)| is_it(key)).map(|(_, value)| value)
}

/// Whether two answers are the same; codings are by system and code.
pub(super) fn is_same(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left.get("code"), right.get("code")) {
        (Some(own), Some(other)) => own == other && left.get("system") == right.get("system"),
        _ => same_tree(left, right),
    }
}
