//! Introspection: what the server says about a token that it gave, and about one it never gave.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::http::Call;
use super::super::report::{Found, ensure};
use super::apps::App;
use super::launch::Tokens;
use super::options::Apps;
use super::{Suite, keys, now_seconds, random};

/// What an expiry may lie back, as clocks differ.
const LEEWAY_SECONDS: i64 = 600;

impl Suite {
    /// Asks about `tokens` as a confidential client would.
    pub(super) async fn introspection(&mut self, apps: &Apps, tokens: Option<&Tokens>) {
        self.report.enter("");
        let caller = apps.secret.as_ref().or(apps.key.as_ref()).or(apps.backend.as_ref());
        let Some(caller) = caller else {
            self.report.skip("I0.1.14", "active token", "no confidential client is given");
            return;
        };
        let answer = self.introspect(caller, &random()).await;
        let found = answer.as_ref().map_err(Clone::clone).and_then(|body| {
            ensure(body["active"] == false, || format!("an unknown token is {}", body["active"]))
        });
        self.report.must("I0.1.14", "an unknown token is not active", found);
        if let Ok(body) = answer {
            let members = body.as_object().map_or(0, serde_json::Map::len);
            let found = ensure(members == 1, || format!("more than active: {body}"));
            self.report.should("I0.1.14", "of an unknown token nothing else is told", found);
        }
        let Some(tokens) = tokens else {
            self.report.skip("I0.1.14", "active token", "no launch gave a token");
            return;
        };
        let answer = self.introspect(caller, tokens.access()).await;
        let found = answer.as_ref().map_err(Clone::clone).and_then(|body| same(body, tokens));
        self.report.must("I0.1.14", "of a token in use the truth is told", found);
        if let Ok(body) = answer {
            let claims = tokens.text("id_token").and_then(keys::parts).map(|(_, claims)| claims);
            let user = claims.map_or(Value::Null, |claims| claims["fhirUser"].clone());
            let found = ensure(body["fhirUser"] == user, || {
                format!("fhirUser is {}, in the id_token {user}", body["fhirUser"])
            });
            self.report.should("I0.1.14", "fhirUser is that of the id_token", found);
        }
    }

    pub(super) async fn introspect(&self, caller: &App, token: &str) -> Result<Value, String> {
        let endpoint = self.endpoint("introspection_endpoint")?;
        let token_endpoint = self.endpoint("token_endpoint")?;
        let form = vec![("token".to_owned(), token.to_owned())];
        let call: Call =
            caller.call(&endpoint, &token_endpoint, form, &self.options.redirect_uri)?;
        let answer = self.http.send(call).await?;
        answer.expect(&[200])?;
        answer.json()
    }
}

fn same(body: &Value, tokens: &Tokens) -> Found {
    ensure(body["active"] == true, || format!("active is {}", body["active"]))?;
    ensure(body["client_id"] == tokens.client, || {
        format!("client_id is {}, and {} has asked", body["client_id"], tokens.client)
    })?;
    let told: Vec<_> = body["scope"].as_str().unwrap_or_default().split_whitespace().collect();
    let granted: Vec<_> = tokens.scope().split_whitespace().collect();
    let sets = [&told, &granted].map(|all| all.iter().copied().collect::<BTreeSet<_>>());
    ensure(sets[0] == sets[1], || {
        let differ: Vec<_> = sets[0].symmetric_difference(&sets[1]).copied().collect();
        format!("the scopes differ in {}", differ.join(" "))
    })?;
    ensure(told.len() == granted.len(), || {
        format!("{} scopes, in the token response {}", told.len(), granted.len())
    })?;
    let expires = body["exp"].as_i64().ok_or("exp is no number")?;
    ensure(expires >= now_seconds() - LEEWAY_SECONDS, || "exp is past".to_owned())?;
    for name in ["patient", "encounter"] {
        let given = &tokens.body[name];
        ensure(given.is_null() || &body[name] == given, || {
            format!("{name} is {}, in the token response {given}", body[name])
        })?;
    }
    let Some((_, claims)) = tokens.text("id_token").and_then(keys::parts) else { return Ok(()) };
    for name in ["iss", "sub"] {
        ensure(body[name] == claims[name], || {
            format!("{name} is {}, in the id_token {}", body[name], claims[name])
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use serde_json::json;

    use super::super::super::http::Answer;
    use super::*;

    #[test]
    fn what_is_told_of_a_token_is_what_its_client_was_told() {
        let answer = Answer {
            url: String::new(),
            status: 200,
            headers: HeaderMap::new(),
            body: hyper::body::Bytes::new(),
        };
        let tokens = Tokens {
            client: "app".to_owned(),
            requested: String::new(),
            answer,
            body: json!({ "scope": "openid patient/*.rs", "patient": "p1" }),
        };
        let whole = json!({
            "active": true, "client_id": "app", "scope": "patient/*.rs openid",
            "exp": now_seconds() + 60, "patient": "p1",
        });
        assert_eq!(same(&whole, &tokens), Ok(()));
        for (member, wrong) in [
            ("active", json!(false)),
            ("client_id", json!("another")),
            ("client_id", Value::Null),
            ("scope", json!("patient/*.rs")),
            ("scope", json!("patient/*.rs openid openid")),
            ("exp", json!(0)),
            ("patient", json!("p2")),
        ] {
            let mut body = whole.clone();
            body[member] = wrong;
            assert!(same(&body, &tokens).is_err(), "{body}");
        }
    }
}
