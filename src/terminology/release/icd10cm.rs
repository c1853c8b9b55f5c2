//! ICD-10-CM: the order file, of fixed width.
//!
//! Columns 7 to 13 have the code without its point, column 15 whether it may be billed, columns 17
//! to 76 the short and from 78 on the long description (the readme of the release).

use super::super::{Designation, PropertyKind};
use super::draft::Draft;
use super::table::{Form, Table};
use super::{Fault, Files, Options, Release, file_name, find};

const URL: &str = "http://hl7.org/fhir/sid/icd-10-cm";

struct Line {
    code: String,
    is_billable: bool,
    short: String,
    long: String,
}

pub(super) fn read(files: &dyn Files, options: &Options) -> Result<Release, Fault> {
    let is_order = |name: &str| name.starts_with("icd10cm") && name.contains("order");
    let name = find(files, is_order).ok_or(Fault::Missing("order file (icd10cm_order_*.txt)"))?;
    let year = || {
        let parts = file_name(&name).split(|letter: char| !letter.is_ascii_digit());
        parts.filter(|part| part.len() == 4).map(str::to_owned).next()
    };
    let version = options.version.clone().or_else(year).ok_or(Fault::Version("ICD-10-CM"))?;
    let mut lines = Vec::new();
    let mut table = Table::open(files, &name, Form::Line)?;
    while table.next()? {
        lines.push(line(&table)?);
    }
    let mut draft = Draft::new(lines.iter().map(|line| dotted(&line.code).into()).collect());
    for line in &lines {
        let Some(at) = draft.find(&dotted(&line.code)) else { continue };
        draft.display(at, &line.long);
        if line.short != line.long {
            let (language, value) = ("en", &*line.short);
            draft.designation(at, Designation { language, value, ..Designation::default() });
        }
        let is_billable = if line.is_billable { "true" } else { "false" };
        draft.property(at, "billable", PropertyKind::Boolean, is_billable);
        // The shortest categories have three letters.
        let above =
            (3..line.code.len()).rev().find_map(|end| draft.find(&dotted(&line.code[..end])));
        if let Some(parent) = above {
            draft.link(parent, at);
        }
    }
    Ok(Release {
        url: URL.into(),
        version: version.into(),
        name: "ICD-10-CM".into(),
        is_complete: true,
        concepts: draft.finish()?,
    })
}

fn line(table: &Table<'_>) -> Result<Line, Fault> {
    let text = table.field(0)?;
    let part = |from: usize, to: Option<usize>, what: &str| {
        let part = to.map_or_else(|| text.get(from..), |to| text.get(from..to));
        part.map(str::trim)
            .filter(|part| !part.is_empty())
            .ok_or_else(|| table.fault(from + 1, format!("there is no {what}")))
    };
    let code = part(6, Some(13), "code")?;
    let is_code = code.len() >= 3 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_code {
        return Err(table.fault(7, format!("{code:?} is no code")));
    }
    let is_billable = match part(14, Some(15), "header flag")? {
        "0" => false,
        "1" => true,
        other => return Err(table.fault(15, format!("{other:?} is neither 0 nor 1"))),
    };
    let long = part(77, None, "long description")?.to_owned();
    let short = part(16, Some(76), "short description")?.to_owned();
    Ok(Line { code: code.to_owned(), is_billable, short, long })
}

/// The code with its point.
fn dotted(code: &str) -> String {
    match code.split_at_checked(3) {
        Some((category, rest)) if !rest.is_empty() => format!("{category}.{rest}"),
        _ => code.to_owned(),
    }
}
