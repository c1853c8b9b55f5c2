//! Where we and the suite's own implementation differ, and who is right.

/// Cases whose expected outcome is not in the suite.
pub(super) const UNTOLD: &[&str] = &[
    "signatures-parameters-example",
    "decimal-precision-questionnaire",
    "bundle-resolve-deep",
    "sig-bundle.json",
    "param-mintime",
    "media-mime-type-tx",
    "media-mime-type-notx",
    "params-resource",
    "patient-hs-1",
    "patient-id-extensions",
];

/// The resources that a reference leads to.
const TARGETS: &str =
    "open: what the reference leads to, which breaks the profile, is not in the suite";
/// Bounds by the time of the day.
const DURATIONS: &str =
    "we are right: bounds by a duration from now are elements of later versions, R4 has none";

/// Cases with another verdict than ours: name, and who is right and why.
pub(super) const DISAGREEMENTS: &[(&str, &str)] = &[
    ("patient-circle1-bad-linked1", TARGETS),
    ("patient-circle1-bad-source1", TARGETS),
    ("patient-circle2-bad-source1", TARGETS),
    (
        "mr-m-simple-nossystem",
        "we are right: a canonical of R4 is any URI by its type, and the published Measure that this \
         is names its library so",
    ),
    (
        "mr-m-cql-library",
        "they are right: the library at hand lacks the definition AgesUpToNine that a stratifier uses; \
         we read no CQL and so cannot tell",
    ),
    ("mr-covid-m2", "open: displays of SNOMED CT, whose content is licensed and not at hand"),
    (
        "list-bad-reference",
        "both: their outcome has the reference as a warning; ours is the choice of rest 7.11",
    ),
    ("sdoh-type-slice", "open: displays of LOINC, whose content is licensed and not at hand"),
    ("uk-msg", "open: codes of SNOMED CT, whose content is licensed and not at hand"),
    (
        "contained-resource-bad-id-ignore",
        "both: they are asked to pass over what is contained, we have no such wish",
    ),
    ("xml-bad-entities-json", "both: HTML 4 entities are taken in JSON by our choice (rest 7.64)"),
    ("json-comments-1-yes", "both: they are asked to take comments, which FHIR's JSON has not"),
    (
        "res-inv-example-bad",
        "open: they have HL7's package of extensions at hand, which defines those of the example",
    ),
    (
        "ext-derived-circle",
        "we are right: a definition that builds on itself can be used by nobody; of the two cases of this \
         name, one says that its base is not found, the other has the outcome of a ValueSet",
    ),
    (
        "vs-params-q",
        "open: they have HL7's package of tools at hand, which defines the extensions of the case",
    ),
    ("toplevel-minvalueduration-fail", DURATIONS),
    ("toplevel-maxvalueduration-fail", DURATIONS),
    (
        "choice-invalid-type-qr",
        "we are right: a choice without options takes a Coding, and the answer is a text",
    ),
];
