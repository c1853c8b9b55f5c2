//! A FHIR package's archive: the JSON files directly in its `package/` folder.
//!
//! What it reads may come from anywhere: it follows no links, takes no paths that lead out of the
//! archive, and unpacks at most a bounded multiple of what was given.

use std::io::{self, Read};
use std::path::{Component, Path};

use flate2::read::GzDecoder;
use tar::Archive;

/// The longest file that is read.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// The most that an archive may unpack to: this, and so many times its own size, but never more than
/// the last. Packages of definitions are packed to a tenth.
const FREE_BYTES: u64 = 64 << 20;
const MAX_RATIO: u64 = 100;
const MAX_ARCHIVE_BYTES: u64 = 1 << 30;
/// The most entries of an archive: the largest packages have some ten thousand.
const MAX_ENTRIES: usize = 100_000;

/// Hands each definition file of the archive to `visit`: its name and its bytes.
///
/// Folders below `package/` (examples, openapi) and hidden index files are passed over.
///
/// # Errors
/// What the archive reader says, what leads out of the archive or unpacks to too much, or what `visit`
/// says.
pub fn each_file<E: From<io::Error>>(
    tgz: &[u8],
    mut visit: impl FnMut(&str, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let limit = FREE_BYTES.saturating_add(MAX_RATIO.saturating_mul(tgz.len() as u64));
    let limit = limit.min(MAX_ARCHIVE_BYTES);
    let mut archive = Archive::new(Bounded { inner: GzDecoder::new(tgz), left: limit, limit });
    let mut bytes = Vec::new();
    for (count, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        if count >= MAX_ENTRIES {
            return Err(io::Error::other(format!("it has more than {MAX_ENTRIES} entries")).into());
        }
        let path = entry.path()?.into_owned();
        let name = path.to_string_lossy();
        if leads_out(&path) {
            return Err(io::Error::other(format!("{name} lies outside of the package")).into());
        }
        let Some(file) = definition_file(&name) else { continue };
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            return Err(io::Error::other(format!("{name} is a link")).into());
        }
        if entry.size() > MAX_FILE_BYTES {
            let reason = format!("{name} has more than {MAX_FILE_BYTES} bytes");
            return Err(io::Error::other(reason).into());
        }
        bytes.clear();
        entry.read_to_end(&mut bytes)?;
        visit(file, &bytes)?;
    }
    Ok(())
}

/// A reader that fails once it gave more than `limit` bytes.
struct Bounded<R> {
    inner: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        let left = self.left.checked_sub(count as u64);
        let reason = || format!("it unpacks to more than {} bytes", self.limit);
        self.left = left.ok_or_else(|| io::Error::other(reason()))?;
        Ok(count)
    }
}

/// Whether a path is not one below the folder that an archive is unpacked in.
fn leads_out(path: &Path) -> bool {
    let is_inner = |part: Component<'_>| matches!(part, Component::CurDir | Component::Normal(_));
    !path.components().all(is_inner)
}

/// The file's name when `path` is a JSON file directly in `package/`.
fn definition_file(path: &str) -> Option<&str> {
    let name = path.strip_prefix("./").unwrap_or(path).strip_prefix("package/")?;
    let is_json = Path::new(name).extension().is_some_and(|extension| extension == "json");
    (is_json && !name.contains('/') && !name.starts_with('.')).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{EntryType, Header};

    use super::*;

    /// One entry's header, its name written as it is.
    fn header(name: &str, kind: EntryType, size: u64) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        if kind == EntryType::Symlink || kind == EntryType::Link {
            header.set_link_name("/etc/passwd").expect("short");
        }
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn packed(parts: &[&[u8]]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        for part in parts {
            packed.write_all(part).expect("writes");
        }
        packed.write_all(&[0; 1024]).and_then(|()| packed.finish()).expect("finishes")
    }

    fn outcome(tgz: &[u8]) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        let read = each_file(tgz, |name, _| {
            names.push(name.to_owned());
            Ok::<_, io::Error>(())
        });
        read.map(|()| names).map_err(|error| error.to_string())
    }

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

    #[test]
    fn what_leads_out_of_the_archive_is_refused() {
        let file = EntryType::Regular;
        for (name, kind, expected) in [
            ("package/a.json", file, Ok(vec!["a.json".to_owned()])),
            ("package/../../a.json", file, Err("package/../../a.json lies outside")),
            ("/package/a.json", file, Err("/package/a.json lies outside")),
            ("../a", file, Err("../a lies outside")),
            ("package/a.json", EntryType::Symlink, Err("package/a.json is a link")),
            ("package/a.json", EntryType::Link, Err("package/a.json is a link")),
            ("package/a.json", EntryType::Directory, Ok(vec!["a.json".to_owned()])),
        ] {
            let found = outcome(&packed(&[&header(name, kind, 0)]));
            match (found, expected) {
                (Ok(names), Ok(expected)) => assert_eq!(names, expected, "{name}"),
                (Err(reason), Err(expected)) => {
                    assert!(reason.starts_with(expected), "{name}: {reason}");
                }
                (found, _) => panic!("{name} {kind:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        // Within the limit of a file, and far beyond that of the archive it came in.
        let size = 20_u64 << 20;
        let zeros = vec![0; 20 << 20];
        let entries: Vec<Vec<u8>> =
            (0..5).map(|at| header(&format!("other/{at}"), EntryType::Regular, size)).collect();
        let parts: Vec<&[u8]> = entries.iter().flat_map(|entry| [&entry[..], &zeros]).collect();
        let bomb = packed(&parts);
        assert!(bomb.len() < 200_000, "{}", bomb.len());
        let reason = outcome(&bomb).expect_err("is a bomb");
        assert!(reason.starts_with("it unpacks to more than "), "{reason}");
        let long = header("package/a.json", EntryType::Regular, MAX_FILE_BYTES + 1);
        let reason = outcome(&packed(&[&long])).expect_err("is too long");
        assert_eq!(reason, "package/a.json has more than 268435456 bytes");
    }
}
