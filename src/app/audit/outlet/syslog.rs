//! A syslog server that gets events as DICOM audit messages, or checkpoints, over TLS.
//!
//! A connection takes many of them: syslog has no answers, so only its end tells that the other
//! side has read them.
//!
//! Spec: RFC 5424, RFC 5425, IHE ITI TF-2 3.20

use crate::audit::balp::Event;
use crate::audit::{Signed, dicom, syslog};
use crate::outbound::{Line, Trust};

use super::OutletError;

/// Bytes that are collected before they are written.
const WRITE_BYTES: usize = 16 << 10;

/// A syslog server.
pub(super) struct Syslog {
    pub(super) place: String,
    pub(super) trust: Trust,
    /// The name of this machine.
    pub(super) host: String,
}

impl Syslog {
    /// Sends events on one connection, whose end tells that all of them have been taken.
    pub(super) async fn send(&self, events: &[Event]) -> Result<usize, OutletError> {
        let mut line = Line::open(&self.place, &self.trust).await?;
        let mut bytes = Vec::with_capacity(WRITE_BYTES);
        let process = std::process::id();
        for event in events {
            let message = dicom::message(&event.body);
            let sender = (self.host.as_str(), process);
            bytes.extend(syslog::frame(event.recorded, sender, syslog::EVENT, &message));
            if bytes.len() >= WRITE_BYTES {
                line.say(&bytes).await?;
                bytes.clear();
            }
        }
        line.say(&bytes).await?;
        line.end().await?;
        Ok(events.len())
    }

    /// Sends checkpoints on one connection, each as the line of JSON that it is in the file.
    pub(super) async fn tell(&self, checkpoints: &[Signed]) -> Result<(), OutletError> {
        let mut line = Line::open(&self.place, &self.trust).await?;
        let sender = (self.host.as_str(), std::process::id());
        for signed in checkpoints {
            let (at, message) = (signed.checkpoint.at, signed.to_json().to_string());
            line.say(&syslog::frame(at, sender, syslog::CHECKPOINT, &message)).await?;
        }
        Ok(line.end().await?)
    }
}
