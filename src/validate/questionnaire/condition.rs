//! When an item is enabled.
//!
//! Spec: <https://hl7.org/fhir/R4/questionnaire-definitions.html#Questionnaire.item.enableWhen>

use std::collections::HashSet;

use crate::fhir::json::Value;
use crate::fhir::{Issue, IssueCode};

use super::Walk;
use super::answer::{extension, typed};

/// An expression decides: nothing is known here.
const EXPRESSION: &str =
    "http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-enableWhenExpression";

impl<'w> Walk<'w> {
    /// Whether a question is asked, by the answers that are given; `None` where that cannot be told.
    pub(super) fn is_enabled(
        &mut self,
        question: &'w Value<'w>,
        siblings: &'w [Value<'w>],
    ) -> Option<bool> {
        let conditions = question.items_at("enableWhen");
        if extension(question, EXPRESSION).is_some() {
            return None;
        }
        let mut told = Vec::with_capacity(conditions.len());
        for condition in conditions {
            told.push(self.holds(condition, siblings));
        }
        let is_any = question.str_at("enableBehavior") == Some("any");
        match is_any {
            _ if told.is_empty() => Some(true),
            true if told.contains(&Some(true)) => Some(true),
            false if told.contains(&Some(false)) => Some(false),
            _ if told.contains(&None) => None,
            is_any => Some(!is_any),
        }
    }

    fn holds(&mut self, condition: &'w Value<'w>, siblings: &'w [Value<'w>]) -> Option<bool> {
        let asked = condition.str_at("question")?;
        // In a group that repeats, the same repetition is meant.
        let near = siblings.iter().find(|item| item.str_at("linkId") == Some(asked));
        let answers: Vec<&'w Value<'w>> = match near {
            Some(item) => item.items_at("answer").iter().collect(),
            None => self.answers.get(asked).cloned().unwrap_or_default(),
        };
        let wanted = typed(condition, "answer", self.schema)?;
        let expression = match condition.str_at("operator")? {
            "exists" => return Some(!answers.is_empty() == wanted.value.as_bool()?),
            "=" | "!=" => EQUAL,
            ">" => "%answer > %limit",
            "<" => "%answer < %limit",
            ">=" => "%answer >= %limit",
            "<=" => "%answer <= %limit",
            _ => return None,
        };
        if answers.is_empty() {
            return (condition.str_at("operator") != Some("!=")).then_some(false);
        }
        let mut is_one = false;
        for answer in answers {
            let given = typed(answer, "value", self.schema)?;
            is_one |= self.compare(expression, given, wanted) == Some(true);
        }
        Some(is_one != (condition.str_at("operator") == Some("!=")))
    }
}

/// Codings are equal by system and code, whatever their display.
const EQUAL: &str = "iif(%answer is Coding and %limit is Coding, \
     %answer.code = %limit.code and (%answer.system = %limit.system \
     or %answer.system.empty() and %limit.system.empty()), %answer = %limit)";

/// The conditions of a Questionnaire: on items that are there, and not inside the item itself.
pub(super) fn of_questionnaire(questionnaire: &Value<'_>, place: &str, issues: &mut Vec<Issue>) {
    let mut all = HashSet::new();
    links(questionnaire, &mut all);
    items(questionnaire, place, &all, issues);
}

fn items<'q>(holder: &'q Value<'q>, place: &str, all: &HashSet<&str>, issues: &mut Vec<Issue>) {
    for (at, item) in holder.items_at("item").iter().enumerate() {
        let place = format!("{place}.item[{at}]");
        let conditions = item.items_at("enableWhen");
        let mut inner = HashSet::new();
        if !conditions.is_empty() {
            links(item, &mut inner);
            inner.extend(item.str_at("linkId"));
        }
        for (number, condition) in conditions.iter().enumerate() {
            let asked = condition.str_at("question").unwrap_or_default();
            let rule = if !all.contains(asked) {
                format!("there is no item {asked:?} that this could depend on")
            } else if inner.contains(asked) {
                format!("depends on {asked:?}, which is the item itself or inside it")
            } else {
                continue;
            };
            let place = format!("{place}.enableWhen[{number}]");
            let text = format!("{place}: {rule}");
            issues.push(Issue::error_at(IssueCode::BusinessRule, text, place));
        }
        items(item, &place, all, issues);
    }
}

fn links<'q>(holder: &'q Value<'q>, found: &mut HashSet<&'q str>) {
    for item in holder.items_at("item") {
        found.extend(item.str_at("linkId"));
        links(item, found);
    }
}
