//! Units of measure to UCUM.
//!
//! In this order: the code of a unit that says it is of UCUM; the site's own table; our aliases of
//! the ANSI+ and ISO+ words and what laboratories write; what is a code of UCUM as it stands. All
//! others stay a text without a code.

use crate::fhir::json::Object;
use crate::ucum::Unit;

use super::{Context, NoteKind, Rep, text};

/// The system of UCUM's codes.
pub const UCUM: &str = "http://unitsofmeasure.org";

/// Words for units, in small letters without blanks, and what UCUM writes.
///
/// They come before what UCUM itself reads: to it `K/uL` is Kelvin in a microlitre.
const ALIASES: &[(&str, &str)] = &[
    ("%", "%"),
    ("/hpf", "/[HPF]"),
    ("/lpf", "/[LPF]"),
    ("/mm3", "/mm3"),
    ("/ul", "/uL"),
    ("10*12/l", "10*12/L"),
    ("10*3/mm3", "10*3/mm3"),
    ("10*3/ul", "10*3/uL"),
    ("10*6/ul", "10*6/uL"),
    ("10*9/l", "10*9/L"),
    ("10^12/l", "10*12/L"),
    ("10^3/ul", "10*3/uL"),
    ("10^6/ul", "10*6/uL"),
    ("10^9/l", "10*9/L"),
    ("10e12/l", "10*12/L"),
    ("10e3/ul", "10*3/uL"),
    ("10e6/ul", "10*6/uL"),
    ("10e9/l", "10*9/L"),
    ("beats/min", "/min"),
    ("bpm", "/min"),
    ("breaths/min", "/min"),
    ("c", "Cel"),
    ("cel", "Cel"),
    ("cells/ul", "{cells}/uL"),
    ("cm", "cm"),
    ("cm_h2o", "cm[H2O]"),
    ("cmh2o", "cm[H2O]"),
    ("copies/ml", "{copies}/mL"),
    ("day", "d"),
    ("days", "d"),
    ("degc", "Cel"),
    ("degf", "[degF]"),
    ("dl", "dL"),
    ("f", "[degF]"),
    ("fl", "fL"),
    ("ft", "[ft_i]"),
    ("g/dl", "g/dL"),
    ("g/l", "g/L"),
    ("gm", "g"),
    ("gm/dl", "g/dL"),
    ("gm/l", "g/L"),
    ("hour", "h"),
    ("hours", "h"),
    ("hr", "h"),
    ("hrs", "h"),
    ("in", "[in_i]"),
    ("inch", "[in_i]"),
    ("inches", "[in_i]"),
    ("iu", "[IU]"),
    ("iu/l", "[IU]/L"),
    ("iu/ml", "[IU]/mL"),
    ("k/mm3", "10*3/mm3"),
    ("k/ul", "10*3/uL"),
    ("kg", "kg"),
    ("kg/m2", "kg/m2"),
    ("l", "L"),
    ("lb", "[lb_av]"),
    ("lbs", "[lb_av]"),
    ("m/ul", "10*6/uL"),
    ("m2", "m2"),
    ("mcg", "ug"),
    ("mcg/dl", "ug/dL"),
    ("mcg/l", "ug/L"),
    ("mcg/ml", "ug/mL"),
    ("mciu/ml", "u[IU]/mL"),
    ("meq/l", "meq/L"),
    ("mg", "mg"),
    ("mg/24h", "mg/(24.h)"),
    ("mg/d", "mg/d"),
    ("mg/dl", "mg/dL"),
    ("mg/g", "mg/g"),
    ("mg/l", "mg/L"),
    ("mg/ml", "mg/mL"),
    ("mil/ul", "10*6/uL"),
    ("min", "min"),
    ("minutes", "min"),
    ("miu/l", "m[IU]/L"),
    ("miu/ml", "m[IU]/mL"),
    ("ml", "mL"),
    ("ml/hr", "mL/h"),
    ("ml/min", "mL/min"),
    ("ml/min/1.73m2", "mL/min/{1.73_m2}"),
    ("mm(hg)", "mm[Hg]"),
    ("mm/h", "mm/h"),
    ("mm/hr", "mm/h"),
    ("mm[hg]", "mm[Hg]"),
    ("mmhg", "mm[Hg]"),
    ("mmol/l", "mmol/L"),
    ("months", "mo"),
    ("mosm/kg", "mosm/kg"),
    ("ng/dl", "ng/dL"),
    ("ng/l", "ng/L"),
    ("ng/ml", "ng/mL"),
    ("nmol/l", "nmol/L"),
    ("percent", "%"),
    ("pg", "pg"),
    ("pg/ml", "pg/mL"),
    ("pmol/l", "pmol/L"),
    ("sec", "s"),
    ("seconds", "s"),
    ("secs", "s"),
    ("thou/mm3", "10*3/mm3"),
    ("thou/ul", "10*3/uL"),
    ("thousand/ul", "10*3/uL"),
    ("u/l", "U/L"),
    ("u/ml", "U/mL"),
    ("ug/dl", "ug/dL"),
    ("ug/l", "ug/L"),
    ("ug/ml", "ug/mL"),
    ("uiu/ml", "u[IU]/mL"),
    ("umol/l", "umol/L"),
    ("unit/l", "U/L"),
    ("units/l", "U/L"),
    ("week", "wk"),
    ("weeks", "wk"),
    ("wk", "wk"),
    ("x10(3)/ul", "10*3/uL"),
    ("x10(6)/ul", "10*6/uL"),
    ("x10*3/ul", "10*3/uL"),
    ("x10*6/ul", "10*6/uL"),
    ("x10*9/l", "10*9/L"),
    ("x10^3/ul", "10*3/uL"),
    ("x10^6/ul", "10*6/uL"),
    ("x10e3/ul", "10*3/uL"),
    ("x10e6/ul", "10*6/uL"),
    ("year", "a"),
    ("years", "a"),
    ("yr", "a"),
    ("yrs", "a"),
];

/// The code of UCUM for a unit; `None` when nobody knows one.
pub fn code(unit: &Rep<'_>, context: &Context<'_>) -> Option<String> {
    for (at, name) in [(1, 3), (4, 6)] {
        let own = unit.c(at);
        if unit.c(name).eq_ignore_ascii_case("UCUM") && Unit::parse(own).is_ok() {
            return Some(own.to_owned());
        }
    }
    [1, 2, 4].into_iter().filter_map(|at| unit.some(at)).find_map(|text| word(text, context))
}

/// The code of UCUM for a word.
pub fn word(word: &str, context: &Context<'_>) -> Option<String> {
    let listed = |word: &str| context.site.units.get(word).cloned();
    if let Some(code) = listed(word).or_else(|| listed(&word.to_lowercase())) {
        return Some(code);
    }
    let mut plain: String = word.chars().filter(|next| !next.is_whitespace()).collect();
    plain = plain.replace(['µ', 'μ'], "u");
    let small = plain.to_lowercase();
    if let Ok(at) = ALIASES.binary_search_by(|(own, _)| (*own).cmp(&small)) {
        return Some(ALIASES[at].1.to_owned());
    }
    Unit::parse(&plain).is_ok().then_some(plain)
}

/// Puts a unit into a Quantity: what it is called, and its code where it has one.
pub fn put(quantity: &mut Object<'static>, unit: &Rep<'_>, context: &Context<'_>) {
    let name = unit.some(2).or(unit.some(1)).or(unit.some(5)).or(unit.some(9));
    let Some(name) = name else { return };
    if let Some(name) = text(unit.some(1).unwrap_or(name)) {
        quantity.set("unit", name);
    }
    if let Some(code) = code(unit, context) {
        quantity.set("system", UCUM);
        quantity.set("code", code);
    } else {
        context.note(NoteKind::UnmappedUnit, "the unit is none of UCUM");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alias_is_a_unit_of_ucum_and_in_order() {
        for pair in ALIASES.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{:?}", pair[1].0);
        }
        for (word, code) in ALIASES {
            assert!(Unit::parse(code).is_ok(), "{word:?} {code:?}");
        }
    }
}
