//! The definitions of the packs as resources: they are read like what is stored, and cannot be changed.
//!
//! What clients have stored under the id of one comes first and stays theirs: nothing that was
//! acknowledged is hidden, whatever a later version of this program brings along.
//!
//! Spec: <https://hl7.org/fhir/R4/conformance-module.html>, rest 5.17, 5.18

use std::sync::Arc;

use bytes::Bytes;

use crate::access::{Disclosed, Permit, Unaudited};
use crate::error::Error;
use crate::fhir::json::{Object, Value};
use crate::fhir::{Identity, Operation, ResourceType, Version, VersionId};
use crate::spec::catalog::{self, Catalog, Entry};
use crate::spec::structure::Library;
use crate::store::Current;

use super::Engine;

impl Engine {
    /// The definition under this identity, for who may see what is about no patient, and what the
    /// ledger is to say of it.
    fn defined(
        &self,
        identity: &Identity,
        permit: &Permit<'_>,
    ) -> Result<Option<(Version, Disclosed)>, Error> {
        if permit.is_restricted() {
            return Ok(None);
        }
        let Some(library) = self.readable(identity.resource_type) else { return Ok(None) };
        let (catalog, _) = library.catalog().map_err(Error::internal)?;
        let Some(entry) = catalog.find(identity) else { return Ok(None) };
        let version = versions(&library, &[entry], &self.settings.base)?.pop();
        Ok(version.map(|version| {
            let Identity { resource_type, id } = identity.clone();
            let subject = Some((resource_type, id, Some(version.version)));
            (version, Disclosed { subject, ..Disclosed::default() })
        }))
    }

    /// `stored`, or the definition where nothing live is stored.
    ///
    /// # Errors
    /// That of `stored`, where there is no definition either.
    pub(super) fn or_defined(
        &self,
        stored: Result<Unaudited<Version>, Error>,
        (identity, version): (&Identity, Option<VersionId>),
        permit: &Permit<'_>,
    ) -> Result<Unaudited<Version>, Error> {
        stored.or_else(|error| {
            let (version, told) = self.instead(error, (identity, version), permit)?;
            Ok(Unaudited::new(version, told))
        })
    }

    /// The definition in place of a resource that is not stored.
    ///
    /// # Errors
    /// `error`, where it tells something else or there is no definition either.
    pub(super) fn instead(
        &self,
        error: Error,
        (identity, version): (&Identity, Option<VersionId>),
        permit: &Permit<'_>,
    ) -> Result<(Version, Disclosed), Error> {
        if !matches!(error, Error::NotFound(_) | Error::Deleted { .. }) {
            return Err(error);
        }
        let defined = self.defined(identity, permit)?;
        let is_it = |found: &Version| version.is_none_or(|version| version == found.version);
        defined.filter(|(found, _)| is_it(found)).ok_or(error)
    }

    /// Where definitions of this type are, if they are among the resources.
    pub(super) fn readable(&self, of: ResourceType) -> Option<Arc<Library>> {
        let is_shown = self.settings.shows_definitions && Catalog::has_type(of);
        is_shown.then(|| self.validation.library()).flatten()
    }

    /// Refuses to change what the packs define, where nothing live is stored under its id.
    pub(super) fn refuse_defined(
        &self,
        identity: &Identity,
        current: Option<&Current>,
    ) -> Result<(), Error> {
        if current.is_some_and(|current| !current.version.is_deleted()) {
            return Ok(());
        }
        let Some(library) = self.readable(identity.resource_type) else { return Ok(()) };
        let (catalog, _) = library.catalog().map_err(Error::internal)?;
        if catalog.find(identity).is_none() {
            return Ok(());
        }
        let text = format!("{identity} is a definition of this server: it can only be read");
        Err(Error::MethodNotAllowed(text))
    }
}

/// Definitions as the first versions of resources.
pub(super) fn versions(
    library: &Library,
    entries: &[&Entry],
    base: &str,
) -> Result<Vec<Version>, Error> {
    let (_, packs) = library.catalog().map_err(Error::internal)?;
    let bodies = catalog::bodies(entries, packs, base).map_err(Error::internal)?;
    let version = |(entry, body): (&&Entry, Bytes)| Version {
        identity: entry.identity.clone(),
        version: VersionId(1),
        last_updated: entry.last_updated,
        operation: Operation::Created,
        is_relabeled: false,
        meta: meta(&entry.record(base)),
        body: Some(body),
    };
    Ok(entries.iter().zip(bodies).map(version).collect())
}

/// The rest of `meta`.
fn meta(record: &Value<'_>) -> Option<Bytes> {
    let profile = record.get("profile").cloned();
    let meta = profile.map(|profile| Value::Object(Object::new().with("profile", profile)));
    meta.map(|meta| meta.to_text().into())
}
