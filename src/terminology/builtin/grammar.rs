//! Codes that a grammar makes: media types and language tags.
//!
//! Spec: BCP 13 (RFC 6838 section 4.2, RFC 2045 section 5.1), BCP 47 (RFC 5646 section 2.1)

/// The kinds of media that are registered.
const KINDS: [&str; 11] = [
    "application",
    "audio",
    "example",
    "font",
    "haptics",
    "image",
    "message",
    "model",
    "multipart",
    "text",
    "video",
];
/// The names that FHIR has for its own formats, which stand wherever a media type does.
///
/// <https://hl7.org/fhir/R4/capabilitystatement-definitions.html#CapabilityStatement.format>
const FORMATS: [&str; 3] = ["json", "ttl", "xml"];
/// Longest name of a media type.
const MAX_NAME: usize = 127;

/// Whether the text is a media type, perhaps with parameters.
pub(super) fn is_media_type(text: &str) -> bool {
    if FORMATS.contains(&text) {
        return true;
    }
    let mut parts = text.split(';');
    let Some((kind, name)) = parts.next().and_then(|it| it.trim_end().split_once('/')) else {
        return false;
    };
    let is_kind = KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind))
        || kind.strip_prefix("x-").is_some_and(is_name);
    is_kind && is_name(name) && parts.all(is_parameter)
}

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
    text.len() <= MAX_NAME
        && text.bytes().all(allowed)
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

fn is_parameter(text: &str) -> bool {
    let Some((name, value)) = text.trim().split_once('=') else { return false };
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let is_value = match quoted {
        Some(text) => !text.contains('"') && !text.contains(char::is_control),
        // HL7's own examples have spaces and URLs here, without quotes.
        None => {
            !value.is_empty() && !value.contains(['"', ',']) && !value.contains(char::is_control)
        }
    };
    !name.is_empty() && name.bytes().all(is_token) && is_value
}

fn is_token(b: u8) -> bool {
    b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b)
}

/// Whether the text is a well-formed language tag.
pub(super) fn is_language(text: &str) -> bool {
    let mut subtags = text.split('-');
    let first = subtags.next().unwrap_or_default();
    let is_alphabetic = first.bytes().all(|b| b.is_ascii_alphabetic());
    let is_private = first.eq_ignore_ascii_case("x") || first.eq_ignore_ascii_case("i");
    if !is_alphabetic || !(matches!(first.len(), 2 | 3 | 5..=8) || is_private) {
        return false;
    }
    // A single letter opens something that must follow; behind an x anything may.
    let (mut is_open, mut is_free) = (is_private, is_private);
    for subtag in subtags {
        let is_short = subtag.len() == 1 && !is_free;
        let is_plain = subtag.bytes().all(|b| b.is_ascii_alphanumeric());
        if !is_plain || !(1..=8).contains(&subtag.len()) || (is_short && is_open) {
            return false;
        }
        is_open = is_short;
        is_free |= is_short && subtag.eq_ignore_ascii_case("x");
    }
    !is_open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_told_from_other_texts() {
        for (text, expected) in [
            ("text/plain", true),
            ("Text/Plain;charset=utf-8", true),
            ("image/svg+xml", true),
            ("application/vnd.ms-excel; a=\"b c\"; d=e", true),
            ("x-world/x-vrml", true),
            ("json", true),
            ("application/dicom; variant=DICOM WADO-RS", true),
            ("application/fhir+json;canonicalization=http://a/b", true),
            ("text/plain; a=\"b", false),
            ("text/plain; a=b,text/html", false),
            ("", false),
            ("text", false),
            ("text/", false),
            ("/plain", false),
            ("texts/plain", false),
            ("text/plain/x", false),
            ("text/plain;", false),
            ("text/plain; charset", false),
            ("text/pl ain", false),
        ] {
            assert_eq!(is_media_type(text), expected, "{text:?}");
        }
    }

    #[test]
    fn language_tags_are_told_from_other_texts() {
        for (text, expected) in [
            ("de", true),
            ("gsw-CH", true),
            ("zh-Hant-TW", true),
            ("sl-rozaj-biske-1994", true),
            ("en-a-myext-b-another", true),
            ("de-x-i-am-private", true),
            ("x-whatever", true),
            ("i-klingon", true),
            ("", false),
            ("d", false),
            ("abcd", false),
            ("x", false),
            ("de-", false),
            ("de-a", false),
            ("de-a-b-c", false),
            ("d3", false),
            ("de-toolongtag", false),
        ] {
            assert_eq!(is_language(text), expected, "{text:?}");
        }
    }
}
