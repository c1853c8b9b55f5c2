//! Tokens to a tree, by precedence.
//!
//! Spec: <https://hl7.org/fhirpath/N1/grammar.html>, <https://hl7.org/fhirpath/N1/#operator-precedence>

use thiserror::Error;

use super::ast::{Binary, Kind, Literal, Name, Node, TypeSpecifier, TypeTest};
use super::decimal::Decimal;
use super::functions;
use super::lexer::{Token, TokenKind, tokens};

/// Highest tree and deepest nesting: bounds the stack that parsing and evaluation need.
const MAX_HEIGHT: u16 = 150;

/// Longest text, in bytes.
const MAX_LENGTH: usize = 65_536;

/// Why a text is not a FHIRPath expression, and where.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{reason} at column {column}")]
pub struct ParseError {
    /// What is wrong, without the place.
    pub reason: String,
    /// Column of the fault in characters, from 1.
    pub column: usize,
}

impl ParseError {
    pub(super) fn new(text: &str, at: usize, reason: impl Into<String>) -> Self {
        let column = text.get(..at).map_or(0, |before| before.chars().count()) + 1;
        Self { reason: reason.into(), column }
    }
}

/// Binary operators with how tightly they bind; a higher number binds first.
const OPERATORS: [(&str, u8, Binary); 21] = [
    ("*", 9, Binary::Multiply),
    ("/", 9, Binary::Divide),
    ("div", 9, Binary::WholeQuotient),
    ("mod", 9, Binary::Remainder),
    ("+", 8, Binary::Add),
    ("-", 8, Binary::Subtract),
    ("&", 8, Binary::Concatenate),
    ("<=", 5, Binary::LessOrEqual),
    (">=", 5, Binary::GreaterOrEqual),
    ("<", 5, Binary::Less),
    (">", 5, Binary::Greater),
    ("=", 4, Binary::Equal),
    ("~", 4, Binary::Equivalent),
    ("!=", 4, Binary::NotEqual),
    ("!~", 4, Binary::NotEquivalent),
    ("in", 3, Binary::In),
    ("contains", 3, Binary::Contains),
    ("and", 2, Binary::And),
    ("or", 1, Binary::Or),
    ("xor", 1, Binary::Xor),
    ("implies", 0, Binary::Implies),
];

/// How tightly `is` and `as` bind.
const TYPE_LEVEL: u8 = 7;

/// How tightly `|` binds.
const UNION_LEVEL: u8 = 6;

/// Words that are no element names where an operand is expected, unless in backticks.
const RESERVED: [&str; 8] = ["and", "div", "false", "implies", "mod", "or", "true", "xor"];

const CALENDAR_UNITS: [&str; 16] = [
    "year",
    "years",
    "month",
    "months",
    "week",
    "weeks",
    "day",
    "days",
    "hour",
    "hours",
    "minute",
    "minutes",
    "second",
    "seconds",
    "millisecond",
    "milliseconds",
];

pub(super) fn parse(text: &str) -> Result<Node, ParseError> {
    if text.len() > MAX_LENGTH {
        return Err(ParseError::new(text, 0, "the expression is too long"));
    }
    let tokens = tokens(text)?;
    let mut parser = Parser { text, tokens, at: 0, depth: 0 };
    let node = parser.expression(0)?;
    match parser.peek() {
        TokenKind::End => Ok(node),
        _ => parser.fail("an operator or the end is expected"),
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token<'t>>,
    at: usize,
    depth: u16,
}

type Parsed = Result<Node, ParseError>;

impl<'t> Parser<'t> {
    fn peek(&self) -> &TokenKind<'t> {
        &self.tokens[self.at.min(self.tokens.len() - 1)].kind
    }

    fn start(&self) -> usize {
        self.tokens[self.at.min(self.tokens.len() - 1)].start
    }

    fn fail<T>(&self, reason: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(self.text, self.start(), reason))
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), TokenKind::Symbol(found) if *found == symbol);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), ParseError> {
        if self.symbol(symbol) { Ok(()) } else { self.fail(format!("{symbol:?} is expected")) }
    }

    fn node(&self, kind: Kind, start: usize) -> Parsed {
        let height = kind.height() + 1;
        if height > MAX_HEIGHT {
            return Err(ParseError::new(self.text, start, "the expression is too deep"));
        }
        Ok(Node { kind, start: start as u32, height })
    }

    /// An expression whose operators bind at least as tightly as `level`.
    fn expression(&mut self, level: u8) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_HEIGHT {
            return self.fail("the expression is nested too deeply");
        }
        let mut left = self.unary()?;
        loop {
            let start = self.start();
            left = if level <= TYPE_LEVEL
                && let Some(test) = self.type_operator()
            {
                self.at += 1;
                let specifier = self.type_specifier()?;
                self.node(Kind::Type { test, of: Some(Box::new(left)), specifier }, start)?
            } else if level <= UNION_LEVEL && self.symbol("|") {
                self.union(left, start)?
            } else if let Some((tightness, operator)) = self.operator(level) {
                self.at += 1;
                let right = self.expression(tightness + 1)?;
                self.node(Kind::Binary(operator, Box::new(left), Box::new(right)), start)?
            } else {
                break;
            };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn type_operator(&self) -> Option<TypeTest> {
        match self.peek() {
            TokenKind::Identifier("is") => Some(TypeTest::Is),
            TokenKind::Identifier("as") => Some(TypeTest::As),
            _ => None,
        }
    }

    fn operator(&self, level: u8) -> Option<(u8, Binary)> {
        let (TokenKind::Symbol(word) | TokenKind::Identifier(word)) = self.peek() else {
            return None;
        };
        let found = OPERATORS.iter().find(|(name, ..)| name == word)?;
        (found.1 >= level).then_some((found.1, found.2))
    }

    /// `a | b | c` as one node.
    fn union(&mut self, left: Node, start: usize) -> Parsed {
        let mut arms = vec![left];
        loop {
            arms.push(self.expression(UNION_LEVEL + 1)?);
            if !self.symbol("|") {
                return self.node(Kind::Union(arms), start);
            }
        }
    }

    fn unary(&mut self) -> Parsed {
        let start = self.start();
        let mut signs = Vec::new();
        loop {
            if self.symbol("-") {
                signs.push(true);
            } else if self.symbol("+") {
                signs.push(false);
            } else {
                break;
            }
        }
        let mut node = self.postfix()?;
        for negative in signs.into_iter().rev() {
            node = self.node(Kind::Polarity { negative, of: Box::new(node) }, start)?;
        }
        Ok(node)
    }

    /// A term with its `.name`, `.name(..)` and `[..]`.
    fn postfix(&mut self) -> Parsed {
        let mut node = self.term()?;
        loop {
            let start = self.start();
            if self.symbol(".") {
                node = self.invocation(Some(node))?;
            } else if self.symbol("[") {
                let at = self.expression(0)?;
                self.expect("]")?;
                node = self.node(Kind::Indexer(Box::new(node), Box::new(at)), start)?;
            } else {
                return Ok(node);
            }
        }
    }

    fn term(&mut self) -> Parsed {
        let start = self.start();
        match self.peek().clone() {
            TokenKind::Symbol("(") => {
                self.at += 1;
                let node = self.expression(0)?;
                self.expect(")")?;
                Ok(node)
            }
            TokenKind::Symbol("{") => {
                self.at += 1;
                self.expect("}")?;
                self.node(Kind::Empty, start)
            }
            TokenKind::Symbol("%") => {
                self.at += 1;
                let name = match self.peek().clone() {
                    TokenKind::Identifier(name) => name.into(),
                    TokenKind::Delimited(name) | TokenKind::String(name) => name.into(),
                    _ => return self.fail("a name is expected after %"),
                };
                self.at += 1;
                self.node(Kind::External(name), start)
            }
            TokenKind::Number(digits) => {
                self.at += 1;
                let literal = self.number(digits, start)?;
                self.node(Kind::Literal(literal), start)
            }
            TokenKind::String(text) => self.literal(Literal::String(text.into()), start),
            TokenKind::Temporal(text) => self.literal(Literal::Temporal(text.into()), start),
            TokenKind::Identifier("true") => self.literal(Literal::Boolean(true), start),
            TokenKind::Identifier("false") => self.literal(Literal::Boolean(false), start),
            TokenKind::Identifier(word) if RESERVED.contains(&word) => {
                self.fail(format!("{word} is an operator: put a name in backticks"))
            }
            _ => self.invocation(None),
        }
    }

    fn literal(&mut self, literal: Literal, start: usize) -> Parsed {
        self.at += 1;
        self.node(Kind::Literal(literal), start)
    }

    /// A number, and with a unit after it a quantity.
    fn number(&mut self, digits: &str, start: usize) -> Result<Literal, ParseError> {
        let too_large = || ParseError::new(self.text, start, "the number is too large");
        let unit = match self.peek() {
            TokenKind::String(unit) => Some(Box::from(unit.as_str())),
            TokenKind::Identifier(word) if CALENDAR_UNITS.contains(word) => Some(Box::from(*word)),
            _ => None,
        };
        if let Some(unit) = unit {
            let value = Decimal::parse(digits).ok_or_else(too_large)?;
            self.at += 1;
            return Ok(Literal::Quantity(value, unit));
        }
        if digits.contains('.') {
            return Decimal::parse(digits).map(Literal::Decimal).ok_or_else(too_large);
        }
        digits.parse().map(Literal::Integer).map_err(|_| too_large())
    }

    /// A name, a call, or `$this` and its kin; after a point or at the start of a term.
    fn invocation(&mut self, of: Option<Node>) -> Parsed {
        let start = self.start();
        let name: Box<str> = match self.peek().clone() {
            TokenKind::Dollar(word) if of.is_none() => {
                let kind = match word {
                    "index" => Kind::Position,
                    "this" => Kind::This,
                    "total" => Kind::Total,
                    _ => return self.fail(format!("${word} is not known")),
                };
                self.at += 1;
                return self.node(kind, start);
            }
            TokenKind::Identifier(name) => name.into(),
            TokenKind::Delimited(name) => name.into(),
            _ => return self.fail("an element name, a function or a value is expected"),
        };
        self.at += 1;
        if self.symbol("(") {
            return self.call(of, name, start);
        }
        let name = Name { text: name, start: start as u32 };
        match of {
            Some(Node { kind: Kind::Path { of, mut names }, .. }) => {
                names.push(name);
                self.node(Kind::Path { of, names }, start)
            }
            of => self.node(Kind::Path { of: of.map(Box::new), names: vec![name] }, start),
        }
    }

    fn call(&mut self, of: Option<Node>, name: Box<str>, start: usize) -> Parsed {
        let of = of.map(Box::new);
        let test = match &*name {
            "as" => Some(TypeTest::AsFunction),
            "is" => Some(TypeTest::Is),
            "ofType" => Some(TypeTest::OfType),
            _ => None,
        };
        if let Some(test) = test {
            let specifier = self.type_specifier()?;
            self.expect(")")?;
            return self.node(Kind::Type { test, of, specifier }, start);
        }
        let mut arguments = Vec::new();
        if !self.symbol(")") {
            loop {
                arguments.push(self.expression(0)?);
                if !self.symbol(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        let function = functions::named(&name);
        let pattern = functions::pattern(function, &arguments);
        self.node(Kind::Call { of, name, function, arguments, pattern }, start)
    }

    fn type_specifier(&mut self) -> Result<TypeSpecifier, ParseError> {
        let first = self.type_name()?;
        if self.symbol(".") {
            return Ok(TypeSpecifier { namespace: Some(first), name: self.type_name()? });
        }
        Ok(TypeSpecifier { namespace: None, name: first })
    }

    fn type_name(&mut self) -> Result<Box<str>, ParseError> {
        let name = match self.peek().clone() {
            TokenKind::Identifier(name) => name.into(),
            TokenKind::Delimited(name) => name.into(),
            _ => return self.fail("a type name is expected"),
        };
        self.at += 1;
        Ok(name)
    }
}

impl Kind {
    fn height(&self) -> u16 {
        let highest = |nodes: &[Node]| nodes.iter().map(|node| node.height).max().unwrap_or(0);
        let optional = |node: &Option<Box<Node>>| node.as_ref().map_or(0, |node| node.height);
        match self {
            Self::Binary(_, left, right) | Self::Indexer(left, right) => {
                left.height.max(right.height)
            }
            Self::Call { of, arguments, .. } => optional(of).max(highest(arguments)),
            Self::Path { of, .. } | Self::Type { of, .. } => optional(of),
            Self::Polarity { of, .. } => of.height,
            Self::Union(arms) => highest(arms),
            Self::Empty
            | Self::External(_)
            | Self::Literal(_)
            | Self::Position
            | Self::This
            | Self::Total => 0,
        }
    }
}

#[cfg(test)]
mod tests;
