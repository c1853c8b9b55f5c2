//! The pages for messages, for who has logged in: whose role allows everything, and nobody else.

use bytes::Bytes;
use kiln::hl7v2::receive::{Application, Origin};

use super::browser::{Browser, hidden, location, server_with, user};
use crate::harness::database::temporary;
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
        pending.answer(receiver).await;
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
