//! Labels by content: rules of the operator say which codes make a resource how confidential.
//!
//! A rule has codes, or value sets of them, and the label of whatever holds one. What cannot be told
//! counts as held: a value set that is not known makes more confidential, never less.
//!
//! ```toml
//! version = "2026-11"
//!
//! [[rule]]
//! label = "R"
//! codes = ["http://snomed.info/sct|86406008"]
//! value_sets = ["http://example.org/fhir/ValueSet/sensitive"]
//! ```
//!
//! Spec: security S7; <https://hl7.org/fhir/R4/security-labels.html>

use std::collections::BTreeSet;

use serde::Deserialize;
use thiserror::Error;

use crate::fhir::ResourceType;
use crate::fhir::json::{Object, Value};

use super::membership;
use super::roles::Clearance;

/// The system of the tag that says which rules a resource was labelled by.
pub const VERSION: &str = "urn:kiln:labelling";

/// Why rules cannot be used.
#[derive(Debug, Error)]
pub enum LabellingError {
    /// A text that should be `system|code`.
    #[error("{0:?} is no code: system|code is wanted")]
    Code(String),
    /// The file is not as it should be.
    #[error(transparent)]
    Form(#[from] toml::de::Error),
    /// A rule that nothing can match.
    #[error("rule {0} has neither codes nor value sets")]
    Nothing(usize),
    /// No version, by which others would know that rules have changed.
    #[error("the rules have no version")]
    Version,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    #[serde(default)]
    rule: Vec<RuleOf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleOf {
    label: String,
    #[serde(default)]
    codes: Vec<String>,
    #[serde(default)]
    value_sets: Vec<String>,
}

type Code = (String, String);

/// The rules of a server.
#[derive(Debug)]
pub struct Labelling {
    version: String,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    label: Code,
    codes: BTreeSet<Code>,
    value_sets: Vec<String>,
}

impl Labelling {
    /// Reads rules.
    ///
    /// # Errors
    /// [`LabellingError`].
    pub fn load(text: &str) -> Result<Self, LabellingError> {
        let File { version, rule: all } = toml::from_str(text)?;
        if version.is_empty() || version.contains(char::is_whitespace) {
            return Err(LabellingError::Version);
        }
        let mut rules = Vec::with_capacity(all.len());
        for (at, rule) in all.into_iter().enumerate() {
            if rule.codes.is_empty() && rule.value_sets.is_empty() {
                return Err(LabellingError::Nothing(at + 1));
            }
            let label = match rule.label.split_once('|') {
                None => (Clearance::SYSTEM.to_owned(), rule.label),
                Some(_) => code(&rule.label)?,
            };
            let codes = rule.codes.iter().map(|text| code(text)).collect::<Result<_, _>>()?;
            rules.push(Rule { label, codes, value_sets: rule.value_sets });
        }
        Ok(Self { version, rules })
    }

    /// Which rules they are.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The value sets that rules name.
    pub fn value_sets(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().flat_map(|rule| &rule.value_sets).map(String::as_str)
    }

    /// Whether resources of the type are labelled: not what everybody sees, such as the value sets
    /// that define what is sensitive.
    pub fn is_about(of: ResourceType) -> bool {
        !membership::is_everyones(of)
    }

    /// Puts the labels of a resource, and the version of the rules, into its `meta`; whether there was
    /// something to put. `contains` tells whether a value set has a code of a system.
    pub fn label(
        &self,
        resource: &Object<'_>,
        meta: &mut Object<'_>,
        contains: &dyn Fn(&str, &Code) -> bool,
    ) -> bool {
        let mut held = BTreeSet::new();
        resource.iter().for_each(|(_, value)| collect(value, &mut held));
        let holds = |rule: &&Rule| {
            let is_in = |code: &Code| rule.value_sets.iter().any(|set| contains(set, code));
            held.iter().any(|code| rule.codes.contains(code) || is_in(code))
        };
        let labels: BTreeSet<&Code> = self.rules.iter().filter(holds).map(|it| &it.label).collect();
        if labels.is_empty() {
            return false;
        }
        let mut is_changed = false;
        for label in labels {
            is_changed |= put(meta, "security", label);
        }
        if let Some(tags) = meta.get_mut("tag").and_then(Value::as_array_mut) {
            let is_old = |tag: &Value<'_>| {
                tag.str_at("system") == Some(VERSION) && tag.str_at("code") != Some(&self.version)
            };
            tags.retain(|tag| !is_old(tag));
        }
        is_changed | put(meta, "tag", &(VERSION.to_owned(), self.version.clone()))
    }
}

/// Adds a coding to a list, unless it is there; whether it was added.
fn put(meta: &mut Object<'_>, list: &'static str, (system, code): &Code) -> bool {
    let is_it = |coding: &Value<'_>| {
        coding.str_at("system") == Some(system) && coding.str_at("code") == Some(code)
    };
    if meta.get(list).and_then(Value::as_array).is_none() {
        meta.set(list, Vec::new());
    }
    let Some(all) = meta.get_mut(list).and_then(Value::as_array_mut) else { return false };
    if all.iter().any(is_it) {
        return false;
    }
    let coding = Object::new().with("system", system.clone()).with("code", code.clone());
    all.push(coding.into());
    true
}

/// Every code with its system, however deep.
fn collect(value: &Value<'_>, held: &mut BTreeSet<Code>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, held)),
        Value::Object(object) => {
            if let (Some(system), Some(code)) = (value.str_at("system"), value.str_at("code")) {
                held.insert((system.to_owned(), code.to_owned()));
            }
            object.iter().for_each(|(_, part)| collect(part, held));
        }
        _ => {}
    }
}

fn code(text: &str) -> Result<Code, LabellingError> {
    match text.split_once('|') {
        Some((system, code)) if !system.is_empty() && !code.is_empty() => {
            Ok((system.to_owned(), code.to_owned()))
        }
        _ => Err(LabellingError::Code(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json;

    const RULES: &str = r#"
        version = "3"
        [[rule]]
        label = "R"
        codes = ["urn:c|hiv"]
        [[rule]]
        label = "V"
        value_sets = ["urn:vs"]
        [[rule]]
        label = "urn:s|PSY"
        codes = ["urn:c|psy", "urn:c|hiv"]
    "#;

    #[test]
    fn what_is_held_decides_the_labels() {
        let rules = Labelling::load(RULES).expect("rules");
        let contains = |_: &str, (_, code): &Code| code == "x";
        for (resource, meta, labels) in [
            (r#"{"code":{"coding":[{"system":"urn:c","code":"ok"}]}}"#, "{}", None),
            (r#"{"code":{"coding":[{"system":"urn:d","code":"hiv"}]}}"#, "{}", None),
            (r#"{"code":{"coding":[{"code":"hiv"}]}}"#, "{}", None),
            (r#"{"code":{"coding":[{"system":"urn:c","code":"psy"}]}}"#, "{}", Some("PSY|3")),
            (r#"{"a":[{"b":{"system":"urn:c","code":"hiv"}}]}"#, "{}", Some("R PSY|3")),
            (r#"{"a":{"system":"urn:z","code":"x"}}"#, "{}", Some("V|3")),
            (
                r#"{"a":{"system":"urn:z","code":"x"}}"#,
                r#"{"security":[{"code":"N"}],"tag":[{"code":"t"},{"system":"urn:kiln:labelling","code":"2"}]}"#,
                Some("N V|t 3"),
            ),
        ] {
            let object = |text: &'static str| match json::parse(text.as_bytes()) {
                Ok(Value::Object(object)) => object,
                _ => panic!("{text}"),
            };
            let (resource_of, mut meta_of) = (object(resource), object(meta));
            let is_labelled = rules.label(&resource_of, &mut meta_of, &contains);
            assert_eq!(is_labelled, labels.is_some(), "{resource}");
            let codes = |list: &str| {
                let all = meta_of.get(list).and_then(Value::as_array).unwrap_or_default();
                all.iter().filter_map(|it| it.str_at("code")).collect::<Vec<_>>().join(" ")
            };
            if let Some(labels) = labels {
                let (security, tags) = labels.split_once('|').expect("both");
                assert_eq!((codes("security").as_str(), codes("tag").as_str()), (security, tags));
                assert!(!rules.label(&resource_of, &mut meta_of, &contains), "twice: {resource}");
            }
        }
    }

    #[test]
    fn rules_that_say_nothing_are_refused() {
        for (text, expected) in [
            ("version = \"1\"", ""),
            ("", "missing field"),
            ("version = \"\"", "no version"),
            ("version = \"1\"\n[[rule]]\nlabel = \"R\"", "neither codes"),
            ("version = \"1\"\n[[rule]]\nlabel = \"R\"\ncodes = [\"x\"]", "system|code"),
            ("version = \"1\"\n[[rule]]\nlabel = \"|R\"\ncodes = [\"a|x\"]", "system|code"),
            ("version = \"1\"\n[[rule]]\nlabel = \"R\"\nmore = 1", "unknown field"),
        ] {
            let told =
                Labelling::load(text).map_or_else(|error| error.to_string(), |_| String::new());
            assert!(
                told.contains(expected) && told.is_empty() == expected.is_empty(),
                "{text}: {told}"
            );
        }
        assert!(!Labelling::is_about("ValueSet".parse().expect("a type")));
        assert!(Labelling::is_about(ResourceType::PATIENT));
    }
}
