//! Storing a message: durable, once, and in its place in the lines of its patients. An issue with the
//! number -1 is of the receipt: another message of this control id had its effect before.

use std::net::IpAddr;

use bytes::Bytes;
use deadpool_postgres::Object;
use uuid::Uuid;

use super::super::connection::Flush;
use super::super::ledger::insert_ledger;
use super::super::{Store, failure};
use super::list::standing;
use super::receipt::Receipt;
use super::{MessageIssue, MessageState};
use crate::access::{Draft, LedgerRow, Outcome, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::Instant;

/// One statement for many messages: their ledger rows, the keys of repetitions, the messages, their places
/// in line and their issues. Who is first in all its lines is leased at once; who is not is blocked until the
/// one before it ends. The row of a repetition says that it is one. What had its effect has no row in `v2_open`.
/// `$1` to `$20` are the ledger's; `$61`: whether the commit waits for the disk.
pub(super) const RECEIVE: &str = concat!(
    "WITH g AS MATERIALIZED ( \
       SELECT u.*, u.line::bigint[] AS keys FROM unnest($21::uuid[], $22::text[], $23::text[], \
         $24::timestamptz[], $25::bytea[], $26::bytea[], $27::text[], $28::text[], $29::text[], $30::text[], \
         $31::text[], $32::text[], $33::text[], $34::text[], $35::text[], $36::text[], $37::uuid[], \
         $38::text[], $39::text[], $40::bytea[], $41::text[], $42::text[], $43::text[], $44::timestamptz[], \
         $45::timestamptz[], $58::text[], $59::text[], $60::int[]) AS u(id, listener, peer, at, raw, sha256, site, \
         charset, app, fac, control_id, type, event, structure, version, line, batch, state, ack_code, ack, \
         reason, tls, processing, sent, lease, part_of, goes_on, raw_key)), \
     claimed AS ( \
       INSERT INTO v2_dedupe AS known (site, control_id, sha256, message_id, at) \
       SELECT site, control_id, sha256, id, at FROM g WHERE control_id <> '' \
        ORDER BY site, control_id, sha256 \
       ON CONFLICT (site, control_id, sha256) DO UPDATE SET at = known.at \
       RETURNING site, control_id, sha256, message_id), \
     again AS MATERIALIZED ( \
       SELECT 'v2/messages/' || g.id AS entity FROM g JOIN claimed c \
         ON (c.site, c.control_id, c.sha256) = (g.site, g.control_id, g.sha256) AND c.message_id <> g.id), \
     recorded AS (",
    insert_ledger!(many
        "CASE WHEN EXISTS (SELECT FROM again WHERE again.entity = ANY (l.entities::text[])) \
           THEN 'duplicate' ELSE l.failure END"),
    "), \
     behind AS MATERIALIZED ( \
       SELECT g.id, c.message_id AS first, g.state = 'received' AND ( \
           EXISTS (SELECT FROM v2_queue q WHERE q.key = ANY (g.keys)) \
           OR EXISTS (SELECT FROM g o WHERE o.id < g.id AND o.state = 'received' AND o.keys && g.keys)) AS is \
         FROM g LEFT JOIN claimed c ON (c.site, c.control_id, c.sha256) = (g.site, g.control_id, g.sha256) \
           AND c.message_id <> g.id), \
     fate AS ( \
       SELECT b.id, b.first, b.is AND b.first IS NULL AS blocked, \
         b.first IS NULL AND g.state = 'received' AND NOT b.is AND g.lease IS NOT NULL AS leased, \
         CASE WHEN b.first IS NULL THEN g.state ELSE 'duplicate' END AS state \
         FROM behind b JOIN g ON g.id = b.id), \
     stored AS ( \
       INSERT INTO v2_message (id, listener, peer, tls_subject, received_at, raw, sha256, site, charset, \
         send_app, send_fac, control_id, type, event, structure, version, processing, msg_time, order_keys, \
         batch_id, state, duplicate_of, ack_code, ack, processed_at, reason, part_of, goes_on, raw_key) \
       SELECT g.id, g.listener, g.peer, g.tls, g.at, CASE WHEN f.first IS NULL THEN g.raw END, g.sha256, \
         g.site, g.charset, g.app, g.fac, g.control_id, g.type, g.event, g.structure, g.version, \
         g.processing, g.sent, g.keys, g.batch, f.state, f.first, g.ack_code, g.ack, \
         CASE WHEN g.state <> 'received' THEN g.at END, g.reason, g.part_of, g.goes_on, \
         CASE WHEN f.first IS NULL THEN g.raw_key END \
         FROM g JOIN fate f ON f.id = g.id ORDER BY g.id), \
     opened AS ( \
       INSERT INTO v2_open (message_id, site, received_at, order_keys, state, blocked, attempts, lease_until) \
       SELECT g.id, g.site, g.at, g.keys, nullif(f.state, 'received'), f.blocked, f.leased::int, \
         CASE WHEN f.leased THEN g.lease END \
         FROM g JOIN fate f ON f.id = g.id ORDER BY g.id), \
     lined AS ( \
       INSERT INTO v2_queue (key, message_id) \
       SELECT DISTINCT k.key, g.id FROM g JOIN fate f ON f.id = g.id \
         CROSS JOIN LATERAL unnest(g.keys) AS k(key) WHERE f.state = 'received'), \
     told AS ( \
       INSERT INTO v2_issue (message_id, n, severity, code0357, app_code, segment, seq, field, rep, comp, \
         sub, text) \
       SELECT i.message, i.n, i.severity, i.code, i.name, i.segment, i.seq, i.field, i.rep, i.comp, i.sub, \
         i.text \
         FROM fate f JOIN unnest($46::uuid[], $47::int[], $48::text[], $49::int[], $50::text[], $51::text[], \
           $52::int[], $53::int[], $54::int[], $55::int[], $56::int[], $57::text[]) \
           AS i(message, n, severity, code, name, segment, seq, field, rep, comp, sub, text) \
           ON i.message = f.id AND f.first IS NULL \
       UNION ALL \
       SELECT g.id, -1, 'W', 205, 'control-id-reuse', 'MSH', 1, 10, 0, 0, 0, '' \
         FROM g JOIN fate f ON f.id = g.id AND f.first IS NULL \
        WHERE EXISTS (SELECT FROM v2_dedupe d \
                WHERE d.site = g.site AND d.control_id = g.control_id AND d.sha256 <> g.sha256 \
                  AND NOT EXISTS (SELECT FROM v2_open o WHERE o.message_id = d.message_id))) \
     SELECT id, leased, first, blocked, set_config('synchronous_commit', $61::text, true) FROM fate"
);

/// Has the disk take all that was committed before, if a message is there: a crash may have lost one that the disk
/// did not have. A commit waits where it has written something.
const FLUSH: &str =
    "SELECT pg_logical_emit_message(true, 'kiln', ''::text) FROM v2_message WHERE id = $1";

/// What a repetition repeats, once it is committed.
const EARLIER: &str = concat!(
    "SELECT m.id, ",
    standing!(),
    ", m.ack_code, m.ack, m.attempts = 0 FROM v2_message m LEFT JOIN v2_open o ON o.message_id = m.id WHERE m.id = $1"
);

/// The number that the next message of a sender has: `$2` is the one of this message, 0 begins anew.
const EXPECT: &str = "INSERT INTO v2_sequence AS known (site, expected) \
     SELECT $1, greatest($2::bigint, 0) + 1 WHERE $2 >= 0 OR NOT EXISTS ( \
       SELECT FROM v2_sequence WHERE site = $1) \
     ON CONFLICT (site) DO UPDATE SET expected = CASE \
       WHEN $2 = 0 THEN 1 WHEN $2 = known.expected THEN $2 + 1 ELSE known.expected END \
     RETURNING expected";

/// Goes on behind a gap: the messages before `$2` are waited for no longer.
const PASS_OVER: &str = "INSERT INTO v2_sequence AS known (site, expected) VALUES ($1, $2::bigint + 1) \
     ON CONFLICT (site) DO UPDATE SET expected = greatest(known.expected, excluded.expected) \
     RETURNING expected";

const EXPECTED: &str = "SELECT expected FROM v2_sequence WHERE site = $1";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[RECEIVE, FLUSH, EARLIER, EXPECT, PASS_OVER, EXPECTED];

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
    /// Its bytes, which are shared, not copied.
    pub raw: &'a Bytes,
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
    /// What is worth knowing of its receipt, whatever becomes of it.
    pub notes: &'a [MessageIssue],
    /// Hashes of the patients whom one that is refused is known to be about.
    pub patients: &'a [i64],
    /// Until when it is this node's, if it is first in its lines; `None`: it waits in any case.
    pub lease: Option<Instant>,
    /// Whether its commit waits for the disk. It need not where the answer comes after the commit of the
    /// effect, which has the disk take all that was committed before; who answers without one asks for
    /// [`Store::keep_message`] before.
    pub flush: Flush,
}

/// What became of a message when it was stored.
#[derive(Debug)]
pub enum Received {
    /// It is new.
    New {
        /// Whether the one who stored it works on it.
        is_leased: bool,
        /// Whether another one is before it in one of its lines.
        is_blocked: bool,
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
    /// Whether no work on it has ended by now: it waits, or was refused as it came.
    pub is_untried: bool,
}

impl Store {
    /// Stores a message and the ledger row of `draft` in one commit, which the disk has if the message says
    /// so. What repeats another is on the disk in any case: nothing else is committed before its answer.
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
        let sealed = self.0.vault.seal(new.id, new.raw)?;
        let stored = self.0.receipts.submit(self, Receipt::of(new, sealed, row)).await?;
        if let Some(first) = stored.first {
            if new.flush == Flush::Soon {
                self.keep_message(new.id).await?;
            }
            let connection = self.0.feeds.connection().await?;
            return Ok(taken.with(Received::Repeated(repeated(&connection, first).await?)));
        }
        let (is_leased, is_blocked) = (stored.is_leased, stored.is_blocked);
        Ok(taken.with(Received::New { is_leased, is_blocked }))
    }

    /// Waits until the disk has a message.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it may not have it, or a crash of the database has lost it.
    pub async fn keep_message(&self, id: Uuid) -> Result<(), Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(FLUSH).await.map_err(failure::error)?;
        let kept = connection.query_opt(&statement, &[&id]).await.map_err(failure::error)?;
        let lost = || Error::Unavailable("the database has lost a message".into());
        kept.map(drop).ok_or_else(lost)
    }

    /// Takes the number of a message (MSH-13): the one that the next message of its sender has.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn expect_message(&self, site: &str, number: i64) -> Result<i64, Error> {
        let connection = self.0.feeds.connection().await?;
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

    /// Waits no longer for messages with numbers before this one: the number that the next message has.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn pass_over_messages(&self, site: &str, number: i64) -> Result<i64, Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(PASS_OVER).await.map_err(failure::error)?;
        let row = connection.query_one(&statement, &[&site, &number]).await;
        row.and_then(|row| row.try_get(0)).map_err(failure::error)
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
    let NewMessage { control_id, application, facility, .. } = new;
    row.disclosed.entities.push(format!("v2/messages/{}", new.id));
    // Messages are kept for a time, the record for years.
    if !(control_id.is_empty() && application.is_empty() && facility.is_empty()) {
        let sent = format!("message control id {control_id}, from {application}|{facility}");
        row.disclosed.entities.push(sent);
    }
    row.disclosed.patients.extend(new.patients);
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
        return Ok(Earlier { id, state: MessageState::Processed, ack: None, is_untried: false });
    };
    let state: &str = row.try_get(1).map_err(failure::error)?;
    let state = MessageState::parse(state).ok_or_else(|| Error::internal("a state of messages"))?;
    let code: Option<String> = row.try_get(2).map_err(failure::error)?;
    let ack: Option<&[u8]> = row.try_get(3).map_err(failure::error)?;
    let is_untried = row.try_get(4).map_err(failure::error)?;
    Ok(Earlier { id, state, ack: code.zip(ack.map(Bytes::copy_from_slice)), is_untried })
}
