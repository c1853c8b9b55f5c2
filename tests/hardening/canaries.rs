//! Secrets and what is about patients, planted everywhere: none comes out where operators look.
//!
//! Covers: security H22, V35.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use kiln::config::Config;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::harness::server::TestServer;
use crate::oauth::browser::{
    Browser, PASSWORD, VERIFIER, exchange, parameter, question, register, server_with, store, user,
};
use crate::oauth::tokens::client::{
    SECRET, basic, confidential, public, send, send_with, service, text,
};

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

/// Asks for everything that may carry something private, well and badly.
async fn used(server: &TestServer, token: &str) {
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
        assert!(answer.status < 500, "{method} {url}: {answer:?}");
        let wrong = server.client.call(method, url);
        let answer = wrong.header("Authorization", "Bearer Canarytoken").send().await;
        assert!([401, 404].contains(&answer.status), "{method} {url}: {answer:?}");
    }
}

/// Logs in, agrees, exchanges, refreshes, asks, revokes; gives all secrets that were made on the way.
async fn danced(server: &TestServer) -> Vec<String> {
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
    browser.submit(&login, "/auth/login", &wrong).await.expect(403);
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
    used(server, &access).await;
    let basic = basic("web");
    let headers = [("Authorization", &*basic)];
    for path in ["/auth/introspect", "/auth/revoke"] {
        for token in [access.as_str(), "Canarytoken"] {
            let answer = send_with(server, path, &[("token", token)], &headers).await;
            assert!(answer.status < 500, "{path}: {answer:?}");
        }
    }
    let wrong = [
        ("grant_type", "authorization_code"),
        ("code", "Canarycode"),
        ("client_secret", "Canarysecret"),
        ("client_id", "web"),
    ];
    assert!(send(server, "/auth/token", &wrong).await.status >= 400);
    secrets
}

// One thread, so that the subscriber of this test sees the server's tasks and no others.
#[tokio::test]
async fn nothing_private_comes_out_where_operators_look() {
    let log = Log::default();
    // With a single subscriber in the process, threads that have none may decide for all that a span
    // interests nobody.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let _mine = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
    let server =
        server_with(&[("auth.registration", "token"), ("auth.registration_token", "Canarysecret")])
            .await;
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
    let mut secrets = danced(&server).await;
    let job = basic("job");
    let headers = [("Authorization", &*job)];
    let fields = [("grant_type", "client_credentials"), ("scope", "system/*.cruds")];
    let job = send_with(&server, "/auth/token", &fields, &headers).await.expect(200);
    let job = text(&job, "access_token");
    used(&server, &job).await;
    secrets.push(job);
    let root = server.client.root().to_owned();
    let metrics = server.client.get(&format!("{root}/metrics")).await.text();
    let health = server.client.get(&format!("{root}/health/ready")).await.text();
    server.stop().await;

    let log = log.0.lock().unwrap().clone();
    assert!(log.contains("answered") && log.contains("span http.request"), "nothing was seen");
    secrets.extend([PASSWORD, SECRET, VERIFIER].map(str::to_owned));
    for (place, text) in [("log", &log), ("metrics", &metrics), ("health", &health)] {
        let lower = text.to_lowercase();
        for canary in ["canary", "1901-02-03"] {
            let at = lower.find(canary).map(|at| &lower[at.saturating_sub(300)..at + 40]);
            assert_eq!(at, None, "{canary} in the {place}");
        }
        for secret in secrets.iter().filter(|secret| secret.len() > 8) {
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
