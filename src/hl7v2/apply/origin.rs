//! The transaction of a message, with the Provenance that says by which message, and by whom, it is so.
//!
//! Spec: v2 F4

use super::plan::Entry;
use crate::fhir::json::{Object, Value};
use crate::hl7v2::queue::Task;

/// All that is written and deleted, with its origin.
pub(super) fn transaction(
    entries: &[Entry],
    gone: Vec<Value<'static>>,
    task: &Task<'_>,
) -> Object<'static> {
    let bundle = Object::new().with("resourceType", "Bundle").with("type", "transaction");
    let mut all: Vec<_> = entries.iter().map(|entry| entry.value(task.heading)).collect();
    all.extend(gone);
    if !entries.is_empty() {
        all.push(provenance(entries, task));
    }
    if all.is_empty() { bundle } else { bundle.with("entry", all) }
}

/// Who told what was written, and by which message.
fn provenance(entries: &[Entry], task: &Task<'_>) -> Value<'static> {
    let target = entries
        .iter()
        .map(|entry| Value::Object(Object::new().with("reference", entry.identity.to_string())));
    let agent = |code: &'static str, of: &'static str, system: &'static str, name: &str| {
        let coding = Object::new()
            .with("system", "http://terminology.hl7.org/CodeSystem/provenance-participant-type")
            .with("code", code);
        let kind = Object::new().with("coding", vec![Value::Object(coding)]);
        let identifier = Object::new().with("system", system).with("value", name.to_owned());
        let who = Object::new()
            .with("type", of)
            .with("identifier", identifier)
            .with("display", name.to_owned());
        Value::Object(Object::new().with("type", kind).with("who", who))
    };
    let identifier =
        Object::new().with("system", "urn:kiln:v2-message").with("value", task.id.to_string());
    let what = Object::new().with("identifier", identifier);
    let entity = Object::new().with("role", "source").with("what", what);
    let activity = Object::new()
        .with("system", "http://hl7.org/fhir/uv/v2mappings/CodeSystem/provenance-activity-type")
        .with("code", "v2-fhir-transformation");
    let activity = Object::new()
        .with("coding", vec![Value::Object(activity)])
        .with("text", task.heading.trigger());
    // MSH-4 says which organization; who leaves it empty is known by all that is said of the sender.
    let facility = Some(task.heading.facility.as_str()).filter(|facility| !facility.is_empty());
    let sender = facility.or(Some(task.site).filter(|site| !site.is_empty())).unwrap_or("unknown");
    let resource = Object::new()
        .with("resourceType", "Provenance")
        .with("target", target.collect::<Vec<_>>())
        .with("recorded", task.received_at.to_string())
        .with("activity", activity)
        .with(
            "agent",
            vec![
                agent("author", "Organization", "urn:kiln:v2-sender", sender),
                agent("assembler", "Device", "urn:kiln:device", "Kiln"),
            ],
        )
        .with("entity", vec![Value::Object(entity)]);
    let request = Object::new().with("method", "POST").with("url", "Provenance");
    Value::Object(Object::new().with("resource", resource).with("request", request))
}
