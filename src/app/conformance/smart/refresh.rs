//! Refresh: new tokens for old, twice, and never more than before.

use super::super::report::ensure;
use super::super::url::Pairs;
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
        let answer = self.token(app, form).await?;
        answer.expect(&[200])?;
        let body = answer.json()?;
        Ok(Tokens { requested: scope.unwrap_or_default().to_owned(), answer, body })
    }
}

impl Tokens {
    /// Refreshes twice, without and with the scopes; gives the newest tokens.
    pub(super) async fn refreshed(self, suite: &mut Suite, app: &App) -> Self {
        let mut newest = self;
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
            let Ok(mut fresh) = refreshed else { return newest };
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
            for kept in ["refresh_token", "patient", "encounter", "id_token"] {
                if fresh.body[kept].is_null() {
                    fresh.body[kept] = newest.body[kept].clone();
                }
            }
            newest = fresh;
        }
        newest
    }
}
