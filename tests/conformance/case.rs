//! The form of `conformance/<chapter>/<case>.json`; a chapter may have parts, folders of their own.
//!
//! A case is an object: `id` (the file's name), `items` (what of the checklists it covers), `partly`
//! (items of which it shows the part that is built; they stay open),
//! `source` (the specification's page), optionally `alone` (a server of its own, for what counts
//! across the whole system), `smart` (on a server that asks for tokens), `given` (resources to PUT
//! first), `grants` (callers by name, each with `scopes` and where it has them `patient`, `fhirUser`,
//! `roles` and `knowsUser`) and `steps`.
//!
//! A step: `request` (`"GET /Patient/1"`; below the FHIR base, or absolute with `${root}`), then
//! optionally `grant` (the name of the caller, or `nobody`), `headers`, a body as `body` (JSON, canonical), `bodyText`, `bodyBase64` or `bodyFile`
//! (below `conformance/`), `expect`, `save`, `why`.
//!
//! `expect`: `status` (one or several), `headers` (text, `~pattern`, null for absent,
//! or a list that all must hold), `body`
//! (subset), `same` (path: the whole value), `at` (path: subset of the value), `absent` (paths),
//! `count` (path: number of items), `issue` (`code`, `severity`, `expression`, `diagnostics`
//! patterns of the first issue), `text` (parts of the body as text), `notText`, `empty`,
//! `lastModifiedOf` (path of an instant that Last-Modified tells in whole seconds); for a search
//! that succeeds `matches` (the ids of the matches in any order, in one text, each without its
//! `${u}-`), `ordered` (the same in this order), `included` (what came along). With one of these
//! the whole answer is held to the rules of a searchset (`searchset`).
//!
//! `save`: variable: path of the JSON answer, `header:Name`, or `text`. `${variable}` is replaced in
//! urls, headers and bodies; `${base}`, `${root}`, `${host}` and `${u}` (unique to the case) exist always.
//! Callers with a grant ask an endpoint of their own, by urls that are relative or that it gave. A
//! text that is one variable alone becomes its value with its kind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kiln::fhir::json::{Object, Value, parse};

/// One case as read.
pub(crate) struct Case {
    pub(crate) path: PathBuf,
    pub(crate) id: String,
    pub(crate) items: Vec<String>,
    pub(crate) partly: Vec<String>,
    pub(crate) alone: bool,
    pub(crate) smart: bool,
    pub(crate) grants: Object<'static>,
    pub(crate) given: Vec<Value<'static>>,
    pub(crate) steps: Vec<Value<'static>>,
}

/// The caller of a step who shows no token.
pub(crate) const NOBODY: &str = "nobody";

/// Names a step and an expectation may have; anything else is a mistake in the file.
const CASE: &[&str] =
    &["id", "items", "partly", "source", "alone", "smart", "given", "grants", "steps"];
const GRANT: &[&str] = &["scopes", "patient", "fhirUser", "roles", "knowsUser"];
const STEP: &[&str] = &[
    "request",
    "grant",
    "headers",
    "body",
    "bodyText",
    "bodyBase64",
    "bodyFile",
    "expect",
    "save",
    "why",
];
const EXPECT: &[&str] = &[
    "status",
    "headers",
    "body",
    "same",
    "at",
    "absent",
    "count",
    "issue",
    "text",
    "notText",
    "empty",
    "lastModifiedOf",
    "matches",
    "ordered",
    "included",
];

/// All cases, by path.
pub(crate) fn all() -> Vec<Case> {
    let mut found = Vec::new();
    for chapter in entries(&folder()).into_iter().filter(|path| path.is_dir()) {
        below(&chapter, &mut found);
    }
    found
}

fn below(folder: &Path, found: &mut Vec<Case>) {
    for path in entries(folder) {
        if path.is_dir() {
            below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(read(&path));
        }
    }
}

/// The folder of the cases.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = listing.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Case {
    let bytes = std::fs::read(path).unwrap();
    let value = parse(&bytes).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
    let value = value.into_owned();
    check(path, &value);
    let text = |name| value.str_at(name).unwrap_or_default().to_owned();
    let texts = |name| -> Vec<String> {
        let items = value.items_at(name).iter();
        items.map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
    };
    let flag = |name| value.get(name).and_then(Value::as_bool).unwrap_or(false);
    Case {
        path: path.to_owned(),
        id: text("id"),
        items: texts("items"),
        partly: texts("partly"),
        alone: flag("alone"),
        smart: flag("smart"),
        grants: value.get("grants").and_then(Value::as_object).cloned().unwrap_or_default(),
        given: value.items_at("given").to_vec(),
        steps: value.items_at("steps").to_vec(),
    }
}

/// A misspelt expectation would hold always, so every name is checked.
fn check(path: &Path, case: &Value<'_>) {
    let fail = |what: &str| panic!("{}: {what}", path.display());
    let known = |value: &Value<'_>, names: &[&str]| {
        let object = value.as_object().unwrap_or_else(|| fail("an object is missing"));
        for (name, _) in object.iter() {
            if !names.contains(&name) {
                fail(&format!("unknown name {name:?}"));
            }
        }
    };
    known(case, CASE);
    if case.str_at("id") != path.file_stem().and_then(|stem| stem.to_str()) {
        fail("the id is not the file's name");
    }
    if !case.str_at("source").is_some_and(|source| source.starts_with("https://")) {
        fail("no source");
    }
    let steps = case.items_at("steps");
    let has_items = ["items", "partly"].iter().any(|name| !case.items_at(name).is_empty());
    if !has_items || steps.is_empty() {
        fail("no items or no steps");
    }
    let grants = case.get("grants").and_then(Value::as_object);
    for (_, grant) in grants.into_iter().flat_map(Object::iter) {
        known(grant, GRANT);
    }
    let is_grant = |name: &str| {
        name == NOBODY || grants.is_some_and(|all| all.iter().any(|(it, _)| it == name))
    };
    let mut expects = 0;
    for step in steps {
        known(step, STEP);
        if let Some(name) = step.str_at("grant").filter(|name| !is_grant(name)) {
            fail(&format!("there is no grant {name:?}"));
        }
        if let Some(name) = body_of_a_read(step) {
            fail(&format!("a GET has no {name}: did you mean expect.body?"));
        }
        if let Some(expect) = step.get("expect") {
            known(expect, EXPECT);
            expects += 1;
        }
    }
    if expects == 0 {
        fail("expects nothing");
    }
}

/// The body of a step that asks for something only: it would be sent, and nothing be compared with it.
fn body_of_a_read<'s>(step: &'s Value<'_>) -> Option<&'s str> {
    let request = step.str_at("request").unwrap_or_default();
    let is_read = ["GET ", "HEAD "].iter().any(|method| request.starts_with(method));
    let mut names = step.as_object().into_iter().flat_map(Object::iter).map(|(name, _)| name);
    names.find(|name| is_read && name.starts_with("body"))
}

/// The variables of a running case.
pub(crate) struct Variables(BTreeMap<String, Value<'static>>);

impl Variables {
    pub(crate) fn new(base: &str, root: &str, unique: &str) -> Self {
        let host = root.trim_start_matches("http://");
        let fixed = [("base", base), ("host", host), ("root", root), ("u", unique)];
        let own = |(name, text): (&str, &str)| (name.to_owned(), Value::from(text.to_owned()));
        Self(fixed.into_iter().map(own).collect())
    }

    pub(crate) fn set(&mut self, name: &str, value: Value<'static>) {
        self.0.insert(name.to_owned(), value);
    }

    /// `text` with every `${name}` replaced.
    ///
    /// # Errors
    /// Names a variable that nothing saved.
    pub(crate) fn fill(&self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let end = rest[start..].find('}').ok_or("an open ${")? + start;
            let name = &rest[start + 2..end];
            let value = self.0.get(name).ok_or_else(|| format!("no variable {name:?}"))?;
            out.push_str(&rest[..start]);
            match value.as_str() {
                Some(text) => out.push_str(text),
                None => out.push_str(&value.to_text()),
            }
            rest = &rest[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    /// `value` with the variables of all its texts and names replaced.
    ///
    /// # Errors
    /// As [`Variables::fill`].
    pub(crate) fn fill_all(&self, value: &Value<'_>) -> Result<Value<'static>, String> {
        Ok(match value {
            Value::String(text) => {
                match text.strip_prefix("${").and_then(|t| t.strip_suffix('}')) {
                    Some(name) if self.0.contains_key(name) => self.0[name].clone(),
                    _ => Value::from(self.fill(text)?),
                }
            }
            Value::Array(items) => {
                items.iter().map(|item| self.fill_all(item)).collect::<Result<Vec<_>, _>>()?.into()
            }
            Value::Object(object) => {
                let mut filled = Object::new();
                for (name, value) in object.iter() {
                    filled.set(self.fill(name)?, self.fill_all(value)?);
                }
                filled.into()
            }
            other => other.clone().into_owned(),
        })
    }
}

#[test]
fn what_a_read_answers_is_no_body_of_its_request() {
    for (step, expected) in [
        (r#"{"request":"GET /Patient/1","body":{}}"#, Some("body")),
        (r#"{"request":"HEAD /Patient/1","bodyText":""}"#, Some("bodyText")),
        (r#"{"request":"GET /Patient/1","expect":{"body":{}}}"#, None),
        (r#"{"request":"POST /Patient","body":{}}"#, None),
    ] {
        let value = parse(step.as_bytes()).unwrap();
        assert_eq!(body_of_a_read(&value), expected, "{step}");
    }
}
