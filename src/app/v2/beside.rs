//! What another reader of messages makes of the same paths: `hl7-parser`, which many tools are made with.
//!
//! Where the two differ, one who receives the message may see something else than this server does: lines that
//! are no segments, a truncation character in MSH-2, escapes. The server itself never reads by it.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hl7_parser::Message as Theirs;
use hl7_parser::query::LocationQuery;

use super::query::{line, whole};
use crate::hl7v2::er7::{Index, Message, Part, Path, SegmentName};

/// What stands for values where it cannot read a message, and where it panics.
const UNREADABLE: &str = "(unreadable)";
const PANIC: &str = "(panic)";

/// Writes the values that the paths name, or all, as both read them; whether they differ anywhere.
///
/// # Errors
/// Those of writing.
pub(super) fn compare(
    message: &Message<'_>,
    paths: &[Path],
    out: &mut impl Write,
) -> std::io::Result<bool> {
    let text = message.text();
    let parse = || Theirs::parse_with_lenient_newlines(text, true).ok();
    let theirs = catch_unwind(AssertUnwindSafe(parse)).unwrap_or_default();
    let all = if paths.is_empty() { places(message, theirs.as_ref()) } else { paths.to_vec() };
    let mut differs = false;
    for path in all {
        let own: Vec<_> = match path.field {
            0 => whole(message, &path).map(|segment| segment.raw().to_owned()).collect(),
            _ => message.all(&path).map(|part| value(path, part)).collect(),
        };
        let other = match &theirs {
            Some(theirs) => read(theirs, path),
            None => vec![UNREADABLE.to_owned(); own.len().max(1)],
        };
        for at in 0..own.len().max(other.len()) {
            let [own, other] = [&own, &other].map(|all| all.get(at).map_or("", String::as_str));
            let mark = if own == other { "" } else { "\tdiffers" };
            differs |= own != other;
            writeln!(out, "{path}\t{own}\t{other}{mark}")?;
        }
    }
    Ok(differs)
}

/// A value of ours. MSH-1 and MSH-2 say what escapes are, and have none.
fn value(path: Path, part: Part<'_>) -> String {
    if is_plain(path) { part.raw().to_owned() } else { line(part) }
}

fn is_plain(path: Path) -> bool {
    path.field == 0 || (path.segment == SegmentName::MSH && path.field <= 2)
}

/// All fields with something in them: those of ours, then those that only theirs has.
fn places(message: &Message<'_>, theirs: Option<&Theirs<'_>>) -> Vec<Path> {
    let path = |segment, occurrence, field| Path {
        segment,
        occurrence: Index::At(occurrence),
        field,
        repetition: Index::First,
        component: 0,
        subcomponent: 0,
    };
    let mut all = Vec::new();
    for segment in message.segments() {
        let place = segment.place();
        for (part, field) in segment.fields().zip(1u16..) {
            if part.is_valued() || part.is_null() {
                all.push(path(place.segment, place.sequence, field));
            }
        }
    }
    let known: HashSet<Path> = all.iter().copied().collect();
    let mut counts = BTreeMap::<&str, u16>::new();
    for segment in theirs.iter().flat_map(|theirs| theirs.segments()) {
        let count = counts.entry(segment.name).or_default();
        *count = count.saturating_add(1);
        let Some(name) = SegmentName::parse(segment.name) else { continue };
        let valued = segment.fields().zip(1u16..).filter(|(field, _)| !field.is_empty());
        let found = valued.map(|(_, field)| path(name, *count, field));
        all.extend(found.filter(|path| !known.contains(path)));
    }
    all
}

/// What theirs answers to a path. It knows no `[*]`: each is asked for until there are no more.
fn read(theirs: &Theirs<'_>, path: Path) -> Vec<String> {
    let name = path.segment.as_str();
    let occurrences = match path.occurrence {
        Index::First => 1..=1,
        Index::At(at) => usize::from(at)..=usize::from(at),
        Index::All => 1..=theirs.segment_count(name),
    };
    let number = |number: u16| (number > 0).then_some(usize::from(number));
    let ask = |occurrence, repeat| {
        let query = LocationQuery {
            segment: name.to_owned(),
            segment_index: Some(occurrence),
            field: number(path.field),
            repeat,
            component: number(path.component),
            subcomponent: number(path.subcomponent),
        };
        theirs.query(query).map(|found| shown(theirs, path, found.raw_value()))
    };
    let mut all = Vec::new();
    for occurrence in occurrences {
        match path.repetition {
            Index::First => all.extend(ask(occurrence, None)),
            Index::At(at) => all.extend(ask(occurrence, Some(usize::from(at)))),
            Index::All => {
                let field = theirs.segment_n(name, occurrence);
                let field = field.and_then(|segment| segment.field(usize::from(path.field)));
                let count = field.map_or(0, |field| field.repeats().count());
                all.extend((1..=count).map(|at| ask(occurrence, Some(at)).unwrap_or_default()));
            }
        }
    }
    all
}

/// A value of theirs, its escapes decoded by it, in one line.
fn shown(theirs: &Theirs<'_>, path: Path, raw: &str) -> String {
    if is_plain(path) || raw == "\"\"" {
        return raw.to_owned();
    }
    // It slices text by the numbers of characters, so that some texts make it panic.
    let decode = || theirs.separators.decode(raw).to_string();
    let text = catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| PANIC.to_owned());
    text.replace("\r\n", "\n").replace(['\r', '\n'], "\u{23CE}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7v2::charset::Charset;
    use crate::hl7v2::er7::Reading;

    fn told(text: &str, paths: &[&str]) -> (String, bool) {
        let message = Message::parse(text, Charset::UTF_8, Reading::Lenient).unwrap();
        let paths: Vec<Path> = paths.iter().map(|path| path.parse().unwrap()).collect();
        let mut out = Vec::new();
        let differs = compare(&message, &paths, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), differs)
    }

    #[test]
    fn a_sound_message_is_read_alike() {
        let text =
            "MSH|^~\\&|A|B\nPID|||1^^^X^MR~2||A\\T\\B&C||\"\"\nOBX|1\nOBX|2|TX|||x\\.br\\y\n";
        let (told, differs) =
            told(text, &["MSH-2", "PID-3[*].1", "PID-5.1.2", "PID-7", "OBX[*]-1", "OBX[2]-5"]);
        let expected = "MSH-2\t^~\\&\t^~\\&\nPID-3[*].1\t1\t1\nPID-3[*].1\t2\t2\nPID-5.1.2\tC\tC\n\
                        PID-7\t\"\"\t\"\"\nOBX[*]-1\t1\t1\nOBX[*]-1\t2\t2\nOBX[2]-5\tx\u{23CE}y\tx\u{23CE}y\n";
        assert_eq!((told.as_str(), differs), (expected, false));
        let (all, differs) = self::told(text, &[]);
        assert!(!differs, "{all}");
        assert!(all.contains("PID[1]-3\t1^^^X^MR~2\t1^^^X^MR~2\n"), "{all}");
        assert_eq!(all.lines().count(), 11, "{all}");
        assert_eq!(self::told(text, &["OBX", "ZZZ-1"]), ("OBX\tOBX|1\tOBX|1\n".to_owned(), false));
    }

    /// Each of its known defects is told, and what it leaves out or has too much.
    #[test]
    fn what_the_other_reads_otherwise_is_marked() {
        for (text, path, line) in [
            ("MSH|^~\\&#|A|B", "MSH-3", "MSH-3\tA\t#\tdiffers\n"),
            ("MSH|^~\\&|A\rPD1\rPV1|1", "PV1-1", "PV1-1\t1\t\tdiffers\n"),
            ("MSH|^~\\&|A\\X41\\B", "MSH-3", "MSH-3\tAAB\tAX41B\tdiffers\n"),
            ("MSH|^~\\&|C:\\temp", "MSH-3", "MSH-3\tC:\\temp\tC:\tdiffers\n"),
            (
                "MSH|^~\\&|\u{20AC}\u{20AC}\u{20AC}\\F\\x",
                "MSH-3",
                "MSH-3\t\u{20AC}\u{20AC}\u{20AC}|x\t(panic)\tdiffers\n",
            ),
        ] {
            assert_eq!(told(text, &[path]), (line.to_owned(), true), "{text}");
        }
        let (all, differs) = told("MSH|^~\\&#|A|B", &[]);
        assert!(differs && all.ends_with("MSH[1]-5\t\tB\tdiffers\n"), "{all}");
    }
}
