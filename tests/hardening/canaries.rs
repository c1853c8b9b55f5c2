//! Secrets and what is about patients, planted everywhere: none comes out where operators look.
//!
//! Covers: security H22, V35.

mod outside;

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use kiln::config::Config;
use secrecy::ExposeSecret as _;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::harness::client::Answer;
use crate::harness::server::TestServer;
use crate::oauth::accounts::{code_now, secret_of};
use crate::oauth::browser::{
    Browser, PASSWORD, VERIFIER, exchange, parameter, question, register, server_with, store, user,
};
use crate::oauth::emergency;
use crate::oauth::tokens::client::{
    SECRET, basic, confidential, public, send, send_with, service, text,
};

const SETTINGS: [(&str, &str); 3] = [
    ("auth.registration", "token"),
    ("auth.registration_token", "Canarysecret"),
    ("limits.registrations_per_minute", "0"),
];

/// Everything that is logged, at every level, with the fields of all spans.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0.lock().unwrap(), " {}={value:?}", field.name());
    }
}

/// Whether it is ours: what a library says below warnings is off unless somebody asks for it by name.
fn is_shown(metadata: &tracing::Metadata<'_>) -> bool {
    metadata.target().starts_with("kiln") || *metadata.level() <= tracing::Level::WARN
}

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        if is_shown(attributes.metadata()) {
            let _ = write!(self.0.lock().unwrap(), "\nspan {}", attributes.metadata().name());
            attributes.record(&mut self.clone());
        }
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut self.clone());
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if is_shown(event.metadata()) {
            let _ = write!(self.0.lock().unwrap(), "\n{}", event.metadata().target());
            event.record(&mut self.clone());
        }
    }
}

/// Answers that tell of a mistake, with their headers.
#[derive(Default)]
struct Mistakes(String);

impl Mistakes {
    fn keep(&mut self, answer: Answer) -> Answer {
        if answer.status >= 400 {
            let _ = writeln!(self.0, "{} {:?}\n{}", answer.status, answer.headers, answer.text());
        }
        answer
    }

    /// Who errs hears what of the question is wrong, and nothing that opens anything.
    #[track_caller]
    fn hold_none_of(&self, secrets: &[String]) {
        let text = &self.0;
        assert!(text.lines().count() > 60, "{text}");
        let wrong =
            ["Canarytoken", "Canarysecret", "Canarypassword", "Canary-factor", "Canary-glass"];
        for secret in secrets.iter().map(String::as_str).chain(wrong) {
            let at = text.find(secret).map(|at| text.split_at(at).0);
            let before = at.map(|it| it.chars().rev().take(300).collect::<Vec<_>>());
            let before = before.map(|it| it.into_iter().rev().collect::<String>());
            assert_eq!(before, None, "a secret in an answer");
        }
    }
}

/// Asks for everything that may carry something private, well and badly.
async fn used(server: &TestServer, token: &str, mistakes: &mut Mistakes) {
    let bearer = format!("Bearer {token}");
    let body = r#"{"resourceType":"Observation","id":"canary-id","status":"final","code":{"text":"Canarycode"},"subject":{"reference":"Patient/p1","display":"Canaryname"},"note":[{"text":"Canarynote"}]}"#;
    let cut = &body[..body.len() - 9];
    let broken = r#"{"resourceType":"Patient","id":"p1","Canaryname":"Canarynote"}"#;
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"batch","entry":[{{"resource":{body},"request":{{"method":"PUT","url":"Observation/canary-id"}}}},{{"request":{{"method":"GET","url":"Patient?name=Canaryname"}}}}]}}"#
    );
    for (method, url, body) in [
        ("PUT", "/Observation/canary-id", body),
        ("POST", "/Observation", body),
        ("POST", "/Observation", cut),
        ("POST", "/Patient", broken),
        ("POST", "/", bundle.as_str()),
        ("POST", "/Observation/$validate", body),
        ("PATCH", "/Observation/canary-id", r#"[{"op":"test","path":"/x","value":"Canaryname"}]"#),
        ("GET", "/Observation/canary-id", ""),
        ("GET", "/Observation/canary-none", ""),
        ("GET", "/Patient?name=Canaryname&birthdate=1901-02-03", ""),
        ("GET", "/Patient?Canaryname=x", ""),
        ("GET", "/Patient?birthdate=Canaryname", ""),
        ("GET", "/Patient?identifier=urn:canary|Canarynumber", ""),
        ("GET", "/Observation?subject.name=Canaryname&_sort=Canaryname", ""),
        ("GET", "/Patient/p1?access_token=Canarytoken", ""),
        ("GET", "/Canaryname/x", ""),
        ("DELETE", "/Observation/canary-id", ""),
    ] {
        let call = server.client.call(method, url).header("Authorization", &bearer);
        let kind =
            if method == "PATCH" { "application/json-patch+json" } else { "application/fhir+json" };
        let answer = call.header("Content-Type", kind).body(body.to_owned()).send().await;
        let answer = mistakes.keep(answer);
        assert!(answer.status < 500, "{method} {url}: {answer:?}");
        let wrong = server.client.call(method, url);
        let answer = wrong.header("Authorization", "Bearer Canarytoken").send().await;
        let answer = mistakes.keep(answer);
        assert!([401, 404].contains(&answer.status), "{method} {url}: {answer:?}");
    }
}

/// Logs in, agrees, exchanges, refreshes, asks, revokes; gives all secrets that were made on the way.
async fn danced(server: &TestServer, mistakes: &mut Mistakes) -> Vec<String> {
    let mut secrets = Vec::new();
    let mut browser = Browser::new(server);
    let scope = "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Observation.cruds";
    let asked = question(
        server,
        "app",
        &[("scope", scope), ("state", "Canarystate"), ("nonce", "Canarynonce")],
    );
    let login = browser.open(&format!("/auth/authorize?{asked}")).await.expect(200);
    let wrong = [("username", "pat"), ("password", "Canarypassword")];
    mistakes.keep(browser.submit(&login, "/auth/login", &wrong).await).expect(403);
    let mut page = browser.log_in(&login, "pat").await.expect(200);
    secrets.extend(browser.jar.values().cloned());
    if page.text().contains("action=\"/auth/patient\"") {
        let chosen = browser.submit(&page, "/auth/patient", &[("patient", "p1")]).await;
        page = browser.follow(chosen).await.expect(200);
    }
    let ticked = crate::oauth::browser::ticked(&page);
    let mut fields = vec![("decision", "allow")];
    fields.extend(ticked.iter().map(|scope| ("scope", scope.as_str())));
    let agreed = browser.submit(&page, "/auth/consent", &fields).await.expect(303);
    secrets.push(parameter(&agreed, "code").expect("a code"));
    let tokens = exchange(server, "app", &agreed).await.expect(200);
    for name in ["access_token", "refresh_token", "id_token"] {
        secrets.extend(tokens.at(name));
    }
    let refresh = text(&tokens, "refresh_token");
    let fields =
        [("grant_type", "refresh_token"), ("refresh_token", &*refresh), ("client_id", "app")];
    let fresh = send(server, "/auth/token", &fields).await.expect(200);
    for name in ["access_token", "refresh_token"] {
        secrets.extend(fresh.at(name));
    }
    let access = text(&fresh, "access_token");
    used(server, &access, mistakes).await;
    let basic = basic("web");
    let headers = [("Authorization", &*basic)];
    for path in ["/auth/introspect", "/auth/revoke"] {
        for token in [access.as_str(), "Canarytoken"] {
            let answer = send_with(server, path, &[("token", token)], &headers).await;
            let answer = mistakes.keep(answer);
            assert!(answer.status < 500, "{path}: {answer:?}");
        }
    }
    let wrong = [
        ("grant_type", "authorization_code"),
        ("code", "Canarycode"),
        ("client_secret", "Canarysecret"),
        ("client_id", "web"),
    ];
    assert!(mistakes.keep(send(server, "/auth/token", &wrong).await).status >= 400);
    let wrong =
        [("grant_type", "refresh_token"), ("refresh_token", &*access), ("client_id", "app")];
    assert!(mistakes.keep(send(server, "/auth/token", &wrong).await).status >= 400);
    secrets
}

/// Chooses a password by a link and sets a second factor up; gives the secrets, of which the last is a
/// recovery code.
async fn equipped(
    server: &TestServer,
    browser: &mut Browser,
    mistakes: &mut Mistakes,
) -> Vec<String> {
    let authority = server.authority();
    let roles = ["practitioner", "btg"].map(str::to_owned);
    let id = authority.add_account("doc", None, Some("Practitioner/d"), &roles).await.unwrap();
    let link = authority.make_link(Some(id)).await.unwrap().expose_secret().to_owned();
    let path = format!("/auth/setup/{link}");
    let page = browser.open(&path).await.expect(200);
    let chosen = [("password", PASSWORD), ("again", PASSWORD)];
    browser.submit(&page, &path, &chosen).await.expect(303);
    mistakes.keep(browser.open(&path).await).expect(404);
    mistakes.keep(browser.submit(&page, &path, &chosen).await).expect(404);
    let login = browser.open("/auth/login").await;
    let half = browser.log_in(&login, "doc").await.expect(200);
    let page = browser.submit(&half, "/auth/factors", &[("action", "begin-app")]).await.expect(200);
    let key = page.text().split("<p class=\"code\">").nth(1).unwrap().to_owned();
    let key: String = key.split('<').next().unwrap().split_whitespace().collect();
    assert_eq!(key.len(), 32, "the key of an app as people type it");
    let code = code_now(&secret_of(&page), 0);
    let right = [("action", "confirm-app"), ("code", code.as_str())];
    let codes = browser.submit(&page, "/auth/factors", &right).await.expect(200).text();
    let codes = codes.split("<span class=\"code\">").skip(1);
    let codes: Vec<String> = codes.map(|it| it[..17].to_owned()).collect();
    assert_eq!(codes.len(), 10);
    let mut other = Browser::new(server);
    let login = other.open("/auth/login").await;
    let page = other.log_in(&login, "doc").await;
    let wrong = [("code", "Canary-factor")];
    mistakes.keep(other.submit(&page, "/auth/second-factor", &wrong).await).expect(403);
    let cookies = [&*browser, &other].map(|it| it.jar.values().cloned().collect::<Vec<_>>());
    cookies.into_iter().flatten().chain([link, key]).chain(codes).collect()
}

/// Breaks the glass, launches an app and has one register itself, well and badly; gives the secrets.
async fn worked(server: &TestServer, mistakes: &mut Mistakes) -> Vec<String> {
    let mut browser = Browser::new(server);
    let mut secrets = equipped(server, &mut browser, mistakes).await;
    let recovery = secrets.last().unwrap().clone();
    let token = emergency::token(server, "doc", "user/*.rs").await;
    let bearer = format!("Bearer {token}");
    let reason = "Canarynote: unconscious, nobody to be reached";
    for (code, expected) in [("Canary-glass", 403), (&*recovery, 200), (&*recovery, 403)] {
        let fields = [("patient", "p1"), ("reason", reason), ("code", code)];
        let headers = [("Authorization", bearer.as_str())];
        let answer = send_with(server, "/auth/break-glass", &fields, &headers).await;
        secrets.extend(mistakes.keep(answer).expect(expected).at("access_token"));
    }
    let cookie = browser.jar.iter().map(|(name, value)| format!("{name}={value}"));
    let cookie = cookie.collect::<Vec<_>>().join("; ");
    let post = async |path: &str, header: (&str, &str), body: String| {
        let call = server.client.call("POST", &format!("{}{path}", server.client.root()));
        let call = call.header(header.0, header.1).header("Content-Type", "application/json");
        call.body(body).send().await
    };
    let cookie = ("Cookie", cookie.as_str());
    let body = r#"{"client_id":"app","patient":"p1"}"#.to_owned();
    let made = post("/auth/launch", cookie, body.clone()).await.expect(201);
    let handle = text(&made, "launch");
    let asked =
        question(server, "app", &[("launch", &handle), ("aud", "https://elsewhere.example")]);
    mistakes.keep(browser.open(&format!("/auth/authorize?{asked}")).await);
    let asked = question(server, "nobody", &[("launch", &handle)]);
    mistakes.keep(browser.open(&format!("/auth/authorize?{asked}")).await).expect(400);
    let unknown = body.replace("\"app\"", "\"nobody\"");
    mistakes.keep(post("/auth/launch", cookie, unknown).await).expect(400);

    let asked = r#"{"client_name":"Chart","redirect_uris":["https://chart.example.org/cb"],"scope":"openid patient/*.rs"}"#;
    let right = ("Authorization", "Bearer Canarysecret");
    let made = post("/auth/register", right, asked.to_owned()).await.expect(201);
    let wrong = ("Authorization", "Bearer Canarytoken");
    mistakes.keep(post("/auth/register", wrong, asked.to_owned()).await).expect(401);
    let url = format!("{}/auth/register/{}", server.client.root(), text(&made, "client_id"));
    let call = server.client.call("GET", &url).header("Authorization", "Bearer Canarytoken");
    mistakes.keep(call.send().await).expect(401);
    let told = ["client_secret", "registration_access_token"].map(|name| text(&made, name));
    secrets.into_iter().chain(told).chain([token, handle]).collect()
}

// One thread, so that the subscriber of this test sees the server's tasks and no others.
#[tokio::test]
async fn nothing_private_comes_out_where_operators_look() {
    let log = Log::default();
    // With a single subscriber in the process, threads that have none may decide for all that a span
    // interests nobody.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let _mine = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
    let server = server_with(&SETTINGS).await;
    store(
        &server,
        &[r#"{"resourceType":"Patient","id":"p1","name":[{"family":"Canaryname"}],"birthDate":"1901-02-03"}"#],
    )
    .await;
    user(&server, "pat", "patient", Some("Patient/p1")).await;
    let scopes = "launch/patient openid fhirUser offline_access patient/*.cruds";
    register(&server, &public("app", scopes)).await;
    register(&server, &confidential("web", scopes)).await;
    register(&server, &service("job", "system/*.cruds")).await;
    let mut mistakes = Mistakes::default();
    let mut secrets = danced(&server, &mut mistakes).await;
    secrets.extend(worked(&server, &mut mistakes).await);
    let job = basic("job");
    let headers = [("Authorization", &*job)];
    let fields = [("grant_type", "client_credentials"), ("scope", "system/*.cruds")];
    let job = send_with(&server, "/auth/token", &fields, &headers).await.expect(200);
    let job = text(&job, "access_token");
    used(&server, &job, &mut mistakes).await;
    secrets.push(job);
    let root = server.client.root().to_owned();
    let metrics = server.client.get(&format!("{root}/metrics")).await.text();
    let health = server.client.get(&format!("{root}/health/ready")).await.text();
    server.stop().await;

    let log = log.0.lock().unwrap().clone();
    assert!(log.contains("answered") && log.contains("span http.request"), "nothing was seen");
    // A broken glass is told there without any rule of `[alerts]`, and a try that opened nothing is not.
    assert_eq!(log.matches("the glass was broken").count(), 1);
    assert!(metrics.contains("kiln_break_glass_total"), "{metrics}");
    secrets.extend([PASSWORD, SECRET, VERIFIER].map(str::to_owned));
    secrets.retain(|secret| secret.len() > 8);
    assert!(secrets.len() > 25, "{}", secrets.len());
    mistakes.hold_none_of(&secrets);
    for (place, text) in [("log", &log), ("metrics", &metrics), ("health", &health)] {
        let lower = text.to_lowercase();
        for canary in ["canary", "1901-02-03"] {
            let at = lower.find(canary).map(|at| &lower[at.saturating_sub(300)..at + 40]);
            assert_eq!(at, None, "{canary} in the {place}");
        }
        for secret in &secrets {
            let at = text.find(secret.as_str()).map(|at| &text[at.saturating_sub(300)..at]);
            assert_eq!(at, None, "a secret in the {place}");
        }
    }
    // Whoever reaches them learns no place of anything either.
    for told in [&metrics, &health] {
        for detail in ["postgres://", "127.0.0.1", "/tmp", "kiln_app"] {
            assert!(!told.contains(detail), "{detail}: {told}");
        }
    }
}

#[test]
fn settings_that_are_secrets_are_not_printed() {
    let flags = [
        ("database.url", "postgres://kiln_app:canary-one@db.example.org/kiln"),
        ("database.owner_url", "postgres://kiln_owner:canary-two@db.example.org/kiln"),
        ("auth.registration", "token"),
        ("auth.registration_token", "canary-three"),
    ];
    let flags: Vec<_> =
        flags.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
    let config = Config::load(None, &flags).unwrap();
    let shown = format!("{config:?} {config:#?}");
    assert!(!shown.contains("canary") && shown.contains("REDACTED"), "{shown}");
}
