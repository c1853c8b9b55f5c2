//! What the statements of includes find, brought within the permit.
//!
//! A statement does not know all that limits a permit, so what it finds may be out of reach. Its rows must
//! not take the place of others: a walk goes on behind them ([`Referring`]).

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::error::Error;
use crate::fhir::{Identity, ResourceType, VersionId};
use crate::store::frame::Frame;
use crate::store::resource::{Current, current, keys_of, reached};
use crate::store::{TENANT, failure, rows};

use super::super::frames::{Asking, within};

macro_rules! columns {
    () => {
        "r.vid, r.lu, r.op, r.meta, r.body, r.pats, r.rid, r.xid, r.rt, r.id"
    };
}

/// Live resources by their identity: $1 hashes, $2 reach.
const BY_IDENTITY: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM srow x JOIN res r ON r.rid = x.rid AND r.dk = x.dk \
     WHERE x.idh = ANY($1::bigint[]) AND ",
    reached!("r", "$2"),
    " AND r.op <> 'D'"
);

/// Live resources by what they refer to, the newest first: $1 hashes, each with the version in $2 where the
/// reference may name one, $3 reach, $4 limit, from the row at ($5, $6) on. What the index has of no
/// resource is a row too, so that the last row tells where to go on.
const BY_REFERENCE: &str = concat!(
    "SELECT ",
    columns!(),
    ", k.s::text, k.rid FROM (SELECT DISTINCT f.s, f.rid FROM unnest($1::bigint[], $2::int[]) u(h, v) \
     CROSS JOIN LATERAL (SELECT DISTINCT t.s, t.rid FROM tok t \
      WHERE t.h = u.h AND (t.s, t.rid) < (($5::text)::timestamptz, $6::bigint) \
      AND (t.sysh = 0 OR t.sysh = u.v) \
      AND ($3::bigint[] IS NULL \
        OR EXISTS (SELECT FROM res v WHERE v.rid = t.rid AND ",
    reached!("v", "$3"),
    " OFFSET 0)) ORDER BY t.s DESC, t.rid DESC LIMIT $4) f ORDER BY f.s DESC, f.rid DESC LIMIT $4) k \
     LEFT JOIN LATERAL (SELECT * FROM res w WHERE w.rid = k.rid AND w.op <> 'D' OFFSET 0) r ON true \
     ORDER BY k.s DESC, k.rid DESC"
);

/// Versions that are not current any more: $1 tenant, $2 to $4 what and which, $5 reach.
const OLD_VERSIONS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM unnest($2::smallint[], $3::text[], $4::int[]) w(rt, id, vid) ",
    keys_of!("w", "id"),
    " JOIN hist r ON r.rid = i.rid AND r.dk = i.dk AND r.vid = w.vid \
     WHERE r.op <> 'D' AND ",
    reached!("r", "$5")
);

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[BY_IDENTITY, BY_REFERENCE, OLD_VERSIONS];

/// The live resources with these identities, by their hashes.
pub(super) async fn by_identity(
    hashes: &[i64],
    frame: &Frame,
    at: Asking<'_, '_>,
) -> Result<Vec<Current>, Error> {
    let rows = at.query(BY_IDENTITY, &[&hashes, &frame.bind()]).await?;
    let found = rows.iter().map(read).collect::<Result<_, _>>()?;
    within(frame, found, (key_of, is_sure(frame)), at).await
}

/// These versions, which are not current any more, as far as `reach` goes.
pub(super) async fn old_versions(
    wanted: &[(Identity, VersionId)],
    reach: Option<&[i64]>,
    at: Asking<'_, '_>,
) -> Result<Vec<Current>, Error> {
    let types: Vec<i16> = wanted.iter().map(|(of, _)| of.resource_type.code()).collect();
    let ids: Vec<&str> = wanted.iter().map(|(identity, _)| identity.id.as_str()).collect();
    let versions: Vec<i32> = wanted.iter().map(|(_, version)| version.0).collect();
    let parameters: [&(dyn ToSql + Sync); 5] = [&TENANT, &types, &ids, &versions, &reach];
    let rows = at.query(OLD_VERSIONS, &parameters).await?;
    rows.iter().map(read).collect()
}

/// A walk of what refers to something, the newest first.
pub(super) struct Referring<'f> {
    hashes: Vec<i64>,
    /// With each hash, the version that the reference may name.
    versions: Vec<i32>,
    frame: &'f Frame,
    /// The row that it goes on behind; `None` at its end.
    at: Option<(String, i64)>,
}

/// What a walk came upon.
pub(super) struct Stretch {
    /// What is within reach.
    pub(super) within: Vec<Current>,
    /// How many more rows were looked at.
    pub(super) passed: usize,
}

impl<'f> Referring<'f> {
    pub(super) fn to(hashes: &[(i64, i32)], frame: &'f Frame) -> Self {
        let (hashes, versions): (Vec<i64>, Vec<i32>) = hashes.iter().copied().unzip();
        let at = (!hashes.is_empty()).then(|| ("infinity".to_owned(), i64::MAX));
        Self { hashes, versions, frame, at }
    }

    /// What comes next, of no more than `limit` rows; `None` at the end.
    pub(super) async fn next(
        &mut self,
        limit: usize,
        asking: Asking<'_, '_>,
    ) -> Result<Option<Stretch>, Error> {
        let Self { hashes, versions, frame, at } = &*self;
        let Some((s, rid)) = at else { return Ok(None) };
        let (reach, most) = (frame.bind(), i64::try_from(limit).unwrap_or(i64::MAX));
        let parameters: [&(dyn ToSql + Sync); 6] = [hashes, versions, &reach, &most, s, rid];
        let rows = asking.query(BY_REFERENCE, &parameters).await?;
        let next = match rows.last() {
            Some(row) if rows.len() >= limit => {
                let s = row.try_get(10).map_err(failure::error)?;
                Some((s, row.try_get(11).map_err(failure::error)?))
            }
            _ => None,
        };
        let there = rows.iter().filter(|row| is_there(row));
        let found = there.map(read).collect::<Result<_, _>>()?;
        let mut found = within(frame, found, (key_of, is_sure(frame)), asking).await?;
        // As they were written.
        found.sort_unstable_by_key(|resource| resource.rid);
        let passed = rows.len() - found.len();
        self.at = next;
        Ok(Some(Stretch { within: found, passed }))
    }
}

/// Whether there is a resource behind a row of the index.
fn is_there(row: &Row) -> bool {
    row.try_get::<_, Option<i32>>(0).is_ok_and(|version| version.is_some())
}

fn key_of(found: &Current) -> (ResourceType, i64) {
    (found.version.identity.resource_type, found.rid)
}

fn is_sure(frame: &Frame) -> impl Fn(&Current) -> bool + '_ {
    |found| frame.is_sure(&found.version, &found.patients)
}

fn read(row: &Row) -> Result<Current, Error> {
    current(row, rows::identity(row, 8)?)
}
