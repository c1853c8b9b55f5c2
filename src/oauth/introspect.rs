//! What a token is, for who may know.
//!
//! Spec: RFC 7662, SMART App Launch 2.2 Token Introspection, security R5

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::access::interaction::Kind;
use crate::access::scope::Special;
use crate::access::{Outcome, RequestContext};
use crate::fhir::Instant;
use crate::store::oauth::client::{Client, ClientKind};
use crate::store::oauth::token::{self, Token};

use super::Authority;
use super::bearer::Rejected;
use super::client::Basic;
use super::form::Form;
use super::refusal::Refusal;
use super::secret;
use super::token::{Asked, actor};

/// Who asks.
enum Asker {
    Anybody,
    Client(Box<Client>),
    /// Who has a token with the scope for it.
    Service(String),
}

impl Authority {
    /// Says what a token is.
    pub async fn introspect(
        &self,
        form: &Form,
        basic: Option<&Basic>,
        bearer: Option<&str>,
        request: &Arc<RequestContext>,
    ) -> Asked<Map<String, Value>> {
        let asker = self.asker(form, basic, bearer).await;
        let (client, mut by) = match &asker {
            Ok(Asker::Client(client)) => (Some((**client).clone()), actor(Some(client), request)),
            _ => (None, actor(None, request)),
        };
        if let Ok(Asker::Service(client)) = &asker {
            by.name = format!("client:{client}");
        }
        let told = match asker {
            Ok(_) => self.told_of(form, &by.name).await,
            Err(refusal) => Err(refusal),
        };
        let result = match told {
            Ok((told, about)) => {
                let noted = self.gate.note(Kind::Introspect, &by, Outcome::Success, &about).await;
                noted.map(|()| told).map_err(Refusal::from)
            }
            Err(refusal @ Refusal::Fault(_)) => Err(refusal),
            Err(Refusal::TooMany) => Err(self.held_off(Kind::Introspect, &by).await),
            Err(refusal) => {
                let told = refusal.told();
                let noted = self.gate.note(Kind::Introspect, &by, Outcome::Refused, &told).await;
                Err(noted.map_or_else(Refusal::from, |()| refusal))
            }
        };
        Asked { client, result }
    }

    async fn asker(
        &self,
        form: &Form,
        basic: Option<&Basic>,
        bearer: Option<&str>,
    ) -> Result<Asker, Refusal> {
        if let Some(bearer) = bearer {
            let wrong = || Refusal::client("the token does not let its bearer ask");
            let known = self.bearer(bearer).await.map_err(|rejected| match rejected {
                Rejected::Fault(error) => Refusal::Fault(error),
                Rejected::Expired | Rejected::Unknown => wrong(),
            })?;
            let grant = known.principal.grant();
            let may = grant.is_some_and(|grant| grant.scopes.has(Special::Introspect));
            let client = grant.map(|grant| grant.client.clone()).unwrap_or_default();
            return if may { Ok(Asker::Service(client)) } else { Err(wrong()) };
        }
        let names = ["client_id", "client_secret", "client_assertion"];
        let is_client = basic.is_some() || names.iter().any(|name| form.get(name).is_some());
        if !is_client && self.settings.introspection_open {
            return Ok(Asker::Anybody);
        }
        let client = self.authenticate(form, basic).await?;
        if client.kind == ClientKind::Public {
            return Err(Refusal::client("the client cannot prove that it is itself"));
        }
        Ok(Asker::Client(Box::new(client)))
    }

    /// What is told of the token in a form, and how the ledger names it.
    async fn told_of(
        &self,
        form: &Form,
        by: &str,
    ) -> Result<(Map<String, Value>, String), Refusal> {
        self.limits.introspections.count(by)?;
        let shown = form.need("token")?;
        let now = self.clock.now();
        let found = token::find(&self.store, &secret::hash(shown)).await?;
        let live = found.filter(|token| token.is_live(now));
        match live {
            Some(token) if self.has_active_user(&token).await? => {
                Ok((self.active(&token), format!("token {}", token.id)))
            }
            _ => Ok((inactive(), "a token that does not count".to_owned())),
        }
    }

    fn active(&self, token: &Token) -> Map<String, Value> {
        let grant = &token.granted.grant;
        let seconds = |at: Instant| json!(at.as_micros().div_euclid(1_000_000));
        let mut told = super::token::context(grant, self.settings.tenant.as_deref());
        let mut tell = |name: &str, value: Value| told.insert(name.to_owned(), value);
        tell("active", json!(true));
        tell("scope", json!(token.scopes));
        tell("client_id", json!(grant.client));
        tell("token_type", json!("Bearer"));
        tell("exp", seconds(token.expires));
        tell("iat", seconds(token.created));
        tell("iss", json!(self.settings.issuer));
        tell("aud", json!(self.settings.base));
        tell("jti", json!(token.id));
        let subject = grant.account.map_or_else(|| grant.client.clone(), |it| it.to_string());
        tell("sub", json!(subject));
        let scopes = self.persons.roles.scopes(&token.scopes);
        if let Some(user) = grant.fhir_user.as_ref().filter(|_| scopes.has(Special::FhirUser)) {
            tell("fhirUser", json!(format!("{}/{user}", self.settings.base)));
        }
        told
    }
}

fn inactive() -> Map<String, Value> {
    [("active".to_owned(), json!(false))].into_iter().collect()
}
