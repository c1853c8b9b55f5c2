//! What an operation sees: what is stored, or that with what a transaction has written so far.
//!
//! An operation is written once, under a permit, and asks here for what it needs. By itself it runs
//! behind the gate and reads what is committed; as an entry of a transaction it runs under a permit
//! derived from the transaction's, reads what the transaction left, and its row goes with the others.

use crate::access::{Permit, Unaudited};
use crate::error::Error;
use crate::fhir::{LogicalId, Version};
use crate::store::{ClosureTable, Store, WriteTx};

/// What an operation sees.
pub(in crate::engine) enum Seen<'s> {
    /// What is committed.
    Committed(&'s Store),
    /// What a transaction, which was flushed, sees.
    Within(&'s mut WriteTx),
}

impl Seen<'_> {
    /// The current version of the permitted type.
    ///
    /// # Errors
    /// As [`Store::current`].
    pub(in crate::engine) async fn current(
        &mut self,
        id: &LogicalId,
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Version>, Error> {
        match self {
            Self::Committed(store) => store.current(id, permit).await,
            Self::Within(tx) => {
                let (version, told) = tx.read(id, permit).await?;
                Ok(Unaudited::new(version, told))
            }
        }
    }

    /// Begins a closure table.
    ///
    /// # Errors
    /// As [`Store::begin_closure`].
    pub(in crate::engine) async fn begin_closure(
        &mut self,
        name: &str,
        permit: &Permit<'_>,
    ) -> Result<(), Error> {
        match self {
            Self::Committed(store) => store.begin_closure(name, permit).await,
            Self::Within(tx) => tx.begin_closure(name, permit).await,
        }
    }

    /// Adds concepts to a closure table.
    ///
    /// # Errors
    /// As [`Store::add_to_closure`].
    pub(in crate::engine) async fn add_to_closure(
        &mut self,
        name: &str,
        concepts: (&[&str], &[&str]),
        permit: &Permit<'_>,
    ) -> Result<Option<ClosureTable>, Error> {
        match self {
            Self::Committed(store) => store.add_to_closure(name, concepts, permit).await,
            Self::Within(tx) => tx.add_to_closure(name, concepts, permit).await,
        }
    }

    /// All concepts of a closure table.
    ///
    /// # Errors
    /// As [`Store::closure_table`].
    pub(in crate::engine) async fn closure_table(
        &mut self,
        name: &str,
        permit: &Permit<'_>,
    ) -> Result<Option<ClosureTable>, Error> {
        match self {
            Self::Committed(store) => store.closure_table(name, permit).await,
            Self::Within(tx) => tx.closure_table(name, permit).await,
        }
    }
}
