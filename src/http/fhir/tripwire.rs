//! The last look at whatever leaves for a caller with limits.
//!
//! What the store found is held against the caller's limits once more, by code that knows nothing of
//! SQL and looks at the documents alone. A miss is a defect of this server: the resource stays here,
//! the answer is 500, and `kiln_withheld_total` counts it.

use crate::access::Caller;
use crate::access::interaction::Kind;
use crate::engine::{Engine, EntryResult};
use crate::error::Error;
use crate::fhir::Version;
use crate::http::exchange::Exchange;
use crate::http::outcome::Failure;

use super::{history, search};

/// Who asks whom.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    engine: &'a Engine,
    caller: &'a Caller,
}

impl<'a> Asking<'a> {
    pub(super) fn of(exchange: &'a Exchange) -> Self {
        Self { engine: &exchange.server.engine, caller: &exchange.caller }
    }
}

/// Refuses to show versions of which one is out of reach of the caller by such an interaction.
///
/// # Errors
/// [`Error::Internal`] when that is so, or cannot be told.
pub(super) async fn check<'v>(
    who: Asking<'_>,
    kind: Kind,
    versions: impl IntoIterator<Item = &'v Version>,
) -> Result<(), Failure> {
    close(who, kind, versions).await.map_or(Ok(()), |error| Err(Failure::Interaction(error)))
}

/// Shows versions that are about to leave as whoever asks may see them: of Subscriptions the values of headers are for
/// those who sent them.
///
/// # Errors
/// [`Error::Internal`] when what is stored is no JSON.
pub(super) fn reveal<'v>(
    who: Asking<'_>,
    versions: impl IntoIterator<Item = &'v mut Version>,
) -> Result<(), Failure> {
    let mut versions = versions.into_iter();
    let shown = versions.try_for_each(|version| who.engine.reveal(version, who.caller));
    shown.map_err(Failure::Interaction)
}

/// The result of an entry as whoever asks may see it, or the failure in its place.
pub(super) async fn hold(who: Asking<'_>, result: EntryResult) -> EntryResult {
    let mut result = held(who, result).await;
    let shown = match &mut result {
        EntryResult::History(page, ..) => reveal(who, &mut page.versions),
        EntryResult::Read(version) => reveal(who, [version]),
        EntryResult::Search(found, _) => reveal(who, search::versions_mut(found)),
        EntryResult::Written(written) => reveal(who, [&mut written.version]),
        _ => Ok(()),
    };
    match shown {
        Err(Failure::Interaction(error)) => EntryResult::Failed(error),
        _ => result,
    }
}

async fn held(who: Asking<'_>, result: EntryResult) -> EntryResult {
    let (kind, versions): (Kind, Vec<&Version>) = match &result {
        EntryResult::History(page, scope, _) => {
            (history::kind_of(scope), page.versions.iter().collect())
        }
        EntryResult::Document(document) => (Kind::Everything, document.versions().collect()),
        EntryResult::Read(version) => (Kind::Read, vec![version]),
        EntryResult::Search(found, _) => (found.kind, search::versions(found).collect()),
        EntryResult::Answered(_)
        | EntryResult::CapabilityStatement(_)
        | EntryResult::Deleted(_)
        | EntryResult::Failed(_)
        | EntryResult::Meta(_)
        | EntryResult::NotModified(_)
        | EntryResult::Told(..)
        | EntryResult::Written(_) => return result,
    };
    match close(who, kind, versions).await {
        Some(error) => EntryResult::Failed(error),
        None => result,
    }
}

/// The failure in the place of an answer, where one of its versions must not be shown.
async fn close<'v>(
    who: Asking<'_>,
    kind: Kind,
    versions: impl IntoIterator<Item = &'v Version>,
) -> Option<Error> {
    let (missed, error) = missed(who, kind, versions)?;
    if let Some(version) = missed {
        metrics::counter!("kiln_withheld_total").increment(1);
        if let Err(error) = who.engine.alarm(version, who.caller).await {
            tracing::error!(%error, "a withheld resource could not be put on record");
        }
    }
    Some(error)
}

/// The first version that must not be shown, and why; without one, why nobody can tell.
fn missed<'v>(
    who: Asking<'_>,
    kind: Kind,
    versions: impl IntoIterator<Item = &'v Version>,
) -> Option<(Option<&'v Version>, Error)> {
    let mut tripwire = match who.engine.tripwire(kind, who.caller) {
        Ok(tripwire) => tripwire,
        Err(error) => return Some((None, error)),
    };
    for version in versions.into_iter().filter(|version| !version.is_deleted()) {
        match tripwire.lets_by(version) {
            Ok(true) => {}
            Ok(false) => {
                let text = "a resource out of reach was about to be shown";
                return Some((Some(version), Error::internal(text)));
            }
            Err(error) => return Some((None, error)),
        }
    }
    None
}
