//! Every static statement of the store is one that the database can prepare, the one that frees messages finds
//! each by its id, the functions of indexes are cheap to write by, and the database keeps no statistics of columns
//! that no statement compares.

use std::collections::BTreeSet;

use kiln::app::postgres::Private;
use kiln::config::Config;
use kiln::fhir::ResourceType;
use kiln::fhir::schema::{Schema, TypeId};
use kiln::spec::Spec;
use kiln::store::{Address, Tenant, migrate, statements};

use crate::harness::database::{Database, connect, temporary};

/// Of tables that grow, what no statement compares, joins, orders or groups by.
const UNCOMPARED: &[(&str, &[&str])] = &[
    ("export_part", &["data"]),
    ("hist", &["id", "meta", "body"]),
    (
        "ledger_row",
        &[
            "request_id",
            "request",
            "source",
            "method",
            "query",
            "failure",
            "entities",
            "subject",
            "token_id",
        ],
    ),
    ("res", &["meta", "body"]),
    ("seal_rows", &["ids", "leaves"]),
    ("srow", &["keys"]),
    ("v2_effect", &["action", "map_rule"]),
    ("v2_issue", &["severity", "segment", "text"]),
    (
        "v2_message",
        &[
            "peer",
            "tls_subject",
            "raw",
            "sha256",
            "map_hash",
            "charset",
            "send_app",
            "send_fac",
            "structure",
            "version",
            "processing",
            "ack_code",
            "ack",
            "reason",
        ],
    ),
];

/// Functions of indexes that each statement which adds rows reads anew: those in SQL. They are to be of one
/// expression, which takes the place of the call.
const IN_SQL: &str = "SELECT p.proname::text FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang \
     WHERE p.pronamespace = current_schema()::regnamespace AND l.lanname = 'sql' \
       AND EXISTS (SELECT FROM pg_index i WHERE concat(pg_get_expr(i.indexprs, i.indrelid), \
         pg_get_expr(i.indpred, i.indrelid)) LIKE '%' || p.proname || '(%') ORDER BY 1";

/// All tables, each with the one that it is a partition of, or itself.
const TABLES: &str = "SELECT c.relname::text, coalesce(w.relname, c.relname)::text FROM pg_class c \
     LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class w ON w.oid = i.inhparent \
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')";

/// All columns without statistics, and those with finer ones than others.
const TARGETS: &str = "SELECT c.relname::text, a.attname::text, a.attstattarget::int \
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') \
       AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget >= 0";

#[tokio::test]
async fn the_database_prepares_every_statement() {
    let folder = temporary("sql");
    let flags = [("data_dir".to_owned(), folder.display().to_string())];
    let config = Config::load(None, &flags).expect("settings");
    let private = tokio::task::spawn_blocking(move || Private::start(&config));
    let private = private.await.expect("runs").expect("PostgreSQL starts");
    migrate(&Address::new(private.owner_url()).of(Tenant::ONLY)).await.expect("migrates");
    let connected = tokio_postgres::connect(&private.app_url(), tokio_postgres::NoTls).await;
    let (client, connection) = connected.expect("connects");
    let driver = tokio::spawn(connection);
    let mut count = 0;
    for sql in statements() {
        if let Err(error) = client.prepare(sql).await {
            panic!("{sql}\n{error:?}");
        }
        count += 1;
    }
    assert!(count >= 14, "only {count} statements");
    drop(client);
    let _ = driver.await;
    drop(private);
    std::fs::remove_dir_all(folder).expect("cleans up");
}

#[tokio::test]
async fn there_are_statistics_of_exactly_what_statements_compare() {
    let database = Database::migrated().await;
    let client = connect(&database.app).await;
    let tables = |rows: Vec<tokio_postgres::Row>| -> Vec<(String, String)> {
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    };
    let before = tables(client.query(TABLES, &[]).await.expect("tables"));
    // Months that the server makes while it runs, not the migration.
    let later = "SELECT kiln_make_partitions(CURRENT_DATE + 200)";
    let made: i32 = client.query_one(later, &[]).await.expect("partitions").get(0);
    let after = tables(client.query(TABLES, &[]).await.expect("tables"));
    assert_eq!(after.len(), before.len() + usize::try_from(made).expect("a number"));
    for whole in ["hist", "ledger_row", "seal_rows", "v2_message"] {
        let count = |all: &[(String, String)]| all.iter().filter(|(_, of)| of == whole).count();
        // Itself and the default one, which were there before the migration, and three months.
        assert!(count(&before) >= 5, "{whole}: {before:?}");
        assert_eq!(count(&after), count(&before) + 3, "{whole}: {after:?}");
    }
    let mut expected = BTreeSet::from([("tok".to_owned(), "h".to_owned(), 2_000)]);
    for (whole, columns) in UNCOMPARED {
        for (table, _) in after.iter().filter(|(_, of)| of == whole) {
            expected.extend(columns.iter().map(|it| (table.clone(), (*it).to_owned(), 0)));
        }
    }
    let rows = client.query(TARGETS, &[]).await.expect("targets");
    let found: BTreeSet<(String, String, i32)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    let beyond: Vec<_> = found.difference(&expected).collect();
    assert!(missing.is_empty() && beyond.is_empty(), "missing {missing:?}, beyond {beyond:?}");
}

#[tokio::test]
async fn blocked_messages_that_are_remembered_are_found_by_their_ids() {
    let database = Database::migrated().await;
    let client = connect(&database.app).await;
    // As the connections of the queue have it (store::connection, store::tenant).
    let settings = "SET enable_seqscan = off; SET enable_memoize = off; SET jit = off; \
         SET plan_cache_mode = force_generic_plan";
    client.batch_execute(settings).await.expect("settings");
    let is_free = |sql: &&str| sql.contains("free AS MATERIALIZED") && sql.contains("looked AS");
    let found: Vec<&str> = statements().filter(is_free).collect();
    let [free] = found[..] else { panic!("{found:?}") };
    client.batch_execute(&format!("PREPARE free AS {free}")).await.expect("prepares");
    let explain = "EXPLAIN EXECUTE free (NULL, NULL, NULL)";
    let lines: Vec<String> = client
        .simple_query(explain)
        .await
        .expect("explains")
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect();
    let step = |name: &str| lines.iter().position(|line| line.trim() == name).expect("a step");
    let part = lines[step("CTE free")..step("CTE freed")].join("\n");
    assert!(
        part.contains("using v2_open_pkey on v2_open o") || part.contains("on v2_open_pkey"),
        "{part}"
    );
    assert!(!part.contains("v2_open_blocked"), "{part}");
}

#[tokio::test]
async fn the_functions_of_indexes_cost_a_write_little_and_say_what_is_attached() {
    let database = Database::migrated().await;
    let client = connect(&database.app).await;
    let rows = client.query(IN_SQL, &[]).await.expect("functions");
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["kiln_moment", "kiln_time"]);
    let attached = "SELECT kiln_attached($1::smallint, $2::text::jsonb)";
    for (of, body, expected) in [
        ("DocumentReference", r#"{"status": "current"}"#, &[][..]),
        (
            "DocumentReference",
            r#"{"content": [{"attachment": {"url": "Binary/a"}}]}"#,
            &["Binary/a"],
        ),
        (
            "DocumentReference",
            r#"{"content": [{"attachment": {"url": "Binary/a/_history/2"}}, {"format": {}},
                {"attachment": {"url": "http://example.org/fhir/Binary/b"}}]}"#,
            &["Binary/a", "example.org/fhir/Binary/b"],
        ),
        (
            "DiagnosticReport",
            r#"{"presentedForm": [{"url": "Binary/c"}, {"url": "http://example.org/d.pdf"}]}"#,
            &["Binary/c"],
        ),
        ("Media", r#"{"content": {"url": "Binary/e#x"}}"#, &["Binary/e"]),
        ("Media", r#"{"content": {"data": "AA=="}}"#, &[]),
        ("List", r#"{"entry": [{"item": {"reference": "Binary/f"}}]}"#, &["Binary/f"]),
        (
            "Composition",
            r#"{"section": [{"section": [{"entry": [{"reference": "Binary/g"}]}],
                "entry": [{"reference": "Binary/h"}]}]}"#,
            &["Binary/g", "Binary/h"],
        ),
        ("DocumentManifest", r#"{"content": [{"reference": "Binary/i"}]}"#, &["Binary/i"]),
        ("CatalogEntry", r#"{"referencedItem": {"reference": "Binary/j"}}"#, &["Binary/j"]),
        (
            "Contract",
            r#"{"legallyBindingReference": {"reference": "Binary/k"},
                "rule": [{"contentReference": {"reference": "Binary/l"}}]}"#,
            &["Binary/k", "Binary/l"],
        ),
        (
            "Claim",
            r#"{"supportingInfo": [{"valueReference": {"reference": "Binary/m"}}]}"#,
            &["Binary/m"],
        ),
        (
            "QuestionnaireResponse",
            r#"{"item": [{"item": [{"answer": [
                {"valueReference": {"reference": "Binary/n"}}]}]}]}"#,
            &["Binary/n"],
        ),
        ("Task", r#"{"output": [{"valueReference": {"reference": "Binary/o"}}]}"#, &["Binary/o"]),
        ("Observation", r#"{"content": {"url": "Binary/e"}}"#, &[]),
    ] {
        let of: ResourceType = of.parse().expect(of);
        let row = client.query_one(attached, &[&of.code(), &body]).await.expect(body);
        assert_eq!(row.get::<_, Vec<String>>(0), expected, "{of}: {body}");
    }
}

/// What says whose a Binary is by an Attachment does so wherever a resource may have one, but for samples of
/// values in definitions.
///
/// Covers: security E8.
#[tokio::test]
async fn every_attachment_of_the_definitions_is_in_the_index() {
    let database = Database::migrated().await;
    let client = connect(&database.app).await;
    let spec = Spec::r4().expect("the definitions");
    let mut count = 0;
    for of in ResourceType::all().filter(|of| !SAMPLES.contains(&of.as_str())) {
        let whole = spec.schema.by_name(of.as_str()).expect("a type");
        let mut walk = Walk { schema: &spec.schema, path: Vec::new(), found: Vec::new() };
        walk.follow(whole, &mut vec![whole]);
        for body in &walk.found {
            let attached = "SELECT kiln_attached($1::smallint, $2::text::jsonb)";
            let row = client.query_one(attached, &[&of.code(), body]).await.expect(body);
            assert_eq!(row.get::<_, Vec<String>>(0), ["Binary/x"], "{of}: {body}");
            count += 1;
        }
    }
    assert!(count > 50, "{count} places");
}

/// The types that have an Attachment as a sample alone.
const SAMPLES: [&str; 2] = ["StructureDefinition", "StructureMap"];

/// Looks for Attachments in the elements of a type.
struct Walk<'s> {
    schema: &'s Schema,
    path: Vec<(&'s str, bool)>,
    /// For each a resource with it alone.
    found: Vec<String>,
}

impl Walk<'_> {
    fn follow(&mut self, at: TypeId, above: &mut Vec<TypeId>) {
        let schema = self.schema;
        let inherited = ["contained", "extension", "meta", "modifierExtension", "text"];
        for field in schema.get(at).fields.iter().filter(|it| !inherited.contains(&&*it.name)) {
            for of in &field.types {
                self.path.push((&of.key, field.is_array()));
                let def = schema.get(of.type_id);
                if &*def.name == "Attachment" {
                    self.found.push(self.sample());
                } else if !def.is_abstract
                    && above.iter().filter(|it| **it == of.type_id).count() < 2
                {
                    above.push(of.type_id);
                    self.follow(of.type_id, above);
                    above.pop();
                }
                self.path.pop();
            }
        }
    }

    fn sample(&self) -> String {
        let attachment = r#"{"url":"Binary/x"}"#.to_owned();
        self.path.iter().rev().fold(attachment, |inner, (key, is_array)| {
            if *is_array {
                format!(r#"{{"{key}":[{inner}]}}"#)
            } else {
                format!(r#"{{"{key}":{inner}}}"#)
            }
        })
    }
}
