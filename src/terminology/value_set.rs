//! What a value set says its codes are.
//!
//! Spec: <https://hl7.org/fhir/R4/valueset.html#compositions>

use std::collections::HashMap;

use crate::fhir::json::{Object, Value};

use super::about::{self, Standing};

/// Elements of a value set that an expansion has too.
pub(super) const SHOWN: [&str; 10] = [
    "language",
    "url",
    "version",
    "name",
    "title",
    "status",
    "experimental",
    "date",
    "publisher",
    "identifier",
];
/// Those that are kept of it.
const DROPPED: [&str; 5] = ["meta", "text", "contained", "expansion", "id"];

/// One value set.
#[derive(Debug)]
pub(super) struct ValueSet {
    /// `None` for a stored one that only its id names.
    pub(super) url: Option<Box<str>>,
    pub(super) version: Option<Box<str>>,
    /// The resource as JSON, without what is made of it here and what no answer shows.
    pub(super) source: Box<str>,
    pub(super) standing: Standing,
    /// Since when it is as it is.
    pub(super) since: Option<Box<str>>,
    /// Whether it stands inside another one.
    pub(super) is_contained: bool,
    pub(super) supplements: Vec<Box<str>>,
    /// The language in which it wants its expansion.
    pub(super) display_language: Option<Box<str>>,
    pub(super) include: Vec<Part>,
    pub(super) exclude: Vec<Part>,
    /// Whether inactive codes are members (`compose.inactive`).
    pub(super) has_inactive: bool,
    /// The codes that an expansion lists, where there is no composition.
    pub(super) listed: Vec<Part>,
}

/// One `include` or `exclude`.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// The code system: `url` or `url|version`.
    pub(super) system: Option<Box<str>>,
    /// Codes by name; none: all.
    pub(super) codes: Vec<Listing>,
    /// Places of `codes`, in the order of the codes.
    sorted: Box<[u32]>,
    /// All of them hold for a code.
    pub(super) filters: Vec<Filter>,
    /// A code is in all of them.
    pub(super) value_sets: Vec<Box<str>>,
}

/// A code that is named.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) code: Box<str>,
    pub(super) display: Option<Box<str>>,
    /// Designations and extensions as written.
    pub(super) more: Option<Box<More>>,
}

/// What few listings have.
#[derive(Debug, Default)]
pub(super) struct More {
    pub(super) designations: Vec<Value<'static>>,
    pub(super) extensions: Vec<Value<'static>>,
}

/// One filter, as it is written.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) property: Box<str>,
    pub(super) op: Box<str>,
    pub(super) value: Box<str>,
}

impl ValueSet {
    /// The value set of a resource or of a pack's record; `owner` stands before the names of those
    /// that it contains.
    pub(super) fn read(resource: &Value<'_>, owner: &str) -> Self {
        let compose = resource.get("compose");
        let parts = |name| -> Vec<Part> {
            let parts = compose.map_or(&[][..], |it| it.items_at(name)).iter();
            parts.map(|it| Part::read(it, owner)).collect()
        };
        let inactive = compose.and_then(|it| it.get("inactive")).and_then(Value::as_bool);
        let listed = match compose {
            Some(_) => Vec::new(),
            None => resource.get("expansion").map(listed).unwrap_or_default(),
        };
        let language = compose.and_then(about::display_language);
        let mut source = resource.as_object().cloned().unwrap_or_else(Object::new);
        source.retain(|name, _| !DROPPED.contains(&name));
        Self {
            url: resource.str_at("url").map(Into::into),
            version: resource.str_at("version").map(Into::into),
            source: Value::Object(source).to_text().into(),
            standing: Standing::of_value_set(resource),
            since: about::since(resource),
            supplements: about::supplements(resource),
            display_language: language.or_else(|| resource.str_at("language")).map(Into::into),
            is_contained: false,
            include: parts("include"),
            exclude: parts("exclude"),
            has_inactive: inactive != Some(false),
            listed,
        }
    }

    /// `url|version`, as far as it has them.
    pub(super) fn canonical(&self) -> String {
        canonical(self.url.as_deref().unwrap_or_default(), self.version.as_deref())
    }
}

impl Part {
    /// All codes of a system.
    pub(super) fn whole(system: &str) -> Self {
        Self { system: Some(system.into()), ..Self::default() }
    }

    fn of(system: Option<Box<str>>, codes: Vec<Listing>) -> Self {
        let mut sorted: Vec<u32> = (0..codes.len() as u32).collect();
        sorted.sort_by(|one, other| codes[*one as usize].code.cmp(&codes[*other as usize].code));
        Self { system, codes, sorted: sorted.into(), ..Self::default() }
    }

    fn read(value: &Value<'_>, owner: &str) -> Self {
        let system =
            value.str_at("system").map(|system| canonical(system, value.str_at("version")).into());
        let codes = value.items_at("concept").iter().filter_map(Listing::read).collect();
        let value_sets = value.items_at("valueSet").iter().filter_map(Value::as_str);
        let named = |name: &str| match name.strip_prefix('#') {
            Some(_) => format!("{owner}{name}").into(),
            None => name.into(),
        };
        Self {
            filters: value.items_at("filter").iter().map(Filter::read).collect(),
            value_sets: value_sets.map(named).collect(),
            ..Self::of(system, codes)
        }
    }

    /// The listing of a code, spelled so.
    pub(super) fn listing(&self, code: &str) -> Option<&Listing> {
        let listing = |at: &u32| &self.codes[*at as usize];
        let found = self.sorted.binary_search_by(|at| (*listing(at).code).cmp(code)).ok()?;
        Some(listing(&self.sorted[found]))
    }
}

impl Listing {
    fn read(value: &Value<'_>) -> Option<Self> {
        let mut urls: Vec<&str> = about::REPEATED.to_vec();
        urls.extend(about::AS_PROPERTIES.map(|(url, ..)| url));
        let designations = value.items_at("designation").iter();
        let more = More {
            designations: designations.map(|it| it.clone().into_owned()).collect(),
            extensions: about::extensions(value, &urls),
        };
        let has_more = !(more.designations.is_empty() && more.extensions.is_empty());
        Some(Self {
            code: value.str_at("code")?.into(),
            display: value.str_at("display").map(Into::into),
            more: has_more.then(|| Box::new(more)),
        })
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

/// `url|version`, or `url` without a version.
pub(super) fn canonical(url: &str, version: Option<&str>) -> String {
    match version {
        Some(version) => format!("{url}|{version}"),
        None => url.to_owned(),
    }
}

/// The codes of an expansion, of whatever depth; those that only group others are none.
fn listed(expansion: &Value<'_>) -> Vec<Part> {
    let mut found: Vec<(Box<str>, Vec<Listing>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut rest: Vec<&Value<'_>> = expansion.items_at("contains").iter().rev().collect();
    while let Some(value) = rest.pop() {
        rest.extend(value.items_at("contains").iter().rev());
        let is_abstract = value.get("abstract").and_then(Value::as_bool) == Some(true);
        if let (Some(system), Some(listing), false) =
            (value.str_at("system"), Listing::read(value), is_abstract)
        {
            let at = *places.entry(system).or_insert_with(|| {
                found.push((system.into(), Vec::new()));
                found.len() - 1
            });
            found[at].1.push(listing);
        }
    }
    found.into_iter().map(|(system, listings)| Part::of(Some(system), listings)).collect()
}
