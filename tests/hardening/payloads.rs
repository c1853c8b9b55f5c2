//! Texts that end a value, a statement or a comment in some database, and the values of searches that hold them.

use std::fmt::Write as _;

/// Conditions that hold always, for whoever reads them as SQL: what they find is too much.
pub(super) const TAUTOLOGIES: &[&str] = &[
    "' OR '1'='1",
    "') OR ('1'='1",
    "' OR 1=1--",
    "1 OR 1=1",
    "')) OR 1=1 --",
    "\\' OR 1=1 --",
    "%' OR '%'='",
    "' OR true OR '",
];

/// One of each kind, behind the tautologies.
const OTHERS: &[&str] = &[
    // Quotes: one, two, escaped for another database, of another alphabet, and escaped once more.
    "'",
    "''",
    "\"",
    "\\'",
    "\u{2019} OR \u{2018}1\u{2019}=\u{2018}1",
    "\u{ff07} OR 1=1--",
    "%27 OR 1=1--",
    // Quoting by dollars, and places of bound values.
    "$$; SELECT 1; $$",
    "$q$ OR $q$",
    "$1::text",
    // Stacked statements.
    "'; SELECT pg_sleep(3); --",
    "'; DROP TABLE res CASCADE; --",
    "1; UPDATE res SET body = '{}'; COMMIT",
    "'); DELETE FROM hist; --",
    "'; COPY res TO PROGRAM 'id'; --",
    // Comments, in which the rest of a statement is lost.
    "--",
    "/**/'/**/OR/**/1=1/*",
    "*/ OR 1=1 /*",
    "# ' OR 1=1",
    // What is read beside, and errors that tell.
    "' UNION SELECT NULL, version()--",
    "'||(SELECT current_user)||'",
    "' AND 1=CAST(version() AS int)--",
    "'::regclass::text",
    // Wildcards of LIKE, of regular expressions and of JSON paths.
    "%",
    "_%_",
    ".*' OR 'a' ~ '.*",
    "$.** ? (@ == \"'\")",
];

/// All texts, the tautologies first.
pub(super) fn attacks() -> Vec<&'static str> {
    TAUTOLOGIES.iter().chain(OTHERS).copied().collect()
}

/// Texts that have PostgreSQL wait for two seconds, wherever they are read as SQL.
pub(super) const SLEEPS: &[&str] = &[
    "'; SELECT pg_sleep(2); --",
    "1; SELECT pg_sleep(2)--",
    "'); SELECT pg_sleep(2); --",
    "\\'; SELECT pg_sleep(2); --",
    "$$; SELECT pg_sleep(2); --",
    ";SELECT/**/pg_sleep(2)--",
    "' OR 1=(SELECT 1 FROM pg_sleep(2))--",
    "1 OR 1=(SELECT 1 FROM PG_SLEEP(2))",
    "') OR pg_sleep(2) IS NOT NULL--",
    "(SELECT pg_sleep(2))",
    "'||(SELECT pg_sleep(2)::text)||'",
    "' || pg_sleep(2)::text || '",
    "' UNION SELECT pg_sleep(2)::text--",
    "' || (SELECT CASE WHEN true THEN pg_sleep(2)::text END) || '",
];

/// The same with letters in the place of all that means anything in SQL.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|letter| if letter.is_alphanumeric() { letter } else { 'x' }).collect()
}

/// `text` as part of a URL, of which no byte means anything there.
pub(super) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02X}").unwrap();
        text
    })
}

/// Values of parameters of a type: the text alone, and in the place of `@` of what is well-formed beside it.
fn shapes(search_type: &str) -> &'static [&'static str] {
    match search_type {
        "composite" => &["@", "@$@", "http://loinc.org|@$ge5@"],
        "date" => &["@", "ge2020-01-01@", "2020-01-01T00:00:00Z@"],
        "number" => &["@", "5@", "gt1e2@"],
        "quantity" => &["@", "5.4|http://unitsofmeasure.org|@", "5.4|@|mg", "ge5@||mg"],
        "reference" => &["@", "Patient/@", "http://example.org/fhir/Patient/@", "Patient/p|@"],
        "string" => &["@", "a@", "@,b"],
        "token" => &["@", "http://loinc.org|@", "@|x", "|@"],
        "uri" => &["@", "http://example.org/@", "urn:oid:@"],
        _ => &["@"],
    }
}

/// What may follow the name of a parameter of a type.
fn modifiers(search_type: &str) -> &'static [&'static str] {
    match search_type {
        "reference" => &["", ":identifier", "", ":Patient", "", "._id", ":missing", ".name"],
        "string" => &["", ":exact", "", ":contains", ":missing"],
        "token" => &[
            "", ":not", "", ":text", "", ":in", ":not-in", "", ":above", ":below", "", ":of-type",
            ":missing",
        ],
        "uri" => &["", ":above", "", ":below", ":missing"],
        _ => &["", "", ":missing"],
    }
}

/// A parameter of a type, as the server declares it.
pub(super) struct Parameter {
    of: String,
    name: String,
    search_type: String,
}

impl Parameter {
    /// All that a CapabilityStatement declares, for each type.
    pub(super) fn all(capability: &serde_json::Value) -> Vec<Self> {
        let mut found = Vec::new();
        for of in capability["rest"][0]["resource"].as_array().unwrap() {
            let declared = of["searchParam"].as_array().map(Vec::as_slice).unwrap_or_default();
            found.extend(declared.iter().map(|it| Self {
                of: of["type"].as_str().unwrap().to_owned(),
                name: it["name"].as_str().unwrap().to_owned(),
                search_type: it["type"].as_str().unwrap().to_owned(),
            }));
        }
        found
    }

    /// Whether every type has it.
    pub(super) fn is_common(&self) -> bool {
        self.name.starts_with('_')
    }

    /// A search for `text`, which has a shape and a modifier by its number.
    pub(super) fn search(&self, text: &str, number: usize) -> String {
        let (shapes, modifiers) = (shapes(&self.search_type), modifiers(&self.search_type));
        let shape = shapes[number % shapes.len()];
        // All pairs come in turn, also where both lists are of one length.
        let modifier = modifiers[(number / shapes.len() + number) % modifiers.len()];
        let value: Vec<_> = shape.split('@').map(escaped).collect();
        format!("{}?{}{modifier}={}", self.of, self.name, value.join(&escaped(text)))
    }
}

#[test]
fn values_hold_what_they_are_made_of() {
    let parameter = |search_type: &str| Parameter {
        of: "Patient".to_owned(),
        name: "n".to_owned(),
        search_type: search_type.to_owned(),
    };
    for (search_type, number, expected) in [
        ("special", 0, "Patient?n=%27"),
        ("special", 1, "Patient?n:missing=%27"),
        ("string", 1, "Patient?n:exact=%61%27"),
        ("token", 0, "Patient?n=%27"),
        ("composite", 1, "Patient?n=%27%24%27"),
    ] {
        assert_eq!(parameter(search_type).search("'", number), expected, "{search_type} {number}");
    }
    let all = attacks();
    assert!(all.len() >= 25, "{}", all.len());
    for text in SLEEPS {
        assert_eq!(harmless(text).chars().count(), text.chars().count(), "{text}");
    }
}
