//! What consents came down to for a token, on record.
//!
//! The consents in force are asked whenever a token is looked up. What came of it is put on record the
//! first time that this node looks up the token, and when it is another than the time before.
//!
//! Spec: security S10; BALP, AuthZconsent

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use crate::access::interaction::Kind;
use crate::access::{Caller, Disclosed, Principal, RequestContext};
use crate::error::Error;
use crate::oauth::Authority;

/// Most tokens whose decisions are remembered.
const MAX_TOKENS: usize = 50_000;
/// Most patients whose consents are named.
const MAX_PATIENTS: usize = 20;

/// The last decision for each token, as a number that is another for another decision.
#[derive(Debug, Default)]
pub struct Decisions(Mutex<HashMap<Uuid, u64>>);

impl Decisions {
    /// Whether a decision is not the one before.
    fn is_new(&self, token: Uuid, decision: u64) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_TOKENS {
            known.clear();
        }
        known.insert(token, decision) != Some(decision)
    }

    /// What could not be put on record is new the next time.
    fn forget(&self, token: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&token);
    }
}

impl Authority {
    /// Puts on record what consents came down to for a party.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be: then there is no party.
    pub(in crate::oauth) async fn record_decision(&self, party: &Principal) -> Result<(), Error> {
        let Some(grant) = party.grant().filter(|grant| !grant.is_emergency) else { return Ok(()) };
        let context = grant.patient.as_ref().map(|(_, hash)| *hash);
        let mut denied = party.denied();
        if let Some(patient) = context {
            denied.retain(|other| *other == patient);
        }
        let patients: BTreeSet<i64> = denied.iter().copied().chain(context).collect();
        let patients: Vec<i64> = patients.into_iter().take(MAX_PATIENTS).collect();
        let mut consents = Vec::new();
        for patient in patients {
            let of = self.store.consents_of(patient).await?;
            consents.extend((!of.is_empty()).then_some((patient, of)));
        }
        if consents.is_empty() {
            return Ok(());
        }
        let mut decision = DefaultHasher::new();
        (&denied, &consents).hash(&mut decision);
        if !self.tokens.decisions.is_new(grant.token, decision.finish()) {
            return Ok(());
        }
        let told = self.tell_decision(party, &denied, consents).await;
        if told.is_err() {
            self.tokens.decisions.forget(grant.token);
        }
        told
    }

    /// A row for each patient, so that the event of one names nothing of another.
    async fn tell_decision(
        &self,
        party: &Principal,
        denied: &BTreeSet<i64>,
        consents: Vec<(i64, Vec<String>)>,
    ) -> Result<(), Error> {
        let user = party.grant().and_then(|grant| grant.user.as_ref());
        let organizations = match user.and_then(|user| user.fhir_user.as_ref()) {
            Some(who) => self.store.organizations(who, self.clock.now()).await?,
            None => Vec::new(),
        };
        let request = RequestContext {
            id: String::new(),
            method: "OTHER",
            path_and_query: "token".to_owned(),
            source: None,
        };
        let caller = Caller { principal: party.clone(), request: Arc::new(request) };
        for (patient, consents) in consents {
            let mut entities: Vec<String> =
                consents.into_iter().map(|id| format!("Consent/{id}")).collect();
            entities.extend(organizations.iter().map(|id| format!("Organization/{id}")));
            let is_denied = denied.contains(&patient);
            let failure = is_denied.then_some("consents deny the user a part, or all of it");
            let disclosed = Disclosed { patients: vec![patient], entities, ..Disclosed::default() };
            self.gate.note_about(Kind::ConsentDecision, &caller, disclosed, failure).await?;
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
            [7, 7, 8, 8, 7].into_iter().map(|it| decisions.is_new(token, it)).collect();
        assert_eq!(told, [true, false, true, false, true]);
        assert!(decisions.is_new(Uuid::from_u128(2), 7));
        decisions.forget(token);
        assert!(decisions.is_new(token, 7), "it could not be put on record");
    }
}
