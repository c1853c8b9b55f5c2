//! Texts of messages that are kept for a time only: what they were known by, their answer and what they did
//! stay, so that a repetition is still answered as before.
//!
//! Spec: v2 P6

use uuid::Uuid;

use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use crate::error::Error;
use crate::fhir::Instant;

/// Of the next `$4` messages after `$1`, the text of those from before `$2` in one of the states `$3` goes. The
/// window is bounded, not the number of texts: most of what is old has none any more.
const PURGE: &str = "WITH looked AS MATERIALIZED ( \
       SELECT id, received_at, raw IS NOT NULL AND state = ANY ($3::text[]) AS has FROM v2_message \
        WHERE id > $1 ORDER BY id LIMIT $4), \
     old AS MATERIALIZED ( \
       SELECT m.id FROM v2_message m JOIN looked l ON l.id = m.id WHERE l.has AND l.received_at < $2 \
        ORDER BY m.id FOR NO KEY UPDATE OF m SKIP LOCKED), \
     gone AS ( \
       UPDATE v2_message m SET raw = NULL, raw_key = NULL FROM old WHERE m.id = old.id RETURNING m.id) \
     SELECT (SELECT count(*) FROM gone), \
       (SELECT id FROM looked WHERE received_at < $2 ORDER BY id DESC LIMIT 1), \
       (SELECT count(*) FROM looked WHERE received_at < $2) = $4";

/// Which messages refuse a number that is used again: one of this control id had its effect, with other bytes.
const IS_USED: &str = "SELECT EXISTS (SELECT FROM v2_dedupe d \
      WHERE d.site = $1 AND d.control_id = $2 AND d.sha256 <> $3 \
        AND NOT EXISTS (SELECT FROM v2_open o WHERE o.message_id = d.message_id))";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[PURGE, IS_USED];

/// Whose text goes: work on them has ended for good. What failed waits for somebody, who needs its text.
const STATES: &[&str] =
    &["processed", "processed_with_issues", "rejected", "discarded", "fragment"];
/// How many messages one statement looks at.
const WINDOW: i64 = 2_000;

/// What one step of a purge did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Purged {
    /// How many texts are gone.
    pub count: i64,
    /// The last message that was looked at.
    pub last: Option<Uuid>,
    /// Whether there may be more.
    pub is_more: bool,
}

impl Store {
    /// Takes away the texts of some old messages, of those after one. Nothing is told by this.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn purge_messages(&self, after: Uuid, before: Instant) -> Result<Purged, Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(PURGE).await.map_err(failure::error)?;
        let before = Timestamptz(before);
        let row = connection.query_one(&statement, &[&after, &before, &STATES, &WINDOW]).await;
        let row = row.map_err(failure::error)?;
        Ok(Purged {
            count: row.try_get(0).map_err(failure::error)?,
            last: row.try_get(1).map_err(failure::error)?,
            is_more: row.try_get(2).map_err(failure::error)?,
        })
    }

    /// Whether another message of this sender and control id had its effect.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn is_number_used(
        &self,
        site: &str,
        control_id: &str,
        digest: &[u8; 32],
    ) -> Result<bool, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(IS_USED).await?;
        let digest = &digest[..];
        let row = pipeline.client().query_one(&statement, &[&site, &control_id, &digest]).await;
        row.and_then(|row| row.try_get(0)).map_err(failure::error)
    }
}
