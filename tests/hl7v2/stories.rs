//! Stories of patients, told by messages: what is stored after each.
//!
//! All of them go over a connection to a server with the maps of the program.

use tokio::net::TcpStream;

use crate::harness::client::Answer;
use crate::harness::server::TestServer;

use super::feed::{Sender, value};

/// A server with a listener, and a sender.
pub(super) struct Story {
    pub(super) server: TestServer,
    pub(super) sender: Sender,
    count: u32,
}

impl Story {
    pub(super) async fn begin() -> Self {
        Self::begin_with(&[]).await
    }

    pub(super) async fn begin_with(more: &[(&str, &str)]) -> Self {
        let all = [&[("hl7v2.listen", "127.0.0.1:0")], more].concat();
        let server = TestServer::start_with(&all).await;
        let sender = Sender::new(TcpStream::connect(server.feed()).await.unwrap());
        Self { server, sender, count: 0 }
    }

    /// Sends a message of these segments, a minute after the one before: the code of the answer, and
    /// the names of its issues.
    pub(super) async fn tell(&mut self, event: &str, segments: &str) -> String {
        let minute = self.count + 1;
        let at = format!("20260704{:02}{:02}00", 12 + minute / 60, minute % 60);
        self.tell_at(event, &at, segments).await
    }

    pub(super) async fn tell_at(&mut self, event: &str, at: &str, segments: &str) -> String {
        self.count += 1;
        let evn = if event.starts_with("ADT") { format!("EVN||{at}\r") } else { String::new() };
        let message = format!(
            "MSH|^~\\&|LAB|STM|KILN|H|{at}||{event}|M{}|P|2.5.1\r{evn}{}\r",
            self.count,
            segments.replace('\n', "\r")
        );
        let answer = self.sender.send(&message).await;
        let text = str::from_utf8(&answer).unwrap();
        let mut told: Vec<_> = text
            .split("\rERR|")
            .skip(1)
            .filter(|err| err.split('|').nth(3).is_none_or(|severity| severity != "I"))
            .map(|err| {
                err.split('|').nth(4).unwrap_or_default().split('^').next().unwrap().to_owned()
            })
            .collect();
        told.dedup();
        told.insert(0, value(&answer, "MSA-1"));
        told.join(" ")
    }

    pub(super) async fn get(&self, url: &str) -> Answer {
        self.server.client.get(url).await.expect(200)
    }

    /// A value of the only match of a search.
    pub(super) async fn of(&self, url: &str, path: &str) -> String {
        let found = self.get(url).await;
        let count = found.text().matches("\"fullUrl\"").count();
        assert_eq!(count, 1, "{url}: {found:?}");
        found.at(&format!("entry[0].resource.{path}")).unwrap_or_default()
    }

    pub(super) async fn count(&self, url: &str) -> String {
        self.get(&format!("{url}_summary=count")).await.at("total").unwrap_or_default()
    }
}

pub(super) fn patient(rest: &str) -> String {
    format!("PID|1||12^^^STM^MR||{rest}")
}

pub(super) fn visit(place: &str) -> String {
    let person = patient("Muster^Anna||19700203|F|||Weg 1^^Ort||0301234");
    format!("{person}\nPV1|1|I|{place}^1^2^STM||||||||||||||||V1^^^STM^VN")
}

/// v2 B1, v2 B16, v2 E-A01, v2 E-A02, v2 E-A03, v2 E-A08, v2 E-A12, v2 E-A13: from admission to discharge.
#[tokio::test(flavor = "multi_thread")]
async fn a_stay_from_admission_to_discharge() {
    let mut story = Story::begin().await;
    assert_eq!(story.tell("ADT^A01^ADT_A01", &visit("W1")).await, "AA");
    assert_eq!(story.of("/Patient?", "name[0].family").await, "Muster");
    for (event, place, status, places) in [
        ("ADT^A08^ADT_A01", "W1", "in-progress", "active"),
        ("ADT^A02^ADT_A02", "W2", "in-progress", "completed active"),
        ("ADT^A12^ADT_A12", "W1", "in-progress", "active"),
        ("ADT^A02^ADT_A02", "W3", "in-progress", "completed active"),
        ("ADT^A03^ADT_A03", "W3", "finished", "completed completed"),
        ("ADT^A08^ADT_A01", "W3", "finished", "completed completed"),
        ("ADT^A13^ADT_A01", "W3", "in-progress", "completed active"),
        ("ADT^A11^ADT_A09", "W3", "cancelled", "completed active"),
    ] {
        assert_eq!(story.tell(event, &visit(place)).await, "AA", "{event}");
        assert_eq!(story.of("/Encounter?", "status").await, status, "{event}");
        let found = story.get("/Encounter?").await;
        let of = |at: u32| found.at(&format!("entry[0].resource.location[{at}].status"));
        let shown: Vec<_> = (0..4).map_while(of).collect();
        assert_eq!(shown.join(" "), places, "{event}");
    }
    assert_eq!(story.count("/Patient?").await, "1");
    let source = story.of("/Provenance?_sort=-recorded&_count=1&", "entity[0].role").await;
    assert_eq!(source, "source");
}

/// v2 B11, v2 B12, v2 B13, v2 S2, v2 S3: who a patient is follows from trusted numbers alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_patient_is_known_by_its_numbers() {
    let mut story = Story::begin().await;
    let tell = |numbers: &str| format!("PID|1||{numbers}||Muster^Anna");
    assert_eq!(story.tell("ADT^A28^ADT_A05", &tell("12^^^STM^MR~34^^^NAT^NI")).await, "AA");
    assert_eq!(story.tell("ADT^A31^ADT_A05", &tell("34^^^NAT^NI~12^^^STM^MR")).await, "AA");
    assert_eq!(story.count("/Patient?").await, "1");
    assert_eq!(story.tell("ADT^A28^ADT_A05", &tell("12^^^OTHER^MR")).await, "AA");
    assert_eq!(story.count("/Patient?").await, "2");
    let both = story.tell("ADT^A31^ADT_A05", &tell("12^^^STM^MR~12^^^OTHER^MR")).await;
    assert_eq!(both, "AE identity-conflict");
    let missing = story.tell("ADT^A31^ADT_A05", "PID|1||||Muster^Anna").await;
    assert_eq!(missing, "AE required");
    assert_eq!(story.count("/Patient?").await, "2");
}

/// v2 B14, v2 B15, v2 S10, v2 S22: what is not told stays, `""` goes, and older news change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_later_counts_and_nothing_else_changes() {
    let mut story = Story::begin().await;
    let url = "/Patient?identifier=12";
    story.tell("ADT^A01^ADT_A01", &visit("W1")).await;
    assert_eq!(story.tell("ADT^A08^ADT_A01", &patient("Neu^Anna")).await, "AA");
    assert_eq!(story.of(url, "telecom[0].value").await, "0301234");
    assert_eq!(story.of(url, "name[0].family").await, "Neu");
    assert_eq!(story.tell("ADT^A08^ADT_A01", &patient("Neu^Anna||||||||\"\"")).await, "AA");
    assert_eq!(story.of(url, "telecom[0].value").await, "");
    let late = story.tell_at("ADT^A08^ADT_A01", "20260701120000", &patient("Alt^Anna")).await;
    assert_eq!(late, "AA stale");
    assert_eq!(story.of(url, "name[0].family").await, "Neu");
}

/// v2 B17: the end of a stay that is told before its beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_discharge_before_the_admission() {
    let mut story = Story::begin().await;
    let left = story.tell_at("ADT^A03^ADT_A03", "20260705100000", &visit("W1")).await;
    assert_eq!(left, "AA unexpected-transition");
    story.tell_at("ADT^A01^ADT_A01", "20260704100000", &visit("W1")).await;
    assert_eq!(story.of("/Encounter?", "status").await, "finished");
    let start = story.of("/Encounter?", "period.start").await;
    assert!(start.starts_with("2026-07-04T10:00:00"), "{start}");
    let end = story.of("/Encounter?", "period.end").await;
    assert!(end.starts_with("2026-07-05T10:00:00"), "{end}");
}

pub(super) fn result(number: &str, status: &str, value: &str) -> String {
    format!(
        "PID|1||{number}^^^STM^MR||Muster^Anna\nOBR|1|P1^LAB|F1^LAB|24323-8^Panel^LN|||20260704110000|||||||||||||||20260704113000||LAB|{status}\n\
         OBX|1|NM|718-7^Hemoglobin^LN||{value}|g/dL|12-16|N|||{status}|||20260704110000"
    )
}

/// v2 B21, v2 S33: a result that is corrected, and one that comes late.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_preliminary_then_final_then_corrected() {
    let mut story = Story::begin().await;
    for (status, value, expected, code) in [
        ("P", "11.0", "preliminary", "AA"),
        ("F", "11.5", "final", "AA"),
        ("C", "11.6", "corrected", "AA"),
        ("P", "9.9", "corrected", "AA status-regression"),
        ("D", "11.6", "entered-in-error", "AA"),
    ] {
        // Of an order nothing is wrong when a result was.
        let oru = result("12", status, value).replace("LAB|D", "LAB|C");
        let told = story.tell("ORU^R01^ORU_R01", &oru).await;
        assert_eq!(told.split(" unmapped").next().unwrap(), code, "{status}");
        assert_eq!(story.of("/Observation?", "status").await, expected, "{status}");
    }
    let id = story.of("/Observation?", "id").await;
    let history = story.get(&format!("/Observation/{id}/_history")).await;
    assert_eq!(history.at("total").as_deref(), Some("4"));
}

/// v2 B18, v2 B11: two patients become one, with all that the losing one had.
#[tokio::test(flavor = "multi_thread")]
async fn two_patients_become_one() {
    let mut story = Story::begin().await;
    story.tell("ORU^R01^ORU_R01", &result("99", "F", "11.5")).await;
    let losing = story.of("/Patient?", "id").await;
    story.tell("ADT^A28^ADT_A05", &patient("Muster^Anna")).await;
    let merge = format!("{}\nMRG|99^^^STM^MR", patient("Muster^Anna"));
    for round in 0..2 {
        assert_eq!(story.tell("ADT^A40^ADT_A39", &merge).await, "AA", "{round}");
        let kept = story.of("/Patient?active=true", "id").await;
        assert_ne!(kept, losing);
        assert_eq!(story.of("/Patient?active=false", "id").await, losing);
        assert_eq!(story.of("/Patient?active=false", "link[0].type").await, "replaced-by");
        assert_eq!(story.of("/Patient?active=true", "link[0].type").await, "replaces");
        let subject = story.of("/Observation?", "subject.reference").await;
        assert_eq!(subject, format!("Patient/{kept}"));
        let found = story.of("/Patient?identifier=99&active=true", "id").await;
        assert_eq!(found, kept, "by its old number the one that stays is found");
        assert_eq!(story.of("/Patient?active=true", "meta.versionId").await, "2", "{round}");
    }
    // What comes later on the old number lands where it belongs.
    let late = result("99", "F", "12.0").replace("F1^LAB", "F2^LAB").replace("P1^LAB", "P2^LAB");
    story.tell("ORU^R01^ORU_R01", &late).await;
    let kept = story.of("/Patient?active=true", "id").await;
    assert_eq!(story.count(&format!("/Observation?subject=Patient/{kept}&")).await, "2");
    let unknown = format!("{}\nMRG|1000^^^STM^MR", patient("Muster^Anna"));
    assert_eq!(story.tell("ADT^A40^ADT_A39", &unknown).await, "AE unknown-patient");
}

/// v2 B19: patients that belong together, and do no longer.
#[tokio::test(flavor = "multi_thread")]
async fn patients_are_linked_and_unlinked() {
    let mut story = Story::begin().await;
    let both = "PID|1||12^^^STM^MR||Muster^Anna\nPID|2||13^^^STM^MR||Muster^Anton";
    assert_eq!(story.tell("ADT^A24^ADT_A24", both).await, "AA");
    for number in ["12", "13"] {
        let url = format!("/Patient?identifier={number}");
        assert_eq!(story.of(&url, "link[0].type").await, "seealso");
    }
    assert_eq!(story.tell("ADT^A37^ADT_A37", both).await, "AA");
    assert_eq!(story.of("/Patient?identifier=12", "link[0].type").await, "");
    assert_eq!(story.count("/Patient?active=true&").await, "2");
}

/// v2 B37, v2 S11: a list of all allergies ends the one that is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_all_there_is_ends_what_is_missing() {
    let mut story = Story::begin().await;
    let allergies = |codes: &[&str]| {
        let lines: Vec<_> =
            (1..).zip(codes).map(|(n, code)| format!("AL1|{n}|DA|{code}^{code}^99STM")).collect();
        format!("{}\nPV1|1|I\n{}", patient("Muster^Anna"), lines.join("\n"))
    };
    story.tell("ADT^A08^ADT_A01", &allergies(&["A", "B", "C"])).await;
    assert_eq!(story.count("/AllergyIntolerance?").await, "3");
    story.tell("ADT^A08^ADT_A01", &allergies(&["A", "C"])).await;
    let ended = "/AllergyIntolerance?verification-status=entered-in-error&";
    assert_eq!(story.count(ended).await, "1");
    // That none is told of says nothing.
    story.tell("ADT^A08^ADT_A01", &patient("Muster^Anna")).await;
    assert_eq!(story.count(ended).await, "1");
}

/// A PID that comes twice is one patient, and what comes behind it is of its own PID.
///
/// Covers: v2 B18.
#[tokio::test(flavor = "multi_thread")]
async fn each_pair_of_a_merge_is_of_the_pid_before_it() {
    let mut story = Story::begin().await;
    let pid = |number: &str| format!("PID|1||{number}^^^STM^MR||Muster^Anna");
    for number in ["1", "2", "9", "8", "7"] {
        assert_eq!(story.tell("ADT^A28^ADT_A05", &pid(number)).await, "AA");
    }
    let pairs = [("1", "9"), ("1", "8"), ("2", "7")];
    let pairs = pairs.map(|(kept, gone)| format!("{}\nMRG|{gone}^^^STM^MR", pid(kept)));
    assert_eq!(story.tell("ADT^A40^ADT_A39", &pairs.join("\n")).await, "AA");
    for (kept, gone) in [("1", "9"), ("1", "8"), ("2", "7")] {
        let url = format!("/Patient?active=true&identifier={gone}");
        assert_eq!(story.of(&url, "identifier[0].value").await, kept, "{gone}");
    }
}

/// Merges that race with results on the losing number leave nothing behind, of whatever type it is.
///
/// Covers: v2 B20.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_races_with_a_result_leaves_no_orphan() {
    let mut story = Story::begin().await;
    story.tell("ADT^A28^ADT_A05", &patient("Muster^Anna")).await;
    for round in 0..100 {
        let number = format!("9{round}");
        let other = format!("PID|1||{number}^^^STM^MR||Muster^Anna");
        story.tell("ADT^A28^ADT_A05", &other).await;
        let lost = story.of(&format!("/Patient?identifier={number}&active=true&"), "id").await;
        let visit = format!("\nPV1|1|O|W1||||||||||||||||V{number}^^^STM^VN\nOBR|");
        let specimen = format!("\nSPM|1|S{number}&LAB||BLD^Blood^HL70487");
        let stream = TcpStream::connect(story.server.feed()).await.unwrap();
        let mut second = Sender::new(stream);
        let oru = format!(
            "MSH|^~\\&|LAB|STM|K|H|20260704120000||ORU^R01^ORU_R01|R{round}|P|2.5.1\r{}\r",
            result(&number, "F", "1")
                .replace("F1^LAB", &format!("F{number}^LAB"))
                .replace("P1^LAB", &format!("P{number}^LAB"))
                .replace("\nOBR|", &visit)
                .replace('\n', "\r")
                + &specimen.replace('\n', "\r")
        );
        let merge = format!("{}\nMRG|{number}^^^STM^MR", patient("Muster^Anna"));
        let (merged, sent) = tokio::join!(story.tell("ADT^A40^ADT_A39", &merge), second.send(&oru));
        assert_eq!((merged.as_str(), value(&sent, "MSA-1").as_str()), ("AA", "AA"));
        let kept = story.of("/Patient?active=true", "id").await;
        for of in ["DiagnosticReport", "Encounter", "Observation", "ServiceRequest", "Specimen"] {
            let url = format!("/{of}?subject=Patient/{kept}&");
            assert_eq!(story.count(&url).await, (round + 1).to_string(), "{of}");
        }
        // Who has replaced it leads to it, and what says by which messages it came to be.
        let left = story.get(&format!("/Patient/{lost}/*?_count=100")).await;
        let types = (0..100).map_while(|at| left.at(&format!("entry[{at}].resource.resourceType")));
        let orphans: Vec<_> = types
            .filter(|of| !matches!(of.as_str(), "AuditEvent" | "Patient" | "Provenance"))
            .collect();
        assert!(orphans.is_empty(), "{round} {orphans:?}");
    }
}

/// v2 P8: a dry run tells what would be stored and answered, and stores nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_stores_nothing() {
    let story = Story::begin().await;
    let client = &story.server.client;
    let message = include_str!("../../examples/adt-a01.hl7");
    let convert = |kind: &str, body: String| {
        client.call("POST", "/$hl7v2-convert").header("Content-Type", kind).body(body)
    };
    let answer = convert("application/hl7-v2", message.to_owned()).send().await.expect(200);
    let shown = answer.text();
    assert_eq!(answer.at("parameter[name=bundle].resource.type").as_deref(), Some("transaction"));
    assert!(shown.contains("MSA|AA|EX-1"), "{shown}");
    let escaped = message.replace('\\', "\\\\").replace('\n', "\\r");
    let body = format!(
        r#"{{"resourceType":"Parameters","parameter":[{{"name":"message","valueString":"{escaped}"}}]}}"#
    );
    let again = convert("application/fhir+json", body).send().await.expect(200);
    assert_eq!(again.at("parameter[name=bundle].resource.type").as_deref(), Some("transaction"));
    let refused = convert("application/hl7-v2", "MSH|^~\\&|A|B|||2026||XYZ^Q1|1|P|2.5".to_owned());
    let refused = refused.send().await.expect(200);
    assert!(refused.text().contains("MSA|AR|1"), "{refused:?}");
    convert("application/fhir+json", "{}".to_owned()).send().await.expect(400);
    assert_eq!(story.count("/Patient?").await, "0");
}
