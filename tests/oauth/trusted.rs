//! Access tokens of an outside authorization server: signed ones, and those that it is asked about.
//!
//! Covers: security E1.

use kiln::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::browser::{register, server_with, store, user};
use super::tokens::bearer::until_refused;
use super::tokens::client::{
    SECRET, confidential, granted, public, read, send, server, text, tokens,
};
use super::tokens::signed::{Key, Published, change};
use crate::harness::client::{Answer, Client};
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

const ISSUER: &str = "https://tokens.example";
const AUDIENCE: &str = "https://api.example/fhir";

/// A server with two patients that trusts another.
async fn trusting(settings: &[(&str, &str)]) -> TestServer {
    let always = [("auth.outbound_networks", "127.0.0.0/8")];
    let all: Vec<_> = always.iter().chain(settings).copied().collect();
    let server = server_with(&all).await;
    store(
        &server,
        &[r#"{"resourceType":"Patient","id":"p1"}"#, r#"{"resourceType":"Patient","id":"p2"}"#],
    )
    .await;
    server
}

async fn get(server: &TestServer, url: &str, token: &str) -> Answer {
    let call = server.client.call("GET", url);
    call.header("Authorization", &format!("Bearer {token}")).send().await
}

#[tokio::test]
async fn the_outside_server_is_asked_what_a_token_is() {
    let scopes = "patient/Patient.rs patient/Observation.rs";
    let outside = server().await;
    register(&outside, &public("app", scopes)).await;
    register(&outside, &confidential("web", scopes)).await;
    let account = user(&outside, "pat", "patient", Some("Patient/p1")).await;
    let root = outside.client.root().to_owned();
    let (issuer, audience) = (format!("{root}/auth"), outside.client.base());
    let asked = format!("{issuer}/introspect");
    let here = trusting(&[
        ("trusted.other.issuer", &issuer),
        ("trusted.other.introspection_uri", &asked),
        ("trusted.other.client_id", "web"),
        ("trusted.other.client_secret", SECRET),
        ("trusted.other.audience", &audience),
        ("trusted.other.scopes", "patient/Patient.rs"),
    ])
    .await;
    let token = async || {
        text(&tokens(&outside, &granted("app", scopes, Some(account))).await, "access_token")
    };
    let first = token().await;
    read(&here, &first).await.expect(200);
    get(&here, "/Patient/p2", &first).await.expect(404);
    // The configuration says what counts at most.
    get(&here, "/Observation", &first).await.expect(403);
    for unknown in ["x", "a.b.c", "kiln_at_x"] {
        read(&here, unknown).await.expect(401);
    }
    let row =
        format!("SELECT count(*) FROM ledger WHERE client = '{issuer}#app' AND token IS NOT NULL");
    assert_eq!(here.database.number(&row).await, 3);
    let fields = [("token", first.as_str()), ("client_id", "app")];
    send(&outside, "/auth/revoke", &fields).await.expect(200);
    until_refused(&here, &first).await;
    // Who cannot be asked says nothing: that is no yes, and no reason to log in anew.
    let second = token().await;
    outside.stop().await;
    read(&here, &second).await.expect(503);
    here.stop().await;
}

/// Covers: security T11.
#[tokio::test]
async fn a_signed_token_counts_when_everything_about_it_is_right() {
    let (ec, rsa) = (Key::ec(), Key::rsa());
    let published = Published::start(&json!({ "keys": [ec.jwk("e"), rsa.jwk("r")] })).await;
    let here = trusting(&[
        ("trusted.other.issuer", ISSUER),
        ("trusted.other.jwks_uri", &published.url),
        ("trusted.other.audience", AUDIENCE),
        ("trusted.other.scopes", "system/Patient.rs,patient/Patient.rs"),
    ])
    .await;
    let now = SystemClock.now().as_micros() / 1_000_000;
    let made = |key: &Key, header: Value, claims: Value| {
        let mut whole_header = json!({ "alg": "ES384", "kid": "e", "typ": "at+jwt" });
        let mut whole = json!({
            "iss": ISSUER, "aud": ["other", AUDIENCE], "sub": "job", "client_id": "job",
            "scope": "system/Patient.rs system/Observation.rs", "exp": now + 300, "iat": now,
        });
        change(&mut whole_header, &header);
        change(&mut whole, &claims);
        key.sign(&whole_header, &whole)
    };
    let by_rsa = |alg: &str| made(&rsa, json!({ "alg": alg, "kid": "r" }), json!({}));
    let with = |header: Value, claims: Value| made(&ec, header, claims);
    let patient = json!({ "scope": "patient/Patient.rs", "sub": "somebody", "patient": "p2" });
    for (token, status) in [
        (with(json!({}), json!({})), 200),
        (with(json!({ "typ": null }), json!({ "aud": AUDIENCE, "azp": "x" })), 200),
        (by_rsa("RS256"), 200),
        (by_rsa("RS384"), 200),
        (with(json!({}), patient), 404),
        (with(json!({}), json!({ "scope": "patient/Patient.rs" })), 401),
        (with(json!({}), json!({ "patient": "../p1" })), 401),
        (with(json!({}), json!({ "fhirUser": "https://other.example/Patient/p1" })), 401),
        (with(json!({}), json!({ "scope": "user/Patient.rs" })), 403),
        (with(json!({}), json!({ "scope": "system/Observation.rs" })), 403),
        (with(json!({}), json!({ "iss": "https://evil.example" })), 401),
        (with(json!({}), json!({ "iss": null })), 401),
        (with(json!({}), json!({ "aud": "other" })), 401),
        (with(json!({}), json!({ "aud": null })), 401),
        (with(json!({}), json!({ "exp": now - 1 })), 401),
        (with(json!({}), json!({ "exp": null })), 401),
        (with(json!({}), json!({ "nbf": now + 120 })), 401),
        (with(json!({ "alg": "none" }), json!({})), 401),
        (with(json!({ "alg": "HS256" }), json!({})), 401),
        (with(json!({ "alg": "RS384" }), json!({})), 401),
        (with(json!({ "kid": "x" }), json!({})), 401),
        (with(json!({ "kid": "r" }), json!({})), 401),
        (with(json!({ "typ": "logout+jwt" }), json!({})), 401),
        (with(json!({ "crit": ["b64"] }), json!({})), 401),
        (made(&Key::ec(), json!({}), json!({})), 401),
        (format!("{}A", with(json!({}), json!({}))), 401),
    ] {
        let answer = read(&here, &token).await;
        assert_eq!(answer.status, status, "{token}: {answer:?}");
    }
    here.stop().await;
}

/// The token of a job, signed by `key` as `kid`, of an issuer.
fn job(key: &Key, kid: &str, issuer: &str) -> String {
    let now = SystemClock.now().as_micros() / 1_000_000;
    let claims = json!({
        "iss": issuer, "aud": AUDIENCE, "sub": "job", "client_id": "job",
        "scope": "system/Patient.rs system/Observation.rs", "exp": now + 300, "iat": now,
    });
    key.sign(&json!({ "alg": key.algorithm(), "kid": kid, "typ": "at+jwt" }), &claims)
}

/// A server that trusts another for tokens of patients with these scopes, and the key that signs them.
async fn of_patients(scopes: &str) -> (TestServer, Key) {
    let key = Key::ec();
    let published = Published::start(&json!({ "keys": [key.jwk("k")] })).await;
    let here = trusting(&[
        ("trusted.other.issuer", ISSUER),
        ("trusted.other.jwks_uri", &published.url),
        ("trusted.other.audience", AUDIENCE),
        ("trusted.other.scopes", scopes),
    ])
    .await;
    (here, key)
}

/// The token of a patient's app.
fn of_patient(key: &Key, id: &str) -> String {
    with_claims(key, &json!({ "patient": id }))
}

/// The same with other claims.
fn with_claims(key: &Key, claims: &Value) -> String {
    let now = SystemClock.now().as_micros() / 1_000_000;
    let mut whole = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "somebody", "client_id": "app", "patient": "p1",
        "scope": "patient/Patient.rs", "exp": now + 300, "iat": now,
    });
    change(&mut whole, claims);
    key.sign(&json!({ "alg": key.algorithm(), "kid": "k", "typ": "at+jwt" }), &whole)
}

/// The database keeps no NUL, and so nobody of such a name is on record.
///
/// Covers: security H6.
#[tokio::test]
async fn no_name_in_an_outside_token_has_a_nul() {
    let (here, key) = of_patients("patient/Patient.rs").await;
    read(&here, &with_claims(&key, &json!({}))).await.expect(200);
    for (claim, value, status) in [
        ("client_id", "app\0", 401),
        ("sub", "somebody\0", 401),
        ("patient", "p1\0", 401),
        ("fhirUser", "Patient/p1\0", 401),
        ("scope", "patient/Patient.rs \0", 200),
    ] {
        let answer = read(&here, &with_claims(&key, &json!({ claim: value }))).await;
        assert_eq!(answer.status, status, "{claim}: {answer:?}");
    }
    here.stop().await;
}

/// Covers: security S10.
#[tokio::test]
async fn what_consents_come_down_to_for_an_outside_token_is_on_record() {
    let (here, key) = of_patients("patient/Patient.rs").await;
    let consent = r#"{"resourceType":"Consent","id":"yes","status":"active","scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},"category":[{"text":"privacy"}],"patient":{"reference":"Patient/p1"},"policyRule":{"text":"ours"},"provision":{"type":"permit"}}"#;
    store(&here, &[consent]).await;
    let token = of_patient(&key, "p1");
    read(&here, &token).await.expect(200);
    read(&here, &token).await.expect(200);
    get(&here, "/Patient/p2", &of_patient(&key, "p2")).await.expect(200);
    let decided = format!(
        "SELECT count(*) FROM ledger WHERE interaction = 67 AND outcome = 0 \
         AND client = '{ISSUER}#app'"
    );
    assert_eq!(here.database.number(&decided).await, 1);
    let named = format!("{decided} AND 'Consent/yes' = ANY (entities)");
    assert_eq!(here.database.number(&named).await, 1);
    here.stop().await;
}

/// The events of reads.
async fn reads(auditor: &Client, query: &str) -> Answer {
    auditor.get(&format!("/AuditEvent?subtype=read&{query}")).await.expect(200)
}

/// The policies of the users in reads, each with BALP's patterns of the use of tokens that the event claims.
async fn uses(auditor: &Client, query: &str) -> Vec<(String, Vec<String>)> {
    let bundle: Value = serde_json::from_slice(&reads(auditor, query).await.body).unwrap();
    let events = bundle["entry"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |event: &Value| {
        let policy = event["resource"]["agent"][2]["policy"][0].as_str().unwrap();
        let claimed = event["resource"]["meta"]["profile"].as_array().unwrap();
        let claimed = claimed.iter().filter_map(Value::as_str);
        let patterns = claimed.filter_map(|it| it.split_once("OAUTHaccessTokenUse."));
        (policy.to_owned(), patterns.map(|(_, pattern)| pattern.to_owned()).collect())
    };
    events.iter().map(of).collect()
}

/// By the names that the issuer has for the token and its user, as BALP has it; a token without a name by a digest
/// that tells nothing of it.
///
/// Covers: security A1, security A8.
#[tokio::test]
async fn an_event_names_an_outside_user_and_token_as_their_issuer_does() {
    let (here, key) = of_patients("patient/Patient.rs").await;
    let jti = "01990000-0000-7000-8000-0000000000aa";
    let unlike = jti.to_uppercase();
    let odd = with_claims(&key, &json!({ "jti": 7, "sub": "bob" }));
    for (name, token) in [
        ("named", with_claims(&key, &json!({ "jti": jti, "sub": "ada#1" }))),
        ("unlike", with_claims(&key, &json!({ "jti": unlike, "sub": "bob" }))),
        ("odd", odd.clone()),
    ] {
        let call = here.client.call("GET", "/Patient/p1").header("X-Request-Id", name);
        let token = format!("Bearer {token}");
        call.header("Authorization", &token).send().await.expect(200);
    }
    let (auditor, _stop) = Token::new(&here, "system/AuditEvent.rs").client().await;
    let policy = format!("urn:ietf:params:oauth:jti:{jti}");
    let all = uses(&auditor, "_sort=date").await;
    let [named, other, unnamed] = &all[..] else { panic!("three reads: {all:?}") };
    assert_eq!(named.0, policy);
    assert_eq!(other.0, format!("urn:ietf:params:oauth:jti:{unlike}"));
    let digest = unnamed.0.strip_prefix("urn:kiln:token:").expect("no name of the issuer's");
    assert!(digest.len() == 32 && digest.bytes().all(|it| it.is_ascii_hexdigit()), "{digest}");
    for (one, patterns) in [
        (named, &["Minimal", "Comprehensive"][..]),
        (other, &["Minimal", "Comprehensive"]),
        (unnamed, &["Opaque"]),
    ] {
        assert_eq!(one.1, patterns, "{one:?}");
        assert_eq!(uses(&auditor, &format!("policy={}", one.0)).await, std::slice::from_ref(one));
    }
    let shown = reads(&auditor, "_count=50").await.text();
    assert!(!shown.contains(&odd[odd.len() - 32..]), "nothing of a token is on record");
    for query in [format!("policy={policy}"), format!("agent:identifier={ISSUER}|ada%231")] {
        let answer = reads(&auditor, &query).await;
        let agent = |path: &str| answer.at(&format!("entry[0].resource.agent[2].{path}"));
        assert_eq!(answer.json().items_at("entry").len(), 1, "{query}: {answer:?}");
        assert_eq!(agent("policy[0]").as_deref(), Some(policy.as_str()), "{query}");
        assert_eq!(agent("who.identifier.system").as_deref(), Some(ISSUER), "{query}");
        assert_eq!(agent("who.identifier.value").as_deref(), Some("ada#1"), "{query}");
    }
    let base = here.client.base();
    for (query, count) in [
        (format!("agent:identifier={ISSUER}|bob"), 2),
        (format!("agent:identifier={ISSUER}|"), 3),
        (format!("agent:identifier={ISSUER}|nobody"), 0),
        ("agent:identifier=https://other.example|bob".to_owned(), 0),
        (format!("agent:identifier={base}|{ISSUER}%23bob"), 0),
        (format!("agent:identifier={base}|"), 0),
    ] {
        let answer = reads(&auditor, &query).await;
        assert_eq!(answer.json().items_at("entry").len(), count, "{query}: {answer:?}");
    }
    here.stop().await;
}

/// Covers: security E20.
#[tokio::test]
async fn an_outside_token_of_a_merged_record_leads_to_the_one_that_took_its_place() {
    let (here, key) = of_patients("patient/Patient.rs").await;
    for (id, kind) in [("old", "replaced-by"), ("seen", "seealso")] {
        let link = format!(r#"{{"other":{{"reference":"Patient/p1"}},"type":"{kind}"}}"#);
        let old =
            format!(r#"{{"resourceType":"Patient","id":"{id}","active":false,"link":[{link}]}}"#);
        store(&here, &[&old]).await;
    }
    for (id, status) in [("old", 200), ("seen", 404), ("p2", 404)] {
        let token = of_patient(&key, id);
        get(&here, &format!("/Patient/{id}"), &token).await.expect(200);
        read(&here, &token).await.expect(status);
    }
    get(&here, "/Patient/p2", &of_patient(&key, "old")).await.expect(404);
    here.stop().await;
}

/// A server of a state.
const STATE: &str = "https://state.example";

/// What is set for several servers, but for where two of them publish their keys, and where one that
/// runs here is.
const SEVERAL: &[(&str, &str)] = &[
    ("trusted.hospital.issuer", ISSUER),
    ("trusted.hospital.audience", AUDIENCE),
    ("trusted.hospital.scopes", "system/Patient.rs"),
    ("trusted.state.issuer", STATE),
    ("trusted.state.audience", AUDIENCE),
    ("trusted.state.scopes", "system/Observation.rs"),
    ("trusted.kiln.client_id", "web"),
    ("trusted.kiln.client_secret", SECRET),
    ("trusted.kiln.scopes", "patient/Patient.rs"),
    ("trusted.kiln.token_prefix", "kiln_at_"),
    // Where a second one is asked, no token of another comes to it.
    ("trusted.away.issuer", "https://away.example"),
    ("trusted.away.introspection_uri", "http://127.0.0.1:9/introspect"),
    ("trusted.away.client_id", "kiln"),
    ("trusted.away.client_secret", SECRET),
    ("trusted.away.token_prefix", "away_"),
];

/// Covers: security C1.
#[tokio::test]
async fn of_several_servers_each_vouches_for_its_own_tokens_alone() {
    let scopes = "patient/Patient.rs";
    let outside = server().await;
    register(&outside, &public("app", scopes)).await;
    register(&outside, &confidential("web", scopes)).await;
    let account = user(&outside, "pat", "patient", Some("Patient/p1")).await;
    let root = outside.client.root().to_owned();
    let (issuer, audience) = (format!("{root}/auth"), outside.client.base());
    let asked = format!("{issuer}/introspect");
    let (hospital, state) = (Key::ec(), Key::ec());
    let of_hospital = Published::start(&json!({ "keys": [hospital.jwk("k")] })).await;
    let of_state = Published::start(&json!({ "keys": [state.jwk("k")] })).await;
    let own = [
        ("trusted.hospital.jwks_uri", of_hospital.url.as_str()),
        ("trusted.state.jwks_uri", of_state.url.as_str()),
        ("trusted.kiln.issuer", issuer.as_str()),
        ("trusted.kiln.introspection_uri", asked.as_str()),
        ("trusted.kiln.audience", audience.as_str()),
    ];
    let here = trusting(&[SEVERAL, &own].concat()).await;
    let opaque =
        text(&tokens(&outside, &granted("app", scopes, Some(account))).await, "access_token");
    // Each grants what the configuration says of its issuer.
    for (token, path, status) in [
        (job(&hospital, "k", ISSUER), "/Patient/p1", 200),
        (job(&hospital, "k", ISSUER), "/Observation", 403),
        (job(&state, "k", STATE), "/Observation", 200),
        (job(&state, "k", STATE), "/Patient/p1", 403),
        (opaque.clone(), "/Patient/p1", 200),
        (opaque.clone(), "/Patient/p2", 404),
        // Signed by another's key, under the same key id.
        (job(&state, "k", ISSUER), "/Patient/p1", 401),
        (job(&hospital, "k", STATE), "/Observation", 401),
        (job(&hospital, "k", "https://evil.example"), "/Patient/p1", 401),
        (job(&hospital, "k", &issuer), "/Patient/p1", 401),
        ("unlike_all_of_them".to_owned(), "/Patient/p1", 401),
        // The one that cannot be reached closes the way for its own.
        ("away_token".to_owned(), "/Patient/p1", 503),
        (job(&hospital, "k", "https://away.example"), "/Patient/p1", 503),
    ] {
        let answer = get(&here, path, &token).await;
        assert_eq!(answer.status, status, "{token} {path}: {answer:?}");
    }
    let fetched = |place: &Published| place.asked();
    assert_eq!((fetched(&of_hospital), fetched(&of_state)), (1, 1), "each was asked for its keys");
    // While the keys of one are gone, the tokens of the others count on.
    *of_state.answer.lock().unwrap() = (500, String::new(), String::new());
    outside.stop().await;
    get(&here, "/Patient/p1", &job(&hospital, "k", ISSUER)).await.expect(200);
    get(&here, "/Patient/p1", "kiln_at_another").await.expect(503);
    here.stop().await;
}

/// The outside server says which patient is in context; for whom somebody stands here is said here.
///
/// Covers: security S6.
#[tokio::test]
async fn by_an_outside_token_too_a_consent_is_of_who_stands_for_the_patient() {
    let (here, key) = of_patients("patient/Consent.cruds").await;
    store(
        &here,
        &[
            r#"{"resourceType":"RelatedPerson","id":"m1","patient":{"reference":"Patient/p1"}}"#,
            r#"{"resourceType":"RelatedPerson","id":"m2","patient":{"reference":"Patient/p2"}}"#,
            r#"{"resourceType":"RelatedPerson","id":"m0","active":false,"patient":{"reference":"Patient/p1"}}"#,
            r#"{"resourceType":"Person","id":"n1","link":[{"target":{"reference":"Patient/p1"}}]}"#,
        ],
    )
    .await;
    let consent = r#"{"resourceType":"Consent","status":"active","scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},"category":[{"text":"privacy"}],"patient":{"reference":"Patient/p1"},"policyRule":{"text":"ours"},"provision":{"type":"permit"}}"#;
    for (who, status) in [
        ("Patient/p1", 201),
        ("RelatedPerson/m1", 201),
        ("Person/n1", 201),
        ("Patient/p2", 403),
        ("RelatedPerson/m2", 403),
        ("RelatedPerson/m0", 403),
        ("Practitioner/d", 403),
    ] {
        let claims = json!({ "scope": "patient/Consent.cruds", "fhirUser": who });
        let token = format!("Bearer {}", with_claims(&key, &claims));
        let call = here.client.call("POST", "/Consent").header("Authorization", &token);
        let answer = call.json(consent).send().await;
        assert_eq!(answer.status, status, "{who}: {answer:?}");
    }
    here.stop().await;
}
