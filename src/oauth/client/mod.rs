//! Clients at the endpoints: how they prove who they are.
//!
//! Spec: RFC 6749 section 2.3, security T4, T5

pub mod assertion;
pub mod jwk;
pub mod jwks;
mod manage;
pub mod register;
mod secrets;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::Error;
use crate::fhir::Instant;
use crate::fhir::query;
pub use crate::store::oauth::client::{AppType, Client, ClientKind};
use crate::store::oauth::{client, token};

use super::Authority;
use super::form::Form;
use super::refusal::{Code, Refusal};
use super::secret;

use secrets::knows;
pub use secrets::{Kept, kept, with_secret};

/// The kind of assertion that is read.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Id and secret of HTTP Basic.
#[derive(Debug)]
pub struct Basic {
    /// `client_id`
    pub id: String,
    /// `client_secret`
    pub secret: SecretString,
}

impl Basic {
    /// Reads an `Authorization` header; `None` when it is of another scheme.
    ///
    /// # Errors
    /// `invalid_client` when it cannot be read.
    pub fn parse(header: &str) -> Result<Option<Self>, Refusal> {
        let Some((scheme, rest)) = header.split_once(' ') else { return Ok(None) };
        if !scheme.eq_ignore_ascii_case("Basic") {
            return Ok(None);
        }
        let fault = || Refusal::client("the Authorization header cannot be read");
        let bytes = STANDARD.decode(rest.trim()).map_err(|_| fault())?;
        let text = String::from_utf8(bytes).map_err(|_| fault())?;
        let (id, secret) = text.split_once(':').ok_or_else(fault)?;
        // Both are form-encoded first (RFC 6749 section 2.3.1).
        let decode = |text| query::decode(text, true).map_err(|_| fault());
        let secret = SecretString::from(decode(secret)?.into_owned());
        Ok(Some(Self { id: decode(id)?.into_owned(), secret }))
    }
}

impl Authority {
    /// The client that a request proves to be from, by the method it is registered with.
    ///
    /// # Errors
    /// `invalid_client`; `invalid_request` when two methods are used at once.
    pub async fn authenticate(
        &self,
        form: &Form,
        basic: Option<&Basic>,
    ) -> Result<Client, Refusal> {
        let secret = form.get("client_secret");
        let assertion = form.get("client_assertion");
        let id = form.get("client_id");
        let methods = [basic.is_some(), secret.is_some(), assertion.is_some()];
        if methods.iter().filter(|is_used| **is_used).count() > 1 {
            return Err(Refusal::request("two ways of client authentication at once"));
        }
        self.offers_method(methods)?;
        if let Some(assertion) = assertion {
            if form.get("client_assertion_type") != Some(JWT_BEARER) {
                return Err(Refusal::client("client_assertion_type is not that of a JWT"));
            }
            return assertion::authenticate(self, assertion, id).await;
        }
        if basic.zip(id).is_some_and(|(basic, id)| basic.id != id) {
            return Err(Refusal::request("client_id differs from the Authorization header's"));
        }
        let shown = basic.map(|basic| basic.secret.expose_secret()).or(secret);
        let named = basic.map(|basic| basic.id.as_str()).or(id);
        let of_token = match (named, shown) {
            (None, None) => self.client_of_refresh(form).await?,
            _ => None,
        };
        let id = named.or(of_token.as_deref());
        let id = id.ok_or_else(|| Refusal::client("client_id is missing"))?;
        let client = client::find(&self.store, id).await?;
        proven(client, shown, self.clock.now())
    }

    /// Whom a refresh token was given to: public clients need not say who they are beside it, for
    /// RFC 6749 asks for client_id with codes only, and there are apps that leave it out.
    async fn client_of_refresh(&self, form: &Form) -> Result<Option<String>, Refusal> {
        let (Some("refresh_token"), Some(shown)) =
            (form.get("grant_type"), form.get("refresh_token"))
        else {
            return Ok(None);
        };
        let token = token::find(&self.store, &secret::hash(shown)).await?;
        Ok(token.map(|token| token.granted.grant.client))
    }
}

impl Authority {
    /// Whether clients may prove who they are, or not, as this one does: Basic, form, assertion.
    fn offers_method(&self, methods: [bool; 3]) -> Result<(), Refusal> {
        let capability = match methods {
            [_, _, true] => "client-confidential-asymmetric",
            [false, false, _] => "client-public",
            _ => "client-confidential-symmetric",
        };
        if self.settings.offers(capability) {
            return Ok(());
        }
        Err(Refusal::new(Code::UnauthorizedClient, "such clients are not served here"))
    }
}

/// The client, when `shown` is what it is known by.
fn proven(client: Option<Client>, shown: Option<&str>, now: Instant) -> Result<Client, Refusal> {
    let wrong = || Refusal::client("the client is not known, or its credentials are wrong");
    // Hashed for whoever asks, so that the time does not tell which ids there are.
    let hash = shown.map(secret::hash);
    let client = client.ok_or_else(wrong)?;
    if client.disabled_at.is_some_and(|at| at <= now) {
        return Err(wrong());
    }
    let is_proven = match (client.kind, hash) {
        (ClientKind::Public, None) => true,
        (ClientKind::Secret, Some(hash)) => knows(&client.secrets, &hash, now),
        _ => false,
    };
    if is_proven { Ok(client) } else { Err(wrong()) }
}

/// Why a client cannot be as it is meant to be; checked wherever one is made.
///
/// # Errors
/// `invalid_redirect_uri` or `invalid_client_metadata`.
pub fn check(client: &Client) -> Result<(), Refusal> {
    let metadata = |text: &'static str| Err(Refusal::new(Code::InvalidClientMetadata, text));
    let is_id = !client.id.is_empty()
        && client.id.len() <= 128
        && client.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    if !is_id {
        return metadata("client_id is 1 to 128 of A-Z a-z 0-9 - . _ ~");
    }
    let is_name = !client.name.trim().is_empty() && client.name.len() <= 200;
    if !is_name || client.name.chars().any(char::is_control) {
        return metadata("client_name is a line of at most 200 bytes");
    }
    if client.kind == ClientKind::Key && client.jwks.is_some() == client.jwks_uri.is_some() {
        return metadata("a client with a key has either jwks or jwks_uri");
    }
    if let Some(jwks) = &client.jwks {
        jwk::Jwks::parse(jwks.as_bytes())
            .map_err(|text| Refusal::new(Code::InvalidClientMetadata, format!("jwks: {text}")))?;
    }
    let addresses = [&client.jwks_uri, &client.logo_uri, &client.launch_uri];
    let is_web = |uri: &str| is_https(uri) || is_loopback(uri);
    if addresses.into_iter().flatten().any(|uri| !is_web(uri)) {
        return metadata("jwks_uri, logo_uri and launch_uri are https URLs");
    }
    if client.redirect_uris.iter().any(|uri| !is_redirect(uri, client.app_type)) {
        let text = "a redirect URI is an absolute https URL without fragment or wildcard; a native app \
                    may have one of http://127.0.0.1, or of a scheme of its own with a dot";
        return Err(Refusal::new(Code::InvalidRedirectUri, text));
    }
    if client.origins.iter().any(|origin| !is_origin(origin)) {
        return metadata("an origin is like https://app.example.org");
    }
    if client.app_type == AppType::Backend && client.kind == ClientKind::Public {
        return metadata("a backend service must be able to prove that it is itself");
    }
    Ok(())
}

/// Characters that a URI of ours may have; no space, quote, control or backslash.
fn is_plain(uri: &str) -> bool {
    uri.len() <= 2000
        && uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}*".contains(&byte))
}

fn host(rest: &str) -> &str {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    &rest[..end]
}

fn is_https(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("https://") else { return false };
    is_plain(uri) && !host(rest).is_empty() && !host(rest).contains('@')
}

/// An address of the user's own machine, which has no certificate.
fn is_loopback(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("http://") else { return false };
    let host = host(rest);
    let port_of = |name: &str| {
        let rest = host.strip_prefix(name)?;
        let port =
            rest.strip_prefix(':').map_or(rest.is_empty(), |port| port.parse::<u16>().is_ok());
        Some(port)
    };
    is_plain(uri)
        && ["127.0.0.1", "[::1]", "localhost"].into_iter().any(|it| port_of(it) == Some(true))
}

fn is_redirect(uri: &str, of: AppType) -> bool {
    if uri.contains('#') || !is_plain(uri) {
        return false;
    }
    if is_https(uri) {
        return true;
    }
    let is_own_scheme = || {
        let scheme = uri.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        scheme.contains('.')
            && scheme.bytes().all(is_scheme)
            && scheme.starts_with(|first: char| first.is_ascii_lowercase())
    };
    // Web apps are developed on the developer's machine too.
    is_loopback(uri) || (of == AppType::Native && is_own_scheme())
}

/// The origin of a web page.
fn is_origin(origin: &str) -> bool {
    (is_https(origin) || is_loopback(origin)) && {
        let rest = origin.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
        host(rest) == rest && !rest.bytes().any(|byte| byte.is_ascii_uppercase())
    }
}

/// The origin of a URI of the web.
pub fn origin_of(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let origin = format!("{scheme}://{}", host(rest)).to_ascii_lowercase();
    is_origin(&origin).then_some(origin)
}

impl Authority {
    /// The client of that id, as long as it is not disabled.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn client(&self, id: &str) -> Result<Option<Client>, Error> {
        let found = client::find(&self.store, id).await?;
        Ok(found.filter(|client| client.disabled_at.is_none()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Instant {
        Instant::from_micros(micros)
    }

    pub(super) fn client(kind: ClientKind) -> Client {
        Client {
            id: "app".to_owned(),
            kind,
            app_type: AppType::Web,
            name: "App".to_owned(),
            logo_uri: None,
            redirect_uris: vec!["https://app.example.org/cb".to_owned()],
            origins: Vec::new(),
            launch_uri: None,
            scopes: String::new(),
            jwks: None,
            jwks_uri: None,
            secrets: "[]".to_owned(),
            created: at(0),
            disabled_at: None,
            is_registered: false,
            state_systems: Vec::new(),
            purpose: None,
        }
    }

    #[test]
    fn a_client_is_known_by_what_it_registered_and_by_nothing_else() {
        let secrets = with_secret("[]", &secret::hash("s"), at(0));
        let with_secret = || Client { secrets: secrets.clone(), ..client(ClientKind::Secret) };
        let public = || Client { secrets: secrets.clone(), ..client(ClientKind::Public) };
        let key = || Client { secrets: secrets.clone(), ..client(ClientKind::Key) };
        let disabled = || Client { disabled_at: Some(at(5)), ..with_secret() };
        for (client, shown, expected) in [
            (Some(with_secret()), Some("s"), true),
            (Some(with_secret()), Some("x"), false),
            (Some(with_secret()), None, false),
            (Some(public()), None, true),
            (Some(public()), Some("s"), false),
            (Some(key()), Some("s"), false),
            (Some(key()), None, false),
            (Some(disabled()), Some("s"), false),
            (None, Some("s"), false),
            (None, None, false),
        ] {
            let text = format!("{:?} {shown:?}", client.as_ref().map(|it| it.kind));
            assert_eq!(proven(client, shown, at(9)).is_ok(), expected, "{text}");
        }
    }

    #[test]
    fn basic_is_read_as_it_is_encoded() {
        let of = |text: &str| format!("basic {}", STANDARD.encode(text));
        let basic = Basic::parse(&of("my%20app:p%3Aw:x")).expect("read").expect("Basic");
        assert_eq!((basic.id.as_str(), basic.secret.expose_secret()), ("my app", "p:w:x"));
        assert!(Basic::parse("Bearer x").expect("read").is_none());
        for header in ["Basic !", "Basic eA=="] {
            assert!(Basic::parse(header).is_err(), "{header}");
        }
    }

    #[test]
    fn redirect_uris_are_exact_and_safe() {
        for (uri, of, expected) in [
            ("https://app.example.org/cb?x=1", AppType::Web, true),
            ("https://app.example.org", AppType::Web, true),
            ("http://app.example.org/cb", AppType::Web, false),
            ("http://127.0.0.1:4567/cb", AppType::Web, true),
            ("http://localhost/cb", AppType::Native, true),
            ("http://[::1]:1/cb", AppType::Native, true),
            ("http://127.0.0.1.evil.org/cb", AppType::Native, false),
            ("http://localhost@evil.org/cb", AppType::Native, false),
            ("org.example.app:/cb", AppType::Native, true),
            ("org.example.app:/cb", AppType::Web, false),
            ("myapp:/cb", AppType::Native, false),
            ("javascript:alert(1)", AppType::Native, false),
            ("data:text/html,x", AppType::Native, false),
            ("https://app.example.org/cb#x", AppType::Web, false),
            ("https://*.example.org/cb", AppType::Web, false),
            ("https://user@evil.org/", AppType::Web, false),
            ("https://", AppType::Web, false),
            ("https://a.org/\r\nx", AppType::Web, false),
            ("/cb", AppType::Web, false),
            ("", AppType::Web, false),
        ] {
            assert_eq!(is_redirect(uri, of), expected, "{uri}");
        }
    }

    #[test]
    fn an_origin_has_no_path() {
        for (origin, expected) in [
            ("https://app.example.org", true),
            ("https://app.example.org:8443", true),
            ("http://127.0.0.1:5173", true),
            ("https://app.example.org/", false),
            ("https://App.example.org", false),
            ("http://app.example.org", false),
            ("null", false),
            ("*", false),
        ] {
            assert_eq!(is_origin(origin), expected, "{origin}");
        }
        let found = origin_of("https://App.example.org:1/cb?x");
        assert_eq!(found.as_deref(), Some("https://app.example.org:1"));
        assert_eq!(origin_of("org.example.app:/cb"), None);
    }
}
