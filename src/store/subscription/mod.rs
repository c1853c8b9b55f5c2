//! Subscriptions as the server works on them: a row beside each resource, written with its versions.
//!
//! What becomes of the row is part of the write that makes the version, so that the two never differ. The work
//! itself, `work`, tells nobody anything: it finds keys of what changed, and what a caller is told of them passes
//! the gate.
//!
//! Spec: `migrations/0212_subscriptions.sql`; rest 8.1 to 8.14

pub mod veil;
mod work;

use deadpool_postgres::Object as DbConnection;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::access::{CommitError, Permit};
use crate::error::Error;
use crate::fhir::{Instant, LogicalId, ResourceType, VersionId};

use super::rows::Timestamptz;
use super::{Store, failure};

use veil::Veil;

pub use work::{FeedChange, HeldSubscription, ServedSubscription, Spot};

/// One at a time is counted and added.
const LOCK: &str = "SELECT pg_advisory_xact_lock(kiln_lock('kiln_subscription'))::text";

/// Who asks once more for what is waited for already goes on where it was; else it begins with what cannot be
/// seen at this moment.
const ASK: &str = "INSERT INTO subscription AS s (id, vid, state, rt, criteria, channel, endpoint, payload, headers, \
       actor, client, token, grant_id, has_user, scopes, ends_at, began, xid, seq) \
     SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
       (SELECT t.grant_id FROM oauth_token t WHERE t.id = $12 LIMIT 1), $13, $14, $15, \
       pg_current_snapshot(), pg_snapshot_xmin(pg_current_snapshot()), 0 \
     ON CONFLICT (id) DO UPDATE SET vid = excluded.vid, state = excluded.state, rt = excluded.rt, \
       criteria = excluded.criteria, channel = excluded.channel, endpoint = excluded.endpoint, \
       payload = excluded.payload, headers = excluded.headers, actor = excluded.actor, client = excluded.client, \
       token = excluded.token, grant_id = excluded.grant_id, has_user = excluded.has_user, \
       scopes = excluded.scopes, ends_at = excluded.ends_at, \
       (began, xid, seq) = (SELECT CASE WHEN k.goes_on THEN s.began ELSE excluded.began END, \
           CASE WHEN k.goes_on THEN s.xid ELSE excluded.xid END, \
           CASE WHEN k.goes_on THEN s.seq ELSE excluded.seq END \
         FROM (SELECT s.state <> 'off' AND excluded.state = 'requested' AND s.actor = excluded.actor \
           AND s.client IS NOT DISTINCT FROM excluded.client AND s.rt = excluded.rt \
           AND s.criteria = excluded.criteria AS goes_on) k), \
       tries = 0, due_at = clock_timestamp(), holder = NULL, held_until = '-infinity'";

const MOVED: &str = "UPDATE subscription SET vid = $2, state = $3, tries = 0 WHERE id = $1";

const GONE: &str = "DELETE FROM subscription WHERE id = $1";

const COUNT: &str =
    "SELECT count(*) FROM subscription WHERE actor = $1 AND state IN ('requested', 'active')";

/// Every statement of this folder, for the test that prepares them.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    [LOCK, ASK, MOVED, GONE, COUNT].into_iter().chain(work::STATEMENTS.iter().copied())
}

impl Store {
    /// What seals headers of the Subscription with this id.
    pub fn veil(&self, id: &LogicalId) -> Veil {
        Veil::new(&self.hasher().secret("headers of subscriptions"), id)
    }
}

/// Subscription.status
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SubscriptionState {
    /// It is served.
    Active,
    /// It could not be served any more.
    Error,
    /// It is not wanted, or not any more.
    Off,
    /// It is asked for.
    Requested,
}

impl SubscriptionState {
    /// Its code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Error => "error",
            Self::Off => "off",
            Self::Requested => "requested",
        }
    }

    /// The state with a code.
    pub fn from_code(code: &str) -> Option<Self> {
        let all = [Self::Active, Self::Error, Self::Off, Self::Requested];
        all.into_iter().find(|state| state.as_str() == code)
    }
}

/// Whose a subscription is: who wrote the version that it goes by, and what was granted to that party then.
#[derive(Clone, Debug)]
pub struct SubscriptionOwner {
    /// The party, as the ledger names it.
    pub actor: String,
    /// The client, where tokens were asked for.
    pub client: Option<String>,
    /// Its token.
    pub token: Option<Uuid>,
    /// What the token came of, as far as that is known here.
    pub grant: Option<Uuid>,
    /// Whether somebody used the client.
    pub has_user: bool,
    /// What was granted.
    pub scopes: String,
}

impl SubscriptionOwner {
    /// Whoever holds a permit.
    pub fn of(permit: &Permit<'_>) -> Self {
        let grant = permit.caller().principal.grant();
        Self {
            actor: permit.actor().to_owned(),
            client: grant.map(|grant| grant.client.clone()),
            token: grant.map(|grant| grant.token),
            // The database knows it by the token.
            grant: None,
            has_user: grant.is_some_and(|grant| grant.user.is_some() || grant.patient.is_some()),
            scopes: grant.map(|grant| grant.scopes.to_string()).unwrap_or_default(),
        }
    }
}

/// What a version of a Subscription asks for.
#[derive(Clone, Debug)]
pub struct AskedSubscription {
    /// The id of the resource.
    pub id: LogicalId,
    /// The version.
    pub version: VersionId,
    /// What it is to be.
    pub state: SubscriptionState,
    /// The type that is waited for, where it is one.
    pub of: Option<ResourceType>,
    /// Subscription.criteria
    pub criteria: String,
    /// Subscription.channel.type
    pub channel: String,
    /// Subscription.channel.endpoint
    pub endpoint: String,
    /// Subscription.channel.payload
    pub payload: Option<String>,
    /// Subscription.channel.header, sealed.
    pub headers: Vec<String>,
    /// Subscription.end
    pub ends_at: Option<Instant>,
    /// Whose it is.
    pub owner: SubscriptionOwner,
    /// How many of one party may be open.
    pub most: u32,
}

/// What a version of a Subscription means for the work on it.
#[derive(Clone, Debug)]
pub enum SubscriptionChange {
    /// Somebody asks for something.
    Asked(Box<AskedSubscription>),
    /// There is no such resource any more.
    Gone(LogicalId),
    /// The server itself has moved it on.
    Moved(LogicalId, VersionId, SubscriptionState),
}

impl SubscriptionChange {
    /// Writes what there is of `changes` inside the transaction of their versions, when those were `written`.
    ///
    /// # Errors
    /// [`CommitError::Failed`] with [`Error::Throttled`] where a party has enough open ones.
    pub(in crate::store) async fn follow(
        changes: &[Self],
        written: Result<(), CommitError>,
        connection: &DbConnection,
    ) -> Result<(), CommitError> {
        written?;
        if changes.is_empty() {
            return Ok(());
        }
        // In a box: writes of all kinds pass here, and few have any.
        Box::pin(Self::write_all(changes, connection)).await
    }

    async fn write_all(changes: &[Self], connection: &DbConnection) -> Result<(), CommitError> {
        query(connection, LOCK, &[]).await?;
        for change in changes {
            match change {
                Self::Asked(asked) => asked.write(connection).await?,
                Self::Gone(id) => {
                    query(connection, GONE, &[&id.as_str()]).await?;
                }
                Self::Moved(id, version, state) => {
                    let values: [&(dyn ToSql + Sync); 3] =
                        [&id.as_str(), &version.0, &state.as_str()];
                    query(connection, MOVED, &values).await?;
                }
            }
        }
        Ok(())
    }
}

impl AskedSubscription {
    async fn write(&self, connection: &DbConnection) -> Result<(), CommitError> {
        let owner = &self.owner;
        let of = self.of.map(ResourceType::code);
        let ends_at = self.ends_at.map(Timestamptz);
        let values: [&(dyn ToSql + Sync); 15] = [
            &self.id.as_str(),
            &self.version.0,
            &self.state.as_str(),
            &of,
            &self.criteria,
            &self.channel,
            &self.endpoint,
            &self.payload,
            &self.headers,
            &owner.actor,
            &owner.client,
            &owner.token,
            &owner.has_user,
            &owner.scopes,
            &ends_at,
        ];
        query(connection, ASK, &values).await?;
        if self.state != SubscriptionState::Requested {
            return Ok(());
        }
        let rows = query(connection, COUNT, &[&owner.actor]).await?;
        let count: i64 = match rows.first() {
            Some(row) => row.try_get(0).map_err(failure::commit_error)?,
            None => 0,
        };
        if count > i64::from(self.most) {
            let text = format!("{} subscriptions are open: turn one of them off", self.most);
            return Err(CommitError::Failed(Error::Throttled(text)));
        }
        Ok(())
    }
}

async fn query(
    connection: &DbConnection,
    sql: &'static str,
    values: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, CommitError> {
    let statement = connection.prepare_cached(sql).await.map_err(failure::commit_error)?;
    connection.query(&statement, values).await.map_err(failure::commit_error)
}
