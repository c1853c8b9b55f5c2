//! A draft as a transaction Bundle: what a server would be asked to do by REST.

use crate::fhir::json::Object;
use crate::hl7v2::types::Json;

use super::draft::{Draft, DraftResource};
use super::instance::Key;

/// Types without an identifier: they are new each time.
const UNKEYED: [&str; 2] = ["Provenance", "Group"];

/// The resource itself, with its type.
pub fn resource(draft: &DraftResource) -> Json {
    let mut body = draft.body.clone();
    body.set_first("resourceType", draft.resource_type.clone());
    body.into()
}

/// Lets a resource claim a profile.
pub fn claim(body: &mut Object<'static>, profile: &str) {
    let mut meta = body.remove("meta").and_then(|meta| match meta {
        Json::Object(meta) => Some(meta),
        _ => None,
    });
    let meta = meta.get_or_insert_default();
    meta.set("profile", vec![Json::from(profile.to_owned())]);
    body.set_first("meta", std::mem::take(meta));
}

/// A transaction with an entry for each resource: an update by the identifier, or a create.
pub fn transaction(draft: &Draft) -> Json {
    let entries: Vec<_> = draft.resources.iter().map(entry).collect();
    let mut bundle = Object::new().with("resourceType", "Bundle").with("type", "transaction");
    if !entries.is_empty() {
        bundle.set("entry", entries);
    }
    bundle.into()
}

fn entry(draft: &DraftResource) -> Json {
    let key = draft.keys.first().filter(|_| !UNKEYED.contains(&draft.resource_type.as_str()));
    let request = match key {
        Some(key) => {
            let url = format!("{}?identifier={}", draft.resource_type, encoded(key));
            Object::new().with("method", "PUT").with("url", url)
        }
        None => Object::new().with("method", "POST").with("url", draft.resource_type.clone()),
    };
    Object::new()
        .with("fullUrl", draft.url.clone())
        .with("resource", resource(draft))
        .with("request", request)
        .into_owned()
        .into()
}

/// `system|value` as part of a url.
fn encoded(key: &Key) -> String {
    let mut out = String::new();
    for byte in key.text().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
                out.push('%');
                out.push(digit(byte >> 4).to_ascii_uppercase());
                out.push(digit(byte & 15).to_ascii_uppercase());
            }
        }
    }
    out
}
