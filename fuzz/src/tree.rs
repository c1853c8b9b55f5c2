//! Damage to JSON as a tree: what comes out parses again, and so reaches what lies behind the
//! reader.

use kiln::fhir::json::{Object, Value, parse};

use crate::random::Random;
use crate::target::R4;

/// Values that have been trouble to readers of elements, in JSON.
const VALUES: &[&str] = &[
    "null",
    "true",
    "0",
    "-0",
    "-1",
    "1.50",
    "1e308",
    "-1.0E-308",
    "1e309",
    "2147483648",
    "123456789012345678901234567890.123456789",
    "\"\"",
    "\" \"",
    "\"a\"",
    "\"a b\"",
    "\" a\\t\"",
    "\"\\u0000\"",
    "\"\\uffff\"",
    "\"é\\r\\n\"",
    "\"true\"",
    "\"2024\"",
    "\"2024-02-30\"",
    "\"2016-12-31T23:59:60.5+14:00\"",
    "\"12:00:00\"",
    "\"#\"",
    "\"#d\"",
    "\"Patient/p1\"",
    "\"http://example.org/fhir/Observation/o1/_history/1\"",
    "\"urn:uuid:c757873d-ec9a-4326-a141-556f43239520\"",
    "\"Patient?identifier=a|b\"",
    "\"QUJD\"",
    "\"en-US\"",
    "\"<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\">a&nbsp;<b>c</b></div>\"",
    "[]",
    "{}",
    "[null]",
    "{\"resourceType\":\"Patient\",\"id\":\"d\",\"active\":true}",
    "{\"extension\":[{\"url\":\"u\",\"valueCode\":\"unknown\"}]}",
    "{\"id\":\"x\"}",
];

/// Changes one to six places of the document; `None` when it is not JSON.
pub(crate) fn input(bytes: &[u8], seeds: &[Vec<u8>], random: &mut Random) -> Option<Vec<u8>> {
    let mut document = parse(bytes).ok()?.into_owned();
    for _ in 0..=random.below(6) {
        let mut at = random.below(count(&document));
        let donor = donor(seeds, random);
        visit(&mut document, &mut at, &mut |value| change(value, donor.clone(), random));
    }
    let mut out = Vec::new();
    document.write(&mut out);
    Some(out)
}

/// Some part of some seed, or one of [`VALUES`].
fn donor(seeds: &[Vec<u8>], random: &mut Random) -> Value<'static> {
    let plain = *random.pick::<&str>(VALUES);
    let seed = random.pick(seeds);
    let parsed = if random.below(2) == 0 { parse(plain.as_bytes()) } else { parse(seed) };
    let mut whole = parsed.map_or(Value::Null, Value::into_owned);
    let mut part = Value::Null;
    let mut at = random.below(count(&whole));
    visit(&mut whole, &mut at, &mut |value| part = value.clone());
    part
}

fn change(value: &mut Value<'static>, donor: Value<'static>, random: &mut Random) {
    let choice = random.below(6);
    match value {
        Value::Object(object) if choice > 1 => change_object(object, donor, random),
        Value::Array(items) if choice > 1 => change_items(items, donor, random),
        _ if choice == 0 => *value = Value::Array(vec![std::mem::replace(value, Value::Null)]),
        _ => *value = donor,
    }
}

fn change_object(object: &mut Object<'static>, donor: Value<'static>, random: &mut Random) {
    let names: Vec<String> = object.iter().map(|(name, _)| name.to_owned()).collect();
    let chosen = if names.is_empty() { String::new() } else { random.pick(&names).clone() };
    match random.below(4) {
        0 => drop(object.remove(&chosen)),
        1 => {
            // The sibling of an element, or what it is the sibling of.
            let other = chosen.strip_prefix('_').map_or(format!("_{chosen}"), str::to_owned);
            object.set(other, donor);
        }
        2 => {
            if let Some(moved) = object.remove(&chosen) {
                object.set(element(random), moved);
            }
        }
        _ => object.set(element(random), donor),
    }
}

/// The name of some element of some type.
fn element(random: &mut Random) -> String {
    let fields = &random.pick(R4.schema.types()).fields;
    if fields.is_empty() {
        return "extension".to_owned();
    }
    let types = &random.pick(fields).types;
    random.pick(types).key.to_string()
}

fn change_items(items: &mut Vec<Value<'static>>, donor: Value<'static>, random: &mut Random) {
    let at = random.below(items.len());
    match random.below(4) {
        0 if !items.is_empty() => drop(items.remove(at)),
        1 if !items.is_empty() => items.insert(at, items[at].clone()),
        2 if !items.is_empty() => items[at] = Value::Null,
        _ => items.insert(at, donor),
    }
}

/// The values in the tree, the root included.
fn count(value: &Value<'_>) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(object) => object.iter().map(|(_, value)| count(value)).sum(),
        _ => 0,
    }
}

/// Hands the value at place `at`, counted from the root, to `act`.
fn visit(value: &mut Value<'static>, at: &mut usize, act: &mut dyn FnMut(&mut Value<'static>)) {
    if *at == 0 {
        act(value);
    }
    // Past zero it wraps to a number that no tree reaches.
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) if *at < usize::MAX / 2 => {
            for item in items {
                visit(item, at, act);
            }
        }
        Value::Object(object) if *at < usize::MAX / 2 => {
            object.iter_mut().for_each(|(_, value)| visit(value, at, act));
        }
        _ => {}
    }
}
