//! Callers who may see what is about some patients: nothing tells them of what is about others.
//!
//! Every way to a resource is tried: searches, chains, `_has`, includes, totals, hierarchies,
//! history, criteria and writes.

use kiln::access::Principal;

use crate::harness::client::{Answer, Client};
use crate::harness::endpoint::endpoint_of;
use crate::harness::grants::Token;
use crate::harness::json::at;
use crate::harness::server::TestServer;

/// What everybody is: `mine` and `theirs` are patients; the names of others begin with whose they are.
const STORED: &[(&str, &str)] = &[
    ("Patient/mine", r#""name":[{"family":"Own"}],"gender":"female""#),
    (
        "Patient/theirs",
        r#""name":[{"family":"Hidden"}],"gender":"female","identifier":[{"system":"urn:x","value":"1"}],"link":[]"#,
    ),
    (
        "Encounter/mine-top",
        r#""status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/mine"}"#,
    ),
    (
        "Encounter/theirs-under",
        r#""status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/theirs"},"partOf":{"reference":"Encounter/mine-top"}"#,
    ),
    (
        "Observation/mine-1",
        r#""status":"final","code":{"coding":[{"system":"urn:c","code":"a"}]},"subject":{"reference":"Patient/mine"},"valueString":"own","hasMember":[{"reference":"Observation/theirs-1"}]"#,
    ),
    (
        "Observation/mine-2",
        r#""status":"final","code":{"coding":[{"system":"urn:c","code":"a"}]},"subject":{"reference":"Patient/mine"}"#,
    ),
    (
        "Observation/theirs-1",
        r#""status":"final","code":{"coding":[{"system":"urn:c","code":"h"}]},"subject":{"reference":"Patient/theirs"},"focus":[{"reference":"Patient/mine"}],"hasMember":[{"reference":"Observation/mine-2"}]"#,
    ),
    (
        "Observation/theirs-2",
        r#""status":"final","code":{"coding":[{"system":"urn:c","code":"a"}]},"subject":{"reference":"Patient/theirs"}"#,
    ),
];

fn body(path: &str, content: &str) -> String {
    let (resource_type, id) = path.split_once('/').unwrap();
    let content = content.replace(r#","link":[]"#, "");
    format!(r#"{{"resourceType":"{resource_type}","id":"{id}",{content}}}"#)
}

/// Who may do everything but with one patient's resources only.
fn of_one_patient(server: &TestServer) -> Principal {
    Token::new(server, "patient/*.cruds").patient("mine").principal()
}

async fn filled() -> TestServer {
    let server = TestServer::start().await;
    for (path, content) in STORED {
        server.client.put(path, body(path, content)).await.expect(201);
    }
    server
}

/// Type and id of each entry, sorted.
fn entries(answer: &Answer) -> Vec<String> {
    let answer = answer.clone().expect(200);
    let value = answer.json();
    let mut all: Vec<String> = value
        .items_at("entry")
        .iter()
        .filter_map(|entry| {
            let text = |path| at(entry, path).and_then(|it| it.as_str());
            Some(format!("{}/{}", text("resource.resourceType")?, text("resource.id")?))
        })
        .collect();
    all.sort_unstable();
    all
}

async fn asked(client: &Client, url: &str) -> Vec<String> {
    entries(&client.get(url).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_search_finds_or_tells_what_the_caller_does_not_reach() {
    let server = filled().await;
    let (narrow, _stop) = endpoint_of(&server, Some(of_one_patient(&server))).await;
    // What everybody finds, and what is left of it for the caller.
    for (url, all, own) in [
        ("/Patient", "mine theirs", "mine"),
        ("/Patient?gender=female", "mine theirs", "mine"),
        ("/Patient?gender:not=male&_sort=family", "mine theirs", "mine"),
        ("/Patient?name=hid", "theirs", ""),
        ("/Patient?_id=theirs", "theirs", ""),
        ("/Patient?_lastUpdated=gt2000&_sort=-_lastUpdated", "mine theirs", "mine"),
        ("/Observation?code=urn:c|a", "mine-1 mine-2 theirs-2", "mine-1 mine-2"),
        ("/Observation?subject=Patient/theirs", "theirs-1 theirs-2", ""),
        ("/Patient/theirs/Observation", "theirs-1 theirs-2", ""),
        // Chains and their like.
        ("/Observation?subject:Patient.name=hidden", "theirs-1 theirs-2", ""),
        ("/Observation?has-member.code=urn:c|h", "mine-1", ""),
        ("/Observation?has-member:Observation.subject:Patient.name=hidden", "mine-1", ""),
        ("/Patient?_has:Observation:focus:code=urn:c|h", "mine", ""),
        ("/Observation?_has:Observation:has-member:code=urn:c|h", "mine-2", ""),
        ("/Observation?_filter=has-member.code eq urn:c|h", "mine-1", ""),
        ("/Encounter?part-of:above=Encounter/theirs-under", "mine-top theirs-under", ""),
    ] {
        let url = url.replace(' ', "%20");
        let ids = |found: Vec<String>| {
            let ids = found.iter().map(|path| path.split_once('/').unwrap().1.to_owned());
            ids.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ids(asked(&server.client, &url).await), all, "{url}");
        assert_eq!(ids(asked(&narrow, &url).await), own, "{url}");
        // The total, counted and told beside a page.
        let sign = if url.contains('?') { '&' } else { '?' };
        for (client, expected) in [(&server.client, all), (&narrow, own)] {
            for more in ["_summary=count", "_total=accurate", "_count=1&_total=accurate"] {
                let answer = client.get(&format!("{url}{sign}{more}")).await.expect(200);
                let total = expected.split_whitespace().count().to_string();
                assert_eq!(answer.at("total"), Some(total), "{url} {more}: {answer:?}");
            }
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_along_that_the_caller_does_not_reach() {
    let server = filled().await;
    let (narrow, _stop) = endpoint_of(&server, Some(of_one_patient(&server))).await;
    for (url, more) in [
        ("/Observation?_id=mine-1&_include=Observation:has-member", "Observation/theirs-1"),
        ("/Observation?_id=mine-2&_revinclude=Observation:has-member", "Observation/theirs-1"),
        ("/Patient?_id=mine&_revinclude=Observation:focus", "Observation/theirs-1"),
        ("/Encounter?_id=mine-top&_revinclude=Encounter:part-of", "Encounter/theirs-under"),
    ] {
        let all = asked(&server.client, url).await;
        assert_eq!(all.len(), 2, "{url}: {all:?}");
        assert!(all.contains(&more.to_owned()), "{url}: {all:?}");
        let own = asked(&narrow, url).await;
        assert_eq!(own.len(), 1, "{url}: {own:?}");
        assert!(!own.contains(&more.to_owned()), "{url}: {own:?}");
    }
    server.stop().await;
}

/// The parent of a hidden resource is no more the caller's to learn than the resource is.
#[tokio::test(flavor = "multi_thread")]
async fn a_hierarchy_does_not_begin_at_what_is_hidden() {
    let server = filled().await;
    let own = r#""status":"finished","class":{"code":"AMB"},"subject":{"reference":"Patient/mine"},"partOf":{"reference":"Encounter/mine-top"}"#;
    server.client.put("/Encounter/mine-under", body("Encounter/mine-under", own)).await.expect(201);
    let (narrow, _stop) = endpoint_of(&server, Some(of_one_patient(&server))).await;
    for (start, found) in [("theirs-under", false), ("mine-under", true)] {
        let url = format!("/Encounter?part-of:above=Encounter/{start}");
        let all = asked(&server.client, &url).await;
        let own = asked(&narrow, &url).await;
        assert!(all.contains(&"Encounter/mine-top".to_owned()), "{start}: {all:?}");
        assert_eq!(own.contains(&"Encounter/mine-top".to_owned()), found, "{start}: {own:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_has_what_the_caller_reaches() {
    let server = filled().await;
    server.client.delete("/Observation/theirs-2").await.expect(204);
    let (narrow, _stop) = endpoint_of(&server, Some(of_one_patient(&server))).await;
    for (url, own) in [
        ("/Observation/_history", 2),
        ("/Patient/_history", 1),
        ("/Observation/mine-1/_history", 1),
    ] {
        let answer = narrow.get(url).await.expect(200);
        assert_eq!(answer.at("total"), Some(own.to_string()), "{url}: {answer:?}");
        assert!(!answer.text().contains("theirs-2"), "{url}: {answer:?}");
        assert_eq!(answer.json().items_at("entry").len(), own, "{url}");
    }
    // Of all types at once there is no total: each version is held against its own type's limits.
    let answer = narrow.get("/_history").await.expect(200);
    assert_eq!(
        (answer.at("total"), answer.json().items_at("entry").len()),
        (None, 4),
        "{answer:?}"
    );
    assert!(!answer.text().contains("theirs-2"), "{answer:?}");
    for id in ["theirs-1", "theirs-2", "nothing"] {
        let url = format!("/Observation/{id}");
        narrow.get(&url).await.expect(404);
        narrow.get(&format!("{url}/_history")).await.expect(404);
        narrow.get(&format!("{url}/_history/1")).await.expect(404);
        narrow.delete(&url).await.expect(204);
    }
    server.client.get("/Observation/theirs-1").await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_tells_nothing_of_what_is_hidden() {
    let server = filled().await;
    let (narrow, _stop) = endpoint_of(&server, Some(of_one_patient(&server))).await;
    let own = r#""status":"final","code":{"text":"new"},"subject":{"reference":"Patient/mine"}"#;
    // What is there and what is not look alike, and soon.
    for id in ["theirs-1", "nothing"] {
        let path = format!("/Observation/{id}");
        let put = narrow.put(&path, body(&path[1..], own)).await.expect(404);
        let text = put.text().replace(id, "?");
        assert!(!text.contains("Conflict") && text.contains('?'), "{put:?}");
    }
    narrow.put("/Observation/mine-1", body("Observation/mine-1", own)).await.expect(200);
    // Criteria match what the caller sees: nothing here.
    let criteria = "Observation?code=urn:c|h";
    narrow.delete(criteria).await.expect(204);
    narrow.put(criteria, body("Observation/x", own).replace(r#""id":"x","#, "")).await.expect(404);
    let create = body("Observation/x", own).replace(r#""id":"x","#, "");
    let call = narrow.call("POST", "/Observation").header("If-None-Exist", "code=urn:c|h");
    call.json(create).send().await.expect(201);
    let hidden = server.client.get("/Observation/theirs-1").await.expect(200);
    assert_eq!(hidden.version(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_reaches_what_its_own_permit_reaches() {
    let server = filled().await;
    let scopes = "patient/Patient.cruds patient/Observation.cruds";
    let (client, _stop) = Token::new(&server, scopes).patient("mine").client().await;
    let own = r#""status":"final","code":{"text":"new"},"subject":{"reference":"Patient/mine"}"#;
    let bundle = |ids: [&str; 2]| {
        let entry = |id: &str| {
            let resource = body(&format!("Observation/{id}"), own);
            format!(
                r#"{{"resource":{resource},"request":{{"method":"PUT","url":"Observation/{id}"}}}}"#
            )
        };
        let entries = ids.map(entry).join(",");
        format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#)
    };
    client.post("/", bundle(["mine-1", "theirs-1"])).await.expect(404);
    let hidden = server.client.get("/Observation/theirs-1").await.expect(200);
    assert_eq!(hidden.version(), 1);
    client.post("/", bundle(["mine-1", "mine-2"])).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_may_be_read_but_not_searched_is_found_in_no_way() {
    let server = filled().await;
    let scopes = "system/Patient.rs system/Observation.r";
    let (client, _stop) = Token::new(&server, scopes).client().await;
    client.get("/Observation/mine-1").await.expect(200);
    client.get("/Observation?code=urn:c|a").await.expect(403);
    let found = asked(&client, "/?_type=Patient,Observation").await;
    assert_eq!(found, ["Patient/mine", "Patient/theirs"]);
    for url in [
        "/Patient?_has:Observation:focus:code=urn:c|h",
        "/Patient?_has:Observation:subject:code=urn:c|a",
    ] {
        client.get(url).await.expect(403);
    }
    let along = asked(&client, "/Patient?_id=mine&_revinclude=Observation:subject").await;
    assert_eq!(along, ["Patient/mine"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_and_places_among_all_finds_are_not_for_who_sees_a_part() {
    let server = filled().await;
    let (narrow, _stop) = endpoint_of(&server, Some(of_one_patient(&server))).await;
    server.client.get("/Patient?gender=female&_explain=true").await.expect(200);
    narrow.get("/Patient?gender=female&_explain=true").await.expect(403);
    let (plain, _stop) = Token::new(&server, "system/*.s").client().await;
    plain.get("/Patient?gender=female").await.expect(200);
    plain.get("/Patient?gender=female&_explain=true").await.expect(403);
    let scored = |answer: &Answer| answer.text().contains("\"score\"");
    let url = "/Observation?_content=own&_sort=_score";
    // Transactions of other tests, in the same cluster, may hold it back.
    let mut are_there = None;
    for _ in 0..12 {
        are_there = server.engine().words_caught_up().await;
        if are_there == Some(true) {
            break;
        }
    }
    assert_eq!(are_there, Some(true));
    assert!(scored(&server.client.get(url).await.expect(200)));
    let own = narrow.get(url).await.expect(200);
    assert_eq!(entries(&own), ["Observation/mine-1"]);
    assert!(!scored(&own), "{own:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_there_is_a_total_tells_nothing_of_what_is_hidden() {
    let server = filled().await;
    let (narrow, _stop) = endpoint_of(&server, Some(of_one_patient(&server))).await;
    let url = "/Observation?subject=Patient/mine,Patient/theirs&_count=1";
    let estimated = format!("{url}&_total=estimate");
    let totals = async || {
        let total = async |url: &str| narrow.get(url).await.expect(200).at("total");
        (total(url).await, total(&estimated).await)
    };
    let before = totals().await;
    assert_eq!(before.1.as_deref(), Some("2"), "of two own ones");
    let entry = r#"{"resource":{"resourceType":"Observation","status":"final","code":{"text":"x"},"subject":{"reference":"Patient/theirs"}},"request":{"method":"POST","url":"Observation"}}"#;
    // More than are looked at for a total.
    let entries = vec![entry; 600].join(",");
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
    server.client.post("/", bundle).await.expect(200);
    assert_eq!(totals().await, before);
}
