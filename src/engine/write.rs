//! The one way in which a version is made: create, update, patch and Bundle entries all end here.

mod state;

use crate::access::consent::Act;
use crate::access::interaction::Kind;
use crate::access::principal::unchangeable;
use crate::access::{Disclosed, Permit};
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::{Identity, Issue, Operation, ResourceType, Version, VersionId};
use crate::store::{Current, MetaList, MetaUse, Staged, WriteTx};

use super::condition::Condition;
use super::prepare::Prepared;
use super::{Engine, identity};

/// What a write did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WriteOutcome {
    /// A resource came into being, or back to life.
    Created,
    /// A conditional create found it: nothing was written.
    Existing,
    /// The content was the same already: no new version.
    Unchanged,
    /// A new version of a live resource.
    Updated,
}

/// A write and the version that now is current.
#[derive(Clone, Debug)]
pub struct Written {
    /// What it did.
    pub outcome: WriteOutcome,
    /// The current version.
    pub version: Version,
    /// What about it is worth a warning.
    pub notices: Vec<Issue>,
    /// Whether who wrote it may read it: else the answer does not show it.
    pub is_readable: bool,
}

impl Written {
    /// What the ledger must know.
    pub(super) fn disclosed(&self, patients: Vec<i64>) -> Disclosed {
        let Identity { resource_type, id } = self.version.identity.clone();
        let subject = Some((resource_type, id, Some(self.version.version)));
        Disclosed { subject, patients, ..Disclosed::default() }
    }
}

impl Engine {
    /// Stages the first version of a new resource.
    pub(super) fn stage_new(
        &self,
        identity: &Identity,
        prepared: Prepared,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Written, Error> {
        let prepared = self.received(identity, prepared, permit)?;
        let prepared = self.source_kept(identity, None, prepared, permit)?;
        let prepared = self.veiled(identity, prepared, permit)?;
        self.stage(identity, Operation::Created, None, prepared, permit, tx)
    }

    /// The same for what is about something that was written under the permit it is derived from.
    pub(super) fn stage_along(
        &self,
        identity: &Identity,
        prepared: Prepared,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Written, Error> {
        let prepared = self.source_kept(identity, None, prepared, permit)?;
        self.stage_judged(identity, Operation::Created, None, prepared, permit, tx)
    }

    /// Stages `prepared` as what `identity` now is: the first version, a new one, or none when
    /// nothing changed. `change` is the operation on a live resource: an update or a patch.
    pub(super) async fn stage_put(
        &self,
        identity: &Identity,
        current: Option<Current>,
        prepared: Prepared,
        change: Operation,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Written, Error> {
        let is_event = identity.resource_type == ResourceType::AUDIT_EVENT;
        if is_event && current.is_some() && !permit.is_of_service() {
            return Err(unchangeable());
        }
        if is_event && current.is_none() {
            self.refuse_over_event(identity, permit).await?;
        }
        self.refuse_defined(identity, current.as_ref())?;
        let prepared = self.label_over(identity, current.as_ref(), prepared)?;
        let prepared = self.source_kept(identity, current.as_ref(), prepared, permit)?;
        let prepared = self.veiled(identity, prepared, permit)?;
        match current {
            Some(current) if !current.version.is_deleted() => {
                if is_same(&current.version, &prepared)? {
                    let version = current.version;
                    let (outcome, notices) = (WriteOutcome::Unchanged, prepared.notices);
                    let is_readable = self.is_readable(&version, permit)?;
                    return Ok(Written { outcome, version, notices, is_readable });
                }
                self.stage(identity, change, Some(current), prepared, permit, tx)
            }
            current => {
                // Under a restriction, what is unknown cannot be told from what is invisible, whatever
                // the new content is about.
                let is_told = current.is_some() || !permit.is_restricted();
                if !is_told || !self.admits(identity, &prepared, permit)? {
                    return Err(Error::NotFound(identity.to_string()));
                }
                self.stage(identity, Operation::PutNew, current, prepared, permit, tx)
            }
        }
    }

    fn stage(
        &self,
        identity: &Identity,
        operation: Operation,
        prior: Option<Current>,
        prepared: Prepared,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Written, Error> {
        let is_denied = self.must_not_collect(identity, prior.as_ref(), &prepared, permit)?;
        if is_denied || !self.admits(identity, &prepared, permit)? {
            return Err(Error::Forbidden);
        }
        self.keep_labels(prior.as_ref(), &prepared, permit)?;
        identity::keep(prior.as_ref(), &prepared, identity, permit)?;
        state::keep(operation, prior.as_ref(), &prepared, identity, permit)?;
        self.stage_judged(identity, operation, prior, prepared, permit, tx)
    }

    /// The same of what the permit is known to reach.
    fn stage_judged(
        &self,
        identity: &Identity,
        operation: Operation,
        prior: Option<Current>,
        prepared: Prepared,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<Written, Error> {
        let (number, last_updated) = self.next(prior.as_ref());
        let Prepared { meta, body, patients, uses, index, ties, notices } = prepared;
        if identity.resource_type == ResourceType::SUBSCRIPTION {
            tx.subscribe(self.subscribing(identity, number, Some(&body), permit)?);
        }
        let version = Version {
            identity: identity.clone(),
            version: number,
            last_updated,
            operation,
            is_relabeled: false,
            meta: meta.clone(),
            body: Some(body.clone()),
        };
        let staged = Staged {
            identity: identity.clone(),
            prior,
            version: number,
            operation,
            last_updated,
            meta,
            body: Some(body),
            patients,
            uses,
            index,
            ties,
        };
        tx.stage(staged, permit)?;
        let is_readable = self.is_readable(&version, permit)?;
        let outcome = match operation {
            Operation::Created | Operation::PutNew => WriteOutcome::Created,
            Operation::Deleted | Operation::Patched | Operation::Updated => WriteOutcome::Updated,
        };
        Ok(Written { outcome, version, notices, is_readable })
    }

    /// Whether who writes may read what is there then.
    pub(super) fn is_readable(
        &self,
        version: &Version,
        permit: &Permit<'_>,
    ) -> Result<bool, Error> {
        match permit.derive(Kind::Read, version.identity.resource_type) {
            Ok(permit) => self.store.shows(version, permit.restriction()),
            Err(Error::Forbidden) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the new content lies within the reach of the permit.
    fn admits(
        &self,
        identity: &Identity,
        prepared: &Prepared,
        permit: &Permit<'_>,
    ) -> Result<bool, Error> {
        if !permit.is_restricted() {
            return Ok(true);
        }
        self.store.admits_value(identity, &document(identity, prepared)?, permit)
    }

    /// Whether a patient of whom there would be something more denies that such things are collected. What
    /// is there already is corrected, not collected.
    fn must_not_collect(
        &self,
        identity: &Identity,
        prior: Option<&Current>,
        prepared: &Prepared,
        permit: &Permit<'_>,
    ) -> Result<bool, Error> {
        let kept = permit.kept_from(Act::Collect)?;
        let Some(limits) = kept.limits().filter(|limits| !limits.withheld.is_empty()) else {
            return Ok(false);
        };
        // What others tell, the store asks when all is there that may.
        if limits.told_by_others().is_some() {
            return Ok(false);
        }
        if let Some(before) = prior.filter(|prior| !prior.version.is_deleted()) {
            // Where no compartment tells whose it is, as of a Device, the version before does.
            let is_known = if limits.are_denied_by_compartment() {
                prepared.patients.iter().all(|patient| before.patients.contains(patient))
            } else {
                self.store.keeps_back(&before.version, &kept)?
            };
            if is_known {
                return Ok(false);
            }
        }
        self.store.keeps_back_value(identity, &document(identity, prepared)?, &kept)
    }

    /// Refuses to take away labels that people have put, unless it is an administrator who does.
    fn keep_labels(
        &self,
        prior: Option<&Current>,
        prepared: &Prepared,
        permit: &Permit<'_>,
    ) -> Result<(), Error> {
        let before = prior.map(|prior| &prior.version).filter(|_| !may_unlabel(permit));
        match before {
            Some(before) => refuse_fewer_labels(&self.labels_of_people(before)?, &prepared.uses),
            None => Ok(()),
        }
    }

    /// Number and time of the version after `prior`.
    pub(super) fn next(&self, prior: Option<&Current>) -> (VersionId, crate::fhir::Instant) {
        let now = self.clock.now();
        match prior {
            Some(prior) => (VersionId(prior.version.version.0 + 1), prior.next_updated(now)),
            None => (VersionId(1), now.floor_to_millis()),
        }
    }
}

/// What is to be stored, as a reader would see it.
fn document<'p>(identity: &Identity, prepared: &'p Prepared) -> Result<Value<'p>, Error> {
    let Value::Object(mut resource) = json::parse(&prepared.body).map_err(Error::internal)? else {
        return Err(Error::internal("a body is a JSON object"));
    };
    resource.set("resourceType", identity.resource_type.as_str().to_owned());
    resource.set("id", identity.id.to_string());
    if let Some(meta) = &prepared.meta {
        resource.set("meta", json::parse(meta).map_err(Error::internal)?);
    }
    Ok(Value::Object(resource))
}

/// Whether the caller is an administrator, who may take labels away.
pub(super) fn may_unlabel(permit: &Permit<'_>) -> bool {
    permit.derive_system(Kind::Reindex).is_ok()
}

/// Refuses when a label of `before` is not among `after`.
pub(super) fn refuse_fewer_labels(before: &[MetaUse], after: &[MetaUse]) -> Result<(), Error> {
    let mut labels = before.iter().filter(|used| used.list == MetaList::Security);
    if labels.all(|label| after.contains(label)) { Ok(()) } else { Err(Error::Forbidden) }
}

/// Holds `condition` against the version that is live now; a deletion is none.
pub(super) fn check_condition(
    condition: &Condition,
    current: Option<&Current>,
    permit: &Permit<'_>,
) -> Result<(), Error> {
    state::needs_match(condition, current, permit)?;
    let live = current.filter(|current| !current.version.is_deleted());
    condition.check(live.map(|current| (current.version.version, current.version.last_updated)))
}

/// Whether the content is what is stored already, versionId and lastUpdated aside (rest 0.10).
fn is_same(stored: &Version, prepared: &Prepared) -> Result<bool, Error> {
    let parse = |text: &'_ [u8]| -> Result<Value<'static>, Error> {
        json::parse(text).map(Value::into_owned).map_err(Error::internal)
    };
    let empty = Value::Object(json::Object::new());
    let meta = |text: Option<&bytes::Bytes>| text.map_or(Ok(empty.clone()), |text| parse(text));
    if meta(stored.meta.as_ref())? != meta(prepared.meta.as_ref())? {
        return Ok(false);
    }
    let Some(body) = &stored.body else { return Ok(false) };
    let (stored, new) = (json::parse(body), json::parse(&prepared.body));
    Ok(stored.map_err(Error::internal)? == new.map_err(Error::internal)?)
}
