//! HTTP as the suites speak it: a connection for each request, no redirect followed, TLS by rustls.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// No request takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// No answer is larger.
const LARGEST: usize = 16 << 20;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A client.
#[derive(Clone)]
pub(super) struct Http {
    tls: TlsConnector,
}

/// A request in the making.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: Method,
    url: String,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
}

impl Call {
    pub(super) fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    pub(super) fn post(url: impl Into<String>) -> Self {
        Self::new(Method::POST, url)
    }

    pub(super) fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn bearer(self, token: &str) -> Self {
        self.header(hyper::header::AUTHORIZATION, format!("Bearer {token}"))
    }

    pub(super) fn form<N: AsRef<str>, V: AsRef<str>>(mut self, pairs: &[(N, V)]) -> Self {
        self.body = super::url::encode(pairs).into();
        self.header(hyper::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
    }

    pub(super) fn json(mut self, value: &Value) -> Self {
        self.body = value.to_string().into();
        self.header(hyper::header::CONTENT_TYPE, "application/json")
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) url: String,
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// The header, when it is there and is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body)
            .map_err(|error| format!("{} answers {} without JSON: {error}", self.url, self.status))
    }

    /// The status among `expected`, else what was answered instead.
    pub(super) fn expect(&self, expected: &[u16]) -> Result<(), String> {
        super::report::ensure(expected.contains(&self.status), || {
            let wanted: Vec<_> = expected.iter().map(u16::to_string).collect();
            let told = self.told();
            format!("{} answers {}{told}, not {}", self.url, self.status, wanted.join(" or "))
        })
    }

    /// An OAuth error or the first finding of an outcome, where the body is one.
    fn told(&self) -> String {
        let Ok(body) = serde_json::from_slice::<Value>(&self.body) else { return String::new() };
        let texts = [
            &body["error"],
            &body["error_description"],
            &body["issue"][0]["code"],
            &body["issue"][0]["diagnostics"],
        ];
        let texts: Vec<_> = texts.into_iter().filter_map(Value::as_str).collect();
        if texts.is_empty() { String::new() } else { format!(" ({})", texts.join(": ")) }
    }
}

impl Http {
    /// A client that trusts the machine's authorities.
    pub(super) fn new() -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends one request.
    ///
    /// # Errors
    /// A sentence: the server cannot be reached, or it does not speak HTTP. Statuses are no errors.
    pub(super) async fn send(&self, call: Call) -> Result<Answer, String> {
        let url = call.url.clone();
        match tokio::time::timeout(PATIENCE, self.exchange(call)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(format!("{url}: {error}")),
            Err(_) => Err(format!("{url}: no answer in {} s", PATIENCE.as_secs())),
        }
    }

    async fn exchange(&self, call: Call) -> Result<Answer, String> {
        let url = call.url.clone();
        let uri: Uri = url.parse().map_err(|error| format!("not an address: {error}"))?;
        let stream = self.connect(&uri).await.map_err(|error| error.to_string())?;
        let request = request(&uri, call)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let exchange = async move {
            let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, LARGEST).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok(Answer { url, status: parts.status.as_u16(), headers: parts.headers, body })
        };
        // The connection ends with the exchange, which says what went wrong.
        tokio::pin!(exchange, connection);
        tokio::select! {
            answer = &mut exchange => answer,
            _ = &mut connection => exchange.await,
        }
    }

    async fn connect(&self, uri: &Uri) -> io::Result<Box<dyn Stream>> {
        let fault = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_owned());
        let host = uri.host().ok_or_else(|| fault("no host"))?.trim_matches(['[', ']']);
        let is_secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(fault("neither http nor https")),
        };
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        if !is_secure {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Box::new(self.tls.connect(name, stream).await?))
    }
}

fn request(uri: &Uri, call: Call) -> Result<Request<Full<Bytes>>, String> {
    let authority = uri.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let path = uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
    let mut request = Request::builder().method(call.method).uri(path).header(HOST, host);
    for (name, value) in call.headers {
        let value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
        request = request.header(name, value);
    }
    request.body(Full::new(call.body)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_and_what_is_none_is_an_error() {
        for (answer, expected) in [
            (
                "HTTP/1.1 400 Bad Request\r\nX-A: b\r\nContent-Length: 23\r\n\r\n{\"error\":\"unsupported\"}",
                Some(400),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                Some(200),
            ),
            ("SSH-2.0\r\n\r\n", None),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/a?b=c", listener.local_addr().unwrap());
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let size = stream.read(&mut request).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                String::from_utf8_lossy(&request[..size]).into_owned()
            };
            let http = Http::new().unwrap();
            let call = Call::post(&url).bearer("t").form(&[("a", "b c")]);
            let (found, request) = tokio::join!(http.send(call), serve);
            assert!(request.starts_with("POST /a?b=c HTTP/1.1\r\nhost: 127.0.0.1:"), "{request}");
            assert!(request.ends_with("\r\n\r\na=b%20c"), "{request}");
            assert_eq!(found.as_ref().ok().map(|found| found.status), expected, "{found:?}");
            if let (Ok(found), Some(400)) = (&found, expected) {
                let text = found.expect(&[200, 201]).unwrap_err();
                assert!(text.ends_with("answers 400 (unsupported), not 200 or 201"), "{text}");
            }
        }
        let http = Http::new().unwrap();
        for url in ["ftp://127.0.0.1/", "nowhere", "http://127.0.0.1:1/"] {
            assert!(http.send(Call::get(url)).await.is_err(), "{url}");
        }
    }
}
