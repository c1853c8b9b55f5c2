//! What an erasure does, in one transaction that is begun anew where somebody wrote to the same.

use serde_json::Value;
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use crate::audit::Erased;
use crate::error::Error;
use crate::fhir::Instant;

use super::super::super::failure;
use super::super::super::rows::Timestamptz;
use super::{Eraser, Whose};

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";

/// One is executed at a time, and no hold is laid on meanwhile: before the transaction sees anything.
const LOCK: &str = "LOCK TABLE erasure, erasure_hold IN SHARE ROW EXCLUSIVE MODE";

const NEXT: &str = "SELECT coalesce(max(ordinal), 0) + 1 FROM erasure";

const ERASE: &str = "SELECT kiln_erase($1, $2, $3, $4, $5, $6)::text";

const DISCARD: &str = "SELECT kiln_discard($1, $2, $3, $4)";

const EXECUTED: &str = "UPDATE erasure SET approved_by = $2, executed_at = $3, ordinal = $4, certificate = $5::text::jsonb, \
     line = $6 WHERE number = $1 AND executed_at IS NULL AND withdrawn_at IS NULL AND asked_by <> $2 \
     AND NOT EXISTS (SELECT FROM erasure_hold h WHERE h.patient = erasure.patient AND h.lifted_at IS NULL)";

const COUNTED: &str = "UPDATE erasure SET certificate = $2::text::jsonb WHERE number = $1";

/// Of a restored copy, which may know the request, or nothing of it. Who asked is in the record of before.
const EXECUTED_BEFORE: &str = "INSERT INTO erasure AS known \
     (number, patient, reason, asked_by, asked_at, executed_at, ordinal, certificate, line) \
     VALUES ($1, $2, '', '', $3, $3, $4, $5::text::jsonb, $6) \
     ON CONFLICT (number) DO UPDATE SET executed_at = excluded.executed_at, ordinal = excluded.ordinal, \
       certificate = excluded.certificate, line = excluded.line, withdrawn_by = NULL, withdrawn_at = NULL \
     WHERE known.executed_at IS NULL AND known.patient = excluded.patient";

const GO_ON_BEHIND: &str = "SELECT setval(pg_get_serial_sequence('erasure', 'number'), \
     (SELECT greatest(max(number), 1) FROM erasure))";

/// What was taken leaves no row behind that is only marked as gone.
const VACUUM: &str = "VACUUM res, hist, srow, comp, tok, num, dat, str, v2_message, v2_issue, v2_key, export_part, \
     account, oauth_grant";

/// Every statement of this file that can be prepared, for the test that does.
pub(super) const STATEMENTS: &[&str] =
    &[NEXT, ERASE, DISCARD, EXECUTED, COUNTED, EXECUTED_BEFORE, GO_ON_BEHIND];

/// How often one is begun anew because somebody wrote to the same.
const TRIES: u32 = 20;

impl Eraser {
    /// Executes a request that somebody else approves; what was taken and left. `line` says what the list of erasures
    /// will have of it, told the how manieth it is. `None`, and nothing is taken: it is not open any more, or held, or
    /// somebody else is on hold of whom something would go, or a message about the patient waits.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database, [`Error::Busy`] where others write to the same again and again; so in all
    /// functions here.
    pub async fn execute(
        &self,
        number: i64,
        (by, at): (&str, Instant),
        whose: &Whose<'_>,
        line: impl Fn(i64) -> String,
    ) -> Result<Option<Value>, Error> {
        self.retried(async || {
            let record = self.record(whose).await.map_err(Attempt::Failed)?;
            let held = self.held_with(whose).await.map_err(Attempt::Failed)?;
            if record.waiting > 0 || !held.is_empty() {
                return Err(Attempt::Closed);
            }
            let next = self.query(NEXT, &[]).await?;
            let ordinal: i64 = next.first().map_or(Ok(1), |row| row.try_get(0))?;
            let certificate = self.erase_once(whose).await?;
            let (text, line, at) = (certificate.to_string(), line(ordinal), Timestamptz(at));
            let values: [&(dyn ToSql + Sync); 6] = [&number, &by, &at, &ordinal, &text, &line];
            match self.pipeline.client().execute(EXECUTED, &values).await? {
                0 => Err(Attempt::Closed),
                _ => Ok(certificate),
            }
        })
        .await
    }

    /// Takes once more what was written about the patient meanwhile; what that was.
    ///
    /// # Errors
    /// As [`Eraser::execute`].
    pub async fn execute_again(&self, whose: &Whose<'_>) -> Result<Value, Error> {
        let done = self.retried(async || self.erase_once(whose).await).await?;
        Ok(done.unwrap_or_default())
    }

    /// Corrects what is told of an erasure.
    ///
    /// # Errors
    /// As [`Eraser::execute`].
    pub async fn count_anew(&self, number: i64, certificate: &Value) -> Result<(), Error> {
        let text = certificate.to_string();
        self.query(COUNTED, &[&number, &text]).await.map(drop).map_err(failure::error)
    }

    /// Executes in a restored copy what was executed in the data that it is a copy of; what was taken. Messages about the
    /// patient that wait in the copy had ended there: they are discarded.
    ///
    /// # Errors
    /// As [`Eraser::execute`].
    pub async fn execute_in_copy(
        &self,
        erased: &Erased,
        line: &str,
        whose: &Whose<'_>,
    ) -> Result<Value, Error> {
        let done = self.retried(async || {
            let Whose { patient, hash, types, senders, .. } = whose;
            self.query(DISCARD, &[&patient.as_str(), hash, types, senders]).await?;
            let certificate = self.erase_once(whose).await?;
            let (text, at) = (certificate.to_string(), Timestamptz(erased.at));
            let patient = erased.patient.as_str();
            let values: [&(dyn ToSql + Sync); 6] =
                [&erased.number, &patient, &at, &erased.ordinal, &text, &line];
            self.query(EXECUTED_BEFORE, &values).await?;
            Ok(certificate)
        });
        let done = done.await?;
        self.query(GO_ON_BEHIND, &[]).await.map_err(failure::error)?;
        Ok(done.unwrap_or_default())
    }

    /// Has the database clear away what is marked as gone.
    ///
    /// # Errors
    /// As [`Eraser::execute`].
    pub async fn vacuum(&self) -> Result<(), Error> {
        self.pipeline.client().batch_execute(VACUUM).await.map_err(failure::error)
    }

    async fn query(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        self.pipeline.client().query(sql, values).await
    }

    /// Runs `work` in a transaction and commits it; `None`, and nothing is done, where there was nothing to do.
    async fn retried<T>(
        &self,
        work: impl AsyncFn() -> Result<T, Attempt>,
    ) -> Result<Option<T>, Error> {
        let client = self.pipeline.client();
        for _ in 0..TRIES {
            client.batch_execute(BEGIN).await.map_err(failure::error)?;
            client.batch_execute(LOCK).await.map_err(failure::error)?;
            let done = match work().await {
                Ok(done) => {
                    client.batch_execute("COMMIT").await.map(|()| done).map_err(Attempt::from)
                }
                Err(attempt) => Err(attempt),
            };
            let attempt = match done {
                Ok(done) => return Ok(Some(done)),
                Err(attempt) => attempt,
            };
            // A connection that cannot do so is closed, which has the same effect.
            let _ = client.batch_execute("ROLLBACK").await;
            match attempt {
                Attempt::Closed => return Ok(None),
                Attempt::Failed(error) => return Err(error),
                Attempt::Raced => {}
            }
        }
        Err(Error::Busy("others write to this record all the time: try again".to_owned()))
    }

    async fn erase_once(&self, whose: &Whose<'_>) -> Result<Value, Attempt> {
        let Whose { patient, hash, base, types, kept, senders } = whose;
        let patient = patient.as_str();
        let values: [&(dyn ToSql + Sync); 6] = [&patient, hash, base, types, kept, senders];
        let rows = self.query(ERASE, &values).await?;
        let text: &str = rows.first().map_or(Ok("{}"), |row| row.try_get(0))?;
        let read = serde_json::from_str(text);
        read.map_err(|error| Attempt::Failed(Error::internal(error)))
    }
}

/// Why a try came to nothing.
enum Attempt {
    /// There was nothing to do.
    Closed,
    Failed(Error),
    /// Somebody wrote to the same.
    Raced,
}

impl From<tokio_postgres::Error> for Attempt {
    fn from(cause: tokio_postgres::Error) -> Self {
        let raced = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
        match cause.code() {
            Some(code) if raced.contains(code) => Self::Raced,
            _ => Self::Failed(failure::error(cause)),
        }
    }
}
