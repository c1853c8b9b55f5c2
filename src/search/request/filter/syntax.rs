//! The grammar of `_filter`, with the place of everything.
//!
//! ```text
//! expression  = conjunction ("or" conjunction)*
//! conjunction = term ("and" term)*
//! term        = "not" "(" expression ")" | "(" expression ")" | path operator value
//! path        = has? name ("[" expression "]")? ("." path)?
//! has         = "_has:" type ":" name ":" has?
//! ```
//!
//! Spec: <https://hl7.org/fhir/R4/search_filter.html> (rest 4.173, 4.174)

use super::super::fault::Reason;

/// Parentheses and brackets go so deep.
const MAX_DEPTH: usize = 32;

/// An expression; columns are characters from 1.
#[derive(Debug, PartialEq)]
pub(super) enum Expression<'t> {
    All(Vec<Expression<'t>>),
    Any(Vec<Expression<'t>>),
    Not(Box<Expression<'t>>),
    Test(Test<'t>),
}

/// A comparison.
#[derive(Debug, PartialEq)]
pub(super) struct Test<'t> {
    /// At least one.
    pub(super) path: Vec<Step<'t>>,
    pub(super) operator: Operator,
    pub(super) operator_column: usize,
    /// Without its quotes; the escapes of values are still in it.
    pub(super) value: String,
    pub(super) value_column: usize,
}

/// A name on the way to what is compared.
#[derive(Debug, PartialEq)]
pub(super) struct Step<'t> {
    pub(super) name: &'t str,
    pub(super) column: usize,
    /// What holds for what the name leads to.
    pub(super) filter: Option<Expression<'t>>,
}

/// How is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operator {
    Ap,
    Co,
    Eb,
    Eq,
    Ew,
    Ge,
    Gt,
    In,
    Le,
    Lt,
    Ne,
    Ni,
    Po,
    Pr,
    Re,
    Sa,
    Sb,
    Ss,
    Sw,
}

const OPERATORS: [(&str, Operator); 19] = [
    ("ap", Operator::Ap),
    ("co", Operator::Co),
    ("eb", Operator::Eb),
    ("eq", Operator::Eq),
    ("ew", Operator::Ew),
    ("ge", Operator::Ge),
    ("gt", Operator::Gt),
    ("in", Operator::In),
    ("le", Operator::Le),
    ("lt", Operator::Lt),
    ("ne", Operator::Ne),
    ("ni", Operator::Ni),
    ("po", Operator::Po),
    ("pr", Operator::Pr),
    ("re", Operator::Re),
    ("sa", Operator::Sa),
    ("sb", Operator::Sb),
    ("ss", Operator::Ss),
    ("sw", Operator::Sw),
];

impl Operator {
    pub(super) fn as_str(self) -> &'static str {
        OPERATORS.iter().find(|(_, it)| *it == self).map_or("", |(text, _)| text)
    }
}

/// Reads an expression.
///
/// # Errors
/// The first place that the grammar does not allow.
pub(super) fn parse(text: &str) -> Result<Expression<'_>, Reason> {
    let mut parser = Parser { text, at: 0, depth: 0, counted: (0, 1) };
    let found = parser.expression()?;
    parser.space();
    if parser.rest().is_empty() { Ok(found) } else { Err(parser.expected("and, or, or the end")) }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    /// A place in the text and its column: the next one is counted from there.
    counted: (usize, usize),
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn column(&mut self) -> usize {
        let (at, column) = if self.counted.0 <= self.at { self.counted } else { (0, 1) };
        self.counted = (self.at, column + self.text[at..self.at].chars().count());
        self.counted.1
    }

    fn expected(&mut self, what: &str) -> Reason {
        fault(self.column(), Reason::name(format!("{what} is expected")))
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes a character if it comes next, behind white space.
    fn take(&mut self, character: char) -> bool {
        self.space();
        let found = self.rest().starts_with(character);
        self.at += if found { character.len_utf8() } else { 0 };
        found
    }

    /// Takes a word if it comes next and ends there.
    fn keyword(&mut self, word: &str) -> bool {
        self.space();
        let Some(after) = self.rest().strip_prefix(word) else { return false };
        let next = after.chars().next();
        let ends = next.is_none_or(|next| next.is_whitespace() || next == '(');
        self.at += if ends { word.len() } else { 0 };
        ends
    }

    fn expression(&mut self) -> Result<Expression<'t>, Reason> {
        let mut any = vec![self.conjunction()?];
        while self.keyword("or") {
            any.push(self.conjunction()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Expression::Any(any) })
    }

    fn conjunction(&mut self) -> Result<Expression<'t>, Reason> {
        let mut all = vec![self.term()?];
        while self.keyword("and") {
            all.push(self.term()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expression::All(all) })
    }

    fn term(&mut self) -> Result<Expression<'t>, Reason> {
        let start = self.at;
        if self.keyword("not") {
            if self.take('(') {
                return Ok(Expression::Not(Box::new(self.enclosed(')')?)));
            }
            self.at = start;
        }
        if self.take('(') {
            return self.enclosed(')');
        }
        self.test()
    }

    /// An expression and what closes it.
    fn enclosed(&mut self, close: char) -> Result<Expression<'t>, Reason> {
        self.depth += 1;
        let (count, limit) = (self.depth, MAX_DEPTH);
        if count > limit {
            let what = "parentheses around each other";
            return Err(fault(self.column(), Reason::TooMany { what, count, limit }));
        }
        let found = self.expression()?;
        if !self.take(close) {
            return Err(self.expected(&format!("and, or, or {close}")));
        }
        self.depth -= 1;
        Ok(found)
    }

    fn test(&mut self) -> Result<Expression<'t>, Reason> {
        let path = self.path()?;
        self.space();
        let operator_column = self.column();
        let found = OPERATORS.into_iter().find(|(word, _)| self.keyword(word));
        let Some((_, operator)) = found else {
            let known: Vec<_> = OPERATORS.iter().map(|(word, _)| *word).collect();
            return Err(self.expected(&format!("an operator ({})", known.join(", "))));
        };
        self.space();
        let value_column = self.column();
        let value = self.value()?;
        Ok(Expression::Test(Test { path, operator, operator_column, value, value_column }))
    }

    fn path(&mut self) -> Result<Vec<Step<'t>>, Reason> {
        let mut path = Vec::new();
        loop {
            self.space();
            let (start, column) = (self.at, self.column());
            let is_name = |next: char| next.is_alphanumeric() || matches!(next, '_' | '-' | ':');
            let rest = self.rest();
            self.at += rest.find(|next| !is_name(next)).unwrap_or(rest.len());
            let name = &self.text[start..self.at];
            if !name.starts_with(|first: char| first.is_alphabetic() || first == '_') {
                self.at = start;
                return Err(self.expected("the name of a parameter, not or ("));
            }
            let mut filter = None;
            if self.rest().starts_with('[') {
                self.at += 1;
                filter = Some(self.enclosed(']')?);
                if !self.rest().starts_with('.') {
                    return Err(self.expected(". and the name of a parameter"));
                }
            }
            path.push(Step { name, column, filter });
            if !self.rest().starts_with('.') {
                return Ok(path);
            }
            self.at += 1;
        }
    }

    /// A text in quotes, else everything up to white space or what closes a group.
    fn value(&mut self) -> Result<String, Reason> {
        let rest = self.rest();
        let Some(quoted) = rest.strip_prefix('"') else {
            let is_end = |next: char| next.is_whitespace() || matches!(next, ')' | ']');
            let length = rest.find(is_end).unwrap_or(rest.len());
            if length == 0 {
                return Err(self.expected("a value"));
            }
            self.at += length;
            return Ok(rest[..length].to_owned());
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.at += 1 + at + 1;
                    return Ok(value);
                }
                '\\' => match characters.next() {
                    Some((_, '"')) => value.push('"'),
                    Some((_, other)) => value.extend(['\\', other]),
                    None => break,
                },
                other => value.push(other),
            }
        }
        self.at = self.text.len();
        Err(self.expected("the closing quote"))
    }
}

/// Something wrong at a place.
pub(super) fn fault(column: usize, problem: Reason) -> Reason {
    match problem {
        Reason::Filter { .. } => problem,
        problem => Reason::Filter { column, problem: Box::new(problem) },
    }
}
