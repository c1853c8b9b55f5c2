//! Answers to messages: the acknowledgement with its issues, and that of a batch.
//!
//! An answer swaps sender and receiver, echoes the separators, the processing id, the version and the
//! character set, and names each issue with its code of table 0357 and its place. It never quotes a
//! value of the message.
//!
//! Spec: v2 M4 to M6, B8-B10, B35, B41; HL7 version 2 chapter 2, tables 0008 and 0357

mod issue;

pub use issue::{Condition, Issue, Severity};

use std::fmt::Write as _;

use super::er7::Separators;
use super::heading::{Heading, Mode, Version};

/// What an answer says (table 0008).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Code {
    /// Application accept.
    AA,
    /// Application error.
    AE,
    /// Application reject.
    AR,
    /// Commit accept.
    CA,
    /// Commit error.
    CE,
    /// Commit reject.
    CR,
}

impl Code {
    /// The two letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AA => "AA",
            Self::AE => "AE",
            Self::AR => "AR",
            Self::CA => "CA",
            Self::CE => "CE",
            Self::CR => "CR",
        }
    }

    /// The application's answer to what has these issues.
    pub fn of(issues: &[Issue]) -> Self {
        let mut failures = issues.iter().filter(|issue| issue.severity.is_failure()).peekable();
        if failures.peek().is_none() {
            Self::AA
        } else if failures.any(|issue| issue.condition.is_reject()) {
            Self::AR
        } else {
            Self::AE
        }
    }

    /// The same said of the receipt.
    #[must_use]
    pub fn commit(self) -> Self {
        match self {
            Self::AA | Self::CA => Self::CA,
            Self::AE | Self::CE => Self::CE,
            Self::AR | Self::CR => Self::CR,
        }
    }

    /// Whether all is well.
    pub fn is_success(self) -> bool {
        matches!(self, Self::AA | Self::CA)
    }

    /// The code of these two letters.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::AA, Self::AE, Self::AR, Self::CA, Self::CE, Self::CR]
            .into_iter()
            .find(|code| code.as_str() == text)
    }
}

/// What the server adds to an answer.
#[derive(Clone, Debug)]
pub struct Stamp<'a> {
    /// MSH-7, with an offset.
    pub now: &'a str,
    /// MSH-10 of the answer.
    pub control_id: &'a str,
    /// MSA-4, where numbers are kept (MSH-13).
    pub expected: Option<u64>,
}

/// Whether an answer to the receipt is sent, and whether one to the work.
pub fn wanted(heading: &Heading, accepted: bool, applied: Option<bool>) -> (bool, bool) {
    if heading.is_answer() {
        return (false, false);
    }
    match heading.mode {
        Mode::Original => (false, applied.is_some()),
        Mode::Enhanced { accept, application } => {
            (accept.is_for(accepted), applied.is_some_and(|applied| application.is_for(applied)))
        }
    }
}

/// The answer `code` to a message, or to bytes without a header.
pub fn answer(
    heading: Option<&Heading>,
    code: Code,
    issues: &[Issue],
    stamp: &Stamp<'_>,
) -> String {
    let separators = heading.map_or_else(Separators::default, |heading| heading.separators);
    let version = heading.and_then(Heading::version).unwrap_or(Version::ERR_SEGMENTS);
    let mut text = String::with_capacity(256);
    header(heading, &separators, version, stamp, &mut text);
    let mut line = Line { separators: &separators, text: &mut text };
    line.begin("MSA");
    line.value(code.as_str());
    line.value(heading.map_or("", |heading| &heading.control_id));
    let has_segments = version >= Version::ERR_SEGMENTS;
    let issues: Vec<_> = issues.iter().map(|issue| issue.clone().in_version(version)).collect();
    let main = issues.iter().find(|issue| issue.severity.is_failure()).or(issues.first());
    match main {
        Some(issue) if !has_segments => {
            line.value(&issue.text());
            line.value(&stamp.expected.map_or_else(String::new, |number| number.to_string()));
            line.value("");
            line.raw(&issue.coded(&separators));
        }
        _ => {
            if let Some(number) = stamp.expected {
                line.value("");
                line.value(&number.to_string());
            }
        }
    }
    line.end();
    if has_segments {
        for issue in &issues {
            segment(issue, &mut line);
        }
    } else if !issues.is_empty() {
        line.begin("ERR");
        let all: Vec<_> = issues.iter().map(|issue| issue.located(&separators)).collect();
        let between = separators
            .repetition
            .map_or_else(|| " ".to_owned(), |byte| char::from(byte).to_string());
        line.raw(&all.join(&between));
        line.end();
    }
    text
}

fn header(
    heading: Option<&Heading>,
    separators: &Separators,
    version: Version,
    stamp: &Stamp<'_>,
    text: &mut String,
) {
    let mut line = Line { separators, text };
    let raw =
        |value: fn(&Heading) -> &String| heading.map_or("", |heading| value(heading).as_str());
    line.begin("MSH");
    line.encoding_characters();
    line.raw(raw(|heading| &heading.receiver));
    line.raw(raw(|heading| &heading.receiver_facility));
    line.raw(raw(|heading| &heading.application));
    line.raw(raw(|heading| &heading.facility));
    line.value(stamp.now);
    line.value("");
    let event = heading.map_or("", |heading| heading.event.as_str());
    if version <= (Version { minor: 3, patch: 0 }) || event.is_empty() {
        line.value("ACK");
    } else {
        line.parts(&["ACK", event, "ACK"]);
    }
    line.value(stamp.control_id);
    line.raw(heading.map_or("P", |heading| &heading.processing));
    line.raw(heading.map_or("2.5", |heading| &heading.version));
    let charset = match heading {
        // What comes in UTF-16 is answered in UTF-8.
        Some(heading) if heading.charset.is_wide() => "UNICODE UTF-8",
        _ => raw(|heading| &heading.declared_charset),
    };
    if !charset.is_empty() {
        (0..5).for_each(|_| line.raw(""));
        line.raw(charset);
    }
    line.end();
}

/// ERR of 2.5 and later: one segment for each issue.
fn segment(issue: &Issue, line: &mut Line<'_>) {
    line.begin("ERR");
    line.value("");
    let place = issue.place.map(|place| {
        let numbers = place.numbers().map(|number| match number {
            0 => String::new(),
            number => number.to_string(),
        });
        std::iter::once(place.segment.to_string()).chain(numbers).collect::<Vec<_>>()
    });
    let place: Vec<_> = place.iter().flatten().map(String::as_str).collect();
    line.parts(&place);
    let code = issue.condition.number().to_string();
    line.parts(&[&code, issue.condition.text(), "HL70357"]);
    line.value(issue.severity.as_str());
    match issue.name {
        "" => line.value(""),
        name => line.parts(&[name, "", "kiln"]),
    }
    line.value("");
    line.value(&issue.detail);
    line.value(&issue.text());
    line.end();
}

/// A segment that is being written.
struct Line<'a> {
    separators: &'a Separators,
    text: &'a mut String,
}

impl Line<'_> {
    fn begin(&mut self, name: &str) {
        self.text.push_str(name);
    }

    /// MSH-2 or BHS-2, which are read byte by byte.
    fn encoding_characters(&mut self) {
        self.text.push(char::from(self.separators.field));
        self.text.push_str(&self.separators.encoding_characters());
    }

    /// A field whose text is escaped.
    fn value(&mut self, value: &str) {
        self.parts(&[value]);
    }

    /// A field of several components, each of which is escaped.
    fn parts(&mut self, values: &[&str]) {
        self.text.push(char::from(self.separators.field));
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.text.push(char::from(self.separators.component));
            }
            self.separators.write(value, self.text);
        }
    }

    /// A field as it was sent.
    fn raw(&mut self, value: &str) {
        self.text.push(char::from(self.separators.field));
        self.text.extend(value.chars().map(|c| if c.is_control() { ' ' } else { c }));
    }

    fn end(&mut self) {
        let kept = self.text.trim_end_matches(char::from(self.separators.field)).len();
        self.text.truncate(kept);
        self.text.push('\r');
    }
}

/// The answer to a batch: the answers to its messages, framed as it was, with their number. `header`
/// is its BHS or FHS.
pub fn batch(
    header: Option<&Heading>,
    answers: &[String],
    stamp: &Stamp<'_>,
    fault: Option<&Issue>,
) -> String {
    let separators = header.map_or_else(Separators::default, |heading| heading.separators);
    let mut text = String::new();
    let mut line = Line { separators: &separators, text: &mut text };
    line.begin("BHS");
    line.encoding_characters();
    let raw = |value: fn(&Heading) -> &String| header.map_or("", |heading| value(heading).as_str());
    line.raw(raw(|heading| &heading.receiver));
    line.raw(raw(|heading| &heading.receiver_facility));
    line.raw(raw(|heading| &heading.application));
    line.raw(raw(|heading| &heading.facility));
    line.value(stamp.now);
    line.value("");
    line.value("");
    line.value(&fault.map_or_else(String::new, Issue::text));
    line.value(stamp.control_id);
    // BHS-11 of the batch, which stands where messages have MSH-11.
    line.raw(raw(|heading| &heading.processing));
    line.end();
    for answer in answers {
        text.push_str(answer);
    }
    let field = char::from(separators.field);
    // Writing to a String does not fail.
    let _ = write!(text, "BTS{field}{}\r", answers.len());
    text
}

#[cfg(test)]
mod codes {
    use super::*;
    use crate::hl7v2::charset::Charset;
    use crate::hl7v2::er7::{Message, Reading};

    /// Covers: v2 M7.
    #[test]
    fn each_version_has_its_own_codes() {
        for (version, issue, expected) in [
            ("2.9", Condition::Cardinality, "198"),
            ("2.8.2", Condition::Cardinality, "102"),
            ("2.9", Condition::Other, "199"),
            ("2.5.1", Condition::Other, "207"),
            ("2.7", Condition::TooLong, "104"),
            ("2.6", Condition::TooLong, "102"),
            ("2.5", Condition::TableValue, "103"),
        ] {
            let text = format!("MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|P|{version}\r");
            let message = Message::parse(&text, Charset::UTF_8, Reading::Lenient).unwrap();
            let heading = Heading::of(&message);
            let stamp = Stamp { now: "2026", control_id: "9", expected: None };
            let issues = [Issue::error(issue)];
            let code = Code::of(&issues);
            let answer = answer(Some(&heading), code, &issues, &stamp);
            let read = Message::parse(&answer, Charset::UTF_8, Reading::Strict).unwrap();
            let of = |path: &str| read.get(&path.parse().unwrap()).text().into_owned();
            assert_eq!(
                (of("MSA-1").as_str(), of("ERR-3.1").as_str()),
                ("AE", expected),
                "{version}"
            );
            assert_eq!(code.commit(), Code::CE);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::hl7v2::charset::Charset;
    use crate::hl7v2::er7::{Message, Place, Reading, SegmentName};

    use super::*;

    const STAMP: Stamp<'static> =
        Stamp { now: "20260704120000+0100", control_id: "K1", expected: None };

    fn heading(text: &str) -> Heading {
        Heading::of(&Message::parse(text, Charset::UTF_8, Reading::Lenient).unwrap())
    }

    fn pid_3() -> Place {
        let pid = Place::segment(SegmentName::parse("PID").unwrap(), 1);
        pid.with_field(3)
    }

    const A01: &str = "MSH|^~\\&|LAB^1.2^ISO|STM|KILN|H|2026||ADT^A01^ADT_A01|7|P|";

    #[test]
    fn an_accept_swaps_sender_and_receiver() {
        for (version, kind) in
            [("2.5.1", "ACK^A01^ACK"), ("2.4", "ACK^A01^ACK"), ("2.3", "ACK"), ("2.1", "ACK")]
        {
            let heading = heading(&format!("{A01}{version}"));
            let expected = format!(
                "MSH|^~\\&|KILN|H|LAB^1.2^ISO|STM|20260704120000+0100||{kind}|K1|P|{version}\rMSA|AA|7\r"
            );
            assert_eq!(answer(Some(&heading), Code::AA, &[], &STAMP), expected);
        }
        let other = heading("MSH$%~!&$A$B$C$D$2026$$ADT%A01$7$P$2.5$$$$$$8859/1");
        let expected =
            "MSH$%~!&$C$D$A$B$20260704120000+0100$$ACK%A01%ACK$K1$P$2.5$$$$$$8859/1\rMSA$AA$7\r";
        assert_eq!(answer(Some(&other), Code::AA, &[], &STAMP), expected);
        let unusual = answer(Some(&heading("MSH|^~\\\u{6}|A")), Code::AE, &[], &STAMP);
        assert!(unusual.starts_with("MSH|^~\\\u{6}|"), "{unusual:?}");
    }

    #[test]
    fn issues_are_told_in_the_form_of_the_version() {
        let issues = [
            Issue::error(Condition::RequiredMissing).at(pid_3()),
            Issue::warning(Condition::ApplicationError).named("stale"),
        ];
        let lines = |version: &str| {
            let heading = heading(&format!("{A01}{version}"));
            let text = answer(Some(&heading), Code::of(&issues), &issues, &STAMP);
            text.split('\r').skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            lines("2.5"),
            [
                "MSA|AE|7",
                "ERR||PID^1^3|101^Required field missing^HL70357|E||||Required field missing (PID-3)",
                "ERR|||207^Application internal error^HL70357|W|stale^^kiln|||Application internal error: stale",
                ""
            ]
        );
        assert_eq!(
            lines("2.3.1"),
            [
                "MSA|AE|7|Required field missing (PID-3)|||101^Required field missing^HL70357",
                "ERR|PID^1^3^101&Required field missing&HL70357~^^^207&Application internal error&HL70357",
                ""
            ]
        );
    }

    #[test]
    fn rejects_errors_and_warnings_have_their_codes() {
        let code = |issues: &[Issue]| Code::of(issues);
        assert_eq!(code(&[]), Code::AA);
        assert_eq!(code(&[Issue::warning(Condition::TableValue)]), Code::AA);
        assert_eq!(code(&[Issue::error(Condition::TableValue)]), Code::AE);
        assert_eq!(code(&[Issue::error(Condition::UnknownKey)]), Code::AE);
        let event = Issue::error(Condition::UnsupportedEvent);
        assert_eq!(code(&[Issue::error(Condition::TableValue), event]), Code::AR);
        assert_eq!(Code::AR.commit(), Code::CR);
        assert_eq!(Code::parse("CE"), Some(Code::CE));
        assert_eq!(Code::parse("XX"), None);
    }

    #[test]
    fn bytes_without_a_header_are_rejected_all_the_same() {
        let issue = [Issue::error(Condition::SegmentSequence)];
        let text = answer(None, Code::AR, &issue, &STAMP);
        let message = Message::parse(&text, Charset::UTF_8, Reading::Strict).unwrap();
        let part = |path: &str| message.get(&path.parse().unwrap()).text().into_owned();
        assert_eq!((part("MSA-1").as_str(), part("MSA-2").as_str()), ("AR", ""));
        assert_eq!(part("ERR-3.1"), "100");
    }

    #[test]
    fn which_answers_are_sent() {
        for (fields, outcome, expected) in [
            ("", (true, Some(true)), (false, true)),
            ("", (true, Some(false)), (false, true)),
            ("", (true, None), (false, false)),
            ("|||AL|AL", (true, Some(true)), (true, true)),
            ("|||AL|NE", (true, Some(false)), (true, false)),
            ("|||NE|NE", (true, Some(true)), (false, false)),
            ("|||ER|ER", (true, Some(true)), (false, false)),
            ("|||ER|ER", (false, Some(false)), (true, true)),
            ("|||SU|", (true, Some(true)), (true, false)),
        ] {
            let heading = heading(&format!("{A01}2.5{fields}"));
            assert_eq!(wanted(&heading, outcome.0, outcome.1), expected, "{fields} {outcome:?}");
        }
        let answer = heading("MSH|^~\\&|A|B|C|D|2026||ACK^A01^ACK|7|P|2.5|||AL|AL");
        assert_eq!(wanted(&answer, true, Some(true)), (false, false));
    }

    #[test]
    fn a_control_id_with_separators_stays_one_value() {
        let heading = heading("MSH|^~\\&|A|B|C|D|2026||ADT^A01|7\\T\\8|P|2.5");
        let text = answer(Some(&heading), Code::AA, &[], &STAMP);
        assert!(text.ends_with("MSA|AA|7\\T\\8\r"), "{text}");
    }

    #[test]
    fn a_batch_is_answered_by_a_batch() {
        let heading = heading("BHS|^~\\&|LAB|STM|KILN|H|2026||||B7");
        let text =
            batch(Some(&heading), &["MSH|1\r".to_owned(), "MSH|2\r".to_owned()], &STAMP, None);
        assert_eq!(
            text,
            "BHS|^~\\&|KILN|H|LAB|STM|20260704120000+0100||||K1|B7\rMSH|1\rMSH|2\rBTS|2\r"
        );
    }
}
