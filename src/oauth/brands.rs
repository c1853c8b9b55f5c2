//! User-access brands: this server as an app finds it in the lists of hospitals.
//!
//! One organization with one endpoint. What it is called is a setting; the endpoint is this one.
//!
//! Spec: SMART App Launch 2.2, User-access Brands and Endpoints; security D8

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::fhir::Instant;

use super::Settings;
use super::secret;

/// The system of identifiers that are addresses.
const URI: &str = "urn:ietf:rfc:3986";

impl Settings {
    /// Where the organization has its website: by the settings, or this server.
    fn website(&self) -> &str {
        self.brand.website.as_deref().unwrap_or_else(|| self.issuer.trim_end_matches("/auth"))
    }

    /// Where the Bundle is, and by what its main organization is known in it.
    pub(super) fn brand_members(&self) -> [(&'static str, Value); 2] {
        let identifier = json!({ "system": URI, "value": self.website() });
        let bundle = json!(format!("{}/brands", self.issuer));
        [("user_access_brand_bundle", bundle), ("user_access_brand_identifier", identifier)]
    }

    /// The Bundle.
    pub fn brands(&self, now: Instant) -> Value {
        let root = &self.issuer;
        let full = |reference: &str| format!("{root}/brands/{reference}");
        json!({
            "resourceType": "Bundle",
            "type": "collection",
            "timestamp": now.to_string(),
            "entry": [
                { "fullUrl": full("Organization/brand"), "resource": self.organization() },
                { "fullUrl": full("Endpoint/fhir"), "resource": self.endpoint() },
            ],
        })
    }

    /// The weak tag of the Bundle: it does not change with its time.
    pub fn brands_tag(&self) -> String {
        let text = format!("{}{}", self.organization(), self.endpoint());
        format!("W/\"{}\"", secret::hex(&Sha256::digest(text)[..8]))
    }

    fn organization(&self) -> Value {
        let brand = &self.brand;
        let mut extensions = Vec::new();
        if let Some(logo) = &brand.logo {
            extensions.push(json!({
                "url": "http://hl7.org/fhir/StructureDefinition/organization-brand",
                "extension": [{ "url": "brandLogo", "valueUrl": logo }],
            }));
        }
        if let Some(portal) = &brand.portal {
            extensions.push(json!({
                "url": "http://hl7.org/fhir/StructureDefinition/organization-portal",
                "extension": [
                    { "url": "portalName", "valueString": brand.name },
                    { "url": "portalUrl", "valueUrl": portal },
                    { "url": "portalEndpoint", "valueReference": { "reference": "Endpoint/fhir" } },
                ],
            }));
        }
        let mut organization = json!({
            "resourceType": "Organization",
            "id": "brand",
            "identifier": [{ "system": URI, "value": self.website() }],
            "active": true,
            "name": brand.name,
            "telecom": [{ "system": "url", "value": self.website() }],
            "endpoint": [{ "reference": "Endpoint/fhir" }],
        });
        if !extensions.is_empty() {
            organization["extension"] = Value::from(extensions);
        }
        organization
    }

    fn endpoint(&self) -> Value {
        json!({
            "resourceType": "Endpoint",
            "id": "fhir",
            "extension": [{
                "url": "http://hl7.org/fhir/StructureDefinition/endpoint-fhir-version",
                "valueCode": "4.0.1",
            }],
            "status": "active",
            "connectionType": {
                "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
                "code": "hl7-fhir-rest",
            },
            "name": self.brand.name,
            "contact": [{ "system": "url", "value": self.website() }],
            "payloadType": [{ "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/endpoint-payload-type",
                "code": "none",
            }] }],
            "address": self.base,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    #[test]
    fn the_organization_is_known_by_its_website_and_its_endpoint_is_this_one() {
        let mut settings = settings();
        let bundle = settings.brands(Instant::from_micros(0));
        let [organization, endpoint] = [0, 1].map(|place| &bundle["entry"][place]["resource"]);
        assert_eq!(endpoint["address"], "https://h.org/fhir");
        assert_eq!(organization["endpoint"][0]["reference"], "Endpoint/fhir");
        assert_eq!(organization["identifier"][0]["value"], "https://h.org");
        assert_eq!(settings.brand_members()[1].1, organization["identifier"][0]);
        assert_eq!(settings.brand_members()[0].1, "https://h.org/auth/brands");
        let tag = settings.brands_tag();
        settings.brand.portal = Some("https://my.h.org".to_owned());
        assert_ne!(settings.brands_tag(), tag);
        let organization = settings.organization();
        assert_eq!(organization["extension"][0]["extension"][1]["valueUrl"], "https://my.h.org");
    }
}
