//! Messages that come at once about one patient.

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
