//! What was asked for, by whom, and who works on it.

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};
use uuid::Uuid;

use crate::access::interaction::Kind;
use crate::access::{Disclosed, Permit, Unaudited};
use crate::error::{Error, root_cause};
use crate::fhir::{Instant, ResourceType};
use crate::store::connection::Reader;
use crate::store::rows::{JsonText, Timestamptz};
use crate::store::{Store, failure};

use super::{ExportKind, ExportTry, Exported};

macro_rules! columns {
    () => {
        "j.id, j.actor, j.client, j.token, j.scopes, j.request, j.asked, j.state, j.asked_at, \
         j.expires_at, j.attempt, j.done, j.transaction_time, j.failure, j.types, j.needs"
    };
}

/// One at a time is counted and added.
const LOCK: &str = "SELECT pg_advisory_xact_lock(kiln_lock('kiln_export'))";

const ADD: &str = "INSERT INTO export_job (id, actor, client, token, scopes, request, asked, asked_at, types, needs) \
     SELECT $1, $2, $3, $4, $5, $6, $7, $8, $10, $11 WHERE (SELECT count(*) FROM export_job o \
       WHERE o.actor = $2 AND o.state IN ('accepted', 'in-progress')) < $9";

const FIND: &str =
    concat!("SELECT ", columns!(), " FROM export_job j WHERE j.id = $1 AND j.actor = $2");

const FILES: &str =
    "SELECT number, kind, rt, lines FROM export_file WHERE job = $1 ORDER BY number";

const NEEDS: &str = "SELECT needs FROM export_job WHERE id = $1 AND actor = $2";

/// What has ended may be asked for at any time, also where it ends while this waits for the row: of that the lock
/// shows what is there by then.
const TELL: &str = "WITH told AS ( \
       UPDATE export_job SET told_at = $3 WHERE id = $1 AND actor = $2 \
         AND state IN ('accepted', 'in-progress') AND (told_at IS NULL OR told_at <= $4) \
       RETURNING id), \
     latest AS MATERIALIZED (SELECT state FROM export_job WHERE id = $1 AND actor = $2 FOR SHARE) \
     SELECT EXISTS (SELECT FROM told) OR NOT EXISTS (SELECT FROM latest \
       WHERE state IN ('accepted', 'in-progress'))";

/// It is nobody's from now on, and no try's: what there is of it is removed by and by.
const CANCEL: &str = "UPDATE export_job SET actor = '', state = 'failed', attempt = attempt + 1, \
     lease_until = NULL, expires_at = $3 WHERE id = $1 AND actor = $2 RETURNING id, attempt";

/// The oldest that nobody works on. Leases go by the clock of the database: those of nodes differ.
const CLAIM: &str = concat!(
    "WITH due AS MATERIALIZED ( \
       SELECT id FROM export_job WHERE state IN ('accepted', 'in-progress') \
         AND (state = 'accepted' OR lease_until < clock_timestamp()) \
       ORDER BY asked_at LIMIT 1 FOR UPDATE SKIP LOCKED) \
     UPDATE export_job j SET state = 'in-progress', attempt = attempt + 1, done = 0, \
       lease_until = clock_timestamp() + $1::bigint * interval '1 ms' \
     FROM due WHERE j.id = due.id RETURNING ",
    columns!()
);

/// One that is completed is not lost, though nothing keeps it any more.
const KEEP: &str = "UPDATE export_job SET lease_until = CASE state WHEN 'in-progress' \
       THEN clock_timestamp() + $3::bigint * interval '1 ms' END \
     WHERE id = $1 AND attempt = $2 AND state IN ('in-progress', 'completed')";

const COMPLETE: &str = "UPDATE export_job SET state = 'completed', lease_until = NULL, ended_at = $3, \
     expires_at = $4, transaction_time = $5, done = $6 \
     WHERE id = $1 AND attempt = $2 AND state = 'in-progress'";

const FAIL: &str = "UPDATE export_job SET state = 'failed', lease_until = NULL, ended_at = $3, expires_at = $4, \
     failure = $5 WHERE id = $1 AND attempt = $2 AND state = 'in-progress'";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[LOCK, ADD, FIND, FILES, NEEDS, TELL, CANCEL, CLAIM, KEEP, COMPLETE, FAIL];

/// An export that is asked for.
#[derive(Clone, Debug)]
pub struct NewExport {
    /// Its id.
    pub id: Uuid,
    /// The client, where tokens are asked for.
    pub client: Option<String>,
    /// Its token.
    pub token: Option<Uuid>,
    /// What it was granted.
    pub scopes: String,
    /// The address that was asked.
    pub request: String,
    /// What that comes down to, as JSON.
    pub asked: String,
    /// The types that are exported.
    pub types: Vec<ResourceType>,
    /// The types that must be granted as long as somebody works on it or asks for its files.
    pub needs: Vec<ResourceType>,
    /// The present.
    pub now: Instant,
}

/// How far an export is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExportState {
    /// Nobody works on it yet.
    Accepted,
    /// The files are there.
    Completed,
    /// There will be none.
    Failed,
    /// Somebody works on it.
    InProgress,
}

/// An export as it is known.
#[derive(Clone, Debug)]
pub struct ExportJob {
    /// Its id, and how often it was begun.
    pub own: ExportTry,
    /// The party, as the ledger names it.
    pub actor: String,
    /// The client, where tokens were asked for.
    pub client: Option<String>,
    /// Its token.
    pub token: Option<Uuid>,
    /// What it was granted.
    pub scopes: String,
    /// The address that was asked.
    pub request: String,
    /// What that comes down to, as JSON.
    pub asked: String,
    /// The types that are exported.
    pub types: Vec<ResourceType>,
    /// The types that must be granted still.
    pub needs: Vec<ResourceType>,
    /// How far it is.
    pub state: ExportState,
    /// When it was asked for.
    pub asked_at: Instant,
    /// When its files go, once it has ended.
    pub expires_at: Option<Instant>,
    /// How many lines are written.
    pub lines: u64,
    /// What no exported resource is newer than.
    pub transaction_time: Option<Instant>,
    /// Why it failed.
    pub failure: String,
    /// Its files.
    pub files: Vec<ExportFile>,
}

/// A file as the list of them tells it.
#[derive(Clone, Copy, Debug)]
pub struct ExportFile {
    /// Its number.
    pub number: i32,
    /// What is in it.
    pub kind: ExportKind,
    /// The type of its lines.
    pub of: ResourceType,
    /// How many lines it has.
    pub lines: u64,
}

impl Store {
    /// Adds an export of whoever holds the permit, unless that party has `most` open ones.
    ///
    /// # Errors
    /// [`Error::Throttled`]; [`Error::Unavailable`] without a database.
    pub async fn add_export(
        &self,
        new: &NewExport,
        most: i64,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Uuid>, Error> {
        let codes = |all: &[ResourceType]| all.iter().map(|of| of.code()).collect::<Vec<i16>>();
        let (types, needs) = (codes(&new.types), codes(&new.needs));
        let transaction = self.0.writers.begin("BEGIN").await?;
        transaction.all(LOCK, &[]).await?;
        let (actor, asked) = (permit.actor(), JsonText(new.asked.as_bytes()));
        let now = Timestamptz(new.now);
        let values: [&(dyn ToSql + Sync); 11] = [
            &new.id,
            &actor,
            &new.client,
            &new.token,
            &new.scopes,
            &new.request,
            &asked,
            &now,
            &most,
            &types,
            &needs,
        ];
        let added = transaction.run(ADD, &values).await?;
        transaction.commit().await.map_err(failure::error)?;
        if added == 0 {
            let text = format!("{most} exports are under way: wait until one has ended");
            return Err(Error::Throttled(text));
        }
        let entities = vec![format!("export {}", new.id)];
        Ok(Unaudited::new(new.id, Disclosed { entities, ..Disclosed::default() }))
    }

    /// An export of whoever holds the permit, with its files once it is completed.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, or of somebody else; [`Error::Forbidden`] where one of its
    /// types is granted no more.
    pub async fn export_job(
        &self,
        id: Uuid,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<ExportJob>, Error> {
        self.authorized_export(id, permit).await?;
        let rows = self.export_rows(FIND, &[&id, &permit.actor()]).await?;
        let mut job = job(rows.first().ok_or_else(|| unknown(id))?)?;
        if job.state == ExportState::Completed {
            let rows = self.export_rows(FILES, &[&id]).await?;
            job.files = rows.iter().map(file).collect::<Result<_, _>>()?;
        }
        Ok(Unaudited::new(job, about(id)))
    }

    /// Notes that whoever holds the permit is told now how far an export is; whether it was last told
    /// before `earliest`, or never, or the export has ended.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn tell_export(
        &self,
        id: Uuid,
        (now, earliest): (Instant, Instant),
        permit: &Permit<'_>,
    ) -> Result<bool, Error> {
        let (now, earliest) = (Timestamptz(now), Timestamptz(earliest));
        let rows = self.export_changed(TELL, &[&id, &permit.actor(), &now, &earliest]).await?;
        rows.first().map_or(Ok(true), |row| row.try_get(0).map_err(failure::error))
    }

    /// Ends an export of whoever holds the permit, and removes what there is of it.
    ///
    /// # Errors
    /// As [`Store::export_job`].
    pub async fn cancel_export(
        &self,
        id: Uuid,
        now: Instant,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<()>, Error> {
        self.authorized_export(id, permit).await?;
        let values: [&(dyn ToSql + Sync); 3] = [&id, &permit.actor(), &Timestamptz(now)];
        let rows = self.export_changed(CANCEL, &values).await?;
        let row = rows.first().ok_or_else(|| unknown(id))?;
        let own = ExportTry { job: id, attempt: get(row, "attempt")? };
        // What does not go now goes with what has expired.
        if let Err(error) = self.remove_export(own).await {
            tracing::warn!(error = root_cause(&error), "an export is removed later");
        }
        Ok(Unaudited::new((), about(id)))
    }

    /// Takes the oldest export that nobody works on, for so many milliseconds. Nothing is told by this: what the work reads passes
    /// the gate.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn claim_export(&self, lease: i64) -> Result<Option<ExportJob>, Error> {
        let rows = self.export_changed(CLAIM, &[&lease]).await?;
        rows.first().map(job).transpose()
    }

    /// Keeps an export for this node, for so many milliseconds more; whether it is still this try's.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn keep_export(&self, own: ExportTry, lease: i64) -> Result<bool, Error> {
        let done = self.export_run(KEEP, &[&own.job, &own.attempt, &lease]).await?;
        Ok(done > 0)
    }

    /// Ends an export well; its files are there until `expires`.
    pub(super) async fn complete_export(
        &self,
        own: ExportTry,
        exported: Exported,
        (now, expires): (Instant, Instant),
    ) -> Result<(), Error> {
        let (now, expires) = (Timestamptz(now), Timestamptz(expires));
        let time = Timestamptz(exported.transaction_time);
        let lines = exported.lines.cast_signed();
        let values: [&(dyn ToSql + Sync); 6] =
            [&own.job, &own.attempt, &now, &expires, &time, &lines];
        if self.export_run(COMPLETE, &values).await? == 0 {
            return Err(Error::Conflict("the export was cancelled or taken over".to_owned()));
        }
        Ok(())
    }

    /// Ends an export that failed and drops its files; that it did is known until `expires`.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn fail_export(
        &self,
        own: ExportTry,
        why: &str,
        (now, expires): (Instant, Instant),
    ) -> Result<(), Error> {
        self.drop_export_files(own).await?;
        let (now, expires) = (Timestamptz(now), Timestamptz(expires));
        self.export_run(FAIL, &[&own.job, &own.attempt, &now, &expires, &why]).await.map(drop)
    }

    /// That the party of an export is still granted all that it takes.
    pub(super) async fn authorized_export(
        &self,
        id: Uuid,
        permit: &Permit<'_>,
    ) -> Result<(), Error> {
        let rows = self.export_rows(NEEDS, &[&id, &permit.actor()]).await?;
        let codes: Vec<i16> = get(rows.first().ok_or_else(|| unknown(id))?, "needs")?;
        for of in codes.into_iter().filter_map(ResourceType::from_code) {
            permit.derive(Kind::Export, of)?;
        }
        Ok(())
    }

    async fn export_rows(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        Reader::Shared(&pipeline).query(sql, parameters).await
    }

    pub(super) async fn export_changed(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(sql).await.map_err(failure::error)?;
        connection.query(&statement, parameters).await.map_err(failure::error)
    }

    pub(super) async fn export_run(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let connection = self.0.writers.connection().await?;
        let statement = connection.prepare_cached(sql).await.map_err(failure::error)?;
        connection.execute(&statement, parameters).await.map_err(failure::error)
    }
}

fn unknown(id: Uuid) -> Error {
    Error::NotFound(format!("export {id}"))
}

fn about(id: Uuid) -> Disclosed {
    Disclosed { entities: vec![format!("export {id}")], ..Disclosed::default() }
}

fn get<'r, T: FromSql<'r>>(row: &'r Row, column: &str) -> Result<T, Error> {
    row.try_get(column).map_err(failure::error)
}

fn time(row: &Row, column: &str) -> Result<Option<Instant>, Error> {
    Ok(get::<Option<Timestamptz>>(row, column)?.map(|time| time.0))
}

fn job(row: &Row) -> Result<ExportJob, Error> {
    let state: &str = get(row, "state")?;
    let asked: JsonText<'_> = get(row, "asked")?;
    let missing = || Error::internal("an export without a time");
    let types = |column: &str| {
        let codes: Vec<i16> = get(row, column)?;
        Ok::<Vec<_>, Error>(codes.into_iter().filter_map(ResourceType::from_code).collect())
    };
    Ok(ExportJob {
        own: ExportTry { job: get(row, "id")?, attempt: get(row, "attempt")? },
        actor: get(row, "actor")?,
        client: get(row, "client")?,
        token: get(row, "token")?,
        scopes: get(row, "scopes")?,
        request: get(row, "request")?,
        asked: String::from_utf8(asked.0.to_vec()).map_err(Error::internal)?,
        types: types("types")?,
        needs: types("needs")?,
        state: match state {
            "accepted" => ExportState::Accepted,
            "completed" => ExportState::Completed,
            "failed" => ExportState::Failed,
            _ => ExportState::InProgress,
        },
        asked_at: time(row, "asked_at")?.ok_or_else(missing)?,
        expires_at: time(row, "expires_at")?,
        lines: get::<i64>(row, "done")?.cast_unsigned(),
        transaction_time: time(row, "transaction_time")?,
        failure: get(row, "failure")?,
        files: Vec::new(),
    })
}

fn file(row: &Row) -> Result<ExportFile, Error> {
    let unknown = || Error::internal("a file of an export is of no known kind");
    Ok(ExportFile {
        number: get(row, "number")?,
        kind: ExportKind::from_code(get(row, "kind")?).ok_or_else(unknown)?,
        of: ResourceType::from_code(get(row, "rt")?).ok_or_else(unknown)?,
        lines: get::<i64>(row, "lines")?.cast_unsigned(),
    })
}
