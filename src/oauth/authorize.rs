//! Requests to authorize: what an app asks for, and when it is told that it cannot have it.
//!
//! The request is read once and kept here; what the browser carries between pages is a handle. Who
//! asks without a known client and one of its addresses is told on a page of ours, never sent anywhere.
//!
//! Spec: RFC 6749 section 4.1, RFC 7636, RFC 9207, OpenID Connect Core section 3.1.2, SMART App Launch
//! 2.2; security section 2.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::access::scope::{Context, ScopeSet, SmartScope, Special};
use crate::fhir::query::Query;
use crate::spec::search_parameter::SearchParameters;
use crate::store::oauth::client::{AppType, Client};

use super::Settings;
use super::discovery::LAUNCH_STANDALONE;

/// The longest state and nonce, as sent.
const LONGEST_STATE: usize = 4_096;
/// What is escaped in a query: all but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Parameters that may stand once only.
const ONCE: [&str; 15] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "aud",
    "launch",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "prompt",
    "max_age",
    "login_hint",
    "id_token_hint",
    "response_mode",
];

/// What is told to an app, as RFC 6749 and OpenID Connect name it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Code {
    /// The user, or the server for it, said no.
    AccessDenied,
    /// The user has to agree first.
    ConsentRequired,
    /// The user has to choose first.
    InteractionRequired,
    /// The request is not one.
    InvalidRequest,
    /// Nothing of what was asked for can be granted.
    InvalidScope,
    /// The user has to log in first.
    LoginRequired,
    /// The client would register itself with the request.
    RegistrationNotSupported,
    /// What is asked for stands in a request object.
    RequestNotSupported,
    /// The same, at an address.
    RequestUriNotSupported,
    /// The client may not ask for codes.
    UnauthorizedClient,
    /// It asks for something else than a code.
    UnsupportedResponseType,
}

impl Code {
    /// As it is sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::ConsentRequired => "consent_required",
            Self::InteractionRequired => "interaction_required",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::LoginRequired => "login_required",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedResponseType => "unsupported_response_type",
        }
    }
}

/// Why a request goes no further.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
pub enum Refusal {
    /// Told on a page: nobody knows whether the address is the client's.
    #[error("{0}")]
    Page(&'static str),
    /// Told to the client at its address.
    #[error("{text}")]
    Redirect {
        /// Where to.
        url: Box<str>,
        /// What it is called.
        code: Code,
        /// In words.
        text: &'static str,
        /// `state` as it was sent.
        state: Option<Box<str>>,
    },
}

/// A request that can be answered, and what has become of it so far.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pending {
    /// The client.
    pub client: String,
    /// Where the answer is sent.
    pub redirect_uri: String,
    /// `state` as it was sent, escapes and all.
    pub state: Option<String>,
    /// What is asked for, as far as it can be granted.
    pub scopes: String,
    /// The FHIR base that was asked for.
    pub aud: String,
    /// `code_challenge` (S256).
    pub challenge: String,
    /// `nonce`
    pub nonce: Option<String>,
    /// The handle of a launch, until it is taken.
    pub launch: Option<String>,
    /// Whether nothing may be asked of the user.
    pub is_silent: bool,
    /// Whether the user must log in anew.
    pub wants_login: bool,
    /// Whether the user must be asked again.
    pub wants_consent: bool,
    /// How old a login may be, in seconds.
    pub max_age: Option<i64>,
    /// The name to log in by, if the app knows it.
    pub hint: Option<String>,
    /// The account that the app knows the user by.
    pub hinted: Option<String>,
    /// When it came in, in microseconds.
    pub begun: i64,
    /// The account by which, or for which, all that follows was chosen or handed over.
    pub account: Option<String>,
    /// What the launch handed over.
    pub context: Option<Value>,
    /// The patient that was chosen or handed over.
    pub patient: Option<String>,
    /// The encounter that was chosen or handed over.
    pub encounter: Option<String>,
    /// Whether it was found that there is no patient to choose.
    pub has_no_patient: bool,
    /// Whether it is about no encounter: there is none, or none was chosen.
    pub has_no_encounter: bool,
}

/// What a request is held against.
pub struct Rules<'a> {
    /// The client of that id.
    pub client: Option<&'a Client>,
    /// The FHIR base, who issues id_tokens, and what is switched off.
    pub settings: &'a Settings,
    /// What scopes may ask by.
    pub parameters: &'a SearchParameters,
    /// Now, in microseconds.
    pub now: i64,
}

/// The client id of a request, when there is one.
pub fn client_id(query: &Query) -> Option<&str> {
    let mut found = query.iter().filter(|(name, _)| *name == "client_id");
    let first = found.next().map(|(_, value)| value).filter(|value| !value.is_empty());
    if found.next().is_some() { None } else { first }
}

/// Reads a request; `raw` is its text, for the state, which goes back byte by byte.
///
/// # Errors
/// [`Refusal`] says who is told, and what.
pub fn read(query: &Query, raw: &str, rules: &Rules<'_>) -> Result<Pending, Refusal> {
    let client = rules
        .client
        .filter(|client| client.disabled_at.is_none())
        .ok_or(Refusal::Page("the app that sent you here is not known to this server"))?;
    let Settings { base, issuer, .. } = rules.settings;
    let redirect = one(query, "redirect_uri").filter(|url| is_registered(client, url)).ok_or(
        Refusal::Page("the app that sent you here did not say a return address that it registered"),
    )?;
    let state = raw_state(raw);
    let refuse = |(code, text)| {
        let state = state.map(Box::from);
        Refusal::Redirect { url: redirect.into(), code, text, state }
    };
    check_form(query, state, client).map_err(refuse)?;
    let invalid = |text| refuse((Code::InvalidRequest, text));
    let method = one(query, "code_challenge_method");
    let challenge = challenge(one(query, "code_challenge"), method).map_err(invalid)?;
    let aud = one(query, "aud").ok_or(invalid("aud is missing"))?;
    if aud.strip_suffix('/').unwrap_or(aud) != base {
        return Err(invalid("aud is not the FHIR base of this server"));
    }
    let hinted = one(query, "id_token_hint").map(|token| hinted(token, issuer));
    let mut pending = Pending {
        client: client.id.clone(),
        redirect_uri: redirect.to_owned(),
        state: state.map(str::to_owned),
        scopes: String::new(),
        aud: base.clone(),
        challenge: challenge.to_owned(),
        nonce: one(query, "nonce").map(str::to_owned),
        launch: one(query, "launch").map(str::to_owned),
        is_silent: false,
        wants_login: false,
        wants_consent: false,
        max_age: None,
        hint: one(query, "login_hint").map(|it| it.chars().take(100).collect()),
        hinted: hinted.transpose().map_err(invalid)?,
        begun: rules.now,
        account: None,
        context: None,
        patient: None,
        encounter: None,
        has_no_patient: false,
        has_no_encounter: false,
    };
    pending.read_prompt(one(query, "prompt"), one(query, "max_age")).map_err(invalid)?;
    let scopes = scopes(one(query, "scope").unwrap_or_default(), client, rules);
    let launched = launched(&scopes, pending.launch.is_some(), rules.settings);
    pending.scopes = launched.map_err(refuse)?.to_string();
    Ok(pending)
}

/// What a parameter says, when it stands once and says something.
fn one<'q>(query: &'q Query, name: &str) -> Option<&'q str> {
    let mut values = query.iter().filter(|(found, _)| *found == name).map(|(_, value)| value);
    let first = values.next().filter(|value| !value.is_empty());
    if values.next().is_some() { None } else { first }
}

/// Whom an id_token of this server is about. It can only keep others out: so neither its signature, whose key
/// may be gone by now, nor its age is asked for.
fn hinted(token: &str, issuer: &str) -> Result<String, &'static str> {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Option<Value> = claims.and_then(|text| serde_json::from_slice(&text).ok());
    let claim = |name: &str| claims.as_ref().and_then(|all| all.get(name)).and_then(Value::as_str);
    match (claim("iss"), claim("sub")) {
        (Some(found), Some(subject)) if found == issuer => Ok(subject.to_owned()),
        _ => Err("id_token_hint is no id_token of this server"),
    }
}

/// What does not depend on who asks for what.
fn check_form(
    query: &Query,
    state: Option<&str>,
    client: &Client,
) -> Result<(), (Code, &'static str)> {
    let invalid = |text| Err((Code::InvalidRequest, text));
    let is_repeated =
        |name: &&str| query.iter().filter(|(found, _)| found == name).nth(1).is_some();
    if ONCE.iter().any(is_repeated) {
        return invalid("a parameter stands twice");
    }
    if client.app_type == AppType::Backend {
        return Err((Code::UnauthorizedClient, "this client does not ask for users"));
    }
    match one(query, "response_type") {
        Some("code") => {}
        Some(_) => return Err((Code::UnsupportedResponseType, "response_type must be code")),
        None => return invalid("response_type is missing"),
    }
    if !matches!(one(query, "response_mode"), None | Some("query")) {
        return invalid("response_mode must be query");
    }
    // OpenID Connect Core sections 3.1.2.6, 6.1, 6.2 and 7.2.1.
    for (name, code) in [
        ("request", Code::RequestNotSupported),
        ("request_uri", Code::RequestUriNotSupported),
        ("registration", Code::RegistrationNotSupported),
    ] {
        if query.iter().any(|(found, _)| found == name) {
            return Err((code, "what is asked for is read from the parameters of the request"));
        }
    }
    if state.is_none_or(str::is_empty) {
        return invalid("state is missing");
    }
    let is_long = |text: &str| text.len() > LONGEST_STATE;
    if state.is_some_and(is_long) || one(query, "nonce").is_some_and(is_long) {
        return invalid("state or nonce is too long");
    }
    Ok(())
}

/// The scopes of a request that comes from a launch, or does not.
fn launched(
    scopes: &ScopeSet,
    is_launched: bool,
    settings: &Settings,
) -> Result<ScopeSet, (Code, &'static str)> {
    if !is_launched && !settings.offers(LAUNCH_STANDALONE) {
        return Err((Code::UnauthorizedClient, "apps are launched from an EHR alone here"));
    }
    if is_launched && !scopes.has(Special::Launch) {
        return Err((Code::InvalidRequest, "a launch needs the scope launch"));
    }
    let launch = SmartScope::Special(Special::Launch);
    let scopes = scopes.filtered(|scope| is_launched || *scope != launch);
    if scopes.is_empty() {
        let text = "nothing of what is asked for can be granted to this app";
        return Err((Code::InvalidScope, text));
    }
    Ok(scopes)
}

impl Pending {
    fn read_prompt(
        &mut self,
        prompt: Option<&str>,
        max_age: Option<&str>,
    ) -> Result<(), &'static str> {
        let prompts: Vec<&str> = prompt.unwrap_or_default().split_ascii_whitespace().collect();
        for prompt in &prompts {
            match *prompt {
                "none" if prompts.len() == 1 => self.is_silent = true,
                "none" => return Err("prompt has none and something else"),
                "login" | "select_account" => self.wants_login = true,
                "consent" => self.wants_consent = true,
                _ => return Err("prompt has an unknown value"),
            }
        }
        if let Some(text) = max_age {
            let age: u32 = text.parse().map_err(|_| "max_age is not a number of seconds")?;
            self.max_age = Some(age.into());
        }
        Ok(())
    }

    /// Whether somebody who logged in then may go on.
    pub fn accepts_login(&self, auth_at: Option<i64>) -> bool {
        let Some(auth_at) = auth_at else { return false };
        let is_new = auth_at >= self.begun;
        let is_young = self.max_age.is_none_or(|age| self.begun - auth_at <= age * 1_000_000);
        is_new || !self.wants_login && is_young
    }

    /// Goes on as a request of an account: what another one chose before it is forgotten. `false` where that cannot
    /// be, because a launch handed something over, which was for the other one.
    pub fn belongs_to(&mut self, account: &str) -> bool {
        if self.account.as_deref() == Some(account) {
            return true;
        }
        if self.context.is_some() {
            return false;
        }
        self.account = Some(account.to_owned());
        (self.patient, self.encounter) = (None, None);
        (self.has_no_patient, self.has_no_encounter) = (false, false);
        true
    }

    /// What is asked for.
    pub fn scopes(&self, parameters: &SearchParameters) -> ScopeSet {
        ScopeSet::parse(&self.scopes, parameters)
    }

    /// Whether a patient has to be in context.
    pub fn needs_patient(&self, scopes: &ScopeSet) -> bool {
        scopes.has_context(Context::Patient) || scopes.has(Special::LaunchPatient)
    }

    /// Whether an encounter has to be chosen: an EHR that launches an app hands one over, or has none.
    pub fn needs_encounter(&self, scopes: &ScopeSet) -> bool {
        let is_settled = self.encounter.is_some() || self.has_no_encounter;
        let is_possible = self.patient.is_some() && self.context.is_none();
        scopes.has(Special::LaunchEncounter) && is_possible && !is_settled
    }

    /// The answer to the app without a code.
    pub fn refuse(&self, code: Code, text: &'static str) -> Refusal {
        let (url, state) = (self.redirect_uri.as_str().into(), self.state.as_deref());
        Refusal::Redirect { url, code, text, state: state.map(Into::into) }
    }
}

/// Scopes without those that need a patient: there is none.
#[must_use]
pub fn without_patient(scopes: &ScopeSet) -> ScopeSet {
    scopes.filtered(|scope| match scope {
        SmartScope::Resource(scope) => scope.context != Context::Patient,
        SmartScope::Special(special) => {
            !matches!(special, Special::LaunchPatient | Special::LaunchEncounter)
        }
    })
}

/// What of the scopes that are asked for a user can grant to this client.
fn scopes(text: &str, client: &Client, rules: &Rules<'_>) -> ScopeSet {
    let bound = ScopeSet::parse(&client.scopes, rules.parameters);
    let asked = rules.settings.offered(&ScopeSet::parse(text, rules.parameters));
    asked.intersect(&bound).filtered(|scope| match scope {
        SmartScope::Resource(scope) => scope.context != Context::System,
        SmartScope::Special(special) => !special.is_of_services(),
    })
}

/// PKCE: S256 and nothing else.
fn challenge<'a>(
    challenge: Option<&'a str>,
    method: Option<&str>,
) -> Result<&'a str, &'static str> {
    let challenge = challenge.ok_or("code_challenge is missing")?;
    if method != Some("S256") {
        return Err("code_challenge_method must be S256");
    }
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_hash = challenge.len() == 43 && challenge.bytes().all(is_digit);
    is_hash.then_some(challenge).ok_or("code_challenge is not a SHA-256 in base64url")
}

/// Whether the client registered this address, letter by letter. The port of a loopback address of a
/// native app is its own to choose (RFC 8252 section 7.3).
fn is_registered(client: &Client, url: &str) -> bool {
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains('#');
    let without_port = |url: &str| {
        let rest = ["http://127.0.0.1", "http://[::1]"]
            .into_iter()
            .find_map(|host| url.strip_prefix(host).map(|rest| (host, rest)));
        let (host, rest) = rest?;
        let path = match rest.strip_prefix(':') {
            Some(rest) => {
                let end = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
                rest[..end].parse::<u16>().ok()?;
                &rest[end..]
            }
            None => rest,
        };
        let is_path = path.is_empty() || path.starts_with('/') || path.starts_with('?');
        is_path.then(|| format!("{host}{path}"))
    };
    let is_same = |known: &String| {
        known == url
            || client.app_type == AppType::Native
                && without_port(url).is_some_and(|it| without_port(known) == Some(it))
    };
    is_plain && client.redirect_uris.iter().any(is_same)
}

/// The state as it stands in a query or form, escapes and all.
fn raw_state(raw: &str) -> Option<&str> {
    raw.split('&').find_map(|pair| pair.strip_prefix("state="))
}

/// The address of the client with an answer: `pairs` are escaped, `state` is as it came.
pub fn answer(url: &str, pairs: &[(&str, &str)], state: Option<&str>) -> String {
    let mut text = url.to_owned();
    let mut mark = if url.contains('?') { '&' } else { '?' };
    let mut add = |name: &str, value: &str| {
        text.push(mark);
        text.push_str(name);
        text.push('=');
        text.push_str(value);
        mark = '&';
    };
    for (name, value) in pairs {
        add(name, &utf8_percent_encode(value, RESERVED).to_string());
    }
    if let Some(state) = state {
        let kept: String = state.bytes().map(as_query_text).collect();
        add("state", &kept);
    }
    text
}

/// A byte as it can stand in a query: as it is, wherever that is possible.
fn as_query_text(byte: u8) -> String {
    match byte {
        b'"' | b'<' | b'>' | b'#' | b'&' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
            format!("%{byte:02X}")
        }
        byte if byte.is_ascii_graphic() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    }
}

#[cfg(test)]
#[path = "authorize_tests.rs"]
mod tests;
