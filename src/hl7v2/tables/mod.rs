//! The tables: which code of FHIR stands for which code of HL7 v2.
//!
//! They are data (`fhir-profiles/v2`): what the guide "HL7 Version 2 to FHIR" says, and beside it
//! what is done in another way on purpose, with the reason. A site lays its own rows over both.

use std::collections::HashMap;

use thiserror::Error;
use toml_edit::{ImDocument, Item, TableLike};

const GUIDE: &str = include_str!("../../../fhir-profiles/v2/tables.toml");
const DEVIATIONS: &str = include_str!("../../../fhir-profiles/v2/deviations.toml");

/// What a code becomes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The code.
    pub code: String,
    /// Its system.
    pub system: String,
    /// What it is called, where that is known.
    pub display: Option<String>,
}

/// One table.
#[derive(Clone, Debug, Default)]
struct Table {
    /// The table of v2 whose codes it takes: `HL70001`.
    source: String,
    system: String,
    rows: HashMap<String, Target>,
}

/// Something that the guide says and that is not done so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Deviation {
    /// The table.
    pub table: String,
    /// The code of v2.
    pub code: String,
    /// What the guide makes of it; empty: nothing.
    pub guide: String,
    /// What it becomes here; empty: nothing.
    pub ours: String,
    /// Why.
    pub reason: String,
}

/// Why tables cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{file}: {reason}")]
pub struct TableError {
    file: String,
    reason: String,
}

/// All tables.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    tables: HashMap<String, Table>,
    deviations: Vec<Deviation>,
}

impl Tables {
    /// The tables of the guide with our deviations.
    ///
    /// # Errors
    /// Names the file and what is wrong in it; a test proves that those in the program are right.
    pub fn standard() -> Result<Self, TableError> {
        let mut tables = Self::read(GUIDE, "tables.toml")?;
        tables.deviate(DEVIATIONS, "deviations.toml")?;
        Ok(tables)
    }

    fn read(text: &str, file: &str) -> Result<Self, TableError> {
        let fault = |reason: String| TableError { file: file.to_owned(), reason };
        let document = ImDocument::parse(text).map_err(|error| fault(error.to_string()))?;
        let mut tables = HashMap::new();
        for (name, item) in document.iter() {
            let table = item.as_table_like().ok_or_else(|| fault(format!("{name} is no table")))?;
            tables.insert(
                name.to_owned(),
                one(table).map_err(|key| fault(format!("{name}: {key}")))?,
            );
        }
        Ok(Self { tables, deviations: Vec::new() })
    }

    /// Lays the deviations over the tables; one that says of the guide what is not so is refused.
    fn deviate(&mut self, text: &str, file: &str) -> Result<(), TableError> {
        let fault = |reason: String| TableError { file: file.to_owned(), reason };
        let document = ImDocument::parse(text).map_err(|error| fault(error.to_string()))?;
        let rows = document.get("deviation").and_then(Item::as_array_of_tables);
        for row in rows.into_iter().flatten() {
            let word = |key: &str| row.get(key).and_then(Item::as_str).unwrap_or_default();
            let deviation = Deviation {
                table: word("table").to_owned(),
                code: word("code").to_owned(),
                guide: word("guide").to_owned(),
                ours: word("ours").to_owned(),
                reason: word("reason").to_owned(),
            };
            let table = self.tables.get_mut(&deviation.table);
            let table = table.ok_or_else(|| fault(format!("no table {:?}", deviation.table)))?;
            let known = table.rows.get(&deviation.code).map_or("", |target| &target.code);
            if known != deviation.guide || deviation.reason.is_empty() {
                let at = format!("{} {}", deviation.table, deviation.code);
                return Err(fault(format!(
                    "{at}: the guide says {known:?}, or no reason is given"
                )));
            }
            let system = Some(word("system")).filter(|system| !system.is_empty());
            if deviation.ours.is_empty() {
                table.rows.remove(&deviation.code);
            } else {
                let system = system.unwrap_or(&table.system).to_owned();
                let target = Target { code: deviation.ours.clone(), system, display: None };
                table.rows.insert(deviation.code.clone(), target);
            }
            self.deviations.push(deviation);
        }
        Ok(())
    }

    /// What the code becomes by the table.
    pub fn target(&self, table: &str, code: &str) -> Option<&Target> {
        self.tables.get(table)?.rows.get(code)
    }

    /// The code that the code becomes by the table.
    pub fn code(&self, table: &str, code: &str) -> Option<&str> {
        Some(&self.target(table, code)?.code)
    }

    /// Whether there is a table of that name.
    pub fn contains(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    /// The table of v2 whose codes the table takes: `HL70001`.
    pub fn source(&self, table: &str) -> Option<&str> {
        Some(&self.tables.get(table)?.source)
    }

    /// What is done in another way than the guide says.
    pub fn deviations(&self) -> &[Deviation] {
        &self.deviations
    }

    /// These tables with a row more, or with another target in one.
    pub fn set(&mut self, table: &str, code: &str, target: Target) {
        let table = self.tables.entry(table.to_owned()).or_default();
        table.rows.insert(code.to_owned(), target);
    }

    /// The system of the targets of a table that name none.
    pub fn system(&self, table: &str) -> Option<&str> {
        Some(&self.tables.get(table)?.system)
    }
}

fn one(table: &dyn TableLike) -> Result<Table, String> {
    let word = |key: &str| table.get(key).and_then(Item::as_str).ok_or(format!("{key} is missing"));
    let (source, system) = (word("source")?.to_owned(), word("system")?.to_owned());
    let mut rows = HashMap::new();
    for code in table.get("same").and_then(Item::as_array).into_iter().flatten() {
        let code = code.as_str().ok_or("same has something that is no text")?;
        let target = Target { code: code.to_owned(), system: system.clone(), display: None };
        rows.insert(code.to_owned(), target);
    }
    let map = table.get("map").and_then(Item::as_table_like);
    for (code, item) in map.into_iter().flat_map(|map| map.iter()) {
        rows.insert(code.to_owned(), target(item, &system).ok_or(format!("map.{code}"))?);
    }
    Ok(Table { source, system, rows })
}

/// A target: `"code"`, or `["code", "system"]`.
pub(super) fn target(item: &Item, system: &str) -> Option<Target> {
    if let Some(code) = item.as_str() {
        return Some(Target { code: code.to_owned(), system: system.to_owned(), display: None });
    }
    let both = item.as_array()?;
    let word = |at: usize| both.get(at).and_then(|item| item.as_str()).map(str::to_owned);
    Some(Target { code: word(0)?, system: word(1)?, display: word(2) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_the_program_can_be_read_and_every_deviation_has_a_reason() {
        let tables = Tables::standard().unwrap();
        assert!(tables.deviations().len() > 20);
        for (table, code, expected) in [
            ("AdministrativeSex", "F", Some("female")),
            ("ObservationResultStatusCodesInterpretation", "I", Some("registered")),
            ("ObservationResultStatusCodesInterpretation", "B", Some("amended")),
            ("OrderControlCode[ServiceRequest.status]", "CA", Some("revoked")),
            ("Event[EncounterStatus]", "A08", None),
            ("ResultStatus[Non-Queries]", "A", Some("partial")),
            ("ResultStatus[Non-Queries]", "Y", None),
        ] {
            assert_eq!(tables.code(table, code), expected, "{table} {code}");
        }
    }

    #[test]
    fn a_deviation_from_what_the_guide_does_not_say_is_refused() {
        let mut tables =
            Tables::read("[T]\nsource='HL70001'\nsystem='s'\nmap={A='b'}", "t").unwrap();
        let wrong = "[[deviation]]\ntable='T'\ncode='A'\nguide='x'\nours='y'\nreason='r'";
        assert!(tables.deviate(wrong, "d").is_err());
        let right = wrong.replace("'x'", "'b'");
        tables.deviate(&right, "d").unwrap();
        assert_eq!(tables.code("T", "A"), Some("y"));
    }
}
