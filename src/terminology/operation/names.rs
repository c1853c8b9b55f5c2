//! The parameters that each operation understands.

use super::Operation;

const EXPAND: &[&str] = &[
    "activeOnly",
    "check-system-version",
    "count",
    "designation",
    "displayLanguage",
    "excludeNested",
    "filter",
    "force-system-version",
    "includeDefinition",
    "includeDesignations",
    "offset",
    "property",
    "system-version",
    "tx-resource",
    "url",
    "useSupplement",
    "valueSet",
    "valueSetVersion",
];
const LOOKUP: &[&str] = &[
    "code",
    "coding",
    "displayLanguage",
    "property",
    "system",
    "tx-resource",
    "useSupplement",
    "version",
];
const SUBSUMES: &[&str] =
    &["codeA", "codeB", "codingA", "codingB", "system", "tx-resource", "version"];
const TRANSLATE: &[&str] = &[
    "code",
    "codeableConcept",
    "coding",
    "conceptMap",
    "conceptMapVersion",
    "dependency",
    "reverse",
    "source",
    "sourceCode",
    "sourceCodeableConcept",
    "sourceCoding",
    "sourceScope",
    "sourceSystem",
    "system",
    "target",
    "targetCode",
    "targetCodeableConcept",
    "targetCoding",
    "targetScope",
    "targetSystem",
    "targetsystem",
    "tx-resource",
    "url",
    "version",
];
const VALIDATE: &[&str] = &[
    "abstract",
    "code",
    "codeableConcept",
    "codeSystem",
    "coding",
    "display",
    "displayLanguage",
    "inferSystem",
    "lenient-display-validation",
    "system",
    "systemVersion",
    "tx-resource",
    "url",
    "useSupplement",
    "valueSet",
    "valueSetVersion",
    "version",
];

impl Operation {
    /// The parameters that are understood.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Expand => EXPAND,
            Self::Lookup => LOOKUP,
            Self::Subsumes => SUBSUMES,
            Self::Translate => TRANSLATE,
            Self::ValidateInSet | Self::ValidateInSystem => VALIDATE,
        }
    }
}
