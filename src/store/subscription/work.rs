//! The work on subscriptions: one that is due, the changes that it may be told of, and how far it is.
//!
//! Changes are read in the order of the feed and below the horizon of the statement's own snapshot: whatever of a
//! transaction comes later is behind that place.

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};
use uuid::Uuid;

use crate::error::Error;
use crate::fhir::{LogicalId, ResourceType, VersionId};
use crate::store::{Store, failure};

use super::{SubscriptionOwner, SubscriptionState};

/// How many changes of whatever type are looked through at once for one subscription.
macro_rules! most {
    () => {
        "50000"
    };
}

/// What has ended of the changes behind the place of a subscription `s`: the next ones alone, so that a statement ends
/// however far behind it is.
macro_rules! next {
    () => {
        concat!(
            "(SELECT n.xid, n.seq, n.rid, n.vid, n.rt, n.op FROM feed n WHERE (n.xid, n.seq) > (s.xid, s.seq) \
             AND n.xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY n.xid, n.seq LIMIT ",
            most!(),
            ")"
        )
    };
}

/// Whether a change `f` may be told of a subscription `s`.
macro_rules! is_fit {
    () => {
        "f.rt = s.rt AND f.op IN ('C', 'N', 'P', 'U') AND NOT pg_visible_in_snapshot(f.xid, s.began)"
    };
}

/// What may be told of a subscription `s`: changes of its type among the next ones.
macro_rules! changes {
    ($what:literal) => {
        concat!("SELECT ", $what, " FROM ", next!(), " f WHERE ", is_fit!())
    };
}

/// One that is due, for the turn $1, for $2 milliseconds. Leases go by the clock of the database: nodes' differ.
const CLAIM: &str = concat!(
    "WITH due AS MATERIALIZED (SELECT s.id FROM subscription s \
       WHERE s.state IN ('requested', 'active') AND s.due_at <= clock_timestamp() \
         AND s.held_until < clock_timestamp() \
         AND (s.state = 'requested' OR s.ends_at <= clock_timestamp() OR EXISTS (",
    changes!(""),
    ")) ORDER BY s.due_at, s.id LIMIT 1 FOR UPDATE OF s SKIP LOCKED) \
     UPDATE subscription s SET holder = $1, held_until = clock_timestamp() + $2::bigint * interval '1 ms' \
     FROM due WHERE s.id = due.id \
     RETURNING s.id, s.vid, s.state, s.rt, s.criteria, s.channel, s.endpoint, s.payload, s.headers, s.actor, \
       s.client, s.token, s.grant_id, s.has_user, s.scopes, s.tries, \
       coalesce(s.ends_at <= clock_timestamp(), false) AS is_over"
);

const CHANGES: &str = concat!(
    "SELECT c.* FROM subscription s CROSS JOIN LATERAL (",
    changes!("f.xid::text::bigint AS xid, f.seq, f.rid, f.vid"),
    " ORDER BY f.xid, f.seq LIMIT $4) c WHERE s.id = $1 AND s.holder = $2 AND s.vid = $3"
);

const KEEP: &str = "UPDATE subscription SET held_until = clock_timestamp() + $4::bigint * interval '1 ms' \
     WHERE id = $1 AND holder = $2 AND vid = $3 RETURNING id";

const ADVANCE: &str = "UPDATE subscription SET xid = $4::bigint::text::xid8, seq = $5, tries = 0, \
       held_until = clock_timestamp() + $6::bigint * interval '1 ms' \
     WHERE id = $1 AND holder = $2 AND vid = $3 RETURNING id";

/// It is nobody's until it is tried again.
const FAIL: &str = "UPDATE subscription SET tries = tries + 1, holder = NULL, held_until = '-infinity', \
       due_at = clock_timestamp() + $4::bigint * interval '1 ms' \
     WHERE id = $1 AND holder = $2 AND vid = $3 RETURNING tries";

/// Whoever waits longest is next.
const RELEASE: &str = "UPDATE subscription SET holder = NULL, held_until = '-infinity', \
       due_at = clock_timestamp() + $3::bigint * interval '1 ms' WHERE id = $1 AND holder = $2 RETURNING id";

/// Those of which nothing is to be told need not look through the same changes for ever. One that is worked on, or
/// written, is left out: it waits for nobody here, so that nobody waits for it in turn.
const SKIP: &str = concat!(
    "WITH looked AS MATERIALIZED (SELECT s.id, s.vid, s.xid AS from_xid, s.seq AS from_seq, l.* \
       FROM subscription s CROSS JOIN LATERAL (SELECT count(*) AS many, coalesce(bool_or(",
    is_fit!(),
    "), false) AS fits, max(f.xid::text::bigint) AS xid, \
         (array_agg(f.seq ORDER BY f.xid DESC, f.seq DESC))[1] AS seq FROM ",
    next!(),
    " f) l \
       WHERE s.state IN ('requested', 'active') AND s.tries = 0 AND s.held_until < clock_timestamp()), \
     idle AS MATERIALIZED (SELECT s.id, l.many, l.xid, l.seq FROM subscription s \
       JOIN looked l ON l.id = s.id AND l.vid = s.vid AND l.from_xid = s.xid AND l.from_seq = s.seq \
       WHERE NOT l.fits AND s.held_until < clock_timestamp() AND (l.many = ",
    most!(),
    " OR s.xid::text::bigint + $1 < pg_snapshot_xmin(pg_current_snapshot())::text::bigint) \
       ORDER BY s.id FOR UPDATE OF s SKIP LOCKED) \
     UPDATE subscription s SET \
       xid = CASE WHEN l.many < ",
    most!(),
    " THEN pg_snapshot_xmin(pg_current_snapshot()) ELSE l.xid::text::xid8 END, \
       seq = CASE WHEN l.many < ",
    most!(),
    " THEN 0 ELSE l.seq END \
     FROM idle l WHERE s.id = l.id RETURNING l.many = ",
    most!(),
    " AS is_far"
);

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[CLAIM, CHANGES, KEEP, ADVANCE, FAIL, RELEASE, SKIP];

/// A place in the feed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spot {
    xid: i64,
    seq: i64,
}

/// A version that came into being.
#[derive(Clone, Copy, Debug)]
pub struct FeedChange {
    /// Where it stands.
    pub spot: Spot,
    /// The store's key of the resource.
    pub key: i64,
    /// The version.
    pub version: VersionId,
}

/// A subscription that is worked on in one turn, by one version of its resource.
#[derive(Clone, Debug)]
pub struct HeldSubscription {
    /// The id of the resource.
    pub id: LogicalId,
    /// The version.
    pub version: VersionId,
    /// The turn: whoever takes it over, on this node or another one, has a turn of its own.
    pub turn: Uuid,
}

/// A subscription as it is worked on.
#[derive(Clone, Debug)]
pub struct ServedSubscription {
    /// Which, and whose turn it is.
    pub own: HeldSubscription,
    /// Whether it is active already, and not asked for yet.
    pub is_active: bool,
    /// Whether its end is over.
    pub is_over: bool,
    /// The type that is waited for.
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
    /// Whose it is.
    pub owner: SubscriptionOwner,
    /// How often in a row the next change could not be delivered.
    pub tries: u32,
}

impl Store {
    /// Takes the subscription that has waited longest for `turn`, for so many milliseconds.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn claim_subscription(
        &self,
        turn: Uuid,
        lease: i64,
    ) -> Result<Option<ServedSubscription>, Error> {
        let rows = self.subscription_rows(CLAIM, &[&turn, &lease]).await?;
        rows.first().map(|row| served(row, turn)).transpose()
    }

    /// The next changes of a subscription that is held, at most `limit`; none when it is held no more.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn subscription_changes(
        &self,
        own: &HeldSubscription,
        limit: i64,
    ) -> Result<Vec<FeedChange>, Error> {
        let values: [&(dyn ToSql + Sync); 4] =
            [&own.id.as_str(), &own.turn, &own.version.0, &limit];
        let rows = self.subscription_rows(CHANGES, &values).await?;
        let change = |row: &Row| {
            Ok(FeedChange {
                spot: Spot { xid: get(row, "xid")?, seq: get(row, "seq")? },
                key: get(row, "rid")?,
                version: VersionId(get(row, "vid")?),
            })
        };
        rows.iter().map(change).collect()
    }

    /// Holds a subscription for so many milliseconds more; whether it still is held.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn keep_subscription(
        &self,
        own: &HeldSubscription,
        lease: i64,
    ) -> Result<bool, Error> {
        let values: [&(dyn ToSql + Sync); 4] =
            [&own.id.as_str(), &own.turn, &own.version.0, &lease];
        Ok(!self.subscription_rows(KEEP, &values).await?.is_empty())
    }

    /// Notes that all up to a place is dealt with, and holds the subscription for so many milliseconds
    /// more; whether it still was held.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn advance_subscription(
        &self,
        own: &HeldSubscription,
        to: Spot,
        lease: i64,
    ) -> Result<bool, Error> {
        let values: [&(dyn ToSql + Sync); 6] =
            [&own.id.as_str(), &own.turn, &own.version.0, &to.xid, &to.seq, &lease];
        Ok(!self.subscription_rows(ADVANCE, &values).await?.is_empty())
    }

    /// Lets a subscription go whose next change could not be delivered, and has it wait for so many
    /// milliseconds; how often in a row that was so. `None`: it was held no more.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn fail_subscription(
        &self,
        own: &HeldSubscription,
        wait: i64,
    ) -> Result<Option<u32>, Error> {
        let values: [&(dyn ToSql + Sync); 4] = [&own.id.as_str(), &own.turn, &own.version.0, &wait];
        let rows = self.subscription_rows(FAIL, &values).await?;
        let tries: Option<i32> = rows.first().map(|row| get(row, "tries")).transpose()?;
        Ok(tries.map(i32::unsigned_abs))
    }

    /// Lets a subscription go, whatever version it is worked on by, and has it wait for so many milliseconds.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn release_subscription(
        &self,
        own: &HeldSubscription,
        wait: i64,
    ) -> Result<(), Error> {
        let values: [&(dyn ToSql + Sync); 3] = [&own.id.as_str(), &own.turn, &wait];
        self.subscription_rows(RELEASE, &values).await.map(drop)
    }

    /// Moves subscriptions of which nothing is to be told past what was looked through, or what has ended, where that
    /// is more than `transactions`; whether there may be more to look through for one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn skip_for_subscriptions(&self, transactions: i64) -> Result<bool, Error> {
        // Reads, which share their connections, do not wait for it.
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(SKIP).await.map_err(failure::error)?;
        let rows = connection.query(&statement, &[&transactions]).await.map_err(failure::error)?;
        let far: Vec<bool> =
            rows.iter().map(|row| get(row, "is_far")).collect::<Result<_, Error>>()?;
        Ok(far.contains(&true))
    }

    async fn subscription_rows(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(sql).await?;
        pipeline.client().query(&statement, values).await.map_err(failure::error)
    }
}

fn get<'r, T: FromSql<'r>>(row: &'r Row, column: &str) -> Result<T, Error> {
    row.try_get(column).map_err(failure::error)
}

fn served(row: &Row, turn: Uuid) -> Result<ServedSubscription, Error> {
    let id: &str = get(row, "id")?;
    let (state, of): (&str, Option<i16>) = (get(row, "state")?, get(row, "rt")?);
    let tries: i32 = get(row, "tries")?;
    let own = HeldSubscription {
        id: id.parse().map_err(Error::internal)?,
        version: VersionId(get(row, "vid")?),
        turn,
    };
    let owner = SubscriptionOwner {
        actor: get(row, "actor")?,
        client: get(row, "client")?,
        token: get(row, "token")?,
        grant: get(row, "grant_id")?,
        has_user: get(row, "has_user")?,
        scopes: get(row, "scopes")?,
    };
    Ok(ServedSubscription {
        own,
        is_active: state == SubscriptionState::Active.as_str(),
        is_over: get(row, "is_over")?,
        of: of.and_then(ResourceType::from_code),
        criteria: get(row, "criteria")?,
        channel: get(row, "channel")?,
        endpoint: get(row, "endpoint")?,
        payload: get(row, "payload")?,
        headers: get(row, "headers")?,
        owner,
        tries: tries.unsigned_abs(),
    })
}
