//! Messages as people look for them.

use bytes::Bytes;
use uuid::Uuid;

use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use super::{MessageEffect, MessageIssue, MessageState};
use crate::access::{Disclosed, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::{Instant, LogicalId};

/// Where a message `m` stands, with its row `o` of `v2_open` or none: what waits or is at work says so there.
macro_rules! standing {
    () => {
        "COALESCE(o.state, CASE WHEN o.lease_until IS NOT NULL THEN 'processing' \
           WHEN o.message_id IS NOT NULL THEN 'received' END, m.state)"
    };
}
pub(super) use standing;

/// What a list shows of each.
macro_rules! shown {
    () => {
        concat!(
            "SELECT m.id, m.received_at, m.listener, m.site, m.control_id, m.type, m.event, ",
            standing!(),
            ", COALESCE(o.attempts, m.attempts), m.ack_code, COALESCE(o.reason, m.reason), m.processed_at, \
             m.duplicate_of"
        )
    };
}

/// What is asked for, but the state. The ids tell in which months to look; an id is made a moment before
/// the time of receipt.
macro_rules! wanted {
    () => {
        " AND ($2::text IS NULL OR m.site = $2) \
          AND ($3::text IS NULL OR m.type = $3) AND ($4::text IS NULL OR m.event = $4) \
          AND ($5::timestamptz IS NULL OR m.received_at >= $5) \
          AND ($6::timestamptz IS NULL OR m.received_at < $6) \
          AND ($7::text IS NULL OR m.control_id = $7) \
          AND ($8::text IS NULL OR EXISTS (SELECT FROM v2_effect e WHERE e.message_id = m.id \
                AND e.resource_type = 'Patient' AND e.resource_id = $8)) \
          AND m.id >= COALESCE(kiln_first_id($5 - interval '1 minute'), '00000000-0000-0000-0000-000000000000') \
          AND m.id <= COALESCE(kiln_first_id($6 + interval '1 minute'), 'ffffffff-ffff-ffff-ffff-ffffffffffff') \
          AND m.id < COALESCE($9::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff') "
    };
}

/// Of all, or of what was processed.
const LIST: &str = concat!(
    shown!(),
    " FROM v2_message m LEFT JOIN v2_open o ON o.message_id = m.id \
     WHERE ($1::text IS NULL OR (o.message_id IS NULL AND m.state = $1))",
    wanted!(),
    "ORDER BY m.id DESC LIMIT $10"
);

/// Of what was processed and has issues: by these, for there may be few among many.
const LIST_TOLD: &str = concat!(
    shown!(),
    " FROM (SELECT DISTINCT ON (message_id) message_id FROM v2_issue \
        WHERE message_id < COALESCE($9::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff') \
        ORDER BY message_id DESC) AS i \
     JOIN v2_message m ON m.id = i.message_id LEFT JOIN v2_open o ON o.message_id = m.id \
     WHERE o.message_id IS NULL AND m.state = $1",
    wanted!(),
    "ORDER BY i.message_id DESC LIMIT $10"
);

/// Of what waits or is at work.
const LIST_WAITING: &str = concat!(
    shown!(),
    " FROM (SELECT * FROM v2_open WHERE state IS NULL AND NOT blocked UNION ALL \
        SELECT * FROM v2_open WHERE state IS NULL AND blocked) AS o \
     JOIN v2_message m ON m.id = o.message_id \
     WHERE (o.lease_until IS NOT NULL) = ($1::text = 'processing')",
    wanted!(),
    "ORDER BY o.message_id DESC LIMIT $10"
);

/// Of what ended otherwise than well.
const LIST_ENDED: &str = concat!(
    shown!(),
    " FROM v2_open o JOIN v2_message m ON m.id = o.message_id \
     WHERE o.state = $1 AND o.message_id < COALESCE($9::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')",
    wanted!(),
    "ORDER BY o.message_id DESC LIMIT $10"
);

const ONE: &str = concat!(
    shown!(),
    ", m.raw, m.ack, m.charset, m.version, m.peer, m.tls_subject, m.map_hash, \
       (SELECT count(*) FROM v2_message d WHERE d.duplicate_of = m.id), m.raw_key \
     FROM v2_message m LEFT JOIN v2_open o ON o.message_id = m.id WHERE m.id = $1"
);

const ISSUES: &str = "SELECT severity, code0357, app_code, segment, seq, field, rep, comp, sub, text \
     FROM v2_issue WHERE message_id = $1 ORDER BY n";

const EFFECTS: &str = "SELECT action, resource_type, resource_id, version, map_rule \
     FROM v2_effect WHERE message_id = $1 ORDER BY n";

/// Each part has an index of its own.
const COUNT: &str = "SELECT CASE WHEN state IS NOT NULL THEN state WHEN lease_until IS NULL THEN 'received' \
       ELSE 'processing' END, site, count(*), min(received_at) FROM ( \
       SELECT state, lease_until, site, received_at FROM v2_open WHERE state IS NULL AND NOT blocked UNION ALL \
       SELECT state, lease_until, site, received_at FROM v2_open WHERE state IS NULL AND blocked UNION ALL \
       SELECT state, lease_until, site, received_at FROM v2_open WHERE state IN ('failed', 'held')) AS o \
     GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1000";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[LIST, LIST_TOLD, LIST_WAITING, LIST_ENDED, ONE, ISSUES, EFFECTS, COUNT];

/// Which messages are asked for; `None` leaves open.
#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    /// Where they stand.
    pub state: Option<MessageState>,
    /// Who sent them.
    pub site: Option<String>,
    /// MSH-9.1.
    pub kind: Option<String>,
    /// MSH-9.2.
    pub event: Option<String>,
    /// Received at or after.
    pub since: Option<Instant>,
    /// Received before.
    pub until: Option<Instant>,
    /// MSH-10.
    pub control_id: Option<String>,
    /// The id of a Patient that they changed.
    pub patient: Option<String>,
    /// Older than this one: the page after it.
    pub before: Option<Uuid>,
    /// How many.
    pub count: i64,
}

/// One line of a list: nothing of it is about a patient.
#[derive(Clone, Debug)]
pub struct MessageRow {
    /// Its id.
    pub id: Uuid,
    /// When it came.
    pub received_at: Instant,
    /// By which listener.
    pub listener: String,
    /// From whom.
    pub site: String,
    /// MSH-10.
    pub control_id: String,
    /// MSH-9.1.
    pub kind: String,
    /// MSH-9.2.
    pub event: String,
    /// Where it stands.
    pub state: MessageState,
    /// How often it was begun.
    pub attempts: i32,
    /// How it was answered.
    pub ack_code: Option<String>,
    /// Why it failed or was discarded.
    pub reason: String,
    /// When work on it ended.
    pub processed_at: Option<Instant>,
    /// What it repeats.
    pub duplicate_of: Option<Uuid>,
}

/// One message with all that is known of it.
#[derive(Clone, Debug)]
pub struct MessageView {
    /// The line of the list.
    pub row: MessageRow,
    /// Its bytes; `None` when they are kept no longer, and for a repetition.
    pub raw: Option<Bytes>,
    /// Its answer.
    pub ack: Option<Bytes>,
    /// The character set it was read in.
    pub charset: String,
    /// MSH-12.
    pub version: String,
    /// The address it came from.
    pub peer: Option<String>,
    /// The name in the client's certificate.
    pub tls_subject: Option<String>,
    /// The maps that it was done by.
    pub map_hash: Option<String>,
    /// How often it came again.
    pub repetitions: i64,
    /// What was found.
    pub issues: Vec<MessageIssue>,
    /// What it did.
    pub effects: Vec<MessageEffect>,
}

/// How many messages of a sender are in a state that is no good end.
#[derive(Clone, Debug)]
pub struct Counted {
    /// The state.
    pub state: MessageState,
    /// The sender.
    pub site: String,
    /// How many.
    pub count: i64,
    /// When the oldest came.
    pub oldest: Instant,
}

impl Store {
    /// The newest messages that a filter lets through.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn messages(
        &self,
        filter: &MessageFilter,
        _permit: &Permit<'_>,
    ) -> Result<Unaudited<Vec<MessageRow>>, Error> {
        let list = match filter.state {
            None | Some(MessageState::Processed) => LIST,
            Some(MessageState::ProcessedWithIssues) => LIST_TOLD,
            Some(MessageState::Received | MessageState::Processing) => LIST_WAITING,
            Some(_) => LIST_ENDED,
        };
        let state = filter.state.map(MessageState::as_str);
        let (since, until) = (filter.since.map(Timestamptz), filter.until.map(Timestamptz));
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(list).await?;
        let rows = pipeline
            .client()
            .query(
                &statement,
                &[
                    &state,
                    &filter.site,
                    &filter.kind,
                    &filter.event,
                    &since,
                    &until,
                    &filter.control_id,
                    &filter.patient,
                    &filter.before,
                    &filter.count,
                ],
            )
            .await
            .map_err(failure::error)?;
        let rows = rows.iter().map(line).collect::<Result<Vec<_>, _>>()?;
        // Which messages changed a patient is told of that patient.
        let patient = filter.patient.as_deref().and_then(|id| id.parse::<LogicalId>().ok());
        let patients = patient.iter().map(|id| self.hasher().patient(id)).collect();
        Ok(Unaudited::new(rows, Disclosed { patients, ..Disclosed::default() }))
    }

    /// One message with its issues and effects.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] where its text is sealed with a key that is not here;
    /// [`Error::Unavailable`] without a database.
    pub async fn message(
        &self,
        id: Uuid,
        _permit: &Permit<'_>,
    ) -> Result<Unaudited<MessageView>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let mut rows = Vec::new();
        for sql in [ONE, ISSUES, EFFECTS] {
            let statement = pipeline.prepare(sql).await?;
            let found = pipeline.client().query(&statement, &[&id]).await;
            rows.push(found.map_err(failure::error)?);
        }
        let row = rows[0].first().ok_or_else(|| Error::NotFound(format!("message {id}")))?;
        let bytes = |at: usize| row.try_get::<_, Option<&[u8]>>(at).map_err(failure::error);
        let key: Option<i32> = row.try_get(21).map_err(failure::error)?;
        let raw = match bytes(13)? {
            Some(raw) => Some(self.opened_text(id, key, raw).await?),
            None => None,
        };
        let view = MessageView {
            row: line(row)?,
            raw,
            ack: bytes(14)?.map(Bytes::copy_from_slice),
            charset: row.try_get(15).map_err(failure::error)?,
            version: row.try_get(16).map_err(failure::error)?,
            peer: row.try_get(17).map_err(failure::error)?,
            tls_subject: row.try_get(18).map_err(failure::error)?,
            map_hash: row.try_get(19).map_err(failure::error)?,
            repetitions: row.try_get(20).map_err(failure::error)?,
            issues: rows[1].iter().map(issue).collect::<Result<_, _>>().map_err(failure::error)?,
            effects: rows[2]
                .iter()
                .map(effect)
                .collect::<Result<_, _>>()
                .map_err(failure::error)?,
        };
        let patients = view.effects.iter().filter(|effect| effect.resource_type == "Patient");
        let patients = patients.filter_map(|effect| effect.id.parse().ok());
        let patients = patients.map(|id| self.0.hasher.patient(&id)).collect();
        let entities = vec![format!("v2/messages/{id}")];
        Ok(Unaudited::new(view, Disclosed { patients, entities, ..Disclosed::default() }))
    }

    /// What a message did so far, for who works on it again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn message_effects(&self, id: Uuid) -> Result<Vec<MessageEffect>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(EFFECTS).await?;
        let rows = pipeline.client().query(&statement, &[&id]).await.map_err(failure::error)?;
        rows.iter().map(effect).collect::<Result<_, _>>().map_err(failure::error)
    }

    /// How many messages wait or have failed, by sender: numbers alone, for the metrics.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn message_counts(&self) -> Result<Vec<Counted>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(COUNT).await?;
        let rows = pipeline.client().query(&statement, &[]).await.map_err(failure::error)?;
        rows.iter().map(counted).collect()
    }
}

fn counted(row: &tokio_postgres::Row) -> Result<Counted, Error> {
    let oldest: Timestamptz = row.try_get(3).map_err(failure::error)?;
    Ok(Counted {
        state: state(row, 0)?,
        site: row.try_get(1).map_err(failure::error)?,
        count: row.try_get(2).map_err(failure::error)?,
        oldest: oldest.0,
    })
}

fn state(row: &tokio_postgres::Row, at: usize) -> Result<MessageState, Error> {
    let name: &str = row.try_get(at).map_err(failure::error)?;
    MessageState::parse(name).ok_or_else(|| Error::internal("a state of messages"))
}

fn line(row: &tokio_postgres::Row) -> Result<MessageRow, Error> {
    let text = |at: usize| row.try_get::<_, String>(at).map_err(failure::error);
    let received_at: Timestamptz = row.try_get(1).map_err(failure::error)?;
    let processed_at: Option<Timestamptz> = row.try_get(11).map_err(failure::error)?;
    Ok(MessageRow {
        id: row.try_get(0).map_err(failure::error)?,
        received_at: received_at.0,
        listener: text(2)?,
        site: text(3)?,
        control_id: text(4)?,
        kind: text(5)?,
        event: text(6)?,
        state: state(row, 7)?,
        attempts: row.try_get(8).map_err(failure::error)?,
        ack_code: row.try_get(9).map_err(failure::error)?,
        reason: text(10)?,
        processed_at: processed_at.map(|at| at.0),
        duplicate_of: row.try_get(12).map_err(failure::error)?,
    })
}

fn issue(row: &tokio_postgres::Row) -> Result<MessageIssue, tokio_postgres::Error> {
    let number = |at: usize| row.try_get::<_, i32>(at);
    Ok(MessageIssue {
        severity: row.try_get(0)?,
        code: number(1)?,
        name: row.try_get(2)?,
        segment: row.try_get(3)?,
        numbers: [number(4)?, number(5)?, number(6)?, number(7)?, number(8)?],
        text: row.try_get(9)?,
    })
}

fn effect(row: &tokio_postgres::Row) -> Result<MessageEffect, tokio_postgres::Error> {
    Ok(MessageEffect {
        action: row.try_get(0)?,
        resource_type: row.try_get(1)?,
        id: row.try_get(2)?,
        version: row.try_get(3)?,
        rule: row.try_get(4)?,
    })
}
