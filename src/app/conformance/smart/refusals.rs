//! What must be refused: another audience, codes, clients, verifiers and refresh tokens.

use super::super::report::{Found, ensure};
use super::super::url;
use super::agent::Ending;
use super::apps::App;
use super::launch::Wish;
use super::options::Apps;
use super::standalone::IDENTITY;
use super::{Suite, random};

/// A base that is not the server's.
const FOREIGN: &str = "https://fhir.example.org/not-this-base";

/// How an exchange is spoilt by its PKCE verifier.
#[derive(Clone, Copy, Debug)]
enum Spoilt {
    Blank,
    Challenge,
    Missing,
    Other,
}

/// Verifiers that do not belong to the code.
const VERIFIERS: &[(&str, Spoilt)] = &[
    ("a code without its verifier", Spoilt::Missing),
    ("a code with a blank verifier", Spoilt::Blank),
    ("a code with another verifier", Spoilt::Other),
    ("a code with its challenge as verifier", Spoilt::Challenge),
];

impl Suite {
    pub(super) async fn refusals(&mut self, apps: &Apps) {
        self.report.enter("");
        for app in [&apps.public, &apps.secret, &apps.key].into_iter().flatten() {
            self.report.enter(app.kind());
            let form = vec![
                ("grant_type".to_owned(), "refresh_token".to_owned()),
                ("refresh_token".to_owned(), random()),
            ];
            let answer = self.token(app, form).await;
            let found = answer.and_then(|answer| answer.expect(&[400, 401]));
            self.report.must("I0.2.9", "an unknown refresh token", found);
            let answer = self.exchange(app, "BAD_CODE", Some(&random())).await;
            let found = answer.and_then(|answer| answer.expect(&[400]));
            self.report.must("I0.2.8", "an unknown code", found);
        }
        self.report.enter("");
        let app = apps.public.as_ref().or(apps.secret.as_ref()).or(apps.key.as_ref());
        let Some(app) = app.filter(|_| self.agent.is_there()) else {
            let why = "no client, or neither --user nor --authorize-by-hand is given";
            self.report.skip("I0.2.8", "another audience", why);
            return;
        };
        let found = self.foreign_audience(app).await;
        self.report.must("I0.2.8", "another audience", found);
        for (check, spoilt) in VERIFIERS {
            let found = self.spoilt(app, *spoilt).await;
            self.report.must("I0.2.8", check, found);
        }
        let found = self.used_twice(app).await;
        self.report.must("I0.2.8", "a code that is used again", found);
        if let Some(public) = &apps.public {
            let found = self.foreign_client(public).await;
            self.report.must("I0.2.8", "a code of another client", found);
        }
    }

    fn identity(app: &App) -> Wish<'_> {
        Wish::new(app, format!("{IDENTITY} patient/Patient.rs"))
    }

    async fn foreign_audience(&mut self, app: &App) -> Found {
        let wish = Wish { aud: Some(FOREIGN), ..Self::identity(app) };
        match self.ask(&wish).await?.0 {
            Ending::Refused(_) => Ok(()),
            Ending::Back(answer) => ensure(url::value(&answer, "code").is_none(), || {
                format!("a code is given for the audience {FOREIGN}")
            }),
        }
    }

    async fn spoilt(&mut self, app: &App, spoilt: Spoilt) -> Found {
        let code = self.code(&Self::identity(app)).await?;
        let verifier = match spoilt {
            Spoilt::Blank => Some(String::new()),
            Spoilt::Challenge => Some(super::keys::challenge(&code.verifier)),
            Spoilt::Missing => None,
            Spoilt::Other => Some(super::verifier()),
        };
        self.exchange(app, &code.code, verifier.as_deref()).await?.expect(&[400, 401])
    }

    /// A second exchange fails, and the tokens of the first are dead then.
    async fn used_twice(&mut self, app: &App) -> Found {
        let code = self.code(&Self::identity(app)).await?;
        let first = self.exchange(app, &code.code, Some(&code.verifier)).await?;
        first.expect(&[200])?;
        let second = self.exchange(app, &code.code, Some(&code.verifier)).await?;
        second.expect(&[400, 401])?;
        let body = first.json()?;
        let (token, patient) = (body["access_token"].as_str(), body["patient"].as_str());
        let path = format!("Patient/{}", patient.unwrap_or_default());
        self.fhir(&path, token.unwrap_or_default()).await?.expect(&[401])
    }

    async fn foreign_client(&mut self, app: &App) -> Found {
        let code = self.code(&Self::identity(app)).await?;
        let other = App::new("BAD_CLIENT_ID", super::apps::Proof::None);
        self.exchange(&other, &code.code, Some(&code.verifier)).await?.expect(&[400, 401])
    }
}
