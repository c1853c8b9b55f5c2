//! Expressions of a map: what stands on the right of a rule, and conditions.
//!
//! ```text
//! PID-3[*] | cx(type='MR')      OBX-14 | or(OBR-7) | datetime      'final'
//! valued(PID-29)                OBX-2 in ['ED', 'RP'] and not null(OBX-5)
//! ```

use thiserror::Error;

use crate::hl7v2::er7::Path;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A function on what arguments give.
    Call(Call),
    /// Two expressions with an operator between.
    Binary(Operator, Box<Expr>, Box<Expr>),
    /// Several values to be one of.
    List(Vec<Expr>),
    /// A name of a resource of the map or of a type.
    Name(String),
    /// The opposite of a condition.
    Not(Box<Expr>),
    /// A whole number.
    Number(i64),
    /// Values of the message.
    Path(Path),
    /// A value handed to a function.
    Pipe(Box<Expr>, Call),
    /// A text.
    Text(String),
}

/// A function with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// The arguments without a name.
    pub plain: Vec<Expr>,
    /// Those with one.
    pub named: Vec<(String, Expr)>,
}

/// What stands between two expressions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operator {
    And,
    Equal,
    In,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
    Or,
    Plus,
    Unequal,
}

/// Why a text is no expression.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{reason} at character {at}")]
pub struct ExprError {
    at: usize,
    reason: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Number(i64),
    Path(Path),
    Sign(&'static str),
    Text(String),
}

/// The deepest nesting that is read.
const DEPTH: usize = 32;

impl Expr {
    /// Reads an expression.
    ///
    /// # Errors
    /// Where in the text it goes wrong, and why.
    pub fn parse(text: &str) -> Result<Self, ExprError> {
        let tokens = tokens(text)?;
        let mut parser = Parser { tokens, next: 0, end: text.chars().count() + 1, depth: 0 };
        let found = parser.binary(0)?;
        match parser.tokens.get(parser.next) {
            None => Ok(found),
            Some((at, _)) => Err(ExprError { at: *at, reason: "something unexpected".to_owned() }),
        }
    }

    /// The paths to values in it, in order.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        self.walk(&mut |expr| {
            if let Expr::Path(path) = expr {
                out.push(*path);
            }
        });
        out
    }

    /// Visits all expressions in it.
    pub fn walk<'e>(&'e self, visit: &mut dyn FnMut(&'e Expr)) {
        visit(self);
        let call = |call: &'e Call, visit: &mut dyn FnMut(&'e Expr)| {
            for inner in call.plain.iter().chain(call.named.iter().map(|(_, inner)| inner)) {
                inner.walk(visit);
            }
        };
        match self {
            Self::Call(own) => call(own, visit),
            Self::Binary(_, left, right) => {
                left.walk(&mut *visit);
                right.walk(&mut *visit);
            }
            Self::List(items) => items.iter().for_each(|item| item.walk(&mut *visit)),
            Self::Not(inner) => inner.walk(&mut *visit),
            Self::Pipe(inner, own) => {
                inner.walk(&mut *visit);
                call(own, visit);
            }
            Self::Name(_) | Self::Number(_) | Self::Path(_) | Self::Text(_) => {}
        }
    }
}

const SIGNS: [&str; 14] =
    ["==", "!=", "<=", ">=", "<", ">", "|", "(", ")", "[", "]", ",", "=", "+"];

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, ExprError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let at = text[..text.len() - rest.len()].chars().count() + 1;
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let (token, length) = if let Some(length) = path_length(rest) {
            let path = rest[..length].parse();
            let path = path.map_err(|_| fault(at, "no path such as PID-3[*].4"))?;
            (Token::Path(path), length)
        } else if first == '\'' {
            let end = rest[1..].find('\'').ok_or_else(|| fault(at, "a text without an end"))?;
            (Token::Text(rest[1..=end].to_owned()), end + 2)
        } else if first.is_ascii_digit() {
            let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number = rest[..length].parse().map_err(|_| fault(at, "too large a number"))?;
            (Token::Number(number), length)
        } else if first.is_ascii_alphabetic() {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            (Token::Name(rest[..length].to_owned()), length)
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| fault(at, "an unknown character"))?;
            (Token::Sign(sign), sign.len())
        };
        tokens.push((at, token));
        rest = &rest[length..];
    }
}

fn fault(at: usize, reason: &str) -> ExprError {
    ExprError { at, reason: reason.to_owned() }
}

/// How long a path at the beginning of the text is: `OBX`, `OBX[*]-5`, `PID-3[*].4.2`.
fn path_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let name = bytes.get(..3)?;
    let is_name = name[0].is_ascii_uppercase()
        && name[1..].iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    let is_end = |at: usize| bytes.get(at).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    if !is_name || !is_end(3) || bytes.get(3) == Some(&b'_') {
        return None;
    }
    let index = |at: usize| {
        let rest = text[at..].strip_prefix('[')?;
        let (inner, _) = rest.split_once(']')?;
        let is_index = inner == "*" || inner.bytes().all(|byte| byte.is_ascii_digit());
        (is_index && !inner.is_empty()).then_some(at + inner.len() + 2)
    };
    let number = |at: usize, sign: u8| {
        let digits = bytes.get(at).filter(|byte| **byte == sign).map(|_| &bytes[at + 1..])?;
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then_some(at + 1 + count)
    };
    let mut end = index(3).unwrap_or(3);
    let Some(field) = number(end, b'-') else { return Some(end) };
    end = index(field).unwrap_or(field);
    while let Some(next) = number(end, b'.') {
        end = next;
    }
    Some(end)
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
    depth: usize,
}

/// Operators from the weakest, each with how strong it binds.
fn operator(token: &Token) -> Option<(Operator, u8)> {
    Some(match token {
        Token::Name(name) if name == "or" => (Operator::Or, 1),
        Token::Name(name) if name == "and" => (Operator::And, 2),
        Token::Name(name) if name == "in" => (Operator::In, 4),
        Token::Sign("==") => (Operator::Equal, 4),
        Token::Sign("!=") => (Operator::Unequal, 4),
        Token::Sign("<") => (Operator::Less, 4),
        Token::Sign("<=") => (Operator::LessOrEqual, 4),
        Token::Sign(">") => (Operator::More, 4),
        Token::Sign(">=") => (Operator::MoreOrEqual, 4),
        Token::Sign("+") => (Operator::Plus, 5),
        _ => return None,
    })
}

impl Parser {
    fn fault<T>(&self, reason: &str) -> Result<T, ExprError> {
        let at = self.tokens.get(self.next).map_or(self.end, |(at, _)| *at);
        Err(fault(at, reason))
    }

    fn take(&mut self, sign: &'static str) -> bool {
        let is_there =
            matches!(self.tokens.get(self.next), Some((_, Token::Sign(own))) if *own == sign);
        self.next += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), ExprError> {
        if self.take(sign) { Ok(()) } else { self.fault(&format!("{sign:?} is missing")) }
    }

    fn binary(&mut self, least: u8) -> Result<Expr, ExprError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return self.fault("nested too deep");
        }
        let is_not =
            matches!(self.tokens.get(self.next), Some((_, Token::Name(name))) if name == "not");
        let mut left = if is_not {
            self.next += 1;
            Expr::Not(Box::new(self.binary(3)?))
        } else {
            self.piped()?
        };
        while let Some((operator, strength)) =
            self.tokens.get(self.next).and_then(|(_, token)| operator(token))
        {
            if strength < least {
                break;
            }
            self.next += 1;
            let right = self.binary(strength + 1)?;
            left = Expr::Binary(operator, Box::new(left), Box::new(right));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn piped(&mut self) -> Result<Expr, ExprError> {
        let mut found = self.primary()?;
        while self.take("|") {
            let Some((_, Token::Name(name))) = self.tokens.get(self.next).cloned() else {
                return self.fault("a function is missing");
            };
            self.next += 1;
            let call = self.call(name)?;
            found = Expr::Pipe(Box::new(found), call);
        }
        Ok(found)
    }

    fn primary(&mut self) -> Result<Expr, ExprError> {
        let Some((_, token)) = self.tokens.get(self.next).cloned() else {
            return self.fault("a value is missing");
        };
        self.next += 1;
        match token {
            Token::Path(path) => Ok(Expr::Path(path)),
            Token::Text(text) => Ok(Expr::Text(text)),
            Token::Number(number) => Ok(Expr::Number(number)),
            Token::Sign("(") => {
                let inner = self.binary(0)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                let mut items = Vec::new();
                while !self.take("]") {
                    items.push(self.binary(0)?);
                    if !self.take(",")
                        && !matches!(self.tokens.get(self.next), Some((_, Token::Sign("]"))))
                    {
                        return self.fault("\",\" or \"]\" is missing");
                    }
                }
                Ok(Expr::List(items))
            }
            Token::Name(name) => {
                let is_call = matches!(self.tokens.get(self.next), Some((_, Token::Sign("("))));
                if is_call { Ok(Expr::Call(self.call(name)?)) } else { Ok(Expr::Name(name)) }
            }
            Token::Sign(_) => {
                self.next -= 1;
                self.fault("a value is missing")
            }
        }
    }

    fn call(&mut self, name: String) -> Result<Call, ExprError> {
        let mut call = Call { name, plain: Vec::new(), named: Vec::new() };
        if !self.take("(") {
            return Ok(call);
        }
        while !self.take(")") {
            let name = match (self.tokens.get(self.next), self.tokens.get(self.next + 1)) {
                (Some((_, Token::Name(name))), Some((_, Token::Sign("=")))) => Some(name.clone()),
                _ => None,
            };
            if let Some(name) = name {
                self.next += 2;
                let value = self.binary(0)?;
                call.named.push((name, value));
            } else {
                call.plain.push(self.binary(0)?);
            }
            if !self.take(",") && !matches!(self.tokens.get(self.next), Some((_, Token::Sign(")"))))
            {
                return self.fault("\",\" or \")\" is missing");
            }
        }
        Ok(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_the_language_are_read() {
        for text in [
            "PID-3[*] | cx | trusted",
            "OBX-21 | or(ids(OBR-3, OBX-3.1, OBX-4, nth))",
            "not OBX-2 in ['ED', 'RP'] and (valued(OBX-5) or OBX-11 == 'X')",
            "len(PID-7) > 8",
            "'final'",
            "NTE[*]-3[*] | join(' ')",
            "PID-11[*] | xad(county=PID-12)",
            "refs(observation)",
            "OBR-2.1 + '-' + OBR-4.1",
        ] {
            assert!(Expr::parse(text).is_ok(), "{text}: {:?}", Expr::parse(text));
        }
    }

    #[test]
    fn a_fault_names_its_place() {
        for (text, at) in [
            ("", 1),
            ("PID-3 |", 8),
            ("PID-3 | cx(", 12),
            ("'open", 1),
            ("a ~ b", 3),
            ("PID-3 PID-4", 7),
            ("[1 2]", 4),
        ] {
            assert_eq!(Expr::parse(text).unwrap_err().at, at, "{text:?}");
        }
    }

    #[test]
    fn not_binds_weaker_than_in_and_stronger_than_and() {
        let one = Expr::parse("not OBX-2 in ['ED'] and valued(OBX-5)").unwrap();
        let other = Expr::parse("(not (OBX-2 in ['ED'])) and valued(OBX-5)").unwrap();
        assert_eq!(one, other);
    }
}
