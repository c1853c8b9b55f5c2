//! Tables of patches and what they make.

use std::sync::{Arc, LazyLock};

use super::*;
use crate::fhir::json::parse;
use crate::spec::Spec;

static SPEC: LazyLock<Arc<Spec>> = LazyLock::new(|| Spec::r4().expect("the pack in the binary"));

const PATIENT: &str = r#"{"resourceType":"Patient","id":"p","meta":{"versionId":"1"},
 "name":[{"family":"A","given":["x","y","z"],"_given":[null,{"id":"gy"},null]}],
 "multipleBirthInteger":2,"active":true,"birthDate":"1970-01-01"}"#;

/// The result as JSON, or the kind of the error with its text.
fn outcome(result: Result<Value<'static>, Error>) -> Result<String, String> {
    match result {
        Ok(value) => Ok(value.to_text()),
        Err(Error::Invalid(issues)) => Err(format!("400 {}", issues[0])),
        Err(Error::Unprocessable(issues)) => Err(format!("422 {}", issues[0])),
        Err(Error::TooLarge(text)) => Err(format!("413 {text}")),
        Err(other) => panic!("{other}"),
    }
}

fn json(target: &str, patch: &str) -> Result<String, String> {
    let patch = Patch::Json(parse(patch.as_bytes()).expect("JSON"));
    outcome(apply(&patch, parse(target.as_bytes()).expect("JSON"), &SPEC.schema))
}

fn fhirpath(target: &str, operations: &str) -> Result<String, String> {
    let text = format!(r#"{{"resourceType":"Parameters","parameter":[{operations}]}}"#);
    let patch = Patch::FhirPath(parse(text.as_bytes()).expect(&text));
    outcome(apply(&patch, parse(target.as_bytes()).expect("JSON"), &SPEC.schema))
}

/// One operation of a FHIRPath Patch: its parts as `name=suffix:json` words.
fn operation(parts: &[(&str, &str, &str)]) -> String {
    let part =
        |(name, key, value): &(&str, &str, &str)| format!(r#"{{"name":"{name}","{key}":{value}}}"#);
    let parts: Vec<_> = parts.iter().map(part).collect();
    format!(r#"{{"name":"operation","part":[{}]}}"#, parts.join(","))
}

#[test]
fn a_malformed_json_patch_is_400_and_a_failed_test_is_422() {
    for (patch, expected) in [
        (r"{}", "400 a JSON Patch is an array"),
        (r"[1]", "400 patch operation 0: op is missing"),
        (r"[{}]", "400 patch operation 0: op is missing"),
        (r#"[{"op":"add","value":1}]"#, "400 patch operation 0: path is missing"),
        (r#"[{"op":"add","path":"/x"}]"#, "400 patch operation 0: value is missing"),
        (r#"[{"op":"turn","path":"/x"}]"#, "400 patch operation 0: \"turn\" is no"),
        (r#"[{"op":"add","path":"x","value":1}]"#, "400 patch operation 0: \"x\" is no JSON"),
        (r#"[{"op":"add","path":"/~2","value":1}]"#, "400 patch operation 0: \"~2\" has a bad"),
        (r#"[{"op":"replace","path":"","value":{}}]"#, "400 patch operation 0: the whole"),
        (r#"[{"op":"remove","path":"/nothing"}]"#, "400 patch operation 0: there is no"),
        (r#"[{"op":"replace","path":"/nothing","value":1}]"#, "400 patch operation 0: there"),
        (r#"[{"op":"add","path":"/name/2","value":1}]"#, "400 patch operation 0: \"2\" is no"),
        (r#"[{"op":"add","path":"/name/00","value":1}]"#, "400 patch operation 0: \"00\" is no"),
        (r#"[{"op":"remove","path":"/name/-"}]"#, "400 patch operation 0: \"-\" is no"),
        (
            r#"[{"op":"add","path":"/active/x","value":1}]"#,
            "400 patch operation 0: /active can hold",
        ),
        (r#"[{"op":"copy","path":"/x"}]"#, "400 patch operation 0: from is missing"),
        (r#"[{"op":"copy","from":"/y","path":"/x"}]"#, "400 patch operation 0: there is no"),
        (r#"[{"op":"move","from":"/name","path":"/name/0"}]"#, "400 patch operation 0: a value"),
        (r#"[{"op":"test","path":"/active"}]"#, "400 patch operation 0: value is missing"),
        (r#"[{"op":"test","path":"/active","value":false}]"#, "422 patch operation 0: the test of"),
        (r#"[{"op":"test","path":"/none","value":false}]"#, "400 patch operation 0: there is no"),
        (r#"[{"op":"replace","path":"/id","value":"q"}]"#, "400 patch operation 0: id cannot"),
        (r#"[{"op":"remove","path":"/resourceType"}]"#, "400 patch operation 0: resourceType"),
        (r#"[{"op":"add","path":"/meta/versionId","value":"9"}]"#, "400 patch operation 0: meta."),
        (r#"[{"op":"move","from":"/meta/lastUpdated","path":"/x"}]"#, "400 patch operation 0: m"),
        (r#"[{"op":"replace","path":"/meta","value":{"versionId":"9"}}]"#, "400 a patch cannot"),
        (
            r#"[{"op":"remove","path":"/active"},{"op":"remove","path":"/active"}]"#,
            "400 patch operation 1:",
        ),
    ] {
        let found = json(PATIENT, patch).expect_err(patch);
        assert!(found.starts_with(expected), "{patch}: {found}");
    }
}

#[test]
fn a_json_patch_changes_what_it_names_and_nothing_else() {
    let target = r#"{"resourceType":"Basic","a":[1,2,3],"d":1.50,"o":{"x":"y","/":0}}"#;
    for (patch, expected) in [
        (
            r#"[{"op":"add","path":"/a/-","value":2.00}]"#,
            r#""a":[1,2,3,2.00],"d":1.50,"o":{"x":"y","/":0}"#,
        ),
        (
            r#"[{"op":"move","from":"/a/0","path":"/a/2"},{"op":"remove","path":"/o"}]"#,
            r#""a":[2,3,1],"d":1.50"#,
        ),
        (
            r#"[{"op":"copy","from":"/d","path":"/o/~1"},{"op":"remove","path":"/a"}]"#,
            r#""d":1.50,"o":{"x":"y","/":1.50}"#,
        ),
        (
            r#"[{"op":"test","path":"/d","value":1.5},{"op":"test","path":"/o","value":{"/":0.0,"x":"y"}}]"#,
            r#""a":[1,2,3],"d":1.50,"o":{"x":"y","/":0}"#,
        ),
    ] {
        let expected = format!(r#"{{"resourceType":"Basic",{expected}}}"#);
        assert_eq!(json(target, patch), Ok(expected), "{patch}");
    }
}

#[test]
fn copies_cannot_blow_up_a_document() {
    let double =
        r#"{"op":"copy","from":"/o","path":"/o/x"},{"op":"copy","from":"/o","path":"/o/y"}"#;
    for (patch, count) in [
        (double, 30),
        (r#"{"op":"copy","from":"/a","path":"/a/-"}"#, 60),
        (r#"{"op":"copy","from":"/a","path":"/a/0"}"#, 999),
    ] {
        let patch = format!("[{}]", vec![patch; count].join(","));
        let found = json(r#"{"resourceType":"Basic","o":{},"a":[1]}"#, &patch).expect_err("bound");
        assert!(found.starts_with("413"), "{found}");
    }
    let many = format!("[{}]", vec!["{}"; MAX_OPERATIONS + 1].join(","));
    assert!(json(PATIENT, &many).is_err());
}

#[test]
fn a_fhirpath_patch_keeps_the_json_legal() {
    let patched = |parts: &[(&str, &str, &str)]| {
        let text = fhirpath(PATIENT, &operation(parts)).expect("a patch");
        let value = parse(text.as_bytes()).expect("JSON").into_owned();
        move |key: &str| value.get(key).map(Value::to_text)
    };
    let (kind, path, given) = ("valueCode", "valueString", r#""Patient.name[0].given""#);
    let after = patched(&[
        ("type", kind, r#""insert""#),
        ("path", path, given),
        ("index", "valueInteger", "1"),
        ("value", path, r#""n""#),
    ]);
    let expected =
        r#"[{"family":"A","given":["x","n","y","z"],"_given":[null,null,{"id":"gy"},null]}]"#;
    assert_eq!(after("name").as_deref(), Some(expected));
    let after = patched(&[
        ("type", kind, r#""move""#),
        ("path", path, given),
        ("source", "valueInteger", "1"),
        ("destination", "valueInteger", "0"),
    ]);
    let expected = r#"[{"family":"A","given":["y","x","z"],"_given":[{"id":"gy"},null,null]}]"#;
    assert_eq!(after("name").as_deref(), Some(expected));
    let after =
        patched(&[("type", kind, r#""delete""#), ("path", path, r#""Patient.name.given[1]""#)]);
    assert_eq!(after("name").as_deref(), Some(r#"[{"family":"A","given":["x","z"]}]"#));
    let after = patched(&[("type", kind, r#""delete""#), ("path", path, r#""Patient.name""#)]);
    assert_eq!(after("name"), None);
    let after = patched(&[
        ("type", kind, r#""replace""#),
        ("path", path, r#""Patient.multipleBirth""#),
        ("value", "valueBoolean", "true"),
    ]);
    assert_eq!(after("multipleBirthBoolean").as_deref(), Some("true"));
    assert_eq!(after("multipleBirthInteger"), None);
    let after = patched(&[
        ("type", kind, r#""add""#),
        ("path", path, r#""Patient.birthDate""#),
        ("name", path, r#""extension""#),
        ("value", "valueExtension", r#"{"url":"u","valueString":"v"}"#),
    ]);
    let expected = r#"{"extension":[{"url":"u","valueString":"v"}]}"#;
    assert_eq!(after("_birthDate").as_deref(), Some(expected));
    let after = patched(&[
        ("type", kind, r#""insert""#),
        ("path", path, r#""Patient.photo""#),
        ("index", "valueInteger", "0"),
        ("value", "part", r#"[{"name":"title","valueCode":"t"},{"name":"size","valueInteger":3}]"#),
    ]);
    assert_eq!(after("photo").as_deref(), Some(r#"[{"title":"t","size":3}]"#));
    let after = patched(&[
        ("type", kind, r#""add""#),
        ("path", path, r#""Patient""#),
        ("name", path, r#""deceased""#),
        ("value", "valueDateTime", r#""2015-02-07T13:28:17.239+10:00""#),
    ]);
    assert_eq!(after("deceasedDateTime").as_deref(), Some(r#""2015-02-07T13:28:17.239+10:00""#));
}

#[test]
fn a_fhirpath_patch_that_does_not_fit_is_400() {
    let change = |kind: &str, path: &str, rest: &[(&str, &str, &str)]| {
        let (kind, path) = (format!("{kind:?}"), format!("{path:?}"));
        let first = [("type", "valueCode", &*kind), ("path", "valueString", &*path)];
        operation(&[&first, rest].concat())
    };
    let value = |key: &'static str, json: &'static str| ("value", key, json);
    let named = |json: &'static str| ("name", "valueString", json);
    let (male, text) = (value("valueCode", r#""male""#), value("valueString", r#""a""#));
    let moment = value("valueDateTime", r#""1970-01-01T00:00:00Z""#);
    let (name, amount) = (value("valueHumanName", "{}"), value("valueQuantity", "{}"));
    let (one, no) = (value("valueInteger", "1"), value("valueBoolean", "false"));
    let (zero, two) = (("index", "valueInteger", "0"), ("index", "valueInteger", "2"));
    let part = "Patient.name.given.where($this = 'x')";
    for (operation, expected) in [
        (operation(&[]), "path is missing"),
        (change("delete", "Patient.(", &[]), "no FHIRPath"),
        (change("turn", "Patient", &[]), "no type of"),
        (change("delete", "Patient", &[]), "the whole"),
        (change("delete", "Patient.id", &[]), "id cannot"),
        (change("delete", "1 + 1", &[]), "computed"),
        (change("delete", "Patient.name.given", &[]), "several"),
        (change("add", "Patient", &[named(r#""active""#), no]), "there already"),
        (change("replace", "Patient.birthDate", &[moment]), "does not fit"),
        (change("replace", "Patient.gender", &[male]), "nothing is found"),
        (change("insert", "Patient.name", &[two, name]), "beyond the list"),
        (change("insert", part, &[zero, text]), "the whole of one list"),
        (change("insert", "Patient.birthDate", &[zero, text]), "the whole of one list"),
        (change("add", "Patient", &[named(r#""deceased""#), amount]), "one of deceasedBoolean"),
        (change("add", "Patient", &[named(r#""shoeSize""#), one]), "no element"),
    ] {
        let found = fhirpath(PATIENT, &operation).expect_err(expected);
        assert!(found.starts_with("400") && found.contains(expected), "{expected}: {found}");
    }
}

fn xml(target: &str, operations: &str) -> Result<String, String> {
    let text = format!(
        r#"<diff xmlns:f="http://hl7.org/fhir" xmlns:h="http://www.w3.org/1999/xhtml">{operations}</diff>"#
    );
    let target = parse(target.as_bytes()).expect("JSON");
    outcome(apply(&Patch::Xml(&text), target, &SPEC.schema))
}

const NARRATED: &str = r#"{"resourceType":"Patient","id":"p","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>one</p><p>two</p></div>"},"active":true,"name":[{"given":["x","y"]}],"gender":"male"}"#;

#[test]
fn an_xml_patch_changes_what_it_selects() {
    for (operations, expected) in [
        ("", NARRATED.to_owned()),
        (
            r#"<replace sel="f:Patient/f:gender/@value">female</replace>"#,
            NARRATED.replace("male", "female"),
        ),
        (r#"<remove sel="/Patient/gender"/>"#, NARRATED.replace(r#","gender":"male""#, "")),
        (
            r#"<add sel="Patient"><birthDate value="1970-01-01"/></add>"#,
            NARRATED.replace(r#""male""#, r#""male","birthDate":"1970-01-01""#),
        ),
        (
            r#"<add sel="f:Patient/f:name/f:given[1]" pos="after"><f:given value="n"/></add>"#,
            NARRATED.replace(r#""x","#, r#""x","n","#),
        ),
        (
            r#"<add sel="f:Patient/f:name/f:given[@value='y']" pos="before"><f:given value="n"/></add>"#,
            NARRATED.replace(r#""x","#, r#""x","n","#),
        ),
        (
            r#"<add sel="Patient/name[given/@value='y']" pos="prepend"><family value="F"/></add>"#,
            NARRATED.replace(r#"{"given""#, r#"{"family":"F","given""#),
        ),
        (
            r#"<replace sel="Patient/name/given[last()]"><given value="z"/></replace>"#,
            NARRATED.replace(r#""y""#, r#""z""#),
        ),
        (
            r#"<add sel="Patient/name" type="@id">n1</add>"#,
            NARRATED.replace(r#"{"given""#, r#"{"id":"n1","given""#),
        ),
        (
            r#"<replace sel="f:Patient/f:text/h:div/h:p[2]/text()">2 &lt; 3</replace>"#,
            NARRATED.replace("two", "2 &lt; 3"),
        ),
        (
            r#"<add sel="f:Patient/f:text/h:div"><h:b>!</h:b></add>"#,
            NARRATED.replace("</div>", "<b>!</b></div>"),
        ),
        (
            r#"<add sel="f:Patient/f:text/h:div/h:p[1]/text()" pos="after"><h:b>!</h:b></add>"#,
            NARRATED.replace("one", "one<b>!</b>"),
        ),
        (
            r#"<replace sel="Patient/name/given[1]/@value"> x </replace>"#,
            NARRATED.replace(r#""x""#, r#"" x ""#),
        ),
    ] {
        assert_eq!(xml(NARRATED, operations), Ok(expected), "{operations}");
    }
}

#[test]
fn what_an_xml_patch_empties_goes_with_it() {
    let without = |part: &str| NARRATED.replace(part, "");
    let name = r#","name":[{"given":["x","y"]}]"#;
    let (one, both) =
        (r#"<remove sel="Patient/name/given[1]"/>"#, r#"<remove sel="Patient/name/given"/>"#);
    for (operations, expected) in [
        (format!("{one}{both}"), without(name)),
        (
            r#"<remove sel="Patient/name/given[1]/@value"/>"#.to_owned() + both.replace("given", "given[2]").as_str(),
            without(name),
        ),
        (r#"<remove sel="Patient/gender/@value"/>"#.to_owned(), without(r#","gender":"male""#)),
        (
            format!(r#"{one}{both}<add sel="Patient/name"><family value="F"/></add>"#),
            NARRATED.replace(r#""given":["x","y"]"#, r#""family":"F""#),
        ),
        (
            r#"<remove sel="Patient/gender/@value"/><add sel="Patient/gender" type="@value">other</add>"#.to_owned(),
            NARRATED.replace(r#""male""#, r#""other""#),
        ),
        (
            r#"<add sel="Patient"><contact/></add><add sel="Patient/contact"><gender value="male"/></add>"#.to_owned(),
            NARRATED.replace(r#""male"}"#, r#""male","contact":[{"gender":"male"}]}"#),
        ),
    ] {
        assert_eq!(xml(NARRATED, &operations), Ok(expected), "{operations}");
    }
    let empty = xml(NARRATED, r#"<add sel="Patient"><contact/></add>"#).expect_err("empty");
    assert!(empty.starts_with("400"), "{empty}");
}

#[test]
fn a_text_between_elements_is_a_node_of_its_own() {
    let target = NARRATED.replace("<p>one</p><p>two</p>", "a<b>b</b>c <i>i</i> <br/> d");
    let div = "f:Patient/f:text/h:div";
    for (operation, expected) in [
        (format!(r#"<replace sel="{div}/text()[2]">-</replace>"#), "a<b>b</b>-<i>i</i> <br/> d"),
        (format!(r#"<replace sel="{div}/text()[last()]"/>"#), "a<b>b</b>c <i>i</i> <br/>"),
        (format!(r#"<remove sel="{div}/text()[1]"/>"#), "<b>b</b>c <i>i</i> <br/> d"),
        (
            format!(r#"<remove sel="{div}/h:b"/><remove sel="{div}/text()[1]"/>"#),
            "<i>i</i> <br/> d",
        ),
        (format!(r#"<remove sel="{div}/h:i" ws="after"/>"#), "a<b>b</b>c <br/> d"),
    ] {
        let expected = target.replace("a<b>b</b>c <i>i</i> <br/> d", expected);
        assert_eq!(xml(&target, &operation), Ok(expected), "{operation}");
    }
    for (operation, expected) in [
        (format!(r#"<remove sel="{div}/text()"/>"#), "several"),
        (format!(r#"<remove sel="{div}/text()[9]"/>"#), "nothing is found"),
        (format!(r#"<remove sel="{div}/h:br/text()"/>"#), "nothing is found"),
        (format!(r#"<replace sel="{div}/text()[1]"><b/></replace>"#), "a text, without"),
        (format!(r#"<add sel="{div}/text()[1]">x</add>"#), "nothing can be added"),
        (format!(r#"<remove sel="{div}/h:b" ws="both"/>"#), "no white space"),
        (format!(r#"<remove sel="{div}/text()[1]" ws="after"/>"#), "only an element"),
    ] {
        let found = xml(&target, &operation).expect_err(expected);
        assert!(found.starts_with("400") && found.contains(expected), "{operation}: {found}");
    }
}

#[test]
fn an_xml_patch_leaves_alone_what_it_does_not_select() {
    let target = concat!(
        r#"{"resourceType":"Patient","active":true,"text":{"status":"generated","div":"#,
        r#""<div xmlns=\"http://www.w3.org/1999/xhtml\"><!-- kept --><p class='a'>x</p></div>"},"#,
        r#""name":[{"text":"a\u0001b"},{"text":"c"}]}"#
    );
    let after = xml(target, r#"<replace sel="Patient/active/@value">false</replace>"#);
    let after = after.expect("patched");
    let (before, after) = (parse(target.as_bytes()), parse(after.as_bytes()));
    let (before, after) = (before.expect("JSON"), after.expect("JSON"));
    assert_eq!(after.get("text"), before.get("text"));
    assert_eq!(after.get("name"), before.get("name"));
    assert_eq!(after.get("active"), Some(&Value::Bool(false)));
}

#[test]
fn an_xml_patch_that_does_not_fit_is_400() {
    for (operations, expected) in [
        ("<add/>", "operation 0: sel is missing"),
        (r#"<turn sel="Patient/gender"/>"#, "no operation"),
        (r#"<remove sel="Patient"/>"#, "the whole"),
        (r#"<remove sel="Patient/birthDate"/>"#, "nothing is found"),
        (r#"<remove sel="Patient/name/given"/>"#, "several"),
        (r#"<remove sel="g:Patient"/>"#, "not declared"),
        (r#"<remove sel="//given"/>"#, "not understood"),
        (r#"<remove sel="Patient/child::name"/>"#, "not understood"),
        (r#"<remove sel="Patient/name["/>"#, "not understood"),
        (r#"<remove sel="Patient/name[given='x]"/>"#, "not understood"),
        (r#"<add sel="Patient" pos="before"><x/></add>"#, "one root"),
        (r#"<add sel="Patient" pos="inside"><x/></add>"#, "no pos"),
        (r#"<add sel="Patient/gender" type="@value">x</add>"#, "there already"),
        (r#"<add sel="Patient/gender" type="namespace::x">x</add>"#, "not offered"),
        (r#"<add sel="Patient"><shoe value="1"/></add>"#, "shoe"),
        (r#"<replace sel="Patient/gender"><a/><b/></replace>"#, "one element"),
        (r#"<replace sel="Patient/id/@value">q</replace>"#, "cannot change id"),
        (r#"<remove sel="Patient/id"/>"#, "cannot change id"),
        (r#"<remove sel="Patient/gender" pos="after"/>"#, "remove has no attribute \"pos\""),
        (r#"<replace sel="Patient/gender" type="@x">x</replace>"#, "no attribute \"type\""),
        (r#"<add sel="Patient" where="x"><x/></add>"#, "add has no attribute \"where\""),
        (r#"<remove sel="Patient/gender" ws="all"/>"#, "\"all\" is no ws"),
        (r#"<add sel="Patient/gender" type="@id" pos="after">x</add>"#, "has no pos"),
        (r#"<replace sel="Patient/gender/@value"><a/></replace>"#, "a text, without"),
        (r#"<replace sel="Patient/gender">x<gender value="other"/></replace>"#, "one element"),
    ] {
        let found = xml(NARRATED, operations).expect_err(operations);
        assert!(found.starts_with("400") && found.contains(expected), "{operations}: {found}");
    }
    for text in ["", "<a/>", "<diff>", "x"] {
        let target = parse(NARRATED.as_bytes()).expect("JSON");
        let found = outcome(apply(&Patch::Xml(text), target, &SPEC.schema)).expect_err(text);
        assert!(found.starts_with("400"), "{text}: {found}");
    }
}

#[test]
fn additions_cannot_nest_without_bound() {
    let deep = format!("{}<b/>{}", "<b>".repeat(90), "</b>".repeat(90));
    let first = format!(r#"<add sel="f:Patient/f:text/h:div">{deep}</add>"#);
    let way = "/h:b".repeat(20);
    let second = format!(r#"<add sel="f:Patient/f:text/h:div{way}">{deep}</add>"#);
    let found = xml(NARRATED, &format!("{first}{second}")).expect_err("bound");
    assert!(found.starts_with("413"), "{found}");
}

#[test]
fn a_patch_asks_where_what_it_does_depends_on_values() {
    for (patch, asks) in [
        (r#"[{"op":"replace","path":"/status","value":"final"}]"#, false),
        (r#"[{"op":"move","from":"/name/0","path":"/name/1"},{"op":"remove","path":"/x"}]"#, false),
        (r#"[{"op":"remove","path":"/x"},{"op":"test","path":"/status","value":"final"}]"#, true),
    ] {
        let patch = Patch::Json(parse(patch.as_bytes()).expect("JSON"));
        assert_eq!(patch.asks(), asks, "{patch:?}");
    }
    for (path, asks) in [
        ("Patient", false),
        ("Patient.name[0].given[12]", false),
        ("Patient.name.given", false),
        ("Patient.name.where(use='official')", true),
        ("Patient.name[use='official']", true),
        ("Patient.name.first()", true),
        ("Patient.name[0", true),
        ("Patient.name[0].given[1] | Patient.telecom", true),
        ("Patient.gender = 'male'", true),
        ("%resource.name", true),
    ] {
        let quoted = format!("\"{path}\"");
        let first = operation(&[("path", "valueString", "\"Patient.name\"")]);
        // Either is read as the path.
        for key in ["valueString", "valueCode"] {
            let second = operation(&[("type", "valueCode", "\"delete\""), ("path", key, &quoted)]);
            let text = format!(r#"{{"resourceType":"Parameters","parameter":[{first},{second}]}}"#);
            let patch = Patch::FhirPath(parse(text.as_bytes()).expect(&text));
            assert_eq!(patch.asks(), asks, "{key}: {path}");
        }
    }
    for (diff, asks) in [
        (r#"<diff><remove sel="Patient/gender"/></diff>"#, false),
        (r#"<diff><remove sel="Patient/name[1]"/></diff>"#, true),
        (r#"<diff><remove sel="Patient/name&#91;use/@value='official']"/></diff>"#, true),
        (r#"<diff><remove sel="Patient/name&#x5b;1]"/></diff>"#, true),
    ] {
        assert_eq!(Patch::Xml(diff).asks(), asks, "{diff}");
    }
}
