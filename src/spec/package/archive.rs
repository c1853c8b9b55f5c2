//! A FHIR package's archive: the JSON files directly in its `package/` folder.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use tar::Archive;

/// The longest file that is read.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// The most that a whole archive may unpack to.
const MAX_ARCHIVE_BYTES: u64 = 4 << 30;

/// Hands each definition file of the archive to `visit`: its name and its bytes.
///
/// Folders below `package/` (examples, openapi) and hidden index files are passed over.
///
/// # Errors
/// What the archive reader says, or what `visit` says.
pub fn each_file<E: From<io::Error>>(
    tgz: &[u8],
    mut visit: impl FnMut(&str, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = Archive::new(GzDecoder::new(tgz).take(MAX_ARCHIVE_BYTES));
    let mut bytes = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let Some(name) = definition_file(&path) else { continue };
        bytes.clear();
        (&mut entry).take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(io::Error::other(format!("{name} is too large")).into());
        }
        visit(name, &bytes)?;
    }
    Ok(())
}

/// The file's name when `path` is a JSON file directly in `package/`.
fn definition_file(path: &str) -> Option<&str> {
    let name = path.strip_prefix("./").unwrap_or(path).strip_prefix("package/")?;
    let is_json = Path::new(name).extension().is_some_and(|extension| extension == "json");
    (is_json && !name.contains('/') && !name.starts_with('.')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::definition_file;

    #[test]
    fn only_json_files_directly_in_the_package_folder_count() {
        for (path, expected) in [
            ("package/package.json", Some("package.json")),
            ("./package/ValueSet-x.json", Some("ValueSet-x.json")),
            ("package/.index.json", None),
            ("package/example/Patient-x.json", None),
            ("package/x.xml", None),
            ("other/x.json", None),
            ("package", None),
        ] {
            assert_eq!(definition_file(path), expected, "{path:?}");
        }
    }
}
