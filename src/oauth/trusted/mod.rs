//! Access tokens of outside authorization servers that the operator trusts.
//!
//! A signed token says of which issuer it is, and is judged by the keys of that one or by asking it; any
//! other is shown to the one server that it can be of. Either way it must be of this issuer, for this
//! server and for now, and grants no more than the scopes that the configuration says for its issuer.
//! What was found is remembered as long as for our own tokens: a few seconds. A server that cannot be
//! reached closes the way for its own tokens alone.
//!
//! Spec: RFC 7519, RFC 7662, RFC 9068; security E1, T11

mod principal;

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
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::access::roles::Roles;
use crate::config;
use crate::error::Error;

use super::Authority;
use super::bearer::{Known, Rejected};
use super::client::jwk::Algorithm;
use super::client::jwks;

/// Longest token that is read.
const MAX_BYTES: usize = 16 * 1024;
/// Largest answer of the issuer.
const MAX_ANSWER: usize = 64 * 1024;
/// Questions to the issuer at a time: whoever makes up tokens must not have us flood it.
const AT_A_TIME: usize = 32;
/// How much clocks may differ, in seconds.
const SKEW: i64 = 60;

/// The outside authorization servers.
pub(super) struct Trusted(Vec<Server>);

/// One of them.
struct Server {
    issuer: String,
    prefix: Option<String>,
    key_url: Option<String>,
    asked: Option<Asked>,
    audience: Option<String>,
    scopes: String,
    roles: Vec<String>,
    purpose: Option<String>,
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
    /// A text, or else of no use.
    #[serde(default)]
    jti: Value,
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
type Introspected = StandardTokenIntrospectionResponse<Context, BasicTokenType>;

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
    /// The servers of a configuration, if there are any.
    pub(super) fn of<'c>(all: impl IntoIterator<Item = &'c config::Trusted>) -> Option<Self> {
        let servers: Vec<Server> = all.into_iter().filter_map(Server::of).collect();
        (!servers.is_empty()).then_some(Self(servers))
    }

    /// The one server that a token can be of, and whether that one is asked about it. What is not signed
    /// is shown to no other server than its own.
    fn server_of(&self, text: &str) -> Option<(&Server, bool)> {
        if let Some(issuer) = issuer_of(text) {
            let server = self.0.iter().find(|server| server.issuer == issuer)?;
            return Some((server, server.key_url.is_none()));
        }
        let mut asked = self.0.iter().filter(|server| server.asked.is_some());
        let is_one = asked.clone().count() == 1;
        let is_its = |server: &&Server| match &server.prefix {
            Some(prefix) => text.starts_with(prefix.as_str()),
            None => is_one,
        };
        asked.find(is_its).map(|server| (server, true))
    }
}

/// The issuer that a signed token names; whether it is, is not known yet.
fn issuer_of(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        iss: String,
    }
    let mut parts = text.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    serde_json::from_slice::<Named>(&claims).ok().map(|named| named.iss)
}

impl Server {
    /// The server of a part of the configuration, when that names an issuer.
    fn of(config: &config::Trusted) -> Option<Self> {
        let asked = config.introspection_uri.clone().and_then(|url| {
            let client = config.client_id.clone()?;
            Some(Asked { url, client, secret: config.client_secret.clone()? })
        });
        Some(Self {
            issuer: config.issuer.clone()?,
            prefix: config.token_prefix.clone(),
            key_url: config.jwks_uri.clone(),
            asked,
            audience: config.audience.clone(),
            scopes: config.scopes.join(" "),
            roles: config.roles.clone(),
            purpose: config.purpose.clone(),
            keys: jwks::Cache::default(),
            places: Semaphore::new(AT_A_TIME),
        })
    }

    /// What its tokens are used for: what is configured, or else what the roles of its users say.
    fn purpose<'s>(&'s self, roles: &Roles, is_of_user: bool) -> Option<&'s str> {
        let of_roles = || roles.purpose(&self.roles).filter(|_| is_of_user);
        self.purpose.as_deref().or_else(of_roles)
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
    /// What stands behind a token of an outside server.
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
        let (server, is_asked) = outside.server_of(text).ok_or(Rejected::Unknown)?;
        let claims = if is_asked {
            self.asked(server, text).await?
        } else {
            self.signed(server, text).await?
        };
        let now = self.clock.now().as_micros().div_euclid(1_000_000);
        server.check(&claims, is_asked, &self.settings.base, now)?;
        self.known_by(server, &claims, text, now).await
    }

    /// What a signed token says.
    async fn signed(&self, outside: &Server, text: &str) -> Result<Claims, Rejected> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            kid: String,
            typ: Option<String>,
            crit: Option<Value>,
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
    async fn asked(&self, outside: &Server, text: &str) -> Result<Claims, Rejected> {
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
            let issuer = &outside.issuer;
            tracing::warn!(%error, issuer, "cannot ask a trusted server what a token is");
            away()
        })?;
        if answer.status != 200 {
            tracing::warn!(
                status = answer.status,
                issuer = outside.issuer,
                "a trusted server does not say what a token is"
            );
            return Err(away());
        }
        let told: Introspected = serde_json::from_slice(&answer.body).map_err(|_| away())?;
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
            jti: told.jti().map_or(Value::Null, Value::from),
            context: told.extra_fields().clone(),
        })
    }
}

/// Nobody can say what the token is.
fn away() -> Rejected {
    Rejected::Fault(Error::Unavailable("the trusted authorization server".into()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn configured(flags: &[(&str, &str)]) -> BTreeMap<String, config::Trusted> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let flags: Vec<_> = flags.iter().map(own).collect();
        config::Config::load(None, &flags).expect("settings").trusted
    }

    #[test]
    fn a_token_is_of_one_server_and_shown_to_no_other() {
        let asked = |name: &str, prefix: &str| {
            [("issuer", "https://I.org"), ("introspection_uri", "u"), ("token_prefix", prefix)]
                .map(|(key, value)| (format!("trusted.{name}.{key}"), value.replace('I', name)))
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .chain(
                    ["client_id", "client_secret"]
                        .map(|key| (format!("trusted.{name}.{key}"), "x".to_owned())),
                )
                .collect::<Vec<_>>()
        };
        let keys = [("issuer", "https://k.org"), ("jwks_uri", "u")]
            .map(|(key, value)| (format!("trusted.k.{key}"), value.to_owned()))
            .to_vec();
        let both = [asked("a", "a_"), asked("b", "b_"), keys.clone()].concat();
        let one = [asked("a", ""), keys.clone()].concat();
        let jwt = |issuer: &str| {
            let claims = format!(r#"{{"iss":"{issuer}"}}"#);
            format!("e30.{}.AAAA", URL_SAFE_NO_PAD.encode(claims))
        };
        for (settings, token, expected) in [
            (&both, "a_1".to_owned(), Some(("https://a.org", true))),
            (&both, "b_1".to_owned(), Some(("https://b.org", true))),
            (&both, "c_1".to_owned(), None),
            (&both, jwt("https://k.org"), Some(("https://k.org", false))),
            (&both, jwt("https://a.org"), Some(("https://a.org", true))),
            (&both, jwt("https://evil.org"), None),
            (&both, "e30.e30.AAAA".to_owned(), None),
            (&one, "c_1".to_owned(), Some(("https://a.org", true))),
            (&one, "a.b.c".to_owned(), Some(("https://a.org", true))),
            (&one, jwt("https://evil.org"), None),
            (&keys, "c_1".to_owned(), None),
        ] {
            let flags: Vec<(&str, &str)> =
                settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let trusted = Trusted::of(configured(&flags).values()).expect("servers");
            let found = trusted.server_of(&token);
            let found = found.map(|(server, is_asked)| (server.issuer.as_str(), is_asked));
            assert_eq!(found, expected, "{token}");
        }
    }

    fn said(audience: Option<&str>, is_asked: bool, claims: &str) -> &'static str {
        let mut config = configured(&[("trusted.o.issuer", "https://o.org")]).remove("o").unwrap();
        config.audience = audience.map(str::to_owned);
        let trusted = Server::of(&config).expect("a server");
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
