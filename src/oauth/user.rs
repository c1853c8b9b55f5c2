//! What a token stands for at this moment: its grant, and its user as the account is now.
//!
//! Spec: security R6, E2

use std::sync::Arc;

use crate::access::consent::{Asker, Denial};
use crate::access::grant::{AppState, Grant, Panels, User};
use crate::access::scope::Special;
use crate::error::Error;
use crate::fhir::LogicalId;
use crate::store::oauth::account::{self, Account};
use crate::store::oauth::client;
use crate::store::oauth::token::Token;

use super::Authority;
use super::login::emergency;
use super::person::fhir_user;

impl Authority {
    /// What a token stands for; `None` when it stands for nobody any more.
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
            Some(Ok(id)) => {
                let hash = self.store.hasher().patient(&id);
                Some((id, hash))
            }
            // A patient that is none must not become the absence of one.
            Some(Err(_)) => return Ok(None),
        };
        let survivor = match &patient {
            Some((id, _)) => self.store.survivor(id).await?,
            None => None,
        };
        let scopes = self.persons.roles.scopes(&token.scopes);
        let is_fhir_user_readable = scopes.has(Special::OpenId) && scopes.has(Special::FhirUser);
        Ok(Some(Grant {
            token: token.id,
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
        let (own, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(id, _)| id == client);
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

    /// Whether the user of a token, if it has one, may still do something.
    pub(super) async fn has_active_user(&self, token: &Token) -> Result<bool, Error> {
        Ok(self.user_of(token).await?.is_some())
    }

    /// The account of a token that has one; `None` when it is there no more, or disabled.
    pub(super) async fn user_of(&self, token: &Token) -> Result<Option<Option<Account>>, Error> {
        let Some(id) = token.granted.grant.account else { return Ok(Some(None)) };
        let found = account::by_id(&self.store, id).await?;
        Ok(found.filter(|account| !account.is_disabled).map(Some))
    }
}
