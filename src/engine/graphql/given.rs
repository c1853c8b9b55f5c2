//! Values that arguments have once variables stand for what was sent.
//!
//! Spec: <https://spec.graphql.org/October2021/#sec-Coercing-Variable-Values>

use std::collections::HashMap;

use crate::fhir::json::Value;

use super::document::{Literal, Variable};

/// One value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Scalar {
    Bool(bool),
    /// A number as it is written.
    Number(String),
    Text(String),
}

impl Scalar {
    /// The value as a URL has it.
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Number(text) | Self::Text(text) => text.clone(),
        }
    }
}

/// What an argument or a variable is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Given {
    Many(Vec<Scalar>),
    Nothing,
    One(Scalar),
}

/// The variables of a request by their names.
pub(super) type Variables<'d> = HashMap<&'d str, Given>;

impl Given {
    /// The value of a literal.
    ///
    /// # Errors
    /// Says why it is none.
    pub(super) fn of(literal: &Literal<'_>, variables: &Variables<'_>) -> Result<Self, String> {
        Ok(match literal {
            Literal::Bool(value) => Self::One(Scalar::Bool(*value)),
            Literal::List(all) => {
                let item = |literal| match Self::of(literal, variables)? {
                    Self::One(scalar) => Ok(scalar),
                    _ => Err("a list here is one of single values".to_owned()),
                };
                Self::Many(all.iter().map(item).collect::<Result<_, _>>()?)
            }
            Literal::Null => Self::Nothing,
            Literal::Number(digits) => Self::One(Scalar::Number((*digits).to_owned())),
            Literal::Object => return Err("no argument here is an object".to_owned()),
            Literal::Text(text) => Self::One(Scalar::Text(text.clone())),
            Literal::Variable(name) => {
                let known = variables.get(name).cloned();
                known.ok_or_else(|| format!("the variable ${name} is not defined"))?
            }
            Literal::Word(word) => Self::One(Scalar::Text((*word).to_owned())),
        })
    }

    /// The value of a variable that was sent.
    fn sent(value: &Value<'_>) -> Result<Self, String> {
        let scalar = |value: &Value<'_>| match value {
            Value::Bool(value) => Ok(Scalar::Bool(*value)),
            Value::Number(digits) => Ok(Scalar::Number(digits.clone().into_owned())),
            Value::String(text) if !text.contains('\0') => {
                Ok(Scalar::Text(text.clone().into_owned()))
            }
            other => Err(format!("it is no value of an argument: {}", other.kind())),
        };
        Ok(match value {
            Value::Array(all) => Self::Many(all.iter().map(scalar).collect::<Result<_, _>>()?),
            Value::Null => Self::Nothing,
            other => Self::One(scalar(other)?),
        })
    }

    /// About as many bytes as it has.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |scalar: &Scalar| match scalar {
            Scalar::Bool(_) => 8,
            Scalar::Number(text) | Scalar::Text(text) => text.len() + 8,
        };
        match self {
            Self::Many(all) => all.iter().map(bytes).sum(),
            Self::Nothing => 8,
            Self::One(scalar) => bytes(scalar),
        }
    }

    /// All of it, as texts.
    pub(super) fn texts(&self) -> Vec<String> {
        match self {
            Self::Many(all) => all.iter().map(Scalar::to_text).collect(),
            Self::Nothing => Vec::new(),
            Self::One(scalar) => vec![scalar.to_text()],
        }
    }

    fn is_of(&self, of: &str) -> bool {
        let is_whole = |digits: &str| !digits.contains(['.', 'e', 'E']);
        let is_one = |scalar: &Scalar| match (of, scalar) {
            ("Boolean" | "boolean", _) => matches!(scalar, Scalar::Bool(_)),
            ("Int" | "integer" | "positiveInt" | "unsignedInt", Scalar::Number(digits)) => {
                is_whole(digits)
            }
            ("Float" | "decimal", _) => matches!(scalar, Scalar::Number(_)),
            ("Int" | "integer" | "positiveInt" | "unsignedInt", _) => false,
            _ => true,
        };
        match self {
            Self::Many(all) => all.iter().all(is_one),
            Self::Nothing => true,
            Self::One(scalar) => is_one(scalar),
        }
    }
}

/// The value of a variable: as it was sent, else its default.
///
/// # Errors
/// Says why there is none.
pub(super) fn variable(variable: &Variable<'_>, sent: Option<&Value<'_>>) -> Result<Given, String> {
    let Variable { name, of, is_list, is_required, default, .. } = variable;
    let said = |text: String| format!("the variable ${name}: {text}");
    let given = match (sent, default) {
        (Some(value), _) => Given::sent(value).map_err(said)?,
        (None, Some(default)) => Given::of(default, &Variables::new()).map_err(said)?,
        (None, None) => Given::Nothing,
    };
    let given = match given {
        Given::Many(_) if !is_list => return Err(said("it is one value, not a list".to_owned())),
        Given::Nothing if *is_required => return Err(said("it has no value".to_owned())),
        Given::One(scalar) if *is_list => Given::Many(vec![scalar]),
        given => given,
    };
    if given.is_of(of) { Ok(given) } else { Err(said(format!("it is no {of}"))) }
}

#[cfg(test)]
mod tests {
    use crate::fhir::json;

    use super::super::document::Document;
    use super::*;

    #[test]
    fn a_variable_is_what_was_sent_or_its_default() {
        for (definition, sent, expected) in [
            ("$a: String", None, Some(vec![])),
            ("$a: String!", None, None),
            ("$a: String!", Some("null"), None),
            ("$a: String! = x", None, Some(vec!["x"])),
            ("$a: String = \"x\"", Some("\"y\""), Some(vec!["y"])),
            ("$a: [String]", Some("\"y\""), Some(vec!["y"])),
            ("$a: [String!]!", Some(r#"["y", "z"]"#), Some(vec!["y", "z"])),
            ("$a: String", Some(r#"["y"]"#), None),
            ("$a: String", Some(r#"{"y": 1}"#), None),
            ("$a: [String]", Some(r#"[["y"]]"#), None),
            ("$a: String", Some("\"\\u0000\""), None),
            ("$a: Int", Some("3"), Some(vec!["3"])),
            ("$a: Int", Some("3.5"), None),
            ("$a: Int", Some("\"3\""), None),
            ("$a: Float", Some("3.50"), Some(vec!["3.50"])),
            ("$a: Boolean", Some("true"), Some(vec!["true"])),
            ("$a: Boolean", Some("\"true\""), None),
            ("$a: date", Some("\"2020\""), Some(vec!["2020"])),
            ("$a: String = $b", None, None),
        ] {
            let text = format!("query({definition}) {{ a }}");
            let document = Document::parse(&text, 3).expect(definition);
            let json = sent.map(|text| json::parse(text.as_bytes()).expect(text));
            let found = variable(&document.operations[0].variables[0], json.as_ref());
            let expected = expected.map(|all| all.into_iter().map(str::to_owned).collect());
            assert_eq!(found.ok().map(|it| it.texts()), expected, "{definition} {sent:?}");
        }
    }
}
