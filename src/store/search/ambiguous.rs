//! Ids without a type that could be of several resources: refused when several exist (rest 4.110).

use crate::access::Permit;
use crate::error::Error;
use crate::fhir::{Identity, IssueCode, LogicalId, ResourceType};
use crate::store::connection::Reader;
use crate::store::{Store, WriteTx, failure};

use super::include::permitted;

/// Which of these exist: $1 hashes of identities, $2 reach.
const EXISTING: &str = "SELECT DISTINCT x.idh FROM srow x JOIN res r ON r.rid = x.rid AND r.dk = x.dk \
     WHERE x.idh = ANY($1::bigint[]) AND ($2::bigint[] IS NULL OR r.pats && $2::bigint[])";

/// Every statement of this file, for the test that prepares them.
pub(in crate::store) const STATEMENTS: &[&str] = &[EXISTING];

/// An id that stands alone, and the types that it may be of.
type Ambiguous = (LogicalId, Vec<ResourceType>);

impl Store {
    /// Refuses ids that are of several resources within reach.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the resources.
    pub(crate) async fn refuse_ambiguous(
        &self,
        ambiguous: &[Ambiguous],
        permit: &Permit<'_>,
    ) -> Result<(), Error> {
        if ambiguous.is_empty() {
            return Ok(());
        }
        let pipeline = self.0.readers.pipeline().await?;
        refuse(ambiguous, self, Reader::Shared(&pipeline), permit).await
    }
}

impl WriteTx {
    /// The same as this unit's own writes left the database.
    ///
    /// # Errors
    /// As [`Store::refuse_ambiguous`].
    pub(crate) async fn refuse_ambiguous(
        &mut self,
        ambiguous: &[Ambiguous],
        permit: &Permit<'_>,
    ) -> Result<(), Error> {
        match self.connection() {
            Some(connection) => {
                refuse(ambiguous, self.store(), Reader::Transaction(connection), permit).await
            }
            None => self.store().refuse_ambiguous(ambiguous, permit).await,
        }
    }
}

async fn refuse(
    ambiguous: &[Ambiguous],
    store: &Store,
    reader: Reader<'_>,
    permit: &Permit<'_>,
) -> Result<(), Error> {
    for (id, types) in ambiguous {
        let named = types.iter().map(|of| {
            let identity = Identity { resource_type: *of, id: id.clone() };
            (*of, (store.identity(&identity), identity))
        });
        let mut existing: Vec<String> = Vec::new();
        for (reach, named) in permitted(permit, named)? {
            let hashes: Vec<i64> = named.iter().map(|(hash, _)| *hash).collect();
            for row in reader.query(EXISTING, &[&hashes, &reach]).await? {
                let hash: i64 = row.try_get(0).map_err(failure::error)?;
                let found = named.iter().filter(|(known, _)| *known == hash);
                existing.extend(found.map(|(_, identity)| identity.to_string()));
            }
        }
        if existing.len() > 1 {
            existing.sort_unstable();
            let text = format!("{id} may be each of {}: say which", existing.join(", "));
            return Err(Error::invalid(IssueCode::Invalid, text));
        }
    }
    Ok(())
}
