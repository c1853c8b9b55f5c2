//! Code systems from the releases of their publishers, as an operator loads them and clients ask.
//!
//! Covers: rest 6.43.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use kiln::app::server::Server;
use kiln::fhir::json::Value;

use crate::harness::client::Client;
use crate::harness::database::{Database, temporary};
use crate::harness::process::kiln;
use crate::harness::server::{TestServer, config};

const SNOMED: &str = "http://snomed.info/sct";
/// Two codes of each generated SNOMED CT, the second one below the first.
const ROOT: &str = "138875005";
const FINDING: &str = "404684003";

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(temporary(name))
    }

    fn generate(&self, kind: &str, concepts: &str, seed: &str) {
        let out = self.0.display().to_string();
        let arguments = ["generate", kind, "--out", &out, "--concepts", concepts, "--seed", seed];
        let output = kiln(&[&["terminology"][..], &arguments].concat());
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// `kiln terminology` on a database.
fn command(database: &Database, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.arg("terminology").args(arguments).stdin(Stdio::null());
    for (key, value) in [("url", &database.app), ("owner_url", &database.owner)] {
        command.arg("--set").arg(format!("database.{key}={value}"));
    }
    command
}

fn load(database: &Database, folder: &Path) -> Output {
    command(database, &["load", folder.to_str().unwrap()]).output().unwrap()
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Asks until the answer is as expected: what is loaded is in force within seconds.
async fn until(client: &Client, path: &str, (place, expected): (&str, Option<&str>)) {
    let began = Instant::now();
    loop {
        let found = client.get(path).await.at(place);
        if found.as_deref() == expected {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{path}: {found:?}, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn observation(code: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","status":"final","code":{{"coding":[{{"system":"{SNOMED}",
            "code":"{code}"}}]}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_judged_by_a_release_as_soon_as_it_is_in_force() {
    let server = TestServer::start_with(&[("validation.profiles", "enforce")]).await;
    let client = &server.client;
    let profile = format!(
        r#"{{"resourceType":"StructureDefinition","id":"coded","url":"http://example.org/coded",
        "name":"Coded","status":"active","kind":"resource","abstract":false,"type":"Observation",
        "baseDefinition":"http://hl7.org/fhir/StructureDefinition/Observation",
        "derivation":"constraint","differential":{{"element":[{{"id":"Observation.code",
        "path":"Observation.code","binding":{{"strength":"required",
        "valueSet":"{SNOMED}?fhir_vs"}}}}]}}}}"#
    );
    client.put("/StructureDefinition/coded", profile).await.expect(201);
    let claim = r#"Observation","meta":{"profile":["http://example.org/coded"]},"#;
    let of = |code: &str| observation(code).replacen(r#"Observation","#, claim, 1);
    client.post("/Observation", of("1")).await.expect(201);
    let release = Folder::new("judged");
    release.generate("snomed", "300", "1");
    let output = load(&server.database, &release.0);
    assert!(output.status.success(), "{}", told(&output));
    let began = Instant::now();
    while client.post("/Observation", of("1")).await.status == 201 {
        assert!(began.elapsed() < Duration::from_secs(20), "the release does not count");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.post("/Observation", of(FINDING)).await.expect(201);
}

/// The parts of a parameter called `name`, as `name=value`.
fn parts(parameter: &Value<'_>) -> Vec<String> {
    let value = |part: &Value<'_>| {
        let found = ["valueCode", "valueString"].into_iter().find_map(|kind| part.str_at(kind));
        format!("{}={}", part.str_at("name").unwrap(), found.unwrap_or_default())
    };
    parameter.items_at("part").iter().map(value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_snomed_ct_are_told_in_their_groups_too() {
    let server = TestServer::start().await;
    let client = &server.client;
    let release = Folder::new("groups");
    release.generate("snomed", "300", "1");
    let folder = std::fs::read_dir(release.0.join("Snapshot/Terminology")).unwrap();
    let is_of_roles = |path: &PathBuf| path.display().to_string().contains("sct2_Relationship_");
    let path = folder.map(|file| file.unwrap().path()).find(is_of_roles).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let roles: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let source = roles.iter().skip(1).find(|role| role[6] != "0").expect("a group")[4];
    let output = load(&server.database, &release.0);
    assert!(output.status.success(), "{}", told(&output));
    let path = format!("/CodeSystem/$lookup?system={SNOMED}&code={source}");
    until(client, &path, ("parameter[0].name", Some("name"))).await;
    let answer = client.get(&path).await.expect(200);
    let outcome = answer.json();
    let all: Vec<_> = outcome.items_at("parameter").iter().collect();
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for role in roles.iter().filter(|role| role[4] == source && role[6] != "0") {
        let told = vec![format!("code={}", role[7]), format!("value={}", role[5])];
        let is_flat = |it: &&&Value<'_>| parts(it).starts_with(&told);
        assert!(all.iter().any(|it| is_flat(&it)), "{told:?} is not told by itself");
        match groups.iter_mut().find(|(group, _)| *group == role[6]) {
            Some((_, codes)) => codes.extend(told),
            None => groups.push((role[6], told)),
        }
    }
    groups.sort();
    let of_group = |it: &&&Value<'_>| parts(it).first().is_some_and(|it| it == "code=609096000");
    let told: Vec<Vec<String>> = all
        .iter()
        .filter(of_group)
        .map(|it| {
            let roles =
                it.items_at("part").iter().filter(|it| it.str_at("name") == Some("subproperty"));
            roles.flat_map(|role| parts(role).into_iter().take(2)).collect()
        })
        .collect();
    let expected: Vec<Vec<String>> = groups.into_iter().map(|(_, codes)| codes).collect();
    assert_eq!(told, expected, "{}", answer.text());
    let path = format!("{path}&property=display");
    let answer = client.get(&path).await.expect(200);
    assert!(!answer.text().contains("subproperty"), "nobody asked for the groups");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_in_force_on_every_node_until_the_next_one_is_whole() {
    let server = TestServer::start().await;
    let other = Server::start(config(&server.database, &[])).await.unwrap();
    let there = Client::new(other.address());
    server.client.post("/Observation", observation(FINDING)).await.expect(201);
    let below = format!("/Observation?code:below={SNOMED}%7C{ROOT}&_total=accurate");
    // A code of a system that is not here is below nothing but itself.
    assert_ne!(server.client.get(&below).await.at("total").as_deref(), Some("1"));

    let first = Folder::new("first");
    first.generate("snomed", "400", "1");
    let output = load(&server.database, &first.0);
    assert!(output.status.success(), "{}", told(&output));
    assert!(told(&output).contains("version/20240101: 400 concepts"), "{}", told(&output));
    let whole = format!("/ValueSet/$expand?url={SNOMED}%3Ffhir_vs&count=0");
    for client in [&server.client, &there] {
        until(client, &below, ("total", Some("1"))).await;
        until(client, &whole, ("expansion.total", Some("400"))).await;
    }
    let output = load(&server.database, &first.0);
    assert!(told(&output).contains("is loaded already"), "{}", told(&output));

    // One that cannot be read to its end leaves the one before in force.
    let broken = Folder::new("broken");
    broken.generate("snomed", "500", "2");
    let relations =
        broken.0.join("Snapshot/Terminology/sct2_Relationship_Snapshot_INT_20240101.txt");
    let text = std::fs::read_to_string(&relations).unwrap();
    std::fs::write(&relations, format!("{text}1\t2\tx\r\n")).unwrap();
    let output = load(&server.database, &broken.0);
    let fault = told(&output);
    assert!(!output.status.success() && fault.contains(", line ") && fault.contains("column 3"));
    let loaded = "SELECT sum(concepts)::bigint FROM code_system";
    assert_eq!(server.database.number(loaded).await, 400);

    let second = Folder::new("second");
    second.generate("snomed", "300", "3");
    let output = load(&server.database, &second.0);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(server.database.number(loaded).await, 300);
    let rows = "SELECT count(*) FROM code_system_concept";
    assert_eq!(server.database.number(rows).await, 300, "the release before is gone");
    for client in [&server.client, &there] {
        until(client, &whole, ("expansion.total", Some("300"))).await;
        until(client, &below, ("total", Some("1"))).await;
    }

    let output = command(&server.database, &["list"]).output().unwrap();
    assert!(told(&output).contains("300 concepts"), "{}", told(&output));
    let output = command(&server.database, &["drop", SNOMED]).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(server.database.number(rows).await, 0);
    for client in [&server.client, &there] {
        until(client, &whole, ("issue[0].code", Some("not-found"))).await;
    }
    let output = command(&server.database, &["drop", SNOMED]).output().unwrap();
    assert!(!output.status.success() && told(&output).contains("is not loaded"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_killed_goes_on_where_it_was() {
    let database = Database::migrated().await;
    let folder = Folder::new("killed");
    folder.generate("snomed", "60000", "4");
    let path = folder.0.to_str().unwrap();
    let mut killed = command(&database, &["load", path])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let done = "SELECT coalesce(max(done), 0)::bigint FROM code_system";
    let began = Instant::now();
    while database.number(done).await == 0 {
        assert!(began.elapsed() < Duration::from_mins(2), "nothing is stored");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let stored = database.number(done).await;
    let completed = "SELECT count(*) FROM code_system WHERE completed IS NOT NULL";
    assert!(stored < 60_000 && database.number(completed).await == 0, "it was too fast: {stored}");
    let output = load(&database, &folder.0);
    assert!(output.status.success(), "{}", told(&output));
    let expected = "of them by an earlier run";
    assert!(told(&output).contains(expected), "{}", told(&output));
    assert_eq!(database.number(completed).await, 1);
    let whole = "SELECT count(*) - max(s.concepts) FROM code_system_concept c \
                 JOIN code_system s ON s.id = c.system";
    assert_eq!(database.number(whole).await, 0, "each concept is there once");
}
