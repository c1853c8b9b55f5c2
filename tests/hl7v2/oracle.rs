//! Our reader and that of another implementation on the same messages.
//!
//! `hl7-parser` is right about well formed messages; where it is known not to be, the case stands here
//! with what it does. A case that fails because it is mended is to be taken out.

use std::panic::catch_unwind;

use hl7_parser::Message as Theirs;
use hl7_parser::datetime::parse_timestamp;
use hl7_parser::query::parse_location_query;
use kiln::hl7v2::charset::Charset;
use kiln::hl7v2::dtm::{Moment, Zones};
use kiln::hl7v2::er7::{Message, Path, Reading};

use super::feed::adt;

fn ours(text: &str) -> Message<'_> {
    Message::parse(text, Charset::UTF_8, Reading::Lenient).unwrap()
}

#[test]
fn both_split_well_formed_messages_alike() {
    let mut messages = vec![adt("A01", "1", "12"), adt("A08", "2", "34^^^B~56")];
    messages.push(adt("A01", "3", "1").replace("PV1|1|I", "OBX|1|ST|a^b&c||x\\T\\y~z|||||F"));
    messages.push(adt("A01", "4", "1").replace(['^'], "%"));
    for text in &messages {
        let (ours, theirs) = (ours(text), Theirs::parse(text).unwrap());
        let segments: Vec<_> = theirs.segments().collect();
        assert_eq!(ours.segments().count(), segments.len(), "{text}");
        for (own, other) in ours.segments().zip(segments) {
            assert_eq!(own.name().as_str(), other.name, "{text}");
            assert_eq!(own.raw(), other.raw_value(), "{text}");
            for (field, other) in own.fields().zip(other.fields()) {
                assert_eq!(field.raw(), other.raw_value(), "{text}");
            }
        }
    }
}

/// Where theirs loses data and says nothing: the rest of a message behind what it does not know.
#[test]
fn what_theirs_cuts_off_is_kept_by_ours() {
    for (cut, kept) in [
        ("MSH|^~\\&|A\rPD1\rPV1|1", 3),
        ("MSH|^~\\&|A\r\rPV1|1", 2),
        ("MSH|^~\\&|A\rXX|junk\rPV1|1", 2),
        // Ends of lines that it does not expect, unless it is told to.
        ("MSH|^~\\&|A\nPV1|1", 2),
        ("MSH|^~\\&|A\r\nPV1|1", 2),
        // A text that goes on in the next line.
        ("MSH|^~\\&|A\rNTE|1||one\rtwo\rPV1|1", 3),
    ] {
        assert_eq!(ours(cut).segments().count(), kept, "{cut}");
        let theirs = Theirs::parse(cut).map_or(0, |theirs| theirs.segments().count());
        assert!(theirs < kept, "{cut}: it is mended, take the case out");
    }
    // Its fields of MSH stand one too late where a truncation character is named.
    let named = "MSH|^~\\&#|A|B";
    assert_eq!(ours(named).header(3).raw(), "A");
    let theirs = Theirs::parse(named).unwrap();
    let third = theirs.query("MSH.3").map(|value| value.raw_value().to_owned());
    assert_ne!(third.as_deref(), Some("A"), "it is mended, take the case out");
    // It does not find a message behind what files begin with.
    for begun in ["\u{FEFF}MSH|^~\\&|A|B", "\r\nMSH|^~\\&|A|B"] {
        assert_eq!(ours(begun).header(3).raw(), "A", "{begun:?}");
        assert!(Theirs::parse(begun).is_err(), "{begun:?}: it is mended, take the case out");
    }
    // Where fewer are named, it takes the separator of fields for that of subcomponents.
    let short = "MSH|^~\\|A|B";
    assert_eq!(ours(short).header(3).raw(), "A");
    let theirs = Theirs::parse(short).unwrap();
    let third = theirs.query("MSH.3").map(|value| value.raw_value().to_owned());
    assert_ne!(third.as_deref(), Some("A"), "it is mended, take the case out");
}

/// Lines that are no segments, but it takes them for some.
#[test]
fn what_theirs_takes_for_segments_belongs_to_the_field_before() {
    for line in ["pid|1", "1AB|1", "\u{C4}\u{D6}\u{DC}|1"] {
        let text = format!("MSH|^~\\&|A\r{line}");
        let own = ours(&text);
        assert_eq!((own.segments().count(), own.joined().len()), (1, 1), "{line}");
        let theirs = Theirs::parse(&text).unwrap();
        assert_eq!(theirs.segments().count(), 2, "{line}: it is mended, take the case out");
    }
}

/// Its escapes know the separators and two bytes; it goes by numbers of characters, and cuts off what does not end.
#[test]
fn escapes_that_theirs_spoils_are_read_by_ours() {
    for (raw, expected) in [
        ("a\\X41\\b", "aAb"),
        ("\\XC3A4\\", "\u{E4}"),
        ("\\X0d\\", "\n"),
        ("\\X0A0D\\", "\n\n"),
        ("a\\.sp2\\b", "a\n\nb"),
        ("\\H\\bold\\N\\", "bold"),
        ("\\Z1\\", "\\Z1\\"),
        // Characters of two bytes: the text behind them is another one.
        ("50 \u{B5}g \\T\\ 3 \u{B5}g\\.br\\end", "50 \u{B5}g & 3 \u{B5}g\nend"),
        // The rest of the text is gone.
        ("C:\\temp file lost", "C:\\temp file lost"),
        ("\\\\srv\\share", "\\\\srv\\share"),
    ] {
        let text = format!("MSH|^~\\&|{raw}");
        assert_eq!(ours(&text).header(3).text(), expected, "{raw}");
        let separators = Theirs::parse(&text).unwrap().separators;
        let theirs = separators.decode(raw).to_string();
        assert_ne!(theirs, expected, "{raw}: it is mended, take the case out");
    }
    // Characters of three bytes: it panics.
    let raw = "\u{20AC}\u{20AC}\u{20AC}\\F\\x";
    let text = format!("MSH|^~\\&|{raw}");
    assert_eq!(ours(&text).header(3).text(), "\u{20AC}\u{20AC}\u{20AC}|x");
    let separators = Theirs::parse(&text).unwrap().separators;
    let theirs = catch_unwind(|| separators.decode(raw).to_string());
    assert!(theirs.is_err(), "it is mended, take the case out");
}

/// What it writes of a value with components is another value.
#[test]
fn theirs_writes_components_as_repetitions() {
    let text = "MSH|^~\\&|1^^^X^MR";
    assert_eq!(ours(text).header(3).repetition(1).components().count(), 5);
    let theirs = Theirs::parse(text).unwrap();
    let field = theirs.segments[0].field(3).unwrap();
    assert_eq!(field.raw_value(), "1^^^X^MR");
    let written = field.display(&theirs.separators).to_string();
    assert_eq!(written, "1~~~X~MR", "it is mended, take the case out");
}

/// Times: it loses offsets, and knows no calendar.
#[test]
fn times_that_theirs_spoils_are_read_or_refused_by_ours() {
    let minutes = |text: &str| Moment::parse(text).unwrap().offset();
    let theirs = |text: &str| parse_timestamp(text, false).unwrap().offset;
    // Half an hour behind is half an hour ahead.
    assert_eq!(minutes("20260704120000-0030"), Some(-30));
    let offset = theirs("20260704120000-0030").unwrap();
    assert_eq!((offset.hours, offset.minutes), (0, 30), "it is mended, take the case out");
    assert_eq!(minutes("20260704120000-05"), Some(-300));
    assert_eq!(theirs("20260704120000-05"), None, "it is mended, take the case out");
    // A sign without a number after it.
    assert!(Moment::parse("20260704120000+").is_err());
    assert_eq!(theirs("20260704120000+"), None, "it is mended, take the case out");
    for text in ["20201399", "20260230", "00000000", "202607042561", "20260704120099"] {
        assert!(Moment::parse(text).is_err(), "{text}");
        assert!(parse_timestamp(text, false).is_ok(), "{text}: it is mended, take the case out");
    }
    // Microseconds are refused, or cut off where it is told to be lenient.
    let fine = "20260704120000.123456+0000";
    let own = Moment::parse(fine).unwrap().date_time(&Zones::utc()).0;
    assert_eq!(own, "2026-07-04T12:00:00.123456+00:00");
    assert!(parse_timestamp(fine, false).is_err(), "it is mended, take the case out");
    let cut = parse_timestamp(fine, true).unwrap();
    let cut = (cut.microsecond, cut.offset);
    assert_eq!(cut, (Some(123_400), None), "it is mended, take the case out");
}

/// Paths: it reads the beginning of what is none, and panics at a number that is too large.
#[test]
fn paths_that_theirs_reads_in_part_are_refused_by_ours() {
    for (text, read) in [
        ("PID.3[2]x", "PID.3[2]"),
        ("PID.0.5", "PID"),
        ("PID.3[0]", "PID.3"),
        ("PID.3.1.2.4", "PID.3.1.2"),
        ("PIDX.3", "PID"),
    ] {
        assert!(text.parse::<Path>().is_err(), "{text}");
        let theirs = parse_location_query(text).unwrap().to_string();
        assert_eq!(theirs, read, "{text}: it is mended, take the case out");
    }
    let large = "PID.99999999999999999999999999";
    assert!(large.parse::<Path>().is_err());
    let theirs = catch_unwind(|| parse_location_query(large).is_ok());
    assert!(theirs.is_err(), "it is mended, take the case out");
}
