//! What can be said of a message before anything is done with it: who sent it, about whom it is, and
//! whether it is one at all.
//!
//! Spec: v2 S52 to S56, M4, M6, B8, B9, B40

use sha2::{Digest as _, Sha256};

use super::ack::{Code, Condition, Issue};
use super::charset::{Charset, CharsetError, Decoded};
use super::er7::{Fault, Message, Part, Place, Reading, SegmentName};
use super::fragment;
use super::heading::Heading;
use super::map::site::Wishes;

/// Most lines that a message stands in.
const MOST_LINES: usize = 32;

/// Longest name of a sender.
const LONGEST_NAME: usize = 200;

/// Whether messages may come in the name of a sender.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binding {
    /// A name of the client's certificate, or `sha256:` and its digest.
    certificate: String,
    /// Pattern of MSH-3, as a whole or its first component.
    application: String,
    /// Pattern of MSH-4, likewise.
    facility: String,
}

impl Binding {
    /// Reads `name=application|facility`.
    pub fn parse(text: &str) -> Option<Self> {
        let (certificate, sender) = text.trim().rsplit_once('=')?;
        let (application, facility) = sender.split_once('|')?;
        (!certificate.is_empty()).then(|| Self {
            certificate: certificate.to_lowercase(),
            application: application.to_owned(),
            facility: facility.to_owned(),
        })
    }

    /// Whether one of `names` may send in this name.
    fn allows(&self, names: &[String], application: &str, facility: &str) -> bool {
        names.iter().any(|name| name.to_lowercase() == self.certificate)
            && fits_name(&self.application, application)
            && fits_name(&self.facility, facility)
    }
}

/// Whether `text` is what `pattern` says, in which `*` stands for anything.
pub fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// Whether a field that names a sender is what `pattern` says: as a whole, or the first of its components.
pub fn fits_name(pattern: &str, field: &str) -> bool {
    let first = field.split(['^', '&']).next().filter(|first| !first.is_empty());
    fits(pattern, field) || first.is_some_and(|first| fits(pattern, first))
}

/// What messages are read by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Where MSH-18 names no character set.
    pub charset: Charset,
    /// How forgiving.
    pub reading: Reading,
    /// Whether tests and training are refused.
    pub is_production: bool,
    /// Whether messages that differ in MSH-7 alone are repetitions.
    pub ignores_sent_time: bool,
    /// Which certificates may send in which name; without any all may.
    pub bindings: Vec<Binding>,
    /// Whether bytes that are not in the character set are replaced, and told, instead of refused.
    pub replaces_undecodable: bool,
}

impl Rules {
    /// The same as the profile of a sender wants it.
    #[must_use]
    pub fn wished(self, wishes: &Wishes) -> Self {
        Self {
            charset: wishes.charset.unwrap_or(self.charset),
            reading: wishes.reading.unwrap_or(self.reading),
            ignores_sent_time: wishes.ignores_sent_time.unwrap_or(self.ignores_sent_time),
            replaces_undecodable: wishes.replaces_undecodable.unwrap_or(self.replaces_undecodable),
            ..self
        }
    }

    /// The text of a message.
    ///
    /// # Errors
    /// [`CharsetError`].
    pub fn read<'r>(&self, raw: &'r [u8], is_framed: bool) -> Result<Decoded<'r>, CharsetError> {
        let read = if is_framed {
            Charset::read_framed(raw, self.charset)
        } else {
            Charset::read(raw, self.charset)
        };
        match read {
            Err(CharsetError::Undecodable(_)) if self.replaces_undecodable => {
                Charset::read_lossy(raw, self.charset)
            }
            read => read,
        }
    }
}

/// That bytes of a message were replaced.
pub(super) fn replaced() -> Issue {
    Issue::warning(Condition::DataType).at(msh(18)).named("charset")
}

/// That a control id was used for another message before.
pub(super) fn number_used() -> (Code, Issue) {
    let issue = Issue::error(Condition::DuplicateKey).at(msh(10)).named("control-id-reuse");
    (Code::AE, issue)
}

/// A message that was looked at.
#[derive(Debug)]
pub struct Judged {
    /// Its header, as far as there is one.
    pub heading: Option<Heading>,
    /// The character set it was read in.
    pub charset: &'static str,
    /// Who sends.
    pub site: String,
    /// What it is known by when it comes again.
    pub digest: [u8; 32],
    /// The identifiers of its patients, or its sender; none where it cannot be read: it stands in no line until it is.
    pub lines: Vec<String>,
    /// Where it goes on, when it is a part of a message and not the last one.
    pub goes_on: Option<String>,
    /// The answer, when it is refused.
    pub refused: Option<(Code, Issue)>,
}

impl Judged {
    /// Looks at the bytes of a message, which came from a client with these names.
    pub fn new(raw: &[u8], names: &[String], is_framed: bool, rules: &Rules) -> Self {
        let read = match rules.read(raw, is_framed) {
            Ok(read) => read,
            Err(error) => return Self::refused(raw, rules, undecodable(&error)),
        };
        let message = match Message::parse(&read.text, read.charset, rules.reading) {
            Ok(message) => message,
            Err(fault) => return Self::refused(raw, rules, unreadable(fault)),
        };
        if message.segment_at(0).is_none_or(|first| first.name() != SegmentName::MSH) {
            return Self::refused(raw, rules, unreadable(Fault::NoHeader));
        }
        let heading = Heading::of(&message);
        let site = site(&heading);
        let lines = lines(&message, &site);
        Self {
            // Over HTTP and from files nobody has a certificate: there the caller's scopes say who may send.
            refused: unbound(&heading, names, rules)
                .filter(|_| is_framed)
                .or_else(|| check(&heading, rules))
                .or_else(|| repeated(&message)),
            charset: read.charset.name(),
            digest: digest(raw, rules),
            goes_on: fragment::goes_on(raw),
            heading: Some(heading),
            site,
            lines,
        }
    }

    fn refused(raw: &[u8], rules: &Rules, refused: (Code, Issue)) -> Self {
        let heading = Heading::salvaged(raw);
        let site = heading.as_ref().map(site).unwrap_or_default();
        Self {
            lines: Vec::new(),
            charset: "",
            goes_on: None,
            digest: digest(raw, rules),
            refused: Some(refused),
            heading,
            site,
        }
    }
}

/// The sender, as repetitions and lists are kept by.
fn site(heading: &Heading) -> String {
    let name = format!("{}|{}", heading.application, heading.facility);
    name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
}

fn msh(field: u16) -> Place {
    Place::segment(SegmentName::MSH, 1).with_field(field)
}

fn undecodable(error: &CharsetError) -> (Code, Issue) {
    let issue = |condition| Issue::error(condition).at(msh(18)).named("charset");
    match error {
        CharsetError::Unframed(_) => (Code::AR, issue(Condition::DataType)),
        CharsetError::Unknown => (Code::AE, issue(Condition::TableValue)),
        CharsetError::Undecodable(_) => (Code::AE, issue(Condition::DataType)),
    }
}

fn unreadable(fault: Fault) -> (Code, Issue) {
    match fault {
        Fault::NoHeader => (Code::AR, Issue::error(Condition::SegmentSequence).named("no-header")),
        Fault::Separators => {
            (Code::AR, Issue::error(Condition::DataType).at(msh(2)).named("separators"))
        }
        Fault::NoSegment(place) => {
            (Code::AE, Issue::error(Condition::SegmentSequence).at(place).named("no-segment"))
        }
        Fault::TooLong => (Code::AR, Issue::error(Condition::TooLong)),
    }
}

/// Fields of the header that say one thing: told twice, nobody knows which.
fn repeated(message: &Message<'_>) -> Option<(Code, Issue)> {
    let is_repeated = |field: &u16| message.header(*field).repetitions().count() > 1;
    let field = [9, 10, 12].into_iter().find(is_repeated)?;
    Some((Code::AE, Issue::error(Condition::Cardinality).at(msh(field)).named("repeated")))
}

/// That the client's certificate may not send in this name.
fn unbound(heading: &Heading, names: &[String], rules: &Rules) -> Option<(Code, Issue)> {
    let may_send =
        |binding: &Binding| binding.allows(names, &heading.application, &heading.facility);
    if rules.bindings.is_empty() || rules.bindings.iter().any(may_send) {
        return None;
    }
    let issue = Issue::error(Condition::ApplicationError).at(msh(3)).named("sender");
    Some((Code::AR, issue))
}

/// What the header alone makes impossible.
pub(super) fn check(heading: &Heading, rules: &Rules) -> Option<(Code, Issue)> {
    let refuse = |condition, field| Some((Code::AR, Issue::error(condition).at(msh(field))));
    if heading.control_id.is_empty() {
        return refuse(Condition::RequiredMissing, 10);
    }
    if heading.control_id.chars().count() > LONGEST_NAME {
        return refuse(Condition::TooLong, 10);
    }
    if heading.version().is_none() {
        return refuse(Condition::UnsupportedVersion, 12);
    }
    if rules.is_production && matches!(heading.processing_id(), "T" | "D") {
        return refuse(Condition::UnsupportedProcessing, 11);
    }
    if heading.kind.is_empty() {
        return refuse(Condition::UnsupportedType, 9);
    }
    None
}

/// The digest by which repetitions are told, without MSH-7 where that says nothing.
fn digest(raw: &[u8], rules: &Rules) -> [u8; 32] {
    let sent = if rules.ignores_sent_time { sent_time(raw) } else { None };
    let mut digest = Sha256::new();
    match sent {
        None => digest.update(raw),
        Some((start, end)) => {
            digest.update(&raw[..start]);
            digest.update(&raw[end..]);
        }
    }
    digest.finalize().into()
}

/// Where MSH-7 stands in the bytes.
fn sent_time(raw: &[u8]) -> Option<(usize, usize)> {
    let start = memchr::memmem::find(raw, b"MSH")?;
    let field = *raw.get(start + 3)?;
    let line = &raw[start..];
    let end = memchr::memchr2(b'\r', b'\n', line).unwrap_or(line.len());
    let mut separators = memchr::memchr_iter(field, &line[..end]).map(|at| start + at);
    let begin = separators.nth(5)? + 1;
    Some((begin, separators.next().unwrap_or(start + end)))
}

/// What a message stands in line by: the identifiers of its patients as it names them, or its sender. Messages that
/// name a patient by different numbers alone have no line in common: each has its effect whole and none is lost, for
/// their patient counts them, but which of them is first nobody knows, and the times of their events say what is news.
pub(super) fn lines(message: &Message<'_>, site: &str) -> Vec<String> {
    let mut lines = patients(message);
    if lines.is_empty() {
        lines.push(format!("sender\u{1F}{site}"));
    }
    lines
}

/// The identifiers of all patients in a message, each with its authority.
fn patients(message: &Message<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for segment in message.segments() {
        let fields: &[u16] = match segment.name().as_str() {
            "PID" => &[3, 2],
            "MRG" => &[1],
            _ => continue,
        };
        for field in fields {
            for identifier in segment.field(*field).repetitions() {
                lines.extend(line(identifier));
            }
        }
    }
    lines.sort_unstable();
    lines.dedup();
    lines.truncate(MOST_LINES);
    lines
}

/// An identifier with its authority, whatever stands around it.
fn line(identifier: Part<'_>) -> Option<String> {
    let value = identifier.component(1).valued()?;
    let authority = identifier.component(4);
    let (namespace, id) = (authority.subcomponent(1), authority.subcomponent(2));
    // The universal id is the same for all who know it, the namespace may be spelled differently.
    let authority = id.valued().or_else(|| namespace.valued()).unwrap_or_default();
    Some(format!("{}\u{1F}{authority}", value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "MSH|^~\\&|LAB|STM|K|H|20260101||ADT^A01|7|P|2.5";

    fn rules() -> Rules {
        Rules {
            charset: Charset::UTF_8,
            reading: Reading::Lenient,
            is_production: true,
            ignores_sent_time: false,
            bindings: Vec::new(),
            replaces_undecodable: false,
        }
    }

    fn judged(text: &[u8]) -> Judged {
        Judged::new(text, &[], true, &rules())
    }

    #[test]
    fn what_is_refused_and_how() {
        for (text, code, number, place) in [
            (HEADER.as_bytes().to_vec(), "", 0, ""),
            (b"GET / HTTP/1.1".to_vec(), "AR", 100, ""),
            (b"".to_vec(), "AR", 100, ""),
            (b"MSH||x".to_vec(), "AR", 102, "MSH^1^2"),
            (b"MSH|^~\\&|A|B|||2026||ADT^A01||P|2.5".to_vec(), "AR", 101, "MSH^1^10"),
            (b"MSH|^~\\&|A|B|||2026||ADT^A01|1|P|3.0".to_vec(), "AR", 203, "MSH^1^12"),
            (b"MSH|^~\\&|A|B|||2026||ADT^A01|1|T|2.5".to_vec(), "AR", 202, "MSH^1^11"),
            (b"MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.9.1".to_vec(), "", 0, ""),
            (b"MSH|^~\\&|A|B|||2026|||1|P|2.5".to_vec(), "AR", 200, "MSH^1^9"),
            (b"MSH|^~\\&|A|B|||2026||ADT^A01~ADT^A02|1|P|2.5".to_vec(), "AE", 198, "MSH^1^9"),
            (b"MSH|^~\\&|A|B|||2026||ADT^A01|1~2|P|2.9".to_vec(), "AE", 198, "MSH^1^10"),
            (b"MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5\rPID|\xFF".to_vec(), "AE", 102, "MSH^1^18"),
            (b"MSH|^~\\&|A|B|||2026||ADT^A01|1|P|2.5||||||NONE".to_vec(), "AE", 103, "MSH^1^18"),
        ] {
            let refused = judged(&text).refused;
            let (refused_as, issue) = refused.unzip();
            let place_of = |issue: &Issue| issue.place.map_or_else(String::new, |p| p.to_string());
            let found = (
                refused_as.map_or("", Code::as_str),
                issue.as_ref().map_or(0, |issue| issue.condition.number()),
                issue.as_ref().map_or_else(String::new, place_of),
            );
            let text = String::from_utf8_lossy(&text);
            assert_eq!(found, (code, number, place.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_message_stands_in_the_lines_of_all_its_patients() {
        let lines = |rest: &str| {
            judged(format!("{HEADER}\r{rest}").as_bytes()).lines.join(" ").replace('\u{1F}', "@")
        };
        for (rest, expected) in [
            ("PID|||12^^^STM^MR", "12@STM"),
            ("PID|||34^^^B~12^^^STM&1.2&ISO", "12@1.2 34@B"),
            ("PID||9|12^^^STM", "12@STM 9@"),
            ("PID|||^^^STM~\"\"", "sender@LAB|STM"),
            ("PID|||12^^^STM\rMRG|7^^^STM", "12@STM 7@STM"),
            ("PID|||1^^^S\rPV1|1\rPID|||2^^^S", "1@S 2@S"),
            ("NTE|1||x", "sender@LAB|STM"),
        ] {
            assert_eq!(lines(rest), expected, "{rest}");
        }
    }

    /// Covers: v2 S20.
    #[test]
    fn repetitions_may_differ_in_their_time() {
        let ignoring = Rules { ignores_sent_time: true, ..rules() };
        let digest =
            |text: &str, rules: &Rules| Judged::new(text.as_bytes(), &[], true, rules).digest;
        let later = HEADER.replace("20260101", "20260102");
        assert_ne!(digest(HEADER, &rules()), digest(&later, &rules()));
        assert_eq!(digest(HEADER, &ignoring), digest(&later, &ignoring));
        let other = HEADER.replace("|7|", "|8|");
        assert_ne!(digest(HEADER, &ignoring), digest(&other, &ignoring));
        assert_eq!(sent_time(b"MSH|^~\\&|A|B|C|D|2026"), Some((17, 21)));
        assert_eq!(sent_time(b"MSH|^~\\&|A|B|C"), None);
    }

    #[test]
    fn a_certificate_sends_in_its_name_alone() {
        let bound = Rules {
            bindings: vec![Binding::parse("lab.example.org=LAB*|STM").unwrap()],
            ..rules()
        };
        let refused = |names: &[&str], text: &str| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            Judged::new(text.as_bytes(), &names, true, &bound).refused.map(|(code, _)| code)
        };
        let unframed = Judged::new(HEADER.as_bytes(), &[], false, &bound);
        assert_eq!(unframed.refused, None, "over HTTP and from files nobody has a certificate");
        assert_eq!(refused(&["Lab.example.org"], HEADER), None);
        assert_eq!(refused(&["x.example.org"], HEADER), Some(Code::AR));
        assert_eq!(refused(&[], HEADER), Some(Code::AR));
        for (sender, expected) in [
            ("|LAB^1.2.3^ISO|STM|", None),
            ("|LAB2|STM^lab.example.org^DNS|", None),
            ("|ADT|STM|", Some(Code::AR)),
            ("|ADT^LAB^ISO|STM|", Some(Code::AR)),
            ("|LAB|^STM|", Some(Code::AR)),
            ("|^LAB|STM|", Some(Code::AR)),
        ] {
            let text = HEADER.replace("|LAB|STM|", sender);
            assert_eq!(refused(&["lab.example.org"], &text), expected, "{sender}");
        }
        for text in ["", "a", "a=b", "=a|b"] {
            assert_eq!(Binding::parse(text), None, "{text}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("LAB*", "LABCORE", true),
            ("LAB*", "LAB", true),
            ("LAB", "LABCORE", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*CORE", "LABCORE", true),
            ("L*C*E", "LABCORE", true),
            ("L*X*E", "LABCORE", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
