//! JSON text from a [`Value`]: compact for the wire, indented for people.

use super::Value;

pub(super) fn compact(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                compact(item, out);
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            for (at, (name, value)) in object.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                string(name, out);
                out.push(b':');
                compact(value, out);
            }
            out.push(b'}');
        }
        scalar => self::scalar(scalar, out),
    }
}

pub(super) fn pretty(value: &Value<'_>, out: &mut Vec<u8>) {
    indented(value, 0, out);
    out.push(b'\n');
}

fn indented(value: &Value<'_>, depth: usize, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                new_line(at, depth + 1, out);
                indented(item, depth + 1, out);
            }
            new_line(0, depth, out);
            out.push(b']');
        }
        Value::Object(object) if !object.is_empty() => {
            out.push(b'{');
            for (at, (name, value)) in object.iter().enumerate() {
                new_line(at, depth + 1, out);
                string(name, out);
                out.extend_from_slice(b": ");
                indented(value, depth + 1, out);
            }
            new_line(0, depth, out);
            out.push(b'}');
        }
        other => compact(other, out),
    }
}

/// Starts the line of item `at`, with the comma that ends the one before.
fn new_line(at: usize, depth: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
    out.push(b'\n');
    out.resize(out.len() + 2 * depth, b' ');
}

fn scalar(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(digits) => out.extend_from_slice(digits.as_bytes()),
        Value::String(text) => string(text, out),
        Value::Array(_) | Value::Null | Value::Object(_) => out.extend_from_slice(b"null"),
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::parse;

    #[test]
    fn what_was_parsed_is_written_again_digit_for_digit() {
        for text in [
            r#"{"a":[1.00,-0.0,1.0E+2,123456789012345678901234567890.50],"b":{"c":null}}"#,
            r#"["\"\\\n\r\t\u0001é😀",true,false,{},[]]"#,
        ] {
            let value = parse(text.as_bytes()).expect(text);
            assert_eq!(value.to_text(), text);
        }
    }

    #[test]
    fn pretty_text_has_two_spaces_a_level_and_parses_to_the_same_value() {
        let text = r#"{"a":[1,{"b":[]}],"c":{}}"#;
        let value = parse(text.as_bytes()).expect(text);
        let mut out = Vec::new();
        value.write_pretty(&mut out);
        let expected =
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}\n";
        assert_eq!(String::from_utf8(out.clone()).expect("UTF-8"), expected);
        assert_eq!(parse(&out).expect("parses"), value);
    }
}
