//! What a person is asked to agree to: scopes in plain words, each a box, some with boxes below.
//!
//! Boxes below a scope narrow it by category: a person may give an app laboratory results and keep the
//! social history. What comes back is held against what was offered, so that a form cannot widen it.
//!
//! Spec: security L11, L15, section 0.2 (granular scope selection).

use crate::access::scope::{Actions, Context, ResourceScope, ScopeSet, SmartScope, Special};
use crate::fhir::ResourceType;
use crate::spec::search_parameter::SearchParameters;

/// Where categories are defined.
const CONDITION: &str = "http://terminology.hl7.org/CodeSystem/condition-category";
const OBSERVATION: &str = "http://terminology.hl7.org/CodeSystem/observation-category";
const US_CORE: &str = "http://hl7.org/fhir/us/core/CodeSystem/condition-category";
const US_CORE_OBSERVATION: &str = "http://hl7.org/fhir/us/core/CodeSystem/us-core-category";

/// Categories that a person can choose among, and what they are called.
const CONDITIONS: [(&str, &str, &str); 3] = [
    (CONDITION, "encounter-diagnosis", "diagnoses made at visits"),
    (CONDITION, "problem-list-item", "the problem list"),
    (US_CORE, "health-concern", "health concerns"),
];
const OBSERVATIONS: [(&str, &str, &str); 5] = [
    (OBSERVATION, "laboratory", "laboratory results"),
    (OBSERVATION, "social-history", "social history, such as smoking"),
    (OBSERVATION, "survey", "answers to questionnaires"),
    (OBSERVATION, "vital-signs", "vital signs, such as blood pressure"),
    (US_CORE_OBSERVATION, "sdoh", "living conditions"),
];

/// A box.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice {
    /// The scope that it grants.
    pub scope: String,
    /// In plain words.
    pub words: String,
    /// What to consider before agreeing.
    pub warning: Option<&'static str>,
    /// Boxes that grant parts of it instead.
    pub parts: Vec<(String, String)>,
}

/// The boxes of what is asked for.
pub fn choices(asked: &ScopeSet) -> Vec<Choice> {
    asked.iter().map(choice).collect()
}

fn choice(scope: &SmartScope) -> Choice {
    let text = scope.to_string();
    match scope {
        SmartScope::Special(special) => Choice {
            scope: text,
            words: words_of_special(*special).to_owned(),
            warning: None,
            parts: Vec::new(),
        },
        SmartScope::Resource(resource) => Choice {
            scope: text,
            words: words(resource),
            warning: resource.resource_type.is_none().then_some(
                "This is all data, now and in the future, also of kinds that do not exist yet.",
            ),
            parts: parts(resource),
        },
    }
}

fn words_of_special(special: Special) -> &'static str {
    match special {
        Special::Administer | Special::AdministerAsUser => {
            "Administer the clients, accounts and keys of this server"
        }
        Special::FhirUser | Special::Profile => "Know which record is yours as a user",
        Special::Introspect => "Ask what a token is good for",
        Special::Launch => "Know whose record was open when it was started",
        Special::LaunchEncounter => "Know which visit it is about",
        Special::LaunchPatient => "Know which patient it is about",
        Special::MakeLaunch => "Start other apps",
        Special::Messages => "Send messages of hospital systems, and see to those that came",
        Special::OfflineAccess => "Keep this access while you are away, until you end it",
        Special::OnlineAccess => "Keep this access as long as you are logged in",
        Special::OpenId => "Know who you are",
    }
}

fn words(scope: &ResourceScope) -> String {
    let whose = match scope.context {
        Context::Patient => "of this patient",
        Context::System => "of everybody",
        Context::User => "that you may use",
    };
    let what = match scope.resource_type {
        None => "all data",
        Some(of) => plain(of),
    };
    let criteria: Vec<String> = scope
        .criteria
        .iter()
        .map(|(name, value)| format!("{name} is {}", value.rsplit('|').next().unwrap_or(value)))
        .collect();
    let only = match criteria.as_slice() {
        [] => String::new(),
        some => format!(", only where {}", some.join(" and ")),
    };
    format!("{} {what} {whose}{only}", verbs(scope.actions))
}

/// `See`, `See and change`, ...
fn verbs(actions: Actions) -> String {
    let named = [
        (Actions::R, "see"),
        (Actions::S, "search"),
        (Actions::C, "add"),
        (Actions::U, "change"),
        (Actions::D, "delete"),
    ];
    let mut verbs: Vec<&str> =
        named.into_iter().filter(|(one, _)| actions.has(*one)).map(|(_, verb)| verb).collect();
    if actions.has(Actions::R.or(Actions::S)) {
        verbs.retain(|verb| *verb != "search");
    }
    let text = match verbs.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    };
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// What a type is called among people; others by their own names.
fn plain(of: ResourceType) -> &'static str {
    match of.as_str() {
        "AllergyIntolerance" => "allergies",
        "Appointment" => "appointments",
        "CarePlan" => "care plans",
        "CareTeam" => "care teams",
        "Condition" => "health problems",
        "Coverage" => "insurance coverage",
        "Device" => "devices and implants",
        "DiagnosticReport" => "reports of examinations",
        "DocumentReference" => "documents and notes",
        "Encounter" => "visits",
        "Goal" => "goals",
        "Immunization" => "vaccinations",
        "Location" => "places of care",
        "Medication" => "medicines",
        "MedicationDispense" => "dispensed medicines",
        "MedicationRequest" => "prescriptions",
        "MedicationStatement" => "medicines in use",
        "Observation" => "measurements and findings",
        "Organization" => "organizations",
        "Patient" => "name, birth date and contact data",
        "Practitioner" => "practitioners",
        "PractitionerRole" => "roles of practitioners",
        "Procedure" => "procedures",
        "Provenance" => "notes on where data came from",
        "QuestionnaireResponse" => "answers to questionnaires",
        "RelatedPerson" => "related persons",
        "ServiceRequest" => "orders",
        "Specimen" => "specimens",
        _ => of.as_str(),
    }
}

/// The parts of a scope that has categories and does not name one.
fn parts(scope: &ResourceScope) -> Vec<(String, String)> {
    let has_category = scope.criteria.iter().any(|(name, _)| name == "category");
    let known: &[(&str, &str, &str)] = match scope.resource_type.map(ResourceType::as_str) {
        Some("Condition") if !has_category => &CONDITIONS,
        Some("Observation") if !has_category => &OBSERVATIONS,
        _ => return Vec::new(),
    };
    let of = scope.resource_type.map_or("", ResourceType::as_str);
    let (context, actions) = (scope.context.as_str(), scope.actions);
    let part = |(system, code, words): &(&str, &str, &str)| {
        let scope = format!("{context}/{of}.{actions}?category={system}|{code}");
        (scope, format!("only {words}"))
    };
    known.iter().map(part).collect()
}

/// What was granted: of what was offered, what is among the boxes that came back ticked. A scope
/// whose parts are ticked is granted in these parts, even where its own box is ticked too.
pub fn granted(asked: &ScopeSet, ticked: &[&str], known: &SearchParameters) -> ScopeSet {
    let mut granted = ScopeSet::default();
    for (scope, choice) in asked.iter().zip(choices(asked)) {
        let is_ticked = |text: &str| ticked.contains(&text);
        let parts: Vec<&str> =
            choice.parts.iter().map(|(part, _)| part.as_str()).filter(|it| is_ticked(it)).collect();
        for part in &parts {
            // Our own text, so that it is read as any scope is.
            if let Some(part) = SmartScope::parse(part, known) {
                granted.add(part);
            }
        }
        if parts.is_empty() && is_ticked(&choice.scope) {
            granted.add(scope.clone());
        }
    }
    granted
}

/// What an earlier decision says of what is asked for now; none when it leaves something open.
pub fn remembered(
    asked: &ScopeSet,
    decision: &(String, String),
    known: &SearchParameters,
) -> Option<ScopeSet> {
    let (offered, granted) = decision;
    let offered = ScopeSet::parse(offered, known);
    let granted = ScopeSet::parse(granted, known);
    if granted.is_empty() || !asked.is_within(&offered) {
        return None;
    }
    Some(asked.intersect(&granted)).filter(|scopes| !scopes.is_empty())
}
