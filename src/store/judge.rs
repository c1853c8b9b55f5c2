//! Versions held against a permit by their documents, where SQL does not tell.

use crate::access::judge::{Purpose, Subject};
use crate::access::{Permit, Restriction};
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::{Identity, LogicalId, Version};

use super::Store;

impl Store {
    /// Whether what is to be stored under `identity` lies within the reach of the permit.
    pub(crate) fn admits_value(
        &self,
        identity: &Identity,
        value: &Value<'_>,
        permit: &Permit<'_>,
    ) -> Result<bool, Error> {
        self.judge(permit.restriction(), identity, value, Purpose::Written)
    }

    /// Whether a stored version lies within the reach of the permit, as far as its document tells.
    pub(super) fn admits(&self, version: &Version, permit: &Permit<'_>) -> Result<bool, Error> {
        self.shows(version, permit.restriction())
    }

    /// Whether a version that a deletion ended lay within the reach of the permit. What it refers to may be
    /// gone too, so its document alone must tell.
    pub(super) fn admitted(&self, version: &Version, permit: &Permit<'_>) -> Result<bool, Error> {
        self.judge_version(version, permit.restriction(), Purpose::Written)
    }

    /// Whether nothing in a document speaks against its being shown under a restriction.
    ///
    /// # Errors
    /// [`Error::Internal`] when what is stored is no JSON.
    pub fn shows(&self, version: &Version, restriction: &Restriction) -> Result<bool, Error> {
        self.judge_version(version, restriction, Purpose::Shown)
    }

    /// Whether a version is withheld that a restriction shows in part: told by the whole, before anything is
    /// taken out of it.
    pub(crate) fn keeps_back(
        &self,
        version: &Version,
        restriction: &Restriction,
    ) -> Result<bool, Error> {
        let withholds = restriction.limits().is_some_and(|limits| !limits.withheld.is_empty());
        if !withholds || version.is_deleted() {
            return Ok(false);
        }
        let text = version.to_json();
        let value = json::parse(&text).map_err(Error::internal)?;
        self.subject(&version.identity, &value, |subject| restriction.keeps_back(subject))
    }

    /// The same of what is to be stored.
    pub(crate) fn keeps_back_value(
        &self,
        identity: &Identity,
        value: &Value<'_>,
        restriction: &Restriction,
    ) -> Result<bool, Error> {
        self.subject(identity, value, |subject| restriction.keeps_back(subject))
    }

    fn judge_version(
        &self,
        version: &Version,
        restriction: &Restriction,
        purpose: Purpose,
    ) -> Result<bool, Error> {
        if restriction.limits().is_none() {
            return Ok(true);
        }
        // A deletion has no document that could speak for it.
        if version.is_deleted() {
            return Ok(false);
        }
        if let Some(seen) = restriction.glimpse(version, &self.parameters()?.extractor) {
            return self.judge(restriction, &version.identity, &seen, purpose);
        }
        let text = version.to_json();
        let value = json::parse(&text).map_err(Error::internal)?;
        self.judge(restriction, &version.identity, &value, purpose)
    }

    fn judge(
        &self,
        restriction: &Restriction,
        identity: &Identity,
        value: &Value<'_>,
        purpose: Purpose,
    ) -> Result<bool, Error> {
        if restriction.limits().is_none() {
            return Ok(true);
        }
        self.subject(identity, value, |subject| restriction.admits(subject, purpose))
    }

    /// What `judge` says of a document.
    fn subject(
        &self,
        identity: &Identity,
        value: &Value<'_>,
        judge: impl FnOnce(&Subject<'_>) -> bool,
    ) -> Result<bool, Error> {
        let parameters = self.parameters()?;
        let extractor = &parameters.extractor;
        let hasher = self.hasher();
        let hash = |id: &LogicalId| hasher.patient(id);
        let found =
            extractor.spec().patient_compartment(identity.resource_type, value, extractor.base());
        let patients: Vec<i64> = found.iter().map(hash).collect();
        Ok(judge(&Subject { identity, value, patients: &patients, hash: &hash, extractor }))
    }
}
