//! Files of messages that are too long to be held: each message is read and handed on by itself.
//!
//! Not more is held than a message may have, of the message at hand and of its line at hand. Of a message that has
//! more the beginning is kept, and the others are as they would be without it.
//!
//! Spec: v2 S55, P7

use std::io::{self, BufRead, ErrorKind};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::{Line, Splitting, frames};
use crate::error::Error;
use crate::hl7v2::receive::{Answers, Origin, Receiver};

/// As much is kept of a message that is too long, in bytes.
const KEPT: usize = 64 * 1024;
/// What a file of UTF-8 may begin with.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// A message of a file.
#[derive(Debug)]
pub struct Piece {
    /// The message; of one that is too long the beginning.
    pub bytes: Vec<u8>,
    /// Which message of the file it is, from 1.
    pub number: u64,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Whether it is too long.
    pub is_too_long: bool,
    /// How long it is.
    length: u64,
}

impl Piece {
    /// Adds what is held of a part that is `length` bytes long.
    fn add(&mut self, held: &[u8], length: u64, most: usize) {
        self.length += length;
        if self.is_too_long {
            return;
        }
        self.is_too_long = self.length > most as u64;
        if self.is_too_long {
            let room = KEPT.min(most).saturating_sub(self.bytes.len());
            self.bytes.extend_from_slice(&held[..held.len().min(room)]);
            self.bytes.truncate(KEPT.min(most));
            self.bytes.shrink_to_fit();
        } else {
            self.bytes.extend_from_slice(held);
        }
    }
}

/// The messages of a file, one after the other: those that [`split`](super::split) finds in its bytes.
pub struct Messages<R> {
    source: R,
    /// Most bytes of a message.
    most: usize,
    splitting: Splitting,
    /// Where the next byte stands.
    offset: u64,
    /// How many have begun.
    count: u64,
    open: Option<Piece>,
    /// What is held of the line at hand, with what ends it.
    line: Vec<u8>,
}

impl<R: BufRead> Messages<R> {
    /// The messages of `source`, each of `most` bytes at most.
    pub fn new(source: R, most: usize) -> Self {
        let (splitting, open, line) = (Splitting::default(), None, Vec::new());
        Self { source, most, splitting, offset: 0, count: 0, open, line }
    }

    /// How many there were so far.
    pub fn number(&self) -> u64 {
        self.count
    }

    /// Whether the file so far says another number of messages than there is, has something that belongs to none,
    /// or no message.
    pub fn is_faulty(&self) -> bool {
        self.splitting.is_miscounted || self.splitting.has_strays || self.count == 0
    }

    /// Reads a line: how long it is; `None` at the end.
    fn read_line(&mut self) -> io::Result<Option<u64>> {
        self.line.clear();
        let mut length = 0;
        loop {
            let bytes = match self.source.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if bytes.is_empty() {
                return Ok((length > 0).then_some(length));
            }
            let end = memchr::memchr2(b'\r', b'\n', bytes);
            let taken = end.map_or(bytes.len(), |at| at + 1);
            let room = self.most.saturating_sub(self.line.len());
            self.line.extend_from_slice(&bytes[..taken.min(room)]);
            length += taken as u64;
            self.source.consume(taken);
            if end.is_some() {
                return Ok(Some(length));
            }
        }
    }

    /// Takes in the line at hand; the message that ends before it.
    fn take_line(&mut self, length: u64) -> Option<Piece> {
        let start = self.offset;
        self.offset += length;
        let mark = if start == 0 && self.line.starts_with(MARK) { MARK.len() } else { 0 };
        let frames = frames(&self.line[mark..]);
        let (before, own) = self.line.split_at(mark + frames);
        let line =
            self.splitting.line(own.strip_suffix(b"\r").or(own.strip_suffix(b"\n")).unwrap_or(own));
        if let Line::Within = line {
            if let Some(open) = &mut self.open {
                open.add(&self.line, length, self.most);
            }
            return None;
        }
        // Where the next one begins a frame, that is behind the one before it.
        let skipped = before.len() as u64;
        let ended = self.open.take().map(|mut open| {
            open.add(before, skipped, self.most);
            open
        });
        if let Line::Begins = line {
            self.count += 1;
            let (number, offset) = (self.count, start + skipped);
            let mut piece =
                Piece { bytes: Vec::new(), number, offset, is_too_long: false, length: 0 };
            piece.add(own, length - skipped, self.most);
            self.open = Some(piece);
        }
        ended
    }
}

impl<R: BufRead> Iterator for Messages<R> {
    type Item = io::Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read_line() {
                Ok(Some(length)) => {
                    if let Some(ended) = self.take_line(length) {
                        return Some(Ok(ended));
                    }
                }
                Ok(None) => return self.open.take().map(Ok),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Receiver {
    /// What the messages of one file have in common, by which they are known to belong together.
    pub fn batch(&self) -> Uuid {
        self.ids.ordered()
    }

    /// Takes in a message of a file that is read message by message.
    ///
    /// # Errors
    /// Those of [`Receiver::receive`].
    pub async fn receive_piece(
        self: &Arc<Self>,
        raw: &Bytes,
        batch: Uuid,
        origin: &Origin,
    ) -> Result<Answers, Error> {
        self.receive_one(raw, Some(batch), origin).await
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Cursor, Read};

    use super::super::split;
    use super::*;

    /// The messages of a text, read by so many bytes at a time.
    fn pieces(bytes: &[u8], most: usize, step: usize) -> (Vec<Piece>, bool) {
        let mut messages = Messages::new(BufReader::with_capacity(step, bytes), most);
        let all: Vec<_> = messages.by_ref().map(Result::unwrap).collect();
        let is_faulty = messages.is_faulty();
        (all, is_faulty)
    }

    #[test]
    fn a_file_has_the_same_messages_however_it_is_read() {
        for text in [
            "BHS|^~\\&|A\rMSH|^~\\&|1\rPID|1\rMSH|^~\\&|2\rBTS|2\r",
            "\u{FEFF}FHS|^~\\&|A|B\r\nBHS|^~\\&|LAB\r\nMSH|^~\\&|1\r\nPID|1\r\nBTS|1\r\nFTS|1\r\n",
            "\u{FEFF}\x0BMSH|^~\\&|1\nPID|1\n\x1C\n\x0B\x0BMSH|^~\\&|2\n\x1C\n\x0B",
            "\x0BMSH|^~\\&|1\rPID|1\r\x1C\x0BMSH|^~\\&|2\rPID|2\r\x1C\x0BMSH|^~\\&|3\r\x1C",
            "BHS|^~\\&|A\rPID|1\rMSH|^~\\&|1\rBTS|1",
            "BHS|^~\\&|A\rMSH|^~\\&|1\rBTS|2\r",
            "MSH|^~\\&|1\rOBX|1|TX|A||Seen.\rBTS pain\rMSH pain\rEnd\rMSH|^~\\&|2",
            "BHS$%~\\&$A\rMSH$%~\\&$1\rBTS|1\rBTS$1\r",
            "\r\n\r\nMSH|^~\\&|1\r\r\rMSH|^~\\&|2",
            "BHS|^~\\&|A\rBTS|0\r",
        ] {
            let known = split(text.as_bytes()).unwrap();
            for step in [1, 2, 3, 7, 4_096] {
                let (found, is_faulty) = pieces(text.as_bytes(), 1_000, step);
                let bytes: Vec<_> = found.iter().map(|piece| piece.bytes.as_slice()).collect();
                assert_eq!(bytes, known.messages, "{text:?} {step}");
                let wrong = known.is_miscounted || known.has_strays || known.messages.is_empty();
                assert_eq!(is_faulty, wrong, "{text:?} {step}");
                for (piece, number) in found.iter().zip(1..) {
                    let at = usize::try_from(piece.offset).unwrap();
                    assert_eq!(piece.number, number, "{text:?} {step}");
                    assert!(text.as_bytes()[at..].starts_with(&piece.bytes), "{text:?} {step}");
                    assert!(!piece.is_too_long, "{text:?} {step}");
                }
            }
        }
        assert!(pieces(b"", 10, 10).0.is_empty());
        assert_eq!(pieces(b"PID|1\rPID|2", 100, 10).0.len(), 0);
        assert_eq!(pieces(b"MSH|^~\\&|1", 100, 10).0.len(), 1);
    }

    #[test]
    fn a_message_that_is_too_long_costs_no_other() {
        let short = "MSH|^~\\&|1\rPID|1\r";
        let many = "OBX|1|TX|A||Words\r".repeat(40);
        let line = format!("OBX|1|ED|A||{}\r", "x".repeat(700));
        for long in [&many, &line] {
            let long = format!("MSH|^~\\&|2\r{long}");
            let text = format!("BHS|^~\\&|A\r{short}{long}{short}BTS|3\r");
            for step in [1, 10, 4_096] {
                let (found, is_faulty) = pieces(text.as_bytes(), 100, step);
                assert!(!is_faulty);
                let told: Vec<_> =
                    found.iter().map(|it| (it.number, it.is_too_long, it.bytes.len())).collect();
                let own = short.len();
                assert_eq!(told, [(1, false, own), (2, true, 100), (3, false, own)], "{step}");
                assert!(long.as_bytes().starts_with(&found[1].bytes));
                assert_eq!(found[1].offset, text.find(&long).unwrap() as u64);
                assert_eq!(found[2].bytes, short.as_bytes());
            }
        }
        // As long as it may be, and a byte more.
        for (most, is_too_long) in [(short.len(), false), (short.len() - 1, true)] {
            assert_eq!(pieces(short.as_bytes(), most, 5).0[0].is_too_long, is_too_long, "{most}");
        }
    }

    #[test]
    fn what_is_held_has_a_bound() {
        let most = 100_000;
        let begin = Cursor::new(b"MSH|^~\\&|1\rPID|1\rMSH|^~\\&|2\rOBX|1|ED|A||".to_vec());
        let long = io::repeat(b'x').take(30_000_000);
        let source = begin.chain(long).chain(Cursor::new(b"\rMSH|^~\\&|3\r".to_vec()));
        let mut messages = Messages::new(BufReader::new(source), most);
        let mut told = Vec::new();
        while let Some(piece) = messages.next() {
            let piece = piece.unwrap();
            assert!(messages.line.capacity() <= 2 * most, "{}", messages.line.capacity());
            assert!(piece.bytes.capacity() <= 2 * most, "{}", piece.bytes.capacity());
            told.push((piece.is_too_long, piece.bytes.len()));
        }
        assert_eq!(told, [(false, 17), (true, KEPT), (false, 11)]);
    }
}
