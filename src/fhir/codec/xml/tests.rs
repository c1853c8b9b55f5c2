//! Reading and writing against a small table of types.

use super::*;
use crate::fhir::json::parse;
use crate::fhir::schema::{Field, FieldType, Primitive, TypeDef, TypeId, TypeKind};

/// Each type: name, `A` for abstract or `R`esource, `C`omplex, `P`rimitive, `X`html, and its
/// elements as `name:types:max`, `@` marking an attribute. A name with `[x]` is a choice.
const TYPES: &[(&str, char, &str)] = &[
    ("boolean", 'P', ""),
    ("code", 'P', ""),
    ("date", 'P', ""),
    ("decimal", 'P', ""),
    ("integer", 'P', ""),
    ("string", 'P', ""),
    ("uri", 'P', ""),
    ("xhtml", 'X', ""),
    ("Element", 'A', "@id:string:1 extension:Extension:*"),
    ("Extension", 'C', "@id:string:1 extension:Extension:* @url:uri:1 value[x]:string|Quantity:1"),
    ("Quantity", 'C', "@id:string:1 extension:Extension:* value:decimal:1 unit:string:1"),
    ("HumanName", 'C', "@id:string:1 extension:Extension:* family:string:1 given:string:*"),
    ("Narrative", 'C', "@id:string:1 extension:Extension:* status:code:1 div:xhtml:1"),
    ("Resource", 'A', "id:string:1"),
    (
        "Patient",
        'R',
        "id:string:1 text:Narrative:1 contained:Resource:* extension:Extension:* \
         active:boolean:1 name:HumanName:* birthDate:date:1 deceased[x]:boolean|date:1 \
         multipleBirth:integer:1 contact:Patient.contact:*",
    ),
    ("Patient.contact", 'C', "@id:string:1 extension:Extension:* name:HumanName:1"),
    ("Bundle", 'R', "id:string:1 type:code:1 entry:Bundle.entry:*"),
    ("Bundle.entry", 'C', "@id:string:1 fullUrl:uri:1 resource:Resource:1"),
];

fn schema() -> Schema {
    let id = |name: &str| {
        let at = TYPES.iter().position(|(other, ..)| *other == name).expect(name);
        TypeId(at as u16)
    };
    let field = |text: &str| {
        let (is_xml_attribute, text) = match text.strip_prefix('@') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let parts: Vec<&str> = text.split(':').collect();
        let (name, is_choice) = match parts[0].strip_suffix("[x]") {
            Some(name) => (name, true),
            None => (parts[0], false),
        };
        let choice = |of: &str| {
            let upper = of[..1].to_uppercase() + &of[1..];
            let key = if is_choice { format!("{name}{upper}") } else { name.to_owned() };
            FieldType { type_id: id(of), key: key.into(), targets: Vec::new() }
        };
        Field {
            name: name.into(),
            types: parts[1].split('|').map(choice).collect(),
            is_choice,
            min: 0,
            max: (parts[2] == "1").then_some(1),
            is_summary: false,
            is_modifier: false,
            is_xml_attribute,
        }
    };
    let def = |&(name, kind, fields): &(&str, char, &str)| {
        let type_kind = match kind {
            'P' => TypeKind::Primitive(Primitive::from_name(name).expect(name)),
            'R' => TypeKind::Resource,
            'X' => TypeKind::Xhtml,
            _ if name == "Resource" => TypeKind::Resource,
            _ => TypeKind::Complex,
        };
        let fields = fields.split_whitespace().map(field).collect();
        TypeDef::new(name.into(), type_kind, kind == 'A', None, fields)
    };
    Schema::new(TYPES.iter().map(def).collect())
}

fn read_text(text: &str) -> Result<String, XmlError> {
    Ok(read(text.as_bytes(), &schema(), Limits::default())?.to_text())
}

fn patient(inside: &str) -> String {
    format!("<Patient xmlns=\"http://hl7.org/fhir\">{inside}</Patient>")
}

const DIV: &str = "<div xmlns=\"http://www.w3.org/1999/xhtml\">";

#[test]
fn each_form_of_json_has_its_form_in_xml_and_back() {
    let div_json = DIV.replace('"', "\\\"");
    for (xml, json) in [
        (String::new(), String::new()),
        ("<id value=\"p1\"/><active value=\"true\"/>".into(), r#""id":"p1","active":true"#.into()),
        (
            "<extension url=\"u\"><valueQuantity><value value=\"1.00\"/></valueQuantity></extension>".into(),
            r#""extension":[{"url":"u","valueQuantity":{"value":1.00}}]"#.into(),
        ),
        (
            "<name id=\"n\"><given value=\"a\"/><given value=\"b\"/></name><name><family value=\"c\"/></name>".into(),
            r#""name":[{"id":"n","given":["a","b"]},{"family":"c"}]"#.into(),
        ),
        (
            "<name><given value=\"a\"/><given><extension url=\"u\"/></given><given value=\"c\" id=\"g\"/></name>".into(),
            r#""name":[{"given":["a",null,"c"],"_given":[null,{"extension":[{"url":"u"}]},{"id":"g"}]}]"#.into(),
        ),
        (
            "<birthDate value=\"1970\"><extension url=\"u\"/></birthDate><deceasedBoolean value=\"false\"/>".into(),
            r#""birthDate":"1970","_birthDate":{"extension":[{"url":"u"}]},"deceasedBoolean":false"#.into(),
        ),
        (
            "<birthDate><extension url=\"u\"/></birthDate>".into(),
            r#""_birthDate":{"extension":[{"url":"u"}]}"#.into(),
        ),
        (
            format!("<text><status value=\"generated\"/>{DIV} a  <b\tclass='x'>&amp;&#160;\n</b></div></text>"),
            format!(r#""text":{{"status":"generated","div":"{div_json} a  <b\tclass='x'>&amp;&#160;\n</b></div>"}}"#),
        ),
        (
            "<contained><Patient><id value=\"c\"/></Patient></contained><multipleBirth value=\"2\"/>".into(),
            r#""contained":[{"resourceType":"Patient","id":"c"}],"multipleBirth":2"#.into(),
        ),
        (
            "<id value=\"&lt;&quot;&amp;&#10;é\"/>".into(),
            r#""id":"<\"&\né""#.into(),
        ),
        (
            "<contact><name><family value=\"f\"/></name></contact>".into(),
            r#""contact":[{"name":{"family":"f"}}]"#.into(),
        ),
    ] {
        let json = format!("{{\"resourceType\":\"Patient\"{}{json}}}", if json.is_empty() { "" } else { "," });
        let text = patient(&xml);
        assert_eq!(read_text(&text).as_deref(), Ok(&*json), "{text}");
        let value = parse(json.as_bytes()).expect("JSON");
        let mut out = Vec::new();
        write(&value, &schema(), &mut out, false).expect("writes");
        let text = if xml.is_empty() { text.replace("></Patient>", "/>") } else { text };
        let expected = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{text}");
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
        let mut pretty = Vec::new();
        write(&value, &schema(), &mut pretty, true).expect("writes");
        assert_eq!(read(&pretty, &schema(), Limits::default()).as_ref(), Ok(&value));
    }
}

#[test]
fn what_xml_allows_beside_the_plain_form_is_read() {
    let fhir = "http://hl7.org/fhir";
    let xhtml = "http://www.w3.org/1999/xhtml";
    for (text, expected) in [
        (
            format!("\u{feff}<?xml version='1.0' encoding='utf-8'?>\n<!-- c --><Patient xmlns='{fhir}' ><?p i?><active value = 'true' ></active >\n</Patient><!-- d -->\n"),
            r#"{"resourceType":"Patient","active":true}"#.to_owned(),
        ),
        (
            format!("<f:Patient xmlns:f=\"{fhir}\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:schemaLocation=\"a b\"><f:active value=\"true\"/></f:Patient>"),
            r#"{"resourceType":"Patient","active":true}"#.to_owned(),
        ),
        (
            patient(&format!("<text><h:div xmlns:h=\"{xhtml}\"><h:p>a</h:p><h:br/></h:div></text>")),
            format!(r#"{{"resourceType":"Patient","text":{{"div":"<div xmlns=\"{xhtml}\" xmlns:h=\"{xhtml}\"><p>a</p><br/></div>"}}}}"#),
        ),
        (
            format!("<f:Patient xmlns:f=\"{fhir}\" xmlns=\"{xhtml}\"><f:text><div>a</div></f:text></f:Patient>"),
            format!(r#"{{"resourceType":"Patient","text":{{"div":"<div xmlns=\"{xhtml}\">a</div>"}}}}"#),
        ),
        (
            format!("<Bundle xmlns=\"{fhir}\"><entry><fullUrl value=\"u\"/><resource><Patient><active value=\"true\"/></Patient></resource></entry></Bundle>"),
            r#"{"resourceType":"Bundle","entry":[{"fullUrl":"u","resource":{"resourceType":"Patient","active":true}}]}"#.to_owned(),
        ),
        (
            patient("<multipleBirth value=\"+2\"/>"),
            r#"{"resourceType":"Patient","multipleBirth":2}"#.to_owned(),
        ),
    ] {
        assert_eq!(read_text(&text), Ok(expected), "{text}");
    }
}

/// What stands inside a Patient (on its second line), the reason, the path and the column.
const FAULTS: &[(&str, &str, &str, usize)] = &[
    ("<nme/>", "element <nme> is not known here", "Patient.nme", 1),
    ("<name><x/></name>", "element <x> is not known here", "Patient.name[0].x", 7),
    (
        "<name><given value=\"a\"/></name><name><given value=\"a\"/><given/></name>",
        "element <given> has neither a value nor an extension",
        "Patient.name[1].given[1]",
        56,
    ),
    ("<name/>", "element <name> is empty", "Patient.name[0]", 1),
    ("<birthDate value=\"1\"/><name/>", "element <name> is out of order", "Patient.name", 23),
    (
        "<active value=\"true\"/><active value=\"true\"/>",
        "element <active> may stand only once",
        "Patient.active",
        23,
    ),
    (
        "<deceasedBoolean value=\"true\"/><deceasedDate value=\"1\"/>",
        "element <deceasedDate> is a second choice",
        "Patient.deceasedDate",
        32,
    ),
    (
        "<deceasedString value=\"a\"/>",
        "element <deceasedString> is not known here",
        "Patient.deceasedString",
        1,
    ),
    ("<id value=\"\"/>", "attribute \"value\" is empty", "Patient.id", 5),
    ("<id vale=\"a\"/>", "attribute \"vale\" is not known here", "Patient.id", 5),
    ("<id value=\"a\" value=\"b\"/>", "attribute \"value\" stands twice", "Patient", 15),
    ("<name value=\"a\"/>", "attribute \"value\" is not known here", "Patient.name[0]", 7),
    ("<active value=\"1\"/>", "the value is not true or false", "Patient.active", 9),
    ("<multipleBirth value=\"01\"/>", "the value is not a number", "Patient.multipleBirth", 16),
    ("<multipleBirth value=\" 1\"/>", "the value is not a number", "Patient.multipleBirth", 16),
    (
        "<name xmlns=\"urn:x\"/>",
        "element <name> must be in the namespace http://hl7.org/fhir",
        "Patient.name",
        1,
    ),
    (
        "<text><div/></text>",
        "element <div> must be in the namespace http://www.w3.org/1999/xhtml",
        "Patient.text.div",
        7,
    ),
    (
        "<text><div xmlns=\"http://www.w3.org/1999/xhtml\">&nbsp;</div></text>",
        "reference \"&nbsp;\" stands for no character",
        "Patient.text.div",
        49,
    ),
    ("x", "text is only allowed in a narrative", "Patient", 1),
    ("&amp;", "text is only allowed in a narrative", "Patient", 1),
    ("<![CDATA[x]]>", "text is only allowed in a narrative", "Patient", 1),
    (
        "<extension><url value=\"u\"/></extension>",
        "element <url> is not known here",
        "Patient.extension[0].url",
        12,
    ),
    ("<contained/>", "<contained> must hold one resource", "Patient.contained[0]", 1),
    (
        "<contained><Patient/><Patient/></contained>",
        "<contained> must hold one resource",
        "Patient.contained[0]",
        22,
    ),
    ("<contained><Nope/></contained>", "<Nope> is not a resource type", "Patient.contained[0]", 12),
    (
        "<contained><Resource/></contained>",
        "<Resource> is not a resource type",
        "Patient.contained[0]",
        12,
    ),
    (
        "<contained><Element/></contained>",
        "<Element> is not a resource type",
        "Patient.contained[0]",
        12,
    ),
    ("<x:name/>", "namespace prefix \"x\" is not declared", "Patient", 1),
    (
        "<name xmlns:x=\"urn:x\" x:id=\"a\"/>",
        "attribute \"x:id\" is not known here",
        "Patient.name[0]",
        23,
    ),
    ("<id value=\"&x;\"/>", "reference \"&x;\" stands for no character", "Patient.id", 5),
    ("<id value=\"a\"></name>", "expected `</id>`, but `</name>` was found", "Patient.id", 15),
    ("<:b/>", "\":b\" is not a name", "Patient", 1),
    ("<a$b/>", "\"a$b\" is not a name", "Patient", 1),
    ("\u{1}", "a character that XML does not allow", "", 1),
    ("<?xml version=\"1.0\"?>", "an XML declaration may only stand at the start", "Patient", 1),
    ("<!DOCTYPE a>", "DOCTYPE is not allowed", "Patient", 1),
];

#[test]
fn each_fault_is_refused_with_its_path_and_place() {
    for &(inside, reason, path, column) in FAULTS {
        let fault = read_text(&patient(&format!("\n{inside}"))).expect_err(inside);
        let found = (&*fault.reason, &*fault.path, fault.line, fault.column);
        assert_eq!(found, (reason, path, 2, column), "{inside}");
    }
}

#[test]
fn what_is_no_document_is_refused() {
    let dtd = "<!DOCTYPE Patient [<!ENTITY x SYSTEM \"file:///etc/passwd\">]>";
    for (text, reason) in [
        ("", "the document has no element"),
        ("{}", "text is only allowed in a narrative"),
        ("<!-- -->", "the document has no element"),
        ("<Patient/>", "element <Patient> must be in the namespace http://hl7.org/fhir"),
        (
            "<html xmlns='http://www.w3.org/1999/xhtml'/>",
            "element <html> must be in the namespace http://hl7.org/fhir",
        ),
        ("<Patient xmlns='http://hl7.org/fhir' id='x'/>", "attribute \"id\" is not known here"),
        ("<Patient xmlns='http://hl7.org/fhir'>", "the document ends inside an element"),
        (
            "<Patient xmlns='http://hl7.org/fhir'><id value='1",
            "attribute value not closed: `'` not found before end of input",
        ),
        (
            "<Patient xmlns='http://hl7.org/fhir'/><Patient/>",
            "an element after the end of the document",
        ),
        ("<Patient xmlns='http://hl7.org/fhir'/>x", "text is only allowed in a narrative"),
        (
            "<?xml version='1.1'?><Patient xmlns='http://hl7.org/fhir'/>",
            "the XML version must be 1.0",
        ),
        (
            "<?xml version='1.0' encoding='latin1'?><Patient xmlns='http://hl7.org/fhir'/>",
            "the encoding must be UTF-8",
        ),
        (dtd, "DOCTYPE is not allowed"),
    ] {
        let fault = read_text(text).expect_err(text);
        assert_eq!(fault.reason, reason, "{text}");
    }
    let fault = read(b"<Patient\n \xff/>", &schema(), Limits::default()).expect_err("not UTF-8");
    assert_eq!((&*fault.reason, fault.line, fault.column), ("invalid UTF-8", 2, 2));
}

#[test]
fn depth_values_and_attributes_are_bounded() {
    let deep = |levels: usize| {
        patient(&("<extension url=\"u\">".repeat(levels) + &"</extension>".repeat(levels)))
    };
    assert!(read_text(&deep(49)).is_ok());
    let fault = read_text(&deep(50)).expect_err("too deep");
    assert_eq!(fault.reason, "nested too deep");
    let json =
        "{\"resourceType\":\"Patient\"".to_owned() + &",\"extension\":[{\"url\":\"u\"".repeat(49);
    assert!(parse((json + &"}]".repeat(49) + "}").as_bytes()).is_ok(), "as deep as JSON may be");

    let limits = Limits { values: 3, ..Limits::default() };
    let names = "<name id=\"n\"/>";
    assert!(read(patient(&names.repeat(3)).as_bytes(), &schema(), limits).is_ok());
    let fault = read(patient(&names.repeat(4)).as_bytes(), &schema(), limits).expect_err("many");
    assert_eq!(fault.reason, "too many values");

    let wide: Vec<String> = (0..101).map(|n| format!(" xmlns:a{n}=\"urn:x\"")).collect();
    let fault = read_text(&patient(&format!("<name{}/>", wide.concat()))).expect_err("wide");
    assert_eq!(fault.reason, "too many attributes");
}

#[test]
fn a_document_of_another_form_is_not_written() {
    let schema = schema();
    for (json, fault) in [
        (r#"{"a":1}"#, "the resource has no resourceType ()"),
        (r#"{"resourceType":"Nope"}"#, "\"Nope\" is not a resource type (Nope)"),
        (r#"{"resourceType":"Patient","nme":1}"#, "element \"nme\" is not known here (Patient)"),
        (
            r#"{"resourceType":"Patient","active":"true"}"#,
            "active must not be of kind string (Patient.active)",
        ),
        (r#"{"resourceType":"Patient","name":{}}"#, "name must be an array (Patient)"),
        (
            r#"{"resourceType":"Patient","name":[{}]}"#,
            "name must be an object with elements (Patient.name[0])",
        ),
        (
            r#"{"resourceType":"Patient","_name":[{"id":"a"}]}"#,
            "_name may only stand by a primitive (Patient.name[0])",
        ),
        (r#"{"resourceType":"Patient","id":""}"#, "a value must not be empty (Patient.id)"),
        (
            r#"{"resourceType":"Patient","birthDate":null}"#,
            "birthDate has neither a value nor an extension (Patient.birthDate)",
        ),
        (
            r#"{"resourceType":"Patient","text":{"div":"<p/>"}}"#,
            "a narrative must be one <div> (Patient.text.div)",
        ),
        (
            r#"{"resourceType":"Patient","contained":["x"]}"#,
            "the resource has no resourceType (Patient.contained[0])",
        ),
    ] {
        let value = parse(json.as_bytes()).expect(json);
        let mut out = b"before".to_vec();
        let found = write(&value, &schema, &mut out, true).expect_err(json);
        assert_eq!(found.to_string(), fault, "{json}");
        assert_eq!(out, b"before");
    }
}

#[test]
fn mutated_documents_neither_panic_nor_hang() {
    let schema = schema();
    let seeds = [
        patient(&format!(
            "<text><status value=\"x\"/>{DIV}a<b>&amp;</b></div></text><contained><Patient/></contained><name id=\"a\"><given value=\"&#65;\"/><given><extension url=\"u\"/></given></name>"
        )),
        "<?xml version=\"1.0\"?><f:Bundle xmlns:f='http://hl7.org/fhir'><f:entry><f:resource><f:Patient><f:birthDate value='1'/></f:Patient></f:resource></f:entry></f:Bundle><!-- é -->".to_owned(),
    ];
    let splices: [&[u8]; 12] = [
        b"<",
        b">",
        b"&",
        b"\"",
        b"/>",
        b"]]>",
        b"<!--",
        b"<![CDATA[",
        b"<?",
        b"\xff",
        b"\xc3",
        b"xmlns=''",
    ];
    // A linear congruential generator: the same mutations in every run.
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for seed in &seeds {
        for _ in 0..20_000 {
            let mut bytes = seed.clone().into_bytes();
            for _ in 0..=random(3) {
                if bytes.is_empty() {
                    break;
                }
                let at = random(bytes.len());
                match random(4) {
                    0 => drop(bytes.remove(at)),
                    1 => bytes[at] = random(256) as u8,
                    2 => bytes.truncate(at.max(1)),
                    _ => drop(bytes.splice(at..at, splices[random(splices.len())].iter().copied())),
                }
            }
            if let Ok(value) = read(&bytes, &schema, Limits::default()) {
                let mut out = Vec::new();
                write(&value, &schema, &mut out, false).expect("what was read can be written");
                let again = read(&out, &schema, Limits::default());
                assert_eq!(again.as_ref(), Ok(&value), "{}", String::from_utf8_lossy(&out));
            }
        }
    }
}

#[test]
fn many_repeated_pieces_take_linear_time() {
    let schema = schema();
    for piece in ["<a ", "&", "<!--", "<a a='", "]]>", "<p xmlns:a='a'>", "&amp;", "<b></b>"] {
        let text = patient(&format!("<text>{DIV}{}", piece.repeat(200_000)));
        assert!(read(text.as_bytes(), &schema, Limits::default()).is_err(), "{piece}");
        let text = patient(&format!(
            "<id value=\"{}\"/>",
            piece.replace(['<', '\''], "&").repeat(200_000)
        ));
        let _ = read(text.as_bytes(), &schema, Limits::default());
    }
}
