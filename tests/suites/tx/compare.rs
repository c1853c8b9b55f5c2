//! Whether an answer is what a case of the terminology ecosystem's suite expects.
//!
//! The suite's own marks: `$optional$`, `$optional-properties$`, `$count-arrays$`, and patterns in
//! texts. Lists are compared without their order. What is about the form of R5 is first brought
//! into that of R4: properties of an expansion are extensions there.

use kiln::fhir::json::{Object, Value};

const OF_CONTAINS: &str =
    "http://hl7.org/fhir/5.0/StructureDefinition/extension-ValueSet.expansion.contains.property";
const OF_EXPANSION: &str =
    "http://hl7.org/fhir/5.0/StructureDefinition/extension-ValueSet.expansion.property";

/// Properties that say again what another one says: `location` is the XPath of `expression`, which R4
/// has deprecated.
const AGAIN: [&str; 1] = ["location"];

/// What is wrong with `found`.
pub(super) fn compare(expected: &Value<'_>, found: &Value<'_>, place: &str) -> Result<(), String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => objects(expected, found, place),
        (Value::Array(expected), Value::Array(found)) => lists(expected, found, place),
        (Value::String(expected), Value::String(found)) if fits(expected, found) => Ok(()),
        _ if expected == found => Ok(()),
        _ => Err(format!("{place}: {} is not {}", found.to_text(), expected.to_text())),
    }
}

fn objects(expected: &Object<'_>, found: &Object<'_>, place: &str) -> Result<(), String> {
    let names = |mark: &str| -> Vec<&str> {
        let list = expected.get(mark).and_then(Value::as_array).unwrap_or(&[]);
        list.iter().filter_map(Value::as_str).collect()
    };
    let (optional, counted) = (names("$optional-properties$"), names("$count-arrays$"));
    let is_passed_over = |name: &str| name.starts_with('$') || AGAIN.contains(&name);
    for (name, wanted) in expected.iter().filter(|(name, _)| !is_passed_over(name)) {
        let place = format!("{place}.{name}");
        match found.get(name) {
            Some(value) if counted.contains(&name) => {
                let count = |value: &Value<'_>| value.as_array().map(<[_]>::len);
                if count(wanted) != count(value) {
                    return Err(format!("{place}: {:?} items", count(value)));
                }
            }
            Some(value) => compare(wanted, value, &place)?,
            None if optional.contains(&name) || is_optional(wanted) => {}
            None => return Err(format!("{place} is missing")),
        }
    }
    // What may be missing may be there, too.
    let is_told = |name: &str| expected.get(name).is_some() || optional.contains(&name);
    match found.iter().find(|(name, _)| !is_passed_over(name) && !is_told(name)) {
        Some((name, value)) => Err(format!("{place}.{name} is too much: {}", value.to_text())),
        None => Ok(()),
    }
}

fn lists(expected: &[Value<'_>], found: &[Value<'_>], place: &str) -> Result<(), String> {
    let mut left: Vec<&Value<'_>> = found.iter().collect();
    for (at, wanted) in expected.iter().enumerate() {
        let place = format!("{place}[{at}]");
        let faults: Vec<_> = left.iter().map(|it| compare(wanted, it, &place)).collect();
        match faults.iter().position(Result::is_ok) {
            Some(at) => drop(left.remove(at)),
            None if is_optional(wanted) => {}
            None => {
                let nearest = faults.into_iter().filter_map(Result::err).max_by_key(String::len);
                let text = nearest.unwrap_or_else(|| "there is none".to_owned());
                return Err(format!("{place}: no {}: {text}", wanted.to_text()));
            }
        }
    }
    match left.first() {
        Some(more) => Err(format!("{place}: too much: {}", more.to_text())),
        None => Ok(()),
    }
}

/// Whether the suite says that this may be missing from an answer of R4.
fn is_optional(value: &Value<'_>) -> bool {
    let of_parts = |items: &[Value<'_>]| !items.is_empty() && items.iter().all(is_optional);
    match value {
        Value::Array(items) => of_parts(items),
        _ => match value.get("$optional$") {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(mark)) => {
                matches!(&**mark, "!tx.fhir.org" | "version:4" | "warning:version")
            }
            _ => false,
        },
    }
}

/// Whether a text is what a pattern describes.
fn fits(pattern: &str, text: &str) -> bool {
    let Some(inner) = pattern.strip_prefix('$').and_then(|rest| rest.strip_suffix('$')) else {
        return match pattern.strip_suffix("$version$") {
            Some(start) => text.starts_with(start) && text.len() > start.len(),
            None => pattern == text,
        };
    };
    match inner.split_once(':') {
        Some(("choice", choices)) => choices.split('|').any(|it| it == text),
        Some(("fragments", parts)) => parts.split('|').all(|it| text.contains(it)),
        Some(("external", rest)) => {
            rest.split_once(':').is_none_or(|(_, part)| text.contains(part))
        }
        _ => !text.is_empty(),
    }
}

/// The same in R4's form.
pub(super) fn in_r4(value: &Value<'_>) -> Value<'static> {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(in_r4).collect()),
        Value::Object(object) => {
            let mut changed = Object::new();
            for (name, inner) in object.iter() {
                changed.set(name.to_owned(), in_r4(inner));
            }
            let is_expansion = changed.contains("total")
                || changed.contains("contains") && !changed.contains("code");
            if let Some(properties) = changed.get("property").and_then(Value::as_array) {
                let is_listed = properties.iter().all(|it| it.get("code").is_some());
                let is_concept = changed.contains("definition") || changed.contains("concept");
                if is_listed && !is_concept && (is_expansion || changed.contains("system")) {
                    let url = if is_expansion { OF_EXPANSION } else { OF_CONTAINS };
                    let mut all: Vec<Value<'static>> =
                        properties.iter().map(|it| extension(url, it)).collect();
                    changed.remove("property");
                    if let Some(known) = changed.get("extension").and_then(Value::as_array) {
                        all.extend(known.iter().cloned());
                    }
                    changed.set("extension", all);
                }
            }
            Value::Object(changed)
        }
        other => other.clone().into_owned(),
    }
}

/// A property as an extension.
fn extension(url: &'static str, property: &Value<'static>) -> Value<'static> {
    let mut parts = Vec::new();
    let mut whole = Object::new();
    for (name, value) in property.as_object().unwrap().iter() {
        match name {
            "$optional$" => whole.set("$optional$", value.clone()),
            "code" => parts
                .push(Object::new().with("url", "code").with("valueCode", value.clone()).into()),
            "uri" => {
                parts.push(Object::new().with("url", "uri").with("valueUri", value.clone()).into());
            }
            name => {
                let mut part = Object::new().with("url", "value");
                part.set(name.to_owned(), value.clone());
                parts.push(part.into());
            }
        }
    }
    whole.set("url", url);
    whole.set("extension", parts);
    whole.into()
}
