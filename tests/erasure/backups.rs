//! Backups are encrypted, and what is restored from one does not have what was erased since.
//!
//! Covers: security K9.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln::store::backup::{BackupKey, Opening};

use crate::harness::database::{Database, connect, temporary};
use crate::harness::server::TestServer;

use super::record::{made, message, put_back, send};
use super::{CANARY, Place, World, observation, patient};

/// What a data folder is brought back with: the key of checkpoints, the checkpoints up to the backup, and the newest list.
fn brought_back(world: &World, checkpoints: &[u8], database: &Database) -> Place {
    let place = Place::of(database, &temporary("restored"));
    for name in ["checkpoints.key", "checkpoints.pub", "erasures.jsonl"] {
        std::fs::copy(world.place.folder.join(name), place.folder.join(name)).unwrap();
    }
    std::fs::write(place.folder.join("checkpoints.jsonl"), checkpoints).unwrap();
    place
}

/// A backup of what the world has by now, and the checkpoints that it has for certain.
fn back_up(world: &World) -> (String, String, Vec<u8>) {
    let path = |name: &str| world.place.folder.join(name).display().to_string();
    let (file, key) = (path("all.backup"), path("backup.key"));
    let checkpoints = std::fs::read(path("checkpoints.jsonl")).unwrap_or_default();
    let said = world.place.done(&["backup", "--to", &file, "--key", &key, "--make-key"]);
    assert!(said.contains("encrypted by"), "{said}");
    (file, key, checkpoints)
}

/// Without the key that the list is signed with nothing is restored, so that it can be tried again.
fn is_refused_without_keys(place: &Place, command: &[&str]) {
    let list = place.folder.join("erasures.jsonl").display().to_string();
    let (known, away) =
        (place.folder.join("checkpoints.pub"), place.folder.join("checkpoints.away"));
    std::fs::rename(&known, &away).unwrap();
    for how in [&[][..], &["--erasures", &list]] {
        let refused = place.refused(&[command, how].concat());
        assert!(refused.contains("with its *.pub"), "{refused}");
    }
    std::fs::rename(&away, &known).unwrap();
}

fn mode(path: &str) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_is_erased_again_before_it_is_served() {
    let world = World::new().await;
    world.put("/Patient/before", &patient("before", CANARY)).await;
    world.place.erase("before", "1");
    world.put("/Patient/p1", &patient("p1", CANARY)).await;
    world.put("/Observation/o1", &observation("o1", "p1", CANARY)).await;
    world.put("/Patient/p2", &patient("p2", "Other")).await;
    world.put("/Patient/p2", &patient("p2", "Another")).await;
    world.put("/Observation/q1", &observation("q1", "p2", "of p2")).await;
    let (file, key, checkpoints) = back_up(&world);
    assert_eq!((mode(&file), mode(&key)), (0o600, 0o600));
    let bytes = std::fs::read(&file).unwrap();
    assert!(!bytes.windows(5).any(|part| part == b"PGDMP"), "it is no plain archive");
    world.place.erase("p1", "2");
    world.put("/Patient/p3", &patient("p3", "Late")).await;

    let database = Box::pin(Database::empty()).await;
    let place = brought_back(&world, &checkpoints, &database);
    is_refused_without_keys(&place, &["restore", &file, "--key", &key]);
    let said = place.done(&["restore", &file, "--key", &key]);
    assert!(said.contains("2 records were erased again"), "{said}");
    let folder = place.folder.display().to_string();
    let server = TestServer::on(database.clone(), &[("audit.folder", folder.as_str())]).await;
    let client = &server.client;
    for path in ["Patient/p1", "Patient/p1/_history/1", "Observation/o1", "Patient/before"] {
        let gone = client.get(&format!("/{path}")).await.expect(410);
        assert!(gone.text().contains("was erased"), "{path}: {}", gone.text());
    }
    assert_eq!(client.get("/Patient/p2").await.expect(200).version(), 2);
    let before = client.get("/Patient/p2/_history/1").await.expect(200);
    assert!(before.text().contains("Other"), "{}", before.text());
    client.get("/Observation/q1").await.expect(200);
    client.get("/Patient/p3").await.expect(404);
    for (query, total) in [("name=canarystone", "0"), ("name=another", "1")] {
        let found = client.get(&format!("/Patient?{query}")).await.expect(200);
        assert_eq!(found.at("total").as_deref(), Some(total), "{query}");
    }
    client.put("/Patient/p2", patient("p2", "Third")).await.expect(200);
    assert_eq!(client.get("/Patient/p2").await.expect(200).version(), 3);
    let shown = place.done(&["erase", "list"]);
    assert!(
        shown.contains("Patient/p1") && shown.contains("again when the data were restored"),
        "{shown}"
    );
    let verified = place.done(&["audit", "verify", "--quiet"]);
    assert!(verified.contains("are as they were sealed"), "{verified}");
    let left = format!("SELECT count(*) FROM res WHERE body::text LIKE '%{CANARY}%'");
    assert_eq!(database.number(&left).await, 0);
    // There is something in it by now.
    let refused = place.refused(&["restore", &file, "--key", &key]);
    assert!(refused.contains("not empty"), "{refused}");
    server.stop().await;
    std::fs::remove_dir_all(place.folder).unwrap();
}

/// Restores that must not be: nothing of them gets into the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_not_as_it_was_made_is_refused() {
    let world = World::new().await;
    world.put("/Patient/p1", &patient("p1", CANARY)).await;
    let (file, key, checkpoints) = back_up(&world);
    let database = Box::pin(Database::empty()).await;
    let place = brought_back(&world, &checkpoints, &database);
    let bytes = std::fs::read(&file).unwrap();
    let bent = place.folder.join("bent.backup").display().to_string();
    let (middle, last) = (bytes.len() / 2, bytes.len() - 1);
    let flipped = |at: usize| {
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        bent
    };
    for (name, content) in [
        ("cut off", bytes[..last].to_vec()),
        ("half", bytes[..middle].to_vec()),
        ("altered", flipped(middle)),
        ("altered at its end", flipped(last)),
        ("altered in its head", flipped(40)),
        ("longer", [&bytes[..], b"x"].concat()),
        ("something else", b"PGDMP".to_vec()),
        ("empty", Vec::new()),
    ] {
        std::fs::write(&bent, content).unwrap();
        let refused = place.refused(&["restore", &bent, "--key", &key]);
        assert!(refused.contains("backup"), "{name}: {refused}");
    }
    let other = place.folder.join("other.key");
    std::fs::write(&other, [1; 32]).unwrap();
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).unwrap();
    let other = other.display().to_string();
    assert!(place.refused(&["restore", &file, "--key", &other]).contains("made with the key"));
    std::fs::rename(place.folder.join("erasures.jsonl"), place.folder.join("away")).unwrap();
    let refused = place.refused(&["restore", &file, "--key", &key]);
    assert!(refused.contains("no list of what was erased"), "{refused}");
    // Up to here nothing has touched the database.
    let relations = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'";
    assert_eq!(database.number(relations).await, 0);
    // A database that is not whole is nobody's.
    database.run("CREATE TABLE kiln_restoring (since timestamptz)").await;
    assert!(place.refused(&["migrate"]).contains("being restored"));
    database.run("DROP TABLE kiln_restoring").await;
    // Who is connected already would see what comes.
    let other = connect(&database.app).await;
    let refused = place.refused(&["restore", &file, "--key", &key, "--without-erasures"]);
    assert!(refused.contains("others are connected"), "{refused}");
    drop(other);
    assert_eq!(database.number(relations).await, 0);
    // Who was broken off before anything came in has left the mark.
    database.run("CREATE TABLE kiln_restoring (since timestamptz)").await;
    place.done(&["restore", &file, "--key", &key, "--without-erasures"]);
    place.done(&["migrate"]);
    assert_eq!(database.number("SELECT count(*) FROM res").await, 1);
    std::fs::remove_dir_all(place.folder).unwrap();
}

/// A server that runs already finds the mark too, when it connects anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_whole_is_served_by_nobody() {
    let world = World::new().await;
    world.put("/Patient/p1", &patient("p1", CANARY)).await;
    let (client, database) = (&world.server.client, &world.server.database);
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.run("CREATE TABLE kiln_restoring (since timestamptz)").await;
    database.run(cut).await;
    for path in ["/Patient/p1", "/Patient?name=canarystone", "/Patient/p1/_history"] {
        for _ in 0..3 {
            client.get(path).await.expect(503);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // What is called so, and is not the mark, is nobody's business.
    database.run("DROP TABLE kiln_restoring;\nCREATE VIEW kiln_restoring AS SELECT 1 AS one").await;
    database.run(cut).await;
    let began = Instant::now();
    while client.get("/Patient/p1").await.status != 200 {
        assert!(began.elapsed() < Duration::from_mins(1), "it is whole by now");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Who has the identifiers by now is somebody else: what came about that one is not erased again with the record of before.
#[tokio::test(flavor = "multi_thread")]
async fn messages_about_who_came_later_keep_their_texts() {
    let world = World::new().await;
    send(&world, &message("c1", "A01")).await;
    let before = made(&world).await;
    world.place.erase(&before, "1");
    send(&world, &message("c2", "A08")).await;
    assert_ne!(made(&world).await, before);
    send(&world, &message("c3", "A08")).await;
    put_back(&world, "c3").await;
    let (file, key, checkpoints) = back_up(&world);
    let database = Box::pin(Database::empty()).await;
    let place = brought_back(&world, &checkpoints, &database);
    place.done(&["restore", &file, "--key", &key]);
    for (query, expected) in [
        ("SELECT count(*) FROM v2_message WHERE raw IS NOT NULL", 2),
        ("SELECT count(*) FROM v2_message WHERE control_id = 'c1' AND raw IS NOT NULL", 0),
        ("SELECT count(*) FROM v2_open WHERE state IS NULL", 1),
    ] {
        assert_eq!(database.number(query).await, expected, "{query}");
    }
    std::fs::remove_dir_all(place.folder).unwrap();
}

/// What waited when the backup was made had been worked on before the record was erased.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waited_makes_no_record_of_who_was_erased_since() {
    let world = World::new().await;
    // Who had the same number is nobody any more: what waits is not about that one.
    send(&world, &message("c0", "A01")).await;
    world.place.erase(&made(&world).await, "1");
    send(&world, &message("c1", "A01")).await;
    let before = made(&world).await;
    send(&world, &message("c2", "A08")).await;
    put_back(&world, "c2").await;
    let (file, key, checkpoints) = back_up(&world);
    world.server.database.run("DELETE FROM v2_open").await;
    world.place.erase(&before, "2");
    let database = Box::pin(Database::empty()).await;
    let place = brought_back(&world, &checkpoints, &database);
    place.done(&["restore", &file, "--key", &key]);
    for (query, expected) in [
        ("SELECT count(*) FROM v2_message WHERE raw IS NOT NULL", 0),
        ("SELECT count(*) FROM v2_message WHERE state = 'discarded'", 1),
        ("SELECT count(*) FROM v2_open WHERE state IS NULL", 0),
    ] {
        assert_eq!(database.number(query).await, expected, "{query}");
    }
    std::fs::remove_dir_all(place.folder).unwrap();
}

/// Without the list nobody is erased again, and what is erased from then on has a list of its own.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_list_another_one_is_begun() {
    let world = World::new().await;
    world.put("/Patient/p1", &patient("p1", CANARY)).await;
    let (file, key, checkpoints) = back_up(&world);
    world.place.erase("p1", "1");
    let database = Box::pin(Database::empty()).await;
    let place = brought_back(&world, &checkpoints, &database);
    let list = place.folder.join("erasures.jsonl");
    let old = std::fs::read_to_string(&list).unwrap();
    place.done(&["restore", &file, "--key", &key, "--without-erasures"]);
    assert!(!list.exists(), "it says what is not so any more");
    let names = std::fs::read_dir(&place.folder).unwrap();
    let away = names
        .map(|it| it.unwrap().path())
        .find(|it| it.display().to_string().contains("erasures."));
    assert_eq!(std::fs::read_to_string(away.expect("it is put away")).unwrap(), old);
    place.erase("p1", "1");
    let new = std::fs::read_to_string(&list).unwrap();
    assert!(new.lines().count() == 1 && new != old, "{new}");
    // Both in one file would say nothing for certain.
    std::fs::write(&list, format!("{old}{new}")).unwrap();
    let refused = place.refused(&["erase", "list"]);
    assert!(refused.contains("not known to the database"), "{refused}");
    std::fs::remove_dir_all(place.folder).unwrap();
}

/// A list that lacks what the backup knows of is not the newest, and one that somebody wrote is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_not_whole_is_refused() {
    let world = World::new().await;
    for (id, number) in [("p1", "1"), ("p2", "2")] {
        world.put(&format!("/Patient/{id}"), &patient(id, CANARY)).await;
        world.place.erase(id, number);
    }
    let (file, key, _) = back_up(&world);
    let whole = std::fs::read_to_string(world.place.folder.join("erasures.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let [first, second] = lines[..] else { panic!("{whole}") };
    let log = serde_json::from_str::<serde_json::Value>(first).unwrap()["log"].to_string();
    let of_others = whole.replace(&log, r#""ffffffffffffffff""#);
    for (list, why) in [
        (format!("{first}\n"), "older than the backup"),
        (format!("{second}\n"), "erasure 1 is missing"),
        (format!("{first}\n{}\n", second.replace(r#""p2""#, r#""p3""#)), "not signed"),
        (format!("{first}\nx\n"), "cannot be understood"),
        (of_others.clone(), "of other data"),
    ] {
        let database = Box::pin(Database::empty()).await;
        let place = brought_back(&world, b"", &database);
        std::fs::write(place.folder.join("erasures.jsonl"), list).unwrap();
        let refused = place.refused(&["restore", &file, "--key", &key]);
        assert!(refused.contains(why), "{why}: {refused}");
        std::fs::remove_dir_all(place.folder).unwrap();
    }
    let database = Box::pin(Database::empty()).await;
    let place = brought_back(&world, b"", &database);
    let named = place.folder.join("named.jsonl").display().to_string();
    std::fs::write(&named, of_others).unwrap();
    let restore = ["restore", &file, "--key", &key, "--erasures", &named];
    let refused = place.refused(&[&["--set", "tenancy.mode=path"][..], &restore].concat());
    assert!(refused.contains("each tenant has a list of its own"), "{refused}");
    let refused = place.refused(&restore);
    assert!(refused.contains("of other data") && refused.contains("named.jsonl"), "{refused}");
    std::fs::remove_dir_all(place.folder).unwrap();
}

/// Of several data, where the checkpoints say that it is of these too, and nothing was erased of these.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_may_have_nothing_of_the_data_whose_checkpoints_are_beside_it() {
    let world = World::new().await;
    world.put("/Patient/p1", &patient("p1", CANARY)).await;
    let sealed = world.place.folder.join("checkpoints.jsonl");
    let began = Instant::now();
    while std::fs::read(&sealed).unwrap_or_default().is_empty() {
        assert!(began.elapsed() < Duration::from_mins(1), "there is a checkpoint by and by");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (file, key, checkpoints) = back_up(&world);
    world.place.erase("p1", "1");
    let list = std::fs::read_to_string(world.place.folder.join("erasures.jsonl")).unwrap();
    let log = serde_json::from_str::<serde_json::Value>(&list).unwrap()["log"].to_string();
    let database = Box::pin(Database::empty()).await;
    let place = brought_back(&world, &checkpoints, &database);
    let of_others = list.replace(&log, r#""ffffffffffffffff""#);
    std::fs::write(place.folder.join("erasures.jsonl"), &of_others).unwrap();
    let said = place.done(&["restore", &file, "--key", &key]);
    assert!(said.contains(" 0 records were erased again"), "{said}");
    assert_eq!(database.number("SELECT count(*) FROM res WHERE body IS NOT NULL").await, 1);
    std::fs::remove_dir_all(place.folder).unwrap();
}

/// A backup while others write is of one moment: of each transaction it has all or nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_while_the_server_writes_is_of_one_moment() {
    let world = World::new().await;
    let client = world.server.client.clone();
    let writing = tokio::spawn(async move {
        for number in 0..400 {
            let entry = |id: &str| {
                format!(
                    r#"{{"request":{{"method":"PUT","url":"Patient/{id}-{number}"}},"resource":{{"resourceType":"Patient","id":"{id}-{number}"}}}}"#
                )
            };
            let bundle = format!(
                r#"{{"resourceType":"Bundle","type":"transaction","entry":[{},{}]}}"#,
                entry("a"),
                entry("b")
            );
            client.post("/", bundle).await.expect(200);
        }
    });
    while world.server.database.number("SELECT count(*) FROM res").await < 20 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let (file, key, checkpoints) = back_up(&world);
    writing.await.unwrap();
    let database = Box::pin(Database::empty()).await;
    let place = brought_back(&world, &checkpoints, &database);
    place.done(&["restore", &file, "--key", &key]);
    let count = database.number("SELECT count(*) FROM res").await;
    assert!((20..=800).contains(&count), "{count}");
    let lonely = "SELECT count(*) FROM res r WHERE NOT EXISTS (SELECT FROM res o WHERE o.id <> r.id \
                  AND substr(o.id, 3) = substr(r.id, 3))";
    assert_eq!(database.number(lonely).await, 0);
    // Everything that was written has its row, and every row of a write its version.
    let versions = "SELECT (SELECT count(*) FROM res) - (SELECT count(*) FROM feed)";
    assert_eq!(database.number(versions).await, 0);
    let opened = opened(Path::new(&file), Path::new(&key));
    assert!(opened.starts_with(b"PGDMP"), "an archive of pg_dump is inside");
    std::fs::remove_dir_all(place.folder).unwrap();
}

/// What is inside of a backup.
fn opened(file: &Path, key: &Path) -> Vec<u8> {
    use std::io::Read as _;
    let key = BackupKey::new(std::fs::read(key).unwrap().try_into().unwrap());
    let mut plain = Vec::new();
    Opening::begin(&std::fs::read(file).unwrap()[..], &key)
        .unwrap()
        .read_to_end(&mut plain)
        .unwrap();
    plain
}
