//! The definitions of the packs as resources: they are read like what is stored, and cannot be changed.
//!
//! Spec: <https://hl7.org/fhir/R4/conformance-module.html>, rest 5.17, 5.18

use std::sync::Arc;

use bytes::Bytes;

use crate::access::{Disclosed, Permit};
use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::{Identity, Operation, ResourceType, Version, VersionId};
use crate::spec::catalog::{self, Catalog, Entry};
use crate::spec::structure::Library;

use super::Engine;

impl Engine {
    /// The definition under this identity, for who may see what is about no patient, and what the
    /// ledger is to say of it.
    pub(super) fn defined(
        &self,
        identity: &Identity,
        permit: &Permit<'_>,
    ) -> Result<Option<(Version, Disclosed)>, Error> {
        if !permit.reaches(&[]) {
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

    /// Where definitions of this type are, if they are among the resources.
    pub(super) fn readable(&self, of: ResourceType) -> Option<Arc<Library>> {
        let is_shown = self.settings.shows_definitions && Catalog::has_type(of);
        is_shown.then(|| self.validation.library()).flatten()
    }

    /// Refuses to change what the packs define.
    pub(super) fn refuse_defined(&self, identity: &Identity) -> Result<(), Error> {
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
    let version = |(entry, body): (&&Entry, Bytes)| {
        Ok(Version {
            identity: entry.identity.clone(),
            version: VersionId(1),
            last_updated: entry.last_updated,
            operation: Operation::Created,
            is_relabeled: false,
            meta: meta(&entry.record(base))?,
            body: Some(body),
        })
    };
    entries.iter().zip(bodies).map(version).collect()
}

/// The rest of `meta`.
fn meta(record: &str) -> Result<Option<Bytes>, Error> {
    let record = json::parse(record.as_bytes()).map_err(Error::internal)?;
    let profile = record.get("profile").cloned();
    let meta = profile.map(|profile| Value::Object(Object::new().with("profile", profile)));
    Ok(meta.map(|meta| meta.to_text().into()))
}
