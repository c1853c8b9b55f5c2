//! One repetition of a field: components, each of subcomponents, escapes already resolved.

use std::borrow::Cow;

use crate::hl7v2::er7::{Level, Part};

/// The text that says "remove what is stored".
const NULL: &str = "\"\"";

/// The decoded text; `""` stays what it is.
fn text_of(part: Part<'_>) -> Cow<'_, str> {
    if part.is_null() { Cow::Borrowed(NULL) } else { part.text() }
}

/// One repetition of a field, or a component taken as one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rep<'m> {
    components: Vec<Vec<Cow<'m, str>>>,
}

impl<'m> Rep<'m> {
    /// A repetition of these components.
    pub fn new(components: Vec<Vec<Cow<'m, str>>>) -> Self {
        Self { components }
    }

    /// The repetition, component or subcomponent that a message has.
    pub fn of_part(part: Part<'m>) -> Self {
        let subs = |part: Part<'m>| part.subcomponents().map(text_of).collect();
        let one = match part.level() {
            Level::Field => part.repetition(1),
            _ => part,
        };
        match one.level() {
            Level::Repetition => Self { components: one.components().map(subs).collect() },
            Level::Component => {
                let subs = one.subcomponents().map(|sub| vec![text_of(sub)]);
                Self { components: subs.collect() }
            }
            _ => Self { components: vec![vec![text_of(one)]] },
        }
    }

    /// A repetition with one text.
    pub fn of(text: impl Into<Cow<'m, str>>) -> Self {
        Self { components: vec![vec![text.into()]] }
    }

    /// Reads `A^B&C^D` as it stands between two field separators, without escapes.
    pub fn read(text: &'m str) -> Self {
        let subs = |part: &'m str| part.split('&').map(Cow::Borrowed).collect();
        Self { components: text.split('^').map(subs).collect() }
    }

    /// The first subcomponent of component `number` (from 1); empty when absent or null.
    pub fn c(&self, number: usize) -> &str {
        self.s(number, 1)
    }

    /// Subcomponent `sub` of component `number`; empty when absent or null.
    pub fn s(&self, number: usize, sub: usize) -> &str {
        let found = self.components.get(number - 1).and_then(|subs| subs.get(sub - 1));
        found.map(|text| text.trim()).filter(|text| *text != NULL).unwrap_or_default()
    }

    /// The first subcomponent of component `number`, when it has a value.
    pub fn some(&self, number: usize) -> Option<&str> {
        Some(self.c(number)).filter(|text| !text.is_empty())
    }

    /// Component `number`, its subcomponents as components.
    #[must_use]
    pub fn component(&self, number: usize) -> Rep<'m> {
        let subs = self.components.get(number - 1).cloned().unwrap_or_default();
        Rep { components: subs.into_iter().map(|text| vec![text]).collect() }
    }

    /// Whether the whole of it is `""`.
    pub fn is_null(&self) -> bool {
        let mut texts = self.components.iter().flatten().filter(|text| !text.is_empty());
        texts.next().is_some_and(|text| text.trim() == NULL) && texts.next().is_none()
    }

    /// Whether there is a value in it anywhere.
    pub fn is_valued(&self) -> bool {
        self.components.iter().flatten().any(|text| !matches!(text.trim(), "" | NULL))
    }

    /// The first text that has a value.
    pub fn text(&self) -> &str {
        let mut texts = self.components.iter().flatten().map(|text| text.trim());
        texts.find(|text| !matches!(*text, "" | NULL)).unwrap_or_default()
    }

    /// All texts with a value, with `between` between them.
    pub fn joined(&self, between: &str) -> String {
        let texts = self.components.iter().flatten().map(|text| text.trim());
        texts.filter(|text| !matches!(*text, "" | NULL)).collect::<Vec<_>>().join(between)
    }

    /// How many components it has.
    pub fn len(&self) -> usize {
        self.components.len()
    }

    /// Whether it has no component.
    pub fn is_empty(&self) -> bool {
        self.components.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_neither_a_value_nor_absent() {
        for (text, null, valued) in [
            ("", false, false),
            ("\"\"", true, false),
            ("^^\"\"", true, false),
            ("A^\"\"", false, true),
            ("^^^X&1.2", false, true),
        ] {
            let rep = Rep::read(text);
            assert_eq!((rep.is_null(), rep.is_valued()), (null, valued), "{text:?}");
        }
    }

    #[test]
    fn components_and_subcomponents_count_from_one() {
        let rep = Rep::read("1^\"\"^^X&1.2&ISO");
        assert_eq!((rep.c(1), rep.c(2), rep.s(4, 2), rep.s(9, 9)), ("1", "", "1.2", ""));
        assert_eq!(rep.component(4).c(3), "ISO");
        assert_eq!(rep.joined(" "), "1 X 1.2 ISO");
    }
}
