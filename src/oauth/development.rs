//! Tokens for trying things out, made at the command line.

use std::time::Duration;

use secrecy::SecretString;

use crate::access::interaction::Kind;
use crate::access::scope::Context;
use crate::access::{Caller, Outcome};
use crate::fhir::{Instant, LogicalId};
use crate::store::oauth::client::{self, AppType, Client, ClientKind};
use crate::store::oauth::grant::{self, NewGrant};
use crate::store::oauth::token::{NewToken, TokenKind};

use super::Authority;
use super::flow::NOT_THEIRS;
use super::login::Account;
use super::refusal::Refusal;
use super::secret::{self, Fresh};

/// The client of such tokens. It has no secret, so nobody can be it.
const CLIENT: &str = "kiln-development";

/// What a token is to grant.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Its scopes.
    pub scopes: &'a str,
    /// The patient in context.
    pub patient: Option<&'a LogicalId>,
    /// The user.
    pub account: Option<&'a Account>,
    /// Why, where it opens everything of everybody to the user.
    pub reason: Option<&'a str>,
    /// How long it counts.
    pub lifetime: Duration,
}

impl Authority {
    /// Makes an access token that no client asked for.
    ///
    /// # Errors
    /// `invalid_scope` when the scopes need a patient or a user that is not there, or a patient that the user does
    /// not have.
    pub async fn development_token(
        &self,
        wanted: Wanted<'_>,
        by: &Caller,
    ) -> Result<SecretString, Refusal> {
        let scopes = self.persons.roles.scopes(wanted.scopes);
        if scopes.has_context(Context::Patient) && wanted.patient.is_none() {
            return Err(Refusal::scope("patient/ scopes need a patient"));
        }
        if scopes.has_context(Context::User) && wanted.account.is_none() {
            return Err(Refusal::scope("user/ scopes need a user"));
        }
        if let (Some(patient), Some(account)) = (wanted.patient, wanted.account)
            && scopes.has_context(Context::Patient)
            && !self.may_choose(account, patient.as_str()).await?
        {
            return Err(Refusal::scope(NOT_THEIRS));
        }
        let is_open = |account: &Account| self.needs_reason(account, &scopes);
        let reason = wanted.reason.filter(|it| !it.trim().is_empty());
        if reason.is_none() && wanted.account.is_some_and(is_open) {
            let text = "everything of everybody is open to this user: a reason is needed";
            return Err(Refusal::scope(text));
        }
        let now = self.clock.now();
        client::insert(&self.store, &development(now)).await?;
        let grant = NewGrant {
            id: self.ids.ordered(),
            client: CLIENT.to_owned(),
            account: wanted.account.map(|account| account.id),
            scopes: scopes.to_string(),
            patient: wanted.patient.map(ToString::to_string),
            encounter: None,
            context: None,
            fhir_user: wanted.account.and_then(|account| account.fhir_user.clone()),
            is_offline: false,
            session: None,
            auth_time: None,
            nonce: None,
            purpose: None,
            reason: reason.map(str::to_owned),
            created: now,
        };
        let fresh = Fresh::new(secret::ACCESS, &*self.ids);
        let token = NewToken {
            hash: fresh.hash,
            id: self.ids.ordered(),
            kind: TokenKind::Access,
            scopes: grant.scopes.clone(),
            expires: now.plus_millis(wanted.lifetime.as_millis() as i64),
        };
        let why = reason.map(|it| format!("; reason: {it}")).unwrap_or_default();
        let about = format!("grant {} token {}{why}", grant.id, token.id);
        self.gate.note_by(Kind::Token, by, Outcome::Success, &about).await?;
        grant::issue_tokens(&self.store, &grant, &[token]).await?;
        Ok(fresh.text)
    }
}

/// The client that such tokens are of.
fn development(now: Instant) -> Client {
    Client {
        id: CLIENT.to_owned(),
        kind: ClientKind::Secret,
        app_type: AppType::Backend,
        name: "Development".to_owned(),
        logo_uri: None,
        redirect_uris: Vec::new(),
        origins: Vec::new(),
        launch_uri: None,
        scopes: String::new(),
        jwks: None,
        jwks_uri: None,
        secrets: "[]".to_owned(),
        created: now,
        disabled_at: None,
        is_registered: false,
        state_systems: Vec::new(),
        purpose: None,
    }
}
