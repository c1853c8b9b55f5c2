//! The text of a search expression to the arms of its union, each a list of parts.
//!
//! Reads only what `path` compiles; for anything else it says so by `None`.

/// One step of an arm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Part<'t> {
    /// ` as T`, `.as(T)`, `.ofType(T)`
    As(&'t str),
    /// `.where(name='text')`
    Equals(&'t str, &'t str),
    /// `[0]`
    Index(usize),
    /// `name`
    Name(&'t str),
    /// `.where(resolve() is T)`
    Refers(&'t str),
}

/// Deepest parentheses: bounds the stack that reading needs.
const MAX_DEPTH: usize = 20;

/// The parts of one arm.
pub(super) type Arm<'t> = Vec<Part<'t>>;

/// The arms of a union.
pub(super) fn arms(text: &str) -> Option<Vec<Arm<'_>>> {
    split(text)?.into_iter().map(arm).collect()
}

/// Splits at every `|` outside parentheses and quotes.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut depth, mut quoted, mut start) = (0_usize, false, 0);
    let mut found = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\\' | b'`' => return None,
            b'\'' => quoted = !quoted,
            _ if quoted => {}
            b'(' if depth == MAX_DEPTH => return None,
            b'(' => depth += 1,
            b')' => depth = depth.checked_sub(1)?,
            b'|' if depth == 0 => {
                found.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    (depth == 0 && !quoted).then_some(())?;
    found.push(&text[start..]);
    Some(found)
}

fn arm(text: &str) -> Option<Arm<'_>> {
    let mut reader = Reader(text.trim());
    let parts = reader.path()?;
    reader.0.is_empty().then_some(parts)
}

struct Reader<'t>(&'t str);

impl<'t> Reader<'t> {
    /// A name or a path in parentheses, and the steps after it.
    fn path(&mut self) -> Option<Arm<'t>> {
        let mut parts = if self.take("(") {
            let inner = self.path()?;
            self.spaces();
            self.take(")").then_some(inner)?
        } else {
            vec![Part::Name(self.name()?)]
        };
        loop {
            if self.take("[") {
                parts.push(Part::Index(self.number()?));
                self.take("]").then_some(())?;
            } else if self.take(".") {
                parts.push(self.step()?);
            } else if let Some(rest) = self.0.strip_prefix(" as ") {
                self.0 = rest;
                parts.push(Part::As(self.name()?));
            } else {
                return Some(parts);
            }
        }
    }

    fn step(&mut self) -> Option<Part<'t>> {
        let name = self.name()?;
        if !self.take("(") {
            return Some(Part::Name(name));
        }
        let part = match name {
            "as" | "ofType" => Part::As(self.name()?),
            "where" => self.condition()?,
            _ => return None,
        };
        self.take(")").then_some(part)
    }

    fn condition(&mut self) -> Option<Part<'t>> {
        if let Some(rest) = self.0.strip_prefix("resolve() is ") {
            self.0 = rest;
            return Some(Part::Refers(self.name()?));
        }
        let name = self.name()?;
        self.spaces();
        self.take("=").then_some(())?;
        self.spaces();
        self.take("'").then_some(())?;
        let (text, rest) = self.0.split_once('\'')?;
        self.0 = rest;
        Some(Part::Equals(name, text))
    }

    fn take(&mut self, text: &str) -> bool {
        let rest = self.0.strip_prefix(text);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn spaces(&mut self) {
        self.0 = self.0.trim_start();
    }

    fn name(&mut self) -> Option<&'t str> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let length = self.0.bytes().take_while(|&byte| is_part(byte)).count();
        let (name, rest) = self.0.split_at(length);
        name.starts_with(|first: char| first.is_ascii_alphabetic()).then_some(())?;
        self.0 = rest;
        Some(name)
    }

    fn number(&mut self) -> Option<usize> {
        let length = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        digits.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Part::{As, Equals, Index, Name, Refers};

    #[test]
    fn the_forms_of_search_expressions_are_read() {
        for (text, expected) in [
            ("Patient.birthDate", Some(vec![vec![Name("Patient"), Name("birthDate")]])),
            ("name | alias", Some(vec![vec![Name("name")], vec![Name("alias")]])),
            (
                "(A.value as Quantity) | A.onset.as(Age)",
                Some(vec![
                    vec![Name("A"), Name("value"), As("Quantity")],
                    vec![Name("A"), Name("onset"), As("Age")],
                ]),
            ),
            (
                "(A.value as CodeableConcept).text",
                Some(vec![vec![Name("A"), Name("value"), As("CodeableConcept"), Name("text")]]),
            ),
            (
                "A.subject.where(resolve() is Patient)",
                Some(vec![vec![Name("A"), Name("subject"), Refers("Patient")]]),
            ),
            (
                "A.b.where(type='x | y').resource",
                Some(vec![vec![Name("A"), Name("b"), Equals("type", "x | y"), Name("resource")]]),
            ),
            (
                "Bundle.entry[0].resource",
                Some(vec![vec![Name("Bundle"), Name("entry"), Index(0), Name("resource")]]),
            ),
            ("A.b.exists() and A.c != false", None),
            ("%resource.a", None),
            ("A.extension('u')", None),
            ("A.b.where(c='\\'')", None),
            ("A.`b`", None),
            ("A.b.where(c=1)", None),
            ("A.", None),
            ("(A.b", None),
            ("A.b)", None),
            ("'", None),
            ("", None),
        ] {
            assert_eq!(arms(text), expected, "{text:?}");
        }
    }
}
