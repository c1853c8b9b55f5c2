//! A document as it is written: operations and fragments.
//!
//! It is read by hand, as FHIRPath is: how large and how deep a document may be counts before anything of
//! it can hurt, nothing that is sent makes it panic, and each part knows its place.
//!
//! Spec: <https://spec.graphql.org/October2021/#sec-Appendix-Grammar-Summary.Document-Syntax>

use super::fault::{Fault, Place};
use super::lexer::{Lexer, Token};

/// How deep values and types may be nested: more than anything has a use for.
const MOST_NESTED: usize = 8;

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal<'d> {
    Bool(bool),
    List(Vec<Literal<'d>>),
    Null,
    Number(&'d str),
    /// What no argument here takes.
    Object,
    Text(String),
    Variable(&'d str),
    /// A name without quotes: `official`.
    Word(&'d str),
}

/// `name: value`
#[derive(Clone, Debug)]
pub(super) struct Argument<'d> {
    pub(super) name: &'d str,
    pub(super) value: Literal<'d>,
    pub(super) place: Place,
}

/// `@name(..)`
#[derive(Clone, Debug)]
pub(super) struct Directive<'d> {
    pub(super) name: &'d str,
    pub(super) arguments: Vec<Argument<'d>>,
    pub(super) place: Place,
}

/// A field with what is selected of it.
#[derive(Clone, Debug)]
pub(super) struct Field<'d> {
    /// What it is called in the answer.
    pub(super) key: &'d str,
    pub(super) name: &'d str,
    pub(super) arguments: Vec<Argument<'d>>,
    pub(super) directives: Vec<Directive<'d>>,
    pub(super) selection: Vec<Selection<'d>>,
    pub(super) place: Place,
}

/// A part of a selection.
#[derive(Clone, Debug)]
pub(super) enum Selection<'d> {
    Field(Field<'d>),
    /// `... on Patient { }`, or without a condition.
    Inline {
        on: Option<&'d str>,
        directives: Vec<Directive<'d>>,
        selection: Vec<Selection<'d>>,
        place: Place,
    },
    /// `...name`
    Spread {
        name: &'d str,
        directives: Vec<Directive<'d>>,
        place: Place,
    },
}

impl Selection<'_> {
    /// Where it stands.
    pub(super) fn place(&self) -> Place {
        match self {
            Self::Field(field) => field.place,
            Self::Inline { place, .. } | Self::Spread { place, .. } => *place,
        }
    }
}

/// The definition of a variable.
#[derive(Clone, Debug)]
pub(super) struct Variable<'d> {
    pub(super) name: &'d str,
    /// The name of its type, of the items where it is a list.
    pub(super) of: &'d str,
    pub(super) is_list: bool,
    pub(super) is_required: bool,
    pub(super) default: Option<Literal<'d>>,
    pub(super) place: Place,
}

/// `query`, `mutation` or `subscription`
#[derive(Clone, Debug)]
pub(super) struct Operation<'d> {
    pub(super) kind: &'d str,
    pub(super) name: Option<&'d str>,
    pub(super) variables: Vec<Variable<'d>>,
    pub(super) directives: Vec<Directive<'d>>,
    pub(super) selection: Vec<Selection<'d>>,
    pub(super) place: Place,
}

/// `fragment name on Type { }`
#[derive(Clone, Debug)]
pub(super) struct Fragment<'d> {
    pub(super) name: &'d str,
    pub(super) on: &'d str,
    pub(super) directives: Vec<Directive<'d>>,
    pub(super) selection: Vec<Selection<'d>>,
    pub(super) place: Place,
}

/// A document.
#[derive(Clone, Debug, Default)]
pub(super) struct Document<'d> {
    pub(super) operations: Vec<Operation<'d>>,
    pub(super) fragments: Vec<Fragment<'d>>,
}

impl<'d> Document<'d> {
    /// Reads a document whose selections are nested no deeper than `depth`.
    ///
    /// # Errors
    /// The first fault, at its place.
    pub(super) fn parse(text: &'d str, depth: usize) -> Result<Self, Fault> {
        let mut lexer = Lexer::new(text);
        let (token, place) = lexer.next()?;
        let mut parser = Parser { lexer, token, place, depth, within: 0 };
        let mut document = Self::default();
        while parser.token != Token::End {
            if parser.token == Token::Name("fragment") {
                document.fragments.push(parser.fragment()?);
            } else {
                document.operations.push(parser.operation()?);
            }
        }
        if document.operations.is_empty() {
            return Err(Fault::new("the document has no query"));
        }
        Ok(document)
    }
}

struct Parser<'d> {
    lexer: Lexer<'d>,
    token: Token<'d>,
    place: Place,
    depth: usize,
    within: usize,
}

impl<'d> Parser<'d> {
    fn advance(&mut self) -> Result<Token<'d>, Fault> {
        let (token, place) = self.lexer.next()?;
        self.place = place;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn unexpected(&self, expected: &str) -> Fault {
        let text = format!("expected {expected}, not {}", self.token.named());
        Fault::at(text, self.place)
    }

    /// Whether the mark comes next; it is taken.
    fn takes(&mut self, mark: char) -> Result<bool, Fault> {
        let is_next = self.token == Token::Mark(mark);
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    fn expect(&mut self, mark: char) -> Result<(), Fault> {
        if self.takes(mark)? { Ok(()) } else { Err(self.unexpected(&format!("{mark:?}"))) }
    }

    fn name(&mut self) -> Result<&'d str, Fault> {
        let Token::Name(name) = self.token else { return Err(self.unexpected("a name")) };
        self.advance()?;
        Ok(name)
    }

    fn operation(&mut self) -> Result<Operation<'d>, Fault> {
        let place = self.place;
        let mut operation = Operation {
            kind: "query",
            name: None,
            variables: Vec::new(),
            directives: Vec::new(),
            selection: Vec::new(),
            place,
        };
        if self.token != Token::Mark('{') {
            let Token::Name(kind @ ("mutation" | "query" | "subscription")) = self.token else {
                return Err(self.unexpected("a query or a fragment"));
            };
            self.advance()?;
            operation.kind = kind;
            if let Token::Name(name) = self.token {
                self.advance()?;
                operation.name = Some(name);
            }
            if self.takes('(')? {
                while !self.takes(')')? {
                    operation.variables.push(self.variable()?);
                }
            }
            operation.directives = self.directives()?;
        }
        operation.selection = self.selection()?;
        Ok(operation)
    }

    fn variable(&mut self) -> Result<Variable<'d>, Fault> {
        let place = self.place;
        self.expect('$')?;
        let name = self.name()?;
        self.expect(':')?;
        let (of, is_list) = self.variable_type(0)?;
        let is_required = self.takes('!')?;
        let default = if self.takes('=')? { Some(self.value(0)?) } else { None };
        self.directives()?;
        Ok(Variable { name, of, is_list, is_required, default, place })
    }

    /// The name of a type, and whether it is a list.
    fn variable_type(&mut self, within: usize) -> Result<(&'d str, bool), Fault> {
        if within > MOST_NESTED {
            return Err(self.unexpected("a type"));
        }
        if !self.takes('[')? {
            return Ok((self.name()?, false));
        }
        let (of, _) = self.variable_type(within + 1)?;
        self.takes('!')?;
        self.expect(']')?;
        Ok((of, true))
    }

    fn fragment(&mut self) -> Result<Fragment<'d>, Fault> {
        let place = self.place;
        self.advance()?;
        let name = self.name()?;
        if name == "on" {
            return Err(Fault::at("a fragment cannot be called on", place));
        }
        if self.token != Token::Name("on") {
            return Err(self.unexpected("\"on\" and a type"));
        }
        self.advance()?;
        let on = self.name()?;
        let directives = self.directives()?;
        let selection = self.selection()?;
        Ok(Fragment { name, on, directives, selection, place })
    }

    fn selection(&mut self) -> Result<Vec<Selection<'d>>, Fault> {
        let place = self.place;
        self.expect('{')?;
        self.within += 1;
        if self.within > self.depth {
            return Err(Fault::at(too_deep(self.depth), place));
        }
        let mut all = Vec::new();
        while !self.takes('}')? {
            all.push(self.selected()?);
        }
        self.within -= 1;
        if all.is_empty() {
            return Err(Fault::at("nothing is selected here", place));
        }
        Ok(all)
    }

    fn selected(&mut self) -> Result<Selection<'d>, Fault> {
        let place = self.place;
        if self.token != Token::Spread {
            return Ok(Selection::Field(self.field()?));
        }
        self.advance()?;
        match self.token {
            Token::Name(name) if name != "on" => {
                self.advance()?;
                let directives = self.directives()?;
                Ok(Selection::Spread { name, directives, place })
            }
            _ => {
                let on = match self.token {
                    Token::Name(_) => {
                        self.advance()?;
                        Some(self.name()?)
                    }
                    _ => None,
                };
                let directives = self.directives()?;
                let selection = self.selection()?;
                Ok(Selection::Inline { on, directives, selection, place })
            }
        }
    }

    fn field(&mut self) -> Result<Field<'d>, Fault> {
        let place = self.place;
        let key = self.name()?;
        let name = if self.takes(':')? { self.name()? } else { key };
        let arguments = self.arguments()?;
        let directives = self.directives()?;
        let selection = if self.token == Token::Mark('{') { self.selection()? } else { Vec::new() };
        Ok(Field { key, name, arguments, directives, selection, place })
    }

    fn directives(&mut self) -> Result<Vec<Directive<'d>>, Fault> {
        let mut all = Vec::new();
        while self.token == Token::Mark('@') {
            let place = self.place;
            self.advance()?;
            let name = self.name()?;
            all.push(Directive { name, arguments: self.arguments()?, place });
        }
        Ok(all)
    }

    fn arguments(&mut self) -> Result<Vec<Argument<'d>>, Fault> {
        let mut all: Vec<Argument<'d>> = Vec::new();
        if !self.takes('(')? {
            return Ok(all);
        }
        while !self.takes(')')? {
            let place = self.place;
            let name = self.name()?;
            if all.iter().any(|argument| argument.name == name) {
                return Err(Fault::at(format!("the argument {name} stands twice"), place));
            }
            self.expect(':')?;
            all.push(Argument { name, value: self.value(0)?, place });
        }
        Ok(all)
    }

    fn value(&mut self, within: usize) -> Result<Literal<'d>, Fault> {
        if within > MOST_NESTED {
            return Err(self.unexpected("a value that is nested less"));
        }
        let place = self.place;
        Ok(match self.advance()? {
            Token::Mark('$') => Literal::Variable(self.name()?),
            Token::Mark('[') => {
                let mut all = Vec::new();
                while !self.takes(']')? {
                    all.push(self.value(within + 1)?);
                }
                Literal::List(all)
            }
            Token::Mark('{') => {
                while !self.takes('}')? {
                    self.name()?;
                    self.expect(':')?;
                    self.value(within + 1)?;
                }
                Literal::Object
            }
            Token::Name("false") => Literal::Bool(false),
            Token::Name("null") => Literal::Null,
            Token::Name("true") => Literal::Bool(true),
            Token::Name(word) => Literal::Word(word),
            Token::Number(digits) => Literal::Number(digits),
            Token::Text(text) => Literal::Text(text),
            other => {
                let text = format!("expected a value, not {}", other.named());
                return Err(Fault::at(text, place));
            }
        })
    }
}

/// What is said where selections are nested too deeply.
pub(super) fn too_deep(depth: usize) -> String {
    format!("selections are nested deeper than the {depth} of the setting graphql.max_depth")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_operations_and_fragments() {
        let text = r#"query Q($id: ID! = "a", $n: [Int!]!) @x {
            p: Patient(id: $id) @include(if: true) { ...f ... on Patient { name(use: official, _count: 1) { given } } ... { id } }
        }
        fragment f on Patient { birthDate }"#;
        let document = Document::parse(text, 5).expect("a document");
        let [operation] = &*document.operations else { panic!("{document:?}") };
        assert_eq!((operation.kind, operation.name), ("query", Some("Q")));
        let variables: Vec<_> = operation
            .variables
            .iter()
            .map(|it| (it.name, it.of, it.is_list, it.is_required, it.default.clone()))
            .collect();
        let default = Some(Literal::Text("a".to_owned()));
        assert_eq!(variables, [("id", "ID", false, true, default), ("n", "Int", true, true, None)]);
        let [Selection::Field(field)] = &*operation.selection else { panic!("{document:?}") };
        assert_eq!((field.key, field.name, field.selection.len()), ("p", "Patient", 3));
        assert_eq!(field.place, Place { line: 2, column: 13 });
        assert_eq!(document.fragments[0].on, "Patient");
    }

    #[test]
    fn what_is_no_document_is_refused_at_its_place() {
        let deep = |depth: usize| format!("{}a{}", "{a".repeat(depth), "}".repeat(depth));
        let nested = format!("{{a(b: {}1{})}}", "[".repeat(100_000), "]".repeat(100_000));
        let typed = format!("query($a: {}Int{}) {{a}}", "[".repeat(100_000), "]".repeat(100_000));
        for (text, expected) in [
            ("", "the document has no query"),
            ("# nothing", "the document has no query"),
            ("fragment f on A { a }", "the document has no query"),
            ("{", "expected a name, not the end of the document"),
            ("{ }", "nothing is selected here"),
            ("{ a { } }", "nothing is selected here"),
            ("{ a(b: 1, b: 2) }", "the argument b stands twice"),
            ("{ a(b:) }", "expected a value, not ')'"),
            ("type A { b: C }", "expected a query or a fragment, not \"type\""),
            ("{ a } }", "expected a query or a fragment, not '}'"),
            ("fragment on on A { a }", "a fragment cannot be called on"),
            ("fragment f { a }", "expected \"on\" and a type, not '{'"),
            ("query(a: Int) { a }", "expected '$', not \"a\""),
            ("{ a & b }", "expected a name, not '&'"),
            (&*deep(8), "graphql.max_depth"),
            (&*deep(100_000), "graphql.max_depth"),
            (&*nested, "nested less"),
            (&*typed, "expected a type"),
        ] {
            let fault = Document::parse(text, 7).expect_err(text);
            assert!(
                fault.message.contains(expected),
                "{}: {}",
                &text[..text.len().min(40)],
                fault.message
            );
        }
        assert!(Document::parse(&deep(7), 7).is_ok());
    }
}
