//! Where a value stands in its message, as ERR-2 writes it.

use std::fmt::{Display, Formatter};

/// The three characters that begin a segment.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SegmentName([u8; 3]);

impl SegmentName {
    /// The header.
    pub const MSH: Self = Self(*b"MSH");

    /// The name, when `text` is one: a capital, then capitals and digits.
    pub fn parse(text: &str) -> Option<Self> {
        let name: [u8; 3] = text.as_bytes().try_into().ok()?;
        let is_name = name[0].is_ascii_uppercase()
            && name[1..].iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        is_name.then_some(Self(name))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Display for SegmentName {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for SegmentName {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in a message. All numbers begin at 1; 0 means the whole.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Place {
    /// The segment.
    pub segment: SegmentName,
    /// Which of the segments of that name.
    pub sequence: u16,
    /// The field.
    pub field: u16,
    /// Which of its repetitions.
    pub repetition: u16,
    /// The component.
    pub component: u16,
    /// The subcomponent.
    pub subcomponent: u16,
}

impl Place {
    /// A whole segment.
    pub fn segment(segment: SegmentName, sequence: u16) -> Self {
        Self { segment, sequence, field: 0, repetition: 0, component: 0, subcomponent: 0 }
    }

    /// A field of it.
    #[must_use]
    pub fn with_field(self, field: u16) -> Self {
        Self { field, repetition: 0, component: 0, subcomponent: 0, ..self }
    }

    /// The numbers as far as they say something, first the sequence.
    pub fn numbers(&self) -> impl Iterator<Item = u16> {
        let all = [self.sequence, self.field, self.repetition, self.component, self.subcomponent];
        let last = all.iter().rposition(|number| *number != 0).map_or(0, |at| at + 1);
        all.into_iter().take(last)
    }
}

/// As ERR-2: `PID^1^3^1^4`, with what is left out at the end.
impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.segment)?;
        self.numbers().try_for_each(|number| match number {
            0 => f.write_str("^"),
            number => write!(f, "^{number}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_far_as_it_is_known() {
        let pid = Place::segment(SegmentName::parse("PID").unwrap(), 1);
        let whole = Place { repetition: 1, component: 4, subcomponent: 2, ..pid.with_field(3) };
        for (place, expected) in [
            (pid, "PID^1"),
            (pid.with_field(3), "PID^1^3"),
            (whole, "PID^1^3^1^4^2"),
            (Place { component: 4, ..pid.with_field(3) }, "PID^1^3^^4"),
        ] {
            assert_eq!(place.to_string(), expected);
        }
        for text in ["pid", "1ID", "PI", "PIDX", "P D", "éa"] {
            assert_eq!(SegmentName::parse(text), None, "{text}");
        }
    }
}
