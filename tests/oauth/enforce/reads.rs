//! Reads, versions and histories: what is out of reach was never there.

use kiln::access::grant::GrantError;

use crate::harness::grants::Token;

use super::super::world::{OF_A, STORED, asked, body, filled};

/// Covers: security E4, X2.
/// Covers: security E7.
/// Covers: security E8, V1.
#[tokio::test(flavor = "multi_thread")]
async fn a_patient_reads_what_is_the_patients_alone() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    let missing = own.get("/Observation/nothing").await.expect(404);
    for (path, _) in STORED {
        let url = format!("/{path}");
        let is_own = OF_A.contains(path);
        let status = if path.starts_with("Group/") {
            403
        } else if is_own {
            200
        } else {
            404
        };
        let read = own.get(&url).await.expect(status);
        own.get(&format!("{url}/_history/1")).await.expect(status);
        own.get(&format!("{url}/_history")).await.expect(status);
        own.call("HEAD", &url).send().await.expect(status);
        if status == 404 {
            for header in ["etag", "location", "last-modified"] {
                assert_eq!(read.header(header), None, "{path}");
            }
            let plain = |text: String, name: &str| text.replace(name, "?");
            let same = plain(missing.text(), "Observation/nothing");
            assert_eq!(plain(read.text(), path), same, "{path}");
        }
    }
    server.stop().await;
}

/// By type and action alone.
///
/// Covers: security E3, X1.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_scope_covers_is_refused_whether_it_exists_or_not() {
    let server = filled().await;
    let (client, _stop) = Token::new(&server, "patient/Observation.r").patient("a").client().await;
    client.get("/Observation/a-lab").await.expect(200);
    let mut bodies = Vec::new();
    for id in ["a", "b", "nothing"] {
        let refused = client.get(&format!("/Patient/{id}")).await.expect(403);
        let challenge = refused.header("www-authenticate").unwrap_or_default();
        assert!(challenge.contains("insufficient_scope"), "{challenge}");
        bodies.push(refused.text());
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
    for url in ["/Observation", "/Observation?code=k", "/Observation/_history", "/_history"] {
        client.get(url).await.expect(403);
    }
    client.delete("/Observation/a-lab").await.expect(403);
    client.put("/Observation/a-lab", body("Observation/a-lab", STORED[7].1)).await.expect(403);
    let (searches, _stop) =
        Token::new(&server, "patient/Observation.s").patient("a").client().await;
    searches.get("/Observation/a-lab").await.expect(403);
    assert_eq!(asked(&searches, "/Observation?code=k").await, ["Observation/a-lab"]);
    server.stop().await;
}

/// Covers: security E2.
#[tokio::test(flavor = "multi_thread")]
async fn scopes_without_their_context_are_no_token() {
    let server = filled().await;
    for (scopes, expected) in [
        ("patient/*.rs", GrantError::NoPatient),
        ("user/*.rs", GrantError::NoUser),
        ("system/*.rs patient/Observation.r", GrantError::NoPatient),
    ] {
        let token = Token::new(&server, scopes);
        assert_eq!(token.try_principal().err(), Some(expected), "{scopes}");
    }
    server.stop().await;
}

/// A version is seen by who may see it and what is there now.
///
/// Covers: security E16, V10.
#[tokio::test(flavor = "multi_thread")]
async fn versions_of_another_patients_time_stay_that_patients() {
    let server = filled().await;
    let moved = STORED[9].1.replace("Patient/b\"},\"focus", "Patient/a\"},\"focus");
    server.client.put("/Observation/b-lab", body("Observation/b-lab", &moved)).await.expect(200);
    let (a, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    let (b, _stop) = Token::new(&server, "patient/*.cruds").patient("b").client().await;
    a.get("/Observation/b-lab").await.expect(200);
    a.get("/Observation/b-lab/_history/1").await.expect(404);
    a.get("/Observation/b-lab/_history/2").await.expect(200);
    let history = a.get("/Observation/b-lab/_history").await.expect(200);
    assert_eq!(history.at("total").as_deref(), Some("1"), "{history:?}");
    for url in
        ["/Observation/b-lab", "/Observation/b-lab/_history/1", "/Observation/b-lab/_history"]
    {
        b.get(url).await.expect(404);
    }
    let all = b.get("/Observation/_history").await.expect(200);
    assert!(!all.text().contains("b-lab"), "{all:?}");
    server.stop().await;
}

/// Deleted within reach is gone, beyond it was never there.
///
/// Covers: security E4.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_is_told_to_who_could_see_the_resource() {
    let server = filled().await;
    for path in ["/Observation/a-vital", "/Provenance/b-lab", "/Provenance/both-labs"] {
        server.client.delete(path).await.expect(204);
    }
    server.client.delete("/Observation/b-lab").await;
    let (a, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    let (b, _stop) = Token::new(&server, "patient/*.cruds").patient("b").client().await;
    a.get("/Observation/a-vital").await.expect(410);
    b.get("/Observation/a-vital").await.expect(404);
    a.get("/Observation/b-lab").await.expect(404);
    server.stop().await;
}

/// Covers: security E21.
#[tokio::test(flavor = "multi_thread")]
async fn who_one_is_may_be_read_without_a_scope_for_it() {
    let server = filled().await;
    let token = Token::new(&server, "patient/Observation.rs").patient("a");
    let token = token.user("Practitioner/doc", &["practitioner"]);
    let (plain, _stop) = token.client().await;
    plain.get("/Practitioner/doc").await.expect(403);
    let (knowing, _stop) = token.knowing_user().client().await;
    knowing.get("/Practitioner/doc").await.expect(200);
    knowing.get("/Practitioner/other").await.expect(404);
    knowing.get("/Practitioner").await.expect(403);
    server.stop().await;
}

/// Paths that only look like others.
///
/// Covers: security V12, V13.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_written_oddly_is_no_way_around() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    for url in [
        "/Patient/b",
        "//Patient/b",
        "/Patient//b",
        "/Patient/b/",
        "/Patient/%62",
        "/Patient/a/../b",
        "/Patient/a/%2e%2e/b",
        "/Patient/b;jsessionid=1",
        "/patient/b",
        "/Patient/a,b",
        "/Patient/b%2F_history",
        "/Patient/b?_format=json",
        "/Patient/b?patient=a",
    ] {
        let answer = own.get(url).await;
        assert!(matches!(answer.status, 400 | 404), "{url}: {answer:?}");
        assert!(!answer.text().contains("Bob"), "{url}: {answer:?}");
    }
    for header in ["X-HTTP-Method-Override", "X-Method-Override"] {
        own.call("GET", "/Observation/a-lab").header(header, "DELETE").send().await.expect(200);
    }
    own.get("/Observation/a-lab?_method=DELETE").await.expect(200);
    server.client.get("/Observation/a-lab").await.expect(200);
    server.stop().await;
}

/// Covers: security E24.
#[tokio::test(flavor = "multi_thread")]
async fn the_content_of_a_binary_is_reached_as_the_binary_is() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.cruds").patient("a").client().await;
    for (id, status) in [("a-scan", 200), ("a-lab-scan", 200), ("b-scan", 404), ("loose", 404)] {
        let call = own.call("GET", &format!("/Binary/{id}")).header("Accept", "text/plain");
        call.send().await.expect(status);
    }
    server.stop().await;
}
