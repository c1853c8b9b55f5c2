//! Published documents through the server: what comes out is what went in.
//!
//! Covers: rest 7.71.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt};
use kiln::fhir::json::{Value, parse};

use crate::form_suites::refused;
use crate::harness::client::Client;
use crate::harness::json::{at, same};
use crate::harness::server::TestServer;
use crate::harness::shared::archive;

/// Files that cannot be stored although their form is sound, each with what the answer says.
const NOT_STORED: &[(&str, &str)] = &[
    ("package-min-ver.json", "no type"),
    ("questionnaireresponse-extensions-QuestionnaireResponse-item-subject.json", "1 to 64 letters"),
];

/// Files of which the server says something else than they do: whether a Subscription failed.
const SAID_OTHERWISE: &[(&str, &str)] = &[("subscription-example-error.json", "came back changed")];

/// How many requests run at a time.
const AT_A_TIME: usize = 8;

/// The resource without what the server sets.
fn content(mut value: Value<'static>) -> Value<'static> {
    let object = value.as_object_mut().unwrap();
    let empty = object.get_mut("meta").and_then(Value::as_object_mut).is_some_and(|meta| {
        meta.remove("versionId");
        meta.remove("lastUpdated");
        meta.is_empty()
    });
    if empty {
        object.remove("meta");
    }
    value
}

/// Stores the document and reads it again; why it did not come back unchanged.
async fn round_trip(client: &Client, bytes: Vec<u8>) -> Option<String> {
    let sent = match parse(&bytes) {
        Ok(value) => value.into_owned(),
        Err(error) => return Some(format!("{error:?}")),
    };
    let Some(of) = sent.str_at("resourceType") else { return Some("no type".to_owned()) };
    // These are answers, never kept on their own; a Bundle can hold them.
    let wrapped = ["OperationOutcome", "Parameters"].contains(&of);
    let call = match (sent.str_at("id"), wrapped) {
        (_, true) => client.call("POST", "/Bundle").json(collection(&sent)),
        (Some(id), _) => client.call("PUT", &format!("/{of}/{id}")).json(bytes),
        (None, _) => client.call("POST", &format!("/{of}")).json(bytes),
    };
    let written = call.send().await;
    if !(200..300).contains(&written.status) {
        return Some(format!("{}: {}", written.status, written.text()));
    }
    let kept = if wrapped { "Bundle" } else { of };
    let url = format!("/{kept}/{}", written.id());
    let accept = client.call("GET", &url).header("Accept", "application/fhir+json");
    let answer = accept.send().await;
    if answer.status != 200 {
        return Some(format!("GET {url}: {}", answer.status));
    }
    let read = answer.json();
    let read = if wrapped { at(&read, "entry[0].resource").cloned()? } else { content(read) };
    let mut expected = if wrapped { sent.clone() } else { content(sent.clone()) };
    if sent.str_at("id").is_none() && !wrapped {
        expected.as_object_mut()?.set("id", written.id());
    }
    (!same(&read, &expected)).then(|| "came back changed".to_owned())
}

fn collection(resource: &Value<'_>) -> String {
    let entry =
        format!(r#"{{"fullUrl":"http://example.org/x/1","resource":{}}}"#, resource.to_text());
    format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{entry}]}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_published_example_is_stored_and_read_unchanged() {
    let Some(files) = archive("suites/examples-r4-json.tar.gz") else { return };
    let files: Vec<_> = files
        .into_iter()
        .filter_map(|(path, bytes)| {
            let name = path.rsplit('/').next().unwrap().to_owned();
            name.strip_suffix(".json").is_some().then_some((name, bytes))
        })
        .collect();
    assert_eq!(files.len(), 2906);
    // What is stored and read is the matter here, not what it breaks.
    let settings = [
        ("http.max_body_bytes", "67108864"),
        ("validation.level", "off"),
        // Among them are some that the program has itself.
        ("definitions.readable", "false"),
        // Else the server goes on with what it is asked to serve.
        ("subscriptions.enabled", "false"),
    ];
    let server = TestServer::start_with(&settings).await;
    // One id may stand in several files, so writing and reading one file must not overlap.
    let faults: Vec<_> = stream::iter(files)
        .map(|(name, bytes)| {
            let client = server.client.clone();
            async move { round_trip(&client, bytes).await.map(|reason| (name, reason)) }
        })
        .buffer_unordered(1)
        .filter_map(|fault| async move { fault })
        .collect()
        .await;
    let mut listed: BTreeMap<String, &str> = refused().collect();
    let own = NOT_STORED.iter().chain(SAID_OTHERWISE);
    listed.extend(own.map(|(name, says)| ((*name).to_owned(), *says)));
    let mut surprises = Vec::new();
    for (name, reason) in faults {
        match listed.remove(&name) {
            Some(says) if reason.contains(says) => {}
            _ => surprises.push(format!("{name}: {reason}")),
        }
    }
    let (count, stored) = (surprises.len(), listed.keys());
    assert!(surprises.is_empty(), "{count} of 2906:\n{surprises:#?}");
    assert_eq!(stored.len(), 0, "listed as refused, and stored: {stored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_synthetic_patients_load_without_an_error() {
    let Some(files) = archive("suites/synthea-r4-100-patients.tar.gz") else { return };
    let is_bundle = |bytes: &[u8]| {
        parse(bytes).is_ok_and(|value| value.str_at("resourceType") == Some("Bundle"))
    };
    let mut files: Vec<_> = files.into_iter().filter(|(_, bytes)| is_bundle(bytes)).collect();
    assert_eq!(files.len(), 102);
    // Practitioners and organizations first: the patients refer to them.
    files.sort_by_key(|(name, _)| !name.contains("Information"));
    let server = TestServer::start().await;
    let shared = files.iter().filter(|(name, _)| name.contains("Information")).count();
    let patients = files.split_off(shared);
    let mut faults = Vec::new();
    let mut entries = 0;
    for (limit, group) in [(1, files), (AT_A_TIME / 2, patients)] {
        let outcomes: Vec<_> = stream::iter(group)
            .map(|(name, bytes)| {
                let client = server.client.clone();
                let count = parse(&bytes).unwrap().items_at("entry").len();
                async move {
                    let answer = client.post("/", bytes).await;
                    let short: String = answer.text().chars().take(500).collect();
                    let fault = format!("{name}: {}: {short}", answer.status);
                    (count, (answer.status != 200).then_some(fault))
                }
            })
            .buffer_unordered(limit)
            .collect()
            .await;
        for (count, fault) in outcomes {
            entries += count;
            faults.extend(fault);
        }
    }
    assert!(faults.is_empty(), "{} of 102:\n{faults:#?}", faults.len());
    let stored = server.database.number("SELECT count(*) FROM res").await;
    assert_eq!((stored, entries), (38_970, 38_970));
    let urns = "SELECT count(*) FROM res WHERE body::text LIKE '%\"reference\": \"urn:uuid:%'";
    assert_eq!(server.database.number(urns).await, 0, "references that were not resolved");
}
