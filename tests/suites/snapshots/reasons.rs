//! Why snapshots differ from those that were published.

/// What explains differences.
pub(super) struct Reason {
    /// Where they are: `structure@version#element`, in which `*` stands for anything.
    pub(super) places: &'static [&'static str],
    /// What is not the same.
    pub(super) facts: &'static [&'static str],
    /// What the published fact has in it.
    pub(super) published: &'static str,
    /// What the made fact has in it.
    pub(super) made: &'static str,
    pub(super) why: &'static str,
    /// How many differences it explains.
    pub(super) count: usize,
}

pub(super) const REASONS: &[Reason] = &[
    Reason {
        places: &["*#*.id"],
        facts: &["types"],
        published: r#"[("id", [], [])]"#,
        made: r#"[("string", [], [])]"#,
        why: "R4 says that the id of a resource is a string; later tools put the right type into what they publish",
        count: 128,
    },
    Reason {
        places: &["us-core-questionnaireresponse@6.1.0", "us-core-questionnaireresponse@7.0.0"],
        facts: &["fault"],
        published: "",
        made: "sdc-questionnaireresponse, which is not known",
        why: "it builds on a profile of Structured Data Capture, which is not in these packages",
        count: 2,
    },
    Reason {
        places: &["*@7.0.0#Observation.effective[x]"],
        facts: &["invariants"],
        published: "$this is dateTime implies",
        made: "($this as dateTime).toString()",
        why: "the invariant vs-1 of R4's vital signs was corrected after R4; the base here is R4's",
        count: 13,
    },
    Reason {
        places: &["*#Observation.component*.value[x]"],
        facts: &["binding"],
        published: "strength: Extensible",
        made: "strength: Required",
        why: "the profile loosens the required binding of R4's vital signs, which a profile cannot do",
        count: 34,
    },
    Reason {
        places: &["Condition-uv-ips@1.1.0#Condition.category"],
        facts: &["binding"],
        published: "strength: Preferred",
        made: "strength: Extensible",
        why: "the profile loosens the binding of its base, which a profile cannot do",
        count: 1,
    },
    Reason {
        places: &["*#Patient.communication.language"],
        facts: &["binding"],
        published: "max_value_set: None",
        made: "max_value_set: Some(\"http://hl7.org/fhir/ValueSet/all-languages\")",
        why: "a narrower value set does not take away the one of the base that no code may leave",
        count: 3,
    },
    Reason {
        places: &["us-core-patient@*#Patient.extension:*"],
        facts: &["binding"],
        published: "None",
        made: "Required",
        why: "the differential binds the extension, which has no code; published snapshots leave that out",
        count: 1,
    },
    Reason {
        places: &["us-core-provenance@3.1.1#Provenance.entity.agent"],
        facts: &["reference"],
        published: "Provenance.agent:ProvenanceTransmitter",
        made: "Provenance.agent\"",
        why: "the publisher mistook a slice for what the base refers to",
        count: 1,
    },
    Reason {
        places: &["us-core-patient@7.0.0#Patient.extension:race"],
        facts: &["invariants"],
        published: "us-core-23",
        made: "",
        why: "invariants of the root of a type's profile belong to that profile; whoever applies it has them",
        count: 1,
    },
    Reason {
        places: &["*-uv-ips@1.1.0#*"],
        facts: &["invariants"],
        published: "-",
        made: "",
        why: "invariants of the root of a type, or of its profile, belong to the type; whoever applies it has them",
        count: 39,
    },
    Reason {
        places: &["*-uv-ips@1.1.0#*"],
        facts: &["flags"],
        published: "false",
        made: "true",
        why: "the publisher took the flags of the type's profile in place of those of the element, which no profile can take away",
        count: 81,
    },
    Reason {
        places: &[
            "us-core-race@3.1.1#Extension.extension:*.extension.*",
            "us-core-ethnicity@3.1.1#Extension.extension:*.extension.*",
        ],
        facts: &["missing"],
        published: "",
        made: "",
        why: "the publisher went into an extension of which the differential says only that there is none",
        count: 24,
    },
    Reason {
        places: &["Observation-results-*-uv-ips@1.1.0#Observation.value[x]"],
        facts: &["slicing"],
        published: "rules: Open",
        made: "rules: Closed",
        why: "the differential closes the slicing, and the publisher forgot it",
        count: 2,
    },
    Reason {
        places: &["*@3.1.1#*[x]"],
        facts: &["slicing", "types", "details"],
        published: "",
        made: "",
        why: "a name such as valueQuantity once meant that no other type is allowed; now that is so where it has to be there",
        count: 12,
    },
    Reason {
        places: &["us-core-*@*#Observation.component:*.value[x]*"],
        facts: &["missing", "extra", "slicing", "types"],
        published: "",
        made: "",
        why: "the publisher puts what is said of valueQuantity on the narrowed choice itself, where it is in a slice; the same is allowed",
        count: 204,
    },
    Reason {
        places: &["*#*:*"],
        facts: &[
            "bounds",
            "must support",
            "types",
            "binding",
            "invariants",
            "extra",
            "details",
            "flags",
        ],
        published: "",
        made: "",
        why: "what is said of all elements of a path is said of those in a slice too; the publisher's slices begin as in the base",
        count: 390,
    },
];
