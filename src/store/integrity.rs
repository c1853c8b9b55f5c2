//! Rules between resources that a deployment can switch on: an identifier that one resource of a type
//! carries at most, references that lead somewhere. What a resource says of both is found here; the
//! write that would break a rule is refused in `write::integrity`.
//!
//! Spec: checklist rest 0.8, 2.79, 7.12

use std::fmt::Write as _;

use crate::fhir::json::Value;
use crate::fhir::reference::Target;
use crate::fhir::{Identity, ResourceType};

/// Which rules hold. All nodes of a database need the same.
#[derive(Debug, Default)]
pub struct Integrity {
    /// The types whose identifiers are theirs alone, and of which system; `None`: of any.
    unique: Vec<(ResourceType, Option<String>)>,
    enforces_references: bool,
}

/// What a resource says that rules are about.
#[derive(Clone, Debug, Default)]
pub struct Ties {
    pub(super) identifiers: Vec<Identifier>,
    pub(super) links: Vec<Link>,
}

/// An identifier that nobody else may carry.
#[derive(Clone, Debug)]
pub(super) struct Identifier {
    pub(super) system: String,
    pub(super) value: String,
    /// Its place in the list.
    pub(super) at: usize,
}

/// A reference to a resource here.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) target: Identity,
    /// Whether it leads to one version, which outlives a deletion.
    pub(super) is_pinned: bool,
    /// The element that holds it.
    pub(super) place: String,
}

impl Integrity {
    /// The rules of `Type` and `Type|system`: identifiers of these belong to one resource; and whether
    /// references are enforced.
    ///
    /// # Errors
    /// Which of the texts is none of both.
    pub fn new(unique: &[String], enforces_references: bool) -> Result<Self, String> {
        let read = |text: &String| {
            let (name, system) = match text.split_once('|') {
                Some((name, system)) => (name, Some(system.to_owned())),
                None => (text.as_str(), None),
            };
            match name.parse() {
                Ok(resource_type) if system.as_deref() != Some("") => Ok((resource_type, system)),
                _ => Err(format!("{text:?} is neither a type of resource nor `Type|system`")),
            }
        };
        let unique = unique.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { unique, enforces_references })
    }

    /// Whether references to resources here must lead to one, and hold it.
    pub fn enforces_references(&self) -> bool {
        self.enforces_references
    }

    fn is_unique(&self, of: ResourceType, system: &str) -> bool {
        let fits = |text: &Option<String>| text.as_deref().is_none_or(|text| text == system);
        self.unique.iter().any(|(known, text)| *known == of && fits(text))
    }

    /// What the rules are about in a resource.
    pub(super) fn ties(&self, of: ResourceType, value: &Value<'_>, base: &str) -> Ties {
        Ties { identifiers: self.identifiers(of, value), links: self.links(of, value, base) }
    }

    fn identifiers(&self, of: ResourceType, value: &Value<'_>) -> Vec<Identifier> {
        if !self.unique.iter().any(|(known, _)| *known == of) {
            return Vec::new();
        }
        let one = value.get("identifier").filter(|it| it.as_object().is_some());
        let all = value.items_at("identifier").iter().chain(one).enumerate();
        let read = |(at, item): (usize, &Value<'_>)| {
            let (system, value) = (item.str_at("system")?, item.str_at("value")?);
            let own = self.is_unique(of, system);
            own.then(|| Identifier { system: system.to_owned(), value: value.to_owned(), at })
        };
        all.filter_map(read).collect()
    }

    /// The references of a resource to resources here. The entries of a Bundle that is stored refer to
    /// each other, not to what is here.
    pub(super) fn links(&self, of: ResourceType, value: &Value<'_>, base: &str) -> Vec<Link> {
        let mut found = Vec::new();
        if self.enforces_references && of != ResourceType::BUNDLE {
            collect(value, base, &mut of.to_string(), &mut found);
        }
        found
    }
}

impl Ties {
    /// Whether there is nothing to hold against a rule.
    pub(super) fn is_empty(&self) -> bool {
        self.identifiers.is_empty() && self.links.is_empty()
    }
}

fn collect(value: &Value<'_>, base: &str, place: &mut String, found: &mut Vec<Link>) {
    let length = place.len();
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let _ = write!(place, "[{at}]");
                collect(item, base, place, found);
                place.truncate(length);
            }
        }
        Value::Object(object) => {
            for (key, value) in object.iter() {
                if key == "reference"
                    && let Some(text) = value.as_str()
                {
                    found.extend(link(text, base, place));
                    continue;
                }
                place.push('.');
                place.push_str(key);
                collect(value, base, place, found);
                place.truncate(length);
            }
        }
        _ => {}
    }
}

fn link(text: &str, base: &str, place: &str) -> Option<Link> {
    let Target::Local { resource_type, id, version, .. } = Target::parse(text, base) else {
        return None;
    };
    let target = Identity { resource_type, id };
    Some(Link { target, is_pinned: version.is_some(), place: place.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    fn rules(unique: &[&str]) -> Result<Integrity, String> {
        let unique: Vec<String> = unique.iter().map(|&text| text.to_owned()).collect();
        Integrity::new(&unique, true)
    }

    #[test]
    fn a_rule_is_of_a_type_or_of_a_type_and_a_system() {
        for (text, is_rule) in [
            ("Patient", true),
            ("Patient|urn:mrn", true),
            ("patient", false),
            ("Patient|", false),
            ("", false),
        ] {
            assert_eq!(rules(&[text]).is_ok(), is_rule, "{text:?}");
        }
    }

    #[test]
    fn identifiers_count_where_a_rule_has_their_type_and_system() {
        let text = concat!(
            r#"{"resourceType":"Patient","identifier":[{"system":"urn:a","value":"1"},"#,
            r#"{"value":"2"},{"system":"urn:b","value":"3"},{"system":"urn:b"}]}"#
        );
        let value = parse(text.as_bytes()).expect("JSON");
        for (unique, expected) in [
            (&["Patient"][..], &["1", "3"][..]),
            (&["Patient|urn:b"], &["3"]),
            (&["Patient|urn:a", "Patient|urn:b"], &["1", "3"]),
            (&["Practitioner"], &[]),
            (&[], &[]),
        ] {
            let ties = rules(unique).expect("rules").ties(ResourceType::PATIENT, &value, "");
            let found: Vec<_> = ties.identifiers.iter().map(|it| it.value.as_str()).collect();
            assert_eq!(found, expected, "{unique:?}");
        }
    }

    #[test]
    fn links_are_references_to_resources_here_with_their_places() {
        let text = concat!(
            r#"{"resourceType":"Observation","contained":[{"resourceType":"Device","id":"d","#,
            r#""owner":{"reference":"Organization/o"}}],"subject":{"reference":"Patient/1"},"#,
            r##""device":{"reference":"#d"},"focus":[{"reference":"http://else/fhir/Patient/1"},"##,
            r#"{"reference":"http://here/fhir/Device/7/_history/2"},{"reference":"urn:uuid:x"},"#,
            r#"{"identifier":{"value":"x"}}]}"#
        );
        let value = parse(text.as_bytes()).expect("JSON");
        let links = rules(&[]).expect("rules").links(
            "Observation".parse().expect("type"),
            &value,
            "http://here/fhir",
        );
        let found: Vec<_> = links
            .iter()
            .map(|it| (it.place.as_str(), it.target.to_string(), it.is_pinned))
            .collect();
        assert_eq!(
            found,
            [
                ("Observation.contained[0].owner", "Organization/o".to_owned(), false),
                ("Observation.subject", "Patient/1".to_owned(), false),
                ("Observation.focus[1]", "Device/7".to_owned(), true),
            ]
        );
    }
}
