//! Tokens: by which names events have those that were used, and those that were asked for, as BALP's pattern of ITI-71
//! has it.
//!
//! A token goes by the `jti` of its issuer, by the patterns Minimal and Comprehensive. Of one without a name BALP's pattern
//! Opaque wants the last 32 characters; the record keeps nothing of a token, so it has 32 digits of a digest of it,
//! after [`OPAQUE_TOKENS`].
//!
//! What was issued is told with what was asked: the pattern names an entity for the answer, too, and then allows
//! one entity in all.
//!
//! Spec: <https://profiles.ihe.net/ITI/BALP/StructureDefinition-IHE.IUA.71.html>,
//! <https://profiles.ihe.net/ITI/BALP/StructureDefinition-IHE.BasicAudit.OAUTHaccessTokenUse.Opaque.html>

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

use crate::access::grant::OPAQUE_TOKENS;

use super::balp::Entry;

/// What the name of a token stands behind that its issuer gave it.
const TOKENS: &str = "urn:ietf:params:oauth:jti:";

/// What has no place in a URN (RFC 8141), and what the escapes themselves begin with.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The policy that names the token which the record has by a name.
pub(super) fn policy_of(name: &str) -> String {
    if name.starts_with(OPAQUE_TOKENS) {
        return name.to_owned();
    }
    format!("{TOKENS}{}", utf8_percent_encode(name, ESCAPED))
}

/// The name of the token that a policy names, as the record has it.
pub(super) fn name_of(policy: &str) -> Option<String> {
    let name = match policy.strip_prefix(TOKENS) {
        Some(jti) => percent_decode_str(jti).decode_utf8().ok()?.into_owned(),
        None => policy.to_owned(),
    };
    // One way to write each.
    (policy_of(&name) == policy).then_some(name)
}

impl Entry {
    /// The patterns of who comes with a token.
    pub(super) fn token_patterns(&self) -> impl Iterator<Item = &'static str> {
        let is_opaque = self.token.as_deref().map(|name| name.starts_with(OPAQUE_TOKENS));
        let (has_user, has_client) = (self.user().is_some(), self.client.is_some());
        let patterns = [
            ("Opaque", is_opaque == Some(true) && has_user),
            ("Minimal", is_opaque == Some(false) && has_user),
            ("Comprehensive", is_opaque == Some(false) && has_client),
        ];
        patterns.into_iter().filter(|(_, fits)| *fits).map(|(pattern, _)| pattern)
    }

    /// What was asked, with the names of the token and the grant that came of it, never the token.
    pub(super) fn with_issued(&self, mut asked: Value) -> Value {
        let told = self.entities.first().filter(|_| self.outcome == 0);
        if let Some((Some(token), Some(grant))) = told.map(|told| parts(told)) {
            asked["detail"] = json!([
                { "type": "token", "valueString": format!("{TOKENS}{token}") },
                { "type": "grant", "valueString": grant },
            ]);
        }
        asked
    }
}

/// The token and the grant that the authorization server tells of: `grant G token T`, and what more there is.
fn parts(told: &str) -> (Option<&str>, Option<&str>) {
    let mut words = told.split([' ', ';']);
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("grant"), Some(grant), Some("token"), Some(token)) => (Some(token), Some(grant)),
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_names_one_token_in_one_way() {
        let digest = format!("{OPAQUE_TOKENS}0123");
        for (name, policy) in [
            ("a-1", "urn:ietf:params:oauth:jti:a-1"),
            ("a+/=:@", "urn:ietf:params:oauth:jti:a+/=:@"),
            ("a b%20|ä", "urn:ietf:params:oauth:jti:a%20b%2520%7C%C3%A4"),
            (digest.as_str(), digest.as_str()),
        ] {
            assert_eq!(policy_of(name), policy);
            assert_eq!(name_of(policy).as_deref(), Some(name), "{policy}");
        }
        let no_jti = format!("{TOKENS}{digest}");
        for policy in [
            "",
            "a-1",
            "urn:ietf:params:oauth:jti:a b",
            "urn:ietf:params:oauth:jti:%61",
            "urn:ietf:params:oauth:jti:%FF",
            no_jti.as_str(),
        ] {
            assert_eq!(name_of(policy), None, "{policy}");
        }
    }

    #[test]
    fn the_names_of_token_and_grant_are_taken_out_of_the_text() {
        for (told, expected) in [
            ("grant g token t", (Some("t"), Some("g"))),
            ("grant g token t; reason: grant x token y", (Some("t"), Some("g"))),
            ("grant g", (None, None)),
            ("", (None, None)),
        ] {
            assert_eq!(parts(told), expected, "{told:?}");
        }
    }
}
