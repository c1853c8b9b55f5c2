//! Where in its text a value stands, by line and column.
//!
//! The tree keeps no offsets: who wants the places of a few values asks the text again. Reads the text
//! once, whatever is asked; only what lies on the way to a value that is asked for is looked into.

/// A place in a text; line and column count from 1, columns by characters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// Where the elements stand that expressions such as `Patient.name[0].given[1]` name, in the `text`
/// of a document that was parsed; `None` for an element that is not there.
///
/// A choice is found by the name of its element (`value` finds `valueQuantity`), a primitive without
/// value by its sibling.
pub fn positions(text: &[u8], expressions: &[&str]) -> Vec<Option<Position>> {
    let paths: Vec<Vec<Step<'_>>> =
        expressions.iter().map(|expression| steps(expression)).collect();
    let offsets = vec![None; paths.len()];
    let mut scan = Scan { text, at: 0, paths: &paths, offsets };
    scan.space();
    let start = scan.at;
    let below = scan.arrive((0..paths.len()).collect(), 0, start);
    scan.value(&below, 0);
    count(text, &scan.offsets)
}

/// A step down: an element, and which of its repetitions.
struct Step<'e> {
    name: &'e str,
    index: Option<usize>,
}

/// The steps below the root, up to the first that is no plain element.
fn steps(expression: &str) -> Vec<Step<'_>> {
    let step = |part| {
        let Some((name, rest)) = str::split_once(part, '[') else {
            return (!part.contains('(')).then_some(Step { name: part, index: None });
        };
        let index = rest.strip_suffix(']')?.parse().ok()?;
        Some(Step { name, index: Some(index) })
    };
    expression.split('.').skip(1).map_while(step).collect()
}

/// Offsets as lines and columns, in one pass.
fn count(text: &[u8], offsets: &[Option<usize>]) -> Vec<Option<Position>> {
    let mut order: Vec<usize> = (0..offsets.len()).filter(|&at| offsets[at].is_some()).collect();
    order.sort_by_key(|&at| offsets[at]);
    let mut found = vec![None; offsets.len()];
    let (mut line, mut column, mut done) = (1, 1, 0);
    for at in order {
        let Some(offset) = offsets[at] else { continue };
        for byte in &text[done..offset] {
            match byte {
                b'\n' => (line, column) = (line + 1, 1),
                // What goes on with a character begins no other.
                0x80..=0xBF => {}
                _ => column += 1,
            }
        }
        done = offset;
        found[at] = Some(Position { line, column });
    }
    found
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
    paths: &'t [Vec<Step<'t>>],
    offsets: Vec<Option<usize>>,
}

impl Scan<'_> {
    fn byte(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or_default()
    }

    fn space(&mut self) {
        while self.byte().is_ascii_whitespace() || matches!(self.byte(), b',' | b':') {
            self.at += 1;
        }
        // A byte order mark before the document.
        if self.at == 0 && self.text.starts_with(b"\xEF\xBB\xBF") {
            self.at = 3;
            self.space();
        }
    }

    /// Takes the paths that end here, and those that go on.
    fn arrive(&mut self, wanted: Vec<usize>, depth: usize, offset: usize) -> Vec<usize> {
        let (ended, on): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|&path| self.paths[path].len() == depth);
        for &path in &ended {
            self.offsets[path].get_or_insert(offset);
        }
        if !ended.is_empty() && self.offsets.iter().all(Option::is_some) {
            // The rest of the text tells nothing more.
            self.at = self.text.len();
        }
        on
    }

    /// A value that the `wanted` paths have reached by their first `depth` steps.
    fn value(&mut self, wanted: &[usize], depth: usize) {
        if wanted.is_empty() || self.byte() != b'{' {
            return self.skip();
        }
        self.at += 1;
        self.space();
        while self.byte() == b'"' {
            let start = self.at;
            self.skip();
            let key = self.text.get(start + 1..self.at.saturating_sub(1)).unwrap_or_default();
            self.space();
            let here = wanted.iter().filter(|&&path| {
                self.paths[path].get(depth).is_some_and(|step| is_named(key, step.name))
            });
            let here: Vec<usize> = here.copied().collect();
            self.element(here, depth, start);
            self.space();
        }
        self.at += 1;
    }

    /// The value of an element whose name begins at `start`.
    fn element(&mut self, wanted: Vec<usize>, depth: usize, start: usize) {
        if wanted.is_empty() || self.byte() != b'[' {
            let on = self.arrive(wanted, depth + 1, start);
            return self.value(&on, depth + 1);
        }
        let index = |path: &usize| self.paths[*path][depth].index;
        let (whole, mut single): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|path| index(path).is_none());
        // What names no repetition means all of them, or the first on the way to another element.
        single.extend(self.arrive(whole, depth + 1, start));
        self.at += 1;
        self.space();
        let mut item = 0;
        while !matches!(self.byte(), b']' | 0) {
            let before = self.at;
            let here = single.iter().copied();
            let here = here.filter(|&path| self.paths[path][depth].index.unwrap_or(0) == item);
            let on = self.arrive(here.collect(), depth + 1, self.at);
            self.value(&on, depth + 1);
            self.space();
            if self.at == before {
                return;
            }
            item += 1;
        }
        self.at += 1;
    }

    /// Passes over a value, however deep.
    fn skip(&mut self) {
        let mut open = 0_usize;
        loop {
            match self.byte() {
                b'"' => self.string(),
                b'{' | b'[' => (open, self.at) = (open + 1, self.at + 1),
                b'}' | b']' if open > 0 => (open, self.at) = (open - 1, self.at + 1),
                b'}' | b']' | 0 => return,
                b',' | b':' if open == 0 => return,
                byte if byte.is_ascii_whitespace() && open == 0 => return,
                _ => self.at += 1,
            }
            let ends = matches!(self.text[self.at - 1], b'"' | b'}' | b']');
            if open == 0 && ends {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.at += 1;
        while !matches!(self.byte(), b'"' | 0) {
            self.at += if self.byte() == b'\\' { 2 } else { 1 };
        }
        self.at = (self.at + 1).min(self.text.len());
    }
}

/// Whether a property is the element: by its name, as a sibling, or as a choice of it.
fn is_named(key: &[u8], name: &str) -> bool {
    let key = key.strip_prefix(b"_").unwrap_or(key);
    let rest = key.strip_prefix(name.as_bytes());
    rest.is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_uppercase))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"resourceType": "Patient",
 "name": [{"given": ["ä", "b\"]}"], "period": {"start": "2020"}},
          {"family": "x"}],
 "deceasedBoolean" : true,
 "_birthDate": {"id": "q"}, "contact": [[], {"name": {"text": "t"}}]}"#;

    #[test]
    fn an_element_is_found_by_its_expression() {
        for (expression, expected) in [
            ("Patient.name", Some((2, 2))),
            ("Patient.name[0]", Some((2, 11))),
            ("Patient.name[0].given[0]", Some((2, 22))),
            ("Patient.name[0].given[1]", Some((2, 27))),
            ("Patient.name[0].period.start", Some((2, 48))),
            ("Patient.name[1].family", Some((3, 12))),
            ("Patient.name.family", None),
            ("Patient.name.given[1]", Some((2, 27))),
            ("Patient.name[2]", None),
            ("Patient.deceased", Some((4, 2))),
            ("Patient.birthDate", Some((5, 2))),
            ("Patient.contact[1].name.text", Some((5, 55))),
            ("Patient.gender", None),
            ("Patient", None),
            ("", None),
        ] {
            let found = positions(TEXT.as_bytes(), &[expression])[0];
            let found = found.map(|it| (it.line, it.column));
            // The root begins where the document does.
            let expected = if expression.contains('.') { expected } else { Some((1, 1)) };
            assert_eq!(found, expected, "{expression:?}");
        }
    }

    #[test]
    fn what_is_no_document_has_no_places_and_does_no_harm() {
        for text in [
            "",
            "{",
            "{\"name\"",
            "{\"name\":[",
            "[1,2",
            "\"\\",
            "{\"name\":{\"a\":\"",
            "]",
            "{\"name\":[}",
        ] {
            let found = positions(text.as_bytes(), &["Patient.name.a", "Patient.name[3].b"]);
            assert_eq!(found.len(), 2, "{text:?}");
        }
    }

    #[test]
    fn many_are_found_in_one_pass() {
        let expressions =
            ["Patient.name[1].family", "Patient.name[0]", "Patient.nope", "Patient.name"];
        let found = positions(TEXT.as_bytes(), &expressions);
        let lines: Vec<_> = found.iter().map(|it| it.map(|it| it.line)).collect();
        assert_eq!(lines, [Some(3), Some(2), None, Some(2)]);
    }
}
