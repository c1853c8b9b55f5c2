//! Refresh: new tokens for old, twice, and never more than before.

use hyper::header::ORIGIN;

use super::super::http::{Answer, Call};
use super::super::report::ensure;
use super::super::url::{self, Pairs};
use super::apps::App;
use super::launch::Tokens;
use super::{Suite, tokens};

impl Suite {
    /// Sends a refresh token; with `scope` where one is asked for.
    pub(super) async fn refresh(
        &self,
        app: &App,
        refresh_token: &str,
        scope: Option<&str>,
    ) -> Result<Tokens, String> {
        let mut form: Pairs = vec![
            ("grant_type".into(), "refresh_token".into()),
            ("refresh_token".into(), refresh_token.to_owned()),
        ];
        form.extend(scope.map(|scope| ("scope".into(), scope.to_owned())));
        refreshed(app, self.token(app, form).await?, scope.unwrap_or_default())
    }

    /// The same by a public app that does not say who it is, which some libraries do not.
    async fn refresh_unnamed(&self, app: &App, refresh_token: &str) -> Result<Tokens, String> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        let call = Call::post(self.endpoint("token_endpoint")?).form(&form);
        let origin = url::origin(&self.options.redirect_uri);
        refreshed(app, self.http.send(call.header(ORIGIN, origin)).await?, "")
    }
}

fn refreshed(app: &App, answer: Answer, requested: &str) -> Result<Tokens, String> {
    answer.expect(&[200])?;
    let body = answer.json()?;
    Ok(Tokens { client: app.id.clone(), requested: requested.to_owned(), answer, body })
}

impl Tokens {
    /// Refreshes twice, without and with the scopes; gives the newest tokens.
    pub(super) async fn refreshed(self, suite: &mut Suite, app: &App) -> Self {
        let mut newest = self;
        if let (true, Some(old)) = (app.is_public(), newest.text("refresh_token")) {
            let fresh = suite.refresh_unnamed(app, old).await;
            let found = fresh.as_ref().map(|_| ()).map_err(Clone::clone);
            suite.report.should("I0.1.12", "by a public app without client_id", found);
            if let Ok(fresh) = fresh {
                newest = fresh.keeping(&newest);
            }
        }
        for (check, with_scope) in
            [("without scopes", false), ("with the scopes that were granted", true)]
        {
            let Some(old) = newest.text("refresh_token").map(str::to_owned) else {
                let found = Err("the token response has no refresh_token".to_owned());
                suite.report.must("I0.1.12", check, found);
                return newest;
            };
            let scopes = newest.scope().to_owned();
            let asked = with_scope.then_some(scopes.as_str());
            let refreshed = suite.refresh(app, &old, asked).await;
            let found = refreshed.as_ref().map(|_| ()).map_err(Clone::clone);
            suite.report.must("I0.1.12", check, found);
            let Ok(fresh) = refreshed else { return newest };
            tokens::check(&mut suite.report, "I0.1.12", &fresh);
            let more: Vec<_> = fresh
                .scope()
                .split_whitespace()
                .filter(|scope| !super::scope::names(&scopes, scope))
                .collect();
            let found = ensure(more.is_empty(), || format!("more than before: {}", more.join(" ")));
            suite.report.must("I0.1.12", "no more scopes than before", found);
            let patient = newest.patient().unwrap_or_default().to_owned();
            let found = suite
                .fhir(&format!("Patient/{patient}"), fresh.access())
                .await
                .and_then(|answer| answer.expect(&[200]));
            suite.report.must("I0.2.3", "the patient is readable after a refresh", found);
            newest = fresh.keeping(&newest);
        }
        newest
    }

    /// With what the answer before said and this one does not repeat.
    fn keeping(mut self, before: &Self) -> Self {
        for kept in ["refresh_token", "patient", "encounter", "id_token"] {
            if self.body[kept].is_null() {
                self.body[kept] = before.body[kept].clone();
            }
        }
        self
    }
}
