//! The strongest test of enforcement: what a token shows of all data is what an open server shows of
//! the data that the token reaches, whatever is asked; and what it does not reach changes nothing.
//!
//! The world is random: three patients, what is theirs, and references across. Which of it a patient
//! reaches is worked out here, from the documents alone, and stored on a server of its own. The same
//! question then goes to both. After that the rest of the full server is changed, and the answers must
//! be the same to the byte.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::harness::client::{Answer, Client};
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

use super::super::world::{body, entries};

const PATIENTS: [&str; 3] = ["p0", "p1", "p2"];

/// Numbers by chance, the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn patient(&mut self) -> &'static str {
        self.of(&PATIENTS)
    }
}

/// A resource, and what says whose it is.
#[derive(Clone)]
struct Made {
    path: String,
    content: String,
    patients: BTreeSet<&'static str>,
    targets: Vec<String>,
    is_shared: bool,
    is_device: bool,
    /// Whether who has a part in it sees that part.
    is_in_part: bool,
}

impl Made {
    fn new(path: String, content: String, patients: &[&'static str]) -> Self {
        let patients = patients.iter().copied().collect();
        let (targets, is_shared, is_device, is_in_part) = (Vec::new(), false, false, false);
        Self { path, content, patients, targets, is_shared, is_device, is_in_part }
    }

    fn is_of(&self, patient: &str, all: &[Self]) -> bool {
        if self.path == format!("Patient/{patient}") || self.is_shared {
            return true;
        }
        if self.path.starts_with("Patient/") {
            return false;
        }
        if !self.targets.is_empty() {
            return self.targets.iter().all(|target| {
                all.iter().any(|other| other.path == *target && other.is_of(patient, all))
            });
        }
        if self.is_in_part {
            return self.patients.contains(patient);
        }
        let is_own = self.patients.iter().all(|other| *other == patient);
        is_own && (self.is_device || !self.patients.is_empty())
    }
}

impl Made {
    /// What of it this patient sees.
    fn part_of(&self, patient: &str) -> Self {
        let mut part = self.clone();
        for other in PATIENTS.iter().filter(|other| self.is_in_part && **other != patient) {
            let reference = format!(r#"{{"reference":"Patient/{other}"}}"#);
            part.content = part.content.replace(&reference, super::masked::GONE);
        }
        part
    }
}

fn observation(at: usize, chance: &mut Chance) -> Made {
    let (subject, code) = (chance.patient(), chance.of(&["x", "y", "z"]));
    let mut patients = vec![subject];
    let mut more = String::new();
    if chance.below(4) == 0 {
        let other = chance.patient();
        patients.push(other);
        let _ = write!(more, r#","performer":[{{"reference":"Patient/{other}"}}]"#);
    }
    if chance.below(3) == 0 {
        let _ = write!(more, r#","focus":[{{"reference":"Patient/{}"}}]"#, chance.patient());
    }
    if at > 0 && chance.below(2) == 0 {
        let member = chance.below(at);
        let _ = write!(more, r#","hasMember":[{{"reference":"Observation/o{member}"}}]"#);
    }
    let category = chance.of(&["laboratory", "vital-signs"]);
    let content = format!(
        r#""status":"final","category":[{{"coding":[{{"system":"urn:cat","code":"{category}"}}]}}],"code":{{"coding":[{{"system":"urn:c","code":"{code}"}}]}},"subject":{{"reference":"Patient/{subject}"}},"encounter":{{"reference":"Encounter/e{}"}},"valueQuantity":{{"value":{}}}{more}"#,
        chance.below(12),
        chance.below(10),
    );
    Made::new(format!("Observation/o{at}"), content, &patients)
}

/// Appointments of two, devices of one or none, and Provenances.
fn around(chance: &mut Chance) -> Vec<Made> {
    let mut all = Vec::new();
    for at in 0..8 {
        let both = [chance.patient(), chance.patient()];
        let actor =
            |id: &str| format!(r#"{{"actor":{{"reference":"Patient/{id}"}},"status":"accepted"}}"#);
        let content =
            format!(r#""status":"proposed","participant":[{},{}]"#, actor(both[0]), actor(both[1]));
        all.push(Made {
            is_in_part: true,
            ..Made::new(format!("Appointment/a{at}"), content, &both)
        });
    }
    for at in 0..6 {
        let patient = (chance.below(2) == 0).then(|| chance.patient());
        let content = patient.map_or(r#""distinctIdentifier":"x""#.to_owned(), |patient| {
            format!(r#""patient":{{"reference":"Patient/{patient}"}}"#)
        });
        let patients: Vec<_> = patient.into_iter().collect();
        all.push(Made {
            is_device: true,
            ..Made::new(format!("Device/v{at}"), content, &patients)
        });
    }
    for at in 0..10 {
        let targets: Vec<String> =
            (0..=chance.below(2)).map(|_| format!("Observation/o{}", chance.below(40))).collect();
        let list: Vec<String> =
            targets.iter().map(|target| format!(r#"{{"reference":"{target}"}}"#)).collect();
        let content = format!(
            r#""target":[{}],"recorded":"2020-01-01T00:00:00Z","agent":[{{"who":{{"reference":"Practitioner/d"}}}}]"#,
            list.join(",")
        );
        all.push(Made { targets, ..Made::new(format!("Provenance/n{at}"), content, &[]) });
    }
    all
}

fn world(chance: &mut Chance) -> Vec<Made> {
    let mut all = vec![Made {
        is_shared: true,
        ..Made::new("Practitioner/d".into(), r#""active":true"#.into(), &[])
    }];
    for (at, patient) in PATIENTS.iter().copied().enumerate() {
        let link = PATIENTS[(at + 1) % 3];
        let content = format!(
            r#""name":[{{"family":"Family{at}"}}],"gender":"female","generalPractitioner":[{{"reference":"Practitioner/d"}}],"link":[{{"other":{{"reference":"Patient/{link}"}},"type":"seealso"}}]"#
        );
        all.push(Made::new(format!("Patient/{patient}"), content, &[patient]));
    }
    for at in 0..12 {
        let patient = chance.patient();
        let parent = chance.below(12);
        let content = format!(
            r#""status":"finished","class":{{"code":"AMB"}},"subject":{{"reference":"Patient/{patient}"}},"partOf":{{"reference":"Encounter/e{parent}"}}"#
        );
        all.push(Made::new(format!("Encounter/e{at}"), content, &[patient]));
    }
    all.extend((0..40).map(|at| observation(at, chance)));
    for at in 0..10 {
        let patient = chance.patient();
        let results = [chance.below(40), chance.below(40)];
        let content = format!(
            r#""status":"final","code":{{"coding":[{{"code":"r"}}]}},"subject":{{"reference":"Patient/{patient}"}},"result":[{{"reference":"Observation/o{}"}},{{"reference":"Observation/o{}"}}]"#,
            results[0], results[1],
        );
        all.push(Made::new(format!("DiagnosticReport/r{at}"), content, &[patient]));
    }
    all.extend(around(chance));
    all
}

/// Types that are asked for as a whole.
const ASKED: &[&str] = &[
    "Observation",
    "Encounter",
    "Patient",
    "DiagnosticReport",
    "Appointment",
    "Device",
    "Provenance",
];

/// Something to ask.
fn question(chance: &mut Chance) -> String {
    let patient = chance.patient();
    let code = chance.of(&["x", "y", "z"]);
    let value = chance.below(10);
    let of = chance.of(ASKED);
    let other = chance.below(12);
    if other < 2 {
        return if other == 0 { batch(chance) } else { history(chance, of) };
    }
    let filter = match chance.below(25) {
        0 => of.to_owned(),
        1 => format!("Observation?code={code}"),
        2 => format!("Observation?subject=Patient/{patient}"),
        3 => format!("Observation?patient={patient}&code:not={code}"),
        4 => format!("Observation?value-quantity=gt{value}"),
        5 => format!("Observation?subject:Patient.name=family{}", chance.below(3)),
        6 => format!("Observation?has-member.code={code}"),
        7 => format!(
            "Observation?has-member:Observation.subject:Patient.name=family{}",
            chance.below(3)
        ),
        8 => format!("Patient?_has:Observation:subject:code={code}"),
        9 => format!("Patient?_has:Observation:focus:value-quantity=lt{value}"),
        10 => format!("Encounter?_has:Observation:encounter:code={code}"),
        11 => format!("DiagnosticReport?result.value-quantity=ge{value}"),
        12 => format!("Patient/{patient}/Observation?code={code}"),
        13 => format!("Patient/{patient}/Encounter"),
        14 => format!("Encounter?part-of:below=Encounter/e{}", chance.below(12)),
        15 => format!("Encounter?part-of:above=Encounter/e{}", chance.below(12)),
        16 => format!("Observation?focus=Patient/{patient}"),
        17 => format!("Appointment?patient={patient}"),
        18 => format!("Provenance?target=Observation/o{}", chance.below(40)),
        19 => format!("Observation?category=laboratory&performer:missing=false&code={code}"),
        20 => {
            format!("Observation?_filter=code%20eq%20{code}%20or%20value-quantity%20gt%20{value}")
        }
        21 => format!("Device?patient={patient}"),
        22 => format!("Appointment?actor=Patient/{patient}"),
        23 => format!("Patient/{patient}/Appointment?status=proposed"),
        _ => format!("Appointment?_filter=not%20(actor%20eq%20Patient/{patient})"),
    };
    let sign = if filter.contains('?') { '&' } else { '?' };
    let more = order(chance);
    format!("/{filter}{sign}{more}")
}

/// How what is found is told.
fn order(chance: &mut Chance) -> &'static str {
    match chance.below(12) {
        0 => "_sort=_id",
        1 => "_sort=-_id&_count=3",
        2 => "_count=2",
        3 => "_total=accurate&_count=1",
        4 => "_summary=count",
        5 => "_include=*",
        6 => "_revinclude=Provenance:target",
        7 => "_revinclude=*&_include:iterate=*",
        8 => "_include=Observation:has-member&_include:iterate=Observation:encounter",
        9 => "_sort=code",
        _ => "_count=50",
    }
}

/// How a question begins that goes to the root as a batch of reads.
const BATCH: &str = "batch ";

/// Several questions at once: reads, searches and histories by their addresses.
fn batch(chance: &mut Chance) -> String {
    let all: Vec<String> = (0..=chance.below(4))
        .map(|_| match chance.below(5) {
            0 => format!("Observation/o{}", chance.below(45)),
            1 => format!("Encounter/e{}/_history/1", chance.below(14)),
            2 => format!("Device/v{}/_history", chance.below(7)),
            3 => format!("Observation?code={}&_include=*&_sort=_id", chance.of(&["x", "y"])),
            _ => format!("Patient/{}", chance.patient()),
        })
        .collect();
    format!("{BATCH}{}", all.join(" "))
}

/// The history of a resource or of a type.
fn history(chance: &mut Chance, of: &str) -> String {
    match chance.below(4) {
        0 => format!("/{of}/_history?_count=5"),
        1 => "/_history?_count=7".to_owned(),
        2 => format!("/Observation/o{}/_history", chance.below(45)),
        _ => format!("/Provenance/n{}/_history/1", chance.below(12)),
    }
}

/// What is answered to a question.
async fn ask(client: &Client, url: &str) -> Answer {
    let Some(urls) = url.strip_prefix(BATCH) else { return client.get(url).await };
    let entry = |url: &str| format!(r#"{{"request":{{"method":"GET","url":"{url}"}}}}"#);
    let entries: Vec<String> = urls.split(' ').map(entry).collect();
    let entries = entries.join(",");
    client
        .post("/", format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{entries}]}}"#))
        .await
}

/// What an answer comes down to: its status, its entries, and the total.
type Gist = (u16, Vec<String>, Option<String>);

fn gist(answer: &Answer) -> Gist {
    if answer.status != 200 {
        return (answer.status, Vec::new(), None);
    }
    let value = answer.json();
    if value.str_at("resourceType") != Some("Bundle") {
        return (200, vec![value.str_at("id").unwrap_or_default().to_owned()], None);
    }
    let mut all = entries(answer);
    // The entries of a batch in their order: each has a status, and may have entries of its own.
    for entry in value.items_at("entry") {
        let Some(response) = entry.get("response") else { continue };
        let inner = entry.get("resource").map_or(&[][..], |it| it.items_at("entry"));
        let names = inner.iter().filter_map(|it| it.get("resource")).map(|it| it.str_at("id"));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        all.push(format!("{:?} {names:?}", response.str_at("status")));
    }
    (200, all, answer.at("total"))
}

/// The answer and the pages after it.
async fn pages(client: &Client, url: &str) -> Vec<Gist> {
    let mut all = Vec::new();
    let mut url = url.to_owned();
    for _ in 0..4 {
        let answer = ask(client, &url).await;
        all.push(gist(&answer));
        if answer.status != 200 {
            break;
        }
        let value = answer.json();
        let links = value.items_at("link").iter();
        let mut next = links.filter(|link| link.str_at("relation") == Some("next"));
        let Some(next) = next.find_map(|link| link.str_at("url")) else { break };
        next.trim_start_matches(&client.base()).clone_into(&mut url);
    }
    all
}

async fn store(server: &TestServer, all: &[&Made]) {
    for made in all {
        let url = format!("/{}", made.path);
        server.client.put(&url, body(&made.path, &made.content)).await.expect(201);
    }
}

/// How many questions: few in a usual run.
fn cases() -> usize {
    if crate::harness::shared::long() { 20_000 } else { 500 }
}

/// Covers: security E6, E11, E12, VP.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_shows_what_an_open_server_shows_of_what_it_reaches() {
    let mut chance = Chance(0x5eed_0fa1);
    let all = world(&mut chance);
    let full = TestServer::start().await;
    store(&full, &all.iter().collect::<Vec<_>>()).await;
    let mut seats = Vec::new();
    for patient in PATIENTS {
        let own = all.iter().filter(|made| made.is_of(patient, &all));
        let own: Vec<Made> = own.map(|made| made.part_of(patient)).collect();
        let part = TestServer::start().await;
        store(&part, &own.iter().collect::<Vec<_>>()).await;
        let limited = Token::new(&full, "patient/*.rs").patient(patient).client().await;
        seats.push((limited, part));
    }
    for case in 0..cases() {
        let url = question(&mut chance);
        let ((limited, _), part) = &seats[case % 3];
        // An estimate or a total that nobody asked for may be left out by one of them.
        let without_total = |pages: Vec<Gist>| {
            let is_asked = url.contains("_total=") || url.contains("_summary=");
            let page = |(status, entries, total)| {
                (status, entries, Option::filter(total, |_: &String| is_asked))
            };
            pages.into_iter().map(page).collect::<Vec<_>>()
        };
        let shown = without_total(pages(limited, &url).await);
        let expected = without_total(pages(&part.client, &url).await);
        assert_eq!(shown, expected, "case {case} of {}: {url}", PATIENTS[case % 3]);
    }
    // What is out of reach changes; what is shown does not.
    let ((limited, _), _) = &seats[0];
    let questions: Vec<String> = (0..60).map(|_| question(&mut chance)).collect();
    let mut before = Vec::new();
    for url in &questions {
        before.push(ask(limited, url).await.text());
    }
    for made in all.iter().filter(|made| !made.is_of(PATIENTS[0], &all)) {
        let url = format!("/{}", made.path);
        if !made.path.starts_with("Patient/") && chance.below(2) == 0 {
            full.client.delete(&url).await;
        } else {
            let content = made.content.replace("\"code\":\"x\"", "\"code\":\"z\"");
            full.client.put(&url, body(&made.path, &content)).await;
        }
    }
    for (url, before) in questions.iter().zip(before) {
        assert_eq!(ask(limited, url).await.text(), before, "{url}");
    }
    for (_, part) in seats {
        part.stop().await;
    }
    full.stop().await;
}
