//! The values of `[hl7v2]`, and its rules.

use serde::Deserialize;

use super::check::pair;
use super::{Config, ConfigError, Hl7v2};

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

impl Config {
    /// The rules of `[hl7v2]`.
    pub(super) fn check_feed(&self) -> Result<(), ConfigError> {
        let rule = |key, reason: String| Err(ConfigError::Rule { key, reason });
        let is_whole = self.hl7v2.certificate.is_some() == self.hl7v2.key.is_some();
        pair("hl7v2.certificate", is_whole)?;
        if self.hl7v2.release.get() > 2 {
            return rule("hl7v2.release", "is 1 or 2".to_owned());
        }
        if self.hl7v2.client_authorities.is_some() && self.hl7v2.certificate.is_none() {
            return rule(
                "hl7v2.client_authorities",
                "means nothing without `hl7v2.key`".to_owned(),
            );
        }
        if !self.hl7v2.senders.is_empty() && self.hl7v2.client_authorities.is_none() {
            let reason = "means nothing without `hl7v2.client_authorities`".to_owned();
            return rule("hl7v2.senders", reason);
        }
        if let Some(listen) = self.hl7v2.listen
            && !self.hl7v2.is_closed()
        {
            let reason = format!(
                "{listen} can be reached from other machines: name those that may in \
                 `hl7v2.allow`, or ask for certificates by `hl7v2.client_authorities`"
            );
            return rule("hl7v2.listen", reason);
        }
        Ok(())
    }
}

impl Hl7v2 {
    /// Whether not everybody who reaches the listener may send.
    pub(super) fn is_closed(&self) -> bool {
        let is_near = self.listen.is_none_or(|listen| listen.ip().is_loopback());
        is_near || self.client_authorities.is_some() || !self.allow.is_empty()
    }
}
