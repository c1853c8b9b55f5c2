//! What comes along with a search is bounded, and says so; a search tells how it was done.
//!
//! Covers: rest 4.212.

use crate::harness::server::TestServer;

/// A transaction of `count` resources that refer to the Patient `p`.
fn referring(count: usize) -> String {
    let entry = concat!(
        r#"{"resource":{"resourceType":"Basic","code":{"text":"x"},"#,
        r#""subject":{"reference":"Patient/p"}},"request":{"method":"POST","url":"Basic"}}"#
    );
    let entries = vec![entry; count].join(",");
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#)
}

/// Covers: security H10.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_come_along_is_left_out_and_told() {
    let server = TestServer::start().await;
    let client = &server.client;
    client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.expect(201);
    client.post("/", referring(1_000)).await.expect(200);
    let url = "/Patient?_id=p&_revinclude=Basic:patient";
    let all = client.get(url).await.expect(200);
    assert_eq!(all.text().matches(r#""mode":"include""#).count(), 1_000);
    assert!(!all.text().contains(r#""mode":"outcome""#), "everything came along");
    client.post("/", referring(1)).await.expect(200);
    let cut = client.get(url).await.expect(200);
    assert_eq!(cut.text().matches(r#""mode":"include""#).count(), 1_000);
    assert_eq!(cut.at("entry[last].search.mode").as_deref(), Some("outcome"));
    let issue = "entry[last].resource.issue[0]";
    assert_eq!(cut.at(&format!("{issue}.code")).as_deref(), Some("incomplete"));
    assert_eq!(cut.at(&format!("{issue}.severity")).as_deref(), Some("warning"));
    assert_eq!(cut.at("total").as_deref(), Some("1"), "what comes along is not counted");
    let counted = client.get(&format!("{url}&_summary=count")).await.expect(200);
    assert!(counted.at("entry[0].resource.id").is_none(), "{counted:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_and_what_comes_along_is_on_record() {
    let server = TestServer::start().await;
    let client = &server.client;
    client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.expect(201);
    client.post("/", referring(1)).await.expect(200);
    let call = client.call("GET", "/Patient?_id=p&_revinclude=Basic:patient");
    call.header("X-Request-Id", "told").send().await.expect(200);
    let patients = "SELECT cardinality(pats)::bigint FROM ledger WHERE request_id = 'told'";
    assert_eq!(server.database.number(patients).await, 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_explains_itself_on_demand() {
    let server = TestServer::start().await;
    let client = &server.client;
    client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.expect(201);
    let plain = client.get("/Patient?_id=p").await.expect(200);
    assert!(!plain.text().contains("OperationOutcome"), "{plain:?}");
    let told = client.get("/Patient?_id=p&_explain=true").await.expect(200);
    let last = "entry[last].resource";
    assert_eq!(told.at(&format!("{last}.resourceType")).as_deref(), Some("OperationOutcome"));
    assert_eq!(told.at(&format!("{last}.issue[0].severity")).as_deref(), Some("information"));
    // The plan in words, then each statement with what was expected of it, its time and its plan.
    let said = |issue: &str| told.at(&format!("{last}.issue[{issue}].diagnostics")).unwrap();
    let words = said("0");
    assert!(words.starts_with("walks ") && words.contains("; "), "{words}");
    let statement = said("last");
    for part in ["SELECT ", " rows expected, took ", "(cost=", " rows="] {
        assert!(statement.contains(part), "{part:?} is not in {statement}");
    }
    client.post("/", referring(3)).await.expect(200);
    let more = "/Patient?_id=p&_revinclude=Basic:patient&_explain=true";
    let told = client.get(more).await.expect(200).text();
    assert!(told.contains("3 resources come along, took "), "{told}");
    // The statements of what comes along too, each with what was expected of it, its time and its plan.
    let (_, rest) = told.split_once("FROM tok t WHERE t.h = u.h").expect("what refers to it");
    assert!(rest.contains(" rows expected, took ") && rest.contains("(cost="), "{rest}");
    let targets = "/Basic?_include=Basic:patient&_explain=true";
    let along = client.get(targets).await.expect(200).text();
    let (_, rest) = along.split_once("WHERE x.idh = ANY($1::bigint[])").expect("what it refers to");
    assert!(rest.contains(" rows expected, took ") && rest.contains("(cost="), "{rest}");
    // What comes before and beside the statements of the search.
    assert!(told.contains("for a connection for searches"), "{told}");
    assert!(!told.contains("look-ups"), "there was none: {told}");
    let set = "http://hl7.org/fhir/ValueSet/administrative-gender";
    let asked = format!("/Patient?gender:in={set}&_text=none&_explain=true");
    let told = client.get(&asked).await.expect(200).text();
    assert!(told.contains("2 look-ups of words and codes, took "), "{told}");
    server.stop().await;
}

/// Who refers to different versions of one resource gets each of them, and each once.
///
/// Covers: rest 4.208.
#[tokio::test(flavor = "multi_thread")]
async fn each_version_that_a_reference_names_comes_along_once() {
    let server = TestServer::start().await;
    let client = &server.client;
    for (family, status) in [("One", 201), ("Two", 200), ("Three", 200), ("Four", 200)] {
        let body =
            format!(r#"{{"resourceType":"Patient","id":"p","name":[{{"family":"{family}"}}]}}"#);
        client.put("/Patient/p", body).await.expect(status);
    }
    for (id, to) in [
        ("a", "/_history/1"),
        ("b", "/_history/2"),
        ("c", "/_history/1"),
        ("d", ""),
        ("e", "/_history/4"),
    ] {
        let body = format!(
            r#"{{"resourceType":"Basic","id":"{id}","code":{{"text":"x"}},"subject":{{"reference":"Patient/p{to}"}}}}"#
        );
        client.put(&format!("/Basic/{id}"), body).await.expect(201);
    }
    let back = "/Patient?_id=p&_revinclude=Basic:patient&_include:iterate=Basic:patient";
    for (url, expected) in [
        ("/Basic?_id=a,b,c&_include=Basic:patient", &["1", "2"][..]),
        ("/Basic?_id=a,d&_include=Basic:patient", &["1", "4"]),
        ("/Basic?_id=d,e&_include=Basic:patient", &["4"]),
        ("/Basic?_id=e&_include=Basic:patient", &["4"]),
        ("/Basic?_include=Basic:patient", &["1", "2", "4"]),
        (back, &["1", "2", "4"]),
    ] {
        let answer = client.get(url).await.expect(200);
        let bundle = answer.json();
        let resources = bundle.items_at("entry").iter().filter_map(|entry| entry.get("resource"));
        let patients = resources.filter(|it| it.str_at("resourceType") == Some("Patient"));
        let mut versions: Vec<&str> =
            patients.filter_map(|it| it.get("meta")?.str_at("versionId")).collect();
        versions.sort_unstable();
        assert_eq!(versions, expected, "{url}: {answer:?}");
    }
    server.stop().await;
}
