//! Units against what is known of them.

use super::parse::unit;
use super::table::UNITS;
use super::*;

fn read(code: &str) -> Unit {
    Unit::parse(code).unwrap_or_else(|fault| panic!("{code}: {fault}"))
}

#[test]
fn every_unit_of_the_table_has_a_meaning() {
    for (code, ..) in &UNITS {
        // Each is found whole and, where it has a ratio, in a product.
        read(code);
        if !matches!(*code, "Cel" | "[degF]" | "[degRe]") {
            read(&format!("{code}/{code}"));
        }
    }
}

#[test]
fn factors_between_units_are_exact() {
    for (from, to, numerator, denominator, exponent) in [
        ("g", "mg", 1, 1, 3),
        ("kg", "g", 1, 1, 3),
        ("L", "dm3", 1, 1, 0),
        ("mL", "cm3", 1, 1, 0),
        ("[in_i]", "cm", 254, 1, -2),
        ("[ft_i]", "[in_i]", 12, 1, 0),
        ("[lb_av]", "kg", 45_359_237, 1, -8),
        ("[gal_us]", "L", 3_785_411_784, 1, -9),
        ("h", "s", 36, 1, 2),
        ("wk", "d", 7, 1, 0),
        ("a", "d", 1461, 4, 0),
        ("mo", "a", 1, 12, 0),
        ("N", "kg.m/s2", 1, 1, 0),
        ("mm[Hg]", "Pa", 133_322, 1, -3),
        ("kat", "U", 6, 1, 7),
        ("10*3/uL", "10*9/L", 1, 1, 0),
        ("10*9/L", "/nL", 1, 1, 0),
        ("%", "1", 1, 1, -2),
        ("mmol/L", "mol/m3", 1, 1, 0),
        ("meq", "mmol", 1, 1, 0),
        ("deg", "[pi].rad", 1, 18, -1),
        ("{RBC}/uL", "/mm3", 1, 1, 0),
        ("mg/kg/h", "mg/(kg.h)", 1, 1, 0),
        ("[IU]/L", "[iU]/dL", 1, 1, -1),
        ("k[IU]/mL", "[IU]/uL", 1, 1, 0),
        ("Kibit", "bit", 1024, 1, 0),
        ("m/s2.kg", "N", 1, 1, 0),
    ] {
        let ratio = read(from).in_terms_of(&read(to)).unwrap_or_else(|| panic!("{from} {to}"));
        let found = (ratio.numerator(), ratio.denominator(), ratio.exponent(), ratio.pi());
        assert_eq!(found, (numerator, denominator, exponent, 0), "{from} {to}");
    }
}

#[test]
fn only_units_of_one_dimension_compare() {
    for (one, other) in [
        ("cm", "s"),
        ("[IU]", "mol"),
        ("[IU]", "[arb'U]"),
        ("[pH]", "mol/L"),
        ("m", "m2"),
        ("g", "1"),
    ] {
        assert!(!read(one).is_comparable(&read(other)), "{one} {other}");
    }
    assert!(read("Cel").is_comparable(&read("[degF]")));
    assert!(read("mol").is_comparable(&read("1")), "a mole is a number");
}

#[test]
fn comparable_units_have_the_same_base_code() {
    for (code, expected) in [
        ("1", "1"),
        ("mg/dL", "g.m-3"),
        ("mmol/L", "m-3"),
        ("N", "g.m.s-2"),
        ("[degF]", "K"),
        ("[IU]/L", "[iU].m-3"),
        ("[in_i]", "m"),
        ("V", "C-1.g.m2.s-2"),
        ("m/m", "1"),
        ("[IU]/[IU]", "1"),
    ] {
        assert_eq!(read(code).base_code(), expected, "{code}");
    }
}

#[test]
fn what_is_no_unit_is_named() {
    let syntax = |text: &str| UnitError::Syntax(text.to_owned());
    let unknown = |text: &str| UnitError::Unknown(text.to_owned());
    for (code, expected) in [
        ("", syntax("")),
        ("m//s", syntax("m//s")),
        ("m.", syntax("m.")),
        ("(m", syntax("(m")),
        ("m)", syntax("m)")),
        ("m{a", syntax("m{a")),
        ("m 2", syntax("m 2")),
        ("[in_i", syntax("[in_i")),
        ("m-", syntax("m-")),
        ("m100", syntax("m100")),
        ("µg", syntax("µg")),
        ("0", syntax("0")),
        ("lbs", unknown("lbs")),
        ("m/xyz", unknown("xyz")),
        ("[s]", unknown("[s]")),
        ("kmin", unknown("kmin")),
        ("KG", unknown("KG")),
        ("Cel/min", UnitError::NoRatio("Cel/min".to_owned())),
        ("Cel2", UnitError::NoRatio("Cel2".to_owned())),
        ("[acr_br]50", UnitError::Excessive("[acr_br]50".to_owned())),
    ] {
        assert_eq!(Unit::parse(code).err(), Some(expected), "{code:?}");
    }
    assert!(unit(&"(".repeat(200)).is_err());
    assert!(unit(&"m".repeat(1000)).is_err());
}

#[test]
fn temperatures_have_their_zeros() {
    for (code, digits, exponent) in [("Cel", 27315, -2), ("mCel", 27315, 1), ("[degF]", 45967, -2)]
    {
        assert_eq!(read(code).shift(), Some(Shift { digits, exponent }), "{code}");
    }
    assert_eq!(read("K").shift(), None);
}

proptest::proptest! {
    #[test]
    fn nothing_makes_the_parser_panic(code in r"([a-zA-Z\[\]{}()./0-9*^'%+-]|mm|\[IU\]|10\*|é){0,20}") {
        if let Ok(unit) = Unit::parse(&code) {
            assert!(unit.factor().approximate() >= 0.0);
            assert!(!unit.base_code().is_empty());
        }
    }
}
