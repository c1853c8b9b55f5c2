//! The launch from an EHR: by a handle that the EHR passes to the app.

use serde_json::{Value, json};

use super::super::http::Call;
use super::super::report::{Found, ensure};
use super::agent::{Agent, wait_for};
use super::apps::App;
use super::discovery::document;
use super::launch::Wish;
use super::options::Apps;
use super::standalone::{BESIDE, SEARCHES};
use super::{Suite, scope, tokens};

/// The scope that lets a backend service make launch handles at Kiln.
const MAKES_LAUNCHES: &str = "system/__launch";

/// What an app of a clinician asks for.
fn wished() -> String {
    let types = SEARCHES.iter().map(|(name, _)| *name).chain(BESIDE.iter().copied());
    let scopes: Vec<_> = types.map(|name| format!("user/{name}.rs")).collect();
    format!("launch openid fhirUser offline_access patient/Patient.rs {}", scopes.join(" "))
}

impl Suite {
    pub(super) async fn ehr_launch(&mut self, apps: &Apps) {
        self.report.enter("");
        let app = apps.secret.as_ref().or(apps.public.as_ref()).or(apps.key.as_ref());
        let Some(app) = app.filter(|_| self.agent.is_there()) else {
            let why = "no client, or neither --user nor --authorize-by-hand is given";
            self.report.skip("I0.1.8", "launch", why);
            self.report.skip("I0.2.4", "launch", why);
            return;
        };
        let handle = match self.handle(app, apps.backend.as_ref()).await {
            Ok(Some(handle)) => handle,
            Ok(None) => {
                let why = "neither --launch nor --launch-endpoint is given";
                self.report.skip("I0.1.8", "launch", why);
                self.report.skip("I0.2.4", "launch", why);
                return;
            }
            Err(why) => {
                self.report.must("I0.1.8", "a launch is received", Err(why));
                return;
            }
        };
        self.report.must("I0.1.8", "a launch is received", Ok(()));
        let wish = Wish { launch: Some(handle.clone()), by_post: true, ..Wish::new(app, wished()) };
        let launched = self.launch(&wish).await;
        let found = launched.as_ref().map(|_| ()).map_err(Clone::clone);
        self.report.must("I0.1.8", "a code comes and is exchanged", found.clone());
        self.report.must("I0.2.4", "authorization by POST", found);
        let Ok(tokens) = launched else { return };
        self.report.enter("EHR launch");
        tokens::check_launch(&mut self.report, &tokens, "launch");
        let granted = scope::resource_scopes(tokens.scope());
        let is_granted = granted.iter().any(|it| it.context == "patient" && it.covers("Patient"));
        let found = ensure(is_granted, || "patient/Patient.rs is not granted".to_owned());
        self.report.must("I0.2.4", "a scope for the patient in context", found);
        self.contexts(&tokens).await;
        let openid = self.openid(app, &tokens).await;
        openid.refreshed(self, app).await;
        if matches!(self.agent, Agent::Walker(_)) && self.options.launch_endpoint.is_some() {
            let again = Wish { launch: Some(handle), ..Wish::new(app, wished()) };
            let found = match self.code(&again).await {
                Ok(_) => Err("a used launch handle gave another code".to_owned()),
                Err(_) => Ok(()),
            };
            self.report.must("I0.1.8", "a launch handle is used once", found);
        }
        self.report.enter("");
    }

    /// The patient, the encounter, the banner and the style.
    async fn contexts(&mut self, tokens: &super::launch::Tokens) {
        for (check, resource, name) in [
            ("the patient in context is readable", "Patient", "patient"),
            ("the encounter in context is readable", "Encounter", "encounter"),
        ] {
            let id = tokens.text(name).map(str::to_owned);
            let found = match id {
                None => Err(format!("no {name} in the token response")),
                Some(id) => self
                    .fhir(&format!("{resource}/{id}"), tokens.access())
                    .await
                    .and_then(|answer| answer.expect(&[200])),
            };
            if resource == "Encounter" && self.options.encounter.is_none() {
                self.report.should("I0.2.3", check, found);
            } else {
                self.report.must("I0.2.3", check, found);
            }
        }
        let banner = &tokens.body["need_patient_banner"];
        let found = ensure(banner.is_boolean(), || format!("need_patient_banner is {banner}"));
        self.report.must("I0.2.4", "whether to show a banner", found);
        let found = self.style(&tokens.body).await;
        self.report.must("I0.2.4", "the style is JSON", found);
    }

    async fn style(&self, body: &Value) -> Found {
        let address = body["smart_style_url"].as_str().ok_or("no smart_style_url")?;
        document(&self.http.send(Call::get(address)).await?).map(|_| ())
    }

    /// The handle that is given, or one that the server makes, or one that a person's EHR sends.
    async fn handle(&self, app: &App, backend: Option<&App>) -> Result<Option<String>, String> {
        if let Some(handle) = &self.options.launch {
            return Ok(Some(handle.clone()));
        }
        if let (Some(endpoint), Some(backend)) = (&self.options.launch_endpoint, backend) {
            return self.made_handle(endpoint, app, backend).await.map(Some);
        }
        if !matches!(self.agent, Agent::Hands) {
            return Ok(None);
        }
        let origin = super::super::url::origin(&self.options.redirect_uri);
        let address = format!("{origin}/launch");
        eprintln!("\nLaunch the app {} from the EHR; its launch address is {address}", app.id);
        let sent = wait_for(&address).await?;
        let handle = super::super::url::value(&sent, "launch").filter(|it| !it.is_empty());
        Ok(Some(handle.ok_or("the launch has no launch parameter")?.to_owned()))
    }

    async fn made_handle(
        &self,
        endpoint: &str,
        app: &App,
        backend: &App,
    ) -> Result<String, String> {
        let token = self.service_token(backend, MAKES_LAUNCHES).await?;
        let patient = self.options.patient.as_ref().ok_or("--launch-endpoint needs --patient")?;
        let mut context = json!({
            "client_id": app.id,
            "user": self.options.user,
            "patient": patient,
            "need_patient_banner": true,
        });
        if let Some(encounter) = &self.options.encounter {
            context["encounter"] = json!(encounter);
        }
        let call = Call::post(endpoint).bearer(token.access()).json(&context);
        let answer = self.http.send(call).await?;
        answer.expect(&[200, 201])?;
        let body = answer.json()?;
        let handle = body["launch"].as_str().ok_or("the answer has no launch")?;
        Ok(handle.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clinician_s_app_asks_for_the_user_s_data_and_the_patient() {
        let asked = wished();
        assert!(
            asked.starts_with("launch openid fhirUser offline_access patient/Patient.rs user/")
        );
        assert!(asked.split(' ').all(|scope| scope != "launch/patient"));
    }
}
