//! What a profile's snapshot wants to be supported: elements, slices, types of choices, targets of references.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Says that one of several types, or of several targets, must be supported.
const OF_TYPE: &str = "http://hl7.org/fhir/StructureDefinition/elementdefinition-type-must-support";
/// Says that an element is to be supported although the snapshot does not flag it.
const USCDI: &str = "http://hl7.org/fhir/us/core/StructureDefinition/uscdi-requirement";

/// Codes of value sets, by url: systems with codes.
pub(super) type Codes = BTreeMap<String, BTreeSet<(String, String)>>;

/// One profile of a resource.
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) canonical: String,
    pub(super) of: String,
    pub(super) wants: Vec<Want>,
}

/// One thing that must be supported.
pub(super) struct Want {
    /// The element's id, then what of it: a type, or a target.
    pub(super) id: String,
    pub(super) path: Vec<Segment>,
    pub(super) what: What,
    /// Canonicals that what is referred to may keep to.
    pub(super) targets: Vec<String>,
}

#[derive(Clone, PartialEq)]
pub(super) enum What {
    Element,
    /// A choice of this type, as in the property's name.
    Type(String),
    /// A reference to what keeps to this profile.
    Target(String),
}

/// A step down; the slice narrows what is there.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) name: String,
    pub(super) is_choice: bool,
    pub(super) slice: Option<Slice>,
}

/// What belongs to a slice.
#[derive(Clone)]
pub(super) enum Slice {
    Extension(String),
    /// A choice, by the property's name.
    Type(String),
    Rules(Vec<Rule>),
}

/// What must be found at a path within an item of the slice.
#[derive(Clone)]
pub(super) struct Rule {
    pub(super) path: Vec<String>,
    pub(super) expected: Expected,
}

#[derive(Clone)]
pub(super) enum Expected {
    Fixed(Value),
    Pattern(Value),
    Codes(BTreeSet<(String, String)>),
}

/// The value sets that tell slices of `definition` apart.
pub(super) fn slicing_value_sets(definition: &Value) -> Vec<String> {
    let sliced = elements(definition).iter().filter(|it| it.get("sliceName").is_some());
    sliced.filter_map(required_binding).map(str::to_owned).collect()
}

fn required_binding(element: &Value) -> Option<&str> {
    let binding = element.get("binding").filter(|it| it["strength"] == "required")?;
    binding["valueSet"].as_str().map(|url| url.split('|').next().unwrap())
}

fn elements(definition: &Value) -> &[Value] {
    definition["snapshot"]["element"].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

impl Profile {
    /// Reads a StructureDefinition; `codes` has all of [`slicing_value_sets`].
    pub(super) fn new(definition: &Value, codes: &Codes) -> Self {
        let mut wants = Vec::new();
        for element in elements(definition) {
            let flagged = element["mustSupport"] == true || has_extension(element, USCDI);
            if flagged && text(element, "id").contains('.') {
                add_wants(definition, codes, element, &mut wants);
            }
        }
        Self {
            name: text(definition, "id").to_owned(),
            canonical: text(definition, "url").to_owned(),
            of: text(definition, "type").to_owned(),
            wants,
        }
    }
}

fn has_extension(of: &Value, url: &str) -> bool {
    let extensions = of["extension"].as_array();
    extensions.is_some_and(|all| all.iter().any(|it| it["url"] == url))
}

/// Whether a type or target carries the flag for its kind.
fn is_flagged(of: &Value) -> bool {
    let extensions = of["extension"].as_array();
    let is_true = |it: &Value| it["url"] == OF_TYPE && it["valueBoolean"] == true;
    extensions.is_some_and(|all| all.iter().any(is_true))
}

fn add_wants(definition: &Value, codes: &Codes, element: &Value, wants: &mut Vec<Want>) {
    let id = text(element, "id");
    let path = path(definition, codes, id);
    let types = element["type"].as_array().map_or(&[][..], Vec::as_slice);
    let canonicals = |of: &Value| -> Vec<String> {
        let all = of["targetProfile"].as_array().into_iter().flatten();
        all.map(|it| it.as_str().unwrap().split('|').next().unwrap().to_owned()).collect()
    };
    let referring = types.iter().filter(|of| of["code"] == "Reference");
    let targets: Vec<String> = referring.clone().flat_map(canonicals).collect();
    let mut add = |id: String, what: What| {
        wants.push(Want { id, path: path.clone(), what, targets: targets.clone() });
    };
    add(id.to_owned(), What::Element);
    for of in types.iter().filter(|of| types.len() > 1 && is_flagged(of)) {
        let code = text(of, "code");
        add(format!("{id} as {code}"), What::Type(code.to_owned()));
    }
    for of in referring {
        let marks = of["_targetProfile"].as_array().map_or(&[][..], Vec::as_slice);
        for (canonical, _) in canonicals(of).iter().zip(marks).filter(|(_, mark)| is_flagged(mark))
        {
            let name = canonical.rsplit('/').next().unwrap();
            add(format!("{id} to {name}"), What::Target(canonical.clone()));
        }
    }
}

/// The steps of an element's id, without the type.
fn path(definition: &Value, codes: &Codes, id: &str) -> Vec<Segment> {
    let parts: Vec<&str> = id.split('.').collect();
    let segment = |at: usize| {
        let (name, slice) = match parts[at].split_once(':') {
            Some((name, slice)) => (name, Some(slice)),
            None => (parts[at], None),
        };
        let whole = parts[..=at].join(".");
        Segment {
            name: name.trim_end_matches("[x]").to_owned(),
            is_choice: name.ends_with("[x]"),
            slice: slice.map(|slice| self::slice(definition, codes, &whole, slice)),
        }
    };
    (1..parts.len()).map(segment).collect()
}

/// How to tell the slice `id`, called `name`, from others.
fn slice(definition: &Value, codes: &Codes, id: &str, name: &str) -> Slice {
    let element = |id: &str| elements(definition).iter().find(move |it| it["id"] == id);
    let this = element(id).unwrap_or_else(|| panic!("{id} is not in the snapshot"));
    let (sliced, _) = id.rsplit_once(':').unwrap();
    if sliced.ends_with("[x]") {
        return Slice::Type(name.to_owned());
    }
    if sliced.ends_with(".extension") {
        let url = this["type"][0]["profile"][0].as_str().unwrap();
        return Slice::Extension(url.split('|').next().unwrap().to_owned());
    }
    let discriminators = element(sliced).map(|it| &it["slicing"]["discriminator"]);
    let paths: Vec<&str> = discriminators
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|it| text(it, "path"))
        .collect();
    let mut rules = Vec::new();
    for below in elements(definition) {
        let Some(rest) = text(below, "id").strip_prefix(id) else { continue };
        if !rest.is_empty() && !rest.starts_with('.') {
            continue;
        }
        let rest = rest.trim_start_matches('.');
        let within = |path: &&str| *path == rest || rest.starts_with(&format!("{path}."));
        if !(rest.is_empty() || paths.iter().any(within)) {
            continue;
        }
        let path: Vec<String> =
            rest.split('.').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        rules.extend(
            expected(below, codes, rest.is_empty()).map(|expected| Rule { path, expected }),
        );
    }
    assert!(!rules.is_empty(), "{id}: nothing tells the slice from others");
    Slice::Rules(rules)
}

/// The fixed value, pattern or, where nothing else tells the slice, binding of an element.
fn expected(element: &Value, codes: &Codes, is_slice: bool) -> Option<Expected> {
    for (name, value) in element.as_object().unwrap() {
        if name.starts_with("fixed") {
            return Some(Expected::Fixed(value.clone()));
        }
        if name.starts_with("pattern") {
            return Some(Expected::Pattern(value.clone()));
        }
    }
    let bound = required_binding(element).filter(|_| is_slice)?;
    let codes = codes.get(bound).unwrap_or_else(|| panic!("{bound} was not expanded"));
    Some(Expected::Codes(codes.clone()))
}
