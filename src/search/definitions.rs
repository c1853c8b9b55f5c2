//! Whether a definition of the packs matches: of those only what most are asked by is at hand.
//!
//! What cannot be told is not guessed: the answer is `None`, and whoever asks says so.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html>, rest 5.18

use crate::fhir::json::Value;
use crate::fhir::{Canonical, Identity};

use super::request::compare::{AskedReference, AskedToken, AskedUri, Comparison, Part};
use super::request::{Filter, Test};
use super::values::string::fold;
use super::values::token::Case;
use super::values::uri::{is_hierarchical, is_version_below};

/// Parameters that can be told of definitions, where their type has them.
pub const TOLD: &str = "_id, _profile, _security, _source, _tag, _type, abstract, base, code, \
     derivation, instance, kind, name, publisher, status, system, title, type, url and version";

/// Whether `filter` holds for the definition `identity` with these elements; `None` when that cannot
/// be told.
pub fn holds(filter: &Filter, identity: &Identity, record: &Value<'_>) -> Option<bool> {
    match filter {
        Filter::All(all) => every(all.iter().map(|part| holds(part, identity, record))),
        Filter::Any(any) => some(any.iter().map(|part| holds(part, identity, record))),
        Filter::Not(part) => holds(part, identity, record).map(|holds| !holds),
        Filter::Id(ids) => Some(ids.iter().any(|id| **id == *identity.id.as_str())),
        Filter::Type(types) => Some(types.contains(&identity.resource_type)),
        Filter::Test(test) => tested(test, identity, record),
        // No patient has it in a compartment, and nothing that is stored is referred to.
        Filter::Compartment { .. } | Filter::Mentions { .. } | Filter::OfPatients(_) => Some(false),
        Filter::Chain { .. }
        | Filter::FullText { .. }
        | Filter::Has { .. }
        | Filter::Hierarchy { .. }
        | Filter::Keys(_)
        | Filter::LastUpdated(_)
        | Filter::List(_) => None,
        // No patient is in them.
        Filter::Unshared => Some(true),
    }
}

/// What a parameter finds in a definition.
enum Found<'r> {
    /// Nothing: no definition of a pack has any.
    Nothing,
    Codes(&'r str),
    Canonicals(&'r str),
    Texts(&'r str),
    Uris(&'r str),
}

/// Where the values of the parameter `code` of a type stand.
fn found(resource_type: &str, code: &str) -> Option<Found<'static>> {
    Some(match (resource_type, code) {
        (_, "_security" | "_source" | "_tag") => Found::Nothing,
        (_, "_profile") => Found::Canonicals("profile"),
        (_, "name") => Found::Texts("name"),
        (_, "publisher") => Found::Texts("publisher"),
        (_, "title") => Found::Texts("title"),
        (_, "status") => Found::Codes("status"),
        ("NamingSystem", _) => return None,
        (_, "url") => Found::Uris("url"),
        (_, "version") => Found::Codes("version"),
        ("CompartmentDefinition" | "OperationDefinition" | "SearchParameter", "code") => {
            Found::Codes("code")
        }
        ("OperationDefinition" | "StructureDefinition", "kind") => Found::Codes("kind"),
        ("OperationDefinition" | "SearchParameter", "type") => Found::Codes("type"),
        ("OperationDefinition", "system") => Found::Codes("system"),
        ("OperationDefinition", "instance") => Found::Codes("instance"),
        ("OperationDefinition", "base") => Found::Canonicals("base"),
        ("SearchParameter", "base") => Found::Codes("base"),
        ("StructureDefinition", "abstract") => Found::Codes("abstract"),
        ("StructureDefinition", "base") => Found::Canonicals("baseDefinition"),
        ("StructureDefinition", "derivation") => Found::Codes("derivation"),
        ("StructureDefinition", "type") => Found::Uris("type"),
        _ => return None,
    })
}

fn tested(test: &Test, identity: &Identity, record: &Value<'_>) -> Option<bool> {
    let of = |key: &&super::request::ParameterKey| key.resource_type == identity.resource_type;
    let key = test.parameters.iter().find(of)?;
    let found = found(identity.resource_type.as_str(), &key.code)?;
    let name = match found {
        Found::Nothing => return Some(false),
        Found::Canonicals(name) | Found::Codes(name) | Found::Texts(name) | Found::Uris(name) => {
            name
        }
    };
    let values = values(record, name);
    let is_one = |asked: &Comparison| match (asked, &found) {
        (Comparison::Present, _) => Some(!values.is_empty()),
        (Comparison::String { part, text, is_exact }, Found::Texts(_)) => {
            Some(values.iter().any(|value| is_text(value, *part, text, *is_exact)))
        }
        (Comparison::Token(AskedToken::Code(codes)), Found::Codes(_)) => {
            let is_value = |value: &&str| {
                codes.iter().any(|code| match code.case {
                    Case::Sensitive => code.text == **value,
                    Case::Insensitive => code.text == value.to_lowercase(),
                })
            };
            Some(values.iter().any(is_value))
        }
        (Comparison::Uri(asked), Found::Uris(_)) => {
            Some(values.iter().any(|value| is_uri(Canonical::literal(value), asked)))
        }
        (
            Comparison::Uri(asked) | Comparison::Reference(AskedReference::Canonical(asked)),
            Found::Canonicals(_),
        ) => Some(values.iter().any(|value| is_uri(Canonical::parse(value), asked))),
        // A canonical is no reference by its other forms.
        (Comparison::Reference(AskedReference::Url(_)), Found::Canonicals(_)) => Some(false),
        _ => None,
    };
    some(test.any.iter().map(is_one))
}

/// The texts of an element; a boolean as FHIR writes it.
fn values<'v>(record: &'v Value<'_>, name: &str) -> Vec<&'v str> {
    match record.get(name) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(Value::Bool(true)) => vec!["true"],
        Some(Value::Bool(false)) => vec!["false"],
        Some(value) => value.as_str().into_iter().collect(),
        None => Vec::new(),
    }
}

fn is_text(value: &str, part: Part, asked: &str, is_exact: bool) -> bool {
    let folded = fold(value);
    let value = if is_exact { value } else { &folded };
    match part {
        Part::Any => value.contains(asked),
        Part::End => value.ends_with(asked),
        Part::Start => value.starts_with(asked),
        Part::Whole => value == asked,
    }
}

fn is_uri(value: Canonical<'_>, asked: &AskedUri) -> bool {
    let Canonical { url, version: its, .. } = value;
    match asked {
        AskedUri::Is { url: asked, version, is_version_below: false, .. } => {
            url == &**asked && version.as_deref().is_none_or(|version| its == Some(version))
        }
        AskedUri::Is { url: asked, version, is_version_below: true, .. } => {
            let is_below = |version| its.is_some_and(|its| is_version_below(its, version));
            url == &**asked && version.as_deref().is_none_or(is_below)
        }
        AskedUri::Below(beginning) => is_hierarchical(url) && url.starts_with(&**beginning),
        AskedUri::Above(longer) => is_hierarchical(url) && longer.starts_with(url),
    }
}

/// Whether all hold, where one that does not is enough to tell.
fn every(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    some(all.map(|holds| holds.map(|holds| !holds))).map(|holds| !holds)
}

/// Whether one holds, where one is enough to tell.
fn some(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut is_told = true;
    for holds in all {
        match holds {
            Some(true) => return Some(true),
            Some(false) => {}
            None => is_told = false,
        }
    }
    is_told.then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::ResourceType;
    use crate::fhir::json::parse;
    use crate::search::request::ParameterKey;
    use crate::search::values::token::Code;
    use crate::spec::search_parameter::SearchType;

    fn of(name: &str) -> ResourceType {
        name.parse().expect("a type")
    }

    fn test(code: &str, comparison: Comparison) -> Filter {
        let parameters =
            vec![ParameterKey { resource_type: of("StructureDefinition"), code: code.into() }];
        Filter::Test(Test { parameters, search_type: SearchType::Token, any: vec![comparison] })
    }

    /// Status is of a system whose codes are told apart by case; the others are of none.
    fn code(code: &str, value: &'static str) -> Filter {
        let case = if code == "status" { Case::Sensitive } else { Case::Insensitive };
        test(code, Comparison::Token(AskedToken::Code(vec![Code::new(value, case)])))
    }

    fn text(part: Part, text: &str, is_exact: bool) -> Filter {
        test("name", Comparison::String { part, text: text.into(), is_exact })
    }

    fn uri(code: &str, url: &str, version: Option<&str>) -> Filter {
        let (url, version) = (url.into(), version.map(Into::into));
        let asked = AskedUri::Is { url, version, is_version_below: false, fragment: None };
        test(code, Comparison::Uri(asked))
    }

    #[test]
    fn what_is_told_is_told_as_the_index_would() {
        let record = br#"{"url":"http://x/a","name":"Shod Feet","status":"active","version":"1.0B",
            "abstract":false,"type":"Patient","derivation":"constraint","baseDefinition":"http://x/b|2",
            "profile":["http://x/p"]}"#;
        let record = parse(record).expect("JSON");
        let id = "a".parse().expect("an id");
        let identity = Identity { resource_type: of("StructureDefinition"), id };
        let below = |text: &str| test("url", Comparison::Uri(AskedUri::Below(text.into())));
        let above = |text: &str| test("url", Comparison::Uri(AskedUri::Above(text.into())));
        let coded = AskedToken::System("http://x/s".into());
        let (yes, no) = (code("status", "active"), code("status", "draft"));
        let untold = test("status", Comparison::Token(coded));
        for (filter, expected) in [
            (yes.clone(), Some(true)),
            (code("status", "ACTIVE"), Some(false)),
            (code("version", "1.0b"), Some(true)),
            (code("derivation", "Constraint"), Some(true)),
            (code("abstract", "false"), Some(true)),
            (code("kind", "resource"), Some(false)),
            (test("kind", Comparison::Present), Some(false)),
            (test("url", Comparison::Present), Some(true)),
            (text(Part::Start, "shod", false), Some(true)),
            (text(Part::Start, "feet", false), Some(false)),
            (text(Part::Any, "feet", false), Some(true)),
            (text(Part::Whole, "shod feet", true), Some(false)),
            (text(Part::End, "Feet", true), Some(true)),
            (uri("url", "http://x/a", None), Some(true)),
            (uri("url", "http://x/A", None), Some(false)),
            (uri("type", "Patient", None), Some(true)),
            (uri("base", "http://x/b", None), Some(true)),
            (uri("base", "http://x/b", Some("2")), Some(true)),
            (uri("base", "http://x/b", Some("3")), Some(false)),
            (uri("_profile", "http://x/p", None), Some(true)),
            (below("http://x/"), Some(true)),
            (above("http://x/a/b"), Some(true)),
            (code("_tag", "t"), Some(false)),
            (code("path", "Patient.name"), None),
            (untold.clone(), None),
            (Filter::Id(vec!["a".into()]), Some(true)),
            (Filter::Type(vec![ResourceType::PATIENT]), Some(false)),
            (Filter::Not(Box::new(no.clone())), Some(true)),
            (Filter::Not(Box::new(untold.clone())), None),
            (Filter::All(vec![untold.clone(), no.clone()]), Some(false)),
            (Filter::All(vec![untold.clone(), yes.clone()]), None),
            (Filter::Any(vec![untold.clone(), yes.clone()]), Some(true)),
            (Filter::Any(vec![untold.clone(), no.clone()]), None),
            (Filter::Any(Vec::new()), Some(false)),
            (Filter::All(Vec::new()), Some(true)),
        ] {
            assert_eq!(holds(&filter, &identity, &record), expected, "{filter:?}");
        }
    }
}
