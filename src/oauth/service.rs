//! What a client may do that goes on with what it asked for when its token has long expired.
//!
//! Spec: security E15

use uuid::Uuid;

use crate::access::Principal;
use crate::access::consent::Asker;
use crate::access::grant::Grant;
use crate::error::Error;
use crate::store::oauth::token::{self, Token};

use super::Authority;

impl Authority {
    /// The principal of a client that acts by itself: with what it was granted by a token, as far as it is
    /// registered for that at this moment, and under the consents of this moment. `None` when it may do
    /// nothing any more: it is disabled or not known, or the token was taken back before it expired.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn service(
        &self,
        client: &str,
        token: Uuid,
        scopes: &str,
    ) -> Result<Option<Principal>, Error> {
        let Some(known) = self.client(client).await? else { return Ok(None) };
        if token::is_revoked(&self.store, token).await? {
            return Ok(None);
        }
        let roles = &self.persons.roles;
        let scopes = roles.scopes(scopes).intersect(&roles.scopes(&known.scopes));
        let state = self.app_state(&known.id).await?;
        let asker = Asker { user: None, organizations: &[], purpose: known.purpose.as_deref() };
        let denials = self.denials(&asker).await?;
        let grant = Grant {
            token,
            token_name: None,
            client: known.id,
            user: None,
            scopes,
            patient: None,
            survivor: None,
            purpose: known.purpose,
            reason: None,
            is_emergency: false,
            is_fhir_user_readable: false,
            denials,
            state,
        };
        self.party(grant).await
    }

    /// The principal of a user's client: with what it was granted by a token, as far as the account may do that at
    /// this moment, and under the consents of this moment. `None` when it may do nothing any more: the client or
    /// the account is disabled, the grant has ended, the token was taken back, or no token of the grant counts
    /// any more, so that the user would have to log in again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn user_service(
        &self,
        grant: Uuid,
        token: Uuid,
        scopes: &str,
    ) -> Result<Option<Principal>, Error> {
        if token::is_revoked(&self.store, token).await? {
            return Ok(None);
        }
        let standing =
            token::standing(&self.store, (grant, token, scopes), self.clock.now()).await?;
        let Some(standing) = standing.filter(Token::is_unrevoked) else { return Ok(None) };
        let Some(grant) = self.grant_of(&standing).await? else { return Ok(None) };
        self.party(grant).await
    }

    /// The party with a grant, once what consents come down to for it is on record. Scopes that need a user or a patient
    /// make nobody.
    async fn party(&self, grant: Grant) -> Result<Option<Principal>, Error> {
        let Ok(party) = Principal::from_grant(grant, &self.persons.roles) else { return Ok(None) };
        self.record_decision(&party).await?;
        Ok(Some(party))
    }
}
