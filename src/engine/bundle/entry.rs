//! One entry of a transaction: the interaction it stands for, inside the unit of work of all.

use crate::access::interaction::Kind;
use crate::access::{Attempted, Disclosed, Interaction, Permit};
use crate::engine::condition::{Condition, EntityTag};
use crate::engine::patch::Patch;
use crate::engine::write::check_condition;
use crate::engine::{Deletion, Engine, HistoryScope, MetaChange, MetaOf, WriteOutcome, Written};
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::fhir::{Identity, Instant, Operation, ResourceType, Version, VersionId};
use crate::store::{MetaScope, WriteTx};

use super::call::Call;
use super::plan::{self, Get};
use super::transaction::Ready;
use super::{BundleOptions, EntryResult};

/// An entry that waits for its turn.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) index: usize,
    pub(super) rank: u8,
    pub(super) task: Task,
    pub(super) condition: Condition,
    pub(super) modified_since: Option<Instant>,
}

/// What an entry does, its resource prepared.
#[derive(Clone)]
pub(super) enum Task {
    Call(Box<Call<'static>>),
    Create(Identity, Ready),
    Delete(Identity),
    /// What criteria match, all of it.
    DeleteAll(ResourceType, Vec<Identity>),
    /// What a conditional create found, with its patients.
    Exists(Box<Version>, Vec<i64>),
    Get(Get),
    Meta(Identity, Option<VersionId>, Value<'static>, MetaChange),
    Patch(Identity, Patch<'static>),
    Update(Identity, Ready),
}

impl Work {
    /// The existing resource that the entry may change.
    pub(super) fn written_identity(&self) -> Option<&Identity> {
        match &self.task {
            Task::Delete(identity)
            | Task::Meta(identity, ..)
            | Task::Patch(identity, _)
            | Task::Update(identity, _) => Some(identity),
            Task::Call(_)
            | Task::Create(..)
            | Task::DeleteAll(..)
            | Task::Exists(..)
            | Task::Get(_) => None,
        }
    }

    /// What goes on record of it when its turn does not come.
    pub(super) fn attempted(&self) -> Attempted {
        match &self.task {
            Task::Call(call) => call.attempted(),
            Task::Create(identity, prepared) => of_patients(Kind::Create, identity, prepared),
            Task::Delete(identity) => plan::attempted(Kind::Delete, identity),
            Task::DeleteAll(of, _) => (Kind::Delete.of(*of), Disclosed::default()),
            Task::Exists(version, _) => plan::attempted(Kind::Create, &version.identity),
            Task::Get(get) => get.attempted(),
            Task::Meta(identity, _, _, change) => plan::attempted(change.kind(), identity),
            Task::Patch(identity, _) => plan::attempted(Kind::Patch, identity),
            Task::Update(identity, prepared) => of_patients(Kind::Update, identity, prepared),
        }
    }

    /// Whether it must see what the entries before it wrote.
    pub(super) fn reads_database(&self) -> bool {
        matches!(self.task, Task::Call(_) | Task::Get(_))
    }
}

impl Engine {
    /// Runs one entry of a transaction under a permit derived for it.
    pub(super) async fn run_entry(
        &self,
        work: &Work,
        options: &BundleOptions,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<EntryResult, Error> {
        tx.enter(work.index);
        let derive = |kind: Kind, resource_type| permit.derive(kind, resource_type);
        match &work.task {
            Task::Create(identity, prepared) => {
                let permit = derive(Kind::Create, identity.resource_type)?;
                let patients = prepared.patients.clone();
                let written = self.stage_new(identity, prepared.clone(), &permit, tx)?;
                Ok(note_written(Kind::Create, written, patients, tx))
            }
            Task::Update(identity, prepared) => {
                let permit = derive(Kind::Update, identity.resource_type)?;
                let current = tx.current(&identity.id, &permit).await?;
                check_condition(&work.condition, current.as_ref(), &permit)?;
                let patients = prepared.patients.clone();
                let (prepared, change) = (prepared.clone(), Operation::Updated);
                let written =
                    self.stage_put(identity, current, prepared, change, &permit, tx).await?;
                Ok(note_written(Kind::Update, written, patients, tx))
            }
            Task::Patch(identity, patch) => {
                let permit = derive(Kind::Patch, identity.resource_type)?;
                let (written, patients) = self
                    .stage_patch(identity, patch, &work.condition, options.wish, &permit, tx)
                    .await?;
                Ok(note_written(Kind::Patch, written, patients, tx))
            }
            Task::Delete(identity) => {
                let permit = derive(Kind::Delete, identity.resource_type)?;
                let (deleted, disclosed) =
                    self.stage_delete(identity, &work.condition, &permit, tx).await?;
                tx.entry(permit.interaction(), disclosed);
                Ok(EntryResult::Deleted(Deletion::One(identity.clone(), deleted.version)))
            }
            Task::DeleteAll(of, identities) => {
                let permit = derive(Kind::Delete, *of)?;
                self.delete_all(identities, &work.condition, &permit, tx).await
            }
            Task::Exists(version, patients) => {
                let permit = derive(Kind::Create, version.identity.resource_type)?;
                let (outcome, version) = (WriteOutcome::Existing, (**version).clone());
                let is_readable = self.is_readable(&version, &permit)?;
                let written = Written { outcome, version, notices: Vec::new(), is_readable };
                tx.entry(permit.interaction(), written.disclosed(patients.clone()));
                Ok(EntryResult::Written(written))
            }
            Task::Meta(identity, version, meta, change) => {
                let permit = derive(change.kind(), identity.resource_type)?;
                let (meta, disclosed) =
                    self.stage_meta(identity, *version, meta, *change, &permit, tx).await?;
                tx.entry(permit.interaction(), disclosed);
                Ok(EntryResult::Meta(meta))
            }
            Task::Call(call) => self.call_within(call, options, permit, tx).await,
            Task::Get(get) => self.get_entry(get, work, options, permit, tx).await,
        }
    }

    async fn delete_all(
        &self,
        identities: &[Identity],
        condition: &Condition,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<EntryResult, Error> {
        if identities.is_empty() {
            check_condition(condition, None, permit)?;
            tx.entry(permit.interaction(), Disclosed::default());
        }
        let mut gone = Vec::new();
        for identity in identities {
            let (deleted, disclosed) = self.stage_delete(identity, condition, permit, tx).await?;
            tx.entry(permit.interaction(), disclosed);
            gone.extend(deleted.version.map(|_| identity.clone()));
        }
        Ok(EntryResult::Deleted(Deletion::Matches(gone)))
    }

    async fn get_entry(
        &self,
        get: &Get,
        work: &Work,
        options: &BundleOptions,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<EntryResult, Error> {
        match get {
            Get::Read(identity) => {
                let permit = permit.derive(Kind::Read, identity.resource_type)?;
                let (version, disclosed) = self.read_entry(identity, None, &permit, tx).await?;
                tx.entry(permit.interaction(), disclosed);
                Ok(unless_known(version, &work.condition, work.modified_since))
            }
            Get::Vread(identity, version) => {
                let permit = permit.derive(Kind::Vread, identity.resource_type)?;
                let wanted = Some(*version);
                let (version, disclosed) = self.read_entry(identity, wanted, &permit, tx).await?;
                tx.entry(permit.interaction(), disclosed);
                Ok(EntryResult::Read(version))
            }
            Get::History(scope, query) => {
                self.history_entry((scope, query), options, permit, tx).await
            }
            Get::Meta(MetaOf::Instance(identity, version)) => {
                let permit = permit.derive(Kind::Meta, identity.resource_type)?;
                let (version, disclosed) = self.read_entry(identity, *version, &permit, tx).await?;
                tx.entry(permit.interaction(), disclosed);
                Ok(EntryResult::Meta(crate::engine::meta::meta_of(&version)?))
            }
            Get::Meta(MetaOf::System) => {
                let permit = permit.derive_system(Kind::Meta)?;
                self.meta_in_use_entry(MetaScope::System, &permit, tx).await
            }
            Get::Meta(MetaOf::Type(resource_type)) => {
                let permit = permit.derive(Kind::Meta, *resource_type)?;
                self.meta_in_use_entry(MetaScope::Type(*resource_type), &permit, tx).await
            }
            Get::Search(target, query) => {
                let interaction = crate::engine::search::interaction(target);
                let permit = match interaction.resource_type {
                    Some(of) => permit.derive(interaction.kind, of)?,
                    None => permit.derive_system(interaction.kind)?,
                };
                let is_strict = options.is_strict;
                let (found, disclosed) =
                    self.search_entry(target, query, is_strict, &permit, tx).await?;
                let asked = Some(("GET", crate::engine::search::address(target, query)));
                tx.entry(interaction, Disclosed { asked, ..disclosed });
                Ok(EntryResult::Search(Box::new(found), query.clone()))
            }
            Get::CapabilityStatement(query) => {
                let permit = permit.derive_system(Kind::Capabilities)?;
                tx.entry(permit.interaction(), Disclosed::default());
                options.statement(query)
            }
        }
    }

    /// The current version, or another one.
    async fn read_entry(
        &self,
        identity: &Identity,
        version: Option<VersionId>,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<(Version, Disclosed), Error> {
        let stored = match version {
            Some(version) => tx.vread(&identity.id, version, permit).await,
            None => tx.read(&identity.id, permit).await,
        };
        stored.or_else(|error| self.instead(error, (identity, version), permit))
    }

    async fn history_entry(
        &self,
        (scope, query): (&HistoryScope, &Query),
        options: &BundleOptions,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<EntryResult, Error> {
        let request = self.history_request(scope.clone(), query, options.is_strict)?;
        let (permit, interaction) = history_permit(scope, permit)?;
        let stored = tx.history(&request, &permit).await;
        let (page, disclosed) =
            stored.or_else(|error| self.history_instead(error, &request, &permit))?;
        tx.entry(interaction, disclosed);
        Ok(EntryResult::History(page, scope.clone(), query.clone()))
    }

    async fn meta_in_use_entry(
        &self,
        scope: MetaScope,
        permit: &Permit<'_>,
        tx: &mut WriteTx,
    ) -> Result<EntryResult, Error> {
        let (uses, disclosed) = tx.meta_in_use(scope, permit).await?;
        tx.entry(permit.interaction(), disclosed);
        Ok(EntryResult::Meta(crate::engine::meta::meta_of_uses(uses)))
    }
}

/// An interaction with one resource, of the patients that the sender says it is about.
fn of_patients(kind: Kind, identity: &Identity, prepared: &Ready) -> Attempted {
    let (interaction, mut disclosed) = plan::attempted(kind, identity);
    disclosed.patients.clone_from(&prepared.patients);
    (interaction, disclosed)
}

/// A read whose answer the client may have already (rest 1.47 to 1.50).
pub(super) fn unless_known(
    version: Version,
    condition: &Condition,
    modified_since: Option<Instant>,
) -> EntryResult {
    let has_it = |tag: &EntityTag| match tag {
        EntityTag::Any => true,
        EntityTag::Other => false,
        EntityTag::Version(known) => *known == version.version && !version.is_relabeled,
    };
    let is_known = if condition.if_none_match.is_empty() {
        let updated = version.last_updated.as_micros().div_euclid(1_000_000);
        let is_old = |since: Instant| updated <= since.as_micros().div_euclid(1_000_000);
        !version.is_relabeled && modified_since.is_some_and(is_old)
    } else {
        condition.if_none_match.iter().any(has_it)
    };
    if is_known {
        return EntryResult::NotModified(version.version);
    }
    EntryResult::Read(version)
}

fn history_permit<'p>(
    scope: &HistoryScope,
    permit: &Permit<'p>,
) -> Result<(Permit<'p>, Interaction), Error> {
    let (kind, resource_type): (Kind, Option<ResourceType>) = match scope {
        HistoryScope::Instance(identity) => (Kind::HistoryInstance, Some(identity.resource_type)),
        HistoryScope::System => (Kind::HistorySystem, None),
        HistoryScope::Type(resource_type) => (Kind::HistoryType, Some(*resource_type)),
    };
    let permit = match resource_type {
        Some(resource_type) => permit.derive(kind, resource_type)?,
        None => permit.derive_system(kind)?,
    };
    let interaction = permit.interaction();
    Ok((permit, interaction))
}

fn note_written(kind: Kind, written: Written, patients: Vec<i64>, tx: &mut WriteTx) -> EntryResult {
    let disclosed: Disclosed = written.disclosed(patients);
    tx.entry(kind.of(written.version.identity.resource_type), disclosed);
    EntryResult::Written(written)
}
