//! Tokens that were asked for, as BALP's pattern of ITI-71 has it.
//!
//! Spec: <https://profiles.ihe.net/ITI/BALP/StructureDefinition-IHE.IUA.71.html>

use serde_json::{Value, json};

use super::balp::{Entry, TOKENS, object, role};
use super::query::Condition;
use crate::access::interaction::Kind;

/// Events that show what was issued.
pub(super) fn issued() -> Condition {
    Condition::All(vec![Condition::Kinds(vec![Kind::Token]), Condition::Outcomes(vec![0])])
}

impl Entry {
    /// What was asked, and what was issued: the name of the token, never the token.
    pub(super) fn token_entities(&self, asked: Value) -> Vec<Value> {
        let mut entities = vec![asked];
        if self.outcome != 0 {
            return entities;
        }
        let told = self.entities.first().map_or("", String::as_str);
        let (token, grant) = parts(told);
        let what = match token {
            Some(token) => json!({ "identifier": { "value": format!("{TOKENS}{token}") } }),
            None => json!({ "display": "a token" }),
        };
        entities.push(json!({
            "what": what,
            "type": object("2"),
            "role": role("13"),
            "detail": [{ "type": "grant", "valueString": grant.unwrap_or("unknown") }],
        }));
        entities
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
