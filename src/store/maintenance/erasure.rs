//! Erasure of patients' records: requests, holds, and what is done, by the owner of the tables alone.
//!
//! What is taken and what stays is decided in the database, by `kiln_erase` (migration 214), in one transaction that sees one
//! state of it: who writes to the same resources at that moment has it begin anew, or fails.

use std::sync::Arc;

use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

use crate::access::membership;
use crate::error::Error;
use crate::fhir::{Instant, LogicalId, ResourceType};

use super::super::connection::{Flush, Pipeline, Pipelines};
use super::super::hash::Hasher;
use super::super::rows::Timestamptz;
use super::super::{Realm, failure};

mod execute;

const RECORD: &str =
    "SELECT is_there, is_erased, last_act, waiting FROM kiln_record($1, $2, $3, $4, $5, $6)";

const OTHERS_ON_HOLD: &str =
    "SELECT DISTINCT patient FROM erasure_hold WHERE lifted_at IS NULL AND patient <> $1";

const HELD: &str = "SELECT unnest(kiln_held($1, $2, $3, $4, $5, $6, $7))";

const SITES: &str = "SELECT DISTINCT site FROM v2_message";

const HOLDS: &str = "SELECT number, patient, reason, made_by, made_at, lifted_by, lifted_at FROM erasure_hold \
     WHERE $1::text IS NULL OR patient = $1 ORDER BY number";

const ADD_HOLD: &str = "INSERT INTO erasure_hold (patient, reason, made_by, made_at) VALUES ($1, $2, $3, $4) \
     RETURNING number";

const LIFT_HOLDS: &str = "UPDATE erasure_hold SET lifted_by = $2, lifted_at = $3 WHERE patient = $1 AND lifted_at IS NULL";

const ASK: &str = "INSERT INTO erasure (patient, reason, asked_by, asked_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (patient) WHERE executed_at IS NULL AND withdrawn_at IS NULL DO NOTHING RETURNING number";

macro_rules! columns {
    ($rest:literal) => {
        concat!(
            "SELECT number, patient, reason, asked_by, asked_at, approved_by, withdrawn_by, withdrawn_at, \
             executed_at, certificate::text, line FROM erasure ",
            $rest
        )
    };
}

const ALL: &str = columns!("ORDER BY number");
const ONE: &str = columns!("WHERE number = $1");

const WITHDRAW: &str = "UPDATE erasure SET withdrawn_by = $2, withdrawn_at = $3 \
     WHERE number = $1 AND executed_at IS NULL AND withdrawn_at IS NULL";

/// Every statement of this file and of what is below it, for the test that prepares them.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    let own: &[&str] = &[
        RECORD,
        OTHERS_ON_HOLD,
        HELD,
        SITES,
        HOLDS,
        ADD_HOLD,
        LIFT_HOLDS,
        ASK,
        ALL,
        ONE,
        WITHDRAW,
    ];
    own.iter().chain(execute::STATEMENTS).copied()
}

/// What is known of a patient's record.
#[derive(Clone, Copy, Debug)]
pub struct PatientRecord {
    /// Whether the id was ever given.
    pub is_there: bool,
    /// Whether it was erased, and nothing was written about the patient since.
    pub is_erased: bool,
    /// When the last version of it was made, if that was no erasure.
    pub last_act: Option<Instant>,
    /// How many messages about the patient wait for work, or for somebody.
    pub waiting: i64,
}

/// Something that keeps a record from being erased.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Its number.
    pub number: i64,
    /// Of which patient.
    pub patient: String,
    /// Why.
    pub reason: String,
    /// By whom, and since when.
    pub made: (String, Instant),
    /// Who lifted it, and when.
    pub lifted: Option<(String, Instant)>,
}

/// A request for an erasure, and what became of it.
#[derive(Clone, Debug)]
pub struct ErasureRequest {
    /// Its number.
    pub number: i64,
    /// Of which patient.
    pub patient: String,
    /// Why.
    pub reason: String,
    /// Who asked, and when.
    pub asked: (String, Instant),
    /// Who approved.
    pub approved_by: Option<String>,
    /// Who withdrew it, and when.
    pub withdrawn: Option<(String, Instant)>,
    /// When it was executed.
    pub executed_at: Option<Instant>,
    /// What was taken and left then.
    pub certificate: Option<Value>,
    /// What the list of erasures says of it.
    pub line: Option<String>,
}

impl ErasureRequest {
    /// Whether it waits for an approval.
    pub fn is_open(&self) -> bool {
        self.executed_at.is_none() && self.withdrawn.is_none()
    }
}

/// Whose record, as the database finds what belongs to it.
#[derive(Debug)]
pub struct Whose<'a> {
    patient: &'a LogicalId,
    hash: i64,
    base: String,
    types: Vec<&'static str>,
    kept: Vec<i16>,
    senders: Vec<i64>,
}

/// Erases, as the owner of the tables.
pub struct Eraser {
    pipeline: Arc<Pipeline>,
    hasher: Hasher,
}

impl Eraser {
    /// A connection of the owner of the tables; `hasher` is that of the same data.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database; so in all functions of this type.
    pub async fn connect(owner: &Realm, hasher: &Hasher) -> Result<Self, Error> {
        let pipeline = Pipelines::new(owner, 1, 0, Flush::Wait)?.pipeline().await?;
        Ok(Self { pipeline, hasher: hasher.clone() })
    }

    async fn rows(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.pipeline.client().query(sql, values).await.map_err(failure::error)
    }

    /// How a record of this patient is found, of a server whose base this is.
    pub async fn whose<'a>(&self, patient: &'a LogicalId, base: &str) -> Result<Whose<'a>, Error> {
        let schemeless = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
        let sites = self.rows(SITES, &[]).await?;
        let line = |row: &Row| -> Result<i64, Error> {
            let site: &str = get(row, 0)?;
            Ok(self.hasher.line(&format!("sender\u{1F}{site}")))
        };
        let kept = ResourceType::all().filter(|of| membership::is_nobodys_alone(*of));
        Ok(Whose {
            patient,
            hash: self.hasher.patient(patient),
            base: format!("{}/", schemeless.unwrap_or(base).trim_end_matches('/')),
            types: ResourceType::all().map(ResourceType::as_str).collect(),
            kept: kept.map(ResourceType::code).collect(),
            senders: sites.iter().map(line).collect::<Result<_, Error>>()?,
        })
    }

    /// What is known of a record.
    pub async fn record(&self, whose: &Whose<'_>) -> Result<PatientRecord, Error> {
        let Whose { patient, hash, base, types, kept, senders } = whose;
        let patient = patient.as_str();
        let values: [&(dyn ToSql + Sync); 6] = [&patient, hash, base, types, kept, senders];
        let rows = self.rows(RECORD, &values).await?;
        let row = rows.first().ok_or_else(|| Error::internal("a function gives a row"))?;
        Ok(PatientRecord {
            is_there: get(row, 0)?,
            is_erased: get(row, 1)?,
            last_act: moment(row, 2)?,
            waiting: get(row, 3)?,
        })
    }

    /// The other patients on hold of whom old versions would go with a record: what is that patient's alone by now was
    /// theirs before.
    pub async fn held_with(&self, whose: &Whose<'_>) -> Result<Vec<LogicalId>, Error> {
        let Whose { patient, hash, base, types, kept, .. } = whose;
        let patient = patient.as_str();
        let id = |row: &Row| -> Result<LogicalId, Error> {
            let text: &str = get(row, 0)?;
            text.parse::<LogicalId>().map_err(Error::internal)
        };
        let others = self.rows(OTHERS_ON_HOLD, &[&patient]).await?;
        let others: Vec<LogicalId> = others.iter().map(id).collect::<Result<_, Error>>()?;
        let held: Vec<&str> = others.iter().map(LogicalId::as_str).collect();
        let hashes: Vec<i64> = others.iter().map(|it| self.hasher.patient(it)).collect();
        let values: [&(dyn ToSql + Sync); 7] = [&patient, hash, base, types, kept, &held, &hashes];
        self.rows(HELD, &values).await?.iter().map(id).collect()
    }

    /// The holds on a patient's record, or all, those that were lifted too.
    pub async fn holds(&self, patient: Option<&LogicalId>) -> Result<Vec<Hold>, Error> {
        let patient = patient.map(LogicalId::as_str);
        self.rows(HOLDS, &[&patient]).await?.iter().map(hold).collect()
    }

    /// Lays a hold on a patient's record; its number.
    pub async fn add_hold(
        &self,
        patient: &LogicalId,
        reason: &str,
        (by, at): (&str, Instant),
    ) -> Result<i64, Error> {
        let values: [&(dyn ToSql + Sync); 4] = [&patient.as_str(), &reason, &by, &Timestamptz(at)];
        number(&self.rows(ADD_HOLD, &values).await?)
    }

    /// Lifts the holds on a patient's record; how many there were.
    pub async fn lift_holds(
        &self,
        patient: &LogicalId,
        (by, at): (&str, Instant),
    ) -> Result<u64, Error> {
        let values: [&(dyn ToSql + Sync); 3] = [&patient.as_str(), &by, &Timestamptz(at)];
        let done = self.pipeline.client().execute(LIFT_HOLDS, &values).await;
        done.map_err(failure::error)
    }

    /// Keeps a request; its number, unless there is an open one for the same patient.
    pub async fn ask(
        &self,
        patient: &LogicalId,
        reason: &str,
        (by, at): (&str, Instant),
    ) -> Result<Option<i64>, Error> {
        let values: [&(dyn ToSql + Sync); 4] = [&patient.as_str(), &reason, &by, &Timestamptz(at)];
        let rows = self.rows(ASK, &values).await?;
        rows.first().map(|row| get(row, 0)).transpose()
    }

    /// All requests, in their order.
    pub async fn requests(&self) -> Result<Vec<ErasureRequest>, Error> {
        self.rows(ALL, &[]).await?.iter().map(request).collect()
    }

    /// The request of a number.
    pub async fn request(&self, number: i64) -> Result<Option<ErasureRequest>, Error> {
        self.rows(ONE, &[&number]).await?.first().map(request).transpose()
    }

    /// Withdraws a request; whether it was open.
    pub async fn withdraw(&self, number: i64, (by, at): (&str, Instant)) -> Result<bool, Error> {
        let values: [&(dyn ToSql + Sync); 3] = [&number, &by, &Timestamptz(at)];
        let done = self.pipeline.client().execute(WITHDRAW, &values).await;
        done.map(|count| count > 0).map_err(failure::error)
    }
}

fn get<'r, T: FromSql<'r>>(row: &'r Row, at: usize) -> Result<T, Error> {
    row.try_get(at).map_err(failure::error)
}

fn moment(row: &Row, at: usize) -> Result<Option<Instant>, Error> {
    let found: Option<Timestamptz> = get(row, at)?;
    Ok(found.map(|Timestamptz(instant)| instant))
}

fn number(rows: &[Row]) -> Result<i64, Error> {
    get(rows.first().ok_or_else(|| Error::internal("what is added has a number"))?, 0)
}

/// Who did something, and when, where somebody did.
fn act(row: &Row, by: usize, at: usize) -> Result<Option<(String, Instant)>, Error> {
    let by: Option<String> = get(row, by)?;
    Ok(by.zip(moment(row, at)?))
}

fn hold(row: &Row) -> Result<Hold, Error> {
    let missing = || Error::internal("a hold was made by somebody");
    Ok(Hold {
        number: get(row, 0)?,
        patient: get(row, 1)?,
        reason: get(row, 2)?,
        made: act(row, 3, 4)?.ok_or_else(missing)?,
        lifted: act(row, 5, 6)?,
    })
}

fn request(row: &Row) -> Result<ErasureRequest, Error> {
    let missing = || Error::internal("a request was made by somebody");
    let certificate: Option<&str> = get(row, 9)?;
    let certificate = certificate.map(serde_json::from_str).transpose();
    Ok(ErasureRequest {
        number: get(row, 0)?,
        patient: get(row, 1)?,
        reason: get(row, 2)?,
        asked: act(row, 3, 4)?.ok_or_else(missing)?,
        approved_by: get(row, 5)?,
        withdrawn: act(row, 6, 7)?,
        executed_at: moment(row, 8)?,
        certificate: certificate.map_err(Error::internal)?,
        line: get(row, 10)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migration_has_the_numbers_of_types() {
        let before = include_str!("../../../migrations/0213_erasure.sql");
        let migration = include_str!("../../../migrations/0214_erasure_of_one.sql");
        let code = |name: &str| name.parse::<ResourceType>().expect(name).code();
        assert_eq!(["Patient", "Binary", "Bundle", "Parameters"].map(code), [103, 9, 12, 102]);
        for (place, text) in
            [(migration, "rt = 103"), (migration, "rt = 9"), (before, "rt IN (12, 102)")]
        {
            assert!(place.contains(text), "{text}");
        }
        // What may have a Binary attached is in the index of 0207 by the same list.
        let attaching = include_str!("../../../migrations/0207_attachments.sql");
        let list =
            attaching.rsplit_once("WHERE rt IN (").and_then(|(_, rest)| rest.split_once(')'));
        let (list, _) = list.expect("a list");
        assert!(migration.contains(&format!("o.rt IN ({list})")), "{list}");
    }
}
