//! Definitions that speak of searches: what a compartment is made of, what a subscription waits for,
//! and what a parameter looks at. They are read as this server reads a query.
//!
//! Spec: <https://hl7.org/fhir/R4/compartmentdefinition.html>,
//! <https://hl7.org/fhir/R4/subscription.html>, rest 7.74, 8.2, 8.4

use std::collections::HashSet;

use crate::engine::Engine;
use crate::engine::search::{SearchTarget, refuse_of_results};
use crate::error::Error;
use crate::fhir::json::Value;
use crate::fhir::query::Query;
use crate::fhir::{Issue, IssueCode, ResourceType, Severity};
use crate::search::request::{Filter, Strictness};
use crate::spec::search_parameter::{SearchParameters, SearchType};

use super::channel;

/// The profile of subscriptions whose criteria name a topic.
const BY_TOPIC: &str =
    "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-subscription";
/// Stands for the resource that the compartment is named for.
const ITSELF: &str = "{def}";

impl Engine {
    /// What is wrong with the searches that a definition speaks of.
    pub(super) fn findings_of_searches(&self, value: &Value<'_>) -> Vec<Issue> {
        match value.str_at("resourceType") {
            Some("CompartmentDefinition") => {
                compartment(value, self.extractor().search_parameters())
            }
            Some("Subscription") => {
                let mut issues = self.criteria_of_subscription(value);
                issues.extend(self.channel_of_subscription(value));
                issues
            }
            _ => Vec::new(),
        }
    }

    /// Checks that the criteria of a Subscription are a search of one type.
    fn criteria_of_subscription(&self, subscription: &Value<'_>) -> Vec<Issue> {
        let Some(criteria) = subscription.str_at("criteria") else { return Vec::new() };
        let wrong = |code, text: String| vec![Issue::error_at(code, text, "Subscription.criteria")];
        let claims = subscription.get("meta").map_or(&[][..], |meta| meta.items_at("profile"));
        let of_topic = |claim: &Value<'_>| {
            let url = claim.as_str().unwrap_or_default();
            url.split('|').next() == Some(BY_TOPIC)
        };
        if claims.iter().any(of_topic) {
            let text = format!("the topic {criteria} is not known: this server has no topics");
            let told = wrong(IssueCode::NotSupported, text);
            return if is_asleep(subscription) { warnings(told) } else { told };
        }
        let (name, query) = criteria.split_once('?').unwrap_or((criteria, ""));
        let Ok(resource_type) = name.parse::<ResourceType>() else {
            let text = format!("criteria begin with a type of resource, and {name:?} is none");
            return wrong(IssueCode::Invalid, text);
        };
        match self.check_criteria(resource_type, query) {
            Err(Error::Invalid(issues)) => {
                let here =
                    |issue| Issue { expression: "Subscription.criteria".to_owned(), ..issue };
                issues.into_iter().map(here).collect()
            }
            Err(Error::NotSupported(text)) => wrong(IssueCode::NotSupported, text),
            // Without its parameters the server reads no query; it takes no write then either.
            Ok(()) | Err(_) => Vec::new(),
        }
    }

    /// Checks the channel of a Subscription, and where it asks to be served that this server could.
    fn channel_of_subscription(&self, subscription: &Value<'_>) -> Vec<Issue> {
        let mut issues = channel::findings(subscription);
        let Some(channel) = subscription.get("channel").filter(|_| !is_asleep(subscription)) else {
            return issues;
        };
        match (channel.str_at("type"), channel.str_at("endpoint")) {
            (Some("rest-hook"), Some(endpoint)) => {
                let is_told =
                    issues.iter().any(|issue| issue.expression == "Subscription.channel.endpoint");
                let refusal = self.settings.subscriptions.endpoints.refusal(endpoint);
                issues.extend(refusal.filter(|_| !is_told).map(|text| {
                    Issue::error_at(IssueCode::Value, text, "Subscription.channel.endpoint")
                }));
            }
            (Some("rest-hook") | None, _) => {}
            (Some(kind), _) => {
                let text = format!("the channel {kind:?} is not served: rest-hook is");
                let place = "Subscription.channel.type";
                issues.push(Issue::error_at(IssueCode::NotSupported, text, place));
            }
        }
        issues
    }

    /// Reads criteria as strictly as those of a conditional interaction: a parameter that was passed over
    /// would let everything through. No parameter at all is every resource of the type.
    fn check_criteria(&self, resource_type: ResourceType, query: &str) -> Result<(), Error> {
        let query = Query::parse(query)?;
        refuse_of_results(&query)?;
        let target = SearchTarget::Type(resource_type);
        let request = self.parse_search(&target, &query, Strictness::Criteria)?;
        if request.filters.iter().any(Filter::asks_for_words) {
            let text =
                "words are found some time after a write only: they cannot stand in criteria";
            return Err(Error::NotSupported(text.to_owned()));
        }
        Ok(())
    }
}

/// Whether a Subscription does not ask to be served: it may be stored, whatever it waits for.
fn is_asleep(subscription: &Value<'_>) -> bool {
    subscription.str_at("status") == Some("off")
}

fn warnings(issues: Vec<Issue>) -> Vec<Issue> {
    let warning = |issue| Issue { severity: Severity::Warning, ..issue };
    issues.into_iter().map(warning).collect()
}

/// Checks that a compartment is made of references which lead to what it is named for.
fn compartment(definition: &Value<'_>, known: &SearchParameters) -> Vec<Issue> {
    let mut issues = Vec::new();
    let mut tell = |severity, code, text: String, place: String| {
        issues.push(Issue { severity, ..Issue::error_at(code, text, place) });
    };
    let named_for = definition.str_at("code").and_then(|code| code.parse::<ResourceType>().ok());
    let mut seen = HashSet::new();
    for (at, resource) in definition.items_at("resource").iter().enumerate() {
        let place = format!("CompartmentDefinition.resource[{at}]");
        let Some(code) = resource.str_at("code") else { continue };
        if !seen.insert(code) {
            let text = format!("{code} is listed twice");
            tell(Severity::Error, IssueCode::Duplicate, text, format!("{place}.code"));
        }
        // The binding says what is no type.
        let Ok(resource_type) = code.parse::<ResourceType>() else { continue };
        for (at, param) in resource.items_at("param").iter().enumerate() {
            let place = format!("{place}.param[{at}]");
            match param.as_str() {
                None => {}
                Some(ITSELF) if named_for == Some(resource_type) => {}
                Some(ITSELF) => {
                    let text = format!("{ITSELF} stands for what the compartment is named for");
                    tell(Severity::Error, IssueCode::BusinessRule, text, place);
                }
                Some(name) => match known.find(resource_type, name) {
                    None => {
                        let text = format!("{code} has no search parameter {name:?}");
                        // It may come later than the compartment.
                        tell(Severity::Warning, IssueCode::NotFound, text, place);
                    }
                    Some(found) if found.search_type != SearchType::Reference => {
                        let text = format!("the parameter {name:?} of {code} is no reference");
                        tell(Severity::Error, IssueCode::BusinessRule, text, place);
                    }
                    Some(found) => {
                        let leads = |of| found.targets.is_empty() || found.targets.contains(&of);
                        if let Some(of) = named_for.filter(|of| !leads(*of)) {
                            let text = format!("the parameter {name:?} of {code} leads to no {of}");
                            tell(Severity::Error, IssueCode::BusinessRule, text, place);
                        }
                    }
                },
            }
        }
    }
    issues
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;
    use crate::spec::Spec;

    #[test]
    fn a_compartment_is_made_of_references_to_what_it_is_named_for() {
        let spec = Spec::r4().expect("loads");
        for (resources, expected) in [
            (r#"{"code":"Observation","param":["subject","performer"]}"#, vec![]),
            (r#"{"code":"Patient","param":["{def}"]}"#, vec![]),
            (r#"{"code":"Observation"}"#, vec![]),
            (
                r#"{"code":"Observation","param":["{def}"]}"#,
                vec!["{def} stands for what the compartment is named for"],
            ),
            (
                r#"{"code":"Observation","param":["subject","nope"]}"#,
                vec![r#"Observation has no search parameter "nope""#],
            ),
            (
                r#"{"code":"Observation","param":["code"]}"#,
                vec![r#"the parameter "code" of Observation is no reference"#],
            ),
            (
                r#"{"code":"Observation","param":["encounter"]}"#,
                vec![r#"the parameter "encounter" of Observation leads to no Patient"#],
            ),
            (
                r#"{"code":"Observation"},{"code":"Observation"}"#,
                vec!["Observation is listed twice"],
            ),
        ] {
            let text = format!(
                r#"{{"resourceType":"CompartmentDefinition","code":"Patient","resource":[{resources}]}}"#
            );
            let value = parse(text.as_bytes()).expect("JSON");
            let found = compartment(&value, &spec.search_parameters);
            let told: Vec<_> = found.iter().map(|issue| &*issue.diagnostics).collect();
            assert_eq!(told, expected, "{resources}");
            // What is not known may be known elsewhere; what is known to be wrong is wrong.
            let is_unknown = resources.contains("nope");
            let severity = if is_unknown { Severity::Warning } else { Severity::Error };
            assert!(found.iter().all(|issue| issue.severity == severity), "{resources}");
        }
    }
}
