//! Messages that are worked on again, and what comes again after it was deleted.

use std::time::Duration;

use super::super::sites::install;
use super::super::stories::Story;

/// A profile whose sender has a segment of its own, of which a resource is made.
const PETS: &str = r#"
[site]
id = "lab"
match = { app = "LAB", facility = "STM" }
[resource.pet]
type = "Basic"
each = "ZPT"
key = "ids(PID-3.1, ZPT-1)"
set.code = "ZPT-2 | cwe"
set.subject = "ref(patient)"
[message.adt]
add = ["pet"]
"#;

/// Has the message of this control id worked on again; its issues when that is done.
async fn replayed(story: &Story, control_id: &str, query: &str) -> String {
    let client = &story.server.client;
    let root = client.root();
    let get = async |url: String| client.call("GET", &url).send().await.expect(200);
    let list = get(format!("{root}/v2/messages?control-id={control_id}")).await;
    let id = list.at("messages[0].id").unwrap();
    let url = format!("{root}/v2/messages/{id}/$replay{query}");
    client.call("POST", &url).send().await.expect(202);
    for _ in 0..200 {
        let one = get(format!("{root}/v2/messages/{id}")).await;
        if one.at("state").unwrap().starts_with("processed") {
            return one.text();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{control_id} is not processed again");
}

/// What a message made by other maps is told when it makes that no longer, and goes where that is asked for.
///
/// Covers: v2 P7.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_made_is_told_and_deleted_on_request() {
    const LEFT: &str = "\"name\":\"no-longer-made\"";
    let mut story = Story::begin().await;
    install(&story.server, "lab", Some(PETS)).await;
    let pets = "PID|1||12^^^STM^MR||Muster^Anna\nPV1|1|I\nZPT|1|dog^Dog^L\nZPT|2|cat^Cat^L";
    assert!(story.tell("ADT^A08^ADT_A01", pets).await.starts_with("AA"));
    assert_eq!(story.count("/Basic?").await, "2");
    let cat = story.of("/Basic?code=cat", "id").await;
    install(&story.server, "lab", Some(PETS.split("[resource").next().unwrap())).await;
    // It stays, and is told.
    let told = replayed(&story, "M1", "").await;
    assert_eq!(told.matches(LEFT).count(), 2, "{told}");
    assert_eq!(story.count("/Basic?").await, "2");
    // What somebody has changed since stays in any case.
    let client = &story.server.client;
    let other = format!(r#"{{"resourceType":"Basic","id":"{cat}","code":{{"text":"a lion"}}}}"#);
    client.put(&format!("/Basic/{cat}"), other).await.expect(200);
    let told = replayed(&story, "M1", "?prune=true").await;
    assert_eq!(told.matches(LEFT).count(), 1, "{told}");
    assert!(told.contains("\"action\":\"delete\""), "{told}");
    assert_eq!(story.of("/Basic?", "id").await, cat);
    assert_eq!(story.count("/Patient?").await, "1");
    // By the maps of before it is made again.
    install(&story.server, "lab", Some(PETS)).await;
    replayed(&story, "M1", "?prune=true").await;
    assert_eq!(story.count("/Basic?code=dog&").await, "1");
    let url = format!("{}/v2/messages/$replay?state=failed&prune=perhaps", client.root());
    client.call("POST", &url).send().await.expect(400);
}

/// A patient who was deleted by hand and comes again is made again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_is_made_again_when_a_message_tells_of_it() {
    let mut story = Story::begin().await;
    let person = "PID|1||12^^^STM^MR||Muster^Anna";
    assert_eq!(story.tell("ADT^A28^ADT_A05", person).await, "AA");
    let first = story.of("/Patient?", "id").await;
    story.server.client.delete(&format!("/Patient/{first}")).await.expect(204);
    assert_eq!(story.count("/Patient?").await, "0");
    for _ in 0..2 {
        assert_eq!(story.tell("ADT^A31^ADT_A05", person).await, "AA");
        assert_eq!(story.count("/Patient?").await, "1");
    }
    assert_ne!(story.of("/Patient?", "id").await, first);
}

/// A vaccination is brought up to date, left alone or deleted, as RXA-21 says; a list of which an entry says S is
/// all there is.
///
/// Covers: v2 S12.
#[tokio::test(flavor = "multi_thread")]
async fn action_codes_say_what_becomes_of_an_entry() {
    let mut story = Story::begin().await;
    let vaccination = |lot: &str, action: &str| {
        format!(
            "PID|1||12^^^STM^MR||Muster^Anna\nORC|RE||X1^LAB\n\
             RXA|0|1|20260704||08^Hep B^CVX|0.5|mL||||||||{lot}|||||CP|{action}"
        )
    };
    let url = "/Immunization?patient.identifier=12&";
    for (lot, action, kept, status) in [
        ("L1", "A", "L1", "completed"),
        ("L2", "U", "L2", "completed"),
        ("L3", "X", "L2", "completed"),
        ("L2", "D", "L2", "entered-in-error"),
    ] {
        let told = story.tell("VXU^V04^VXU_V04", &vaccination(lot, action)).await;
        assert!(told.starts_with("AA"), "{action}: {told}");
        assert_eq!(story.of(url, "lotNumber").await, kept, "{action}");
        assert_eq!(story.of(url, "status").await, status, "{action}");
    }
    let coded = "[site]\nid = \"lab\"\nmatch = { app = \"LAB\", facility = \"STM\" }\n[mode]\nDG1 = \"action-code\"";
    install(&story.server, "lab", Some(coded)).await;
    let diagnoses = |all: &[(&str, &str)]| {
        let lines = (1..).zip(all).map(|(number, (code, action))| {
            format!("DG1|{number}||{code}^{code}^L|||A|||||||||||||||{action}")
        });
        let lines: Vec<_> = lines.collect();
        format!(
            "PID|1||12^^^STM^MR||Muster^Anna\nPV1|1|I|W1||||||||||||||||V1^^^STM^VN\n{}",
            lines.join("\n")
        )
    };
    for (all, wrong) in [
        (&[("A", "A"), ("B", "A"), ("C", "A")][..], ""),
        // One that is not told of stays.
        (&[("A", "D"), ("B", "U")], "A"),
        // This is all there is.
        (&[("B", "S")], "A C"),
    ] {
        let told = story.tell("ADT^A08^ADT_A01", &diagnoses(all)).await;
        assert!(told.starts_with("AA"), "{all:?}: {told}");
        assert_eq!(story.count("/Condition?").await, "3");
        let mut found = Vec::new();
        for code in ["A", "B", "C"] {
            let url = format!("/Condition?code={code}&");
            if story.of(&url, "verificationStatus.coding[0].code").await == "entered-in-error" {
                found.push(code);
            }
        }
        assert_eq!(found.join(" "), wrong, "{all:?}");
    }
}

/// The copy of a message is one of it however often that is worked on, and goes where none is wanted any more.
///
/// Covers: v2 F4.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_stays_with_a_message_that_is_worked_on_again() {
    let mut story = Story::begin().await;
    let profile = |copy: &str| {
        format!(
            "[site]\nid = \"lab\"\nmatch = {{ app = \"LAB\", facility = \"STM\" }}\ncopy = \"{copy}\""
        )
    };
    install(&story.server, "lab", Some(&profile("document"))).await;
    assert_eq!(story.tell("ADT^A28^ADT_A05", "PID|1||12^^^STM^MR||Muster^Anna").await, "AA");
    let first = story.of("/DocumentReference?", "id").await;
    let told = replayed(&story, "M1", "?prune=true").await;
    assert!(!told.contains("no-longer-made"), "{told}");
    assert_eq!(story.of("/DocumentReference?", "id").await, first);
    install(&story.server, "lab", Some(&profile("none"))).await;
    replayed(&story, "M1", "?prune=true").await;
    assert_eq!(story.count("/DocumentReference?").await, "0");
    install(&story.server, "lab", Some(&profile("document"))).await;
    replayed(&story, "M1", "").await;
    assert_eq!(story.count("/DocumentReference?").await, "1", "it is made anew");
}

/// v2 F5: that a message was worked on again is on record, with whose data it was about.
///
/// Covers: v2 F5.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_worked_on_again_is_on_record_again() {
    let mut story = Story::begin().await;
    assert_eq!(story.tell("ADT^A28^ADT_A05", "PID|1||12^^^STM^MR||Muster^Anna").await, "AA");
    let id = story.of("/Patient?", "id").await;
    let url = format!(
        "/AuditEvent?patient=Patient/{id}&outcome=0&type=http://dicom.nema.org/resources/ontology/DCM%7C110107"
    );
    let before = story.get(&url).await.text();
    assert_eq!(before.matches("\"fullUrl\"").count(), 1, "{before}");
    replayed(&story, "M1", "").await;
    let after = story.get(&url).await.text();
    assert_eq!(after.matches("\"fullUrl\"").count(), 2, "{after}");
    let wished = story.get("/AuditEvent?subtype=operation&_count=200").await.text();
    assert!(wished.contains("/$replay"), "{wished}");
}

/// A message that tells of no time at all is as new as its receipt: what it says counts.
///
/// Covers: v2 S22.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_time_is_as_new_as_its_receipt() {
    let mut story = Story::begin().await;
    assert_eq!(story.tell("ADT^A28^ADT_A05", "PID|1||12^^^STM^MR||Muster^Anna").await, "AA");
    let message = "MSH|^~\\&|LAB|STM|KILN|H|||ADT^A31^ADT_A05|N1|P|2.5.1\rEVN||\r\
                   PID|1||12^^^STM^MR||Muster^Berta\r";
    let answer = story.sender.send(message).await;
    let answer = String::from_utf8(answer.to_vec()).unwrap();
    assert!(answer.contains("MSA|AA|N1") && !answer.contains("stale"), "{answer}");
    assert_eq!(story.of("/Patient?", "name[0].given[0]").await, "Berta");
}
