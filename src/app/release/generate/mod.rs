//! `kiln terminology generate`: files in the shape and size of real releases.
//!
//! The content of the real ones is licensed. What is made up here has their columns, the form of
//! their identifiers (check digits included), and about as many names, relationships and levels; the same
//! seed gives the same files.

mod classification;
mod drugs;
mod loinc;
pub(in crate::app) mod snomed;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::app::demo::random::Random;

/// `kiln terminology generate`: what to make.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::app) struct GenerateArgs {
    /// In whose shape.
    pub(super) kind: Generated,
    /// The folder for the files.
    #[arg(long, value_name = "DIR")]
    pub(super) out: PathBuf,
    /// How many concepts; by default about as many as the real release has.
    #[arg(long, value_name = "N")]
    pub(super) concepts: Option<u32>,
    /// Seed of the content.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

/// Whose shape can be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(in crate::app) enum Generated {
    /// The CDC's vaccine codes.
    Cvx,
    /// The order file of ICD-10-CM.
    #[value(name = "icd-10-cm")]
    Icd10Cm,
    /// LOINC.
    Loinc,
    /// RxNorm.
    #[value(name = "rxnorm")]
    RxNorm,
    /// SNOMED CT.
    Snomed,
}

/// Makes the files.
///
/// # Errors
/// What the system says.
pub(in crate::app) fn run(args: &GenerateArgs) -> io::Result<()> {
    let GenerateArgs { kind, out, concepts, seed } = args;
    let count = |usual: u32| concepts.unwrap_or(usual).max(1);
    match kind {
        Generated::Cvx => classification::cvx(out, count(300), *seed),
        Generated::Icd10Cm => classification::icd10cm(out, count(97_000), *seed),
        Generated::Loinc => loinc::write(out, count(100_000), *seed),
        Generated::RxNorm => drugs::write(out, count(120_000), *seed),
        Generated::Snomed => snomed::write(out, count(snomed::CONCEPTS), *seed),
    }
}

/// Makes a file and the folders above it.
fn create(folder: &Path, name: &str) -> io::Result<BufWriter<File>> {
    let path = folder.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    File::create(path).map(|file| BufWriter::with_capacity(1 << 18, file))
}

/// Ends a file: what is still in memory may not fit on the disk.
fn close(mut file: BufWriter<File>) -> io::Result<()> {
    file.flush()
}

/// A word that means nothing.
fn word(random: &mut Random) -> String {
    const SYLLABLES: [&str; 24] = [
        "ba", "cer", "do", "fen", "gli", "hal", "ir", "jo", "kel", "lu", "mor", "na", "op", "pel",
        "qui", "ros", "sta", "tri", "ul", "ver", "wen", "xan", "yl", "zo",
    ];
    (0..random.between(2, 4)).map(|_| *random.pick(&SYLLABLES)).collect()
}

/// Words, the first one capitalized.
fn phrase(random: &mut Random, words: i64) -> String {
    let mut text = String::new();
    for at in 0..words {
        let next = word(random);
        if at == 0 {
            text.extend(next.chars().take(1).map(|letter| letter.to_ascii_uppercase()));
            text.push_str(&next[1..]);
        } else {
            text.push(' ');
            text.push_str(&next);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::files::Folder;
    use super::*;
    use crate::terminology::release::{self, Files as _, Kind, Options, Release};

    fn read(kind: Generated, concepts: u32) -> Release {
        let name = format!("kiln-generate-{}-{kind:?}-{concepts}", std::process::id());
        let out = std::env::temp_dir().join(name);
        let args = GenerateArgs { kind, out: out.clone(), concepts: Some(concepts), seed: 7 };
        run(&args).expect("writes");
        let folder = Folder::new(std::slice::from_ref(&out)).expect("reads");
        let found = Kind::of(&folder.names()).expect("its names tell");
        let releases = release::read(&folder, found, &Options::default());
        fs::remove_dir_all(&out).expect("cleans up");
        releases.expect("reads what was written").remove(0)
    }

    #[test]
    fn what_is_generated_is_read_as_what_it_looks_like() {
        for (kind, url, at_least) in [
            (Generated::Cvx, "http://hl7.org/fhir/sid/cvx", 50),
            (Generated::Icd10Cm, "http://hl7.org/fhir/sid/icd-10-cm", 500),
            (Generated::Loinc, "http://loinc.org", 1_000),
            (Generated::RxNorm, "http://www.nlm.nih.gov/research/umls/rxnorm", 1_000),
            (Generated::Snomed, "http://snomed.info/sct", 4_000),
        ] {
            let release = read(kind, at_least);
            let concepts = &release.concepts;
            assert_eq!(&*release.url, url);
            assert!(concepts.len() >= at_least as usize, "{kind:?}: {}", concepts.len());
            let named = concepts.all().filter(|at| concepts.display(*at).is_some()).count();
            assert_eq!(named, concepts.len(), "{kind:?}");
        }
    }

    #[test]
    fn generated_snomed_ct_is_as_its_plan_says() {
        let plan = snomed::Plan::new(5_000, 7);
        let concepts = read(Generated::Snomed, 5_000).concepts;
        let root = concepts.find(&snomed::code(0)).expect("the root");
        for at in [1, 40, 300, 4_000] {
            let place = concepts.find(&snomed::code(at)).expect("a concept");
            assert!(concepts.subsumes(root, place));
            let mut parents: Vec<u32> = plan
                .parents(at)
                .iter()
                .map(|parent| concepts.find(&snomed::code(*parent)).expect("a parent"))
                .collect();
            parents.sort_unstable();
            parents.dedup();
            assert_eq!(concepts.parents(place), parents, "{at}");
        }
    }
}
