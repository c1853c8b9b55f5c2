//! Which resources of certain names exist: an id without a type that could be of several is refused
//! (rest 4.110), and a definition of the packs steps back behind what is stored under its id.

use std::collections::{BTreeSet, HashMap};

use crate::access::Permit;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::{Identity, IssueCode, LogicalId, ResourceType};
use crate::store::connection::Reader;
use crate::store::resource::reached;
use crate::store::{Store, WriteTx, failure};

use super::frames::{Asking, permitted, within};
use super::include::HASHES;

/// Which of these are live: $1 hashes of identities, $2 reach.
const EXISTING: &str = concat!(
    "SELECT x.idh, x.rid FROM srow x JOIN res r ON r.rid = x.rid AND r.dk = x.dk \
     WHERE x.idh = ANY($1::bigint[]) AND r.op <> 'D' AND ",
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

    /// Which of these are stored, live and within reach.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub(crate) async fn live_among(
        &self,
        identities: Vec<Identity>,
        permit: &Permit<'_>,
    ) -> Result<BTreeSet<Identity>, Error> {
        if identities.is_empty() {
            return Ok(BTreeSet::new());
        }
        let pipeline = self.0.readers.pipeline().await?;
        existing(identities, Kind::SearchType, self, Reader::Shared(&pipeline), permit).await
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

    /// The same as this unit's own writes left the database.
    ///
    /// # Errors
    /// As [`Store::live_among`].
    pub(crate) async fn live_among(
        &mut self,
        identities: Vec<Identity>,
        permit: &Permit<'_>,
    ) -> Result<BTreeSet<Identity>, Error> {
        match self.connection() {
            Some(connection) if !identities.is_empty() => {
                let reader = Reader::Transaction(connection);
                existing(identities, Kind::SearchType, self.store(), reader, permit).await
            }
            _ => self.store().live_among(identities, permit).await,
        }
    }
}

/// Which of these are live and may be read by the caller of a write, as its own writes left them.
///
/// # Errors
/// As [`Store::live_among`].
pub(in crate::store) async fn readable_among(
    identities: Vec<Identity>,
    tx: &WriteTx,
    permit: &Permit<'_>,
) -> Result<BTreeSet<Identity>, Error> {
    if let Some(connection) = tx.connection() {
        let reader = Reader::Transaction(connection);
        return existing(identities, Kind::Read, tx.store(), reader, permit).await;
    }
    let pipeline = tx.store().0.readers.pipeline().await?;
    existing(identities, Kind::Read, tx.store(), Reader::Shared(&pipeline), permit).await
}

async fn refuse(
    ambiguous: &[Ambiguous],
    store: &Store,
    reader: Reader<'_>,
    permit: &Permit<'_>,
) -> Result<(), Error> {
    for (id, types) in ambiguous {
        let named = types.iter().map(|of| Identity { resource_type: *of, id: id.clone() });
        let existing = existing(named, Kind::SearchType, store, reader, permit).await?;
        if existing.len() > 1 {
            let existing: Vec<String> = existing.iter().map(ToString::to_string).collect();
            let text = format!("{id} may be each of {}: say which", existing.join(", "));
            return Err(Error::invalid(IssueCode::Invalid, text));
        }
    }
    Ok(())
}

/// Which of these exist, as far as the caller reaches them by an interaction of a kind.
async fn existing(
    identities: impl IntoIterator<Item = Identity>,
    kind: Kind,
    store: &Store,
    reader: Reader<'_>,
    permit: &Permit<'_>,
) -> Result<BTreeSet<Identity>, Error> {
    let named = identities.into_iter().map(|it| (it.resource_type, (store.identity(&it), it)));
    let mut existing = BTreeSet::new();
    for (frame, named) in permitted(permit, kind, named)? {
        let hashes: Vec<i64> = named.iter().map(|(hash, _)| *hash).collect();
        let mut named: HashMap<i64, Identity> = named.into_iter().collect();
        let mut found: Vec<(Identity, i64)> = Vec::new();
        for hashes in hashes.chunks(HASHES) {
            for row in reader.query(EXISTING, &[&hashes, &frame.bind()]).await? {
                let hash: i64 = row.try_get(0).map_err(failure::error)?;
                let rid: i64 = row.try_get(1).map_err(failure::error)?;
                found.extend(named.remove(&hash).map(|identity| (identity, rid)));
            }
        }
        let key = |found: &(Identity, i64)| (found.0.resource_type, found.1);
        let found = within(
            &frame,
            found,
            (key, |_: &_| false),
            Asking { store, reader, permit, kind, ran: None },
        )
        .await?;
        existing.extend(found.into_iter().map(|(identity, _)| identity));
    }
    Ok(existing)
}
