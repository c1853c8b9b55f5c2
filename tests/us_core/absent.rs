//! What must be supported and is not in the demo data, each with the reason.

/// Profile, with a version where only that one wants it; what is absent (an id, or a beginning with
/// `*`); why.
type Absence = (&'static str, &'static str, &'static str);

const ONE_VALUE: &str = "the element comes from the general profile of vital signs; a sign of one value \
                         has no components, US Core asks for them with blood pressure and oxygen only";

pub(super) const ABSENCES: &[Absence] = &[
    (
        "us-core-blood-pressure",
        "Observation.value[x]*",
        "a blood pressure is told by its components, the panel has no value of its own",
    ),
    ("head-occipital-frontal-circumference-percentile", "Observation.component*", ONE_VALUE),
    ("pediatric-bmi-for-age", "Observation.component*", ONE_VALUE),
    ("pediatric-weight-for-height", "Observation.component*", ONE_VALUE),
    ("us-core-bmi", "Observation.component*", ONE_VALUE),
    ("us-core-body-height", "Observation.component*", ONE_VALUE),
    ("us-core-body-temperature", "Observation.component*", ONE_VALUE),
    ("us-core-body-weight", "Observation.component*", ONE_VALUE),
    ("us-core-head-circumference", "Observation.component*", ONE_VALUE),
    ("us-core-heart-rate", "Observation.component*", ONE_VALUE),
    ("us-core-respiratory-rate", "Observation.component*", ONE_VALUE),
    (
        "us-core-average-blood-pressure|7.0.0",
        "Observation.component.dataAbsentReason",
        "a mean is made of pressures that were measured, without any there is no mean",
    ),
    (
        "us-core-smokingstatus|7.0.0",
        "Observation.value[x]:valueQuantity",
        "pack-years came with 7.0.0; 3.1.1, under the same canonical, takes coded answers only",
    ),
];

/// What other versions than the first hold against the data.
pub(super) const OBJECTIONS: &[Absence] = &[
    (
        "us-core-careteam|3.1.1",
        "may point to Organization, Patient, Practitioner, not to",
        "6.1.0 wants roles and related persons among the members to be supported, 3.1.1 forbids them",
    ),
    (
        "us-core-pulse-oximetry|3.1.1",
        "#L/min is not in the value set",
        "3.1.1 fixes the unit of the flow rate to L/min and binds it to a value set without that",
    ),
];

/// Why `profile` (with its version) lacks `id`, by its place in the list.
pub(super) fn reason(profile: &str, id: &str) -> Option<usize> {
    ABSENCES.iter().position(|(of, what, _)| {
        is_about(of, profile)
            && what.strip_suffix('*').map_or(*what == id, |start| id.starts_with(start))
    })
}

/// Whether an error of `profile` (with its version) is known, by its place in the list.
pub(super) fn objection(profile: &str, error: &str) -> Option<usize> {
    OBJECTIONS.iter().position(|(of, what, _)| is_about(of, profile) && error.contains(what))
}

fn is_about(of: &str, profile: &str) -> bool {
    of == profile || profile.split('|').next() == Some(of)
}
