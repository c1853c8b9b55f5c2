//! What every page has: headers that keep it from being framed and scripted, names that are escaped,
//! labels that belong to their fields.

use super::browser::{Browser, SCOPES, app, hidden, question, register, server, store, user};
use crate::harness::client::Answer;

/// Fails unless a page is guarded as it must be.
#[track_caller]
fn check_headers(answer: &Answer, what: &str) {
    let header = |name: &str| answer.header(name).unwrap_or_default();
    let policy = header("content-security-policy");
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{what}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{what}: {policy}");
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(header(name), value, "{what}");
    }
}

/// Fails unless the markup is as everybody can use it: a language, one heading, labels, no scripts in
/// it and no styles.
#[track_caller]
fn check_markup(answer: &Answer, what: &str) {
    let text = answer.text();
    assert!(text.contains("<html lang=\"en\">") && text.contains("name=\"viewport\""), "{what}");
    assert_eq!(text.matches("<h1>").count(), 1, "{what}");
    assert!(text.contains("<main id=\"main\">") && text.contains("href=\"#main\""), "{what}");
    assert!(!text.contains(" style=") && !text.contains(" onclick"), "{what}");
    assert!(!text.contains("<script>") && !text.contains("javascript:"), "{what}");
    for input in text.split("<input").skip(1).map(|it| it.split('>').next().unwrap()) {
        let attribute = |name: &str| {
            let start = format!(" {name}=\"");
            input.split(&start).nth(1).map(|it| it.split('"').next().unwrap().to_owned())
        };
        if attribute("type").as_deref() == Some("hidden") {
            continue;
        }
        let id = attribute("id").unwrap_or_else(|| panic!("{what}: no id in {input}"));
        assert!(text.contains(&format!("<label for=\"{id}\"")), "{what}: no label for {id}");
    }
}

/// Covers: security L15, V19, V31, H15.
#[tokio::test]
async fn every_page_is_guarded_and_usable() {
    let server = server().await;
    store(
        &server,
        &[
            r#"{"resourceType":"Patient","id":"p1","name":[{"text":"<script>alert(1)</script>"}]}"#,
            r#"{"resourceType":"Patient","id":"p2","name":[{"family":"Bussard"}]}"#,
            r#"{"resourceType":"Person","id":"n1","link":[{"target":{"reference":"Patient/p1"}},
                {"target":{"reference":"Patient/p2"}}]}"#,
        ],
    )
    .await;
    user(&server, "guardian", "patient", Some("Person/n1")).await;
    register(&server, &app("app", SCOPES)).await;
    let mut browser = Browser::new(&server);
    let nasty = "\"><script>alert(1)</script>";
    let asked = question(&server, "app", &[("login_hint", nasty), ("state", nasty)]);
    let login = browser.open(&format!("/auth/authorize?{asked}")).await.expect(200);
    let mut pages = vec![("login", login.clone())];
    let picker = browser.log_in(&login, "guardian").await.expect(200);
    pages.push(("patient", picker.clone()));
    let chosen = browser.submit(&picker, "/auth/patient", &[("patient", "p1")]).await;
    pages.push(("consent", browser.follow(chosen).await.expect(200)));
    pages.push(("apps", browser.open("/auth/apps").await.expect(200)));
    pages.push(("factors", browser.open("/auth/factors").await.expect(200)));
    pages.push(("logout", browser.open("/auth/logout").await.expect(200)));
    pages.push(("problem", browser.open("/auth/authorize").await.expect(400)));
    for (what, page) in &pages {
        check_headers(page, what);
        check_markup(page, what);
        let text = page.text();
        assert!(!text.contains("<script>alert") && !text.contains("<b>chart"), "{what}: {text}");
    }
    let (_, consent) = &pages[2];
    let policy = consent.header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self' https://app.example;"), "{policy}");
    assert!(policy.contains("style-src 'self'") && !policy.contains("script-src"), "{policy}");
    assert!(consent.text().contains("Growth &lt;b&gt;chart&lt;/b&gt; &amp; &quot;co&quot;"));
    assert!(consent.text().contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{consent:?}");
    // A redirect carries no markup and is guarded too; what the state says goes back and nowhere else.
    let no = browser.submit(consent, "/auth/consent", &[("decision", "deny")]).await.expect(303);
    check_headers(&no, "redirect");
    assert!(no.header("location").unwrap().contains("&state=%22%3E%3Cscript%3E"), "{no:?}");
    assert!(hidden(consent, "csrf") != hidden(consent, "request"));
    server.stop().await;
}

#[tokio::test]
async fn the_look_is_served_as_files_and_as_a_style_document() {
    let server = server().await;
    let root = server.client.root().to_owned();
    for (name, kind) in [
        ("kiln.css", "text/css"),
        ("mark.svg", "image/svg+xml"),
        ("security-key.js", "text/javascript"),
    ] {
        let file = server.client.get(&format!("{root}/auth/assets/{name}")).await.expect(200);
        assert!(file.header("content-type").unwrap().starts_with(kind));
        assert_eq!(file.header("x-content-type-options").as_deref(), Some("nosniff"));
    }
    server.client.get(&format!("{root}/auth/assets/other")).await.expect(404);
    let style = server.client.get(&format!("{root}/auth/style")).await.expect(200);
    assert_eq!(style.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(style.at("color_text").as_deref(), Some("#1d2327"));
    server.stop().await;
}

/// How far two colours are apart (WCAG 2.2, relative luminance).
fn contrast(one: &str, other: &str) -> f64 {
    let luminance = |colour: &str| {
        let part = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.039_28 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

#[test]
fn texts_stand_out_from_their_ground_by_day_and_by_night() {
    let sheet = include_str!("../../src/http/oauth/pages/assets/kiln.css");
    let blocks: Vec<&str> = sheet.split(":root {").skip(1).collect();
    assert_eq!(blocks.len(), 2, "light and dark");
    for block in blocks {
        let colour = |name: &str| {
            let start = format!("--{name}: ");
            block.split(&start).nth(1).unwrap()[..7].to_owned()
        };
        for (text, ground, least) in [
            ("ink", "card", 7.0),
            ("ink", "ground", 7.0),
            ("soft", "card", 4.5),
            ("soft", "ground", 4.5),
            ("strong", "card", 4.5),
            ("on-strong", "strong", 4.5),
            ("bad", "bad-ground", 4.5),
            ("ink", "bad-ground", 4.5),
            ("ink", "warn-ground", 4.5),
            ("line", "card", 3.0),
            ("focus", "card", 3.0),
        ] {
            let found = contrast(&colour(text), &colour(ground));
            assert!(found >= least, "{text} on {ground}: {found:.2} in {block}");
        }
    }
}
