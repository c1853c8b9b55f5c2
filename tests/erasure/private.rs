//! A private database is brought back in another folder, and goes on where the first one was.
//!
//! Covers: security K9.

use std::path::Path;

use kiln::app::server::Server;
use kiln::config::Config;

use crate::harness::client::Client;
use crate::harness::database::{connect, temporary};
use crate::harness::process::{Process, kiln};

use super::{said, text};

/// More transactions than a new database has had.
const FAR: i64 = 150_000;

fn body(family: &str) -> String {
    format!(r#"{{"resourceType":"Patient","id":"p1","name":[{{"family":"{family}"}}]}}"#)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_database_is_brought_back_in_another_folder() {
    let process = Process::start().await;
    let superuser = connect(&process.database_url()).await;
    superuser.batch_execute(&format!("CALL kiln_reach({FAR})")).await.unwrap();
    process.client.put("/Patient/p1", body("Before")).await.expect(201);
    let file = process.data_dir.join("all.backup").display().to_string();
    said(&process.beside("backup", &["--to", &file])).unwrap();
    process.client.put("/Patient/p1", body("After")).await.expect(200);

    let folder = temporary("brought-back");
    for name in ["keys", "audit"] {
        copy(&process.data_dir.join(name), &folder.join(name));
    }
    let data_dir = format!("data_dir={}", folder.display());
    let set = ["--set", data_dir.as_str(), "--set", "auth.mode=off"];
    let restored = kiln(&[&["restore", &file][..], &set].concat());
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    let flags = [
        ("data_dir", folder.to_str().unwrap()),
        ("auth.mode", "off"),
        ("http.listen", "127.0.0.1:0"),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let server = Box::pin(Server::start(Config::load(None, &flags).unwrap())).await;
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    let client = Client::new(server.address());
    let found = client.get("/Patient/p1").await.expect(200);
    assert!(found.text().contains("Before"), "{}", found.text());
    client.put("/Patient/p1", body("Later")).await.expect(200);
    client.get("/Patient/p1/_history/1").await.expect(200);
    // What is written now comes behind all that was: who follows the feed hears of it.
    for (words, expected) in [("Later", "1"), ("Before", "0")] {
        let call = client.call("GET", &format!("/Patient?_content={words}&_total=accurate"));
        let found = call.header("kiln-fulltext", "wait").send().await.expect(200);
        assert_eq!(found.at("total").as_deref(), Some(expected), "{words}: {}", found.text());
    }
    drop(client);
    server.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
}
