//! What is measured: laboratory panels and vital signs, with units and ranges.

use super::build::{Code, LOINC};
use super::tables::{DIABETES, HYPOTHYROIDISM};

/// A numeric observation: what, its unit, its usual range and the reference range, scaled.
pub(super) struct Test {
    pub(super) code: Code,
    pub(super) unit: &'static str,
    /// Digits after the point; all numbers here are multiplied by ten to this.
    pub(super) places: u32,
    /// Values drawn.
    pub(super) drawn: (i64, i64),
    /// The reference range that a laboratory prints.
    pub(super) normal: (Option<i64>, Option<i64>),
}

const fn test(
    code: &'static str,
    display: &'static str,
    unit: &'static str,
    places: u32,
    drawn: (i64, i64),
    normal: (i64, i64),
) -> Test {
    let normal = (Some(normal.0), Some(normal.1));
    Test { code: Code(LOINC, code, display), unit, places, drawn, normal }
}

/// A test without decimals that must not be above `most`.
const fn below(
    code: &'static str,
    display: &'static str,
    unit: &'static str,
    drawn: (i64, i64),
    most: i64,
) -> Test {
    let code = Code(LOINC, code, display);
    Test { code, unit, places: 0, drawn, normal: (None, Some(most)) }
}

/// A test without decimals that must not be below `least`.
const fn above(
    code: &'static str,
    display: &'static str,
    unit: &'static str,
    drawn: (i64, i64),
    least: i64,
) -> Test {
    let code = Code(LOINC, code, display);
    Test { code, unit, places: 0, drawn, normal: (Some(least), None) }
}

/// A laboratory report and its tests.
pub(super) struct Panel {
    pub(super) code: Code,
    /// The youngest age, and the SNOMED CT code of the problem, that it is ordered for.
    pub(super) from_age: i64,
    pub(super) problem: Option<&'static str>,
    pub(super) tests: &'static [Test],
}

pub(super) const PANELS: &[Panel] = &[
    Panel {
        code: Code(LOINC, "24321-2", "Basic metabolic 2000 panel - Serum or Plasma"),
        from_age: 16,
        problem: None,
        tests: &[
            test(
                "2345-7",
                "Glucose [Mass/volume] in Serum or Plasma",
                "mg/dL",
                0,
                (72, 106),
                (70, 99),
            ),
            test(
                "3094-0",
                "Urea nitrogen [Mass/volume] in Serum or Plasma",
                "mg/dL",
                0,
                (7, 22),
                (7, 20),
            ),
            test(
                "2160-0",
                "Creatinine [Mass/volume] in Serum or Plasma",
                "mg/dL",
                2,
                (70, 125),
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
                (134, 146),
                (135, 145),
            ),
            test(
                "2823-3",
                "Potassium [Moles/volume] in Serum or Plasma",
                "mmol/L",
                1,
                (34, 52),
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
        from_age: 20,
        problem: None,
        tests: &[
            below(
                "2093-3",
                "Cholesterol [Mass/volume] in Serum or Plasma",
                "mg/dL",
                (145, 215),
                199,
            ),
            below(
                "2571-8",
                "Triglyceride [Mass/volume] in Serum or Plasma",
                "mg/dL",
                (55, 190),
                149,
            ),
            above(
                "2085-9",
                "Cholesterol in HDL [Mass/volume] in Serum or Plasma",
                "mg/dL",
                (34, 75),
                40,
            ),
            below(
                "13457-7",
                "Cholesterol in LDL [Mass/volume] in Serum or Plasma by calculation",
                "mg/dL",
                (60, 130),
                99,
            ),
        ],
    },
    Panel {
        code: Code(LOINC, "58410-2", "CBC panel - Blood by Automated count"),
        from_age: 1,
        problem: None,
        tests: &[
            test(
                "6690-2",
                "Leukocytes [#/volume] in Blood by Automated count",
                "10*3/uL",
                1,
                (42, 112),
                (45, 110),
            ),
            test("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 1, (128, 174), (120, 175)),
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
                (820, 980),
                (800, 1000),
            ),
            test(
                "789-8",
                "Erythrocytes [#/volume] in Blood by Automated count",
                "10*6/uL",
                2,
                (380, 590),
                (420, 570),
            ),
            test(
                "777-3",
                "Platelets [#/volume] in Blood by Automated count",
                "10*3/uL",
                0,
                (150, 420),
                (150, 450),
            ),
        ],
    },
    Panel {
        code: Code(LOINC, "55399-0", "Diabetes tracking panel"),
        from_age: 16,
        problem: Some(DIABETES),
        tests: &[
            test("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood", "%", 1, (58, 96), (40, 56)),
            test(
                "2345-7",
                "Glucose [Mass/volume] in Serum or Plasma",
                "mg/dL",
                0,
                (95, 230),
                (70, 99),
            ),
        ],
    },
    Panel {
        code: Code(LOINC, "24348-5", "Free T4 and TSH panel - Serum or Plasma"),
        from_age: 16,
        problem: Some(HYPOTHYROIDISM),
        tests: &[
            test(
                "3016-3",
                "Thyrotropin [Units/volume] in Serum or Plasma",
                "m[IU]/L",
                2,
                (60, 440),
                (40, 450),
            ),
            test(
                "3024-7",
                "Thyroxine (T4) free [Mass/volume] in Serum or Plasma",
                "ng/dL",
                2,
                (80, 185),
                (80, 180),
            ),
        ],
    },
];

/// Vital signs that are alike at all ages.
pub(super) const VITALS: &[Test] = &[
    test("8310-5", "Body temperature", "Cel", 1, (361, 379), (361, 375)),
    test("2708-6", "Oxygen saturation in Arterial blood", "%", 0, (94, 100), (95, 100)),
];
