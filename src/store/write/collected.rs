//! What must not be collected of patients, where other resources tell whose it is.
//!
//! Those may be stored by the same unit, before it or after it, so it is told when all of it is staged.
//!
//! Spec: R4 Consent (`collect` of <http://terminology.hl7.org/CodeSystem/consentaction>)

use crate::access::consent::Act;
use crate::access::restriction::Limits;
use crate::access::{Permit, Restriction};
use crate::error::Error;
use crate::fhir::reference::Target;
use crate::fhir::{ResourceType, Version, json};
use crate::store::connection::Reader;
use crate::store::policy::Made;

use super::{Staged, WriteTx};

/// What is asked of, and whose is what comes into being meanwhile.
#[derive(Debug, Default)]
pub(super) struct Collected {
    asked: Vec<Asked>,
    made: Made,
}

/// A version that may be more of a patient.
#[derive(Debug)]
struct Asked {
    version: Version,
    /// The live one before it: what was there already is corrected.
    before: Option<Version>,
    kept: Restriction,
}

impl WriteTx {
    /// Remembers a version, if patients deny whoever writes it that something is collected.
    pub(super) fn note_collected(
        &mut self,
        staged: &Staged,
        permit: &Permit<'_>,
    ) -> Result<(), Error> {
        if !permit.is_kept_from(Act::Collect) {
            return Ok(());
        }
        let patients = self.patients_made(staged)?;
        let collected = self.collected.get_or_insert_default();
        collected.made.insert(staged.identity.clone(), patients);
        let kept = permit.kept_from(Act::Collect)?;
        let is_told_by_others = kept.limits().and_then(Limits::told_by_others).is_some();
        if staged.body.is_none() || !is_told_by_others {
            return Ok(());
        }
        let version = Version {
            identity: staged.identity.clone(),
            version: staged.version,
            last_updated: staged.last_updated,
            operation: staged.operation,
            is_relabeled: false,
            meta: staged.meta.clone(),
            body: staged.body.clone(),
        };
        let before = staged.prior.as_ref().map(|prior| prior.version.clone());
        let before = before.filter(|before| !before.is_deleted());
        collected.asked.push(Asked { version, before, kept });
        Ok(())
    }

    /// Whose a version is that may be named: of a Device, which is in no compartment, an element tells.
    fn patients_made(&self, staged: &Staged) -> Result<Vec<i64>, Error> {
        let mut patients = staged.patients.clone();
        let is_device = staged.identity.resource_type == ResourceType::DEVICE;
        if let Some(body) = staged.body.as_deref().filter(|_| is_device) {
            let value = json::parse(body).map_err(Error::internal)?;
            let text = value.get("patient").and_then(|patient| patient.str_at("reference"));
            let parameters = self.store().parameters()?;
            let target = text.map(|text| Target::parse(text, parameters.extractor.base()));
            if let Some(Target::Local { resource_type: ResourceType::PATIENT, id, .. }) = target {
                patients.push(self.store().hasher().patient(&id));
            }
        }
        Ok(patients)
    }

    /// Refuses what must not be collected.
    pub(super) async fn check_collected(&self, collected: Collected) -> Result<(), Error> {
        let Collected { asked, made } = collected;
        for Asked { version, before, kept } in asked {
            if !self.is_denied(&version, &kept, &made).await? {
                continue;
            }
            let was_kept = match &before {
                Some(before) => self.is_denied(before, &kept, &made).await?,
                None => false,
            };
            if !was_kept {
                return Err(Error::Forbidden);
            }
        }
        Ok(())
    }

    async fn is_denied(
        &self,
        version: &Version,
        kept: &Restriction,
        made: &Made,
    ) -> Result<bool, Error> {
        let (store, asked) = (self.store(), [(version, kept)]);
        let whose = if let Some(connection) = self.connection() {
            store.whose(Reader::Transaction(connection), &asked, made).await?
        } else {
            let pipeline = store.0.readers.pipeline().await?;
            store.whose(Reader::Shared(&pipeline), &asked, made).await?
        };
        store.keeps_back_about(version, kept, &whose.concat())
    }
}
