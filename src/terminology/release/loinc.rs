//! LOINC: its table as CSV, with parts, the hierarchy by system and answers where they are there.
//!
//! Spec: <https://hl7.org/fhir/R4/loinc.html>

use super::super::{Designation, PropertyKind};
use super::draft::Draft;
use super::table::{Form, Table};
use super::{Fault, Files, Options, Release, find};

const URL: &str = "http://loinc.org";

/// The columns that are properties, as <https://hl7.org/fhir/R4/loinc.html> names them.
const PROPERTIES: [&str; 10] = [
    "COMPONENT",
    "PROPERTY",
    "TIME_ASPCT",
    "SYSTEM",
    "SCALE_TYP",
    "METHOD_TYP",
    "CLASS",
    "CLASSTYPE",
    "ORDER_OBS",
    "STATUS",
];

/// The files that are read, in lower case.
pub(super) const NAMES: [&str; 4] =
    ["answerlist.csv", "componenthierarchybysystem.csv", "loinc.csv", "part.csv"];

pub(super) fn read(files: &dyn Files, options: &Options) -> Result<Release, Fault> {
    let main = find(files, |name| name == "loinc.csv").ok_or(Fault::Missing("Loinc.csv"))?;
    let parts = find(files, |name| name == "part.csv");
    let hierarchy = find(files, |name| name == "componenthierarchybysystem.csv");
    let answers = find(files, |name| name == "answerlist.csv");
    let mut codes = Vec::new();
    read_codes(files, &main, "LOINC_NUM", &mut codes)?;
    for (name, column) in
        [(&parts, "PartNumber"), (&hierarchy, "CODE"), (&answers, "AnswerStringId")]
    {
        if let Some(name) = name {
            read_codes(files, name, column, &mut codes)?;
        }
    }
    let mut draft = Draft::new(codes);
    if let Some(name) = hierarchy {
        read_hierarchy(files, &name, &mut draft)?;
    }
    if let Some(name) = parts {
        read_parts(files, &name, &mut draft)?;
    }
    if let Some(name) = answers {
        read_answers(files, &name, &mut draft)?;
    }
    let newest = read_main(files, &main, &mut draft)?;
    let version = options.version.clone().or(newest).ok_or(Fault::Version("LOINC"))?;
    Ok(Release {
        url: URL.into(),
        version: version.into(),
        name: "LOINC".into(),
        is_complete: true,
        concepts: draft.finish()?,
    })
}

fn read_codes(
    files: &dyn Files,
    name: &str,
    column: &str,
    codes: &mut Vec<Box<str>>,
) -> Result<(), Fault> {
    let (mut table, [code]) = Table::with_header(files, name, Form::Quoted, [column])?;
    while table.next()? {
        // Answers of outside lists have no code.
        if column != "AnswerStringId" || !table.field(code)?.is_empty() {
            codes.push(table.code(code)?.into());
        }
    }
    Ok(())
}

/// Reads the table; the newest version in which a code was changed.
fn read_main(files: &dyn Files, name: &str, draft: &mut Draft) -> Result<Option<String>, Fault> {
    let columns = ["LOINC_NUM", "LONG_COMMON_NAME", "SHORTNAME", "STATUS", "VersionLastChanged"];
    let (mut table, [code, long, short, status, changed]) =
        Table::with_header(files, name, Form::Quoted, columns)?;
    let (second, places) = Table::with_header(files, name, Form::Quoted, PROPERTIES)?;
    drop(second);
    let mut newest: Option<(Vec<u32>, String)> = None;
    while table.next()? {
        let at = place(draft, &table, code)?;
        draft.display(at, table.filled(long)?);
        let value = table.field(short)?;
        if !value.is_empty() {
            let use_code = "SHORTNAME";
            let designation = Designation { language: "en", use_system: URL, use_code, value };
            draft.designation(at, designation);
        }
        for (name, column) in PROPERTIES.iter().zip(places) {
            draft.property(at, name, PropertyKind::String, table.field(column)?);
        }
        if table.field(status)? == "DEPRECATED" {
            draft.retire(at);
        }
        let version = table.field(changed)?;
        let numbers: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
        let numbers = numbers.filter(|it| newest.as_ref().is_none_or(|(known, _)| it > known));
        newest = numbers.map(|numbers| (numbers, version.to_owned())).or(newest);
    }
    Ok(newest.map(|(_, version)| version))
}

fn read_parts(files: &dyn Files, name: &str, draft: &mut Draft) -> Result<(), Fault> {
    let columns = ["PartNumber", "PartTypeName", "PartName", "PartDisplayName", "Status"];
    let (mut table, [code, kind, name, display, status]) =
        Table::with_header(files, name, Form::Quoted, columns)?;
    while table.next()? {
        let at = place(draft, &table, code)?;
        let display = table.field(display)?;
        draft.display(at, if display.is_empty() { table.field(name)? } else { display });
        draft.property(at, "PartTypeName", PropertyKind::String, table.field(kind)?);
        draft.property(at, "STATUS", PropertyKind::String, table.field(status)?);
        if table.field(status)? == "DEPRECATED" {
            draft.retire(at);
        }
    }
    Ok(())
}

fn read_hierarchy(files: &dyn Files, name: &str, draft: &mut Draft) -> Result<(), Fault> {
    let columns = ["IMMEDIATE_PARENT", "CODE", "CODE_TEXT"];
    let (mut table, [parent, code, text]) = Table::with_header(files, name, Form::Quoted, columns)?;
    while table.next()? {
        let at = place(draft, &table, code)?;
        draft.display(at, table.field(text)?);
        if !table.field(parent)?.is_empty() {
            let parent = place(draft, &table, parent)?;
            draft.link(parent, at);
        }
    }
    Ok(())
}

fn read_answers(files: &dyn Files, name: &str, draft: &mut Draft) -> Result<(), Fault> {
    let columns = ["AnswerStringId", "DisplayText"];
    let (mut table, [code, text]) = Table::with_header(files, name, Form::Quoted, columns)?;
    while table.next()? {
        if !table.field(code)?.is_empty() {
            let at = place(draft, &table, code)?;
            draft.display(at, table.field(text)?);
        }
    }
    Ok(())
}

fn place(draft: &Draft, table: &Table<'_>, column: usize) -> Result<u32, Fault> {
    let code = table.code(column)?;
    let unknown = || table.fault(column + 1, format!("{code} is no code of this release"));
    draft.find(code).ok_or_else(unknown)
}
