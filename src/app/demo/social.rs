//! How a patient lives: work, pregnancy, whom the patient loves, questionnaires, wishes.

use super::build::{
    Code, Doc, LOINC, SNOMED, Val, absent, coding, concept, decimal, list, moment, period,
    plain_concept, quantity, reference,
};
use super::chart::{Chart, Encounter};
use super::observations::observation;
use super::patient::{category, references};

const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
const CORE_CATEGORY: &str = "http://hl7.org/fhir/us/core/CodeSystem/us-core-category";
const NULL_FLAVOR: &str = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor";
const SOCIAL: &str = "social-history";

/// Answers to how often one feels low, with their score.
const ANSWERS: &[(Code, i64)] = &[
    (Code(LOINC, "LA6568-5", "Not at all"), 0),
    (Code(LOINC, "LA6568-5", "Not at all"), 0),
    (Code(LOINC, "LA6569-3", "Several days"), 1),
    (Code(LOINC, "LA6570-1", "More than half the days"), 2),
];
/// Occupations with their industry.
const WORK: &[(&str, &str)] = &[
    ("Accountant", "Accounting services"),
    ("Bus driver", "Urban transit"),
    ("Carpenter", "Residential building construction"),
    ("Nurse", "Hospitals"),
    ("Teacher", "Elementary and secondary schools"),
];

/// What is asked once, at the last visit of the record.
pub(super) fn add_history(chart: &mut Chart<'_>, encounter: &Encounter) {
    let age = chart.age_at(encounter.start.date());
    if age >= 18 {
        add_work(chart, encounter);
        add_orientation(chart, encounter);
        add_wishes(chart, encounter);
    }
    if chart.is_female && (15..50).contains(&age) {
        add_pregnancy(chart, encounter);
    }
    let answers = (age >= 13).then(|| add_screening(chart, encounter));
    add_living(chart, encounter, answers.as_deref());
}

fn add_work(chart: &mut Chart<'_>, encounter: &Encounter) {
    let (work, industry) = *chart.random.pick(WORK);
    let words = |text: &'static str| Doc::new().with("text", text);
    let part = Doc::new()
        .with("code", concept(Code(LOINC, "86188-0", "History of Occupation industry")))
        .with("valueCodeableConcept", words(industry));
    let code = Code(LOINC, "11341-5", "History of Occupation");
    let mut doc = observation(chart, encounter, code, SOCIAL);
    doc.remove("effectiveDateTime");
    let since = chart.first_visit.unwrap_or(encounter.start);
    let doc = doc
        .with("effectivePeriod", period(since, encounter.start))
        .with("valueCodeableConcept", words(work))
        .with("component", list(part));
    chart.add(doc, work);
}

fn add_orientation(chart: &mut Chart<'_>, encounter: &Encounter) {
    let answer = match chart.random.between(1, 100) {
        1..=6 => Code(SNOMED, "38628009", "Homosexual"),
        7..=10 => Code(SNOMED, "42035005", "Bisexual"),
        11..=18 => Code(NULL_FLAVOR, "ASKU", "asked but unknown"),
        _ => Code(SNOMED, "20430005", "Heterosexual"),
    };
    let code = Code(LOINC, "76690-7", "Sexual orientation");
    let doc =
        observation(chart, encounter, code, SOCIAL).with("valueCodeableConcept", concept(answer));
    chart.add(doc, code.2);
}

fn add_pregnancy(chart: &mut Chart<'_>, encounter: &Encounter) {
    let answer = if chart.random.chance(8) {
        Code(SNOMED, "77386006", "Pregnant")
    } else {
        Code(SNOMED, "60001007", "Not pregnant")
    };
    let code = Code(LOINC, "82810-3", "Pregnancy status");
    let doc =
        observation(chart, encounter, code, SOCIAL).with("valueCodeableConcept", concept(answer));
    chart.add(doc, answer.2);
    let code = Code(LOINC, "86645-9", "Pregnancy intention in the next year - Reported");
    let undecided = Doc::new()
        .with("coding", list(coding(Code(NULL_FLAVOR, "UNK", "unknown"))))
        .with("text", "Has not decided yet");
    let doc = observation(chart, encounter, code, SOCIAL).with("valueCodeableConcept", undecided);
    chart.add(doc, code.2);
}

/// What old patients want to be done and how; the categories are those of US Core 7.
fn add_wishes(chart: &mut Chart<'_>, encounter: &Encounter) {
    if chart.age_at(encounter.start.date()) < 65 {
        return;
    }
    let for_life = Code(SNOMED, "304252001", "For resuscitation");
    let slowly = "Wants to be spoken to slowly and clearly";
    let wishes = [
        (
            Code(LOINC, "75773-2", "Goals, preferences, and priorities for medical treatment"),
            "treatment-intervention-preference",
            for_life.2,
            concept(for_life),
        ),
        (
            Code(LOINC, "95541-9", "Care experience preference"),
            "care-experience-preference",
            slowly,
            Doc::new().with("text", slowly).into(),
        ),
    ];
    for (code, kind, words, answer) in wishes {
        let doc = observation(chart, encounter, code, kind);
        let mut doc = if chart.turn.is_multiple_of(2) {
            doc.with("valueString", words)
        } else {
            doc.with("valueCodeableConcept", answer)
        };
        doc.set("category", category(CORE_CATEGORY, kind));
        chart.add(doc, code.2);
    }
}

/// The two questions about low mood: the answers as they were given, and as observations. One in
/// three does not want to answer the second.
fn add_screening(chart: &mut Chart<'_>, encounter: &Encounter) -> String {
    let first = *chart.random.pick(ANSWERS);
    let second = chart.random.pick(ANSWERS);
    let second = (chart.turn % 3 != 1).then_some(*second);
    let response = add_response(chart, encounter, first, second);
    let questions = [
        (Code(LOINC, "44250-9", "Little interest or pleasure in doing things"), Some(first)),
        (Code(LOINC, "44255-8", "Feeling down, depressed, or hopeless"), second),
    ];
    let mut members = Vec::with_capacity(4);
    for (code, answer) in questions {
        let doc = survey(chart, encounter, code).with("derivedFrom", references(&response));
        let doc = match answer {
            Some((answer, _)) => doc.with("valueCodeableConcept", concept(answer)),
            None => doc.with("dataAbsentReason", absent("asked-declined")),
        };
        members.push(reference(chart.add(doc, code.2)));
    }
    let total = Code(LOINC, "55758-7", "Patient Health Questionnaire 2 item (PHQ-2) total score");
    let score = first.1 + second.map_or(0, |(_, score)| score);
    let doc = survey(chart, encounter, total)
        .with("valueQuantity", quantity(score, 0, "{score}"))
        .with("derivedFrom", members.clone());
    members.push(reference(chart.add(doc, total.2)));
    let comment = Code(LOINC, "48767-8", "Annotation comment [Interpretation] Narrative");
    let doc = survey(chart, encounter, comment)
        .with("valueString", "Answered without help")
        .with("derivedFrom", references(&response));
    members.push(reference(chart.add(doc, comment.2)));
    let panel = Code(LOINC, "55757-9", "Patient Health Questionnaire 2 item (PHQ-2) [Reported]");
    let doc = survey(chart, encounter, panel)
        .with("hasMember", members)
        .with("derivedFrom", references(&response));
    chart.add(doc, panel.2);
    response
}

/// An observation out of a questionnaire.
fn survey(chart: &mut Chart<'_>, encounter: &Encounter, code: Code) -> Doc {
    let mut doc = observation(chart, encounter, code, "survey");
    let mut categories = category(CATEGORY, "survey");
    categories.extend(category(CORE_CATEGORY, "cognitive-status"));
    doc.set("category", categories);
    doc
}

fn add_response(
    chart: &mut Chart<'_>,
    encounter: &Encounter,
    first: (Code, i64),
    second: Option<(Code, i64)>,
) -> String {
    const NAME: &str = "Two questions about mood";
    const URL: &str = "http://kiln.example.org/Questionnaire/mood";
    let item =
        |id: &'static str, text: &'static str| Doc::new().with("linkId", id).with("text", text);
    let answer = |name: &'static str, value: Val| Doc::new().with(name, value);
    let times = item("1.1", "On how many days?")
        .with("answer", list(answer("valueString", "On weekends, mostly".into())));
    let about_first = item("1", "Little interest or pleasure in doing things")
        .with("answer", list(answer("valueCoding", coding(first.0)).with("item", list(times))));
    let mut about_second = item("2", "Feeling down, depressed, or hopeless");
    if let Some((code, _)) = second {
        about_second.set("answer", list(answer("valueCoding", coding(code))));
    }
    let weeks = item("3", "For how many weeks?")
        .with("answer", list(answer("valueDecimal", decimal(15, 1))));
    let comment = item("4", "Anything else?")
        .with("answer", list(answer("valueString", "Answered without help".into())));
    let helper =
        item("5.1", "Who helped?").with("answer", list(answer("valueString", "Nobody".into())));
    let help = item("5", "Help with the answers").with("item", list(helper));
    let items: Vec<Val> =
        [about_first, about_second, weeks, comment, help].into_iter().map(Val::from).collect();
    let about = |url: &'static str, name: &'static str, value: &'static str| -> Val {
        Doc::new().with("url", url).with(name, value).into()
    };
    let extensions = vec![
        about("http://hl7.org/fhir/StructureDefinition/display", "valueString", NAME),
        about(
            "http://hl7.org/fhir/us/core/StructureDefinition/us-core-extension-questionnaire-uri",
            "valueUri",
            URL,
        ),
    ];
    let number = format!("Q{:08}", chart.random.between(0, 99_999_999));
    let doc = chart
        .resource("QuestionnaireResponse")
        .with(
            "identifier",
            Doc::new().with("system", "urn:kiln:demo:answers").with("value", number),
        )
        .with("questionnaire", URL)
        .with("_questionnaire", Doc::new().with("extension", extensions))
        .with("status", "completed")
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("authored", moment(encounter.start))
        .with("author", encounter.practitioner.reference())
        .with("source", chart.subject())
        .with("item", items);
    chart.add(doc, NAME)
}

/// One thing about the home, of another kind with each patient.
fn add_living(chart: &mut Chart<'_>, encounter: &Encounter, answers: Option<&str>) {
    let people = chart.random.between(1, 6);
    let code = match chart.turn % 4 {
        0 => Code(LOINC, "63512-8", "How many people are living or staying at this address"),
        1 => Code(LOINC, "71802-3", "Housing status"),
        2 => Code(LOINC, "48767-8", "Annotation comment [Interpretation] Narrative"),
        _ => Code("urn:kiln:demo:question", "smoke-detector", "Has a smoke detector at home"),
    };
    let doc = observation(chart, encounter, code, SOCIAL)
        .with_some("derivedFrom", answers.map(references));
    let doc = match chart.turn % 4 {
        0 => doc.with("valueQuantity", quantity(people, 0, "{#}")),
        1 => doc.with("valueCodeableConcept", concept(Code(LOINC, "LA30189-7", "I have housing"))),
        2 => doc.with("valueString", "Lives on the ground floor"),
        _ => doc.with("valueBoolean", true),
    };
    chart.add(doc, code.2);
}

/// What makes life hard for some, as a health concern; for half of them it has passed.
pub(super) fn add_concern(chart: &mut Chart<'_>, encounter: &Encounter) {
    if chart.age_at(encounter.start.date()) < 18 || !chart.turn.is_multiple_of(2) {
        return;
    }
    let code = Code(SNOMED, "73438004", "Unemployed");
    let is_over = chart.turn.is_multiple_of(4);
    let since = chart.first_visit.unwrap_or(encounter.start);
    let status = if is_over { "resolved" } else { "active" };
    let mut categories =
        category("http://hl7.org/fhir/us/core/CodeSystem/condition-category", "health-concern");
    categories.extend(category(CORE_CATEGORY, "sdoh"));
    let clinical = "http://terminology.hl7.org/CodeSystem/condition-clinical";
    let verified = "http://terminology.hl7.org/CodeSystem/condition-ver-status";
    let asserted = Doc::new()
        .with("url", "http://hl7.org/fhir/StructureDefinition/condition-assertedDate")
        .with("valueDateTime", moment(since));
    let doc = chart
        .resource("Condition")
        .with("extension", list(asserted))
        .with("clinicalStatus", plain_concept(clinical, status))
        .with("verificationStatus", plain_concept(verified, "confirmed"))
        .with("category", categories)
        .with("code", concept(code))
        .with("subject", chart.subject())
        .with("encounter", encounter.reference())
        .with("onsetDateTime", moment(since))
        .with_some("abatementDateTime", is_over.then(|| moment(encounter.start)))
        .with("recordedDate", moment(encounter.start))
        .with("recorder", encounter.practitioner.reference());
    chart.add(doc, code.2);
}
