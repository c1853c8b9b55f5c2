//! SQL is put together at run time in few places, and no text that somebody sent is put into it there: what stands
//! between its quotes comes from constants, and values are bound.

use std::collections::BTreeSet;

use super::rules::has_word;
use super::source::Source;

/// Where statements are put together: the compilers of searches and of events, what works on one table after
/// another, and benches, which speak to tables of their own.
const MADE: &[&str] = &[
    "app::bench",
    "store::events::compile",
    "store::events::places",
    "store::events::walk",
    "store::maintenance::retention",
    "store::maintenance::sweep",
    "store::search",
    "store::tenant",
];

/// What is put between quotes there.
const QUOTED: &[(&str, &str)] = &[
    // Six digits: all else is refused before. And a code of an error of our own.
    ("store::maintenance::retention", "{OTHER_ROWS}"),
    ("store::maintenance::retention", "ledger_{month}"),
    ("store::maintenance::retention", "{month}01+00"),
    // Numbers of blocks.
    ("store::maintenance::sweep", "({end},0)"),
    ("store::maintenance::sweep", "({first},0)"),
    ("store::search::date", "{LONG}"),
    // Names of elements, and what may follow an id, from the source.
    ("store::search::reach::mentions", "^({})"),
    ("store::search::reach::mentions", "{behind}"),
    ("store::search::reach::mentions", "{path}"),
    ("store::search::reach::named", "{path}"),
    ("store::search::token", "{goes_on}"),
];

/// Words by which a text is SQL.
const WORDS: &[&str] = &[
    "ALTER",
    "CREATE",
    "DELETE FROM",
    "DROP",
    "EXISTS",
    "EXPLAIN",
    "FROM",
    "GRANT",
    "INSERT INTO",
    "JOIN",
    "LISTEN",
    "NOTIFY",
    "REVOKE",
    "SELECT",
    "SET LOCAL",
    "TRUNCATE",
    "UPDATE",
    "VALUES",
    "WHERE",
];

/// Macros that put something into a text.
const MACROS: &[&str] = &["format!(", "format_args!(", "write!(", "writeln!("];

/// Statements that are put together elsewhere.
pub(crate) fn made(sources: &[Source]) -> BTreeSet<String> {
    let elsewhere = |source: &&Source| !MADE.iter().any(|path| source.is_in(path));
    let mut broken = BTreeSet::new();
    for source in sources.iter().filter(elsewhere) {
        for text in formats(source) {
            let word = WORDS.iter().find(|word| has_word(&text, word));
            broken.extend(word.map(|word| format!("{}: {word} in {text:?}", source.path)));
        }
    }
    broken
}

/// What is put between quotes of a statement and is not in the table.
pub(crate) fn quoted(sources: &[Source]) -> BTreeSet<String> {
    let mut broken = BTreeSet::new();
    for source in sources.iter().filter(|source| source.is_in("store")) {
        let is_known =
            |piece: &str| QUOTED.iter().any(|(path, known)| *known == piece && source.is_in(path));
        for text in formats(source) {
            // Doubled braces are braces; every second piece stands between quotes.
            let text = text.replace("{{", "").replace("}}", "");
            let pieces = text.split('\'').skip(1).step_by(2);
            let unknown = pieces.filter(|piece| piece.contains('{') && !is_known(piece));
            broken.extend(unknown.map(|piece| format!("{}: '{piece}'", source.path)));
        }
    }
    broken
}

/// The texts into which something is put.
fn formats(source: &Source) -> Vec<String> {
    let code = source.statements.join("\n");
    let calls = MACROS.iter().flat_map(|call| code.match_indices(call));
    calls.filter_map(|(at, call)| literal(&code[at + call.len()..])).collect()
}

/// The first literal, with white space as one space: what a text is written to may stand before it.
fn literal(rest: &str) -> Option<String> {
    let (before, text) = rest.split_once('"')?;
    let hashes = before.chars().rev().take_while(|letter| *letter == '#').count();
    let end = if before[..before.len() - hashes].ends_with('r') {
        text.find(&format!("\"{}", "#".repeat(hashes)))?
    } else {
        let mut is_escaped = false;
        text.find(|letter: char| {
            let ends = letter == '"' && !is_escaped;
            is_escaped = letter == '\\' && !is_escaped;
            ends
        })?
    };
    Some(text[..end].split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn texts_are_read_to_their_ends() {
    for (text, expected) in [
        (r#"format!("a {b}")"#, "a {b}"),
        (r#"write!(out, "a \" {b}").ok()"#, r#"a \" {b}"#),
        ("format!(\n    \"a \\\n     {b}\",\n    c\n)", r"a \ {b}"),
        (r##"format!(r#"a "{b}" c"#)"##, r#"a "{b}" c"#),
        (r#"format!(r"a \", "b")"#, r"a \"),
    ] {
        assert_eq!(formats(&Source::new("src/a.rs", text)), [expected], "{text}");
    }
}
