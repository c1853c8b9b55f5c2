use super::*;

fn expression(text: &str) -> String {
    format!("_filter={}", encode(text))
}

#[test]
fn expressions_are_what_prefixes_and_modifiers_say() {
    for (of, text, expected) in [
        ("Patient", r#"name eq "peter""#, "name peter"),
        ("Patient", "name co Pet", "name *pet*"),
        ("Patient", "name sw pet", "name pet*"),
        ("Patient", "name ew ter", "name *ter"),
        ("Patient", r#"name ne "a, b""#, "!name a b"),
        ("Patient", r#"name eq "say \"hi\" \\ \| x""#, "name say hi x"),
        ("Patient", "birthdate ge 1980-05", "birthdate ge 1980-05-01~1980-06-01"),
        ("Patient", "birthdate ne 1980", "birthdate ne 1980-01-01~1981-01-01"),
        ("Observation", "date po 2012", "date ap 2012-01-01~2013-01-01"),
        ("Patient", "name pr true", "name present"),
        ("Patient", "name pr false", "!name present"),
        ("Observation", "code eq http://loinc.org|1234-5", "code http://loinc.org|1234-5^"),
        ("Observation", "code ne a", "!code a/a^"),
        ("Observation", "code in http://v", "code in http://v"),
        ("Observation", "code ni http://v", "!code in http://v"),
        ("Observation", "code ss s|c", "code below s|c"),
        ("Observation", "code sb s|c", "code above s|c"),
        ("Observation", "value-quantity gt 5.4|s|u", "value-quantity gt 5.4 [5.35, 5.45) s|u"),
        ("RiskAssessment", "probability ap 5", "probability ap 5 [4.5, 5.5]"),
        ("Observation", "subject eq Patient/1", "subject Patient/1"),
        ("Observation", "subject re Patient/1", "subject Patient/1"),
        ("Observation", "subject ne Patient/1", "!subject Patient/1"),
        ("ValueSet", "url sw http://a", "url below http://a"),
        ("ValueSet", "url sw urn:oid:1", "()"),
        ("ValueSet", "url eq http://a", "url http://a"),
        ("Patient", "_id eq a", "_id a"),
        ("Patient", "_id ne a", "!_id a"),
        ("Patient", "_lastUpdated ge 2020", "_lastUpdated ge 2020-01-01~2021-01-01"),
        ("Patient", "_lastUpdated po 2020", "_lastUpdated eq 2020-01-01~2021-01-01"),
        ("Patient", "_lastUpdated pr true", "()"),
        ("Patient", "_id pr true and name eq a", "(() & name a)"),
        ("Patient", "not(_id pr false)", "!()"),
        ("Patient", "_list eq 42", "_list [_id 42]"),
        ("", "_type eq Patient", "_type Patient"),
        ("Patient", r#"_content co "a b""#, "Content has a b"),
        ("Location", "near eq 1|2|3", "near 1,2 within 3000 m"),
        (
            "Observation",
            "code-value-date eq x$ge2012",
            "code-value-date x/x^ $ ge 2012-01-01~2013-01-01",
        ),
    ] {
        assert_eq!(filters(&format!("{of}?{}", expression(text))), expected, "{text}");
    }
}

#[test]
fn and_binds_tighter_than_or() {
    for (text, expected) in [
        ("name eq a and name eq b or name eq c", "((name a & name b) | name c)"),
        ("name eq a or name eq b and name eq c", "(name a | (name b & name c))"),
        ("(name eq a or name eq b) and name eq c", "((name a | name b) & name c)"),
        ("not(name eq a) and not (name eq b or name eq c)", "(!name a & !(name b | name c))"),
        ("((name eq a))", "name a"),
        ("  name   eq\ta  ", "name a"),
        ("name eq or or name eq and", "(name or | name and)"),
        ("name eq not", "name not"),
    ] {
        assert_eq!(filters(&format!("Patient?{}", expression(text))), expected, "{text}");
    }
}

#[test]
fn paths_lead_on() {
    for (text, expected) in [
        ("subject:Patient.name eq a", "subject>[Patient: name a]"),
        ("subject.name eq a", "subject>[Location: name a; Patient: name a]"),
        (
            "patient[birthdate gt 2000].name eq a",
            "patient>[Patient: (birthdate gt 2000-01-01~2001-01-01 & name a)]",
        ),
        (
            "patient[active eq true or name eq b].organization[name eq \"c ]\"].partof.name co d",
            "patient>[Patient: ((active true | name b) & organization>[Organization: (name c & \
             partof>[Organization: name *d*])])]",
        ),
    ] {
        assert_eq!(filters(&format!("Observation?{}", expression(text))), expected, "{text}");
    }
    for (text, expected) in [
        ("_has:Observation:patient:code eq a", "<Observation.patient[code a/a^]"),
        ("not(_has:Observation:patient:code eq a)", "!<Observation.patient[code a/a^]"),
        (
            "_has:Observation:patient:_has:DiagnosticReport:result:status eq final and active eq true",
            "(<Observation.patient[<DiagnosticReport.result[status final]] & active true)",
        ),
        (
            "_has:Observation:patient:encounter:Encounter[status eq planned].date ge 2020",
            "<Observation.patient[encounter>[Encounter: (status planned & date ge 2020-01-01~2021-01-01)]]",
        ),
        (
            "general-practitioner:Organization._has:Patient:organization:name eq b",
            "general-practitioner>[Organization: <Patient.organization[name b]]",
        ),
    ] {
        assert_eq!(filters(&format!("Patient?{}", expression(text))), expected, "{text}");
    }
    let both = format!("Observation?patient._filter={}", &expression("name eq a")[8..]);
    assert_eq!(filters(&both), "patient>[Patient: name a]");
}

#[test]
fn brackets_behind_a_composite_hold_its_parts_on_one_element() {
    for (of, text, same) in [
        (
            "DocumentReference",
            r#"relationship[relation eq "replaces"].relatesto re DocumentReference/4"#,
            "relationship=replaces$DocumentReference/4",
        ),
        (
            "DocumentReference",
            "relationship[relatesto eq DocumentReference/4].relation eq replaces",
            "relationship=replaces$DocumentReference/4",
        ),
        (
            "Observation",
            "component-code-value-quantity[component-code eq s|c].component-value-quantity gt 5.4|s|u",
            "component-code-value-quantity=s|c$gt5.4|s|u",
        ),
        ("Observation", "code-value-date[value-date eq 2012].code eq x", "code-value-date=x$2012"),
        ("Observation", "code-value-string[code eq x].value-string sw y", "code-value-string=x$y"),
        (
            "MolecularSequence",
            "chromosome-variant-coordinate[chromosome eq 1 and variant-start ge 2].variant-end lt 3",
            "chromosome-variant-coordinate=1$ge2$lt3",
        ),
    ] {
        let expected = filters(&format!("{of}?{}", same.replace('|', "%7C")));
        assert_eq!(filters(&format!("{of}?{}", expression(text))), expected, "{text}");
    }
    // A dollar in a value of its own parts nothing.
    let text = "code-value-string[code eq s|a$b].value-string sw y";
    let found = filters(&format!("Observation?{}", expression(text)));
    assert_eq!(found, filters(r"Observation?code-value-string=s%7Ca\$b$y"));
}

#[test]
fn each_part_of_a_composite_is_asked_for_once() {
    let each = "each part of code-value-quantity is asked for once: code, value-quantity";
    for (text, expected) in [
        ("code-value-quantity[code eq a].code eq b", format!("column 1: {each}")),
        ("code-value-quantity[code eq a].nope eq b", format!("column 1: {each}")),
        ("code-value-quantity[code eq a].value-quantity.x eq b", format!("column 1: {each}")),
        (
            "code-value-quantity[code eq a or code eq b].value-quantity eq 1",
            format!("column 1: {each}"),
        ),
        (
            "code-value-quantity[code eq a and value-quantity gt 1].value-quantity lt 2",
            format!("column 1: {each}"),
        ),
        (
            "code-value-quantity[code ne a].value-quantity eq 1",
            "column 26: ne does not apply to a part that is a token".to_owned(),
        ),
        (
            "code-value-quantity[code eq a].value-quantity pr true",
            "column 47: pr does not apply to a part that is a quantity".to_owned(),
        ),
        (
            "code-value-quantity[code eq a].value-quantity gt x",
            "column 50: value 1, \"gtx\", is not".to_owned(),
        ),
        (
            "code-value-quantity.code eq a",
            "column 1: code-value-quantity is a composite, no reference".to_owned(),
        ),
    ] {
        let found = faults(&format!("Observation?{}", expression(text)), &context());
        assert!(found[0].starts_with(&format!("_filter: {expected}")), "{text}: {found:?}");
    }
}

#[test]
fn what_is_wrong_has_its_column() {
    for (text, expected) in [
        ("name", "column 5: an operator"),
        ("name xx a", "column 6: an operator"),
        ("name eq", "column 8: a value is expected"),
        ("name eq a b", "column 11: and, or, or the end is expected"),
        ("(name eq a", "column 11: and, or, or ) is expected"),
        ("name eq a)", "column 10: and, or, or the end is expected"),
        ("name eq \"a", "column 11: the closing quote is expected"),
        ("name eq \"a\\", "column 12: the closing quote is expected"),
        ("é eq a", "column 1: Patient has no search parameter \"é\""),
        ("name eq é and = eq b", "column 15: the name of a parameter, not or ( is expected"),
        ("not name eq a", "column 5: an operator"),
        ("name eq a and", "column 14: the name of a parameter, not or ( is expected"),
        ("nope eq a", "column 1: Patient has no search parameter \"nope\""),
        ("name eq a and birthdate ge x", "column 28: value 1, \"gex\", is not a date"),
        ("name gt a", "column 6: gt does not apply to string"),
        ("birthdate co 1", "column 11: co does not apply to date"),
        ("_id gt a", "column 8: gt does not apply to _id"),
        ("gender:not eq male", "column 1: there are no modifiers here"),
        ("organization.nope eq a", "column 14: Organization has no search parameter \"nope\""),
        ("gender.name eq a", "column 1: gender is a token, no reference"),
        ("organization[name eq a] eq b", "column 24: . and the name of a parameter is expected"),
        ("name pr maybe", "column 9: value 1, \"maybe\", is not true or false"),
        ("_has:Observation:patient:code:not eq a", "column 1: there are no modifiers here"),
        (
            "_has:Observation:patient eq a",
            "column 1: is not of the form _has:Type:reference:parameter",
        ),
        ("_has:Nope:patient:code eq a", "column 1: \"Nope\" is no type of resource"),
        (
            "name eq a and _has:Observation:encounter:code eq a",
            "column 15: Observation.encounter does not lead",
        ),
        (
            "_has:Observation:patient:nope eq a",
            "column 1: Observation has no search parameter \"nope\"",
        ),
        ("_has:Observation:patient:code xx a", "column 31: an operator"),
        ("_id pr maybe", "column 8: value 1, \"maybe\", is not true or false"),
        ("_lastUpdated po ge2020", "column 17: value 1, \"eqge2020\", is not a date"),
        ("_filter eq a", "column 12: eq does not apply to _filter"),
    ] {
        let found = faults(&format!("Patient?{}", expression(text)), &context());
        let expected = format!("_filter: {expected}");
        assert!(found[0].starts_with(&expected), "{text}: {found:?}");
    }
    let composite = format!("Observation?{}", expression("code-value-date pr true"));
    assert_eq!(
        faults(&composite, &context()),
        ["_filter: column 17: pr does not apply to composite"],
    );
    let two = faults(&format!("Patient?{}", expression("nope eq a or birthdate ge x")), &context());
    assert_eq!(two.len(), 2, "{two:?}");
}

#[test]
fn an_expression_may_go_only_so_deep() {
    let deep = |count| format!("{}name eq a{}", "(".repeat(count), ")".repeat(count));
    assert_eq!(filters(&format!("Patient?{}", expression(&deep(32)))), "name a");
    for text in [deep(33), deep(100_000), "not(".repeat(100_000), "organization[".repeat(50_000)] {
        let found = faults(&format!("Patient?{}", expression(&text)), &context());
        assert!(found[0].contains("parentheses around each other"), "{found:?}");
    }
    let long = format!("Patient?{}", expression(&vec!["name eq a"; 2_001].join(" or ")));
    assert!(faults(&long, &context())[0].contains("comparisons"));
}
