//! RxNorm: the RRF files.
//!
//! RxNorm defines no subsumption: its relationships are properties, those of its kind of hierarchy
//! (`isa`) like the others.
//!
//! Spec: <https://hl7.org/fhir/R4/rxnorm.html>, RxNorm Technical Documentation section 12.

use super::super::{Designation, PropertyKind};
use super::draft::Draft;
use super::table::{Form, Table};
use super::{Fault, Files, Options, Release, find};

const URL: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
const PIPES: Form = Form::Separated(b'|');
/// What RxNorm itself says, as opposed to its sources.
const OWN: &str = "RXNORM";

/// Columns of RXNCONSO, from 0.
mod conso {
    pub(super) const RXCUI: usize = 0;
    pub(super) const LANGUAGE: usize = 1;
    pub(super) const SOURCE: usize = 11;
    pub(super) const TERM_TYPE: usize = 12;
    pub(super) const TEXT: usize = 14;
    pub(super) const SUPPRESS: usize = 16;
}

/// Columns of RXNREL, from 0: the second concept has the relationship to the first.
mod relation {
    pub(super) const TO: usize = 0;
    pub(super) const FROM: usize = 4;
    pub(super) const NAME: usize = 7;
    pub(super) const SOURCE: usize = 10;
    pub(super) const SUPPRESS: usize = 14;
}

/// The files that are read, in lower case.
pub(super) const NAMES: [&str; 3] = ["rxnconso.rrf", "rxnrel.rrf", "rxnsab.rrf"];

pub(super) fn read(files: &dyn Files, options: &Options) -> Result<Release, Fault> {
    let names = find(files, |name| name == "rxnconso.rrf").ok_or(Fault::Missing("RXNCONSO.RRF"))?;
    let version = match &options.version {
        Some(version) => version.clone(),
        None => version_of(files)?.ok_or(Fault::Version("RxNorm"))?,
    };
    let mut codes: Vec<Box<str>> = Vec::new();
    let mut table = Table::open(files, &names, PIPES)?;
    while table.next()? {
        if table.field(conso::SOURCE)? == OWN {
            codes.push(table.code(conso::RXCUI)?.into());
        }
    }
    let mut draft = Draft::new(codes);
    read_names(files, &names, &mut draft)?;
    if let Some(relations) = find(files, |name| name == "rxnrel.rrf") {
        read_relations(files, &relations, &mut draft)?;
    }
    Ok(Release {
        url: URL.into(),
        version: version.into(),
        name: "RxNorm".into(),
        is_complete: true,
        concepts: draft.finish()?,
    })
}

/// The version that RXNSAB has for RxNorm itself.
fn version_of(files: &dyn Files) -> Result<Option<String>, Fault> {
    let Some(name) = find(files, |name| name == "rxnsab.rrf") else { return Ok(None) };
    let mut table = Table::open(files, &name, PIPES)?;
    while table.next()? {
        if table.field(3)? == OWN && !table.field(6)?.is_empty() {
            return Ok(Some(table.field(6)?.to_owned()));
        }
    }
    Ok(None)
}

fn read_names(files: &dyn Files, name: &str, draft: &mut Draft) -> Result<(), Fault> {
    // Which concepts have a name of their own, and which have one that is not suppressed.
    let (mut named, mut used) = (Vec::new(), Vec::new());
    let mut table = Table::open(files, name, PIPES)?;
    while table.next()? {
        let Some(at) = draft.find(table.code(conso::RXCUI)?) else { continue };
        if table.field(conso::SOURCE)? != OWN {
            continue;
        }
        let (kind, text) = (table.code(conso::TERM_TYPE)?, table.filled(conso::TEXT)?);
        used.resize(used.len().max(at as usize + 1), false);
        named.resize(named.len().max(at as usize + 1), false);
        used[at as usize] |= table.field(conso::SUPPRESS)? == "N";
        // Synonyms, also tall man and prescribable ones, stand beside the name of a concept.
        if matches!(kind, "SY" | "TMSY" | "PSN") || named[at as usize] {
            let language = if table.field(conso::LANGUAGE)? == "SPA" { "es" } else { "en" };
            let designation =
                Designation { language, use_system: URL, use_code: kind, value: text };
            draft.designation(at, designation);
        } else {
            named[at as usize] = true;
            draft.display(at, text);
            draft.property(at, "TTY", PropertyKind::String, kind);
        }
    }
    for (at, is_used) in (0..).zip(used) {
        if !is_used {
            draft.retire(at);
        }
    }
    Ok(())
}

fn read_relations(files: &dyn Files, name: &str, draft: &mut Draft) -> Result<(), Fault> {
    let mut table = Table::open(files, name, PIPES)?;
    while table.next()? {
        let counts = table.field(relation::SOURCE)? == OWN
            && matches!(table.field(relation::SUPPRESS)?, "" | "N");
        // Relationships between atoms name no concepts.
        let (from, to) = (table.field(relation::FROM)?, table.field(relation::TO)?);
        if !counts || from.is_empty() || to.is_empty() {
            continue;
        }
        if let (Some(at), Some(_)) = (draft.find(from), draft.find(to)) {
            let name = table.field(relation::NAME)?;
            draft.property(at, name, PropertyKind::Code, to);
        }
    }
    Ok(())
}
