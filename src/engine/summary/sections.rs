//! The sections of the summary, in their order, and what belongs to each: searches beside `patient`.
//!
//! What was entered in error, refuted or not done is in none. A Condition is a problem until its clinical status says
//! that it is over. Of observations and reports the latest of each code is shown. Functional status is left out:
//! nothing in R4 tells which Condition or ClinicalImpression is about it.
//!
//! Spec: <http://hl7.org/fhir/uv/ips/StructureDefinition/Composition-uv-ips>

use crate::fhir::json::Value;

/// A section of the Composition.
pub(super) struct Section {
    pub(super) title: &'static str,
    /// Its code of LOINC, and how LOINC calls that.
    pub(super) code: (&'static str, &'static str),
    pub(super) parts: &'static [Part],
    /// What stands in a section that must be there and has nothing.
    pub(super) absent: Option<Absent>,
}

/// One kind of what a section shows.
pub(super) struct Part {
    pub(super) of: &'static str,
    pub(super) query: &'static str,
    /// How many are looked at, and how many are shown of these.
    pub(super) count: u32,
    pub(super) most: usize,
    /// Whether only the first of each code is shown.
    pub(super) is_latest: bool,
    /// What is shown, where no parameter tells.
    pub(super) keeps: fn(&Value<'_>) -> bool,
}

/// What comes along where it is referred to.
pub(super) struct Along {
    pub(super) of: &'static str,
    pub(super) query: &'static str,
    pub(super) is_of_patient: bool,
}

/// What says that there is no information.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Absent {
    Allergies,
    Medications,
    Problems,
}

impl Absent {
    /// The code of absent-unknown-uv-ips, and how that calls it.
    pub(super) fn code(self) -> (&'static str, &'static str) {
        match self {
            Self::Allergies => ("no-allergy-info", "No information about allergies"),
            Self::Medications => ("no-medication-info", "No information about medications"),
            Self::Problems => ("no-problem-info", "No information about problems"),
        }
    }
}

const ALLERGIES: Section = Section {
    title: "Allergies and Intolerances",
    code: ("48765-2", "Allergies and adverse reactions Document"),
    parts: &[listed(
        "AllergyIntolerance",
        "clinical-status:not=inactive,resolved&verification-status:not=entered-in-error,refuted\
         &_sort=-date",
    )],
    absent: Some(Absent::Allergies),
};

const PROBLEMS: Section = Section {
    title: "Problems",
    code: ("11450-4", "Problem list - Reported"),
    parts: &[listed(
        "Condition",
        "clinical-status:not=inactive,remission,resolved\
         &verification-status:not=entered-in-error,refuted&_sort=-onset-date",
    )],
    absent: Some(Absent::Problems),
};

const MEDICATIONS: Section = Section {
    title: "Medications",
    code: ("10160-0", "History of Medication use Narrative"),
    parts: &[
        listed("MedicationStatement", "status=active,intended,on-hold,unknown&_sort=-effective"),
        Part {
            keeps: is_to_be_done,
            ..listed(
                "MedicationRequest",
                "status=active,on-hold,unknown&intent:not=proposal,option&_sort=-authoredon",
            )
        },
    ],
    absent: Some(Absent::Medications),
};

const IMMUNIZATIONS: Section = Section {
    title: "Immunizations",
    code: ("11369-6", "History of Immunization Narrative"),
    parts: &[listed("Immunization", "status=completed&_sort=-date")],
    absent: None,
};

const PROCEDURES: Section = Section {
    title: "Procedures",
    code: ("47519-4", "History of Procedures Document"),
    parts: &[listed("Procedure", "status=completed,in-progress,stopped,unknown&_sort=-date")],
    absent: None,
};

const DEVICES: Section = Section {
    title: "Medical Devices",
    code: ("46264-8", "History of medical device use"),
    parts: &[Part { keeps: is_of_use, ..listed("DeviceUseStatement", "") }],
    absent: None,
};

const RESULTS: Section = Section {
    title: "Results",
    code: ("30954-2", "Relevant diagnostic tests/laboratory data Narrative"),
    parts: &[
        latest(
            "DiagnosticReport",
            "category=http://terminology.hl7.org/CodeSystem/v2-0074|,http://loinc.org|LP29684-5,\
             http://loinc.org|LP7839-6&status=amended,appended,corrected,final&_sort=-date",
            (200, 40),
        ),
        latest(
            "Observation",
            "category=imaging,laboratory&status=amended,corrected,final&_sort=-date",
            (500, 100),
        ),
    ],
    absent: None,
};

const VITAL_SIGNS: Section = Section {
    title: "Vital Signs",
    code: ("8716-3", "Vital signs"),
    parts: &[latest(
        "Observation",
        "category=vital-signs&status=amended,corrected,final&_sort=-date",
        (200, 40),
    )],
    absent: None,
};

const PAST_ILLNESS: Section = Section {
    title: "History of Past Illness",
    code: ("11348-0", "History of Past illness Narrative"),
    parts: &[listed(
        "Condition",
        "clinical-status=inactive,remission,resolved\
         &verification-status:not=entered-in-error,refuted&_sort=-onset-date",
    )],
    absent: None,
};

const SOCIAL_HISTORY: Section = Section {
    title: "Social History",
    code: ("29762-2", "Social history Narrative"),
    parts: &[latest(
        "Observation",
        "category=social-history&status=amended,corrected,final\
         &code:not=http://loinc.org|82810-3,http://loinc.org|11778-8,http://loinc.org|11779-6,\
         http://loinc.org|11780-4&_sort=-date",
        (200, 40),
    )],
    absent: None,
};

/// The status, the expected date of delivery, and the outcomes of earlier pregnancies.
const PREGNANCY: Section = Section {
    title: "History of Pregnancy",
    code: ("10162-6", "History of pregnancies Narrative"),
    parts: &[latest(
        "Observation",
        "code=http://loinc.org|82810-3,http://loinc.org|11778-8,http://loinc.org|11779-6,\
         http://loinc.org|11780-4,http://loinc.org|11636-8,http://loinc.org|11637-6,\
         http://loinc.org|11638-4,http://loinc.org|11639-2,http://loinc.org|11640-0,\
         http://loinc.org|11612-9,http://loinc.org|11613-7,http://loinc.org|11614-5,\
         http://loinc.org|33065-4&status=amended,corrected,final&_sort=-date",
        (100, 20),
    )],
    absent: None,
};

const PLAN_OF_CARE: Section = Section {
    title: "Plan of Care",
    code: ("18776-5", "Plan of care note"),
    parts: &[listed("CarePlan", "status=active,on-hold&_sort=-date")],
    absent: None,
};

const ADVANCE_DIRECTIVES: Section = Section {
    title: "Advance Directives",
    code: ("42348-3", "Advance directives"),
    parts: &[listed("Consent", "scope=adr&status=active&_sort=-date")],
    absent: None,
};

/// All of them: those that must be there, those that should, and others.
pub(super) fn all() -> &'static [Section] {
    const ALL: &[Section] = &[
        ALLERGIES,
        PROBLEMS,
        MEDICATIONS,
        IMMUNIZATIONS,
        PROCEDURES,
        DEVICES,
        RESULTS,
        VITAL_SIGNS,
        PAST_ILLNESS,
        SOCIAL_HISTORY,
        PREGNANCY,
        PLAN_OF_CARE,
        ADVANCE_DIRECTIVES,
    ];
    ALL
}

/// What comes along: who did it, where, with what, and what a result consists of.
pub(super) const ALONG: &[Along] = &[
    shared("Device"),
    of_patient("ImagingStudy", "status:not=entered-in-error"),
    shared("Location"),
    of_patient("Media", "status:not=entered-in-error"),
    shared("Medication"),
    of_patient("Observation", "status:not=cancelled,entered-in-error"),
    shared("Organization"),
    shared("Practitioner"),
    shared("PractitionerRole"),
    of_patient("RelatedPerson", ""),
    of_patient("Specimen", ""),
    shared("Substance"),
];

const fn listed(of: &'static str, query: &'static str) -> Part {
    Part { of, query, count: 200, most: 200, is_latest: false, keeps: anything }
}

const fn latest(of: &'static str, query: &'static str, (count, most): (u32, usize)) -> Part {
    Part { of, query, count, most, is_latest: true, keeps: anything }
}

const fn shared(of: &'static str) -> Along {
    Along { of, query: "", is_of_patient: false }
}

const fn of_patient(of: &'static str, query: &'static str) -> Along {
    Along { of, query, is_of_patient: true }
}

fn anything(_: &Value<'_>) -> bool {
    true
}

/// Not what the patient is to do without.
fn is_to_be_done(request: &Value<'_>) -> bool {
    request.get("doNotPerform").and_then(Value::as_bool) != Some(true)
}

/// R4 has no parameter for the status of a DeviceUseStatement.
fn is_of_use(statement: &Value<'_>) -> bool {
    !matches!(statement.str_at("status"), Some("entered-in-error" | "intended"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::fhir::json::parse;

    use super::*;

    #[test]
    fn what_must_be_there_says_so_when_there_is_nothing() {
        let mut codes = BTreeSet::new();
        let mut required = Vec::new();
        for section in all() {
            assert!(codes.insert(section.code.0), "{} is there twice", section.title);
            assert!(!section.parts.is_empty(), "{}", section.title);
            required.extend(section.absent.map(|_| section.code.0));
        }
        assert_eq!(required, ["48765-2", "11450-4", "10160-0"]);
        for absent in [Absent::Allergies, Absent::Medications, Absent::Problems] {
            assert!(!absent.code().0.contains("known"), "{absent:?} claims what nobody said");
        }
    }

    #[test]
    fn what_is_not_done_or_not_used_is_not_shown() {
        let value = |text: &'static str| parse(text.as_bytes()).expect(text);
        for (text, is_shown) in
            [("{}", true), (r#"{"doNotPerform":false}"#, true), (r#"{"doNotPerform":true}"#, false)]
        {
            assert_eq!(is_to_be_done(&value(text)), is_shown, "{text}");
        }
        for (text, is_shown) in [
            (r#"{"status":"active"}"#, true),
            (r#"{"status":"completed"}"#, true),
            (r#"{"status":"intended"}"#, false),
            (r#"{"status":"entered-in-error"}"#, false),
        ] {
            assert_eq!(is_of_use(&value(text)), is_shown, "{text}");
        }
    }
}
