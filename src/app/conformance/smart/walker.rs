//! A browser without a screen: it fills in the server's forms by the names of their fields.
//!
//! The names are those of Kiln's pages: `username` and `password`, `code` of the second factor,
//! `patient`, and `scope` with the buttons `decision`.

use std::collections::BTreeMap;

use hyper::header::{ACCEPT, COOKIE, ORIGIN};
use secrecy::{ExposeSecret as _, SecretString};

use super::super::html::{self, Form};
use super::super::http::{Answer, Call, Http};
use super::super::url::{self, Pairs};
use super::agent::{Ending, Request};
use super::{keys, now_seconds};

/// More pages than any login has.
const PAGES: usize = 20;

/// A session in a browser.
pub(super) struct Walker {
    user: String,
    password: SecretString,
    totp: Option<SecretString>,
    cookies: BTreeMap<String, String>,
}

/// How often a form was filled in: a second time says that the server did not like it.
#[derive(Debug, Default)]
struct Filled {
    password: bool,
    code: bool,
    search: bool,
}

impl Walker {
    pub(super) fn new(user: &str, password: SecretString, totp: Option<SecretString>) -> Self {
        Self { user: user.to_owned(), password, totp, cookies: BTreeMap::new() }
    }

    /// Follows an authorization request through the pages to where it ends.
    pub(super) async fn walk(
        &mut self,
        http: &Http,
        first: Call,
        request: &Request<'_>,
    ) -> Result<Ending, String> {
        let mut filled = Filled::default();
        let mut answer = self.send(http, first).await?;
        for _ in 0..PAGES {
            if matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                let to = url::join(&answer.url, answer.header("location").unwrap_or_default());
                if let Some(back) = back(&to, request.redirect_uri) {
                    return Ok(Ending::Back(back));
                }
                answer = self.send(http, Call::get(to)).await?;
                continue;
            }
            let forms = html::forms(&answer.text());
            let filled_in =
                forms.iter().find_map(|form| self.fill(form, request, &mut filled).transpose());
            let filled_in = match filled_in.transpose()? {
                None => forms.iter().find_map(|form| search(form, request, &mut filled)),
                found => found,
            };
            match filled_in {
                Some((form, sent)) => answer = self.submit(http, &answer, form, sent).await?,
                None if answer.status >= 400 => return Ok(Ending::Refused(answer.status)),
                None => return Err(format!("{}: a page with no form that we know", answer.url)),
            }
        }
        Err(format!("{}: still no redirect after {PAGES} pages", answer.url))
    }

    /// Reads a page of the server in this session.
    pub(super) async fn page(&mut self, http: &Http, address: &str) -> Result<Answer, String> {
        let mut answer = self.send(http, Call::get(address)).await?;
        for _ in 0..PAGES {
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                break;
            }
            let to = url::join(&answer.url, answer.header("location").unwrap_or_default());
            answer = self.send(http, Call::get(to)).await?;
        }
        Ok(answer)
    }

    /// Sends a form of the page `answer`.
    pub(super) async fn submit(
        &mut self,
        http: &Http,
        answer: &Answer,
        form: &Form,
        sent: Pairs,
    ) -> Result<Answer, String> {
        let action = url::join(&answer.url, &form.action);
        let call = if form.is_post {
            Call::post(&action).header(ORIGIN, url::origin(&action)).form(&sent)
        } else {
            let path = action.split('?').next().unwrap_or_default();
            Call::get(url::with_query(path, &url::encode(&sent)))
        };
        self.send(http, call).await
    }

    /// What to send of a form that is known; `None` for others.
    fn fill<'f>(
        &self,
        form: &'f Form,
        request: &Request<'_>,
        filled: &mut Filled,
    ) -> Result<Option<(&'f Form, Pairs)>, String> {
        let mut sent = form.defaults();
        if form.has("password") {
            if std::mem::replace(&mut filled.password, true) {
                return Err("the user's name and password are refused".to_owned());
            }
            set(&mut sent, "username", self.user.clone());
            set(&mut sent, "password", self.password.expose_secret().to_owned());
        } else if form.has("decision") {
            consent(form, request, &mut sent);
        } else if form.has("patient") {
            let offered: Vec<_> = form.values("patient").filter(|id| !id.is_empty()).collect();
            let chosen = request.patient.or_else(|| offered.first().copied());
            let chosen = chosen.ok_or("the server offers no patient")?;
            if !offered.contains(&chosen) {
                return Err(format!("the server does not offer patient {chosen}"));
            }
            set(&mut sent, "patient", chosen.to_owned());
            press(form, &mut sent);
        } else if form.has("code") {
            if std::mem::replace(&mut filled.code, true) {
                return Err("the code of the second factor is refused".to_owned());
            }
            let secret = self.totp.as_ref().ok_or("a second factor is asked for: --totp-file")?;
            let code = keys::totp(secret.expose_secret(), now_seconds());
            set(&mut sent, "code", code.ok_or("--totp-file: not base32")?);
        } else {
            return Ok(None);
        }
        Ok(Some((form, sent)))
    }

    async fn send(&mut self, http: &Http, call: Call) -> Result<Answer, String> {
        let mut call = call.header(ACCEPT, "text/html,application/xhtml+xml");
        if !self.cookies.is_empty() {
            let cookies: Vec<_> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            call = call.header(COOKIE, cookies.join("; "));
        }
        let answer = http.send(call).await?;
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap_or_default();
            let pair = cookie.split(';').next().unwrap_or_default();
            let Some((name, value)) = pair.split_once('=') else { continue };
            let is_over = value.is_empty() || cookie.to_ascii_lowercase().contains("max-age=0");
            if is_over {
                self.cookies.remove(name.trim());
            } else {
                self.cookies.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        Ok(answer)
    }
}

/// The parameters of `to`, when it is the redirect address.
fn back(to: &str, redirect_uri: &str) -> Option<Pairs> {
    let rest = to.strip_prefix(redirect_uri)?;
    let query = rest.split('#').next().unwrap_or_default();
    match query.strip_prefix(['?', '&']) {
        Some(query) => Some(url::decode(query)),
        None => query.is_empty().then(Vec::new),
    }
}

/// Looks for the patient by name, where a picker does not list all.
fn search<'f>(
    form: &'f Form,
    request: &Request<'_>,
    filled: &mut Filled,
) -> Option<(&'f Form, Pairs)> {
    let name = request.patient_name.filter(|_| form.has("name") && form.has("birthdate"))?;
    if std::mem::replace(&mut filled.search, true) {
        return None;
    }
    let mut sent = form.defaults();
    set(&mut sent, "name", name.to_owned());
    press(form, &mut sent);
    Some((form, sent))
}

/// Adds the first button that says something.
pub(super) fn press(form: &Form, sent: &mut Pairs) {
    let button = form.fields.iter().find(|field| field.kind == "submit" && !field.name.is_empty());
    sent.extend(button.map(|field| (field.name.clone(), field.value.clone())));
}

/// Ticks the boxes that the choice wants, and presses the button that allows.
fn consent(form: &Form, request: &Request<'_>, sent: &mut Pairs) {
    sent.retain(|(name, _)| name != "scope" && name != "decision");
    for field in form.fields.iter().filter(|field| field.name == "scope") {
        let is_fixed = field.kind == "hidden";
        if is_fixed || request.choice.takes(&field.value, field.is_on) {
            sent.push(("scope".to_owned(), field.value.clone()));
        }
    }
    sent.push(("decision".to_owned(), "allow".to_owned()));
}

fn set(sent: &mut Pairs, name: &str, value: String) {
    sent.retain(|(known, _)| known != name);
    sent.push((name.to_owned(), value));
}

#[cfg(test)]
mod tests {
    use super::super::agent::Choice;
    use super::*;

    fn request() -> Request<'static> {
        Request {
            endpoint: "http://x/auth/authorize",
            parameters: Vec::new(),
            redirect_uri: "http://127.0.0.1:1/cb",
            by_post: false,
            choice: Choice::Only(&["Patient"]),
            patient: None,
            patient_name: Some("oka"),
        }
    }

    fn filled(page: &str, filled: &mut Filled) -> Result<Option<Pairs>, String> {
        let walker = Walker::new("ada", "secret".into(), None);
        let forms = html::forms(page);
        Ok(walker.fill(&forms[0], &request(), filled)?.map(|(_, sent)| sent))
    }

    #[test]
    fn each_page_is_filled_in_once() {
        let mut once = Filled::default();
        let login =
            "<form><input type=hidden name=csrf value=t><input name=username><input name=password>";
        let sent = filled(login, &mut once).unwrap().unwrap();
        assert_eq!(url::encode(&sent), "csrf=t&username=ada&password=secret");
        assert!(filled(login, &mut once).is_err(), "a refused password is not tried again");
        let picker = "<form><input type=radio name=patient value=p1><input type=radio name=patient value=p2>";
        assert_eq!(url::encode(&filled(picker, &mut once).unwrap().unwrap()), "patient=p1");
        let consent = "<form><input type=checkbox name=scope value=patient/Patient.rs checked>\
            <input type=checkbox name=scope value=patient/Goal.rs checked>\
            <button name=decision value=deny>";
        let sent = filled(consent, &mut once).unwrap().unwrap();
        assert_eq!(url::encode(&sent), "scope=patient%2FPatient.rs&decision=allow");
        assert!(filled("<form><input name=code>", &mut once).is_err(), "no secret for codes");
        assert_eq!(filled("<form><input name=q>", &mut once), Ok(None));
        let forms = html::forms(
            "<form><input name=name><input name=birthdate><button name=action value=search>",
        );
        let (_, sent) = search(&forms[0], &request(), &mut once).unwrap();
        assert_eq!(url::encode(&sent), "birthdate=&name=oka&action=search");
        assert_eq!(search(&forms[0], &request(), &mut once), None, "nothing was found");
    }

    #[test]
    fn the_way_back_is_known_by_the_redirect_address() {
        let at = "http://127.0.0.1:1/cb";
        assert_eq!(back("http://127.0.0.1:1/cb?a=b", at), Some(vec![("a".into(), "b".into())]));
        assert_eq!(back("http://127.0.0.1:1/cb", at), Some(vec![]));
        assert_eq!(back("http://127.0.0.1:1/cbx?a=b", at), None);
        assert_eq!(back("http://127.0.0.1/cb", at), None);
    }
}
