//! `conformance/coverage.toml` and what must hold of it.
//!
//! A table a checklist, a line an item: `"2.21" = { done = ["case", ..] }`, with names of cases or
//! of test files and tests; `{ open = "later issue" }`, or the reason in words; `{ not_applicable = "reason" }`. `[sections]` has the
//! titles for the table in the README. `UPDATE_COVERAGE=1` rewrites the `done` lists from the cases.
//!
//! A file of tests claims items by a line `//! Covers: rest 2.33, 2.34.`, one test, in `tests`, `fuzz/tests` or at the
//! foot of a module, by `/// Covers: ..` above it. `Covers in part:` instead names items of which it shows a part; they stay open.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use figment::Figment;
use figment::providers::{Format, Toml};
use serde::Deserialize;

use super::case::{Case, folder};

/// The issues that open items wait for.
const LATER: &[&str] = &["HL7v2", "audit", "operations", "search", "validation and terminology"];

/// A reason of fewer words is none.
const REASON: usize = 4;

/// What an open item waits for when a case of it is among the known failures.
const FAILS: &str = "known failure";

/// The checklists in the order of the table.
pub(crate) const LISTS: &[&str] = &["rest", "security", "v2"];

/// How far one item is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    Done(Vec<String>),
    NotApplicable(String),
    Open(String),
}

/// The whole file.
#[derive(Debug, Deserialize)]
pub(crate) struct Coverage {
    /// Titles, by `list section`.
    sections: BTreeMap<String, String>,
    #[serde(flatten)]
    lists: BTreeMap<String, BTreeMap<String, Standing>>,
}

/// Known failures: case = reason.
pub(crate) type KnownFailures = BTreeMap<String, String>;

/// Reads `conformance/known-failures.toml`.
pub(crate) fn known_failures() -> KnownFailures {
    toml(&folder().join("known-failures.toml"))
}

fn toml<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    assert!(path.is_file(), "{} is missing", path.display());
    Figment::from(Toml::file_exact(path)).extract().unwrap_or_else(|error| panic!("{error}"))
}

impl Coverage {
    pub(crate) fn read() -> Self {
        toml(&folder().join("coverage.toml"))
    }

    /// Every item, as `list number`.
    pub(crate) fn items(&self) -> BTreeSet<String> {
        let names = |(list, items): (&String, &BTreeMap<String, Standing>)| -> Vec<String> {
            items.keys().map(|item| format!("{list} {item}")).collect()
        };
        self.lists.iter().flat_map(names).collect()
    }

    /// Whether the item, `list number`, waits for a later issue.
    pub(crate) fn is_open(&self, name: &str) -> bool {
        let found = name.split_once(' ').and_then(|(list, item)| self.lists.get(list)?.get(item));
        matches!(found, Some(Standing::Open(_)))
    }

    /// What is wrong with the file, given who claims which item.
    pub(crate) fn faults(
        &self,
        claims: &BTreeMap<String, BTreeSet<String>>,
        failing: &KnownFailures,
    ) -> BTreeSet<String> {
        let mut faults = BTreeSet::new();
        let nobody = BTreeSet::new();
        for (list, items) in &self.lists {
            for (item, standing) in items {
                let name = format!("{list} {item}");
                let by = claims.get(&name).unwrap_or(&nobody);
                let fails = by.iter().any(|case| failing.contains_key(case));
                match standing {
                    Standing::Done(_) if by.is_empty() => {
                        faults.insert(format!("{name} is done without a case"));
                    }
                    Standing::Done(_) if fails => {
                        faults.insert(format!("{name} is done, and a case of it is known to fail"));
                    }
                    Standing::Done(cases) if !cases.iter().eq(by) => {
                        faults.insert(format!("{name} names other cases than {by:?}"));
                    }
                    Standing::Open(issue)
                        if fails != (issue == FAILS) || !fails && !by.is_empty() =>
                    {
                        faults.insert(format!("{name} is open as {issue:?}, claimed by {by:?}"));
                    }
                    Standing::NotApplicable(reason) if reason.split(' ').count() < 5 => {
                        faults.insert(format!("{name} is not applicable without a reason"));
                    }
                    Standing::Open(why) if !fails && !tells(why) => {
                        faults
                            .insert(format!("{name} is open for {why:?}, no issue and no reason"));
                    }
                    _ => {}
                }
            }
        }
        let items = self.items();
        for (claimed, by) in claims.iter().filter(|(claimed, _)| !items.contains(*claimed)) {
            faults.insert(format!("{by:?} claim {claimed}, which is no item"));
        }
        faults
    }

    /// Sets what is done from the cases; an item whose cases went away needs a word by hand.
    pub(crate) fn update(
        &mut self,
        claims: &BTreeMap<String, BTreeSet<String>>,
        failing: &KnownFailures,
    ) {
        for (list, items) in &mut self.lists {
            for (item, standing) in items {
                match claims.get(&format!("{list} {item}")) {
                    Some(by) if by.iter().any(|case| failing.contains_key(case)) => {
                        *standing = Standing::Open(FAILS.to_owned());
                    }
                    Some(by) => *standing = Standing::Done(by.iter().cloned().collect()),
                    None if matches!(standing, Standing::Done(_)) => {
                        *standing = Standing::Done(vec![]);
                    }
                    None => {}
                }
            }
        }
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        let mut out = String::from(
            "# How far Kiln is with each item of the three checklists; kept honest by tests/conformance.\n\
             # done = cases, test files and tests, open = the later issue or why, not_applicable = the reason.\n\
             # UPDATE_COVERAGE=1 cargo test --test kiln coverage rewrites the done lists.\n",
        );
        for list in LISTS {
            let _ = writeln!(out, "\n[{list}]");
            let mut items: Vec<_> = self.lists[*list].iter().collect();
            items.sort_by_key(|(item, _)| in_order(item));
            for (item, standing) in items {
                let _ = match standing {
                    Standing::Done(cases) => writeln!(out, "{item:?} = {{ done = {cases:?} }}"),
                    Standing::NotApplicable(why) => {
                        writeln!(out, "{item:?} = {{ not_applicable = {why:?} }}")
                    }
                    Standing::Open(issue) => writeln!(out, "{item:?} = {{ open = {issue:?} }}"),
                };
            }
        }
        let _ = writeln!(out, "\n[sections]");
        let mut sections: Vec<_> = self.sections.iter().collect();
        sections.sort_by_key(|(section, _)| in_order(section));
        for (section, title) in sections {
            let _ = writeln!(out, "{section:?} = {title:?}");
        }
        out
    }

    /// The table of the README.
    pub(crate) fn table(&self) -> String {
        let mut out = String::from(
            "| checklist section | items | done | not applicable | open |\n|---|---:|---:|---:|---:|\n",
        );
        let mut total = [0; 4];
        for (section, title, counts) in self.rows() {
            let [items, done, other, open] = counts;
            let _ = writeln!(out, "| {section} {title} | {items} | {done} | {other} | {open} |");
            for (sum, count) in total.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        let [items, done, other, open] = total;
        let _ = writeln!(out, "| all | {items} | {done} | {other} | {open} |");
        out
    }

    fn rows(&self) -> Vec<(String, String, [usize; 4])> {
        let mut rows = Vec::new();
        for list in LISTS {
            let mut sections = BTreeMap::<_, [usize; 4]>::new();
            for (item, standing) in &self.lists[*list] {
                let counts = sections.entry(section(item)).or_default();
                counts[0] += 1;
                counts[match standing {
                    Standing::Done(_) => 1,
                    Standing::NotApplicable(_) => 2,
                    Standing::Open(_) => 3,
                }] += 1;
            }
            let mut sections: Vec<_> = sections.into_iter().collect();
            sections.sort_by_key(|(section, _)| in_order(section));
            for (section, counts) in sections {
                let name = format!("{list} {section}");
                let title = self.sections.get(&name).cloned().unwrap_or_default();
                rows.push((name, title, counts));
            }
        }
        rows
    }
}

/// The section of an item: what stands before its last number.
fn section(item: &str) -> String {
    match item.split_once('.') {
        Some((section, _)) => section.to_owned(),
        None => {
            item.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-').to_owned()
        }
    }
}

/// Orders `2.10` after `2.9`.
fn in_order(name: &str) -> Vec<(String, u32)> {
    let mut parts = Vec::new();
    for part in name.split(['.', ' ', '-']) {
        let digits = part.trim_start_matches(|c: char| !c.is_ascii_digit());
        let letters = &part[..part.len() - digits.len()];
        parts.push((letters.to_owned(), digits.parse().unwrap_or(0)));
    }
    parts
}

/// Whether an open item names a later issue or gives a reason.
fn tells(why: &str) -> bool {
    LATER.contains(&why) || why.split(' ').count() >= REASON
}

/// Who claims which item: cases by their `items`, test files and tests by what they say they cover.
pub(crate) fn claims(cases: &[Case]) -> BTreeMap<String, BTreeSet<String>> {
    let mut claims = BTreeMap::<String, BTreeSet<String>>::new();
    for case in cases {
        for item in &case.items {
            claims.entry(item.clone()).or_default().insert(case.id.clone());
        }
    }
    for (name, item) in tests("Covers: ") {
        claims.entry(item).or_default().insert(name);
    }
    claims
}

/// Who shows which item in part only.
pub(crate) fn parts(cases: &[Case]) -> Vec<(String, String)> {
    let of_case = |case: &Case| -> Vec<(String, String)> {
        case.partly.iter().map(|item| (case.id.clone(), item.clone())).collect()
    };
    let mut parts: Vec<_> = cases.iter().flat_map(of_case).collect();
    parts.extend(tests("Covers in part: "));
    parts
}

/// What test files and tests say after `word`: each with an item.
fn tests(word: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = ["src", "tests", "fuzz/tests"].map(|folder| root.join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            found.extend(said(name, &text, word));
        }
    }
    found
}

/// What one test file says after `word`.
///
/// # Panics
/// When what is said stands above something that is no test: that would prove nothing.
fn said(file: &str, text: &str, word: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut waiting: Vec<String> = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        let after = |start: &str| line.strip_prefix(start)?.strip_prefix(word);
        if let Some(list) = after("//! ") {
            found.extend(items(list).into_iter().map(|item| (file.to_owned(), item)));
        } else if let Some(list) = after("/// ") {
            waiting.extend(items(list));
        } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if !line.starts_with("///") && !line.starts_with('#') {
            if !waiting.is_empty() {
                let name = line.split("fn ").nth(1).and_then(|rest| rest.split('(').next());
                let name = name.filter(|_| is_test).unwrap_or_else(|| {
                    panic!("{file}: {waiting:?} stand above no test but {line:?}")
                });
                let name = format!("{file} {name}");
                found.extend(waiting.drain(..).map(|item| (name.clone(), item)));
            }
            is_test = false;
        }
    }
    found
}

/// `rest 2.33, 2.34.`: each with its checklist, which is named once.
fn items(list: &str) -> Vec<String> {
    let mut of = "";
    let mut all = Vec::new();
    for item in list.trim_end_matches('.').split(", ") {
        let number = match item.split_once(' ') {
            Some((checklist, number)) => {
                of = checklist;
                number
            }
            None => item,
        };
        all.push(format!("{of} {number}"));
    }
    all
}

#[test]
fn a_test_says_what_it_covers_and_is_named() {
    let pair = |name: &str, item: &str| (name.to_owned(), item.to_owned());
    for (text, expected) in [
        (
            "//! Covers: rest 1.1, 1.2, security E1.",
            vec![("f", "rest 1.1"), ("f", "rest 1.2"), ("f", "security E1")],
        ),
        ("/// Covers: rest 1.1.\n#[test]\nfn holds() {", vec![("f holds", "rest 1.1")]),
        ("/// Covers in part: rest 1.1.\n#[test]\nfn holds() {", vec![]),
        ("/// Text.\n#[tokio::test]\nasync fn other() {", vec![]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|(name, item)| pair(name, item)).collect();
        assert_eq!(said("f", text, "Covers: "), expected, "{text}");
    }
    let stray = "/// Covers: rest 1.1.\nfn helps() {";
    assert!(std::panic::catch_unwind(|| said("f", stray, "Covers: ")).is_err());
}

/// The items of the checklists beside the project.
pub(crate) fn checklist(list: &str, text: &str) -> BTreeSet<String> {
    match list {
        "rest" => text
            .lines()
            .filter_map(|line| line.split(' ').next())
            .filter(|word| {
                word.split_once('.').is_some_and(|(section, number)| {
                    section.parse::<u8>().is_ok() && number.parse::<u16>().is_ok()
                })
            })
            .map(|word| format!("{list} {word}"))
            .collect(),
        _ => lettered(list, text),
    }
}

/// Items such as `D1`, at the start of a line or of a sentence within one.
fn lettered(list: &str, text: &str) -> BTreeSet<String> {
    let lines = text.lines().map(|line| line.strip_prefix("- ").unwrap_or(line));
    let own = |word: &&str| {
        let digits = word.trim_start_matches(|c: char| c.is_ascii_uppercase());
        let letters = word.len() - digits.len();
        // `A01` and the like are events of HL7v2, not items.
        let event = list == "v2" && word.starts_with('A');
        letters == 1
            && !event
            && !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    lines
        .filter_map(|line| line.split(' ').next())
        .filter(own)
        .map(|word| format!("{list} {word}"))
        .collect()
}
