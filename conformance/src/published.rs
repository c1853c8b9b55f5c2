//! The published data that opinions are asked about.

#![expect(
    clippy::disallowed_methods,
    reason = "where the data is and how much to run is told to tests"
)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use flate2::read::{DeflateDecoder, GzDecoder};

/// The bytes of `path` inside the shared folder; `None`, with a word about it, when it is not
/// there.
///
/// # Panics
/// In CI (`CI=true`) when the file is missing.
pub fn file(path: &str) -> Option<Vec<u8>> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let full = std::env::var_os("KILN_SHARED").map_or(beside, PathBuf::from).join(path);
    let bytes = std::fs::read(&full).ok();
    if bytes.is_none() {
        let in_ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!in_ci, "{} is missing", full.display());
        eprintln!("skipped: {} is not there", full.display());
    }
    bytes
}

/// Whether the full numbers are asked for (`make test-long`), not a sample.
pub fn is_long() -> bool {
    std::env::var_os("KILN_TEST_LONG").is_some()
}

/// The published R4 examples in JSON, by file name.
///
/// # Panics
/// When the archive is damaged.
pub fn examples() -> Option<BTreeMap<String, Vec<u8>>> {
    let packed = file("suites/examples-r4-json.tar.gz")?;
    let mut archive = tar::Archive::new(GzDecoder::new(&*packed));
    let mut files = BTreeMap::new();
    for entry in archive.entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry of the archive");
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().expect("a path").into_owned();
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("the content of an entry");
        files.insert(name, bytes);
    }
    Some(files)
}

/// The first file of a ZIP archive, unpacked; `None` when `archive` is not one.
///
/// Enough for an archive of a single deflated file: sizes and checksum are not looked at, the
/// deflate stream knows its end.
pub fn first_of_zip(archive: &[u8]) -> Option<Vec<u8>> {
    const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
    const DEFLATED: u16 = 8;
    let word = |at: usize| Some(u16::from_le_bytes([*archive.get(at)?, *archive.get(at + 1)?]));
    if !archive.starts_with(LOCAL_HEADER) || word(8)? != DEFLATED {
        return None;
    }
    let start = 30 + usize::from(word(26)?) + usize::from(word(28)?);
    let mut out = Vec::new();
    DeflateDecoder::new(archive.get(start..)?).read_to_end(&mut out).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_zip_is_refused() {
        for bytes in [&b""[..], b"PK", b"PK\x03\x04", &[b'P'; 64]] {
            assert_eq!(first_of_zip(bytes), None, "{bytes:?}");
        }
    }
}
