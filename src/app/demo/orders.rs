//! What is ordered and what comes of it: specimens, procedures with their orders, findings and notes,
//! and drugs that are handed out.

use super::build::{
    Code, Doc, LOINC, SNOMED, Val, absent, coding, concept, list, minutes_after, moment, period,
    plain_concept, quantity, reference,
};
use super::chart::{Chart, Encounter};
use super::clinical::Diagnosis;
use super::observations::observation;
use super::patient::{category, references};
use super::records;
use super::tables::{Done, Finding, PROCEDURES, Report};

/// What is taken and where from.
pub(super) struct Material(Code, Code);

pub(super) const BLOOD: Material = Material(
    Code(SNOMED, "119297000", "Blood specimen"),
    Code(SNOMED, "49852007", "Structure of median cubital vein"),
);
pub(super) const URINE: Material = Material(
    Code(SNOMED, "122575003", "Urine specimen"),
    Code(SNOMED, "13648007", "Urinary tract structure"),
);

/// A specimen taken at the visit.
pub(super) fn add_specimen(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    Material(kind, site): &Material,
) -> String {
    let number = chart.random.between(0, 99_999_999);
    let identifier = |system: &'static str, letter: char| -> Val {
        Doc::new().with("system", system).with("value", format!("{letter}{number:08}")).into()
    };
    let collection = Doc::new()
        .with("collectedDateTime", moment(encounter.start))
        .with("bodySite", concept(*site));
    let doc = chart
        .resource("Specimen")
        .with("identifier", list(identifier("urn:kiln:demo:specimen", 'S')))
        .with("accessionIdentifier", identifier("urn:kiln:demo:accession", 'A'))
        .with("status", "available")
        .with("type", concept(*kind))
        .with("subject", chart.subject())
        .with("receivedTime", moment(encounter.end))
        .with("collection", collection)
        .with(
            "condition",
            list(plain_concept("http://terminology.hl7.org/CodeSystem/v2-0493", "COOL")),
        );
    chart.add(doc, kind.2)
}

/// One procedure within the visit; what is done with an instrument is ordered first and has a finding.
pub(super) fn add_procedure(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    about: Option<&Diagnosis>,
) {
    let age = chart.age_at(encounter.start.date());
    let fits = |done: &&Done| {
        (done.ages.0..=done.ages.1).contains(&age) && (done.is_talk || !encounter.is_remote)
    };
    let fitting: Vec<&Done> = PROCEDURES.iter().filter(fits).collect();
    let done = *chart.random.pick(&fitting);
    let at = (!encounter.is_remote).then(|| encounter.location.reference());
    let end = minutes_after(encounter.start, chart.random.between(10, 40)).min(encounter.end);
    let order = (!done.is_talk).then(|| add_order(chart, encounter, done.code, about));
    let performer = Doc::new()
        .with("actor", encounter.practitioner.reference())
        .with("onBehalfOf", encounter.organization.reference());
    let mut doc = chart
        .resource("Procedure")
        .with_some("basedOn", order.as_deref().map(references))
        .with("status", "completed")
        .with("code", concept(done.code))
        .with("subject", chart.subject())
        .with("encounter", encounter.reference());
    if done.is_talk {
        doc.set("performedDateTime", moment(encounter.start));
    } else {
        doc.set("performedPeriod", period(encounter.start, end));
    }
    let doc = doc
        .with("performer", list(performer))
        .with_some("location", at)
        .with_some("reasonReference", about.map(|found| references(&found.target)))
        .with_some("reasonCode", about.map(|found| list(concept(found.code))));
    chart.add(doc, done.code.2);
    if let Some(finding) = &done.finding {
        let found = add_finding(chart, encounter, finding);
        if let (Some(report), Some(order)) = (&finding.report, order) {
            add_report(chart, encounter, report, &order, found);
        }
    }
}

fn add_order(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    code: Code,
    about: Option<&Diagnosis>,
) -> String {
    let kind = Code(SNOMED, "386053000", "Evaluation procedure (procedure)");
    let doc = chart
        .resource("ServiceRequest")
        .with("status", "completed")
        .with("intent", "order")
        .with("category", list(Doc::new().with("coding", list(coding(kind)))))
        .with("code", concept(code))
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("occurrencePeriod", period(encounter.start, encounter.end))
        .with("authoredOn", moment(encounter.start))
        .with("requester", encounter.practitioner.reference())
        .with_some("reasonCode", about.map(|found| list(concept(found.code))))
        .with_some("reasonReference", about.map(|found| references(&found.target)));
    chart.add(doc, &format!("Order of {}", code.2))
}

/// What a procedure showed; one in four was not legible.
fn add_finding(chart: &mut Chart<'_>, encounter: &Encounter, finding: &Finding) -> String {
    let is_legible = !chart.random.chance(25);
    let value = chart.random.around(finding.drawn.0, finding.drawn.1);
    let mut doc = observation(chart, encounter, finding.code, finding.kind);
    match (is_legible, finding.unit, finding.answer) {
        (false, ..) => doc.set("dataAbsentReason", absent("error")),
        (true, Some(unit), _) => doc.set("valueQuantity", quantity(value, 2, unit)),
        (true, None, Some(answer)) => doc.set("valueCodeableConcept", concept(answer)),
        (true, None, None) => doc.set("valueString", finding.text),
    }
    chart.add(doc, finding.code.2)
}

/// The report of a procedure: its text, which a document leads to as well, a picture, and the findings that it goes by.
fn add_report(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    report: &Report,
    order: &str,
    finding: String,
) {
    let picture = records::add_picture(chart, encounter, report.code);
    let text = records::text_apart(chart, report.text);
    records::add_document(chart, encounter, report.code, text.clone());
    let mut results = list(reference(finding));
    results.extend(chart.last_result.clone().map(reference));
    let media = Doc::new().with("comment", report.code.2).with("link", reference(picture));
    let doc = chart
        .resource("DiagnosticReport")
        .with("basedOn", references(order))
        .with("status", "final")
        .with("category", category(LOINC, report.section))
        .with("code", concept(report.code))
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("effectiveDateTime", moment(encounter.start))
        .with("issued", moment(encounter.end))
        .with(
            "performer",
            vec![encounter.practitioner.reference(), encounter.organization.reference()],
        )
        .with("result", results)
        .with("media", list(media))
        .with("presentedForm", list(text));
    chart.add(doc, report.code.2);
}

/// What a prescription says of the drug and how it is taken.
pub(super) struct Prescription {
    pub(super) target: String,
    pub(super) drug: (&'static str, Val),
    pub(super) dosage: Doc,
    pub(super) quantity: Doc,
    pub(super) name: &'static str,
}

/// The drug handed out, by the practice or by the one who prescribed it.
pub(super) fn add_dispense(chart: &mut Chart<'_>, encounter: &Encounter, what: Prescription) {
    let actor =
        if chart.random.chance(50) { &encounter.practitioner } else { &encounter.organization };
    let kind = Code("http://terminology.hl7.org/CodeSystem/v3-ActCode", "FF", "First Fill");
    let doc = chart
        .resource("MedicationDispense")
        .with("status", "completed")
        .with(what.drug.0, what.drug.1)
        .with("subject", chart.subject())
        .with("context", encounter.reference())
        .with("performer", list(Doc::new().with("actor", actor.reference())))
        .with("authorizingPrescription", references(&what.target))
        .with("type", concept(kind))
        .with("quantity", what.quantity)
        .with("whenHandedOver", moment(encounter.end))
        .with("dosageInstruction", list(what.dosage));
    chart.add(doc, what.name);
}
