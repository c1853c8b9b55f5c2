//! Purposes of use: what somebody uses data for, as consents and the record name it.
//!
//! Who has which one is for the operator to say: of people their roles do, of services how they are
//! registered, of outside servers the configuration. Nobody says it of a request, and those of an
//! emergency ([`EMERGENCIES`](super::EMERGENCIES)) are of who breaks the glass, which no role does.
//!
//! Spec: <https://terminology.hl7.org/ValueSet-v3-PurposeOfUse.html>, security S9

/// The codes of v3-PurposeOfUse, sorted, without those of an emergency and the heading of them all.
const PURPOSES: &[&str] = &[
    "BIORCH",
    "CAREMGT",
    "CLINTRCH",
    "CLINTRCHNPC",
    "CLINTRCHPC",
    "CLINTRL",
    "CLMATTCH",
    "COC",
    "COVAUTH",
    "COVERAGE",
    "DISASTER",
    "DONAT",
    "DSRCH",
    "ELIGDTRM",
    "ELIGVER",
    "ENROLLM",
    "ERTREAT",
    "FAMRQT",
    "FRAUD",
    "GOV",
    "HACCRED",
    "HCOMPL",
    "HDECD",
    "HDIRECT",
    "HDM",
    "HLEGAL",
    "HMARKT",
    "HOPERAT",
    "HOUTCOMS",
    "HPAYMT",
    "HPRGRP",
    "HQUALIMP",
    "HRESCH",
    "HSYSADMIN",
    "HTEST",
    "LABELING",
    "MEMADMIN",
    "METAMGT",
    "MILCDM",
    "MILDCRG",
    "PATADMIN",
    "PATRQT",
    "PATSFTY",
    "PERFMSR",
    "POARCH",
    "POPHLTH",
    "PRECLINTRCH",
    "PUBHLTH",
    "PWATRNY",
    "RECORDMGT",
    "REMITADV",
    "SUPNWK",
    "SYSDEV",
    "THREAT",
    "TRAIN",
    "TRANSRCH",
    "TREAT",
];

/// The purpose of this code that an operator can give; `None`: it is none, or that of an emergency.
pub fn find(code: &str) -> Option<&'static str> {
    PURPOSES.binary_search(&code).ok().map(|at| PURPOSES[at])
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::Value;
    use crate::spec::R4_PACK;
    use crate::spec::package::{Pack, Section};

    use super::super::EMERGENCIES;
    use super::*;

    /// The codes below the one that is looked for.
    fn below(concepts: &[Value<'_>], is_within: bool, found: &mut Vec<String>) {
        for concept in concepts {
            let code = concept.str_at("code").expect("a code");
            if is_within {
                found.push(code.to_owned());
            }
            below(concept.items_at("concept"), is_within || code == "PurposeOfUse", found);
        }
    }

    #[test]
    fn purposes_are_those_of_the_value_set_but_for_emergencies() {
        let pack = Pack::open(R4_PACK).expect("the embedded pack");
        let systems = pack.records(Section::CodeSystems).expect("its code systems");
        let mut found = Vec::new();
        for system in systems.iter() {
            let system = system.expect("a code system");
            let url = system.str_at("url").unwrap_or_default();
            if url == "http://terminology.hl7.org/CodeSystem/v3-ActReason" {
                below(system.items_at("concept"), false, &mut found);
            }
        }
        found.retain(|code| !EMERGENCIES.contains(&&**code));
        found.sort_unstable();
        assert_eq!(found, PURPOSES);
        for (code, expected) in [
            ("TREAT", Some("TREAT")),
            ("treat", None),
            ("BTG", None),
            ("ETREAT", None),
            ("PurposeOfUse", None),
            ("PATOBJ", None),
            ("", None),
        ] {
            assert_eq!(find(code), expected, "{code}");
        }
    }
}
