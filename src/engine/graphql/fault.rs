//! What is wrong with a document, or with what it asks for, as GraphQL tells it.
//!
//! Spec: <https://spec.graphql.org/October2021/#sec-Errors>

use std::sync::Arc;

use crate::error::Error;

/// A place in a document, counted from 1.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The character of the line.
    pub column: u32,
}

/// A step of the way to a value of the answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// A place in a list, from 0.
    Index(usize),
    /// A field by the name it has in the answer.
    Key(String),
}

impl Step {
    /// About as many bytes as it has.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Index(_) => 8,
            Self::Key(key) => key.len(),
        }
    }
}

/// One error of an answer.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What is wrong, for a person.
    pub message: String,
    /// Where in the document.
    pub place: Option<Place>,
    /// Where in the answer; empty where there is none.
    pub path: Vec<Step>,
    /// Why an interaction did not happen, which has an outcome of its own.
    pub cause: Option<Arc<Error>>,
}

/// Most errors that an answer tells.
const TOLD: usize = 50;
/// Most characters of a message.
const MOST_CHARACTERS: usize = 400;

impl Fault {
    /// A fault of the request as a whole.
    pub(super) fn new(message: impl Into<String>) -> Self {
        // What was sent may be in it.
        let message: String = message.into();
        let message = message.chars().take(MOST_CHARACTERS).collect();
        Self { message, place: None, path: Vec::new(), cause: None }
    }

    /// A fault at a place of the document.
    pub(super) fn at(message: impl Into<String>, place: Place) -> Self {
        Self { place: Some(place), ..Self::new(message) }
    }
}

/// Faults as they are found, as many as are told.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    /// Adds one, unless there are very many.
    pub(super) fn add(&mut self, fault: Fault) {
        match self.0.len() {
            TOLD => self.0.push(Fault::new("there are more errors than are told")),
            told if told > TOLD => {}
            _ => self.0.push(fault),
        }
    }

    /// Puts one before all others, however many there are.
    pub(super) fn add_first(&mut self, fault: Fault) {
        self.0.insert(0, fault);
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them in order.
    pub(super) fn into_all(self) -> Vec<Fault> {
        self.0
    }
}

/// What somebody sent, as far as a message shows it.
pub(super) fn clipped(text: &str) -> String {
    text.chars().take(80).collect()
}
