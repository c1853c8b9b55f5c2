//! Storing a message: durable, once, and in its place in the lines of its patients. An issue with the
//! number -1 is of the receipt: another message of this control id had its effect before.

use std::net::IpAddr;

use bytes::Bytes;
use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::ledger::{Columns, insert_ledger};
use super::super::rows::Timestamptz;
use super::super::{Store, TENANT, failure};
use super::queue::IssueColumns;
use super::{MessageIssue, MessageState};
use crate::access::{Draft, LedgerRow, Outcome, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::Instant;

/// One statement: the ledger row, the key of repetitions, the message, its places in line and its
/// issues. Who is first in all its lines is leased at once. `$1` to `$19` are the ledger's.
const RECEIVE: &str = concat!(
    "WITH recorded AS (",
    insert_ledger!(one),
    "), \
     claimed AS ( \
       INSERT INTO v2_dedupe AS known (site, control_id, sha256, message_id, at) \
       SELECT $26, $30, $25, $20, $23 WHERE $30 <> '' \
       ON CONFLICT (site, control_id, sha256) DO UPDATE SET at = known.at \
       RETURNING message_id), \
     fate AS ( \
       SELECT CASE \
           WHEN EXISTS (SELECT FROM claimed WHERE message_id <> $20) THEN 'duplicate' \
           WHEN $37::text <> 'received' THEN $37::text \
           WHEN NOT $56::bool OR EXISTS (SELECT FROM v2_queue WHERE key = ANY ($35::bigint[])) \
             THEN 'received' \
           ELSE 'processing' END AS state, \
         (SELECT message_id FROM claimed WHERE message_id <> $20) AS first), \
     stored AS ( \
       INSERT INTO v2_message (id, listener, peer, tls_subject, received_at, raw, sha256, site, charset, \
         send_app, send_fac, control_id, type, event, structure, version, processing, msg_time, order_keys, \
         batch_id, state, attempts, lease_until, duplicate_of, ack_code, ack, processed_at, reason, part_of, \
         goes_on) \
       SELECT $20, $21, $22, $41, $23, CASE WHEN fate.first IS NULL THEN $24::bytea END, $25, $26, $27, \
         $28, $29, $30, $31, $32, $33, $34, $42, $43::timestamptz, $35, \
         $36::uuid, fate.state, CASE fate.state WHEN 'processing' THEN 1 ELSE 0 END, \
         CASE fate.state WHEN 'processing' THEN $44::timestamptz END, fate.first, $38::text, $39::bytea, \
         CASE WHEN $37::text <> 'received' THEN $23::timestamptz END, $40::text, $57::text, $58::text \
         FROM fate \
       RETURNING state, duplicate_of), \
     lined AS ( \
       INSERT INTO v2_queue (key, message_id) \
       SELECT DISTINCT unnest($35::bigint[]), $20::uuid FROM stored WHERE state IN ('received', 'processing')), \
     told AS ( \
       INSERT INTO v2_issue (message_id, n, severity, code0357, app_code, segment, seq, field, rep, comp, \
         sub, text) \
       SELECT $20, i.n, i.severity, i.code, i.name, i.segment, i.seq, i.field, i.rep, i.comp, i.sub, i.text \
         FROM stored, unnest($45::int[], $46::text[], $47::int[], $48::text[], $49::text[], $50::int[], \
           $51::int[], $52::int[], $53::int[], $54::int[], $55::text[]) \
           AS i(n, severity, code, name, segment, seq, field, rep, comp, sub, text) \
        WHERE stored.duplicate_of IS NULL \
       UNION ALL \
       SELECT $20, -1, 'W', 205, 'control-id-reuse', 'MSH', 1, 10, 0, 0, 0, '' \
         FROM stored \
        WHERE stored.duplicate_of IS NULL \
          AND EXISTS (SELECT FROM v2_dedupe d JOIN v2_message m ON m.id = d.message_id \
                WHERE d.site = $26 AND d.control_id = $30 AND d.sha256 <> $25 \
                  AND m.state IN ('processed', 'processed_with_issues'))) \
     SELECT state, duplicate_of FROM stored"
);

/// What a repetition repeats, once it is committed.
const EARLIER: &str = "SELECT id, state, ack_code, ack FROM v2_message WHERE id = $1";

/// The parts before the one whose MSH-14 is `$2`, the first one first; each with its own MSH-14. Names of
/// parts may come again: each step takes the newest part that is older than the one that goes on from it.
const PARTS: &str = "WITH RECURSIVE chain AS ( \
       (SELECT id, raw, part_of, 1 AS n FROM v2_message \
         WHERE site = $1 AND goes_on = $2 AND state = 'fragment' AND received_at > $3 \
         ORDER BY id DESC LIMIT 1) \
       UNION ALL \
       SELECT m.id, m.raw, m.part_of, c.n + 1 FROM chain c CROSS JOIN LATERAL ( \
         SELECT b.id, b.raw, b.part_of FROM v2_message b \
          WHERE b.site = $1 AND b.goes_on = c.part_of AND b.state = 'fragment' AND b.id < c.id \
            AND b.received_at > $3 ORDER BY b.id DESC LIMIT 1) m \
        WHERE c.part_of <> '' AND c.n < 1000) \
     SELECT raw, part_of FROM chain ORDER BY n DESC";

/// The number that the next message of a sender has: `$2` is the one of this message, 0 begins anew.
const EXPECT: &str = "INSERT INTO v2_sequence AS known (site, expected) \
     SELECT $1, greatest($2::bigint, 0) + 1 WHERE $2 >= 0 OR NOT EXISTS ( \
       SELECT FROM v2_sequence WHERE site = $1) \
     ON CONFLICT (site) DO UPDATE SET expected = CASE \
       WHEN $2 = 0 THEN 1 WHEN $2 = known.expected THEN $2 + 1 ELSE known.expected END \
     RETURNING expected";

const EXPECTED: &str = "SELECT expected FROM v2_sequence WHERE site = $1";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[RECEIVE, EARLIER, PARTS, EXPECT, EXPECTED];

/// A message as it came, with what its header says.
#[derive(Debug)]
pub struct NewMessage<'a> {
    /// Its id, a UUIDv7.
    pub id: Uuid,
    /// By which listener it came.
    pub listener: &'a str,
    /// From which address.
    pub peer: Option<IpAddr>,
    /// The name in the client's certificate.
    pub tls_subject: Option<&'a str>,
    /// When.
    pub at: Instant,
    /// Its bytes.
    pub raw: &'a [u8],
    /// Their digest, or that of what must be the same in a repetition.
    pub digest: [u8; 32],
    /// Who sends, as repetitions and maps are kept by.
    pub site: &'a str,
    /// The character set it was read in.
    pub charset: &'a str,
    /// MSH-3.
    pub application: &'a str,
    /// MSH-4.
    pub facility: &'a str,
    /// MSH-10.
    pub control_id: &'a str,
    /// MSH-9.1.
    pub kind: &'a str,
    /// MSH-9.2.
    pub event: &'a str,
    /// MSH-9.3.
    pub structure: &'a str,
    /// MSH-12.
    pub version: &'a str,
    /// MSH-11.
    pub processing: &'a str,
    /// MSH-14: under which name the part before it went on, or nothing.
    pub part_of: &'a str,
    /// DSC-1: where it goes on, or nothing.
    pub goes_on: &'a str,
    /// MSH-7.
    pub sent: Option<Instant>,
    /// Its lines: hashes of the identifiers of its patients, or of its sender.
    pub lines: &'a [i64],
    /// The batch it came in.
    pub batch: Option<Uuid>,
    /// `Received`, or how it ended before it began.
    pub state: MessageState,
    /// The answer, where there is one by now.
    pub ack: Option<(&'static str, &'a [u8])>,
    /// Why it ended.
    pub reason: &'a str,
    /// What was found.
    pub issues: &'a [MessageIssue],
    /// Until when it is this node's, if it is first in its lines; `None`: it waits in any case.
    pub lease: Option<Instant>,
}

/// What became of a message when it was stored.
#[derive(Debug)]
pub enum Received {
    /// It is new.
    New {
        /// Whether the one who stored it works on it.
        is_leased: bool,
    },
    /// The same bytes came before.
    Repeated(Earlier),
}

/// What a repetition repeats.
#[derive(Debug)]
pub struct Earlier {
    /// The message.
    pub id: Uuid,
    /// Where it stands.
    pub state: MessageState,
    /// Its answer, where there is one.
    pub ack: Option<(String, Bytes)>,
}

impl Store {
    /// Stores a message and the ledger row of `draft` in one commit that the disk has.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database: then nothing may be answered.
    pub async fn receive_message(
        &self,
        new: &NewMessage<'_>,
        draft: Draft,
        _permit: &Permit<'_>,
    ) -> Result<Unaudited<Received>, Error> {
        let (mut row, taken) = draft.take_row();
        describe(&mut row, new);
        let columns = Columns::of([&row], self.0.parties.keys([&row]).await?);
        let peer = new.peer.map(|peer| peer.to_string());
        let digest: &[u8] = &new.digest;
        let (code, ack) = new.ack.unzip();
        let (at, sent) = (Timestamptz(new.at), new.sent.map(Timestamptz));
        let (lease, state) = (new.lease.map(Timestamptz), new.state.as_str());
        let may_lease = new.lease.is_some();
        let issues = IssueColumns::of(new.issues);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
        parameters.extend(columns.parameters());
        let own: [&(dyn ToSql + Sync); 25] = [
            &new.id,
            &new.listener,
            &peer,
            &at,
            &new.raw,
            &digest,
            &new.site,
            &new.charset,
            &new.application,
            &new.facility,
            &new.control_id,
            &new.kind,
            &new.event,
            &new.structure,
            &new.version,
            &new.lines,
            &new.batch,
            &state,
            &code,
            &ack,
            &new.reason,
            &new.tls_subject,
            &new.processing,
            &sent,
            &lease,
        ];
        parameters.extend(own);
        parameters.extend(issues.parameters());
        parameters.push(&may_lease);
        parameters.push(&new.part_of);
        parameters.push(&new.goes_on);
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(RECEIVE).await.map_err(failure::error)?;
        let stored = connection.query_one(&statement, &parameters).await.map_err(failure::error)?;
        let first: Option<Uuid> = stored.try_get(1).map_err(failure::error)?;
        if let Some(first) = first {
            return Ok(taken.with(Received::Repeated(repeated(&connection, first).await?)));
        }
        let state: &str = stored.try_get(0).map_err(failure::error)?;
        let is_leased = state == MessageState::Processing.as_str();
        Ok(taken.with(Received::New { is_leased }))
    }

    /// The bytes of the parts before the one that goes on from `name`, the first one first; `None` while
    /// one of them is missing. One from before `since` is waited for no longer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn message_parts(
        &self,
        site: &str,
        name: &str,
        since: Instant,
    ) -> Result<Option<Vec<Bytes>>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(PARTS).await?;
        let rows = pipeline.client().query(&statement, &[&site, &name, &Timestamptz(since)]).await;
        let rows = rows.map_err(failure::error)?;
        let Some(first) = rows.first() else { return Ok(None) };
        let before: &str = first.try_get(1).map_err(failure::error)?;
        if !before.is_empty() {
            return Ok(None);
        }
        let raw = |row: &tokio_postgres::Row| -> Result<Option<Bytes>, tokio_postgres::Error> {
            let raw: Option<&[u8]> = row.try_get(0)?;
            Ok(raw.map(Bytes::copy_from_slice))
        };
        rows.iter().map(raw).collect::<Result<_, _>>().map_err(failure::error)
    }

    /// Takes the number of a message (MSH-13): the one that the next message of its sender has.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn expect_message(&self, site: &str, number: i64) -> Result<i64, Error> {
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(EXPECT).await.map_err(failure::error)?;
        let row = connection.query_opt(&statement, &[&site, &number]).await;
        let row = if let Some(row) = row.map_err(failure::error)? {
            row
        } else {
            let statement = connection.prepare_cached(EXPECTED).await.map_err(failure::error)?;
            connection.query_one(&statement, &[&site]).await.map_err(failure::error)?
        };
        row.try_get(0).map_err(failure::error)
    }

    /// Where a message stands, for the one who sent it and waits for its answer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn message_answer(&self, id: Uuid) -> Result<Earlier, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(EARLIER).await?;
        let row = pipeline.client().query_opt(&statement, &[&id]).await.map_err(failure::error)?;
        earlier(id, row.as_ref())
    }
}

/// What the ledger says of a receipt.
fn describe(row: &mut LedgerRow, new: &NewMessage<'_>) {
    row.disclosed.entities.push(format!("v2/messages/{}", new.id));
    if matches!(new.state, MessageState::Rejected | MessageState::Failed) {
        row.outcome = Outcome::Refused;
        new.reason.clone_into(&mut row.failure);
    }
}

/// What a message that is stored already repeats.
async fn repeated(connection: &Object, first: Uuid) -> Result<Earlier, Error> {
    let statement = connection.prepare_cached(EARLIER).await.map_err(failure::error)?;
    let row = connection.query_opt(&statement, &[&first]).await;
    earlier(first, row.map_err(failure::error)?.as_ref())
}

fn earlier(id: Uuid, row: Option<&tokio_postgres::Row>) -> Result<Earlier, Error> {
    // What is kept for a time only may be gone: its effect is not.
    let Some(row) = row else {
        return Ok(Earlier { id, state: MessageState::Processed, ack: None });
    };
    let state: &str = row.try_get(1).map_err(failure::error)?;
    let state = MessageState::parse(state).ok_or_else(|| Error::internal("a state of messages"))?;
    let code: Option<String> = row.try_get(2).map_err(failure::error)?;
    let ack: Option<&[u8]> = row.try_get(3).map_err(failure::error)?;
    Ok(Earlier { id, state, ack: code.zip(ack.map(Bytes::copy_from_slice)) })
}
