//! Parameters of a request to the authorization server: each once.
//!
//! Spec: RFC 6749 section 3.2, security T3

use serde_json::Value;

use crate::fhir::query::Query;

use super::refusal::Refusal;

/// Parameters as they were sent. The debug form has no values: some are secret.
pub struct Form(Query);

impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Form {
    /// Reads `name=value&name=value`.
    ///
    /// # Errors
    /// `invalid_request` for what is malformed, or stands twice.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let query = Query::parse(text)
            .map_err(|_| Refusal::request("the parameters are not form-encoded UTF-8"))?;
        let mut names: Vec<&str> = query.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Refusal::request("a parameter stands twice"));
        }
        Ok(Self(query))
    }

    /// The value of a parameter; an empty one counts as missing.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.first(name).filter(|value| !value.is_empty())
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// `invalid_request`
    pub fn need(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::request(format!("{name} is missing")))
    }
}

/// Whether a text of a document, or the name of a member, has a NUL: the database keeps no such text, and
/// no such document.
pub fn has_nul(value: &Value) -> bool {
    match value {
        Value::Array(all) => all.iter().any(has_nul),
        Value::Object(all) => all.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::String(text) => text.contains('\0'),
        Value::Bool(_) | Value::Null | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_found_wherever_it_is() {
        for (text, expected) in [
            (r#"{"a":["b",1,null,true]}"#, false),
            (r#"{"a":"\\u0000"}"#, false),
            (r#""\u0000""#, true),
            (r#"{"a":"b\u0000c"}"#, true),
            (r#"{"a\u0000":1}"#, true),
            (r#"[{"a":[{"b":["\u0000"]}]}]"#, true),
        ] {
            let value = serde_json::from_str(text).expect("JSON");
            assert_eq!(has_nul(&value), expected, "{text}");
        }
    }

    #[test]
    fn a_parameter_stands_once_and_its_value_is_not_shown() {
        let form = Form::parse("code=a%20b+c&empty=").expect("a form");
        assert_eq!(form.get("code"), Some("a b c"));
        assert_eq!(form.get("empty"), None);
        assert!(form.need("nothing").is_err());
        assert!(!format!("{form:?}").contains("a b c"));
        for text in ["code=a&code=a", "code=a&x=1&code=b", "code=%zz", "code=%ff"] {
            assert!(Form::parse(text).is_err(), "{text}");
        }
    }
}
