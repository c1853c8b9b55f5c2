//! What is wrong with a batch around its resources: with the whole of it, or with single entries.
//!
//! Spec: <https://hl7.org/fhir/R4/http.html#transaction>, checklist rest 7.2, 7.70

use std::collections::HashMap;

use crate::error::Error;
use crate::fhir::Issue;
use crate::fhir::json::Value;
use crate::fhir::schema::Schema;
use crate::validate::form::{self, MAX_ISSUES, Verdict};

/// The entries whose form is wrong, by their place, each with its findings.
#[derive(Debug, Default)]
pub(super) struct Faults(HashMap<usize, Vec<Issue>>);

impl Faults {
    /// Checks the form of `bundle` without the resources of its entries.
    ///
    /// # Errors
    /// When the Bundle itself is malformed, or more of its entries than can be told.
    pub(super) fn of(bundle: &Value<'_>, schema: &Schema) -> Result<Self, Error> {
        let (Verdict::Broken(issues) | Verdict::Malformed(issues)) =
            form::check_shell(bundle, schema)
        else {
            return Ok(Self::default());
        };
        let is_full = issues.len() >= MAX_ISSUES;
        if is_full || issues.iter().any(|issue| entry_of(issue).is_none()) {
            return Err(error(issues));
        }
        let mut faults: HashMap<usize, Vec<Issue>> = HashMap::new();
        for issue in issues {
            if let Some(index) = entry_of(&issue) {
                faults.entry(index).or_default().push(issue);
            }
        }
        Ok(Self(faults))
    }

    /// Why the entry at `index` fails, if its form is wrong.
    pub(super) fn take(&mut self, index: usize) -> Option<Error> {
        self.0.remove(&index).map(error)
    }
}

fn error(issues: Vec<Issue>) -> Error {
    match Verdict::of(issues) {
        Verdict::Broken(issues) => Error::Unprocessable(issues),
        other => Error::Invalid(other.issues().to_vec()),
    }
}

/// The place of the entry that the issue is about.
fn entry_of(issue: &Issue) -> Option<usize> {
    let rest = issue.expression.strip_prefix("Bundle.entry[")?;
    rest.split_once(']')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;
    use crate::spec::Spec;

    #[test]
    fn a_fault_of_an_entry_is_that_entrys_and_any_other_the_whole_batchs() {
        let spec = Spec::r4().expect("the embedded pack");
        let schema = &spec.schema;
        let faults = |rest: &str| {
            let text = format!(r#"{{"resourceType":"Bundle","type":"batch",{rest}}}"#);
            Faults::of(&parse(text.as_bytes()).expect(rest), schema)
        };
        let sound = r#"{"request":{"method":"GET","url":"Patient/1"}}"#;
        let odd = r#"{"request":{"method":"GET","url":"Patient/1","x":1}}"#;
        let mut found = faults(&format!(r#""entry":[{sound},{odd}]"#)).expect("entries only");
        assert!(found.take(0).is_none());
        assert!(matches!(found.take(1), Some(Error::Invalid(issues)) if issues.len() == 1));
        for rest in [
            r#""entry":{}"#.to_owned(),
            format!(r#""entry":[{sound}],"x":1"#),
            format!(r#""entry":[{sound}],"total":1"#),
            format!(r#""entry":[{}]"#, vec![odd; 60].join(",")),
        ] {
            assert!(faults(&rest).is_err(), "{rest}");
        }
    }
}
