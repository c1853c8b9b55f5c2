//! Alerts between being found and being told: what was found is not lost with the node that found it.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::audit::alert::{Alert, Rule};
use crate::error::Error;

use super::super::rows::Timestamptz;
use super::super::{Store, failure};
use super::seal::Place;

/// Notes that the rules have been applied up to the place ($3, $4), as far as it is still the turn of node $2,
/// which begins anew for $5 seconds, and adds what they found: but for what another node has found of the
/// same within its time.
const FOUND: &str = "WITH moved AS (UPDATE audit_feed SET xid = $3, id = $4, part = NULL, taken = 0, \
     held_until = clock_timestamp() + make_interval(secs => $5::float8) \
     WHERE name = $1 AND holder = $2 AND (xid, id) < ($3, $4) RETURNING name), \
     added AS (INSERT INTO audit_alert (event, rule, party, patient, count, xid, node, until) \
     SELECT a.event, a.rule, a.party, a.patient, a.count, a.xid, $2, a.until \
     FROM moved, unnest($6::uuid[], $7::text[], $8::text[], $9::bigint[], $10::int[], $11::bigint[], \
     $12::timestamptz[], $13::timestamptz[]) AS a (event, rule, party, patient, count, xid, at, until) \
     WHERE NOT EXISTS (SELECT FROM audit_alert o WHERE o.rule = a.rule AND o.party = a.party \
     AND o.patient IS NOT DISTINCT FROM a.patient AND o.node <> $2 AND o.until > a.at) \
     ON CONFLICT DO NOTHING) SELECT 1 FROM moved";

/// So many of those that are not stored, and of those that are not posted: one way that fails keeps nothing from
/// the other.
const UNTOLD: &str = "SELECT event, rule, party, patient, count, until, stored, posted FROM ( \
       (SELECT * FROM audit_alert WHERE NOT stored ORDER BY xid, event, rule LIMIT $1) UNION \
       (SELECT * FROM audit_alert WHERE NOT posted ORDER BY xid, event, rule LIMIT $1)) a \
     ORDER BY xid, event, rule";

const TOLD: &str = "UPDATE audit_alert SET stored = stored OR $3, posted = posted OR $4 \
     WHERE event = $1 AND rule = $2";

const FORGET: &str =
    "DELETE FROM audit_alert WHERE stored AND posted AND until < clock_timestamp()";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[FOUND, UNTOLD, TOLD, FORGET];

/// An alert that is not told everywhere yet.
#[derive(Clone, Debug)]
pub struct Untold {
    /// What was found.
    pub alert: Alert,
    /// Whether it is stored as a resource, or need not be.
    pub is_stored: bool,
    /// Whether the outside address has it, or there is none.
    pub is_posted: bool,
}

/// Notes that the rules have been applied up to `through`, and what they `found`, each at the transaction of its
/// row; whether it was still the turn of `node`, which then has it for so many `seconds` more.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn add_alerts(
    store: &Store,
    (name, node): (&str, Uuid),
    through: Place,
    found: &[(Place, Alert)],
    seconds: f64,
) -> Result<bool, Error> {
    fn column<'a, T>(found: &'a [(Place, Alert)], of: impl Fn(&'a (Place, Alert)) -> T) -> Vec<T> {
        found.iter().map(of).collect()
    }
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(FOUND).await.map_err(failure::error)?;
    let values: [&(dyn ToSql + Sync); 13] = [
        &name,
        &node,
        &through.xid,
        &through.id,
        &seconds,
        &column(found, |(_, alert)| alert.event),
        &column(found, |(_, alert)| alert.rule.code()),
        &column(found, |(_, alert)| &*alert.party),
        &column(found, |(_, alert)| alert.patient),
        &column(found, |(_, alert)| i32::try_from(alert.count).unwrap_or(i32::MAX)),
        &column(found, |(place, _)| place.xid),
        &column(found, |(_, alert)| Timestamptz(alert.at())),
        &column(found, |(_, alert)| Timestamptz(alert.until)),
    ];
    let moved = connection.query_opt(&statement, &values).await.map_err(failure::error)?;
    Ok(moved.is_some())
}

/// At most `limit` alerts that are not told everywhere, in the order of their rows; those of rules of another
/// version of this program are left to it.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn untold_alerts(store: &Store, limit: i64) -> Result<Vec<Untold>, Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(UNTOLD).await.map_err(failure::error)?;
    let rows = connection.query(&statement, &[&limit]).await.map_err(failure::error)?;
    let untold = rows.iter().filter_map(|row| untold(row).transpose());
    untold.collect::<Result<_, _>>().map_err(failure::error)
}

/// Notes where an alert has been told: as a resource, to the outside address.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn alert_told(
    store: &Store,
    alert: &Alert,
    is_stored: bool,
    is_posted: bool,
) -> Result<(), Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(TOLD).await.map_err(failure::error)?;
    let values: [&(dyn ToSql + Sync); 4] =
        [&alert.event, &alert.rule.code(), &is_stored, &is_posted];
    connection.execute(&statement, &values).await.map(drop).map_err(failure::error)
}

/// Forgets what is told and no longer keeps other nodes from telling the same.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn forget_alerts(store: &Store) -> Result<(), Error> {
    let connection = store.0.writers.connection().await?;
    let statement = connection.prepare_cached(FORGET).await.map_err(failure::error)?;
    connection.execute(&statement, &[]).await.map(drop).map_err(failure::error)
}

fn untold(row: &Row) -> Result<Option<Untold>, tokio_postgres::Error> {
    let Some(rule) = Rule::from_code(row.try_get(1)?) else { return Ok(None) };
    let count: i32 = row.try_get(4)?;
    let until: Timestamptz = row.try_get(5)?;
    let alert = Alert {
        rule,
        event: row.try_get(0)?,
        party: row.try_get(2)?,
        patient: row.try_get(3)?,
        count: usize::try_from(count).unwrap_or(0),
        until: until.0,
    };
    Ok(Some(Untold { alert, is_stored: row.try_get(6)?, is_posted: row.try_get(7)? }))
}
