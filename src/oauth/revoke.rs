//! A client gives a token back.
//!
//! Spec: RFC 7009, security R4

use std::sync::Arc;

use crate::access::interaction::Kind;
use crate::access::{Outcome, RequestContext};
use crate::store::oauth::client::Client;
use crate::store::oauth::grant;
use crate::store::oauth::token::{self, TokenKind};

use super::Authority;
use super::client::Basic;
use super::form::Form;
use super::refusal::Refusal;
use super::secret;
use super::token::{Asked, actor};

impl Authority {
    /// Takes back a token of the client that asks; with a refresh token everything of its grant.
    pub async fn revoke(
        &self,
        form: &Form,
        basic: Option<&Basic>,
        request: &Arc<RequestContext>,
    ) -> Asked<()> {
        let client = match self.known_client(form, basic).await {
            Ok(client) => client,
            Err(refusal) => {
                let result = self.noted_revocation(None, Err(refusal), request).await;
                return Asked { client: None, result };
            }
        };
        let revoked = self.revoked(&client, form).await;
        let result = self.noted_revocation(Some(&client), revoked, request).await;
        Asked { client: Some(client), result }
    }

    /// Says what was taken back, for the ledger.
    async fn revoked(&self, client: &Client, form: &Form) -> Result<String, Refusal> {
        let hash = secret::hash(form.need("token")?);
        let found = token::find(&self.store, &hash).await?;
        let nothing = || "a token that the client does not have".to_owned();
        let Some(token) = found.filter(|it| it.granted.grant.client == client.id) else {
            return Ok(nothing());
        };
        let (grant, now) = (token.granted.grant.id, self.clock.now());
        match token.kind {
            TokenKind::Access => {
                token::revoke(&self.store, &hash, now).await?;
            }
            TokenKind::Refresh => {
                grant::end_grant(&self.store, grant, "the client gave it back", now).await?;
            }
        }
        self.tokens.forget_grant(grant);
        Ok(format!("grant {grant} token {}", token.id))
    }

    async fn noted_revocation(
        &self,
        client: Option<&Client>,
        done: Result<String, Refusal>,
        request: &Arc<RequestContext>,
    ) -> Result<(), Refusal> {
        let by = actor(client, request);
        match done {
            Ok(about) => Ok(self.gate.note(Kind::Revoke, &by, Outcome::Success, &about).await?),
            Err(refusal @ Refusal::Fault(_)) => Err(refusal),
            Err(Refusal::TooMany) => Err(self.held_off(Kind::Revoke, &by).await),
            Err(refusal) => {
                self.gate.note(Kind::Revoke, &by, Outcome::Refused, &refusal.told()).await?;
                Err(refusal)
            }
        }
    }
}
