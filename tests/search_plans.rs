//! The plans of the main searches: which index drives each, and that none reads a whole table.
//!
//! The server's connections plan each form of a statement once for all values, so the plan looked
//! at is that generic one, on statistics of some thousand resources.

use kiln::app::demo::Generator;
use kiln::fhir::json::Value;
use tokio_postgres::Client as Connection;

use crate::harness::client::Client;
use crate::harness::database::connect;
use crate::harness::server::TestServer;

/// Enough that reading a whole table costs more than an index does, also to the planner.
const PATIENTS: u64 = 40;
/// What no search may read from end to end.
const TABLES: &[&str] = &["comp", "dat", "ident", "num", "res", "srow", "str", "tok"];

/// A code that many Observations have.
const CODE: &str = "http://loinc.org%7C8302-2";

/// One shape.
struct Shape {
    name: &'static str,
    path: String,
    /// What the statement of the page walks, in the words of the explanation.
    walks: &'static str,
    /// The index that yields its rows.
    driver: &'static str,
    /// All others that it may use.
    beside: &'static [&'static str],
    is_in_order: bool,
}

/// What the shapes ask for: the values of one patient.
struct Values {
    patient: String,
    family: String,
    identifier: String,
    problem: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_main_search_is_driven_by_its_index() {
    let server = TestServer::start().await;
    let values = load(&server.client).await;
    // What autovacuum does sooner or later, without the wait.
    server.database.run("VACUUM ANALYZE").await;
    let plain = connect(&server.database.app).await;
    plain.batch_execute("SET plan_cache_mode = force_generic_plan; SET jit = off").await.unwrap();
    let mut wrong = Vec::new();
    for shape in walks_in_order(&values).into_iter().chain(found_first(&values)) {
        let (steps, statements) = explained(&server.client, &shape.path).await;
        let mut plans = Vec::new();
        for sql in &statements {
            plans.push(plan(&plain, sql).await);
        }
        wrong.extend(faults(&shape, &steps, &statements, &plans).into_iter().map(|fault| {
            let shown: Vec<String> = statements
                .iter()
                .zip(&plans)
                .map(|(sql, plan)| format!("{sql}\n{}", plan.join("\n")))
                .collect();
            format!("{}: {fault}\n{}\n{}", shape.name, steps.join("\n"), shown.join("\n"))
        }));
    }
    server.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Walks that end as soon as a page is full: nothing is sorted but the page.
fn walks_in_order(values: &Values) -> Vec<Shape> {
    let Values { patient, identifier, .. } = values;
    let (patients, unit) = ("resources of patients", "%7Chttp://unitsofmeasure.org%7Ccm");
    let shape = |name, path: String, walks, driver, beside| Shape {
        name,
        path,
        walks,
        driver,
        beside,
        is_in_order: true,
    };
    vec![
        shape("identifier", format!("Patient?identifier={identifier}"), "tokens", "tok_k", &[]),
        shape(
            "patient and category, sorted by date",
            format!("Observation?patient={patient}&category=vital-signs&_sort=-date"),
            patients,
            "comp_k",
            &["srow_pkey"],
        ),
        shape(
            "patient, code and date",
            format!("Observation?patient={patient}&code={CODE}&date=ge2015"),
            patients,
            "comp_k",
            &["srow_pkey"],
        ),
        shape("compartment", format!("Patient/{patient}/Observation"), patients, "comp_k", &[]),
        shape("a token", format!("Observation?code={CODE}&_sort=-date"), "tokens", "tok_k", &[]),
        shape(
            "two tokens",
            format!("Observation?code={CODE}&status=final&_sort=-date"),
            "tokens",
            "tok_k",
            &[],
        ),
        shape(
            "code and quantity, sorted by date",
            format!("Observation?code={CODE}&value-quantity=ge100{unit}&_sort=-date"),
            "tokens",
            "tok_k",
            &["num_r"],
        ),
        shape("count", format!("Observation?code={CODE}&_summary=count"), "tokens", "tok_k", &[]),
    ]
}

/// Keys that are found first, and then sorted.
fn found_first(values: &Values) -> Vec<Shape> {
    let Values { family, problem, .. } = values;
    let unit = "%7Chttp://unitsofmeasure.org%7Ccm";
    let shape = |name, path: String, walks, driver, beside| Shape {
        name,
        path,
        walks,
        driver,
        beside,
        is_in_order: false,
    };
    vec![
        shape("name", format!("Patient?name={family}"), "values", "str_v", &["srow_pkey"]),
        shape(
            "quantity",
            format!("Observation?value-quantity=ge100{unit}"),
            "values",
            "num_v",
            &["srow_pkey"],
        ),
        shape(
            "chain, selective",
            format!("Encounter?patient.family={family}&_sort=-date"),
            "references to targets found before",
            "str_v",
            &["srow_pkey", "tok_k"],
        ),
        shape(
            "_has, rare",
            format!("Patient?_has:Condition:patient:code={problem}"),
            "resources that others refer to",
            "tok_k",
            &["srow_idh", "srow_pkey"],
        ),
        shape(
            "time of change",
            "Observation?_lastUpdated=ge2020&_count=20&_sort=_lastUpdated".to_owned(),
            "",
            "res_type",
            &["srow_pkey"],
        ),
    ]
}

/// What is wrong with the plans of a shape; the last statement but those of a total is the page.
fn faults(
    shape: &Shape,
    steps: &[String],
    statements: &[String],
    plans: &[Vec<String>],
) -> Vec<String> {
    let mut wrong = Vec::new();
    for line in plans.iter().flatten() {
        let scanned = line.split_once("Seq Scan on ").map(|(_, rest)| rest);
        let table = scanned.and_then(|rest| rest.split(' ').next());
        if let Some(table) = table.filter(|table| TABLES.contains(table)) {
            wrong.push(format!("reads all of {table}"));
        }
    }
    if !steps.iter().any(|step| step.starts_with(&format!("walks {}", shape.walks))) {
        wrong.push(format!("does not walk {}", shape.walks));
    }
    let page = statements.iter().position(|sql| sql.contains("r.body"));
    let Some(plan) = plans.get(page.unwrap_or(plans.len().saturating_sub(1))) else {
        wrong.push("has no statement".to_owned());
        return wrong;
    };
    // The bodies are read last: what is below the list of keys finds them.
    let indexes: Vec<&str> = plan.iter().filter_map(|line| index(line)).collect();
    let (body, keys): (Vec<&str>, Vec<&str>) =
        indexes.iter().partition(|index| **index == "res_pkey");
    if keys.first() != Some(&shape.driver) {
        wrong.push(format!("is driven by {:?}, not by {}", keys.first(), shape.driver));
    }
    if let Some(other) =
        keys.iter().find(|index| **index != shape.driver && !shape.beside.contains(index))
    {
        wrong.push(format!("uses {other}"));
    }
    let is_sort = |line: &&String| line.contains("Sort Key: ") && !line.ends_with("Key: k.n");
    if let Some(line) = plan.iter().find(is_sort).filter(|_| shape.is_in_order) {
        wrong.push(format!("sorts more than the page: {}", line.trim()));
    }
    if page.is_some() && body.is_empty() {
        wrong.push("does not read the bodies by their key".to_owned());
    }
    wrong
}

/// The index that a line of a plan names.
fn index(line: &str) -> Option<&str> {
    let rest = line.split_once(" using ").or_else(|| line.split_once("Bitmap Index Scan on "))?.1;
    rest.split(' ').next()
}

/// The steps in words and the statements that the server tells of a search.
async fn explained(client: &Client, path: &str) -> (Vec<String>, Vec<String>) {
    let mark = if path.contains('?') { '&' } else { '?' };
    let answer = client.get(&format!("{path}{mark}_explain=true")).await.expect(200).json();
    let outcomes = answer.items_at("entry").iter().filter_map(|entry| entry.get("resource"));
    let issues = outcomes.flat_map(|resource| resource.items_at("issue"));
    let text = |issue: &Value<'static>| {
        let details = issue.get("details").and_then(|details| details.str_at("text"));
        details.or_else(|| issue.str_at("diagnostics")).unwrap_or_default().to_owned()
    };
    let (statements, steps): (Vec<_>, Vec<_>) =
        issues.map(text).partition(|text| text.contains(" rows expected, took "));
    assert!(!statements.is_empty(), "{path}: nothing was explained: {answer:?}");
    let sql = |text: &String| text.lines().next().unwrap_or_default().to_owned();
    (steps, statements.iter().map(sql).collect())
}

/// The plan of a statement for any values, as the server's connections use it.
async fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let done = connection.batch_execute(&format!("DEALLOCATE ALL; PREPARE asked AS {sql}")).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let count =
        "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'asked'";
    let row = connection.simple_query(count).await.unwrap();
    let number = row.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse::<usize>().ok(),
        _ => None,
    });
    let nulls = vec!["NULL"; number.unwrap()].join(", ");
    let arguments = if nulls.is_empty() { String::new() } else { format!("({nulls})") };
    let lines = connection.simple_query(&format!("EXPLAIN EXECUTE asked{arguments}")).await;
    let lines = lines.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    lines
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect()
}

/// Loads the demo patients; the values of the first one that has all.
async fn load(client: &Client) -> Values {
    let mut found = None;
    for bundle in Generator::new(1).bundles(PATIENTS) {
        client.post("", bundle.to_json()).await.expect(200);
        let resources = || {
            let entries = bundle.value.items_at("entry").iter();
            entries.filter_map(|entry| entry.get("resource"))
        };
        let of = |name: &str| resources().find(|it| it.str_at("resourceType") == Some(name));
        if let (None, Some(patient), Some(problem)) = (&found, of("Patient"), of("Condition")) {
            let coding = &problem.get("code").unwrap().items_at("coding")[0];
            let identifier = &patient.items_at("identifier")[0];
            let pair = |value: &Value<'static>, name| {
                format!("{}%7C{}", value.str_at("system").unwrap(), value.str_at(name).unwrap())
            };
            found = Some(Values {
                patient: patient.str_at("id").unwrap().to_owned(),
                family: patient.items_at("name")[0].str_at("family").unwrap().to_owned(),
                identifier: pair(identifier, "value"),
                problem: pair(coding, "code"),
            });
        }
    }
    found.unwrap()
}
