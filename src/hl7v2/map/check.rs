//! Whether expressions fit the places they are put to.

use crate::fhir::primitive;
use crate::fhir::schema::{Primitive, Schema};
use crate::hl7v2::tables::Tables;

use super::element::{Element, is_type};
use super::expr::{Call, Expr, Operator};
use super::func::{self, Func, Gives};
use super::scope::Group;

/// What expressions may name.
pub(crate) struct Known<'k> {
    /// The definitions of FHIR.
    pub schema: &'k Schema,
    /// The tables.
    pub tables: &'k Tables,
    /// The resources of the map: name and type.
    pub resources: &'k [(String, String)],
    /// The groups of its messages.
    pub groups: &'k [Group],
}

/// What an expression gives, and of a Reference the type it leads to.
type Given = (Gives, Option<String>);

impl Known<'_> {
    /// What the expression gives.
    ///
    /// # Errors
    /// Names the function, argument, table or resource that is not known.
    pub(crate) fn gives(&self, expr: &Expr) -> Result<Given, String> {
        match expr {
            Expr::Path(_) | Expr::Text(_) | Expr::Number(_) => Ok((Gives::V2, None)),
            Expr::List(items) => {
                items.iter().try_for_each(|item| self.gives(item).map(|_| ()))?;
                Ok((Gives::V2, None))
            }
            Expr::Name(name) if name == "nth" => Ok((Gives::V2, None)),
            Expr::Name(name) => self.resource(name).map(|kind| (Gives::Reference, Some(kind))),
            Expr::Not(inner) => {
                self.gives(inner)?;
                Ok((Gives::Condition, None))
            }
            Expr::Binary(operator, left, right) => {
                self.gives(left)?;
                self.gives(right)?;
                let is_text = *operator == Operator::Plus;
                Ok((if is_text { Gives::V2 } else { Gives::Condition }, None))
            }
            Expr::Call(call) => {
                let func = function(call)?;
                if func.is_piped && call.name != "ref" {
                    return Err(format!("{}() needs a value before it: X | {0}()", call.name));
                }
                self.arguments(call, func)?;
                match &*call.name {
                    "ref" | "refs" => {
                        let kind = self.resource(name_of(call)?)?;
                        Ok((Gives::Reference, Some(kind)))
                    }
                    "logical" => Ok((Gives::Reference, call.plain.first().and_then(text_of))),
                    _ => Ok((func.gives, None)),
                }
            }
            Expr::Pipe(inner, call) => self.piped(inner, call),
        }
    }

    fn piped(&self, inner: &Expr, call: &Call) -> Result<Given, String> {
        let before = self.gives(inner)?;
        let func = function(call)?;
        if !func.is_piped {
            return Err(format!("{}() takes no value before it", call.name));
        }
        self.arguments(call, func)?;
        match (func.gives, before.0) {
            (Gives::Same, _) => {
                if let (true, Some(other)) = (call.name == "or", call.plain.first()) {
                    let other = self.gives(other)?;
                    let is_text = other.0 == Gives::V2;
                    if !is_text && other.0 != before.0 {
                        return Err("or() gives another type than the value before it".to_owned());
                    }
                }
                Ok(before)
            }
            (Gives::Reference, Gives::Resource(kind)) => {
                let wanted = call.plain.first().map(|_| name_of(call)).transpose()?;
                match wanted {
                    Some(wanted) if !is_type(wanted, self.schema) => {
                        Err(format!("{wanted} is no type of resource"))
                    }
                    wanted => Ok((Gives::Reference, Some(wanted.unwrap_or(kind).to_owned()))),
                }
            }
            (Gives::Reference, _) => Err("ref() takes what is a resource, such as xcn".to_owned()),
            (gives, before) => {
                let is_raw = matches!(before, Gives::V2);
                let takes_codes = matches!(call.name.as_str(), "cc" | "coding");
                let fits = is_raw || (takes_codes && before == Gives::Coded);
                if fits {
                    Ok((gives, None))
                } else {
                    Err(format!("{}() takes a value of the message", call.name))
                }
            }
        }
    }

    fn arguments(&self, call: &Call, func: &Func) -> Result<(), String> {
        for (name, value) in &call.named {
            if !func.named.contains(&name.as_str()) {
                return Err(format!("{}() has no argument {name:?}", call.name));
            }
            self.gives(value)?;
        }
        for value in &call.plain {
            match (&*call.name, value) {
                ("ref" | "refs" | "group", Expr::Name(_)) => {}
                ("table", Expr::Text(name)) if !self.tables.contains(name) => {
                    return Err(format!("there is no table {name:?}"));
                }
                _ => {
                    self.gives(value)?;
                }
            }
        }
        if call.name == "table" && call.plain.is_empty() {
            return Err("table() needs the name of a table".to_owned());
        }
        Ok(())
    }

    fn resource(&self, name: &str) -> Result<String, String> {
        let found = self.resources.iter().find(|(own, _)| own == name);
        let found = found.map(|(_, kind)| kind.clone());
        found.ok_or(format!("the map has no resource {name:?}"))
    }

    /// Whether the expression may be put to the place.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn fits(&self, expr: &Expr, element: &Element) -> Result<(), String> {
        if let Expr::Text(text) = expr {
            return literal(text, element);
        }
        let (gives, target) = self.gives(expr)?;
        let has = |wanted: &[&str]| element.types.iter().any(|own| wanted.contains(&own.as_str()));
        let fits = match gives {
            Gives::Choice => element.is_choice,
            Gives::Coded => has(&["code", "Coding", "CodeableConcept", "string", "uri"]),
            Gives::Fhir(kind) => has(may_be(kind)) || has(&[kind]),
            Gives::V2 => has(&["string", "markdown", "uri", "url", "id"]),
            Gives::Reference => {
                if !has(&["Reference"]) {
                    return Err(format!("a Reference is no {}", element.types.join(" or ")));
                }
                let target = target.unwrap_or_default();
                let targets = &element.targets;
                return if targets.is_empty()
                    || targets.iter().any(|own| *own == target || own == "Resource")
                {
                    Ok(())
                } else {
                    Err(format!("a {target} is none of {}", targets.join(", ")))
                };
            }
            Gives::Condition | Gives::Resource(_) | Gives::Same => false,
        };
        if fits {
            Ok(())
        } else {
            Err(format!("{gives:?} does not fit, {} is wanted", element.types.join(" or ")))
        }
    }

    /// Whether an expression is a condition.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn is_condition(&self, expr: &Expr) -> Result<(), String> {
        match self.gives(expr)?.0 {
            Gives::Condition => Ok(()),
            _ => Err("it is no condition".to_owned()),
        }
    }

    /// Whether there is a group of this name.
    pub(crate) fn has_group(&self, name: &str) -> bool {
        self.groups.iter().any(|group| group.name == name)
    }
}

/// Other types that a value of one may stand as.
fn may_be(kind: &str) -> &'static [&'static str] {
    match kind {
        "date" | "instant" => &["dateTime"],
        "integer" => &["positiveInt", "unsignedInt", "decimal"],
        "Quantity" => &["SimpleQuantity", "Age", "Duration", "Quantity"],
        "Duration" => &["Quantity", "SimpleQuantity", "Age"],
        "string" => &["markdown", "uri", "url"],
        "uri" => &["url", "string"],
        _ => &[],
    }
}

/// Whether a text is a value of the place's type.
fn literal(text: &str, element: &Element) -> Result<(), String> {
    let mut primitives = element.types.iter().filter_map(|name| Primitive::from_name(name));
    let is_sound = |kind: Primitive| primitive::check(kind, text).is_ok();
    if primitives.any(is_sound) {
        Ok(())
    } else {
        Err(format!("{text:?} is no {}", element.types.join(" or ")))
    }
}

fn name_of(call: &Call) -> Result<&str, String> {
    match call.plain.first() {
        Some(Expr::Name(name)) => Ok(name),
        _ => Err(format!("{}() needs a name", call.name)),
    }
}

fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Text(text) => Some(text.clone()),
        _ => None,
    }
}

fn function(call: &Call) -> Result<&'static Func, String> {
    func::find(&call.name).ok_or(format!("there is no function {:?}", call.name))
}
