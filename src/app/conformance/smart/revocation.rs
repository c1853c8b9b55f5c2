//! Revocation: what an app or its user takes back is dead at once.

use std::time::Duration;

use super::super::html;
use super::super::report::{Found, ensure};
use super::Suite;
use super::agent::Agent;
use super::apps::App;
use super::launch::{Tokens, Wish};
use super::options::Apps;
use super::standalone::IDENTITY;
use super::walker::press;

/// What other nodes of a server may take to hear of it.
const SPREADS: Duration = Duration::from_secs(5);

impl Suite {
    pub(super) async fn revocation(&mut self, apps: &Apps) {
        let app = apps.public.as_ref().or(apps.secret.as_ref()).or(apps.key.as_ref());
        let Some(app) = app.filter(|_| self.agent.is_there()) else {
            let why = "no client, or neither --user nor --authorize-by-hand is given";
            self.report.skip("I0.2.10", "revocation", why);
            return;
        };
        for (check, by_user) in [("by the app", false), ("by the user", true)] {
            let wish = Wish::new(app, format!("{IDENTITY} patient/Patient.rs"));
            let found = match self.launch(&wish).await {
                Ok(tokens) if by_user => self.by_user(app, &tokens).await,
                Ok(tokens) => self.by_app(app, &tokens).await.map(|()| true),
                Err(why) => Err(why),
            };
            match found {
                Ok(true) => {
                    self.report.must("I0.2.10", check, Ok(()));
                }
                Ok(false) => self.report.skip(
                    "I0.2.10",
                    check,
                    "the server has no management_endpoint with a form for this client",
                ),
                Err(why) => {
                    self.report.must("I0.2.10", check, Err(why));
                }
            }
        }
    }

    async fn by_app(&self, app: &App, tokens: &Tokens) -> Found {
        let endpoint = self.endpoint("revocation_endpoint")?;
        let token_endpoint = self.endpoint("token_endpoint")?;
        let refresh = tokens.text("refresh_token").ok_or("no refresh_token")?;
        let form = vec![("token".to_owned(), refresh.to_owned())];
        let call = app.call(&endpoint, &token_endpoint, form, &self.options.redirect_uri)?;
        self.http.send(call).await?.expect(&[200])?;
        self.dead(app, tokens).await
    }

    /// Through the page where users see their apps; `false` where there is none we can use.
    async fn by_user(&mut self, app: &App, tokens: &Tokens) -> Result<bool, String> {
        let Ok(page) = self.endpoint("management_endpoint") else { return Ok(false) };
        match &mut self.agent {
            Agent::Nobody => return Ok(false),
            Agent::Hands => {
                eprintln!("\nOpen {page}, take back the access of {}, then press Enter.", app.id);
                let waited =
                    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
                waited
                    .await
                    .map_err(|error| error.to_string())?
                    .map_err(|error| error.to_string())?;
            }
            Agent::Walker(walker) => {
                let answer = walker.page(&self.http, &page).await?;
                answer.expect(&[200])?;
                // The form that names the client, or else the only one with such a button.
                let forms = html::forms(&answer.text());
                let names_it =
                    |form: &&html::Form| form.fields.iter().any(|field| field.value == app.id);
                let Some(form) = forms.iter().find(names_it) else { return Ok(false) };
                let mut sent = form.defaults();
                press(form, &mut sent);
                let done = walker.submit(&self.http, &answer, form, sent).await?;
                ensure(done.status < 400, || format!("{page} answers {}", done.status))?;
            }
        }
        self.dead(app, tokens).await.map(|()| true)
    }

    async fn dead(&self, app: &App, tokens: &Tokens) -> Found {
        let path = format!("Patient/{}", tokens.patient().unwrap_or_default());
        let mut answer = self.fhir(&path, tokens.access()).await?;
        if answer.status == 200 {
            tokio::time::sleep(SPREADS).await;
            answer = self.fhir(&path, tokens.access()).await?;
        }
        answer.expect(&[401, 403, 404])?;
        let refresh = tokens.text("refresh_token").unwrap_or_default();
        match self.refresh(app, refresh, None).await {
            Ok(_) => Err("the refresh token still gives tokens".to_owned()),
            Err(_) => Ok(()),
        }
    }
}
