//! Where codes and quantities stand in a body: JSON paths, for what the hashes of the index cannot tell.

use crate::fhir::ResourceType;

use super::Extractor;
use super::kind::Kind;
use super::path::{Leaf, Path};
use super::plan::{Composite, Plan, Source};

/// The system of languages, which elements of that name have without a required binding.
pub(in crate::search) const LANGUAGES: &str = "urn:ietf:bcp:47";

/// Elements of a body that are codes, or have one each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Coded {
    /// The path that leads to them, as PostgreSQL has JSON paths.
    pub path: String,
    /// What each of them is.
    pub form: CodedForm,
}

/// What an element with a code is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CodedForm {
    /// The text of a code; of this system, where its definition implies one.
    Code(Option<Box<str>>),
    /// A Coding.
    Coding,
    /// An Identifier.
    Identifier,
}

/// Elements of which each has both parts of a composite: a token, and a quantity.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Measured {
    /// The path that leads to them from the body.
    pub path: String,
    /// The codes of each.
    pub codes: Vec<Coded>,
    /// The paths that lead from each to its Quantities.
    pub quantities: Vec<String>,
    /// The paths that lead from each to its Ranges.
    pub ranges: Vec<String>,
}

impl Extractor {
    /// Where the codes of a parameter of tokens stand; `None` where only evaluation tells.
    pub fn coded(&self, resource_type: ResourceType, code: &str) -> Option<Vec<Coded>> {
        let parameter = self.parameter(resource_type, code)?;
        let Plan::Values(Source::Paths(paths), _) = &parameter.plan else { return None };
        coded(paths, (code == "language").then_some(LANGUAGES))
    }

    /// Where the parts of a composite of a token and a quantity stand; `None` where only evaluation
    /// tells, and for any other parameter.
    pub fn measured(&self, resource_type: ResourceType, code: &str) -> Option<Vec<Measured>> {
        let Plan::Composite(arms) = &self.parameter(resource_type, code)?.plan else { return None };
        let found: Option<Vec<_>> = arms.iter().map(measured).collect();
        Some(found?.into_iter().flatten().collect())
    }
}

/// What an arm of a composite looks at.
fn measured(arm: &Composite) -> Option<Vec<Measured>> {
    let [(Source::Paths(codes), _), (Source::Paths(amounts), _)] = &arm.parts[..] else {
        return None;
    };
    let Source::Paths(foci) = &arm.focus else { return None };
    let codes = coded(codes, None)?;
    let (mut quantities, mut ranges) = (Vec::new(), Vec::new());
    for (path, leaf) in ways(amounts)? {
        match leaf.kind {
            Kind::Quantity => quantities.push(path),
            Kind::Range => ranges.push(path),
            Kind::Money | Kind::Number => return None,
            _ => {}
        }
    }
    if codes.is_empty() || (quantities.is_empty() && ranges.is_empty()) {
        return None;
    }
    let place = |(path, _): (String, &Leaf)| {
        let (codes, quantities, ranges) = (codes.clone(), quantities.clone(), ranges.clone());
        Measured { path, codes, quantities, ranges }
    };
    Some(ways(foci)?.into_iter().map(place).collect())
}

/// The codes at the ends of paths; `language` is the system of those that imply none.
fn coded(paths: &[Path], language: Option<&str>) -> Option<Vec<Coded>> {
    let mut found = Vec::new();
    for (mut path, leaf) in ways(paths)? {
        let form = match leaf.kind {
            Kind::Code => CodedForm::Code(leaf.system.as_deref().or(language).map(Into::into)),
            Kind::CodeableConcept => {
                path.push_str(".\"coding\"[*]");
                CodedForm::Coding
            }
            Kind::Coding => CodedForm::Coding,
            Kind::Identifier => CodedForm::Identifier,
            _ => continue,
        };
        found.push(Coded { path, form });
    }
    Some(found)
}

fn ways(paths: &[Path]) -> Option<Vec<(String, &Leaf)>> {
    let found: Option<Vec<_>> = paths.iter().map(Path::ways).collect();
    Some(found?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;
    use crate::fhir::datetime::Zone;
    use crate::search::values::quantity::Ucum;
    use crate::spec::Spec;
    use crate::spec::codes::Codes;
    use crate::spec::search_parameter::SearchType;

    fn r4() -> Extractor {
        let spec = Spec::r4().expect("the embedded pack");
        let codes = Codes::r4().expect("the pack");
        let settings = Settings { base: "".into(), units: Box::new(Ucum), zone: Zone::UTC };
        Extractor::new(spec, codes, settings).expect("all of R4 compiles")
    }

    #[test]
    fn codes_stand_where_the_parameter_looks() {
        let extractor = r4();
        for (of, code, expected) in [
            (
                "DocumentReference",
                "contenttype",
                r#"$."content"[*]."attachment"[*]."contentType"[*] Code(Some("urn:ietf:bcp:13"))"#,
            ),
            (
                "DocumentReference",
                "language",
                r#"$."content"[*]."attachment"[*]."language"[*] Code(Some("urn:ietf:bcp:47"))"#,
            ),
            ("Patient", "language", r#"$."communication"[*]."language"[*]."coding"[*] Coding"#),
            ("Patient", "_tag", r#"$."meta"[*]."tag"[*] Coding"#),
            ("Patient", "identifier", r#"$."identifier"[*] Identifier"#),
            ("Patient", "email", ""),
            ("Patient", "birthdate", ""),
        ] {
            let of = of.parse().expect("a type");
            let found = extractor.coded(of, code).unwrap_or_default();
            let found: Vec<_> =
                found.iter().map(|it| format!("{} {:?}", it.path, it.form)).collect();
            assert_eq!(found.join(", "), expected, "{of} {code}");
        }
    }

    #[test]
    fn a_code_and_its_quantity_stand_in_one_element() {
        let extractor = r4();
        let observation =
            extractor.measured(ResourceType::OBSERVATION, "combo-code-value-quantity");
        let found = observation.expect("plain paths");
        let foci: Vec<&str> = found.iter().map(|it| &*it.path).collect();
        assert_eq!(foci, ["$", r#"$."component"[*]"#]);
        for measured in &found {
            assert_eq!(measured.codes[0].path, r#"$."code"[*]."coding"[*]"#);
            assert_eq!(measured.quantities, [r#"$."valueQuantity"[*]"#]);
            assert_eq!(measured.ranges, [""; 0]);
        }
        let mut count = 0;
        let parameters = extractor.search_parameters();
        let is_measured = |definition: &str| {
            let part = parameters.by_url(definition);
            part.is_some_and(|part| part.search_type == SearchType::Quantity)
        };
        for of in ResourceType::all() {
            for composite in parameters.of(of).filter(|it| !it.is_experimental) {
                let parts = &composite.components;
                if parts.len() == 2 && is_measured(&parts[1].definition) {
                    assert!(
                        extractor.measured(of, &composite.code).is_some(),
                        "{of} {composite:?}"
                    );
                    count += 1;
                }
            }
        }
        assert!(count > 20, "{count}");
    }
}
