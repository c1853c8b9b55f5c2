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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_refers_to_the_one_organization_that_the_user_asked_for() {
        let entry = |kind: Kind, entities: &[&str]| Entry {
            id: "01990000-0000-7000-8000-00000000000a".parse().unwrap(),
            kind,
            outcome: 0,
            resource_type: None,
            subject: None,
            actor: "user:ada".to_owned(),
            client: None,
            token: None,
            person: Some("Practitioner/ada".to_owned()),
            purpose: None,
            source: None,
            request_id: String::new(),
            method: "OTHER".to_owned(),
            query: "token".to_owned(),
            failure: None,
            patients: Vec::new(),
            entities: entities.iter().map(|&it| it.to_owned()).collect(),
        };
        let (one, both) = (["Consent/c", "Organization/g"], ["Organization/g", "Organization/h"]);
        for (kind, entities, code, expected) in [
            (
                Kind::ConsentDecision,
                &one[..],
                Some("agent"),
                &["Practitioner/ada", "Organization/g"][..],
            ),
            (Kind::ConsentDecision, &one, Some("entity"), &["Consent/c"]),
            (Kind::ConsentDecision, &one, Some("patient"), &[]),
            (Kind::ConsentDecision, &both, None, &["Practitioner/ada"]),
            (Kind::Batch, &one, Some("agent"), &["Practitioner/ada"]),
            (Kind::Batch, &one, Some("entity"), &["Consent/c", "Organization/g"]),
        ] {
            let found = entry(kind, entities).references(0, code);
            let found = found.iter().map(|it| format!("{}/{}", it.resource_type, it.id));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{kind:?} {entities:?} {code:?}");
        }
    }
}
