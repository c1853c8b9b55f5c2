//! Clients that registered themselves see, change and end their registration.
//!
//! A client shows what it was told when it registered (`registration_access_token`). Whoever shows
//! anything else hears the same, whether there is such a client or not. What is changed is judged as
//! what is registered; how the client proves itself stays as it is, and what was granted under other
//! scopes ends.
//!
//! Spec: RFC 7592, security R7

use serde_json::{Map, Value};

use crate::oauth::Authority;
use crate::oauth::refusal::{Code, Refusal};
use crate::oauth::secret;
use crate::store::oauth::client::{self, Client};
use crate::store::oauth::grant;

use super::check;
use super::register::{TOLD, metadata, text};
use super::secrets::knows;

impl Authority {
    /// The client that manages its registration by `token`.
    ///
    /// # Errors
    /// `invalid_token` when that is not its own; so in all functions of this module.
    async fn manages<'t>(
        &self,
        id: &str,
        token: Option<&'t str>,
    ) -> Result<(Client, &'t str), Refusal> {
        let wrong =
            || Refusal::new(Code::InvalidToken, "this is not the token of the registration");
        let token = token.ok_or_else(wrong)?;
        let found = client::registered(&self.store, id, &secret::hash(token)).await?;
        Ok((found.ok_or_else(wrong)?, token))
    }

    /// What a client registered.
    pub async fn registration(
        &self,
        id: &str,
        token: Option<&str>,
    ) -> Result<Map<String, Value>, Refusal> {
        let (client, token) = self.manages(id, token).await?;
        Ok(self.told(&client, &Map::new(), None, token))
    }

    /// Replaces what a client registered, as a whole.
    ///
    /// # Errors
    /// Also what is wrong with the client.
    pub async fn change_registration(
        &self,
        id: &str,
        token: Option<&str>,
        asked: &Value,
    ) -> Result<Map<String, Value>, Refusal> {
        let (known, token) = self.manages(id, token).await?;
        let asked = asked.as_object();
        let asked = asked.ok_or_else(|| metadata("the body is no JSON object"))?;
        if text(asked, "client_id")? != Some(known.id.as_str()) {
            return Err(metadata("client_id is that of the registration"));
        }
        if TOLD.iter().any(|name| asked.contains_key(*name)) {
            return Err(metadata("what the server tells of a registration is not sent to it"));
        }
        if let Some(shown) = text(asked, "client_secret")?
            && !knows(&known.secrets, &secret::hash(shown), self.clock.now())
        {
            return Err(metadata("client_secret is not that of the client"));
        }
        let wanted = self.asked_for(asked)?;
        if wanted.kind != known.kind {
            return Err(metadata("token_endpoint_auth_method stays what it was"));
        }
        let has_other_scopes = wanted.scopes != known.scopes;
        let Client { id, secrets, created, .. } = known;
        let changed = Client { id, secrets, created, ..wanted };
        check(&changed)?;
        if !client::update(&self.store, &changed, &secret::hash(token)).await? {
            return Err(Refusal::new(Code::InvalidToken, "the registration has ended"));
        }
        if has_other_scopes {
            let (id, why) = (&changed.id, "the client registered other scopes");
            grant::end_grants_of_client(&self.store, id, why, self.clock.now()).await?;
        }
        Ok(self.told(&changed, asked, None, token))
    }

    /// Ends a registration: the client may do nothing any more.
    pub async fn end_registration(&self, id: &str, token: Option<&str>) -> Result<(), Refusal> {
        let (client, _) = self.manages(id, token).await?;
        client::disable(&self.store, &client.id, self.clock.now()).await?;
        Ok(())
    }
}
