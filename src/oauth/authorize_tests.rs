use super::*;
use crate::fhir::Instant;
use crate::spec::Spec;
use crate::store::oauth::client::ClientKind;

const BASE: &str = "https://kiln.example/fhir";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn client(app_type: AppType, redirects: &[&str]) -> Client {
    Client {
        id: "app".to_owned(),
        kind: ClientKind::Public,
        app_type,
        name: "An app".to_owned(),
        logo_uri: None,
        redirect_uris: redirects.iter().map(|it| (*it).to_owned()).collect(),
        origins: Vec::new(),
        launch_uri: None,
        scopes: "launch launch/patient openid fhirUser offline_access patient/*.rs user/*.cruds \
                 system/__launch"
            .to_owned(),
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

fn query(changes: &[(&str, Option<&str>)]) -> String {
    let all = [
        ("response_type", "code"),
        ("client_id", "app"),
        ("redirect_uri", "https://app.example/cb"),
        ("scope", "launch/patient openid patient/Observation.rs"),
        ("state", "s%20t"),
        ("aud", BASE),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let replaced = |name: &str| changes.iter().find(|(other, _)| *other == name);
    let kept = all.iter().filter_map(|(name, value)| match replaced(name) {
        None => Some(format!("{name}={value}")),
        Some((_, None)) => None,
        Some((_, Some(value))) => Some(format!("{name}={value}")),
    });
    let more = changes.iter().filter(|(name, _)| !all.iter().any(|(known, _)| known == name));
    let more = more.filter_map(|(name, value)| Some(format!("{name}={}", (*value)?)));
    kept.chain(more).collect::<Vec<_>>().join("&")
}

fn answered(text: &str, client: Option<&Client>) -> Result<Pending, Refusal> {
    let spec = Spec::r4().expect("definitions");
    let settings = Settings {
        base: BASE.to_owned(),
        issuer: "https://kiln.example".to_owned(),
        ..crate::oauth::tests::settings()
    };
    let rules = Rules { client, settings: &settings, parameters: &spec.search_parameters, now: 0 };
    read(&Query::parse(text).expect("a query"), text, &rules)
}

fn code(found: &Result<Pending, Refusal>) -> &'static str {
    match found {
        Ok(_) => "ok",
        Err(Refusal::Page(_)) => "page",
        Err(Refusal::Redirect { code, .. }) => code.as_str(),
    }
}

#[test]
fn a_request_is_taken_or_refused_where_the_rfc_says() {
    let web = client(AppType::Web, &["https://app.example/cb"]);
    for (changes, expected) in [
        (vec![], "ok"),
        (vec![("aud", Some("https://kiln.example/fhir/"))], "ok"),
        (vec![("redirect_uri", Some("https://app.example/cb/x"))], "page"),
        (vec![("redirect_uri", Some("https://app.example.evil.example/cb"))], "page"),
        (vec![("redirect_uri", Some("https://app.example@evil.example/cb"))], "page"),
        (vec![("redirect_uri", Some("https://app.example/cb%23x"))], "page"),
        (vec![("redirect_uri", Some("HTTPS://app.example/cb"))], "page"),
        (vec![("redirect_uri", None)], "page"),
        (vec![("response_type", Some("token"))], "unsupported_response_type"),
        (vec![("response_type", None)], "invalid_request"),
        (vec![("state", None)], "invalid_request"),
        (vec![("state", Some(""))], "invalid_request"),
        (vec![("aud", None)], "invalid_request"),
        (vec![("aud", Some("https://kiln.example/fhir//"))], "invalid_request"),
        (vec![("aud", Some("https://evil.example/fhir"))], "invalid_request"),
        (vec![("code_challenge", None)], "invalid_request"),
        (vec![("code_challenge", Some("short"))], "invalid_request"),
        (vec![("code_challenge_method", Some("plain"))], "invalid_request"),
        (vec![("code_challenge_method", None)], "invalid_request"),
        (vec![("prompt", Some("none%20login"))], "invalid_request"),
        (vec![("prompt", Some("dance"))], "invalid_request"),
        (vec![("max_age", Some("-1"))], "invalid_request"),
        (vec![("request", Some("x"))], "request_not_supported"),
        (vec![("request_uri", Some("https://x"))], "request_uri_not_supported"),
        (vec![("registration", Some("x"))], "registration_not_supported"),
        (vec![("response_mode", Some("fragment"))], "invalid_request"),
        (vec![("launch", Some("x"))], "invalid_request"),
        (vec![("launch", Some("x")), ("scope", Some("launch%20openid"))], "ok"),
        (vec![("scope", Some("system/*.rs"))], "invalid_scope"),
        (vec![("scope", Some("system/__launch"))], "invalid_scope"),
        (vec![("scope", Some("patient/Foo.rs"))], "invalid_scope"),
        (vec![("scope", None)], "invalid_scope"),
    ] {
        assert_eq!(code(&answered(&query(&changes), Some(&web))), expected, "{changes:?}");
    }
    let twice = format!("{}&scope=openid", query(&[]));
    assert_eq!(code(&answered(&twice, Some(&web))), "invalid_request");
    let other = format!("{}&redirect_uri=https://evil.example", query(&[]));
    assert_eq!(code(&answered(&other, Some(&web))), "page");
    assert_eq!(code(&answered(&query(&[]), None)), "page");
    let disabled = Client { disabled_at: Some(Instant::from_micros(1)), ..web.clone() };
    assert_eq!(code(&answered(&query(&[]), Some(&disabled))), "page");
    let service = Client { app_type: AppType::Backend, ..web };
    assert_eq!(code(&answered(&query(&[]), Some(&service))), "unauthorized_client");
}

#[test]
fn the_port_of_a_loopback_address_belongs_to_native_apps() {
    for (app_type, url, expected) in [
        (AppType::Native, "http://127.0.0.1:5000/cb", "ok"),
        (AppType::Native, "http://127.0.0.1/cb", "ok"),
        (AppType::Native, "http://127.0.0.1:99999/cb", "page"),
        (AppType::Native, "http://127.0.0.1:5000/other", "page"),
        (AppType::Native, "http://127.0.0.1.evil.example/cb", "page"),
        (AppType::Native, "http://127.0.0.1:5000@evil.example/cb", "page"),
        (AppType::Native, "http://localhost:5000/cb", "page"),
        (AppType::Web, "http://127.0.0.1:5000/cb", "page"),
    ] {
        let native = client(app_type, &["http://127.0.0.1/cb"]);
        let found = answered(&query(&[("redirect_uri", Some(url))]), Some(&native));
        assert_eq!(code(&found), expected, "{url}");
    }
}

#[test]
fn scopes_that_are_not_known_are_dropped_and_never_cut() {
    let web = client(AppType::Web, &["https://app.example/cb"]);
    for (asked_for, expected) in [
        ("patient/Observation.rs", "patient/Observation.rs"),
        ("patient/Observation.read", "patient/Observation.read"),
        ("openid%20patient/Observation.dus", "openid"),
        ("openid%20patient/Observation.read-only", "openid"),
        ("openid%20patient/Observation.rs?active", "openid"),
        ("openid%20system/Patient.rs", "openid"),
        ("openid%20launch", "openid"),
        ("openid%20patient/Observation.cruds", "openid patient/Observation.rs"),
    ] {
        let found = answered(&query(&[("scope", Some(asked_for))]), Some(&web));
        assert_eq!(found.expect("is taken").scopes, expected, "{asked_for}");
    }
}

#[test]
fn the_state_goes_back_as_it_came() {
    let long = "x%2F+~".repeat(200);
    for state in ["a%20b+c", "%E2%82%AC", "a=b", &long] {
        let url = answer("https://a.example/cb?x=1", &[("code", "a b")], Some(state));
        assert_eq!(url, format!("https://a.example/cb?x=1&code=a%20b&state={state}"));
    }
    assert_eq!(answer("app:/cb", &[("error", "x")], None), "app:/cb?error=x");
    let broken = answer("app:/cb", &[("error", "x")], Some("a\r\nb"));
    assert_eq!(broken, "app:/cb?error=x&state=a%0D%0Ab");
}

#[test]
fn a_login_counts_as_long_as_the_request_lets_it() {
    let web = client(AppType::Web, &["https://app.example/cb"]);
    let pending = |changes: &[(&str, Option<&str>)]| {
        let mut pending = answered(&query(changes), Some(&web)).expect("is taken");
        pending.begun = 100_000_000;
        pending
    };
    for (changes, auth_at, expected) in [
        (vec![], Some(1), true),
        (vec![], None, false),
        (vec![("prompt", Some("login"))], Some(99_000_000), false),
        (vec![("prompt", Some("login"))], Some(100_000_001), true),
        (vec![("max_age", Some("10"))], Some(91_000_000), true),
        (vec![("max_age", Some("10"))], Some(89_000_000), false),
        (vec![("max_age", Some("0"))], Some(100_000_000), true),
    ] {
        assert_eq!(pending(&changes).accepts_login(auth_at), expected, "{changes:?} {auth_at:?}");
    }
}

/// Covers: security L19.
#[test]
fn the_user_that_an_app_knows_is_read_from_an_id_token_of_ours() {
    let client = client(AppType::Web, &["https://app.example/cb"]);
    for (claims, expected) in [
        (r#"{"iss":"https://kiln.example","sub":"u-1"}"#, Some("u-1")),
        (r#"{"iss":"https://other.example","sub":"u-1"}"#, None),
        (r#"{"iss":"https://kiln.example"}"#, None),
        ("no JSON", None),
    ] {
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let found = answered(&query(&[("id_token_hint", Some(&token))]), Some(&client));
        let found = found.map(|pending| pending.hinted);
        assert_eq!(found.ok().flatten().as_deref(), expected, "{claims}");
    }
    let found = answered(&query(&[("id_token_hint", Some("junk"))]), Some(&client));
    let is_told = matches!(found, Err(Refusal::Redirect { code: Code::InvalidRequest, .. }));
    assert!(is_told, "{found:?}");
}

/// Covers: security L12, L13.
#[test]
fn what_one_account_chose_is_forgotten_for_the_next() {
    let web = client(AppType::Web, &["https://app.example/cb"]);
    let mut pending = answered(&query(&[]), Some(&web)).expect("a request");
    // Of a time before it was kept who chose.
    pending.patient = Some("p0".to_owned());
    assert!(pending.belongs_to("a"));
    assert_eq!(pending.patient, None);
    pending.patient = Some("p1".to_owned());
    pending.encounter = Some("e1".to_owned());
    let chosen = pending.clone();
    assert!(pending.belongs_to("a"));
    assert_eq!(pending, chosen);
    assert!(pending.belongs_to("b"));
    assert_eq!((&pending.patient, &pending.encounter), (&None, &None));
    (pending.has_no_patient, pending.has_no_encounter) = (true, true);
    assert!(pending.belongs_to("a"), "what there is for one says nothing of the other");
    assert!(!pending.has_no_patient && !pending.has_no_encounter);
    // What was handed over is for one of them.
    pending.context = Some(serde_json::json!({ "patient": "p1" }));
    pending.patient = Some("p1".to_owned());
    assert!(pending.belongs_to("a") && !pending.belongs_to("b"));
}
