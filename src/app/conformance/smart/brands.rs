//! User-access brands: the Bundle in which a person finds the server of their hospital.

use std::collections::BTreeSet;

use hyper::Uri;
use hyper::header::ORIGIN;
use serde_json::Value;

use super::super::http::Call;
use super::super::report::{Found, ensure};
use super::super::valid::Definitions;
use super::Suite;

/// Of what kind an endpoint of a brand is.
const REST: &str = "hl7-fhir-rest";
/// What tells the version of FHIR of an endpoint.
const VERSION: &str = "http://hl7.org/fhir/StructureDefinition/endpoint-fhir-version";

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
        self.valid(&bundle);
        for endpoint in resources(&bundle, "Endpoint") {
            let address = endpoint["address"].as_str().unwrap_or_default();
            self.report.must("I0.1.15", "an endpoint's address is a URL", is_url(address));
            let found = self.serves(endpoint).await;
            self.report.must("I0.1.15", "an endpoint is a FHIR server", found);
        }
    }

    /// The Bundle and what is in it by R4, and by what the profiles of brands say beyond. Their package is not
    /// among those that come with this program.
    fn valid(&mut self, bundle: &Value) {
        let definitions = match Definitions::read(&self.base) {
            Ok(definitions) => definitions,
            Err(why) => return self.report.skip("I0.1.15", "the Bundle is valid", why),
        };
        let found = definitions.check(&bundle.to_string(), "Bundle").and(placed(bundle));
        self.report.must("I0.1.15", "the Bundle is valid", found);
        for organization in resources(bundle, "Organization") {
            let found = definitions.check(&organization.to_string(), "Organization");
            self.report.must("I0.1.15", "an organization is valid", found);
            let found = has_website(organization, "telecom");
            self.report.should("I0.1.15", "an organization has a website", found);
        }
        for endpoint in resources(bundle, "Endpoint") {
            let found = definitions.check(&endpoint.to_string(), "Endpoint");
            self.report.must("I0.1.15", "an endpoint is valid", found.and(restful(endpoint)));
            self.report.should("I0.1.15", "an endpoint tells its version", versioned(endpoint));
            let found = has_website(endpoint, "contact");
            self.report.should("I0.1.15", "an endpoint has a website", found);
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

/// Each entry has an address of its own and a resource.
fn placed(bundle: &Value) -> Found {
    for entry in bundle["entry"].as_array().into_iter().flatten() {
        let is_whole = entry["fullUrl"].is_string() && entry["resource"].is_object();
        ensure(is_whole, || "an entry without fullUrl or resource".to_owned())?;
    }
    Ok(())
}

fn restful(endpoint: &Value) -> Found {
    let kind = &endpoint["connectionType"]["code"];
    ensure(kind == REST, || format!("an Endpoint of the kind {kind}, not {REST}"))?;
    ensure(endpoint["name"].is_string(), || "an Endpoint without a name".to_owned())
}

fn versioned(endpoint: &Value) -> Found {
    let mut extensions = endpoint["extension"].as_array().into_iter().flatten();
    let is_told = extensions.any(|it| it["url"] == VERSION && it["valueCode"].is_string());
    ensure(is_told, || format!("{VERSION} is missing"))
}

/// Whether one of the contact points is an address of the web.
fn has_website(resource: &Value, member: &str) -> Found {
    let mut points = resource[member].as_array().into_iter().flatten();
    let has_one = points.any(|point| {
        point["system"] == "url" && point["value"].as_str().is_some_and(|it| is_url(it).is_ok())
    });
    ensure(has_one, || format!("no {member} of the system url"))
}

/// Whether a text is an address of the web with a host.
fn is_url(text: &str) -> Found {
    let fault = || format!("{text:?} is not a URL of the web");
    let uri: Uri = text.parse().map_err(|_| fault())?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    ensure(is_web && has_host && !text.contains('#'), fault)
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
        let mut unnamed = whole.clone();
        unnamed["entry"][1]["resource"]["name"] = Value::Null;
        assert!(collection(&unnamed).is_err());
        assert!(collection(&json!({ "resourceType": "Bundle", "type": "searchset" })).is_err());
        assert!(placed(&whole).is_err(), "no fullUrl");
    }

    #[test]
    fn an_endpoint_is_of_rest_at_an_address_of_the_web() {
        let mut endpoint = json!({
            "name": "n", "connectionType": { "code": REST },
            "contact": [{ "system": "url", "value": "https://x.example" }],
            "extension": [{ "url": VERSION, "valueCode": "4.0.1" }],
        });
        assert_eq!(restful(&endpoint), Ok(()));
        assert_eq!(versioned(&endpoint), Ok(()));
        assert_eq!(has_website(&endpoint, "contact"), Ok(()));
        assert!(has_website(&endpoint, "telecom").is_err());
        endpoint["connectionType"]["code"] = json!("dicom-wado-rs");
        endpoint["extension"] = json!([]);
        assert!(restful(&endpoint).is_err() && versioned(&endpoint).is_err());
        for (text, expected) in [
            ("https://x.example/fhir", true),
            ("http://127.0.0.1:8080/fhir", true),
            ("x.example/fhir", false),
            ("/fhir", false),
            ("ftp://x.example", false),
            ("https:///fhir", false),
            ("https://x.example/a b", false),
            ("", false),
        ] {
            assert_eq!(is_url(text).is_ok(), expected, "{text}");
        }
    }
}
