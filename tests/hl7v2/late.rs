//! News that come late.
//!
//! Covers: v2 S22.

use super::stories::{Story, patient, result, visit};

const PID: &str = "PID|1||12^^^STM^MR||Muster^Anna";

fn report(issued: &str, value: &str) -> String {
    format!(
        "{PID}\nOBR|1||F1^LAB|24323-8^Panel^LN|||20260704080000|||||||||||||||{issued}||LAB|F\n\
         OBX|1|NM|718-7^Hemoglobin^LN||{value}|g/dL|||||F"
    )
}

/// v2 S22: an older result does not overwrite a newer one, be it by when it was issued or sent.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_result_overwrites_no_newer_one() {
    let mut story = Story::begin().await;
    let oru = "ORU^R01^ORU_R01";
    for (sent, issued, value, told, stored) in [
        ("20260704120000", "20260704100000", "1", "AA", "1"),
        // Issued later, and sent in any order.
        // What it says of the person is late all the same.
        ("20260704110000", "20260704110000", "2", "AA stale", "2"),
        ("20260704130000", "20260704103000", "3", "AA stale", "2"),
        // Of one time the one that was sent later counts.
        ("20260704140000", "20260704110000", "4", "AA", "4"),
        ("20260704133000", "20260704110000", "5", "AA stale", "4"),
        ("20260704150000", "", "6", "AA", "6"),
        ("20260704143000", "", "7", "AA stale", "6"),
    ] {
        assert_eq!(story.tell_at(oru, sent, &report(issued, value)).await, told, "{value}");
        let found = story.of("/Observation?", "valueQuantity.value").await;
        assert_eq!(found, stored, "after {value}");
    }
    // A late result that nobody told of is stored, and a status still goes on.
    let other = report("20260704090000", "8").replace("718-7^Hemoglobin", "4544-3^Hematocrit");
    assert_eq!(story.tell_at(oru, "20260704090000", &other).await, "AA stale");
    assert_eq!(story.count("/Observation?").await, "2");
    let corrected = report("20260704093000", "9").replace("|F\nOBX", "|C\nOBX");
    let corrected = corrected.replace("|||||F", "|||||C");
    assert_eq!(story.tell_at(oru, "20260704093000", &corrected).await, "AA stale");
    assert_eq!(story.of("/Observation?code=718-7&", "status").await, "corrected");
}

/// v2 S22: a late list ends nothing and brings nothing back.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_list_ends_nothing() {
    let mut story = Story::begin().await;
    let list = |codes: &[&str]| {
        let lines = codes.iter().zip(1..);
        let line = |(code, at): (&&str, i32)| format!("\nAL1|{at}|DA|{code}^{code}^99STM");
        format!("{PID}{}", lines.map(line).collect::<Vec<_>>().concat())
    };
    let status = async |story: &Story, code: &str| {
        let url = format!("/AllergyIntolerance?code={code}&");
        story.of(&url, "clinicalStatus.coding[0].code").await
    };
    assert_eq!(story.tell_at("ADT^A31^ADT_A05", "20260704120000", &list(&["A", "B"])).await, "AA");
    assert_eq!(story.tell_at("ADT^A31^ADT_A05", "20260704140000", &list(&["A", "C"])).await, "AA");
    assert_eq!(status(&story, "B").await, "");
    let late = story.tell_at("ADT^A31^ADT_A05", "20260704130000", &list(&["B", "D"])).await;
    assert_eq!(late, "AA stale");
    for (code, expected) in [("A", "active"), ("B", ""), ("C", "active"), ("D", "")] {
        assert_eq!(status(&story, code).await, expected, "{code}");
    }
    assert_eq!(
        story.of("/AllergyIntolerance?code=D&", "verificationStatus.coding[0].code").await,
        "entered-in-error"
    );
}

/// v2 S22: of several patients each has lists of its own, which are late or not.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_list_of_several_patients_ends_nothing_of_any() {
    let mut story = Story::begin().await;
    let both = |code: &str| {
        format!(
            "SCH|A1^S|A1^S|||||CHECK|NORMAL|30|min|^^30^20260710090000|||||||||20^Who^A\n\
             {PID}\nDG1|1||D1^First^L\nPID|2||78^^^STM^MR||Doe^Bob\nDG1|1||{code}^Other^L\n\
             RGS|1\nAIS|1||S1^Scan^L"
        )
    };
    let alone = "PID|1||78^^^STM^MR||Doe^Bob\nDG1|1||D3^Third^L";
    for (event, sent, segments) in [
        ("SIU^S12^SIU_S12", "20260704120000", both("D2")),
        // Of the second patient alone, so that the list of the first one is no older than before.
        ("ADT^A31^ADT_A05", "20260704140000", alone.to_owned()),
        ("SIU^S14^SIU_S12", "20260704130000", both("D2")),
    ] {
        let told = story.tell_at(event, sent, &segments).await;
        assert!(told.starts_with("AA"), "{event}: {told}");
    }
    for (code, expected) in [("D1", ""), ("D2", "entered-in-error"), ("D3", "")] {
        let url = format!("/Condition?code={code}&");
        let found = story.of(&url, "verificationStatus.coding[0].code").await;
        assert_eq!(found, expected, "{code}");
    }
}

/// v2 S22: a late change of status stands in the history where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_status_stands_in_the_history() {
    let mut story = Story::begin().await;
    let visit = format!("{PID}\nPV1|1|I|W1^1^2^STM||||||||||||||||V1^^^STM^VN");
    assert_eq!(story.tell_at("ADT^A01^ADT_A01", "20260704100000", &visit).await, "AA");
    assert_eq!(
        story.tell_at("ADT^A02^ADT_A02", "20260704180000", &visit.replace("W1", "W2")).await,
        "AA"
    );
    assert_eq!(story.tell_at("ADT^A21^ADT_A21", "20260704120000", &visit).await, "AA stale");
    assert_eq!(story.tell_at("ADT^A22^ADT_A21", "20260704140000", &visit).await, "AA stale");
    let visit = story.get("/Encounter?").await;
    let at = |path: &str| visit.at(&format!("entry[0].resource.{path}")).unwrap_or_default();
    assert_eq!(at("status"), "in-progress");
    for (place, status, start, end) in [
        (0, "in-progress", "10:00", "12:00"),
        (1, "onleave", "12:00", "14:00"),
        (2, "in-progress", "14:00", "18:00"),
    ] {
        assert_eq!(at(&format!("statusHistory[{place}].status")), status);
        let period = |name: &str| at(&format!("statusHistory[{place}].period.{name}"));
        assert!(period("start").contains(start) && period("end").contains(end), "{visit:?}");
    }
}

/// v2 E-A11: who was deleted (A29), or is no patient of now by hand, is so whatever is told of them, until an event
/// brings them in again. The latest of these events counts, whenever it comes.
///
/// Covers: v2 E-A11.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_deleted_stays_so_until_an_event_brings_them_in_again() {
    let mut story = Story::begin().await;
    let person = patient("Muster^Anna");
    let (add, change, delete) = ("ADT^A28^ADT_A05", "ADT^A31^ADT_A05", "ADT^A29^ADT_A21");
    assert_eq!(story.tell(add, &person).await, "AA");
    let id = story.of("/Patient?", "id").await;
    let url = format!("/Patient/{id}");
    let by_hand = format!(
        r#"{{"resourceType":"Patient","id":"{id}","active":false,"identifier":[{{"system":"SYSTEM","value":"12"}}]}}"#
    );
    let system = story.get(&url).await.at("identifier[0].system").unwrap();
    for is_by_hand in [false, true] {
        if is_by_hand {
            let body = by_hand.replace("SYSTEM", &system);
            story.server.client.put(&url, body).await.expect(200);
        } else {
            assert_eq!(story.tell(delete, &person).await, "AA");
        }
        for (event, segments, expected) in [
            ("ORU^R01^ORU_R01", result("12", "F", "1"), "false"),
            (change, person.clone(), "false"),
            ("ADT^A08^ADT_A01", visit("W1"), "false"),
            ("ADT^A01^ADT_A01", visit("W1"), "true"),
            (delete, person.clone(), "false"),
            (add, person.clone(), "true"),
        ] {
            let told = story.tell(event, &segments).await;
            assert!(told.starts_with("AA"), "{event} {told}");
            let found = format!("/Patient?_id={id}&active={expected}&");
            assert_eq!(story.count(&found).await, "1", "{event} {is_by_hand}");
        }
    }
    // That of before the last one comes late, and one after it behind news that are later.
    let result = result("12", "F", "1").replace("F1^LAB", "F2^LAB");
    for (event, at, segments, expected) in [
        (delete, "20260704120030", &person, "true"),
        ("ORU^R01^ORU_R01", "20260704180000", &result, "true"),
        (delete, "20260704170000", &person, "false"),
        (add, "20260704160000", &person, "false"),
    ] {
        let told = story.tell_at(event, at, segments).await;
        assert!(told.starts_with("AA"), "{event} {at} {told}");
        assert_eq!(told.contains("stale"), event.starts_with("ADT"), "{event} {at} {told}");
        let found = format!("/Patient?_id={id}&active={expected}&");
        assert_eq!(story.count(&found).await, "1", "{event} {at}");
    }
}
