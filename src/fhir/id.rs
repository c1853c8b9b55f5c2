//! Identity: the logical id and the version of a resource.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::resource_type::ResourceType;

/// The logical id of a resource: 1 to 64 of `A-Z a-z 0-9 - .`.
///
/// <https://hl7.org/fhir/R4/datatypes.html#id>
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LogicalId(Box<str>);

/// The text is not a logical id.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0:?} is not an id: 1 to 64 letters, digits, '-' and '.'")]
pub struct InvalidId(String);

impl LogicalId {
    /// Longest id.
    pub const MAX_LEN: usize = 64;

    /// The id whose text is a UUID: always within the alphabet and length.
    pub(crate) fn of_uuid(text: &str) -> Self {
        Self(text.into())
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogicalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogicalId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId(text.chars().take(80).collect()))
        }
    }
}

/// The version of a resource: 1, 2, 3 .. without gaps, deletions counted (rest 0.5).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VersionId(pub i32);

/// The text is not a version id.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{0:?} is not a version: a decimal integer from 1")]
pub struct InvalidVersion(String);

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for VersionId {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let number = text.parse().ok().filter(|number: &i32| plain && *number > 0);
        number.map(Self).ok_or_else(|| InvalidVersion(text.chars().take(80).collect()))
    }
}

/// Type and id: what a resource is called, whatever its version.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Identity {
    /// The resource's type.
    pub resource_type: ResourceType,
    /// Its logical id.
    pub id: LogicalId,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.resource_type, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logical_id_accepts_exactly_the_spec_alphabet_and_length() {
        let cases = [
            ("p1", true),
            ("a-b.C9", true),
            (&"x".repeat(64), true),
            (&"x".repeat(65), false),
            ("", false),
            ("p/1", false),
            ("p_1", false),
            ("pé", false),
            ("p\0", false),
        ];
        for (text, valid) in cases {
            assert_eq!(LogicalId::from_str(text).is_ok(), valid, "{text:?}");
        }
    }

    #[test]
    fn version_is_a_positive_decimal_integer() {
        for (text, valid) in [
            ("1", true),
            ("2147483647", true),
            ("2147483648", false),
            ("0", false),
            ("01", false),
            ("+1", false),
            ("-1", false),
            ("x", false),
            ("", false),
        ] {
            assert_eq!(VersionId::from_str(text).is_ok(), valid, "{text:?}");
        }
    }
}
