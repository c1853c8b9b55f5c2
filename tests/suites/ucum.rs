//! The table of units against UCUM's own: each has the factor, the dimension and the prefixes that
//! its definition says.
//!
//! UCUM is not part of the project; without it the test says so and skips (but fails in CI).

use kiln::fhir::codec::xml::tree::{self, Element};
use kiln::ucum::{Ratio, Unit};

use crate::harness::shared::archive;

const ESSENCE: &str = "ucum/ucum-essence.xml";

fn essence() -> Option<Element> {
    let files = archive("suites/ucum.tar.gz")?;
    let (_, bytes) = files.into_iter().find(|(name, _)| name == ESSENCE).unwrap();
    // It declares that it is ASCII, which is UTF-8 too.
    let text = String::from_utf8(bytes).unwrap().replace("encoding=\"ascii\"", "");
    Some(tree::read(&text).unwrap())
}

fn unit(code: &str) -> Unit {
    Unit::parse(code).unwrap_or_else(|fault| panic!("{code}: {fault}"))
}

/// `digits * 10^exponent` without zeros at the end of the digits.
fn trimmed(mut digits: u128, mut exponent: i32) -> (u128, i32) {
    while digits.is_multiple_of(10) {
        digits /= 10;
        exponent += 1;
    }
    (digits, exponent)
}

/// Digits and exponent of `6.02214076` or `1e-24`.
fn number(text: &str) -> (u128, i32) {
    let (number, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}").parse().unwrap();
    (digits, exponent.parse::<i32>().unwrap() - fraction.len() as i32)
}

/// Whether a factor is exactly the number.
fn is(ratio: Ratio, text: &str) -> bool {
    let (digits, exponent) = number(text);
    let left = trimmed(ratio.numerator(), ratio.exponent());
    left == trimmed(digits * ratio.denominator(), exponent) && ratio.pi() == 0
}

fn parts<'t>(root: &'t Element, name: &str) -> Vec<&'t Element> {
    root.elements().filter(|element| element.name == name).collect()
}

/// The number and the unit that the element says the unit is; of a temperature, in its function.
fn meaning(element: &Element) -> Option<(&str, &str)> {
    let value = element.elements().find(|inner| inner.name == "value")?;
    let value = value.elements().find(|inner| inner.name == "function").unwrap_or(value);
    value.attribute("value").zip(value.attribute("Unit"))
}

#[test]
fn each_unit_is_what_ucum_defines_it_to_be() {
    let Some(root) = essence() else { return };
    let base = parts(&root, "base-unit");
    assert_eq!(base.len(), 7);
    for element in base {
        let code = element.attribute("Code").unwrap();
        assert_eq!(unit(code).base_code(), code);
        assert!(is(unit(code).factor(), "1"), "{code}");
    }
    let prefixes = parts(&root, "prefix");
    assert_eq!(prefixes.len(), 24);
    for element in prefixes {
        let code = element.attribute("Code").unwrap();
        let value = element.elements().find(|inner| inner.name == "value").unwrap();
        let ratio = unit(&format!("{code}m")).in_terms_of(&unit("m")).unwrap();
        let text = value.attribute("value").unwrap();
        assert!(is(ratio, text), "{code}: {ratio:?} is not {text}");
    }
    let units = parts(&root, "unit");
    assert_eq!(units.len(), 305);
    let mut wrong = Vec::new();
    for element in units {
        let code = element.attribute("Code").unwrap();
        let own = unit(code);
        let is_marked = |name: &str| element.attribute(name) == Some("yes");
        let (value, of) = meaning(element).unwrap_or_else(|| panic!("{code} has no meaning"));
        let is_right = match code {
            "[pi]" => {
                let pi = own.factor();
                (pi.numerator(), pi.denominator(), pi.exponent(), pi.pi()) == (1, 1, 0, 1)
            }
            "Cel" | "[degF]" | "[degRe]" => {
                own.shift().is_some() && is(own.in_terms_of(&unit(of)).unwrap(), value)
            }
            // No number of anything else is one of these.
            _ if is_marked("isSpecial") => own.base_code() == code,
            _ if is_marked("isArbitrary") && of == "1" => own.base_code() == code,
            _ => own.in_terms_of(&unit(of)).is_some_and(|ratio| is(ratio, value)),
        };
        if !is_right {
            wrong.push(format!("{code} is {own:?}, not {value} {of}"));
        }
        let larger = Unit::parse(&format!("k{code}"));
        if larger.is_ok() != is_marked("isMetric") {
            wrong.push(format!("k{code} is {larger:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
