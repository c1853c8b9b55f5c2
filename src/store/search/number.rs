//! Numbers, quantities and places.
//!
//! A stored number is a range whose ends are inside; one that is exact has two equal ends.
//! `eq`, `ne` and `ap` go by the range of the question's digits, the others by its value.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#number> (rest 4.34 to 4.43, 4.132 to 4.140)

use crate::fhirpath::Decimal;
use crate::search::request::compare::AskedUnit;
use crate::search::request::prefix::Prefix;
use crate::search::values::number::Asked;

use super::atom::{Atom, HERE, Parameter};
use super::compile::Compiler;
use super::sql::{Bind, Binds};

/// The radius of the sphere on which distances are true, in metres.
const EARTH: &str = "6371008.8";

/// Metres in a degree of latitude, a little less than they are: a bound is never too narrow.
const METRES_A_DEGREE: f64 = 110_000.0;

impl Compiler<'_, '_> {
    /// A number.
    pub(super) fn number(&mut self, prefix: Prefix, asked: &Asked, parameter: &Parameter) -> Atom {
        let hashes = parameter.values().into_iter().map(|of| self.hasher.number(of)).collect();
        self.compared(prefix, asked, hashes, parameter, None)
    }

    /// A number with a unit.
    pub(super) fn quantity(
        &mut self,
        prefix: Prefix,
        asked: &Asked,
        unit: &AskedUnit,
        parameter: &Parameter,
    ) -> Atom {
        let hasher = self.hasher;
        let values = parameter.values();
        let of = |hash: &dyn Fn(i64) -> i64| values.iter().map(|&it| hash(it)).collect();
        let given = || of(&|it| hasher.number(it));
        match unit {
            AskedUnit::Any => self.compared(prefix, asked, given(), parameter, None),
            AskedUnit::Base { asked, unit } => {
                let converted = of(&|it| hasher.quantity(it, unit));
                self.compared(prefix, asked, converted, parameter, None)
            }
            AskedUnit::Coded { system, code } => {
                let coded = of(&|it| hasher.coded_quantity(it, system, code));
                self.compared(prefix, asked, coded, parameter, None)
            }
            AskedUnit::Named(name) => {
                let name = self.binds.add(Bind::Int(hasher.unit(Some(name))));
                let is_named = format!("({HERE}u = {name} OR {HERE}n = {name})");
                self.compared(prefix, asked, given(), parameter, Some(&is_named))
            }
            AskedUnit::OfSystem(system) => {
                // Behind a composite's first part `y` has the system of that: there the body tells.
                let is_of = if let Some(element) = &parameter.element {
                    self.is_measured(element, (prefix, asked), system)
                } else {
                    let system = self.binds.add(Bind::Int(hasher.system(Some(system))));
                    format!("{HERE}y = {system}")
                };
                self.compared(prefix, asked, given(), parameter, Some(&is_of))
            }
        }
    }

    fn compared(
        &mut self,
        prefix: Prefix,
        asked: &Asked,
        hashes: Vec<i64>,
        parameter: &Parameter,
        unit: Option<&str>,
    ) -> Atom {
        let (low, high) = (format!("{HERE}lo"), format!("{HERE}hi"));
        let mut condition = compare(prefix, asked, &low, &high, &mut self.binds);
        let mut parts = parts(prefix, asked, &mut self.binds);
        for condition in parts.iter_mut().chain([&mut condition]) {
            if let Some(system) = parameter.first_system {
                let system = self.binds.add(Bind::Int(system));
                *condition = format!("{HERE}y = {system} AND {condition}");
            }
            if let Some(unit) = unit {
                *condition = format!("{condition} AND {unit}");
            }
        }
        Atom::Value { table: "num", hashes, condition, parts }
    }

    /// Two numbers behind a composite's first part, of which the one is in `lo`, the other in `hi`.
    pub(super) fn two_numbers(
        &mut self,
        (first, second): ((Prefix, &Asked), (Prefix, &Asked)),
        parameter: &Parameter,
    ) -> Atom {
        let mut one = |(prefix, asked): (Prefix, &Asked), column: &str| {
            let column = format!("{HERE}{column}");
            compare(prefix, asked, &column, &column, &mut self.binds)
        };
        let mut condition = format!("{} AND {}", one(first, "lo"), one(second, "hi"));
        if let Some(system) = parameter.first_system {
            let system = self.binds.add(Bind::Int(system));
            condition = format!("{HERE}y = {system} AND {condition}");
        }
        let hashes = parameter.values().into_iter().map(|of| self.hasher.position(of)).collect();
        Atom::value("num", hashes, condition)
    }

    /// A place no further away than this.
    pub(super) fn position(
        &mut self,
        latitude: Decimal,
        longitude: Decimal,
        metres: f64,
        parameter: &Parameter,
    ) -> Atom {
        let hashes = parameter.values().into_iter().map(|of| self.hasher.position(of)).collect();
        let degrees = metres / METRES_A_DEGREE;
        let (low, high) = (format!("{HERE}lo"), format!("{HERE}hi"));
        let far = self.distance(latitude, longitude, (&low, &high));
        let asked = number(&latitude.to_string(), &mut self.binds);
        let degrees = number(&format!("{degrees:.9}"), &mut self.binds);
        let metres = self.binds.text(metres.to_string());
        let condition = format!(
            "{low} >= {asked} - {degrees} AND {low} <= {asked} + {degrees} \
             AND {far} <= ({metres})::float8"
        );
        Atom::value("num", hashes, condition)
    }

    /// The metres from a place to the one in two columns, over the sphere.
    pub(super) fn distance(
        &mut self,
        latitude: Decimal,
        longitude: Decimal,
        (low, high): (&str, &str),
    ) -> String {
        let latitude = format!("({})::float8", self.binds.text(latitude.to_string()));
        let longitude = format!("({})::float8", self.binds.text(longitude.to_string()));
        let (low, high) = (format!("{low}::float8"), format!("{high}::float8"));
        format!(
            "(2 * {EARTH} * asin(least(1.0, sqrt(\
             power(sind(({low} - {latitude}) / 2), 2) \
             + cosd({low}) * cosd({latitude}) * power(sind(({high} - {longitude}) / 2), 2)))))"
        )
    }
}

/// The condition between the range in two columns and what is asked.
pub(super) fn compare(
    prefix: Prefix,
    asked: &Asked,
    low: &str,
    high: &str,
    binds: &mut Binds,
) -> String {
    let mut bound = |decimal: Decimal| number(&decimal.to_string(), binds);
    match prefix {
        Prefix::Ap => {
            let (from, to) = (bound(asked.about.0), bound(asked.about.1));
            format!("{high} >= {from} AND {low} <= {to}")
        }
        // The bounds that follow from others are those that the index knows.
        Prefix::Eb => {
            let value = bound(asked.value);
            format!("{low} < {value} AND {high} < {value}")
        }
        Prefix::Eq => {
            let (from, to) = (bound(asked.low), bound(asked.high));
            format!("{low} >= {from} AND {low} < {to} AND {high} < {to}")
        }
        Prefix::Ge => format!("{high} >= {}", bound(asked.value)),
        Prefix::Gt => format!("{high} > {}", bound(asked.value)),
        Prefix::Le => format!("{low} <= {}", bound(asked.value)),
        Prefix::Lt => format!("{low} < {}", bound(asked.value)),
        Prefix::Ne => {
            format!("({low} < {} OR {high} >= {})", bound(asked.low), bound(asked.high))
        }
        Prefix::Sa => format!("{low} > {}", bound(asked.value)),
    }
}

/// Bounds of the lower end of what compares so: from, and up to.
pub(super) fn lower_bounds(prefix: Prefix, asked: &Asked) -> (Option<Decimal>, Option<Decimal>) {
    match prefix {
        Prefix::Ap => (None, Some(asked.about.1)),
        Prefix::Eb | Prefix::Le | Prefix::Lt => (None, Some(asked.value)),
        Prefix::Eq => (Some(asked.low), Some(asked.high)),
        Prefix::Ge | Prefix::Gt | Prefix::Ne => (None, None),
        Prefix::Sa => (Some(asked.value), None),
    }
}

/// Conditions that an index serves each, for those that go by the upper end: most rows are exact,
/// and ranges have an index of their own. A row may meet both.
fn parts(prefix: Prefix, asked: &Asked, binds: &mut Binds) -> Vec<String> {
    let (low, high) = (format!("{HERE}lo"), format!("{HERE}hi"));
    let mut bound = |decimal: Decimal| number(&decimal.to_string(), binds);
    let is_range = format!("{low} < {high}");
    match prefix {
        Prefix::Ap => {
            let (from, to) = (bound(asked.about.0), bound(asked.about.1));
            vec![
                format!("{low} >= {from} AND {low} <= {to}"),
                // Added to, the lower end is none that an index of all numbers would be taken for.
                format!("{is_range} AND {low} + 0 <= {to} AND {high} >= {from}"),
            ]
        }
        Prefix::Ge => {
            let value = bound(asked.value);
            vec![format!("{low} >= {value}"), format!("{is_range} AND {high} >= {value}")]
        }
        Prefix::Gt => {
            let value = bound(asked.value);
            vec![format!("{low} > {value}"), format!("{is_range} AND {high} > {value}")]
        }
        _ => Vec::new(),
    }
}

/// A number of a question, exact. The driver knows no decimals, so it goes as text.
fn number(text: &str, binds: &mut Binds) -> String {
    format!("({})::numeric", binds.text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_prefix_compares_as_the_specification_says() {
        let asked = Asked::parse("100").expect("number");
        for (prefix, expected) in [
            (
                Prefix::Eq,
                "lo >= ($1::text)::numeric AND lo < ($2::text)::numeric \
                 AND hi < ($2::text)::numeric",
            ),
            (Prefix::Ne, "(lo < ($1::text)::numeric OR hi >= ($2::text)::numeric)"),
            (Prefix::Gt, "hi > ($1::text)::numeric"),
            (Prefix::Ge, "hi >= ($1::text)::numeric"),
            (Prefix::Lt, "lo < ($1::text)::numeric"),
            (Prefix::Le, "lo <= ($1::text)::numeric"),
            (Prefix::Sa, "lo > ($1::text)::numeric"),
            (Prefix::Eb, "lo < ($1::text)::numeric AND hi < ($1::text)::numeric"),
            (Prefix::Ap, "hi >= ($1::text)::numeric AND lo <= ($2::text)::numeric"),
        ] {
            let found = compare(prefix, &asked, "lo", "hi", &mut Binds::default());
            assert_eq!(found, expected, "{prefix:?}");
        }
    }
}
