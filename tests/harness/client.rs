//! A small HTTP client whose answers are easy to look into.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kiln::fhir::json::{self, Value};

use super::json::at;

/// No request of a test takes longer than this.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks to wait for words, and says whether all are found.
const WORDS: &str = "kiln-fulltext";

/// A client of one server; cheap to clone, connections are shared.
#[derive(Clone)]
pub(crate) struct Client {
    pool: Pool<HttpConnector, Full<Bytes>>,
    root: String,
}

/// One answer, read to its end.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// One request in the making.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    client: &'a Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let pool = Pool::builder(TokioExecutor::new()).build_http();
        Self { pool, root: format!("http://{address}") }
    }

    /// A client at another address of this machine.
    pub(crate) fn at_address(&self, own: IpAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_local_address(Some(own));
        let pool = Pool::builder(TokioExecutor::new()).build(connector);
        Self { pool, root: self.root.clone() }
    }

    /// The same server below a path.
    pub(crate) fn below(&self, path: &str) -> Self {
        Self { pool: self.pool.clone(), root: format!("{}{path}", self.root) }
    }

    /// The server's address without the FHIR base's path.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// The FHIR base.
    pub(crate) fn base(&self) -> String {
        format!("{}/fhir", self.root)
    }

    /// A request for `url`: absolute, or below the FHIR base.
    pub(crate) fn call(&self, method: &str, url: &str) -> Call<'_> {
        let url = if url.starts_with("http") {
            url.to_owned()
        } else {
            format!("{}/{}", self.base(), url.trim_start_matches('/'))
        };
        Call {
            client: self,
            method: Method::from_bytes(method.as_bytes()).unwrap(),
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    pub(crate) async fn get(&self, url: &str) -> Answer {
        self.call("GET", url).send().await
    }

    pub(crate) async fn post(&self, url: &str, body: impl Into<Bytes>) -> Answer {
        self.call("POST", url).json(body).send().await
    }

    pub(crate) async fn put(&self, url: &str, body: impl Into<Bytes>) -> Answer {
        self.call("PUT", url).json(body).send().await
    }

    pub(crate) async fn delete(&self, url: &str) -> Answer {
        self.call("DELETE", url).send().await
    }
}

impl Call<'_> {
    /// Adds a header; one more of the same name stands beside it.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A body of FHIR JSON.
    pub(crate) fn json(self, body: impl Into<Bytes>) -> Self {
        self.header("Content-Type", "application/fhir+json").body(body)
    }

    /// Sends and reads the answer.
    pub(crate) async fn send(self) -> Answer {
        let what = format!("{} {}", self.method, self.url);
        match self.try_send().await {
            Ok(answer) => answer,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// The same for servers that may die meanwhile.
    ///
    /// Who waits for words waits longer than a server does: the transactions of all tests, which have
    /// one cluster, must have ended.
    pub(crate) async fn try_send(self) -> Result<Answer, String> {
        let waits = self.headers.get(WORDS).is_some_and(|it| it == "wait");
        let began = Instant::now();
        loop {
            let answer = self.clone().try_once().await;
            let is_behind = |answer: &Answer| answer.header(WORDS).as_deref() == Some("behind");
            if !waits || !answer.as_ref().is_ok_and(is_behind) || began.elapsed() > PATIENCE * 5 {
                return answer;
            }
        }
    }

    async fn try_once(self) -> Result<Answer, String> {
        let uri: Uri = self.url.parse().map_err(|error| format!("{}: {error}", self.url))?;
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers;
        let answer = async {
            let answer = self.client.pool.request(request).await.map_err(|error| chain(&error))?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| chain(&error))?.to_bytes();
            Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        tokio::time::timeout(PATIENCE, answer).await.map_err(|_| "no answer in time".to_owned())?
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Answer {
    /// The value of a header; several of one name are joined by commas.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let all: Vec<_> = self
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value<'static> {
        match json::parse(&self.body) {
            Ok(value) => value.into_owned(),
            Err(error) => panic!("not JSON ({error:?}): {self:?}"),
        }
    }

    /// The text or number at a path of the JSON body.
    pub(crate) fn at(&self, path: &str) -> Option<String> {
        let body = self.json();
        at(&body, path)
            .and_then(|value| value.as_str().or_else(|| value.as_number()).map(str::to_owned))
    }

    /// The logical id in the body.
    pub(crate) fn id(&self) -> String {
        self.at("id").unwrap_or_else(|| panic!("no id in {self:?}"))
    }

    /// The version in the body.
    pub(crate) fn version(&self) -> u64 {
        let text = self.at("meta.versionId").unwrap_or_else(|| panic!("no version in {self:?}"));
        text.parse().unwrap()
    }

    /// Fails unless the status is `expected`.
    #[track_caller]
    pub(crate) fn expect(self, expected: u16) -> Self {
        assert_eq!(self.status, expected, "{self:?}");
        self
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(out, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        let text: String = self.text().chars().take(3000).collect();
        write!(out, "\n{text}")
    }
}
