//! Merges after their message: what is too much for one transaction, what is written at the same moment,
//! and merges that are taken back.

use std::time::{Duration, Instant};

use crate::harness::client::Answer;

use super::stories::Story;

/// Longest wait for what follows a merge.
const PATIENCE: Duration = Duration::from_mins(1);

const KEPT: &str = "PID|1||1^^^STM^MR||Muster^Anna";
const LOST: &str = "PID|1||9^^^STM^MR||Muster^Anna";

/// A story with two patients; and their ids.
async fn two(more: &[(&str, &str)]) -> (Story, String, String) {
    let mut story = Story::begin_with(more).await;
    assert_eq!(story.tell("ADT^A28^ADT_A05", KEPT).await, "AA");
    assert_eq!(story.tell("ADT^A28^ADT_A05", LOST).await, "AA");
    let kept = story.of("/Patient?identifier=1&", "id").await;
    let lost = story.of("/Patient?identifier=9&", "id").await;
    (story, kept, lost)
}

async fn merge(story: &mut Story) -> String {
    story.tell("ADT^A40^ADT_A39", &format!("{KEPT}\nMRG|9^^^STM^MR")).await
}

async fn store(story: &Story, of: &str, body: String) -> Answer {
    story.server.client.call("POST", of).json(body).send().await.expect(201)
}

fn observation(patient: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},
        "subject":{{"reference":"Patient/{patient}"}}}}"#
    )
}

/// Waits until a search finds so many.
async fn until(story: &Story, url: &str, count: &str) {
    let began = Instant::now();
    while story.count(url).await != count {
        assert!(began.elapsed() < PATIENCE, "{url} does not come to {count}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The message that merged, by its place in the story.
async fn message(story: &Story, control_id: &str) -> String {
    let url = format!("{}/v2/messages?control-id={control_id}", story.server.client.root());
    story.get(&url).await.at("messages[0].id").unwrap()
}

async fn take_back(story: &Story, message: &str, reason: &str) -> Answer {
    let url = format!("{}/v2/messages/{message}/$unmerge", story.server.client.root());
    let call = story.server.client.call("POST", &url);
    call.header("Content-Type", "text/plain").body(reason.to_owned()).send().await
}

/// v2 B20: what one transaction does not take, and what is in no compartment, follows.
///
/// Covers: v2 B20.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_of_more_than_one_transaction_takes_goes_on_until_nothing_is_left() {
    let (mut story, kept, lost) = two(&[("hl7v2.max_merge", "5")]).await;
    for _ in 0..23 {
        store(&story, "/Observation", observation(&lost)).await;
    }
    let task = format!(
        r#"{{"resourceType":"Task","status":"requested","intent":"order","for":{{"reference":"Patient/{lost}"}},
        "requester":{{"reference":"Patient/{lost}"}}}}"#
    );
    store(&story, "/Task", task).await;
    let device =
        format!(r#"{{"resourceType":"Device","patient":{{"reference":"Patient/{lost}"}}}}"#);
    store(&story, "/Device", device).await;
    let focus = format!(
        r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},
        "focus":[{{"reference":"Patient/{lost}"}}]}}"#
    );
    store(&story, "/Observation", focus).await;
    assert_eq!(merge(&mut story).await, "AA");
    until(&story, &format!("/Observation?subject=Patient/{kept}&"), "23").await;
    until(&story, &format!("/Task?subject=Patient/{kept}&requester=Patient/{kept}&"), "1").await;
    until(&story, &format!("/Device?patient=Patient/{kept}&"), "1").await;
    until(&story, &format!("/Observation?focus=Patient/{kept}&"), "1").await;
    assert_eq!(story.count(&format!("/Observation?subject=Patient/{lost}&")).await, "0");
}

/// v2 B20: what is written over REST while two patients become one is with the one that stays.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_while_patients_are_merged_is_not_left_behind() {
    let (mut story, kept, lost) = two(&[]).await;
    let client = story.server.client.at_address("127.0.0.1".parse().unwrap());
    let body = observation(&lost);
    let writing = tokio::spawn(async move {
        for _ in 0..60 {
            client.call("POST", "/Observation").json(body.clone()).send().await.expect(201);
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(merge(&mut story).await, "AA");
    writing.await.unwrap();
    until(&story, &format!("/Observation?subject=Patient/{kept}&"), "60").await;
    assert_eq!(story.count(&format!("/Observation?subject=Patient/{lost}&")).await, "0");
}

/// v2 S5: what a merge moved goes back, and what cannot is told.
///
/// Covers: v2 S5.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_is_taken_back() {
    let (mut story, kept, lost) = two(&[]).await;
    let first = store(&story, "/Observation", observation(&lost)).await.id();
    let second = store(&story, "/Observation", observation(&lost)).await.id();
    let own = store(&story, "/Observation", observation(&kept)).await.id();
    assert_eq!(merge(&mut story).await, "AA");
    until(&story, &format!("/Observation?subject=Patient/{kept}&"), "3").await;
    // Since then: a result by the old number, and one that was taken elsewhere by hand.
    let oru = format!(
        "{LOST}\nOBR|1||F1^LAB|24323-8^Panel^LN|||20260704110000|||||||||||||||20260704113000||LAB|F\n\
         OBX|1|NM|718-7^Hemoglobin^LN||1|g/dL|||||F"
    );
    assert_eq!(story.tell("ORU^R01^ORU_R01", &oru).await, "AA");
    let elsewhere = observation("other").replacen('{', &format!(r#"{{"id":"{second}","#), 1);
    let url = format!("/Observation/{second}");
    let elsewhere =
        elsewhere.replace(r#""subject":{"reference":"Patient/other"}"#, r#""note":[{"text":"x"}]"#);
    story.server.client.call("PUT", &url).json(elsewhere).send().await.expect(200);

    let merged = message(&story, "M3").await;
    take_back(&story, &merged, " ").await.expect(400);
    let back = take_back(&story, &merged, "two people of one name").await.expect(200);
    assert_eq!(back.at("merges[0].source"), Some(format!("Patient/{lost}")));
    assert_eq!(back.at("merges[0].target"), Some(format!("Patient/{kept}")));
    assert_eq!(back.at("merges[0].restored").as_deref(), Some("1"), "{back:?}");
    assert_eq!(back.at("merges[0].left[0].resource"), Some(format!("Observation/{second}")));
    assert_eq!(back.at("merges[0].left[0].path").as_deref(), Some("subject"));
    assert!(back.text().contains("\"since\":[\""), "{back:?}");

    let of = async |id: &str| story.get(&format!("/Patient/{id}")).await;
    let (source, target) = (of(&lost).await, of(&kept).await);
    assert_eq!(story.count(&format!("/Patient?_id={lost}&active:not=false&")).await, "1");
    for one in [&source, &target] {
        assert_eq!(one.at("link[0].type"), None, "{one:?}");
    }
    assert_eq!(
        (target.at("identifier[0].value").as_deref(), target.at("identifier[1].value")),
        (Some("1"), None)
    );
    let subject =
        async |id: &str| story.get(&format!("/Observation/{id}")).await.at("subject.reference");
    assert_eq!(subject(&first).await, Some(format!("Patient/{lost}")));
    assert_eq!(subject(&own).await, Some(format!("Patient/{kept}")));
    // Whoever looks for why finds it.
    let why =
        story.get(&format!("/Provenance?target=Patient/{lost}&_sort=-recorded&_count=1")).await;
    assert_eq!(
        why.at("entry[0].resource.reason[0].text").as_deref(),
        Some("two people of one name")
    );
    let noted = story.get("/AuditEvent?subtype=operation&_count=200").await;
    assert!(noted.text().contains(&format!("{merged}/$unmerge")), "{noted:?}");
    // The number is that of the first again.
    assert_eq!(story.tell("ADT^A31^ADT_A05", "PID|1||9^^^STM^MR||Andere^Anna").await, "AA");
    for (id, name) in [(&lost, "Andere"), (&kept, "Muster")] {
        let now = story.get(&format!("/Patient/{id}")).await;
        assert_eq!(now.at("name[0].family").as_deref(), Some(name));
    }
    // Once is enough, and what merged nothing cannot be taken back.
    take_back(&story, &merged, "again").await.expect(409);
    take_back(&story, &message(&story, "M1").await, "why").await.expect(404);
    // It can be merged again.
    assert_eq!(merge(&mut story).await, "AA");
    until(&story, &format!("/Observation?subject=Patient/{kept}&"), "3").await;
}

/// v2 S5: a merge that another followed is taken back after that one.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_merge_is_taken_back_first() {
    let (mut story, _, lost) = two(&[]).await;
    assert_eq!(story.tell("ADT^A28^ADT_A05", "PID|1||5^^^STM^MR||Muster^Anna").await, "AA");
    store(&story, "/Observation", observation(&lost)).await;
    assert_eq!(merge(&mut story).await, "AA");
    let onward = "PID|1||5^^^STM^MR||Muster^Anna\nMRG|1^^^STM^MR";
    assert_eq!(story.tell("ADT^A40^ADT_A39", onward).await, "AA");
    let (first, second) = (message(&story, "M4").await, message(&story, "M5").await);
    take_back(&story, &first, "wrong").await.expect(409);
    take_back(&story, &second, "wrong").await.expect(200);
    take_back(&story, &first, "wrong").await.expect(200);
    until(&story, &format!("/Observation?subject=Patient/{lost}&"), "1").await;
}

/// v2 S5: a patient that is to end and that nobody knows is refused, or made in order to end where the
/// site wants it.
#[tokio::test(flavor = "multi_thread")]
async fn a_losing_patient_that_nobody_knows_is_made_where_the_site_wants_it() {
    let mut story = Story::begin().await;
    assert_eq!(merge(&mut story).await, "AE unknown-patient");
    assert_eq!(story.count("/Patient?").await, "0");
    let profile = "[site]\nid = \"lab\"\nmatch = { app = \"LAB\" }\nmerge_unknown = true\n";
    super::sites::install(&story.server, "lab", Some(profile)).await;
    let twice = format!("{KEPT}\nMRG|9^^^STM^MR||||||Alt^Anna\n{KEPT}\nMRG|9^^^STM^MR");
    for _ in 0..2 {
        assert_eq!(story.tell("ADT^A40^ADT_A39", &twice).await, "AA");
        assert_eq!(story.count("/Patient?").await, "2");
    }
    let kept = story.of("/Patient?active:not=false&", "id").await;
    let lost = story.of("/Patient?active=false&", "id").await;
    assert_eq!(story.of("/Patient?active=false&", "name[0].family").await, "Alt");
    let leads = story.of("/Patient?active=false&", "link[0].other.reference").await;
    assert_eq!(leads, format!("Patient/{kept}"));
    let leads = story.of(&format!("/Patient?_id={kept}&"), "link[0].other.reference").await;
    assert_eq!(leads, format!("Patient/{lost}"));
    assert_eq!(story.of("/Patient?identifier=9&active:not=false&", "id").await, kept);
    // What comes by its number is of the one that stays, until the merge is taken back.
    let oru = format!(
        "{LOST}\nOBR|1||F1^LAB|24323-8^Panel^LN|||20260704110000|||||||||||||||20260704113000||LAB|F\n\
         OBX|1|NM|718-7^Hemoglobin^LN||1|g/dL|||||F"
    );
    assert_eq!(story.tell("ORU^R01^ORU_R01", &oru).await, "AA");
    assert_eq!(story.count(&format!("/Observation?subject=Patient/{kept}&")).await, "1");
    take_back(&story, &message(&story, "M2").await, "two people").await.expect(200);
    assert_eq!(story.count(&format!("/Patient?_id={lost}&active:not=false&")).await, "1");
    assert_eq!(story.tell("ADT^A31^ADT_A05", "PID|1||9^^^STM^MR||Andere^Anna").await, "AA");
    assert_eq!(story.of(&format!("/Patient?_id={lost}&"), "name[0].family").await, "Andere");
}

/// A message may merge a patient that it has merged another one into: all of it comes to the last, and all of it
/// is taken back, the last merge first.
///
/// Covers: v2 S5.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_merges_on_what_it_has_merged() {
    let (mut story, _, first) = two(&[]).await;
    let third = "PID|1||0^^^STM^MR||Muster^Anna";
    assert_eq!(story.tell("ADT^A28^ADT_A05", third).await, "AA");
    let last = story.of("/Patient?identifier=0&", "id").await;
    store(&story, "/Observation", observation(&first)).await;
    // 9 becomes 1, and 1 becomes 0.
    let chain = format!("{KEPT}\nMRG|9^^^STM^MR\n{third}\nMRG|1^^^STM^MR");
    assert_eq!(story.tell("ADT^A40^ADT_A39", &chain).await, "AA");
    until(&story, &format!("/Observation?subject=Patient/{last}&"), "1").await;
    for number in ["0", "1", "9"] {
        let url = format!("/Patient?identifier={number}&active:not=false&");
        assert_eq!(story.of(&url, "id").await, last, "{number}");
    }
    let between = story.get("/Patient?identifier=1&active=false").await.text();
    assert_eq!(between.matches("\"replaces\"").count(), 1, "it had another one in it: {between}");
    let merged = message(&story, "M4").await;
    let back = take_back(&story, &merged, "three people").await.expect(200);
    assert_eq!(back.text().matches("\"source\"").count(), 2, "{back:?}");
    assert_eq!(story.count("/Patient?active:not=false&").await, "3");
    assert_eq!(story.count("/Patient?identifier=9&").await, "1");
    let all = story.get("/Patient?").await.text();
    assert!(!all.contains("\"replace"), "no link is left: {all}");
    until(&story, &format!("/Observation?subject=Patient/{first}&"), "1").await;
}

/// Two numbers of one patient are linked to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_linked_to_himself() {
    let (mut story, _, _) = two(&[]).await;
    assert_eq!(merge(&mut story).await, "AA");
    let both = format!("{KEPT}\n{LOST}");
    assert_eq!(story.tell("ADT^A24^ADT_A24", &both).await, "AA nothing-to-link");
    assert!(!story.get("/Patient?").await.text().contains("seealso"));
}

/// The merge family: events of older versions, and for parts of a patient, merge as those of now do.
#[tokio::test(flavor = "multi_thread")]
async fn each_event_that_merges_has_one_end_in_the_other() {
    let mut story = Story::begin().await;
    for event in ["A18", "A30", "A34", "A36", "A39", "A40"] {
        let person = |n: u8| format!("PID|1||{event}-{n}^^^STM^MR||Muster^Anna");
        for n in [1, 2] {
            assert_eq!(story.tell("ADT^A28^ADT_A05", &person(n)).await, "AA", "{event}");
        }
        let kept = story.of(&format!("/Patient?identifier={event}-1&"), "id").await;
        let lost = story.of(&format!("/Patient?identifier={event}-2&"), "id").await;
        let merge = format!("{}\nMRG|{event}-2^^^STM^MR", person(1));
        let told = story.tell(&format!("ADT^{event}"), &merge).await;
        assert_eq!(told, "AA", "{event}");
        let ended = story.get(&format!("/Patient/{lost}")).await;
        assert_eq!(ended.at("link[0].type").as_deref(), Some("replaced-by"), "{event}");
        let other = ended.at("link[0].other.reference");
        assert_eq!(other, Some(format!("Patient/{kept}")), "{event}");
        let url = format!("/Patient?identifier={event}-2&active=true&");
        assert_eq!(story.of(&url, "id").await, kept, "{event}");
    }
    for event in ["A35", "A41"] {
        let account = |n: u8| {
            let (name, account) = ("|".repeat(13), format!("{event}-A{n}^^^STM^AN"));
            format!("PID|1||{event}^^^STM^MR||Muster^Anna{name}{account}")
        };
        for n in [1, 2] {
            assert_eq!(story.tell("ADT^A28^ADT_A05", &account(n)).await, "AA", "{event}");
        }
        let lost = story.of(&format!("/Account?identifier={event}-A2&"), "id").await;
        let merge = format!("{}\nMRG|{event}^^^STM^MR||{event}-A2^^^STM^AN", account(1));
        let told = story.tell(&format!("ADT^{event}"), &merge).await;
        assert_eq!(told, "AA", "{event}");
        let ended = story.get(&format!("/Account/{lost}")).await;
        assert_eq!(ended.at("status").as_deref(), Some("inactive"), "{event}");
    }
}

/// What is told of, behind the patient and before the visit.
fn merged(now: &str, old: &str) -> String {
    match now.split_once('\n') {
        Some((person, visit)) => format!("{person}\n{old}\n{visit}"),
        None => format!("{now}\n{old}"),
    }
}

/// The merge family: each kind of number can change, and the one of before stays known as an old one.
#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_number_changes_and_stays_known() {
    let mut story = Story::begin().await;
    let account = |n: u8| format!("PID|1||3^^^STM^MR||Muster^Anna{}C{n}^^^STM^AN", "|".repeat(13));
    let visit = |n: u8| {
        let (place, other) = ("|".repeat(16), "|".repeat(31));
        format!("PV1|1|I|W1^1^2^STM{place}D4^^^STM^VN{other}D{n}^^^STM^VN")
    };
    let person = "PID|1||4^^^STM^MR||Muster^Anna";
    for (event, first, of, [before, now], old, new) in [
        (
            "A46",
            "ADT^A28^ADT_A05",
            "Patient",
            [9, 1].map(|n| format!("PID|1|E{n}^^^EXT^PT|1^^^STM^MR||Muster^Anna")),
            "MRG|1^^^STM^MR|||E9^^^EXT^PT",
            ["E9", "E1"],
        ),
        (
            "A48",
            "ADT^A28^ADT_A05",
            "Patient",
            [9, 1].map(|n| format!("PID|1||2^^^STM^MR|B{n}^^^ALT^PT|Muster^Anna")),
            "MRG|2^^^STM^MR|B9^^^ALT^PT",
            ["B9", "B1"],
        ),
        (
            "A49",
            "ADT^A28^ADT_A05",
            "Account",
            [9, 1].map(account),
            "MRG|3^^^STM^MR||C9^^^STM^AN",
            ["C9", "C1"],
        ),
        (
            "A51",
            "ADT^A01^ADT_A01",
            "Encounter",
            [9, 1].map(|n| format!("{person}\n{}", visit(n))),
            "MRG|4^^^STM^MR|||||D9^^^STM^VN",
            ["D9", "D1"],
        ),
    ] {
        let told = story.tell(first, &before).await;
        assert!(told.starts_with("AA"), "{event}: {told}");
        let [known, changed] = new;
        let id = story.of(&format!("/{of}?identifier={known}&"), "id").await;
        let told = story.tell(&format!("ADT^{event}"), &merged(&now, old)).await;
        assert!(told.starts_with("AA"), "{event}: {told}");
        for number in [known, changed] {
            let url = format!("/{of}?identifier={number}&");
            assert_eq!(story.of(&url, "id").await, id, "{event} {number}");
        }
        let answer = story.get(&format!("/{of}/{id}")).await;
        let stored = answer.json();
        let identifiers = stored.items_at("identifier").iter();
        let ended = identifiers.filter(|it| it.str_at("use") == Some("old"));
        let ended: Vec<_> = ended.filter_map(|it| it.str_at("value")).collect();
        assert_eq!(ended, [known], "{event}: {answer:?}");
    }
}
