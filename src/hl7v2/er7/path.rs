//! Paths to values, such as `PID-3[2].4.2`.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use thiserror::Error;

use super::part::Part;
use super::place::SegmentName;
use super::split::{Message, Segment};

/// Which of several.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Index {
    /// The first, because nothing is said.
    #[default]
    First,
    /// `[2]`, beginning at 1.
    At(u16),
    /// `[*]`
    All,
}

/// A path: `SEG[n]-field[n].component.subcomponent`, of which everything after the segment may be
/// left out. A `.` may stand for the `-`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Path {
    /// The segment.
    pub segment: SegmentName,
    /// Which of the segments of that name.
    pub occurrence: Index,
    /// The field; 0: the segment itself.
    pub field: u16,
    /// Which repetition of the field.
    pub repetition: Index,
    /// The component; 0: all of the repetition.
    pub component: u16,
    /// The subcomponent; 0: all of the component.
    pub subcomponent: u16,
}

/// Why a text is no path.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0:?} is no path such as PID-3[2].4.2")]
pub struct PathError(String);

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        read(text).ok_or_else(|| PathError(text.chars().take(80).collect()))
    }
}

fn read(text: &str) -> Option<Path> {
    let segment = SegmentName::parse(text.get(..3)?)?;
    let (occurrence, rest) = index(&text[3..])?;
    let mut path = Path {
        segment,
        occurrence,
        field: 0,
        repetition: Index::First,
        component: 0,
        subcomponent: 0,
    };
    if rest.is_empty() {
        return Some(path);
    }
    let (field, rest) = number(rest.strip_prefix(['-', '.'])?)?;
    let (repetition, rest) = index(rest)?;
    (path.field, path.repetition) = (field, repetition);
    let mut numbers = rest.split('.');
    if !numbers.next()?.is_empty() {
        return None;
    }
    for place in [&mut path.component, &mut path.subcomponent] {
        let Some(text) = numbers.next() else { break };
        let (read, rest) = number(text)?;
        if !rest.is_empty() {
            return None;
        }
        *place = read;
    }
    numbers.next().is_none().then_some(path)
}

/// A number from 1 at the beginning, and what follows.
fn number(text: &str) -> Option<(u16, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..end].parse().ok().filter(|number| *number > 0)?;
    Some((number, &text[end..]))
}

/// `[n]` or `[*]` at the beginning, if there is one, and what follows.
fn index(text: &str) -> Option<(Index, &str)> {
    let Some(rest) = text.strip_prefix('[') else { return Some((Index::First, text)) };
    let (inner, rest) = rest.split_once(']')?;
    if inner == "*" {
        return Some((Index::All, rest));
    }
    let (at, left) = number(inner)?;
    left.is_empty().then_some((Index::At(at), rest))
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let index = |f: &mut Formatter<'_>, index| match index {
            Index::First => Ok(()),
            Index::At(at) => write!(f, "[{at}]"),
            Index::All => f.write_str("[*]"),
        };
        write!(f, "{}", self.segment)?;
        index(f, self.occurrence)?;
        if self.field > 0 {
            write!(f, "-{}", self.field)?;
            index(f, self.repetition)?;
        }
        for number in [self.component, self.subcomponent].into_iter().take_while(|n| *n > 0) {
            write!(f, ".{number}")?;
        }
        Ok(())
    }
}

impl Path {
    /// The values in one segment, whatever its name: several when all repetitions are asked for.
    pub fn in_segment<'m>(&self, segment: Segment<'m>) -> impl Iterator<Item = Part<'m>> + use<'m> {
        let (path, field) = (*self, segment.field(self.field.max(1)));
        let (one, all) = match path.repetition {
            Index::First if path.component == 0 => (Some(field), None),
            Index::First => (Some(field.repetition(1)), None),
            Index::At(at) => (Some(field.repetition(at)), None),
            Index::All => (None, Some(field.repetitions())),
        };
        let parts = one.into_iter().chain(all.into_iter().flatten());
        parts.map(move |part| path.below(part))
    }

    fn below(self, part: Part<'_>) -> Part<'_> {
        match (self.component, self.subcomponent) {
            (0, _) => part,
            (component, 0) => part.component(component),
            (component, sub) => part.component(component).subcomponent(sub),
        }
    }
}

impl<'m> Message<'m> {
    /// The value that a path names, or an absent one; the first where it names several. `PID-3`
    /// without more is the field with all its repetitions.
    pub fn get(&'m self, path: &Path) -> Part<'m> {
        self.all(path).next().unwrap_or_else(|| path.below(self.missing(path.segment, path.field)))
    }

    /// All values that a path names.
    pub fn all(&'m self, path: &Path) -> impl Iterator<Item = Part<'m>> + use<'m> {
        let path = *path;
        let skipped = match path.occurrence {
            Index::At(at) => usize::from(at - 1),
            Index::First | Index::All => 0,
        };
        let taken = if path.occurrence == Index::All { usize::MAX } else { 1 };
        let named = self.segments().filter(move |segment| segment.name() == path.segment);
        named.skip(skipped).take(taken).flat_map(move |segment| path.in_segment(segment))
    }
}
