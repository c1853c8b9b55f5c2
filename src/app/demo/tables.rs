//! The clinical facts that patients are made of: plausible codes, units and ranges.

use super::build::{Code, ICD10, LOINC, SNOMED};

/// A numeric observation: what, its unit, its usual range and the reference range, scaled.
pub(super) struct Test {
    pub(super) code: Code,
    pub(super) unit: &'static str,
    /// Digits after the point; all numbers here are multiplied by ten to this.
    pub(super) places: u32,
    /// Values drawn.
    pub(super) drawn: (i64, i64),
    /// The reference range that a laboratory prints.
    pub(super) normal: (i64, i64),
}

const fn test(
    code: &'static str,
    display: &'static str,
    unit: &'static str,
    places: u32,
    drawn: (i64, i64),
    normal: (i64, i64),
) -> Test {
    Test { code: Code(LOINC, code, display), unit, places, drawn, normal }
}

/// A laboratory report and its tests.
pub(super) struct Panel {
    pub(super) code: Code,
    pub(super) tests: &'static [Test],
}

pub(super) const PANELS: &[Panel] = &[
    Panel {
        code: Code(LOINC, "24321-2", "Basic metabolic 2000 panel - Serum or Plasma"),
        tests: &[
            test(
                "2345-7",
                "Glucose [Mass/volume] in Serum or Plasma",
                "mg/dL",
                0,
                (65, 160),
                (70, 99),
            ),
            test(
                "3094-0",
                "Urea nitrogen [Mass/volume] in Serum or Plasma",
                "mg/dL",
                0,
                (6, 28),
                (7, 20),
            ),
            test(
                "2160-0",
                "Creatinine [Mass/volume] in Serum or Plasma",
                "mg/dL",
                2,
                (55, 190),
                (60, 130),
            ),
            test(
                "17861-6",
                "Calcium [Mass/volume] in Serum or Plasma",
                "mg/dL",
                1,
                (84, 106),
                (85, 102),
            ),
            test(
                "2951-2",
                "Sodium [Moles/volume] in Serum or Plasma",
                "mmol/L",
                0,
                (133, 147),
                (135, 145),
            ),
            test(
                "2823-3",
                "Potassium [Moles/volume] in Serum or Plasma",
                "mmol/L",
                1,
                (33, 54),
                (35, 50),
            ),
            test(
                "2075-0",
                "Chloride [Moles/volume] in Serum or Plasma",
                "mmol/L",
                0,
                (95, 110),
                (98, 107),
            ),
            test(
                "2028-9",
                "Carbon dioxide, total [Moles/volume] in Serum or Plasma",
                "mmol/L",
                0,
                (20, 31),
                (22, 29),
            ),
        ],
    },
    Panel {
        code: Code(LOINC, "24331-1", "Lipid 1996 panel - Serum or Plasma"),
        tests: &[
            test(
                "2093-3",
                "Cholesterol [Mass/volume] in Serum or Plasma",
                "mg/dL",
                0,
                (130, 275),
                (100, 199),
            ),
            test(
                "2571-8",
                "Triglyceride [Mass/volume] in Serum or Plasma",
                "mg/dL",
                0,
                (50, 290),
                (0, 149),
            ),
            test(
                "2085-9",
                "Cholesterol in HDL [Mass/volume] in Serum or Plasma",
                "mg/dL",
                0,
                (30, 80),
                (40, 60),
            ),
            test(
                "13457-7",
                "Cholesterol in LDL [Mass/volume] in Serum or Plasma by calculation",
                "mg/dL",
                0,
                (55, 190),
                (0, 99),
            ),
        ],
    },
    Panel {
        code: Code(LOINC, "58410-2", "CBC panel - Blood by Automated count"),
        tests: &[
            test(
                "6690-2",
                "Leukocytes [#/volume] in Blood by Automated count",
                "10*3/uL",
                1,
                (35, 125),
                (45, 110),
            ),
            test(
                "789-8",
                "Erythrocytes [#/volume] in Blood by Automated count",
                "10*6/uL",
                2,
                (380, 590),
                (420, 570),
            ),
            test("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 1, (105, 180), (120, 175)),
            test(
                "4544-3",
                "Hematocrit [Volume Fraction] of Blood by Automated count",
                "%",
                1,
                (330, 520),
                (360, 500),
            ),
            test(
                "787-2",
                "MCV [Entitic volume] by Automated count",
                "fL",
                1,
                (760, 1020),
                (800, 1000),
            ),
            test(
                "777-3",
                "Platelets [#/volume] in Blood by Automated count",
                "10*3/uL",
                0,
                (135, 460),
                (150, 450),
            ),
        ],
    },
    Panel {
        code: Code(LOINC, "55399-0", "Diabetes tracking panel"),
        tests: &[
            test("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 1, (48, 96), (40, 56)),
            test(
                "2345-7",
                "Glucose [Mass/volume] in Serum or Plasma",
                "mg/dL",
                0,
                (75, 240),
                (70, 99),
            ),
        ],
    },
    Panel {
        code: Code(LOINC, "55204-2", "Thyroid function panel - Serum or Plasma"),
        tests: &[
            test(
                "3016-3",
                "Thyrotropin [Units/volume] in Serum or Plasma",
                "m[IU]/L",
                2,
                (30, 620),
                (40, 450),
            ),
            test(
                "3024-7",
                "Thyroxine (T4) free [Mass/volume] in Serum or Plasma",
                "ng/dL",
                2,
                (70, 200),
                (80, 180),
            ),
        ],
    },
];

/// Vital signs with one value, beside height, weight and blood pressure.
pub(super) const VITALS: &[Test] = &[
    test("8867-4", "Heart rate", "/min", 0, (55, 104), (60, 100)),
    test("9279-1", "Respiratory rate", "/min", 0, (11, 20), (12, 18)),
    test("8310-5", "Body temperature", "Cel", 1, (361, 379), (361, 375)),
    test("2708-6", "Oxygen saturation in Arterial blood", "%", 0, (93, 100), (95, 100)),
];

/// A disease: SNOMED CT and ICD-10-CM codes, the youngest age, whether it stays, its medication.
pub(super) struct Disease {
    pub(super) snomed: Code,
    pub(super) icd10: Code,
    pub(super) from_age: i64,
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
        is_chronic,
        medication,
    }
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
    disease(
        ("40930008", "Hypothyroidism"),
        ("E03.9", "Hypothyroidism, unspecified"),
        30,
        true,
        Some(6),
    ),
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
    disease(
        ("87522002", "Iron deficiency anemia"),
        ("D50.9", "Iron deficiency anemia, unspecified"),
        14,
        true,
        Some(9),
    ),
    disease(
        ("37796009", "Migraine"),
        ("G43.909", "Migraine, unspecified, not intractable, without status migrainosus"),
        12,
        true,
        Some(8),
    ),
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
    disease(
        ("65363002", "Otitis media"),
        ("H66.90", "Otitis media, unspecified, unspecified ear"),
        1,
        false,
        Some(11),
    ),
    disease(
        ("68566005", "Urinary tract infectious disease"),
        ("N39.0", "Urinary tract infection, site not specified"),
        12,
        false,
        Some(12),
    ),
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

pub(super) const PROCEDURES: &[Code] = &[
    Code(SNOMED, "430193006", "Medication reconciliation"),
    Code(SNOMED, "171207006", "Depression screening"),
    Code(SNOMED, "29303009", "Electrocardiographic procedure"),
    Code(SNOMED, "399208008", "Plain X-ray of chest"),
    Code(SNOMED, "73761001", "Colonoscopy"),
    Code(SNOMED, "23426006", "Measurement of respiratory function"),
    Code(SNOMED, "710824005", "Assessment of health and social care needs"),
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

/// What an encounter is for, its class, its length in minutes and its price in cents.
pub(super) struct Visit {
    pub(super) code: Code,
    pub(super) class: (&'static str, &'static str),
    pub(super) minutes: (i64, i64),
    pub(super) cents: (i64, i64),
}

pub(super) const CHECK_UP: Visit = Visit {
    code: Code(SNOMED, "162673000", "General examination of patient"),
    class: ("AMB", "ambulatory"),
    minutes: (15, 60),
    cents: (9_500, 21_000),
};

pub(super) const VISITS: &[Visit] = &[
    Visit {
        code: Code(SNOMED, "185345009", "Encounter for symptom"),
        class: ("AMB", "ambulatory"),
        minutes: (15, 40),
        cents: (8_500, 16_500),
    },
    Visit {
        code: Code(SNOMED, "390906007", "Follow-up encounter"),
        class: ("AMB", "ambulatory"),
        minutes: (10, 30),
        cents: (7_500, 14_000),
    },
    Visit {
        code: Code(SNOMED, "448337001", "Telemedicine consultation with patient"),
        class: ("VR", "virtual"),
        minutes: (10, 25),
        cents: (5_000, 9_500),
    },
    Visit {
        code: Code(SNOMED, "50849002", "Emergency room admission"),
        class: ("EMER", "emergency"),
        minutes: (60, 420),
        cents: (45_000, 260_000),
    },
];
