//! A search as the generator makes it, and its url.

use std::fmt::Write as _;

use kiln::fhir::ResourceType;

/// One search.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) types: Vec<ResourceType>,
    /// All hold.
    pub(super) clauses: Vec<Clause>,
    /// Keys of the order, `true` for descending.
    pub(super) sort: Vec<(&'static str, bool)>,
    pub(super) count: Option<usize>,
    /// `_total`
    pub(super) total: Option<Total>,
    /// The id of the patient in whose compartment it searches.
    pub(super) compartment: Option<String>,
    /// Whether contained resources are looked at.
    pub(super) contained: Option<Contained>,
    /// What comes along with the matches.
    pub(super) along: Vec<Along>,
}

/// `_include` or `_revinclude`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Along {
    /// What refers to the matches, not what they refer to.
    pub(super) is_back: bool,
    /// Whose reference it is, and which.
    pub(super) source: ResourceType,
    pub(super) code: &'static str,
    pub(super) target: Option<ResourceType>,
}

/// How exact a total is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Total {
    Accurate,
    Estimate,
}

/// `_contained` and `_containedType`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contained {
    /// Resources of their own too.
    pub(super) has_own: bool,
    pub(super) shows_container: bool,
}

/// What must hold.
#[derive(Clone, Debug)]
pub(super) enum Clause {
    Chain {
        code: &'static str,
        target: Option<ResourceType>,
        inner: Box<Clause>,
    },
    /// `_filter`
    Filter(Expression),
    Has {
        source: ResourceType,
        code: &'static str,
        inner: Box<Clause>,
    },
    /// One of `any`.
    Test {
        code: &'static str,
        modifier: Modifier,
        any: Vec<Asked>,
    },
    /// `_text` or `_content`: one of `any` is there, and `without` is not.
    Words {
        code: &'static str,
        any: Vec<&'static str>,
        without: Option<&'static str>,
    },
}

/// What `_filter` says.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    All(Box<Expression>, Box<Expression>),
    /// `code:target[within].end`
    Along {
        code: &'static str,
        target: Option<ResourceType>,
        within: Option<Box<Expression>>,
        end: Box<Expression>,
    },
    Any(Box<Expression>, Box<Expression>),
    /// `_has:source:code:end`
    Has {
        source: ResourceType,
        code: &'static str,
        end: Box<Expression>,
    },
    Not(Box<Expression>),
    Test {
        code: &'static str,
        modifier: Modifier,
        asked: Asked,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Modifier {
    Above,
    Below,
    Contains,
    /// `ew` in `_filter`.
    End,
    Exact,
    Identifier,
    In,
    Missing,
    None,
    Not,
    NotIn,
    /// `ne` on a string in `_filter`.
    NotWhole,
    OfType,
    Text,
    Type(ResourceType),
    /// `eq` on a string in `_filter`.
    Whole,
}

/// One value, not yet escaped.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Composite(Vec<Asked>),
    Date {
        prefix: &'static str,
        text: String,
    },
    Near {
        latitude: i64,
        longitude: i64,
        kilometres: i64,
    },
    Number {
        prefix: &'static str,
        text: String,
    },
    Quantity {
        prefix: &'static str,
        text: String,
        unit: Unit,
    },
    /// A text as it is: strings, references, uris, true and false.
    Text(String),
    Token {
        system: System,
        code: String,
    },
    Typed {
        system: String,
        code: String,
        value: String,
    },
}

#[derive(Clone, Debug)]
pub(super) enum System {
    Any,
    Named(String),
    None,
    /// `system|`
    Whole(String),
}

#[derive(Clone, Debug)]
pub(super) enum Unit {
    Any,
    Coded(String, String),
    Named(String),
    OfSystem(String),
}

impl Query {
    /// Below the FHIR base, without a leading slash.
    pub(super) fn url(&self) -> String {
        let mut pairs = Vec::new();
        let names: Vec<_> = self.types.iter().map(|of| of.as_str()).collect();
        if names.len() > 1 {
            pairs.push(("_type".to_owned(), names.join(",")));
        }
        pairs.extend(self.clauses.iter().map(Clause::pair));
        pairs.extend(self.along.iter().map(Along::pair));
        if !self.sort.is_empty() {
            let keys = self
                .sort
                .iter()
                .map(|(key, down)| format!("{}{key}", if *down { "-" } else { "" }));
            pairs.push(("_sort".to_owned(), keys.collect::<Vec<_>>().join(",")));
        }
        if let Some(count) = self.count {
            pairs.push(("_count".to_owned(), count.to_string()));
        }
        if let Some(total) = self.total {
            let name = if total == Total::Accurate { "accurate" } else { "estimate" };
            pairs.push(("_total".to_owned(), name.to_owned()));
        }
        if let Some(Contained { has_own, shows_container }) = self.contained {
            let (where_to, what) = (["true", "both"], ["contained", "container"]);
            pairs.push(("_contained".to_owned(), where_to[usize::from(has_own)].to_owned()));
            pairs
                .push(("_containedType".to_owned(), what[usize::from(shows_container)].to_owned()));
        }
        let mut url = match &self.compartment {
            Some(patient) => format!("Patient/{patient}/{}", names[0]),
            None if names.len() > 1 => String::new(),
            None => names[0].to_owned(),
        };
        for (number, (name, value)) in pairs.iter().enumerate() {
            let mark = if number == 0 { '?' } else { '&' };
            write!(url, "{mark}{}={}", encoded(name), encoded(value)).unwrap();
        }
        url
    }
}

impl Along {
    fn pair(&self) -> (String, String) {
        let Self { is_back, source, code, target } = self;
        let name = if *is_back { "_revinclude" } else { "_include" };
        let target = target.map(|of| format!(":{}", of.as_str())).unwrap_or_default();
        (name.to_owned(), format!("{}:{code}{target}", source.as_str()))
    }
}

impl Clause {
    /// Name and value, decoded.
    fn pair(&self) -> (String, String) {
        match self {
            Self::Chain { code, target, inner } => {
                let (name, value) = inner.pair();
                let of = target.map(|of| format!(":{}", of.as_str())).unwrap_or_default();
                (format!("{code}{of}.{name}"), value)
            }
            Self::Filter(expression) => ("_filter".to_owned(), expression.text()),
            Self::Has { source, code, inner } => {
                let (name, value) = inner.pair();
                (format!("_has:{}:{code}:{name}", source.as_str()), value)
            }
            Self::Test { code, modifier, any } => {
                let values: Vec<_> = any.iter().map(Asked::text).collect();
                (format!("{code}{}", modifier.text()), values.join(","))
            }
            Self::Words { code, any, without } => {
                let without = without.map(|word| format!(" -{word}")).unwrap_or_default();
                ((*code).to_owned(), format!("{}{without}", any.join(" OR ")))
            }
        }
    }
}

impl Expression {
    fn text(&self) -> String {
        let within = |inner: &Self| match inner {
            Self::Test { .. } => inner.text(),
            _ => format!("({})", inner.text()),
        };
        match self {
            Self::All(a, b) => format!("{} and {}", within(a), within(b)),
            Self::Along { code, target, within, end } => {
                let target = target.map(|of| format!(":{}", of.as_str())).unwrap_or_default();
                let within = within.as_ref().map(|it| format!("[{}]", it.text()));
                format!("{code}{target}{}.{}", within.unwrap_or_default(), end.text())
            }
            Self::Any(a, b) => format!("{} or {}", within(a), within(b)),
            Self::Has { source, code, end } => {
                format!("_has:{}:{code}:{}", source.as_str(), end.text())
            }
            Self::Not(inner) => format!("not({})", inner.text()),
            Self::Test { code, modifier, asked } => test(code, *modifier, asked),
        }
    }
}

/// One comparison of `_filter`.
fn test(code: &str, modifier: Modifier, asked: &Asked) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match (modifier, asked) {
        (Modifier::Missing, Asked::Text(text)) => format!("{code} pr {}", text == "false"),
        (Modifier::Contains, Asked::Text(text)) => format!("{code} co {}", quoted(text)),
        (Modifier::End, Asked::Text(text)) => format!("{code} ew {}", quoted(text)),
        (Modifier::Whole, Asked::Text(text)) => format!("{code} eq {}", quoted(text)),
        (Modifier::NotWhole, Asked::Text(text)) => format!("{code} ne {}", quoted(text)),
        (Modifier::Not, _) => format!("{code} ne {}", asked.text()),
        (Modifier::In, Asked::Text(set)) => format!("{code} in {set}"),
        (Modifier::NotIn, Asked::Text(set)) => format!("{code} ni {set}"),
        (Modifier::Below, Asked::Token { .. }) => format!("{code} ss {}", asked.text()),
        (Modifier::Above, Asked::Token { .. }) => format!("{code} sb {}", asked.text()),
        (_, Asked::Text(text)) if text.contains('/') => format!("{code} re {text}"),
        (_, Asked::Text(text)) => format!("{code} sw {}", quoted(text)),
        (
            _,
            Asked::Date { prefix, .. }
            | Asked::Number { prefix, .. }
            | Asked::Quantity { prefix, .. },
        ) => {
            let text = asked.text();
            let op = if prefix.is_empty() { "eq" } else { prefix };
            format!("{code} {op} {}", text.strip_prefix(prefix).unwrap_or(&text))
        }
        _ => format!("{code} eq {}", asked.text()),
    }
}

impl Modifier {
    fn text(self) -> String {
        let name = match self {
            Self::None => return String::new(),
            Self::Above => "above",
            Self::Below => "below",
            Self::Contains => "contains",
            Self::Exact => "exact",
            Self::Identifier => "identifier",
            Self::In => "in",
            Self::Missing => "missing",
            Self::Not => "not",
            Self::NotIn => "not-in",
            Self::OfType => "of-type",
            Self::Text => "text",
            Self::Type(of) => of.as_str(),
            Self::End | Self::NotWhole | Self::Whole => unreachable!("only _filter has it"),
        };
        format!(":{name}")
    }
}

impl Asked {
    fn text(&self) -> String {
        match self {
            Self::Composite(parts) => parts.iter().map(Self::text).collect::<Vec<_>>().join("$"),
            Self::Date { prefix, text } | Self::Number { prefix, text } => {
                format!("{prefix}{text}")
            }
            Self::Near { latitude, longitude, kilometres } => {
                format!("{latitude}|{longitude}|{kilometres}|km")
            }
            Self::Quantity { prefix, text, unit } => match unit {
                Unit::Any => format!("{prefix}{text}"),
                Unit::Coded(system, code) => {
                    format!("{prefix}{text}|{}|{}", escaped(system), escaped(code))
                }
                Unit::Named(code) => format!("{prefix}{text}||{}", escaped(code)),
                Unit::OfSystem(system) => format!("{prefix}{text}|{}", escaped(system)),
            },
            Self::Text(text) => escaped(text),
            Self::Token { system, code } => match system {
                System::Any => escaped(code),
                System::Named(system) => format!("{}|{}", escaped(system), escaped(code)),
                System::None => format!("|{}", escaped(code)),
                System::Whole(system) => format!("{}|", escaped(system)),
            },
            Self::Typed { system, code, value } => {
                format!("{}|{}|{}", escaped(system), escaped(code), escaped(value))
            }
        }
    }
}

/// As the value of a parameter, with its separators escaped.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if matches!(letter, '\\' | ',' | '|' | '$') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// As a part of a query string.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'/' => {
                out.push(char::from(byte));
            }
            _ => write!(out, "%{byte:02X}").unwrap(),
        }
    }
    out
}
