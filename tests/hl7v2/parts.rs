//! Messages in several parts, and messages with numbers.

use super::feed::{Feed, Setup, adt, value};
use super::stories::Story;

fn header(id: &str, sequence: &str, continuation: &str) -> String {
    format!(
        "MSH|^~\\&|LAB|STM|K|H|20260704120000||ORU^R01^ORU_R01|{id}|P|2.5.1|{sequence}|{continuation}\r"
    )
}

/// Covers: v2 B36.
/// Covers: v2 S55.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_parts_has_its_effect_once_when_all_are_there() {
    let mut story = Story::begin().await;
    let one = format!(
        "{}PID|1||12^^^STM^MR||Muster^Anna\rOBR|1|P1^LAB|F1^LAB|T^Text^L|||20260704110000||||||||||||||||||F\r\
         OBX|1|TX|T^Text^L||the beginning\rADD|\rDSC|C1|F\r",
        header("1", "", "")
    );
    let two = format!("{}ADD|, the middle\rDSC|C2|F\r", header("2", "", "C1"));
    let three = format!("{}ADD| and the end||||||F\r", header("3", "", "C2"));
    for (part, id) in [(&one, "1"), (&two, "2")] {
        let answer = story.sender.send(part).await;
        assert_eq!((value(&answer, "MSA-1"), value(&answer, "MSA-2")), ("AA".into(), id.into()));
        assert_eq!(story.count("/Observation?").await, "0");
    }
    // A part that comes again is told so, and does not count twice.
    assert_eq!(value(&story.sender.send(&one).await, "MSA-1"), "AA");
    assert_eq!(value(&story.sender.send(&three).await, "MSA-1"), "AA");
    let text = story.of("/Observation?", "valueString").await;
    assert_eq!(text, "the beginning, the middle and the end");
    let list = format!("{}/v2/messages", story.server.client.root());
    let list = story.server.client.call("GET", &list).send().await;
    let states: Vec<_> = (0..4).map_while(|n| list.at(&format!("messages[{n}].state"))).collect();
    assert_eq!(states, ["processed_with_issues", "duplicate", "fragment", "fragment"]);
    // A sender may count its parts anew with each message: none of another's is in it.
    let other = |part: &str, id: &str, next: &str| {
        part.replace(&format!("|{id}|P|"), &format!("|{next}|P|")).replace("12^", "13^")
    };
    let again = [other(&one, "1", "11"), other(&two, "2", "12"), other(&three, "3", "13")];
    for part in &again {
        assert_eq!(value(&story.sender.send(part).await, "MSA-1"), "AA");
    }
    let url = "/Observation?patient.identifier=13";
    assert_eq!(story.of(url, "valueString").await, "the beginning, the middle and the end");
}

/// Release 2 of MLLP: a frame of its own confirms each frame, before it is answered.
///
/// Covers: v2 M3.
#[tokio::test(flavor = "multi_thread")]
async fn frames_are_confirmed_in_release_2() {
    let mut story = Story::begin_with(&[("hl7v2.release", "2")]).await;
    for id in ["1", "2"] {
        let message = format!("{}PID|1||12^^^STM^MR||Muster^Anna\r", header(id, "", ""));
        let message = message.replace("ORU^R01^ORU_R01", "ADT^A28");
        assert_eq!(&story.sender.send(&message).await[..], b"\x06", "it is stored");
        let answer = story.sender.read().await.unwrap();
        assert_eq!((value(&answer, "MSA-1"), value(&answer, "MSA-2")), ("AA".into(), id.into()));
        // Our answer is confirmed too, which is answered by nothing.
        story.sender.write(b"\x0B\x06\x1C\r").await;
    }
    assert!(story.sender.is_silent().await);
    assert_eq!(story.count("/Patient?").await, "1");
}

/// Covers: v2 S23.
#[tokio::test(flavor = "multi_thread")]
async fn numbered_messages_have_no_gap() {
    let mut story = Story::begin_with(&[("hl7v2.numbered", "true")]).await;
    let message = |number: &str| {
        let patient = format!("PID|1||{number}^^^STM^MR||Muster^Anna\r");
        let header =
            header(&format!("N{number}"), number, "").replace("ORU^R01^ORU_R01", "ADT^A28");
        format!("{header}{patient}")
    };
    for (number, code, expected) in [
        ("0", "AA", "1"),
        ("1", "AA", "2"),
        ("3", "AE", "2"),
        ("2", "AA", "3"),
        ("3", "AA", "4"),
        ("1", "AA", "2"),
        ("-1", "AA", "4"),
        ("0", "AA", "1"),
        ("1", "AA", "2"),
    ] {
        let answer = story.sender.send(&message(number)).await;
        let told = (value(&answer, "MSA-1"), value(&answer, "MSA-4"));
        assert_eq!(told, (code.to_owned(), expected.to_owned()), "{number}");
    }
    let gap = story.sender.send(&message("9")).await;
    assert_eq!((value(&gap, "ERR-3.1"), value(&gap, "ERR-2.3")), ("207".into(), "13".into()));
    assert_eq!(story.count("/Patient?identifier=9&").await, "0");
}

/// A message from a sender that goes on elsewhere, or comes from there.
fn part(sender: &str, id: &str, (from, to): (&str, &str)) -> String {
    let header = adt("A01", id, "1").replace("|LAB|", &format!("|{sender}|"));
    let header = header.replace("|2.5.1\r", &format!("|2.5.1||{from}\r"));
    let text = format!("{header}NTE|1||{}\r", "x".repeat(700));
    if to.is_empty() { text } else { format!("{text}DSC|{to}|F\r") }
}

/// Parts of a sender that wait for others have a bound; what is one message now counts no more, nor does what
/// other senders have. Nor is a message put together of more, however names are used again.
///
/// Covers: v2 S55.
#[tokio::test(flavor = "multi_thread")]
async fn parts_that_wait_have_a_bound_for_each_sender() {
    let mut setup = Setup::default();
    setup.settings.most_of_parts = 2_500;
    let feed = Feed::start_with(setup).await;
    let mut sender = feed.sender().await;
    let mut send = async |who: &str, id: &str, places: (&str, &str)| {
        let answer = sender.send(&part(who, id, places)).await;
        (value(&answer, "MSA-1"), value(&answer, "ERR-5.1"))
    };
    let fine = || ("AA".to_owned(), String::new());
    let full = || ("AR".to_owned(), "parts-too-long".to_owned());
    assert_eq!(send("LAB", "1", ("", "C1")).await, fine());
    assert_eq!(send("LAB", "2", ("C1", "C2")).await, fine());
    assert_eq!(send("LAB", "3", ("C2", "C3")).await, full());
    // What came before is known when it comes again, and others have room of their own.
    assert_eq!(send("LAB", "2", ("C1", "C2")).await, fine());
    assert_eq!(send("RIS", "1", ("", "C1")).await, fine());
    assert_eq!(send("LAB", "4", ("C2", "")).await, fine());
    assert_eq!(feed.patients().await, 1);
    // They are one message: there is room again, for what was refused too, but not for one that has these and more.
    assert_eq!(send("LAB", "3", ("C2", "C3")).await, fine());
    assert_eq!(send("LAB", "5", ("C2", "C5")).await, fine());
    assert_eq!(send("LAB", "6", ("C5", "")).await, ("AE".to_owned(), "parts-too-long".to_owned()));
    assert_eq!(feed.patients().await, 1);
}
