//! Tokens that were asked for, as BALP's pattern of ITI-71 has it.
//!
//! What was issued is told with what was asked: the pattern names an entity for the answer, too, and then allows
//! one entity in all.
//!
//! Spec: <https://profiles.ihe.net/ITI/BALP/StructureDefinition-IHE.IUA.71.html>

use serde_json::{Value, json};

use super::balp::{Entry, TOKENS};

impl Entry {
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
