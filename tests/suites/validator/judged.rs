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

/// Cases with another verdict than ours: name, and who is right and why.
pub(super) const DISAGREEMENTS: &[(&str, &str)] = &[];
