//! Who works on which message: leases, ends, and another try.

use bytes::Bytes;
use uuid::Uuid;

use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use super::end::{END, EndColumns};
use super::{MessageEnd, MessageState};
use crate::error::Error;
use crate::fhir::Instant;

/// How long a message waits whose text cannot be read here.
const UNREADABLE_MS: i64 = 60_000;

/// Who has a message is forgotten with it when the database crashes, which does no harm: a message has its
/// end once, whoever tries. So nobody waits for the disk.
macro_rules! soon {
    () => {
        " AND (SELECT set_config('synchronous_commit', 'off', true)) = 'off' "
    };
}

/// The oldest messages that are first in all their lines, of those that nobody is known to be before. A
/// lease that ran out is taken over. Who comes before is looked for by each key, whatever the plan was made on.
const CLAIM: &str = concat!(
    "WITH ready AS MATERIALIZED ( \
       SELECT o.message_id FROM v2_open o \
        WHERE o.state IS NULL AND NOT o.blocked \
          AND (o.lease_until IS NULL OR o.lease_until < $1) \
          AND (o.next_try IS NULL OR o.next_try <= $1) \
          AND NOT EXISTS (SELECT FROM unnest(o.order_keys) AS k(key) CROSS JOIN LATERAL ( \
                SELECT FROM v2_queue q WHERE q.key = k.key AND q.message_id < o.message_id LIMIT 1) AS other) \
        ORDER BY o.message_id LIMIT $3 FOR NO KEY UPDATE OF o SKIP LOCKED), \
     claimed AS ( \
       UPDATE v2_open o SET lease_until = $2, attempts = o.attempts + 1, next_try = NULL \
         FROM ready WHERE o.message_id = ready.message_id",
    soon!(),
    "RETURNING o.message_id, o.attempts, o.prunes, cardinality(o.order_keys) = 0 AS unlined) \
     SELECT m.id, m.raw, m.listener, m.peer, m.site, m.charset, c.attempts, m.received_at, m.tls_subject, \
       (SELECT count(*) FROM v2_site), c.prunes, \
       (SELECT true FROM v2_effect e WHERE e.message_id = m.id LIMIT 1) IS NOT NULL, m.raw_key, \
       c.unlined FROM claimed c JOIN v2_message m ON m.id = c.message_id"
);

/// Frees those of `$1`, and of the next `$2` after `$3` that are blocked, that are first in one of their lines
/// by now. The last row is not one of them: it says how far was looked, when there may be more. Statements
/// that change several messages never wait for a row while they have others: they take rows in the order of
/// their ids, and pass over what somebody else has, who frees it himself or leaves it to the next look. Each is
/// looked for by its id, as [`END`](super::end::END) has it: joined, all that were ever blocked are walked along, those
/// that have gone too.
const FREE: &str = concat!(
    "WITH looked AS MATERIALIZED ( \
       SELECT message_id AS id FROM v2_open WHERE state IS NULL AND blocked AND message_id > $3 \
        ORDER BY message_id LIMIT $2), \
     free AS MATERIALIZED ( \
       SELECT o.message_id AS id FROM v2_open o \
        WHERE o.state IS NULL AND o.blocked::int = 1 \
          AND o.message_id = ANY (ARRAY(SELECT unnest($1::uuid[]) UNION ALL SELECT id FROM looked)) \
          AND EXISTS (SELECT FROM unnest(o.order_keys) AS k(key) LEFT JOIN LATERAL ( \
            SELECT true AS is FROM v2_queue q WHERE q.key = k.key AND q.message_id < o.message_id LIMIT 1) \
            AS other ON true WHERE other.is IS NULL)",
    soon!(),
    "ORDER BY o.message_id FOR NO KEY UPDATE OF o SKIP LOCKED), \
     freed AS ( \
       UPDATE v2_open o SET blocked = false FROM free WHERE o.message_id = free.id RETURNING free.id) \
     SELECT id, true FROM freed UNION ALL \
     SELECT id, false FROM (SELECT id FROM looked ORDER BY id DESC LIMIT 1) AS last \
      WHERE (SELECT count(*) FROM looked) = $2"
);

/// Work goes on, where it is still this try of each. What is being ended at this moment needs no lease.
const RENEW: &str = concat!(
    "WITH held AS MATERIALIZED ( \
       SELECT o.message_id FROM v2_open o JOIN unnest($1::uuid[], $2::int[]) AS own(id, attempts) \
           ON o.message_id = own.id AND o.attempts = own.attempts \
        WHERE o.state IS NULL AND o.lease_until IS NOT NULL",
    soon!(),
    "ORDER BY o.message_id FOR NO KEY UPDATE OF o SKIP LOCKED) \
     UPDATE v2_open o SET lease_until = $3 FROM held WHERE o.message_id = held.message_id"
);

/// Back into the line, for a time that is to come.
const LATER: &str = "UPDATE v2_open SET lease_until = NULL, next_try = $2, reason = $3 \
     WHERE message_id = $1 AND state IS NULL AND lease_until IS NOT NULL AND attempts = $4";

/// The same of a text that cannot be opened here: that was no try.
const UNREAD: &str = "UPDATE v2_open SET lease_until = NULL, next_try = $2, reason = $3, attempts = 0 \
     WHERE message_id = $1 AND state IS NULL AND lease_until IS NOT NULL AND attempts = $4";

/// Into the lines of whom it is about, of which nothing was known when it came.
const LINE_UP: &str = "WITH own AS ( \
       UPDATE v2_open SET order_keys = $3, blocked = false, lease_until = NULL, next_try = NULL \
        WHERE message_id = $1 AND state IS NULL AND lease_until IS NOT NULL AND attempts = $2 \
          AND cardinality(order_keys) = 0 RETURNING message_id), \
     known AS (UPDATE v2_message m SET order_keys = $3 FROM own WHERE m.id = own.message_id) \
     INSERT INTO v2_queue (key, message_id) SELECT DISTINCT unnest($3::bigint[]), message_id FROM own \
     ON CONFLICT DO NOTHING";

/// Back into the line by somebody's wish, or because it came again. What was rejected goes there if that was for its
/// type, event, processing id or version (200 to 203), at which the work looks once more: what is no message, or the
/// beginning of one, never does, nor what came in a name that its sender does not have.
pub(super) const REPLAY: &str = "WITH line AS MATERIALIZED ( \
       SELECT message_id FROM v2_open WHERE message_id = ANY ($1) ORDER BY message_id FOR NO KEY UPDATE), \
     found AS MATERIALIZED ( \
       SELECT id FROM v2_message WHERE id = ANY ($1) AND raw IS NOT NULL AND state = ANY ($2) \
          AND (state <> 'rejected' OR (SELECT true FROM v2_issue i WHERE i.message_id = v2_message.id \
            AND i.severity = 'E' AND i.code0357 BETWEEN 200 AND 203 LIMIT 1) IS NOT NULL) \
          AND (SELECT count(*) FROM line) >= 0 ORDER BY id FOR NO KEY UPDATE), \
     again AS ( \
       UPDATE v2_message m SET state = 'received', reason = '', ack_code = NULL, ack = NULL \
         FROM found WHERE m.id = found.id RETURNING m.id, m.site, m.received_at, m.order_keys), \
     opened AS ( \
       INSERT INTO v2_open (message_id, site, received_at, order_keys, prunes) \
       SELECT id, site, received_at, order_keys, $3 FROM again ORDER BY id \
       ON CONFLICT (message_id) DO UPDATE SET state = NULL, blocked = false, attempts = 0, next_try = NULL, \
         lease_until = NULL, prunes = excluded.prunes, reason = NULL), \
     lined AS ( \
       INSERT INTO v2_queue (key, message_id) \
       SELECT DISTINCT unnest(order_keys), id FROM again ON CONFLICT DO NOTHING) \
     SELECT id FROM again";

pub(super) const DISCARD: &str = "WITH gone AS ( \
       UPDATE v2_open SET state = 'discarded', blocked = false, next_try = NULL, reason = NULL \
       WHERE message_id = $1 AND (state IN ('failed', 'held') OR (state IS NULL AND lease_until IS NULL)) \
       RETURNING message_id AS id, order_keys), \
     unowed AS (DELETE FROM v2_answer a USING gone WHERE a.message_id = gone.id), \
     said AS ( \
       UPDATE v2_message m SET state = 'discarded', reason = $2 FROM gone WHERE m.id = gone.id), \
     out AS ( \
       DELETE FROM v2_queue q USING gone, unnest(gone.order_keys) AS k(key) \
        WHERE q.key = k.key AND q.message_id = gone.id), \
     next AS MATERIALIZED ( \
       SELECT o.message_id FROM v2_open o WHERE o.state IS NULL AND o.blocked::int = 1 AND o.message_id = ANY (ARRAY( \
         SELECT n.message_id FROM gone CROSS JOIN LATERAL unnest(gone.order_keys) AS k(key) \
          CROSS JOIN LATERAL (SELECT q.message_id FROM v2_queue q \
            WHERE q.key = k.key AND q.message_id > gone.id ORDER BY q.message_id LIMIT 1) AS n)) \
        ORDER BY o.message_id FOR NO KEY UPDATE OF o SKIP LOCKED), \
     freed AS (UPDATE v2_open o SET blocked = false FROM next WHERE o.message_id = next.message_id) \
     SELECT id FROM gone";

pub(super) const IS_THERE: &str = "SELECT FROM v2_message WHERE id = $1";

/// Each half has an index of its own.
const WAITING: &str = "SELECT count(*) FROM ( \
     SELECT FROM v2_open WHERE state IS NULL AND NOT blocked UNION ALL \
     SELECT FROM v2_open WHERE state IS NULL AND blocked LIMIT $1) AS waiting";

pub(super) const FAILED: &str = "SELECT message_id FROM v2_open \
     WHERE state IN ('failed', 'held') AND ($1::text IS NULL OR site = $1) \
       AND ($2::timestamptz IS NULL OR received_at >= $2) \
     ORDER BY message_id LIMIT $3";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[CLAIM, FREE, RENEW, LATER, LINE_UP, UNREAD, REPLAY, DISCARD, IS_THERE, WAITING, FAILED];

/// A message that this node works on.
#[derive(Debug)]
pub struct Claimed {
    /// Its id.
    pub id: Uuid,
    /// Its bytes.
    pub raw: Bytes,
    /// By which listener it came.
    pub listener: String,
    /// From which address.
    pub peer: Option<String>,
    /// Who sent it.
    pub site: String,
    /// The character set it was read in.
    pub charset: String,
    /// How often it was begun, this time included.
    pub attempts: i32,
    /// When it came.
    pub received_at: Instant,
    /// The name in the client's certificate.
    pub tls_subject: Option<String>,
    /// How many versions of profiles there were at least when it was claimed.
    pub mark: i64,
    /// When it had effects before: whether those that it has no longer are to be taken back.
    pub again: Option<bool>,
    /// Whether it stands in no line.
    pub is_unlined: bool,
}

/// Whether an end counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// It did.
    Now,
    /// Somebody else had ended it, or works on it.
    Before,
}

impl Store {
    /// Takes up to `most` messages that may be worked on. Nothing is told by this: what the work
    /// reads and writes passes the gate.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn claim_messages(
        &self,
        now: Instant,
        lease: Instant,
        most: i64,
    ) -> Result<Vec<Claimed>, Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(CLAIM).await.map_err(failure::error)?;
        let (now, lease) = (Timestamptz(now), Timestamptz(lease));
        let rows = connection.query(&statement, &[&now, &lease, &most]).await;
        drop(connection);
        let mut all = Vec::new();
        for row in rows.map_err(failure::error)? {
            let (mut message, key) = claimed(&row)?;
            let text: Option<&[u8]> = row.try_get(1).map_err(failure::error)?;
            match self.opened_text(message.id, key, text.unwrap_or_default()).await {
                Ok(raw) => {
                    message.raw = raw;
                    all.push(message);
                }
                // Others are not held up by one that nobody can read here.
                Err(error) => {
                    let until = now.0.plus_millis(UNREADABLE_MS);
                    let reason = error.to_string();
                    tracing::error!(message = %message.id, reason, "a message has to wait");
                    self.leave_unread((message.id, message.attempts), until, &reason).await?;
                }
            }
        }
        all.sort_by_key(|message| message.id);
        Ok(all)
    }

    /// Keeps messages for this node, which still works on them: each with the number of its try.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn renew_messages(
        &self,
        running: &[(Uuid, i32)],
        lease: Instant,
    ) -> Result<(), Error> {
        let (ids, tries): (Vec<Uuid>, Vec<i32>) = running.iter().copied().unzip();
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(RENEW).await.map_err(failure::error)?;
        let done = connection.execute(&statement, &[&ids, &tries, &Timestamptz(lease)]).await;
        done.map(drop).map_err(failure::error)
    }

    /// How many messages wait or are worked on, counted as far as `most`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn waiting_messages(&self, most: i64) -> Result<i64, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(WAITING).await?;
        let row = pipeline.client().query_one(&statement, &[&most]).await;
        row.and_then(|row| row.try_get(0)).map_err(failure::error)
    }

    /// Frees those of `blocked` that may be worked on by now, and of the next `most` others after one:
    /// those that were, and how far was looked when there may be more.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn free_messages(
        &self,
        blocked: &[Uuid],
        (most, after): (i64, Uuid),
    ) -> Result<(Vec<Uuid>, Option<Uuid>), Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(FREE).await.map_err(failure::error)?;
        let rows = connection.query(&statement, &[&blocked, &most, &after]).await;
        let (mut freed, mut last) = (Vec::new(), None);
        for row in rows.map_err(failure::error)? {
            let id = row.try_get(0).map_err(failure::error)?;
            if row.try_get(1).map_err(failure::error)? {
                freed.push(id);
            } else {
                last = Some(id);
            }
        }
        Ok((freed, last))
    }

    /// Ends work on a message that has no effect on resources.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn end_message(&self, end: &MessageEnd) -> Result<Ended, Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(END).await.map_err(failure::error)?;
        let columns = EndColumns::of_end(end);
        match connection.execute(&statement, &columns.parameters()).await {
            Ok(_) => Ok(Ended::Now),
            Err(error) if failure::is_outrun(&error) => Ok(Ended::Before),
            Err(error) => Err(failure::error(error)),
        }
    }

    /// Puts a message back for another try at a later time, unless another try has begun.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn postpone_message(
        &self,
        (id, attempts): (Uuid, i32),
        until: Instant,
        reason: &str,
    ) -> Result<(), Error> {
        self.put_off(LATER, (id, attempts), until, reason).await
    }

    /// The same of a message whose text cannot be opened here.
    async fn leave_unread(
        &self,
        (id, attempts): (Uuid, i32),
        until: Instant,
        reason: &str,
    ) -> Result<(), Error> {
        self.put_off(UNREAD, (id, attempts), until, reason).await
    }

    /// Has a message that stands in no line stand in these, and wait there for its turn, unless another try has begun.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn line_up_message(
        &self,
        (id, attempts): (Uuid, i32),
        lines: &[i64],
    ) -> Result<(), Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(LINE_UP).await.map_err(failure::error)?;
        let done = connection.execute(&statement, &[&id, &attempts, &lines]).await;
        done.map(drop).map_err(failure::error)
    }

    async fn put_off(
        &self,
        sql: &str,
        (id, attempts): (Uuid, i32),
        until: Instant,
        reason: &str,
    ) -> Result<(), Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(sql).await.map_err(failure::error)?;
        let until = Timestamptz(until);
        let done = connection.execute(&statement, &[&id, &until, &reason, &attempts]).await;
        done.map(drop).map_err(failure::error)
    }

    /// Puts messages in one of `states` back into their lines, as they came again: those that were. The
    /// receipt of that is on record.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn requeue_messages(
        &self,
        ids: &[Uuid],
        states: &[MessageState],
    ) -> Result<Vec<Uuid>, Error> {
        let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(REPLAY).await.map_err(failure::error)?;
        let rows =
            connection.query(&statement, &[&ids, &states, &false]).await.map_err(failure::error)?;
        ids_of(&rows)
    }
}

pub(super) fn ids_of(rows: &[tokio_postgres::Row]) -> Result<Vec<Uuid>, Error> {
    rows.iter().map(|row| row.try_get(0).map_err(failure::error)).collect()
}

/// A message without its text, and the data key of that.
fn claimed(row: &tokio_postgres::Row) -> Result<(Claimed, Option<i32>), Error> {
    let text = |at: usize| row.try_get::<_, String>(at).map_err(failure::error);
    let received_at: Timestamptz = row.try_get(7).map_err(failure::error)?;
    let (prunes, has_effects) = (row.try_get(10), row.try_get::<_, bool>(11));
    let (prunes, has_effects) =
        (prunes.map_err(failure::error)?, has_effects.map_err(failure::error)?);
    let key: Option<i32> = row.try_get(12).map_err(failure::error)?;
    let message = Claimed {
        id: row.try_get(0).map_err(failure::error)?,
        raw: Bytes::new(),
        listener: text(2)?,
        peer: row.try_get(3).map_err(failure::error)?,
        site: text(4)?,
        charset: text(5)?,
        attempts: row.try_get(6).map_err(failure::error)?,
        received_at: received_at.0,
        tls_subject: row.try_get(8).map_err(failure::error)?,
        mark: row.try_get(9).map_err(failure::error)?,
        again: has_effects.then_some(prunes),
        is_unlined: row.try_get(13).map_err(failure::error)?,
    };
    Ok((message, key))
}
