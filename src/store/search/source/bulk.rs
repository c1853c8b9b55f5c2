//! The rows of an export: all resources of a type, walked once, under the permit like those of a search.
//!
//! An export reads in one snapshot, by one statement for a type or for some patients of it. What the
//! permit does not reach is no row here either: [`Compiler::visible`] is in each statement.
//!
//! Spec: <https://hl7.org/fhir/uv/bulkdata/export.html>

use std::collections::HashSet;

use tokio_postgres::types::ToSql;

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::{Instant, ResourceType};
use crate::search::request::{Filter, ParameterKey};
use crate::store::Store;
use crate::store::rows::Edge;

use super::super::compile::Compiler;
use super::super::page::WITH_BODIES;
use super::super::sql::Cond;
use super::{Source, every};

/// How long before its commit a version may have been made, in milliseconds: longer than any statement
/// may take.
const SLACK: i64 = 15 * 60 * 1_000;

/// Who was asked for last: the newest version there is.
pub(in crate::store) const NEWEST: &str =
    "SELECT r.lu FROM res r WHERE r.tid = $1 ORDER BY r.lu DESC LIMIT 1";

/// What was deleted of types $2 since $3, with the version before: exactly after $4 or unseen by the
/// snapshot $5; of the patients $6, or where $7 is true of any patient or of the types $8.
pub(in crate::store) const DELETED: &str = "SELECT r.rt, r.id, r.pats, h.vid, h.lu, h.op, h.meta, h.body \
     FROM res r LEFT JOIN LATERAL (SELECT h.vid, h.lu, h.op, h.meta, h.body FROM hist h \
       WHERE h.rid = r.rid AND h.vid < r.vid AND h.op <> 'D' ORDER BY h.vid DESC LIMIT 1) h ON true \
     WHERE r.tid = $1 AND r.rt = ANY ($2::smallint[]) AND r.op = 'D' AND r.lu >= $3 \
       AND CASE WHEN $5::text IS NULL THEN r.lu >= $4 \
           ELSE r.lu > $4 OR NOT pg_visible_in_snapshot(r.xid, $5::text::pg_snapshot) END \
       AND ($6::bigint[] IS NULL OR r.pats && $6) AND (NOT $7 OR r.pats <> '{}' OR r.rt = ANY ($8::smallint[]))";

/// What refers by one of these hashes of references.
pub(in crate::store) const REFERRING: &str = "SELECT DISTINCT t.rid FROM unnest($1::bigint[]) u(h) \
     CROSS JOIN LATERAL (SELECT t.rid FROM tok t WHERE t.h = u.h OFFSET 0) t WHERE t.rid > 0";

/// Every static statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[NEWEST, DELETED, REFERRING];

/// Since when what changed is wanted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::store) struct Since {
    /// The time.
    pub(in crate::store) at: Instant,
    /// What an export of that transactionTime saw, where there was one: what it did not see is new,
    /// whatever time it bears.
    pub(in crate::store) seen: Option<String>,
}

impl Since {
    /// From where on there may be something new.
    pub(in crate::store) fn from(&self) -> Instant {
        if self.seen.is_some() { self.at.plus_millis(-SLACK) } else { self.at }
    }
}

/// Which resources of a type are walked.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Whose<'w> {
    /// All.
    Anybodys,
    /// Those of these identities.
    Identities(&'w [i64]),
    /// Those of these keys.
    Keys(&'w [i64]),
    /// Those in the compartments of these patients, once for each of them.
    Members(&'w [i64]),
    /// Those whose element `patient` refers to one of these, or to anybody.
    Owned(Option<&'w [i64]>),
    /// Those in the compartment of some patient.
    Patients,
}

/// Resources of one type.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct BulkWalk<'w> {
    pub(in crate::store) of: ResourceType,
    pub(in crate::store) whose: Whose<'w>,
    /// One of them holds; none: whatever there is.
    pub(in crate::store) filters: &'w [Filter],
    pub(in crate::store) since: Option<&'w Since>,
    /// Whether what did not change is walked too, and told from what did.
    pub(in crate::store) has_old: bool,
}

/// The values of a statement.
pub(in crate::store) type Values = Vec<Box<dyn ToSql + Sync + Send>>;

/// The statement of a walk. Its rows: the patient that it was walked for, whether it is new, the columns
/// `vid` to `pats`, `rt` and `id`, and the key.
pub(in crate::store) fn statement(
    store: &Store,
    permit: &Permit<'_>,
    walk: &BulkWalk<'_>,
) -> Result<(String, Values), Error> {
    permit.derive(Kind::Export, walk.of)?;
    let (known, turned) = (store.parameters()?, HashSet::new());
    let (definitions, hasher) = (store.definitions()?, store.hasher());
    let mut compiler = Compiler::new(&known, definitions, hasher, permit, &turned);
    let (source, owned) = compiler.bulk_rows(walk);
    let mut all = vec![owned];
    if !walk.filters.is_empty() {
        let any = walk.filters.iter().map(|filter| compiler.filter(filter, &source.row));
        all.push(Cond::any(any.collect::<Result<Vec<_>, _>>()?));
    }
    all.push(compiler.visible(&source.row)?);
    let patient = match walk.whose {
        Whose::Members(_) => source.row.rid.replace(".rid", ".pat"),
        _ => "NULL::bigint".to_owned(),
    };
    let columns = format!("{} AS rid, {patient} AS pat", source.row.rid);
    let found = every(&source, &columns, &Cond::all(all));
    let is_new = compiler.is_new(walk.since);
    let mut more = String::new();
    if matches!(walk.whose, Whose::Patients) {
        more.push_str(" AND r.pats <> '{}'");
    }
    if !walk.has_old && walk.since.is_some() {
        more.push_str(" AND ");
        more.push_str(&is_new);
    }
    let text = format!(
        "SELECT k.pat, {is_new}, {WITH_BODIES}, r.rid FROM ({found}) k CROSS JOIN LATERAL \
         (SELECT r.* FROM res r WHERE r.rid = k.rid OFFSET 0) r WHERE r.op <> 'D'{more}"
    );
    let statement = compiler.binds.finish(&text);
    let values = statement.binds.into_iter().map(|bind| Box::new(bind) as _).collect();
    Ok((statement.sql, values))
}

/// The parameters under which a Provenance has its targets of a type: what refers to an identity is found
/// by that one combined with each of these.
pub(in crate::store) fn targets_of(
    store: &Store,
    permit: &Permit<'_>,
    of: ResourceType,
) -> Result<Vec<i64>, Error> {
    let (known, turned) = (store.parameters()?, HashSet::new());
    let compiler = Compiler::new(&known, store.definitions()?, store.hasher(), permit, &turned);
    let key = ParameterKey { resource_type: ResourceType::PROVENANCE, code: "target".into() };
    Ok(compiler.references(&[key], &[ResourceType::PROVENANCE], of))
}

impl Compiler<'_, '_> {
    /// What is walked, and what else says whose it is.
    fn bulk_rows(&mut self, walk: &BulkWalk<'_>) -> (Source, Cond) {
        let types = [walk.of];
        let codes = [walk.of.code()];
        match walk.whose {
            Whose::Anybodys | Whose::Patients => (self.changed_rows(walk), Cond::True),
            Whose::Identities(identities) => {
                let whose = self.binds.is_one_of("w.idh", identities);
                let found = format!("SELECT w.rid FROM srow w WHERE {whose}");
                (self.found_rows(&found, &codes, &types), Cond::True)
            }
            Whose::Keys(keys) => {
                let found = format!("SELECT unnest({})", self.binds.longs(keys.iter().copied()));
                (self.found_rows(&found, &codes, &types), Cond::True)
            }
            Whose::Members(patients) => (self.compartment_rows(patients, &types), Cond::True),
            Whose::Owned(patients) => {
                let source = self.changed_rows(walk);
                let owned = match patients {
                    Some(all) => {
                        self.refers_to("{}.body#>>'{patient,reference}'", all, &source.row)
                    }
                    None => {
                        self.resource_holds(&source.row, |res| format!("{res}.body ? 'patient'"))
                    }
                };
                (source, owned)
            }
        }
    }

    /// All of the type, or, where that is all that is asked, what may have changed.
    fn changed_rows(&mut self, walk: &BulkWalk<'_>) -> Source {
        let Some(since) = walk.since.filter(|_| !walk.has_old) else {
            return self.resource_rows(&[walk.of.code()], &[walk.of]);
        };
        let mut source = self.updated_rows(&[walk.of]);
        let from = self.binds.time(Edge::At(since.from()));
        let changed = format!(" AND {} >= {from}", source.row.rid.replace(".rid", ".lu"));
        source.condition.push_str(&changed);
        source
    }

    fn is_new(&mut self, since: Option<&Since>) -> String {
        let Some(since @ Since { at, seen }) = since else { return "true".to_owned() };
        let from = since.from();
        let at = self.binds.time(Edge::At(*at));
        match seen {
            None => format!("r.lu >= {at}"),
            Some(seen) => {
                let seen = self.binds.text(seen.as_str());
                let is_seen = format!("pg_visible_in_snapshot(r.xid, {seen}::pg_snapshot)");
                // A row that is only touched, as when the index is built anew, is older than what was being written.
                let from = self.binds.time(Edge::At(from));
                format!("(r.lu > {at} OR (r.lu >= {from} AND NOT {is_seen}))")
            }
        }
    }
}
