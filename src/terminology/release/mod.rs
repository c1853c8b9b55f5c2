//! Releases of terminologies, in the files that their publishers make.
//!
//! A reader per publisher turns files into [`Concepts`]: everything or nothing, with the file, line
//! and column of what it cannot read. Files come through [`Files`], so this is only computing.
//!
//! | kind | what is read |
//! |---|---|
//! | SNOMED CT | RF2 snapshot: concepts, descriptions, text definitions, relationships, language reference sets |
//! | LOINC | `Loinc.csv`; parts, the hierarchy by system and answers where they are there |
//! | ICD-10-CM | the order file (`icd10cm_order_2024.txt`) |
//! | RxNorm | `RXNCONSO.RRF`; `RXNREL.RRF` and `RXNSAB.RRF` where they are there |
//! | CVX | the pipe-delimited file of the CDC (`cvx.txt`) |
//! | UCUM | `ucum-essence.xml`: units, and metric ones with each prefix |
//! | FHIR | CodeSystems in a package (`.tgz`) or as `.json` |
//!
//! Spec: <https://hl7.org/fhir/R4/terminologies-systems.html>

mod cvx;
mod draft;
mod fhir;
mod icd10cm;
mod loinc;
mod rf2;
mod rxnorm;
mod table;
#[cfg(test)]
mod tests;
mod ucum;

use std::fmt::Write as _;
use std::io::BufRead;

use thiserror::Error;

use super::Concepts;

/// Who published the files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The CDC's vaccine codes.
    Cvx,
    /// FHIR CodeSystems.
    Fhir,
    /// The US edition of ICD-10.
    Icd10Cm,
    /// LOINC.
    Loinc,
    /// RxNorm.
    RxNorm,
    /// SNOMED CT.
    Snomed,
    /// UCUM.
    Ucum,
}

/// A code system as its publisher released it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Release {
    /// The code system's url.
    pub url: Box<str>,
    /// Its version.
    pub version: Box<str>,
    /// Its name for people.
    pub name: Box<str>,
    /// Whether these are all of its codes.
    pub is_complete: bool,
    /// The codes.
    pub concepts: Concepts,
}

/// What the files do not say, or what is to count instead.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The version.
    pub version: Option<String>,
    /// SNOMED CT: the reference set whose preferred terms are the displays.
    pub language_refset: Option<String>,
}

/// The files of a release.
pub trait Files {
    /// Their paths.
    fn names(&self) -> Vec<String>;

    /// Opens one of them.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, name: &str) -> std::io::Result<Box<dyn BufRead + '_>>;
}

/// Why a release cannot be read.
#[derive(Debug, Error)]
pub enum Fault {
    /// Something in a file is not as it must be.
    #[error("{}", place(file, *line, *column, reason))]
    Content {
        /// The file.
        file: String,
        /// The line, from 1; 0 is the file as a whole.
        line: u64,
        /// The column (field), from 1; 0 is the line as a whole.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// A file that the release must have is not there.
    #[error("there is no {0} among the files")]
    Missing(&'static str),
    /// The concepts have more text than can be kept.
    #[error("the concepts have {0} bytes of text, more than can be kept")]
    TooLarge(u64),
    /// A file cannot be read.
    #[error("{file} cannot be read: {source}")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The files are of no kind that is known.
    #[error("these are the files of no terminology that can be loaded")]
    UnknownKind,
    /// The files do not tell the version.
    #[error("the files do not tell the version of {0}: name it with --version")]
    Version(&'static str),
}

impl Fault {
    fn of_file(file: &str, reason: impl Into<String>) -> Self {
        Self::Content { file: file.to_owned(), line: 0, column: 0, reason: reason.into() }
    }
}

fn place(file: &str, line: u64, column: usize, reason: &str) -> String {
    let mut text = file.to_owned();
    // Writing to a String cannot fail.
    if line > 0 {
        let _ = write!(text, ", line {line}");
    }
    if column > 0 {
        let _ = write!(text, ", column {column}");
    }
    text + ": " + reason
}

impl Kind {
    /// The kind of a release with these files.
    pub fn of(names: &[String]) -> Option<Self> {
        let kinds = names.iter().filter_map(|name| Self::of_name(file_name(name)));
        // Distributions hold documents of all kinds beside; what one kind only has comes first.
        kinds.min_by_key(|kind| *kind == Self::Fhir)
    }

    /// Whether a release of this kind is read from a file of this path.
    pub fn reads(self, path: &str) -> bool {
        let name = file_name(path);
        let lower = name.to_lowercase();
        match self {
            Self::Snomed => rf2::STARTS.iter().any(|start| name.starts_with(start)),
            Self::Loinc => loinc::NAMES.contains(&&*lower),
            Self::RxNorm => rxnorm::NAMES.contains(&&*lower),
            _ => Self::of_name(name) == Some(self),
        }
    }

    /// How often such a file is read through.
    pub fn passes(self, path: &str) -> u64 {
        let lower = file_name(path).to_lowercase();
        let is_twice = match self {
            Self::Snomed => lower.starts_with("sct2_concept"),
            Self::Loinc => true,
            Self::RxNorm => lower == "rxnconso.rrf",
            _ => false,
        };
        1 + u64::from(is_twice)
    }

    fn of_name(name: &str) -> Option<Self> {
        let lower = name.to_lowercase();
        match &*extension(name) {
            "txt" if name.starts_with("sct2_Concept_Snapshot") => Some(Self::Snomed),
            "txt" if lower.starts_with("icd10cm") && lower.contains("order") => Some(Self::Icd10Cm),
            "txt" if lower.starts_with("cvx") => Some(Self::Cvx),
            "csv" if lower == "loinc.csv" => Some(Self::Loinc),
            "rrf" if lower == "rxnconso.rrf" => Some(Self::RxNorm),
            "xml" if lower.starts_with("ucum-essence") => Some(Self::Ucum),
            "tgz" | "json" => Some(Self::Fhir),
            _ => None,
        }
    }
}

/// Reads what the files hold.
///
/// # Errors
/// [`Fault`]; then nothing is to be used.
pub fn read(files: &dyn Files, kind: Kind, options: &Options) -> Result<Vec<Release>, Fault> {
    let one = |read: fn(&dyn Files, &Options) -> Result<Release, Fault>| {
        read(files, options).map(|release| vec![release])
    };
    match kind {
        Kind::Cvx => one(cvx::read),
        Kind::Fhir => fhir::read(files),
        Kind::Icd10Cm => one(icd10cm::read),
        Kind::Loinc => one(loinc::read),
        Kind::RxNorm => one(rxnorm::read),
        Kind::Snomed => one(rf2::read),
        Kind::Ucum => one(ucum::read),
    }
}

/// What a path ends in behind its last point, in lower case.
fn extension(path: &str) -> String {
    let name = file_name(path);
    name.rsplit_once('.').map_or_else(String::new, |(_, extension)| extension.to_lowercase())
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The one file whose name (lower case) passes.
fn find(files: &dyn Files, passes: impl Fn(&str) -> bool) -> Option<String> {
    let mut names = files.names();
    names.sort_unstable();
    names.into_iter().find(|name| passes(&file_name(name).to_lowercase()))
}

/// All of a file as text.
fn whole(files: &dyn Files, name: &str, most: u64) -> Result<Vec<u8>, Fault> {
    use std::io::Read as _;
    let unreadable = |source| Fault::Unreadable { file: name.to_owned(), source };
    let mut bytes = Vec::new();
    let reader = files.open(name).map_err(unreadable)?;
    reader.take(most + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most {
        return Err(Fault::of_file(name, format!("is larger than {most} bytes")));
    }
    Ok(bytes)
}
