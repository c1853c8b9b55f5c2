//! What goes of exports: in steps, since an export may have gigabytes and a statement has its time.

use uuid::Uuid;

use crate::error::Error;
use crate::fhir::Instant;
use crate::store::rows::Timestamptz;
use crate::store::{Store, failure};

use super::ExportTry;

/// Some parts of an export, of about a megabyte each, as long as it is at this try: what a later one writes is not
/// touched.
const PARTS: &str = "DELETE FROM export_part WHERE ctid = ANY (ARRAY(SELECT p.ctid FROM export_part p \
       JOIN export_job j ON j.id = p.job WHERE p.job = $1 AND j.attempt = $2 LIMIT 64))";

const FILES: &str = "DELETE FROM export_file f USING export_job j \
     WHERE f.job = $1 AND j.id = f.job AND j.attempt = $2";

const JOB: &str = "DELETE FROM export_job WHERE id = $1 AND attempt = $2";

/// One that was only just asked for.
const ASKED: &str = "DELETE FROM export_job WHERE id = $1";

/// One whose time is over.
const EXPIRED: &str =
    "SELECT id, attempt FROM export_job WHERE expires_at < $1 ORDER BY expires_at LIMIT 1";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[PARTS, FILES, JOB, ASKED, EXPIRED];

impl Store {
    /// Removes what has expired; how many exports.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn sweep_exports(&self, now: Instant) -> Result<u64, Error> {
        let mut count = 0;
        while let Some(row) = self.export_changed(EXPIRED, &[&Timestamptz(now)]).await?.first() {
            let job: Uuid = row.try_get(0).map_err(failure::error)?;
            let attempt = row.try_get(1).map_err(failure::error)?;
            self.remove_export(ExportTry { job, attempt }).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Removes an export that was asked for, and of which its party does not hear.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn forget_export(&self, id: Uuid) -> Result<(), Error> {
        self.export_run(ASKED, &[&id]).await.map(drop)
    }

    /// Removes an export that has ended with all there is of it.
    pub(super) async fn remove_export(&self, own: ExportTry) -> Result<(), Error> {
        self.drop_export_files(own).await?;
        self.export_run(JOB, &[&own.job, &own.attempt]).await.map(drop)
    }

    /// Drops the files of an export, whichever try wrote them.
    pub(super) async fn drop_export_files(&self, own: ExportTry) -> Result<(), Error> {
        while self.export_run(PARTS, &[&own.job, &own.attempt]).await? > 0 {}
        self.export_run(FILES, &[&own.job, &own.attempt]).await.map(drop)
    }
}
