//! Who sees what of a world, read from its documents in the plainest way. Nothing here is of the server, and
//! nothing is told by what made the world.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::masked::GONE;
use super::world::{LABEL, Made, PATIENTS};

/// How far somebody sees.
#[derive(Clone, Copy)]
pub(super) enum Sight {
    /// What is of these patients and of nobody else; of Observations those of a category, where one is named.
    Patients(&'static [&'static str], Option<&'static str>),
    /// All that has no label.
    Unlabelled,
    /// All but what is of a patient or about one.
    AllBut(&'static str),
    /// All but Observations of a patient, and what has one in it and is about the patient.
    AllButObservations(&'static str),
}

/// The documents of a world by their paths.
pub(super) struct Oracle(BTreeMap<String, Value>);

impl Oracle {
    pub(super) fn new(all: &[Made]) -> Self {
        let read = |made: &Made| {
            let value = serde_json::from_str(&format!("{{{}}}", made.content));
            (made.path.clone(), value.expect("a document"))
        };
        Self(all.iter().map(read).collect())
    }

    pub(super) fn sees(&self, sight: Sight, path: &str) -> bool {
        let value = self.0.get(path).unwrap_or(&Value::Null);
        match sight {
            Sight::Patients(mine, category) => self.is_of(path, mine, category),
            Sight::Unlabelled => !has_code(&value["meta"]["security"], LABEL),
            Sight::AllBut(patient) => !self.is_about(path, patient),
            Sight::AllButObservations(patient) => {
                let entries = items(&value["entry"]).iter();
                let mut types = entries.map(|entry| &entry["resource"]["resourceType"]);
                let has_some =
                    path.starts_with("Observation/") || types.any(|of| of == "Observation");
                !(has_some && self.is_about(path, patient))
            }
        }
    }

    /// What of a resource is shown to who sees it: others have no part in an Appointment.
    pub(super) fn part(sight: Sight, made: &Made) -> Made {
        let mut part = made.clone();
        let Sight::Patients(mine, _) = sight else { return part };
        for other in PATIENTS.iter().filter(|other| !mine.contains(*other)) {
            if part.path.starts_with("Appointment/") {
                let reference = format!(r#"{{"reference":"Patient/{other}"}}"#);
                part.content = part.content.replace(&reference, GONE);
            }
        }
        part
    }

    /// Whose a resource is by the elements that the compartment of patients names.
    fn patients(&self, path: &str) -> BTreeSet<&str> {
        let Some(value) = self.0.get(path) else { return BTreeSet::new() };
        let references: Vec<&Value> = match path.split('/').next().unwrap_or_default() {
            "Observation" => {
                let performers = items(&value["performer"]).iter();
                performers.chain([&value["subject"]]).collect()
            }
            "DiagnosticReport" | "Encounter" => vec![&value["subject"]],
            "Appointment" => items(&value["participant"]).iter().map(|it| &it["actor"]).collect(),
            "Group" => items(&value["member"]).iter().map(|it| &it["entity"]).collect(),
            "Device" => vec![&value["patient"]],
            _ => Vec::new(),
        };
        references.into_iter().filter_map(patient_of).collect()
    }

    fn is_of(&self, path: &str, mine: &[&str], category: Option<&str>) -> bool {
        let Some(value) = self.0.get(path) else { return false };
        let patients = self.patients(path);
        let are_mine = patients.iter().all(|patient| mine.contains(patient));
        let (of, id) = path.split_once('/').expect("a path");
        match of {
            "Practitioner" => true,
            "Group" | "Task" => false,
            "Patient" => mine.contains(&id),
            "Bundle" => {
                let subject = patient_of(&value["entry"][0]["resource"]["subject"]);
                value["type"] == "document" && subject.is_some_and(|it| mine.contains(&it))
            }
            "Device" => are_mine,
            "Provenance" => {
                let targets = items(&value["target"]).iter();
                let mut targets = targets.filter_map(|it| it["reference"].as_str());
                targets.all(|target| self.is_of(target, mine, category))
            }
            "Appointment" => patients.iter().any(|patient| mine.contains(patient)),
            _ => {
                let is_meant = category
                    .is_none_or(|code| of != "Observation" || has_code(&value["category"], code));
                !patients.is_empty() && are_mine && is_meant
            }
        }
    }

    /// Whether it is of a patient, or, where that is told by what it names, names something of the patient.
    fn is_about(&self, path: &str, patient: &str) -> bool {
        let Some(value) = self.0.get(path) else { return false };
        let itself = format!("Patient/{patient}");
        let mut named = Vec::new();
        references(value, &mut named);
        match path.split('/').next().unwrap_or_default() {
            // Who is linked with a patient is in the patient's compartment.
            "Patient" => path == itself || named.contains(&&*itself),
            "Bundle" | "Provenance" | "Task" => {
                let entries = items(&value["entry"]).iter().map(|entry| &entry["resource"]);
                let mut parts = entries.filter(|it| it["resourceType"] == "Patient");
                let is_part = parts.any(|it| it["id"] == patient);
                is_part
                    || named
                        .iter()
                        .any(|name| *name == itself || self.patients(name).contains(patient))
            }
            _ => self.patients(path).contains(patient),
        }
    }
}

/// What is in a list; nothing where there is none.
fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[][..], Vec::as_slice)
}

/// The id of the patient that a reference names.
fn patient_of(reference: &Value) -> Option<&str> {
    reference["reference"].as_str()?.strip_prefix("Patient/")
}

/// Whether a coding somewhere within has a code.
fn has_code(value: &Value, code: &str) -> bool {
    match value {
        Value::Array(all) => all.iter().any(|it| has_code(it, code)),
        Value::Object(all) => {
            let is_own = all.get("code").is_some_and(|it| it == code);
            is_own || all.values().any(|it| has_code(it, code))
        }
        _ => false,
    }
}

/// All that is referred to within.
fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Array(all) => all.iter().for_each(|it| references(it, found)),
        Value::Object(all) => {
            found.extend(all.get("reference").and_then(Value::as_str));
            all.values().for_each(|it| references(it, found));
        }
        _ => {}
    }
}

/// What the oracle says of a world that is written out.
#[test]
fn the_oracle_reads_what_documents_say() {
    let made =
        |path: &str, content: &str| Made { path: path.to_owned(), content: content.to_owned() };
    let category = r#""category":[{"coding":[{"code":"laboratory"}]}]"#;
    let all = [
        made("Patient/p0", r#""link":[{"other":{"reference":"Patient/p1"}}]"#),
        made("Observation/own", &format!(r#"{category},"subject":{{"reference":"Patient/p0"}}"#)),
        made(
            "Observation/both",
            r#""subject":{"reference":"Patient/p0"},"performer":[{"reference":"Patient/p1"}]"#,
        ),
        made(
            "Observation/focus",
            r#""subject":{"reference":"Patient/p1"},"focus":[{"reference":"Patient/p0"}]"#,
        ),
        made("Provenance/n", r#""target":[{"reference":"Observation/both"}]"#),
        made("Task/t", r#""focus":{"reference":"Observation/focus"}"#),
        made(
            "Device/d",
            &format!(r#""meta":{{"security":[{{"code":"{LABEL}"}}]}},"status":"active""#),
        ),
    ];
    let oracle = Oracle::new(&all);
    let shown = |sight: Sight| {
        let paths = all.iter().map(|made| made.path.as_str());
        paths.filter(|path| oracle.sees(sight, path)).collect::<Vec<_>>().join(" ")
    };
    let own = "Patient/p0 Observation/own Device/d";
    assert_eq!(shown(Sight::Patients(&["p0"], None)), own);
    let both =
        "Patient/p0 Observation/own Observation/both Observation/focus Provenance/n Device/d";
    assert_eq!(shown(Sight::Patients(&["p0", "p1"], None)), both);
    assert_eq!(shown(Sight::Patients(&["p0", "p1"], Some("laboratory"))), own);
    assert_eq!(shown(Sight::AllBut("p1")), "Observation/own Device/d");
    let rest = "Patient/p0 Observation/own Provenance/n Task/t Device/d";
    assert_eq!(shown(Sight::AllButObservations("p1")), rest);
    assert!(!shown(Sight::Unlabelled).contains("Device/d"));
}
