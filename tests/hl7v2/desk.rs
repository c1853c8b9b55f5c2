//! Profiles of senders, codes and a listener by the command line.
//!
//! Covers: v2 P2, P3.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::harness::database::connect;
use crate::harness::process::Process;

use super::feed::{Sender, value};
use super::sites::{LAB, observations, result};

/// A server, and commands beside it.
struct Desk(Process);

impl Desk {
    async fn open() -> Self {
        Self(Process::start().await)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.data_dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Runs `kiln v2 ..`: what it prints.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.0.beside("v2", arguments);
        let fault = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {fault}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs it, and it fails: what it says.
    #[track_caller]
    fn fail(&self, arguments: &[&str]) -> String {
        let output = self.0.beside("v2", arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Waits until the metrics tell of so many profiles that cannot be used.
    async fn until_unusable(&self, count: &str) {
        let url = format!("{}/metrics", self.0.client.root());
        for _ in 0..300 {
            let told = self.0.client.call("GET", &url).send().await.text();
            let mut lines = told.lines().filter(|it| it.starts_with("kiln_v2_profiles_unusable"));
            if lines.any(|line| line.rsplit(' ').next() == Some(count)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the metrics do not tell of {count}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_checked_compared_and_installed_by_commands() {
    let desk = Desk::open().await;
    let good = desk.file("a.toml", LAB);
    let newer = desk.file("b.toml", &LAB.replace("718-7", "1-1"));
    let bad = desk.file("c.toml", &LAB.replace("Europe/Dublin", "Nowhere"));
    let nobody = desk.file("d.toml", "[site]\nid = \"x\"\n");
    let corpus = desk.0.data_dir.join("corpus");
    std::fs::create_dir(&corpus).unwrap();
    desk.file("corpus/oru.hl7", &result("LAB1", "1", "HB"));
    let corpus = corpus.display().to_string();
    assert!(desk.run(&["map", "check", &good]).starts_with("stm-lab: "));
    let told = desk.fail(&["map", "check", &bad]);
    assert!(told.contains("c.toml:6") && told.contains("site.zone"), "{told}");
    assert!(desk.run(&["map", "check", &nobody]).contains("cannot be installed"));
    for refused in [&bad, &nobody] {
        let told = desk.fail(&["map", "install", refused]);
        assert!(told.contains("site."), "{told}");
    }
    let installed = desk.run(&["map", "install", &good]);
    assert_eq!(installed, "stm-lab: version 1 is installed\n");
    let installed = desk.run(&["map", "install", &newer, "--note", "ticket 7"]);
    assert_eq!(installed, "stm-lab: version 2 is installed\n");
    let told = desk.run(&["map", "diff", "@stm-lab:1", "@stm-lab", &corpus]);
    assert!(told.contains("718-7") && told.contains("1-1"), "{told}");
    assert!(told.ends_with("1 messages make something else\n"), "{told}");
    let told = desk.run(&["map", "diff", "@stm-lab", &newer, &corpus]);
    assert_eq!(told, "0 messages make something else\n");
    let told = desk.run(&["map", "explain", "--site", "@stm-lab", "OBX-3"]);
    assert!(told.contains("Observation.code"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_profiles_are_listed_shown_rolled_back_and_withdrawn() {
    let desk = Desk::open().await;
    let newer = LAB.replace("718-7", "1-1");
    desk.run(&["map", "install", &desk.file("a.toml", LAB)]);
    desk.run(&["map", "install", &desk.file("b.toml", &newer), "--note", "ticket 7"]);
    let told = desk.run(&["map", "rollback", "stm-lab", "--to", "1"]);
    assert_eq!(told, "stm-lab: version 3 is version 1 again\n");
    assert_eq!(desk.run(&["map", "show", "stm-lab"]), LAB);
    assert_eq!(desk.run(&["map", "show", "stm-lab:2"]), newer);
    let told = desk.run(&["map", "list", "stm-lab"]);
    assert_eq!(told.lines().count(), 3, "{told}");
    assert!(told.contains("back to version 1") && told.contains("ticket 7"), "{told}");
    let told = desk.run(&["map", "remove", "stm-lab"]);
    assert_eq!(told, "stm-lab: withdrawn with version 4\n");
    let told = desk.run(&["map", "list"]);
    assert!(told.contains("withdrawn") && told.lines().count() == 1, "{told}");
    for arguments in [
        &["map", "show", "stm-lab"][..],
        &["map", "show", "nobody"],
        &["map", "show", "stm-lab:9"],
        &["map", "show", "stm-lab:x"],
        &["map", "rollback", "stm-lab", "--to", "9"],
        &["map", "remove", "stm-lab"],
    ] {
        let told = desk.fail(arguments);
        assert!(told.contains("profile"), "{arguments:?} {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_cannot_be_used_is_listed_as_that_and_counted() {
    let desk = Desk::open().await;
    let good = desk.file("a.toml", LAB);
    desk.run(&["map", "install", &good]);
    let told = desk.run(&["map", "list"]);
    assert!(told.starts_with("stm-lab  1  ") && !told.contains("cannot be used"), "{told}");
    desk.until_unusable("0").await;
    // As an older program may have installed it.
    let broken = "INSERT INTO v2_site (id, version, toml, active_from, by, note) \
         SELECT id, 2, replace(toml, 'Europe/Dublin', 'Nowhere'), now(), by, note FROM v2_site";
    let database = connect(&desk.0.database_url()).await;
    assert_eq!(database.execute(broken, &[]).await.unwrap(), 1);
    let told = desk.run(&["map", "list"]);
    assert!(told.starts_with("stm-lab  2  ") && told.contains("  cannot be used"), "{told}");
    desk.until_unusable("1").await;
    desk.run(&["map", "install", &good]);
    assert!(!desk.run(&["map", "list"]).contains("cannot be used"));
    desk.until_unusable("0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_that_no_map_knows_are_listed_and_added_by_commands() {
    let desk = Desk::open().await;
    let client = &desk.0.client;
    let url = format!("{}/v2/messages", client.root());
    let call = client.call("POST", &url).header("Content-Type", "application/hl7-v2");
    call.body(result("LAB1", "1", "HB")).send().await.expect(200);
    let told = desk.run(&["codes", "list"]);
    assert!(told.starts_with("1  LAB1|STM  lab-test  99STM  \"HB\"  Test"), "{told}");
    let add = ["codes", "add", "--site", "LAB1|STM", "--code-set", "lab-test"];
    let code = ["--system", "99STM", "--code", "HB", "--to", "http://loinc.org|718-7"];
    let told = desk.run(&[&add[..], &code].concat());
    assert_eq!(told, "LAB1.STM: version 1; 1 messages wait to be worked on\n");
    for _ in 0..100 {
        if observations(client, "718-7").await.at("total").as_deref() == Some("1") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the message was not worked on again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sender_sends_is_seen_without_a_server() {
    let folder = crate::harness::database::temporary("v2-listen");
    std::fs::create_dir_all(&folder).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut listening = std::process::Command::new(env!("CARGO_BIN_EXE_kiln"))
        .args(["v2", "listen", &free.to_string(), "--answer", "AE", "--count", "2", "--out"])
        .arg(&folder)
        .spawn()
        .unwrap();
    let mut stream = TcpStream::connect(free).await;
    for _ in 0..100 {
        if stream.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream = TcpStream::connect(free).await;
    }
    let mut sender = Sender::new(stream.unwrap());
    for control_id in ["1", "2"] {
        let answer = sender.send(&result("LAB1", control_id, "HB")).await;
        assert_eq!([value(&answer, "MSA-1"), value(&answer, "MSA-2")], ["AE", control_id]);
    }
    assert!(listening.wait().unwrap().success());
    let kept = std::fs::read(folder.join("000002.hl7")).unwrap();
    assert_eq!(String::from_utf8(kept).unwrap(), result("LAB1", "2", "HB"));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// v2 S55, P7: of a file whose message is too long only that one is refused, and the others have their effect.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_long_costs_no_other_of_its_file() {
    let desk = Desk::open().await;
    let [one, two, three] = ["1", "2", "3"].map(|id| result("LAB1", id, &format!("C{id}")));
    let long = format!("{two}NTE|1|L|{}\r", "x".repeat(70_000));
    let head = "BHS|^~\\&|LAB1|STM\r";
    let import = |name: &str, text: &str| {
        let file = desk.file(name, text);
        desk.0.beside("v2", &["--set", "hl7v2.max_message_bytes=60000", "import", &file])
    };
    let output = import("batch.hl7", &format!("{head}{one}{long}{three}BTS|3\r"));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{told}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1 files: 2 AA, 1 AR\n", "{told}");
    let at = head.len() + one.len();
    assert!(told.contains(&format!("batch.hl7: message 2 at byte {at}: AR")), "{told}");
    for (code, count) in [("C1", "1"), ("C2", "0"), ("C3", "1")] {
        let found = observations(&desk.0.client, code).await.at("total");
        assert_eq!(found.as_deref(), Some(count), "{code}");
    }
    // Its own count is held against what is there, and a file without a message is kept as what it is.
    for (name, text, expected) in [
        ("count.hl7", format!("{head}{one}{long}BTS|3\r"), "1 files: 1 AA, 1 AR, 1 batch\n"),
        ("none.hl7", "x".repeat(70_000), "1 files: 1 AR\n"),
        ("one.hl7", long.clone(), "1 files: 1 AR\n"),
    ] {
        let output = import(name, &text);
        assert!(!output.status.success(), "{name}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{name}");
    }
}
