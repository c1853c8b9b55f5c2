//! The database's plans of the main forms of search: which index each part of them walks, and that none reads a
//! whole table.
//!
//! Two resources are written as a client would, then multiplied in the tables: plans depend on how
//! many rows there are, and on how they are spread.
//!
//! Covers: rest 4.106.

mod plan;

use std::fmt::Write as _;
use std::time::Duration;

use kiln::fhir::Instant;

use crate::harness::client::{Answer, Client};
use crate::harness::grants::Token;
use crate::harness::server::TestServer;
use plan::{Of, Statement, wrong};

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p1","active":true,"gender":"male",
    "name":[{"family":"Example","given":["Some"]}],"birthDate":"1950-01-01"}"#;

const OBSERVATION: &str = r#"{"resourceType":"Observation","id":"o1","status":"final",
    "code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},
    "subject":{"reference":"Patient/p1"},"effectiveDateTime":"2020-01-01T10:00:00Z",
    "valueQuantity":{"value":1.5,"unit":"mmol/L","system":"http://unitsofmeasure.org","code":"mmol/L"}}"#;

/// Which page of a search.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Page {
    /// The one before the second.
    Back,
    First,
    Next,
}

use Page::{Back, First, Next};

/// A search, the indexes that its page goes by, each named with its table, and what else its plan says. No other index
/// is walked for the same tables but one behind `?`.
const PAGES: &[(&str, Page, &[&str])] = &[
    ("Patient?identifier=urn:x|1", First, &[TOKENS]),
    ("Patient?identifier=1", First, &[TOKENS]),
    ("Observation?code=http://loinc.org|8480-6", First, &[TOKENS]),
    ("Observation?code=8480-6,1234-5", First, &[TOKENS]),
    // All codes of a system that most have, and of one that few have.
    ("Observation?code=http://loinc.org|", First, &["Index Scan using srow_type on srow"]),
    ("Observation?code=http://example.org/few|", First, &["Index Scan using tok_system on tok"]),
    // What lacks a code or a value is found by what it has instead.
    ("Patient?gender:not=male", First, &["using token_code_pkey on token_code", TOKENS]),
    ("Patient?birthdate:missing=true", First, &[TOKENS]),
    ("Observation?code=8480-6&status=final", First, &[TOKENS]),
    ("Observation?code=8480-6&date=2010-05&_sort=-date", First, &[TOKENS]),
    ("Observation?code=8480-6&value-quantity=gt150", First, &["Index Scan using num_r on num"]),
    // Ranges are looked for among ranges alone.
    ("Observation?value-quantity=gt199.8", First, &["using num_v on num", "using num_w on num"]),
    (
        "Observation?code-value-quantity=8480-6$gt199.8",
        First,
        &["using num_v on num", "?using num_w on num"],
    ),
    (
        "Observation?patient=Patient/p1&code=8480-6&_sort=-date",
        First,
        &["Index Only Scan using comp_k on comp"],
    ),
    ("Observation?date=2010-05", First, &["using srow_type on srow", "?using srow_long on srow"]),
    // What ends since a moment: the few long spans tell where a walk ends.
    (
        "Observation?date=ge2019-12-31",
        First,
        &["?using srow_type on srow", "using srow_long on srow", "(s >= LEAST("],
    ),
    (
        "Observation?code=8480-6&date=gt2019-12-31&_sort=-date",
        First,
        &["using tok_k on tok", "using srow_long on srow", "(s >= LEAST("],
    ),
    ("Observation?_sort=date", First, &["using srow_type on srow"]),
    ("Observation?_sort=-_lastUpdated", First, &["using res_type on res"]),
    ("Observation?subject:Patient.name=abc", First, &["using str_v on str"]),
    ("Patient?name=abc", First, &["using str_v on str"]),
    ("Patient?birthdate=1975-05", First, &["using dat_lo on dat", "?using dat_hi on dat"]),
    ("Patient?birthdate=ge1977-05-01", First, &["using dat_hi on dat", "?using dat_lo on dat"]),
    (
        "Patient?_has:Observation:patient:value-quantity=gt199.9",
        First,
        &["using num_v on num", "?using num_w on num"],
    ),
    ("Patient?_id=p1", First, &["using srow_idh on srow"]),
    ("?_type=Patient,Observation", First, &["using srow_type on srow"]),
    // What many have is asked of each row in order, row by row.
    ("Observation?code=8480-6&value-quantity=ge10", First, &["Index Scan using num_r on num"]),
    ("Observation?value-quantity=ge10", First, &["using srow_type on srow"]),
    // What some thousand have is a set that the rows of the walk are looked up in.
    (
        "Observation?value-quantity=gt190",
        First,
        &["using srow_type on srow", "using num_v on num", "?using num_w on num", "hashed SubPlan"],
    ),
    ("Observation?subject:Patient.gender=male", First, &["using srow_type on srow"]),
    ("Patient?_has:Observation:patient:value-quantity=ge10", First, &["using comp_k on comp"]),
    // One of the two is what all have: the other tells nothing.
    ("Observation?_filter=code eq 8480-6 or status eq final", First, &[TOKENS]),
    // The first of an order come from the index that has it.
    ("Patient?_sort=family,birthdate", First, &["using str_v on str"]),
    ("Patient?_sort=-birthdate", First, &["using dat_lo on dat"]),
    ("Observation?_sort=value-quantity", First, &["using num_v on num", "?using num_w on num"]),
    ("Observation?_sort=-value-quantity", First, &["?using num_v on num", "using num_w on num"]),
    ("Observation?_sort=-date,_id", First, &["using srow_type on srow"]),
    ("Observation?_sort=-_lastUpdated,value-quantity", First, &["using res_type on res"]),
    // The newest of each code of the first key, where those are few.
    (
        "Observation?_sort=status,-date",
        First,
        &[
            "using token_code_pkey on token_code",
            "?using token_code_given_up on token_code",
            TOKENS,
        ],
    ),
    // The later keys are looked up for what the first lets onto the page.
    ("Observation?code=8480-6&_sort=status,value-quantity", First, &["CTE Scan on h c"]),
    // From a link on as from the beginning, and back: no page walks what is before it.
    ("Observation?_sort=-_lastUpdated", Next, &["using res_type on res"]),
    ("Observation?_sort=-_lastUpdated", Back, &["using res_type on res"]),
    ("Observation?code=8480-6&_sort=-date", Next, &[TOKENS]),
    ("Observation?code=8480-6&_sort=-date", Back, &["using tok_k on tok"]),
    ("Observation?_sort=date", Next, &["using srow_type on srow"]),
    ("Observation?_sort=date", Back, &["using srow_type on srow"]),
    ("Observation?_sort=_id", Next, &["using ident_pkey on ident"]),
    ("Observation?_sort=value-quantity", Next, &["using num_v on num", "?using num_w on num"]),
    ("Patient?_sort=family,birthdate", Next, &["using str_v on str"]),
];

const TOKENS: &str = "Index Only Scan using tok_k on tok";

/// A search, which of its other statements is meant, and the indexes that this goes by.
const OTHERS: &[(&str, Of, &[&str])] = &[
    ("Observation?code=8480-6&_summary=count", Of::Count, &[TOKENS]),
    ("Observation?code=8480-6&status=final&_summary=count", Of::Count, &[TOKENS]),
    ("Patient?_summary=count", Of::Count, &["using srow_type on srow"]),
    ("Patient?name=abc&_summary=count", Of::Count, &["using str_v on str"]),
    ("Observation?status=final&_total=accurate", Of::Count, &[TOKENS]),
    (
        "Observation?patient=Patient/p1&_summary=count",
        Of::Count,
        &["Index Only Scan using comp_k on comp"],
    ),
    (
        "Observation?code=8480-6&_include=Observation:subject",
        Of::Along,
        &["using srow_idh on srow"],
    ),
    ("Patient?_id=p1&_revinclude=Observation:subject", Of::Along, &["using tok_k on tok"]),
];

/// Asks for a page of a search and how it was found.
async fn explained(client: &Client, search: &str, page: Page) -> Answer {
    let is_counted = search.contains("_total=") || search.contains("_summary=");
    let total = if is_counted { "" } else { "&_total=none" };
    let url = format!("{search}&_explain=true&_count=20{total}");
    let first = client.get(&url.replace(' ', "%20")).await.expect(200);
    let link = |page: &Answer, relation: &str| {
        let link = page.at(&format!("link[relation={relation}].url"));
        link.unwrap_or_else(|| panic!("{search}: no {relation}"))
    };
    match page {
        First => first,
        Next => client.get(&link(&first, "next")).await.expect(200),
        Back => {
            let second = client.get(&link(&first, "next")).await.expect(200);
            client.get(&link(&second, "previous")).await.expect(200)
        }
    }
}

/// What is wrong with a part of an answer; nowhere is a whole table read.
fn faults(answer: &Answer, of: Of, expected: &[&str]) -> String {
    let statements = Statement::all(answer);
    let mut told = String::new();
    for statement in &statements {
        if statement.plan.contains("Seq Scan") {
            let _ = writeln!(told, "a table is read:\n{}\n{}", statement.sql, statement.plan);
        }
    }
    let meant: Vec<&Statement> = statements.iter().filter(|it| it.of == Some(of)).collect();
    let scans: Vec<_> = meant.iter().flat_map(|it| it.scans()).collect();
    let (indexes, words): (Vec<&str>, Vec<&str>) =
        expected.iter().copied().partition(|one| one.contains(" on ") && one.contains("using "));
    let mut wrong = wrong(&scans, &indexes);
    let says = |word: &&&str| meant.iter().any(|it| it.plan.contains(**word));
    wrong.extend(words.iter().filter(|it| !says(it)).map(|it| format!("it does not say {it}")));
    if !wrong.is_empty() {
        let plans: Vec<_> = meant.iter().map(|it| format!("{}\n{}", it.sql, it.plan)).collect();
        let _ = writeln!(told, "{of:?}: {}\n{}", wrong.join("; "), plans.join("\n"));
    }
    told
}

/// A server with many rows.
async fn filled() -> TestServer {
    let server = TestServer::start().await;
    server.client.put("Patient/p1", PATIENT).await.expect(201);
    let few = OBSERVATION.replace("o1", "o2").replace("http://loinc.org", "http://example.org/few");
    server.client.put("Observation/o1", OBSERVATION).await.expect(201);
    server.database.run(include_str!("fill.sql")).await;
    server.client.put("Observation/o2", few).await.expect(201);
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_form_of_search_reads_a_whole_table() {
    let server = filled().await;
    let mut wrong = String::new();
    for (search, page, expected) in PAGES {
        let answer = explained(&server.client, search, *page).await;
        let told = faults(&answer, Of::Page, expected);
        if !told.is_empty() {
            let _ = writeln!(wrong, "{search} ({page:?}): {told}");
        }
    }
    for (search, of, expected) in OTHERS {
        let answer = explained(&server.client, search, First).await;
        let told = faults(&answer, *of, expected);
        if !told.is_empty() {
            let _ = writeln!(wrong, "{search}: {told}");
        }
    }
    // What changed of late is walked in that order, however few they are.
    let since = "SELECT (extract(epoch FROM now() - interval '30 min') * 1000000)::bigint";
    let since = Instant::from_micros(server.database.number(since).await);
    let changed = format!("Observation?_lastUpdated=ge{since}&_sort=_lastUpdated");
    let answer = explained(&server.client, &changed, First).await;
    wrong += &faults(&answer, Of::Page, &["using res_type on res"]);
    let words = "by time of change, in their order, until a page is full";
    assert!(answer.text().contains(words), "{changed}: {answer:?}");
    server.stop().await;
    assert!(wrong.is_empty(), "{wrong}");
}

/// Plans are for who sees all. What somebody with one patient in context asks for costs as much as that patient has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_of_one_patient_is_found_without_what_is_of_others() {
    const ROUNDS: usize = 3;
    const TABLES: &str = "('comp', 'dat', 'ident', 'num', 'res', 'srow', 'str', 'tok')";
    let server = filled().await;
    let (client, _stop) = Token::new(&server, "patient/*.rs").patient("p1").client().await;
    let read = format!(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables WHERE relname IN {TABLES}"
    );
    let walked = format!(
        "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE relname IN {TABLES}"
    );
    let whole =
        format!("SELECT sum(seq_scan)::bigint FROM pg_stat_user_tables WHERE relname IN {TABLES}");
    let members = "SELECT idx_scan::bigint FROM pg_stat_user_indexes WHERE indexrelname = 'comp_k'";
    let mut before = Vec::new();
    for query in [&*whole, &walked, &read, members] {
        before.push(server.database.number(query).await);
    }
    let searches = [
        "Observation?_sort=-date",
        "Observation?code=8480-6",
        "Observation?code=http://loinc.org|8480-6&_sort=-date&_include=Observation:subject",
        "Observation?status=final&_summary=count",
        "Observation?subject:Patient.gender=male",
        "Patient?_revinclude=Observation:patient",
    ];
    for _ in 0..ROUNDS {
        for search in searches {
            let found = client.get(&format!("{search}&_count=20")).await.expect(200);
            assert_ne!(found.at("total").as_deref(), Some("0"), "{search}: {found:?}");
        }
        // A connection tells of what it did after a second at the soonest, when it does something again.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    let mut since = Vec::new();
    for (query, before) in [&*whole, &walked, &read, members].iter().zip(before) {
        since.push(server.database.number(query).await - before);
    }
    let [whole, walked, read, members] = since[..] else { panic!("{since:?}") };
    assert_eq!(whole, 0, "whole tables are read");
    assert!(members > 0, "nothing is found by whose it is");
    // 20,000 are of others: if one of the searches went through them, it would read as many in each round.
    let all = (walked + read) / ROUNDS as i64;
    println!("{all} rows a round of {} searches", searches.len());
    assert!(all < 10_000, "{all} rows of indexes and tables are read in each round");
    server.stop().await;
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
