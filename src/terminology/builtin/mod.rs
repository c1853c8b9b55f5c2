//! Code systems that no package defines: those of ISO and IANA by tables, those with a grammar by it.
//!
//! Spec: <https://hl7.org/fhir/R4/terminologies-systems.html>,
//! <https://hl7.org/fhir/R4/iso3166.html>, <https://hl7.org/fhir/R4/ucum.html>

mod grammar;

use std::sync::{Arc, LazyLock};

use crate::ucum::Unit;

use super::code_system::{CodeSystem, Content};
use super::concepts::{Builder, Property, PropertyKind};
use super::definitions::Definitions;
use super::value_set::Filter;

const BCP13: &str = "urn:ietf:bcp:13";
const BCP47: &str = "urn:ietf:bcp:47";
const UCUM: &str = "http://unitsofmeasure.org";

/// Systems whose codes a grammar makes.
pub(super) const GRAMMARS: [&str; 3] = [BCP13, BCP47, UCUM];

/// Country: alpha-2, alpha-3 and numeric code, name.
const COUNTRIES: &str = include_str!("countries.txt");
/// Currency: code, numeric code, name.
const CURRENCIES: &str = include_str!("currencies.txt");
/// Names of time zones.
const ZONES: &str = include_str!("zones.txt");

static SYSTEMS: LazyLock<Definitions> = LazyLock::new(|| {
    let mut found = Definitions::default();
    for system in [countries(), currencies(), zones()] {
        found.add_system(Some(Arc::new(system)));
    }
    found
});

/// The systems whose codes are listed here.
pub(super) fn systems() -> &'static Definitions {
    &SYSTEMS
}

/// Whether a system with a grammar has the code; `None` for other systems.
pub(super) fn accepts(system: &str, code: &str) -> Option<bool> {
    match system {
        BCP13 => Some(grammar::is_media_type(code)),
        BCP47 => Some(grammar::is_language(code)),
        UCUM => Some(Unit::parse(code).is_ok()),
        _ => None,
    }
}

/// Whether a filter lets a code pass in a system with a grammar; `None` where it is not understood.
///
/// UCUM has one: `canonical` is the unit that a code can be converted to.
pub(super) fn passes(system: &str, code: &str, filter: &Filter) -> Option<bool> {
    let is_understood = system == UCUM && &*filter.property == "canonical" && &*filter.op == "=";
    if !is_understood {
        return None;
    }
    let wanted = Unit::parse(&filter.value).ok()?;
    Some(Unit::parse(code).is_ok_and(|unit| unit.is_comparable(&wanted)))
}

/// The name of a system with a grammar.
pub(super) fn name(system: &str) -> Option<&'static str> {
    match system {
        BCP13 => Some("MimeTypes"),
        BCP47 => Some("Languages"),
        UCUM => Some("UCUM"),
        _ => None,
    }
}

const ISO_3166: &str = "urn:iso:std:iso:3166";
const ISO_4217: &str = "urn:iso:std:iso:4217";
const TIME_ZONES: &str = "https://www.iana.org/time-zones";

/// Each country has three codes.
fn countries() -> CodeSystem {
    let mut concepts = Builder::new(true);
    for line in COUNTRIES.lines() {
        let mut words = line.splitn(4, ' ');
        let codes = [words.next(), words.next(), words.next()];
        let name = words.next();
        for code in codes.into_iter().flatten() {
            concepts.push(code, name);
        }
    }
    named(CodeSystem::of(ISO_3166.into(), Content::Complete, concepts.build()), "ISO3166Part1")
}

fn currencies() -> CodeSystem {
    let mut concepts = Builder::new(true);
    for line in CURRENCIES.lines() {
        let mut words = line.splitn(3, ' ');
        let (Some(code), Some(number)) = (words.next(), words.next()) else { continue };
        let at = concepts.push(code, words.next());
        let property = Property { name: "numeric", kind: PropertyKind::String, value: number };
        concepts.property(at, property);
    }
    named(CodeSystem::of(ISO_4217.into(), Content::Complete, concepts.build()), "ISO4217")
}

fn zones() -> CodeSystem {
    let mut concepts = Builder::new(true);
    for name in ZONES.lines() {
        concepts.push(name, Some(name));
    }
    named(CodeSystem::of(TIME_ZONES.into(), Content::Complete, concepts.build()), "IANATimeZones")
}

fn named(mut system: CodeSystem, name: &str) -> CodeSystem {
    system.about.name = Some(name.into());
    system
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_a_code_and_a_name_in_each_line() {
        for (url, code, display, least) in [
            (ISO_3166, "CH", "Switzerland", 740),
            (ISO_3166, "CHE", "Switzerland", 740),
            (ISO_3166, "756", "Switzerland", 740),
            (ISO_3166, "CI", "Côte d'Ivoire", 740),
            (ISO_3166, "VI", "Virgin Islands, U.S.", 740),
            (ISO_4217, "CHF", "Swiss Franc", 170),
            (TIME_ZONES, "Europe/Zurich", "Europe/Zurich", 550),
        ] {
            let system = systems().system(url).expect(url);
            assert!(system.concepts.len() >= least, "{url}: {}", system.concepts.len());
            let at = system.concepts.find(code).expect(code);
            assert_eq!(system.concepts.display(at), Some(display), "{code}");
            assert_eq!(system.concepts.find("nothing"), None, "{url}");
            for at in system.concepts.all() {
                let name = system.concepts.display(at).expect("a name");
                assert!(!name.contains("''") && !name.ends_with(','), "{name}");
            }
        }
    }

    #[test]
    fn grammars_tell_codes_from_other_texts() {
        for (system, code, expected) in [
            (UCUM, "mg/dL", Some(true)),
            (UCUM, "mgdL/", Some(false)),
            (BCP13, "application/fhir+json; fhirVersion=4.0", Some(true)),
            (BCP13, "application", Some(false)),
            (BCP47, "de-CH", Some(true)),
            (BCP47, "de_CH", Some(false)),
            ("http://loinc.org", "1-8", None),
        ] {
            assert_eq!(accepts(system, code), expected, "{system} {code}");
        }
        let years = Filter { property: "canonical".into(), op: "=".into(), value: "a".into() };
        assert_eq!(passes(UCUM, "min", &years), Some(true));
        assert_eq!(passes(UCUM, "mg", &years), Some(false));
        assert_eq!(passes(BCP47, "de", &years), None);
    }
}
