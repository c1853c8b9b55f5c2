//! What is stored, for what the server derives from it: words, definitions.

use sqlx::FromRow;

use crate::error::Error;
use crate::fhir::ResourceType;

use super::super::connection::Reader;
use super::super::{BUCKET, Store, TENANT, failure};
use super::packages::{installed_packages, mark_of_packages, packaged};

/// By the bucket, which tells the tenant as well: the primary key is all that can serve it. With
/// `tid`, a table without statistics is read through two indexes, the second one whole.
const OF_KEYS: &str =
    "SELECT rid, rt, id, meta::text, body::text FROM res WHERE rid = ANY($1) AND dk = $2";

const SIZES: &str = "SELECT rid, coalesce(pg_column_size(body), 0)::bigint FROM res \
     WHERE rid = ANY($1) AND dk = $2 ORDER BY rid";

const SIZES_AFTER: &str = "SELECT rid, coalesce(pg_column_size(body), 0)::bigint FROM res \
     WHERE rid > $1 AND tid = $2 ORDER BY rid LIMIT $3";

const OF_TYPE: &str = "SELECT rid, rt, id, meta::text, body::text FROM res \
     WHERE tid = $1 AND rt = $2 AND body IS NOT NULL";

/// From an index alone: every version of a resource has another time.
const MARK: &str = concat!(
    "SELECT count(*) || ':' || coalesce(sum(\
     hashtextextended(rid || '.' || extract(epoch FROM lu), 0)::numeric), 0) || '/' || ",
    mark_of_packages!(),
    " FROM res WHERE tid = $1 AND rt = ANY($2)"
);

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[OF_KEYS, SIZES, SIZES_AFTER, OF_TYPE, MARK];

/// The current version of a resource.
#[derive(Clone, Debug, FromRow)]
pub struct Contents {
    /// Its key.
    #[sqlx(rename = "rid")]
    pub key: i64,
    rt: i16,
    /// Its logical id.
    pub id: String,
    /// `meta` without versionId and lastUpdated, as JSON.
    pub meta: Option<String>,
    /// The resource without resourceType, id and meta, as JSON; `None` for a deletion.
    pub body: Option<String>,
}

impl Contents {
    /// Its type; `None` for one of another version of this program.
    pub fn resource_type(&self) -> Option<ResourceType> {
        ResourceType::from_code(self.rt)
    }
}

/// The current versions of resources; keys that are no more have none.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn of_keys(store: &Store, keys: &[i64]) -> Result<Vec<Contents>, Error> {
    let found = sqlx::query_as(OF_KEYS).bind(keys).bind(BUCKET).fetch_all(&store.0.admin).await;
    found.map_err(failure::sqlx_error)
}

/// Keys of current versions with their stored size in bytes, in the order of the keys: who loads
/// many chooses how many at once. Keys that are no more are left out.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn sizes(store: &Store, keys: &[i64]) -> Result<Vec<(i64, i64)>, Error> {
    let found = sqlx::query_as(SIZES).bind(keys).bind(BUCKET).fetch_all(&store.0.admin).await;
    found.map_err(failure::sqlx_error)
}

/// The same of at most `limit` current versions, from the one after `key` on.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn sizes_after(store: &Store, key: i64, limit: u32) -> Result<Vec<(i64, i64)>, Error> {
    let query = sqlx::query_as(SIZES_AFTER).bind(key).bind(TENANT).bind(i64::from(limit));
    query.fetch_all(&store.0.admin).await.map_err(failure::sqlx_error)
}

/// All definitions of these types: what installed packages have, then all live resources. Those of
/// packages have keys and ids that no resource has.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn definitions<const N: usize>(
    store: &Store,
    types: [ResourceType; N],
) -> Result<Vec<Contents>, Error> {
    let mut all = Vec::new();
    let installed = installed_packages(store).await?;
    for of in types {
        let packaged = packaged(&installed, of).into_iter();
        all.extend(packaged.map(|it| Contents {
            key: it.key,
            rt: of.code(),
            id: it.id,
            meta: None,
            body: Some(it.body),
        }));
        let query = sqlx::query_as(OF_TYPE).bind(TENANT).bind(of.code());
        let found: Vec<Contents> =
            query.fetch_all(&store.0.admin).await.map_err(failure::sqlx_error)?;
        all.extend(found);
    }
    Ok(all)
}

/// What is another one whenever a version of a resource of these types is committed, or a package
/// installed.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn definitions_mark<const N: usize>(
    store: &Store,
    types: [ResourceType; N],
) -> Result<String, Error> {
    // Each question about codes asks, so it goes where statements cost least.
    let pipeline = store.0.readers.pipeline().await?;
    let codes = types.map(ResourceType::code).to_vec();
    let rows = Reader::Shared(&pipeline).query(MARK, &[&TENANT, &codes]).await?;
    let row = rows.first().ok_or_else(|| Error::internal("a mark is one row"))?;
    row.try_get(0).map_err(failure::error)
}
