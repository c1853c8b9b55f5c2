//! What is committed together with the effect of a message: its end, the keys of what it made, and the
//! times of what it said.
//!
//! A key belongs to one resource of a type. Two messages that see it for the first time at the same
//! moment cannot both make a resource: the second finds the key taken, and is worked on anew.
//!
//! Spec: v2 S2, S5, S22, S30, M7

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::super::connection::Transaction;
use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use super::queue::end_in;
use super::{Ended, MessageEnd};
use crate::access::CommitError;
use crate::error::Error;
use crate::fhir::Instant;

/// Whether a message that came before stands in one of the same lines: two that came at once do not see
/// each other there, and the later one gives way.
const CLASHES: &str = "SELECT EXISTS ( \
     SELECT FROM v2_queue own \
       JOIN v2_queue other ON other.key = own.key AND other.message_id < own.message_id \
     WHERE own.message_id = $1)";

const FIND_LINES: &str = "SELECT patient, n FROM v2_line WHERE patient = ANY ($1)";

/// The next number of each patient, unless another message has taken it.
const TAKE_LINES: &str = "INSERT INTO v2_line AS known (patient, n) \
     SELECT patient, n + 1 FROM unnest($1::text[], $2::bigint[]) AS g(patient, n) ORDER BY patient \
     ON CONFLICT (patient) DO UPDATE SET n = excluded.n WHERE known.n = excluded.n - 1";

/// Keys that are new. One that another resource has by now is left as it is, and counted.
const ADD_KEYS: &str = "WITH given AS ( \
       SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) \
         AS k(type, system, value, id)), \
     added AS ( \
       INSERT INTO v2_key AS known (resource_type, system, value, resource_id) \
       SELECT type, system, value, id FROM given \
       ON CONFLICT (resource_type, system, value) DO UPDATE SET resource_id = known.resource_id \
       RETURNING resource_type, system, value, resource_id) \
     SELECT count(*) FROM given JOIN added \
       ON (added.resource_type, added.system, added.value) = (given.type, given.system, given.value) \
     WHERE added.resource_id <> given.id";

/// Keys that go over to another resource, when two become one.
const MOVE_KEYS: &str = "UPDATE v2_key SET resource_id = $3 \
     WHERE resource_type = $1 AND resource_id = $2";

const FIND_KEYS: &str = "SELECT k.resource_type, k.system, k.value, k.resource_id \
     FROM unnest($1::text[], $2::text[], $3::text[]) AS g(type, system, value) \
     JOIN v2_key k ON (k.resource_type, k.system, k.value) = (g.type, g.system, g.value)";

const ADD_MARKS: &str = "INSERT INTO v2_watermark AS known (entity_type, entity_id, aspect, event_time, \
       message_id) \
     SELECT type, id, aspect, at, $5 \
       FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS g(type, id, aspect, at) \
     ON CONFLICT (entity_type, entity_id, aspect) DO UPDATE \
       SET event_time = excluded.event_time, message_id = excluded.message_id \
       WHERE known.event_time <= excluded.event_time";

const FIND_MARKS: &str = "SELECT aspect, event_time FROM v2_watermark \
     WHERE entity_type = $1 AND entity_id = $2";

const ADD_WAITING: &str = "INSERT INTO v2_member (place, member) \
     SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING";

const FIND_WAITING: &str =
    "SELECT place, member FROM v2_member WHERE place = ANY ($1) ORDER BY place, member";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[
    CLASHES,
    FIND_LINES,
    TAKE_LINES,
    ADD_KEYS,
    MOVE_KEYS,
    FIND_KEYS,
    ADD_MARKS,
    FIND_MARKS,
    ADD_WAITING,
    FIND_WAITING,
];

/// By what a resource is known to messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keyed {
    /// Its type.
    pub resource_type: String,
    /// The system of the key.
    pub system: String,
    /// The key.
    pub value: String,
    /// The resource.
    pub id: String,
}

/// How new what is known of a resource is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// Its type.
    pub resource_type: String,
    /// Its id.
    pub id: String,
    /// What of it: `demographics`, `movement`.
    pub aspect: &'static str,
    /// The time of the event that said so.
    pub at: Instant,
}

/// A result that came before the one it belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    /// Where the other one stands: its order, code and sub-id.
    pub place: String,
    /// The result: `Observation/1`.
    pub member: String,
}

/// What is committed together with the effect of a message.
#[derive(Clone, Debug)]
pub struct Companion {
    /// The end of the message.
    pub end: MessageEnd,
    /// Keys of what it made.
    pub keys: Vec<Keyed>,
    /// Type, and the resources of which the first's keys go over to the second.
    pub moved: Vec<(String, String, String)>,
    /// The times of what it said.
    pub marks: Vec<Mark>,
    /// The patients it was worked out by, each with the number of messages before it.
    pub lines: Vec<(String, i64)>,
    /// Results that came before the ones they belong to.
    pub waiting: Vec<Member>,
}

impl Companion {
    /// Writes what there is of one inside the transaction of the effect, when that was `written`.
    pub(in crate::store) async fn follow(
        companion: Option<&Self>,
        written: Result<(), CommitError>,
        transaction: &Transaction,
    ) -> Result<(), CommitError> {
        written?;
        match companion {
            Some(companion) => companion.write(transaction).await,
            None => Ok(()),
        }
    }

    async fn write(&self, transaction: &Transaction) -> Result<(), CommitError> {
        let id = self.end.id;
        let rows = transaction.all(CLASHES, &[&id]).await.map_err(CommitError::Failed)?;
        let clashes = rows.first().map_or(Ok(false), |row| row.try_get(0));
        if clashes.map_err(|error| CommitError::Failed(failure::error(error)))? {
            let text = "an earlier message about the same patients is at work";
            return Err(CommitError::Failed(Error::Conflict(text.to_owned())));
        }
        self.take_lines(transaction).await?;
        if end_in(&self.end, transaction).await.map_err(CommitError::Failed)? == Ended::Before {
            let text = "the message is worked on elsewhere, or its end is stored already";
            return Err(CommitError::Failed(Error::Conflict(text.to_owned())));
        }
        for (resource_type, from, to) in &self.moved {
            let moved = transaction.run(MOVE_KEYS, &[resource_type, from, to]).await;
            moved.map_err(CommitError::Failed)?;
        }
        if !self.keys.is_empty() {
            let [types, systems, values, ids] = columns(&self.keys);
            let rows = transaction.all(ADD_KEYS, &[&types, &systems, &values, &ids]).await;
            let rows = rows.map_err(CommitError::Failed)?;
            let taken: i64 = rows
                .first()
                .map_or(Ok(0), |row| row.try_get(0))
                .map_err(|error| CommitError::Failed(failure::error(error)))?;
            if taken > 0 {
                let text = "another message has made what this one is about";
                return Err(CommitError::Failed(Error::Conflict(text.to_owned())));
            }
        }
        if !self.waiting.is_empty() {
            let column =
                |value: fn(&Member) -> &str| self.waiting.iter().map(value).collect::<Vec<_>>();
            let (places, members) = (column(|one| &one.place), column(|one| &one.member));
            let added = transaction.run(ADD_WAITING, &[&places, &members]).await;
            added.map_err(CommitError::Failed)?;
        }
        self.write_marks(id, transaction).await
    }

    /// Takes the place of this message in the history of each patient.
    async fn take_lines(&self, transaction: &Transaction) -> Result<(), CommitError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let patients: Vec<_> = self.lines.iter().map(|(patient, _)| patient.as_str()).collect();
        let numbers: Vec<_> = self.lines.iter().map(|(_, number)| *number).collect();
        let taken = transaction.run(TAKE_LINES, &[&patients, &numbers]).await;
        if taken.map_err(CommitError::Failed)? as usize == patients.len() {
            return Ok(());
        }
        let text = "another message has had its effect on the same patient meanwhile";
        Err(CommitError::Failed(Error::Conflict(text.to_owned())))
    }

    async fn write_marks(&self, id: Uuid, transaction: &Transaction) -> Result<(), CommitError> {
        if self.marks.is_empty() {
            return Ok(());
        }
        let column = |value: fn(&Mark) -> &str| self.marks.iter().map(value).collect::<Vec<_>>();
        let types = column(|mark| &mark.resource_type);
        let ids = column(|mark| &mark.id);
        let aspects = column(|mark| mark.aspect);
        let times: Vec<_> = self.marks.iter().map(|mark| Timestamptz(mark.at)).collect();
        let parameters: [&(dyn ToSql + Sync); 5] = [&types, &ids, &aspects, &times, &id];
        transaction.run(ADD_MARKS, &parameters).await.map(drop).map_err(CommitError::Failed)
    }
}

fn columns(keys: &[Keyed]) -> [Vec<&str>; 4] {
    let column = |value: fn(&Keyed) -> &str| keys.iter().map(value).collect::<Vec<_>>();
    [
        column(|key| &key.resource_type),
        column(|key| &key.system),
        column(|key| &key.value),
        column(|key| &key.id),
    ]
}

impl Store {
    /// The resources that are known by keys (their ids in `keys` do not count).
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn message_keys(&self, keys: &[Keyed]) -> Result<Vec<Keyed>, Error> {
        let [types, systems, values, _] = columns(keys);
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(FIND_KEYS).await?;
        let rows = pipeline.client().query(&statement, &[&types, &systems, &values]).await;
        let keyed = |row: &tokio_postgres::Row| -> Result<Keyed, tokio_postgres::Error> {
            Ok(Keyed {
                resource_type: row.try_get(0)?,
                system: row.try_get(1)?,
                value: row.try_get(2)?,
                id: row.try_get(3)?,
            })
        };
        let rows = rows.map_err(failure::error)?;
        rows.iter().map(keyed).collect::<Result<_, _>>().map_err(failure::error)
    }

    /// How many messages have had their effect on each of `patients`, where any has.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn message_lines(&self, patients: &[&str]) -> Result<Vec<(String, i64)>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(FIND_LINES).await?;
        let rows = pipeline.client().query(&statement, &[&patients]).await;
        let line = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, row.try_get(1)?));
        let lines: Result<_, tokio_postgres::Error> =
            rows.map_err(failure::error)?.iter().map(line).collect();
        lines.map_err(failure::error)
    }

    /// Results that came before those at `places`, to which they belong.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn waiting_members(&self, places: &[&str]) -> Result<Vec<Member>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(FIND_WAITING).await?;
        let rows = pipeline.client().query(&statement, &[&places]).await;
        let member = |row: &tokio_postgres::Row| {
            Ok(Member { place: row.try_get(0)?, member: row.try_get(1)? })
        };
        let members: Result<_, tokio_postgres::Error> =
            rows.map_err(failure::error)?.iter().map(member).collect();
        members.map_err(failure::error)
    }

    /// How new what is known of a resource is, by aspect.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn message_marks(
        &self,
        resource_type: &str,
        id: &str,
    ) -> Result<Vec<(String, Instant)>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(FIND_MARKS).await?;
        let rows = pipeline.client().query(&statement, &[&resource_type, &id]).await;
        let mark = |row: &tokio_postgres::Row| {
            let at: Timestamptz = row.try_get(1)?;
            Ok((row.try_get(0)?, at.0))
        };
        let marks: Result<_, tokio_postgres::Error> =
            rows.map_err(failure::error)?.iter().map(mark).collect();
        marks.map_err(failure::error)
    }
}
