//! Conditional interactions by many clients at once: one resource, and a right answer for each.
//!
//! Covers: rest 2.49.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use crate::harness::server::TestServer;

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
