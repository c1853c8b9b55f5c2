//! `$everything`: whole records, page by page.

mod parts;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln::app::demo::Generator;
use kiln::fhir::ResourceType;
use kiln::fhir::json::Value;
use kiln::spec::Spec;

use crate::harness::client::{Answer, Client};
use crate::harness::json::at;
use crate::harness::server::TestServer;

/// What is tried of each route, for the ratchet of the audit: route, url, body, status.
pub(crate) const ATTEMPTS: &[(&str, &str, &str, u16)] = &[
    ("GET /fhir/Patient/$everything", "/Patient/$everything", "", 200),
    ("GET /fhir/Patient/$everything", "/Patient/$everything?_count=0", "", 400),
    ("POST /fhir/Patient/$everything", "/Patient/$everything", NOTHING, 200),
    ("POST /fhir/Patient/$everything", "/Patient/$everything", PATIENT, 400),
    ("GET /fhir/Patient/{id}/$everything", "/Patient/p/$everything", "", 200),
    ("GET /fhir/Patient/{id}/$everything", "/Patient/p/$everything?start=odd", "", 400),
    ("GET /fhir/Patient/{id}/$everything", "/Patient/x/$everything", "", 404),
    ("GET /fhir/Patient/{id}/$everything", "/Patient/d/$everything", "", 410),
    ("POST /fhir/Patient/{id}/$everything", "/Patient/p/$everything", NOTHING, 200),
    ("GET /fhir/Group/{id}/$everything", "/Group/x/$everything", "", 404),
    ("POST /fhir/Group/{id}/$everything", "/Group/x/$everything", NOTHING, 404),
    ("GET /fhir/Encounter/{id}/$everything", "/Encounter/x/$everything", "", 404),
    ("POST /fhir/Encounter/{id}/$everything", "/Encounter/x/$everything", NOTHING, 404),
    ("GET /fhir/Patient/$summary", "/Patient/$summary", "", 400),
    ("GET /fhir/Patient/$summary", "/Patient/$summary?identifier=urn:n|x", "", 404),
    ("POST /fhir/Patient/$summary", "/Patient/$summary?identifier=urn:n|x", NOTHING, 404),
    ("POST /fhir/Patient/$summary", "/Patient/$summary", PATIENT, 400),
    ("GET /fhir/Patient/{id}/$summary", "/Patient/p/$summary", "", 200),
    ("GET /fhir/Patient/{id}/$summary", "/Patient/p/$summary?graph=urn:g", "", 400),
    ("GET /fhir/Patient/{id}/$summary", "/Patient/x/$summary", "", 404),
    ("GET /fhir/Patient/{id}/$summary", "/Patient/d/$summary", "", 410),
    ("POST /fhir/Patient/{id}/$summary", "/Patient/p/$summary", NOTHING, 200),
];

const NOTHING: &str = r#"{"resourceType":"Parameters"}"#;
const PATIENT: &str = r#"{"resourceType":"Patient"}"#;

/// What supports what is done, and is followed on.
const SUPPORTING: [&str; 8] = [
    "Endpoint",
    "HealthcareService",
    "Location",
    "Medication",
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "Substance",
];

/// The entries of a page but its outcome: how each came, and what it is called.
fn entries(answer: &Answer) -> Vec<(String, String)> {
    let bundle = answer.json();
    let entry = |entry: &Value<'_>| {
        let text = |path| at(entry, path).and_then(|it| it.as_str()).unwrap_or_default().to_owned();
        let path = format!("{}/{}", text("resource.resourceType"), text("resource.id"));
        (text("search.mode"), path)
    };
    let all = bundle.items_at("entry").iter().map(entry);
    all.filter(|(mode, _)| mode != "outcome").collect()
}

fn next(answer: &Answer) -> Option<String> {
    answer.at("link[relation=next].url")
}

/// The answer and all pages after it.
async fn pages(client: &Client, url: &str) -> Vec<Answer> {
    let mut all = vec![client.get(url).await.expect(200)];
    while let Some(url) = all.last().and_then(next) {
        all.push(client.get(&url).await.expect(200));
        assert!(all.len() < 2_000, "the pages of {url} do not end");
    }
    all
}

/// What comes as a match and what comes along, each of it once.
async fn found(client: &Client, url: &str) -> [BTreeSet<String>; 2] {
    let (mut matches, mut along) = (BTreeSet::new(), BTreeSet::new());
    for (mode, path) in pages(client, url).await.iter().flat_map(entries) {
        let set = if mode == "match" { &mut matches } else { &mut along };
        assert!(set.insert(path.clone()), "{path} comes twice by {url}");
    }
    assert!(matches.is_disjoint(&along), "{url}");
    [matches, along]
}

/// All that a resource refers to on this server, as `Type/id`.
fn references(value: &Value<'_>, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, inner) in object.iter() {
                if let ("reference", Some(text)) = (name, inner.as_str()) {
                    let parts: Vec<&str> = text.split('/').take(2).collect();
                    if parts[0].parse::<ResourceType>().is_ok() {
                        found.insert(parts.join("/"));
                    }
                }
                references(inner, found);
            }
        }
        Value::Array(all) => all.iter().for_each(|inner| references(inner, found)),
        _ => {}
    }
}

/// A record as searches of each type, one after the other, find it.
struct Naive<'c> {
    client: &'c Client,
    spec: Arc<Spec>,
}

impl Naive<'_> {
    fn is_within(&self, of: &str) -> bool {
        let compartment = self.spec.compartment(ResourceType::PATIENT).expect("a compartment");
        let of = of.parse().expect("a type");
        of == ResourceType::PATIENT
            || of == ResourceType::AUDIT_EVENT
            || !compartment.parameters(of).is_empty()
    }

    /// What has the patient in one of the parameters of the CompartmentDefinition, by its name.
    async fn compartment(&self, id: &str) -> BTreeMap<String, Value<'static>> {
        let compartment = self.spec.compartment(ResourceType::PATIENT).expect("a compartment");
        let mut all = BTreeMap::new();
        let own = self.client.get(&format!("/Patient/{id}")).await.expect(200);
        all.insert(format!("Patient/{id}"), own.json());
        for of in compartment.resource_types() {
            if [ResourceType::AUDIT_EVENT, ResourceType::PATIENT].contains(&of) {
                continue;
            }
            for code in compartment.parameters(of) {
                let url = format!("/{of}?{code}=Patient/{id}&_count=1000");
                for page in pages(self.client, &url).await {
                    for entry in page.json().items_at("entry") {
                        let resource = entry.get("resource").expect("a resource").clone();
                        let id = resource.str_at("id").expect("an id").to_owned();
                        all.insert(format!("{of}/{id}"), resource.into_owned());
                    }
                }
            }
        }
        all
    }

    /// What all of these refer to beyond compartments, and what supports that in turn.
    async fn beyond(&self, all: &BTreeMap<String, Value<'static>>) -> BTreeSet<String> {
        let mut pending = BTreeSet::new();
        for value in all.values() {
            references(value, &mut pending);
        }
        pending.retain(|path| !self.is_within(path.split('/').next().unwrap_or_default()));
        let mut found = BTreeSet::new();
        while let Some(path) = pending.pop_first() {
            let answer = self.client.get(&format!("/{path}")).await;
            if answer.status != 200 || !found.insert(path.clone()) {
                continue;
            }
            let is_supporting = |path: &str| SUPPORTING.contains(&path.split('/').next().unwrap());
            if is_supporting(&path) {
                let mut more = BTreeSet::new();
                references(&answer.json(), &mut more);
                pending
                    .extend(more.into_iter().filter(|it| is_supporting(it) && !found.contains(it)));
            }
        }
        found
    }
}

async fn with_demo() -> TestServer {
    let server = TestServer::start().await;
    for bundle in Generator::new(5).bundles(3) {
        server.client.post("/", bundle.to_json()).await.expect(200);
    }
    server
}

async fn ids(client: &Client, of: &str) -> Vec<String> {
    let all = pages(client, &format!("/{of}?_count=100")).await;
    all.iter().flat_map(entries).map(|(_, path)| path.replace(&format!("{of}/"), "")).collect()
}

/// Covers: rest 6.16, 6.22.
#[tokio::test(flavor = "multi_thread")]
async fn everything_of_a_patient_is_the_compartment_and_what_that_refers_to() {
    let server = with_demo().await;
    let client = &server.client;
    let naive = Naive { client, spec: Spec::r4().expect("the pack of R4") };
    for id in ids(client, "Patient").await {
        let compartment = naive.compartment(&id).await;
        let beyond = naive.beyond(&compartment).await;
        let compartment: BTreeSet<String> = compartment.into_keys().collect();
        assert!(compartment.len() > 20 && beyond.len() > 1, "{compartment:?} {beyond:?}");
        let url = format!("/Patient/{id}/$everything");
        let first = client.get(&url).await.expect(200);
        assert_eq!(entries(&first)[0], ("match".to_owned(), format!("Patient/{id}")));
        assert_eq!(first.at("type").as_deref(), Some("searchset"));
        assert_eq!(found(client, &url).await, [compartment.clone(), beyond.clone()]);
        // The same in small pages, each full but the last.
        let small = format!("{url}?_count=7");
        let counts: Vec<usize> =
            pages(client, &small).await.iter().map(|page| entries(page).len()).collect();
        let (last, full) = counts.split_last().expect("a page");
        assert!(full.iter().all(|count| *count == 7) && (1..=7).contains(last), "{counts:?}");
        assert_eq!(found(client, &small).await, [compartment, beyond]);
    }
    server.stop().await;
}

/// Covers: rest 6.21.
#[tokio::test(flavor = "multi_thread")]
async fn pages_lose_and_repeat_nothing_while_others_write() {
    let server = with_demo().await;
    let client = &server.client;
    let all = ids(client, "Patient").await;
    let (id, other) = (&all[0], &all[1]);
    let url = format!("/Patient/{id}/$everything");
    let [compartment, beyond] = found(client, &url).await;
    let before: BTreeSet<String> = compartment.union(&beyond).cloned().collect();
    let mut seen: Vec<String> = Vec::new();
    let mut page = client.get(&format!("{url}?_count=3")).await.expect(200);
    let mut number = 0;
    loop {
        let some = entries(&page);
        assert!(some.len() <= 3, "{page:?}");
        seen.extend(some.iter().map(|(_, path)| path.clone()));
        // Something newer than all there is, and something that is on a page already in a new version.
        let new = format!(
            r#"{{"resourceType":"Observation","id":"new-{number}","status":"final","code":{{"text":"x"}},
                "subject":{{"reference":"Patient/{id}"}},"effectiveDateTime":"2026-11-01",
                "performer":[{{"reference":"Practitioner/new-{number}"}}]}}"#
        );
        let practitioner = format!(r#"{{"resourceType":"Practitioner","id":"new-{number}"}}"#);
        client.put(&format!("/Practitioner/new-{number}"), practitioner).await.expect(201);
        client.put(&format!("/Observation/new-{number}"), new).await.expect(201);
        let (_, path) = &some[0];
        let mut old = client.get(&format!("/{path}")).await.expect(200).json();
        old.as_object_mut().expect("an object").set("language", format!("x-{number}"));
        client.put(&format!("/{path}"), old.to_text()).await.expect(200);
        number += 1;
        let Some(url) = next(&page) else { break };
        page = client.get(&url).await.expect(200);
    }
    let distinct: BTreeSet<String> = seen.iter().cloned().collect();
    assert_eq!(distinct.len(), seen.len(), "something came twice: {seen:?}");
    let missing: Vec<_> = before.difference(&distinct).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let is_new = |path: &&String| path.contains("/new-");
    assert!(distinct.difference(&before).all(|path| is_new(&path)), "{distinct:?}");
    // A page begins where this server said, for this record and this question.
    let first = client.get(&format!("{url}?_count=3")).await.expect(200);
    let cursor = next(&first).expect("a page").split("_cursor=").nth(1).unwrap().to_owned();
    for bad in [
        format!("{url}?_count=3&_cursor=odd"),
        format!("{url}?_count=3&_cursor={}", &cursor[1..]),
        format!("{url}?_count=4&_cursor={cursor}"),
        format!("/Patient/{other}/$everything?_count=3&_cursor={cursor}"),
        format!("/Patient/$everything?_count=3&_cursor={cursor}"),
        format!("/Patient?_count=3&_cursor={cursor}"),
    ] {
        let answer = client.get(&bad).await.expect(400);
        assert_eq!(answer.at("issue[0].code").as_deref(), Some("invalid"), "{bad}");
    }
    server.stop().await;
}
