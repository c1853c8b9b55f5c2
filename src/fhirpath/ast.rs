//! The expression as a tree, small enough to keep thousands in memory.
//!
//! Spec: <https://hl7.org/fhirpath/N1/grammar.html>

use super::decimal::Decimal;
use super::functions::{Function, Pattern};

/// One node of the tree and where it stands in the text.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The byte of the text where its operator or first token starts.
    pub(super) start: u32,
    /// Height of the tree under it; bounded, so that recursion over it is.
    pub(super) height: u16,
}

/// An element name and the byte of the text where it starts.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) text: Box<str>,
    pub(super) start: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Binary(Binary, Box<Node>, Box<Node>),
    Call {
        of: Option<Box<Node>>,
        name: Box<str>,
        /// `None`: a name that the library does not have.
        function: Option<&'static Function>,
        arguments: Vec<Node>,
        /// Where the first argument is a constant regular expression, what was made of it.
        pattern: Option<Box<Pattern>>,
    },
    Empty,
    External(Box<str>),
    /// `of[at]`
    Indexer(Box<Node>, Box<Node>),
    Literal(Literal),
    /// `-of` or `+of`
    Polarity {
        negative: bool,
        of: Box<Node>,
    },
    /// A chain of element names, fused: `of.a.b.c`.
    Path {
        of: Option<Box<Node>>,
        names: Vec<Name>,
    },
    /// `$index`
    Position,
    /// `$this`
    This,
    /// `$total`
    Total,
    /// `is`, `as`, `ofType` in operator or method form.
    Type {
        test: TypeTest,
        of: Option<Box<Node>>,
        specifier: TypeSpecifier,
    },
    Union(Vec<Node>),
}

#[derive(Clone, Debug)]
pub(super) enum Literal {
    Boolean(bool),
    Decimal(Decimal),
    Integer(i64),
    Quantity(Decimal, Box<str>),
    String(Box<str>),
    /// A date, date-time or time without its `@`, known to be well formed.
    Temporal(Box<str>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Binary {
    Add,
    And,
    Concatenate,
    Contains,
    Divide,
    Equal,
    Equivalent,
    Greater,
    GreaterOrEqual,
    Implies,
    In,
    Less,
    LessOrEqual,
    Multiply,
    NotEqual,
    NotEquivalent,
    Or,
    Remainder,
    Subtract,
    WholeQuotient,
    Xor,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TypeTest {
    /// Keeps items of the type; search expressions use it on many.
    As,
    /// Keeps the one item when it is of the type.
    AsFunction,
    /// Whether the one item is of the type.
    Is,
    /// Keeps items of the type.
    OfType,
}

/// `System.String`, `FHIR.Patient` or `Patient`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct TypeSpecifier {
    pub(super) namespace: Option<Box<str>>,
    pub(super) name: Box<str>,
}

impl Node {
    /// Shows every node of the tree to `see`.
    pub(super) fn visit<'t>(&'t self, see: &mut impl FnMut(&'t Self)) {
        see(self);
        match &self.kind {
            Kind::Binary(_, left, right) | Kind::Indexer(left, right) => {
                left.visit(see);
                right.visit(see);
            }
            Kind::Call { of, arguments, .. } => {
                if let Some(of) = of {
                    of.visit(see);
                }
                for argument in arguments {
                    argument.visit(see);
                }
            }
            Kind::Path { of: Some(of), .. }
            | Kind::Polarity { of, .. }
            | Kind::Type { of: Some(of), .. } => of.visit(see),
            Kind::Union(arms) => {
                for arm in arms {
                    arm.visit(see);
                }
            }
            Kind::Empty
            | Kind::External(_)
            | Kind::Literal(_)
            | Kind::Path { of: None, .. }
            | Kind::Position
            | Kind::This
            | Kind::Total
            | Kind::Type { of: None, .. } => {}
        }
    }
}
