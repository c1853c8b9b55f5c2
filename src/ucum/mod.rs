//! Units of measure by UCUM: which can be converted into each other, and by what exact factor.
//!
//! [`Unit::parse`] reads a case-sensitive code such as `mg/dL` or `10*3/uL`. A unit is a factor
//! and a dimension: exponents of the seven base units, and of units that are like nothing but
//! themselves (`[IU]`, `[pH]`). Annotations in braces say nothing about either. Factors are exact
//! fractions; only pi stays a symbol.
//!
//! What it never does: I/O, computing with values (`fhirpath` does).
//!
//! Layer: 0. Imports nothing.
//!
//! Spec: <https://ucum.org/ucum>

mod parse;
mod ratio;
mod table;

#[cfg(test)]
mod tests;

use std::fmt::Write;

use thiserror::Error;

pub use ratio::Ratio;

/// A unit as a factor and a dimension.
#[derive(Clone, Debug)]
pub struct Unit {
    factor: Ratio,
    /// What a temperature with another zero adds before the factor counts.
    shift: Option<Shift>,
    dimension: Dimension,
}

/// A number that is added: `digits * 10^exponent`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shift {
    /// The digits.
    pub digits: i64,
    /// The power of ten.
    pub exponent: i32,
}

/// Exponents of the base units and of units that are like nothing but themselves.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Dimension {
    base: [i32; 7],
    /// In the order of their codes; no exponent is zero.
    own: Vec<(&'static str, i32)>,
}

/// Why a text is no unit.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum UnitError {
    /// Its factor has more digits than are kept.
    #[error("the unit {0:?} goes beyond what can be computed")]
    Excessive(String),
    /// A special unit, such as a temperature with another zero, takes part in a product.
    #[error("the unit {0:?} has no ratio and stands in a product")]
    NoRatio(String),
    /// It does not follow UCUM's grammar.
    #[error("{0:?} is no unit of UCUM")]
    Syntax(String),
    /// It has a part that UCUM does not know.
    #[error("UCUM has no unit {0:?}")]
    Unknown(String),
}

impl Unit {
    /// The unit of what has none.
    pub const ONE: Self = Self {
        factor: Ratio::ONE,
        shift: None,
        dimension: Dimension { base: [0; 7], own: Vec::new() },
    };

    /// Reads a case-sensitive UCUM code.
    ///
    /// # Errors
    /// [`UnitError`], naming the part that is at fault.
    pub fn parse(code: &str) -> Result<Self, UnitError> {
        parse::unit(code)
    }

    /// Whether one can be converted into the other.
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.dimension == other.dimension
    }

    /// How many of `other` make one of this, zeros of temperatures aside; `None` when they are
    /// not comparable or the factor has too many digits.
    pub fn in_terms_of(&self, other: &Self) -> Option<Ratio> {
        let comparable = self.is_comparable(other);
        if comparable { self.factor.times(other.factor.inverted()) } else { None }
    }

    /// How many of its base units ([`Unit::base_code`]) make one of this.
    pub fn factor(&self) -> Ratio {
        self.factor
    }

    /// What is added to a value before the factor counts: 273.15 for degrees Celsius.
    pub fn shift(&self) -> Option<Shift> {
        self.shift
    }

    /// The product; `None` with a unit that has no ratio, and when it has too many digits.
    pub fn times(&self, other: &Self) -> Option<Self> {
        if self.shift.is_some() || other.shift.is_some() {
            return None;
        }
        let factor = self.factor.times(other.factor)?;
        let dimension = self.dimension.plus(&other.dimension, 1)?;
        Some(Self { factor, shift: None, dimension })
    }

    /// The quotient; `None` as with [`Unit::times`].
    pub fn over(&self, other: &Self) -> Option<Self> {
        self.times(&other.power(-1)?)
    }

    /// The power; `None` as with [`Unit::times`].
    pub fn power(&self, exponent: i32) -> Option<Self> {
        if self.shift.is_some() {
            return None;
        }
        let factor = self.factor.power(exponent)?;
        let dimension = Dimension::default().plus(&self.dimension, exponent)?;
        Some(Self { factor, shift: None, dimension })
    }

    /// The code of the base units that this is a multiple of: `g.m-3`, `K`, `1`.
    ///
    /// The same for all units that can be converted into each other, and for no others.
    pub fn base_code(&self) -> String {
        let base = table::BASE.iter().copied().zip(self.dimension.base);
        let mut parts: Vec<_> = base.filter(|(_, exponent)| *exponent != 0).collect();
        parts.extend(&self.dimension.own);
        parts.sort_unstable();
        let mut code = String::new();
        for (name, exponent) in parts {
            if !code.is_empty() {
                code.push('.');
            }
            code.push_str(name);
            if exponent != 1 {
                // Writing to a String does not fail.
                let _ = write!(code, "{exponent}");
            }
        }
        if code.is_empty() { "1".to_owned() } else { code }
    }
}

impl Dimension {
    /// The sum with `times` times the other; `None` for exponents beyond all sense.
    fn plus(&self, other: &Self, times: i32) -> Option<Self> {
        let mut sum = self.clone();
        for (own, added) in sum.base.iter_mut().zip(other.base) {
            *own = own.checked_add(added.checked_mul(times)?)?;
        }
        for (name, added) in &other.own {
            let added = added.checked_mul(times)?;
            match sum.own.binary_search_by_key(name, |(known, _)| known) {
                Ok(at) => sum.own[at].1 = sum.own[at].1.checked_add(added)?,
                Err(at) => sum.own.insert(at, (name, added)),
            }
        }
        sum.own.retain(|(_, exponent)| *exponent != 0);
        Some(sum)
    }
}
