//! Codes: once, for the client, the address and the verifier that they were made for.
//!
//! Covers: security T1, T2, T3, T4, T5, T9, L5, L6, L16, V17.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};

use super::client::{
    SECRET, basic, claims, code_of, confidential, exchange, granted, public, read, refused, send,
    send_with, server, service, text, tokens, unkept,
};
use crate::oauth::browser::{REDIRECT, VERIFIER, form, noted, register, user};

const SCOPES: &str = "openid fhirUser offline_access patient/Patient.rs";

#[tokio::test]
async fn a_code_becomes_tokens_with_the_context_of_the_launch() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let answer = tokens(&server, &granted("app", SCOPES, Some(account))).await;
    unkept(&answer);
    for (path, expected) in [
        ("token_type", "Bearer"),
        ("expires_in", "3600"),
        ("scope", SCOPES),
        ("patient", "p1"),
        ("intent", "summary"),
    ] {
        assert_eq!(text(&answer, path), expected, "{path}");
    }
    assert!(answer.text().contains("\"need_patient_banner\":true"), "{answer:?}");
    assert!(text(&answer, "access_token").starts_with("kiln_at_"));
    assert!(text(&answer, "refresh_token").starts_with("kiln_rt_"));
    read(&server, &text(&answer, "access_token")).await.expect(200);
    assert_eq!(noted(&server, 45, 0, "grant ").await, 1);
    // Without a word about staying, there is nothing to refresh with.
    let short = tokens(&server, &granted("app", "patient/Patient.rs", Some(account))).await;
    assert_eq!(short.at("refresh_token"), None);
    assert_eq!(short.at("id_token"), None);
    server.stop().await;
}

#[tokio::test]
async fn an_id_token_says_who_the_user_is_and_is_signed_with_a_published_key() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let answer = tokens(&server, &granted("app", SCOPES, Some(account))).await;
    let token = text(&answer, "id_token");
    let told = claims(&token);
    let root = server.client.root();
    assert_eq!(told["iss"], format!("{root}/auth"));
    assert_eq!(told["aud"], "app");
    assert_eq!(told["sub"], account.to_string());
    assert_eq!(told["nonce"], "canary-nonce");
    assert_eq!(told["fhirUser"], format!("{root}/fhir/Patient/p1"));
    assert!(told["exp"].as_i64() > told["iat"].as_i64() && told["auth_time"].is_i64(), "{told}");
    let jwks = server.client.get(&format!("{root}/auth/jwks")).await.expect(200);
    let jwks: serde_json::Value = serde_json::from_slice(&jwks.body).unwrap();
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["alg"], "RS256");
    let keys = jwks["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["kid"] == header["kid"]).unwrap();
    assert!(keys.iter().all(|key| key.get("d").is_none()));
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let public = RsaPublicKeyComponents { n: part("n"), e: part("e") };
    public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_code_is_for_what_it_was_made_for_alone() {
    let server = server().await;
    for client in [public("app", SCOPES), public("other", SCOPES), confidential("web", SCOPES)] {
        register(&server, &client).await;
    }
    let grant = granted("app", SCOPES, None);
    let code = code_of(&server, &grant).await;
    let challenge = kiln::oauth::secret::challenge(VERIFIER);
    let right = exchange("app", &code);
    let changed = |name: &'static str, value: Option<&'static str>| {
        let mut fields = right.clone();
        fields.retain(|(known, _)| *known != name);
        fields.extend(value.map(|value| (name, value)));
        fields
    };
    let mut equal = changed("code_verifier", None);
    equal.push(("code_verifier", &challenge));
    for (fields, status, error) in [
        (changed("code", Some("BAD_CODE")), 400, "invalid_grant"),
        (changed("code", None), 400, "invalid_request"),
        (changed("client_id", Some("other")), 400, "invalid_grant"),
        (changed("client_id", Some("BAD_CLIENT_ID")), 401, "invalid_client"),
        (changed("client_id", Some("web")), 401, "invalid_client"),
        (changed("client_id", None), 401, "invalid_client"),
        (changed("redirect_uri", Some("https://app.example/cb?x=2")), 400, "invalid_grant"),
        (changed("redirect_uri", Some("https://app.example/cb")), 400, "invalid_grant"),
        (changed("redirect_uri", None), 400, "invalid_grant"),
        (changed("code_verifier", None), 400, "invalid_grant"),
        (changed("code_verifier", Some("")), 400, "invalid_grant"),
        (changed("code_verifier", Some("short")), 400, "invalid_grant"),
        (changed("code_verifier", Some(REDIRECT)), 400, "invalid_grant"),
        (equal, 400, "invalid_grant"),
        (changed("grant_type", Some("not_a_grant_type")), 400, "unsupported_grant_type"),
        (changed("grant_type", Some("password")), 400, "unsupported_grant_type"),
        (changed("grant_type", None), 400, "invalid_request"),
        ([right.clone(), vec![("client_secret", SECRET)]].concat(), 401, "invalid_client"),
        ([right.clone(), vec![("code", "x")]].concat(), 400, "invalid_request"),
    ] {
        let answer = send(&server, "/auth/token", &fields).await;
        assert_eq!(answer.at("error").as_deref(), Some(error), "{fields:?}: {answer:?}");
        refused(&answer, status, error);
    }
    // None of that used it up.
    send(&server, "/auth/token", &right).await.expect(200);
    server.stop().await;
}

#[tokio::test]
async fn a_second_use_of_a_code_ends_what_came_of_the_first() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let account = user(&server, "pat", "patient", Some("Patient/p1")).await;
    let grant = granted("app", SCOPES, Some(account));
    let code = code_of(&server, &grant).await;
    let first = send(&server, "/auth/token", &exchange("app", &code)).await.expect(200);
    let access = text(&first, "access_token");
    read(&server, &access).await.expect(200);
    refused(&send(&server, "/auth/token", &exchange("app", &code)).await, 400, "invalid_grant");
    assert_eq!(noted(&server, 51, 4, "used before").await, 1);
    super::bearer::until_refused(&server, &access).await;
    let refresh = text(&first, "refresh_token");
    let again = send(&server, "/auth/token", &super::client::refreshing("app", &refresh)).await;
    refused(&again, 400, "invalid_grant");
    server.stop().await;
}

#[tokio::test]
async fn of_many_who_use_a_code_at_once_one_gets_tokens() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let code = code_of(&server, &granted("app", SCOPES, None)).await;
    let fields = exchange("app", &code);
    let all = (0..20).map(|_| send(&server, "/auth/token", &fields));
    let answers = futures_util::future::join_all(all).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| [200, 400].contains(&answer.status)), "{answers:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_code_is_of_no_use_when_it_is_old() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let code = code_of(&server, &granted("app", SCOPES, None)).await;
    server.database.run("UPDATE oauth_code SET expires = now()").await;
    refused(&send(&server, "/auth/token", &exchange("app", &code)).await, 400, "invalid_grant");
    server.stop().await;
}

/// The fields of an exchange for who proves itself otherwise.
fn fields(code: &str) -> Vec<(&str, &str)> {
    let mut fields = exchange("web", code);
    fields.retain(|(name, _)| *name != "client_id");
    fields
}

#[tokio::test]
async fn a_client_proves_itself_as_it_is_registered() {
    let server = server().await;
    register(&server, &confidential("web", SCOPES)).await;
    register(&server, &service("job", "system/Patient.rs")).await;
    let (right, wrong) = (basic("web"), basic("other"));
    for (more, headers, status, error) in [
        (vec![], vec![], 401, "invalid_client"),
        (vec![("client_id", "web")], vec![], 401, "invalid_client"),
        (vec![("client_id", "web"), ("client_secret", "x")], vec![], 401, "invalid_client"),
        (vec![], vec![("Authorization", wrong.as_str())], 401, "invalid_client"),
        (
            vec![("client_id", "app")],
            vec![("Authorization", right.as_str())],
            400,
            "invalid_request",
        ),
        (
            vec![("client_secret", SECRET)],
            vec![("Authorization", right.as_str())],
            400,
            "invalid_request",
        ),
    ] {
        let code = code_of(&server, &granted("web", SCOPES, None)).await;
        let all = [fields(&code), more].concat();
        let answer = send_with(&server, "/auth/token", &all, &headers).await;
        refused(&answer, status, error);
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge.is_some(), status == 401, "{answer:?}");
        assert!(!answer.text().contains(SECRET));
    }
    let authorization = [("Authorization", right.as_str())];
    let code = code_of(&server, &granted("web", SCOPES, None)).await;
    send_with(&server, "/auth/token", &fields(&code), &authorization).await.expect(200);
    let code = code_of(&server, &granted("web", SCOPES, None)).await;
    let posted = [fields(&code), vec![("client_id", "web"), ("client_secret", SECRET)]].concat();
    send(&server, "/auth/token", &posted).await.expect(200);
    let code = code_of(&server, &granted("job", SCOPES, None)).await;
    let job = basic("job");
    let authorization = [("Authorization", job.as_str())];
    let fields = exchange("job", &code);
    let answer = send_with(&server, "/auth/token", &fields, &authorization).await;
    refused(&answer, 400, "unauthorized_client");
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_form_of_the_body_is_refused() {
    let server = server().await;
    register(&server, &public("app", SCOPES)).await;
    let code = code_of(&server, &granted("app", SCOPES, None)).await;
    let fields = form(&exchange("app", &code));
    let url = format!("{}/auth/token", server.client.root());
    let form_type = "application/x-www-form-urlencoded";
    for (url, kind, body, status) in [
        (format!("{url}?{fields}"), form_type, String::new(), 400),
        (format!("{url}?x=1"), form_type, fields.clone(), 400),
        (url.clone(), "application/json", "{}".to_owned(), 400),
        (url.clone(), "text/plain", fields.clone(), 400),
        (url.clone(), form_type, "a=%ff".to_owned(), 400),
        (url.clone(), form_type, format!("{fields}&x={}", "y".repeat(65 * 1024)), 413),
    ] {
        let call = server.client.call("POST", &url).header("Content-Type", kind);
        refused(&call.body(body).send().await, status, "invalid_request");
    }
    server.client.get(&url).await.expect(405);
    let call = server.client.call("POST", &url);
    let call = call.header("Content-Type", "application/x-www-form-urlencoded;charset=UTF-8");
    call.body(fields).send().await.expect(200);
    server.stop().await;
}
