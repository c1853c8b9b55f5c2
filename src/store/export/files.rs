//! The files of exports, part by part.

use bytes::Bytes;
use uuid::Uuid;

use crate::access::{Disclosed, Permit, Unaudited};
use crate::error::Error;
use crate::store::connection::Reader;
use crate::store::{Store, failure};

/// A file of an export that is whole, and of who asks.
const FILE: &str = "SELECT f.parts, f.bytes, f.pats FROM export_job j JOIN export_file f ON f.job = j.id \
     WHERE j.id = $1 AND j.actor = $2 AND j.state = 'completed' AND f.number = $3";

const PART: &str = "SELECT data FROM export_part WHERE job = $1 AND file = $2 AND number = $3";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[FILE, PART];

/// A file that may be read.
pub struct FileReader {
    store: Store,
    job: Uuid,
    number: i32,
    next: i32,
    parts: i32,
    /// How many bytes it has.
    pub bytes: u64,
}

impl Store {
    /// A file of an export of whoever holds the permit. The ledger hears how many bytes it has, and whose
    /// data are in it.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none, or of somebody else; [`Error::Forbidden`] where one of the
    /// export's types is granted no more.
    pub async fn export_file(
        &self,
        job: Uuid,
        number: i32,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<FileReader>, Error> {
        self.authorized_export(job, permit).await?;
        let pipeline = self.0.readers.pipeline().await?;
        let actor = permit.actor();
        let rows = Reader::Shared(&pipeline).query(FILE, &[&job, &actor, &number]).await?;
        let missing = || Error::NotFound(format!("file {number} of export {job}"));
        let row = rows.first().ok_or_else(missing)?;
        let parts = row.try_get(0).map_err(failure::error)?;
        let bytes: i64 = row.try_get(1).map_err(failure::error)?;
        let patients = row.try_get(2).map_err(failure::error)?;
        let entities = vec![format!("export {job}"), format!("file {number}, {bytes} bytes")];
        let disclosed = Disclosed { patients, entities, ..Disclosed::default() };
        let bytes = bytes.cast_unsigned();
        let reader = FileReader { store: self.clone(), job, number, next: 1, parts, bytes };
        Ok(Unaudited::new(reader, disclosed))
    }
}

impl FileReader {
    /// The next part of it; `None` at the end.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it has expired meanwhile; [`Error::Unavailable`] without a database.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.next > self.parts {
            return Ok(None);
        }
        let pipeline = self.store.0.readers.pipeline().await?;
        let keys: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&self.job, &self.number, &self.next];
        let rows = Reader::Shared(&pipeline).query(PART, &keys).await?;
        let missing = || Error::NotFound(format!("the rest of export {}", self.job));
        let row = rows.first().ok_or_else(missing)?;
        let part: &[u8] = row.try_get(0).map_err(failure::error)?;
        self.next += 1;
        Ok(Some(Bytes::copy_from_slice(part)))
    }
}
