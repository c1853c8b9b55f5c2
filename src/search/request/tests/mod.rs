use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use super::compare::{AskedReference, AskedToken, AskedUnit, AskedUri, Part};
use super::*;
use crate::fhir::Instant;
use crate::fhir::datetime::Zone;
use crate::fhir::query::Query;
use crate::search::extract::{Extractor, Settings};
use crate::search::values::number::Asked;
use crate::search::values::quantity::Ucum;
use crate::search::values::token::{Case, Code};
use crate::spec::Spec;
use crate::spec::codes::Codes;

mod again;
mod filter;
mod links;
mod refused;
mod result;
mod values;

static R4: LazyLock<Extractor> = LazyLock::new(|| {
    let spec = Spec::r4().expect("the embedded pack");
    let codes = Codes::r4().expect("the embedded pack");
    let settings =
        Settings { base: "http://example.org/fhir".into(), units: Box::new(Ucum), zone: Zone::UTC };
    Extractor::new(spec, codes, settings).expect("all parameters of R4 compile")
});

fn context() -> Context<'static> {
    let now = Instant::parse("2020-01-01T00:00:00Z").expect("an instant");
    Context {
        extractor: &R4,
        now,
        strictness: Strictness::Lenient,
        dates_overlap: false,
        limits: Limits::default(),
    }
}

/// Every byte of a text percent-encoded.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "%{byte:02X}");
        out
    })
}

/// `Patient`, `` (the system), `Patient/1/*` or `Patient/1/Observation`.
fn target(path: &str) -> SearchTarget {
    match path.split('/').collect::<Vec<_>>()[..] {
        [""] => SearchTarget::System,
        [name] => SearchTarget::Type(name.parse().expect("a type")),
        [code, id, name] => SearchTarget::Compartment {
            code: code.parse().expect("a type"),
            id: id.parse().expect("an id"),
            resource_type: name.parse().ok(),
        },
        _ => panic!("{path}"),
    }
}

fn read(url: &str, context: &Context<'_>) -> Result<SearchRequest, InvalidSearch> {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    parse(&target(path), &Query::parse(query).expect("a query"), context)
}

fn request(url: &str) -> SearchRequest {
    read(url, &context()).unwrap_or_else(|invalid| panic!("{url}: {:#?}", invalid.0))
}

/// The faults of a query, each as one text.
fn faults(url: &str, context: &Context<'_>) -> Vec<String> {
    match read(url, context) {
        Ok(request) => panic!("{url}: {:#?}", request.filters),
        Err(invalid) => invalid.0.iter().map(ToString::to_string).collect(),
    }
}

fn filters(url: &str) -> String {
    request(url).filters.iter().map(show).collect::<Vec<_>>().join(" & ")
}

fn check(table: &[(&str, &str)]) {
    for (url, expected) in table {
        assert_eq!(filters(url), *expected, "{url}");
    }
}

fn list(filters: &[Filter], between: &str) -> String {
    format!("({})", filters.iter().map(show).collect::<Vec<_>>().join(between))
}

/// A filter as a short text.
fn show(filter: &Filter) -> String {
    match filter {
        Filter::All(all) => list(all, " & "),
        Filter::Any(any) => list(any, " | "),
        Filter::Chain { reference, targets } => {
            let targets = targets.iter().map(|(of, filter)| format!("{of}: {}", show(filter)));
            let targets: Vec<_> = targets.collect();
            format!("{}>[{}]", keys(reference), targets.join("; "))
        }
        Filter::Compartment { code, id } => format!("in {code}/{id}"),
        Filter::FullText { field, query } => format!("{field:?} has {query}"),
        Filter::Has { source, reference, filter } => {
            assert_eq!(*source, reference.resource_type);
            format!("<{source}.{}[{}]", reference.code, show(filter))
        }
        Filter::Hierarchy { reference, is_below, of: (of, id) } => {
            let side = if *is_below { "below" } else { "above" };
            format!("{} {side} {of}/{id}", keys(reference))
        }
        Filter::Id(ids) => format!("_id {}", ids.join(",")),
        Filter::Keys(keys) => format!("{:?}", keys.rids),
        Filter::LastUpdated(any) => {
            let any: Vec<_> = any.iter().map(|(prefix, it)| date(*prefix, *it)).collect();
            format!("_lastUpdated {}", any.join(","))
        }
        Filter::List(lists) => format!("_list [{}]", show(lists)),
        Filter::Mentions { target: (of, id), under, is_certain } => {
            format!("{under:?} mentions {of}/{id} {is_certain}")
        }
        Filter::Not(inner) => format!("!{}", show(inner)),
        Filter::OfPatients(whose) => format!("of {whose:?}"),
        Filter::Test(test) => {
            let any: Vec<_> = test.any.iter().map(compared).collect();
            format!("{} {}", keys(&test.parameters), any.join(", "))
        }
        Filter::Type(types) => {
            format!("_type {}", types.iter().map(|it| it.as_str()).collect::<Vec<_>>().join(","))
        }
        Filter::Unshared => "unshared".to_owned(),
    }
}

/// `code`, with its types where there are several: all of them, or how many.
fn keys(keys: &[ParameterKey]) -> String {
    let code = &keys[0].code;
    assert!(keys.iter().all(|key| key.code == *code) && keys.is_sorted(), "{keys:?}");
    match keys.len() {
        1 => code.to_string(),
        2..4 => {
            let types: Vec<_> = keys.iter().map(|key| key.resource_type.as_str()).collect();
            format!("{code}@{}", types.join("+"))
        }
        count => format!("{code}@{count}"),
    }
}

fn date(prefix: Prefix, range: DateRange) -> String {
    let end = |end: Option<Instant>| {
        let text = end.map_or("..".to_owned(), |it| it.to_string());
        text.trim_end_matches("T00:00:00.000Z").to_owned()
    };
    format!("{} {}~{}", prefix.as_str(), end(range.low), end(range.high))
}

/// What counts beside the number itself.
fn range(prefix: Prefix, asked: &Asked) -> String {
    let Asked { low, high, about: (from, to), .. } = asked;
    if prefix == Prefix::Ap { format!("[{from}, {to}]") } else { format!("[{low}, {high})") }
}

fn number(prefix: Prefix, asked: &Asked) -> String {
    format!("{} {} {}", prefix.as_str(), asked.value, range(prefix, asked))
}

fn compared(comparison: &Comparison) -> String {
    match comparison {
        Comparison::Composite(parts) => parts.iter().map(compared).collect::<Vec<_>>().join(" $ "),
        Comparison::Date { prefix, range } => date(*prefix, *range),
        Comparison::In { value_set } => format!("in {value_set}"),
        Comparison::Number { prefix, asked } => number(*prefix, asked),
        Comparison::Position { latitude, longitude, metres } => {
            format!("{latitude},{longitude} within {metres} m")
        }
        Comparison::Present => "present".to_owned(),
        Comparison::Quantity { prefix, asked, unit } => {
            let unit = match unit {
                AskedUnit::Any => "of any unit".to_owned(),
                AskedUnit::Base { asked, unit } => {
                    format!("= {} {unit} {}", asked.value, range(*prefix, asked))
                }
                AskedUnit::Coded { system, code } => format!("{system}|{code}"),
                AskedUnit::Named(name) => format!("named {name}"),
                AskedUnit::OfSystem(system) => format!("of {system}"),
            };
            format!("{} {unit}", number(*prefix, asked))
        }
        Comparison::Reference(asked) => match asked {
            AskedReference::Identifier(asked) => format!("identifier {}", token(asked)),
            AskedReference::Local { resource_type, id, version } => {
                let version = version.map_or(String::new(), |it| format!("@{it}"));
                format!("{resource_type}/{id}{version}")
            }
            AskedReference::Canonical(asked) => format!("canonical {}", uri(asked)),
            AskedReference::Url(url) => format!("url {url}"),
        },
        Comparison::String { part, text, is_exact } => {
            let (before, after) = match part {
                Part::Any => ("*", "*"),
                Part::End => ("*", ""),
                Part::Start => ("", "*"),
                Part::Whole => ("", ""),
            };
            format!("{before}{text}{after}{}", if *is_exact { " exactly" } else { "" })
        }
        Comparison::Subsumes { is_below, system, code } => {
            format!("{} {system}|{code}", if *is_below { "below" } else { "above" })
        }
        Comparison::Text(text) => format!("text {text}"),
        Comparison::Token(asked) => token(asked),
        Comparison::Uri(asked) => uri(asked),
    }
}

/// `^` stands behind a code whose case does not count.
fn code(code: &Code<'_>) -> String {
    format!("{}{}", code.text, if code.case == Case::Insensitive { "^" } else { "" })
}

fn token(asked: &AskedToken) -> String {
    let codes = |codes: &[Code<'_>]| codes.iter().map(code).collect::<Vec<_>>().join("/");
    match asked {
        AskedToken::Begins { system, code: of } => format!("{system}|{}..", of.text),
        AskedToken::Code(any) => codes(any),
        AskedToken::Coded { system, code: of } => format!("{system}|{}", code(of)),
        AskedToken::OfType { system, code: of, value } => {
            format!("of type {system}|{}: {value}", code(of))
        }
        AskedToken::System(system) => format!("{system}|"),
        AskedToken::WithoutSystem(any) => format!("|{}", codes(any)),
    }
}

fn uri(asked: &AskedUri) -> String {
    match asked {
        AskedUri::Above(url) => format!("above {url}"),
        AskedUri::Below(url) => format!("below {url}"),
        AskedUri::Is { url, version, is_version_below, fragment } => {
            let mut out = url.to_string();
            if let Some(version) = version {
                let _ =
                    write!(out, " version {version}{}", if *is_version_below { ".." } else { "" });
            }
            if let Some(fragment) = fragment {
                let _ = write!(out, " fragment {fragment}");
            }
            out
        }
    }
}
