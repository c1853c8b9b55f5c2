//! A draft as a transaction Bundle: what a server would be asked to do by REST.

use crate::fhir::json::Object;
use crate::hl7v2::heading::Heading;
use crate::hl7v2::types::{Json, code, id};

use super::draft::{Draft, DraftResource};

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

/// A transaction as the message that it was made of: the header first, which leads to all others.
pub fn message(transaction: &Json, heading: &Heading, sent: Option<String>, id: String) -> Json {
    let mut entries = Vec::new();
    for one in transaction.items_at("entry") {
        let mut entry = Object::new();
        for name in ["fullUrl", "resource"] {
            if let Some(value) = one.get(name) {
                entry.set(name, value.clone());
            }
        }
        entries.push(Json::from(entry));
    }
    let focus = entries
        .iter()
        .filter_map(|one| one.str_at("fullUrl"))
        .map(|url| Json::from(Object::new().with("reference", url.to_owned())));
    let focus: Vec<_> = focus.collect();
    let named = |application: &str, facility: &str| {
        let name = format!("{application}|{facility}");
        // There is no address in a message: only who it is.
        let endpoint = format!("urn:v2:{}", id::slug(&name));
        Object::new().with("name", name).with("endpoint", endpoint)
    };
    let code = format!("{}^{}", heading.kind, heading.event);
    let event = Object::new()
        .with("system", "http://terminology.hl7.org/CodeSystem/v2-0003")
        .with("code", heading.event.clone())
        .with("display", code);
    let mut header = Object::new()
        .with("resourceType", "MessageHeader")
        .with("eventCoding", event)
        .with("source", named(&heading.application, &heading.facility))
        .into_owned();
    if !heading.receiver.is_empty() {
        let receiver = named(&heading.receiver, &heading.receiver_facility);
        header.set("destination", vec![Json::from(receiver.into_owned())]);
    }
    if !focus.is_empty() {
        header.set("focus", focus);
    }
    let first = Object::new().with("fullUrl", id).with("resource", header).into_owned();
    entries.insert(0, first.into());
    let control_id = Object::new()
        .with("system", "urn:kiln:v2-control-id")
        .with("value", heading.control_id.clone());
    Object::new()
        .with("resourceType", "Bundle")
        .with("identifier", control_id)
        .with("type", "message")
        .with_some("timestamp", sent)
        .with("entry", entries)
        .into_owned()
        .into()
}

fn entry(draft: &DraftResource) -> Json {
    let key = draft.keys.first().filter(|_| !UNKEYED.contains(&draft.resource_type.as_str()));
    let request = match key {
        Some(key) => {
            let parameter = match draft.resource_type.as_str() {
                "Immunization" => "vaccine-code",
                _ => "code",
            };
            let part = match (key.part.as_str(), key.part.strip_prefix(code::TEXT)) {
                ("", _) => String::new(),
                // What has a name alone is found by that.
                (_, Some(name)) => format!("&{parameter}:text={}", encoded(name)),
                (part, None) => format!("&{parameter}={}", encoded(part)),
            };
            let number = encoded(&key.text());
            let url = format!("{}?identifier={number}{part}", draft.resource_type);
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

/// A text as part of a url.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
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
