//! Character sets of messages: from bytes to text by MSH-18, and back for what is answered.
//!
//! Bytes become text before they are split, because the second bytes of Asian sets look like
//! separators. MSH-18 is found in the bytes. A byte order mark wins over it.
//!
//! Spec: v2 S52; table 0211

use std::borrow::Cow;

use encoding_rs::{
    BIG5, EUC_KR, Encoding, GB18030, ISO_2022_JP, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5,
    ISO_8859_6, ISO_8859_7, ISO_8859_8, ISO_8859_15, SHIFT_JIS, UTF_8, UTF_16BE, UTF_16LE,
    WINDOWS_1252, WINDOWS_1254,
};
use thiserror::Error;

/// Names of table 0211, without spaces and in upper case, with what they are read as. The first two
/// parts of ISO 8859 are read as the sets of Windows that contain them: that is what is sent.
const NAMES: &[(&str, &Encoding)] = &[
    ("8859/1", WINDOWS_1252),
    ("8859/2", ISO_8859_2),
    ("8859/3", ISO_8859_3),
    ("8859/4", ISO_8859_4),
    ("8859/5", ISO_8859_5),
    ("8859/6", ISO_8859_6),
    ("8859/7", ISO_8859_7),
    ("8859/8", ISO_8859_8),
    ("8859/9", WINDOWS_1254),
    ("8859/15", ISO_8859_15),
    ("UNICODEUTF-8", UTF_8),
    ("UNICODE", UTF_8),
    ("UTF-8", UTF_8),
    ("UTF8", UTF_8),
    ("UNICODEUTF-16", UTF_16BE),
    ("GB18030-2000", GB18030),
    ("GB18030", GB18030),
    ("BIG-5", BIG5),
    ("CNS11643-1992", BIG5),
    ("KSX1001", EUC_KR),
    ("ISOIR87", ISO_2022_JP),
    ("ISOIR159", ISO_2022_JP),
    ("ISOIR13", SHIFT_JIS),
    ("ISOIR14", SHIFT_JIS),
];

/// A character set that messages are read in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Charset(&'static Encoding);

/// Why bytes did not become text.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum CharsetError {
    /// MSH-18 names a set that is not known.
    #[error("MSH-18 names a character set that is not known here")]
    Unknown,
    /// The bytes are not in the set.
    #[error("the message is not in {0}")]
    Undecodable(&'static str),
    /// Two or four bytes a character contain the bytes that frame a message.
    #[error("{0} cannot travel in MLLP")]
    Unframed(&'static str),
}

/// Text and what it was read in.
#[derive(Debug)]
pub struct Decoded<'a> {
    /// The text, without a byte order mark.
    pub text: Cow<'a, str>,
    /// The set.
    pub charset: Charset,
    /// Whether bytes that are not in the set were replaced.
    pub is_lossy: bool,
}

impl Default for Charset {
    fn default() -> Self {
        Self::UTF_8
    }
}

impl Charset {
    /// UTF-8.
    pub const UTF_8: Self = Self(UTF_8);

    /// The set that MSH-18 or a setting names: by table 0211, or as the web names it
    /// (`windows-1252`).
    pub fn named(name: &str) -> Option<Self> {
        let plain = |c: &char| !c.is_whitespace() && *c != '_';
        let short: String = name.chars().filter(plain).collect::<String>().to_uppercase();
        let listed = NAMES.iter().find(|(known, _)| *known == short).map(|(_, set)| *set);
        listed.or_else(|| Encoding::for_label(name.trim().as_bytes())).map(Self)
    }

    /// Its name on the web.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// Whether a character has two bytes at least, among which may be those of frames.
    pub fn is_wide(self) -> bool {
        self.0 == UTF_16BE || self.0 == UTF_16LE
    }

    /// The text of a whole message: by its byte order mark, else by MSH-18, else in `default`.
    ///
    /// # Errors
    /// [`CharsetError`]: nothing is ever replaced.
    pub fn read(bytes: &[u8], default: Self) -> Result<Decoded<'_>, CharsetError> {
        if let Some((set, mark)) = marked(bytes) {
            return Self(set).decoded(&bytes[mark..]);
        }
        match declared(bytes) {
            None => default.decoded(bytes),
            Some(name) => Self::named(name).ok_or(CharsetError::Unknown)?.decoded(bytes),
        }
    }

    /// The same for bytes that came in a frame.
    ///
    /// # Errors
    /// [`CharsetError`].
    pub fn read_framed(bytes: &[u8], default: Self) -> Result<Decoded<'_>, CharsetError> {
        let read = Self::read(bytes, default)?;
        if read.charset.is_wide() {
            return Err(CharsetError::Unframed(read.charset.name()));
        }
        Ok(read)
    }

    /// The text of a message in which something is not in its set: that is replaced by `U+FFFD`.
    ///
    /// # Errors
    /// [`CharsetError::Unknown`].
    pub fn read_lossy(bytes: &[u8], default: Self) -> Result<Decoded<'_>, CharsetError> {
        let (set, from) = match (marked(bytes), declared(bytes)) {
            (Some((set, mark)), _) => (Self(set), mark),
            (None, Some(name)) => (Self::named(name).ok_or(CharsetError::Unknown)?, 0),
            (None, None) => (default, 0),
        };
        let (text, is_lossy) = set.0.decode_without_bom_handling(&bytes[from..]);
        Ok(Decoded { text, charset: set, is_lossy })
    }

    fn decoded(self, bytes: &[u8]) -> Result<Decoded<'_>, CharsetError> {
        let text = self.decode(bytes).ok_or(CharsetError::Undecodable(self.name()))?;
        Ok(Decoded { text, charset: self, is_lossy: false })
    }

    /// The text of bytes; `None` when they are not in this set.
    pub fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        self.0.decode_without_bom_handling_and_without_replacement(bytes)
    }

    /// The bytes of an answer in this set. UTF-16 is answered in UTF-8.
    pub fn encode(self, text: &str) -> Cow<'_, [u8]> {
        self.0.encode(text).0
    }
}

/// How many bytes stand before a message that are none of it: what frames and files leave there, as
/// [`Message::parse`](super::er7::Message::parse) passes over it, but for a byte order mark.
fn before(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, 0x0B | b'\r' | b'\n' | b' ' | b'\t')).count()
}

/// The set of the byte order mark that a message begins with, and where the mark ends.
fn marked(bytes: &[u8]) -> Option<(&'static Encoding, usize)> {
    let start = before(bytes);
    Encoding::for_bom(&bytes[start..]).map(|(set, mark)| (set, start + mark))
}

/// What MSH-18 says beyond ASCII: the first of its repetitions that says something, or the one whose characters
/// are told apart by escape sequences, where there are such. Read in another set, the bytes behind these
/// would be separators.
fn declared(bytes: &[u8]) -> Option<&str> {
    let message = bytes.get(before(bytes)..)?;
    if !message.starts_with(b"MSH") {
        return None;
    }
    let field = *message.get(3)?;
    let header = message.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let mut fields = header.get(4..)?.split(|byte| *byte == field);
    let repetition = fields.next()?.get(1).copied();
    let value = fields.nth(15)?;
    let repetitions = value.split(|byte| Some(*byte) == repetition);
    let mut named = repetitions.filter_map(|name| str::from_utf8(name).ok().and_then(beyond_ascii));
    let first = named.next()?;
    let is_switched = |name: &&str| Charset::named(name).is_some_and(|set| set.0 == ISO_2022_JP);
    let switched = named.find(is_switched).filter(|_| memchr::memchr(0x1B, message).is_some());
    Some(switched.unwrap_or(first))
}

/// The name of a set, unless it is the one of ASCII, which all have in them.
fn beyond_ascii(name: &str) -> Option<&str> {
    let name = name.trim();
    let is_ascii = ["", "\"\"", "ASCII", "ISO IR6"].iter().any(|it| it.eq_ignore_ascii_case(name));
    (!is_ascii).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(set: &str, name: &[u8]) -> Vec<u8> {
        let mut bytes =
            format!("MSH|^~\\&|A|B|||||ADT^A01|1|P|2.5||||||{set}\rPID|||||").into_bytes();
        bytes.extend(name);
        bytes
    }

    /// Covers: v2 B31.
    #[test]
    fn msh_18_says_how_bytes_are_read() {
        let utf_8 = Charset::UTF_8;
        let western = Charset::named("windows-1252").unwrap();
        for (set, default, bytes, expected) in [
            ("", utf_8, "Müller".as_bytes(), Ok("Müller")),
            ("", western, b"M\xFCller", Ok("Müller")),
            ("ASCII", western, b"M\xFCller", Ok("Müller")),
            ("", utf_8, b"M\xFCller", Err(CharsetError::Undecodable("UTF-8"))),
            ("8859/1", utf_8, b"M\xFCller", Ok("Müller")),
            ("8859/15", utf_8, b"\xA4", Ok("€")),
            ("8859/2", utf_8, b"\xB3", Ok("ł")),
            ("windows-1252", utf_8, b"\x80", Ok("€")),
            ("UNICODE UTF-8", western, "€".as_bytes(), Ok("€")),
            ("UNICODE UTF-8~8859/1", western, "€".as_bytes(), Ok("€")),
            ("GB 18030-2000", utf_8, b"\xC0\xEE", Ok("李")),
            // The second byte of this character is the one of a field separator.
            ("BIG-5", utf_8, b"\xA4\x7C", Ok("勻")),
            ("ISO IR87", utf_8, b"\x1B$B;3\x1B(B", Ok("山")),
            // As it is sent in Japan: the first set is the usual one. The bytes behind the escape are `^` and `|`.
            ("~ISO IR87", western, b"\x1B$B;3\x1B(B", Ok("山")),
            ("~ISO IR87", western, b"\x1B$B@^\x1B(B^\x1B$B4|\x1B(B", Ok("折^期")),
            ("ASCII~ISO IR87~ISO IR159", utf_8, b"\x1B$B;3\x1B(B", Ok("山")),
            ("ISO IR6~ISO IR87", utf_8, b"Yamada", Ok("Yamada")),
            ("8859/1~ISO IR87", utf_8, b"\x1B$B;3\x1B(B", Ok("山")),
            ("8859/1~ISO IR87", utf_8, b"M\xFCller", Ok("Müller")),
            ("~UNICODE UTF-8", western, "€".as_bytes(), Ok("€")),
            ("ascii~8859/15", utf_8, b"\xA4", Ok("€")),
            ("~KLINGON", utf_8, b"x", Err(CharsetError::Unknown)),
            ("~ISO IR87", western, b"M\xFCller", Err(CharsetError::Undecodable("ISO-2022-JP"))),
            ("KS X 1001", utf_8, b"\xB1\xE8", Ok("김")),
            ("KLINGON", utf_8, b"x", Err(CharsetError::Unknown)),
        ] {
            let message = message(set, bytes);
            let read = Charset::read_framed(&message, default);
            let name = read.map(|read| read.text.rsplit_once("PID|||||").unwrap().1.to_owned());
            if set == "BIG-5" {
                assert_eq!(name.unwrap().chars().count(), 1, "{set}");
            } else {
                assert_eq!(name.as_deref(), expected.as_deref(), "{set}");
            }
        }
    }

    #[test]
    fn what_stands_before_the_header_hides_no_set() {
        let western = Charset::named("windows-1252").unwrap();
        for before in ["", "\r\n", "\u{B}", " \t\n", "\r\n\u{FEFF}"] {
            let message = message("UNICODE UTF-8", "Müller".as_bytes());
            let bytes = [before.as_bytes(), &message[..]].concat();
            for read in
                [Charset::read_framed(&bytes, western), Charset::read_lossy(&bytes, western)]
            {
                let read = read.unwrap();
                assert!(read.text.ends_with("||Müller"), "{before:?}: {}", read.text);
                assert_eq!((read.charset, read.is_lossy), (Charset::UTF_8, false), "{before:?}");
            }
        }
        let bytes = [&b"\r\n"[..], &message("KLINGON", b"x")[..]].concat();
        assert_eq!(Charset::read(&bytes, western).unwrap_err(), CharsetError::Unknown);
    }

    /// Covers: v2 S52.
    #[test]
    fn what_is_not_in_its_set_is_replaced_where_that_is_wanted() {
        for (set, bytes, expected) in [
            ("", &b"M\xFCller"[..], Ok(("M\u{FFFD}ller", true))),
            ("", "Müller".as_bytes(), Ok(("Müller", false))),
            ("GB18030", b"\xC0\xEE \xFF", Ok(("李 \u{FFFD}", true))),
            ("KLINGON", b"x", Err(CharsetError::Unknown)),
        ] {
            let message = message(set, bytes);
            let read = Charset::read_lossy(&message, Charset::UTF_8);
            let read = read
                .as_ref()
                .map(|read| (read.text.rsplit_once("PID|||||").unwrap().1, read.is_lossy));
            assert_eq!(read.map_err(Clone::clone), expected, "{set}");
        }
    }

    #[test]
    fn a_byte_order_mark_wins_and_goes() {
        let mut bytes = b"\xEF\xBB\xBF".to_vec();
        bytes.extend(message("8859/1", "€".as_bytes()));
        let read = Charset::read_framed(&bytes, Charset::UTF_8).unwrap();
        assert!(read.text.starts_with("MSH|") && read.text.ends_with('€'));
        let wide: Vec<u8> =
            "\u{FEFF}MSH|^~\\&|".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(Charset::read(&wide, Charset::UTF_8).unwrap().text, "MSH|^~\\&|");
        let refused = Charset::read_framed(&wide, Charset::UTF_8);
        assert_eq!(refused.unwrap_err(), CharsetError::Unframed("UTF-16LE"));
    }

    #[test]
    fn a_header_without_a_field_says_nothing() {
        for bytes in [&b"MSH"[..], b"MSH\r", b"MSH\rPID|1", b"MSH|", b"MS", b"", b"\r\n"] {
            assert_eq!(declared(bytes), None, "{bytes:?}");
        }
    }
}
