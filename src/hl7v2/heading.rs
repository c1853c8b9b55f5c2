//! What the first segment says of a message: who sent it, what it is, which answers it wants.
//!
//! It can be read from bytes that are no message otherwise, so that what is refused is answered to
//! who sent it.
//!
//! Spec: v2 S54, M3, M4

use super::charset::Charset;
use super::er7::{Message, Part, Reading, Separators};

/// A version of the standard; `2.5.1` is (5, 1).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Version {
    /// The number after `2.`.
    pub minor: u8,
    /// The number after that; 0 where there is none.
    pub patch: u8,
}

impl Version {
    /// Reads MSH-12.1; `None` when it is not version 2 (an empty one is not known either).
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix("2")?;
        if rest.is_empty() {
            return Some(Self { minor: 1, patch: 0 });
        }
        let (minor, patch) = match rest.strip_prefix('.')?.split_once('.') {
            Some((minor, patch)) => (minor, patch.split('.').next()?.parse().ok()?),
            None => (rest.strip_prefix('.')?, 0),
        };
        Some(Self { minor: minor.parse().ok()?, patch })
    }

    /// Whether there is such a version; others are read as the nearest before them.
    pub fn is_published(self) -> bool {
        let last = match self.minor {
            3 | 5 | 7 => 1,
            8 => 2,
            _ => 0,
        };
        (1..=9).contains(&self.minor) && self.patch <= last
    }

    /// 2.5: the first whose ERR has a segment for each error.
    pub const ERR_SEGMENTS: Self = Self { minor: 5, patch: 0 };
}

/// When an answer is wanted (table 0155).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// `AL`
    Always,
    /// `NE`, and what is left empty beside one that is not.
    Never,
    /// `ER`
    OnFailure,
    /// `SU`
    OnSuccess,
}

impl Wanted {
    /// The one of this code; what is none is [`Wanted::Never`].
    pub fn read(text: &str) -> Self {
        match text.trim() {
            "AL" => Self::Always,
            "ER" => Self::OnFailure,
            "SU" => Self::OnSuccess,
            _ => Self::Never,
        }
    }

    /// Its code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "AL",
            Self::Never => "NE",
            Self::OnFailure => "ER",
            Self::OnSuccess => "SU",
        }
    }

    /// Whether an answer of this outcome is wanted.
    pub fn is_for(self, is_success: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::OnFailure => !is_success,
            Self::OnSuccess => is_success,
        }
    }
}

/// How a message is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// One answer after the work (MSH-15 and MSH-16 are empty).
    Original,
    /// One when it is safe, one after the work, as far as they are wanted.
    Enhanced {
        /// The first.
        accept: Wanted,
        /// The second.
        application: Wanted,
    },
}

/// The header, as far as the server needs it. What is echoed is kept as it was sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Heading {
    /// The separators.
    pub separators: Separators,
    /// The character set of the message.
    pub charset: Charset,
    /// MSH-3, raw.
    pub application: String,
    /// MSH-4, raw.
    pub facility: String,
    /// MSH-5, raw.
    pub receiver: String,
    /// MSH-6, raw.
    pub receiver_facility: String,
    /// MSH-7.1
    pub sent: String,
    /// MSH-9.1, such as `ADT`.
    pub kind: String,
    /// MSH-9.2, such as `A01`.
    pub event: String,
    /// MSH-9.3, such as `ADT_A01`.
    pub structure: String,
    /// MSH-10
    pub control_id: String,
    /// MSH-11, raw.
    pub processing: String,
    /// MSH-12, raw.
    pub version: String,
    /// MSH-13
    pub sequence: String,
    /// The number that the next message has, where they are numbered.
    pub expected: Option<u64>,
    /// MSH-14
    pub continuation: String,
    /// MSH-18, raw.
    pub declared_charset: String,
    /// Which answers are wanted.
    pub mode: Mode,
}

impl Heading {
    /// The heading of a message.
    pub fn of(message: &Message<'_>) -> Self {
        // The database takes no NUL in a text.
        let clean = |text: &str| text.trim().replace('\0', "");
        let raw = |field: u16| message.header(field).raw().replace('\0', "");
        let first = |field: u16| clean(&message.header(field).component(1).text());
        let kind = message.header(9);
        let part = |part: Part<'_>| clean(&part.text());
        Self {
            separators: *message.separators(),
            charset: message.charset(),
            application: raw(3),
            facility: raw(4),
            receiver: raw(5),
            receiver_facility: raw(6),
            sent: first(7),
            kind: part(kind.component(1)),
            event: part(kind.component(2)),
            structure: part(kind.component(3)),
            control_id: part(message.header(10)),
            processing: raw(11),
            version: raw(12),
            sequence: first(13),
            expected: None,
            continuation: part(message.header(14)),
            declared_charset: raw(18),
            mode: mode(message),
        }
    }

    /// The heading of bytes that are no message: their first line, if that is a header.
    pub fn salvaged(bytes: &[u8]) -> Option<Self> {
        let start = memchr::memmem::find(bytes.get(..bytes.len().min(4096))?, b"MSH")?;
        let line = bytes[start..].split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
        let line = &line[..line.len().min(4096)];
        let text: String = line.iter().map(|byte| char::from(*byte)).collect();
        let ascii: String = text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
        let message = Message::parse(&ascii, Charset::UTF_8, Reading::Lenient).ok()?;
        Some(Self::of(&message))
    }

    /// The version of the standard; `None` when it is not version 2.
    pub fn version(&self) -> Option<Version> {
        let text = self.version.split(char::from(self.separators.component)).next();
        Version::parse(text.unwrap_or_default())
    }

    /// `ADT^A01`, for logs and lists.
    pub fn trigger(&self) -> String {
        if self.event.is_empty() {
            self.kind.clone()
        } else {
            format!("{}^{}", self.kind, self.event)
        }
    }

    /// MSH-11.1: P, T or D.
    pub fn processing_id(&self) -> &str {
        self.processing.split(char::from(self.separators.component)).next().unwrap_or_default()
    }

    /// Whether the message is itself an answer, which nobody answers.
    pub fn is_answer(&self) -> bool {
        matches!(self.kind.as_str(), "ACK" | "MCF" | "NMR" | "ORR" | "RRA")
            || self.structure == "ACK"
    }
}

fn mode(message: &Message<'_>) -> Mode {
    let (accept, application) = (message.header(15), message.header(16));
    if !accept.is_valued() && !application.is_valued() {
        return Mode::Original;
    }
    Mode::Enhanced {
        accept: Wanted::read(&accept.text()),
        application: Wanted::read(&application.text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (text, expected) in [
            ("2.1", Some((1, 0))),
            ("2.5", Some((5, 0))),
            ("2.5.1", Some((5, 1))),
            ("2.8.2", Some((8, 2))),
            ("2", Some((1, 0))),
            ("2.10", Some((10, 0))),
            ("3", None),
            ("", None),
            ("2.x", None),
            ("25", None),
        ] {
            let read = Version::parse(text).map(|version| (version.minor, version.patch));
            assert_eq!(read, expected, "{text}");
        }
        assert!(Version::parse("2.5.1") > Version::parse("2.5"));
    }

    #[test]
    fn which_answers_are_wanted() {
        let enhanced = |accept, application| Mode::Enhanced { accept, application };
        for (fields, expected) in [
            ("|||", Mode::Original),
            ("|||AL|AL", enhanced(Wanted::Always, Wanted::Always)),
            ("|||NE|", enhanced(Wanted::Never, Wanted::Never)),
            ("||||ER", enhanced(Wanted::Never, Wanted::OnFailure)),
            ("|||SU|NE", enhanced(Wanted::OnSuccess, Wanted::Never)),
        ] {
            let text = format!("MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|2.5{fields}");
            let message = Message::parse(&text, Charset::UTF_8, Reading::Lenient).unwrap();
            assert_eq!(Heading::of(&message).mode, expected, "{fields}");
        }
        assert!(Wanted::OnFailure.is_for(false) && !Wanted::OnFailure.is_for(true));
        assert!(Wanted::OnSuccess.is_for(true) && !Wanted::OnSuccess.is_for(false));
    }

    #[test]
    fn a_heading_is_found_in_what_cannot_be_read() {
        let bytes = b"\xEF\xBB\xBF\rMSH|^~\\&|LAB^1.2^ISO|M\xFCnchen|K|H|2026||ORU^R01^ORU_R01|77|P|2.5.1\rPID|\xFF";
        let heading = Heading::salvaged(bytes).unwrap();
        assert_eq!((heading.control_id.as_str(), heading.trigger().as_str()), ("77", "ORU^R01"));
        assert_eq!(
            (heading.application.as_str(), heading.facility.as_str()),
            ("LAB^1.2^ISO", "M?nchen")
        );
        assert_eq!(heading.version(), Version::parse("2.5.1"));
        assert_eq!(Heading::salvaged(b"GET / HTTP/1.1\r\n"), None);
        assert_eq!(Heading::salvaged(b""), None);
        assert_eq!(Heading::salvaged(b"MSH"), None);
    }
}
