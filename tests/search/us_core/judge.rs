//! What a resource holds for a parameter, what a search can ask from it, and whether both agree.

use serde_json::Value;

use super::data::Doc;
use super::plan::{Kind, elements, kind};
use crate::search_oracle::measure::{SECOND, Span, civil, compares, span};
use crate::search_oracle::query::{encoded, escaped};

const DAY: i128 = 86_400 * SECOND;

/// One value, as a resource holds it and as a search asks for it.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// A canonical or an id.
    Exact(String),
    /// `Type/id`.
    Link(String),
    /// A text and how it is written out for a search.
    Text(String),
    Time {
        span: Span,
        text: String,
    },
    Token {
        system: Option<String>,
        code: String,
    },
}

/// What a parameter is asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) code: String,
    pub(super) prefix: &'static str,
    pub(super) value: Held,
    /// References are written `Type/id`, tokens `system|code`.
    pub(super) is_full: bool,
}

pub(super) fn held(doc: &Doc, code: &str) -> Vec<Held> {
    let mut found = Vec::new();
    for element in elements(doc, code) {
        match kind(code) {
            Kind::Canonical | Kind::Id => found.extend(owned(element).map(Held::Exact)),
            Kind::Date => found.extend(time(element)),
            Kind::Link => found.extend(owned(&element["reference"]).map(Held::Link)),
            Kind::Text => texts(element, &mut found),
            Kind::Token => tokens(element, &mut found),
        }
    }
    found
}

fn owned(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn time(value: &Value) -> Option<Held> {
    if let Some(text) = value.as_str() {
        return Some(Held::Time { span: span(text, false), text: text.to_owned() });
    }
    let end = |name: &str| value[name].as_str().map(|text| span(text, false));
    let (start, end) = (end("start"), end("end"));
    (start.is_some() || end.is_some()).then_some(())?;
    let span = Span { low: start.and_then(|it| it.low), high: end.and_then(|it| it.high) };
    Some(Held::Time { span, text: String::new() })
}

/// The first one found is what a search asks for.
fn texts(value: &Value, found: &mut Vec<Held>) {
    found.extend(owned(value).map(Held::Text));
    let names = ["family", "given", "prefix", "suffix", "text"].into_iter().chain([
        "city",
        "line",
        "district",
        "state",
        "postalCode",
        "country",
    ]);
    for name in names {
        match &value[name] {
            Value::Array(parts) => found.extend(parts.iter().filter_map(owned).map(Held::Text)),
            part => found.extend(owned(part).map(Held::Text)),
        }
    }
}

fn tokens(value: &Value, found: &mut Vec<Held>) {
    if let Some(code) = value.as_str() {
        found.push(Held::Token { system: None, code: code.to_owned() });
    }
    for coding in value["coding"].as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
        let code = owned(&coding["code"]).or_else(|| owned(&coding["value"]));
        found.extend(code.map(|code| Held::Token { system: owned(&coding["system"]), code }));
    }
}

/// What a client asks for that has seen this value: a period becomes "after the day before".
pub(super) fn ask(code: &str, value: &Held) -> Asked {
    let asked = |prefix, value| Asked { code: code.to_owned(), prefix, value, is_full: false };
    match value {
        Held::Time { span, text } if text.is_empty() => {
            let at = span.low.map(|low| low - DAY).or(span.high).unwrap();
            asked(if span.low.is_some() { "gt" } else { "le" }, moment(at))
        }
        other => asked("", other.clone()),
    }
}

impl Asked {
    /// The same with one of the four comparators and a moment a day off, so that the value is found.
    pub(super) fn compared(&self, seen: &Held, prefix: &'static str) -> Option<Self> {
        let Held::Time { span, .. } = seen else { return None };
        let at = match prefix {
            "ge" | "gt" => span.low? - DAY,
            _ => span.high? + DAY,
        };
        Some(Self { prefix, value: moment(at), ..self.clone() })
    }

    pub(super) fn full(&self) -> Self {
        Self { is_full: true, ..self.clone() }
    }

    /// Whether the long form is another than the short one.
    pub(super) fn has_full(&self) -> bool {
        matches!(self.value, Held::Link(_) | Held::Token { system: Some(_), .. })
    }

    pub(super) fn holds(&self, doc: &Doc) -> bool {
        held(doc, &self.code).iter().any(|value| self.meets(value))
    }

    fn meets(&self, value: &Held) -> bool {
        match (&self.value, value) {
            (Held::Exact(asked), Held::Exact(held)) | (Held::Link(asked), Held::Link(held)) => {
                asked == held
            }
            (Held::Text(asked), Held::Text(held)) => plain(held).starts_with(&plain(asked)),
            (Held::Time { span: asked, .. }, Held::Time { span: held, .. }) => {
                compares(self.prefix, *held, *asked)
            }
            (Held::Token { system: wanted, code: asked }, Held::Token { system, code }) => {
                asked == code && (!self.is_full || wanted == system)
            }
            _ => false,
        }
    }

    /// The value as it stands in a query, before it is percent-encoded.
    fn text(&self) -> String {
        match &self.value {
            Held::Exact(text) | Held::Text(text) => escaped(text),
            Held::Link(place) if self.is_full => place.clone(),
            Held::Link(place) => place.rsplit('/').next().unwrap().to_owned(),
            Held::Time { text, .. } => format!("{}{text}", self.prefix),
            Held::Token { system: Some(system), code } if self.is_full => {
                format!("{}|{}", escaped(system), escaped(code))
            }
            Held::Token { code, .. } => escaped(code),
        }
    }
}

/// A query string, or the body of a form.
pub(super) fn query(asked: &[Asked]) -> String {
    let pairs: Vec<_> =
        asked.iter().map(|one| format!("{}={}", one.code, encoded(&one.text()))).collect();
    pairs.join("&")
}

/// A moment with seconds and a zone.
fn moment(ticks: i128) -> Held {
    let seconds = ticks.div_euclid(SECOND);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days as i64);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00");
    Held::Time { span: span(&text, false), text }
}

/// Without case, accents and punctuation.
fn plain(text: &str) -> String {
    let letters = text.chars().flat_map(char::to_lowercase).filter_map(|letter| match letter {
        'á' | 'à' | 'ä' => Some('a'),
        'é' | 'è' => Some('e'),
        'í' => Some('i'),
        'ñ' => Some('n'),
        'ó' | 'ö' => Some('o'),
        'ú' | 'ü' => Some('u'),
        letter if letter.is_whitespace() => Some(' '),
        letter => letter.is_alphanumeric().then_some(letter),
    });
    letters.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}
