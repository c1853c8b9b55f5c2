//! What is hashed of a row of the ledger, made of the columns as they lie on the disk.
//!
//! Sealed are the columns of the view `ledger` in their binary form (see [`super::seal`]). To have the
//! database join and write out each of them takes two thirds of its time for a row, so it sends what the
//! row has, and what the view says of that is done here (migration 70): the parties are looked up once,
//! UUIDs are written out, and what is not kept because it follows from the rest is added.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};
use uuid::Uuid;

use crate::error::Error;
use crate::fhir::Instant;

use super::super::rows::{Listed, Timestamptz};
use super::super::{Store, failure};

/// The columns that are read, in the order of [`Column`]: first those that go as they are.
macro_rules! raw_columns {
    () => {
        "id, at, xid, grp, tid, interaction, outcome, rt, vid, query, failure, logical_id, subject, token, \
         token_id, request_id, request, pats, pat, entities, party, actor, client, source, method, person, purpose"
    };
}
pub(super) use raw_columns;

const PARTY: &str =
    "SELECT actor, client, source, method, person, purpose FROM ledger_party WHERE key = $1";

/// Whether who looks for a person, $1, finds the rows of an actor, $2.
const PERSON: &str = "SELECT EXISTS (SELECT FROM ledger_party WHERE person = $1::text \
     AND (key >> 32)::int = kiln_actor($2::text))";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[PARTY, PERSON];

/// Most parties that are remembered: with more, all are forgotten.
const KNOWN: usize = 100_000;

/// An array without elements, and one of one number, as the database sends them.
const NO_NUMBERS: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20];
const NO_TEXTS: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25];
const ONE_NUMBER: [u8; 24] =
    [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 8];

/// What repeats from row to row.
#[derive(Debug, Default)]
pub(super) struct Party {
    /// Actor, client, source, method, person, purpose.
    parts: [Option<Box<[u8]>>; 6],
    /// Whether who looks for the person does not find the row.
    is_hidden: bool,
}

/// Parties that were read, and persons behind actors.
#[derive(Debug, Default)]
pub struct KnownParties {
    by_key: Mutex<HashMap<i64, Arc<Party>>>,
    persons: Mutex<HashSet<[String; 2]>>,
}

impl KnownParties {
    /// The party of a row that names one. One that is missing says nothing, nor does one by a key of another actor:
    /// rows are found by the key, so that what they tell would be hidden from who looks for the actor.
    pub(super) async fn of(&self, row: &Row, store: &Store) -> Result<Arc<Party>, Error> {
        let Some(key) = row.try_get::<_, Option<i64>>(20).map_err(failure::error)? else {
            let is_hidden = self.is_hidden(row, store).await?;
            return Ok(Arc::new(Party { is_hidden, ..Party::default() }));
        };
        let known = self.by_key.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let pipeline = Box::pin(store.0.readers.pipeline()).await?;
        let statement = pipeline.prepare(PARTY).await?;
        let found =
            pipeline.client().query_opt(&statement, &[&key]).await.map_err(failure::error)?;
        // One that is missing may be there again later: nothing is remembered of it.
        let Some(found) = found else { return Ok(Arc::default()) };
        let mut party = Party::default();
        for (at, part) in party.parts.iter_mut().enumerate() {
            *part = raw(&found, at)?.map(Box::from);
        }
        if !is_key_of(key, &party) {
            return Ok(Arc::default());
        }
        let party = Arc::new(party);
        let mut known = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(key, party.clone());
        Ok(party)
    }

    /// Whether a row that has its party in itself, as those of before migration 70, is not found by the person behind it:
    /// they are looked for among the parties alone (migration 211).
    async fn is_hidden(&self, row: &Row, store: &Store) -> Result<bool, Error> {
        let text = |column| row.try_get::<_, Option<String>>(column).map_err(failure::error);
        let (Some(actor), Some(person)) = (text(21)?, text(25)?) else { return Ok(false) };
        self.is_unknown([person, actor], store).await
    }

    /// Whether a person, and the actor behind whom that one stands, are not among the parties.
    async fn is_unknown(&self, names: [String; 2], store: &Store) -> Result<bool, Error> {
        if self.persons.lock().unwrap_or_else(PoisonError::into_inner).contains(&names) {
            return Ok(false);
        }
        let pipeline = Box::pin(store.0.readers.pipeline()).await?;
        let statement = pipeline.prepare(PERSON).await?;
        let found = pipeline.client().query_one(&statement, &[&names[0], &names[1]]).await;
        let is_found: bool = found.and_then(|found| found.try_get(0)).map_err(failure::error)?;
        if is_found {
            let mut persons = self.persons.lock().unwrap_or_else(PoisonError::into_inner);
            if persons.len() >= KNOWN {
                persons.clear();
            }
            persons.insert(names);
        }
        Ok(!is_found)
    }
}

/// Whether a key begins with the hash of the party's actor (migration 70, `kiln_actor`), as each of them does.
fn is_key_of(key: i64, party: &Party) -> bool {
    let hash = party.parts[0].as_deref().map(|actor| <[u8; 32]>::from(Sha256::digest(actor)));
    hash.is_some_and(|hash| key.to_be_bytes()[..4] == hash[..4])
}

/// Adds to `out` what is hashed of a row of [`raw_columns`].
pub(super) fn encode_raw(row: &Row, party: &Party, out: &mut Vec<u8>) -> Result<(), Error> {
    let id = raw(row, 0)?;
    push(out, id);
    push(out, raw(row, 1)?);
    push(out, raw(row, 2)?);
    push(out, raw(row, 3)?.or(id));
    for column in 4..9 {
        push(out, raw(row, column)?);
    }
    push_named(out, row, 11)?;
    let of_party = |number: usize| -> Result<Option<&[u8]>, Error> {
        Ok(raw(row, 21 + number)?.or(party.parts[number].as_deref()))
    };
    push(out, of_party(0)?);
    push(out, of_party(1)?);
    push_named(out, row, 13)?;
    push(out, of_party(2)?);
    push_named(out, row, 15)?;
    push(out, of_party(3)?);
    push(out, raw(row, 9)?);
    push(out, raw(row, 10)?);
    push_patients(out, row)?;
    push(out, raw(row, 19)?.or(Some(&NO_TEXTS)));
    push(out, of_party(4)?);
    push(out, of_party(5)?);
    // A row has its party by a key or in itself, never both: it would be found as one party's and tell of another.
    if raw(row, 20)?.is_some() {
        for column in 21..27 {
            if raw(row, column)?.is_some() {
                push(out, None);
            }
        }
    }
    if party.is_hidden {
        push(out, None);
    }
    Ok(())
}

/// A value: its length as four bytes, and its bytes; for NULL the length -1.
pub(super) fn push(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(bytes) => {
            out.extend((bytes.len() as u32).to_be_bytes());
            out.extend(bytes);
        }
        None => out.extend((-1_i32).to_be_bytes()),
    }
}

/// The id and the time of a row, with which what is hashed of it begins.
pub fn id_and_time(encoding: &[u8]) -> Option<(Uuid, Instant)> {
    let (id, rest) = first(encoding)?;
    let (at, _) = first(rest)?;
    let Timestamptz(at) = Timestamptz::from_sql(&Type::TIMESTAMPTZ, at).ok()?;
    Some((Uuid::from_slice(id).ok()?, at))
}

/// The first value, and what follows it.
fn first(encoding: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = encoding.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// A text, or the UUID in the next column as one.
fn push_named(out: &mut Vec<u8>, row: &Row, column: usize) -> Result<(), Error> {
    let text = raw(row, column)?;
    let uuid = raw(row, column + 1)?.and_then(|bytes| Uuid::from_slice(bytes).ok());
    match (text, uuid) {
        (None, Some(uuid)) => {
            let mut buffer = Uuid::encode_buffer();
            push(out, Some(uuid.hyphenated().encode_lower(&mut buffer).as_bytes()));
        }
        (text, _) => push(out, text),
    }
    Ok(())
}

fn push_patients(out: &mut Vec<u8>, row: &Row) -> Result<(), Error> {
    match (raw(row, 17)?, raw(row, 18)?) {
        (None, Some(one)) => {
            out.extend(((ONE_NUMBER.len() + one.len()) as u32).to_be_bytes());
            out.extend(ONE_NUMBER);
            out.extend(one);
        }
        (all, _) => push(out, all.or(Some(&NO_NUMBERS))),
    }
    Ok(())
}

/// The hashes of the patients of a row of [`raw_columns`]. A list with what is no patient is not written by us.
pub(super) fn patients(row: &Row) -> Result<Vec<i64>, Error> {
    let Listed(several) = row.try_get(17).map_err(failure::error)?;
    let one: Option<i64> = row.try_get(18).map_err(failure::error)?;
    Ok(if several.is_empty() { one.into_iter().collect() } else { several })
}

/// The number of the type and the id of the resource that a row of [`raw_columns`] is about.
pub(super) fn subject(row: &Row) -> Result<Option<(i16, String)>, Error> {
    let code: Option<i16> = row.try_get(7).map_err(failure::error)?;
    let text: Option<&str> = row.try_get(11).map_err(failure::error)?;
    let uuid: Option<Uuid> = row.try_get(12).map_err(failure::error)?;
    let id = text.map(str::to_owned).or_else(|| uuid.map(|uuid| uuid.to_string()));
    Ok(code.zip(id))
}

/// The value of a column as it came over the wire.
pub(super) fn raw(row: &Row, column: usize) -> Result<Option<&[u8]>, Error> {
    let Raw(value) = row.try_get(column).map_err(failure::error)?;
    Ok(value)
}

/// A value as it came over the wire.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_the_actor_whose_hash_it_begins_with() {
        let party = |actor: Option<&str>| {
            let mut party = Party::default();
            party.parts[0] = actor.map(|actor| actor.as_bytes().into());
            party
        };
        // SHA-256 of "user:ada" as sha256sum has it, and any other half.
        let key = (0x19d0_191a_i64 << 32) | 5;
        for (key, actor, expected) in [
            (key, Some("user:ada"), true),
            (key ^ 0x7fff_ffff, Some("user:ada"), true),
            (key ^ (1 << 32), Some("user:ada"), false),
            (key, Some("user:eve"), false),
            (key, None, false),
        ] {
            assert_eq!(is_key_of(key, &party(actor)), expected, "{key:x} {actor:?}");
        }
    }
}
