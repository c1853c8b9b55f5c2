//! What is committed together with the effect of a message: its end, the keys of what it made, and the
//! times of what it said.
//!
//! A key belongs to one resource of a type. Two messages that see it for the first time at the same
//! moment cannot both make a resource: the second finds the key taken, and is worked on anew.
//!
//! Spec: v2 S2, S5, S22, S30, M7

use deadpool_postgres::Object as DbConnection;

use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use super::MessageEnd;
use super::end::{END, EndColumns};
use super::merge::Merging;
use crate::access::CommitError;
use crate::error::Error;
use crate::fhir::{Identity, Instant};

const FIND_LINES: &str = "SELECT patient, n FROM v2_line WHERE patient = ANY ($1)";

const FIND_KEYS: &str = "SELECT k.resource_type, k.system, k.value, k.resource_id \
     FROM unnest($1::text[], $2::text[], $3::text[]) AS g(type, system, value) \
     JOIN v2_key k ON (k.resource_type, k.system, k.value) = (g.type, g.system, g.value)";

/// Keys of a resource that is deleted lead nowhere: without this, what comes by them again could never be made.
const FORGET_KEYS: &str = "DELETE FROM v2_key WHERE resource_type = $1 AND resource_id = $2";

/// Keys that go over to another, where they still lead to who has the number no longer: whoever comes second finds
/// them taken.
const TAKE_KEYS: &str = "UPDATE v2_key k SET resource_id = g.id \
       FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS g(type, system, value, id, was) \
      WHERE (k.resource_type, k.system, k.value) = (g.type, g.system, g.value) AND k.resource_id = g.was";

const FIND_MARKS: &str = "SELECT aspect, event_time FROM v2_watermark \
     WHERE entity_type = $1 AND entity_id = $2";

const FIND_WAITING: &str = "SELECT place, member FROM v2_member WHERE place = ANY ($1)";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[END, FIND_LINES, FIND_KEYS, FORGET_KEYS, TAKE_KEYS, FIND_MARKS, FIND_WAITING];

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
    pub aspect: String,
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
#[derive(Clone, Debug, Default)]
pub struct Companion {
    /// The end of the message; `None`: it is no message that has the effect.
    pub end: Option<MessageEnd>,
    /// Keys of what it made: those that were not known to lead there.
    pub keys: Vec<Keyed>,
    /// Those of them that led to another, who has them no longer: each with the id of that one.
    pub taken: Vec<(Keyed, String)>,
    /// What becomes of merges.
    pub merges: Vec<Merging>,
    /// The times of what it said.
    pub marks: Vec<Mark>,
    /// The patients it was worked out by, each with the number of messages before it.
    pub lines: Vec<(String, i64)>,
    /// Results that came before the ones they belong to.
    pub waiting: Vec<Member>,
}

impl Companion {
    /// Whether [`END`] alone writes all that there is.
    pub(in crate::store) fn is_one_statement(&self) -> bool {
        self.merges.is_empty() && self.taken.is_empty()
    }

    /// Writes what there is of `companions` inside the transaction of their effects, when those were
    /// `written`.
    pub(in crate::store) async fn follow(
        companions: &[&Self],
        written: Result<(), CommitError>,
        connection: &DbConnection,
    ) -> Result<(), CommitError> {
        written?;
        if companions.is_empty() {
            return Ok(());
        }
        // In a box: writes of all kinds pass here, and what few of them do would be a part of all.
        Box::pin(Self::write_all(companions, connection)).await
    }

    async fn write_all(companions: &[&Self], connection: &DbConnection) -> Result<(), CommitError> {
        for merging in companions.iter().flat_map(|one| &one.merges) {
            merging.write(connection).await?;
        }
        for taken in companions.iter().map(|one| &one.taken).filter(|taken| !taken.is_empty()) {
            take_keys(taken, connection).await?;
        }
        let statement = connection.prepare_cached(END).await.map_err(failure::commit_error)?;
        let columns = EndColumns::of(companions);
        let ended = connection.execute(&statement, &columns.parameters()).await;
        ended.map(drop).map_err(failure::commit_error)
    }
}

/// Has keys lead to whoever has the numbers now.
async fn take_keys(
    taken: &[(Keyed, String)],
    connection: &DbConnection,
) -> Result<(), CommitError> {
    let column = |value: fn(&(Keyed, String)) -> &str| taken.iter().map(value).collect::<Vec<_>>();
    let types = column(|(key, _)| &key.resource_type);
    let systems = column(|(key, _)| &key.system);
    let values = column(|(key, _)| &key.value);
    let (ids, were) = (column(|(key, _)| &key.id), column(|(_, was)| was));
    let statement = connection.prepare_cached(TAKE_KEYS).await.map_err(failure::commit_error)?;
    let done = connection.execute(&statement, &[&types, &systems, &values, &ids, &were]).await;
    done.map(drop).map_err(failure::commit_error)
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

    /// Forgets by what a resource is known that is not there any more.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn forget_message_keys(&self, identity: &Identity) -> Result<(), Error> {
        let connection = self.0.feeds.connection().await?;
        let statement = connection.prepare_cached(FORGET_KEYS).await.map_err(failure::error)?;
        let (of, id) = (identity.resource_type.as_str(), identity.id.as_str());
        let done = connection.execute(&statement, &[&of, &id]).await;
        done.map(drop).map_err(failure::error)
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
