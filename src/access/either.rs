//! Filters of which one must hold, asked together: what asks other values of one parameter is one test.
//!
//! Twenty scopes, each with a code of its own, cost no more so than a list of twenty codes.

use crate::search::request::compare::Comparison;
use crate::search::request::{Filter, Test};

/// One of them holds.
pub(super) fn either(filters: impl IntoIterator<Item = Filter>) -> Filter {
    let mut any = Vec::new();
    for filter in filters {
        gather(filter, &mut any);
    }
    if any.iter().any(|part| matches!(part, Filter::All(all) if all.is_empty())) {
        return Filter::All(Vec::new());
    }
    if any.len() == 1 { any.remove(0) } else { Filter::Any(any) }
}

/// All of them hold.
pub(super) fn each(filters: &[Filter]) -> Filter {
    match filters {
        [one] => one.clone(),
        all => Filter::All(all.to_vec()),
    }
}

/// Adds an alternative to `any`.
fn gather(filter: Filter, any: &mut Vec<Filter>) {
    match filter {
        Filter::Any(parts) => {
            for part in parts {
                gather(part, any);
            }
        }
        Filter::Test(test) => {
            let like_it = any.iter_mut().find_map(|known| match known {
                Filter::Test(known) if is_alike(known, &test) => Some(known),
                _ => None,
            });
            match like_it {
                None => any.push(Filter::Test(test)),
                Some(known) => {
                    for comparison in test.any {
                        if !known.any.contains(&comparison) {
                            known.any.push(comparison);
                        }
                    }
                }
            }
        }
        other if any.contains(&other) => {}
        other => any.push(other),
    }
}

/// Whether both ask for values, and of the same parameter.
fn is_alike(one: &Test, other: &Test) -> bool {
    let asks_for_values = |test: &Test| !test.any.contains(&Comparison::Present);
    one.parameters == other.parameters
        && one.search_type == other.search_type
        && asks_for_values(one)
        && asks_for_values(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::ResourceType;
    use crate::search::request::ParameterKey;
    use crate::search::request::compare::AskedToken;
    use crate::spec::search_parameter::SearchType;

    fn test(code: &str, any: Vec<Comparison>) -> Filter {
        let parameters =
            vec![ParameterKey { resource_type: ResourceType::PATIENT, code: code.into() }];
        Filter::Test(Test { parameters, search_type: SearchType::Token, any })
    }

    fn of_system(system: &str) -> Comparison {
        Comparison::Token(AskedToken::System(system.into()))
    }

    #[test]
    fn what_asks_of_one_parameter_is_asked_at_once() {
        let one = |code, system| test(code, vec![of_system(system)]);
        let both = either([one("a", "x"), one("b", "x"), one("a", "y"), one("a", "x")]);
        let expected =
            Filter::Any(vec![test("a", vec![of_system("x"), of_system("y")]), one("b", "x")]);
        assert_eq!(both, expected);
        // What is among others already is taken out of there.
        let nested = Filter::Any(vec![one("a", "x"), Filter::Any(vec![one("a", "y")])]);
        let alone = either([nested]);
        assert_eq!(alone, test("a", vec![of_system("x"), of_system("y")]));
    }

    #[test]
    fn what_is_not_alike_stays_apart() {
        let (one, there) = (test("a", vec![of_system("x")]), test("a", vec![Comparison::Present]));
        let apart = either([one.clone(), there.clone()]);
        assert_eq!(apart, Filter::Any(vec![one.clone(), there.clone()]));
        let all = each(&[one.clone(), there]);
        assert_eq!(either([all.clone(), one.clone(), all.clone()]), Filter::Any(vec![all, one]));
    }

    #[test]
    fn of_nothing_nothing_holds_and_beside_what_always_holds_all_does() {
        assert_eq!(either([]), Filter::Any(Vec::new()));
        assert_eq!(either([Filter::Any(Vec::new())]), Filter::Any(Vec::new()));
        let one = test("a", vec![of_system("x")]);
        assert_eq!(either([one.clone(), each(&[])]), Filter::All(Vec::new()));
        assert_eq!(each(std::slice::from_ref(&one)), one);
    }
}
