//! The answers of a QuestionnaireResponse by the Questionnaire that they answer.
//!
//! | file | holds |
//! |---|---|
//! | `answer` | the rules on one answer |
//! | `conditions` | what the conditions of a Questionnaire depend on |
//! | `enabled` | which questions are asked at all |
//!
//! Spec: <https://hl7.org/fhir/R4/questionnaireresponse.html#notes>,
//! <https://hl7.org/fhir/R4/questionnaire.html#item>

mod answer;
mod conditions;
mod enabled;

use crate::fhir::json::Value;
use crate::fhir::{Canonical, IssueCode, Severity};
use crate::validate::place::Place;

use super::findings::By;
use super::walk::Walk;

/// How deep items lie in items.
const MAX_DEPTH: usize = 32;

const MIN_OCCURS: &str = "http://hl7.org/fhir/StructureDefinition/questionnaire-minOccurs";
const MAX_OCCURS: &str = "http://hl7.org/fhir/StructureDefinition/questionnaire-maxOccurs";

/// The items around a place: of the response, the innermost last.
type Around<'r, 'w> = Vec<&'r [Value<'w>]>;

/// The items of one level: what is asked, what is answered.
#[derive(Clone, Copy)]
struct Level<'w> {
    asked: &'w [Value<'w>],
    answered: &'w [Value<'w>],
    /// Whether the response is meant to have all answers.
    is_complete: bool,
}

impl<'w> Walk<'w> {
    /// Judges the answers of a response, where its Questionnaire is at hand.
    pub(super) fn response(&mut self, response: &'w Value<'w>, place: &Place<'_>) {
        let Some(canonical) = response.str_at("questionnaire") else { return };
        let Some(questionnaire) = self.questionnaire(response, canonical) else {
            if let Some(is) = self.definition_of(canonical) {
                let rule = format_args!("the canonical is that of a {is}, not of a Questionnaire");
                let (severity, code) = (Severity::Error, IssueCode::BusinessRule);
                let place = place.child("questionnaire");
                self.findings.add(severity, code, &place, rule, By::default());
                return;
            }
            let rule = format_args!("the answers are not judged: the Questionnaire is not at hand");
            let (severity, code) = (Severity::Information, IssueCode::NotFound);
            self.findings.add(severity, code, place, rule, By::default());
            return;
        };
        let level = Level {
            asked: questionnaire.items_at("item"),
            answered: response.items_at("item"),
            is_complete: matches!(response.str_at("status"), Some("completed" | "amended")),
        };
        self.level(level, &mut Vec::new(), &place.child("item"));
    }

    /// What kind of definition has this canonical, where one is known.
    fn definition_of(&self, canonical: &str) -> Option<&'static str> {
        let is_structure = || self.validator.library.structure(canonical).is_ok();
        let known = self.validator.terminology.kind_of(canonical);
        known.or_else(|| is_structure().then_some("StructureDefinition"))
    }

    fn questionnaire(&self, response: &'w Value<'w>, canonical: &str) -> Option<&'w Value<'w>> {
        let is_questionnaire =
            |value: &&'w Value<'w>| value.str_at("resourceType") == Some("Questionnaire");
        let contained = response.items_at("contained").iter();
        if let Some(id) = canonical.strip_prefix('#') {
            return contained.filter(is_questionnaire).find(|it| it.str_at("id") == Some(id));
        }
        let wanted = Canonical::parse(canonical);
        let is_it = |it: &&'w Value<'w>| {
            let version = it.str_at("version");
            it.str_at("url") == Some(wanted.url)
                && wanted.version.is_none_or(|wanted| version.is_none_or(|own| own == wanted))
        };
        let at_hand = self.options.questionnaires.iter();
        contained.chain(at_hand).filter(is_questionnaire).find(is_it)
    }

    fn level(&mut self, level: Level<'w>, around: &mut Around<'w, 'w>, place: &Place<'_>) {
        if around.len() >= MAX_DEPTH {
            return;
        }
        around.push(level.answered);
        self.strangers(level, place);
        for asked in level.asked {
            if self.is_over() || !self.pay(1 + level.answered.len() as u64, place) {
                break;
            }
            let Some(link) = asked.str_at("linkId") else { continue };
            let is_it = |(_, item): &(usize, &'w Value<'w>)| item.str_at("linkId") == Some(link);
            let found: Vec<_> = level.answered.iter().enumerate().filter(is_it).collect();
            self.item(asked, &found, level.is_complete, around, place);
        }
        around.pop();
    }

    /// Checks that every item is asked for here, and that they come in that order.
    fn strangers(&mut self, level: Level<'w>, place: &Place<'_>) {
        let mut last = 0;
        for (index, item) in level.answered.iter().enumerate() {
            if !self.pay(1 + level.asked.len() as u64, place) {
                return;
            }
            let Some(link) = item.str_at("linkId") else { continue };
            let asked = level.asked.iter().position(|asked| asked.str_at("linkId") == Some(link));
            let at = place.at(index);
            match asked {
                None => self.misfit(&at, "the Questionnaire has no item of this linkId here"),
                Some(asked) if asked < last => {
                    self.misfit(&at, "the items come in the order of the Questionnaire");
                }
                Some(asked) => last = asked,
            }
        }
    }

    /// Checks the items that answer one item of the Questionnaire.
    fn item(
        &mut self,
        asked: &'w Value<'w>,
        found: &[(usize, &'w Value<'w>)],
        is_complete: bool,
        around: &mut Around<'w, 'w>,
        place: &Place<'_>,
    ) {
        let kind = asked.str_at("type").unwrap_or_default();
        let flag = |name: &str| asked.get(name).and_then(Value::as_bool) == Some(true);
        if !self.is_enabled(asked, around) {
            for (index, item) in found {
                if !item.items_at("answer").is_empty() || !item.items_at("item").is_empty() {
                    self.misfit(&place.at(*index), "the item is not enabled, and has an answer");
                }
            }
            return;
        }
        let answers: usize = found.iter().map(|(_, item)| item.items_at("answer").len()).sum();
        let count = if kind == "group" { found.len() } else { answers };
        let least = whole(asked, MIN_OCCURS).unwrap_or(usize::from(flag("required")));
        if count < least && kind != "display" {
            let severity = if is_complete { Severity::Error } else { Severity::Information };
            let link = asked.str_at("linkId").unwrap_or_default();
            let rule = format_args!("item {link} needs {least} answers, found are {count}");
            self.findings.add(severity, IssueCode::Required, place, rule, By::default());
        }
        let most = if flag("repeats") { whole(asked, MAX_OCCURS) } else { Some(1) };
        if most.is_some_and(|most| count > most) {
            let at = found.last().map_or(*place, |(index, _)| place.at(*index));
            self.misfit(&at, "the item has more answers than may be given");
        }
        if kind != "group" && found.len() > 1 {
            let at = found.last().map_or(*place, |(index, _)| place.at(*index));
            self.misfit(&at, "the answers to one question stand in one item");
        }
        for (index, item) in found {
            let at = place.at(*index);
            let inner = asked.items_at("item");
            if kind == "group" {
                if !item.items_at("answer").is_empty() {
                    self.misfit(&at, "a group has no answers of its own");
                }
                let answered = item.items_at("item");
                let level = Level { asked: inner, answered, is_complete };
                self.level(level, around, &at.child("item"));
                continue;
            }
            let all = at.child("answer");
            for (index, answer) in item.items_at("answer").iter().enumerate() {
                let at = all.at(index);
                self.answer(asked, kind, answer, &at);
                let answered = answer.items_at("item");
                let level = Level { asked: inner, answered, is_complete };
                self.level(level, around, &at.child("item"));
            }
        }
    }

    fn misfit(&mut self, place: &Place<'_>, rule: &str) {
        let (severity, code) = (Severity::Error, IssueCode::Structure);
        self.findings.add(severity, code, place, format_args!("{rule}"), By::default());
    }
}

/// The value of the extension `url` of an item.
fn extension<'w>(item: &'w Value<'w>, url: &str) -> Option<&'w Value<'w>> {
    let found = item.items_at("extension").iter().find(|it| it.str_at("url") == Some(url))?;
    let mut parts = found.as_object()?.iter();
    parts.find(|(name, _)| name.starts_with("value")).map(|(_, value)| value)
}

/// The whole number of the extension `url` of an item.
fn whole(item: &Value<'_>, url: &str) -> Option<usize> {
    extension(item, url)?.as_number()?.parse().ok()
}
