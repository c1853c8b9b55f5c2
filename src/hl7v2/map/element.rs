//! The left side of a rule: a place in a resource, checked against the definitions of FHIR.

use std::fmt::Write as _;

use std::collections::{BTreeMap, HashMap};

use crate::fhir::json::{Object, Value};
use crate::fhir::schema::{Schema, TypeDef, TypeKind};
use crate::hl7v2::effect::part::Removal;
use crate::hl7v2::types::Json;

/// Words for slots: `participant[ATND]` begins with what is said of it here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    /// Urls of extensions by their words.
    pub extensions: BTreeMap<String, String>,
    /// What an element of a slot has from the beginning, by `Encounter.participant` and word.
    pub presets: BTreeMap<(String, String), Object<'static>>,
    /// Where extensions without a url of their own are; `None`: they are refused.
    pub local: Option<String>,
}

/// Which element of a list is meant.
#[derive(Clone, Debug, PartialEq)]
pub enum Select {
    /// The first one, or the element is no list.
    Any,
    /// The one at this place.
    At(usize),
    /// The one of a slot, which begins with this.
    Slot(String, Object<'static>),
}

/// One step into a resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The property; of a choice at the end the name without its type.
    pub key: String,
    /// Whether it is a list.
    pub is_list: bool,
    /// Which of the list.
    pub select: Select,
}

/// A place in a resource, and what may stand there.
#[derive(Clone, Debug, PartialEq)]
pub struct Element {
    /// As it was written.
    pub text: String,
    /// The way to it.
    pub steps: Vec<Step>,
    /// The names of the types that it may have.
    pub types: Vec<String>,
    /// Of a Reference: the types that it may lead to; empty: any.
    pub targets: Vec<String>,
    /// Whether the type is part of the property's name.
    pub is_choice: bool,
}

impl Element {
    /// What goes when its value is to go: an extension of the resource with all that it has, of a slot its
    /// own entries alone.
    pub fn ended(&self) -> Removal {
        match self.steps.first() {
            Some(Step { key, select: Select::Slot(_, begin), .. }) if key == "extension" => {
                let url = begin.get("url").and_then(Json::as_str).unwrap_or_default();
                Removal::from(format!("extension[{url}]").as_str())
            }
            Some(Step { select: Select::Slot(_, begin), .. }) => {
                Removal { path: self.text.clone(), slot: Some(begin.clone()) }
            }
            _ => Removal::from(self.text.as_str()),
        }
    }
}

/// Finds the place `text` in the type called `owner`.
///
/// # Errors
/// Why there is no such place.
pub(crate) fn resolve(
    text: &str,
    owner: &str,
    schema: &Schema,
    slots: &Slots,
) -> Result<Element, String> {
    let mut def = schema.type_named(owner).ok_or(format!("{owner} is no type of FHIR"))?;
    let mut steps: Vec<Step> = Vec::new();
    let mut parts = split(text).into_iter().peekable();
    while let Some(part) = parts.next() {
        let (name, label) = match part.split_once('[') {
            Some((name, label)) => (name, label.strip_suffix(']').map(str::to_owned)),
            None => (part, None),
        };
        if let TypeKind::Primitive(_) = def.kind {
            // What hangs on a primitive stands in a property of its own, beside it.
            let last = steps.last_mut().ok_or("a path begins with an element")?;
            if last.is_list {
                return Err(format!("{}: extensions of a list of primitives", last.key));
            }
            last.key = format!("_{}", last.key);
        }
        let is_last = parts.peek().is_none();
        let choice = def.field(name).filter(|field| field.is_choice);
        let (field, types) = match (def.key(name), choice) {
            (Some((field, found)), _) => (field, vec![found]),
            (None, Some(field)) if is_last => (field, field.types.iter().collect()),
            _ => return Err(format!("{} has no element {name:?}", def.name)),
        };
        let path = format!("{}.{name}", def.name);
        let select = select(name, &path, label, field.is_array(), slots)?;
        let is_choice = field.is_choice && types.len() > 1;
        steps.push(Step { key: name.to_owned(), is_list: field.is_array(), select });
        let name_of =
            |found: &&crate::fhir::schema::FieldType| schema.get(found.type_id).name.to_string();
        if is_last {
            let targets = types.iter().flat_map(|found| &found.targets).map(ToString::to_string);
            return Ok(Element {
                text: text.to_owned(),
                steps,
                types: types.iter().map(name_of).collect(),
                targets: targets.collect(),
                is_choice,
            });
        }
        def = schema.get(types[0].type_id);
    }
    Err("the path is empty".to_owned())
}

/// The names of a path; dots in brackets do not part them.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut from, mut depth) = (0, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' => depth += 1,
            b']' => depth -= 1,
            b'.' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn select(
    name: &str,
    path: &str,
    label: Option<String>,
    is_list: bool,
    slots: &Slots,
) -> Result<Select, String> {
    let Some(label) = label else { return Ok(Select::Any) };
    if !is_list {
        return Err(format!("{path} is no list"));
    }
    if let Ok(at) = label.parse() {
        return Ok(Select::At(at));
    }
    if name == "extension" || name == "modifierExtension" {
        let known = slots.extensions.get(&label).cloned();
        let own = Some(label.clone()).filter(|label| label.contains(':'));
        let local = slots.local.as_ref().map(|base| format!("{base}/v2/extension/{label}"));
        // A part of an extension is named by a word alone.
        let part = path.starts_with("Extension.").then(|| label.clone());
        let url = known.or(own).or(part).or(local);
        let url = url.ok_or(format!("the extension {label:?} is not in the list of extensions"))?;
        return Ok(Select::Slot(label, Object::new().with("url", url)));
    }
    let preset = slots.presets.get(&(path.to_owned(), label.clone()));
    let preset = preset.ok_or(format!("{path} has no slot {label:?}"))?;
    Ok(Select::Slot(label, preset.clone()))
}

/// Puts values into a resource by elements, and remembers which entry of a list is whose.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// The resource so far.
    pub body: Object<'static>,
    slots: HashMap<String, usize>,
}

impl Writer {
    /// Puts values to a place; returns the paths of what was written, and whether all found room.
    pub(crate) fn put(
        &mut self,
        element: &Element,
        values: Vec<(&'static str, Json)>,
    ) -> (Vec<String>, bool) {
        let mut paths = Vec::new();
        let Some(last) = element.steps.last() else { return (paths, true) };
        if last.is_list {
            for value in values {
                paths.extend(self.one(element, value, 0));
            }
            return (paths, true);
        }
        let room = element.steps.iter().any(|step| step.is_list);
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 && !room {
                return (paths, false);
            }
            paths.extend(self.one(element, value, at));
        }
        (paths, true)
    }

    fn one(
        &mut self,
        element: &Element,
        (kind, value): (&'static str, Json),
        repetition: usize,
    ) -> Option<String> {
        // Where values repeat, the innermost list before the end has an entry for each.
        let count = element.steps.len();
        let fan = element.steps[..count - 1].iter().rposition(|step| step.is_list);
        let mut at = &mut self.body;
        let mut path = String::new();
        for (index, step) in element.steps[..count - 1].iter().enumerate() {
            path = if path.is_empty() { step.key.clone() } else { format!("{path}.{}", step.key) };
            let repeat = if fan == Some(index) { repetition } else { 0 };
            at = enter(at, step, repeat, &mut path, &mut self.slots)?;
        }
        let last = element.steps.last()?;
        let key = if element.is_choice {
            format!("{}{}", last.key, capital(kind))
        } else {
            last.key.clone()
        };
        path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if !last.is_list {
            at.set(key, value);
            return Some(path);
        }
        if !at.contains(&key) {
            at.set(key.clone(), Vec::new());
        }
        let entries = at.get_mut(&key)?.as_array_mut()?;
        let place = match &last.select {
            Select::At(place) if *place < entries.len() => {
                entries[*place] = value;
                *place
            }
            Select::Slot(_, preset) => {
                entries.push(merged(preset, value));
                entries.len() - 1
            }
            _ => {
                let known = entries.iter().position(|own| *own == value);
                known.unwrap_or_else(|| {
                    entries.push(value);
                    entries.len() - 1
                })
            }
        };
        Some(format!("{path}[{place}]"))
    }
}

/// A value with what its slot has from the beginning; the value's own properties win.
fn merged(preset: &Object<'static>, value: Json) -> Json {
    let Value::Object(own) = value else { return value };
    let mut all = preset.clone();
    for (name, value) in own {
        all.set(name, value);
    }
    all.into()
}

/// The object that a step leads to, made where it is missing.
fn enter<'b>(
    body: &'b mut Object<'static>,
    step: &Step,
    repetition: usize,
    path: &mut String,
    slots: &mut HashMap<String, usize>,
) -> Option<&'b mut Object<'static>> {
    if !step.is_list {
        if !body.contains(&step.key) {
            body.set(step.key.clone(), Object::new());
        }
        return body.get_mut(&step.key)?.as_object_mut();
    }
    if !body.contains(&step.key) {
        body.set(step.key.clone(), Vec::new());
    }
    let entries = body.get_mut(&step.key)?.as_array_mut()?;
    let blank = Object::new();
    let (place, preset) = match &step.select {
        Select::Any => (Some(repetition), &blank),
        Select::At(at) => (Some(at + repetition), &blank),
        Select::Slot(label, preset) => {
            let key = format!("{path}[{label}]{repetition}");
            let known = slots.get(&key).copied();
            if known.is_none() {
                slots.insert(key, entries.len());
            }
            (known, preset)
        }
    };
    let place = place.unwrap_or(entries.len()).min(entries.len());
    if place == entries.len() {
        entries.push(preset.clone().into());
    }
    // Writing to a String cannot fail.
    let _ = write!(path, "[{place}]");
    entries.get_mut(place)?.as_object_mut()
}

/// A type as part of a property's name: `dateTime` is `DateTime`.
fn capital(kind: &str) -> String {
    let mut letters = kind.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Whether a type is one of the definitions.
pub(crate) fn is_type(name: &str, schema: &Schema) -> bool {
    schema.type_named(name).is_some_and(|def: &TypeDef| def.kind == TypeKind::Resource)
}
