//! Logging in at an outside provider: another Kiln.

use kiln::oauth::client::Client as App;

use super::browser::{
    Browser, app, hidden, location, noted, parameter, question, register, server, server_with,
    ticked, user,
};
use crate::harness::client::Answer;
use crate::harness::server::TestServer;

/// What the login page calls the provider.
pub(crate) const LABEL: &str = "the <other> one";

/// A provider, and a server that lets its users in.
async fn world() -> (TestServer, TestServer) {
    let provider = server().await;
    user(&provider, "outside", "patient", None).await;
    let issuer = format!("{}/auth", provider.client.root());
    let here = server_with(&[
        ("upstream.issuer", &issuer),
        ("upstream.client_id", "kiln"),
        ("upstream.label", LABEL),
        ("auth.outbound_networks", "127.0.0.0/8"),
    ])
    .await;
    let back = format!("{}/auth/callback", here.client.root());
    let known = App { redirect_uris: vec![back], ..app("kiln", "openid") };
    register(&provider, &known).await;
    (provider, here)
}

/// Goes to the provider, logs in there, and gives the address that leads back.
pub(crate) async fn at_provider(provider: &TestServer, browser: &mut Browser) -> String {
    let login = browser.open("/auth/login").await.expect(200);
    assert!(login.text().contains("Log in with the &lt;other&gt; one"), "{login:?}");
    let policy = login.header("content-security-policy").unwrap();
    assert!(policy.contains(provider.client.root()), "{policy}");
    let away = browser.submit(&login, "/auth/upstream", &[]).await.expect(303);
    for name in ["state", "nonce", "code_challenge"] {
        assert!(parameter(&away, name).is_some_and(|it| it.len() == 43), "{name}: {away:?}");
    }
    for name in ["prompt", "max_age"] {
        assert_eq!(parameter(&away, name), None, "{away:?}");
    }
    answered(provider, &mut Browser::new(provider), &location(&away)).await
}

/// Asks the provider what `url` asks, logs in there when it wants so, and gives the address that leads back.
async fn answered(provider: &TestServer, outside: &mut Browser, url: &str) -> String {
    // Kiln wants to hear which FHIR base it is about, which other providers do not know.
    let base = percent_encoding::utf8_percent_encode(
        &provider.client.base(),
        percent_encoding::NON_ALPHANUMERIC,
    )
    .to_string();
    let mut page = outside.open(&format!("{url}&aud={base}")).await;
    if page.text().contains("name=\"password\"") {
        page = outside.log_in(&page, "outside").await;
    }
    // It was agreed to before: there is nothing to ask.
    if page.status == 303 {
        return location(&page);
    }
    let scopes = ticked(&page);
    let mut fields = vec![("decision", "allow")];
    fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    location(&outside.submit(&page, "/auth/consent", &fields).await.expect(303))
}

/// An account here that the user of the provider is linked with.
pub(crate) async fn link(provider: &TestServer, here: &TestServer) {
    let subject = kiln::store::oauth::account::all(provider.store()).await.unwrap()[0].id;
    let account = user(here, "pat", "patient", None).await;
    let issuer = format!("{}/auth", provider.client.root());
    for subject in [subject.to_string(), subject.simple().to_string()] {
        let linked = kiln::store::oauth::account::identify;
        linked(here.store(), &issuer, &subject, account).await.unwrap();
    }
}

/// How many logins of a party the record has as refused for such a reason.
async fn refused(here: &TestServer, actor: &str, why: &str) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM ledger WHERE interaction = 40 AND outcome = 4 AND actor = '{actor}' \
         AND failure LIKE '%{why}%'"
    );
    here.database.number(&sql).await
}

/// M7
///
/// Covers: security M7.
#[tokio::test]
async fn a_user_of_a_provider_logs_in_as_the_account_it_is_linked_with() {
    let (provider, here) = world().await;
    let mut browser = Browser::new(&here);
    let back = at_provider(&provider, &mut browser).await;
    // Nobody said which account that is; that the names are alike means nothing.
    user(&here, "outside", "patient", None).await;
    let answer = browser.get(&back).await.expect(403);
    assert!(answer.text().contains("not linked"), "{answer:?}");
    assert_eq!(noted(&here, 40, 4, "no account is linked").await, 1);

    link(&provider, &here).await;
    let back = at_provider(&provider, &mut browser).await;
    let before = browser.jar.clone();
    let inside = browser.get(&back).await.expect(303);
    assert_ne!(browser.jar, before);
    let inside = browser.follow(inside).await.expect(200);
    assert!(inside.text().contains("<strong>pat</strong>"), "{inside:?}");
    assert_eq!(noted(&here, 40, 0, "by an outside provider").await, 1);
    // An answer counts once.
    browser.get(&back).await.expect(403);
    // An account that may not log in is on record by its name; the person is told no more than before.
    here.database.run("UPDATE account SET disabled_at = now() WHERE folded = 'pat'").await;
    let mut again = Browser::new(&here);
    let back = at_provider(&provider, &mut again).await;
    let answer = again.get(&back).await.expect(403);
    assert!(answer.text().contains("not linked"), "{answer:?}");
    assert_eq!(refused(&here, "user:pat", "is disabled").await, 1);
    assert_eq!(refused(&here, "anonymous", "no account is linked").await, 1);
    here.stop().await;
    provider.stop().await;
}

/// Covers: security M7.
#[tokio::test]
async fn an_answer_to_another_browser_or_from_another_provider_is_none() {
    let (provider, here) = world().await;
    let mut browser = Browser::new(&here);
    let back = at_provider(&provider, &mut browser).await;
    let mut victim = Browser::new(&here);
    victim.open("/auth/login").await.expect(200);
    let answer = victim.get(&back).await.expect(403);
    assert!(answer.text().contains("does not belong to this browser"), "{answer:?}");
    Browser::new(&here).get(&back).await.expect(403);
    // The attempt of the other browser has taken nothing away; another issuer is not believed.
    let other = back.replace("&iss=http", "&iss=https");
    assert_ne!(other, back);
    browser.get(&other).await.expect(403);
    for url in ["/auth/callback", "/auth/callback?state=x&code=y", "/auth/callback?error=no"] {
        browser.get(url).await.expect(403);
    }
    let login = browser.open("/auth/login").await;
    assert!(!hidden(&login, "csrf").is_empty());
    browser.post("/auth/upstream", &[("csrf", "x")]).await.expect(403);
    here.stop().await;
    provider.stop().await;
}

/// Where a login at the provider leads that an app asks for with a wish.
async fn wished(here: &TestServer, browser: &mut Browser, wish: (&str, &str)) -> Answer {
    let asked = question(here, "pages", &[("scope", "openid"), wish]);
    let login = browser.open(&format!("/auth/authorize?{asked}")).await.expect(200);
    browser.submit(&login, "/auth/upstream", &[]).await.expect(303)
}

/// Covers: security L19.
#[tokio::test]
async fn an_app_that_wants_a_new_login_gets_one_at_the_provider() {
    let (provider, here) = world().await;
    link(&provider, &here).await;
    register(&here, &app("pages", "openid")).await;
    let mut outside = Browser::new(&provider);
    let mut browser = Browser::new(&here);
    let away = wished(&here, &mut browser, ("prompt", "login")).await;
    let wishes = ["prompt", "max_age"].map(|name| parameter(&away, name));
    assert_eq!(wishes, [Some("login".to_owned()), Some("0".to_owned())], "{away:?}");
    let back = answered(&provider, &mut outside, &location(&away)).await;
    let consent = browser.open(&back).await.expect(200);
    assert!(consent.text().contains("/auth/consent"), "{consent:?}");

    // A provider that was not told of the wish says how old its login is.
    let old = "UPDATE auth_session SET auth_at = now() - interval '1 hour'";
    provider.database.run(old).await;
    for (wish, sent) in [(("prompt", "login"), "0"), (("max_age", "600"), "600")] {
        let mut browser = Browser::new(&here);
        let away = wished(&here, &mut browser, wish).await;
        assert_eq!(parameter(&away, "max_age").as_deref(), Some(sent), "{away:?}");
        let url = location(&away).replace("&prompt=login", "");
        let url = url.replace(&format!("&max_age={sent}"), "");
        let back = answered(&provider, &mut outside, &url).await;
        let answer = browser.get(&back).await.expect(403);
        assert!(answer.text().contains("does not say that you did"), "{answer:?}");
        assert_eq!(location(&browser.get("/auth/apps").await.expect(303)), "/auth/login");
    }
    assert_eq!(refused(&here, "user:pat", "as late as the app wants").await, 2);

    // Where that is young enough, the session here is as old as the login there.
    let mut browser = Browser::new(&here);
    let away = wished(&here, &mut browser, ("max_age", "7200")).await;
    let back = answered(&provider, &mut outside, &location(&away)).await;
    let consent = browser.open(&back).await.expect(200);
    assert!(consent.text().contains("/auth/consent"), "{consent:?}");
    let as_old = "SELECT count(*) FROM auth_session WHERE auth_at < now() - interval '50 minutes'";
    assert_eq!(here.database.number(as_old).await, 1);
    here.stop().await;
    provider.stop().await;
}

/// A provider that is away, or goes away on the way, lets nobody in and keeps nobody out who needs it not.
#[tokio::test]
async fn a_provider_that_does_not_answer_is_told_and_stops_nobody_else() {
    let (provider, here) = world().await;
    user(&here, "pat", "patient", None).await;
    let mut browser = Browser::new(&here);
    let back = at_provider(&provider, &mut browser).await;
    let provider_root = provider.client.root().to_owned();
    provider.stop().await;
    let mut other = Browser::new(&here);
    let login = other.open("/auth/login").await.expect(200);
    let came_back = browser.get(&back).await.expect(403);
    assert!(came_back.text().contains("did not answer"), "{came_back:?}");
    // What it published is remembered: then the browser finds out.
    let away = other.submit(&login, "/auth/upstream", &[]).await.expect(303);
    assert!(location(&away).starts_with(provider_root.as_str()), "{away:?}");
    let login = other.open("/auth/login").await.expect(200);
    let inside = other.log_in(&login, "pat").await.expect(200);
    assert!(inside.text().contains("<strong>pat</strong>"), "{inside:?}");
    here.stop().await;
}
