//! What must hold of an answer of the token endpoint.

use serde_json::Value;

use super::super::http::Answer;
use super::super::report::{Found, Report, ensure};
use super::launch::Tokens;
use super::scope;

/// Members and headers that every answer with a token has; for the item of its group.
pub(super) fn check(report: &mut Report, item: &'static str, tokens: &Tokens) {
    report.must(item, "token response: members and types", body(&tokens.body));
    report.must(item, "token response: not to be stored", headers(&tokens.answer));
}

/// Scopes, contexts and what else an app launch brings.
pub(super) fn check_launch(report: &mut Report, tokens: &Tokens, context_scope: &str) {
    report.must("I0.1.6", "token response: members and types", body(&tokens.body));
    let missing: Vec<_> = tokens
        .requested
        .split_whitespace()
        .filter(|wanted| !scope::names(tokens.scope(), wanted))
        .collect();
    let found = ensure(missing.is_empty(), || format!("not granted: {}", missing.join(" ")));
    report.should("I0.1.6", "what was asked for is granted", found);
    report.must("I0.1.7", "token response: not to be stored", headers(&tokens.answer));
    report.must("I0.1.7", "fhirContext", contexts(&tokens.body["fhirContext"]));
    let wanted = ["openid", "fhirUser", "offline_access", context_scope];
    let found = wanted.iter().try_for_each(|wanted| {
        ensure(scope::names(tokens.scope(), wanted), || format!("{wanted} is not granted"))
    });
    report.must("I0.2.2", "the scopes of a launch are granted literally", found);
}

fn body(body: &Value) -> Found {
    let text = |name: &str| {
        let value = &body[name];
        ensure(value.as_str().is_some_and(|text| !text.is_empty()), || format!("{name} is no text"))
    };
    text("access_token")?;
    text("token_type")?;
    text("scope")?;
    let kind = body["token_type"].as_str().unwrap_or_default();
    ensure(kind.eq_ignore_ascii_case("bearer"), || format!("token_type is {kind}"))?;
    ensure(body["expires_in"].is_number(), || "expires_in is no number".to_owned())?;
    ensure(body["refresh_token"].is_null() || body["refresh_token"].is_string(), || {
        "refresh_token is no text".to_owned()
    })
}

fn headers(answer: &Answer) -> Found {
    for (name, wanted) in [("cache-control", "no-store"), ("pragma", "no-cache")] {
        let value = answer.header(name).unwrap_or_default();
        ensure(value.contains(wanted), || format!("{name} is {value:?}, without {wanted}"))?;
    }
    Ok(())
}

fn contexts(contexts: &Value) -> Found {
    if contexts.is_null() {
        return Ok(());
    }
    let contexts = contexts.as_array().ok_or("fhirContext is no list")?;
    contexts.iter().try_for_each(context)
}

fn context(context: &Value) -> Found {
    let known = ["reference", "canonical", "identifier"];
    let has_one = context.is_object() && known.iter().any(|name| !context[*name].is_null());
    ensure(has_one, || format!("fhirContext has {context}"))?;
    if let Some(reference) = context["reference"].as_str() {
        let parts = reference.split_once('/');
        let is_relative = parts.is_some_and(|(resource, id)| is_type(resource) && is_id(id));
        ensure(is_relative, || format!("fhirContext has the reference {reference}"))?;
    }
    if let Some(canonical) = context["canonical"].as_str() {
        ensure(canonical.starts_with("http"), || format!("fhirContext has {canonical}"))?;
    }
    let identifier = &context["identifier"];
    ensure(identifier.is_null() || identifier.is_object(), || {
        "fhirContext has an identifier that is no object".to_owned()
    })?;
    let resource = &context["type"];
    ensure(resource.is_null() || resource.as_str().is_some_and(is_type), || {
        format!("fhirContext has the type {resource}")
    })
}

fn is_type(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_alphabetic())
}

fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_of_a_token_response_are_judged_by_their_types() {
        let whole = json!({ "access_token": "a", "token_type": "bEARER", "expires_in": 3600, "scope": "s" });
        assert_eq!(body(&whole), Ok(()));
        for (name, value) in [
            ("access_token", json!("")),
            ("token_type", json!("mac")),
            ("expires_in", json!("3600")),
            ("scope", json!(["s"])),
            ("refresh_token", json!(1)),
        ] {
            let mut broken = whole.clone();
            broken[name] = value;
            assert!(body(&broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn contexts_name_resources_of_the_server_or_canonicals() {
        for (context, holds) in [
            (json!(null), true),
            (json!([]), true),
            (json!([{ "reference": "ImagingStudy/1" }, { "canonical": "http://x|1" }]), true),
            (json!([{ "identifier": { "value": "1" }, "type": "Goal" }]), true),
            (json!({ "reference": "ImagingStudy/1" }), false),
            (json!([{ "reference": "http://x/ImagingStudy/1" }]), false),
            (json!([{ "canonical": "urn:x" }]), false),
            (json!([{ "role": "launch" }]), false),
            (json!([{ "identifier": "1" }]), false),
            (json!([{ "identifier": {}, "type": "goal" }]), false),
        ] {
            assert_eq!(contexts(&context).is_ok(), holds, "{context}");
        }
    }
}
