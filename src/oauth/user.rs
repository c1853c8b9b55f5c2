//! What a token stands for at this moment: its grant, its user as the account is now, and the patient as long as
//! that user would be offered the patient.
//!
//! Spec: security R6, E2, L12

use std::sync::Arc;

use crate::access::consent::{Asker, Denial};
use crate::access::grant::{AppState, Grant, Panels, User};
use crate::access::scope::{Context, Special};
use crate::error::Error;
use crate::fhir::LogicalId;
use crate::store::oauth::account::{self, Account};
use crate::store::oauth::client;
use crate::store::oauth::token::Token;

use super::Authority;
use super::discovery;
use super::login::emergency;
use super::person::fhir_user;

impl Authority {
    /// What a token stands for; `None` when it stands for nobody any more, or for a patient whom its user has no
    /// more.
    pub(super) async fn grant_of(&self, token: &Token) -> Result<Option<Grant>, Error> {
        let grant = &token.granted.grant;
        let Some(account) = self.user_of(token).await? else { return Ok(None) };
        let (who, now) = (account.as_ref().and_then(fhir_user), self.clock.now());
        let (panels, organizations) = match &who {
            Some(who) => {
                (self.store.panels(who, now).await?, self.store.organizations(who, now).await?)
            }
            None => (Panels::default(), Vec::new()),
        };
        let of_roles = || self.persons.roles.purpose(&account.as_ref()?.roles);
        let purpose = grant.purpose.clone().or_else(|| of_roles().map(str::to_owned));
        let asker = Asker {
            user: who.as_ref(),
            organizations: &organizations,
            purpose: purpose.as_deref(),
        };
        let denials = self.denials(&asker).await?;
        let user = account.map(|account| User {
            account: account.id,
            name: account.name,
            fhir_user: who,
            roles: account.roles,
            panels,
        });
        let patient = match grant.patient.as_deref().map(str::parse::<LogicalId>) {
            None => None,
            Some(Ok(id)) => Some((id.clone(), self.store.hasher().patient(&id))),
            // A patient that is none must not become the absence of one.
            Some(Err(_)) => return Ok(None),
        };
        if let (Some(user), Some((_, hash))) = (&user, &patient)
            && self.patient_at_stake(token).is_some()
            && !self.persons.roles.offer(user, *hash)
        {
            return Ok(None);
        }
        let survivor = match &patient {
            Some((id, _)) => self.store.survivor(id).await?,
            None => None,
        };
        let scopes = self.persons.roles.scopes(&token.scopes);
        let is_fhir_user_readable = scopes.has(Special::OpenId) && scopes.has(Special::FhirUser);
        Ok(Some(Grant {
            token: token.id,
            token_name: None,
            client: grant.client.clone(),
            user,
            scopes,
            patient,
            survivor,
            is_emergency: grant.purpose.as_deref().is_some_and(emergency::is_purpose),
            purpose,
            reason: grant.reason.clone(),
            is_fhir_user_readable,
            denials,
            state: self.app_state(&grant.client).await?,
        }))
    }

    /// By codes of which systems apps keep state, as a client of this id sees it.
    pub(super) async fn app_state(&self, client: &str) -> Result<AppState, Error> {
        let all = client::state_systems(&self.store).await?;
        // Where apps keep none, what is there of it is for none of them.
        let is_kept = self.settings.offers(discovery::APP_STATE);
        let (own, others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(id, _)| is_kept && id == client);
        let systems = |all: Vec<(String, String)>| {
            all.into_iter().map(|(_, system)| system.into_boxed_str()).collect()
        };
        Ok(AppState { own: systems(own), others: systems(others) })
    }

    /// What patients deny to somebody, as far as it counts here.
    pub(super) async fn denials(&self, asker: &Asker<'_>) -> Result<Arc<[Denial]>, Error> {
        let denials = self.store.denials(asker, self.clock.now()).await?;
        if !self.settings.heeds_bans && denials.iter().any(|denial| denial.is_binding) {
            return Ok(denials.iter().filter(|denial| !denial.is_binding).cloned().collect());
        }
        Ok(denials)
    }

    /// Whether the user of a token, if it has one, may still do something by it.
    pub(super) async fn has_active_user(&self, token: &Token) -> Result<bool, Error> {
        match self.user_of(token).await? {
            Some(Some(account)) => self.has_patient(token, &account).await,
            Some(None) => Ok(true),
            None => Ok(false),
        }
    }

    /// Whether the patient of a token's scopes, if they are of one, is one that its user would be offered now.
    pub(super) async fn has_patient(
        &self,
        token: &Token,
        account: &Account,
    ) -> Result<bool, Error> {
        match self.patient_at_stake(token) {
            Some(patient) => self.may_choose(account, patient).await,
            None => Ok(true),
        }
    }

    /// The patient whom the scopes of a token reach, where the user has to have that patient: whoever broke the
    /// glass need not.
    fn patient_at_stake<'t>(&self, token: &'t Token) -> Option<&'t str> {
        let grant = &token.granted.grant;
        let is_emergency = grant.purpose.as_deref().is_some_and(emergency::is_purpose);
        let is_of_patient = self.persons.roles.scopes(&token.scopes).has_context(Context::Patient);
        grant.patient.as_deref().filter(|_| is_of_patient && !is_emergency)
    }

    /// Whether an account may have a patient in the context of an app: as our pages would offer it now.
    pub(super) async fn may_choose(&self, account: &Account, patient: &str) -> Result<bool, Error> {
        let Ok(id) = patient.parse::<LogicalId>() else { return Ok(false) };
        let fhir_user = fhir_user(account);
        let panels = match &fhir_user {
            Some(who) => self.store.panels(who, self.clock.now()).await?,
            None => Panels::default(),
        };
        let user = User {
            account: account.id,
            name: account.name.clone(),
            fhir_user,
            roles: account.roles.clone(),
            panels,
        };
        Ok(self.persons.roles.offer(&user, self.store.hasher().patient(&id)))
    }

    /// The account of a token that has one; `None` when it is there no more, or disabled.
    pub(super) async fn user_of(&self, token: &Token) -> Result<Option<Option<Account>>, Error> {
        let Some(id) = token.granted.grant.account else { return Ok(Some(None)) };
        let found = account::by_id(&self.store, id).await?;
        Ok(found.filter(|account| !account.is_disabled).map(Some))
    }
}
