//! `/auth/factors`: setting up and removing second factors.
//!
//! Who has logged in wholly may use it; and who needs a second factor and has none yet, to set up the
//! first: there is no other way on for them.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode, request};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::http::outcome::Failure;
use crate::http::server::Server;
use crate::oauth::login::factor::{Factor, NewApp, key_ids};
use crate::oauth::login::{Account, Browser, Stage};

use super::authorize::url;
use super::factor::{key_fields, key_proof};
use super::html::{Field, Html};
use super::login::due;
use super::reply::{self, Page};
use super::visit::Visit;

/// Who may set up factors.
fn who(visit: &Visit) -> Option<(&Browser, &Account)> {
    let browser = visit.browser.as_ref()?;
    match browser.stage() {
        Stage::Whole(account) => Some((browser, account)),
        Stage::Half(account) if !account.has_factor => Some((browser, account)),
        Stage::Half(_) | Stage::Nobody => None,
    }
}

/// `GET /auth/factors`
pub(super) async fn show(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    match who(&visit) {
        Some((browser, account)) => page(&visit, browser, account, None).await,
        None => Ok(due(&visit)),
    }
}

/// `POST /auth/factors`
pub(super) async fn send(
    server: Arc<Server>,
    parts: request::Parts,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let visit = Visit::read(server, parts, body).await?;
    if let Err(response) = visit.own_form() {
        return Ok(*response);
    }
    let Some((browser, account)) = who(&visit) else { return Ok(due(&visit)) };
    let (authority, visitor) = (&visit.authority, &visit.visitor);
    match visit.value("action") {
        "begin-app" => {
            authority.begin_app(account).await.map_err(Failure::Interaction)?;
            page(&visit, browser, account, None).await
        }
        "confirm-app" => {
            let confirmed = authority.confirm_app(account, visit.value("code")).await;
            if confirmed.map_err(Failure::Interaction)? {
                return added(&visit, browser, account, "totp").await;
            }
            let text = "The code is not the one that the app has to show now.";
            page(&visit, browser, account, Some(text)).await
        }
        "add-key" => {
            let (data, attestation) = (visit.value("client_data"), visit.value("attestation"));
            let done = authority.add_key(browser, account, data, attestation).await;
            if done.map_err(Failure::Interaction)? {
                return added(&visit, browser, account, "webauthn").await;
            }
            page(&visit, browser, account, Some("This security key cannot be used.")).await
        }
        "step-up" if browser.session.is_complete => {
            let code = authority.step_up(browser, account, key_proof(&visit), visitor).await;
            if let Some(code) = code.map_err(Failure::Interaction)? {
                return Ok(code_page(&code));
            }
            let text = "This was not right, or there were too many attempts.";
            page(&visit, browser, account, Some(text)).await
        }
        "recovery" if account.has_factor => {
            let codes = authority.recovery_codes(account, visitor).await;
            Ok(codes_page(&visit, &codes.map_err(Failure::Interaction)?))
        }
        "remove" if browser.session.is_complete => {
            let id = Uuid::parse_str(visit.value("factor")).unwrap_or_default();
            let removed = authority.remove_factor(account, id, visitor).await;
            if removed.map_err(Failure::Interaction)? {
                return Ok(reply::see_other("/auth/factors"));
            }
            let text = "It cannot be removed: your account needs a second factor.";
            page(&visit, browser, account, Some(text)).await
        }
        _ => Ok(reply::see_other("/auth/factors")),
    }
}

/// A factor works: the session is whole, and recovery codes are shown with the first one.
async fn added(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
    kind: &'static str,
) -> Result<Response<Body>, Failure> {
    let authority = &visit.authority;
    let whole = authority.factor_added(browser, account, kind, &visit.visitor).await;
    let whole = whole.map_err(Failure::Interaction)?;
    let response = if account.has_factor {
        reply::see_other("/auth/factors")
    } else {
        let codes = authority.recovery_codes(account, &visit.visitor).await;
        codes_page(visit, &codes.map_err(Failure::Interaction)?)
    };
    Ok(visit.keep(&whole, response))
}

/// The code that a security key made.
fn code_page(code: &secrecy::SecretString) -> Response<Body> {
    let html = Html::new()
        .raw("<p>Type this code into the app. It works once, within two minutes.</p>\n")
        .element("<p class=\"code\">", code.expose_secret(), "</p>\n")
        .raw("<p><a href=\"/auth/factors\">Back to the second factors</a></p>\n");
    Page::new("A code for an app", html).answer(StatusCode::OK)
}

fn codes_page(visit: &Visit, codes: &[secrecy::SecretString]) -> Response<Body> {
    let handle = visit.value("request");
    let next = if handle.is_empty() { "/auth/apps".to_owned() } else { url("/auth/login", handle) };
    let html = Html::new()
        .raw(
            "<p>Each of these codes works once, when you do not have your second factor with you. ",
        )
        .raw("Write them down or print them: they are not shown again.</p>\n<ul class=\"codes\">\n")
        .each(codes, |html, code| {
            html.element("<li><span class=\"code\">", code.expose_secret(), "</span></li>\n")
        })
        .raw("</ul>\n<p><a")
        .attribute("href", &next)
        .raw(">I have kept them: go on</a></p>\n");
    Page::new("Your recovery codes", html).answer(StatusCode::OK)
}

async fn page(
    visit: &Visit,
    browser: &Browser,
    account: &Account,
    problem: Option<&str>,
) -> Result<Response<Body>, Failure> {
    let authority = &visit.authority;
    let factors = authority.factors(account).await.map_err(Failure::Interaction)?;
    let begun = authority.begun_app(account).await.map_err(Failure::Interaction)?;
    let challenge = authority.challenge(browser).await.map_err(Failure::Interaction)?;
    let form = Form { csrf: browser.csrf(), request: visit.value("request") };
    let html = Html::new().alert(problem).when(!browser.session.is_complete, |html| {
        html.raw("<p>Your account needs a second factor beside the password. ")
            .raw("Set one up to go on.</p>\n")
    });
    let html = form.listed(html, &factors);
    let html = if browser.session.is_complete {
        form.code(html, (&*challenge, authority.relying_party()), &key_ids(&factors))
    } else {
        html
    };
    let html = form.app(html, begun.as_ref());
    let html = html
        .raw("<h2>Add a security key</h2>\n")
        .raw("<form method=\"post\" action=\"/auth/factors\" data-key=\"register\"")
        .attribute("data-challenge", &challenge)
        .attribute("data-party", authority.relying_party())
        .attribute("data-user", &authority.key_user(account))
        .attribute("data-name", &account.name)
        .attribute("data-credentials", &key_ids(&factors).join(" "))
        .raw(">\n");
    let html = form
        .hidden(html)
        .hidden("action", "add-key")
        .hidden("client_data", "")
        .hidden("attestation", "")
        .raw("<p role=\"status\"></p>\n")
        .raw("<button type=\"submit\" hidden>Add a security key</button>\n</form>\n")
        .raw("<noscript><p class=\"soft\">Security keys need a script in this page.</p></noscript>\n")
        .raw("<p><a href=\"/auth/logout\">Log out</a></p>\n");
    let page = Page { with_script: true, ..Page::new("Second factors", html) };
    let status = if problem.is_some() { StatusCode::FORBIDDEN } else { StatusCode::OK };
    Ok(page.answer(status))
}

/// What all forms of the page have.
struct Form<'a> {
    csrf: String,
    request: &'a str,
}

impl Form<'_> {
    fn hidden(&self, html: Html) -> Html {
        html.hidden("csrf", &self.csrf).hidden("request", self.request)
    }

    fn start(&self, html: Html) -> Html {
        self.hidden(html.raw("<form method=\"post\" action=\"/auth/factors\">\n"))
    }

    /// The factors that there are.
    fn listed(&self, html: Html, factors: &[Factor]) -> Html {
        let is_listed = |it: &&Factor| it.is_confirmed && it.kind != "recovery";
        if !factors.iter().any(|it| is_listed(&it)) {
            return html;
        }
        let listed = factors.iter().filter(is_listed);
        let html = html.raw("<ul class=\"list\">\n").each(listed, |html, factor| {
            let html = self.start(html.element("<li><h2>", &factor.label, "</h2>\n"));
            html.hidden("action", "remove")
                .hidden("factor", &factor.id.to_string())
                .raw("<button class=\"quiet\" type=\"submit\">Remove</button></form></li>\n")
        });
        let left = factors.iter().filter(|it| it.kind == "recovery").count();
        let html = html.raw("</ul>\n<h2>Recovery codes</h2>\n<p>").text(&left.to_string());
        self.start(html.raw(" are left.</p>\n"))
            .hidden("action", "recovery")
            .raw("<button class=\"quiet\" type=\"submit\">Make new ones</button></form>\n")
    }

    /// A code by a security key, for an app that asks for a second factor.
    fn code(&self, html: Html, (challenge, party): (&str, &str), keys: &[String]) -> Html {
        if keys.is_empty() {
            return html;
        }
        let html = html
            .raw("<h2>A code for an app</h2>\n<p>Where an app asks for a second factor, as in an ")
            .raw("emergency, your security key makes a code for it here.</p>\n")
            .raw("<form method=\"post\" action=\"/auth/factors\" data-key=\"assert\"")
            .attribute("data-challenge", challenge)
            .attribute("data-party", party)
            .attribute("data-credentials", &keys.join(" "))
            .raw(">\n");
        key_fields(self.hidden(html).hidden("action", "step-up")).raw(
            "<button class=\"quiet\" type=\"submit\" hidden>Make a code with the security key</button></form>\n",
        )
    }

    /// Setting up an app: its beginning, or the key and the first code.
    fn app(&self, html: Html, begun: Option<&NewApp>) -> Html {
        let html = html.raw("<h2>Add an authenticator app</h2>\n");
        let Some(app) = begun else {
            return self
                .start(html)
                .hidden("action", "begin-app")
                .raw("<button type=\"submit\">Add an app</button></form>\n");
        };
        let html = html
            .raw("<p>Type this key into the app, or open the link on the device that has it: ")
            .raw("<a")
            .attribute("href", app.link.expose_secret())
            .raw(">set up the app</a>.</p>\n<p class=\"code\">")
            .text(&spaced(app.secret.expose_secret()))
            .raw("</p>\n");
        self.start(html)
            .hidden("action", "confirm-app")
            .field(CODE)
            .raw("<div class=\"buttons\"><button type=\"submit\">Confirm</button></div></form>\n")
    }
}

const CODE: Field<'static> = Field {
    name: "code",
    kind: "text",
    label: "Code",
    hint: "The six digits that the app shows now.",
    value: "",
    autocomplete: "one-time-code",
    more: "required inputmode=\"numeric\" maxlength=\"10\"",
};

/// A key in groups of four, as people read it.
fn spaced(key: &str) -> String {
    let letters: Vec<char> = key.chars().collect();
    letters.chunks(4).map(String::from_iter).collect::<Vec<_>>().join(" ")
}
