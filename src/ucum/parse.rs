//! Codes to units.
//!
//! Spec: <https://ucum.org/ucum#section-Syntax-Rules>

use std::collections::HashMap;
use std::sync::LazyLock;

use super::table::{BASE, Meaning, PREFIXES, UNITS};
use super::{Dimension, Ratio, Shift, Unit, UnitError};

/// Longest code, in bytes.
const MAX_LENGTH: usize = 256;

/// Most parentheses within each other.
const MAX_DEPTH: usize = 16;

/// Largest exponent of a unit.
const MAX_EXPONENT: i32 = 99;

/// Every unit of the table by code: whether it takes prefixes, and what it is.
static KNOWN: LazyLock<HashMap<&'static str, (bool, Unit)>> = LazyLock::new(known);

/// The table's units mean those before them, but for a few that mean later ones.
fn known() -> HashMap<&'static str, (bool, Unit)> {
    let mut known = HashMap::with_capacity(BASE.len() + UNITS.len());
    for (at, code) in BASE.iter().enumerate() {
        let mut base = [0; 7];
        base[at] = 1;
        let dimension = Dimension { base, own: Vec::new() };
        known.insert(*code, (true, Unit { dimension, ..Unit::ONE }));
    }
    let mut left: Vec<_> = UNITS.iter().collect();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|(code, is_metric, meaning)| {
            let unit = meant(&known, code, *meaning);
            let is_new = unit.is_some();
            known.extend(unit.map(|unit| (*code, (*is_metric, unit))));
            !is_new
        });
        if left.len() == before {
            break;
        }
    }
    known
}

fn meant(
    known: &HashMap<&'static str, (bool, Unit)>,
    code: &'static str,
    meaning: Meaning,
) -> Option<Unit> {
    let multiple = |count: &str, of: &str| {
        let mut parser = Parser { text: of, at: 0, depth: 0, known };
        let unit = parser.whole().ok()?;
        Some(Unit { factor: unit.factor.times(Ratio::parse(count)?)?, ..unit })
    };
    match meaning {
        Meaning::Of(count, of) => multiple(count, of),
        Meaning::Own => {
            let dimension = Dimension { own: vec![(code, 1)], ..Dimension::default() };
            Some(Unit { dimension, ..Unit::ONE })
        }
        Meaning::Pi => Some(Unit { factor: Ratio::PI, ..Unit::ONE }),
        Meaning::Shifted(added, count, of) => {
            let (whole, fraction) = added.split_once('.')?;
            let digits = format!("{whole}{fraction}").parse().ok()?;
            let shift = Shift { digits, exponent: -(fraction.len() as i32) };
            Some(Unit { shift: Some(shift), ..multiple(count, of)? })
        }
    }
}

pub(super) fn unit(code: &str) -> Result<Unit, UnitError> {
    if let Some((_, unit)) = KNOWN.get(code) {
        return Ok(unit.clone());
    }
    if code.len() > MAX_LENGTH {
        return Err(UnitError::Syntax(code.chars().take(40).collect()));
    }
    Parser { text: code, at: 0, depth: 0, known: &KNOWN }.whole()
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    known: &'t HashMap<&'static str, (bool, Unit)>,
}

type Parsed = Result<Unit, UnitError>;

impl<'t> Parser<'t> {
    fn whole(&mut self) -> Parsed {
        let unit = self.term()?;
        if self.at == self.text.len() { Ok(unit) } else { self.fail() }
    }

    fn fail<T>(&self) -> Result<T, UnitError> {
        Err(UnitError::Syntax(self.text.to_owned()))
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn symbol(&mut self, symbol: char) -> bool {
        let found = self.rest().starts_with(symbol);
        self.at += usize::from(found);
        found
    }

    /// `a.b/c`, from the left; a `/` counts for what follows it alone.
    fn term(&mut self) -> Parsed {
        let mut unit = if self.symbol('/') { self.divided(&Unit::ONE)? } else { self.component()? };
        loop {
            unit = if self.symbol('.') {
                let right = self.component()?;
                self.product(unit.times(&right), &unit, &right)?
            } else if self.symbol('/') {
                self.divided(&unit)?
            } else {
                return Ok(unit);
            };
        }
    }

    fn divided(&mut self, left: &Unit) -> Parsed {
        let right = self.component()?;
        self.product(left.over(&right), left, &right)
    }

    fn product(&self, product: Option<Unit>, left: &Unit, right: &Unit) -> Parsed {
        product.ok_or_else(|| {
            let text = self.text.to_owned();
            let shifted = left.shift.is_some() || right.shift.is_some();
            if shifted { UnitError::NoRatio(text) } else { UnitError::Excessive(text) }
        })
    }

    fn component(&mut self) -> Parsed {
        if self.symbol('(') {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return self.fail();
            }
            let unit = self.term()?;
            self.depth -= 1;
            return if self.symbol(')') { Ok(unit) } else { self.fail() };
        }
        if self.rest().starts_with('{') {
            self.annotation()?;
            return Ok(Unit::ONE);
        }
        let unit = self.simple()?;
        self.annotation()?;
        Ok(unit)
    }

    fn annotation(&mut self) -> Result<(), UnitError> {
        if !self.rest().starts_with('{') {
            return Ok(());
        }
        let Some(end) = self.rest().find('}') else { return self.fail() };
        let is_plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        let inner = &self.rest()[1..end];
        if !inner.bytes().all(is_plain) || inner.contains('{') {
            return self.fail();
        }
        self.at += end + 1;
        Ok(())
    }

    /// A number, or a unit with its exponent.
    fn simple(&mut self) -> Parsed {
        let rest = self.rest();
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && !rest[digits..].starts_with(['*', '^']) {
            self.at += digits;
            let factor = Ratio::parse(&rest[..digits]);
            let factor = factor.ok_or_else(|| UnitError::Syntax(self.text.to_owned()))?;
            return Ok(Unit { factor, ..Unit::ONE });
        }
        let name = self.name()?;
        let unit = self.named(name)?;
        let exponent = self.exponent()?;
        let Some(exponent) = exponent else { return Ok(unit) };
        let raised = unit.power(exponent);
        self.product(raised, &unit, &Unit::ONE)
    }

    /// The letters of one unit; brackets may hold anything.
    fn name(&mut self) -> Result<&'t str, UnitError> {
        let rest = self.rest();
        // Only these units begin with digits.
        if rest.starts_with("10*") || rest.starts_with("10^") {
            self.at += 3;
            return Ok(&rest[..3]);
        }
        let mut is_inside = false;
        let mut length = rest.len();
        for (at, byte) in rest.bytes().enumerate() {
            match byte {
                b'[' => is_inside = true,
                b']' => is_inside = false,
                _ if is_inside => {}
                b'.' | b'/' | b'(' | b')' | b'{' | b'}' | b'+' | b'-' | b'0'..=b'9' => {
                    length = at;
                    break;
                }
                _ if byte.is_ascii_graphic() => {}
                _ => return self.fail(),
            }
        }
        if length == 0 || is_inside {
            return self.fail();
        }
        self.at += length;
        Ok(&rest[..length])
    }

    fn named(&self, name: &str) -> Parsed {
        if let Some((_, unit)) = self.known.get(name) {
            return Ok(unit.clone());
        }
        for (prefix, factor) in PREFIXES {
            let Some(stem) = name.strip_prefix(prefix) else { continue };
            let Some((true, unit)) = self.known.get(stem) else { continue };
            let larger = Ratio::parse(factor).and_then(|factor| {
                let shift = match unit.shift {
                    Some(shift) if factor.numerator() == 1 => {
                        Some(Shift { exponent: shift.exponent - factor.exponent(), ..shift })
                    }
                    Some(_) => return None,
                    None => None,
                };
                Some(Unit { factor: unit.factor.times(factor)?, shift, ..unit.clone() })
            });
            return larger.ok_or_else(|| UnitError::Excessive(name.to_owned()));
        }
        Err(UnitError::Unknown(name.to_owned()))
    }

    /// `2`, `-1`, `+3`; `None` where none stands.
    fn exponent(&mut self) -> Result<Option<i32>, UnitError> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['+', '-']));
        let digits = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return if sign == 0 { Ok(None) } else { self.fail() };
        }
        self.at += sign + digits;
        let exponent = rest[..sign + digits].parse::<i32>().ok();
        match exponent.filter(|exponent| exponent.abs() <= MAX_EXPONENT) {
            Some(exponent) => Ok(Some(exponent)),
            None => self.fail(),
        }
    }
}
