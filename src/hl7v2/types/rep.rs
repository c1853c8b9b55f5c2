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
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rep<'m> {
    components: Vec<Vec<Cow<'m, str>>>,
    /// What stands between components, and between subcomponents.
    between: [char; 2],
}

/// What does, as most messages have it.
const BETWEEN: [char; 2] = ['^', '&'];

impl Default for Rep<'_> {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<'m> Rep<'m> {
    /// A repetition of these components.
    pub fn new(components: Vec<Vec<Cow<'m, str>>>) -> Self {
        Self { components, between: BETWEEN }
    }

    /// The repetition, component or subcomponent that a message has.
    pub fn of_part(part: Part<'m>) -> Self {
        let subs = |part: Part<'m>| part.subcomponents().map(text_of).collect();
        let one = match part.level() {
            Level::Field => part.repetition(1),
            _ => part,
        };
        let (between, within) = part.inner_separators();
        let within = within.unwrap_or(BETWEEN[1]);
        match one.level() {
            Level::Repetition => {
                let components = one.components().map(subs).collect();
                Self { components, between: [between, within] }
            }
            Level::Component => {
                let subs = one.subcomponents().map(|sub| vec![text_of(sub)]);
                Self { components: subs.collect(), between: [within; 2] }
            }
            _ => Self::of(text_of(one)),
        }
    }

    /// A repetition with one text.
    pub fn of(text: impl Into<Cow<'m, str>>) -> Self {
        Self::new(vec![vec![text.into()]])
    }

    /// Reads `A^B&C^D` as it stands between two field separators, without escapes.
    pub fn read(text: &'m str) -> Self {
        let subs = |part: &'m str| part.split('&').map(Cow::Borrowed).collect();
        Self::new(text.split('^').map(subs).collect())
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
        let components = subs.into_iter().map(|text| vec![text]).collect();
        Rep { components, between: [self.between[1]; 2] }
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

    /// All of it as it was sent, but for the escapes: with what separates its parts, empty ones too, and its blanks.
    pub fn whole(&self) -> String {
        let [between, within] = self.between.map(String::from);
        let components = self.components.iter().map(|subs| subs.join(within.as_str()));
        components.collect::<Vec<_>>().join(between.as_str())
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
    use crate::hl7v2::charset::Charset;
    use crate::hl7v2::er7::{Message, Reading};

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

    #[test]
    fn the_whole_is_what_was_sent_by_its_own_separators() {
        for text in ["", "a", " a ", "Smith & Jones", "1^^2", "^", "a&^&b^", "a^\"\""] {
            assert_eq!(Rep::read(text).whole(), text, "{text:?}");
        }
        let text = "MSH|$%\\&|A|B|||2026||ORU$R01|1|P|2.5\rOBX|1|ST|||1 $$ \\S\\^&2&\r";
        let message = Message::parse(text, Charset::UTF_8, Reading::Lenient).unwrap();
        let part = message.get(&"OBX-5".parse().unwrap());
        let rep = Rep::of_part(part);
        assert_eq!(rep.whole(), "1 $$ $^&2&");
        assert_eq!(rep.component(3).whole(), " $^&2&");
    }
}
