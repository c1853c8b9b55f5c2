//! Links, questions of apps, codes and cookies of a tenant, shown at another.

use kiln::app::database::Database as Opened;
use kiln::clock::{Clock as _, SystemClock, SystemIds};
use kiln::oauth::secret::{self, CODE, Fresh};
use kiln::store::oauth::{client, grant};
use secrecy::ExposeSecret as _;

use super::{NAMES, World};
use crate::harness::client::{Answer, Client};
use crate::oauth::browser::{REDIRECT, VERIFIER, app, form, location, parameter};
use crate::oauth::tokens::client::{exchange, granted};

const SCOPES: &str = "openid fhirUser patient/*.rs";

/// The question of the app, meant for a base.
fn question(aud: &str) -> String {
    form(&[
        ("response_type", "code"),
        ("client_id", "app"),
        ("redirect_uri", REDIRECT),
        ("scope", SCOPES),
        ("state", "s"),
        ("aud", aud),
        ("code_challenge", &secret::challenge(VERIFIER)),
        ("code_challenge_method", "S256"),
    ])
}

async fn page(client: &Client, path: &str) -> Answer {
    client.call("GET", &format!("{}{path}", client.root())).send().await
}

/// A code of the tenant of these settings, for its base.
async fn code(world: &World, name: &str, aud: &str) -> String {
    let opened = Opened::open(&world.settings.of_tenant(name), true).await.unwrap();
    let fresh = Fresh::new(CODE, &SystemIds::default());
    let code = grant::NewCode {
        hash: fresh.hash,
        redirect_uri: REDIRECT.to_owned(),
        challenge: secret::challenge(VERIFIER),
        aud: aud.to_owned(),
        expires: SystemClock.now().plus_millis(60_000),
    };
    let new = granted("app", "patient/Patient.rs", None);
    grant::issue_code(&opened.store, &new, &code).await.unwrap();
    opened.close().await;
    fresh.text.expose_secret().to_owned()
}

/// Covers: security L4.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_opens_a_door_opens_that_of_another_tenant() {
    let world = World::start().await;
    for name in NAMES {
        let opened = Opened::open(&world.settings.of_tenant(name), true).await.unwrap();
        assert!(client::insert(&opened.store, &app("app", SCOPES)).await.unwrap());
        opened.close().await;
    }
    let [north, south] = [&world.north.client, &world.south.client];

    // The link to the first account.
    let file = world.settings.of_tenant("north").node_dir().join("setup-link.txt");
    let link = std::fs::read_to_string(file).unwrap().trim().to_owned();
    let path = link.strip_prefix(north.root()).expect("below its own address");
    page(north, path).await.expect(200);
    let refused = page(south, path).await;
    assert!((400..500).contains(&refused.status), "{refused:?}");

    // What an app asks is for one base: `aud` says which, and where it is asked must be there.
    for (client, aud, is_own) in [(north, north, true), (north, south, false), (south, south, true)]
    {
        let asked = format!("/auth/authorize?{}", question(&aud.base()));
        let answer = page(client, &asked).await.expect(303);
        let (leads_to, error) = (location(&answer), parameter(&answer, "error"));
        let login = client.root().replace(world.root().root(), "") + "/auth/login";
        assert_eq!(leads_to.starts_with(&login), is_own, "{answer:?}");
        assert_eq!(error.as_deref(), (!is_own).then_some("invalid_request"), "{answer:?}");
    }

    // A code is one of its own tenant, also where the app is known by the same name.
    let code = code(&world, "north", &north.base()).await;
    let send = async |client: &Client| {
        let call = client.call("POST", &format!("{}/auth/token", client.root()));
        let call = call.header("Content-Type", "application/x-www-form-urlencoded");
        call.body(form(&exchange("app", &code))).send().await
    };
    assert_eq!(send(south).await.expect(400).at("error").as_deref(), Some("invalid_grant"));
    let answer = send(north).await.expect(200);
    assert_eq!(answer.at("tenant").as_deref(), Some("north"), "{answer:?}");
    let token = answer.at("access_token").unwrap();
    let read = south.call("GET", "/Patient/p1").header("Authorization", &format!("Bearer {token}"));
    read.send().await.expect(401);

    // Browsers keep the sessions of two tenants beside each other.
    let mut names = Vec::new();
    for client in [north, south] {
        let cookie = page(client, "/auth/login").await.expect(200).header("set-cookie").unwrap();
        names.push(cookie.split('=').next().unwrap().to_owned());
    }
    assert_eq!(names, ["kiln-session-t-north", "kiln-session-t-south"]);
    world.stop().await;
}
