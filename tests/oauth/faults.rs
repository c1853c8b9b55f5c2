//! The database goes away under the authorization server, and comes back: what is asked meanwhile is refused
//! for now and says nothing of what is inside, nothing is half granted, and all goes on where it was.

use std::time::{Duration, Instant};

use super::browser::{
    Browser, app, exchange as exchange_code, location, question, register, store, ticked, user,
};
use super::tokens::client::{
    SECRET, code_of, confidential, exchange, granted, read, refreshing, refused, send, service,
    text, tokens,
};
use crate::harness::client::Answer;
use crate::harness::database::Database;
use crate::harness::proxy::{Cut, Proxy};
use crate::harness::server::TestServer;
use crate::harness::wire::{State, Wire};

const SCOPES: &str = "launch/patient openid fhirUser offline_access patient/Patient.rs";
/// Longest time until a database that is back is used again.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is inside, in words of which no answer has one.
const INSIDE: &[&str] =
    &["postgres", "SQL", "sql", "kiln_app", "oauth_", "os error", "panicked", "broken pipe"];

/// A server that asks for tokens, its database at the end of a way, with a patient, an app, a service
/// and a user.
async fn world(url: &str, database: Database) -> TestServer {
    let server = TestServer::on(database, &[("auth.mode", "smart"), ("database.url", url)]).await;
    store(&server, &[r#"{"resourceType":"Patient","id":"p1","active":true}"#]).await;
    user(&server, "pat", "patient", Some("Patient/p1")).await;
    register(&server, &app("app", SCOPES)).await;
    register(&server, &confidential("web", SCOPES)).await;
    register(&server, &service("job", "system/Patient.rs")).await;
    server
}

/// Fails unless an answer says that it does not go at this moment, and nothing more.
fn is_away(what: &str, answer: &Answer) {
    assert_eq!(answer.status, 503, "{what}: {answer:?}");
    let (said, shown) = (answer.text(), format!("{:?}", answer.headers));
    for word in INSIDE {
        assert!(!said.contains(word) && !shown.contains(word), "{what} tells {word}: {answer:?}");
    }
    for given in ["kiln_at_", "kiln_rt_", "kiln_cs_", "code="] {
        assert!(
            !said.contains(given) && !shown.contains(given),
            "{what} gives {given}: {answer:?}"
        );
    }
}

/// How many there are of all that lets somebody in, or lets nobody in any more.
async fn kept(database: &Database) -> Vec<i64> {
    let mut all = Vec::new();
    for of in [
        "oauth_grant",
        "oauth_grant WHERE ended_at IS NOT NULL",
        "oauth_code",
        "oauth_code WHERE used_at IS NOT NULL",
        "oauth_token",
        "oauth_token WHERE revoked_at IS NOT NULL OR replaced_by IS NOT NULL",
        "oauth_authorization",
        "auth_session",
        "login_attempt",
        "consent_decision",
    ] {
        all.push(database.number(&format!("SELECT count(*) FROM {of}")).await);
    }
    all
}

/// Waits until the server uses its database again.
async fn until_back(server: &TestServer) {
    let began = Instant::now();
    let url = format!("{}/health/ready", server.client.root());
    while server.client.get(&url).await.status != 200 {
        assert!(began.elapsed() < PATIENCE, "the database is back and not used");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a program asks for: where, and with which fields.
type Asked<'a> = (&'static str, Vec<(&'a str, &'a str)>);

/// Covers: security T1, T2.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_nothing_is_granted_and_nothing_is_lost() {
    let database = Database::migrated().await;
    let wire = Wire::to(&database.app).await;
    let url = wire.url(&database.app);
    let server = world(&url, database).await;
    let account = server.authority().account_named("pat").await.unwrap().expect("an account").id;
    let grant = || granted("app", SCOPES, Some(account));
    let held = tokens(&server, &grant()).await;
    let (access, refresh) = (text(&held, "access_token"), text(&held, "refresh_token"));
    let spare = text(&tokens(&server, &grant()).await, "refresh_token");
    let code = code_of(&server, &grant()).await;
    let job = [("grant_type", "client_credentials"), ("scope", "system/Patient.rs")];
    let proof = [("client_id", "job"), ("client_secret", SECRET)];
    let web = [("client_id", "web"), ("client_secret", SECRET)];
    let asked: [Asked<'_>; 5] = [
        ("/auth/token", exchange("app", &code)),
        ("/auth/token", refreshing("app", &refresh)),
        ("/auth/token", [job, proof].concat()),
        ("/auth/introspect", [&[("token", access.as_str())][..], &web].concat()),
        ("/auth/revoke", vec![("token", spare.as_str()), ("client_id", "app")]),
    ];
    // Somebody is about to log in, and somebody about to let the app in.
    let address = format!("/auth/authorize?{}", question(&server, "app", &[("scope", SCOPES)]));
    let (mut outside, mut inside) = (Browser::new(&server), Browser::new(&server));
    let login = outside.open(&address).await.expect(200);
    let page = inside.open(&address).await.expect(200);
    let consent = inside.log_in(&page, "pat").await.expect(200);
    let scopes = ticked(&consent);
    let mut allow = vec![("decision", "allow")];
    allow.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    let before = kept(&server.database).await;

    wire.set(State::Cut);
    for (path, fields) in &asked {
        let answer = send(&server, path, fields).await;
        is_away(path, &answer);
        assert_eq!(answer.at("error").as_deref(), Some("temporarily_unavailable"), "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{path}: {answer:?}");
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"), "{path}");
        assert_eq!(answer.header("pragma").as_deref(), Some("no-cache"), "{path}");
    }
    is_away("authorize", &Browser::new(&server).get(&address).await);
    let person = [("username", "pat"), ("password", super::browser::PASSWORD)];
    is_away("login", &outside.submit(&login, "/auth/login", &person).await);
    is_away("consent", &inside.submit(&consent, "/auth/consent", &allow).await);
    is_away("a token that nobody knows", &read(&server, "kiln_at_unknown").await);
    assert_eq!(kept(&server.database).await, before, "something was half done");

    wire.set(State::Open);
    until_back(&server).await;
    for (path, fields) in &asked {
        let answer = send(&server, path, fields).await.expect(200);
        assert_eq!(answer.at("error"), None, "{path}: {answer:?}");
    }
    let told = send(&server, "/auth/introspect", &asked[3].1).await.expect(200);
    assert!(told.text().contains("\"active\":true"), "{told:?}");
    refused(&send(&server, "/auth/token", &refreshing("app", &spare)).await, 400, "invalid_grant");
    read(&server, &access).await.expect(200);
    let back = inside.submit(&consent, "/auth/consent", &allow).await.expect(303);
    exchange_code(&server, "app", &back).await.expect(200);
    // A password that nobody could look at was no wrong one.
    let entered = outside.submit(&login, "/auth/login", &person).await.expect(303);
    assert!(!location(&entered).contains("/auth/login"), "{entered:?}");
    server.stop().await;
}

/// A code whose exchange is lost on its way was not used, or its grant is over: nobody has tokens of which
/// nobody knows.
///
/// Covers: security L6.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_is_cut_off_grants_all_or_nothing() {
    let database = Database::migrated().await;
    let proxy = Proxy::before(&database).await;
    let url = proxy.url(&database);
    let server = world(&url, database).await;
    let account = server.authority().account_named("pat").await.unwrap().expect("an account").id;
    for (when, kept, again, live) in
        [(Cut::BeforeItArrives, 0, 200, 2), (Cut::BeforeItsAnswer, 2, 400, 0)]
    {
        let grant = granted("app", SCOPES, Some(account));
        let code = code_of(&server, &grant).await;
        proxy.cut("COMMIT", when);
        let answer = send(&server, "/auth/token", &exchange("app", &code)).await;
        assert!(proxy.has_cut(), "{when:?}");
        is_away("token", &answer);
        let all = format!("SELECT count(*) FROM oauth_token WHERE grant_id = '{}'", grant.id);
        assert_eq!(server.database.number(&all).await, kept, "{when:?}");
        let answer = send(&server, "/auth/token", &exchange("app", &code)).await;
        assert_eq!(answer.status, again, "{when:?}: {answer:?}");
        let counting = format!(
            "SELECT count(*) FROM oauth_token t JOIN oauth_grant g ON g.id = t.grant_id \
             WHERE g.id = '{}' AND g.ended_at IS NULL AND t.revoked_at IS NULL",
            grant.id
        );
        assert_eq!(server.database.number(&counting).await, live, "{when:?}");
    }
    // A refresh token is exchanged once more by who lost the answer.
    for when in [Cut::BeforeItArrives, Cut::BeforeItsAnswer] {
        let held = tokens(&server, &granted("app", SCOPES, Some(account))).await;
        let refresh = text(&held, "refresh_token");
        proxy.cut("COMMIT", when);
        let answer = send(&server, "/auth/token", &refreshing("app", &refresh)).await;
        assert!(proxy.has_cut(), "{when:?}");
        is_away("token", &answer);
        let next = send(&server, "/auth/token", &refreshing("app", &refresh)).await.expect(200);
        read(&server, &text(&next, "access_token")).await.expect(200);
    }
    server.stop().await;
}
