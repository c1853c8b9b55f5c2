//! What a line refers to, and attachments of this server by their addresses.
//!
//! Both are looked for in the text as PostgreSQL writes it, or as it was cut to who asks, without a parse: a
//! quote inside a string is escaped, so a name with its quotes is never part of a value.

use memchr::memmem;

use crate::fhir::reference::Target;
use crate::fhir::{LogicalId, ResourceType};

/// What comes before a reference.
const REFERENCE: &[u8] = b"\"reference\":";
/// What comes before the address of a Binary that is relative.
const BINARY: &[u8] = b"\"url\": \"Binary/";

/// The resources here that a stored body refers to; `base` is the server's public base.
pub(in crate::store) fn references<'b>(
    body: &'b [u8],
    base: &'b str,
) -> impl Iterator<Item = (ResourceType, LogicalId)> + 'b {
    memmem::find_iter(body, REFERENCE).filter_map(move |at| {
        let rest = body[at + REFERENCE.len()..].trim_ascii_start().strip_prefix(b"\"")?;
        let end = memchr::memchr(b'"', rest)?;
        let text = std::str::from_utf8(&rest[..end]).ok()?;
        match Target::parse(text, base) {
            Target::Local { resource_type, id, .. } => Some((resource_type, id)),
            _ => None,
        }
    })
}

/// The line with the addresses of Binary resources made absolute, as who downloads a file is to be able
/// to follow them.
pub(super) fn with_addresses(line: Vec<u8>, base: &str) -> Vec<u8> {
    let mut places = memmem::find_iter(&line, BINARY).peekable();
    if places.peek().is_none() {
        return line;
    }
    let mut out = Vec::with_capacity(line.len() + 64);
    let mut rest = 0;
    for at in places {
        let place = at + BINARY.len() - b"Binary/".len();
        out.extend_from_slice(&line[rest..place]);
        out.extend_from_slice(base.as_bytes());
        out.push(b'/');
        rest = place;
    }
    out.extend_from_slice(&line[rest..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_and_quoted_texts_are_not() {
        let body = br##"{"a": {"reference": "Patient/1"}, "b": "\"reference\": \"Patient/2\"", "c": [{"reference":"http://k/fhir/Location/x/_history/3"}, {"reference": "http://other/Location/y"}, {"reference": "#c"}]}"##;
        let found: Vec<String> =
            references(body, "http://k/fhir").map(|(of, id)| format!("{of}/{id}")).collect();
        assert_eq!(found, ["Patient/1", "Location/x"]);
    }

    #[test]
    fn attachments_of_this_server_get_addresses() {
        for (line, expected) in [
            (r#"{"url": "Binary/1"}"#, r#"{"url": "http://k/fhir/Binary/1"}"#),
            (r#"{"url": "http://x/Binary/1"}"#, r#"{"url": "http://x/Binary/1"}"#),
            (
                r#"[{"url": "Binary/1"},{"url": "Binary/2","v": 1.00}]"#,
                r#"[{"url": "http://k/fhir/Binary/1"},{"url": "http://k/fhir/Binary/2","v": 1.00}]"#,
            ),
            (r#"{"t": "\"url\": \"Binary/1\""}"#, r#"{"t": "\"url\": \"Binary/1\""}"#),
        ] {
            let found = with_addresses(line.as_bytes().to_vec(), "http://k/fhir");
            assert_eq!(String::from_utf8(found).expect("text"), expected);
        }
    }
}
