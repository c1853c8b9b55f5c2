//! The operations of a FHIRPath Patch, read from Parameters.
//!
//! Spec: <https://hl7.org/fhir/R4/fhirpatch.html>

use super::{Step, invalid};
use crate::fhir::json::Value;
use crate::fhirpath::Expression;

/// One operation.
#[derive(Debug)]
pub(super) enum Operation<'p> {
    /// Adds `value` as the child `name` of what `path` finds.
    Add { path: Expression, name: &'p str, value: &'p Value<'p> },
    /// Takes away what `path` finds.
    Delete { path: Expression },
    /// Puts `value` into the list that `path` finds, before the item at `index`.
    Insert { path: Expression, index: usize, value: &'p Value<'p> },
    /// Moves an item of the list that `path` finds.
    Move { path: Expression, source: usize, destination: usize },
    /// Puts `value` in the place of what `path` finds.
    Replace { path: Expression, value: &'p Value<'p> },
}

const PARTS: [&str; 7] = ["type", "path", "name", "value", "index", "source", "destination"];
/// What the text of a part may stand in.
pub(super) const TEXTS: [&str; 2] = ["valueString", "valueCode"];

impl<'p> Operation<'p> {
    /// Reads one `Parameters.parameter`.
    pub(super) fn read(parameter: &'p Value<'p>) -> Step<Self> {
        if parameter.str_at("name") != Some("operation") {
            return invalid("a parameter of a FHIRPath Patch is called operation");
        }
        let parts = Parts::read(parameter.items_at("part"))?;
        let path = Expression::parse(parts.text("path")?);
        let path = match path {
            Ok(path) => path,
            Err(fault) => return invalid(format!("the path is no FHIRPath: {fault}")),
        };
        Ok(match parts.text("type")? {
            "add" => Self::Add { path, name: parts.text("name")?, value: parts.part("value")? },
            "delete" => Self::Delete { path },
            "insert" => {
                Self::Insert { path, index: parts.number("index")?, value: parts.part("value")? }
            }
            "move" => Self::Move {
                path,
                source: parts.number("source")?,
                destination: parts.number("destination")?,
            },
            "replace" => Self::Replace { path, value: parts.part("value")? },
            other => return invalid(format!("{other:?} is no type of operation")),
        })
    }
}

/// The parts of one operation, each name once.
struct Parts<'p>(Vec<(&'p str, &'p Value<'p>)>);

impl<'p> Parts<'p> {
    fn read(parts: &'p [Value<'p>]) -> Step<Self> {
        let mut read: Vec<(&str, &Value<'_>)> = Vec::new();
        for part in parts {
            let name = part.str_at("name").unwrap_or_default();
            if !PARTS.contains(&name) {
                return invalid(format!("an operation has no part {name:?}"));
            }
            if read.iter().any(|(known, _)| *known == name) {
                return invalid(format!("the part {name} is given twice"));
            }
            read.push((name, part));
        }
        Ok(Self(read))
    }

    fn part(&self, name: &str) -> Step<&'p Value<'p>> {
        match self.0.iter().find(|(known, _)| *known == name) {
            Some((_, part)) => Ok(part),
            None => invalid(format!("the part {name} is missing")),
        }
    }

    fn text(&self, name: &str) -> Step<&'p str> {
        let part = self.part(name)?;
        let text = TEXTS.into_iter().find_map(|key| part.str_at(key));
        text.map_or_else(|| invalid(format!("the part {name} needs a valueString")), Ok)
    }

    fn number(&self, name: &str) -> Step<usize> {
        let part = self.part(name)?;
        let keys = ["valueInteger", "valueUnsignedInt", "valuePositiveInt"];
        let digits = keys.into_iter().find_map(|key| part.get(key)?.as_number());
        match digits.and_then(|digits| digits.parse().ok()) {
            Some(number) => Ok(number),
            None => invalid(format!("the part {name} needs a valueInteger of 0 or more")),
        }
    }
}
