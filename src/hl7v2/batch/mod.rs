//! Batches and files: many messages in one frame or one upload.
//!
//! The bytes are split at lines that begin a message, before they become text, because each message
//! has a character set of its own.
//!
//! What is too long to be held is split as it is read (`stream`).
//!
//! Spec: v2 S55, B35; HL7 version 2 chapter 2, batch protocol

mod stream;

use super::charset::Charset;
use super::er7::{Message, Reading};
use super::heading::Heading;

pub use stream::{Messages, Piece};

/// What one frame or file holds.
#[derive(Debug)]
pub struct Batch<'a> {
    /// BHS, else FHS.
    pub header: Option<Heading>,
    /// The messages, each without the envelope around them.
    pub messages: Vec<&'a [u8]>,
    /// Whether BTS-1 or FTS-1 says another number than there is.
    pub is_miscounted: bool,
    /// Whether there was something that belongs to no message.
    pub has_strays: bool,
}

/// The messages of `bytes`; `None` when they are one message, or none.
pub fn split(bytes: &[u8]) -> Option<Batch<'_>> {
    let lines = Lines { bytes, at: 0 };
    let mut split = Splitting::default();
    let (mut messages, mut open) = (Vec::new(), None);
    for (start, end) in lines {
        let line = split.line(&bytes[start..end]);
        if !matches!(line, Line::Within) {
            messages.extend(open.take().map(|begin| &bytes[begin..start]));
        }
        if matches!(line, Line::Begins) {
            open = Some(start);
        }
    }
    messages.extend(open.map(|begin| &bytes[begin..]));
    let is_batch = split.has_envelope || messages.len() > 1;
    is_batch.then_some(Batch {
        header: split.header,
        is_miscounted: split.is_miscounted,
        has_strays: split.has_strays,
        messages,
    })
}

/// What a line does.
enum Line {
    /// It begins a message, and ends the one before it.
    Begins,
    /// It is of the envelope: the message before it ends.
    Parts,
    /// It is of the message that is open, or of none.
    Within,
}

#[derive(Default)]
struct Splitting {
    header: Option<Heading>,
    /// Whether a message is being read.
    is_open: bool,
    /// What is between the fields of the header read last.
    separator: Option<u8>,
    /// Messages since BHS, batches since FHS.
    in_batch: usize,
    batches: usize,
    has_envelope: bool,
    is_miscounted: bool,
    has_strays: bool,
}

impl Splitting {
    fn line(&mut self, line: &[u8]) -> Line {
        let name = line.get(..3).unwrap_or_default();
        let fourth = line.get(3).copied();
        // Text that goes on in lines of its own may begin with these letters too.
        let begins = match fourth {
            // In a message it has what is between the fields of the header before it, else all of its own.
            Some(byte) if self.is_open => {
                self.separator == Some(byte) || is_whole_header(&line[3..])
            }
            Some(byte) => byte.is_ascii_punctuation(),
            None => false,
        };
        let ends = match fourth {
            Some(byte) => self.separator == Some(byte),
            None => self.has_envelope,
        };
        if begins && matches!(name, b"MSH" | b"FHS" | b"BHS") {
            self.separator = fourth;
        }
        match name {
            b"MSH" if begins => {
                self.in_batch += 1;
                self.is_open = true;
                return Line::Begins;
            }
            b"FHS" | b"BHS" if begins => {
                self.has_envelope = true;
                if name == b"BHS" || self.header.is_none() {
                    self.header = heading(line).or(self.header.take());
                }
                if name == b"BHS" {
                    (self.in_batch, self.batches) = (0, self.batches + 1);
                }
            }
            b"BTS" | b"FTS" if ends => {
                self.has_envelope = true;
                let found = if name == b"BTS" { self.in_batch } else { self.batches.max(1) };
                self.is_miscounted |= count(line).is_some_and(|count| count != found);
            }
            _ => {
                let is_stray = !self.is_open && !line.trim_ascii().is_empty() && !is_frame(line);
                self.has_strays |= is_stray;
                return Line::Within;
            }
        }
        self.is_open = false;
        Line::Parts
    }
}

/// Whether what stands behind the name of a header begins as its separators do: one, two to five others, and the
/// first again or the end.
fn is_whole_header(rest: &[u8]) -> bool {
    let Some((first, rest)) = rest.split_first() else { return false };
    let count = rest.iter().take_while(|byte| *byte != first).count();
    let others = &rest[..count];
    first.is_ascii_punctuation()
        && (2..=5).contains(&count)
        && others.iter().all(u8::is_ascii_punctuation)
}

/// Byte order marks and what is left of frames.
fn is_frame(line: &[u8]) -> bool {
    line == b"\xEF\xBB\xBF" || frames(line) == line.len()
}

/// How many bytes at the beginning are those with which frames begin and end: some senders end one without the line
/// that belongs behind it.
fn frames(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, 0x0B | 0x1C)).count()
}

fn heading(line: &[u8]) -> Option<Heading> {
    let text: String =
        line.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect();
    Some(Heading::of(&Message::parse(&text, Charset::UTF_8, Reading::Lenient).ok()?))
}

/// The number in the first field.
fn count(line: &[u8]) -> Option<usize> {
    let field = *line.get(3)?;
    let text = line[4..].split(|byte| *byte == field).next()?;
    str::from_utf8(text).ok()?.trim().parse().ok()
}

/// The bounds of lines, ended by CR, LF or both. What a file or a frame begins with is not part of
/// the first line.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let mut start = self.at;
        if start == 0 {
            start += if self.bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        }
        if start >= self.bytes.len() {
            return None;
        }
        start += frames(&self.bytes[start..]);
        let rest = &self.bytes[start..];
        let end = memchr::memchr2(b'\r', b'\n', rest).map_or(self.bytes.len(), |at| start + at);
        self.at = end + 1;
        Some((start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(batch: &Batch<'a>) -> Vec<&'a str> {
        batch.messages.iter().map(|bytes| str::from_utf8(bytes).unwrap()).collect()
    }

    #[test]
    fn one_message_is_no_batch() {
        for text in ["MSH|^~\\&|A\rPID|1\r", "", "PID|1", "\u{FEFF}MSH|^~\\&|A\nPID|1"] {
            assert!(split(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn a_batch_is_split_at_headers() {
        let text = "\u{FEFF}FHS|^~\\&|A|B|C|D\rBHS|^~\\&|LAB|STM|K|H|2026||||B7\rMSH|^~\\&|1\rPID|1\r\
            MSH|^~\\&|2\rBTS|2\rFTS|1\r\n";
        let batch = split(text.as_bytes()).unwrap();
        assert_eq!(texts(&batch), ["MSH|^~\\&|1\rPID|1\r", "MSH|^~\\&|2\r"]);
        assert_eq!((batch.is_miscounted, batch.has_strays), (false, false));
        let header = batch.header.unwrap();
        assert_eq!((header.application.as_str(), header.processing.as_str()), ("LAB", "B7"));
        let wrong = split(b"BHS|^~\\&|A\rMSH|^~\\&|1\rBTS|2\r").unwrap();
        assert!(wrong.is_miscounted);
        let files = split(
            b"FHS|^~\\&|A\rBHS|^~\\&|A\rMSH|^~\\&|1\rBTS|1\rBHS|^~\\&|A\rMSH|^~\\&|2\rBTS|1\rFTS|2",
        )
        .unwrap();
        assert!(!files.is_miscounted);
        assert_eq!(files.messages.len(), 2);
    }

    #[test]
    fn messages_without_an_envelope_and_with_frames_are_split_too() {
        let batch = split(b"\x0BMSH|^~\\&|1\nPID|1\n\x1C\n\x0BMSH|^~\\&|2\n\x1C\n").unwrap();
        assert_eq!(batch.messages.len(), 2);
        assert!(batch.header.is_none() && !batch.has_strays);
        // The end of a frame without the line behind it.
        let text = b"\x0BMSH|^~\\&|1\rPID|1\r\x1C\x0BMSH|^~\\&|2\rPID|2\r\x1C";
        let batch = split(text).unwrap();
        let own: Vec<_> = batch.messages.iter().map(|own| &own[..15]).collect();
        assert_eq!(own, [b"MSH|^~\\&|1\rPID|", b"MSH|^~\\&|2\rPID|"]);
        assert!(!batch.has_strays);
        let stray = split(b"BHS|^~\\&|A\rPID|1\rMSH|^~\\&|1\rBTS|1").unwrap();
        assert!(stray.has_strays);
    }

    #[test]
    fn text_that_begins_as_a_header_does_stays_in_its_message() {
        for line in [
            "BTS pain",
            "FTS, so",
            "BTS",
            "FTS",
            "MSH pain",
            "BHS pain",
            "FHS\tpain",
            "MSH",
            "MSH-1 is a field",
            "MSH-10-A",
            "BHS: none",
            "FHS, none, too",
        ] {
            let text = format!("MSH|^~\\&|1\rOBX|1|TX|A||Seen.\r{line}\rEnd\rOBX|2\r");
            assert!(split(text.as_bytes()).is_none(), "{line}");
            let both = format!("BHS|^~\\&|A\r{text}BTS|1\r");
            let batch = split(both.as_bytes()).unwrap();
            if !matches!(line, "BTS" | "FTS") {
                assert_eq!(texts(&batch), [text.as_str()], "{line}");
                assert!(!batch.has_strays && !batch.is_miscounted, "{line}");
            }
        }
        let other = split(b"BHS$%~\\&$A\rMSH$%~\\&$1\rBTS|1\rBTS$1\r").unwrap();
        assert_eq!(texts(&other), ["MSH$%~\\&$1\rBTS|1\r"]);
        // Headers of others in the same file, each with separators of its own.
        for header in ["MSH#@~\\&#2", "MSH$%~\\&", "MSH|", "MSH|^~\\&|2", "MSH!$%!2"] {
            let text = format!("MSH|^~\\&|1\r{header}\r");
            assert_eq!(split(text.as_bytes()).unwrap().messages.len(), 2, "{header}");
        }
    }
}
