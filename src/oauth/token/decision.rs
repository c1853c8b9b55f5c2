//! What consents came down to for a token, on record.
//!
//! The consents in force are asked whenever a token is looked up. What came of it is put on record the
//! first time that this node looks up the token, and when it is another than the time before.
//!
//! Spec: security S10; BALP, AuthZconsent

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::access::consent::Asker;
use crate::access::interaction::Kind;
use crate::access::{Caller, Disclosed, Principal, RequestContext};
use crate::error::Error;
use crate::fhir::LogicalId;
use crate::oauth::Authority;

/// Most decisions that are remembered.
const MAX_DECISIONS: usize = 200_000;
/// Most rows that are put on record by one statement.
const MAX_ROWS: usize = 500;
const DENIED: &str = "consents deny the user a part, or all of it";

/// The last decision for each token and patient, as a number that is another for another decision.
#[derive(Debug, Default)]
pub struct Decisions(Mutex<HashMap<(Uuid, i64), u64>>);

impl Decisions {
    /// Whether a decision is not the one before.
    fn is_new(&self, about: (Uuid, i64), decision: u64) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_DECISIONS {
            known.clear();
        }
        known.insert(about, decision) != Some(decision)
    }

    /// What could not be put on record is new the next time.
    fn forget(&self, token: Uuid, patients: &[i64]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for patient in patients {
            known.remove(&(token, *patient));
        }
    }
}

/// What consents of a patient came down to.
struct Decision {
    patient: i64,
    consents: Vec<String>,
    is_denied: bool,
}

impl Authority {
    /// Puts on record what consents came down to for a party: of the patient in context; without one, of all who
    /// deny it something, and of those who deny to others what they do not deny to it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be: then there is no party.
    pub(in crate::oauth) async fn record_decision(&self, party: &Principal) -> Result<(), Error> {
        let Some(grant) = party.grant().filter(|grant| !grant.is_emergency) else { return Ok(()) };
        let mut denied = party.denied();
        let mut organizations = None;
        let patients: Vec<i64> = match &grant.patient {
            Some((_, patient)) => vec![*patient],
            None if self.store.has_consents() => {
                let own = self.organizations_of(party).await?;
                let user = grant.user.as_ref().and_then(|user| user.fhir_user.as_ref());
                let purpose = grant.purpose.as_deref();
                let asker = Asker { user, organizations: &own, purpose };
                let permitted = self.store.permitted(&asker, self.clock.now());
                organizations = Some(own);
                denied.union(&permitted).copied().collect()
            }
            None => return Ok(()),
        };
        if patients.is_empty() {
            return Ok(());
        }
        denied.retain(|patient| patients.binary_search(patient).is_ok());
        let consents = self.store.consents_of(&patients).await?;
        let decided = consents.into_iter().map(|(patient, consents)| {
            let is_denied = denied.contains(&patient);
            Decision { patient, consents, is_denied }
        });
        let decided: Vec<Decision> = decided
            .filter(|it| {
                let mut decision = DefaultHasher::new();
                (it.is_denied, &it.consents).hash(&mut decision);
                self.tokens.decisions.is_new((grant.token, it.patient), decision.finish())
            })
            .collect();
        if decided.is_empty() {
            return Ok(());
        }
        let patients: Vec<i64> = decided.iter().map(|it| it.patient).collect();
        let told = async {
            let organizations = match organizations {
                Some(known) => known,
                None => self.organizations_of(party).await?,
            };
            self.tell_decisions(party, &organizations, decided).await
        };
        let told = told.await;
        if told.is_err() {
            self.tokens.decisions.forget(grant.token, &patients);
        }
        told
    }

    async fn organizations_of(&self, party: &Principal) -> Result<Vec<LogicalId>, Error> {
        let user = party.grant().and_then(|grant| grant.user.as_ref());
        match user.and_then(|user| user.fhir_user.as_ref()) {
            Some(who) => self.store.organizations(who, self.clock.now()).await,
            None => Ok(Vec::new()),
        }
    }

    /// A row for each patient, so that the event of one names nothing of another.
    async fn tell_decisions(
        &self,
        party: &Principal,
        organizations: &[LogicalId],
        decided: Vec<Decision>,
    ) -> Result<(), Error> {
        let request = RequestContext {
            id: String::new(),
            method: "OTHER",
            path_and_query: "token".to_owned(),
            source: None,
        };
        let caller = Caller { principal: party.clone(), request: Arc::new(request) };
        let told = decided.into_iter().map(|Decision { patient, consents, is_denied }| {
            let consents = consents.into_iter().map(|id| format!("Consent/{id}"));
            let organizations = organizations.iter().map(|id| format!("Organization/{id}"));
            let entities = consents.chain(organizations).collect();
            let disclosed = Disclosed { patients: vec![patient], entities, ..Disclosed::default() };
            (disclosed, is_denied.then_some(DENIED))
        });
        let mut told: Vec<_> = told.collect();
        while !told.is_empty() {
            let rest = told.split_off(told.len().min(MAX_ROWS));
            let rows = std::mem::replace(&mut told, rest);
            self.gate.note_each(Kind::ConsentDecision, &caller, rows).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_new_once() {
        let (decisions, token) = (Decisions::default(), Uuid::from_u128(1));
        let told: Vec<bool> =
            [7, 7, 8, 8, 7].into_iter().map(|it| decisions.is_new((token, 1), it)).collect();
        assert_eq!(told, [true, false, true, false, true]);
        assert!(decisions.is_new((Uuid::from_u128(2), 1), 7) && decisions.is_new((token, 2), 7));
        decisions.forget(token, &[1]);
        assert!(decisions.is_new((token, 1), 7), "it could not be put on record");
        assert!(!decisions.is_new((token, 2), 7));
    }
}
