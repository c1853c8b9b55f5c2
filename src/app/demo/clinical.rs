//! Problems and what is done about them: conditions, drugs, allergies, plans, procedures, vaccines.

use jiff::civil::{Date, DateTime};

use super::body::Smoking;
use super::build::{
    Code, Doc, SNOMED, Val, coding, concept, day, days_after, days_between, decimal, list, moment,
    plain_concept,
};
use super::chart::{Chart, Encounter};
use super::drugs::{Drug, INFLUENZA, MEDICATIONS, VACCINES, Vaccine};
use super::orders::{self, Prescription};
use super::patient::{category, references, status};
use super::tables::{ALLERGIES, CHRONIC_LUNG, DISEASES, Disease};

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
    /// What is taken all the time: place in the table and the last prescription.
    taken: Vec<(usize, String)>,
    /// Vaccines that were given, with the age.
    given: Vec<(&'static str, i64)>,
    last_influenza: Option<Date>,
    has_allergies_asked: bool,
}

impl Problems {
    /// Decides which chronic problems the patient will turn out to have.
    pub(super) fn new(chart: &mut Chart<'_>) -> Self {
        let age = chart.age_at(chart.end());
        let smokes = chart.body.smoking(age) != Smoking::Never;
        let fits = |disease: &&Disease| {
            disease.is_chronic
                && age >= disease.from_age
                && (smokes || disease.snomed.1 != CHRONIC_LUNG)
        };
        let mut to_come: Vec<&'static Disease> = DISEASES.iter().filter(fits).collect();
        to_come.retain(|disease| {
            let chance = (4 + age / 4) * likelihood(disease, chart.is_female) / 100;
            chart.random.chance(chance)
        });
        Self {
            to_come,
            known: Vec::new(),
            taken: Vec::new(),
            given: Vec::new(),
            last_influenza: None,
            has_allergies_asked: false,
        }
    }

    /// Whether there is something to follow up.
    pub(super) fn has_known(&self) -> bool {
        !self.known.is_empty()
    }

    /// A check-up finds one more chronic problem or goes on with a known one.
    pub(super) fn check_up(
        &mut self,
        chart: &mut Chart<'_>,
        encounter: &Encounter,
    ) -> Option<Diagnosis> {
        if !self.has_allergies_asked {
            self.has_allergies_asked = true;
            add_allergies(chart, encounter);
        }
        let age = chart.age_at(encounter.start.date());
        let next = self.to_come.iter().rposition(|disease| age >= disease.from_age);
        let Some(next) = next else { return self.follow_up(chart, encounter) };
        let disease = self.to_come.remove(next);
        let found = add_condition(chart, encounter, disease);
        chart.problems.push(disease.snomed.1);
        add_care_plan(chart, encounter, &found);
        self.known.push((found.clone(), disease));
        let is_taken = self.taken.iter().any(|(drug, _)| Some(*drug) == disease.medication);
        if !is_taken {
            self.prescribe(chart, encounter, disease, &found);
        }
        Some(found)
    }

    /// Goes on with a known problem: what is taken for it is prescribed again.
    pub(super) fn follow_up(
        &mut self,
        chart: &mut Chart<'_>,
        encounter: &Encounter,
    ) -> Option<Diagnosis> {
        if self.known.is_empty() {
            return None;
        }
        let (found, disease) = chart.random.pick(&self.known).clone();
        self.prescribe(chart, encounter, disease, &found);
        Some(found)
    }

    /// Prescribes what is taken all the time; the prescription before is done with.
    fn prescribe(
        &mut self,
        chart: &mut Chart<'_>,
        encounter: &Encounter,
        disease: &Disease,
        found: &Diagnosis,
    ) {
        let Some(drug) = disease.medication else { return };
        let before = self.taken.iter().position(|(taken, _)| *taken == drug);
        if let Some(before) = before {
            chart.set_status(&self.taken.remove(before).1, "completed");
        }
        if let Some(target) = add_prescription(chart, encounter, drug, found, true) {
            self.taken.push((drug, target));
        }
    }

    /// Nobody takes anything any more.
    pub(super) fn end(self, chart: &mut Chart<'_>) {
        for (_, prescription) in self.taken {
            chart.set_status(&prescription, "stopped");
        }
    }

    /// The vaccines that are due at the patient's age, and the influenza vaccine once a winter.
    pub(super) fn immunize(&mut self, chart: &mut Chart<'_>, encounter: &Encounter) {
        let on = encounter.start.date();
        let age = chart.age_at(on);
        for vaccine in VACCINES.iter().filter(|vaccine| vaccine.ages.contains(&age)) {
            let this = (vaccine.code.1, age);
            let before = self.given.iter().filter(|given| **given == this).count();
            if before < if age == 0 { 3 } else { 1 } {
                self.given.push(this);
                add_immunization(chart, encounter, vaccine);
            }
        }
        let is_winter = matches!(on.month(), 9..=12 | 1..=2);
        let is_due = self.last_influenza.is_none_or(|last| days_between(last, on) > 200);
        let is_old_enough = days_between(chart.born, on) > 183;
        if is_winter && is_due && is_old_enough {
            self.last_influenza = Some(on);
            if chart.random.chance(75) {
                add_immunization(chart, encounter, &INFLUENZA);
            } else {
                add_refusal(chart, encounter, &INFLUENZA);
            }
        }
    }
}

/// An acute problem.
pub(super) fn fall_ill(chart: &mut Chart<'_>, encounter: &Encounter) -> Option<Diagnosis> {
    let age = chart.age_at(encounter.start.date());
    let fits = |disease: &&Disease| {
        !disease.is_chronic && (disease.from_age..=disease.until_age).contains(&age)
    };
    let mut acute: Vec<&'static Disease> = DISEASES.iter().filter(fits).collect();
    acute.retain(|disease| chart.random.chance(likelihood(disease, chart.is_female)));
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

/// In a hundred: how many of those who could have the disease come into question.
fn likelihood(disease: &Disease, is_female: bool) -> i64 {
    if disease.is_rare_in_men && !is_female { 25 } else { 100 }
}

fn add_condition(chart: &mut Chart<'_>, encounter: &Encounter, disease: &Disease) -> Diagnosis {
    let on = encounter.start.date();
    let both = vec![coding(disease.snomed), coding(disease.icd10)];
    let kind = if disease.is_chronic { "problem-list-item" } else { "encounter-diagnosis" };
    // Chronic problems go on for a while before they are found, acute ones for days.
    let youngest = days_after(chart.born, disease.from_age * 366);
    let before = if disease.is_chronic { (30, 500) } else { (1, 5) };
    let onset = days_after(on, -chart.random.between(before.0, before.1)).max(youngest).min(on);
    let healed = days_after(on, chart.random.between(5, 25));
    let is_over = !disease.is_chronic && healed <= chart.end();
    let state = if is_over { "resolved" } else { "active" };
    let asserted = Doc::new()
        .with("url", "http://hl7.org/fhir/StructureDefinition/condition-assertedDate")
        .with("valueDateTime", day(on));
    let doc = chart
        .resource("Condition")
        .with("extension", list(asserted))
        .with("clinicalStatus", status(CONDITION_STATUS, state))
        .with("verificationStatus", status(CONDITION_VERIFIED, "confirmed"))
        .with("category", category(CONDITION_CATEGORY, kind))
        .with("code", Doc::new().with("coding", both).with("text", disease.snomed.2))
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("onsetDateTime", day(onset))
        .with_some("abatementDateTime", is_over.then(|| day(healed)))
        .with("recordedDate", moment(encounter.start))
        .with("recorder", encounter.practitioner.reference());
    let target = chart.add(doc, disease.snomed.2);
    Diagnosis { target, code: disease.snomed }
}

/// A prescription: by reference to the practice's Medication, or by code alone, half and half. None
/// for who is too young for the drug in this form. What ends is handed out at once.
fn add_prescription(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    at: usize,
    reason: &Diagnosis,
    stays: bool,
) -> Option<String> {
    let drug = &MEDICATIONS[at];
    if chart.age_at(encounter.start.date()) < drug.from_age {
        return None;
    }
    let what: (&'static str, Val) = if chart.random.chance(50) {
        ("medicationReference", chart.practice.medication(at).reference())
    } else {
        ("medicationCodeableConcept", concept(drug.code))
    };
    let supply = Doc::new()
        .with("numberOfRepeatsAllowed", if stays { 3_u64 } else { 0 })
        .with("quantity", amount(drug.supply));
    let mut doc = chart
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
    // What another clinician prescribed first is known from that one.
    if chart.random.chance(20) {
        doc.set("reportedReference", chart.practice.practitioner(chart.home + 1).reference());
    } else {
        doc.set("reportedBoolean", false);
    }
    if stays && chart.random.chance(25) {
        doc.set("extension", list(adherence(encounter)));
    }
    let doc = doc
        .with(what.0, what.1.clone())
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("authoredOn", moment(encounter.start))
        .with("requester", encounter.practitioner.reference())
        .with("reasonCode", list(concept(reason.code)))
        .with("reasonReference", references(&reason.target))
        .with("dosageInstruction", list(dosage(drug)))
        .with("dispenseRequest", supply);
    let target = chart.add(doc, drug.code.2);
    if !stays {
        let prescription = Prescription {
            target: target.clone(),
            drug: what,
            dosage: dosage(drug),
            quantity: amount(drug.supply),
            name: drug.code.2,
        };
        orders::add_dispense(chart, encounter, prescription);
    }
    Some(target)
}

/// That the drug is taken, as the patient says.
fn adherence(encounter: &Encounter) -> Doc {
    const URL: &str =
        "http://hl7.org/fhir/us/core/StructureDefinition/us-core-medication-adherence";
    let part = |url: &'static str, name: &'static str, value: Val| -> Val {
        Doc::new().with("url", url).with(name, value).into()
    };
    let words = |text: &'static str| Doc::new().with("text", text).into();
    let parts = vec![
        part("medicationAdherence", "valueCodeableConcept", words("Takes it as prescribed")),
        part("dateAsserted", "valueDateTime", moment(encounter.start).into()),
        part("informationSource", "valueCodeableConcept", words("Patient")),
    ];
    Doc::new().with("url", URL).with("extension", parts)
}

fn amount((count, unit): (i64, &'static str)) -> Doc {
    Doc::new().with("value", decimal(count, 0)).with("unit", unit)
}

fn dosage(drug: &Drug) -> Doc {
    let timing = Doc::new()
        .with("frequency", drug.a_day as u64)
        .with("period", 1_u64)
        .with("periodUnit", "d");
    Doc::new()
        .with("sequence", 1_u64)
        .with("text", drug.instruction)
        .with("timing", Doc::new().with("repeat", timing))
        .with("asNeededBoolean", drug.instruction.ends_with("as needed"))
        .with("doseAndRate", list(Doc::new().with("doseQuantity", amount(drug.dose))))
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
    let goal = add_goal(chart, encounter, about);
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
        .with("goal", references(&goal))
        .with("activity", activities);
    chart.add(doc, &format!("Plan for {}", about.code.2));
}

fn add_goal(chart: &mut Chart<'_>, encounter: &Encounter, about: &Diagnosis) -> String {
    const GOALS: [Code; 2] = [
        Code(SNOMED, "706905005", "Healthy weight"),
        Code(SNOMED, "160689007", "Able to cope with the illness"),
    ];
    let on = encounter.start.date();
    let code = GOALS[chart.random.between(0, 1) as usize];
    let achieved = "http://terminology.hl7.org/CodeSystem/goal-achievement";
    let target = Doc::new().with("dueDate", day(days_after(on, 180)));
    let doc = chart
        .resource("Goal")
        .with("lifecycleStatus", "active")
        .with("achievementStatus", plain_concept(achieved, "in-progress"))
        .with("description", concept(code))
        .with("subject", chart.subject())
        .with("startDate", day(on))
        .with("target", list(target))
        .with("expressedBy", encounter.practitioner.reference())
        .with("addresses", references(&about.target));
    chart.add(doc, code.2)
}

fn add_immunization(chart: &mut Chart<'_>, encounter: &Encounter, vaccine: &Vaccine) {
    let code = vaccine.code;
    let at: DateTime = encounter.start;
    let expires: Date = days_after(at.date(), chart.random.between(90, 500));
    let lot = format!("L{:06}", chart.random.between(0, 999_999));
    let is_infant = chart.age_at(at.date()) < 2;
    let (site, place) = if is_infant { ("LT", "left thigh") } else { ("LA", "left arm") };
    let site = Code("http://terminology.hl7.org/CodeSystem/v3-ActSite", site, place);
    let route = if vaccine.is_under_skin { "SQ" } else { "IM" };
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
            plain_concept("http://terminology.hl7.org/CodeSystem/v3-RouteOfAdministration", route),
        )
        .with("performer", list(Doc::new().with("actor", encounter.practitioner.reference())));
    chart.add(doc, code.2);
}

/// A vaccine that the patient did not want.
fn add_refusal(chart: &mut Chart<'_>, encounter: &Encounter, vaccine: &Vaccine) {
    let reason =
        Code("http://terminology.hl7.org/CodeSystem/v3-ActReason", "PATOBJ", "patient objection");
    let doc = chart
        .resource("Immunization")
        .with("status", "not-done")
        .with("statusReason", concept(reason))
        .with("vaccineCode", concept(vaccine.code))
        .with("patient", chart.subject())
        .with("encounter", encounter.reference())
        .with("occurrenceDateTime", moment(encounter.start))
        .with("primarySource", true)
        .with("location", encounter.location.reference());
    chart.add(doc, &format!("{} refused", vaccine.code.2));
}
