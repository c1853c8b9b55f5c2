//! The search index after any series of writes is the one that would be built from the resources.

use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use kiln::store::maintenance::build_index;

use crate::harness::client::Client;
use crate::harness::server::{TestServer, config};

const TABLES: [&str; 6] = ["srow", "comp", "tok", "num", "dat", "str"];

/// How many rows each table has, and a number that depends on all of them.
async fn digest(server: &TestServer) -> Vec<(&'static str, i64, i64)> {
    let mut all = Vec::new();
    for table in TABLES {
        let count = server.database.number(&format!("SELECT count(*) FROM {table}")).await;
        let sum = format!(
            "SELECT coalesce(sum(hashtextextended(t::text, 0) % 1000000007), 0)::bigint FROM {table} t"
        );
        all.push((table, count, server.database.number(&sum).await));
    }
    all
}

fn observation(id: &str, patient: &str, date: &str, code: &str, value: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final",
        "code":{{"coding":[{{"system":"http://loinc.org","code":"{code}"}}]}},
        "subject":{{"reference":"Patient/{patient}"}},{date}
        "valueQuantity":{{"value":{value},"unit":"mg","system":"http://unitsofmeasure.org","code":"mg"}}}}"#
    )
}

/// Writes of every kind: what they leave exercises each difference between two versions.
async fn write(client: &Client) {
    for (id, name) in [("a", "Müller"), ("b", "Smith-Jones")] {
        let body = format!(
            r#"{{"resourceType":"Patient","id":"{id}","name":[{{"family":"{name}","given":["X","Y"]}}],
            "birthDate":"1980-05","generalPractitioner":[{{"reference":"Practitioner/p"}}]}}"#
        );
        client.put(&format!("/Patient/{id}"), body).await.expect(201);
    }
    let date = r#""effectiveDateTime":"2024-01-01","#;
    let later = r#""effectivePeriod":{"start":"2024-02-01"},"#;
    for (status, body) in [
        (201, observation("o", "a", date, "1", "5")),
        // The value, the code, the date and the patient change, one after the other.
        (200, observation("o", "a", date, "1", "6")),
        (200, observation("o", "a", date, "2", "6")),
        (200, observation("o", "a", later, "2", "6")),
        (200, observation("o", "b", later, "2", "6")),
        (200, observation("o", "b", "", "2", "6")),
    ] {
        client.put("/Observation/o", body).await.expect(status);
    }
    client.put("/Observation/gone", observation("gone", "a", date, "1", "1")).await.expect(201);
    client.delete("/Observation/gone").await.expect(204);
    client.put("/Observation/back", observation("back", "a", date, "1", "1")).await.expect(201);
    client.delete("/Observation/back").await.expect(204);
    client.put("/Observation/back", observation("back", "b", later, "3", "2")).await.expect(201);
    write_contained(client).await;
    let meta = r#"{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":
        {"tag":[{"system":"http://example.org/tags","code":"t"}],"profile":["http://example.org/p"]}}]}"#;
    client.post("/Patient/a/$meta-add", meta).await.expect(200);
    client.post("/Patient/b/$meta-add", meta).await.expect(200);
    client.post("/Patient/b/$meta-delete", meta).await.expect(200);
    let entries = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[
        {{"request":{{"method":"PUT","url":"Observation/o"}},"resource":{}}},
        {{"request":{{"method":"POST","url":"Observation"}},"resource":{}}},
        {{"request":{{"method":"DELETE","url":"Patient/b"}}}}]}}"#,
        observation("o", "a", date, "4", "7.50"),
        observation("n", "a", later, "5", "8"),
    );
    client.post("/", entries).await.expect(200);
}

/// Contained resources come, change, give their place to others, and go with their container.
async fn write_contained(client: &Client) {
    let organization = |id: &str, name: &str| {
        format!(r#"{{"resourceType":"Organization","id":"{id}","name":"{name}"}}"#)
    };
    let location =
        r##"{"resourceType":"Location","id":"l","managingOrganization":{"reference":"#o"}}"##;
    let practitioner = |id: &str, contained: &[&str]| {
        let refers = ["#o", "#l"].map(|to| {
            format!(r#"{{"url":"http://example.org/r","valueReference":{{"reference":"{to}"}}}}"#)
        });
        let (refers, contained) = (refers[..contained.len()].join(","), contained.join(","));
        let lists = format!(r#""extension":[{refers}],"contained":[{contained}]"#);
        let lists = if contained.is_empty() { r#""active":true"# } else { &lists };
        format!(r#"{{"resourceType":"Practitioner","id":"{id}",{lists}}}"#)
    };
    let (one, other) = (organization("o", "One"), organization("o", "Other"));
    for (status, id, contained) in [
        (201, "p", &[&*one, location][..]),
        (200, "p", &[&*other, location]),
        (200, "p", &[location, &*other]),
        (200, "p", &[&*other]),
        (201, "empty", &[&*one]),
        (200, "empty", &[]),
        (201, "left", &[&*one, location]),
    ] {
        client
            .put(&format!("/Practitioner/{id}"), practitioner(id, contained))
            .await
            .expect(status);
    }
    client.delete("/Practitioner/left").await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_leave_the_index_that_would_be_built_anew() {
    let server = TestServer::start().await;
    write(&server.client).await;
    let written = digest(&server).await;
    assert!(written.iter().all(|(_, rows, _)| *rows > 0), "{written:?}");
    let contained = server.database.number("SELECT count(*) FROM srow WHERE rid < 0").await;
    assert_eq!(contained, 1, "of the containers one has one contained resource left");
    // A row that no build knows of would stay, and be counted on both sides.
    for table in TABLES {
        server.database.run(&format!("DELETE FROM {table}")).await;
    }
    let mut done = 0;
    build_index(server.store(), true, |count| done = count).await.expect("builds");
    assert!(done >= 4, "{done} resources");
    assert_eq!(digest(&server).await, written);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_takes_no_more_at_once_than_memory_bears() {
    let server = TestServer::start().await;
    // What cannot be compressed: a generator of numbers is enough for that.
    let mut state = 1_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    for id in ["a", "b", "c"] {
        let content: Vec<u8> = (0..3_000_000).map(|_| byte()).collect();
        let data = STANDARD.encode(content);
        let body = format!(
            r#"{{"resourceType":"Binary","id":"{id}","contentType":"text/plain","data":"{data}"}}"#
        );
        server.client.put(&format!("/Binary/{id}"), body).await.expect(201);
    }
    let mut done = Vec::new();
    build_index(server.store(), true, |count| done.push(count)).await.expect("builds");
    assert!(done[0] < 3, "all at once: {done:?}");
    assert_eq!(done.last(), Some(&3));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_builds_an_index_that_is_of_another_format() {
    let server = TestServer::start().await;
    write(&server.client).await;
    let written = digest(&server).await;
    for table in TABLES {
        server.database.run(&format!("DELETE FROM {table}")).await;
    }
    server.database.run("UPDATE index_build SET fingerprint = '\\x00'").await;
    let other = kiln::app::server::Server::start(config(&server.database, &[])).await;
    let other = other.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(digest(&server).await, written);
    other.stop().await;
    server.stop().await;
}

/// The same rows as an index that is built from nothing.
async fn expect_built_anew(server: &TestServer) {
    let found = digest(server).await;
    for table in TABLES {
        server.database.run(&format!("DELETE FROM {table}")).await;
    }
    build_index(server.store(), true, |_| ()).await.expect("builds");
    assert_eq!(digest(server).await, found);
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_beside_writes_leave_no_row_of_an_old_version() {
    let server = TestServer::start().await;
    let patient = |at: usize, gender: &str| {
        format!(
            r#"{{"resourceType":"Patient","id":"p{at}","gender":"{gender}",
            "name":[{{"family":"{gender}"}}],"birthDate":"1980-01-{:02}"}}"#,
            at % 28 + 1
        )
    };
    let put = async |at: usize, gender: &str| {
        server.client.put(&format!("/Patient/p{at}"), patient(at, gender)).await
    };
    join_all((0..120).map(|at| put(at, "male"))).await;
    let is_over = AtomicBool::new(false);
    let builds = async {
        let mut builds = 0;
        while !is_over.load(Ordering::SeqCst) {
            build_index(server.store(), true, |_| ()).await.expect("builds");
            builds += 1;
        }
        builds
    };
    let writes = async {
        for (round, gender) in ["female", "other", "male", "unknown"].into_iter().enumerate() {
            let all = (0..120).map(async |at| match (at + round) % 4 {
                0 => server.client.delete(&format!("/Patient/p{at}")).await.expect(204),
                _ => put(at, gender).await,
            });
            for answer in join_all(all).await {
                assert!([200, 201, 204].contains(&answer.status), "{answer:?}");
            }
        }
        is_over.store(true, Ordering::SeqCst);
    };
    let (builds, ()) = tokio::join!(builds, writes);
    assert!(builds > 1, "{builds} builds ran beside the writes");
    // Absences that too many have are given up in the midst of it: no search asks for rows from before.
    for statement in [
        "DELETE FROM tok WHERE h IN (SELECT p FROM token_code WHERE h = 0)",
        "UPDATE srow SET toks = toks[1:1] || ARRAY(SELECT h FROM unnest(toks[2:]) WITH ORDINALITY u(h, n) \
         WHERE h NOT IN (SELECT p FROM token_code WHERE h = 0) ORDER BY n)",
    ] {
        server.database.run(statement).await;
    }
    expect_built_anew(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_takes_away_rows_that_belong_to_nothing() {
    let server = TestServer::start().await;
    write(&server.client).await;
    let written = digest(&server).await;
    for rows in [
        "INSERT INTO tok SELECT h + 1, s, rid, sysh, dk FROM tok",
        "INSERT INTO tok SELECT h, s, rid + 1000000, sysh, dk FROM tok",
        "INSERT INTO num SELECT h, rid + 1000000, y, u, n, dk, lo, hi FROM num",
        "INSERT INTO dat SELECT h, lo, hi, rid + 1000000, dk FROM dat",
        "INSERT INTO str (h, v, rid, dk) SELECT h, v, rid + 1000000, dk FROM str",
        "INSERT INTO comp SELECT pat + 1, rt, s, rid, dk, hi, toks FROM comp",
        "INSERT INTO srow SELECT rid + 1000000, idh, s, hi, dk, rt, toks, keys, present FROM srow WHERE rid > 0",
    ] {
        server.database.run(rows).await;
    }
    build_index(server.store(), true, |_| ()).await.expect("builds");
    assert_eq!(digest(&server).await, written);
    server.stop().await;
}

/// As a program before might have left it that did not know each form of a reference.
#[tokio::test(flavor = "multi_thread")]
async fn a_build_finds_out_whose_a_resource_is() {
    let server = TestServer::start().await;
    write(&server.client).await;
    let at = observation("place", "a#x", "", "1", "5");
    server.client.put("/Observation/place", at).await.expect(201);
    let found =
        server.client.get("/Observation?patient=a&_id=place&_summary=count").await.expect(200);
    assert_eq!(found.at("total").as_deref(), Some("1"));
    let known =
        "SELECT sum(hashtextextended(pats::text, 0) % 1000000007)::bigint FROM res WHERE op <> 'D'";
    let (patients, written) = (server.database.number(known).await, digest(&server).await);
    server.database.run("DELETE FROM comp").await;
    server.database.run("UPDATE res SET pats = '{}' WHERE op <> 'D'").await;
    assert_ne!(server.database.number(known).await, patients, "nothing was known before");
    build_index(server.store(), true, |_| ()).await.expect("builds");
    assert_eq!(server.database.number(known).await, patients);
    assert_eq!(digest(&server).await, written);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_ends_when_another_program_begins_one_of_its_own() {
    let server = TestServer::start().await;
    write(&server.client).await;
    // The other program comes between the beginning and the first step.
    let other = "CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS \
         $$BEGIN NEW.fingerprint := '\\x00'; RETURN NEW; END$$; \
         CREATE TRIGGER other BEFORE UPDATE ON index_build FOR EACH ROW EXECUTE FUNCTION other()";
    server.database.run(other).await;
    build_index(server.store(), true, |_| ()).await.expect_err("it is not its own");
    let finished = "SELECT count(*) FROM index_build WHERE is_finished";
    assert_eq!(server.database.number(finished).await, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_belongs_to_nothing_does_not_end_the_pages() {
    let server = TestServer::start().await;
    for at in 0..6 {
        let body = format!(r#"{{"resourceType":"Patient","id":"p{at}","gender":"male"}}"#);
        server.client.put(&format!("/Patient/p{at}"), body).await.expect(201);
    }
    let dead = "INSERT INTO srow SELECT rid + 1000000, idh + 1, s, hi, dk, rt, toks, keys, present FROM srow; \
                INSERT INTO tok SELECT h, s, rid + 1000000, sysh, dk FROM tok";
    server.database.run(dead).await;
    let mut url = Some("/Patient?gender=male&_count=2".to_owned());
    let (mut found, mut pages) = (0, 0);
    while let Some(next) = url {
        let page = server.client.get(&next).await.expect(200);
        found += page.json().items_at("entry").len();
        pages += 1;
        let links = page.json();
        let links = links.items_at("link").iter();
        let mut next = links.filter(|link| link.str_at("relation") == Some("next"));
        let next = next.next().and_then(|link| link.str_at("url")).map(str::to_owned);
        url = next.and_then(|next| next.split_once("/fhir").map(|(_, path)| path.to_owned()));
    }
    assert_eq!(found, 6, "on {pages} pages");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_deleted_resource_no_value_stays() {
    let server = TestServer::start().await;
    let body = observation("o", "a", r#""effectiveDateTime":"2024-01-01","#, "1", "5");
    server.client.put("/Observation/o", body).await.expect(201);
    // Values of a parameter that is no more in force.
    for rows in [
        "INSERT INTO str (h, v, rid, dk) SELECT 1, 'secret', rid, dk FROM srow",
        "INSERT INTO num (h, rid, dk, lo, hi) SELECT 1, rid, dk, 7, 7 FROM srow",
        "INSERT INTO dat SELECT 1, '2024-01-01', '2024-01-02', rid, dk FROM srow",
    ] {
        server.database.run(rows).await;
    }
    server.client.delete("/Observation/o").await.expect(204);
    for (table, rows, _) in digest(&server).await {
        assert_eq!(rows, 0, "{table}");
    }
    server.stop().await;
}
