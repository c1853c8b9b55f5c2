//! Backend services: a client that proves itself by a signed assertion and has no user.

use serde_json::{Value, json};

use super::super::http::{Answer, Call};
use super::super::url::Pairs;
use super::apps::{App, JWT_BEARER, Proof};
use super::launch::Tokens;
use super::{Suite, now_seconds, random, tokens};

/// A change of the claims that must be refused.
type Spoil = fn(&mut Value);

/// Assertions that no server may take.
const BAD: &[(&str, Spoil)] = &[
    ("an assertion for another audience", |claims| {
        claims["aud"] = json!("https://x.example/token");
    }),
    ("an assertion that is expired", |claims| {
        claims["exp"] = json!(now_seconds() - 3600);
    }),
    ("an assertion that lives an hour", |claims| {
        claims["exp"] = json!(now_seconds() + 3600);
    }),
    ("an assertion without jti", |claims| {
        claims["jti"] = Value::Null;
    }),
    ("an assertion of somebody else", |claims| {
        claims["iss"] = json!(random());
    }),
    ("an assertion about somebody else", |claims| {
        claims["sub"] = json!(random());
    }),
];

impl Suite {
    /// The token that a backend service gets, which needs `scope`.
    pub(super) async fn service_token(&self, app: &App, scope: &str) -> Result<Tokens, String> {
        let form: Pairs = vec![
            ("grant_type".into(), "client_credentials".into()),
            ("scope".into(), scope.to_owned()),
        ];
        let answer = self.token(app, form).await?;
        answer.expect(&[200, 201])?;
        let body = answer.json()?;
        Ok(Tokens { client: app.id.clone(), requested: scope.to_owned(), answer, body })
    }

    pub(super) async fn backend(&mut self, app: Option<&App>) {
        self.report.enter("");
        let Some(app) = app else {
            self.report.skip("I0.1.13", "authorization", "no backend client is given");
            self.report.skip("I0.2.13", "authorization", "no backend client is given");
            self.report.skip("I0.3.1", "export", "no backend client is given");
            return;
        };
        for (check, statuses, name, value) in [
            (
                "an unknown grant_type is refused with 400",
                &[400][..],
                "grant_type",
                "not_a_grant_type",
            ),
            (
                "an unknown client_assertion_type is refused",
                &[400, 401][..],
                "client_assertion_type",
                "not_an_assertion_type",
            ),
        ] {
            let found = match self.assertion(app, &app.claims("")) {
                Ok(mut form) => {
                    form.retain(|(known, _)| known != name);
                    form.push((name.to_owned(), value.to_owned()));
                    self.assert(&form).await.and_then(|answer| answer.expect(statuses))
                }
                Err(why) => Err(why),
            };
            self.report.must("I0.1.13", check, found);
        }
        self.bad_assertions(app).await;
        let granted = self.service_token(app, &self.options.backend_scope.clone()).await;
        let found = granted.as_ref().map(|_| ()).map_err(Clone::clone);
        for item in ["I0.1.13", "I0.2.13"] {
            self.report.must(item, "a valid assertion is answered with a token", found.clone());
        }
        if let Ok(granted) = granted {
            tokens::check(&mut self.report, "I0.1.13", &granted);
            self.bulk(&granted).await;
        }
    }

    /// The form of a token request with an assertion of these claims.
    fn assertion(&self, app: &App, claims: &Value) -> Result<Pairs, String> {
        let Proof::Key(signer) = &app.proof else { return Err("the client has no key".to_owned()) };
        let mut claims = claims.clone();
        if claims["aud"] == "" {
            claims["aud"] = json!(self.endpoint("token_endpoint")?);
        }
        Ok(vec![
            ("grant_type".into(), "client_credentials".into()),
            ("scope".into(), self.options.backend_scope.clone()),
            ("client_assertion_type".into(), JWT_BEARER.into()),
            ("client_assertion".into(), signer.sign(&claims)?),
        ])
    }

    async fn assert(&self, form: &Pairs) -> Result<Answer, String> {
        let endpoint = self.endpoint("token_endpoint")?;
        self.http.send(Call::post(endpoint).form(form)).await
    }

    async fn bad_assertions(&mut self, app: &App) {
        for (check, spoil) in BAD {
            let mut claims = app.claims("");
            spoil(&mut claims);
            let found = match self.assertion(app, &claims) {
                Ok(form) => self.assert(&form).await.and_then(|answer| answer.expect(&[400, 401])),
                Err(why) => Err(why),
            };
            self.report.must("I0.1.13", check, found);
        }
        let found = self.broken_signature(app).await;
        self.report.must("I0.1.13", "an assertion with a broken signature", found);
        let found = self.replay(app).await;
        self.report.must("I0.1.13", "an assertion that is sent again", found);
    }

    async fn broken_signature(&self, app: &App) -> Result<(), String> {
        let mut form = self.assertion(app, &app.claims(""))?;
        for (name, value) in &mut form {
            if name == "client_assertion" {
                let (signed, signature) = value.rsplit_once('.').unwrap_or_default();
                let turned: String = signature.chars().rev().collect();
                *value = format!("{signed}.{turned}");
            }
        }
        self.assert(&form).await?.expect(&[400, 401])
    }

    async fn replay(&self, app: &App) -> Result<(), String> {
        let form = self.assertion(app, &app.claims(""))?;
        self.assert(&form).await?.expect(&[200, 201])?;
        self.assert(&form).await?.expect(&[400, 401])
    }
}
