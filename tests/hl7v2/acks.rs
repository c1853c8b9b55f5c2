//! Answers: which are sent, and what they say.

use std::time::Duration;

use kiln::hl7v2::frame::framed;
use tokio::net::TcpListener;

use super::feed::{Feed, Sender, Setup, adt, value};
use super::sites::install;
use super::stories::Story;

/// v2 B8, v2 B9, v2 M6: what is wrong, with its code and its place.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_told_with_its_place() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    let with = |from: &str, to: &str| adt("A01", "1", "1").replace(from, to);
    for (message, code, number, place, state) in [
        (adt("Z02", "2", ""), "AE", "101", "PID^1^3", "failed"),
        (with("ADT^A01", "ADT^A99"), "AR", "201", "", "rejected"),
        (with("ADT^A01", "XYZ^Q1"), "AR", "200", "", "rejected"),
        (with("|2.5.1", "|3"), "AR", "203", "MSH^1^12", "rejected"),
        (with("|P|", "|T|"), "AR", "202", "MSH^1^11", "rejected"),
        (with("|1|P|", "||P|"), "AR", "101", "MSH^1^10", "rejected"),
    ] {
        let answer = sender.send(&message).await;
        let told = [value(&answer, "MSA-1"), value(&answer, "ERR-3.1")];
        assert_eq!(told, [code, number], "{message}");
        let text = str::from_utf8(&answer).unwrap();
        assert!(text.contains(&format!("\rERR||{place}|")), "{text}");
        assert_eq!(feed.states().await.last().map(String::as_str), Some(state), "{message}");
    }
    assert_eq!(feed.patients().await, 0);
}

/// v2 M6, v2 B31: bytes without a header, and bytes of another character set.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_kept_and_rejected() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    let answer = sender.send("GET / HTTP/1.1").await;
    assert_eq!((value(&answer, "MSA-1"), value(&answer, "MSA-2")), ("AR".into(), String::new()));
    let mut bytes = adt("A01", "9", "1").into_bytes();
    bytes.extend(b"NTE|1||M\xFCnchen\r");
    sender.write(&framed(&bytes)).await;
    let answer = sender.read().await.unwrap();
    assert_eq!((value(&answer, "MSA-1"), value(&answer, "MSA-2")), ("AE".into(), "9".into()));
    assert_eq!((value(&answer, "ERR-3.1"), value(&answer, "ERR-2.3")), ("102".into(), "18".into()));
    assert_eq!(feed.states().await, ["rejected", "failed"]);
    // With its character set it is read.
    let western = adt("A01", "10", "1").replace("|2.5.1", "|2.5.1||||||8859/1");
    let mut bytes = western.into_bytes();
    bytes.extend(b"NTE|1||M\xFCnchen\r");
    sender.write(&framed(&bytes)).await;
    assert_eq!(value(&sender.read().await.unwrap(), "MSA-1"), "AA");
}

/// Enhanced mode answers the receipt and the work as they are wanted.
///
/// Covers: v2 B10, v2 M4.
#[tokio::test(flavor = "multi_thread")]
async fn enhanced_mode_answers_as_wanted() {
    let feed = Feed::start().await;
    for (number, wanted, event, expected) in [
        (1, "AL|AL", "A01", &["CA", "AA"][..]),
        (2, "AL|NE", "A01", &["CA"]),
        (3, "NE|AL", "A01", &["AA"]),
        (4, "NE|NE", "A01", &[]),
        (5, "ER|ER", "A01", &[]),
        (6, "AL|ER", "Z02", &["CA", "AE"]),
        (7, "AL|SU", "Z02", &["CA"]),
        (8, "AL|AL", "A99", &["CR"]),
        (9, "SU|AL", "A99", &["AR"]),
    ] {
        let mut sender = feed.sender().await;
        let control_id = format!("e{number}");
        let message =
            adt(event, &control_id, "1").replace("|2.5.1\r", &format!("|2.5.1|||{wanted}\r"));
        sender.write(&framed(message.as_bytes())).await;
        let mut first = Vec::new();
        for code in expected {
            let answer = sender.read().await.unwrap();
            let told = [value(&answer, "MSA-1"), value(&answer, "MSA-2")];
            assert_eq!(told, [*code, control_id.as_str()], "{wanted} {event}");
            first.push(answer);
        }
        assert!(sender.is_silent().await, "{wanted} {event}");
        // The same bytes again hear the same bytes again; where the work failed, it is done again.
        if event == "Z02" {
            continue;
        }
        sender.write(&framed(message.as_bytes())).await;
        for answer in first {
            assert_eq!(sender.read().await.unwrap(), answer, "{wanted} {event}");
        }
        assert!(sender.is_silent().await, "{wanted} {event} again");
    }
}

/// Where receipt is enough, the answer does not wait, and a failure is in the list alone.
///
/// Covers: v2 M9.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_at_receipt_does_not_wait_for_the_work() {
    let mut setup = Setup::default();
    setup.settings.waits_for_effect = false;
    let feed = Feed::start_with(setup).await;
    let mut sender = feed.sender().await;
    let message = adt("Z02", "1", "1");
    let answer = sender.send(&message).await;
    assert_eq!(value(&answer, "MSA-1"), "AA");
    for _ in 0..100 {
        if feed.states().await == ["failed"] {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(feed.states().await, ["failed"]);
}

/// v2 B41: no value of a message is in an answer or in what lists tell.
#[tokio::test(flavor = "multi_thread")]
async fn answers_hold_nothing_of_a_patient() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    for event in ["A01", "A99", "Z01", "Z02"] {
        let message = adt(event, event, "4711").replace("Anna", "Annabella");
        let answer = sender.send(&message).await;
        let text = str::from_utf8(&answer).unwrap();
        assert!(!text.contains("4711") && !text.contains("Annabella"), "{text}");
    }
    let url = format!("{}/v2/messages", feed.server.client.root());
    let list = feed.server.client.call("GET", &url).send().await;
    let list = String::from_utf8(list.body.to_vec()).unwrap();
    assert!(!list.contains("4711") && !list.contains("Annabella"), "{list}");
}

/// The answer to the work goes over a connection of its own where the profile of the sender names an endpoint:
/// when it is wanted, once that is there, and again for who sends the message again.
///
/// Covers: v2 M4.
#[tokio::test(flavor = "multi_thread")]
async fn answers_to_the_work_go_to_another_endpoint() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    let endpoint = format!("lab={address}");
    let mut story = Story::begin_with(&[("hl7v2.answer_to", endpoint.as_str())]).await;
    let profile =
        "[site]\nid = \"lab\"\nmatch = { app = \"LAB\", facility = \"STM\" }\nanswers = \"lab\"";
    install(&story.server, "lab", Some(profile)).await;
    let message = |id: &str, wanted: &str, person: &str| {
        format!(
            "MSH|^~\\&|LAB|STM|KILN|H|20260704120000||ADT^A28^ADT_A05|{id}|P|2.5.1|||{wanted}\r\
             EVN||20260704120000\rPID|1||{person}||Muster^Anna\r"
        )
    };
    let arrived = async |other: &TcpListener| {
        let (stream, _) =
            tokio::time::timeout(Duration::from_secs(20), other.accept()).await.unwrap().unwrap();
        let answer = Sender::new(stream).read().await.unwrap();
        [value(&answer, "MSA-1"), value(&answer, "MSA-2"), value(&answer, "MSH-10")]
    };
    let receipt = story.sender.send(&message("w1", "AL|AL", "12^^^STM^MR")).await;
    assert_eq!([value(&receipt, "MSA-1"), value(&receipt, "MSA-2")], ["CA", "w1"]);
    let [code, of, own] = arrived(&other).await;
    assert_eq!([code.as_str(), of.as_str()], ["AA", "w1"]);
    assert_ne!(own, value(&receipt, "MSH-10"), "it is a message of its own");
    assert!(story.sender.is_silent().await, "nothing more comes back where the message came");
    // The same bytes again have both answers again.
    let again = story.sender.send(&message("w1", "AL|AL", "12^^^STM^MR")).await;
    assert_eq!(value(&again, "MSA-1"), "CA");
    assert_eq!(arrived(&other).await, ["AA".to_owned(), "w1".to_owned(), own]);
    // What is not wanted is not sent, what fails is; and it waits for the endpoint.
    drop(other);
    for (id, wanted, person) in [
        ("w2", "AL|ER", "13^^^STM^MR"),
        ("w3", "AL|SU", ""),
        ("w4", "AL|ER", ""),
        ("w5", "AL|SU", "14^^^STM^MR"),
    ] {
        let receipt = story.sender.send(&message(id, wanted, person)).await;
        assert_eq!([value(&receipt, "MSA-1"), value(&receipt, "MSA-2")], ["CA", id]);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let other = TcpListener::bind(address).await.unwrap();
    let (stream, _) =
        tokio::time::timeout(Duration::from_secs(30), other.accept()).await.unwrap().unwrap();
    let mut late = Sender::new(stream);
    for (code, of) in [("AE", "w4"), ("AA", "w5")] {
        let answer = late.read().await.unwrap();
        assert_eq!([value(&answer, "MSA-1"), value(&answer, "MSA-2")], [code, of]);
    }
    // In original mode there is one answer, on its own connection.
    let plain = story.sender.send(&message("w6", "", "15^^^STM^MR")).await;
    assert_eq!([value(&plain, "MSA-1"), value(&plain, "MSA-2")], ["AA", "w6"]);
    // Where the message is refused at once, that is told once.
    let refused = message("w7", "AL|AL", "12^^^STM^MR").replace("ADT^A28^ADT_A05", "ADT^A99");
    assert_eq!(value(&story.sender.send(&refused).await, "MSA-1"), "CR");
    assert!(story.sender.is_silent().await);
    let more = tokio::time::timeout(Duration::from_secs(2), other.accept()).await;
    assert!(more.is_err(), "none of these goes there");
}
