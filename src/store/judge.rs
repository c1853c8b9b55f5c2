//! Versions held against a permit by their documents, where SQL does not tell.

use std::sync::Arc;

use crate::access::interaction::Kind;
use crate::access::judge::{Glimpse, Purpose, Subject};
use crate::access::{Caller, Permit, Restriction};
use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::{Identity, LogicalId, ResourceType, Version};
use crate::search::request::Filter;

use super::connection::Reader;
use super::policy::Made;
use super::{Parameters, Store};

/// A version of which nobody was asked whose is what it names.
const ALONE: &[i64] = &[];

impl Store {
    /// Whether what is to be stored under `identity` lies within the reach of the permit.
    pub(crate) fn admits_value(
        &self,
        identity: &Identity,
        value: &Value<'_>,
        permit: &Permit<'_>,
    ) -> Result<bool, Error> {
        self.judge(permit.restriction(), (identity, ALONE), value, Purpose::Written)
    }

    /// Whether a stored version lies within the reach of the permit, as far as its document tells, and of what
    /// patients deny what it names.
    pub(super) async fn admits(
        &self,
        reader: Reader<'_>,
        version: &Version,
        permit: &Permit<'_>,
    ) -> Result<bool, Error> {
        let about = self.about(reader, version, permit.restriction()).await?;
        self.shows_about(version, permit.restriction(), &about)
    }

    /// Whether a version that a deletion ended lay within the reach of the permit. What it refers to may be
    /// gone too, so its document alone must tell, but for what patients deny.
    pub(super) async fn admitted(
        &self,
        reader: Reader<'_>,
        version: &Version,
        permit: &Permit<'_>,
    ) -> Result<bool, Error> {
        let about = self.about(reader, version, permit.restriction()).await?;
        self.judge_version(version, permit.restriction(), (&about, Purpose::Written))
    }

    /// Whether a version is withheld by a restriction, asking whose is what it names.
    pub(super) async fn withholds(
        &self,
        reader: Reader<'_>,
        version: &Version,
        restriction: &Restriction,
    ) -> Result<bool, Error> {
        let about = self.about(reader, version, restriction).await?;
        self.keeps_back_about(version, restriction, &about)
    }

    /// The patients of what a version names, as far as a restriction asks for them.
    async fn about(
        &self,
        reader: Reader<'_>,
        version: &Version,
        restriction: &Restriction,
    ) -> Result<Vec<i64>, Error> {
        let whose = self.whose(reader, &[(version, restriction)], &Made::new()).await?;
        Ok(whose.concat())
    }

    /// Whether nothing in a document speaks against its being shown under a restriction.
    ///
    /// # Errors
    /// [`Error::Internal`] when what is stored is no JSON.
    pub fn shows(&self, version: &Version, restriction: &Restriction) -> Result<bool, Error> {
        self.shows_about(version, restriction, ALONE)
    }

    /// What judges the versions of an answer to `caller` by their documents.
    ///
    /// # Errors
    /// [`Error::Internal`] while the definitions cannot be read.
    pub fn tripwire<'s>(&'s self, kind: Kind, caller: &'s Caller) -> Result<Tripwire<'s>, Error> {
        let parameters = self.parameters()?;
        Ok(Tripwire { store: self, parameters, kind, caller, known: Vec::new() })
    }

    /// The same where it is known whose is what the document names.
    pub(super) fn shows_about(
        &self,
        version: &Version,
        restriction: &Restriction,
        about: &[i64],
    ) -> Result<bool, Error> {
        self.judge_version(version, restriction, (about, Purpose::Shown))
    }

    /// Whether a version is withheld that a restriction shows in part: told by the whole, before anything is
    /// taken out of it.
    pub(crate) fn keeps_back(
        &self,
        version: &Version,
        restriction: &Restriction,
    ) -> Result<bool, Error> {
        self.keeps_back_about(version, restriction, ALONE)
    }

    /// The same where it is known whose is what the document names.
    pub(super) fn keeps_back_about(
        &self,
        version: &Version,
        restriction: &Restriction,
        about: &[i64],
    ) -> Result<bool, Error> {
        let withholds = restriction.limits().is_some_and(|limits| !limits.withheld.is_empty());
        if !withholds || version.is_deleted() {
            return Ok(false);
        }
        let text = version.to_json();
        let value = json::parse(&text).map_err(Error::internal)?;
        let which = (&version.identity, about);
        self.subject(which, &value, |subject| restriction.keeps_back(subject))
    }

    /// The same of what is to be stored.
    pub(crate) fn keeps_back_value(
        &self,
        identity: &Identity,
        value: &Value<'_>,
        restriction: &Restriction,
    ) -> Result<bool, Error> {
        self.subject((identity, ALONE), value, |subject| restriction.keeps_back(subject))
    }

    /// Whether filters hold for a version; `None` where its document alone does not tell.
    pub(super) fn fulfils(
        &self,
        version: &Version,
        filters: &[Filter],
    ) -> Result<Option<bool>, Error> {
        if version.is_deleted() {
            return Ok(Some(false));
        }
        let text = version.to_json();
        let value = json::parse(&text).map_err(Error::internal)?;
        self.subject((&version.identity, ALONE), &value, |subject| subject.fulfils(filters))
    }

    fn judge_version(
        &self,
        version: &Version,
        restriction: &Restriction,
        (about, purpose): (&[i64], Purpose),
    ) -> Result<bool, Error> {
        let glimpse =
            restriction.glimpse(version.identity.resource_type, &self.parameters()?.extractor);
        self.judge_by(version, (restriction, &glimpse), (about, purpose))
    }

    fn judge_by(
        &self,
        version: &Version,
        (restriction, glimpse): (&Restriction, &Glimpse),
        (about, purpose): (&[i64], Purpose),
    ) -> Result<bool, Error> {
        if restriction.limits().is_none() {
            return Ok(true);
        }
        let which = (&version.identity, about);
        // A deletion has no document that could speak for it.
        if version.is_deleted() {
            return Ok(false);
        }
        if let Some(seen) = glimpse.of(version) {
            return self.judge(restriction, which, &seen, purpose);
        }
        let text = version.to_json();
        let value = json::parse(&text).map_err(Error::internal)?;
        self.judge(restriction, which, &value, purpose)
    }

    fn judge(
        &self,
        restriction: &Restriction,
        which: (&Identity, &[i64]),
        value: &Value<'_>,
        purpose: Purpose,
    ) -> Result<bool, Error> {
        if restriction.limits().is_none() {
            return Ok(true);
        }
        self.subject(which, value, |subject| restriction.admits(subject, purpose))
    }

    /// What `judge` says of a document, and of whose what it names is.
    fn subject<T>(
        &self,
        (identity, about): (&Identity, &[i64]),
        value: &Value<'_>,
        judge: impl FnOnce(&Subject<'_>) -> T,
    ) -> Result<T, Error> {
        let parameters = self.parameters()?;
        let extractor = &parameters.extractor;
        let hasher = self.hasher();
        let hash = |id: &LogicalId| hasher.patient(id);
        let found =
            extractor.spec().patient_compartment(identity.resource_type, value, extractor.base());
        let patients: Vec<i64> = found.iter().map(hash).collect();
        let patients = &*patients;
        Ok(judge(&Subject { identity, value, patients, about, hash: &hash, extractor }))
    }
}

/// Judges the versions of one answer. What decides is found out once for each type.
pub struct Tripwire<'s> {
    store: &'s Store,
    parameters: Arc<Parameters>,
    kind: Kind,
    caller: &'s Caller,
    /// What is reached of each type, if anything is, and what decides that.
    known: Vec<(ResourceType, Option<(Restriction, Glimpse)>)>,
}

impl Tripwire<'_> {
    /// Whether nothing in a version speaks against showing it.
    ///
    /// # Errors
    /// [`Error::Internal`] when what is stored is no JSON.
    pub fn lets_by(&mut self, version: &Version) -> Result<bool, Error> {
        let of = version.identity.resource_type;
        let at = match self.known.iter().position(|(known, _)| *known == of) {
            Some(at) => at,
            None => self.look(of),
        };
        let Some((restriction, glimpse)) = &self.known[at].1 else { return Ok(false) };
        self.store.judge_by(version, (restriction, glimpse), (ALONE, Purpose::Shown))
    }

    /// The place of what is known of a type from now on.
    fn look(&mut self, of: ResourceType) -> usize {
        let reach = self.caller.principal.reach(self.kind.of(of));
        let reach = reach.map(|restriction| {
            let glimpse = restriction.glimpse(of, &self.parameters.extractor);
            (restriction, glimpse)
        });
        self.known.push((of, reach));
        self.known.len() - 1
    }
}
