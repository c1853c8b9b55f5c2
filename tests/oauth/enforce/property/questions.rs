//! Questions by chance, and what is answered to them.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::harness::client::{Answer, Client};

use super::super::super::world::entries;
use super::world::Chance;

/// Types that are asked for as a whole.
const ASKED: &[&str] = &[
    "Observation",
    "Encounter",
    "Patient",
    "DiagnosticReport",
    "Appointment",
    "Device",
    "Provenance",
    "Bundle",
    "Task",
];

/// Something to ask that is about what is in no compartment, or of several people.
pub(super) fn question_beside(chance: &mut Chance) -> String {
    let patient = chance.patient();
    let at = chance.below(10);
    match chance.below(10) {
        0 => format!("/Bundle/b{at}"),
        1 => format!("/Task/t{at}/_history"),
        2 => format!("/Group/g{at}"),
        3 => format!("/{}/_history?_count=5", chance.of(&["Bundle", "Group", "Task"])),
        4 => format!("/Task?patient={patient}&_sort=_id"),
        5 => format!("/Task?focus=Observation/o{}", chance.below(40)),
        6 => format!("/Group?member=Patient/{patient}&_total=accurate&_count=1"),
        7 => format!("/Patient?_revinclude=Group:member&_id={patient}"),
        8 => "/Bundle?_total=accurate&_count=3&_sort=_id".to_owned(),
        _ => format!("{BATCH}Bundle/b{at} Task/t{at} Group/g{at} Task?status=requested"),
    }
}

/// Something to ask.
pub(super) fn question(chance: &mut Chance) -> String {
    let patient = chance.patient();
    let code = chance.of(&["x", "y", "z"]);
    let value = chance.below(10);
    let of = chance.of(ASKED);
    match chance.below(14) {
        0 => return batch(chance),
        1 => return history(chance, of),
        2 => return everything(chance),
        3 => return document(chance),
        _ => {}
    }
    let filter = match chance.below(27) {
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
        24 => format!("{}?_security=R", chance.of(&["Observation", "Encounter"])),
        25 => format!("Provenance?target:Observation.code={code}"),
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

/// How many pages are asked for at most.
const MOST_PAGES: usize = 4;

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

/// Whole records.
fn everything(chance: &mut Chance) -> String {
    let of = match chance.below(6) {
        0 => "Patient".to_owned(),
        1 => format!("Encounter/e{}", chance.below(12)),
        _ => format!("Patient/{}", chance.patient()),
    };
    let more =
        chance.of(&["", "?_count=3", "?_count=40", "?_type=Observation,Device,Practitioner"]);
    format!("/{of}/$everything{more}")
}

/// A document of GraphQL: of an encounter or a patient and on from there, of a page, of a list.
fn document(chance: &mut Chance) -> String {
    let target = "resource { __typename ... on Resource { resourceType id } }";
    let code = chance.of(&["x", "y", "z"]);
    let patient = chance.patient();
    let (at, number) = (chance.below(14), chance.below(45));
    let walk = chance.of(&[
        "ObservationList(_reference: subject, _sort: \"_id\") { resourceType id }",
        "DeviceList(_reference: patient, _sort: \"_id\") { resourceType id }",
        "AppointmentList(_reference: patient, _sort: \"_id\") { resourceType id status }",
        "EncounterConnection(_reference: subject, _sort: \"_id\", _total: \"accurate\") { count edges { resource { resourceType id } } }",
    ]);
    let text = match chance.below(6) {
        0 => format!(
            "{{ Encounter(id: \"e{at}\") {{ id subject {{ {target} }} partOf {{ {target} }} \
             ObservationList(_reference: encounter, _sort: \"_id\") {{ resourceType id focus {{ {target} }} }} }} }}"
        ),
        1 => format!(
            "{{ Observation(id: \"o{number}\") {{ resourceType id subject {{ {target} }} \
             encounter {{ {target} }} hasMember {{ {target} }} performer {{ {target} }} }} }}"
        ),
        2 => format!(
            "{{ ObservationConnection(code: \"{code}\", _sort: \"_id\", _count: 3, _total: \"accurate\") \
             {{ count edges {{ mode resource {{ resourceType id hasMember {{ {target} }} }} }} }} }}"
        ),
        3 => format!("{{ Patient(id: \"{patient}\") {{ resourceType id {walk} }} }}"),
        4 => format!(
            "{{ PatientList(_sort: \"_id\") {{ resourceType id name @flatten {{ family }} {walk} \
             generalPractitioner {{ resource {{ ... on Practitioner {{ \
             PatientList(_reference: general_practitioner, _sort: \"_id\") {{ resourceType id }} }} }} }} }} }}"
        ),
        _ => format!(
            "{{ DiagnosticReportList(subject: \"Patient/{patient}\", _sort: \"_id\") \
             {{ resourceType id result {{ {target} }} first: result(_count: 1) {{ reference }} }} }}"
        ),
    };
    format!("/$graphql?query={}", utf8_percent_encode(&text, NON_ALPHANUMERIC))
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
pub(super) type Gist = (u16, Vec<String>, Option<String>);

fn gist(answer: &Answer) -> Gist {
    if answer.status != 200 {
        return (answer.status, Vec::new(), None);
    }
    let value = answer.json();
    if value.str_at("resourceType").is_none() {
        return (200, vec![answer.text()], None);
    }
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

/// Where the next page is.
fn after(client: &Client, answer: &Answer) -> Option<String> {
    if answer.status != 200 {
        return None;
    }
    let value = answer.json();
    let links = value.items_at("link").iter();
    let mut next = links.filter(|link| link.str_at("relation") == Some("next"));
    let url = next.find_map(|link| link.str_at("url"))?;
    Some(url.trim_start_matches(&client.base()).to_owned())
}

/// The answer and the pages after it.
pub(super) async fn pages(client: &Client, url: &str) -> Vec<Gist> {
    let mut all = Vec::new();
    let mut next = Some(url.to_owned());
    while let Some(url) = next.take().filter(|_| all.len() < MOST_PAGES) {
        let answer = ask(client, &url).await;
        next = after(client, &answer);
        all.push(gist(&answer));
    }
    all
}

/// The texts of the answer and of the pages after it.
pub(super) async fn texts(client: &Client, url: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut next = Some(url.to_owned());
    while let Some(url) = next.take().filter(|_| all.len() < MOST_PAGES) {
        let answer = ask(client, &url).await;
        next = after(client, &answer);
        all.push(format!("{} {}", answer.status, answer.text()));
    }
    all
}
