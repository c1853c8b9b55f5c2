//! Entries that ask for a record: `$everything` and `$summary`.

use crate::access::{Caller, Permit};
use crate::engine::{Engine, EverythingOf, everything, summary};
use crate::error::Error;
use crate::fhir::LogicalId;
use crate::fhir::query::Query;
use crate::store::WriteTx;

use super::{BundleOptions, EntryResult};

impl Engine {
    /// What an entry of a batch asks of `$everything`.
    pub(super) async fn everything_called(
        &self,
        of: &EverythingOf,
        query: Query,
        options: &BundleOptions,
        caller: &Caller,
    ) -> Result<EntryResult, Error> {
        let caller = caller.of_entry(&everything::address(of, &query));
        let found = self.everything(of, &query, options.is_strict, &caller).await?;
        Ok(EntryResult::Search(Box::new(found), query))
    }

    /// The same of an entry of a transaction.
    pub(super) async fn everything_called_within(
        &self,
        of: &EverythingOf,
        query: Query,
        options: &BundleOptions,
        (permit, tx): (&Permit<'_>, &mut WriteTx),
    ) -> Result<EntryResult, Error> {
        let found = self.everything_within(of, (&query, options.is_strict), permit, tx).await?;
        Ok(EntryResult::Search(Box::new(found), query))
    }

    /// What an entry of a batch asks of `$summary`.
    pub(super) async fn summary_called(
        &self,
        id: Option<&LogicalId>,
        query: &Query,
        options: &BundleOptions,
        caller: &Caller,
    ) -> Result<EntryResult, Error> {
        let caller = caller.of_entry(&summary::address(id, query));
        let found = self.summary(id, query, options.is_strict, &caller).await?;
        Ok(EntryResult::Document(Box::new(found)))
    }

    /// The same of an entry of a transaction.
    pub(super) async fn summary_called_within(
        &self,
        id: Option<&LogicalId>,
        query: &Query,
        options: &BundleOptions,
        (permit, tx): (&Permit<'_>, &mut WriteTx),
    ) -> Result<EntryResult, Error> {
        let found = self.summary_within(id, (query, options.is_strict), permit, tx).await?;
        Ok(EntryResult::Document(Box::new(found)))
    }
}
