//! The pages for messages, for who has logged in: whose role allows everything, and nobody else.

use bytes::Bytes;
use kiln::hl7v2::receive::{Application, Origin};

use super::browser::{Browser, hidden, location, server_with, user};
use crate::harness::database::temporary;
use crate::harness::grants::Token;
use crate::harness::server::TestServer;

const ROLES: &str = r#"
[roles.operator]
scopes = ["user/*.cruds"]
panel = "all"
clearance = "V"
second_factor = false

[roles.clinician]
scopes = ["user/*.cruds"]
panel = "all"
clearance = "R"
second_factor = false

[roles.reader]
scopes = ["user/*.rs"]
panel = "all"
clearance = "V"
second_factor = false
"#;

const MESSAGE: &str =
    "MSH|^~\\&|LAB|STM|K|H|20260704120000||ADT^A28|C1|P|2.5\rPID|1||12^^^STM^MR||Muster\r";

async fn receive(server: &TestServer, message: &str) {
    let origin =
        Origin { listener: "test", peer: None, names: Vec::new(), is_framed: false, caller: None };
    let receiver = server.messages();
    let bytes = Bytes::copy_from_slice(message.as_bytes());
    let answers = receiver.receive(&bytes, &origin).await.unwrap();
    if let Application::Later(pending) = answers.application {
        pending.answer(receiver).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_for_those_whose_role_allows_everything() {
    let file = temporary("console-roles");
    std::fs::write(&file, ROLES).unwrap();
    let path = file.display().to_string();
    let server = server_with(&[("auth.roles", &path)]).await;
    receive(&server, MESSAGE).await;
    receive(&server, &MESSAGE.replace("|C1|", "|C2|").replace("12^^^STM^MR", "")).await;
    let mut stranger = Browser::new(&server);
    let sent_away = stranger.get("/v2").await;
    assert_eq!((sent_away.status, location(&sent_away)), (303, "/auth/login".to_owned()));
    for name in ["clinician", "reader", "operator"] {
        user(&server, name, name, None).await;
        let mut browser = Browser::new(&server);
        let login = browser.open("/auth/login").await;
        let apps = browser.log_in(&login, name).await.expect(200);
        let is_operator = name == "operator";
        assert_eq!(apps.text().contains("href=\"/v2\""), is_operator, "{name}");
        let list = browser.get("/v2").await.expect(if is_operator { 200 } else { 403 });
        assert_eq!(list.text().contains("C2"), is_operator, "{name}");
        assert!(!list.text().contains("Muster"), "lists tell of no patient");
        let policy = list.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("script-src"),
            "{policy}"
        );
        assert_eq!(list.header("cache-control").as_deref(), Some("no-store"));
        if !is_operator {
            let refused = format!(
                "SELECT count(*) FROM ledger WHERE interaction = 62 AND outcome = 4 AND actor = 'user:{name}'"
            );
            assert_eq!(server.database.number(&refused).await, 1, "{name}");
            continue;
        }
        let text = list.text();
        let links: Vec<_> = text.split("href=\"/v2/view/").skip(1).collect();
        let ids: Vec<_> = links.iter().map(|it| it.split('"').next().unwrap()).collect();
        let failed = format!("/v2/view/{}", ids[0]);
        let shown = browser.get(&failed).await.expect(200);
        let forged = [("do", "discard"), ("reason", "x"), ("csrf", "forged")];
        browser.post(&failed, &forged).await.expect(403);
        browser.post(&failed, &forged[..2]).await.expect(403);
        browser.post("/v2", &[("reason", "x")]).await.expect(403);
        let csrf = hidden(&shown, "csrf");
        let ours = [("do", "discard"), ("reason", "sent twice"), ("csrf", csrf.as_str())];
        browser.post(&failed, &ours).await.expect(303);
        assert!(browser.get(&failed).await.text().contains("sent twice"));
        // The patient's message is on record under the name of who looked.
        let seen = "SELECT count(*) FROM ledger WHERE interaction = 61 AND array_to_string(entities, ' ') \
                    LIKE '%v2/messages%' AND actor LIKE '%operator%'";
        assert!(server.database.number(seen).await >= 2);
    }
    std::fs::remove_file(&file).unwrap();
}

/// Markup in each place of a message that becomes a text of a resource: a name, a display, a comment (which
/// is markdown), a text, and a document in HTML.
const MARKUP: &str = "MSH|^~\\&|LAB|STM|K|H|20260704120000||ORU^R01^ORU_R01|X1|P|2.5.1\r\
    PID|1||12^^^STM^MR||<script>alert(1)</script>^<b>x</b>\r\
    OBR|1||F1^LAB|24323-8^<img src=x onerror=alert(2)>^LN|||20260704110000|||||||||||||||20260704113000|||F\r\
    OBX|1|ST|2951-2^<img src=x onerror=alert(3)>^LN||<svg onload=alert(4)>||||||F\r\
    NTE|1||<script>alert(5)</script> [here](javascript:alert(6))\r\
    OBX|2|ED|11502-2^A document^LN||^TEXT^HTML^Base64^PHNjcmlwdD5hbGVydCg3KTwvc2NyaXB0Pg==||||||F\r";

/// What messages brought along is shown as text, on every page of theirs. Narratives are on no page; where a
/// browser opens a resource by its address it gets what is no page and runs nothing.
///
/// Covers: security V31.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_as_markup_is_shown_as_text() {
    let file = temporary("console-markup");
    std::fs::write(&file, ROLES).unwrap();
    let path = file.display().to_string();
    let server = server_with(&[("auth.roles", &path)]).await;
    receive(&server, MARKUP).await;
    user(&server, "operator", "operator", None).await;
    let mut browser = Browser::new(&server);
    let login = browser.open("/auth/login").await;
    browser.log_in(&login, "operator").await.expect(200);
    check_pages(&mut browser).await;
    let narrative = r#"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>&lt;script&gt;alert(8)&lt;/script&gt;<b>p</b></p></div>"#;
    let patient = |narrative: &str| {
        format!(
            r#"{{"resourceType":"Patient","id":"n","text":{{"status":"generated","div":"{narrative}"}}}}"#
        )
    };
    let (writer, _stop) = Token::new(&server, "system/*.cruds").client().await;
    let running = narrative.replace("<b>p</b>", "<script>alert(9)</script>");
    let refused = writer.put("/Patient/n", patient(&running)).await;
    assert!([400, 422].contains(&refused.status), "{refused:?}");
    writer.put("/Patient/n", patient(narrative)).await.expect(201);
    for format in ["json", "xml", "html", "text/html"] {
        let page = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let call = writer.call("GET", &format!("/Patient/n?_format={format}"));
        let answer = call.header("Accept", page).send().await;
        let kind = answer.header("content-type").unwrap();
        assert!(kind.starts_with("application/fhir+"), "{format}: {kind}");
        assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"));
    }
    std::fs::remove_file(&file).unwrap();
}

/// Each page about the message that came last shows what it brought along, as text.
async fn check_pages(browser: &mut Browser) {
    let list = browser.get("/v2").await.expect(200);
    let (text, start) = (list.text(), "href=\"/v2/view/");
    let id = text.split(start).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let view = browser.get(&format!("/v2/view/{id}")).await.expect(200);
    let shows = format!("href=\"/v2/view/{id}?show=");
    let text = view.text();
    let names: Vec<&str> =
        text.split(&shows).skip(1).map(|it| it.split('#').next().unwrap()).collect();
    assert!(names.len() >= 3, "{names:?}");
    let (mut pages, mut all) = (vec![list, view.clone()], String::new());
    for name in names {
        pages.push(browser.get(&format!("/v2/view/{id}?show={name}")).await.expect(200));
    }
    for page in &pages {
        let text = page.text();
        let (_, main) = text.split_once("<main").unwrap();
        for markup in
            ["<script", "<img", "<svg", "<b>x", "<a href=\"javascript", "onload=alert(4)>"]
        {
            assert!(!main.contains(markup), "{markup}: {main}");
        }
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        all.push_str(main);
    }
    for shown in
        ["alert(1)", "alert(2)", "alert(3)", "alert(4)", "alert(5)", "alert(6)", "PHNjcmlwdD5"]
    {
        assert!(all.contains(shown), "{shown} came along nowhere");
    }
}
