//! Access tokens of an outside authorization server that the operator trusts.
//!
//! A signed token is judged by the keys of its issuer, any other by asking the issuer what it is. Either
//! way it must be of this issuer, for this server and for now, and grants no more than the scopes that
//! the configuration says. What was found is remembered as long as for our own tokens: a few seconds.
//!
//! Spec: RFC 7519, RFC 7662, RFC 9068; security E1, T11

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::header::{AUTHORIZATION, HeaderValue};
use oauth2::basic::BasicTokenType;
use oauth2::{
    ExtraTokenFields, StandardTokenIntrospectionResponse, TokenIntrospectionResponse as _,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::access::Principal;
use crate::access::consent::Asker;
use crate::access::grant::{Grant, Panels, User};
use crate::access::scope::{ScopeSet, SmartScope, Special};
use crate::config;
use crate::error::Error;
use crate::fhir::{Instant, LogicalId, ResourceType};

use super::Authority;
use super::bearer::{Known, Rejected};
use super::client::jwk::Algorithm;
use super::client::jwks;
use super::secret;

/// Longest token that is read.
const MAX_BYTES: usize = 16 * 1024;
/// Largest answer of the issuer.
const MAX_ANSWER: usize = 64 * 1024;
/// Questions to the issuer at a time: whoever makes up tokens must not have us flood it.
const AT_A_TIME: usize = 32;
/// How much clocks may differ, in seconds.
const SKEW: i64 = 60;
/// How long a token counts whose end nobody says, in seconds: until it is looked up again.
const UNTOLD: i64 = 5;

/// An outside authorization server.
pub(super) struct Trusted {
    issuer: String,
    key_url: Option<String>,
    asked: Option<Asked>,
    audience: Option<String>,
    scopes: String,
    roles: Vec<String>,
    keys: jwks::Cache,
    places: Semaphore,
}

/// Where and as whom it is asked.
struct Asked {
    url: String,
    client: String,
    secret: SecretString,
}

/// What is said of a token.
#[derive(Debug, Default, Deserialize)]
struct Claims {
    iss: Option<String>,
    #[serde(default)]
    aud: Audience,
    sub: Option<String>,
    client_id: Option<String>,
    azp: Option<String>,
    #[serde(default)]
    scope: String,
    exp: Option<f64>,
    nbf: Option<f64>,
    #[serde(flatten)]
    context: Context,
}

/// For whom a token is.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Audience {
    #[default]
    Nobody,
    One(String),
    Many(Vec<String>),
}

/// What SMART adds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Context {
    patient: Option<String>,
    #[serde(rename = "fhirUser")]
    fhir_user: Option<String>,
}

impl ExtraTokenFields for Context {}

/// The answer to the question what a token is.
type Told = StandardTokenIntrospectionResponse<Context, BasicTokenType>;

impl Claims {
    /// The client that has the token.
    fn client(&self) -> Option<&str> {
        self.client_id.as_deref().or(self.azp.as_deref())
    }
}

impl Audience {
    fn has(&self, audience: &str) -> bool {
        match self {
            Self::Nobody => false,
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }

    fn is_told(&self) -> bool {
        !matches!(self, Self::Nobody)
    }
}

impl Trusted {
    /// The server of a configuration, if there is one.
    pub(super) fn of(config: &config::Trusted) -> Option<Self> {
        let asked = config.introspection_uri.clone().and_then(|url| {
            let client = config.client_id.clone()?;
            Some(Asked { url, client, secret: config.client_secret.clone()? })
        });
        Some(Self {
            issuer: config.issuer.clone()?,
            key_url: config.jwks_uri.clone(),
            asked,
            audience: config.audience.clone(),
            scopes: config.scopes.join(" "),
            roles: config.roles.clone(),
            keys: jwks::Cache::default(),
            places: Semaphore::new(AT_A_TIME),
        })
    }

    /// Whether what is said of a token makes it count here and now. Who was asked answers for this
    /// server alone, so that an answer without an audience is one for it; a signed token says for whom
    /// it is.
    fn check(&self, claims: &Claims, is_asked: bool, base: &str, now: i64) -> Result<(), Rejected> {
        let is_ours = match &claims.iss {
            Some(issuer) => *issuer == self.issuer,
            None => is_asked,
        };
        let audience = self.audience.as_deref().unwrap_or(base);
        let may_be_untold = is_asked && self.audience.is_none() && !claims.aud.is_told();
        let is_early = claims.nbf.is_some_and(|at| at > (now + SKEW) as f64);
        if !is_ours || !(claims.aud.has(audience) || may_be_untold) || is_early {
            return Err(Rejected::Unknown);
        }
        match claims.exp {
            Some(end) if end <= now as f64 => Err(Rejected::Expired),
            None if !is_asked => Err(Rejected::Unknown),
            _ => Ok(()),
        }
    }
}

impl Authority {
    /// What stands behind a token of the outside server.
    ///
    /// # Errors
    /// Each [`Rejected`].
    pub(super) async fn look_up_outside(
        &self,
        outside: &Trusted,
        text: &str,
    ) -> Result<Known, Rejected> {
        if text.len() > MAX_BYTES {
            return Err(Rejected::Unknown);
        }
        let is_signed = text.bytes().filter(|byte| *byte == b'.').count() == 2;
        let is_asked = !is_signed || outside.key_url.is_none();
        let claims = if is_asked {
            self.asked(outside, text).await?
        } else {
            self.signed(outside, text).await?
        };
        let now = self.clock.now().as_micros().div_euclid(1_000_000);
        outside.check(&claims, is_asked, &self.settings.base, now)?;
        self.known_by(outside, &claims, text, now).await
    }

    /// What a signed token says.
    async fn signed(&self, outside: &Trusted, text: &str) -> Result<Claims, Rejected> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            kid: String,
            typ: Option<String>,
            crit: Option<serde_json::Value>,
        }
        let url = outside.key_url.as_deref().ok_or(Rejected::Unknown)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(Rejected::Unknown)?;
        let (header, claims) = signed.split_once('.').ok_or(Rejected::Unknown)?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejected::Unknown);
        let header: Header =
            serde_json::from_slice(&bytes(header)?).map_err(|_| Rejected::Unknown)?;
        let typ = header.typ.as_deref().unwrap_or("JWT").to_ascii_lowercase();
        let is_of_access = matches!(typ.as_str(), "jwt" | "at+jwt" | "application/at+jwt");
        if header.crit.is_some() || !is_of_access {
            return Err(Rejected::Unknown);
        }
        let algorithm = Algorithm::of_tokens(&header.alg).ok_or(Rejected::Unknown)?;
        let keys = outside.keys.keys(&self.outbound, url, &header.kid).await.ok_or_else(away)?;
        let key = keys.find(&header.kid, algorithm).ok_or(Rejected::Unknown)?;
        if !key.verifies(signed.as_bytes(), &bytes(signature)?) {
            return Err(Rejected::Unknown);
        }
        serde_json::from_slice(&bytes(claims)?).map_err(|_| Rejected::Unknown)
    }

    /// What the outside server says of a token.
    async fn asked(&self, outside: &Trusted, text: &str) -> Result<Claims, Rejected> {
        let asked = outside.asked.as_ref().ok_or(Rejected::Unknown)?;
        let _place = outside.places.acquire().await.map_err(|_| away())?;
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let (client, secret) = (encoded(&asked.client), encoded(asked.secret.expose_secret()));
        let basic = format!("Basic {}", STANDARD.encode(format!("{client}:{secret}")));
        let mut basic = HeaderValue::try_from(basic).map_err(|_| away())?;
        basic.set_sensitive(true);
        let form = format!("token={}&token_type_hint=access_token", encoded(text));
        let headers = [(AUTHORIZATION, basic)];
        let answer = self.outbound.post_form(&asked.url, &headers, form, MAX_ANSWER).await;
        let answer = answer.map_err(|error| {
            tracing::warn!(%error, "cannot ask the trusted server what a token is");
            away()
        })?;
        if answer.status != 200 {
            tracing::warn!(
                status = answer.status,
                "the trusted server does not say what a token is"
            );
            return Err(away());
        }
        let told: Told = serde_json::from_slice(&answer.body).map_err(|_| away())?;
        if !told.active() {
            return Err(Rejected::Unknown);
        }
        let scopes = told.scopes().map_or(&[][..], Vec::as_slice);
        Ok(Claims {
            iss: told.iss().map(str::to_owned),
            aud: told.aud().cloned().map_or(Audience::Nobody, Audience::Many),
            sub: told.sub().map(str::to_owned),
            client_id: told.client_id().map(|id| id.as_str().to_owned()),
            azp: None,
            scope: scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "),
            exp: told.exp().map(|at| at.timestamp() as f64),
            nbf: told.nbf().map(|at| at.timestamp() as f64),
            context: told.extra_fields().clone(),
        })
    }

    /// The principal of a token that counts.
    async fn known_by(
        &self,
        outside: &Trusted,
        claims: &Claims,
        text: &str,
        now: i64,
    ) -> Result<Known, Rejected> {
        let client = claims.client().or(claims.sub.as_deref()).ok_or(Rejected::Unknown)?;
        // Names of theirs are not names of ours.
        let client = format!("{}#{client}", outside.issuer);
        let patient = match claims.context.patient.as_deref().map(str::parse::<LogicalId>) {
            None => None,
            Some(Ok(id)) => {
                let hash = self.store.hasher().patient(&id);
                Some((id, hash))
            }
            // A patient that is none must not become the absence of one.
            Some(Err(_)) => return Err(Rejected::Unknown),
        };
        let user = self.outside_user(outside, claims).await?;
        let who = user.as_ref().and_then(|user| user.fhir_user.as_ref());
        let organizations = match who {
            Some(who) => self.store.organizations(who).await?,
            None => Vec::new(),
        };
        let asker = Asker { user: who, organizations: &organizations, purpose: None };
        let denials = self.store.denials(&asker, self.clock.now()).await?;
        let scopes = self.outside_scopes(outside, &claims.scope);
        let token = id_of(text);
        let grant = Grant {
            token,
            client,
            user,
            survivor: None,
            is_emergency: false,
            is_fhir_user_readable: scopes.has(Special::OpenId) && scopes.has(Special::FhirUser),
            scopes,
            patient,
            purpose: None,
            denials,
        };
        let principal = Principal::from_grant(grant, &self.persons.roles);
        let principal = principal.map_err(|_| Rejected::Unknown)?;
        let end = claims.exp.unwrap_or((now + UNTOLD) as f64);
        // Further than any token counts, and still a time.
        let end = (end as i64).clamp(0, now.saturating_add(1_000_000_000));
        Ok(Known {
            principal,
            origins: Vec::new(),
            expires: Instant::from_micros(end.saturating_mul(1_000_000)),
            grant: token,
        })
    }

    /// What of the scopes counts here: nothing beyond the configuration, and nothing about our own
    /// tokens and launches.
    fn outside_scopes(&self, outside: &Trusted, text: &str) -> ScopeSet {
        let roles = &self.persons.roles;
        let scopes = roles.scopes(text).intersect(&roles.scopes(&outside.scopes));
        scopes.filtered(|scope| {
            !matches!(scope, SmartScope::Special(Special::Introspect | Special::MakeLaunch))
        })
    }

    /// Who uses the client; `None`: it acts by itself. Where there is a patient there is somebody, even
    /// if nobody says who: then it is nobody who may see more than others.
    async fn outside_user(
        &self,
        outside: &Trusted,
        claims: &Claims,
    ) -> Result<Option<User>, Rejected> {
        let subject = claims.sub.as_deref().filter(|it| Some(*it) != claims.client());
        let Context { patient, fhir_user } = &claims.context;
        if subject.is_none() && patient.is_none() && fhir_user.is_none() {
            return Ok(None);
        }
        let fhir_user = match fhir_user {
            None => None,
            Some(text) => Some(self.outside_resource(text).ok_or(Rejected::Unknown)?),
        };
        let panels = match &fhir_user {
            Some(who) => self.store.panels(who).await?,
            None => Panels::default(),
        };
        let name = format!("{}#{}", outside.issuer, subject.unwrap_or("somebody"));
        Ok(Some(User {
            account: id_of(&name),
            name,
            fhir_user,
            roles: outside.roles.clone(),
            panels,
        }))
    }

    /// A resource of this server by its URL or relative reference.
    fn outside_resource(&self, text: &str) -> Option<(ResourceType, LogicalId)> {
        let base = &self.settings.base;
        let below = text.strip_prefix(base.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let (of, id) = below.unwrap_or(text).split_once('/')?;
        Some((of.parse().ok()?, id.parse().ok()?))
    }
}

/// An id that a text always has: its hash, in the form of ids that are made otherwise.
fn id_of(text: &str) -> Uuid {
    let hash = secret::hash(text);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Nobody can say what the token is.
fn away() -> Rejected {
    Rejected::Fault(Error::Unavailable("the trusted authorization server".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn said(audience: Option<&str>, is_asked: bool, claims: &str) -> &'static str {
        let mut config = config::Config::load(None, &[]).expect("the defaults").trusted;
        config.issuer = Some("https://o.org".to_owned());
        config.audience = audience.map(str::to_owned);
        let trusted = Trusted::of(&config).expect("a server");
        let claims: Claims = serde_json::from_str(claims).expect("claims");
        match trusted.check(&claims, is_asked, "https://h.org/fhir", NOW) {
            Ok(()) => "taken",
            Err(Rejected::Expired) => "expired",
            Err(_) => "unknown",
        }
    }

    #[test]
    fn a_token_is_of_the_issuer_and_for_here_and_now() {
        let whole = r#"{"iss":"https://o.org","aud":["x","https://h.org/fhir"],"exp":1800000001"#;
        for (audience, is_asked, claims, expected) in [
            (None, false, format!("{whole}}}"), "taken"),
            (None, true, format!("{whole}}}"), "taken"),
            (Some("x"), false, format!("{whole}}}"), "taken"),
            (Some("y"), false, format!("{whole}}}"), "unknown"),
            (None, false, format!(r#"{whole},"nbf":1800000061}}"#), "unknown"),
            (None, false, whole.replace("o.org", "p.org") + "}", "unknown"),
            (None, false, whole.replace("h.org", "p.org") + "}", "unknown"),
            (None, true, whole.replace("h.org", "p.org") + "}", "unknown"),
            (None, false, whole.replace("1800000001", "1800000000") + "}", "expired"),
            (None, false, r#"{"exp":1800000001}"#.to_owned(), "unknown"),
            (None, true, r#"{"exp":1800000001}"#.to_owned(), "taken"),
            (None, true, "{}".to_owned(), "taken"),
            (Some("x"), true, "{}".to_owned(), "unknown"),
            (None, true, r#"{"iss":"https://p.org"}"#.to_owned(), "unknown"),
        ] {
            assert_eq!(said(audience, is_asked, &claims), expected, "{audience:?} {claims}");
        }
    }
}
