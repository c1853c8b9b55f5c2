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
pub(super) const DISAGREEMENTS: &[(&str, &str)] = &[
    (
        "bundle-document-versioned-references-bad",
        "they are right: the reference fits two versions in the Bundle",
    ),
    (
        "questionnaire-enableWhen-test-invalid",
        "they are right: a question depends on one inside it",
    ),
    (
        "bad-bundle-reference-type-4",
        "they are right: the reference and what it leads to are of two types",
    ),
    ("q-bp", "we are right for a server: an extension that is not known is allowed (rest 7.16)"),
    (
        "patient-extension-complex-bad2",
        "undecided: the definition that they judge by is a later one, not R4's",
    ),
    (
        "patient-circle1-bad-linked1",
        "open: they fetch what a reference leads to; we look inside the document only",
    ),
    (
        "patient-circle1-bad-source1",
        "open: they fetch what a reference leads to; we look inside the document only",
    ),
    (
        "patient-circle2-bad-source1",
        "open: they fetch what a reference leads to; we look inside the document only",
    ),
    ("ext-ctxt-good-ext", "they are right: the context is the extension around it"),
    ("dr-example-org", "we are right for a server: they refuse example.org on demand, R4 does not"),
    ("medstmt-ips", "they are right: the snapshot can be made"),
    (
        "mr-m-simple-nossystem",
        "they are right: a canonical is absolute; a canonical of R4 is any URI by its type",
    ),
    ("mr-m-cql-library", "open: CQL is not looked into"),
    ("mr-single-two-groups", "they are right: element ids are unique within a resource"),
    ("mr-covid-m2", "open: displays of SNOMED CT, whose content is licensed and not at hand"),
    (
        "q-enablewhen-me-wrong",
        "they are right: they mend the rule que-12, which R4 states with a mistake",
    ),
    (
        "pat-security-bad-string",
        "both: that strings hold no HTML is a check that they are asked for, R4 has no such rule",
    ),
    (
        "pat-security-bad-string1",
        "both: that strings hold no HTML is a check that they are asked for, R4 has no such rule",
    ),
    (
        "patient-ig-bad",
        "open: the case binds a profile by an ImplementationGuide, which the server does not take",
    ),
    (
        "list-bad-reference",
        "both: their outcome has the reference as a warning; ours is the choice of rest 7.11",
    ),
    ("observation-bad-profile", "they are right: the profile of a type is not one of another"),
    ("sdoh-type-slice", "open: displays of LOINC, whose content is licensed and not at hand"),
    ("qr-bad-ref2", "they are right: the canonical leads to a ValueSet, not to a Questionnaire"),
    ("bundle-id-3", "open: displays of CVX, whose content is not at hand"),
    (
        "pat-example-extensions",
        "we are right for a server: an extension that is not known is allowed (rest 7.16)",
    ),
    ("uk-msg", "open: displays of SNOMED CT, whose content is licensed and not at hand"),
    (
        "contained-resource-bad-id-ignore",
        "both: they are asked to ignore the id, we have no such wish",
    ),
    (
        "patient_as_operator_issue-r4",
        "they are right: `as` on several items is told apart from none",
    ),
    ("xml-bad-entities-json", "both: HTML 4 entities are taken in JSON by our choice (rest 7.64)"),
    ("json-comments-1-yes", "both: they are asked to take comments, which FHIR's JSON has not"),
    ("StructureDefinition-Slice23", "open: a StructureDefinition is not judged by its own slicing"),
    (
        "profile-patient-op1",
        "we are right for a server: an extension that is not known is allowed (rest 7.16)",
    ),
    (
        "profile-patient-op2",
        "we are right for a server: an extension that is not known is allowed (rest 7.16)",
    ),
    ("profile-patient-op3", "open: obligations are of later versions"),
    (
        "relative_reference_to_fullUrl.id_in_Composition",
        "they are right: a RESTful fullUrl needs a resource with an id",
    ),
    (
        "relative_reference_to_fullUrl.no_ids.PROBLEM",
        "they are right: without ids nothing can be found",
    ),
    ("ext-derived-circle", "we are right: their rule is one of HL7's publishing"),
    ("binary-ref-internal", "they are right: the url of an attachment refers to what is contained"),
    ("ab-list-slicing", "open: links inside narratives are not followed"),
    ("vs-params-2", "open: parameters of expansions are of R6"),
    (
        "choice-async-qr",
        "both: a display that differs is an error for them; R4 leaves it to the reader",
    ),
    (
        "choice-gender-coding-async-qr",
        "both: a display that differs is an error for them; R4 leaves it to the reader",
    ),
    (
        "xhtml-ctrl-no-lang-bad",
        "open: languages of narratives are profiled by extensions of later versions",
    ),
    (
        "xhtml-ctrl-two-lang-bad",
        "open: languages of narratives are profiled by extensions of later versions",
    ),
    (
        "xhtml-ctrl-twob-lang-good2",
        "open: languages of narratives are profiled by extensions of later versions",
    ),
    ("standards-status-x-r4", "they are right: the version range of the context counts"),
    (
        "toplevel-minvalueduration-fail",
        "open: bounds by durations from now are an extension of later versions",
    ),
    (
        "toplevel-maxvalueduration-fail",
        "open: bounds by durations from now are an extension of later versions",
    ),
    (
        "choice-invalid-type-qr",
        "we are right: a choice without options takes a Coding, and the answer is a text",
    ),
    (
        "string-with-coding-async-qr",
        "they are right: a text has to be one of the codes of the value set",
    ),
    ("url-value-qr", "they are right: a UUID ends after 36 characters"),
];
