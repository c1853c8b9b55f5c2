//! One value of a message, at whatever level, and what is below it.

use std::borrow::Cow;
use std::sync::Arc;

use super::escape::{Escapes, decode_with};
use super::place::Place;
use super::separators::Separators;
use crate::hl7v2::charset::Charset;

/// How deep a part stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Level {
    /// All repetitions of a field.
    Field,
    /// One of them.
    Repetition,
    /// A component.
    Component,
    /// A subcomponent: nothing is below it.
    Subcomponent,
}

/// What a sender says about a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// The message does not go that far.
    Absent,
    /// Nothing: no change.
    Empty,
    /// `""`: what was there goes.
    Null,
    /// A value.
    Valued,
}

/// What all parts of a message share.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) separators: Separators,
    pub(super) charset: Charset,
    /// Escapes that the sender has of its own.
    pub(super) escapes: Option<Arc<Escapes>>,
}

/// A field, repetition, component or subcomponent. Cheap to copy; asking for what is not there
/// gives a part that is absent.
#[derive(Clone, Copy, Debug)]
pub struct Part<'m> {
    raw: Option<&'m str>,
    level: Level,
    place: Place,
    rules: &'m Rules,
}

impl<'m> Part<'m> {
    pub(super) fn new(raw: Option<&'m str>, level: Level, place: Place, rules: &'m Rules) -> Self {
        Self { raw, level, place, rules }
    }

    /// Where it stands, for ERR-2.
    pub fn place(&self) -> Place {
        self.place
    }

    /// How deep it stands.
    pub fn level(&self) -> Level {
        self.level
    }

    /// What the sender says of it. A part whose separators separate nothing is empty.
    pub fn presence(&self) -> Presence {
        match self.raw {
            None => Presence::Absent,
            Some("\"\"") => Presence::Null,
            Some(raw) if self.is_hollow(raw) => Presence::Empty,
            Some(_) => Presence::Valued,
        }
    }

    fn is_hollow(&self, raw: &str) -> bool {
        let separates = |byte: u8| {
            (self.level <= Level::Field && Some(byte) == self.rules.separators.repetition)
                || (self.level <= Level::Repetition && byte == self.rules.separators.component)
                || (self.level <= Level::Component
                    && Some(byte) == self.rules.separators.subcomponent)
        };
        raw.bytes().all(separates)
    }

    /// Whether it has a value.
    pub fn is_valued(&self) -> bool {
        self.presence() == Presence::Valued
    }

    /// Whether it is `""`.
    pub fn is_null(&self) -> bool {
        self.presence() == Presence::Null
    }

    /// The text as it was sent, escapes and separators and all.
    pub fn raw(&self) -> &'m str {
        self.raw.unwrap_or_default()
    }

    /// All of it with its escapes decoded. Separators of levels below stay in: nothing is cut off.
    /// `""` gives an empty text.
    pub fn text(&self) -> Cow<'m, str> {
        match self.raw {
            None | Some("\"\"") => Cow::Borrowed(""),
            Some(raw) => {
                let Rules { separators, charset, escapes } = self.rules;
                decode_with(raw, separators, *charset, escapes.as_deref())
            }
        }
    }

    /// What separates components in this message, and what subcomponents, where anything does.
    pub fn inner_separators(&self) -> (char, Option<char>) {
        let separators = &self.rules.separators;
        (separators.component.into(), separators.subcomponent.map(char::from))
    }

    /// The text when there is a value.
    pub fn valued(&self) -> Option<Cow<'m, str>> {
        self.is_valued().then(|| self.text())
    }

    /// The repetitions of a field, first to last; an absent field has none.
    pub fn repetitions(self) -> impl Iterator<Item = Part<'m>> {
        self.parts(Level::Repetition)
    }

    /// One repetition of a field.
    #[must_use]
    pub fn repetition(self, number: u16) -> Self {
        self.at(Level::Repetition, number)
    }

    /// One component; of a field: of its first repetition. A value without separators is its own
    /// first component.
    #[must_use]
    pub fn component(self, number: u16) -> Self {
        self.at(Level::Component, number)
    }

    /// All components.
    pub fn components(self) -> impl Iterator<Item = Part<'m>> {
        self.parts(Level::Component)
    }

    /// One subcomponent; of a component that has none, the first is the component itself.
    #[must_use]
    pub fn subcomponent(self, number: u16) -> Self {
        self.at(Level::Subcomponent, number)
    }

    /// All subcomponents.
    pub fn subcomponents(self) -> impl Iterator<Item = Part<'m>> {
        self.parts(Level::Subcomponent)
    }

    /// The part below with this number: components of a field or a repetition, subcomponents of a
    /// component. So one function reads a datatype wherever it stands.
    #[must_use]
    pub fn child(self, number: u16) -> Self {
        self.at(self.below(), number)
    }

    /// All parts below.
    pub fn children(self) -> impl Iterator<Item = Part<'m>> {
        let below = self.below();
        self.parts(below)
    }

    fn below(self) -> Level {
        match self.level {
            Level::Field | Level::Repetition => Level::Component,
            Level::Component | Level::Subcomponent => Level::Subcomponent,
        }
    }

    /// The part of `level` with this number: of the first part of each level between.
    fn at(self, level: Level, number: u16) -> Self {
        let mut part = self;
        while let Some(next) = part.next_level().filter(|next| *next < level) {
            part = part.nth(next, 1);
        }
        match part.next_level() {
            Some(next) if next == level => part.nth(level, number),
            // It is of that level already: it is its own first.
            _ if number == 1 => part,
            _ => Self { raw: None, level, place: part.numbered(part.level, number), ..part },
        }
    }

    fn next_level(self) -> Option<Level> {
        match self.level {
            Level::Field => Some(Level::Repetition),
            Level::Repetition => Some(Level::Component),
            Level::Component => Some(Level::Subcomponent),
            Level::Subcomponent => None,
        }
    }

    fn separator(self, level: Level) -> Option<u8> {
        match level {
            Level::Field => Some(self.rules.separators.field),
            Level::Repetition => self.rules.separators.repetition,
            Level::Component => Some(self.rules.separators.component),
            Level::Subcomponent => self.rules.separators.subcomponent,
        }
    }

    fn nth(self, level: Level, number: u16) -> Self {
        let number = number.max(1);
        let raw = self.raw.and_then(|raw| {
            let mut pieces = pieces(raw, self.separator(level));
            pieces.nth(usize::from(number) - 1)
        });
        Self { raw, level, place: self.numbered(level, number), rules: self.rules }
    }

    fn numbered(self, level: Level, number: u16) -> Place {
        let place = self.place;
        match level {
            Level::Field => place.with_field(number),
            Level::Repetition => Place { repetition: number, ..place },
            Level::Component => Place { component: number, ..place },
            Level::Subcomponent => Place { subcomponent: number, ..place },
        }
    }

    fn parts(self, level: Level) -> impl Iterator<Item = Part<'m>> {
        let mut parent = self;
        while let Some(next) = parent.next_level().filter(|next| *next < level) {
            parent = parent.nth(next, 1);
        }
        let separator = match parent.next_level() {
            Some(next) if next == level => parent.separator(level),
            _ => None,
        };
        let all = parent.raw.into_iter().flat_map(move |raw| pieces(raw, separator));
        all.zip(1u16..).map(move |(raw, number)| Self {
            raw: Some(raw),
            level,
            place: parent.numbered(level, number),
            rules: parent.rules,
        })
    }
}

/// What stands between separators; the whole where there is none.
fn pieces(raw: &str, separator: Option<u8>) -> impl Iterator<Item = &str> {
    let mut rest = Some(raw);
    std::iter::from_fn(move || {
        let text = rest?;
        match separator.and_then(|byte| memchr::memchr(byte, text.as_bytes())) {
            Some(at) => {
                // A separator is ASCII, so these are the bounds of characters.
                rest = Some(&text[at + 1..]);
                Some(&text[..at])
            }
            None => rest.take(),
        }
    })
}
