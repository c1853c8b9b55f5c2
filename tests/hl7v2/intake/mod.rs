//! How messages are taken in where a profile says so: bytes, escapes, numbers, repetitions, copies; and for how
//! long their text is kept.

mod again;
mod breaks;
mod lines;
mod months;
mod sealed;
mod values;
mod versions;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln::hl7v2::frame::framed;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::harness::client::Answer;

use super::feed::{Feed, Sender, Setup, adt, value};
use super::sites::install;
use super::stories::Story;

/// A profile for the sender of stories, with more in its `[site]`.
fn profile(more: &str) -> String {
    format!("[site]\nid = \"lab\"\nmatch = {{ app = \"LAB\", facility = \"STM\" }}\n{more}\n")
}

async fn json(story: &Story, url: &str) -> Answer {
    let client = &story.server.client;
    client.call("GET", &format!("{}{url}", client.root())).send().await.expect(200)
}

async fn raw_answer(story: &mut Story, message: &[u8]) -> String {
    story.sender.write(&[&[0x0B], message, &[0x1C, 0x0D]].concat()).await;
    String::from_utf8(story.sender.read().await.unwrap().to_vec()).unwrap()
}

/// A strict reader says where a line is no segment; a forgiving one joins it to the field before it.
///
/// Covers: v2 S53.
#[tokio::test(flavor = "multi_thread")]
async fn a_strict_reader_refuses_a_line_that_is_no_segment() {
    let mut story = Story::begin().await;
    let junk = |id: &str| format!("{}NTE|1||one\rtwo\r", adt("A01", id, "12"));
    let answer = story.sender.send(&junk("1")).await;
    assert_eq!(value(&answer, "MSA-1"), "AA");
    install(&story.server, "lab", Some(&profile("reading = \"strict\""))).await;
    let answer = story.sender.send(&junk("2")).await;
    assert_eq!((value(&answer, "MSA-1"), value(&answer, "ERR-3.1")), ("AE".into(), "100".into()));
    assert_eq!((value(&answer, "ERR-2.1"), value(&answer, "ERR-2.2")), ("NTE".into(), "1".into()));
}

/// Bytes that are not in the character set are refused, or replaced and told.
///
/// Covers: v2 S52.
#[tokio::test(flavor = "multi_thread")]
async fn undecodable_bytes_are_replaced_where_the_profile_says_so() {
    let mut story = Story::begin().await;
    let message = |id: &str| {
        let text = adt("A01", id, "12").replace("Muster", "M\u{FC}ller");
        text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect::<Vec<_>>()
    };
    let refused = raw_answer(&mut story, &message("1")).await;
    assert!(refused.contains("MSA|AE|1") && refused.contains("|MSH^1^18|102^"), "{refused}");
    assert_eq!(story.count("/Patient?").await, "0");
    install(&story.server, "lab", Some(&profile("undecodable = \"replace\""))).await;
    let taken = raw_answer(&mut story, &message("2")).await;
    assert!(taken.contains("MSA|AA|2") && taken.contains("|MSH^1^18|102^"), "{taken}");
    assert!(taken.contains("|W|charset^^kiln"), "{taken}");
    assert_eq!(story.of("/Patient?", "name[0].family").await, "M\u{FFFD}ller");
    let kept = json(&story, "/v2/messages?state=processed_with_issues").await;
    let id = kept.at("messages[0].id").unwrap();
    let client = &story.server.client;
    let call = client.call("GET", &format!("{}/v2/messages/{id}", client.root()));
    let raw = call.header("Accept", "application/hl7-v2").send().await.expect(200);
    assert_eq!(&raw.body[..], &message("2")[..], "it is kept as it came");
}

/// Escapes that a sender has of its own stand for what its profile says, in all that is stored.
///
/// Covers: v2 S51.
#[tokio::test(flavor = "multi_thread")]
async fn escapes_of_a_sender_are_mapped_by_its_profile() {
    let mut story = Story::begin().await;
    let person = "PID|1||12^^^STM^MR||M\\Zue\\ller^\\Zxx\\Anna";
    assert_eq!(story.tell("ADT^A28^ADT_A05", person).await, "AA");
    assert_eq!(story.of("/Patient?", "name[0].family").await, "M\\Zue\\ller");
    let escapes = profile("[escape]\nZue = \"\u{FC}\"");
    install(&story.server, "lab", Some(&escapes)).await;
    assert_eq!(story.tell("ADT^A31^ADT_A05", person).await, "AA");
    assert_eq!(story.of("/Patient?", "name[0].family").await, "M\u{FC}ller");
    assert_eq!(story.of("/Patient?", "name[0].given[0]").await, "\\Zxx\\Anna");
    let spec = kiln::spec::Spec::r4().unwrap();
    let maps = kiln::hl7v2::map::Maps::base(&spec.schema).unwrap();
    for wrong in ["[escape]\nX41 = 'A'", "[escape]\nZ = 'A'", "[escape]\nZ1 = 2"] {
        let faults = maps.with_site("p.toml", &format!("[site]\nid = 'x'\n{wrong}"), &spec.schema);
        assert!(faults.unwrap_err()[0].to_string().contains("escape."), "{wrong}");
    }
}

/// A time with hours or minutes alone is completed, since FHIR has none such, and that is told.
///
/// Covers: v2 S50.
#[tokio::test(flavor = "multi_thread")]
async fn that_a_time_was_completed_is_told() {
    let story = Story::begin().await;
    let mut sender = Sender::new(TcpStream::connect(story.server.feed()).await.unwrap());
    for (id, at, stored, is_told) in [
        ("1", "2026070411", "2026-07-04T11:00:00+00:00", true),
        ("2", "202607041105", "2026-07-04T11:05:00+00:00", true),
        ("3", "20260704110507", "2026-07-04T11:05:07+00:00", false),
        ("4", "20260704", "2026-07-04", false),
    ] {
        let message = format!(
            "MSH|^~\\&|LAB|STM|K|H|20260704120000||ORU^R01^ORU_R01|{id}|P|2.5.1\r\
             PID|1||{id}^^^STM^MR||Muster\rOBR|1||F{id}^LAB|718-7^Hb^LN|||20260704110000|||||||||||||||||||F\r\
             OBX|1|NM|718-7^Hb^LN||7.1|g/dL|||||F|||{at}\r"
        );
        let answer = sender.send(&message).await;
        let text = str::from_utf8(&answer).unwrap();
        assert_eq!(value(&answer, "MSA-1"), "AA");
        let told = text.split('\r').any(|line| {
            line.starts_with("ERR|") && line.contains("OBX^1^14") && line.contains("|I|kept^")
        });
        assert_eq!(told, is_told, "{at}: {text}");
        let url = format!("/Observation?patient.identifier={id}");
        assert_eq!(story.of(&url, "effectiveDateTime").await, stored);
    }
}

/// A control id that comes again with other content is another message, or is refused.
///
/// Covers: v2 S21.
#[tokio::test(flavor = "multi_thread")]
async fn a_strict_profile_refuses_a_control_id_that_is_used_again() {
    let story = Story::begin().await;
    let mut sender = Sender::new(TcpStream::connect(story.server.feed()).await.unwrap());
    let strict = profile("dedupe = { reuse = \"refuse\" }");
    install(&story.server, "lab", Some(&strict)).await;
    let told = |answer: &[u8]| (value(answer, "MSA-1"), value(answer, "ERR-3.1"));
    let fine = ("AA".to_owned(), String::new());
    let used = ("AE".to_owned(), "205".to_owned());
    assert_eq!(told(&sender.send(&adt("A28", "1", "12")).await), fine);
    // As often as it comes: what is refused is not done because it was refused before.
    for _ in 0..2 {
        let again = sender.send(&adt("A28", "1", "13")).await;
        assert_eq!(told(&again), used);
        assert_eq!(
            (value(&again, "ERR-2.1"), value(&again, "ERR-2.3")),
            ("MSH".into(), "10".into())
        );
    }
    assert_eq!(story.count("/Patient?").await, "1");
    // The same bytes are a repetition, and another number is another message.
    assert_eq!(told(&sender.send(&adt("A28", "1", "12")).await), fine);
    assert_eq!(told(&sender.send(&adt("A28", "2", "13")).await), fine);
    // What failed before may be sent mended under its number.
    let broken = adt("A28", "3", "14").replace("14^^^STM^MR", "");
    assert_eq!(told(&sender.send(&broken).await).0, "AE");
    assert_eq!(told(&sender.send(&adt("A28", "3", "14")).await), fine);
    assert_eq!(story.count("/Patient?").await, "3");
    let spec = kiln::spec::Spec::r4().unwrap();
    let maps = kiln::hl7v2::map::Maps::base(&spec.schema).unwrap();
    let faults =
        maps.with_site("p.toml", &strict.replace("\"refuse\"", "\"perhaps\""), &spec.schema);
    assert!(faults.unwrap_err()[0].to_string().contains("site.reuse"));
}

/// A message whose number comes too early waits for those before it as long as the profile says, and is done
/// then, with or without them.
///
/// Covers: v2 S23.
#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_waited_for_and_then_passed_over() {
    let story = Story::begin_with(&[("hl7v2.numbered", "true")]).await;
    install(&story.server, "lab", Some(&profile("gap_s = 2"))).await;
    let address = story.server.feed();
    let connect = || async { Sender::new(TcpStream::connect(address).await.unwrap()) };
    let message = |number: u32| {
        let text = adt("A28", &format!("N{number}"), &number.to_string());
        text.replace("|2.5.1\r", &format!("|2.5.1|{number}\r"))
    };
    let (mut one, mut other) = (connect().await, connect().await);
    let told = |answer: &[u8]| (value(answer, "MSA-1"), value(answer, "MSA-4"));
    let expected = |next: &str| ("AA".to_owned(), next.to_owned());
    assert_eq!(told(&one.send(&message(1)).await), expected("2"));
    // Number 3 is held until 2 is there.
    one.write(&framed(message(3).as_bytes())).await;
    assert!(one.is_silent().await);
    assert_eq!(told(&other.send(&message(2)).await), expected("3"));
    assert_eq!(told(&one.read().await.unwrap()), expected("4"));
    // Number 4 never comes.
    let began = std::time::Instant::now();
    assert_eq!(told(&one.send(&message(5)).await), expected("6"));
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(story.count("/Patient?").await, "4");
    let passed = json(&story, "/v2/messages?state=processed_with_issues").await;
    assert_eq!(passed.at("messages[0].controlId").as_deref(), Some("N5"));
    assert_eq!(passed.at("messages[1].controlId"), None, "{passed:?}");
    let id = passed.at("messages[0].id").unwrap();
    let one = json(&story, &format!("/v2/messages/{id}")).await;
    assert_eq!(one.at("issues[0].name").as_deref(), Some("sequence-gap"));
    assert_eq!(one.at("issues[0].place").as_deref(), Some("MSH[1]-13"));
}

/// A repetition is one AuditEvent that says so, and the message tells how often it came again.
///
/// Covers: v2 S20.
#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_is_on_record_as_one_and_counted() {
    let mut story = Story::begin().await;
    let message = adt("A28", "1", "12");
    let answer = story.sender.send(&message).await;
    for _ in 0..2 {
        assert_eq!(story.sender.send(&message).await, answer);
    }
    let events = story.get("/AuditEvent?_count=200").await;
    assert_eq!(events.text().matches("\"outcomeDesc\":\"duplicate\"").count(), 2, "{events:?}");
    let list = json(&story, "/v2/messages?state=processed").await;
    let id = list.at("messages[0].id").unwrap();
    let first = json(&story, &format!("/v2/messages/{id}")).await;
    assert_eq!(first.at("repetitions").as_deref(), Some("2"));
    let list = json(&story, "/v2/messages?state=duplicate").await;
    assert_eq!(list.at("messages[1].duplicateOf"), Some(id));
    assert_eq!(story.of("/Patient?", "meta.versionId").await, "1");
}

/// A batch has a number of messages, and a file one of batches; each message stands by itself; a part is waited
/// for a day.
///
/// Covers: v2 S55.
#[tokio::test(flavor = "multi_thread")]
async fn batches_are_counted_and_parts_are_not_waited_for_for_ever() {
    let feed = Feed::start().await;
    let mut sender = feed.sender().await;
    let batch = |batches: u32, id: &str| {
        format!(
            "FHS|^~\\&|LAB|STM\rBHS|^~\\&|LAB|STM|KILN|H|2026||||B7\r{}{}BTS|2\rFTS|{batches}\r",
            adt("A01", &format!("{id}a"), "1"),
            adt("Z02", &format!("{id}b"), "2"),
        )
    };
    let comment = |answer: &[u8]| {
        let text = str::from_utf8(answer).unwrap().split('\r').next().unwrap().to_owned();
        text.split('|').nth(9).unwrap_or_default().to_owned()
    };
    assert_eq!(comment(&sender.send(&batch(1, "x")).await), "");
    assert_eq!(feed.states().await, ["processed", "failed"], "each has a state of its own");
    let wrong = sender.send(&batch(2, "y")).await;
    assert_eq!(comment(&wrong), "Segment sequence error: batch-count");
    assert_eq!(feed.states().await[2..], ["processed", "failed"]);
    // The first part of a message is older than a day when the second one comes.
    let first = format!("{}DSC|C1|F\r", adt("A01", "p1", "3"));
    assert_eq!(value(&sender.send(&first).await, "MSA-1"), "AA");
    let aged = "UPDATE v2_message SET received_at = received_at - interval '25 hours' \
         WHERE state = 'fragment'";
    feed.server.database.run(aged).await;
    let second = adt("A01", "p2", "3").replace("|2.5.1\r", "|2.5.1||C1|AL|NE\r");
    assert_eq!(value(&sender.send(&second).await, "MSA-1"), "CA");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!feed.work.done.lock().unwrap().iter().any(|id| id == "p2"), "nothing of it is done");
    let why = "SELECT count(*) FROM v2_open o JOIN v2_message m ON m.id = o.message_id \
         WHERE m.control_id = 'p2' AND o.attempts > 0 AND o.reason = 'a part of the message is missing'";
    assert_eq!(feed.server.database.number(why).await, 1);
}

/// A copy of each message as a document of its patient, where the profile wants one.
///
/// Covers: v2 F4.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_kept_as_a_document_where_the_profile_says_so() {
    let mut story = Story::begin().await;
    let person = "PID|1||12^^^STM^MR||Muster^Anna";
    assert_eq!(story.tell("ADT^A28^ADT_A05", person).await, "AA");
    let documents = "/DocumentReference?patient.identifier=12&";
    assert_eq!(story.count(documents).await, "0");
    install(&story.server, "lab", Some(&profile("copy = \"document\""))).await;
    let message = adt("A31", "C1", "12");
    assert_eq!(value(&story.sender.send(&message).await, "MSA-1"), "AA");
    let document = "content[0].attachment";
    assert_eq!(
        story.of(documents, &format!("{document}.contentType")).await,
        "x-application/hl7-v2+er7"
    );
    let data = story.of(documents, &format!("{document}.data")).await;
    let bytes = STANDARD.decode(data).unwrap();
    assert_eq!(bytes, message.as_bytes());
    let list = json(&story, "/v2/messages?control-id=C1").await;
    let id = list.at("messages[0].id").unwrap();
    assert_eq!(story.of(documents, "masterIdentifier.value").await, id);
    // Worked on again, it is the same document.
    let client = &story.server.client;
    let replay = format!("{}/v2/messages/{id}/$replay", client.root());
    client.call("POST", &replay).send().await.expect(202);
    let done =
        "SELECT count(*) FROM v2_message WHERE control_id = 'C1' AND state LIKE 'processed%'";
    for _ in 0..200 {
        if story.server.database.number(done).await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(story.server.database.number(done).await, 1);
    assert_eq!(story.count(documents).await, "1");
    assert_eq!(story.of(documents, "meta.versionId").await, "1");
}

/// The text of what is done goes after some days; what it was known by and its answer stay.
///
/// Covers: v2 P6.
#[tokio::test(flavor = "multi_thread")]
async fn texts_of_messages_are_purged_by_age() {
    let mut setup = Setup::default();
    setup.settings.days_kept = Some(1);
    let feed = Feed::start_with(setup).await;
    let mut sender = feed.sender().await;
    let message = adt("A01", "1", "1");
    let answer = sender.send(&message).await;
    sender.send(&adt("Z02", "2", "2")).await;
    sender.send(&adt("A01", "3", "3")).await;
    let aged = "UPDATE v2_message SET received_at = received_at - interval '25 hours' \
         WHERE control_id IN ('1', '2')";
    feed.server.database.run(aged).await;
    let (stop, stopped) = watch::channel(false);
    let purging = tokio::spawn({
        let receiver = feed.receiver.clone();
        async move { receiver.purge(stopped).await }
    });
    let kept = "SELECT count(*) FROM v2_message WHERE raw IS NOT NULL";
    for _ in 0..100 {
        if feed.server.database.number(kept).await == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.send(true).unwrap();
    purging.await.unwrap();
    let texts =
        "SELECT count(*) FROM v2_message WHERE raw IS NOT NULL AND control_id IN ('2', '3')";
    assert_eq!(feed.server.database.number(texts).await, 2, "what failed waits for its replay");
    assert_eq!(feed.server.database.number(kept).await, 2);
    assert_eq!(sender.send(&message).await, answer, "a repetition is answered as before");
    assert_eq!(feed.patients().await, 2);
}
