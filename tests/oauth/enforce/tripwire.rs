//! The tripwire: what a defect in the store would show stays here.

use super::super::browser::noted;
use super::super::world::filled;
use crate::harness::grants::Token;

const ALERT: i16 = 51;

/// A row that says it is another patient's is what a defect in SQL would come down to: the store finds it,
/// the document speaks against it.
///
/// Covers: security E25.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_defect_would_show_is_withheld_and_on_record() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    own.get("/Observation/b-lab").await.expect(404);
    assert_eq!(noted(&server, ALERT, 8, "").await, 0);
    // Observations have a status; what else has these ids has none.
    let of_a = "(SELECT pats FROM res WHERE id = 'a-lab' AND body ? 'status')";
    let b = "id = 'b-lab' AND body ? 'status'";
    for statement in [
        format!("UPDATE comp SET pat = {of_a}[1] WHERE rid = (SELECT rid FROM res WHERE {b})"),
        format!("UPDATE res SET pats = {of_a} WHERE {b}"),
    ] {
        server.database.run(&statement).await;
    }
    let batch = r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Observation/b-lab"}},{"request":{"method":"GET","url":"Observation/a-vital"}}]}"#;
    let shown = [
        own.get("/Observation/b-lab").await,
        own.get("/Observation/b-lab/_history/1").await,
        own.get("/Observation/b-lab/_history").await,
        own.get("/Observation?code=k").await,
        own.get("/DiagnosticReport?_include=DiagnosticReport:result").await,
        own.post("/", batch).await,
    ];
    for answer in &shown[..5] {
        assert_eq!(answer.status, 500, "{answer:?}");
    }
    let last = shown[5].clone().expect(200);
    assert_eq!(
        last.at("entry[0].response.status").as_deref(),
        Some("500 Internal Server Error"),
        "{last:?}"
    );
    assert_eq!(last.at("entry[1].response.status").as_deref(), Some("200 OK"), "{last:?}");
    for answer in &shown {
        assert!(!answer.text().contains("b-visit"), "{answer:?}");
    }
    assert_eq!(noted(&server, ALERT, 8, "Observation/b-lab/_history/1").await, 6);
    server.stop().await;
}

/// Covers: security V1.
#[tokio::test(flavor = "multi_thread")]
async fn who_tries_many_ids_learns_nothing_and_is_noticed() {
    let server = filled().await;
    let (own, _stop) = Token::new(&server, "patient/*.rs").patient("a").client().await;
    let mut told = std::collections::BTreeSet::new();
    for number in 0..60 {
        let missing = format!("Observation/n{number}");
        for path in ["Observation/b-lab", "Binary/b-scan", &missing] {
            let answer = own.get(&format!("/{path}")).await.expect(404);
            told.insert(answer.text().replace(path, "?"));
        }
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(noted(&server, ALERT, 8, "many reads").await, 1);
    server.stop().await;
}
