//! The query language of full text search.
//!
//! | written | finds |
//! |---|---|
//! | `heart failure` | both words, anywhere (`AND` between them may be written) |
//! | `"heart failure"` | the words side by side |
//! | `heart OR cardiac` | one of them; binds less than words side by side |
//! | `-acute`, `NOT acute` | without the word |
//! | `cardi*` | words that begin so |
//! | `(heart OR cardiac) failure` | parentheses group |
//!
//! Case, accents and punctuation do not count; `OR`, `AND` and `NOT` are upper case. A word that
//! punctuation parts (`type-2`) is looked for as its parts side by side, or as one.

use std::iter::Peekable;
use std::str::CharIndices;

use thiserror::Error;

use super::analyze::{Chunk, chunk};

/// Deepest nesting of parentheses and negations.
const MAX_DEPTH: usize = 32;
/// Most words of a query.
const MAX_WORDS: usize = 200;

/// A query that cannot be read, and where.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("full text query, column {column}: {reason}")]
pub struct QueryError {
    /// The character at fault, from 1.
    pub column: usize,
    /// What is wrong there.
    pub reason: &'static str,
}

/// What a query asks for.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Node {
    /// All of them.
    All(Vec<Node>),
    /// One of them.
    Any(Vec<Node>),
    /// Without it.
    Not(Box<Node>),
    /// Chunks side by side.
    Phrase(Vec<Chunk>),
    /// A word, perhaps parted by punctuation.
    Word(Chunk),
    /// Words that begin so.
    Prefix(Chunk),
}

/// Reads a query.
///
/// # Errors
/// [`QueryError`] names the column.
pub(super) fn parse(text: &str) -> Result<Node, QueryError> {
    let mut parser = Parser { text, rest: text.char_indices().peekable(), words: 0 };
    let node = parser.any(0)?;
    if parser.rest.peek().is_some() {
        return Err(parser.fault("this ) closes nothing"));
    }
    node.ok_or(QueryError { column: 1, reason: "there is no word to look for" })
}

struct Parser<'q> {
    text: &'q str,
    rest: Peekable<CharIndices<'q>>,
    words: usize,
}

impl Parser<'_> {
    /// `a OR b ..`, up to a `)` or the end. `None` when there is nothing to look for.
    fn any(&mut self, depth: usize) -> Result<Option<Node>, QueryError> {
        let mut nodes = Vec::new();
        loop {
            let (count, node) = self.all(depth)?;
            nodes.extend(node);
            if !self.takes("OR") {
                break;
            }
            if count == 0 {
                return Err(self.fault_before("OR needs something before it", 2));
            }
            self.space();
            if self.ends() || self.is_at("OR") {
                return Err(self.fault("OR needs something behind it"));
            }
        }
        Ok(match nodes.len() {
            0 | 1 => nodes.pop(),
            _ => Some(Node::Any(nodes)),
        })
    }

    /// Operands side by side: how many there are, and what they mean together.
    fn all(&mut self, depth: usize) -> Result<(usize, Option<Node>), QueryError> {
        let (mut nodes, mut count) = (Vec::new(), 0);
        loop {
            self.space();
            if self.ends() || self.is_at("OR") {
                break;
            }
            if self.takes("AND") {
                self.space();
                if count == 0 {
                    return Err(self.fault("AND needs something before it"));
                }
                if self.ends() || self.is_at("OR") || self.is_at("AND") {
                    return Err(self.fault("AND needs something behind it"));
                }
            }
            nodes.extend(self.operand(depth)?);
            count += 1;
        }
        let node = match nodes.len() {
            0 | 1 => nodes.pop(),
            _ => Some(Node::All(nodes)),
        };
        Ok((count, node))
    }

    fn operand(&mut self, depth: usize) -> Result<Option<Node>, QueryError> {
        if depth > MAX_DEPTH {
            return Err(self.fault("the query is nested too deep"));
        }
        if self.takes("NOT") {
            self.space();
            if self.ends() {
                return Err(self.fault("NOT needs something behind it"));
            }
            let inner = self.operand(depth + 1)?;
            return Ok(inner.map(|node| Node::Not(Box::new(node))));
        }
        match self.rest.peek() {
            Some((_, '(')) => self.group(depth),
            Some((_, '"')) => self.phrase(),
            Some((at, '-')) if is_bound(&self.text[at + 1..]) => {
                self.rest.next();
                let inner = self.operand(depth + 1)?;
                Ok(inner.map(|node| Node::Not(Box::new(node))))
            }
            _ => self.word(),
        }
    }

    fn group(&mut self, depth: usize) -> Result<Option<Node>, QueryError> {
        let opening = self.fault("this ( is not closed");
        self.rest.next();
        let empty = self.fault("there is nothing between the parentheses");
        let start = self.place();
        let node = self.any(depth + 1)?;
        let end = self.place();
        if self.rest.next().is_none() {
            return Err(opening);
        }
        if self.text[start..end].trim().is_empty() {
            return Err(empty);
        }
        Ok(node)
    }

    fn phrase(&mut self) -> Result<Option<Node>, QueryError> {
        let opening = self.fault("this \" is not closed");
        self.rest.next();
        let start = self.place();
        let Some((end, _)) = self.rest.by_ref().find(|(_, letter)| *letter == '"') else {
            return Err(opening);
        };
        let runs = self.text[start..end].split_whitespace().map(chunk);
        let chunks: Vec<_> = runs.filter(|chunk| !chunk.parts.is_empty()).collect();
        for chunk in &chunks {
            self.count(chunk)?;
        }
        Ok((!chunks.is_empty()).then_some(Node::Phrase(chunks)))
    }

    fn word(&mut self) -> Result<Option<Node>, QueryError> {
        let start = self.place();
        while self.rest.next_if(|(_, letter)| !ends_word(*letter)).is_some() {}
        let text = &self.text[start..self.place()];
        let (stem, is_prefix) = match text.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (text, false),
        };
        if let Some(star) = stem.find('*') {
            let column = self.column(start + star);
            return Err(QueryError { column, reason: "* may stand at the end of a word only" });
        }
        let chunk = chunk(stem);
        self.count(&chunk)?;
        match (chunk.parts.is_empty(), is_prefix) {
            (true, true) => {
                let column = self.column(start);
                Err(QueryError { column, reason: "* needs the beginning of a word before it" })
            }
            (true, false) => Ok(None),
            (false, true) => Ok(Some(Node::Prefix(chunk))),
            (false, false) => Ok(Some(Node::Word(chunk))),
        }
    }

    fn count(&mut self, chunk: &Chunk) -> Result<(), QueryError> {
        self.words += chunk.parts.len();
        if self.words > MAX_WORDS {
            return Err(self.fault("the query has too many words"));
        }
        Ok(())
    }

    fn space(&mut self) {
        while self.rest.next_if(|(_, letter)| letter.is_whitespace()).is_some() {}
    }

    /// Whether the query or its group is over.
    fn ends(&mut self) -> bool {
        self.rest.peek().is_none_or(|(_, letter)| *letter == ')')
    }

    /// Whether this word in capitals stands here.
    fn is_at(&mut self, word: &str) -> bool {
        let rest = &self.text[self.place()..];
        rest.strip_prefix(word).is_some_and(|after| after.chars().next().is_none_or(ends_word))
    }

    fn takes(&mut self, word: &str) -> bool {
        let is_here = self.is_at(word);
        if is_here {
            for _ in word.chars() {
                self.rest.next();
            }
        }
        is_here
    }

    fn place(&mut self) -> usize {
        self.rest.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    fn column(&self, place: usize) -> usize {
        self.text[..place].chars().count() + 1
    }

    fn fault(&mut self, reason: &'static str) -> QueryError {
        let place = self.place();
        QueryError { column: self.column(place), reason }
    }

    fn fault_before(&mut self, reason: &'static str, letters: usize) -> QueryError {
        let fault = self.fault(reason);
        QueryError { column: fault.column - letters, ..fault }
    }
}

fn ends_word(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '(' | ')' | '"')
}

/// Whether a `-` before this text belongs to it: `-x`, not `- x`.
fn is_bound(rest: &str) -> bool {
    rest.chars().next().is_some_and(|letter| !letter.is_whitespace() && letter != ')')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(node: &Node) -> String {
        let each = |nodes: &[Node], between| {
            let texts: Vec<_> = nodes.iter().map(shown).collect();
            format!("({})", texts.join(between))
        };
        let parts = |chunk: &Chunk| chunk.parts.join(".");
        match node {
            Node::All(nodes) => each(nodes, " & "),
            Node::Any(nodes) => each(nodes, " | "),
            Node::Not(inner) => format!("!{}", shown(inner)),
            Node::Phrase(chunks) => {
                format!("<{}>", chunks.iter().map(parts).collect::<Vec<_>>().join(" "))
            }
            Node::Word(chunk) => parts(chunk),
            Node::Prefix(chunk) => format!("{}*", parts(chunk)),
        }
    }

    #[test]
    fn each_form_is_read() {
        for (text, expected) in [
            ("heart", "heart"),
            ("Heart  Failure", "(heart & failure)"),
            ("heart AND failure", "(heart & failure)"),
            ("a OR b c OR d", "(a | (b & c) | d)"),
            ("\"heart  failure\" x", "(<heart failure> & x)"),
            ("a -b NOT c", "(a & !b & !c)"),
            ("-\"a b\"", "!<a b>"),
            ("- a", "a"),
            ("a & b", "(a & b)"),
            ("cardi* a", "(cardi* & a)"),
            ("(a OR b) c", "((a | b) & c)"),
            ("((a))", "a"),
            ("type-2", "type.2"),
            ("type-2*", "type.2*"),
            ("or and not ORB", "(or & and & not & orb)"),
            ("a\"b c\"d", "(a & <b c> & d)"),
            ("NOT (a b)", "!(a & b)"),
            ("-(a OR b)", "!(a | b)"),
            ("糖尿病", "糖.尿.病"),
            ("--a", "!!a"),
        ] {
            let node = parse(text).unwrap_or_else(|fault| panic!("{text:?}: {fault}"));
            assert_eq!(shown(&node), expected, "{text:?}");
        }
    }

    #[test]
    fn a_fault_has_its_column() {
        for (text, column, reason) in [
            ("", 1, "no word"),
            ("  & ", 1, "no word"),
            ("\"\"", 1, "no word"),
            ("a \"b", 3, "not closed"),
            ("é (b", 3, "not closed"),
            ("a) b", 2, "closes nothing"),
            ("a ()", 4, "nothing between"),
            ("OR a", 1, "before it"),
            ("a OR", 5, "behind it"),
            ("a OR )", 6, "behind it"),
            ("a OR OR b", 6, "behind it"),
            ("AND a", 5, "before it"),
            ("a AND", 6, "behind it"),
            ("a NOT", 6, "behind it"),
            ("a *", 3, "before it"),
            ("a b*c", 4, "at the end"),
        ] {
            let fault = parse(text).expect_err(text);
            assert_eq!(fault.column, column, "{text:?}: {fault}");
            assert!(fault.reason.contains(reason), "{text:?}: {fault}");
        }
        assert!(parse(&"(".repeat(10_000)).is_err());
        assert!(parse(&"-".repeat(10_000)).is_err());
        assert!(parse(&"a ".repeat(10_000)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_at_one_of_its_columns(text in "([a-zé糖 \"*()'-]|OR|AND|NOT| ){0,30}") {
            if let Err(fault) = parse(&text) {
                let letters = text.chars().count();
                proptest::prop_assert!((1..=letters + 1).contains(&fault.column), "{text:?} {fault}");
            }
        }
    }
}
