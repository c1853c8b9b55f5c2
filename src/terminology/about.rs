//! What a definition says of itself beside its codes, and the extensions that answers repeat.
//!
//! Spec: <https://hl7.org/fhir/R4/codesystem-extensions.html>,
//! <https://hl7.org/fhir/R4/valueset-extensions.html>

use crate::fhir::json::Value;

/// Where the standard properties are defined: their codes follow.
pub(super) const PROPERTIES: &str = "http://hl7.org/fhir/concept-properties#";
/// How far a definition or a part of it is to be trusted.
pub(super) const STANDARDS_STATUS: &str =
    "http://hl7.org/fhir/StructureDefinition/structuredefinition-standards-status";
/// That a value set would rather not have a code.
pub(super) const DEPRECATED: &str = "http://hl7.org/fhir/StructureDefinition/valueset-deprecated";
/// A code system whose displays and properties a value set uses.
pub(super) const SUPPLEMENT: &str = "http://hl7.org/fhir/StructureDefinition/valueset-supplement";
const EXPANSION_PARAMETER: &str =
    "http://hl7.org/fhir/StructureDefinition/valueset-expansion-parameter";

/// Extensions of a concept that are properties in an expansion: the property's code and type, and
/// the last part of its uri.
pub(super) const AS_PROPERTIES: [(&str, &str, &str, &str); 6] = [
    (
        "http://hl7.org/fhir/StructureDefinition/codesystem-conceptOrder",
        "order",
        "valueDecimal",
        "order",
    ),
    (
        "http://hl7.org/fhir/StructureDefinition/valueset-conceptOrder",
        "order",
        "valueDecimal",
        "order",
    ),
    ("http://hl7.org/fhir/StructureDefinition/codesystem-label", "label", "valueString", "label"),
    ("http://hl7.org/fhir/StructureDefinition/valueset-label", "label", "valueString", "label"),
    ("http://hl7.org/fhir/StructureDefinition/itemWeight", "weight", "valueDecimal", "itemWeight"),
    (STANDARDS_STATUS, "status", "valueCode", "status"),
];

/// Properties that FHIR defines.
const STANDARD: [&str; 7] =
    ["child", "deprecated", "inactive", "notSelectable", "parent", "status", "effectiveDate"];

/// Extensions of a concept that an expansion repeats.
pub(super) const REPEATED: [&str; 4] = [
    "http://hl7.org/fhir/StructureDefinition/rendering-style",
    "http://hl7.org/fhir/StructureDefinition/rendering-xhtml",
    "http://hl7.org/fhir/StructureDefinition/valueset-concept-definition",
    DEPRECATED,
];

/// Extensions of a designation that an expansion repeats.
pub(super) const OF_DESIGNATIONS: [&str; 2] =
    ["http://hl7.org/fhir/StructureDefinition/coding-sctdescid", STANDARDS_STATUS];

/// How far a definition is to be trusted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Standing {
    /// Nothing speaks against it.
    #[default]
    Normal,
    /// There is something better.
    Deprecated,
    /// Not finished.
    Draft,
    /// Not for real use.
    Experimental,
    /// No longer to be used.
    Withdrawn,
}

impl Standing {
    /// What the resource says.
    pub(super) fn read(resource: &Value<'_>) -> Self {
        match extension(resource, STANDARDS_STATUS).and_then(|it| it.str_at("valueCode")) {
            Some("deprecated") => return Self::Deprecated,
            Some("withdrawn") => return Self::Withdrawn,
            _ => {}
        }
        if resource.get("experimental").and_then(Value::as_bool) == Some(true) {
            return Self::Experimental;
        }
        match resource.str_at("status") {
            Some("draft") => Self::Draft,
            _ => Self::Normal,
        }
    }

    /// What a value set says: a draft of one is what somebody works on.
    pub(super) fn of_value_set(resource: &Value<'_>) -> Self {
        match Self::read(resource) {
            Self::Draft | Self::Experimental => Self::Normal,
            other => other,
        }
    }

    /// The word for it; `None` where there is nothing to say.
    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            Self::Normal => None,
            Self::Deprecated => Some("deprecated"),
            Self::Draft => Some("draft"),
            Self::Experimental => Some("experimental"),
            Self::Withdrawn => Some("withdrawn"),
        }
    }
}

/// What a code system says of itself.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) name: Option<Box<str>>,
    pub(super) language: Option<Box<str>>,
    pub(super) standing: Standing,
    pub(super) is_case_sensitive: bool,
    /// Whether a grammar makes more codes than are defined one by one.
    pub(super) is_compositional: bool,
    /// Since when it is as it is.
    pub(super) since: Option<Box<str>>,
    /// The system that this one supplements.
    pub(super) supplements: Option<Box<str>>,
    /// Code and uri of the properties that it defines.
    pub(super) properties: Vec<(Box<str>, Box<str>)>,
    /// Extensions of designations: the place of the concept, which designation, url and value.
    pub(super) of_designations: Vec<(u32, u32, Value<'static>)>,
}

impl About {
    /// What the resource says.
    pub(super) fn read(resource: &Value<'_>) -> Self {
        let text = |name| resource.str_at(name).map(Into::into);
        let is_true = |name| resource.get(name).and_then(Value::as_bool) == Some(true);
        let property = |it: &Value<'_>| {
            Some((it.str_at("code")?.into(), it.str_at("uri").unwrap_or_default().into()))
        };
        Self {
            name: text("name"),
            language: text("language"),
            standing: Standing::read(resource),
            is_case_sensitive: is_true("caseSensitive"),
            is_compositional: is_true("compositional"),
            since: since(resource),
            supplements: text("supplements"),
            properties: resource.items_at("property").iter().filter_map(property).collect(),
            of_designations: Vec::new(),
        }
    }

    /// The uri of a property; empty where none is told and FHIR has none of this code.
    pub(super) fn uri_of(&self, property: &str) -> String {
        let found = self.properties.iter().find(|(code, _)| **code == *property);
        match found.filter(|(_, uri)| !uri.is_empty()) {
            Some((_, uri)) => uri.to_string(),
            None if STANDARD.contains(&property) => format!("{PROPERTIES}{property}"),
            None => String::new(),
        }
    }

    /// The code under which the system has a standard property.
    pub(super) fn code_of<'a>(&'a self, standard: &'a str) -> &'a str {
        let is_it = |uri: &str| uri.strip_prefix(PROPERTIES).is_some_and(|rest| rest == standard);
        let found = self.properties.iter().find(|(_, uri)| is_it(uri));
        found.map_or(standard, |(code, _)| code)
    }
}

/// Since when a definition is as it is: by its author, else by who stored it.
pub(super) fn since(resource: &Value<'_>) -> Option<Box<str>> {
    let stored = || resource.get("meta").and_then(|meta| meta.str_at("lastUpdated"));
    resource.str_at("date").or_else(stored).map(Into::into)
}

/// The extension of this url.
pub(super) fn extension<'v, 'a>(element: &'v Value<'a>, url: &str) -> Option<&'v Value<'a>> {
    element.items_at("extension").iter().find(|it| it.str_at("url") == Some(url))
}

/// The extensions with one of these urls, with nothing but url and value.
pub(super) fn extensions(element: &Value<'_>, urls: &[&str]) -> Vec<Value<'static>> {
    let known = |it: &&Value<'_>| it.str_at("url").is_some_and(|url| urls.contains(&url));
    element.items_at("extension").iter().filter(known).map(|it| it.clone().into_owned()).collect()
}

/// The canonicals of the supplements that a value set says it needs.
pub(super) fn supplements(resource: &Value<'_>) -> Vec<Box<str>> {
    let all = resource.items_at("extension").iter();
    let of = all.filter(|it| it.str_at("url") == Some(SUPPLEMENT));
    of.filter_map(|it| it.str_at("valueCanonical")).map(Into::into).collect()
}

/// The language in which a composition wants its expansion.
pub(super) fn display_language<'v>(compose: &'v Value<'_>) -> Option<&'v str> {
    let parameters = compose.items_at("extension").iter();
    let parameters = parameters.filter(|it| it.str_at("url") == Some(EXPANSION_PARAMETER));
    let mut languages = parameters.filter(|it| {
        extension(it, "name").and_then(|name| value_of(name)) == Some("displayLanguage")
    });
    extension(languages.next()?, "value").and_then(value_of)
}

fn value_of<'v>(extension: &'v Value<'_>) -> Option<&'v str> {
    let (_, value) = extension.as_object()?.iter().find(|(name, _)| name.starts_with("value"))?;
    value.as_str()
}
