//! Medications and vaccines.

use super::build::{CVX, Code, RXNORM, SNOMED};

/// A medication and how it is taken.
pub(super) struct Drug {
    pub(super) code: Code,
    pub(super) instruction: &'static str,
    /// Doses a day.
    pub(super) a_day: i64,
    pub(super) form: Code,
}

const TABLET: Code = Code(SNOMED, "385055001", "Tablet");
const CAPSULE: Code = Code(SNOMED, "385049006", "Capsule");

const fn drug(
    code: &'static str,
    display: &'static str,
    instruction: &'static str,
    a_day: i64,
    form: Code,
) -> Drug {
    Drug { code: Code(RXNORM, code, display), instruction, a_day, form }
}

pub(super) const MEDICATIONS: &[Drug] = &[
    drug("314076", "lisinopril 10 MG Oral Tablet", "Take one tablet every morning", 1, TABLET),
    drug(
        "861007",
        "metformin hydrochloride 500 MG Oral Tablet",
        "Take one tablet twice a day with meals",
        2,
        TABLET,
    ),
    drug("617310", "atorvastatin 20 MG Oral Tablet", "Take one tablet every evening", 1, TABLET),
    drug(
        "745679",
        "200 ACTUAT albuterol 0.09 MG/ACTUAT Metered Dose Inhaler",
        "Inhale two puffs every six hours as needed",
        4,
        Code(SNOMED, "420641004", "Solution for inhalation"),
    ),
    drug("312941", "sertraline 50 MG Oral Tablet", "Take one tablet every morning", 1, TABLET),
    drug(
        "198051",
        "omeprazole 20 MG Delayed Release Oral Capsule",
        "Take one capsule before breakfast",
        1,
        CAPSULE,
    ),
    drug(
        "966222",
        "levothyroxine sodium 0.075 MG Oral Tablet",
        "Take one tablet on an empty stomach",
        1,
        TABLET,
    ),
    drug("1364445", "apixaban 5 MG Oral Tablet", "Take one tablet twice a day", 2, TABLET),
    drug(
        "849574",
        "naproxen sodium 220 MG Oral Tablet",
        "Take one tablet twice a day with food as needed",
        2,
        TABLET,
    ),
    drug("310325", "ferrous sulfate 325 MG Oral Tablet", "Take one tablet every day", 1, TABLET),
    drug(
        "313782",
        "acetaminophen 325 MG Oral Tablet",
        "Take two tablets every six hours as needed",
        4,
        TABLET,
    ),
    drug(
        "308191",
        "amoxicillin 500 MG Oral Capsule",
        "Take one capsule three times a day for ten days",
        3,
        CAPSULE,
    ),
    drug(
        "198335",
        "sulfamethoxazole 800 MG / trimethoprim 160 MG Oral Tablet",
        "Take one tablet twice a day for three days",
        2,
        TABLET,
    ),
];

/// A vaccine and the ages in years at which it is given.
pub(super) struct Vaccine {
    pub(super) code: Code,
    pub(super) ages: &'static [i64],
}

const fn vaccine(code: &'static str, display: &'static str, ages: &'static [i64]) -> Vaccine {
    Vaccine { code: Code(CVX, code, display), ages }
}

pub(super) const VACCINES: &[Vaccine] = &[
    vaccine("08", "Hep B, adolescent or pediatric", &[0, 1]),
    vaccine("20", "DTaP", &[0, 1, 5]),
    vaccine("10", "IPV", &[0, 1, 5]),
    vaccine("133", "Pneumococcal conjugate PCV 13", &[0, 1]),
    vaccine("03", "MMR", &[1, 5]),
    vaccine("21", "varicella", &[1, 5]),
    vaccine("115", "Tdap", &[11]),
    vaccine("114", "meningococcal MCV4P", &[11, 16]),
    vaccine("113", "Td (adult) preservative free", &[22, 32, 42, 52, 62, 72]),
    vaccine("33", "pneumococcal polysaccharide vaccine, 23 valent", &[66]),
];

/// Given at a check-up of any year.
pub(super) const INFLUENZA: Code =
    Code(CVX, "140", "Influenza, seasonal, injectable, preservative free");
