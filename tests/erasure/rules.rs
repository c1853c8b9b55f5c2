//! Who may have a record erased, and what keeps it from being erased.
//!
//! Covers: security G2, W11.

use tokio_postgres::error::SqlState;

use crate::harness::database::{Database, connect};

use super::{CANARY, PASSWORD, World, observation, patient, said};

#[tokio::test(flavor = "multi_thread")]
async fn one_person_erases_nothing() {
    let world = World::new().await;
    let place = &world.place;
    place.add_user("eve", "practitioner");
    world.put("/Patient/p1", &patient("p1", CANARY)).await;
    let ask = ["erase", "request", "--patient", "p1", "--reason", "x"];
    let refused = place.by("eve", &ask).unwrap_err();
    assert!(refused.contains("has not the role"), "{refused}");
    let wrong = place.kiln(&[&ask[..], &["--by", "ada"]].concat(), "not this\n");
    assert!(said(&wrong).unwrap_err().contains("wrong name or password"));
    let unknown = ["erase", "request", "--patient", "nobody", "--reason", "x"];
    assert!(place.by("ada", &unknown).unwrap_err().contains("is not known"));
    assert_eq!(world.server.database.number("SELECT count(*) FROM erasure").await, 0);

    assert!(place.by("ada", &ask).unwrap().contains("request 1"));
    assert!(place.by("grace", &ask).unwrap_err().contains("open request"));
    for (name, why) in [("ada", "somebody else approves"), ("eve", "has not the role")] {
        let refused = place.by(name, &["erase", "approve", "1"]).unwrap_err();
        assert!(refused.contains(why), "{name}: {refused}");
    }
    world.server.client.get("/Patient/p1").await.expect(200);
    place.by("grace", &["erase", "withdraw", "1"]).unwrap();
    let refused = place.by("grace", &["erase", "approve", "1"]).unwrap_err();
    assert!(refused.contains("not open"), "{refused}");
    assert!(place.done(&["erase", "list"]).contains("withdrawn by grace"));
    world.server.client.get("/Patient/p1").await.expect(200);
    // Each refusal is on record, with who it was.
    let refused =
        "SELECT count(*) FROM ledger WHERE outcome = 4 AND interaction = 76 AND actor = 'user:ada'";
    assert_eq!(world.server.database.number(refused).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_against_it_is_told_and_nothing_is_erased() {
    let world = World::new().await;
    let place = &world.place;
    world.put("/Patient/p1", &patient("p1", CANARY)).await;
    place.by("ada", &["hold", "add", "--patient", "p1", "--reason", "a lawsuit"]).unwrap();
    let asked = place.by("ada", &["erase", "request", "--patient", "p1", "--reason", "x"]).unwrap();
    assert!(asked.contains("blocked: hold 1 by ada") && asked.contains("a lawsuit"), "{asked}");
    let shown = place.done(&["erase", "show", "1"]);
    assert!(shown.contains("blocked: hold 1") && !shown.contains("to be kept until"), "{shown}");
    let kept = ["--set", "erasure.retain_years=10"];
    let shown = place.done(&[&kept[..], &["erase", "show", "1"]].concat());
    assert!(shown.contains("to be kept until"), "{shown}");
    let refused = place.by("grace", &["erase", "approve", "1"]).unwrap_err();
    assert!(refused.contains("blocked: hold 1"), "{refused}");
    place.by("grace", &["hold", "remove", "--patient", "p1"]).unwrap();
    assert!(place.done(&["hold", "list"]).contains("lifted by grace"));
    let refused = place.by("grace", &[&kept[..], &["erase", "approve", "1"]].concat()).unwrap_err();
    assert!(refused.contains("erasure.retain_years"), "{refused}");
    world.server.client.get("/Patient/p1").await.expect(200);
    place.by("grace", &["erase", "approve", "1"]).unwrap();
    world.server.client.get("/Patient/p1").await.expect(410);
    let again = place.by("ada", &["erase", "request", "--patient", "p1", "--reason", "x"]);
    assert!(again.unwrap_err().contains("erased already"));
    for (id, why) in [("p1", "erased already"), ("nobody", "is not known")] {
        let add = ["hold", "add", "--patient", id, "--reason", "too late"];
        let refused = place.by("ada", &add).unwrap_err();
        assert!(refused.contains(why), "{id}: {refused}");
    }
    assert!(!place.done(&["hold", "list"]).contains("too late"), "there is nothing to keep");
    // What is written about the patient afterwards is a record again.
    world.put("/Observation/late", &observation("late", "p1", CANARY)).await;
    place.erase("p1", "2");
    world.server.client.get("/Observation/late").await.expect(410);
    let list = std::fs::read_to_string(place.folder.join("erasures.jsonl")).unwrap();
    assert_eq!(list.lines().count(), 2, "{list}");
}

/// What was somebody else's before is a part of that record too.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_keeps_old_versions_of_what_is_another_patients_by_now() {
    let world = World::new().await;
    let (place, client) = (&world.place, &world.server.client);
    for id in ["p1", "p2"] {
        world.put(&format!("/Patient/{id}"), &patient(id, CANARY)).await;
    }
    world.put("/Observation/moved", &observation("moved", "p2", "of p2")).await;
    world.put("/Observation/moved", &observation("moved", "p1", CANARY)).await;
    place.by("ada", &["hold", "add", "--patient", "p2", "--reason", "a lawsuit"]).unwrap();
    let asked = place.by("ada", &["erase", "request", "--patient", "p1", "--reason", "x"]).unwrap();
    assert!(asked.contains("blocked: old versions"), "{asked}");
    let refused = place.by("grace", &["erase", "approve", "1"]).unwrap_err();
    assert!(refused.contains("are of Patient/p2, on hold"), "{refused}");
    client.get("/Observation/moved/_history/1").await.expect(200);
    place.by("grace", &["hold", "remove", "--patient", "p2"]).unwrap();
    place.by("grace", &["erase", "approve", "1"]).unwrap();
    client.get("/Observation/moved/_history/1").await.expect(410);
    client.get("/Patient/p2").await.expect(200);
}

/// Whatever fails once a record is erased, no backup brings it back.
#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_an_erasure_as_soon_as_it_is_done() {
    let world = World::new().await;
    let place = &world.place;
    world.put("/Patient/p1", &patient("p1", CANARY)).await;
    place.by("ada", &["erase", "request", "--patient", "p1", "--reason", "x"]).unwrap();
    let stops = "CREATE FUNCTION stops() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'it goes no further'; END $$;\n\
                 CREATE TRIGGER stops BEFORE UPDATE ON erasure FOR EACH ROW \
                 WHEN (OLD.executed_at IS NOT NULL) EXECUTE FUNCTION stops()";
    world.server.database.run(stops).await;
    place.by("grace", &["erase", "approve", "1"]).unwrap_err();
    world.server.client.get("/Patient/p1").await.expect(410);
    let list = std::fs::read_to_string(place.folder.join("erasures.jsonl")).unwrap();
    assert!(list.lines().count() == 1 && list.contains(r#""patient":"p1""#), "{list}");
}

/// Roles that are built in want a second factor, here as at the page.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_asked_for_where_the_role_wants_one() {
    let world = World::new().await;
    world.put("/Patient/p1", &patient("p1", CANARY)).await;
    let roles = super::ROLES.replace("second_factor = false", "second_factor = true");
    std::fs::write(world.place.folder.join("roles.toml"), roles).unwrap();
    let ask = ["erase", "request", "--patient", "p1", "--reason", "x", "--by", "ada"];
    for (input, why) in [
        (format!("{PASSWORD}\n"), "a second factor is needed"),
        (format!("{PASSWORD}\n123456\n"), "the code of the second factor is wrong"),
    ] {
        let refused = said(&world.place.kiln(&ask, &input)).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }
}

/// What erases, and what is kept of it, is closed to the role that serves.
#[tokio::test(flavor = "multi_thread")]
async fn the_servers_role_erases_nothing() {
    let database = Database::migrated().await;
    let client = connect(&database.app).await;
    for statement in [
        "SELECT kiln_erase('p1', 1, '', '{}', '{}', '{}')",
        "SELECT kiln_alone('p1', 1, '', '{}', '{}')",
        "SELECT kiln_record('p1', 1, '', '{}', '{}', '{}')",
        "SELECT kiln_waiting('p1', 1, '{}', '{}')",
        "SELECT kiln_discard('p1', 1, '{}', '{}')",
        "SELECT kiln_held('p1', 1, '', '{}', '{}', '{}', '{}')",
        "SELECT kiln_patient_lines('p1', '{}')",
        "SELECT kiln_last_xid()",
        "CALL kiln_reach(1)",
        "SELECT count(*) FROM erasure",
        "INSERT INTO erasure (patient, reason, asked_by, asked_at) VALUES ('p', '', 'a', now())",
        "UPDATE erasure SET approved_by = 'x'",
        "DELETE FROM erasure",
        "SELECT count(*) FROM erasure_hold",
        "UPDATE erasure_hold SET lifted_at = now()",
        "DELETE FROM erasure_hold",
    ] {
        let error = client.batch_execute(statement).await.expect_err(statement);
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}");
    }
}
