//! Texts that were stored before they were sealed: looked through once, in the order of their ids, from where
//! the last look ended.
//!
//! Spec: v2 P6

use uuid::Uuid;

use super::super::{Store, failure};
use crate::error::Error;

const HOW_FAR: &str = "SELECT sealed_to, is_done FROM v2_sealing";

/// Of the next `$2` messages after `$1` those up to `$3` bytes of texts, and the one that exceeds them.
const UNSEALED: &str = "WITH looked AS MATERIALIZED ( \
       SELECT id, raw IS NOT NULL AND raw_key IS NULL AS has, \
         CASE WHEN raw IS NOT NULL AND raw_key IS NULL THEN octet_length(raw) ELSE 0 END AS size \
         FROM v2_message WHERE id > $1 ORDER BY id LIMIT $2), \
     summed AS (SELECT id, has, sum(size) OVER (ORDER BY id) - size AS before FROM looked) \
     SELECT s.id, (SELECT m.raw FROM v2_message m WHERE m.id = s.id AND s.has) \
       FROM summed s WHERE s.before <= $3 ORDER BY s.id";

/// A text that is gone meanwhile stays so.
const SEAL: &str = "WITH g AS MATERIALIZED ( \
       SELECT g.id, g.raw FROM unnest($1::uuid[], $2::bytea[]) AS g(id, raw) ORDER BY id), \
     locked AS MATERIALIZED ( \
       SELECT m.id FROM v2_message m WHERE m.id = ANY ($1) AND m.raw IS NOT NULL AND m.raw_key IS NULL \
        ORDER BY m.id FOR NO KEY UPDATE) \
     UPDATE v2_message m SET raw = g.raw, raw_key = $3 FROM g JOIN locked ON locked.id = g.id \
      WHERE m.id = g.id";

const MOVE: &str = "UPDATE v2_sealing SET sealed_to = $1, is_done = $2 WHERE sealed_to <= $1";

const BEGIN_ANEW: &str = "UPDATE v2_sealing SET sealed_to = '00000000-0000-0000-0000-000000000000', \
     is_done = false WHERE is_done OR sealed_to <> '00000000-0000-0000-0000-000000000000'";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[HOW_FAR, UNSEALED, SEAL, MOVE, BEGIN_ANEW];

/// How many messages one step looks at, and about how many bytes it seals.
const WINDOW: i64 = 500;
const WINDOW_BYTES: i64 = 4 * 1024 * 1024;

/// What one step did: how many texts are sealed now, or that all are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sealing {
    /// So many; there may be more.
    Some(usize),
    /// Nothing is left to be sealed.
    Done,
}

impl Store {
    /// Seals some texts of before. Nothing is told by this.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn seal_messages(&self) -> Result<Sealing, Error> {
        if !self.0.vault.seals() {
            return Ok(Sealing::Done);
        }
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(HOW_FAR).await.map_err(failure::error)?;
        let row = connection.query_one(&statement, &[]).await.map_err(failure::error)?;
        let after: Uuid = row.try_get(0).map_err(failure::error)?;
        if row.try_get(1).map_err(failure::error)? {
            return Ok(Sealing::Done);
        }
        let statement = connection.prepare_cached(UNSEALED).await.map_err(failure::error)?;
        let rows = connection.query(&statement, &[&after, &WINDOW, &WINDOW_BYTES]).await;
        let (mut ids, mut texts) = (Vec::new(), Vec::new());
        let (mut last, mut number) = (None, 0);
        for row in rows.map_err(failure::error)? {
            let id: Uuid = row.try_get(0).map_err(failure::error)?;
            last = Some(id);
            let Some(text) = row.try_get::<_, Option<&[u8]>>(1).map_err(failure::error)? else {
                continue;
            };
            let sealed = self.0.vault.seal(id, text)?;
            let (key, sealed) = sealed.ok_or_else(|| Error::internal("nothing is sealed here"))?;
            if key != number && !ids.is_empty() {
                // Another key came into use: what is left comes with the next step.
                last = ids.last().copied();
                break;
            }
            number = key;
            ids.push(id);
            texts.push(sealed);
        }
        if !ids.is_empty() {
            let texts: Vec<&[u8]> = texts.iter().map(AsRef::as_ref).collect();
            let statement = connection.prepare_cached(SEAL).await.map_err(failure::error)?;
            let done = connection.execute(&statement, &[&ids, &texts, &number]).await;
            done.map_err(failure::error)?;
        }
        let statement = connection.prepare_cached(MOVE).await.map_err(failure::error)?;
        let place = last.unwrap_or(after);
        connection.execute(&statement, &[&place, &last.is_none()]).await.map_err(failure::error)?;
        Ok(last.map_or(Sealing::Done, |_| Sealing::Some(ids.len())))
    }

    /// Texts are not sealed from now on: when they are again, all are looked through.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn leave_messages_open(&self) -> Result<(), Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(BEGIN_ANEW).await.map_err(failure::error)?;
        connection.execute(&statement, &[]).await.map(drop).map_err(failure::error)
    }
}
