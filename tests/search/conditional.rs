//! Conditional interactions by many clients at once: one resource, and a right answer for each.
//!
//! Covers: rest 0.7, rest 2.47, rest 2.49, rest 10.14.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use kiln::app::server::Server;

use crate::harness::client::Client;
use crate::harness::server::{TestServer, config};

const CLIENTS: usize = 64;

fn patient(number: usize) -> String {
    format!(
        concat!(
            r#"{{"resourceType":"Patient","identifier":[{{"system":"urn:race","value":"1"}}],"#,
            r#""multipleBirthInteger":{}}}"#
        ),
        number
    )
}

/// How many live patients there are.
async fn live(server: &TestServer) -> i64 {
    let sql = "SELECT count(*) FROM res WHERE op <> 'D' AND body @> '{\"identifier\":[{\"system\":\"urn:race\"}]}'";
    server.database.number(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_creates_of_one_identifier_make_one_resource() {
    let server = TestServer::start().await;
    let posts = (0..CLIENTS).map(|number| {
        // Different criteria for the same identifier, and the same in another order.
        let criteria = match number % 3 {
            0 => "identifier=urn:race|1",
            1 => "identifier=urn:race%7C1&identifier:missing=false",
            _ => "identifier:missing=false&identifier=urn:race|1",
        };
        let call = server.client.call("POST", "/Patient").header("If-None-Exist", criteria);
        call.json(patient(number)).send()
    });
    let answers = join_all(posts).await;
    let created: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert_eq!(created.len(), 1, "created {} times", created.len());
    let id = created[0].at("id").expect("an id");
    for answer in &answers {
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        assert_eq!(answer.at("id").as_ref(), Some(&id), "{answer:?}");
        assert_eq!(answer.version(), 1, "{answer:?}");
    }
    assert_eq!(live(&server).await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_updates_of_one_identifier_make_one_resource_without_gaps() {
    let server = TestServer::start().await;
    let puts = (0..CLIENTS).map(|number| {
        let call = server.client.call("PUT", "/Patient?identifier=urn:race|1");
        call.json(patient(number)).send()
    });
    let answers = join_all(puts).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(created, 1, "created {created} times");
    let mut versions = BTreeSet::new();
    for answer in &answers {
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        assert!(versions.insert(answer.version()), "a version twice: {answer:?}");
    }
    assert!(versions.iter().copied().eq(1..=CLIENTS as u64), "{versions:?}");
    assert_eq!(live(&server).await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_with_the_same_conditional_create_make_one_resource() {
    let server = TestServer::start().await;
    let posts = (0..CLIENTS).map(|number| {
        let resource = patient(number);
        let bundle = format!(
            concat!(
                r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"fullUrl":"urn:uuid:p","#,
                r#""resource":{},"request":{{"method":"POST","url":"Patient","#,
                r#""ifNoneExist":"identifier=urn:race|1"}}}},{{"resource":{{"resourceType":"Basic","#,
                r#""code":{{"text":"x"}},"subject":{{"reference":"urn:uuid:p"}}}},"#,
                r#""request":{{"method":"POST","url":"Basic"}}}}]}}"#
            ),
            resource
        );
        server.client.call("POST", "/").json(bundle).send()
    });
    let answers = join_all(posts).await;
    let mut places = BTreeSet::new();
    let mut created = 0;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        places.insert(answer.at("entry[0].response.location").expect("a location"));
        let status = answer.at("entry[0].response.status").expect("a status");
        created += usize::from(status.starts_with("201"));
    }
    assert_eq!((created, places.len()), (1, 1), "{places:?}");
    assert_eq!(live(&server).await, 1);
    let place = places.iter().next().expect("one");
    let place = place.split("/_history/").next().expect("a path");
    let sql = format!(
        "SELECT count(*) FROM res WHERE body @> '{{\"subject\":{{\"reference\":\"{place}\"}}}}'"
    );
    assert_eq!(server.database.number(&sql).await as usize, CLIENTS);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_tags_do_not_stop_conditional_writers() {
    let server = TestServer::start().await;
    let posts = (0..CLIENTS).map(|number| {
        let body = format!(
            concat!(
                r#"{{"resourceType":"Basic","meta":{{"tag":[{{"system":"urn:t","code":"{n}"}}]}},"#,
                r#""identifier":[{{"system":"urn:b","value":"{n}"}}],"code":{{"text":"x"}}}}"#
            ),
            n = number
        );
        let criteria = format!("identifier=urn:b|{number}");
        let call = server.client.call("POST", "/Basic").header("If-None-Exist", &criteria);
        call.json(body).send()
    });
    for answer in join_all(posts).await {
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let tags = server.client.get("/Basic/$meta").await.expect(200);
    assert_eq!(tags.text().matches("urn:t").count(), CLIENTS);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_creates_on_two_nodes_make_one_resource() {
    let server = TestServer::start().await;
    let other = Server::start(config(&server.database, &[])).await.unwrap();
    let there = Client::new(other.address());
    let posts = (0..CLIENTS).map(|number| {
        let client = if number % 2 == 0 { &server.client } else { &there };
        let call = client.call("POST", "/Patient").header("If-None-Exist", "identifier=urn:race|1");
        call.json(patient(number)).send()
    });
    let answers = join_all(posts).await;
    let ids: BTreeSet<_> = answers.iter().map(|answer| answer.at("id").expect("an id")).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(live(&server).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_delete_of_many_deletes_all_or_nothing() {
    let server = TestServer::start_with(&[("http.max_conditional_delete", "3")]).await;
    let metadata = server.client.get("/metadata").await.expect(200);
    assert!(metadata.text().contains(r#""conditionalDelete":"multiple""#));
    for number in 0..4 {
        server.client.post("/Patient", patient(number)).await.expect(201);
    }
    let url = "/Patient?identifier=urn:race|1";
    let refused = server.client.delete(url).await.expect(412);
    assert_eq!(refused.at("issue[0].code").as_deref(), Some("multiple-matches"));
    assert_eq!(live(&server).await, 4);
    let page = server.client.get(url).await.expect(200);
    let last = page.at("entry[0].resource.id").expect("an id");
    server.client.delete(&format!("/Patient/{last}")).await.expect(204);
    let call = server.client.call("DELETE", url).header("Prefer", "return=OperationOutcome");
    let done = call.header("X-Request-Id", "all").send().await.expect(200);
    assert_eq!(done.text().matches(": deleted").count(), 3, "{done:?}");
    assert_eq!(live(&server).await, 0);
    let rows = "SELECT count(*) FROM ledger WHERE request_id = 'all' AND outcome = 0";
    assert_eq!(server.database.number(rows).await, 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn criteria_go_by_the_value_set_as_it_is_stored() {
    let server = TestServer::start().await;
    let observation = |code: &str| {
        format!(
            r#"{{"resourceType":"Observation","status":"final",
            "code":{{"coding":[{{"system":"urn:codes","code":"{code}"}}]}}}}"#
        )
    };
    let value_set = |code: &str| {
        format!(
            r#"{{"resourceType":"ValueSet","id":"v","url":"urn:codes:v","status":"active",
            "compose":{{"include":[{{"system":"urn:codes","concept":[{{"code":"{code}"}}]}}]}}}}"#
        )
    };
    for round in 0..6 {
        let (old, new) = (format!("old{round}"), format!("new{round}"));
        server.client.put("/ValueSet/v", value_set(&old)).await;
        server.client.get("/Observation?code:in=urn:codes:v").await.expect(200);
        server.client.post("/Observation", observation(&new)).await.expect(201);
        server.client.put("/ValueSet/v", value_set(&new)).await.expect(200);
        let create = server.client.call("POST", "/Observation");
        let create = create.header("If-None-Exist", "code:in=urn:codes:v");
        create.json(observation(&new)).send().await.expect(200);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_makes_one_resource_for_an_identifier() {
    let server = TestServer::start().await;
    let entry = |criteria: &str| {
        format!(
            r#"{{"request":{{"method":"POST","url":"Patient","ifNoneExist":"{criteria}"}},"resource":{}}}"#,
            patient(1)
        )
    };
    let (one, other) =
        (entry("identifier=urn:race|1"), entry("identifier=urn:race|1&active:missing=true"));
    let body =
        format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{one},{other}]}}"#);
    let refused = server.client.post("/", body).await.expect(400);
    assert_eq!(refused.at("issue[0].expression[0]").as_deref(), Some("Bundle.entry[1].request"));
    assert_eq!(live(&server).await, 0);
    server.stop().await;
}
