//! Frames of MLLP: `<VT> message <FS><CR>`, cut out of a stream of bytes.
//!
//! | in the stream | |
//! |---|---|
//! | bytes before a VT | dropped and counted, line ends apart |
//! | FS CR | the frame is whole |
//! | FS VT, or FS and then nothing for a while | the frame is whole too |
//! | FS and another byte | belongs to the message |
//! | VT inside a frame | the frame before it was cut off: [`Frame::Truncated`] |
//! | more bytes than the limit | [`Frame::TooLong`]; whoever reads closes the connection |
//!
//! Each byte is looked at once, however small the pieces are in which it comes.
//!
//! Spec: v2 M1, B3-B5; HL7 MLLP release 1

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio_util::codec::Decoder;

/// The byte before a message.
pub const START: u8 = 0x0B;
/// The first of the two bytes after a message.
pub const END: u8 = 0x1C;
/// The frame that confirms another one in release 2: it is stored.
pub const STORED: &[u8] = b"\x06";
/// It is not.
pub const NOT_STORED: &[u8] = b"\x15";

/// How much is kept of a frame that is no good.
const KEPT: usize = 64 * 1024;
/// A frame of which more than this is there is a large one.
const LARGE: usize = 1024 * 1024;

/// What was found in the stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// A message, without its frame.
    Whole(Bytes),
    /// The beginning of a frame that ended with the start of the next one.
    Truncated(Bytes),
    /// The beginning of a frame that is longer than the limit.
    TooLong(Bytes),
}

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
pub struct Frames {
    limit: usize,
    is_inside: bool,
    /// How much of the buffer was looked at before.
    seen: usize,
    dropped: u64,
    unended: u64,
}

impl Frames {
    /// For messages of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, is_inside: false, seen: 0, dropped: 0, unended: 0 }
    }

    /// How many bytes stood between frames.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many frames ended without the CR after FS.
    pub fn unended(&self) -> u64 {
        self.unended
    }

    /// Makes room for `more` bytes. What is large has room for all that may come at once: memory that
    /// nothing was written to costs nothing, and what is left behind by growing step by step does.
    pub fn make_room(&self, buffer: &mut BytesMut, more: usize) {
        let length = buffer.len();
        if length < LARGE {
            return buffer.reserve(more);
        }
        if buffer.capacity() - length < more {
            let most = self.limit + 2 * more;
            let mut larger = BytesMut::with_capacity(most.max(length + more));
            larger.extend_from_slice(buffer);
            *buffer = larger;
        }
    }

    /// Whether a frame has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.is_inside
    }

    /// Whether all that is missing is the byte after FS.
    pub fn is_nearly_whole(&self, buffer: &BytesMut) -> bool {
        self.is_inside && buffer.last() == Some(&END)
    }

    /// The frame that [`Frames::is_nearly_whole`] spoke of: nothing else came for a while.
    pub fn finish(&mut self, buffer: &mut BytesMut) -> Option<Frame> {
        if !self.is_nearly_whole(buffer) {
            return None;
        }
        let end = buffer.len() - 1;
        Some(self.whole(buffer, end, 1))
    }

    /// Drops what stands before the next frame; whether one begins.
    fn enter(&mut self, buffer: &mut BytesMut) -> bool {
        let start = memchr::memchr(START, buffer);
        let before = &buffer[..start.unwrap_or(buffer.len())];
        let noise = before.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')).count();
        self.dropped += noise as u64;
        buffer.advance(start.map_or(buffer.len(), |at| at + 1));
        (self.is_inside, self.seen) = (start.is_some(), 0);
        self.is_inside
    }

    fn whole(&mut self, buffer: &mut BytesMut, end: usize, after: usize) -> Frame {
        let message = buffer.split_to(end).freeze();
        buffer.advance(after);
        self.unended += u64::from(after == 1);
        (self.is_inside, self.seen) = (false, 0);
        if message.len() > self.limit { too_long(&message) } else { Frame::Whole(message) }
    }
}

fn too_long(message: &[u8]) -> Frame {
    Frame::TooLong(beginning(message))
}

fn beginning(message: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&message[..message.len().min(KEPT)])
}

impl Decoder for Frames {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        if !self.is_inside && !self.enter(buffer) {
            return Ok(None);
        }
        while let Some(found) = memchr::memchr2(START, END, &buffer[self.seen..]) {
            let at = self.seen + found;
            match (buffer[at], buffer.get(at + 1)) {
                (START, _) => {
                    let lost = &buffer[..at];
                    // In pieces it would have been too long before the next one came.
                    let is_long = lost.len() > self.limit;
                    let lost =
                        if is_long { too_long(lost) } else { Frame::Truncated(beginning(lost)) };
                    buffer.advance(at + 1);
                    self.seen = 0;
                    return Ok(Some(lost));
                }
                (_, Some(b'\r')) => return Ok(Some(self.whole(buffer, at, 2))),
                (_, Some(&START)) => return Ok(Some(self.whole(buffer, at, 1))),
                (_, Some(_)) => self.seen = at + 1,
                (_, None) => {
                    self.seen = at;
                    return Ok(None);
                }
            }
        }
        self.seen = buffer.len();
        if buffer.len() > self.limit {
            let start = beginning(buffer);
            buffer.clear();
            (self.is_inside, self.seen) = (false, 0);
            return Ok(Some(Frame::TooLong(start)));
        }
        Ok(None)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        if let Some(frame) = self.decode(buffer)? {
            return Ok(Some(frame));
        }
        if let Some(frame) = self.finish(buffer) {
            return Ok(Some(frame));
        }
        if !self.is_inside {
            return Ok(None);
        }
        self.is_inside = false;
        let lost = beginning(buffer);
        buffer.clear();
        Ok(Some(Frame::Truncated(lost)))
    }
}

/// A message in its frame.
pub fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 3);
    frame.put_u8(START);
    frame.put_slice(message);
    frame.put_slice(&[END, b'\r']);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_large_frame_takes_little_more_than_the_limit() {
        const MORE: usize = 64 * 1024;
        let limit = 16 * 1024 * 1024;
        let (mut frames, mut buffer) = (Frames::new(limit), BytesMut::new());
        buffer.put_u8(START);
        let mut highest = 0;
        loop {
            frames.make_room(&mut buffer, MORE);
            assert!(buffer.capacity() - buffer.len() >= MORE);
            highest = highest.max(buffer.capacity());
            buffer.put_bytes(b'x', MORE);
            match frames.decode(&mut buffer).unwrap() {
                None => {}
                Some(found) => break assert!(matches!(found, Frame::TooLong(_))),
            }
        }
        assert!(highest <= limit + 2 * MORE, "{highest}");
    }

    /// What is found in `stream` when it comes in pieces of these sizes, and how much was dropped.
    fn found(stream: &[u8], sizes: &[usize], limit: usize) -> (Vec<Frame>, u64) {
        let (all, frames) = cut_out(stream, sizes, limit);
        (all, frames.dropped())
    }

    fn cut_out(stream: &[u8], sizes: &[usize], limit: usize) -> (Vec<Frame>, Frames) {
        let (mut frames, mut buffer, mut all) = (Frames::new(limit), BytesMut::new(), Vec::new());
        let (mut rest, mut sizes) = (stream, sizes.iter().cycle());
        while !rest.is_empty() {
            let size = sizes.next().map_or(1, |size| (*size).clamp(1, rest.len()));
            buffer.extend_from_slice(&rest[..size]);
            rest = &rest[size..];
            while let Some(frame) = frames.decode(&mut buffer).unwrap() {
                all.push(frame);
            }
        }
        while let Some(frame) = frames.decode_eof(&mut buffer).unwrap() {
            all.push(frame);
        }
        (all, frames)
    }

    fn whole(text: &'static str) -> Frame {
        Frame::Whole(Bytes::from_static(text.as_bytes()))
    }

    fn cut(text: &'static str) -> Frame {
        Frame::Truncated(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn frames_are_found_whatever_stands_around_them() {
        for (stream, expected, dropped) in [
            ("\u{B}a\u{1C}\r", vec![whole("a")], 0),
            ("\u{B}a\u{1C}\r\u{B}b\u{1C}\r", vec![whole("a"), whole("b")], 0),
            ("\u{B}a\u{1C}\r\n\u{B}b\u{1C}\r", vec![whole("a"), whole("b")], 0),
            ("xy\r\n\u{B}a\u{1C}\rz", vec![whole("a")], 3),
            ("\u{B}a\u{1C}\u{B}b\u{1C}", vec![whole("a"), whole("b")], 0),
            ("\u{B}a\u{1C}b\u{1C}\r", vec![whole("a\u{1C}b")], 0),
            ("\u{B}a\u{1C}\u{1C}\r", vec![whole("a\u{1C}")], 0),
            ("\u{B}a\u{B}b\u{1C}\r", vec![cut("a"), whole("b")], 0),
            ("\u{B}\u{B}b\u{1C}\r", vec![cut(""), whole("b")], 0),
            ("\u{B}a\rb\u{1C}\r\u{B}c", vec![whole("a\rb"), cut("c")], 0),
            ("\u{B}\u{1C}\r", vec![whole("")], 0),
            ("abc", vec![], 3),
        ] {
            for sizes in [&[1][..], &[2], &[1000], &[3, 1]] {
                let expected = (expected.clone(), dropped);
                assert_eq!(found(stream.as_bytes(), sizes, 100), expected, "{stream:?} {sizes:?}");
            }
        }
    }

    /// Covers: v2 M1.
    #[test]
    fn what_stands_between_frames_and_ends_that_lack_a_byte_are_counted() {
        for (stream, dropped, unended) in [
            ("\u{B}a\u{1C}\r\u{B}b\u{1C}\r\n", 0, 0),
            ("xy\u{B}a\u{1C}\u{B}b\u{1C}\rz", 3, 1),
            ("\u{B}a\u{1C}\u{B}b\u{1C}", 0, 2),
            ("\u{B}a\u{1C}b\u{1C}\r", 0, 0),
        ] {
            for sizes in [&[1][..], &[1000]] {
                let (_, frames) = cut_out(stream.as_bytes(), sizes, 100);
                assert_eq!((frames.dropped(), frames.unended()), (dropped, unended), "{stream:?}");
            }
        }
    }

    #[test]
    fn the_byte_after_fs_is_waited_for_only_so_long() {
        let (mut frames, mut buffer) = (Frames::new(100), BytesMut::from("\u{B}a\u{1C}"));
        assert_eq!(frames.decode(&mut buffer).unwrap(), None);
        assert!(frames.is_nearly_whole(&buffer));
        assert_eq!(frames.finish(&mut buffer), Some(whole("a")));
        buffer.extend_from_slice(b"\r\x0Bb\x1C\r");
        assert_eq!(frames.decode(&mut buffer).unwrap(), Some(whole("b")));
        assert_eq!((frames.dropped(), buffer.len()), (0, 0));
        assert_eq!(frames.finish(&mut buffer), None);
    }

    #[test]
    fn a_frame_beyond_the_limit_is_told_and_does_not_grow() {
        let long = "x".repeat(300_000);
        let stream = format!("\u{B}{long}\u{1C}\r\u{B}b\u{1C}\r");
        for sizes in [&[1000][..], &[1_000_000]] {
            let (frames, _) = found(stream.as_bytes(), sizes, 100_000);
            let Frame::TooLong(kept) = &frames[0] else { panic!("{frames:?}") };
            assert_eq!(kept.len(), KEPT);
            assert_eq!(frames.last(), Some(&whole("b")));
        }
        assert_eq!(found(b"\x0Babc\x1C\r", &[1], 3).0, [whole("abc")]);
        assert!(matches!(found(b"\x0Babcd\x1C\r", &[9], 3).0[0], Frame::TooLong(_)));
        for size in [1, 9] {
            let found = found(b"\x0Babcd\x0Be\x1C\r", &[size], 3).0;
            assert!(matches!(found[0], Frame::TooLong(_)), "{size}: {found:?}");
        }
    }

    #[test]
    fn a_megabyte_that_comes_byte_by_byte_is_looked_at_once() {
        let mut stream = vec![START];
        stream.extend(std::iter::repeat_n(b'x', 1 << 20));
        stream.extend([END, b'\r']);
        // Looking again at each byte would take 5 * 10^11 steps.
        assert_eq!(found(&stream, &[1], 1 << 24).0.len(), 1);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            stream in prop::collection::vec(prop::sample::select(vec![START, END, b'\r', b'a', b'\n']), 0..60),
            sizes in prop::collection::vec(1usize..9, 1..6),
        ) {
            let (frames, dropped) = found(&stream, &[stream.len().max(1)], 1000);
            prop_assert_eq!(found(&stream, &sizes, 1000), (frames, dropped));
        }

        #[test]
        fn what_is_framed_is_found(messages in prop::collection::vec("[a-z\\r]{0,20}", 0..6)) {
            let stream: Vec<u8> = messages.iter().flat_map(|text| framed(text.as_bytes())).collect();
            let (frames, dropped) = found(&stream, &[3, 1, 7], 1000);
            let expected: Vec<_> =
                messages.iter().map(|text| Frame::Whole(Bytes::from(text.clone()))).collect();
            prop_assert_eq!((frames, dropped), (expected, 0));
        }
    }
}
