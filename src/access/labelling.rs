//! Labels by content: rules of the operator say which codes make a resource how confidential.
//!
//! A rule has codes, or value sets of them, and the label of whatever holds one. What cannot be told
//! counts as held: a value set that is not known makes more confidential, never less.
//!
//! What rules put is marked, by a tag for each such label. A label so marked goes when rules ask for it no
//! more: after a correction, or by other rules. What people put stays until somebody takes it away who may.
//! Marks are the server's alone: those that clients send count for nothing.
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
/// The system of the tags that say which labels rules have put: `system|code` of each.
const BY_RULE: &str = "urn:kiln:labelled-by-rule";

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

/// A code after its system; an empty one stands for none.
pub type Code = (String, String);

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

    /// Puts the labels of a resource into its `meta`, with marks and the version of the rules, and takes out
    /// those that rules have put and ask for no more. `before` is the `meta` as it is stored, `said` what
    /// somebody wants there whatever rules say. `contains` tells whether a value set has a code of a system.
    pub fn label(
        &self,
        resource: &Object<'_>,
        (before, said): (Option<&Object<'_>>, &BTreeSet<Code>),
        meta: &mut Object<'_>,
        contains: &dyn Fn(&str, &Code) -> bool,
    ) {
        let held = self.held(resource, contains);
        let marked = before.map(marks).unwrap_or_default();
        // What is sent with a mark is an echo of what rules put.
        let mut of_people: BTreeSet<Code> =
            labels(meta).difference(&marked).chain(said).cloned().collect();
        if let Some(before) = before {
            let kept = labels(before).difference(&marked).cloned().collect::<BTreeSet<_>>();
            of_people.extend(kept.intersection(&held).cloned());
        }
        without_marks(meta);
        keep(meta, "tag", |(system, _)| system != VERSION);
        keep(meta, "security", |label| {
            !marked.contains(label) || held.contains(label) || of_people.contains(label)
        });
        for label in &held {
            put(meta, "security", label);
        }
        for (system, code) in held.difference(&of_people) {
            put(meta, "tag", &(BY_RULE.to_owned(), format!("{system}|{code}")));
        }
        if !held.is_empty() {
            put(meta, "tag", &(VERSION.to_owned(), self.version.clone()));
        }
    }

    /// The labels that rules ask for.
    fn held(
        &self,
        resource: &Object<'_>,
        contains: &dyn Fn(&str, &Code) -> bool,
    ) -> BTreeSet<Code> {
        let mut held = BTreeSet::new();
        resource.iter().for_each(|(_, value)| collect(value, &mut held));
        let holds = |rule: &&Rule| {
            let is_in = |code: &Code| rule.value_sets.iter().any(|set| contains(set, code));
            held.iter().any(|code| rule.codes.contains(code) || is_in(code))
        };
        self.rules.iter().filter(holds).map(|rule| rule.label.clone()).collect()
    }
}

/// The labels in a `meta` that rules have put.
pub fn marks(meta: &Object<'_>) -> BTreeSet<Code> {
    let label = |(system, code): Code| {
        let (of, label) = code.split_once('|').filter(|_| system == BY_RULE)?;
        Some((of.to_owned(), label.to_owned()))
    };
    codes(meta, "tag").into_iter().filter_map(label).collect()
}

/// Takes marks out of a `meta`: what is labelled stays so, as if people had said it.
pub fn without_marks(meta: &mut Object<'_>) {
    keep(meta, "tag", |(system, _)| system != BY_RULE);
}

/// Takes out the labels in a `meta` that rules have put.
pub fn without_marked(meta: &mut Object<'_>) {
    let marked = marks(meta);
    keep(meta, "security", |label| !marked.contains(label));
}

/// The labels in a `meta`.
pub fn labels(meta: &Object<'_>) -> BTreeSet<Code> {
    codes(meta, "security")
}

fn codes(meta: &Object<'_>, list: &str) -> BTreeSet<Code> {
    let all = meta.get(list).and_then(Value::as_array).unwrap_or_default();
    all.iter().map(of_coding).collect()
}

fn of_coding(coding: &Value<'_>) -> Code {
    let text = |name| coding.str_at(name).unwrap_or_default().to_owned();
    (text("system"), text("code"))
}

/// Keeps of a list what `is_kept` says; a list in which nothing is left goes.
fn keep(meta: &mut Object<'_>, list: &'static str, is_kept: impl Fn(&Code) -> bool) {
    let Some(all) = meta.get_mut(list).and_then(Value::as_array_mut) else { return };
    let before = all.len();
    all.retain(|coding| is_kept(&of_coding(coding)));
    if all.is_empty() && before > 0 {
        meta.remove(list);
    }
}

/// Adds a coding to a list, unless it is there.
fn put(meta: &mut Object<'_>, list: &'static str, wanted: &Code) {
    if meta.get(list).and_then(Value::as_array).is_none() {
        meta.set(list, Vec::new());
    }
    let Some(all) = meta.get_mut(list).and_then(Value::as_array_mut) else { return };
    if all.iter().any(|coding| of_coding(coding) == *wanted) {
        return;
    }
    let (system, code) = wanted.clone();
    all.push(Object::new().with("system", system).with("code", code).into());
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

    fn object(text: &str) -> Object<'static> {
        match json::parse(text.as_bytes()).map(Value::into_owned) {
            Ok(Value::Object(object)) => object,
            _ => panic!("{text}"),
        }
    }

    /// The codes of labels and tags of a `meta`, those of marks after a star.
    fn told(meta: &Object<'_>) -> String {
        let code = |(system, code): Code| {
            let marked = code.rsplit_once('|').filter(|_| system == BY_RULE);
            marked.map_or(code.clone(), |(_, label)| format!("*{label}"))
        };
        let of = |list| codes(meta, list).into_iter().map(code).collect::<Vec<_>>().join(" ");
        format!("{}|{}", of("security"), of("tag"))
    }

    /// A resource that has these codes.
    fn holding(codes: &str) -> Object<'static> {
        let coding = |code| format!(r#"{{"system":"urn:c","code":"{code}"}}"#);
        let all: Vec<String> = codes.split_whitespace().map(coding).collect();
        object(&format!(r#"{{"code":{{"coding":[{}]}}}}"#, all.join(",")))
    }

    #[test]
    fn what_is_held_decides_the_labels() {
        let rules = Labelling::load(RULES).expect("rules");
        let contains = |_: &str, (_, code): &Code| code == "x";
        for (resource, meta, labels) in [
            (r#"{"code":{"coding":[{"system":"urn:c","code":"ok"}]}}"#, "{}", "|"),
            (r#"{"code":{"coding":[{"system":"urn:d","code":"hiv"}]}}"#, "{}", "|"),
            (r#"{"code":{"coding":[{"code":"hiv"}]}}"#, "{}", "|"),
            (r#"{"code":{"coding":[{"system":"urn:c","code":"psy"}]}}"#, "{}", "PSY|*PSY 3"),
            (r#"{"a":[{"b":{"system":"urn:c","code":"hiv"}}]}"#, "{}", "R PSY|*R *PSY 3"),
            (r#"{"a":{"system":"urn:z","code":"x"}}"#, "{}", "V|*V 3"),
            (
                r#"{"a":{"system":"urn:z","code":"x"}}"#,
                r#"{"security":[{"code":"N"}],"tag":[{"code":"t"},{"system":"urn:kiln:labelling","code":"2"}]}"#,
                "N V|t *V 3",
            ),
            // Marks that a client sends count for nothing.
            (
                r#"{"a":1}"#,
                r#"{"security":[{"system":"urn:s","code":"N"}],"tag":[{"system":"urn:kiln:labelled-by-rule","code":"urn:s|N"}]}"#,
                "N|",
            ),
        ] {
            let (resource_of, mut meta_of) = (object(resource), object(meta));
            let nothing = BTreeSet::new();
            rules.label(&resource_of, (None, &nothing), &mut meta_of, &contains);
            assert_eq!(told(&meta_of), labels, "{resource}");
            let once = meta_of.clone();
            rules.label(&resource_of, (Some(&once), &nothing), &mut meta_of, &contains);
            assert_eq!(told(&meta_of), labels, "twice: {resource}");
        }
    }

    /// What was stored, what is sent, what is said besides, and what comes of it.
    #[test]
    fn what_rules_put_goes_with_its_cause_and_what_people_put_stays() {
        let rules = Labelling::load(RULES).expect("rules");
        let psy = r#"{"system":"urn:s","code":"PSY"}"#;
        let sent_with =
            |labels: &[&str]| object(&format!(r#"{{"security":[{}]}}"#, labels.join(",")));
        let mark = r#"{"system":"urn:kiln:labelled-by-rule","code":"urn:s|PSY"}"#;
        let by_rule = object(&format!(r#"{{"security":[{psy}],"tag":[{mark}]}}"#));
        let by_people = sent_with(&[psy]);
        let code = ("urn:s".to_owned(), "PSY".to_owned());
        for (stored, sent, said, codes, expected) in [
            // Corrected, whether the label came back with the document or not.
            (&by_rule, by_rule.clone(), false, "ok", "|"),
            (&by_rule, sent_with(&[]), false, "ok", "|"),
            // Not corrected: nobody takes it away.
            (&by_rule, sent_with(&[]), false, "psy", "PSY|*PSY 3"),
            (&by_rule, by_rule.clone(), false, "psy", "PSY|*PSY 3"),
            // What somebody has put is not a rule's, also where a rule would ask for it.
            (&by_people, sent_with(&[psy]), false, "ok", "PSY|"),
            (&by_people, sent_with(&[psy]), false, "psy", "PSY|3"),
            (&by_people, sent_with(&[]), false, "psy", "PSY|3"),
            (&by_people, by_rule.clone(), false, "psy", "PSY|3"),
            (&by_people, by_rule.clone(), false, "ok", "PSY|"),
            // Said besides.
            (&by_rule, by_rule.clone(), true, "ok", "PSY|"),
            (&by_rule, by_rule.clone(), true, "psy", "PSY|3"),
        ] {
            let said: BTreeSet<Code> = said.then(|| code.clone()).into_iter().collect();
            let mut meta = sent.clone();
            rules.label(&holding(codes), (Some(stored), &said), &mut meta, &|_, _| false);
            assert_eq!(told(&meta), expected, "{stored:?} {sent:?} {said:?} {codes}");
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
