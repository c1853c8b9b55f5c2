//! What a token stands for at this moment: its grant, and its user as the account is now.
//!
//! Spec: security R6, E2

use crate::access::grant::{Grant, Panels, User};
use crate::access::scope::Special;
use crate::error::Error;
use crate::fhir::{LogicalId, ResourceType};
use crate::store::oauth::account::{self, Account};
use crate::store::oauth::token::Token;

use super::Authority;
use super::person::fhir_user;

impl Authority {
    /// What a token stands for; `None` when it stands for nobody any more.
    pub(super) async fn grant_of(&self, token: &Token) -> Result<Option<Grant>, Error> {
        let grant = &token.granted.grant;
        let user = match self.user_of(token).await? {
            None => return Ok(None),
            Some(account) => account.map(|account| self.user(account)),
        };
        let patient = match grant.patient.as_deref().map(str::parse::<LogicalId>) {
            None => None,
            Some(Ok(id)) => {
                let hash = self.store.hasher().patient(&id);
                Some((id, hash))
            }
            // A patient that is none must not become the absence of one.
            Some(Err(_)) => return Ok(None),
        };
        let scopes = self.persons.roles.scopes(&token.scopes);
        let is_fhir_user_readable = scopes.has(Special::OpenId) && scopes.has(Special::FhirUser);
        Ok(Some(Grant {
            token: token.id,
            client: grant.client.clone(),
            user,
            scopes,
            patient,
            purpose: grant.purpose.clone(),
            is_fhir_user_readable,
            denials: [].into(),
        }))
    }

    /// Whether the user of a token, if it has one, may still do something.
    pub(super) async fn has_active_user(&self, token: &Token) -> Result<bool, Error> {
        Ok(self.user_of(token).await?.is_some())
    }

    /// The account of a token that has one; `None` when it is there no more, or disabled.
    async fn user_of(&self, token: &Token) -> Result<Option<Option<Account>>, Error> {
        let Some(id) = token.granted.grant.account else { return Ok(Some(None)) };
        let found = account::by_id(&self.store, id).await?;
        Ok(found.filter(|account| !account.is_disabled).map(Some))
    }

    fn user(&self, account: Account) -> User {
        let fhir_user = fhir_user(&account);
        let own = match &fhir_user {
            Some((ResourceType::PATIENT, id)) => vec![self.store.hasher().patient(id)],
            _ => Vec::new(),
        };
        User {
            account: account.id,
            name: account.name,
            fhir_user,
            roles: account.roles,
            panels: Panels { own, ..Panels::default() },
        }
    }
}
