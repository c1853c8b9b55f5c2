//! The rules on one answer: its type, the options, bounds and units.
//!
//! Spec: <https://hl7.org/fhir/R4/questionnaire.html#item-types>

use crate::fhir::IssueCode;
use crate::fhir::json::Value;
use crate::fhir::primitive::{self, base64_content};
use crate::fhir::schema::{Primitive, Schema};
use crate::fhirpath::{Environment, Expression, Item, Node, System};
use crate::spec::terminology::Contains;

use super::Walk;

const CORE: &str = "http://hl7.org/fhir/StructureDefinition/";
const SDC: &str = "http://hl7.org/fhir/uv/sdc/StructureDefinition/sdc-questionnaire-";

/// Bounds by extension: the end of its url, what has to hold, and in words.
const BOUNDS: [(&str, &str, &str, &str); 6] = [
    (CORE, "minValue", "%answer >= %limit", "is less than the least value"),
    (CORE, "maxValue", "%answer <= %limit", "is more than the greatest value"),
    (SDC, "minQuantity", "%answer >= %limit", "is less than the least quantity"),
    (SDC, "maxQuantity", "%answer <= %limit", "is more than the greatest quantity"),
    (CORE, "minLength", "%answer.length() >= %limit", "is too short"),
    (CORE, "regex", "%answer.matches('^(?:' & %limit & ')$')", "is not of the form asked for"),
];

/// The first extension of an element with this url.
pub(super) fn extension<'v>(holder: &'v Value<'v>, url: &str) -> Option<&'v Value<'v>> {
    extensions(holder, url).next()
}

fn extensions<'v>(holder: &'v Value<'v>, url: &str) -> impl Iterator<Item = &'v Value<'v>> {
    holder.items_at("extension").iter().filter(move |it| it.str_at("url") == Some(url))
}

/// The choice `name[x]` of an element, with the type that its property names.
pub(super) fn typed<'v>(holder: &'v Value<'v>, name: &str, schema: &Schema) -> Option<Node<'v>> {
    let named = |(key, value): (&'v str, &'v Value<'v>)| {
        let kind = key.strip_prefix(name).filter(|kind| !kind.is_empty())?;
        let primitive = || {
            let mut letters = kind.chars();
            let first = letters.next()?.to_ascii_lowercase();
            schema.by_name(&format!("{first}{}", letters.as_str()))
        };
        let type_id = schema.by_name(kind).or_else(primitive)?;
        Some(Node { value, sibling: None, type_id })
    };
    holder.as_object()?.iter().find_map(named)
}

impl<'w> Walk<'w> {
    /// Whether an expression over `%answer` and `%limit` is true; `None`: it says nothing.
    pub(super) fn compare(
        &mut self,
        expression: &str,
        answer: Node<'w>,
        limit: Node<'w>,
    ) -> Option<bool> {
        let expression = Expression::parse(expression).ok()?;
        let environment = Environment::new(self.response, self.schema)
            .with_variable("answer", vec![Item::Node(answer)])
            .with_variable("limit", vec![Item::Node(limit)]);
        let focus = Item::Node(answer);
        let found = expression.evaluate_within(focus, &environment, &mut self.steps).ok()?;
        match found.first()?.system(self.schema)? {
            System::Boolean(told) => Some(told),
            _ => None,
        }
    }

    /// One answer to a question.
    pub(super) fn answer(&mut self, question: &'w Value<'w>, answer: &'w Value<'w>, place: &str) {
        let kind = question.str_at("type").unwrap_or_default();
        if kind == "question" {
            return self.add(IssueCode::Structure, place, "what is only a kind has no answers");
        }
        let Some(given) = typed(answer, "value", self.schema) else { return };
        let name = &*self.schema.get(given.type_id).name;
        if !self.is_type(question, kind, name) {
            let rule = format!("a {kind} takes no answer of type {name}");
            return self.add(IssueCode::Structure, place, &rule);
        }
        self.bounds(question, given, place);
        match name {
            "Attachment" => self.attachment(question, given.value, place),
            "Quantity" => self.units(question, given.value, place),
            "Coding" | "date" | "integer" | "string" | "time" => {
                self.options(question, kind, given, place);
            }
            "uri" => self.uuid(given.value, place),
            _ => {}
        }
    }

    fn is_type(&self, question: &'w Value<'w>, kind: &str, name: &str) -> bool {
        match kind {
            "boolean" | "date" | "dateTime" | "decimal" | "integer" | "time" => kind == name,
            "attachment" => name == "Attachment",
            "quantity" => name == "Quantity",
            "reference" => name == "Reference",
            "string" | "text" => name == "string",
            "url" => name == "uri",
            "choice" | "open-choice" => {
                let mut options = question.items_at("answerOption").iter();
                let is_option = |option| {
                    let option = typed(option, "value", self.schema);
                    option.is_some_and(|it| &*self.schema.get(it.type_id).name == name)
                };
                let has_options = options.len() > 0;
                options.any(is_option)
                    || name == "Coding" && !has_options
                    || name == "string" && kind == "open-choice"
            }
            _ => true,
        }
    }

    fn bounds(&mut self, question: &'w Value<'w>, given: Node<'w>, place: &str) {
        for (base, end, expression, rule) in BOUNDS {
            let limit = extension(question, &format!("{base}{end}"));
            let Some(limit) = limit.and_then(|it| typed(it, "value", self.schema)) else {
                continue;
            };
            match self.compare(expression, given, limit) {
                Some(true) => {}
                Some(false) => self.add(IssueCode::Value, place, &format!("{rule} ({end})")),
                None if base == SDC => {
                    let rule = format!("cannot be compared with what is asked for ({end})");
                    self.add(IssueCode::Value, place, &rule);
                }
                None => {}
            }
        }
        let number = |value: &Value<'_>| value.as_number()?.parse::<usize>().ok();
        if let (Some(most), Some(text)) =
            (question.get("maxLength").and_then(number), given.value.as_str())
            && text.chars().count() > most
        {
            self.add(IssueCode::TooLong, place, &format!("is longer than {most} characters"));
        }
        let places = extension(question, &format!("{CORE}maxDecimalPlaces"));
        if let (Some(most), Some(digits)) =
            (places.and_then(|it| number(it.get("valueInteger")?)), given.value.as_number())
            && digits.split_once('.').is_some_and(|(_, end)| end.len() > most)
        {
            self.add(IssueCode::Value, place, &format!("has more than {most} decimal places"));
        }
    }

    fn attachment(&mut self, question: &'w Value<'w>, given: &'w Value<'w>, place: &str) {
        let data = given.str_at("data").and_then(|data| base64_content(data).ok());
        let stated = given.get("size").and_then(Value::as_number);
        let stated: Option<usize> = stated.and_then(|size| size.parse().ok());
        let size = data.map(|data| data.len());
        if let (Some(size), Some(stated)) = (size, stated)
            && size != stated
        {
            let rule = format!("the size is said to be {stated}, the data have {size} bytes");
            self.add(IssueCode::Value, place, &rule);
        }
        let most = extension(question, &format!("{CORE}maxSize"));
        let most = most.and_then(|it| it.get("valueDecimal")?.as_number()?.parse::<f64>().ok());
        if let (Some(most), Some(size)) = (most, size.or(stated))
            && size as f64 > most
        {
            let rule = format!("has {size} bytes; {most} are allowed");
            self.add(IssueCode::TooLong, place, &rule);
        }
        let mut types = extensions(question, &format!("{CORE}mimeType")).peekable();
        let given = given.str_at("contentType");
        if types.peek().is_some() && !types.any(|it| it.str_at("valueCode") == given) {
            self.add(IssueCode::Value, place, "is not of a media type that is asked for");
        }
    }

    fn units(&mut self, question: &'w Value<'w>, given: &'w Value<'w>, place: &str) {
        let (system, code) = (given.str_at("system"), given.str_at("code"));
        let mut options =
            extensions(question, &format!("{CORE}questionnaire-unitOption")).peekable();
        let is_it = |option: &Value<'_>| {
            let unit = option.get("valueCoding");
            unit.is_some_and(|it| it.str_at("code") == code && it.str_at("system") == system)
        };
        if options.peek().is_some() && !options.any(is_it) {
            self.add(IssueCode::CodeInvalid, place, "has none of the units that are asked for");
        }
        let value_set = extension(question, &format!("{CORE}questionnaire-unitValueSet"));
        if let Some(value_set) = value_set.and_then(|it| it.str_at("valueCanonical")) {
            let is_outside = code.is_none_or(|code| {
                matches!(self.codes.contains(value_set, system, code), Ok(Contains::No))
            });
            if is_outside {
                let rule = format!("the unit is not in the value set {value_set}");
                self.add(IssueCode::CodeInvalid, place, &rule);
            }
        }
    }

    /// What may be chosen from.
    fn options(&mut self, question: &'w Value<'w>, kind: &str, given: Node<'w>, place: &str) {
        if kind == "open-choice" {
            return;
        }
        let coding = given.value.as_object().is_some();
        let options = question.items_at("answerOption");
        let is_it = |option: &Value<'_>| {
            let mut values = option.as_object().into_iter().flat_map(|it| it.iter());
            let same = |value: &Value<'_>| match coding {
                true => ["system", "code"].iter().all(|it| value.get(it) == given.value.get(it)),
                false => value == given.value,
            };
            values.any(|(key, value)| key.starts_with("value") && same(value))
        };
        if !options.is_empty() && !options.iter().any(is_it) {
            self.add(IssueCode::CodeInvalid, place, "is none of the options");
        }
        // What is contained in the questionnaire is not looked into.
        let value_set = question.str_at("answerValueSet").filter(|it| !it.starts_with('#'));
        let Some(value_set) = value_set else { return };
        let (system, code) = match coding {
            true => (given.value.str_at("system"), given.value.str_at("code")),
            false => (None, given.value.as_str()),
        };
        let Some(code) = code else { return };
        if matches!(self.codes.contains(value_set, system, code), Ok(Contains::No)) {
            let rule = format!("is not in the value set {value_set}");
            self.add(IssueCode::CodeInvalid, place, &rule);
        }
    }

    fn uuid(&mut self, given: &Value<'_>, place: &str) {
        let text = given.as_str().filter(|text| text.starts_with("urn:uuid:"));
        if text.is_some_and(|text| primitive::check(Primitive::Uuid, text).is_err()) {
            self.add(IssueCode::Value, place, "a UUID has 32 hexadecimal digits in lower case");
        }
    }
}
