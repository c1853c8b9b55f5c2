//! The invariants of ARCHITECTURE.md, read off the source; and for each a planted violation.
//!
//! `Source` drops comments and the unit tests at a file's foot, so a rule speaks of shipped code.

mod rules;
mod source;
mod sql;

use std::collections::BTreeSet;

use source::{Source, files};

/// A rule: from sources to what breaks it.
type Rule = fn(&[Source]) -> BTreeSet<String>;

/// Files (path, text) that each break a rule.
type Planted = &'static [(&'static str, &'static str)];

/// Rules about the server, with a file (path, text) that breaks each.
const RULES: &[(&str, Rule, Planted)] = &[
    (
        "a module imports only what the layer table allows",
        rules::layers,
        &[
            ("src/http/read.rs", "use crate::store::Store;"),
            ("src/http/read.rs", "use crate::{error::Error, store::{Store, Sizes}};"),
            ("src/fhir/id.rs", "fn f() { crate::error::Error::Forbidden; }"),
            ("src/fhir/json/mod.rs", "use super::super::engine::Engine;"),
            ("src/helpers/mod.rs", "fn f() {}"),
            ("src/main.rs", "use kiln::store::Store;"),
        ],
    ),
    (
        "a library is named by its owner only",
        rules::ownership,
        &[
            ("src/engine/read.rs", "use axum::Router;"),
            ("src/http/mod.rs", "fn f() -> sqlx::Result<()> { Ok(()) }"),
            ("src/fhir/json/mod.rs", "use quick_xml::Reader;"),
            ("src/app/serve.rs", "use tokio_postgres as pg;"),
            ("src/validate/form.rs", "use fhirbolt::FhirRelease;"),
            ("src/store/mod.rs", "use clap::Parser;"),
        ],
    ),
    (
        "pure modules do no input, output or waiting",
        rules::purity,
        &[
            ("src/fhir/codec/mod.rs", "pub async fn read() {}"),
            ("src/spec/package.rs", "fn f() { std::fs::read(\"x\").ok(); }"),
            ("src/validate/form.rs", "use tokio::sync::Mutex;"),
            ("src/fhirpath/eval.rs", "use std::env;"),
        ],
    ),
    (
        "SQL over FHIR data stands in the store's data files only",
        rules::data_sql,
        &[
            ("src/store/maintenance.rs", "const Q: &str = \"SELECT body FROM res\";"),
            ("src/app/mod.rs", "const Q: &str = \"SELECT 1 FROM hist WHERE true\";"),
            ("src/store/ledger.rs", "const Q: &str = \"SELECT 1 FROM ident i\n JOIN res r\";"),
        ],
    ),
    (
        "a read of FHIR data takes a Permit and gives Unaudited data",
        rules::permits,
        &[
            ("src/store/resource.rs", "pub async fn current(&self) -> Result<Unaudited<V>, E> {}"),
            ("src/store/history.rs", "pub async fn history(&self, p: &Permit<'_>) -> V {}"),
        ],
    ),
    (
        "permits, principals, time, ids and the environment come from one place",
        rules::reserved,
        &[
            ("src/engine/read.rs", "fn f() { let permit = Permit { interaction }; }"),
            ("src/engine/read.rs", "fn f() { Permit::decide(interaction, caller); }"),
            ("src/engine/read.rs", "fn f() { Principal::service(\"x\"); }"),
            ("src/engine/search/mod.rs", "fn f() { draft.take_row(); }"),
            ("src/store/mod.rs", "fn f() { Principal::open(); }"),
            ("src/app/mod.rs", "fn f() { std::env::var(\"HOME\"); }"),
            ("src/store/write.rs", "fn f() { Uuid::now_v7(); }"),
            ("src/engine/read.rs", "fn f() { store::maintenance::is_empty(); }"),
            ("src/store/meta.rs", "fn f(sql: String) { sqlx::query(sqlx::AssertSqlSafe(sql)); }"),
        ],
    ),
    (
        "statements are put together by few",
        sql::made,
        &[
            (
                "src/store/grant.rs",
                "fn f(i: i64) -> String { format!(\"SELECT a FROM b WHERE c = {i}\") }",
            ),
            ("src/http/read.rs", "fn f(a: &str) { write!(out, r#\"DROP TABLE {a}\"#).ok(); }"),
            (
                "src/store/meta.rs",
                "fn f(a: &str) -> String { format!(\n    \"UPDATE {a} \\\n     SET b\") }",
            ),
        ],
    ),
    (
        "nothing that somebody sent stands between quotes of a statement",
        sql::quoted,
        &[
            ("src/store/search/string.rs", "fn f(v: &str) -> String { format!(\"t.v = '{v}'\") }"),
            ("src/store/search/order.rs", "fn f(n: &str) -> String { format!(\"k->'{}'\", n) }"),
            ("src/store/search/token.rs", "fn f(n: &str) -> String { format!(\"'a' ~ '{n}'\") }"),
        ],
    ),
];

/// Covers: security H8.
#[test]
fn the_server_keeps_its_invariants() {
    let sources = files("src");
    assert!(sources.len() > 30, "only {} files found", sources.len());
    let broken: Vec<_> = RULES
        .iter()
        .map(|(name, rule, _)| (name, rule(&sources)))
        .filter(|(_, broken)| !broken.is_empty())
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
    assert_eq!(rules::stale_rows(&sources), BTreeSet::new(), "rows without a module");
}

#[test]
fn files_functions_and_folders_keep_their_bounds() {
    for folder in ["src", "tests", "benches", "fuzz", "conformance"] {
        if std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).is_dir() {
            let broken = rules::sizes(&files(folder));
            assert!(broken.is_empty(), "{broken:#?}");
        }
    }
}

#[test]
fn every_rule_turns_red_on_a_planted_violation() {
    for (name, rule, violations) in RULES {
        for (path, text) in *violations {
            let planted = Source::new(path, text);
            assert!(!rule(&[planted]).is_empty(), "{name}: {path}: {text}");
            let commented = Source::new(path, &format!("// {}", text.replace('\n', " ")));
            let broken = rule(&[commented]);
            let only_the_name = broken.iter().all(|line| line.contains("layer table"));
            assert!(only_the_name, "{name}: {path}: a comment broke it: {broken:?}");
        }
    }
}

#[test]
fn outgrown_files_functions_and_folders_turn_red() {
    let long_file = "// a line\n".repeat(501);
    let long_function = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(61));
    for text in [&long_file, &long_function] {
        assert!(!rules::sizes(&[Source::new("src/a.rs", text)]).is_empty());
    }
    let crowd: Vec<_> = (0..26).map(|n| Source::new(&format!("src/a/f{n}.rs"), "")).collect();
    assert!(!rules::sizes(&crowd).is_empty());
    let fit = format!("{}fn f() {{\n{}}}\n", "// a line\n".repeat(400), "    g();\n".repeat(60));
    assert_eq!(rules::sizes(&[Source::new("src/a.rs", &fit)]), BTreeSet::new());
}

#[test]
fn unit_tests_at_the_foot_are_not_shipped_code() {
    let text = "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n";
    assert_eq!(rules::purity(&[Source::new("src/fhir/a.rs", text)]), BTreeSet::new());
    let file = Source::new("src/spec/tests.rs", "fn f() { std::fs::read(\"x\").ok(); }");
    assert_eq!(rules::purity(&[file]), BTreeSet::new());
}
