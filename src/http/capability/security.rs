//! What the CapabilityStatement says of who may call.
//!
//! Spec: SMART App Launch 1.0 section 3.1 (the extension, for older clients), security D5

use crate::fhir::json::{Object, Value};

const OAUTH_URIS: &str = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris";
const SERVICES: &str = "http://terminology.hl7.org/CodeSystem/restful-security-service";

/// The names in the extension of the endpoints of smart-configuration.
const NAMES: &[(&str, &str)] = &[
    ("authorization_endpoint", "authorize"),
    ("introspection_endpoint", "introspect"),
    ("management_endpoint", "manage"),
    ("registration_endpoint", "register"),
    ("revocation_endpoint", "revoke"),
    ("token_endpoint", "token"),
];

/// `rest.security`, with the endpoints of the authorization server where there is one.
pub(super) fn security(has_cors: bool, endpoints: &[(&'static str, String)]) -> Value<'static> {
    let security = Object::new().with("cors", has_cors || !endpoints.is_empty());
    if endpoints.is_empty() {
        return security.into();
    }
    let uri = |(name, url): &(&'static str, String)| {
        let (_, short) = NAMES.iter().find(|(known, _)| known == name)?;
        Some(Value::from(Object::new().with("url", *short).with("valueUri", url.clone())))
    };
    let uris: Vec<Value<'static>> = endpoints.iter().filter_map(uri).collect();
    let extension = Object::new().with("url", OAUTH_URIS).with("extension", uris);
    let coding = Object::new()
        .with("system", SERVICES)
        .with("code", "SMART-on-FHIR")
        .with("display", "SMART-on-FHIR");
    let service = Object::new()
        .with("coding", vec![Value::from(coding)])
        .with("text", "OAuth 2.0 by SMART on FHIR: see .well-known/smart-configuration");
    security
        .with("extension", vec![Value::from(extension)])
        .with("service", vec![Value::from(service)])
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_told_where_there_are_some() {
        assert_eq!(security(false, &[]).to_text(), r#"{"cors":false}"#);
        let told = security(false, &[("token_endpoint", "https://h/auth/token".to_owned())]);
        let text = told.to_text();
        for part in ["\"cors\":true", "SMART-on-FHIR", "\"valueUri\":\"https://h/auth/token\""] {
            assert!(text.contains(part), "{text}");
        }
    }
}
