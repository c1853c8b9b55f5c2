//! The rules of ARCHITECTURE.md as functions from sources to what breaks them.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// Each module with the modules it may import, in layer order.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("fhir", &[]),
    ("ucum", &[]),
    ("error", &["fhir"]),
    ("clock", &["fhir"]),
    ("fhirpath", &["clock", "error", "fhir", "ucum"]),
    ("spec", &["error", "fhir", "fhirpath"]),
    ("validate", &["error", "fhir", "fhirpath", "spec"]),
    ("search", &["error", "fhir", "fhirpath", "spec", "ucum"]),
    ("terminology", &["error", "fhir", "spec", "ucum"]),
    ("fulltext", &["error", "fhir", "search"]),
    ("access", &["clock", "error", "fhir", "search", "spec"]),
    ("audit", &["access", "error", "fhir", "search"]),
    (
        "store",
        &[
            "access", "audit", "clock", "config", "error", "fhir", "fhirpath", "outbound",
            "search", "spec", "validate",
        ],
    ),
    (
        "engine",
        &[
            "access",
            "audit",
            "clock",
            "config",
            "error",
            "fhir",
            "fhirpath",
            "fulltext",
            "outbound",
            "search",
            "spec",
            "store",
            "terminology",
            "validate",
        ],
    ),
    ("hl7v2", &["access", "clock", "config", "engine", "error", "fhir", "spec", "store", "ucum"]),
    ("outbound", &["config"]),
    ("oauth", &["access", "clock", "config", "error", "fhir", "outbound", "spec", "store"]),
    (
        "http",
        &[
            "access", "clock", "config", "engine", "error", "fhir", "fhirpath", "hl7v2", "oauth",
            "search", "spec", "validate",
        ],
    ),
    (
        "app",
        &[
            "access",
            "audit",
            "clock",
            "config",
            "engine",
            "error",
            "fhir",
            "fhirpath",
            "fulltext",
            "hl7v2",
            "http",
            "oauth",
            "outbound",
            "search",
            "spec",
            "store",
            "terminology",
            "ucum",
            "validate",
        ],
    ),
    ("lib", &[]),
    ("main", &["app"]),
];

/// Libraries that only some modules may name.
const OWNED: &[(&str, &[&str])] = &[
    ("argon2", &["oauth"]),
    ("axum", &["http"]),
    ("clap", &["app"]),
    ("deadpool_postgres", &["store"]),
    ("encoding_rs", &["hl7v2::charset"]),
    ("figment", &["config"]),
    ("hl7_parser", &["app::v2"]),
    ("indicatif", &["app"]),
    ("metrics_exporter_prometheus", &["app"]),
    ("oauth2", &["oauth"]),
    ("openidconnect", &["oauth"]),
    ("opentelemetry", &["app"]),
    ("opentelemetry_otlp", &["app"]),
    ("opentelemetry_sdk", &["app"]),
    ("quick_xml", &["fhir::codec"]),
    ("regex", &["fhirpath", "terminology"]),
    ("ring", &["app::conformance", "audit", "http", "oauth", "outbound", "store"]),
    ("rsa", &["oauth"]),
    ("rustix", &["app", "clock"]),
    ("rustls", &["app::conformance", "http", "outbound", "store"]),
    ("sqlx", &["store"]),
    ("tantivy", &["fulltext"]),
    ("tokio_postgres", &["store"]),
    ("tokio_postgres_rustls", &["store"]),
    ("tokio_rustls", &["app::conformance", "http", "outbound"]),
    ("toml", &["access"]),
    ("toml_edit", &["hl7v2::map", "hl7v2::tables"]),
    ("tower", &["app", "http"]),
    ("tower_http", &["http"]),
    ("tracing_opentelemetry", &["app"]),
    ("tracing_subscriber", &["app"]),
    ("fhirbolt", &[]),
    ("jsonschema", &[]),
];

/// Modules that compute only: no I/O, nothing asynchronous.
const PURE: &[&str] = &[
    "audit",
    "fhir",
    "fhirpath",
    "hl7v2::ack",
    "hl7v2::charset",
    "hl7v2::dtm",
    "hl7v2::effect",
    "hl7v2::er7",
    "hl7v2::map",
    "hl7v2::tables",
    "hl7v2::types",
    "search",
    "spec",
    "terminology",
    "ucum",
    "validate",
];

const IMPURE: &[&str] =
    &["async", "await", "tokio", "std::fs", "std::net", "std::env", "std::process", "std::thread"];

/// Where the tables of FHIR data may be named in SQL.
const DATA_SQL: &[&str] = &[
    "store::events",
    "store::history",
    "store::hl7v2::look",
    "store::maintenance::contents",
    "store::maintenance::index",
    "store::maintenance::patients",
    "store::maintenance::search_parameters",
    "store::maintenance::sweep",
    "store::meta",
    "store::policy",
    "store::resource",
    "store::search",
    "store::write",
];

/// Expressions with the only modules that may hold them.
const RESERVED: &[(&str, &[&str])] = &[
    ("AssertSqlSafe(", &["store::tenant"]),
    ("Permit {", &["access::permit"]),
    ("Permit::decide(", &["access::gate"]),
    ("Principal {", &["access::principal"]),
    ("Principal::from_grant(", &["oauth"]),
    ("Principal::open(", &["app", "http"]),
    ("Principal::service(", &["app"]),
    ("claim_messages(", &["hl7v2::queue", "store::hl7v2"]),
    ("take_row(", &["access::unaudited", "store::hl7v2", "store::resource", "store::search"]),
    ("env::var(", &["config"]),
    ("env::var_os(", &["config"]),
    ("env::vars(", &["config"]),
    ("Uuid::new_v4(", &["clock"]),
    ("Uuid::now_v7(", &["clock"]),
    ("Timestamp::now(", &["clock"]),
    ("SystemTime::now(", &["clock"]),
    ("Zoned::now(", &["clock"]),
    ("maintenance::", &["app", "store"]),
];

/// Longest file, longest function body in lines of code, most files in a folder.
const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 60;
const FOLDER_FILES: usize = 25;

/// Imports that the layer table does not allow, and modules that are not in it.
pub(crate) fn layers(sources: &[Source]) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    for source in sources {
        let top = source.top();
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == top) else {
            broken.insert(format!("{}: module {top} is not in the layer table", source.path));
            continue;
        };
        for target in targets(source) {
            if target != top && !allowed.contains(&target.as_str()) && is_module(&target) {
                broken.insert(format!("{}: {top} -> {target}", source.path));
            }
        }
    }
    broken
}

/// Rows of the layer table that no file belongs to.
pub(crate) fn stale_rows(sources: &[Source]) -> BTreeSet<String> {
    let used: BTreeSet<_> = sources.iter().map(Source::top).collect();
    MAY_IMPORT
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !used.contains(name))
        .map(str::to_owned)
        .collect()
}

/// The module names (lower case); a re-exported type at the crate's root is not one.
fn is_module(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
}

/// First names of all paths that begin at the crate's root, however they are written.
fn targets(source: &Source) -> Vec<String> {
    let code = source.code.join(" ");
    let to_root = "super::".repeat(source.module.len());
    let mut roots = vec!["crate::", "kiln::"];
    if !to_root.is_empty() {
        roots.push(&to_root);
    }
    let mut found = Vec::new();
    for root in roots {
        for at in occurrences(&code, root) {
            if root.starts_with("super") && code[..at].ends_with("super::") {
                continue;
            }
            names_after(&code[at + root.len()..], &mut found);
        }
    }
    found
}

/// The names at the start of `rest`: one, or those of a `{a::b, c}` group.
fn names_after(rest: &str, found: &mut Vec<String>) {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        found.push(name(rest));
        return;
    };
    let mut depth = 0;
    let mut start = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.push(name(&group[start..at]));
                return;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(name(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Positions where `word` begins and no longer name contains that beginning.
fn occurrences(text: &str, word: &str) -> Vec<usize> {
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        .collect()
}

/// Whether `word` is in `line`, and no name of which it is a part.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    occurrences(line, word)
        .iter()
        .any(|at| !line[at + word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Libraries named outside the module that owns them.
pub(crate) fn ownership(sources: &[Source]) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    for source in sources {
        for (library, owners) in OWNED {
            let path = format!("{library}::");
            let import = format!("use {library}");
            let named = |line: &String| {
                !occurrences(line, &path).is_empty() && !line.contains(&format!("::{path}"))
                    || has_word(line, &import)
            };
            if source.code.iter().any(named) && !owners.iter().any(|owner| source.is_in(owner)) {
                broken.insert(format!("{}: names {library}", source.path));
            }
        }
    }
    broken
}

/// Input, output and asynchronous code where only computing is allowed.
pub(crate) fn purity(sources: &[Source]) -> BTreeSet<String> {
    let pure = sources.iter().filter(|source| PURE.iter().any(|path| source.is_in(path)));
    pure.flat_map(|source| {
        let words =
            IMPURE.iter().filter(|word| source.code.iter().any(|line| has_word(line, word)));
        words.map(|word| format!("{}: {word}", source.path))
    })
    .collect()
}

/// SQL that reaches FHIR data outside the files where it stands beside the permit.
pub(crate) fn data_sql(sources: &[Source]) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    for source in sources.iter().filter(|source| !DATA_SQL.iter().any(|path| source.is_in(path))) {
        let text = source.statements.join(" ");
        for verb in ["FROM", "JOIN", "INTO", "UPDATE", "TABLE", "ONLY"] {
            for table in ["res", "hist"] {
                if has_word(&text, &format!("{verb} {table}")) {
                    broken.insert(format!("{}: {verb} {table}", source.path));
                }
            }
        }
    }
    broken
}

/// Public reads of FHIR data that ask for no permit or give unaudited data away.
pub(crate) fn permits(sources: &[Source]) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    let reads = [
        "store::everything",
        "store::history",
        "store::hl7v2::look",
        "store::meta",
        "store::resource",
        "store::search",
    ];
    for source in sources.iter().filter(|source| reads.iter().any(|path| source.is_in(path))) {
        let code = source.code.join(" ");
        for at in occurrences(&code, "pub async fn ") {
            let signature = code[at..].split('{').next().unwrap_or_default();
            let name = signature["pub async fn ".len()..].split(['(', '<']).next().unwrap_or("");
            if !signature.contains("Permit") {
                broken.insert(format!("{}: {name} takes no Permit", source.path));
            }
            if signature.contains("(&self") && !signature.contains("Unaudited<") {
                broken.insert(format!("{}: {name} does not return Unaudited", source.path));
            }
        }
    }
    broken
}

/// Expressions outside the one place that may hold them.
pub(crate) fn reserved(sources: &[Source]) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    for source in sources {
        for (expression, places) in RESERVED {
            let holds = |line: &String| {
                occurrences(line, expression).iter().any(|at| !is_item(&line[..*at]))
            };
            if source.code.iter().any(holds) && !places.iter().any(|place| source.is_in(place)) {
                broken.insert(format!("{}: {expression}", source.path));
            }
        }
    }
    broken
}

/// Whether what follows is a declaration or a type: `struct X {`, `impl X {`, `-> X {`.
fn is_item(before: &str) -> bool {
    let before = before.trim_end();
    ["struct", "impl", "for", "->", ">"].iter().any(|word| before.ends_with(word))
}

/// Files, functions and folders that outgrew their bounds.
pub(crate) fn sizes(sources: &[Source]) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    let mut folders = BTreeMap::<&str, usize>::new();
    for source in sources {
        let lines = source.text.lines().count();
        if lines > FILE_LINES {
            broken.insert(format!("{}: {lines} lines", source.path));
        }
        for (name, lines) in functions(&source.code) {
            if lines > FUNCTION_LINES {
                broken.insert(format!("{}: fn {name} has {lines} lines", source.path));
            }
        }
        *folders
            .entry(source.path.rsplit_once('/').map_or("", |(folder, _)| folder))
            .or_default() += 1;
    }
    for (folder, count) in folders {
        if count > FOLDER_FILES {
            broken.insert(format!("{folder}: {count} files"));
        }
    }
    broken
}

/// Names of the functions with the lines of code of their bodies.
fn functions(code: &[String]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (start, line) in code.iter().enumerate() {
        let Some(at) = occurrences(line, "fn ").into_iter().next() else { continue };
        let name: String =
            line[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() {
            continue;
        }
        let (mut depth, mut body, mut opened) = (0_i32, 0_usize, false);
        for line in &code[start..] {
            for character in line.chars() {
                match character {
                    '{' => (depth, opened) = (depth + 1, true),
                    '}' => depth -= 1,
                    _ => {}
                }
            }
            if opened && !line.trim().is_empty() {
                body += 1;
            }
            if opened && depth <= 0 || !opened && line.trim_end().ends_with(';') {
                break;
            }
        }
        found.push((name, body.saturating_sub(2)));
    }
    found
}
