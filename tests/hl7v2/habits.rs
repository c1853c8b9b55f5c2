//! What profiles say of a sender's habits, and what maps make of fields that few senders fill.

use super::sites::install;
use super::stories::{Story, visit};

const PID: &str = "PID|1||12^^^STM^MR||Muster^Anna";

async fn with(profile: &str) -> Story {
    let story = Story::begin().await;
    let text = format!("[site]\nid = \"lab\"\nmatch = {{ app = \"LAB\" }}\n{profile}\n");
    install(&story.server, "lab", Some(&text)).await;
    story
}

fn order(lines: &str) -> String {
    format!(
        "{PID}\nOBR|1||F1^LAB|24323-8^Panel^LN|||20260704110000|||||||||||||||20260704113000||LAB|F\n{lines}"
    )
}

/// v2 E-A01: the times of a beginning, a visit without a number, and an account in its place.
///
/// Covers: v2 E-A01.
#[tokio::test(flavor = "multi_thread")]
async fn a_visit_without_a_number_is_told_of_or_goes_by_its_account() {
    let mut story = Story::begin().await;
    let nameless = "PID|1||12^^^STM^MR||Muster^Anna|||||||||||||ACC1^^^STM\nPV1|1|I|W1^1^2^STM";
    assert_eq!(story.tell("ADT^A01^ADT_A01", nameless).await, "AA visit-without-number");
    assert_eq!(story.count("/Encounter?").await, "0");
    let mut story = with("visit_by_account = true").await;
    assert_eq!(story.tell("ADT^A01^ADT_A01", nameless).await, "AA");
    assert_eq!(story.of("/Encounter?", "identifier[0].value").await, "ACC1");
    assert_eq!(story.tell("ADT^A03^ADT_A03", nameless).await, "AA");
    assert_eq!(story.of("/Encounter?", "status").await, "finished");
    // An alternative number comes before the account, and a number of its own before both.
    let other = nameless
        .replace("|1|I|W1^1^2^STM", &format!("|1|I|W1^1^2^STM{}V8^^^STM^VN", "|".repeat(47)));
    assert_eq!(story.tell("ADT^A01^ADT_A01", &other).await, "AA");
    assert_eq!(story.of("/Encounter?identifier=V8&", "status").await, "in-progress");
    let named = format!(
        "{}|1|I|W1^1^2^STM||||||||||||||||V9^^^STM^VN",
        nameless.replace("|1|I|W1^1^2^STM", "")
    );
    assert_eq!(story.tell("ADT^A01^ADT_A01", &named).await, "AA");
    assert_eq!(story.count("/Encounter?").await, "3");
}

/// v2 E-A03: when and where somebody went.
///
/// Covers: v2 E-A03.
#[tokio::test(flavor = "multi_thread")]
async fn a_discharge_says_when_and_where_to() {
    let mut story = Story::begin().await;
    assert_eq!(story.tell("ADT^A01^ADT_A01", &visit("W1")).await, "AA");
    let left = format!("{}|||||||||||||||||01|HOME^^^STM", visit("W1"));
    assert_eq!(story.tell("ADT^A03^ADT_A03", &left).await, "AA");
    let encounter = story.get("/Encounter?").await;
    let at = |path: &str| encounter.at(&format!("entry[0].resource.{path}")).unwrap_or_default();
    assert_eq!(at("hospitalization.dischargeDisposition.coding[0].code"), "01");
    assert!(at("hospitalization.destination.reference").starts_with("Location/"), "{encounter:?}");
    assert!(at("period.end").starts_with("2026-07-04T12:02"), "{encounter:?}");
    // When it happened comes before when it was noted.
    let mut story = Story::begin().await;
    assert_eq!(story.tell("ADT^A01^ADT_A01", &visit("W1")).await, "AA");
    let text = format!(
        "MSH|^~\\&|LAB|STM|KILN|H|20260704130000||ADT^A03^ADT_A03|L1|P|2.5.1\rEVN||20260704130000||||20260704123000\r{}\r",
        left.replace('\n', "\r")
    );
    let answer = story.sender.send(&text).await;
    assert_eq!(super::feed::value(&answer, "MSA-1"), "AA");
    assert!(story.of("/Encounter?", "period.end").await.starts_with("2026-07-04T12:30"));
}

/// v2 E-A04: a registration may say that somebody has arrived.
///
/// Covers: v2 E-A04.
#[tokio::test(flavor = "multi_thread")]
async fn a_registration_says_arrived_where_the_site_wants_it() {
    let mut story = Story::begin().await;
    assert_eq!(story.tell("ADT^A04^ADT_A01", &visit("W1")).await, "AA");
    assert_eq!(story.of("/Encounter?", "status").await, "in-progress");
    let mut story = with("a04 = \"arrived\"").await;
    assert_eq!(story.tell("ADT^A04^ADT_A01", &visit("W1")).await, "AA");
    assert_eq!(story.of("/Encounter?", "status").await, "arrived");
    assert_eq!(story.of("/Encounter?", "class.code").await, "IMP");
    assert_eq!(story.tell("ADT^A01^ADT_A01", &visit("W1")).await, "AA");
    assert_eq!(story.of("/Encounter?", "status").await, "in-progress");
    // A registration after the admission takes nothing back.
    assert_eq!(story.tell("ADT^A04^ADT_A01", &visit("W1")).await, "AA");
    assert_eq!(story.of("/Encounter?", "status").await, "in-progress");
}

/// v2 E-A02: a step that cannot follow is done and told, or refused where the site is strict.
///
/// Covers: v2 E-A02, v2 E-A06, v2 E-A11.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_cannot_follow_is_refused_where_the_site_wants_it() {
    for (profile, answer, status, count) in [
        ("", "AA unexpected-transition", "finished", "2"),
        ("transitions = \"accept\"", "AA unexpected-transition", "finished", "2"),
        ("transitions = \"refuse\"", "AE unexpected-transition", "finished", "1"),
    ] {
        let mut story = with(profile).await;
        assert_eq!(story.tell("ADT^A01^ADT_A01", &visit("W1")).await, "AA", "{profile}");
        assert_eq!(story.tell("ADT^A03^ADT_A03", &visit("W1")).await, "AA", "{profile}");
        assert_eq!(story.tell("ADT^A02^ADT_A02", &visit("W2")).await, answer, "{profile}");
        assert_eq!(story.of("/Encounter?", "status").await, status, "{profile}");
        let encounter = story.get("/Encounter?").await;
        let places = (0..4)
            .map_while(|at| encounter.at(&format!("entry[0].resource.location[{at}].status")));
        assert_eq!(places.count().to_string(), count, "{profile}");
        // What is over is neither left for a while, nor was it planned or wrong.
        for event in ["A21^ADT_A21", "A22^ADT_A21", "A11^ADT_A09", "A38^ADT_A38", "A27^ADT_A21"] {
            let told = story.tell(&format!("ADT^{event}"), &visit("W2")).await;
            assert_eq!(told, answer, "{profile} {event}");
            assert_eq!(story.of("/Encounter?", "status").await, status, "{profile} {event}");
        }
        let end = story.of("/Encounter?", "period.end").await;
        assert!(end.starts_with("2026-07-04T12:02:00"), "{profile} {end}");
    }
}

/// v2 E-A08: an end that data tell of ends a visit where the site wants it.
///
/// Covers: v2 E-A08.
#[tokio::test(flavor = "multi_thread")]
async fn data_end_a_visit_where_the_site_wants_it() {
    let ended = format!("{}||||||||||||||||||||||||||20260704150000", visit("W1"));
    for (profile, status, place) in
        [("", "in-progress", "active"), ("discharge_by_data = true", "finished", "completed")]
    {
        let mut story = with(profile).await;
        assert_eq!(story.tell("ADT^A01^ADT_A01", &visit("W1")).await, "AA");
        assert_eq!(story.tell("ADT^A08^ADT_A01", &visit("W2")).await, "AA");
        assert_eq!(story.of("/Encounter?", "status").await, "in-progress");
        assert_eq!(story.tell("ADT^A08^ADT_A01", &ended).await, "AA");
        assert_eq!(story.of("/Encounter?", "status").await, status, "{profile}");
        assert_eq!(story.of("/Encounter?", "location[0].status").await, place, "{profile}");
        // Persons have no visit, whatever else they tell.
        for event in ["ADT^A28^ADT_A05", "ADT^A31^ADT_A05"] {
            let before = story.of("/Encounter?", "meta.versionId").await;
            assert_eq!(story.tell(event, &visit("W9")).await, "AA");
            assert_eq!(story.of("/Encounter?", "meta.versionId").await, before, "{event}");
        }
    }
}

/// v2 S35: text in several OBX is one value, with the notes of all.
///
/// Covers: v2 S35.
#[tokio::test(flavor = "multi_thread")]
async fn text_in_several_obx_is_one_value() {
    let mut story = Story::begin().await;
    let lines = "OBX|1|TX|11502-2^Report^LN|1|first||||||F\nOBX|2|TX|11502-2^Report^LN|1|second~third||||||F\n\
        NTE|1||about it\nOBX|3|TX|11502-2^Report^LN|2|another||||||F\nOBX|4|ST|11502-2^Report^LN|2|word||||||F";
    for _ in 0..2 {
        assert_eq!(story.tell("ORU^R01^ORU_R01", &order(lines)).await, "AA");
        assert_eq!(story.count("/Observation?").await, "3");
        for text in ["first\\nsecond\\nthird", "another", "word"] {
            let found = story.get("/Observation?").await.text();
            assert!(found.contains(&format!("\"valueString\": \"{text}\"")), "{text} {found}");
        }
    }
    assert!(story.get("/Observation?").await.text().contains("about it"));
    // A text that is corrected is one too.
    let shorter = "OBX|1|TX|11502-2^Report^LN|1|only||||||C";
    assert_eq!(story.tell("ORU^R01^ORU_R01", &order(shorter)).await, "AA");
    assert!(story.get("/Observation?status=corrected").await.text().contains("\"only\""));
}

/// v2 S38: each repetition is a result of its own where the site wants it.
///
/// Covers: v2 S38.
#[tokio::test(flavor = "multi_thread")]
async fn repetitions_are_results_of_their_own_where_the_site_wants_it() {
    let lines =
        "OBX|1|NM|718-7^Hemoglobin^LN||1~2~3|g/dL|||||F\nOBX|2|ST|8251-1^Comment^LN||a~b||||||F";
    let mut story = Story::begin().await;
    assert_eq!(story.tell("ORU^R01^ORU_R01", &order(lines)).await, "AA");
    assert_eq!(story.of("/Observation?code=718-7&", "component[2].valueQuantity.value").await, "3");
    let mut story = with("split_repeats = true").await;
    for _ in 0..2 {
        assert_eq!(story.tell("ORU^R01^ORU_R01", &order(lines)).await, "AA");
        assert_eq!(story.count("/Observation?code=718-7&").await, "3");
        assert_eq!(story.count("/Observation?code=8251-1&").await, "1");
    }
    for value in ["1", "2", "3"] {
        let url = format!("/Observation?code=718-7&value-quantity={value}&");
        assert_eq!(story.of(&url, "valueQuantity.value").await, value);
    }
    // A number of their own (OBX-21) is that of all values of the segment.
    let numbered = "OBX|1|NM|2345-7^Glucose^LN||4~5|mg/dL|||||F||||||||||U1^LAB";
    for _ in 0..2 {
        assert_eq!(story.tell("ORU^R01^ORU_R01", &order(numbered)).await, "AA");
        assert_eq!(story.count("/Observation?code=2345-7&").await, "2");
    }
}

/// v2 S30: neither OBX-1 nor OBX-14 says which result it is.
///
/// Covers: v2 S30.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_known_whatever_its_number_and_time_are() {
    let mut story = Story::begin().await;
    for (number, at) in [("1", "20260704110000"), ("7", "20260704114500")] {
        let line = format!("OBX|{number}|NM|718-7^Hemoglobin^LN||1|g/dL|||||F|||{at}");
        assert_eq!(story.tell("ORU^R01^ORU_R01", &order(&line)).await, "AA");
    }
    assert_eq!(story.of("/Observation?", "meta.versionId").await, "2");
    assert!(story.of("/Observation?", "effectiveDateTime").await.contains("11:45"));
}

/// v2 S31: an unknown or empty status is that of the order.
///
/// Covers: v2 S31.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_status_is_that_of_the_order() {
    for (own, order_status, expected) in [
        ("Q", "F", "final"),
        ("", "A", "preliminary"),
        ("", "R", "preliminary"),
        ("", "C", "corrected"),
        ("", "I", "registered"),
        ("\"\"", "F", "final"),
        ("F", "A", "final"),
    ] {
        let mut story = Story::begin().await;
        let text = order(&format!("OBX|1|NM|718-7^Hemoglobin^LN||1|g/dL|||||{own}"));
        let text = text.replace("||LAB|F\n", &format!("||LAB|{order_status}\n"));
        let told = story.tell("ORU^R01^ORU_R01", &text).await;
        assert!(told.starts_with("AA"), "{own} {order_status}: {told}");
        assert_eq!(story.of("/Observation?", "status").await, expected, "{own} {order_status}");
    }
    let mut story = Story::begin().await;
    for own in ["Q", ""] {
        let text = order(&format!("OBX|1|NM|718-7^Hemoglobin^LN||1|g/dL|||||{own}"));
        let text = text.replace("||LAB|F\n", "\n");
        assert!(story.tell("ORU^R01^ORU_R01", &text).await.starts_with("AE"), "{own}");
    }
}

/// v2 S39: notes after a person and a visit are theirs.
///
/// Covers: v2 S39.
#[tokio::test(flavor = "multi_thread")]
async fn notes_after_persons_and_visits_are_theirs() {
    let mut story = Story::begin().await;
    let text = format!(
        "{PID}\nNTE|1||speaks slowly~needs time\nPV1|1|I|W1^1^2^STM||||||||||||||||V1^^^STM^VN\nNTE|1||by the window\n{}",
        order("OBX|1|NM|718-7^Hemoglobin^LN||1|g/dL|||||F").split_once('\n').unwrap().1
    );
    for _ in 0..2 {
        assert_eq!(story.tell("ORU^R01^ORU_R01", &text).await, "AA");
    }
    let note = async |of: &str| story.of(of, "extension[0].valueAnnotation.text").await;
    assert_eq!(note("/Patient?").await, "speaks slowly\nneeds time");
    assert_eq!(note("/Encounter?").await, "by the window");
    assert_eq!(story.of("/Observation?", "note[0].text").await, "");
    // Between an order's control and its request they are the request's, after a specimen the specimen's.
    let text = format!(
        "{PID}\nORC|RE|P2^LAB|F2^LAB\nNTE|1||of the order\n{}\nSPM|1|S1&LAB^T1&LAB||BLD^Blood^HL70487\nNTE|1||of the tube",
        order("OBX|1|NM|718-7^Hemoglobin^LN||1|g/dL|||||F")
            .split_once('\n')
            .unwrap()
            .1
            .replace("||F1^LAB|", "|P2^LAB|F2^LAB|")
    );
    assert_eq!(story.tell("ORU^R01^ORU_R01", &text).await, "AA");
    let noted = story.of("/ServiceRequest?identifier=P2&", "note[0].text").await;
    assert_eq!(noted, "of the order");
    assert_eq!(story.of("/Specimen?identifier=S1&", "note[0].text").await, "of the tube");
}

/// v2 S10: what must be there and is to go is told.
///
/// Covers: v2 S10.
#[tokio::test(flavor = "multi_thread")]
async fn a_null_where_something_must_be_is_told() {
    let mut story = Story::begin().await;
    assert_eq!(story.tell("ADT^A28^ADT_A05", &format!("{PID}|||F")).await, "AA");
    assert_eq!(story.of("/Patient?", "gender").await, "female");
    assert_eq!(story.tell("ADT^A31^ADT_A05", &format!("{PID}|||")).await, "AA");
    assert_eq!(story.of("/Patient?", "gender").await, "female");
    let url = format!("{}/v2/messages?control-id=M3", story.server.client.root());
    assert_eq!(story.tell("ADT^A31^ADT_A05", &format!("{PID}|||\"\"")).await, "AA");
    assert_eq!(story.of("/Patient?", "gender").await, "unknown");
    let id = story.get(&url).await.at("messages[0].id").unwrap();
    let view = story.get(&format!("{}/v2/messages/{id}", story.server.client.root())).await;
    assert_eq!(view.at("issues[0].name").as_deref(), Some("kept"), "{view:?}");
    assert_eq!(view.at("issues[0].place").as_deref(), Some("PID[1]-8"), "{view:?}");
    // So is a null in a status, which is that of the order then.
    let result = order("OBX|1|NM|718-7^Hemoglobin^LN||1|g/dL|||||\"\"");
    assert_eq!(story.tell("ORU^R01^ORU_R01", &result).await, "AA");
    assert_eq!(story.of("/Observation?", "status").await, "final");
    let url = format!("{}/v2/messages?control-id=M4", story.server.client.root());
    let id = story.get(&url).await.at("messages[0].id").unwrap();
    let view = story.get(&format!("{}/v2/messages/{id}", story.server.client.root())).await;
    assert!(view.text().contains("\"place\":\"OBX[1]-11\""), "{view:?}");
    // An extension goes alone, and so does what is there under a condition.
    let more = |faith: &str, born: &str| {
        format!("{PID}{}{faith}{}{born}\nPD1|{}VIS", "|".repeat(12), "|".repeat(6), "|".repeat(5))
    };
    assert_eq!(story.tell("ADT^A31^ADT_A05", &more("CAT", "Wien")).await, "AA");
    let before = story.get("/Patient?").await.text();
    for text in ["\"CAT\"", "\"Wien\"", "\"VIS\""] {
        assert!(before.contains(text), "{text} {before}");
    }
    assert_eq!(story.tell("ADT^A31^ADT_A05", &more("\"\"", "\"\"")).await, "AA");
    let now = story.get("/Patient?").await.text();
    assert!(!now.contains("\"CAT\"") && !now.contains("\"Wien\""), "{now}");
    assert!(now.contains("\"VIS\""), "{now}");
}

/// v2 S11: the notes of a thing are those that were told last; none told of says nothing, a null that
/// there are none.
///
/// Covers: v2 S11.
#[tokio::test(flavor = "multi_thread")]
async fn notes_are_a_list_of_all_there_is() {
    let mut story = Story::begin().await;
    let told = |of_person: &str, of_result: &str| {
        format!(
            "{PID}{of_person}\nOBR|1||F1^LAB|24323-8^Panel^LN|||20260704110000|||||||||||||||20260704113000||LAB|F\n\
             OBX|1|NM|718-7^Hemoglobin^LN||1|g/dL|||||F{of_result}"
        )
    };
    for (of_person, of_result, person, result) in [
        ("\nNTE|1||a\nNTE|2||b", "\nNTE|1||c\nNTE|2||d", "a b", "c d"),
        ("\nNTE|1||e", "\nNTE|1||f", "e", "f"),
        ("", "", "e", "f"),
        ("\nNTE|1||\"\"", "\nNTE|1||\"\"", "", ""),
    ] {
        let told = story.tell("ORU^R01^ORU_R01", &told(of_person, of_result)).await;
        assert_eq!(told, "AA");
        let patient = story.get("/Patient?").await;
        let observation = story.get("/Observation?").await;
        let of = |found: &crate::harness::client::Answer, path: &str, rest: &str| {
            let one = |at: u32| found.at(&format!("entry[0].resource.{path}[{at}].{rest}"));
            (0..4).map_while(one).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&patient, "extension", "valueAnnotation.text"), person, "{patient:?}");
        assert_eq!(of(&observation, "note", "text"), result, "{observation:?}");
    }
}

/// v2 S35: a value without a type is a text, or refused where the site wants it.
///
/// Covers: v2 S35.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_without_a_type_is_a_text_or_refused() {
    let lines = "OBX|1||718-7^Hemoglobin^LN||1.5|g/dL|||||F\nOBX|2||4544-3^Hematocrit^LN||||||||F";
    let mut story = Story::begin().await;
    assert_eq!(story.tell("ORU^R01^ORU_R01", &order(lines)).await, "AA");
    assert_eq!(story.of("/Observation?code=718-7&", "valueString").await, "1.5");
    let mut story = with("refuse_untyped = true").await;
    assert_eq!(story.tell("ORU^R01^ORU_R01", &order(lines)).await, "AE damaged");
    assert_eq!(story.count("/Observation?").await, "0");
    // A status alone needs no type.
    let only = lines.split_once('\n').unwrap().1;
    assert_eq!(story.tell("ORU^R01^ORU_R01", &order(only)).await, "AA");
    assert_eq!(story.of("/Observation?", "status").await, "final");
}

/// v2 S12: a vaccination that is deleted was entered in error.
///
/// Covers: v2 S12.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_vaccination_was_entered_in_error() {
    let mut story = Story::begin().await;
    let given = |code: &str| {
        format!(
            "{PID}\nORC|RE||I1^LAB\nRXA|0|1|20260704110000||08^Hep B^CVX|0.5|mL||00|||||||||||CP|{code}"
        )
    };
    for (code, status) in
        [("A", "completed"), ("U", "completed"), ("X", "completed"), ("D", "entered-in-error")]
    {
        let told = story.tell("VXU^V04^VXU_V04", &given(code)).await;
        assert!(told.starts_with("AA"), "{code}: {told}");
        assert_eq!(story.of("/Immunization?", "status").await, status, "{code}");
    }
}

/// v2 S40: a document replaces another; its status is that of TXA-17 and TXA-19.
///
/// Covers: v2 S40.
#[tokio::test(flavor = "multi_thread")]
async fn documents_have_the_status_that_is_told() {
    let mut story = Story::begin().await;
    let note = |number: &str, parent: &str, state: &str, there: &str| {
        format!(
            "{PID}\nTXA|1|CN^Note|TX|20260704100000||||||||{number}^LAB|{parent}||||{state}||{there}\n\
             OBX|1|TX|N^Note^L||a text||||||F"
        )
    };
    for (number, state, there, doc_status, status) in [
        ("D1", "DI", "AV", "preliminary", "current"),
        ("D2", "AU", "AV", "final", "current"),
        ("D3", "LA", "OB", "final", "superseded"),
        ("D4", "AU", "CA", "final", "entered-in-error"),
    ] {
        assert_eq!(
            story.tell("MDM^T02^MDM_T02", &note(number, "", state, there)).await,
            "AA",
            "{number}"
        );
        let url = format!("/DocumentReference?identifier={number}&");
        assert_eq!(story.of(&url, "docStatus").await, doc_status, "{number}");
        assert_eq!(story.of(&url, "status").await, status, "{number}");
    }
    let text = note("D5", "D2^LAB", "AU", "AV");
    assert_eq!(story.tell("MDM^T09^MDM_T01", &text).await, "AA");
    assert_eq!(
        story.of("/DocumentReference?identifier=D5&", "relatesTo[0].code").await,
        "replaces"
    );
    assert_eq!(story.of("/DocumentReference?identifier=D2&", "status").await, "superseded");
}

/// v2 P7: a trial shows whom a message is about, and the message as one of FHIR.
///
/// Covers: v2 P7.
#[tokio::test(flavor = "multi_thread")]
async fn a_trial_shows_whom_a_message_is_about() {
    let mut story = Story::begin().await;
    assert_eq!(story.tell("ADT^A28^ADT_A05", PID).await, "AA");
    let id = story.of("/Patient?", "id").await;
    let message = format!(
        "MSH|^~\\&|LAB|STM|KILN|H|20260704120000||ADT^A01^ADT_A01|X1|P|2.5.1\rEVN||20260704120000\r{}\r",
        visit("W1").replace('\n', "\r")
    );
    let ask = async |query: &str| {
        let call = story.server.client.call("POST", &format!("/$hl7v2-convert{query}"));
        call.header("Content-Type", "application/hl7-v2").body(message.clone()).send().await
    };
    let plain = ask("").await.expect(200);
    assert!(!plain.text().contains("\"identity\""), "{plain:?}");
    let held = ask("?dry=identity").await.expect(200);
    assert!(held.text().contains(&format!("\"valueString\":\"Patient/{id}\"")), "{held:?}");
    assert!(held.text().contains("\"valueString\":\"new\""), "{held:?}");
    let shown = ask("?_output=message").await.expect(200);
    let at = |path: &str| shown.at(&format!("parameter[0].resource.{path}")).unwrap_or_default();
    assert_eq!((at("type"), at("identifier.value")), ("message".to_owned(), "X1".to_owned()));
    assert_eq!(at("entry[0].resource.resourceType"), "MessageHeader");
    assert_eq!(at("entry[0].resource.eventCoding.code"), "A01");
    assert_eq!(at("entry[0].resource.focus[0].reference"), at("entry[1].fullUrl"));
    assert!(!shown.text().contains("\"request\""), "{shown:?}");
    for query in ["?dry=run", "?_output=xml"] {
        ask(query).await.expect(400);
    }
    assert_eq!(story.count("/Patient?").await, "1");
    assert_eq!(story.count("/Encounter?").await, "0");
}
