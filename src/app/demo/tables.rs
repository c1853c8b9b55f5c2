//! The clinical facts that patients are made of: problems, procedures, allergies, visits.

use super::build::{Code, ICD10, LOINC, SNOMED};

pub(super) const ANEMIA: &str = "87522002";
pub(super) const ASTHMA: &str = "195967001";
pub(super) const CHRONIC_LUNG: &str = "13645005";
pub(super) const DIABETES: &str = "44054006";
pub(super) const HYPERLIPIDEMIA: &str = "55822004";
pub(super) const HYPERTENSION: &str = "59621000";
pub(super) const HYPOTHYROIDISM: &str = "40930008";
pub(super) const KIDNEY: &str = "433144002";

/// A disease: SNOMED CT and ICD-10-CM codes, the youngest age, whether it stays, its medication.
#[derive(Clone, Copy)]
pub(super) struct Disease {
    pub(super) snomed: Code,
    pub(super) icd10: Code,
    pub(super) from_age: i64,
    pub(super) until_age: i64,
    /// Whether most of those who have it are women.
    pub(super) is_rare_in_men: bool,
    pub(super) is_chronic: bool,
    /// Index into [`super::drugs::MEDICATIONS`].
    pub(super) medication: Option<usize>,
}

const fn disease(
    snomed: (&'static str, &'static str),
    icd10: (&'static str, &'static str),
    from_age: i64,
    is_chronic: bool,
    medication: Option<usize>,
) -> Disease {
    Disease {
        snomed: Code(SNOMED, snomed.0, snomed.1),
        icd10: Code(ICD10, icd10.0, icd10.1),
        from_age,
        until_age: 120,
        is_rare_in_men: false,
        is_chronic,
        medication,
    }
}

const fn rare_in_men(disease: Disease) -> Disease {
    Disease { is_rare_in_men: true, ..disease }
}

const fn until(age: i64, disease: Disease) -> Disease {
    Disease { until_age: age, ..disease }
}

pub(super) const DISEASES: &[Disease] = &[
    disease(
        ("59621000", "Essential hypertension"),
        ("I10", "Essential (primary) hypertension"),
        35,
        true,
        Some(0),
    ),
    disease(
        ("44054006", "Diabetes mellitus type 2"),
        ("E11.9", "Type 2 diabetes mellitus without complications"),
        38,
        true,
        Some(1),
    ),
    disease(
        ("55822004", "Hyperlipidemia"),
        ("E78.5", "Hyperlipidemia, unspecified"),
        35,
        true,
        Some(2),
    ),
    disease(
        ("195967001", "Asthma"),
        ("J45.909", "Unspecified asthma, uncomplicated"),
        4,
        true,
        Some(3),
    ),
    disease(
        ("13645005", "Chronic obstructive lung disease"),
        ("J44.9", "Chronic obstructive pulmonary disease, unspecified"),
        50,
        true,
        Some(3),
    ),
    disease(
        ("35489007", "Depressive disorder"),
        ("F32.9", "Major depressive disorder, single episode, unspecified"),
        16,
        true,
        Some(4),
    ),
    disease(
        ("21897009", "Generalized anxiety disorder"),
        ("F41.1", "Generalized anxiety disorder"),
        16,
        true,
        Some(4),
    ),
    disease(
        ("235595009", "Gastroesophageal reflux disease"),
        ("K21.9", "Gastro-esophageal reflux disease without esophagitis"),
        25,
        true,
        Some(5),
    ),
    rare_in_men(disease(
        ("40930008", "Hypothyroidism"),
        ("E03.9", "Hypothyroidism, unspecified"),
        30,
        true,
        Some(6),
    )),
    disease(
        ("49436004", "Atrial fibrillation"),
        ("I48.91", "Unspecified atrial fibrillation"),
        60,
        true,
        Some(7),
    ),
    disease(
        ("396275006", "Osteoarthritis"),
        ("M19.90", "Unspecified osteoarthritis, unspecified site"),
        48,
        true,
        Some(8),
    ),
    rare_in_men(disease(
        ("87522002", "Iron deficiency anemia"),
        ("D50.9", "Iron deficiency anemia, unspecified"),
        14,
        true,
        Some(9),
    )),
    rare_in_men(disease(
        ("37796009", "Migraine"),
        ("G43.909", "Migraine, unspecified, not intractable, without status migrainosus"),
        12,
        true,
        Some(8),
    )),
    disease(
        ("433144002", "Chronic kidney disease stage 3"),
        ("N18.30", "Chronic kidney disease, stage 3 unspecified"),
        58,
        true,
        None,
    ),
    disease(
        ("195662009", "Acute viral pharyngitis"),
        ("J02.9", "Acute pharyngitis, unspecified"),
        2,
        false,
        None,
    ),
    disease(
        ("10509002", "Acute bronchitis"),
        ("J20.9", "Acute bronchitis, unspecified"),
        2,
        false,
        Some(10),
    ),
    until(
        12,
        disease(
            ("65363002", "Otitis media"),
            ("H66.90", "Otitis media, unspecified, unspecified ear"),
            1,
            false,
            Some(11),
        ),
    ),
    rare_in_men(disease(
        ("68566005", "Urinary tract infectious disease"),
        ("N39.0", "Urinary tract infection, site not specified"),
        12,
        false,
        Some(12),
    )),
    disease(
        ("44465007", "Sprain of ankle"),
        ("S93.409A", "Sprain of unspecified ligament of unspecified ankle, initial encounter"),
        6,
        false,
        Some(10),
    ),
    disease(
        ("279039007", "Low back pain"),
        ("M54.50", "Low back pain, unspecified"),
        20,
        false,
        Some(8),
    ),
];

/// A procedure and the ages at which it is done.
pub(super) struct Done {
    pub(super) code: Code,
    pub(super) ages: (i64, i64),
    /// Whether it can be done by video.
    pub(super) is_talk: bool,
    pub(super) finding: Option<Finding>,
}

/// What a procedure shows: a number (in hundredths) with a unit, an answer, or else words.
pub(super) struct Finding {
    pub(super) code: Code,
    /// The category of the Observation.
    pub(super) kind: &'static str,
    pub(super) drawn: (i64, i64),
    pub(super) unit: Option<&'static str>,
    pub(super) answer: Option<Code>,
    pub(super) text: &'static str,
    pub(super) report: Option<Report>,
}

/// A report in words: its code, the LOINC part of the section it belongs to, the words.
pub(super) struct Report {
    pub(super) code: Code,
    pub(super) section: &'static str,
    pub(super) text: &'static str,
}

const fn done(code: &'static str, display: &'static str, ages: (i64, i64), is_talk: bool) -> Done {
    Done { code: Code(SNOMED, code, display), ages, is_talk, finding: None }
}

pub(super) const PROCEDURES: &[Done] = &[
    done("430193006", "Medication reconciliation", (18, 120), true),
    done("171207006", "Depression screening", (12, 120), true),
    Done {
        finding: Some(Finding {
            code: Code(LOINC, "8601-7", "EKG impression"),
            kind: "procedure",
            drawn: (0, 0),
            unit: None,
            answer: None,
            text: "Sinus rhythm, no change of the ST segment",
            report: Some(Report {
                code: Code(LOINC, "11524-6", "EKG study"),
                section: "LP29708-2",
                text: "Sinus rhythm. Normal axis. No change of the ST segment.",
            }),
        }),
        ..done("29303009", "Electrocardiographic procedure", (30, 120), false)
    },
    Done {
        finding: Some(Finding {
            code: Code(LOINC, "19005-8", "Radiology Imaging study [Impression] (narrative)"),
            kind: "imaging",
            drawn: (0, 0),
            unit: None,
            answer: Some(Code(SNOMED, "17621005", "Normal")),
            text: "",
            report: Some(Report {
                code: Code(LOINC, "36643-5", "XR Chest 2 Views"),
                section: "LP29684-5",
                text: "Heart of normal size. Lungs clear. No effusion.",
            }),
        }),
        ..done("399208008", "Plain X-ray of chest", (5, 120), false)
    },
    done("104435004", "Screening for occult blood in feces", (45, 80), false),
    Done {
        finding: Some(Finding {
            code: Code(LOINC, "20150-9", "FEV1"),
            kind: "procedure",
            drawn: (160, 430),
            unit: Some("L"),
            answer: None,
            text: "",
            report: None,
        }),
        ..done("23426006", "Measurement of respiratory function", (7, 120), false)
    },
    done("710824005", "Assessment of health and social care needs", (0, 120), true),
];

/// Code, category, reaction.
pub(super) const ALLERGIES: &[(Code, &str, Code)] = &[
    (Code(SNOMED, "91936005", "Allergy to penicillin"), "medication", HIVES),
    (Code(SNOMED, "91935009", "Allergy to peanut"), "food", ANAPHYLAXIS),
    (Code(SNOMED, "300913006", "Allergy to shellfish"), "food", HIVES),
    (Code(SNOMED, "418689008", "Allergy to grass pollen"), "environment", SNEEZING),
    (Code(SNOMED, "232350006", "Allergy to dust mite protein"), "environment", SNEEZING),
    (Code(SNOMED, "425525006", "Allergy to dairy product"), "food", HIVES),
];

const HIVES: Code = Code(SNOMED, "247472004", "Wheal");
const ANAPHYLAXIS: Code = Code(SNOMED, "39579001", "Anaphylaxis");
const SNEEZING: Code = Code(SNOMED, "76067001", "Sneezing");

/// What an encounter is for, why the patient comes, its class, its length in minutes and its price in cents.
pub(super) struct Visit {
    pub(super) code: Code,
    /// What the patient says, where no problem is found.
    pub(super) reason: Code,
    pub(super) class: (&'static str, &'static str),
    pub(super) minutes: (i64, i64),
    pub(super) cents: (i64, i64),
}

pub(super) const CHECK_UP: Visit = Visit {
    code: Code(SNOMED, "162673000", "General examination of patient"),
    reason: Code(SNOMED, "185349003", "Encounter for check up"),
    class: ("AMB", "ambulatory"),
    minutes: (15, 60),
    cents: (9_500, 21_000),
};

pub(super) const SYMPTOM: Visit = Visit {
    code: Code(SNOMED, "185345009", "Encounter for symptom"),
    reason: Code(SNOMED, "84229001", "Fatigue"),
    class: ("AMB", "ambulatory"),
    minutes: (15, 40),
    cents: (8_500, 16_500),
};

pub(super) const FOLLOW_UP: Visit = Visit {
    code: Code(SNOMED, "390906007", "Follow-up encounter"),
    reason: Code(SNOMED, "390906007", "Follow-up encounter"),
    class: ("AMB", "ambulatory"),
    minutes: (10, 30),
    cents: (7_500, 14_000),
};

pub(super) const VIDEO: Visit = Visit {
    code: Code(SNOMED, "448337001", "Telemedicine consultation with patient"),
    reason: Code(SNOMED, "25064002", "Headache"),
    class: ("VR", "virtual"),
    minutes: (10, 25),
    cents: (5_000, 9_500),
};

pub(super) const EMERGENCY: Visit = Visit {
    code: Code(SNOMED, "50849002", "Emergency room admission"),
    reason: Code(SNOMED, "21522001", "Abdominal pain"),
    class: ("EMER", "emergency"),
    minutes: (60, 420),
    cents: (45_000, 260_000),
};

impl Visit {
    /// Whether nobody can lay hands on the patient.
    pub(super) fn is_remote(&self) -> bool {
        self.class.0 == VIDEO.class.0
    }
}
