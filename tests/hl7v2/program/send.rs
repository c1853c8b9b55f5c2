//! `kiln v2 send`: how much is sent how fast, and which answers are waited for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::harness::process::{Process, kiln};
use crate::hl7v2::carry::with_feed;
use crate::hl7v2::feed::adt;

/// What a run of the command said: whether it went well, its output, its errors.
type Told = (bool, String, String);

/// Sends a text to a feed with these flags.
async fn sent(process: &Process, address: SocketAddr, text: &str, flags: &[&str]) -> Told {
    let file = process.data_dir.join("sent.hl7");
    std::fs::write(&file, text).unwrap();
    let (file, to) = (file.display().to_string(), address.to_string());
    let line = ["v2", "send", &file, "--to", &to].into_iter().chain(flags.iter().copied());
    let line: Vec<String> = line.map(str::to_owned).collect();
    let run = move || kiln(&line.iter().map(String::as_str).collect::<Vec<_>>());
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let told = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), told(output.stdout), told(output.stderr))
}

/// Messages of this kind of answers: MSH-15 and MSH-16.
fn wanting(ids: &[&str], answers: &str) -> String {
    let one = |id: &&str| adt("A28", id, id).replace("|2.5.1\r", &format!("|2.5.1|||{answers}\r"));
    ids.iter().map(one).collect()
}

/// How many messages have had their effect, when that number is reached or after a while.
async fn effects(process: &Process, wanted: u64) -> u64 {
    let mut count = 0;
    for _ in 0..100 {
        let found = process.client.get("/Patient?_summary=count").await.expect(200);
        count = found.at("total").unwrap().parse().unwrap();
        if count >= wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    count
}

/// v2 P7: a file is sent several times over several connections, no faster than is said, and how far it is is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_often_side_by_side_and_not_too_fast() {
    let (process, address) = with_feed(&[]).await;
    let text: String = (0..5).map(|n| adt("A28", &n.to_string(), &n.to_string())).collect();
    let flags = ["--times", "3", "--connections", "2", "--rate", "2"];
    let began = Instant::now();
    let (is_well, out, told) = sent(&process, address, &text, &flags).await;
    // The last of fifteen is due after seven seconds.
    assert!(began.elapsed() >= Duration::from_secs(7), "{:?}", began.elapsed());
    assert!(is_well && out.starts_with("15 messages in "), "{out}{told}");
    assert!(out.ends_with(" ms: 15 AA\n"), "{out}");
    assert!(told.starts_with("v2 send: ") && told.contains(" messages, "), "{told}");
    let list = process.beside("v2", &["list", "--type", "ADT^A28", "--count", "100"]);
    let list = String::from_utf8(list.stdout).unwrap();
    for round in ["", "-1", "-2"] {
        for n in 0..5 {
            let id = format!("  {n}{round}  ");
            assert_eq!(list.matches(&id).count(), 1, "each under a number of its own: {list}");
        }
    }
    let flags = ["--quiet", "--times", "2"];
    let (is_well, out, told) = sent(&process, address, &adt("A28", "q", "q"), &flags).await;
    assert!(is_well && out.starts_with("2 messages in ") && told.is_empty(), "{out}{told}");
    assert_eq!(effects(&process, 6).await, 6, "each patient once");
}

/// v2 M4: as many answers are waited for as a message asks for, and each is counted for its own.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_that_the_messages_ask_for() {
    let (process, address) = with_feed(&[]).await;
    let ids = |kind: &str| [1, 2, 3].map(|n| format!("{kind}{n}"));
    let all =
        [("AL|AL", "3 AA, 3 CA"), ("AL|NE", "3 CA"), ("NE|AL", "3 AA"), ("NE|NE", "3 unanswered")];
    for (at, (answers, expected)) in all.into_iter().enumerate() {
        let ids = ids(&format!("m{at}-"));
        let ids = ids.each_ref().map(String::as_str);
        let began = Instant::now();
        let (is_well, out, told) = sent(&process, address, &wanting(&ids, answers), &[]).await;
        assert!(is_well && out.starts_with("3 messages in "), "{answers}: {out}{told}");
        assert!(out.ends_with(&format!(" ms: {expected}\n")), "{answers}: {out}");
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{answers}: nothing is waited for in vain"
        );
    }
    assert_eq!(effects(&process, 12).await, 12, "what is not answered is done too");
    // The second of three lacks what it must have: it alone is answered, late, and told of by its place.
    let bad = wanting(&["e2"], "NE|ER").replace("|e2^^^STM^MR|", "||");
    let text = wanting(&["e1"], "NE|ER") + &bad + &wanting(&["e3"], "NE|ER");
    let (is_well, out, told) = sent(&process, address, &text, &[]).await;
    assert!(!is_well && out.ends_with(" ms: 1 AE, 2 unanswered\n"), "{out}{told}");
    assert!(told.contains("message 2: AE "), "{told}");
    // With both, the second answer to one message is not the first to the next.
    let bad = wanting(&["f2"], "AL|AL").replace("|f2^^^STM^MR|", "||");
    let text = wanting(&["f1"], "AL|AL") + &bad + &wanting(&["f3"], "AL|AL");
    let (is_well, out, told) = sent(&process, address, &text, &[]).await;
    assert!(!is_well && out.ends_with(" ms: 2 AA, 1 AE, 3 CA\n"), "{out}{told}");
    assert!(told.contains("message 2: AE "), "{told}");
}
