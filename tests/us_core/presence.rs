//! Whether a resource has what a profile wants to be supported.

use serde_json::Value;

use super::profile::{Expected, Rule, Segment, Slice, Want, What};

/// The values at a wanted element of `resource`.
pub(super) fn values<'v>(want: &Want, resource: &'v Value) -> Vec<&'v Value> {
    let mut at = vec![resource];
    for (number, segment) in want.path.iter().enumerate() {
        let next = want.path.get(number + 1);
        let is_extended = next.is_some_and(|next| next.name == "extension");
        let of_type = match &want.what {
            What::Type(code) if next.is_none() => Some(code.as_str()),
            _ => None,
        };
        at = at.into_iter().flat_map(|node| below(node, segment, is_extended, of_type)).collect();
    }
    at
}

/// One step down. What extends a primitive is beside it.
fn below<'v>(
    node: &'v Value,
    segment: &Segment,
    is_extended: bool,
    of_type: Option<&str>,
) -> Vec<&'v Value> {
    let Some(object) = node.as_object() else { return Vec::new() };
    let name = segment.name.as_str();
    let mut found = Vec::new();
    for (property, value) in object {
        let fits = match (segment.is_choice, is_extended) {
            (true, _) => is_choice(property, name, segment.slice.as_ref(), of_type),
            (false, true) => property.strip_prefix('_').unwrap_or(property) == name,
            (false, false) => property == name,
        };
        match value {
            _ if !fits => {}
            Value::Array(items) => found.extend(items.iter().filter(|it| !it.is_null())),
            value => found.push(value),
        }
    }
    found.retain(|item| match &segment.slice {
        Some(Slice::Extension(url)) => item["url"] == url.as_str(),
        Some(Slice::Rules(rules)) => rules.iter().all(|rule| keeps(item, rule)),
        Some(Slice::Type(_)) | None => true,
    });
    found
}

fn is_choice(property: &str, name: &str, slice: Option<&Slice>, of_type: Option<&str>) -> bool {
    let Some(rest) = property.strip_prefix(name) else { return false };
    if !rest.starts_with(|letter: char| letter.is_ascii_uppercase()) {
        return false;
    }
    let is_slice = match slice {
        Some(Slice::Type(wanted)) => property == wanted,
        _ => true,
    };
    is_slice && of_type.is_none_or(|code| rest.eq_ignore_ascii_case(code))
}

fn keeps(item: &Value, rule: &Rule) -> bool {
    let mut at = vec![item];
    for name in &rule.path {
        at = at
            .into_iter()
            .filter_map(|node| node.get(name))
            .flat_map(|value| {
                value.as_array().map_or_else(|| vec![value], |all| all.iter().collect())
            })
            .collect();
    }
    at.into_iter().any(|value| match &rule.expected {
        Expected::Fixed(fixed) => value == fixed,
        Expected::Pattern(pattern) => has_pattern(value, pattern),
        Expected::Codes(codes) => {
            let codings = value["coding"].as_array().into_iter().flatten();
            codings.into_iter().any(|coding| {
                let text = |name: &str| coding[name].as_str().unwrap_or_default().to_owned();
                codes.contains(&(text("system"), text("code")))
            })
        }
    })
}

fn has_pattern(value: &Value, pattern: &Value) -> bool {
    match (value, pattern) {
        (Value::Object(value), Value::Object(pattern)) => pattern
            .iter()
            .all(|(name, pattern)| value.get(name).is_some_and(|it| has_pattern(it, pattern))),
        (Value::Array(items), Value::Array(pattern)) => {
            pattern.iter().all(|pattern| items.iter().any(|it| has_pattern(it, pattern)))
        }
        _ => value == pattern,
    }
}
