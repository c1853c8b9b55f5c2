//! What a visit costs: the claim and its explanation of benefit.

use super::build::{
    Code, Doc, Val, coding, concept, list, moment, money, period, plain_concept, reference,
};
use super::chart::{Chart, Encounter};
use super::clinical::Diagnosis;

const CLAIM_TYPE: &str = "http://terminology.hl7.org/CodeSystem/claim-type";
const ADJUDICATION: &str = "http://terminology.hl7.org/CodeSystem/adjudication";

/// Adds Claim and ExplanationOfBenefit of the visit, with its diagnosis where there was one.
pub(super) fn add(chart: &mut Chart<'_>, encounter: &Encounter, about: Option<&Diagnosis>) {
    let claim = add_claim(chart, encounter, about);
    let paid_percent = chart.random.between(60, 95);
    let patient_id = chart.patient.target.clone();
    let kind = Code("http://terminology.hl7.org/CodeSystem/v2-0203", "RI", "Resource identifier");
    let number = format!("CLM{:010}", chart.random.between(0, 9_999_999_999));
    let identifier = Doc::new()
        .with("type", concept(kind))
        .with("system", "urn:kiln:demo:claim-number")
        .with("value", number);
    let team = Doc::new()
        .with("sequence", 1_u64)
        .with("provider", encounter.practitioner.reference())
        .with(
            "role",
            concept(Code(
                "http://terminology.hl7.org/CodeSystem/claimcareteamrole",
                "primary",
                "Primary provider",
            )),
        );
    let insurance =
        Doc::new().with("focal", true).with("coverage", reference(chart.coverage.clone()));
    let mut doc = chart
        .resource("ExplanationOfBenefit")
        .with("contained", contained(&patient_id, encounter))
        .with("identifier", list(identifier))
        .with("status", "active")
        .with("type", plain_concept(CLAIM_TYPE, "professional"))
        .with("use", "claim")
        .with("patient", chart.subject())
        .with("billablePeriod", period(encounter.start, encounter.end))
        .with("created", moment(encounter.end))
        .with("insurer", Doc::new().with("display", chart.payer))
        .with("provider", encounter.practitioner.reference())
        .with("referral", reference("#referral"))
        .with("facility", encounter.location.reference())
        .with("claim", reference(claim))
        .with("outcome", "complete")
        .with("careTeam", list(team));
    if let Some(found) = about {
        doc.set("diagnosis", diagnoses(found));
    }
    let doc = doc
        .with("insurance", list(insurance))
        .with("item", items(encounter, about, Some(paid_percent)))
        .with("total", totals(encounter.cents, paid_percent))
        .with("payment", Doc::new().with("amount", money(encounter.cents * paid_percent / 100)));
    chart.add(doc, &format!("Benefit for {}", encounter.code.2));
}

fn add_claim(chart: &mut Chart<'_>, encounter: &Encounter, about: Option<&Diagnosis>) -> String {
    let insurance = Doc::new()
        .with("sequence", 1_u64)
        .with("focal", true)
        .with("coverage", reference(chart.coverage.clone()));
    let mut doc = chart
        .resource("Claim")
        .with("status", "active")
        .with("type", plain_concept(CLAIM_TYPE, "professional"))
        .with("use", "claim")
        .with("patient", chart.subject())
        .with("billablePeriod", period(encounter.start, encounter.end))
        .with("created", moment(encounter.end))
        .with("insurer", Doc::new().with("display", chart.payer))
        .with("provider", encounter.organization.reference())
        .with(
            "priority",
            plain_concept("http://terminology.hl7.org/CodeSystem/processpriority", "normal"),
        )
        .with("facility", encounter.location.reference());
    if let Some(found) = about {
        doc.set("diagnosis", diagnoses(found));
    }
    let doc = doc
        .with("insurance", list(insurance))
        .with("item", items(encounter, about, None))
        .with("total", money(encounter.cents));
    chart.add(doc, &format!("Claim for {}", encounter.code.2))
}

/// The referral that the benefit was granted on, as a resource within.
fn contained(patient: &str, encounter: &Encounter) -> Vec<Val> {
    list(
        Doc::new()
            .with("resourceType", "ServiceRequest")
            .with("id", "referral")
            .with("status", "completed")
            .with("intent", "order")
            .with("subject", reference(patient.to_owned()))
            .with("requester", reference(encounter.practitioner.target.clone()))
            .with("performer", list(reference(encounter.practitioner.target.clone()))),
    )
}

fn diagnoses(found: &Diagnosis) -> Vec<Val> {
    let principal = Code(
        "http://terminology.hl7.org/CodeSystem/ex-diagnosistype",
        "principal",
        "Principal Diagnosis",
    );
    list(
        Doc::new()
            .with("sequence", 1_u64)
            .with("diagnosisReference", reference(found.target.clone()))
            .with("type", list(concept(principal))),
    )
}

/// The visit itself, and the problem as a second line; with amounts when `paid_percent` is given.
fn items(encounter: &Encounter, about: Option<&Diagnosis>, paid_percent: Option<i64>) -> Vec<Val> {
    let visit_cents = if about.is_some() { encounter.cents * 7 / 10 } else { encounter.cents };
    let (code, display) = if encounter.is_emergency {
        ("19", "Off Campus-Outpatient Hospital")
    } else {
        ("11", "Office")
    };
    let place = Code("http://terminology.hl7.org/CodeSystem/ex-serviceplace", code, display);
    let line = |sequence: u64, code: Code, cents: i64| {
        Doc::new()
            .with("sequence", sequence)
            .with("productOrService", concept(code))
            .with("servicedPeriod", period(encounter.start, encounter.end))
            .with("locationCodeableConcept", Doc::new().with("coding", list(coding(place))))
            .with("net", money(cents))
    };
    let finish = |line: Doc, cents: i64| -> Val {
        let line = match paid_percent {
            Some(percent) => line.with("adjudication", adjudication(cents, percent)),
            None => line,
        };
        line.into()
    };
    let first = line(1, encounter.code, visit_cents).with("encounter", list(encounter.reference()));
    let mut all = vec![finish(first, visit_cents)];
    if let Some(found) = about {
        let rest = encounter.cents - visit_cents;
        let second = line(2, found.code, rest).with("diagnosisSequence", list(Val::from(1_u64)));
        all.push(finish(second, rest));
    }
    all
}

fn adjudication(cents: i64, paid_percent: i64) -> Vec<Val> {
    let paid = cents * paid_percent / 100;
    [
        ("submitted", "Submitted Amount", cents),
        ("copay", "CoPay", cents - paid),
        ("benefit", "Benefit Amount", paid),
    ]
    .into_iter()
    .map(|(code, display, amount)| {
        Doc::new()
            .with("category", concept(Code(ADJUDICATION, code, display)))
            .with("amount", money(amount))
            .into()
    })
    .collect()
}

fn totals(cents: i64, paid_percent: i64) -> Vec<Val> {
    let total = |code: &'static str, display: &'static str, amount: i64| -> Val {
        Doc::new()
            .with("category", concept(Code(ADJUDICATION, code, display)))
            .with("amount", money(amount))
            .into()
    };
    vec![
        total("submitted", "Submitted Amount", cents),
        total("benefit", "Benefit Amount", cents * paid_percent / 100),
    ]
}
