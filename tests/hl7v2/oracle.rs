//! Our reader and that of another implementation on the same messages.
//!
//! `hl7-parser` is right about well formed messages; where it is known not to be, the case stands here
//! with what it does.

use hl7_parser::Message as Theirs;
use kiln::hl7v2::charset::Charset;
use kiln::hl7v2::er7::{Message, Reading};

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
    // And its escapes know the separators alone.
    let escaped = "MSH|^~\\&|A\\X41\\B";
    assert_eq!(ours(escaped).header(3).text(), "AAB");
}
