//! Writes the files of an export.

use std::collections::HashSet;
use std::time::Duration;

use deadpool_postgres::Object;
use tokio_postgres::types::ToSql;

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::store::{Store, failure};

use super::{ExportKind, ExportTry};

/// From how many bytes on a part is written.
const PART: usize = 1 << 20;

/// Between two attempts while all connections have work.
const WHILE_BUSY: Duration = Duration::from_secs(1);

/// Writes a part with what is known of its file by then, as long as the export is this try's.
const WRITE: &str = "WITH own AS ( \
       UPDATE export_job SET done = $3 WHERE id = $1 AND attempt = $2 AND state = 'in-progress' \
       RETURNING id), \
     file AS ( \
       INSERT INTO export_file (job, number, kind, rt, lines, bytes, parts, pats) \
       SELECT id, $4, $5, $6, $7, $8, $9, $10 FROM own \
       ON CONFLICT (job, number) DO UPDATE SET lines = excluded.lines, bytes = excluded.bytes, \
         parts = excluded.parts, pats = excluded.pats RETURNING job) \
     INSERT INTO export_part (job, file, number, data) SELECT job, $4, $9, $11 FROM file";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[WRITE];

/// The files of one try.
pub(super) struct Output<'o> {
    store: &'o Store,
    own: ExportTry,
    lines_of_file: u64,
    files: i32,
    lines: i64,
    open: Option<File>,
}

/// The file that is being written.
struct File {
    kind: ExportKind,
    of: ResourceType,
    lines: i64,
    bytes: i64,
    parts: i32,
    patients: HashSet<i64>,
    text: Vec<u8>,
}

impl<'o> Output<'o> {
    pub(super) fn new(store: &'o Store, own: ExportTry, lines_of_file: u64) -> Self {
        Self { store, own, lines_of_file, files: 0, lines: 0, open: None }
    }

    /// Adds a line about these patients.
    pub(super) async fn line(
        &mut self,
        (kind, of): (ExportKind, ResourceType),
        text: &[u8],
        patients: &[i64],
    ) -> Result<(), Error> {
        let is_full = |file: &File| file.lines.cast_unsigned() >= self.lines_of_file;
        if self.open.as_ref().is_some_and(|it| (it.kind, it.of) != (kind, of) || is_full(it)) {
            self.close().await?;
        }
        let file = self.open.get_or_insert_with(|| File {
            kind,
            of,
            lines: 0,
            bytes: 0,
            parts: 0,
            patients: HashSet::new(),
            text: Vec::with_capacity(PART + (PART >> 2)),
        });
        file.text.extend_from_slice(text);
        file.text.push(b'\n');
        file.lines += 1;
        file.patients.extend(patients);
        self.lines += 1;
        if file.text.len() >= PART {
            self.write(false).await?;
        }
        Ok(())
    }

    /// Ends the last file; how many files and lines there are.
    pub(super) async fn finish(mut self) -> Result<(u32, u64), Error> {
        self.close().await?;
        Ok((self.files.cast_unsigned(), self.lines.cast_unsigned()))
    }

    async fn close(&mut self) -> Result<(), Error> {
        if self.open.is_some() {
            self.write(true).await?;
            self.open = None;
            self.files += 1;
        }
        Ok(())
    }

    /// Writes what there is of the open file; whose data it has is known when it is whole.
    async fn write(&mut self, is_last: bool) -> Result<(), Error> {
        let Some(file) = &mut self.open else { return Ok(()) };
        file.bytes += i64::try_from(file.text.len()).map_err(Error::internal)?;
        file.parts += 1;
        let mut patients: Vec<i64> = Vec::new();
        if is_last {
            patients.extend(&file.patients);
            patients.sort_unstable();
        }
        let connection = free(self.store).await?;
        let statement = connection.prepare_cached(WRITE).await.map_err(failure::error)?;
        let (kind, of, text) = (file.kind.code(), file.of.code(), &*file.text);
        let values: [&(dyn ToSql + Sync); 11] = [
            &self.own.job,
            &self.own.attempt,
            &self.lines,
            &self.files,
            &kind,
            &of,
            &file.lines,
            &file.bytes,
            &file.parts,
            &patients,
            &text,
        ];
        let written = connection.execute(&statement, &values).await.map_err(failure::error)?;
        if written == 0 {
            return Err(Error::Conflict("the export was cancelled or taken over".to_owned()));
        }
        file.text.clear();
        Ok(())
    }
}

/// A connection that writes. That others write much is no reason to give up; whose export is ended waits no
/// longer.
async fn free(store: &Store) -> Result<Object, Error> {
    loop {
        match store.0.writers.connection().await {
            Err(Error::Busy(_)) => tokio::time::sleep(WHILE_BUSY).await,
            other => return other,
        }
    }
}
