//! Messages that come at once, about one patient and about several.

use futures_util::future::join_all;
use tokio::net::TcpStream;

use super::feed::{Sender, value};
use super::stories::Story;

/// v2 S5: the same new number on many connections makes one patient.
///
/// Covers: v2 S5.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_first_seen_on_many_connections_makes_one_patient() {
    let story = Story::begin().await;
    let address = story.server.feed();
    let senders = (0..8).map(|_| async { Sender::new(TcpStream::connect(address).await.unwrap()) });
    let mut senders = join_all(senders).await;
    for round in 0..20 {
        let sent = senders.iter_mut().enumerate().map(|(number, sender)| async move {
            let message = format!(
                "MSH|^~\\&|LAB|STM|K|H|20260704120000||ADT^A28^ADT_A05|R{round}-{number}|P|2.5.1\r\
                 EVN||20260704120000\rPID|1||N{round}^^^STM^MR||Muster^Anna\r"
            );
            value(&sender.send(&message).await, "MSA-1")
        });
        assert_eq!(join_all(sent).await, ["AA"; 8], "round {round}");
        assert_eq!(story.count(&format!("/Patient?identifier=N{round}&")).await, "1");
    }
}

/// v2 S5: a patient is one whatever number a message names: a merge by one number and results by another
/// leave nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_sees_results_that_come_by_another_number_of_the_same_patient() {
    let mut story = Story::begin().await;
    story.tell("ADT^A28^ADT_A05", "PID|1||12^^^STM^MR||Muster^Anna").await;
    let stream = TcpStream::connect(story.server.feed()).await.unwrap();
    let mut second = Sender::new(stream);
    for round in 0..30 {
        let both = format!("PID|1||9{round}^^^STM^MR~8{round}^^^NAT^PI||Muster^Anna");
        assert_eq!(story.tell("ADT^A28^ADT_A05", &both).await, "AA");
        let oru = format!(
            "MSH|^~\\&|LAB|STM|K|H|20260704120000||ORU^R01^ORU_R01|O{round}|P|2.5.1\r\
             PID|1||8{round}^^^NAT^PI||Muster^Anna\rOBR|1|P{round}^LAB|F{round}^LAB|24323-8^Panel^LN|||20260704110000|||||||||||||||20260704113000||LAB|F\r\
             OBX|1|NM|718-7^Hemoglobin^LN||{round}|g/dL|||||F|||20260704110000\r"
        );
        let merge = format!("PID|1||12^^^STM^MR||Muster^Anna\nMRG|9{round}^^^STM^MR");
        let (merged, sent) = tokio::join!(story.tell("ADT^A40^ADT_A39", &merge), second.send(&oru));
        assert_eq!((merged.as_str(), value(&sent, "MSA-1").as_str()), ("AA", "AA"), "{round}");
        let kept = story.of("/Patient?active=true", "id").await;
        let url = format!("/Observation?subject=Patient/{kept}&");
        assert_eq!(story.count(&url).await, (round + 1).to_string());
    }
}

/// Patients, each of a connection of its own.
const PATIENTS: usize = 8;
/// Messages about each.
const ROUNDS: usize = 10;

/// An even one is about a visit, an odd one about results.
fn of_patient(patient: usize, round: usize) -> String {
    let at = format!("2026070412{round:02}00");
    let (event, rest) = if round.is_multiple_of(2) {
        (
            "ADT^A08^ADT_A01",
            format!("PV1|1|I|W{round}^1^1^STM||||||||||||||||V{patient}^^^STM^VN\r"),
        )
    } else {
        let order = format!(
            "OBR|1|P{patient}-{round}^LAB|F{patient}-{round}^LAB|24323-8^Panel^LN|||{at}|||||||||||||||{at}||LAB|F\r"
        );
        let result =
            |n: usize| format!("OBX|{n}|NM|2951-2^Sodium^LN|{n}|{}|mmol/L|||||F\r", 130 + n);
        ("ORU^R01^ORU_R01", order + &result(1) + &result(2) + &result(3))
    };
    let evn = if event.starts_with("ADT") { format!("EVN||{at}\r") } else { String::new() };
    format!(
        "MSH|^~\\&|LAB|STM|K|H|{at}||{event}|S{patient}-{round}|P|2.5.1\r{evn}\
         PID|1||N{patient}^^^STM^MR||Muster^Anna||19700203|F|||Weg {round}^^Ort\r{rest}"
    )
}

/// v2 S5, v2 M7, v2 M11: what messages of several patients do at the same moment is committed together: each has its
/// effect once and in the order of its patient, and the same answer when it comes again.
///
/// Covers: v2 M7, v2 M11.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_several_patients_at_once_have_each_its_effect_once_and_in_order() {
    let story = Story::begin().await;
    let address = story.server.feed();
    let send_all = || async {
        let each = (0..PATIENTS).map(|patient| async move {
            let mut sender = Sender::new(TcpStream::connect(address).await.unwrap());
            let mut answers = Vec::new();
            for round in 0..ROUNDS {
                answers.push(sender.send(&of_patient(patient, round)).await);
            }
            answers
        });
        join_all(each).await
    };
    let first = send_all().await;
    for answer in first.iter().flatten() {
        assert_eq!(value(answer, "MSA-1"), "AA", "{}", String::from_utf8_lossy(answer));
    }
    check_effects(&story).await;
    // All of it comes again at once.
    let again = send_all().await;
    assert_eq!(again, first, "the same answers");
    check_effects(&story).await;
}

async fn check_effects(story: &Story) {
    let messages = PATIENTS * ROUNDS;
    for (of, count) in [
        ("Patient", PATIENTS),
        ("Encounter", PATIENTS),
        ("DiagnosticReport", messages / 2),
        ("Observation", messages / 2 * 3),
        // One of each message, and one of the event where the message tells of one (EVN).
        ("Provenance", messages + messages / 2),
    ] {
        assert_eq!(story.count(&format!("/{of}?")).await, count.to_string(), "{of}");
    }
    for patient in 0..PATIENTS {
        let url = format!("/Patient?identifier=N{patient}&");
        let id = story.of(&url, "id").await;
        // The last word of each, and a version for each message, which all said another address.
        let last = ROUNDS - 1;
        assert_eq!(story.of(&url, "address[0].line[0]").await, format!("Weg {last}"));
        let versions = story.get(&format!("/Patient/{id}/_history?")).await;
        assert_eq!(versions.at("total"), Some(ROUNDS.to_string()));
        let lines: Vec<_> = (0..ROUNDS)
            .map(|at| versions.at(&format!("entry[{at}].resource.address[0].line[0]")).unwrap())
            .collect();
        let expected: Vec<_> = (0..ROUNDS).rev().map(|round| format!("Weg {round}")).collect();
        assert_eq!(lines, expected, "in the order of the messages");
        let results = format!("/Observation?subject=Patient/{id}&");
        assert_eq!(story.count(&results).await, (ROUNDS / 2 * 3).to_string());
    }
}
