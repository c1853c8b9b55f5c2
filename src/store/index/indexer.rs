//! The search parameters in force, and the rows that they make of a resource.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::{Identity, LogicalId, ResourceType, Version};
use crate::search::extract::{Contained, Extraction, Extractor, Parameter};
use crate::store::hash::Hasher;
use crate::store::integrity::{Integrity, Link, Ties};

use super::codes::Codes;
use super::inside::ContainedRows;
use super::rows::IndexRows;

/// Grows whenever the rows of a resource change though its parameters do not.
const FORMAT: u32 = 9;

/// How many parameters of a type have a bit of `srow.present`: its sign is none of them.
const BITS: u8 = 63;

/// Longest wait for the search parameters that another node has put in force.
const PATIENCE: Duration = Duration::from_secs(5);

/// The search parameters in force: none until the definitions are loaded, and replaced when they
/// change while the server runs.
#[derive(Debug, Default)]
pub(in crate::store) struct Indexer {
    known: RwLock<Option<Arc<Parameters>>>,
    /// Wakes who keeps them up to date.
    stale: Notify,
    epoch: watch::Sender<i64>,
    integrity: Arc<Integrity>,
    codes: Arc<Codes>,
}

/// The search parameters of all types with their hashes.
#[derive(Debug)]
pub struct Parameters {
    /// Finds their values.
    pub extractor: Arc<Extractor>,
    /// Grows with every definition that comes into force: rows are written only while it is the
    /// database's.
    pub epoch: i64,
    integrity: Arc<Integrity>,
    codes: Arc<Codes>,
    hasher: Hasher,
    /// By the place of the type in [`ResourceType::all`]: names in the order of the parameters.
    names: Vec<Vec<Name>>,
}

/// What a parameter is called in the index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::store) struct Name {
    pub(in crate::store) hash: i64,
    /// The bit of `srow.present` that says that it has a value: its place among FHIR's parameters of the type,
    /// whatever others there are. Without one a hash in `toks` says so.
    pub(in crate::store) bit: Option<u8>,
}

impl Indexer {
    pub(in crate::store) fn new(integrity: Integrity) -> Self {
        Self { integrity: Arc::new(integrity), ..Self::default() }
    }

    pub(in crate::store) fn integrity(&self) -> &Integrity {
        &self.integrity
    }

    pub(in crate::store) fn codes(&self) -> &Codes {
        &self.codes
    }

    pub(in crate::store) fn set(&self, extractor: Arc<Extractor>, epoch: i64, hasher: &Hasher) {
        let rules = (self.integrity.clone(), self.codes.clone());
        let parameters = Arc::new(Parameters::new(extractor, epoch, rules, hasher.clone()));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(parameters);
        self.epoch.send_replace(epoch);
    }

    /// Waits until there are others than those of `epoch`, which the database refused.
    pub(in crate::store) async fn renewed(&self, epoch: i64) {
        let mut known = self.epoch.subscribe();
        self.stale.notify_one();
        // After this time the write is tried all the same, and refused once more.
        let _ = tokio::time::timeout(PATIENCE, known.wait_for(|now| *now != epoch)).await;
    }

    /// Waits until a write was refused because they are old.
    pub(in crate::store) async fn refused(&self) {
        self.stale.notified().await;
    }

    pub(in crate::store) fn parameters(&self) -> Result<Arc<Parameters>, Error> {
        let found = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        found.ok_or_else(|| Error::internal("the search parameters are not loaded"))
    }
}

/// Under which parameters the values of one are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// The hash of the parameter itself.
    pub own: i64,
    /// The bit of `srow.present` that says that it has a value; `None`: a hash in `toks` does.
    pub bit: Option<u8>,
    /// Empty for a parameter with rows of its own. Else the parameters that it is a view of: all of
    /// their values are its. Where a type stands beside, only references to resources of it here
    /// are; references by url or identifier are kept under `own`.
    pub parts: Vec<(i64, Option<ResourceType>)>,
    /// Whether it is a composite of which one row of `str` has all parts (`combination`).
    pub is_together: bool,
}

impl Parameters {
    /// Where the values of the parameter called `code` are; `None`: the type has no such parameter.
    pub fn stored(&self, resource_type: ResourceType, code: &str) -> Option<Stored> {
        let names = self.names.get(usize::try_from(resource_type.code() - 1).ok()?)?;
        let at = self.extractor.place(resource_type, code)?;
        let Name { hash: own, bit } = *names.get(usize::from(at))?;
        let mut parts = Vec::new();
        if let Some(view) = self.extractor.view(resource_type, at) {
            for part in view.of.iter().filter_map(|part| names.get(usize::from(*part))) {
                match &view.targets[..] {
                    [] => parts.push((part.hash, None)),
                    targets => parts.extend(targets.iter().map(|of| (part.hash, Some(*of)))),
                }
            }
        }
        let known = self.extractor.parameters(resource_type).get(usize::from(at));
        let is_together = known.is_some_and(Parameter::is_together);
        Some(Stored { own, bit, parts, is_together })
    }

    fn new(
        extractor: Arc<Extractor>,
        epoch: i64,
        (integrity, codes): (Arc<Integrity>, Arc<Codes>),
        hasher: Hasher,
    ) -> Self {
        let of_type = |of| {
            let own = extractor.spec().search_parameters.of(of).map(|it| &*it.code);
            let own: BTreeSet<&str> = own.collect();
            let known = extractor.parameters(of).iter();
            let name = |parameter: &Parameter| {
                let place = own.iter().position(|code| **code == *parameter.code);
                let bit =
                    place.filter(|_| parameter.is_core()).and_then(|at| u8::try_from(at).ok());
                let hash = hasher.parameter(of, &parameter.key());
                Name { hash, bit: bit.filter(|bit| *bit < BITS) }
            };
            known.map(name).collect()
        };
        let names = ResourceType::all().map(of_type).collect();
        Self { extractor, epoch, integrity, codes, hasher, names }
    }

    /// Tells apart what makes the rows: an index of another fingerprint must be built anew. Parameters
    /// beside FHIR's own have a state of their own (`search_parameter`).
    pub(in crate::store) fn fingerprint(&self) -> u64 {
        let mut text = format!("{FORMAT} {}", self.extractor.zone().minutes());
        for definition in self.extractor.spec().search_parameters.all() {
            let expression = definition.expression.as_deref().unwrap_or_default();
            for part in [&*definition.url, &*definition.code, expression] {
                text.push('\n');
                text.push_str(part);
            }
        }
        if self.integrity.enforces_references() {
            text.push_str("\nreferences");
        }
        self.hasher.seal(text.as_bytes())
    }

    /// The rows of a resource that is to be stored, whose `id` and `meta` are in `value`. What cannot be
    /// extracted is told: searches for it do not find the resource.
    pub fn rows(&self, resource_type: ResourceType, value: &Value<'_>) -> IndexRows {
        self.rows_telling(resource_type, value, true)
    }

    fn rows_telling(
        &self,
        resource_type: ResourceType,
        value: &Value<'_>,
        is_told: bool,
    ) -> IndexRows {
        let at = usize::try_from(resource_type.code() - 1).unwrap_or(usize::MAX);
        let Some(names) = self.names.get(at) else { return IndexRows::default() };
        let extraction = self.extractor.extract(resource_type, value);
        if is_told {
            tell_skipped(&self.extractor, &extraction);
        }
        let id: Option<LogicalId> = value.str_at("id").and_then(|id| id.parse().ok());
        let home = id.map_or(0, |id| self.hasher.identity(resource_type, &id));
        let own = (&self.hasher, home, false);
        let mut rows = IndexRows::new(&extraction, &self.extractor, names, own);
        let known = self.extractor.parameters(resource_type);
        rows.note_lacking((known, names), &self.hasher, &self.codes);
        let contained = extraction.contained.iter().map(|it| self.contained_rows(it, home));
        rows.contained = contained.collect();
        rows.lacks_some = parts(&extraction).any(|part| !part.skipped.is_empty());
        rows.epoch = self.epoch;
        let links = self.integrity.links(resource_type, value, self.extractor.base());
        let of = |link: &Link| self.hasher.identity(link.target.resource_type, &link.target.id);
        let held = links.iter().filter(|link| !link.is_pinned);
        rows.tie(held.map(|link| self.hasher.tie(of(link))));
        rows
    }

    fn contained_rows(&self, contained: &Contained<'_>, home: i64) -> ContainedRows {
        let Contained { place, id, extraction } = contained;
        let resource_type = extraction.resource_type;
        let at = usize::try_from(resource_type.code() - 1).unwrap_or(usize::MAX);
        let names = self.names.get(at).map_or(&[][..], |names| names);
        let inside = names.iter().map(|it| Name { hash: self.hasher.inside(it.hash), ..*it });
        let inside: Vec<Name> = inside.collect();
        let identity = self.hasher.contained(home, id.unwrap_or_default());
        let held = (&self.hasher, home, true);
        let rows = IndexRows::new(extraction, &self.extractor, &inside, held);
        ContainedRows { place: *place, resource_type, identity, rows }
    }

    /// What rules between resources have a say in.
    pub fn ties(&self, resource_type: ResourceType, value: &Value<'_>) -> Ties {
        self.integrity.ties(resource_type, value, self.extractor.base())
    }

    /// The rows of a stored version, which were told of when they were made; those of a deletion are
    /// none.
    ///
    /// # Errors
    /// [`Error::Internal`] when what is stored is no JSON.
    pub(in crate::store) fn rows_of(&self, version: &Version) -> Result<IndexRows, Error> {
        let Some(body) = &version.body else { return Ok(IndexRows::default()) };
        self.rows_of_parts(&version.identity, version.meta.as_deref(), body)
    }

    /// [`Parameters::rows_of_parts`] that are made anew, to take the place of those that are stored:
    /// what cannot be extracted is told again. Beside them the patients in whose compartments it lies.
    ///
    /// # Errors
    /// [`Error::Internal`] when what is stored is no JSON.
    pub(in crate::store) fn rows_made_anew(
        &self,
        identity: &Identity,
        meta: Option<&[u8]>,
        body: &[u8],
    ) -> Result<(IndexRows, Vec<i64>), Error> {
        let value = resource(identity, meta, body)?;
        let (of, extractor) = (identity.resource_type, &self.extractor);
        let found = extractor.spec().patient_compartment(of, &value, extractor.base());
        let patients = found.iter().map(|id| self.hasher.patient(id)).collect();
        Ok((self.rows(of, &value), patients))
    }

    /// The rows of a resource that is stored in two parts.
    ///
    /// # Errors
    /// [`Error::Internal`] when what is stored is no JSON.
    pub(in crate::store) fn rows_of_parts(
        &self,
        identity: &Identity,
        meta: Option<&[u8]>,
        body: &[u8],
    ) -> Result<IndexRows, Error> {
        let resource = resource(identity, meta, body)?;
        Ok(self.rows_telling(identity.resource_type, &resource, false))
    }
}

/// A resource and what it contains.
fn parts<'e, 'v>(extraction: &'e Extraction<'v>) -> impl Iterator<Item = &'e Extraction<'v>> {
    let contained = extraction.contained.iter().map(|contained| &contained.extraction);
    std::iter::once(extraction).chain(contained)
}

/// Says which parameters have not all that they look at, without anything of the resource.
fn tell_skipped(extractor: &Extractor, extraction: &Extraction<'_>) {
    for part in parts(extraction) {
        let resource_type = part.resource_type;
        let known = extractor.parameters(resource_type);
        for skipped in &part.skipped {
            let Some(parameter) = known.get(usize::from(skipped.parameter)) else { continue };
            let code = parameter.code.to_string();
            let reason = skipped.reason.as_str();
            tracing::warn!(
                %resource_type,
                parameter = code,
                reason,
                "a resource is not found by a search parameter, as its values cannot be indexed"
            );
            metrics::counter!(
                "kiln_index_skipped_total", "type" => resource_type.as_str(), "parameter" => code
            )
            .increment(1);
        }
    }
}

/// The resource that is stored in two parts.
fn resource<'v>(
    identity: &Identity,
    meta: Option<&'v [u8]>,
    body: &'v [u8],
) -> Result<Value<'v>, Error> {
    let Value::Object(mut resource) = json::parse(body).map_err(Error::internal)? else {
        return Err(Error::internal("a stored resource is no JSON object"));
    };
    resource.set("id", identity.id.to_string());
    if let Some(meta) = meta {
        resource.set("meta", json::parse(meta).map_err(Error::internal)?);
    }
    Ok(whole(identity, resource))
}

fn whole<'v>(identity: &Identity, mut resource: Object<'v>) -> Value<'v> {
    resource.set("resourceType", identity.resource_type.as_str().to_owned());
    Value::Object(resource)
}
