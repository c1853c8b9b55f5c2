//! `kiln v2 query`: what stands where in a message, by our reader and, beside it, by another.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use super::beside;
use super::{QueryArgs, messages};
use crate::hl7v2::charset::Charset;
use crate::hl7v2::er7::{Index, Message, Part, Path, Reading, Segment};

/// Writes the values that the paths name, or all. Where another reader is asked too, one that differs anywhere
/// makes it a failure.
///
/// # Errors
/// What cannot be read, as a sentence.
pub(super) fn run(args: &QueryArgs, out: &mut impl Write) -> Result<ExitCode, Box<dyn Error>> {
    let charset = Charset::named(&args.charset).ok_or("no such character set")?;
    let paths = args.paths.iter().map(|path| path.parse()).collect::<Result<Vec<Path>, _>>()?;
    let mut differs = false;
    for raw in messages(&args.file)? {
        let read = Charset::read(&raw, charset)?;
        let message = Message::parse(&read.text, read.charset, Reading::Lenient)?;
        if args.beside {
            differs |= beside::compare(&message, &paths, out)?;
            continue;
        }
        for path in &paths {
            for segment in whole(&message, path) {
                writeln!(out, "{path}\t{}", segment.raw())?;
            }
            for part in message.all(path).filter(|_| path.field > 0) {
                writeln!(out, "{path}\t{}", line(part))?;
            }
        }
        if paths.is_empty() {
            all(&message, out)?;
        }
    }
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The segments that a path without a field names.
pub(super) fn whole<'m>(
    message: &'m Message<'_>,
    path: &Path,
) -> impl Iterator<Item = Segment<'m>> {
    let (skipped, most) = match path.occurrence {
        Index::First => (0, 1),
        Index::At(at) => (usize::from(at) - 1, 1),
        Index::All => (0, usize::MAX),
    };
    let (name, most) = (path.segment, if path.field > 0 { 0 } else { most });
    message.segments().filter(move |segment| segment.name() == name).skip(skipped).take(most)
}

fn all(message: &Message<'_>, out: &mut impl Write) -> std::io::Result<()> {
    for segment in message.segments() {
        let place = segment.place();
        writeln!(out, "{}[{}]", place.segment, place.sequence)?;
        for (part, number) in segment.fields().zip(1u16..) {
            if part.is_valued() || part.is_null() {
                writeln!(out, "  {}-{number}\t{}", place.segment, line(part))?;
            }
        }
    }
    Ok(())
}

/// The value in one line; `""` where it is to be removed.
pub(super) fn line(part: Part<'_>) -> String {
    if part.is_null() {
        return "\"\"".to_owned();
    }
    part.text().replace('\n', "\u{23CE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_a_line_each() {
        let file = std::env::temp_dir().join(format!("kiln-v2-query-{}", std::process::id()));
        let text = "MSH|^~\\&|A|B\rPID|||1~2||X\\.br\\Y|\"\"\r";
        std::fs::write(&file, text).unwrap();
        let shown = |paths: &[&str]| {
            let paths = paths.iter().map(|path| (*path).to_owned()).collect();
            let charset = "UTF-8".to_owned();
            let args = QueryArgs { file: file.clone(), paths, charset, beside: false };
            let mut out = Vec::new();
            run(&args, &mut out).map(|_| String::from_utf8(out).unwrap())
        };
        assert_eq!(
            shown(&["PID-3[*]", "PID-5", "PID-6"]).unwrap(),
            "PID-3[*]\t1\nPID-3[*]\t2\nPID-5\tX\u{23CE}Y\nPID-6\t\"\"\n"
        );
        assert!(shown(&[]).unwrap().contains("PID[1]\n  PID-3\t1~2\n"));
        assert_eq!(shown(&["MSH[*]"]).unwrap(), "MSH[*]\tMSH|^~\\&|A|B\n");
        assert!(shown(&["PID-x"]).is_err());
        std::fs::remove_file(&file).unwrap();
    }

    #[test]
    fn readers_that_differ_are_a_failure() {
        let file = std::env::temp_dir().join(format!("kiln-v2-beside-{}", std::process::id()));
        let told = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let (paths, charset) = (vec!["MSH-3".to_owned()], "UTF-8".to_owned());
            let args = QueryArgs { file: file.clone(), paths, charset, beside: true };
            let mut out = Vec::new();
            let code = run(&args, &mut out).unwrap();
            (format!("{code:?}"), String::from_utf8(out).unwrap())
        };
        let code = |code: ExitCode| format!("{code:?}");
        let alike = (code(ExitCode::SUCCESS), "MSH-3\tA\tA\n".to_owned());
        assert_eq!(told("MSH|^~\\&|A|B\rPID|1\r"), alike);
        let differs = (code(ExitCode::FAILURE), "MSH-3\tA\t#\tdiffers\n".to_owned());
        assert_eq!(told("MSH|^~\\&#|A|B\rPID|1\r"), differs);
        std::fs::remove_file(&file).unwrap();
    }
}
