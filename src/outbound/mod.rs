//! Requests that the server itself makes, to addresses that others name.
//!
//! Whoever names an address must not reach by it what only this machine can: names are resolved here,
//! every address they have must be public, and the connection goes to the address that was judged.
//! Redirects are not followed; time and size are bounded.
//!
//! Layer: 1. Imports `config`. Owns its connections.
//!
//! Spec: security H20

mod endpoints;
mod line;
mod reach;
mod signed;
mod trust;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName,
    HeaderValue, IF_NONE_MATCH, USER_AGENT,
};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::Network;

pub use endpoints::Endpoints;
pub use line::{Line, secured};
use reach::Reach;
pub use signed::Keys;
use signed::{Signed, sha256};
pub use trust::{Trust, TrustError, authorities, client};

/// Longest time for one request, from the name to the last byte.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no answer. Never holds what was sent.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum OutboundError {
    /// The URL is none that is called: not https, or with a user.
    #[error("{0}")]
    Url(String),
    /// The name has no address, or one that is not public.
    #[error("{0} is at no address that may be called")]
    Address(String),
    /// The other side did not answer as it should.
    #[error("{host}: {reason}")]
    Failed {
        /// Who was called.
        host: String,
        /// What happened.
        reason: String,
    },
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Bytes,
    /// How long it may be kept, as far as it says so.
    pub max_age: Option<Duration>,
}

/// What a client has the server send.
pub struct Parcel<'p> {
    /// Whether it replaces what is there (PUT), and is not given to be dealt with (POST).
    pub is_put: bool,
    /// Where it goes.
    pub url: &'p str,
    /// What the client wants beside it.
    pub headers: &'p [(String, String)],
    /// The type of the body; without one there is none.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
}

/// Makes requests.
pub struct Outbound {
    reach: Reach,
    tls: OnceLock<Arc<ClientConfig>>,
    patience: Duration,
}

impl Outbound {
    /// Requests to public addresses, and to these networks.
    pub fn new(networks: Vec<Network>) -> Self {
        Self { reach: Reach::new(networks), tls: OnceLock::new(), patience: PATIENCE }
    }

    /// The same for an address that the operator named, with the operator's authorities and time for
    /// more than a few bytes.
    #[must_use]
    pub fn with(self, trust: &Trust, patience: Duration) -> Self {
        Self { tls: OnceLock::from(trust.0.clone()), patience, ..self }
    }

    /// The same with another time for a request.
    #[must_use]
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Whether an address leads to where requests may go, as names are known now.
    ///
    /// # Errors
    /// [`OutboundError::Url`] and [`OutboundError::Address`].
    pub async fn find(&self, url: &str) -> Result<(), OutboundError> {
        self.reach.resolve(&Target::parse(url)?).await.map(drop)
    }

    /// Delivers a parcel; the status of the answer, of which at most `limit` bytes are read.
    ///
    /// # Errors
    /// Each [`OutboundError`].
    pub async fn deliver(&self, parcel: Parcel<'_>, limit: usize) -> Result<u16, OutboundError> {
        let unfit = || OutboundError::Url("a header cannot be sent".to_owned());
        let mut headers = Vec::new();
        for (name, value) in parcel.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| unfit())?;
            let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| unfit())?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        let described = match parcel.content_type {
            Some(content_type) => (CONTENT_TYPE, HeaderValue::from_static(content_type)),
            None => (CONTENT_LENGTH, HeaderValue::from_static("0")),
        };
        headers.push(described);
        let method = if parcel.is_put { Method::PUT } else { Method::POST };
        let answer = self.send(method, parcel.url, &headers, parcel.body.into(), limit).await?;
        Ok(answer.status)
    }

    /// GET of JSON, at most `limit` bytes of it.
    ///
    /// # Errors
    /// Each [`OutboundError`].
    pub async fn get(&self, url: &str, limit: usize) -> Result<Fetched, OutboundError> {
        self.send(Method::GET, url, &[], Bytes::new(), limit).await
    }

    /// POST of a form, for JSON of at most `limit` bytes.
    ///
    /// # Errors
    /// Each [`OutboundError`].
    pub async fn post_form(
        &self,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        form: String,
        limit: usize,
    ) -> Result<Fetched, OutboundError> {
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut headers = headers.to_vec();
        headers.push((CONTENT_TYPE, form_type));
        self.send(Method::POST, url, &headers, form.into(), limit).await
    }

    /// POST of JSON, for an answer of at most `limit` bytes.
    ///
    /// # Errors
    /// Each [`OutboundError`].
    pub async fn post_json(
        &self,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: String,
        limit: usize,
    ) -> Result<Fetched, OutboundError> {
        self.send(Method::POST, url, headers, body.into(), limit).await
    }

    /// PUT of lines of JSON as an object that is not there yet (else it is 412), signed where there are keys;
    /// `time` is now, as `20260102T030405Z`. For an answer of at most `limit` bytes.
    ///
    /// # Errors
    /// Each [`OutboundError`].
    pub async fn put_new(
        &self,
        url: &str,
        (keys, time): (Option<&Keys>, &str),
        lines: String,
        limit: usize,
    ) -> Result<Fetched, OutboundError> {
        let Target { authority, path, .. } = Target::parse(url)?;
        let body = sha256(lines.as_bytes());
        let mut headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
            (IF_NONE_MATCH, HeaderValue::from_static("*")),
        ];
        if let Some(keys) = keys {
            let signed = [
                ("host", authority.as_str()),
                ("x-amz-content-sha256", body.as_str()),
                ("x-amz-date", time),
            ];
            let it = Signed { method: "PUT", path: &path, headers: &signed, body: &body, time };
            let authorization = keys.authorization(&it);
            for (name, value) in [
                (HeaderName::from_static("x-amz-content-sha256"), body.as_str()),
                (HeaderName::from_static("x-amz-date"), time),
                (AUTHORIZATION, authorization.as_str()),
            ] {
                let value = HeaderValue::try_from(value);
                let mut value =
                    value.map_err(|_| OutboundError::Url("keys are no text".to_owned()))?;
                value.set_sensitive(name == AUTHORIZATION);
                headers.push((name, value));
            }
        }
        self.send(Method::PUT, url, &headers, lines.into(), limit).await
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        limit: usize,
    ) -> Result<Fetched, OutboundError> {
        let target = Target::parse(url)?;
        let host = target.host.clone();
        let answered = self.answered(method, &target, headers, body, limit);
        match tokio::time::timeout(self.patience, answered).await {
            Ok(answered) => answered,
            Err(_) => Err(OutboundError::Failed { host, reason: "no answer in time".to_owned() }),
        }
    }

    async fn answered(
        &self,
        method: Method,
        target: &Target,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
        limit: usize,
    ) -> Result<Fetched, OutboundError> {
        let address = self.reach.resolve(target).await?;
        let fault = |reason: String| target.fault(reason);
        let mut request = Request::builder()
            .method(method)
            .uri(target.path.as_str())
            .header(HOST, target.authority.as_str())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "kiln");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| fault(error.to_string()))?;
        let stream = connect(address).await.map_err(|error| fault(error.to_string()))?;
        let response = if target.is_secure {
            let name = ServerName::try_from(target.host.clone());
            let name = name.map_err(|error| fault(error.to_string()))?;
            let connector = TlsConnector::from(self.tls()?);
            let stream = connector.connect(name, stream).await;
            exchange(stream.map_err(|error| fault(error.to_string()))?, request, limit).await
        } else {
            exchange(stream, request, limit).await
        };
        response.map_err(fault)
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, OutboundError> {
        if let Some(known) = self.tls.get() {
            return Ok(known.clone());
        }
        let Trust(config) =
            Trust::open(None, None).map_err(|error| OutboundError::Url(error.to_string()))?;
        Ok(self.tls.get_or_init(|| config).clone())
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    TcpStream::connect(address).await
}

/// Sends one request and reads the answer; the connection ends with it.
async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Fetched, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        read(response, limit).await
    };
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // Who answers and closes at once has answered all the same.
        _ = connection => answer.await,
    }
}

async fn read(response: Response<Incoming>, limit: usize) -> Result<Fetched, String> {
    let (parts, mut body) = response.into_parts();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        if let Ok(data) = frame.into_data() {
            if all.len() + data.len() > limit {
                return Err(format!("the answer is larger than {limit} bytes"));
            }
            all.extend_from_slice(&data);
        }
    }
    let control = parts.headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let max_age = control.and_then(max_age);
    Ok(Fetched { status: parts.status.as_u16(), body: all.into(), max_age })
}

/// How long an answer with this `Cache-Control` may be kept.
fn max_age(control: &str) -> Option<Duration> {
    let directives = || control.split(',').map(str::trim);
    let has = |name: &str| directives().any(|it| it.eq_ignore_ascii_case(name));
    if has("no-store") || has("no-cache") {
        return Some(Duration::ZERO);
    }
    let seconds = directives().find_map(|it| it.strip_prefix("max-age="))?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Where a request goes.
#[derive(Clone, Debug)]
struct Target {
    is_secure: bool,
    /// The name or address, without brackets.
    host: String,
    port: u16,
    /// Host and port as the URL has them.
    authority: String,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, OutboundError> {
        let fault = |reason: &str| OutboundError::Url(format!("{url:?} {reason}"));
        let uri: Uri = url.parse().map_err(|_| fault("is not an absolute URL"))?;
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(fault("does not begin with https://")),
        };
        let authority = uri.authority().ok_or_else(|| fault("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(OutboundError::Url("a URL with a user is not called".to_owned()));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(fault("names no host"));
        }
        let port = authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |it| it.as_str()).to_owned();
        Ok(Self { is_secure, host, port, authority: authority.as_str().to_owned(), path })
    }

    fn fault(&self, reason: String) -> OutboundError {
        OutboundError::Failed { host: self.host.clone(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_web_addresses_without_a_user_are_called() {
        for (url, expected) in [
            ("https://a.org/jwks?x=1", Some(("a.org", 443, "/jwks?x=1"))),
            ("https://a.org:8443", Some(("a.org", 8443, "/"))),
            ("http://127.0.0.1:1/x", Some(("127.0.0.1", 1, "/x"))),
            ("https://[::1]/x", Some(("::1", 443, "/x"))),
            ("https://user:word@a.org/", None),
            ("https://a.org@b.org/", None),
            ("ftp://a.org/", None),
            ("file:///etc/passwd", None),
            ("/jwks", None),
            ("", None),
        ] {
            let parsed = Target::parse(url).ok();
            let parsed = parsed.as_ref().map(|it| (it.host.as_str(), it.port, it.path.as_str()));
            assert_eq!(parsed, expected, "{url}");
        }
    }

    #[test]
    fn an_answer_is_kept_as_long_as_it_says() {
        for (control, expected) in [
            ("max-age=60", Some(60)),
            ("public, max-age=5, must-revalidate", Some(5)),
            ("no-store", Some(0)),
            ("no-cache, max-age=60", Some(0)),
            ("public", None),
            ("max-age=x", None),
        ] {
            assert_eq!(max_age(control).map(|it| it.as_secs()), expected, "{control}");
        }
    }

    #[tokio::test]
    async fn what_is_inside_is_not_called() {
        let outbound = Outbound::new(Vec::new());
        for url in [
            "https://127.0.0.1/",
            "https://localhost/",
            "http://127.0.0.1:8080/",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://10.1.2.3/",
        ] {
            let refused = outbound.get(url, 100).await.err();
            let is_refused =
                matches!(refused, Some(OutboundError::Address(_) | OutboundError::Url(_)));
            assert!(is_refused, "{url}: {refused:?}");
        }
    }
}
