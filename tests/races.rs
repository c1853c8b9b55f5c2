//! Many clients at one resource: no lost update, no gap, no deadlock that anybody sees.
//!
//! Covers: rest 2.33, rest 3.47, rest 3.55.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use kiln::app::server::Server;
use kiln::fhir::json::Value;

use crate::harness::client::Client;
use crate::harness::server::{TestServer, config};

const CLIENTS: usize = 64;

fn patient(id: &str, number: usize) -> String {
    format!(r#"{{"resourceType":"Patient","id":"{id}","multipleBirthInteger":{number}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_if_match_exactly_one_client_wins_each_version() {
    let server = TestServer::start().await;
    server.client.put("/Patient/r", patient("r", 0)).await.expect(201);
    for version in 1..=5 {
        let tag = format!("W/\"{version}\"");
        let puts = (1..=CLIENTS).map(|number| {
            let body = patient("r", version * 1000 + number);
            server.client.call("PUT", "/Patient/r").header("If-Match", &tag).json(body).send()
        });
        let mut winners = 0;
        for answer in join_all(puts).await {
            match answer.status {
                200 => {
                    assert_eq!(answer.version() as usize, version + 1);
                    winners += 1;
                }
                409 | 412 => {}
                _ => panic!("{answer:?}"),
            }
        }
        assert_eq!(winners, 1, "version {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_if_match_versions_have_no_gap_and_no_update_is_lost() {
    let server = TestServer::start().await;
    server.client.put("/Patient/r", patient("r", 0)).await.expect(201);
    let puts = (1..=CLIENTS).map(|number| {
        let body = patient("r", number);
        server.client.call("PUT", "/Patient/r").json(body).send()
    });
    let mut versions = BTreeSet::new();
    for answer in join_all(puts).await {
        match answer.status {
            200 => assert!(versions.insert(answer.version()), "a version twice: {answer:?}"),
            409 => {}
            _ => panic!("{answer:?}"),
        }
    }
    let last = versions.len() as u64 + 1;
    assert!(versions.iter().copied().eq(2..=last), "{versions:?}");
    let history = server.client.get("/Patient/r/_history?_count=200").await.expect(200);
    assert_eq!(history.at("total"), Some(last.to_string()));
    for version in 1..=last {
        server.client.get(&format!("/Patient/r/_history/{version}")).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_by_put_of_one_id_make_one_resource() {
    let server = TestServer::start().await;
    let puts = (1..=CLIENTS).map(|number| {
        let body = patient("new", number);
        server.client.call("PUT", "/Patient/new").header("If-None-Match", "*").json(body).send()
    });
    let statuses: Vec<_> = join_all(puts).await.into_iter().map(|answer| answer.status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 409, 412].contains(status)), "{statuses:?}");
}

/// A transaction that updates `ids` in their order.
fn transaction(ids: &[usize], number: usize) -> String {
    let entries: Vec<_> = ids
        .iter()
        .map(|id| {
            let resource = patient(&format!("s{id}"), number);
            let request = format!(r#"{{"method":"PUT","url":"Patient/s{id}"}}"#);
            format!(r#"{{"resource":{resource},"request":{request}}}"#)
        })
        .collect();
    let entries = entries.join(",");
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_over_shared_rows_show_no_deadlock() {
    let server = TestServer::start().await;
    server.client.post("/", transaction(&[0, 1, 2, 3, 4, 5], 0)).await.expect(200);
    let posts = (1..=48_usize).map(|number| {
        let mut ids: Vec<_> = (0..6).map(|at| (at * 5 + number) % 6).collect();
        if number % 2 == 0 {
            ids.reverse();
        }
        let body = transaction(&ids[..3 + number % 4], number);
        server.client.call("POST", "/").json(body).send()
    });
    let mut succeeded = 0;
    for answer in join_all(posts).await {
        match answer.status {
            200 => succeeded += 1,
            409 => assert!(!answer.text().to_lowercase().contains("deadlock"), "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
    }
    assert!(succeeded >= 40, "only {succeeded} of 48 succeeded");
}

/// Reads both halves in one transaction, until told that the writer has ended.
async fn halves_differ(client: &Client, mut ended: tokio::sync::watch::Receiver<bool>) -> u32 {
    let body = r#"{"resourceType":"Bundle","type":"transaction","entry":[
        {"request":{"method":"GET","url":"Patient/s0"}},
        {"request":{"method":"GET","url":"Patient/s1"}}]}"#;
    let mut looks = 0;
    while !*ended.borrow_and_update() {
        let answer = client.post("/", body).await.expect(200);
        let half = |at: usize| answer.at(&format!("entry[{at}].resource.multipleBirthInteger"));
        assert_eq!(half(0), half(1), "half a transaction was seen: {answer:?}");
        looks += 1;
    }
    looks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_never_sees_half_a_transaction() {
    let server = TestServer::start().await;
    server.client.post("/", transaction(&[0, 1], 0)).await.expect(200);
    let (end, ended) = tokio::sync::watch::channel(false);
    let client = server.client.clone();
    let reader = tokio::spawn(async move { halves_differ(&client, ended).await });
    for number in 1..=60 {
        server.client.post("/", transaction(&[0, 1], number)).await.expect(200);
    }
    end.send(true).unwrap();
    assert!(reader.await.unwrap() > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_never_sees_half_of_a_large_transaction() {
    const MANY: usize = 200;
    let server = TestServer::start().await;
    let ids: Vec<usize> = (0..MANY).collect();
    server.client.post("/", transaction(&ids, 0)).await.expect(200);
    let (end, mut ended) = tokio::sync::watch::channel(false);
    let client = server.client.clone();
    let reader = tokio::spawn(async move {
        let mut seen = BTreeSet::new();
        while !*ended.borrow_and_update() {
            let answer = client.get("/Patient?_count=1000&_total=none").await.expect(200).json();
            let number = |entry: &Value<'_>| {
                let number = entry.get("resource")?.get("multipleBirthInteger")?;
                number.as_number().map(str::to_owned)
            };
            let all: Vec<String> = answer.items_at("entry").iter().filter_map(number).collect();
            assert_eq!(all.len(), MANY);
            assert!(all.iter().all(|it| *it == all[0]), "half a transaction was seen: {all:?}");
            seen.insert(all[0].clone());
        }
        seen.len()
    });
    for number in 1..=12 {
        server.client.post("/", transaction(&ids, number)).await.expect(200);
    }
    end.send(true).unwrap();
    assert!(reader.await.unwrap() > 1, "the reader was never beside a writer");
}

/// What is read here: p0 to p39 are live in version 2, d0 to d9 deleted, x0 to x9 unknown.
fn read_at_once() -> Vec<(String, u16)> {
    let of = |letter, count, status| (0..count).map(move |at| (format!("{letter}{at}"), status));
    let mut all: Vec<_> =
        of('p', 40, 200).chain(of('d', 10, 410)).chain(of('x', 10, 404)).collect();
    // Neighbours of each kind, so that answers in the wrong place are seen.
    all.sort_by_key(|(id, _)| id[1..].parse::<usize>().unwrap());
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn what_shares_a_statement_gets_its_own_answer_and_its_own_row() {
    let server = TestServer::start().await;
    let written = |first: usize| {
        let live = (0..40).map(|at| (format!("p{at}"), first + at));
        live.chain((0..10).map(|at| (format!("d{at}"), at))).collect::<Vec<_>>()
    };
    for (first, status) in [(0, 201), (1000, 200)] {
        let puts = written(first).into_iter().map(|(id, number)| {
            server.client.call("PUT", &format!("/Patient/{id}")).json(patient(&id, number)).send()
        });
        for answer in join_all(puts).await {
            // The d's are the same the second time: no new version.
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }
    let deletions = (0..10).map(|at| format!("/Patient/d{at}"));
    let deletions = deletions.map(|url| async { server.client.delete(&{ url }).await });
    for answer in join_all(deletions).await {
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    let asked = read_at_once();
    let reads = asked.iter().map(|(id, _)| {
        let call = server.client.call("GET", &format!("/Patient/{id}"));
        call.header("X-Request-Id", &format!("read-{id}")).send()
    });
    for ((id, status), answer) in asked.iter().zip(join_all(reads).await) {
        assert_eq!(answer.status, *status, "{id}: {answer:?}");
        if let Some(at) = id.strip_prefix('p') {
            let number = 1000 + at.parse::<usize>().unwrap();
            assert_eq!(answer.at("id"), Some(id.clone()));
            assert_eq!(answer.at("multipleBirthInteger"), Some(number.to_string()), "{id}");
            assert_eq!(answer.version(), 2, "{id}");
        }
    }
    let number = async |query: &str| server.database.number(query).await;
    let rows = "FROM ledger WHERE request_id LIKE 'read-%'";
    assert_eq!(number(&format!("SELECT count(*) {rows}")).await, 60);
    let own = "request_id = 'read-' || logical_id AND vid = 2 AND outcome = 0";
    assert_eq!(number(&format!("SELECT count(*) {rows} AND {own}")).await, 40);
    assert_eq!(number(&format!("SELECT count(*) {rows} AND outcome = 4")).await, 20);
    for (rows, all) in
        [(format!("{rows} AND outcome = 0"), 40), ("FROM res WHERE vid = 2".into(), 50)]
    {
        let statements = number(&format!("SELECT count(DISTINCT xid::text) {rows}")).await;
        assert!(statements < all, "{all} rows by {statements} statements: nothing was shared");
    }
}

fn tags(code: &str) -> String {
    format!(
        r#"{{"resourceType":"Parameters","parameter":[{{"name":"meta","valueMeta":
        {{"tag":[{{"system":"urn:race","code":"{code}"}}]}}}}]}}"#
    )
}

/// A change of the resource `m` that makes a version.
fn turned(number: usize) -> String {
    let gender = ["male", "female"][number % 2];
    format!(r#"[{{"op":"replace","path":"/gender","value":"{gender}"}}]"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_was_added_is_there_whatever_is_patched_beside() {
    const TAGS: usize = 60;
    let server = TestServer::start().await;
    let other = Server::start(config(&server.database, &[])).await.unwrap();
    let there = Client::new(other.address());
    let body = r#"{"resourceType":"Patient","id":"m","gender":"male",
        "identifier":[{"system":"urn:race","value":"m"}]}"#;
    server.client.put("/Patient/m", body).await.expect(201);
    let patches = async |client: &Client, url: &str| {
        for number in 0..2 * TAGS {
            let patch = client.call("PATCH", url).body(turned(number));
            let answer = patch.header("Content-Type", "application/json-patch+json").send().await;
            assert!([200, 409].contains(&answer.status), "{answer:?}");
        }
    };
    let adds = async {
        let mut added = Vec::new();
        for number in 0..TAGS {
            let code = format!("c{number}");
            let answer = server.client.post("/Patient/m/$meta-add", tags(&code)).await;
            assert!([200, 409].contains(&answer.status), "{answer:?}");
            if answer.status == 200 {
                added.push(code);
            }
        }
        added
    };
    let (added, (), ()) = tokio::join!(
        adds,
        patches(&server.client, "/Patient?identifier=urn:race|m"),
        patches(&there, "/Patient/m")
    );
    assert!(added.len() > TAGS / 2, "{} tags", added.len());
    let text = server.client.get("/Patient/m").await.expect(200).text();
    for number in 0..TAGS {
        let code = format!("c{number}");
        let has_it = text.contains(&format!("\"{code}\""));
        assert!(has_it || !added.contains(&code), "{code} is lost: {text}");
        let query = format!("/Patient?_tag=urn:race|{code}&_summary=count");
        let total = server.client.get(&query).await.expect(200).at("total");
        assert_eq!(total.as_deref(), Some(if has_it { "1" } else { "0" }), "{code}");
    }
    other.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_add_tags_do_not_wait_for_each_others_connections() {
    let server = TestServer::start_with(&[("database.write_connections", "2")]).await;
    for at in 0..12 {
        let id = format!("t{at}");
        server.client.put(&format!("/Patient/{id}"), patient(&id, at)).await.expect(201);
    }
    let transactions = (0..12).map(|at| {
        let body = format!(
            r#"{{"resourceType":"Bundle","type":"transaction","entry":[
            {{"request":{{"method":"POST","url":"Patient","ifNoneExist":"identifier=urn:race|{at}"}},
              "resource":{{"resourceType":"Patient","identifier":[{{"system":"urn:race","value":"{at}"}}]}}}},
            {{"request":{{"method":"POST","url":"Patient/t{at}/$meta-add"}},"resource":{}}}]}}"#,
            tags(&format!("new{at}"))
        );
        server.client.post("/", body)
    });
    for answer in join_all(transactions).await {
        answer.expect(200);
    }
    server.stop().await;
}

/// A request to add concepts of `urn:closed` to a closure table, or to begin it.
fn closing(name: &str, codes: &[&str]) -> String {
    let concept = |code: &&str| {
        format!(r#",{{"name":"concept","valueCoding":{{"system":"urn:closed","code":"{code}"}}}}"#)
    };
    let concepts: String = codes.iter().map(concept).collect();
    format!(
        r#"{{"resourceType":"Parameters","parameter":[{{"name":"name","valueString":"{name}"}}{concepts}]}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_add_to_a_closure_table_one_is_told_how_they_stand() {
    let server = TestServer::start().await;
    let system = r#"{"resourceType":"CodeSystem","url":"urn:closed","status":"active",
        "content":"complete","concept":[{"code":"a","concept":[{"code":"b"}]}]}"#;
    server.client.post("/CodeSystem", system).await.expect(201);
    for _ in 0..40 {
        server.client.post("/$closure", closing("t", &[])).await.expect(200);
        let adds = ["a", "b"].map(|code| server.client.post("/$closure", closing("t", &[code])));
        let told = join_all(adds).await.into_iter().map(|it| it.expect(200).at("group[0].source"));
        assert_eq!(told.flatten().count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_closure_tables_and_may_begin_each_anew() {
    let server = TestServer::start().await;
    server.client.post("/$closure", closing("t", &[])).await.expect(200);
    let more = "INSERT INTO closure SELECT name || n, 0 FROM closure, generate_series(1, 999) n";
    server.database.run(more).await;
    server.client.post("/$closure", closing("u", &[])).await.expect(403);
    server.client.post("/$closure", closing("t9", &[])).await.expect(200);
    let long = "x".repeat(1_001);
    server.client.post("/$closure", closing(&long, &[])).await.expect(400);
    server.client.post("/$closure", closing("t", &[&long])).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_a_batch_that_name_the_same_resource_come_in_their_order() {
    const ENTRIES: usize = 12;
    let server = TestServer::start().await;
    let batches = (0..40).map(async |batch| {
        let id = format!("b{batch}");
        let entry = |number| {
            let resource = patient(&id, number);
            let request = format!(r#"{{"method":"PUT","url":"Patient/{id}"}}"#);
            format!(r#"{{"resource":{resource},"request":{request}}}"#)
        };
        let entries: Vec<_> = (0..ENTRIES).map(entry).collect();
        let entries = entries.join(",");
        let bundle = format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{entries}]}}"#);
        // Writes wait until it counts, some longer than others.
        let definition = format!(r#"{{"resourceType":"ValueSet","id":"{id}","status":"draft"}}"#);
        server.client.put(&format!("/ValueSet/{id}"), definition).await.expect(201);
        server.client.post("/", bundle).await
    });
    for answer in join_all(batches).await {
        let answer = answer.expect(200);
        for number in 0..ENTRIES {
            let tag = answer.at(&format!("entry[{number}].response.etag"));
            assert_eq!(tag, Some(format!("W/\"{}\"", number + 1)), "{number}: {answer:?}");
        }
    }
}
