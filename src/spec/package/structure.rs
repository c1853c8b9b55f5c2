//! StructureDefinitions in a pack: elements cut down, invariants told once.

use std::collections::HashMap;

use crate::fhir::json::{Object, Value};

use super::shape::{self, keep};

const FHIR_TYPE: &str = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type";
const REGEX: &str = "http://hl7.org/fhir/StructureDefinition/regex";
const LANGUAGES: &str = "http://hl7.org/fhir/StructureDefinition/narrative-language-control";
const MAX_VALUE_SET: &str = "http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet";
const BEST_PRACTICE: &str =
    "http://hl7.org/fhir/StructureDefinition/elementdefinition-bestpractice";
/// Types of FHIRPath's own, which stand for a FHIR type that an extension names.
const SYSTEM_TYPE: &str = "http://hl7.org/fhirpath/System.";

/// Whether the definition makes a type of its own (not a profile, not a logical model).
pub(super) fn is_type(definition: &Value<'_>) -> bool {
    definition.str_at("derivation") != Some("constraint")
        && definition.str_at("kind") != Some("logical")
}

/// The definition's machine facts; invariants stay as they are until [`number_invariants`].
pub(super) fn reduce<'a>(definition: &Object<'a>) -> Object<'a> {
    let mut kept = keep(definition, &shape::STRUCTURE_DEFINITION);
    for form in ["snapshot", "differential"] {
        let elements = definition.get(form).map_or(&[][..], |view| view.items_at("element"));
        if !elements.is_empty() {
            let mut ids = Ids::default();
            let reduced = elements.iter().filter_map(Value::as_object).map(|definition| {
                let mut kept = element(definition);
                ids.complete(&mut kept);
                Value::Object(kept)
            });
            kept.set(form, reduced.collect::<Vec<_>>());
            break;
        }
    }
    kept
}

/// A StructureDefinition as a record of a pack would have it, its invariants written out.
pub(in crate::spec) fn reduced<'a>(definition: &Value<'a>) -> Option<Value<'a>> {
    definition.as_object().map(|definition| Value::Object(reduce(definition)))
}

fn element<'a>(definition: &Object<'a>) -> Object<'a> {
    let mut kept = keep(definition, &shape::ELEMENT);
    // These are false unless stated.
    kept.retain(|name, value| {
        !matches!(name, "isModifier" | "isSummary" | "mustSupport") || value.as_bool() == Some(true)
    });
    let each = |name: &str, reduced: fn(&Object<'a>) -> Object<'a>| -> Vec<Value<'a>> {
        let items = definition.get(name).and_then(Value::as_array).unwrap_or_default();
        items.iter().filter_map(Value::as_object).map(|item| Value::Object(reduced(item))).collect()
    };
    for (name, items) in
        [("type", each("type", element_type)), ("constraint", each("constraint", invariant))]
    {
        if !items.is_empty() {
            kept.set(name, items);
        }
    }
    if let Some(binding) = definition.get("binding").and_then(Value::as_object) {
        let greatest = extension(binding, MAX_VALUE_SET).cloned();
        kept.set("binding", keep(binding, &shape::BINDING).with_some("maxValueSet", greatest));
    }
    kept.with_some("narrativeLanguages", extension(definition, LANGUAGES).cloned())
}

/// Gives elements the ids that they lack: what belongs to a slice is told by its place.
#[derive(Default)]
struct Ids {
    /// Path and id of the elements that the last one is in, and of itself.
    open: Vec<(String, String)>,
}

impl Ids {
    /// Completes the next element. Only ids of slices say more than the path and are kept.
    fn complete(&mut self, element: &mut Object<'_>) {
        let Some(path) = element.get("path").and_then(Value::as_str).map(str::to_owned) else {
            return;
        };
        let parent = path.rsplit_once('.').map(|(parent, _)| parent);
        let is_in =
            |open: &str| path.strip_prefix(open).is_some_and(|below| below.starts_with('.'));
        while self.open.last().is_some_and(|(open, _)| !is_in(open)) {
            self.open.pop();
        }
        let given = element.get("id").and_then(Value::as_str).map(str::to_owned);
        let id = given.unwrap_or_else(|| {
            let within = self.open.last().filter(|(open, _)| Some(&**open) == parent);
            let above = within.map(|(_, id)| id.as_str()).or(parent);
            let name = path.rsplit('.').next().unwrap_or_default();
            let mut id = above.map_or_else(String::new, |above| format!("{above}."));
            id.push_str(name);
            if let Some(slice) = element.get("sliceName").and_then(Value::as_str) {
                id.push(':');
                id.push_str(slice);
            }
            id
        });
        element.remove("id");
        if id != path {
            element.set_first("id", id.clone());
        }
        self.open.push((path, id));
    }
}

fn element_type<'a>(definition: &Object<'a>) -> Object<'a> {
    let mut kept = keep(definition, &shape::ELEMENT_TYPE);
    let code = kept.get("code").and_then(Value::as_str).unwrap_or_default();
    if let Some(system) = code.strip_prefix(SYSTEM_TYPE) {
        // Where the extension is missing (xhtml), the FHIR type has the system type's name.
        let plain = system.get(..1).unwrap_or_default().to_lowercase()
            + system.get(1..).unwrap_or_default();
        let named = extension(definition, FHIR_TYPE).cloned().unwrap_or(Value::from(plain));
        kept.set("code", named);
    }
    kept.with_some("regex", extension(definition, REGEX).cloned())
}

fn invariant<'a>(definition: &Object<'a>) -> Object<'a> {
    let best = extension(definition, BEST_PRACTICE).and_then(Value::as_bool).filter(|&is| is);
    keep(definition, &shape::INVARIANT).with_some("bestPractice", best)
}

/// The value of the extension `url` on this object.
fn extension<'v, 'a>(object: &'v Object<'a>, url: &str) -> Option<&'v Value<'a>> {
    let extensions = object.get("extension")?.as_array()?;
    let found = extensions.iter().find(|extension| extension.str_at("url") == Some(url))?;
    let mut properties = found.as_object()?.iter();
    properties.find(|(name, _)| name.starts_with("value")).map(|(_, value)| value)
}

/// Replaces each invariant by its number in `known`, adding those that are new.
pub(super) fn number_invariants(structure: &mut Object<'_>, known: &mut Invariants) {
    for form in ["snapshot", "differential"] {
        let elements = structure.get_mut(form).and_then(Value::as_array_mut);
        for element in elements.into_iter().flatten().filter_map(Value::as_object_mut) {
            let constraints = element.get_mut("constraint").and_then(Value::as_array_mut);
            for constraint in constraints.into_iter().flatten() {
                *constraint = Value::from(known.number(constraint.to_text()));
            }
        }
    }
}

/// The invariants of a package, each told once, in the order they were met.
#[derive(Default)]
pub(super) struct Invariants {
    numbers: HashMap<String, u64>,
    texts: Vec<String>,
}

impl Invariants {
    fn number(&mut self, text: String) -> u64 {
        let next = self.texts.len() as u64;
        *self.numbers.entry(text).or_insert_with_key(|text| {
            self.texts.push(text.clone());
            next
        })
    }

    /// The invariants as JSON texts; the number is the place.
    pub(super) fn into_texts(self) -> Vec<String> {
        self.texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json;

    fn reduced(element_text: &str) -> String {
        let text = format!(
            r#"{{"url":"u","description":"prose","differential":{{"element":[{element_text}]}}}}"#
        );
        let value = json::parse(text.as_bytes()).expect("json");
        let mut structure = reduce(value.as_object().expect("object"));
        number_invariants(&mut structure, &mut Invariants::default());
        structure.get("differential").expect("kept").to_text()
    }

    #[test]
    fn elements_keep_facts_and_lose_prose() {
        for (element, expected) in [
            (
                r#"{"id":"A.b","path":"A.b","short":"prose","isModifier":false,"isSummary":true,"min":0}"#,
                r#"[{"path":"A.b","min":0,"isSummary":true}]"#,
            ),
            (
                r#"{"id":"A.b:s","path":"A.b","sliceName":"s","fixedCode":"x","patternCoding":{"code":"y"}}"#,
                r#"[{"id":"A.b:s","path":"A.b","sliceName":"s","fixedCode":"x","patternCoding":{"code":"y"}}]"#,
            ),
            (
                r#"{"path":"A.id","type":[{"code":"http://hl7.org/fhirpath/System.String","extension":[{"url":"http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type","valueUrl":"uri"},{"url":"http://hl7.org/fhir/StructureDefinition/regex","valueString":"a+"}]}]}"#,
                r#"[{"path":"A.id","type":[{"code":"uri","regex":"a+"}]}]"#,
            ),
            (
                r#"{"path":"A.id","type":[{"code":"http://hl7.org/fhirpath/System.String"}]}"#,
                r#"[{"path":"A.id","type":[{"code":"string"}]}]"#,
            ),
            (
                r#"{"path":"A","constraint":[{"key":"a-1","severity":"error","human":"words","expression":"true"},{"key":"a-1","severity":"error","human":"words","expression":"true","xpath":"x","requirements":"prose"},{"key":"a-2","severity":"warning","extension":[{"url":"http://hl7.org/fhir/StructureDefinition/elementdefinition-bestpractice","valueBoolean":true}]}]}"#,
                r#"[{"path":"A","constraint":[0,0,1]}]"#,
            ),
            (
                r#"{"path":"A","binding":{"strength":"required","description":"prose","valueSet":"v","extension":[{"url":"http://hl7.org/fhir/StructureDefinition/elementdefinition-maxValueSet","valueCanonical":"m"}]}}"#,
                r#"[{"path":"A","binding":{"strength":"required","valueSet":"v","maxValueSet":"m"}}]"#,
            ),
            (
                r#"{"path":"A","extension":[{"url":"http://hl7.org/fhir/StructureDefinition/narrative-language-control","valueCode":"_no"}]}"#,
                r#"[{"path":"A","narrativeLanguages":"_no"}]"#,
            ),
        ] {
            assert_eq!(reduced(element), expected, "{element}");
        }
    }

    #[test]
    fn what_has_no_id_is_told_by_its_place() {
        let elements = r#"{"path":"A"},{"path":"A.b","sliceName":"s"},{"path":"A.b.c"},
            {"path":"A.b.c.d"},{"path":"A.e"},{"path":"A.b.c"},
            {"id":"A.b:s","path":"A.b","sliceName":"s"},{"path":"A.b.c"}"#;
        let expected = r#"[{"path":"A"},{"id":"A.b:s","path":"A.b","sliceName":"s"},{"id":"A.b:s.c","path":"A.b.c"},{"id":"A.b:s.c.d","path":"A.b.c.d"},{"path":"A.e"},{"path":"A.b.c"},{"id":"A.b:s","path":"A.b","sliceName":"s"},{"id":"A.b:s.c","path":"A.b.c"}]"#;
        assert_eq!(reduced(elements), expected);
    }

    #[test]
    fn a_snapshot_goes_before_the_differential() {
        let text =
            br#"{"snapshot":{"element":[{"path":"A"}]},"differential":{"element":[{"path":"B"}]}}"#;
        let value = json::parse(text).expect("json");
        let structure = Value::Object(reduce(value.as_object().expect("object")));
        assert_eq!(structure.to_text(), r#"{"snapshot":[{"path":"A"}]}"#);
    }
}
