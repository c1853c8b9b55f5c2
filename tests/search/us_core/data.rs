//! What the searches run over: transactions of Synthea's patients, and resources of our own making.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::client::Client;
use crate::harness::shared::{archive, long};

use super::made;

const SYNTHEA: &str = "suites/synthea-r4-100-patients.tar.gz";

/// One resource as it was sent.
pub(super) struct Doc {
    pub(super) of: String,
    pub(super) id: String,
    pub(super) value: Value,
}

impl Doc {
    pub(super) fn new(value: Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        Self { of: text("resourceType"), id: text("id"), value }
    }

    /// `Type/id`.
    pub(super) fn place(&self) -> String {
        format!("{}/{}", self.of, self.id)
    }
}

/// Everything that a server holds.
pub(super) struct Data {
    pub(super) docs: Vec<Doc>,
}

impl Data {
    /// Loads Synthea's resources and ours; `None` when Synthea's are not at hand.
    pub(super) async fn load(client: &Client) -> Option<Self> {
        let mut data = Self { docs: Vec::new() };
        for resources in chosen()? {
            data.add(client, resources).await;
        }
        let patients: Vec<String> = data.of("Patient").take(2).map(|doc| doc.id.clone()).collect();
        for resources in made::resources(&patients).chunks(400) {
            data.add(client, resources.to_vec()).await;
        }
        Some(data)
    }

    async fn add(&mut self, client: &Client, resources: Vec<Value>) {
        let entries: Vec<Value> = resources
            .iter()
            .map(|resource| {
                let url = format!("{}/{}", text(resource, "resourceType"), text(resource, "id"));
                json!({ "resource": resource, "request": { "method": "PUT", "url": url } })
            })
            .collect();
        let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries });
        client.post("/", bundle.to_string()).await.expect(200);
        // Patients of one practice bring the same practitioners along.
        let known: BTreeSet<String> = self.docs.iter().map(Doc::place).collect();
        let docs = resources.into_iter().map(Doc::new);
        self.docs.extend(docs.filter(|doc| !known.contains(&doc.place())));
    }

    pub(super) fn of<'a>(&'a self, of: &'a str) -> impl Iterator<Item = &'a Doc> {
        self.docs.iter().filter(move |doc| doc.of == of)
    }

    pub(super) fn at(&self, place: &str) -> Option<&Doc> {
        self.docs.iter().find(|doc| doc.place() == place)
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

/// The resources of the smallest patients, and of those that bring a type which no smaller one has.
fn chosen() -> Option<Vec<Vec<Value>>> {
    let mut files = archive(SYNTHEA)?;
    files.sort_by_key(|(_, bytes)| bytes.len());
    let count = if long() { 40 } else { 6 };
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (_, bytes) in files {
        let bundle: Value = serde_json::from_slice(&bytes).unwrap();
        let resources = relative(&bundle);
        let is_patient = resources.iter().any(|it| text(it, "resourceType") == "Patient");
        let types: BTreeSet<_> =
            resources.iter().map(|it| text(it, "resourceType").to_owned()).collect();
        if is_patient && (found.len() < count || !types.is_subset(&seen)) {
            seen.extend(types);
            found.push(resources);
        }
    }
    Some(found)
}

/// The resources of a transaction, under their own ids and with references to these.
fn relative(bundle: &Value) -> Vec<Value> {
    let entries = bundle["entry"].as_array().map_or(&[][..], Vec::as_slice);
    let places: BTreeMap<String, String> = entries
        .iter()
        .map(|entry| {
            let resource = &entry["resource"];
            let place = format!("{}/{}", text(resource, "resourceType"), text(resource, "id"));
            (text(entry, "fullUrl").to_owned(), place)
        })
        .collect();
    let mut resources: Vec<_> = entries.iter().map(|entry| entry["resource"].clone()).collect();
    for resource in &mut resources {
        lead(resource, &places);
    }
    resources
}

fn lead(value: &mut Value, places: &BTreeMap<String, String>) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| lead(item, places)),
        Value::Object(object) => {
            if let Some(place) = object.get("reference").and_then(|it| places.get(it.as_str()?)) {
                object.insert("reference".to_owned(), json!(place));
            }
            object.values_mut().for_each(|inner| lead(inner, places));
        }
        _ => {}
    }
}
