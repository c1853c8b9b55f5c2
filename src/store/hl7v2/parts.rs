//! Parts of messages that wait for the others: how much a sender has of them, and all of one message.
//!
//! What has been put together is marked by the column that counts tries, which parts have no other use for; its
//! parts stay, for the message may be worked on again.
//!
//! Spec: v2 S55, B36

use bytes::Bytes;
use uuid::Uuid;

use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use crate::error::Error;
use crate::fhir::Instant;

/// The parts before the one whose MSH-14 is `$2`, the first one first; each with its own MSH-14 and the bytes of
/// it and those behind it. Names of parts may come again: each step takes the newest part that is older than
/// the one that goes on from it. An id is made a moment before the time of receipt. What has more than `$4` bytes is
/// not gone through to its beginning.
const PARTS: &str = "WITH RECURSIVE chain AS ( \
       (SELECT m.id, m.raw, m.raw_key, m.part_of, 1 AS n, octet_length(m.raw)::bigint AS size \
          FROM v2_open o JOIN v2_message m ON m.id = o.message_id \
         WHERE o.state = 'fragment' AND o.message_id >= kiln_first_id($3::timestamptz - interval '1 minute') \
           AND o.site = $1 AND m.goes_on = $2 AND m.received_at > $3 \
         ORDER BY o.message_id DESC LIMIT 1) \
       UNION ALL \
       SELECT b.id, b.raw, b.raw_key, b.part_of, c.n + 1, c.size + octet_length(b.raw) \
         FROM chain c CROSS JOIN LATERAL ( \
         SELECT m.id, m.raw, m.raw_key, m.part_of FROM v2_open o JOIN v2_message m ON m.id = o.message_id \
          WHERE o.state = 'fragment' AND o.message_id >= kiln_first_id($3::timestamptz - interval '1 minute') \
            AND o.message_id < c.id AND o.site = $1 AND m.goes_on = c.part_of AND m.received_at > $3 \
          ORDER BY o.message_id DESC LIMIT 1) b \
        WHERE c.part_of <> '' AND c.n < 1000 AND c.size <= $4) \
     SELECT id, CASE WHEN max(size) OVER () > $4 THEN NULL ELSE raw END, raw_key, part_of, coalesce(max(size) OVER () > $4, false) \
       FROM chain ORDER BY n DESC";

/// That they are one message now. Nobody waits for the disk: what is lost of this makes a sender's room smaller
/// for a day.
const JOINED: &str = "UPDATE v2_open SET attempts = 1 WHERE message_id = ANY ($1) AND state = 'fragment' \
       AND attempts = 0 AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off'";

/// How many bytes of parts of a sender wait for others. The size of a text is known without reading it.
const HELD: &str = "SELECT coalesce(sum(octet_length(m.raw)), 0)::bigint \
       FROM v2_open o CROSS JOIN LATERAL ( \
         SELECT raw, received_at FROM v2_message WHERE id = o.message_id OFFSET 0) m \
      WHERE o.state = 'fragment' AND o.attempts = 0 AND o.site = $1 \
        AND o.message_id >= kiln_first_id($2::timestamptz - interval '1 minute') AND m.received_at > $2";

/// That a message is as if it had not come, to be known by.
const FORGET: &str = "DELETE FROM v2_dedupe d USING v2_message m WHERE m.id = $3 \
     AND (d.site, d.control_id, d.sha256) = ($1, m.control_id, $2) AND d.message_id = $3";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[PARTS, JOINED, HELD, FORGET];

/// The parts of a message before its last one.
#[derive(Debug)]
pub enum HeldParts {
    /// All of them, the first one first.
    All(Vec<Bytes>),
    /// One is not there.
    Missing,
    /// They have more bytes than there may be.
    TooLong,
}

impl Store {
    /// The parts before the one that goes on from `name`. One from before `since` is waited for no longer; of
    /// more than `most` bytes nothing is read.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn message_parts(
        &self,
        site: &str,
        name: &str,
        (since, most): (Instant, u64),
    ) -> Result<HeldParts, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = {
            let pipeline = self.0.readers.pipeline().await?;
            let statement = pipeline.prepare(PARTS).await?;
            let since = Timestamptz(since);
            let rows = pipeline.client().query(&statement, &[&site, &name, &since, &most]).await;
            rows.map_err(failure::error)?
        };
        let Some(first) = rows.first() else { return Ok(HeldParts::Missing) };
        if first.try_get(4).map_err(failure::error)? {
            return Ok(HeldParts::TooLong);
        }
        let before: &str = first.try_get(3).map_err(failure::error)?;
        if !before.is_empty() {
            return Ok(HeldParts::Missing);
        }
        let (mut parts, mut ids) = (Vec::new(), Vec::<Uuid>::new());
        for row in &rows {
            let raw: Option<&[u8]> = row.try_get(1).map_err(failure::error)?;
            let Some(raw) = raw else { return Ok(HeldParts::Missing) };
            let (id, key) = (row.try_get(0), row.try_get(2));
            let (id, key) = (id.map_err(failure::error)?, key.map_err(failure::error)?);
            parts.push(self.opened_text(id, key, raw).await?);
            ids.push(id);
        }
        ids.sort_unstable();
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(JOINED).await.map_err(failure::error)?;
        connection.execute(&statement, &[&ids]).await.map_err(failure::error)?;
        Ok(HeldParts::All(parts))
    }

    /// Has a message that was refused, or a part that there was no room for, be no repetition when it comes again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn forget_receipt(&self, site: &str, digest: &[u8], id: Uuid) -> Result<(), Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(FORGET).await.map_err(failure::error)?;
        let done = connection.execute(&statement, &[&site, &digest, &id]).await;
        done.map(drop).map_err(failure::error)
    }

    /// How many bytes of parts of a sender, of those since a moment, wait for others.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn held_parts(&self, site: &str, since: Instant) -> Result<u64, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(HELD).await?;
        let row = pipeline.client().query_one(&statement, &[&site, &Timestamptz(since)]).await;
        let held: i64 = row.and_then(|row| row.try_get(0)).map_err(failure::error)?;
        Ok(held.unsigned_abs())
    }
}
