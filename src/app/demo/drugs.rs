//! Medications and vaccines.

use super::build::{CVX, Code, RXNORM, SNOMED};

/// A medication and how it is taken.
#[derive(Clone, Copy)]
pub(super) struct Drug {
    pub(super) code: Code,
    pub(super) instruction: &'static str,
    /// Doses a day.
    pub(super) a_day: i64,
    pub(super) form: Code,
    /// How much a dose is, in what.
    pub(super) dose: (i64, &'static str),
    /// What is handed out at a time, in what.
    pub(super) supply: (i64, &'static str),
    /// The youngest age that gets it in this form.
    pub(super) from_age: i64,
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
    let code = Code(RXNORM, code, display);
    let supply = (a_day * 30, form.2);
    Drug { code, instruction, a_day, form, dose: (1, form.2), supply, from_age: 12 }
}

/// The same with a course that ends.
const fn course(days: i64, drug: Drug) -> Drug {
    Drug { supply: (drug.dose.0 * drug.a_day * days, drug.form.2), ..drug }
}

/// The same, two at a time.
const fn double(drug: Drug) -> Drug {
    Drug { dose: (2, drug.form.2), supply: (drug.supply.0 * 2, drug.form.2), ..drug }
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
    Drug {
        dose: (2, "puff"),
        supply: (1, "inhaler"),
        from_age: 4,
        ..drug(
            "745679",
            "200 ACTUAT albuterol 0.09 MG/ACTUAT Metered Dose Inhaler",
            "Inhale two puffs every six hours as needed",
            4,
            Code(SNOMED, "420641004", "Solution for inhalation"),
        )
    },
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
    course(
        5,
        double(drug(
            "313782",
            "acetaminophen 325 MG Oral Tablet",
            "Take two tablets every six hours as needed",
            4,
            TABLET,
        )),
    ),
    course(
        10,
        drug(
            "308191",
            "amoxicillin 500 MG Oral Capsule",
            "Take one capsule three times a day for ten days",
            3,
            CAPSULE,
        ),
    ),
    course(
        3,
        drug(
            "198335",
            "sulfamethoxazole 800 MG / trimethoprim 160 MG Oral Tablet",
            "Take one tablet twice a day for three days",
            2,
            TABLET,
        ),
    ),
];

/// A vaccine and the ages in years at which it is given: once each, in the first year three times.
#[derive(Clone, Copy)]
pub(super) struct Vaccine {
    pub(super) code: Code,
    pub(super) ages: &'static [i64],
    /// Whether it goes under the skin, not into the muscle.
    pub(super) is_under_skin: bool,
}

const fn vaccine(code: &'static str, display: &'static str, ages: &'static [i64]) -> Vaccine {
    Vaccine { code: Code(CVX, code, display), ages, is_under_skin: false }
}

const fn under_skin(vaccine: Vaccine) -> Vaccine {
    Vaccine { is_under_skin: true, ..vaccine }
}

pub(super) const VACCINES: &[Vaccine] = &[
    vaccine("08", "Hep B, adolescent or pediatric", &[0]),
    vaccine("20", "DTaP", &[0, 1, 5]),
    vaccine("10", "IPV", &[0, 5]),
    vaccine("133", "Pneumococcal conjugate PCV 13", &[0, 1]),
    under_skin(vaccine("03", "MMR", &[1, 5])),
    under_skin(vaccine("21", "varicella", &[1, 5])),
    vaccine("115", "Tdap", &[11]),
    vaccine("114", "meningococcal MCV4P", &[11, 16]),
    vaccine("113", "Td (adult) preservative free", &[22, 32, 42, 52, 62, 72]),
    vaccine("33", "pneumococcal polysaccharide vaccine, 23 valent", &[66]),
];

/// Given once a winter.
pub(super) const INFLUENZA: Vaccine =
    vaccine("140", "Influenza, seasonal, injectable, preservative free", &[]);
