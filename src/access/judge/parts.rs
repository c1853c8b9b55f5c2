//! What a document names that tells whose it is where no compartment does, and the resources that it is made of.
//!
//! `store` asks the same of what is stored (`search::reach::named`), in the same words. What a document
//! alone does not tell of a part of it counts in a denial, and does not in an exception to one.

use crate::access::consent::Expression;
use crate::access::restriction::Belonging;
use crate::fhir::json::{Object, Value};
use crate::fhir::reference::Target;
use crate::fhir::{Identity, ResourceType};

/// The resources here that a document names, as far as that tells whose it is; `base` is the server's
/// public base. What stands in `meta` is about the document.
pub fn names(document: &Value<'_>, told_by: Belonging, base: &str) -> Vec<Identity> {
    let mut names = Names { base, has_parts: told_by == Belonging::Parts, found: Vec::new() };
    match told_by {
        Belonging::Attachment | Belonging::Compartment | Belonging::Patient => {}
        Belonging::Parts | Belonging::References => {
            let Value::Object(document) = document else { return Vec::new() };
            for part in document.iter().filter(|(name, _)| *name != "meta") {
                names.look_in(part);
            }
        }
        Belonging::Targets => {
            for target in document.items_at("target") {
                names.note(target.str_at("reference"));
            }
        }
    }
    names.found
}

/// Whether a denial may hold for one of the resources that a document is made of.
pub(super) fn is_within(of: &Expression, document: &Value<'_>) -> bool {
    match document {
        Value::Array(items) => items.iter().any(|item| is_within(of, item)),
        Value::Object(object) => object.iter().any(|(name, inner)| {
            let is_part = name == "resource" && inner.str_at("resourceType").is_some();
            (is_part && holds(of, inner, true)) || is_within(of, inner)
        }),
        _ => false,
    }
}

struct Names<'b> {
    base: &'b str,
    /// Whether parts of the document are resources themselves.
    has_parts: bool,
    found: Vec<Identity>,
}

impl Names<'_> {
    fn note(&mut self, text: Option<&str>) {
        let target = text.map(|text| Target::parse(text, self.base));
        if let Some(Target::Local { resource_type, id, .. }) = target {
            self.found.push(Identity { resource_type, id });
        }
    }

    fn look_in(&mut self, (name, value): (&str, &Value<'_>)) {
        match value {
            Value::String(text) if name == "reference" => self.note(Some(text)),
            Value::String(text) if self.has_parts && name == "fullUrl" => self.note(Some(text)),
            Value::Array(items) => {
                for item in items.iter().filter(|item| item.as_str().is_none()) {
                    self.look_in((name, item));
                }
            }
            Value::Object(object) => {
                if self.has_parts {
                    self.note_part(name, object);
                }
                for part in object.iter() {
                    self.look_in(part);
                }
            }
            _ => {}
        }
    }

    /// What a part of a Bundle is or was asked of: a patient that is in it may come from anywhere.
    fn note_part(&mut self, name: &str, part: &Object<'_>) {
        let text = |name| part.get(name).and_then(Value::as_str);
        match name {
            "request" => self.note(text("url")),
            "response" => self.note(text("location")),
            "resource" if text("resourceType") == Some(ResourceType::PATIENT.as_str()) => {
                if let Some(id) = text("id").and_then(|id| id.parse().ok()) {
                    self.found.push(Identity { resource_type: ResourceType::PATIENT, id });
                }
            }
            _ => {}
        }
    }
}

/// Whether a condition holds for a part, where `otherwise` is what counts for what it does not tell.
fn holds(of: &Expression, part: &Value<'_>, otherwise: bool) -> bool {
    let is_one = |of: ResourceType, id: &str| {
        part.str_at("resourceType") == Some(of.as_str()) && part.str_at("id") == Some(id)
    };
    match of {
        Expression::All(all) => all.iter().all(|it| holds(it, part, otherwise)),
        Expression::Any(any) => any.iter().any(|it| holds(it, part, otherwise)),
        // Which of the codes in it are what it is about is not told.
        Expression::Code { system, code } => otherwise && is_coded(part, system.as_deref(), code),
        Expression::Dated(_) | Expression::Unknown => otherwise,
        Expression::Label { system, code } => {
            let labels = part.get("meta").map_or(&[][..], |meta| meta.items_at("security"));
            labels.iter().any(|label| is_coding(label, system.as_deref(), code))
        }
        Expression::Not(inner) => !holds(inner, part, !otherwise),
        Expression::RefersTo { target: (of, id), is_author } => {
            otherwise && (*is_author || part.to_text().contains(&format!("{of}/{id}")))
        }
        Expression::Related(of, id) => otherwise || is_one(*of, id.as_str()),
        Expression::Resource(of, id) => is_one(*of, id.as_str()),
        Expression::Types(types) => {
            types.iter().any(|of| part.str_at("resourceType") == Some(of.as_str()))
        }
    }
}

/// Whether a code is anywhere in it.
fn is_coded(value: &Value<'_>, system: Option<&str>, code: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| is_coded(item, system, code)),
        Value::Object(object) => {
            is_coding(value, system, code)
                || object.iter().any(|(_, inner)| is_coded(inner, system, code))
        }
        _ => false,
    }
}

/// Whether it is this code, however its case is written.
fn is_coding(value: &Value<'_>, system: Option<&str>, code: &str) -> bool {
    value.str_at("code").is_some_and(|own| own.eq_ignore_ascii_case(code))
        && system.is_none_or(|system| value.str_at("system") == Some(system))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json;

    const BASE: &str = "http://x/fhir";

    fn value(text: &str) -> Value<'_> {
        json::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn what_is_named_tells_whose_a_document_is() {
        use Belonging::{Compartment, Parts, References, Targets};
        let entry = r#"{"entry":[{"fullUrl":"http://x/fhir/Observation/o","resource":{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/a"}}},{"resource":{"resourceType":"Patient","id":"b"}},{"request":{"method":"GET","url":"Encounter/e"},"response":{"location":"https://x/fhir/Goal/g/_history/1"}}]}"#;
        for (text, told_by, expected) in [
            (r#"{"for":{"reference":"Patient/a"}}"#, References, &["Patient/a"][..]),
            (r#"{"for":{"reference":"Patient/a"}}"#, Compartment, &[]),
            (r#"{"focus":{"reference":"http://x/fhir/Goal/g"}}"#, References, &["Goal/g"]),
            (r#"{"focus":{"reference":"http://y/fhir/Goal/g"}}"#, References, &[]),
            (r##"{"focus":{"reference":"#g"}}"##, References, &[]),
            (r#"{"focus":{"reference":"Goal/g#x"}}"#, References, &["Goal/g"]),
            (r#"{"focus":{"reference":"Goal/g/_history/1#x"}}"#, References, &["Goal/g"]),
            (r#"{"focus":{"reference":"Goal/g#x?y"}}"#, References, &[]),
            (r#"{"focus":{"reference":"Goal?g#x"}}"#, References, &[]),
            (r#"{"input":[{"valueReference":{"reference":"Goal/g"}}]}"#, References, &["Goal/g"]),
            (
                r#"{"party":[{"reference":[{"reference":"Patient/a"}]}]}"#,
                References,
                &["Patient/a"],
            ),
            (r#"{"description":"Patient/a","reference":["Patient/a"]}"#, References, &[]),
            (
                r#"{"meta":{"extension":[{"valueReference":{"reference":"Patient/a"}}]}}"#,
                References,
                &[],
            ),
            (
                r#"{"target":[{"reference":"Goal/g"}],"agent":[{"who":{"reference":"Patient/a"}}]}"#,
                Targets,
                &["Goal/g"],
            ),
            (entry, Parts, &["Observation/o", "Patient/a", "Patient/b", "Encounter/e", "Goal/g"]),
            (entry, References, &["Patient/a"]),
        ] {
            let found: Vec<String> =
                names(&value(text), told_by, BASE).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text} {told_by:?}");
        }
    }

    #[test]
    fn a_denial_holds_for_a_part_of_which_it_may() {
        let id = |text: &str| -> crate::fhir::LogicalId { text.parse().expect("an id") };
        let coded = |system: Option<&str>| Expression::Code {
            system: system.map(Into::into),
            code: "k".into(),
        };
        let label = |code: &str| Expression::Label { system: None, code: code.into() };
        let not = |of| Expression::Not(Box::new(of));
        let own = |of| Expression::Resource(of, id("o"));
        let of_goal = |is_author| {
            let target = ("Goal".parse().expect("a type"), id("g"));
            Expression::RefersTo { target, is_author }
        };
        let everything = || Expression::All(Vec::new());
        let text = r#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Observation","id":"o","meta":{"security":[{"code":"PSY"}]},"code":{"coding":[{"system":"urn:c","code":"K"}]},"basedOn":[{"reference":"Goal/g"}]}}]}"#;
        for (of, expected) in [
            (everything(), true),
            (not(everything()), false),
            (Expression::Types(vec![ResourceType::OBSERVATION]), true),
            (Expression::Types(vec![ResourceType::BUNDLE]), false),
            (not(Expression::Types(vec![ResourceType::OBSERVATION])), false),
            (coded(None), true),
            (coded(Some("urn:c")), true),
            (coded(Some("urn:d")), false),
            // An exception must be told.
            (not(coded(None)), true),
            (label("psy"), true),
            (label("HIV"), false),
            (not(label("PSY")), false),
            (own(ResourceType::OBSERVATION), true),
            (own(ResourceType::PATIENT), false),
            (of_goal(false), true),
            (of_goal(true), true),
            (not(of_goal(false)), true),
            (Expression::Unknown, true),
            (not(Expression::Unknown), true),
            (Expression::Related(ResourceType::PATIENT, id("o")), true),
        ] {
            assert_eq!(is_within(&of, &value(text)), expected, "{of:?}");
        }
        let nested = r#"{"entry":[{"resource":{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Goal","id":"g"}}]}}]}"#;
        let goals = Expression::Types(vec!["Goal".parse().expect("a type")]);
        assert!(is_within(&goals, &value(nested)));
        // The document itself is no part of it.
        assert!(!is_within(&goals, &value(r#"{"resourceType":"Goal","id":"g"}"#)));
    }
}
