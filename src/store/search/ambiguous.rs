//! Ids without a type that could be of several resources: refused when several exist (rest 4.110).

use crate::access::Permit;
use crate::error::Error;
use crate::fhir::{Identity, IssueCode, LogicalId, ResourceType};
use crate::store::connection::Reader;
use crate::store::resource::reached;
use crate::store::{Store, WriteTx, failure};

use super::frames::{Asking, permitted, within};

/// Which of these exist: $1 hashes of identities, $2 reach.
const EXISTING: &str = concat!(
    "SELECT x.idh, x.rid FROM srow x JOIN res r ON r.rid = x.rid AND r.dk = x.dk \
     WHERE x.idh = ANY($1::bigint[]) AND ",
    reached!("r", "$2")
);

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
        for (frame, named) in permitted(permit, named)? {
            let hashes: Vec<i64> = named.iter().map(|(hash, _)| *hash).collect();
            let mut found: Vec<(&Identity, i64)> = Vec::new();
            for row in reader.query(EXISTING, &[&hashes, &frame.bind()]).await? {
                let hash: i64 = row.try_get(0).map_err(failure::error)?;
                let rid: i64 = row.try_get(1).map_err(failure::error)?;
                let known = named.iter().find(|(known, _)| *known == hash);
                found.extend(known.map(|(_, identity)| (identity, rid)));
            }
            let key = |found: &(&Identity, i64)| (found.0.resource_type, found.1);
            let found = within(&frame, found, key, Asking { store, reader, permit }).await?;
            existing.extend(found.iter().map(|(identity, _)| identity.to_string()));
        }
        existing.sort_unstable();
        existing.dedup();
        if existing.len() > 1 {
            let text = format!("{id} may be each of {}: say which", existing.join(", "));
            return Err(Error::invalid(IssueCode::Invalid, text));
        }
    }
    Ok(())
}
