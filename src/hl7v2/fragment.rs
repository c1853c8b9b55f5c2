//! Messages in several parts: each but the last ends in DSC, whose name the next part has in MSH-14.
//!
//! A part that begins with ADD goes on in the middle of the segment that the part before it broke off. Parts
//! wait a day for the next one; those of a sender that wait have a bound, so that one who never ends a message
//! does not fill the database, nor the memory of who puts it together.
//!
//! Spec: v2 S55, B36

use bytes::Bytes;

use super::ack::{Code, Condition, Issue};
use super::heading::Heading;
use super::judge::Judged;
use super::queue::Job;
use super::receive::Receiver;
use crate::error::Error;
use crate::store::hl7v2::HeldParts;

/// How long a part of a message waits for the next one.
const LONGEST_PART_MS: i64 = 24 * 3_600_000;

/// Most bytes of parts of a sender that wait for the next ones, and of all parts of one message but the last.
pub const MOST_OF_PARTS: u64 = 128 * 1024 * 1024;

/// A message as it was before it was cut.
pub(super) enum Whole {
    /// All of it.
    Message(Bytes),
    /// It is a part that others follow: to apply it would be to apply the beginning of a message.
    Part,
    /// A part is not there, or not yet.
    PartMissing,
    /// It has more than there may be.
    TooLong,
}

impl Receiver {
    /// Refuses a part for which its sender has no room; whether it did.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub(super) async fn judge_part(&self, judged: &mut Judged, raw: &[u8]) -> Result<bool, Error> {
        if judged.goes_on.is_none() || judged.refused.is_some() {
            return Ok(false);
        }
        let since = self.clock.now().plus_millis(-LONGEST_PART_MS);
        let held = self.store.held_parts(&judged.site, since).await?;
        if held.saturating_add(raw.len() as u64) > self.settings.most_of_parts {
            metrics::counter!("kiln_v2_parts_refused_total").increment(1);
            let issue = Issue::error(Condition::ApplicationError).named("parts-too-long");
            judged.refused = Some((Code::AR, issue));
            return Ok(true);
        }
        Ok(false)
    }

    /// The bytes of a message, with those of the parts before its last one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub(super) async fn whole(&self, job: &Job) -> Result<Whole, Error> {
        if goes_on(&job.raw).is_some() {
            return Ok(Whole::Part);
        }
        let continuation = Heading::salvaged(&job.raw).map(|heading| heading.continuation);
        let Some(name) = continuation.filter(|name| !name.is_empty()) else {
            return Ok(Whole::Message(job.raw.clone()));
        };
        let since = job.received_at.plus_millis(-LONGEST_PART_MS);
        let most = self.settings.most_of_parts;
        let parts = match self.store.message_parts(&job.site, &name, (since, most)).await? {
            HeldParts::All(parts) => parts,
            HeldParts::Missing => return Ok(Whole::PartMissing),
            HeldParts::TooLong => return Ok(Whole::TooLong),
        };
        let mut parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        parts.push(&job.raw);
        Ok(Whole::Message(joined(&parts).into()))
    }
}

/// Where a message goes on: DSC-1; `None` for a whole message and for the last part of one.
pub fn goes_on(bytes: &[u8]) -> Option<String> {
    let separator = *bytes.get(header(bytes)? + 3)?;
    let last = lines(bytes).rfind(|line| !line.is_empty())?;
    let rest = last.strip_prefix(b"DSC")?.strip_prefix(&[separator])?;
    let name = rest.split(|byte| *byte == separator).next().unwrap_or_default();
    let name = String::from_utf8_lossy(name).trim().to_owned();
    (!name.is_empty()).then_some(name)
}

/// The whole message of its parts, the first one first.
pub fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut whole: Vec<u8> = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let separator = header(part).and_then(|at| part.get(at + 3)).copied().unwrap_or(b'|');
        let is_empty_add = |line: &[u8]| line == b"ADD" || line == [b'A', b'D', b'D', separator];
        for (at, line) in lines(part).filter(|line| !line.is_empty()).enumerate() {
            let is_header = number > 0 && at == 0;
            if is_header || line.starts_with(b"DSC") || is_empty_add(line) {
                continue;
            }
            match line.strip_prefix(b"ADD").and_then(|rest| rest.strip_prefix(&[separator])) {
                Some(rest) => {
                    while whole.last() == Some(&b'\r') {
                        whole.pop();
                    }
                    whole.extend_from_slice(rest);
                }
                None => whole.extend_from_slice(line),
            }
            whole.push(b'\r');
        }
    }
    whole
}

fn header(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes.get(..bytes.len().min(64))?, b"MSH")
}

fn lines(bytes: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    bytes.split(|byte| matches!(byte, b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_where_it_goes_on() {
        for (text, expected) in [
            ("MSH|^~\\&|A\rOBX|1\rDSC|100|F\r", Some("100")),
            ("MSH|^~\\&|A\r\nOBX|1\r\nDSC|100\r\n", Some("100")),
            ("MSH$%~\\&$A\rDSC$x\r", Some("x")),
            ("MSH|^~\\&|A\rOBX|1\r", None),
            ("MSH|^~\\&|A\rDSC|\r", None),
            ("DSC|100", None),
            ("", None),
        ] {
            assert_eq!(goes_on(text.as_bytes()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn parts_make_the_message_that_was_cut() {
        let one = "MSH|^~\\&|A\rPID|1\rOBX|1|TX|c||the first\rADD|\rDSC|100|F\r";
        let two = "MSH|^~\\&|A\rADD| and the second\rOBX|2|TX|c||more\rDSC|101|F\r";
        let three = "MSH|^~\\&|A\rOBX|3|TX|c||end\r";
        let whole = joined(&[one.as_bytes(), two.as_bytes(), three.as_bytes()]);
        let expected = "MSH|^~\\&|A\rPID|1\rOBX|1|TX|c||the first and the second\rOBX|2|TX|c||more\rOBX|3|TX|c||end\r";
        assert_eq!(String::from_utf8(whole).unwrap(), expected);
        assert_eq!(joined(&[]), b"");
    }
}
