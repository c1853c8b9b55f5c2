//! Packages that were installed: their packs, and the definitions in them.
//!
//! They count beside stored resources, behind them: [`definitions`](super::definitions) and the search
//! parameters have both, and the marks of both change with the packages.

use sqlx::FromRow;

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::spec::package::{Pack, Section};

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

/// What the installed packages define of a type.
pub(super) async fn packaged(
    store: &Store,
    of: ResourceType,
) -> Result<Vec<PackagedDefinition>, Error> {
    let Some(section) = section(of) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for package in installed_packages(store).await? {
        let pack = Pack::open(&package.pack).map_err(Error::internal)?;
        let records = pack.records(section).map_err(Error::internal)?;
        for (at, (record, line)) in (0..MAX_DEFINITIONS).zip(records.iter().zip(records.lines())) {
            let record = record.map_err(Error::internal)?;
            let url = record.str_at("url").unwrap_or_default();
            found.push(PackagedDefinition {
                key: -1 - (i64::from(package.id) * MAX_DEFINITIONS + at),
                id: format!("{}#{}|{url}", package.name, package.version),
                body: String::from_utf8_lossy(line).into_owned(),
            });
        }
    }
    Ok(found)
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
