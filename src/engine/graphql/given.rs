//! Values that arguments have once variables stand for what was sent.
//!
//! Spec: <https://spec.graphql.org/October2021/#sec-Coercing-Variable-Values>

use std::collections::HashMap;

use crate::fhir::json::Value;

use super::document::{Literal, Variable};

/// Most bytes of all arguments together, with variables wherever they are put in.
pub(super) const MOST_ARGUMENT_BYTES: usize = 64 << 10;

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
                let (mut items, mut bytes) = (Vec::new(), 0);
                for literal in all {
                    let item = Self::of(literal, variables)?;
                    // A variable may stand in it very often: that shows while there is little of it.
                    bytes += item.bytes();
                    if bytes > MOST_ARGUMENT_BYTES {
                        return Err(format!("a list has more than {MOST_ARGUMENT_BYTES} bytes"));
                    }
                    let Self::One(scalar) = item else {
                        return Err("a list here is one of single values".to_owned());
                    };
                    items.push(scalar);
                }
                Self::Many(items)
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

    #[test]
    fn a_list_is_no_longer_than_all_arguments_may_be() {
        let text = Given::One(Scalar::Text("v".repeat(MOST_ARGUMENT_BYTES / 8)));
        let variables = Variables::from([("v", text)]);
        for (times, expected) in [(7, Ok(7)), (8, Err("bytes")), (1_000, Err("bytes"))] {
            let all = vec![Literal::Variable("v"); times];
            // What is behind the bound is not looked at.
            let behind = expected.is_err().then_some(Literal::Object);
            let list = Literal::List(all.into_iter().chain(behind).collect());
            let found = Given::of(&list, &variables).map(|it| it.texts().len());
            let found = found.map_err(|text| text.contains("bytes").then_some("bytes"));
            assert_eq!(found, expected.map_err(Some), "{times}");
        }
    }
}
