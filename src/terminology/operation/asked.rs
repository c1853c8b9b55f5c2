//! What an operation is asked: a Parameters resource, read by name.
//!
//! Values may be texts, as those of a query are, whatever type the operation defines.

use std::collections::HashMap;

use crate::fhir::IssueCode;
use crate::fhir::json::Value;

use super::refusal::Refusal;

/// How often a parameter may be there.
const MAX_REPEATED: usize = 100;
/// Those that each cost by themselves alone.
const UNBOUNDED: [&str; 2] = ["concept", "tx-resource"];

/// The parameters of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'r> {
    parameters: &'r [Value<'r>],
}

/// A code with what was said of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coding<'r> {
    pub(super) system: Option<&'r str>,
    pub(super) version: Option<&'r str>,
    pub(super) code: &'r str,
    pub(super) display: Option<&'r str>,
}

impl<'r> Asked<'r> {
    /// Reads a Parameters resource.
    ///
    /// # Errors
    /// [`Refusal`] for another resource, and for what is said twice.
    pub(super) fn read(resource: &'r Value<'r>) -> Result<Self, Refusal> {
        if resource.str_at("resourceType") != Some("Parameters") {
            return Err(Refusal::malformed("this operation takes a Parameters resource"));
        }
        let parameters = resource.items_at("parameter");
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for name in parameters.iter().filter_map(|it| it.str_at("name")) {
            let count = counts.entry(name).or_default();
            *count += 1;
            if *count > MAX_REPEATED && !UNBOUNDED.contains(&name) {
                let text = format!("a parameter is there more than {MAX_REPEATED} times");
                return Err(Refusal::malformed(text));
            }
        }
        Ok(Self { parameters })
    }

    /// All parameters of this name.
    pub(super) fn all(self, name: &'r str) -> impl Iterator<Item = &'r Value<'r>> {
        self.parameters.iter().filter(move |it| it.str_at("name") == Some(name))
    }

    /// The one parameter of this name.
    fn once(self, name: &'r str) -> Result<Option<&'r Value<'r>>, Refusal> {
        let mut all = self.all(name);
        let first = all.next();
        if all.next().is_some() {
            return Err(Refusal::malformed(format!("the parameter {name} is there twice")));
        }
        Ok(first)
    }

    /// The text of a parameter.
    pub(super) fn text(self, name: &'r str) -> Result<Option<&'r str>, Refusal> {
        let Some(parameter) = self.once(name)? else { return Ok(None) };
        let text = value(parameter).and_then(Value::as_str);
        text.map(Some).ok_or_else(|| Refusal::malformed(format!("the parameter {name} is no text")))
    }

    /// The texts of all parameters of this name.
    pub(super) fn texts(self, name: &'r str) -> impl Iterator<Item = &'r str> {
        self.all(name).filter_map(|it| value(it)?.as_str())
    }

    /// A parameter that is true or false.
    pub(super) fn flag(self, name: &'r str) -> Result<Option<bool>, Refusal> {
        match self.once(name)?.map(value) {
            None => Ok(None),
            Some(Some(Value::Bool(flag))) => Ok(Some(*flag)),
            Some(Some(Value::String(text))) if text == "true" => Ok(Some(true)),
            Some(Some(Value::String(text))) if text == "false" => Ok(Some(false)),
            _ => Err(Refusal::malformed(format!("the parameter {name} is true or false"))),
        }
    }

    /// A parameter that counts.
    pub(super) fn count(self, name: &'r str) -> Result<Option<usize>, Refusal> {
        let Some(parameter) = self.once(name)? else { return Ok(None) };
        let text = value(parameter).and_then(|it| it.as_number().or_else(|| it.as_str()));
        let number = text.and_then(|text| text.parse().ok());
        let refused = || Refusal::malformed(format!("the parameter {name} is no number from 0"));
        number.map(Some).ok_or_else(refused)
    }

    /// A resource that is given.
    pub(super) fn resource(self, name: &'r str) -> Result<Option<&'r Value<'r>>, Refusal> {
        Ok(self.once(name)?.and_then(|it| it.get("resource")))
    }

    /// All resources that are given.
    pub(super) fn resources(self) -> impl Iterator<Item = &'r Value<'r>> {
        self.parameters.iter().filter_map(|it| it.get("resource"))
    }

    /// A parameter that is a Coding, or two texts: `system|code`.
    ///
    /// # Errors
    /// [`Refusal`] for one without a code.
    pub(super) fn coding(self, name: &'r str) -> Result<Option<Coding<'r>>, Refusal> {
        let Some(parameter) = self.once(name)? else { return Ok(None) };
        let found = match value(parameter) {
            Some(Value::String(text)) => text.split_once('|').map(|(system, code)| Coding {
                system: Some(system).filter(|it| !it.is_empty()),
                version: None,
                code,
                display: None,
            }),
            Some(coding) => Coding::read(coding),
            None => None,
        };
        let refused = || Refusal::malformed(format!("the parameter {name} has no code"));
        found.map(Some).ok_or_else(refused)
    }

    /// The CodeableConcept of a parameter.
    pub(super) fn concept(self, name: &'r str) -> Result<Option<&'r Value<'r>>, Refusal> {
        Ok(self.once(name)?.and_then(value).filter(|it| it.as_object().is_some()))
    }
}

impl<'r> Coding<'r> {
    /// Of a Coding with a code.
    pub(super) fn read(coding: &'r Value<'r>) -> Option<Self> {
        Some(Self {
            system: coding.str_at("system"),
            version: coding.str_at("version"),
            code: coding.str_at("code").filter(|code| !code.is_empty())?,
            display: coding.str_at("display"),
        })
    }
}

/// The value of a parameter, of whatever type.
pub(super) fn value<'r>(parameter: &'r Value<'r>) -> Option<&'r Value<'r>> {
    let mut properties = parameter.as_object()?.iter();
    properties.find(|(name, _)| name.starts_with("value")).map(|(_, value)| value)
}

/// A parameter that has to be there.
pub(super) fn needed<T>(found: Option<T>, what: &str) -> Result<T, Refusal> {
    found.ok_or_else(|| Refusal::malformed_as(IssueCode::Required, format!("{what} is missing")))
}
