//! The values of `[hl7v2]`.

use serde::Deserialize;

/// When a message of a sender that wants one answer is accepted.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum AckWhen {
    /// Its effect is committed.
    Processed,
    /// It is stored; what fails later is in the list of messages alone.
    Stored,
}

/// What a failed message does to those behind it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Nothing.
    Continue,
    /// Messages of the same patients wait until it is replayed or discarded.
    Hold,
}

/// How forgiving messages are read.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum MessageReading {
    /// A line that is no segment belongs to the field before it.
    Lenient,
    /// It is an error.
    Strict,
}
