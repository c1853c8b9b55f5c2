//! Ranges, flags and documents, whatever the sender writes.

use super::super::sites::install;
use super::super::stories::Story;

/// A result with this range and these flags.
fn result(number: u32, range: &str, flags: &str) -> String {
    format!(
        "PID|1||12^^^STM^MR||Muster\nOBR|1||F{number}^LAB|24323-8^Panel^LN|||20260704110000|||||||||||||||||||F\n\
         OBX|1|NM|C{number}^Test^L||1|mg/dL|{range}|{flags}|||F|||20260704110000"
    )
}

/// What of a range is a number is an end of it; all of it is its text.
///
/// Covers: v2 S37.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_have_the_ends_that_can_be_read() {
    let mut story = Story::begin().await;
    let comma =
        "[site]\nid = \"lab\"\nmatch = { app = \"LAB\", facility = \"STM\" }\ndecimal_comma = true";
    install(&story.server, "lab", Some(comma)).await;
    let mut number = 0;
    for (range, low, high) in [
        ("3.5-5.0", "3.5", "5.0"),
        ("3.5 - 5.0", "3.5", "5.0"),
        ("-b", "", ""),
        ("-5", "", "5"),
        ("a-", "", ""),
        ("2.5-", "2.5", ""),
        ("<10", "", "10"),
        ("<=10", "", "10"),
        (">10", "10", ""),
        ("-5--2", "-5", "-2"),
        ("-5 - 2", "-5", "2"),
        ("3,5-5,0", "3.5", "5.0"),
        ("<0,7", "", "0.7"),
        ("negative", "", ""),
        ("men 4-6, women 3-5", "", ""),
    ] {
        number += 1;
        let told = story.tell("ORU^R01^ORU_R01", &result(number, range, "")).await;
        assert!(told.starts_with("AA"), "{range}: {told}");
        let url = format!("/Observation?code=C{number}");
        let of = async |name: &str| story.of(&url, &format!("referenceRange[0].{name}")).await;
        let found = (of("text").await, of("low.value").await, of("high.value").await);
        assert_eq!(found, (range.to_owned(), low.to_owned(), high.to_owned()), "{range}");
    }
}

/// A flag of the table is a code, another one is a text; a null says that there is none.
///
/// Covers: v2 S37.
#[tokio::test(flavor = "multi_thread")]
async fn flags_are_codes_or_texts() {
    const SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation";
    let mut story = Story::begin().await;
    let url = "/Observation?code=C1";
    for (flags, code, text, second) in [
        ("N", "N", "", ""),
        ("H~HH", "H", "", "HH"),
        ("", "H", "", "HH"),
        ("\"\"", "", "", ""),
        ("*", "", "*", ""),
        ("odd", "", "odd", ""),
    ] {
        let told = story.tell("ORU^R01^ORU_R01", &result(1, "", flags)).await;
        assert!(told.starts_with("AA"), "{flags}: {told}");
        let of = async |path: &str| story.of(url, &format!("interpretation{path}")).await;
        // A local code stands beside no system of ours.
        let system = of("[0].coding[0].system").await;
        let own = if system == SYSTEM { of("[0].coding[0].code").await } else { String::new() };
        assert_eq!(own, code, "{flags}");
        assert_eq!(of("[1].coding[0].code").await, second, "{flags}");
        if !text.is_empty() {
            assert_eq!(of("[0].text").await, text, "{flags}");
        }
        let has_any = !story.get(url).await.text().contains("interpretation");
        assert_eq!(has_any, code.is_empty() && text.is_empty(), "{flags}");
    }
}

/// A document has its number, its place behind another one, and its status by TXA-17 and TXA-19.
///
/// Covers: v2 S40.
#[tokio::test(flavor = "multi_thread")]
async fn documents_replace_others_and_have_their_status() {
    let mut story = Story::begin().await;
    let document = |number: &str, parent: &str, status: &str, available: &str| {
        format!(
            "PID|1||12^^^STM^MR||Muster\n\
             TXA|1|CN^Note|TX|20260704100000||||||||{number}^LAB|{parent}||||{status}||{available}\n\
             OBX|1|TX|N^Note^L||a text||||||F"
        )
    };
    let of = async |story: &Story, number: &str, path: &str| {
        story.of(&format!("/DocumentReference?identifier={number}"), path).await
    };
    for (number, status, available, doc_status, expected) in [
        ("A1", "DI", "", "preliminary", "current"),
        ("A2", "AU", "AV", "final", "current"),
        ("A3", "LA", "UN", "final", "current"),
        ("A4", "AU", "OB", "final", "superseded"),
        ("A5", "AU", "CA", "final", "entered-in-error"),
        ("A6", "", "", "", "current"),
    ] {
        let told = story.tell("MDM^T02^MDM_T02", &document(number, "", status, available)).await;
        assert!(told.starts_with("AA"), "{number}: {told}");
        assert_eq!(of(&story, number, "docStatus").await, doc_status, "{number}");
        assert_eq!(of(&story, number, "status").await, expected, "{number}");
    }
    // The same number is the same document.
    story.tell("MDM^T02^MDM_T02", &document("A1", "", "AU", "AV")).await;
    assert_eq!(story.count("/DocumentReference?identifier=A1&").await, "1");
    assert_eq!(of(&story, "A1", "docStatus").await, "final");
    for (event, new, old) in [("T09", "B1", "A1"), ("T10", "B2", "A2")] {
        let parent = format!("{old}^LAB");
        let told =
            story.tell(&format!("MDM^{event}^MDM_T02"), &document(new, &parent, "AU", "")).await;
        assert!(told.starts_with("AA"), "{event}: {told}");
        assert_eq!(of(&story, new, "relatesTo[0].code").await, "replaces", "{event}");
        assert_eq!(of(&story, new, "status").await, "current", "{event}");
        assert_eq!(of(&story, old, "status").await, "superseded", "{event}");
    }
    let told = story.tell("MDM^T11^MDM_T01", &document("B1", "", "", "")).await;
    assert!(told.starts_with("AA"), "{told}");
    assert_eq!(of(&story, "B1", "status").await, "entered-in-error");
}

/// Who lives by the rules of the United States has resources claim US Core where they keep to it.
///
/// Covers: v2 F2.
#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_claimed_where_they_are_kept() {
    const PATIENT: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient";
    const LAB: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab";
    let mut story = Story::begin().await;
    assert!(story.tell("ORU^R01^ORU_R01", &result(1, "", "")).await.starts_with("AA"));
    assert_eq!(story.of("/Patient?", "meta.profile[0]").await, PATIENT);
    assert_eq!(story.of("/Observation?", "meta.profile[0]").await, LAB);
    let told =
        "SELECT count(*) FROM v2_issue WHERE app_code = 'not-us-core' AND text LIKE 'patient%'";
    assert_eq!(story.server.database.number(told).await, 0);
    // Without a name it is no US Core patient: it is stored, claims nothing, and that is told.
    assert!(story.tell("ADT^A08^ADT_A01", "PID|1||12^^^STM^MR||\"\"").await.starts_with("AA"));
    assert_eq!(story.of("/Patient?", "name[0].family").await, "");
    assert_eq!(story.of("/Patient?", "meta.profile[0]").await, "");
    assert_eq!(story.server.database.number(told).await, 1);
    // Elsewhere nothing is claimed.
    let elsewhere =
        "[site]\nid = \"lab\"\nmatch = { app = \"LAB\", facility = \"STM\" }\nus = false";
    install(&story.server, "lab", Some(elsewhere)).await;
    let other = "PID|1||13^^^STM^MR||Other^Anna";
    assert!(story.tell("ADT^A28^ADT_A05", other).await.starts_with("AA"));
    assert_eq!(story.of("/Patient?identifier=13", "meta.profile[0]").await, "");
}

/// An order that was generated by another, one that was added to its specimen, and one of which only the service
/// of its parent is told.
///
/// Covers: v2 S34.
#[tokio::test(flavor = "multi_thread")]
async fn orders_that_follow_from_others_are_told_apart() {
    let mut story = Story::begin().await;
    for (number, action, parent, service, intent, detail, display, value) in [
        ("F1", "", "", "", "order", "", "", ""),
        ("F2", "G", "F1&LAB", "", "reflex-order", "", "", "F1"),
        ("F3", "A", "", "", "order", "A", "", ""),
        ("F4", "G", "", "24323-8^Panel^LN", "reflex-order", "", "Panel", ""),
        ("F5", "L", "F1&LAB", "24323-8^Panel^LN", "order", "", "", "F1"),
    ] {
        let mut fields = vec![""; 51];
        let filler = format!("{number}^LAB");
        let parent = if parent.is_empty() { String::new() } else { format!("^{parent}") };
        let given = [
            (0, "OBR"),
            (1, "1"),
            (3, filler.as_str()),
            (4, "718-7^Hb^LN"),
            (7, "20260704110000"),
            (11, action),
            (25, "F"),
            (29, parent.as_str()),
            (50, service),
        ];
        for (at, text) in given {
            fields[at] = text;
        }
        let oru = format!("PID|1||12^^^STM^MR||Muster\n{}", fields.join("|"));
        let told = story.tell("ORU^R01^ORU_R01", &oru).await;
        assert!(told.starts_with("AA"), "{number}: {told}");
        let url = format!("/ServiceRequest?identifier={number}");
        assert_eq!(story.of(&url, "intent").await, intent, "{number}");
        assert_eq!(story.of(&url, "orderDetail[0].coding[0].code").await, detail, "{number}");
        assert_eq!(story.of(&url, "basedOn[0].display").await, display, "{number}");
        let based = story.of(&url, "basedOn[0].identifier.value").await;
        let led = story.of(&url, "basedOn[0].reference").await;
        assert!(based == value || !value.is_empty() && !led.is_empty(), "{number}: {based} {led}");
    }
}
