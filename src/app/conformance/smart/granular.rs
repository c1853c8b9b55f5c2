//! Scopes with a category: searches and reads show exactly what they name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::report::{Found, ensure};
use super::Suite;
use super::launch::{Tokens, Wish};
use super::options::Apps;
use super::scope;
use super::standalone::IDENTITY;

const CONDITION: &str = "http://terminology.hl7.org/CodeSystem/condition-category";
const CONDITION_US: &str = "http://hl7.org/fhir/us/core/CodeSystem/condition-category";
const OBSERVATION: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
const US_CATEGORY: &str = "http://hl7.org/fhir/us/core/CodeSystem/us-core-category";

/// A type, and a category that is granted.
type Part = (&'static str, &'static str, &'static str);

/// Two launches that grant between them what US Core names.
const GRANTS: &[(&str, &[Part])] = &[
    (
        "granular scopes, first",
        &[
            ("Condition", CONDITION, "encounter-diagnosis"),
            ("Condition", CONDITION_US, "health-concern"),
            ("Observation", OBSERVATION, "laboratory"),
            ("Observation", OBSERVATION, "social-history"),
        ],
    ),
    (
        "granular scopes, second",
        &[
            ("Condition", CONDITION, "problem-list-item"),
            ("Observation", OBSERVATION, "vital-signs"),
            ("Observation", OBSERVATION, "survey"),
            ("Observation", US_CATEGORY, "sdoh"),
        ],
    ),
];

/// Pages of a search that are read.
const PAGES: usize = 50;

/// Resources of a search by id, each with its categories (`system|code`).
type Seen = BTreeMap<String, BTreeSet<String>>;

impl Suite {
    pub(super) async fn granular(&mut self, apps: &Apps, whole: Option<&Tokens>) {
        let app = apps.public.as_ref().or(apps.secret.as_ref()).or(apps.key.as_ref());
        let (Some(app), Some(whole)) = (app, whole) else {
            self.report.enter("");
            self.report.skip("I0.2.11", "searches", "no standalone launch worked");
            return;
        };
        for (part, parts) in GRANTS {
            self.report.enter(*part);
            let scopes: Vec<_> = parts
                .iter()
                .map(|(name, system, code)| format!("patient/{name}.rs?category={system}|{code}"))
                .collect();
            let wish =
                Wish::new(app, format!("{IDENTITY} patient/Patient.rs {}", scopes.join(" ")));
            let launched = self.launch(&wish).await;
            let found = launched.as_ref().map_err(Clone::clone).and_then(|it| granted(it, &scopes));
            self.report.must("I0.2.11", "the scopes are granted, and no whole type", found);
            if let Ok(tokens) = launched {
                for name in ["Condition", "Observation"] {
                    self.shows(name, parts, whole, &tokens).await;
                }
            }
        }
        self.report.enter("");
    }

    /// Compares what the restricted token shows of a type with what the other one does.
    async fn shows(&mut self, name: &str, parts: &[Part], whole: &Tokens, tokens: &Tokens) {
        let patient = whole.patient().unwrap_or_default().to_owned();
        let queries = [String::new(), format!("&category={}|{}", parts[0].1, parts[0].2)];
        let mut all = Seen::new();
        for query in queries {
            let path = format!("{name}?patient={patient}{query}");
            let before = self.search(&path, whole.access()).await;
            let after = self.search(&path, tokens.access()).await;
            let found = before.and_then(|before| {
                let after = after?;
                let wanted = filtered(&before, name, parts);
                all.extend(before);
                same(&path, &wanted, &after)
            });
            self.report.must("I0.2.11", "a search shows what is granted and no more", found);
        }
        let visible = filtered(&all, name, parts);
        let hidden = all.keys().find(|id| !visible.contains_key(*id));
        for (check, id, is_visible) in [
            ("what is granted is readable", visible.keys().next(), true),
            ("what is not granted is not readable", hidden, false),
        ] {
            let Some(id) = id else {
                self.report.skip("I0.2.11", check, format!("the patient has no such {name}"));
                continue;
            };
            let found = self.reads(&format!("{name}/{id}"), tokens, is_visible).await;
            self.report.must("I0.2.11", check, found);
        }
    }

    async fn reads(&self, path: &str, tokens: &Tokens, is_visible: bool) -> Found {
        let answer = self.fhir(path, tokens.access()).await?;
        if is_visible {
            return answer.expect(&[200]);
        }
        ensure(answer.status != 200, || format!("{path} is shown"))?;
        let is_told = answer.body.is_empty()
            || answer.json().is_ok_and(|body| body["resourceType"] == "OperationOutcome");
        ensure(is_told, || format!("{path} answers {} with more than an outcome", answer.status))
    }

    /// The resources of a search, all pages.
    async fn search(&self, path: &str, token: &str) -> Result<Seen, String> {
        let resource = path.split('?').next().unwrap_or_default();
        let mut seen = Seen::new();
        let mut next = Some(path.to_owned());
        for _ in 0..PAGES {
            let Some(page) = next else { return Ok(seen) };
            let answer = self.fhir(&page, token).await?;
            answer.expect(&[200])?;
            let body = answer.json()?;
            for entry in body["entry"].as_array().into_iter().flatten() {
                let found = &entry["resource"];
                if let (true, Some(id)) = (found["resourceType"] == resource, found["id"].as_str())
                {
                    seen.insert(id.to_owned(), categories(found));
                }
            }
            next = body["link"]
                .as_array()
                .and_then(|links| links.iter().find(|link| link["relation"] == "next"))
                .and_then(|link| link["url"].as_str())
                .map(|url| url.strip_prefix(&format!("{}/", self.base)).unwrap_or(url).to_owned());
        }
        Err(format!("{path} has more than {PAGES} pages"))
    }
}

/// The categories of a resource as `system|code`.
fn categories(resource: &Value) -> BTreeSet<String> {
    let codings = resource["category"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|category| category["coding"].as_array().into_iter().flatten());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    codings.map(|coding| format!("{}|{}", text(&coding["system"]), text(&coding["code"]))).collect()
}

fn filtered(all: &Seen, name: &str, parts: &[Part]) -> Seen {
    let granted: Vec<_> = parts
        .iter()
        .filter(|(resource, _, _)| *resource == name)
        .map(|(_, system, code)| format!("{system}|{code}"))
        .collect();
    let shown = |of: &BTreeSet<String>| granted.iter().any(|category| of.contains(category));
    all.iter().filter(|(_, of)| shown(of)).map(|(id, of)| (id.clone(), of.clone())).collect()
}

fn same(path: &str, wanted: &Seen, found: &Seen) -> Found {
    let more: Vec<_> = found.keys().filter(|id| !wanted.contains_key(*id)).cloned().collect();
    ensure(more.is_empty(), || format!("{path} shows too much: {}", more.join(", ")))?;
    let less: Vec<_> = wanted.keys().filter(|id| !found.contains_key(*id)).cloned().collect();
    ensure(less.is_empty(), || format!("{path} does not show {}", less.join(", ")))
}

fn granted(tokens: &Tokens, scopes: &[String]) -> Found {
    for wanted in scopes {
        ensure(scope::names(tokens.scope(), wanted), || format!("{wanted} is not granted"))?;
    }
    let all = scope::resource_scopes(tokens.scope());
    let whole = all
        .iter()
        .find(|it| it.query.is_none() && (it.covers("Condition") || it.covers("Observation")));
    ensure(whole.is_none(), || format!("a whole type is granted: {whole:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_resource_is_shown_by_any_of_its_categories() {
        let of = |code: &str| {
            categories(&json!({ "category": [
                { "text": "x" }, { "coding": [{ "system": OBSERVATION, "code": code }, { "code": "y" }] }
            ] }))
        };
        let all = Seen::from([
            ("1".to_owned(), of("laboratory")),
            ("2".to_owned(), of("survey")),
            ("3".to_owned(), BTreeSet::new()),
        ]);
        let shown = filtered(&all, "Observation", GRANTS[0].1);
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["1"]);
        assert!(filtered(&all, "Condition", GRANTS[0].1).is_empty());
        assert_eq!(same("x", &shown, &shown), Ok(()));
        assert_eq!(same("x", &shown, &all), Err("x shows too much: 2, 3".to_owned()));
        assert_eq!(same("x", &all, &shown), Err("x does not show 2, 3".to_owned()));
    }
}
