//! A text split into segments and fields.

use std::sync::Arc;

use thiserror::Error;

use super::escape::Escapes;
use super::names;
use super::part::{Level, Part, Rules};
use super::place::{Place, SegmentName};
use super::separators::Separators;
use crate::hl7v2::charset::Charset;

/// How forgiving the reader is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reading {
    /// A line that is no segment belongs to the field before it; a lone line feed ends a segment.
    #[default]
    Lenient,
    /// Such a line is refused; a lone line feed belongs to its field.
    Strict,
}

/// Why a text is no message.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Fault {
    /// It does not begin with a header.
    #[error("the text does not begin with MSH")]
    NoHeader,
    /// The header names no separators.
    #[error("MSH-1 and MSH-2 are no separators")]
    Separators,
    /// A line after this segment is none (strict readers).
    #[error("a line after {0} is no segment")]
    NoSegment(Place),
    /// It has more than 4 GiB.
    #[error("the text is too long")]
    TooLong,
}

/// A message, split as far as its fields.
#[derive(Debug)]
pub struct Message<'a> {
    text: &'a str,
    rules: Rules,
    lines: Vec<Line>,
    /// Where each field begins, segment after segment.
    fields: Vec<u32>,
    joined: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    name: SegmentName,
    sequence: u16,
    start: u32,
    end: u32,
    /// Its part of `fields`.
    fields: (u32, u32),
}

impl<'a> Message<'a> {
    /// Splits `text`, which was read in `charset` (the escapes of bytes need it).
    ///
    /// # Errors
    /// [`Fault`].
    pub fn parse(text: &'a str, charset: Charset, reading: Reading) -> Result<Self, Fault> {
        let text = bare(text);
        if u32::try_from(text.len()).is_err() {
            return Err(Fault::TooLong);
        }
        if !["MSH", "BHS", "FHS", "BTS", "FTS"].iter().any(|name| text.starts_with(name)) {
            return Err(Fault::NoHeader);
        }
        let separators = Separators::of_header(text).ok_or(Fault::Separators)?;
        let rules = Rules { separators, charset, escapes: None };
        let mut message =
            Self { text, rules, lines: Vec::new(), fields: Vec::new(), joined: Vec::new() };
        message.fields.reserve(text.len() / 8);
        message.split(reading)?;
        Ok(message)
    }

    /// Whether something in it may be told to go (`""`).
    pub fn has_nulls(&self) -> bool {
        self.text.contains("\"\"")
    }

    /// The same message with what escapes of its sender's own stand for.
    #[must_use]
    pub fn with_escapes(mut self, escapes: &Arc<Escapes>) -> Self {
        self.rules.escapes = (!escapes.is_empty()).then(|| escapes.clone());
        self
    }

    fn split(&mut self, reading: Reading) -> Result<(), Fault> {
        let mut counts: Vec<(SegmentName, u16)> = Vec::new();
        let bytes = self.text.as_bytes();
        let mut start = 0;
        while start < bytes.len() {
            let end = line_end(&bytes[start..], reading).map_or(bytes.len(), |at| start + at);
            match self.name(start, end) {
                Some(name) if !self.is_word(name, end - start, reading) => {
                    self.begin(name, start, end, &mut counts);
                }
                None if start == end => {}
                _ => self.join(start, end, reading)?,
            }
            start = end + 1;
        }
        Ok(())
    }

    /// The name of the segment in this line, if it is one.
    fn name(&self, start: usize, end: usize) -> Option<SegmentName> {
        let line = &self.text.as_bytes()[start..end];
        let ends = line.get(3).is_none_or(|byte| *byte == self.rules.separators.field);
        let name = str::from_utf8(line.get(..3)?).ok()?;
        if ends { SegmentName::parse(name) } else { None }
    }

    /// Whether a line that could be a name alone is a word of the text before it: in a note or a value, and no name
    /// that anybody knows.
    fn is_word(&self, name: SegmentName, length: usize, reading: Reading) -> bool {
        let Some(last) = self.lines.last().filter(|_| length == 3) else { return false };
        let is_text =
            matches!((last.name.as_str(), last.fields.1 - last.fields.0), ("NTE", 3) | ("OBX", 5));
        is_text && reading == Reading::Lenient && !names::is_known(name)
    }

    fn begin(
        &mut self,
        name: SegmentName,
        start: usize,
        end: usize,
        counts: &mut Vec<(SegmentName, u16)>,
    ) {
        let known = counts.iter_mut().find(|(known, _)| *known == name);
        let sequence = if let Some((_, count)) = known {
            *count = count.saturating_add(1);
            *count
        } else {
            counts.push((name, 1));
            1
        };
        let first = self.fields.len() as u32;
        self.lines.push(Line {
            name,
            sequence,
            start: start as u32,
            end: end as u32,
            fields: (first, first),
        });
        self.add_fields(start + 3, end);
    }

    /// Adds a line that is no segment to the one before it.
    fn join(&mut self, start: usize, end: usize, reading: Reading) -> Result<(), Fault> {
        // The first line is the header, so there is one.
        let Some(last) = self.segments().next_back() else { return Err(Fault::NoHeader) };
        let (place, field) = (last.place(), last.len());
        if reading == Reading::Strict {
            return Err(Fault::NoSegment(place));
        }
        self.joined.push(place.with_field(field));
        if let Some(line) = self.lines.last_mut() {
            line.end = end as u32;
        }
        self.add_fields(start, end);
        Ok(())
    }

    /// Notes where fields begin between two places of the last segment.
    fn add_fields(&mut self, start: usize, end: usize) {
        let line = &self.text.as_bytes()[start..end];
        let found = memchr::memchr_iter(self.rules.separators.field, line);
        self.fields.extend(found.map(|at| (start + at + 1) as u32));
        let count = self.fields.len() as u32;
        if let Some(last) = self.lines.last_mut() {
            last.fields.1 = count;
        }
    }

    /// The text that was split.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The separators.
    pub fn separators(&self) -> &Separators {
        &self.rules.separators
    }

    /// The character set.
    pub fn charset(&self) -> Charset {
        self.rules.charset
    }

    /// The fields to which lines were added that are no segments.
    pub fn joined(&self) -> &[Place] {
        &self.joined
    }

    /// All segments, in their order.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = Segment<'_>> + ExactSizeIterator {
        (0..self.lines.len()).map(|at| Segment { message: self, at })
    }

    /// The segment at a position.
    pub fn segment_at(&self, at: usize) -> Option<Segment<'_>> {
        (at < self.lines.len()).then_some(Segment { message: self, at })
    }

    /// The segments of one name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = Segment<'_>> {
        let name = SegmentName::parse(name);
        self.segments().filter(move |segment| Some(segment.name()) == name)
    }

    /// A field of the first segment, the header.
    pub fn header(&self, field: u16) -> Part<'_> {
        match self.segment_at(0) {
            Some(segment) => segment.field(field),
            None => self.missing(SegmentName::MSH, field),
        }
    }

    /// A field of a segment that is not there.
    pub(super) fn missing(&self, name: SegmentName, field: u16) -> Part<'_> {
        let place = Place::segment(name, 1).with_field(field);
        Part::new(None, Level::Field, place, &self.rules)
    }
}

/// Where the line at the beginning of `bytes` ends.
fn line_end(bytes: &[u8], reading: Reading) -> Option<usize> {
    match reading {
        Reading::Lenient => memchr::memchr2(b'\r', b'\n', bytes),
        Reading::Strict => {
            // The line feed after a return is a line of its own, and empty.
            let is_led = bytes.first() == Some(&b'\n');
            if is_led { Some(0) } else { memchr::memchr(b'\r', bytes) }
        }
    }
}

/// Without what frames and files leave around a message.
fn bare(text: &str) -> &str {
    let text = text.trim_start_matches(['\u{FEFF}', '\u{B}', '\r', '\n', ' ', '\t']);
    text.trim_end_matches(['\u{1C}', '\u{B}', '\u{1A}', '\0', '\r', '\n'])
}

/// One segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'m> {
    message: &'m Message<'m>,
    at: usize,
}

impl<'m> Segment<'m> {
    fn line(&self) -> Line {
        self.message.lines[self.at]
    }

    /// Its name.
    pub fn name(&self) -> SegmentName {
        self.line().name
    }

    /// Whether it has this name.
    pub fn is(&self, name: &str) -> bool {
        self.line().name.as_str() == name
    }

    /// Its position in the message, beginning at 0.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Where it stands, for ERR-2.
    pub fn place(&self) -> Place {
        let line = self.line();
        Place::segment(line.name, line.sequence)
    }

    /// Its text.
    pub fn raw(&self) -> &'m str {
        let line = self.line();
        &self.message.text[line.start as usize..line.end as usize]
    }

    /// How many fields it has; in a header MSH-1 counts as one.
    pub fn len(&self) -> u16 {
        let (first, last) = self.line().fields;
        let count = (last - first) as usize + usize::from(self.is_header());
        u16::try_from(count).unwrap_or(u16::MAX)
    }

    /// Whether it is a bare name.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In headers the first field is the separator itself.
    fn is_header(&self) -> bool {
        matches!(self.line().name.as_str(), "MSH" | "BHS" | "FHS")
            && self.line().fields.0 != self.line().fields.1
    }

    /// The field of this number, beginning at 1; absent when the segment ends before it. MSH-1 and
    /// MSH-2 are not split.
    pub fn field(&self, number: u16) -> Part<'m> {
        let place = self.place().with_field(number);
        let message = self.message;
        if self.is_header() {
            let level = if number <= 2 { Level::Subcomponent } else { Level::Field };
            let raw = match number {
                0 => None,
                1 => {
                    let start = self.line().start as usize;
                    Some(&message.text[start + 3..start + 4])
                }
                number => self.nth(usize::from(number) - 2),
            };
            return Part::new(raw, level, place, &message.rules);
        }
        let raw = usize::from(number).checked_sub(1).and_then(|at| self.nth(at));
        Part::new(raw, Level::Field, place, &message.rules)
    }

    /// All fields, in their order.
    pub fn fields(self) -> impl Iterator<Item = Part<'m>> {
        (1..=self.len()).map(move |number| self.field(number))
    }

    fn nth(&self, at: usize) -> Option<&'m str> {
        let line = self.line();
        let starts = &self.message.fields[line.fields.0 as usize..line.fields.1 as usize];
        let start = *starts.get(at)? as usize;
        let end = starts.get(at + 1).map_or(line.end as usize, |next| *next as usize - 1);
        Some(&self.message.text[start..end])
    }
}

#[cfg(test)]
mod tests {
    use crate::hl7v2::er7::{Path, Presence};

    use super::*;

    const A01: &str = "MSH|^~\\&|LAB|STM|KILN|H|20260102||ADT^A01^ADT_A01|7|P|2.5\r\
        PID|1||12^^^STM&1.2.3&ISO^MR~34^^^B||M\\T\\M^A^\"\"||\"\"|\r\
        PV1|1|I\r\
        OBX|1|NM|a\rOBX|2|ST|b\r";

    fn read(text: &str) -> Message<'_> {
        Message::parse(text, Charset::UTF_8, Reading::Lenient).unwrap()
    }

    fn names(message: &Message<'_>) -> String {
        let names: Vec<_> = message.segments().map(|segment| segment.name().to_string()).collect();
        names.join(" ")
    }

    #[test]
    fn paths_lead_to_values_and_places() {
        let message = read(A01);
        for (path, text, place) in [
            ("MSH-1", "|", "MSH^1^1"),
            ("MSH-2", "^~\\&", "MSH^1^2"),
            ("MSH-9.2", "A01", "MSH^1^9^1^2"),
            ("PID-3", "12^^^STM&1.2.3&ISO^MR~34^^^B", "PID^1^3"),
            ("PID-3[2]", "34^^^B", "PID^1^3^2"),
            ("PID-3.4.2", "1.2.3", "PID^1^3^1^4^2"),
            ("PID-3[2].4.1", "B", "PID^1^3^2^4^1"),
            ("PID.5.1", "M&M", "PID^1^5^1^1"),
            ("OBX[2]-3", "b", "OBX^2^3"),
            ("PID-3[3].1", "", "PID^1^3^3^1"),
            ("ZZZ-3.1", "", "ZZZ^1^3^1^1"),
        ] {
            let part = message.get(&path.parse().unwrap());
            assert_eq!(part.text(), text, "{path}");
            assert_eq!(part.place().to_string(), place, "{path}");
        }
        let all: Vec<_> = ["PID-3[*].1", "OBX[*]-3"]
            .iter()
            .map(|path| {
                message.all(&path.parse::<Path>().unwrap()).map(|part| part.raw()).collect()
            })
            .map(|texts: Vec<_>| texts.join(","))
            .collect();
        assert_eq!(all, ["12,34", "a,b"]);
    }

    #[test]
    fn absent_empty_null_and_valued_are_told_apart() {
        let message = read(A01);
        for (path, expected) in [
            ("PID-1", Presence::Valued),
            ("PID-2", Presence::Empty),
            ("PID-7", Presence::Null),
            ("PID-5.3", Presence::Null),
            ("PID-3.2", Presence::Empty),
            ("PID-8", Presence::Empty),
            ("PID-9", Presence::Absent),
            ("PID-5.4", Presence::Absent),
            ("NK1-1", Presence::Absent),
        ] {
            assert_eq!(message.get(&path.parse().unwrap()).presence(), expected, "{path}");
        }
        let hollow = read("MSH|^~\\&|^&^~^");
        assert_eq!(hollow.header(3).presence(), Presence::Empty);
        assert_eq!(message.get(&"PID-7".parse().unwrap()).text(), "");
    }

    #[test]
    fn what_is_no_path_is_told() {
        for text in [
            "",
            "PI",
            "PID-",
            "PID-0",
            "PID-3[0]",
            "PID-3[",
            "PID-3.1.2.3",
            "PID-3.x",
            "pid-3",
            "PID-99999",
            "PID3",
            "PIé-1",
        ] {
            assert!(text.parse::<Path>().is_err(), "{text}");
        }
        for text in ["PID", "PID[2]-3[*].4.2", "OBX[*]-5", "PID-3[2].4.2"] {
            assert_eq!(text.parse::<Path>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn all_line_ends_end_segments() {
        for text in [
            "MSH|^~\\&|A\rPID|1\rPV1|1",
            "\u{FEFF}MSH|^~\\&|A\nPID|1\nPV1|1\n\n",
            "\r\nMSH|^~\\&|A\r\nPID|1\r\n\r\nPV1|1\r\n\u{1C}\r",
            "\u{B}MSH|^~\\&|A\r\rPID|1\rPV1|1\r\u{1C}\r",
        ] {
            let message = read(text);
            assert_eq!(names(&message), "MSH PID PV1", "{text:?}");
            assert_eq!(message.get(&"PID-1".parse().unwrap()).raw(), "1", "{text:?}");
            assert_eq!(message.joined(), [], "{text:?}");
        }
        let strict = "MSH|^~\\&|A\r\nPID|1\nx|2\rPV1|1";
        let message = Message::parse(strict, Charset::UTF_8, Reading::Strict).unwrap();
        assert_eq!(names(&message), "MSH PID PV1");
        assert_eq!(message.get(&"PID-1".parse().unwrap()).text(), "1\nx");
    }

    /// Covers: v2 B33.
    /// Covers: v2 S53.
    #[test]
    fn a_line_that_is_no_segment_is_never_lost() {
        for (text, path, expected) in [
            ("MSH|^~\\&|A\rPD1\rNTE|1||one\rtwo|RE\rPV1|1", "NTE-3", "one\ntwo"),
            ("MSH|^~\\&|A\rPD1\rNTE|1||one\rtwo|RE\rPV1|1", "NTE-4", "RE"),
            ("MSH|^~\\&|A\rPD1\rNTE|1||one\r\rtwo\rPV1|1", "NTE-3", "one\n\ntwo"),
            ("MSH|^~\\&|A\rPD1\rNTE|1||x\rXX|junk\rPV1|1", "NTE-3", "x\nXX"),
            ("MSH|^~\\&|A\rPD1\rNTE|1||x\rXX|junk\rPV1|1", "NTE-4", "junk"),
            ("MSH|^~\\&|A\rPD1\rNTE|1||x\rpv2|1\rPV1|1", "NTE-3", "x\npv2"),
        ] {
            let message = read(text);
            assert_eq!(names(&message), "MSH PD1 NTE PV1", "{text}");
            assert_eq!(message.get(&path.parse().unwrap()).text(), expected, "{text}");
            assert_eq!(message.joined().len(), 1);
            assert_eq!(message.joined()[0].to_string(), "NTE^1^3");
            let strict = Message::parse(text, Charset::UTF_8, Reading::Strict);
            assert_eq!(strict.unwrap_err().to_string(), "a line after NTE^1 is no segment");
        }
    }

    #[test]
    fn what_is_no_message_is_told() {
        let fault = |text| Message::parse(text, Charset::UTF_8, Reading::Lenient).unwrap_err();
        assert_eq!(fault(""), Fault::NoHeader);
        assert_eq!(fault("PID|1"), Fault::NoHeader);
        assert_eq!(fault("MSH"), Fault::Separators);
        assert_eq!(fault("MSH||A"), Fault::Separators);
        assert_eq!(read("MSH|^").header(2).raw(), "^");
    }

    #[test]
    fn every_byte_between_first_and_last_segment_belongs_to_one() {
        let message = read(A01);
        let joined: Vec<_> = message.segments().map(|segment| segment.raw()).collect();
        assert_eq!(joined.join("\r"), message.text());
        let fields = message.segments().map(|segment| segment.fields().count()).sum::<usize>();
        assert_eq!(fields, 12 + 8 + 2 + 3 + 3);
    }
}
