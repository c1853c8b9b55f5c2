//! Packages that were installed: their packs, and the definitions in them.
//!
//! They count beside stored resources, behind them: [`definitions`](super::definitions) and the search
//! parameters have both, and the marks of both change with the packages.

use sqlx::FromRow;

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::fhir::json::Value;
use crate::spec::package::{Pack, PackError, Section};

use super::super::{Store, failure};

const ALL: &str = "SELECT id, name, version, pack FROM package ORDER BY id";

const LIST: &str = "SELECT name, version FROM package ORDER BY id";

/// Changes whenever a package is installed.
macro_rules! mark_of_packages {
    () => {
        "(SELECT count(*) || ':' || coalesce(sum(id), 0) FROM package)"
    };
}
pub(super) use mark_of_packages;

const MARK: &str = concat!("SELECT ", mark_of_packages!());

const INSTALL: &str = "INSERT INTO package (name, version, pack) VALUES ($1, $2, $3) \
     ON CONFLICT (name, version) DO UPDATE SET id = DEFAULT, pack = excluded.pack, \
     installed_at = excluded.installed_at";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[ALL, LIST, MARK, INSTALL];

/// Definitions that one package can have, as far as they are numbered.
const MAX_DEFINITIONS: i64 = 1 << 20;

/// A package that was installed.
#[derive(Clone, Debug, FromRow)]
pub struct InstalledPackage {
    id: i32,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its definition pack.
    pub pack: Vec<u8>,
}

/// A definition of an installed package.
pub(super) struct PackagedDefinition {
    /// Below zero, where no resource has its key; the same as long as the package is installed.
    pub(super) key: i64,
    /// What no resource has as its id.
    pub(super) id: String,
    /// The definition without resourceType, as JSON.
    pub(super) body: String,
}

/// Keeps a package for all nodes, in place of what has its name and version.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn install_package(
    store: &Store,
    name: &str,
    version: &str,
    pack: &[u8],
) -> Result<(), Error> {
    let query = sqlx::query(INSTALL).bind(name).bind(version).bind(pack);
    query.execute(&store.0.admin).await.map_err(failure::sqlx_error)?;
    Ok(())
}

/// The installed packages in the order in which they were.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn installed_packages(store: &Store) -> Result<Vec<InstalledPackage>, Error> {
    sqlx::query_as(ALL).fetch_all(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// Names and versions of the installed packages.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn package_names(store: &Store) -> Result<Vec<(String, String)>, Error> {
    sqlx::query_as(LIST).fetch_all(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// What changes whenever a package is installed.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn packages_mark(store: &Store) -> Result<String, Error> {
    let query = sqlx::query_as(MARK);
    let (mark,): (String,) = query.fetch_one(&store.0.admin).await.map_err(failure::sqlx_error)?;
    Ok(mark)
}

/// What packages define of a type. One that this version cannot read is passed over, and logged: it must
/// not keep all others from counting.
pub(super) fn packaged(packages: &[InstalledPackage], of: ResourceType) -> Vec<PackagedDefinition> {
    let Some(section) = section(of) else { return Vec::new() };
    let mut found = Vec::new();
    for package in packages {
        match of_package(package, section) {
            Ok(definitions) => found.extend(definitions),
            Err(error) => {
                tracing::error!(name = package.name, %error, "an installed package is damaged");
            }
        }
    }
    found
}

fn of_package(
    package: &InstalledPackage,
    section: Section,
) -> Result<Vec<PackagedDefinition>, PackError> {
    let pack = Pack::open(&package.pack)?;
    let records = pack.records(section)?;
    let lines = (0..MAX_DEFINITIONS).zip(records.iter().zip(records.lines()));
    let definition = |(at, (record, line)): (i64, (Result<Value<'_>, PackError>, &[u8]))| {
        let record = record?;
        let url = record.str_at("url").unwrap_or_default();
        Ok(PackagedDefinition {
            key: -1 - (i64::from(package.id) * MAX_DEFINITIONS + at),
            id: format!("{}#{}|{url}", package.name, package.version),
            body: String::from_utf8_lossy(line).into_owned(),
        })
    };
    lines.map(definition).collect()
}

/// Where a pack has the definitions of a type that are used in the form that resources have.
fn section(of: ResourceType) -> Option<Section> {
    match of.as_str() {
        "CodeSystem" => Some(Section::CodeSystems),
        "ConceptMap" => Some(Section::ConceptMaps),
        "SearchParameter" => Some(Section::SearchParameters),
        "ValueSet" => Some(Section::ValueSets),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::R4_PACK;

    #[test]
    fn a_package_that_cannot_be_read_leaves_the_others_in_force() {
        let package = |id: i32, pack: &[u8]| InstalledPackage {
            id,
            name: format!("p{id}"),
            version: "1".to_owned(),
            pack: pack.to_vec(),
        };
        let of = "ValueSet".parse().expect("a type");
        let sound = packaged(&[package(2, R4_PACK)], of).len();
        assert!(sound > 0, "R4 has value sets");
        let both = [package(1, b"of another format"), package(2, R4_PACK)];
        assert_eq!(packaged(&both, of).len(), sound);
    }
}
