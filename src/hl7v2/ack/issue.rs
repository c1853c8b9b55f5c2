//! What can be wrong with a message, as ERR says it.

use std::borrow::Cow;

use crate::hl7v2::er7::{Place, Separators};
use crate::hl7v2::heading::Version;

/// How bad it is (table 0516).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Severity {
    /// The message has no effect.
    Error,
    /// It has, and this is worth knowing.
    Information,
    /// It has, and somebody should look.
    Warning,
}

impl Severity {
    /// The letter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "E",
            Self::Information => "I",
            Self::Warning => "W",
        }
    }

    /// Whether the message failed.
    pub fn is_failure(self) -> bool {
        self == Self::Error
    }
}

macro_rules! conditions {
    ($($variant:ident $number:literal $text:literal,)*) => {
        /// The conditions of table 0357.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Condition {
            $(#[doc = $text] $variant,)*
        }

        impl Condition {
            /// The number.
            pub fn number(self) -> u16 {
                match self { $(Self::$variant => $number,)* }
            }

            /// What the table says of it.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The condition of this number.
            pub fn of_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

conditions! {
    Accepted 0 "Message accepted",
    SegmentSequence 100 "Segment sequence error",
    RequiredMissing 101 "Required field missing",
    DataType 102 "Data type error",
    TableValue 103 "Table value not found",
    TooLong 104 "Value too long",
    Cardinality 198 "Non-Conformant Cardinality",
    Other 199 "Other HL7 Error",
    UnsupportedType 200 "Unsupported message type",
    UnsupportedEvent 201 "Unsupported event code",
    UnsupportedProcessing 202 "Unsupported processing id",
    UnsupportedVersion 203 "Unsupported version id",
    UnknownKey 204 "Unknown key identifier",
    DuplicateKey 205 "Duplicate key identifier",
    Locked 206 "Application record locked",
    ApplicationError 207 "Application internal error",
}

impl Condition {
    /// What it is called in a version of the standard: 198 and 199 came with 2.9, and 104 with 2.7.
    #[must_use]
    pub fn in_version(self, version: Version) -> Self {
        match self {
            Self::TooLong | Self::Cardinality if version.minor < self.first() => Self::DataType,
            Self::Other if version.minor < self.first() => Self::ApplicationError,
            known => known,
        }
    }

    /// The version that has it first: the number after `2.`.
    fn first(self) -> u8 {
        match self {
            Self::Cardinality | Self::Other => 9,
            Self::TooLong => 7,
            _ => 1,
        }
    }

    /// Whether a message in this condition is refused as a whole (AR), not found wrong (AE).
    pub fn is_reject(self) -> bool {
        (200..=203).contains(&self.number())
    }
}

/// One thing that is wrong, or worth knowing. Its texts never hold a value of the message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, for other systems.
    pub condition: Condition,
    /// What it is more exactly, in words of ours such as `stale`; may be empty.
    pub name: &'static str,
    /// Where it is.
    pub place: Option<Place>,
    /// More for who looks for the cause, such as the rule that failed.
    pub detail: Cow<'static, str>,
}

impl Issue {
    /// An issue that makes the message fail.
    pub fn error(condition: Condition) -> Self {
        Self::new(Severity::Error, condition)
    }

    /// An issue that somebody should look at.
    pub fn warning(condition: Condition) -> Self {
        Self::new(Severity::Warning, condition)
    }

    /// An issue that is only worth knowing.
    pub fn information(condition: Condition) -> Self {
        Self::new(Severity::Information, condition)
    }

    fn new(severity: Severity, condition: Condition) -> Self {
        Self { severity, condition, name: "", place: None, detail: Cow::Borrowed("") }
    }

    /// The same as a version of the standard has it.
    #[must_use]
    pub fn in_version(self, version: Version) -> Self {
        Self { condition: self.condition.in_version(version), ..self }
    }

    /// The same at a place.
    #[must_use]
    pub fn at(self, place: Place) -> Self {
        Self { place: Some(place), ..self }
    }

    /// The same with a name of ours.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The same with more for who looks for the cause. Never a value of the message.
    #[must_use]
    pub fn detailed(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// One line for people.
    pub fn text(&self) -> String {
        let mut text = self.condition.text().to_owned();
        if let Some(place) = self.place {
            let field = match place.field {
                0 => place.segment.to_string(),
                field => format!("{}-{field}", place.segment),
            };
            text = format!("{text} ({field})");
        }
        if self.name.is_empty() { text } else { format!("{text}: {}", self.name) }
    }

    /// The code as a coded element, for MSA-6.
    pub(super) fn coded(&self, separators: &Separators) -> String {
        self.joined(char::from(separators.component))
    }

    /// Place and code, for ERR-1 before 2.5.
    pub(super) fn located(&self, separators: &Separators) -> String {
        let between = char::from(separators.component);
        let number = |number: u16| if number == 0 { String::new() } else { number.to_string() };
        let (segment, sequence, field) = self.place.map_or_else(Default::default, |place| {
            (place.segment.to_string(), number(place.sequence), number(place.field))
        });
        let code = match separators.subcomponent {
            Some(sub) => self.joined(char::from(sub)),
            None => self.condition.number().to_string(),
        };
        format!("{segment}{between}{sequence}{between}{field}{between}{code}")
    }

    fn joined(&self, between: char) -> String {
        let (number, text) = (self.condition.number(), self.condition.text());
        format!("{number}{between}{text}{between}HL70357")
    }
}
