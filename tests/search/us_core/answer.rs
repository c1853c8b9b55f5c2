//! Asking, following every page, and what a searchset may hold.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::harness::client::{Answer, Client};

/// No search of these has more pages.
const PAGES: usize = 100;

/// All pages of an answer.
#[derive(Default)]
pub(super) struct Found {
    /// By `Type/id`.
    pub(super) matches: BTreeMap<String, Value>,
    pub(super) included: BTreeSet<String>,
}

pub(super) async fn get(client: &Client, url: &str) -> Found {
    let of = url.trim_start_matches('/').split('?').next().unwrap();
    follow(client, of, client.get(url).await).await
}

pub(super) async fn post(client: &Client, of: &str, form: &str) -> Found {
    let call = client.call("POST", &format!("/{of}/_search"));
    let call = call.header("Content-Type", "application/x-www-form-urlencoded");
    follow(client, of, call.body(form.to_owned()).send().await).await
}

async fn follow(client: &Client, of: &str, first: Answer) -> Found {
    let (mut found, mut page) = (Found::default(), first);
    for _ in 0..PAGES {
        let bundle = searchset(page);
        for entry in bundle["entry"].as_array().map_or(&[][..], Vec::as_slice) {
            found.add(of, entry);
        }
        let links = bundle["link"].as_array().unwrap();
        let Some(next) = links.iter().find(|link| link["relation"] == "next") else {
            return found;
        };
        page = client.get(next["url"].as_str().unwrap()).await;
    }
    panic!("{of}: more than {PAGES} pages");
}

fn searchset(answer: Answer) -> Value {
    let answer = answer.expect(200);
    let bundle: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(bundle["resourceType"], "Bundle", "{answer:?}");
    assert_eq!(bundle["type"], "searchset", "{answer:?}");
    bundle
}

impl Found {
    /// A match has the type that is searched, and neither a match nor an outcome is there unasked.
    fn add(&mut self, of: &str, entry: &Value) {
        let resource = &entry["resource"];
        let place = format!("{}/{}", text(resource, "resourceType"), text(resource, "id"));
        match text(&entry["search"], "mode") {
            "match" => {
                assert_eq!(resource["resourceType"], of, "{place}");
                assert!(self.matches.insert(place, resource.clone()).is_none(), "twice: {entry}");
            }
            "include" => {
                self.included.insert(place);
            }
            _ => panic!("neither match nor include: {entry}"),
        }
    }

    pub(super) fn places(&self) -> BTreeSet<String> {
        self.matches.keys().cloned().collect()
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// All references to resources of this server.
pub(super) fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(object) => {
            let own = object.get("reference").and_then(Value::as_str);
            found.extend(own.filter(|reference| !reference.starts_with('#')));
            object.values().for_each(|inner| references(inner, found));
        }
        _ => {}
    }
}
