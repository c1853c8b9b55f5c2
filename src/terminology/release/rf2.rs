//! SNOMED CT: the snapshot files of Release Format 2.
//!
//! Spec: <https://hl7.org/fhir/R4/snomedct.html>, SNOMED International's Release File Specification
//! section 4 (Component Release Files).

use std::collections::HashSet;

use super::super::concepts::ROLE_GROUP;
use super::super::{Designation, PropertyKind};
use super::draft::Draft;
use super::table::{Form, Table};
use super::{Fault, Files, Options, Release, extension, file_name};

const URL: &str = "http://snomed.info/sct";
const TABS: Form = Form::Separated(b'\t');

const IS_A: &str = "116680003";
const INFERRED: &str = "900000000000011006";
/// The group of what belongs to none.
const UNGROUPED: &str = "0";
const FULLY_SPECIFIED: &str = "900000000000003001";
const DEFINED: &str = "900000000000073002";
const PREFERRED: &str = "900000000000548007";
/// English as it is used in the United States.
const US_ENGLISH: &str = "900000000000509007";
/// The module of the international edition.
const INTERNATIONAL: &str = "900000000000207008";

/// How the names of the files that are read begin.
pub(super) const STARTS: [&str; 5] = [
    "sct2_Concept_Snapshot",
    "sct2_Description_Snapshot",
    "sct2_TextDefinition_Snapshot",
    "sct2_Relationship_Snapshot",
    "der2_cRefset_LanguageSnapshot",
];

pub(super) fn read(files: &dyn Files, options: &Options) -> Result<Release, Fault> {
    let concept_files = named(files, "sct2_Concept_Snapshot");
    let first = concept_files.first().ok_or(Fault::Missing("sct2_Concept_Snapshot file"))?;
    let version = match &options.version {
        Some(version) => version.clone(),
        None => version_of(first).ok_or(Fault::Version("SNOMED CT"))?,
    };
    let mut draft = concepts(files, &concept_files)?;
    let refset = options.language_refset.as_deref().unwrap_or(US_ENGLISH);
    let preferred = preferred(files, refset)?;
    if preferred.is_empty() && options.language_refset.is_some() {
        let reason = format!("no file has preferred terms of the reference set {refset}");
        return Err(Fault::of_file("der2_cRefset_Language", reason));
    }
    descriptions(files, &mut draft, &preferred)?;
    definitions(files, &mut draft)?;
    relationships(files, &mut draft)?;
    Ok(Release {
        url: URL.into(),
        version: version.into(),
        name: "SNOMED CT".into(),
        is_complete: true,
        concepts: draft.finish()?,
    })
}

/// Files whose names begin so, in the order of their names.
fn named(files: &dyn Files, start: &str) -> Vec<String> {
    let mut names = files.names();
    names.retain(|name| file_name(name).starts_with(start) && extension(name) == "txt");
    names.sort_unstable();
    names
}

/// The edition with the date in the file's name: `.._INT_20240101.txt`.
fn version_of(file: &str) -> Option<String> {
    let stem = file_name(file).strip_suffix(".txt")?;
    let (rest, date) = stem.rsplit_once('_')?;
    let is_date = date.len() == 8 && date.bytes().all(|digit| digit.is_ascii_digit());
    // Which module a national edition has is told by none of its names.
    (is_date && rest.ends_with("_INT")).then(|| format!("{URL}/{INTERNATIONAL}/version/{date}"))
}

fn concepts(files: &dyn Files, names: &[String]) -> Result<Draft, Fault> {
    let mut codes: Vec<Box<str>> = Vec::new();
    for name in names {
        let (mut table, [id]) = Table::with_header(files, name, TABS, ["id"])?;
        while table.next()? {
            codes.push(table.code(id)?.into());
        }
    }
    let mut draft = Draft::new(codes);
    let columns = ["id", "active", "moduleId", "definitionStatusId"];
    for name in names {
        let (mut table, [id, active, module, status]) =
            Table::with_header(files, name, TABS, columns)?;
        while table.next()? {
            let at = place(&draft, &table, id)?;
            if !table.flag(active)? {
                draft.retire(at);
            }
            let is_defined = if table.code(status)? == DEFINED { "true" } else { "false" };
            draft.property(at, "sufficientlyDefined", PropertyKind::Boolean, is_defined);
            draft.property(at, "moduleId", PropertyKind::Code, table.code(module)?);
        }
    }
    Ok(draft)
}

/// The descriptions that are preferred in a language reference set.
fn preferred(files: &dyn Files, refset: &str) -> Result<HashSet<Box<str>>, Fault> {
    let mut found = HashSet::new();
    let columns = ["active", "refsetId", "referencedComponentId", "acceptabilityId"];
    for name in named(files, "der2_cRefset_LanguageSnapshot") {
        let (mut table, [active, of, description, acceptability]) =
            Table::with_header(files, &name, TABS, columns)?;
        while table.next()? {
            let counts = table.flag(active)?
                && table.code(of)? == refset
                && table.code(acceptability)? == PREFERRED;
            if counts {
                found.insert(table.code(description)?.into());
            }
        }
    }
    Ok(found)
}

fn descriptions(
    files: &dyn Files,
    draft: &mut Draft,
    preferred: &HashSet<Box<str>>,
) -> Result<(), Fault> {
    let names = named(files, "sct2_Description_Snapshot");
    if names.is_empty() {
        return Err(Fault::Missing("sct2_Description_Snapshot file"));
    }
    // How good the display of each concept is so far.
    let mut ranks: Vec<u8> = Vec::new();
    let columns = ["id", "active", "conceptId", "languageCode", "typeId", "term"];
    for name in names {
        let (mut table, [id, active, concept, language, kind, term]) =
            Table::with_header(files, &name, TABS, columns)?;
        while table.next()? {
            if !table.flag(active)? {
                continue;
            }
            let at = place(draft, &table, concept)?;
            let (kind, term) = (table.code(kind)?, table.filled(term)?);
            let rank = match (preferred.contains(table.code(id)?), kind == FULLY_SPECIFIED) {
                (true, false) => 3,
                (_, true) => 2,
                (false, false) => 1,
            };
            if ranks.len() <= at as usize {
                ranks.resize(at as usize + 1, 0);
            }
            if rank > ranks[at as usize] {
                ranks[at as usize] = rank;
                draft.display(at, term);
            }
            let language = table.code(language)?;
            let (use_system, use_code) = (URL, kind);
            draft.designation(at, Designation { language, use_system, use_code, value: term });
        }
    }
    Ok(())
}

fn definitions(files: &dyn Files, draft: &mut Draft) -> Result<(), Fault> {
    for name in named(files, "sct2_TextDefinition_Snapshot") {
        let (mut table, [active, concept, term]) =
            Table::with_header(files, &name, TABS, ["active", "conceptId", "term"])?;
        while table.next()? {
            if table.flag(active)? {
                let at = place(draft, &table, concept)?;
                draft.define(at, table.filled(term)?);
            }
        }
    }
    Ok(())
}

fn relationships(files: &dyn Files, draft: &mut Draft) -> Result<(), Fault> {
    let names = named(files, "sct2_Relationship_Snapshot");
    if names.is_empty() {
        return Err(Fault::Missing("sct2_Relationship_Snapshot file"));
    }
    let columns = [
        "active",
        "sourceId",
        "destinationId",
        "relationshipGroup",
        "typeId",
        "characteristicTypeId",
    ];
    for name in names {
        let (mut table, [active, source, destination, group, kind, characteristic]) =
            Table::with_header(files, &name, TABS, columns)?;
        while table.next()? {
            if !table.flag(active)? || table.code(characteristic)? != INFERRED {
                continue;
            }
            let (at, to) = (place(draft, &table, source)?, place(draft, &table, destination)?);
            match table.code(kind)? {
                IS_A => draft.link(to, at),
                kind => {
                    let group = table.code(group)?;
                    if group != UNGROUPED {
                        draft.property(at, ROLE_GROUP, PropertyKind::Integer, group);
                    }
                    draft.property(at, kind, PropertyKind::Code, table.code(destination)?);
                }
            }
        }
    }
    Ok(())
}

/// The place of the concept that a column names.
fn place(draft: &Draft, table: &Table<'_>, column: usize) -> Result<u32, Fault> {
    let code = table.code(column)?;
    let unknown = || table.fault(column + 1, format!("there is no concept {code}"));
    draft.find(code).ok_or_else(unknown)
}
