//! Searching while patients are loaded: an answer has all of a patient or nothing, and nothing wrong.
//!
//! Each patient of Synthea is one transaction, of a client or of `kiln import`. Whoever asks before it is sent finds
//! nothing, whoever asks after its answer, or after it was seen, finds all, and between them both are right, but
//! nothing else. All 100 patients with `KILN_TEST_LONG=1`, the smallest ones without.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::Value;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::harness::client::Client;
use crate::harness::database::{node_folder, temporary};
use crate::harness::process::kiln;
use crate::harness::server::TestServer;
use crate::harness::shared::{archive, long};

mod ask;

use ask::{KINDS, ask};

const SYNTHEA: &str = "suites/synthea-r4-100-patients.tar.gz";
const SYSTEM: &str = "https://github.com/synthetichealth/synthea";

/// Patients that are loaded, unless all are.
const FEW: usize = 16;
/// Who loads and who searches at a time.
const LOADERS: usize = 2;
const SEARCHERS: usize = 3;

/// One patient, and how far the loading of it is.
struct Loaded {
    bundle: Vec<u8>,
    /// `system|value`
    identifier: String,
    /// A part of the name.
    word: String,
    /// Resources about the patient, by type.
    counts: BTreeMap<String, usize>,
    /// Observations by a code of theirs, and what comes along with them: encounters and who provides these.
    codes: BTreeMap<String, (usize, BTreeSet<String>)>,
    /// The values of observations, ascending.
    quantities: Vec<f64>,
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
        let by_url: HashMap<&str, &Value> =
            entries.iter().map(|it| (text(it, "fullUrl"), &it["resource"])).collect();
        let (mut counts, mut codes) = (BTreeMap::new(), BTreeMap::new());
        let mut quantities = Vec::new();
        for resource in entries.iter().map(|entry| &entry["resource"]) {
            let about = [&resource["subject"], &resource["patient"]];
            if about.iter().any(|it| it["reference"] == patient["fullUrl"]) {
                *counts.entry(text(resource, "resourceType").to_owned()).or_insert(0) += 1;
            }
            if resource["resourceType"] == "Observation" {
                quantities.extend(resource["valueQuantity"]["value"].as_f64());
                let encounter = text(&resource["encounter"], "reference");
                let provider = text(&by_url[encounter]["serviceProvider"], "reference");
                for code in codes_of(resource) {
                    let (count, along) =
                        codes.entry(code.to_owned()).or_insert((0, BTreeSet::new()));
                    *count += 1;
                    along.extend([encounter, provider].map(str::to_owned));
                }
            }
        }
        quantities.sort_by(f64::total_cmp);
        let name = &patient["resource"]["name"][0];
        let is_word = |part: &&str| part.chars().all(char::is_alphabetic);
        let words = [text(name, "family"), name["given"][0].as_str().unwrap_or_default()];
        let word = words.into_iter().find(is_word)?.to_owned();
        let identifier = format!("{SYSTEM}|{}", text(own, "value"));
        let (is_sent, is_answered) = (AtomicBool::new(false), AtomicBool::new(false));
        Some(Self { bundle, identifier, word, counts, codes, quantities, is_sent, is_answered })
    }

    fn count(&self, of: &str) -> usize {
        self.counts.get(of).copied().unwrap_or(0)
    }

    /// A code of an observation, another each turn.
    fn code(&self, turn: usize) -> (&str, usize) {
        let (code, (count, _)) = self.codes.iter().nth(turn % self.codes.len()).unwrap();
        (code, *count)
    }

    /// How many come along with the observations of a code.
    fn along(&self, code: &str) -> usize {
        self.codes.get(code).map_or(0, |(_, along)| along.len())
    }

    /// A bound, another each turn, and how many values are above it.
    fn above(&self, turn: usize) -> (f64, usize) {
        let at = (turn * 5 + self.quantities.len() / 2) % self.quantities.len().max(1);
        let least = self.quantities.get(at).map_or(0.0, |value| value.floor() + 0.5);
        (least, self.quantities.iter().filter(|value| **value > least).count())
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

async fn search(client: &Client, patients: &[Loaded], turns: &AtomicUsize, is_done: &AtomicBool) {
    while !is_done.load(Ordering::SeqCst) {
        let turn = turns.fetch_add(1, Ordering::SeqCst);
        let patient = &patients[(turn * 7 + turn / KINDS) % patients.len()];
        let was_answered = patient.is_answered.load(Ordering::SeqCst);
        let (url, found, all) = ask(client, patient, turn).await;
        let is_sent = patient.is_sent.load(Ordering::SeqCst);
        let is_right = match (was_answered, is_sent) {
            (true, _) => found == all,
            (false, true) => found == 0 || found == all,
            (false, false) => found == 0,
        };
        assert!(is_right, "{url}: {found} of {all}, answered {was_answered}, sent {is_sent}");
        // What was seen once is there for all who ask from now on.
        if found > 0 {
            patient.is_answered.store(true, Ordering::SeqCst);
        }
    }
}

async fn load(client: &Client, patients: &[Loaded], next: &AtomicUsize) {
    while let Some(patient) = patients.get(next.fetch_add(1, Ordering::SeqCst)) {
        patient.is_sent.store(true, Ordering::SeqCst);
        client.post("/", patient.bundle.clone()).await.expect(200);
        patient.is_answered.store(true, Ordering::SeqCst);
    }
}

/// The patients, each with observations, else there is nothing to ask for.
fn patients() -> Option<Arc<Vec<Loaded>>> {
    let mut files = archive(SYNTHEA)?;
    files.sort_by_key(|(_, bytes)| bytes.len());
    let few = if long() { usize::MAX } else { FEW };
    let patients: Vec<Loaded> = files
        .into_iter()
        .filter_map(|(_, bytes)| Loaded::of(bytes))
        .filter(|patient| !patient.codes.is_empty())
        .take(few)
        .collect();
    assert!(patients.len() >= FEW, "{} patients", patients.len());
    Some(Arc::new(patients))
}

/// Those who search until they are told that all is loaded.
struct Searchers {
    turns: Arc<AtomicUsize>,
    is_done: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Searchers {
    fn start(client: &Client, patients: &Arc<Vec<Loaded>>) -> Self {
        let (turns, is_done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let task = |_| {
            let (client, patients) = (client.clone(), patients.clone());
            let (turns, is_done) = (turns.clone(), is_done.clone());
            tokio::spawn(async move { search(&client, &patients, &turns, &is_done).await })
        };
        let tasks = (0..SEARCHERS).map(task).collect();
        Self { turns, is_done, tasks }
    }

    /// All is loaded: whatever is asked now finds all.
    async fn end(self, client: &Client, patients: &[Loaded]) {
        let while_loading = self.turns.load(Ordering::SeqCst);
        self.is_done.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        println!("{while_loading} questions while {} patients were loaded", patients.len());
        assert!(while_loading > patients.len(), "only {while_loading} questions");
        for patient in patients {
            for turn in 0..KINDS {
                let (url, found, all) = ask(client, patient, turn).await;
                assert_eq!(found, all, "{url}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_searches_while_patients_are_loaded_finds_all_of_one_or_nothing() {
    let Some(patients) = patients() else { return };
    // What Synthea's data break is another matter.
    let server = TestServer::start_with(&[("validation.level", "off")]).await;
    let searchers = Searchers::start(&server.client, &patients);
    let next = AtomicUsize::new(0);
    join_all((0..LOADERS).map(|_| load(&server.client, &patients, &next))).await;
    searchers.end(&server.client, &patients).await;
    server.stop().await;
}

/// Writes what is to be imported: every other patient is a file, the rest are lines of one file.
fn write(folder: &Path, patients: &[Loaded]) {
    std::fs::create_dir_all(folder).unwrap();
    let mut lines = String::new();
    for (at, patient) in patients.iter().enumerate() {
        if at.is_multiple_of(2) {
            std::fs::write(folder.join(format!("p{at:03}.json")), &patient.bundle).unwrap();
        } else {
            // On one line, with the digits of its numbers.
            lines += &kiln::fhir::json::parse(&patient.bundle).unwrap().to_text();
            lines.push('\n');
        }
    }
    std::fs::write(folder.join("lines.ndjson"), lines).unwrap();
}

/// The command is a process of its own, with its own connections and caches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_searches_while_kiln_imports_finds_all_of_one_or_nothing() {
    let Some(patients) = patients() else { return };
    let server = TestServer::start_with(&[("validation.level", "off")]).await;
    let folder = temporary("import");
    write(&folder, &patients);
    // It does not say when it sends which of them.
    for patient in patients.iter() {
        patient.is_sent.store(true, Ordering::SeqCst);
    }
    let settings = [
        "auth.mode=off".to_owned(),
        format!("data_dir={}", node_folder().display()),
        format!("database.url={}", server.database.app),
        format!("database.owner_url={}", server.database.owner),
        "database.write_connections=4".to_owned(),
        "database.read_connections=2".to_owned(),
    ];
    let path = folder.to_str().unwrap().to_owned();
    let searchers = Searchers::start(&server.client, &patients);
    let import = spawn_blocking(move || {
        let mut arguments = vec!["import", &path, "--validate", "off", "--workers", "2"];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        kiln(&arguments)
    });
    let output = import.await.unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    searchers.end(&server.client, &patients).await;
    let none = server.client.get("/Patient?_summary=count").await.expect(200);
    assert_eq!(none.at("total"), Some(patients.len().to_string()), "each once");
    std::fs::remove_dir_all(folder).unwrap();
    server.stop().await;
}
