//! The rules on one value: its type, fixed values and patterns, bounds, codes, invariants.
//!
//! Spec: <https://hl7.org/fhir/R4/elementdefinition.html>

use std::cmp::Ordering;

use crate::fhir::json::Value;
use crate::fhir::{IssueCode, Severity};
use crate::fhirpath::{Decimal, Node, Quantity, Temporal, same_tree};
use crate::validate::place::Place;

use super::findings::By;
use super::rules::{Checks, TypeRule};
use super::walk::Walk;

/// Characters of a value that an issue shows: those of a definition, never of the document.
const SHOWN: usize = 120;

impl<'w> Walk<'w> {
    /// Checks one value.
    pub(super) fn checks(
        &mut self,
        checks: &Checks,
        node: &Node<'w>,
        place: &Place<'_>,
        by: By<'_>,
    ) {
        if !checks.types.is_empty() {
            self.types(&checks.types, node, place, by);
        }
        if let Some(fixed) = &checks.fixed
            && !same_tree(node.value, fixed)
        {
            let shown = shown(fixed);
            let rule = format_args!("the value must be {shown}");
            self.findings.add(Severity::Error, IssueCode::Value, place, rule, by);
        }
        if let Some(pattern) = &checks.pattern
            && !has_pattern(node.value, pattern)
        {
            let shown = shown(pattern);
            let rule = format_args!("the value must have {shown}");
            self.findings.add(Severity::Error, IssueCode::Value, place, rule, by);
        }
        self.bounds(checks, node, place, by);
        if let Some(binding) = &checks.binding {
            self.binding(binding, node, place, by);
        }
        if let Some(wanted) = &checks.narrative_languages {
            self.narrative_languages(wanted, node, place, by);
        }
        for constraint in &checks.constraints {
            if self.is_over() {
                return;
            }
            self.constraint(constraint, node, place, by);
        }
    }

    fn bounds(&mut self, checks: &Checks, node: &Node<'w>, place: &Place<'_>, by: By<'_>) {
        let bounds = [
            (&checks.min_value, Ordering::Less, "at least"),
            (&checks.max_value, Ordering::Greater, "at most"),
        ];
        for (bound, broken, word) in bounds {
            let Some(bound) = bound else { continue };
            if compare(node.value, bound) == Some(broken) {
                let shown = shown(bound);
                let rule = format_args!("the value must be {word} {shown}");
                self.findings.add(Severity::Error, IssueCode::Value, place, rule, by);
            }
        }
        if let (Some(most), Some(text)) = (checks.max_length, node.value.as_str())
            && text.chars().count() > most as usize
        {
            let rule = format_args!("at most {most} characters are allowed");
            self.findings.add(Severity::Error, IssueCode::TooLong, place, rule, by);
        }
    }

    /// Checks that the value is of one of the types, and what that type asks.
    fn types(&mut self, types: &[TypeRule], node: &Node<'w>, place: &Place<'_>, by: By<'_>) {
        let fits = |of: &&TypeRule| self.is_of(node.type_id, of.type_id);
        let fitting: Vec<&TypeRule> = types.iter().filter(fits).collect();
        if fitting.is_empty() {
            let mut names: Vec<_> = types.iter().map(|of| self.name(of.type_id)).collect();
            names.dedup();
            let (names, is) = (names.join(", "), self.name(node.type_id));
            let rule = format_args!("must be {names}, not {is}");
            self.findings.add(Severity::Error, IssueCode::Structure, place, rule, by);
            return;
        }
        self.profiled(&fitting, node, place, by);
        self.references(&fitting, node, place, by);
        for regex in fitting.iter().filter_map(|of| of.regex.as_ref()) {
            let text = &regex.human;
            if *node.value != Value::Null && self.is_true(regex, node, None, place) == Ok(false) {
                let rule = format_args!("{text}, or should");
                self.findings.add(Severity::Error, IssueCode::Value, place, rule, by);
            }
        }
    }

    /// Checks that the value conforms to one of the profiles of its type.
    fn profiled(&mut self, types: &[&TypeRule], node: &Node<'w>, place: &Place<'_>, by: By<'_>) {
        if types.iter().any(|of| of.profiles.is_empty()) {
            return;
        }
        let mut known = Vec::new();
        let mut unknown = None;
        for canonical in types.iter().flat_map(|of| &of.profiles) {
            match self.validator.profile(canonical) {
                Ok(profile) => known.push(profile),
                Err(fault) => unknown = Some(fault),
            }
        }
        if let ([only], None) = (known.as_slice(), &unknown) {
            self.apply(only, node, place);
            return;
        }
        if known.iter().any(|profile| self.fits(profile, node, place)) {
            return;
        }
        if let Some(fault) = unknown {
            let rule = format_args!("cannot be judged: {fault}");
            self.findings.add(Severity::Warning, IssueCode::NotFound, place, rule, by);
        } else {
            let names: Vec<_> = known.iter().map(|profile| &*profile.canonical).collect();
            let names = names.join(", ");
            let rule = format_args!("conforms to none of {names}");
            self.findings.add(Severity::Error, IssueCode::Structure, place, rule, by);
        }
    }
}

/// Whether a value has all that a pattern has.
///
/// <https://hl7.org/fhir/R4/elementdefinition-definitions.html#ElementDefinition.pattern_x_>
pub(super) fn has_pattern(value: &Value<'_>, pattern: &Value<'_>) -> bool {
    match (value, pattern) {
        (Value::Object(value), Value::Object(pattern)) => pattern
            .iter()
            .all(|(name, part)| value.get(name).is_some_and(|value| has_pattern(value, part))),
        (Value::Array(values), Value::Array(patterns)) => {
            patterns.iter().all(|pattern| values.iter().any(|value| has_pattern(value, pattern)))
        }
        _ => same_tree(value, pattern),
    }
}

/// The order of a value and a bound of the same type, as far as it can be told.
pub(super) fn compare(value: &Value<'_>, bound: &Value<'_>) -> Option<Ordering> {
    match (value, bound) {
        (Value::Number(value), Value::Number(bound)) => {
            Some(Decimal::parse(value)?.cmp(&Decimal::parse(bound)?))
        }
        (Value::String(value), Value::String(bound)) => {
            Temporal::parse(value)?.compare(&Temporal::parse(bound)?)
        }
        (Value::Object(_), Value::Object(_)) => quantity(value)?.order(&quantity(bound)?),
        _ => None,
    }
}

fn quantity<'v>(value: &'v Value<'_>) -> Option<Quantity<'v>> {
    let unit = value.str_at("code").or_else(|| value.str_at("unit")).unwrap_or("1");
    let value = Decimal::parse(value.get("value")?.as_number()?)?;
    Some(Quantity { value, unit: unit.into() })
}

/// A value of a definition, cut when it is long.
fn shown(value: &Value<'_>) -> String {
    let text = value.to_text();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    fn value(text: &str) -> Value<'_> {
        parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn a_pattern_is_what_a_value_has_at_least() {
        for (given, pattern, expected) in [
            (r#"{"a":1,"b":2}"#, r#"{"a":1.0}"#, true),
            (r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false),
            (r#"{"a":"x"}"#, r#"{"a":"X"}"#, false),
            (
                r#"{"c":[{"s":"u","c":"1"},{"s":"u","c":"2","d":"D"}]}"#,
                r#"{"c":[{"s":"u","c":"2"}]}"#,
                true,
            ),
            (r#"{"c":[{"s":"u","c":"1"}]}"#, r#"{"c":[{"s":"v","c":"1"}]}"#, false),
            (r#"{"c":[{"s":"u"},{"c":"1"}]}"#, r#"{"c":[{"s":"u","c":"1"}]}"#, false),
            (r#"["a","b"]"#, r#"["b"]"#, true),
            (r#"["a"]"#, r#"["a","b"]"#, false),
            (r#""a""#, r#""a""#, true),
            ("true", "false", false),
            ("null", r#""a""#, false),
        ] {
            assert_eq!(has_pattern(&value(given), &value(pattern)), expected, "{given} {pattern}");
        }
    }

    #[test]
    fn bounds_compare_by_value() {
        use Ordering::{Equal, Greater, Less};
        for (given, bound, expected) in [
            ("1.0", "1", Some(Equal)),
            ("0.1", "0.10000000000000000001", Some(Less)),
            ("12345678901234567890123", "12345678901234567890122", Some(Greater)),
            (r#""2020-01-01""#, r#""2020-01-02""#, Some(Less)),
            (r#""2020""#, r#""2020-01-02""#, None),
            (r#"{"value":2,"code":"mg"}"#, r#"{"value":1,"code":"mg"}"#, Some(Greater)),
            (r#"{"value":-1,"code":"g"}"#, r#"{"value":0,"code":"kg"}"#, Some(Less)),
            (r#"{"value":1,"code":"g"}"#, r#"{"value":1000,"code":"mg"}"#, Some(Equal)),
            (r#"{"value":2,"code":"g"}"#, r#"{"value":1,"code":"m"}"#, None),
            (r#""x""#, "1", None),
        ] {
            assert_eq!(compare(&value(given), &value(bound)), expected, "{given} {bound}");
        }
    }
}
