//! What consents came down to for a token, as BALP's pattern AuthZconsent has it.
//!
//! The pattern wants to know for which organization the user asked. Where the roles of the user name
//! none or several it says that this is unknown; a client that is nobody's receives the data itself.
//!
//! Spec: <https://profiles.ihe.net/ITI/BALP/StructureDefinition-IHE.BasicAudit.AuthZconsent.html>

use serde_json::{Value, json};

use crate::access::interaction::Kind;

use super::balp::{
    AGENTS, DICOM, Entry, PARTICIPATION, PatientOf, coding, patient_entity, reason, server,
};

const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

impl Entry {
    /// Whether it is whole by the pattern: it names patients and their consents.
    pub(super) fn is_whole_decision(&self) -> bool {
        !self.patients.is_empty() && self.named("Consent").next().is_some()
    }

    /// Who asked, for whom, and who decided.
    pub(super) fn decision_agents(&self, policy: Option<&Value>, base: &str) -> Value {
        let purpose = self.purpose.as_deref().map(|it| json!([{ "coding": [reason(it)] }]));
        let own = match &self.client {
            Some(client) => json!({ "identifier": { "value": client } }),
            None => json!({ "display": self.actor }),
        };
        let network = match &self.source {
            Some(address) => json!({ "address": address, "type": "2" }),
            None => json!({ "address": "unknown", "type": "1" }),
        };
        let client = json!({
            "type": { "coding": [coding(DICOM, "110150")] },
            "who": own,
            "requestor": false,
            "network": network,
        });
        let mut types = vec![coding(PARTICIPATION, "IRCP")];
        if policy.is_some() {
            types.push(coding(AGENTS, "UserOauthAgent"));
        }
        let mut user = json!({ "type": { "coding": types }, "who": own, "requestor": true });
        if let Some(name) = self.user() {
            user["who"] = self.who(name, base);
            user["name"] = json!(name);
        }
        let mut organization = json!({
            "type": { "coding": [coding("http://terminology.hl7.org/CodeSystem/v3-RoleClass", "PROV")] },
            "who": self.organization(),
            "requestor": false,
        });
        if let Some(policy) = policy {
            user["policy"] = policy.clone();
        }
        if let Some(purpose) = purpose {
            user["purposeOfUse"] = purpose.clone();
            organization["purposeOfUse"] = purpose;
        }
        let authority = "http://terminology.hl7.org/CodeSystem/extra-security-role-type";
        let authority = json!({
            "type": { "coding": [coding(authority, "authserver")] },
            "who": server(base),
            "requestor": false,
        });
        json!([client, user, organization, authority])
    }

    /// The patient, the consents and the token.
    pub(super) fn decision_entities(&self, patient: Option<&PatientOf>) -> Vec<Value> {
        let mut entities: Vec<Value> = patient.map(patient_entity).into_iter().collect();
        entities.extend(self.named("Consent").map(|consent| {
            json!({
                "type": coding("http://hl7.org/fhir/resource-types", "Consent"),
                "what": { "reference": consent },
            })
        }));
        entities.extend(self.token.as_ref().map(|token| {
            json!({
                "type": coding(AGENTS, "UserOauthAgent"),
                "what": { "identifier": { "value": token } },
            })
        }));
        entities
    }

    /// The one organization for which the user asked, where it is a decision that tells.
    pub(super) fn asks_for(&self) -> Option<&str> {
        let mut all = self.named("Organization");
        let first = all.next().filter(|_| self.kind == Kind::ConsentDecision);
        first.filter(|_| all.next().is_none())
    }

    fn organization(&self) -> Value {
        match self.asks_for() {
            Some(one) => json!({ "reference": one }),
            None => json!({ "extension": [{ "url": ABSENT, "valueCode": "unknown" }] }),
        }
    }

    /// What of a type it names beside its subject.
    fn named<'e>(&'e self, of: &'e str) -> impl Iterator<Item = &'e str> {
        let is_of = move |about: &&str| about.split_once('/').is_some_and(|(its, _)| its == of);
        self.entities.iter().map(String::as_str).filter(is_of)
    }
}
