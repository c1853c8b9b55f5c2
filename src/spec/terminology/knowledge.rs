//! What FHIRPath's `memberOf()`, `subsumes()` and `subsumedBy()` ask, answered by a [`Terminology`].
//!
//! The answer is yes, no, or that it cannot be checked, which is an [`Ignorance`]: an empty result
//! would read as a rule that is broken. One code that says yes is enough, whatever is not known of
//! the others. What has no code at all, as a concept with a text alone, is a plain no.
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpath.html#functions>

use crate::fhir::json::Value;
use crate::fhirpath::{Answer, Ignorance, Item, System};

use super::{Contains, Terminology, TerminologyFault};

/// Most ancestors of a code that are looked through.
const MOST_ANCESTORS: usize = 10_000;

/// A code as an item has it.
type Code<'i> = (Option<&'i str>, &'i str);

/// Whether a code of the item (a code, a Coding, a CodeableConcept) is in the value set. A text
/// without a system is in it when any of its systems has that code.
///
/// # Errors
/// [`Ignorance`] where no code is in it for certain, and one may be: too little is known of the value
/// set or of a code system.
pub fn member_of(terminology: &dyn Terminology, item: &Item<'_>, value_set: &str) -> Answer {
    let mut untold = None;
    for (system, code) in codes(item) {
        match terminology.contains(value_set, system, code) {
            Ok(Contains::Yes) => return Ok(Some(true)),
            Ok(Contains::No) => {}
            Ok(Contains::Untold(url)) => untold = Some(Ignorance::Unknown(url.into())),
            Err(fault) => untold = Some(why(fault)),
        }
    }
    untold.map_or(Ok(Some(false)), Err)
}

/// Whether a code of the first item is one of the second, or above it in the hierarchy of their
/// system. Codes of different systems are not related.
///
/// # Errors
/// [`Ignorance`] where no code is above another one for certain, and one may be: a code has no system,
/// or nothing is known of its system.
pub fn subsumes(terminology: &dyn Terminology, ancestor: &Item<'_>, code: &Item<'_>) -> Answer {
    let mut untold = None;
    for (system, code) in codes(code) {
        for (other, ancestor) in codes(ancestor) {
            let (Some(system), Some(other)) = (system, other) else {
                let code = if system.is_none() { code } else { ancestor };
                untold = Some(Ignorance::Unknown(format!("the system of the code {code:?}")));
                continue;
            };
            if system != other {
                continue;
            }
            // That needs no hierarchy.
            if code == ancestor {
                return Ok(Some(true));
            }
            match terminology.subsumed(system, code, false, MOST_ANCESTORS) {
                Ok(above) if above.iter().any(|it| **it == *ancestor) => return Ok(Some(true)),
                Ok(_) => {}
                Err(fault) => untold = Some(why(fault)),
            }
        }
    }
    untold.map_or(Ok(Some(false)), Err)
}

fn why(fault: TerminologyFault) -> Ignorance {
    match fault {
        TerminologyFault::UnknownSystem(url) | TerminologyFault::UnknownValueSet(url) => {
            Ignorance::Unknown(url)
        }
        other => Ignorance::Untold(other.to_string()),
    }
}

/// The codes of an item: of a text, of a Coding or what is like one, of a CodeableConcept. A number, a
/// date or a resource has none.
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
                ("round", _) => Err(TerminologyFault::Circular("round".to_owned())),
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
        let dark = || Err(Ignorance::Unknown("dark".to_owned()));
        for (element, of, expected) in [
            (r#""cat""#, "code", Ok(true)),
            (r#""dog""#, "code", Ok(false)),
            (r#""cat""#, "string", Ok(true)),
            (r#""cat""#, "uri", Ok(true)),
            ("7", "integer", Ok(false)),
            ("true", "boolean", Ok(false)),
            (r#"{"system":"s","code":"manx"}"#, "Coding", Ok(true)),
            (r#"{"system":"t","code":"manx"}"#, "Coding", Ok(false)),
            (r#"{"system":"dark","code":"x"}"#, "Coding", dark()),
            (r#"{"display":"x"}"#, "Coding", Ok(false)),
            (r#"{"value":1,"system":"s","code":"cat"}"#, "Quantity", Ok(true)),
            (
                r#"{"coding":[{"system":"s","code":"dog"},{"system":"s","code":"cat"}]}"#,
                "CodeableConcept",
                Ok(true),
            ),
            (
                r#"{"coding":[{"system":"dark","code":"x"},{"system":"s","code":"cat"}]}"#,
                "CodeableConcept",
                Ok(true),
            ),
            (
                r#"{"coding":[{"system":"dark","code":"x"},{"system":"s","code":"dog"}]}"#,
                "CodeableConcept",
                dark(),
            ),
            (r#"{"text":"a cat"}"#, "CodeableConcept", Ok(false)),
            (r#"{"coding":[{"display":"cat"}],"text":"cat"}"#, "CodeableConcept", Ok(false)),
        ] {
            let found = ask(element, of, |item| member_of(&Cats, item, "cats"));
            assert_eq!(found, expected.map(Some), "{element}");
        }
        for (value, expected) in [
            (System::String("cat".into()), true),
            (System::String("dog".into()), false),
            (System::Boolean(true), false),
        ] {
            let found = member_of(&Cats, &Item::Value(value.clone()), "cats");
            assert_eq!(found, Ok(Some(expected)), "{value:?}");
        }
        let unknown = ask(r#""cat""#, "code", |item| member_of(&Cats, item, "dogs"));
        assert_eq!(unknown, Err(Ignorance::Unknown("dogs".to_owned())));
        let no_code =
            ask(r#"{"text":"cat"}"#, "CodeableConcept", |it| member_of(&Cats, it, "dogs"));
        assert_eq!(no_code, Ok(Some(false)), "what has no code is in no value set");
        let round = ask(r#""cat""#, "code", |item| member_of(&Cats, item, "round"));
        let expected = Ignorance::Untold("value set round imports itself".to_owned());
        assert_eq!(round, Err(expected));
    }

    #[test]
    fn a_code_subsumes_another_one_of_its_system() {
        let coding =
            |system: &str, code: &str| format!(r#"{{"system":"{system}","code":"{code}"}}"#);
        let concept = |codings: &str| format!(r#"{{"coding":[{codings}]}}"#);
        let unknown = |what: &str| Err(Ignorance::Unknown(what.to_owned()));
        let (cat, manx) = (coding("s", "cat"), coding("s", "manx"));
        for (ancestor, code, expected) in [
            (cat.clone(), manx.clone(), Ok(true)),
            (manx.clone(), manx.clone(), Ok(true)),
            (manx.clone(), cat.clone(), Ok(false)),
            (coding("t", "cat"), manx.clone(), Ok(false)),
            (concept(&cat), manx.clone(), Ok(true)),
            (cat.clone(), concept(&format!("{},{manx}", coding("dark", "x"))), Ok(true)),
            (concept(&coding("dark", "y")), concept(&coding("dark", "x")), unknown("dark")),
            (coding("dark", "x"), coding("dark", "x"), Ok(true)),
            (r#"{"text":"cat"}"#.to_owned(), manx.clone(), Ok(false)),
            (
                r#"{"code":"cat"}"#.to_owned(),
                manx.clone(),
                unknown(r#"the system of the code "cat""#),
            ),
            (cat.clone(), r#""manx""#.to_owned(), unknown(r#"the system of the code "manx""#)),
            ("7".to_owned(), manx, Ok(false)),
        ] {
            let found = ask(&ancestor, "CodeableConcept", |above| {
                ask(&code, "CodeableConcept", |below| subsumes(&Cats, above, below))
            });
            assert_eq!(found, expected.map(Some), "{ancestor} {code}");
        }
    }
}
