//! Who works on which message: leases, ends, and another try.

use bytes::Bytes;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::connection::Transaction;
use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use super::site::keep_unmapped;
use super::{MessageEffect, MessageEnd, MessageIssue, MessageState};
use crate::error::Error;
use crate::fhir::Instant;

/// The oldest messages that are first in all their lines. A lease that ran out is taken over.
const CLAIM: &str = "UPDATE v2_message SET state = 'processing', lease_until = $2, attempts = attempts + 1, \
       next_try = NULL \
     WHERE id IN ( \
       SELECT m.id FROM v2_message m \
        WHERE m.state IN ('received', 'processing') \
          AND (m.state = 'received' OR m.lease_until < $1) \
          AND (m.next_try IS NULL OR m.next_try <= $1) \
          AND NOT EXISTS (SELECT FROM v2_queue own JOIN v2_queue other ON other.key = own.key \
                JOIN v2_message o ON o.id = other.message_id WHERE own.message_id = m.id AND o.id <> m.id \
                AND (o.id < m.id OR (o.state = 'processing' AND o.lease_until >= $1))) \
        ORDER BY m.id LIMIT $3 FOR UPDATE OF m SKIP LOCKED) \
     RETURNING id, raw, listener, peer, site, charset, attempts, received_at, tls_subject, \
       (SELECT count(*) FROM v2_site)";

/// The end of work; no row: somebody else ended it, or has it. The number of the try tells who has it.
const END: &str = "WITH ended AS ( \
       UPDATE v2_message SET \
         state = CASE WHEN $2 = 'processed' AND EXISTS ( \
           SELECT FROM v2_issue WHERE message_id = $1 AND n < 0) THEN 'processed_with_issues' ELSE $2 END, \
         ack_code = COALESCE(ack_code, $3), ack = COALESCE(ack, $4), processed_at = $5, map_hash = $6, \
         reason = $7, lease_until = NULL, next_try = NULL \
       WHERE id = $1 AND state = 'processing' AND attempts = $15 RETURNING id), \
     gone AS ( \
       DELETE FROM v2_queue USING ended WHERE message_id = ended.id AND NOT $8::bool), \
     before AS (DELETE FROM v2_issue USING ended WHERE message_id = ended.id AND n >= 0), \
     known AS (DELETE FROM v2_unmapped USING ended WHERE message_id = ended.id), \
     did AS ( \
       INSERT INTO v2_effect (message_id, n, action, resource_type, resource_id, version, map_rule) \
       SELECT ended.id, (SELECT count(*) FROM v2_effect WHERE message_id = $1) + e.n, e.action, e.type, \
         e.resource, e.version, e.rule \
         FROM ended, unnest($9::int[], $10::text[], $11::text[], $12::text[], $13::int[], $14::text[]) \
           AS e(n, action, type, resource, version, rule)) \
     SELECT id FROM ended";

const ISSUES: &str = "INSERT INTO v2_issue (message_id, n, severity, code0357, app_code, segment, seq, field, \
       rep, comp, sub, text) \
     SELECT $1, i.n, i.severity, i.code, i.name, i.segment, i.seq, i.field, i.rep, i.comp, i.sub, i.text \
       FROM unnest($2::int[], $3::text[], $4::int[], $5::text[], $6::text[], $7::int[], $8::int[], \
         $9::int[], $10::int[], $11::int[], $12::text[]) \
         AS i(n, severity, code, name, segment, seq, field, rep, comp, sub, text)";

/// Work goes on, where it is still this try of each.
const RENEW: &str = "UPDATE v2_message m SET lease_until = $3 \
     FROM unnest($1::uuid[], $2::int[]) AS own(id, attempts) \
     WHERE m.id = own.id AND m.attempts = own.attempts AND m.state = 'processing'";

/// Back into the line, for a time that is to come.
const LATER: &str = "UPDATE v2_message SET state = 'received', lease_until = NULL, next_try = $2, reason = $3 \
     WHERE id = $1 AND state = 'processing' AND attempts = $4";

/// Back into the line by somebody's wish, or because it came again.
pub(super) const REPLAY: &str = "WITH again AS ( \
       UPDATE v2_message SET state = 'received', next_try = NULL, lease_until = NULL, reason = '', \
         attempts = 0, ack_code = NULL, ack = NULL \
       WHERE id = ANY ($1) AND raw IS NOT NULL AND state = ANY ($2) RETURNING id, order_keys) , \
     lined AS ( \
       INSERT INTO v2_queue (key, message_id) \
       SELECT DISTINCT unnest(order_keys), id FROM again ON CONFLICT DO NOTHING) \
     SELECT id FROM again";

pub(super) const DISCARD: &str = "WITH gone AS ( \
       UPDATE v2_message SET state = 'discarded', reason = $2, next_try = NULL \
       WHERE id = $1 AND state IN ('received', 'failed', 'held') RETURNING id), \
     freed AS (DELETE FROM v2_queue USING gone WHERE message_id = gone.id) \
     SELECT id FROM gone";

pub(super) const IS_THERE: &str = "SELECT FROM v2_message WHERE id = $1";

const WAITING: &str = "SELECT count(*) FROM ( \
     SELECT FROM v2_message WHERE state IN ('received', 'processing') LIMIT $1) AS waiting";

pub(super) const FAILED: &str = "SELECT id FROM v2_message \
     WHERE state IN ('failed', 'held') AND ($1::text IS NULL OR site = $1) \
       AND ($2::timestamptz IS NULL OR received_at >= $2) \
     ORDER BY id LIMIT $3";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[CLAIM, END, ISSUES, RENEW, LATER, REPLAY, DISCARD, IS_THERE, WAITING, FAILED];

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
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(CLAIM).await.map_err(failure::error)?;
        let (now, lease) = (Timestamptz(now), Timestamptz(lease));
        let rows = connection.query(&statement, &[&now, &lease, &most]).await;
        let rows = rows.map_err(failure::error)?;
        let mut claimed = rows.iter().map(claimed).collect::<Result<Vec<_>, _>>()?;
        claimed.sort_by_key(|message| message.id);
        Ok(claimed)
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
        let connection = self.0.writers.connection().await?;
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

    /// Ends work on a message that has no effect on resources.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn end_message(&self, end: &MessageEnd) -> Result<Ended, Error> {
        let transaction = self.0.writers.begin("BEGIN").await?;
        let ended = end_in(end, &transaction).await?;
        transaction.commit().await.map_err(failure::error)?;
        Ok(ended)
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
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(LATER).await.map_err(failure::error)?;
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
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(REPLAY).await.map_err(failure::error)?;
        let rows = connection.query(&statement, &[&ids, &states]).await.map_err(failure::error)?;
        ids_of(&rows)
    }
}

pub(super) fn ids_of(rows: &[tokio_postgres::Row]) -> Result<Vec<Uuid>, Error> {
    rows.iter().map(|row| row.try_get(0).map_err(failure::error)).collect()
}

/// Ends work on a message inside an open transaction.
pub(in crate::store) async fn end_in(
    end: &MessageEnd,
    transaction: &Transaction,
) -> Result<Ended, Error> {
    let (state, ack) = (end.state.as_str(), &end.ack.1[..]);
    let (at, effects) = (Timestamptz(end.at), EffectColumns::of(&end.effects));
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![
        &end.id,
        &state,
        &end.ack.0,
        &ack,
        &at,
        &end.map_hash,
        &end.reason,
        &end.holds_its_line,
    ];
    parameters.extend(effects.parameters());
    parameters.push(&end.attempts);
    if transaction.all(END, &parameters).await?.is_empty() {
        return Ok(Ended::Before);
    }
    if !end.issues.is_empty() {
        let issues = IssueColumns::of(&end.issues);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&end.id];
        parameters.extend(issues.parameters());
        transaction.run(ISSUES, &parameters).await?;
    }
    keep_unmapped(end.id, &end.unmapped, transaction).await?;
    Ok(Ended::Now)
}

fn claimed(row: &tokio_postgres::Row) -> Result<Claimed, Error> {
    let text = |at: usize| row.try_get::<_, String>(at).map_err(failure::error);
    let raw: Option<&[u8]> = row.try_get(1).map_err(failure::error)?;
    let received_at: Timestamptz = row.try_get(7).map_err(failure::error)?;
    Ok(Claimed {
        id: row.try_get(0).map_err(failure::error)?,
        raw: Bytes::copy_from_slice(raw.unwrap_or_default()),
        listener: text(2)?,
        peer: row.try_get(3).map_err(failure::error)?,
        site: text(4)?,
        charset: text(5)?,
        attempts: row.try_get(6).map_err(failure::error)?,
        received_at: received_at.0,
        tls_subject: row.try_get(8).map_err(failure::error)?,
        mark: row.try_get(9).map_err(failure::error)?,
    })
}

/// Issues column by column, as `unnest` takes them.
pub(super) struct IssueColumns<'a> {
    number: Vec<i32>,
    severity: Vec<&'a str>,
    code: Vec<i32>,
    name: Vec<&'a str>,
    segment: Vec<&'a str>,
    place: [Vec<i32>; 5],
    text: Vec<&'a str>,
}

impl<'a> IssueColumns<'a> {
    pub(super) fn of(issues: &'a [MessageIssue]) -> Self {
        let place = |at: usize| issues.iter().map(|issue| issue.numbers[at]).collect();
        Self {
            number: (0..).take(issues.len()).collect(),
            severity: issues.iter().map(|issue| issue.severity.as_str()).collect(),
            code: issues.iter().map(|issue| issue.code).collect(),
            name: issues.iter().map(|issue| issue.name.as_str()).collect(),
            segment: issues.iter().map(|issue| issue.segment.as_str()).collect(),
            place: [place(0), place(1), place(2), place(3), place(4)],
            text: issues.iter().map(|issue| issue.text.as_str()).collect(),
        }
    }

    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 11] {
        let [sequence, field, repetition, component, subcomponent] = &self.place;
        [
            &self.number,
            &self.severity,
            &self.code,
            &self.name,
            &self.segment,
            sequence,
            field,
            repetition,
            component,
            subcomponent,
            &self.text,
        ]
    }
}

struct EffectColumns<'a> {
    number: Vec<i32>,
    action: Vec<&'a str>,
    resource_type: Vec<&'a str>,
    id: Vec<&'a str>,
    version: Vec<i32>,
    rule: Vec<&'a str>,
}

impl<'a> EffectColumns<'a> {
    fn of(effects: &'a [MessageEffect]) -> Self {
        Self {
            number: (0..).take(effects.len()).collect(),
            action: effects.iter().map(|effect| effect.action.as_str()).collect(),
            resource_type: effects.iter().map(|effect| effect.resource_type.as_str()).collect(),
            id: effects.iter().map(|effect| effect.id.as_str()).collect(),
            version: effects.iter().map(|effect| effect.version).collect(),
            rule: effects.iter().map(|effect| effect.rule.as_str()).collect(),
        }
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 6] {
        [&self.number, &self.action, &self.resource_type, &self.id, &self.version, &self.rule]
    }
}
