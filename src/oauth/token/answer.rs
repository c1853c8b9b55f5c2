//! What a client hears with its tokens: scopes, context, and who the user is.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use crate::access::scope::{ScopeSet, Special};
use crate::error::Error;
use crate::fhir::Instant;
use crate::oauth::Authority;
use crate::oauth::discovery::OPENID;
use crate::oauth::refusal::Refusal;
use crate::store::oauth::grant::NewGrant;

/// The answer of the token endpoint.
#[derive(Debug)]
pub struct Answer {
    access: SecretString,
    refresh: Option<SecretString>,
    id_token: Option<SecretString>,
    rest: Map<String, Value>,
}

impl Answer {
    /// The answer with an access token of a grant.
    pub(super) fn new(
        (grant, tenant): (&NewGrant, Option<&str>),
        access: SecretString,
        scopes: &str,
        seconds: u64,
    ) -> Self {
        // What was kept of the launch can never stand for what the server says itself.
        let mut rest = context(grant, tenant);
        rest.insert("token_type".to_owned(), json!("Bearer"));
        rest.insert("expires_in".to_owned(), json!(seconds));
        rest.insert("scope".to_owned(), json!(scopes));
        Self { access, refresh: None, id_token: None, rest }
    }

    pub(super) fn with_refresh(self, refresh: Option<SecretString>) -> Self {
        Self { refresh, ..self }
    }

    pub(super) fn with_id_token(self, id_token: Option<String>) -> Self {
        Self { id_token: id_token.map(SecretString::from), ..self }
    }

    /// The JSON that is sent.
    pub fn to_json(&self) -> String {
        let mut all = self.rest.clone();
        let secrets = [
            ("access_token", Some(&self.access)),
            ("id_token", self.id_token.as_ref()),
            ("refresh_token", self.refresh.as_ref()),
        ];
        for (name, secret) in secrets {
            if let Some(secret) = secret {
                all.insert(name.to_owned(), json!(secret.expose_secret()));
            }
        }
        Value::from(all).to_string()
    }
}

/// The context of a grant as its members in an answer. Where the launch named no part of the organization,
/// `tenant` is that of the server, where there are several.
pub(in crate::oauth) fn context(grant: &NewGrant, tenant: Option<&str>) -> Map<String, Value> {
    let kept = grant.context.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let mut context: Map<String, Value> = kept.unwrap_or_default();
    for (name, value) in [("patient", &grant.patient), ("encounter", &grant.encounter)] {
        if let Some(value) = value {
            context.insert(name.to_owned(), json!(value));
        }
    }
    if let Some(tenant) = tenant {
        context.entry("tenant").or_insert(json!(tenant));
    }
    context
}

impl Authority {
    /// The id_token of a grant, when its scopes ask for one.
    pub(super) fn id_token(
        &self,
        grant: &NewGrant,
        scopes: &ScopeSet,
        now: Instant,
    ) -> Result<Option<String>, Refusal> {
        let Some(account) = grant.account else { return Ok(None) };
        if !scopes.has(Special::OpenId) || !self.settings.offers(OPENID) {
            return Ok(None);
        }
        let seconds = |at: Instant| at.as_micros().div_euclid(1_000_000);
        let mut claims = json!({
            "iss": self.settings.issuer,
            "sub": account.to_string(),
            "aud": grant.client,
            "iat": seconds(now),
            "exp": seconds(now) + self.settings.access_token.as_secs() as i64,
        });
        if let Some(at) = grant.auth_time {
            claims["auth_time"] = json!(seconds(at));
        }
        if let Some(nonce) = &grant.nonce {
            claims["nonce"] = json!(nonce);
        }
        let user = grant.fhir_user.as_ref().map(|user| format!("{}/{user}", self.settings.base));
        for (special, name) in [(Special::FhirUser, "fhirUser"), (Special::Profile, "profile")] {
            if let Some(user) = user.as_ref().filter(|_| scopes.has(special)) {
                claims[name] = json!(user);
            }
        }
        let signed = self.keys.current().sign(&claims);
        let unsigned = || Error::internal("there is no randomness to sign with");
        Ok(Some(signed.ok_or_else(unsigned)?))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_answer_has_the_context_and_its_debug_form_no_secret() {
        let grant = NewGrant {
            id: Uuid::nil(),
            client: "app".to_owned(),
            account: None,
            scopes: "patient/*.rs".to_owned(),
            patient: Some("p1".to_owned()),
            encounter: None,
            context: Some(r#"{"need_patient_banner":true,"access_token":"x"}"#.to_owned()),
            fhir_user: None,
            is_offline: false,
            session: None,
            auth_time: None,
            nonce: None,
            purpose: None,
            reason: None,
            created: Instant::from_micros(0),
        };
        for (kept, of_server, expected) in [
            (None, None, None),
            (None, Some("north"), Some("north")),
            (Some(r#"{"tenant":"ward"}"#), Some("north"), Some("ward")),
        ] {
            let grant = NewGrant { context: kept.map(str::to_owned), ..grant.clone() };
            let told = context(&grant, of_server);
            assert_eq!(told.get("tenant").and_then(Value::as_str), expected, "{kept:?}");
        }
        let access = SecretString::from("canary-a");
        let answer = Answer::new((&grant, None), access, "patient/*.rs", 60)
            .with_refresh(Some(SecretString::from("canary-r")))
            .with_id_token(Some("canary-i".to_owned()));
        let told: Value = serde_json::from_str(&answer.to_json()).expect("JSON");
        let expected = json!({
            "access_token": "canary-a", "refresh_token": "canary-r", "id_token": "canary-i",
            "token_type": "Bearer", "expires_in": 60, "scope": "patient/*.rs",
            "patient": "p1", "need_patient_banner": true,
        });
        assert_eq!(told, expected);
        assert!(!format!("{answer:?}").contains("canary"));
    }
}
