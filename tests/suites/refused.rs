//! Published examples that break a rule, which rule, and why that is no fault of ours: file, part of
//! our message, reason.

type Listed = &'static [(&'static str, &'static str, &'static str)];

const NO_BASE: &str = "a logical model that is not abstract and names no baseDefinition";
const NO_PROFILE: &str = "it claims a profile that no definition of R4 makes";
const SDC: &str = "it claims a profile of Structured Data Capture, which is not among the packages";
const OTHER_ID: &str = "the fullUrl names another id than the resource has";

/// Of R4 itself.
pub(super) const R4: Listed = &[
    (
        "codesystem-dicom-dcim.json",
        "valueset-concept-comments",
        "the extension is defined for ValueSet.compose.include.concept alone",
    ),
    ("definition.json", "sdf-4", NO_BASE),
    ("diagnosticreport-example-lri.json", "a fullUrl ends in", OTHER_ID),
    (
        "diagnosticreport-hla-genetics-results-example.json",
        "no inner extension of this name",
        "an inner extension of the GL string is called by a name that its definition has not",
    ),
    ("event.json", "sdf-4", NO_BASE),
    ("fivews.json", "sdf-4", NO_BASE),
    (
        "immunizationevaluation-questionnaire.json",
        "que-2",
        "five link ids occur more than once, Added-Missing among them",
    ),
    ("message-request-link.json", "a fullUrl ends in", OTHER_ID),
    ("message-response-link.json", "a fullUrl ends in", OTHER_ID),
    ("questionnaire-profile-example-ussg-fht.json", "is not checked", SDC),
    ("request.json", "sdf-4", NO_BASE),
    ("valueset-endpoint-connection-type.json", "is not checked", NO_PROFILE),
    ("valueset-endpoint-payload-type.json", "is not checked", NO_PROFILE),
    ("valueset-provenance-history-agent-type.json", "is not checked", NO_PROFILE),
    ("valueset-provenance-history-record-activity.json", "is not checked", NO_PROFILE),
];

/// Of US Core, by version.
pub(super) const US_CORE: &[(&str, Listed)] = &[
    (
        "3.1.1",
        &[
            ("Bundle-66c8856b-ba11-4876-8aa8-467aad8c11a2.json", "a fullUrl ends in", OTHER_ID),
            ("Bundle-uscore-mo3.json", "a fullUrl is absolute", "a fullUrl is relative"),
            (
                "DiagnosticReport-cardiology-report.json",
                "base64",
                "the hash is cut off with dots, which base64 has not",
            ),
            (
                "Observation-satO2-fiO2.json",
                "ucum-vitals-common",
                "the profile fixes L/min in a component whose binding to the units of vital signs is \
                 required and lacks it",
            ),
        ],
    ),
    (
        "6.1.0",
        &[
            ("Bundle-66c8856b-ba11-4876-8aa8-467aad8c11a2.json", "a fullUrl ends in", OTHER_ID),
            ("Bundle-docref-example-2.json", "a fullUrl ends in", OTHER_ID),
            ("Questionnaire-hunger-vital-sign-example.json", "is not checked", SDC),
            ("Questionnaire-phq-9-example.json", "is not checked", SDC),
            ("Questionnaire-prapare-example.json", "is not checked", SDC),
        ],
    ),
    (
        "7.0.0",
        &[
            ("Questionnaire-AUDIT-C.json", "is not checked", SDC),
            ("Questionnaire-TAPS.json", "is not checked", SDC),
            ("Questionnaire-exercise-vital-sign.json", "is not checked", SDC),
            ("Questionnaire-hunger-vital-sign-example.json", "is not checked", SDC),
            ("Questionnaire-phq-9-example.json", "is not checked", SDC),
            ("Questionnaire-prapare-example.json", "is not checked", SDC),
        ],
    ),
];

/// Of the International Patient Summary.
pub(super) const IPS: Listed = &[];
