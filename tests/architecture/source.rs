//! Rust files as the rules see them: code without comments, with or without string contents.

use std::path::Path;

/// One source file.
pub(crate) struct Source {
    /// Path below the package, with `/`.
    pub(crate) path: String,
    /// The module path below the crate, such as `["access", "gate"]`; empty for `lib.rs`.
    pub(crate) module: Vec<String>,
    /// Every line as written.
    pub(crate) text: String,
    /// Lines without comments, strings emptied, up to the unit tests at the foot.
    pub(crate) code: Vec<String>,
    /// The same with the contents of strings: for rules about SQL.
    pub(crate) statements: Vec<String>,
}

impl Source {
    /// Reads `text` as the file at `path`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let foot = if is_test_file(path) {
            0
        } else {
            text.find("#[cfg(test)]\nmod ").unwrap_or(text.len())
        };
        let shipped = &text[..foot];
        let lines = |keep| strip(shipped, keep).lines().map(str::to_owned).collect();
        Self {
            path: path.to_owned(),
            module: module_of(path),
            text: text.to_owned(),
            code: lines(false),
            statements: lines(true),
        }
    }

    /// The module directly below the crate; `main` and `lib` for the two roots.
    pub(crate) fn top(&self) -> &str {
        match self.module.first() {
            Some(top) => top,
            None if self.path.ends_with("main.rs") => "main",
            None => "lib",
        }
    }

    /// Whether this is the module `path` (with `::`) or lies below it.
    pub(crate) fn is_in(&self, path: &str) -> bool {
        let wanted: Vec<_> = path.split("::").collect();
        if self.module.is_empty() {
            return wanted == [self.top()];
        }
        self.module.iter().zip(&wanted).filter(|(a, b)| a == *b).count() == wanted.len()
    }
}

/// Whether a whole file is unit tests (`store/write/tests.rs`, `store/tests/race.rs`).
fn is_test_file(path: &str) -> bool {
    path.starts_with("src/") && (path.ends_with("/tests.rs") || path.contains("/tests/"))
}

fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let mut parts: Vec<_> = inner.split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// All `.rs` files below `folder` of the package.
pub(crate) fn files(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap();
                found.push(Source::new(relative, &std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Takes comments out, and the contents of strings unless `keep_strings`; lines stay lines.
fn strip(text: &str, keep_strings: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (end, kept) = match rest {
            [b'/', b'/', ..] => (line_end(rest), false),
            [b'/', b'*', ..] => (block_end(rest), false),
            [b'r', b'"' | b'#', ..] if !follows_name(bytes, at) => raw_end(rest),
            [b'"', ..] => (string_end(rest), keep_strings),
            [b'\'', ..] => {
                let end = char_end(rest);
                (end, end == 1 || keep_strings)
            }
            _ => (1, true),
        };
        let raw_string = rest[0] == b'r' && end > 1;
        let kept = if raw_string { keep_strings } else { kept };
        if kept {
            out.extend_from_slice(&rest[..end]);
        } else {
            out.extend(rest[..end].iter().filter(|b| **b == b'\n'));
        }
        at += end;
    }
    String::from_utf8(out).unwrap()
}

fn follows_name(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_end(rest: &[u8]) -> usize {
    rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
}

fn block_end(rest: &[u8]) -> usize {
    rest.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |at| at + 2)
}

/// The end of `r"..."` or `r#"..."#`; 1 when it is a raw identifier.
fn raw_end(rest: &[u8]) -> (usize, bool) {
    let hashes = rest[1..].iter().take_while(|b| **b == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return (1, true);
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &rest[2 + hashes..];
    let end = body.windows(close.len()).position(|window| window == close);
    (end.map_or(rest.len(), |at| 2 + hashes + at + close.len()), false)
}

fn string_end(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The end of a character literal; 1 for a lifetime.
fn char_end(rest: &[u8]) -> usize {
    if let [_, b'\\', _, ..] = rest {
        return rest[3..].iter().position(|b| *b == b'\'').map_or(1, |at| at + 4);
    }
    let text = String::from_utf8_lossy(&rest[1..rest.len().min(6)]);
    let width = text.chars().next().map_or(0, char::len_utf8);
    if width > 0 && rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 1 }
}

#[test]
fn stripping_keeps_code_and_lines_only() {
    for (text, code, statements) in [
        ("a // b\nc", "a \nc", "a \nc"),
        ("a /* b\n */ c", "a \n c", "a \n c"),
        ("f(\"x // y\\\" z\")", "f()", "f(\"x // y\\\" z\")"),
        ("r#\"a \" b\"# + r\"c\"", " + ", "r#\"a \" b\"# + r\"c\""),
        ("'\"' '{' '\\'' '\\u{1}'", "   ", "'\"' '{' '\\'' '\\u{1}'"),
        ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
        ("for r in r#type {}", "for r in r#type {}", "for r in r#type {}"),
    ] {
        assert_eq!(strip(text, false), code, "{text}");
        assert_eq!(strip(text, true), statements, "{text}");
    }
}
