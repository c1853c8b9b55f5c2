//! The last look at whatever leaves for a caller with limits.
//!
//! What the store found is held against the caller's limits once more, by code that knows nothing of
//! SQL and looks at the documents alone. A miss is a defect of this server: the resource stays here,
//! the answer is 500, and `kiln_withheld_total` counts it.

use crate::access::interaction::Kind;
use crate::engine::EntryResult;
use crate::error::Error;
use crate::fhir::Version;
use crate::http::exchange::Exchange;
use crate::http::outcome::Failure;

use super::{history, search};

/// Refuses to show versions of which one is out of reach of the caller by such an interaction.
///
/// # Errors
/// [`Error::Internal`] when that is so, or cannot be told.
pub(super) fn check<'v>(
    exchange: &Exchange,
    kind: Kind,
    versions: impl IntoIterator<Item = &'v Version>,
) -> Result<(), Failure> {
    missed(exchange, kind, versions).map_or(Ok(()), |error| Err(Failure::Interaction(error)))
}

/// The result of an entry, or the failure in its place.
pub(super) fn hold(exchange: &Exchange, result: EntryResult) -> EntryResult {
    let missed = match &result {
        EntryResult::History(page, scope, _) => {
            missed(exchange, history::kind_of(scope), &page.versions)
        }
        EntryResult::Read(version) => missed(exchange, Kind::Read, [version]),
        EntryResult::Search(found, _) => {
            missed(exchange, Kind::SearchType, search::versions(found))
        }
        EntryResult::Answered(_)
        | EntryResult::CapabilityStatement(_)
        | EntryResult::Deleted(_)
        | EntryResult::Failed(_)
        | EntryResult::Meta(_)
        | EntryResult::NotModified(_)
        | EntryResult::Written(_) => None,
    };
    missed.map_or(result, EntryResult::Failed)
}

fn missed<'v>(
    exchange: &Exchange,
    kind: Kind,
    versions: impl IntoIterator<Item = &'v Version>,
) -> Option<Error> {
    for version in versions.into_iter().filter(|version| !version.is_deleted()) {
        match exchange.server.engine.is_shown(kind, version, &exchange.caller) {
            Ok(true) => {}
            Ok(false) => {
                metrics::counter!("kiln_withheld_total").increment(1);
                return Some(Error::internal("a resource out of reach was about to be shown"));
            }
            Err(error) => return Some(error),
        }
    }
    None
}
