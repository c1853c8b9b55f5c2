//! What a person is asked to agree to: scopes in plain words, each a box, some with boxes below.
//!
//! Boxes below a scope narrow it by category: a person may give an app laboratory results and keep the
//! social history. What comes back is held against what was offered, so that a form cannot widen it.
//!
//! Spec: security L11, L15, section 0.2 (granular scope selection).

use crate::access::scope::{
    self, Actions, Context, Prefix, ResourceScope, ScopeSet, SmartScope, Special,
};
use crate::fhir::ResourceType;
use crate::spec::search_parameter::{SearchParameters, SearchType};

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
pub fn choices(asked: &ScopeSet, known: &SearchParameters) -> Vec<Choice> {
    asked.iter().map(|scope| choice(scope, known)).collect()
}

fn choice(scope: &SmartScope, known: &SearchParameters) -> Choice {
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
            words: words(resource, known),
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

fn words(scope: &ResourceScope, known: &SearchParameters) -> String {
    let whose = match scope.context {
        Context::Patient => "of this patient",
        Context::System => "of everybody",
        Context::User => "that you may use",
    };
    let what = match scope.resource_type {
        None => "all data",
        Some(of) => plain(of),
    };
    let criterion = |(name, value): (&str, &str)| {
        let parameter = match scope.resource_type {
            Some(of) => known.find(of, name),
            None => known.find_common(name),
        };
        let kind = parameter.map_or(SearchType::Token, |parameter| parameter.search_type);
        let values: Vec<String> = value.split(',').map(|value| compared(kind, value)).collect();
        format!("{name} {}", values.join(" or "))
    };
    let criteria: Vec<String> = scope.criteria.iter().map(criterion).collect();
    let only = match criteria.as_slice() {
        [] => String::new(),
        some => format!(", only where {}", some.join(" and ")),
    };
    format!("{} {what} {whose}{only}", verbs(scope.actions))
}

/// How something compares with a value: `is laboratory`, `is more than 5 mg`.
fn compared(kind: SearchType, value: &str) -> String {
    let is_date = kind == SearchType::Date;
    let (prefix, rest) = scope::prefixed(kind, value);
    let relation = match prefix {
        Prefix::Ap => "is about",
        Prefix::Eq => "is",
        Prefix::Ne => "is not",
        Prefix::Ge if is_date => "is in or after",
        Prefix::Ge => "is at least",
        Prefix::Gt | Prefix::Sa if is_date => "is after",
        Prefix::Gt | Prefix::Sa => "is more than",
        Prefix::Le if is_date => "is in or before",
        Prefix::Le => "is at most",
        Prefix::Eb | Prefix::Lt if is_date => "is before",
        Prefix::Eb | Prefix::Lt => "is less than",
    };
    match (kind, rest.split_once('|')) {
        (SearchType::Quantity, Some((number, unit))) => {
            let unit = unit.rsplit('|').next().unwrap_or_default();
            format!("{relation} {number} {unit}").trim_end().to_owned()
        }
        _ => format!("{relation} {}", rest.rsplit('|').next().unwrap_or(rest)),
    }
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

/// The parts of a scope that has categories and does not name one. What else it asks for holds for each.
fn parts(scope: &ResourceScope) -> Vec<(String, String)> {
    let has_category = scope.criteria.iter().any(|(name, _)| name == "category");
    let known: &[(&str, &str, &str)] = match scope.resource_type.map(ResourceType::as_str) {
        Some("Condition") if !has_category => &CONDITIONS,
        Some("Observation") if !has_category => &OBSERVATIONS,
        _ => return Vec::new(),
    };
    let of = scope.resource_type.map_or("", ResourceType::as_str);
    let (context, actions) = (scope.context.as_str(), scope.actions);
    let criteria = scope.criteria.text();
    let and = if criteria.is_empty() { "" } else { "&" };
    let part = |(system, code, words): &(&str, &str, &str)| {
        let scope = format!("{context}/{of}.{actions}?{criteria}{and}category={system}|{code}");
        (scope, format!("only {words}"))
    };
    known.iter().map(part).collect()
}

/// What was granted: of what was offered, what is among the boxes that came back ticked. A scope
/// whose parts are ticked is granted in these parts, even where its own box is ticked too.
pub fn granted(asked: &ScopeSet, ticked: &[&str], known: &SearchParameters) -> ScopeSet {
    let mut granted = ScopeSet::default();
    for (scope, choice) in asked.iter().zip(choices(asked, known)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    #[test]
    fn criteria_are_told_in_words_and_hold_for_each_part() {
        let spec = Spec::r4().expect("definitions");
        let known = &spec.search_parameters;
        for (asked, words) in [
            ("patient/Observation.rs?category=http://x|laboratory", "category is laboratory"),
            ("patient/Observation.rs?code=http://x|a,http://x|b", "code is a or is b"),
            (
                "patient/Observation.rs?date=ge2024&date=lt2025-02",
                "date is in or after 2024 and date is before 2025-02",
            ),
            (
                "patient/Observation.rs?value-quantity=gt5.4|http://unitsofmeasure.org|mg",
                "value-quantity is more than 5.4 mg",
            ),
            ("patient/Observation.rs?value-quantity=le5", "value-quantity is at most 5"),
            ("patient/RiskAssessment.rs?probability=ap0.8", "probability is about 0.8"),
            // Of a code, nothing is a prefix.
            ("patient/Observation.rs?code=lt5", "code is lt5"),
        ] {
            let choices = choices(&ScopeSet::parse(asked, known), known);
            let [choice] = &choices[..] else { panic!("{asked}: {choices:?}") };
            assert!(choice.words.ends_with(&format!(", only where {words}")), "{choice:?}");
        }
        let asked = ScopeSet::parse("patient/Observation.rs?date=ge2024", known);
        let labs = "patient/Observation.rs?date=ge2024&category=http://terminology.hl7.org/CodeSystem/observation-category|laboratory";
        let given = granted(&asked, &[labs], known);
        assert_eq!(given.to_string(), labs);
        assert!(given.is_within(&asked), "{given}");
        // Nobody gets more than was asked for.
        let all = labs.replace("date=ge2024&", "");
        assert!(granted(&asked, &[all.as_str()], known).is_empty());
    }
}
