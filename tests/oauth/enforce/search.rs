//! Searches: rows out of reach are absent, from pages, totals, chains and what comes along.

use crate::harness::grants::Token;
use crate::harness::server::TestServer;

use super::super::world::{OF_A, asked, body, entries, filled};

/// Covers: security E6, E10, E22, X3.
/// Covers: security E7.
/// Covers: security E8.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_what_is_within_reach_and_counts_no_more() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    let base = server.client.base();
    for (url, found) in [
        ("/Patient", "Patient/a"),
        ("/Patient?identifier=urn:n|7", ""),
        ("/Observation", "Observation/a-lab Observation/a-vital"),
        ("/Observation?_sort=-_lastUpdated", "Observation/a-lab Observation/a-vital"),
        ("/Observation?code=urn:c|k", "Observation/a-lab"),
        ("/Observation?patient=b", ""),
        ("/Observation?subject=Patient/a,Patient/b&code=k", "Observation/a-lab"),
        (&format!("/Observation?patient={base}/Patient/a&code=k"), "Observation/a-lab"),
        ("/Observation?focus=Patient/a", ""),
        ("/Observation?code:not=p", "Observation/a-lab"),
        ("/Observation?value-quantity=gt7", ""),
        ("/Patient/a/Observation", "Observation/a-lab Observation/a-vital"),
        ("/Patient/b/Observation", ""),
        ("/Patient/nothing/Observation", ""),
        ("/Appointment", "Appointment/a-alone Appointment/both"),
        ("/Device", "Device/a-pump Device/spare"),
        ("/Provenance", "Provenance/a-lab"),
        ("/Binary", "Binary/a-lab-scan Binary/a-scan"),
        ("/Bundle", "Bundle/a-letter"),
        ("/Practitioner", "Practitioner/doc"),
        ("/Observation?_filter=code eq k", "Observation/a-lab"),
    ] {
        let url = url.replace(' ', "%20");
        assert_eq!(asked(&own, &url).await.join(" "), found, "{url}");
        let sign = if url.contains('?') { '&' } else { '?' };
        let total = found.split_whitespace().count().to_string();
        for more in ["_summary=count", "_total=accurate", "_count=1&_total=accurate"] {
            let answer = own.get(&format!("{url}{sign}{more}")).await.expect(200);
            assert_eq!(answer.at("total").as_deref(), Some(&*total), "{url} {more}: {answer:?}");
        }
    }
    let all = asked(&own, "/?_type=Patient,Observation,Appointment,Group").await;
    assert_eq!(
        all,
        [
            "Appointment/a-alone",
            "Appointment/both",
            "Observation/a-lab",
            "Observation/a-vital",
            "Patient/a"
        ]
    );
    server.stop().await;
}

/// Covers: security E11, V5.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_along_is_within_reach_at_every_hop() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    for url in [
        "/DiagnosticReport?_include=DiagnosticReport:result",
        "/DiagnosticReport?_include=*&_revinclude=*",
        "/DiagnosticReport?_include=*&_include:iterate=*&_revinclude:iterate=*",
        "/Patient?_revinclude=Observation:focus",
        "/Patient?_revinclude=*&_sort=_id&_count=1",
        "/Patient?_include=Patient:link",
        "/Device?_include=Device:patient",
        "/Observation?_revinclude=Provenance:target",
    ] {
        let found = asked(&own, url).await;
        assert!(found.iter().all(|path| OF_A.contains(&path.as_str())), "{url}: {found:?}");
    }
    for (url, total) in [
        ("/DiagnosticReport?_include=*&_include:iterate=*&_revinclude=*", "1"),
        ("/Patient?_revinclude=Observation:focus", "1"),
        ("/Observation?_revinclude=Provenance:target&_count=1", "2"),
    ] {
        let answer = own.get(&format!("{url}&_total=accurate")).await.expect(200);
        assert_eq!(answer.at("total").as_deref(), Some(total), "{url}: {answer:?}");
    }
    let found = asked(&own, "/Observation?_id=a-lab&_revinclude=Provenance:target").await;
    assert_eq!(found, ["Observation/a-lab", "Provenance/a-lab"]);
    // Types without a scope are left out.
    let scopes = "patient/DiagnosticReport.rs patient/Patient.r";
    let (narrow, _stop) = Token::new(&server, scopes).patient("a").client().await;
    let url =
        "/DiagnosticReport?_include=DiagnosticReport:result&_include=DiagnosticReport:subject";
    assert_eq!(asked(&narrow, url).await, ["DiagnosticReport/a-report"]);
    server.stop().await;
}

/// What is out of reach takes no place of what is within, however much of it there is.
///
/// Covers: security E11.
#[tokio::test(flavor = "multi_thread")]
async fn more_out_of_reach_than_may_come_along_hides_nothing_within() {
    const HIDDEN: usize = 2_100;
    let server = TestServer::start_with(&[("validation.level", "off")]).await;
    server.client.put("/Patient/a", body("Patient/a", r#""active":true"#)).await.expect(201);
    let entry = |id: &str, category: &str, date: &str| {
        let content = format!(
            r#""status":"final","category":[{{"coding":[{{"system":"urn:cat","code":"{category}"}}]}}],"code":{{"text":"c"}},"subject":{{"reference":"Patient/a"}},"effectiveDateTime":"{date}""#
        );
        let resource = body(&format!("Observation/{id}"), &content);
        format!(
            r#"{{"resource":{resource},"request":{{"method":"PUT","url":"Observation/{id}"}}}}"#
        )
    };
    // Written before and of later dates: they come first in whatever order.
    let hidden = (0..HIDDEN).map(|n| entry(&format!("h{n}"), "vital-signs", "2020-01-01"));
    let within = (0..5).map(|n| entry(&format!("v{n}"), "laboratory", "2010-01-01"));
    let all: Vec<String> = hidden.chain(within).collect();
    for entries in all.chunks(700) {
        let list = entries.join(",");
        let bundle =
            format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{list}]}}"#);
        server.client.post("/", bundle).await.expect(200);
    }
    let hidden = (0..HIDDEN).map(|n| format!("h{n}"));
    let results = hidden.chain((0..5).map(|n| format!("v{n}")));
    let results: Vec<String> =
        results.map(|id| format!(r#"{{"reference":"Observation/{id}"}}"#)).collect();
    let report = format!(
        r#""status":"final","code":{{"text":"r"}},"subject":{{"reference":"Patient/a"}},"result":[{}]"#,
        results.join(",")
    );
    let path = "DiagnosticReport/all";
    server.client.put(&format!("/{path}"), body(path, &report)).await.expect(201);
    let scopes = "patient/Observation.rs?category=laboratory patient/DiagnosticReport.rs \
                  patient/Patient.rs";
    let (client, _stop) = Token::new(&server, scopes).patient("a").client().await;
    for (url, matched) in [
        ("/Patient?_id=a&_revinclude=Observation:patient", "Patient/a"),
        ("/DiagnosticReport?_include=DiagnosticReport:result", path),
    ] {
        let answer = client.get(url).await.expect(200);
        let mut expected: Vec<String> = (0..5).map(|n| format!("Observation/v{n}")).collect();
        expected.push(matched.to_owned());
        expected.sort_unstable();
        assert_eq!(entries(&answer), expected, "{url}");
        assert!(!answer.text().contains(r#""mode":"outcome""#), "{url}: everything came along");
    }
    server.stop().await;
}

/// Covers: security E12, V6, X4.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_by_way_of_a_type_that_is_not_granted() {
    let server = filled().await;
    let scopes = "patient/Patient.rs patient/DiagnosticReport.rs";
    let (client, _stop) = Token::new(&server, scopes).patient("a").client().await;
    for url in [
        "/Patient?_has:Observation:subject:code=k",
        "/Patient?_has:Observation:subject:value-quantity=gt4",
        "/Patient?_has:DiagnosticReport:subject:result.code=k",
        "/DiagnosticReport?result.code=k",
        "/DiagnosticReport?result:Observation.value-quantity=gt4",
    ] {
        client.get(url).await.expect(403);
    }
    assert_eq!(asked(&client, "/DiagnosticReport?subject:Patient.name=ada").await.len(), 1);
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    for url in [
        "/Patient?_has:Observation:focus:code=k",
        "/DiagnosticReport?result.value-quantity=gt7",
        "/Observation?subject:Patient.name=bob",
    ] {
        assert_eq!(asked(&own, url).await, [""; 0], "{url}");
    }
    server.stop().await;
}

/// Lists and words lead to what is within reach, and only for who may search Lists.
///
/// Covers: security E12.
#[tokio::test(flavor = "multi_thread")]
async fn lists_and_words_lead_to_nothing_that_is_out_of_reach() {
    let server = filled().await;
    let list = |subject: &str, items: &[&str]| {
        let items: Vec<String> =
            items.iter().map(|it| format!(r#"{{"item":{{"reference":"{it}"}}}}"#)).collect();
        format!(
            r#""status":"current","mode":"working","subject":{{"reference":"{subject}"}},"entry":[{}]"#,
            items.join(",")
        )
    };
    let told = |of: &str| {
        format!(
            r#""text":{{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">zebra</div>"}},"status":"final","code":{{"text":"giraffe"}},"subject":{{"reference":"Patient/{of}"}}"#
        )
    };
    for (path, content) in [
        ("List/own", list("Patient/a", &["Observation/a-lab"])),
        ("List/foreign", list("Patient/a", &["Observation/a-lab", "Observation/b-lab"])),
        ("List/theirs", list("Patient/b", &["Observation/a-lab"])),
        ("Observation/a-words", told("a")),
        ("Observation/b-words", told("b")),
    ] {
        server.client.put(&format!("/{path}"), body(path, &content)).await.expect(201);
    }
    assert_eq!(server.engine().words_caught_up().await, Some(true));
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    for (url, found) in [
        ("/Observation?_list=own", &["Observation/a-lab"][..]),
        ("/Observation?_list=foreign", &[]),
        ("/Observation?_list=theirs", &[]),
        ("/Observation?_list=missing", &[]),
        ("/Observation?_text=zebra", &["Observation/a-words"]),
        ("/Observation?_content=giraffe", &["Observation/a-words"]),
        ("/Observation?_content=giraffe&_sort=_score", &["Observation/a-words"]),
        ("/Observation?code:text-advanced=giraffe", &["Observation/a-words"]),
        ("/Observation?code:text=giraf", &["Observation/a-words"]),
    ] {
        let answer = own.get(url).await.expect(200);
        assert_eq!(entries(&answer), found, "{url}");
        let count = own.get(&format!("{url}&_summary=count")).await.expect(200);
        assert_eq!(count.at("total"), Some(found.len().to_string()), "{url}");
    }
    let (narrow, _stop) = Token::new(&server, "patient/Observation.rs").patient("a").client().await;
    narrow.get("/Observation?_list=own").await.expect(403);
    server.stop().await;
}

/// Criteria of a scope hold on every way.
///
/// Covers: security E5, L10.
#[tokio::test(flavor = "multi_thread")]
async fn criteria_of_a_scope_hold_wherever_a_resource_is_shown() {
    let server = filled().await;
    let scopes = "patient/Observation.rs?category=laboratory patient/DiagnosticReport.rs \
                  patient/Patient.rs patient/Encounter.rs";
    let (client, _stop) = Token::new(&server, scopes).patient("a").client().await;
    client.get("/Observation/a-lab").await.expect(200);
    client.get("/Observation/a-lab/_history/1").await.expect(200);
    client.get("/Observation/a-lab/_history").await.expect(200);
    for id in ["a-vital", "b-lab", "nothing"] {
        client.get(&format!("/Observation/{id}")).await.expect(404);
        client.get(&format!("/Observation/{id}/_history/1")).await.expect(404);
        client.get(&format!("/Observation/{id}/_history")).await.expect(404);
    }
    assert_eq!(asked(&client, "/Observation").await, ["Observation/a-lab"]);
    assert_eq!(asked(&client, "/Observation?code=p").await, [""; 0]);
    assert_eq!(asked(&client, "/Patient?_has:Observation:subject:code=p").await, [""; 0]);
    assert_eq!(asked(&client, "/Patient?_has:Observation:subject:code=k").await, ["Patient/a"]);
    let along = asked(&client, "/Patient?_revinclude=Observation:subject").await;
    assert_eq!(along, ["Observation/a-lab", "Patient/a"]);
    let count = client.get("/Observation?_summary=count").await.expect(200);
    assert_eq!(count.at("total").as_deref(), Some("1"));
    assert_eq!(
        entries(&client.get("/Observation/_history").await.expect(200)),
        ["Observation/a-lab"]
    );
    // An old version outside of the criteria is not shown with the new one.
    let changed = super::super::world::body(
        "Observation/a-vital",
        &super::super::world::STORED[8].1.replace("vital-signs", "laboratory"),
    );
    server.client.put("/Observation/a-vital", changed).await.expect(200);
    client.get("/Observation/a-vital").await.expect(200);
    client.get("/Observation/a-vital/_history/1").await.expect(404);
    let two = "patient/Observation.rs?category=laboratory patient/Observation.r?code=p";
    let (either, _stop) = Token::new(&server, two).patient("a").client().await;
    either.get("/Observation/a-vital/_history/1").await.expect(200);
    server.stop().await;
}

/// Covers: security E13, V7.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_link_is_of_no_use_to_others() {
    let server = filled().await;
    let (a, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    let (b, _stop) = Token::new(&server, "patient/*.rs").patient("b").client().await;
    let first = a.get("/Observation?_count=1").await.expect(200);
    let links = first.json();
    let next = links.items_at("link").iter().find(|link| link.str_at("relation") == Some("next"));
    let url = next.and_then(|link| link.str_at("url")).expect("a next page");
    let (_, cursor) = url.split_once("_cursor=").expect("a cursor");
    let url = format!("/Observation?_count=1&_cursor={cursor}");
    a.get(&url).await.expect(200);
    let refused = b.get(&url).await.expect(400);
    assert!(!refused.text().contains("a-lab"), "{refused:?}");
    server.stop().await;
}

/// Covers: security E14, V8, V11.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_judged_as_a_request_of_its_own() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/Observation.rs").patient("a").client().await;
    let get = |url: &str| format!(r#"{{"request":{{"method":"GET","url":"{url}"}}}}"#);
    let urls = ["Observation/a-lab", "Observation/b-lab", "Patient/a", "Observation?code=k"];
    let list = urls.map(get).join(",");
    let bundle =
        |kind: &str| format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{list}]}}"#);
    let answer = own.post("/", bundle("batch")).await.expect(200);
    let value = answer.json();
    let statuses: Vec<&str> = value
        .items_at("entry")
        .iter()
        .filter_map(|entry| entry.get("response")?.str_at("status"))
        .collect();
    let expected = ["200 OK", "404 Not Found", "403 Forbidden", "200 OK"];
    assert_eq!(statuses, expected, "{answer:?}");
    assert!(!answer.text().contains("Patient/b"), "{answer:?}");
    let refused = get("Patient/a");
    let whole = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{refused}]}}"#);
    own.post("/", whole).await.expect(403);
    own.post("/", bundle("transaction")).await.expect(404);
    // So are operations: what may not be changed, and what is not there for whoever may.
    let tagged = |id: &str| {
        format!(
            r#"{{"resource":{{"resourceType":"Parameters","parameter":[{{"name":"meta","valueMeta":{{"tag":[{{"system":"urn:t","code":"x"}}]}}}}]}},"request":{{"method":"POST","url":"Observation/{id}/$meta-add"}}}}"#
        )
    };
    let scopes = "patient/Observation.rus";
    let (changing, _stop) = Token::new(&server, scopes).patient("a").client().await;
    for (client, id, expected, whole) in [
        (&own, "a-lab", "403", 403),
        (&changing, "b-lab", "404", 404),
        (&changing, "a-lab", "200", 200),
    ] {
        let entry = tagged(id);
        let batch = format!(r#"{{"resourceType":"Bundle","type":"batch","entry":[{entry}]}}"#);
        let answer = client.post("/", batch.clone()).await.expect(200);
        let status = answer.at("entry[0].response.status").unwrap();
        assert!(status.starts_with(expected), "{id}: {answer:?}");
        let transaction = batch.replace("batch", "transaction");
        client.post("/", transaction).await.expect(whole);
    }
    let other = server.client.get("/Observation/b-lab").await.expect(200);
    assert!(!other.text().contains("urn:t"), "{other:?}");
    // Parameters of URL and body are all asked.
    let call = own.call("POST", "/Observation/_search?code=k");
    let call = call.header("Content-Type", "application/x-www-form-urlencoded");
    let both = call.body("subject=Patient/b").send().await.expect(200);
    assert_eq!(entries(&both), [""; 0]);
    server.stop().await;
}
