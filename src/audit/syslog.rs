//! Lines of syslog, and how TLS carries them.
//!
//! Spec: RFC 5424 section 6, RFC 5425 section 4.3, IHE ITI TF-2 3.20

use crate::fhir::Instant;

/// Facility 10 (security and authorization), severity 5 (normal but significant).
const PRIORITY: u8 = 10 * 8 + 5;
const PROGRAM: &str = "kiln";
/// What IHE calls messages of events.
pub const EVENT: &str = "IHE+RFC-3881";
/// What messages of checkpoints are called.
pub const CHECKPOINT: &str = "kiln-checkpoint";
/// Longest name of a host.
const HOST_BYTES: usize = 255;

/// A message of this host and process, and of a kind, as a frame: its length, a space, the line.
pub fn frame(at: Instant, (host, process): (&str, u32), kind: &str, message: &str) -> Vec<u8> {
    let host: String = host.chars().filter(char::is_ascii_graphic).take(HOST_BYTES).collect();
    let host = if host.is_empty() { "-" } else { &host };
    let line = format!("<{PRIORITY}>1 {at} {host} {PROGRAM} {process} {kind} - {message}");
    let mut frame = format!("{} ", line.len()).into_bytes();
    frame.extend(line.into_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_begins_with_the_length_of_its_line_in_bytes() {
        let at = Instant::parse("2026-01-02T03:04:05.678Z").unwrap();
        for (host, message, expected) in [
            (
                "h.example.org",
                "<x/>",
                "71 <85>1 2026-01-02T03:04:05.678Z h.example.org kiln 7 IHE+RFC-3881 - <x/>",
            ),
            ("a b\né", "é", "58 <85>1 2026-01-02T03:04:05.678Z ab kiln 7 IHE+RFC-3881 - é"),
            ("", "", "55 <85>1 2026-01-02T03:04:05.678Z - kiln 7 IHE+RFC-3881 - "),
        ] {
            let frame = String::from_utf8(frame(at, (host, 7), EVENT, message)).unwrap();
            assert_eq!(frame, expected);
            let (length, line) = frame.split_once(' ').unwrap();
            assert_eq!(length.parse(), Ok(line.len()), "{frame}");
        }
    }
}
