//! The token endpoint: grants become tokens.
//!
//! Spec: RFC 6749 sections 4 to 6, SMART App Launch 2.2, security T1 to T10, R1 to R3

mod answer;
mod backend;
mod code;
mod decision;
mod refresh;

use std::sync::Arc;

use uuid::Uuid;

use crate::access::interaction::Kind;
use crate::access::{Actor, Outcome, RequestContext};
use crate::fhir::Instant;
use crate::store::oauth::client::Client;
use crate::store::oauth::token::{NewToken, TokenKind};

use super::Authority;
use super::client::Basic;
use super::form::Form;
use super::refusal::{Code, Refusal};
use super::secret::{self, Fresh};

pub use answer::Answer;
pub(super) use answer::context;
pub use decision::Decisions;
pub(super) use refresh::GRACE;

/// Tokens that were made, and what they are of.
struct Issued {
    answer: Answer,
    grant: Uuid,
    token: Uuid,
}

/// Why there are none; `is_alarm`: somebody may have stolen what was shown.
struct Denied {
    refusal: Refusal,
    is_alarm: bool,
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, is_alarm: false }
    }
}

impl From<crate::error::Error> for Denied {
    fn from(error: crate::error::Error) -> Self {
        Refusal::from(error).into()
    }
}

impl Denied {
    fn alarm(refusal: Refusal) -> Self {
        Self { refusal, is_alarm: true }
    }
}

/// What is asked for.
#[derive(Clone, Copy)]
enum GrantType {
    AuthorizationCode,
    ClientCredentials,
    RefreshToken,
}

impl GrantType {
    fn of(form: &Form) -> Result<Self, Refusal> {
        match form.need("grant_type")? {
            "authorization_code" => Ok(Self::AuthorizationCode),
            "client_credentials" => Ok(Self::ClientCredentials),
            "refresh_token" => Ok(Self::RefreshToken),
            _ => Err(Refusal::new(Code::UnsupportedGrantType, "grant_type is not known here")),
        }
    }
}

/// What came of a request, and from which client it was, as far as that is known.
pub struct Asked<T> {
    /// The client.
    pub client: Option<Client>,
    /// What came of it.
    pub result: Result<T, Refusal>,
}

impl Authority {
    /// Makes tokens for a client.
    pub async fn token(
        &self,
        form: &Form,
        basic: Option<&Basic>,
        request: &Arc<RequestContext>,
    ) -> Asked<Answer> {
        let known = match GrantType::of(form) {
            Ok(kind) => self.known_client(form, basic).await.map(|client| (kind, client)),
            Err(refusal) => Err(refusal),
        };
        match known {
            Ok((kind, client)) => {
                let issued = self.issue(kind, &client, form).await;
                let result = self.recorded(issued, Some(&client), request).await;
                Asked { client: Some(client), result }
            }
            Err(refusal) => {
                let result = self.recorded(Err(refusal.into()), None, request).await;
                Asked { client: None, result }
            }
        }
    }

    /// The client of a request, which is counted.
    pub(super) async fn known_client(
        &self,
        form: &Form,
        basic: Option<&Basic>,
    ) -> Result<Client, Refusal> {
        let client = self.authenticate(form, basic).await?;
        self.limits.tokens.count(&format!("client:{}", client.id))?;
        Ok(client)
    }

    async fn issue(&self, kind: GrantType, client: &Client, form: &Form) -> Result<Issued, Denied> {
        match kind {
            GrantType::AuthorizationCode => self.exchange_code(client, form).await,
            GrantType::ClientCredentials => self.serve_backend(client, form).await,
            GrantType::RefreshToken => self.refresh(client, form).await,
        }
    }

    /// Puts on record what happened before the client hears of it.
    async fn recorded(
        &self,
        issued: Result<Issued, Denied>,
        client: Option<&Client>,
        request: &Arc<RequestContext>,
    ) -> Result<Answer, Refusal> {
        let actor = actor(client, request);
        match issued {
            Ok(Issued { answer, grant, token }) => {
                let text = format!("grant {grant} token {token}");
                self.gate.note(Kind::Token, &actor, Outcome::Success, &text).await?;
                Ok(answer)
            }
            Err(Denied { refusal: refusal @ Refusal::Fault(_), .. }) => Err(refusal),
            Err(Denied { refusal: Refusal::TooMany, .. }) => {
                Err(self.held_off(Kind::Token, &actor).await)
            }
            Err(Denied { refusal, is_alarm }) => {
                let kind = if is_alarm { Kind::Alert } else { Kind::Token };
                self.gate.note(kind, &actor, Outcome::Refused, &refusal.told()).await?;
                Err(refusal)
            }
        }
    }

    /// A new access token and its row.
    fn new_access(&self, scopes: &str, seconds: u64, now: Instant) -> (Fresh, NewToken) {
        self.new_token(secret::ACCESS, TokenKind::Access, scopes, seconds, now)
    }

    /// A new refresh token and its row.
    fn new_refresh(&self, scopes: &str, now: Instant) -> (Fresh, NewToken) {
        let seconds = self.settings.refresh_token.as_secs();
        self.new_token(secret::REFRESH, TokenKind::Refresh, scopes, seconds, now)
    }

    fn new_token(
        &self,
        prefix: &str,
        kind: TokenKind,
        scopes: &str,
        seconds: u64,
        now: Instant,
    ) -> (Fresh, NewToken) {
        let fresh = Fresh::new(prefix, &*self.ids);
        let expires = now.plus_millis(seconds as i64 * 1000);
        let id = self.ids.ordered();
        let row = NewToken { hash: fresh.hash, id, kind, scopes: scopes.to_owned(), expires };
        (fresh, row)
    }
}

/// How the ledger names a client.
pub fn actor(client: Option<&Client>, request: &Arc<RequestContext>) -> Actor {
    let name = client.map_or("anonymous".to_owned(), |client| format!("client:{}", client.id));
    Actor { name, request: request.clone() }
}
