//! From an authorization request to tokens, by any client.

use serde_json::Value;

use super::super::http::Answer;
use super::super::report::ensure;
use super::super::url::{self, Pairs};
use super::agent::{Choice, Ending, Request};
use super::apps::App;
use super::{Suite, keys, random, verifier};

/// What an app asks for.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    pub(super) app: &'a App,
    pub(super) scope: String,
    pub(super) choice: Choice,
    /// The handle of an EHR's launch.
    pub(super) launch: Option<String>,
    pub(super) by_post: bool,
    /// Another audience than the base.
    pub(super) aud: Option<&'static str>,
}

impl<'a> Wish<'a> {
    pub(super) fn new(app: &'a App, scope: impl Into<String>) -> Self {
        let scope = scope.into();
        Self { app, scope, choice: Choice::All, launch: None, by_post: false, aud: None }
    }

    pub(super) fn choosing(mut self, choice: Choice) -> Self {
        self.choice = choice;
        self
    }
}

/// A code, and the verifier that belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) code: String,
    pub(super) verifier: String,
}

/// An answer of the token endpoint.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    /// The client that asked.
    pub(super) client: String,
    /// What was asked for.
    pub(super) requested: String,
    pub(super) answer: Answer,
    pub(super) body: Value,
}

impl Tokens {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.body[name].as_str()
    }

    pub(super) fn access(&self) -> &str {
        self.text("access_token").unwrap_or_default()
    }

    pub(super) fn scope(&self) -> &str {
        self.text("scope").unwrap_or_default()
    }

    pub(super) fn patient(&self) -> Option<&str> {
        self.text("patient").filter(|id| !id.is_empty())
    }
}

impl Suite {
    /// The authorization request to its end, whatever that is.
    pub(super) async fn ask(&mut self, wish: &Wish<'_>) -> Result<(Ending, Asked), String> {
        let endpoint = self.endpoint("authorization_endpoint")?;
        let asked = Asked { state: random(), verifier: verifier() };
        let aud = wish.aud.map_or_else(|| self.base.clone(), str::to_owned);
        let mut parameters: Pairs = vec![
            ("response_type".into(), "code".into()),
            ("client_id".into(), wish.app.id.clone()),
            ("redirect_uri".into(), self.options.redirect_uri.clone()),
            ("scope".into(), wish.scope.clone()),
            ("state".into(), asked.state.clone()),
            ("aud".into(), aud),
            ("code_challenge".into(), keys::challenge(&asked.verifier)),
            ("code_challenge_method".into(), "S256".into()),
        ];
        parameters.extend(wish.launch.iter().map(|handle| ("launch".into(), handle.clone())));
        if wish.choice != Choice::All {
            // A decision that the server remembers must not answer for this one.
            parameters.push(("prompt".into(), "consent".into()));
        }
        let request = Request {
            endpoint: &endpoint,
            parameters,
            redirect_uri: &self.options.redirect_uri,
            by_post: wish.by_post,
            choice: wish.choice,
            patient: self.options.patient.as_deref(),
            patient_name: self.options.patient_name.as_deref(),
        };
        Ok((self.agent.authorize(&self.http, &request).await?, asked))
    }

    /// The authorization request, when it ends with a code.
    pub(super) async fn code(&mut self, wish: &Wish<'_>) -> Result<Code, String> {
        match self.ask(wish).await? {
            (Ending::Refused(status), _) => {
                Err(format!("the authorization endpoint refuses with {status}"))
            }
            (Ending::Back(answer), asked) => {
                if let Some(error) = url::value(&answer, "error") {
                    let more = url::value(&answer, "error_description").unwrap_or_default();
                    return Err(format!("the authorization endpoint answers {error} {more}"));
                }
                let state = url::value(&answer, "state");
                ensure(state == Some(&asked.state), || "another state came back".to_owned())?;
                let code = url::value(&answer, "code").filter(|code| !code.is_empty());
                let code = code.ok_or("the redirect has no code")?.to_owned();
                Ok(Code { code, verifier: asked.verifier })
            }
        }
    }

    /// Sends a form of `app` to the token endpoint.
    pub(super) async fn token(&self, app: &App, form: Pairs) -> Result<Answer, String> {
        let endpoint = self.endpoint("token_endpoint")?;
        self.http.send(app.call(&endpoint, &endpoint, form, &self.options.redirect_uri)?).await
    }

    /// Exchanges a code.
    pub(super) async fn exchange(
        &self,
        app: &App,
        code: &str,
        verifier: Option<&str>,
    ) -> Result<Answer, String> {
        let mut form: Pairs = vec![
            ("grant_type".into(), "authorization_code".into()),
            ("code".into(), code.to_owned()),
            ("redirect_uri".into(), self.options.redirect_uri.clone()),
        ];
        form.extend(verifier.map(|verifier| ("code_verifier".into(), verifier.to_owned())));
        self.token(app, form).await
    }

    /// The whole way to tokens.
    pub(super) async fn launch(&mut self, wish: &Wish<'_>) -> Result<Tokens, String> {
        let code = self.code(wish).await?;
        let answer = self.exchange(wish.app, &code.code, Some(&code.verifier)).await?;
        answer.expect(&[200])?;
        let body = answer.json()?;
        let client = wish.app.id.clone();
        Ok(Tokens { client, requested: wish.scope.clone(), answer, body })
    }
}

/// What an authorization request was sent with.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    state: String,
    verifier: String,
}
