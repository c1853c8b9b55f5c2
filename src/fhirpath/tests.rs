//! The evaluator over the element table of R4.

mod limits;

use std::sync::{Arc, LazyLock};

use super::*;
use crate::fhir::Instant;
use crate::fhir::json::parse;
use crate::spec::Spec;

static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| Spec::r4().expect("the pack in the binary"));

/// Knows one value set, one code below another, and no profile.
#[derive(Debug)]
struct Few;

impl Knowledge for Few {
    fn member_of(&self, item: &Item<'_>, value_set: &str) -> Answer {
        match (value_set, item.system(&SPEC.schema)) {
            ("http://vs", Some(System::String(code))) => Ok(Some(code == "usual")),
            ("http://vs", _) => Ok(None),
            _ => Err(Ignorance::Unknown(value_set.to_owned())),
        }
    }

    fn subsumes(&self, ancestor: &Item<'_>, code: &Item<'_>) -> Answer {
        let text = |item: &Item<'_>| item.system(&SPEC.schema).map(|value| value.to_text());
        let codes = text(ancestor).zip(text(code));
        Ok(codes.map(|(ancestor, code)| code.starts_with(&ancestor)))
    }
}

/// The items as text: values as they print, nodes as JSON.
fn shown(document: &str, text: &str) -> Result<Vec<String>, EvaluationError> {
    let document = parse(document.as_bytes()).expect("JSON");
    let expression = Expression::parse(text).expect(text);
    let environment = Environment::new(&document, &SPEC.schema);
    let now = Instant::parse("2026-03-14T15:09:26.535Z").expect("a moment");
    let environment = environment.with_now(now).with_knowledge(&Few);
    let items = expression.evaluate(&environment)?;
    let show = |item: &Item<'_>| match item {
        Item::Node(node) => node.value.to_text(),
        Item::Target(target) => format!("-> {}", target.reference),
        Item::Type(info) => format!("{}.{}", info.namespace, info.name),
        Item::Value(value) => value.to_text(),
    };
    Ok(items.iter().map(show).collect())
}

const PATIENT: &str = r##"{"resourceType":"Patient","id":"p","active":true,
  "contained":[{"resourceType":"Organization","id":"o","name":"Inner"}],
  "name":[{"use":"official","family":"Chalmers","given":["Peter","James"],
           "_given":[null,{"extension":[{"url":"u","valueString":"x"}]}]},
          {"use":"usual","given":["Jim"]}],
  "birthDate":"1974-12-25","_birthDate":{"extension":[{"url":"http://t","valueDateTime":"1974-12-25T14:35:45-05:00"}]},
  "_gender":{"extension":[{"url":"why","valueCode":"unknown"}]},
  "deceasedDateTime":"2020-01-01","multipleBirthInteger":2,
  "telecom":[{"system":"phone","value":"1","rank":1},{"system":"email","value":"2"}],
  "managingOrganization":{"reference":"#o"},
  "generalPractitioner":[{"reference":"Practitioner/1"},
    {"reference":"http://x/fhir/Organization/2/_history/3"},{"reference":"urn:uuid:1","type":"Practitioner"}]}"##;

#[test]
fn paths_choices_and_types_follow_the_element_table() {
    for (text, expected) in [
        ("Patient.name.given", &["\"Peter\"", "\"James\"", "\"Jim\""][..]),
        ("name[0].given[1]", &["\"James\""]),
        ("name[0].given[1].extension.value", &["\"x\""]),
        ("name.given.extension('u').value", &["\"x\""]),
        ("Observation.name", &[]),
        ("Resource.id | DomainResource.id", &["\"p\""]),
        ("Patient.deceased", &["\"2020-01-01\""]),
        ("Patient.deceasedDateTime", &[]),
        ("Patient.deceased is dateTime", &["true"]),
        ("Patient.deceased as boolean", &[]),
        ("Patient.multipleBirth.ofType(integer)", &["2"]),
        ("Patient.unknown", &[]),
        ("Patient.resourceType", &[]),
        ("gender", &["null"]),
        ("gender.exists()", &["true"]),
        ("gender.hasValue()", &["false"]),
        ("birthDate.hasValue()", &["true"]),
        ("gender.extension.value", &["\"unknown\""]),
        ("birthDate.extension('http://t').value", &["\"1974-12-25T14:35:45-05:00\""]),
        ("contained.name", &["\"Inner\""]),
        ("contained.ofType(Organization).id", &["\"o\""]),
        ("contained is Patient", &["false"]),
        ("Patient is DomainResource", &["true"]),
        ("Patient is FHIR.Resource", &["true"]),
        ("active is boolean", &["true"]),
        ("active is System.Boolean", &["false"]),
        ("true is Boolean", &["true"]),
        ("name.where(use = 'usual').given", &["\"Jim\""]),
        ("name.given.where($index = 1)", &["\"James\""]),
        ("name.where(given.where($this = 'Jim').exists()).use", &["\"usual\""]),
        ("name.select(given.first())", &["\"Peter\"", "\"Jim\""]),
        ("telecom.where(system='phone').value", &["\"1\""]),
        ("name.children().count()", &["6"]),
        ("%resource.descendants().where($this is string).count()", &["20"]),
        ("%context.id = %rootResource.id", &["true"]),
        ("%`ext-a`", &["http://hl7.org/fhir/StructureDefinition/a"]),
    ] {
        assert_eq!(shown(PATIENT, text).expect(text), expected, "{text}");
    }
}

/// Covers: security H9.
#[test]
fn references_resolve_from_the_document_or_to_their_type() {
    for (text, expected) in [
        ("managingOrganization.resolve().name", &["\"Inner\""][..]),
        ("managingOrganization.where(resolve() is Organization).reference", &["\"#o\""]),
        ("generalPractitioner.where(resolve() is Practitioner).count()", &["2"]),
        ("generalPractitioner.where(resolve() is Organization).count()", &["1"]),
        ("generalPractitioner.where(resolve() is Patient).count()", &["0"]),
        ("generalPractitioner[0].resolve()", &["-> Practitioner/1"]),
        ("generalPractitioner[0].resolve().name", &[]),
    ] {
        assert_eq!(shown(PATIENT, text).expect(text), expected, "{text}");
    }
    let bundle = r#"{"resourceType":"Bundle","entry":[
        {"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient","id":"a"}},
        {"resource":{"resourceType":"Observation","subject":{"reference":"urn:uuid:1"}}}]}"#;
    let text = "Bundle.entry[1].resource.subject.where(resolve() is Patient).resolve().id";
    assert_eq!(shown(bundle, text).expect(text), ["\"a\""]);
    assert_eq!(shown(bundle, "Bundle.entry[0].resource.id").expect("a"), ["\"a\""]);
}

#[test]
fn operators_follow_three_valued_logic_and_exact_numbers() {
    for (text, expected) in [
        ("Patient.deceased.exists() and Patient.deceased != false", Some("true")),
        ("1 = 1.0", Some("true")),
        ("0.1 + 0.2 = 0.3", Some("true")),
        ("{} = 1", None),
        ("{} and false", Some("false")),
        ("{} and true", None),
        ("{} or true", Some("true")),
        ("{} implies true", Some("true")),
        ("true implies {}", None),
        ("false implies {}", Some("true")),
        ("{} implies {}", None),
        ("true xor false", Some("true")),
        ("true xor {}", None),
        ("birthDate < @1975", Some("true")),
        ("birthDate = @1974", None),
        ("birthDate > @1974-12-24", Some("true")),
        ("deceased > @2019", Some("true")),
        ("'a' < 'b'", Some("true")),
        ("7 div 2", Some("3")),
        ("-7 mod 2", Some("-1")),
        ("7 / 2", Some("3.5")),
        ("1 / 0", None),
        ("1 div 0", None),
        ("9223372036854775807 + 1", None),
        ("'a' & {} & 'b'", Some("ab")),
        ("'a' + 'b'", Some("ab")),
        ("'A  b' ~ 'a B'", Some("true")),
        ("(1 | 2) ~ (2 | 1)", Some("true")),
        ("(1 | 2) = (2 | 1)", Some("false")),
        ("2 in (1 | 2 | 2)", Some("true")),
        ("(1 | 2) contains 3", Some("false")),
        ("(1 | 2 | 2 | 1.0).count()", Some("2")),
        ("1 'mg' = 1.0 'mg'", Some("true")),
        ("1 'mg' = 1 'g'", Some("false")),
        ("1 'mg' = 1 's'", None),
        ("2 days > 1 day", Some("true")),
        ("name.count().toString()", Some("2")),
        ("iif(active, 'y', 1 / {})", Some("y")),
        ("active.not()", Some("false")),
        ("{}.not()", None),
        ("(1|2|3).skip(1).first()", Some("2")),
        ("(1|2|3).tail().last()", Some("3")),
        ("(1|2|3).take(2).count()", Some("2")),
        ("(1|2|3).exclude(2).count()", Some("2")),
        ("name.all(given.exists())", Some("true")),
        ("'añb'.indexOf('b')", Some("2")),
        ("'añb'.substring(1, 1)", Some("ñ")),
        ("'ab'.substring(-1)", None),
        ("'abc'.startsWith('ab') and 'abc'.endsWith('c') and 'abc'.contains('')", Some("true")),
    ] {
        let found = shown(PATIENT, text).expect(text);
        assert_eq!(found.first().map(String::as_str), expected, "{text}");
        assert!(found.len() < 2, "{text}");
    }
}

#[test]
fn the_library_answers_as_the_specification_says() {
    for (text, expected) in [
        ("'1.50'.toDecimal()", &["1.50"][..]),
        ("'+1'.toInteger()", &["1"]),
        ("'1e3'.toDecimal()", &[]),
        ("1.5.toInteger()", &[]),
        ("name.first().toString()", &[]),
        ("'y'.toBoolean()", &["true"]),
        ("'maybe'.convertsToBoolean()", &["false"]),
        ("{}.convertsToBoolean()", &[]),
        ("'2015-02-30'.convertsToDate()", &["false"]),
        ("'2015-02-04T14:34:28Z'.toDate()", &["2015-02-04"]),
        ("'14:30'.convertsToDate()", &["false"]),
        ("birthDate.toDateTime() is DateTime", &["true"]),
        ("@2015-02-04T14:34:28Z.toTime()", &[]),
        (r"'1 \'g\''.toQuantity('mg')", &["1000 'mg'"]),
        ("'1 g'.convertsToQuantity()", &["false"]),
        ("1.convertsToQuantity('mg')", &["false"]),
        ("(5 'mg').unit & (5 'mg').value.toString()", &["mg5"]),
        ("2.power(10)", &["1024"]),
        ("2.power(-1)", &["0.5"]),
        ("1.1.power(3)", &["1.331"]),
        ("2.power(0.5)", &["1.4142135623731"]),
        ("0.ln()", &[]),
        ("1000.exp()", &[]),
        ("(-1.5).round()", &["-2"]),
        ("(-2.5).abs() + (-2).abs()", &["4.5"]),
        (r"'a.b'.matches('a\\.b') and 'xa'.matchesFull('a').not()", &["true"]),
        ("'2020-01'.replaceMatches('(?<y>[0-9]+)-([0-9]+)', '$2/${y}$')", &["01/2020$"]),
        ("name.given.select(matches($this))", &["true", "true", "true"]),
        ("'añb'.toChars()", &["a", "ñ", "b"]),
        ("'abab'.lastIndexOf('b')", &["3"]),
        ("'a-b'.split('-').join('+')", &["a+b"]),
        ("'ab'.replace('', '-')", &["-a-b-"]),
        (r"'\u0001'.escape('json')", &[r"\u0001"]),
        ("'zz'.decode('hex')", &[]),
        ("'&amp;lt;'.unescape('html')", &["&lt;"]),
        (r"'\\ud83d\\ude00 \\u00e9'.unescape('json')", &["\u{1f600} é"]),
        (r"'\\ud83d x'.unescape('json')", &[]),
    ] {
        assert_eq!(shown(PATIENT, text).expect(text), expected, "{text}");
    }
}

#[test]
fn order_time_types_and_knowledge_are_told() {
    for (text, expected) in [
        ("(3 | 1 | 2).sort(-$this)", &["3", "2", "1"][..]),
        ("telecom.sort(rank).value", &["\"2\"", "\"1\""]),
        ("(1 | 2 | 3).aggregate($total + $this)", &[]),
        ("(1 | 2 | 3).aggregate($total + $this * $index, 0)", &["8"]),
        ("today()", &["2026-03-14"]),
        ("timeOfDay()", &["15:09:26.535"]),
        ("now() - 1 day", &["2026-03-13T15:09:26.535Z"]),
        ("birthDate + 1 'wk'", &["1975-01-01"]),
        ("birthDate.type()", &["FHIR.date"]),
        ("1.type() = 2.type()", &["true"]),
        ("birthDate.getValue().type()", &["System.Date"]),
        ("gender.getValue()", &[]),
        ("name.use.where(memberOf('http://vs'))", &["\"usual\""]),
        ("name.first().memberOf('http://vs')", &[]),
        ("'a1'.subsumedBy('a')", &["true"]),
        ("'a1'.subsumes('a')", &["false"]),
        ("checkModifiers('u').id", &["\"p\""]),
        ("trace('x', name.given).id", &["\"p\""]),
        ("gender.as(code) | active.ofType(boolean)", &["null", "true"]),
        ("name[0].use is string", &["true"]),
        ("name[0].use as string", &[]),
        ("name.given.extension('u').value as String", &["\"x\""]),
        ("name.given.extension('u').value as Integer", &[]),
        ("name.given.extension('u').value as System.String", &[]),
        ("name.given.extension('u').value.ofType(String)", &[]),
    ] {
        assert_eq!(shown(PATIENT, text).expect(text), expected, "{text}");
    }
}

#[test]
fn a_reference_states_its_type_as_a_name_or_as_an_url() {
    for stated in ["Organization", "http://hl7.org/fhir/StructureDefinition/Organization"] {
        let document = format!(
            r#"{{"resourceType":"Patient","managingOrganization":{{"reference":"urn:uuid:1","type":"{stated}"}}}}"#
        );
        let found = shown(&document, "managingOrganization.resolve() is Organization");
        assert_eq!(found.expect(stated), ["true"], "{stated}");
    }
}

#[test]
fn the_present_is_told_only_where_it_is_known() {
    let document = parse(PATIENT.as_bytes()).expect("JSON");
    let now = Expression::parse("now()").expect("text");
    let environment = Environment::new(&document, &SPEC.schema);
    assert_eq!(now.evaluate(&environment).map_err(|fault| fault.cause).err(), Some(Cause::Operand));
}

#[test]
fn what_has_an_order_is_sorted_whatever_its_precision() {
    let dates = (0..40).map(|at| match at % 4 {
        0 => format!("@20{:02}", 10 + at / 4),
        1 => format!("@20{:02}-0{}", 10 + (at * 7) % 9, 1 + at % 9),
        2 => format!("@20{:02}-01-0{}T10:00:00+0{}:00", 10 + (at * 5) % 9, 1 + at % 9, at % 9),
        _ => format!("@20{:02}-01-0{}T1{}:00", 10 + (at * 3) % 9, 1 + at % 9, at % 9),
    });
    let dates: Vec<String> = dates.collect();
    let sorted = |dates: &[String]| {
        let text = format!("({}).sort()", dates.join(").combine("));
        shown(PATIENT, &text).expect(&text)
    };
    let expected = sorted(&dates);
    assert_eq!(expected.len(), 40);
    for by in [1, 7, 11, 23] {
        let mut turned = dates.clone();
        turned.rotate_left(by);
        turned.swap(0, by);
        assert_eq!(sorted(&turned), expected, "{by}");
    }
    for (text, expected) in [
        (
            "(@2020-02 | @2020 | @2020-01-31 | @2019-12-31).sort()",
            "2019-12-31 2020 2020-01-31 2020-02",
        ),
        ("(@T10:30 | @T09 | @T10).sort()", "09 10 10:30"),
        ("(2 'm' | 150 'cm' | 1 'km').sort()", "150 'cm' 2 'm' 1 'km'"),
        ("(2 years | 30 months | 1 month).sort(-$this)", "30 months 2 years 1 month"),
        ("(3 | 1.5 | 2 '1').sort()", "1.5 2 '1' 3"),
        ("('b' | 'a').sort(-$this)", "b a"),
    ] {
        assert_eq!(shown(PATIENT, text).expect(text).join(" "), expected, "{text}");
    }
    for text in [
        "(1 | 'a').sort()",
        "(true | false).sort()",
        "(1 'm' | 1 's').sort()",
        "(1 month | 1 'm').sort()",
        "(@2020 | @T10).sort()",
        "(1 | 2 | 3 | @2020).sort()",
        "(name | telecom).sort()",
    ] {
        let fault = shown(PATIENT, text).expect_err(text);
        assert_eq!(fault.reason, "the items have no order", "{text}");
    }
}

#[test]
fn the_check_finds_what_can_mean_nothing() {
    let patient = SPEC.schema.by_name("Patient").expect("a type");
    for (text, expected) in [
        ("name.given", None),
        ("Patient.deceased.ofType(dateTime)", None),
        ("Resource.id | DomainResource.contained.name", None),
        ("name.where(use = 'x').select(given.first())", None),
        ("extension('u').value.code", None),
        ("managingOrganization.resolve().name", None),
        ("birthDate.extension.url | birthDate.value", None),
        ("%resource.whatever", None),
        ("children().where(id = 'x')", None),
        // Each step of it has types that each next one has again.
        (&format!("extension.value{}", ".extension.value".repeat(12)), None),
        (&format!("name{}", ".select($this | $this)".repeat(60)), None),
        ("name.given1", Some(6)),
        ("name.where(usee = 'x')", Some(12)),
        ("Encounter.status", Some(1)),
        ("Nothing.status", Some(1)),
        ("(deceased as boolean).year", Some(23)),
        ("deceasedBoolean", Some(1)),
        ("name.as(Nothing)", Some(6)),
        ("descendants().first()", Some(15)),
        ("children()[0]", Some(11)),
        ("%context.nam", Some(10)),
    ] {
        let expression = Expression::parse(text).expect(text);
        let fault = expression.check(patient, &SPEC.schema).err();
        assert_eq!(fault.map(|fault| fault.column), expected, "{text}");
    }
}

#[test]
fn what_searches_find_is_told_by_its_types() {
    let patient = SPEC.schema.by_name("Patient").expect("a type");
    for (text, expected) in [
        ("name.given", Ok("string")),
        ("Patient.gender | Encounter.status", Ok("code")),
        ("(Encounter.status | name).family", Ok("string")),
        ("Patient.deceased", Ok("boolean dateTime")),
        ("deceasedBoolean", Ok("boolean")),
        ("deceased.as(Boolean)", Ok("any")),
        ("name.as(humanName)", Err(6)),
        ("extension.value.ofType(Uri)", Ok("uri")),
        ("descendants().first()", Ok("any")),
        ("Encounter.status | Patient.names", Err(1)),
        ("name.where(usee = 'x')", Err(12)),
    ] {
        let found = Expression::parse(text).expect(text).finds(patient, &SPEC.schema);
        let found = found.map_err(|fault| fault.column).map(|types| {
            let name = |id: &TypeId| SPEC.schema.get(*id).name.to_string();
            let mut names: Vec<String> =
                types.map_or_else(|| vec!["any".into()], |types| types.iter().map(name).collect());
            names.sort_unstable();
            names.join(" ")
        });
        assert_eq!(found, expected.map(str::to_owned), "{text}");
    }
}

#[test]
fn faults_say_what_and_where() {
    for (text, cause, column) in [
        ("name.given.single()", Cause::Operand, 12),
        ("name + 1", Cause::Operand, 1),
        ("1 + 'a'", Cause::Operand, 3),
        ("1 < 'a'", Cause::Operand, 3),
        ("%unknown", Cause::Operand, 1),
        ("$index", Cause::Operand, 1),
        ("name.where()", Cause::Operand, 6),
        ("id.conformsTo('x')", Cause::Unsupported, 4),
        ("name.slice('x', 'y')", Cause::Unsupported, 6),
        ("id.memberOf('http://other')", Cause::Operand, 4),
        ("'a'.matches('(')", Cause::Operand, 5),
        ("'a'.matches('(?=a)')", Cause::Operand, 5),
        ("'a'.encode('rot13')", Cause::Operand, 5),
        ("1.round(-1)", Cause::Operand, 3),
        ("'a'.sqrt()", Cause::Operand, 5),
        ("(1 | 'a').sort()", Cause::Operand, 11),
        ("id.iif('x', 1)", Cause::Operand, 4),
        ("name.as(HumanName)", Cause::Operand, 6),
        ("gender.as(nothing)", Cause::Operand, 8),
        ("@2020 + 1 'a'", Cause::Operand, 7),
        ("@2020 < @T10:00", Cause::Operand, 7),
        ("1 'mg' + 1 's'", Cause::Operand, 8),
        ("checkModifiers(1)", Cause::Operand, 1),
        ("name.given and true", Cause::Operand, 6),
    ] {
        let fault = shown(PATIENT, text).expect_err(text);
        assert_eq!((fault.cause, fault.column), (cause, column), "{text}: {fault}");
    }
    let expression = Expression::parse("a.slice('x', 'y') or b.where(elementDefinition() = c)");
    assert_eq!(expression.expect("text").unsupported(), ["slice", "elementDefinition"]);
}

#[test]
fn each_result_tells_its_place() {
    let document = parse(PATIENT.as_bytes()).expect("JSON");
    let environment = Environment::new(&document, &SPEC.schema);
    let key = |name: &str| Step::Key(name.to_owned());
    for (text, expected) in [
        ("Patient", Some(vec![])),
        ("name[0].given[1]", Some(vec![key("name"), Step::Index(0), key("given"), Step::Index(1)])),
        ("gender", Some(vec![key("gender")])),
        ("deceased", Some(vec![key("deceasedDateTime")])),
        ("1", None),
        ("generalPractitioner[0].resolve()", None),
    ] {
        let expression = Expression::parse(text).expect(text);
        let items = expression.evaluate(&environment).expect(text);
        assert_eq!(locate(&document, &items[0]), expected, "{text}");
    }
}

#[test]
fn an_expression_gives_its_parent_and_last_name() {
    for (text, expected) in [
        ("Patient.name.given", Some("given")),
        ("name", Some("name")),
        ("Patient.name[0].given", Some("given")),
        ("Patient.name.where(use = 'a').given", Some("given")),
        ("Patient.name[0]", None),
        ("Patient.name.first()", None),
    ] {
        let expression = Expression::parse(text).expect(text);
        assert_eq!(expression.parent().map(|(_, name)| name.to_owned()).as_deref(), expected);
    }
}
