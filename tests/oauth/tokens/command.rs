//! Clients and tokens at the command line.
//!
//! Covers: security T5.

use std::path::Path;
use std::process::Output;

use crate::harness::database::temporary;
use crate::harness::process::kiln;
use crate::harness::server::TestServer;
use crate::oauth::tokens::bearer::until_refused;
use crate::oauth::tokens::client::{read, refused, send, server, text};

/// Runs a command on the database of a server.
async fn run(server: &TestServer, arguments: &[&str]) -> Output {
    run_by(server, &crate::harness::database::keys_folder(), arguments).await
}

/// The same with keys of its own.
async fn run_by(server: &TestServer, keys: &Path, arguments: &[&str]) -> Output {
    let folder = temporary("command");
    let mut all: Vec<String> = arguments.iter().map(|&it| it.to_owned()).collect();
    for (key, value) in [
        ("database.url", server.database.app.as_str()),
        ("database.owner_url", server.database.owner.as_str()),
        ("data_dir", folder.to_str().unwrap()),
        ("auth.keys_dir", keys.to_str().unwrap()),
        ("http.listen", "127.0.0.1:0"),
    ] {
        all.extend(["--set".to_owned(), format!("{key}={value}")]);
    }
    let run = move || kiln(&all.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(run).await.unwrap()
}

async fn said(server: &TestServer, arguments: &[&str]) -> String {
    let output = run(server, arguments).await;
    let (out, fault) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{fault}");
    assert!(!fault.contains("kiln_"), "a secret in the log: {fault}");
    out.into_owned()
}

fn secret_of(said: &str) -> String {
    let secret = said.split("once): ").nth(1).unwrap_or_else(|| panic!("no secret in {said}"));
    secret.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_registers_lists_changes_and_disables_clients() {
    let server = server().await;
    let scope = "system/Patient.rs";
    let job = ["client", "add", "job", "--type", "backend", "--scope", scope, "--purpose", "TREAT"];
    let added = said(&server, &job).await;
    let first = secret_of(&added);
    let token = async |secret: &str| {
        let fields = [
            ("grant_type", "client_credentials"),
            ("scope", scope),
            ("client_id", "job"),
            ("client_secret", secret),
        ];
        send(&server, "/auth/token", &fields).await
    };
    let access = text(&token(&first).await.expect(200), "access_token");
    read(&server, &access).await.expect(200);
    let second = secret_of(&said(&server, &["client", "rotate-secret", "job"]).await);
    token(&first).await.expect(200);
    token(&second).await.expect(200);
    let third = secret_of(&said(&server, &["client", "rotate-secret", "job"]).await);
    refused(&token(&first).await, 401, "invalid_client");
    token(&third).await.expect(200);
    let listed = said(&server, &["client", "list"]).await;
    assert!(listed.contains("job: job (backend, secret)"), "{listed}");
    assert!(listed.contains("purpose of use: TREAT"), "{listed}");
    assert!(!listed.contains(&third), "{listed}");
    said(&server, &["client", "disable", "job"]).await;
    refused(&token(&third).await, 401, "invalid_client");
    until_refused(&server, &access).await;
    let listed = said(&server, &["client", "list"]).await;
    assert!(listed.contains("job (disabled)"), "{listed}");
    let known = "SELECT count(*) FROM ledger WHERE interaction = 50 AND 'job' = ANY (entities)";
    assert_eq!(server.database.number(known).await, 4);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_about_clients_are_named() {
    let server = server().await;
    for (arguments, named) in [
        (&["client", "add", "a", "--scope", "patient/*.rsx"][..], "patient/*.rsx"),
        (&["client", "add", "a b", "--scope", "openid"], "client_id"),
        (&["client", "add", "a", "--scope", "openid", "--redirect", "http://a.org"], "redirect"),
        (&["client", "add", "a", "--scope", "openid", "--public", "--type", "backend"], "backend"),
        (
            &[
                "client",
                "add",
                "a",
                "--type",
                "backend",
                "--scope",
                "system/*.rs",
                "--purpose",
                "BTG",
            ],
            "breaks the glass",
        ),
        (
            &["client", "add", "a", "--public", "--scope", "user/*.rs", "--purpose", "TREAT"],
            "of a service",
        ),
        (&["client", "disable", "nobody"], "nobody"),
        (&["client", "rotate-secret", "nobody"], "nobody"),
        (&["token", "--scope", "patient/*.rs"], "patient"),
        (&["token", "--scope", "user/*.rs"], "user"),
        (&["token", "--user", "nobody"], "nobody"),
        (&["token", "--set", "http.listen=0.0.0.0:0"], "loopback"),
    ] {
        let output = if arguments.contains(&"--set") {
            let arguments = arguments.to_vec();
            let run = move || kiln(&arguments);
            tokio::task::spawn_blocking(run).await.unwrap()
        } else {
            run(&server, arguments).await
        };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(named), "{arguments:?}: {said}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_development_grants_what_it_says() {
    let server = server().await;
    for (arguments, status) in [
        (&["token"][..], 200),
        (&["token", "--scope", "patient/Patient.rs", "--patient", "p1"], 200),
        (&["token", "--scope", "patient/Patient.rs", "--patient", "p2"], 404),
        (&["token", "--scope", "system/Observation.rs"], 403),
    ] {
        let token = said(&server, arguments).await;
        let answer = read(&server, token.trim()).await;
        assert_eq!(answer.status, status, "{arguments:?}: {answer:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_listed_and_replaced_on_record() {
    let server = server().await;
    let keys = temporary("command-keys");
    let ran = async |arguments: &[&str]| {
        let output = run_by(&server, &keys, arguments).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let first = ran(&["key", "rotate"]).await;
    let second = ran(&["key", "rotate"]).await;
    let id = |said: &str| said.split(' ').nth(4).unwrap().to_owned();
    assert_ne!(id(&first), id(&second));
    let listed = ran(&["key", "list"]).await;
    let line = |id: &str| listed.lines().find(|line| line.starts_with(id)).unwrap_or_default();
    assert!(line(&id(&second)).contains("signs on this node"), "{listed}");
    assert!(line(&id(&first)).contains(", retired "), "{listed}");
    let known = "SELECT count(*) FROM ledger WHERE interaction = 50 AND 'keys' = ANY (entities) \
                 AND query LIKE 'kiln key %'";
    assert_eq!(server.database.number(known).await, 3);
    server.stop().await;
    std::fs::remove_dir_all(keys).unwrap();
}
