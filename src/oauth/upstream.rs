//! Logging in at an outside provider, by OpenID Connect.
//!
//! The provider says who somebody is; which account that is was said by an operator, by issuer and
//! subject alone: a name or an address that a provider tells links nothing. A second factor that an
//! account needs is asked for here all the same. An app that wants a new login, or one that is not too
//! old, gets it at the provider, which has to say when it was.
//!
//! Spec: OpenID Connect Core section 3.1, RFC 7636, RFC 9207; security L19, M7

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant as Watch};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderValue};
use openidconnect::core::{
    CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreIdToken, CoreIdTokenClaims,
    CoreJsonWebKeySet, CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreTokenResponse,
};
use openidconnect::{
    ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    SignatureVerificationError, TokenResponse as _,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use thiserror::Error as ThisError;

use crate::access::Outcome;
use crate::access::interaction::Kind;
use crate::config;
use crate::error::Error;
use crate::fhir::Instant;
use crate::outbound::Outbound;
use crate::store::oauth::account::{self, Account};
use crate::store::oauth::session::{self, Upstream};

use super::authorize::Pending;
use super::login::{Browser, Visitor};
use super::secret::Fresh;
use super::{Authority, login::handle};

/// How long a person has at the provider.
const WAIT_MILLIS: i64 = 10 * 60 * 1_000;
/// How far the clock of a provider may be behind; besides, it tells whole seconds.
const LEEWAY_MILLIS: i64 = 10_000;
/// How long what a provider publishes is kept.
const KEPT: Duration = Duration::from_mins(10);
/// Between two times that its keys are asked for before that, because none of them has signed.
const BETWEEN: Duration = Duration::from_secs(30);
/// Largest document of a provider, in bytes.
const MOST_BYTES: usize = 256 * 1024;
/// Where a provider describes itself.
const WELL_KNOWN: &str = ".well-known/openid-configuration";
/// Signatures that count: those by a key of the provider alone.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 6] = [
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
];

/// An outside provider.
pub struct Provider {
    issuer: String,
    client: ClientId,
    secret: Option<SecretString>,
    /// What the login page calls it.
    pub label: String,
    known: Mutex<Option<(Watch, CoreProviderMetadata)>>,
    /// When it was last asked before its time; held while it is.
    asked_early: tokio::sync::Mutex<Option<Watch>>,
}

/// Why nobody was logged in.
#[derive(Debug, ThisError)]
pub enum NotKnown {
    /// The provider does not answer as it must.
    #[error("the provider did not answer as it must: {0}")]
    Provider(String),
    /// The answer is not one to a question of this browser.
    #[error("the answer is not one to a question of this browser")]
    Foreign,
    /// The provider says no.
    #[error("the provider did not log the user in")]
    Refused,
    /// The account that is linked with whom the provider names may not log in.
    #[error("the account that is linked with this user of the provider is disabled")]
    Disabled(Box<Account>),
    /// The login at the provider is older than the app wants, or nobody knows how old.
    #[error("the provider does not say that the user logged in as late as the app wants")]
    TooOld(Box<Account>),
    /// No account is linked with whom the provider names.
    #[error("no account is linked with this user of the provider")]
    Unlinked,
    /// Something else.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Who came back, and with which request.
pub struct Returned {
    /// The browser, which has a new session.
    pub browser: Browser,
    /// The request for authorization that goes on.
    pub request: Option<String>,
}

type Ready = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

impl Provider {
    /// Its issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The provider of a configuration, if there is one.
    pub fn of(config: &config::Upstream) -> Option<Self> {
        let (issuer, client) = config.issuer.clone().zip(config.client_id.clone())?;
        Some(Self {
            label: config.label.clone(),
            client: ClientId::new(client),
            secret: config.client_secret.clone(),
            known: Mutex::new(None),
            asked_early: tokio::sync::Mutex::new(None),
            issuer,
        })
    }

    /// What the provider publishes of itself, with its keys, asked for anew now and then.
    async fn metadata(&self, outbound: &Outbound) -> Result<CoreProviderMetadata, NotKnown> {
        match self.remembered() {
            Some(metadata) => Ok(metadata),
            None => self.fetched(outbound).await,
        }
    }

    fn remembered(&self) -> Option<CoreProviderMetadata> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        known.filter(|(at, _)| at.elapsed() < KEPT).map(|(_, metadata)| metadata)
    }

    /// What it publishes now, where that may be other keys than those of `before`; none where it was asked not
    /// long ago.
    async fn renewed(
        &self,
        outbound: &Outbound,
        before: &CoreProviderMetadata,
    ) -> Result<Option<CoreProviderMetadata>, NotKnown> {
        let mut asked = self.asked_early.lock().await;
        let others = self.remembered().filter(|known| known.jwks() != before.jwks());
        if others.is_some() || asked.is_some_and(|at| at.elapsed() < BETWEEN) {
            return Ok(others);
        }
        *asked = Some(Watch::now());
        self.fetched(outbound).await.map(Some)
    }

    async fn fetched(&self, outbound: &Outbound) -> Result<CoreProviderMetadata, NotKnown> {
        let url = format!("{}/{WELL_KNOWN}", self.issuer.trim_end_matches('/'));
        let metadata: CoreProviderMetadata = document(outbound, &url).await?;
        // Whoever serves the document must not speak for somebody else.
        if metadata.issuer().as_str() != self.issuer {
            return Err(provider("it names another issuer"));
        }
        let keys: CoreJsonWebKeySet = document(outbound, metadata.jwks_uri().as_str()).await?;
        let metadata = metadata.set_jwks(keys);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((Watch::now(), metadata.clone()));
        Ok(metadata)
    }

    async fn ready(&self, outbound: &Outbound, redirect: String) -> Result<Ready, NotKnown> {
        let client = self.known_by(self.metadata(outbound).await?);
        Ok(client.set_redirect_uri(RedirectUrl::new(redirect).map_err(provider)?))
    }

    /// This server as the provider's client.
    fn known_by(&self, metadata: CoreProviderMetadata) -> Ready {
        let secret =
            self.secret.as_ref().map(|it| ClientSecret::new(it.expose_secret().to_owned()));
        CoreClient::from_provider_metadata(metadata, self.client.clone(), secret)
    }

    /// The web origin of its login page: forms of ours lead there.
    pub async fn origin(&self, outbound: &Outbound) -> Option<String> {
        let metadata = self.metadata(outbound).await.ok()?;
        Some(metadata.authorization_endpoint().url().origin().ascii_serialization())
    }
}

/// What went wrong with the provider, in words that hold no secret.
fn provider(error: impl std::fmt::Display) -> NotKnown {
    NotKnown::Provider(error.to_string().chars().take(300).collect())
}

/// Whether a signature is by a key that is not known, or not by the one of that name.
fn is_of_unknown_key(error: &ClaimsVerificationError) -> bool {
    use SignatureVerificationError::{CryptoError, NoMatchingKey};
    matches!(error, ClaimsVerificationError::SignatureVerification(NoMatchingKey | CryptoError(_)))
}

/// A JSON document of the provider.
async fn document<T: DeserializeOwned>(outbound: &Outbound, url: &str) -> Result<T, NotKnown> {
    let fetched = outbound.get(url, MOST_BYTES).await.map_err(provider)?;
    if fetched.status != 200 {
        return Err(provider(format!("status {}", fetched.status)));
    }
    serde_json::from_slice(&fetched.body).map_err(provider)
}

/// A text as forms and HTTP Basic of OAuth have it (RFC 6749 appendix B).
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// How old a login may be for a request, in seconds. Whoever is to log in anew is to do so now: asked in
/// this way, a provider has to say when it was.
fn longest_age(pending: &Pending) -> Option<u64> {
    if pending.wants_login { Some(0) } else { pending.max_age.map(i64::unsigned_abs) }
}

/// When a user logged in, by what a provider `told`; none where that is not what the request wants.
fn logged_in_at(pending: Option<&Pending>, told: Option<Instant>, now: Instant) -> Option<Instant> {
    let told = told.map(|told| told.min(now));
    let Some(pending) = pending else { return Some(told.unwrap_or(now)) };
    let Some(told) = told else { return longest_age(pending).is_none().then_some(now) };
    if told.plus_millis(LEEWAY_MILLIS).as_micros() >= pending.begun {
        return Some(told.max(Instant::from_micros(pending.begun)));
    }
    pending.accepts_login(Some(told.as_micros())).then_some(told)
}

impl Authority {
    /// The request that goes on after a login at the provider.
    async fn waiting(
        &self,
        browser: &Browser,
        request: Option<&str>,
    ) -> Result<Option<Pending>, Error> {
        let Some(handle) = request else { return Ok(None) };
        Ok(self.ticket(handle, browser).await?.map(|ticket| ticket.pending))
    }

    /// Where the provider sends people back to.
    fn callback(&self) -> String {
        format!("{}/callback", self.settings.issuer)
    }

    /// Begins a login at the provider: its address with the question.
    ///
    /// # Errors
    /// [`NotKnown`] when the provider does not answer.
    pub async fn ask_provider(
        &self,
        browser: &Browser,
        request: Option<&str>,
    ) -> Result<String, NotKnown> {
        let Some(outside) = &self.provider else { return Err(NotKnown::Refused) };
        let client = outside.ready(&self.outbound, self.callback()).await?;
        let waiting = self.waiting(browser, request).await?;
        let [state, nonce, verifier] = [0; 3].map(|_| Fresh::new("", &*self.ids));
        let kept = Upstream {
            issuer: outside.issuer.clone(),
            nonce: nonce.text.expose_secret().to_owned(),
            verifier: verifier.text.expose_secret().to_owned(),
            request: request.map(str::to_owned),
        };
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(
            kept.verifier.clone(),
        ));
        let expires = self.clock.now().plus_millis(WAIT_MILLIS);
        let session = browser.session.id;
        session::add_upstream(&self.store, &state.hash, session, &kept, expires).await?;
        let state = CsrfToken::new(state.text.expose_secret().to_owned());
        let nonce = Nonce::new(kept.nonce);
        let mut question = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || state, || nonce)
            .set_pkce_challenge(challenge);
        if waiting.as_ref().is_some_and(|pending| pending.wants_login) {
            question = question.add_prompt(CoreAuthPrompt::Login);
        }
        if let Some(seconds) = waiting.as_ref().and_then(longest_age) {
            question = question.set_max_age(Duration::from_secs(seconds));
        }
        let (url, ..) = question.url();
        Ok(url.to_string())
    }

    /// Ends a login at the provider.
    ///
    /// # Errors
    /// [`NotKnown`] says why nobody was logged in; it is on record.
    pub async fn hear_provider(
        &self,
        browser: &Browser,
        state: &str,
        code: &str,
        issuer: &str,
        visitor: &Visitor,
    ) -> Result<Returned, NotKnown> {
        let heard = Box::pin(self.heard(browser, state, code, issuer, visitor)).await;
        if let Err(error) = &heard
            && !matches!(error, NotKnown::Failed(_))
        {
            let text = error.to_string();
            let actor = match error {
                NotKnown::Disabled(account) | NotKnown::TooOld(account) => visitor.actor(account),
                _ => visitor.nobody(),
            };
            self.gate.note(Kind::Login, &actor, Outcome::Refused, &text).await?;
        }
        heard
    }

    async fn heard(
        &self,
        browser: &Browser,
        state: &str,
        code: &str,
        issuer: &str,
        visitor: &Visitor,
    ) -> Result<Returned, NotKnown> {
        let Some(outside) = &self.provider else { return Err(NotKnown::Foreign) };
        let hash = handle::hash_of(state).ok_or(NotKnown::Foreign)?;
        let (session, now) = (browser.session.id, self.clock.now());
        let asked = session::take_upstream(&self.store, &hash, session, now).await?;
        let asked = asked.filter(|it| it.issuer == outside.issuer).ok_or(NotKnown::Foreign)?;
        if !issuer.is_empty() && issuer != outside.issuer {
            return Err(NotKnown::Foreign);
        }
        if code.is_empty() {
            return Err(NotKnown::Refused);
        }
        let claims = outside.claims(&self.outbound, &self.callback(), code, &asked).await?;
        let subject = claims.subject().as_str();
        let found = account::by_identity(&self.store, &outside.issuer, subject).await?;
        let found = found.ok_or(NotKnown::Unlinked)?;
        if found.is_disabled {
            return Err(NotKnown::Disabled(Box::new(found)));
        }
        let waiting = self.waiting(browser, asked.request.as_deref()).await?;
        let seconds = claims.auth_time().map(|at| at.timestamp());
        let told = seconds.map(|it| Instant::from_micros(it.saturating_mul(1_000_000)));
        let Some(at) = logged_in_at(waiting.as_ref(), told, now) else {
            return Err(NotKnown::TooOld(Box::new(found)));
        };
        let actor = visitor.actor(&found);
        self.gate.note(Kind::Login, &actor, Outcome::Success, "by an outside provider").await?;
        let proved = vec!["provider".to_owned()];
        let browser = self.begin_session_at(at, found, proved, Some(browser)).await?;
        Ok(Returned { browser, request: asked.request })
    }
}

impl Provider {
    /// Exchanges a code, and checks what the provider says: signature, issuer, audience, authorized
    /// party, times and nonce.
    async fn claims(
        &self,
        outbound: &Outbound,
        redirect: &str,
        code: &str,
        asked: &Upstream,
    ) -> Result<CoreIdTokenClaims, NotKnown> {
        let token = self.exchange(outbound, redirect, code, asked).await?;
        let none = || NotKnown::Provider("there is no id_token".to_owned());
        let id_token = token.id_token().ok_or_else(none)?;
        let metadata = self.metadata(outbound).await?;
        let mut claims = self.verified(id_token, &metadata, asked);
        // A provider may sign with a new key at any time (OpenID Connect Core section 10.1.1).
        if claims.as_ref().err().is_some_and(is_of_unknown_key)
            && let Some(now) = self.renewed(outbound, &metadata).await?
        {
            claims = self.verified(id_token, &now, asked);
        }
        let claims = claims.map_err(provider)?;
        let party = claims.authorized_party();
        if party.is_some_and(|party| **party != *self.client) {
            return Err(NotKnown::Provider("the id_token is for another party".to_owned()));
        }
        Ok(claims)
    }

    /// What an id_token says, when it is right by what the provider publishes.
    fn verified(
        &self,
        token: &CoreIdToken,
        metadata: &CoreProviderMetadata,
        asked: &Upstream,
    ) -> Result<CoreIdTokenClaims, ClaimsVerificationError> {
        let client = self.known_by(metadata.clone());
        let verifier = client.id_token_verifier().set_allowed_algs(ALGORITHMS);
        token.claims(&verifier, &Nonce::new(asked.nonce.clone())).cloned()
    }

    /// Exchanges a code at the provider.
    async fn exchange(
        &self,
        outbound: &Outbound,
        redirect: &str,
        code: &str,
        asked: &Upstream,
    ) -> Result<CoreTokenResponse, NotKnown> {
        let metadata = self.metadata(outbound).await?;
        let endpoint = metadata.token_endpoint().ok_or_else(|| provider("no token endpoint"))?;
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("code_verifier", asked.verifier.as_str()),
        ];
        let mut headers = Vec::new();
        if let Some(secret) = &self.secret {
            let (id, secret) = (encoded(&self.client), encoded(secret.expose_secret()));
            let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
            let mut basic = HeaderValue::try_from(basic).map_err(provider)?;
            basic.set_sensitive(true);
            headers.push((AUTHORIZATION, basic));
        } else {
            fields.push(("client_id", &self.client));
        }
        let fields = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        let form = fields.collect::<Vec<_>>().join("&");
        let url = endpoint.as_str();
        let fetched = outbound.post_form(url, &headers, form, MOST_BYTES).await;
        let fetched = fetched.map_err(provider)?;
        let refused = |_| provider("the code was not exchanged");
        if fetched.status != 200 {
            return Err(refused(fetched.status));
        }
        serde_json::from_slice(&fetched.body).map_err(|_| refused(fetched.status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(begun: i64, wants_login: bool, max_age: Option<i64>) -> Pending {
        let written = serde_json::json!({
            "client": "app",
            "redirect_uri": "https://app.example/cb",
            "scopes": "openid",
            "aud": "https://kiln.example/fhir",
            "challenge": "c",
            "is_silent": false,
            "wants_login": wants_login,
            "wants_consent": false,
            "max_age": max_age,
            "begun": begun * 1_000_000,
            "has_no_patient": false,
            "has_no_encounter": false,
        });
        serde_json::from_value(written).expect("a request")
    }

    /// Covers: security L19.
    #[test]
    fn a_login_at_a_provider_is_as_old_as_it_says() {
        let moment = |seconds: i64| Instant::from_micros(seconds * 1_000_000);
        let (begun, now) = (1_000, 1_060);
        let any = Some(pending(begun, false, None));
        let young = Some(pending(begun, false, Some(300)));
        let anew = Some(pending(begun, true, None));
        for (pending, told, expected) in [
            (&None, None, Some(now)),
            (&None, Some(5), Some(5)),
            (&None, Some(9_999), Some(now)),
            (&any, None, Some(now)),
            (&any, Some(5), Some(5)),
            (&young, None, None),
            (&young, Some(699), None),
            (&young, Some(700), Some(700)),
            (&young, Some(995), Some(begun)),
            (&young, Some(1_030), Some(1_030)),
            (&anew, None, None),
            (&anew, Some(989), None),
            (&anew, Some(990), Some(begun)),
            (&anew, Some(1_030), Some(1_030)),
        ] {
            let found = logged_in_at(pending.as_ref(), told.map(moment), moment(now));
            assert_eq!(found, expected.map(moment), "{pending:?} {told:?}");
        }
        let ages = [&any, &young, &anew].map(|it| it.as_ref().and_then(longest_age));
        assert_eq!(ages, [None, Some(300), Some(0)]);
    }
}
