//! The database's plans of the main forms of search: which index each walks, and that none reads a
//! whole table.
//!
//! Two resources are written as a client would, then multiplied in the tables: plans depend on how
//! many rows there are, and on how they are spread.
//!
//! Covers: rest 4.106.

use std::fmt::Write as _;
use std::time::Duration;

use kiln::fhir::Instant;

use crate::harness::server::TestServer;

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p1","active":true,"gender":"male",
    "name":[{"family":"Example","given":["Some"]}],"birthDate":"1950-01-01"}"#;

const OBSERVATION: &str = r#"{"resourceType":"Observation","id":"o1","status":"final",
    "code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},
    "subject":{"reference":"Patient/p1"},"effectiveDateTime":"2020-01-01T10:00:00Z",
    "valueQuantity":{"value":1.5,"unit":"mmol/L","system":"http://unitsofmeasure.org","code":"mmol/L"}}"#;

/// A search, and the index that its page goes by.
const PLANS: &[(&str, &str)] = &[
    ("Observation?code=http://loinc.org|8480-6", "Index Only Scan using tok_k on tok"),
    ("Observation?code=8480-6,1234-5", "Index Only Scan using tok_k on tok"),
    // All codes of a system that most have, and of one that few have.
    ("Observation?code=http://loinc.org|", "Index Scan using srow_type on srow"),
    ("Observation?code=http://example.org/few|", "Index Scan using tok_system on tok"),
    // What lacks a code or a value is found by what it has instead.
    ("Patient?gender:not=male", "using token_code_pkey on token_code"),
    ("Patient?gender:not=male", "Index Only Scan using tok_k on tok"),
    ("Patient?birthdate:missing=true", "Index Only Scan using tok_k on tok"),
    ("Observation?code=8480-6&status=final", "Index Only Scan using tok_k on tok"),
    ("Observation?code=8480-6&date=2010-05&_sort=-date", "Index Only Scan using tok_k on tok"),
    ("Observation?code=8480-6&value-quantity=gt150", "Index Scan using num_r on num"),
    ("Observation?value-quantity=gt199.8", "using num_v on num"),
    // Ranges are looked for among ranges alone.
    ("Observation?value-quantity=gt199.8", "using num_w on num"),
    ("Observation?code-value-quantity=8480-6$gt199.8", "using num_v on num"),
    (
        "Observation?patient=Patient/p1&code=8480-6&_sort=-date",
        "Index Only Scan using comp_k on comp",
    ),
    ("Observation?date=2010-05", "using srow_type on srow"),
    // What ends since a moment: the few long spans tell where a walk ends.
    ("Observation?date=ge2019-12-31", "using srow_long on srow"),
    ("Observation?code=8480-6&date=gt2019-12-31&_sort=-date", "using srow_long on srow"),
    ("Observation?date=ge2019-12-31", "(s >= LEAST("),
    ("Observation?code=8480-6&date=gt2019-12-31&_sort=-date", "(s >= LEAST("),
    ("Observation?_sort=date", "using srow_type on srow"),
    ("Observation?_sort=-_lastUpdated", "using res_type on res"),
    ("Observation?subject:Patient.name=abc", "using str_v on str"),
    ("Patient?name=abc", "using str_v on str"),
    ("Patient?birthdate=1975-05", "using dat_lo on dat"),
    ("Patient?birthdate=ge1977-05-01", "using dat_hi on dat"),
    ("Patient?_has:Observation:patient:value-quantity=gt199.9", "using num_v on num"),
    ("Patient?_id=p1", "using srow_idh on srow"),
    ("?_type=Patient,Observation", "using srow_type on srow"),
    // What many have is asked of each row in order, row by row.
    ("Observation?code=8480-6&value-quantity=ge10", "Index Scan using num_r on num"),
    ("Observation?value-quantity=ge10", "using srow_type on srow"),
    // What some thousand have is a set that the rows of the walk are looked up in.
    ("Observation?value-quantity=gt190", "using srow_type on srow"),
    ("Observation?value-quantity=gt190", "using num_v on num"),
    ("Observation?value-quantity=gt190", "hashed SubPlan"),
    ("Observation?subject:Patient.gender=male", "using srow_type on srow"),
    ("Patient?_has:Observation:patient:value-quantity=ge10", "using comp_k on comp"),
    ("Observation?_filter=code eq 8480-6 or status eq final", "Index Only Scan using tok_k on tok"),
    // The first of an order come from the index that has it.
    ("Patient?_sort=family,birthdate", "using str_v on str"),
    ("Patient?_sort=-birthdate", "using dat_lo on dat"),
    ("Observation?_sort=value-quantity", "using num_v on num"),
    ("Observation?_sort=-value-quantity", "using num_w on num"),
    ("Observation?_sort=-date,_id", "using srow_type on srow"),
    ("Observation?_sort=-_lastUpdated,value-quantity", "using res_type on res"),
    // The newest of each code of the first key, where those are few.
    ("Observation?_sort=status,-date", "using token_code_pkey on token_code"),
    ("Observation?_sort=status,-date", "Index Only Scan using tok_k on tok"),
    // The later keys are looked up for what the first lets onto the page.
    ("Observation?code=8480-6&_sort=status,value-quantity", "CTE Scan on h c"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_form_of_search_reads_a_whole_table() {
    let server = TestServer::start().await;
    server.client.put("Patient/p1", PATIENT).await.expect(201);
    let few = OBSERVATION.replace("o1", "o2").replace("http://loinc.org", "http://example.org/few");
    server.client.put("Observation/o1", OBSERVATION).await.expect(201);
    server.database.run(include_str!("fill.sql")).await;
    server.client.put("Observation/o2", few).await.expect(201);
    let mut wrong = String::new();
    // What changed of late is walked in that order, however few they are.
    let since = "SELECT (extract(epoch FROM now() - interval '30 min') * 1000000)::bigint";
    let since = Instant::from_micros(server.database.number(since).await);
    let changed = format!("Observation?_lastUpdated=ge{since}&_sort=_lastUpdated");
    let of_changes = [
        (changed.as_str(), "using res_type on res"),
        (changed.as_str(), "by time of change, in their order, until a page is full"),
    ];
    for (search, index) in PLANS.iter().chain(&of_changes) {
        let separator = if search.ends_with('?') { "" } else { "&" };
        let url = format!("{search}{separator}_explain=true&_count=20&_total=none");
        let answer = server.client.get(&url.replace(' ', "%20")).await.expect(200);
        let text = answer.text().replace("\\n", "\n");
        if !text.contains(index) || text.contains("Seq Scan") {
            let _ = writeln!(wrong, "{search}: {index}\n{text}\n");
        }
    }
    server.stop().await;
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_on_a_new_server_read_no_whole_table() {
    const SCANS: &str = "SELECT sum(seq_scan)::bigint FROM pg_stat_user_tables \
         WHERE relname IN ('comp', 'tok', 'num', 'dat', 'str')";
    let server = TestServer::start().await;
    // What is small when a statement is planned is read through, unless indexes are all there is.
    server.client.put("Patient/few", PATIENT.replace("p1", "few")).await.expect(201);
    server.database.run("ANALYZE").await;
    for round in 0..4 {
        let patient = PATIENT
            .replace("1950", &format!("195{round}"))
            .replace("Example", &format!("E{round}"));
        let observation = OBSERVATION.replace("2020-01", &format!("2020-0{}", round + 1));
        let observation = observation.replace("1.5", &format!("{round}.5"));
        let expected = if round == 0 { 201 } else { 200 };
        server.client.put("Patient/p1", patient).await.expect(expected);
        server.client.put("Observation/o1", observation).await.expect(expected);
        // A connection tells of what it did after a second at the soonest, when it does something again.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    assert_eq!(server.database.number(SCANS).await, 0);
    server.stop().await;
}
