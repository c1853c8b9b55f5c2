//! Messages of which a part may fail: what is not valid is left out and told, where the sender's profile
//! says so. Without its patient nothing of a message is stored.
//!
//! Spec: v2 F3

use std::collections::BTreeSet;

use super::Halt;
use super::plan::{Entry, Plan};
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::fhir::json::Value;
use crate::hl7v2::ack::{Condition, Issue};

/// What stopped the entries of a message, as far as they are to blame.
pub(super) fn halted(error: Error, entries: &[Entry]) -> Halt {
    let places = match &error {
        Error::Unprocessable(issues) | Error::Invalid(issues) => {
            issues.iter().map(|issue| place(&issue.expression)).collect::<Option<BTreeSet<usize>>>()
        }
        _ => None,
    };
    let found: Option<Vec<&Entry>> =
        places.and_then(|places| places.into_iter().map(|place| entries.get(place)).collect());
    let halt = Halt::from(error);
    match (halt, found) {
        (Halt::Failed(issue), Some(found))
            if !found.is_empty()
                && found.iter().all(|it| it.identity.resource_type != ResourceType::PATIENT)
                // A merge or a move is done whole or not at all.
                && found.iter().all(|it| !it.rule.starts_with("effect ")) =>
        {
            Halt::Invalid(found.iter().map(|entry| entry.rule.clone()).collect(), issue)
        }
        (halt, _) => halt,
    }
}

/// The entry that an expression is about.
fn place(expression: &str) -> Option<usize> {
    let rest = expression.strip_prefix("Bundle.entry[")?;
    rest.split(']').next()?.parse().ok()
}

/// That rules made something that is not valid, and what of it.
pub(super) fn told(issue: &Issue) -> Issue {
    let detail = issue.detail.clone();
    Issue::warning(Condition::ApplicationError).named("skipped-invalid").detailed(detail)
}

impl Plan {
    /// Leaves out what `rules` make, and what leads there.
    pub(super) fn leave_out(&mut self, rules: &BTreeSet<String>) {
        if rules.is_empty() {
            return;
        }
        let (out, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.entries).into_iter().partition(|it| rules.contains(&it.rule));
        self.entries = left;
        let is_out = |of: &str, id: &str| {
            let is_it = |entry: &Entry| {
                entry.prior.is_none()
                    && entry.identity.resource_type.as_str() == of
                    && entry.identity.id.as_str() == id
            };
            out.iter().any(is_it)
        };
        self.keys.retain(|key| !is_out(&key.resource_type, &key.id));
        self.merges
            .retain(|one| !is_out(one.target.resource_type.as_str(), one.target.id.as_str()));
        self.marks.retain(|mark| !is_out(&mark.resource_type, &mark.id));
        let gone =
            |reference: &str| reference.split_once('/').is_some_and(|(of, id)| is_out(of, id));
        self.waiting.retain(|one| !gone(&one.member));
        for entry in &mut self.entries {
            let mut body = Value::Object(std::mem::take(&mut entry.body));
            forget(&mut body, &gone);
            if let Value::Object(body) = body {
                entry.body = body;
            }
        }
    }
}

/// Takes away references that are `gone`.
fn forget(value: &mut Value<'static>, gone: &impl Fn(&str) -> bool) {
    let leads_there = |value: &Value<'static>| value.str_at("reference").is_some_and(gone);
    match value {
        Value::Array(items) => {
            items.retain(|item| !leads_there(item));
            for item in items {
                forget(item, gone);
            }
        }
        Value::Object(object) => {
            let is_gone = |value: &Value<'static>| {
                let is_emptied = value
                    .as_array()
                    .is_some_and(|all| !all.is_empty() && all.iter().all(leads_there));
                leads_there(value) || is_emptied
            };
            let names: Vec<String> = object
                .iter()
                .filter(|(_, value)| is_gone(value))
                .map(|(name, _)| name.to_owned())
                .collect();
            for name in names {
                object.remove(&name);
            }
            for (_, value) in object.iter_mut() {
                forget(value, gone);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    #[test]
    fn references_to_what_is_left_out_are_taken_away() {
        let text = r#"{"result":[{"reference":"Observation/a"},{"reference":"Observation/b"}],
            "basedOn":[{"reference":"Observation/a"}],"subject":{"reference":"Patient/a"},
            "focus":{"reference":"Observation/a"},"x":{"y":[{"z":{"reference":"Observation/a"}}]}}"#;
        let mut value = parse(text.as_bytes()).unwrap().into_owned();
        forget(&mut value, &|reference: &str| reference == "Observation/a");
        let left = r#"{"result":[{"reference":"Observation/b"}],"subject":{"reference":"Patient/a"},"x":{"y":[{}]}}"#;
        assert_eq!(value.to_text(), left);
    }

    #[test]
    fn the_entry_is_read_from_the_place_of_an_issue() {
        for (expression, expected) in [
            ("Bundle.entry[12].resource.status", Some(12)),
            ("Bundle.entry[0].resource", Some(0)),
            ("Bundle.type", None),
            ("Patient.name", None),
        ] {
            assert_eq!(place(expression), expected, "{expression}");
        }
    }
}
