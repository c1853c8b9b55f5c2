//! Published examples, whole and spoilt, as the schema and Kiln judge them.

mod near_misses;

use std::collections::BTreeMap;

use kiln::fhir::json::parse;
use kiln::spec::Spec;
use kiln::validate::form::{Verdict, check};
use serde_json::{Map, Value, json};

use super::JsonSchema;
use crate::published;

fn schema() -> Option<JsonSchema> {
    let archive = published::file("packages/fhir.schema.json.zip")?;
    let text = published::first_of_zip(&archive).expect("a ZIP archive of one file");
    Some(JsonSchema::new(&text).expect("a JSON Schema"))
}

/// Numbers from a linear congruential generator: the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

/// All places of a document, as JSON pointers, without those inside a narrative's `div`.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Array(items) => {
            items.iter().enumerate().map(|(n, item)| (n.to_string(), item)).collect()
        }
        Value::Object(object) => object.iter().map(|(name, v)| (name.clone(), v)).collect(),
        _ => Vec::new(),
    };
    for (step, inner) in inner {
        let place = format!("{at}/{step}");
        places(inner, &place, found);
        found.push(place);
    }
}

/// What the value could wrongly be.
fn spoilt(value: &Value, random: &mut Random) -> Value {
    let others = [
        json!(null),
        json!(""),
        json!(" "),
        json!("not what it should be "),
        json!(-7.5),
        json!(true),
        json!([]),
        json!({}),
        json!([value]),
        json!({ "value": value }),
        json!({ "unheardOf": 1 }),
    ];
    others[random.below(others.len())].clone()
}

/// The document with one fault put in; says where.
fn mutate(document: &Value, random: &mut Random) -> (Value, String) {
    let mut found = Vec::new();
    places(document, "", &mut found);
    let place = found[random.below(found.len())].clone();
    let mut mutant = document.clone();
    let (parent, step) = place.rsplit_once('/').expect("a place has a parent");
    let step = step.replace("~1", "/").replace("~0", "~");
    match (random.below(4), mutant.pointer_mut(parent)) {
        (0, Some(Value::Object(object))) => {
            let renamed: Map<String, Value> = std::mem::take(object)
                .into_iter()
                .map(|(name, v)| if name == step { (format!("x{name}"), v) } else { (name, v) })
                .collect();
            *object = renamed;
        }
        (1, Some(Value::Object(object))) => {
            object.insert("unheardOf".to_owned(), json!("x"));
        }
        _ => {
            if let Some(value) = mutant.pointer_mut(&place) {
                *value = spoilt(value, random);
            }
        }
    }
    (mutant, place)
}

fn is_sound(document: &str, spec: &Spec) -> bool {
    let Ok(value) = parse(document.as_bytes()) else { return false };
    matches!(check(&value, &spec.schema), Verdict::Sound)
}

#[test]
fn what_the_json_schema_refuses_kiln_refuses() {
    let (Some(mut schema), Some(files)) = (schema(), published::examples()) else { return };
    let spec = Spec::r4().expect("the embedded pack");
    let mut missed = BTreeMap::new();
    let mut both_accept = 0;
    let step = if published::is_long() { 1 } else { 4 };
    for (name, bytes) in files.iter().step_by(step) {
        let document: Value = serde_json::from_slice(bytes).expect("JSON");
        match (schema.fault(&document), is_sound(&document.to_string(), &spec)) {
            (None, true) => both_accept += 1,
            (Some(fault), true) => drop(missed.insert(name, fault)),
            (_, false) => {}
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    // One that refuses everything refuses what the schema refuses.
    assert!(both_accept * step > 2_500, "only {both_accept} are accepted by both");
}

#[test]
fn what_the_json_schema_refuses_of_spoilt_examples_kiln_refuses() {
    let (Some(mut schema), Some(files)) = (schema(), published::examples()) else { return };
    let spec = Spec::r4().expect("the embedded pack");
    let mut random = Random(7);
    let mut missed = Vec::new();
    let mut refused = 0;
    let small = files.iter().filter(|(_, bytes)| bytes.len() < 20_000);
    for (name, bytes) in small.step_by(11) {
        let document: Value = serde_json::from_slice(bytes).expect("JSON");
        for _ in 0..25 {
            let (mutant, place) = mutate(&document, &mut random);
            if schema.fault(&mutant).is_none() {
                continue;
            }
            refused += 1;
            if is_sound(&mutant.to_string(), &spec) {
                missed.push(format!("{name}{place}: {:?}", mutant.pointer(&place)));
            }
        }
    }
    assert!(refused > 2_000, "the schema refused only {refused}: the mutations have no bite");
    assert!(missed.is_empty(), "{} of {refused}: {missed:#?}", missed.len());
}
