//! Documents in a field: ED, and RP, which says where one is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::fhir::primitive::base64_content;

use super::{Args, Context, Json, NoteKind, Rep, filled, object, text};

/// Types of media by the words of tables 0191 and 0291.
const TYPES: &[(&str, &str)] = &[
    ("AP", "application"),
    ("APPLICATION", "application"),
    ("AU", "audio"),
    ("AUDIO", "audio"),
    ("FT", "text"),
    ("IM", "image"),
    ("IMAGE", "image"),
    ("MULTIPART", "multipart"),
    ("SI", "image"),
    ("TEXT", "text"),
    ("TX", "text"),
    ("VIDEO", "video"),
];

/// The type of media of the words `kind` and `sub`: `AP` and `PDF` are `application/pdf`.
pub fn media_type(kind: &str, sub: &str) -> Option<String> {
    let sub = sub.to_ascii_lowercase();
    if sub.contains('/') {
        return Some(sub);
    }
    let found = |word: &str| {
        let word = word.to_ascii_uppercase();
        TYPES.iter().find(|(own, _)| *own == word).map(|(_, name)| *name)
    };
    let known = match &*sub {
        "pdf" | "rtf" | "msword" | "octet-stream" | "zip" => Some("application"),
        "html" | "plain" | "hl7v2" | "xml" => Some("text"),
        "jpeg" | "jpg" | "png" | "gif" | "tiff" | "bmp" => Some("image"),
        _ => found(kind),
    }?;
    let sub = match &*sub {
        "" if known == "text" => "plain",
        "" => "octet-stream",
        "jpg" => "jpeg",
        "x-hl7-cda-level-one" => "xml",
        sub => sub,
    };
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-.+".contains(&byte);
    sub.bytes().all(is_word).then(|| format!("{known}/{sub}"))
}

/// An ED as an Attachment; `None`, and that is told, when its data is not what ED.4 says.
pub fn ed(rep: &Rep<'_>, _: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let media = media_type(rep.c(2), rep.c(3));
    let data = match rep.c(4).to_ascii_lowercase().as_str() {
        "base64" => base64_content(rep.c(5)).ok(),
        "hex" => hex(rep.c(5)),
        _ => Some(rep.c(5).as_bytes().to_vec()),
    };
    let is_pdf = media.as_deref() == Some("application/pdf");
    let is_whole = |data: &Vec<u8>| !is_pdf || data.is_empty() || data.starts_with(b"%PDF");
    let Some(data) = data.filter(is_whole) else {
        context.note(NoteKind::Damaged, "the document is not what it is said to be");
        return None;
    };
    let size = u64::try_from(data.len()).ok().filter(|size| *size > 0).map(Json::from);
    filled(object([
        ("contentType", media.and_then(|media| text(&media))),
        ("data", text(&STANDARD.encode(&data))),
        ("size", size),
        ("title", text(rep.s(1, 1))),
    ]))
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<_> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let value = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.chunks(2);
    pairs.map(|pair| Some(value(pair[0])? << 4 | value(*pair.get(1)?)?)).collect()
}

/// An RP as an Attachment: where the document is.
pub fn rp(rep: &Rep<'_>, _: &Args<'_>, context: &Context<'_>) -> Option<Json> {
    let url = rep.some(1)?;
    if url.contains(char::is_whitespace) {
        context.note(NoteKind::Kept, "the pointer has white space and is kept as a title");
        return filled(object([("title", text(url))]));
    }
    let media = media_type(rep.c(3), rep.c(4)).and_then(|media| text(&media));
    filled(object([("contentType", media), ("url", text(url)), ("title", text(rep.s(2, 1)))]))
}

/// Texts, a line each and as they were sent, as an Attachment of plain text.
pub fn plain(lines: &[&Rep<'_>]) -> Option<Json> {
    let lines: Vec<_> = lines.iter().map(|rep| rep.whole()).collect();
    let lines = lines.join("\n");
    filled(object([
        ("contentType", text("text/plain")),
        ("data", text(&STANDARD.encode(lines.as_bytes()))),
    ]))
    .filter(|_| !lines.trim().is_empty())
}

/// What stands in an Observation for its document.
pub fn described(rep: &Rep<'_>, kind: &str) -> Option<Json> {
    let media = match kind {
        "ED" => media_type(rep.c(2), rep.c(3)),
        _ => media_type(rep.c(3), rep.c(4)),
    };
    let media = media.unwrap_or_else(|| "unknown type".to_owned());
    let at = if kind == "RP" { format!(": {}", rep.c(1)) } else { String::new() };
    text(&format!("document of {media}{at}"))
}
