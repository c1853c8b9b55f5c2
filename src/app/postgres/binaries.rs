//! Finding the programs of an installed PostgreSQL server.
//!
//! Layer: 8.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::folder::Folder;
use super::{PostgresError, SUPPORTED};

/// Folders with one subfolder for each version: what stands before and after its name.
const VERSIONED: &[(&str, &str)] = &[
    ("/usr/lib/postgresql", "bin"),
    ("/usr/libexec", ""),
    ("/usr/lib", "bin"),
    ("/usr", "bin"),
    ("/opt/homebrew/opt", "bin"),
    ("/usr/local/opt", "bin"),
];

/// Folders that hold the programs themselves.
const PLAIN: &[&str] = &["/usr/local/pgsql/bin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/bin"];

/// The programs of one PostgreSQL.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    /// Its major version.
    pub(super) major: u32,
    folder: PathBuf,
}

impl Binaries {
    /// Takes `configured` when given, else the first place with a version that we support, or
    /// with exactly `wanted` for a folder that exists already.
    pub(super) fn find(
        configured: Option<&Path>,
        folder: Option<&Folder>,
        wanted: Option<u32>,
    ) -> Result<Self, PostgresError> {
        let places: Box<dyn Iterator<Item = PathBuf>> = match configured {
            Some(place) => Box::new(std::iter::once(place.to_owned())),
            None => Box::new(usual_places(folder)),
        };
        let mut found = Vec::new();
        let mut looked_in: Vec<String> = Vec::new();
        for place in places {
            let Some(major) = major_in(&place) else {
                looked_in.push(format!("{}: no server", place.display()));
                continue;
            };
            let fits = wanted.map_or(SUPPORTED.contains(&major), |wanted| wanted == major);
            if fits {
                return Ok(Self { major, folder: place });
            }
            looked_in.push(format!("{}: version {major}", place.display()));
            found.push(major.to_string());
        }
        found.sort();
        found.dedup();
        match wanted {
            Some(cluster) if !found.is_empty() || !SUPPORTED.contains(&cluster) => {
                let folder = folder.map(|folder| folder.cluster.clone()).unwrap_or_default();
                Err(PostgresError::OtherMajor { folder, cluster, found })
            }
            _ => Err(PostgresError::NoBinaries { looked_in }),
        }
    }

    /// The path of one program.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// What to do when nothing was found.
pub(super) fn advice(looked_in: &[String]) -> String {
    let (oldest, newest) = (SUPPORTED.start(), SUPPORTED.end());
    format!(
        "no PostgreSQL server (version {oldest} to {newest}) is installed, and `database.url` \
         names none. One of these helps:\n  \
         make deps                                (finds out what your system needs)\n  \
         sudo apt-get install postgresql          (Debian, Ubuntu)\n  \
         sudo dnf install postgresql-server       (Fedora, Red Hat)\n  \
         sudo apk add postgresql17                (Alpine)\n  \
         brew install postgresql@17               (macOS)\n  \
         set `database.postgres_bin` to the folder of `postgres` and `initdb`\n  \
         set `database.url` to a PostgreSQL that runs elsewhere\n\
         Looked in:\n  {}",
        looked_in.join("\n  ")
    )
}

/// Candidates, best first; lazily, because asking costs processes.
fn usual_places(folder: Option<&Folder>) -> impl Iterator<Item = PathBuf> + use<> {
    let last = folder.and_then(Folder::last_program);
    std::iter::once_with(move || last)
        .flatten()
        .chain(std::iter::once_with(|| said_by("pg_config", &["--bindir"])).flatten())
        .chain(std::iter::once_with(versioned_places).flatten())
        .chain(PLAIN.iter().map(PathBuf::from))
        .chain(std::iter::once_with(on_the_path).flatten())
}

/// The versioned folders that exist, newest version first.
fn versioned_places() -> Vec<PathBuf> {
    let mut places: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, rest) in VERSIONED {
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let digits = name.to_str().map(version_digits).unwrap_or_default();
            if let Ok(major) = digits.parse() {
                places.push((major, entry.path().join(rest)));
            }
        }
    }
    places.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    places.into_iter().map(|(_, place)| place).collect()
}

/// The version in the name of a folder: `17`, `postgresql17`, `postgresql@17`, `pgsql-17`.
fn version_digits(name: &str) -> &str {
    let rest = name.strip_prefix("postgresql").or_else(|| name.strip_prefix("pgsql"));
    rest.unwrap_or(name).trim_start_matches(['@', '-'])
}

fn on_the_path() -> Option<PathBuf> {
    let program = said_by("sh", &["-c", "command -v postgres"])?;
    Some(program.canonicalize().ok()?.parent()?.to_owned())
}

/// The first line that a program prints, as a path.
fn said_by(program: &str, arguments: &[&str]) -> Option<PathBuf> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next().unwrap_or_default().trim();
    (output.status.success() && !line.is_empty()).then(|| PathBuf::from(line))
}

/// The major version of the server in `place`, when there is a whole one.
fn major_in(place: &Path) -> Option<u32> {
    if !place.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(place.join("postgres")).arg("--version").output().ok()?;
    major_of(&String::from_utf8(output.stdout).ok()?)
}

/// Reads `postgres (PostgreSQL) 17.2 (Debian ...)`, `18beta1` included.
fn major_of(version: &str) -> Option<u32> {
    let (_, rest) = version.split_once("(PostgreSQL) ")?;
    let digits =
        rest.find(|letter: char| !letter.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_the_server_says() {
        for (text, expected) in [
            ("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1\n", Some(18)),
            ("postgres (PostgreSQL) 17\n", Some(17)),
            ("postgres (EnterpriseDB) 9\n", None),
            ("", None),
        ] {
            assert_eq!(major_of(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_folder_tells_its_version_in_each_distribution() {
        for (name, expected) in [
            ("17", "17"),
            ("postgresql17", "17"),
            ("postgresql@16", "16"),
            ("pgsql-18", "18"),
            ("python3", "python3"),
        ] {
            assert_eq!(version_digits(name), expected, "{name}");
        }
    }

    #[test]
    fn the_advice_names_the_packages() {
        let text = advice(&["/x: no server".to_owned()]);
        for needle in ["apt-get install", "dnf install", "brew install", "make deps", "/x"] {
            assert!(text.contains(needle), "{needle}: {text}");
        }
    }
}
