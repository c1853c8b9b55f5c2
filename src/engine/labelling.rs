//! Labels by content: on every write, and once more over all versions when rules, or the value sets that they
//! name, are others.
//!
//! Spec: security S7

use std::collections::BTreeSet;

use crate::access::Caller;
use crate::access::labelling::{self, Code, Labelling};
use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::{Identity, Instant, ResourceType, Version};
use crate::spec::terminology::Contains;
use crate::store::{Current, HistoryRequest, HistoryScope, MetaList, MetaUse};

use super::meta::stored_meta;
use super::prepare::{Prepared, uses};
use super::{Engine, MetaChange};

/// Versions that are looked at together.
const PAGE: u32 = 200;

impl Engine {
    /// The rules for resources of a type, where there are any.
    fn rules_of(&self, of: ResourceType) -> Option<&Labelling> {
        self.labelling.as_deref().filter(|_| Labelling::is_about(of))
    }

    /// Puts the labels that rules demand into the `meta` of what is to be stored.
    pub(super) fn label<'a>(
        &self,
        of: ResourceType,
        resource: &Object<'_>,
        meta: Option<Object<'a>>,
    ) -> Option<Object<'a>> {
        let mut labelled = meta.unwrap_or_default();
        self.put_labels(of, resource, (None, &BTreeSet::new()), &mut labelled);
        (!labelled.is_empty()).then_some(labelled)
    }

    /// Brings labels and marks in a `meta` to what rules, what is stored and what is said make of them.
    fn put_labels(
        &self,
        of: ResourceType,
        resource: &Object<'_>,
        told: (Option<&Object<'_>>, &BTreeSet<Code>),
        meta: &mut Object<'_>,
    ) {
        let Some(rules) = self.rules_of(of) else { return labelling::without_marks(meta) };
        let terminology = self.lookups.terminology.as_deref();
        // What cannot be told is held to be so.
        let contains = |value_set: &str, (system, code): &Code| {
            terminology.is_none_or(|known| {
                known.contains(value_set, Some(system), code) != Ok(Contains::No)
            })
        };
        rules.label(resource, told, meta, &contains);
    }

    /// The labels of what is written over another version: what rules put there goes with its cause.
    pub(super) fn label_over(
        &self,
        identity: &Identity,
        prior: Option<&Current>,
        prepared: Prepared,
    ) -> Result<Prepared, Error> {
        let prior = prior.filter(|_| self.rules_of(identity.resource_type).is_some());
        let Some(prior) = prior.filter(|prior| !prior.version.is_deleted()) else {
            return Ok(prepared);
        };
        let before = stored_meta(&prior.version)?;
        let mut meta = match &prepared.meta {
            Some(meta) => object(meta)?,
            None => Object::new(),
        };
        let is_plain = |meta: &Object<'_>| labelling::marks(meta).is_empty();
        if labelling::labels(&before).is_empty() || is_plain(&before) && is_plain(&meta) {
            return Ok(prepared);
        }
        // What rules ask for was put there already, as if nothing had been before.
        labelling::without_marked(&mut meta);
        let mut resource = object(&prepared.body)?;
        let nothing = BTreeSet::new();
        self.put_labels(identity.resource_type, &resource, (Some(&before), &nothing), &mut meta);
        resource.set("resourceType", identity.resource_type.as_str().to_owned());
        resource.set("id", identity.id.to_string());
        if !meta.is_empty() {
            resource.set("meta", meta);
        }
        let notices = prepared.notices;
        Ok(Prepared { notices, ..self.split_labelled(identity, resource)? })
    }

    /// The same of a `meta` that is changed in place; `said` is what somebody adds to its labels.
    pub(super) fn label_in_place(
        &self,
        version: &Version,
        said: &BTreeSet<Code>,
        meta: &mut Object<'static>,
    ) -> Result<(), Error> {
        let Some(body) = &version.body else { return Ok(()) };
        let before = stored_meta(version)?;
        let of = version.identity.resource_type;
        self.put_labels(of, &object(body)?, (Some(&before), said), meta);
        Ok(())
    }

    /// The labels of a version but for those that rules have put, which go by rules.
    pub(super) fn labels_of_people(&self, version: &Version) -> Result<Vec<MetaUse>, Error> {
        let meta = stored_meta(version)?;
        let marked = match self.rules_of(version.identity.resource_type) {
            Some(_) => labelling::marks(&meta),
            None => BTreeSet::new(),
        };
        let mut all = uses(&meta);
        all.retain(|used| {
            used.list == MetaList::Security
                && !marked.contains(&(used.system.clone(), used.code.clone()))
        });
        Ok(all)
    }

    /// Labels all versions that are stored by the rules of now, or those that were made since a moment, each
    /// change on record as one of `caller`; how many versions were changed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database; what is done stays done.
    pub async fn label_again(&self, caller: &Caller, since: Option<Instant>) -> Result<u64, Error> {
        if self.labelling.is_none() {
            return Ok(0);
        }
        if let Some(definitions) = &self.lookups.definitions {
            definitions.current().await?;
        }
        let mut changed = 0;
        for of in ResourceType::all().filter(|of| Labelling::is_about(*of)) {
            if super::refuse_unstorable(of).is_err() || of == ResourceType::AUDIT_EVENT {
                continue;
            }
            let scope = HistoryScope::Type(of);
            let mut request =
                HistoryRequest { scope, since, at: None, list: None, count: PAGE, cursor: None };
            loop {
                let page = self.history(&request, caller).await?;
                for version in &page.versions {
                    changed += u64::from(self.label_one(version, caller).await?);
                }
                request.cursor = page.next;
                if request.cursor.is_none() {
                    break;
                }
            }
        }
        Ok(changed)
    }

    /// Whether the labels of a version were not what they should be.
    async fn label_one(&self, version: &Version, caller: &Caller) -> Result<bool, Error> {
        if version.body.is_none() {
            return Ok(false);
        }
        let before = stored_meta(version)?;
        let mut meta = before.clone();
        self.label_in_place(version, &BTreeSet::new(), &mut meta)?;
        if meta == before {
            return Ok(false);
        }
        let (identity, number) = (&version.identity, Some(version.version));
        let nothing = Value::Null;
        match self.change_meta(identity, number, &nothing, MetaChange::Label, caller).await {
            Ok(_) => Ok(true),
            // It went meanwhile.
            Err(Error::Deleted { .. } | Error::NotFound(_)) => Ok(false),
            // Not by now: what is done stays done, and all that is left is done with the next pass.
            Err(
                error @ (Error::Busy(_)
                | Error::Conflict(_)
                | Error::TimedOut(_)
                | Error::Unavailable(_)
                | Error::Unconfirmed(_)),
            ) => Err(error),
            // One that cannot be labelled must not keep all others from it.
            Err(error) => {
                tracing::warn!(%error, "{identity} cannot be labelled");
                Ok(false)
            }
        }
    }
}

/// A JSON object that is stored.
pub(super) fn object(text: &[u8]) -> Result<Object<'static>, Error> {
    match json::parse(text).map_err(Error::internal)?.into_owned() {
        Value::Object(object) => Ok(object),
        _ => Err(Error::internal("what is stored is a JSON object")),
    }
}
