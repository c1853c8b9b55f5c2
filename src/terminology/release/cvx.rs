//! CVX: the pipe-delimited file of the CDC.
//!
//! Each line has code, short description, full name, notes, status, an internal number or flag and
//! the date of the last change.

use super::super::{Designation, PropertyKind};
use super::draft::Draft;
use super::table::{Form, Table};
use super::{Fault, Files, Options, Release, find};

const URL: &str = "http://hl7.org/fhir/sid/cvx";

pub(super) fn read(files: &dyn Files, options: &Options) -> Result<Release, Fault> {
    let is_cvx = |name: &str| name.starts_with("cvx");
    let name = find(files, is_cvx).ok_or(Fault::Missing("cvx.txt"))?;
    let mut rows: Vec<[String; 6]> = Vec::new();
    let mut table = Table::open(files, &name, Form::Separated(b'|'))?;
    while table.next()? {
        let text = |at| table.field(at).map(|text| text.trim().to_owned());
        let row = [text(0)?, text(1)?, text(2)?, text(3)?, text(4)?, text(6)?];
        let is_header = rows.is_empty() && row[0].eq_ignore_ascii_case("CVX Code");
        if is_header {
            continue;
        }
        if row[0].is_empty() || !row[0].bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(table.fault(1, format!("{:?} is no code", row[0])));
        }
        if row[1].is_empty() {
            return Err(table.fault(2, "is empty"));
        }
        rows.push(row);
    }
    let newest = rows.iter().filter_map(|row| day(&row[5])).max();
    let version = options.version.clone().or(newest).ok_or(Fault::Version("CVX"))?;
    let mut draft = Draft::new(rows.iter().map(|row| row[0].as_str().into()).collect());
    for [code, short, full, notes, status, _] in &rows {
        let Some(at) = draft.find(code) else { continue };
        draft.display(at, short);
        if !full.is_empty() && full != short {
            let (language, value) = ("en", &**full);
            draft.designation(at, Designation { language, value, ..Designation::default() });
        }
        if !notes.is_empty() {
            draft.define(at, notes);
        }
        draft.property(at, "VaccineStatus", PropertyKind::String, status);
        if status.eq_ignore_ascii_case("Inactive") {
            draft.retire(at);
        }
    }
    Ok(Release {
        url: URL.into(),
        version: version.into(),
        name: "CVX".into(),
        is_complete: true,
        concepts: draft.finish()?,
    })
}

/// `2010/05/28` as the digits of a date.
fn day(text: &str) -> Option<String> {
    let day: String = text.chars().filter(char::is_ascii_digit).collect();
    (day.len() == 8).then_some(day)
}
