//! Discovery: the SMART configuration and the CapabilityStatement.

use hyper::header::{ACCEPT, ORIGIN};
use serde_json::Value;

use super::super::http::{Answer, Call};
use super::super::report::{Found, ensure};
use super::Suite;
use super::scope::Scope;

/// Members that must be there, with what they are.
const FIELDS: &[(&str, bool)] = &[
    ("authorization_endpoint", false),
    ("token_endpoint", false),
    ("capabilities", true),
    ("grant_types_supported", true),
    ("code_challenge_methods_supported", true),
];

/// Capabilities that a certified server has for apps that launch by themselves.
const STANDALONE: &[&str] = &[
    "launch-standalone",
    "client-public",
    "client-confidential-symmetric",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-standalone-patient",
    "permission-offline",
    "permission-patient",
    "authorize-post",
    "permission-v2",
    "permission-v1",
];

/// Those for launches from an EHR.
const EHR: &[&str] = &[
    "launch-ehr",
    "client-confidential-symmetric",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-banner",
    "context-style",
    "context-ehr-patient",
    "context-ehr-encounter",
    "permission-offline",
    "permission-user",
    "authorize-post",
    "permission-v2",
    "permission-v1",
];

/// An origin that nobody registered: public documents are for all.
const FOREIGN: &str = "https://app.example.org";

impl Suite {
    /// Reads the SMART configuration; says whether there is one.
    pub(super) async fn discovery(&mut self) -> bool {
        let address = format!("{}/.well-known/smart-configuration", self.base);
        let call = Call::get(&address).header(ACCEPT, "application/json");
        let read = self.http.send(call).await.and_then(|answer| document(&answer));
        let found = read.as_ref().map(|_| ()).map_err(Clone::clone);
        self.report.must("I0.1.1", "answers 200 with JSON", found);
        let Ok(configuration) = read else { return false };
        self.configuration = configuration;
        for accept in ["text/html", "application/fhir+xml"] {
            let call = Call::get(&address).header(ACCEPT, accept);
            let found = self.http.send(call).await.and_then(|answer| document(&answer)).map(|_| ());
            self.report.must("I0.1.1", "answers JSON whatever is accepted", found);
        }
        for field in FIELDS {
            let found = typed(&self.configuration, *field);
            self.report.must("I0.1.2", "required fields are there and typed", found);
        }
        self.methods();
        self.capabilities();
        self.scopes_supported();
        let metadata = format!("{}/metadata", self.base);
        for (check, url) in [("SMART configuration", address), ("CapabilityStatement", metadata)] {
            let answer = self.http.send(Call::get(url).header(ORIGIN, FOREIGN)).await;
            let found = answer.and_then(|answer| is_shared(&answer, FOREIGN));
            self.report.should("I0.1.4", check, found);
        }
        true
    }

    fn methods(&mut self) {
        let configuration = &self.configuration;
        let lists = |field: &str, value: &str| {
            configuration[field].as_array().is_some_and(|all| all.iter().any(|it| it == value))
        };
        let grant = ensure(lists("grant_types_supported", "authorization_code"), || {
            "grant_types_supported lacks authorization_code".to_owned()
        });
        let methods = "code_challenge_methods_supported";
        let s256 = ensure(lists(methods, "S256"), || format!("{methods} lacks S256"));
        let plain = ensure(!lists(methods, "plain"), || format!("{methods} has plain"));
        let issuer = ["issuer", "jwks_uri"].iter().try_for_each(|field| {
            ensure(configuration[*field].is_string(), || {
                format!("sso-openid-connect without {field}")
            })
        });
        let has_issuer = configuration["issuer"].is_null();
        let has_sso = self.has_capability("sso-openid-connect");
        self.report.must("I0.1.3", "authorization codes are granted", grant);
        self.report.must("I0.1.3", "PKCE by S256", s256);
        self.report.must("I0.1.3", "no PKCE by plain", plain);
        if has_sso {
            self.report.must("I0.1.3", "issuer and keys for OpenID Connect", issuer);
        } else {
            let found = ensure(has_issuer, || "an issuer without sso-openid-connect".to_owned());
            self.report.should("I0.1.3", "issuer and keys for OpenID Connect", found);
        }
    }

    fn capabilities(&mut self) {
        for (check, wanted) in [("standalone launch", STANDALONE), ("EHR launch", EHR)] {
            let missing: Vec<_> =
                wanted.iter().copied().filter(|name| !self.has_capability(name)).collect();
            let found = ensure(missing.is_empty(), || format!("missing: {}", missing.join(", ")));
            self.report.must("I0.2.1", check, found);
        }
    }

    fn scopes_supported(&mut self) {
        let scopes = self.configuration["scopes_supported"].as_array();
        let has_v2 = scopes.is_some_and(|scopes| {
            let mut texts = scopes.iter().filter_map(Value::as_str);
            texts.any(|text| Scope::of(text).is_some_and(|scope| scope.is_v2()))
        });
        let found = ensure(has_v2, || "scopes_supported has no scope of SMART 2".to_owned());
        self.report.must("I0.2.12", "scopes of SMART 2 are declared", found);
        let found = self.endpoint("introspection_endpoint").map(|_| ());
        self.report.must("I0.2.12", "the introspection endpoint is declared", found);
    }
}

/// The body of a 200 with `application/json`.
pub(super) fn document(answer: &Answer) -> Result<Value, String> {
    answer.expect(&[200])?;
    let kind = answer.header("content-type").unwrap_or_default();
    ensure(kind.starts_with("application/json"), || {
        format!("{} answers with Content-Type {kind:?}", answer.url)
    })?;
    let body = answer.json()?;
    ensure(body.is_object(), || format!("{} answers no object", answer.url))?;
    Ok(body)
}

/// Whether a page of `origin` may read the answer.
pub(super) fn is_shared(answer: &Answer, origin: &str) -> Found {
    answer.expect(&[200])?;
    let allowed = answer.header("access-control-allow-origin").unwrap_or_default();
    ensure(allowed == "*" || allowed == origin, || {
        format!("{} allows the origin {allowed:?}, not {origin}", answer.url)
    })
}

fn typed(configuration: &Value, (field, is_list): (&str, bool)) -> Found {
    let value = &configuration[field];
    let holds = if is_list {
        value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(is_text))
    } else {
        is_text(value)
    };
    let wanted = if is_list { "a list of texts" } else { "a text" };
    ensure(holds, || format!("{field} is {value}, not {wanted}"))
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_must_be_there_filled_and_of_their_type() {
        for (value, is_list, holds) in [
            (json!("https://x"), false, true),
            (json!(" "), false, false),
            (json!(null), false, false),
            (json!(["a", "b"]), true, true),
            (json!(["a", 1]), true, false),
            (json!([]), true, false),
            (json!("a"), true, false),
        ] {
            let found = typed(&json!({ "field": value }), ("field", is_list));
            assert_eq!(found.is_ok(), holds, "{value}");
        }
    }
}
