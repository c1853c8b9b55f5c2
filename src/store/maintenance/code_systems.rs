//! Code systems that were loaded from the releases of their publishers.
//!
//! A load is a row of `code_system` that is not completed yet, and batches of rows of concepts, each with
//! its progress in one transaction: who finds such a row of the same content goes on behind what is
//! there. Completing it takes the release before away in the same transaction, so nodes see one or the
//! other.

use futures_util::TryStreamExt as _;
use tokio_postgres::Row;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};

use crate::error::Error;

use super::super::connection::Transaction;
use super::super::{Store, failure};
use super::index::commit;

/// A load may take as long as it takes: nobody waits for its statements.
const UNLIMITED: &str = "SET LOCAL statement_timeout = 0";

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

const LIST: &str = "SELECT id, url, version, name, is_complete, is_case_sensitive, property_kinds, \
     designation_uses, concepts, done, digest, completed IS NOT NULL FROM code_system ORDER BY url, id";

const MARK: &str = "SELECT coalesce(string_agg(id::text, ',' ORDER BY id), '') FROM code_system \
     WHERE completed IS NOT NULL";

const FORGET: &str = "DELETE FROM code_system \
     WHERE url = $1 AND digest <> $2 AND completed IS NULL RETURNING id";

const BEGIN: &str = "INSERT INTO code_system (url, version, name, is_complete, is_case_sensitive, \
     property_kinds, designation_uses, concepts, digest) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
     ON CONFLICT (url) WHERE completed IS NULL DO NOTHING";

const POSITION: &str =
    "SELECT done FROM code_system WHERE id = $1 AND completed IS NULL FOR UPDATE";

/// The table of the session into which concepts are copied: row level security takes no COPY.
const COPIED: &str = "CREATE TEMP TABLE copied_concept (LIKE code_system_concept) ON COMMIT DROP";

const TAKE: &str = "SELECT kiln_take_concepts()";

const COPY: &str = "COPY copied_concept (system, place, is_inactive, code, display, definition, \
     parents, property_kinds, property_values, designation_uses, designations) \
     FROM STDIN (FORMAT binary)";

const MOVE: &str = "UPDATE code_system SET done = $2 WHERE id = $1";

const REPLACE: &str = "DELETE FROM code_system o USING code_system n \
     WHERE n.id = $1 AND o.url = n.url AND o.completed IS NOT NULL RETURNING o.id";

const COMPLETE: &str =
    "UPDATE code_system SET completed = clock_timestamp() WHERE id = $1 AND done = concepts";

const DROP: &str = "DELETE FROM code_system WHERE url = $1 RETURNING id";

/// A statement of its own: it sees what a load that was waited for has added last.
const CLEAR: &str = "DELETE FROM code_system_concept WHERE system = ANY($1)";

const CONCEPTS: &str = "SELECT place, is_inactive, code, display, definition, parents, property_kinds, \
     property_values, designation_uses, designations FROM code_system_concept \
     WHERE system = $1 ORDER BY place";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[
    LIST, MARK, FORGET, BEGIN, POSITION, COPIED, COPY, TAKE, MOVE, REPLACE, COMPLETE, DROP, CLEAR,
    CONCEPTS,
];

/// A code system that is, or is being, loaded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CodeSystemRow {
    /// Another one for each release that is loaded; what is given here counts only when reading.
    pub id: i32,
    /// The canonical url.
    pub url: String,
    /// The version; perhaps empty.
    pub version: String,
    /// The name for people.
    pub name: String,
    /// Whether these are all of its codes.
    pub is_complete: bool,
    /// Whether codes differ by their case.
    pub is_case_sensitive: bool,
    /// Name and type of each property, in turn.
    pub property_kinds: Vec<String>,
    /// Language, system and code of each use, in turn.
    pub designation_uses: Vec<String>,
    /// How many concepts it has.
    pub concepts: i32,
    /// How many of them are stored.
    pub done: i32,
    /// Tells its content from any other.
    pub digest: Vec<u8>,
    /// Whether all are, and it is in force.
    pub is_completed: bool,
}

/// One concept; places count from 0.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ConceptRow<'r> {
    /// Where it is among the others.
    pub place: i32,
    /// Whether it is no longer to be used.
    pub is_inactive: bool,
    /// The code.
    pub code: &'r str,
    /// The display; empty without one.
    pub display: &'r str,
    /// The definition; empty without one.
    pub definition: &'r str,
    /// The places of those directly above.
    pub parents: Vec<i32>,
    /// An index of name and type for each property value.
    pub property_kinds: Vec<i16>,
    /// The values.
    pub property_values: Vec<&'r str>,
    /// An index of language and use for each designation.
    pub designation_uses: Vec<i16>,
    /// The designations.
    pub designations: Vec<&'r str>,
}

/// How a load stands when it is begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BegunLoad {
    /// The same content is in force.
    Loaded,
    /// Concepts from place `done` on are to be added to the system `id`.
    At {
        /// The id.
        id: i32,
        /// How many concepts are stored.
        done: i32,
    },
}

/// All code systems that are loaded, and those that are being so.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn code_systems(store: &Store) -> Result<Vec<CodeSystemRow>, Error> {
    let transaction = store.0.writers.begin(SNAPSHOT).await?;
    let rows = transaction.all(LIST, &[]).await?;
    transaction.roll_back().await;
    rows.iter().map(system).collect()
}

/// What is another one whenever the code systems that are loaded are.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn code_systems_mark(store: &Store) -> Result<String, Error> {
    let found = sqlx::query_as(MARK).fetch_one(&store.0.admin).await;
    let (mark,): (String,) = found.map_err(failure::sqlx_error)?;
    Ok(mark)
}

/// Begins to load a code system, or goes on with what an earlier load of the same content has left.
/// What was begun of another release of the same system is forgotten.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn begin_code_system(store: &Store, new: &CodeSystemRow) -> Result<BegunLoad, Error> {
    let transaction = begin(store).await?;
    take_away(&transaction, FORGET, &[&new.url, &new.digest]).await?;
    let known = transaction.all(LIST, &[]).await?;
    let known: Vec<_> = known.iter().map(system).collect::<Result<_, _>>()?;
    let is_same = |it: &&CodeSystemRow| it.url == new.url && it.digest == new.digest;
    if known.iter().filter(is_same).any(|it| it.is_completed) {
        commit(transaction).await?;
        return Ok(BegunLoad::Loaded);
    }
    let values: [&(dyn ToSql + Sync); 9] = [
        &new.url,
        &new.version,
        &new.name,
        &new.is_complete,
        &new.is_case_sensitive,
        &new.property_kinds,
        &new.designation_uses,
        &new.concepts,
        &new.digest,
    ];
    transaction.run(BEGIN, &values).await?;
    let known = transaction.all(LIST, &[]).await?;
    let known: Vec<_> = known.iter().map(system).collect::<Result<_, _>>()?;
    commit(transaction).await?;
    let begun = known.iter().find(|it| is_same(it) && !it.is_completed);
    let begun = begun.ok_or_else(|| Error::Conflict(superseded(&new.url)))?;
    Ok(BegunLoad::At { id: begun.id, done: begun.done })
}

/// Adds the concepts from place `done` on; all are stored, or none.
///
/// # Errors
/// [`Error::Conflict`] when another load came between; [`Error::Unavailable`] without a database.
pub async fn add_concepts(
    store: &Store,
    id: i32,
    done: i32,
    rows: &[ConceptRow<'_>],
) -> Result<(), Error> {
    let transaction = begin(store).await?;
    let position = transaction.all(POSITION, &[&id]).await?;
    let position: Option<i32> = match position.first() {
        Some(row) => Some(row.try_get(0).map_err(failure::error)?),
        None => None,
    };
    if position != Some(done) {
        transaction.roll_back().await;
        return Err(Error::Conflict(superseded("this code system")));
    }
    transaction.run(COPIED, &[]).await?;
    let sink = transaction.copy_in(COPY).await.map_err(failure::error)?;
    let writer = BinaryCopyInWriter::new(
        sink,
        &[
            Type::INT4,
            Type::INT4,
            Type::BOOL,
            Type::TEXT,
            Type::TEXT,
            Type::TEXT,
            Type::INT4_ARRAY,
            Type::INT2_ARRAY,
            Type::TEXT_ARRAY,
            Type::INT2_ARRAY,
            Type::TEXT_ARRAY,
        ],
    );
    let mut writer = std::pin::pin!(writer);
    for row in rows {
        let values: [&(dyn ToSql + Sync); 11] = [
            &id,
            &row.place,
            &row.is_inactive,
            &row.code,
            &row.display,
            &row.definition,
            &row.parents,
            &row.property_kinds,
            &row.property_values,
            &row.designation_uses,
            &row.designations,
        ];
        writer.as_mut().write(&values).await.map_err(failure::error)?;
    }
    writer.as_mut().finish().await.map_err(failure::error)?;
    transaction.run(TAKE, &[]).await?;
    let moved = done.saturating_add(i32::try_from(rows.len()).unwrap_or(i32::MAX));
    transaction.run(MOVE, &[&id, &moved]).await?;
    commit(transaction).await
}

/// Puts a code system of which all concepts are stored in force, in the place of the one before.
///
/// # Errors
/// [`Error::Conflict`] when concepts are missing, or another load came between;
/// [`Error::Unavailable`] without a database.
pub async fn complete_code_system(store: &Store, id: i32) -> Result<(), Error> {
    let transaction = begin(store).await?;
    take_away(&transaction, REPLACE, &[&id]).await?;
    if transaction.run(COMPLETE, &[&id]).await? != 1 {
        transaction.roll_back().await;
        return Err(Error::Conflict(superseded("this code system")));
    }
    commit(transaction).await
}

/// Takes a code system away; whether there was one.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn drop_code_system(store: &Store, url: &str) -> Result<bool, Error> {
    let transaction = begin(store).await?;
    let dropped = take_away(&transaction, DROP, &[&url]).await?;
    commit(transaction).await?;
    Ok(dropped > 0)
}

/// Reads the code systems that are loaded and not `known` by their id, concept by concept in the order
/// of their places, and gives all that are loaded.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn read_code_systems(
    store: &Store,
    known: &[i32],
    mut visit: impl FnMut(&CodeSystemRow, &ConceptRow<'_>) + Send,
) -> Result<Vec<CodeSystemRow>, Error> {
    let transaction = store.0.writers.begin(SNAPSHOT).await?;
    transaction.batch_execute(UNLIMITED).await.map_err(failure::error)?;
    let found = transaction.all(LIST, &[]).await?;
    let found: Vec<_> = found.iter().map(system).collect::<Result<_, _>>()?;
    let loaded: Vec<_> = found.into_iter().filter(|it| it.is_completed).collect();
    for system in loaded.iter().filter(|it| !known.contains(&it.id)) {
        let statement = transaction.prepare_cached(CONCEPTS).await.map_err(failure::error)?;
        let rows = transaction.query_raw(&statement, [&system.id]).await;
        let mut rows = std::pin::pin!(rows.map_err(failure::error)?);
        while let Some(row) = rows.try_next().await.map_err(failure::error)? {
            visit(system, &concept(&row).map_err(failure::error)?);
        }
    }
    transaction.roll_back().await;
    Ok(loaded)
}

async fn begin(store: &Store) -> Result<Transaction, Error> {
    let transaction = store.0.writers.begin("BEGIN").await?;
    transaction.batch_execute(UNLIMITED).await.map_err(failure::error)?;
    Ok(transaction)
}

/// Deletes code systems with their concepts; how many.
async fn take_away(
    transaction: &Transaction,
    sql: &'static str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<usize, Error> {
    let rows = transaction.all(sql, parameters).await?;
    let ids: Result<Vec<i32>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    let ids = ids.map_err(failure::error)?;
    transaction.run(CLEAR, &[&ids]).await?;
    Ok(ids.len())
}

fn superseded(what: &str) -> String {
    format!("another load of {what} is under way, or took the place of this one")
}

fn system(row: &Row) -> Result<CodeSystemRow, Error> {
    let read = || -> Result<CodeSystemRow, tokio_postgres::Error> {
        Ok(CodeSystemRow {
            id: row.try_get(0)?,
            url: row.try_get(1)?,
            version: row.try_get(2)?,
            name: row.try_get(3)?,
            is_complete: row.try_get(4)?,
            is_case_sensitive: row.try_get(5)?,
            property_kinds: row.try_get(6)?,
            designation_uses: row.try_get(7)?,
            concepts: row.try_get(8)?,
            done: row.try_get(9)?,
            digest: row.try_get(10)?,
            is_completed: row.try_get(11)?,
        })
    };
    read().map_err(failure::error)
}

fn concept(row: &Row) -> Result<ConceptRow<'_>, tokio_postgres::Error> {
    Ok(ConceptRow {
        place: row.try_get(0)?,
        is_inactive: row.try_get(1)?,
        code: row.try_get(2)?,
        display: row.try_get(3)?,
        definition: row.try_get(4)?,
        parents: row.try_get(5)?,
        property_kinds: row.try_get(6)?,
        property_values: row.try_get(7)?,
        designation_uses: row.try_get(8)?,
        designations: row.try_get(9)?,
    })
}
