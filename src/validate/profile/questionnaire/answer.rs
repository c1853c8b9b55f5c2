//! The rules on one answer: its type, options, lengths and bounds.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset-item-type.html>

use std::cmp::Ordering;
use std::sync::Arc;

use crate::fhir::json::{Object, Value};
use crate::fhir::primitive;
use crate::fhir::schema::Primitive;
use crate::fhirpath::{Environment, Item};
use crate::spec::terminology::Contains;
use crate::validate::place::Place;

use super::super::checks::compare;
use super::super::compile::matching;
use super::super::walk::Walk;
use super::enabled::{is_same, value_of};
use super::{extension, whole};

const BASE: &str = "http://hl7.org/fhir/StructureDefinition/";
const SDC: &str = "http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-";

/// Steps that it takes to look a display up.
const LOOKING: u64 = 1_000;
/// Steps that it takes to read a regular expression.
const READING: u64 = 20_000;

impl<'w> Walk<'w> {
    /// Checks one answer to a question of the type `kind`.
    pub(super) fn answer(
        &mut self,
        asked: &'w Value<'w>,
        kind: &str,
        answer: &'w Value<'w>,
        place: &Place<'_>,
    ) {
        let Some(value) = value_of(answer, "value") else { return };
        // Each answer is held against each of these.
        let known = asked.items_at("answerOption").len() + asked.items_at("extension").len();
        if !self.pay(1 + known as u64, place) {
            return;
        }
        let has = |key: &str| answer.get(key).is_some();
        let options = asked.items_at("answerOption");
        let is_option_type = options
            .iter()
            .filter_map(Value::as_object)
            .flat_map(Object::iter)
            .any(|(key, _)| key.starts_with("value") && has(key));
        let (is_right, wanted) = match kind {
            "attachment" => (has("valueAttachment"), "an Attachment"),
            "boolean" => (has("valueBoolean"), "a boolean"),
            "choice" => (has("valueCoding") || is_option_type, "a Coding"),
            "date" => (has("valueDate"), "a date"),
            "dateTime" => (has("valueDateTime"), "a dateTime"),
            "decimal" => (has("valueDecimal"), "a decimal"),
            "integer" => (has("valueInteger"), "an integer"),
            "open-choice" => {
                let is_right = has("valueCoding") || has("valueString") || is_option_type;
                (is_right, "a Coding or a string")
            }
            "quantity" => (has("valueQuantity"), "a Quantity"),
            "reference" => (has("valueReference"), "a Reference"),
            "string" | "text" => (has("valueString"), "a string"),
            "time" => (has("valueTime"), "a time"),
            "url" => (has("valueUri"), "a uri"),
            // Displays and abstract questions.
            _ => (false, "nothing"),
        };
        if !is_right {
            let rule = format!("the answer to an item of type {kind} is {wanted}");
            return self.misfit(place, &rule);
        }
        if kind == "url"
            && let Some(text) = value.as_str().filter(|text| text.starts_with("urn:uuid:"))
            && let Err(rule) = primitive::check(Primitive::Uuid, text)
        {
            self.misfit(place, rule);
        }
        self.option(asked, kind, value, place);
        self.display(asked, value, place);
        self.text(asked, value, place);
        self.bounded(asked, value, place);
        self.attached(asked, value, place);
        self.unit(asked, value, place);
    }

    /// Checks that a choice is one of the options.
    fn option(
        &mut self,
        asked: &'w Value<'w>,
        kind: &str,
        value: &'w Value<'w>,
        place: &Place<'_>,
    ) {
        let is_open_text = kind == "open-choice" && value.as_str().is_some();
        let options = asked.items_at("answerOption");
        if !options.is_empty() && !is_open_text {
            let mut allowed = options.iter().filter_map(|option| value_of(option, "value"));
            if !allowed.any(|option| is_same(option, value)) {
                self.misfit(place, "the answer is none of the options");
            }
        }
        let Some(value_set) = asked.str_at("answerValueSet") else { return };
        let code = value.str_at("code").or_else(|| value.as_str());
        let Some(code) = code.filter(|_| !is_open_text && !value_set.starts_with('#')) else {
            return;
        };
        let contains =
            self.validator.terminology().contains(value_set, value.str_at("system"), code);
        let is_text = value.as_str().is_some();
        if contains == Ok(Contains::No) {
            self.misfit(place, "the answer is not in the value set of the question");
        } else if is_text
            && self.pay(LOOKING, place)
            && self.validator.terminology().is_only_shown(value_set, code)
        {
            // Where systems of unknown codes are in the value set, any text may be one of them.
            self.misfit(
                place,
                "the answer is a display of the value set, and not one of its codes",
            );
        }
    }

    /// Checks that the display of a chosen code is one of its displays: it is what was read by who
    /// chose. Translations that are not known here are no fault.
    fn display(&mut self, asked: &'w Value<'w>, value: &'w Value<'w>, place: &Place<'_>) {
        let language = self.scope.resource.str_at("language");
        let (Some(code), Some(display)) = (value.str_at("code"), value.str_at("display")) else {
            return;
        };
        let is_told = |option: &Value<'w>| {
            let option = value_of(option, "value");
            option.is_some_and(|it| is_same(it, value) && it.str_at("display") == Some(display))
        };
        if language.is_some_and(|tag| !tag.starts_with("en"))
            || asked.items_at("answerOption").iter().any(is_told)
        {
            return;
        }
        let system = value.str_at("system").unwrap_or_default();
        let known = self.validator.terminology().displays(system, code);
        let plain = |text: &str| {
            let words: Vec<_> = text.split_whitespace().collect();
            words.join(" ").to_lowercase()
        };
        if !known.is_empty() && !known.iter().any(|own| plain(own) == plain(display)) {
            self.misfit(place, "the display is none of the code");
        }
    }

    fn text(&mut self, asked: &'w Value<'w>, value: &'w Value<'w>, place: &Place<'_>) {
        let Some(text) = value.as_str() else { return };
        let count = text.chars().count();
        let most = asked.get("maxLength").and_then(Value::as_number);
        let most: Option<usize> = most.and_then(|digits| digits.parse().ok());
        if most.is_some_and(|most| count > most) {
            self.misfit(place, "the answer is longer than may be");
        }
        if whole(asked, &format!("{BASE}minLength")).is_some_and(|least| count < least) {
            self.misfit(place, "the answer is shorter than may be");
        }
        let regex = extension(asked, &format!("{BASE}regex")).and_then(Value::as_str);
        if let Some(regex) = regex
            && self.matches(value, regex, place) == Some(false)
        {
            self.misfit(place, "the answer does not match the regular expression of the question");
        }
    }

    fn matches(&mut self, value: &'w Value<'w>, regex: &'w str, place: &Place<'_>) -> Option<bool> {
        // The answers to a question come one after the other: theirs is read once.
        let known = self.regex.as_ref().filter(|(text, _)| *text == regex);
        let constraint = if let Some((_, known)) = known {
            Arc::clone(known)
        } else {
            if !self.pay(READING + regex.len() as u64, place) {
                return None;
            }
            let read = Arc::new(matching(regex));
            self.regex = Some((regex, Arc::clone(&read)));
            read
        };
        let expression = constraint.expression.as_ref().ok()?;
        let environment = Environment::new(self.scope.resource, self.schema)
            .with_time(self.options.expression_time);
        let text = Item::from(value.as_str()?);
        let found = expression.evaluate_within(text, &environment, &mut self.steps);
        let found = found.map_err(|fault| self.is_ended(&fault, place)).ok()?;
        let held = found.first()?.system(self.schema)?;
        Some(held.to_text() == "true")
    }

    fn bounded(&mut self, asked: &'w Value<'w>, value: &'w Value<'w>, place: &Place<'_>) {
        for (name, broken, rule) in [
            ("minValue", Ordering::Less, "the answer is less than the least that is allowed"),
            ("maxValue", Ordering::Greater, "the answer is more than the most that is allowed"),
        ] {
            let bound = extension(asked, &format!("{BASE}{name}"));
            if bound.and_then(|bound| compare(value, bound)) == Some(broken) {
                self.misfit(place, rule);
            }
        }
        for (name, broken, rule) in [
            ("minQuantity", Ordering::Less, "the quantity is less than the least"),
            ("maxQuantity", Ordering::Greater, "the quantity is more than the most"),
        ] {
            let Some(bound) = extension(asked, &format!("{SDC}{name}")) else { continue };
            let has_code = value.get("code").is_some() && value.get("system").is_some();
            match compare(value, bound).filter(|_| has_code) {
                None => self.misfit(place, "the quantity cannot be compared with its bound"),
                Some(order) if order == broken => self.misfit(place, rule),
                Some(_) => {}
            }
        }
    }

    fn attached(&mut self, asked: &'w Value<'w>, value: &'w Value<'w>, place: &Place<'_>) {
        let Some(most) = extension(asked, &format!("{BASE}maxSize")) else { return };
        let Some(data) = value.str_at("data") else { return };
        let size = primitive::base64_content(data).map(|bytes| bytes.len().to_string());
        let Ok(size) = size else { return };
        if compare(&Value::Number(size.into()), most) == Some(Ordering::Greater) {
            self.misfit(place, "the attachment is larger than may be");
        }
    }

    fn unit(&mut self, asked: &'w Value<'w>, value: &'w Value<'w>, place: &Place<'_>) {
        if value.get("value").is_none() {
            return;
        }
        let url = format!("{BASE}questionnaire-unitOption");
        let of = asked.items_at("extension").iter();
        let options: Vec<_> = of
            .filter(|it| it.str_at("url") == Some(&*url))
            .filter_map(|it| it.get("valueCoding"))
            .collect();
        let is_option = |option: &&Value<'_>| {
            option.get("code") == value.get("code") && option.get("system") == value.get("system")
        };
        if !options.is_empty() && !options.iter().any(is_option) {
            self.misfit(place, "the unit is none of the options");
        }
        let set = extension(asked, &format!("{BASE}questionnaire-unitValueSet"));
        let Some(set) = set.and_then(Value::as_str) else { return };
        let is_in = value.str_at("code").is_some_and(|code| {
            self.validator.terminology().contains(set, value.str_at("system"), code)
                != Ok(Contains::No)
        });
        if !is_in {
            self.misfit(place, "the unit is not in the value set of the question");
        }
    }
}
