//! What is known of what a message is about: resources by its keys, their versions, how many messages
//! their patients have had, and how new what is known of them is. One statement, with its row in the
//! ledger; all of it is of one moment, so that a number of a patient's messages vouches for what was read.
//!
//! Spec: v2 S2, S22, M7

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::ledger::{Columns, if_kept};
use super::super::resource::{self, Current, keys_of};
use super::super::rows::Timestamptz;
use super::super::{Store, TENANT, failure};
use super::Keyed;
use crate::access::{Draft, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::{Identity, Instant, ResourceType};

/// `$1` to `$19` are the ledger's, for one row; then the keys. Four kinds of rows, told apart by the column
/// after those of a version: versions, keys, patients with the number of their messages, times.
const LOOK: &str = concat!(
    "WITH g AS (SELECT * FROM unnest($20::text[], $21::text[], $22::text[], $23::smallint[]) \
       AS g(type, system, value, rt)), \
     known AS MATERIALIZED ( \
       SELECT k.resource_type, k.system, k.value, k.resource_id, g.rt FROM g CROSS JOIN LATERAL \
         (SELECT * FROM v2_key WHERE (resource_type, system, value) = (g.type, g.system, g.value) OFFSET 0) k), \
     one AS MATERIALIZED (SELECT DISTINCT resource_type, resource_id, rt FROM known), \
     found AS MATERIALIZED ( \
       SELECT r.vid, r.lu, r.op, r.meta, r.body, r.pats, r.rid, r.xid, o.resource_type, o.resource_id \
         FROM one o ",
    keys_of!("o", "resource_id"),
    " JOIN res r ON r.rid = i.rid AND r.dk = i.dk WHERE r.op <> 'D'), \
     led AS (INSERT INTO ledger_row (id, at, grp, tid, interaction, outcome, rt, vid, subject, logical_id, party, \
         token_id, request, request_id, query, failure, pats, entities) \
       SELECT ($2::uuid[])[1], ($3::timestamptz[])[1], ($4::uuid[])[1], $1::int, ($5::smallint[])[1], \
         ($6::smallint[])[1], ($7::smallint[])[1], ($8::int[])[1], ($9::uuid[])[1], ($10::text[])[1], \
         ($11::bigint[])[1], ($12::uuid[])[1], ($13::uuid[])[1], ($14::text[])[1], ($15::text[])[1], \
         ($16::text[])[1], nullif(ARRAY(SELECT p FROM (SELECT unnest(found.pats) FROM found \
           UNION SELECT unnest(($18::text[])[1]::bigint[]) UNION SELECT ($17::bigint[])[1]) x(p) \
           WHERE p IS NOT NULL ORDER BY p), '{}'), \
         nullif(coalesce(($19::text[])[1]::text[], '{}') || \
           ARRAY(SELECT resource_type || '/' || resource_id || '/_history/' || vid FROM found ORDER BY 1), '{}')",
    if_kept!(" WHERE"),
    ") \
     SELECT vid, lu, op, meta, body, pats, rid, xid, 0::smallint AS what, resource_type AS a, NULL AS b, \
       NULL AS c, resource_id AS d, NULL::bigint AS n, NULL::timestamptz AS at FROM found \
     UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1::smallint, resource_type, system, \
       value, resource_id, NULL, NULL FROM known \
     UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 2::smallint, NULL, NULL, NULL, \
       o.resource_id, COALESCE(l.n, 0), NULL FROM one o LEFT JOIN v2_line l ON l.patient = o.resource_id \
      WHERE o.resource_type = 'Patient' \
     UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 3::smallint, w.entity_type, w.aspect, \
       NULL, w.entity_id, NULL, w.event_time FROM one o CROSS JOIN LATERAL \
         (SELECT * FROM v2_watermark WHERE (entity_type, entity_id) = (o.resource_type, o.resource_id) OFFSET 0) w"
);

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[LOOK];

/// What is known of what a message is about.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// The resources that are known by the keys.
    pub known: Vec<Keyed>,
    /// Their versions, of those that are live.
    pub current: Vec<Current>,
    /// The patients among them, each with how many messages had their effect on it.
    pub lines: Vec<(String, i64)>,
    /// How new what is known of them is: type, id, aspect.
    pub marks: Vec<(String, String, String, Instant)>,
}

impl Looked {
    /// The version of a resource that was found by a key.
    pub fn current(&self, identity: &Identity) -> Option<&Current> {
        self.current.iter().find(|current| current.version.identity == *identity)
    }

    /// Whether a resource was found by a key, so that all of its times are here.
    pub fn has(&self, identity: &Identity) -> bool {
        let is_same = |known: &Keyed| {
            known.id == identity.id.as_str()
                && known.resource_type == identity.resource_type.as_str()
        };
        self.known.iter().any(is_same)
    }

    fn take(&mut self, row: &Row) -> Result<(), Error> {
        let text = |at: usize| row.try_get::<_, String>(at).map_err(failure::error);
        let what: i16 = row.try_get(8).map_err(failure::error)?;
        let id = text(12)?;
        match what {
            0 => {
                let resource_type = text(9)?.parse().map_err(Error::internal)?;
                let identity = Identity { resource_type, id: id.parse().map_err(Error::internal)? };
                self.current.push(resource::current(row, identity)?);
            }
            1 => {
                let (resource_type, system, value) = (text(9)?, text(10)?, text(11)?);
                self.known.push(Keyed { resource_type, system, value, id });
            }
            2 => self.lines.push((id, row.try_get(13).map_err(failure::error)?)),
            _ => {
                let at: Timestamptz = row.try_get(14).map_err(failure::error)?;
                self.marks.push((text(9)?, id, text(10)?, at.0));
            }
        }
        Ok(())
    }
}

impl Store {
    /// What is known of the resources of `keys` (their ids do not count).
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who has limits; [`Error::Unavailable`] without a database.
    pub async fn look_for_message(
        &self,
        keys: &[Keyed],
        draft: Draft,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Looked>, Error> {
        // Messages are about anybody: who may not see all has no way here.
        if permit.is_restricted() {
            return Err(Error::Forbidden);
        }
        let (row, taken) = draft.take_row();
        let pipeline = self.0.reads.pipeline().await?;
        let ledger = Columns::of([&row], self.0.parties.keys([&row]).await?);
        let column = |value: fn(&Keyed) -> &str| keys.iter().map(value).collect::<Vec<_>>();
        let types = column(|key| &key.resource_type);
        let systems = column(|key| &key.system);
        let values = column(|key| &key.value);
        let codes: Result<Vec<i16>, _> =
            types.iter().map(|of| of.parse().map(ResourceType::code)).collect();
        let codes = codes.map_err(Error::internal)?;
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
        parameters.extend(ledger.parameters());
        let own: [&(dyn ToSql + Sync); 4] = [&types, &systems, &values, &codes];
        parameters.extend(own);
        let statement = pipeline.prepare(LOOK).await?;
        let rows = pipeline.client().query(&statement, &parameters).await;
        let mut looked = Looked::default();
        for row in &rows.map_err(failure::error)? {
            looked.take(row)?;
        }
        Ok(taken.with(looked))
    }
}
