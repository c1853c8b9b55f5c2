//! Answers that go over a connection of their own: noted before the receipt of their message is
//! confirmed, and kept until they are sent.
//!
//! Spec: v2 M4

use bytes::Bytes;
use uuid::Uuid;

use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use crate::error::Error;
use crate::fhir::Instant;

/// One that came again has its answer again.
const OWE: &str = "INSERT INTO v2_answer (message_id, endpoint, wanted, since, next_try) \
     VALUES ($1, $2, $3, $4, $4) \
     ON CONFLICT (message_id) DO UPDATE SET endpoint = excluded.endpoint, wanted = excluded.wanted, \
       since = excluded.since, next_try = excluded.next_try, tries = 0";

/// The oldest answers whose messages have ended. Those that are tried later hold up what comes after them to
/// the same endpoint.
const CLAIM: &str = "UPDATE v2_answer a SET next_try = $2, tries = a.tries + 1 \
       FROM v2_message m \
     WHERE m.id = a.message_id AND a.message_id IN ( \
       SELECT o.message_id FROM v2_answer o JOIN v2_message d ON d.id = o.message_id \
        WHERE o.next_try <= $1 AND d.state NOT IN ('received', 'processing') AND d.ack IS NOT NULL \
          AND NOT EXISTS (SELECT FROM v2_answer b WHERE b.endpoint = o.endpoint \
                AND b.message_id < o.message_id AND b.next_try > $1) \
        ORDER BY o.message_id LIMIT $3 FOR UPDATE OF o SKIP LOCKED) \
     RETURNING a.message_id, a.endpoint, a.wanted, a.since, a.tries, m.ack_code, m.ack";

const SENT: &str = "DELETE FROM v2_answer WHERE message_id = ANY ($1)";

const LATER: &str = "UPDATE v2_answer SET next_try = $2 WHERE message_id = ANY ($1)";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[OWE, CLAIM, SENT, LATER];

/// An answer that is to be sent.
#[derive(Clone, Debug)]
pub struct Owed {
    /// Its message.
    pub message: Uuid,
    /// The name of where it goes.
    pub endpoint: String,
    /// When it is wanted: AL, ER or SU.
    pub wanted: String,
    /// Since when it is owed.
    pub since: Instant,
    /// How often it was tried, this time included.
    pub tries: i32,
    /// Its code.
    pub code: String,
    /// The answer.
    pub answer: Bytes,
}

impl Store {
    /// Notes that the answer to a message goes over a connection of its own. Nothing is told by this.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database: then its receipt may not be confirmed.
    pub async fn owe_answer(
        &self,
        message: Uuid,
        endpoint: &str,
        wanted: &str,
        at: Instant,
    ) -> Result<(), Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(OWE).await.map_err(failure::error)?;
        let at = Timestamptz(at);
        let done = connection.execute(&statement, &[&message, &endpoint, &wanted, &at]).await;
        done.map(drop).map_err(failure::error)
    }

    /// Answers that are to be sent, for this node until `lease`; the oldest message first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn claim_answers(
        &self,
        now: Instant,
        lease: Instant,
        most: i64,
    ) -> Result<Vec<Owed>, Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(CLAIM).await.map_err(failure::error)?;
        let (now, lease) = (Timestamptz(now), Timestamptz(lease));
        let rows = connection.query(&statement, &[&now, &lease, &most]).await;
        let rows = rows.map_err(failure::error)?;
        let mut owed: Vec<Owed> =
            rows.iter().map(owed).collect::<Result<_, _>>().map_err(failure::error)?;
        owed.sort_by_key(|one| one.message);
        Ok(owed)
    }

    /// Forgets answers that were sent, or that nobody wants.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn answers_sent(&self, messages: &[Uuid]) -> Result<(), Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(SENT).await.map_err(failure::error)?;
        connection.execute(&statement, &[&messages]).await.map(drop).map_err(failure::error)
    }

    /// Has answers tried again at a time.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn postpone_answers(&self, messages: &[Uuid], until: Instant) -> Result<(), Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(LATER).await.map_err(failure::error)?;
        let done = connection.execute(&statement, &[&messages, &Timestamptz(until)]).await;
        done.map(drop).map_err(failure::error)
    }
}

fn owed(row: &tokio_postgres::Row) -> Result<Owed, tokio_postgres::Error> {
    let since: Timestamptz = row.try_get(3)?;
    let code: Option<String> = row.try_get(5)?;
    let answer: &[u8] = row.try_get(6)?;
    Ok(Owed {
        message: row.try_get(0)?,
        endpoint: row.try_get(1)?,
        wanted: row.try_get(2)?,
        since: since.0,
        tries: row.try_get(4)?,
        code: code.unwrap_or_default(),
        answer: Bytes::copy_from_slice(answer),
    })
}
