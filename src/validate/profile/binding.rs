//! Codes and the value sets that elements are bound to.
//!
//! Spec: <https://hl7.org/fhir/R4/terminologies.html#strength>

use crate::fhir::json::Value;
use crate::fhir::schema::TypeKind;
use crate::fhir::{IssueCode, Severity};
use crate::fhirpath::Node;
use crate::spec::structure::Strength;
use crate::spec::terminology::{Contains, TerminologyFault};
use crate::validate::place::Place;

use super::findings::By;
use super::rules::Binding;
use super::walk::Walk;

/// What is known of the codes of one element and a value set.
enum Membership {
    /// One of them is in it.
    Inside,
    /// There is no code at all.
    NoCode,
    /// None is in it.
    Outside,
    /// That cannot be told: why.
    Untold(String),
}

impl<'w> Walk<'w> {
    /// Checks the codes of an element by its binding.
    pub(super) fn binding(
        &mut self,
        binding: &Binding,
        node: &Node<'w>,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        let outside = match binding.strength {
            Strength::Required => Severity::Error,
            Strength::Extensible => Severity::Warning,
            // An example says nothing, though its greatest value set does.
            Strength::Example | Strength::Preferred => Severity::Information,
        };
        if let Some(value_set) = &binding.value_set
            && binding.strength != Strength::Example
            && self.findings.wants(outside)
        {
            let needs_code = binding.strength == Strength::Required;
            self.bound((value_set, outside, needs_code), node, place, by);
        }
        if let Some(value_set) = &binding.max_value_set {
            let needs_code = binding.strength >= Strength::Extensible;
            self.bound((value_set, Severity::Error, needs_code), node, place, by);
        }
    }

    /// Checks codes by a value set; one outside is as bad as `outside`.
    fn bound(
        &mut self,
        (value_set, outside, needs_code): (&str, Severity, bool),
        node: &Node<'w>,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        let Some(codes) = self.codes(node) else { return };
        let untold = outside.max(Severity::Warning);
        match self.membership(value_set, &codes, self.findings.wants(untold)) {
            Membership::Inside => {}
            Membership::NoCode => {
                // Where no code fits, the others are content with a text.
                if needs_code {
                    let rule = format_args!("a code of {value_set} is required");
                    self.findings.add(outside, IssueCode::CodeInvalid, place, rule, by);
                }
            }
            Membership::Outside => {
                let shown = shown(&codes);
                let rule = format_args!("{shown} not in the value set {value_set}");
                self.findings.add(outside, IssueCode::CodeInvalid, place, rule, by);
            }
            Membership::Untold(reason) => {
                let rule = format_args!("not checked against {value_set}: {reason}");
                self.findings.add(untold, IssueCode::NotSupported, place, rule, by);
            }
        }
    }

    /// What is known of codes; `is_curious` tells codes that are in the value set from those that it has
    /// as one with all codes of a system nobody knows here.
    fn membership(
        &self,
        value_set: &str,
        codes: &[(Option<&str>, &str)],
        is_curious: bool,
    ) -> Membership {
        let terminology = &self.validator.terminology;
        let unknown = |it: Box<str>| TerminologyFault::UnknownSystem(it.into()).to_string();
        let mut found = if codes.is_empty() { Membership::NoCode } else { Membership::Outside };
        for &(system, code) in codes {
            match self.validator.contains(value_set, system, code) {
                Ok(Contains::Yes) if is_curious => {
                    match terminology.on_trust(value_set, system, code) {
                        Some(system) => found = Membership::Untold(unknown(system)),
                        None => return Membership::Inside,
                    }
                }
                Ok(Contains::Yes) => return Membership::Inside,
                Ok(Contains::No) => {}
                Ok(Contains::Untold(system)) => found = Membership::Untold(unknown(system)),
                Err(fault) => found = Membership::Untold(fault.to_string()),
            }
        }
        found
    }

    /// The codes of an element with their systems; `None` for what has no codes by its type, and
    /// for a primitive that has no value.
    fn codes(&self, node: &Node<'w>) -> Option<Vec<(Option<&'w str>, &'w str)>> {
        let coding = |value: &'w Value<'w>| Some((value.str_at("system"), value.str_at("code")?));
        let def = self.schema.get(node.type_id);
        match (def.kind, &*def.name) {
            (TypeKind::Primitive(_), _) => Some(vec![(None, node.value.as_str()?)]),
            (_, "CodeableConcept") => {
                Some(node.value.items_at("coding").iter().filter_map(coding).collect())
            }
            (_, "Coding") => Some(coding(node.value).into_iter().collect()),
            (_, "Age" | "Count" | "Distance" | "Duration" | "Money" | "Quantity") => {
                node.value.get("code").or_else(|| node.value.get("unit"))?;
                Some(coding(node.value).into_iter().collect())
            }
            _ => None,
        }
    }
}

/// The codes, as far as they fit into a line.
fn shown(codes: &[(Option<&str>, &str)]) -> String {
    const MOST: usize = 3;
    const LONGEST: usize = 80;
    let cut = |text: &str| text.chars().take(LONGEST).collect::<String>();
    let one = |(system, code): &(Option<&str>, &str)| match system {
        Some(system) => format!("{}#{}", cut(system), cut(code)),
        None => cut(code),
    };
    let shown: Vec<String> = codes.iter().take(MOST).map(one).collect();
    let verb = if codes.len() == 1 { "is" } else { "are" };
    let more = if codes.len() > MOST { ", .." } else { "" };
    format!("{}{more} {verb}", shown.join(", "))
}
