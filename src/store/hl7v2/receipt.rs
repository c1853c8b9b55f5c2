//! Receipts of many messages in one statement, one commit and at most one wait for the disk.
//!
//! Messages whose statement fails for one of them, such as the same message twice at the same moment, are
//! stored one by one.

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::connection::Flush;
use super::super::ledger::Columns;
use super::super::rows::{Timestamptz, number_array};
use super::super::together::{Queue, Together};
use super::super::{Store, TENANT, failure};
use super::end::Issues;
use super::receive::RECEIVE;
use super::{MessageIssue, MessageState, NewMessage};
use crate::access::LedgerRow;
use crate::error::Error;
use crate::fhir::Instant;

/// Statements in flight at once: while one waits for the disk, the next gathers and runs.
const LANES: usize = 2;
/// Most messages in one statement; a large one counts as several.
const MOST: usize = 64;
/// As much of a message counts as one.
const PART_BYTES: usize = 64 * 1024;

/// What waits to be stored.
pub(in crate::store) struct Receipts {
    queue: Queue<Lanes>,
}

/// The writers, for receipts.
struct Lanes(Store);

impl Default for Receipts {
    fn default() -> Self {
        Self { queue: Queue::new(LANES, MOST).gathering().even() }
    }
}

impl Receipts {
    /// Has a message stored, alone or together with others.
    pub(super) async fn submit(&self, store: &Store, receipt: Receipt) -> Result<Stored, Error> {
        self.queue.submit(&Lanes(store.clone()), receipt).await
    }
}

/// A message on its way, with its row of the ledger.
pub(super) struct Receipt {
    row: LedgerRow,
    id: Uuid,
    listener: String,
    peer: Option<String>,
    tls_subject: Option<String>,
    at: Instant,
    /// As it is stored, with the number of the data key where it is sealed.
    raw: (Bytes, Option<i32>),
    digest: [u8; 32],
    /// Site, character set, MSH-3, 4, 10, 9.1, 9.2, 9.3, 12, 11, 14, and where it goes on.
    texts: [String; 12],
    sent: Option<Instant>,
    lines: String,
    batch: Option<Uuid>,
    state: MessageState,
    ack: Option<(&'static str, Bytes)>,
    reason: String,
    issues: Vec<MessageIssue>,
    notes: Vec<MessageIssue>,
    lease: Option<Instant>,
    flush: Flush,
}

/// What became of it.
pub(super) struct Stored {
    /// The message that it repeats.
    pub(super) first: Option<Uuid>,
    /// Whether it is leased.
    pub(super) is_leased: bool,
    /// Whether another one is before it.
    pub(super) is_blocked: bool,
}

impl Receipt {
    /// `sealed`: its text, with the number of the data key; else it is stored as it came.
    pub(super) fn of(new: &NewMessage<'_>, sealed: Option<(i32, Bytes)>, row: LedgerRow) -> Self {
        let texts = [
            new.site,
            new.charset,
            new.application,
            new.facility,
            new.control_id,
            new.kind,
            new.event,
            new.structure,
            new.version,
            new.processing,
            new.part_of,
            new.goes_on,
        ];
        Self {
            row,
            id: new.id,
            listener: new.listener.to_owned(),
            peer: new.peer.map(|peer| peer.to_string()),
            tls_subject: new.tls_subject.map(str::to_owned),
            at: new.at,
            raw: sealed.map_or_else(|| (new.raw.clone(), None), |(key, raw)| (raw, Some(key))),
            digest: new.digest,
            texts: texts.map(str::to_owned),
            sent: new.sent,
            lines: number_array(new.lines),
            batch: new.batch,
            state: new.state,
            ack: new.ack.map(|(code, ack)| (code, Bytes::copy_from_slice(ack))),
            reason: new.reason.to_owned(),
            issues: new.issues.to_vec(),
            notes: new.notes.to_vec(),
            lease: new.lease,
            flush: new.flush,
        }
    }
}

impl Together for Lanes {
    type Work = Receipt;
    type Answer = Stored;
    type Fault = Error;

    fn weight(receipt: &Receipt) -> usize {
        1 + receipt.raw.0.len() / PART_BYTES
    }

    async fn run(&self, batch: &[Receipt]) -> Result<Vec<Stored>, Error> {
        let rows = || batch.iter().map(|one| &one.row);
        // What is new among them is added before a writer is taken, which would wait with it.
        self.0.0.parties.keys(rows()).await?;
        let connection = self.0.0.feeds.connection().await?;
        let statement = connection.prepare_cached(RECEIVE).await.map_err(failure::error)?;
        let parties = self.0.0.parties.keys(rows()).await?;
        let (ledger, columns) = (Columns::of(rows(), parties), ReceiptColumns::of(batch));
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
        parameters.extend(ledger.parameters());
        parameters.extend(columns.parameters());
        // One that waits has all of them wait.
        let waits = batch.iter().any(|one| one.flush == Flush::Wait);
        let flush = if waits { Flush::Wait } else { Flush::Soon }.setting();
        parameters.push(&flush);
        let rows = connection.query(&statement, &parameters).await.map_err(failure::error)?;
        let row_of = |one: &Receipt| {
            let is_its = |row: &&Row| row.try_get::<_, Uuid>(0).is_ok_and(|id| id == one.id);
            let row =
                rows.iter().find(is_its).ok_or_else(|| Error::internal("no row of a receipt"))?;
            stored(row).map_err(failure::error)
        };
        batch.iter().map(row_of).collect()
    }
}

fn stored(row: &Row) -> Result<Stored, tokio_postgres::Error> {
    Ok(Stored { first: row.try_get(2)?, is_leased: row.try_get(1)?, is_blocked: row.try_get(3)? })
}

/// Receipts column by column, as `unnest` takes them.
#[derive(Default)]
struct ReceiptColumns<'a> {
    id: Vec<Uuid>,
    listener: Vec<&'a str>,
    peer: Vec<Option<&'a str>>,
    tls_subject: Vec<Option<&'a str>>,
    at: Vec<Timestamptz>,
    raw: Vec<&'a [u8]>,
    key: Vec<Option<i32>>,
    digest: Vec<&'a [u8]>,
    texts: [Vec<&'a str>; 12],
    sent: Vec<Option<Timestamptz>>,
    lines: Vec<&'a str>,
    batch: Vec<Option<Uuid>>,
    state: Vec<&'a str>,
    code: Vec<Option<&'a str>>,
    ack: Vec<Option<&'a [u8]>>,
    reason: Vec<&'a str>,
    lease: Vec<Option<Timestamptz>>,
    issues: Issues<'a>,
}

impl<'a> ReceiptColumns<'a> {
    fn of(batch: &'a [Receipt]) -> Self {
        let mut columns = Self::default();
        for one in batch {
            columns.push(one);
        }
        columns
    }

    fn push(&mut self, one: &'a Receipt) {
        self.id.push(one.id);
        self.listener.push(&one.listener);
        self.peer.push(one.peer.as_deref());
        self.tls_subject.push(one.tls_subject.as_deref());
        self.at.push(Timestamptz(one.at));
        self.raw.push(&one.raw.0);
        self.key.push(one.raw.1);
        self.digest.push(&one.digest);
        for (column, text) in self.texts.iter_mut().zip(&one.texts) {
            column.push(text);
        }
        self.sent.push(one.sent.map(Timestamptz));
        self.lines.push(&one.lines);
        self.batch.push(one.batch);
        self.state.push(one.state.as_str());
        self.code.push(one.ack.as_ref().map(|(code, _)| *code));
        self.ack.push(one.ack.as_ref().map(|(_, ack)| &ack[..]));
        self.reason.push(&one.reason);
        self.lease.push(one.lease.map(Timestamptz));
        self.issues.push(one.id, &one.issues);
        self.issues.push_notes(one.id, &one.notes);
    }

    /// In the order of the statement, from `$21` on.
    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let [
            site,
            charset,
            application,
            facility,
            control_id,
            kind,
            event,
            structure,
            version,
            processing,
            part_of,
            goes_on,
        ] = &self.texts;
        let mut all: Vec<&(dyn ToSql + Sync)> = vec![
            &self.id,
            &self.listener,
            &self.peer,
            &self.at,
            &self.raw,
            &self.digest,
            site,
            charset,
            application,
            facility,
            control_id,
            kind,
            event,
            structure,
            version,
            &self.lines,
            &self.batch,
            &self.state,
            &self.code,
            &self.ack,
            &self.reason,
            &self.tls_subject,
            processing,
            &self.sent,
            &self.lease,
        ];
        all.extend(self.issues.parameters());
        all.push(part_of);
        all.push(goes_on);
        all.push(&self.key);
        all
    }
}
