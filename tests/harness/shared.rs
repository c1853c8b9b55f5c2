//! The published packages and suites beside the project, which are never part of it.

use std::io::Read as _;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use kiln::clock::{Clock as _, SystemClock};

/// A file of the shared folder (`KILN_SHARED`, or `../shared`); `None` with a word about it when
/// the folder is not at hand.
///
/// # Panics
/// When `CI` is `true` and the file is not there.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared");
    let folder = std::env::var_os("KILN_SHARED").map_or_else(|| beside.into(), PathBuf::from);
    let file = folder.join(path);
    if file.exists() {
        return Some(file);
    }
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "{} is not there, and CI may not skip it", file.display());
    eprintln!("skipped: {} is not there (set KILN_SHARED)", file.display());
    None
}

/// The files of a `.tar.gz` in the shared folder, with their names.
pub(crate) fn archive(path: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let file = std::fs::File::open(shared(path)?).unwrap();
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if entry.header().entry_type().is_file() {
            found.push((name, bytes));
        }
    }
    Some(found)
}

/// Whether the long form of a test is asked for (`KILN_TEST_LONG=1`).
pub(crate) fn long() -> bool {
    std::env::var_os("KILN_TEST_LONG").is_some_and(|value| value == "1")
}

/// The seed of the random data that a test is to use alone (`KILN_TEST_SEED`): that which failed.
///
/// # Panics
/// When it is no number.
pub(crate) fn seed() -> Option<u64> {
    std::env::var("KILN_TEST_SEED")
        .ok()
        .map(|text| text.parse().expect("KILN_TEST_SEED is a number"))
}

/// The seed of a test of the record (`KILN_AUDIT_SEED`): that which failed, else one of the clock. Who takes it prints
/// it.
///
/// # Panics
/// When it is no number.
pub(crate) fn audit_seed() -> u64 {
    let of_clock = || SystemClock.now().as_micros().cast_unsigned();
    std::env::var("KILN_AUDIT_SEED")
        .map_or_else(|_| of_clock(), |text| text.parse().expect("KILN_AUDIT_SEED is a number"))
}

/// Whether a file's name ends in `.ending`.
pub(crate) fn has_ending(path: &str, ending: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|found| found == ending)
}
