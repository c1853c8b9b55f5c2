//! The parameters that each operation understands.

use super::Operation;

const EXPAND: &[&str] = &[
    "activeOnly",
    "check-system-version",
    "context",
    "contextDirection",
    "count",
    "date",
    "default-system-version",
    "designation",
    "displayLanguage",
    "exclude-system",
    "excludeNested",
    "excludeNotForUI",
    "excludePostCoordinated",
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
    "date",
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
    "check-system-version",
    "code",
    "codeableConcept",
    "codeSystem",
    "coding",
    "context",
    "date",
    "default-system-version",
    "display",
    "displayLanguage",
    "force-system-version",
    "inferSystem",
    "lenient-display-validation",
    "system",
    "system-version",
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
