//! What a writer is told of the current version that it is about to change.

use crate::access::Permit;
use crate::access::consent::Act;
use crate::access::interaction::Kind;
use crate::access::membership::is_shown_in_part;
use crate::error::Error;
use crate::fhir::{Issue, IssueCode, LogicalId};
use crate::store::Store;
use crate::store::connection::Reader;

use super::{Current, find_current};

/// The current version for a writer, who is told when it is out of reach of writers alone: because it is
/// shown in part, or because the patient denies that it is changed. What is missing takes the trips of what
/// is hidden: an update and a patch answer 404 to both and a delete 204 (security W5, W7), so the time would
/// tell. No write that comes to something pays: the limited write what is found, and a create does not look.
pub(super) async fn for_writer(
    store: &Store,
    reader: Reader<'_>,
    id: &LogicalId,
    permit: &Permit<'_>,
) -> Result<Option<Current>, Error> {
    let found = find_current(store, reader, id, permit).await?;
    let (of, kind) = (permit.resource_type()?, permit.interaction().kind);
    if found.is_some() || !kind.is_write() {
        return Ok(found);
    }
    let kept = permit.kept_from(Act::Correct)?;
    let is_denied = kind.is_change() && kept.limits().is_some_and(|it| !it.withheld.is_empty());
    if !is_denied && !is_shown_in_part(of) {
        return Ok(None);
    }
    let Ok(seen) = permit.derive(Kind::Read, of) else { return Ok(None) };
    let is_cut = seen.limits().is_some_and(|limits| limits.in_part().is_some());
    if !is_cut && !is_denied {
        return Ok(None);
    }
    let found = find_current(store, reader, id, &seen).await?;
    let found = found.filter(|current| !current.version.is_deleted());
    let is_kept = match &found {
        Some(current) if is_denied => store.withholds(reader, &current.version, &kept).await?,
        _ => false,
    };
    match found {
        _ if is_kept => Err(Error::Forbidden),
        _ if !is_cut => Ok(None),
        // Criteria of a create found it: nothing is written.
        Some(current) if kind != Kind::Create => {
            let text = format!(
                "{} is shown in part: who sees all of it may change it",
                current.version.identity
            );
            Err(Error::Unprocessable(vec![Issue::error(IssueCode::BusinessRule, text)]))
        }
        found => Ok(found),
    }
}
