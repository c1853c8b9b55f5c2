//! `kiln package`: makes definition packs, installs them, lists what is there.
//!
//! Reading and making packs is [`crate::spec::package`]; here are only files and words. A pack
//! is installed when it is in the folder `packages` of the data folder.
//!
//! Layer: 8. Imports `spec`.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::spec::R4_PACK;
use crate::spec::package::{self, Pack, PackError, PackageError, Section};

/// The version of FHIR that packs must be for.
const FHIR_VERSION: &str = "4.0.1";
/// How a gzip file, and so a FHIR package, begins.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// What `kiln package` is asked to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Command {
    /// Make `<name>-<version>.pack` of a FHIR package.
    Build {
        /// The package (`.tgz`).
        package: PathBuf,
        /// The folder that the pack is written to.
        folder: PathBuf,
    },
    /// Put a pack (or the pack of a FHIR package) into the data folder.
    Install {
        /// The pack, or the package (`.tgz`) to make it of.
        file: PathBuf,
        /// The server's data folder.
        data_dir: PathBuf,
    },
    /// Say which packs there are, and what they hold.
    List {
        /// The server's data folder.
        data_dir: PathBuf,
    },
}

/// Why a package command did not do what it was asked.
#[derive(Debug, Error)]
pub enum CommandError {
    /// A package cannot be made into a pack.
    #[error("{}", path.display())]
    Build {
        /// The package.
        path: PathBuf,
        /// The reason.
        source: PackageError,
    },
    /// Some installed packs cannot be read; the list says which.
    #[error("{0} of the installed packs cannot be read")]
    Damaged(usize),
    /// The pack is for another version of FHIR.
    #[error("{name} {version} is for FHIR {found}, this server has FHIR {FHIR_VERSION}")]
    FhirVersion {
        /// The package's name.
        name: String,
        /// The package's version.
        version: String,
        /// The version or versions that it is for.
        found: String,
    },
    /// A file or folder cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A file is no sound pack.
    #[error("{}", path.display())]
    Pack {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: PackError,
    },
}

/// Does what `command` says and writes what there is to say to `out`.
///
/// # Errors
/// [`CommandError`], or what writing to `out` says.
pub fn run(command: &Command, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Build { package, folder } => build(package, folder, out),
        Command::Install { file, data_dir } => install(file, &folder_of(data_dir), out),
        Command::List { data_dir } => list(&folder_of(data_dir), out),
    }
}

fn folder_of(data_dir: &Path) -> PathBuf {
    data_dir.join("packages")
}

fn build(package: &Path, folder: &Path, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let bytes = made(package, &read(package)?)?;
    let pack = sound(package, &bytes)?;
    let path = folder.join(pack.file_name());
    write(&path, &bytes)?;
    writeln!(out, "wrote {} ({} bytes)", path.display(), bytes.len())?;
    describe(&pack, "", out)
}

fn install(file: &Path, folder: &Path, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let mut bytes = read(file)?;
    if bytes.starts_with(GZIP) {
        bytes = made(file, &bytes)?;
    }
    let pack = sound(file, &bytes)?;
    if !pack.fhir_versions().is_empty() && !pack.fhir_versions().iter().any(|v| v == FHIR_VERSION) {
        return Err(Box::new(CommandError::FhirVersion {
            name: pack.name().to_owned(),
            version: pack.version().to_owned(),
            found: pack.fhir_versions().join(", "),
        }));
    }
    let present = present(folder)?;
    fs::create_dir_all(folder).map_err(|source| file_error(folder, source))?;
    let path = folder.join(pack.file_name());
    write(&path, &bytes)?;
    writeln!(out, "installed {} {} as {}", pack.name(), pack.version(), path.display())?;
    for need in pack.dependencies() {
        let versions: Vec<&str> = present
            .iter()
            .filter(|(name, _)| *name == need.name)
            .map(|(_, version)| &**version)
            .collect();
        if versions.contains(&&*need.version) {
            continue;
        }
        // Guides name far more than they use, so a missing one is told and does not refuse.
        let instead = match versions[..] {
            [] => "which is not installed; what it defines is unknown".to_owned(),
            _ => format!("instead of which {} is used", versions.join(", ")),
        };
        writeln!(out, "note: it builds on {} {}, {instead}", need.name, need.version)?;
    }
    Ok(())
}

fn list(folder: &Path, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    describe(&Pack::open(R4_PACK)?, " (in the program)", out)?;
    let mut damaged = 0;
    for path in packs_in(folder)? {
        let bytes = read(&path)?;
        match sound(&path, &bytes) {
            Ok(pack) => describe(&pack, "", out)?,
            Err(error) => {
                damaged += 1;
                let reason = error.source().map(ToString::to_string).unwrap_or_default();
                writeln!(out, "{error}: {reason}")?;
            }
        }
    }
    if damaged > 0 { Err(Box::new(CommandError::Damaged(damaged))) } else { Ok(()) }
}

fn describe(pack: &Pack<'_>, remark: &str, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    writeln!(out, "{} {}{remark}", pack.name(), pack.version())?;
    for section in Section::ALL {
        let count = pack.count(section);
        if count > 0 {
            writeln!(out, "  {count:>5} {}", section.as_str())?;
        }
    }
    Ok(())
}

/// Name and version of every pack that can be read, the embedded one included.
fn present(folder: &Path) -> Result<Vec<(String, String)>, CommandError> {
    let mut found = Vec::new();
    let mut add = |bytes: &[u8]| {
        if let Ok(pack) = Pack::open(bytes) {
            found.push((pack.name().to_owned(), pack.version().to_owned()));
        }
    };
    add(R4_PACK);
    for path in packs_in(folder)? {
        add(&read(&path)?);
    }
    Ok(found)
}

/// The pack files of the folder by name; none when there is no folder.
fn packs_in(folder: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(file_error(folder, source)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| file_error(folder, source))?.path();
        if path.extension().is_some_and(|extension| extension == "pack") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn made(package: &Path, bytes: &[u8]) -> Result<Vec<u8>, CommandError> {
    package::build(bytes).map_err(|source| CommandError::Build { path: package.to_owned(), source })
}

/// Opens the pack and reads all of it.
fn sound<'b>(path: &Path, bytes: &'b [u8]) -> Result<Pack<'b>, CommandError> {
    let read = || {
        let pack = Pack::open(bytes)?;
        pack.records(Section::Invariants)?.iter().try_for_each(|record| record.map(drop))?;
        pack.contents()?;
        Ok(pack)
    };
    read().map_err(|source| CommandError::Pack { path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    fs::read(path).map_err(|source| file_error(path, source))
}

/// Writes the whole file or nothing: a crash never leaves half a pack.
fn write(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    let draft = path.with_extension("pack.new");
    let put = || {
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    put().map_err(|source| file_error(path, source))
}

fn file_error(path: &Path, source: std::io::Error) -> CommandError {
    CommandError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for one test, gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("kiln-package-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("creates");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A published package; `None` (said aloud) where the shared test data is not at hand.
    #[expect(clippy::disallowed_methods, reason = "where test data lies is no setting of Kiln's")]
    fn published(name: &str) -> Option<PathBuf> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
        let shared = std::env::var_os("KILN_SHARED").map_or(beside, PathBuf::from);
        let path = shared.join("packages").join(name);
        if path.exists() {
            return Some(path);
        }
        let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!is_ci, "{} is missing", path.display());
        eprintln!("skipped: {} is missing (set KILN_SHARED)", path.display());
        None
    }

    fn said(command: &Command) -> String {
        let mut out = Vec::new();
        run(command, &mut out).expect("runs");
        String::from_utf8(out).expect("text")
    }

    fn refused(command: &Command) -> String {
        let error = run(command, &mut Vec::new()).expect_err("is refused");
        format!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default())
    }

    #[test]
    fn the_embedded_pack_is_what_the_published_package_gives() {
        let Some(package) = published("hl7.fhir.r4.core-4.0.1.tgz") else { return };
        let rebuilt = package::build(&fs::read(package).expect("reads")).expect("builds");
        let advice = "fhir-profiles/ is old: run `kiln package build` and commit its file";
        assert!(rebuilt == R4_PACK, "{advice}");
    }

    #[test]
    fn every_published_package_becomes_a_pack_and_installs() {
        let folder = Folder::new("published");
        for (name, counted) in [
            ("hl7.fhir.us.core-3.1.1.tgz", "30 profiles"),
            ("hl7.fhir.us.core-6.1.0.tgz", "106 search-parameters"),
            ("hl7.fhir.us.core-7.0.0.tgz", "63 profiles"),
            ("hl7.fhir.uv.bulkdata-differential.tgz", "7 operations"),
            ("hl7.fhir.uv.ips-1.1.0.tgz", "60 value-sets"),
            ("hl7.fhir.uv.subscriptions-backport.r4-differential.tgz", "13 profiles"),
            ("ihe.iti.balp-differential.tgz", "21 profiles"),
        ] {
            let Some(file) = published(name) else { return };
            let said = said(&Command::Install { file, data_dir: folder.0.clone() });
            assert!(said.starts_with("installed "), "{name}: {said}");
            assert!(!said.contains("hl7.fhir.r4.core"), "{name} finds R4 itself: {said}");
            let listed = self::said(&Command::List { data_dir: folder.0.clone() });
            assert!(listed.contains(counted), "{name}: {listed}");
        }
    }

    /// A pack with nothing in it.
    fn empty(name: &str, fhir_version: &str, needs: &str) -> String {
        format!(
            r#"{{"kiln":"definition pack","format":1,"name":"{name}","version":"1.0","fhirVersions":["{fhir_version}"],"dependencies":{{{needs}}},"sections":[]}}"#
        ) + "\n"
    }

    #[test]
    fn install_tells_missing_dependencies_and_refuses_other_versions_of_fhir() {
        let folder = Folder::new("install");
        let file = folder.0.join("in");
        let install = Command::Install { file: file.clone(), data_dir: folder.0.clone() };
        let put = |text: &str| fs::write(&file, text).expect("writes");
        put(&empty("r5", "5.0.0", ""));
        assert!(refused(&install).starts_with("r5 1.0 is for FHIR 5.0.0"));
        put("hello");
        assert!(refused(&install).contains("no header line"));
        assert!(!folder.0.join("packages").exists(), "a refusal leaves nothing behind");
        put(&empty("first", "4.0.1", r#""hl7.fhir.r4.core":"4.0.1","second":"2.0""#));
        let said_first = said(&install);
        assert!(
            said_first.contains("builds on second 2.0, which is not installed"),
            "{said_first}"
        );
        assert!(!said_first.contains("core"), "{said_first}");
        put(&empty("second", "4.0.1", r#""first":"0.9""#));
        let said_second = said(&install);
        assert!(said_second.contains("first 0.9, instead of which 1.0 is used"), "{said_second}");
    }

    #[test]
    fn list_shows_the_embedded_pack_and_names_a_damaged_one() {
        let folder = Folder::new("list");
        let list = Command::List { data_dir: folder.0.clone() };
        let said = said(&list);
        assert!(said.starts_with("hl7.fhir.r4.core 4.0.1 (in the program)\n"), "{said}");
        assert!(said.contains(" 1400 search-parameters"), "{said}");
        fs::create_dir_all(folder.0.join("packages")).expect("creates");
        fs::write(folder.0.join("packages/x.pack"), "hello").expect("writes");
        assert!(refused(&list).starts_with("1 of the installed packs"));
    }

    #[test]
    fn a_built_pack_is_named_after_its_package() {
        let Some(package) = published("ihe.iti.balp-differential.tgz") else { return };
        let folder = Folder::new("build");
        said(&Command::Build { package, folder: folder.0.clone() });
        let names: Vec<_> = fs::read_dir(&folder.0)
            .expect("reads")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        assert_eq!(names, ["ihe.iti.balp-differential.pack"]);
    }
}
