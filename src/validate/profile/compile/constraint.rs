//! Invariants: each distinct one is read once, however many elements it is on.
//!
//! Spec: <https://hl7.org/fhir/R4/conformance-rules.html#constraints>

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, PoisonError, RwLock};

use crate::fhirpath::Expression;
use crate::spec::structure::{Invariant, Severity};

use super::super::rules::Constraint;

/// The invariants that form validation decides by itself: they say the same on each element, and a
/// profile that repeats them cannot change them.
const OF_FORM: [&str; 20] = [
    "bdl-1", "bdl-10", "bdl-11", "bdl-12", "bdl-2", "bdl-3", "bdl-4", "bdl-5", "bdl-7", "bdl-8",
    "bdl-9", "dom-2", "dom-3", "dom-4", "dom-5", "ele-1", "ext-1", "ref-1", "txt-1", "txt-2",
];

/// A key that other types use too: here the one of Parameters.
const PARAMETERS: &str = "(part.exists() and value.empty() and resource.empty()) or \
                          (part.empty() and (value.exists() xor resource.exists()))";

/// Expressions of R4 that do not say what their rule says, and what they should be: where the
/// element is absent they give nothing, and nothing is not true.
const ERRATA: [(&str, &str, &str); 4] = [
    (
        "que-12",
        "enableWhen.count() > 2 implies enableBehavior.exists()",
        "enableWhen.count() > 1 implies enableBehavior.exists()",
    ),
    (
        "que-7",
        "operator = 'exists' implies (answer is Boolean)",
        "operator = 'exists' implies (answer is boolean)",
    ),
    (
        "ras-2",
        "probability is decimal implies (probability as decimal) <= 100",
        "probability.empty() or (probability is decimal implies (probability as decimal) <= 100)",
    ),
    (
        "",
        "name.matches('[A-Z]([A-Za-z0-9_]){0,254}')",
        "name.empty() or name.matches('[A-Z]([A-Za-z0-9_]){0,254}')",
    ),
];

/// The expression of an invariant, mended where R4's is known to be wrong.
fn mended<'e>(key: &str, expression: &'e str) -> &'e str {
    let is_it = |(of, wrong, _): &&(&str, &str, &str)| {
        *wrong == expression && (of.is_empty() || *of == key)
    };
    ERRATA.iter().find(is_it).map_or(expression, |(_, _, right)| right)
}

/// Whether form validation decides the invariant.
pub(super) fn is_of_form(invariant: &Invariant) -> bool {
    let key = &*invariant.key;
    OF_FORM.contains(&key)
        || (key == "inv-1" && invariant.expression.as_deref() == Some(PARAMETERS))
}

/// All invariants that were read, by all that they say.
#[derive(Debug, Default)]
pub(in super::super) struct Constraints(RwLock<HashMap<String, Arc<Constraint>>>);

impl Constraints {
    /// The invariant, read.
    pub(super) fn of(&self, invariant: &Invariant) -> Arc<Constraint> {
        let Invariant { key, severity, human, expression, .. } = invariant;
        let text = expression.as_deref().map(|text| mended(key, text));
        // Profiles repeat the invariants of others, with another weight even.
        let name = format!("{severity:?}\n{key}\n{human}\n{}", text.unwrap_or_default());
        self.remembered(&name, || Constraint {
            key: key.clone(),
            human: match (&**human, text) {
                ("", Some(text)) => text.into(),
                (human, _) => human.into(),
            },
            is_error: *severity == Severity::Error,
            expression: match text {
                Some(text) => Expression::parse(text).map_err(|fault| fault.to_string()),
                None => Err("it is for people only".to_owned()),
            },
        })
    }

    /// A condition without a name.
    pub(in super::super) fn plain(&self, text: &str) -> Arc<Constraint> {
        self.remembered(&format!("plain\n{text}"), || Constraint {
            key: Box::default(),
            human: text.into(),
            is_error: true,
            expression: Expression::parse(text).map_err(|fault| fault.to_string()),
        })
    }

    /// The condition that the whole text matches a regular expression of a definition.
    pub(super) fn regex(&self, regex: &str) -> Arc<Constraint> {
        self.remembered(&format!("regex\n{regex}"), || matching(regex))
    }

    fn remembered(&self, name: &str, read: impl FnOnce() -> Constraint) -> Arc<Constraint> {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(known);
        }
        let constraint = Arc::new(read());
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(name.to_owned()).or_insert(constraint))
    }
}

/// The condition that the whole text matches a regular expression; one of a document is not
/// remembered, for there is no end of them.
pub(in super::super) fn matching(regex: &str) -> Constraint {
    let mut text = String::from("$this.toString().matches('^(?:");
    for letter in regex.chars() {
        match letter {
            '\'' | '\\' => text.extend(['\\', letter]),
            _ if letter.is_control() => {
                // A text never fails to be written.
                let _ = write!(text, "\\u{:04x}", u32::from(letter));
            }
            _ => text.push(letter),
        }
    }
    text.push_str(")$')");
    Constraint {
        key: Box::default(),
        human: format!("the text matches {regex}").into(),
        is_error: true,
        expression: Expression::parse(&text).map_err(|fault| fault.to_string()),
    }
}
