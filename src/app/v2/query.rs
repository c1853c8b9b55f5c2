//! `kiln v2 query`: what stands where in a message.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use crate::hl7v2::charset::Charset;
use crate::hl7v2::er7::{Message, Part, Path, Reading};

use super::{QueryArgs, messages};

/// Writes the values that the paths name, or all.
///
/// # Errors
/// What cannot be read, as a sentence.
pub(super) fn run(args: &QueryArgs, out: &mut impl Write) -> Result<ExitCode, Box<dyn Error>> {
    let charset = Charset::named(&args.charset).ok_or("no such character set")?;
    let paths = args.paths.iter().map(|path| path.parse()).collect::<Result<Vec<Path>, _>>()?;
    for raw in messages(&args.file)? {
        let read = Charset::read(&raw, charset)?;
        let message = Message::parse(&read.text, read.charset, Reading::Lenient)?;
        for path in &paths {
            for part in message.all(path) {
                writeln!(out, "{path}\t{}", line(part))?;
            }
        }
        if paths.is_empty() {
            all(&message, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
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
fn line(part: Part<'_>) -> String {
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
            let args = QueryArgs { file: file.clone(), paths, charset: "UTF-8".to_owned() };
            let mut out = Vec::new();
            run(&args, &mut out).map(|_| String::from_utf8(out).unwrap())
        };
        assert_eq!(
            shown(&["PID-3[*]", "PID-5", "PID-6"]).unwrap(),
            "PID-3[*]\t1\nPID-3[*]\t2\nPID-5\tX\u{23CE}Y\nPID-6\t\"\"\n"
        );
        assert!(shown(&[]).unwrap().contains("PID[1]\n  PID-3\t1~2\n"));
        assert!(shown(&["PID-x"]).is_err());
        std::fs::remove_file(&file).unwrap();
    }
}
