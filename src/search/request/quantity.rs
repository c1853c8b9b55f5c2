//! Numbers and quantities: a prefix, the number with the range of its digits, a unit.
//!
//! Spec: <https://hl7.org/fhir/R4/search.html#number>, <https://hl7.org/fhir/R4/search.html#quantity>
//! (rest 4.34 to 4.43, 4.132 to 4.140)

use crate::search::values::number::Asked;
use crate::search::values::quantity::UCUM;

use super::compare::{AskedUnit, Comparison};
use super::criterion::{Criteria, Raw};
use super::fault::Reason;
use super::prefix::Prefix;

impl Criteria<'_> {
    pub(super) fn number(raw: Raw<'_>) -> Result<Comparison, Reason> {
        let (prefix, text) = Prefix::split(raw.text);
        let asked = Asked::parse(text);
        let asked = asked.ok_or_else(|| raw.wrong("a number of at most 38 digits"))?;
        Ok(Comparison::Number { prefix, asked })
    }

    pub(super) fn quantity(&self, raw: Raw<'_>) -> Result<Comparison, Reason> {
        let wrong = || raw.wrong("a quantity: number, number|system|code or number||code");
        let (prefix, text) = Prefix::split(raw.text);
        let parts = Raw { text, ..raw }.parts()?;
        let (number, system, code) = match &parts[..] {
            [number] => (number, "", ""),
            [number, system] => (number, &**system, ""),
            [number, system, code] => (number, &**system, &**code),
            _ => return Err(wrong()),
        };
        let asked = Asked::parse(number).ok_or_else(wrong)?;
        let unit = match (system, code) {
            ("", "") => AskedUnit::Any,
            ("", code) => AskedUnit::Named(code.into()),
            (system, "") => AskedUnit::OfSystem(system.into()),
            (UCUM, code) => self.in_base(&asked, code).unwrap_or_else(|| coded(UCUM, code)),
            (system, code) => coded(system, code),
        };
        Ok(Comparison::Quantity { prefix, asked, unit })
    }

    /// The number in base units; `None` for a code that does not convert (rest 4.137).
    fn in_base(&self, asked: &Asked, code: &str) -> Option<AskedUnit> {
        let units = self.context.extractor.units();
        let (_, unit) = units.to_base(asked.value, code)?;
        let asked = asked.map(|value| units.to_base(value, code).map(|(value, _)| value))?;
        Some(AskedUnit::Base { asked, unit })
    }
}

fn coded(system: &str, code: &str) -> AskedUnit {
    AskedUnit::Coded { system: system.into(), code: code.into() }
}
