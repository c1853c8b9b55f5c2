//! State that apps keep here: each its own, by the codes of its own systems.
//!
//! Covers: security R9.

use kiln::app::sink::EngineSink;

use super::super::browser::{app, register, server_with, user};
use super::super::tokens::client::{granted, text, tokens};
use crate::harness::client::{Answer, Client};
use crate::harness::database::temporary;
use crate::harness::server::TestServer;

const ROLES: &str = r#"
[roles.clinician]
scopes = ["user/*.cruds"]
panel = "all"
clearance = "R"
second_factor = false
"#;

const ONE: &str = "https://one.example/state";
const TWO: &str = "https://two.example/state";
const JSON_PATCH: &str = "application/json-patch+json";

/// State with a code of a system, and what else it has.
fn state(system: &str, code: &str, rest: &str) -> String {
    format!(
        r#"{{"resourceType":"Basic","code":{{"coding":[{{"system":"{system}","code":"{code}"}}]}}{rest}}}"#
    )
}

/// The same with its id.
fn known(id: &str, system: &str, code: &str, rest: &str) -> String {
    state(system, code, rest).replacen('{', &format!(r#"{{"id":"{id}","#), 1)
}

fn texts(value: &str) -> String {
    format!(r#","extension":[{{"url":"https://one.example/x","valueString":"{value}"}}]"#)
}

/// An app that keeps state by codes of these systems, as a user has it.
struct App {
    client: Client,
    token: String,
}

impl App {
    async fn new(server: &TestServer, id: &str, systems: &[&str]) -> Self {
        let mut client = app(id, "user/*.cruds");
        client.state_systems = systems.iter().map(|it| (*it).to_owned()).collect();
        register(server, &client).await;
        let account = user(server, &format!("user-of-{id}"), "clinician", None).await;
        let answer = tokens(server, &granted(id, "user/*.cruds", Some(account))).await;
        let token = format!("Bearer {}", text(&answer, "access_token"));
        Self { client: server.client.clone(), token }
    }

    async fn ask(&self, method: &str, path: &str, body: &str, tag: Option<&str>) -> Answer {
        let mut call = self.client.call(method, path).header("Authorization", &self.token);
        if let Some(tag) = tag {
            call = call.header("If-Match", tag);
        }
        match method {
            "GET" | "DELETE" => call.send().await,
            "PATCH" => call.header("Content-Type", JSON_PATCH).body(body.to_owned()).send().await,
            _ => call.json(body.to_owned()).send().await,
        }
    }

    async fn count(&self, path: &str) -> String {
        self.ask("GET", path, "", None).await.expect(200).at("total").unwrap()
    }
}

async fn world() -> (TestServer, App, App, App) {
    world_with(&[]).await
}

async fn world_with(settings: &[(&str, &str)]) -> (TestServer, App, App, App) {
    let file = temporary("state-roles");
    std::fs::write(&file, ROLES).unwrap();
    let path = file.display().to_string();
    let all: Vec<_> = settings.iter().copied().chain([("auth.roles", path.as_str())]).collect();
    let server = server_with(&all).await;
    let sink = EngineSink::new(server.engine().clone(), server.store().clone(), "test");
    let patients = ["p1", "p2"].map(|id| {
        format!(
            r#"{{"resource":{{"resourceType":"Patient","id":"{id}"}},"request":{{"method":"PUT","url":"Patient/{id}"}}}}"#
        )
    });
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#,
        patients.join(",")
    );
    Box::pin(sink.load_transaction(bundle.into())).await.unwrap();
    let one = App::new(&server, "one", &[ONE]).await;
    let two = App::new(&server, "two", &[TWO]).await;
    let plain = App::new(&server, "plain", &[]).await;
    (server, one, two, plain)
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_changed_and_deleted_by_who_says_which_version() {
    let (server, one, _, _) = world().await;
    let subject = r#","subject":{"reference":"Patient/p1"}"#;
    let first = format!("{subject}{}", texts("a"));
    let made = one.ask("POST", "/Basic", &state(ONE, "prefs", &first), None).await.expect(201);
    let id = made.id();
    let path = format!("/Basic/{id}");
    let second = known(&id, ONE, "prefs", &format!("{subject}{}", texts("b")));
    let change = r#"[{"op":"replace","path":"/extension/0/valueString","value":"c"}]"#;
    let entry = |tag: &str| {
        format!(
            r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{second},"request":{{"method":"PUT","url":"Basic/{id}"{tag}}}}}]}}"#
        )
    };
    for tag in [None, Some("W/\"7\"")] {
        one.ask("PUT", &path, &second, tag).await.expect(412);
        one.ask("PATCH", &path, change, tag).await.expect(412);
        one.ask("DELETE", &path, "", tag).await.expect(412);
    }
    let of_code = format!("/Basic?code={ONE}|prefs");
    one.ask("PUT", &of_code, &second, None).await.expect(412);
    one.ask("DELETE", &of_code, "", None).await.expect(412);
    one.ask("POST", "/", &entry(""), None).await.expect(412);
    assert_eq!(one.ask("GET", &path, "", None).await.at("meta.versionId").as_deref(), Some("1"));

    one.ask("PUT", &path, &second, Some("W/\"1\"")).await.expect(200);
    one.ask("PATCH", &path, change, Some("W/\"2\"")).await.expect(200);
    let tag = r#","ifMatch":"W/\"3\"""#;
    one.ask("POST", "/", &entry(tag), None).await.expect(200);
    // What it is about and whose it is stay, and it does not become something else.
    let other = r#","subject":{"reference":"Patient/p2"}"#;
    for changed in [
        known(&id, ONE, "others", &first),
        known(&id, ONE, "prefs", &format!("{other}{}", texts("a"))),
        known(&id, ONE, "prefs", &texts("a")),
        known(&id, "urn:other", "prefs", &first),
    ] {
        one.ask("PUT", &path, &changed, Some("W/\"4\"")).await.expect(412);
    }
    let recode = r#"[{"op":"replace","path":"/code/coding/0/code","value":"x"}]"#;
    one.ask("PATCH", &path, recode, Some("W/\"4\"")).await.expect(412);
    one.ask("DELETE", &path, "", Some("W/\"4\"")).await.expect(204);
    one.ask("GET", &path, "", None).await.expect(410);
    // No id is chosen for it.
    let own = known("mine", ONE, "prefs", &first);
    for tag in [None, Some("W/\"1\""), Some("*")] {
        let answer = one.ask("PUT", "/Basic/mine", &own, tag).await;
        assert!([404, 412].contains(&answer.status), "{answer:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_small_and_made_of_texts() {
    let (server, one, _, plain) = world().await;
    let nested = r#","extension":[{"url":"u:x","extension":[{"url":"y","valueString":"a"}]}]"#;
    let number = r#","extension":[{"url":"u:x","valueInteger":1}]"#;
    let half = texts(&"x".repeat(200 * 1024));
    let large = texts(&"x".repeat(257 * 1024));
    for (rest, status) in [
        (texts("a"), 201),
        (String::new(), 201),
        (half, 201),
        (large.clone(), 413),
        (nested.to_owned(), 422),
        (number.to_owned(), 422),
    ] {
        let answer = one.ask("POST", "/Basic", &state(ONE, "prefs", &rest), None).await;
        assert_eq!(answer.status, status, "{} bytes: {answer:?}", rest.len());
    }
    // Of what is no state of the app's nothing of this is asked, nor of other clients.
    for rest in [large.as_str(), nested, number] {
        one.ask("POST", "/Basic", &state("urn:other", "x", rest), None).await.expect(201);
    }
    let made = plain.ask("POST", "/Basic", &state("urn:other", "x", number), None).await;
    let id = made.expect(201).id();
    let changed = known(&id, "urn:other", "y", "");
    plain.ask("PUT", &format!("/Basic/{id}"), &changed, None).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_of_an_app_is_nobody_elses() {
    let (server, one, two, plain) = world().await;
    let made = one.ask("POST", "/Basic", &state(ONE, "prefs", &texts("a")), None).await;
    let id = made.expect(201).id();
    let path = format!("/Basic/{id}");
    let of_code = format!("/Basic?code={ONE}|");
    assert_eq!(one.count(&of_code).await, "1");
    for other in [&two, &plain] {
        assert_eq!(
            (other.count(&of_code).await, other.count("/Basic").await),
            ("0".into(), "0".into())
        );
        other.ask("GET", &path, "", None).await.expect(404);
        other.ask("GET", &format!("{path}/_history/1"), "", None).await.expect(404);
        let changed = known(&id, ONE, "prefs", &texts("b"));
        for tag in [None, Some("W/\"1\"")] {
            let answer = other.ask("PUT", &path, &changed, tag).await;
            assert!([404, 412].contains(&answer.status), "{answer:?}");
            let answer = other.ask("DELETE", &path, "", tag).await;
            assert!([204, 412].contains(&answer.status), "{answer:?}");
        }
        // Nor is what others make taken for the app's.
        other.ask("POST", "/Basic", &state(ONE, "prefs", ""), None).await.expect(403);
    }
    one.ask("POST", "/Basic", &state(TWO, "prefs", ""), None).await.expect(403);
    let kept = one.ask("GET", &path, "", None).await.expect(200);
    assert_eq!(kept.at("meta.versionId").as_deref(), Some("1"));
    two.ask("POST", "/Basic", &state(TWO, "prefs", ""), None).await.expect(201);
    assert_eq!((one.count("/Basic").await, two.count("/Basic").await), ("1".into(), "1".into()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_is_that_of_one_app() {
    let (server, ..) = world().await;
    let configuration = server.client.get("/.well-known/smart-configuration").await.expect(200);
    assert!(configuration.text().contains("\"smart-app-state\""), "{configuration:?}");
    // A system is that of one client.
    let authority = server.authority();
    for (system, is_free) in [(ONE, false), ("no system", false), ("urn:three", true)] {
        let new = kiln::oauth::admin::clients::NewClient {
            id: "three".to_owned(),
            name: None,
            app_type: kiln::oauth::client::AppType::Web,
            is_public: true,
            logo_uri: None,
            redirect_uris: vec!["https://three.example/cb".to_owned()],
            origins: Vec::new(),
            launch_uri: None,
            scopes: "user/Basic.cruds".to_owned(),
            jwks: None,
            jwks_uri: None,
            state_systems: vec![system.to_owned()],
            purpose: None,
        };
        let by = kiln::access::Caller::new(
            kiln::access::Principal::service("operator"),
            kiln::access::RequestContext {
                id: "r".to_owned(),
                method: "OTHER",
                path_and_query: "kiln client add".to_owned(),
                source: None,
            },
        );
        assert_eq!(authority.admit_client(new, &by).await.is_ok(), is_free, "{system}");
    }
    server.stop().await;
}

/// Where that is switched off, nobody keeps state, and what is there of it is nobody's.
///
/// Covers: security D4.
#[tokio::test(flavor = "multi_thread")]
async fn where_apps_keep_no_state_they_keep_none() {
    let (server, one, two, plain) = world_with(&[("auth.without", "smart-app-state")]).await;
    let kept = known("kept", ONE, "prefs", &texts("a"));
    crate::oauth::browser::store(&server, &[kept.as_str()]).await;
    for app in [&one, &two, &plain] {
        app.ask("POST", "/Basic", &state(ONE, "prefs", &texts("b")), None).await.expect(403);
        app.ask("GET", "/Basic/kept", "", None).await.expect(404);
        assert_eq!(app.count(&format!("/Basic?code={ONE}|prefs")).await, "0");
        // Other Basic resources are as everywhere.
        app.ask("POST", "/Basic", &state("urn:other", "x", ""), None).await.expect(201);
    }
    server.stop().await;
}
