//! Searching while patients are loaded: an answer has all of a patient or nothing, and nothing wrong.
//!
//! Each patient of Synthea is one transaction. Whoever asks before it is sent finds nothing, whoever asks
//! after its answer finds all, and between them both are right, but nothing else. All 100 patients
//! with `KILN_TEST_LONG=1`, the smallest ones without.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::Value;

use crate::harness::client::Client;
use crate::harness::server::TestServer;
use crate::harness::shared::{archive, long};
use crate::search_oracle::query::encoded;

const SYNTHEA: &str = "suites/synthea-r4-100-patients.tar.gz";
const SYSTEM: &str = "https://github.com/synthetichealth/synthea";

/// Patients that are loaded, unless all are.
const FEW: usize = 16;
/// Who loads and who searches at a time.
const LOADERS: usize = 2;
const SEARCHERS: usize = 3;

/// Types that are counted.
const COUNTED: &[&str] =
    &["Condition", "Encounter", "MedicationRequest", "Observation", "Procedure"];

/// One patient, and how far the loading of it is.
struct Loaded {
    bundle: Vec<u8>,
    /// `system|value`
    identifier: String,
    /// Resources about the patient, by type.
    counts: BTreeMap<String, usize>,
    /// Observations by a code of theirs.
    codes: BTreeMap<String, usize>,
    is_sent: AtomicBool,
    is_answered: AtomicBool,
}

impl Loaded {
    /// `None` for a file without a patient.
    fn of(bundle: Vec<u8>) -> Option<Self> {
        let value: Value = serde_json::from_slice(&bundle).unwrap();
        let entries = value["entry"].as_array()?;
        let patient = entries.iter().find(|it| it["resource"]["resourceType"] == "Patient")?;
        let identifiers = patient["resource"]["identifier"].as_array().unwrap();
        let own = identifiers.iter().find(|it| it["system"] == SYSTEM).unwrap();
        let (mut counts, mut codes) = (BTreeMap::new(), BTreeMap::new());
        for resource in entries.iter().map(|entry| &entry["resource"]) {
            let about = [&resource["subject"], &resource["patient"]];
            if about.iter().any(|it| it["reference"] == patient["fullUrl"]) {
                *counts.entry(text(resource, "resourceType").to_owned()).or_insert(0) += 1;
            }
            if resource["resourceType"] == "Observation" {
                for code in codes_of(resource) {
                    *codes.entry(code.to_owned()).or_insert(0) += 1;
                }
            }
        }
        let identifier = format!("{SYSTEM}|{}", text(own, "value"));
        let (is_sent, is_answered) = (AtomicBool::new(false), AtomicBool::new(false));
        Some(Self { bundle, identifier, counts, codes, is_sent, is_answered })
    }

    fn count(&self, of: &str) -> usize {
        self.counts.get(of).copied().unwrap_or(0)
    }

    /// A code of an observation, another each turn.
    fn code(&self, turn: usize) -> (&str, usize) {
        let (code, count) = self.codes.iter().nth(turn % self.codes.len()).unwrap();
        (code, *count)
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// The codes of an observation, each once.
fn codes_of(resource: &Value) -> BTreeSet<&str> {
    let codings = resource["code"]["coding"].as_array().map_or(&[][..], Vec::as_slice);
    codings.iter().map(|coding| text(coding, "code")).collect()
}

/// All pages of an answer.
struct Pages {
    matches: Vec<Value>,
    included: Vec<Value>,
    total: Option<u64>,
}

async fn walk(client: &Client, url: String) -> Pages {
    let mut pages = Pages { matches: Vec::new(), included: Vec::new(), total: None };
    let mut next = Some(url);
    while let Some(url) = next {
        let answer = client.get(&url).await.expect(200);
        let bundle: Value = serde_json::from_slice(&answer.body).unwrap();
        pages.total = pages.total.or(bundle["total"].as_u64());
        for entry in bundle["entry"].as_array().map_or(&[][..], Vec::as_slice) {
            let resource = entry["resource"].clone();
            match text(&entry["search"], "mode") {
                "match" => pages.matches.push(resource),
                "include" => pages.included.push(resource),
                mode => panic!("{url}: {mode}: {entry}"),
            }
        }
        let links = bundle["link"].as_array().unwrap();
        let link = links.iter().find(|link| link["relation"] == "next");
        next = link.map(|link| text(link, "url").to_owned());
    }
    let unique: BTreeSet<&str> = pages.matches.iter().map(|it| text(it, "id")).collect();
    assert_eq!(unique.len(), pages.matches.len(), "some came twice");
    pages
}

/// One of six questions about a patient; how many it found and how many there are.
async fn ask(client: &Client, patient: &Loaded, turn: usize) -> (String, usize, usize) {
    let by = encoded(&patient.identifier);
    let (code, of_code) = patient.code(turn);
    let ordered = |matches: &[Value], moment: &dyn Fn(&Value) -> String| {
        matches.iter().map(moment).collect::<Vec<_>>()
    };
    match turn % 6 {
        0 => {
            let of = COUNTED[turn / 6 % COUNTED.len()];
            let url = format!("/{of}?patient.identifier={by}&_summary=count");
            let pages = walk(client, url.clone()).await;
            (url, pages.total.unwrap() as usize, patient.count(of))
        }
        1 => {
            let size = [7, 40, 200][turn / 6 % 3];
            let url = format!("/Observation?patient.identifier={by}&_sort=-date&_count={size}");
            let pages = walk(client, url.clone()).await;
            let of: BTreeSet<&str> =
                pages.matches.iter().map(|it| text(&it["subject"], "reference")).collect();
            assert!(of.len() < 2, "{url}: of {of:?}");
            let mut moments = ordered(&pages.matches, &|it| utc(text(it, "effectiveDateTime")));
            moments.reverse();
            assert!(moments.is_sorted(), "{url}: {moments:?}");
            (url, pages.matches.len(), patient.count("Observation"))
        }
        2 => {
            let asked = encoded(code);
            let url = format!("/Observation?patient.identifier={by}&code={asked}&_count=1000");
            let pages = walk(client, url.clone()).await;
            assert_eq!(pages.total, Some(pages.matches.len() as u64), "{url}");
            let others = pages.matches.iter().filter(|it| !codes_of(it).contains(code)).count();
            assert_eq!(others, 0, "{url}");
            (url, pages.matches.len(), of_code)
        }
        3 => {
            let asked = encoded(code);
            let url = format!("/Patient?identifier={by}&_has:Observation:patient:code={asked}");
            let pages = walk(client, url.clone()).await;
            (url, pages.matches.len(), 1)
        }
        4 => {
            let url = format!("/Patient?identifier={by}&_revinclude=Encounter:patient");
            let pages = walk(client, url.clone()).await;
            let expected = if pages.matches.is_empty() { 0 } else { patient.count("Encounter") };
            assert_eq!(pages.included.len(), expected, "{url}");
            (url, pages.matches.len(), 1)
        }
        _ => {
            let url = format!(
                "/Encounter?patient.identifier={by}&_include=Encounter:patient&_sort=date&_count=1000"
            );
            let pages = walk(client, url.clone()).await;
            assert_eq!(pages.included.len(), usize::from(!pages.matches.is_empty()), "{url}");
            let moments = ordered(&pages.matches, &|it| utc(text(&it["period"], "start")));
            assert!(moments.is_sorted(), "{url}: {moments:?}");
            (url, pages.matches.len(), patient.count("Encounter"))
        }
    }
}

/// A moment with a zone as one that sorts as text.
fn utc(text: &str) -> String {
    kiln::fhir::Instant::parse(text).unwrap_or_else(|| panic!("{text}")).to_string()
}

async fn search(client: &Client, patients: &[Loaded], turns: &AtomicUsize, is_done: &AtomicBool) {
    while !is_done.load(Ordering::SeqCst) {
        let turn = turns.fetch_add(1, Ordering::SeqCst);
        let patient = &patients[turn * 7 % patients.len()];
        let was_answered = patient.is_answered.load(Ordering::SeqCst);
        let (url, found, all) = ask(client, patient, turn).await;
        let is_sent = patient.is_sent.load(Ordering::SeqCst);
        let is_right = match (was_answered, is_sent) {
            (true, _) => found == all,
            (false, true) => found == 0 || found == all,
            (false, false) => found == 0,
        };
        assert!(is_right, "{url}: {found} of {all}, answered {was_answered}, sent {is_sent}");
    }
}

async fn load(client: &Client, patients: &[Loaded], next: &AtomicUsize) {
    while let Some(patient) = patients.get(next.fetch_add(1, Ordering::SeqCst)) {
        patient.is_sent.store(true, Ordering::SeqCst);
        client.post("/", patient.bundle.clone()).await.expect(200);
        patient.is_answered.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_searches_while_patients_are_loaded_finds_all_of_one_or_nothing() {
    let Some(mut files) = archive(SYNTHEA) else { return };
    files.sort_by_key(|(_, bytes)| bytes.len());
    let few = if long() { usize::MAX } else { FEW };
    // Each patient has observations, else there is nothing to ask for.
    let patients: Vec<Loaded> = files
        .into_iter()
        .filter_map(|(_, bytes)| Loaded::of(bytes))
        .filter(|patient| !patient.codes.is_empty())
        .take(few)
        .collect();
    assert!(patients.len() >= FEW, "{} patients", patients.len());
    // What Synthea's data break is another matter.
    let server = TestServer::start_with(&[("validation.level", "off")]).await;
    let (patients, client) = (Arc::new(patients), server.client.clone());
    let (next, turns) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let is_done = Arc::new(AtomicBool::new(false));
    let searchers: Vec<_> = (0..SEARCHERS)
        .map(|_| {
            let (client, patients) = (client.clone(), patients.clone());
            let (turns, is_done) = (turns.clone(), is_done.clone());
            tokio::spawn(async move { search(&client, &patients, &turns, &is_done).await })
        })
        .collect();
    join_all((0..LOADERS).map(|_| load(&client, &patients, &next))).await;
    let while_loading = turns.load(Ordering::SeqCst);
    is_done.store(true, Ordering::SeqCst);
    for searcher in searchers {
        searcher.await.unwrap();
    }
    println!("{while_loading} questions while {} patients were loaded", patients.len());
    assert!(while_loading > patients.len(), "only {while_loading} questions");
    for patient in patients.iter() {
        for turn in 0..6 {
            let (url, found, all) = ask(&client, patient, turn).await;
            assert_eq!(found, all, "{url}");
        }
    }
    drop(client);
    server.stop().await;
}
