//! Codes: does their case count?
//!
//! It does where the code system says so, for identifiers and ids. Where it says no, or nobody
//! knows, it does not: to find too much does less harm than to miss (rest 4.85).
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#token>

use std::borrow::Cow;

/// The system of the values of a boolean (rest 4.87).
pub const BOOLEAN_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/special-values";

/// Whether the case of a code counts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Case {
    /// `a` and `A` are one code: kept in lower case.
    Insensitive,
    /// `a` and `A` are two codes.
    Sensitive,
}

/// A code as search compares it.
///
/// Both parts count: a query that names no system asks for the code as it is written where case
/// counts, and in lower case where it does not.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Code<'a> {
    /// The code, in lower case unless its case counts.
    pub text: Cow<'a, str>,
    /// Whether its case counts.
    pub case: Case,
}

impl<'a> Code<'a> {
    /// The code that `text` is under this rule.
    pub fn new(text: &'a str, case: Case) -> Self {
        let is_lower = || !text.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii());
        let text = match case {
            Case::Insensitive if !is_lower() => Cow::Owned(text.to_lowercase()),
            Case::Insensitive | Case::Sensitive => Cow::Borrowed(text),
        };
        Self { text, case }
    }

    /// The codes that `text` can be when nobody says which system it is of.
    pub fn either(text: &'a str) -> [Self; 2] {
        [Self::new(text, Case::Sensitive), Self::new(text, Case::Insensitive)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_counts_where_the_rule_says_so() {
        for (text, sensitive, insensitive) in [
            ("8480-6", "8480-6", "8480-6"),
            ("LA6568-5", "LA6568-5", "la6568-5"),
            ("mg/dL", "mg/dL", "mg/dl"),
            ("É", "É", "é"),
            ("", "", ""),
        ] {
            assert_eq!(Code::new(text, Case::Sensitive).text, sensitive, "{text:?}");
            assert_eq!(Code::new(text, Case::Insensitive).text, insensitive, "{text:?}");
        }
        let [exact, loose] = Code::either("VALUE");
        assert_ne!(exact, Code::new("value", Case::Sensitive));
        assert_eq!(loose, Code::new("value", Case::Insensitive));
        // The two rules never meet: a loose question must not find a strict code in lower case.
        assert_ne!(loose, Code::new("value", Case::Sensitive));
    }
}
