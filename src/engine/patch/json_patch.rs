//! JSON Patch, RFC 6902, on a resource. Pure.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#patch>, RFC 6902, RFC 6901

use std::borrow::Cow;

use super::bounds::Bounds;
use super::{Fault, MAX_OPERATIONS, check_writable};
use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::json::{Value, number};

/// Applies the operations of `patch` in order.
///
/// # Errors
/// [`Error::Invalid`] for a malformed patch or a path that leads nowhere, with the operation's
/// number; [`Error::Unprocessable`] for a `test` that fails.
pub(super) fn apply(patch: &Value<'_>, target: Value<'_>) -> Result<Value<'static>, Error> {
    let Some(operations) = patch.as_array() else {
        let text = "a JSON Patch is an array of operations";
        return Err(Error::invalid(IssueCode::Invalid, text));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(Error::invalid(IssueCode::Invalid, "the patch has too many operations"));
    }
    let mut document = target.into_owned();
    let mut bounds = Bounds::new();
    let mut emptied = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        step(&mut document, operation, &mut bounds, &mut emptied)
            .map_err(|fault| fault.at(index))?;
    }
    for parents in emptied.iter().rev() {
        drop_empty(&mut document, parents);
    }
    Ok(document)
}

/// Takes out what a removal left empty, and what that leaves empty: FHIR knows no empty arrays and
/// objects. What a patch itself makes empty stays and is refused with the result.
fn drop_empty(document: &mut Value<'static>, path: &[String]) {
    let is_empty = match find(document, path) {
        Ok(Value::Array(items)) => items.is_empty(),
        Ok(Value::Object(object)) => object.is_empty(),
        _ => false,
    };
    if let (true, Some((_, parents))) = (is_empty, path.split_last())
        && remove(document, path).is_ok()
    {
        drop_empty(document, parents);
    }
}

/// Does one operation; `emptied` gets the place that it took something from.
fn step(
    document: &mut Value<'static>,
    operation: &Value<'_>,
    bounds: &mut Bounds,
    emptied: &mut Vec<Vec<String>>,
) -> Result<(), Fault> {
    let text = |name: &str| {
        let found = operation.str_at(name);
        found.ok_or_else(|| Fault::invalid(format!("{name} is missing or no string")))
    };
    let value = || {
        let found = operation.get("value");
        found.ok_or_else(|| Fault::invalid("value is missing"))
    };
    let (name, path) = (text("op")?, pointer(text("path")?)?);
    match name {
        "add" => {
            writable(&path)?;
            bounds.charge(value()?, path.len())?;
            add(document, &path, value()?.clone().into_owned())
        }
        "remove" => {
            writable(&path)?;
            remove(document, &path)?;
            emptied.extend(path.split_last().map(|(_, parents)| parents.to_vec()));
            Ok(())
        }
        "replace" => {
            writable(&path)?;
            bounds.charge(value()?, path.len())?;
            *find(document, &path)? = value()?.clone().into_owned();
            Ok(())
        }
        "move" => {
            let from = pointer(text("from")?)?;
            writable(&path)?;
            writable(&from)?;
            if path.len() > from.len() && path.starts_with(&from) {
                return Err(Fault::invalid("a value cannot be moved into itself"));
            }
            let moved = remove(document, &from)?;
            Bounds::check_depth(&moved, path.len())?;
            emptied.extend(from.split_last().map(|(_, parents)| parents.to_vec()));
            add(document, &path, moved)
        }
        "copy" => {
            let from = pointer(text("from")?)?;
            writable(&path)?;
            let found = find(document, &from)?;
            bounds.charge(found, path.len())?;
            let copied = found.clone();
            add(document, &path, copied)
        }
        "test" => {
            let found = find(document, &path)?;
            if is_equal(found, value()?) {
                return Ok(());
            }
            let text = format!("the test of {} fails", show(&path));
            Err(Fault::TestFailed(text))
        }
        other => Err(Fault::invalid(format!("{other:?} is no operation of JSON Patch"))),
    }
}

/// The steps of a JSON Pointer (RFC 6901).
fn pointer(text: &str) -> Result<Vec<String>, Fault> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = text.strip_prefix('/') else {
        return Err(Fault::invalid(format!("{text:?} is no JSON Pointer: it starts with '/'")));
    };
    rest.split('/').map(unescape).collect()
}

fn unescape(token: &str) -> Result<String, Fault> {
    let mut out = String::with_capacity(token.len());
    let mut characters = token.chars();
    while let Some(character) = characters.next() {
        match (character, if character == '~' { characters.next() } else { None }) {
            ('~', Some('0')) => out.push('~'),
            ('~', Some('1')) => out.push('/'),
            ('~', _) => return Err(Fault::invalid(format!("{token:?} has a bad escape"))),
            (other, _) => out.push(other),
        }
    }
    Ok(out)
}

/// A path for an outcome: what a client sent may be no text.
fn show(path: &[String]) -> String {
    let text = path.iter().fold(String::new(), |text, step| text + "/" + step);
    text.escape_debug().to_string()
}

/// Refuses the whole document and what the server owns; `meta` as a whole holds such things.
fn writable(path: &[String]) -> Result<(), Fault> {
    if path.is_empty() {
        return Err(Fault::invalid("the whole resource cannot be patched: use an update"));
    }
    check_writable(&path.iter().map(String::as_str))
}

fn find<'d>(
    document: &'d mut Value<'static>,
    path: &[String],
) -> Result<&'d mut Value<'static>, Fault> {
    let mut at = document;
    for step in path {
        let next = match at {
            Value::Array(items) => {
                let index = index_of(step, items.len())?;
                items.get_mut(index)
            }
            Value::Object(object) => object.get_mut(step),
            _ => None,
        };
        at = next.ok_or_else(|| Fault::invalid(format!("there is no {}", show(path))))?;
    }
    Ok(at)
}

/// The place `text` in an array of `len` items; without leading zeros.
fn index_of(text: &str, len: usize) -> Result<usize, Fault> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let has_zero = text.len() > 1 && text.starts_with('0');
    let index = text.parse().ok().filter(|index: &usize| is_plain && !has_zero && *index <= len);
    index.ok_or_else(|| Fault::invalid(format!("{text:?} is no place in an array of {len}")))
}

fn add(document: &mut Value<'static>, path: &[String], value: Value<'static>) -> Result<(), Fault> {
    let Some((last, parents)) = path.split_last() else {
        return Err(Fault::invalid("the whole resource cannot be patched"));
    };
    match find(document, parents)? {
        Value::Array(items) => {
            let index = if last == "-" { items.len() } else { index_of(last, items.len())? };
            items.insert(index, value);
            Ok(())
        }
        Value::Object(object) => {
            object.set(Cow::Owned(last.clone()), value);
            Ok(())
        }
        _ => Err(Fault::invalid(format!("{} can hold nothing", show(parents)))),
    }
}

/// Takes a value out.
fn remove(document: &mut Value<'static>, path: &[String]) -> Result<Value<'static>, Fault> {
    let Some((last, parents)) = path.split_last() else {
        return Err(Fault::invalid("the whole resource cannot be patched"));
    };
    let missing = || Fault::invalid(format!("there is no {}", show(path)));
    match find(document, parents)? {
        Value::Array(items) => {
            let index = index_of(last, items.len())?;
            if index == items.len() {
                return Err(missing());
            }
            Ok(items.remove(index))
        }
        Value::Object(object) => object.remove(last).ok_or_else(missing),
        _ => Err(missing()),
    }
}

/// Equal as RFC 6902 says: numbers by value, objects in any order.
fn is_equal(one: &Value<'_>, other: &Value<'_>) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => canonical(one) == canonical(other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_equal(a, b))
        }
        (Value::Object(one), Value::Object(other)) => one.pairs(other, is_equal),
        _ => one == other,
    }
}

/// The number without what does not change its value.
fn canonical(digits: &str) -> String {
    let plain = number::plain(digits);
    match plain.split_once('.') {
        Some((whole, fraction)) => {
            let fraction = fraction.trim_end_matches('0');
            if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
        }
        None => plain.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    fn patched(patch: &str) -> Result<String, String> {
        let target = r#"{"resourceType":"Patient","id":"p","active":true,"v":1.50,
            "name":[{"given":["a","b"]}]}"#;
        let patch = parse(patch.as_bytes()).expect("JSON");
        let target = parse(target.as_bytes()).expect("JSON");
        apply(&patch, target).map(|done| done.to_text()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_operation_does_what_rfc_6902_says() {
        let head = r#"{"resourceType":"Patient","id":"p","#;
        for (patch, rest) in [
            ("[]", r#""active":true,"v":1.50,"name":[{"given":["a","b"]}]}"#),
            (
                r#"[{"op":"add","path":"/name/0/given/-","value":"c"}]"#,
                r#""active":true,"v":1.50,"name":[{"given":["a","b","c"]}]}"#,
            ),
            (
                r#"[{"op":"add","path":"/name/0/given/0","value":"c"}]"#,
                r#""active":true,"v":1.50,"name":[{"given":["c","a","b"]}]}"#,
            ),
            (
                r#"[{"op":"remove","path":"/name/0/given/0"}]"#,
                r#""active":true,"v":1.50,"name":[{"given":["b"]}]}"#,
            ),
            (
                r#"[{"op":"remove","path":"/name/0/given/0"},{"op":"remove","path":"/name/0/given/0"}]"#,
                r#""active":true,"v":1.50}"#,
            ),
            (
                r#"[{"op":"replace","path":"/active","value":false}]"#,
                r#""active":false,"v":1.50,"name":[{"given":["a","b"]}]}"#,
            ),
            (
                r#"[{"op":"move","from":"/name/0/given/1","path":"/name/0/given/0"}]"#,
                r#""active":true,"v":1.50,"name":[{"given":["b","a"]}]}"#,
            ),
            (
                r#"[{"op":"copy","from":"/active","path":"/a~1b~0c"}]"#,
                r#""active":true,"v":1.50,"name":[{"given":["a","b"]}],"a/b~c":true}"#,
            ),
            (
                r#"[{"op":"test","path":"/v","value":1.5}]"#,
                r#""active":true,"v":1.50,"name":[{"given":["a","b"]}]}"#,
            ),
        ] {
            assert_eq!(patched(patch), Ok(format!("{head}{rest}")), "{patch}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_named_with_its_operation() {
        for (patch, fault) in [
            ("{}", "a JSON Patch is an array"),
            ("null", "a JSON Patch is an array"),
            ("[1]", "operation 0: op is missing"),
            (r#"[{"op":"add","path":"/active"}]"#, "value is missing"),
            (r#"[{"op":"spin","path":"/active"}]"#, "is no operation"),
            (r#"[{"op":"remove","path":"/nope"}]"#, "there is no /nope"),
            (r#"[{"op":"remove","path":"/name/2"}]"#, "no place in an array of 1"),
            (r#"[{"op":"add","path":"/name/01","value":1}]"#, "no place in an array"),
            (r#"[{"op":"replace","path":"","value":{}}]"#, "the whole resource"),
            (r#"[{"op":"replace","path":"/id","value":"x"}]"#, "id cannot be patched"),
            (r#"[{"op":"add","path":"/meta/versionId","value":"9"}]"#, "cannot be patched"),
            (r#"[{"op":"add","path":"a","value":1}]"#, "is no JSON Pointer"),
            (r#"[{"op":"add","path":"/a~2","value":1}]"#, "bad escape"),
            (r#"[{"op":"move","from":"/name","path":"/name/0"}]"#, "into itself"),
            (r#"[{"op":"test","path":"/active","value":false}]"#, "the test of /active fails"),
        ] {
            let error = patched(patch).expect_err(patch);
            assert!(error.contains(fault), "{patch}: {error}");
        }
    }
}
