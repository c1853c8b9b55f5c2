//! What FHIRPath's `memberOf()`, `subsumes()` and `subsumedBy()` ask, answered by a [`Terminology`].
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpath.html#functions>

use crate::fhir::json::Value;
use crate::fhirpath::{Answer, Ignorance, Item, System};

use super::{Contains, Terminology, TerminologyFault};

/// Most ancestors of a code that are looked through.
const MOST_ANCESTORS: usize = 10_000;

/// A code as an item has it.
type Code<'i> = (Option<&'i str>, &'i str);

/// Whether the code, Coding or CodeableConcept is in the value set; of a concept one code is
/// enough. Nothing is told of other items, nor where too little of a system is known.
///
/// # Errors
/// [`Ignorance::Unknown`] for a value set that is not known or cannot be understood.
pub fn member_of(terminology: &dyn Terminology, item: &Item<'_>, value_set: &str) -> Answer {
    let codes = codes(item);
    let mut is_told = !codes.is_empty();
    for (system, code) in codes {
        match terminology.contains(value_set, system, code) {
            Ok(Contains::Yes) => return Ok(Some(true)),
            Ok(Contains::No) => {}
            Ok(Contains::Untold(_)) => is_told = false,
            Err(fault) => return Err(unknown(fault)),
        }
    }
    Ok(is_told.then_some(false))
}

/// Whether a code of the first item is one of the second, or above it in the hierarchy of their
/// system. Nothing is told of codes without a system.
///
/// # Errors
/// [`Ignorance::Unknown`] for a code system that is not known.
pub fn subsumes(terminology: &dyn Terminology, ancestor: &Item<'_>, code: &Item<'_>) -> Answer {
    let mut is_told = false;
    for (system, code) in codes(code) {
        let Some(system) = system else { continue };
        for (_, ancestor) in codes(ancestor).into_iter().filter(|it| it.0 == Some(system)) {
            let above = terminology.subsumed(system, code, false, MOST_ANCESTORS);
            if above.map_err(unknown)?.iter().any(|it| **it == *ancestor) {
                return Ok(Some(true));
            }
        }
        is_told = true;
    }
    Ok((is_told && !codes(ancestor).is_empty()).then_some(false))
}

fn unknown(fault: TerminologyFault) -> Ignorance {
    Ignorance::Unknown(match fault {
        TerminologyFault::UnknownSystem(url) | TerminologyFault::UnknownValueSet(url) => url,
        other => other.to_string(),
    })
}

/// The codes of an item: of a `code`, of a Coding, of a CodeableConcept.
fn codes<'i>(item: &'i Item<'_>) -> Vec<Code<'i>> {
    match item {
        Item::Value(System::String(text)) => vec![(None, &**text)],
        Item::Node(node) => match node.value {
            Value::String(text) => vec![(None, &**text)],
            value @ Value::Object(_) => match value.items_at("coding") {
                [] => coding(value).into_iter().collect(),
                codings => codings.iter().filter_map(coding).collect(),
            },
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn coding<'i>(value: &'i Value<'_>) -> Option<Code<'i>> {
    Some((value.str_at("system"), value.str_at("code")?))
}

#[cfg(test)]
mod tests {
    use super::super::Members;
    use super::*;
    use crate::fhir::json::parse;
    use crate::fhirpath::Node;
    use crate::spec::Spec;

    /// Knows the value set `cats` of the system `s`, where a manx is a cat.
    #[derive(Debug)]
    struct Cats;

    impl Terminology for Cats {
        fn members(&self, value_set: &str, _: usize) -> Result<Members, TerminologyFault> {
            Err(TerminologyFault::UnknownValueSet(value_set.to_owned()))
        }

        fn contains(
            &self,
            value_set: &str,
            system: Option<&str>,
            code: &str,
        ) -> Result<Contains, TerminologyFault> {
            match (value_set, system) {
                ("cats", None | Some("s")) if matches!(code, "cat" | "manx") => Ok(Contains::Yes),
                ("cats", Some("dark")) => Ok(Contains::Untold("dark".into())),
                ("cats", _) => Ok(Contains::No),
                _ => Err(TerminologyFault::UnknownValueSet(value_set.to_owned())),
            }
        }

        fn subsumed(
            &self,
            system: &str,
            code: &str,
            _: bool,
            _: usize,
        ) -> Result<Vec<Box<str>>, TerminologyFault> {
            match (system, code) {
                ("s", "manx") => Ok(vec!["cat".into(), "manx".into()]),
                ("s", code) => Ok(vec![code.into()]),
                _ => Err(TerminologyFault::UnknownSystem(system.to_owned())),
            }
        }
    }

    fn ask<T>(element: &str, of: &str, asks: impl FnOnce(&Item<'_>) -> T) -> T {
        let spec = Spec::r4().expect("definitions");
        let value = parse(element.as_bytes()).expect(element);
        let type_id = spec.schema.by_name(of).expect(of);
        asks(&Item::Node(Node::new(&value, type_id, &spec.schema)))
    }

    #[test]
    fn a_code_a_coding_or_one_of_a_concept_is_a_member() {
        for (element, of, expected) in [
            (r#""cat""#, "code", Some(true)),
            (r#""dog""#, "code", Some(false)),
            (r#"{"system":"s","code":"manx"}"#, "Coding", Some(true)),
            (r#"{"system":"t","code":"manx"}"#, "Coding", Some(false)),
            (r#"{"system":"dark","code":"x"}"#, "Coding", None),
            (r#"{"display":"x"}"#, "Coding", None),
            (
                r#"{"coding":[{"system":"s","code":"dog"},{"system":"s","code":"cat"}]}"#,
                "CodeableConcept",
                Some(true),
            ),
            (
                r#"{"coding":[{"system":"s","code":"dog"},{"system":"dark","code":"x"}]}"#,
                "CodeableConcept",
                None,
            ),
            (r#"{"text":"a cat"}"#, "CodeableConcept", None),
        ] {
            let found = ask(element, of, |item| member_of(&Cats, item, "cats"));
            assert_eq!(found, Ok(expected), "{element}");
        }
        let unknown = ask(r#""cat""#, "code", |item| member_of(&Cats, item, "dogs"));
        assert_eq!(unknown, Err(Ignorance::Unknown("dogs".to_owned())));
    }

    #[test]
    fn a_coding_subsumes_another_one_of_its_system() {
        let coding = |code: &str| format!(r#"{{"system":"s","code":"{code}"}}"#);
        for (ancestor, code, expected) in [
            (coding("cat"), coding("manx"), Some(true)),
            (coding("manx"), coding("manx"), Some(true)),
            (coding("manx"), coding("cat"), Some(false)),
            (coding("cat").replace("\"s\"", "\"t\""), coding("manx"), Some(false)),
            (r#"{"text":"x"}"#.to_owned(), coding("manx"), None),
        ] {
            let found = ask(&ancestor, "Coding", |above| {
                ask(&code, "Coding", |below| subsumes(&Cats, above, below))
            });
            assert_eq!(found, Ok(expected), "{ancestor} {code}");
        }
        let dark = coding("x").replace("\"s\"", "\"dark\"");
        let unknown = ask(&dark, "Coding", |above| {
            ask(&dark, "Coding", |below| subsumes(&Cats, above, below))
        });
        assert_eq!(unknown, Err(Ignorance::Unknown("dark".to_owned())));
    }
}
