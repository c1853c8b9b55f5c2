//! `kiln package`: makes definition packs, installs them, lists what is there.
//!
//! Reading and making packs is [`crate::spec::package`]; here are only files and words. A package is
//! installed when its pack is in the database: every node finds it there.
//!
//! Layer: 8. Imports `spec`, `store`.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use thiserror::Error;

use crate::config::Config;
use crate::spec::package::{self, Pack, PackError, PackageError, Section};
use crate::spec::{GUIDE_PACKS, R4_PACK};
use crate::store::maintenance;

use super::audit::note_command;
use super::database::Database;

/// The version of FHIR that packs must be for.
const FHIR_VERSION: &str = "4.0.1";
/// How a gzip file, and so a FHIR package, begins.
const GZIP: &[u8] = &[0x1f, 0x8b];

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

/// What can be done with packages.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a definition pack of a FHIR package (.tgz).
    #[command(after_help = "Example:\n  kiln package build hl7.fhir.us.core-6.1.0.tgz")]
    Build {
        /// The FHIR package.
        package: PathBuf,
        /// Where the pack is written.
        #[arg(long, default_value = ".")]
        out: PathBuf,
    },
    /// Put a FHIR package (.tgz) or a pack of one into the database: all nodes have it at once.
    #[command(after_help = "Example:\n  kiln package install hl7.fhir.us.core-6.1.0.tgz")]
    Install {
        /// The package or the pack.
        file: PathBuf,
    },
    /// Say which packs there are.
    #[command(after_help = "Example:\n  kiln package list")]
    List,
}

/// Runs a command about packages for who reads the standard output.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: Command, config: &Config) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout();
    match command {
        Command::Build { package, out: folder } => build(&package, &folder, &mut out),
        Command::Install { file } => install(&file, config, &mut out).await,
        Command::List => list(config, &mut out).await,
    }
}

/// Makes `<name>-<version>.pack` of a FHIR package (`.tgz`) in `folder` and tells so on `out`.
///
/// # Errors
/// [`CommandError`], or what writing to `out` says.
pub fn build(package: &Path, folder: &Path, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let bytes = made(package, &read(package)?)?;
    let pack = sound(package, &bytes)?;
    let path = folder.join(pack.file_name());
    write(&path, &bytes)?;
    writeln!(out, "wrote {} ({} bytes)", path.display(), bytes.len())?;
    describe(&pack, "", out)
}

/// Puts a pack, or the pack of a FHIR package (`.tgz`), into the database: it counts on every node at
/// once.
///
/// # Errors
/// [`CommandError`], what the database says, or what writing to `out` says.
pub async fn install(
    file: &Path,
    config: &Config,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let bytes = installable(file)?;
    let pack = sound(file, &bytes)?;
    let database = Database::open(config, true).await?;
    let store = &database.store;
    let present = maintenance::package_names(store).await;
    let text = format!("package {} {}", pack.name(), pack.version());
    let installed = match note_command(store, "kiln package install", &text).await {
        Ok(()) => maintenance::install_package(store, pack.name(), pack.version(), &bytes).await,
        Err(error) => Err(error),
    };
    database.close().await;
    installed?;
    writeln!(out, "installed {} {}", pack.name(), pack.version())?;
    tell_missing(&pack, &embedded().chain(present?).collect::<Vec<_>>(), out)
}

/// Says which packages there are, in the program and in the database where there is one, and what they
/// hold.
///
/// # Errors
/// [`CommandError`], what the database says, or what writing to `out` says.
pub async fn list(config: &Config, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    describe(&Pack::open(R4_PACK)?, " (in the program)", out)?;
    let counting = super::definitions::guides(config)?;
    for guide in GUIDE_PACKS {
        let counts = counting.contains(&guide);
        let remark = if counts { " (in the program)" } else { " (in the program, does not count)" };
        describe(&Pack::open(guide)?, remark, out)?;
    }
    // Nobody wants a database made by a look at what there is.
    if config.database.url.is_none() && !config.data_dir.exists() {
        return Ok(());
    }
    let database = Database::open(config, true).await?;
    let installed = maintenance::installed_packages(&database.store).await;
    database.close().await;
    for package in installed? {
        describe(&Pack::open(&package.pack)?, " (installed)", out)?;
    }
    Ok(())
}

/// The bytes of a pack that this server can use.
fn installable(file: &Path) -> Result<Vec<u8>, CommandError> {
    let mut bytes = read(file)?;
    if bytes.starts_with(GZIP) {
        bytes = made(file, &bytes)?;
    }
    let pack = sound(file, &bytes)?;
    if !pack.fhir_versions().is_empty() && !pack.fhir_versions().iter().any(|v| v == FHIR_VERSION) {
        return Err(CommandError::FhirVersion {
            name: pack.name().to_owned(),
            version: pack.version().to_owned(),
            found: pack.fhir_versions().join(", "),
        });
    }
    Ok(bytes)
}

/// Tells which of the packages that `pack` builds on are not among those `present`.
///
/// Guides name far more than they use, so a missing one does not refuse.
fn tell_missing(
    pack: &Pack<'_>,
    present: &[(String, String)],
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    for need in pack.dependencies() {
        let of_name = present.iter().filter(|(name, _)| *name == need.name);
        let versions: Vec<&str> = of_name.map(|(_, version)| &**version).collect();
        if versions.contains(&&*need.version) {
            continue;
        }
        let instead = match versions[..] {
            [] => "which is not installed; what it defines is unknown".to_owned(),
            _ => format!("instead of which {} is used", versions.join(", ")),
        };
        writeln!(out, "note: it builds on {} {}, {instead}", need.name, need.version)?;
    }
    Ok(())
}

/// Name and version of the packages in the program.
fn embedded() -> impl Iterator<Item = (String, String)> {
    let packs = std::iter::once(R4_PACK).chain(GUIDE_PACKS);
    let opened = packs.filter_map(|bytes| Pack::open(bytes).ok());
    opened.map(|pack| (pack.name().to_owned(), pack.version().to_owned()))
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

    #[test]
    fn the_embedded_packs_are_what_the_published_packages_give() {
        let packages = [
            "hl7.fhir.r4.core-4.0.1.tgz",
            "hl7.fhir.us.core-3.1.1.tgz",
            "hl7.fhir.us.core-6.1.0.tgz",
            "hl7.fhir.us.core-7.0.0.tgz",
            "hl7.fhir.uv.bulkdata-differential.tgz",
            "hl7.fhir.uv.ips-1.1.0.tgz",
            "hl7.fhir.uv.subscriptions-backport.r4-differential.tgz",
            "ihe.iti.balp-differential.tgz",
        ];
        let embedded = std::iter::once(R4_PACK).chain(GUIDE_PACKS);
        for (name, pack) in packages.into_iter().zip(embedded) {
            let Some(package) = published(name) else { return };
            let rebuilt = installable(&package).expect(name);
            let advice = "fhir-profiles/ is old: run `kiln package build` and commit its file";
            assert!(rebuilt == pack, "{name}: {advice}");
        }
    }

    /// A pack with nothing in it.
    fn empty(name: &str, fhir_version: &str, needs: &str) -> String {
        format!(
            r#"{{"kiln":"definition pack","format":1,"name":"{name}","version":"1.0","fhirVersions":["{fhir_version}"],"dependencies":{{{needs}}},"sections":[]}}"#
        ) + "\n"
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_reason() {
        let folder = Folder::new("refused");
        let file = folder.0.join("in");
        for (text, expected) in [
            (empty("r5", "5.0.0", ""), "r5 1.0 is for FHIR 5.0.0"),
            ("hello".to_owned(), "no header line"),
        ] {
            fs::write(&file, text).expect("writes");
            let error = installable(&file).expect_err(expected);
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            assert!(format!("{error}: {cause}").contains(expected), "{error}: {cause}");
        }
    }

    #[test]
    fn packages_that_are_missing_are_told() {
        let told = |needs: &str, present: &[(&str, &str)]| {
            let text = empty("mine", "4.0.1", needs);
            let pack = Pack::open(text.as_bytes()).expect("opens");
            let given = present.iter().map(|(name, at)| ((*name).to_owned(), (*at).to_owned()));
            let present: Vec<_> = embedded().chain(given).collect();
            let mut out = Vec::new();
            tell_missing(&pack, &present, &mut out).expect("tells");
            String::from_utf8(out).expect("text")
        };
        let core = r#""hl7.fhir.r4.core":"4.0.1""#;
        assert_eq!(told(core, &[]), "");
        let missing = told(r#""second":"2.0""#, &[]);
        assert!(missing.contains("builds on second 2.0, which is not installed"), "{missing}");
        let other = told(r#""second":"2.0""#, &[("second", "1.0")]);
        assert!(other.contains("second 2.0, instead of which 1.0 is used"), "{other}");
    }

    #[test]
    fn a_built_pack_is_named_after_its_package() {
        let Some(package) = published("ihe.iti.balp-differential.tgz") else { return };
        let folder = Folder::new("build");
        build(&package, &folder.0, &mut Vec::new()).expect("builds");
        let names: Vec<_> = fs::read_dir(&folder.0)
            .expect("reads")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        assert_eq!(names, ["ihe.iti.balp-differential.pack"]);
    }
}
