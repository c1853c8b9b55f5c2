//! Problems and what is done about them: conditions, drugs, allergies, plans, procedures, vaccines.

use jiff::civil::{Date, DateTime};

use super::build::{
    Code, Doc, SNOMED, TODAY, Val, coding, concept, day, days_after, decimal, list, minutes_after,
    moment, period, plain_concept,
};
use super::chart::{Chart, Encounter};
use super::drugs::{INFLUENZA, MEDICATIONS, VACCINES};
use super::patient::{category, references, status};
use super::tables::{ALLERGIES, DISEASES, Disease, PROCEDURES};

const CONDITION_STATUS: &str = "http://terminology.hl7.org/CodeSystem/condition-clinical";
const CONDITION_VERIFIED: &str = "http://terminology.hl7.org/CodeSystem/condition-ver-status";
const CONDITION_CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/condition-category";
const ALLERGY_STATUS: &str = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical";
const ALLERGY_VERIFIED: &str =
    "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification";

/// A problem treated in a visit, for the claim of that visit.
#[derive(Clone)]
pub(super) struct Diagnosis {
    /// `urn:uuid:..` of the Condition.
    pub(super) target: String,
    pub(super) code: Code,
}

/// What a patient suffers from over time.
pub(super) struct Problems {
    to_come: Vec<&'static Disease>,
    known: Vec<(Diagnosis, &'static Disease)>,
    has_allergies_asked: bool,
}

impl Problems {
    /// Decides which chronic problems the patient will turn out to have.
    pub(super) fn new(chart: &mut Chart<'_>) -> Self {
        let age = chart.age_at(TODAY);
        let chance = 4 + age / 4;
        let fits = |disease: &&Disease| disease.is_chronic && age >= disease.from_age;
        let mut to_come: Vec<&'static Disease> = DISEASES.iter().filter(fits).collect();
        to_come.retain(|_| chart.random.chance(chance));
        Self { to_come, known: Vec::new(), has_allergies_asked: false }
    }

    /// What one visit finds and prescribes; the problem that the visit was about.
    pub(super) fn visit(
        &mut self,
        chart: &mut Chart<'_>,
        encounter: &Encounter,
        is_check_up: bool,
    ) -> Option<Diagnosis> {
        if !self.has_allergies_asked {
            self.has_allergies_asked = true;
            add_allergies(chart, encounter);
        }
        if is_check_up {
            return self.check_up(chart, encounter);
        }
        let age = chart.age_at(encounter.start.date());
        let fits = |disease: &&Disease| !disease.is_chronic && age >= disease.from_age;
        let acute: Vec<&'static Disease> = DISEASES.iter().filter(fits).collect();
        if acute.is_empty() {
            return None;
        }
        let disease = *chart.random.pick(&acute);
        let found = add_condition(chart, encounter, disease);
        if let Some(drug) = disease.medication {
            add_prescription(chart, encounter, drug, &found, false);
        }
        Some(found)
    }

    /// A check-up finds one more chronic problem or goes on with a known one.
    fn check_up(&mut self, chart: &mut Chart<'_>, encounter: &Encounter) -> Option<Diagnosis> {
        if let Some(disease) = self.to_come.pop() {
            let found = add_condition(chart, encounter, disease);
            add_care_plan(chart, encounter, &found);
            if let Some(drug) = disease.medication {
                add_prescription(chart, encounter, drug, &found, true);
            }
            self.known.push((found.clone(), disease));
            return Some(found);
        }
        let (found, disease) = self.known.last()?;
        if let Some(drug) = disease.medication {
            add_prescription(chart, encounter, drug, found, true);
        }
        Some(found.clone())
    }
}

fn add_condition(chart: &mut Chart<'_>, encounter: &Encounter, disease: &Disease) -> Diagnosis {
    let both = vec![coding(disease.snomed), coding(disease.icd10)];
    let kind = if disease.is_chronic { "problem-list-item" } else { "encounter-diagnosis" };
    let state = if disease.is_chronic { "active" } else { "resolved" };
    let mut doc = chart
        .resource("Condition")
        .with("clinicalStatus", status(CONDITION_STATUS, state))
        .with("verificationStatus", status(CONDITION_VERIFIED, "confirmed"))
        .with("category", category(CONDITION_CATEGORY, kind))
        .with("code", Doc::new().with("coding", both).with("text", disease.snomed.2))
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("onsetDateTime", moment(encounter.start));
    if !disease.is_chronic {
        let healed = days_after(encounter.start.date(), chart.random.between(5, 25)).min(TODAY);
        doc.set("abatementDateTime", day(healed));
    }
    let doc = doc
        .with("recordedDate", moment(encounter.start))
        .with("recorder", encounter.practitioner.reference());
    let target = chart.add(doc, disease.snomed.2);
    Diagnosis { target, code: disease.snomed }
}

/// A prescription: by reference to the practice's Medication, or by code alone, half and half.
fn add_prescription(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    at: usize,
    reason: &Diagnosis,
    stays: bool,
) {
    let drug = &MEDICATIONS[at];
    let doc = chart
        .resource("MedicationRequest")
        .with("status", if stays { "active" } else { "completed" })
        .with("intent", "order")
        .with(
            "category",
            category(
                "http://terminology.hl7.org/CodeSystem/medicationrequest-category",
                "outpatient",
            ),
        );
    let doc = if chart.random.chance(50) {
        doc.with("medicationReference", chart.practice.medication(at).reference())
    } else {
        doc.with("medicationCodeableConcept", concept(drug.code))
    };
    let timing = Doc::new()
        .with("frequency", drug.a_day as u64)
        .with("period", 1_u64)
        .with("periodUnit", "d");
    let amount = Doc::new().with("value", decimal(1, 0)).with("unit", drug.form.2);
    let dosage = Doc::new()
        .with("sequence", 1_u64)
        .with("text", drug.instruction)
        .with("timing", Doc::new().with("repeat", timing))
        .with("asNeededBoolean", drug.instruction.ends_with("as needed"))
        .with("doseAndRate", list(Doc::new().with("doseQuantity", amount)));
    let supply = Doc::new()
        .with("numberOfRepeatsAllowed", if stays { 3_u64 } else { 0 })
        .with("quantity", Doc::new().with("value", decimal(drug.a_day * 30, 0)));
    let doc = doc
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("authoredOn", moment(encounter.start))
        .with("requester", encounter.practitioner.reference())
        .with("reasonReference", references(&reason.target))
        .with("dosageInstruction", list(dosage))
        .with("dispenseRequest", supply);
    chart.add(doc, drug.code.2);
}

fn add_allergies(chart: &mut Chart<'_>, encounter: &Encounter) {
    if !chart.random.chance(22) {
        return;
    }
    let (code, kind, reaction) = *chart.random.pick(ALLERGIES);
    let severity = if chart.random.chance(20) { "severe" } else { "mild" };
    let response =
        Doc::new().with("manifestation", list(concept(reaction))).with("severity", severity);
    let doc = chart
        .resource("AllergyIntolerance")
        .with("clinicalStatus", status(ALLERGY_STATUS, "active"))
        .with("verificationStatus", status(ALLERGY_VERIFIED, "confirmed"))
        .with("type", "allergy")
        .with("category", list(kind))
        .with("criticality", if severity == "severe" { "high" } else { "low" })
        .with("code", concept(code))
        .with("patient", chart.subject())
        .with("encounter", encounter.reference())
        .with("recordedDate", moment(encounter.start))
        .with("recorder", encounter.practitioner.reference())
        .with("reaction", list(response));
    chart.add(doc, code.2);
}

fn add_care_plan(chart: &mut Chart<'_>, encounter: &Encounter, about: &Diagnosis) {
    const ACTIVITIES: [Code; 4] = [
        Code(SNOMED, "229065009", "Exercise therapy"),
        Code(SNOMED, "226234005", "Healthy diet"),
        Code(SNOMED, "385763009", "Education about disease process"),
        Code(SNOMED, "698360004", "Self-management plan"),
    ];
    let first = chart.random.between(0, 3) as usize;
    let activities: Vec<Val> = (0..2)
        .map(|at| {
            let detail = Doc::new()
                .with("code", concept(ACTIVITIES[(first + at) % ACTIVITIES.len()]))
                .with("status", "in-progress")
                .with("location", encounter.location.reference());
            Doc::new().with("detail", detail).into()
        })
        .collect();
    let doc = chart
        .resource("CarePlan")
        .with("status", "active")
        .with("intent", "plan")
        .with(
            "category",
            category("http://hl7.org/fhir/us/core/CodeSystem/careplan-category", "assess-plan"),
        )
        .with("title", format!("Plan for {}", about.code.2))
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("period", Doc::new().with("start", moment(encounter.start)))
        .with("author", encounter.practitioner.reference())
        .with("addresses", references(&about.target))
        .with("activity", activities);
    chart.add(doc, &format!("Plan for {}", about.code.2));
}

/// One procedure within the visit.
pub(super) fn add_procedure(chart: &mut Chart<'_>, encounter: &Encounter) {
    let code = *chart.random.pick(PROCEDURES);
    let end = minutes_after(encounter.start, chart.random.between(10, 40)).min(encounter.end);
    let performer = Doc::new()
        .with("actor", encounter.practitioner.reference())
        .with("onBehalfOf", encounter.organization.reference());
    let doc = chart
        .resource("Procedure")
        .with("status", "completed")
        .with("code", concept(code))
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("performedPeriod", period(encounter.start, end))
        .with("performer", list(performer))
        .with("location", encounter.location.reference());
    chart.add(doc, code.2);
}

/// The vaccines that are due at the patient's age, and the yearly influenza vaccine for some.
pub(super) fn add_immunizations(chart: &mut Chart<'_>, encounter: &Encounter) {
    let age = chart.age_at(encounter.start.date());
    for vaccine in VACCINES.iter().filter(|vaccine| vaccine.ages.contains(&age)) {
        add_immunization(chart, encounter, vaccine.code);
    }
    if chart.random.chance(60) {
        add_immunization(chart, encounter, INFLUENZA);
    }
}

fn add_immunization(chart: &mut Chart<'_>, encounter: &Encounter, code: Code) {
    let at: DateTime = encounter.start;
    let expires: Date = days_after(at.date(), chart.random.between(90, 500));
    let lot = format!("L{:06}", chart.random.between(0, 999_999));
    let site = Code("http://terminology.hl7.org/CodeSystem/v3-ActSite", "LA", "left arm");
    let doc = chart
        .resource("Immunization")
        .with("status", "completed")
        .with("vaccineCode", concept(code))
        .with("patient", chart.subject())
        .with("encounter", encounter.reference())
        .with("occurrenceDateTime", moment(at))
        .with("primarySource", true)
        .with("location", encounter.location.reference())
        .with("lotNumber", lot)
        .with("expirationDate", day(expires))
        .with("site", concept(site))
        .with(
            "route",
            plain_concept("http://terminology.hl7.org/CodeSystem/v3-RouteOfAdministration", "IM"),
        )
        .with("performer", list(Doc::new().with("actor", encounter.practitioner.reference())));
    chart.add(doc, code.2);
}
