//! A browser without scripts that keeps cookies, an app that asks for codes, and a server with both.

use std::collections::BTreeMap;

use kiln::fhir::Instant;
use kiln::oauth::client::{AppType, Client as App, ClientKind};
use kiln::oauth::secret;
use secrecy::SecretString;
use uuid::Uuid;

use crate::harness::client::{Answer, Call, Client};
use crate::harness::server::TestServer;

/// A password that nobody tries first.
pub(crate) const PASSWORD: &str = "violet kettle under snow";
/// What the app is sent back to.
pub(crate) const REDIRECT: &str = "https://app.example/cb?x=1";
/// What it proves the exchange by.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A browser.
pub(crate) struct Browser {
    client: Client,
    pub(crate) jar: BTreeMap<String, String>,
    /// Of whom a proxy on the way says that it asks.
    forwarded: Option<String>,
}

impl Browser {
    pub(crate) fn new(server: &TestServer) -> Self {
        Self::of(server.client.clone())
    }

    /// One that goes to the endpoint of a client.
    pub(crate) fn of(client: Client) -> Self {
        Self { client, jar: BTreeMap::new(), forwarded: None }
    }

    /// One behind a proxy that saw it at an address.
    pub(crate) fn behind_proxy(server: &TestServer, address: &str) -> Self {
        Self { forwarded: Some(address.to_owned()), ..Self::new(server) }
    }

    fn call(&self, method: &str, path: &str) -> Call<'_> {
        let call = self.client.call(method, &self.url(path)).header("Cookie", &self.cookies());
        match &self.forwarded {
            Some(address) => call.header("X-Forwarded-For", address),
            None => call,
        }
    }

    fn url(&self, path: &str) -> String {
        if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.client.root())
        }
    }

    fn cookies(&self) -> String {
        let pairs = self.jar.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, answer: &Answer) {
        for line in answer.headers.get_all("set-cookie") {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if value.is_empty() {
                self.jar.remove(name);
            } else {
                self.jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Asks for a page; redirects are not followed.
    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let answer = self.call("GET", path).send().await;
        self.keep(&answer);
        answer
    }

    /// Sends a form; redirects are not followed.
    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let call = self.call("POST", path);
        let call = call.header("Content-Type", "application/x-www-form-urlencoded");
        let answer = call.body(form(fields)).send().await;
        self.keep(&answer);
        answer
    }

    /// Sends the form of a page with its hidden fields.
    pub(crate) async fn submit(
        &mut self,
        page: &Answer,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Answer {
        let (csrf, request) = (hidden(page, "csrf"), hidden(page, "request"));
        let mut all = vec![("csrf", csrf.as_str()), ("request", request.as_str())];
        all.extend(fields);
        self.post(path, &all).await
    }

    /// Follows redirects within the server.
    pub(crate) async fn follow(&mut self, answer: Answer) -> Answer {
        let mut answer = answer;
        while answer.status == 303 && location(&answer).starts_with('/') {
            answer = self.get(&location(&answer)).await;
        }
        answer
    }

    /// Asks for a page and follows.
    pub(crate) async fn open(&mut self, path: &str) -> Answer {
        let answer = self.get(path).await;
        self.follow(answer).await
    }

    /// Logs in at a page that asks for it, and follows.
    pub(crate) async fn log_in(&mut self, page: &Answer, name: &str) -> Answer {
        let fields = [("username", name), ("password", PASSWORD)];
        let answer = self.submit(page, "/auth/login", &fields).await;
        self.follow(answer).await
    }
}

/// The value of a hidden field; nothing where there is none.
pub(crate) fn hidden(page: &Answer, name: &str) -> String {
    let text = page.text();
    let start = format!("name=\"{name}\" value=\"");
    let Some(at) = text.find(&start) else { return String::new() };
    text[at + start.len()..].split('"').next().unwrap().to_owned()
}

/// Where a redirect leads.
pub(crate) fn location(answer: &Answer) -> String {
    answer.header("location").unwrap_or_default()
}

/// A parameter of the address that a redirect leads to, as it stands there.
pub(crate) fn parameter(answer: &Answer, name: &str) -> Option<String> {
    let url = location(answer);
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")).map(str::to_owned))
}

/// Fields as a form sends them.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let pairs = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// The values of the boxes of a consent page that are ticked from the start.
pub(crate) fn ticked(page: &Answer) -> Vec<String> {
    let text = page.text();
    let boxes = text.split("<input type=\"checkbox\"").skip(1);
    let ticked = boxes.filter(|it| it.split('>').next().unwrap().contains(" checked"));
    let value =
        |it: &str| it.split("value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    ticked.map(|it| value(it).replace("&amp;", "&")).collect()
}

/// A server that asks for tokens, with the resources of two patients.
pub(crate) async fn server() -> TestServer {
    server_with(&[]).await
}

pub(crate) async fn server_with(settings: &[(&str, &str)]) -> TestServer {
    let smart = [("auth.mode", "smart")];
    let all: Vec<_> = smart.iter().chain(settings).copied().collect();
    TestServer::start_with(&all).await
}

/// Stores what is stored by a part of the server.
pub(crate) async fn store(server: &TestServer, resources: &[&str]) {
    let entries = resources.iter().map(|resource| {
        let body = kiln::fhir::json::parse(resource.as_bytes()).unwrap();
        let of = body.str_at("resourceType").unwrap();
        let id = body.str_at("id").unwrap();
        format!(r#"{{"resource":{resource},"request":{{"method":"PUT","url":"{of}/{id}"}}}}"#)
    });
    let entries = entries.collect::<Vec<_>>().join(",");
    let bundle = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entries}]}}"#);
    let engine = server.engine().clone();
    let sink = kiln::app::sink::EngineSink::new(engine, server.store().clone(), "test");
    Box::pin(sink.load_transaction(bundle.into())).await.unwrap();
}

/// An account with [`PASSWORD`].
pub(crate) async fn user(server: &TestServer, name: &str, role: &str, is: Option<&str>) -> Uuid {
    let authority = server.authority();
    let password = Some(SecretString::from(PASSWORD.to_owned()));
    let roles = [role.to_owned()];
    authority.add_account(name, password, is, &roles).await.unwrap()
}

/// A public app.
pub(crate) fn app(id: &str, scopes: &str) -> App {
    App {
        id: id.to_owned(),
        kind: ClientKind::Public,
        app_type: AppType::Web,
        name: "Growth <b>chart</b> & \"co\"".to_owned(),
        logo_uri: None,
        redirect_uris: vec![REDIRECT.to_owned()],
        origins: Vec::new(),
        launch_uri: Some("https://app.example/launch".to_owned()),
        scopes: scopes.to_owned(),
        jwks: None,
        jwks_uri: None,
        secrets: "[]".to_owned(),
        created: Instant::from_micros(0),
        disabled_at: None,
        is_registered: false,
        state_systems: Vec::new(),
        purpose: None,
    }
}

/// What an app of a patient may ask for.
pub(crate) const SCOPES: &str = "launch launch/patient openid fhirUser offline_access online_access \
     patient/*.rs user/*.rs";

/// Registers an app.
pub(crate) async fn register(server: &TestServer, app: &App) {
    assert!(kiln::store::oauth::client::insert(server.store(), app).await.unwrap());
}

/// The question of an app.
pub(crate) fn question(server: &TestServer, client: &str, changes: &[(&str, &str)]) -> String {
    let base = server.client.base();
    let challenge = secret::challenge(VERIFIER);
    let mut all = vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("scope", "launch/patient openid fhirUser patient/Observation.rs patient/Patient.rs"),
        ("state", "s t/1"),
        ("aud", &base),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    for (name, value) in changes {
        all.retain(|(known, _)| known != name);
        if !value.is_empty() {
            all.push((name, value));
        }
    }
    form(&all)
}

/// Exchanges the code of an answer.
pub(crate) async fn exchange(server: &TestServer, client: &str, answer: &Answer) -> Answer {
    let code = parameter(answer, "code").unwrap_or_else(|| panic!("no code: {answer:?}"));
    let code = percent_encoding::percent_decode_str(&code).decode_utf8().unwrap().into_owned();
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", REDIRECT),
        ("client_id", client),
        ("code_verifier", VERIFIER),
    ];
    let call = server.client.call("POST", &format!("{}/auth/token", server.client.root()));
    let call = call.header("Content-Type", "application/x-www-form-urlencoded");
    call.body(form(&fields)).send().await
}

/// How many rows of the ledger have these: interaction, outcome, and a piece of what they tell.
pub(crate) async fn noted(server: &TestServer, kind: i16, outcome: i16, piece: &str) -> i64 {
    let (client, connection) =
        tokio_postgres::connect(&server.database.superuser, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let sql = "SELECT count(*) FROM ledger WHERE interaction = $1 AND outcome = $2 \
         AND coalesce(failure, '') || array_to_string(entities, ' ') LIKE '%' || $3 || '%'";
    let row = client.query_one(sql, &[&kind, &outcome, &piece]).await.unwrap();
    drop(client);
    let _ = driver.await;
    row.get(0)
}
