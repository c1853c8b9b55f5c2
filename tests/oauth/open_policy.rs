//! An administrator: to whom everything of everybody is open, and who says why.

use kiln::access::scope::ScopeSet;
use kiln::oauth::development::Wanted;

use super::browser::{
    Browser, app, exchange, location, noted, parameter, question, register, server_with, store,
    ticked, user,
};
use super::tokens::client::{granted, read, text, tokens};
use crate::harness::client::Answer;
use crate::harness::database::temporary;

const ROLES: &str = r#"
[roles.chief]
scopes = ["user/*.cruds"]
panel = "all"
clearance = "V"
second_factor = false

[roles.clinician]
scopes = ["user/*.cruds"]
panel = "all"
clearance = "R"
second_factor = false
"#;

const OPEN: &str = "user/*.cruds openid";

/// The answer of the form of a page with these scopes and this reason.
async fn send(browser: &mut Browser, page: &Answer, scopes: &[String], reason: &str) -> Answer {
    let mut fields = vec![("decision", "allow"), ("reason", reason)];
    fields.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
    browser.submit(page, "/auth/consent", &fields).await
}

/// Covers: security C3.
#[tokio::test(flavor = "multi_thread")]
async fn to_whom_everything_is_open_says_why_and_it_is_on_record() {
    let file = temporary("open-roles");
    std::fs::write(&file, ROLES).unwrap();
    let path = file.display().to_string();
    let server = server_with(&[("auth.roles", &path)]).await;
    store(&server, &[r#"{"resourceType":"Patient","id":"p1"}"#]).await;
    user(&server, "clinician", "clinician", None).await;
    user(&server, "chief", "chief", None).await;
    register(&server, &app("app", OPEN)).await;
    let asked = question(&server, "app", &[("scope", OPEN)]);
    let address = format!("/auth/authorize?{asked}");

    // Who does not see everything is not asked, nor is asked who grants a part.
    for (name, wanted, is_open) in
        [("clinician", OPEN, false), ("chief", OPEN, true), ("chief", "user/Patient.rs", false)]
    {
        let mut narrow = Browser::new(&server);
        let asked = question(&server, "app", &[("scope", wanted), ("prompt", "consent")]);
        let login = narrow.open(&format!("/auth/authorize?{asked}")).await.expect(200);
        let consent = narrow.log_in(&login, name).await.expect(200);
        assert_eq!(consent.text().contains("name=\"reason\""), is_open, "{name} {wanted}");
        let all = ticked(&consent);
        let expected = if is_open { 400 } else { 303 };
        send(&mut narrow, &consent, &all, "").await.expect(expected);
    }
    assert_eq!(noted(&server, 43, 0, "opens everything").await, 0);

    let mut browser = Browser::new(&server);
    let login = browser.open(&address).await.expect(200);
    let consent = browser.log_in(&login, "chief").await.expect(200);
    let all = ticked(&consent);
    for unfit in ["", "   because   "] {
        let page = send(&mut browser, &consent, &all, unfit).await.expect(400);
        assert!(page.text().contains("role=\"alert\""), "{page:?}");
    }
    let reason = "to repair <b>the</b> records of a merge";
    let back = send(&mut browser, &consent, &all, reason).await.expect(303);
    let answer = exchange(&server, "app", &back).await.expect(200);
    read(&server, &text(&answer, "access_token")).await.expect(200);
    assert_eq!(noted(&server, 43, 0, &format!("for this reason: {reason}")).await, 1);

    // What was agreed to before is not agreed to again without a reason of this time.
    let again = browser.open(&address).await.expect(200);
    assert!(again.text().contains("name=\"reason\""), "{again:?}");
    let silent = question(&server, "app", &[("scope", OPEN), ("prompt", "none")]);
    let silent = browser.open(&format!("/auth/authorize?{silent}")).await;
    assert_eq!(parameter(&silent, "error").as_deref(), Some("consent_required"), "{silent:?}");
    assert!(parameter(&silent, "code").is_none() && location(&silent).contains("consent"));
    std::fs::remove_file(&file).unwrap();
    server.stop().await;
}

/// Where no reason is on record the token lets nobody in, however it came about.
///
/// Covers: security C3.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_policy_without_a_reason_is_none() {
    let file = temporary("open-roles");
    std::fs::write(&file, ROLES).unwrap();
    let path = file.display().to_string();
    let server = server_with(&[("auth.roles", &path)]).await;
    store(&server, &[r#"{"resourceType":"Patient","id":"p1"}"#]).await;
    register(&server, &app("app", OPEN)).await;
    let chief = user(&server, "chief", "chief", None).await;
    let clinician = user(&server, "clinician", "clinician", None).await;
    for (account, scopes, reason, status) in [
        (chief, "user/*.cruds", None, 401),
        (chief, "user/*.cruds", Some("to repair what is broken"), 200),
        (chief, "user/*.rs", None, 200),
        (chief, "user/Patient.cruds", None, 200),
        (clinician, "user/*.cruds", None, 200),
    ] {
        let mut grant = granted("app", scopes, Some(account));
        grant.reason = reason.map(str::to_owned);
        let answer = tokens(&server, &grant).await;
        let token = text(&answer, "access_token");
        let answer = read(&server, &token).await;
        assert_eq!(answer.status, status, "{scopes} {reason:?}: {answer:?}");
    }

    // So at the command line.
    let authority = server.authority();
    let account = authority.account_named("chief").await.unwrap();
    let by = kiln::access::Caller::new(
        kiln::access::Principal::service("operator"),
        kiln::access::RequestContext {
            id: "r".to_owned(),
            method: "OTHER",
            path_and_query: "kiln token".to_owned(),
            source: None,
        },
    );
    for (reason, is_made) in [(None, false), (Some(" "), false), (Some("to try it out"), true)] {
        let wanted = Wanted {
            scopes: "user/*.cruds",
            patient: None,
            account: account.as_ref(),
            reason,
            lifetime: std::time::Duration::from_mins(1),
        };
        let made = authority.development_token(wanted, &by).await;
        assert_eq!(made.is_ok(), is_made, "{reason:?}");
    }
    assert_eq!(noted(&server, 45, 0, "reason: to try it out").await, 1);
    let known = authority.parameters();
    let open = ScopeSet::parse("user/*.cruds", known);
    assert!(authority.needs_reason(account.as_ref().unwrap(), &open));
    std::fs::remove_file(&file).unwrap();
    server.stop().await;
}
