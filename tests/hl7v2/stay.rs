//! One stay in a hospital, from before it began until after it ended.

use super::stories::{Story, patient, result, visit};

/// Places of the only visit with their states.
async fn places(story: &Story) -> String {
    let found = story.get("/Encounter?").await;
    let of = |at: u32| found.at(&format!("entry[0].resource.location[{at}].status"));
    (0..9).map_while(of).collect::<Vec<_>>().join(" ")
}

/// Planned, admitted, moved, moved back, merged with an earlier record, discharged, brought back: the
/// results come before, between and after.
///
/// Covers: v2 B16, v2 B18, v2 B21.
#[tokio::test(flavor = "multi_thread")]
async fn a_stay_with_all_that_happens() {
    let mut story = Story::begin().await;
    // An earlier record of the same person, with a result, by another number.
    story.tell("ORU^R01^ORU_R01", &result("99", "F", "11.5")).await;
    let earlier = story.of("/Patient?", "id").await;
    let planned = visit("W1").replace("|1|I|", "|1|P|");
    assert_eq!(story.tell("ADT^A05^ADT_A05", &planned).await, "AA");
    assert_eq!(story.of("/Encounter?", "status").await, "planned");
    assert_eq!(story.tell("ADT^A01^ADT_A01", &visit("W1")).await, "AA");
    assert_eq!(places(&story).await, "active");
    // What is preliminary comes in while the patient moves, what is final after.
    let own = |status: &str, value: &str| {
        result("12", status, value).replace("F1^LAB", "F2^LAB").replace("P1^LAB", "P2^LAB")
    };
    assert!(story.tell("ORU^R01^ORU_R01", &own("P", "10.1")).await.starts_with("AA"));
    story.tell("ADT^A02^ADT_A02", &visit("W2")).await;
    story.tell("ADT^A12^ADT_A12", &visit("W1")).await;
    story.tell("ADT^A02^ADT_A02", &visit("W3")).await;
    assert_eq!(places(&story).await, "completed active");
    assert!(story.tell("ORU^R01^ORU_R01", &own("F", "10.2")).await.starts_with("AA"));
    let merge = format!("{}\nMRG|99^^^STM^MR", patient("Muster^Anna"));
    assert_eq!(story.tell("ADT^A40^ADT_A39", &merge).await, "AA");
    let kept = story.of("/Patient?active=true", "id").await;
    assert_ne!(kept, earlier);
    assert_eq!(story.count(&format!("/Observation?subject=Patient/{kept}&")).await, "2");
    assert_eq!(story.tell("ADT^A03^ADT_A03", &visit("W3")).await, "AA");
    assert_eq!(story.of("/Encounter?", "status").await, "finished");
    // A correction after the discharge, by the number that has ended.
    let corrected = own("C", "10.3").replace("12^^^STM", "99^^^STM");
    assert!(story.tell("ORU^R01^ORU_R01", &corrected).await.starts_with("AA"));
    assert_eq!(
        story.of("/Observation?status=corrected", "subject.reference").await,
        format!("Patient/{kept}")
    );
    assert_eq!(story.tell("ADT^A13^ADT_A01", &visit("W3")).await, "AA");
    assert_eq!(places(&story).await, "completed active");
    assert_eq!(story.tell("ADT^A03^ADT_A03", &visit("W3")).await, "AA");
    // News from before the merge, which come last of all.
    let late = story.tell_at("ADT^A02^ADT_A02", "20260704120330", &visit("W9")).await;
    assert_eq!(late, "AA stale");
    assert_eq!(story.of("/Encounter?", "status").await, "finished");
    assert_eq!(places(&story).await, "completed completed completed");
    assert_eq!(story.count("/Patient?").await, "2");
    assert_eq!(story.count("/Observation?").await, "2");
}
