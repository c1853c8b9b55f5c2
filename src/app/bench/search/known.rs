//! What a base holds that can be asked for, learned from its own answers.

use std::collections::{HashMap, HashSet};

use super::super::connection::Connection;
use super::super::target::Target;
use super::super::{Bench, BenchError};
use super::query::{encoded, escaped, total};
use crate::fhir::json::{Value, parse};

/// Types to learn from, with the number of pages of a hundred.
const TYPES: [(&str, usize); 13] = [
    ("AllergyIntolerance", 1),
    ("Condition", 5),
    ("DiagnosticReport", 1),
    ("Encounter", 2),
    ("List", 1),
    ("Location", 1),
    ("MedicationRequest", 1),
    ("Observation", 20),
    ("Organization", 1),
    ("Patient", 2),
    ("Practitioner", 1),
    ("RiskAssessment", 1),
    ("ValueSet", 1),
];
/// Most codes of a type that are counted.
const COUNTED: usize = 40;

/// Resources of a base.
#[derive(Debug, Default)]
pub(super) struct Known {
    samples: HashMap<&'static str, Vec<Value<'static>>>,
    /// Codes of Observations, the most frequent first.
    pub(super) codes: Vec<String>,
    /// Codes of Conditions, the most frequent first.
    pub(super) problems: Vec<String>,
    pub(super) readings: Vec<Reading>,
}

/// A measured value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) patient: String,
    /// `system|code`, ready for a query string; so are all others.
    pub(super) code: String,
    pub(super) category: String,
    /// `yyyy-mm-dd`.
    pub(super) day: String,
    pub(super) value: String,
    /// `system|code` of the unit.
    pub(super) unit: String,
}

impl Known {
    /// Asks the base for some resources of each type, and how frequent their codes are.
    ///
    /// # Errors
    /// [`BenchError`] when it does not answer.
    pub(super) async fn learn(bench: &Bench) -> Result<Self, BenchError> {
        let mut connection = Connection::new(&bench.target);
        let mut known = Self::default();
        for (resource_type, pages) in TYPES {
            let found = sample(bench, &mut connection, resource_type, pages).await?;
            known.samples.insert(resource_type, found);
        }
        known.readings = known.of("Observation").iter().filter_map(reading).collect();
        known.codes = known.ranked(bench, &mut connection, "Observation").await?;
        known.problems = known.ranked(bench, &mut connection, "Condition").await?;
        Ok(known)
    }

    fn of(&self, resource_type: &str) -> &[Value<'static>] {
        self.samples.get(resource_type).map_or(&[], Vec::as_slice)
    }

    /// Different texts or numbers at a path (`name.family`) of a type, ready for a query string.
    pub(super) fn texts(&self, resource_type: &str, path: &str) -> Vec<String> {
        let found = self.of(resource_type).iter().flat_map(|resource| all_at(resource, path));
        let texts = found.filter_map(|value| value.as_str().or_else(|| value.as_number()));
        distinct(texts.map(|text| encoded(&escaped(text))))
    }

    /// Different `system|code` at a path to Codings or Identifiers.
    pub(super) fn tokens(&self, resource_type: &str, path: &str) -> Vec<String> {
        let found = self.of(resource_type).iter().flat_map(|resource| all_at(resource, path));
        distinct(found.filter_map(token))
    }

    /// Different ids of what a path of a type refers to.
    pub(super) fn targets(&self, resource_type: &str, path: &str, target: &str) -> Vec<String> {
        let found = self.of(resource_type).iter().flat_map(|resource| all_at(resource, path));
        distinct(found.filter_map(|value| id_in(value, target)))
    }

    /// One value for each resource of a type that has both of two.
    pub(super) fn pairs<T>(
        &self,
        resource_type: &str,
        pair: impl Fn(&Value<'static>) -> Option<T>,
    ) -> Vec<T> {
        self.of(resource_type).iter().filter_map(pair).collect()
    }

    /// The codes of a type, the most frequent first.
    async fn ranked(
        &self,
        bench: &Bench,
        connection: &mut Connection,
        resource_type: &str,
    ) -> Result<Vec<String>, BenchError> {
        let mut counted = Vec::new();
        for code in self.tokens(resource_type, "code.coding").into_iter().take(COUNTED) {
            let path = format!("/{resource_type}?code={code}&_summary=count");
            let answer = connection.send("GET", &path, None).await;
            let answer = answer.map_err(BenchError::io(bench.base.clone()))?;
            counted.push((total(answer.body).unwrap_or(0), code));
        }
        counted.sort_by(|one, other| other.cmp(one));
        Ok(counted.into_iter().map(|(_, code)| code).collect())
    }
}

/// Up to `pages` pages of a hundred; none where the base does not know the type.
async fn sample(
    bench: &Bench,
    connection: &mut Connection,
    resource_type: &str,
    pages: usize,
) -> Result<Vec<Value<'static>>, BenchError> {
    let mut found = Vec::new();
    let mut path = Some(format!("/{resource_type}?_count=100"));
    for _ in 0..pages {
        let Some(at) = path.take() else { break };
        let answer = connection.send("GET", &at, None).await;
        let answer = answer.map_err(BenchError::io(bench.base.clone()))?;
        if !answer.is_success() {
            break;
        }
        let Ok(bundle) = parse(answer.body) else { break };
        path = next(&bundle, &bench.target);
        found.extend(matches(&bundle).map(|resource| resource.clone().into_owned()));
    }
    Ok(found)
}

/// The resources that a searchset found.
pub(super) fn matches<'v, 'a>(
    bundle: &'v Value<'a>,
) -> impl Iterator<Item = &'v Value<'a>> + use<'v, 'a> {
    let is_match = |entry: &&Value<'_>| {
        entry.get("search").and_then(|search| search.str_at("mode")) != Some("outcome")
    };
    bundle.items_at("entry").iter().filter(is_match).filter_map(|entry| entry.get("resource"))
}

/// The path of the next page below the base.
pub(super) fn next(bundle: &Value<'_>, target: &Target) -> Option<String> {
    let mut links = bundle.items_at("link").iter();
    let url = links.find(|link| link.str_at("relation") == Some("next"))?.str_at("url")?;
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    path.strip_prefix(target.path.as_str()).map(str::to_owned)
}

/// Everything at a path, through arrays.
fn all_at<'v, 'a>(value: &'v Value<'a>, path: &str) -> Vec<&'v Value<'a>> {
    let mut here = vec![value];
    for step in path.split('.') {
        let inner = here.into_iter().filter_map(|value| value.get(step));
        here = inner.flat_map(|value| value.as_array().map_or_else(|| vec![value], each)).collect();
    }
    here
}

fn each<'v, 'a>(items: &'v [Value<'a>]) -> Vec<&'v Value<'a>> {
    items.iter().collect()
}

/// The first text or number at a path, ready for a query string.
pub(super) fn text_at(value: &Value<'_>, path: &str) -> Option<String> {
    let found = all_at(value, path);
    let text = found.first().and_then(|value| value.as_str().or_else(|| value.as_number()))?;
    Some(encoded(&escaped(text)))
}

/// `system|code` of a Coding, `system|value` of an Identifier.
fn token(value: &Value<'_>) -> Option<String> {
    let code = value.str_at("code").or_else(|| value.str_at("value"))?;
    let system = value.str_at("system")?;
    Some(encoded(&format!("{}|{}", escaped(system), escaped(code))))
}

/// The first `system|code` at a path.
pub(super) fn token_at(value: &Value<'_>, path: &str) -> Option<String> {
    all_at(value, path).into_iter().find_map(token)
}

/// The id in a Reference to a resource of a type.
fn id_in(value: &Value<'_>, target: &str) -> Option<String> {
    let id = value.str_at("reference")?.strip_prefix(target)?.strip_prefix('/')?;
    Some(encoded(id.split('/').next()?))
}

fn reading(observation: &Value<'static>) -> Option<Reading> {
    let unit = observation.get("valueQuantity")?;
    Some(Reading {
        patient: id_in(observation.get("subject")?, "Patient")?,
        code: token_at(observation, "code.coding")?,
        category: token_at(observation, "category.coding")?,
        day: observation.str_at("effectiveDateTime")?.get(..10)?.to_owned(),
        value: text_at(unit, "value")?,
        unit: encoded(&format!("{}|{}", unit.str_at("system")?, unit.str_at("code")?)),
    })
}

/// Without repetitions, in the order of their first.
fn distinct(values: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    values.filter(|value| seen.insert(value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let observation = br#"{"status":"final","subject":{"reference":"Patient/p 1"},
            "category":[{"coding":[{"system":"c","code":"lab"}]}],
            "code":{"coding":[{"system":"s","code":"a|b"},{"system":"s","code":"d"}]},
            "effectiveDateTime":"2024-01-02T03:04:05Z",
            "valueQuantity":{"value":7.10,"system":"u","code":"mm[Hg]"}}"#;
        let observation = parse(observation).unwrap().into_owned();
        let samples = HashMap::from([("Observation", vec![observation.clone(), observation])]);
        Known { samples, ..Known::default() }
    }

    #[test]
    fn values_are_learned_once_and_ready_for_a_query() {
        let known = known();
        assert_eq!(known.tokens("Observation", "code.coding"), ["s%7Ca%5C%7Cb", "s%7Cd"]);
        assert_eq!(known.texts("Observation", "status"), ["final"]);
        assert_eq!(known.targets("Observation", "subject", "Patient"), ["p%201"]);
        assert!(known.targets("Observation", "subject", "Group").is_empty());
        let reading = reading(&known.of("Observation")[0]).unwrap();
        assert_eq!((&*reading.day, &*reading.value), ("2024-01-02", "7.10"));
        assert_eq!(reading.unit, "u%7Cmm%5BHg%5D");
    }

    #[test]
    fn the_next_page_is_below_the_base() {
        let target = Target::parse("http://x/fhir", &[]).unwrap();
        for (link, expected) in [
            (r#"{"relation":"next","url":"http://y:1/fhir/P?a=b"}"#, Some("/P?a=b")),
            (r#"{"relation":"next","url":"http://x/fhir?a"}"#, Some("?a")),
            (r#"{"relation":"next","url":"http://x/other/P"}"#, None),
            (r#"{"relation":"self","url":"http://x/fhir/P"}"#, None),
        ] {
            let text = format!(r#"{{"link":[{link}]}}"#);
            let bundle = parse(text.as_bytes()).unwrap();
            assert_eq!(next(&bundle, &target).as_deref(), expected, "{link}");
        }
    }
}
