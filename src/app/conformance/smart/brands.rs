//! User-access brands: the Bundle in which a person finds the server of their hospital.

use std::collections::BTreeSet;

use hyper::header::ORIGIN;
use serde_json::Value;

use super::super::http::Call;
use super::super::report::{Found, ensure};
use super::Suite;

impl Suite {
    pub(super) async fn brands(&mut self) {
        self.report.enter("");
        let named = self.configuration["user_access_brand_bundle"].as_str().map(str::to_owned);
        let Some(address) = self.options.brands.clone().or(named) else {
            let why = "the SMART configuration has no user_access_brand_bundle";
            self.report.skip("I0.1.15", "the Bundle", why);
            return;
        };
        let call = Call::get(&address).header(ORIGIN, "https://app.example.org");
        let answer = self.http.send(call).await;
        let found = answer.as_ref().map_err(Clone::clone).and_then(|answer| answer.expect(&[200]));
        if !self.report.must("I0.1.15", "the Bundle answers", found) {
            return;
        }
        let Ok(answer) = answer else { return };
        let has = |name: &str| {
            let is_there = answer.headers.contains_key(name);
            ensure(is_there, || format!("{address} answers without {name}"))
        };
        self.report.must("I0.1.15", "CORS", has("access-control-allow-origin"));
        self.report.should("I0.1.15", "ETag", has("etag"));
        let bundle = match answer.json() {
            Ok(bundle) => bundle,
            Err(why) => {
                self.report.must("I0.1.15", "a collection", Err(why));
                return;
            }
        };
        self.report.must("I0.1.15", "a collection", collection(&bundle));
        self.report.must("I0.1.15", "organizations and endpoints belong together", linked(&bundle));
        for endpoint in resources(&bundle, "Endpoint") {
            let found = self.serves(endpoint).await;
            self.report.must("I0.1.15", "an endpoint is a FHIR server", found);
        }
    }

    async fn serves(&self, endpoint: &Value) -> Found {
        let address = endpoint["address"].as_str().unwrap_or_default();
        let metadata = format!("{}/metadata", address.trim_end_matches('/'));
        let call = Call::get(metadata).header(hyper::header::ACCEPT, "application/fhir+json");
        let answer = self.http.send(call).await?;
        answer.expect(&[200])?;
        let body = answer.json()?;
        let is_statement = body["resourceType"] == "CapabilityStatement";
        ensure(is_statement, || format!("{address} has no CapabilityStatement"))
    }
}

fn resources<'a>(bundle: &'a Value, name: &'a str) -> impl Iterator<Item = &'a Value> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    entries.map(|entry| &entry["resource"]).filter(move |found| found["resourceType"] == name)
}

fn collection(bundle: &Value) -> Found {
    ensure(bundle["resourceType"] == "Bundle" && bundle["type"] == "collection", || {
        format!("a {} of type {}", bundle["resourceType"], bundle["type"])
    })?;
    ensure(bundle["timestamp"].is_string(), || "no timestamp".to_owned())?;
    for name in ["Endpoint", "Organization"] {
        ensure(resources(bundle, name).next().is_some(), || format!("no {name}"))?;
    }
    for organization in resources(bundle, "Organization") {
        ensure(organization["name"].is_string(), || "an Organization without a name".to_owned())?;
    }
    Ok(())
}

/// The last two parts of a reference or of an address.
fn key(text: &str) -> String {
    let parts: Vec<_> = text.rsplit('/').take(2).collect();
    format!("{}/{}", parts.last().copied().unwrap_or_default(), parts[0])
}

fn linked(bundle: &Value) -> Found {
    let known: BTreeSet<_> = resources(bundle, "Endpoint")
        .filter_map(|endpoint| endpoint["id"].as_str())
        .map(|id| format!("Endpoint/{id}"))
        .collect();
    let mut used = BTreeSet::new();
    for organization in resources(bundle, "Organization") {
        let own: BTreeSet<_> = organization["endpoint"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|reference| reference["reference"].as_str())
            .map(key)
            .collect();
        let missing = own.iter().find(|reference| !known.contains(*reference));
        ensure(missing.is_none(), || format!("{missing:?} is not in the Bundle"))?;
        let portal = portals(organization).find(|reference| !own.contains(reference));
        ensure(portal.is_none(), || format!("the portal's {portal:?} is no endpoint of its own"))?;
        used.extend(own);
    }
    let unused = known.iter().find(|reference| !used.contains(*reference));
    ensure(unused.is_none(), || format!("{unused:?} belongs to no Organization"))
}

/// The endpoints that the portals of an organization name.
fn portals(organization: &Value) -> impl Iterator<Item = String> {
    let extensions = organization["extension"].as_array().into_iter().flatten();
    extensions
        .flat_map(|extension| extension["extension"].as_array().into_iter().flatten())
        .filter(|part| part["url"] == "portalEndpoint")
        .filter_map(|part| part["valueReference"]["reference"].as_str())
        .map(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bundle(own: &str, portal: &str) -> Value {
        json!({
            "resourceType": "Bundle", "type": "collection", "timestamp": "2026-01-01T00:00:00Z",
            "entry": [
                { "resource": { "resourceType": "Endpoint", "id": "e1", "address": "https://x/fhir" } },
                { "resource": {
                    "resourceType": "Organization", "id": "o1", "name": "Example",
                    "endpoint": [{ "reference": own }],
                    "extension": [{ "url": "brand", "extension": [
                        { "url": "portalEndpoint", "valueReference": { "reference": portal } }
                    ] }]
                } }
            ]
        })
    }

    #[test]
    fn endpoints_and_organizations_name_each_other() {
        let whole = bundle("Endpoint/e1", "https://x/Endpoint/e1");
        assert_eq!(collection(&whole), Ok(()));
        assert_eq!(linked(&whole), Ok(()));
        assert!(linked(&bundle("Endpoint/e2", "Endpoint/e2")).is_err(), "not in the Bundle");
        assert!(linked(&bundle("Endpoint/e1", "Endpoint/e2")).is_err(), "the portal's is another");
        let mut unnamed = whole;
        unnamed["entry"][1]["resource"]["name"] = Value::Null;
        assert!(collection(&unnamed).is_err());
        assert!(collection(&json!({ "resourceType": "Bundle", "type": "searchset" })).is_err());
    }
}
