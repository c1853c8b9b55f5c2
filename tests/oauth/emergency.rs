//! Breaking the glass: who may, for whom, how long, and what is left of it.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kiln::access::{Caller, Principal, RequestContext};
use kiln::clock::{Clock as _, SystemClock};
use kiln::fhir::LogicalId;
use kiln::oauth::development::Wanted;
use kiln::store::oauth::emergency::{self as kept, Review};
use kiln::store::oauth::factor::{self, NewFactor};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use super::accounts::{code_now, secret_of};
use super::browser::{Browser, form, noted, server_with, store};
use crate::harness::client::Answer;
use crate::harness::database::connect;
use crate::harness::json::at;
use crate::harness::server::TestServer;

const BREAK_GLASS: i16 = 66;
const DECISION: i16 = 67;
const REASON: &str = "unconscious, no relatives to be reached";

/// A token of an account.
pub(crate) async fn token(server: &TestServer, name: &str, scopes: &str) -> String {
    token_for(server, name, scopes, None).await
}

/// The same about a patient.
pub(super) async fn token_for(
    server: &TestServer,
    name: &str,
    scopes: &str,
    patient: Option<&str>,
) -> String {
    let authority = server.authority();
    let account = authority.account_named(name).await.unwrap().expect("an account");
    let lifetime = Duration::from_mins(10);
    let patient: Option<LogicalId> = patient.map(|id| id.parse().unwrap());
    let wanted = Wanted {
        scopes,
        patient: patient.as_ref(),
        account: Some(&account),
        reason: None,
        lifetime,
    };
    let request = RequestContext {
        id: String::new(),
        method: "OTHER",
        path_and_query: "test".to_owned(),
        source: None,
    };
    let caller = Caller::new(Principal::service("operator"), request);
    authority.development_token(wanted, &caller).await.unwrap().expose_secret().to_owned()
}

pub(super) async fn read(server: &TestServer, token: &str, url: &str) -> Answer {
    let call = server.client.call("GET", url);
    call.header("Authorization", &format!("Bearer {token}")).send().await
}

async fn ask(server: &TestServer, token: &str, fields: &[(&str, &str)]) -> Answer {
    let call = server.client.call("POST", &format!("{}/auth/break-glass", server.client.root()));
    let call = call.header("Content-Type", "application/x-www-form-urlencoded");
    let call = call.header("Authorization", &format!("Bearer {token}"));
    call.body(form(fields)).send().await
}

/// The secret of an authenticator app that somebody sets up.
pub(crate) async fn enrolled(server: &TestServer, name: &str) -> Vec<u8> {
    let mut browser = Browser::new(server);
    let login = browser.open("/auth/login").await;
    let page = browser.log_in(&login, name).await.expect(200);
    let page = browser.submit(&page, "/auth/factors", &[("action", "begin-app")]).await.expect(200);
    let secret = secret_of(&page);
    let code = code_now(&secret, -1);
    let right = [("action", "confirm-app"), ("code", code.as_str())];
    browser.submit(&page, "/auth/factors", &right).await.expect(200);
    secret
}

async fn filled() -> TestServer {
    filled_with(&[]).await
}

async fn filled_with(settings: &[(&str, &str)]) -> TestServer {
    let server = server_with(settings).await;
    let deny = r#"{"resourceType":"Consent","id":"no","status":"active","scope":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}]},"category":[{"text":"privacy"}],"patient":{"reference":"Patient/a"},"policyRule":{"text":"ours"},"provision":{"type":"deny"}}"#;
    let observation = |id: &str, patient: &str, label: &str| {
        format!(
            r#"{{"resourceType":"Observation","id":"{id}"{label},"status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient/{patient}"}}}}"#
        )
    };
    let label = r#","meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"V"}]}"#;
    store(
        &server,
        &[
            r#"{"resourceType":"Patient","id":"a"}"#,
            r#"{"resourceType":"Patient","id":"b"}"#,
            &observation("a-lab", "a", ""),
            &observation("a-secret", "a", label),
            &observation("b-lab", "b", ""),
            deny,
        ],
    )
    .await;
    for (name, roles) in [("doc", &["practitioner", "btg"][..]), ("nurse", &["practitioner"])] {
        let roles: Vec<String> = roles.iter().map(|&role| role.to_owned()).collect();
        let password = secrecy::SecretString::from(super::browser::PASSWORD.to_owned());
        let person = Some("Practitioner/d");
        server.authority().add_account(name, Some(password), person, &roles).await.unwrap();
    }
    server
}

/// Ways to take along what is in a record.
const TAKEN_ALONG: [&str; 5] = [
    "/$export",
    "/Patient/$export",
    "/Group/g/$export",
    "/Patient/a/$everything",
    "/Patient/a/$summary",
];

/// Covers: security S8, M8.
#[tokio::test(flavor = "multi_thread")]
async fn who_breaks_the_glass_sees_one_patient_for_an_hour_and_answers_for_it() {
    let server = filled().await;
    let secret = enrolled(&server, "doc").await;
    let doc = token(&server, "doc", "user/*.cruds").await;
    read(&server, &doc, "/Observation/a-lab").await.expect(404);
    // What the consent came down to is on record once.
    read(&server, &doc, "/Observation/a-lab").await.expect(404);
    assert_eq!(noted(&server, DECISION, 8, "Consent/no").await, 1);
    let code = code_now(&secret, 0);
    let whole = [("patient", "a"), ("reason", REASON), ("purpose", "ETREAT"), ("code", &*code)];
    // Each part is needed, and each refusal is on record.
    for (place, value, status) in
        [(0, "a b", 400), (1, "because", 400), (2, "TREAT", 400), (3, "000000", 403)]
    {
        let mut fields = whole;
        fields[place].1 = value;
        ask(&server, &doc, &fields).await.expect(status);
    }
    assert_eq!(noted(&server, BREAK_GLASS, 4, "").await, 4);
    let nurse = token(&server, "nurse", "user/*.cruds").await;
    ask(&server, &nurse, &whole).await.expect(403);
    ask(&server, "kiln_at_nobody", &whole).await.expect(401);
    assert_eq!(noted(&server, BREAK_GLASS, 4, "").await, 6);

    let answer = ask(&server, &doc, &whole).await.expect(200);
    assert_eq!(answer.at("expires_in").as_deref(), Some("3600"));
    assert_eq!(answer.at("scope").as_deref(), Some("patient/*.rs"));
    assert_eq!(answer.at("patient").as_deref(), Some("a"));
    let broken = answer.at("access_token").unwrap();
    for (url, status) in [
        ("/Observation/a-lab", 200),
        ("/Observation/a-secret", 200),
        ("/Observation/b-lab", 404),
        ("/Patient/b", 404),
        ("/AuditEvent", 403),
    ] {
        read(&server, &broken, url).await.expect(status);
    }
    let found = read(&server, &broken, "/Observation").await.expect(200);
    assert_eq!(found.json().items_at("entry").len(), 2);
    let call = server.client.call("DELETE", "/Observation/a-lab");
    call.header("Authorization", &format!("Bearer {broken}")).send().await.expect(403);
    // Never for export, by whatever way somebody may ask for one.
    for url in TAKEN_ALONG {
        for method in ["GET", "POST"] {
            let call = server.client.call(method, url).header("Prefer", "respond-async");
            let call = call.json(r#"{"resourceType":"Parameters"}"#);
            let answer = call.header("Authorization", &format!("Bearer {broken}")).send().await;
            assert!((400..500).contains(&answer.status), "{method} {url}: {answer:?}");
        }
    }
    // It leads to no other one, the code works once, and the first token is as it was.
    ask(&server, &broken, &whole).await.expect(403);
    ask(&server, &doc, &whole).await.expect(403);
    read(&server, &doc, "/Observation/a-lab").await.expect(404);
    told(&server, &broken).await;
    server.stop().await;
}

/// A security key of somebody, as if it had been registered.
struct SecurityKey {
    pair: EcdsaKeyPair,
    count: u32,
}

impl SecurityKey {
    async fn of(server: &TestServer, name: &str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
        let made = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, made.as_ref(), &random).unwrap();
        let new = NewFactor {
            id: uuid::Uuid::from_u128(1),
            kind: "webauthn",
            label: "Security key",
            secret: pair.public_key().as_ref(),
            credential: Some(b"key"),
            counter: 0,
            is_confirmed: true,
        };
        let account = server.authority().account_named(name).await.unwrap().expect("an account");
        let now = SystemClock.now();
        assert!(factor::add(server.store(), account.id, new, now).await.unwrap());
        Self { pair, count: 0 }
    }

    /// What it answers to a page that asks it.
    fn touched(&mut self, server: &TestServer, page: &Answer) -> [(&'static str, String); 4] {
        self.count += 1;
        let authority = server.authority();
        let text = page.text();
        let form = text.split("data-key=\"assert\"").nth(1).expect("a form for security keys");
        let challenge = form.split("data-challenge=\"").nth(1).expect("a challenge");
        let challenge = challenge.split('"').next().unwrap();
        let client = format!(
            r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{}"}}"#,
            authority.origin()
        );
        let party = Sha256::digest(authority.relying_party());
        let data = [&party[..], &[1], &self.count.to_be_bytes()].concat();
        let signed = [&data[..], &Sha256::digest(&client)[..]].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &signed).unwrap();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        [
            ("credential", encode(b"key")),
            ("client_data", encode(client.as_bytes())),
            ("authenticator_data", encode(&data)),
            ("signature", encode(signature.as_ref())),
        ]
    }
}

/// Who has a security key alone gets a code by it, which works once; who has not touched it gets none.
///
/// Covers: security S8.
#[tokio::test(flavor = "multi_thread")]
async fn a_security_key_is_a_second_factor_for_an_emergency_too() {
    let server = filled().await;
    let mut key = SecurityKey::of(&server, "doc").await;
    let mut browser = Browser::new(&server);
    let login = browser.open("/auth/login").await;
    let page = browser.log_in(&login, "doc").await.expect(200);
    // Half logged in, there is no code.
    let touch = key.touched(&server, &page);
    let mut early: Vec<(&str, &str)> = touch.iter().map(|(name, text)| (*name, &**text)).collect();
    early.push(("action", "step-up"));
    let answer = browser.submit(&page, "/auth/factors", &early).await;
    assert!(!answer.text().contains("class=\"code\""), "{answer:?}");
    let page = browser.open("/auth/login").await.expect(200);
    let touch = key.touched(&server, &page);
    let proof: Vec<(&str, &str)> = touch.iter().map(|(name, text)| (*name, &**text)).collect();
    let answer = browser.submit(&page, "/auth/second-factor", &proof).await;
    browser.follow(answer).await.expect(200);

    let page = browser.open("/auth/factors").await.expect(200);
    let touch = key.touched(&server, &page);
    let mut proof: Vec<(&str, &str)> = touch.iter().map(|(name, text)| (*name, &**text)).collect();
    proof.push(("action", "step-up"));
    let told = browser.submit(&page, "/auth/factors", &proof).await.expect(200);
    let code = told.text().split("<p class=\"code\">").nth(1).expect("a code").to_owned();
    let code = code.split('<').next().unwrap().to_owned();
    // The same touch again makes no other one.
    browser.submit(&page, "/auth/factors", &proof).await.expect(403);

    let doc = token(&server, "doc", "user/*.cruds").await;
    let nurse = token(&server, "nurse", "user/*.cruds").await;
    let asked = [("patient", "a"), ("reason", REASON), ("purpose", "ETREAT"), ("code", &*code)];
    ask(&server, &nurse, &asked).await.expect(403);
    let broken = ask(&server, &doc, &asked).await.expect(200).at("access_token").unwrap();
    read(&server, &broken, "/Observation/a-lab").await.expect(200);
    ask(&server, &doc, &asked).await.expect(403);
    // It is no link by which a password is chosen.
    browser.open(&format!("/auth/setup/{code}")).await.expect(404);
    server.stop().await;
}

/// A consent of the patient that denies what `rest` says.
fn consent(id: &str, rest: &str) -> String {
    format!(
        r#"{{"resourceType":"Consent","id":"{id}","status":"active","scope":{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/consentscope","code":"patient-privacy"}}]}},"category":[{{"text":"privacy"}}],"patient":{{"reference":"Patient/a"}},"policyRule":{{"text":"ours"}},"provision":{{"type":"deny","purpose":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-ActReason","code":"BTG"}}]{rest}}}}}"#
    )
}

/// Where the law lets patients forbid it, a consent that names the purpose keeps the glass whole, or what it
/// says behind it; elsewhere it does not.
///
/// Covers: security S8, M8.
#[tokio::test(flavor = "multi_thread")]
async fn a_patient_may_forbid_that_the_glass_is_broken() {
    let a_part = r#","securityLabel":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"V"}]"#;
    let heeding = [("auth.heed_emergency_bans", "true")];
    for (settings, rest, granted, secret_status) in
        [(&heeding[..], "", false, 0), (&heeding[..], a_part, true, 404), (&[][..], "", true, 200)]
    {
        let server = filled_with(settings).await;
        store(&server, &[&consent("ban", rest)]).await;
        let secret = enrolled(&server, "doc").await;
        let doc = token(&server, "doc", "user/*.cruds").await;
        let code = code_now(&secret, 0);
        // Whichever of the purposes somebody chooses.
        let asked = [("patient", "a"), ("reason", REASON), ("purpose", "ETREAT"), ("code", &*code)];
        let answer = ask(&server, &doc, &asked).await;
        assert_eq!(answer.status, if granted { 200 } else { 403 }, "{rest}: {answer:?}");
        if granted {
            let broken = answer.at("access_token").unwrap();
            read(&server, &broken, "/Observation/a-lab").await.expect(200);
            read(&server, &broken, "/Observation/a-secret").await.expect(secret_status);
            let found = read(&server, &broken, "/Observation").await.expect(200);
            let expected = if secret_status == 200 { 2 } else { 1 };
            assert_eq!(found.json().items_at("entry").len(), expected, "{found:?}");
        } else {
            assert!(answer.text().contains("forbids"), "{answer:?}");
            assert_eq!(noted(&server, BREAK_GLASS, 4, "forbids").await, 1);
            // Of somebody else's record it says nothing.
            let code = code_now(&secret, 1);
            let other =
                [("patient", "b"), ("reason", REASON), ("purpose", "ETREAT"), ("code", &*code)];
            ask(&server, &doc, &other).await.expect(200);
        }
        server.stop().await;
    }
}

/// Forbidden meanwhile, it is over for a token that was made before.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_later_is_hidden_from_a_token_of_before() {
    let server = filled_with(&[("auth.heed_emergency_bans", "true")]).await;
    let secret = enrolled(&server, "doc").await;
    let doc = token(&server, "doc", "user/*.cruds").await;
    let code = code_now(&secret, 0);
    let asked = [("patient", "a"), ("reason", REASON), ("purpose", "BTG"), ("code", &*code)];
    let broken = ask(&server, &doc, &asked).await.expect(200).at("access_token").unwrap();
    read(&server, &broken, "/Observation/a-lab").await.expect(200);
    store(&server, &[&consent("ban", "")]).await;
    let began = std::time::Instant::now();
    while read(&server, &broken, "/Observation/a-lab").await.status == 200 {
        assert!(began.elapsed() < Duration::from_secs(15), "it is shown still");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    read(&server, &broken, "/Observation/a-lab").await.expect(404);
    server.stop().await;
}

/// The alert, the reads after it, and the queue of reviews.
async fn told(server: &TestServer, broken: &str) {
    super::browser::user(server, "officer", "privacy", None).await;
    let officer = token(server, "officer", "user/AuditEvent.rs").await;
    let alerts = "/AuditEvent?type=http://dicom.nema.org/resources/ontology/DCM%7C110113&outcome=0";
    let found = read(server, &officer, alerts).await.expect(200).json();
    let [entry] = found.items_at("entry") else { panic!("{found:?}") };
    let text = entry.to_text();
    for piece in [r#""reference":"Patient/a""#, r#""reference":"Consent/no""#, r#""code":"ETREAT""#]
    {
        assert!(text.contains(piece), "{piece}: {text}");
    }
    assert!(at(entry, "resource.purposeOfEvent").is_some(), "{text}");
    assert!(!text.contains(broken) && !text.contains(REASON), "{text}");
    let open = kept::list(server.store(), false, (None, 10)).await.unwrap();
    let [one] = &open[..] else { panic!("{open:?}") };
    assert_eq!((&*one.account, &*one.patient, &*one.purpose), ("doc", "a", "ETREAT"));
    assert_eq!(one.reason, REASON);
    let review =
        Review { at: one.at, by: "officer".to_owned(), finding: "as it should be".to_owned() };
    assert!(kept::review(server.store(), one.grant, &review).await.unwrap());
    assert!(!kept::review(server.store(), one.grant, &review).await.unwrap());
    assert!(kept::list(server.store(), false, (None, 10)).await.unwrap().is_empty());
    let all = kept::list(server.store(), true, (None, 10)).await.unwrap();
    assert_eq!(all[0].review.as_ref().map(|it| &*it.finding), Some("as it should be"));
}

#[tokio::test(flavor = "multi_thread")]
async fn emergencies_are_listed_newest_first_and_page_by_page() {
    let server = TestServer::start().await;
    let rows = "INSERT INTO oauth_emergency (grant_id, account, client_id, patient, purpose, reason, at, \
        until, reviewed_at, reviewed_by, finding) \
        SELECT gen_random_uuid(), 'doc', 'app', n::text, 'ETREAT', 'why', \
        timestamptz '2026-01-01' + n / 3 * interval '1 day', timestamptz '2026-02-01', \
        CASE WHEN n = 1 THEN timestamptz '2026-01-02' END, CASE WHEN n = 1 THEN 'x' END, \
        CASE WHEN n = 1 THEN 'fine' END FROM generate_series(1, 8) n";
    let database = connect(&server.database.superuser).await;
    database.execute(rows, &[]).await.unwrap();
    for (is_of_all, count) in [(true, 8), (false, 7)] {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = kept::list(server.store(), is_of_all, (before, 3)).await.unwrap();
            assert!(page.len() <= 3);
            let Some(last) = page.last() else { break };
            before = Some(last.grant);
            found.extend(page);
        }
        assert_eq!(found.len(), count, "{is_of_all}");
        assert!(found.is_sorted_by(|one, next| one.at >= next.at), "{found:?}");
        let patients: BTreeSet<&str> = found.iter().map(|it| &*it.patient).collect();
        assert_eq!(patients.len(), count, "one was told twice");
    }
}
