//! What a value set says its codes are.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset.html#compositions>

use crate::fhir::json::Value;

/// One value set.
#[derive(Debug)]
pub(super) struct ValueSet {
    /// `None` for a stored one that only its id names.
    pub(super) url: Option<Box<str>>,
    pub(super) version: Option<Box<str>>,
    pub(super) include: Vec<Part>,
    pub(super) exclude: Vec<Part>,
    /// Whether inactive codes are members (`compose.inactive`).
    pub(super) has_inactive: bool,
    /// The codes that an expansion lists, where there is no composition.
    pub(super) listed: Vec<(Box<str>, Box<str>)>,
}

/// One `include` or `exclude`.
#[derive(Debug)]
pub(super) struct Part {
    /// The code system: `url` or `url|version`.
    pub(super) system: Option<Box<str>>,
    /// Codes by name; none: all.
    pub(super) codes: Vec<Box<str>>,
    /// All of them hold for a code.
    pub(super) filters: Vec<Filter>,
    /// A code is in all of them.
    pub(super) value_sets: Vec<Box<str>>,
}

/// One filter, as it is written.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) property: Box<str>,
    pub(super) op: Box<str>,
    pub(super) value: Box<str>,
}

impl ValueSet {
    /// The value set of a resource or of a pack's record.
    pub(super) fn read(resource: &Value<'_>) -> Self {
        let compose = resource.get("compose");
        let parts = |name| -> Vec<Part> {
            compose.map_or(&[][..], |it| it.items_at(name)).iter().map(Part::read).collect()
        };
        let inactive = compose.and_then(|it| it.get("inactive")).and_then(Value::as_bool);
        let listed = match compose {
            Some(_) => Vec::new(),
            None => resource.get("expansion").map(listed).unwrap_or_default(),
        };
        Self {
            url: resource.str_at("url").map(Into::into),
            version: resource.str_at("version").map(Into::into),
            include: parts("include"),
            exclude: parts("exclude"),
            has_inactive: inactive != Some(false),
            listed,
        }
    }
}

impl Part {
    /// All codes of a system.
    pub(super) fn whole(system: &str) -> Self {
        let system = Some(system.into());
        Self { system, codes: Vec::new(), filters: Vec::new(), value_sets: Vec::new() }
    }

    fn read(value: &Value<'_>) -> Self {
        let system = value.str_at("system").map(|system| match value.str_at("version") {
            Some(version) => format!("{system}|{version}").into(),
            None => system.into(),
        });
        let codes = value.items_at("concept").iter().filter_map(|it| it.str_at("code"));
        let value_sets = value.items_at("valueSet").iter().filter_map(Value::as_str);
        Self {
            system,
            codes: codes.map(Into::into).collect(),
            filters: value.items_at("filter").iter().map(Filter::read).collect(),
            value_sets: value_sets.map(Into::into).collect(),
        }
    }
}

impl Filter {
    /// Codes below `code`, and itself.
    pub(super) fn is_a(code: &str) -> Self {
        Self { property: "concept".into(), op: "is-a".into(), value: code.into() }
    }

    fn read(value: &Value<'_>) -> Self {
        let text = |name| value.str_at(name).unwrap_or_default().into();
        Self { property: text("property"), op: text("op"), value: text("value") }
    }
}

/// The codes of an expansion, of whatever depth; those that only group others are none.
fn listed(expansion: &Value<'_>) -> Vec<(Box<str>, Box<str>)> {
    let mut found = Vec::new();
    let mut rest: Vec<&Value<'_>> = expansion.items_at("contains").iter().collect();
    while let Some(value) = rest.pop() {
        rest.extend(value.items_at("contains"));
        let is_abstract = value.get("abstract").and_then(Value::as_bool) == Some(true);
        if let (Some(system), Some(code), false) =
            (value.str_at("system"), value.str_at("code"), is_abstract)
        {
            found.push((system.into(), code.into()));
        }
    }
    found
}
