//! From an element to the rows of a parameter, by the parameter's type and the element's.
//!
//! An element of a type that a parameter does not compare gives nothing (rest 4.233).

use std::borrow::Cow;
use std::sync::Arc;

use crate::fhir::datetime::Zone;
use crate::fhir::json::Value;
use crate::fhir::reference::Target;
use crate::fhir::schema::Schema;
use crate::fhir::{Canonical, ResourceType};
use crate::fhirpath::{Decimal, Item, System};
use crate::search::values::date::DateRange;
use crate::search::values::number::NumberRange;
use crate::search::values::phonetic;
use crate::search::values::quantity::{CURRENCY, Units, to_base};
use crate::search::values::string::{fold, later_words};
use crate::search::values::token::{BOOLEAN_SYSTEM, Case, Code};
use crate::spec::codes::Codes;
use crate::spec::search_parameter::SearchType;

use super::entry::{IndexValue, QuantityValue, ReferenceValue};
use super::kind::Kind;

/// More words than this are no name.
const MAX_WORDS: usize = 16;

/// What the rows of all parameters depend on.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) base: Box<str>,
    pub(super) codes: Arc<Codes>,
    pub(super) units: Box<dyn Units>,
    pub(super) zone: Zone,
}

impl Rules {
    /// Whether the case of the codes of a system counts.
    pub(super) fn case(&self, system: Option<&str>) -> Case {
        match system {
            Some(system) if self.codes.is_case_sensitive(system) => Case::Sensitive,
            _ => Case::Insensitive,
        }
    }
}

/// An element that a parameter looks at.
#[derive(Clone, Copy)]
pub(super) struct Element<'v> {
    pub(super) value: &'v Value<'v>,
    pub(super) kind: Kind,
    /// The system implied by the element's definition.
    pub(super) system: Option<&'v str>,
    /// Whether it is a family name, of which later words count too.
    pub(super) is_family: bool,
}

/// How a parameter compares.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Comparison {
    pub(super) search_type: SearchType,
    /// The types a reference may point to; empty = any.
    pub(super) targets: Vec<ResourceType>,
    pub(super) is_phonetic: bool,
}

impl Comparison {
    /// Whether a reference may point to a resource of this type.
    fn leads_to(&self, resource_type: ResourceType) -> bool {
        self.targets.is_empty() || self.targets.contains(&resource_type)
    }
}

/// Collects the values of one parameter.
pub(super) struct Sink<'o, 'v> {
    pub(super) rules: &'v Rules,
    /// What contains the resource; itself when nothing does.
    pub(super) root: &'v Value<'v>,
    pub(super) out: &'o mut Vec<IndexValue<'v>>,
    /// Whether a date or a number was met that cannot be kept.
    pub(super) odd: bool,
    /// Whether the words beside codes are wanted: to fold them takes longer than the codes.
    pub(super) with_texts: bool,
}

impl<'v> Sink<'_, 'v> {
    /// Adds what an item gives that the evaluator computed or found.
    pub(super) fn add_item(&mut self, item: Item<'v>, schema: &Schema, comparison: &Comparison) {
        let (value, kind) = match item {
            Item::Node(node) => (node.value, Kind::of(node.type_id, schema)),
            Item::Target(_) | Item::Type(_) => return,
            Item::Value(System::Boolean(value)) => {
                (if value { &Value::Bool(true) } else { &Value::Bool(false) }, Kind::Boolean)
            }
            Item::Value(value) => return self.add_computed(&value, comparison),
        };
        self.add(Element { value, kind, system: None, is_family: false }, comparison);
    }

    fn add_computed(&mut self, value: &System<'_>, comparison: &Comparison) {
        let text = || value.to_text();
        self.out.extend(match comparison.search_type {
            SearchType::Date => {
                DateRange::of_date_time(&text(), self.rules.zone).map(IndexValue::Date)
            }
            SearchType::Number => {
                value.to_decimal().map(NumberRange::exact).map(IndexValue::Number)
            }
            SearchType::String => {
                let folded = Cow::Owned(fold(&text()).into_owned());
                Some(IndexValue::String { folded, exact: Some(Cow::Owned(text())) })
            }
            SearchType::Token => {
                let text = Cow::Owned(text().to_lowercase());
                let code = Code { text, case: Case::Insensitive };
                Some(IndexValue::Token { system: None, code })
            }
            _ => None,
        });
    }

    /// Adds what `element` gives.
    pub(super) fn add(&mut self, element: Element<'v>, comparison: &Comparison) {
        match comparison.search_type {
            SearchType::Composite => {}
            SearchType::Date => self.date(element),
            SearchType::Number => self.number(element),
            SearchType::Quantity => self.quantity(element),
            SearchType::Reference => self.reference(element, comparison),
            SearchType::Special => self.position(element),
            SearchType::String if comparison.is_phonetic => self.phonetic(element),
            SearchType::String => self.string(element),
            SearchType::Token => self.token(element),
            SearchType::Uri => self.uri(element),
        }
    }

    fn date(&mut self, Element { value, kind, .. }: Element<'v>) {
        let zone = self.rules.zone;
        let range = match kind {
            Kind::Date => value.as_str().and_then(|text| DateRange::of_date_time(text, zone)),
            Kind::Instant => value.as_str().and_then(DateRange::of_instant),
            Kind::Period => DateRange::of_period(value, zone),
            Kind::Timing => DateRange::of_timing(value, zone),
            _ => return,
        };
        self.odd |= range.is_none() && matches!(kind, Kind::Date | Kind::Instant);
        self.out.extend(range.map(IndexValue::Date));
    }

    fn number(&mut self, Element { value, kind, .. }: Element<'v>) {
        let range = match kind {
            Kind::Number => self.exact(value),
            Kind::Range => self.range(value),
            _ => None,
        };
        self.out.extend(range.map(IndexValue::Number));
    }

    /// The range of a JSON number.
    fn exact(&mut self, value: &Value<'_>) -> Option<NumberRange> {
        let range = NumberRange::stored(value);
        self.odd |= range.is_none();
        range
    }

    fn range(&mut self, value: &Value<'_>) -> Option<NumberRange> {
        let mut end = |name: &str| {
            let number = value.get(name)?.get("value")?;
            self.exact(number)
        };
        let (low, high) = (end("low"), end("high"));
        (low.is_some() || high.is_some()).then_some(())?;
        Some(NumberRange { low: low.and_then(|it| it.low), high: high.and_then(|it| it.high) })
    }

    fn quantity(&mut self, Element { value, kind, .. }: Element<'v>) {
        let text = |name| value.str_at(name);
        let found = match kind {
            Kind::Quantity => {
                value.get("value").and_then(|number| self.exact(number)).map(|range| {
                    self.measured(range, text("system"), text("code"), text("unit"))
                        .compared(text("comparator"))
                })
            }
            Kind::Money => value.get("value").and_then(|number| self.exact(number)).map(|range| {
                let code = text("currency");
                self.measured(range, code.map(|_| CURRENCY), code, None)
            }),
            Kind::Range => self.range(value).map(|range| {
                let unit_of = value.get("low").or_else(|| value.get("high"));
                let text = |name| unit_of.and_then(|end| end.str_at(name));
                self.measured(range, text("system"), text("code"), text("unit"))
            }),
            _ => None,
        };
        self.out.extend(found.map(|found| IndexValue::Quantity(Box::new(found))));
    }

    fn measured(
        &self,
        range: NumberRange,
        system: Option<&'v str>,
        code: Option<&'v str>,
        unit: Option<&'v str>,
    ) -> QuantityValue<'v> {
        let units = &*self.rules.units;
        let base = code.and_then(|code| to_base(range, system, code, units));
        QuantityValue { range, system, code, unit, base }
    }

    fn position(&mut self, Element { value, kind, .. }: Element<'v>) {
        let degrees = |name| Decimal::parse(value.get(name)?.as_number()?);
        if kind == Kind::Position
            && let (Some(latitude), Some(longitude)) = (degrees("latitude"), degrees("longitude"))
        {
            self.out.push(IndexValue::Position { latitude, longitude });
        }
    }

    fn reference(&mut self, Element { value, kind, .. }: Element<'v>, comparison: &Comparison) {
        let found = match kind {
            Kind::Canonical => value.as_str().map(Canonical::parse).map(ReferenceValue::Canonical),
            Kind::Uri => value.as_str().map(Canonical::literal).map(ReferenceValue::Canonical),
            Kind::Resource => return self.resource(value, comparison),
            Kind::Reference => {
                if let Some(identifier) = value.get("identifier")
                    && let Some(value) = identifier.str_at("value")
                {
                    let system = identifier.str_at("system");
                    let found = ReferenceValue::Identifier { system, value };
                    self.out.push(IndexValue::Reference(found));
                }
                let text = value.str_at("reference");
                text.map(|text| reference(text, &self.rules.base))
            }
            _ => None,
        };
        let fits = |found: &ReferenceValue<'_>| match found {
            ReferenceValue::Local { resource_type, .. } => comparison.leads_to(*resource_type),
            _ => true,
        };
        self.out.extend(found.filter(fits).map(IndexValue::Reference));
    }

    /// A resource that stands where a reference is meant (`Bundle.entry[0].resource`; rest 4.126):
    /// it is found by its id and by the url that its bundle gives it.
    fn resource(&mut self, resource: &'v Value<'v>, comparison: &Comparison) {
        let Some(Ok(resource_type)) = resource.str_at("resourceType").map(str::parse) else {
            return;
        };
        if !comparison.leads_to(resource_type) {
            return;
        }
        let entries = self.root.items_at("entry");
        let entry = entries
            .iter()
            .find(|entry| entry.get("resource").is_some_and(|found| std::ptr::eq(found, resource)));
        let url = entry.and_then(|entry| entry.str_at("fullUrl"));
        let id = resource.str_at("id").and_then(|id| id.parse().ok());
        let itself = id.map(|id| ReferenceValue::Local { resource_type, id, version: None });
        let url = url.map(|url| reference(url, &self.rules.base));
        self.out.extend(itself.into_iter().chain(url).map(IndexValue::Reference));
    }

    fn uri(&mut self, Element { value, kind, .. }: Element<'v>) {
        let Some(text) = value.as_str() else { return };
        self.out.extend(match kind {
            Kind::Canonical => Some(IndexValue::Uri(Canonical::parse(text))),
            Kind::Uri => Some(IndexValue::Uri(Canonical::literal(text))),
            _ => None,
        });
    }

    fn string(&mut self, element: Element<'v>) {
        let Element { value, kind, .. } = element;
        match kind {
            Kind::Text | Kind::Code | Kind::Id | Kind::Uri => {
                if let Some(text) = value.as_str() {
                    self.one_string(text);
                    if element.is_family {
                        self.later_words(text);
                    }
                }
            }
            Kind::HumanName => {
                for text in parts(value, &["given", "family", "prefix", "suffix", "text"]) {
                    self.one_string(text);
                }
                for name in ["family", "text"] {
                    if let Some(text) = value.str_at(name) {
                        self.later_words(text);
                    }
                }
            }
            Kind::Address => {
                let names = ["line", "city", "district", "state", "postalCode", "country", "text"];
                for text in parts(value, &names) {
                    self.one_string(text);
                }
            }
            Kind::CodeableConcept => {
                for text in parts(value, &["text"]) {
                    self.one_string(text);
                }
                for coding in value.items_at("coding") {
                    for text in parts(coding, &["display"]) {
                        self.one_string(text);
                    }
                }
            }
            _ => {}
        }
    }

    fn one_string(&mut self, text: &'v str) {
        self.out.push(IndexValue::String { folded: fold(text), exact: Some(Cow::Borrowed(text)) });
    }

    /// The words after the first as values of their own.
    fn later_words(&mut self, text: &'v str) {
        let words = later_words(text).take(MAX_WORDS);
        self.out.extend(words.map(|folded| IndexValue::String { folded, exact: None }));
    }

    fn phonetic(&mut self, Element { value, kind, .. }: Element<'v>) {
        let texts: Vec<&str> = match kind {
            Kind::HumanName => parts(value, &["given", "family", "text"]).collect(),
            Kind::Text => value.as_str().into_iter().collect(),
            _ => return,
        };
        for key in texts.into_iter().flat_map(phonetic::keys) {
            self.out.push(IndexValue::String { folded: Cow::Owned(key), exact: None });
        }
    }

    fn token(&mut self, element: Element<'v>) {
        let Element { value, kind, .. } = element;
        let text = value.as_str();
        match kind {
            Kind::Boolean => {
                let text = value.as_bool().map(|is_true| if is_true { "true" } else { "false" });
                self.code(Some(BOOLEAN_SYSTEM), text, Case::Sensitive);
            }
            Kind::Canonical | Kind::Id | Kind::Uri => self.code(None, text, Case::Sensitive),
            Kind::Code => self.code(element.system, text, self.case(element.system)),
            Kind::CodeableConcept => {
                for coding in value.items_at("coding") {
                    self.coding(coding);
                }
                self.text(value.str_at("text"));
            }
            Kind::Coding => self.coding(value),
            Kind::ContactPoint => self.code(None, value.str_at("value"), Case::Insensitive),
            Kind::Identifier => self.identifier(value),
            Kind::Text => self.code(None, text, Case::Insensitive),
            _ => {}
        }
    }

    fn case(&self, system: Option<&str>) -> Case {
        self.rules.case(system)
    }

    fn code(&mut self, system: Option<&'v str>, code: Option<&'v str>, case: Case) {
        if let Some(code) = code {
            self.out.push(IndexValue::Token { system, code: Code::new(code, case) });
        }
    }

    fn coding(&mut self, coding: &'v Value<'v>) {
        let system = coding.str_at("system");
        self.code(system, coding.str_at("code"), self.case(system));
        self.text(coding.str_at("display"));
    }

    fn text(&mut self, text: Option<&'v str>) {
        if let Some(text) = text.filter(|_| self.with_texts) {
            self.out.push(IndexValue::Text(fold(text)));
        }
    }

    fn identifier(&mut self, identifier: &'v Value<'v>) {
        let value = identifier.str_at("value");
        self.code(identifier.str_at("system"), value, Case::Sensitive);
        let Some(concept) = identifier.get("type") else { return };
        for coding in concept.items_at("coding") {
            let system = coding.str_at("system");
            if let (Some(code), Some(value)) = (coding.str_at("code"), value) {
                let code = Code::new(code, self.case(system));
                self.out.push(IndexValue::OfType { system, code, value });
            }
        }
        self.text(concept.str_at("text"));
    }
}

/// The texts of these elements, one or several each.
fn parts<'v>(value: &'v Value<'v>, names: &[&str]) -> impl Iterator<Item = &'v str> {
    names.iter().filter_map(|name| value.get(name)).flat_map(|part| {
        let items = part.as_array().unwrap_or_default().iter().filter_map(Value::as_str);
        part.as_str().into_iter().chain(items)
    })
}

fn reference<'v>(text: &'v str, base: &str) -> ReferenceValue<'v> {
    match Target::parse(text, base) {
        Target::Contained(id) => ReferenceValue::Contained(id),
        Target::Local { resource_type, id, version, .. } => {
            ReferenceValue::Local { resource_type, id, version }
        }
        Target::Absolute(_) | Target::Conditional { .. } | Target::Malformed | Target::Urn(_) => {
            ReferenceValue::Url(text)
        }
    }
}
