//! Definitions of the packs as resources: read and searched beside what is stored, and not changed.
//!
//! Covers: rest 5.17, rest 5.18.

use std::collections::BTreeSet;

use kiln::app::server::Server;
use kiln::fhir::json::Value;

use crate::harness::client::{Answer, Client};
use crate::harness::server::{TestServer, config};

fn ids(answer: &Answer) -> Vec<String> {
    let bundle = answer.json();
    let entries = bundle.items_at("entry").iter();
    let matches = entries.filter(|entry| {
        entry.get("search").and_then(|search| search.str_at("mode")) == Some("match")
    });
    matches
        .map(|entry| entry.get("resource").and_then(|it| it.str_at("id")).unwrap().to_owned())
        .collect()
}

fn link(answer: &Answer, relation: &str) -> Option<String> {
    let bundle = answer.json();
    let found = bundle.items_at("link").iter().find(|it| it.str_at("relation") == Some(relation));
    found.and_then(|it| it.str_at("url")).map(str::to_owned)
}

fn total(answer: &Answer) -> u64 {
    answer.at("total").unwrap().parse().unwrap()
}

fn value_set(id: &str) -> String {
    format!(
        r#"{{"resourceType":"ValueSet","id":"{id}","url":"http://example.org/{id}","status":"active",
        "name":"Own","publisher":"Own"}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn each_declared_operation_has_a_definition_that_can_be_read_and_is_valid() {
    let server = TestServer::start().await;
    let client = &server.client;
    let statement = client.get("/metadata").await.expect(200).json();
    let rest = &statement.items_at("rest")[0];
    let own = rest.items_at("resource").iter().flat_map(|it| it.items_at("operation"));
    let declared: BTreeSet<(&str, &str)> = own
        .chain(rest.items_at("operation"))
        .map(|it| (it.str_at("name").unwrap(), it.str_at("definition").unwrap()))
        .collect();
    assert!(declared.len() > 10, "{declared:?}");
    for (name, url) in declared {
        let found = client.get(&format!("/OperationDefinition?url={url}")).await.expect(200);
        assert_eq!(total(&found), 1, "{url}");
        let id = ids(&found).remove(0);
        let read = client.get(&format!("/OperationDefinition/{id}")).await.expect(200);
        assert_eq!(read.at("code").as_deref(), Some(name), "{url}");
        assert_eq!(read.at("url").as_deref(), Some(url));
        // Those of guides have their version at the end of their ids.
        let version = read.at("version").unwrap_or_default();
        let own = id.strip_suffix(&format!("-{version}")).unwrap_or(&id);
        assert!(url.ends_with(&format!("/OperationDefinition/{own}")), "{url} has the id {id}");
        let said = client.post("/OperationDefinition/$validate", read.text()).await.expect(200);
        let issues = said.json();
        let is_wrong =
            |issue: &&Value<'_>| matches!(issue.str_at("severity"), Some("error" | "fatal"));
        let wrong: Vec<_> = issues.items_at("issue").iter().filter(is_wrong).collect();
        assert!(wrong.is_empty(), "{url}: {wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_what_is_stored_first_and_every_definition_once() {
    let server = TestServer::start().await;
    let client = &server.client;
    let before = total(&client.get("/ValueSet?_total=accurate&_count=1").await.expect(200));
    assert!(before > 1_300, "{before}");
    for at in 0..5 {
        client
            .put(&format!("/ValueSet/own-{at}"), value_set(&format!("own-{at}")))
            .await
            .expect(201);
    }
    for (query, size, stored) in [
        ("", 100, 5),
        ("status=active&", 7, 5),
        // What is stored fills the first page.
        ("status=active&", 5, 5),
        ("publisher=Own&", 2, 5),
        // Nothing stored matches.
        ("publisher=HL7&", 100, 0),
    ] {
        let mut url = format!("/ValueSet?{query}_total=accurate&_count={size}");
        let first = client.get(&url).await.expect(200);
        let all = total(&first);
        let (mut seen, mut pages) = (Vec::new(), Vec::new());
        loop {
            let page = client.get(&url).await.expect(200);
            assert_eq!(total(&page), all, "{url}");
            seen.extend(ids(&page));
            pages.push(ids(&page));
            let Some(next) = link(&page, "next") else { break };
            assert_eq!(pages.last().unwrap().len(), size, "{url}");
            url = next;
        }
        assert_eq!(seen.len() as u64, all, "{query}");
        let own = seen.iter().take_while(|id| id.starts_with("own-")).count();
        assert_eq!(own, stored, "{query}: {:?}", &seen[..5]);
        assert!(pages.len() > 2, "{query}: {} pages", pages.len());
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "{query}");
        // Back from the last page to the first.
        let mut back = Vec::new();
        loop {
            let page = client.get(&url).await.expect(200);
            assert_eq!(total(&page), all, "{url}");
            back.push(ids(&page));
            let Some(previous) = link(&page, "previous") else { break };
            url = previous;
        }
        back.reverse();
        assert_eq!(back, pages, "{query}");
    }
    let after = client.get("/ValueSet?_summary=count").await.expect(200);
    assert_eq!(total(&after), before + 5);
    let none = client.get("/ValueSet?_total=none&publisher=HL7").await.expect(200);
    assert_eq!(none.at("total"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_a_page_of_definitions_cannot_be_made_up() {
    let server = TestServer::start().await;
    let client = &server.client;
    let first = client.get("/ValueSet?_count=10").await.expect(200);
    let next = link(&first, "next").unwrap();
    assert!(next.contains("_cursor=definitions."), "{next}");
    let second = client.get(&next).await.expect(200);
    assert_eq!(ids(&second).len(), 10);
    // A letter more, one that is changed, a made up place, and a link of another search.
    let (_, cursor) = next.split_once("_cursor=").unwrap();
    let last = if next.ends_with('A') { "B" } else { "A" };
    for url in [
        format!("{next}A"),
        format!("{}{last}", &next[..next.len() - 1]),
        "/ValueSet?_count=10&_cursor=definitions.20.1300.".to_owned(),
        "/ValueSet?_count=10&_cursor=definitions.".to_owned(),
        "/ValueSet?_count=10&_cursor=definitions.x.y".to_owned(),
        format!("/ValueSet?_count=20&_cursor={cursor}"),
        format!("/CodeSystem?_count=10&_cursor={cursor}"),
    ] {
        let refused = client.get(&url).await.expect(400);
        assert!(refused.text().contains("page link"), "{url}: {refused:?}");
    }
    client.get(&next).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_has_the_search_that_showed_definitions() {
    let server = TestServer::start().await;
    server.client.put("/ValueSet/own", value_set("own")).await.expect(201);
    let url = "/ValueSet?_id=own,administrative-gender";
    let transaction = r#"{"resourceType":"Bundle","type":"transaction","entry":[
        {"request":{"method":"GET","url":"ValueSet?_id=own,administrative-gender"}}]}"#;
    for (request, is_bundle) in [("alone", false), ("inside", true)] {
        let call = if is_bundle {
            server.client.call("POST", "/").json(transaction)
        } else {
            server.client.call("GET", url)
        };
        call.header("X-Request-Id", request).send().await.expect(200);
        let sql = format!(
            "SELECT count(*) FROM ledger WHERE request_id = '{request}' AND outcome = 0 \
             AND query LIKE '%ValueSet?_id=own,administrative-gender'"
        );
        assert_eq!(server.database.number(&sql).await, 1, "{request}");
    }
}

/// The warning of a searchset.
fn warning(answer: &Answer) -> Option<String> {
    let bundle = answer.json();
    let outcomes = bundle.items_at("entry").iter().filter_map(|entry| entry.get("resource"));
    let mut issues = outcomes.flat_map(|outcome| outcome.items_at("issue"));
    issues.next().and_then(|issue| issue.str_at("diagnostics")).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_told_of_definitions_is_said() {
    let server = TestServer::start().await;
    let client = &server.client;
    client.put("/ValueSet/own", value_set("own")).await.expect(201);
    for (query, has_warning) in [
        ("status=active&publisher=Own", false),
        ("_lastUpdated=gt2020", true),
        ("url=http://example.org/own&_lastUpdated=gt2020", false),
        ("name=Own&_sort=name", false),
        ("status=active&_sort=name", true),
    ] {
        let answer = client.get(&format!("/ValueSet?{query}")).await.expect(200);
        assert_eq!(ids(&answer)[0], "own", "{query}");
        assert_eq!(warning(&answer).is_some(), has_warning, "{query}: {:?}", warning(&answer));
        let strict = client.call("GET", &format!("/ValueSet?{query}"));
        let strict = strict.header("Prefer", "handling=strict").send().await;
        assert_eq!(ids(&strict)[0], "own", "{query}: the parameter is served: {strict:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_has_a_history_of_its_one_version() {
    let server = TestServer::start().await;
    let client = &server.client;
    let path = "/StructureDefinition/Patient/_history";
    let history = client.get(path).await.expect(200);
    assert_eq!(history.at("type").as_deref(), Some("history"));
    assert_eq!(total(&history), 1);
    for (element, expected) in [
        ("entry[0].resource.id", "Patient"),
        ("entry[0].resource.meta.versionId", "1"),
        ("entry[0].response.etag", "W/\"1\""),
    ] {
        assert_eq!(history.at(element).as_deref(), Some(expected), "{element}");
    }
    for (query, count, shown) in [
        ("_count=0", 1, 0),
        ("_since=2100-01-01T00:00:00Z", 0, 0),
        ("_since=2000-01-01T00:00:00Z", 1, 1),
        ("_at=2000", 0, 0),
        ("_at=2100", 1, 1),
    ] {
        let found = client.get(&format!("{path}?{query}")).await.expect(200);
        let entries = found.json().items_at("entry").len();
        assert_eq!((total(&found), entries), (count, shown), "{query}: {found:?}");
    }
    client.get(&format!("{path}?_cursor=x")).await.expect(400);
    client.get("/StructureDefinition/None/_history").await.expect(404);
    for kind in ["transaction", "batch"] {
        let bundle = format!(
            r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{{"request":
            {{"method":"GET","url":"ValueSet/administrative-gender/_history"}}}}]}}"#
        );
        let answer = client.post("/", bundle).await.expect(200);
        let shown = answer.at("entry[0].resource.entry[0].resource.id");
        assert_eq!(shown.as_deref(), Some("administrative-gender"), "{kind}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_across_types_finds_the_definitions_of_those_it_names() {
    let server = TestServer::start().await;
    let client = &server.client;
    let of_type = async |of: &str| total(&client.get(&format!("/{of}?_count=0")).await.expect(200));
    let (compartments, concepts) =
        (of_type("CompartmentDefinition").await, of_type("ConceptMap").await);
    let both = client.get("/?_type=ConceptMap,Patient,CompartmentDefinition&_count=7").await;
    let both = both.expect(200);
    assert_eq!(total(&both), compartments + concepts);
    let (mut found, mut page) = (ids(&both), both);
    while let Some(next) = link(&page, "next") {
        page = client.get(&next).await.expect(200);
        found.extend(ids(&page));
    }
    assert_eq!(found.len() as u64, compartments + concepts);
    let gender = "http://hl7.org/fhir/ValueSet/administrative-gender";
    for (query, expected) in [
        (format!("_type=StructureDefinition,ValueSet&url={gender}"), 1),
        (format!("_type=StructureDefinition&url={gender}"), 0),
        ("_type=CodeSystem,ValueSet&_id=administrative-gender".to_owned(), 2),
        ("_type=Patient,Observation".to_owned(), 0),
        // Without types it is about what is stored.
        ("_id=administrative-gender".to_owned(), 0),
    ] {
        let answer = client.get(&format!("/?{query}")).await.expect(200);
        assert_eq!((total(&answer), ids(&answer).len()), (expected, expected as usize), "{query}");
    }
}

async fn refused(client: &Client, method: &str, path: &str, body: &str) {
    let call = client.call(method, path);
    let call = match method {
        "PATCH" => call.header("Content-Type", "application/json-patch+json").body(body.to_owned()),
        "PUT" | "POST" => call.json(body.to_owned()),
        _ => call,
    };
    let answer = call.send().await;
    assert!(answer.text().contains("can only be read"), "{method} {path}: {answer:?}");
    if path != "/" {
        assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
        assert!(answer.text().contains("OperationOutcome"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_cannot_be_changed_in_any_way() {
    let server = TestServer::start().await;
    let client = &server.client;
    let path = "/ValueSet/administrative-gender";
    let before = client.get(path).await.expect(200);
    let body = value_set("administrative-gender");
    refused(client, "PUT", path, &body).await;
    refused(client, "PUT", "/ValueSet?url=http://example.org/none", &body).await;
    refused(client, "PATCH", path, r#"[{"op":"add","path":"/language","value":"en"}]"#).await;
    refused(client, "DELETE", path, "").await;
    for (method, resource) in [("PUT", Some(&body)), ("DELETE", None)] {
        let resource = resource.map(|it| format!(r#""resource":{it},"#)).unwrap_or_default();
        for kind in ["transaction", "batch"] {
            let bundle = format!(
                r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{{{resource}"request":
                {{"method":"{method}","url":"ValueSet/administrative-gender"}}}}]}}"#
            );
            refused(client, "POST", "/", &bundle).await;
        }
    }
    let after = client.get(path).await.expect(200);
    assert_eq!(before.text(), after.text());
    // What has the content of one is somebody's own.
    let created = client.post("/ValueSet", before.text()).await.expect(201);
    assert_ne!(created.id(), "administrative-gender");
    let url = "http://hl7.org/fhir/ValueSet/administrative-gender";
    let found = client.get(&format!("/ValueSet?url={url}")).await.expect(200);
    assert_eq!(ids(&found), [created.id(), "administrative-gender".to_owned()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_under_the_id_of_a_definition_stays_its_owners() {
    let before = TestServer::start_with(&[("definitions.readable", "false")]).await;
    let path = "/ValueSet/administrative-gender";
    before.client.get(path).await.expect(404);
    let own = value_set("administrative-gender");
    before.client.put(path, own.clone()).await.expect(201);
    let server = Server::start(config(&before.database, &[])).await;
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    let client = Client::new(server.address());
    let is_own = |answer: &Answer| answer.at("publisher").as_deref() == Some("Own");
    assert!(is_own(&client.get(path).await.expect(200)));
    assert!(is_own(&client.get(&format!("{path}/_history/1")).await.expect(200)));
    // It stands for the definition in searches too, whether it matches or not.
    let searches = ["/ValueSet?", "/?_type=ValueSet,CodeSystem&_count=5&"];
    let asked = async |query: &str| {
        let mut found = Vec::new();
        for search in searches {
            let answer = client.get(&format!("{search}{query}")).await.expect(200);
            let (bundle, total) = (answer.json(), total(&answer));
            let entries = bundle.items_at("entry").iter().filter_map(|it| it.get("resource"));
            let publishers = entries.filter_map(|it| it.str_at("publisher")).map(str::to_owned);
            found.push((total, publishers.collect::<Vec<_>>()));
        }
        found
    };
    let of_r4 = "url=http://hl7.org/fhir/ValueSet/administrative-gender";
    assert_eq!(asked(of_r4).await, vec![(0, vec![]); 2]);
    let by_id = client.get("/ValueSet?_id=administrative-gender").await.expect(200);
    assert_eq!((total(&by_id), ids(&by_id)), (1, vec!["administrative-gender".to_owned()]));
    let search = r#"{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"GET",
        "url":"ValueSet?_id=administrative-gender"}}]}"#;
    let entry = client.post("/", search).await.expect(200);
    assert_eq!(entry.at("entry[0].resource.total").as_deref(), Some("1"));
    client.put(path, own.replace("active", "draft")).await.expect(200);
    let change = r#"[{"op":"add","path":"/language","value":"en"}]"#;
    let call = client.call("PATCH", path).header("Content-Type", "application/json-patch+json");
    call.body(change).send().await.expect(200);
    client.delete(path).await.expect(204);
    // From then on there is the definition, and it cannot be changed.
    let read = client.get(path).await.expect(200);
    assert!(!is_own(&read));
    assert!(asked(of_r4).await.iter().all(|(total, _)| *total == 1));
    // What was stored has a history still.
    let history = client.get(&format!("{path}/_history")).await.expect(200);
    assert_eq!(total(&history), 4);
    client.put(path, own).await.expect(405);
    drop(client);
    server.stop().await;
    before.stop().await;
}
