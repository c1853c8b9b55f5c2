//! OpenID Connect: who logged in, signed by the server.

use hyper::header::{ACCEPT, ORIGIN};
use serde_json::Value;

use super::super::http::Call;
use super::super::report::{Found, ensure};
use super::super::url;
use super::apps::App;
use super::discovery::{document, is_shared};
use super::keys::{self, RsaPublic};
use super::launch::Tokens;
use super::{Suite, now_seconds};

/// What a clock may be wrong by.
const LEEWAY_SECONDS: i64 = 60;

/// Members of the configuration that must be there.
const FIELDS: &[&str] = &[
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "response_types_supported",
    "subject_types_supported",
    "id_token_signing_alg_values_supported",
];

/// What a user may be.
const USERS: &[&str] = &["Patient", "Person", "Practitioner", "RelatedPerson"];

impl Suite {
    /// Judges the id_token of a launch; gives the tokens back.
    pub(super) async fn openid(&mut self, app: &App, tokens: &Tokens) -> Tokens {
        let token = tokens.text("id_token").map(str::to_owned);
        let parts = token.as_deref().and_then(keys::parts);
        let found = ensure(parts.is_some(), || "the token response has no id_token".to_owned());
        self.report.must("I0.1.10", "an id_token comes", found);
        if let (Some(token), Some((header, claims))) = (token, parts) {
            let configuration = self.openid_configuration(&claims).await;
            let found = configuration.as_ref().map(|_| ()).map_err(Clone::clone);
            self.report.must("I0.1.9", "the issuer's configuration", found);
            if let Ok(configuration) = configuration {
                let keys = self.keys(&configuration).await;
                let found = keys.as_ref().map(|_| ()).map_err(Clone::clone);
                self.report.must("I0.1.10", "the issuer's keys", found);
                if let Ok(keys) = keys {
                    let found = signed(&token, &header, &keys);
                    self.report.must("I0.1.10", "the signature", found);
                }
                let found = claimed(&claims, &configuration, &app.id);
                self.report.must("I0.1.10", "the claims", found);
            }
            self.fhir_user(&claims, tokens).await;
        }
        tokens.clone()
    }

    async fn openid_configuration(&self, claims: &Value) -> Result<Value, String> {
        let issuer = claims["iss"].as_str().ok_or("the id_token has no iss")?;
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let configuration = document(&self.http.send(Call::get(address)).await?)?;
        for field in FIELDS {
            let value = &configuration[*field];
            let is_there = value.is_string() || value.as_array().is_some_and(|all| !all.is_empty());
            ensure(is_there, || format!("the OpenID configuration has no {field}"))?;
        }
        let algorithms = configuration["id_token_signing_alg_values_supported"].as_array();
        let has_rs256 = algorithms.is_some_and(|all| all.iter().any(|it| it == "RS256"));
        ensure(has_rs256, || "RS256 is not supported for id_tokens".to_owned())?;
        Ok(configuration)
    }

    /// The RSA keys of the issuer, with their ids.
    async fn keys(
        &self,
        configuration: &Value,
    ) -> Result<Vec<(Option<String>, RsaPublic)>, String> {
        let address = configuration["jwks_uri"].as_str().unwrap_or_default();
        let answer = self.http.send(Call::get(address)).await?;
        answer.expect(&[200])?;
        let set = answer.json()?;
        let all = set["keys"].as_array().ok_or("the key set has no keys")?;
        let keys: Result<Vec<_>, String> = all
            .iter()
            .filter(|key| key["kty"] == "RSA")
            .map(|key| Ok((key["kid"].as_str().map(str::to_owned), RsaPublic::of(key)?)))
            .collect();
        let keys = keys?;
        ensure(!keys.is_empty(), || "the key set has no RSA key".to_owned())?;
        Ok(keys)
    }

    async fn fhir_user(&mut self, claims: &Value, tokens: &Tokens) {
        let user = claims["fhirUser"].as_str().unwrap_or_default();
        let path = user.strip_prefix(&format!("{}/", self.base)).unwrap_or(user).to_owned();
        let resource = path.split('/').next().unwrap_or_default().to_owned();
        let found = ensure(USERS.contains(&resource.as_str()), || format!("fhirUser is {user:?}"));
        if !self.report.must("I0.1.11", "the claim fhirUser", found) {
            return;
        }
        let read = self.fhir(&path, tokens.access()).await.and_then(|answer| {
            answer.expect(&[200])?;
            let body = answer.json()?;
            let found = &body["resourceType"];
            ensure(found == &resource, || format!("{path} answers with a {found}"))
        });
        self.report.must("I0.1.11", "the user's resource is readable", read);
        let origin = url::origin(&self.options.redirect_uri);
        let call = Call::get(format!("{}/{path}", self.base))
            .header(ACCEPT, "application/fhir+json")
            .header(ORIGIN, origin)
            .bearer(tokens.access());
        let found = self.http.send(call).await.and_then(|answer| is_shared(&answer, origin));
        self.report.should(
            "I0.1.11",
            "the user's resource is readable from the app's origin",
            found,
        );
    }
}

fn signed(token: &str, header: &Value, keys: &[(Option<String>, RsaPublic)]) -> Found {
    ensure(header["alg"] == "RS256", || format!("the id_token's alg is {}", header["alg"]))?;
    let kid = header["kid"].as_str();
    let key = match keys {
        [(_, key)] if kid.is_none() => Some(key),
        _ => keys.iter().find(|(id, _)| id.is_some() && id.as_deref() == kid).map(|(_, key)| key),
    };
    let key = key.ok_or("the id_token's kid is not among the keys")?;
    ensure(key.has_signed(token), || "the signature is not of the key that is named".to_owned())
}

fn claimed(claims: &Value, configuration: &Value, client: &str) -> Found {
    for name in ["iss", "sub", "aud", "exp", "iat"] {
        ensure(!claims[name].is_null(), || format!("the id_token has no {name}"))?;
    }
    ensure(claims["iss"] == configuration["issuer"], || {
        format!("iss is {}, the issuer {}", claims["iss"], configuration["issuer"])
    })?;
    let aud = &claims["aud"];
    let is_ours =
        aud == client || aud.as_array().is_some_and(|all| all.iter().any(|it| it == client));
    ensure(is_ours, || format!("aud is {aud}"))?;
    let expires = claims["exp"].as_i64().ok_or("exp is no number")?;
    ensure(expires + LEEWAY_SECONDS > now_seconds(), || "the id_token is expired".to_owned())?;
    let subject = claims["sub"].as_str().unwrap_or_default();
    ensure((1..256).contains(&subject.len()), || "sub is empty or too long".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_those_of_the_issuer_for_this_client_and_now() {
        let configuration = json!({ "issuer": "https://x/auth" });
        let later = now_seconds() + 300;
        let whole = json!({ "iss": "https://x/auth", "sub": "u", "aud": "app", "exp": later, "iat": later - 300 });
        assert_eq!(claimed(&whole, &configuration, "app"), Ok(()));
        for (name, value) in [
            ("iss", json!("https://y/auth")),
            ("sub", json!("")),
            ("aud", json!("other")),
            ("exp", json!(1)),
            ("iat", json!(null)),
        ] {
            let mut broken = whole.clone();
            broken[name] = value;
            assert!(claimed(&broken, &configuration, "app").is_err(), "{broken}");
        }
    }
}
