//! Who may have a record erased, and what keeps it from being erased.
//!
//! Covers: security G2, W11.

use tokio_postgres::error::SqlState;

use crate::harness::database::{Database, connect};

use super::{CANARY, PASSWORD, World, patient, said};

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
        "SELECT kiln_record('p1', 1, '{}')",
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
