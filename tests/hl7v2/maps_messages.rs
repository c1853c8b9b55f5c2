//! What public messages make by the maps of the program: valid resources, and no field without a
//! word about it, as another reader finds them.
//!
//! The messages are not part of the project; without them the test says so and skips (but fails in
//! CI).

use std::collections::BTreeMap;
use std::sync::Arc;

use hl7_parser::Message as Theirs;
use hl7_parser::message::Segment;
use kiln::fhir::Severity;
use kiln::hl7v2::batch;
use kiln::hl7v2::charset::Charset;
use kiln::hl7v2::er7::{Index, Message, Path, Reading};
use kiln::hl7v2::map::coverage::{Judge, counted, rows};
use kiln::hl7v2::map::{Draft, Maps, bundle};
use kiln::spec::structure::Library;
use kiln::spec::{R4_PACK, Spec};
use kiln::terminology::Image;
use kiln::validate::form;
use kiln::validate::profile::{Claim, Options, Validator};

use crate::harness::shared::archive;

use super::feed::adt;

/// The text of a raw message.
fn read(raw: &[u8]) -> (String, Charset) {
    let raw = batch::split(raw).map_or(raw, |batch| batch.messages[0]);
    let latin = Charset::named("8859/1").unwrap();
    let utf8 = Charset::named("UNICODE UTF-8").unwrap();
    let read = Charset::read(raw, utf8).or_else(|_| Charset::read(raw, latin)).unwrap();
    (read.text.into_owned(), read.charset)
}

/// What a raw message makes; `None` without a map.
fn draft(maps: &Maps, raw: &[u8]) -> Option<Draft> {
    let (text, charset) = read(raw);
    maps.draft(&Message::parse(&text, charset, Reading::Lenient).unwrap())
}

#[test]
fn all_public_messages_make_valid_resources() {
    let Some(files) = archive("suites/hl7v2-messages.tar.gz") else { return };
    assert_eq!(files.len(), 139);
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let codes = Image::new(R4_PACK, "http://localhost/fhir").unwrap();
    let validator = Validator::new(spec.clone(), Arc::new(Library::r4()), Arc::new(codes));
    let options =
        Options { claims: &|_| Claim::Ignore, least: Severity::Error, ..Options::default() };
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, raw) in &files {
        let Some(draft) = draft(&maps, raw) else {
            wrong.entry(name.clone()).or_default().push("no map".to_owned());
            continue;
        };
        for resource in &draft.resources {
            let value = bundle::resource(resource);
            let mut issues = form::check(&value, &spec.schema).issues().to_vec();
            issues.extend(validator.validate(&value, &[], &options));
            let issues = issues.iter().filter(|issue| issue.severity <= Severity::Error);
            let lines = issues.map(|it| format!("{} {}", it.expression, it.diagnostics));
            let lines: Vec<_> = lines.collect();
            if !lines.is_empty() {
                wrong.entry(name.clone()).or_default().extend(lines);
            }
        }
        let again = self::draft(&maps, raw).unwrap();
        assert_eq!(draft, again, "{name}: the same message makes the same");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Fields that are read for something else than an element of their own, and for what.
const READ_FOR: &[(&str, &str)] = &[
    ("DG1-21", "what is done with the entry"),
    ("IAM-6", "what is done with the entry"),
    ("IN1-55", "what is done with the entry"),
    ("OBX-2", "how OBX-5 is read"),
    ("PRB-1", "what is done with the entry"),
    ("PRT-2", "what is done with the entry"),
    ("ROL-2", "what is done with the entry"),
    ("RXA-21", "what is done with the entry"),
];

/// Fields of which a resource has the words without a rule that reads them: those of notes.
const IN_WORDS: &[&str] = &["NTE-3"];

/// Fields of a note, which go with its words.
const OF_NOTES: &[&str] = &["NTE-5", "NTE-6"];

/// A draft, and all its words.
struct Worded<'d> {
    draft: &'d Draft,
    words: String,
}

impl<'d> Worded<'d> {
    fn new(draft: &'d Draft) -> Self {
        Self { draft, words: bundle::transaction(draft).to_text() }
    }

    /// Whether what stands in a value, outside of its escapes, is in the resources.
    fn says(&self, raw: &str) -> bool {
        let pieces = raw.split(['^', '&', '~']).flat_map(|part| part.split('\\').step_by(2));
        pieces.map(str::trim).filter(|piece| !piece.is_empty()).all(|piece| {
            let quoted = serde_json::to_string(piece).unwrap();
            self.words.contains(&quoted[1..quoted.len() - 1])
        })
    }

    /// The paths of a field by which rules read the segment at `position` and wrote something.
    fn paths(&self, segment: &str, position: usize, field: usize) -> Vec<Path> {
        let writes = self.draft.resources.iter().flat_map(|resource| &resource.writes);
        let there =
            writes.filter(|write| write.segments.is_empty() || write.segments.contains(&position));
        let paths = there.flat_map(|write| &write.sources).filter_map(|it| it.parse::<Path>().ok());
        paths
            .filter(|it| it.segment.as_str() == segment && usize::from(it.field) == field)
            .collect()
    }

    /// The name of a field that is lost; with `~` of one of which the first value is not.
    fn loses(
        &self,
        segment: &Segment<'_>,
        (nth, position): (usize, usize),
        field: usize,
    ) -> Option<String> {
        let values = |field: usize| {
            let found = segment.field(field).map(|it| it.raw_value().split('~'));
            found.into_iter().flatten()
        };
        let place = format!("{}-{field}", segment.name);
        let is_listed = |repetition: &str| {
            self.draft.unmapped.contains(&format!("{}[{nth}]-{field}{repetition}", segment.name))
        };
        if is_listed("") {
            return None;
        }
        let paths = self.paths(segment.name, position, field);
        if paths.is_empty() {
            let is_told = self.draft.problems.iter().any(|problem| problem.place == place)
                || READ_FOR.iter().any(|(own, _)| *own == place)
                || IN_WORDS.contains(&&*place) && values(field).all(|value| self.says(value))
                || OF_NOTES.contains(&&*place) && values(3).all(|value| self.says(value));
            return (!is_told).then_some(place);
        }
        let is_read = |at: usize| {
            paths.iter().any(|path| match path.repetition {
                Index::All => true,
                Index::At(own) => usize::from(own) == at,
                Index::First => at == 1,
            })
        };
        let mut all = values(field).zip(1..).filter(|(value, _)| has_value(value));
        let is_lost = |(value, at): (&str, usize)| {
            !is_read(at) && !is_listed(&format!("[{at}]")) && !self.says(value)
        };
        all.any(is_lost).then(|| place + "~")
    }
}

/// Whether anything but separators and `""` stands in a text.
fn has_value(raw: &str) -> bool {
    raw.contains(|c: char| !matches!(c, '^' | '~' | '&' | '"' | '\\') && !c.is_whitespace())
}

/// The fields that another reader finds in a message, how many, and which of them are lost.
fn walked(text: &str, draft: &Draft) -> (usize, Vec<String>) {
    let lines: Vec<_> = text.split(['\r', '\n']).filter(|line| !line.trim().is_empty()).collect();
    let plain = lines.join("\r");
    let theirs = Theirs::parse(&plain).unwrap();
    assert_eq!(theirs.segments().count(), lines.len(), "it cuts nothing off: {plain}");
    let (told, mut seen) = (Worded::new(draft), BTreeMap::<&str, usize>::new());
    let (mut count, mut lost) = (0, Vec::new());
    for (position, segment) in theirs.segments().enumerate() {
        let nth = seen.entry(segment.name).or_default();
        *nth += 1;
        for (field, number) in segment.fields().zip(1..) {
            let raw = field.raw_value();
            let is_number = number == 1 && raw.bytes().all(|byte| byte.is_ascii_digit());
            let is_separators = segment.name == "MSH" && number <= 2;
            if !has_value(raw) || is_number || is_separators {
                continue;
            }
            count += 1;
            lost.extend(told.loses(segment, (*nth, position), number));
        }
    }
    (count, lost)
}

/// Each field with something in it is in a resource by a rule that read it there, told of, or listed as not mapped.
///
/// Covers: v2 F1.
#[test]
fn no_field_of_a_public_message_vanishes() {
    let Some(files) = archive("suites/hl7v2-messages.tar.gz") else { return };
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let (mut fields, mut lost) = (0, BTreeMap::<String, Vec<&str>>::new());
    for (name, raw) in &files {
        let (text, charset) = read(raw);
        let message = Message::parse(&text, charset, Reading::Lenient).unwrap();
        let (count, gone) = walked(&text, &maps.traced(&message).unwrap());
        fields += count;
        for field in gone {
            lost.entry(field).or_default().push(name);
        }
    }
    assert!(fields > 10_000, "only {fields} fields");
    assert!(lost.is_empty(), "{lost:#?}");
}

/// The walk finds what is not told of.
#[test]
fn a_field_that_vanishes_is_found() {
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let text = adt("A01", "1", "12") + "ZPD|1|x~y\rZPD|2||z\r";
    let message = Message::parse(&text, Charset::UTF_8, Reading::Lenient).unwrap();
    let mut draft = maps.traced(&message).unwrap();
    let (count, lost) = walked(&text, &draft);
    assert!(count > 10 && lost.is_empty(), "{count} {lost:?}");
    draft.unmapped.retain(|place| place != "ZPD[2]-3");
    assert_eq!(walked(&text, &draft).1, ["ZPD-3"]);
    for resource in &mut draft.resources {
        resource.writes.retain(|write| !write.sources.iter().any(|it| it.starts_with("PID-5")));
    }
    assert_eq!(walked(&text, &draft).1, ["PID-5", "ZPD-3"]);
}

#[test]
fn most_rows_of_the_guide_are_done_or_different_on_purpose() {
    let Some(files) = archive("suites/v2-to-fhir-ig-mappings.tar.gz") else { return };
    let spec = Spec::r4().unwrap();
    let maps = Maps::base(&spec.schema).unwrap();
    let judge = Judge::new(&maps, &spec.schema).unwrap();
    let mut all = Vec::new();
    for (path, bytes) in &files {
        let is_datatype = path.contains("/datatypes/");
        if is_datatype || path.contains("/segments/") {
            let name = path.rsplit("_ ").next().unwrap().split(" - ").next().unwrap();
            all.extend(rows(name, std::str::from_utf8(bytes).unwrap(), is_datatype));
        }
    }
    assert_eq!(all.len(), 1672);
    let judged = all.iter().map(|row| (row, judge.standing(row)));
    let counts = counted(judged);
    let sum = |at: usize| counts.values().map(|of_map| of_map[at]).sum::<usize>();
    let (done, purpose, applying) = (sum(0), sum(1), all.len() - sum(2));
    // What does not apply is not counted as covered, and is little.
    assert!(applying * 100 >= all.len() * 95, "{applying} of {} apply", all.len());
    let percent = (done + purpose) * 100 / applying;
    assert!(percent >= 85, "{percent} %");
    assert!(done * 2 > all.len(), "{done} are done as they stand");
}
