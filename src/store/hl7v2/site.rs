//! Profiles of sites, each with all its versions, and the codes that they lack.

use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use crate::access::{Disclosed, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::Instant;

/// The newest version of each profile, with the number of all versions: both of one moment.
const PROFILES: &str = "SELECT DISTINCT ON (id) id, version, toml, active_from, by, note, \
       (SELECT count(*) FROM v2_site) \
     FROM v2_site ORDER BY id, version DESC";

const MARK: &str = "SELECT count(*) FROM v2_site";

/// The newest versions of each profile: who goes back goes back to one of these.
const VERSIONS: &str = "SELECT id, version, toml, active_from, by, note FROM ( \
       SELECT *, row_number() OVER (PARTITION BY id ORDER BY version DESC) AS n FROM v2_site \
        WHERE $1::text IS NULL OR id = $1) AS s \
     WHERE n <= 1000 ORDER BY id, version DESC LIMIT 10000";

/// A new version. Two at the same moment cannot both be the next one.
pub(super) const ADD: &str = "INSERT INTO v2_site (id, version, toml, active_from, by, note) \
     SELECT $1, COALESCE(max(version), 0) + 1, $2, $3, $4, $5 FROM v2_site WHERE id = $1 \
     HAVING $6::int IS NULL OR COALESCE(max(version), 0) = $6 \
     ON CONFLICT DO NOTHING RETURNING version";

const UNMAPPED: &str = "SELECT u.site, u.code_set, u.system, u.code, max(u.display), count(*), \
       max(m.received_at) \
     FROM v2_unmapped u JOIN v2_message m ON m.id = u.message_id \
     WHERE $1::text IS NULL OR u.site = $1 \
     GROUP BY 1, 2, 3, 4 ORDER BY count(*) DESC, 1, 2, 3, 4 LIMIT $2";

pub(super) const UNMAPPED_MESSAGES: &str = "SELECT message_id FROM v2_unmapped \
     WHERE site = $1 AND code_set = $2 AND system = $3 AND code = $4 ORDER BY message_id LIMIT $5";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[PROFILES, MARK, VERSIONS, ADD, UNMAPPED, UNMAPPED_MESSAGES];

/// A version of a profile.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SiteVersion {
    /// The site.
    pub id: String,
    /// The version, from 1 on.
    pub version: i32,
    /// The profile; `None`: from here on there is none.
    pub toml: Option<String>,
    /// When it was installed.
    pub at: Instant,
    /// By whom.
    pub by: String,
    /// Why, or what it was made of.
    pub note: String,
}

/// The profiles of a moment.
#[derive(Clone, Debug, Default)]
pub struct SiteProfiles {
    /// How many versions there were: more of them when something changed.
    pub mark: i64,
    /// The newest version of each, withdrawn ones too.
    pub all: Vec<SiteVersion>,
}

/// A version to be.
#[derive(Clone, Debug)]
pub struct NewSite {
    /// The site.
    pub id: String,
    /// The profile; `None`: it is withdrawn.
    pub toml: Option<String>,
    /// By whom.
    pub by: String,
    /// Why.
    pub note: String,
    /// The version it was made of, when it must still be the newest.
    pub after: Option<i32>,
}

/// A code that no map had another one for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnmappedCode {
    /// The code set of the maps.
    pub set: String,
    /// The sender's name for the code system.
    pub system: String,
    /// The code.
    pub code: String,
    /// What the sender calls it.
    pub display: String,
}

/// How often a sender sent a code that no map had another one for.
#[derive(Clone, Debug)]
pub struct UnmappedCount {
    /// The sender.
    pub site: String,
    /// The code.
    pub code: UnmappedCode,
    /// In how many messages.
    pub count: i64,
    /// When the last one came.
    pub last: Instant,
}

impl Store {
    /// The profiles in force. They hold no data of patients.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn site_profiles(&self) -> Result<SiteProfiles, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(PROFILES).await?;
        let rows = pipeline.client().query(&statement, &[]).await.map_err(failure::error)?;
        let mark = rows.first().map_or(Ok(0), |row| row.try_get(6)).map_err(failure::error)?;
        let all = rows.iter().map(version).collect::<Result<_, _>>().map_err(failure::error)?;
        Ok(SiteProfiles { mark, all })
    }

    /// How many versions of profiles there are.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn site_mark(&self) -> Result<i64, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(MARK).await?;
        let row = pipeline.client().query_one(&statement, &[]).await;
        row.and_then(|row| row.try_get(0)).map_err(failure::error)
    }

    /// The newest 1,000 versions of a profile, or of each of them, the newest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn site_versions(
        &self,
        id: Option<&str>,
        _permit: &Permit<'_>,
    ) -> Result<Unaudited<Vec<SiteVersion>>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(VERSIONS).await?;
        let rows = pipeline.client().query(&statement, &[&id]).await.map_err(failure::error)?;
        let all = rows.iter().map(version).collect::<Result<_, _>>().map_err(failure::error)?;
        Ok(Unaudited::new(all, Disclosed::default()))
    }

    /// The codes that no map had another one for, those that came most first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn unmapped_codes(
        &self,
        site: Option<&str>,
        most: i64,
        _permit: &Permit<'_>,
    ) -> Result<Unaudited<Vec<UnmappedCount>>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(UNMAPPED).await?;
        let rows = pipeline.client().query(&statement, &[&site, &most]).await;
        let rows = rows.map_err(failure::error)?;
        let all = rows.iter().map(unmapped).collect::<Result<_, _>>().map_err(failure::error)?;
        Ok(Unaudited::new(all, Disclosed::default()))
    }
}

fn version(row: &tokio_postgres::Row) -> Result<SiteVersion, tokio_postgres::Error> {
    let at: Timestamptz = row.try_get(3)?;
    Ok(SiteVersion {
        id: row.try_get(0)?,
        version: row.try_get(1)?,
        toml: row.try_get(2)?,
        at: at.0,
        by: row.try_get(4)?,
        note: row.try_get(5)?,
    })
}

fn unmapped(row: &tokio_postgres::Row) -> Result<UnmappedCount, tokio_postgres::Error> {
    let last: Timestamptz = row.try_get(6)?;
    Ok(UnmappedCount {
        site: row.try_get(0)?,
        code: UnmappedCode {
            set: row.try_get(1)?,
            system: row.try_get(2)?,
            code: row.try_get(3)?,
            display: row.try_get(4)?,
        },
        count: row.try_get(5)?,
        last: last.0,
    })
}
