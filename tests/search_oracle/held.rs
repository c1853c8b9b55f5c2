//! The values that a parameter finds in a resource, by its FHIRPath expression.

use kiln::fhir::json::Value;
use kiln::fhir::schema::Schema;
use kiln::fhirpath::Item;
use kiln::spec::search_parameter::SearchType;

use super::measure::{Numbers, Span, fold, number, span};

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Held {
    Amount {
        range: Numbers,
        system: Option<String>,
        code: Option<String>,
        unit: Option<String>,
    },
    /// `is_exact`: whether case counts.
    Code {
        system: Option<String>,
        code: String,
        is_exact: bool,
    },
    Link(Link),
    Place {
        latitude: f64,
        longitude: f64,
    },
    /// A text of a token, for `:text`.
    Shown(String),
    Text(String),
    Time(Span),
    /// An identifier by its type.
    Typed {
        system: Option<String>,
        code: String,
        value: String,
    },
    Uri(String),
    /// A later word of a family name, folded.
    Word(String),
}

/// What a reference says.
#[derive(Clone, Debug)]
pub(super) enum Link {
    Contained(String),
    Elsewhere(String),
    Identifier { system: Option<String>, value: String },
    Local { of: String, id: String, version: Option<String> },
}

/// Codes of FHIR's own elements that queries name with their system.
const IMPLIED: &[(&str, &str)] = &[
    ("male", "http://hl7.org/fhir/administrative-gender"),
    ("female", "http://hl7.org/fhir/administrative-gender"),
    ("other", "http://hl7.org/fhir/administrative-gender"),
    ("final", "http://hl7.org/fhir/observation-status"),
    ("amended", "http://hl7.org/fhir/observation-status"),
    ("preliminary", "http://hl7.org/fhir/observation-status"),
];

/// The values of one item of an expression's result.
pub(super) fn held(
    item: &Item<'_>,
    search_type: SearchType,
    code: &str,
    schema: &Schema,
    base: &str,
) -> Vec<Held> {
    let name = item.type_name(schema);
    let Some(node) = item.node() else {
        // Only `deceased` of the parameters here is computed.
        let Item::Value(value) = item else { return vec![] };
        return vec![Held::Code { system: None, code: value.to_text(), is_exact: true }];
    };
    let value = node.value;
    match search_type {
        SearchType::Date => time(value, name).into_iter().map(Held::Time).collect(),
        SearchType::Number | SearchType::Quantity => amount(value, name).into_iter().collect(),
        SearchType::Reference => links(value, base),
        SearchType::Special => place(value).into_iter().collect(),
        SearchType::String => texts(value, name, code == "family"),
        SearchType::Token => tokens(value, name),
        SearchType::Uri => {
            value.as_str().map(|text| Held::Uri(text.to_owned())).into_iter().collect()
        }
        SearchType::Composite => vec![],
    }
}

fn owned(value: &Value<'_>, name: &str) -> Option<String> {
    value.str_at(name).map(str::to_owned)
}

fn time(value: &Value<'_>, name: &str) -> Option<Span> {
    match name {
        "date" | "dateTime" => Some(span(value.as_str()?, false)),
        "instant" => Some(span(value.as_str()?, true)),
        "Period" => {
            let end = |name| value.str_at(name).map(|text| span(text, false));
            let (start, end) = (end("start"), end("end"));
            (start.is_some() || end.is_some()).then_some(())?;
            Some(Span { low: start.and_then(|it| it.low), high: end.and_then(|it| it.high) })
        }
        "Timing" => {
            let events = value.items_at("event").iter().filter_map(Value::as_str);
            let bounds = value.get("repeat").and_then(|repeat| repeat.get("boundsPeriod"));
            let bounds = bounds.and_then(|period| time(period, "Period"));
            events.map(|text| span(text, false)).chain(bounds).reduce(Span::around)
        }
        _ => None,
    }
}

fn amount(value: &Value<'_>, name: &str) -> Option<Held> {
    let one = |value: &Value<'_>| value.get("value").and_then(Value::as_number).map(number);
    let (range, unit_of) = match name {
        "decimal" | "integer" => (Numbers::exact(number(value.as_number()?)), value),
        "Range" => {
            let (low, high) = (value.get("low"), value.get("high"));
            (Numbers { low: low.and_then(one), high: high.and_then(one) }, low.or(high)?)
        }
        "Age" | "Duration" | "Quantity" => {
            let exact = one(value)?;
            let range = match value.str_at("comparator") {
                Some("<" | "<=") => Numbers { low: None, high: Some(exact) },
                Some(">" | ">=") => Numbers { low: Some(exact), high: None },
                _ => Numbers::exact(exact),
            };
            (range, value)
        }
        _ => return None,
    };
    let text = |name| owned(unit_of, name);
    Some(Held::Amount { range, system: text("system"), code: text("code"), unit: text("unit") })
}

fn links(value: &Value<'_>, base: &str) -> Vec<Held> {
    let mut found = Vec::new();
    if let Some(identifier) = value.get("identifier")
        && let Some(text) = owned(identifier, "value")
    {
        found.push(Link::Identifier { system: owned(identifier, "system"), value: text });
    }
    if let Some(text) = value.str_at("reference") {
        found.push(link(text, base));
    }
    found.into_iter().map(Held::Link).collect()
}

/// What the text of a reference leads to; `base` is ours.
pub(super) fn link(text: &str, base: &str) -> Link {
    if let Some(id) = text.strip_prefix('#') {
        return Link::Contained(id.to_owned());
    }
    let relative = text.strip_prefix(base).map_or(text, |rest| rest.trim_start_matches('/'));
    let parts: Vec<&str> = relative.split('/').collect();
    match parts.as_slice() {
        [of, id] => Link::Local { of: (*of).to_owned(), id: (*id).to_owned(), version: None },
        [of, id, "_history", version] => Link::Local {
            of: (*of).to_owned(),
            id: (*id).to_owned(),
            version: Some((*version).to_owned()),
        },
        _ => Link::Elsewhere(text.to_owned()),
    }
}

fn place(value: &Value<'_>) -> Option<Held> {
    let degrees = |name| value.get(name)?.as_number()?.parse().ok();
    Some(Held::Place { latitude: degrees("latitude")?, longitude: degrees("longitude")? })
}

fn texts(value: &Value<'_>, name: &str, is_family: bool) -> Vec<Held> {
    let mut found: Vec<Held> = match name {
        "HumanName" => parts(value, &["family", "given", "prefix", "suffix", "text"]),
        "Address" => {
            parts(value, &["text", "line", "city", "district", "state", "postalCode", "country"])
        }
        "CodeableConcept" => parts(value, &["text"]),
        _ => value.as_str().map(str::to_owned).into_iter().collect(),
    }
    .into_iter()
    .map(Held::Text)
    .collect();
    let family = if is_family { value.as_str() } else { value.str_at("family") };
    if let Some(family) = family.filter(|_| is_family || name == "HumanName") {
        found.extend(family.split([' ', '-']).skip(1).map(|word| Held::Word(fold(word))));
    }
    found
}

fn parts(value: &Value<'_>, names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for part in names.iter().filter_map(|name| value.get(name)) {
        let several = part.as_array().unwrap_or(std::slice::from_ref(part));
        found.extend(several.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    found
}

fn tokens(value: &Value<'_>, name: &str) -> Vec<Held> {
    let code = |system: Option<String>, code: &str, is_exact| Held::Code {
        system,
        code: code.to_owned(),
        is_exact,
    };
    let text = value.as_str();
    match name {
        "boolean" => value
            .as_bool()
            .map(|is_true| code(None, if is_true { "true" } else { "false" }, true))
            .into_iter()
            .collect(),
        "code" => {
            let system = |text: &str| {
                IMPLIED.iter().find(|(code, _)| *code == text).map(|it| it.1.to_owned())
            };
            text.map(|text| code(system(text), text, false)).into_iter().collect()
        }
        "id" | "uri" => text.map(|text| code(None, text, true)).into_iter().collect(),
        "string" => text.map(|text| code(None, text, false)).into_iter().collect(),
        "ContactPoint" => {
            value.str_at("value").map(|text| code(None, text, false)).into_iter().collect()
        }
        "Coding" => coding(value),
        "CodeableConcept" => {
            let mut found: Vec<_> = value.items_at("coding").iter().flat_map(coding).collect();
            found.extend(owned(value, "text").map(Held::Shown));
            found
        }
        "Identifier" => identifier(value),
        _ => vec![],
    }
}

fn coding(value: &Value<'_>) -> Vec<Held> {
    let mut found = Vec::new();
    if let Some(code) = owned(value, "code") {
        found.push(Held::Code { system: owned(value, "system"), code, is_exact: false });
    }
    found.extend(owned(value, "display").map(Held::Shown));
    found
}

fn identifier(value: &Value<'_>) -> Vec<Held> {
    let Some(text) = owned(value, "value") else { return vec![] };
    let mut found =
        vec![Held::Code { system: owned(value, "system"), code: text.clone(), is_exact: true }];
    for coding in value.get("type").into_iter().flat_map(|of| of.items_at("coding")) {
        if let Some(code) = owned(coding, "code") {
            found.push(Held::Typed { system: owned(coding, "system"), code, value: text.clone() });
        }
    }
    found
}
