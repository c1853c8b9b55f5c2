//! Looking into JSON documents: paths, patterns and subset comparison.

use kiln::fhir::json::Value;

/// What lies at `path`: names and indexes such as `entry[0].resource.id`; `[last]`, and
/// `parameter[name=return]` for the first item with that text. `.` is the whole.
pub(crate) fn at<'v, 'a>(value: &'v Value<'a>, path: &str) -> Option<&'v Value<'a>> {
    let mut here = value;
    for step in steps(path) {
        here = match step.strip_prefix('[') {
            Some(index) => item(here, index.trim_end_matches(']'))?,
            None => here.get(step)?,
        };
    }
    Some(here)
}

fn steps(path: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let end = match rest.as_bytes()[0] {
            b'.' => {
                rest = &rest[1..];
                continue;
            }
            b'[' => rest.find(']').map_or(rest.len(), |at| at + 1),
            _ => rest.find(['.', '[']).unwrap_or(rest.len()),
        };
        found.push(&rest[..end]);
        rest = &rest[end..];
    }
    found
}

fn item<'v, 'a>(array: &'v Value<'a>, index: &str) -> Option<&'v Value<'a>> {
    let items = array.as_array()?;
    if index == "last" {
        return items.last();
    }
    match index.split_once('=') {
        Some((name, text)) => items.iter().find(|item| item.str_at(name) == Some(text)),
        None => items.get(index.parse::<usize>().ok()?),
    }
}

/// Whether `text` has the form of `pattern`: `*` any run, `#` digits, `|` alternatives.
pub(crate) fn has_form(text: &str, pattern: &str) -> bool {
    pattern.split('|').any(|pattern| matches(text.as_bytes(), pattern.as_bytes()))
}

fn matches(text: &[u8], pattern: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => (0..=text.len()).any(|at| matches(&text[at..], rest)),
        [b'#', rest @ ..] => {
            let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (1..=digits).any(|at| matches(&text[at..], rest))
        }
        [first, rest @ ..] => text.first() == Some(first) && matches(&text[1..], rest),
    }
}

/// Where `actual` differs from what `expected` asks for: objects may have more properties, arrays
/// not more items, a text `~pattern` is compared by [`has_form`], and an object with the one
/// property `$contains` asks an array for items in any order.
pub(crate) fn difference(actual: &Value<'_>, expected: &Value<'_>, path: &str) -> Option<String> {
    let differs = || {
        let (actual, expected) = (actual.to_text(), expected.to_text());
        let short: String = actual.chars().take(400).collect();
        Some(format!("{path}: expected {expected}, got {short}"))
    };
    match (actual, expected) {
        (Value::Array(items), Value::Object(_)) if expected.get("$contains").is_some() => {
            let wanted = expected.items_at("$contains").iter();
            let mut missing = wanted
                .filter(|want| !items.iter().any(|item| difference(item, want, "").is_none()));
            missing.next().map(|want| format!("{path}: no item like {}", want.to_text()))
        }
        (Value::Array(items), Value::Array(wanted)) => {
            if items.len() != wanted.len() {
                return differs();
            }
            let pairs = items.iter().zip(wanted).enumerate();
            pairs
                .into_iter()
                .find_map(|(at, (item, want))| difference(item, want, &format!("{path}[{at}]")))
        }
        (Value::Object(_), Value::Object(wanted)) => wanted.iter().find_map(|(name, want)| {
            let path = format!("{path}.{name}");
            match actual.get(name) {
                Some(found) => difference(found, want, &path),
                None => Some(format!("{path}: missing")),
            }
        }),
        (Value::String(text), Value::String(want)) => {
            let fits = match want.strip_prefix('~') {
                Some(pattern) => has_form(text, pattern),
                None => text == want,
            };
            if fits { None } else { differs() }
        }
        _ if actual == expected => None,
        _ => differs(),
    }
}

/// Whether two documents say the same, whatever the order of properties. Numbers are compared digit
/// for digit, an exponent written out.
pub(crate) fn same(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        (Value::Number(a), Value::Number(b)) => a == b || written_out(a) == written_out(b),
        _ => left == right,
    }
}

/// Sign, digits without leading zeros, and how many of them are decimals.
fn written_out(number: &str) -> (bool, String, i64) {
    let (sign, rest) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{decimals}");
    let mut scale = decimals.len() as i64 - exponent.parse::<i64>().unwrap();
    while scale < 0 {
        digits.push('0');
        scale += 1;
    }
    (sign, digits.trim_start_matches('0').to_owned(), scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln::fhir::json::parse;

    #[test]
    fn paths_lead_to_values() {
        let document = br#"{"a":[{"b":1},{"n":"x","b":2}],"c":{"d":true}}"#;
        let document = parse(document).unwrap();
        for (path, expected) in [
            ("a[0].b", Some("1")),
            ("a[last].b", Some("2")),
            ("a[n=x].b", Some("2")),
            ("c.d", Some("true")),
            ("a[2]", None),
            ("c.e", None),
        ] {
            assert_eq!(at(&document, path).map(Value::to_text).as_deref(), expected, "{path}");
        }
        assert_eq!(at(&document, "."), Some(&document));
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (text, pattern, fits) in [
            ("W/\"12\"", "W/\"#\"", true),
            ("W/\"x\"", "W/\"#\"", false),
            ("201 Created", "201*", true),
            ("abc", "a|abc", true),
            ("abcd", "abc", false),
        ] {
            assert_eq!(has_form(text, pattern), fits, "{text} {pattern}");
        }
    }

    #[test]
    fn numbers_are_the_same_digit_for_digit() {
        for (left, right, expected) in [
            ("1.0", "1.0", true),
            ("1.0", "1.00", false),
            ("1.0", "1", false),
            ("1E+2", "100", true),
            ("1.10e-3", "0.00110", true),
            ("1.10e-3", "0.0011", false),
            ("-1", "1", false),
        ] {
            let (a, b) = (parse(left.as_bytes()).unwrap(), parse(right.as_bytes()).unwrap());
            assert_eq!(same(&a, &b), expected, "{left} {right}");
        }
    }

    #[test]
    fn differences_are_found_where_they_are() {
        for (actual, expected, differs) in [
            (r#"{"a":1,"b":2}"#, r#"{"a":1}"#, false),
            (r#"{"a":1.0}"#, r#"{"a":1.00}"#, true),
            (r#"{"a":[1,2]}"#, r#"{"a":[1]}"#, true),
            (r#"{"a":[1,2]}"#, r#"{"a":{"$contains":[2]}}"#, false),
            (r#"{"a":[1,2]}"#, r#"{"a":{"$contains":[3]}}"#, true),
            (r#"{"a":"x1"}"#, r#"{"a":"~x#"}"#, false),
            (r#"{"a":"x1"}"#, r#"{"b":"x"}"#, true),
        ] {
            let (a, e) = (parse(actual.as_bytes()).unwrap(), parse(expected.as_bytes()).unwrap());
            assert_eq!(difference(&a, &e, "").is_some(), differs, "{actual} {expected}");
        }
    }
}
