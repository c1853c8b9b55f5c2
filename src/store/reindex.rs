//! Builds of the search index that clients ask for: what is asked, how far it is, and one resource at
//! once. The work itself is done by `maintenance`, on whatever node comes first.

use crate::access::{Permit, Unaudited};
use crate::error::Error;
use crate::fhir::{Instant, LogicalId, ResourceType};

use super::connection::Reader;
use super::rows::Timestamptz;
use super::{Store, failure, maintenance};

/// What is under way stays so; what has ended begins anew.
const ASK: &str = "INSERT INTO reindex (rt) SELECT DISTINCT unnest($1::smallint[]) ORDER BY 1 ON CONFLICT (rt) DO UPDATE \
     SET asked = excluded.asked, after_rid = 0, done = 0, total = NULL, skipped = 0, ended = NULL \
     WHERE reindex.ended IS NOT NULL";

const BUILDS: &str = "SELECT rt, asked, done, coalesce(total, 0), total IS NOT NULL, ended IS NOT NULL, skipped \
     FROM reindex WHERE $1::smallint[] IS NULL OR rt = ANY($1) \
     OR rt = 0 AND ended IS NULL ORDER BY rt";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[ASK, BUILDS];

/// How often the rows of one resource are made while search parameters change.
const TRIES: usize = 5;

/// What a build is of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum BuildScope {
    /// Everything, in one build.
    All,
    /// Each of these types, in one of its own.
    Types(Vec<ResourceType>),
}

impl BuildScope {
    fn codes(&self) -> Option<Vec<i16>> {
        match self {
            Self::All => None,
            Self::Types(types) => Some(types.iter().map(|of| of.code()).collect()),
        }
    }
}

/// A build that was asked for.
#[derive(Clone, Debug)]
pub struct Build {
    /// Of which type; `None`: of all.
    pub resource_type: Option<ResourceType>,
    /// When it was asked for.
    pub asked: Instant,
    /// How many resources are done.
    pub done: u64,
    /// How many there were when it began.
    pub total: u64,
    /// Of how many of those done a parameter has not all that it looks at.
    pub skipped: u64,
    /// Whether it has begun.
    pub has_begun: bool,
    /// Whether all are done.
    pub has_ended: bool,
}

impl Store {
    /// Asks for a build.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn ask_reindex(&self, scope: &BuildScope, _permit: &Permit<'_>) -> Result<(), Error> {
        let codes = scope.codes().unwrap_or_else(|| vec![0]);
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(ASK).await.map_err(failure::error)?;
        connection.execute(&statement, &[&codes]).await.map_err(failure::error)?;
        Ok(())
    }

    /// The last builds of these types, as far as any was asked for; of all: whatever was.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn reindex_builds(
        &self,
        scope: &BuildScope,
        _permit: &Permit<'_>,
    ) -> Result<Vec<Build>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let codes = scope.codes();
        let rows = Reader::Shared(&pipeline).query(BUILDS, &[&codes]).await?;
        let mut builds = Vec::with_capacity(rows.len());
        for row in &rows {
            let code: i16 = row.try_get(0).map_err(failure::error)?;
            let asked: Timestamptz = row.try_get(1).map_err(failure::error)?;
            let (done, total): (i64, i64) =
                (row.try_get(2).map_err(failure::error)?, row.try_get(3).map_err(failure::error)?);
            let skipped: i64 = row.try_get(6).map_err(failure::error)?;
            builds.push(Build {
                resource_type: ResourceType::from_code(code),
                asked: asked.0,
                done: done.try_into().unwrap_or_default(),
                total: total.try_into().unwrap_or_default(),
                skipped: skipped.try_into().unwrap_or_default(),
                has_begun: row.try_get(4).map_err(failure::error)?,
                has_ended: row.try_get(5).map_err(failure::error)?,
            });
        }
        Ok(builds)
    }

    /// Makes the rows of one resource anew.
    ///
    /// # Errors
    /// As [`Store::current`].
    pub async fn reindex_one(
        &self,
        id: &LogicalId,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<()>, Error> {
        let found = self.current(id, permit).await?;
        let resource_type = permit.resource_type()?;
        for _ in 1..TRIES {
            match maintenance::reindex_one(self, resource_type, id).await {
                Err(Error::Conflict(_)) => {}
                done => return done.map(|()| found.map(drop)),
            }
        }
        maintenance::reindex_one(self, resource_type, id).await?;
        Ok(found.map(drop))
    }
}
