//! FHIR interactions, a file each: what a request means, whoever asks it over whatever wire.
//!
//! Every interaction passes the gate; every write goes through [`write`]; a Bundle's entries run the
//! same code as the interactions they stand for.
//!
//! Layer: 5. Imports `access`, `clock`, `error`, `fhir`, `fulltext`, `outbound`, `search`, `spec`,
//! `store`, `validate`.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html>

pub mod bundle;
mod chain;
pub mod condition;
mod conditional;
mod create;
mod definitions;
mod delete;
mod disclosures;
mod events;
mod everything;
pub mod export;
pub mod graphql;
mod history;
mod identity;
mod labelling;
mod messages;
mod meta;
pub mod patch;
mod patching;
mod prepare;
mod provenance;
mod read;
mod received;
mod reindex;
mod search;
pub mod subscription;
mod summary;
mod terminology;
mod turns;
mod update;
mod validation;
mod vread;
mod write;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::access::interaction::Kind;
use crate::access::labelling::Labelling;
use crate::access::{Actor, Caller, Disclosed, Gate, Interaction};
use crate::clock::{Clock, IdSource};
use crate::error::Error;
use crate::fhir::{ResourceType, Version};
use crate::search::extract::Extractor;
use crate::search::request::Limits as SearchLimits;
use crate::spec::Spec;
use crate::spec::structure::Library;
use crate::store::search::Definitions;
use crate::store::{Store, Tripwire};

pub use crate::store::{HistoryPage, HistoryRequest, HistoryScope};
pub use crate::terminology::operation::Operation;
pub use bundle::plan::METADATA_PARAMETERS;
pub use bundle::{
    BundleOptions, BundleOutcome, Convert, EntryResult, Import, MakeCompanion, NewIds,
    ReadStatement,
};
pub use delete::{Deleted, Deletion};
pub use disclosures::DISCLOSURES_PARAMETERS;
pub use everything::{EverythingOf, simple_parameters};
pub use history::{CURSOR, HISTORY_PARAMETERS, PageSize};
pub use messages::{
    Counted, Lacking, MessageEffect, MessageFilter, MessageIssue, MessageRow, MessageState,
    MessageView, Replay,
};
pub use meta::{MetaChange, MetaOf};
pub use provenance::Provenance;
pub use reindex::{ReindexOf, Reindexing};
pub use search::{Handling, Lookups, Match, OF_FORM, SearchTarget, Searched};
pub use summary::Document;
pub use validation::{
    Claim, Level, Rules, VALIDATE_PARAMETERS, Validate, ValidateAt, ValidationMode, Validators,
    Wish, WriteOptions, is_definition,
};
pub use write::{WriteOutcome, Written};

pub use terminology::Question;
use turns::Turns;
use validation::Validation;

/// What an engine is told about its place.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The public FHIR base without a trailing slash: references under it are local.
    pub base: String,
    /// Most entries of a batch or transaction.
    pub max_bundle_entries: usize,
    /// How long a page of many is.
    pub page: PageSize,
    /// How many resources one conditional delete may delete.
    pub max_conditional_delete: u32,
    /// Whether a date that is asked for finds whatever overlaps it.
    pub dates_overlap: bool,
    /// How much a search may ask for.
    pub searches: SearchLimits,
    /// Whether a search of AuditEvents says of which time.
    pub events_need_date: bool,
    /// Whether a Provenance that is sent along with a transaction is stored with what it makes.
    pub provenance_of_transactions: bool,
    /// Whether `meta.source` is not for clients to say.
    pub ignores_source: bool,
    /// Whether the definitions of the packs are among the resources.
    pub shows_definitions: bool,
    /// What writes are held to beyond their form.
    pub validation: Rules,
    /// The bounds of exports.
    pub exports: export::ExportRules,
    /// The bounds of documents of GraphQL.
    pub graphql: graphql::Limits,
    /// The bounds of subscriptions.
    pub subscriptions: subscription::SubscriptionRules,
}

/// Definitions that change while the server runs.
#[derive(Clone)]
pub struct InForce {
    /// What is searched by.
    pub extractor: Arc<Extractor>,
    /// What is validated by; `None`: the form alone is checked.
    pub library: Option<Arc<Library>>,
}

impl InForce {
    /// Whether nothing has changed between the two.
    pub fn is_same(&self, other: &Self) -> bool {
        let library = |it: &Self| it.library.as_ref().map(Arc::as_ptr);
        Arc::ptr_eq(&self.extractor, &other.extractor) && library(self) == library(other)
    }
}

/// The FHIR interactions of one server.
pub struct Engine {
    store: Store,
    gate: Gate<Store>,
    spec: Arc<Spec>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    settings: Settings,
    turns: Turns,
    /// Those of criteria, taken before those of resources.
    criteria_turns: Turns,
    extractor: Arc<Extractor>,
    definitions: Definitions,
    lookups: Lookups,
    validation: Validation,
    labelling: Option<Arc<Labelling>>,
    /// Told when an export is asked for here.
    export_work: Notify,
    /// Told when there may be more to do for subscriptions.
    subscription_work: Notify,
}

impl Engine {
    /// An engine on `store`; `extractor` is what makes the store's index rows.
    pub fn new(
        store: Store,
        spec: Arc<Spec>,
        extractor: Arc<Extractor>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        settings: Settings,
    ) -> Self {
        let gate = Gate::new(store.clone(), clock.clone(), ids.clone());
        let (turns, criteria_turns) = (Turns::default(), Turns::default());
        store.use_extractor(extractor.clone(), 0);
        let definitions = Definitions::new(spec.clone());
        store.use_definitions(definitions.clone());
        Self {
            store,
            gate,
            spec,
            clock,
            ids,
            settings,
            turns,
            criteria_turns,
            extractor,
            definitions,
            lookups: Lookups::default(),
            validation: Validation::default(),
            labelling: None,
            export_work: Notify::new(),
            subscription_work: Notify::new(),
        }
    }

    /// The same engine labelling what is stored.
    #[must_use]
    pub fn labelling_by(self, labelling: Option<Arc<Labelling>>) -> Self {
        Self { labelling, ..self }
    }

    /// The same engine with somebody to ask for what is not in the database's index.
    #[must_use]
    pub fn with(self, lookups: Lookups) -> Self {
        Self { lookups, ..self }
    }

    /// The same engine judging content, not the form alone.
    #[must_use]
    pub fn judging_by(self, validators: Arc<dyn Validators>) -> Self {
        let validation = Validation::new(validators, &self.settings.validation);
        Self { validation, ..self }
    }

    /// Whether words can be searched.
    pub fn has_words(&self) -> bool {
        self.lookups.full_text.is_some()
    }

    /// Whether subscriptions are served.
    pub fn serves_subscriptions(&self) -> bool {
        self.settings.subscriptions.is_on
    }

    /// Whether references must lead somewhere, and hold what they lead to.
    pub fn enforces_references(&self) -> bool {
        self.store.integrity().enforces_references()
    }

    /// What finds the values of FHIR's own search parameters.
    pub fn core(&self) -> &Arc<Extractor> {
        &self.extractor
    }

    /// What finds the values of the search parameters in force.
    pub fn extractor(&self) -> Arc<Extractor> {
        let known = self.store.parameters().ok();
        known.map_or_else(|| self.extractor.clone(), |known| known.extractor.clone())
    }

    /// Waits until the definitions that this node has stored count.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn ready(&self) -> Result<(), Error> {
        self.validation.ready().await
    }

    /// The definitions that clients can see at work.
    pub fn in_force(&self) -> InForce {
        InForce { extractor: self.extractor(), library: self.validation.library() }
    }

    /// How many resources one conditional delete may delete.
    pub fn max_conditional_delete(&self) -> u32 {
        self.settings.max_conditional_delete
    }

    /// The definitions this engine works by.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// Puts an attempt on record that failed before it could become an interaction: a body that is
    /// no FHIR, a media type that is not served.
    ///
    /// # Errors
    /// Always: `error` itself, or [`Error::Unavailable`] when the ledger cannot be written.
    pub async fn denied<T>(
        &self,
        interaction: Interaction,
        caller: &Caller,
        error: Error,
    ) -> Result<T, Error> {
        self.gate.denied(interaction, caller, error).await
    }

    /// Puts a request on record that did not prove who sent it. Gives what to tell: `error`, or
    /// [`Error::Unavailable`] when the ledger cannot be written.
    pub async fn turned_away(
        &self,
        interaction: Interaction,
        actor: &Actor,
        error: Error,
    ) -> Error {
        self.gate.turned_away(interaction, actor, error).await
    }

    /// Puts on record that a party asks too often, by a few rows. Gives what to tell, as
    /// [`Engine::turned_away`].
    pub async fn held_back(&self, of: Interaction, caller: &Caller, error: Error) -> Error {
        self.gate.held_back(of, caller, error).await
    }

    /// The same of who proved nobody.
    pub async fn held_off(&self, of: Interaction, actor: &Actor, error: Error) -> Error {
        self.gate.held_off(of, actor, error).await
    }

    /// Puts on record how often parties were held back: see [`Gate::tell_refusals`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the ledger cannot be written.
    pub async fn tell_refusals(&self, is_end: bool) -> Result<(), Error> {
        self.gate.tell_refusals(is_end).await
    }

    /// What tells of versions whether they are shown to `caller` as the answer to an interaction of this kind: asked
    /// once more before they leave, beside what the store decided.
    ///
    /// # Errors
    /// [`Error::Internal`] while the definitions cannot be read.
    pub fn tripwire<'e>(&'e self, kind: Kind, caller: &'e Caller) -> Result<Tripwire<'e>, Error> {
        self.store.tripwire(kind, caller)
    }

    /// Puts on record that a version was about to be shown to a caller that does not reach it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the ledger cannot be written.
    pub async fn alarm(&self, withheld: &Version, caller: &Caller) -> Result<(), Error> {
        let about = format!("{}/_history/{}", withheld.identity, withheld.version);
        let disclosed = Disclosed { entities: vec![about], ..Disclosed::default() };
        let text = "a resource out of reach was about to be shown, and was withheld";
        self.gate.note_about(Kind::Alert, caller, disclosed, Some(text)).await
    }

    /// Puts on record that `caller` did something that touches no stored data (`metadata`).
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the ledger cannot be written.
    pub async fn noted(&self, interaction: Interaction, caller: &Caller) -> Result<(), Error> {
        let nothing = async |_: &crate::access::Permit<'_>| Ok(crate::access::Unaudited::nothing());
        self.gate.run(interaction, caller, nothing).await
    }
}

/// Types that are never stored (rest 7.73).
fn refuse_unstorable(resource_type: ResourceType) -> Result<(), Error> {
    match resource_type {
        ResourceType::PARAMETERS | ResourceType::OPERATION_OUTCOME => {
            Err(Error::MethodNotAllowed(format!("{resource_type} resources are not stored")))
        }
        _ => Ok(()),
    }
}

/// Handlers run in tasks of their own, so every interaction must be able to move between threads.
#[cfg(test)]
#[expect(dead_code, reason = "it is enough that it compiles")]
fn interactions_are_send(engine: &Engine, caller: &Caller, identity: &crate::fhir::Identity) {
    use crate::fhir::json::Value;
    fn send<T: Send>(future: T) {
        drop(future);
    }
    let resource =
        || crate::fhir::Resource { resource_type: identity.resource_type, value: Value::Null };
    let (condition, of) = (condition::Condition::default(), MetaOf::System);
    let request = HistoryRequest {
        scope: HistoryScope::System,
        since: None,
        at: None,
        list: None,
        count: 1,
        cursor: None,
    };
    send(engine.read(identity, caller));
    send(engine.create(resource(), WriteOptions::default(), caller));
    send(engine.update(identity, resource(), &condition, WriteOptions::default(), caller));
    let patch = patch::Patch::Json(Value::Null);
    send(engine.patch(identity, patch, &condition, WriteOptions::default(), caller));
    send(engine.delete(identity, &condition, caller));
    send(engine.history(&request, caller));
    send(engine.meta(&of, caller));
    send(engine.change_meta(identity, None, &Value::Null, MetaChange::Add, caller));
    let options = BundleOptions::default();
    send(engine.bundle(Value::Null, &options, caller));
    let (query, target) = (crate::fhir::query::Query::default(), SearchTarget::System);
    send(engine.search(&target, &query, false, caller));
    send(engine.create_unless(resource(), &query, WriteOptions::default(), caller));
    send(engine.update_by(resource(), &query, &condition, WriteOptions::default(), caller));
    let (of, patch) = (identity.resource_type, patch::Patch::Json(Value::Null));
    send(engine.patch_by(of, patch, &query, &condition, WriteOptions::default(), caller));
    send(engine.delete_by(of, &query, &condition, caller));
    send(engine.reindex(&ReindexOf::System, caller));
    send(engine.reindexing(&ReindexOf::System, caller));
    let level = export::ExportOf::System;
    send(engine.export(&level, (&[], true), "", caller));
    send(engine.export_status(uuid::Uuid::nil(), caller));
    let of = crate::engine::terminology::Question {
        operation: Operation::Expand,
        id: None,
        parameters: &Value::Null,
        languages: None,
    };
    send(engine.terminology(&of, caller));
}
