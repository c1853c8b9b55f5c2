//! Messages of HL7 version 2: frames, the reader, escapes, dates, the answer to anything, maps and what
//! they make.

use std::sync::LazyLock;

use bytes::BytesMut;
use kiln::fhir::json::parse;
use kiln::hl7v2::ack::{self, Code, Condition, Issue, Stamp};
use kiln::hl7v2::batch;
use kiln::hl7v2::charset::Charset;
use kiln::hl7v2::dtm::{self, Moment, Zones};
use kiln::hl7v2::er7::{Message, Part, Path, Reading, Separators, decode};
use kiln::hl7v2::frame::{Frame, Frames};
use kiln::hl7v2::heading::Heading;
use kiln::hl7v2::map::edit::CodePlace;
use kiln::hl7v2::map::{Maps, bundle, edit};
use kiln::hl7v2::tables::Target;
use tokio_util::codec::Decoder;

use crate::target::{R4, holds};

/// Largest message of the frames.
const LIMIT: usize = 200;

/// The frames of a stream are the same however it is cut, and no byte is told twice.
pub(crate) fn frame(input: &[u8]) -> Result<(), String> {
    let whole = frames(input, input.len().max(1))?;
    for size in [1, 3] {
        holds(frames(input, size)? == whole, "pieces make no difference")?;
    }
    let told: usize = whole.iter().map(|frame| frame.chars().count()).sum();
    holds(told <= input.len() + 16 * whole.len(), "no byte is told twice")
}

fn frames(input: &[u8], size: usize) -> Result<Vec<String>, String> {
    let (mut frames, mut buffer, mut all) = (Frames::new(LIMIT), BytesMut::new(), Vec::new());
    for piece in input.chunks(size) {
        buffer.extend_from_slice(piece);
        while let Some(frame) = frames.decode(&mut buffer).map_err(|fault| fault.to_string())? {
            all.push(told(&frame));
        }
    }
    while let Some(frame) = frames.decode_eof(&mut buffer).map_err(|fault| fault.to_string())? {
        all.push(told(&frame));
    }
    // What comes after a frame beyond the limit depends on the pieces: the connection is closed.
    let end = all.iter().position(|frame| frame.starts_with("long"));
    all.truncate(end.unwrap_or(all.len()));
    Ok(all)
}

/// What a frame is, a character for each byte.
fn told(frame: &Frame) -> String {
    let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
    match frame {
        Frame::Whole(bytes) => format!("whole{}", text(bytes)),
        Frame::Truncated(bytes) => format!("cut{}", text(bytes)),
        Frame::TooLong(_) => "long".to_owned(),
    }
}

/// A message keeps all of its text, its places can be written, and it has an answer.
pub(crate) fn message(input: &[u8]) -> Result<(), String> {
    batch::split(input);
    let heading = Heading::salvaged(input);
    answered(heading.as_ref())?;
    let Ok(read) = Charset::read(input, Charset::UTF_8) else { return Ok(()) };
    for reading in [Reading::Lenient, Reading::Strict] {
        let Ok(message) = Message::parse(&read.text, read.charset, reading) else { continue };
        let kept: usize = message.segments().map(|segment| segment.raw().len()).sum();
        let ends = message.text().bytes().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
        holds(kept + ends >= message.text().len(), "no text is lost")?;
        for segment in message.segments() {
            for (field, number) in segment.fields().zip(1u16..) {
                holds(field.place().field == number, "a field knows its place")?;
                for part in field.repetitions().flat_map(Part::components) {
                    part.subcomponents().for_each(|part| drop(part.text()));
                    holds(part.raw().len() <= field.raw().len(), "a part is no longer")?;
                }
            }
        }
        if let Some(path) =
            ["PID-3[*].4.2", "OBX[*]-5[2]"].iter().find_map(|path| path.parse::<Path>().ok())
        {
            message.all(&path).for_each(drop);
        }
        answered(Some(&Heading::of(&message)))?;
    }
    Ok(())
}

/// The answer to whatever came is a message.
fn answered(heading: Option<&Heading>) -> Result<(), String> {
    let issue = [Issue::error(Condition::DataType)];
    let stamp = Stamp { now: "20260101", control_id: "1", expected: None };
    let text = ack::answer(heading, Code::AE, &issue, &stamp);
    let message = Message::parse(&text, Charset::UTF_8, Reading::Strict);
    let message = message.map_err(|fault| format!("{fault}: {text:?}"))?;
    let code = message.named("MSA").next().map(|segment| segment.field(1).text().into_owned());
    holds(code.as_deref() == Some("AE"), &format!("an answer is read: {text:?}"))
}

/// What is written with escapes is read as it was; decoding ends and grows within bounds.
pub(crate) fn escape(input: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
    let separators = Separators { truncation: Some(b'#'), ..Separators::default() };
    let decoded = decode(text, &separators, Charset::UTF_8);
    holds(decoded.len() <= text.len() * 60 + 16, "an escape makes few bytes")?;
    let mut written = String::new();
    separators.write(text, &mut written);
    let again = decode(&written, &separators, Charset::UTF_8);
    let plain: String = text.chars().filter(|c| !(u32::from(*c) < 32 && *c != '\n')).collect();
    holds(again == plain, &format!("what is written is read: {written:?}"))
}

/// A date has a text that FHIR takes, and no zone moves its day.
pub(crate) fn date(input: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
    dtm::time(text).ok();
    let Ok(moment) = Moment::parse(text) else { return Ok(()) };
    let zones = Zones::utc().of_message(text);
    let (date_time, _) = moment.date_time(&zones);
    let read = kiln::fhir::datetime::DateTime::parse(&date_time);
    holds(read.is_some(), &format!("FHIR takes {date_time}"))?;
    let date = moment.date();
    holds(
        kiln::fhir::datetime::DateTime::parse_date(&date).is_some(),
        &format!("FHIR takes {date}"),
    )?;
    holds(text.trim().starts_with(&date[..4]), "the year is as it was sent")
}

static MAPS: LazyLock<Maps> = LazyLock::new(|| match Maps::base(&R4.schema) {
    Ok(maps) => maps,
    Err(faults) => unreachable!("the embedded maps compile: {faults:?}"),
});

/// A message makes drafts with rules behind their elements, and a transaction that can be read, the
/// same each time.
pub(crate) fn draft(input: &[u8]) -> Result<(), String> {
    let Ok(read) = Charset::read(input, Charset::UTF_8) else { return Ok(()) };
    let Ok(message) = Message::parse(&read.text, read.charset, Reading::Lenient) else {
        return Ok(());
    };
    let Some(draft) = MAPS.draft(&message) else { return Ok(()) };
    let text = bundle::transaction(&draft).to_text();
    let bundle = parse(text.as_bytes()).map_err(|fault| format!("{fault}: {text}"))?;
    holds(bundle.items_at("entry").len() == draft.resources.len(), "a resource is an entry")?;
    let traced = MAPS.traced(&message).ok_or("a draft that is traced")?;
    holds(traced.resources.len() == draft.resources.len(), "a trace changes nothing")?;
    let count = message.segments().len();
    for write in traced.resources.iter().flat_map(|resource| &resource.writes) {
        holds(!write.rule.is_empty(), "an element has its rule")?;
        holds(write.segments.iter().all(|at| *at < count), "a trace leads to segments")?;
    }
    Ok(())
}

/// Whatever text is laid over the maps, it compiles or has faults with places in it; what compiles
/// takes a code more.
pub(crate) fn map(input: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
    let lines = text.lines().count() + 2;
    match MAPS.with_site("site.toml", text, &R4.schema) {
        Ok(maps) => {
            maps.explained();
            let target = Target { code: "1".to_owned(), system: "urn:s".to_owned(), display: None };
            let place = CodePlace { set: "lab-test", system: "99X", code: "C\"1" };
            let Some(changed) = edit::with_code(text, place, &target) else {
                return holds(text.contains("codes"), "there is room for a code");
            };
            let again = MAPS.with_site("site.toml", &changed, &R4.schema);
            holds(again.is_ok(), &format!("a code more does no harm: {again:?}"))
        }
        Err(faults) => {
            holds(!faults.is_empty(), "a fault is told")?;
            let is_placed = faults.iter().all(|fault| (1..=lines).contains(&fault.line));
            holds(is_placed, &format!("faults have lines: {faults:?}"))
        }
    }
}

/// Maps of files of their own compile or are refused as well.
pub(crate) fn maps(input: &[u8]) -> Result<(), String> {
    let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
    let texts = vec![("own.toml".to_owned(), text.to_owned())];
    match Maps::of(texts, &R4.schema) {
        Ok(maps) => holds(maps.explained().len() <= text.len(), "rules are of the text"),
        Err(faults) => holds(!faults.is_empty(), "a fault is told"),
    }
}
