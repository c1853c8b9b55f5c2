//! What is known of what messages are about: resources by their keys, their versions, how many messages
//! their patients have had, how new what is known of them is, and which results wait for theirs. One statement for
//! all messages that wait, with a row in the ledger for each; all of it is of one moment, so that a number of a
//! patient's messages vouches for what was read.
//!
//! Spec: v2 S2, S22, S34, M7

use std::sync::Arc;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::connection::Pipelines;
use super::super::ledger::{Columns, if_kept};
use super::super::parties::Parties;
use super::super::resource::{self, Current, keys_of};
use super::super::rows::Timestamptz;
use super::super::tenant::Realm;
use super::super::together::{Queue, Together};
use super::super::unflushed::Unflushed;
use super::super::{Store, TENANT, failure};
use super::{Keyed, Member};
use crate::access::{Disclosed, Draft, LedgerRow, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::{Identity, Instant, ResourceType};

/// Statements in flight at once: one, so that what comes meanwhile shares the next.
const LANES: usize = 1;
/// Most keys in one statement.
const MOST: usize = 4_096;

/// `$1` to `$20` are the ledger's; then the keys and the places of results, each with the number of its message in
/// the order of the ledger's rows, which stands in the last column. Five kinds of rows, told apart by the column
/// after those of a version: versions, keys, patients with the number of their messages, times, results.
const LOOK: &str = concat!(
    "WITH g AS (SELECT * FROM unnest($21::bigint[], $22::text[], $23::text[], $24::text[], $25::smallint[]) \
       AS g(whose, type, system, value, rt)), \
     known AS MATERIALIZED ( \
       SELECT g.whose, k.resource_type, k.system, k.value, k.resource_id, g.rt FROM g CROSS JOIN LATERAL \
         (SELECT * FROM v2_key WHERE (resource_type, system, value) = (g.type, g.system, g.value) OFFSET 0) k), \
     one AS MATERIALIZED (SELECT DISTINCT whose, resource_type, resource_id, rt FROM known), \
     found AS MATERIALIZED ( \
       SELECT o.whose, r.vid, r.lu, r.op, r.meta, r.body, r.pats, r.rid, r.xid, o.resource_type, o.resource_id \
         FROM one o ",
    keys_of!("o", "resource_id"),
    " JOIN res r ON r.rid = i.rid AND r.dk = i.dk WHERE r.op <> 'D'), \
     led AS (INSERT INTO ledger_row (id, at, grp, tid, interaction, outcome, rt, vid, subject, logical_id, party, \
         token_id, token, request, request_id, query, failure, pats, entities) \
       SELECT l.id, l.at, l.grp, $1::int, l.interaction, l.outcome, l.rt, l.vid, l.subject, l.logical_id, \
         l.party, l.token_id, l.token, l.request, l.request_id, l.query, l.failure, \
         nullif(ARRAY(SELECT p FROM (SELECT unnest(f.pats) FROM found f WHERE f.whose = l.whose \
           UNION SELECT unnest(l.pats::bigint[]) UNION SELECT l.pat) x(p) \
           WHERE p IS NOT NULL ORDER BY p), '{}'), \
         nullif(coalesce(l.entities::text[], '{}') || \
           ARRAY(SELECT f.resource_type || '/' || f.resource_id || '/_history/' || f.vid FROM found f \
             WHERE f.whose = l.whose ORDER BY 1), '{}') \
         FROM unnest($2::uuid[], $3::timestamptz[], $4::uuid[], $5::smallint[], $6::smallint[], \
           $7::smallint[], $8::int[], $9::uuid[], $10::text[], $11::bigint[], $12::uuid[], $13::uuid[], \
           $14::text[], $15::text[], $16::text[], $17::bigint[], $18::text[], $19::text[], $20::text[]) WITH ORDINALITY \
           AS l(id, at, grp, interaction, outcome, rt, vid, subject, logical_id, party, token_id, request, \
             request_id, query, failure, pat, pats, entities, token, whose)",
    if_kept!(" WHERE"),
    ") \
     SELECT vid, lu, op, meta, body, pats, rid, xid, 0::smallint AS what, resource_type AS a, NULL AS b, \
       NULL AS c, resource_id AS d, NULL::bigint AS n, NULL::timestamptz AS at, whose FROM found \
     UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1::smallint, resource_type, system, \
       value, resource_id, NULL, NULL, whose FROM known \
     UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 2::smallint, NULL, NULL, NULL, \
       o.resource_id, COALESCE(l.n, 0), NULL, o.whose FROM one o LEFT JOIN LATERAL \
         (SELECT n FROM v2_line WHERE patient = o.resource_id OFFSET 0) l ON true \
      WHERE o.resource_type = 'Patient' \
     UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 3::smallint, w.entity_type, w.aspect, \
       NULL, w.entity_id, NULL, w.event_time, o.whose FROM one o CROSS JOIN LATERAL \
         (SELECT * FROM v2_watermark WHERE (entity_type, entity_id) = (o.resource_type, o.resource_id) OFFSET 0) w \
     UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 4::smallint, m.place, NULL, NULL, \
       m.member, NULL, NULL, p.whose FROM unnest($26::bigint[], $27::text[]) AS p(whose, place) \
       CROSS JOIN LATERAL (SELECT * FROM v2_member WHERE place = p.place OFFSET 0) m"
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
    /// Results that came before those at the places that were asked for, to which they belong.
    pub waiting: Vec<Member>,
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

    /// The row of who asked, with what was told: as the statement adds it.
    fn recorded(&self, row: &LedgerRow) -> LedgerRow {
        let mut row = row.clone();
        let Disclosed { patients, entities, .. } = &mut row.disclosed;
        patients.extend(self.current.iter().flat_map(|current| current.patients.iter().copied()));
        patients.sort_unstable();
        patients.dedup();
        let names = self.current.iter().map(|current| {
            let Identity { resource_type, id } = &current.version.identity;
            format!("{resource_type}/{}/_history/{}", id.as_str(), current.version.version.0)
        });
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        entities.extend(names);
        row
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
            4 => self.waiting.push(Member { place: text(9)?, member: id }),
            _ => {
                let at: Timestamptz = row.try_get(14).map_err(failure::error)?;
                self.marks.push((text(9)?, id, text(10)?, at.0));
            }
        }
        Ok(())
    }
}

/// Messages that wait to be looked for.
pub(in crate::store) struct Looks {
    pipelines: Pipelines,
    parties: Arc<Parties>,
    unflushed: Arc<Unflushed>,
    queue: Queue<Self>,
}

impl Looks {
    /// Looks by connections of their own: the plan of a statement that was first run while there were few
    /// resources would walk through all of them.
    pub(in crate::store) fn new(
        realm: &Realm,
        (parties, unflushed): (Arc<Parties>, Arc<Unflushed>),
        timeout_ms: u32,
    ) -> Result<Self, Error> {
        let pipelines = Pipelines::by_index(realm, LANES, timeout_ms, unflushed.flush())?;
        Ok(Self { pipelines, parties, unflushed, queue: Queue::new(LANES, MOST).gathering() })
    }
}

/// What one message asks for, and its row of the ledger.
pub(in crate::store) struct Look {
    keys: Vec<Keyed>,
    /// The numbers of their types.
    types: Vec<i16>,
    places: Vec<String>,
    row: LedgerRow,
}

impl Together for Looks {
    type Work = Look;
    type Answer = Looked;
    type Fault = Error;

    fn weight(look: &Look) -> usize {
        1 + look.keys.len() + look.places.len()
    }

    async fn run(&self, batch: &[Look]) -> Result<Vec<Looked>, Error> {
        let before = self.unflushed.before();
        let pipeline = self.pipelines.pipeline().await?;
        let rows = || batch.iter().map(|look| &look.row);
        let ledger = Columns::of(rows(), self.parties.keys(rows()).await?);
        let columns = LookColumns::of(batch);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&TENANT];
        parameters.extend(ledger.parameters());
        parameters.extend(columns.parameters());
        let statement = pipeline.prepare(LOOK).await?;
        let rows = pipeline.client().query(&statement, &parameters).await;
        let mut all: Vec<Looked> = batch.iter().map(|_| Looked::default()).collect();
        for row in &rows.map_err(failure::error)? {
            let whose: i64 = row.try_get(15).map_err(failure::error)?;
            let whose = usize::try_from(whose - 1).ok().and_then(|at| all.get_mut(at));
            whose.ok_or_else(|| Error::internal("a row that was not asked for"))?.take(row)?;
        }
        let rows = batch.iter().zip(&all).map(|(look, looked)| looked.recorded(&look.row));
        self.unflushed.keep(before, rows).await;
        Ok(all)
    }
}

/// Keys and places column by column, as `unnest` takes them.
#[derive(Default)]
struct LookColumns<'a> {
    whose: Vec<i64>,
    /// Type, system, value.
    keys: [Vec<&'a str>; 3],
    types: Vec<i16>,
    whose_places: Vec<i64>,
    places: Vec<&'a str>,
}

impl<'a> LookColumns<'a> {
    fn of(batch: &'a [Look]) -> Self {
        let mut columns = Self::default();
        for (whose, look) in (1..).zip(batch) {
            for key in &look.keys {
                columns.whose.push(whose);
                let values = [&key.resource_type, &key.system, &key.value];
                for (column, value) in columns.keys.iter_mut().zip(values) {
                    column.push(value);
                }
            }
            columns.types.extend(&look.types);
            columns.whose_places.extend(look.places.iter().map(|_| whose));
            columns.places.extend(look.places.iter().map(String::as_str));
        }
        columns
    }

    fn parameters(&self) -> [&(dyn ToSql + Sync); 7] {
        let [types, systems, values] = &self.keys;
        [&self.whose, types, systems, values, &self.types, &self.whose_places, &self.places]
    }
}

impl Store {
    /// What is known of the resources of `keys` (their ids do not count), and which results wait for those at
    /// `places`.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for who has limits; [`Error::Unavailable`] without a database.
    pub async fn look_for_message(
        &self,
        keys: &[Keyed],
        places: &[String],
        draft: Draft,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Looked>, Error> {
        // Messages are about anybody: who may not see all has no way here.
        if permit.is_restricted() {
            return Err(Error::Forbidden);
        }
        let (row, taken) = draft.take_row();
        let types = keys.iter().map(|key| key.resource_type.parse().map(ResourceType::code));
        let types = types.collect::<Result<_, _>>().map_err(Error::internal)?;
        let look = Look { keys: keys.to_vec(), types, places: places.to_vec(), row };
        let looks = &self.0.looks;
        Ok(taken.with(looks.queue.submit(looks, look).await?))
    }
}
