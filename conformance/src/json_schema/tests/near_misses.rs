//! Documents that are nearly right: published examples with one small fault, of kinds that people make.
//!
//! Two opinions say what must be refused. One is the JSON Schema. The other is what R4's own
//! StructureDefinitions, which are among the examples and read here without Kiln, say of the place:
//! that it is required, one or many, a choice, a date, or a reference to certain types.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kiln::fhir::Severity;
use kiln::fhir::json::parse;
use kiln::spec::structure::Library;
use kiln::spec::{R4_PACK, Spec};
use kiln::terminology::Image;
use kiln::validate::form;
use kiln::validate::profile::{Claim, Options, Validator};
use serde_json::{Value, json};

use super::{Random, schema};
use crate::published;

/// The kinds of faults, each with how many of a hundred the two opinions refuse at least.
const KINDS: [(&str, usize); 9] = [
    ("a choice doubled", 99),
    ("a code with one letter more", 20),
    ("a list in place of one", 99),
    ("a month 13", 90),
    ("a name without its last letter", 95),
    ("a reference to another type", 99),
    ("a required child dropped", 99),
    ("a wrong kind of primitive", 95),
    ("one in place of a list", 95),
];

/// What an element can be instead, as a choice: the type and a value of it.
fn samples() -> [(&'static str, Value); 7] {
    [
        ("string", json!("x")),
        ("boolean", json!(true)),
        ("dateTime", json!("2020-01-01")),
        ("Period", json!({ "start": "2020-01-01" })),
        ("CodeableConcept", json!({ "text": "x" })),
        ("Quantity", json!({ "value": 1 })),
        ("Reference", json!({ "display": "x" })),
    ]
}

/// Types that few references may lead to.
const OTHERS: [&str; 3] = ["Linkage", "Slot", "Binary"];

/// What a definition says of an element.
struct Element {
    is_required: bool,
    is_list: bool,
    types: Vec<String>,
    /// The types that a reference may lead to.
    targets: Vec<String>,
    /// The path of the element that it is like.
    like: Option<String>,
}

/// The elements of all resources and datatypes, by path, and the choices among them, by the path
/// above them.
#[derive(Default)]
struct Definitions {
    elements: HashMap<String, Element>,
    choices: HashMap<String, Vec<String>>,
}

/// An element at a place of a document.
#[derive(Clone)]
struct Known<'d> {
    element: &'d Element,
    of: &'d str,
    /// By which path its children are found.
    below: String,
    /// The name before the type, where it is a choice.
    stem: Option<&'d str>,
}

impl Definitions {
    fn read(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut all = Self::default();
        for (_, bytes) in files.iter().filter(|(name, _)| name.ends_with(".profile.json")) {
            let definition: Value = serde_json::from_slice(bytes).expect("JSON");
            if definition["derivation"] != "specialization" || definition["kind"] == "logical" {
                continue;
            }
            for element in definition["snapshot"]["element"].as_array().expect("a snapshot") {
                all.add(element);
            }
        }
        all
    }

    fn add(&mut self, element: &Value) {
        let path = element["path"].as_str().expect("a path");
        let texts = |of: &Value, name: &str| -> Vec<String> {
            let all = of[name].as_array().into_iter().flatten().filter_map(Value::as_str);
            all.map(|text| text.rsplit('/').next().unwrap_or(text).to_owned()).collect()
        };
        let types = element["type"].as_array().map_or(&[][..], Vec::as_slice);
        if let Some((above, name)) = path.rsplit_once('.')
            && let Some(stem) = name.strip_suffix("[x]")
        {
            self.choices.entry(above.to_owned()).or_default().push(stem.to_owned());
        }
        let said = Element {
            is_required: element["min"] != 0,
            is_list: element["max"] != "1",
            types: types.iter().filter_map(|it| Some(it["code"].as_str()?.to_owned())).collect(),
            targets: types.iter().flat_map(|it| texts(it, "targetProfile")).collect(),
            like: element["contentReference"].as_str().map(|it| it.trim_start_matches('#').into()),
        };
        self.elements.insert(path.to_owned(), said);
    }

    /// The element that the property `name` is, below the element or type of a path.
    fn find(&self, above: &str, name: &str) -> Option<Known<'_>> {
        let path = format!("{above}.{name}");
        if let Some(element) = self.elements.get(&path) {
            let of = element.types.first().map_or("", String::as_str);
            let below = match (&element.like, of) {
                (Some(like), _) => like.clone(),
                (None, "BackboneElement" | "Element") => path,
                (None, of) => of.to_owned(),
            };
            return Some(Known { element, of, below, stem: None });
        }
        self.choices.get(above)?.iter().find_map(|stem| {
            let element = &self.elements[&format!("{above}.{stem}[x]")];
            let of = name.strip_prefix(&**stem)?;
            let of = element.types.iter().find(|it| capital(it) == of)?;
            Some(Known { element, of, below: of.clone(), stem: Some(stem) })
        })
    }
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |it| it.to_ascii_uppercase().to_string())
        + letters.as_str()
}

/// A change of a document.
struct Fault {
    kind: &'static str,
    /// The JSON pointer of the object that changes.
    at: String,
    name: String,
    change: Change,
    /// Whether the definitions forbid the outcome.
    is_forbidden: bool,
}

enum Change {
    Add(Value),
    Drop,
    Rename(String),
    Set(Value),
    /// Of one of the items of a list.
    SetItem(usize, Value),
}

impl Fault {
    fn apply(&self, document: &Value) -> Value {
        let mut mutant = document.clone();
        let object = mutant.pointer_mut(&self.at).and_then(Value::as_object_mut);
        let object = object.expect("a fault is in an object");
        match &self.change {
            Change::Add(value) | Change::Set(value) => {
                object.insert(self.name.clone(), value.clone());
            }
            Change::Drop => drop(object.remove(&self.name)),
            Change::Rename(other) => {
                let value = object.remove(&self.name).expect("a property");
                object.insert(other.clone(), value);
            }
            Change::SetItem(at, value) => object[&self.name][*at] = value.clone(),
        }
        mutant
    }
}

/// Finds places for faults.
struct Finder<'d> {
    definitions: &'d Definitions,
    found: Vec<Fault>,
}

impl Finder<'_> {
    /// Goes through an object; `above`: by which path its properties are found.
    fn object(&mut self, object: &serde_json::Map<String, Value>, at: &str, above: Option<&str>) {
        let above = object.get("resourceType").and_then(Value::as_str).or(above);
        for (name, value) in object {
            if name == "resourceType" || name == "div" || name.starts_with('_') {
                continue;
            }
            let definitions = self.definitions;
            let known = above.and_then(|above| definitions.find(above, name));
            let mut add = |kind, name: &str, change, is_forbidden| {
                let (at, name) = (at.to_owned(), name.to_owned());
                self.found.push(Fault { kind, at, name, change, is_forbidden });
            };
            let shorter = name[..name.len() - 1].to_owned();
            if !shorter.is_empty() && !object.contains_key(&shorter) {
                add("a name without its last letter", name, Change::Rename(shorter), false);
            }
            let is_list = known.as_ref().map(|known| known.element.is_list);
            if let Some(first) = value.as_array().and_then(|items| items.first()) {
                let change = Change::Set(first.clone());
                add("one in place of a list", name, change, is_list == Some(true));
            } else {
                let change = Change::Set(json!([value]));
                add("a list in place of one", name, change, is_list == Some(false));
            }
            let has_sibling = object.contains_key(&format!("_{name}"));
            if let Some(known) = &known {
                if known.element.is_required && !has_sibling {
                    add("a required child dropped", name, Change::Drop, true);
                }
                let may_be = |it: &(&str, Value)| {
                    it.0 != known.of && known.element.types.iter().any(|of| of == it.0)
                };
                for (of, sample) in samples().into_iter().filter(may_be) {
                    let Some(stem) = known.stem else { continue };
                    let other = format!("{stem}{}", capital(of));
                    add("a choice doubled", &other, Change::Add(sample), true);
                }
            }
            self.values((name, value), at, known.as_ref());
        }
    }

    /// Goes through the one or many values of a property.
    fn values(&mut self, (name, value): (&String, &Value), at: &str, known: Option<&Known<'_>>) {
        let step = name.replace('~', "~0").replace('/', "~1");
        let items = match value {
            Value::Array(items) => items.iter().enumerate().map(|(n, it)| (Some(n), it)).collect(),
            one => vec![(None, one)],
        };
        for (place, item) in items {
            if let Value::Object(inner) = item {
                let place = place.map(|place| format!("/{place}")).unwrap_or_default();
                let at = format!("{at}/{step}{place}");
                self.reference(item, &at, known);
                self.object(inner, &at, known.map(|known| &*known.below));
                continue;
            }
            for (kind, value, is_forbidden) in spoilt(item, known.map(|known| known.of)) {
                let change = match place {
                    Some(place) => Change::SetItem(place, value),
                    None => Change::Set(value),
                };
                let (at, name) = (at.to_owned(), name.clone());
                self.found.push(Fault { kind, at, name, change, is_forbidden });
            }
        }
    }

    /// Lets a reference lead to a type that its definition does not name.
    fn reference(&mut self, item: &Value, at: &str, known: Option<&Known<'_>>) {
        let Some(known) = known.filter(|known| known.of == "Reference") else { return };
        let targets = &known.element.targets;
        if targets.is_empty() || targets.iter().any(|it| it == "Resource") {
            return;
        }
        let Some((of, id)) = item["reference"].as_str().and_then(|it| it.split_once('/')) else {
            return;
        };
        if !of.starts_with(|it: char| it.is_ascii_uppercase()) || id.contains('/') {
            return;
        }
        let is_other = |it: &&&str| !targets.iter().any(|target| target == **it);
        let Some(other) = OTHERS.iter().find(is_other) else { return };
        self.found.push(Fault {
            kind: "a reference to another type",
            at: at.to_owned(),
            name: "reference".to_owned(),
            change: Change::Set(json!(format!("{other}/{id}"))),
            is_forbidden: true,
        });
    }
}

/// What a primitive of a type could nearly be, with the kind of fault and whether that is forbidden.
fn spoilt(value: &Value, of: Option<&str>) -> Vec<(&'static str, Value, bool)> {
    const KIND: &str = "a wrong kind of primitive";
    let text = match value {
        Value::Bool(_) | Value::Number(_) => return vec![(KIND, json!(value.to_string()), true)],
        Value::String(text) => text,
        _ => return Vec::new(),
    };
    let mut found = vec![(KIND, json!(true), false)];
    if of == Some("code") {
        found.push(("a code with one letter more", json!(format!("{text}x")), false));
    }
    let is_month = |text: &str| {
        let mut parts = text.splitn(3, '-').map(|it| it.bytes().take_while(u8::is_ascii_digit));
        let digits = |part: Option<_>| part.map_or(0, Iterator::count);
        (digits(parts.next()), digits(parts.next())) == (4, 2)
    };
    if is_month(text) && text.is_char_boundary(7) {
        let is_date = matches!(of, Some("date" | "dateTime" | "instant"));
        found.push(("a month 13", json!(format!("{}-13{}", &text[..4], &text[7..])), is_date));
    }
    found
}

/// Kiln's own opinion: the form, and R4's rules beyond it.
struct Judge {
    spec: Arc<Spec>,
    validator: Validator,
}

impl Judge {
    fn new() -> Self {
        let spec = Spec::r4().expect("the embedded pack");
        let codes = Image::new(R4_PACK, "http://localhost/fhir").expect("the embedded pack");
        let validator = Validator::new(spec.clone(), Arc::new(Library::r4()), Arc::new(codes));
        Self { spec, validator }
    }

    fn refuses(&self, document: &Value) -> bool {
        let text = document.to_string();
        let Ok(value) = parse(text.as_bytes()) else { return true };
        if !form::check(&value, &self.spec.schema).is_sound() {
            return true;
        }
        let (claims, least) = (|_: &str| Claim::Ignore, Severity::Error);
        let options = Options { claims: &claims, least, ..Options::default() };
        let found = self.validator.validate(&value, &[], &options);
        found.iter().any(|issue| issue.severity <= Severity::Error)
    }
}

#[test]
fn examples_that_are_nearly_right_are_refused() {
    let (Some(mut schema), Some(files)) = (schema(), published::examples()) else { return };
    let (definitions, judge) = (Definitions::read(&files), Judge::new());
    let mut random = Random(11);
    let (largest, step) = if published::is_long() { (200_000, 1) } else { (20_000, 13) };
    let small = files.iter().filter(|(_, bytes)| bytes.len() < largest);
    let mut tallies: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut missed = Vec::new();
    for (name, bytes) in small.step_by(step) {
        let document: Value = serde_json::from_slice(bytes).expect("JSON");
        if judge.refuses(&document) || schema.fault(&document).is_some() {
            continue;
        }
        let mut finder = Finder { definitions: &definitions, found: Vec::new() };
        finder.object(document.as_object().expect("a resource"), "", None);
        for (kind, _) in KINDS {
            let all: Vec<_> = finder.found.iter().filter(|fault| fault.kind == kind).collect();
            let Some(fault) = all.get(random.below(all.len())) else { continue };
            let mutant = fault.apply(&document);
            let tally = tallies.entry(kind).or_default();
            tally.0 += 1;
            let by_schema = schema.fault(&mutant);
            if by_schema.is_none() && !fault.is_forbidden {
                continue;
            }
            tally.1 += 1;
            if !judge.refuses(&mutant) {
                missed.push(format!("{kind}: {name}{}/{} {by_schema:?}", fault.at, fault.name));
            }
        }
    }
    assert!(missed.is_empty(), "{}: {missed:#?}", missed.len());
    for (kind, share) in KINDS {
        let (tried, refused) = tallies.get(kind).copied().unwrap_or_default();
        let has_bite = tried >= 30 && refused * 100 >= tried * share;
        assert!(has_bite, "{kind}: {refused} of {tried} are refused: {tallies:?}");
    }
}
