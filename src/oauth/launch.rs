//! Launches: what an EHR hands to an app, and for whom.
//!
//! Spec: SMART App Launch 2.2, launch context and fhirContext; security L13, L14.

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use thiserror::Error as ThisError;

use crate::access::Actor;
use crate::access::Outcome;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::fhir::{LogicalId, ResourceType};
use crate::store::oauth::client;
use crate::store::oauth::launch::{self, NewLaunch};

use super::Authority;
use super::discovery;
use super::form::has_nul;
use super::login::Account;
use super::secret::Fresh;

/// How long a launch can be used.
pub const SECONDS: i64 = 300;
/// Most members of a fhirContext.
const MOST: usize = 50;

/// What an EHR asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The app.
    pub client_id: String,
    /// The id of the patient whose record is open.
    pub patient: Option<String>,
    /// The id of the visit.
    pub encounter: Option<String>,
    /// Other resources.
    #[serde(rename = "fhirContext")]
    pub fhir_context: Option<Vec<Value>>,
    /// What the user wants to do.
    pub intent: Option<String>,
    /// Whether the app has to show whose record it is.
    pub need_patient_banner: Option<bool>,
    /// Which part of the organization.
    pub tenant: Option<String>,
    /// Whose session it is for, where a client asks and not the session itself.
    pub user: Option<String>,
}

/// Why there is no launch.
#[derive(Debug, ThisError)]
pub enum NoLaunch {
    /// The request is not one.
    #[error("{0}")]
    Invalid(&'static str),
    /// Something else.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A launch that was made.
pub struct Made {
    /// What the app gets.
    pub handle: SecretString,
    /// Where the app is started, with all that it needs.
    pub url: Option<SecretString>,
}

impl Asked {
    /// The ids of patient and encounter.
    ///
    /// # Errors
    /// [`NoLaunch::Invalid`] when one is none.
    pub fn ids(&self) -> Result<(Option<LogicalId>, Option<LogicalId>), NoLaunch> {
        let id = |text: &Option<String>, wrong| match text {
            Some(text) => text.parse().map(Some).map_err(|_| NoLaunch::Invalid(wrong)),
            None => Ok(None),
        };
        Ok((id(&self.patient, "patient is no id")?, id(&self.encounter, "encounter is no id")?))
    }

    /// What is handed over.
    fn context(&self) -> Result<Value, NoLaunch> {
        let mut told = Map::new();
        let members = self.fhir_context.as_deref().unwrap_or_default();
        if members.len() > MOST || !members.iter().all(is_member) {
            return Err(NoLaunch::Invalid(
                "fhirContext has objects with a relative reference, a canonical or an identifier",
            ));
        }
        let mut add = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                told.insert(name.to_owned(), value);
            }
        };
        add("patient", self.patient.clone().map(Value::from));
        add("encounter", self.encounter.clone().map(Value::from));
        add("fhirContext", self.fhir_context.clone().map(Value::from));
        add("intent", self.intent.clone().map(Value::from));
        add("need_patient_banner", self.need_patient_banner.map(Value::from));
        add("tenant", self.tenant.clone().map(Value::from));
        let told = Value::Object(told);
        if has_nul(&told) {
            return Err(NoLaunch::Invalid("a text has a NUL"));
        }
        Ok(told)
    }
}

/// Whether a value can stand in fhirContext. Patient and Encounter have members of their own, unless
/// they play another part.
fn is_member(value: &Value) -> bool {
    let Some(member) = value.as_object() else { return false };
    let text = |name: &str| member.get(name).and_then(Value::as_str);
    let is_reference = text("reference").is_some_and(|reference| {
        let parts = reference.split_once('/');
        parts.is_some_and(|(of, id)| {
            let is_known = of.parse::<ResourceType>().is_ok() && id.parse::<LogicalId>().is_ok();
            let is_plain = of != "Patient" && of != "Encounter";
            is_known && (is_plain || text("role").is_some_and(|role| role != "launch"))
        })
    });
    let is_canonical = text("canonical").is_some_and(|it| it.starts_with("http"));
    let is_identifier = member.get("identifier").is_some_and(Value::is_object);
    let is_typed = member
        .get("type")
        .is_none_or(|of| of.as_str().is_some_and(|of| of.parse::<ResourceType>().is_ok()));
    (is_reference || is_canonical || is_identifier) && is_typed
}

impl Authority {
    /// Makes a launch for the session of an account, whose access to the patient was shown.
    ///
    /// # Errors
    /// [`NoLaunch`] says why not.
    pub async fn make_launch(
        &self,
        asked: &Asked,
        account: &Account,
        actor: &Actor,
    ) -> Result<Made, NoLaunch> {
        self.check_offered(asked)?;
        let known = client::find(&self.store, &asked.client_id).await?;
        let client = known.filter(|client| client.disabled_at.is_none());
        let client = client.ok_or(NoLaunch::Invalid("client_id is not known"))?;
        let context = asked.context()?;
        let Fresh { text, hash } = Fresh::new("", &*self.ids);
        let now = self.clock.now();
        let new = NewLaunch {
            hash: &hash,
            account: account.id,
            client: &client.id,
            context: &context.to_string(),
            expires: now.plus_millis(SECONDS * 1_000),
        };
        let told = format!("{} for user:{}", client.id, account.name);
        self.gate.note(Kind::Launch, actor, Outcome::Success, &told).await?;
        launch::add(&self.store, new, now).await?;
        let url = client.launch_uri.as_ref().map(|uri| {
            use secrecy::ExposeSecret as _;
            let pairs = [("iss", self.settings.base.as_str()), ("launch", text.expose_secret())];
            SecretString::from(super::authorize::answer(uri, &pairs, None))
        });
        Ok(Made { handle: text, url })
    }
}

impl Authority {
    /// Refuses what would be handed over in vain, for it is switched off.
    fn check_offered(&self, asked: &Asked) -> Result<(), NoLaunch> {
        let offers = |capability| self.settings.offers(capability);
        if !offers(discovery::LAUNCH_EHR) {
            return Err(NoLaunch::Invalid("apps are not launched from an EHR here"));
        }
        if asked.patient.is_some() && !offers(discovery::EHR_PATIENT) {
            return Err(NoLaunch::Invalid("no patient is handed over here"));
        }
        if asked.encounter.is_some() && !offers(discovery::EHR_ENCOUNTER) {
            return Err(NoLaunch::Invalid("no encounter is handed over here"));
        }
        Ok(())
    }
}

/// A launch as it is told to who asked for it.
pub fn told(made: &Made) -> Value {
    use secrecy::ExposeSecret as _;
    let mut told = json!({ "launch": made.handle.expose_secret(), "expires_in": SECONDS });
    if let Some(url) = &made.url {
        told["launch_url"] = json!(url.expose_secret());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_is_handed_has_the_form_of_the_guide() {
        for (member, expected) in [
            (json!({"reference": "ImagingStudy/1"}), true),
            (json!({"reference": "Patient/1"}), false),
            (json!({"reference": "Patient/1", "role": "launch"}), false),
            (json!({"reference": "Patient/1", "role": "https://r.example/mother"}), true),
            (json!({"reference": "https://x.example/Patient/1"}), false),
            (json!({"reference": "Nothing/1"}), false),
            (json!({"canonical": "http://x.example/Questionnaire/1"}), true),
            (json!({"canonical": "urn:x"}), false),
            (json!({"identifier": {"value": "1"}}), true),
            (json!({"identifier": "1"}), false),
            (json!({"identifier": {}, "type": "Nothing"}), false),
            (json!({"type": "Patient"}), false),
            (json!("Patient/1"), false),
        ] {
            assert_eq!(is_member(&member), expected, "{member}");
        }
    }
}
