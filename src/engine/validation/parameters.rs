//! What `$validate` is asked, out of a query and a Parameters resource.
//!
//! Spec: <https://hl7.org/fhir/R4/resource-operation-validate.html>

use crate::error::Error;
use crate::fhir::IssueCode;
use crate::fhir::json::Value;
use crate::fhir::query::Query;

use super::{Validate, ValidateAt};

/// What may stand in the query of `$validate`.
pub const VALIDATE_PARAMETERS: [&str; 3] = ["mode", "mustSupport", "profile"];

impl<'a> Validate<'a> {
    /// Reads what is asked at `at` by `query` and `given`, which is the resource itself or a Parameters
    /// resource with it; and the expression of the resource inside `given`, where it is not all of it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for parameters that are none or are given twice.
    pub fn read(
        at: ValidateAt,
        query: &Query,
        given: Option<Value<'a>>,
        is_strict: bool,
    ) -> Result<(Self, String), Error> {
        let mut parameters = Parameters::of_query(query)?;
        let mut root = String::new();
        let resource = match given {
            Some(given) if given.str_at("resourceType") == Some("Parameters") => {
                let taken = parameters.take(given, is_strict)?;
                taken.map(|(place, resource)| {
                    root = place;
                    resource
                })
            }
            other => other,
        };
        let mode = parameters.mode.as_deref().map(str::parse).transpose()?;
        let must_support = parameters.must_support()?;
        let profiles = parameters.profile.into_iter().collect();
        Ok((Self { at, mode, profiles, must_support, resource }, root))
    }
}

/// The parameters that are texts.
#[derive(Debug, Default)]
struct Parameters {
    mode: Option<String>,
    profile: Option<String>,
    must_support: Option<String>,
}

impl Parameters {
    fn of_query(query: &Query) -> Result<Self, Error> {
        let text = |name| Ok::<_, Error>(query.once(name)?.map(str::to_owned));
        let (mode, profile) = (text("mode")?, text("profile")?);
        Ok(Self { mode, profile, must_support: text("mustSupport")? })
    }

    /// Whether absent elements that must be supported are to be told: no parameter of FHIR's.
    fn must_support(&self) -> Result<bool, Error> {
        match self.must_support.as_deref() {
            Some("true") => Ok(true),
            None | Some("false") => Ok(false),
            Some(other) => {
                let text = format!("mustSupport is true or false, not {other:?}");
                Err(Error::invalid(IssueCode::Value, text))
            }
        }
    }

    /// Takes what a Parameters resource has, and gives the resource in it with its expression.
    fn take<'a>(
        &mut self,
        parameters: Value<'a>,
        is_strict: bool,
    ) -> Result<Option<(String, Value<'a>)>, Error> {
        let Value::Object(mut parameters) = parameters else { return Ok(None) };
        let list = match parameters.remove("parameter") {
            None => return Ok(None),
            Some(Value::Array(list)) => list,
            Some(other) => {
                let text = format!("parameter is an array, not a {}", other.kind());
                let place = "Parameters.parameter";
                return Err(Error::invalid_at(IssueCode::Structure, text, place));
            }
        };
        let mut resource = None;
        for (at, one) in list.into_iter().enumerate() {
            let place = format!("Parameters.parameter[{at}]");
            let name = one.str_at("name").unwrap_or_default().to_owned();
            let slot = match &*name {
                "mode" => &mut self.mode,
                "mustSupport" => &mut self.must_support,
                "profile" => &mut self.profile,
                "resource" => {
                    let Value::Object(mut one) = one else { continue };
                    let given = one.remove("resource").ok_or_else(|| untyped(&name, &place))?;
                    if resource.replace((format!("{place}.resource"), given)).is_some() {
                        return Err(twice(&name, place));
                    }
                    continue;
                }
                _ if is_strict => {
                    let text = format!("{name:?} is no parameter of $validate");
                    return Err(Error::invalid_at(IssueCode::Invalid, text, place));
                }
                _ => continue,
            };
            let text = text(&one).ok_or_else(|| untyped(&name, &place))?;
            if slot.replace(text).is_some() {
                return Err(twice(&name, place));
            }
        }
        Ok(resource)
    }
}

/// A parameter's value, under whichever name it stands.
fn text(parameter: &Value<'_>) -> Option<String> {
    if let Some(flag) = parameter.get("valueBoolean").and_then(Value::as_bool) {
        return Some(flag.to_string());
    }
    let kinds = ["valueCode", "valueUri", "valueCanonical", "valueString", "valueUrl"];
    kinds.iter().find_map(|kind| parameter.str_at(kind)).map(str::to_owned)
}

fn untyped(name: &str, place: &str) -> Error {
    let text = format!("the parameter {name} has no value of its type");
    Error::invalid_at(IssueCode::Value, text, place)
}

fn twice(name: &str, place: String) -> Error {
    Error::invalid_at(IssueCode::Invalid, format!("the parameter {name} is given twice"), place)
}

#[cfg(test)]
mod tests {
    use crate::fhir::json::parse;

    use super::*;

    fn read(text: &str, is_strict: bool) -> Result<(String, Option<String>), String> {
        let mut parameters = Parameters::default();
        let value = parse(text.as_bytes()).expect(text);
        let resource = parameters.take(value, is_strict).map_err(|error| error.to_string())?;
        let Parameters { mode, profile, .. } = parameters;
        let texts = format!("{} {}", mode.unwrap_or_default(), profile.unwrap_or_default());
        Ok((texts, resource.map(|(_, resource)| resource.to_text())))
    }

    #[test]
    fn parameters_name_a_resource_a_mode_and_a_profile_each_once() {
        let resource = r#"{"name":"resource","resource":{"resourceType":"Patient"}}"#;
        let mode = r#"{"name":"mode","valueCode":"create"}"#;
        let profile = r#"{"name":"profile","valueUri":"http://p"}"#;
        let odd = r#"{"name":"odd","valueString":"x"}"#;
        let patient = Some(r#"{"resourceType":"Patient"}"#.to_owned());
        for (parts, is_strict, expected) in [
            (vec![resource, mode, profile], true, Ok(("create http://p", patient.clone()))),
            (vec![resource, odd], false, Ok((" ", patient.clone()))),
            (vec![mode], true, Ok(("create ", None))),
            (vec![resource, odd], true, Err("no parameter")),
            (vec![resource, resource], false, Err("twice")),
            (vec![mode, mode], false, Err("twice")),
            (vec![r#"{"name":"mode","valueInteger":1}"#], false, Err("no value")),
            (vec![r#"{"name":"resource","valueString":"x"}"#], false, Err("no value")),
        ] {
            let text =
                format!(r#"{{"resourceType":"Parameters","parameter":[{}]}}"#, parts.join(","));
            match (read(&text, is_strict), expected) {
                (Ok((texts, found)), Ok((expected, resource))) => {
                    assert_eq!((&*texts, found), (expected, resource), "{text}");
                }
                (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
                (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
            }
        }
        assert_eq!(read(r#"{"resourceType":"Parameters"}"#, true), Ok((" ".to_owned(), None)));
        assert!(read(r#"{"resourceType":"Parameters","parameter":{}}"#, false).is_err());
    }
}
